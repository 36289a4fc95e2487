//! Moving lanes: shuffles, unpacks, blends, insertion and widening (SDM vol. 2).

use super::lanes::*;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::packed::INDICES;
use super::packed::wasm_simd;

macro_rules! unpack {
    ($($low:ident $high:ident $split:ident $join:ident $n:literal $f:ident [$($l:tt)*] [$($h:tt)*];)*) => { $(
        #[doc = concat!("`", stringify!($low), "`: interleaves the low halves.")]
        #[inline]
        #[allow(unreachable_code)]
        pub fn $low(a: u128, b: u128) -> u128 {
            wasm_simd!(pick [$($l)*] $f a b);
            let (a, b) = ($split(a), $split(b));
            $join(std::array::from_fn(|i| if i % 2 == 0 { a[i / 2] } else { b[i / 2] }))
        }
        #[doc = concat!("`", stringify!($high), "`: interleaves the high halves.")]
        #[inline]
        #[allow(unreachable_code)]
        pub fn $high(a: u128, b: u128) -> u128 {
            wasm_simd!(pick [$($h)*] $f a b);
            let (a, b) = ($split(a), $split(b));
            $join(std::array::from_fn(|i| if i % 2 == 0 { a[($n + i) / 2] } else { b[($n + i) / 2] }))
        }
    )* };
}

unpack! {
    punpcklbw punpckhbw u8s of_u8s 16 i8x16_shuffle
        [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23]
        [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
    punpcklwd punpckhwd u16s of_u16s 8 i16x8_shuffle
        [0, 8, 1, 9, 2, 10, 3, 11]
        [4, 12, 5, 13, 6, 14, 7, 15];
    punpckldq punpckhdq u32s of_u32s 4 i32x4_shuffle
        [0, 4, 1, 5]
        [2, 6, 3, 7];
    punpcklqdq punpckhqdq u64s of_u64s 2 i64x2_shuffle
        [0, 2]
        [1, 3];
}

/// The two-bit field `i` of a shuffle immediate.
#[inline(always)]
fn field(imm: u8, i: usize) -> usize {
    usize::from(imm >> (2 * i) & 3)
}

/// The bytes that the four fields of each immediate choose as lanes of `SIZE` bytes.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
const fn chosen<const SIZE: usize, const LEN: usize>() -> [[u8; LEN]; 256] {
    let mut table = [[0; LEN]; 256];
    let mut imm = 0;
    while imm < 256 {
        let mut i = 0;
        while i < LEN {
            table[imm][i] = ((imm >> (2 * (i / SIZE)) & 3) * SIZE + i % SIZE) as u8;
            i += 1;
        }
        imm += 1;
    }
    table
}

/// Indices of [`pshufd`] by immediate.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
static DOUBLEWORDS: [[u8; 16]; 256] = chosen::<4, 16>();
/// Indices of [`pshuflw`] by immediate.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
static WORDS: [[u8; 8]; 256] = chosen::<2, 8>();

/// The indices of `table` for `imm`, as a vector.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn doublewords(imm: u8) -> Whole {
    bytemuck::cast(DOUBLEWORDS[usize::from(imm)])
}
/// The four words that `imm` chooses, as indices of bytes.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn words(imm: u8) -> u64 {
    u64::from_le_bytes(WORDS[usize::from(imm)])
}

/// Doublewords of `a` chosen by `imm`.
#[inline]
#[allow(unreachable_code)]
pub fn pshufd(a: u128, imm: u8) -> u128 {
    wasm_simd!(|a| i8x16_swizzle(a, doublewords(imm)));
    let a = u32s(a);
    of_u32s(std::array::from_fn(|i| a[field(imm, i)]))
}

/// Low words chosen by `imm`, high half kept.
#[inline]
#[allow(unreachable_code)]
pub fn pshuflw(a: u128, imm: u8) -> u128 {
    wasm_simd!(|a| i8x16_swizzle(a, u64x2(words(imm), 0x0f0e_0d0c_0b0a_0908)));
    let a = u16s(a);
    of_u16s(std::array::from_fn(|i| if i < 4 { a[field(imm, i)] } else { a[i] }))
}

/// High words chosen by `imm`, low half kept.
#[inline]
#[allow(unreachable_code)]
pub fn pshufhw(a: u128, imm: u8) -> u128 {
    wasm_simd!(|a| i8x16_swizzle(
        a,
        u64x2(0x0706_0504_0302_0100, words(imm) | 0x0808_0808_0808_0808)
    ));
    let a = u16s(a);
    of_u16s(std::array::from_fn(|i| if i < 4 { a[i] } else { a[4 + field(imm, i - 4)] }))
}

