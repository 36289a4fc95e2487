//! MMX: 64-bit forms, computed by the 128-bit ops on zero-extended values, and moves of MM registers.

use iced_x86::{Mnemonic::*, OpKind};
use ir::{Op, ZERO};

use crate::Lifter;
use crate::lifter::{Lifted, Unsupported};
use crate::table::Row;
use crate::vector::{self, imm8, is_mm, rdi};

pub(crate) const ROWS: &[Row] =
    &[(Emms, emms), (Movntq, movq), (Movq2dq, movq2dq), (Movdq2q, movdq2q), (Maskmovq, maskmovq)];

/// The pending-exception check that every MMX instruction begins with.
pub(crate) fn wait(l: &mut Lifter) {
    l.b.emit(Op::X87Wait, ZERO, ZERO, ZERO, ZERO, 0);
}

/// MM register operand `n` in a vector temporary.
pub(crate) fn read(l: &mut Lifter, n: u32) -> Result<u8, Unsupported> {
    wait(l);
    get(l, n)
}

/// MM register operand `n` in a vector temporary, after [`wait`].
pub(crate) fn get(l: &mut Lifter, n: u32) -> Result<u8, Unsupported> {
    if !is_mm(l, n) {
        return Err(Unsupported);
    }
    let number = l.ins.op_register(n).number() as i64;
    let t = l.b.vtemp();
    l.b.emit(Op::Mmxget, t, ZERO, ZERO, ZERO, number);
    Ok(t)
}

/// MM register operand `n` = the low half of vector `slot`.
pub(crate) fn write(l: &mut Lifter, n: u32, slot: u8) -> Lifted {
    if !is_mm(l, n) {
        return Err(Unsupported);
    }
    let number = l.ins.op_register(n).number() as i64;
    l.b.emit(Op::Mmxput, ZERO, slot, ZERO, ZERO, number);
    Ok(())
}

/// Memory or MM register operand 1 in a vector temporary. The load comes before the change to MMX state.
fn source(l: &mut Lifter) -> Result<u8, Unsupported> {
    match l.ins.op_kind(1) {
        OpKind::Memory => vector::load(l, false),
        _ => get(l, 1),
    }
}

fn v2(l: &mut Lifter, op: Op, a: u8, b: u8) -> u8 {
    let t = l.b.vtemp();
    l.b.emit(op, t, a, b, ZERO, 0);
    t
}

/// `mm = op(mm, source)`
pub(crate) fn binary(l: &mut Lifter, op: Op) -> Lifted {
    wait(l);
    let b = source(l)?;
    let a = get(l, 0)?;
    let r = match op {
        // The 128-bit forms take all of `a` before `b`: give them both halves in one.
        Op::Packsswb
        | Op::Packuswb
        | Op::Packssdw
        | Op::Phaddw
        | Op::Phaddd
        | Op::Phaddsw
        | Op::Phsubw
        | Op::Phsubd
        | Op::Phsubsw => {
            let both = v2(l, Op::Movlhps, a, b);
            v2(l, op, both, both)
        }
        Op::Punpckhbw => upper(l, Op::Punpcklbw, a, b),
        Op::Punpckhwd => upper(l, Op::Punpcklwd, a, b),
        Op::Punpckhdq => upper(l, Op::Punpckldq, a, b),
        Op::Pshufb => {
            // Three bits of index.
            let (t, mask) = (l.b.temp(), l.b.vtemp());
            l.b.li(t, 0x8787_8787_8787_8787u64 as i64);
            l.b.emit(Op::VFromR64, mask, t, ZERO, ZERO, 0);
            let index = v2(l, Op::Pand, b, mask);
            v2(l, op, a, index)
        }
        _ => v2(l, op, a, b),
    };
    write(l, 0, r)
}

/// The upper half of what the 128-bit low interleave gives.
fn upper(l: &mut Lifter, op: Op, a: u8, b: u8) -> u8 {
    let t = v2(l, op, a, b);
    l.b.emit(Op::Psrldq, t, t, ZERO, ZERO, 8);
    t
}

/// `mm = op(source)`
pub(crate) fn unary(l: &mut Lifter, op: Op) -> Lifted {
    wait(l);
    let a = source(l)?;
    let t = l.b.vtemp();
    l.b.emit(op, t, a, ZERO, ZERO, 0);
    write(l, 0, t)
}

