//! Ops that move or manage state: exchange, environment, save areas, MMX registers, MXCSR.

use super::Done;
use super::stack::{C1, ES};
use crate::sem::ieee::mxcsr;
use crate::{Cpu, F80, Inst, TrapKind, X87};

fn slot(cpu: &Cpu, i: u8) -> u64 {
    cpu.slot[usize::from(i)]
}

/// Notes the last instruction: address imm[47:0], opcode imm[58:48]; if `c` is 1 its operand's address is `a`.
pub fn last(cpu: &mut Cpu, i: &Inst) -> Done {
    let operand = slot(cpu, i.a);
    let x = &mut cpu.x87;
    x.fip = (i.imm << 16 >> 16) as u64;
    x.fop = (i.imm >> 48) as u16 & 0x7ff;
    if i.c == 1 {
        x.fdp = operand;
    }
    Ok(())
}

/// Exchanges ST(0) and ST(imm).
pub fn fxch(cpu: &mut Cpu, i: &Inst) -> Done {
    let x = &mut cpu.x87;
    let n = (i.imm & 7) as u8;
    let (a, b) = (x.st(0), x.st(n));
    let go = if a.is_none() || b.is_none() { x.fault(false) } else { x.raise(0, false) };
    if go {
        x.set(0, b.unwrap_or(F80::INDEFINITE));
        x.set(n, a.unwrap_or(F80::INDEFINITE));
    }
    Ok(())
}

/// ST(0) = ST(imm[2:0]) if `a` is not zero; a stack fault either way if one is empty.
pub fn fcmov(cpu: &mut Cpu, i: &Inst) -> Done {
    let condition = slot(cpu, i.a) != 0;
    let x = &mut cpu.x87;
    match (x.st(0), x.st((i.imm & 7) as u8)) {
        (Some(_), Some(b)) => {
            if condition {
                x.set(0, b);
            }
        }
        _ => {
            if x.fault(false) {
                x.set(0, F80::INDEFINITE);
            }
        }
    }
    Ok(())
}

/// Copies ST(0) to ST(imm[2:0]), pops if imm[4] (fst, fstp to a register).
pub fn fstst(cpu: &mut Cpu, i: &Inst) -> Done {
    let x = &mut cpu.x87;
    let go = match x.st(0) {
        Some(v) => {
            x.raise(0, false);
            x.set((i.imm & 7) as u8, v);
            true
        }
        None if i.imm >> 5 & 1 != 0 => {
            x.raise(0, false);
            true
        }
        None => {
            let go = x.fault(false);
            if go {
                x.set((i.imm & 7) as u8, F80::INDEFINITE);
            }
            go
        }
    };
    if go && i.imm >> 4 & 1 != 0 {
        x.pop();
    }
    Ok(())
}

/// Marks ST(imm[2:0]) empty, pops if imm[4] (ffree, ffreep).
pub fn ffree(cpu: &mut Cpu, i: &Inst) -> Done {
    cpu.x87.free((i.imm & 7) as u8);
    cpu.x87.sw &= !C1;
    if i.imm >> 4 & 1 != 0 {
        cpu.x87.pop();
    }
    Ok(())
}

/// Adds imm (1 or −1) to the top of the stack.
pub fn fmovetop(cpu: &mut Cpu, i: &Inst) -> Done {
    let x = &mut cpu.x87;
    x.top = x.top.wrapping_add(i.imm as u8) & 7;
    x.sw &= !C1;
    Ok(())
}

/// State after power-on; register contents stay.
pub fn fninit(cpu: &mut Cpu, _: &Inst) -> Done {
    cpu.x87 = X87 { st: cpu.x87.st, ..X87::default() };
    Ok(())
}

/// Clears the exception flags.
pub fn fnclex(cpu: &mut Cpu, _: &Inst) -> Done {
    cpu.x87.sw &= !(ES | 0x7f);
    Ok(())
}

/// Control word = `a`.
pub fn fldcw(cpu: &mut Cpu, i: &Inst) -> Done {
    let cw = slot(cpu, i.a) as u16;
    cpu.x87.set_control(cw);
    Ok(())
}

/// `d` = control word.
pub fn fnstcw(cpu: &mut Cpu, i: &Inst) -> Done {
    cpu.slot[usize::from(i.d)] = cpu.x87.cw.into();
    Ok(())
}

/// `d` = status word.
pub fn fnstsw(cpu: &mut Cpu, i: &Inst) -> Done {
    cpu.slot[usize::from(i.d)] = cpu.x87.status().into();
    Ok(())
}

/// `d` = doubleword `imm` (0..7) of the 28-byte environment (SDM vol. 1, figure 8-9). FCS and FDS are zero, as on
/// processors that say so in CPUID.7:EBX\[13\].
pub fn envget(cpu: &mut Cpu, i: &Inst) -> Done {
    let x = &cpu.x87;
    cpu.slot[usize::from(i.d)] = match i.imm {
        0 => u64::from(x.cw) | 0xffff_0000,
        1 => u64::from(x.status()) | 0xffff_0000,
        2 => u64::from(x.tags()) | 0xffff_0000,
        3 => x.fip & 0xffff_ffff,
        4 => u64::from(x.fop & 0x7ff) << 16,
        5 => x.fdp & 0xffff_ffff,
        _ => 0xffff_0000,
    };
    Ok(())
}

