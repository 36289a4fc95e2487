//! What must be equal, and what the manuals leave open.

use super::generate::{all, decode};
use super::{Case, End, Outcome};
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register, RflagsBits};

/// Differences between the processor's outcome and ours; empty if there are none that count.
pub fn differences(case: &Case, native: &Outcome, ours: &Outcome) -> Vec<String> {
    let lost = native.end == End::Lost || ours.end == End::Lost;
    // MXCSR.MM is AMD's alone (APM vol. 1, 4.2.2): elsewhere a load with that bit is #GP.
    let misaligned_mode = native.state.mxcsr() >> 17 & 1 != 0;
    if lost || misaligned_mode || native == ours || undefined_result(case) {
        return Vec::new();
    }
    let mut found = Vec::new();
    macro_rules! note {
        ($name:expr, $a:expr, $b:expr, $format:literal) => {
            if $a != $b {
                let (a, b) = (format!($format, $a), format!($format, $b));
                found.push(format!("{}: processor {a}, ours {b}", $name));
            }
        };
    }
    let stopped = native.end != End::Done;
    // The instruction that counts: the only one, or the one that stopped it.
    let single = match decode(&case.code) {
        None if stopped => all(&case.code).iter().find(|i| i.ip() == native.rip).copied(),
        one => one,
    }
    .map(|i| i.mnemonic());
    let image = single.is_some_and(is_image);
    let end = comparable_end(native.end, ours.end, image);
    note!("end", native.end, end, "{:x?}");
    note!("rip", native.rip, ours.rip, "{:x}");
    let mut adjusted = native.state.clone();
    match single {
        // Some processors enter MMX state before the fault.
        Some(
            Mnemonic::Maskmovq
            | Mnemonic::Cvtps2pi
            | Mnemonic::Cvttps2pi
            | Mnemonic::Cvtpd2pi
            | Mnemonic::Cvttpd2pi,
        ) if stopped => {
            adjusted.fx[..24].copy_from_slice(&ours.state.fx[..24]);
            adjusted.fx[32..160].copy_from_slice(&ours.state.fx[32..160]);
        }
        _ => {}
    }
    let (n, o) = (&adjusted, &ours.state);
    for (i, name) in super::line::REGISTERS.iter().enumerate() {
        note!(name, n.regs[i], o.regs[i], "{:x}");
    }
    if n.rflags != o.rflags {
        let defined = !undefined_flags(case, native);
        note!("rflags", n.rflags & defined, o.rflags & defined, "{:x}");
    }
    note!("fs", n.fs, o.fs, "{:x}");
    note!("gs", n.gs, o.gs, "{:x}");
    for i in 0..16 {
        note!(format!("xmm{i}"), n.xmm(i), o.xmm(i), "{:032x}");
        note!(format!("ymm{i} high"), n.high[i], o.high[i], "{:032x}");
    }
    note!("mxcsr", n.mxcsr(), o.mxcsr(), "{:x}");
    note!("cw", n.cw(), o.cw(), "{:x}");
    let tolerant = single.is_some_and(tolerance);
    // C1 after a transcendental result says how the last bit was rounded; whether it is tiny (UE) or
    // too large (OE) may depend on that bit too.
    let sw_mask = if tolerant { !0x218 } else { !0 };
    note!("sw", n.sw() & sw_mask, o.sw() & sw_mask, "{:x}");
    note!("tags", n.tags(), o.tags(), "{:x}");
    for i in 0..8 {
        let (a, b) = (n.st(i), o.st(i));
        if tolerant && a.1.abs_diff(b.1) <= 1 && near(a, b) {
            continue;
        }
        note!(format!("st{i}"), a, b, "{:x?}");
    }
    // An image may be written in any order up to the fault.
    let torn = stopped && single.is_some_and(is_xsave);
    if n.memory != o.memory && !torn {
        let (mut a, b) = (n.memory.data(), o.memory.data());
        if image {
            // MXCSR_MASK: AMD has one bit more.
            for i in 2..a.len() {
                if a[i - 2..=i] == [0xff, 0xff, 2] && b[i] == 0 {
                    a[i] = 0;
                }
            }
            if single.is_some_and(is_xsave) {
                // XSTATE_BV: whether a component in its initial state counts as in use is the processor's affair.
                for i in (0..a.len() - 64).filter(|i| i % 64 == 0) {
                    if a[i] != b[i] && (a[i] ^ b[i]) < 8 && a[i + 1..i + 64] == b[i + 1..i + 64] {
                        a[i] = b[i];
                    }
                }
            }
        }
        let at = (0..a.len()).find(|&i| a[i] != b[i]).unwrap_or(0);
        let end = (at + 16).min(a.len());
        note!(
            format!("memory at {:x}", super::DATA + at as u64),
            &a[at..end],
            &b[at..end],
            "{:02x?}"
        );
    }
    found
}

