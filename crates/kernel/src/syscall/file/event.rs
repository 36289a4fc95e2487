//! Files that are events: eventfd(2), timerfd_create(2), signalfd(2), inotify(7); and memfd_create(2).

use std::rc::Rc;

use abi::fcntl::{
    F_SEAL_EXEC, F_SEAL_SEAL, MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_EXEC, MFD_NOEXEC_SEAL, O_CLOEXEC,
    O_NONBLOCK, O_RDWR,
};
use abi::poll::*;
use abi::stat::R_OK;
use abi::time::{
    CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_REALTIME_ALARM,
    Itimerspec,
};
use abi::{Errno, Timespec};

use crate::file::inotify::Inotify;
use crate::file::signalfd::SignalFd;
use crate::file::timerfd::TimerFd;
use crate::file::{OpenFile, eventfd, inotify, signalfd, timerfd};
use crate::fs::memfs::MemFs;
use crate::fs::{Kind, acl};
use crate::mounts::unnamed_file;
use crate::signal::SigSet;
use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId};

/// Longest name of a memfd.
const MEMFD_NAME_MAX: usize = 249;

/// eventfd(2)
pub fn eventfd(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    eventfd2(k, tid, Args([a.u64(0), 0, 0, 0, 0, 0]))
}

/// eventfd2(2)
pub fn eventfd2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let flags = a.u32(1);
    if flags & !(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = eventfd::create(&mut k.cx(tid), u64::from(a.u32(0)), flags);
    Ok(k.add_file(tid, file, flags & EFD_CLOEXEC != 0)?)
}

