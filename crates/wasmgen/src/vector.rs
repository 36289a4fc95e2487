//! Vector ops. The meanings are those of [`ir::sem`]; what is not here goes through the helper.

use crate::emit::Emitter;
use ir::{Inst, Op};

/// Whether [`emit`] knows an op of the class `State`.
pub fn is_translated(_op: Op) -> bool {
    false
}

/// A vector op; `pc` is its guest instruction's address. False if there is nothing better than the helper.
pub fn emit(e: &mut Emitter, inst: &Inst, _pc: u64) -> bool {
    use Op::*;
    match inst.op {
        VMov => {
            e.get_vector(inst.a);
            e.set_vector(inst.d);
        }
        _ => return false,
    }
    true
}
