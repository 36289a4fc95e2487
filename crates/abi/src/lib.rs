//! Linux x86-64 numbers, structs and errno values. No logic beyond reading and writing their layout.

mod context;
mod errno;
mod pod;

pub mod auxv;
pub mod fcntl;
pub mod inet;
pub mod inode;
pub mod ipc;
pub mod mman;
pub mod netlink;
pub mod packet;
pub mod poll;
pub mod sched;
pub mod signal;
pub mod socket;
pub mod sockios;
pub mod stat;
pub mod time;
pub mod tty;

pub use context::*;
pub use errno::Errno;
pub use pod::Pod;
pub use time::{Rlimit, Timespec, Timeval};
