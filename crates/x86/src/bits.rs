//! Bit tests, bit scans, counts, BMI1, BMI2, CRC.

use iced_x86::Mnemonic::*;
use ir::{ARITH, CF, Op, SF, ZERO, ZF};

use crate::Lifter;
use crate::alu::FLOGIC;
use crate::lifter::{Lifted, Mem, Src};
use crate::table::Row;

pub(crate) const ROWS: &[Row] = &[
    (Bt, |l| bit_test(l, None)),
    (Bts, |l| bit_test(l, Some(Op::Or64))),
    (Btr, |l| bit_test(l, Some(Op::Andn64))),
    (Btc, |l| bit_test(l, Some(Op::Xor64))),
    (Bsf, |l| scan(l, Op::Bsf)),
    (Bsr, |l| scan(l, Op::Bsr)),
    (Popcnt, popcnt),
    (Tzcnt, |l| count_zeros(l, [Op::Tzcnt16, Op::Tzcnt16, Op::Tzcnt32, Op::Tzcnt64])),
    (Lzcnt, |l| count_zeros(l, [Op::Lzcnt16, Op::Lzcnt16, Op::Lzcnt32, Op::Lzcnt64])),
    (Crc32, crc32),
];

/// BMI1 and BMI2: VEX forms. (TZCNT's encoding is a BSF without them.)
pub(crate) const BMI: &[Row] = &[
    (Andn, andn),
    (Bextr, bextr),
    (Bzhi, bzhi),
    (Blsi, |l| lowest(l, Op::And64)),
    (Blsr, |l| lowest(l, Op::Andn64)),
    (Blsmsk, |l| lowest(l, Op::Xor64)),
    (Pdep, |l| scatter(l, Op::Pdep)),
    (Pext, |l| scatter(l, Op::Pext)),
];

/// bt, bts, btr, btc. With a memory operand and a register index the index reaches beyond the operand, signed.
fn bit_test(l: &mut Lifter, change: Option<Op>) -> Lifted {
    let size = l.size_index(0)?;
    let bit = [Op::Bit16, Op::Bit16, Op::Bit32, Op::Bit64][size];
    let mask = [Op::BitMask16, Op::BitMask16, Op::BitMask32, Op::BitMask64][size];
    let index = l.src(1)?;
    let mut place: Option<Mem> = None;
    let a = if l.is_mem(0) {
        if let Src::Slot(s) = index {
            // Byte offset of the word that holds the bit: (index >> log2(bits)) * bytes.
            let shift = 3 + size as i64;
            let t = l.b.temp();
            l.b.r1([Op::Sx16, Op::Sx16, Op::Sx32, Op::Mov][size], t, s);
            l.b.r2i(Op::Sar64, t, t, shift);
            l.b.r2i(Op::Shl64, t, t, size as i64);
            // The whole offset is cut to the address size, then the segment's base is added.
            let mem = l.mem_without_segment()?;
            let (at, sum) = (l.b.temp(), l.b.temp());
            l.access(Op::Lea, at, mem);
            let lea = if l.has_narrow_address() { Op::Lea32 } else { Op::Lea };
            l.b.emit(lea, sum, at, t, 0, 0);
            place = Some(Mem { a: l.segment_base(), b: sum, c: 0, imm: 0 });
        }
        let mem = match place {
            Some(mem) => mem,
            None => l.mem()?,
        };
        place = Some(mem);
        let t = l.b.temp();
        l.access([Op::Load16, Op::Load16, Op::Load32, Op::Load64][size], t, mem);
        t
    } else {
        l.read(0)?
    };
    let was = l.b.temp();
    l.op2(bit, was, a, index);
    if let Some(op) = change {
        let i = l.slot(index);
        let (m, r) = (l.b.temp(), l.b.temp());
        l.b.r1(mask, m, i);
        if op == Op::Andn64 {
            l.b.r2(op, r, m, a)
        } else {
            l.b.r2(op, r, a, m)
        }
        match place {
            Some(mem) => {
                l.access([Op::Store16, Op::Store16, Op::Store32, Op::Store64][size], r, mem)
            }
            None => l.write(0, r)?,
        }
    }
    l.put_flags(was, CF);
    Ok(())
}

/// A zero source leaves the destination (all 64 bits of it, as cores do) and sets ZF. The other flags are undefined;
/// they stay.
fn scan(l: &mut Lifter, op: Op) -> Lifted {
    let size = l.size(0);
    let a = l.read_zx(1)?;
    let (d, _) = Lifter::gpr(l.ins.op_register(0))?;
    let (r, z) = (l.b.temp(), l.b.temp());
    l.b.r2(op, r, a, d);
    l.b.r1(Op::ZfIfZero, z, a);
    if size == 2 {
        l.write(0, r)?;
    } else {
        l.b.r1(Op::Mov, d, r);
    }
    l.put_flags(z, ZF);
    Ok(())
}

