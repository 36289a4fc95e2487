//! AES-NI (SDM vol. 2; FIPS 197). State column-major: byte `i` is row `i % 4` of column `i / 4`.

use super::lanes::*;

/// The forward S-box, computed: the inverse in GF(2^8), then the affine map (FIPS 197, 5.1.1).
const SBOX: [u8; 256] = forward_box();
const INVERSE: [u8; 256] = {
    let mut r = [0; 256];
    let mut i = 0;
    while i < 256 {
        r[SBOX[i] as usize] = i as u8;
        i += 1;
    }
    r
};

const fn times(mut a: u8, mut b: u8) -> u8 {
    let mut r = 0;
    while b != 0 {
        if b & 1 != 0 {
            r ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    r
}

const fn forward_box() -> [u8; 256] {
    let mut table = [0; 256];
    // 3 generates the multiplicative group: walk it together with its inverse 0xf6.
    let (mut p, mut q) = (1u8, 1u8);
    loop {
        p = times(p, 3);
        q = times(q, 0xf6);
        let x = q ^ q.rotate_left(1) ^ q.rotate_left(2) ^ q.rotate_left(3) ^ q.rotate_left(4);
        table[p as usize] = x ^ 0x63;
        if p == 1 {
            break;
        }
    }
    table[0] = 0x63;
    table
}

fn shift_rows(s: [u8; 16]) -> [u8; 16] {
    std::array::from_fn(|i| s[(i + 4 * (i % 4)) % 16])
}

fn inverse_shift_rows(s: [u8; 16]) -> [u8; 16] {
    std::array::from_fn(|i| s[(i + 16 - 4 * (i % 4)) % 16])
}

/// Each byte doubled in GF(2^8).
fn double(a: u128) -> u128 {
    const LOW: u128 = u128::from_le_bytes([1; 16]);
    (a & LOW * 0x7f) << 1 ^ (a >> 7 & LOW) * 0x1b
}

/// Each byte replaced by the one `rows` further on in its column.
fn row(a: u128, rows: u32) -> u128 {
    map_u32(a, |column| column.rotate_right(8 * rows))
}

/// MixColumns: 2 a0 + 3 a1 + a2 + a3 for each byte.
fn mix(s: [u8; 16]) -> u128 {
    let a = of_u8s(s);
    let next = row(a, 1);
    double(a ^ next) ^ next ^ row(a, 2) ^ row(a, 3)
}

/// InvMixColumns, as MixColumns after 5 a0 + 4 a2 for each byte.
fn unmix(s: [u8; 16]) -> u128 {
    let a = of_u8s(s);
    mix(u8s(a ^ double(double(a ^ row(a, 2)))))
}

fn through(table: &[u8; 256], s: [u8; 16]) -> [u8; 16] {
    s.map(|x| table[usize::from(x)])
}

/// `aesenc`: one round.
pub fn aesenc(a: u128, key: u128) -> u128 {
    mix(through(&SBOX, shift_rows(u8s(a)))) ^ key
}

/// `aesenclast`: the last round.
pub fn aesenclast(a: u128, key: u128) -> u128 {
    of_u8s(through(&SBOX, shift_rows(u8s(a)))) ^ key
}

/// `aesdec`: one inverse round.
pub fn aesdec(a: u128, key: u128) -> u128 {
    unmix(through(&INVERSE, inverse_shift_rows(u8s(a)))) ^ key
}

/// `aesdeclast`: the last inverse round.
pub fn aesdeclast(a: u128, key: u128) -> u128 {
    of_u8s(through(&INVERSE, inverse_shift_rows(u8s(a)))) ^ key
}

/// `aesimc`: InvMixColumns of a round key.
pub fn aesimc(a: u128) -> u128 {
    unmix(u8s(a))
}

/// `aeskeygenassist`
pub fn aeskeygenassist(a: u128, imm: u8) -> u128 {
    let word = |x: u32| u32::from_le_bytes(x.to_le_bytes().map(|b| SBOX[usize::from(b)]));
    let a = u32s(a);
    let (x, y) = (word(a[1]), word(a[3]));
    let rc = u32::from(imm);
    of_u32s([x, x.rotate_right(8) ^ rc, y, y.rotate_right(8) ^ rc])
}
