//! The text form: for tests, dumps and hand-written IR. One line for each instruction, the block's frame around them:
//!
//! ```text
//! block 0x401000 len 7
//! @0
//!   add64 t0, rax, 0x10
//!   load32 rcx, [rbx + rdx<<2 - 0x8]
//! @4
//!   flags.sub64 rcx, rdx
//!   branch ne, 0x401020, 0x401007
//! ```

use std::fmt;

use crate::block::{Block, Inst, Mark, Term, TrapKind};
use crate::flags::Cc;
use crate::{FS_BASE, GS_BASE, IMM, Op, Operand, T0, VT0, ZERO};

/// Why a text is not IR.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {what}: `{text}`")]
pub struct ParseError {
    /// 1-based line.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
    /// The words in question.
    pub text: String,
}

const GPR: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const TRAPS: [(TrapKind, &str); 10] = [
    (TrapKind::Ud, "ud"),
    (TrapKind::De, "de"),
    (TrapKind::Bp, "bp"),
    (TrapKind::Db, "db"),
    (TrapKind::Step, "step"),
    (TrapKind::Of, "of"),
    (TrapKind::Gp, "gp"),
    (TrapKind::Xm, "xm"),
    (TrapKind::Mf, "mf"),
    (TrapKind::Int80, "int80"),
];

/// Name of an integer slot.
pub(crate) fn slot_name(n: u8) -> String {
    match n {
        FS_BASE => "fs".into(),
        GS_BASE => "gs".into(),
        ZERO => "zero".into(),
        0..16 => GPR[usize::from(n)].into(),
        T0..FS_BASE => format!("t{}", n - T0),
        _ => format!("slot{n}"),
    }
}

/// Name of a vector slot.
pub(crate) fn vslot_name(n: u8) -> String {
    match n {
        0..16 => format!("x{n}"),
        16..VT0 => format!("y{}", n - 16),
        _ => format!("v{}", n.wrapping_sub(VT0)),
    }
}

struct Hex(i64);
impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}

impl fmt::Display for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.text())?;
        for (i, operand) in self.op.class().operands().iter().enumerate() {
            f.write_str(if i == 0 { " " } else { ", " })?;
            let slot_or_imm = |n: u8| {
                if n == IMM { Hex(self.imm).to_string() } else { slot_name(n) }
            };
            match operand {
                Operand::D | Operand::D2 | Operand::Ds => f.write_str(&slot_name(self.d))?,
                Operand::A => f.write_str(&slot_name(self.a))?,
                Operand::B => f.write_str(&slot_name(self.b))?,
                Operand::C => f.write_str(&slot_name(self.c))?,
                Operand::Bi => f.write_str(&slot_or_imm(self.b))?,
                Operand::Ci => f.write_str(&slot_or_imm(self.c))?,
                Operand::Imm => write!(f, "{}", Hex(self.imm))?,
                Operand::Cc => f.write_str(Cc::TEXT[usize::from(self.c & 15)])?,
                Operand::N => write!(f, "{}", self.c)?,
                Operand::Mem => {
                    write!(f, "[{}", slot_name(self.a))?;
                    if self.b != ZERO {
                        write!(f, " + {}<<{}", slot_name(self.b), self.c)?;
                    }
                    if self.imm != 0 {
                        let sign = if self.imm < 0 { '-' } else { '+' };
                        write!(f, " {sign} {:#x}", self.imm.unsigned_abs())?;
                    }
                    f.write_str("]")?;
                }
                Operand::Vd | Operand::Vs | Operand::Yd => f.write_str(&vslot_name(self.d))?,
                Operand::Va | Operand::Ya => f.write_str(&vslot_name(self.a))?,
                Operand::Vb | Operand::Yb => f.write_str(&vslot_name(self.b))?,
                Operand::Vc | Operand::Yc => f.write_str(&vslot_name(self.c))?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Term::Jump { target } => write!(f, "jump {target:#x}"),
            Term::Branch { cc, taken, fallthrough } => {
                write!(f, "branch {}, {taken:#x}, {fallthrough:#x}", Cc::TEXT[cc as usize])
            }
            Term::BranchNz { slot, taken, fallthrough } => {
                write!(f, "branchnz {}, {taken:#x}, {fallthrough:#x}", slot_name(slot))
            }
            Term::JumpIndirect { slot } => write!(f, "jumpind {}", slot_name(slot)),
            Term::Call { target, ret } => write!(f, "call {target:#x}, {ret:#x}"),
            Term::CallIndirect { slot, ret } => write!(f, "callind {}, {ret:#x}", slot_name(slot)),
            Term::Ret { slot } => write!(f, "ret {}", slot_name(slot)),
            Term::Syscall { next } => write!(f, "syscall {next:#x}"),
            Term::Trap { kind, pc } => {
                let name = TRAPS.iter().find(|t| t.0 == kind).map_or("?", |t| t.1);
                write!(f, "trap {name}, {pc:#x}")
            }
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "block {:#x} len {}", self.pc, self.len)?;
        let mut marks = self.marks.iter().peekable();
        for i in 0..=self.insts.len() {
            while let Some(mark) = marks.next_if(|m| m.inst as usize <= i) {
                writeln!(f, "@{:#x}", mark.offset)?;
            }
            if let Some(inst) = self.insts.get(i) {
                writeln!(f, "  {inst}")?;
            }
        }
        writeln!(f, "  {}", self.term)
    }
}

