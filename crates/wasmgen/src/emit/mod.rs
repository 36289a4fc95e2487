//! What all parts of a function body write with: the code so far, its locals, and moves between locals and memory.

mod exits;
mod float;

use crate::Layout;
use crate::flag_state::State;
use crate::known::Known;
use crate::slots::{Slots, bits, operands};
use exits::Exits;
use float::FloatLocals;
use ir::{Class, Cpu, IMM, Inst, ZERO};
use mem::desk::shared;
use std::mem::offset_of;
use wasm_encoder::{BlockType, InstructionSink, MemArg, ValType};

/// Type of a region's function.
pub const REGION_TYPE: u32 = 0;
/// Type of the helper's.
pub const HELPER_TYPE: u32 = 1;

/// Second parameter: how many more guest calls may nest. Further entries of a region come with their number above it, from bit
/// [`ENTRY_SHIFT`] on.
pub const DEPTH: u32 = 1;
/// See [`DEPTH`].
pub const ENTRY_SHIFT: u32 = 16;
/// The number of the entry to go to (`i32`), 0 when it was reached.
pub const ENTRY: u32 = 2;
/// Guest instructions left (`i64`).
pub const FUEL: u32 = 3;
/// Where to go on, at ways out and indirect jumps (`i64`).
pub const TO: u32 = 4;
/// Kind of the flags recorded last, or [`crate::flag_state::NONE`] (`i32`); their operands follow (`i64`).
pub const FLAG_KIND: u32 = 5;
/// First operand of the flags.
pub const FLAG_A: u32 = 6;
/// Second operand of the flags.
pub const FLAG_B: u32 = 7;
/// Carry of the flags.
pub const FLAG_C: u32 = 8;
/// Guest address of an access (`i64`).
pub const VA: u32 = 9;
/// The offset in its page, if the lookaside table has that page (`i64`).
pub const OFFSET: u32 = 10;
/// Address of the lookaside table's entry for it (`i32`).
pub const ROW: u32 = 11;
/// For what an op computes on its way (`i64`).
pub const X: u32 = 12;
/// As [`X`].
pub const Y: u32 = 13;
/// As [`X`].
pub const Z: u32 = 14;
/// First local of a slot.
const FIRST: u32 = 15;
const PARAMS: usize = 2;
const FIXED: [ValType; FIRST as usize - PARAMS] = {
    use ValType::{I32, I64};
    [I32, I64, I64, I32, I64, I64, I64, I64, I64, I32, I64, I64, I64]
};

/// A body under construction.
pub struct Emitter<'a> {
    /// Addresses.
    pub layout: &'a Layout,
    /// Instructions so far.
    pub code: Vec<u8>,
    /// What is known of the flags here.
    pub flags: State,
    /// What is known of the floats here.
    pub known: Known,
    /// Locals of floating-point ops.
    pub float: FloatLocals,
    /// Registers whose memory is older than their local here.
    pub dirty: Slots,
    /// Labels that are open.
    pub labels: u32,
    /// The label of jumps out of the region to the address in [`TO`], of which nothing is dirty: how many were open when it was
    /// opened.
    pub jump: u32,
    /// Number of the function in its module.
    pub number_of_function: u32,
    exits: Exits,
    /// Where in the code conditional parts begin that are hardly ever run.
    unlikely: Vec<usize>,
    locals: Vec<ValType>,
    ints: [u32; 64],
    vectors: [u32; 64],
    scratch: u32,
}

/// A body that is finished.
pub struct Body {
    /// Locals beyond the parameters.
    pub locals: Vec<ValType>,
    /// Instructions.
    pub code: Vec<u8>,
    /// Offsets in `code` of conditional parts that are hardly ever run, in rising order.
    pub unlikely: Vec<usize>,
}

/// A place in memory at a constant address.
fn at(offset: u64, align: u32) -> MemArg {
    MemArg { offset, align, memory_index: 0 }
}

impl<'a> Emitter<'a> {
    /// An empty body.
    pub fn new(layout: &'a Layout, number_of_function: u32) -> Emitter<'a> {
        Emitter {
            layout,
            code: Vec::new(),
            flags: State::Memory,
            known: Known::default(),
            float: FloatLocals::default(),
            dirty: Slots::default(),
            labels: 0,
            jump: 0,
            number_of_function,
            exits: Exits::default(),
            unlikely: Vec::new(),
            locals: FIXED.to_vec(),
            ints: [0; 64],
            vectors: [0; 64],
            scratch: 0,
        }
    }

    /// What was built.
    pub fn finish(self) -> Body {
        Body { locals: self.locals, code: self.code, unlikely: self.unlikely }
    }

    /// Where to write instructions.
    pub fn wasm(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.code)
    }

