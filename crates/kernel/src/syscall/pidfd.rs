//! Calls on descriptors of processes: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2), process_madvise(2),
//! process_mrelease(2).

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::O_NONBLOCK;
use abi::signal::{NSIG, SI_TKILL, SI_USER, Siginfo};

use super::Args;
use super::file::rw::Iov;
use crate::file::pidfd::{self, Life, PidFd, Stage};
use crate::signal::siginfo_from;
use crate::task::access::By;
use crate::task::creds::CAP_SYS_NICE;
use crate::{Kernel, ProcessId, SysResult, ThreadId};

impl Kernel {
    /// The life of the process that descriptor `fd` stands for, and whether waiting for it must not block.
    pub(crate) fn pidfd(&self, tid: ThreadId, fd: i32) -> Result<(Rc<Life>, bool), Errno> {
        let file = self.file(tid, fd)?;
        let pidfd = file.object::<PidFd>().ok_or(Errno::EBADF)?;
        Ok((pidfd.life.clone(), file.is_nonblocking()))
    }

    /// The first thread of the process that `fd` stands for; `ESRCH` when it has ended, also if others go on.
    fn pidfd_thread(&self, tid: ThreadId, fd: i32) -> Result<ThreadId, Errno> {
        let (life, _) = self.pidfd(tid, fd)?;
        let first = ThreadId(life.pid.0);
        let lives = life.stage() == Stage::Alive
            && self.tasks.thread(first).is_some_and(|thread| !thread.has_ended());
        if lives { Ok(first) } else { Err(Errno::ESRCH) }
    }

    /// A descriptor for process `pid`, close-on-exec.
    pub(crate) fn new_pidfd(
        &mut self,
        tid: ThreadId,
        pid: ProcessId,
        nonblock: bool,
    ) -> Result<u64, Errno> {
        let life = self.tasks.process(pid).ok_or(Errno::ESRCH)?.life.clone();
        let file = pidfd::create(&mut self.cx(tid), &life, nonblock);
        self.add_file(tid, file, true)
    }
}

/// pidfd_open(2)
pub fn pidfd_open(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (pid, flags) = (a.i32(0), a.u32(1));
    if flags & !O_NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let pid = ProcessId(pid as u32);
    if k.tasks.process(pid).is_none() {
        // A thread that is not the first of its process.
        let thread = k.tasks.thread(ThreadId(pid.0)).is_some();
        return Err(if thread { Errno::EINVAL } else { Errno::ESRCH }.into());
    }
    Ok(k.new_pidfd(tid, pid, flags & O_NONBLOCK != 0)?)
}

/// pidfd_send_signal(2)
pub fn pidfd_send_signal(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (fd, signal, info) = (a.i32(0), a.i32(1), a.u64(2));
    if a.u32(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let life = match k.pidfd(tid, fd) {
        Ok((life, _)) => life,
        // A process's directory of proc(5) stands for it, too.
        Err(errno) => {
            let file = k.any_file(tid, fd)?;
            let pid = crate::fs::procfs::process_of(file.dentry().inode()).ok_or(errno)?;
            k.tasks.process(ProcessId(pid)).ok_or(Errno::ESRCH)?.life.clone()
        }
    };
    let me = k.tasks[tid].pid;
    let info = if info != 0 {
        let info: Siginfo = k.mm.read_pod(info)?;
        if info.signo != signal {
            return Err(Errno::EINVAL.into());
        }
        if life.pid != me && (info.code >= 0 || info.code == SI_TKILL) {
            return Err(Errno::EPERM.into());
        }
        info
    } else {
        siginfo_from(signal as u32, SI_USER, me.0, k.tasks[tid].creds.uid.real)
    };
    if life.stage() == Stage::Gone {
        return Err(Errno::ESRCH.into());
    }
    if !(0..=NSIG as i32).contains(&signal) {
        return Err(Errno::EINVAL.into());
    }
    k.may_signal(tid, life.pid, signal as u32)?;
    if signal != 0 && !k.send_to_process(life.pid, info, false) {
        return Err(Errno::EAGAIN.into());
    }
    Ok(0)
}

/// pidfd_getfd(2)
pub fn pidfd_getfd(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.u32(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = k.pidfd_thread(tid, a.i32(0))?;
    k.may_access(tid, target, By::RealIds)?;
    let file = k.any_file(target, a.i32(1))?;
    Ok(k.add_file(tid, file, true)?)
}

/// process_madvise(2)
pub fn process_madvise(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    /// MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT
    const HINTS: [u64; 3] = [3, 20, 21];
    if a.u32(4) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let iov = Iov::read(k, a.u64(1), a.u64(2))?;
    let target = k.pidfd_thread(tid, a.i32(0))?;
    let advice = a.u64(3) & 0xffff_ffff;
    if !HINTS.contains(&advice) {
        return Err(Errno::EINVAL.into());
    }
    k.may_access(tid, target, By::FsIds).map_err(|_| Errno::EACCES)?;
    let (here, there) = (k.mm.current(), k.tasks[target].space);
    if here != there && !k.tasks[tid].creds.capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    let mut done = 0;
    k.mm.activate(there);
    for &(addr, len) in iov.parts() {
        match k.mm.advise(addr, len, advice) {
            Ok(()) => done += len,
            Err(_) if done > 0 => break,
            Err(errno) => {
                k.mm.activate(here);
                return Err(errno.into());
            }
        }
    }
    k.mm.activate(here);
    Ok(done)
}

/// process_mrelease(2)
pub fn process_mrelease(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.u32(1) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = k.pidfd_thread(tid, a.i32(0))?;
    let pid = k.tasks.thread(target).ok_or(Errno::ESRCH)?.pid;
    // What has been killed gives its memory back by itself, as soon as it is looked at.
    let dying =
        k.tasks[pid].exiting.is_some() || k.tasks[pid].pending.set().has(abi::signal::SIGKILL);
    if dying { Ok(0) } else { Err(Errno::EINVAL.into()) }
}
