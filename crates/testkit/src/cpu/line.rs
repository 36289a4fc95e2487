//! The text form of a case and its expected outcome: `bytes | state before => what changed`.
//!
//! Before: what differs from the all-zero state; after: what the instruction changed, and `end=`/`rip=` if it did not
//! simply go on. Values in hex; `ymmN` (all 64 digits) where the high half matters, else `xmmN`; `mem:ADDRESS=bytes`, `stN=exponent:significand`.

use super::{Case, DATA, DATA_LEN, End, FLAGS, MAX_CODE, Outcome, State};
use ir::TrapKind;
use std::fmt::Write;

/// Names of the general registers in encoding order.
pub const REGISTERS: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

const TRAPS: [(&str, TrapKind); 7] = [
    ("ud", TrapKind::Ud),
    ("de", TrapKind::De),
    ("db", TrapKind::Db),
    ("gp", TrapKind::Gp),
    ("xm", TrapKind::Xm),
    ("mf", TrapKind::Mf),
    ("bp", TrapKind::Bp),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// What differs between two states, as `name=value` words.
fn changes(from: &State, to: &State) -> String {
    let mut out = String::new();
    for (i, name) in REGISTERS.iter().enumerate() {
        if from.regs[i] != to.regs[i] {
            let _ = write!(out, " {name}={:x}", to.regs[i]);
        }
    }
    let flags = |s: &State| s.rflags & FLAGS;
    if flags(from) != flags(to) {
        let _ = write!(out, " rflags={:x}", flags(to));
    }
    for i in 0..16 {
        if from.high[i] != to.high[i] {
            let _ = write!(out, " ymm{i}={:032x}{:032x}", to.high[i], to.xmm(i));
        } else if from.xmm(i) != to.xmm(i) {
            let _ = write!(out, " xmm{i}={:x}", to.xmm(i));
        }
    }
    let words = [
        ("mxcsr", u64::from(from.mxcsr()), u64::from(to.mxcsr())),
        ("cw", from.cw().into(), to.cw().into()),
        ("sw", from.sw().into(), to.sw().into()),
        ("tags", from.tags().into(), to.tags().into()),
    ];
    for (name, a, b) in words {
        if a != b {
            let _ = write!(out, " {name}={b:x}");
        }
    }
    for i in 0..8 {
        if from.st(i) != to.st(i) {
            let (mant, se) = to.st(i);
            let _ = write!(out, " st{i}={se:x}:{mant:x}");
        }
    }
    for (name, a, b) in [("fs", from.fs, to.fs), ("gs", from.gs, to.gs)] {
        if a != b {
            let _ = write!(out, " {name}={b:x}");
        }
    }
    let (a, b) = (from.memory.data(), to.memory.data());
    let mut i = 0;
    while i < DATA_LEN {
        if a[i] == b[i] {
            i += 1;
            continue;
        }
        let start = i;
        while i < DATA_LEN && a[i] != b[i] {
            i += 1;
        }
        let _ = write!(out, " mem:{:x}={}", DATA + start as u64, hex(&b[start..i]));
    }
    out
}

/// The line for a case and what the processor made of it.
pub fn print(case: &Case, outcome: &Outcome) -> String {
    let before = changes(&State::default(), &case.state);
    format!("{} |{before} =>{}", hex(&case.code), after(case, outcome))
}

/// The part of the line that says what came of it.
pub fn after(case: &Case, outcome: &Outcome) -> String {
    let after = changes(&case.state, &outcome.state);
    let end = match outcome.end {
        End::Done => String::new(),
        End::Trap(kind) => {
            let name = TRAPS.iter().find(|t| t.1 == kind).map_or("?", |t| t.0);
            format!(" end={name}")
        }
        End::Fault(addr, write) => {
            format!(" end={}:{addr:x}", if write { "write" } else { "read" })
        }
        End::Lost => " end=lost".into(),
    };
    format!("{after} rip={:x}{end}", outcome.rip)
}

/// The case and the expected outcome of a line.
pub fn parse(line: &str) -> Result<(Case, Outcome), String> {
    let (code, rest) = line.split_once('|').ok_or("no `|`")?;
    let (before, after) = rest.split_once("=>").ok_or("no `=>`")?;
    let code = unhex(code.trim())?;
    if code.is_empty() || code.len() > MAX_CODE {
        return Err(format!("a case has 1 to {MAX_CODE} bytes of code"));
    }
    let mut state = State::default();
    let mut end = (End::Done, super::ENTRY);
    apply(&mut state, before, &mut end)?;
    let case = Case { code, state };
    let mut expected = case.state.clone();
    end = (End::Done, 0);
    apply(&mut expected, after, &mut end)?;
    Ok((case, Outcome { end: end.0, rip: end.1, state: expected }))
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| {
        let s: String = pair.iter().collect();
        u8::from_str_radix(&s, 16).map_err(|_| format!("{s:?} is no hex byte"))
    };
    digits.chunks(2).map(byte).collect()
}

fn apply(state: &mut State, words: &str, end: &mut (End, u64)) -> Result<(), String> {
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} has no `=`"))?;
        let number = |v: &str| u64::from_str_radix(v, 16).map_err(|_| format!("{word:?}: number"));
        if let Some(i) = REGISTERS.iter().position(|r| *r == name) {
            state.regs[i] = number(value)?;
            continue;
        }
        let indexed = |prefix: &str, limit: usize| {
            name.strip_prefix(prefix)?.parse::<usize>().ok().filter(|i| *i < limit)
        };
        if let Some(i) = indexed("xmm", 16) {
            let v = u128::from_str_radix(value, 16).map_err(|_| format!("{word:?}: number"))?;
            state.set_xmm(i, v);
        } else if let Some(i) = indexed("ymm", 16) {
            let half = |digits: Option<&str>| {
                let v = digits.and_then(|d| u128::from_str_radix(d, 16).ok());
                v.ok_or_else(|| format!("{word:?}: 64 digits"))
            };
            if value.len() != 64 {
                return Err(format!("{word:?}: 64 digits"));
            }
            state.high[i] = half(value.get(..32))?;
            state.set_xmm(i, half(value.get(32..))?);
        } else if let Some(i) = indexed("st", 8) {
            let (se, mant) = value.split_once(':').ok_or_else(|| format!("{word:?}: no colon"))?;
            state.set_st(i, number(mant)?, number(se)? as u16);
        } else if let Some(at) = name.strip_prefix("mem:") {
            let (at, bytes) = (number(at)?, unhex(value)?);
            if at.wrapping_sub(DATA).saturating_add(bytes.len() as u64) > DATA_LEN as u64 {
                return Err(format!("{word:?} is outside"));
            }
            state.memory.put(at, &bytes);
        } else {
            match name {
                "rflags" => state.rflags = number(value)?,
                "fs" => state.fs = number(value)?,
                "gs" => state.gs = number(value)?,
                "mxcsr" => state.set_mxcsr(number(value)? as u32),
                "cw" => state.set_cw(number(value)? as u16),
                "sw" => state.set_sw(number(value)? as u16),
                "tags" => state.set_tags(number(value)? as u8),
                "rip" => end.1 = number(value)?,
                "end" => end.0 = parse_end(value).ok_or_else(|| format!("{word:?}: end"))?,
                _ => return Err(format!("{word:?} is unknown")),
            }
        }
    }
    Ok(())
}

fn parse_end(value: &str) -> Option<End> {
    if let Some((kind, addr)) = value.split_once(':') {
        return Some(End::Fault(u64::from_str_radix(addr, 16).ok()?, kind == "write"));
    }
    TRAPS.iter().find(|t| t.0 == value).map(|t| End::Trap(t.1))
}
