//! Scheduling: one CPU, round robin. Policies and priorities are remembered where programs can read them back.

use abi::Errno;

use super::Args;
use crate::task::creds::CAP_SYS_NICE;
use crate::{Kernel, ProcessId, SysResult, ThreadId};

fn target(k: &Kernel, tid: ThreadId, pid: i32) -> Result<ThreadId, Errno> {
    match pid {
        0 => Ok(tid),
        1.. => k.tasks.thread(ThreadId(pid as u32)).map(|t| t.tid).ok_or(Errno::ESRCH),
        _ => Err(Errno::EINVAL),
    }
}

/// sched_yield(2)
pub fn sched_yield(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    k.tasks[tid].yielded = true;
    Ok(0)
}

/// sched_getaffinity(2): CPU 0
pub fn sched_getaffinity(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    target(k, tid, a.i32(0)).map_err(|_| Errno::ESRCH)?;
    if a.u64(1) < 8 || a.u64(1) & 7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    k.mm.write_pod(a.u64(2), &1_u64)?;
    Ok(8)
}

/// sched_setaffinity(2)
pub fn sched_setaffinity(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    target(k, tid, a.i32(0)).map_err(|_| Errno::ESRCH)?;
    let mut first = [0];
    if a.u64(1) > 0 {
        k.mm.read_user(a.u64(2), &mut first)?;
    }
    if first[0] & 1 == 0 { Err(Errno::EINVAL.into()) } else { Ok(0) }
}

/// sched_getscheduler(2): SCHED_OTHER
pub fn sched_getscheduler(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    target(k, tid, a.i32(0))?;
    Ok(0)
}

/// sched_setscheduler(2)
pub fn sched_setscheduler(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    target(k, tid, a.i32(0))?;
    let priority: i32 = k.mm.read_pod(a.u64(2))?;
    check_policy(a.i32(1) & !0x4000_0000, priority)
}

