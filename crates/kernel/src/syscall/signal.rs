//! Signal calls: rt_sigaction(2), kill(2) and relatives.

use abi::signal::*;
use abi::{Errno, Timespec};

use super::Args;
use crate::signal::frame::altstack_flags;
use crate::signal::{SigSet, siginfo_from};
use crate::task::Restart;
use crate::{Kernel, OnSignal, ProcessId, Stop, SysResult, ThreadId, Wait};

fn check_signal(signal: i32) -> Result<u32, Errno> {
    u32::try_from(signal).ok().filter(|&s| s <= NSIG as u32).ok_or(Errno::EINVAL)
}

fn check_size(size: u64) -> Result<(), Errno> {
    if size == 8 { Ok(()) } else { Err(Errno::EINVAL) }
}

/// rt_sigaction(2)
pub fn rt_sigaction(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    check_size(a.u64(3))?;
    let new: Option<Sigaction> = if a.u64(1) != 0 { Some(k.mm.read_pod(a.u64(1))?) } else { None };
    let signal = check_signal(a.i32(0))?;
    if signal == 0 {
        return Err(Errno::EINVAL.into());
    }
    if new.is_some() && SigSet::UNBLOCKABLE.has(signal) {
        return Err(Errno::EINVAL.into());
    }
    let old = k.tasks[tid].handlers.borrow().get(signal);
    if a.u64(2) != 0 {
        k.mm.write_pod(a.u64(2), &old)?;
    }
    if let Some(mut action) = new {
        action.mask = SigSet(action.mask).blockable().0;
        let ignored = {
            let mut handlers = k.tasks[tid].handlers.borrow_mut();
            handlers.set(signal, action);
            action.handler == SIG_IGN || action.handler == SIG_DFL && handlers.ignores(signal)
        };
        // POSIX 3.3.1.3: what is pending and now ignored is discarded.
        if ignored {
            let pid = k.tasks[tid].pid;
            k.tasks[pid].pending.discard(SigSet::of(signal));
            for t in k.tasks[pid].threads.clone() {
                k.tasks[t].pending.discard(SigSet::of(signal));
            }
        }
    }
    Ok(0)
}

/// rt_sigprocmask(2)
pub fn rt_sigprocmask(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    check_size(a.u64(3))?;
    let old = k.tasks[tid].blocked;
    if a.u64(1) != 0 {
        let set = SigSet(k.mm.read_pod(a.u64(1))?);
        let new = match a.u64(0) {
            SIG_BLOCK => old.with(set),
            SIG_UNBLOCK => old.without(set),
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL.into()),
        };
        k.set_mask(tid, new);
    }
    if a.u64(2) != 0 {
        k.mm.write_pod(a.u64(2), &old.0)?;
    }
    Ok(0)
}

/// rt_sigpending(2)
pub fn rt_sigpending(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.u64(1) > 8 {
        return Err(Errno::EINVAL.into());
    }
    let thread = &k.tasks[tid];
    let set = thread.pending.set().with(k.tasks[thread.pid].pending.set());
    let bytes = (set.0 & thread.blocked.0).to_le_bytes();
    k.mm.write_user(a.u64(0), &bytes[..a.u64(1) as usize])?;
    Ok(0)
}

/// rt_sigsuspend(2)
pub fn rt_sigsuspend(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    check_size(a.u64(1))?;
    if !k.tasks[tid].restart.again {
        let set = SigSet(k.mm.read_pod(a.u64(0))?);
        k.set_temporary_mask(tid, set);
    }
    pause(k, tid, a)
}

/// pause(2)
pub fn pause(_: &mut Kernel, _: ThreadId, _: Args) -> SysResult {
    Wait::default().on_signal(OnSignal::Interrupt).block()
}

