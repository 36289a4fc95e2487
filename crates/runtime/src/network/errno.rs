//! Linux's error numbers for this system's errors; other systems number theirs differently.

use std::io::{Error, ErrorKind};

pub const EACCES: u16 = 13;
pub const EHOSTUNREACH: u16 = 113;
pub const ENOBUFS: u16 = 105;
pub const ECONNREFUSED: u16 = 111;
pub const ECONNRESET: u16 = 104;
pub const ENETUNREACH: u16 = 101;

/// The number for an error.
pub fn of(error: &Error) -> u16 {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    match error.kind() {
        ErrorKind::ConnectionRefused => ECONNREFUSED,
        ErrorKind::ConnectionReset => ECONNRESET,
        ErrorKind::ConnectionAborted => 103,
        ErrorKind::BrokenPipe => 32,
        ErrorKind::TimedOut => 110,
        ErrorKind::HostUnreachable => EHOSTUNREACH,
        ErrorKind::NetworkUnreachable => ENETUNREACH,
        ErrorKind::NetworkDown => 100,
        ErrorKind::AddrNotAvailable => 99,
        ErrorKind::AddrInUse => 98,
        ErrorKind::PermissionDenied => EACCES,
        _ => match error.raw_os_error() {
            Some(EMFILE | ENFILE) => ENOBUFS,
            // ENETUNREACH and the like of a system whose numbers are Linux's.
            Some(number @ 1..=133) if cfg!(target_os = "linux") => number as u16,
            _ => 5,
        },
    }
}
