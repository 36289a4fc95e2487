//! seccomp(2), and what prctl(2) has of it.

use std::rc::Rc;

use abi::Errno;

use super::Args;
use crate::bpf::{Insn, MAX_INSNS, Program, Use};
use crate::task::creds::CAP_SYS_ADMIN;
use crate::task::seccomp::{Filter, INSNS_MAX, Seccomp, action, read_program};
use crate::{Kernel, SysResult, ThreadId};

const TSYNC: u32 = 1;
const LOG: u32 = 2;
const SPEC_ALLOW: u32 = 4;
const TSYNC_ESRCH: u32 = 16;

/// seccomp(2)
pub fn seccomp(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let flags = a.u32(1);
    match a.u32(0) {
        // SECCOMP_SET_MODE_STRICT
        0 if flags != 0 || a.u64(2) != 0 => Err(Errno::EINVAL.into()),
        0 => set_strict(k, tid),
        // SECCOMP_SET_MODE_FILTER. A listener (SECCOMP_RET_USER_NOTIF) is what kernels before 5.0 did not know.
        1 if flags & !(TSYNC | LOG | SPEC_ALLOW | TSYNC_ESRCH) != 0 => Err(Errno::EINVAL.into()),
        1 => set_filter(k, tid, flags, a.u64(2)),
        // SECCOMP_GET_ACTION_AVAIL
        2 if flags != 0 => Err(Errno::EINVAL.into()),
        2 => {
            let wanted: u32 = k.mm.read_pod(a.u64(2))?;
            let known = [
                action::KILL_PROCESS,
                action::KILL_THREAD,
                action::TRAP,
                action::ERRNO,
                action::TRACE,
                action::LOG,
                action::ALLOW,
            ];
            if known.contains(&wanted) { Ok(0) } else { Err(Errno::EOPNOTSUPP.into()) }
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// prctl(PR_SET_SECCOMP)
pub fn prctl_set(k: &mut Kernel, tid: ThreadId, mode: u64, filter: u64) -> SysResult {
    match mode {
        1 => set_strict(k, tid),
        2 => set_filter(k, tid, 0, filter),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn set_strict(k: &mut Kernel, tid: ThreadId) -> SysResult {
    match k.tasks[tid].seccomp {
        Seccomp::Filter(_) => Err(Errno::EINVAL.into()),
        _ => {
            k.tasks[tid].seccomp = Seccomp::Strict;
            Ok(0)
        }
    }
}

fn set_filter(k: &mut Kernel, tid: ThreadId, flags: u32, at: u64) -> SysResult {
    let (len, insns) = read_program(k, at)?;
    if len == 0 || len > MAX_INSNS {
        return Err(Errno::EINVAL.into());
    }
    let creds = &k.tasks[tid].creds;
    if !creds.no_new_privs && !creds.capable(CAP_SYS_ADMIN) {
        return Err(Errno::EACCES.into());
    }
    let bytes = k.mm.read_vec(insns, len * Insn::SIZE)?;
    let program = Program::from_bytes(&bytes, Use::Seccomp)?;
    let previous = match &k.tasks[tid].seccomp {
        Seccomp::Off => None,
        Seccomp::Strict => return Err(Errno::EINVAL.into()),
        Seccomp::Filter(filter) => Some(filter.clone()),
    };
    let depth = 1 + previous.as_ref().map_or(0, |f| f.depth);
    let insns = program.len() + 4 + previous.as_ref().map_or(0, |f| f.insns);
    if insns > INSNS_MAX {
        return Err(Errno::ENOMEM.into());
    }
    let pid = k.tasks[tid].pid;
    let others: Vec<ThreadId> =
        k.tasks[pid].threads.iter().copied().filter(|&t| t != tid).collect();
    if flags & TSYNC != 0 {
        // Only threads whose filters are ancestors of the caller's can be taken along.
        let own = &k.tasks[tid].seccomp;
        let stranger = others.iter().find(|&&t| !own.descends_from(&k.tasks[t].seccomp));
        match stranger {
            Some(_) if flags & TSYNC_ESRCH != 0 => return Err(Errno::ESRCH.into()),
            Some(other) => return Ok(u64::from(other.0)),
            None => {}
        }
    }
    let filter = Seccomp::Filter(Rc::new(Filter { program, previous, depth, insns }));
    if flags & TSYNC != 0 {
        let no_new_privs = k.tasks[tid].creds.no_new_privs;
        for other in others {
            let thread = &mut k.tasks[other];
            thread.seccomp = filter.clone();
            thread.creds.no_new_privs |= no_new_privs;
        }
    }
    k.tasks[tid].seccomp = filter;
    Ok(0)
}