/// rt_sigtimedwait(2)
pub fn rt_sigtimedwait(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    check_size(a.u64(3))?;
    let set = SigSet(k.mm.read_pod(a.u64(0))?).blockable();
    if a.u64(2) != 0 && !k.tasks[tid].restart.again {
        let time: Timespec = k.mm.read_pod(a.u64(2))?;
        let ns = time.to_ns().ok_or(Errno::EINVAL)?;
        k.deadline_after(tid, ns);
    }
    let pid = k.tasks[tid].pid;
    let own = SigSet(k.tasks[tid].pending.set().0 & set.0).first();
    let info = match own {
        Some(signal) => k.tasks[tid].pending.take(signal),
        None => {
            let shared = SigSet(k.tasks[pid].pending.set().0 & set.0).first();
            shared.and_then(|signal| k.tasks[pid].pending.take(signal))
        }
    };
    if let Some(info) = info {
        if a.u64(1) != 0 {
            k.mm.write_pod(a.u64(1), &info)?;
        }
        return Ok(info.signo as u64);
    }
    if k.deadline_passed(tid) {
        return Err(Errno::EAGAIN.into());
    }
    let restart = &mut k.tasks[tid].restart;
    restart.awaited = set;
    Wait::default().until(restart.deadline).on_signal(OnSignal::Always).block()
}

/// rt_sigreturn(2)
pub fn rt_sigreturn(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    k.sigreturn(tid)
}

/// sigaltstack(2)
pub fn sigaltstack(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let sp = k.tasks[tid].ctx.gpr[abi::RSP];
    let old = k.tasks[tid].altstack;
    let shown = SigAltStack { flags: altstack_flags(&old, sp), pad: 0, ..old };
    if a.u64(0) != 0 {
        let new: SigAltStack = k.mm.read_pod(a.u64(0))?;
        if shown.flags & SS_ONSTACK != 0 {
            return Err(Errno::EPERM.into());
        }
        let mode = new.flags & !SS_AUTODISARM;
        if mode != 0 && mode != SS_ONSTACK && mode != SS_DISABLE {
            return Err(Errno::EINVAL.into());
        }
        k.tasks[tid].altstack = if mode == SS_DISABLE {
            SigAltStack { flags: new.flags & SS_AUTODISARM, ..SigAltStack::default() }
        } else if new.size < MINSIGSTKSZ {
            return Err(Errno::ENOMEM.into());
        } else {
            SigAltStack { flags: new.flags & SS_AUTODISARM, pad: 0, ..new }
        };
    }
    if a.u64(1) != 0 {
        k.mm.write_pod(a.u64(1), &shown)?;
    }
    Ok(0)
}

/// kill(2)
pub fn kill(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let me = k.tasks[tid].pid;
    let pgid = k.tasks[me].pgid;
    let target = a.i32(0);
    let mut targets: Vec<ProcessId> = match target {
        1.. => vec![ProcessId(target as u32)],
        0 => k.tasks.group(pgid),
        -1 => k
            .tasks
            .processes()
            .map(|p| p.pid)
            .filter(|&p| p != me && p != crate::task::INIT)
            .collect(),
        i32::MIN => return Err(Errno::ESRCH.into()),
        _ => k.tasks.group(ProcessId(target.unsigned_abs())),
    };
    // A thread id names its process, too.
    if target > 0 && k.tasks.process(targets[0]).is_none() {
        targets[0] = k.tasks.thread(ThreadId(target as u32)).map(|t| t.pid).ok_or(Errno::ESRCH)?;
    }
    if targets.is_empty() {
        return Err(Errno::ESRCH.into());
    }
    let signal = check_signal(a.i32(1))?;
    let uid = k.tasks[tid].creds.uid.real;
    let mut result = Err(Errno::ESRCH);
    for pid in targets {
        match k.may_signal(tid, pid, signal) {
            Ok(()) => {
                if signal != 0 {
                    let info = siginfo_from(signal, SI_USER, me.0, uid);
                    let first = if target > 0 { target as u32 } else { pid.0 };
                    k.send_by_thread(pid, ThreadId(first), info, false);
                }
                result = Ok(());
            }
            Err(errno) => {
                if result.is_err() {
                    result = Err(errno);
                }
            }
        }
    }
    result?;
    Ok(0)
}