/// Bytes of `a` chosen by the low four bits of each byte of `b`; its bit 7 gives 0.
#[inline]
#[allow(unreachable_code)]
pub fn pshufb(a: u128, b: u128) -> u128 {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    {
        // A swizzle gives 0 for all indices over 15.
        let b = b & 0x8f8f_8f8f_8f8f_8f8f_8f8f_8f8f_8f8f_8f8f;
        wasm_simd!(i8x16_swizzle a b);
    }
    let (a, b) = (u8s(a), u8s(b));
    of_u8s(std::array::from_fn(|i| if b[i] & 0x80 != 0 { 0 } else { a[usize::from(b[i] & 15)] }))
}

/// 16 bytes of the concatenation `a:b` from byte `imm` on.
#[inline]
#[allow(unreachable_code)]
pub fn palignr(a: u128, b: u128, imm: u8) -> u128 {
    wasm_simd!(|a, b| {
        let at = u8x16_add_sat(INDICES, u8x16_splat(imm));
        v128_or(i8x16_swizzle(b, at), i8x16_swizzle(a, i8x16_sub(at, u8x16_splat(16))))
    });
    match u32::from(imm) {
        0 => b,
        n @ 1..=15 => b >> (8 * n) | a << (128 - 8 * n),
        n @ 16..=31 => a >> (8 * (n - 16)),
        _ => 0,
    }
}

/// Two singles of `a`, then two of `b`.
#[inline]
#[allow(unreachable_code)]
pub fn shufps(a: u128, b: u128, imm: u8) -> u128 {
    wasm_simd!(|a, b| {
        let at = doublewords(imm);
        i64x2_shuffle::<0, 3>(i8x16_swizzle(a, at), i8x16_swizzle(b, at))
    });
    let (a, b) = (u32s(a), u32s(b));
    of_u32s([a[field(imm, 0)], a[field(imm, 1)], b[field(imm, 2)], b[field(imm, 3)]])
}

/// One double of `a`, then one of `b`.
#[inline]
#[allow(unreachable_code)]
pub fn shufpd(a: u128, b: u128, imm: u8) -> u128 {
    wasm_simd!(|a, b| match imm & 3 {
        0 => i64x2_shuffle::<0, 2>(a, b),
        1 => i64x2_shuffle::<1, 2>(a, b),
        2 => i64x2_shuffle::<0, 3>(a, b),
        _ => i64x2_shuffle::<1, 3>(a, b),
    });
    let (a, b) = (u64s(a), u64s(b));
    of_u64s([a[usize::from(imm & 1)], b[usize::from(imm >> 1 & 1)]])
}

/// Low 32 bits of `b` over `a` (movss between registers).
#[inline]
#[allow(unreachable_code)]
pub fn movss(a: u128, b: u128) -> u128 {
    wasm_simd!(pick [4, 1, 2, 3] i32x4_shuffle a b);
    with_low32(a, b as u32)
}

/// Low 64 bits of `b` over `a` (movsd between registers; movlps, movlpd).
#[inline]
#[allow(unreachable_code)]
pub fn movsd(a: u128, b: u128) -> u128 {
    wasm_simd!(pick [2, 1] i64x2_shuffle a b);
    with_low64(a, low(b))
}

/// The low half of `b` becomes the high half of `a` (movlhps; movhps, movhpd; unpcklpd).
#[inline]
#[allow(unreachable_code)]
pub fn movlhps(a: u128, b: u128) -> u128 {
    wasm_simd!(pick [0, 2] i64x2_shuffle a b);
    halves(low(a), low(b))
}

/// The high half of `b` becomes the low half of `a` (movhlps).
#[inline]
#[allow(unreachable_code)]
pub fn movhlps(a: u128, b: u128) -> u128 {
    wasm_simd!(pick [3, 1] i64x2_shuffle a b);
    halves(high(b), high(a))
}

/// The low half, zero-extended (movq).
#[inline]
pub fn movq(a: u128) -> u128 {
    u128::from(low(a))
}

/// The low half twice.
#[inline]
#[allow(unreachable_code)]
pub fn movddup(a: u128) -> u128 {
    wasm_simd!(|a| i64x2_shuffle::<0, 0>(a, a));
    halves(low(a), low(a))
}

/// Even singles doubled.
#[inline]
pub fn movsldup(a: u128) -> u128 {
    pshufd(a, 0b10_10_00_00)
}

/// Odd singles doubled.
#[inline]
pub fn movshdup(a: u128) -> u128 {
    pshufd(a, 0b11_11_01_01)
}

/// Words of `b` where the bit of `imm` is set, else of `a`.
#[inline]
#[allow(unreachable_code)]
pub fn pblendw(a: u128, b: u128, imm: u8) -> u128 {
    wasm_simd!(|a, b| {
        let bits = i16x8(1, 2, 4, 8, 16, 32, 64, 128);
        v128_bitselect(b, a, i16x8_eq(v128_and(i16x8_splat(imm.into()), bits), bits))
    });
    let (a, b) = (u16s(a), u16s(b));
    of_u16s(std::array::from_fn(|i| if imm >> i & 1 != 0 { b[i] } else { a[i] }))
}

