//! WASI preview 1 with slices in place of pointers and Linux errors in place of WASI's.
//!
//! Source: `wasi_snapshot_preview1.witx`. Nothing here blocks except [`wait`] and [`read`] of a stream
//! that has nothing yet.
#![allow(unsafe_code)] // the wasip1 bindings take raw pointers and are unsafe throughout

use abi::Errno;
use wasip1 as w;

pub use w::{Fd, Fdstat, Filestat};

type Result<T> = std::result::Result<T, Errno>;

/// Linux's error for each of WASI's, which are numbered in alphabetical order from 0 (success).
const ERRNOS: [Errno; 77] = {
    use Errno::*;
    [
        EIO,
        E2BIG,
        EACCES,
        EADDRINUSE,
        EADDRNOTAVAIL,
        EAFNOSUPPORT,
        EAGAIN,
        EALREADY,
        EBADF,
        EBADMSG,
        EBUSY,
        ECANCELED,
        ECHILD,
        ECONNABORTED,
        ECONNREFUSED,
        ECONNRESET,
        EDEADLK,
        EDESTADDRREQ,
        EDOM,
        EDQUOT,
        EEXIST,
        EFAULT,
        EFBIG,
        EHOSTUNREACH,
        EIDRM,
        EILSEQ,
        EINPROGRESS,
        EINTR,
        EINVAL,
        EIO,
        EISCONN,
        EISDIR,
        ELOOP,
        EMFILE,
        EMLINK,
        EMSGSIZE,
        EMULTIHOP,
        ENAMETOOLONG,
        ENETDOWN,
        ENETRESET,
        ENETUNREACH,
        ENFILE,
        ENOBUFS,
        ENODEV,
        ENOENT,
        ENOEXEC,
        ENOLCK,
        ENOLINK,
        ENOMEM,
        ENOMSG,
        ENOPROTOOPT,
        ENOSPC,
        ENOSYS,
        ENOTCONN,
        ENOTDIR,
        ENOTEMPTY,
        ENOTRECOVERABLE,
        ENOTSOCK,
        EOPNOTSUPP,
        ENOTTY,
        ENXIO,
        EOVERFLOW,
        EOWNERDEAD,
        EPERM,
        EPIPE,
        EPROTO,
        EPROTONOSUPPORT,
        EPROTOTYPE,
        ERANGE,
        EROFS,
        ESPIPE,
        ESRCH,
        ESTALE,
        ETIMEDOUT,
        ETXTBSY,
        EXDEV,
        EPERM, // ENOTCAPABLE
    ]
};

fn linux(error: w::Errno) -> Errno {
    ERRNOS.get(usize::from(error.raw())).copied().unwrap_or(Errno::EIO)
}

/// WASI paths are UTF-8.
fn text(path: &[u8]) -> Result<&str> {
    std::str::from_utf8(path).map_err(|_| Errno::EILSEQ)
}

/// The time of a clock in nanoseconds.
pub fn clock(realtime: bool) -> u64 {
    let id = if realtime { w::CLOCKID_REALTIME } else { w::CLOCKID_MONOTONIC };
    // SAFETY: takes no pointers.
    unsafe { w::clock_time_get(id, 1) }.unwrap_or(0)
}

/// Fills `buf` with entropy.
pub fn random(buf: &mut [u8]) -> Result<()> {
    // SAFETY: the pointer and length are those of a live slice.
    unsafe { w::random_get(buf.as_mut_ptr(), buf.len()) }.map_err(linux)
}

/// The program's arguments.
pub fn args() -> Vec<Vec<u8>> {
    // SAFETY: both buffers have the sizes that WASI just gave.
    strings(unsafe { w::args_sizes_get() }, |list, bytes| unsafe { w::args_get(list, bytes) })
}

/// The program's environment, `NAME=value`.
pub fn environ() -> Vec<Vec<u8>> {
    // SAFETY: both buffers have the sizes that WASI just gave.
    strings(unsafe { w::environ_sizes_get() }, |list, bytes| unsafe { w::environ_get(list, bytes) })
}

