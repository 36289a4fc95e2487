//! Packed integers: arithmetic, comparisons, shifts. The meanings are those of [`ir::sem::packed`].

use crate::emit::{Emitter, X};
use ir::{Inst, Op};
use wasm_encoder::InstructionSink;

/// Wasm's instruction of the same meaning.
type Same = for<'e, 's> fn(&'e mut InstructionSink<'s>) -> &'e mut InstructionSink<'s>;

macro_rules! same {
    ($($op:ident $wasm:ident)*) => {
        fn same(op: Op) -> Option<Same> {
            Some(match op {
                $(Op::$op => |w| w.$wasm(),)*
                _ => return None,
            })
        }
    };
}

// Of two vectors `a` and `b` in this order.
same! {
    Pand v128_and Por v128_or Pxor v128_xor
    Paddb i8x16_add Paddw i16x8_add Paddd i32x4_add Paddq i64x2_add
    Psubb i8x16_sub Psubw i16x8_sub Psubd i32x4_sub Psubq i64x2_sub
    Paddsb i8x16_add_sat_s Paddsw i16x8_add_sat_s Paddusb i8x16_add_sat_u Paddusw i16x8_add_sat_u
    Psubsb i8x16_sub_sat_s Psubsw i16x8_sub_sat_s Psubusb i8x16_sub_sat_u Psubusw i16x8_sub_sat_u
    Pavgb i8x16_avgr_u Pavgw i16x8_avgr_u
    Pminub i8x16_min_u Pminuw i16x8_min_u Pminud i32x4_min_u
    Pminsb i8x16_min_s Pminsw i16x8_min_s Pminsd i32x4_min_s
    Pmaxub i8x16_max_u Pmaxuw i16x8_max_u Pmaxud i32x4_max_u
    Pmaxsb i8x16_max_s Pmaxsw i16x8_max_s Pmaxsd i32x4_max_s
    Pcmpeqb i8x16_eq Pcmpeqw i16x8_eq Pcmpeqd i32x4_eq Pcmpeqq i64x2_eq
    Pcmpgtb i8x16_gt_s Pcmpgtw i16x8_gt_s Pcmpgtd i32x4_gt_s Pcmpgtq i64x2_gt_s
    Pmullw i16x8_mul Pmulld i32x4_mul Pmaddwd i32x4_dot_i16x8_s
    Packsswb i8x16_narrow_i16x8_s Packuswb i8x16_narrow_i16x8_u
    Packssdw i16x8_narrow_i32x4_s Packusdw i16x8_narrow_i32x4_u
}

/// Even and odd words of two vectors, as bytes.
const WORDS: [[u8; 16]; 2] = [
    [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29],
    [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31],
];
/// Even and odd doublewords of two vectors, as bytes.
const DOUBLEWORDS: [[u8; 16]; 2] = [
    [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27],
    [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31],
];
/// Doublewords 0, 2, 0, 2 of one vector, as bytes.
const EVEN: [u8; 16] = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];

