//! Packed floating point: the lanes are judged together on the host's SIMD, and one by one (by [`super::simd_float`])
//! only if one of them is out of the usual.

use super::ieee::mxcsr;
use super::lanes::*;
use super::simd::*;
use super::simd_float;
use super::softfloat::PE;

/// The host rounds as the guest does, and MXCSR has the inexact flag already, so that no lane has to find out.
#[inline(always)]
pub fn host_settles(m: u32) -> bool {
    m & (mxcsr::RC | mxcsr::PM | PE) == mxcsr::PM | PE
}

macro_rules! width {
    ($width:ident $v:ident $f:ident $split:ident $join:ident) => {
        /// Lanes of this width.
        pub mod $width {
            use super::simd_float::$width as lane;
            use super::*;

            /// Neither denormal nor NaN. (The smallest normal numbers are left out: a comparison with the very smallest is
            /// what LLVM turns into a longer test of classes.)
            #[inline(always)]
            pub fn tame(x: $v) -> Mask {
                x.abs().ge($v::splat(2.0 * $f::MIN_POSITIVE)) | x.eq($v::splat(0.0))
            }

            /// Finite, normal, and so large that it does not come from rounding a tiny result.
            #[inline(always)]
            pub fn sound(x: $v) -> Mask {
                let x = x.abs();
                x.ge($v::splat(2.0 * $f::MIN_POSITIVE)) & x.le($v::splat($f::MAX))
            }

            /// As [`sound`], or zero.
            #[inline(always)]
            fn sound_or_zero(x: $v) -> Mask {
                sound(x) | x.eq($v::splat(0.0))
            }

            /// `host` on all lanes if their operands are tame and the results `good`; else `lane` on each.
            #[inline(always)]
            fn lanes(
                m: &mut u32,
                quick: bool,
                [a, b]: [u128; 2],
                host: impl Fn($v, $v) -> $v,
                good: impl Fn($v) -> Option<Mask>,
                lane: impl Fn(&mut u32, u128, u128) -> Whole,
            ) -> u128 {
                if quick {
                    let (x, y) = ($v::new(a), $v::new(b));
                    let r = host(x, y);
                    let operands = tame(x) & tame(y);
                    if good(r).map_or(operands, |good| operands & good).all() {
                        return r.bits();
                    }
                }
                of_whole(lane(m, a, b))
            }

            macro_rules! one_by_one {
                ($op:ident) => {{
                    #[cold]
                    #[inline(never)]
                    fn one_by_one(m: &mut u32, a: u128, b: u128) -> Whole {
                        let (a, b) = ($split(a), $split(b));
                        whole($join(std::array::from_fn(|i| lane::$op(m, a[i], b[i]))))
                    }
                    one_by_one
                }};
            }

            /// a + b; a zero is exact.
            #[inline(always)]
            pub fn add(m: &mut u32, a: u128, b: u128) -> u128 {
                let quick = host_settles(*m);
                lanes(m, quick, [a, b], |x, y| x + y, |r| Some(sound_or_zero(r)), one_by_one!(add))
            }

            /// a − b; a zero is exact.
            #[inline(always)]
            pub fn sub(m: &mut u32, a: u128, b: u128) -> u128 {
                let quick = host_settles(*m);
                lanes(m, quick, [a, b], |x, y| x - y, |r| Some(sound_or_zero(r)), one_by_one!(sub))
            }

            /// a × b
            #[inline(always)]
            pub fn mul(m: &mut u32, a: u128, b: u128) -> u128 {
                let quick = host_settles(*m);
                lanes(m, quick, [a, b], |x, y| x * y, |r| Some(sound(r)), one_by_one!(mul))
            }

            /// a ÷ b
            #[inline(always)]
            pub fn div(m: &mut u32, a: u128, b: u128) -> u128 {
                let quick = host_settles(*m);
                lanes(m, quick, [a, b], |x, y| x / y, |r| Some(sound(r)), one_by_one!(div))
            }

            /// a < b ? a : b
            #[inline(always)]
            pub fn min(m: &mut u32, a: u128, b: u128) -> u128 {
                lanes(m, true, [a, b], |x, y| x.min(y), |_| None, one_by_one!(min))
            }

            /// a > b ? a : b
            #[inline(always)]
            pub fn max(m: &mut u32, a: u128, b: u128) -> u128 {
                lanes(m, true, [a, b], |x, y| x.max(y), |_| None, one_by_one!(max))
            }

            /// √a
            #[inline(always)]
            pub fn sqrt(m: &mut u32, a: u128) -> u128 {
                let x = $v::new(a);
                if host_settles(*m) && (sound(x) & x.ge($v::splat(0.0))).all() {
                    return x.sqrt().bits();
                }
                #[cold]
                #[inline(never)]
                fn one_by_one(m: &mut u32, a: u128) -> Whole {
                    let a = $split(a);
                    whole($join(std::array::from_fn(|i| lane::sqrt(m, a[i]))))
                }
                of_whole(one_by_one(m, a))
            }
        }
    };
}

width!(single F32x4 f32 u32s of_u32s);
width!(double F64x2 f64 u64s of_u64s);
