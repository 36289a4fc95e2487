//! Packed integer arithmetic (SDM vol. 2; MMX, SSE2, SSSE3, SSE4). 64-bit (MMX) forms use the low half of the same
//! functions where lanes do not cross halves; see `mmx` in the lifter for the others.

use super::lanes::*;

/// `wasm_simd!(f a b)` returns `f(a, b)` in Wasm with SIMD, `f` an intrinsic on `v128`; elsewhere it is nothing, and the
/// portable lanes that follow do the work. `_` stands for none. `shift f width a n` only if `n` is below `width`. `|a, b| e`
/// returns the `v128` expression `e` of the vectors.
macro_rules! wasm_simd {
    (_ $a:ident $b:ident) => {};
    ({$f:ident} $a:ident $b:ident) => {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        return of_whole(wasm::$f(whole($a), whole($b)));
    };
    ($f:ident $a:ident $b:ident) => {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        return bytemuck::cast(core::arch::wasm32::$f(bytemuck::cast($a), bytemuck::cast($b)));
    };
    ($f:ident $a:ident) => {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        return u64::from(core::arch::wasm32::$f(bytemuck::cast($a)));
    };
    (shift $f:ident $bits:literal $a:ident $n:ident) => {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        if $n < $bits {
            return bytemuck::cast(core::arch::wasm32::$f(bytemuck::cast($a), $n as u32));
        }
    };
    (|$($a:ident),*| $e:expr) => {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        {
            #[allow(clippy::wildcard_imports)]
            use core::arch::wasm32::*;
            $(let $a: v128 = whole($a);)*
            return of_whole($e);
        }
    };
    (pick [$($t:tt)*] $f:ident $a:ident $b:ident) => {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        return bytemuck::cast(core::arch::wasm32::$f::<$($t)*>(bytemuck::cast($a), bytemuck::cast($b)));
    };
}
pub(super) use wasm_simd;

macro_rules! lanewise {
    ($($name:ident = $zip:ident $wasm:tt |$a:ident, $b:ident| $e:expr;)*) => { $(
        #[doc = concat!("`", stringify!($name), "` (SDM vol. 2).")]
        #[inline]
        #[allow(unreachable_code)] // where Wasm has the instruction
        pub fn $name(a: u128, b: u128) -> u128 {
            wasm_simd!($wasm a b);
            $zip(a, b, |$a, $b| $e)
        }
    )* };
}

