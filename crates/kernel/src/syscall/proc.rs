//! Processes: fork, clone, execve, exit, process groups and sessions.

use abi::Errno;
use abi::sched::*;
use abi::signal::{NSIG, SIGCHLD};

use super::Args;
use crate::mm::TASK_SIZE;
use crate::{Kernel, ProcessId, Stop, SysResult, ThreadId, Wait};

/// Most ids that clone3(2) takes, one for each of nested namespaces (`MAX_PID_NS_LEVEL`).
const SET_TID_MAX: u64 = 32;

/// fork(2)
pub fn fork(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    let exit_signal = u64::from(SIGCHLD);
    k.clone_task(tid, CloneArgs { exit_signal, ..CloneArgs::default() })
}

/// vfork(2)
pub fn vfork(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    let exit_signal = u64::from(SIGCHLD);
    k.clone_task(
        tid,
        CloneArgs { flags: CLONE_VFORK | CLONE_VM, exit_signal, ..CloneArgs::default() },
    )
}

/// clone(2): flags, stack, parent_tid, child_tid, tls
pub fn clone(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let flags = a.u64(0);
    // The descriptor and the thread id would be stored at the same place.
    if flags & CLONE_PIDFD != 0 && flags & (CLONE_PARENT_SETTID | CLONE_DETACHED) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let args = CloneArgs {
        // The old call has 32 bits of flags.
        flags: a.u64(0) & 0xffff_ffff & !CSIGNAL & !CLONE_DETACHED,
        exit_signal: a.u64(0) & CSIGNAL,
        stack: a.u64(1),
        pidfd: a.u64(2),
        parent_tid: a.u64(2),
        child_tid: a.u64(3),
        tls: a.u64(4),
        ..CloneArgs::default()
    };
    k.clone_task(tid, args)
}

/// clone3(2)
pub fn clone3(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if k.tasks[tid].restart.again {
        return k.clone_task(tid, CloneArgs::default());
    }
    let args = k.read_clone_args(a.u64(0), a.u64(1))?;
    if args.flags & CLONE_PIDFD != 0
        && args.flags & CLONE_PARENT_SETTID != 0
        && args.pidfd == args.parent_tid
    {
        return Err(Errno::EINVAL.into());
    }
    let thread_signal = args.flags & (CLONE_THREAD | CLONE_PARENT) != 0 && args.exit_signal != 0;
    if args.flags & (CSIGNAL | CLONE_DETACHED) != 0
        || thread_signal
        || args.exit_signal > NSIG as u64
        || (args.stack == 0) != (args.stack_size == 0)
        || args.stack.checked_add(args.stack_size).is_none_or(|end| end > TASK_SIZE)
        || (args.set_tid == 0) != (args.set_tid_size == 0)
        || args.set_tid_size > SET_TID_MAX
        || args.flags & CLONE_INTO_CGROUP != 0 && args.cgroup > i32::MAX as u64
    {
        return Err(Errno::EINVAL.into());
    }
    for i in 0..args.set_tid_size {
        let id: i32 = k.mm.read_pod(args.set_tid.wrapping_add(i * 4))?;
        if id < 1 {
            return Err(Errno::EINVAL.into());
        }
    }
    k.clone_task(tid, args)
}

/// execve(2)
pub fn execve(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.execve(tid, abi::fcntl::AT_FDCWD, a.u64(0), a.u64(1), a.u64(2), 0)
}

/// execveat(2)
pub fn execveat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.execve(tid, a.i32(0), a.u64(1), a.u64(2), a.u64(3), a.u32(4))
}

/// exit(2): one thread
pub fn exit(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let status = (a.i32(0) & 0xff) << 8;
    if k.stop_before_end(tid, status) {
        return stopped_at_the_end();
    }
    k.exit_thread(tid, status);
    Err(Stop::NoReturn)
}

/// The thread ends when its tracer lets it: the call is made again then.
fn stopped_at_the_end() -> SysResult {
    let mut wait = Wait::default().until(Some(0));
    wait.uninterruptible = true;
    wait.block()
}

/// exit_group(2)
pub fn exit_group(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let status = (a.i32(0) & 0xff) << 8;
    if k.stop_before_end(tid, status) {
        return stopped_at_the_end();
    }
    let pid = k.tasks[tid].pid;
    k.exit_group(pid, status);
    k.end_thread(tid);
    Err(Stop::NoReturn)
}

/// getpid(2)
pub fn getpid(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    Ok(u64::from(k.tasks[tid].pid.0))
}

/// gettid(2)
pub fn gettid(_: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    Ok(u64::from(tid.0))
}

/// getppid(2)
pub fn getppid(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    Ok(u64::from(k.tasks[pid].parent.0))
}

/// set_tid_address(2)
pub fn set_tid_address(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.tasks[tid].clear_tid = a.u64(0);
    Ok(u64::from(tid.0))
}

fn target(k: &Kernel, tid: ThreadId, id: i32) -> Result<ProcessId, Errno> {
    match id {
        0 => Ok(k.tasks[tid].pid),
        1.. => {
            let pid = ProcessId(id as u32);
            k.tasks.process(pid).map(|p| p.pid).ok_or(Errno::ESRCH)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// setpgid(2)
pub fn setpgid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let me = k.tasks[tid].pid;
    if a.i32(1) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let pid = target(k, tid, a.i32(0))?;
    let pgid = if a.i32(1) == 0 { pid } else { ProcessId(a.u32(1)) };
    let (sid, my_sid) = (k.tasks[pid].sid, k.tasks[me].sid);
    if pid != me {
        if k.tasks[pid].parent != me {
            return Err(Errno::ESRCH.into());
        }
        if sid != my_sid {
            return Err(Errno::EPERM.into());
        }
        if k.tasks[pid].execed {
            return Err(Errno::EACCES.into());
        }
    }
    if sid == pid {
        return Err(Errno::EPERM.into());
    }
    if pgid != pid && !k.tasks.group(pgid).iter().any(|&p| k.tasks[p].sid == my_sid) {
        return Err(Errno::EPERM.into());
    }
    k.tasks[pid].pgid = pgid;
    Ok(0)
}

/// getpgid(2)
pub fn getpgid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = target(k, tid, a.i32(0)).map_err(|_| Errno::ESRCH)?;
    Ok(u64::from(k.tasks[pid].pgid.0))
}

/// getpgrp(2)
pub fn getpgrp(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    Ok(u64::from(k.tasks[pid].pgid.0))
}

/// getsid(2)
pub fn getsid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = target(k, tid, a.i32(0)).map_err(|_| Errno::ESRCH)?;
    Ok(u64::from(k.tasks[pid].sid.0))
}

/// setsid(2)
pub fn setsid(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    if !k.tasks.group(pid).is_empty() {
        return Err(Errno::EPERM.into());
    }
    let process = &mut k.tasks[pid];
    process.sid = pid;
    process.pgid = pid;
    process.tty = None;
    Ok(u64::from(pid.0))
}
