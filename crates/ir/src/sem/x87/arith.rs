//! Arithmetic on 80-bit values: results with flags, without the stack.

use super::value::*;
use crate::F80;
use crate::sem::softfloat::*;
use std::cmp::Ordering;

/// A result: (value, exception flags, rounded up).
pub type Outcome = (F80, u32, bool);

fn invalid() -> Outcome {
    (F80::INDEFINITE, IE, false)
}

fn done(flags: u32, r: Rounded) -> Outcome {
    (F80::pack(r.value), flags | r.flags, r.up)
}

/// Operation of an arithmetic instruction, in opcode order (the `/r` of D8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basic {
    /// a + b
    Add,
    /// a × b
    Mul,
    /// a − b
    Sub,
    /// b − a
    SubR,
    /// a ÷ b
    Div,
    /// b ÷ a
    DivR,
}

impl Basic {
    /// From a number 0..=5.
    pub fn from_number(n: u8) -> Basic {
        match n {
            0 => Basic::Add,
            1 => Basic::Mul,
            2 => Basic::Sub,
            3 => Basic::SubR,
            4 => Basic::Div,
            _ => Basic::DivR,
        }
    }
}

/// `a op b`; `flags` are those of converting the operands.
pub fn basic(op: Basic, cw: u16, mut flags: u32, a: F80, b: F80) -> Outcome {
    let (a, b) = match op {
        Basic::SubR | Basic::DivR => (b, a),
        _ => (a, b),
    };
    if let Some(nan) = nan_of(&mut flags, a, b) {
        return (nan, flags & !DE, false);
    }
    let c = control(cw);
    let (x, mut y) = (a.unpack(), b.unpack());
    let zero_infinite = |p: Float, q: Float| p.class == Class::Zero && q.class == Class::Infinite;
    let mut found = flags;
    denormal(&mut found, a);
    denormal(&mut found, b);
    match op {
        Basic::Add | Basic::Sub | Basic::SubR => {
            if op != Basic::Add {
                y.sign = !y.sign;
            }
            if x.class == Class::Infinite && y.class == Class::Infinite && x.sign != y.sign {
                return invalid();
            }
            done(found, sum(&c, x, y))
        }
        Basic::Mul => {
            if zero_infinite(x, y) || zero_infinite(y, x) {
                return invalid();
            }
            done(found, product(&c, x, y))
        }
        Basic::Div | Basic::DivR => {
            if x.class == y.class && x.class != Class::Finite {
                return invalid();
            }
            if y.class == Class::Zero && x.class == Class::Finite {
                return (F80::pack(Float::infinite(x.sign != y.sign)), ZE | flags & !DE, false);
            }
            done(found, quotient(&c, x, y))
        }
    }
}

/// The square root.
pub fn square_root(cw: u16, a: F80) -> Outcome {
    let mut flags = 0;
    if let Some(nan) = nan_of_one(&mut flags, a) {
        return (nan, flags, false);
    }
    let x = a.unpack();
    if x.sign && x.class != Class::Zero {
        return invalid();
    }
    denormal(&mut flags, a);
    done(flags, sqrt(&control(cw), x))
}

/// Rounded to an integral value.
pub fn round_to_integral(cw: u16, a: F80) -> Outcome {
    let mut flags = 0;
    if let Some(nan) = nan_of_one(&mut flags, a) {
        return (nan, flags, false);
    }
    denormal(&mut flags, a);
    let (r, inexact, up) = round_integral(control(cw).mode, a.unpack());
    (F80::pack(r), flags | if inexact { PE } else { 0 }, up)
}

/// Order of two values, `None` if unordered; with IE (`quiet`: only for signalling NaNs) and DE.
pub fn order(flags: &mut u32, a: F80, b: F80, quiet: bool) -> Option<Ordering> {
    let mut raised = 0;
    if nan_of(&mut raised, a, b).is_some() {
        *flags = *flags & !DE | if quiet { raised } else { IE };
        return None;
    }
    denormal(flags, a);
    denormal(flags, b);
    Some(compare(a.unpack(), b.unpack()))
}

/// `a × 2^trunc(b)`
pub fn scale(cw: u16, a: F80, b: F80) -> Outcome {
    let mut flags = 0;
    if let Some(nan) = nan_of(&mut flags, a, b) {
        return (nan, flags, false);
    }
    let (x, y) = (a.unpack(), b.unpack());
    denormal(&mut flags, a);
    denormal(&mut flags, b);
    if y.class == Class::Infinite {
        return match (x.class, y.sign) {
            (Class::Zero, false) | (Class::Infinite, true) => invalid(),
            (_, false) => (F80::pack(Float::infinite(x.sign)), flags, false),
            (_, true) => (F80::pack(Float::zero(x.sign)), flags, false),
        };
    }
    if x.class != Class::Finite {
        return (a, flags, false);
    }
    let by = match to_integer(Mode::Zero, y, 32) {
        Some((n, ..)) => (n as i32).clamp(-0x10000, 0x10000),
        None if y.sign => -0x10000,
        None => 0x10000,
    };
    let e = x.exact();
    done(flags, round(&full_control(cw), Exact { exp: e.exp + by, ..e }))
}