/// Doubleword `imm` of the environment = `a`.
pub fn envput(cpu: &mut Cpu, i: &Inst) -> Done {
    let v = slot(cpu, i.a);
    let x = &mut cpu.x87;
    match i.imm {
        0 => x.set_control(v as u16),
        1 => x.set_status(v as u16),
        2 => x.set_tags(v as u16),
        3 => x.fip = v & 0xffff_ffff,
        4 => x.fop = (v >> 16) as u16 & 0x7ff,
        5 => x.fdp = v & 0xffff_ffff,
        _ => {}
    }
    Ok(())
}

/// Masks all exceptions (the end of FNSTENV).
pub fn maskall(cpu: &mut Cpu, _: &Inst) -> Done {
    cpu.x87.cw |= 0x3f;
    cpu.x87.summarize();
    Ok(())
}

/// `d` = significand (`c` = 0) or sign and exponent (`c` = 1) of ST(imm), empty or not (FNSAVE).
pub fn regget(cpu: &mut Cpu, i: &Inst) -> Done {
    let v = cpu.x87.st[usize::from(cpu.x87.top.wrapping_add(i.imm as u8) & 7)];
    cpu.slot[usize::from(i.d)] = if i.c == 0 { v.mant } else { v.se.into() };
    Ok(())
}

/// Contents of ST(imm) = significand `a`, sign and exponent `b` (FRSTOR); the tag stays.
pub fn regput(cpu: &mut Cpu, i: &Inst) -> Done {
    let v = F80 { mant: slot(cpu, i.a), se: slot(cpu, i.b) as u16 };
    cpu.x87.st[usize::from(cpu.x87.top.wrapping_add(i.imm as u8) & 7)] = v;
    Ok(())
}

/// Which bits of pieces 0 and 1 of the FXSAVE image hold state in the form with 32-bit pointers (imm bit 5).
fn narrowed(i: &Inst, v: u128) -> u128 {
    match i.imm {
        32 => v & (u128::MAX >> 32),
        33 => v & !(0xffff_ffff << 32),
        _ => v,
    }
}

/// Vector `d` = 16 bytes number imm[4:0] of the FXSAVE image.
pub fn fxget(cpu: &mut Cpu, i: &Inst) -> Done {
    cpu.v[usize::from(i.d)] = narrowed(i, cpu.fxsave_chunk(i.imm as usize & 31));
    Ok(())
}

/// 16 bytes number imm[4:0] (0..26) of the FXSAVE image = vector `a`. Number 0 must come before the registers. #GP for
/// reserved bits of MXCSR.
pub fn fxput(cpu: &mut Cpu, i: &Inst) -> Done {
    let v = narrowed(i, cpu.v[usize::from(i.a)]);
    let x = &mut cpu.x87;
    match i.imm & 31 {
        0 => {
            x.set_control(v as u16);
            x.valid = (v >> 32) as u8;
            x.fop = (v >> 48) as u16 & 0x7ff;
            x.fip = (v >> 64) as u64;
            x.set_status((v >> 16) as u16);
        }
        1 => {
            let mx = (v >> 64) as u32;
            if mx & !mxcsr::VALID != 0 {
                return Err(TrapKind::Gp);
            }
            x.fdp = v as u64;
            cpu.mxcsr = mx;
        }
        n @ 2..10 => {
            let at = usize::from(x.top.wrapping_add(n as u8 - 2) & 7);
            x.st[at] = F80 { mant: v as u64, se: (v >> 64) as u16 };
        }
        n @ 10..26 => cpu.v[n as usize - 10] = v,
        _ => {}
    }
    Ok(())
}

/// MXCSR = `a`; #GP for reserved bits.
pub fn ldmxcsr(cpu: &mut Cpu, i: &Inst) -> Done {
    let mx = slot(cpu, i.a) as u32;
    if mx & !mxcsr::VALID != 0 {
        return Err(TrapKind::Gp);
    }
    cpu.mxcsr = mx;
    Ok(())
}

/// `d` = MXCSR.
pub fn stmxcsr(cpu: &mut Cpu, i: &Inst) -> Done {
    cpu.slot[usize::from(i.d)] = cpu.mxcsr.into();
    Ok(())
}

/// What every MMX instruction but EMMS does: top 0, no register empty (SDM vol. 1, 9.5.1).
fn enter_mmx(x: &mut X87) {
    x.top = 0;
    x.valid = 0xff;
}

/// Vector `d` = MM(imm), high half zero. `c` = 1: without entering MMX state (a store that may fault follows).
pub fn mmxget(cpu: &mut Cpu, i: &Inst) -> Done {
    if i.c != 1 {
        enter_mmx(&mut cpu.x87);
    }
    cpu.v[usize::from(i.d)] = cpu.x87.st[(i.imm & 7) as usize].mant.into();
    Ok(())
}

/// MM(imm) = low half of vector `a`.
pub fn mmxput(cpu: &mut Cpu, i: &Inst) -> Done {
    enter_mmx(&mut cpu.x87);
    cpu.x87.st[(i.imm & 7) as usize] = F80 { mant: cpu.v[usize::from(i.a)] as u64, se: 0xffff };
    Ok(())
}

/// All registers empty.
pub fn emms(cpu: &mut Cpu, _: &Inst) -> Done {
    cpu.x87.valid = 0;
    cpu.x87.top = 0;
    Ok(())
}
