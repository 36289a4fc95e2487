//! What must be equal, and what the manuals leave open.

use super::generate::{all, decode};
use super::{Case, End, Outcome, State};
use iced_x86::{Instruction, Mnemonic, OpKind, Register, RflagsBits};

/// Differences between the processor's outcome and ours; empty if there are none that count.
pub fn differences(case: &Case, native: &Outcome, ours: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    if native.end == End::Lost || ours.end == End::Lost {
        return found;
    }
    let tolerant = tolerance(case);
    let mnemonic = decode(&case.code).map(|i| i.mnemonic());
    let image = matches!(
        mnemonic,
        Some(
            Mnemonic::Fxsave
                | Mnemonic::Fxsave64
                | Mnemonic::Fxrstor
                | Mnemonic::Fxrstor64
                | Mnemonic::Fnsave
                | Mnemonic::Frstor
                | Mnemonic::Fnstenv
                | Mnemonic::Fldenv
        )
    );
    let stopped = native.end != End::Done;
    if undefined_result(case) {
        return found;
    }
    let mut note = |name: String, a: String, b: String| {
        if a != b {
            found.push(format!("{name}: processor {a}, ours {b}"));
        }
    };
    // A read-modify-write is a write from its first byte on there, but a load comes first here; a program cannot tell
    // but by the error code in its signal frame. FXSAVE, FNSAVE and their kin try their bytes in an order of their own.
    let reach = if image { 512 } else { 16 };
    let end = match (native.end, ours.end) {
        (End::Fault(a, true), End::Fault(b, false)) if b.wrapping_sub(a) < reach => native.end,
        (End::Fault(a, x), End::Fault(b, y)) if image && (x == y || x) && a.abs_diff(b) < reach => {
            native.end
        }
        _ => ours.end,
    };
    note("end".into(), format!("{:x?}", native.end), format!("{end:x?}"));
    note("rip".into(), format!("{:x}", native.rip), format!("{:x}", ours.rip));
    let mut adjusted = native.state.clone();
    if stopped
        && matches!(
            mnemonic,
            Some(
                Mnemonic::Maskmovq
                    | Mnemonic::Cvtps2pi
                    | Mnemonic::Cvttps2pi
                    | Mnemonic::Cvtpd2pi
                    | Mnemonic::Cvttpd2pi
            )
        )
    {
        // Some processors enter MMX state before the fault.
        adjusted = ours.state.clone();
    }
    if stopped
        && matches!(
            mnemonic,
            Some(Mnemonic::Dpps | Mnemonic::Dppd | Mnemonic::Vdpps | Mnemonic::Vdppd)
        )
    {
        // How far the sum got before an unmasked exception.
        adjusted.set_mxcsr(ours.state.mxcsr());
    }
    let (n, o) = (&adjusted, &ours.state);
    const NAMES: [&str; 16] = super::line::REGISTERS;
    for (i, name) in NAMES.iter().enumerate() {
        note((*name).into(), format!("{:x}", n.regs[i]), format!("{:x}", o.regs[i]));
    }
    let defined = !undefined_flags(case, native);
    note("rflags".into(), format!("{:x}", n.rflags & defined), format!("{:x}", o.rflags & defined));
    for i in 0..16 {
        note(format!("xmm{i}"), format!("{:032x}", n.xmm(i)), format!("{:032x}", o.xmm(i)));
        let high = |s: &State| format!("{:032x}", s.high[i]);
        note(format!("ymm{i} high"), high(n), high(o));
    }
    note("mxcsr".into(), format!("{:x}", n.mxcsr()), format!("{:x}", o.mxcsr()));
    note("cw".into(), format!("{:x}", n.cw()), format!("{:x}", o.cw()));
    // C1 after a transcendental result says how the last bit was rounded; UE may depend on that bit too.
    let sw_mask = if tolerant { !0x210 } else { !0 };
    note("sw".into(), format!("{:x}", n.sw() & sw_mask), format!("{:x}", o.sw() & sw_mask));
    note("tags".into(), format!("{:x}", n.tags()), format!("{:x}", o.tags()));
    for i in 0..8 {
        let (a, b) = (n.st(i), o.st(i));
        if tolerant && a.1.abs_diff(b.1) <= 1 && near(a, b) {
            continue;
        }
        let show = |v: (u64, u16)| format!("{:04x}:{:016x}", v.1, v.0);
        note(format!("st{i}"), show(a), show(b));
    }
    if n.memory != o.memory {
        let (mut a, b) = (n.data(), o.data());
        if image {
            // MXCSR_MASK: AMD has one bit more.
            for i in 2..a.len() {
                if a[i - 2..=i] == [0xff, 0xff, 2] && b[i] == 0 {
                    a[i] = 0;
                }
            }
        }
        let at = (0..a.len()).find(|&i| a[i] != b[i]).unwrap_or(0);
        let end = (at + 16).min(a.len());
        note(
            format!("memory at {:x}", super::DATA + at as u64),
            format!("{:02x?}", &a[at..end]),
            format!("{:02x?}", &b[at..end]),
        );
    }
    found
}

/// Two significands within two units in the last place (over a binade's border too).
fn near(a: (u64, u16), b: (u64, u16)) -> bool {
    if a.1 == b.1 {
        return a.0.abs_diff(b.0) <= 2;
    }
    a.0.wrapping_sub(b.0).wrapping_add(2) <= 4 || a.0 ^ b.0 == u64::MAX >> 1
}

/// Results that the processor itself gives only to within an error bound.
fn tolerance(case: &Case) -> bool {
    use Mnemonic::*;
    decode(&case.code).is_some_and(|ins| {
        matches!(ins.mnemonic(), F2xm1 | Fyl2x | Fyl2xp1 | Fpatan | Fptan | Fsin | Fcos | Fsincos)
    })
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
    let defined = if by_cl { 0 } else { ins.rflags_modified() & !ins.rflags_undefined() };
    before & !defined | ins.rflags_undefined()
}

/// RFLAGS bits that are undefined after this instruction (SDM vol. 1, appendix A).
fn undefined_flags(case: &Case, outcome: &Outcome) -> u64 {
    // Of those that were carried out, and of a branch; what follows a faulting instruction does not count.
    let stopped = outcome.end != End::Done;
    if stopped && decode(&case.code).is_none() {
        // Flags that a later instruction of the block overwrites may already be missing at a fault.
        return u64::MAX;
    }
    let bits = all(&case.code)
        .iter()
        .filter(|ins| !stopped || ins.ip() < outcome.rip)
        .fold(0, still_undefined);
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
