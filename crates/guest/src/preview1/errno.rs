//! WASI's numbers of errors.

use crate::wasi;
use abi::Errno;

/// A number of an error (`errno` of `wasi_snapshot_preview1.witx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u16);

/// `io`, for what WASI has no word for.
const IO: u16 = 29;

impl From<Errno> for Code {
    fn from(errno: Errno) -> Code {
        // The first is success, and of two that mean the same on Linux the first counts.
        let found = wasi::ERRNOS.iter().skip(1).position(|linux| *linux == errno);
        Code(found.map_or(IO, |at| at as u16 + 1))
    }
}
