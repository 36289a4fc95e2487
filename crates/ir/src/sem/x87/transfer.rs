//! Loads and stores: values of all formats onto the stack and from it.

use super::value::full_control;
use super::{Done, arith, slot};
use crate::sem::ieee::{W32, W64, Width};
use crate::sem::softfloat::*;
use crate::{Cpu, F80, Inst, X87};

fn load_ieee(x: &mut X87, w: &Width, bits: u64) -> Done {
    let mut flags = 0;
    let value = F80::from_ieee(w, bits, &mut flags);
    if x.st(7).is_some() {
        x.push(value); // the stack fault wins over the operand's exceptions
    } else if x.raise(flags, false) || flags & IE == 0 {
        // A denormal is pushed also where its exception is not masked.
        x.push(value);
    }
    Ok(())
}

/// Pushes the single in `a`.
pub fn fld32(cpu: &mut Cpu, i: &Inst) -> Done {
    let bits = slot(cpu, i.a) & 0xffff_ffff;
    load_ieee(&mut cpu.x87, &W32, bits)
}

/// Pushes the double in `a`.
pub fn fld64(cpu: &mut Cpu, i: &Inst) -> Done {
    let bits = slot(cpu, i.a);
    load_ieee(&mut cpu.x87, &W64, bits)
}

fn push(cpu: &mut Cpu, value: F80) -> Done {
    cpu.x87.raise(0, false);
    cpu.x87.push(value);
    Ok(())
}

/// Pushes the extended value of significand `a`, sign and exponent `b`.
pub fn fld80(cpu: &mut Cpu, i: &Inst) -> Done {
    let value = F80 { mant: slot(cpu, i.a), se: slot(cpu, i.b) as u16 };
    push(cpu, value)
}

/// Pushes the signed integer in `a`.
pub fn fild(cpu: &mut Cpu, i: &Inst) -> Done {
    let value = F80::from_i64(slot(cpu, i.a) as i64);
    push(cpu, value)
}

/// Pushes the packed decimal with low eight bytes `a`, high two `b`.
pub fn fbld(cpu: &mut Cpu, i: &Inst) -> Done {
    let value = arith::from_decimal(slot(cpu, i.a), slot(cpu, i.b) as u16);
    push(cpu, value)
}

/// Pushes ST(imm).
pub fn fldst(cpu: &mut Cpu, i: &Inst) -> Done {
    match cpu.x87.st(i.imm as u8) {
        Some(value) => push(cpu, value),
        None => {
            // Underflow wins over an overflow at the same time.
            if cpu.x87.fault(false) {
                cpu.x87.raw_push(F80::INDEFINITE);
            }
            Ok(())
        }
    }
}

/// Pushes constant number `imm`: 1, log2 10, log2 e, π, log10 2, ln 2, 0 (the order of D9 E8–EE).
pub fn fldconst(cpu: &mut Cpu, i: &Inst) -> Done {
    const TABLE: [(i32, u128); 5] = [
        (1, 0xd49a_784b_cd1b_8afe_492b << 48),
        (0, 0xb8aa_3b29_5c17_f0bb_be87 << 48),
        (1, 0xc90f_daa2_2168_c234_c4c6 << 48),
        (-2, 0x9a20_9a84_fbcf_f798_8f89 << 48),
        (-1, 0xb172_17f7_d1cf_79ab_c9e3 << 48),
    ];
    let value = match i.imm {
        0 => F80::ONE,
        n @ 1..=5 => {
            let (exp, sig) = TABLE[n as usize - 1];
            let c = full_control(cpu.x87.cw);
            F80::pack(round(&c, Exact { sign: false, exp, sig }).value)
        }
        _ => F80::default(),
    };
    push(cpu, value)
}

/// Memory formats of stores, field `c` of [`get`] and [`done`].
pub mod store {
    #![allow(missing_docs)]
    pub const F32: u8 = 0;
    pub const F64: u8 = 1;
    pub const I16: u8 = 2;
    pub const I32: u8 = 3;
    pub const I64: u8 = 4;
    pub const TRUNCATED_I16: u8 = 5;
    pub const TRUNCATED_I32: u8 = 6;
    pub const TRUNCATED_I64: u8 = 7;
    pub const F80_LOW: u8 = 8;
    pub const F80_HIGH: u8 = 9;
    pub const DECIMAL_LOW: u8 = 10;
    pub const DECIMAL_HIGH: u8 = 11;
}

/// ST(0) in a memory format: (bits, flags, rounded up).
fn stored(x: &X87, format: u8) -> (u64, u32, bool) {
    let v = x.st(0);
    let int = |bits, mode| v.unwrap_or(F80::INDEFINITE).to_integer(bits, x.cw, mode);
    let value = v.unwrap_or(F80::INDEFINITE);
    let r = match format {
        store::F32 => value.to_ieee(&W32, x.cw),
        store::F64 => value.to_ieee(&W64, x.cw),
        store::I16 => int(16, None),
        store::I32 => int(32, None),
        store::I64 => int(64, None),
        store::TRUNCATED_I16 => int(16, Some(Mode::Zero)),
        store::TRUNCATED_I32 => int(32, Some(Mode::Zero)),
        store::TRUNCATED_I64 => int(64, Some(Mode::Zero)),
        store::F80_LOW => (value.mant, 0, false),
        store::F80_HIGH => (value.se.into(), 0, false),
        _ => {
            let (low, high, flags, up) = arith::to_decimal(x.cw, value);
            (if format == store::DECIMAL_LOW { low } else { high.into() }, flags, up)
        }
    };
    if v.is_some() { r } else { (r.0, EMPTY, false) }
}

/// Marks the outcome of storing an empty register; outside the six flags.
const EMPTY: u32 = 1 << 31;

/// Exceptions of a store that are not masked and so suppress it.
fn suppressing(x: &X87, flags: u32) -> u32 {
    let flags = if flags == EMPTY { IE } else { flags };
    flags & (IE | OE | UE) & !u32::from(x.cw)
}

/// `d` = ST(0) in format `c` ([`store`]), or slot `a`, what memory holds now, if an unmasked exception suppresses the
/// store. Changes nothing: the store may fault.
pub fn get(cpu: &mut Cpu, i: &Inst) -> Done {
    let (bits, flags, _) = stored(&cpu.x87, i.c);
    let bits = if suppressing(&cpu.x87, flags) != 0 { slot(cpu, i.a) } else { bits };
    cpu.slot[usize::from(i.d)] = bits;
    Ok(())
}

/// After a store in format `c`: raises its exceptions, pops if `imm` is 1.
pub fn done(cpu: &mut Cpu, i: &Inst) -> Done {
    let (_, flags, up) = stored(&cpu.x87, i.c);
    let x = &mut cpu.x87;
    let suppressed = suppressing(x, flags);
    if flags == EMPTY {
        x.fault(false);
    } else if suppressed != 0 {
        x.raise(suppressed, false);
    } else {
        x.raise(flags, up);
    }
    if i.imm == 1 && suppressed == 0 {
        x.pop();
    }
    Ok(())
}
