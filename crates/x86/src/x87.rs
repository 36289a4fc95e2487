//! x87 arithmetic, loads, stores and comparisons.

use iced_x86::{MemorySize, Mnemonic::*, Register};
use ir::sem::x87::store;
use ir::{Cc, Op, ZERO};

use crate::Lifter;
use crate::lifter::{Lifted, Unsupported};
use crate::table::Row;

pub(crate) const ROWS: &[Row] = &[
    (Fadd, |l| arith(l, ADD)),
    (Faddp, |l| arith(l, ADD)),
    (Fiadd, |l| arith(l, ADD)),
    (Fmul, |l| arith(l, MUL)),
    (Fmulp, |l| arith(l, MUL)),
    (Fimul, |l| arith(l, MUL)),
    (Fsub, |l| arith(l, SUB)),
    (Fsubp, |l| arith(l, SUB)),
    (Fisub, |l| arith(l, SUB)),
    (Fsubr, |l| arith(l, SUBR)),
    (Fsubrp, |l| arith(l, SUBR)),
    (Fisubr, |l| arith(l, SUBR)),
    (Fdiv, |l| arith(l, DIV)),
    (Fdivp, |l| arith(l, DIV)),
    (Fidiv, |l| arith(l, DIV)),
    (Fdivr, |l| arith(l, DIVR)),
    (Fdivrp, |l| arith(l, DIVR)),
    (Fidivr, |l| arith(l, DIVR)),
    (Fld, fld),
    (Fild, fild),
    (Fbld, fbld),
    (Fst, |l| fst(l, 0)),
    (Fstp, |l| fst(l, 1)),
    // FSTP (D9 D8) that is content with an empty register: an old alias.
    (Fstpnce, |l| fst(l, 3)),
    (Fist, |l| fist(l, 0, [store::I16, store::I32, store::I64])),
    (Fistp, |l| fist(l, 1, [store::I16, store::I32, store::I64])),
    (Fisttp, fisttp),
    (Fbstp, fbstp),
    (Fld1, |l| constant(l, 0)),
    (Fldl2t, |l| constant(l, 1)),
    (Fldl2e, |l| constant(l, 2)),
    (Fldpi, |l| constant(l, 3)),
    (Fldlg2, |l| constant(l, 4)),
    (Fldln2, |l| constant(l, 5)),
    (Fldz, |l| constant(l, 6)),
    (Fcom, |l| compare(l, 0, 0)),
    (Fcomp, |l| compare(l, 1, 0)),
    (Fcompp, |l| compare(l, 2, 0)),
    (Ficom, |l| compare(l, 0, 0)),
    (Ficomp, |l| compare(l, 1, 0)),
    (Fucom, |l| compare(l, 0, QUIET)),
    (Fucomp, |l| compare(l, 1, QUIET)),
    (Fucompp, |l| compare(l, 2, QUIET)),
    (Fcomi, |l| compare(l, 0, TO_RFLAGS)),
    (Fcomip, |l| compare(l, 1, TO_RFLAGS)),
    (Fucomi, |l| compare(l, 0, QUIET | TO_RFLAGS)),
    (Fucomip, |l| compare(l, 1, QUIET | TO_RFLAGS)),
    (Ftst, |l| plain(l, Op::X87Ftst)),
    (Fxam, |l| plain(l, Op::X87Fxam)),
    (Fchs, |l| plain(l, Op::X87Fchs)),
    (Fabs, |l| plain(l, Op::X87Fabs)),
    (Fsqrt, |l| plain(l, Op::X87Fsqrt)),
    (Frndint, |l| plain(l, Op::X87Frndint)),
    (F2xm1, |l| plain(l, Op::X87F2xm1)),
    (Fscale, |l| plain(l, Op::X87Fscale)),
    (Fyl2x, |l| plain(l, Op::X87Fyl2x)),
    (Fyl2xp1, |l| plain(l, Op::X87Fyl2xp1)),
    (Fpatan, |l| plain(l, Op::X87Fpatan)),
    (Fprem, |l| plain(l, Op::X87Fprem)),
    (Fprem1, |l| plain(l, Op::X87Fprem1)),
    (Fxtract, |l| plain(l, Op::X87Fxtract)),
    (Fsin, |l| plain(l, Op::X87Fsin)),
    (Fcos, |l| plain(l, Op::X87Fcos)),
    (Fsincos, |l| plain(l, Op::X87Fsincos)),
    (Fptan, |l| plain(l, Op::X87Fptan)),
    (Fxch, fxch),
    (Fcmovb, |l| cmov(l, Cc::B)),
    (Fcmove, |l| cmov(l, Cc::E)),
    (Fcmovbe, |l| cmov(l, Cc::Be)),
    (Fcmovu, |l| cmov(l, Cc::P)),
    (Fcmovnb, |l| cmov(l, Cc::Ae)),
    (Fcmovne, |l| cmov(l, Cc::Ne)),
    (Fcmovnbe, |l| cmov(l, Cc::A)),
    (Fcmovnu, |l| cmov(l, Cc::Np)),
];

