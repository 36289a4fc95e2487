//! AVX and AVX2: moves, broadcasts, exchange of halves, masked moves, gathers.

use iced_x86::Mnemonic::{self, *};
use iced_x86::Register;
use ir::ops::Gather;
use ir::{HIGH, Op, ZERO};

use crate::Lifter;
use crate::avx::*;
use crate::lifter::{Lifted, Unsupported};
use crate::sse_move::maskmovdqu;
use crate::table::Row;
use crate::vector::{imm8, store};

pub(crate) const ROWS: &[Row] = &[
    (Vmovaps, |l| full(l, true)),
    (Vmovapd, |l| full(l, true)),
    (Vmovdqa, |l| full(l, true)),
    (Vmovntps, |l| full(l, true)),
    (Vmovntpd, |l| full(l, true)),
    (Vmovntdq, |l| full(l, true)),
    (Vmovntdqa, |l| full(l, true)),
    (Vmovups, |l| full(l, false)),
    (Vmovupd, |l| full(l, false)),
    (Vmovdqu, |l| full(l, false)),
    (Vlddqu, |l| full(l, false)),
    (Vmovss, |l| scalar(l, Op::Movss, Op::VStore32)),
    (Mnemonic::Vmovsd, |l| scalar(l, Op::Movsd, Op::VStore64)),
    (Vmovlps, low_half),
    (Vmovlpd, low_half),
    (Vmovhps, high_half),
    (Vmovhpd, high_half),
    (Vmovlhps, |l| binary(l, Op::Movlhps)),
    (Vmovhlps, |l| binary(l, Op::Movhlps)),
    (Vmovq, |l| general(l, Op::VFromR64, Op::VToR64, Op::VStore64)),
    (Vmovd, |l| general(l, Op::VFromR32, Op::VToR32, Op::VStore32)),
    (Vmovddup, |l| unary(l, Op::Movddup)),
    (Vmovsldup, |l| unary(l, Op::Movsldup)),
    (Vmovshdup, |l| unary(l, Op::Movshdup)),
    (Vbroadcastss, |l| broadcast(l, Op::Broadcast32)),
    (Vbroadcastsd, |l| broadcast(l, Op::Movddup)),
    (Vbroadcastf128, |l| broadcast(l, Op::VMov)),
    (Vbroadcasti128, |l| broadcast(l, Op::VMov)),
    (Vpbroadcastb, |l| broadcast(l, Op::Broadcast8)),
    (Vpbroadcastw, |l| broadcast(l, Op::Broadcast16)),
    (Vpbroadcastd, |l| broadcast(l, Op::Broadcast32)),
    (Vpbroadcastq, |l| broadcast(l, Op::Movddup)),
    (Vextractf128, extract_half),
    (Vextracti128, extract_half),
    (Vinsertf128, insert_half),
    (Vinserti128, insert_half),
    (Vperm2f128, two_halves),
    (Vperm2i128, two_halves),
    (Vmaskmovdqu, maskmovdqu),
    (Vmaskmovps, |l| masked_move(l, Op::MaskLoad32, Op::MaskProbe32, Op::MaskStore32)),
    (Vmaskmovpd, |l| masked_move(l, Op::MaskLoad64, Op::MaskProbe64, Op::MaskStore64)),
    (Vpmaskmovd, |l| masked_move(l, Op::MaskLoad32, Op::MaskProbe32, Op::MaskStore32)),
    (Vpmaskmovq, |l| masked_move(l, Op::MaskLoad64, Op::MaskProbe64, Op::MaskStore64)),
    (Vgatherdps, |l| gather(l, 0)),
    (Vgatherdpd, |l| gather(l, Gather::WIDE_LANE)),
    (Vgatherqps, |l| gather(l, Gather::WIDE_INDEX)),
    (Vgatherqpd, |l| gather(l, Gather::WIDE_INDEX | Gather::WIDE_LANE)),
    (Vpgatherdd, |l| gather(l, 0)),
    (Vpgatherdq, |l| gather(l, Gather::WIDE_LANE)),
    (Vpgatherqd, |l| gather(l, Gather::WIDE_INDEX)),
    (Vpgatherqq, |l| gather(l, Gather::WIDE_INDEX | Gather::WIDE_LANE)),
];

