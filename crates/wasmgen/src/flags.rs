//! The lazy flags, in locals: recording, conditions, and their way to memory. The meanings are those of [`ir::Flags`].

use crate::emit::{Emitter, FLAG_A, FLAG_B, FLAG_C, FLAG_KIND, X};
use crate::flag_state::{NONE, State, are_computable, count_mask, kind};
use ir::{
    AF, ARITH, CF, Cc, Class, Cpu, FlagKind, Flags, IMM, Inst, OF, Op, Operation, PF, SF, ZF,
};
use std::mem::offset_of;

/// A recorder or a reader of flags. False if the op is none.
pub fn emit(e: &mut Emitter, inst: &Inst, pc: u64) -> bool {
    let after = e.flags.after(inst);
    match inst.op.class() {
        Class::Flag | Class::Flag3 => {
            e.get(inst.a);
            e.operand(inst.b, inst.imm);
            e.wasm().local_set(FLAG_B).local_set(FLAG_A);
            if inst.op.class() == Class::Flag3 {
                e.get(inst.c);
                e.wasm().local_set(FLAG_C);
            }
            record(e, kind(inst.op));
        }
        Class::FlagShift => {
            if inst.b == IMM {
                let count = inst.imm & count_mask(inst.op);
                if count != 0 {
                    e.get(inst.a);
                    e.wasm().local_set(FLAG_A).i64_const(count).local_set(FLAG_B);
                    record(e, kind(inst.op));
                }
            } else {
                e.get(inst.b);
                e.wasm().i64_const(count_mask(inst.op)).i64_and().local_tee(X).i64_eqz().i32_eqz();
                e.begin_if();
                e.get(inst.a);
                e.wasm().local_set(FLAG_A).local_get(X).local_set(FLAG_B);
                record(e, kind(inst.op));
                e.end();
            }
        }
        Class::FlagInc if after != State::Memory => {
            carry(e);
            e.wasm().local_set(FLAG_C);
            e.get(inst.a);
            e.wasm().local_set(FLAG_A).i64_const(0).local_set(FLAG_B);
            record(e, kind(inst.op));
        }
        Class::PutFlags if after != State::Memory => {
            let mask = inst.imm as u64 & ARITH;
            e.get(inst.a);
            e.wasm().i64_const(mask as i64).i64_and();
            if mask != ARITH {
                bits(e, ARITH & !mask);
                e.wasm().i64_or();
            }
            e.wasm().local_set(FLAG_A);
            record(e, FlagKind::Explicit);
        }
        Class::FlagInc | Class::PutFlags => {
            to_memory(e);
            e.helper(inst, pc);
            e.wasm().i32_const(NONE).local_set(FLAG_KIND);
        }
        Class::GetCc => {
            condition(e, Cc::from_number(inst.c));
            e.wasm().i64_extend_i32_u();
            e.set(inst.d);
        }
        Class::SelCc => {
            e.get(inst.a);
            e.get(inst.b);
            condition(e, Cc::from_number(inst.c));
            e.wasm().select();
            e.set(inst.d);
        }
        Class::GetFlags if are_computable(e.flags) => {
            bits(e, ARITH);
            e.set(inst.d);
        }
        Class::GetFlags | Class::GetRflags => {
            to_memory(e);
            e.helper(inst, pc);
        }
        Class::SetDf => {
            let place = e.cpu_place(offset_of!(Cpu, df), 0);
            e.wasm().i32_const(0).i32_const(i32::from(inst.imm != 0)).i32_store8(place);
        }
        _ => return false,
    }
    e.flags = after;
    true
}

fn record(e: &mut Emitter, kind: FlagKind) {
    e.wasm().i32_const(i32::from(kind as u8)).local_set(FLAG_KIND);
}

/// Brings the flags up to date in memory. The locals stay as they are.
pub fn to_memory(e: &mut Emitter) {
    match e.flags {
        State::Memory => {}
        State::Known(kind) => store(e, Some(kind)),
        State::Mixed => {
            e.wasm().local_get(FLAG_KIND).i32_const(NONE).i32_ne();
            e.begin_if();
            store(e, None);
            e.end();
        }
    }
}

