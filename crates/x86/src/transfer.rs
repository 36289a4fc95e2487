//! Moves, conditional moves, stack, exchange, sign extension.

use iced_x86::{Mnemonic::*, OpKind, Register};
use ir::{Cc, Op, Term, TrapKind, ZERO, reg};

use crate::Lifter;
use crate::lifter::{Lifted, Unsupported};
use crate::segment;
use crate::table::Row;

pub(crate) const ROWS: &[Row] = &[
    (Mov, mov),
    (Movnti, mov),
    (Movzx, movzx),
    (Movsx, movsx),
    (Movsxd, movsx),
    (Lea, lea),
    (Push, push),
    (Pop, pop),
    (Xchg, xchg),
    (Bswap, bswap),
    (Movbe, movbe),
    (Xlatb, xlat),
    (Cbw, |l| widen(l, Op::Sx8, Register::AX)),
    (Cwde, |l| widen(l, Op::Sx16w32, Register::EAX)),
    (Cdqe, |l| widen(l, Op::Sx32, Register::RAX)),
    (Cwd, |l| spread(l, Op::Sx16, Register::DX)),
    (Cdq, |l| spread(l, Op::Sx32, Register::EDX)),
    (Cqo, |l| spread(l, Op::Mov, Register::RDX)),
    (Cmova, cmov),
    (Cmovae, cmov),
    (Cmovb, cmov),
    (Cmovbe, cmov),
    (Cmove, cmov),
    (Cmovg, cmov),
    (Cmovge, cmov),
    (Cmovl, cmov),
    (Cmovle, cmov),
    (Cmovne, cmov),
    (Cmovno, cmov),
    (Cmovnp, cmov),
    (Cmovns, cmov),
    (Cmovo, cmov),
    (Cmovp, cmov),
    (Cmovs, cmov),
    (Seta, setcc),
    (Setae, setcc),
    (Setb, setcc),
    (Setbe, setcc),
    (Sete, setcc),
    (Setg, setcc),
    (Setge, setcc),
    (Setl, setcc),
    (Setle, setcc),
    (Setne, setcc),
    (Setno, setcc),
    (Setnp, setcc),
    (Setns, setcc),
    (Seto, setcc),
    (Setp, setcc),
    (Sets, setcc),
];

/// The condition of a jcc, setcc or cmovcc.
pub(crate) fn condition(l: &Lifter) -> Cc {
    Cc::from_number((l.ins.condition_code() as u8).wrapping_sub(1))
}

fn mov(l: &mut Lifter) -> Lifted {
    let special = |r: Register| r.is_cr() || r.is_dr() || r.is_tr();
    for n in 0..2 {
        if l.is_reg(n) && special(l.ins.op_register(n)) {
            l.term = Some(Term::Trap { kind: TrapKind::Gp, pc: l.pc });
            return Ok(());
        }
    }
    if l.is_mem(0) {
        let slot = l.read(1)?;
        return l.write(0, slot);
    }
    let to = l.ins.op_register(0);
    if to.is_segment_register() {
        let slot = l.read(1)?;
        return segment::load(l, to, slot);
    }
    let (d, high) = Lifter::gpr(to)?;
    let size = l.size(0);
    if l.is_imm(1) {
        let imm = l.imm(1);
        match size {
            8 => l.b.li(d, imm),
            4 => l.b.li(d, i64::from(imm as u32)),
            2 => l.b.r2i(Op::Dep16, d, d, imm),
            _ if high => l.b.r2i(Op::Dep8h, d, d, imm),
            _ => l.b.r2i(Op::Dep8, d, d, imm),
        }
        return Ok(());
    }
    if l.is_mem(1) && size >= 4 && l.ins.memory_size().size() == size {
        return l.load(d, 1, size);
    }
    let slot = l.read(1)?;
    if d == slot && size == 4 && l.is_reg(1) {
        l.b.r1(Op::Mov32, d, d); // `mov eax, eax` clears the upper half
        return Ok(());
    }
    l.write(0, slot)
}

fn movzx(l: &mut Lifter) -> Lifted {
    let d = l.dst(0)?;
    if l.is_mem(1) {
        let bytes = l.ins.memory_size().size();
        l.load(d, 1, bytes)?;
        return l.write(0, d);
    }
    let (s, high) = Lifter::gpr(l.ins.op_register(1))?;
    let op = match l.size(1) {
        1 if high => Op::Zx8h,
        1 => Op::Zx8,
        _ => Op::Zx16,
    };
    l.b.r1(op, d, s);
    l.write(0, d)
}

fn movsx(l: &mut Lifter) -> Lifted {
    let d = l.dst(0)?;
    let wide = l.size(0) == 8;
    if l.is_mem(1) {
        let op = match (l.ins.memory_size().size(), wide) {
            (1, true) => Op::SLoad8,
            (1, false) => Op::SLoad8w32,
            (2, true) => Op::SLoad16,
            (2, false) => Op::SLoad16w32,
            (4, true) => Op::SLoad32,
            (4, false) => Op::Load32,
            _ => return Err(Unsupported),
        };
        let mem = l.mem()?;
        l.access(op, d, mem);
        return l.write(0, d);
    }
    let s = l.read(1)?;
    let op = match (l.size(1), wide) {
        (1, true) => Op::Sx8,
        (1, false) => Op::Sx8w32,
        (2, true) => Op::Sx16,
        (2, false) => Op::Sx16w32,
        (4, true) => Op::Sx32,
        _ => Op::Mov32,
    };
    l.b.r1(op, d, s);
    l.write(0, d)
}

