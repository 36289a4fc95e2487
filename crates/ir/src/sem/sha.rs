//! SHA-1 and SHA-256 instructions (SDM vol. 2; FIPS 180-4).

use super::lanes::*;

/// `sha1nexte`
pub fn sha1nexte(a: u128, b: u128) -> u128 {
    let e = u32s(a)[3].rotate_left(30);
    let mut r = u32s(b);
    r[3] = r[3].wrapping_add(e);
    of_u32s(r)
}

/// `sha1msg1`
pub fn sha1msg1(a: u128, b: u128) -> u128 {
    a ^ (a << 64 | b >> 64)
}

/// `sha1msg2`
pub fn sha1msg2(a: u128, b: u128) -> u128 {
    let (a, b) = (u32s(a), u32s(b));
    let w16 = (a[3] ^ b[2]).rotate_left(1);
    let w17 = (a[2] ^ b[1]).rotate_left(1);
    let w18 = (a[1] ^ b[0]).rotate_left(1);
    let w19 = (a[0] ^ w16).rotate_left(1);
    of_u32s([w19, w18, w17, w16])
}

/// `sha1rnds4`: four rounds with function and constant `imm[1:0]`.
pub fn sha1rnds4(a: u128, b: u128, imm: u8) -> u128 {
    let [mut d, mut c, mut bb, mut aa] = u32s(a);
    let w = u32s(b);
    let mut e = 0;
    for i in 0..4 {
        let (f, k) = match imm & 3 {
            0 => (bb & c ^ !bb & d, 0x5a82_7999),
            1 => (bb ^ c ^ d, 0x6ed9_eba1),
            2 => (bb & c ^ bb & d ^ c & d, 0x8f1b_bcdcu32),
            _ => (bb ^ c ^ d, 0xca62_c1d6),
        };
        let next = f
            .wrapping_add(aa.rotate_left(5))
            .wrapping_add(w[3 - i])
            .wrapping_add(e)
            .wrapping_add(k);
        (e, d, c, bb, aa) = (d, c, bb.rotate_left(30), aa, next);
    }
    of_u32s([d, c, bb, aa])
}

fn s0(x: u32) -> u32 {
    x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3
}

fn s1(x: u32) -> u32 {
    x.rotate_right(17) ^ x.rotate_right(19) ^ x >> 10
}

/// `sha256msg1`
pub fn sha256msg1(a: u128, b: u128) -> u128 {
    let (x, y) = (u32s(a), u32s(b));
    let w = [x[0], x[1], x[2], x[3], y[0]];
    of_u32s(std::array::from_fn(|i| w[i].wrapping_add(s0(w[i + 1]))))
}

/// `sha256msg2`
pub fn sha256msg2(a: u128, b: u128) -> u128 {
    let (a, b) = (u32s(a), u32s(b));
    let w16 = a[0].wrapping_add(s1(b[2]));
    let w17 = a[1].wrapping_add(s1(b[3]));
    of_u32s([w16, w17, a[2].wrapping_add(s1(w16)), a[3].wrapping_add(s1(w17))])
}

/// `sha256rnds2`: two rounds; `wk` is the implicit xmm0.
pub fn sha256rnds2(a: u128, b: u128, wk: u128) -> u128 {
    let [mut h, mut g, mut d, mut c] = u32s(a);
    let [mut f, mut e, mut bb, mut aa] = u32s(b);
    for wk in &u32s(wk)[..2] {
        let t = (e & f ^ !e & g)
            .wrapping_add(e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25))
            .wrapping_add(*wk)
            .wrapping_add(h);
        let next = t
            .wrapping_add(aa & bb ^ aa & c ^ bb & c)
            .wrapping_add(aa.rotate_right(2) ^ aa.rotate_right(13) ^ aa.rotate_right(22));
        (h, g, f, e, d, c, bb, aa) = (g, f, e, d.wrapping_add(t), c, bb, aa, next);
    }
    of_u32s([f, e, bb, aa])
}
