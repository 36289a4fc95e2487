//! The short way of frequent SSE floating-point operations: ordinary operands and result, and nothing left for MXCSR to
//! record. `None` means that the long way must be gone, the function of the same name in [`super::simd_float`] or
//! [`super::convert`]; where there is a result it is the same. `m` is MXCSR.

use super::ieee::mxcsr;
use super::lanes::*;
use super::packed_float;
use super::simd::{F32x4, F64x2};
use super::simd_float::{double, single};
use super::softfloat::PE;

/// Whether an inexact result of the host's is the guest's and changes nothing else: rounding to nearest, all exceptions
/// masked, PE set already.
#[inline(always)]
fn settled(m: u32) -> bool {
    const MASKS: u32 = 0x3f << mxcsr::MASK_SHIFT;
    m & (mxcsr::RC | MASKS | PE) == MASKS | PE
}

macro_rules! arithmetic {
    ($($ss:ident $sd:ident $ps:ident $pd:ident $op:tt;)*) => { $(
        #[doc = concat!("`", stringify!($ss), "`")]
        #[inline(always)]
        pub fn $ss(m: u32, a: u128, b: u128) -> Option<u128> {
            let (x, y) = (a as u32, b as u32);
            let r = f32::from_bits(x) $op f32::from_bits(y);
            let fits = settled(m) && single::no_denormal(x, y) && single::normal(r.to_bits());
            fits.then(|| with_low_f32(a, r))
        }
        #[doc = concat!("`", stringify!($sd), "`")]
        #[inline(always)]
        pub fn $sd(m: u32, a: u128, b: u128) -> Option<u128> {
            let (x, y) = (low(a), low(b));
            let r = f64::from_bits(x) $op f64::from_bits(y);
            let fits = settled(m) && double::no_denormal(x, y) && double::normal(r.to_bits());
            fits.then(|| with_low_f64(a, r))
        }
        #[doc = concat!("`", stringify!($ps), "`")]
        #[inline(always)]
        pub fn $ps(m: u32, a: u128, b: u128) -> Option<u128> {
            use packed_float::single::{sound, tame};
            let (x, y) = (F32x4::new(a), F32x4::new(b));
            let r = x $op y;
            (settled(m) && (tame(x) & tame(y) & sound(r)).all()).then(|| r.bits())
        }
        #[doc = concat!("`", stringify!($pd), "`")]
        #[inline(always)]
        pub fn $pd(m: u32, a: u128, b: u128) -> Option<u128> {
            use packed_float::double::{sound, tame};
            let (x, y) = (F64x2::new(a), F64x2::new(b));
            let r = x $op y;
            (settled(m) && (tame(x) & tame(y) & sound(r)).all()).then(|| r.bits())
        }
    )* };
}

// A normal result has no NaN and no infinity as operand (a quotient by one is zero).
arithmetic! {
    addss addsd addps addpd +;
    subss subsd subps subpd -;
    mulss mulsd mulps mulpd *;
    divss divsd divps divpd /;
}

macro_rules! extremes {
    ($($ss:ident $sd:ident $op:tt;)*) => { $(
        #[doc = concat!("`", stringify!($ss), "`")]
        #[inline(always)]
        pub fn $ss(_: u32, a: u128, b: u128) -> Option<u128> {
            let (x, y) = (a as u32, b as u32);
            let first = f32::from_bits(x) $op f32::from_bits(y);
            (single::usual(x) && single::usual(y)).then(|| with_low32(a, if first { x } else { y }))
        }
        #[doc = concat!("`", stringify!($sd), "`")]
        #[inline(always)]
        pub fn $sd(_: u32, a: u128, b: u128) -> Option<u128> {
            let (x, y) = (low(a), low(b));
            let first = f64::from_bits(x) $op f64::from_bits(y);
            (double::usual(x) && double::usual(y)).then(|| with_low64(a, if first { x } else { y }))
        }
    )* };
}

extremes! {
    minss minsd <;
    maxss maxsd >;
}

/// `sqrtss`
#[inline(always)]
pub fn sqrtss(m: u32, a: u128, b: u128) -> Option<u128> {
    let x = b as u32;
    let fits = settled(m) && single::normal(x) && x as i32 >= 0;
    fits.then(|| with_low_f32(a, f32::from_bits(x).sqrt()))
}

