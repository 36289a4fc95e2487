//! Instructions, basic blocks and their builder.

use crate::flags::Cc;
use crate::{IMM, Op, T0, VT0, ZERO};

/// One IR instruction: 16 bytes. What the fields mean depends on the op's [`crate::Class`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Inst {
    /// What to do.
    pub op: Op,
    /// Destination slot (or the datum of a store).
    pub d: u8,
    /// First operand slot; base of a memory operand.
    pub a: u8,
    /// Second operand slot or [`IMM`]; index of a memory operand.
    pub b: u8,
    /// Third operand slot, condition code, or shift of the index.
    pub c: u8,
    /// Immediate or displacement.
    pub imm: i64,
}

/// Where the IR of a guest instruction starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Index into [`Block::insts`].
    pub inst: u32,
    /// Offset of the guest instruction from [`Block::pc`].
    pub offset: u32,
}

/// Why execution cannot go on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrapKind {
    /// #UD: undefined instruction (SIGILL). `rip` = the instruction.
    Ud,
    /// #DE: division (SIGFPE, `FPE_INTDIV`). `rip` = the instruction.
    De,
    /// #BP: int3 (SIGTRAP). `rip` = after the instruction.
    Bp,
    /// #DB: int1 (SIGTRAP). `rip` = after the instruction.
    Db,
    /// #DB: the trap flag is set (SIGTRAP). `rip` = after the instruction.
    Step,
    /// #OF: int 4 (SIGSEGV). `rip` = after the instruction.
    Of,
    /// #GP: privileged or misaligned (SIGSEGV, `SI_KERNEL`). `rip` = the instruction.
    Gp,
    /// #XM: unmasked SSE exception (SIGFPE); MXCSR says which. `rip` = the instruction.
    Xm,
    /// #MF: pending unmasked x87 exception (SIGFPE). `rip` = the instruction.
    Mf,
    /// `int 0x80`: the 32-bit system call. `rip` = after the instruction.
    Int80,
}

/// How a block ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// Goes on at `target`.
    Jump {
        /// Guest address.
        target: u64,
    },
    /// Goes on at `taken` if `cc` holds.
    Branch {
        /// Condition on the flags.
        cc: Cc,
        /// Address if it holds.
        taken: u64,
        /// Address if not.
        fallthrough: u64,
    },
    /// Goes on at `taken` if integer slot `slot` is not zero (loop, jrcxz).
    BranchNz {
        /// Integer slot.
        slot: u8,
        /// Address if not zero.
        taken: u64,
        /// Address if zero.
        fallthrough: u64,
    },
    /// Goes on at the address in `slot`.
    JumpIndirect {
        /// Integer slot.
        slot: u8,
    },
    /// As [`Term::Jump`]; the return address `ret` was pushed.
    Call {
        /// Guest address.
        target: u64,
        /// Return address.
        ret: u64,
    },
    /// As [`Term::JumpIndirect`]; the return address `ret` was pushed.
    CallIndirect {
        /// Integer slot.
        slot: u8,
        /// Return address.
        ret: u64,
    },
    /// As [`Term::JumpIndirect`]; the address was popped.
    Ret {
        /// Integer slot.
        slot: u8,
    },
    /// The SYSCALL instruction: rcx, r11 and rip are already written by ops of the block.
    Syscall {
        /// Address after the instruction.
        next: u64,
    },
    /// Stops with `kind`.
    Trap {
        /// Why.
        kind: TrapKind,
        /// What `rip` shall be.
        pc: u64,
    },
}

/// A basic block: straight-line IR of consecutive guest instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Guest address of the first instruction.
    pub pc: u64,
    /// Guest bytes covered.
    pub len: u32,
    /// The IR.
    pub insts: Vec<Inst>,
    /// Start of each guest instruction, ascending; one for each, also for those without IR of their own.
    pub marks: Vec<Mark>,
    /// How it ends.
    pub term: Term,
}

impl Block {
    /// Guest address of the instruction that IR instruction `inst` belongs to.
    pub fn pc_of(&self, inst: u32) -> u64 {
        let n = self.marks.partition_point(|m| m.inst <= inst);
        let offset = n.checked_sub(1).and_then(|n| self.marks.get(n)).map_or(0, |m| m.offset);
        self.pc.wrapping_add(u64::from(offset))
    }
}

/// Collects the IR of a block.
#[derive(Debug)]
pub struct Builder {
    pc: u64,
    insts: Vec<Inst>,
    marks: Vec<Mark>,
    temp: u8,
    vtemp: u8,
}

impl Builder {
    /// Starts a block at guest address `pc`.
    pub fn new(pc: u64) -> Builder {
        Builder { pc, insts: Vec::new(), marks: Vec::new(), temp: 0, vtemp: 0 }
    }

    /// Starts the guest instruction at address `pc` (not before the block's): temporaries are free again.
    pub fn begin(&mut self, pc: u64) {
        let offset = pc.wrapping_sub(self.pc) as u32;
        self.marks.push(Mark { inst: self.insts.len() as u32, offset });
        self.temp = 0;
        self.vtemp = 0;
    }

    /// Takes back what was emitted since the last [`Builder::begin`], with its mark.
    pub fn cancel(&mut self) {
        if let Some(mark) = self.marks.pop() {
            self.insts.truncate(mark.inst as usize);
        }
    }

    /// A fresh integer temporary. There are 16 in one guest instruction; then they are reused from the first.
    pub fn temp(&mut self) -> u8 {
        let t = T0 + self.temp % 16;
        debug_assert!(self.temp < 16, "out of integer temporaries");
        self.temp += 1;
        t
    }

    /// A fresh vector temporary; as [`Builder::temp`].
    pub fn vtemp(&mut self) -> u8 {
        let t = VT0 + self.vtemp % 16;
        debug_assert!(self.vtemp < 16, "out of vector temporaries");
        self.vtemp += 1;
        t
    }

    /// Appends an instruction.
    pub fn push(&mut self, inst: Inst) {
        self.insts.push(inst);
    }

    /// Appends one with all fields given.
    pub fn emit(&mut self, op: Op, d: u8, a: u8, b: u8, c: u8, imm: i64) {
        self.push(Inst { op, d, a, b, c, imm });
    }

    /// `d = op(a)`.
    pub fn r1(&mut self, op: Op, d: u8, a: u8) {
        self.emit(op, d, a, ZERO, ZERO, 0);
    }

    /// `d = op(a, b)`.
    pub fn r2(&mut self, op: Op, d: u8, a: u8, b: u8) {
        self.emit(op, d, a, b, ZERO, 0);
    }

    /// `d = op(a, imm)`.
    pub fn r2i(&mut self, op: Op, d: u8, a: u8, imm: i64) {
        self.emit(op, d, a, IMM, ZERO, imm);
    }

    /// `d = imm`.
    pub fn li(&mut self, d: u8, imm: i64) {
        self.emit(Op::Li, d, ZERO, ZERO, ZERO, imm);
    }

    /// IR instructions so far.
    pub fn len(&self) -> usize {
        self.insts.len()
    }

    /// True before the first IR instruction.
    pub fn is_empty(&self) -> bool {
        self.insts.is_empty()
    }

    /// Guest instructions begun so far.
    pub fn guest_len(&self) -> usize {
        self.marks.len()
    }

    /// Ends the block; `len` is the number of guest bytes covered.
    pub fn finish(self, len: u32, term: Term) -> Block {
        Block { pc: self.pc, len, insts: self.insts, marks: self.marks, term }
    }
}