fn strings(
    sizes: std::result::Result<(usize, usize), w::Errno>,
    get: impl FnOnce(*mut *mut u8, *mut u8) -> std::result::Result<(), w::Errno>,
) -> Vec<Vec<u8>> {
    let Ok((count, len)) = sizes else { return Vec::new() };
    let mut list = vec![std::ptr::null_mut(); count];
    let mut bytes = vec![0_u8; len];
    if get(list.as_mut_ptr(), bytes.as_mut_ptr()).is_err() {
        return Vec::new();
    }
    let base = bytes.as_ptr() as usize;
    let string = |pointer: &*mut u8| {
        let rest = bytes.get((*pointer as usize).wrapping_sub(base)..)?;
        Some(rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
    };
    list.iter().filter_map(string).collect()
}

/// Ends the program.
pub fn exit(status: u32) -> ! {
    // SAFETY: takes no pointers.
    unsafe { w::proc_exit(status) };
    std::process::abort()
}

/// Name and descriptor of each directory that the host gave.
pub fn preopens() -> Vec<(Fd, Vec<u8>)> {
    let mut found = Vec::new();
    for fd in 3.. {
        // SAFETY: takes no pointers.
        let Ok(prestat) = (unsafe { w::fd_prestat_get(fd) }) else { break };
        if prestat.tag != w::PREOPENTYPE_DIR.raw() {
            continue;
        }
        // SAFETY: the tag says that this member of the union is the valid one.
        let len = unsafe { prestat.u.dir.pr_name_len };
        let mut name = vec![0_u8; len];
        // SAFETY: the pointer and length are those of a live buffer.
        if unsafe { w::fd_prestat_dir_name(fd, name.as_mut_ptr(), len) }.is_ok() {
            // Some hosts count a terminating zero.
            name.retain(|byte| *byte != 0);
            found.push((fd, name));
        }
    }
    found
}

/// Type and rights of a descriptor.
pub fn fdstat(fd: Fd) -> Result<Fdstat> {
    // SAFETY: takes no pointers.
    unsafe { w::fd_fdstat_get(fd) }.map_err(linux)
}

/// Whether a descriptor is a terminal, by wasi-libc's rule: a character device without seek and tell.
pub fn is_terminal(fd: Fd) -> bool {
    fdstat(fd).is_ok_and(|stat| {
        stat.fs_filetype == w::FILETYPE_CHARACTER_DEVICE
            && stat.fs_rights_base & (w::RIGHTS_FD_SEEK | w::RIGHTS_FD_TELL) == 0
    })
}

/// Whether a host says that files can be made in this directory. Hosts that keep no rights count as yes.
pub fn is_writable(dir: Fd) -> bool {
    fdstat(dir).is_ok_and(|stat| {
        stat.fs_rights_base == 0 || stat.fs_rights_base & w::RIGHTS_PATH_CREATE_FILE != 0
    })
}

/// Reads from a stream; blocks when there is nothing yet.
pub fn read(fd: Fd, buf: &mut [u8]) -> Result<usize> {
    let iov = [w::Iovec { buf: buf.as_mut_ptr(), buf_len: buf.len() }];
    // SAFETY: the vector describes a live buffer.
    unsafe { w::fd_read(fd, &iov) }.map_err(linux)
}

/// Writes to a stream.
pub fn write(fd: Fd, buf: &[u8]) -> Result<usize> {
    let iov = [w::Ciovec { buf: buf.as_ptr(), buf_len: buf.len() }];
    // SAFETY: the vector describes a live buffer.
    unsafe { w::fd_write(fd, &iov) }.map_err(linux)
}

/// Reads at an offset.
pub fn pread(fd: Fd, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let iov = [w::Iovec { buf: buf.as_mut_ptr(), buf_len: buf.len() }];
    // SAFETY: the vector describes a live buffer.
    unsafe { w::fd_pread(fd, &iov, offset) }.map_err(linux)
}

/// Writes at an offset.
pub fn pwrite(fd: Fd, offset: u64, buf: &[u8]) -> Result<usize> {
    let iov = [w::Ciovec { buf: buf.as_ptr(), buf_len: buf.len() }];
    // SAFETY: the vector describes a live buffer.
    unsafe { w::fd_pwrite(fd, &iov, offset) }.map_err(linux)
}

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
    // SAFETY: the path is a live string.
    unsafe { w::path_open(dir, lookup(how.follow), text(path)?, oflags, rights, u64::MAX >> 34, 0) }
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

/// What ended a [`wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The descriptor can be read, or the host cannot tell.
    Readable,
    /// The time is over.
    Timeout,
}

/// Waits until `fd` can be read or `timeout` nanoseconds are over; with neither it returns at once.
pub fn wait(fd: Option<Fd>, timeout: Option<u64>) -> Woken {
    let clock = |timeout| w::Subscription {
        userdata: 1,
        u: w::SubscriptionU {
            tag: w::EVENTTYPE_CLOCK.raw(),
            u: w::SubscriptionUU {
                clock: w::SubscriptionClock {
                    id: w::CLOCKID_MONOTONIC,
                    timeout,
                    precision: 1,
                    flags: 0,
                },
            },
        },
    };
    let readable = |fd| w::Subscription {
        userdata: 0,
        u: w::SubscriptionU {
            tag: w::EVENTTYPE_FD_READ.raw(),
            u: w::SubscriptionUU { fd_read: w::SubscriptionFdReadwrite { file_descriptor: fd } },
        },
    };
    let subscriptions: Vec<w::Subscription> =
        fd.map(readable).into_iter().chain(timeout.map(clock)).collect();
    if subscriptions.is_empty() {
        return Woken::Timeout;
    }
    let mut events = [const { std::mem::MaybeUninit::<w::Event>::uninit() }; 2];
    // SAFETY: WASI writes at most as many events as there are subscriptions (at most two).
    let count = unsafe {
        w::poll_oneoff(subscriptions.as_ptr(), events.as_mut_ptr().cast(), subscriptions.len())
    };
    match (fd, count) {
        // Some hosts leave the number of events unset, which does not matter when there is but one.
        (None, _) => Woken::Timeout,
        // A host that cannot poll descriptors (browsers): a read tells, and blocks if it must.
        (Some(_), Err(_)) => Woken::Readable,
        (Some(_), Ok(count)) => {
            // SAFETY: the first `count` events were written.
            let mut written =
                events.iter().take(count).map(|event| unsafe { event.assume_init_ref() });
            if written.any(|event| event.userdata == 0) { Woken::Readable } else { Woken::Timeout }
        }
    }
}

/// Type of a file as the bindings name it.
pub mod filetype {
    pub use wasip1::{FILETYPE_DIRECTORY, FILETYPE_REGULAR_FILE, FILETYPE_SYMBOLIC_LINK, Filetype};
}
