//! x87 control: words, environment, save areas, stack management.

use iced_x86::Mnemonic::*;
use ir::{Op, ZERO};

use crate::Lifter;
use crate::lifter::{Lifted, Unsupported};
use crate::table::Row;
use crate::x87::{plain, st, state, wait};

pub(crate) const ROWS: &[Row] = &[
    (Wait, fwait),
    (Fnop, fwait),
    (Fneni, nothing),
    (Fndisi, nothing),
    (Fnsetpm, nothing),
    (Ffree, |l| free(l, 0)),
    (Ffreep, |l| free(l, 1)),
    (Fincstp, |l| move_top(l, 1)),
    (Fdecstp, |l| move_top(l, -1)),
    (Fninit, |l| unwaited(l, Op::X87Fninit)),
    (Fnclex, |l| unwaited(l, Op::X87Fnclex)),
    (Fldcw, fldcw),
    (Fnstcw, fnstcw),
    (Fnstsw, fnstsw),
    (Fnstenv, fnstenv),
    (Fldenv, fldenv),
    (Fnsave, fnsave),
    (Frstor, frstor),
    (Fxsave, fxsave),
    (Fxsave64, fxsave),
    (Fxrstor, fxrstor),
    (Fxrstor64, fxrstor),
];

fn nothing(_: &mut Lifter) -> Lifted {
    Ok(())
}

fn fwait(l: &mut Lifter) -> Lifted {
    wait(l);
    Ok(())
}

fn unwaited(l: &mut Lifter, op: Op) -> Lifted {
    state(l, op, 0);
    Ok(())
}

fn free(l: &mut Lifter, pop: i64) -> Lifted {
    wait(l);
    let n = st(l, 0)?;
    state(l, Op::X87Ffree, n | pop << 4);
    Ok(())
}

fn move_top(l: &mut Lifter, by: i64) -> Lifted {
    plain(l, Op::X87Wait)?;
    state(l, Op::X87Fmovetop, by);
    Ok(())
}

fn fldcw(l: &mut Lifter) -> Lifted {
    wait(l);
    let t = l.b.temp();
    l.load(t, 0, 2)?;
    l.b.emit(Op::X87Fldcw, ZERO, t, ZERO, ZERO, 0);
    Ok(())
}

fn fnstcw(l: &mut Lifter) -> Lifted {
    let t = l.b.temp();
    l.b.emit(Op::X87Fnstcw, t, ZERO, ZERO, ZERO, 0);
    l.store(t, 0, 2)
}

fn fnstsw(l: &mut Lifter) -> Lifted {
    let t = l.b.temp();
    l.b.emit(Op::X87Fnstsw, t, ZERO, ZERO, ZERO, 0);
    if l.is_mem(0) { l.store(t, 0, 2) } else { l.write(0, t) }
}

/// Doublewords of the environment; the 14-byte form of a 16-bit operand size is refused.
const ENVIRONMENT: i64 = 28;

fn environment_size(l: &Lifter, whole: usize) -> Lifted {
    if l.ins.memory_size().size() == whole { Ok(()) } else { Err(Unsupported) }
}

/// Stores the environment, the first part of `bytes` that must all be writable.
fn store_environment(l: &mut Lifter, bytes: i64) -> Lifted {
    let mem = l.mem()?;
    for at in [0, bytes - 8] {
        l.access(Op::Probe64, ZERO, Lifter::offset(mem, at));
    }
    let t = l.b.temp();
    for i in 0..ENVIRONMENT / 4 {
        l.b.emit(Op::X87Envget, t, ZERO, ZERO, ZERO, i);
        l.access(Op::Store32, t, Lifter::offset(mem, 4 * i));
    }
    Ok(())
}

/// Loads all before it changes anything: reading the last doubleword first would not do, pages may fault anywhere.
fn load_environment(l: &mut Lifter, bytes: i64) -> Lifted {
    let mem = l.mem()?;
    let t = l.b.temp();
    for at in [0, bytes - 8] {
        l.access(Op::Load64, t, Lifter::offset(mem, at));
    }
    for i in 0..ENVIRONMENT / 4 {
        l.access(Op::Load32, t, Lifter::offset(mem, 4 * i));
        l.b.emit(Op::X87Envput, ZERO, t, ZERO, ZERO, i);
    }
    Ok(())
}

fn fnstenv(l: &mut Lifter) -> Lifted {
    environment_size(l, 28)?;
    store_environment(l, ENVIRONMENT)?;
    state(l, Op::X87Maskall, 0);
    Ok(())
}

fn fldenv(l: &mut Lifter) -> Lifted {
    environment_size(l, 28)?;
    wait(l);
    load_environment(l, ENVIRONMENT)
}

fn fnsave(l: &mut Lifter) -> Lifted {
    environment_size(l, 108)?;
    store_environment(l, ENVIRONMENT + 80)?;
    let mem = l.mem()?;
    let t = l.b.temp();
    for i in 0..8 {
        let at = ENVIRONMENT + 10 * i;
        l.b.emit(Op::X87Regget, t, ZERO, ZERO, 0, i);
        l.access(Op::Store64, t, Lifter::offset(mem, at));
        l.b.emit(Op::X87Regget, t, ZERO, ZERO, 1, i);
        l.access(Op::Store16, t, Lifter::offset(mem, at + 8));
    }
    state(l, Op::X87Fninit, 0);
    Ok(())
}

fn frstor(l: &mut Lifter) -> Lifted {
    environment_size(l, 108)?;
    wait(l);
    load_environment(l, ENVIRONMENT + 80)?;
    let mem = l.mem()?;
    let (low, high) = (l.b.temp(), l.b.temp());
    for i in 0..8 {
        let at = ENVIRONMENT + 10 * i;
        l.access(Op::Load64, low, Lifter::offset(mem, at));
        l.access(Op::Load16, high, Lifter::offset(mem, at + 8));
        l.b.emit(Op::X87Regput, ZERO, low, high, ZERO, i);
    }
    Ok(())
}

/// 16-byte pieces of the FXSAVE image that hold state.
const PIECES: i64 = 26;

fn fxsave(l: &mut Lifter) -> Lifted {
    let mem = l.mem()?;
    let t = l.b.vtemp();
    // Alignment, then the end, so that a fault leaves nothing half written.
    l.access(Op::VLoadA128, t, mem);
    l.access(Op::Probe128, ZERO, Lifter::offset(mem, 496));
    for i in 0..PIECES {
        l.b.emit(Op::Fxget, t, ZERO, ZERO, ZERO, i);
        l.access(Op::VStoreA128, t, Lifter::offset(mem, 16 * i));
    }
    Ok(())
}

fn fxrstor(l: &mut Lifter) -> Lifted {
    let mem = l.mem()?;
    let t = l.b.vtemp();
    // Both ends first, so that a fault changes nothing; MXCSR (piece 1) next, as it may be refused.
    for i in [0, 31] {
        l.access(Op::VLoadA128, t, Lifter::offset(mem, 16 * i));
    }
    for i in [1, 0].into_iter().chain(2..PIECES) {
        l.access(Op::VLoadA128, t, Lifter::offset(mem, 16 * i));
        l.b.emit(Op::Fxput, ZERO, t, ZERO, ZERO, i);
    }
    Ok(())
}
