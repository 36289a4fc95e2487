//! Segment registers, far transfers, and what Linux lets programs know of descriptor tables.

use iced_x86::{Code, MemorySize, Mnemonic::*, Register};
use ir::sem::system::USER_CS;
use ir::{Op, Term, ZERO, reg};

use crate::Lifter;
use crate::lifter::{Lifted, Unsupported};
use crate::table::Row;

pub(crate) const ROWS: &[Row] = &[
    (Lfs, |l| load_pointer(l, Register::FS)),
    (Lgs, |l| load_pointer(l, Register::GS)),
    (Lss, |l| load_pointer(l, Register::SS)),
    (Retf, ret),
    (Iret, |l| interrupt_return(l, WORD)),
    (Iretd, |l| interrupt_return(l, DOUBLEWORD)),
    (Iretq, |l| interrupt_return(l, QUADWORD)),
    (Lar, |l| rights(l, 0)),
    (Lsl, |l| rights(l, 1)),
    (Verr, |l| rights(l, 2)),
    (Verw, |l| rights(l, 3)),
    (Sgdt, |l| table(l, 0xffff_ffff_fffe_0000)),
    (Sidt, |l| table(l, 0xffff_ffff_ffff_0000)),
    (Sldt, |l| word(l, 0)),
    (Str, |l| word(l, 0x40)),
    (Smsw, |l| word(l, CR0)),
];

/// An operand size: bytes, load, store.
type Size = (i64, Op, Op);
const WORD: Size = (2, Op::Load16, Op::Store16);
const DOUBLEWORD: Size = (4, Op::Load32, Op::Store32);
const QUADWORD: Size = (8, Op::Load64, Op::Store64);

/// Loads segment register `to` with the selector in the low bits of `slot`. Nothing after it may fault.
pub(crate) fn load(l: &mut Lifter, to: Register, slot: u8) -> Lifted {
    if to == Register::CS {
        return Err(Unsupported);
    }
    l.b.emit(Op::Segment, ZERO, slot, ZERO, ZERO, to.number() as i64);
    Ok(())
}

/// The size of the offset in a far pointer in memory; REX.W works as on Intel's processors.
fn pointer(l: &Lifter) -> Option<Size> {
    match l.ins.memory_size() {
        MemorySize::SegPtr16 => Some(WORD),
        MemorySize::SegPtr32 => Some(DOUBLEWORD),
        MemorySize::SegPtr64 => Some(QUADWORD),
        _ => None,
    }
}

pub(crate) fn is_far(l: &Lifter) -> bool {
    l.is_mem(0) && pointer(l).is_some()
}

/// Offset and selector of the far pointer that is memory operand `n`, in slots.
fn far_pointer(l: &mut Lifter) -> Result<(u8, u8, Size), Unsupported> {
    let size = pointer(l).ok_or(Unsupported)?;
    let (offset, selector) = (l.b.temp(), l.b.temp());
    let mem = l.mem()?;
    l.access(size.1, offset, mem);
    l.access(Op::Load16, selector, Lifter::offset(mem, size.0));
    Ok((offset, selector, size))
}

fn load_pointer(l: &mut Lifter, to: Register) -> Lifted {
    let (offset, selector, _) = far_pointer(l)?;
    load(l, to, selector)?;
    l.write(0, offset)
}

/// #GP unless CS may become `selector` and rip `offset`.
fn check_target(l: &mut Lifter, selector: u8, offset: u8, is_return: bool) {
    l.b.emit(Op::CodeSegment, ZERO, selector, ZERO, ZERO, is_return.into());
    l.canonical(offset);
}

pub(crate) fn jump(l: &mut Lifter) -> Lifted {
    let (offset, selector, _) = far_pointer(l)?;
    check_target(l, selector, offset, false);
    l.term = Some(Term::JumpIndirect { slot: offset });
    Ok(())
}

pub(crate) fn call(l: &mut Lifter) -> Lifted {
    let (offset, selector, (bytes, _, store)) = far_pointer(l)?;
    check_target(l, selector, offset, false);
    let (cs, next) = (l.b.temp(), l.b.temp());
    l.b.li(cs, USER_CS.into());
    l.b.li(next, l.next as i64);
    l.b.emit(store, cs, reg::RSP, ZERO, 0, -bytes);
    l.b.emit(store, next, reg::RSP, ZERO, 0, -2 * bytes);
    l.b.r2i(Op::Sub64, reg::RSP, reg::RSP, 2 * bytes);
    l.term = Some(Term::JumpIndirect { slot: offset });
    Ok(())
}

