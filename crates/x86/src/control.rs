//! Jumps, calls, returns, loops, traps, system calls.

use iced_x86::{Code, Mnemonic::*, OpKind, Register};
use ir::{Cc, Op, Term, TrapKind, ZERO, reg};

use crate::Lifter;
use crate::lifter::{Lifted, Unsupported};
use crate::segment;
use crate::table::Row;
use crate::transfer::condition;

pub(crate) const ROWS: &[Row] = &[
    (Jmp, |l| if segment::is_far(l) { segment::jump(l) } else { jmp(l) }),
    (Call, |l| if segment::is_far(l) { segment::call(l) } else { call(l) }),
    (Ret, ret),
    (Ja, jcc),
    (Jae, jcc),
    (Jb, jcc),
    (Jbe, jcc),
    (Je, jcc),
    (Jg, jcc),
    (Jge, jcc),
    (Jl, jcc),
    (Jle, jcc),
    (Jne, jcc),
    (Jno, jcc),
    (Jnp, jcc),
    (Jns, jcc),
    (Jo, jcc),
    (Jp, jcc),
    (Js, jcc),
    (Loop, |l| count_down(l, None)),
    (Loope, |l| count_down(l, Some(Cc::E))),
    (Loopne, |l| count_down(l, Some(Cc::Ne))),
    (Jrcxz, jump_if_zero),
    (Jecxz, jump_if_zero),
    (Enter, enter),
    (Leave, leave),
    (Syscall, syscall),
    (Int3, |l| trap_after(l, TrapKind::Bp)),
    (Int1, |l| trap_after(l, TrapKind::Db)),
    (Int, int),
    (Ud0, |l| trap(l, TrapKind::Ud)),
    (Ud1, |l| trap(l, TrapKind::Ud)),
    (Ud2, |l| trap(l, TrapKind::Ud)),
    (Hlt, |l| trap(l, TrapKind::Gp)),
    (Cli, |l| trap(l, TrapKind::Gp)),
    (Sti, |l| trap(l, TrapKind::Gp)),
    (In, |l| trap(l, TrapKind::Gp)),
    (Out, |l| trap(l, TrapKind::Gp)),
    (Insb, |l| trap(l, TrapKind::Gp)),
    (Insw, |l| trap(l, TrapKind::Gp)),
    (Insd, |l| trap(l, TrapKind::Gp)),
    (Outsb, |l| trap(l, TrapKind::Gp)),
    (Outsw, |l| trap(l, TrapKind::Gp)),
    (Outsd, |l| trap(l, TrapKind::Gp)),
    (Rdmsr, |l| trap(l, TrapKind::Gp)),
    (Wrmsr, |l| trap(l, TrapKind::Gp)),
    (Invlpg, |l| trap(l, TrapKind::Gp)),
    (Clts, |l| trap(l, TrapKind::Gp)),
    (Wbinvd, |l| trap(l, TrapKind::Gp)),
    (Invd, |l| trap(l, TrapKind::Gp)),
    (Swapgs, |l| trap(l, TrapKind::Gp)),
    (Sysretq, |l| trap(l, TrapKind::Gp)),
    (Sysret, |l| trap(l, TrapKind::Gp)),
    (Sysexit, |l| trap(l, TrapKind::Gp)),
    (Sysexitq, |l| trap(l, TrapKind::Gp)),
    (Rdpmc, |l| trap(l, TrapKind::Gp)),
    (Lgdt, |l| trap(l, TrapKind::Gp)),
    (Lidt, |l| trap(l, TrapKind::Gp)),
    (Lldt, |l| trap(l, TrapKind::Gp)),
    (Ltr, |l| trap(l, TrapKind::Gp)),
    (Lmsw, |l| trap(l, TrapKind::Gp)),
    (Wbnoinvd, |l| trap(l, TrapKind::Gp)),
];

fn trap(l: &mut Lifter, kind: TrapKind) -> Lifted {
    l.term = Some(Term::Trap { kind, pc: l.pc });
    Ok(())
}

fn trap_after(l: &mut Lifter, kind: TrapKind) -> Lifted {
    l.term = Some(Term::Trap { kind, pc: l.next });
    Ok(())
}

/// `int n`: Linux lets programs use 3 (breakpoint), 4 (overflow) and 0x80 (32-bit system call).
fn int(l: &mut Lifter) -> Lifted {
    match l.imm(0) & 0xFF {
        3 => trap_after(l, TrapKind::Bp),
        4 => trap_after(l, TrapKind::Of),
        0x80 => trap_after(l, TrapKind::Int80),
        _ => trap(l, TrapKind::Gp),
    }
}

/// Target of a near branch to a constant. An operand-size prefix changes nothing, as on Intel's processors, one of which
/// CPUID describes; AMD's cut the target to 16 bits.
fn direct(l: &Lifter) -> Option<u64> {
    match l.ins.op_kind(0) {
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            Some(l.ins.near_branch_target())
        }
        _ => None,
    }
}

/// Slot with the target of an indirect near branch.
fn indirect(l: &mut Lifter) -> Result<u8, Unsupported> {
    if l.size(0) != 8 {
        return Err(Unsupported);
    }
    let slot = l.read(0)?;
    if slot != reg::RSP {
        return Ok(slot);
    }
    let t = l.b.temp();
    l.b.r1(Op::Mov, t, slot);
    Ok(t)
}

