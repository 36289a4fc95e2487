//! Scalar floating point, as [`ir::sem::quick`]: on Wasm's arithmetic where the operands are usual (see
//! [`crate::known`]), the result is one that raises nothing but PE, and PE is set already. All else is left to the
//! interpreter: a call whose results join the quick path again would cost that path its registers.
//!
//! MXCSR is looked at when a region is entered and after all that may change it, not for each op: the *limit* of a width is
//! what the check of a result compares with, and it is 0 while MXCSR does not allow the quick path.

use crate::emit::{Emitter, ROW, X};
use crate::known::{Shape, Width, shape};
use crate::vector::inexact::{
    is_product_inexact, is_quotient_inexact, is_sum_inexact, precision, raise_inexact,
    trailing_zeros,
};
use crate::vector::packed_float;
use Width::{Double, Single};
use ir::{Cpu, Inst, Op};
use std::mem::offset_of;
use wasm_encoder::MemArg;

/// MXCSR's rounding control and exception masks.
const RC: i32 = 0x6000;
const MASKS: i32 = 0x1F80;
/// Position of the precision flag.
pub const PE_SHIFT: i32 = 5;

/// A number's high half (of a single: all of it) without its sign, doubled: where normal numbers begin and end. Results must
/// be above the smallest binade, where rounding may have come from a tiny one.
struct Bounds {
    normal: i32,
    result: i32,
    end: i32,
}

fn bounds(width: Width) -> Bounds {
    let (least, end) = match width {
        Single => (1 << 24, 0xFF00_0000_u32 as i32),
        Double => (1 << 21, 0xFFE0_0000_u32 as i32),
    };
    Bounds { normal: least, result: 2 * least, end }
}

/// The limit of a width while MXCSR allows the quick path.
pub fn full_limit(width: Width) -> i32 {
    bounds(width).end.wrapping_sub(bounds(width).result)
}

/// Slots that no program sees, for the limits: Cranelift would compute them anew for each op that compares with them, but
/// not what comes from memory (and was not written there in one piece).
const LIMITS: usize = offset_of!(Cpu, slot) + 8 * 44;
const PACKED_LIMITS: usize = offset_of!(Cpu, v) + 16 * ir::VSLOTS;

/// Looks at MXCSR anew.
pub fn settle(e: &mut Emitter) {
    if !e.float.are_used() {
        return;
    }
    let place = e.cpu_place(offset_of!(Cpu, mxcsr), 2);
    let [exact, single, double] = e.float_limits();
    e.wasm().i32_const(0).i32_load(place).local_tee(single);
    // Default rounding, everything masked: then what is exact raises nothing.
    e.wasm().i32_const(RC | MASKS).i32_and().i32_const(MASKS).i32_eq().local_tee(exact);
    // With PE, all ones; else nothing.
    e.wasm().local_get(single).i32_const(PE_SHIFT).i32_shr_u().i32_and().local_set(single);
    e.wasm().i64_const(0).local_get(single).i64_extend_i32_u().i64_sub().local_set(X);
    let both = u64::from(full_limit(Double) as u32) << 32 | u64::from(full_limit(Single) as u32);
    let place = e.cpu_place(LIMITS, 3);
    e.wasm().i32_const(0).local_get(X).i64_const(both as i64).i64_and().i64_store(place);
    let place = e.cpu_place(LIMITS + 8, 3);
    e.wasm().i32_const(0).local_get(exact).i64_extend_i32_u().i64_store(place);
    for (local, at) in [(single, 0), (double, 4), (exact, 8)] {
        let place = e.cpu_place(LIMITS + at, 2);
        e.wasm().i32_const(0).i32_load(place).local_set(local);
    }
    for width in [Single, Double] {
        let Some(local) = e.packed_limit(width) else { continue };
        let (highest, lowest) = packed_float::limits(width);
        let at = PACKED_LIMITS + 16 * width as usize;
        for half in [at, at + 8] {
            let place = e.cpu_place(half, 3);
            e.wasm().i32_const(0).i64_const(highest).i64_const(lowest).local_get(X);
            e.wasm().i64_eqz().i32_eqz().select().i64_store(place);
        }
        let place = e.cpu_place(at, 4);
        e.wasm().i32_const(0).v128_load(place).local_set(local);
    }
}

/// The local of a width's limit.
pub fn limit(e: &mut Emitter, width: Width) -> u32 {
    e.float_limits()[1 + width as usize]
}

/// The local that says whether exact results raise nothing.
pub fn exact(e: &mut Emitter) -> u32 {
    e.float_limits()[0]
}

