//! Add, subtract, logic, compare: the eight ALU operations and their relatives.

use iced_x86::Mnemonic::*;
use ir::{CF, Cc, IMM, OF, Op, ZERO, ZF};

use crate::Lifter;
use crate::lifter::{BySize, Lifted, Src};
use crate::table::Row;

pub(crate) const ROWS: &[Row] = &[
    (Add, |l| binary(l, ADD, FADD)),
    (Sub, |l| binary(l, SUB, FSUB)),
    (Cmp, cmp),
    (Test, test),
    (And, |l| logic(l, AND)),
    (Or, |l| logic(l, OR)),
    (Xor, xor),
    (Adc, |l| with_carry(l, ADD, FADC)),
    (Sbb, |l| with_carry(l, SUB, FSBB)),
    (Inc, |l| step(l, ADD, FINC)),
    (Dec, |l| step(l, SUB, FDEC)),
    (Neg, neg),
    (Not, not),
    (Adcx, |l| add_flag(l, Cc::B, CF)),
    (Adox, |l| add_flag(l, Cc::O, OF)),
    (Xadd, xadd),
    (Cmpxchg, cmpxchg),
    (Cmpxchg8b, |l| cmpxchg_pair(l, 4)),
    (Cmpxchg16b, |l| cmpxchg_pair(l, 8)),
];

// 8- and 16-bit results are computed by the 64-bit op in a temporary and deposited.
const ADD: BySize = [Op::Add64, Op::Add64, Op::Add32, Op::Add64];
const SUB: BySize = [Op::Sub64, Op::Sub64, Op::Sub32, Op::Sub64];
const AND: BySize = [Op::And64, Op::And64, Op::And32, Op::And64];
const OR: BySize = [Op::Or64, Op::Or64, Op::Or32, Op::Or64];
const XOR: BySize = [Op::Xor64, Op::Xor64, Op::Xor32, Op::Xor64];
const FADD: BySize = [Op::FAdd8, Op::FAdd16, Op::FAdd32, Op::FAdd64];
pub(crate) const FSUB: BySize = [Op::FSub8, Op::FSub16, Op::FSub32, Op::FSub64];
const FADC: BySize = [Op::FAdc8, Op::FAdc16, Op::FAdc32, Op::FAdc64];
const FSBB: BySize = [Op::FSbb8, Op::FSbb16, Op::FSbb32, Op::FSbb64];
const FINC: BySize = [Op::FInc8, Op::FInc16, Op::FInc32, Op::FInc64];
const FDEC: BySize = [Op::FDec8, Op::FDec16, Op::FDec32, Op::FDec64];
pub(crate) const FLOGIC: BySize = [Op::FLogic8, Op::FLogic16, Op::FLogic32, Op::FLogic64];

fn binary(l: &mut Lifter, op: BySize, flags: BySize) -> Lifted {
    let size = l.size_index(0)?;
    let b = l.src(1)?;
    let a = l.read(0)?;
    if l.is_mem(0) {
        let r = l.b.temp();
        l.op2(op[size], r, a, b);
        l.write(0, r)?;
        l.flags(flags[size], a, b);
    } else {
        l.flags(flags[size], a, b);
        let r = l.dst(0)?;
        l.op2(op[size], r, a, b);
        l.write(0, r)?;
    }
    Ok(())
}

fn cmp(l: &mut Lifter) -> Lifted {
    let size = l.size_index(0)?;
    let a = l.read(0)?;
    let b = l.src(1)?;
    l.flags(FSUB[size], a, b);
    Ok(())
}

fn test(l: &mut Lifter) -> Lifted {
    let size = l.size_index(0)?;
    let a = l.read(0)?;
    let b = l.src(1)?;
    l.flags(FLOGIC[size], a, b);
    Ok(())
}

fn logic(l: &mut Lifter, op: BySize) -> Lifted {
    let size = l.size_index(0)?;
    let b = l.src(1)?;
    let a = l.read(0)?;
    let r = l.dst(0)?;
    l.op2(op[size], r, a, b);
    l.write(0, r)?;
    l.flags(FLOGIC[size], r, Src::Slot(r));
    Ok(())
}

fn xor(l: &mut Lifter) -> Lifted {
    let zeroes = l.is_reg(0) && l.is_reg(1) && l.ins.op_register(0) == l.ins.op_register(1);
    if zeroes && l.size(0) >= 4 {
        let d = l.dst(0)?;
        l.b.li(d, 0);
        l.flags(Op::FLogic64, ZERO, Src::Slot(ZERO));
        return Ok(());
    }
    logic(l, XOR)
}