/// All bits. Aligned to the size of the operand, if `aligned`.
fn full(l: &mut Lifter, aligned: bool) -> Lifted {
    let wide = is_wide(l);
    if !l.is_mem(0) && !l.is_mem(1) {
        return unary(l, Op::VMov);
    }
    let mem = l.mem()?;
    if aligned && wide {
        l.access(Op::Align32, ZERO, mem);
    }
    let store = l.is_mem(0);
    let d = reg(l, u32::from(store))?;
    if wide && !store {
        // The second load is the last that may fault.
        let t = l.b.vtemp();
        l.access(Op::VLoad128, t, mem);
        l.access(Op::VLoad128, d + HIGH, Lifter::offset(mem, 16));
        copy(l, d, t);
        return Ok(());
    }
    let op = match (store, wide, aligned) {
        (false, _, false) => Op::VLoad128,
        (false, _, true) => Op::VLoadA128,
        (true, true, _) => Op::VStore256,
        (true, false, true) => Op::VStoreA128,
        (true, false, false) => Op::VStore128,
    };
    l.access(op, d, mem);
    if !store {
        clear_high(l, d);
    }
    Ok(())
}

/// vmovss, vmovsd: a load clears the rest, the form of three registers merges.
fn scalar(l: &mut Lifter, merge: Op, store_op: Op) -> Lifted {
    if l.is_mem(0) {
        let s = reg(l, 1)?;
        return store(l, store_op, s);
    }
    if l.is_mem(1) {
        let (d, s) = (reg(l, 0)?, load(l)?);
        copy(l, d, s);
        clear_high(l, d);
        return Ok(());
    }
    binary(l, merge)
}

fn low_half(l: &mut Lifter) -> Lifted {
    if l.is_mem(0) {
        let s = reg(l, 1)?;
        return store(l, Op::VStore64, s);
    }
    binary(l, Op::Movsd)
}

fn high_half(l: &mut Lifter) -> Lifted {
    if l.is_mem(0) {
        let s = reg(l, 1)?;
        let t = l.b.temp();
        l.b.emit(Op::VHighR64, t, s, ZERO, ZERO, 0);
        return l.store(t, 0, 8);
    }
    binary(l, Op::Movlhps)
}

/// vmovd, vmovq.
fn general(l: &mut Lifter, from: Op, to: Op, store_op: Op) -> Lifted {
    if l.is_mem(0) {
        let s = reg(l, 1)?;
        return store(l, store_op, s);
    }
    if l.ins.op_register(0).is_gpr() {
        let s = reg(l, 1)?;
        let t = l.b.temp();
        l.b.emit(to, t, s, ZERO, ZERO, 0);
        return l.write(0, t);
    }
    if l.is_reg(1) && l.ins.op_register(1).is_gpr() {
        let (s, _) = Lifter::gpr(l.ins.op_register(1))?;
        return low_only(l, from, s, ZERO, 0);
    }
    // What a load zero-extended needs no second time; a register does.
    unary(l, if l.is_mem(1) { Op::VMov } else { Op::Movq })
}

/// `op` spreads the first element over 128 bits; both halves get that.
fn broadcast(l: &mut Lifter, op: Op) -> Lifted {
    let (d, s) = (reg(l, 0)?, source(l, 1)?);
    l.b.emit(op, d, s, ZERO, ZERO, 0);
    if is_wide(l) && l.ins.op_register(0).is_ymm() {
        copy(l, d + HIGH, d);
    } else {
        clear_high(l, d);
    }
    Ok(())
}

fn extract_half(l: &mut Lifter) -> Lifted {
    let s = reg(l, 1)?;
    let from = if imm8(l, 2) & 1 != 0 { s + HIGH } else { s };
    if l.is_mem(0) {
        return store(l, Op::VStore128, from);
    }
    low_only(l, Op::VMov, from, ZERO, 0)
}