/// Singles of `b` where the bit of `imm` is set, else of `a`.
#[inline]
#[allow(unreachable_code)]
pub fn blendps(a: u128, b: u128, imm: u8) -> u128 {
    wasm_simd!(|a, b| {
        let bits = i32x4(1, 2, 4, 8);
        v128_bitselect(b, a, i32x4_eq(v128_and(i32x4_splat(imm.into()), bits), bits))
    });
    let (a, b) = (u32s(a), u32s(b));
    of_u32s(std::array::from_fn(|i| if imm >> i & 1 != 0 { b[i] } else { a[i] }))
}

/// Doubles of `b` where the bit of `imm` is set, else of `a`.
#[inline]
#[allow(unreachable_code)]
pub fn blendpd(a: u128, b: u128, imm: u8) -> u128 {
    wasm_simd!(|a, b| {
        let bits = i64x2(1, 2);
        v128_bitselect(b, a, i64x2_eq(v128_and(i64x2_splat(imm.into()), bits), bits))
    });
    let (a, b) = (u64s(a), u64s(b));
    of_u64s(std::array::from_fn(|i| if imm >> i & 1 != 0 { b[i] } else { a[i] }))
}

/// `vpermilps` by a vector: bits 1:0 of each lane of `b` choose a single of `a`.
#[inline]
pub fn vpermilps(a: u128, b: u128) -> u128 {
    let a = u32s(a);
    map_u32(b, |x| a[(x & 3) as usize])
}

/// `vpermilpd` by a vector: bit 1 of each lane of `b` chooses a double of `a`.
#[inline]
pub fn vpermilpd(a: u128, b: u128) -> u128 {
    let a = u64s(a);
    map_u64(b, |x| a[(x >> 1 & 1) as usize])
}

/// Bytes of `b` where the mask byte's sign is set, else of `a`.
#[inline]
#[allow(unreachable_code)]
pub fn pblendvb(a: u128, b: u128, mask: u128) -> u128 {
    wasm_simd!(|a, b, mask| v128_bitselect(b, a, i8x16_shr(mask, 7)));
    select(a, b, map_i8(mask, |x| x >> 7))
}

/// Singles of `b` where the mask's sign is set, else of `a`.
#[inline]
#[allow(unreachable_code)]
pub fn blendvps(a: u128, b: u128, mask: u128) -> u128 {
    wasm_simd!(|a, b, mask| v128_bitselect(b, a, i32x4_shr(mask, 31)));
    select(a, b, map_i32(mask, |x| x >> 31))
}

/// Doubles of `b` where the mask's sign is set, else of `a`.
#[inline]
#[allow(unreachable_code)]
pub fn blendvpd(a: u128, b: u128, mask: u128) -> u128 {
    wasm_simd!(|a, b, mask| v128_bitselect(b, a, i64x2_shr(mask, 63)));
    select(a, b, map_i64(mask, |x| x >> 63))
}

#[inline(always)]
fn select(a: u128, b: u128, mask: u128) -> u128 {
    a & !mask | b & mask
}

/// Single of `b` chosen by `imm[7:6]` into lane `imm[5:4]` of `a`; lanes of `imm[3:0]` become 0. For a memory source
/// the single is in lane 0 and the lifter clears `imm[7:6]`.
pub fn insertps(a: u128, b: u128, imm: u8) -> u128 {
    let mut r = u32s(a);
    r[field(imm, 2)] = u32s(b)[field(imm, 3)];
    for (i, lane) in r.iter_mut().enumerate() {
        if imm >> i & 1 != 0 {
            *lane = 0;
        }
    }
    of_u32s(r)
}

/// Byte lane `imm`.
#[inline]
pub fn pextrb(a: u128, imm: u8) -> u64 {
    u64::from(u8s(a)[usize::from(imm & 15)])
}

/// Word lane `imm`.
#[inline]
pub fn pextrw(a: u128, imm: u8) -> u64 {
    u64::from(u16s(a)[usize::from(imm & 7)])
}

/// Doubleword lane `imm`.
#[inline]
pub fn pextrd(a: u128, imm: u8) -> u64 {
    u64::from(u32s(a)[usize::from(imm & 3)])
}

/// Quadword lane `imm`.
#[inline]
pub fn pextrq(a: u128, imm: u8) -> u64 {
    u64s(a)[usize::from(imm & 1)]
}

