//! Moving lanes: shuffles, unpacks, blends, insertion, widening, moves from and to general registers. The meanings are those
//! of [`ir::sem::shuffle`]. Engines know the processor's instructions again in a shuffle's constant.

use crate::emit::Emitter;
use ir::{Inst, Op};

/// The bytes that lanes of `size` bytes are, given as lanes of `a` and then `b`.
fn bytes(size: usize, lanes: impl Fn(usize) -> usize) -> [u8; 16] {
    std::array::from_fn(|i| (lanes(i / size) * size + i % size) as u8)
}

/// The two-bit field `i` of a shuffle's immediate.
fn field(imm: i64, i: usize) -> usize {
    (imm >> (2 * i) & 3) as usize
}

/// The bytes of `a` and `b` that the op's result is made of.
fn picked(inst: &Inst) -> Option<[u8; 16]> {
    use Op::*;
    let imm = inst.imm;
    // Interleaves from lane `from` on.
    let unpack = |size: usize, from: usize| {
        let n = 16 / size;
        bytes(size, |i| if i % 2 == 0 { from + i / 2 } else { n + from + i / 2 })
    };
    let blend = |size: usize| {
        let n = 16 / size;
        bytes(size, |i| if imm >> i & 1 != 0 { n + i } else { i })
    };
    Some(match inst.op {
        Punpcklbw => unpack(1, 0),
        Punpckhbw => unpack(1, 8),
        Punpcklwd => unpack(2, 0),
        Punpckhwd => unpack(2, 4),
        Punpckldq => unpack(4, 0),
        Punpckhdq => unpack(4, 2),
        Punpcklqdq | Movlhps => unpack(8, 0),
        Punpckhqdq => unpack(8, 1),
        Movss => bytes(4, |i| if i == 0 { 4 } else { i }),
        Movsd => bytes(8, |i| if i == 0 { 2 } else { i }),
        Movhlps => bytes(8, |i| if i == 0 { 3 } else { 1 }),
        Shufps => bytes(4, |i| field(imm, i) + if i < 2 { 0 } else { 4 }),
        Shufpd => bytes(8, |i| (imm >> i & 1) as usize + 2 * i),
        Pblendw => blend(2),
        Blendps => blend(4),
        Blendpd => blend(8),
        _ => return None,
    })
}

/// The bytes of `a` that the op's result is made of.
fn permuted(inst: &Inst) -> Option<[u8; 16]> {
    use Op::*;
    let imm = inst.imm;
    Some(match inst.op {
        Pshufd => bytes(4, |i| field(imm, i)),
        Pshuflw => bytes(2, |i| if i < 4 { field(imm, i) } else { i }),
        Pshufhw => bytes(2, |i| if i < 4 { i } else { 4 + field(imm, i - 4) }),
        Movddup => bytes(8, |_| 0),
        Movsldup => bytes(4, |i| i & !1),
        Movshdup => bytes(4, |i| i | 1),
        Broadcast8 => [0; 16],
        Broadcast16 => bytes(2, |_| 0),
        Broadcast32 => bytes(4, |_| 0),
        _ => return None,
    })
}

/// An op that moves lanes. False if it is none, or if there is nothing better than the helper.
pub fn emit(e: &mut Emitter, inst: &Inst) -> bool {
    if let Some(lanes) = picked(inst) {
        e.get_vector(inst.a);
        e.get_vector(inst.b);
        e.wasm().i8x16_shuffle(lanes);
        e.set_vector(inst.d);
        return true;
    }
    if let Some(lanes) = permuted(inst) {
        e.get_vector(inst.a);
        e.get_vector(inst.a);
        e.wasm().i8x16_shuffle(lanes);
        e.set_vector(inst.d);
        return true;
    }
    if to_register(e, inst) {
        return true;
    }
    if !(bytewise(e, inst) || from_register(e, inst) || widen(e, inst) || blend(e, inst)) {
        return false;
    }
    e.set_vector(inst.d);
    true
}

/// Shifts of all bytes, and byte shuffles; [`Op::Movq`].
fn bytewise(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    let count = usize::from(inst.imm as u8).min(32);
    let from = |n: usize| std::array::from_fn(|i| (n + i) as u8);
    match inst.op {
        VMov => e.get_vector(inst.a),
        Movq => {
            e.get_vector(inst.a);
            e.wasm().v128_const(0).i8x16_shuffle(bytes(8, |i| 2 * i));
        }
        Pslldq => {
            e.wasm().v128_const(0);
            e.get_vector(inst.a);
            e.wasm().i8x16_shuffle(from(16 - count.min(16)));
        }
        Psrldq => {
            e.get_vector(inst.a);
            e.wasm().v128_const(0).i8x16_shuffle(from(count.min(16)));
        }
        Palignr if count <= 16 => {
            e.get_vector(inst.b);
            e.get_vector(inst.a);
            e.wasm().i8x16_shuffle(from(count));
        }
        Palignr => {
            e.get_vector(inst.a);
            e.wasm().v128_const(0).i8x16_shuffle(from(count - 16));
        }
        Pshufb => {
            // A swizzle gives 0 for all indices over 15.
            e.get_vector(inst.a);
            e.get_vector(inst.b);
            e.wasm().v128_const(i128::from_le_bytes([0x8F; 16])).v128_and().i8x16_swizzle();
        }
        Insertps => {
            let (from, to) = (field(inst.imm, 3), field(inst.imm, 2));
            e.get_vector(inst.a);
            e.get_vector(inst.b);
            e.wasm().i8x16_shuffle(bytes(4, |i| if i == to { 4 + from } else { i }));
            if inst.imm & 15 != 0 {
                let kept = |i: usize| if inst.imm >> (i / 4) & 1 != 0 { 0 } else { 0xFF };
                e.wasm().v128_const(i128::from_le_bytes(std::array::from_fn(kept))).v128_and();
            }
        }
        _ => return false,
    }
    true
}

