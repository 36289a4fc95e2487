//! The x87 and MMX state ops. Each is `fn(&mut Cpu, &Inst) -> Result<(), TrapKind>`; which fields of the [`Inst`] count
//! is said at each function. Memory operands are loaded and stored by other ops: what may fault comes first.
//!
//! Exceptions: masked responses as in SDM vol. 1, 8.5; an unmasked one sets ES, and the next waiting instruction stops
//! with #MF ([`wait`]).

pub mod arith;
mod control;
pub mod stack;
mod transcendental;
mod transfer;
pub mod value;
mod wide;

pub use control::*;
pub use transfer::*;

use crate::sem::ieee::{W32, W64};
use crate::sem::softfloat::*;
use crate::{ARITH, Cpu, F80, Inst, TrapKind, X87};
use arith::{Basic, Outcome, Quotient};
use stack::{C0, C1, C2, C3};
use std::cmp::Ordering;

type Done = Result<(), TrapKind>;

fn slot(cpu: &Cpu, i: u8) -> u64 {
    cpu.slot[usize::from(i)]
}

/// #MF if an unmasked exception is pending. First op of every waiting instruction.
pub fn wait(cpu: &mut Cpu, _: &Inst) -> Done {
    cpu.x87.check()
}

/// Writes an outcome to ST(i) unless an unmasked exception forbids it; true if written.
fn settle(x: &mut X87, i: u8, (value, flags, up): Outcome) -> bool {
    let go = x.raise(flags, up);
    if go {
        x.set(i, value);
    }
    go
}

/// Stack underflow with destination ST(i); true if masked (and the default written).
fn underflow(x: &mut X87, i: u8) -> bool {
    let go = x.fault(false);
    if go {
        x.set(i, F80::INDEFINITE);
    }
    go
}

/// ST(imm[6:4]) = ST(imm[6:4]) op ST(imm[10:8]), pops if imm[12]; op is imm[3:0] ([`Basic`]).
pub fn arith(cpu: &mut Cpu, i: &Inst) -> Done {
    let (to, from) = ((i.imm >> 4 & 7) as u8, (i.imm >> 8 & 7) as u8);
    let x = &mut cpu.x87;
    let go = match (x.st(to), x.st(from)) {
        (Some(a), Some(b)) => {
            let r = arith::basic(Basic::from_number((i.imm & 15) as u8), x.cw, 0, a, b);
            settle(x, to, r)
        }
        _ => underflow(x, to),
    };
    if go && i.imm >> 12 & 1 != 0 {
        x.pop();
    }
    Ok(())
}

/// The memory operand in slot `a`, of kind `c`: 0 single, 1 double, 2 integer.
fn memory_operand(cpu: &Cpu, i: &Inst, flags: &mut u32) -> F80 {
    let bits = slot(cpu, i.a);
    match i.c {
        0 => F80::from_ieee(&W32, bits & 0xffff_ffff, flags),
        1 => F80::from_ieee(&W64, bits, flags),
        _ => F80::from_i64(bits as i64),
    }
}

/// ST(0) = ST(0) op memory operand; op is imm.
pub fn arithm(cpu: &mut Cpu, i: &Inst) -> Done {
    let mut flags = 0;
    let b = memory_operand(cpu, i, &mut flags);
    let signalling = flags & IE != 0;
    let x = &mut cpu.x87;
    match x.st(0) {
        Some(a) => {
            // A signalling operand keeps that role in the choice of the NaN.
            let b = if signalling { F80 { mant: b.mant & !(1 << 62), ..b } } else { b };
            let b = if signalling && b.mant << 1 == 0 { b.quieted() } else { b };
            let r = arith::basic(Basic::from_number(i.imm as u8), x.cw, flags, a, b);
            settle(x, 0, r);
        }
        None => {
            underflow(x, 0);
        }
    }
    Ok(())
}

fn codes(order: Option<Ordering>) -> u16 {
    match order {
        None => C3 | C2 | C0,
        Some(Ordering::Greater) => 0,
        Some(Ordering::Less) => C0,
        Some(Ordering::Equal) => C3,
    }
}

/// Compares ST(0) with ST(imm[2:0]), pops imm[5:4] times; imm[6]: quiet NaNs are valid; imm[7]: result to RFLAGS.
pub fn com(cpu: &mut Cpu, i: &Inst) -> Done {
    let x = &mut cpu.x87;
    let mut flags = 0;
    let to_rflags = i.imm >> 7 & 1 != 0;
    let (order, go) = match (x.st(0), x.st((i.imm & 7) as u8)) {
        (Some(a), Some(b)) => {
            let order = arith::order(&mut flags, a, b, i.imm >> 6 & 1 != 0);
            // The RFLAGS forms leave C1 alone.
            let keep = to_rflags && x.sw & C1 != 0;
            let go = x.raise(flags, false);
            if keep {
                x.sw |= C1;
            }
            (order, go)
        }
        _ => (None, x.fault(false)),
    };
    if to_rflags {
        let bits = match order {
            None => 0x45,
            Some(Ordering::Greater) => 0,
            Some(Ordering::Less) => 1,
            Some(Ordering::Equal) => 0x40,
        };
        cpu.flags.put(bits, ARITH);
    } else {
        x.set_codes(codes(order));
    }
    if go {
        for _ in 0..i.imm >> 4 & 3 {
            cpu.x87.pop();
        }
    }
    Ok(())
}

