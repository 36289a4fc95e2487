//! Packed integers: arithmetic, comparison, shifts, shuffles, widening (MMX, SSE2, SSSE3, SSE4), AES, CLMUL, SHA.

use iced_x86::Mnemonic;
use ir::{Op, ZERO};

use crate::Lifter;
use crate::lifter::{Lifted, Unsupported};
use crate::mmx;
use crate::table::{Row, rows};
use crate::vector::*;

pub(crate) const BINARY: &[Row] = rows!(binary:
    Pand Pandn Por Pxor
    Paddb Paddw Paddd Paddq Psubb Psubw Psubd Psubq
    Paddsb Paddsw Paddusb Paddusw Psubsb Psubsw Psubusb Psubusw Pavgb Pavgw
    Pminub Pminuw Pminud Pminsb Pminsw Pminsd Pmaxub Pmaxuw Pmaxud Pmaxsb Pmaxsw Pmaxsd
    Pcmpeqb Pcmpeqw Pcmpeqd Pcmpeqq Pcmpgtb Pcmpgtw Pcmpgtd Pcmpgtq
    Pmullw Pmulld Pmulhw Pmulhuw Pmulhrsw Pmuludq Pmuldq Psignb Psignw Psignd
    Pmaddwd Pmaddubsw Psadbw
    Phaddw Phaddd Phaddsw Phsubw Phsubd Phsubsw
    Packsswb Packuswb Packssdw Packusdw
    Punpcklbw Punpckhbw Punpcklwd Punpckhwd Punpckldq Punpckhdq Punpcklqdq Punpckhqdq
    Pshufb
    Aesenc Aesenclast Aesdec Aesdeclast
);

pub(crate) const SHA: &[Row] =
    rows!(sha: Sha1nexte Sha1msg1 Sha1msg2 Sha256msg1 Sha256msg2 Sha1rnds4 Sha256rnds2);

pub(crate) const UNARY: &[Row] = rows!(unary:
    Pabsb Pabsw Pabsd Phminposuw Aesimc
    Pmovsxbw Pmovsxbd Pmovsxbq Pmovsxwd Pmovsxwq Pmovsxdq
    Pmovzxbw Pmovzxbd Pmovzxbq Pmovzxwd Pmovzxwq Pmovzxdq
);

pub(crate) const UNARY_IMM: &[Row] = rows!(unary_imm: Pshufd Pshuflw Pshufhw Aeskeygenassist);

pub(crate) const BINARY_IMM: &[Row] = rows!(binary_imm: Mpsadbw Pclmulqdq Pblendw);

pub(crate) const MASKED: &[Row] = rows!(masked: Pblendvb);

pub(crate) const ROWS: &[Row] = &[
    (Mnemonic::Psllw, |l| shift(l, Op::Psllw, Op::Psllwi)),
    (Mnemonic::Pslld, |l| shift(l, Op::Pslld, Op::Pslldi)),
    (Mnemonic::Psllq, |l| shift(l, Op::Psllq, Op::Psllqi)),
    (Mnemonic::Psrlw, |l| shift(l, Op::Psrlw, Op::Psrlwi)),
    (Mnemonic::Psrld, |l| shift(l, Op::Psrld, Op::Psrldi)),
    (Mnemonic::Psrlq, |l| shift(l, Op::Psrlq, Op::Psrlqi)),
    (Mnemonic::Psraw, |l| shift(l, Op::Psraw, Op::Psrawi)),
    (Mnemonic::Psrad, |l| shift(l, Op::Psrad, Op::Psradi)),
    (Mnemonic::Pslldq, |l| shift(l, Op::Psllq, Op::Pslldq)),
    (Mnemonic::Psrldq, |l| shift(l, Op::Psrlq, Op::Psrldq)),
    (Mnemonic::Palignr, palignr),
    (Mnemonic::Pshufw, mmx::pshufw),
    (Mnemonic::Pmovmskb, |l| to_register(l, Op::Pmovmskb)),
    (Mnemonic::Ptest, |l| flags(l, Op::Ptest)),
    (Mnemonic::Pinsrb, |l| insert(l, Op::Pinsrb)),
    (Mnemonic::Pinsrw, |l| insert(l, Op::Pinsrw)),
    (Mnemonic::Pinsrd, |l| insert(l, Op::Pinsrd)),
    (Mnemonic::Pinsrq, |l| insert(l, Op::Pinsrq)),
    (Mnemonic::Pextrb, |l| extract(l, Op::Pextrb, 1)),
    (Mnemonic::Pextrw, |l| extract(l, Op::Pextrw, 2)),
    (Mnemonic::Pextrd, |l| extract(l, Op::Pextrd, 4)),
    (Mnemonic::Extractps, |l| extract(l, Op::Pextrd, 4)),
    (Mnemonic::Pextrq, |l| extract(l, Op::Pextrq, 8)),
    (Mnemonic::Pcmpistri, |l| text(l, Op::Pcmpistri, 0)),
    (Mnemonic::Pcmpistrm, |l| text(l, Op::Pcmpistrm, 0)),
    (Mnemonic::Pcmpestri, |l| text(l, Op::Pcmpestri, 0)),
    (Mnemonic::Pcmpestrm, |l| text(l, Op::Pcmpestrm, 0)),
    (Mnemonic::Pcmpestri64, |l| text(l, Op::Pcmpestri, 0x100)),
    (Mnemonic::Pcmpestrm64, |l| text(l, Op::Pcmpestrm, 0x100)),
];

