//! String instructions: one op each, with its own loop and exact progress.

use iced_x86::{Mnemonic::*, OpKind};
use ir::Op;
use ir::ops::StringOp;

use crate::Lifter;
use crate::lifter::Lifted;
use crate::table::{LiftFn, Row};

pub(crate) const ROWS: &[Row] = &[
    (Movsb, |l| string(l, Op::Movs, 0)),
    (Movsw, |l| string(l, Op::Movs, 1)),
    (Movsq, |l| string(l, Op::Movs, 3)),
    (Stosb, |l| string(l, Op::Stos, 0)),
    (Stosw, |l| string(l, Op::Stos, 1)),
    (Stosd, |l| string(l, Op::Stos, 2)),
    (Stosq, |l| string(l, Op::Stos, 3)),
    (Lodsb, |l| string(l, Op::Lods, 0)),
    (Lodsw, |l| string(l, Op::Lods, 1)),
    (Lodsd, |l| string(l, Op::Lods, 2)),
    (Lodsq, |l| string(l, Op::Lods, 3)),
    (Cmpsb, |l| string(l, Op::Cmps, 0)),
    (Cmpsw, |l| string(l, Op::Cmps, 1)),
    (Cmpsq, |l| string(l, Op::Cmps, 3)),
    (Scasb, |l| string(l, Op::Scas, 0)),
    (Scasw, |l| string(l, Op::Scas, 1)),
    (Scasd, |l| string(l, Op::Scas, 2)),
    (Scasq, |l| string(l, Op::Scas, 3)),
];

/// `movsd` and `cmpsd` share their mnemonics with SSE2; these are the string forms.
pub(crate) const MOVS32: LiftFn = |l| string(l, Op::Movs, 2);
/// See [`MOVS32`].
pub(crate) const CMPS32: LiftFn = |l| string(l, Op::Cmps, 2);

fn string(l: &mut Lifter, op: Op, size: u8) -> Lifted {
    let narrow =
        |k: OpKind| matches!(k, OpKind::MemoryESEDI | OpKind::MemorySegESI | OpKind::MemorySegEDI);
    let mut imm = 0;
    if (0..l.operands()).any(|n| narrow(l.ins.op_kind(n))) {
        imm |= StringOp::ADDR32;
    }
    let compares = matches!(op, Op::Cmps | Op::Scas);
    if l.ins.has_repne_prefix() {
        imm |= if compares { StringOp::REPNE } else { StringOp::REP };
    } else if l.ins.has_rep_prefix() {
        imm |= StringOp::REP;
    }
    let base = if matches!(op, Op::Stos | Op::Scas) { ir::ZERO } else { l.segment_base() };
    l.b.emit(op, ir::ZERO, base, ir::ZERO, size, imm);
    Ok(())
}
