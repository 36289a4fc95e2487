//! Moving lanes: shuffles, unpacks, blends, insertion and widening (SDM vol. 2).

use super::lanes::*;
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

/// Doublewords of `a` chosen by `imm`.
#[inline]
pub fn pshufd(a: u128, imm: u8) -> u128 {
    let a = u32s(a);
    of_u32s(std::array::from_fn(|i| a[field(imm, i)]))
}

/// Low words chosen by `imm`, high half kept.
#[inline]
pub fn pshuflw(a: u128, imm: u8) -> u128 {
    let a = u16s(a);
    of_u16s(std::array::from_fn(|i| if i < 4 { a[field(imm, i)] } else { a[i] }))
}

/// High words chosen by `imm`, low half kept.
#[inline]
pub fn pshufhw(a: u128, imm: u8) -> u128 {
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
pub fn palignr(a: u128, b: u128, imm: u8) -> u128 {
    match u32::from(imm) {
        0 => b,
        n @ 1..=15 => b >> (8 * n) | a << (128 - 8 * n),
        n @ 16..=31 => a >> (8 * (n - 16)),
        _ => 0,
    }
}

/// Two singles of `a`, then two of `b`.
#[inline]
pub fn shufps(a: u128, b: u128, imm: u8) -> u128 {
    let (a, b) = (u32s(a), u32s(b));
    of_u32s([a[field(imm, 0)], a[field(imm, 1)], b[field(imm, 2)], b[field(imm, 3)]])
}

/// One double of `a`, then one of `b`.
#[inline]
pub fn shufpd(a: u128, b: u128, imm: u8) -> u128 {
    let (a, b) = (u64s(a), u64s(b));
    of_u64s([a[usize::from(imm & 1)], b[usize::from(imm >> 1 & 1)]])
}

/// Low 32 bits of `b` over `a` (movss between registers).
#[inline]
pub fn movss(a: u128, b: u128) -> u128 {
    with_low32(a, b as u32)
}

/// Low 64 bits of `b` over `a` (movsd between registers; movlps, movlpd).
#[inline]
pub fn movsd(a: u128, b: u128) -> u128 {
    with_low64(a, low(b))
}

/// The low half of `b` becomes the high half of `a` (movlhps; movhps, movhpd; unpcklpd).
#[inline]
pub fn movlhps(a: u128, b: u128) -> u128 {
    halves(low(a), low(b))
}

/// The high half of `b` becomes the low half of `a` (movhlps).
#[inline]
pub fn movhlps(a: u128, b: u128) -> u128 {
    halves(high(b), high(a))
}

/// The low half, zero-extended (movq).
#[inline]
pub fn movq(a: u128) -> u128 {
    u128::from(low(a))
}

/// The low half twice.
#[inline]
pub fn movddup(a: u128) -> u128 {
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
pub fn pblendw(a: u128, b: u128, imm: u8) -> u128 {
    let (a, b) = (u16s(a), u16s(b));
    of_u16s(std::array::from_fn(|i| if imm >> i & 1 != 0 { b[i] } else { a[i] }))
}

/// Singles of `b` where the bit of `imm` is set, else of `a`.
#[inline]
pub fn blendps(a: u128, b: u128, imm: u8) -> u128 {
    let (a, b) = (u32s(a), u32s(b));
    of_u32s(std::array::from_fn(|i| if imm >> i & 1 != 0 { b[i] } else { a[i] }))
}

/// Doubles of `b` where the bit of `imm` is set, else of `a`.
#[inline]
pub fn blendpd(a: u128, b: u128, imm: u8) -> u128 {
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
pub fn pblendvb(a: u128, b: u128, mask: u128) -> u128 {
    select(a, b, map_i8(mask, |x| x >> 7))
}

/// Singles of `b` where the mask's sign is set, else of `a`.
#[inline]
pub fn blendvps(a: u128, b: u128, mask: u128) -> u128 {
    select(a, b, map_i32(mask, |x| x >> 31))
}

/// Doubles of `b` where the mask's sign is set, else of `a`.
#[inline]
pub fn blendvpd(a: u128, b: u128, mask: u128) -> u128 {
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
pub fn pinsrb(a: u128, x: u64, imm: u8) -> u128 {
    let mut r = u8s(a);
    r[usize::from(imm & 15)] = x as u8;
    of_u8s(r)
}

/// `a` with word lane `imm` replaced.
#[inline]
pub fn pinsrw(a: u128, x: u64, imm: u8) -> u128 {
    let mut r = u16s(a);
    r[usize::from(imm & 7)] = x as u16;
    of_u16s(r)
}

/// `a` with doubleword lane `imm` replaced.
#[inline]
pub fn pinsrd(a: u128, x: u64, imm: u8) -> u128 {
    let mut r = u32s(a);
    r[usize::from(imm & 3)] = x as u32;
    of_u32s(r)
}

/// `a` with quadword lane `imm` replaced.
#[inline]
pub fn pinsrq(a: u128, x: u64, imm: u8) -> u128 {
    let mut r = u64s(a);
    r[usize::from(imm & 1)] = x;
    of_u64s(r)
}

macro_rules! widen {
    ($($name:ident $split:ident $join:ident $t:ty;)*) => { $(
        #[doc = concat!("`", stringify!($name), "`: low lanes widened (SDM vol. 2).")]
        #[inline]
        pub fn $name(a: u128) -> u128 {
            let a = $split(a);
            $join(std::array::from_fn(|i| a[i] as $t))
        }
    )* };
}

widen! {
    pmovsxbw i8s of_i16s i16;
    pmovsxbd i8s of_i32s i32;
    pmovsxbq i8s of_i64s i64;
    pmovsxwd i16s of_i32s i32;
    pmovsxwq i16s of_i64s i64;
    pmovsxdq i32s of_i64s i64;
    pmovzxbw u8s of_u16s u16;
    pmovzxbd u8s of_u32s u32;
    pmovzxbq u8s of_u64s u64;
    pmovzxwd u16s of_u32s u32;
    pmovzxwq u16s of_u64s u64;
    pmovzxdq u32s of_u64s u64;
}

/// A copy.
#[inline(always)]
pub fn mov(a: u128) -> u128 {
    a
}

/// 32 bits of a register, zero-extended to a vector (movd).
#[inline(always)]
pub fn from_r32(x: u64) -> u128 {
    u128::from(x as u32)
}

/// 64 bits of a register, zero-extended to a vector (movq).
#[inline(always)]
pub fn from_r64(x: u64) -> u128 {
    u128::from(x)
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
