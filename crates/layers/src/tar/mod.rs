//! The tar format: POSIX ustar and pax (IEEE 1003.1-2017, `pax`), GNU's and star's extensions.

pub mod header;
pub mod pax;
pub mod read;
pub mod sparse;
pub mod write;

/// Bytes of a header, and what everything is padded to.
pub const BLOCK: usize = 512;

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}
