//! Which ops have a translation of their own.

use ir::ops::StringOp;
use ir::{Class, Inst, Op};

/// Whether there is a translation; if not, the guest instruction is the interpreter's.
pub fn is_translated(inst: &Inst) -> bool {
    let class = inst.op.class();
    match class {
        Class::Load
        | Class::Store
        | Class::VLoad
        | Class::VLoadA
        | Class::VStore
        | Class::VStoreA
        | Class::Probe => size(inst.op).is_some(),
        Class::Str => is_repeated_move(inst),
        Class::Div => matches!(inst.op, Op::UDiv32 | Op::SDiv32 | Op::UDiv64 | Op::SDiv64),
        Class::VStore2
        | Class::Align
        | Class::MaskLoad
        | Class::MaskStore
        | Class::MaskProbe
        | Class::Gather
        | Class::Xstate
        | Class::Cpuid
        | Class::Rdtsc
        | Class::Rdrand
        | Class::PutRflags => false,
        // Through the helper, if by nothing better.
        _ => true,
    }
}

/// Whether it is `rep movs` or `rep stos`: of a [`Class::Str`], those that are translated.
pub fn is_repeated_move(inst: &Inst) -> bool {
    matches!(inst.op, Op::Movs | Op::Stos) && inst.imm == StringOp::REP
}

/// Whether the op may change any register, vector or flag, so that everything must be in memory around it.
pub fn is_opaque(op: Op) -> bool {
    op.class() == Class::State && op != Op::Vzeroupper
}

/// Bytes that a load, store or probe accesses, if it is translated.
pub fn size(op: Op) -> Option<u32> {
    use Op::*;
    Some(match op {
        Load8 | SLoad8 | SLoad8w32 | Store8 | VLoad8 => 1,
        Load16 | SLoad16 | SLoad16w32 | Store16 | VLoad16 | Probe16 => 2,
        Load32 | SLoad32 | Store32 | VLoad32 | VStore32 => 4,
        Load64 | Store64 | VLoad64 | VStore64 | Probe64 => 8,
        VLoad128 | VLoadA128 | VStore128 | VStoreA128 | Probe128 => 16,
        _ => return None,
    })
}

/// Whether the access reads.
pub fn loads(op: Op) -> bool {
    use Op::*;
    matches!(
        op,
        Load8
            | SLoad8
            | SLoad8w32
            | VLoad8
            | Load16
            | SLoad16
            | SLoad16w32
            | VLoad16
            | Load32
            | SLoad32
            | VLoad32
            | Load64
            | VLoad64
            | VLoad128
            | VLoadA128
    )
}
