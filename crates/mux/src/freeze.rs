//! How a host takes the state of a running box. It asks on the control stream ([`crate::control::Control::Freeze`]); when the box
//! is between two steps and its state is whole, it writes what it has come to into the [`Moment`], a record in its linear memory whose
//! address is the exported global `boxer-life`, and calls WASI's `sched_yield`. In that call the host copies memory, and says in the
//! record what the box does next. No frame on the box's stack matters to the copy, which starts at `_start` as any box does.

use core::mem::offset_of;
use core::sync::atomic::AtomicU32;

/// Version of this file. A host freezes no box of another one.
pub const VERSION: u32 = 1;

/// The export that has the record's address.
pub const EXPORT: &str = "boxer-life";

/// Value of [`Moment::state`]: nothing is offered.
pub const NOTHING: u32 = 0;
/// The state is whole, and the host may copy it.
pub const WHOLE: u32 = 1;
/// There is something that cannot be part of it: the text says what.
pub const UNFIT: u32 = 2;

/// Value of [`Moment::next`]: the box goes on.
pub const GO_ON: u32 = 0;
/// It ends, with [`Moment::status`].
pub const END: u32 = 1;

/// The record: little-endian words.
#[repr(C)]
pub struct Moment {
    /// [`VERSION`].
    pub version: AtomicU32,
    /// What the box has come to, written by it before the call.
    pub state: AtomicU32,
    /// Address of the reason for [`UNFIT`], UTF-8,
    pub text: AtomicU32,
    /// and its length in bytes.
    pub text_len: AtomicU32,
    /// What the box does next, written by the host during the call.
    pub next: AtomicU32,
    /// The exit status, if that is to end.
    pub status: AtomicU32,
}

/// Place of [`Moment::version`] in the record, in bytes, and so on.
pub const VERSION_AT: usize = offset_of!(Moment, version);
/// See [`VERSION_AT`].
pub const STATE_AT: usize = offset_of!(Moment, state);
/// See [`VERSION_AT`].
pub const TEXT_AT: usize = offset_of!(Moment, text);
/// See [`VERSION_AT`].
pub const TEXT_LEN_AT: usize = offset_of!(Moment, text_len);
/// See [`VERSION_AT`].
pub const NEXT_AT: usize = offset_of!(Moment, next);
/// See [`VERSION_AT`].
pub const STATUS_AT: usize = offset_of!(Moment, status);

impl Moment {
    /// Nothing but the version.
    pub const fn new() -> Moment {
        Moment {
            version: AtomicU32::new(VERSION),
            state: AtomicU32::new(NOTHING),
            text: AtomicU32::new(0),
            text_len: AtomicU32::new(0),
            next: AtomicU32::new(GO_ON),
            status: AtomicU32::new(0),
        }
    }
}

impl Default for Moment {
    fn default() -> Self {
        Moment::new()
    }
}
