//! FMA3: `x × y + z` with one rounding (SDM vol. 1, 14.5.3 and tables 14-15 to 14-17). `m` is MXCSR.
//!
//! Packed functions take (x, y, z) as the product and the addend; the three forms 132, 213 and 231 of an instruction only
//! permute their operands: 132 is op1 × op3 + op2, 213 is op2 × op1 + op3, 231 is op2 × op3 + op1. A NaN result is the
//! first NaN in the order x, y, z of that formula (as a NaN's operand: its sign is not changed by `fnmadd` or `fmsub`), so
//! it follows from the permutation too. Scalar functions are there for each form, since they keep the rest of op1.
//!
//! The usual case (round to nearest, inexact masked, ordinary operands and result) runs on the host's doubles without a
//! fused instruction, which Wasm has not; all else goes to [`super::ieee::fused`].

use std::ops::{Add, Mul, Sub};

use super::ieee::{self, Signs, W32, W64};
use super::lanes::*;
use super::packed_float::{double as packed_double, host_settles, single as packed_single};
use super::simd::*;
use super::simd_float::{double as f64s, host_rounds, single as f32s};
use super::softfloat::PE;

/// Half of a single's last place, in a double's pattern.
const TIE: u64 = 1 << 28;
/// 2^27 + 1: multiplied with it, a double splits into halves.
const SPLITTER: f64 = 134_217_729.0;
/// A little less and a little more than 1: by more than the error of a few roundings.
const LESS: f64 = 1.0 - f64::EPSILON * 4.0;
const MORE: f64 = 1.0 + f64::EPSILON * 4.0;
/// 2^-480 and 2^480: no step of [`double`] leaves the normal range with operands between them.
const LEAST: f64 = f64::from_bits((1023 - 480) << 52);
const MOST: f64 = f64::from_bits((1023 + 480) << 52);

/// The sum `s` of `x + y` rounded to nearest, with its last bit made odd if it is not exact ("rounded to odd"): a second
/// rounding to fewer bits then gives what one rounding would have given. And whether it is exact.
#[inline(always)]
fn to_odd(s: f64, error: f64) -> (f64, bool) {
    let bits = s.to_bits();
    if error == 0.0 {
        return (s, true);
    }
    if bits & 1 != 0 {
        return (s, false);
    }
    let outwards = (error > 0.0) == (s > 0.0);
    (f64::from_bits(if outwards { bits.wrapping_add(1) } else { bits.wrapping_sub(1) }), false)
}

/// A product of singles is exact in a double; the sum rounded to odd there rounds right to a single.
#[inline(always)]
fn single<const NP: bool, const NZ: bool>(m: &mut u32, x: u32, y: u32, z: u32) -> u32 {
    if host_rounds(*m) && f32s::usual(x) && f32s::usual(y) && f32s::usual(z) {
        let wide = |v: u32| f64::from(f32::from_bits(v));
        let p = if NP { -(wide(x) * wide(y)) } else { wide(x) * wide(y) };
        let c = if NZ { -wide(z) } else { wide(z) };
        let s = p + c;
        let mut r = s as f32;
        if f32s::normal(r.to_bits()) || s == 0.0 {
            let tie = s.to_bits() & (2 * TIE - 1) == TIE;
            if tie || *m & PE == 0 {
                let (odd, exact) = to_odd(s, f64s::two_sum_error(p, c, s));
                r = odd as f32;
                if !exact || f64::from(r) != s {
                    *m |= PE;
                }
            }
            return r.to_bits();
        }
    }
    slow32(m, Signs { product: NP, addend: NZ }, [x, y, z])
}

/// `x × y` as the sum of two doubles (Veltkamp's split, Dekker's product).
#[inline(always)]
fn two_product<T>(splitter: T, x: T, y: T) -> (T, T)
where
    T: Copy + Sub<Output = T> + Mul<Output = T>,
{
    let split = |v: T| {
        let t = splitter * v;
        let high = t - (t - v);
        (high, v - high)
    };
    let p = x * y;
    let ((xh, xl), (yh, yl)) = (split(x), split(y));
    (p, xl * yl - (((p - xh * yh) - xl * yh) - xh * yl))
}

/// `s`, the host's `xy + c`, and two results between which the right one is (Ziv's test: if they are equal, it is that).
/// `factors` are [`SPLITTER`], [`LESS`] and [`MORE`].
#[inline(always)]
fn bounds<T>([splitter, less, more]: [T; 3], x: T, y: T, c: T) -> (T, T, T)
where
    T: Copy + Add<Output = T> + Sub<Output = T> + Mul<Output = T>,
{
    let (p, pl) = two_product(splitter, x, y);
    let s = p + c;
    let t = s - p;
    // What s and p lack; only this sum is rounded.
    let rest = ((p - (s - t)) + (c - t)) + pl;
    (s, s + rest * less, s + rest * more)
}

#[inline(always)]
fn two_sum(x: f64, y: f64) -> (f64, f64) {
    let s = x + y;
    (s, f64s::two_sum_error(x, y, s))
}

