//! Packed floating point, as [`ir::sem::packed_float`]: all lanes are judged together. See [`crate::vector::float`].
//!
//! A lane's magnitude, doubled and moved so that a signed comparison orders it, is at most [`Lanes::limit`] if the number is
//! normal, finite and not of the smallest binade. Of results it must be at most a local that is lower than all of them while
//! MXCSR does not allow the quick path.

use crate::emit::Emitter;
use crate::known::{Shape, Width, is_wide, shape};
use crate::vector::float::{Predicate, exact, limit, predicate};
use Width::{Double, Single};
use ir::{HIGH, Inst, Op};

/// What moves a doubled magnitude: twice the second binade's start becomes the lowest number but one. (It is even, so that
/// none becomes the lowest.)
fn moved(width: Width) -> i128 {
    match width {
        Single => splat32(0x8000_0001_u32.wrapping_sub(4 << 23)),
        Double => splat64(0x8000_0000_0000_0001_u64.wrapping_sub(4 << 52)),
    }
}

/// The highest moved magnitude.
pub fn highest(width: Width) -> i128 {
    match width {
        Single => splat32(0x8000_0000_u32.wrapping_add((2 * 0x7F80_0000) - (4 << 23))),
        Double => {
            splat64(0x8000_0000_0000_0000_u64.wrapping_add((2 * 0x7FF0_0000_0000_0000) - (4 << 52)))
        }
    }
}

fn splat32(x: u32) -> i128 {
    splat64(u64::from(x) << 32 | u64::from(x))
}

fn splat64(x: u64) -> i128 {
    (u128::from(x) << 64 | u128::from(x)) as i128
}

/// What results are compared with while MXCSR allows the quick path, and else: half of a vector each.
pub fn limits(width: Width) -> (i64, i64) {
    match width {
        Single => (highest(width) as i64, splat32(1 << 31) as i64),
        Double => (highest(width) as i64, i64::MIN),
    }
}

/// A packed floating-point op; `pc` is its guest instruction's address. False if it is none, or if there is nothing better than
/// the helper.
pub fn emit(e: &mut Emitter, inst: &Inst, pc: u64) -> bool {
    let Some(shape) = shape(inst.op) else { return false };
    let halves = if is_wide(inst.op) { &[0, HIGH][..] } else { &[0] };
    match shape {
        Shape::PackedBinary(width) => {
            for high in halves {
                tame(e, width, inst.a + high, pc);
                if inst.a != inst.b {
                    tame(e, width, inst.b + high, pc);
                }
            }
            for high in halves {
                let result = e.packed_scratch(usize::from(*high / HIGH));
                binary(e, inst, *high);
                e.wasm().local_set(result);
                if !is_extreme(inst.op) {
                    sound(e, inst, width, *high, result, pc);
                }
            }
            put(e, inst, halves);
        }
        Shape::PackedUnary(width) => {
            for high in halves {
                tame(e, width, inst.a + high, pc);
            }
            for high in halves {
                let result = e.packed_scratch(usize::from(*high / HIGH));
                e.get_vector(inst.a + high);
                match width {
                    Single => e.wasm().f32x4_sqrt(),
                    Double => e.wasm().f64x2_sqrt(),
                };
                e.wasm().local_set(result);
                sound(e, inst, width, *high, result, pc);
            }
            put(e, inst, halves);
        }
        Shape::PackedCompare(width) => {
            for high in halves {
                tame(e, width, inst.a + high, pc);
                if inst.a != inst.b {
                    tame(e, width, inst.b + high, pc);
                }
            }
            for high in halves {
                let result = e.packed_scratch(usize::from(*high / HIGH));
                compare(e, inst, width, *high);
                e.wasm().local_set(result);
            }
            put(e, inst, halves);
        }
        Shape::FromIntegers => {
            for high in halves {
                from_integers(e, inst, *high, pc);
            }
            put(e, inst, halves);
        }
        Shape::ToIntegers => {
            for high in halves {
                tame(e, Single, inst.a + high, pc);
            }
            for high in halves {
                to_integers(e, inst, *high, pc);
            }
            put(e, inst, halves);
        }
        _ => return false,
    }
    true
}

