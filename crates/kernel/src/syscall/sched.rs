//! Scheduling: one CPU. Nice values count; policies are remembered where programs can read them back.

use abi::Errno;
use abi::time::RLIMIT_NICE;

use super::Args;
use crate::task::creds::{CAP_SYS_NICE, Ids};
use crate::{Kernel, ProcessId, SysResult, ThreadId};

/// `SCHED_RESET_ON_FORK`
const RESET_ON_FORK: u64 = 0x4000_0000;

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
    let thread = target(k, tid, a.i32(0)).map_err(|_| Errno::ESRCH)?;
    let mut first = [0];
    if a.u64(1) > 0 {
        k.mm.read_user(a.u64(2), &mut first)?;
    }
    if !is_owner(k, tid, thread) {
        return Err(Errno::EPERM.into());
    }
    if first[0] & 1 == 0 { Err(Errno::EINVAL.into()) } else { Ok(0) }
}

/// sched_getscheduler(2)
pub fn sched_getscheduler(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let thread = target(k, tid, a.i32(0))?;
    let (policy, reset) = k.tasks[thread].policy;
    Ok(u64::from(policy) | if reset { RESET_ON_FORK } else { 0 })
}

/// sched_setscheduler(2)
pub fn sched_setscheduler(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.i32(1) < 0 || a.i32(0) < 0 || a.u64(2) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority: i32 = k.mm.read_pod(a.u64(2))?;
    let thread = target(k, tid, a.i32(0))?;
    let policy = a.u32(1) & !(RESET_ON_FORK as u32);
    check_policy(policy as i32, priority)?;
    if !is_owner(k, tid, thread) {
        return Err(Errno::EPERM.into());
    }
    k.tasks[thread].policy = (policy, a.u64(1) & RESET_ON_FORK != 0);
    Ok(0)
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
    if a.u64(1) == 0 {
        return Err(Errno::EINVAL.into());
    }
    target(k, tid, a.i32(0))?;
    k.mm.write_pod(a.u64(1), &0_i32)?;
    Ok(0)
}

