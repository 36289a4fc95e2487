//! Accesses lane by lane: masked loads and stores (vmaskmov, vpmaskmov) and gathers (SDM vol. 2).
//!
//! Lanes whose mask bit is clear are not accessed at all.

use crate::Env;
use crate::code::Code;
use crate::slow::{Bytes, load, probe, store};
use ir::ops::Gather;
use ir::{Cpu, HIGH};
use mem::{Fault, Tables};

/// Offsets in bytes of the lanes of `T` that `mask` selects by their top bits.
fn selected<T>(mask: u128) -> impl Iterator<Item = usize> {
    let size = size_of::<T>();
    (0..16 / size).map(move |i| i * size).filter(move |at| mask >> (8 * (at + size) - 1) & 1 != 0)
}

fn mask_of(cpu: &Cpu, d: u8) -> u128 {
    cpu.v[d.wrapping_add(HIGH) as usize]
}

/// [`ir::Class::MaskLoad`] of lanes of type `T`.
pub fn load_lanes<T: Bytes, E: Env>(
    cpu: &mut Cpu,
    env: &mut E,
    tables: Tables,
    va: u64,
    d: u8,
) -> Result<(), Fault> {
    let mut datum = 0;
    for at in selected::<T>(mask_of(cpu, d)) {
        let lane: T = load(env, tables, va.wrapping_add(at as u64))?;
        datum |= lane.to_u128() << (8 * at);
    }
    cpu.v[d as usize] = datum;
    Ok(())
}

/// [`ir::Class::MaskProbe`].
pub fn probe_lanes<T: Bytes, E: Env>(cpu: &Cpu, env: &mut E, va: u64, d: u8) -> Result<(), Fault> {
    for at in selected::<T>(mask_of(cpu, d)) {
        probe(env, va.wrapping_add(at as u64), size_of::<T>())?;
    }
    Ok(())
}

/// [`ir::Class::MaskStore`].
pub fn store_lanes<T: Bytes, E: Env>(
    cpu: &Cpu,
    env: &mut E,
    tables: Tables,
    va: u64,
    d: u8,
) -> Result<(), Fault> {
    probe_lanes::<T, E>(cpu, env, va, d)?;
    for at in selected::<T>(mask_of(cpu, d)) {
        let lane = T::from_u128(cpu.v[d as usize] >> (8 * at));
        store(env, tables, va.wrapping_add(at as u64), lane)?;
    }
    Ok(())
}

/// Reads lane `i` of `bits` (32 or 64) of the pair of slots `slot`, `slot + HIGH`.
fn lane(cpu: &Cpu, slot: u8, bits: usize, i: usize) -> u64 {
    let (half, at) = place(slot, bits, i);
    (cpu.v[half] >> at) as u64 & u64::MAX >> (64 - bits)
}

fn set_lane(cpu: &mut Cpu, slot: u8, bits: usize, i: usize, value: u64) {
    let (half, at) = place(slot, bits, i);
    let lane = u128::from(u64::MAX >> (64 - bits)) << at;
    cpu.v[half] = cpu.v[half] & !lane | u128::from(value) << at & lane;
}

/// The slot of a lane and its first bit there.
fn place(slot: u8, bits: usize, i: usize) -> (usize, usize) {
    let at = i * bits;
    (slot.wrapping_add(if at < 128 { 0 } else { HIGH }) as usize, at % 128)
}

/// [`ir::Class::Gather`].
pub fn gather<E: Env>(cpu: &mut Cpu, env: &mut E, tables: Tables, c: &Code) -> Result<(), Fault> {
    let mask = (c.imm >> Gather::MASK_SHIFT) as u8;
    // At most 256 bits of lanes; a larger count cannot come from the lifter.
    let lanes = ((c.imm >> Gather::LANES_SHIFT) as usize).min(8);
    let lane_bits = if c.imm & Gather::WIDE_LANE != 0 { 64 } else { 32 };
    let index_bits = if c.imm & Gather::WIDE_INDEX != 0 { 64 } else { 32 };
    let wrap = if c.imm & Gather::ADDR32 != 0 { 0xFFFF_FFFF } else { u64::MAX };
    let (base, segment) = (cpu.slot[c.a as usize], cpu.slot[c.b as usize]);
    for i in 0..lanes {
        if lane(cpu, mask, lane_bits, i) >> (lane_bits - 1) == 0 {
            set_lane(cpu, mask, lane_bits, i, 0);
            continue;
        }
        let index = lane(cpu, c.c, index_bits, i);
        let index = if index_bits == 32 { index as u32 as i32 as u64 } else { index };
        let offset = base.wrapping_add(index << (c.imm & Gather::SCALE)) & wrap;
        let va = segment.wrapping_add(offset);
        let value = if lane_bits == 64 {
            load::<u64, E>(env, tables, va)?
        } else {
            u64::from(load::<u32, E>(env, tables, va)?)
        };
        set_lane(cpu, c.d, lane_bits, i, value);
        set_lane(cpu, mask, lane_bits, i, 0);
    }
    // What lies beyond the lanes is zero, as is all of the mask.
    cpu.v[mask as usize] = 0;
    cpu.v[mask.wrapping_add(HIGH) as usize] = 0;
    for i in lanes..256 / lane_bits {
        set_lane(cpu, c.d, lane_bits, i, 0);
    }
    Ok(())
}
