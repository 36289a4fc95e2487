//! WASI's error numbers for those of streams (`wasi_snapshot_preview1.witx`, `errno`).

use std::io;

pub const AGAIN: i32 = 6;
pub const BADF: i32 = 8;
pub const FAULT: i32 = 21;
pub const INVAL: i32 = 28;
pub const IO: i32 = 29;
pub const OVERFLOW: i32 = 61;
pub const TIMEDOUT: i32 = 73;

/// What a function returns: 0 or the error.
pub fn of(result: Result<(), i32>) -> i32 {
    result.err().unwrap_or(0)
}

/// The error of a stream.
pub fn from_io(error: &io::Error) -> i32 {
    use rustix::io::Errno as E;
    match error.raw_os_error().map(E::from_raw_os_error) {
        Some(E::AGAIN) => AGAIN,
        Some(E::BADF) => BADF,
        Some(E::CONNRESET) => 15,
        Some(E::DQUOT) => 19,
        Some(E::FBIG) => 22,
        Some(E::INTR) => 27,
        Some(E::INVAL) => INVAL,
        Some(E::ISDIR) => 31,
        Some(E::NOSPC) => 51,
        Some(E::NXIO) => 60,
        Some(E::PERM) => 63,
        Some(E::PIPE) => 64,
        Some(_) => IO,
        None => match error.kind() {
            io::ErrorKind::WouldBlock => AGAIN,
            io::ErrorKind::BrokenPipe => 64,
            _ => IO,
        },
    }
}