fn check_policy(policy: i32, priority: i32) -> SysResult {
    match policy {
        // SCHED_OTHER, SCHED_BATCH, SCHED_IDLE
        0 | 3 | 5 if priority == 0 => Ok(0),
        // SCHED_FIFO, SCHED_RR need CAP_SYS_NICE, which docker does not give.
        1 | 2 if (1..=99).contains(&priority) => Err(Errno::EPERM.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// sched_getparam(2)
pub fn sched_getparam(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    target(k, tid, a.i32(0))?;
    k.mm.write_pod(a.u64(1), &0_i32)?;
    Ok(0)
}

/// sched_setparam(2)
pub fn sched_setparam(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    target(k, tid, a.i32(0))?;
    let priority: i32 = k.mm.read_pod(a.u64(1))?;
    check_policy(0, priority)
}

/// sched_get_priority_max(2)
pub fn sched_get_priority_max(_: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    match a.i32(0) {
        1 | 2 => Ok(99),
        0 | 3 | 5 | 6 => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// sched_get_priority_min(2)
pub fn sched_get_priority_min(_: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    match a.i32(0) {
        1 | 2 => Ok(1),
        0 | 3 | 5 | 6 => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// sched_rr_get_interval(2)
pub fn sched_rr_get_interval(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    target(k, tid, a.i32(0))?;
    k.mm.write_pod(a.u64(1), &abi::Timespec::from_ns(4_000_000))?;
    Ok(0)
}

/// sched_getattr(2)
pub fn sched_getattr(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let thread = target(k, tid, a.i32(0))?;
    if a.u32(2) < 48 || a.u32(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let nice = k.tasks[thread].nice;
    // size, policy, flags (u64), nice, priority, runtime, deadline, period
    let mut attr = [0_u32; 12];
    attr[0] = 48;
    attr[4] = nice as u32;
    k.mm.write_pod(a.u64(1), &attr)?;
    Ok(0)
}

/// Threads that PRIO_PROCESS, PRIO_PGRP or PRIO_USER means.
fn priority_targets(k: &Kernel, tid: ThreadId, a: Args) -> Result<Vec<ThreadId>, Errno> {
    let who = a.u32(1);
    let me = &k.tasks[tid];
    let targets: Vec<ThreadId> = match a.i32(0) {
        0 => vec![if who == 0 { tid } else { ThreadId(who) }],
        1 => {
            let group = if who == 0 { k.tasks[me.pid].pgid } else { ProcessId(who) };
            let members = k.tasks.group(group);
            k.tasks.threads().filter(|t| members.contains(&t.pid)).map(|t| t.tid).collect()
        }
        2 => {
            let uid = if who == 0 { me.creds.uid.real } else { who };
            k.tasks.threads().filter(|t| t.creds.uid.real == uid).map(|t| t.tid).collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    let live: Vec<ThreadId> =
        targets.into_iter().filter(|&t| k.tasks.thread(t).is_some()).collect();
    if live.is_empty() { Err(Errno::ESRCH) } else { Ok(live) }
}

/// getpriority(2): 20 − nice
pub fn getpriority(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let targets = priority_targets(k, tid, a)?;
    let nice = targets.iter().map(|&t| k.tasks[t].nice).min().unwrap_or(0);
    Ok((20 - nice) as u64)
}

/// setpriority(2)
pub fn setpriority(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let nice = a.i32(2).clamp(-20, 19);
    let capable = k.tasks[tid].creds.capable(CAP_SYS_NICE);
    for target in priority_targets(k, tid, a)? {
        if nice < k.tasks[target].nice && !capable {
            return Err(Errno::EACCES.into());
        }
        k.tasks[target].nice = nice;
    }
    Ok(0)
}

/// ioprio_get(2), ioprio_set(2): no I/O scheduler
pub fn ioprio(_: &mut Kernel, _: ThreadId, _: Args) -> SysResult {
    Ok(0)
}

/// getcpu(2)
pub fn getcpu(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    for i in 0..2 {
        if a.u64(i) != 0 {
            k.mm.write_pod(a.u64(i), &0_u32)?;
        }
    }
    Ok(0)
}

/// membarrier(2): one CPU, so every system call is a barrier
pub fn membarrier(_: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    /// GLOBAL, GLOBAL_EXPEDITED, PRIVATE_EXPEDITED, …_SYNC_CORE and their registrations.
    const COMMANDS: u64 = 0x7f;
    let cmd = a.u64(0) & 0xffff_ffff;
    match cmd {
        0 => Ok(COMMANDS),
        _ if cmd.is_power_of_two() && cmd & COMMANDS != 0 && a.u32(1) == 0 => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// prlimit64(2), getrlimit(2), setrlimit(2)
pub fn prlimit64(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = match a.i32(0) {
        0 => k.tasks[tid].pid,
        n => k.tasks.process(ProcessId(n as u32)).map(|p| p.pid).ok_or(Errno::ESRCH)?,
    };
    limit(k, tid, pid, a.usize(1) & 0xffff_ffff, a.u64(2), a.u64(3))
}

/// getrlimit(2)
pub fn getrlimit(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    if a.u64(1) == 0 {
        return Err(Errno::EFAULT.into());
    }
    limit(k, tid, pid, a.usize(0) & 0xffff_ffff, 0, a.u64(1))
}

/// setrlimit(2)
pub fn setrlimit(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    if a.u64(1) == 0 {
        return Err(Errno::EFAULT.into());
    }
    limit(k, tid, pid, a.usize(0) & 0xffff_ffff, a.u64(1), 0)
}

fn limit(
    k: &mut Kernel,
    tid: ThreadId,
    pid: ProcessId,
    resource: usize,
    new: u64,
    old: u64,
) -> SysResult {
    let before = *k.tasks[pid].limits.0.get(resource).ok_or(Errno::EINVAL)?;
    if new != 0 {
        let limit: abi::Rlimit = k.mm.read_pod(new)?;
        if limit.cur > limit.max {
            return Err(Errno::EINVAL.into());
        }
        let capable = k.tasks[tid].creds.capable(crate::task::creds::CAP_SYS_RESOURCE);
        if limit.max > before.max && !capable {
            return Err(Errno::EPERM.into());
        }
        k.tasks[pid].limits.0[resource] = limit;
        let memory = k.tasks[pid].limits.memory();
        let leader = k.tasks[pid].leader();
        if let Some(space) = k.tasks.thread(leader).map(|t| t.space)
            && let Some(space) = k.mm.space_mut(space)
        {
            space.limits = memory;
        }
    }
    if old != 0 {
        k.mm.write_pod(old, &before)?;
    }
    Ok(0)
}