/// What takes more than one instruction in Wasm.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    use core::arch::wasm32::*;

    #[inline(always)]
    pub fn pmulhw(a: v128, b: v128) -> v128 {
        let (low, high) = (i32x4_extmul_low_i16x8(a, b), i32x4_extmul_high_i16x8(a, b));
        i16x8_shuffle::<1, 3, 5, 7, 9, 11, 13, 15>(low, high)
    }
    #[inline(always)]
    pub fn pmulhuw(a: v128, b: v128) -> v128 {
        let (low, high) = (u32x4_extmul_low_u16x8(a, b), u32x4_extmul_high_u16x8(a, b));
        i16x8_shuffle::<1, 3, 5, 7, 9, 11, 13, 15>(low, high)
    }
    /// Wasm's instruction saturates the one product that overflows.
    #[inline(always)]
    pub fn pmulhrsw(a: v128, b: v128) -> v128 {
        let least = i16x8_splat(i16::MIN);
        let overflow = v128_and(i16x8_eq(a, least), i16x8_eq(b, least));
        v128_xor(i16x8_q15mulr_sat(a, b), overflow)
    }
    #[inline(always)]
    pub fn pmuludq(a: v128, b: v128) -> v128 {
        u64x2_extmul_low_u32x4(i32x4_shuffle::<0, 2, 0, 2>(a, a), i32x4_shuffle::<0, 2, 0, 2>(b, b))
    }
    #[inline(always)]
    pub fn pmuldq(a: v128, b: v128) -> v128 {
        i64x2_extmul_low_i32x4(i32x4_shuffle::<0, 2, 0, 2>(a, a), i32x4_shuffle::<0, 2, 0, 2>(b, b))
    }
    #[inline(always)]
    pub fn psignb(a: v128, b: v128) -> v128 {
        let zero = i8x16_splat(0);
        v128_and(v128_bitselect(i8x16_neg(a), a, i8x16_lt(b, zero)), i8x16_ne(b, zero))
    }
    #[inline(always)]
    pub fn psignw(a: v128, b: v128) -> v128 {
        let zero = i16x8_splat(0);
        v128_and(v128_bitselect(i16x8_neg(a), a, i16x8_lt(b, zero)), i16x8_ne(b, zero))
    }
    #[inline(always)]
    pub fn psignd(a: v128, b: v128) -> v128 {
        let zero = i32x4_splat(0);
        v128_and(v128_bitselect(i32x4_neg(a), a, i32x4_lt(b, zero)), i32x4_ne(b, zero))
    }
    #[inline(always)]
    pub fn pmaddubsw(a: v128, b: v128) -> v128 {
        // A product of an unsigned and a signed byte fits into a word.
        let low = i16x8_mul(u16x8_extend_low_u8x16(a), i16x8_extend_low_i8x16(b));
        let high = i16x8_mul(u16x8_extend_high_u8x16(a), i16x8_extend_high_i8x16(b));
        i16x8_narrow_i32x4(i32x4_extadd_pairwise_i16x8(low), i32x4_extadd_pairwise_i16x8(high))
    }
    #[inline(always)]
    pub fn psadbw(a: v128, b: v128) -> v128 {
        let differences = v128_or(u8x16_sub_sat(a, b), u8x16_sub_sat(b, a));
        let sums = u32x4_extadd_pairwise_u16x8(u16x8_extadd_pairwise_u8x16(differences));
        i64x2_add(u64x2_shr(sums, 32), v128_and(sums, i64x2_splat(0xffff_ffff)))
    }
    #[inline(always)]
    pub fn even16(a: v128, b: v128) -> v128 {
        i16x8_shuffle::<0, 2, 4, 6, 8, 10, 12, 14>(a, b)
    }
    #[inline(always)]
    pub fn odd16(a: v128, b: v128) -> v128 {
        i16x8_shuffle::<1, 3, 5, 7, 9, 11, 13, 15>(a, b)
    }
    #[inline(always)]
    pub fn even32(a: v128, b: v128) -> v128 {
        i32x4_shuffle::<0, 2, 4, 6>(a, b)
    }
    #[inline(always)]
    pub fn odd32(a: v128, b: v128) -> v128 {
        i32x4_shuffle::<1, 3, 5, 7>(a, b)
    }
}