/// Zero, or between [`LEAST`] and [`MOST`].
#[inline(always)]
fn moderate(x: f64) -> bool {
    (LEAST..=MOST).contains(&x.abs()) || x == 0.0
}

/// S. Boldo, G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd".
#[inline(always)]
fn double<const NP: bool, const NZ: bool>(m: &mut u32, x: u64, y: u64, z: u64) -> u64 {
    let [fx, fy, fz] = [x, y, z].map(f64::from_bits);
    if host_rounds(*m) && moderate(fx) && moderate(fy) && moderate(fz) {
        let (fx, c) = (if NP { -fx } else { fx }, if NZ { -fz } else { fz });
        if *m & PE != 0 {
            let (s, low, high) = bounds([SPLITTER, LESS, MORE], fx, fy, c);
            let zero = low == 0.0;
            if low == high && (zero || f64s::normal(low.to_bits())) {
                return if zero { s.to_bits() } else { low.to_bits() };
            }
        }
        let (ph, pl) = two_product(SPLITTER, fx, fy);
        let (th, tl) = two_sum(c, pl);
        let (vh, vl) = two_sum(ph, th);
        let (w, exact) = {
            let (s, error) = two_sum(tl, vl);
            to_odd(s, error)
        };
        let r = vh + w;
        if f64s::normal(r.to_bits()) {
            if *m & PE == 0 && (!exact || f64s::two_sum_error(vh, w, r) != 0.0) {
                *m |= PE;
            }
            return r.to_bits();
        }
        if r == 0.0 {
            // An exact zero: the sign is that of the sum.
            return (ph + c).to_bits();
        }
    }
    slow64(m, Signs { product: NP, addend: NZ }, [x, y, z])
}

#[cold]
#[inline(never)]
fn slow32(m: &mut u32, signs: Signs, [x, y, z]: [u32; 3]) -> u32 {
    let mx = *m;
    ieee::fused(&W32, signs, mx, m, [x.into(), y.into(), z.into()]) as u32
}

#[cold]
#[inline(never)]
fn slow64(m: &mut u32, signs: Signs, xyz: [u64; 3]) -> u64 {
    let mx = *m;
    ieee::fused(&W64, signs, mx, m, xyz)
}

/// One lane; the signs of product and addend.
macro_rules! lane {
    ($f:ident (+ +) $($arg:expr),*) => { $f::<false, false>($($arg),*) };
    ($f:ident (+ -) $($arg:expr),*) => { $f::<false, true>($($arg),*) };
    ($f:ident (- +) $($arg:expr),*) => { $f::<true, false>($($arg),*) };
    ($f:ident (- -) $($arg:expr),*) => { $f::<true, true>($($arg),*) };
}

/// True for `-`.
macro_rules! negative {
    (+) => {
        false
    };
    (-) => {
        true
    };
}

/// The sign bits to flip in x and in z, given the signs of even and odd lanes.
macro_rules! flips {
    ($bits:literal ($p0:tt $z0:tt) ($p1:tt $z1:tt)) => {
        const {
            [
                flipped($bits, [negative!($p0), negative!($p1)]),
                flipped($bits, [negative!($z0), negative!($z1)]),
            ]
        }
    };
}

/// A vector of lanes of 32 or 64 bits with the sign bits of even and odd ones.
const fn flipped(bits: u32, [even, odd]: [bool; 2]) -> u128 {
    let top = 1u128 << (bits - 1);
    let pair = if even { top } else { 0 } | if odd { top << bits } else { 0 };
    if bits == 32 { pair | pair << 64 } else { pair }
}

/// [`single`] on all lanes together, if they are all of the usual kind.
#[inline(always)]
fn singles(m: u32, [flip_x, flip_z]: [u128; 2], x: u128, y: u128, z: u128) -> Option<u128> {
    if !host_settles(m) {
        return None;
    }
    let (x, y, z) = (F32x4::new(x ^ flip_x), F32x4::new(y), F32x4::new(z ^ flip_z));
    let ([x0, x1], [y0, y1], [z0, z1]) = (x.promote(), y.promote(), z.promote());
    let (s0, s1) = (x0 * y0 + z0, x1 * y1 + z1);
    let r = F32x4::demote([s0, s1]);
    let no_tie = s0.bits_differ(2 * TIE - 1, TIE) & s1.bits_differ(2 * TIE - 1, TIE);
    let usual = packed_single::tame(x) & packed_single::tame(y) & packed_single::tame(z) & no_tie;
    if (usual & packed_single::sound(r)).all() {
        return Some(r.bits());
    }
    // Zeros among them are exact if the sums are.
    let good = |s: F64x2| {
        s.abs().ge(F64x2::splat(2.0 * f64::from(f32::MIN_POSITIVE))) | s.eq(F64x2::splat(0.0))
    };
    let most = r.abs().le(F32x4::splat(f32::MAX));
    (usual & most & good(s0) & good(s1)).all().then(|| r.bits())
}