// `ir::sem::x87::arith::Basic`
const ADD: i64 = 0;
const MUL: i64 = 1;
const SUB: i64 = 2;
const SUBR: i64 = 3;
const DIV: i64 = 4;
const DIVR: i64 = 5;

// Bits of `x87.com`.
const QUIET: i64 = 1 << 6;
const TO_RFLAGS: i64 = 1 << 7;

/// The check for a pending exception that waiting instructions begin with.
pub(crate) fn wait(l: &mut Lifter) {
    l.b.emit(Op::X87Wait, ZERO, ZERO, ZERO, ZERO, 0);
}

/// An op on state alone with immediate `imm`.
pub(crate) fn state(l: &mut Lifter, op: Op, imm: i64) {
    l.b.emit(op, ZERO, ZERO, ZERO, ZERO, imm);
}

/// A waiting instruction without operands.
pub(crate) fn plain(l: &mut Lifter, op: Op) -> Lifted {
    wait(l);
    state(l, op, 0);
    Ok(())
}

/// Number of the ST register that is operand `n`.
pub(crate) fn st(l: &Lifter, n: u32) -> Result<i64, Unsupported> {
    if !l.is_reg(n) {
        return Err(Unsupported);
    }
    let r = l.ins.op_register(n);
    if r.is_st() { Ok((r as u32 - Register::ST0 as u32).into()) } else { Err(Unsupported) }
}

/// The memory operand in a slot, and its kind for `x87.arithm` and `x87.comm`.
fn memory(l: &mut Lifter) -> Result<(u8, u8), Unsupported> {
    let (op, kind) = match l.ins.memory_size() {
        MemorySize::Float32 => (Op::Load32, 0),
        MemorySize::Float64 => (Op::Load64, 1),
        MemorySize::Int16 => (Op::SLoad16, 2),
        MemorySize::Int32 => (Op::SLoad32, 2),
        _ => return Err(Unsupported),
    };
    let t = l.b.temp();
    let mem = l.mem()?;
    l.access(op, t, mem);
    Ok((t, kind))
}

fn arith(l: &mut Lifter, op: i64) -> Lifted {
    wait(l);
    if l.is_mem(0) {
        let (t, kind) = memory(l)?;
        l.b.emit(Op::X87Arithm, ZERO, t, ZERO, kind, op);
        return Ok(());
    }
    let pop = matches!(l.ins.mnemonic(), Faddp | Fmulp | Fsubp | Fsubrp | Fdivp | Fdivrp);
    let (to, from) = (st(l, 0)?, st(l, 1)?);
    state(l, Op::X87Arith, op | to << 4 | from << 8 | i64::from(pop) << 12);
    Ok(())
}

fn fld(l: &mut Lifter) -> Lifted {
    wait(l);
    if l.is_reg(0) {
        let n = st(l, 0)?;
        state(l, Op::X87Fldst, n);
        return Ok(());
    }
    let t = l.b.temp();
    match l.ins.memory_size() {
        MemorySize::Float32 => {
            l.load(t, 0, 4)?;
            l.b.emit(Op::X87Fld32, ZERO, t, ZERO, ZERO, 0);
        }
        MemorySize::Float64 => {
            l.load(t, 0, 8)?;
            l.b.emit(Op::X87Fld64, ZERO, t, ZERO, ZERO, 0);
        }
        MemorySize::Float80 => ten_bytes(l, Op::X87Fld80)?,
        _ => return Err(Unsupported),
    }
    Ok(())
}

/// Loads ten bytes into two slots for `op`.
fn ten_bytes(l: &mut Lifter, op: Op) -> Lifted {
    let (low, high) = (l.b.temp(), l.b.temp());
    let mem = l.mem()?;
    l.access(Op::Load64, low, mem);
    l.access(Op::Load16, high, Lifter::offset(mem, 8));
    l.b.emit(op, ZERO, low, high, ZERO, 0);
    Ok(())
}

fn fbld(l: &mut Lifter) -> Lifted {
    wait(l);
    ten_bytes(l, Op::X87Fbld)
}

