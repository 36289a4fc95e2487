//! Guest physical memory and the lookaside tables: the one format on which address spaces (`kernel`), the
//! interpreter (`interp`) and translated code (`wasmgen`) agree.
//!
//! * A **physical address** is a `u32`. In a box it *is* the Wasm linear-memory address, so a frame of the guest can
//!   be addressed without a base; natively (tests) it is an offset into one large reservation.
//! * A **frame** is one 4 KiB page of physical memory. Frames of [`Phys`] are counted; frames of the rootfs image are
//!   *static*: they may be mapped in place, are never written, never freed.
//! * The **lookaside tables** ([`Lookaside`]) cover the lowest 4 GiB of the *current* address space with one [`Entry`] a
//!   page, for reads and for writes. They are a cache filled on first use, never the truth: the truth is the kernel's page
//!   table. Page 0 and addresses at or above 4 GiB always take the slow path ([`Translate`]).
//!
//! Policy (who may map what, copy-on-write, faults) is the kernel's and is unknown here.

mod absent;
mod account;
pub mod desk;
pub mod frozen;
mod heap;
mod lookaside;
mod phys;

pub use absent::{CHUNK, Place, Supply};
pub use account::{Account, Charge, Purpose};
pub use heap::{CountingHeap, heap_bytes};
pub use lookaside::{Entry, Lookaside, Tables, Value};
pub use phys::{Frame, Phys};

/// Bytes in a page and in a frame.
pub const PAGE_SIZE: usize = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Bits of an address that select the byte within its page.
pub const PAGE_MASK: u64 = PAGE_SIZE as u64 - 1;

/// What an access wants to do with the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Load data.
    Read,
    /// Store data (or an atomic read-modify-write).
    Write,
    /// Fetch instructions.
    Fetch,
}

/// Why an address could not be translated; becomes `si_code` of SIGSEGV or SIGBUS (sigaction(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is mapped there (`SEGV_MAPERR`), or the address is not canonical.
    Unmapped,
    /// The mapping does not allow the access (`SEGV_ACCERR`).
    Protection,
    /// Beyond the end of the mapped file (`BUS_ADRERR`).
    PastEnd,
    /// No memory left for the page: the process is killed as by the OOM killer.
    OutOfMemory,
}

/// A failed translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first byte that could not be accessed.
    pub addr: u64,
    /// The access that was tried.
    pub access: Access,
    /// Why it failed.
    pub kind: FaultKind,
}

/// The slow path of a memory access: the current address space.
pub trait Translate {
    /// Physical address of the byte at virtual address `va`, good for the rest of its page for this `access`, until
    /// the next call that changes the address space. Demand paging and copy-on-write happen here, and the lookaside
    /// tables are filled where that is allowed.
    fn translate(&mut self, va: u64, access: Access) -> Result<u32, Fault>;
}