/// Compares ST(0) with a memory operand (as [`arithm`]), pops imm times.
pub fn comm(cpu: &mut Cpu, i: &Inst) -> Done {
    let mut flags = 0;
    let b = memory_operand(cpu, i, &mut flags);
    let x = &mut cpu.x87;
    let (order, go) = match x.st(0) {
        Some(a) => {
            let order = arith::order(&mut flags, a, b, false);
            (order, x.raise(flags, false))
        }
        None => (None, x.fault(false)),
    };
    x.set_codes(codes(order));
    if go && i.imm == 1 {
        x.pop();
    }
    Ok(())
}

/// Compares ST(0) with zero.
pub fn ftst(cpu: &mut Cpu, _: &Inst) -> Done {
    let x = &mut cpu.x87;
    let mut flags = 0;
    let order = match x.st(0) {
        Some(a) => {
            let order = arith::order(&mut flags, a, F80::default(), false);
            x.raise(flags, false);
            order
        }
        None => {
            x.fault(false);
            None
        }
    };
    x.set_codes(codes(order));
    Ok(())
}

/// Classifies ST(0).
pub fn fxam(cpu: &mut Cpu, _: &Inst) -> Done {
    let x = &mut cpu.x87;
    let raw = x.st[usize::from(x.top & 7)];
    let class = match (x.st(0), raw.kind()) {
        (None, _) => C3 | C0,
        (_, value::Kind::Unsupported) => 0,
        (_, value::Kind::Quiet | value::Kind::Signalling) => C0,
        (_, value::Kind::Denormal) => C3 | C2,
        (_, value::Kind::Number) => match raw.unpack().class {
            Class::Zero => C3,
            Class::Finite => C2,
            Class::Infinite => C2 | C0,
        },
    };
    x.sw = x.sw & !C1 | if raw.sign() { C1 } else { 0 };
    x.set_codes(class);
    Ok(())
}

fn sign_op(cpu: &mut Cpu, f: impl Fn(u16) -> u16) -> Done {
    let x = &mut cpu.x87;
    match x.st(0) {
        Some(v) => {
            x.raise(0, false);
            x.set(0, F80 { se: f(v.se), ..v });
        }
        None => {
            underflow(x, 0);
        }
    }
    Ok(())
}

/// Changes the sign of ST(0).
pub fn fchs(cpu: &mut Cpu, _: &Inst) -> Done {
    sign_op(cpu, |se| se ^ 0x8000)
}

/// Clears the sign of ST(0).
pub fn fabs(cpu: &mut Cpu, _: &Inst) -> Done {
    sign_op(cpu, |se| se & 0x7fff)
}

fn unary(cpu: &mut Cpu, f: impl Fn(u16, F80) -> Outcome) -> Done {
    let x = &mut cpu.x87;
    match x.st(0) {
        Some(a) => {
            let r = f(x.cw, a);
            settle(x, 0, r);
        }
        None => {
            underflow(x, 0);
        }
    }
    Ok(())
}

/// Square root of ST(0).
pub fn fsqrt(cpu: &mut Cpu, _: &Inst) -> Done {
    unary(cpu, arith::square_root)
}

/// Rounds ST(0) to an integral value.
pub fn frndint(cpu: &mut Cpu, _: &Inst) -> Done {
    unary(cpu, arith::round_to_integral)
}

/// ST(0) = 2^ST(0) − 1.
pub fn f2xm1(cpu: &mut Cpu, _: &Inst) -> Done {
    unary(cpu, transcendental::exp2_minus_1)
}

/// ST(0) = ST(0) × 2^trunc(ST(1)).
pub fn fscale(cpu: &mut Cpu, _: &Inst) -> Done {
    let x = &mut cpu.x87;
    match (x.st(0), x.st(1)) {
        (Some(a), Some(b)) => {
            let r = arith::scale(x.cw, a, b);
            settle(x, 0, r);
        }
        _ => {
            underflow(x, 0);
        }
    }
    Ok(())
}

/// ST(1) = f(ST(1), ST(0)), pops.
fn binary_pop(cpu: &mut Cpu, f: impl Fn(u16, F80, F80) -> Outcome) -> Done {
    let x = &mut cpu.x87;
    let go = match (x.st(1), x.st(0)) {
        (Some(b), Some(a)) => {
            let r = f(x.cw, b, a);
            settle(x, 1, r)
        }
        _ => underflow(x, 1),
    };
    if go {
        x.pop();
    }
    Ok(())
}