/// Stores or loads an image of the state: in an order of its own, and FXSAVE's has a field that is the maker's.
fn is_image(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, Fxsave | Fxsave64 | Fxrstor | Fxrstor64 | Fnsave | Frstor | Fnstenv | Fldenv)
        || is_xsave(mnemonic)
}

fn is_xsave(mnemonic: Mnemonic) -> bool {
    matches!(mnemonic, Mnemonic::Xsave | Mnemonic::Xsave64 | Mnemonic::Xrstor | Mnemonic::Xrstor64)
}

/// Our end, or the processor's where the two mean the same: FXSAVE, FNSAVE and their kin try their bytes in an order of
/// their own.
fn comparable_end(native: End, ours: End, image: bool) -> End {
    match (native, ours) {
        (End::Fault(a, x), End::Fault(b, y)) if image && (x == y || x) && a.abs_diff(b) < 832 => {
            native
        }
        _ => ours,
    }
}

/// Two significands within two units in the last place (over a binade's border too).
fn near(a: (u64, u16), b: (u64, u16)) -> bool {
    if a.1 == b.1 {
        return a.0.abs_diff(b.0) <= 2;
    }
    a.0.wrapping_sub(b.0).wrapping_add(2) <= 4 || a.0 ^ b.0 == u64::MAX >> 1
}

/// Results that the processor itself gives only to within an error bound.
fn tolerance(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, F2xm1 | Fyl2x | Fyl2xp1 | Fpatan | Fptan | Fsin | Fcos | Fsincos)
}

/// Double shifts of 16 bits by more than 16 give undefined results.
fn undefined_result(case: &Case) -> bool {
    use Mnemonic::*;
    all(&case.code).iter().any(|ins| {
        if !matches!(ins.mnemonic(), Shld | Shrd) {
            return false;
        }
        let count = match ins.op_kind(2) {
            // In a sequence CL may be anything by then.
            OpKind::Register if decode(&case.code).is_none() => 31,
            OpKind::Register => case.state.regs[1],
            _ => ins.immediate(2),
        };
        ins.op_register(1).size() == 2 && count & 31 > 16
    })
}

/// Flags (iced's bits) that are undefined after `ins` if `before` were before.
pub fn still_undefined(before: u32, ins: &Instruction) -> u32 {
    // A shift by CL may leave all flags as they are.
    let by_cl = (0..ins.op_count())
        .any(|n| ins.op_kind(n) == OpKind::Register && ins.op_register(n) == Register::CL && n > 0);
    // A repeated comparison may have nothing to compare.
    let maybe_none = by_cl || ins.has_rep_prefix() || ins.has_repne_prefix();
    let defined = if maybe_none { 0 } else { ins.rflags_modified() & !ins.rflags_undefined() };
    before & !defined | ins.rflags_undefined()
}

/// Flags (iced's bits) that may be undefined before the instruction at `rip`, or behind all of them.
fn undefined_at(instructions: &[Instruction], rip: u64) -> u32 {
    // What branches forward bring along.
    let mut joins: Vec<(u64, u32)> = Vec::new();
    let joined = |joins: &[(u64, u32)], at: u64| {
        joins.iter().filter(|j| j.0 == at).fold(0, |bits, j| bits | j.1)
    };
    let mut undefined = 0;
    for ins in instructions {
        undefined |= joined(&joins, ins.ip());
        if ins.ip() == rip {
            return undefined;
        }
        undefined = still_undefined(undefined, ins);
        if ins.flow_control() != FlowControl::Next {
            joins.push((ins.near_branch_target(), undefined));
        }
    }
    undefined | instructions.last().map_or(0, |last| joined(&joins, last.next_ip()))
}

/// RFLAGS bits that are undefined where the case ended (SDM vol. 1, appendix A).
fn undefined_flags(case: &Case, outcome: &Outcome) -> u64 {
    let bits = undefined_at(&all(&case.code), outcome.rip);
    let table = [
        (RflagsBits::OF, 11),
        (RflagsBits::SF, 7),
        (RflagsBits::ZF, 6),
        (RflagsBits::AF, 4),
        (RflagsBits::CF, 0),
        (RflagsBits::PF, 2),
    ];
    table.iter().fold(0, |m, &(bit, at)| if bits & bit != 0 { m | 1 << at } else { m })
}