/// SHA's memory operands need not be aligned; `sha256rnds2` also reads xmm0, `sha1rnds4` has an immediate.
fn sha(l: &mut Lifter, op: Op) -> Lifted {
    let d = reg(l, 0)?;
    let s = if l.is_mem(1) { load(l, false)? } else { reg(l, 1)? };
    let imm = if op == Op::Sha1rnds4 { imm8(l, 2) } else { 0 };
    l.b.emit(op, d, d, s, 0, imm);
    Ok(())
}

fn shift(l: &mut Lifter, by_vector: Op, by_imm: Op) -> Lifted {
    if !l.is_imm(1) {
        return binary(l, by_vector);
    }
    let imm = imm8(l, 1);
    if is_mm(l, 0) {
        let a = mmx::read(l, 0)?;
        l.b.emit(by_imm, a, a, ZERO, ZERO, imm);
        return mmx::write(l, 0, a);
    }
    let d = reg(l, 0)?;
    l.b.emit(by_imm, d, d, ZERO, ZERO, imm);
    Ok(())
}

fn palignr(l: &mut Lifter) -> Lifted {
    if is_mm(l, 0) { mmx::palignr(l) } else { binary_imm(l, Op::Palignr) }
}

fn insert(l: &mut Lifter, op: Op) -> Lifted {
    if is_mm(l, 0) {
        mmx::wait(l);
    }
    let x = if l.is_mem(1) {
        let t = l.b.temp();
        let bytes = l.ins.memory_size().size();
        l.load(t, 1, bytes)?;
        t
    } else {
        Lifter::gpr(l.ins.op_register(1))?.0
    };
    let imm = imm8(l, 2);
    if is_mm(l, 0) {
        let a = mmx::get(l, 0)?;
        l.b.emit(op, a, a, x, ZERO, imm & 3);
        return mmx::write(l, 0, a);
    }
    let d = reg(l, 0)?;
    l.b.emit(op, d, d, x, ZERO, imm);
    Ok(())
}

fn extract(l: &mut Lifter, op: Op, bytes: usize) -> Lifted {
    let imm = imm8(l, 2);
    let (s, imm) = if is_mm(l, 1) { (mmx::read(l, 1)?, imm & 3) } else { (reg(l, 1)?, imm) };
    let t = l.b.temp();
    l.b.emit(op, t, s, ZERO, ZERO, imm);
    if l.is_mem(0) { l.store(t, 0, bytes) } else { l.write(0, t) }
}

/// SSE4.2 text comparison; its memory operand need not be aligned.
fn text(l: &mut Lifter, op: Op, wide: i64) -> Lifted {
    let a = reg(l, 0)?;
    let b = if l.is_mem(1) { load(l, false)? } else { reg(l, 1)? };
    if !l.is_imm(2) {
        return Err(Unsupported);
    }
    let imm = imm8(l, 2) | wide;
    l.b.emit(op, ZERO, a, b, ZERO, imm);
    Ok(())
}