/// A scalar floating-point op; `pc` is its guest instruction's address. False if it is none, or if there is nothing better than
/// the helper.
pub fn emit(e: &mut Emitter, inst: &Inst, pc: u64) -> bool {
    let Some(shape) = shape(inst.op) else { return false };
    match shape {
        Shape::Binary(width) => {
            both_usual(e, width, inst, pc);
            if matches!(inst.op, Op::Minss | Op::Minsd | Op::Maxss | Op::Maxsd) {
                extreme(e, inst, width);
            } else {
                arithmetic(e, inst, width, pc);
            }
            put(e, inst, width);
        }
        Shape::Unary(width) => {
            usual(e, width, inst.b, pc);
            if matches!(inst.op, Op::Roundss | Op::Roundsd) {
                if !round(e, inst, width, pc) {
                    e.helper(inst, pc);
                    return true;
                }
            } else {
                root(e, inst, width, pc);
            }
            put(e, inst, width);
        }
        Shape::Convert(Double) => {
            usual(e, Single, inst.b, pc);
            get(e, Single, inst.b);
            let result = e.float_scratch(Double);
            e.wasm().f64_promote_f32().local_set(result);
            put(e, inst, Double);
        }
        Shape::Convert(Single) => {
            let result = e.float_scratch(Single);
            get(e, Double, inst.b);
            e.wasm().f32_demote_f64().local_tee(result);
            unless_good(e, Single);
            get(e, Double, inst.b);
            e.wasm().f64_const(0.0.into()).f64_ne();
            e.leave_if(pc);
            e.end();
            put(e, inst, Single);
        }
        Shape::FromInteger(width) => {
            from_integer(e, inst, width, pc);
            put(e, inst, width);
        }
        Shape::ToInteger(width) => {
            usual(e, width, inst.a, pc);
            to_integer(e, inst, width, pc);
        }
        Shape::Order(width) => {
            both_usual(e, width, inst, pc);
            order(e, inst, width);
        }
        Shape::Compare(width) => {
            both_usual(e, width, inst, pc);
            compare(e, inst, width);
        }
        _ => return false,
    }
    true
}

/// Pushes lane 0.
pub fn get(e: &mut Emitter, width: Width, slot: u8) {
    if let Some(local) = e.lane(width, slot) {
        e.wasm().local_get(local);
        return;
    }
    e.get_vector(slot);
    match width {
        Single => e.wasm().f32x4_extract_lane(0),
        Double => e.wasm().f64x2_extract_lane(0),
    };
}

/// The result is in the scratch local: `d` = `a` with it as lane 0.
fn put(e: &mut Emitter, inst: &Inst, width: Width) {
    let result = e.float_scratch(width);
    e.get_vector(inst.a);
    e.wasm().local_get(result);
    match width {
        Single => e.wasm().f32x4_replace_lane(0),
        Double => e.wasm().f64x2_replace_lane(0),
    };
    e.set_vector(inst.d);
    e.wasm().local_get(result);
    e.set_lane(width, inst.d);
}

/// Leaves unless both operands are usual.
fn both_usual(e: &mut Emitter, width: Width, inst: &Inst, pc: u64) {
    usual(e, width, inst.a, pc);
    if inst.a != inst.b {
        usual(e, width, inst.b, pc);
    }
}

/// Turns the high half on the stack (of a single: all of it) into twice its magnitude less `from`.
fn magnitude(e: &mut Emitter, from: i32) {
    // Doubled by a sum: hosts have an instruction that adds two registers and a constant.
    e.wasm().local_tee(ROW).local_get(ROW).i32_const(-from).i32_add().i32_add();
}

/// Leaves unless lane 0 is usual.
pub fn usual(e: &mut Emitter, width: Width, slot: u8, pc: u64) {
    if e.known.low(width, slot) {
        return;
    }
    let Bounds { normal, end, .. } = bounds(width);
    if let Some(local) = e.lane(width, slot) {
        e.wasm().local_get(local);
        high_half(e, width);
    } else {
        e.get_vector(slot);
        e.wasm().i32x4_extract_lane(if width == Double { 1 } else { 0 });
    }
    magnitude(e, normal);
    e.wasm().i32_const(end.wrapping_sub(normal)).i32_ge_u();
    e.begin_if();
    not_zero(e, width, slot);
    e.leave_if(pc);
    e.end();
}

/// Pops a float and pushes its pattern's high half (of a single: all of it).
fn high_half(e: &mut Emitter, width: Width) {
    match width {
        Single => e.wasm().i32_reinterpret_f32(),
        Double => e.wasm().i64_reinterpret_f64().i64_const(32).i64_shr_u().i32_wrap_i64(),
    };
}