/// Singles of the integers of one half, into its scratch local: exact below 2^24, else MXCSR must allow it.
fn from_integers(e: &mut Emitter, inst: &Inst, high: u8, pc: u64) {
    let (result, limit) = (e.packed_scratch(usize::from(high / HIGH)), limit(e, Single));
    e.get_vector(inst.a + high);
    e.wasm().v128_const(splat32(1 << 24)).i32x4_add().i32_const(25).i32x4_shr_u().v128_any_true();
    e.wasm().local_get(limit).i32_eqz().i32_and();
    e.leave_if(pc);
    e.get_vector(inst.a + high);
    e.wasm().f32x4_convert_i32x4_s().local_set(result);
}

/// Integers of the singles of one half, truncated or rounded to nearest, into its scratch local.
fn to_integers(e: &mut Emitter, inst: &Inst, high: u8, pc: u64) {
    let (result, limit) = (e.packed_scratch(usize::from(high / HIGH)), limit(e, Single));
    let nearest = matches!(inst.op, Op::Cvtps2dq | Op::Cvtps2dq256);
    e.get_vector(inst.a + high);
    if nearest {
        e.wasm().f32x4_nearest();
    } else {
        e.wasm().f32x4_trunc();
    }
    // Too large, or inexact when that may be seen; the rounding mode must be the default one.
    e.wasm().local_tee(result).f32x4_abs();
    e.wasm().v128_const(splat32(2_147_483_648_f32.to_bits())).f32x4_ge().v128_any_true();
    e.wasm().local_get(limit).i32_eqz();
    if !nearest {
        e.wasm().local_get(result);
        e.get_vector(inst.a + high);
        e.wasm().f32x4_ne().v128_any_true().i32_and();
    }
    e.wasm().i32_or();
    e.leave_if(pc);
    e.wasm().local_get(result).i32x4_trunc_sat_f32x4_s().local_set(result);
}

/// The results of both halves to their slots; after all checks.
fn put(e: &mut Emitter, inst: &Inst, halves: &[u8]) {
    for high in halves {
        let result = e.packed_scratch(usize::from(*high / HIGH));
        e.wasm().local_get(result);
        e.set_vector(inst.d + high);
    }
}

fn is_extreme(op: Op) -> bool {
    use Op::*;
    matches!(op, Minps | Minpd | Maxps | Maxpd | Minps256 | Minpd256 | Maxps256 | Maxpd256)
}

/// Pushes the moved magnitudes of the lanes of a local.
fn magnitudes(e: &mut Emitter, width: Width, local: u32) {
    e.wasm().local_get(local).local_get(local);
    match width {
        Single => e.wasm().i32x4_add().v128_const(moved(width)).i32x4_add(),
        Double => e.wasm().i64x2_add().v128_const(moved(width)).i64x2_add(),
    };
}

fn above(e: &mut Emitter, width: Width) {
    match width {
        Single => e.wasm().i32x4_gt_s(),
        Double => e.wasm().i64x2_gt_s(),
    };
}

/// Pushes which lanes of a local are zero.
fn zeros(e: &mut Emitter, width: Width, local: u32) {
    e.wasm().local_get(local).v128_const(0);
    match width {
        Single => e.wasm().f32x4_eq(),
        Double => e.wasm().f64x2_eq(),
    };
}

/// Leaves unless all lanes are usual.
pub fn tame(e: &mut Emitter, width: Width, slot: u8, pc: u64) {
    if e.known.all(width, slot) {
        return;
    }
    let (local, bad) = (e.vector(slot), e.scratch_vector());
    magnitudes(e, width, local);
    e.wasm().v128_const(highest(width));
    above(e, width);
    e.wasm().local_tee(bad).v128_any_true();
    e.begin_if();
    e.wasm().local_get(bad);
    zeros(e, width, local);
    e.wasm().v128_andnot().v128_any_true();
    e.leave_if(pc);
    e.end();
}

