//! SSE floating point (SDM vol. 1 chapters 10 and 11). `m` is MXCSR: rounding, DAZ, FTZ are read, raised flags are
//! or-ed in. Packed forms work lane by lane; scalar forms keep the other lanes of `a`.
//!
//! The usual case (round to nearest, inexact masked, ordinary operands and result) runs on the host's arithmetic; its
//! inexact flag is worked out exactly unless it is already set. All else goes to [`super::ieee`]. Packed forms go
//! through [`super::packed_float`].

use super::ieee::{self, Basic, W32, W64, Width, mxcsr};
use super::lanes::*;
use super::packed_float;
use super::softfloat::*;

/// The case in which the host rounds as the guest does.
#[inline(always)]
pub(super) fn host_rounds(m: u32) -> bool {
    m & (mxcsr::RC | mxcsr::PM) == mxcsr::PM
}

macro_rules! width {
    ($module:ident $u:ident $f:ident $wide:ident $w:ident $fraction:literal) => {
        pub(super) mod $module {
            use super::*;

            const INFINITY: $u = $f::INFINITY.to_bits();
            const MAGNITUDE: $u = $u::MAX >> 1;
            const LEAST: $u = 1 << $fraction;

            /// Normal, or zero.
            #[inline(always)]
            pub fn usual(x: $u) -> bool {
                let x = x & MAGNITUDE;
                x.wrapping_sub(LEAST) < INFINITY - LEAST || x == 0
            }

            /// Normal and not the smallest, which may come from rounding a tiny result.
            #[inline(always)]
            pub fn normal(x: $u) -> bool {
                (x & MAGNITUDE).wrapping_sub(2 * LEAST) < INFINITY - 2 * LEAST
            }

            /// Neither is a denormal. A zero's magnitude, less one, is the largest number.
            #[inline(always)]
            pub fn no_denormal(x: $u, y: $u) -> bool {
                (x << 1).wrapping_sub(1).min((y << 1).wrapping_sub(1)) >= 2 * LEAST - 1
            }

            /// Significand without trailing zeros.
            #[inline(always)]
            fn odd(x: $u) -> $wide {
                let sig = x & (LEAST - 1) | LEAST;
                $wide::from(sig >> sig.trailing_zeros())
            }

            #[inline(always)]
            fn is_zero(x: $u) -> bool {
                x & MAGNITUDE == 0
            }

            #[inline(always)]
            fn inexact(m: &mut u32, test: impl FnOnce() -> bool) {
                if *m & PE == 0 && test() {
                    *m |= PE;
                }
            }

            #[cold]
            #[inline(never)]
            fn slow(op: Basic, m: &mut u32, a: $u, b: $u) -> $u {
                let mx = *m;
                ieee::basic(&$w, op, mx, m, a.into(), b.into()) as $u
            }

            #[inline(always)]
            pub fn add(m: &mut u32, a: $u, b: $u) -> $u {
                let (x, y) = ($f::from_bits(a), $f::from_bits(b));
                let r = x + y;
                if host_rounds(*m) && usual(a) && usual(b) {
                    if normal(r.to_bits()) {
                        inexact(m, || two_sum_error(x, y, r) != 0.0);
                        return r.to_bits();
                    }
                    if r == 0.0 {
                        return r.to_bits();
                    }
                }
                slow(Basic::Add, m, a, b)
            }

            #[inline(always)]
            pub fn sub(m: &mut u32, a: $u, b: $u) -> $u {
                let (x, y) = ($f::from_bits(a), $f::from_bits(b));
                let r = x - y;
                if host_rounds(*m) && usual(a) && usual(b) {
                    if normal(r.to_bits()) {
                        inexact(m, || two_sum_error(x, -y, r) != 0.0);
                        return r.to_bits();
                    }
                    if r == 0.0 {
                        return r.to_bits();
                    }
                }
                slow(Basic::Sub, m, a, b)
            }

            /// What rounding took from `x + y` (Knuth's TwoSum; exact without overflow).
            #[inline(always)]
            pub fn two_sum_error(x: $f, y: $f, r: $f) -> $f {
                let z = r - x;
                (x - (r - z)) + (y - z)
            }

            #[inline(always)]
            pub fn mul(m: &mut u32, a: $u, b: $u) -> $u {
                let r = ($f::from_bits(a) * $f::from_bits(b)).to_bits();
                if host_rounds(*m) && usual(a) && usual(b) {
                    if is_zero(a) || is_zero(b) {
                        return r;
                    }
                    if normal(r) {
                        inexact(m, || (odd(a) * odd(b)) >> ($fraction + 1) != 0);
                        return r;
                    }
                }
                slow(Basic::Mul, m, a, b)
            }

            #[inline(always)]
            pub fn div(m: &mut u32, a: $u, b: $u) -> $u {
                let r = ($f::from_bits(a) / $f::from_bits(b)).to_bits();
                if host_rounds(*m) && usual(a) && usual(b) && !is_zero(b) {
                    if is_zero(a) {
                        return r;
                    }
                    if normal(r) {
                        inexact(m, || odd(r) * odd(b) != odd(a));
                        return r;
                    }
                }
                slow(Basic::Div, m, a, b)
            }

            #[inline(always)]
            pub fn sqrt(m: &mut u32, a: $u) -> $u {
                if host_rounds(*m) && normal(a) && a <= MAGNITUDE {
                    let r = $f::from_bits(a).sqrt().to_bits();
                    inexact(m, || odd(r) * odd(r) != odd(a));
                    return r;
                }
                let mx = *m;
                ieee::square_root(&$w, mx, m, a.into()) as $u
            }

            /// `a < b ? a : b`: the second operand if either is a NaN or both are zero.
            #[inline(always)]
            pub fn min(m: &mut u32, a: $u, b: $u) -> $u {
                let (a, b) = compared(m, a, b, true);
                if $f::from_bits(a) < $f::from_bits(b) { a } else { b }
            }

            /// `a > b ? a : b`: the second operand if either is a NaN or both are zero.
            #[inline(always)]
            pub fn max(m: &mut u32, a: $u, b: $u) -> $u {
                let (a, b) = compared(m, a, b, true);
                if $f::from_bits(a) > $f::from_bits(b) { a } else { b }
            }

            /// Operands of a comparison after DAZ, with IE and DE raised; `signals`: quiet NaNs are invalid too.
            #[inline(always)]
            fn compared(m: &mut u32, a: $u, b: $u, signals: bool) -> ($u, $u) {
                if usual(a) && usual(b) { (a, b) } else { unusual(m, a, b, signals) }
            }

            #[cold]
            #[inline(never)]
            fn unusual(m: &mut u32, a: $u, b: $u, signals: bool) -> ($u, $u) {
                let (wide_a, wide_b) = (u64::from(a), u64::from(b));
                if $w.is_nan(wide_a) || $w.is_nan(wide_b) {
                    if signals || $w.is_signalling(wide_a) || $w.is_signalling(wide_b) {
                        *m |= IE;
                    }
                    // A NaN operand hides a denormal one from DE, not from DAZ.
                    let mx = *m;
                    return (
                        $w.operand(mx, &mut 0, wide_a) as $u,
                        $w.operand(mx, &mut 0, wide_b) as $u,
                    );
                }
                let mx = *m;
                ($w.operand(mx, m, wide_a) as $u, $w.operand(mx, m, wide_b) as $u)
            }

            /// RFLAGS bits of `comis`/`ucomis`: unordered ZF PF CF, less CF, equal ZF.
            #[inline(always)]
            pub fn order(m: &mut u32, a: $u, b: $u, signals: bool) -> u64 {
                let (a, b) = compared(m, a, b, signals);
                match $f::from_bits(a).partial_cmp(&$f::from_bits(b)) {
                    None => 0x45,
                    Some(std::cmp::Ordering::Less) => 1,
                    Some(std::cmp::Ordering::Equal) => 0x40,
                    Some(std::cmp::Ordering::Greater) => 0,
                }
            }

            /// Predicate `imm` of `cmpps` and friends (32 of AVX; SSE uses the first eight): all ones or zero.
            #[allow(clippy::neg_cmp_op_on_partial_ord)] // "not less" is not "greater or equal" when unordered
            #[inline(always)]
            pub fn cmp(m: &mut u32, a: $u, b: $u, imm: u8) -> $u {
                // Signalling for lt, le, nlt, nle, nge, ngt, ge, gt; bit 4 turns that round.
                let signals =
                    matches!(imm & 15, 1 | 2 | 5 | 6 | 9 | 10 | 13 | 14) != (imm & 16 != 0);
                let (a, b) = compared(m, a, b, signals);
                let (x, y) = ($f::from_bits(a), $f::from_bits(b));
                let unordered = x != x || y != y;
                let truth = match imm & 15 {
                    0 => x == y,
                    1 => x < y,
                    2 => x <= y,
                    3 => unordered,
                    4 => x != y,
                    5 => !(x < y),
                    6 => !(x <= y),
                    7 => !unordered,
                    8 => x == y || unordered,
                    9 => !(x >= y),
                    10 => !(x > y),
                    11 => false,
                    12 => x != y && !unordered,
                    13 => x >= y,
                    14 => x > y,
                    _ => true,
                };
                if truth { $u::MAX } else { 0 }
            }
        }
    };
}