/// A packed integer op. False if it is none, or if there is nothing better than the helper.
pub fn emit(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    match inst.op {
        Pxor if inst.a == inst.b => {
            e.wasm().v128_const(0);
        }
        Pcmpeqb | Pcmpeqw | Pcmpeqd | Pcmpeqq if inst.a == inst.b => {
            e.wasm().v128_const(-1);
        }
        Pandn => {
            e.get_vector(inst.b);
            e.get_vector(inst.a);
            e.wasm().v128_andnot();
        }
        Pmulhw | Pmulhuw => {
            both(e, inst);
            let w = &mut e.wasm();
            let _ = if inst.op == Pmulhw {
                w.i32x4_extmul_low_i16x8_s()
            } else {
                w.i32x4_extmul_low_i16x8_u()
            };
            both(e, inst);
            let w = &mut e.wasm();
            let _ = if inst.op == Pmulhw {
                w.i32x4_extmul_high_i16x8_s()
            } else {
                w.i32x4_extmul_high_i16x8_u()
            };
            e.wasm().i8x16_shuffle(WORDS[1]);
        }
        Pmulhrsw => {
            // Wasm's instruction saturates the one product that overflows.
            both(e, inst);
            e.wasm().i16x8_q15mulr_sat_s();
            for slot in [inst.a, inst.b] {
                e.get_vector(slot);
                e.wasm().v128_const(splat16(0x8000)).i16x8_eq();
            }
            e.wasm().v128_and().v128_xor();
        }
        Pmuludq | Pmuldq => {
            for slot in [inst.a, inst.b] {
                e.get_vector(slot);
                e.get_vector(slot);
                e.wasm().i8x16_shuffle(EVEN);
            }
            let w = &mut e.wasm();
            let _ = if inst.op == Pmuludq {
                w.i64x2_extmul_low_i32x4_u()
            } else {
                w.i64x2_extmul_low_i32x4_s()
            };
        }
        Psignb | Psignw | Psignd => {
            e.get_vector(inst.a);
            match inst.op {
                Psignb => e.wasm().i8x16_neg(),
                Psignw => e.wasm().i16x8_neg(),
                _ => e.wasm().i32x4_neg(),
            };
            e.get_vector(inst.a);
            e.get_vector(inst.b);
            e.wasm().v128_const(0);
            match inst.op {
                Psignb => e.wasm().i8x16_lt_s(),
                Psignw => e.wasm().i16x8_lt_s(),
                _ => e.wasm().i32x4_lt_s(),
            };
            e.wasm().v128_bitselect();
            e.get_vector(inst.b);
            e.wasm().v128_const(0);
            match inst.op {
                Psignb => e.wasm().i8x16_ne(),
                Psignw => e.wasm().i16x8_ne(),
                _ => e.wasm().i32x4_ne(),
            };
            e.wasm().v128_and();
        }
        Pmaddubsw => {
            // A product of an unsigned and a signed byte fits into a word.
            e.get_vector(inst.a);
            e.wasm().i16x8_extend_low_i8x16_u();
            e.get_vector(inst.b);
            e.wasm().i16x8_extend_low_i8x16_s().i16x8_mul().i32x4_extadd_pairwise_i16x8_s();
            e.get_vector(inst.a);
            e.wasm().i16x8_extend_high_i8x16_u();
            e.get_vector(inst.b);
            e.wasm().i16x8_extend_high_i8x16_s().i16x8_mul().i32x4_extadd_pairwise_i16x8_s();
            e.wasm().i16x8_narrow_i32x4_s();
        }
        Psadbw => {
            both(e, inst);
            e.wasm().i8x16_sub_sat_u();
            e.get_vector(inst.b);
            e.get_vector(inst.a);
            e.wasm().i8x16_sub_sat_u().v128_or();
            // Sums of four neighbours; then the two of each half.
            let scratch = e.scratch_vector();
            e.wasm().i16x8_extadd_pairwise_i8x16_u().i32x4_extadd_pairwise_i16x8_u();
            e.wasm().local_tee(scratch).i32_const(32).i64x2_shr_u();
            e.wasm().local_get(scratch).v128_const(splat64(0xFFFF_FFFF)).v128_and().i64x2_add();
        }
        Phaddw | Phaddsw | Phsubw | Phsubsw | Phaddd | Phsubd => {
            let lanes = if matches!(inst.op, Phaddd | Phsubd) { DOUBLEWORDS } else { WORDS };
            for lanes in lanes {
                both(e, inst);
                e.wasm().i8x16_shuffle(lanes);
            }
            match inst.op {
                Phaddw => e.wasm().i16x8_add(),
                Phaddsw => e.wasm().i16x8_add_sat_s(),
                Phsubw => e.wasm().i16x8_sub(),
                Phsubsw => e.wasm().i16x8_sub_sat_s(),
                Phaddd => e.wasm().i32x4_add(),
                _ => e.wasm().i32x4_sub(),
            };
        }
        Pabsb | Pabsw | Pabsd => {
            e.get_vector(inst.a);
            match inst.op {
                Pabsb => e.wasm().i8x16_abs(),
                Pabsw => e.wasm().i16x8_abs(),
                _ => e.wasm().i32x4_abs(),
            };
        }
        Cvtdq2pd => {
            e.get_vector(inst.a);
            e.wasm().f64x2_convert_low_i32x4_s();
        }
        Pmovmskb | Movmskps | Movmskpd => {
            e.get_vector(inst.a);
            match inst.op {
                Pmovmskb => e.wasm().i8x16_bitmask(),
                Movmskps => e.wasm().i32x4_bitmask(),
                _ => e.wasm().i64x2_bitmask(),
            };
            e.set32(inst.d);
            return true;
        }
        Ptest | Vtestps | Vtestpd => {
            test(e, inst);
            return true;
        }
        _ => {
            if let Some(same) = same(inst.op) {
                both(e, inst);
                same(&mut e.wasm());
            } else if !shift(e, inst) {
                return false;
            }
        }
    }
    e.set_vector(inst.d);
    true
}

