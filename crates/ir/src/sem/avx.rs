//! What AVX and AVX2 add to the lanes of SSE: broadcasts, shifts with a count for each lane, a permutation across the
//! halves, and the state of the high halves (SDM vol. 2).

use super::lanes::*;
use crate::{Cpu, HIGH, Inst, TrapKind, reg};

/// The lowest byte in every lane.
#[inline]
pub fn broadcast8(a: u128) -> u128 {
    of_u8s([a as u8; 16])
}

/// The lowest word in every lane.
#[inline]
pub fn broadcast16(a: u128) -> u128 {
    of_u16s([a as u16; 8])
}

/// The lowest doubleword in every lane.
#[inline]
pub fn broadcast32(a: u128) -> u128 {
    of_u32s([a as u32; 4])
}

/// Doublewords of `a` shifted left by those of `b`; zero from 32 on.
#[inline]
pub fn psllvd(a: u128, b: u128) -> u128 {
    zip_u32(a, b, |a, n| a.checked_shl(n).unwrap_or(0))
}

/// Quadwords of `a` shifted left by those of `b`; zero from 64 on.
#[inline]
pub fn psllvq(a: u128, b: u128) -> u128 {
    zip_u64(a, b, |a, n| if n < 64 { a << n } else { 0 })
}

/// Doublewords of `a` shifted right by those of `b`; zero from 32 on.
#[inline]
pub fn psrlvd(a: u128, b: u128) -> u128 {
    zip_u32(a, b, |a, n| a.checked_shr(n).unwrap_or(0))
}

/// Quadwords of `a` shifted right by those of `b`; zero from 64 on.
#[inline]
pub fn psrlvq(a: u128, b: u128) -> u128 {
    zip_u64(a, b, |a, n| if n < 64 { a >> n } else { 0 })
}

/// Doublewords of `a` shifted right arithmetically by those of `b`; only the sign from 31 on.
#[inline]
pub fn psravd(a: u128, b: u128) -> u128 {
    zip_u32(a, b, |a, n| (a as i32 >> n.min(31)) as u32)
}

/// `vpermd`, `vpermps`: for each doubleword of `index` that of `low` and `high` (eight in all) which its low three bits
/// name.
#[inline]
pub fn permd(index: u128, low: u128, high: u128) -> u128 {
    let (low, high) = (u32s(low), u32s(high));
    of_u32s(u32s(index).map(|i| if i & 4 == 0 { low } else { high }[i as usize & 3]))
}

/// Clears the high halves of YMM0 to YMM15.
pub fn vzeroupper(cpu: &mut Cpu, _: &Inst) -> Result<(), TrapKind> {
    let high = usize::from(HIGH);
    cpu.v[high..high + 16].fill(0);
    Ok(())
}

/// Clears YMM0 to YMM15.
pub fn vzeroall(cpu: &mut Cpu, i: &Inst) -> Result<(), TrapKind> {
    cpu.v[..16].fill(0);
    vzeroupper(cpu, i)
}

/// edx:eax = XCR0 (`imm`) if ecx is 0; other extended control registers do not exist (#GP).
pub fn xgetbv(cpu: &mut Cpu, i: &Inst) -> Result<(), TrapKind> {
    if cpu.slot[usize::from(reg::RCX)] as u32 != 0 {
        return Err(TrapKind::Gp);
    }
    cpu.slot[usize::from(reg::RAX)] = i.imm as u64 & 0xFFFF_FFFF;
    cpu.slot[usize::from(reg::RDX)] = i.imm as u64 >> 32;
    Ok(())
}
