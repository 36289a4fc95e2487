//! Files and directories below the preopened directories.
#![allow(unsafe_code)] // as in the parent module

use super::{Fd, Filestat, Result, linux, text};
use abi::Errno;
use wasip1 as w;

/// How [`open`] opens, as WASI's flags.
#[derive(Clone, Copy, Default)]
pub struct Open {
    /// `fs_rights_base`: reading.
    pub read: bool,
    /// `fs_rights_base`: writing.
    pub write: bool,
    /// `OFLAGS_CREAT`.
    pub create: bool,
    /// `OFLAGS_EXCL`.
    pub exclusive: bool,
    /// `OFLAGS_TRUNC`.
    pub truncate: bool,
    /// `OFLAGS_DIRECTORY`.
    pub directory: bool,
    /// `LOOKUPFLAGS_SYMLINK_FOLLOW`.
    pub follow: bool,
}

/// Opens a path below a directory.
pub fn open(dir: Fd, path: &[u8], how: Open) -> Result<Fd> {
    let flag = |on: bool, flag: w::Oflags| if on { flag } else { 0 };
    let oflags = flag(how.create, w::OFLAGS_CREAT)
        | flag(how.exclusive, w::OFLAGS_EXCL)
        | flag(how.truncate, w::OFLAGS_TRUNC)
        | flag(how.directory, w::OFLAGS_DIRECTORY);
    let mut rights =
        w::RIGHTS_FD_FILESTAT_GET | w::RIGHTS_FD_FDSTAT_SET_FLAGS | w::RIGHTS_FD_ADVISE;
    if how.read {
        rights |= w::RIGHTS_FD_READ
            | w::RIGHTS_FD_SEEK
            | w::RIGHTS_FD_TELL
            | w::RIGHTS_FD_READDIR
            | w::RIGHTS_POLL_FD_READWRITE;
    }
    if how.write {
        rights |= w::RIGHTS_FD_WRITE
            | w::RIGHTS_FD_SEEK
            | w::RIGHTS_FD_TELL
            | w::RIGHTS_FD_SYNC
            | w::RIGHTS_FD_DATASYNC
            | w::RIGHTS_FD_ALLOCATE
            | w::RIGHTS_FD_FILESTAT_SET_SIZE
            | w::RIGHTS_FD_FILESTAT_SET_TIMES
            | w::RIGHTS_POLL_FD_READWRITE;
    }
    if how.directory {
        rights |= DIRECTORY_RIGHTS;
    }
    match open_with(dir, path, how, oflags, rights, ALL_RIGHTS) {
        // Hosts that keep rights refuse what is more than the directory hands on.
        Err(Errno::EPERM) => {
            let handed = super::fdstat(dir)?.fs_rights_inheriting;
            open_with(dir, path, how, oflags, rights & handed, ALL_RIGHTS & handed)
        }
        result => result,
    }
}

/// What there is to be done with files and directories: the other rights are sockets', of which some hosts know nothing.
const ALL_RIGHTS: w::Rights = (1 << 28) - 1;

fn open_with(
    dir: Fd,
    path: &[u8],
    how: Open,
    oflags: w::Oflags,
    rights: w::Rights,
    handed_on: w::Rights,
) -> Result<Fd> {
    // SAFETY: the path is a live string.
    unsafe { w::path_open(dir, lookup(how.follow), text(path)?, oflags, rights, handed_on, 0) }
        .map_err(linux)
}

/// What an open directory may be asked to do.
const DIRECTORY_RIGHTS: w::Rights = w::RIGHTS_PATH_CREATE_DIRECTORY
    | w::RIGHTS_PATH_CREATE_FILE
    | w::RIGHTS_PATH_LINK_SOURCE
    | w::RIGHTS_PATH_LINK_TARGET
    | w::RIGHTS_PATH_OPEN
    | w::RIGHTS_PATH_READLINK
    | w::RIGHTS_PATH_RENAME_SOURCE
    | w::RIGHTS_PATH_RENAME_TARGET
    | w::RIGHTS_PATH_FILESTAT_GET
    | w::RIGHTS_PATH_FILESTAT_SET_SIZE
    | w::RIGHTS_PATH_FILESTAT_SET_TIMES
    | w::RIGHTS_PATH_SYMLINK
    | w::RIGHTS_PATH_REMOVE_DIRECTORY
    | w::RIGHTS_PATH_UNLINK_FILE
    | w::RIGHTS_FD_READDIR;

fn lookup(follow: bool) -> w::Lookupflags {
    if follow { w::LOOKUPFLAGS_SYMLINK_FOLLOW } else { 0 }
}

/// Closes a descriptor.
pub fn close(fd: Fd) {
    // SAFETY: takes no pointers. An error says that it was not open.
    let _ = unsafe { w::fd_close(fd) };
}

/// One directory entry: name, inode, type.
pub struct Dirent {
    /// Name without the path.
    pub name: Vec<u8>,
    /// Inode number.
    pub ino: u64,
    /// File type.
    pub kind: w::Filetype,
}

