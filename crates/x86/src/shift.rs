//! Shifts and rotates.

use iced_x86::Mnemonic::*;
use ir::{ARITH, CF, Cc, IMM, OF, Op, ZERO};

use crate::Lifter;
use crate::lifter::{BySize, Lifted, Src, Unsupported};
use crate::table::Row;

pub(crate) const ROWS: &[Row] = &[
    (Shl, |l| shift(l, SHL, FSHL)),
    (Sal, |l| shift(l, SHL, FSHL)),
    (Shr, |l| shift(l, SHR, FSHR)),
    (Sar, |l| shift(l, SAR, FSAR)),
    (Rol, |l| rotate(l, ROL, ROL_FLAGS)),
    (Ror, |l| rotate(l, ROR, ROR_FLAGS)),
    (Rcl, |l| rotate_carry(l, RCL, RCL_FLAGS)),
    (Rcr, |l| rotate_carry(l, RCR, RCR_FLAGS)),
    (Shld, |l| double(l, SHLD, SHLD_FLAGS)),
    (Shrd, |l| double(l, SHRD, SHRD_FLAGS)),
];

/// BMI2.
pub(crate) const BMI: &[Row] = &[
    (Shlx, |l| plain(l, SHL)),
    (Shrx, |l| plain(l, SHR)),
    (Sarx, |l| plain(l, SAR)),
    (Rorx, |l| plain(l, ROR)),
];

const SHL: BySize = [Op::ShlN8, Op::ShlN16, Op::Shl32, Op::Shl64];
const SHR: BySize = [Op::ShrN8, Op::ShrN16, Op::Shr32, Op::Shr64];
const SAR: BySize = [Op::SarN8, Op::SarN16, Op::Sar32, Op::Sar64];
const FSHL: BySize = [Op::FShl8, Op::FShl16, Op::FShl32, Op::FShl64];
const FSHR: BySize = [Op::FShr8, Op::FShr16, Op::FShr32, Op::FShr64];
const FSAR: BySize = [Op::FSar8, Op::FSar16, Op::FSar32, Op::FSar64];
const ROL: BySize = [Op::Rol8, Op::Rol16, Op::Rol32, Op::Rol64];
const ROR: BySize = [Op::Ror8, Op::Ror16, Op::Ror32, Op::Ror64];
const ROL_FLAGS: BySize = [Op::RolFlags8, Op::RolFlags16, Op::RolFlags32, Op::RolFlags64];
const ROR_FLAGS: BySize = [Op::RorFlags8, Op::RorFlags16, Op::RorFlags32, Op::RorFlags64];
const RCL: BySize = [Op::Rcl8, Op::Rcl16, Op::Rcl32, Op::Rcl64];
const RCR: BySize = [Op::Rcr8, Op::Rcr16, Op::Rcr32, Op::Rcr64];
const RCL_FLAGS: BySize = [Op::RclFlags8, Op::RclFlags16, Op::RclFlags32, Op::RclFlags64];
const RCR_FLAGS: BySize = [Op::RcrFlags8, Op::RcrFlags16, Op::RcrFlags32, Op::RcrFlags64];
// 8-bit double shifts do not exist; index 0 is never used.
const SHLD: BySize = [Op::Shld16, Op::Shld16, Op::Shld32, Op::Shld64];
const SHRD: BySize = [Op::Shrd16, Op::Shrd16, Op::Shrd32, Op::Shrd64];
const SHLD_FLAGS: BySize = [Op::ShldFlags16, Op::ShldFlags16, Op::ShldFlags32, Op::ShldFlags64];
const SHRD_FLAGS: BySize = [Op::ShrdFlags16, Op::ShrdFlags16, Op::ShrdFlags32, Op::ShrdFlags64];

/// The count operand `n`, masked if constant.
fn count(l: &mut Lifter, n: u32, size: usize) -> Result<Src, Unsupported> {
    let mask = if size == 3 { 63 } else { 31 };
    if l.operands() <= n {
        return Ok(Src::Imm(1));
    }
    Ok(match l.src(n)? {
        Src::Imm(i) => Src::Imm(i & mask),
        slot => slot,
    })
}

/// A count of zero does nothing, except that a 32-bit register is zero-extended and memory is read (and written).
fn nothing(l: &mut Lifter) -> Lifted {
    let a = l.read(0)?;
    if l.is_reg(0) && l.size(0) == 4 {
        l.b.r1(Op::Mov32, a, a);
        return Ok(());
    }
    if l.is_mem(0) { l.write(0, a) } else { Ok(()) }
}