fn with_carry(l: &mut Lifter, op: BySize, flags: BySize) -> Lifted {
    let size = l.size_index(0)?;
    let b = l.src(1)?;
    let a = l.read(0)?;
    let carry = l.b.temp();
    l.b.emit(Op::GetCc, carry, ZERO, ZERO, Cc::B as u8, 0);
    let (half, r) = (l.b.temp(), l.b.temp());
    l.op2(op[size], half, a, b);
    l.b.r2(op[size], r, half, carry);
    let (fb, fimm) = match b {
        Src::Slot(s) => (s, 0),
        Src::Imm(i) => (IMM, i),
    };
    if l.is_mem(0) {
        l.write(0, r)?;
        l.b.emit(flags[size], ZERO, a, fb, carry, fimm);
    } else {
        l.b.emit(flags[size], ZERO, a, fb, carry, fimm);
        l.write(0, r)?;
    }
    Ok(())
}

fn step(l: &mut Lifter, op: BySize, flags: BySize) -> Lifted {
    let size = l.size_index(0)?;
    let a = l.read(0)?;
    if l.is_mem(0) {
        let r = l.b.temp();
        l.b.r2i(op[size], r, a, 1);
        l.write(0, r)?;
        l.flags(flags[size], a, Src::Slot(ZERO));
    } else {
        l.flags(flags[size], a, Src::Slot(ZERO));
        let r = l.dst(0)?;
        l.b.r2i(op[size], r, a, 1);
        l.write(0, r)?;
    }
    Ok(())
}

fn neg(l: &mut Lifter) -> Lifted {
    let size = l.size_index(0)?;
    let a = l.read(0)?;
    let op = if size == 2 { Op::Neg32 } else { Op::Neg64 };
    if l.is_mem(0) {
        let r = l.b.temp();
        l.b.r1(op, r, a);
        l.write(0, r)?;
        l.flags(FSUB[size], ZERO, Src::Slot(a));
    } else {
        l.flags(FSUB[size], ZERO, Src::Slot(a));
        let r = l.dst(0)?;
        l.b.r1(op, r, a);
        l.write(0, r)?;
    }
    Ok(())
}

fn not(l: &mut Lifter) -> Lifted {
    let size = l.size_index(0)?;
    let a = l.read(0)?;
    let r = l.dst(0)?;
    l.b.r1(if size == 2 { Op::Not32 } else { Op::Not64 }, r, a);
    l.write(0, r)
}

/// adcx, adox: add with one flag as carry in and out, the others stay.
fn add_flag(l: &mut Lifter, cc: Cc, flag: u64) -> Lifted {
    let b = l.read_zx(1)?;
    let a = l.read_zx(0)?;
    let carry = l.b.temp();
    l.b.emit(Op::GetCc, carry, ZERO, ZERO, cc as u8, 0);
    let (half, sum) = (l.b.temp(), l.b.temp());
    l.b.r2(Op::Add64, half, a, b);
    l.b.r2(Op::Add64, sum, half, carry);
    let out = l.b.temp();
    if l.size(0) == 4 {
        l.b.r2i(Op::Shr64, out, sum, 32);
    } else {
        let wrapped = l.b.temp();
        l.b.r2(Op::LtU64, wrapped, half, a);
        l.b.r2(Op::LtU64, out, sum, half);
        l.b.r2(Op::Or64, out, out, wrapped);
    }
    l.b.r2i(Op::Shl64, out, out, flag.trailing_zeros().into());
    l.write(0, sum)?;
    l.put_flags(out, flag);
    Ok(())
}

fn xadd(l: &mut Lifter) -> Lifted {
    let size = l.size_index(0)?;
    let a = l.read(0)?;
    let b = l.read(1)?;
    let (sum, old) = (l.b.temp(), l.b.temp());
    l.b.r2(ADD[size], sum, a, b);
    l.b.r1(Op::Mov, old, a);
    if l.is_mem(0) {
        l.write(0, sum)?;
        l.flags(FADD[size], a, Src::Slot(b));
        l.write(1, old)
    } else {
        l.flags(FADD[size], a, Src::Slot(b));
        l.write(1, old)?;
        l.write(0, sum) // last: for `xadd r, r` the sum stays
    }
}

