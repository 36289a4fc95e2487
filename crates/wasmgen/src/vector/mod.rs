//! Vector ops. The meanings are those of [`ir::sem`]; what is not here goes through the helper.

pub mod float;
mod inexact;
mod packed;
pub mod packed_float;
mod shuffle;

use crate::emit::Emitter;
use crate::known::Width;
use ir::{HIGH, Inst, Op};

/// A vector op; `pc` is its guest instruction's address. False if there is nothing better than the helper.
pub fn emit(e: &mut Emitter, inst: &Inst, pc: u64) -> bool {
    if inst.op == Op::Vzeroupper {
        clear_high(e);
        return true;
    }
    if inst.op == Op::VMov && inst.a != inst.d {
        copy(e, inst);
        return true;
    }
    packed::emit(e, inst)
        || shuffle::emit(e, inst)
        || float::emit(e, inst, pc)
        || packed_float::emit(e, inst, pc)
}

/// The high halves become zero: in memory, so that none of them is newer than it, and in those locals that there are.
fn clear_high(e: &mut Emitter) {
    for slot in HIGH..HIGH + 16 {
        e.clear_vector(slot);
    }
}

/// A copy, of the scalars too.
fn copy(e: &mut Emitter, inst: &Inst) {
    e.get_vector(inst.a);
    e.set_vector(inst.d);
    for width in [Width::Single, Width::Double] {
        if let Some(local) = e.lane(width, inst.a) {
            e.wasm().local_get(local);
            e.set_lane(width, inst.d);
        }
    }
}
