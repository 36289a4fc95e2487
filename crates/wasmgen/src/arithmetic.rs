//! Integer ops. The meanings are those of [`ir::sem::int`]; what is not here goes through the helper.

use crate::emit::{Emitter, X, Y, Z};
use crate::memory;
use ir::{Class, Inst, Op};

/// An integer op; `pc` is its guest instruction's address. False if there is nothing better than the helper.
pub fn emit(e: &mut Emitter, inst: &Inst, pc: u64) -> bool {
    match inst.op.class() {
        Class::Li => {
            e.wasm().i64_const(inst.imm);
            e.set(inst.d);
            true
        }
        Class::Lea => {
            memory::address(e, inst);
            if inst.op == Op::Lea32 {
                e.wasm().i64_const(0xFFFF_FFFF).i64_and();
            }
            e.set(inst.d);
            true
        }
        Class::R1 => unary(e, inst),
        Class::R2 => wide(e, inst) || narrow(e, inst) || other(e, inst),
        Class::R3 => ternary(e, inst),
        Class::Div => divide(e, inst, pc),
        _ => false,
    }
}

fn unary(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    if !matches!(
        inst.op,
        Mov | Mov32
            | Zx8
            | Zx8h
            | Zx16
            | Sx8
            | Sx16
            | Sx32
            | Sx8w32
            | Sx16w32
            | Not64
            | Not32
            | Neg64
            | Neg32
            | Bswap32
            | Bswap64
            | BitMask64
            | BitMask32
            | Popcnt
            | Tzcnt64
            | Lzcnt64
            | Tzcnt32
            | Lzcnt32
            | ZfIfZero
            | CfIfZero
    ) {
        return false;
    }
    if inst.op == Bswap32 || inst.op == Bswap64 {
        bswap(e, inst);
        return true;
    }
    if inst.op == Neg64 {
        e.wasm().i64_const(0);
    }
    if inst.op == Neg32 {
        e.wasm().i32_const(0);
    }
    if matches!(inst.op, BitMask64 | BitMask32) {
        e.wasm().i64_const(1);
    }
    e.get(inst.a);
    let mut w = e.wasm();
    match inst.op {
        Mov => &mut w,
        Mov32 => w.i64_const(0xFFFF_FFFF).i64_and(),
        Zx8 => w.i64_const(0xFF).i64_and(),
        Zx8h => w.i64_const(8).i64_shr_u().i64_const(0xFF).i64_and(),
        Zx16 => w.i64_const(0xFFFF).i64_and(),
        Sx8 => w.i64_extend8_s(),
        Sx16 => w.i64_extend16_s(),
        Sx32 => w.i64_extend32_s(),
        Sx8w32 => w.i32_wrap_i64().i32_extend8_s().i64_extend_i32_u(),
        Sx16w32 => w.i32_wrap_i64().i32_extend16_s().i64_extend_i32_u(),
        Not64 => w.i64_const(-1).i64_xor(),
        Not32 => w.i32_wrap_i64().i32_const(-1).i32_xor().i64_extend_i32_u(),
        Neg64 => w.i64_sub(),
        Neg32 => w.i32_wrap_i64().i32_sub().i64_extend_i32_u(),
        BitMask64 => w.i64_shl(),
        BitMask32 => w.i64_const(31).i64_and().i64_shl(),
        Popcnt => w.i64_popcnt(),
        Tzcnt64 => w.i64_ctz(),
        Lzcnt64 => w.i64_clz(),
        Tzcnt32 => w.i32_wrap_i64().i32_ctz().i64_extend_i32_u(),
        Lzcnt32 => w.i32_wrap_i64().i32_clz().i64_extend_i32_u(),
        ZfIfZero => w.i64_eqz().i64_extend_i32_u().i64_const(6).i64_shl(),
        _ => w.i64_eqz().i64_extend_i32_u(),
    };
    e.set(inst.d);
    true
}

