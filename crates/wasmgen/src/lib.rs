//! IR to Wasm function bodies.
//!
//! What is compiled is a [`Region`]: basic blocks that are reached from one of them, its *root*. It becomes one function,
//! `(param cpu i32) (param depth i32) (result i64)`, which starts at the root and returns the guest address where to go
//! on. `depth` is how many more guest calls may nest, [`mem::desk::DEPTH`] when the interpreter calls. A function for each further entry
//! calls it with the entry's number above the depth.
//!
//! * **Registers** are Wasm locals, loaded from the [`ir::Cpu`] in memory at the root and after calls, and spilled at calls
//!   and at every way out. So all guest state is in memory whenever no region runs.
//! * **Leaving.** What translated code cannot do on the quick path, it leaves to the interpreter: an access that the
//!   lookaside tables do not hold or that crosses a page, an op that nobody wrote a translation for, system calls, traps.
//!   Such a way out ([`mem::desk::Shared::leave`] = 1) starts at a guest instruction of which nothing was done yet. A
//!   caller sees that the address is not the one it waits for and hands it up: the whole stack of Wasm frames unwinds.
//!   Therefore the lookaside tables never change while translated code runs.
//! * **Control flow** is structured (Ramsey, Beyond Relooper, 2022); an edge into the middle of a loop is a way out.
//! * **Flags** are recorded as the interpreter does, but in locals, with the kind known at translation time nearly always;
//!   they are exact at every way out.
//!
//! x86 and Linux are unknown here.

#![allow(clippy::precedence)] // masks and shifts in the notation of the manuals

mod arithmetic;
mod coverage;
mod emit;
mod flag_state;
mod flags;
mod float_flow;
mod function;
mod graph;
mod home;
mod known;
mod liveness;
mod memory;
mod module;
mod node;
mod slots;
mod spread;
mod strings;
mod transfer;
mod vector;
mod windows;

pub use module::module;

use ir::Block;

/// Where translated code finds what it shares with the interpreter: linear addresses, and an index of the function table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The [`ir::Cpu`].
    pub cpu: u32,
    /// Lookaside table for reads.
    pub read: u32,
    /// Lookaside table for writes.
    pub write: u32,
    /// Fuel, way of leaving, epoch and jump cache; see [`mem::desk::Shared`].
    pub shared: u32,
    /// The function that runs one op on the [`ir::Cpu`] in memory: `(cpu i32, fields i64, imm i64) -> i32`, 0 = done. The
    /// fields are `op | d << 16 | a << 24 | b << 32 | c << 40`.
    pub helper: u32,
}

/// What becomes one function.
#[derive(Clone, Debug)]
pub struct Region {
    /// Address of the block where it starts.
    pub root: u64,
    /// The blocks, the root among them.
    pub blocks: Vec<Block>,
    /// Addresses of blocks that indirect jumps of the region may reach.
    pub indirect: Vec<u64>,
    /// Addresses of blocks where the region may be entered besides its root.
    pub entries: Vec<u64>,
}
