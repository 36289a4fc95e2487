//! Values of setsockopt(2), and the state behind the options of level `SOL_SOCKET` (socket(7)), the same for every family.

use abi::Errno;
use std::rc::Rc;

/// The value of setsockopt(2). Reading it may fail, which counts only when it is looked at.
pub struct OptionValue {
    /// The bytes, or why they cannot be read.
    pub bytes: Result<Vec<u8>, Errno>,
    /// Length that the caller gave.
    pub len: usize,
}

impl OptionValue {
    /// The first int; EINVAL when it is too short.
    pub fn int(&self) -> Result<i32, Errno> {
        let bytes = self.record(4)?;
        Ok(bytes.try_into().map_or(0, i32::from_le_bytes))
    }

    /// The first `len` bytes; EINVAL when there are fewer.
    pub fn record(&self, len: usize) -> Result<&[u8], Errno> {
        if self.len < len {
            return Err(Errno::EINVAL);
        }
        self.whole()?.get(..len).ok_or(Errno::EINVAL)
    }

    /// All bytes.
    pub fn whole(&self) -> Result<&[u8], Errno> {
        match &self.bytes {
            Ok(bytes) => Ok(bytes),
            Err(e) => Err(*e),
        }
    }
}

/// Default buffer sizes in bytes (`net.core.{w,r}mem_default`).
pub const BUFFER_DEFAULT: u32 = 212_992;

/// A packet filter (SO_ATTACH_FILTER).
pub trait Filter: std::fmt::Debug {
    /// How many bytes of a packet are kept; 0 = it is dropped.
    fn keep(&self, packet: &[u8]) -> usize;
}

/// What setsockopt(2) has set. Sizes are in bytes, times in ns.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Options that are on or off, bit n = option n (below 128).
    flags: u128,
    /// SO_LINGER: seconds, if it is on.
    pub linger: Option<u32>,
    /// The seconds of SO_LINGER, on or off.
    pub linger_seconds: u32,
    /// SO_SNDBUF (what getsockopt(2) shows: twice what was asked for).
    pub send_buffer: u32,
    /// SO_RCVBUF, likewise.
    pub receive_buffer: u32,
    /// SO_BUF_LOCK: which of both were set by the program (1 send, 2 receive).
    pub buffer_lock: u32,
    /// SO_RCVLOWAT.
    pub low_water: u32,
    /// SO_RCVTIMEO, 0 = none.
    pub receive_timeout: u64,
    /// SO_SNDTIMEO, 0 = none.
    pub send_timeout: u64,
    /// SO_PRIORITY.
    pub priority: u32,
    /// SO_MARK.
    pub mark: u32,
    /// Index of the interface of SO_BINDTODEVICE, 0 = any.
    pub device: u32,
    /// SO_INCOMING_CPU.
    pub incoming_cpu: i32,
    /// SO_PEEK_OFF, -1 = off.
    pub peek_offset: i32,
    /// SO_MAX_PACING_RATE.
    pub pacing_rate: u64,
    /// SO_BUSY_POLL.
    pub busy_poll: u32,
    /// SO_TIMESTAMPING flags.
    pub timestamping: u32,
    /// SO_TXREHASH.
    pub rehash: u32,
    /// Unique number (SO_COOKIE).
    pub cookie: u64,
    /// Inode number of its open file; 0 = none yet.
    pub inode: u64,
    /// Who owns that file.
    pub uid: u32,
    /// SO_ATTACH_FILTER.
    pub filter: Option<Rc<dyn Filter>>,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            flags: 0,
            linger: None,
            linger_seconds: 0,
            send_buffer: BUFFER_DEFAULT,
            receive_buffer: BUFFER_DEFAULT,
            buffer_lock: 0,
            low_water: 1,
            receive_timeout: 0,
            send_timeout: 0,
            priority: 0,
            mark: 0,
            device: 0,
            incoming_cpu: -1,
            peek_offset: -1,
            pacing_rate: u64::MAX,
            busy_poll: 0,
            timestamping: 0,
            rehash: 0,
            cookie: 0,
            inode: 0,
            uid: 0,
            filter: None,
        }
    }
}

impl SocketOptions {
    /// Whether a flag such as `SO_KEEPALIVE` is on.
    pub fn is_on(&self, option: u32) -> bool {
        option < 128 && self.flags >> option & 1 != 0
    }

    /// Switches a flag.
    pub fn set(&mut self, option: u32, on: bool) {
        if option < 128 {
            self.flags = self.flags & !(1 << option) | u128::from(on) << option;
        }
    }
}
