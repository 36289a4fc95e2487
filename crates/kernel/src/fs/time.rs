//! Timestamps.

/// A point in time since the epoch, as inodes carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub sec: i64,
    /// Nanoseconds, 0 ..= 999,999,999.
    pub nsec: u32,
}

impl Time {
    /// From nanoseconds since the epoch.
    pub fn from_ns(ns: u64) -> Time {
        Time { sec: (ns / 1_000_000_000) as i64, nsec: (ns % 1_000_000_000) as u32 }
    }

    /// Nanoseconds since the epoch, clamped to what a `u64` holds.
    pub fn as_ns(self) -> u64 {
        u64::try_from(self.sec)
            .unwrap_or(0)
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::from(self.nsec))
    }
}