/// Pops a result, and opens a conditional part for those that are not good as they are.
fn unless_good(e: &mut Emitter, width: Width) {
    high_half(e, width);
    magnitude(e, bounds(width).result);
    // From memory: a register for it would be one less for others.
    let place = limit_place(e, width);
    e.wasm().i32_const(0).i32_load(place).i32_ge_u();
    e.begin_if();
}

/// Where a width's limit lies.
pub fn limit_place(e: &Emitter, width: Width) -> MemArg {
    e.cpu_place(LIMITS + 4 * width as usize, 2)
}

/// Pushes whether lane 0 is not zero.
fn not_zero(e: &mut Emitter, width: Width, slot: u8) {
    get(e, width, slot);
    zero_ne(e, width);
}

/// Pops a float and pushes whether it is not zero.
fn zero_ne(e: &mut Emitter, width: Width) {
    match width {
        Single => e.wasm().f32_const(0.0.into()).f32_ne(),
        Double => e.wasm().f64_const(0.0.into()).f64_ne(),
    };
}

/// Sum, difference, product, quotient, into the scratch local. Zero is good where it is exact; and while only PE is missing,
/// what is not exact sets it.
fn arithmetic(e: &mut Emitter, inst: &Inst, width: Width, pc: u64) {
    use Op::*;
    get(e, width, inst.a);
    get(e, width, inst.b);
    match inst.op {
        Addss => e.wasm().f32_add(),
        Subss => e.wasm().f32_sub(),
        Mulss => e.wasm().f32_mul(),
        Divss => e.wasm().f32_div(),
        Addsd => e.wasm().f64_add(),
        Subsd => e.wasm().f64_sub(),
        Mulsd => e.wasm().f64_mul(),
        _ => e.wasm().f64_div(),
    };
    let (result, exact) = (e.float_scratch(width), exact(e));
    e.wasm().local_tee(result);
    unless_good(e, width);
    e.wasm().local_get(exact).i32_eqz();
    e.leave_if(pc);
    match inst.op {
        Mulss | Mulsd => {
            not_zero(e, width, inst.a);
            not_zero(e, width, inst.b);
            e.wasm().i32_and();
        }
        Divss | Divsd => {
            not_zero(e, width, inst.a);
            e.wasm().local_get(result);
            zero_ne(e, width);
            e.wasm().i32_or();
        }
        _ => {
            e.wasm().local_get(result);
            zero_ne(e, width);
        }
    }
    e.begin_if();
    ordinary_or_leave(e, width, pc);
    match inst.op {
        Mulss | Mulsd => is_product_inexact(e, inst, width, pc),
        Divss | Divsd => is_quotient_inexact(e, inst, width, pc),
        _ => is_sum_inexact(e, inst, width),
    }
    e.begin_if();
    raise_inexact(e);
    e.end();
    e.end();
    e.end();
}

/// Leaves unless the result is normal and not of the smallest binade.
fn ordinary_or_leave(e: &mut Emitter, width: Width, pc: u64) {
    let result = e.float_scratch(width);
    e.wasm().local_get(result);
    high_half(e, width);
    magnitude(e, bounds(width).result);
    e.wasm().i32_const(full_limit(width)).i32_ge_u();
    e.leave_if(pc);
}

/// `a < b ? a : b` or `a > b ? a : b`, into the scratch local.
fn extreme(e: &mut Emitter, inst: &Inst, width: Width) {
    for _ in 0..2 {
        get(e, width, inst.a);
        get(e, width, inst.b);
    }
    match inst.op {
        Op::Minss => e.wasm().f32_lt(),
        Op::Maxss => e.wasm().f32_gt(),
        Op::Minsd => e.wasm().f64_lt(),
        _ => e.wasm().f64_gt(),
    };
    let result = e.float_scratch(width);
    e.wasm().select().local_set(result);
}

/// The square root of lane 0 of `b`, into the scratch local.
fn root(e: &mut Emitter, inst: &Inst, width: Width, pc: u64) {
    let (result, limit, exact) = (e.float_scratch(width), limit(e, width), exact(e));
    get(e, width, inst.b);
    match width {
        Single => e.wasm().f32_const(0.0.into()).f32_lt(),
        Double => e.wasm().f64_const(0.0.into()).f64_lt(),
    };
    e.leave_if(pc);
    get(e, width, inst.b);
    match width {
        Single => e.wasm().f32_sqrt(),
        Double => e.wasm().f64_sqrt(),
    };
    e.wasm().local_set(result).local_get(limit).i32_eqz();
    e.begin_if();
    e.wasm().local_get(exact).i32_eqz();
    e.leave_if(pc);
    // If it is exact, its square is: then there are that many zeros.
    e.wasm().local_get(result);
    trailing_zeros(e, width);
    e.wasm().i32_const(1).i32_shl().i32_const(precision(width) - 1).i32_ge_u();
    e.leave_if(pc);
    raise_inexact(e);
    e.end();
}

