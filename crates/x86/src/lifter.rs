//! What every family shares: the instruction at hand and access to its operands.

use iced_x86::{Instruction, OpKind, Register};
use ir::{Builder, FS_BASE, GS_BASE, IMM, Op, Term, ZERO, reg};

use crate::LiftOptions;

/// This instruction or form is not lifted: the block ends with #UD.
#[derive(Debug)]
pub(crate) struct Unsupported;
/// Result of a lifting function.
pub(crate) type Lifted = Result<(), Unsupported>;

/// A memory operand in the fields of an [`ir::Inst`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mem {
    pub a: u8,
    pub b: u8,
    pub c: u8,
    pub imm: i64,
}

/// A source: a slot or a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Src {
    Slot(u8),
    Imm(i64),
}

/// Builder and operand access for one block; [`Lifter::ins`] is the instruction at hand.
pub(crate) struct Lifter {
    pub b: Builder,
    pub ins: Instruction,
    /// Address of the instruction.
    pub pc: u64,
    /// Address after the instruction.
    pub next: u64,
    #[allow(dead_code)]
    pub options: LiftOptions,
    /// Set by an instruction that ends the block.
    pub term: Option<Term>,
    mem: Option<Mem>,
}

/// An op for each operand size: 8, 16, 32, 64 bits.
pub(crate) type BySize = [Op; 4];

impl Lifter {
    pub fn new(b: Builder, options: LiftOptions) -> Lifter {
        Lifter { b, ins: Instruction::default(), pc: 0, next: 0, options, term: None, mem: None }
    }

    /// Moves on to `ins` at `pc`.
    pub fn begin(&mut self, ins: Instruction, pc: u64) {
        self.b.begin(pc);
        self.ins = ins;
        self.pc = pc;
        self.next = ins.next_ip();
        self.mem = None;
    }

    /// Number of explicit operands.
    pub fn operands(&self) -> u32 {
        self.ins.op_count()
    }

    pub fn is_mem(&self, n: u32) -> bool {
        self.ins.op_kind(n) == OpKind::Memory
    }

    pub fn is_reg(&self, n: u32) -> bool {
        self.ins.op_kind(n) == OpKind::Register
    }

    pub fn is_imm(&self, n: u32) -> bool {
        !self.is_mem(n) && !self.is_reg(n)
    }

    /// Size of operand `n` in bytes; an immediate has that of operand 0.
    pub fn size(&self, n: u32) -> usize {
        match self.ins.op_kind(n) {
            OpKind::Register => self.ins.op_register(n).size(),
            OpKind::Memory => self.ins.memory_size().size(),
            _ if n > 0 => self.size(0),
            OpKind::Immediate8 | OpKind::Immediate8_2nd => 1,
            OpKind::Immediate16 | OpKind::Immediate8to16 => 2,
            OpKind::Immediate32 | OpKind::Immediate8to32 => 4,
            _ => 8,
        }
    }

    /// Index 0..=3 (8, 16, 32, 64 bits) of the size of operand `n`, for a [`BySize`] table.
    pub fn size_index(&self, n: u32) -> Result<usize, Unsupported> {
        match self.size(n) {
            1 => Ok(0),
            2 => Ok(1),
            4 => Ok(2),
            8 => Ok(3),
            _ => Err(Unsupported),
        }
    }

    /// The immediate operand `n`, sign-extended as the encoding says.
    pub fn imm(&self, n: u32) -> i64 {
        self.ins.immediate(n) as i64
    }

    /// Slot of a general register of any width, and true for AH, CH, DH, BH.
    pub fn gpr(r: Register) -> Result<(u8, bool), Unsupported> {
        if !r.is_gpr() {
            return Err(Unsupported);
        }
        let high = matches!(r, Register::AH | Register::CH | Register::DH | Register::BH);
        let n = r.full_register().number() as u8;
        Ok((n, high))
    }

    /// The low bits of the result are the value of operand `n`, whatever its size; higher bits are unspecified (a register
    /// operand is its slot).
    pub fn read(&mut self, n: u32) -> Result<u8, Unsupported> {
        match self.ins.op_kind(n) {
            OpKind::Register => {
                let r = self.ins.op_register(n);
                if r.is_segment_register() {
                    let t = self.b.temp();
                    let n = i64::from(r.number() as u8);
                    self.b.emit(Op::Selector, t, ZERO, ZERO, ZERO, n);
                    return Ok(t);
                }
                let (slot, high) = Lifter::gpr(r)?;
                if high {
                    let t = self.b.temp();
                    self.b.r1(Op::Zx8h, t, slot);
                    return Ok(t);
                }
                Ok(slot)
            }
            OpKind::Memory => {
                let t = self.b.temp();
                let bytes = self.ins.memory_size().size();
                self.load(t, n, bytes)?;
                Ok(t)
            }
            _ => {
                let t = self.b.temp();
                let imm = self.imm(n);
                self.b.li(t, imm);
                Ok(t)
            }
        }
    }

