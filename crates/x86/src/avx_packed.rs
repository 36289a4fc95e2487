//! AVX and AVX2: packed integers, AES, CLMUL, text comparison.

use iced_x86::Mnemonic::*;
use ir::{HIGH, Op, ZERO};

use crate::Lifter;
use crate::avx::*;
use crate::lifter::{Lifted, Unsupported};
use crate::table::{Row, vex};
use crate::vector::imm8;

pub(crate) const BINARY: &[Row] = vex!(binary:
    Vpand Pand, Vpandn Pandn, Vpor Por, Vpxor Pxor,
    Vpaddb Paddb, Vpaddw Paddw, Vpaddd Paddd, Vpaddq Paddq,
    Vpsubb Psubb, Vpsubw Psubw, Vpsubd Psubd, Vpsubq Psubq,
    Vpaddsb Paddsb, Vpaddsw Paddsw, Vpaddusb Paddusb, Vpaddusw Paddusw,
    Vpsubsb Psubsb, Vpsubsw Psubsw, Vpsubusb Psubusb, Vpsubusw Psubusw, Vpavgb Pavgb, Vpavgw Pavgw,
    Vpminub Pminub, Vpminuw Pminuw, Vpminud Pminud, Vpminsb Pminsb, Vpminsw Pminsw, Vpminsd Pminsd,
    Vpmaxub Pmaxub, Vpmaxuw Pmaxuw, Vpmaxud Pmaxud, Vpmaxsb Pmaxsb, Vpmaxsw Pmaxsw, Vpmaxsd Pmaxsd,
    Vpcmpeqb Pcmpeqb, Vpcmpeqw Pcmpeqw, Vpcmpeqd Pcmpeqd, Vpcmpeqq Pcmpeqq,
    Vpcmpgtb Pcmpgtb, Vpcmpgtw Pcmpgtw, Vpcmpgtd Pcmpgtd, Vpcmpgtq Pcmpgtq,
    Vpmullw Pmullw, Vpmulld Pmulld, Vpmulhw Pmulhw, Vpmulhuw Pmulhuw, Vpmulhrsw Pmulhrsw,
    Vpmuludq Pmuludq, Vpmuldq Pmuldq, Vpsignb Psignb, Vpsignw Psignw, Vpsignd Psignd,
    Vpmaddwd Pmaddwd, Vpmaddubsw Pmaddubsw, Vpsadbw Psadbw,
    Vphaddw Phaddw, Vphaddd Phaddd, Vphaddsw Phaddsw, Vphsubw Phsubw, Vphsubd Phsubd, Vphsubsw Phsubsw,
    Vpacksswb Packsswb, Vpackuswb Packuswb, Vpackssdw Packssdw, Vpackusdw Packusdw,
    Vpunpcklbw Punpcklbw, Vpunpckhbw Punpckhbw, Vpunpcklwd Punpcklwd, Vpunpckhwd Punpckhwd,
    Vpunpckldq Punpckldq, Vpunpckhdq Punpckhdq, Vpunpcklqdq Punpcklqdq, Vpunpckhqdq Punpckhqdq,
    Vpshufb Pshufb, Vaesenc Aesenc, Vaesenclast Aesenclast, Vaesdec Aesdec, Vaesdeclast Aesdeclast,
    Vpsllvd Psllvd, Vpsllvq Psllvq, Vpsrlvd Psrlvd, Vpsrlvq Psrlvq, Vpsravd Psravd,
);

pub(crate) const UNARY: &[Row] = vex!(unary:
    Vpabsb Pabsb, Vpabsw Pabsw, Vpabsd Pabsd, Vphminposuw Phminposuw, Vaesimc Aesimc,
);

pub(crate) const WIDENING: &[Row] = vex!(widening:
    Vpmovsxbw Pmovsxbw, Vpmovsxbd Pmovsxbd, Vpmovsxbq Pmovsxbq,
    Vpmovsxwd Pmovsxwd, Vpmovsxwq Pmovsxwq, Vpmovsxdq Pmovsxdq,
    Vpmovzxbw Pmovzxbw, Vpmovzxbd Pmovzxbd, Vpmovzxbq Pmovzxbq,
    Vpmovzxwd Pmovzxwd, Vpmovzxwq Pmovzxwq, Vpmovzxdq Pmovzxdq,
);

