//! Vectors of floats on the host's SIMD: Wasm's simd128 where there is one, else arrays. Only what
//! [`super::packed_float`] and [`super::fma`] need; rounding is to nearest, as ever on the host.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod host {
    use core::arch::wasm32::*;

    macro_rules! vector {
        ($name:ident $f:ident $splat:ident $add:ident $sub:ident $mul:ident $div:ident $sqrt:ident $neg:ident
            $abs:ident $ge:ident $le:ident $eq:ident $pmin:ident $pmax:ident) => {
            #[doc = concat!("Lanes of type `", stringify!($f), "`.")]
            #[derive(Clone, Copy)]
            pub struct $name(v128);
            impl $name {
                /// From their patterns.
                #[inline(always)]
                pub fn new(bits: u128) -> $name {
                    $name(bytemuck::cast(bits))
                }
                /// Their patterns.
                #[inline(always)]
                pub fn bits(self) -> u128 {
                    bytemuck::cast(self.0)
                }
                /// `x` in each lane.
                #[inline(always)]
                pub fn splat(x: $f) -> $name {
                    $name($splat(x))
                }
                /// The square roots.
                #[inline(always)]
                pub fn sqrt(self) -> $name {
                    $name($sqrt(self.0))
                }
                /// The magnitudes.
                #[inline(always)]
                pub fn abs(self) -> $name {
                    $name($abs(self.0))
                }
                /// self < b ? self : b
                #[inline(always)]
                pub fn min(self, b: $name) -> $name {
                    $name($pmin(b.0, self.0))
                }
                /// self > b ? self : b
                #[inline(always)]
                pub fn max(self, b: $name) -> $name {
                    $name($pmax(b.0, self.0))
                }
                /// Lanes where self ≥ b.
                #[inline(always)]
                pub fn ge(self, b: $name) -> Mask {
                    Mask($ge(self.0, b.0))
                }
                /// Lanes where self ≤ b.
                #[inline(always)]
                pub fn le(self, b: $name) -> Mask {
                    Mask($le(self.0, b.0))
                }
                /// Lanes where self = b.
                #[inline(always)]
                pub fn eq(self, b: $name) -> Mask {
                    Mask($eq(self.0, b.0))
                }
            }
            impl std::ops::Add for $name {
                type Output = $name;
                #[inline(always)]
                fn add(self, b: $name) -> $name {
                    $name($add(self.0, b.0))
                }
            }
            impl std::ops::Sub for $name {
                type Output = $name;
                #[inline(always)]
                fn sub(self, b: $name) -> $name {
                    $name($sub(self.0, b.0))
                }
            }
            impl std::ops::Mul for $name {
                type Output = $name;
                #[inline(always)]
                fn mul(self, b: $name) -> $name {
                    $name($mul(self.0, b.0))
                }
            }
            impl std::ops::Div for $name {
                type Output = $name;
                #[inline(always)]
                fn div(self, b: $name) -> $name {
                    $name($div(self.0, b.0))
                }
            }
            impl std::ops::Neg for $name {
                type Output = $name;
                #[inline(always)]
                fn neg(self) -> $name {
                    $name($neg(self.0))
                }
            }
        };
    }
    vector!(F32x4 f32 f32x4_splat f32x4_add f32x4_sub f32x4_mul f32x4_div f32x4_sqrt f32x4_neg
        f32x4_abs f32x4_ge f32x4_le f32x4_eq f32x4_pmin f32x4_pmax);
    vector!(F64x2 f64 f64x2_splat f64x2_add f64x2_sub f64x2_mul f64x2_div f64x2_sqrt f64x2_neg
        f64x2_abs f64x2_ge f64x2_le f64x2_eq f64x2_pmin f64x2_pmax);

    /// A truth value for each lane.
    #[derive(Clone, Copy)]
    pub struct Mask(v128);
    impl Mask {
        /// True for all lanes.
        #[inline(always)]
        pub fn all(self) -> bool {
            // A lane is all ones or all zeros.
            u8x16_all_true(self.0)
        }
    }
    impl std::ops::BitAnd for Mask {
        type Output = Mask;
        #[inline(always)]
        fn bitand(self, b: Mask) -> Mask {
            Mask(v128_and(self.0, b.0))
        }
    }
    impl std::ops::BitOr for Mask {
        type Output = Mask;
        #[inline(always)]
        fn bitor(self, b: Mask) -> Mask {
            Mask(v128_or(self.0, b.0))
        }
    }

    impl F32x4 {
        /// Lanes 0 and 1, lanes 2 and 3.
        #[inline(always)]
        pub fn promote(self) -> [F64x2; 2] {
            let high = u64x2_shuffle::<1, 1>(self.0, self.0);
            [F64x2(f64x2_promote_low_f32x4(self.0)), F64x2(f64x2_promote_low_f32x4(high))]
        }
        /// Rounds.
        #[inline(always)]
        pub fn demote([low, high]: [F64x2; 2]) -> F32x4 {
            let (low, high) = (f32x4_demote_f64x2_zero(low.0), f32x4_demote_f64x2_zero(high.0));
            F32x4(u64x2_shuffle::<0, 2>(low, high))
        }
    }
    impl F64x2 {
        /// Lanes whose pattern has not the bits `bits` within `mask`.
        #[inline(always)]
        pub fn bits_differ(self, mask: u64, bits: u64) -> Mask {
            Mask(u64x2_ne(v128_and(self.0, u64x2_splat(mask)), u64x2_splat(bits)))
        }
        /// Lanes of `a` where `mask` is true, else of `b`.
        #[inline(always)]
        pub fn select(mask: Mask, a: F64x2, b: F64x2) -> F64x2 {
            F64x2(v128_bitselect(a.0, b.0, mask.0))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod host {
    use crate::sem::lanes::*;

    macro_rules! vector {
        ($name:ident $f:ident $n:literal $split:ident $join:ident) => {
            #[doc = concat!("Lanes of type `", stringify!($f), "`.")]
            #[derive(Clone, Copy)]
            pub struct $name([$f; $n]);
            impl $name {
                /// From their patterns.
                #[inline(always)]
                pub fn new(bits: u128) -> $name {
                    $name($split(bits).map($f::from_bits))
                }
                /// Their patterns.
                #[inline(always)]
                pub fn bits(self) -> u128 {
                    $join(self.0.map($f::to_bits))
                }
                /// `x` in each lane.
                #[inline(always)]
                pub fn splat(x: $f) -> $name {
                    $name([x; $n])
                }
                /// The square roots.
                #[inline(always)]
                pub fn sqrt(self) -> $name {
                    $name(self.0.map($f::sqrt))
                }
                /// The magnitudes.
                #[inline(always)]
                pub fn abs(self) -> $name {
                    $name(self.0.map($f::abs))
                }
                /// self < b ? self : b
                #[inline(always)]
                pub fn min(self, b: $name) -> $name {
                    self.zip(b, |a, b| if a < b { a } else { b })
                }
                /// self > b ? self : b
                #[inline(always)]
                pub fn max(self, b: $name) -> $name {
                    self.zip(b, |a, b| if a > b { a } else { b })
                }
                /// Lanes where self ≥ b.
                #[inline(always)]
                pub fn ge(self, b: $name) -> Mask {
                    self.compare(b, |a, b| a >= b)
                }
                /// Lanes where self ≤ b.
                #[inline(always)]
                pub fn le(self, b: $name) -> Mask {
                    self.compare(b, |a, b| a <= b)
                }
                /// Lanes where self = b.
                #[inline(always)]
                pub fn eq(self, b: $name) -> Mask {
                    self.compare(b, |a, b| a == b)
                }
                #[inline(always)]
                fn zip(self, b: $name, f: impl Fn($f, $f) -> $f) -> $name {
                    $name(std::array::from_fn(|i| f(self.0[i], b.0[i])))
                }
                #[inline(always)]
                fn compare(self, b: $name, f: impl Fn($f, $f) -> bool) -> Mask {
                    // Lanes that this width has not are true.
                    Mask(std::array::from_fn(|i| i >= $n || f(self.0[i % $n], b.0[i % $n])))
                }
            }
            impl std::ops::Add for $name {
                type Output = $name;
                #[inline(always)]
                fn add(self, b: $name) -> $name {
                    self.zip(b, |a, b| a + b)
                }
            }
            impl std::ops::Sub for $name {
                type Output = $name;
                #[inline(always)]
                fn sub(self, b: $name) -> $name {
                    self.zip(b, |a, b| a - b)
                }
            }
            impl std::ops::Mul for $name {
                type Output = $name;
                #[inline(always)]
                fn mul(self, b: $name) -> $name {
                    self.zip(b, |a, b| a * b)
                }
            }
            impl std::ops::Div for $name {
                type Output = $name;
                #[inline(always)]
                fn div(self, b: $name) -> $name {
                    self.zip(b, |a, b| a / b)
                }
            }
            impl std::ops::Neg for $name {
                type Output = $name;
                #[inline(always)]
                fn neg(self) -> $name {
                    $name(self.0.map(|a| -a))
                }
            }
        };
    }
    vector!(F32x4 f32 4 u32s of_u32s);
    vector!(F64x2 f64 2 u64s of_u64s);

    /// A truth value for each lane.
    #[derive(Clone, Copy)]
    pub struct Mask([bool; 4]);
    impl Mask {
        /// True for all lanes.
        #[inline(always)]
        pub fn all(self) -> bool {
            self.0.iter().fold(true, |all, lane| all & lane)
        }
    }
    impl std::ops::BitAnd for Mask {
        type Output = Mask;
        #[inline(always)]
        fn bitand(self, b: Mask) -> Mask {
            Mask(std::array::from_fn(|i| self.0[i] & b.0[i]))
        }
    }
    impl std::ops::BitOr for Mask {
        type Output = Mask;
        #[inline(always)]
        fn bitor(self, b: Mask) -> Mask {
            Mask(std::array::from_fn(|i| self.0[i] | b.0[i]))
        }
    }

    impl F32x4 {
        /// Lanes 0 and 1, lanes 2 and 3.
        #[inline(always)]
        pub fn promote(self) -> [F64x2; 2] {
            let [a, b, c, d] = self.0.map(f64::from);
            [F64x2([a, b]), F64x2([c, d])]
        }
        /// Rounds.
        #[inline(always)]
        pub fn demote([low, high]: [F64x2; 2]) -> F32x4 {
            F32x4([low.0[0], low.0[1], high.0[0], high.0[1]].map(|x| x as f32))
        }
    }
    impl F64x2 {
        /// Lanes whose pattern has not the bits `bits` within `mask`.
        #[inline(always)]
        pub fn bits_differ(self, mask: u64, bits: u64) -> Mask {
            self.compare(self, |x, _| x.to_bits() & mask != bits)
        }
        /// Lanes of `a` where `mask` is true, else of `b`.
        #[inline(always)]
        pub fn select(mask: Mask, a: F64x2, b: F64x2) -> F64x2 {
            F64x2(std::array::from_fn(|i| if mask.0[i] { a.0[i] } else { b.0[i] }))
        }
    }
}

pub use host::{F32x4, F64x2, Mask};
