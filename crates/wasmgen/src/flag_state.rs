//! What is known of the lazy flags at translation time.

use crate::coverage::is_opaque;
use ir::{ARITH, Class, FlagKind, IMM, Inst, Op};

/// In the local of the flags' kind: the flags are in memory.
pub const NONE: i32 = 0xFF;

/// What is known of the flags at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// They are in memory.
    #[default]
    Memory,
    /// They are in the locals, of this kind.
    Known(FlagKind),
    /// The local of their kind says it.
    Mixed,
}

impl State {
    /// What is known where two ways meet.
    pub fn meet(self, other: State) -> State {
        if self == other { self } else { State::Mixed }
    }

    /// What is known after `inst`.
    pub fn after(self, inst: &Inst) -> State {
        match inst.op.class() {
            Class::Flag | Class::Flag3 => State::Known(kind(inst.op)),
            Class::FlagShift if inst.b == IMM && inst.imm & count_mask(inst.op) != 0 => {
                State::Known(kind(inst.op))
            }
            Class::FlagShift if inst.b == IMM => self,
            Class::FlagShift => State::Mixed,
            Class::FlagInc if are_computable(self) => State::Known(kind(inst.op)),
            Class::PutFlags if inst.b == IMM && inst.imm as u64 & ARITH == ARITH => {
                State::Known(FlagKind::Explicit)
            }
            Class::PutFlags if inst.b == IMM && are_computable(self) => {
                State::Known(FlagKind::Explicit)
            }
            Class::FlagInc | Class::PutFlags => State::Memory,
            Class::State if is_opaque(inst.op) => State::Memory,
            _ => self,
        }
    }
}

/// Whether their bits, CF among them, can be made in place.
pub fn are_computable(state: State) -> bool {
    use ir::Operation::*;
    match state {
        State::Known(kind) => !matches!(kind.operation(), SMul | UMul),
        _ => false,
    }
}

/// The bits of a shift's count that count.
pub fn count_mask(op: Op) -> i64 {
    if kind(op).bits() == 64 { 63 } else { 31 }
}

macro_rules! kinds {
    ($($name:ident $text:literal $class:ident ($($f:tt)*);)*) => {
        /// The kind that a recorder records.
        pub fn kind(op: Op) -> FlagKind {
            match op {
                $(Op::$name => kinds!(@ $class $($f)*),)*
            }
        }
    };
    (@ Flag $kind:ident) => { FlagKind::$kind };
    (@ Flag3 $kind:ident) => { FlagKind::$kind };
    (@ FlagShift $kind:ident) => { FlagKind::$kind };
    (@ FlagInc $kind:ident) => { FlagKind::$kind };
    (@ $class:ident $($f:tt)*) => { FlagKind::Explicit };
}
ir::for_each_op!(kinds);
