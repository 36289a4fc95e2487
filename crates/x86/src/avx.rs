//! Operand access of VEX-encoded instructions and the shapes that most of them have (SDM vol. 2, 2.3).
//!
//! An operand of 256 bits is two vector slots: *i* and *i* + [`HIGH`]. Nearly every AVX instruction works on both halves
//! alike, so that it is the 128-bit op twice; a form of 128 bits clears the destination's high half. Memory operands need
//! no alignment but where a row says so. All loads come before any write.

use iced_x86::OpKind;
use ir::{ARITH, HIGH, Op, ZERO};

use crate::Lifter;
use crate::lifter::{Lifted, Unsupported};
use crate::vector;

/// True if the instruction works on 256 bits.
pub(crate) fn is_wide(l: &Lifter) -> bool {
    (0..l.operands()).any(|n| match l.ins.op_kind(n) {
        OpKind::Register => l.ins.op_register(n).is_ymm(),
        OpKind::Memory => l.ins.memory_size().size() == 32,
        _ => false,
    })
}

/// Slot of operand `n`, an XMM or YMM register (its bits 127:0).
pub(crate) fn reg(l: &Lifter, n: u32) -> Result<u8, Unsupported> {
    let r = l.ins.op_register(n);
    if l.is_reg(n) && (r.is_xmm() || r.is_ymm()) { Ok(r.number() as u8) } else { Err(Unsupported) }
}

/// Loads the memory operand, zero-extended, into a temporary (with its high half, if it has 32 bytes).
pub(crate) fn load(l: &mut Lifter) -> Result<u8, Unsupported> {
    if l.ins.memory_size().size() != 32 {
        return vector::load(l, false);
    }
    let mem = l.mem()?;
    let t = l.b.vtemp();
    // Into a temporary, so that it does not matter which half faults.
    l.access(Op::VLoad128, t, mem);
    l.access(Op::VLoad128, t + HIGH, Lifter::offset(mem, 16));
    Ok(t)
}

/// Slot with the value of operand `n`: register or memory.
pub(crate) fn source(l: &mut Lifter, n: u32) -> Result<u8, Unsupported> {
    match l.ins.op_kind(n) {
        OpKind::Memory => load(l),
        _ => reg(l, n),
    }
}

/// Clears slot `d`.
pub(crate) fn clear(l: &mut Lifter, d: u8) {
    l.b.emit(Op::Pxor, d, d, d, ZERO, 0);
}

/// Clears bits 255:128 of the register at `d`: what every 128-bit form does.
pub(crate) fn clear_high(l: &mut Lifter, d: u8) {
    clear(l, d + HIGH);
}

/// Moves slot `from` to `d`.
pub(crate) fn copy(l: &mut Lifter, d: u8, from: u8) {
    l.b.emit(Op::VMov, d, from, ZERO, ZERO, 0);
}

/// Emits `op` for both halves, or for the low one and clears the high one. The halves must not depend on each other, nor
/// may the op be able to fault.
pub(crate) fn halves(l: &mut Lifter, op: Op, d: u8, a: u8, b: u8, imm: i64) {
    l.b.emit(op, d, a, b, ZERO, imm);
    if is_wide(l) {
        // A slot that the op has not is of no account.
        l.b.emit(op, d + HIGH, a + HIGH, b + HIGH, ZERO, imm);
    } else {
        clear_high(l, d);
    }
}

/// `d = op(a, source)`
pub(crate) fn binary(l: &mut Lifter, op: Op) -> Lifted {
    let (d, a, b) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    halves(l, op, d, a, b, 0);
    Ok(())
}

/// `d = op(a, source, imm)`
pub(crate) fn binary_imm(l: &mut Lifter, op: Op) -> Lifted {
    let (d, a, b) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    let imm = vector::imm8(l, 3);
    halves(l, op, d, a, b, imm);
    Ok(())
}

/// `d = op(source)`
pub(crate) fn unary(l: &mut Lifter, op: Op) -> Lifted {
    let (d, a) = (reg(l, 0)?, source(l, 1)?);
    halves(l, op, d, a, ZERO, 0);
    Ok(())
}