/// All entries of an open directory, with `.` and `..` when the host lists them.
pub fn readdir(dir: Fd) -> Result<Vec<Dirent>> {
    /// Bytes of `dirent`: d_next u64, d_ino u64, d_namlen u32, d_type u8, padding.
    const HEADER: usize = 24;
    let mut entries = Vec::new();
    let mut buf = vec![0_u8; 32 << 10];
    let mut cookie = 0;
    loop {
        // SAFETY: the pointer and length are those of a live buffer.
        let len =
            unsafe { w::fd_readdir(dir, buf.as_mut_ptr(), buf.len(), cookie) }.map_err(linux)?;
        let len = len.min(buf.len());
        let mut at = 0;
        let before = entries.len();
        while let Some(header) = buf[..len].get(at..at + HEADER) {
            let field = |range: std::ops::Range<usize>| {
                let mut bytes = [0; 8];
                bytes[..range.len()].copy_from_slice(&header[range]);
                u64::from_le_bytes(bytes)
            };
            let name_len = field(16..20) as usize;
            let Some(name) = buf[..len].get(at + HEADER..).and_then(|rest| rest.get(..name_len))
            else {
                break;
            };
            entries.push(Dirent {
                name: name.to_vec(),
                ino: field(8..16),
                kind: filetype(header[20]),
            });
            cookie = field(0..8);
            at += HEADER + name_len;
        }
        if len < buf.len() {
            return Ok(entries);
        }
        if entries.len() == before {
            // One entry larger than the buffer: a name has at most a few thousand bytes, so this ends soon.
            if buf.len() > 1 << 20 {
                return Err(Errno::EIO);
            }
            buf.resize(buf.len() * 2, 0);
        }
    }
}

fn filetype(byte: u8) -> w::Filetype {
    [
        w::FILETYPE_BLOCK_DEVICE,
        w::FILETYPE_CHARACTER_DEVICE,
        w::FILETYPE_DIRECTORY,
        w::FILETYPE_REGULAR_FILE,
        w::FILETYPE_SYMBOLIC_LINK,
    ]
    .into_iter()
    .find(|kind| kind.raw() == byte)
    .unwrap_or(w::FILETYPE_UNKNOWN)
}

/// Attributes of an open file.
pub fn fstat(fd: Fd) -> Result<Filestat> {
    // SAFETY: takes no pointers.
    unsafe { w::fd_filestat_get(fd) }.map_err(linux)
}

/// Attributes of a path below a directory.
pub fn stat(dir: Fd, path: &[u8], follow: bool) -> Result<Filestat> {
    // SAFETY: the path is a live string.
    unsafe { w::path_filestat_get(dir, lookup(follow), text(path)?) }.map_err(linux)
}

/// Makes a directory.
pub fn mkdir(dir: Fd, path: &[u8]) -> Result<()> {
    // SAFETY: the path is a live string.
    unsafe { w::path_create_directory(dir, text(path)?) }.map_err(linux)
}

/// Removes a file.
pub fn unlink(dir: Fd, path: &[u8]) -> Result<()> {
    // SAFETY: the path is a live string.
    unsafe { w::path_unlink_file(dir, text(path)?) }.map_err(linux)
}

/// Removes an empty directory.
pub fn rmdir(dir: Fd, path: &[u8]) -> Result<()> {
    // SAFETY: the path is a live string.
    unsafe { w::path_remove_directory(dir, text(path)?) }.map_err(linux)
}

/// Renames.
pub fn rename(from: Fd, old: &[u8], to: Fd, new: &[u8]) -> Result<()> {
    // SAFETY: the paths are live strings.
    unsafe { w::path_rename(from, text(old)?, to, text(new)?) }.map_err(linux)
}

/// Makes a symbolic link.
pub fn symlink(target: &[u8], dir: Fd, path: &[u8]) -> Result<()> {
    // SAFETY: the paths are live strings.
    unsafe { w::path_symlink(text(target)?, dir, text(path)?) }.map_err(linux)
}

/// Makes a hard link.
pub fn link(from: Fd, old: &[u8], to: Fd, new: &[u8]) -> Result<()> {
    // SAFETY: the paths are live strings.
    unsafe { w::path_link(from, 0, text(old)?, to, text(new)?) }.map_err(linux)
}

/// The target of a symbolic link.
pub fn readlink(dir: Fd, path: &[u8]) -> Result<Vec<u8>> {
    let mut buf = vec![0_u8; 4096];
    // SAFETY: the path is a live string; the pointer and length are those of a live buffer.
    let len = unsafe { w::path_readlink(dir, text(path)?, buf.as_mut_ptr(), buf.len()) }
        .map_err(linux)?;
    buf.truncate(len);
    Ok(buf)
}

/// Sets times in nanoseconds; `None` leaves one as it is.
pub fn utimes(
    dir: Fd,
    path: &[u8],
    atime: Option<u64>,
    mtime: Option<u64>,
    follow: bool,
) -> Result<()> {
    let mut flags = 0;
    if atime.is_some() {
        flags |= w::FSTFLAGS_ATIM;
    }
    if mtime.is_some() {
        flags |= w::FSTFLAGS_MTIM;
    }
    let (atime, mtime) = (atime.unwrap_or(0), mtime.unwrap_or(0));
    // SAFETY: the path is a live string.
    unsafe { w::path_filestat_set_times(dir, lookup(follow), text(path)?, atime, mtime, flags) }
        .map_err(linux)
}

/// Sets the length of an open file.
pub fn truncate(fd: Fd, len: u64) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { w::fd_filestat_set_size(fd, len) }.map_err(linux)
}

/// Flushes an open file.
pub fn sync(fd: Fd) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { w::fd_sync(fd) }.map_err(linux)
}

/// Type of a file as the bindings name it.
pub mod filetype {
    pub use wasip1::{FILETYPE_DIRECTORY, FILETYPE_REGULAR_FILE, FILETYPE_SYMBOLIC_LINK, Filetype};
}
