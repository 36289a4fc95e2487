//! Descriptors: close(2), dup(2), fcntl(2) and relatives.

use abi::Errno;
use abi::fcntl::*;

use super::attr::is_content;
use super::{lock, owner};
use crate::file::OpenFile;
use crate::file::mqueue::MqFile;
use crate::file::pipe::PipeEnd;
use crate::fs::Kind;
use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId};

/// Status flags that F_SETFL changes (fcntl(2)).
const SETTABLE: u32 = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
/// `CLOSE_RANGE_UNSHARE` and `CLOSE_RANGE_CLOEXEC`.
const CLOSE_RANGE: (u32, u32) = (2, 4);

/// close(2)
pub fn close(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if let Ok(file) = k.any_file(tid, a.i32(0))
        && let Some(queue) = file.object::<MqFile>()
    {
        // mq_close(3): the registration goes.
        k.drop_registration(tid, &queue.queue);
    }
    k.tasks[tid].files.borrow_mut().close(a.i32(0))?;
    k.mm.reap();
    Ok(0)
}

/// close_range(2)
pub fn close_range(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (first, last, flags) = (a.u32(0), a.u32(1), a.u32(2));
    if first > last || flags & !(CLOSE_RANGE.0 | CLOSE_RANGE.1) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & CLOSE_RANGE.0 != 0 {
        let own = k.tasks[tid].files.borrow().fork();
        k.tasks[tid].files = std::rc::Rc::new(own.into());
    }
    let mut files = k.tasks[tid].files.borrow_mut();
    for fd in files.fds() {
        if (first..=last).contains(&(fd as u32)) {
            if flags & CLOSE_RANGE.1 != 0 {
                files.set_cloexec(fd, true)?;
            } else {
                files.close(fd)?;
            }
        }
    }
    drop(files);
    k.mm.reap();
    Ok(0)
}

/// dup(2)
pub fn dup(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.any_file(tid, a.i32(0))?;
    Ok(k.add_file(tid, file, false)?)
}

/// dup2(2)
pub fn dup2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (old, new) = (a.i32(0), a.i32(1));
    let file = k.any_file(tid, old)?;
    if old != new {
        let limit = k.fd_limit(tid);
        k.tasks[tid].files.borrow_mut().set(new, file, false, limit)?;
    }
    Ok(new as u64)
}

/// dup3(2)
pub fn dup3(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (old, new, flags) = (a.i32(0), a.i32(1), a.u32(2));
    if old == new || flags & !O_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = k.any_file(tid, old)?;
    let limit = k.fd_limit(tid);
    k.tasks[tid].files.borrow_mut().set(new, file, flags & O_CLOEXEC != 0, limit)?;
    Ok(new as u64)
}

