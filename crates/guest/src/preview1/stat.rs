//! WASI's records of files: `filestat`, `fdstat`, and times.

use super::table::is_directory;
use abi::Errno;
use kernel::fs::ops::SetTime;
use kernel::fs::{Kind, Meta, OpenFile, Res, Time};
use wasip1 as w;

/// `filetype`.
pub fn filetype(kind: Kind) -> u8 {
    match kind {
        Kind::Block => w::FILETYPE_BLOCK_DEVICE.raw(),
        Kind::Char => w::FILETYPE_CHARACTER_DEVICE.raw(),
        Kind::Dir => w::FILETYPE_DIRECTORY.raw(),
        Kind::File => w::FILETYPE_REGULAR_FILE.raw(),
        Kind::Symlink => w::FILETYPE_SYMBOLIC_LINK.raw(),
        Kind::Socket => w::FILETYPE_SOCKET_STREAM.raw(),
        // WASI has no word for FIFOs.
        Kind::Fifo => w::FILETYPE_UNKNOWN.raw(),
    }
}

/// `filestat`.
pub fn filestat(meta: &Meta) -> [u8; 64] {
    let mut record = [0; 64];
    let mut put = |at: usize, value: u64| record[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, meta.dev);
    put(8, meta.ino);
    put(16, u64::from(filetype(meta.kind())));
    put(24, u64::from(meta.nlink));
    put(32, meta.size);
    put(40, meta.atime.as_ns());
    put(48, meta.mtime.as_ns());
    put(56, meta.ctime.as_ns());
    record
}

/// What can be done with a directory, by itself and with what is opened below it: what wasmtime says of a preopened one.
const DIRECTORY: w::Rights = w::RIGHTS_PATH_CREATE_DIRECTORY
    | w::RIGHTS_PATH_CREATE_FILE
    | w::RIGHTS_PATH_LINK_SOURCE
    | w::RIGHTS_PATH_LINK_TARGET
    | w::RIGHTS_PATH_OPEN
    | w::RIGHTS_FD_READDIR
    | w::RIGHTS_PATH_READLINK
    | w::RIGHTS_PATH_RENAME_SOURCE
    | w::RIGHTS_PATH_RENAME_TARGET
    | w::RIGHTS_PATH_SYMLINK
    | w::RIGHTS_PATH_REMOVE_DIRECTORY
    | w::RIGHTS_PATH_UNLINK_FILE
    | w::RIGHTS_PATH_FILESTAT_GET
    | w::RIGHTS_PATH_FILESTAT_SET_TIMES
    | w::RIGHTS_FD_FILESTAT_GET
    | w::RIGHTS_FD_FILESTAT_SET_TIMES;
const BELOW: w::Rights = DIRECTORY | FILE | w::RIGHTS_FD_READ | w::RIGHTS_FD_WRITE;
const FILE: w::Rights = w::RIGHTS_FD_DATASYNC
    | w::RIGHTS_FD_SEEK
    | w::RIGHTS_FD_FDSTAT_SET_FLAGS
    | w::RIGHTS_FD_SYNC
    | w::RIGHTS_FD_TELL
    | w::RIGHTS_FD_ADVISE
    | w::RIGHTS_FD_ALLOCATE
    | w::RIGHTS_FD_FILESTAT_GET
    | w::RIGHTS_FD_FILESTAT_SET_SIZE
    | w::RIGHTS_FD_FILESTAT_SET_TIMES
    | w::RIGHTS_POLL_FD_READWRITE;

/// `fdstat`.
pub fn fdstat(file: &OpenFile, flags: u32) -> [u8; 24] {
    let (mut base, inheriting) = if is_directory(file) { (DIRECTORY, BELOW) } else { (FILE, 0) };
    if !is_directory(file) {
        base |= if file.is_readable() { w::RIGHTS_FD_READ } else { 0 };
        base |= if file.is_writable() { w::RIGHTS_FD_WRITE } else { 0 };
    }
    let mut record = [0; 24];
    record[0] = filetype(file.dentry().inode().kind());
    record[2..4].copy_from_slice(&(flags as u16).to_le_bytes());
    record[8..16].copy_from_slice(&base.to_le_bytes());
    record[16..24].copy_from_slice(&inheriting.to_le_bytes());
    record
}

/// What `fstflags` say of two times.
pub fn times(atime: u64, mtime: u64, flags: u32) -> Res<(SetTime, SetTime)> {
    let time = |ns: u64, given: w::Fstflags, now: w::Fstflags| {
        let is = |flag: w::Fstflags| flags & u32::from(flag) != 0;
        match (is(given), is(now)) {
            (true, true) => Err(Errno::EINVAL),
            (true, false) => Ok(SetTime::At(Time::from_ns(ns))),
            (false, true) => Ok(SetTime::Now),
            (false, false) => Ok(SetTime::Omit),
        }
    };
    let atime = time(atime, w::FSTFLAGS_ATIM, w::FSTFLAGS_ATIM_NOW)?;
    Ok((atime, time(mtime, w::FSTFLAGS_MTIM, w::FSTFLAGS_MTIM_NOW)?))
}
