//! Owners of open files and the signals they get: F_SETOWN, F_SETSIG, `O_ASYNC`, leases and directory notes (fcntl(2)).

use abi::fcntl::F_OWNER_PID;

use super::OpenFile;

/// `si_code` of a signal for input, output and messages (sigaction(2)).
pub const POLL_IN: i32 = 1;
/// Output is possible.
pub const POLL_OUT: i32 = 2;
/// A lease is broken, or a directory has changed.
pub const POLL_MSG: i32 = 3;

/// Who gets the signals of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `F_OWNER_TID`, `F_OWNER_PID` or `F_OWNER_PGRP`.
    pub kind: u32,
    /// Thread, process or group; 0 = nobody.
    pub id: u32,
    /// F_SETSIG; 0 = SIGIO without further information.
    pub signal: u32,
    /// Real and effective user who said so, whose right to send is checked.
    pub uids: (u32, u32),
    /// Descriptor that the signal names.
    pub fd: i32,
}

impl Default for Owner {
    fn default() -> Owner {
        Owner { kind: F_OWNER_PID, id: 0, signal: 0, uids: (0, 0), fd: -1 }
    }
}

/// A signal to be sent to an owner.
#[derive(Clone, Copy, Debug)]
pub struct IoSignal {
    /// To whom.
    pub owner: Owner,
    /// `POLL_*`.
    pub code: i32,
}

impl IoSignal {
    /// To the owner of `file`.
    pub fn of(file: &OpenFile, code: i32) -> IoSignal {
        IoSignal { owner: file.owner.get(), code }
    }

    /// `si_band`: the `POLL*` events that the code stands for.
    pub fn band(&self) -> u64 {
        match self.code {
            POLL_IN => 0x41,
            POLL_OUT => 0x304,
            _ => 0x441,
        }
    }
}
