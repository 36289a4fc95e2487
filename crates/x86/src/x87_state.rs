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

/// Values in the environment.
const ENVIRONMENT: i64 = 7;

/// Bytes of each value: 4, or 2 with an operand size of 16 bits (the layouts of protected mode, SDM vol. 1, 8.1.10). The
/// narrow one is the low halves of the wide one.
fn environment_unit(l: &Lifter) -> Result<i64, Unsupported> {
    match l.ins.memory_size().size() {
        28 | 108 => Ok(4),
        14 | 94 => Ok(2),
        _ => Err(Unsupported),
    }
}

/// Stores the environment, the first part of `bytes` that must all be writable.
fn store_environment(l: &mut Lifter, unit: i64, bytes: i64) -> Lifted {
    let mem = l.mem()?;
    for at in [0, bytes - 8] {
        l.access(Op::Probe64, ZERO, Lifter::offset(mem, at));
    }
    let t = l.b.temp();
    let store = if unit == 4 { Op::Store32 } else { Op::Store16 };
    for i in 0..ENVIRONMENT {
        l.b.emit(Op::X87Envget, t, ZERO, ZERO, ZERO, i);
        l.access(store, t, Lifter::offset(mem, unit * i));
    }
    Ok(())
}

/// Loads all before it changes anything: reading the last value first would not do, pages may fault anywhere.
fn load_environment(l: &mut Lifter, unit: i64, bytes: i64) -> Lifted {
    let mem = l.mem()?;
    let t = l.b.temp();
    for at in [0, bytes - 8] {
        l.access(Op::Load64, t, Lifter::offset(mem, at));
    }
    let load = if unit == 4 { Op::Load32 } else { Op::Load16 };
    for i in 0..ENVIRONMENT {
        l.access(load, t, Lifter::offset(mem, unit * i));
        l.b.emit(Op::X87Envput, ZERO, t, ZERO, ZERO, i);
    }
    Ok(())
}

fn fnstenv(l: &mut Lifter) -> Lifted {
    let unit = environment_unit(l)?;
    store_environment(l, unit, ENVIRONMENT * unit)?;
    state(l, Op::X87Maskall, 0);
    Ok(())
}

fn fldenv(l: &mut Lifter) -> Lifted {
    let unit = environment_unit(l)?;
    wait(l);
    load_environment(l, unit, ENVIRONMENT * unit)
}

fn fnsave(l: &mut Lifter) -> Lifted {
    let unit = environment_unit(l)?;
    store_environment(l, unit, ENVIRONMENT * unit + 80)?;
    let mem = l.mem()?;
    let t = l.b.temp();
    for i in 0..8 {
        let at = ENVIRONMENT * unit + 10 * i;
        l.b.emit(Op::X87Regget, t, ZERO, ZERO, 0, i);
        l.access(Op::Store64, t, Lifter::offset(mem, at));
        l.b.emit(Op::X87Regget, t, ZERO, ZERO, 1, i);
        l.access(Op::Store16, t, Lifter::offset(mem, at + 8));
    }
    state(l, Op::X87Fninit, 0);
    Ok(())
}

fn frstor(l: &mut Lifter) -> Lifted {
    let unit = environment_unit(l)?;
    wait(l);
    load_environment(l, unit, ENVIRONMENT * unit + 80)?;
    let mem = l.mem()?;
    let (low, high) = (l.b.temp(), l.b.temp());
    for i in 0..8 {
        let at = ENVIRONMENT * unit + 10 * i;
        l.access(Op::Load64, low, Lifter::offset(mem, at));
        l.access(Op::Load16, high, Lifter::offset(mem, at + 8));
        l.b.emit(Op::X87Regput, ZERO, low, high, ZERO, i);
    }
    Ok(())
}

/// After an x87 instruction that is not one of control: notes its address, opcode and operand's address (FIP, FOP, FDP;
/// SDM vol. 1, 8.1.8 and 8.1.9). `bytes` are the instruction's.
pub(crate) fn note_last(l: &mut Lifter, bytes: &[u8]) {
    let prefix = |b: &&u8| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let at = bytes.iter().take_while(prefix).count();
    let Some([opcode @ 0xd8..=0xdf, modrm, ..]) = bytes.get(at..) else { return };
    let control = matches!(
        l.ins.mnemonic(),
        Fninit
            | Fnclex
            | Fneni
            | Fndisi
            | Fnsetpm
            | Fldcw
            | Fnstcw
            | Fnstsw
            | Fnstenv
            | Fldenv
            | Fnsave
            | Frstor
    );
    if control {
        return;
    }
    let fop = i64::from(opcode & 7) << 8 | i64::from(*modrm);
    let mut operand = ZERO;
    if *modrm < 0xc0
        && let Ok(mem) = l.mem_without_segment()
    {
        operand = l.b.temp();
        l.access(Op::Lea, operand, mem);
    }
    let touches = u8::from(*modrm < 0xc0);
    let pc = l.pc as i64 & ((1 << 48) - 1);
    l.b.emit(Op::X87Last, ZERO, operand, ZERO, touches, fop << 48 | pc);
}

/// 16-byte pieces of the FXSAVE image that hold state.
const PIECES: i64 = 26;
/// Added to a piece's number for the forms without REX.W, where the pointers have 32 bits.
const NARROW: i64 = 32;

fn fxsave(l: &mut Lifter) -> Lifted {
    let mem = l.mem()?;
    let t = l.b.vtemp();
    // Alignment, then the end, so that a fault leaves nothing half written.
    l.access(Op::VLoadA128, t, mem);
    l.access(Op::Probe128, ZERO, Lifter::offset(mem, 496));
    let narrow = if l.ins.mnemonic() == Fxsave { NARROW } else { 0 };
    for i in 0..PIECES {
        l.b.emit(Op::Fxget, t, ZERO, ZERO, ZERO, i | narrow);
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
    let narrow = if l.ins.mnemonic() == Fxrstor { NARROW } else { 0 };
    for i in [1, 0].into_iter().chain(2..PIECES) {
        l.access(Op::VLoadA128, t, Lifter::offset(mem, 16 * i));
        l.b.emit(Op::Fxput, ZERO, t, ZERO, ZERO, i | narrow);
    }
    Ok(())
}
