//! wait4(2) and waitid(2).

use abi::Errno;
use abi::sched::*;
use abi::signal::*;

use super::Args;
use super::time::rusage;
use crate::file::pidfd::Stage;
use crate::task::end::CORE_DUMPED;
use crate::task::process::{Report, Usage};
use crate::task::ptrace::Kind;
use crate::{Kernel, ProcessId, Stop, SysResult, ThreadId, Wait, WaitKey};

/// Which children are meant.
#[derive(Clone, Copy)]
enum Which {
    Any,
    One(ProcessId),
    Group(ProcessId),
}

/// A child whose state was taken.
struct Found {
    pid: ProcessId,
    uid: u32,
    /// Wait status as wait4 encodes it.
    status: i32,
    code: i32,
    /// Exit status or signal.
    value: i32,
    usage: Usage,
}

impl Kernel {
    fn is_meant(&self, child: ProcessId, which: Which, options: i32) -> bool {
        let Some(process) = self.tasks.process(child) else { return false };
        let kind = if options & WALL != 0 {
            true
        } else {
            (process.exit_signal != SIGCHLD) == (options & WCLONE != 0)
        };
        kind && match which {
            Which::Any => true,
            Which::One(pid) => pid == child,
            Which::Group(pgid) => process.pgid == pgid,
        }
    }

