//! What is known of the floats in vector slots: those that need no look before an operation. A number is *usual* if it is
//! normal or zero: it raises no exception by itself.

use crate::coverage::is_opaque;
use crate::slots::{Slots, operands};
use ir::{Inst, Op};

/// Width of a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 32 bits.
    Single,
    /// 64 bits.
    Double,
}
use Width::{Double, Single};

/// Vector slots by bit, for each width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Lane 0 is usual.
    low: [u64; 2],
    /// All lanes are usual (so is lane 0), and none is a number of the smallest binade.
    all: [u64; 2],
}

/// What an op does with floats, if it is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `d = a` with lane 0 = f(lane 0 of `a`, lane 0 of `b`).
    Binary(Width),
    /// `d = a` with lane 0 = f(lane 0 of `b`).
    Unary(Width),
    /// `d = a` with lane 0 = lane 0 of `b` in this width, from the other.
    Convert(Width),
    /// `d = a` with lane 0 = integer `b`.
    FromInteger(Width),
    /// Integer `d` = f(lane 0 of `a`).
    ToInteger(Width),
    /// Integer `d` = f(lane 0 of `a`, lane 0 of `b`).
    Order(Width),
    /// `d = a` with lane 0 = mask by lane 0 of `a` and `b`.
    Compare(Width),
    /// `d` = f(`a`, `b`).
    PackedBinary(Width),
    /// `d` = f(`a`).
    PackedUnary(Width),
    /// `d` = masks by `a` and `b`.
    PackedCompare(Width),
    /// `d` = singles of the integers `a`.
    FromIntegers,
    /// `d` = integers of the singles `a`.
    ToIntegers,
}

/// The shape of an op that is translated as one of floats.
pub fn shape(op: Op) -> Option<Shape> {
    use Op::*;
    use Shape::*;
    Some(match op {
        Addss | Subss | Mulss | Divss | Minss | Maxss => Binary(Single),
        Addsd | Subsd | Mulsd | Divsd | Minsd | Maxsd => Binary(Double),
        Sqrtss | Roundss => Unary(Single),
        Sqrtsd | Roundsd => Unary(Double),
        Cvtsd2ss => Convert(Single),
        Cvtss2sd => Convert(Double),
        Cvtsi2ss32 | Cvtsi2ss64 => FromInteger(Single),
        Cvtsi2sd32 | Cvtsi2sd64 => FromInteger(Double),
        Cvttss2si32 | Cvttss2si64 | Cvtss2si32 | Cvtss2si64 => ToInteger(Single),
        Cvttsd2si32 | Cvttsd2si64 | Cvtsd2si32 | Cvtsd2si64 => ToInteger(Double),
        Comiss | Ucomiss => Order(Single),
        Comisd | Ucomisd => Order(Double),
        Cmpss => Compare(Single),
        Cmpsd => Compare(Double),
        Addps | Subps | Mulps | Divps | Minps | Maxps => PackedBinary(Single),
        Addpd | Subpd | Mulpd | Divpd | Minpd | Maxpd => PackedBinary(Double),
        Addps256 | Subps256 | Mulps256 | Divps256 | Minps256 | Maxps256 => PackedBinary(Single),
        Addpd256 | Subpd256 | Mulpd256 | Divpd256 | Minpd256 | Maxpd256 => PackedBinary(Double),
        Sqrtps | Sqrtps256 => PackedUnary(Single),
        Sqrtpd | Sqrtpd256 => PackedUnary(Double),
        Cmpps | Cmpps256 => PackedCompare(Single),
        Cmppd | Cmppd256 => PackedCompare(Double),
        Cvtdq2ps | Cvtdq2ps256 => FromIntegers,
        Cvtps2dq | Cvttps2dq | Cvtps2dq256 | Cvttps2dq256 => ToIntegers,
        _ => return None,
    })
}

/// Whether the op works on pairs of slots: those named and [`ir::HIGH`] more.
pub fn is_wide(op: Op) -> bool {
    matches!(op.class(), ir::Class::Y1 | ir::Class::Y2 | ir::Class::Y2i)
}

impl Known {
    /// Everything of every slot that lasts.
    pub const EVERYTHING: Known = {
        let lasting = [(1 << ir::VT0) - 1; 2];
        Known { low: lasting, all: lasting }
    };

    /// The slots of which something is known.
    pub fn slots(&self) -> Slots {
        Slots { ints: 0, vectors: self.low[0] | self.low[1] | self.all[0] | self.all[1] }
    }

    /// Whether lane 0 of `slot` is usual.
    pub fn low(&self, width: Width, slot: u8) -> bool {
        self.low[width as usize] >> slot & 1 != 0
    }

    /// Whether all lanes of `slot` are.
    pub fn all(&self, width: Width, slot: u8) -> bool {
        self.all[width as usize] >> slot & 1 != 0
    }

    /// What is known where two ways meet.
    pub fn meet(self, other: Known) -> Known {
        let meet = |a: [u64; 2], b: [u64; 2]| [a[0] & b[0], a[1] & b[1]];
        Known { low: meet(self.low, other.low), all: meet(self.all, other.all) }
    }

    /// What of this is of lane 0 of `slot`.
    pub fn low_of(self, width: Width, slot: u8) -> Known {
        let mut known = Known::default();
        known.low[width as usize] = self.low[width as usize] & 1 << slot;
        known
    }

