//! The system call table: one row = number, name, typed arguments, function, support level, note. The dispatcher,
//! strace's format and the documentation come from these rows; each subject has a file of rows of its own.

mod files;
mod ipc;
mod memory;
mod process;
mod refused;
mod signals;
mod sockets;
mod time;

use super::Handler;

/// How well a call is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As Linux does it.
    Full,
    /// With the restrictions of the note.
    Partial,
    /// Accepted without effect, for the reason in the note.
    Stub,
    /// `ENOSYS` (or the error in the note), counted.
    Refused,
}

/// Type of an argument, for strace's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Signed int.
    Int,
    /// Signed long.
    Long,
    /// Unsigned long or size.
    Size,
    /// Octal mode.
    Mode,
    /// Bits without names.
    Hex,
    /// Pointer.
    Ptr,
    /// Descriptor.
    Fd,
    /// Directory descriptor or AT_FDCWD.
    DirFd,
    /// Path or other NUL-terminated string.
    Path,
    /// Bytes that the caller gives; the next argument is the length.
    InBuf,
    /// Bytes that the call gives; the return value is the length.
    OutBuf,
    /// Signal number.
    Signal,
    /// Array of strings (argv, envp).
    Strings,
    /// Number of entries only (envp).
    StringCount,
    /// Pointer to an int that the call fills.
    OutInt,
    /// struct timespec.
    Timespec,
    /// struct timespec that the call fills.
    OutTimespec,
    /// sigset_t.
    SigSet,
    /// sigset_t that the call fills.
    OutSigSet,
    /// struct stat that the call fills.
    OutStat,
    /// Two descriptors that the call fills.
    OutFdPair,
    /// struct iovec array; the next argument is the count.
    Iovec,
    /// Combination of named bits.
    Flags(&'static [(u64, &'static str)]),
    /// One of several names.
    Enum(&'static [(u64, &'static str)]),
}

/// One system call.
#[derive(Clone, Copy)]
pub struct Row {
    /// Number.
    pub nr: u64,
    /// Name.
    pub name: &'static str,
    /// Arguments: name and type.
    pub args: &'static [(&'static str, Arg)],
    /// The function.
    pub handler: Handler,
    /// Support level.
    pub level: Level,
    /// What is missing, or why.
    pub note: &'static str,
    /// The result is an address.
    pub hex: bool,
}

/// Writes rows: `9 mmap(addr: Ptr, len: Size) = memory::mmap, Full, "", hex;`
#[macro_export]
macro_rules! syscall_rows {
    ($($nr:literal $name:ident($($arg:ident: $kind:expr),*) = $handler:path, $level:ident, $note:literal $(, $hex:ident)?;)*) => {
        &[$($crate::syscall::table::Row {
            nr: $nr,
            name: stringify!($name),
            args: &[$((stringify!($arg), $kind)),*],
            handler: $handler,
            level: $crate::syscall::table::Level::$level,
            note: $note,
            hex: false $(|| stringify!($hex).len() == 3)?,
        }),*]
    };
}

/// All sections.
static SECTIONS: &[&[Row]] = &[
    files::ROWS,
    sockets::ROWS,
    memory::ROWS,
    ipc::ROWS,
    process::ROWS,
    signals::ROWS,
    time::ROWS,
    refused::ROWS,
];

/// One more than the largest number.
pub const NUMBERS: usize = 470;

/// The rows by number.
pub struct Table {
    rows: Vec<Option<&'static Row>>,
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

impl Table {
    /// Indexes the sections.
    pub fn new() -> Table {
        let mut rows = vec![None; NUMBERS];
        for row in all() {
            if let Some(slot) = rows.get_mut(row.nr as usize) {
                *slot = Some(row);
            }
        }
        Table { rows }
    }

    /// The row of call `nr`.
    pub fn row(&self, nr: u64) -> Option<&'static Row> {
        self.rows.get(usize::try_from(nr).ok()?).copied().flatten()
    }

    /// The number of the call of this name.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.rows.iter().flatten().find(|row| row.name == name).map(|row| row.nr)
    }

    /// Its name, or `syscall_N`.
    pub fn name(&self, nr: u64) -> String {
        self.row(nr).map_or_else(|| format!("syscall_{nr}"), |row| row.name.to_string())
    }
}

/// Every row of every section.
pub fn all() -> impl Iterator<Item = &'static Row> {
    SECTIONS.iter().flat_map(|section| section.iter())
}
