//! How a host follows what a box has executed, and has it stop at a point: for records of runs and their replay. The box keeps a
//! [`Watch`], a record in its linear memory whose address is the exported global [`EXPORT`]; the host reads it in any call of an import,
//! and may write into it before the box starts. No call is made for any of this, so a run is the same whether it is followed or not.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Version of this file. A host follows no box of another one.
pub const VERSION: u32 = 1;

/// The export that has the record's address.
pub const EXPORT: &str = "boxer-watch";

/// The descriptor to which a box writes what was asked for here: it is no file, and no host opens one of this number.
pub const LOG: u32 = (1 << 24) - 1;

/// Bit of [`Watch::wants`]: system calls are written to [`LOG`], as `--strace` prints them.
pub const STRACE: u32 = 1;
/// Bit of [`Watch::wants`]: the box stops at the instruction [`Watch::until`].
pub const INSTRUCTION: u32 = 2;
/// Bit of [`Watch::wants`]: it stops before a system call, the [`Watch::until`]-th of the name in [`Watch::call`], or of all if that is empty.
pub const CALL: u32 = 4;

/// Bytes of the name of a system call; a shorter one is followed by zeros.
pub const NAME_LEN: usize = 32;

/// The record: little-endian.
#[repr(C)]
pub struct Watch {
    /// [`VERSION`].
    pub version: AtomicU32,
    /// What the host asks for.
    pub wants: AtomicU32,
    /// Instructions that programs have executed in this life.
    pub retired: AtomicU64,
    /// System calls that they have made.
    pub calls: AtomicU64,
    /// Where the box stops, counted as those are.
    pub until: AtomicU64,
    /// See [`CALL`].
    pub call: [AtomicU8; NAME_LEN],
    /// 1 if it has ended because it was there.
    pub stopped: AtomicU32,
}

/// Place of [`Watch::version`] in the record, in bytes, and so on.
pub const VERSION_AT: usize = offset_of!(Watch, version);
/// See [`VERSION_AT`].
pub const WANTS_AT: usize = offset_of!(Watch, wants);
/// See [`VERSION_AT`].
pub const RETIRED_AT: usize = offset_of!(Watch, retired);
/// See [`VERSION_AT`].
pub const CALLS_AT: usize = offset_of!(Watch, calls);
/// See [`VERSION_AT`].
pub const UNTIL_AT: usize = offset_of!(Watch, until);
/// See [`VERSION_AT`].
pub const CALL_AT: usize = offset_of!(Watch, call);
/// See [`VERSION_AT`].
pub const STOPPED_AT: usize = offset_of!(Watch, stopped);

impl Watch {
    /// Nothing but the version.
    pub const fn new() -> Watch {
        Watch {
            version: AtomicU32::new(VERSION),
            wants: AtomicU32::new(0),
            retired: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            until: AtomicU64::new(0),
            call: [const { AtomicU8::new(0) }; NAME_LEN],
            stopped: AtomicU32::new(0),
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Watch::new()
    }
}