/// Byte order: halves, then bytes within.
fn bswap(e: &mut Emitter, inst: &Inst) {
    if inst.op == Op::Bswap32 {
        e.get32(inst.a);
        e.wasm().i64_extend_i32_u().i64_const(32).i64_shl();
    } else {
        e.get(inst.a);
    }
    let mut w = e.wasm();
    for (shift, mask) in [(8, 0x00FF_00FF_00FF_00FF_i64), (16, 0x0000_FFFF_0000_FFFF)] {
        w.local_tee(X).i64_const(shift).i64_shr_u().i64_const(mask).i64_and();
        w.local_get(X).i64_const(mask).i64_and().i64_const(shift).i64_shl().i64_or();
    }
    w.i64_const(32).i64_rotl();
    e.set(inst.d);
}

/// 64-bit operations.
fn wide(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    if !matches!(
        inst.op,
        Add64
            | Sub64
            | And64
            | Or64
            | Xor64
            | Mul64
            | Shl64
            | Shr64
            | Sar64
            | Rol64
            | Ror64
            | Eq64
            | LtU64
    ) {
        return false;
    }
    e.get(inst.a);
    e.operand(inst.b, inst.imm);
    let mut w = e.wasm();
    match inst.op {
        Add64 => w.i64_add(),
        Sub64 => w.i64_sub(),
        And64 => w.i64_and(),
        Or64 => w.i64_or(),
        Xor64 => w.i64_xor(),
        Mul64 => w.i64_mul(),
        Shl64 => w.i64_shl(),
        Shr64 => w.i64_shr_u(),
        Sar64 => w.i64_shr_s(),
        Rol64 => w.i64_rotl(),
        Ror64 => w.i64_rotr(),
        Eq64 => w.i64_eq().i64_extend_i32_u(),
        _ => w.i64_lt_u().i64_extend_i32_u(),
    };
    e.set(inst.d);
    true
}

/// 32-bit operations.
fn narrow(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    if !matches!(
        inst.op,
        Add32 | Sub32 | And32 | Or32 | Xor32 | Mul32 | Shl32 | Shr32 | Sar32 | Rol32 | Ror32
    ) {
        return false;
    }
    e.get32(inst.a);
    e.operand32(inst.b, inst.imm);
    let mut w = e.wasm();
    match inst.op {
        Add32 => w.i32_add(),
        Sub32 => w.i32_sub(),
        And32 => w.i32_and(),
        Or32 => w.i32_or(),
        Xor32 => w.i32_xor(),
        Mul32 => w.i32_mul(),
        Shl32 => w.i32_shl(),
        Shr32 => w.i32_shr_u(),
        Sar32 => w.i32_shr_s(),
        Rol32 => w.i32_rotl(),
        _ => w.i32_rotr(),
    };
    e.set32(inst.d);
    true
}

