//! What the file layer sees of the rest of the kernel: [`World`] here, proc(5) in [`task_files`] and
//! [`system_files`].

mod cgroup_files;
mod maps;
mod memory_files;
mod net_files;
mod system_files;
mod task_files;

use std::rc::Rc;

use abi::Pod;
use abi::signal::{SI_KERNEL, SIG_DFL, SIG_IGN, Siginfo};
use abi::time::RLIMIT_FSIZE;
use mem::Phys;

use crate::fs::procfs::ProcView;
use crate::fs::{Job, Shared, World};
use crate::signal::{SigSet, siginfo};
use crate::{Host, Kernel, ProcessId, WaitKey};

impl World for Kernel {
    fn phys(&mut self) -> &mut Phys {
        &mut self.mm.phys
    }

    fn host(&mut self) -> &mut dyn Host {
        &mut *self.host
    }

    fn shared(&self) -> Rc<Shared> {
        self.shared.clone()
    }

    fn job(&self) -> Job {
        let Some(thread) = self.tasks.thread(self.current) else { return Job::default() };
        let (pgrp, sid) = self.tasks.process(thread.pid).map_or((0, 0), |p| (p.pgid.0, p.sid.0));
        Job { pid: thread.pid.0, tid: thread.tid.0, pgrp, sid }
    }

    fn procs(&mut self) -> &mut dyn ProcView {
        self
    }

    fn signal_group(&mut self, pgrp: u32, signal: u32) {
        for pid in self.tasks.group(ProcessId(pgrp)) {
            self.send_to_process(pid, siginfo(signal, SI_KERNEL), false);
        }
    }

    fn signal_blocked(&self, signal: u32) -> bool {
        self.tasks.thread(self.current).is_none_or(|t| {
            t.blocked.has(signal) || t.handlers.borrow().get(signal).handler == SIG_IGN
        })
    }

    fn pending_signals(&self, mask: u64) -> u64 {
        let Some(thread) = self.tasks.thread(self.current) else { return 0 };
        let shared = self.tasks.process(thread.pid).map_or(0, |p| p.pending.set().0);
        (thread.pending.set().0 | shared) & mask
    }

    fn take_signal(&mut self, mask: u64) -> Option<[u8; 128]> {
        let thread = self.tasks.thread_mut(self.current)?;
        let pid = thread.pid;
        let own = SigSet(thread.pending.set().0 & mask).first();
        let info = match own {
            Some(signal) => thread.pending.take(signal)?,
            None => {
                let process = self.tasks.process_mut(pid)?;
                let signal = SigSet(process.pending.set().0 & mask).first()?;
                process.pending.take(signal)?
            }
        };
        Some(signalfd_siginfo(&info))
    }

    fn signal_key(&self) -> WaitKey {
        let pid = self.tasks.thread(self.current).map(|t| t.pid);
        WaitKey::signal(pid.unwrap_or_default())
    }

    fn set_controlling_tty(&mut self, sid: u32, tty: Option<u32>) {
        for process in self.tasks.processes_mut().filter(|p| p.sid.0 == sid) {
            process.tty = tty;
        }
    }

    fn leave_controlling_tty(&mut self) {
        let pid = self.tasks.thread(self.current).map(|t| t.pid);
        if let Some(process) = pid.and_then(|pid| self.tasks.process_mut(pid)) {
            process.tty = None;
        }
    }

    fn controlling_tty(&self) -> Option<u32> {
        let thread = self.tasks.thread(self.current)?;
        self.tasks.process(thread.pid)?.tty
    }

    fn group_in_session(&self, pgrp: u32, sid: u32) -> bool {
        self.tasks.processes().any(|p| p.pgid.0 == pgrp && p.sid.0 == sid)
    }

    fn limit(&self, resource: usize) -> u64 {
        self.tasks
            .thread(self.current)
            .and_then(|t| self.tasks.process(t.pid))
            .map_or(u64::MAX, |p| p.limits.soft(resource))
    }

    fn file_size_limit(&self) -> u64 {
        self.tasks
            .thread(self.current)
            .and_then(|t| self.tasks.process(t.pid))
            .map_or(u64::MAX, |p| p.limits.soft(RLIMIT_FSIZE))
    }
}

/// `struct signalfd_siginfo` (signalfd(2)).
fn signalfd_siginfo(info: &Siginfo) -> [u8; 128] {
    let mut out = [0; 128];
    let (first, second) = (info.fields[0], info.fields[1]);
    (info.signo as u32).to_bytes(&mut out[0..]);
    info.errno.to_bytes(&mut out[4..]);
    info.code.to_bytes(&mut out[8..]);
    // ssi_pid, ssi_uid or ssi_tid, ssi_overrun
    if info.code == abi::signal::SI_TIMER {
        (first as u32).to_bytes(&mut out[24..]);
        ((first >> 32) as u32).to_bytes(&mut out[32..]);
    } else {
        (first as u32).to_bytes(&mut out[12..]);
        ((first >> 32) as u32).to_bytes(&mut out[16..]);
    }
    // ssi_status, ssi_int, ssi_ptr
    if info.signo as u32 == abi::signal::SIGCHLD {
        (second as u32).to_bytes(&mut out[40..]);
    } else {
        (second as u32).to_bytes(&mut out[44..]);
        second.to_bytes(&mut out[48..]);
    }
    out
}

impl Kernel {
    /// Signals that a process's first thread ignores and handles, as sets.
    fn signal_dispositions(&self, tid: crate::ThreadId) -> (u64, u64) {
        let Some(thread) = self.tasks.thread(tid) else { return (0, 0) };
        let handlers = thread.handlers.borrow();
        let mut sets = (0, 0);
        for (i, action) in handlers.0.iter().enumerate() {
            match action.handler {
                SIG_DFL => {}
                SIG_IGN => sets.0 |= 1_u64 << i,
                _ => sets.1 |= 1_u64 << i,
            }
        }
        sets
    }
}
