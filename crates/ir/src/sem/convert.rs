//! SSE conversions between floats and integers (SDM vol. 1, 11.4.1.6; table 11-1). `m` is MXCSR.

use super::ieee::{self, W32, W64, mxcsr};
use super::lanes::*;
use super::simd_float::host_rounds;
use super::softfloat::{Mode, PE};

fn mode(m: u32) -> Mode {
    Mode::from_bits(m >> mxcsr::RC_SHIFT)
}

/// The integral number that a conversion to integers gives for `x`, if that is the usual case; PE is raised as due.
#[inline(always)]
fn usual_integer(m: &mut u32, mode: Mode, x: f64, limit: f64) -> Option<f64> {
    // Not a NaN, nor a denormal (which DAZ may make zero).
    let usual = x == 0.0 || (f64::from(f32::MIN_POSITIVE)..limit).contains(&x.abs());
    if !usual {
        return None;
    }
    let r = match mode {
        Mode::Nearest => x.round_ties_even(),
        Mode::Zero => x.trunc(),
        Mode::Down | Mode::Up => return None,
    };
    if r != x {
        *m |= PE;
    }
    Some(r)
}

/// Below 2^31 after rounding, whichever way.
const LIMIT32: f64 = 2147483647.0;
/// Below 2^63.
const LIMIT64: f64 = 9.2e18;

#[inline(always)]
fn double_to_int(mode: Mode, m: &mut u32, a: u64, bits: u32) -> i64 {
    let limit = if bits == 32 { LIMIT32 } else { LIMIT64 };
    match usual_integer(m, mode, f64::from_bits(a), limit) {
        Some(r) => r as i64,
        None => to_int(&W64, mode, m, a, bits),
    }
}

#[inline(always)]
fn single_to_int(mode: Mode, m: &mut u32, a: u32, bits: u32) -> i64 {
    let limit = if bits == 32 { LIMIT32 } else { LIMIT64 };
    match usual_integer(m, mode, f64::from(f32::from_bits(a)), limit) {
        Some(r) => r as i64,
        None => to_int(&W32, mode, m, a.into(), bits),
    }
}

#[cold]
#[inline(never)]
fn to_int(w: &ieee::Width, mode: Mode, m: &mut u32, a: u64, bits: u32) -> i64 {
    let mx = *m;
    ieee::to_integer(w, mode, mx, m, a, bits)
}

/// `cvttsd2si r64`
#[inline]
pub fn cvttsd2si64(m: &mut u32, a: u128) -> u64 {
    double_to_int(Mode::Zero, m, low(a), 64) as u64
}

/// `cvttsd2si r32`
#[inline]
pub fn cvttsd2si32(m: &mut u32, a: u128) -> u64 {
    u64::from(double_to_int(Mode::Zero, m, low(a), 32) as u32)
}

/// `cvttss2si r64`
#[inline]
pub fn cvttss2si64(m: &mut u32, a: u128) -> u64 {
    single_to_int(Mode::Zero, m, a as u32, 64) as u64
}

/// `cvttss2si r32`
#[inline]
pub fn cvttss2si32(m: &mut u32, a: u128) -> u64 {
    u64::from(single_to_int(Mode::Zero, m, a as u32, 32) as u32)
}

/// `cvtsd2si r64`
#[inline]
pub fn cvtsd2si64(m: &mut u32, a: u128) -> u64 {
    double_to_int(mode(*m), m, low(a), 64) as u64
}

/// `cvtsd2si r32`
#[inline]
pub fn cvtsd2si32(m: &mut u32, a: u128) -> u64 {
    u64::from(double_to_int(mode(*m), m, low(a), 32) as u32)
}

/// `cvtss2si r64`
#[inline]
pub fn cvtss2si64(m: &mut u32, a: u128) -> u64 {
    single_to_int(mode(*m), m, a as u32, 64) as u64
}

/// `cvtss2si r32`
#[inline]
pub fn cvtss2si32(m: &mut u32, a: u128) -> u64 {
    u64::from(single_to_int(mode(*m), m, a as u32, 32) as u32)
}

/// `cvtsi2sd r64`: lane 0 of `a` replaced.
pub fn cvtsi2sd64(m: &mut u32, a: u128, x: u64) -> u128 {
    let exact = x as i64 as f64;
    if (x as i64).unsigned_abs() < 1 << 53 {
        return with_low64(a, exact.to_bits());
    }
    let mx = *m;
    with_low64(a, ieee::from_integer(&W64, mx, m, x as i64))
}

/// `cvtsi2sd r32` (always exact)
#[inline]
pub fn cvtsi2sd32(a: u128, x: u64) -> u128 {
    with_low64(a, f64::from(x as i32).to_bits())
}

/// `cvtsi2ss r64`
pub fn cvtsi2ss64(m: &mut u32, a: u128, x: u64) -> u128 {
    let mx = *m;
    with_low32(a, ieee::from_integer(&W32, mx, m, x as i64) as u32)
}