/// After a call or an op that may have changed them.
pub fn are_in_memory(e: &mut Emitter) {
    e.wasm().i32_const(NONE).local_set(FLAG_KIND);
    e.flags = State::Memory;
}

fn store(e: &mut Emitter, known: Option<FlagKind>) {
    let flags = offset_of!(Cpu, flags);
    let place = e.cpu_place(flags + offset_of!(Flags, kind), 0);
    e.wasm().i32_const(0);
    match known {
        Some(kind) => e.wasm().i32_const(i32::from(kind as u8)),
        None => e.wasm().local_get(FLAG_KIND),
    };
    e.wasm().i32_store8(place);
    let (b, c) = match known.map(FlagKind::operation) {
        None => (true, true),
        Some(Operation::Explicit) => (false, false),
        Some(Operation::Inc | Operation::Dec) => (false, true),
        Some(Operation::Adc | Operation::Sbb) => (true, true),
        Some(_) => (true, false),
    };
    let mut put = |local, offset| {
        let place = e.cpu_place(flags + offset, 3);
        e.wasm().i32_const(0).local_get(local).i64_store(place);
    };
    put(FLAG_A, offset_of!(Flags, a));
    if b {
        put(FLAG_B, offset_of!(Flags, b));
    }
    if c {
        put(FLAG_C, offset_of!(Flags, c));
    }
}

/// Pushes the bits of RFLAGS that `mask` selects; the state says that they are known.
fn bits(e: &mut Emitter, mask: u64) {
    let State::Known(kind) = e.flags else {
        e.wasm().i64_const(0);
        return;
    };
    let op = kind.operation();
    if op == Operation::Explicit {
        e.wasm().local_get(FLAG_A).i64_const(mask as i64).i64_and();
        return;
    }
    e.wasm().i64_const(0);
    for (flag, cc) in [(CF, Cc::B), (PF, Cc::P), (ZF, Cc::E), (SF, Cc::S), (OF, Cc::O)] {
        if mask & flag == 0 {
            continue;
        }
        if flag == CF {
            carry(e);
        } else {
            condition(e, cc);
            e.wasm().i64_extend_i32_u().i64_const(i64::from(flag.trailing_zeros())).i64_shl();
        }
        e.wasm().i64_or();
    }
    use Operation::{Logic, Sar, Shl, Shr};
    if mask & AF != 0 && !matches!(op, Logic | Shl | Shr | Sar) {
        // Bit 4 of a ^ b ^ result; what b is, of the result's, cancels out but for the carries.
        let mut w = e.wasm();
        w.local_get(FLAG_A).local_get(FLAG_A);
        match op {
            Operation::Add => w.local_get(FLAG_B).i64_add().local_get(FLAG_B),
            Operation::Sub => w.local_get(FLAG_B).i64_sub().local_get(FLAG_B),
            Operation::Adc => {
                w.local_get(FLAG_B).i64_add().local_get(FLAG_C).i64_add().local_get(FLAG_B)
            }
            Operation::Sbb => {
                w.local_get(FLAG_B).i64_sub().local_get(FLAG_C).i64_sub().local_get(FLAG_B)
            }
            Operation::Inc => w.i64_const(1).i64_add().i64_const(1),
            _ => w.i64_const(1).i64_sub().i64_const(1),
        };
        w.i64_xor().i64_xor().i64_const(AF as i64).i64_and().i64_or();
    }
}

/// A slot that no program sees, for answers of the helper.
const ANSWER: u8 = 40;

/// Pushes whether `cc` holds (`i32`, 0 or 1).
pub fn condition(e: &mut Emitter, cc: Cc) {
    let even = cc as u8 >> 1;
    let known = match e.flags {
        State::Known(kind) => of_kind(e, kind, even),
        _ => false,
    };
    if known {
        if cc as u8 & 1 != 0 {
            e.wasm().i32_eqz();
        }
        return;
    }
    to_memory(e);
    e.call_helper(&Inst { op: Op::GetCc, d: ANSWER, a: 0, b: 0, c: cc as u8, imm: 0 });
    e.wasm().drop();
    e.load_slot(ANSWER);
    e.wasm().i32_wrap_i64();
}