fn other(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    let (a, b, imm, d) = (inst.a, inst.b, inst.imm, inst.d);
    match inst.op {
        Dep8 => deposit(e, inst, 0xFF, 0),
        Dep8h => deposit(e, inst, 0xFF, 8),
        Dep16 => deposit(e, inst, 0xFFFF, 0),
        Andn64 => {
            e.get(a);
            e.wasm().i64_const(-1).i64_xor();
            e.operand(b, imm);
            e.wasm().i64_and();
        }
        ShlN8 | ShlN16 | ShrN8 | ShrN16 | SarN8 | SarN16 => {
            e.get(a);
            let mask = if matches!(inst.op, ShlN8 | ShrN8 | SarN8) { 0xFF } else { 0xFFFF };
            match inst.op {
                ShrN8 | ShrN16 => e.wasm().i64_const(mask).i64_and(),
                SarN8 => e.wasm().i64_extend8_s(),
                SarN16 => e.wasm().i64_extend16_s(),
                _ => &mut e.wasm(),
            };
            e.operand(b, imm);
            e.wasm().i64_const(31).i64_and();
            match inst.op {
                ShlN8 | ShlN16 => e.wasm().i64_shl(),
                ShrN8 | ShrN16 => e.wasm().i64_shr_u(),
                _ => e.wasm().i64_shr_s(),
            };
            e.wasm().i64_const(mask).i64_and();
        }
        RolFlags32 | RolFlags64 => {
            // CF = bit 0, OF = CF ^ msb
            let msb = if inst.op == RolFlags64 { 63 } else { 31 };
            e.get(a);
            e.wasm().local_tee(X).i64_const(1).i64_and().local_tee(Y);
            e.wasm()
                .local_get(X)
                .i64_const(msb)
                .i64_shr_u()
                .i64_const(1)
                .i64_and()
                .local_get(Y)
                .i64_xor();
            e.wasm().i64_const(11).i64_shl().i64_or();
        }
        RorFlags32 | RorFlags64 => {
            let msb = if inst.op == RorFlags64 { 63 } else { 31 };
            e.get(a);
            e.wasm().local_tee(X).i64_const(msb).i64_shr_u().i64_const(1).i64_and().local_tee(Y);
            e.wasm()
                .local_get(X)
                .i64_const(msb - 1)
                .i64_shr_u()
                .i64_const(1)
                .i64_and()
                .local_get(Y)
                .i64_xor();
            e.wasm().i64_const(11).i64_shl().i64_or();
        }
        MaskIf64 | MaskIf32 => {
            e.get(a);
            e.wasm().i64_const(0);
            e.operand(b, imm);
            e.wasm()
                .i64_const(if inst.op == MaskIf64 { 63 } else { 31 })
                .i64_and()
                .i64_eqz()
                .i32_eqz()
                .select();
        }
        Bit64 | Bit32 | Bit16 => {
            let width = match inst.op {
                Bit64 => 63,
                Bit32 => 31,
                _ => 15,
            };
            e.get(a);
            e.operand(b, imm);
            e.wasm().i64_const(width).i64_and().i64_shr_u().i64_const(1).i64_and();
        }
        Bsf => {
            e.operand(b, imm);
            e.get(a);
            e.wasm().i64_ctz();
            e.get(a);
            e.wasm().i64_eqz().select();
        }
        Bsr => {
            e.operand(b, imm);
            e.wasm().i64_const(63);
            e.get(a);
            e.wasm().i64_clz().i64_sub();
            e.get(a);
            e.wasm().i64_eqz().select();
        }
        CntFlags => {
            e.get(a);
            e.wasm().i64_eqz().i64_extend_i32_u();
            e.operand(b, imm);
            e.wasm().i64_eqz().i64_extend_i32_u().i64_const(6).i64_shl().i64_or();
        }
        UMulH64 | SMulH64 => high_product(e, inst),
        _ => return false,
    }
    e.set(d);
    true
}

/// `a` with the `mask`-wide low part of `b` at bit `shift`.
fn deposit(e: &mut Emitter, inst: &Inst, mask: i64, shift: i64) {
    e.get(inst.a);
    e.wasm().i64_const(!(mask << shift)).i64_and();
    e.operand(inst.b, inst.imm);
    e.wasm().i64_const(mask).i64_and();
    if shift != 0 {
        e.wasm().i64_const(shift).i64_shl();
    }
    e.wasm().i64_or();
}

/// The high half of a 128-bit product, from four of 32 by 32 bits.
fn high_product(e: &mut Emitter, inst: &Inst) {
    const LOW: i64 = 0xFFFF_FFFF;
    e.get(inst.a);
    e.wasm().local_set(X);
    e.operand(inst.b, inst.imm);
    e.wasm().local_set(Y);
    let mut w = e.wasm();
    // z = high(x) * low(y) + (low(x) * low(y) >> 32)
    w.local_get(X).i64_const(32).i64_shr_u().local_get(Y).i64_const(LOW).i64_and().i64_mul();
    w.local_get(X).i64_const(LOW).i64_and().local_get(Y).i64_const(LOW).i64_and().i64_mul();
    w.i64_const(32).i64_shr_u().i64_add().local_set(Z);
    // (low(x) * high(y) + low(z)) >> 32
    w.local_get(X).i64_const(LOW).i64_and().local_get(Y).i64_const(32).i64_shr_u().i64_mul();
    w.local_get(Z).i64_const(LOW).i64_and().i64_add().i64_const(32).i64_shr_u();
    // + high(x) * high(y) + high(z)
    w.local_get(X)
        .i64_const(32)
        .i64_shr_u()
        .local_get(Y)
        .i64_const(32)
        .i64_shr_u()
        .i64_mul()
        .i64_add();
    w.local_get(Z).i64_const(32).i64_shr_u().i64_add();
    if inst.op == Op::SMulH64 {
        // Less y if x is negative, and the other way round.
        w.local_get(X).i64_const(63).i64_shr_s().local_get(Y).i64_and().i64_sub();
        w.local_get(Y).i64_const(63).i64_shr_s().local_get(X).i64_and().i64_sub();
    }
}

