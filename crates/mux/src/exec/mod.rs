//! Starting programs and reaching files in a box that runs, over one byte stream (`BOXER_EXEC`): both ends, without I/O.
//!
//! `docs/exec.md` describes the protocol for people who write a host. [`Server`] is the box's end, [`Client`] the host's. Each is a
//! state machine: bytes that arrived go in by `space` and `arrived`, what happened comes out of `event`, bytes to write out of
//! `output`. Nothing waits, and whatever the other end sends, memory is bounded.
//!
//! Numbers of processes and calls are the host's to give: each is used once.

mod call;
mod client;
mod frames;
mod message;
mod server;

pub use call::{Bound, Call, Counted, Entry, OpenFlags, Stat, Usage, Watched, take_entry};
pub use client::{Client, Event as ClientEvent};
pub use frames::Frames;
pub use message::{Ended, Failure, Start, Stream, ToBox, ToHost};
pub use server::{Event as ServerEvent, Server};

/// Version of the protocol. Both ends must have the same.
pub const VERSION: u16 = 2;

/// What a stream begins with, in either direction, behind the length: kind 0, number 0, these bytes, and the version.
pub const MAGIC: [u8; 4] = *b"BXEX";

/// Bytes of each stream of a process that may be under way before the receiver has granted more.
pub const WINDOW: u32 = 64 << 10;

/// Most bytes of a stream, and of a file, in one packet.
pub const MAX_DATA: usize = 32 << 10;

/// Processes that the box takes care of at once.
pub const MAX_PROCESSES: usize = 1024;

/// Files that the host may have open at once, and watches, and measures.
pub const MAX_FILES: usize = 1024;

/// The number that stands for the first process of the box, in [`ToBox::Signal`].
pub const FIRST: u32 = 0;
