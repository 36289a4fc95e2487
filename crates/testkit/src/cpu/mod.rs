//! Differential test of the CPU: one instruction, one state, run on this machine's processor ([`native`]) and by
//! `x86::lift` and the interpreter ([`emulated`]), then compared ([`compare`]).
//!
//! Both sides see the same little address space (below 4 GiB, so that the interpreter's tables cover it):
//! one code page at [`CODE`] that cannot be written, two writable pages at [`DATA`], a read-only page after them, nothing else.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod campaign;
pub mod compare;
pub mod emulated;
pub mod encode;
pub mod generate;
pub mod line;
pub mod memory;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod native;
pub mod operands;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod processor;
pub mod promised;
pub mod random;
pub mod sequence;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod shrink;
mod state;
pub mod templates;
pub mod vex;

pub use state::State;

/// Address of the code page; the page after it is not mapped.
pub const CODE: u64 = 0x2000_0000;
/// Address of the data pages: two writable, one read-only, then nothing.
pub const DATA: u64 = 0x2001_0000;
/// Bytes of the data pages.
pub const DATA_LEN: usize = 3 * 4096;
/// Of these, writable.
pub const WRITABLE_LEN: usize = 2 * 4096;
/// Bytes of an FXSAVE image that hold state.
pub const FX_LEN: usize = 416;
/// Most bytes of code in a case.
pub const MAX_CODE: usize = 256;
/// RFLAGS bits that belong to a state: CF PF AF ZF SF DF OF.
pub const FLAGS: u64 = 0xcd5;
/// Page with the instructions that enter and leave a case natively: below 2 GiB and in reach of a jump from the code page.
const GATE: u64 = 0x3000_0000;
/// Where a case jumps to when it is done.
const LEAVE: u64 = GATE + 0x800;
/// Where the instruction starts within the code page.
pub const ENTRY: u64 = CODE + 0x800;

/// One instruction (or a few) and the state it starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The bytes, placed at [`ENTRY`]; what follows ends the case.
    pub code: Vec<u8>,
    /// State before.
    pub state: State,
}

/// How it ended; all with the final `rip` relative to [`ENTRY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Ran into the int3 at `rip`.
    Done,
    /// A trap.
    Trap(ir::TrapKind),
    /// A page fault at an address; for a write or not.
    Fault(u64, bool),
    /// The process died or hung (only natively): not comparable.
    Lost,
}

/// What an execution led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// `rip` (of the int3, or of the instruction that stopped).
    pub rip: u64,
    /// State after.
    pub state: State,
}