    /// As [`Lifter::read`], but an immediate stays one.
    pub fn src(&mut self, n: u32) -> Result<Src, Unsupported> {
        if self.is_imm(n) { Ok(Src::Imm(self.imm(n))) } else { self.read(n).map(Src::Slot) }
    }

    /// The value of operand `n`, zero-extended to 64 bits in a slot that may be a register's.
    pub fn read_zx(&mut self, n: u32) -> Result<u8, Unsupported> {
        let slot = self.read(n)?;
        if self.is_mem(n) {
            return Ok(slot);
        }
        let op = [Op::Zx8, Op::Zx16, Op::Mov32, Op::Mov][self.size_index(n)?];
        if op == Op::Mov {
            return Ok(slot);
        }
        let t = self.b.temp();
        self.b.r1(op, t, slot);
        Ok(t)
    }

    /// As [`Lifter::read_zx`], sign-extended.
    pub fn read_sx(&mut self, n: u32) -> Result<u8, Unsupported> {
        let slot = self.read(n)?;
        let op = [Op::Sx8, Op::Sx16, Op::Sx32, Op::Mov][self.size_index(n)?];
        if op == Op::Mov {
            return Ok(slot);
        }
        let t = self.b.temp();
        self.b.r1(op, t, slot);
        Ok(t)
    }

    /// Where to compute the new value of operand `n` (by an op of its width): a 32- or 64-bit register's own slot, else a
    /// temporary. To be followed by [`Lifter::write`] with the same slot.
    pub fn dst(&mut self, n: u32) -> Result<u8, Unsupported> {
        if self.is_reg(n) && self.size(n) >= 4 {
            return Ok(Lifter::gpr(self.ins.op_register(n))?.0);
        }
        Ok(self.b.temp())
    }

    /// Writes the low bits of `slot` to operand `n`. If `slot` is the operand's own register it is taken to hold the
    /// (zero-extended) result already.
    pub fn write(&mut self, n: u32, slot: u8) -> Lifted {
        match self.ins.op_kind(n) {
            OpKind::Register => self.write_reg(self.ins.op_register(n), slot),
            OpKind::Memory => {
                let bytes = self.ins.memory_size().size();
                self.store(slot, n, bytes)
            }
            _ => Err(Unsupported),
        }
    }

    /// Writes the low bits of `slot` to general register `r` of any width; see [`Lifter::write`].
    pub fn write_reg(&mut self, r: Register, slot: u8) -> Lifted {
        let (to, high) = Lifter::gpr(r)?;
        match r.size() {
            8 if to != slot => self.b.r1(Op::Mov, to, slot),
            4 if to != slot => self.b.r1(Op::Mov32, to, slot),
            2 => self.b.r2(Op::Dep16, to, to, slot),
            1 if high => self.b.r2(Op::Dep8h, to, to, slot),
            1 => self.b.r2(Op::Dep8, to, to, slot),
            _ => {}
        }
        Ok(())
    }

    /// Emits `op d, a, src`.
    pub fn op2(&mut self, op: Op, d: u8, a: u8, src: Src) {
        match src {
            Src::Slot(b) => self.b.r2(op, d, a, b),
            Src::Imm(i) => self.b.r2i(op, d, a, i),
        }
    }

    /// Emits the flag recorder `op a, src`.
    pub fn flags(&mut self, op: Op, a: u8, src: Src) {
        self.op2(op, ZERO, a, src);
    }

    /// Emits `putflags bits, mask`.
    pub fn put_flags(&mut self, bits: u8, mask: u64) {
        self.b.emit(Op::PutFlags, ZERO, bits, IMM, ZERO, mask as i64);
    }

    /// A slot for `src`.
    pub fn slot(&mut self, src: Src) -> u8 {
        match src {
            Src::Slot(s) => s,
            Src::Imm(i) => {
                let t = self.b.temp();
                self.b.li(t, i);
                t
            }
        }
    }

    /// The address of the (only) memory operand, segment base included. Emits its arithmetic once.
    pub fn mem(&mut self) -> Result<Mem, Unsupported> {
        if let Some(mem) = self.mem {
            return Ok(mem);
        }
        let mem = self.mem_without_segment()?;
        let mem = match self.segment_base() {
            ZERO => mem,
            base => self.with_base(mem, base),
        };
        self.mem = Some(mem);
        Ok(mem)
    }