fn fild(l: &mut Lifter) -> Lifted {
    wait(l);
    let op = match l.ins.memory_size() {
        MemorySize::Int16 => Op::SLoad16,
        MemorySize::Int32 => Op::SLoad32,
        MemorySize::Int64 => Op::Load64,
        _ => return Err(Unsupported),
    };
    let t = l.b.temp();
    let mem = l.mem()?;
    l.access(op, t, mem);
    l.b.emit(Op::X87Fild, ZERO, t, ZERO, ZERO, 0);
    Ok(())
}

fn constant(l: &mut Lifter, number: i64) -> Lifted {
    wait(l);
    state(l, Op::X87Fldconst, number);
    Ok(())
}

/// Stores ST(0) in `format`, then raises its exceptions and pops. The load is for stores that an unmasked exception
/// suppresses: they put back what is there.
fn put(l: &mut Lifter, format: u8, bytes: usize, pop: i64) -> Lifted {
    let t = l.b.temp();
    l.load(t, 0, bytes)?;
    l.b.emit(Op::X87Get, t, t, ZERO, format, 0);
    l.store(t, 0, bytes)?;
    l.b.emit(Op::X87Done, ZERO, ZERO, ZERO, format, pop);
    Ok(())
}

/// Stores ST(0) in a ten-byte format.
fn put_ten(l: &mut Lifter, low_format: u8, high_format: u8, pop: i64) -> Lifted {
    let (low, high) = (l.b.temp(), l.b.temp());
    let mem = l.mem()?;
    l.access(Op::Load64, low, mem);
    l.access(Op::Load16, high, Lifter::offset(mem, 8));
    l.b.emit(Op::X87Get, low, low, ZERO, low_format, 0);
    l.b.emit(Op::X87Get, high, high, ZERO, high_format, 0);
    // Faults before anything is written.
    l.access(Op::Probe64, ZERO, mem);
    l.access(Op::Probe64, ZERO, Lifter::offset(mem, 2));
    l.access(Op::Store64, low, mem);
    l.access(Op::Store16, high, Lifter::offset(mem, 8));
    l.b.emit(Op::X87Done, ZERO, ZERO, ZERO, low_format, pop);
    Ok(())
}

fn fst(l: &mut Lifter, pop: i64) -> Lifted {
    wait(l);
    if l.is_reg(0) {
        let n = st(l, 0)?;
        state(l, Op::X87Fstst, n | pop << 4);
        return Ok(());
    }
    match l.ins.memory_size() {
        MemorySize::Float32 => put(l, store::F32, 4, pop),
        MemorySize::Float64 => put(l, store::F64, 8, pop),
        MemorySize::Float80 => put_ten(l, store::F80_LOW, store::F80_HIGH, pop),
        _ => Err(Unsupported),
    }
}

fn fist(l: &mut Lifter, pop: i64, formats: [u8; 3]) -> Lifted {
    wait(l);
    match l.ins.memory_size() {
        MemorySize::Int16 => put(l, formats[0], 2, pop),
        MemorySize::Int32 => put(l, formats[1], 4, pop),
        MemorySize::Int64 => put(l, formats[2], 8, pop),
        _ => Err(Unsupported),
    }
}

fn fisttp(l: &mut Lifter) -> Lifted {
    fist(l, 1, [store::TRUNCATED_I16, store::TRUNCATED_I32, store::TRUNCATED_I64])
}

fn fbstp(l: &mut Lifter) -> Lifted {
    wait(l);
    put_ten(l, store::DECIMAL_LOW, store::DECIMAL_HIGH, 1)
}

fn compare(l: &mut Lifter, pops: i64, how: i64) -> Lifted {
    wait(l);
    if l.operands() > 0 && l.is_mem(0) {
        let (t, kind) = memory(l)?;
        l.b.emit(Op::X87Comm, ZERO, t, ZERO, kind, pops);
        return Ok(());
    }
    let n = match l.operands() {
        0 => 1,
        1 => st(l, 0)?,
        _ => st(l, 1)?,
    };
    state(l, Op::X87Com, n | pops << 4 | how);
    Ok(())
}

fn fxch(l: &mut Lifter) -> Lifted {
    wait(l);
    let n = st(l, 1)?;
    state(l, Op::X87Fxch, n);
    Ok(())
}

fn cmov(l: &mut Lifter, cc: Cc) -> Lifted {
    wait(l);
    let n = st(l, 1)?;
    let t = l.b.temp();
    l.b.emit(Op::GetCc, t, ZERO, ZERO, cc as u8, 0);
    l.b.emit(Op::X87Fcmov, ZERO, t, ZERO, ZERO, n);
    Ok(())
}