fn popcnt(l: &mut Lifter) -> Lifted {
    let a = l.read_zx(1)?;
    let (r, z) = (l.b.temp(), l.b.temp());
    l.b.r1(Op::Popcnt, r, a);
    l.b.r1(Op::ZfIfZero, z, a);
    l.write(0, r)?;
    l.put_flags(z, ARITH);
    Ok(())
}

fn count_zeros(l: &mut Lifter, op: [Op; 4]) -> Lifted {
    let size = l.size_index(0)?;
    let a = l.read_zx(1)?;
    let (r, f) = (l.b.temp(), l.b.temp());
    l.b.r1(op[size], r, a);
    l.b.r2(Op::CntFlags, f, a, r);
    l.write(0, r)?;
    l.put_flags(f, CF | ZF);
    Ok(())
}

fn andn(l: &mut Lifter) -> Lifted {
    let size = l.size_index(0)?;
    let a = l.read(1)?;
    let b = l.read(2)?;
    let d = l.dst(0)?;
    l.b.r2(if size == 2 { Op::Andn32 } else { Op::Andn64 }, d, a, b);
    l.flags(FLOGIC[size], d, Src::Slot(d));
    Ok(())
}

/// Sets SF (if `sign`), ZF, CF = `carry` and OF = 0 after result `r`, which is already zero-extended.
fn result_flags(l: &mut Lifter, r: u8, carry: u8, sign: bool) {
    let szp = if l.size(0) == 8 { Op::SzpFlags64 } else { Op::SzpFlags32 };
    let f = l.b.temp();
    l.b.r1(szp, f, r);
    l.b.r2i(Op::And64, f, f, if sign { (SF | ZF) as i64 } else { ZF as i64 });
    l.b.r2(Op::Or64, f, f, carry);
    l.put_flags(f, ARITH);
}

fn bextr(l: &mut Lifter) -> Lifted {
    let a = l.read(1)?;
    let control = l.read(2)?;
    let r = l.b.temp();
    l.b.r2(if l.size(0) == 8 { Op::Bextr64 } else { Op::Bextr32 }, r, a, control);
    l.write(0, r)?;
    result_flags(l, r, ZERO, false);
    Ok(())
}

fn bzhi(l: &mut Lifter) -> Lifted {
    let wide = l.size(0) == 8;
    let a = l.read(1)?;
    let n = l.read(2)?;
    let (r, index, last, carry) = (l.b.temp(), l.b.temp(), l.b.temp(), l.b.temp());
    l.b.r2(if wide { Op::Bzhi64 } else { Op::Bzhi32 }, r, a, n);
    l.b.r1(Op::Zx8, index, n);
    l.b.li(last, if wide { 63 } else { 31 });
    l.b.r2(Op::LtU64, carry, last, index);
    l.write(0, r)?;
    result_flags(l, r, carry, true);
    Ok(())
}

/// blsi: a & -a, CF = a ≠ 0. blsr: a & (a - 1), blsmsk: a ^ (a - 1), CF = a = 0.
fn lowest(l: &mut Lifter, op: Op) -> Lifted {
    let a = l.read_zx(1)?;
    let narrow = l.size(0) == 4;
    let (t, r, carry) = (l.b.temp(), l.b.temp(), l.b.temp());
    l.b.r1(Op::CfIfZero, carry, a);
    match op {
        Op::And64 => {
            l.b.r1(Op::Neg64, t, a);
            l.b.r2(Op::And64, r, a, t);
            l.b.r2i(Op::Xor64, carry, carry, CF as i64);
        }
        Op::Andn64 => {
            l.b.r2i(Op::Sub64, t, a, 1);
            l.b.r2(Op::And64, r, a, t);
        }
        _ => {
            l.b.r2i(Op::Sub64, t, a, 1);
            l.b.r2(Op::Xor64, r, a, t);
        }
    }
    if narrow {
        l.b.r1(Op::Mov32, r, r);
    }
    l.write(0, r)?;
    result_flags(l, r, carry, true);
    Ok(())
}

fn scatter(l: &mut Lifter, op: Op) -> Lifted {
    let a = l.read_zx(1)?;
    let mask = l.read_zx(2)?;
    let d = l.dst(0)?;
    l.b.r2(op, d, a, mask);
    l.write(0, d)
}

fn crc32(l: &mut Lifter) -> Lifted {
    let op = [Op::Crc32c8, Op::Crc32c16, Op::Crc32c32, Op::Crc32c64][l.size_index(1)?];
    let data = l.read(1)?;
    let (d, _) = Lifter::gpr(l.ins.op_register(0))?;
    l.b.r2(op, d, d, data);
    Ok(())
}
