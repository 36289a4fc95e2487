//! `--strace`: lines as strace(1) prints them, from the types in the system call table.

use std::fmt::Write;

use abi::signal::{SI_KERNEL, SI_TIMER, SI_TKILL, SI_USER, Siginfo, name as signal_name};
use abi::{Errno, Pod, Timespec};

use crate::syscall::Args;
use crate::syscall::table::{Arg, Row};
use crate::{Kernel, ThreadId};

const EXIT: u64 = 60;
const EXIT_GROUP: u64 = 231;
const SIGRETURN: u64 = 15;
/// Bytes of a string that are shown.
const STRING_MAX: usize = 32;
/// Strings of an argv that are shown.
const STRINGS_MAX: usize = 32;

/// A call whose end has not been printed.
#[derive(Clone, Debug, Default)]
pub struct Begun {
    args: Args,
    /// The arguments known at the start; `None` = known at the end.
    texts: Vec<Option<String>>,
}

/// A C string literal of `bytes`, with `...` if it was cut.
pub fn quote(bytes: &[u8], cut: bool) -> String {
    let mut out = String::from("\"");
    for (i, &b) in bytes.iter().enumerate() {
        match b {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            0x0b => out.push_str("\\v"),
            0x0c => out.push_str("\\f"),
            0x20..=0x7e => out.push(b as char),
            _ => {
                let digit = bytes.get(i + 1).is_some_and(u8::is_ascii_digit);
                let _ = if digit { write!(out, "\\{b:03o}") } else { write!(out, "\\{b:o}") };
            }
        }
    }
    out.push('"');
    if cut {
        out.push_str("...");
    }
    out
}

fn flags(value: u64, names: &[(u64, &str)]) -> String {
    if value == 0 {
        return names.iter().find(|n| n.0 == 0).map_or("0".into(), |n| n.1.into());
    }
    let mut left = value;
    let mut out = Vec::new();
    for &(bits, name) in names {
        if bits != 0 && left & bits == bits {
            out.push(name.to_string());
            left &= !bits;
        }
    }
    if left != 0 {
        out.push(format!("{left:#x}"));
    }
    out.join("|")
}

fn signal_text(signal: u32) -> String {
    match signal_name(signal) {
        Some(name) => name.to_string(),
        None if (32..=64).contains(&signal) => format!("SIGRT_{}", signal - 32),
        None => signal.to_string(),
    }
}

fn signal_set(set: u64) -> String {
    // As strace: mostly full sets are shown as the complement.
    let (prefix, shown) = if set.count_ones() > 32 { ("~", !set) } else { ("", set) };
    let names: Vec<String> = (1..=64)
        .filter(|s| shown >> (s - 1) & 1 != 0)
        .map(|s| signal_text(s).trim_start_matches("SIG").to_string())
        .collect();
    format!("{prefix}[{}]", names.join(" "))
}

impl Kernel {
    fn show_string(&mut self, va: u64) -> String {
        if va == 0 {
            return "NULL".into();
        }
        match self.mm.read_cstr(va, 4096) {
            Ok(text) => quote(&text, false),
            Err(_) => format!("{va:#x}"),
        }
    }

    fn show_bytes(&mut self, va: u64, len: u64) -> String {
        let shown = len.min(STRING_MAX as u64) as usize;
        let mut buf = vec![0; shown];
        if va == 0 || self.mm.read_user(va, &mut buf).is_err() {
            return pointer(va);
        }
        quote(&buf, len > shown as u64)
    }

    fn show_strings(&mut self, va: u64, count_only: bool) -> String {
        if va == 0 {
            return "NULL".into();
        }
        let mut items = Vec::new();
        let mut n = 0_u64;
        while n < 4096 {
            match self.mm.read_pod::<u64>(va.wrapping_add(n * 8)) {
                Ok(0) => break,
                Ok(p) if !count_only && items.len() < STRINGS_MAX => {
                    items.push(self.show_string(p));
                }
                Ok(_) => {}
                Err(_) => return pointer(va),
            }
            n += 1;
        }
        if count_only {
            return format!("{va:#x} /* {n} vars */");
        }
        if n > items.len() as u64 {
            items.push("...".into());
        }
        format!("[{}]", items.join(", "))
    }