// Second column: the Wasm instruction that does the same (LLVM does not find it behind a `u128`), or `_`.
lanewise! {
    paddb = zip_u8 i8x16_add |a, b| a.wrapping_add(b);
    paddw = zip_u16 i16x8_add |a, b| a.wrapping_add(b);
    paddd = zip_u32 i32x4_add |a, b| a.wrapping_add(b);
    paddq = zip_u64 i64x2_add |a, b| a.wrapping_add(b);
    psubb = zip_u8 i8x16_sub |a, b| a.wrapping_sub(b);
    psubw = zip_u16 i16x8_sub |a, b| a.wrapping_sub(b);
    psubd = zip_u32 i32x4_sub |a, b| a.wrapping_sub(b);
    psubq = zip_u64 i64x2_sub |a, b| a.wrapping_sub(b);
    paddsb = zip_i8 i8x16_add_sat |a, b| a.saturating_add(b);
    paddsw = zip_i16 i16x8_add_sat |a, b| a.saturating_add(b);
    paddusb = zip_u8 u8x16_add_sat |a, b| a.saturating_add(b);
    paddusw = zip_u16 u16x8_add_sat |a, b| a.saturating_add(b);
    psubsb = zip_i8 i8x16_sub_sat |a, b| a.saturating_sub(b);
    psubsw = zip_i16 i16x8_sub_sat |a, b| a.saturating_sub(b);
    psubusb = zip_u8 u8x16_sub_sat |a, b| a.saturating_sub(b);
    psubusw = zip_u16 u16x8_sub_sat |a, b| a.saturating_sub(b);
    pavgb = zip_u8 u8x16_avgr |a, b| ((u16::from(a) + u16::from(b) + 1) >> 1) as u8;
    pavgw = zip_u16 u16x8_avgr |a, b| ((u32::from(a) + u32::from(b) + 1) >> 1) as u16;
    pminub = zip_u8 u8x16_min |a, b| a.min(b);
    pminuw = zip_u16 u16x8_min |a, b| a.min(b);
    pminud = zip_u32 u32x4_min |a, b| a.min(b);
    pminsb = zip_i8 i8x16_min |a, b| a.min(b);
    pminsw = zip_i16 i16x8_min |a, b| a.min(b);
    pminsd = zip_i32 i32x4_min |a, b| a.min(b);
    pmaxub = zip_u8 u8x16_max |a, b| a.max(b);
    pmaxuw = zip_u16 u16x8_max |a, b| a.max(b);
    pmaxud = zip_u32 u32x4_max |a, b| a.max(b);
    pmaxsb = zip_i8 i8x16_max |a, b| a.max(b);
    pmaxsw = zip_i16 i16x8_max |a, b| a.max(b);
    pmaxsd = zip_i32 i32x4_max |a, b| a.max(b);
    pcmpeqb = zip_u8 i8x16_eq |a, b| if a == b { !0 } else { 0 };
    pcmpeqw = zip_u16 i16x8_eq |a, b| if a == b { !0 } else { 0 };
    pcmpeqd = zip_u32 i32x4_eq |a, b| if a == b { !0 } else { 0 };
    pcmpeqq = zip_u64 i64x2_eq |a, b| if a == b { !0 } else { 0 };
    pcmpgtb = zip_i8 i8x16_gt |a, b| if a > b { !0 } else { 0 };
    pcmpgtw = zip_i16 i16x8_gt |a, b| if a > b { !0 } else { 0 };
    pcmpgtd = zip_i32 i32x4_gt |a, b| if a > b { !0 } else { 0 };
    pcmpgtq = zip_i64 i64x2_gt |a, b| if a > b { !0 } else { 0 };
    pmullw = zip_u16 i16x8_mul |a, b| a.wrapping_mul(b);
    pmulld = zip_u32 i32x4_mul |a, b| a.wrapping_mul(b);
    pmulhw = zip_i16 {pmulhw} |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16;
    pmulhuw = zip_u16 {pmulhuw} |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16;
    pmulhrsw = zip_i16 {pmulhrsw} |a, b| ((((i32::from(a) * i32::from(b)) >> 14) + 1) >> 1) as i16;
    pmuludq = zip_u64 {pmuludq} |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff);
    pmuldq = zip_i64 {pmuldq} |a, b| i64::from(a as i32) * i64::from(b as i32);
    psignb = zip_i8 {psignb} |a, b| a.wrapping_mul(b.signum());
    psignw = zip_i16 {psignw} |a, b| a.wrapping_mul(b.signum());
    psignd = zip_i32 {psignd} |a, b| a.wrapping_mul(b.signum());
}

/// `pabsb` (SDM vol. 2).
#[inline]
#[allow(unreachable_code)]
pub fn pabsb(a: u128) -> u128 {
    wasm_simd!(|a| i8x16_abs(a));
    map_i8(a, i8::wrapping_abs)
}

/// `pabsw` (SDM vol. 2).
#[inline]
#[allow(unreachable_code)]
pub fn pabsw(a: u128) -> u128 {
    wasm_simd!(|a| i16x8_abs(a));
    map_i16(a, i16::wrapping_abs)
}

/// `pabsd` (SDM vol. 2).
#[inline]
#[allow(unreachable_code)]
pub fn pabsd(a: u128) -> u128 {
    wasm_simd!(|a| i32x4_abs(a));
    map_i32(a, i32::wrapping_abs)
}