/// Leaves unless all lanes of the result are good: ordinary, or zero where that is exact.
fn sound(e: &mut Emitter, inst: &Inst, width: Width, high: u8, result: u32, pc: u64) {
    use Op::*;
    let bad = e.scratch_vector();
    let Some(limit) = e.packed_limit(width) else { return };
    magnitudes(e, width, result);
    e.wasm().local_get(limit);
    above(e, width);
    e.wasm().local_tee(bad).v128_any_true();
    e.begin_if();
    e.wasm().local_get(bad);
    let a = e.vector(inst.a + high);
    match inst.op {
        Mulps | Mulpd | Mulps256 | Mulpd256 => {
            let b = e.vector(inst.b + high);
            zeros(e, width, a);
            zeros(e, width, b);
            e.wasm().v128_or();
        }
        Divps | Divpd | Divps256 | Divpd256 => {
            zeros(e, width, a);
            zeros(e, width, result);
            e.wasm().v128_and();
        }
        _ => zeros(e, width, result),
    }
    let exact = exact(e);
    e.wasm().v128_andnot().v128_any_true().local_get(exact).i32_eqz().i32_or();
    e.leave_if(pc);
    e.end();
}

/// Pushes the result of one half.
fn binary(e: &mut Emitter, inst: &Inst, high: u8) {
    use Op::*;
    // Wasm's pseudo-minimum takes its operands the other way round.
    let (first, second) = if is_extreme(inst.op) { (inst.b, inst.a) } else { (inst.a, inst.b) };
    e.get_vector(first + high);
    e.get_vector(second + high);
    let mut w = e.wasm();
    match inst.op {
        Addps | Addps256 => w.f32x4_add(),
        Subps | Subps256 => w.f32x4_sub(),
        Mulps | Mulps256 => w.f32x4_mul(),
        Divps | Divps256 => w.f32x4_div(),
        Minps | Minps256 => w.f32x4_pmin(),
        Maxps | Maxps256 => w.f32x4_pmax(),
        Addpd | Addpd256 => w.f64x2_add(),
        Subpd | Subpd256 => w.f64x2_sub(),
        Mulpd | Mulpd256 => w.f64x2_mul(),
        Divpd | Divpd256 => w.f64x2_div(),
        Minpd | Minpd256 => w.f64x2_pmin(),
        _ => w.f64x2_pmax(),
    };
}

/// Pushes the masks of one half.
fn compare(e: &mut Emitter, inst: &Inst, width: Width, high: u8) {
    let predicate = predicate(inst.imm);
    if let Predicate::Always(truth) = predicate {
        e.wasm().v128_const(if truth { -1 } else { 0 });
        return;
    }
    e.get_vector(inst.a + high);
    e.get_vector(inst.b + high);
    let mut w = e.wasm();
    match (width, predicate) {
        (Single, Predicate::Eq) => w.f32x4_eq(),
        (Single, Predicate::Lt) => w.f32x4_lt(),
        (Single, Predicate::Le) => w.f32x4_le(),
        (Single, Predicate::Ne) => w.f32x4_ne(),
        (Single, Predicate::Ge) => w.f32x4_ge(),
        (Single, _) => w.f32x4_gt(),
        (Double, Predicate::Eq) => w.f64x2_eq(),
        (Double, Predicate::Lt) => w.f64x2_lt(),
        (Double, Predicate::Le) => w.f64x2_le(),
        (Double, Predicate::Ne) => w.f64x2_ne(),
        (Double, Predicate::Ge) => w.f64x2_ge(),
        (Double, _) => w.f64x2_gt(),
    };
}
