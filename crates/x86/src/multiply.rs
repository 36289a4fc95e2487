//! Multiplication and division.

use iced_x86::{Mnemonic::*, Register};
use ir::{IMM, Op, ZERO, reg};

use crate::Lifter;
use crate::lifter::{BySize, Lifted, Src};
use crate::table::Row;

pub(crate) const ROWS: &[Row] = &[
    (Mul, |l| wide(l, false)),
    (Imul, |l| if l.operands() == 1 { wide(l, true) } else { imul(l) }),
    (Div, |l| divide(l, UDIV)),
    (Idiv, |l| divide(l, SDIV)),
];

/// BMI2.
pub(crate) const BMI: &[Row] = &[(Mulx, mulx)];

const FUMUL: BySize = [Op::FUMul8, Op::FUMul16, Op::FUMul32, Op::FUMul64];
const FSMUL: BySize = [Op::FSMul8, Op::FSMul16, Op::FSMul32, Op::FSMul64];
const UDIV: BySize = [Op::UDiv8, Op::UDiv16, Op::UDiv32, Op::UDiv64];
const SDIV: BySize = [Op::SDiv8, Op::SDiv16, Op::SDiv32, Op::SDiv64];

fn imul(l: &mut Lifter) -> Lifted {
    let size = l.size_index(0)?;
    let (x, y) = if l.operands() == 3 { (1, 2) } else { (0, 1) };
    let a = l.read(x)?;
    let b = l.src(y)?;
    l.flags(FSMUL[size], a, b);
    let d = l.dst(0)?;
    l.op2(if size == 2 { Op::Mul32 } else { Op::Mul64 }, d, a, b);
    l.write(0, d)
}

/// (r)dx:(r)ax = (r)ax * operand; ax = al * operand.
fn wide(l: &mut Lifter, signed: bool) -> Lifted {
    let size = l.size_index(0)?;
    let flags = if signed { FSMUL } else { FUMUL };
    if size == 3 {
        let a = l.read(0)?;
        let high = l.b.temp();
        l.b.r2(if signed { Op::SMulH64 } else { Op::UMulH64 }, high, reg::RAX, a);
        l.flags(flags[size], reg::RAX, Src::Slot(a));
        l.b.r2(Op::Mul64, reg::RAX, reg::RAX, a);
        l.b.r1(Op::Mov, reg::RDX, high);
        return Ok(());
    }
    let extend =
        if signed { [Op::Sx8, Op::Sx16, Op::Sx32] } else { [Op::Zx8, Op::Zx16, Op::Mov32] };
    let a = if signed { l.read_sx(0)? } else { l.read_zx(0)? };
    let (x, p) = (l.b.temp(), l.b.temp());
    l.b.r1(extend[size], x, reg::RAX);
    l.b.r2(Op::Mul64, p, x, a);
    l.flags(flags[size], x, Src::Slot(a));
    match size {
        0 => l.write_reg(Register::AX, p),
        1 => {
            l.write_reg(Register::AX, p)?;
            l.b.r2i(Op::Shr64, p, p, 16);
            l.write_reg(Register::DX, p)
        }
        _ => {
            l.write_reg(Register::EAX, p)?;
            l.b.r2i(Op::Shr64, p, p, 32);
            l.write_reg(Register::EDX, p)
        }
    }
}

/// BMI2: no flags; the high half goes to operand 0 (last, it wins if both are the same register).
fn mulx(l: &mut Lifter) -> Lifted {
    let a = l.read_zx(2)?;
    let (lo, hi) = (l.b.temp(), l.b.temp());
    if l.size(0) == 8 {
        l.b.r2(Op::UMulH64, hi, reg::RDX, a);
        l.b.r2(Op::Mul64, lo, reg::RDX, a);
    } else {
        let x = l.b.temp();
        l.b.r1(Op::Mov32, x, reg::RDX);
        l.b.r2(Op::Mul64, lo, x, a);
        l.b.r2i(Op::Shr64, hi, lo, 32);
    }
    l.write(1, lo)?;
    l.write(0, hi)
}

/// Flags are undefined after a division; they stay.
fn divide(l: &mut Lifter, op: BySize) -> Lifted {
    let size = l.size_index(0)?;
    let by = l.read(0)?;
    let (q, r) = (l.b.temp(), l.b.temp()); // neighbours: the op writes both
    debug_assert_eq!(r, q + 1);
    let high = if size == 0 { ZERO } else { reg::RDX };
    l.b.emit(op[size], q, high, reg::RAX, by, 0);
    match size {
        0 => {
            l.b.emit(Op::Shl64, r, r, IMM, ZERO, 8);
            l.b.r2(Op::Or64, q, q, r);
            l.write_reg(Register::AX, q)
        }
        1 => {
            l.write_reg(Register::AX, q)?;
            l.write_reg(Register::DX, r)
        }
        2 => {
            l.write_reg(Register::EAX, q)?;
            l.write_reg(Register::EDX, r)
        }
        _ => {
            l.write_reg(Register::RAX, q)?;
            l.write_reg(Register::RDX, r)
        }
    }
}
