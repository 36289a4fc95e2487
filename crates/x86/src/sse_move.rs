//! Moves between vector registers, memory and general registers; MXCSR.

use iced_x86::Mnemonic::{self, *};
use ir::{Op, ZERO};

use crate::Lifter;
use crate::lifter::{Lifted, Unsupported};
use crate::mmx;
use crate::table::Row;
use crate::vector::*;

pub(crate) const ROWS: &[Row] = &[
    (Movaps, |l| full(l, true)),
    (Movapd, |l| full(l, true)),
    (Movdqa, |l| full(l, true)),
    (Movntps, |l| full(l, true)),
    (Movntpd, |l| full(l, true)),
    (Movntdq, |l| full(l, true)),
    (Movntdqa, |l| full(l, true)),
    (Movups, |l| full(l, false)),
    (Movupd, |l| full(l, false)),
    (Movdqu, |l| full(l, false)),
    (Lddqu, |l| full(l, false)),
    (Movss, |l| scalar(l, Op::Movss, Op::VLoad32, Op::VStore32)),
    (Mnemonic::Movsd, |l| scalar(l, Op::Movsd, Op::VLoad64, Op::VStore64)),
    (Movlps, low_half),
    (Movlpd, low_half),
    (Movhps, high_half),
    (Movhpd, high_half),
    (Movlhps, |l| binary(l, Op::Movlhps)),
    (Movhlps, |l| binary(l, Op::Movhlps)),
    (Movq, movq),
    (Movd, movd),
    (Movddup, |l| unary(l, Op::Movddup)),
    (Movsldup, |l| unary(l, Op::Movsldup)),
    (Movshdup, |l| unary(l, Op::Movshdup)),
    (Movmskps, |l| to_register(l, Op::Movmskps)),
    (Movmskpd, |l| to_register(l, Op::Movmskpd)),
    (Maskmovdqu, maskmovdqu),
    (Ldmxcsr, ldmxcsr),
    (Stmxcsr, stmxcsr),
];

/// All 128 bits.
fn full(l: &mut Lifter, aligned: bool) -> Lifted {
    if l.is_mem(0) {
        let s = reg(l, 1)?;
        return store(l, if aligned { Op::VStoreA128 } else { Op::VStore128 }, s);
    }
    let d = reg(l, 0)?;
    if l.is_mem(1) {
        let mem = l.mem()?;
        l.access(if aligned { Op::VLoadA128 } else { Op::VLoad128 }, d, mem);
        return Ok(());
    }
    let s = reg(l, 1)?;
    l.b.emit(Op::VMov, d, s, ZERO, ZERO, 0);
    Ok(())
}

/// movss, movsd: a load clears the rest, a register move keeps it.
fn scalar(l: &mut Lifter, merge: Op, load: Op, store_op: Op) -> Lifted {
    if l.is_mem(0) {
        let s = reg(l, 1)?;
        return store(l, store_op, s);
    }
    let d = reg(l, 0)?;
    if l.is_mem(1) {
        let mem = l.mem()?;
        l.access(load, d, mem);
        return Ok(());
    }
    let s = reg(l, 1)?;
    l.b.emit(merge, d, d, s, ZERO, 0);
    Ok(())
}

fn low_half(l: &mut Lifter) -> Lifted {
    if l.is_mem(0) {
        let s = reg(l, 1)?;
        return store(l, Op::VStore64, s);
    }
    binary(l, Op::Movsd)
}

fn high_half(l: &mut Lifter) -> Lifted {
    if l.is_mem(0) {
        let s = reg(l, 1)?;
        let t = l.b.temp();
        l.b.emit(Op::VHighR64, t, s, ZERO, ZERO, 0);
        return l.store(t, 0, 8);
    }
    binary(l, Op::Movlhps)
}

fn movq(l: &mut Lifter) -> Lifted {
    if is_mm(l, 0) || is_mm(l, 1) {
        return mmx::movq(l);
    }
    if l.is_mem(0) {
        let s = reg(l, 1)?;
        return store(l, Op::VStore64, s);
    }
    if l.ins.op_register(0).is_gpr() {
        return to_register(l, Op::VToR64);
    }
    let d = reg(l, 0)?;
    if l.is_mem(1) {
        let mem = l.mem()?;
        l.access(Op::VLoad64, d, mem);
        return Ok(());
    }
    let from = l.ins.op_register(1);
    if from.is_gpr() {
        let (s, _) = Lifter::gpr(from)?;
        l.b.emit(Op::VFromR64, d, s, ZERO, ZERO, 0);
        return Ok(());
    }
    unary(l, Op::Movq)
}

fn movd(l: &mut Lifter) -> Lifted {
    if is_mm(l, 0) || is_mm(l, 1) {
        return mmx::movd(l);
    }
    if l.is_mem(0) {
        let s = reg(l, 1)?;
        return store(l, Op::VStore32, s);
    }
    if l.ins.op_register(0).is_gpr() {
        return to_register(l, Op::VToR32);
    }
    let d = reg(l, 0)?;
    if l.is_mem(1) {
        let mem = l.mem()?;
        l.access(Op::VLoad32, d, mem);
        return Ok(());
    }
    let (s, _) = Lifter::gpr(l.ins.op_register(1))?;
    l.b.emit(Op::VFromR32, d, s, ZERO, ZERO, 0);
    Ok(())
}

/// Bytes chosen by a mask to [rdi]. All 16 bytes must be accessible (SDM: implementation-specific for a zero mask).
pub(crate) fn maskmovdqu(l: &mut Lifter) -> Lifted {
    let (s, mask) = (reg(l, 1)?, reg(l, 2)?);
    let mem = rdi(l);
    let t = l.b.vtemp();
    l.access(Op::VLoad128, t, mem);
    l.b.emit(Op::Pblendvb, t, t, s, mask, 0);
    l.access(Op::VStore128, t, mem);
    Ok(())
}

pub(crate) fn ldmxcsr(l: &mut Lifter) -> Lifted {
    if !l.is_mem(0) {
        return Err(Unsupported);
    }
    let t = l.b.temp();
    l.load(t, 0, 4)?;
    l.b.emit(Op::Ldmxcsr, ZERO, t, ZERO, ZERO, 0);
    Ok(())
}

pub(crate) fn stmxcsr(l: &mut Lifter) -> Lifted {
    if !l.is_mem(0) {
        return Err(Unsupported);
    }
    let t = l.b.temp();
    l.b.emit(Op::Stmxcsr, t, ZERO, ZERO, ZERO, 0);
    l.store(t, 0, 4)
}