    fn show_iovec(&mut self, va: u64, count: u64) -> String {
        let mut items = Vec::new();
        for i in 0..count.min(8) {
            let Ok([base, len]) = self.mm.read_pod::<[u64; 2]>(va.wrapping_add(i * 16)) else {
                return pointer(va);
            };
            let text = self.show_bytes(base, len);
            items.push(format!("{{iov_base={text}, iov_len={len}}}"));
        }
        if count > 8 {
            items.push("...".into());
        }
        format!("[{}]", items.join(", "))
    }

    fn show_pod<T: Pod>(&mut self, va: u64, show: impl Fn(T) -> String) -> String {
        if va == 0 {
            return "NULL".into();
        }
        match self.mm.read_pod::<T>(va) {
            Ok(value) => show(value),
            Err(_) => pointer(va),
        }
    }

    /// Text of argument `i`; `None` if it is known only at the end of the call.
    fn show_arg(&mut self, kind: Arg, args: Args, i: usize) -> Option<String> {
        let v = args.u64(i);
        let next = args.0.get(i + 1).copied().unwrap_or(0);
        Some(match kind {
            Arg::Int => (v as i32).to_string(),
            Arg::Long => (v as i64).to_string(),
            Arg::Size => v.to_string(),
            Arg::Mode => format!("{:#o}", v as u32).replacen("0o", "0", 1),
            Arg::Hex => {
                if v == 0 {
                    "0".into()
                } else {
                    format!("{v:#x}")
                }
            }
            Arg::Ptr => pointer(v),
            Arg::Fd => (v as i32).to_string(),
            Arg::DirFd if v as i32 == -100 => "AT_FDCWD".into(),
            Arg::DirFd => (v as i32).to_string(),
            Arg::Path => self.show_string(v),
            Arg::InBuf => self.show_bytes(v, next),
            Arg::Signal => signal_text(v as u32),
            Arg::Strings => self.show_strings(v, false),
            Arg::StringCount => self.show_strings(v, true),
            Arg::Timespec => self.show_pod(v, |t: Timespec| {
                format!("{{tv_sec={}, tv_nsec={}}}", t.tv_sec, t.tv_nsec)
            }),
            Arg::SigSet => self.show_pod(v, signal_set),
            Arg::Iovec => self.show_iovec(v, next),
            Arg::Flags(names) => flags(v, names),
            Arg::Enum(names) => {
                let low = v & 0xffff_ffff;
                names
                    .iter()
                    .find(|n| n.0 == low)
                    .map_or_else(|| format!("{low:#x}"), |n| n.1.to_string())
            }
            Arg::OutBuf
            | Arg::OutInt
            | Arg::OutTimespec
            | Arg::OutSigSet
            | Arg::OutStat
            | Arg::OutFdPair => return None,
        })
    }

    /// Text of an argument that the call filled.
    fn show_out(&mut self, kind: Arg, args: Args, i: usize, value: u64) -> String {
        let v = args.u64(i);
        if Errno::from_raw(value.wrapping_neg() as i32).is_some() && (value as i64) < 0 {
            return pointer(v);
        }
        match kind {
            Arg::OutBuf => self.show_bytes(v, value),
            Arg::OutInt => self.show_pod(v, |n: i32| format!("[{n}]")),
            Arg::OutTimespec => self.show_pod(v, |t: Timespec| {
                format!("{{tv_sec={}, tv_nsec={}}}", t.tv_sec, t.tv_nsec)
            }),
            Arg::OutSigSet => self.show_pod(v, signal_set),
            Arg::OutFdPair => self.show_pod(v, |[a, b]: [i32; 2]| format!("[{a}, {b}]")),
            // st_mode and st_size of struct stat
            Arg::OutStat => self.show_pod(v, |w: [u64; 8]| {
                format!("{{st_mode={:#o}, st_size={}, ...}}", w[3] as u32, w[6])
                    .replacen("0o", "0", 1)
            }),
            _ => pointer(v),
        }
    }