fn to_register(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    if !matches!(inst.op, VToR32 | VToR64 | VHighR64 | Pextrb | Pextrw | Pextrd | Pextrq) {
        return false;
    }
    let lane = |lanes: i64| (inst.imm & (lanes - 1)) as u8;
    e.get_vector(inst.a);
    let mut w = e.wasm();
    match inst.op {
        VToR32 => w.i32x4_extract_lane(0).i64_extend_i32_u(),
        VToR64 => w.i64x2_extract_lane(0),
        VHighR64 => w.i64x2_extract_lane(1),
        Pextrb => w.i8x16_extract_lane_u(lane(16)).i64_extend_i32_u(),
        Pextrw => w.i16x8_extract_lane_u(lane(8)).i64_extend_i32_u(),
        Pextrd => w.i32x4_extract_lane(lane(4)).i64_extend_i32_u(),
        _ => w.i64x2_extract_lane(lane(2)),
    };
    e.set(inst.d);
    true
}

fn from_register(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    let lane = |lanes: i64| (inst.imm & (lanes - 1)) as u8;
    match inst.op {
        VFromR32 | VFromR64 => {
            e.wasm().v128_const(0);
            if inst.op == VFromR32 {
                e.get32(inst.a);
                e.wasm().i32x4_replace_lane(0);
            } else {
                e.get(inst.a);
                e.wasm().i64x2_replace_lane(0);
            }
        }
        Pinsrb | Pinsrw | Pinsrd => {
            e.get_vector(inst.a);
            e.get32(inst.b);
            match inst.op {
                Pinsrb => e.wasm().i8x16_replace_lane(lane(16)),
                Pinsrw => e.wasm().i16x8_replace_lane(lane(8)),
                _ => e.wasm().i32x4_replace_lane(lane(4)),
            };
        }
        Pinsrq => {
            e.get_vector(inst.a);
            e.get(inst.b);
            e.wasm().i64x2_replace_lane(lane(2));
        }
        _ => return false,
    }
    true
}

/// Low lanes made wider, by one step after the other.
fn widen(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    // From 8, 16, 32 bits; by one to three steps.
    let (from, steps, signed) = match inst.op {
        Pmovsxbw => (0, 1, true),
        Pmovsxbd => (0, 2, true),
        Pmovsxbq => (0, 3, true),
        Pmovsxwd => (1, 1, true),
        Pmovsxwq => (1, 2, true),
        Pmovsxdq => (2, 1, true),
        Pmovzxbw => (0, 1, false),
        Pmovzxbd => (0, 2, false),
        Pmovzxbq => (0, 3, false),
        Pmovzxwd => (1, 1, false),
        Pmovzxwq => (1, 2, false),
        Pmovzxdq => (2, 1, false),
        _ => return false,
    };
    e.get_vector(inst.a);
    let mut w = e.wasm();
    for step in from..from + steps {
        match (step, signed) {
            (0, true) => w.i16x8_extend_low_i8x16_s(),
            (0, false) => w.i16x8_extend_low_i8x16_u(),
            (1, true) => w.i32x4_extend_low_i16x8_s(),
            (1, false) => w.i32x4_extend_low_i16x8_u(),
            (_, true) => w.i64x2_extend_low_i32x4_s(),
            (_, false) => w.i64x2_extend_low_i32x4_u(),
        };
    }
    true
}

/// Lanes of `b` where the sign of the mask's lane is set, else of `a`.
fn blend(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    if !matches!(inst.op, Pblendvb | Blendvps | Blendvpd) {
        return false;
    }
    e.get_vector(inst.b);
    e.get_vector(inst.a);
    e.get_vector(inst.c);
    match inst.op {
        Pblendvb => e.wasm().i32_const(7).i8x16_shr_s(),
        Blendvps => e.wasm().i32_const(31).i32x4_shr_s(),
        _ => e.wasm().i32_const(63).i64x2_shr_s(),
    };
    e.wasm().v128_bitselect();
    true
}