pub(crate) fn pshufw(l: &mut Lifter) -> Lifted {
    wait(l);
    let a = source(l)?;
    let imm = imm8(l, 2);
    let t = l.b.vtemp();
    l.b.emit(Op::Pshuflw, t, a, ZERO, ZERO, imm);
    write(l, 0, t)
}

pub(crate) fn palignr(l: &mut Lifter) -> Lifted {
    wait(l);
    let b = source(l)?;
    let a = get(l, 0)?;
    let imm = imm8(l, 2);
    let t = v2(l, Op::Movlhps, b, a);
    l.b.emit(Op::Psrldq, t, t, ZERO, ZERO, imm);
    write(l, 0, t)
}

/// movq, movntq with an MM register.
pub(crate) fn movq(l: &mut Lifter) -> Lifted {
    wait(l);
    if !is_mm(l, 0) {
        return move_out(l, Op::VToR64, 8);
    }
    let from_gpr = l.is_reg(1) && l.ins.op_register(1).is_gpr();
    let s = if from_gpr { from_register(l, Op::VFromR64)? } else { source(l)? };
    write(l, 0, s)
}

/// movd with an MM register.
pub(crate) fn movd(l: &mut Lifter) -> Lifted {
    wait(l);
    if !is_mm(l, 0) {
        return move_out(l, Op::VToR32, 4);
    }
    let s = if l.is_mem(1) { vector::load(l, false)? } else { from_register(l, Op::VFromR32)? };
    write(l, 0, s)
}

/// An MM register to memory, a general or another MM register. The state changes only after the store.
fn move_out(l: &mut Lifter, op: Op, bytes: usize) -> Lifted {
    if !is_mm(l, 1) {
        return Err(Unsupported);
    }
    let number = l.ins.op_register(1).number() as i64;
    let (v, t) = (l.b.vtemp(), l.b.temp());
    l.b.emit(Op::Mmxget, v, ZERO, ZERO, 1, number);
    l.b.emit(op, t, v, ZERO, ZERO, 0);
    if l.is_mem(0) {
        l.store(t, 0, bytes)?;
    } else {
        l.write(0, t)?;
    }
    l.b.emit(Op::Mmxget, v, ZERO, ZERO, ZERO, number);
    Ok(())
}

fn from_register(l: &mut Lifter, op: Op) -> Result<u8, Unsupported> {
    let (s, _) = Lifter::gpr(l.ins.op_register(1))?;
    let t = l.b.vtemp();
    l.b.emit(op, t, s, ZERO, ZERO, 0);
    Ok(t)
}

fn movq2dq(l: &mut Lifter) -> Lifted {
    let s = read(l, 1)?;
    let d = vector::reg(l, 0)?;
    l.b.emit(Op::VMov, d, s, ZERO, ZERO, 0);
    Ok(())
}

fn movdq2q(l: &mut Lifter) -> Lifted {
    wait(l);
    let s = vector::reg(l, 1)?;
    write(l, 0, s)
}

fn emms(l: &mut Lifter) -> Lifted {
    wait(l);
    l.b.emit(Op::Emms, ZERO, ZERO, ZERO, ZERO, 0);
    Ok(())
}

/// cvtpi2ps, cvtpi2pd
pub(crate) fn from_packed(l: &mut Lifter, op: Op) -> Lifted {
    let d = vector::reg(l, 0)?;
    if !l.is_mem(1) {
        wait(l);
    }
    let s = source(l)?;
    match op {
        Op::Cvtpi2ps => l.b.emit(op, d, d, s, ZERO, 0),
        _ => l.b.emit(op, d, s, ZERO, ZERO, 0),
    }
    Ok(())
}

/// cvtps2pi and its kin
pub(crate) fn to_packed(l: &mut Lifter, op: Op) -> Lifted {
    wait(l);
    let s = vector::source(l, 1)?;
    let t = l.b.vtemp();
    l.b.emit(op, t, s, ZERO, ZERO, 0);
    write(l, 0, t)
}

/// Bytes chosen by a mask to [rdi].
fn maskmovq(l: &mut Lifter) -> Lifted {
    wait(l);
    let mem = rdi(l);
    let old = l.b.vtemp();
    l.access(Op::VLoad64, old, mem);
    l.access(Op::Probe64, ZERO, mem);
    let (s, mask) = (get(l, 1)?, get(l, 2)?);
    l.b.emit(Op::Pblendvb, old, old, s, mask, 0);
    l.access(Op::VStore64, old, mem);
    Ok(())
}
