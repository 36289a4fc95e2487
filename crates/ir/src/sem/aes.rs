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

fn mix(s: [u8; 16], k: [u8; 4]) -> [u8; 16] {
    std::array::from_fn(|i| {
        let (column, row) = (i / 4 * 4, i % 4);
        (0..4).fold(0, |r, j| r ^ times(s[column + j], k[(j + 4 - row) % 4]))
    })
}

const MIX: [u8; 4] = [2, 3, 1, 1];
const UNMIX: [u8; 4] = [14, 11, 13, 9];

fn through(table: &[u8; 256], s: [u8; 16]) -> [u8; 16] {
    s.map(|x| table[usize::from(x)])
}

/// `aesenc`: one round.
pub fn aesenc(a: u128, key: u128) -> u128 {
    of_u8s(mix(through(&SBOX, shift_rows(u8s(a))), MIX)) ^ key
}

/// `aesenclast`: the last round.
pub fn aesenclast(a: u128, key: u128) -> u128 {
    of_u8s(through(&SBOX, shift_rows(u8s(a)))) ^ key
}

/// `aesdec`: one inverse round.
pub fn aesdec(a: u128, key: u128) -> u128 {
    of_u8s(mix(through(&INVERSE, inverse_shift_rows(u8s(a))), UNMIX)) ^ key
}

/// `aesdeclast`: the last inverse round.
pub fn aesdeclast(a: u128, key: u128) -> u128 {
    of_u8s(through(&INVERSE, inverse_shift_rows(u8s(a)))) ^ key
}

/// `aesimc`: InvMixColumns of a round key.
pub fn aesimc(a: u128) -> u128 {
    of_u8s(mix(u8s(a), UNMIX))
}

/// `aeskeygenassist`
pub fn aeskeygenassist(a: u128, imm: u8) -> u128 {
    let word = |x: u32| u32::from_le_bytes(x.to_le_bytes().map(|b| SBOX[usize::from(b)]));
    let a = u32s(a);
    let (x, y) = (word(a[1]), word(a[3]));
    let rc = u32::from(imm);
    of_u32s([x, x.rotate_right(8) ^ rc, y, y.rotate_right(8) ^ rc])
}