/// [`double`] on both lanes together, if they are of the usual kind.
#[inline(always)]
fn doubles(m: u32, [flip_x, flip_z]: [u128; 2], x: u128, y: u128, z: u128) -> Option<u128> {
    if !host_settles(m) {
        return None;
    }
    let (x, y, c) = (F64x2::new(x ^ flip_x), F64x2::new(y), F64x2::new(z ^ flip_z));
    let moderate = |v: F64x2| {
        let magnitude = v.abs();
        let (low, high) = (F64x2::splat(LEAST), F64x2::splat(MOST));
        magnitude.ge(low) & magnitude.le(high) | v.eq(F64x2::splat(0.0))
    };
    let factors = [SPLITTER, LESS, MORE].map(F64x2::splat);
    let (s, low, high) = bounds(factors, x, y, c);
    let zero = F64x2::splat(0.0);
    let usual = moderate(x) & moderate(y) & moderate(c) & low.eq(high);
    // If the result is zero, so was `s`, and has its sign.
    let r = F64x2::select(low.eq(zero), s, low);
    (usual & (packed_double::sound(r) | r.eq(zero))).all().then(|| r.bits())
}

macro_rules! packed {
    ($($ps:ident $pd:ident $doc:literal $even:tt $odd:tt;)*) => { $(
        #[doc = concat!("`", stringify!($ps), "`: ", $doc)]
        #[inline(always)]
        pub fn $ps(m: &mut u32, x: u128, y: u128, z: u128) -> u128 {
            if let Some(r) = singles(*m, flips!(32 $even $odd), x, y, z) {
                return r;
            }
            #[cold]
            #[inline(never)]
            fn one_by_one(m: &mut u32, x: u128, y: u128, z: u128) -> Whole {
                let (x, y, z) = (u32s(x), u32s(y), u32s(z));
                let mut pair = |i: usize, k: usize| {
                    [lane!(single $even m, x[i], y[i], z[i]), lane!(single $odd m, x[k], y[k], z[k])]
                };
                let ([a, b], [c, d]) = (pair(0, 1), pair(2, 3));
                whole(of_u32s([a, b, c, d]))
            }
            of_whole(one_by_one(m, x, y, z))
        }
        #[doc = concat!("`", stringify!($pd), "`: ", $doc)]
        #[inline(always)]
        pub fn $pd(m: &mut u32, x: u128, y: u128, z: u128) -> u128 {
            if let Some(r) = doubles(*m, flips!(64 $even $odd), x, y, z) {
                return r;
            }
            #[cold]
            #[inline(never)]
            fn one_by_one(m: &mut u32, x: u128, y: u128, z: u128) -> Whole {
                let (x, y, z) = (u64s(x), u64s(y), u64s(z));
                whole(of_u64s([lane!(double $even m, x[0], y[0], z[0]), lane!(double $odd m, x[1], y[1], z[1])]))
            }
            of_whole(one_by_one(m, x, y, z))
        }
    )* };
}
packed! {
    fmaddps fmaddpd "xy + z" (+ +) (+ +);
    fmsubps fmsubpd "xy − z" (+ -) (+ -);
    fnmaddps fnmaddpd "−xy + z" (- +) (- +);
    fnmsubps fnmsubpd "−xy − z" (- -) (- -);
    fmaddsubps fmaddsubpd "xy + z in odd lanes, xy − z in even ones" (+ -) (+ +);
    fmsubaddps fmsubaddpd "xy − z in odd lanes, xy + z in even ones" (+ +) (+ -);
}

/// Functions of op1, op2 and op3 as `a`, `b` and `c`; which of them are x, y and z.
macro_rules! form {
    ($f:ident $with:ident $t:ident $signs:tt: $($name:ident ($x:literal $y:literal $z:literal)),*) => { $(
        #[doc = concat!("`", stringify!($name), "`: lane 0; the rest of `a`.")]
        #[inline]
        pub fn $name(m: &mut u32, a: u128, b: u128, c: u128) -> u128 {
            let op = [a as $t, b as $t, c as $t];
            $with(a, lane!($f $signs m, op[$x], op[$y], op[$z]))
        }
    )* };
}
macro_rules! scalar {
    ($($signs:tt: $ss132:ident $ss213:ident $ss231:ident $sd132:ident $sd213:ident $sd231:ident;)*) => { $(
        form!(single with_low32 u32 $signs: $ss132 (0 2 1), $ss213 (1 0 2), $ss231 (1 2 0));
        form!(double with_low64 u64 $signs: $sd132 (0 2 1), $sd213 (1 0 2), $sd231 (1 2 0));
    )* };
}
scalar! {
    (+ +): fmadd132ss fmadd213ss fmadd231ss fmadd132sd fmadd213sd fmadd231sd;
    (+ -): fmsub132ss fmsub213ss fmsub231ss fmsub132sd fmsub213sd fmsub231sd;
    (- +): fnmadd132ss fnmadd213ss fnmadd231ss fnmadd132sd fnmadd213sd fnmadd231sd;
    (- -): fnmsub132ss fnmsub213ss fnmsub231ss fnmsub132sd fnmsub213sd fnmsub231sd;
}
