//! String instructions where they go upwards. (Programs move and clear small structures by them; the interpreter would be asked for each.) Those that are
//! not repeated are written out as the loads, stores and additions that they are; `rep movs` and `rep stos` within pages are instructions of Wasm.

use crate::emit::{Emitter, VA, X, Y};
use crate::memory;
use ir::{Cpu, IMM, Inst, Mark, Op, T0, ZERO, reg};
use std::mem::offset_of;

/// IR in which they are written out.
pub struct Unfolded {
    /// The IR.
    pub insts: Vec<Inst>,
    /// Start of each guest instruction.
    pub marks: Vec<Mark>,
    /// Before which of the IR the direction must be upwards, in rising order.
    pub upward: Vec<usize>,
}

/// A block's IR with its string instructions written out, as far as they are not repeated.
pub fn unfold(insts: &[Inst], marks: &[Mark]) -> Unfolded {
    let mut all = Unfolded { insts: Vec::new(), marks: Vec::new(), upward: Vec::new() };
    let mut marks = marks.iter().peekable();
    for (at, inst) in insts.iter().enumerate() {
        while let Some(mark) = marks.next_if(|mark| mark.inst as usize <= at) {
            all.marks.push(Mark { inst: all.insts.len() as u32, ..*mark });
        }
        match parts(inst) {
            Some(parts) => {
                all.upward.push(all.insts.len());
                all.insts.extend(parts);
            }
            None => all.insts.push(*inst),
        }
    }
    all.marks.extend(marks.map(|mark| Mark { inst: all.insts.len() as u32, ..*mark }));
    all
}

/// What one does; a temporary serves for what is moved, since none lasts until the next guest instruction.
fn parts(inst: &Inst) -> Option<Vec<Inst>> {
    if inst.imm != 0 {
        return None;
    }
    let size = usize::from(inst.c & 3);
    let load = [Op::Load8, Op::Load16, Op::Load32, Op::Load64][size];
    let store = [Op::Store8, Op::Store16, Op::Store32, Op::Store64][size];
    let access = |op, d, a, b| Inst { op, d, a, b, c: 0, imm: 0 };
    let on = |slot| Inst { op: Op::Add64, d: slot, a: slot, b: IMM, c: 0, imm: 1 << size };
    let source = |d| access(load, d, reg::RSI, inst.a);
    let target = |d| access(store, d, reg::RDI, ZERO);
    Some(match (inst.op, size) {
        (Op::Movs, _) => vec![source(T0), target(T0), on(reg::RSI), on(reg::RDI)],
        (Op::Stos, _) => vec![target(reg::RAX), on(reg::RDI)],
        (Op::Lods, 2 | 3) => vec![source(reg::RAX), on(reg::RSI)],
        (Op::Lods, _) => {
            let op = if size == 0 { Op::Dep8 } else { Op::Dep16 };
            let put = Inst { op, d: reg::RAX, a: reg::RAX, b: T0, c: 0, imm: 0 };
            vec![source(T0), put, on(reg::RSI)]
        }
        _ => return None,
    })
}

/// Leaves at guest address `pc` if strings go downwards.
pub fn look_upward(e: &mut Emitter, pc: u64) {
    // No flag of those that are recorded: always in memory.
    let place = e.cpu_place(offset_of!(Cpu, df), 0);
    e.wasm().i32_const(0).i32_load8_u(place);
    e.leave_if(pc);
}

/// `rep movs` or `rep stos` ([`crate::coverage::is_repeated_move`]). What begins and ends in two pages, repeats a pattern or fills with one is the
/// interpreter's.
pub fn repeat(e: &mut Emitter, inst: &Inst, pc: u64) {
    let shift = i64::from(inst.c & 3);
    look_upward(e, pc);
    // X: bytes. (More than a page is none that is looked up.)
    e.get(reg::RCX);
    e.wasm().i64_const(mem::PAGE_SIZE as i64 >> shift).i64_gt_u();
    e.leave_if(pc);
    e.get(reg::RCX);
    e.wasm().i64_const(shift).i64_shl().local_tee(X).i64_eqz().i32_eqz();
    e.begin_if();
    let moves = inst.op == Op::Movs;
    if moves {
        e.get(reg::RSI);
        e.get(inst.a);
        e.wasm().i64_add().local_set(VA);
        let table = e.layout.read;
        look_up(e, table, pc);
        e.wasm().i64_extend_i32_u().local_set(Y);
    } else if shift > 0 {
        // All bytes alike: nearly always 0.
        let ones = u64::MAX / 0xFF;
        let width = u64::MAX >> (64 - (8 << shift));
        e.get(reg::RAX);
        e.wasm().i64_const(0xFF).i64_and().i64_const(ones as i64).i64_mul();
        e.get(reg::RAX);
        e.wasm().i64_xor().i64_const(width as i64).i64_and().i64_eqz().i32_eqz();
        e.leave_if(pc);
    }
    e.get(reg::RDI);
    e.wasm().local_set(VA);
    let table = e.layout.write;
    look_up(e, table, pc);
    if moves {
        // Target less source, of the frames: shortly behind it a pattern is repeated.
        e.wasm().i64_extend_i32_u().local_tee(VA).local_get(Y).i64_sub();
        e.wasm().i64_const(0xFFFF_FFFF).i64_and().local_get(X).i64_lt_u();
        e.leave_if(pc);
        e.wasm().local_get(VA).i32_wrap_i64().local_get(Y).i32_wrap_i64();
        e.wasm().local_get(X).i32_wrap_i64().memory_copy(0, 0);
    } else {
        e.get32(reg::RAX);
        e.wasm().local_get(X).i32_wrap_i64().memory_fill(0);
    }
    for register in if moves { &[reg::RSI, reg::RDI][..] } else { &[reg::RDI] } {
        e.get(*register);
        e.wasm().local_get(X).i64_add();
        e.set(*register);
    }
    e.wasm().i64_const(0);
    e.set(reg::RCX);
    e.end();
}

/// Pushes the linear address of the bytes at the address in [`VA`], as many as [`X`] says; leaves unless they are in one page that is known.
fn look_up(e: &mut Emitter, table: u32, pc: u64) {
    memory::look_up(e, table);
    e.wasm().i64_const(mem::PAGE_SIZE as i64).local_get(X).i64_sub().i64_gt_u();
    e.leave_if(pc);
    memory::place_of(e, table);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::ops::StringOp;

    #[test]
    fn marks_follow_what_is_written_out() {
        let string = |op, imm| Inst { op, d: ZERO, a: ZERO, b: ZERO, c: 3, imm };
        let other = Inst { op: Op::Add64, d: 1, a: 1, b: IMM, c: 0, imm: 5 };
        let insts = [other, string(Op::Movs, 0), string(Op::Stos, StringOp::REP), other];
        let marks: Vec<Mark> = (0..5).map(|n| Mark { inst: n, offset: 3 * n }).collect();
        let all = unfold(&insts, &marks);
        assert_eq!(all.upward, [1]);
        assert_eq!(all.insts.len(), 7);
        let begin: Vec<(u32, u32)> = all.marks.iter().map(|m| (m.inst, m.offset)).collect();
        assert_eq!(begin, [(0, 0), (1, 3), (5, 6), (6, 9), (7, 12)]);
        // One that is repeated stays what it is, and so does a comparison.
        assert_eq!(all.insts[5].op, Op::Stos);
        assert!(parts(&string(Op::Cmps, 0)).is_none() && parts(&string(Op::Scas, 0)).is_none());
        assert!(parts(&string(Op::Lods, StringOp::ADDR32)).is_none());
    }
}