width!(single u32 f32 u64 W32 23);
width!(double u64 f64 u128 W64 52);

macro_rules! binary {
    ($($op:ident $ss:ident $sd:ident $ps:ident $pd:ident;)*) => { $(
        #[doc = concat!("`", stringify!($ss), "`")]
        #[inline(always)]
        pub fn $ss(m: &mut u32, a: u128, b: u128) -> u128 {
            with_low32(a, single::$op(m, a as u32, b as u32))
        }
        #[doc = concat!("`", stringify!($sd), "`")]
        #[inline(always)]
        pub fn $sd(m: &mut u32, a: u128, b: u128) -> u128 {
            with_low64(a, double::$op(m, low(a), low(b)))
        }
        #[doc = concat!("`", stringify!($ps), "`")]
        #[inline(always)]
        pub fn $ps(m: &mut u32, a: u128, b: u128) -> u128 {
            packed_float::single::$op(m, a, b)
        }
        #[doc = concat!("`", stringify!($pd), "`")]
        #[inline(always)]
        pub fn $pd(m: &mut u32, a: u128, b: u128) -> u128 {
            packed_float::double::$op(m, a, b)
        }
    )* };
}

binary! {
    add addss addsd addps addpd;
    sub subss subsd subps subpd;
    mul mulss mulsd mulps mulpd;
    div divss divsd divps divpd;
    min minss minsd minps minpd;
    max maxss maxsd maxps maxpd;
}

