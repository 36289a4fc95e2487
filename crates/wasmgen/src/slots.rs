//! Sets of slots, and which an instruction names.

use ir::{Class, FS_BASE, HIGH, IMM, Inst, Op, Operand, T0, VT0, reg};

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slots {
    /// Integer slots by bit.
    pub ints: u64,
    /// Vector slots by bit.
    pub vectors: u64,
}

/// Slots that mean something between guest instructions.
const LASTING: Slots =
    Slots { ints: (1 << T0) - 1 | 1 << FS_BASE | 1 << ir::GS_BASE, vectors: (1 << VT0) - 1 };

impl Slots {
    /// Both.
    pub fn or(self, other: Slots) -> Slots {
        Slots { ints: self.ints | other.ints, vectors: self.vectors | other.vectors }
    }

    /// What is in both.
    pub fn and(self, other: Slots) -> Slots {
        Slots { ints: self.ints & other.ints, vectors: self.vectors & other.vectors }
    }

    /// What is not in `other`.
    pub fn without(self, other: Slots) -> Slots {
        Slots { ints: self.ints & !other.ints, vectors: self.vectors & !other.vectors }
    }

    /// Whether all of `other` is in it.
    pub fn contains(self, other: Slots) -> bool {
        other.without(self) == Slots::default()
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.ints.count_ones() + self.vectors.count_ones()
    }

    /// Without temporaries and the zero slot.
    pub fn lasting(self) -> Slots {
        Slots { ints: self.ints & LASTING.ints, vectors: self.vectors & LASTING.vectors }
    }

    fn int(&mut self, slot: u8) {
        if slot != IMM {
            self.ints |= 1 << (slot & 63);
        }
    }

    fn vector(&mut self, slot: u8) {
        self.vectors |= 1 << (slot & 63);
    }
}

/// Slots that `inst` names: read, and written.
pub fn operands(inst: &Inst) -> (Slots, Slots) {
    let (mut reads, mut writes) = (Slots::default(), Slots::default());
    for slot in inst.reads() {
        reads.int(slot);
    }
    for slot in inst.writes() {
        writes.int(slot);
    }
    for operand in inst.op.class().operands() {
        match operand {
            Operand::Vd => writes.vector(inst.d),
            Operand::Vs => reads.vector(inst.d),
            Operand::Va => reads.vector(inst.a),
            Operand::Vb => reads.vector(inst.b),
            Operand::Vc => reads.vector(inst.c),
            Operand::Yd => {
                writes.vector(inst.d);
                writes.vector(inst.d + HIGH);
            }
            Operand::Ya => {
                reads.vector(inst.a);
                reads.vector(inst.a + HIGH);
            }
            Operand::Yb => {
                reads.vector(inst.b);
                reads.vector(inst.b + HIGH);
            }
            Operand::Yc => {
                reads.vector(inst.c);
                reads.vector(inst.c + HIGH);
            }
            _ => {}
        }
    }
    // Those that are repeated: others are other ops by then, or not translated.
    if inst.op.class() == Class::Str {
        writes.ints |= 1 << reg::RCX | 1 << reg::RDI;
        match inst.op {
            Op::Movs => writes.int(reg::RSI),
            _ => reads.int(reg::RAX),
        }
        reads.ints |= writes.ints;
    }
    // Fields of the other classes without a vector operand mean what their function says.
    if inst.op.class() == Class::State {
        reads = Slots::default();
        writes = Slots::default();
    }
    (reads, writes)
}

/// Bit numbers of a set.
pub fn bits(set: u64) -> impl Iterator<Item = u8> {
    (0..64).filter(move |bit| set >> bit & 1 != 0)
}