    /// Opens a label.
    pub fn block(&mut self) {
        self.wasm().block(BlockType::Empty);
        self.labels += 1;
    }

    /// Opens the label of a loop.
    pub fn begin_loop(&mut self) {
        self.wasm().loop_(BlockType::Empty);
        self.labels += 1;
    }

    /// Opens a conditional part.
    pub fn begin_if(&mut self) {
        self.wasm().if_(BlockType::Empty);
        self.labels += 1;
    }

    /// Opens a conditional part that is hardly ever run: hosts that follow hints keep it out of the way, and registers too.
    pub fn begin_unlikely(&mut self) {
        self.unlikely.push(self.code.len());
        self.begin_if();
    }

    /// The other part.
    pub fn begin_else(&mut self) {
        self.wasm().else_();
    }

    /// Closes what was opened last.
    pub fn end(&mut self) {
        self.wasm().end();
        self.labels -= 1;
    }

    /// The relative number of the label that was opened when `open` labels were open.
    pub fn label(&self, open: u32) -> u32 {
        self.labels - 1 - open
    }

    /// The local of an integer slot.
    pub fn int(&mut self, slot: u8) -> u32 {
        let slot = usize::from(slot & 63);
        if self.ints[slot] == 0 {
            self.ints[slot] = self.local(ValType::I64);
        }
        self.ints[slot]
    }

    /// The local of a vector slot.
    pub fn vector(&mut self, slot: u8) -> u32 {
        let slot = usize::from(slot & 63);
        if self.vectors[slot] == 0 {
            self.vectors[slot] = self.local(ValType::V128);
        }
        self.vectors[slot]
    }

    /// A fresh local (`i32`).
    pub fn number(&mut self) -> u32 {
        self.local(ValType::I32)
    }

    /// A local for what a vector op computes on its way.
    pub fn scratch_vector(&mut self) -> u32 {
        if self.scratch == 0 {
            self.scratch = self.local(ValType::V128);
        }
        self.scratch
    }

    /// Makes a vector slot zero, in memory and in its local if there is one.
    pub fn clear_vector(&mut self, slot: u8) {
        let place = self.vector_place(slot);
        self.float.forget(slot);
        self.wasm().i32_const(0).v128_const(0).v128_store(place);
        let local = self.vectors[usize::from(slot & 63)];
        if local != 0 {
            self.wasm().v128_const(0).local_set(local);
        }
    }

    /// A fresh local.
    pub fn local(&mut self, ty: ValType) -> u32 {
        self.locals.push(ty);
        (PARAMS + self.locals.len() - 1) as u32
    }

    /// Pushes an integer slot.
    pub fn get(&mut self, slot: u8) {
        if slot == ZERO {
            self.wasm().i64_const(0);
        } else {
            let local = self.int(slot);
            self.wasm().local_get(local);
        }
    }

    /// Pops into an integer slot.
    pub fn set(&mut self, slot: u8) {
        let local = self.int(slot);
        self.wasm().local_set(local);
    }

    /// Pushes the low half of an integer slot.
    pub fn get32(&mut self, slot: u8) {
        if slot == ZERO {
            self.wasm().i32_const(0);
        } else {
            self.get(slot);
            self.wasm().i32_wrap_i64();
        }
    }

    /// Pops an `i32` and writes it, zero-extended, to an integer slot.
    pub fn set32(&mut self, slot: u8) {
        self.wasm().i64_extend_i32_u();
        self.set(slot);
    }

    /// Pushes slot `slot`, or `imm` where that is meant.
    pub fn operand(&mut self, slot: u8, imm: i64) {
        if slot == IMM {
            self.wasm().i64_const(imm);
        } else {
            self.get(slot);
        }
    }

    /// As [`Emitter::operand`], the low half.
    pub fn operand32(&mut self, slot: u8, imm: i64) {
        if slot == IMM {
            self.wasm().i32_const(imm as i32);
        } else {
            self.get32(slot);
        }
    }

    /// Pushes a vector slot.
    pub fn get_vector(&mut self, slot: u8) {
        let local = self.vector(slot);
        self.wasm().local_get(local);
    }

