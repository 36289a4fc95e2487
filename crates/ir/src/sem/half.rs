//! F16C: half precision (binary16), four lanes at a time (SDM vol. 1, 14.4). `m` is MXCSR.

use super::ieee::{self, W16, W32, mxcsr};
use super::lanes::*;

/// Single from half: always exact. Denormals are converted whatever MXCSR.DAZ says and do not raise DE (SDM vol. 1,
/// table 14-10); a signalling NaN raises IE.
#[inline(always)]
fn to_single(m: &mut u32, a: u16) -> u32 {
    let (sign, magnitude) = (u32::from(a & 0x8000) << 16, u32::from(a & 0x7fff));
    if magnitude < 0x7c00 {
        // As if the half's exponent were a single's; the product with a power of two is exact and makes denormals normal.
        let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
        return sign | scaled.to_bits();
    }
    let mx = *m & !mxcsr::DAZ;
    ieee::convert(&W16, &W32, mx, m, a.into()) as u32
}

/// `vcvtph2ps`: the low four halves.
pub fn vcvtph2ps(m: &mut u32, a: u128) -> u128 {
    let a = u16s(a);
    of_u32s(std::array::from_fn(|i| to_single(m, a[i])))
}

/// `vcvtps2ph`: four halves in the low 64 bits, zeros above. `imm` as in ROUNDPS: bits 1:0 the rounding mode, bit 2 "use
/// MXCSR.RC". MXCSR.DAZ counts, FTZ does not (SDM vol. 1, 14.4.1).
pub fn vcvtps2ph(m: &mut u32, a: u128, imm: u8) -> u128 {
    let rc = if imm & 4 != 0 { *m & mxcsr::RC } else { u32::from(imm & 3) << mxcsr::RC_SHIFT };
    let a = u32s(a);
    let lanes: [u16; 4] = std::array::from_fn(|i| {
        let mx = *m & !(mxcsr::RC | mxcsr::FTZ) | rc;
        ieee::convert(&W32, &W16, mx, m, a[i].into()) as u16
    });
    of_u64s([lanes.iter().rev().fold(0, |r, x| r << 16 | u64::from(*x)), 0])
}