/// `cvtsi2ss r32`
pub fn cvtsi2ss32(m: &mut u32, a: u128, x: u64) -> u128 {
    with_low32(a, int_to_single(m, x as i32))
}

#[inline(always)]
fn int_to_single(m: &mut u32, x: i32) -> u32 {
    let r = x as f32;
    if host_rounds(*m) || x.unsigned_abs() < 1 << 24 {
        if f64::from(r) != f64::from(x) {
            *m |= PE;
        }
        return r.to_bits();
    }
    let mx = *m;
    ieee::from_integer(&W32, mx, m, x.into()) as u32
}

fn single_to_double(m: &mut u32, a: u32) -> u64 {
    let x = f32::from_bits(a);
    if x.is_normal() || x == 0.0 {
        return f64::from(x).to_bits();
    }
    let mx = *m;
    ieee::convert(&W32, &W64, mx, m, a.into())
}

fn double_to_single(m: &mut u32, a: u64) -> u32 {
    let x = f64::from_bits(a);
    let r = x as f32;
    // Twice the smallest normal: below, rounding may have come from a tiny value.
    if host_rounds(*m) && r.is_finite() && r.abs() >= 2.0 * f32::MIN_POSITIVE {
        if f64::from(r) != x {
            *m |= PE;
        }
        return r.to_bits();
    }
    let mx = *m;
    ieee::convert(&W64, &W32, mx, m, a) as u32
}

/// `cvtss2sd`
pub fn cvtss2sd(m: &mut u32, a: u128, b: u128) -> u128 {
    with_low64(a, single_to_double(m, b as u32))
}

/// `cvtsd2ss`
pub fn cvtsd2ss(m: &mut u32, a: u128, b: u128) -> u128 {
    with_low32(a, double_to_single(m, low(b)))
}

/// `cvtps2pd`
pub fn cvtps2pd(m: &mut u32, a: u128) -> u128 {
    let a = u32s(a);
    of_u64s([single_to_double(m, a[0]), single_to_double(m, a[1])])
}

/// `cvtpd2ps`: the high half becomes zero.
pub fn cvtpd2ps(m: &mut u32, a: u128) -> u128 {
    of_u32s([double_to_single(m, low(a)), double_to_single(m, high(a)), 0, 0])
}

/// `cvtdq2ps`
pub fn cvtdq2ps(m: &mut u32, a: u128) -> u128 {
    let a = i32s(a);
    of_u32s(std::array::from_fn(|i| int_to_single(m, a[i])))
}

/// `cvtpi2ps`: two doublewords of `b` to the low singles of `a`.
pub fn cvtpi2ps(m: &mut u32, a: u128, b: u128) -> u128 {
    with_low64(a, low(cvtdq2ps(m, u128::from(low(b)))))
}

/// `cvtdq2pd` (always exact)
pub fn cvtdq2pd(a: u128) -> u128 {
    let a = i32s(a);
    of_u64s([f64::from(a[0]).to_bits(), f64::from(a[1]).to_bits()])
}

fn singles_to_ints(m: &mut u32, mode: Mode, a: u128) -> u128 {
    let a = u32s(a);
    of_i32s(std::array::from_fn(|i| single_to_int(mode, m, a[i], 32) as i32))
}

/// `cvtps2dq`
pub fn cvtps2dq(m: &mut u32, a: u128) -> u128 {
    singles_to_ints(m, mode(*m), a)
}

/// `cvttps2dq`
pub fn cvttps2dq(m: &mut u32, a: u128) -> u128 {
    singles_to_ints(m, Mode::Zero, a)
}

/// `cvtps2pi`: the two low singles.
pub fn cvtps2pi(m: &mut u32, a: u128) -> u128 {
    u128::from(low(cvtps2dq(m, u128::from(low(a)))))
}

/// `cvttps2pi`: the two low singles.
pub fn cvttps2pi(m: &mut u32, a: u128) -> u128 {
    u128::from(low(cvttps2dq(m, u128::from(low(a)))))
}

fn doubles_to_ints(m: &mut u32, mode: Mode, a: u128) -> u128 {
    let x = double_to_int(mode, m, low(a), 32) as i32;
    of_i32s([x, double_to_int(mode, m, high(a), 32) as i32, 0, 0])
}

/// `cvtpd2dq` (and `cvtpd2pi`): the high half becomes zero.
pub fn cvtpd2dq(m: &mut u32, a: u128) -> u128 {
    doubles_to_ints(m, mode(*m), a)
}

/// `cvttpd2dq` (and `cvttpd2pi`): the high half becomes zero.
pub fn cvttpd2dq(m: &mut u32, a: u128) -> u128 {
    doubles_to_ints(m, Mode::Zero, a)
}