fn insert_half(l: &mut Lifter) -> Lifted {
    let (d, a, b) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    let t = l.b.vtemp();
    copy(l, t, b);
    let (replaced, kept) = if imm8(l, 3) & 1 != 0 { (HIGH, 0) } else { (0, HIGH) };
    copy(l, d + kept, a + kept);
    copy(l, d + replaced, t);
    Ok(())
}

/// Each half is one of four, or zero.
fn two_halves(l: &mut Lifter) -> Lifted {
    let (d, a, b) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    let t = l.b.vtemp();
    let imm = imm8(l, 3);
    for (to, choice) in [(t, imm), (t + HIGH, imm >> 4)] {
        let from = [a, a + HIGH, b, b + HIGH][(choice & 3) as usize];
        if choice & 8 != 0 { clear(l, to) } else { copy(l, to, from) }
    }
    halves(l, Op::VMov, d, t, ZERO, 0);
    Ok(())
}

/// Elements chosen by the top bits of a mask, from or to memory; the halves one after the other.
fn masked_move(l: &mut Lifter, load: Op, probe: Op, store: Op) -> Lifted {
    let wide = is_wide(l);
    let mem = l.mem()?;
    let parts: &[u8] = if wide { &[0, HIGH] } else { &[0] };
    let at = |part: u8| Lifter::offset(mem, i64::from(part));
    let mask = reg(l, 1)?;
    let (low, high) = (l.b.vtemp(), l.b.vtemp());
    let temp = |part: u8| if part == 0 { low } else { high };
    for &part in parts {
        copy(l, temp(part) + HIGH, mask + part);
    }
    if l.is_mem(0) {
        let s = reg(l, 2)?;
        for &part in parts {
            copy(l, temp(part), s + part);
        }
        if wide {
            l.access(probe, low, at(0));
            l.access(probe, high, at(HIGH));
        }
        for &part in parts {
            l.access(store, temp(part), at(part));
        }
        return Ok(());
    }
    let d = reg(l, 0)?;
    for &part in parts {
        l.access(load, temp(part), at(part));
    }
    copy(l, d, low);
    if wide {
        copy(l, d + HIGH, high);
    } else {
        clear_high(l, d);
    }
    Ok(())
}

/// Destination, index and mask must be three registers (else #UD).
fn gather(l: &mut Lifter, kind: i64) -> Lifted {
    let (d, mask) = (reg(l, 0)?, reg(l, 2)?);
    let index = l.ins.memory_index();
    if !(index.is_xmm() || index.is_ymm()) {
        return Err(Unsupported);
    }
    let slot = index.number() as u8;
    if d == mask || d == slot || mask == slot {
        return Err(Unsupported);
    }
    let narrow = l.ins.memory_base() != Register::None && l.ins.memory_base().size() == 4;
    let narrow = narrow || l.ins.memory_base() == Register::None && l.ins.memory_displ_size() == 4;
    let base = match l.ins.memory_base() {
        Register::None => ZERO,
        r => Lifter::gpr(r)?.0,
    };
    let t = l.b.temp();
    let displacement = l.ins.memory_displacement64() as i64;
    l.b.emit(Op::Lea, t, base, ZERO, 0, displacement);
    let scale = i64::from(l.ins.memory_index_scale().trailing_zeros());
    // As many lanes as both the index and the destination have.
    let size = |bits: i64, wide: bool| (if wide { 256 } else { 128 }) / bits;
    let index_bits = if kind & Gather::WIDE_INDEX != 0 { 64 } else { 32 };
    let lane_bits = if kind & Gather::WIDE_LANE != 0 { 64 } else { 32 };
    let lanes =
        size(index_bits, index.is_ymm()).min(size(lane_bits, l.ins.op_register(0).is_ymm()));
    let imm = kind
        | scale
        | if narrow { Gather::ADDR32 } else { 0 }
        | i64::from(mask) << Gather::MASK_SHIFT
        | lanes << Gather::LANES_SHIFT;
    let segment = l.segment_base();
    l.b.emit(Op::Gather, d, t, segment, slot, imm);
    Ok(())
}
