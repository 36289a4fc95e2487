//! Boxer's intermediate representation: the op table, the CPU state it works on, blocks and their builder, the
//! verifier and the text form.
//!
//! The IR is what the lifter (`x86`) writes and what the interpreter (`interp`) and the Wasm generator (`wasmgen`)
//! read. It is flat and not in SSA form: an [`Inst`] is 16 bytes and names *slots* of the [`Cpu`].
//!
//! # Slots
//! * Integer slots (`u64`, [`Cpu::slot`]): `0..=15` general registers in x86 encoding order, `16..=31` temporaries
//!   ([`T0`]…), which live only within one guest instruction, [`FS_BASE`], [`GS_BASE`], [`ZERO`] (always 0, never written).
//! * Vector slots (`u128`, [`Cpu::v`]): `0..=15` XMM, `16..=31` high halves of YMM, `32..=47` temporaries ([`VT0`]…),
//!   `48..=63` their high halves: that of slot *i* is *i* + [`HIGH`].
//! * `b == IMM` (or `c` where the class says so) means that the operand is [`Inst::imm`].
//!
//! # Conventions
//! * Width suffixes: a `…32` op reads the low 32 bits of its operands and writes a zero-extended result, likewise
//!   `…8`/`…16`. Upper bits of *inputs* are never trusted, so a 32-bit register operand is simply its slot.
//! * Partial registers: compute in a temporary, then `dep8`, `dep16`, `dep8h` deposit into the full register.
//! * A memory operand is `slot[a] + (slot[b] << c) + imm` (`b` = [`ZERO`] without an index); the datum is slot `d`.
//! * Flags are lazy: a `flags.*` op records operands, before the destination is overwritten; `getcc`, `selcc`, `getflags`
//!   and `Term::Branch` read. Everything that is not plain ALU computes explicit RFLAGS bits in a temporary and ends with
//!   `putflags`.
//! * Within one guest instruction all that may fault comes before any write to a register, a vector or the flags.
//!
//! # Adding an op
//! One row in one of the tables of [`ops`] (`ops/integer.rs`, `ops/memory.rs`, `ops/vector.rs`, `ops/x87.rs`) and, for
//! rows of a computing class, one pure function in [`sem`]. The class ([`Class`]) is the shape: it fixes the operands
//! (text form, verifier) and the type of the function (interpreter). The interpreter's `match` is generated from the
//! same rows through [`for_each_op!`], so a missing piece does not compile.

#![allow(clippy::precedence)] // masks and shifts in the notation of the manuals

mod block;
mod cpu;
mod flags;
pub mod ops;
pub mod sem;
mod text;
mod verify;

pub use block::{Block, Builder, Inst, Mark, Term, TrapKind};
pub use cpu::{Cpu, F80, Flags, MXCSR_MASK, X87};
pub use flags::{AF, ARITH, CF, Cc, DF, FlagKind, OF, Operation, PF, SF, ZF};
pub use ops::{Class, Op, Operand};
pub use text::ParseError;
pub use verify::VerifyError;

/// "The operand is `imm`" in place of a slot number.
pub const IMM: u8 = 0xFF;
/// First integer temporary; there are 16.
pub const T0: u8 = 16;
/// Base address of the FS segment (thread pointer).
pub const FS_BASE: u8 = 32;
/// Base address of the GS segment.
pub const GS_BASE: u8 = 33;
/// Always zero.
pub const ZERO: u8 = 34;
/// Integer slots in use.
pub const SLOTS: usize = 35;
/// First vector temporary; there are 16.
pub const VT0: u8 = 32;
/// Vector slots in use.
pub const VSLOTS: usize = 64;
/// From a vector slot to the one with bits 255:128 of the same register or temporary.
pub const HIGH: u8 = 16;

/// Encoding-order numbers of the general registers.
#[allow(missing_docs)]
pub mod reg {
    pub const RAX: u8 = 0;
    pub const RCX: u8 = 1;
    pub const RDX: u8 = 2;
    pub const RBX: u8 = 3;
    pub const RSP: u8 = 4;
    pub const RBP: u8 = 5;
    pub const RSI: u8 = 6;
    pub const RDI: u8 = 7;
    pub const R11: u8 = 11;
}