    fn set_low(&mut self, width: Width, slot: u8) {
        self.low[width as usize] |= 1 << slot;
    }

    fn set_all(&mut self, width: Width, slot: u8) {
        self.set_low(width, slot);
        self.all[width as usize] |= 1 << slot;
    }

    /// Either.
    pub fn join(self, other: Known) -> Known {
        let join = |a: [u64; 2], b: [u64; 2]| [a[0] | b[0], a[1] | b[1]];
        Known { low: join(self.low, other.low), all: join(self.all, other.all) }
    }

    /// What is to be known before `inst`, of slots that are still what they are then, if this is to be known after it.
    pub fn wanted_before(mut self, inst: &Inst) -> Known {
        if is_opaque(inst.op) {
            return Known::default();
        }
        let after = self;
        let written = operands(inst).1.vectors;
        for set in self.low.iter_mut().chain(&mut self.all) {
            *set &= !written;
        }
        if inst.op == Op::VMov {
            for w in [0, 1] {
                self.low[w] |= (after.low[w] >> inst.d & 1) << inst.a;
                self.all[w] |= (after.all[w] >> inst.d & 1) << inst.a;
            }
        }
        self.look_at_operands(inst);
        self
    }

    /// The operands that `inst` looks at.
    fn look_at_operands(&mut self, inst: &Inst) {
        let (a, b) = (inst.a, inst.b);
        match shape(inst.op) {
            Some(Shape::Binary(w) | Shape::Order(w) | Shape::Compare(w)) => {
                self.set_low(w, a);
                self.set_low(w, b);
            }
            Some(Shape::Unary(w)) => self.set_low(w, b),
            Some(Shape::ToInteger(w)) => self.set_low(w, a),
            Some(Shape::Convert(Double)) => self.set_low(Single, b),
            Some(Shape::PackedBinary(w) | Shape::PackedCompare(w)) => {
                for high in (0..=ir::HIGH).step_by(16).take(1 + usize::from(is_wide(inst.op))) {
                    self.set_all(w, a + high);
                    self.set_all(w, b + high);
                }
            }
            Some(Shape::PackedUnary(w)) => {
                for high in (0..=ir::HIGH).step_by(16).take(1 + usize::from(is_wide(inst.op))) {
                    self.set_all(w, a + high);
                }
            }
            Some(Shape::ToIntegers) => {
                for high in (0..=ir::HIGH).step_by(16).take(1 + usize::from(is_wide(inst.op))) {
                    self.set_all(Single, a + high);
                }
            }
            _ => {}
        }
    }

    /// What is known after `inst`.
    pub fn after(mut self, inst: &Inst) -> Known {
        if is_opaque(inst.op) {
            return Known::default();
        }
        let before = self;
        let (a, b) = (inst.a, inst.b);
        let shape = shape(inst.op);
        self.look_at_operands(inst);
        let written = operands(inst).1.vectors;
        for set in self.low.iter_mut().chain(&mut self.all) {
            *set &= !written;
        }
        let d = inst.d;
        match (shape, inst.op) {
            (
                Some(
                    Shape::Binary(w) | Shape::Unary(w) | Shape::Convert(w) | Shape::FromInteger(w),
                ),
                _,
            ) => self.set_low(w, d),
            (Some(Shape::PackedBinary(w) | Shape::PackedUnary(w)), _) => {
                for high in (0..=ir::HIGH).step_by(16).take(1 + usize::from(is_wide(inst.op))) {
                    self.set_all(w, d + high);
                }
            }
            (Some(Shape::FromIntegers), _) => {
                for high in (0..=ir::HIGH).step_by(16).take(1 + usize::from(is_wide(inst.op))) {
                    self.set_all(Single, d + high);
                }
            }
            (None, Op::Pxor) if a == b => {
                self.set_all(Single, d);
                self.set_all(Double, d);
            }
            (None, Op::Cvtdq2pd) => self.set_all(Double, d),
            (None, Op::VMov) => {
                for w in [Single, Double] {
                    self.low[w as usize] |= u64::from(before.low(w, a)) << d;
                    self.all[w as usize] |= u64::from(before.all(w, a)) << d;
                }
            }
            (None, Op::Movsd | Op::Movq | Op::Movlhps | Op::Punpcklqdq | Op::Movddup) => {
                let from = if inst.op == Op::Movsd { b } else { a };
                let both = match inst.op {
                    Op::Movsd => before.all(Double, a) && before.all(Double, b),
                    Op::Movq => before.all(Double, a),
                    Op::Movddup => before.all(Double, a),
                    _ => before.all(Double, a) && before.all(Double, b),
                };
                self.low[Double as usize] |= u64::from(before.low(Double, from)) << d;
                self.all[Double as usize] |= u64::from(both) << d;
            }
            (None, Op::Movss) => self.low[Single as usize] |= u64::from(before.low(Single, b)) << d,
            (None, Op::Pshufd) if before.all(Single, a) => self.set_all(Single, d),
            (None, Op::Shufps | Op::Punpckldq | Op::Punpckhdq | Op::Movhlps)
                if before.all(Single, a) && before.all(Single, b) =>
            {
                self.set_all(Single, d);
            }
            (None, Op::Shufpd | Op::Punpckhqdq)
                if before.all(Double, a) && before.all(Double, b) =>
            {
                self.set_all(Double, d);
            }
            _ => {}
        }
        self
    }
}