/// Bitwise and.
#[inline]
#[allow(unreachable_code)]
pub fn pand(a: u128, b: u128) -> u128 {
    wasm_simd!(v128_and a b);
    a & b
}

/// `!a & b`.
#[inline]
#[allow(unreachable_code)]
pub fn pandn(a: u128, b: u128) -> u128 {
    wasm_simd!(v128_andnot b a);
    !a & b
}

/// Bitwise or.
#[inline]
#[allow(unreachable_code)]
pub fn por(a: u128, b: u128) -> u128 {
    wasm_simd!(v128_or a b);
    a | b
}

/// Bitwise exclusive or.
#[inline]
#[allow(unreachable_code)]
pub fn pxor(a: u128, b: u128) -> u128 {
    wasm_simd!(v128_xor a b);
    a ^ b
}

/// Multiplies signed words and adds neighbours.
#[inline]
#[allow(unreachable_code)]
pub fn pmaddwd(a: u128, b: u128) -> u128 {
    wasm_simd!(i32x4_dot_i16x8 a b);
    let (a, b) = (i16s(a), i16s(b));
    of_i32s(std::array::from_fn(|i| {
        let product = |k: usize| i32::from(a[k]) * i32::from(b[k]);
        product(2 * i).wrapping_add(product(2 * i + 1))
    }))
}

/// Multiplies unsigned bytes of `a` by signed bytes of `b`, adds neighbours with signed saturation.
#[inline]
#[allow(unreachable_code)]
pub fn pmaddubsw(a: u128, b: u128) -> u128 {
    wasm_simd!({pmaddubsw} a b);
    let (a, b) = (u8s(a), i8s(b));
    of_i16s(std::array::from_fn(|i| {
        let product = |k: usize| i32::from(a[k]) * i32::from(b[k]);
        saturate_i16(product(2 * i) + product(2 * i + 1))
    }))
}

/// Sums of absolute differences of unsigned bytes, one for each half.
#[inline]
#[allow(unreachable_code)]
pub fn psadbw(a: u128, b: u128) -> u128 {
    wasm_simd!({psadbw} a b);
    let (a, b) = (u8s(a), u8s(b));
    let sum = |from: usize| (from..from + 8).map(|i| u64::from(a[i].abs_diff(b[i]))).sum();
    halves(sum(0), sum(8))
}

/// Eight sums of absolute differences of four bytes (SSE4.1); `imm` selects the blocks.
pub fn mpsadbw(a: u128, b: u128, imm: u8) -> u128 {
    let (a, b) = (u8s(a), u8s(b));
    let (from_a, from_b) = (usize::from(imm >> 2 & 1) * 4, usize::from(imm & 3) * 4);
    of_u16s(std::array::from_fn(|i| {
        (0..4).map(|k| u16::from(a[from_a + i + k].abs_diff(b[from_b + k]))).sum()
    }))
}

/// The smallest unsigned word and its index.
pub fn phminposuw(a: u128) -> u128 {
    let mut best = (u16::MAX, 0);
    for (i, w) in u16s(a).into_iter().enumerate() {
        if w < best.0 || i == 0 {
            best = (w, i as u128);
        }
    }
    u128::from(best.0) | best.1 << 16
}

macro_rules! horizontal {
    ($($name:ident $split:ident $join:ident $n:literal $even:ident $odd:ident $f:ident |$a:ident, $b:ident| $e:expr;)*) => { $(
        #[doc = concat!("`", stringify!($name), "`: neighbours of `a`, then of `b` (SDM vol. 2).")]
        #[inline]
        #[allow(unreachable_code)]
        pub fn $name(a: u128, b: u128) -> u128 {
            wasm_simd!(|a, b| $f(wasm::$even(a, b), wasm::$odd(a, b)));
            let (x, y) = ($split(a), $split(b));
            $join(std::array::from_fn(|i| {
                let (v, k) = if i < $n / 2 { (&x, 2 * i) } else { (&y, 2 * i - $n) };
                let ($a, $b) = (v[k], v[k + 1]);
                $e
            }))
        }
    )* };
}