pub(crate) const ROWS: &[Row] = &[
    (Vpshufd, |l| unary_imm(l, Op::Pshufd)),
    (Vpshuflw, |l| unary_imm(l, Op::Pshuflw)),
    (Vpshufhw, |l| unary_imm(l, Op::Pshufhw)),
    (Vaeskeygenassist, |l| unary_imm(l, Op::Aeskeygenassist)),
    (Vpclmulqdq, |l| binary_imm(l, Op::Pclmulqdq)),
    (Vpblendw, |l| binary_imm(l, Op::Pblendw)),
    (Vpalignr, |l| binary_imm(l, Op::Palignr)),
    (Vpblendd, blend_doublewords),
    (Vmpsadbw, mpsadbw),
    (Vpblendvb, |l| masked(l, Op::Pblendvb)),
    (Vpsllw, |l| shift(l, Op::Psllw, Op::Psllwi)),
    (Vpslld, |l| shift(l, Op::Pslld, Op::Pslldi)),
    (Vpsllq, |l| shift(l, Op::Psllq, Op::Psllqi)),
    (Vpsrlw, |l| shift(l, Op::Psrlw, Op::Psrlwi)),
    (Vpsrld, |l| shift(l, Op::Psrld, Op::Psrldi)),
    (Vpsrlq, |l| shift(l, Op::Psrlq, Op::Psrlqi)),
    (Vpsraw, |l| shift(l, Op::Psraw, Op::Psrawi)),
    (Vpsrad, |l| shift(l, Op::Psrad, Op::Psradi)),
    (Vpslldq, |l| unary_imm(l, Op::Pslldq)),
    (Vpsrldq, |l| unary_imm(l, Op::Psrldq)),
    (Vpmovmskb, |l| to_register(l, Op::Pmovmskb, 16)),
    (Vptest, |l| flags_of_all(l, Op::Ptest)),
    (Vpermq, permute_quadwords),
    (Vpermpd, permute_quadwords),
    (Vpermd, permute_doublewords),
    (Vpermps, permute_doublewords),
    (Vpinsrb, |l| insert(l, Op::Pinsrb)),
    (Vpinsrw, |l| insert(l, Op::Pinsrw)),
    (Vpinsrd, |l| insert(l, Op::Pinsrd)),
    (Vpinsrq, |l| insert(l, Op::Pinsrq)),
    (Vpextrb, |l| extract(l, Op::Pextrb, 1)),
    (Vpextrw, |l| extract(l, Op::Pextrw, 2)),
    (Vpextrd, |l| extract(l, Op::Pextrd, 4)),
    (Vpextrq, |l| extract(l, Op::Pextrq, 8)),
    (Vpcmpistri, |l| text(l, Op::Pcmpistri, 0)),
    (Vpcmpistrm, |l| text(l, Op::Pcmpistrm, 0)),
    (Vpcmpestri, |l| text(l, Op::Pcmpestri, 0)),
    (Vpcmpestrm, |l| text(l, Op::Pcmpestrm, 0)),
    (Vpcmpestri64, |l| text(l, Op::Pcmpestri, 0x100)),
    (Vpcmpestrm64, |l| text(l, Op::Pcmpestrm, 0x100)),
];

/// vpmovsx, vpmovzx: the high half comes from the source's second part.
fn widening(l: &mut Lifter, op: Op) -> Lifted {
    let (d, s) = (reg(l, 0)?, source(l, 1)?);
    if is_wide(l) {
        let t = l.b.vtemp();
        // The source has as many elements as the destination: half of its bytes.
        let part = match op {
            Op::Pmovsxbw | Op::Pmovsxwd | Op::Pmovsxdq => 8,
            Op::Pmovzxbw | Op::Pmovzxwd | Op::Pmovzxdq => 8,
            Op::Pmovsxbd | Op::Pmovsxwq | Op::Pmovzxbd | Op::Pmovzxwq => 4,
            _ => 2,
        };
        l.b.emit(Op::Psrldq, t, s, ZERO, ZERO, part);
        l.b.emit(op, d, s, ZERO, ZERO, 0);
        l.b.emit(op, d + HIGH, t, ZERO, ZERO, 0);
    } else {
        l.b.emit(op, d, s, ZERO, ZERO, 0);
        clear_high(l, d);
    }
    Ok(())
}

