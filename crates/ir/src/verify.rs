//! The verifier: what every reader of IR may take for granted.

use crate::block::{Block, Inst, Term};
use crate::{FS_BASE, HIGH, IMM, Operand, SLOTS, T0, VSLOTS, VT0, ZERO};

/// A rule that a block breaks.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    /// A slot number that does not exist.
    #[error("instruction {at} (`{inst}`): no such slot")]
    NoSuchSlot {
        /// Index of the instruction.
        at: usize,
        /// Its text.
        inst: String,
    },
    /// A write to [`ZERO`].
    #[error("instruction {at} (`{inst}`): writes the zero slot")]
    WritesZero {
        /// Index of the instruction.
        at: usize,
        /// Its text.
        inst: String,
    },
    /// A shift of an index above 3 or a condition above 15.
    #[error("instruction {at} (`{inst}`): number out of range")]
    OutOfRange {
        /// Index of the instruction.
        at: usize,
        /// Its text.
        inst: String,
    },
    /// A temporary is read that the same guest instruction did not write.
    #[error("instruction {at} (`{inst}`): reads a temporary that was not written")]
    UnwrittenTemp {
        /// Index of the instruction.
        at: usize,
        /// Its text.
        inst: String,
    },
    /// Marks are not ascending, or the first is not at the block's start.
    #[error("mark {at} is out of order")]
    Marks {
        /// Index of the mark.
        at: usize,
    },
    /// The slot of the block's end does not exist.
    #[error("the block's end names no slot")]
    BadTerm,
}

impl Inst {
    /// Integer slots read, up to three.
    pub fn reads(&self) -> impl Iterator<Item = u8> + '_ {
        self.op.class().operands().iter().flat_map(|o| {
            let (x, y) = match o {
                Operand::Ds => (self.d, IMM),
                Operand::A => (self.a, IMM),
                Operand::B | Operand::Bi => (self.b, IMM),
                Operand::C | Operand::Ci => (self.c, IMM),
                Operand::Mem => (self.a, self.b),
                _ => (IMM, IMM),
            };
            [x, y].into_iter().filter(|s| *s != IMM)
        })
    }

    /// Integer slots written, up to two.
    pub fn writes(&self) -> impl Iterator<Item = u8> + '_ {
        self.op.class().operands().iter().flat_map(|o| {
            let (x, y) = match o {
                Operand::D => (self.d, IMM),
                Operand::D2 => (self.d, self.d.wrapping_add(1)),
                _ => (IMM, IMM),
            };
            [x, y].into_iter().filter(|s| *s != IMM)
        })
    }
}

fn is_temp(slot: u8) -> bool {
    (T0..FS_BASE).contains(&slot)
}

impl Block {
    /// Checks every rule of the crate's page that a machine can check.
    pub fn verify(&self) -> Result<(), VerifyError> {
        for (at, pair) in self.marks.windows(2).enumerate() {
            if pair[0].inst > pair[1].inst || pair[0].offset >= pair[1].offset {
                return Err(VerifyError::Marks { at: at + 1 });
            }
        }
        if self.marks.first().is_some_and(|m| m.inst != 0 || m.offset != 0) {
            return Err(VerifyError::Marks { at: 0 });
        }
        let mut written = 0u16;
        let mut marks = self.marks.iter().peekable();
        for (at, inst) in self.insts.iter().enumerate() {
            while marks.next_if(|m| m.inst as usize <= at).is_some() {
                written = 0;
            }
            inst.verify(at)?;
            if inst.reads().any(|s| is_temp(s) && written & 1 << (s - T0) == 0) {
                return Err(VerifyError::UnwrittenTemp { at, inst: inst.to_string() });
            }
            for s in inst.writes().filter(|s| is_temp(*s)) {
                written |= 1 << (s - T0);
            }
        }
        match self.term {
            Term::BranchNz { slot, .. }
            | Term::JumpIndirect { slot }
            | Term::CallIndirect { slot, .. }
            | Term::Ret { slot }
                if usize::from(slot) >= SLOTS =>
            {
                Err(VerifyError::BadTerm)
            }
            _ => Ok(()),
        }
    }
}

impl Inst {
    fn verify(&self, at: usize) -> Result<(), VerifyError> {
        let inst = || self.to_string();
        for operand in self.op.class().operands() {
            // The fields of a `State` op mean what its function says: an integer or a vector slot.
            let state = self.op.class() == crate::Class::State;
            let slots = if state { VSLOTS } else { SLOTS };
            let integer = |s: u8| usize::from(s) < slots;
            let vector = |s: u8| usize::from(s) < VSLOTS;
            // The low half of a register or of a temporary.
            let pair = |s: u8| s < VT0 + 16 && s & HIGH == 0;
            let exists = match operand {
                Operand::D | Operand::Ds => integer(self.d),
                Operand::D2 => integer(self.d) && integer(self.d + 1),
                Operand::A => integer(self.a),
                Operand::B => integer(self.b),
                Operand::C => integer(self.c),
                Operand::Bi => self.b == IMM || integer(self.b),
                Operand::Ci => self.c == IMM || integer(self.c),
                Operand::Mem => integer(self.a) && integer(self.b),
                Operand::Vd | Operand::Vs => vector(self.d),
                Operand::Va => vector(self.a),
                Operand::Vb => vector(self.b),
                Operand::Vc => vector(self.c),
                Operand::Yd => pair(self.d),
                Operand::Ya => pair(self.a),
                Operand::Yb => pair(self.b),
                Operand::Yc => pair(self.c),
                Operand::Imm | Operand::Cc | Operand::N => true,
            };
            if !exists {
                return Err(VerifyError::NoSuchSlot { at, inst: inst() });
            }
            let in_range = match operand {
                Operand::Mem => self.b == ZERO || self.c <= 3,
                Operand::Cc => self.c <= 15,
                _ => true,
            };
            if !in_range {
                return Err(VerifyError::OutOfRange { at, inst: inst() });
            }
        }
        if self.op.class() != crate::Class::State && self.writes().any(|s| s == ZERO) {
            return Err(VerifyError::WritesZero { at, inst: inst() });
        }
        Ok(())
    }
}