fn number(s: &str) -> Option<i64> {
    let (negative, s) = match s.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, s),
    };
    let n = match s.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => s.parse().ok()?,
    };
    Some(if negative { (n as i64).wrapping_neg() } else { n as i64 })
}

fn numbered(s: &str, prefix: &str, base: u8, count: u8) -> Option<u8> {
    let n: u8 = s.strip_prefix(prefix)?.parse().ok()?;
    (n < count).then(|| base + n)
}

fn slot(s: &str) -> Option<u8> {
    match s {
        "fs" => Some(FS_BASE),
        "gs" => Some(GS_BASE),
        "zero" => Some(ZERO),
        _ => GPR
            .iter()
            .position(|g| *g == s)
            .map(|i| i as u8)
            .or_else(|| numbered(s, "t", T0, 16))
            .or_else(|| numbered(s, "slot", 0, 255)),
    }
}

fn vslot(s: &str) -> Option<u8> {
    numbered(s, "x", 0, 16)
        .or_else(|| numbered(s, "y", 16, 16))
        .or_else(|| numbered(s, "v", VT0, 32))
}

fn cc(s: &str) -> Option<Cc> {
    Cc::TEXT.iter().position(|t| *t == s).map(|i| Cc::ALL[i])
}

/// `[base + index<<shift ± displacement]` into `inst`.
fn memory(s: &str, inst: &mut Inst) -> Option<()> {
    let inner = s.strip_prefix('[')?.strip_suffix(']')?;
    let mut words = inner.split_whitespace();
    inst.a = slot(words.next()?)?;
    while let Some(sign) = words.next() {
        let word = words.next()?;
        if let Some((index, shift)) = word.split_once("<<") {
            inst.b = slot(index)?;
            inst.c = shift.parse().ok()?;
        } else {
            let n = number(word)?;
            inst.imm = match sign {
                "+" => n,
                "-" => n.wrapping_neg(),
                _ => return None,
            };
        }
    }
    Some(())
}