/// `a` with byte lane `imm` replaced.
#[inline]
#[allow(unreachable_code)]
pub fn pinsrb(a: u128, x: u64, imm: u8) -> u128 {
    wasm_simd!(|a| {
        let lane = i8x16_eq(
            i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
            i8x16_splat(imm as i8 & 15),
        );
        v128_bitselect(i8x16_splat(x as i8), a, lane)
    });
    let mut r = u8s(a);
    r[usize::from(imm & 15)] = x as u8;
    of_u8s(r)
}

/// `a` with word lane `imm` replaced.
#[inline]
#[allow(unreachable_code)]
pub fn pinsrw(a: u128, x: u64, imm: u8) -> u128 {
    wasm_simd!(|a| {
        let lane = i16x8_eq(i16x8(0, 1, 2, 3, 4, 5, 6, 7), i16x8_splat(imm as i16 & 7));
        v128_bitselect(i16x8_splat(x as i16), a, lane)
    });
    let mut r = u16s(a);
    r[usize::from(imm & 7)] = x as u16;
    of_u16s(r)
}

/// `a` with doubleword lane `imm` replaced.
#[inline]
#[allow(unreachable_code)]
pub fn pinsrd(a: u128, x: u64, imm: u8) -> u128 {
    wasm_simd!(|a| {
        let lane = i32x4_eq(i32x4(0, 1, 2, 3), i32x4_splat(imm as i32 & 3));
        v128_bitselect(i32x4_splat(x as i32), a, lane)
    });
    let mut r = u32s(a);
    r[usize::from(imm & 3)] = x as u32;
    of_u32s(r)
}

/// `a` with quadword lane `imm` replaced.
#[inline]
#[allow(unreachable_code)]
pub fn pinsrq(a: u128, x: u64, imm: u8) -> u128 {
    wasm_simd!(|a| {
        let lane = i64x2_eq(i64x2(0, 1), i64x2_splat(imm as i64 & 1));
        v128_bitselect(i64x2_splat(x as i64), a, lane)
    });
    let mut r = u64s(a);
    r[usize::from(imm & 1)] = x;
    of_u64s(r)
}

macro_rules! widen {
    ($($name:ident $split:ident $join:ident $t:ty, $($wasm:ident)*;)*) => { $(
        #[doc = concat!("`", stringify!($name), "`: low lanes widened (SDM vol. 2).")]
        #[inline]
        #[allow(unreachable_code)]
        pub fn $name(a: u128) -> u128 {
            wasm_simd!(|a| {
                $(let a = $wasm(a);)*
                a
            });
            let a = $split(a);
            $join(std::array::from_fn(|i| a[i] as $t))
        }
    )* };
}

widen! {
    pmovsxbw i8s of_i16s i16, i16x8_extend_low_i8x16;
    pmovsxbd i8s of_i32s i32, i16x8_extend_low_i8x16 i32x4_extend_low_i16x8;
    pmovsxbq i8s of_i64s i64, i16x8_extend_low_i8x16 i32x4_extend_low_i16x8 i64x2_extend_low_i32x4;
    pmovsxwd i16s of_i32s i32, i32x4_extend_low_i16x8;
    pmovsxwq i16s of_i64s i64, i32x4_extend_low_i16x8 i64x2_extend_low_i32x4;
    pmovsxdq i32s of_i64s i64, i64x2_extend_low_i32x4;
    pmovzxbw u8s of_u16s u16, u16x8_extend_low_u8x16;
    pmovzxbd u8s of_u32s u32, u16x8_extend_low_u8x16 u32x4_extend_low_u16x8;
    pmovzxbq u8s of_u64s u64, u16x8_extend_low_u8x16 u32x4_extend_low_u16x8 u64x2_extend_low_u32x4;
    pmovzxwd u16s of_u32s u32, u32x4_extend_low_u16x8;
    pmovzxwq u16s of_u64s u64, u32x4_extend_low_u16x8 u64x2_extend_low_u32x4;
    pmovzxdq u32s of_u64s u64, u64x2_extend_low_u32x4;
}

/// A copy.
#[inline(always)]
pub fn mov(a: u128) -> u128 {
    a
}

/// 32 bits of a register, zero-extended to a vector (movd).
#[inline(always)]
pub fn from_r32(x: u64) -> u128 {
    halves(u64::from(x as u32), 0)
}

/// 64 bits of a register, zero-extended to a vector (movq).
#[inline(always)]
pub fn from_r64(x: u64) -> u128 {
    halves(x, 0)
}

/// The low 32 bits (movd to a register).
#[inline(always)]
pub fn to_r32(a: u128) -> u64 {
    u64::from(a as u32)
}

/// The low 64 bits (movq to a register).
#[inline(always)]
pub fn to_r64(a: u128) -> u64 {
    a as u64
}

/// The high 64 bits (movhps to memory, pextrq 1).
#[inline(always)]
pub fn high_r64(a: u128) -> u64 {
    high(a)
}