fn both(e: &mut Emitter, inst: &Inst) {
    e.get_vector(inst.a);
    e.get_vector(inst.b);
}

/// `x` in all words.
fn splat16(x: u16) -> i128 {
    i128::from_le_bytes(std::array::from_fn(|i| x.to_le_bytes()[i % 2]))
}

/// `x` in both quadwords.
fn splat64(x: u64) -> i128 {
    i128::from_le_bytes(std::array::from_fn(|i| x.to_le_bytes()[i % 8]))
}

/// ZF if `a & b` is zero, CF if `!a & b` is zero, as RFLAGS bits; of all bits or of the lanes' signs.
fn test(e: &mut Emitter, inst: &Inst) {
    let signs = match inst.op {
        Op::Vtestps => Some(splat64(0x8000_0000_8000_0000)),
        Op::Vtestpd => Some(splat64(1 << 63)),
        _ => None,
    };
    for not in [false, true] {
        e.get_vector(inst.b);
        if let Some(signs) = signs {
            e.wasm().v128_const(signs).v128_and();
        }
        e.get_vector(inst.a);
        let w = &mut e.wasm();
        let _ = if not { w.v128_andnot() } else { w.v128_and() };
        e.wasm().v128_any_true().i32_eqz();
        if !not {
            e.wasm().i32_const(6).i32_shl();
        }
    }
    e.wasm().i32_or();
    e.set32(inst.d);
}

/// Which way a shift goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Left,
    Right,
    Signed,
}

/// Shifts of lanes, by an immediate or by the low quadword of `b`: a count over the lane's width gives 0, or all sign bits.
fn shift(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    use Way::*;
    let (way, bits) = match inst.op {
        Psllw | Psllwi => (Left, 16),
        Pslld | Pslldi => (Left, 32),
        Psllq | Psllqi => (Left, 64),
        Psrlw | Psrlwi => (Right, 16),
        Psrld | Psrldi => (Right, 32),
        Psrlq | Psrlqi => (Right, 64),
        Psraw | Psrawi => (Signed, 16),
        Psrad | Psradi => (Signed, 32),
        _ => return false,
    };
    if matches!(inst.op, Psllwi | Pslldi | Psllqi | Psrlwi | Psrldi | Psrlqi | Psrawi | Psradi) {
        let count = i64::from(inst.imm as u8);
        if count >= bits && way != Signed {
            e.wasm().v128_const(0);
        } else {
            e.get_vector(inst.a);
            e.wasm().i32_const(count.min(bits - 1) as i32);
            shift_lanes(e, way, bits);
        }
        return true;
    }
    e.get_vector(inst.b);
    e.wasm().i64x2_extract_lane(0).local_set(X);
    e.get_vector(inst.a);
    if way == Signed {
        e.wasm().local_get(X).i64_const(bits - 1).local_get(X).i64_const(bits).i64_lt_u().select();
        e.wasm().i32_wrap_i64();
        shift_lanes(e, way, bits);
    } else {
        e.wasm().local_get(X).i32_wrap_i64();
        shift_lanes(e, way, bits);
        e.wasm().v128_const(0).local_get(X).i64_const(bits).i64_lt_u().select();
    }
    true
}

fn shift_lanes(e: &mut Emitter, way: Way, bits: i64) {
    let mut w = e.wasm();
    let _ = match (way, bits) {
        (Way::Left, 16) => w.i16x8_shl(),
        (Way::Left, 32) => w.i32x4_shl(),
        (Way::Left, _) => w.i64x2_shl(),
        (Way::Right, 16) => w.i16x8_shr_u(),
        (Way::Right, 32) => w.i32x4_shr_u(),
        (Way::Right, _) => w.i64x2_shr_u(),
        (Way::Signed, 16) => w.i16x8_shr_s(),
        (Way::Signed, _) => w.i32x4_shr_s(),
    };
}