/// Pushes CF as `i64`; the state says that it is known.
fn carry(e: &mut Emitter) {
    if let State::Known(kind) = e.flags {
        match kind.operation() {
            Operation::Inc | Operation::Dec => {
                e.wasm().local_get(FLAG_C);
                return;
            }
            Operation::Explicit => {
                e.wasm().local_get(FLAG_A).i64_const(CF as i64).i64_and();
                return;
            }
            _ => {}
        }
    }
    condition(e, Cc::B);
    e.wasm().i64_extend_i32_u();
}

/// Values as wide as the kind, at the top of an `i32` or `i64`: comparisons and signs are those of the width.
struct Wide<'e, 'a> {
    e: &'e mut Emitter<'a>,
    bits: u32,
}

impl Wide<'_, '_> {
    /// Pushes a local.
    fn get(&mut self, local: u32) {
        let bits = self.bits;
        let mut w = self.e.wasm();
        w.local_get(local);
        if bits == 64 {
            return;
        }
        w.i32_wrap_i64();
        if bits < 32 {
            w.i32_const(32 - bits as i32).i32_shl();
        }
    }
    /// Pushes a number.
    fn number(&mut self, n: i64) {
        match self.bits {
            64 => self.e.wasm().i64_const(n),
            bits => self.e.wasm().i32_const((n as i32) << (32 - bits)),
        };
    }
    /// Pushes the lowest negative number.
    fn lowest(&mut self) {
        match self.bits {
            64 => self.e.wasm().i64_const(i64::MIN),
            _ => self.e.wasm().i32_const(i32::MIN),
        };
    }
}

macro_rules! wide_ops {
    ($($name:ident $narrow:ident $wide:ident;)*) => {
        impl Wide<'_, '_> {
            $(fn $name(&mut self) {
                if self.bits == 64 { self.e.wasm().$wide(); } else { self.e.wasm().$narrow(); }
            })*
        }
    };
}
wide_ops! {
    add i32_add i64_add; sub i32_sub i64_sub; and i32_and i64_and; xor i32_xor i64_xor;
    eq i32_eq i64_eq; eqz i32_eqz i64_eqz; lt_u i32_lt_u i64_lt_u; le_u i32_le_u i64_le_u;
    lt_s i32_lt_s i64_lt_s; le_s i32_le_s i64_le_s;
}