    /// The slot of the base of the memory operand's segment ([`ZERO`] but for FS and GS).
    pub fn segment_base(&self) -> u8 {
        match self.ins.memory_segment() {
            Register::FS => FS_BASE,
            Register::GS => GS_BASE,
            _ => ZERO,
        }
    }

    /// Whether the address size is 32 bits.
    pub fn has_narrow_address(&self) -> bool {
        let ins = &self.ins;
        let (base, index) = (ins.memory_base(), ins.memory_index());
        let narrow = |r: Register| r != Register::None && r.size() == 4;
        let bare = base == Register::None && index == Register::None;
        narrow(base) || narrow(index) || bare && ins.memory_displ_size() == 4
    }

    /// The memory operand's offset within its segment (what LEA computes).
    pub fn mem_without_segment(&mut self) -> Result<Mem, Unsupported> {
        let ins = &self.ins;
        if ins.is_ip_rel_memory_operand() {
            let imm = ins.ip_rel_memory_address() as i64;
            return Ok(Mem { a: ZERO, b: ZERO, c: 0, imm });
        }
        let (base, index) = (ins.memory_base(), ins.memory_index());
        let narrow = self.has_narrow_address();
        let slot = |r: Register| {
            if r == Register::None { Ok(ZERO) } else { Lifter::gpr(r).map(|g| g.0) }
        };
        let mut mem = Mem {
            a: slot(base)?,
            b: slot(index)?,
            c: ins.memory_index_scale().trailing_zeros() as u8,
            imm: ins.memory_displacement64() as i64,
        };
        if mem.b != ZERO && mem.a == ZERO && mem.c == 0 {
            (mem.a, mem.b) = (mem.b, ZERO);
        }
        if narrow {
            let t = self.b.temp();
            self.b.emit(Op::Lea32, t, mem.a, mem.b, mem.c, mem.imm);
            return Ok(Mem { a: t, b: ZERO, c: 0, imm: 0 });
        }
        Ok(mem)
    }

    fn with_base(&mut self, mem: Mem, base: u8) -> Mem {
        if mem.a == ZERO {
            return Mem { a: base, ..mem };
        }
        if mem.b == ZERO {
            return Mem { a: base, b: mem.a, c: 0, imm: mem.imm };
        }
        let t = self.b.temp();
        self.b.emit(Op::Lea, t, mem.a, mem.b, mem.c, mem.imm);
        Mem { a: base, b: t, c: 0, imm: 0 }
    }

    /// A memory operand `bytes` further on.
    pub fn offset(mem: Mem, bytes: i64) -> Mem {
        Mem { imm: mem.imm.wrapping_add(bytes), ..mem }
    }

    /// Emits the load or store `op` of slot `d`.
    pub fn access(&mut self, op: Op, d: u8, mem: Mem) {
        self.b.emit(op, d, mem.a, mem.b, mem.c, mem.imm);
    }

    /// `d` = the low `bytes` (1, 2, 4, 8) of memory operand `n`, zero-extended.
    pub fn load(&mut self, d: u8, n: u32, bytes: usize) -> Lifted {
        debug_assert!(self.is_mem(n));
        let op = match bytes {
            1 => Op::Load8,
            2 => Op::Load16,
            4 => Op::Load32,
            8 => Op::Load64,
            _ => return Err(Unsupported),
        };
        let mem = self.mem()?;
        self.access(op, d, mem);
        Ok(())
    }

    /// Memory operand `n` = the low `bytes` (1, 2, 4, 8) of `d`.
    pub fn store(&mut self, d: u8, n: u32, bytes: usize) -> Lifted {
        debug_assert!(self.is_mem(n));
        let op = match bytes {
            1 => Op::Store8,
            2 => Op::Store16,
            4 => Op::Store32,
            8 => Op::Store64,
            _ => return Err(Unsupported),
        };
        let mem = self.mem()?;
        self.access(op, d, mem);
        Ok(())
    }

    /// #GP unless `slot` is a canonical address.
    pub fn canonical(&mut self, slot: u8) {
        self.b.emit(Op::Canonical, ZERO, slot, ZERO, ZERO, 0);
    }

    /// Pushes the low `bytes` (2 or 8) of `slot`: the store comes before the change of rsp.
    pub fn push(&mut self, slot: u8, bytes: i64) {
        let op = if bytes == 2 { Op::Store16 } else { Op::Store64 };
        self.b.emit(op, slot, reg::RSP, ZERO, 0, -bytes);
        self.b.r2i(Op::Sub64, reg::RSP, reg::RSP, bytes);
    }
}