    /// Looks for a child in one of the states of `options`. `Ok(None)` = there are children, but none is ready.
    fn find_child(
        &mut self,
        tid: ThreadId,
        which: Which,
        options: i32,
    ) -> Result<Option<Found>, Errno> {
        let parent = self.tasks[tid].pid;
        let own = |child| options & WNOTHREAD == 0 || self.maker(child) == tid;
        let children: Vec<ProcessId> = self.tasks[parent]
            .children
            .iter()
            .copied()
            .filter(|&c| self.is_meant(c, which, options) && own(c))
            .collect();
        let keep = options & WNOWAIT != 0;
        let traces = match self.find_tracee(parent, which, keep, options) {
            Ok(found) => return Ok(Some(found)),
            Err(traces) => traces,
        };
        // One that has ended is nobody to wait for, unless its end is asked for.
        let ends = options & WEXITED != 0;
        if !traces && !children.iter().any(|&c| ends || self.tasks[c].zombie.is_none()) {
            return Err(Errno::ECHILD);
        }
        for pid in children {
            let process = &self.tasks[pid];
            let uid = self.tasks.thread(ThreadId(pid.0)).map_or(0, |t| t.creds.uid.real);
            let mut found = Found { pid, uid, status: 0, code: 0, value: 0, usage: process.usage };
            found.usage.add(&process.child_usage);
            if let (Some(status), true) = (process.zombie, options & WEXITED != 0) {
                found.status = status;
                (found.code, found.value) = match status & 0x7f {
                    0 => (CLD_EXITED, status >> 8 & 0xff),
                    signal if status & CORE_DUMPED != 0 => (CLD_DUMPED, signal),
                    signal => (CLD_KILLED, signal),
                };
                if !keep {
                    let usage = self.reap_process(pid);
                    self.tasks[parent].child_usage.add(&usage);
                }
                return Ok(Some(found));
            }
            let report = process.report;
            // The stops of a traced child are its tracer's.
            let traced = self.traced(process.leader()).is_some();
            match report {
                Some(Report::Stopped(signal)) if options & WUNTRACED != 0 && !traced => {
                    found.status = (signal as i32) << 8 | 0x7f;
                    (found.code, found.value) = (CLD_STOPPED, signal as i32);
                }
                Some(Report::Continued) if options & WCONTINUED != 0 => {
                    found.status = 0xffff;
                    (found.code, found.value) = (CLD_CONTINUED, SIGCONT as i32);
                }
                _ => continue,
            }
            if !keep {
                self.tasks[pid].report = None;
            }
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// A thread that `tracer` traces and that stopped or ended. `Err` says whether there are any.
    fn find_tracee(
        &mut self,
        tracer: ProcessId,
        which: Which,
        keep: bool,
        options: i32,
    ) -> Result<Found, bool> {
        let meant = |tid: ThreadId, group: Option<ProcessId>| match which {
            Which::Any => true,
            Which::One(pid) => pid.0 == tid.0,
            Which::Group(pgid) => group == Some(pgid),
        };
        let mut any = false;
        let mut stopped = None;
        for thread in self.tasks.threads() {
            let Some(traced) = thread.ptrace.as_deref().filter(|t| t.tracer == tracer) else {
                continue;
            };
            let group = self.tasks.process(thread.pid).map(|p| p.pgid);
            if !meant(thread.tid, group) {
                continue;
            }
            any = true;
            if let Some(trap) = traced.trap.as_ref().filter(|t| !t.waited && !traced.listening) {
                stopped = Some((thread.tid, thread.creds.uid.real, trap.code, trap.kind));
                break;
            }
        }
        if let Some((tid, uid, code, kind)) = stopped {
            if !keep
                && let Some(trap) = self.tasks[tid].ptrace.as_mut().and_then(|t| t.trap.as_mut())
            {
                trap.waited = true;
            }
            let reason = if kind == Kind::Group { CLD_STOPPED } else { CLD_TRAPPED };
            return Ok(Found {
                pid: ProcessId(tid.0),
                uid,
                status: (code as i32) << 8 | 0x7f,
                code: reason,
                value: code as i32,
                usage: Usage::default(),
            });
        }
        let ghost = self.tasks.ghosts.iter().position(|g| g.tracer == tracer && meant(g.tid, None));
        let Some(at) = ghost.filter(|_| options & WEXITED != 0) else {
            return Err(any || ghost.is_some());
        };
        let ghost = self.tasks.ghosts[at];
        if !keep {
            self.tasks.ghosts.remove(at);
        }
        let (code, value) = match ghost.status & 0x7f {
            0 => (CLD_EXITED, ghost.status >> 8 & 0xff),
            signal => (CLD_KILLED, signal),
        };
        let (pid, uid, status) = (ProcessId(ghost.tid.0), ghost.uid, ghost.status);
        Ok(Found { pid, uid, status, code, value, usage: Usage::default() })
    }

    fn wait_for(
        &mut self,
        tid: ThreadId,
        which: Which,
        options: i32,
    ) -> Result<Option<Found>, crate::Stop> {
        let parent = self.tasks[tid].pid;
        if let Some(found) = self.find_child(tid, which, options)? {
            return Ok(Some(found));
        }
        if options & WNOHANG != 0 {
            return Ok(None);
        }
        Wait::on(WaitKey::children(parent)).block()
    }
}

/// wait4(2)
pub fn wait4(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let options = a.i32(2);
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let me = k.tasks[tid].pid;
    let which = match a.i32(0) {
        -1 => Which::Any,
        0 => Which::Group(k.tasks[me].pgid),
        i32::MIN => return Err(Errno::ESRCH.into()),
        n if n < 0 => Which::Group(ProcessId(n.unsigned_abs())),
        n => Which::One(ProcessId(n as u32)),
    };
    let Some(found) = k.wait_for(tid, which, options | WEXITED)? else { return Ok(0) };
    if a.u64(1) != 0 {
        k.mm.write_pod(a.u64(1), &found.status)?;
    }
    if a.u64(3) != 0 {
        k.mm.write_pod(a.u64(3), &rusage(&found.usage))?;
    }
    Ok(u64::from(found.pid.0))
}

/// waitid(2)
pub fn waitid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let found = match find_by_id(k, tid, a) {
        Err(stop @ (Stop::Block(_) | Stop::NoReturn)) => return Err(stop),
        found => found,
    };
    // Zeros are stored when nothing was found, whatever the reason.
    if a.u64(2) != 0 {
        let mut info = Siginfo::default();
        if let Ok(Some(found)) = &found {
            info.signo = SIGCHLD as i32;
            info.code = found.code;
            info.fields[0] = u64::from(found.pid.0) | u64::from(found.uid) << 32;
            info.fields[1] = u64::from(found.value as u32);
        }
        // Only the fields that waitid(2) names are stored.
        let mut bytes = [0; 32];
        abi::Pod::to_bytes(&info, &mut bytes);
        k.mm.write_user(a.u64(2), &bytes[..28])?;
    }
    if let Some(found) = found?.filter(|_| a.u64(4) != 0) {
        k.mm.write_pod(a.u64(4), &rusage(&found.usage))?;
    }
    Ok(0)
}

/// The child that waitid(2) is to tell of.
fn find_by_id(k: &mut Kernel, tid: ThreadId, a: Args) -> Result<Option<Found>, Stop> {
    let mut options = a.i32(3);
    let known = WNOHANG | WEXITED | WUNTRACED | WCONTINUED | WNOWAIT | WNOTHREAD | WALL | WCLONE;
    if options & !known != 0 || options & (WEXITED | WUNTRACED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let me = k.tasks[tid].pid;
    let id = ProcessId(a.u32(1));
    let mut poll_only = false;
    let which = match a.u64(0) & 0xffff_ffff {
        P_ALL => Which::Any,
        P_PID if a.i32(1) > 0 => Which::One(id),
        P_PGID if a.i32(1) > 0 => Which::Group(id),
        P_PGID if a.i32(1) == 0 => Which::Group(k.tasks[me].pgid),
        P_PIDFD if a.i32(1) >= 0 => {
            let (life, nonblock) = k.pidfd(tid, a.i32(1))?;
            if life.stage() == Stage::Gone {
                return Err(Errno::ECHILD.into());
            }
            poll_only = nonblock && options & WNOHANG == 0;
            Which::One(life.pid)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if poll_only {
        options |= WNOHANG;
    }
    let found = k.wait_for(tid, which, options)?;
    if poll_only && found.is_none() {
        return Err(Errno::EAGAIN.into());
    }
    Ok(found)
}
