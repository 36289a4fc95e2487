//! Vector ops. The meanings are those of [`ir::sem`]; what is not here goes through the helper.

use crate::emit::Emitter;
use crate::{vector_packed, vector_shuffle};
use ir::{HIGH, Inst, Op};

/// Whether [`emit`] knows an op of the class `State`.
pub fn is_translated(op: Op) -> bool {
    matches!(op, Op::Vzeroupper)
}

/// A vector op; `pc` is its guest instruction's address. False if there is nothing better than the helper.
pub fn emit(e: &mut Emitter, inst: &Inst, _pc: u64) -> bool {
    if inst.op == Op::Vzeroupper {
        clear_high(e);
        return true;
    }
    vector_packed::emit(e, inst) || vector_shuffle::emit(e, inst)
}

/// The high halves become zero: in memory, so that none of them is newer than it, and in those locals that there are.
fn clear_high(e: &mut Emitter) {
    for slot in HIGH..HIGH + 16 {
        e.clear_vector(slot);
    }
}