fn shift(l: &mut Lifter, op: BySize, flags: BySize) -> Lifted {
    let size = l.size_index(0)?;
    let n = count(l, 1, size)?;
    if n == Src::Imm(0) {
        return nothing(l);
    }
    let a = l.read(0)?;
    if l.is_mem(0) {
        let r = l.b.temp();
        l.op2(op[size], r, a, n);
        l.write(0, r)?;
        l.flags(flags[size], a, n);
    } else {
        l.flags(flags[size], a, n);
        let r = l.dst(0)?;
        l.op2(op[size], r, a, n);
        l.write(0, r)?;
    }
    Ok(())
}

/// After the result is written: the bits in `bits` replace those in `mask`, unless the masked count is zero.
fn put_if_counted(l: &mut Lifter, bits: u8, mask: u64, n: Src, size: usize) {
    match n {
        Src::Imm(_) => l.put_flags(bits, mask),
        Src::Slot(n) => {
            let (m, t) = (l.b.temp(), l.b.temp());
            l.b.li(m, mask as i64);
            l.b.r2(if size == 3 { Op::MaskIf64 } else { Op::MaskIf32 }, t, m, n);
            l.b.emit(Op::PutFlags, ZERO, bits, t, ZERO, 0);
        }
    }
}

fn rotate(l: &mut Lifter, op: BySize, flags: BySize) -> Lifted {
    let size = l.size_index(0)?;
    let n = count(l, 1, size)?;
    if n == Src::Imm(0) {
        return nothing(l);
    }
    let a = l.read(0)?;
    let (r, bits) = (l.b.temp(), l.b.temp());
    l.op2(op[size], r, a, n);
    l.op2(flags[size], bits, r, n);
    let kept = keep_count(l, n);
    l.write(0, r)?;
    put_if_counted(l, bits, CF | OF, kept, size);
    Ok(())
}

/// The destination may be rcx itself (`rol ecx, cl`): the count is needed again after the write.
fn keep_count(l: &mut Lifter, n: Src) -> Src {
    match n {
        Src::Slot(s) => {
            let t = l.b.temp();
            l.b.r1(Op::Mov, t, s);
            Src::Slot(t)
        }
        imm => imm,
    }
}

fn three(l: &mut Lifter, op: Op, d: u8, a: u8, b: u8, c: Src) {
    match c {
        Src::Slot(c) => l.b.emit(op, d, a, b, c, 0),
        Src::Imm(i) => l.b.emit(op, d, a, b, IMM, i),
    }
}

fn rotate_carry(l: &mut Lifter, op: BySize, flags: BySize) -> Lifted {
    let size = l.size_index(0)?;
    let n = count(l, 1, size)?;
    if n == Src::Imm(0) {
        return nothing(l);
    }
    let a = l.read(0)?;
    let count = match n {
        Src::Slot(_) => keep_count(l, n),
        imm => imm,
    };
    let count_slot = l.slot(count);
    let (carry, r, bits) = (l.b.temp(), l.b.temp(), l.b.temp());
    l.b.emit(Op::GetCc, carry, ZERO, ZERO, Cc::B as u8, 0);
    l.b.emit(op[size], r, a, count_slot, carry, 0);
    l.b.emit(flags[size], bits, a, count_slot, carry, 0);
    l.write(0, r)?;
    put_if_counted(l, bits, CF | OF, count, size);
    Ok(())
}

fn double(l: &mut Lifter, op: BySize, flags: BySize) -> Lifted {
    let size = l.size_index(0)?;
    let n = count(l, 2, size)?;
    if n == Src::Imm(0) {
        return nothing(l);
    }
    let a = l.read(0)?;
    let b = l.read(1)?;
    let n = keep_count(l, n);
    let (r, bits) = (l.b.temp(), l.b.temp());
    three(l, op[size], r, a, b, n);
    three(l, flags[size], bits, a, b, n);
    l.write(0, r)?;
    put_if_counted(l, bits, ARITH, n, size);
    Ok(())
}

/// BMI2 shifts: no flags.
fn plain(l: &mut Lifter, op: BySize) -> Lifted {
    let size = l.size_index(0)?;
    let a = l.read(1)?;
    let n = l.src(2)?;
    let d = l.dst(0)?;
    l.op2(op[size], d, a, n);
    l.write(0, d)
}