    /// Pops into a vector slot.
    pub fn set_vector(&mut self, slot: u8) {
        self.float.forget(slot);
        let local = self.vector(slot);
        self.wasm().local_set(local);
    }

    fn int_place(&self, slot: u8) -> MemArg {
        at(u64::from(self.layout.cpu) + (offset_of!(Cpu, slot) + 8 * usize::from(slot)) as u64, 3)
    }

    fn vector_place(&self, slot: u8) -> MemArg {
        at(u64::from(self.layout.cpu) + (offset_of!(Cpu, v) + 16 * usize::from(slot)) as u64, 4)
    }

    /// Writes slots to the CPU in memory.
    pub fn spill(&mut self, slots: Slots) {
        for slot in bits(slots.ints) {
            let place = self.int_place(slot);
            self.wasm().i32_const(0);
            self.get(slot);
            self.wasm().i64_store(place);
        }
        for slot in bits(slots.vectors) {
            let place = self.vector_place(slot);
            self.wasm().i32_const(0);
            self.get_vector(slot);
            self.wasm().v128_store(place);
        }
    }

    /// Reads slots from the CPU in memory.
    pub fn reload(&mut self, slots: Slots) {
        for slot in bits(slots.ints) {
            let place = self.int_place(slot);
            self.wasm().i32_const(0).i64_load(place);
            self.set(slot);
        }
        for slot in bits(slots.vectors) {
            let place = self.vector_place(slot);
            self.wasm().i32_const(0).v128_load(place);
            self.set_vector(slot);
        }
    }

    /// Pushes an integer slot of the CPU in memory.
    pub fn load_slot(&mut self, slot: u8) {
        let place = self.int_place(slot);
        self.wasm().i32_const(0).i64_load(place);
    }

    /// A field of the CPU in memory.
    pub fn cpu_place(&self, offset: usize, align: u32) -> MemArg {
        at(u64::from(self.layout.cpu) + offset as u64, align)
    }

    /// A field of what is shared with the interpreter.
    pub fn shared_place(&self, offset: u64, align: u32) -> MemArg {
        at(u64::from(self.layout.shared) + offset, align)
    }

    /// Writes the fuel to memory.
    pub fn spill_fuel(&mut self) {
        let place = self.shared_place(shared::FUEL, 3);
        self.wasm().i32_const(0).local_get(FUEL).i64_store(place);
    }

    /// Reads the fuel from memory.
    pub fn reload_fuel(&mut self) {
        let place = self.shared_place(shared::FUEL, 3);
        self.wasm().i32_const(0).i64_load(place).local_set(FUEL);
    }

    /// Pops an `i32`: if it is not 0, leaves to the interpreter at guest address `pc`.
    pub fn leave_if(&mut self, pc: u64) {
        // Not by a conditional branch: Cranelift computes what the exit is given (each register that is a sum with a constant)
        // before one, on the quick path.
        self.begin_unlikely();
        self.leave(pc);
        self.end();
    }

    /// Leaves to the interpreter at guest address `pc`.
    pub fn leave(&mut self, pc: u64) {
        self.wasm().i64_const(pc as i64).local_set(TO);
        self.exit();
    }

    /// Runs an op by the helper: its operands go through memory. `pc` is its guest instruction's address, for a trap.
    pub fn helper(&mut self, inst: &Inst, pc: u64) {
        let (reads, writes) = operands(inst);
        let zero = 1 << ZERO;
        self.spill(Slots { ints: reads.ints & !zero, vectors: reads.vectors });
        self.call_helper(inst);
        if may_trap(inst.op.class()) {
            self.leave_if(pc);
        } else {
            self.wasm().drop();
        }
        self.reload(Slots { ints: writes.ints & !zero, vectors: writes.vectors });
    }

    /// Calls the helper; pushes whether it trapped. Everything that it looks at is in memory.
    pub fn call_helper(&mut self, inst: &Inst) {
        let fields = inst.op as u64
            | u64::from(inst.d) << 16
            | u64::from(inst.a) << 24
            | u64::from(inst.b) << 32
            | u64::from(inst.c) << 40;
        let (cpu, helper) = (self.layout.cpu as i32, self.layout.helper as i32);
        self.wasm()
            .i32_const(cpu)
            .i64_const(fields as i64)
            .i64_const(inst.imm)
            .i32_const(helper)
            .call_indirect(0, HELPER_TYPE);
    }
}

/// Whether the helper may refuse an op of this class.
fn may_trap(class: Class) -> bool {
    class.may_fault()
}