/// `d = op(source, imm)`
pub(crate) fn unary_imm(l: &mut Lifter, op: Op) -> Lifted {
    let (d, a) = (reg(l, 0)?, source(l, 1)?);
    let imm = vector::imm8(l, 2);
    halves(l, op, d, a, ZERO, imm);
    Ok(())
}

/// `d = op(a, source, mask)`, the mask being the register in the immediate.
pub(crate) fn masked(l: &mut Lifter, op: Op) -> Lifted {
    let (d, a, b, mask) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?, reg(l, 3)?);
    l.b.emit(op, d, a, b, mask, 0);
    if is_wide(l) {
        l.b.emit(op, d + HIGH, a + HIGH, b + HIGH, mask + HIGH, 0);
    } else {
        clear_high(l, d);
    }
    Ok(())
}

/// `r = op(x)`, which gives `bits` bits for each half.
pub(crate) fn to_register(l: &mut Lifter, op: Op, bits: i64) -> Lifted {
    let a = reg(l, 1)?;
    let t = l.b.temp();
    l.b.emit(op, t, a, ZERO, ZERO, 0);
    if is_wide(l) {
        let high = l.b.temp();
        l.b.emit(op, high, a + HIGH, ZERO, ZERO, 0);
        l.b.r2i(Op::Shl64, high, high, bits);
        l.b.r2(Op::Or64, t, t, high);
    }
    l.write(0, t)
}

/// All arithmetic flags = those that `op` gives for both halves.
pub(crate) fn flags_of_all(l: &mut Lifter, op: Op) -> Lifted {
    let (a, b) = (reg(l, 0)?, source(l, 1)?);
    let t = l.b.temp();
    l.b.emit(op, t, a, b, ZERO, 0);
    if is_wide(l) {
        let high = l.b.temp();
        l.b.emit(op, high, a + HIGH, b + HIGH, ZERO, 0);
        l.b.r2(Op::And64, t, t, high);
    }
    l.put_flags(t, ARITH);
    Ok(())
}

/// The destination of a form that takes bits 127:0 from `op(a, b, imm)` and clears the rest.
pub(crate) fn low_only(l: &mut Lifter, op: Op, a: u8, b: u8, imm: i64) -> Lifted {
    let d = reg(l, 0)?;
    l.b.emit(op, d, a, b, ZERO, imm);
    clear_high(l, d);
    Ok(())
}

/// An op on 128 bits and the one on 256, for what may raise a floating-point exception: then both halves are one op.
#[derive(Clone, Copy)]
pub(crate) struct Ops(pub Op, pub Op);

/// `d = op(a, b, c, imm)`
pub(crate) fn guarded(l: &mut Lifter, ops: Ops, [d, a, b, c]: [u8; 4], imm: i64) {
    let Ops(narrow, wide) = ops;
    l.b.emit(if is_wide(l) { wide } else { narrow }, d, a, b, c, imm);
    // The destination may be narrower than the source.
    if !l.ins.op_register(0).is_ymm() {
        clear_high(l, d);
    }
}

/// `d = op(a, source)`
pub(crate) fn guarded_binary(l: &mut Lifter, ops: Ops) -> Lifted {
    let (d, a, b) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    guarded(l, ops, [d, a, b, ZERO], 0);
    Ok(())
}

/// `d = op(a, source, imm)`
pub(crate) fn guarded_binary_imm(l: &mut Lifter, ops: Ops) -> Lifted {
    let (d, a, b) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    let imm = vector::imm8(l, 3);
    guarded(l, ops, [d, a, b, ZERO], imm);
    Ok(())
}

/// `d = op(source)`
pub(crate) fn guarded_unary(l: &mut Lifter, ops: Ops) -> Lifted {
    let (d, a) = (reg(l, 0)?, source(l, 1)?);
    guarded(l, ops, [d, a, ZERO, ZERO], 0);
    Ok(())
}

/// `d = op(source, imm)`
pub(crate) fn guarded_unary_imm(l: &mut Lifter, ops: Ops) -> Lifted {
    let (d, a) = (reg(l, 0)?, source(l, 1)?);
    let imm = vector::imm8(l, 2);
    guarded(l, ops, [d, a, ZERO, ZERO], imm);
    Ok(())
}