/// ST(1) = ST(1) × log2 ST(0), pops.
pub fn fyl2x(cpu: &mut Cpu, _: &Inst) -> Done {
    binary_pop(cpu, transcendental::y_log2)
}

/// ST(1) = ST(1) × log2(ST(0) + 1), pops.
pub fn fyl2xp1(cpu: &mut Cpu, _: &Inst) -> Done {
    binary_pop(cpu, transcendental::y_log2_1p)
}

/// ST(1) = angle of the point (ST(0), ST(1)), pops.
pub fn fpatan(cpu: &mut Cpu, _: &Inst) -> Done {
    binary_pop(cpu, transcendental::arctan2)
}

fn remainder(cpu: &mut Cpu, nearest: bool) -> Done {
    let x = &mut cpu.x87;
    match (x.st(0), x.st(1)) {
        (Some(a), Some(b)) => {
            let (r, quotient) = arith::remainder(x.cw, a, b, nearest);
            let go = settle(x, 0, r);
            x.sw &= !(C1 | C2);
            if !go {
                return Ok(());
            }
            match quotient {
                Quotient::Bits(q) => {
                    let bit = |n: u8, code: u16| if q >> n & 1 != 0 { code } else { 0 };
                    x.set_codes(bit(2, C0) | bit(1, C3));
                    x.sw |= bit(0, C1);
                }
                Quotient::Incomplete => x.set_codes(C2),
                Quotient::None => {}
            }
        }
        _ => {
            underflow(x, 0);
            x.sw &= !C2;
        }
    }
    Ok(())
}

/// Partial remainder, quotient truncated.
pub fn fprem(cpu: &mut Cpu, _: &Inst) -> Done {
    remainder(cpu, false)
}

/// Partial remainder, quotient to nearest.
pub fn fprem1(cpu: &mut Cpu, _: &Inst) -> Done {
    remainder(cpu, true)
}

/// Replaces ST(0) by its exponent and pushes its significand.
pub fn fxtract(cpu: &mut Cpu, _: &Inst) -> Done {
    let x = &mut cpu.x87;
    let Some(a) = x.st(0) else { return double_fault(x, false) };
    if x.st(7).is_some() {
        return double_fault(x, true);
    }
    let (exponent, significand, flags) = arith::extract(a);
    if x.raise(flags, false) {
        x.set(0, exponent);
        x.push(significand);
    }
    Ok(())
}

/// Stack fault of an instruction that replaces ST(0) and pushes.
fn double_fault(x: &mut X87, overflow: bool) -> Done {
    if x.fault(overflow) {
        x.set(0, F80::INDEFINITE);
        x.top = x.top.wrapping_sub(1) & 7;
        x.set(0, F80::INDEFINITE);
    }
    Ok(())
}

fn circular(cpu: &mut Cpu, f: impl Fn(u16, F80) -> Option<Outcome>) -> Done {
    let x = &mut cpu.x87;
    let Some(a) = x.st(0) else {
        underflow(x, 0);
        return Ok(());
    };
    let r = f(x.cw, a);
    x.sw &= !(C1 | C2);
    match r {
        Some(r) => {
            settle(x, 0, r);
        }
        None => x.sw |= C2,
    }
    Ok(())
}

/// Sine of ST(0); C2 if out of range.
pub fn fsin(cpu: &mut Cpu, _: &Inst) -> Done {
    circular(cpu, transcendental::sine)
}

/// Cosine of ST(0); C2 if out of range.
pub fn fcos(cpu: &mut Cpu, _: &Inst) -> Done {
    circular(cpu, transcendental::cosine)
}

fn circular_push(
    cpu: &mut Cpu,
    f: impl Fn(u16, F80) -> Option<Outcome>,
    g: impl Fn(u16, F80) -> Option<Outcome>,
) -> Done {
    let x = &mut cpu.x87;
    x.sw &= !C2;
    let Some(a) = x.st(0) else { return double_fault(x, false) };
    if x.st(7).is_some() {
        return double_fault(x, true);
    }
    let (Some(r), Some(s)) = (f(x.cw, a), g(x.cw, a)) else {
        x.sw = x.sw & !C1 | C2;
        return Ok(());
    };
    if x.raise(r.1 | s.1, s.2) {
        x.set(0, r.0);
        x.push(s.0);
    }
    Ok(())
}

/// ST(0) = sine, pushes cosine; C2 if out of range.
pub fn fsincos(cpu: &mut Cpu, _: &Inst) -> Done {
    circular_push(cpu, transcendental::sine, transcendental::cosine)
}

/// ST(0) = tangent, pushes 1 (or the NaN); C2 if out of range.
pub fn fptan(cpu: &mut Cpu, _: &Inst) -> Done {
    circular_push(cpu, transcendental::tangent, |cw, a| {
        let r = transcendental::tangent(cw, a)?;
        Some(if r.0.is_nan() { r } else { (F80::ONE, r.1, r.2) })
    })
}