/// timerfd_create(2)
pub fn timerfd_create(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let clock = match a.i32(0) {
        clock @ (CLOCK_REALTIME | CLOCK_REALTIME_ALARM | CLOCK_MONOTONIC | CLOCK_BOOTTIME
        | CLOCK_BOOTTIME_ALARM) => clock,
        _ => return Err(Errno::EINVAL.into()),
    };
    let flags = a.u32(1);
    if flags & !(TFD_CLOEXEC | TFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = timerfd::create(&mut k.cx(tid), clock, flags);
    Ok(k.add_file(tid, file, flags & TFD_CLOEXEC != 0)?)
}

fn spec((left, period): (u64, u64)) -> Itimerspec {
    Itimerspec { it_interval: Timespec::from_ns(period), it_value: Timespec::from_ns(left) }
}

/// timerfd_settime(2)
pub fn timerfd_settime(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let flags = a.u32(1);
    if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let new: Itimerspec = k.mm.read_pod(a.u64(2))?;
    let value = new.it_value.to_ns().ok_or(Errno::EINVAL)?;
    let period = new.it_interval.to_ns().ok_or(Errno::EINVAL)?;
    let file = k.file(tid, a.i32(0))?;
    let Some(timer) = file.object::<TimerFd>() else { return Err(Errno::EINVAL.into()) };
    let absolute = flags & TFD_TIMER_ABSTIME != 0;
    let next = match value {
        0 => 0,
        value if absolute => k.absolute_deadline(timer.clock(), value).max(1),
        value => k.now().saturating_add(value),
    };
    let before = timer.set(&mut k.cx(tid), next, period, absolute);
    if a.u64(3) != 0 {
        k.mm.write_pod(a.u64(3), &spec(before))?;
    }
    Ok(0)
}

/// timerfd_gettime(2)
pub fn timerfd_gettime(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    let Some(timer) = file.object::<TimerFd>() else { return Err(Errno::EINVAL.into()) };
    let now = timer.get(&mut k.cx(tid));
    k.mm.write_pod(a.u64(1), &spec(now))?;
    Ok(0)
}

/// signalfd(2)
pub fn signalfd(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    signalfd4(k, tid, Args([a.u64(0), a.u64(1), a.u64(2), 0, 0, 0]))
}

/// signalfd4(2)
pub fn signalfd4(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (fd, flags) = (a.i32(0), a.u32(3));
    if a.u64(2) != 8 || flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mask = SigSet(k.mm.read_pod(a.u64(1))?).blockable().0;
    if fd == -1 {
        let file = signalfd::create(&mut k.cx(tid), mask, flags);
        return Ok(k.add_file(tid, file, flags & O_CLOEXEC != 0)?);
    }
    let file = k.file(tid, fd)?;
    let Some(signals) = file.object::<SignalFd>() else { return Err(Errno::EINVAL.into()) };
    signals.mask.set(mask);
    Ok(fd as u64)
}

/// inotify_init(2)
pub fn inotify_init(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    inotify_init1(k, tid, Args::default())
}

/// inotify_init1(2)
pub fn inotify_init1(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let flags = a.u32(0);
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = inotify::create(&mut k.cx(tid), flags);
    Ok(k.add_file(tid, file, flags & O_CLOEXEC != 0)?)
}

/// What a mask must have something of (`ALL_INOTIFY_BITS`): events, and the flags of watches.
const INOTIFY_BITS: u32 = 0xf700_0000 | 0xe000 | IN_ALL_EVENTS;

/// inotify_add_watch(2)
pub fn inotify_add_watch(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let mask = a.u32(2);
    let both = IN_MASK_ADD | IN_MASK_CREATE;
    if mask & INOTIFY_BITS == 0 || mask & both == both {
        return Err(Errno::EINVAL.into());
    }
    let file = k.file(tid, a.i32(0))?;
    let Some(instance) = file.object::<Inotify>() else { return Err(Errno::EINVAL.into()) };
    let path = k.mm.read_path(a.u64(1))?;
    let follow = mask & IN_DONT_FOLLOW == 0;
    let dentry = k.lookup_at(tid, abi::fcntl::AT_FDCWD, &path, 0, follow)?;
    if mask & IN_ONLYDIR != 0 && dentry.inode().kind() != Kind::Dir {
        return Err(Errno::ENOTDIR.into());
    }
    let mut cx = k.cx(tid);
    let meta = dentry.inode().meta(&mut cx)?;
    acl::check(&mut cx, dentry.inode(), &meta, R_OK)?;
    let (add, create) = (mask & IN_MASK_ADD != 0, mask & IN_MASK_CREATE != 0);
    let wd = instance.queue.watch(dentry.inode(), mask, add, create).ok_or(Errno::EEXIST)?;
    Ok(wd as u64)
}

/// inotify_rm_watch(2)
pub fn inotify_rm_watch(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    let Some(instance) = file.object::<Inotify>() else { return Err(Errno::EINVAL.into()) };
    if instance.queue.unwatch(a.i32(1)) { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

/// memfd_create(2)
pub fn memfd_create(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let flags = a.u32(1);
    let known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
    let both = MFD_NOEXEC_SEAL | MFD_EXEC;
    if flags & !known != 0 || flags & both == both {
        return Err(Errno::EINVAL.into());
    }
    let name = k.mm.read_cstr(a.u64(0), MEMFD_NAME_MAX + 1).map_err(|e| match e {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        e => e,
    })?;
    let mut cx = k.cx(tid);
    let now = cx.now();
    let shared = cx.shared.clone();
    let dir = MemFs::tmpfs(&shared, "tmpfs", 1, 0o777, now);
    let perm = if flags & MFD_NOEXEC_SEAL != 0 { 0o666 } else { 0o777 };
    let (uid, gid) = (cx.cred.uid, cx.cred.gid);
    let node = dir.unnamed_file(perm, uid, gid, now);
    node.seals.set(match flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL) {
        0 => F_SEAL_SEAL,
        MFD_ALLOW_SEALING => 0,
        _ => F_SEAL_EXEC,
    });
    let dentry =
        unnamed_file(&shared, node, &[b"/memfd:", name.as_slice(), b" (deleted)"].concat());
    let file: Rc<OpenFile> = OpenFile::open(&mut cx, &dentry, O_RDWR)?;
    file.forget_writing();
    Ok(k.add_file(tid, file, flags & MFD_CLOEXEC != 0)?)
}