/// sched_setparam(2)
pub fn sched_setparam(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.u64(1) == 0 || a.i32(0) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority: i32 = k.mm.read_pod(a.u64(1))?;
    target(k, tid, a.i32(0))?;
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
    let size = a.u32(2);
    if a.u64(1) == 0 || a.i32(0) < 0 || !(ATTR_V0..=4096).contains(&size) || a.u32(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let thread = &k.tasks[target(k, tid, a.i32(0))?];
    let size = size.min(ATTR_V1);
    // size, policy, flags (u64), nice, priority, runtime, deadline, period, clamps
    let mut attr = [0_u32; 14];
    attr[0] = size;
    attr[1] = thread.policy.0;
    attr[2] = u32::from(thread.policy.1);
    attr[4] = thread.nice as u32;
    (attr[12], attr[13]) = (0, 1024);
    let bytes: Vec<u8> = attr.iter().flat_map(|word| word.to_le_bytes()).collect();
    k.mm.write_user(a.u64(1), &bytes[..size as usize])?;
    Ok(0)
}

/// Sizes of `struct sched_attr`, without and with clamps.
const ATTR_V0: u32 = 48;
const ATTR_V1: u32 = 56;

/// sched_setattr(2)
pub fn sched_setattr(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    /// SCHED_FLAG_RESET_ON_FORK, and all known ones.
    const RESET: u64 = 1;
    const FLAGS: u64 = 0x7f;
    const KEEP_POLICY: u64 = 8;
    if a.u64(1) == 0 || a.i32(0) < 0 || a.u32(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let size = match k.mm.read_pod::<u32>(a.u64(1))? {
        0 => ATTR_V0,
        size => size,
    };
    let bytes = if (ATTR_V0..=4096).contains(&size) {
        k.mm.read_vec(a.u64(1), size as usize)?
    } else {
        Vec::new()
    };
    if bytes.is_empty() || bytes.iter().skip(ATTR_V1 as usize).any(|&b| b != 0) {
        k.mm.write_pod(a.u64(1), &ATTR_V1)?;
        return Err(Errno::E2BIG.into());
    }
    let attr: [u32; 14] = abi::Pod::from_bytes(&bytes);
    let flags = u64::from(attr[2]) | u64::from(attr[3]) << 32;
    if attr[1] as i32 <= -1 {
        return Err(Errno::EINVAL.into());
    }
    let thread = target(k, tid, a.i32(0))?;
    let policy = if flags & KEEP_POLICY != 0 { k.tasks[thread].policy.0 } else { attr[1] };
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if policy == DEADLINE {
        let [runtime, deadline, period]: [u64; 3] =
            abi::Pod::from_bytes(bytes.get(24..).unwrap_or(&[]));
        let fits = runtime >= 1024 && runtime <= deadline && (period == 0 || deadline <= period);
        return Err(if fits && attr[5] == 0 { Errno::EPERM } else { Errno::EINVAL }.into());
    }
    check_policy(policy as i32, attr[5] as i32)?;
    let nice = (attr[4] as i32).clamp(-20, 19);
    let capable = k.tasks[tid].creds.capable(CAP_SYS_NICE);
    if policy != IDLE && nice < k.tasks[thread].nice && !capable {
        return Err(Errno::EPERM.into());
    }
    let thread = &mut k.tasks[thread];
    thread.policy = (policy, flags & RESET != 0);
    if policy != IDLE {
        thread.nice = nice;
    }
    Ok(0)
}

/// `SCHED_IDLE`, `SCHED_DEADLINE`
const IDLE: u32 = 5;
const DEADLINE: u32 = 6;

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
    let mut result = Ok(0);
    for target in priority_targets(k, tid, a)? {
        let thread = &k.tasks[target];
        let limit = k.tasks[thread.pid].limits.soft(RLIMIT_NICE);
        if !is_owner(k, tid, target) {
            result = Err(Errno::EPERM.into());
        } else if nice < thread.nice && !capable && (20 - nice) as u64 > limit {
            result = Err(Errno::EACCES.into());
        } else {
            k.tasks[target].nice = nice;
        }
    }
    result
}

/// Whether `tid` may change the scheduling of `target`: one of its user's, or with CAP_SYS_NICE (`check_same_owner`).
fn is_owner(k: &Kernel, tid: ThreadId, target: ThreadId) -> bool {
    let (me, other) = (&k.tasks[tid].creds, &k.tasks[target].creds.uid);
    let user = me.uid.effective;
    user == other.real || user == other.effective || me.capable(CAP_SYS_NICE)
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
pub fn membarrier(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    /// GLOBAL, GLOBAL_EXPEDITED, PRIVATE_EXPEDITED, …_SYNC_CORE, …_RSEQ and their registrations.
    const COMMANDS: u32 = 0x1ff;
    /// Commands that need the registration of the next bit.
    const PRIVATE: u32 = 1 << 3 | 1 << 5 | 1 << 7;
    const REGISTER: u32 = 1 << 2 | PRIVATE << 1;
    const PRIVATE_RSEQ: u32 = 1 << 7;
    let (cmd, flags) = (a.u32(0), a.u32(1));
    // MEMBARRIER_CMD_FLAG_CPU
    if flags != 0 && !(cmd == PRIVATE_RSEQ && flags == 1) {
        return Err(Errno::EINVAL.into());
    }
    let pid = k.tasks[tid].pid;
    match cmd {
        0 => Ok(u64::from(COMMANDS)),
        _ if !cmd.is_power_of_two() || cmd & COMMANDS == 0 => Err(Errno::EINVAL.into()),
        _ if cmd & REGISTER != 0 => {
            k.tasks[pid].membarrier |= cmd;
            Ok(0)
        }
        _ if cmd & PRIVATE != 0 && k.tasks[pid].membarrier & cmd << 1 == 0 => {
            Err(Errno::EPERM.into())
        }
        _ => Ok(0),
    }
}

/// prlimit64(2), getrlimit(2), setrlimit(2)
pub fn prlimit64(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let new = if a.u64(2) != 0 { Some(k.mm.read_pod(a.u64(2))?) } else { None };
    let pid = match a.i32(0) {
        0 => k.tasks[tid].pid,
        n => k.tasks.process(ProcessId(n as u32)).map(|p| p.pid).ok_or(Errno::ESRCH)?,
    };
    if pid != k.tasks[tid].pid && !may_limit(k, tid, pid) {
        return Err(Errno::EPERM.into());
    }
    limit(k, tid, pid, a.usize(1) & 0xffff_ffff, new, a.u64(3))
}

/// Whether `tid` may see and set the limits of another process: its user and group are the caller's throughout, or with
/// CAP_SYS_RESOURCE (`check_prlimit_permission`).
fn may_limit(k: &Kernel, tid: ThreadId, pid: ProcessId) -> bool {
    let me = &k.tasks[tid].creds;
    let Some(other) = k.tasks.thread(k.tasks[pid].leader()).map(|t| &t.creds) else { return true };
    let same = |ids: &Ids, id: u32| ids.real == id && ids.effective == id && ids.saved == id;
    same(&other.uid, me.uid.real) && same(&other.gid, me.gid.real)
        || me.capable(crate::task::creds::CAP_SYS_RESOURCE)
}

/// getrlimit(2)
pub fn getrlimit(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    if a.u64(1) == 0 {
        return Err(Errno::EFAULT.into());
    }
    limit(k, tid, pid, a.usize(0) & 0xffff_ffff, None, a.u64(1))
}

/// setrlimit(2)
pub fn setrlimit(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    let new = k.mm.read_pod(a.u64(1))?;
    limit(k, tid, pid, a.usize(0) & 0xffff_ffff, Some(new), 0)
}

fn limit(
    k: &mut Kernel,
    tid: ThreadId,
    pid: ProcessId,
    resource: usize,
    new: Option<abi::Rlimit>,
    old: u64,
) -> SysResult {
    let before = *k.tasks[pid].limits.0.get(resource).ok_or(Errno::EINVAL)?;
    if let Some(limit) = new {
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
