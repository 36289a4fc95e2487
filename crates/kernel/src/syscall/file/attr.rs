//! Attributes: chmod(2), chown(2), utimensat(2), truncate(2), fallocate(2) and relatives.

use abi::fcntl::{
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE,
    FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_WRITE_ZEROES,
    FALLOC_FL_ZERO_RANGE,
};
use abi::signal::SIGXFSZ;
use abi::stat::{UTIME_NOW, UTIME_OMIT};
use abi::{Errno, Timespec};

use crate::file::OpenFile;
use crate::file::anon::ANON_FS;
use crate::fs::ops::{self, SetTime};
use crate::fs::{Kind, Time};
use crate::syscall::Args;
use crate::{Kernel, Stop, SysResult, ThreadId};

/// An id argument: -1 leaves it.
fn id(value: u32) -> Option<u32> {
    Some(value).filter(|v| *v != u32::MAX)
}

impl Kernel {
    fn chmod_at(
        &mut self,
        tid: ThreadId,
        dirfd: i32,
        path: u64,
        mode: u32,
        flags: u32,
    ) -> SysResult {
        if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let path = self.mm.read_path(path)?;
        let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
        let dentry = self.lookup_at(tid, dirfd, &path, flags, follow)?;
        ops::chmod(&mut self.cx(tid), &dentry, mode)?;
        Ok(0)
    }

    fn chown_at(
        &mut self,
        tid: ThreadId,
        (dirfd, path): (i32, u64),
        (uid, gid): (u32, u32),
        flags: u32,
    ) -> SysResult {
        if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let path = self.mm.read_path(path)?;
        let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
        let dentry = self.lookup_at(tid, dirfd, &path, flags, follow)?;
        ops::chown(&mut self.cx(tid), &dentry, id(uid), id(gid))?;
        Ok(0)
    }

    /// Two times of utimensat(2) at `va`; null = now. None: they are no times, which counts once the file is found.
    fn read_times(&mut self, va: u64) -> Result<Option<(SetTime, SetTime)>, Errno> {
        if va == 0 {
            return Ok(Some((SetTime::Now, SetTime::Now)));
        }
        let mut valid = true;
        let mut times = [SetTime::Omit; 2];
        for (i, time) in times.iter_mut().enumerate() {
            let t: Timespec = self.mm.read_pod(va.wrapping_add(i as u64 * 16))?;
            *time = match t.tv_nsec as u64 {
                UTIME_NOW => SetTime::Now,
                UTIME_OMIT => SetTime::Omit,
                nsec @ 0..=999_999_999 => SetTime::At(Time { sec: t.tv_sec, nsec: nsec as u32 }),
                _ => {
                    valid = false;
                    SetTime::Now
                }
            };
        }
        Ok(valid.then_some((times[0], times[1])))
    }

    /// Two `struct timeval` at `va`; null = now.
    fn read_timevals(&mut self, va: u64) -> Result<(SetTime, SetTime), Errno> {
        if va == 0 {
            return Ok((SetTime::Now, SetTime::Now));
        }
        let values: [i64; 4] = self.mm.read_pod(va)?;
        let time = |sec: i64, usec: i64| match usec {
            0..=999_999 => Ok(SetTime::At(Time { sec, nsec: usec as u32 * 1000 })),
            _ => Err(Errno::EINVAL),
        };
        Ok((time(values[0], values[1])?, time(values[2], values[3])?))
    }

    fn set_times_at(
        &mut self,
        tid: ThreadId,
        dirfd: i32,
        path: u64,
        times: Option<(SetTime, SetTime)>,
        flags: u32,
    ) -> SysResult {
        if matches!(times, Some((SetTime::Omit, SetTime::Omit))) {
            return Ok(0);
        }
        if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let dentry = if path == 0 && dirfd != AT_FDCWD {
            // futimens(3) passes no path.
            if flags != 0 {
                return Err(Errno::EINVAL.into());
            }
            self.file(tid, dirfd)?.dentry().clone()
        } else {
            let path = self.mm.read_path(path)?;
            let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
            self.lookup_at(tid, dirfd, &path, flags, follow)?
        };
        let (accessed, modified) = times.ok_or(Errno::EINVAL)?;
        ops::set_times(&mut self.cx(tid), &dentry, accessed, modified)?;
        Ok(0)
    }

    /// EFBIG comes with SIGXFSZ (setrlimit(2)).
    fn too_big(&mut self, tid: ThreadId, errno: Errno) -> Stop {
        if errno == Errno::EFBIG {
            self.raise_own(tid, SIGXFSZ);
        }
        errno.into()
    }
}

/// chmod(2)
pub fn chmod(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.chmod_at(tid, AT_FDCWD, a.u64(0), a.u32(1), 0)
}

/// fchmod(2)
pub fn fchmod(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    ops::chmod(&mut k.cx(tid), file.dentry(), a.u32(1))?;
    Ok(0)
}

