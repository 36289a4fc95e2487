//! Runs IR.
//!
//! A block of IR is compiled once into pre-decoded [`code::Code`] words (16 bytes each) in one arena and then run by a
//! `match` loop. What makes it quick: dead flag recorders removed, recorders fused with their operation, compare and
//! branch fused, immediate and register forms as handlers of their own, links between blocks, memory through the
//! lookaside tables. x86 and Linux are unknown here.
//!
//! **Code identity.** A compiled block is known by (physical address, guest address) of its first instruction (and the
//! physical address of the next page if an instruction straddles). Links and the jump cache additionally carry an
//! *epoch*: it changes whenever the address space, one of its mappings, or any code changed, so that a stale link is
//! simply not taken. Blocks from pages that the guest can write end after each storing instruction, so that code which
//! changes itself is seen at once.
//!
//! **Faults are precise.** An op that can fault changes nothing when it does; `rip` is recomputed from the block's marks.
//! A recorder whose flags are overwritten later in the block is removed only if nothing between the two can fault: a
//! signal handler sees the flags as the processor has them (cost: 3 % over ten kernels, since most recorders are fused).
//!
//! **Speed.** `cargo xtask bench` runs ten kernels (gcc -O2: integer, branches, calls, pointers, strings, floating point,
//! packed integers), million guest instructions a second of CPU time in wasmtime 48 with SIMD and LTO: 390 (strings) and
//! 440 (floating point) to 780 (crc), geometric mean 580. What a handler calls, and what it keeps in memory by halves,
//! costs most: see [`rest`] and `Whole` in `ir`. In real programs (bash, python, perl) a third of the words
//! are loads and stores, a sixth pushes and pops; ops without a handler of their own ([`pure`]) are below 2 %.

mod cache;
mod call;
mod code;
mod compile;
mod enter;
mod frequent;
mod frozen;
mod fuse;
mod key;
mod masked;
mod meaning;
mod op;
mod profile;
mod pure;
mod rest;
mod run;
mod slow;
mod string;
mod translated;
mod xstate;

pub use cache::Engine;
pub use call::{Region, op_helper};
pub use op::run_op;
pub use profile::{Left, Why};
pub use translated::Listening;

use ir::{Block, TrapKind};
use mem::{Fault, Frame, Tables, Translate};

/// What the interpreter asks of the machine around it.
pub trait Env: Translate {
    /// The lookaside tables of the current address space. Constant during a run.
    fn tables(&self) -> Tables;
    /// A number that is different for different address spaces and changes when a mapping changes (map, unmap, protect,
    /// another frame behind a page); equal numbers mean equal translations of all present pages. Never 0.
    fn epoch(&self) -> u32;
    /// Lifts the block at `pc`, which [`Translate::translate`] just resolved for a fetch, and marks its frames as code
    /// ([`mem::Phys::mark_code`]).
    fn lift(&mut self, pc: u64) -> Result<Block, Fault>;
    /// Whether the guest may write to the page of `pc` through this address: see the crate's page. Constant while
    /// [`Env::epoch`] is.
    fn is_writable(&self, pc: u64) -> bool;
    /// Frames whose decoded code became stale since the last call ([`mem::Phys::take_code_writes`]).
    fn take_stale(&mut self) -> Vec<Frame>;
    /// Whether [`Env::take_stale`] would return something.
    fn has_stale(&self) -> bool;
    /// CPUID: eax, ebx, ecx, edx for a leaf and subleaf.
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> [u32; 4];
    /// The time-stamp counter.
    fn rdtsc(&mut self) -> u64;
    /// 64 random bits.
    fn rdrand(&mut self) -> u64;
}

/// Why [`Engine::run`] came back. `rip` and all registers are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// SYSCALL was executed; `rip` is behind it.
    Syscall,
    /// A memory access or fetch failed; `rip` is the instruction.
    Fault(Fault),
    /// A trap; for `rip` see [`TrapKind`].
    Trap(TrapKind),
    /// The fuel is used up; go on at will.
    OutOfFuel,
}
