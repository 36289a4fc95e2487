//! Integer ops. Operands' bits above an op's width are ignored; results are zero-extended unless the name says else.

use crate::flags::{CF, OF, ZF, szp};

/// `a`.
#[inline(always)]
pub fn mov(a: u64) -> u64 {
    a
}

macro_rules! one {
    ($($(#[$m:meta])* $name:ident |$a:ident| $e:expr;)*) => {
        $($(#[$m])* #[inline(always)] #[allow(missing_docs)] pub fn $name($a: u64) -> u64 { $e })*
    };
}
macro_rules! two {
    ($($(#[$m:meta])* $name:ident |$a:ident, $b:ident| $e:expr;)*) => {
        $($(#[$m])* #[inline(always)] #[allow(missing_docs)] pub fn $name($a: u64, $b: u64) -> u64 { $e })*
    };
}
macro_rules! from {
    ($($name:ident $t:ty, |$a:ident| $e:expr;)*) => {
        $(#[inline(always)] #[allow(missing_docs)] pub fn $name($a: $t) -> u64 { $e })*
    };
}

from! {
    from_u8 u8, |a| u64::from(a);
    from_u16 u16, |a| u64::from(a);
    from_u32 u32, |a| u64::from(a);
    from_i8 u8, |a| i64::from(a as i8) as u64;
    from_i16 u16, |a| i64::from(a as i16) as u64;
    from_i32 u32, |a| i64::from(a as i32) as u64;
    from_i8w32 u8, |a| u64::from(i32::from(a as i8) as u32);
    from_i16w32 u16, |a| u64::from(i32::from(a as i16) as u32);
}

one! {
    zx8 |a| a & 0xFF;
    zx8h |a| a >> 8 & 0xFF;
    zx16 |a| a & 0xFFFF;
    zx32 |a| a & 0xFFFF_FFFF;
    sx8 |a| a as i8 as u64;
    sx16 |a| a as i16 as u64;
    sx32 |a| a as i32 as u64;
    sx8w32 |a| u64::from(a as i8 as u32);
    sx16w32 |a| u64::from(a as i16 as u32);
    not64 |a| !a;
    not32 |a| u64::from(!(a as u32));
    neg64 |a| a.wrapping_neg();
    neg32 |a| u64::from((a as u32).wrapping_neg());
    bswap64 |a| a.swap_bytes();
    bswap32 |a| u64::from((a as u32).swap_bytes());
    bswap16 |a| u64::from((a as u16).swap_bytes());
    bitmask64 |a| 1 << (a & 63);
    bitmask32 |a| 1 << (a & 31);
    bitmask16 |a| 1 << (a & 15);
    popcnt |a| u64::from(a.count_ones());
    tzcnt64 |a| u64::from(a.trailing_zeros());
    tzcnt32 |a| u64::from((a as u32).trailing_zeros());
    tzcnt16 |a| u64::from((a as u16).trailing_zeros());
    lzcnt64 |a| u64::from(a.leading_zeros());
    lzcnt32 |a| u64::from((a as u32).leading_zeros());
    lzcnt16 |a| u64::from((a as u16).leading_zeros());
    /// [`ZF`] if `a` is zero.
    zfifzero |a| if a == 0 { ZF } else { 0 };
    /// [`CF`] if `a` is zero.
    cfifzero |a| if a == 0 { CF } else { 0 };
    szpflags8 |a| szp(a, 8);
    szpflags16 |a| szp(a, 16);
    szpflags32 |a| szp(a, 32);
    szpflags64 |a| szp(a, 64);
}

two! {
    dep8 |a, b| a & !0xFF | b & 0xFF;
    dep8h |a, b| a & !0xFF00 | (b & 0xFF) << 8;
    dep16 |a, b| a & !0xFFFF | b & 0xFFFF;
    add64 |a, b| a.wrapping_add(b);
    add32 |a, b| u64::from((a as u32).wrapping_add(b as u32));
    sub64 |a, b| a.wrapping_sub(b);
    sub32 |a, b| u64::from((a as u32).wrapping_sub(b as u32));
    and64 |a, b| a & b;
    and32 |a, b| u64::from(a as u32 & b as u32);
    or64 |a, b| a | b;
    or32 |a, b| u64::from(a as u32 | b as u32);
    xor64 |a, b| a ^ b;
    xor32 |a, b| u64::from(a as u32 ^ b as u32);
    andn64 |a, b| !a & b;
    andn32 |a, b| u64::from(!(a as u32) & b as u32);
    mul64 |a, b| a.wrapping_mul(b);
    mul32 |a, b| u64::from((a as u32).wrapping_mul(b as u32));
    umulh64 |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64;
    smulh64 |a, b| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64;
    shl64 |a, b| a << (b & 63);
    shl32 |a, b| u64::from((a as u32) << (b & 31));
    shr64 |a, b| a >> (b & 63);
    shr32 |a, b| u64::from(a as u32 >> (b & 31));
    sar64 |a, b| (a as i64 >> (b & 63)) as u64;
    sar32 |a, b| u64::from((a as i32 >> (b & 31)) as u32);
    shln8 |a, b| (a << (b & 31)) & 0xFF;
    shln16 |a, b| (a << (b & 31)) & 0xFFFF;
    shrn8 |a, b| (a & 0xFF) >> (b & 31);
    shrn16 |a, b| (a & 0xFFFF) >> (b & 31);
    sarn8 |a, b| (i64::from(a as i8) >> (b & 31)) as u64 & 0xFF;
    sarn16 |a, b| (i64::from(a as i16) >> (b & 31)) as u64 & 0xFFFF;
    rol64 |a, b| a.rotate_left(b as u32 & 63);
    rol32 |a, b| u64::from((a as u32).rotate_left(b as u32 & 31));
    rol16 |a, b| u64::from((a as u16).rotate_left(b as u32 & 31));
    rol8 |a, b| u64::from((a as u8).rotate_left(b as u32 & 31));
    ror64 |a, b| a.rotate_right(b as u32 & 63);
    ror32 |a, b| u64::from((a as u32).rotate_right(b as u32 & 31));
    ror16 |a, b| u64::from((a as u16).rotate_right(b as u32 & 31));
    ror8 |a, b| u64::from((a as u8).rotate_right(b as u32 & 31));
    maskif64 |a, b| if b & 63 != 0 { a } else { 0 };
    maskif32 |a, b| if b & 31 != 0 { a } else { 0 };
    bit64 |a, b| a >> (b & 63) & 1;
    bit32 |a, b| a >> (b & 31) & 1;
    bit16 |a, b| a >> (b & 15) & 1;
    bsf |a, b| if a == 0 { b } else { u64::from(a.trailing_zeros()) };
    bsr |a, b| if a == 0 { b } else { u64::from(63 - a.leading_zeros()) };
    /// Flags of tzcnt and lzcnt: CF if the source `a` is zero, ZF if the count `b` is.
    cntflags |a, b| cfifzero(a) | zfifzero(b);
    eq64 |a, b| u64::from(a == b);
    ltu64 |a, b| u64::from(a < b);
    bextr64 |a, b| bextr(a, b);
    bextr32 |a, b| bextr(a & 0xFFFF_FFFF, b) & 0xFFFF_FFFF;
    bzhi64 |a, b| bzhi(a, b);
    bzhi32 |a, b| bzhi(a & 0xFFFF_FFFF, b);
}

fn bextr(a: u64, control: u64) -> u64 {
    let start = control as u32 & 0xFF;
    let len = (control >> 8) as u32 & 0xFF;
    let a = a.checked_shr(start).unwrap_or(0);
    if len < 64 { a & ((1 << len) - 1) } else { a }
}

fn bzhi(a: u64, n: u64) -> u64 {
    let n = n & 0xFF;
    if n < 64 { a & ((1 << n) - 1) } else { a }
}

/// `a` (the condition) ≠ 0 ? `b` : `c`.
#[inline(always)]
pub fn select(a: u64, b: u64, c: u64) -> u64 {
    if a != 0 { b } else { c }
}

macro_rules! rotate_flags {
    ($($rol:ident $ror:ident $bits:literal;)*) => { $(
        /// CF and OF of a left rotate with result `r`. OF is defined for a count of 1 only.
        #[inline]
        pub fn $rol(r: u64, _count: u64) -> u64 {
            let (cf, msb) = (r & 1, r >> ($bits - 1) & 1);
            cf * CF | (cf ^ msb) * OF
        }
        /// CF and OF of a right rotate with result `r`.
        #[inline]
        pub fn $ror(r: u64, _count: u64) -> u64 {
            let (msb, next) = (r >> ($bits - 1) & 1, r >> ($bits - 2) & 1);
            msb * CF | (msb ^ next) * OF
        }
    )* };
}
rotate_flags! {
    rolflags8 rorflags8 8; rolflags16 rorflags16 16; rolflags32 rorflags32 32; rolflags64 rorflags64 64;
}

/// Rotates the `bits + 1`-wide value carry:a left by `count`; returns (value, carry).
fn rotate_carry(a: u64, count: u32, carry: u64, bits: u32) -> (u64, u64) {
    let wide = u128::from(a & (u64::MAX >> (64 - bits))) | u128::from(carry & 1) << bits;
    let width = bits + 1;
    let n = count % width;
    let mask = (1u128 << width) - 1;
    let r = if n == 0 { wide } else { (wide << n | wide >> (width - n)) & mask };
    (r as u64 & (u64::MAX >> (64 - bits)), (r >> bits) as u64 & 1)
}

macro_rules! rotate_carry {
    ($($rcl:ident $rcr:ident $rclf:ident $rcrf:ident $bits:literal $mask:literal;)*) => { $(
        /// Left rotate of carry:a; `carry` is 0 or 1.
        pub fn $rcl(a: u64, count: u64, carry: u64) -> u64 {
            rotate_carry(a, count as u32 & $mask, carry, $bits).0
        }
        /// Right rotate of carry:a.
        pub fn $rcr(a: u64, count: u64, carry: u64) -> u64 {
            let n = (count as u32 & $mask) % ($bits + 1);
            rotate_carry(a, $bits + 1 - n, carry, $bits).0
        }
        /// CF and OF of the left rotate.
        pub fn $rclf(a: u64, count: u64, carry: u64) -> u64 {
            let (r, cf) = rotate_carry(a, count as u32 & $mask, carry, $bits);
            cf * CF | ((r >> ($bits - 1) & 1) ^ cf) * OF
        }
        /// CF and OF of the right rotate.
        pub fn $rcrf(a: u64, count: u64, carry: u64) -> u64 {
            let n = (count as u32 & $mask) % ($bits + 1);
            let (r, cf) = rotate_carry(a, $bits + 1 - n, carry, $bits);
            cf * CF | ((r >> ($bits - 1) & 1) ^ (r >> ($bits - 2) & 1)) * OF
        }
    )* };
}
rotate_carry! {
    rcl8 rcr8 rclflags8 rcrflags8 8 31;
    rcl16 rcr16 rclflags16 rcrflags16 16 31;
    rcl32 rcr32 rclflags32 rcrflags32 32 31;
    rcl64 rcr64 rclflags64 rcrflags64 64 63;
}

/// Double shift left: (value, CF). Beyond the width (16-bit form only, undefined) the pattern a:b:a goes on.
fn shld(a: u64, b: u64, n: u32, bits: u32) -> (u64, u64) {
    let mask = u64::MAX >> (64 - bits);
    let (a, b) = (a & mask, b & mask);
    if n == 0 {
        return (a, 0);
    }
    if bits == 16 {
        let wide = u128::from(a) << 48 | u128::from(b) << 32 | u128::from(a) << 16 | u128::from(b);
        let r = wide << n;
        return ((r >> 48) as u64 & mask, (r >> 64) as u64 & 1);
    }
    ((a << n | b >> (bits - n)) & mask, a >> (bits - n) & 1)
}

/// Double shift right: (value, CF).
fn shrd(a: u64, b: u64, n: u32, bits: u32) -> (u64, u64) {
    let mask = u64::MAX >> (64 - bits);
    let (a, b) = (a & mask, b & mask);
    if n == 0 {
        return (a, 0);
    }
    if bits == 16 {
        let wide = u128::from(b) << 48 | u128::from(a) << 32 | u128::from(b) << 16 | u128::from(a);
        return ((wide >> n) as u64 & mask, (wide >> (n - 1)) as u64 & 1);
    }
    ((a >> n | b << (bits - n)) & mask, a >> (n - 1) & 1)
}

macro_rules! double_shift {
    ($($name:ident $flags:ident $f:ident $bits:literal $mask:literal;)*) => { $(
        /// Double shift of `a`, filled from `b`, by `count`.
        #[inline]
        pub fn $name(a: u64, b: u64, count: u64) -> u64 {
            $f(a, b, count as u32 & $mask, $bits).0
        }
        /// Its flags (only meaningful for a count ≠ 0).
        pub fn $flags(a: u64, b: u64, count: u64) -> u64 {
            let (r, cf) = $f(a, b, count as u32 & $mask, $bits);
            szp(r, $bits) | cf * CF | ((r ^ a) >> ($bits - 1) & 1) * OF
        }
    )* };
}
double_shift! {
    shld16 shldflags16 shld 16 31; shld32 shldflags32 shld 32 31; shld64 shldflags64 shld 64 63;
    shrd16 shrdflags16 shrd 16 31; shrd32 shrdflags32 shrd 32 31; shrd64 shrdflags64 shrd 64 63;
}

/// Scatters the low bits of `a` to the places of the set bits of `mask`.
pub fn pdep(mut a: u64, mut mask: u64) -> u64 {
    let mut r = 0;
    while mask != 0 {
        let bit = mask & mask.wrapping_neg();
        if a & 1 != 0 {
            r |= bit;
        }
        a >>= 1;
        mask ^= bit;
    }
    r
}

/// Gathers the bits of `a` at the places of the set bits of `mask`.
pub fn pext(a: u64, mut mask: u64) -> u64 {
    let (mut r, mut n) = (0, 0);
    while mask != 0 {
        let bit = mask & mask.wrapping_neg();
        if a & bit != 0 {
            r |= 1 << n;
        }
        n += 1;
        mask ^= bit;
    }
    r
}

/// CRC-32C (polynomial 0x11EDC6F41, reflected), one byte at a time.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut c, mut k) = (i as u32, 0);
        while k < 8 {
            c = if c & 1 != 0 { c >> 1 ^ 0x82F6_3B78 } else { c >> 1 };
            k += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
};

fn crc(crc: u64, data: u64, bytes: u32) -> u64 {
    let mut c = crc as u32;
    for i in 0..bytes {
        c = c >> 8 ^ CRC_TABLE[usize::from(c as u8 ^ (data >> (8 * i)) as u8)];
    }
    u64::from(c)
}

two! {
    crc32c8 |a, b| crc(a, b, 1);
    crc32c16 |a, b| crc(a, b, 2);
    crc32c32 |a, b| crc(a, b, 4);
    crc32c64 |a, b| crc(a, b, 8);
}

/// (quotient, remainder) of the 16-bit dividend `lo` by the byte `by`; `hi` is not used. `None` = #DE.
pub fn udiv8(_hi: u64, lo: u64, by: u64) -> Option<(u64, u64)> {
    let (n, d) = (lo & 0xFFFF, by & 0xFF);
    let q = n.checked_div(d)?;
    (q <= 0xFF).then(|| (q, n % d))
}

/// As [`udiv8`], signed; results are zero-extended bytes.
pub fn sdiv8(_hi: u64, lo: u64, by: u64) -> Option<(u64, u64)> {
    let (n, d) = (i32::from(lo as i16), i32::from(by as i8));
    let q = n.checked_div(d)?;
    i8::try_from(q).ok().map(|q| (u64::from(q as u8), u64::from((n % d) as u8)))
}

macro_rules! divide {
    ($($u:ident $s:ident $uw:ty, $sw:ty, $uh:ty, $sh:ty;)*) => { $(
        /// (quotient, remainder) of hi:lo by `by`, unsigned. `None` = #DE.
        #[inline]
        pub fn $u(hi: u64, lo: u64, by: u64) -> Option<(u64, u64)> {
            let d = <$uw>::from(by as $uh);
            let n = <$uw>::from(hi as $uh) << <$uh>::BITS | <$uw>::from(lo as $uh);
            let q = n.checked_div(d)?;
            <$uh>::try_from(q).ok().map(|q| (q as u64, (n % d) as u64))
        }
        /// (quotient, remainder) of hi:lo by `by`, signed; both zero-extended. `None` = #DE.
        #[inline]
        pub fn $s(hi: u64, lo: u64, by: u64) -> Option<(u64, u64)> {
            let d = <$sw>::from(by as $sh);
            let n = (<$uw>::from(hi as $uh) << <$uh>::BITS | <$uw>::from(lo as $uh)) as $sw;
            let q = n.checked_div(d)?;
            let r = n.wrapping_rem(d);
            <$sh>::try_from(q).ok().map(|q| (q as $uh as u64, r as $sh as $uh as u64))
        }
    )* };
}
divide! {
    udiv16 sdiv16 u32, i32, u16, i16;
    udiv32 sdiv32 u64, i64, u32, i32;
}

/// (quotient, remainder) of the 128-bit hi:lo by `by`, unsigned. `None` = #DE.
#[inline]
pub fn udiv64(hi: u64, lo: u64, by: u64) -> Option<(u64, u64)> {
    if hi == 0 {
        return lo.checked_div(by).map(|q| (q, lo % by));
    }
    if hi >= by {
        return None; // also covers by == 0
    }
    let n = u128::from(hi) << 64 | u128::from(lo);
    Some(((n / u128::from(by)) as u64, (n % u128::from(by)) as u64))
}

/// (quotient, remainder) of the 128-bit hi:lo by `by`, signed. `None` = #DE.
#[inline]
pub fn sdiv64(hi: u64, lo: u64, by: u64) -> Option<(u64, u64)> {
    if hi as i64 == lo as i64 >> 63 {
        let q = (lo as i64).checked_div(by as i64)?;
        return Some((q as u64, (lo as i64).wrapping_rem(by as i64) as u64));
    }
    let n = (u128::from(hi) << 64 | u128::from(lo)) as i128;
    let d = i128::from(by as i64);
    let q = n.checked_div(d)?;
    i64::try_from(q).ok().map(|q| (q as u64, (n % d) as u64))
}