fn send_thread(k: &mut Kernel, tid: ThreadId, to: ThreadId, info: Siginfo) -> SysResult {
    let signal = info.signo as u32;
    let pid = k.tasks.thread(to).map(|t| t.pid).ok_or(Errno::ESRCH)?;
    k.may_signal(tid, pid, signal)?;
    if signal != 0 && !k.send_to_thread(to, info, false) {
        return Err(Errno::EAGAIN.into());
    }
    Ok(0)
}

/// tkill(2)
pub fn tkill(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.i32(0) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let signal = check_signal(a.i32(1))?;
    let (pid, uid) = (k.tasks[tid].pid, k.tasks[tid].creds.uid.real);
    send_thread(k, tid, ThreadId(a.u32(0)), siginfo_from(signal, SI_TKILL, pid.0, uid))
}

/// tgkill(2)
pub fn tgkill(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.i32(0) <= 0 || a.i32(1) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let to = ThreadId(a.u32(1));
    if k.tasks.thread(to).is_none_or(|t| t.pid.0 != a.u32(0)) {
        return Err(Errno::ESRCH.into());
    }
    let signal = check_signal(a.i32(2))?;
    let (pid, uid) = (k.tasks[tid].pid, k.tasks[tid].creds.uid.real);
    send_thread(k, tid, to, siginfo_from(signal, SI_TKILL, pid.0, uid))
}

/// The siginfo of rt_sigqueueinfo: others' signals may not look as if the kernel had sent them.
fn queued_info(k: &mut Kernel, va: u64, signal: u32, own: bool) -> Result<Siginfo, Errno> {
    let info = k.mm.read_pod(va)?;
    sendable(info, signal, own)
}

/// What the kernel itself sends cannot be made up for others.
fn sendable(mut info: Siginfo, signal: u32, own: bool) -> Result<Siginfo, Errno> {
    info.signo = signal as i32;
    if !own && (info.code >= 0 || info.code == SI_TKILL) {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

/// rt_sigqueueinfo(2)
pub fn rt_sigqueueinfo(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    // As with kill(2), the id may be that of any thread.
    let to = ThreadId(a.u32(0));
    let info = queued_info(k, a.u64(2), a.u32(1), to == tid)?;
    let pid = match k.tasks.thread(to) {
        Some(thread) => thread.pid,
        None => k.tasks.process(ProcessId(to.0)).map(|p| p.pid).ok_or(Errno::ESRCH)?,
    };
    let signal = check_signal(a.i32(1))?;
    k.may_signal(tid, pid, signal)?;
    if signal != 0 && !k.send_by_thread(pid, to, info, false) {
        return Err(Errno::EAGAIN.into());
    }
    Ok(0)
}

/// rt_tgsigqueueinfo(2)
pub fn rt_tgsigqueueinfo(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let to = ThreadId(a.u32(1));
    let info: Siginfo = k.mm.read_pod(a.u64(3))?;
    if a.i32(0) <= 0 || a.i32(1) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let info = sendable(info, a.u32(2), to == tid)?;
    if k.tasks.thread(to).is_none_or(|t| t.pid.0 != a.u32(0)) {
        return Err(Errno::ESRCH.into());
    }
    check_signal(a.i32(2))?;
    send_thread(k, tid, to, info)
}

/// restart_syscall(2): goes on with the call that a stop for a tracer broke off.
pub fn restart_syscall(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    let Some(block) = k.tasks[tid].restart_block.take() else {
        return Err(Stop::Errno(Errno::EINTR));
    };
    let (nr, g, restart) = *block;
    let args = Args([g[abi::RDI], g[abi::RSI], g[abi::RDX], g[abi::R10], g[abi::R8], g[abi::R9]]);
    let thread = &mut k.tasks[tid];
    thread.restart = Restart { again: true, futex: None, ..restart };
    thread.syscall = Some(nr);
    match k.table.row(nr) {
        Some(row) => (row.handler)(k, tid, args),
        None => Err(Stop::Errno(Errno::EINTR)),
    }
}
