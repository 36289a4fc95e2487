//! SSE floating point: arithmetic, comparison, conversion, shuffles of singles and doubles.

use iced_x86::Mnemonic::{self, *};
use ir::{Op, ZERO};

use crate::Lifter;
use crate::lifter::Lifted;
use crate::mmx;
use crate::table::{Row, rows};
use crate::vector::*;

pub(crate) const BINARY: &[Row] = rows!(binary:
    Addss Addsd Addps Addpd Subss Subsd Subps Subpd Mulss Mulsd Mulps Mulpd Divss Divsd Divps Divpd
    Minss Minsd Minps Minpd Maxss Maxsd Maxps Maxpd Sqrtss Sqrtsd Rcpss Rsqrtss
    Addsubps Addsubpd Haddps Haddpd Hsubps Hsubpd Cvtss2sd Cvtsd2ss
);

pub(crate) const UNARY: &[Row] = rows!(unary:
    Sqrtps Sqrtpd Rcpps Rsqrtps Cvtps2pd Cvtpd2ps Cvtdq2ps Cvtdq2pd Cvtps2dq Cvttps2dq Cvtpd2dq Cvttpd2dq
);

pub(crate) const BINARY_IMM: &[Row] =
    rows!(binary_imm: Shufps Shufpd Blendps Blendpd Dpps Dppd Roundss Roundsd);

pub(crate) const UNARY_IMM: &[Row] = rows!(unary_imm: Roundps Roundpd);

pub(crate) const MASKED: &[Row] = rows!(masked: Blendvps Blendvpd);

pub(crate) const FLAGS: &[Row] = rows!(flags: Comiss Comisd Ucomiss Ucomisd);

pub(crate) const ROWS: &[Row] = &[
    (Andps, |l| binary(l, Op::Pand)),
    (Andpd, |l| binary(l, Op::Pand)),
    (Andnps, |l| binary(l, Op::Pandn)),
    (Andnpd, |l| binary(l, Op::Pandn)),
    (Orps, |l| binary(l, Op::Por)),
    (Orpd, |l| binary(l, Op::Por)),
    (Xorps, |l| binary(l, Op::Pxor)),
    (Xorpd, |l| binary(l, Op::Pxor)),
    (Unpcklps, |l| binary(l, Op::Punpckldq)),
    (Unpckhps, |l| binary(l, Op::Punpckhdq)),
    (Unpcklpd, |l| binary(l, Op::Punpcklqdq)),
    (Unpckhpd, |l| binary(l, Op::Punpckhqdq)),
    (Cmpss, |l| compare(l, Op::Cmpss)),
    (Mnemonic::Cmpsd, |l| compare(l, Op::Cmpsd)),
    (Cmpps, |l| compare(l, Op::Cmpps)),
    (Cmppd, |l| compare(l, Op::Cmppd)),
    (Insertps, insertps),
    (Cvtsi2sd, |l| from_integer(l, Op::Cvtsi2sd32, Op::Cvtsi2sd64)),
    (Cvtsi2ss, |l| from_integer(l, Op::Cvtsi2ss32, Op::Cvtsi2ss64)),
    (Cvtss2si, |l| to_integer(l, Op::Cvtss2si32, Op::Cvtss2si64)),
    (Cvttss2si, |l| to_integer(l, Op::Cvttss2si32, Op::Cvttss2si64)),
    (Cvtsd2si, |l| to_integer(l, Op::Cvtsd2si32, Op::Cvtsd2si64)),
    (Cvttsd2si, |l| to_integer(l, Op::Cvttsd2si32, Op::Cvttsd2si64)),
    (Cvtpi2ps, |l| mmx::from_packed(l, Op::Cvtpi2ps)),
    (Cvtpi2pd, |l| mmx::from_packed(l, Op::Cvtdq2pd)),
    (Cvtps2pi, |l| mmx::to_packed(l, Op::Cvtps2pi)),
    (Cvttps2pi, |l| mmx::to_packed(l, Op::Cvttps2pi)),
    (Cvtpd2pi, |l| mmx::to_packed(l, Op::Cvtpd2dq)),
    (Cvttpd2pi, |l| mmx::to_packed(l, Op::Cvttpd2dq)),
];

/// SSE knows the first eight predicates.
fn compare(l: &mut Lifter, op: Op) -> Lifted {
    let d = reg(l, 0)?;
    let s = source(l, 1)?;
    let imm = imm8(l, 2) & 7;
    l.b.emit(op, d, d, s, ZERO, imm);
    Ok(())
}

/// A single from memory is in lane 0, whatever imm[7:6] says.
fn insertps(l: &mut Lifter) -> Lifted {
    let d = reg(l, 0)?;
    let s = source(l, 1)?;
    let imm = if l.is_mem(1) { imm8(l, 2) & 0x3f } else { imm8(l, 2) };
    l.b.emit(Op::Insertps, d, d, s, ZERO, imm);
    Ok(())
}

fn from_integer(l: &mut Lifter, narrow: Op, wide: Op) -> Lifted {
    let d = reg(l, 0)?;
    let op = if l.size(1) == 8 { wide } else { narrow };
    let s = l.read(1)?;
    l.b.emit(op, d, d, s, ZERO, 0);
    Ok(())
}

fn to_integer(l: &mut Lifter, narrow: Op, wide: Op) -> Lifted {
    let op = if l.size(0) == 8 { wide } else { narrow };
    to_register(l, op)
}
