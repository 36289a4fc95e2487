//! Operand access of vector instructions, and the shapes that most of them have.

use iced_x86::{OpKind, Register};
use ir::{ARITH, Op, ZERO};

use crate::Lifter;
use crate::lifter::{Lifted, Mem, Unsupported};
use crate::mmx;

/// Slot of an XMM register.
pub(crate) fn xmm(r: Register) -> Result<u8, Unsupported> {
    if r.is_xmm() { Ok(r.number() as u8) } else { Err(Unsupported) }
}

/// Slot of operand `n`, an XMM register.
pub(crate) fn reg(l: &Lifter, n: u32) -> Result<u8, Unsupported> {
    if l.is_reg(n) { xmm(l.ins.op_register(n)) } else { Err(Unsupported) }
}

/// True if operand `n` is an MMX register.
pub(crate) fn is_mm(l: &Lifter, n: u32) -> bool {
    l.is_reg(n) && l.ins.op_register(n).is_mm()
}

/// The vector load of `bytes`; 16 bytes must be aligned if `aligned`.
fn load_op(bytes: usize, aligned: bool) -> Result<Op, Unsupported> {
    Ok(match bytes {
        1 => Op::VLoad8,
        2 => Op::VLoad16,
        4 => Op::VLoad32,
        8 => Op::VLoad64,
        16 if aligned => Op::VLoadA128,
        16 => Op::VLoad128,
        _ => return Err(Unsupported),
    })
}

/// Loads the memory operand, zero-extended, into a vector temporary.
pub(crate) fn load(l: &mut Lifter, aligned: bool) -> Result<u8, Unsupported> {
    let op = load_op(l.ins.memory_size().size(), aligned)?;
    let t = l.b.vtemp();
    let mem = l.mem()?;
    l.access(op, t, mem);
    Ok(t)
}

/// Slot with the value of operand `n`: XMM register, or memory (16 bytes must be aligned).
pub(crate) fn source(l: &mut Lifter, n: u32) -> Result<u8, Unsupported> {
    match l.ins.op_kind(n) {
        OpKind::Register => xmm(l.ins.op_register(n)),
        OpKind::Memory => load(l, true),
        _ => Err(Unsupported),
    }
}

/// The immediate operand `n` as 0..=255.
pub(crate) fn imm8(l: &Lifter, n: u32) -> i64 {
    l.imm(n) & 0xff
}

/// `x = op(x, source)`
pub(crate) fn binary(l: &mut Lifter, op: Op) -> Lifted {
    if is_mm(l, 0) {
        return mmx::binary(l, op);
    }
    let d = reg(l, 0)?;
    let s = source(l, 1)?;
    l.b.emit(op, d, d, s, ZERO, 0);
    Ok(())
}

/// `x = op(x, source, imm)`
pub(crate) fn binary_imm(l: &mut Lifter, op: Op) -> Lifted {
    let d = reg(l, 0)?;
    let s = source(l, 1)?;
    let imm = imm8(l, 2);
    l.b.emit(op, d, d, s, ZERO, imm);
    Ok(())
}

/// `x = op(source)`
pub(crate) fn unary(l: &mut Lifter, op: Op) -> Lifted {
    if is_mm(l, 0) {
        return mmx::unary(l, op);
    }
    let d = reg(l, 0)?;
    let s = source(l, 1)?;
    l.b.emit(op, d, s, ZERO, ZERO, 0);
    Ok(())
}

/// `x = op(source, imm)`
pub(crate) fn unary_imm(l: &mut Lifter, op: Op) -> Lifted {
    let d = reg(l, 0)?;
    let s = source(l, 1)?;
    let imm = imm8(l, 2);
    l.b.emit(op, d, s, ZERO, ZERO, imm);
    Ok(())
}

/// `x = op(x, source, xmm0)`
pub(crate) fn masked(l: &mut Lifter, op: Op) -> Lifted {
    let d = reg(l, 0)?;
    let s = source(l, 1)?;
    l.b.emit(op, d, d, s, 0, 0);
    Ok(())
}

/// `r = op(x)`
pub(crate) fn to_register(l: &mut Lifter, op: Op) -> Lifted {
    let s = if is_mm(l, 1) { mmx::read(l, 1)? } else { source(l, 1)? };
    let t = l.b.temp();
    l.b.emit(op, t, s, ZERO, ZERO, 0);
    l.write(0, t)
}

/// All arithmetic flags = op(x, source)
pub(crate) fn flags(l: &mut Lifter, op: Op) -> Lifted {
    let a = reg(l, 0)?;
    let b = source(l, 1)?;
    let t = l.b.temp();
    l.b.emit(op, t, a, b, ZERO, 0);
    l.put_flags(t, ARITH);
    Ok(())
}

/// Emits the vector store `op` of `slot` to the memory operand.
pub(crate) fn store(l: &mut Lifter, op: Op, slot: u8) -> Lifted {
    let mem = l.mem()?;
    l.access(op, slot, mem);
    Ok(())
}

/// The operand `[rdi]` of maskmovq and maskmovdqu with its segment.
pub(crate) fn rdi(l: &mut Lifter) -> Mem {
    let segment = l.segment_base();
    let narrow = l.ins.op_kind(0) == OpKind::MemorySegEDI;
    if !narrow {
        return Mem { a: segment, b: ir::reg::RDI, c: 0, imm: 0 };
    }
    let t = l.b.temp();
    l.b.r1(Op::Mov32, t, ir::reg::RDI);
    Mem { a: segment, b: t, c: 0, imm: 0 }
}