/// Accumulator compared with the destination: equal → destination = source, else accumulator = destination. The
/// destination is written in either case, as on hardware (its write fault counts).
fn cmpxchg(l: &mut Lifter) -> Lifted {
    let size = l.size_index(0)?;
    let zx = [Op::Zx8, Op::Zx16, Op::Mov32, Op::Mov][size];
    let dest = l.read_zx(0)?;
    let src = l.read(1)?;
    let (acc, equal, new, keep) = (l.b.temp(), l.b.temp(), l.b.temp(), l.b.temp());
    l.b.r1(zx, acc, ir::reg::RAX);
    l.b.r2(Op::Eq64, equal, acc, dest);
    l.b.emit(Op::Select, new, equal, src, dest, 0);
    if l.is_mem(0) {
        l.write(0, new)?;
    }
    // On success the accumulator keeps all its bits; on failure a 32-bit destination zero-extends into rax.
    let old = l.b.temp();
    l.b.r1(Op::Mov, old, dest);
    l.flags(FSUB[size], acc, Src::Slot(old));
    let deposited = match size {
        0 | 1 => {
            let t = l.b.temp();
            l.b.r2(if size == 0 { Op::Dep8 } else { Op::Dep16 }, t, ir::reg::RAX, old);
            t
        }
        _ => old,
    };
    l.b.emit(Op::Select, keep, equal, ir::reg::RAX, deposited, 0);
    if l.is_reg(0) {
        // A failed 32-bit register form leaves the destination's upper half as it was.
        let (to, _) = Lifter::gpr(l.ins.op_register(0))?;
        if size == 2 {
            let narrow = l.b.temp();
            l.b.r1(Op::Mov32, narrow, new);
            l.b.emit(Op::Select, narrow, equal, narrow, to, 0);
            if to == ir::reg::RAX {
                // `cmpxchg eax, r` always succeeds.
                l.b.r1(Op::Mov, to, narrow);
                return Ok(());
            }
            l.b.r1(Op::Mov, ir::reg::RAX, keep);
            l.b.r1(Op::Mov, to, narrow);
            return Ok(());
        }
        l.b.r1(Op::Mov, ir::reg::RAX, keep);
        return l.write(0, new);
    }
    l.b.r1(Op::Mov, ir::reg::RAX, keep);
    Ok(())
}

/// cmpxchg8b, cmpxchg16b: (r)dx:(r)ax with the memory operand of two halves. Only ZF changes. The 16-byte form checks its
/// alignment.
fn cmpxchg_pair(l: &mut Lifter, half: i64) -> Lifted {
    use ir::reg::{RAX, RBX, RCX, RDX};
    let mem = l.mem()?;
    let (ld, st) = if half == 4 { (Op::Load32, Op::Store32) } else { (Op::Load64, Op::Store64) };
    if half == 8 {
        let v = l.b.vtemp();
        l.access(Op::VLoadA128, v, mem); // #GP unless aligned
    }
    let high = Lifter::offset(mem, half);
    l.access(if half == 4 { Op::Probe64 } else { Op::Probe128 }, ZERO, mem);
    let (lo, hi) = (l.b.temp(), l.b.temp());
    l.access(ld, lo, mem);
    l.access(ld, hi, high);
    let (e, e2, t) = (l.b.temp(), l.b.temp(), l.b.temp());
    let (mut ax, mut dx) = (RAX, RDX);
    if half == 4 {
        (ax, dx) = (l.b.temp(), l.b.temp());
        l.b.r1(Op::Mov32, ax, RAX);
        l.b.r1(Op::Mov32, dx, RDX);
    }
    l.b.r2(Op::Eq64, e, lo, ax);
    l.b.r2(Op::Eq64, e2, hi, dx);
    l.b.r2(Op::And64, e, e, e2);
    l.b.emit(Op::Select, t, e, RBX, lo, 0);
    l.access(st, t, mem);
    l.b.emit(Op::Select, t, e, RCX, hi, 0);
    l.access(st, t, high);
    l.b.emit(Op::Select, RAX, e, RAX, lo, 0);
    l.b.emit(Op::Select, RDX, e, RDX, hi, 0);
    l.b.r2i(Op::Shl64, e, e, ZF.trailing_zeros().into());
    l.put_flags(e, ZF);
    Ok(())
}
