//! Wisp's reasons for closing a stream, and Linux's error numbers (errno(3), asm-generic/errno.h).

/// The stream was closed on purpose; for a stream that this end half closed or that has no more to say.
pub(crate) const VOLUNTARY: u8 = 0x02;
/// A connection broke.
pub(crate) const NETWORK: u8 = 0x03;
/// The two ends do not go together.
pub(crate) const INCOMPATIBLE: u8 = 0x04;

pub(crate) const EACCES: u16 = 13;
pub(crate) const EINVAL: u16 = 22;
pub(crate) const EPIPE: u16 = 32;
pub(crate) const ENETUNREACH: u16 = 101;
pub(crate) const ECONNRESET: u16 = 104;
pub(crate) const ENOBUFS: u16 = 105;
const ENETDOWN: u16 = 100;
const ETIMEDOUT: u16 = 110;
const ECONNREFUSED: u16 = 111;
const EHOSTUNREACH: u16 = 113;
const EPERM: u16 = 1;
const EAGAIN: u16 = 11;
const EADDRNOTAVAIL: u16 = 99;

/// The error that stands for a reason of a host without the extension `outcome`.
pub fn errno_of_reason(reason: u8) -> u16 {
    match reason {
        0x41 => EADDRNOTAVAIL,
        0x42 => EHOSTUNREACH,
        0x43 | 0x47 => ETIMEDOUT,
        0x44 => ECONNREFUSED,
        0x48 => EACCES,
        0x49 => ENOBUFS,
        _ => ECONNRESET,
    }
}

/// The reason that comes nearest to an error.
pub fn reason_of_errno(errno: u16) -> u8 {
    match errno {
        EINVAL | EADDRNOTAVAIL => 0x41,
        EHOSTUNREACH | ENETUNREACH | ENETDOWN => 0x42,
        ETIMEDOUT => 0x43,
        ECONNREFUSED => 0x44,
        EACCES | EPERM => 0x48,
        ENOBUFS | EAGAIN => 0x49,
        _ => NETWORK,
    }
}