/// `sqrtss`: lane 0 of `b`, the rest of `a`.
#[inline]
pub fn sqrtss(m: &mut u32, a: u128, b: u128) -> u128 {
    with_low32(a, single::sqrt(m, b as u32))
}

/// `sqrtsd`: lane 0 of `b`, the rest of `a`.
#[inline]
pub fn sqrtsd(m: &mut u32, a: u128, b: u128) -> u128 {
    with_low64(a, double::sqrt(m, low(b)))
}

/// `sqrtps`
#[inline]
pub fn sqrtps(m: &mut u32, a: u128) -> u128 {
    packed_float::single::sqrt(m, a)
}

/// `sqrtpd`
#[inline]
pub fn sqrtpd(m: &mut u32, a: u128) -> u128 {
    packed_float::double::sqrt(m, a)
}

#[inline(always)]
fn map_lanes32(a: u128, mut f: impl FnMut(u32) -> u32) -> u128 {
    let a = u32s(a);
    of_u32s(std::array::from_fn(|i| f(a[i])))
}

#[inline(always)]
fn map_lanes64(a: u128, mut f: impl FnMut(u64) -> u64) -> u128 {
    let a = u64s(a);
    of_u64s(std::array::from_fn(|i| f(a[i])))
}

/// `cmpss` with predicate `imm`.
#[inline]
pub fn cmpss(m: &mut u32, a: u128, b: u128, imm: u8) -> u128 {
    with_low32(a, single::cmp(m, a as u32, b as u32, imm))
}

/// `cmpsd` with predicate `imm`.
#[inline]
pub fn cmpsd(m: &mut u32, a: u128, b: u128, imm: u8) -> u128 {
    with_low64(a, double::cmp(m, low(a), low(b), imm))
}

/// `cmpps` with predicate `imm`.
pub fn cmpps(m: &mut u32, a: u128, b: u128, imm: u8) -> u128 {
    let (a, b) = (u32s(a), u32s(b));
    of_u32s(std::array::from_fn(|i| single::cmp(m, a[i], b[i], imm)))
}