    pub(crate) fn trace_begin(&mut self, tid: ThreadId, nr: u64, args: Args) {
        let kinds: Vec<Arg> = match self.table.row(nr) {
            Some(row) => row.args.iter().map(|a| a.1).collect(),
            None => vec![Arg::Hex; 6],
        };
        let texts =
            kinds.iter().enumerate().map(|(i, &kind)| self.show_arg(kind, args, i)).collect();
        // These never come back to be printed.
        if matches!(nr, EXIT | EXIT_GROUP) {
            let name = self.table.name(nr);
            let line = format!("[pid {:>5}] {name}({}) = ?", tid.0, args.u64(0) as i32);
            self.host.log(&line);
            return;
        }
        self.tasks[tid].traced = nr;
        self.tasks[tid].trace = Some(Box::new(Begun { args, texts }));
    }

    fn trace_line(&mut self, tid: ThreadId, row: Option<&Row>, name: &str, value: u64) -> String {
        let begun = self.tasks[tid].trace.take().unwrap_or_default();
        let mut texts = Vec::new();
        for (i, text) in begun.texts.iter().enumerate() {
            texts.push(match (text, row) {
                (Some(text), _) => text.clone(),
                (None, Some(row)) => {
                    let kind = row.args.get(i).map_or(Arg::Hex, |a| a.1);
                    self.show_out(kind, begun.args, i, value)
                }
                (None, None) => "?".into(),
            });
        }
        format!("[pid {:>5}] {name}({})", tid.0, texts.join(", "))
    }

    pub(crate) fn trace_end(&mut self, tid: ThreadId, value: u64, restart: bool) {
        if !self.strace || self.tasks.thread(tid).is_none_or(|t| t.trace.is_none()) {
            return;
        }
        let nr = self.tasks[tid].traced;
        let row = self.table.row(nr);
        let name = self.table.name(nr);
        let call = self.trace_line(tid, row, &name, value);
        let errno = Errno::from_raw((value as i64).wrapping_neg().try_into().unwrap_or(0));
        let result = match errno {
            _ if restart => "? ERESTARTSYS (To be restarted if SA_RESTART is set)".into(),
            Some(errno) if (value as i64) < 0 => {
                format!("-1 {} ({})", errno.name(), errno.text())
            }
            _ if row.is_some_and(|r| r.hex) => format!("{value:#x}"),
            _ => (value as i64).to_string(),
        };
        let line = format!("{call} = {result}");
        self.host.log(&line);
    }

    pub(crate) fn trace_no_return(&mut self, tid: ThreadId, nr: u64) {
        if !self.strace {
            return;
        }
        let name = self.table.name(nr);
        let line = match self.tasks.thread(tid) {
            Some(thread) if thread.trace.is_some() => {
                let row = self.table.row(nr);
                let call = self.trace_line(tid, row, &name, 0);
                let result = if nr == SIGRETURN { "?" } else { "0" };
                format!("{call} = {result}")
            }
            _ => return,
        };
        self.host.log(&line);
    }

    pub(crate) fn trace_signal(&mut self, tid: ThreadId, info: &Siginfo) {
        if !self.strace {
            return;
        }
        let code = match info.code {
            SI_USER => "SI_USER".into(),
            SI_KERNEL => "SI_KERNEL".into(),
            SI_TIMER => "SI_TIMER".into(),
            SI_TKILL => "SI_TKILL".into(),
            code => code.to_string(),
        };
        let name = signal_text(info.signo as u32);
        let detail = match info.signo as u32 {
            4 | 5 | 7 | 8 | 11 => format!("si_addr={}", pointer(info.fields[0])),
            _ => format!("si_pid={}, si_uid={}", info.fields[0] as u32, info.fields[0] >> 32),
        };
        let line = format!(
            "[pid {:>5}] --- {name} {{si_signo={name}, si_code={code}, {detail}}} ---",
            tid.0
        );
        self.host.log(&line);
    }

    pub(crate) fn log_death(&mut self, tid: ThreadId, signal: u32) {
        if signal == abi::signal::SIGILL
            && let Some(note) = self.death_note.take()
        {
            self.host.log(&format!("boxer: {note}"));
        }
        if self.strace {
            let ctx = &self.tasks[tid].ctx;
            let line = format!(
                "[pid {:>5}] +++ killed by {} (rip {:#x}) +++",
                tid.0,
                signal_text(signal),
                ctx.rip
            );
            self.host.log(&line);
        }
    }
}

fn pointer(va: u64) -> String {
    if va == 0 { "NULL".into() } else { format!("{va:#x}") }
}
