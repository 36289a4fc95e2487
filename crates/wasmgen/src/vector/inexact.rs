//! Whether a scalar result is exact, for as long as PE is not set: see [`crate::vector::float`].

use crate::emit::{Emitter, ROW};
use crate::known::Width;
use crate::vector::float::{PE_SHIFT, full_limit, get, limit, limit_place};
use crate::vector::packed_float;
use Width::{Double, Single};
use ir::{Cpu, Inst, Op};
use std::mem::offset_of;

/// Sets PE; from now on MXCSR allows the quick path.
pub fn raise_inexact(e: &mut Emitter) {
    let place = e.cpu_place(offset_of!(Cpu, mxcsr), 2);
    e.wasm().i32_const(0).i32_const(0).i32_load(place).i32_const(1 << PE_SHIFT).i32_or();
    e.wasm().i32_store(place);
    for width in [Single, Double] {
        let (local, place) = (limit(e, width), limit_place(e, width));
        e.wasm().i32_const(0).i32_const(full_limit(width)).local_tee(local).i32_store(place);
        if let Some(local) = e.packed_limit(width) {
            e.wasm().v128_const(packed_float::highest(width)).local_set(local);
        }
    }
}

/// Bits of a significand.
pub fn precision(width: Width) -> i32 {
    match width {
        Single => 24,
        Double => 53,
    }
}

/// Pops a normal number and pushes the zeros at the end of its significand (`i32`).
pub fn trailing_zeros(e: &mut Emitter, width: Width) {
    // Of the magnitude: hosts would keep the pattern that was looked at before for this, which is hardly ever run.
    match width {
        Single => {
            e.wasm().f32_abs().i32_reinterpret_f32().i32_const(1 << 23).i32_or().i32_ctz();
        }
        Double => {
            let mut w = e.wasm();
            w.f64_abs().i64_reinterpret_f64().i64_const(1 << 52).i64_or().i64_ctz().i32_wrap_i64();
        }
    }
}

/// Pushes whether the sum or difference in the scratch local is not exact (Knuth's TwoSum).
pub fn is_sum_inexact(e: &mut Emitter, inst: &Inst, width: Width) {
    let difference = matches!(inst.op, Op::Subss | Op::Subsd);
    let result = e.float_scratch(width);
    let sub = |e: &mut Emitter| match width {
        Single => {
            e.wasm().f32_sub();
        }
        Double => {
            e.wasm().f64_sub();
        }
    };
    // z = r - x
    let z = |e: &mut Emitter| {
        e.wasm().local_get(result);
        get(e, width, inst.a);
        sub(e);
    };
    // Inexact if (x - (r - z)) + (y - z) is not zero; of a difference, y is negative.
    get(e, width, inst.a);
    e.wasm().local_get(result);
    z(e);
    sub(e);
    sub(e);
    if difference {
        get(e, width, inst.b);
        z(e);
        match width {
            Single => e.wasm().f32_add().f32_ne(),
            Double => e.wasm().f64_add().f64_ne(),
        };
    } else {
        z(e);
        get(e, width, inst.b);
        sub(e);
        match width {
            Single => e.wasm().f32_ne(),
            Double => e.wasm().f64_ne(),
        };
    }
}

/// Leaves if the zeros at the ends of the two factors on the stack (as numbers) do not say whether their product is exact;
/// pushes whether it is not.
fn is_inexact_by_zeros(e: &mut Emitter, width: Width, pc: u64) {
    let doubtful = precision(width) - 1;
    e.wasm().i32_add().local_tee(ROW).i32_const(doubtful).i32_eq();
    e.leave_if(pc);
    e.wasm().local_get(ROW).i32_const(doubtful).i32_lt_u();
}

/// Pushes whether the product in the scratch local is not exact.
pub fn is_product_inexact(e: &mut Emitter, inst: &Inst, width: Width, pc: u64) {
    for slot in [inst.a, inst.b] {
        get(e, width, slot);
        trailing_zeros(e, width);
    }
    is_inexact_by_zeros(e, width, pc);
}

/// Pushes whether the quotient in the scratch local is not exact: whether its product with the divisor is not, or another number
/// than the dividend.
pub fn is_quotient_inexact(e: &mut Emitter, inst: &Inst, width: Width, pc: u64) {
    let result = e.float_scratch(width);
    e.wasm().local_get(result);
    trailing_zeros(e, width);
    get(e, width, inst.b);
    trailing_zeros(e, width);
    is_inexact_by_zeros(e, width, pc);
    e.wasm().local_get(result);
    get(e, width, inst.b);
    match width {
        Single => e.wasm().f32_mul(),
        Double => e.wasm().f64_mul(),
    };
    get(e, width, inst.a);
    match width {
        Single => e.wasm().f32_ne(),
        Double => e.wasm().f64_ne(),
    };
    e.wasm().i32_or();
}
