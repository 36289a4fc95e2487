//! Vectors as arrays of lanes. A vector is a `u128`; lane 0 is its lowest bits.

/// A vector as one piece of the host's memory. A `u128` is moved as two halves in Wasm, and a processor that then loads
/// all of it has to wait until both stores are done.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub type Whole = u128;
/// A vector as one piece of the host's memory. A `u128` is moved as two halves in Wasm, and a processor that then loads
/// all of it has to wait until both stores are done.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub type Whole = core::arch::wasm32::v128;

/// `v` as one piece.
#[inline(always)]
pub fn whole(v: u128) -> Whole {
    bytemuck::cast(v)
}

/// The vector that `whole` is.
#[inline(always)]
pub fn of_whole(whole: Whole) -> u128 {
    bytemuck::cast(whole)
}

/// The body of a function that joins lanes: LLVM keeps them in a vector only if they are put into one.
macro_rules! join {
    ($l:ident $wasm:ident $signed:ident [$($i:literal)*]) => {{
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        return bytemuck::cast(core::arch::wasm32::$wasm($($l[$i] as $signed),*));
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        bytemuck::cast($l)
    }};
}

macro_rules! lanes {
    ($($t:ident $n:literal $split:ident $join:ident $map:ident $zip:ident $wasm:ident $signed:ident $i:tt;)*) => { $(
        #[doc = concat!("The ", stringify!($n), " lanes of type `", stringify!($t), "`.")]
        #[inline(always)]
        pub fn $split(v: u128) -> [$t; $n] {
            bytemuck::cast(v)
        }
        #[doc = concat!("A vector of ", stringify!($n), " lanes of type `", stringify!($t), "`.")]
        #[inline(always)]
        pub fn $join(l: [$t; $n]) -> u128 {
            join!(l $wasm $signed $i)
        }
        #[doc = concat!("Applies `f` to each `", stringify!($t), "` lane.")]
        #[inline(always)]
        pub fn $map(a: u128, f: impl Fn($t) -> $t) -> u128 {
            $join($split(a).map(f))
        }
        #[doc = concat!("Applies `f` to each pair of `", stringify!($t), "` lanes.")]
        #[inline(always)]
        pub fn $zip(a: u128, b: u128, f: impl Fn($t, $t) -> $t) -> u128 {
            let (a, b) = ($split(a), $split(b));
            $join(std::array::from_fn(|i| f(a[i], b[i])))
        }
    )* };
}

lanes! {
    u8 16 u8s of_u8s map_u8 zip_u8 i8x16 i8 [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15];
    i8 16 i8s of_i8s map_i8 zip_i8 i8x16 i8 [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15];
    u16 8 u16s of_u16s map_u16 zip_u16 i16x8 i16 [0 1 2 3 4 5 6 7];
    i16 8 i16s of_i16s map_i16 zip_i16 i16x8 i16 [0 1 2 3 4 5 6 7];
    u32 4 u32s of_u32s map_u32 zip_u32 i32x4 i32 [0 1 2 3];
    i32 4 i32s of_i32s map_i32 zip_i32 i32x4 i32 [0 1 2 3];
    u64 2 u64s of_u64s map_u64 zip_u64 i64x2 i64 [0 1];
    i64 2 i64s of_i64s map_i64 zip_i64 i64x2 i64 [0 1];
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
    of_u64s([low, high])
}

/// `v` with its low 32 bits replaced.
#[inline(always)]
pub fn with_low32(v: u128, low: u32) -> u128 {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    return of_whole(core::arch::wasm32::u32x4_replace_lane::<0>(whole(v), low));
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    (v & !0xffff_ffff | u128::from(low))
}

/// `v` with its low 64 bits replaced.
#[inline(always)]
pub fn with_low64(v: u128, low: u64) -> u128 {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    return of_whole(core::arch::wasm32::u64x2_replace_lane::<0>(whole(v), low));
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    halves(low, high(v))
}