horizontal! {
    phaddw i16s of_i16s 8 even16 odd16 i16x8_add |a, b| a.wrapping_add(b);
    phaddd i32s of_i32s 4 even32 odd32 i32x4_add |a, b| a.wrapping_add(b);
    phaddsw i16s of_i16s 8 even16 odd16 i16x8_add_sat |a, b| a.saturating_add(b);
    phsubw i16s of_i16s 8 even16 odd16 i16x8_sub |a, b| a.wrapping_sub(b);
    phsubd i32s of_i32s 4 even32 odd32 i32x4_sub |a, b| a.wrapping_sub(b);
    phsubsw i16s of_i16s 8 even16 odd16 i16x8_sub_sat |a, b| a.saturating_sub(b);
}

/// Clamps to `i16`.
#[inline(always)]
fn saturate_i16(x: i32) -> i16 {
    x.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// Packs signed words to signed bytes with saturation: `a` low, `b` high.
#[inline]
#[allow(unreachable_code)]
pub fn packsswb(a: u128, b: u128) -> u128 {
    wasm_simd!(i8x16_narrow_i16x8 a b);
    let (a, b) = (i16s(a), i16s(b));
    of_i8s(std::array::from_fn(|i| if i < 8 { a[i] } else { b[i - 8] }.clamp(-128, 127) as i8))
}

/// Packs signed words to unsigned bytes with saturation.
#[inline]
#[allow(unreachable_code)]
pub fn packuswb(a: u128, b: u128) -> u128 {
    wasm_simd!(u8x16_narrow_i16x8 a b);
    let (a, b) = (i16s(a), i16s(b));
    of_u8s(std::array::from_fn(|i| if i < 8 { a[i] } else { b[i - 8] }.clamp(0, 255) as u8))
}

/// Packs signed doublewords to signed words with saturation.
#[inline]
#[allow(unreachable_code)]
pub fn packssdw(a: u128, b: u128) -> u128 {
    wasm_simd!(i16x8_narrow_i32x4 a b);
    let (a, b) = (i32s(a), i32s(b));
    of_i16s(std::array::from_fn(|i| saturate_i16(if i < 4 { a[i] } else { b[i - 4] })))
}

/// Packs signed doublewords to unsigned words with saturation.
#[inline]
#[allow(unreachable_code)]
pub fn packusdw(a: u128, b: u128) -> u128 {
    wasm_simd!(u16x8_narrow_i32x4 a b);
    let (a, b) = (i32s(a), i32s(b));
    of_u16s(std::array::from_fn(|i| if i < 4 { a[i] } else { b[i - 4] }.clamp(0, 65535) as u16))
}

macro_rules! shifts {
    ($($name:ident $by_imm:ident $map:ident $wasm:ident $bits:literal |$x:ident, $n:ident| $e:expr;)*) => { $(
        #[doc = concat!("`", stringify!($name), "` by the low quadword of `b`.")]
        #[inline]
        pub fn $name(a: u128, b: u128) -> u128 {
            let $n = low(b);
            wasm_simd!(shift $wasm $bits a $n);
            $map(a, |$x| $e)
        }
        #[doc = concat!("`", stringify!($name), "` by an immediate.")]
        #[inline]
        pub fn $by_imm(a: u128, imm: u8) -> u128 {
            let $n = u64::from(imm);
            wasm_simd!(shift $wasm $bits a $n);
            $map(a, |$x| $e)
        }
    )* };
}

// A count over the lane's width gives 0, or all sign bits.
shifts! {
    psllw psllwi map_u16 i16x8_shl 16 |x, n| if n > 15 { 0 } else { x << n };
    pslld pslldi map_u32 i32x4_shl 32 |x, n| if n > 31 { 0 } else { x << n };
    psllq psllqi map_u64 i64x2_shl 64 |x, n| if n > 63 { 0 } else { x << n };
    psrlw psrlwi map_u16 u16x8_shr 16 |x, n| if n > 15 { 0 } else { x >> n };
    psrld psrldi map_u32 u32x4_shr 32 |x, n| if n > 31 { 0 } else { x >> n };
    psrlq psrlqi map_u64 u64x2_shr 64 |x, n| if n > 63 { 0 } else { x >> n };
    psraw psrawi map_i16 i16x8_shr 16 |x, n| x >> n.min(15);
    psrad psradi map_i32 i32x4_shr 32 |x, n| x >> n.min(31);
}

/// The number of each byte, for swizzles: these give 0 for indices over 15.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) const INDICES: core::arch::wasm32::v128 =
    core::arch::wasm32::u8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

/// The whole vector shifted left by bytes.
#[inline]
#[allow(unreachable_code)]
pub fn pslldq(a: u128, bytes: u8) -> u128 {
    wasm_simd!(|a| i8x16_swizzle(a, i8x16_sub(INDICES, u8x16_splat(bytes.min(16)))));
    if bytes > 15 { 0 } else { a << (bytes * 8) }
}

/// The whole vector shifted right by bytes.
#[inline]
#[allow(unreachable_code)]
pub fn psrldq(a: u128, bytes: u8) -> u128 {
    wasm_simd!(|a| i8x16_swizzle(a, u8x16_add_sat(INDICES, u8x16_splat(bytes))));
    if bytes > 15 { 0 } else { a >> (bytes * 8) }
}

/// Sign bits of the 16 bytes.
#[inline]
#[allow(unreachable_code)]
pub fn pmovmskb(a: u128) -> u64 {
    wasm_simd!(i8x16_bitmask a);
    // Gathers the eight sign bits of each half by a multiplication that moves bit 7 of byte i to bit 56 + i.
    let gather =
        |half: u64| ((half & 0x8080_8080_8080_8080) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    gather(low(a)) | gather(high(a)) << 8
}

/// Sign bits of the four singles.
#[inline]
#[allow(unreachable_code)]
pub fn movmskps(a: u128) -> u64 {
    wasm_simd!(i32x4_bitmask a);
    u32s(a).into_iter().rev().fold(0, |m, x| m << 1 | u64::from(x >> 31))
}

/// Sign bits of the two doubles.
#[inline]
#[allow(unreachable_code)]
pub fn movmskpd(a: u128) -> u64 {
    wasm_simd!(i64x2_bitmask a);
    low(a) >> 63 | high(a) >> 63 << 1
}

/// ZF if `a & b` is zero, CF if `!a & b` is zero; as RFLAGS bits.
#[inline]
#[allow(unreachable_code)]
pub fn ptest(a: u128, b: u128) -> u64 {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    {
        use core::arch::wasm32::{v128_and, v128_andnot, v128_any_true};
        let (a, b) = (whole(a), whole(b));
        return u64::from(!v128_any_true(v128_and(b, a))) << 6
            | u64::from(!v128_any_true(v128_andnot(b, a)));
    }
    u64::from(b & a == 0) << 6 | u64::from(b & !a == 0)
}

/// `vtestps`: [`ptest`] of the signs of singles.
pub fn vtestps(a: u128, b: u128) -> u64 {
    ptest(a, b & SIGNS32)
}

/// `vtestpd`: [`ptest`] of the signs of doubles.
pub fn vtestpd(a: u128, b: u128) -> u64 {
    ptest(a, b & SIGNS64)
}

const SIGNS32: u128 = 0x8000_0000_8000_0000_8000_0000_8000_0000;
const SIGNS64: u128 = 0x8000_0000_0000_0000_8000_0000_0000_0000;

/// Carry-less multiplication of the halves chosen by `imm`.
pub fn pclmulqdq(a: u128, b: u128, imm: u8) -> u128 {
    let x = if imm & 1 == 0 { low(a) } else { high(a) };
    let y = if imm & 16 == 0 { low(b) } else { high(b) };
    // Four bits of y at a time: products of x with 0..16.
    let mut table = [0u128; 16];
    table[1] = x.into();
    for i in 1..8 {
        table[2 * i] = table[i] << 1;
        table[2 * i + 1] = table[2 * i] ^ table[1];
    }
    (0..16).rev().fold(0, |r, i| r << 4 ^ table[(y >> (4 * i) & 15) as usize])
}
