//! Fused multiply-add: the path on the host's doubles must give what the exact one does, flags included; rules that the
//! processor showed.

use ir::sem::fma::*;
use ir::sem::half::{vcvtph2ps, vcvtps2ph};
use ir::sem::ieee::{Signs, W32, W64, fused};
use ir::sem::softfloat::{DE, IE, OE, PE, UE};

const MASKED: u32 = 0x1f80;

/// SplitMix64.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*seed ^ *seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// An ordinary double: short or long significand, small exponent.
fn double(seed: &mut u64) -> u64 {
    let (r, cut) = (next(seed), next(seed) % 53);
    let exponent = 1023 - 30 + next(seed) % 60;
    r & 1 << 63 | exponent << 52 | r & 0xf_ffff_ffff_ffff & !0u64 << cut
}

fn single(seed: &mut u64) -> u32 {
    let (r, cut) = (next(seed) as u32, next(seed) % 24);
    let exponent = 127 - 30 + (next(seed) % 60) as u32;
    r & 1 << 31 | exponent << 23 | r & 0x7f_ffff & !0u32 << cut
}

fn both(x: u64) -> u128 {
    u128::from(x) | u128::from(x) << 64
}

#[test]
fn the_quick_path_is_exact() {
    let seed = &mut 1;
    let plain = Signs { product: false, addend: false };
    for i in 0..400_000 {
        let (x, y, mut z) = (double(seed), double(seed), double(seed));
        if i % 2 == 0 {
            // Near cancellation.
            let product = (f64::from_bits(x) * f64::from_bits(y)).to_bits() ^ 1 << 63;
            z = product.wrapping_add(next(seed) % 5).wrapping_sub(2);
        }
        let mut exact = MASKED;
        let expected = fused(&W64, plain, MASKED, &mut exact, [x, y, z]);
        // With the inexact flag set the lanes are judged together.
        for set in [0, PE] {
            let mut quick = MASKED | set;
            let r = fmaddpd(&mut quick, both(x), both(y), both(z));
            assert_eq!((r, quick), (both(expected), exact | set), "{x:#x} * {y:#x} + {z:#x}");
        }

        let (x, y, mut z) = (single(seed), single(seed), single(seed));
        if i % 2 == 0 {
            let product = (f32::from_bits(x) * f32::from_bits(y)).to_bits() ^ 1 << 31;
            z = product.wrapping_add(next(seed) as u32 % 5).wrapping_sub(2);
        }
        let mut exact = MASKED;
        let expected = fused(&W32, plain, MASKED, &mut exact, [x.into(), y.into(), z.into()]);
        let four = |x: u32| both(u64::from(x) | u64::from(x) << 32);
        for set in [0, PE] {
            let mut quick = MASKED | set;
            let r = fmaddps(&mut quick, four(x), four(y), four(z));
            let expected = four(expected as u32);
            assert_eq!((r, quick), (expected, exact | set), "{x:#x} * {y:#x} + {z:#x}");
        }
    }
}

const ONE: u128 = 0x3ff0_0000_0000_0000;
const INFINITY: u128 = 0x7ff0_0000_0000_0000;
const QUIET: u128 = 0x7ff8_0000_0000_0000;
const INDEFINITE: u128 = 0xfff8_0000_0000_0000;

#[test]
fn the_first_nan_of_the_formula_wins() {
    let (a, b, c) = (QUIET | 1, QUIET | 2, QUIET | 3);
    let m = &mut MASKED.clone();
    assert_eq!(fmadd132sd(m, a, b, c), a); // a c b
    assert_eq!(fmadd132sd(m, ONE, b, c), c);
    assert_eq!(fmadd213sd(m, a, b, c), b); // b a c
    assert_eq!(fmadd213sd(m, a, ONE, c), a);
    assert_eq!(fmadd231sd(m, a, b, c), b); // b c a
    assert_eq!(fmadd231sd(m, a, ONE, c), c);
    // Its sign stays, whatever is negated.
    assert_eq!(fnmsub231sd(m, a, ONE, ONE), a);
    assert_eq!(*m, MASKED);
    // Any signalling NaN is invalid, whichever NaN is the result.
    assert_eq!(fmadd231sd(m, INFINITY | 9, b, c), b);
    assert_eq!(*m, MASKED | IE);
}

#[test]
fn a_quiet_addend_hides_an_invalid_product() {
    let m = &mut MASKED.clone();
    assert_eq!(fmadd213sd(m, 0, INFINITY, QUIET | 5), QUIET | 5);
    assert_eq!(*m, MASKED);
    // A denormal operand is not reported then either.
    assert_eq!(fmadd213sd(m, 0, INFINITY, 5), INDEFINITE);
    assert_eq!(*m, MASKED | IE);
    *m = MASKED;
    assert_eq!(fmadd213sd(m, 5, INFINITY, ONE), INFINITY);
    assert_eq!(*m, MASKED | DE);
}

#[test]
fn lanes_alternate() {
    let two = 0x4000_0000_0000_0000u128;
    let m = &mut MASKED.clone();
    // 2 × 1 ± 1
    let three = 0x4008_0000_0000_0000u128;
    let (x, y, z) = (two | two << 64, ONE | ONE << 64, ONE | ONE << 64);
    for set in [0, PE] {
        *m = MASKED | set;
        assert_eq!(fmaddsubpd(m, x, y, z), ONE | three << 64);
        assert_eq!(fmsubaddpd(m, x, y, z), three | ONE << 64);
    }
}

#[test]
fn halves_round_as_the_immediate_says() {
    let third = 0x3eaa_aaabu128;
    let with = |mx: u32, a: u128, imm: u8| {
        let mut m = mx;
        (vcvtps2ph(&mut m, a, imm), m & 0x3f)
    };
    assert_eq!(with(MASKED, third, 0), (0x3555, PE));
    assert_eq!(with(MASKED, third, 2), (0x3556, PE));
    // MXCSR rounds up, but counts only with bit 2.
    assert_eq!(with(MASKED | 2 << 13, third, 0), (0x3555, PE));
    assert_eq!(with(MASKED | 2 << 13, third, 4), (0x3556, PE));
    // A half denormal in spite of FTZ; a single denormal is zero with DAZ.
    assert_eq!(with(MASKED | 1 << 15, 0x3380_0001, 0), (1, UE | PE));
    assert_eq!(with(MASKED, 1, 2), (1, DE | UE | PE));
    assert_eq!(with(MASKED | 1 << 6, 1, 2), (0, 0));
    assert_eq!(with(MASKED, 0x4780_0000, 0), (0x7c00, OE | PE));
}

#[test]
fn halves_widen_exactly() {
    let with = |mx: u32, a: u128| {
        let mut m = mx;
        (vcvtph2ps(&mut m, a), m & 0x3f)
    };
    assert_eq!(with(MASKED, 0x3c00), (0x3f80_0000, 0));
    // The smallest denormal half, DAZ or not.
    assert_eq!(with(MASKED, 1), (0x3380_0000, 0));
    assert_eq!(with(MASKED | 1 << 6, 0x8001), (0xb380_0000, 0));
    assert_eq!(with(MASKED, 0x7c01), (0x7fc0_2000, IE));
    assert_eq!(with(MASKED, 0xfc00), (0xff80_0000, 0));
}
