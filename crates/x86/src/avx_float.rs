//! AVX floating point: arithmetic, comparison, conversion, shuffles of singles and doubles.

use iced_x86::Mnemonic::*;
use ir::{HIGH, Op, ZERO};

use crate::Lifter;
use crate::avx::*;
use crate::lifter::Lifted;
use crate::table::{Row, vex, vex_pairs};
use crate::vector::imm8;

pub(crate) const BINARY: &[Row] = vex_pairs!(guarded_binary:
    Vaddps Addps Addps256, Vaddpd Addpd Addpd256, Vsubps Subps Subps256, Vsubpd Subpd Subpd256,
    Vmulps Mulps Mulps256, Vmulpd Mulpd Mulpd256, Vdivps Divps Divps256, Vdivpd Divpd Divpd256,
    Vminps Minps Minps256, Vminpd Minpd Minpd256, Vmaxps Maxps Maxps256, Vmaxpd Maxpd Maxpd256,
    Vaddsubps Addsubps Addsubps256, Vaddsubpd Addsubpd Addsubpd256,
    Vhaddps Haddps Haddps256, Vhaddpd Haddpd Haddpd256, Vhsubps Hsubps Hsubps256, Vhsubpd Hsubpd Hsubpd256,
);

pub(crate) const SCALAR: &[Row] = vex!(binary:
    Vaddss Addss, Vaddsd Addsd, Vsubss Subss, Vsubsd Subsd, Vmulss Mulss, Vmulsd Mulsd, Vdivss Divss, Vdivsd Divsd,
    Vminss Minss, Vminsd Minsd, Vmaxss Maxss, Vmaxsd Maxsd, Vsqrtss Sqrtss, Vsqrtsd Sqrtsd,
    Vrcpss Rcpss, Vrsqrtss Rsqrtss, Vcvtss2sd Cvtss2sd, Vcvtsd2ss Cvtsd2ss,
);

pub(crate) const SCALAR_IMM: &[Row] = vex!(binary_imm:
    Vroundss Roundss, Vroundsd Roundsd, Vdppd Dppd,
);

pub(crate) const UNARY: &[Row] = vex_pairs!(guarded_unary:
    Vsqrtps Sqrtps Sqrtps256, Vsqrtpd Sqrtpd Sqrtpd256,
    Vcvtdq2ps Cvtdq2ps Cvtdq2ps256, Vcvtps2dq Cvtps2dq Cvtps2dq256, Vcvttps2dq Cvttps2dq Cvttps2dq256,
    Vcvtps2pd Cvtps2pd Cvtps2pd256, Vcvtpd2ps Cvtpd2ps Cvtpd2ps256,
    Vcvtpd2dq Cvtpd2dq Cvtpd2dq256, Vcvttpd2dq Cvttpd2dq Cvttpd2dq256,
);

pub(crate) const UNARY_IMM: &[Row] = vex_pairs!(guarded_unary_imm:
    Vroundps Roundps Roundps256, Vroundpd Roundpd Roundpd256,
);

pub(crate) const BINARY_IMM: &[Row] = vex_pairs!(guarded_binary_imm: Vdpps Dpps Dpps256,);

pub(crate) const BINARY_HALVES: &[Row] = vex!(binary:
    Vandps Pand, Vandpd Pand, Vandnps Pandn, Vandnpd Pandn, Vorps Por, Vorpd Por, Vxorps Pxor, Vxorpd Pxor,
    Vunpcklps Punpckldq, Vunpckhps Punpckhdq, Vunpcklpd Punpcklqdq, Vunpckhpd Punpckhqdq,
);

pub(crate) const UNARY_HALVES: &[Row] = vex!(unary: Vrcpps Rcpps, Vrsqrtps Rsqrtps,);

pub(crate) const FLAGS: &[Row] = vex!(flags_of_all:
    Vcomiss Comiss, Vcomisd Comisd, Vucomiss Ucomiss, Vucomisd Ucomisd, Vtestps Vtestps, Vtestpd Vtestpd,
);