/// fchmodat(2): the system call has no flags.
pub fn fchmodat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.chmod_at(tid, a.i32(0), a.u64(1), a.u32(2), 0)
}

/// fchmodat2(2)
pub fn fchmodat2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.chmod_at(tid, a.i32(0), a.u64(1), a.u32(2), a.u32(3))
}

/// chown(2)
pub fn chown(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.chown_at(tid, (AT_FDCWD, a.u64(0)), (a.u32(1), a.u32(2)), 0)
}

/// lchown(2)
pub fn lchown(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.chown_at(tid, (AT_FDCWD, a.u64(0)), (a.u32(1), a.u32(2)), AT_SYMLINK_NOFOLLOW)
}

/// fchown(2)
pub fn fchown(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    ops::chown(&mut k.cx(tid), file.dentry(), id(a.u32(1)), id(a.u32(2)))?;
    Ok(0)
}

/// fchownat(2)
pub fn fchownat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.chown_at(tid, (a.i32(0), a.u64(1)), (a.u32(2), a.u32(3)), a.u32(4))
}

/// utimensat(2)
pub fn utimensat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let times = k.read_times(a.u64(2))?;
    k.set_times_at(tid, a.i32(0), a.u64(1), times, a.u32(3))
}

/// futimesat(2)
pub fn futimesat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let times = k.read_timevals(a.u64(2))?;
    k.set_times_at(tid, a.i32(0), a.u64(1), Some(times), 0)
}

/// utimes(2)
pub fn utimes(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let times = k.read_timevals(a.u64(1))?;
    k.set_times_at(tid, AT_FDCWD, a.u64(0), Some(times), 0)
}

/// utime(2)
pub fn utime(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let times = match a.u64(1) {
        0 => (SetTime::Now, SetTime::Now),
        va => {
            let [atime, mtime]: [i64; 2] = k.mm.read_pod(va)?;
            let time = |sec| SetTime::At(Time { sec, nsec: 0 });
            (time(atime), time(mtime))
        }
    };
    k.set_times_at(tid, AT_FDCWD, a.u64(0), Some(times), 0)
}

/// truncate(2)
pub fn truncate(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let size = u64::try_from(a.i64(1)).map_err(|_| Errno::EINVAL)?;
    let path = k.mm.read_path(a.u64(0))?;
    let dentry = k.lookup_at(tid, AT_FDCWD, &path, 0, true)?;
    k.shared.lease_end.set(None);
    match ops::truncate(&mut k.cx(tid), &dentry, size, true) {
        Err(Errno::EAGAIN) => Err(k.wait_lease(false)),
        result => result.map(|()| 0).map_err(|e| k.too_big(tid, e)),
    }
}

/// ftruncate(2)
pub fn ftruncate(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let size = u64::try_from(a.i64(1)).map_err(|_| Errno::EINVAL)?;
    let file = k.file(tid, a.i32(0))?;
    if !file.is_writable() || !is_content(&file) {
        return Err(Errno::EINVAL.into());
    }
    let result = ops::truncate(&mut k.cx(tid), file.dentry(), size, false);
    result.map(|()| 0).map_err(|e| k.too_big(tid, e))
}

/// fallocate(2)
pub fn fallocate(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (mode, offset, len) = (a.u32(1), a.i64(2), a.i64(3));
    let file = k.file(tid, a.i32(0))?;
    let (Ok(offset), Ok(len @ 1..)) = (u64::try_from(offset), u64::try_from(len)) else {
        return Err(Errno::EINVAL.into());
    };
    // `vfs_fallocate`: the mode comes first, then how the file is open, then what it is.
    let keep = mode & FALLOC_FL_KEEP_SIZE != 0;
    match mode & !FALLOC_FL_KEEP_SIZE {
        0 | FALLOC_FL_ZERO_RANGE | FALLOC_FL_UNSHARE_RANGE => {}
        FALLOC_FL_PUNCH_HOLE if keep => {}
        FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_WRITE_ZEROES if !keep => {}
        _ => return Err(Errno::EOPNOTSUPP.into()),
    }
    if !file.is_writable() {
        return Err(Errno::EBADF.into());
    }
    match file.dentry().inode().kind() {
        Kind::Dir => return Err(Errno::EISDIR.into()),
        Kind::Fifo => return Err(Errno::ESPIPE.into()),
        _ if !is_content(&file) => return Err(Errno::ENODEV.into()),
        _ => {}
    }
    let mut cx = k.cx(tid);
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
    if end > cx.world.file_size_limit() {
        return Err(k.too_big(tid, Errno::EFBIG));
    }
    file.dentry().inode().allocate(&mut cx, mode, offset, len)?;
    cx.shared.watches.event(file.dentry(), abi::poll::IN_MODIFY);
    Ok(0)
}

/// Whether the file is one of bytes, which descriptors without a place in a tree (epoll, eventfd, …) are not.
pub(super) fn is_content(file: &OpenFile) -> bool {
    let inode = file.dentry().inode();
    inode.kind() == Kind::File && inode.fs_name() != ANON_FS
}