/// `cmppd` with predicate `imm`.
pub fn cmppd(m: &mut u32, a: u128, b: u128, imm: u8) -> u128 {
    let (a, b) = (u64s(a), u64s(b));
    of_u64s(std::array::from_fn(|i| double::cmp(m, a[i], b[i], imm)))
}

/// `comiss`: RFLAGS bits ZF, PF, CF.
#[inline]
pub fn comiss(m: &mut u32, a: u128, b: u128) -> u64 {
    single::order(m, a as u32, b as u32, true)
}

/// `comisd`: RFLAGS bits ZF, PF, CF.
#[inline]
pub fn comisd(m: &mut u32, a: u128, b: u128) -> u64 {
    double::order(m, low(a), low(b), true)
}

/// `ucomiss`: RFLAGS bits ZF, PF, CF.
#[inline]
pub fn ucomiss(m: &mut u32, a: u128, b: u128) -> u64 {
    single::order(m, a as u32, b as u32, false)
}

/// `ucomisd`: RFLAGS bits ZF, PF, CF.
#[inline]
pub fn ucomisd(m: &mut u32, a: u128, b: u128) -> u64 {
    double::order(m, low(a), low(b), false)
}

/// `addsubps`: odd lanes added, even lanes subtracted.
pub fn addsubps(m: &mut u32, a: u128, b: u128) -> u128 {
    let (a, b) = (u32s(a), u32s(b));
    of_u32s(std::array::from_fn(|i| {
        if i % 2 == 0 { single::sub(m, a[i], b[i]) } else { single::add(m, a[i], b[i]) }
    }))
}

/// `addsubpd`
pub fn addsubpd(m: &mut u32, a: u128, b: u128) -> u128 {
    let (a, b) = (u64s(a), u64s(b));
    of_u64s([double::sub(m, a[0], b[0]), double::add(m, a[1], b[1])])
}

macro_rules! horizontal {
    ($($op:ident $ps:ident $pd:ident;)*) => { $(
        #[doc = concat!("`", stringify!($ps), "`: neighbours of `a`, then of `b`.")]
        pub fn $ps(m: &mut u32, a: u128, b: u128) -> u128 {
            let (a, b) = (u32s(a), u32s(b));
            let mut pair = |x: u32, y: u32| single::$op(m, x, y);
            of_u32s([pair(a[0], a[1]), pair(a[2], a[3]), pair(b[0], b[1]), pair(b[2], b[3])])
        }
        #[doc = concat!("`", stringify!($pd), "`: neighbours of `a`, then of `b`.")]
        pub fn $pd(m: &mut u32, a: u128, b: u128) -> u128 {
            let (a, b) = (u64s(a), u64s(b));
            of_u64s([double::$op(m, a[0], a[1]), double::$op(m, b[0], b[1])])
        }
    )* };
}

horizontal! {
    add haddps haddpd;
    sub hsubps hsubpd;
}

/// `dpps`: dot product of the lanes in `imm[7:4]` to the lanes in `imm[3:0]`, summed in pairs.
pub fn dpps(m: &mut u32, a: u128, b: u128, imm: u8) -> u128 {
    let [r] = dot(m, [a], [b], imm);
    r
}

/// `vdpps` of 256 bits: [`dpps`] of each half.
pub fn dpps256(m: &mut u32, a: [u128; 2], b: [u128; 2], imm: u8) -> [u128; 2] {
    dot(m, a, b, imm)
}

/// Each of the three steps raises its exceptions, those of all vectors, before the next (seen on the processor); zeros if
/// one is not masked.
fn dot<const N: usize>(m: &mut u32, a: [u128; N], b: [u128; N], imm: u8) -> [u128; N] {
    let products = |m: &mut u32| -> [[u32; 4]; N] {
        std::array::from_fn(|v| {
            let (a, b) = (u32s(a[v]), u32s(b[v]));
            let used = |i: usize| imm >> (4 + i) & 1 != 0;
            std::array::from_fn(|i| if used(i) { single::mul(m, a[i], b[i]) } else { 0 })
        })
    };
    let sums = ieee::step(m, products)
        .and_then(|p| {
            ieee::step(m, |m| {
                p.map(|p| [(p[0], p[1]), (p[2], p[3])].map(|(x, y)| single::add(m, x, y)))
            })
        })
        .and_then(|p| ieee::step(m, |m| p.map(|[x, y]| single::add(m, x, y))))
        .unwrap_or([0; N]);
    sums.map(|sum| of_u32s(std::array::from_fn(|i| if imm >> i & 1 != 0 { sum } else { 0 })))
}