/// fcntl(2)
pub fn fcntl(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (fd, cmd, arg) = (a.i32(0), a.u32(1), a.u64(2));
    let file = k.any_file(tid, fd)?;
    let allowed =
        matches!(cmd, F_DUPFD | F_DUPFD_CLOEXEC | F_DUPFD_QUERY | F_GETFD | F_SETFD | F_GETFL);
    if file.is_path() && !allowed {
        return Err(Errno::EBADF.into());
    }
    if let Some(result) = owner::fcntl(k, tid, (&file, fd), cmd, arg) {
        return result;
    }
    match cmd {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let limit = k.fd_limit(tid);
            // The argument is an int: a negative one is above every limit.
            if arg as i32 as i64 as u64 >= limit {
                return Err(Errno::EINVAL.into());
            }
            let cloexec = cmd == F_DUPFD_CLOEXEC;
            let fd = k.tasks[tid].files.borrow_mut().add(file, cloexec, arg, limit)?;
            Ok(fd as u64)
        }
        F_DUPFD_QUERY => {
            let other = k.any_file(tid, arg as i32)?;
            Ok(u64::from(std::rc::Rc::ptr_eq(&file, &other)))
        }
        F_GETFD => Ok(u64::from(k.tasks[tid].files.borrow().cloexec(fd)?)),
        F_SETFD => {
            let cloexec = arg as u32 & FD_CLOEXEC != 0;
            k.tasks[tid].files.borrow_mut().set_cloexec(fd, cloexec)?;
            Ok(0)
        }
        F_GETFL => Ok(u64::from(file.flags())),
        F_SETFL => {
            let (old, new) = (file.flags(), arg as u32);
            if new & !old & O_NOATIME != 0 {
                let meta = file.dentry().inode().meta(&mut k.cx(tid))?;
                crate::fs::perm::check_owner(&k.cx(tid).cred, &meta)?;
            }
            let direct =
                file.object::<PipeEnd>().is_some() || file.dentry().inode().kind() == Kind::File;
            if new & !old & O_DIRECT != 0 && !direct {
                return Err(Errno::EINVAL.into());
            }
            if (old ^ new) & O_ASYNC != 0 {
                k.set_async(tid, &file, fd, new & O_ASYNC != 0);
            }
            file.set_flags(file.flags() & !SETTABLE | new & SETTABLE);
            Ok(0)
        }
        F_GETLK | F_OFD_GETLK => lock::get(k, tid, &file, arg, cmd == F_OFD_GETLK),
        F_SETLK | F_SETLKW => lock::set(k, tid, &file, arg, false, cmd == F_SETLKW),
        F_OFD_SETLK | F_OFD_SETLKW => lock::set(k, tid, &file, arg, true, cmd == F_OFD_SETLKW),
        F_GET_RW_HINT => {
            k.mm.write_pod(arg, &u64::from(file.hint.get()))?;
            Ok(0)
        }
        F_SET_RW_HINT => {
            let hint: u64 = k.mm.read_pod(arg)?;
            file.hint.set(u8::try_from(hint).ok().filter(|h| *h <= 5).ok_or(Errno::EINVAL)?);
            Ok(0)
        }
        F_GETPIPE_SZ => {
            let end = file.object::<PipeEnd>().ok_or(Errno::EBADF)?;
            Ok(end.capacity() as u64)
        }
        F_SETPIPE_SZ => {
            let end = file.object::<PipeEnd>().ok_or(Errno::EBADF)?;
            Ok(end.set_capacity(&k.cx(tid), arg)? as u64)
        }
        F_GET_SEALS => {
            let seals = file.dentry().inode().seals().ok_or(Errno::EINVAL)?;
            Ok(u64::from(seals.get()))
        }
        F_ADD_SEALS => add_seals(k, tid, &file, arg),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// F_ADD_SEALS (fcntl(2), "File Sealing").
fn add_seals(k: &mut Kernel, tid: ThreadId, file: &OpenFile, arg: u64) -> SysResult {
    let inode = file.dentry().inode();
    let seals = inode.seals().ok_or(Errno::EINVAL)?;
    let known = F_SEAL_SEAL
        | F_SEAL_SHRINK
        | F_SEAL_GROW
        | F_SEAL_WRITE
        | F_SEAL_FUTURE_WRITE
        | F_SEAL_EXEC;
    if !file.is_writable() {
        return Err(Errno::EPERM.into());
    }
    let mut add = u32::try_from(arg).ok().filter(|s| s & !known == 0).ok_or(Errno::EINVAL)?;
    if seals.get() & F_SEAL_SEAL != 0 {
        return Err(Errno::EPERM.into());
    }
    let meta = inode.meta(&mut k.cx(tid))?;
    if add & F_SEAL_WRITE & !seals.get() != 0 && k.mm.is_mapped_writable(meta.dev, meta.ino) {
        return Err(Errno::EBUSY.into());
    }
    if add & F_SEAL_EXEC != 0 && meta.mode & 0o111 != 0 {
        add |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    }
    seals.set(seals.get() | add);
    Ok(0)
}

/// fsync(2), fdatasync(2)
pub fn fsync(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    let ops = file.ops().clone();
    ops.sync(&mut k.cx(tid), &file)?;
    Ok(0)
}

/// sync(2)
pub fn sync(_: &mut Kernel, _: ThreadId, _: Args) -> SysResult {
    Ok(0)
}

/// syncfs(2)
pub fn syncfs(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.file(tid, a.i32(0))?;
    Ok(0)
}

/// readahead(2): everything is in memory already.
pub fn readahead(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    if !file.is_readable() {
        return Err(Errno::EBADF.into());
    }
    match file.dentry().inode().kind() {
        Kind::Block => Ok(0),
        _ if is_content(&file) => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// fadvise64(2)
pub fn fadvise(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    if file.dentry().inode().kind() == Kind::Fifo {
        return Err(Errno::ESPIPE.into());
    }
    if a.i64(2) < 0 || !(0..=5).contains(&a.i32(3)) {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

/// sync_file_range(2)
pub fn sync_file_range(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    let (offset, count) = (a.i64(1), a.i64(2));
    if a.u32(3) & !7 != 0 || offset < 0 || count < 0 || offset.checked_add(count).is_none() {
        return Err(Errno::EINVAL.into());
    }
    match file.dentry().inode().kind() {
        Kind::Block | Kind::Dir | Kind::Symlink => Ok(0),
        _ if is_content(&file) => Ok(0),
        _ => Err(Errno::ESPIPE.into()),
    }
}
