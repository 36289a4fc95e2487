//! WASI preview 1 with slices in place of pointers and Linux errors in place of WASI's.
//!
//! Source: `wasi_snapshot_preview1.witx`. Nothing here blocks except [`wait`] and [`read`] of a stream
//! that has nothing yet.
#![allow(unsafe_code)] // the wasip1 bindings take raw pointers and are unsafe throughout

mod files;

pub use files::*;

use abi::Errno;
use wasip1 as w;

pub use w::{Fd, Fdstat, Filestat};

type Result<T> = std::result::Result<T, Errno>;

/// Linux's error for each of WASI's, which are numbered in alphabetical order from 0 (success).
pub const ERRNOS: [Errno; 77] = {
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

/// CPU time of the thread that the box runs on, or else of the host's process, in nanoseconds from a fixed point; none if the host
/// has no such clock: an error, or one that does not run.
pub fn clock_cpu() -> Option<u64> {
    [w::CLOCKID_THREAD_CPUTIME_ID, w::CLOCKID_PROCESS_CPUTIME_ID]
        .into_iter()
        // SAFETY: takes no pointers.
        .find_map(|id| unsafe { w::clock_time_get(id, 1) }.ok().filter(|&time| time != 0))
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
    // Some hosts (jco) give an empty string a place elsewhere.
    let string = |pointer: &*mut u8| {
        let rest = bytes.get((*pointer as usize).wrapping_sub(base)..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
    };
    list.iter().map(string).collect()
}

/// Lets the host do something else, or for us.
pub fn yield_to_host() {
    // SAFETY: takes no pointers. What the host writes meanwhile are atomics.
    let _ = unsafe { w::sched_yield() };
}

/// Ends the program.
pub fn exit(status: u32) -> ! {
    // SAFETY: takes no pointers.
    unsafe { w::proc_exit(status) };
    std::process::abort()
}

/// Whether the host is wasmtime's preview 1, or a component's adapter to preview 2: no other says of the process's clock that it is a bad descriptor.
pub fn is_wasmtime() -> bool {
    // SAFETY: takes no pointers.
    let resolution = unsafe { w::clock_res_get(w::CLOCKID_PROCESS_CPUTIME_ID) };
    resolution == Err(w::ERRNO_BADF)
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

/// Whether a standard stream is a terminal. wasi-libc's rule is a character device without seek and tell, but many hosts say
/// that of every stream, and to them more is asked: a terminal is one file for input and output, and where files have no numbers, the
/// host must at least know of the stream when it is asked for its place.
pub fn is_terminal(fd: Fd) -> bool {
    fdstat(fd).is_ok_and(|stat| {
        stat.fs_filetype == w::FILETYPE_CHARACTER_DEVICE
            && stat.fs_rights_base & (w::RIGHTS_FD_SEEK | w::RIGHTS_FD_TELL) == 0
    }) && means_terminal(fd)
}

fn means_terminal(fd: Fd) -> bool {
    // jco gives every component a terminal; it is the one that tells a working directory.
    #[cfg(feature = "sockets")]
    if crate::exports::is_component() {
        return wasip2::cli::environment::initial_cwd().is_none();
    }
    // SAFETY: takes no pointers.
    let place = unsafe { w::fd_tell(fd) };
    if place.is_ok() || place == Err(w::ERRNO_BADF) {
        return false;
    }
    let file = |fd| fstat(fd).ok().map(|stat| (stat.dev, stat.ino)).filter(|(_, ino)| *ino != 0);
    let own = file(fd);
    [0, 1].iter().all(|other| file(*other) == own)
}

/// Whether a host says that something can be made in this directory. Hosts that keep no rights count as yes, and so do those
/// that know of directories alone (Deno gives no right to create files, and creates them).
pub fn is_writable(dir: Fd) -> bool {
    const MAKES: w::Rights = w::RIGHTS_PATH_CREATE_FILE | w::RIGHTS_PATH_CREATE_DIRECTORY;
    fdstat(dir).is_ok_and(|stat| stat.fs_rights_base == 0 || stat.fs_rights_base & MAKES != 0)
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

/// Whether a read of the descriptor returns at once with `EAGAIN` when there is nothing.
pub fn is_nonblocking(fd: Fd) -> bool {
    fdstat(fd).is_ok_and(|stat| stat.fs_flags & w::FDFLAGS_NONBLOCK != 0)
}

/// What a subscription for writing is known by; descriptors are smaller.
const WRITABLE: u64 = u64::MAX - 1;

/// Waits until one of `fds` can be read, one of `to_write` can be written, or `timeout` nanoseconds are over; those that can be
/// read. With nothing to wait for it returns at once. None of a host that cannot wait for these (browsers know a time alone).
pub fn wait(fds: &[Fd], to_write: &[Fd], timeout: Option<u64>) -> Option<Vec<Fd>> {
    let clock = |timeout| w::Subscription {
        userdata: u64::MAX,
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
    let readable = |fd: &Fd| w::Subscription {
        userdata: u64::from(*fd),
        u: w::SubscriptionU {
            tag: w::EVENTTYPE_FD_READ.raw(),
            u: w::SubscriptionUU { fd_read: w::SubscriptionFdReadwrite { file_descriptor: *fd } },
        },
    };
    let writable = |fd: &Fd| w::Subscription {
        userdata: WRITABLE,
        u: w::SubscriptionU {
            tag: w::EVENTTYPE_FD_WRITE.raw(),
            u: w::SubscriptionUU { fd_write: w::SubscriptionFdReadwrite { file_descriptor: *fd } },
        },
    };
    let subscriptions: Vec<w::Subscription> = (fds.iter().map(readable))
        .chain(to_write.iter().map(writable))
        .chain(timeout.map(clock))
        .collect();
    if subscriptions.is_empty() {
        return Some(Vec::new());
    }
    let mut events: Vec<w::Event> = Vec::with_capacity(subscriptions.len());
    // SAFETY: WASI writes at most as many events as there are subscriptions.
    let count =
        unsafe { w::poll_oneoff(subscriptions.as_ptr(), events.as_mut_ptr(), subscriptions.len()) };
    match count {
        // Some hosts leave the number of events unset, which does not matter when there is but the clock.
        _ if fds.is_empty() && to_write.is_empty() => Some(Vec::new()),
        Err(_) => None,
        Ok(count) => {
            // SAFETY: the first `count` events were written, and there is room for as many as subscriptions.
            unsafe { events.set_len(count.min(subscriptions.len())) };
            let fired = |fd: &&Fd| events.iter().any(|event| event.userdata == u64::from(**fd));
            Some(fds.iter().filter(fired).copied().collect())
        }
    }
}