/// Lane 0 of `b` made integral, into the scratch local. False for the rounding mode of MXCSR.
fn round(e: &mut Emitter, inst: &Inst, width: Width, pc: u64) -> bool {
    if inst.imm & 4 != 0 {
        return false;
    }
    let result = e.float_scratch(width);
    get(e, width, inst.b);
    match (width, inst.imm & 3) {
        (Single, 0) => e.wasm().f32_nearest(),
        (Single, 1) => e.wasm().f32_floor(),
        (Single, 2) => e.wasm().f32_ceil(),
        (Single, _) => e.wasm().f32_trunc(),
        (Double, 0) => e.wasm().f64_nearest(),
        (Double, 1) => e.wasm().f64_floor(),
        (Double, 2) => e.wasm().f64_ceil(),
        (Double, _) => e.wasm().f64_trunc(),
    };
    e.wasm().local_set(result);
    if inst.imm & 8 == 0 {
        // Inexact, and that is not to be seen yet.
        let limit = limit(e, width);
        e.wasm().local_get(result);
        get(e, width, inst.b);
        match width {
            Single => e.wasm().f32_ne(),
            Double => e.wasm().f64_ne(),
        };
        e.wasm().local_get(limit).i32_eqz().i32_and();
        e.leave_if(pc);
    }
    true
}

/// Integer slot `b` as a float, into the scratch local.
fn from_integer(e: &mut Emitter, inst: &Inst, width: Width, pc: u64) {
    let result = e.float_scratch(width);
    let wide = matches!(inst.op, Op::Cvtsi2sd64 | Op::Cvtsi2ss64);
    // Magnitudes below 2^53 or 2^24 are exact; else MXCSR must be settled.
    let bits = if width == Single { 24 } else { 53 };
    if wide {
        let limit = limit(e, width);
        e.get(inst.b);
        e.wasm().i64_const(1 << bits).i64_add().i64_const(bits + 1).i64_shr_u().i64_eqz();
        e.wasm().local_get(limit).i32_or().i32_eqz();
        e.leave_if(pc);
        e.get(inst.b);
        match width {
            Single => e.wasm().f32_convert_i64_s(),
            Double => e.wasm().f64_convert_i64_s(),
        };
    } else {
        if width == Single {
            let limit = limit(e, width);
            e.get32(inst.b);
            e.wasm().i32_const(1 << bits).i32_add().i32_const(bits as i32 + 1).i32_shr_u();
            e.wasm().i32_eqz().local_get(limit).i32_or().i32_eqz();
            e.leave_if(pc);
        }
        e.get32(inst.b);
        match width {
            Single => e.wasm().f32_convert_i32_s(),
            Double => e.wasm().f64_convert_i32_s(),
        };
    }
    e.wasm().local_set(result);
}

/// Integer slot `d` = lane 0 of `a`, truncated or rounded to nearest.
fn to_integer(e: &mut Emitter, inst: &Inst, width: Width, pc: u64) {
    use Op::*;
    let wide = matches!(inst.op, Cvttss2si64 | Cvttsd2si64 | Cvtss2si64 | Cvtsd2si64);
    let nearest = matches!(inst.op, Cvtss2si32 | Cvtss2si64 | Cvtsd2si32 | Cvtsd2si64);
    let limit = limit(e, width);
    // The integral number, as a double: a single is one.
    let integral = e.float_scratch(Double);
    get(e, width, inst.a);
    if width == Single {
        e.wasm().f64_promote_f32();
    }
    if nearest {
        e.wasm().f64_nearest().local_tee(integral);
    } else {
        e.wasm().f64_trunc().local_tee(integral);
    }
    // Too large, or inexact when that may be seen; the rounding mode must be the default one.
    let end = if wide { 9.2e18 } else { 2_147_483_648.0 };
    e.wasm().f64_abs().f64_const(end.into()).f64_lt().i32_eqz();
    e.wasm().local_get(limit).i32_eqz();
    if !nearest {
        e.wasm().local_get(integral);
        get(e, width, inst.a);
        if width == Single {
            e.wasm().f64_promote_f32();
        }
        e.wasm().f64_ne().i32_and();
    }
    e.wasm().i32_or();
    e.leave_if(pc);
    e.wasm().local_get(integral);
    if wide {
        e.wasm().i64_trunc_f64_s();
        e.set(inst.d);
    } else {
        e.wasm().i32_trunc_f64_s();
        e.set32(inst.d);
    }
}