impl Inst {
    /// Reads one instruction in the text form.
    pub fn parse(text: &str) -> Option<Inst> {
        let text = text.trim();
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        let op = Op::from_text(name)?;
        let mut inst = Inst { op, d: ZERO, a: ZERO, b: ZERO, c: ZERO, imm: 0 };
        let mut parts = rest.split(',').map(str::trim).filter(|p| !p.is_empty());
        for operand in op.class().operands() {
            let part = parts.next()?;
            match operand {
                Operand::D | Operand::D2 | Operand::Ds => inst.d = slot(part)?,
                Operand::A => inst.a = slot(part)?,
                Operand::B => inst.b = slot(part)?,
                Operand::C => inst.c = slot(part)?,
                Operand::Bi => match slot(part) {
                    Some(s) => inst.b = s,
                    None => (inst.b, inst.imm) = (IMM, number(part)?),
                },
                Operand::Ci => match slot(part) {
                    Some(s) => inst.c = s,
                    None => (inst.c, inst.imm) = (IMM, number(part)?),
                },
                Operand::Imm => inst.imm = number(part)?,
                Operand::Cc => inst.c = cc(part)? as u8,
                Operand::N => inst.c = part.parse().ok()?,
                Operand::Mem => memory(part, &mut inst)?,
                Operand::Vd | Operand::Vs | Operand::Yd => inst.d = vslot(part)?,
                Operand::Va | Operand::Ya => inst.a = vslot(part)?,
                Operand::Vb | Operand::Yb => inst.b = vslot(part)?,
                Operand::Vc | Operand::Yc => inst.c = vslot(part)?,
            }
        }
        parts.next().is_none().then_some(inst)
    }
}

impl Term {
    /// Reads a block end in the text form.
    pub fn parse(text: &str) -> Option<Term> {
        let text = text.trim();
        let (name, rest) = text.split_once(' ')?;
        let parts: Vec<&str> = rest.split(',').map(str::trim).collect();
        let num = |s: &str| number(s).map(|n| n as u64);
        Some(match (name, &parts[..]) {
            ("jump", [t]) => Term::Jump { target: num(t)? },
            ("branch", [c, t, f]) => {
                Term::Branch { cc: cc(c)?, taken: num(t)?, fallthrough: num(f)? }
            }
            ("branchnz", [s, t, f]) => {
                Term::BranchNz { slot: slot(s)?, taken: num(t)?, fallthrough: num(f)? }
            }
            ("jumpind", [s]) => Term::JumpIndirect { slot: slot(s)? },
            ("call", [t, r]) => Term::Call { target: num(t)?, ret: num(r)? },
            ("callind", [s, r]) => Term::CallIndirect { slot: slot(s)?, ret: num(r)? },
            ("ret", [s]) => Term::Ret { slot: slot(s)? },
            ("syscall", [n]) => Term::Syscall { next: num(n)? },
            ("trap", [k, pc]) => {
                Term::Trap { kind: TRAPS.iter().find(|t| t.1 == *k)?.0, pc: num(pc)? }
            }
            _ => return None,
        })
    }
}

impl Block {
    /// Reads a block in the text form. Empty lines and lines that start with `#` are skipped.
    pub fn parse(text: &str) -> Result<Block, ParseError> {
        let mut head = None;
        let (mut insts, mut marks, mut term) = (Vec::new(), Vec::new(), None);
        for (i, raw) in text.lines().enumerate() {
            let err = |what| ParseError { line: i + 1, what, text: raw.trim().to_owned() };
            let line = raw.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if term.is_some() {
                return Err(err("text after the block's end"));
            }
            if head.is_none() {
                let words: Vec<&str> = line.split_whitespace().collect();
                head = match words[..] {
                    ["block", pc, "len", len] => number(pc).zip(len.parse::<u32>().ok()),
                    _ => None,
                };
                if head.is_none() {
                    return Err(err("no block head"));
                }
            } else if let Some(offset) = line.strip_prefix('@') {
                let offset = number(offset).and_then(|n| u32::try_from(n).ok());
                let offset = offset.ok_or_else(|| err("bad mark"))?;
                marks.push(Mark { inst: insts.len() as u32, offset });
            } else if let Some(inst) = Inst::parse(line) {
                insts.push(inst);
            } else {
                term = Some(Term::parse(line).ok_or_else(|| err("not an instruction"))?);
            }
        }
        let end = |what| ParseError { line: text.lines().count(), what, text: String::new() };
        let (pc, len) = head.ok_or_else(|| end("no block head"))?;
        let term = term.ok_or_else(|| end("no block end"))?;
        Ok(Block { pc: pc as u64, len, insts, marks, term })
    }
}