pub(crate) const ROWS: &[Row] = &[
    (Vcmpss, |l| compare(l, Ops(Op::Cmpss, Op::Cmpss))),
    (Vcmpsd, |l| compare(l, Ops(Op::Cmpsd, Op::Cmpsd))),
    (Vcmpps, |l| compare(l, Ops(Op::Cmpps, Op::Cmpps256))),
    (Vcmppd, |l| compare(l, Ops(Op::Cmppd, Op::Cmppd256))),
    // With the bits of the immediate that the low half uses up.
    (Vshufps, |l| shuffle(l, Op::Shufps, 0)),
    (Vshufpd, |l| shuffle(l, Op::Shufpd, 2)),
    (Vblendps, |l| shuffle(l, Op::Blendps, 4)),
    (Vblendpd, |l| shuffle(l, Op::Blendpd, 2)),
    (Vpermilps, |l| permute(l, Op::Vpermilps, Op::Shufps, 0)),
    (Vpermilpd, |l| permute(l, Op::Vpermilpd, Op::Shufpd, 2)),
    (Vblendvps, |l| masked(l, Op::Blendvps)),
    (Vblendvpd, |l| masked(l, Op::Blendvpd)),
    (Vinsertps, insertps),
    (Vextractps, extractps),
    (Vmovmskps, |l| to_register(l, Op::Movmskps, 4)),
    (Vmovmskpd, |l| to_register(l, Op::Movmskpd, 2)),
    (Vcvtdq2pd, cvtdq2pd),
    (Vcvtsi2sd, |l| from_integer(l, Op::Cvtsi2sd32, Op::Cvtsi2sd64)),
    (Vcvtsi2ss, |l| from_integer(l, Op::Cvtsi2ss32, Op::Cvtsi2ss64)),
    (Vcvtss2si, |l| to_integer(l, Op::Cvtss2si32, Op::Cvtss2si64)),
    (Vcvttss2si, |l| to_integer(l, Op::Cvttss2si32, Op::Cvttss2si64)),
    (Vcvtsd2si, |l| to_integer(l, Op::Cvtsd2si32, Op::Cvtsd2si64)),
    (Vcvttsd2si, |l| to_integer(l, Op::Cvttsd2si32, Op::Cvttsd2si64)),
];

/// AVX knows 32 predicates.
fn compare(l: &mut Lifter, ops: Ops) -> Lifted {
    let (d, a, b) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    let imm = imm8(l, 3) & 31;
    guarded(l, ops, [d, a, b, ZERO], imm);
    Ok(())
}

/// The high half uses the bits of the immediate from `bits` on.
fn shuffle(l: &mut Lifter, op: Op, bits: u32) -> Lifted {
    let (d, a, b) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    let imm = imm8(l, 3);
    by_parts(l, op, [d, a, b], imm, bits);
    Ok(())
}

fn by_parts(l: &mut Lifter, op: Op, [d, a, b]: [u8; 3], imm: i64, bits: u32) {
    l.b.emit(op, d, a, b, ZERO, imm);
    if is_wide(l) {
        l.b.emit(op, d + HIGH, a + HIGH, b + HIGH, ZERO, imm >> bits);
    } else {
        clear_high(l, d);
    }
}

/// By a vector, or by an immediate as a shuffle of the source with itself.
fn permute(l: &mut Lifter, by_vector: Op, by_imm: Op, bits: u32) -> Lifted {
    if !l.is_imm(2) {
        return binary(l, by_vector);
    }
    let (d, a) = (reg(l, 0)?, source(l, 1)?);
    let imm = imm8(l, 2);
    by_parts(l, by_imm, [d, a, a], imm, bits);
    Ok(())
}

/// A single from memory is in lane 0, whatever imm[7:6] says.
fn insertps(l: &mut Lifter) -> Lifted {
    let (a, b) = (reg(l, 1)?, source(l, 2)?);
    let imm = if l.is_mem(2) { imm8(l, 3) & 0x3f } else { imm8(l, 3) };
    low_only(l, Op::Insertps, a, b, imm)
}

fn extractps(l: &mut Lifter) -> Lifted {
    let s = reg(l, 1)?;
    let imm = imm8(l, 2);
    let t = l.b.temp();
    l.b.emit(Op::Pextrd, t, s, ZERO, ZERO, imm);
    if l.is_mem(0) { l.store(t, 0, 4) } else { l.write(0, t) }
}

/// Exact, so the halves need no common guard; the high one first, since the source may be the destination.
fn cvtdq2pd(l: &mut Lifter) -> Lifted {
    let (d, a) = (reg(l, 0)?, source(l, 1)?);
    if is_wide(l) {
        let t = l.b.vtemp();
        l.b.emit(Op::Psrldq, t, a, ZERO, ZERO, 8);
        l.b.emit(Op::Cvtdq2pd, d + HIGH, t, ZERO, ZERO, 0);
    }
    l.b.emit(Op::Cvtdq2pd, d, a, ZERO, ZERO, 0);
    if !is_wide(l) {
        clear_high(l, d);
    }
    Ok(())
}

fn from_integer(l: &mut Lifter, narrow: Op, wide: Op) -> Lifted {
    let a = reg(l, 1)?;
    let op = if l.size(2) == 8 { wide } else { narrow };
    let s = l.read(2)?;
    low_only(l, op, a, s, 0)
}

fn to_integer(l: &mut Lifter, narrow: Op, wide: Op) -> Lifted {
    let op = if l.size(0) == 8 { wide } else { narrow };
    let s = source(l, 1)?;
    let t = l.b.temp();
    l.b.emit(op, t, s, ZERO, ZERO, 0);
    l.write(0, t)
}
