//! Vectors as arrays of lanes. A vector is a `u128`; lane 0 is its lowest bits.

macro_rules! lanes {
    ($($t:ident $n:literal $split:ident $join:ident $map:ident $zip:ident;)*) => { $(
        #[doc = concat!("The ", stringify!($n), " lanes of type `", stringify!($t), "`.")]
        #[inline(always)]
        pub fn $split(v: u128) -> [$t; $n] {
            bytemuck::cast(v)
        }
        #[doc = concat!("A vector of ", stringify!($n), " lanes of type `", stringify!($t), "`.")]
        #[inline(always)]
        pub fn $join(l: [$t; $n]) -> u128 {
            bytemuck::cast(l)
        }
        #[doc = concat!("Applies `f` to each `", stringify!($t), "` lane.")]
        #[inline(always)]
        pub fn $map(a: u128, f: impl Fn($t) -> $t) -> u128 {
            let a = $split(a);
            let mut r = [0; $n];
            for i in 0..$n {
                r[i] = f(a[i]);
            }
            $join(r)
        }
        #[doc = concat!("Applies `f` to each pair of `", stringify!($t), "` lanes.")]
        #[inline(always)]
        pub fn $zip(a: u128, b: u128, f: impl Fn($t, $t) -> $t) -> u128 {
            let (a, b) = ($split(a), $split(b));
            let mut r = [0; $n];
            for i in 0..$n {
                r[i] = f(a[i], b[i]);
            }
            $join(r)
        }
    )* };
}

lanes! {
    u8 16 u8s of_u8s map_u8 zip_u8;
    i8 16 i8s of_i8s map_i8 zip_i8;
    u16 8 u16s of_u16s map_u16 zip_u16;
    i16 8 i16s of_i16s map_i16 zip_i16;
    u32 4 u32s of_u32s map_u32 zip_u32;
    i32 4 i32s of_i32s map_i32 zip_i32;
    u64 2 u64s of_u64s map_u64 zip_u64;
    i64 2 i64s of_i64s map_i64 zip_i64;
}

/// The low 64 bits.
#[inline(always)]
pub fn low(v: u128) -> u64 {
    v as u64
}

/// The high 64 bits.
#[inline(always)]
pub fn high(v: u128) -> u64 {
    (v >> 64) as u64
}

/// A vector from its halves.
#[inline(always)]
pub fn halves(low: u64, high: u64) -> u128 {
    u128::from(low) | u128::from(high) << 64
}

/// `v` with its low 32 bits replaced.
#[inline(always)]
pub fn with_low32(v: u128, low: u32) -> u128 {
    v & !0xffff_ffff | u128::from(low)
}

/// `v` with its low 64 bits replaced.
#[inline(always)]
pub fn with_low64(v: u128, low: u64) -> u128 {
    halves(low, high(v))
}