fn ret(l: &mut Lifter) -> Lifted {
    let (bytes, load, _) = match l.ins.code() {
        Code::Retfw | Code::Retfw_imm16 => WORD,
        Code::Retfd | Code::Retfd_imm16 => DOUBLEWORD,
        _ => QUADWORD,
    };
    let extra = if l.operands() == 1 { l.imm(0) & 0xffff } else { 0 };
    let (offset, selector) = (l.b.temp(), l.b.temp());
    l.b.emit(load, offset, reg::RSP, ZERO, 0, 0);
    l.b.emit(load, selector, reg::RSP, ZERO, 0, bytes);
    check_target(l, selector, offset, true);
    l.b.r2i(Op::Add64, reg::RSP, reg::RSP, 2 * bytes + extra);
    l.term = Some(Term::JumpIndirect { slot: offset });
    Ok(())
}

/// IRET to the same privilege level, which in 64-bit mode takes the stack pointer too. Flags as POPF.
fn interrupt_return(l: &mut Lifter, (bytes, load, _): Size) -> Lifted {
    let [offset, selector, flags, sp, ss] = [(); 5].map(|()| l.b.temp());
    l.b.emit(Op::NotNested, ZERO, ZERO, ZERO, ZERO, 0);
    for (i, t) in (0..).zip([offset, selector, flags, sp, ss]) {
        l.b.emit(load, t, reg::RSP, ZERO, 0, bytes * i);
    }
    check_target(l, selector, offset, true);
    l.b.emit(Op::StackSegment, ZERO, ss, ZERO, ZERO, 0);
    let mask = if bytes == 2 { 0xffff } else { -1 };
    l.b.emit(Op::PutRflags, ZERO, flags, ZERO, ZERO, mask);
    l.b.r1(Op::Mov, reg::RSP, sp);
    l.term = Some(Term::JumpIndirect { slot: offset });
    Ok(())
}

fn rights(l: &mut Lifter, what: i64) -> Lifted {
    let last = l.operands() - 1;
    let (selector, d, bytes) = if what < 2 {
        // The operand is a word in memory whatever the size.
        let selector = if l.is_mem(last) {
            let t = l.b.temp();
            l.load(t, last, 2)?;
            t
        } else {
            l.read(last)?
        };
        (selector, Lifter::gpr(l.ins.op_register(0))?.0, l.size(0))
    } else {
        (l.read(0)?, ZERO, 0)
    };
    l.b.emit(Op::Rights, d, selector, ZERO, bytes as u8, what);
    Ok(())
}

/// CR0 as Linux shows it: PG AM WP NE ET MP PE.
const CR0: i64 = 0x8005_0033;

/// SGDT and SIDT: Linux on a processor with UMIP stores this base and limit 0 for them (`arch/x86/kernel/umip.c`).
fn table(l: &mut Lifter, base: u64) -> Lifted {
    let mem = l.mem()?;
    let t = l.b.temp();
    for at in [0, 2] {
        l.access(Op::Probe64, ZERO, Lifter::offset(mem, at));
    }
    l.access(Op::Store16, ZERO, mem);
    l.b.li(t, base as i64);
    l.access(Op::Store64, t, Lifter::offset(mem, 2));
    Ok(())
}

/// SLDT, STR and SMSW: likewise. A 32-bit register keeps its upper half, which the kernel does not touch.
fn word(l: &mut Lifter, value: i64) -> Lifted {
    let t = l.b.temp();
    l.b.li(t, value);
    if l.is_mem(0) {
        return l.store(t, 0, 2);
    }
    let r = l.ins.op_register(0);
    let (d, _) = Lifter::gpr(r)?;
    if r.size() == 4 || (r.size() == 8 && value != CR0) {
        l.b.r2i(Op::And64, d, d, !0xffff_ffff);
        l.b.r2(Op::Or64, d, d, t);
        return Ok(());
    }
    l.write(0, t)
}