/// `sqrtsd`
#[inline(always)]
pub fn sqrtsd(m: u32, a: u128, b: u128) -> Option<u128> {
    let x = low(b);
    let fits = settled(m) && double::normal(x) && x as i64 >= 0;
    fits.then(|| with_low_f64(a, f64::from_bits(x).sqrt()))
}

/// `cvtss2sd`
#[inline(always)]
pub fn cvtss2sd(_: u32, a: u128, b: u128) -> Option<u128> {
    let x = b as u32;
    single::usual(x).then(|| with_low_f64(a, f32::from_bits(x).into()))
}

/// `cvtsd2ss`
#[inline(always)]
pub fn cvtsd2ss(m: u32, a: u128, b: u128) -> Option<u128> {
    let r = f64::from_bits(low(b)) as f32;
    (settled(m) && single::normal(r.to_bits())).then(|| with_low_f32(a, r))
}

/// `cvtsi2sd` of 32 bits (always exact).
#[inline(always)]
pub fn cvtsi2sd32(_: u32, a: u128, x: u64) -> Option<u128> {
    Some(with_low_f64(a, (x as i32).into()))
}

/// `cvtsi2sd` of 64 bits.
#[inline(always)]
pub fn cvtsi2sd64(m: u32, a: u128, x: u64) -> Option<u128> {
    settled(m).then(|| with_low_f64(a, x as i64 as f64))
}

/// `cvtsi2ss` of 32 bits.
#[inline(always)]
pub fn cvtsi2ss32(m: u32, a: u128, x: u64) -> Option<u128> {
    settled(m).then(|| with_low_f32(a, x as i32 as f32))
}

/// `cvttsd2si` to 32 bits.
#[inline(always)]
pub fn cvttsd2si32(m: u32, a: u128) -> Option<u64> {
    let x = f64::from_bits(low(a));
    let fits = x.abs() < 2_147_483_648.0 && (x.abs() >= f64::MIN_POSITIVE || x == 0.0);
    let r = x as i32;
    (fits && (settled(m) || f64::from(r) == x)).then(|| u64::from(r as u32))
}

/// `cvttsd2si` to 64 bits.
#[inline(always)]
pub fn cvttsd2si64(m: u32, a: u128) -> Option<u64> {
    let x = f64::from_bits(low(a));
    let fits = x.abs() < 9.2e18 && (x.abs() >= f64::MIN_POSITIVE || x == 0.0);
    let r = x as i64;
    (fits && (settled(m) || r as f64 == x)).then_some(r as u64)
}

macro_rules! orders {
    ($($ss:ident $sd:ident;)*) => { $(
        #[doc = concat!("`", stringify!($ss), "`: RFLAGS bits ZF, PF, CF.")]
        #[inline(always)]
        pub fn $ss(_: u32, a: u128, b: u128) -> Option<u64> {
            let (x, y) = (a as u32, b as u32);
            let (x, y, fits) =
                (f32::from_bits(x), f32::from_bits(y), single::usual(x) && single::usual(y));
            fits.then(|| u64::from(x < y) | u64::from(x == y) << 6)
        }
        #[doc = concat!("`", stringify!($sd), "`: RFLAGS bits ZF, PF, CF.")]
        #[inline(always)]
        pub fn $sd(_: u32, a: u128, b: u128) -> Option<u64> {
            let (x, y) = (low(a), low(b));
            let (x, y, fits) =
                (f64::from_bits(x), f64::from_bits(y), double::usual(x) && double::usual(y));
            fits.then(|| u64::from(x < y) | u64::from(x == y) << 6)
        }
    )* };
}

orders! {
    comiss comisd;
    ucomiss ucomisd;
}

#[inline(always)]
fn with_low_f32(v: u128, low: f32) -> u128 {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    return of_whole(core::arch::wasm32::f32x4_replace_lane::<0>(whole(v), low));
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    with_low32(v, low.to_bits())
}

#[inline(always)]
fn with_low_f64(v: u128, low: f64) -> u128 {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    return of_whole(core::arch::wasm32::f64x2_replace_lane::<0>(whole(v), low));
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    with_low64(v, low.to_bits())
}
