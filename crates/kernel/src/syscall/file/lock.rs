//! flock(2) and the record locks of fcntl(2).

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::*;

use crate::file::OpenFile;
use crate::fs::lock::{Owner, Range, key_of};
use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId, Wait};

/// How many waits are followed in search of a circle (`MAX_DEADLK_ITERATIONS`).
const MAX_DEADLOCK_STEPS: usize = 10;

abi::pod! {
    /// `struct flock`.
    pub struct Flock {
        /// `F_RDLCK`, `F_WRLCK`, `F_UNLCK`.
        pub l_type: i16,
        /// What `l_start` counts from.
        pub l_whence: i16,
        /// Padding.
        pub pad: i32,
        /// First byte.
        pub l_start: i64,
        /// Number of bytes; 0 = to the end, negative = before the start.
        pub l_len: i64,
        /// Process that holds the lock (F_GETLK).
        pub l_pid: i32,
        /// Padding.
        pub pad2: i32,
    }
}

impl Kernel {
    fn range_of(
        &mut self,
        tid: ThreadId,
        file: &Rc<OpenFile>,
        lock: &Flock,
        ofd: bool,
    ) -> Result<Range, Errno> {
        let base = match u32::try_from(i32::from(lock.l_whence)).unwrap_or(u32::MAX) {
            SEEK_SET => 0,
            SEEK_CUR => file.pos.get() as i64,
            SEEK_END => file.dentry().inode().meta(&mut self.cx(tid))?.size as i64,
            _ => return Err(Errno::EINVAL),
        };
        let start = base.checked_add(lock.l_start).ok_or(Errno::EOVERFLOW)?;
        let (start, end) = match lock.l_len {
            0 => (start, i64::MAX),
            n @ 1.. => (start, start.checked_add(n - 1).ok_or(Errno::EOVERFLOW)?),
            n => (start.checked_add(n).ok_or(Errno::EINVAL)?, start - 1),
        };
        let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
        let end = u64::try_from(end).map_err(|_| Errno::EINVAL)?;
        if ofd && lock.l_pid != 0 {
            return Err(Errno::EINVAL);
        }
        let owner = match ofd {
            true => Owner::File(file.id),
            false => Owner::Table(self.tasks[tid].files.borrow().owner()),
        };
        let pid = if ofd { -1 } else { self.tasks[tid].pid.0 as i32 };
        Ok(Range { owner, pid, start, end, exclusive: lock.l_type == F_WRLCK })
    }
}

/// F_GETLK and F_OFD_GETLK.
pub fn get(k: &mut Kernel, tid: ThreadId, file: &Rc<OpenFile>, va: u64, ofd: bool) -> SysResult {
    let mut lock: Flock = k.mm.read_pod(va)?;
    let own = ofd && lock.l_type == F_UNLCK;
    if lock.l_type != F_RDLCK && lock.l_type != F_WRLCK && !own {
        return Err(Errno::EINVAL.into());
    }
    let want = k.range_of(tid, file, &lock, ofd)?;
    let inode = file.dentry().inode();
    // F_UNLCK asks for the description's own locks.
    let found = match own {
        true => k.shared.locks.own(inode, &want),
        false => k.shared.locks.conflict(inode, &want),
    };
    match found {
        None => lock.l_type = F_UNLCK,
        Some(held) => {
            lock.l_type = if held.exclusive { F_WRLCK } else { F_RDLCK };
            lock.l_whence = 0;
            lock.l_start = held.start as i64;
            lock.l_len =
                if held.end == i64::MAX as u64 { 0 } else { (held.end - held.start + 1) as i64 };
            lock.l_pid = held.pid;
        }
    }
    k.mm.write_pod(va, &lock)?;
    Ok(0)
}

/// F_SETLK, F_SETLKW and their open-file-description forms.
pub fn set(
    k: &mut Kernel,
    tid: ThreadId,
    file: &Rc<OpenFile>,
    va: u64,
    ofd: bool,
    wait: bool,
) -> SysResult {
    let lock: Flock = k.mm.read_pod(va)?;
    let range = k.range_of(tid, file, &lock, ofd)?;
    match lock.l_type {
        F_RDLCK if !file.is_readable() => return Err(Errno::EBADF.into()),
        F_WRLCK if !file.is_writable() => return Err(Errno::EBADF.into()),
        F_RDLCK | F_WRLCK | F_UNLCK => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    let shared = k.shared.clone();
    let inode = file.dentry().inode();
    if shared.locks.set_range(&shared.wakes, inode, range, lock.l_type != F_UNLCK) {
        k.name_locks(tid, file)?;
        return Ok(0);
    }
    if !wait {
        return Err(Errno::EAGAIN.into());
    }
    if !ofd && k.would_deadlock(inode, &range) {
        return Err(Errno::EDEADLK.into());
    }
    k.tasks[tid].restart.lock = Some((key_of(inode), range));
    Wait::on(shared.locks.key()).block()
}

impl Kernel {
    /// So that `/proc/locks` can say which file it is.
    fn name_locks(&mut self, tid: ThreadId, file: &OpenFile) -> Result<(), Errno> {
        let inode = file.dentry().inode();
        let meta = inode.meta(&mut self.cx(tid))?;
        self.shared.locks.name(inode, meta.dev, meta.ino);
        Ok(())
    }

    /// Whether waiting for `want` closes a circle: its holder waits for another who waits … for the caller's locks.
    fn would_deadlock(&self, inode: &crate::fs::InodeRef, want: &Range) -> bool {
        let locks = &self.shared.locks;
        let mut holder = locks.conflict(inode, want).map(|held| held.owner);
        for _ in 0..MAX_DEADLOCK_STEPS {
            let Some(owner) = holder else { return false };
            let waiting = self.tasks.threads().find_map(|t| {
                let blocked = matches!(t.run, crate::task::Run::Blocked(_));
                t.restart.lock.as_ref().filter(|(_, range)| blocked && range.owner == owner)
            });
            let Some((file, range)) = waiting else { return false };
            holder = locks.conflict_at(*file, range).map(|held| held.owner);
            if holder == Some(want.owner) {
                return true;
            }
        }
        false
    }
}

/// flock(2)
pub fn flock(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.u32(1) & LOCK_MAND != 0 {
        // Never did what it was for, and does nothing since Linux 5.15.
        return Ok(0);
    }
    let mode = match a.u32(1) & !LOCK_NB {
        LOCK_SH => Some(false),
        LOCK_EX => Some(true),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = k.file(tid, a.i32(0))?;
    let shared = k.shared.clone();
    if shared.locks.flock(&shared.wakes, file.dentry().inode(), file.id, mode) {
        k.name_locks(tid, &file)?;
        return Ok(0);
    }
    if a.u32(1) & LOCK_NB != 0 {
        return Err(Errno::EAGAIN.into());
    }
    Wait::on(shared.locks.key()).block()
}
