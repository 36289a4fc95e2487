//! prctl(2), arch_prctl(2), personality(2).

use abi::Errno;
use abi::signal::NSIG;

use super::Args;
use crate::mm::TASK_SIZE;
use crate::task::creds::{CAP_SETPCAP, CAP_SYS_RESOURCE, LAST_CAP, SECBIT_KEEP_CAPS};
use crate::task::dispatch::Dispatch;
use crate::{Kernel, SysResult, ThreadId};

/// How much later than asked a timer may expire, in ns (`PR_SET_TIMERSLACK`), unless something else was said.
pub(crate) const TIMER_SLACK: u64 = 50_000;

/// `PR_MCE_KILL_DEFAULT`; of lower number: late and early.
pub(crate) const MCE_KILL_DEFAULT: u64 = 2;

/// prctl(2)
pub fn prctl(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    let arg = a.u64(1);
    match a.i32(0) {
        // PR_SET_PDEATHSIG, PR_GET_PDEATHSIG
        1 if arg > NSIG as u64 => Err(Errno::EINVAL.into()),
        1 => {
            k.tasks[tid].death_signal = arg as u32;
            Ok(0)
        }
        2 => {
            let signal = k.tasks[tid].death_signal as i32;
            k.mm.write_pod(arg, &signal)?;
            Ok(0)
        }
        // PR_GET_DUMPABLE, PR_SET_DUMPABLE
        3 => Ok(u64::from(k.tasks[pid].dumpable)),
        4 if arg > 1 => Err(Errno::EINVAL.into()),
        4 => {
            k.tasks[pid].dumpable = arg as u32;
            Ok(0)
        }
        // PR_GET_KEEPCAPS, PR_SET_KEEPCAPS
        7 => Ok(u64::from(k.tasks[tid].creds.securebits & SECBIT_KEEP_CAPS != 0)),
        8 if arg > 1 => Err(Errno::EINVAL.into()),
        8 if k.tasks[tid].creds.securebits & SECBIT_KEEP_CAPS << 1 != 0 => Err(Errno::EPERM.into()),
        8 => {
            let bits = &mut k.tasks[tid].creds.securebits;
            *bits = if arg == 1 { *bits | SECBIT_KEEP_CAPS } else { *bits & !SECBIT_KEEP_CAPS };
            Ok(0)
        }
        // PR_GET_TIMING, PR_SET_TIMING: statistical only
        13 => Ok(0),
        14 if arg != 0 => Err(Errno::EINVAL.into()),
        14 => Ok(0),
        // PR_SET_NAME, PR_GET_NAME
        15 => {
            let mut name = [0; 16];
            let n = k.mm.read_user_partial(arg, &mut name[..15]);
            let end = name.iter().position(|&b| b == 0).unwrap_or(15);
            if n == 0 || end > n {
                return Err(Errno::EFAULT.into());
            }
            k.tasks[tid].comm = name[..end].to_vec();
            Ok(0)
        }
        16 => {
            let mut name = [0; 16];
            let comm = &k.tasks[tid].comm;
            let n = comm.len().min(15);
            name[..n].copy_from_slice(&comm[..n]);
            k.mm.write_user(arg, &name)?;
            Ok(0)
        }
        // PR_GET_SECCOMP, PR_SET_SECCOMP
        21 => Ok(u64::from(k.tasks[tid].seccomp.mode())),
        22 => super::seccomp::prctl_set(k, tid, arg, a.u64(2)),
        // PR_CAPBSET_READ, PR_CAPBSET_DROP
        24 if !k.tasks[tid].creds.capable(CAP_SETPCAP) => Err(Errno::EPERM.into()),
        23 | 24 if arg > u64::from(LAST_CAP) => Err(Errno::EINVAL.into()),
        23 => Ok(k.tasks[tid].creds.bounding >> arg & 1),
        24 => {
            k.tasks[tid].creds.bounding &= !(1 << arg);
            Ok(0)
        }
        // PR_GET_TSC, PR_SET_TSC: the counter can be read; making it fault is not to be had
        25 => {
            k.mm.write_pod(arg, &1_i32)?;
            Ok(0)
        }
        26 if arg == 1 => Ok(0),
        26 => Err(Errno::EINVAL.into()),
        // PR_GET_SECUREBITS, PR_SET_SECUREBITS
        27 => Ok(u64::from(k.tasks[tid].creds.securebits)),
        28 => {
            let creds = &mut k.tasks[tid].creds;
            /// The odd bits lock the even ones.
            const LOCKS: u64 = 0xaa;
            let old = u64::from(creds.securebits);
            let locked = (old & LOCKS) >> 1 & (old ^ arg) != 0 || old & LOCKS & !arg != 0;
            if locked || arg > 0xff || !creds.capable(CAP_SETPCAP) {
                return Err(Errno::EPERM.into());
            }
            creds.securebits = arg as u32;
            Ok(0)
        }
        // PR_SET_TIMERSLACK, PR_GET_TIMERSLACK
        29 => {
            k.tasks[tid].timer_slack = if arg == 0 { TIMER_SLACK } else { arg };
            Ok(0)
        }
        30 => Ok(k.tasks[tid].timer_slack),
        // PR_TASK_PERF_EVENTS_DISABLE and _ENABLE: there are none
        31 | 32 => Ok(0),
        // PR_MCE_KILL, PR_MCE_KILL_GET: there are no broken pages
        33 if a.u64(3) | a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        33 => {
            k.tasks[tid].broken_memory = match (arg, a.u64(2)) {
                // PR_MCE_KILL_CLEAR, PR_MCE_KILL_SET
                (0, 0) => MCE_KILL_DEFAULT,
                (1, policy @ 0..=MCE_KILL_DEFAULT) => policy,
                _ => return Err(Errno::EINVAL.into()),
            };
            Ok(0)
        }
        34 if arg | a.u64(2) | a.u64(3) | a.u64(4) == 0 => Ok(k.tasks[tid].broken_memory),
        // PR_SET_MM: PR_SET_MM_MAP_SIZE tells a size, the rest takes CAP_SYS_RESOURCE
        35 if a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        35 if arg == 15 => {
            k.mm.write_pod(a.u64(2), &104_u32)?;
            Ok(0)
        }
        35 => Err(Errno::EPERM.into()),
        // PR_GET_TID_ADDRESS
        40 => {
            let at = k.tasks[tid].clear_tid;
            k.mm.write_pod(arg, &at)?;
            Ok(0)
        }
        // PR_GET_SPECULATION_CTRL: not affected; PR_SET_SPECULATION_CTRL
        52 if a.u64(2) | a.u64(3) | a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        52 if arg > 2 => Err(Errno::ENODEV.into()),
        52 => Ok(0),
        53 if a.u64(3) | a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        53 if arg > 2 => Err(Errno::ENODEV.into()),
        53 => Err(Errno::ENXIO.into()),
        // PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER
        36 => {
            k.tasks[pid].subreaper = arg != 0;
            Ok(0)
        }
        37 => {
            let value = i32::from(k.tasks[pid].subreaper);
            k.mm.write_pod(arg, &value)?;
            Ok(0)
        }
        // PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS
        38 if arg != 1 || a.u64(2) | a.u64(3) | a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        38 => {
            k.tasks[tid].creds.no_new_privs = true;
            Ok(0)
        }
        39 if arg | a.u64(2) | a.u64(3) | a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        39 => Ok(u64::from(k.tasks[tid].creds.no_new_privs)),
        // PR_SET_THP_DISABLE, PR_GET_THP_DISABLE
        41 if a.u64(2) | a.u64(3) | a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        41 => {
            k.tasks[pid].no_huge_pages = arg != 0;
            Ok(0)
        }
        42 if arg | a.u64(2) | a.u64(3) | a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        42 => Ok(u64::from(k.tasks[pid].no_huge_pages)),
        // PR_CAP_AMBIENT
        47 if a.u64(3) | a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        47 => ambient(k, tid, arg, a.u64(2)),
        // PR_SET_IO_FLUSHER, PR_GET_IO_FLUSHER
        57 | 58 if !k.tasks[tid].creds.capable(CAP_SYS_RESOURCE) => Err(Errno::EPERM.into()),
        57 if arg > 1 || a.u64(2) | a.u64(3) | a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        57 => {
            k.tasks[tid].flushes = arg == 1;
            Ok(0)
        }
        58 if arg | a.u64(2) | a.u64(3) | a.u64(4) != 0 => Err(Errno::EINVAL.into()),
        58 => Ok(u64::from(k.tasks[tid].flushes)),
        // PR_SET_SYSCALL_USER_DISPATCH
        59 => {
            let [start, len, selector] = [2, 3, 4].map(|i| a.u64(i));
            k.tasks[tid].dispatch = match arg {
                0 if start | len | selector == 0 => None,
                1 if start != 0 && start.wrapping_add(len) <= start => {
                    return Err(Errno::EINVAL.into());
                }
                1 if selector >= TASK_SIZE => return Err(Errno::EFAULT.into()),
                1 => Some(Dispatch { start, len, selector }),
                _ => return Err(Errno::EINVAL.into()),
            };
            Ok(0)
        }
        // PR_SET_PTRACER, PR_SET_VMA (names of anonymous mappings): no visible effect
        0x5356_4d41 if arg != 0 => Err(Errno::EINVAL.into()),
        0x5961_6d61 | 0x5356_4d41 => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn ambient(k: &mut Kernel, tid: ThreadId, what: u64, cap: u64) -> SysResult {
    let creds = &mut k.tasks[tid].creds;
    if what == 4 && cap != 0 {
        return Err(Errno::EINVAL.into());
    }
    if what == 4 {
        creds.ambient = 0;
        return Ok(0);
    }
    if cap > u64::from(LAST_CAP) {
        return Err(Errno::EINVAL.into());
    }
    let bit = 1 << cap;
    match what {
        1 => return Ok(creds.ambient >> cap & 1),
        // SECBIT_NO_CAP_AMBIENT_RAISE
        2 if creds.securebits & 1 << 6 != 0 => return Err(Errno::EPERM.into()),
        2 if creds.permitted & creds.inheritable & bit == 0 => return Err(Errno::EPERM.into()),
        2 => creds.ambient |= bit,
        3 => creds.ambient &= !bit,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// arch_prctl(2)
pub fn arch_prctl(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    arch_prctl_of(k, tid, a.i32(0), a.u64(1))
}

/// arch_prctl(2) for another thread's registers (PTRACE_ARCH_PRCTL); `addr` is in the caller's memory.
pub fn arch_prctl_of(k: &mut Kernel, target: ThreadId, code: i32, addr: u64) -> SysResult {
    let ctx = &mut k.tasks[target].ctx;
    match code {
        // ARCH_SET_GS, ARCH_SET_FS
        0x1001 | 0x1002 if addr >= TASK_SIZE => Err(Errno::EPERM.into()),
        0x1001 => {
            ctx.gs_base = addr;
            ctx.segments[3] = 0;
            Ok(0)
        }
        0x1002 => {
            ctx.fs_base = addr;
            ctx.segments[2] = 0;
            Ok(0)
        }
        // ARCH_GET_FS, ARCH_GET_GS
        0x1003 | 0x1004 => {
            let base = if code == 0x1003 { ctx.fs_base } else { ctx.gs_base };
            k.mm.write_pod(addr, &base)?;
            Ok(0)
        }
        // ARCH_GET_CPUID: the instruction may be used
        0x1011 => Ok(1),
        // ARCH_SET_CPUID: faulting is not to be had
        0x1012 => Err(Errno::ENODEV.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// personality(2)
pub fn personality(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let old = k.tasks[tid].personality;
    if a.u32(0) != u32::MAX {
        k.tasks[tid].personality = a.u32(0);
    }
    Ok(u64::from(old))
}