fn lea(l: &mut Lifter) -> Lifted {
    let d = l.dst(0)?;
    let mem = l.mem_without_segment()?;
    let op = if l.size(0) == 4 { Op::Lea32 } else { Op::Lea };
    l.access(op, d, mem);
    l.write(0, d)
}

fn push(l: &mut Lifter) -> Lifted {
    let bytes = match l.ins.op_kind(0) {
        OpKind::Register if l.ins.op_register(0).is_segment_register() => {
            -i64::from(l.ins.stack_pointer_increment())
        }
        OpKind::Register | OpKind::Memory => l.size(0) as i64,
        OpKind::Immediate16 | OpKind::Immediate8to16 => 2,
        _ => 8,
    };
    let slot = l.read(0)?;
    l.push(slot, bytes);
    Ok(())
}

fn pop(l: &mut Lifter) -> Lifted {
    let mut bytes = l.size(0);
    let register = l.is_reg(0).then(|| l.ins.op_register(0));
    if register.is_some_and(Register::is_segment_register) {
        bytes = l.ins.stack_pointer_increment() as usize;
    }
    let ld = if bytes == 2 { Op::Load16 } else { Op::Load64 };
    if let Some(register) = register.filter(|r| r.is_segment_register()) {
        let t = l.b.temp();
        l.b.emit(ld, t, reg::RSP, ZERO, 0, 0);
        segment::load(l, register, t)?;
        l.b.r2i(Op::Add64, reg::RSP, reg::RSP, bytes as i64);
        return Ok(());
    }
    if l.is_mem(0) {
        let t = l.b.temp();
        l.b.emit(ld, t, reg::RSP, ZERO, 0, 0);
        // The destination's address is computed with rsp already moved.
        let mut mem = l.mem()?;
        if l.ins.memory_base().full_register() == Register::RSP {
            mem = Lifter::offset(mem, bytes as i64);
        }
        l.access(if bytes == 2 { Op::Store16 } else { Op::Store64 }, t, mem);
        l.b.r2i(Op::Add64, reg::RSP, reg::RSP, bytes as i64);
        return Ok(());
    }
    let (d, _) = Lifter::gpr(l.ins.op_register(0))?;
    if bytes == 8 && d != reg::RSP {
        l.b.emit(Op::Load64, d, reg::RSP, ZERO, 0, 0);
        l.b.r2i(Op::Add64, reg::RSP, reg::RSP, 8);
        return Ok(());
    }
    let t = l.b.temp();
    l.b.emit(ld, t, reg::RSP, ZERO, 0, 0);
    l.b.r2i(Op::Add64, reg::RSP, reg::RSP, bytes as i64);
    l.write(0, t)
}

fn xchg(l: &mut Lifter) -> Lifted {
    let a = l.read(0)?;
    let b = l.read(1)?;
    if l.is_mem(0) {
        l.write(0, b)?;
        return l.write(1, a);
    }
    if l.is_mem(1) {
        l.write(1, a)?;
        return l.write(0, b);
    }
    let (x, y) = (l.b.temp(), l.b.temp());
    l.b.r1(Op::Mov, x, a);
    l.b.r1(Op::Mov, y, b);
    l.write(0, y)?;
    l.write(1, x)
}

fn bswap(l: &mut Lifter) -> Lifted {
    let a = l.read(0)?;
    let d = l.dst(0)?;
    match l.size(0) {
        8 => l.b.r1(Op::Bswap64, d, a),
        4 => l.b.r1(Op::Bswap32, d, a),
        _ => l.b.li(d, 0), // undefined in the SDM; cores give zero
    }
    l.write(0, d)
}

fn movbe(l: &mut Lifter) -> Lifted {
    let op = [Op::Bswap16, Op::Bswap16, Op::Bswap32, Op::Bswap64][l.size_index(0)?];
    let a = l.read(1)?;
    let t = l.b.temp();
    l.b.r1(op, t, a);
    l.write(0, t)
}

/// al = [rbx + al], with segment override and 32-bit form.
fn xlat(l: &mut Lifter) -> Lifted {
    let (i, t) = (l.b.temp(), l.b.temp());
    l.b.r1(Op::Zx8, i, reg::RAX);
    let narrow = l.ins.memory_base() == Register::EBX;
    l.b.emit(if narrow { Op::Lea32 } else { Op::Lea }, t, reg::RBX, i, 0, 0);
    let base = l.segment_base();
    l.b.emit(Op::Load8, i, base, t, 0, 0);
    l.write_reg(Register::AL, i)
}

fn widen(l: &mut Lifter, op: Op, to: Register) -> Lifted {
    let t = if to == Register::AX { l.b.temp() } else { reg::RAX };
    l.b.r1(op, t, reg::RAX);
    l.write_reg(to, t)
}

fn spread(l: &mut Lifter, op: Op, to: Register) -> Lifted {
    let t = l.b.temp();
    l.b.r1(op, t, reg::RAX);
    l.b.r2i(Op::Sar64, t, t, 63);
    l.write_reg(to, t)
}

fn cmov(l: &mut Lifter) -> Lifted {
    let cc = condition(l) as u8;
    let s = l.read(1)?;
    let old = l.read(0)?;
    let d = l.dst(0)?;
    l.b.emit(Op::SelCc, d, s, old, cc, 0);
    if l.size(0) == 4 {
        l.b.r1(Op::Mov32, d, d); // also when the condition is false
    }
    l.write(0, d)
}

fn setcc(l: &mut Lifter) -> Lifted {
    let cc = condition(l) as u8;
    let t = l.b.temp();
    l.b.emit(Op::GetCc, t, ZERO, ZERO, cc, 0);
    l.write(0, t)
}