/// Integer slot `d` = ZF and CF by the order of two usual numbers.
fn order(e: &mut Emitter, inst: &Inst, width: Width) {
    get(e, width, inst.a);
    get(e, width, inst.b);
    match width {
        Single => e.wasm().f32_lt(),
        Double => e.wasm().f64_lt(),
    };
    get(e, width, inst.a);
    get(e, width, inst.b);
    match width {
        Single => e.wasm().f32_eq(),
        Double => e.wasm().f64_eq(),
    };
    e.wasm().i32_const(6).i32_shl().i32_or();
    e.set32(inst.d);
}

/// What a predicate says of numbers that are not NaN: (the order, or none for a constant; turned round).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Predicate {
    /// a = b
    Eq,
    /// a < b
    Lt,
    /// a ≤ b
    Le,
    /// a ≠ b
    Ne,
    /// a ≥ b
    Ge,
    /// a > b
    Gt,
    /// Always this.
    Always(bool),
}

/// The predicate of an immediate ([`ir::sem::simd_float`]).
pub fn predicate(imm: i64) -> Predicate {
    match imm & 15 {
        0 | 8 => Predicate::Eq,
        1 | 9 => Predicate::Lt,
        2 | 10 => Predicate::Le,
        4 | 12 => Predicate::Ne,
        5 | 13 => Predicate::Ge,
        6 | 14 => Predicate::Gt,
        3 | 11 => Predicate::Always(false),
        _ => Predicate::Always(true),
    }
}

/// `d` = `a` with the mask of lane 0.
fn compare(e: &mut Emitter, inst: &Inst, width: Width) {
    e.get_vector(inst.a);
    if width == Double {
        e.wasm().i64_const(0);
    } else {
        e.wasm().i32_const(0);
    }
    let predicate = predicate(inst.imm);
    if let Predicate::Always(truth) = predicate {
        e.wasm().i32_const(truth.into());
    } else {
        get(e, width, inst.a);
        get(e, width, inst.b);
        match (width, predicate) {
            (Single, Predicate::Eq) => e.wasm().f32_eq(),
            (Single, Predicate::Lt) => e.wasm().f32_lt(),
            (Single, Predicate::Le) => e.wasm().f32_le(),
            (Single, Predicate::Ne) => e.wasm().f32_ne(),
            (Single, Predicate::Ge) => e.wasm().f32_ge(),
            (Single, _) => e.wasm().f32_gt(),
            (Double, Predicate::Eq) => e.wasm().f64_eq(),
            (Double, Predicate::Lt) => e.wasm().f64_lt(),
            (Double, Predicate::Le) => e.wasm().f64_le(),
            (Double, Predicate::Ne) => e.wasm().f64_ne(),
            (Double, Predicate::Ge) => e.wasm().f64_ge(),
            (Double, _) => e.wasm().f64_gt(),
        };
    }
    if width == Double {
        e.wasm().i64_extend_i32_u().i64_sub().i64x2_replace_lane(0);
    } else {
        e.wasm().i32_sub().i32x4_replace_lane(0);
    }
    e.set_vector(inst.d);
}

/// Pops an address and loads a float: slot `d` is that and zeros. If it is `wanted` it is looked at, as [`usual`] does, but by its high half in
/// memory; `pc` is its guest instruction's address.
pub fn load(e: &mut Emitter, slot: u8, m: MemArg, width: Width, wanted: bool, pc: u64) {
    let (value, zero) = (e.float_scratch(width), e.float_zero());
    if wanted {
        e.wasm().local_tee(ROW);
    }
    match width {
        Single => e.wasm().f32_load(m),
        Double => e.wasm().f64_load(m),
    };
    e.wasm().local_set(value);
    if wanted {
        let Bounds { normal, end, .. } = bounds(width);
        let high = MemArg { offset: m.offset + if width == Double { 4 } else { 0 }, ..m };
        e.wasm().local_get(ROW).i32_load(high);
        magnitude(e, normal);
        e.wasm().i32_const(end.wrapping_sub(normal)).i32_ge_u();
        e.begin_unlikely();
        e.wasm().local_get(value);
        zero_ne(e, width);
        e.leave_if(pc);
        e.end();
    }
    e.wasm().local_get(zero).local_get(value);
    match width {
        Single => e.wasm().f32x4_replace_lane(0),
        Double => e.wasm().f64x2_replace_lane(0),
    };
    e.set_vector(slot);
    e.wasm().local_get(value);
    e.set_lane(width, slot);
}