/// Exponent and significand: (exponent, significand, flags).
pub fn extract(a: F80) -> (F80, F80, u32) {
    let mut flags = 0;
    if let Some(nan) = nan_of_one(&mut flags, a) {
        return (nan, nan, flags);
    }
    denormal(&mut flags, a);
    let x = a.unpack();
    match x.class {
        Class::Zero => (F80::pack(Float::infinite(true)), a, ZE),
        Class::Infinite => (F80::pack(Float::infinite(false)), a, flags),
        Class::Finite => (F80::from_i64(x.exp.into()), F80::pack(Float { exp: 0, ..x }), flags),
    }
}

/// What a partial remainder says of its quotient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotient {
    /// The low three bits: the reduction is complete.
    Bits(u8),
    /// More steps are needed.
    Incomplete,
    /// There is none: NaNs and invalid operands.
    None,
}

/// A partial remainder.
pub fn remainder(cw: u16, a: F80, b: F80, nearest: bool) -> (Outcome, Quotient) {
    let mut flags = 0;
    if let Some(nan) = nan_of(&mut flags, a, b) {
        return ((nan, flags, false), Quotient::None);
    }
    let (x, y) = (a.unpack(), b.unpack());
    if x.class == Class::Infinite || y.class == Class::Zero {
        return (invalid(), Quotient::None);
    }
    denormal(&mut flags, a);
    denormal(&mut flags, b);
    if x.class == Class::Zero {
        return ((a, flags, false), Quotient::Bits(0));
    }
    if y.class == Class::Infinite {
        return (done(flags, round_exactly(cw, x.exact())), Quotient::Bits(0));
    }
    let mut d = x.exp - y.exp;
    if d < -1 || d < 0 && !nearest {
        return (done(flags, round_exactly(cw, x.exact())), Quotient::Bits(0));
    }
    let complete = d < 64;
    // An incomplete step takes off a multiple of 2^(d - n) with n between 32 and 63 (SDM: implementation's choice).
    let skip = if complete { 0 } else { d - (32 + d % 32) };
    d -= skip;
    let divisor = u128::from(y.sig) << 1;
    let mut r = u128::from(x.sig) << 1;
    let mut q = 0u64;
    if d < 0 {
        // The dividend is below the divisor but may be above its half.
        r >>= 1;
    } else {
        for step in 0..=d {
            if step > 0 {
                r <<= 1;
            }
            q <<= 1;
            if r >= divisor {
                r -= divisor;
                q |= 1;
            }
        }
    }
    let mut sign = x.sign;
    if nearest && complete && (r << 1 > divisor || r << 1 == divisor && q & 1 != 0) {
        r = divisor - r;
        q = q.wrapping_add(1);
        sign = !sign;
    }
    let bits = if complete { Quotient::Bits((q & 7) as u8) } else { Quotient::Incomplete };
    if r == 0 {
        return ((F80::pack(Float::zero(x.sign)), flags, false), bits);
    }
    // `divisor` stands for y.sig with one more bit below.
    let value = Exact { sign, exp: y.exp + skip + 63, sig: r };
    (done(flags, round_exactly(cw, value)), bits)
}

/// Rounds a value that has at most 64 bits: only its range may change it.
fn round_exactly(cw: u16, x: Exact) -> Rounded {
    round(&Control { mode: Mode::Nearest, ..full_control(cw) }, x)
}

/// Packed decimal to a value; digits that are not decimal count as they come (SDM: undefined).
pub fn from_decimal(low: u64, high: u16) -> F80 {
    let digits = u128::from(low) | u128::from(high & 0xff) << 64;
    let value = (0..18).rev().fold(0i64, |v, i| v * 10 + (digits >> (4 * i) & 15) as i64);
    let f = Float { sign: high & 0x8000 != 0, ..Float::from_i64(value) };
    F80::pack(f)
}

/// A value as packed decimal: (low 8 bytes, high 2 bytes, flags, rounded up).
pub fn to_decimal(cw: u16, a: F80) -> (u64, u16, u32, bool) {
    const LIMIT: u64 = 1_000_000_000_000_000_000;
    let (x, flags, up) = a.to_integer(64, cw, None);
    let magnitude = (x as i64).unsigned_abs();
    if flags & IE != 0 || magnitude >= LIMIT {
        return (0xc000_0000_0000_0000, 0xffff, IE, false);
    }
    let (mut rest, mut digits) = (magnitude, 0u128);
    for i in 0..18 {
        digits |= u128::from(rest % 10) << (4 * i);
        rest /= 10;
    }
    let sign = if a.sign() { 0x8000 } else { 0 };
    (digits as u64, (digits >> 64) as u16 | sign, flags, up)
}