/// Pushes whether the even condition `even` (its number halved) holds for flags of `kind`; false if that is left to the
/// helper.
fn of_kind(e: &mut Emitter, kind: FlagKind, even: u8) -> bool {
    const O: u8 = 0;
    const B: u8 = 1;
    const E: u8 = 2;
    const BE: u8 = 3;
    const S: u8 = 4;
    const P: u8 = 5;
    const L: u8 = 6;
    let op = kind.operation();
    if op == Operation::Explicit {
        explicit(e, even);
        return true;
    }
    if matches!(op, Operation::Shl | Operation::Shr | Operation::Sar) {
        of_shift(e, op, kind.bits(), even);
        return true;
    }
    if even == P {
        return parity(e, op);
    }
    let mut w = Wide { e, bits: kind.bits() };
    match op {
        Operation::Sub => {
            if even == O {
                // (a ^ b) & (a ^ r) < 0
                w.get(FLAG_A);
                w.get(FLAG_B);
                w.xor();
                w.get(FLAG_A);
                w.get(FLAG_A);
                w.get(FLAG_B);
                w.sub();
                w.xor();
                w.and();
                w.number(0);
                w.lt_s();
                return true;
            }
            w.get(FLAG_A);
            w.get(FLAG_B);
            match even {
                B => w.lt_u(),
                E => w.eq(),
                BE => w.le_u(),
                S => {
                    w.sub();
                    w.number(0);
                    w.lt_s();
                }
                L => w.lt_s(),
                _ => w.le_s(),
            }
        }
        Operation::Logic => {
            if even == O || even == B {
                w.e.wasm().i32_const(0);
                return true;
            }
            w.get(FLAG_A);
            w.get(FLAG_B);
            w.and();
            match even {
                E | BE => w.eqz(),
                S | L => {
                    w.number(0);
                    w.lt_s();
                }
                _ => {
                    w.number(0);
                    w.le_s();
                }
            }
        }
        Operation::Add | Operation::Adc | Operation::Sbb => {
            let sum = |w: &mut Wide| {
                w.get(FLAG_A);
                w.get(FLAG_B);
                if op == Operation::Sbb {
                    w.sub();
                } else {
                    w.add();
                }
                if op != Operation::Add {
                    w.get(FLAG_C);
                    if op == Operation::Sbb {
                        w.sub();
                    } else {
                        w.add();
                    }
                }
            };
            let zero = |w: &mut Wide| {
                sum(w);
                w.eqz();
            };
            let sign = |w: &mut Wide| {
                sum(w);
                w.number(0);
                w.lt_s();
            };
            let carry = |w: &mut Wide| match op {
                Operation::Add => {
                    sum(w);
                    w.get(FLAG_A);
                    w.lt_u();
                }
                Operation::Adc => {
                    // Without a carry in: r < a; with one: r <= a.
                    sum(w);
                    w.get(FLAG_A);
                    w.lt_u();
                    sum(w);
                    w.get(FLAG_A);
                    w.eq();
                    w.e.wasm().local_get(FLAG_C).i32_wrap_i64().i32_and().i32_or();
                }
                _ => {
                    w.get(FLAG_A);
                    w.get(FLAG_B);
                    w.lt_u();
                    w.get(FLAG_A);
                    w.get(FLAG_B);
                    w.eq();
                    w.e.wasm().local_get(FLAG_C).i32_wrap_i64().i32_and().i32_or();
                }
            };
            let overflow = |w: &mut Wide| {
                w.get(FLAG_A);
                if op == Operation::Sbb {
                    w.get(FLAG_B);
                } else {
                    sum(w);
                }
                w.xor();
                if op == Operation::Sbb {
                    w.get(FLAG_A);
                } else {
                    w.get(FLAG_B);
                }
                sum(w);
                w.xor();
                w.and();
                w.number(0);
                w.lt_s();
            };
            combine(&mut w, even, &zero, &sign, &carry, &overflow);
        }
        Operation::Inc | Operation::Dec => {
            let inc = op == Operation::Inc;
            let result = |w: &mut Wide| {
                w.get(FLAG_A);
                w.number(1);
                if inc {
                    w.add();
                } else {
                    w.sub();
                }
            };
            let zero = |w: &mut Wide| {
                result(w);
                w.eqz();
            };
            let sign = |w: &mut Wide| {
                result(w);
                w.number(0);
                w.lt_s();
            };
            let carry = |w: &mut Wide| {
                w.e.wasm().local_get(FLAG_C).i32_wrap_i64();
            };
            let overflow = |w: &mut Wide| {
                if inc {
                    result(w);
                } else {
                    w.get(FLAG_A);
                }
                w.lowest();
                w.eq();
            };
            combine(&mut w, even, &zero, &sign, &carry, &overflow);
        }
        // Shifts and explicit bits: above.
        _ => return false,
    }
    true
}

type Part<'f> = &'f dyn Fn(&mut Wide);

/// Pushes an even condition made of ZF, SF, CF and OF.
fn combine(w: &mut Wide, even: u8, zero: Part, sign: Part, carry: Part, overflow: Part) {
    match even {
        0 => overflow(w),
        1 => carry(w),
        2 => zero(w),
        3 => {
            carry(w);
            zero(w);
            w.e.wasm().i32_or();
        }
        4 => sign(w),
        _ => {
            sign(w);
            overflow(w);
            w.e.wasm().i32_xor();
            if even == 7 {
                zero(w);
                w.e.wasm().i32_or();
            }
        }
    }
}