/// By an immediate, or all elements by the low quadword of an XMM register or 16 bytes of memory.
fn shift(l: &mut Lifter, by_vector: Op, by_imm: Op) -> Lifted {
    if l.is_imm(2) {
        return unary_imm(l, by_imm);
    }
    let (d, a, count) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    if !is_wide(l) {
        halves(l, by_vector, d, a, count, 0);
        return Ok(());
    }
    // The count may be in the destination.
    let t = l.b.vtemp();
    copy(l, t, count);
    l.b.emit(by_vector, d, a, t, ZERO, 0);
    l.b.emit(by_vector, d + HIGH, a + HIGH, t, ZERO, 0);
    Ok(())
}

/// One immediate bit for each of eight doublewords.
fn blend_doublewords(l: &mut Lifter) -> Lifted {
    let (d, a, b) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    halves_imm(l, Op::Blendps, [d, a, b], |imm| [imm & 15, imm >> 4]);
    Ok(())
}

/// Bits 2:0 are for the low half, 5:3 for the high one.
fn mpsadbw(l: &mut Lifter) -> Lifted {
    let (d, a, b) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    halves_imm(l, Op::Mpsadbw, [d, a, b], |imm| [imm & 7, imm >> 3 & 7]);
    Ok(())
}

/// `op` on both halves with an immediate for each.
fn halves_imm(l: &mut Lifter, op: Op, [d, a, b]: [u8; 3], split: fn(i64) -> [i64; 2]) {
    let [low, high] = split(imm8(l, 3));
    l.b.emit(op, d, a, b, ZERO, low);
    if is_wide(l) {
        l.b.emit(op, d + HIGH, a + HIGH, b + HIGH, ZERO, high);
    } else {
        clear_high(l, d);
    }
}

/// Four quadwords, each one of four chosen by two bits of the immediate.
fn permute_quadwords(l: &mut Lifter) -> Lifted {
    let (d, s) = (reg(l, 0)?, source(l, 1)?);
    let imm = imm8(l, 2);
    let t = l.b.vtemp();
    for (to, choice) in [(t, imm & 15), (t + HIGH, imm >> 4)] {
        let (first, second) = (choice & 3, choice >> 2);
        let half = |n: i64| if n & 2 != 0 { s + HIGH } else { s };
        l.b.emit(Op::Shufpd, to, half(first), half(second), ZERO, first & 1 | (second & 1) << 1);
    }
    halves(l, Op::VMov, d, t, ZERO, 0);
    Ok(())
}

/// Eight doublewords of operand 2, chosen by those of operand 1.
fn permute_doublewords(l: &mut Lifter) -> Lifted {
    let (d, index, s) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    let t = l.b.vtemp();
    l.b.emit(Op::Permd, t, index, s, s + HIGH, 0);
    l.b.emit(Op::Permd, t + HIGH, index + HIGH, s, s + HIGH, 0);
    halves(l, Op::VMov, d, t, ZERO, 0);
    Ok(())
}

fn insert(l: &mut Lifter, op: Op) -> Lifted {
    let a = reg(l, 1)?;
    let x = if l.is_mem(2) {
        let t = l.b.temp();
        let bytes = l.ins.memory_size().size();
        l.load(t, 2, bytes)?;
        t
    } else {
        Lifter::gpr(l.ins.op_register(2))?.0
    };
    let imm = imm8(l, 3);
    low_only(l, op, a, x, imm)
}

fn extract(l: &mut Lifter, op: Op, bytes: usize) -> Lifted {
    let (s, imm) = (reg(l, 1)?, imm8(l, 2));
    let t = l.b.temp();
    l.b.emit(op, t, s, ZERO, ZERO, imm);
    if l.is_mem(0) { l.store(t, 0, bytes) } else { l.write(0, t) }
}

/// SSE4.2 text comparison; the mask forms clear the high half of YMM0.
fn text(l: &mut Lifter, op: Op, wide: i64) -> Lifted {
    let (a, b) = (reg(l, 0)?, source(l, 1)?);
    if !l.is_imm(2) {
        return Err(Unsupported);
    }
    let imm = imm8(l, 2) | wide;
    l.b.emit(op, ZERO, a, b, ZERO, imm);
    if matches!(op, Op::Pcmpistrm | Op::Pcmpestrm) {
        clear_high(l, 0);
    }
    Ok(())
}
