//! Checks of protected mode.

use crate::{Cpu, Inst, TrapKind};

type Done = Result<(), TrapKind>;

/// #GP unless `a` is a canonical address.
pub fn canonical(cpu: &mut Cpu, i: &Inst) -> Done {
    let va = cpu.slot[usize::from(i.a)] as i64;
    if va >> 47 == va >> 63 { Ok(()) } else { Err(TrapKind::Gp) }
}