/// `dppd`, in two steps; see `dpps`.
pub fn dppd(m: &mut u32, a: u128, b: u128, imm: u8) -> u128 {
    let (a, b) = (u64s(a), u64s(b));
    let products = |m: &mut u32| -> [u64; 2] {
        std::array::from_fn(
            |i| if imm >> (4 + i) & 1 != 0 { double::mul(m, a[i], b[i]) } else { 0 },
        )
    };
    let sum = ieee::step(m, products)
        .and_then(|p| ieee::step(m, |m| double::add(m, p[0], p[1])))
        .unwrap_or(0);
    of_u64s(std::array::from_fn(|i| if imm >> i & 1 != 0 { sum } else { 0 }))
}

#[inline(always)]
fn round_lane(w: &Width, m: &mut u32, a: u64, imm: u8) -> u64 {
    let mx = *m;
    let rc = if imm & 4 != 0 { mx >> mxcsr::RC_SHIFT & 3 } else { u32::from(imm & 3) };
    if w.is_nan(a) || w.is_denormal(a) {
        return ieee::round_to_integral(w, mx, m, a, imm);
    }
    let x = if w.bits == 64 { f64::from_bits(a) } else { f64::from(f32::from_bits(a as u32)) };
    let r = match rc {
        0 => x.round_ties_even(),
        1 => x.floor(),
        2 => x.ceil(),
        _ => x.trunc(),
    };
    if r != x && imm & 8 == 0 {
        *m |= PE;
    }
    // An integral value that a single rounds to is a single.
    if w.bits == 64 { r.to_bits() } else { u64::from((r as f32).to_bits()) }
}

/// `roundss`: lane 0 of `b`, the rest of `a`.
#[inline]
pub fn roundss(m: &mut u32, a: u128, b: u128, imm: u8) -> u128 {
    with_low32(a, round_lane(&W32, m, u64::from(b as u32), imm) as u32)
}

/// `roundsd`: lane 0 of `b`, the rest of `a`.
#[inline]
pub fn roundsd(m: &mut u32, a: u128, b: u128, imm: u8) -> u128 {
    with_low64(a, round_lane(&W64, m, low(b), imm))
}

/// `roundps`
pub fn roundps(m: &mut u32, a: u128, imm: u8) -> u128 {
    map_lanes32(a, |x| round_lane(&W32, m, x.into(), imm) as u32)
}

/// `roundpd`
pub fn roundpd(m: &mut u32, a: u128, imm: u8) -> u128 {
    map_lanes64(a, |x| round_lane(&W64, m, x, imm))
}

/// The reciprocal to 12 bits. Hardware differs from one maker to the next within a relative error of 1.5 × 2^-12; this
/// rounds the exact value to 12 bits.
fn approximate(x: u32, f: impl Fn(f64) -> f64) -> u32 {
    let v = f32::from_bits(x);
    if v.is_nan() {
        return x | W32.quiet() as u32;
    }
    if W32.is_denormal(x.into()) || v == 0.0 {
        return x & 1 << 31 | f32::INFINITY.to_bits();
    }
    let r = f(f64::from(v));
    if r.is_nan() {
        return W32.indefinite() as u32;
    }
    let bits = (r as f32).to_bits();
    // Tiny results are flushed; the rest is rounded to 12 bits of fraction.
    if W32.is_denormal(bits.into()) { bits & 1 << 31 } else { bits.wrapping_add(1 << 10) & !0x7ff }
}

/// `rcpss`: lane 0 of `b`, the rest of `a`.
pub fn rcpss(a: u128, b: u128) -> u128 {
    with_low32(a, approximate(b as u32, |x| 1.0 / x))
}

/// `rcpps`
pub fn rcpps(a: u128) -> u128 {
    map_lanes32(a, |x| approximate(x, |x| 1.0 / x))
}

/// `rsqrtss`: lane 0 of `b`, the rest of `a`.
pub fn rsqrtss(a: u128, b: u128) -> u128 {
    with_low32(a, approximate(b as u32, |x| 1.0 / x.sqrt()))
}

/// `rsqrtps`
pub fn rsqrtps(a: u128) -> u128 {
    map_lanes32(a, |x| approximate(x, |x| 1.0 / x.sqrt()))
}