fn jmp(l: &mut Lifter) -> Lifted {
    l.term = Some(match direct(l) {
        Some(target) => Term::Jump { target },
        None => Term::JumpIndirect { slot: indirect(l)? },
    });
    Ok(())
}

fn call(l: &mut Lifter) -> Lifted {
    let ret = l.next;
    let term = match direct(l) {
        Some(target) => Term::Call { target, ret },
        None => Term::CallIndirect { slot: indirect(l)?, ret },
    };
    let t = l.b.temp();
    l.b.li(t, ret as i64);
    l.push(t, 8);
    l.term = Some(term);
    Ok(())
}

fn ret(l: &mut Lifter) -> Lifted {
    let extra = if l.operands() == 1 { l.imm(0) & 0xFFFF } else { 0 };
    let t = l.b.temp();
    l.b.emit(Op::Load64, t, reg::RSP, ZERO, 0, 0);
    if extra != 0 {
        // The plain form is a code word of its own and checks by itself.
        l.canonical(t);
    }
    l.b.r2i(Op::Add64, reg::RSP, reg::RSP, 8 + extra);
    l.term = Some(Term::Ret { slot: t });
    Ok(())
}

fn jcc(l: &mut Lifter) -> Lifted {
    let taken = direct(l).ok_or(Unsupported)?;
    l.term = Some(Term::Branch { cc: condition(l), taken, fallthrough: l.next });
    Ok(())
}

fn narrow_counter(l: &Lifter) -> bool {
    matches!(
        l.ins.code(),
        Code::Loop_rel8_64_ECX
            | Code::Loope_rel8_64_ECX
            | Code::Loopne_rel8_64_ECX
            | Code::Jecxz_rel8_64
    )
}

fn count_down(l: &mut Lifter, also: Option<Cc>) -> Lifted {
    let taken = direct(l).ok_or(Unsupported)?;
    let op = if narrow_counter(l) { Op::Sub32 } else { Op::Sub64 };
    l.b.r2i(op, reg::RCX, reg::RCX, 1);
    let mut slot = reg::RCX;
    if let Some(cc) = also {
        slot = l.b.temp();
        l.b.emit(Op::SelCc, slot, reg::RCX, ZERO, cc as u8, 0);
    }
    l.term = Some(Term::BranchNz { slot, taken, fallthrough: l.next });
    Ok(())
}

fn jump_if_zero(l: &mut Lifter) -> Lifted {
    let target = direct(l).ok_or(Unsupported)?;
    let mut slot = reg::RCX;
    if narrow_counter(l) {
        slot = l.b.temp();
        l.b.r1(Op::Mov32, slot, reg::RCX);
    }
    l.term = Some(Term::BranchNz { slot, taken: l.next, fallthrough: target });
    Ok(())
}

/// `enter size, level` (SDM vol. 2, ENTER). Levels above 0 copy `level - 1` frame pointers.
fn enter(l: &mut Lifter) -> Lifted {
    let size = l.imm(0) & 0xFFFF;
    let level = l.ins.immediate8_2nd() & 31;
    let narrow = l.ins.code() == Code::Enterw_imm16_imm8;
    let (step, load, store, probe) = match narrow {
        true => (2, Op::Load16, Op::Store16, Op::Probe16),
        false => (8, Op::Load64, Op::Store64, Op::Probe64),
    };
    let frame = l.b.temp();
    l.b.emit(store, reg::RBP, reg::RSP, ZERO, 0, -step);
    l.b.r2i(Op::Sub64, frame, reg::RSP, step);
    let mut below = -2 * step;
    let t = l.b.temp();
    for i in 1..i64::from(level) {
        l.b.emit(load, t, reg::RBP, ZERO, 0, -step * i);
        l.b.emit(store, t, reg::RSP, ZERO, 0, below);
        below -= step;
    }
    if level > 0 {
        l.b.emit(store, frame, reg::RSP, ZERO, 0, below);
        below -= step;
    }
    // The new top of stack must be writable (SDM vol. 2, ENTER).
    l.b.emit(probe, ZERO, reg::RSP, ZERO, 0, below + step - size);
    l.b.r2i(Op::Add64, reg::RSP, reg::RSP, below + step - size);
    l.b.r1(Op::Mov, reg::RBP, frame);
    Ok(())
}

/// The stack pointer has 64 bits with either operand size.
fn leave(l: &mut Lifter) -> Lifted {
    let t = l.b.temp();
    if l.ins.code() == Code::Leavew {
        l.b.emit(Op::Load16, t, reg::RBP, ZERO, 0, 0);
        l.b.r2i(Op::Add64, reg::RSP, reg::RBP, 2);
        return l.write_reg(Register::BP, t);
    }
    l.b.emit(Op::Load64, t, reg::RBP, ZERO, 0, 0);
    l.b.r2i(Op::Add64, reg::RSP, reg::RBP, 8);
    l.b.r1(Op::Mov, reg::RBP, t);
    Ok(())
}

/// rcx = address after the instruction, r11 = RFLAGS; the rest is the kernel's.
fn syscall(l: &mut Lifter) -> Lifted {
    l.b.emit(Op::GetRflags, reg::R11, ZERO, ZERO, ZERO, 0);
    l.b.li(reg::RCX, l.next as i64);
    l.term = Some(Term::Syscall { next: l.next });
    Ok(())
}