fn ternary(e: &mut Emitter, inst: &Inst) -> bool {
    use Op::*;
    match inst.op {
        Select => {
            e.get(inst.b);
            e.operand(inst.c, inst.imm);
            e.get(inst.a);
            e.wasm().i64_eqz().i32_eqz().select();
        }
        Shld64 | Shrd64 if inst.c == ir::IMM && inst.imm & 63 != 0 => {
            let n = inst.imm & 63;
            let left = inst.op == Shld64;
            e.get(inst.a);
            e.wasm().i64_const(n);
            let mut w = e.wasm();
            let _ = if left { w.i64_shl() } else { w.i64_shr_u() };
            e.get(inst.b);
            e.wasm().i64_const(64 - n);
            let mut w = e.wasm();
            let _ = if left { w.i64_shr_u() } else { w.i64_shl() };
            e.wasm().i64_or();
        }
        _ => return false,
    }
    e.set(inst.d);
    true
}

/// Division. What the quick form does not cover (#DE among it) is the interpreter's.
fn divide(e: &mut Emitter, inst: &Inst, pc: u64) -> bool {
    use Op::*;
    // X = dividend, Y = divisor, Z = quotient
    match inst.op {
        UDiv64 | SDiv64 => {
            e.get(inst.b);
            e.wasm().local_set(X);
            e.get(inst.c);
            e.wasm().local_tee(Y).i64_eqz();
            e.get(inst.a);
            if inst.op == UDiv64 {
                e.wasm().i64_eqz().i32_eqz().i32_or();
            } else {
                e.wasm().local_get(X).i64_const(63).i64_shr_s().i64_ne().i32_or();
                lowest_by_minus_one(e);
            }
        }
        UDiv32 | SDiv32 => {
            e.get(inst.a);
            e.wasm().i64_const(32).i64_shl();
            e.get32(inst.b);
            e.wasm().i64_extend_i32_u().i64_or().local_set(X);
            e.get32(inst.c);
            if inst.op == UDiv32 {
                e.wasm().i64_extend_i32_u().local_tee(Y).i64_eqz();
            } else {
                e.wasm().i64_extend_i32_s().local_tee(Y).i64_eqz();
                lowest_by_minus_one(e);
            }
        }
        _ => return false,
    }
    e.leave_if(pc);
    let signed = matches!(inst.op, SDiv32 | SDiv64);
    let mut w = e.wasm();
    w.local_get(X).local_get(Y);
    let _ = if signed { w.i64_div_s() } else { w.i64_div_u() };
    w.local_set(Z);
    let half = matches!(inst.op, UDiv32 | SDiv32);
    if half {
        // The quotient must fit.
        e.wasm().local_get(Z);
        if signed {
            e.wasm().i64_extend32_s().local_get(Z).i64_ne();
        } else {
            e.wasm().i64_const(32).i64_shr_u().i64_eqz().i32_eqz();
        }
        e.leave_if(pc);
    }
    let put = |e: &mut Emitter, slot: u8| {
        if half {
            e.wasm().i64_const(0xFFFF_FFFF).i64_and();
        }
        e.set(slot);
    };
    e.wasm().local_get(X).local_get(Z).local_get(Y).i64_mul().i64_sub();
    put(e, inst.d.wrapping_add(1));
    e.wasm().local_get(Z);
    put(e, inst.d);
    true
}

/// Adds to the condition on the stack the one division that Wasm traps on.
fn lowest_by_minus_one(e: &mut Emitter) {
    e.wasm()
        .local_get(X)
        .i64_const(i64::MIN)
        .i64_eq()
        .local_get(Y)
        .i64_const(-1)
        .i64_eq()
        .i32_and()
        .i32_or();
}