/// Pushes an even condition on a shift, whose masked count is in [`FLAG_B`] and not 0.
fn of_shift(e: &mut Emitter, op: Operation, bits: u32, even: u8) {
    // The operand as an `i64`, extended as the shift does.
    let operand = |w: &mut Wide| {
        let mut w = w.e.wasm();
        w.local_get(FLAG_A);
        match (op, bits) {
            (_, 64) => {}
            (Operation::Sar, 32) => {
                w.i64_extend32_s();
            }
            (Operation::Sar, 16) => {
                w.i64_extend16_s();
            }
            (Operation::Sar, _) => {
                w.i64_extend8_s();
            }
            _ => {
                w.i64_const((1 << bits) - 1).i64_and();
            }
        };
    };
    let result = |w: &mut Wide| {
        operand(w);
        let mut w = w.e.wasm();
        w.local_get(FLAG_B);
        match op {
            Operation::Shl => w.i64_shl(),
            Operation::Shr => w.i64_shr_u(),
            _ => w.i64_shr_s(),
        };
    };
    // The result at the top.
    let high = |w: &mut Wide| {
        result(w);
        if bits < 64 {
            w.e.wasm().i64_const(64 - i64::from(bits)).i64_shl();
        }
    };
    let zero = |w: &mut Wide| {
        high(w);
        w.e.wasm().i64_eqz();
    };
    let sign = |w: &mut Wide| {
        high(w);
        w.e.wasm().i64_const(0).i64_lt_s();
    };
    let carry = |w: &mut Wide| {
        match op {
            // What was shifted out last lies behind the result's top.
            Operation::Shl if bits < 64 => {
                result(w);
                w.e.wasm().i64_const(bits.into());
            }
            Operation::Shl => {
                operand(w);
                w.e.wasm().i64_const(64).local_get(FLAG_B).i64_sub();
            }
            _ => {
                operand(w);
                w.e.wasm().local_get(FLAG_B).i64_const(1).i64_sub();
            }
        }
        let mut w = w.e.wasm();
        w.i64_shr_u().i32_wrap_i64().i32_const(1).i32_and();
    };
    let overflow = |w: &mut Wide| match op {
        Operation::Shl => {
            sign(w);
            carry(w);
            w.e.wasm().i32_xor();
        }
        Operation::Shr => {
            operand(w);
            w.e.wasm().i64_const(i64::from(bits) - 1).i64_shr_u().i32_wrap_i64();
        }
        _ => {
            w.e.wasm().i32_const(0);
        }
    };
    let mut w = Wide { e, bits };
    if even == 5 {
        result(&mut w);
        even_bits(w.e);
        return;
    }
    combine(&mut w, even, &zero, &sign, &carry, &overflow);
}

/// Makes a value on the stack whether its low byte has an even number of bits.
fn even_bits(e: &mut Emitter) {
    let mut w = e.wasm();
    w.i64_const(0xFF).i64_and().i64_popcnt().i32_wrap_i64().i32_const(1).i32_and().i32_eqz();
}

/// Pushes PF: the low byte of the result has an even number of bits.
fn parity(e: &mut Emitter, op: Operation) -> bool {
    let mut w = e.wasm();
    w.local_get(FLAG_A);
    match op {
        Operation::Sub => w.local_get(FLAG_B).i64_sub(),
        Operation::Add => w.local_get(FLAG_B).i64_add(),
        Operation::Logic => w.local_get(FLAG_B).i64_and(),
        Operation::Inc => w.i64_const(1).i64_add(),
        Operation::Dec => w.i64_const(1).i64_sub(),
        Operation::Adc => w.local_get(FLAG_B).i64_add().local_get(FLAG_C).i64_add(),
        Operation::Sbb => w.local_get(FLAG_B).i64_sub().local_get(FLAG_C).i64_sub(),
        _ => {
            w.drop();
            return false;
        }
    };
    even_bits(e);
    true
}

/// Pushes an even condition on the bits in [`FLAG_A`].
fn explicit(e: &mut Emitter, even: u8) {
    let mut w = e.wasm();
    let any = |mask: u64, w: &mut wasm_encoder::InstructionSink| {
        w.local_get(FLAG_A).i64_const(mask as i64).i64_and().i64_eqz().i32_eqz();
    };
    match even {
        0 => any(OF, &mut w),
        1 => any(CF, &mut w),
        2 => any(ZF, &mut w),
        3 => any(CF | ZF, &mut w),
        4 => any(SF, &mut w),
        5 => any(PF, &mut w),
        _ => {
            any(SF, &mut w);
            any(OF, &mut w);
            w.i32_xor();
            if even == 7 {
                any(ZF, &mut w);
                w.i32_or();
            }
        }
    }
}
