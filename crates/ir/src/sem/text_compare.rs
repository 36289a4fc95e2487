//! SSE4.2 string comparison, `pcmp{e,i}str{i,m}` (SDM vol. 2, section 4.1).

use super::lanes::*;
use crate::{ARITH, Cpu, Inst, TrapKind, reg};

/// Outcome of a comparison before it is put into rcx or xmm0.
struct Outcome {
    /// IntRes2: one bit for each element of the second operand.
    result: u32,
    /// Elements in a vector: 8 or 16.
    count: usize,
    /// CF, ZF, SF, OF as RFLAGS bits.
    flags: u64,
}

/// Elements of a vector as signed or unsigned numbers, as `imm[1:0]` says.
fn elements(v: u128, imm: u8) -> ([i32; 16], usize) {
    let mut r = [0; 16];
    match imm & 3 {
        0 => r.iter_mut().zip(u8s(v)).for_each(|(r, x)| *r = x.into()),
        1 => r.iter_mut().zip(u16s(v)).for_each(|(r, x)| *r = x.into()),
        2 => r.iter_mut().zip(i8s(v)).for_each(|(r, x)| *r = x.into()),
        _ => r.iter_mut().zip(i16s(v)).for_each(|(r, x)| *r = x.into()),
    }
    (r, if imm & 1 == 0 { 16 } else { 8 })
}

/// Compares with explicit valid lengths (already at most `count`).
fn compare(a: u128, length_a: usize, b: u128, length_b: usize, imm: u8) -> Outcome {
    let (x, count) = elements(a, imm);
    let (y, _) = elements(b, imm);
    let mut raw = 0u32;
    for j in 0..count {
        let valid_b = j < length_b;
        let hit = match imm >> 2 & 3 {
            // equal any
            0 => valid_b && x[..length_a].contains(&y[j]),
            // ranges: pairs of bounds
            1 => valid_b && (0..length_a / 2).any(|i| x[2 * i] <= y[j] && y[j] <= x[2 * i + 1]),
            // equal each: both invalid counts as equal
            2 => match (j < length_a, valid_b) {
                (true, true) => x[j] == y[j],
                (false, false) => true,
                _ => false,
            },
            // equal ordered: a is found in b from j on (as far as b reaches)
            _ => (0..length_a.min(count - j)).all(|i| j + i < length_b && x[i] == y[j + i]),
        };
        raw |= u32::from(hit) << j;
    }
    let all = if count == 16 { 0xffff } else { 0xff };
    let result = match imm >> 4 & 3 {
        1 => raw ^ all,
        3 => raw ^ ((1u32 << length_b) - 1),
        _ => raw,
    };
    let flags = u64::from(result != 0)
        | u64::from(length_b < count) << 6
        | u64::from(length_a < count) << 7
        | u64::from(result & 1) << 11;
    Outcome { result, count, flags }
}

/// Valid length that ends before the first zero element.
fn implicit(v: u128, imm: u8) -> usize {
    let (x, count) = elements(v, imm);
    x[..count].iter().position(|&e| e == 0).unwrap_or(count)
}

/// Valid length from a register: its magnitude, at most the number of elements.
fn explicit(length: u64, imm: u8) -> usize {
    let count = if imm & 1 == 0 { 16 } else { 8 };
    (length as i64).unsigned_abs().min(count) as usize
}

impl Outcome {
    fn index(&self, imm: u8) -> u64 {
        if self.result == 0 {
            self.count as u64
        } else if imm & 0x40 == 0 {
            u64::from(self.result.trailing_zeros())
        } else {
            u64::from(31 - self.result.leading_zeros())
        }
    }

    fn mask(&self, imm: u8) -> u128 {
        if imm & 0x40 == 0 {
            return self.result.into();
        }
        let bit = |i: usize| self.result >> i & 1 != 0;
        if self.count == 16 {
            of_u8s(std::array::from_fn(|i| if bit(i) { 0xff } else { 0 }))
        } else {
            of_u16s(std::array::from_fn(|i| if bit(i) { 0xffff } else { 0 }))
        }
    }
}

/// The operands of an instruction: `a`, `b` are vector slots, `imm` bits 0..8 the control byte, bit 8 set: lengths are
/// rax and rdx, else eax and edx.
fn operands(cpu: &Cpu, inst: &Inst) -> (u128, u128, u8) {
    (cpu.v[usize::from(inst.a)], cpu.v[usize::from(inst.b)], inst.imm as u8)
}

fn implicit_lengths(cpu: &Cpu, inst: &Inst) -> Outcome {
    let (a, b, imm) = operands(cpu, inst);
    compare(a, implicit(a, imm), b, implicit(b, imm), imm)
}

fn explicit_lengths(cpu: &Cpu, inst: &Inst) -> Outcome {
    let (a, b, imm) = operands(cpu, inst);
    let length = |slot: u8| {
        let x = cpu.slot[usize::from(slot)];
        explicit(if inst.imm & 0x100 != 0 { x } else { x as i32 as u64 }, imm)
    };
    compare(a, length(reg::RAX), b, length(reg::RDX), imm)
}

fn give_index(cpu: &mut Cpu, inst: &Inst, r: &Outcome) {
    cpu.slot[usize::from(reg::RCX)] = r.index(inst.imm as u8);
    cpu.flags.put(r.flags, ARITH);
}

fn give_mask(cpu: &mut Cpu, inst: &Inst, r: &Outcome) {
    cpu.v[0] = r.mask(inst.imm as u8);
    cpu.flags.put(r.flags, ARITH);
}

/// Implicit lengths, index to rcx.
pub fn pcmpistri(cpu: &mut Cpu, inst: &Inst) -> Result<(), TrapKind> {
    let r = implicit_lengths(cpu, inst);
    give_index(cpu, inst, &r);
    Ok(())
}

/// Implicit lengths, mask to xmm0.
pub fn pcmpistrm(cpu: &mut Cpu, inst: &Inst) -> Result<(), TrapKind> {
    let r = implicit_lengths(cpu, inst);
    give_mask(cpu, inst, &r);
    Ok(())
}

/// Explicit lengths, index to rcx.
pub fn pcmpestri(cpu: &mut Cpu, inst: &Inst) -> Result<(), TrapKind> {
    let r = explicit_lengths(cpu, inst);
    give_index(cpu, inst, &r);
    Ok(())
}

/// Explicit lengths, mask to xmm0.
pub fn pcmpestrm(cpu: &mut Cpu, inst: &Inst) -> Result<(), TrapKind> {
    let r = explicit_lengths(cpu, inst);
    give_mask(cpu, inst, &r);
    Ok(())
}
