//! The end of threads and processes: exit(2), exit_group(2), zombies, orphans.

use abi::signal::*;
use abi::time::RLIMIT_CORE;

use super::process::Usage;
use super::{INIT, ProcessId, ThreadId};
use crate::file::pidfd::Stage;
use crate::file::tty::Terminals;
use crate::signal::siginfo;
use crate::{Kernel, WaitKey};

/// Bit of a wait status: the process left a core dump.
pub const CORE_DUMPED: i32 = 0x80;
/// A smaller limit leaves no room for a dump.
const CORE_MIN: u64 = 4096;

impl Kernel {
    /// [`CORE_DUMPED`] if the limits of `pid` let it dump (core(5)); no file is written, its place and form are those of the
    /// host's `core_pattern` in a container.
    pub(crate) fn core_bit(&self, pid: ProcessId) -> i32 {
        let dumps = self
            .tasks
            .process(pid)
            .is_some_and(|p| p.dumpable == 1 && p.limits.soft(RLIMIT_CORE) >= CORE_MIN);
        if dumps { CORE_DUMPED } else { 0 }
    }

    /// The whole process shall end with wait status `status`: its threads end when they are next looked at.
    pub(crate) fn exit_group(&mut self, pid: ProcessId, status: i32) {
        let Some(process) = self.tasks.process_mut(pid) else { return };
        if process.exiting.is_some() {
            return;
        }
        process.exiting = Some(status);
        process.stopped = None;
        for tid in process.threads.clone() {
            self.release_from_trap(tid);
            if let Some(thread) = self.tasks.thread_mut(tid) {
                thread.look_at_signals = true;
                thread.end_patience();
            }
        }
    }

    /// Ends one thread; with the last one the process becomes a zombie. `status` is the process's if it is alone.
    pub(crate) fn exit_thread(&mut self, tid: ThreadId, status: i32) {
        self.tasks[tid].exit_status = status;
        let pid = self.tasks[tid].pid;
        if self.tasks[pid].threads.len() == 1 && self.tasks[pid].exiting.is_none() {
            self.tasks[pid].exiting = Some(status);
        }
        self.end_thread(tid);
    }

    /// Releases everything the thread holds.
    pub(crate) fn end_thread(&mut self, tid: ThreadId) {
        let Some(thread) = self.tasks.thread(tid) else { return };
        if thread.has_ended() {
            return;
        }
        if tid == self.current {
            self.account();
        }
        let thread = &self.tasks[tid];
        let (pid, space, clear_tid) = (thread.pid, thread.space, thread.clear_tid);
        if thread.look_at_signals {
            self.retarget(tid, thread.open_to());
        }
        let before = self.mm.current();
        self.mm.activate(space);
        self.leave_futex(tid);
        self.leave_sem(tid);
        self.sem_exit(tid);
        self.release_robust_list(tid);
        if clear_tid != 0 && self.mm.space_users(space) > 1 {
            // set_tid_address(2): cleared and woken only while somebody shares the memory.
            if self.mm.write_pod(clear_tid, &0_u32).is_ok() {
                self.futex_wake_address(clear_tid);
            }
        }
        self.vfork_release(tid);
        let (peak, faults) = self.mm.space(space).map_or((0, 0), |s| (s.peak_resident(), s.faults));
        self.note_space_end(space, pid);
        self.mm.drop_space(space);
        if before != space {
            self.mm.activate(before);
        }
        let Some(thread) = self.tasks.remove_thread(tid) else { return };
        let Some(process) = self.tasks.process_mut(pid) else { return };
        process.threads.remove(&tid);
        process.usage.cpu_ns += thread.cpu_ns;
        process.usage.sys_ns += thread.sys_ns;
        process.usage.peak_rss = process.usage.peak_rss.max(peak);
        if process.threads.is_empty() {
            process.usage.faults = faults;
        }
        let last = process.threads.is_empty();
        let status = process.exiting;
        self.leave_ghost(&thread, status);
        // The last holder of its tables closes the files. The first thread stays, as what is left of the process.
        let ended = thread.ended();
        if tid.0 == pid.0 {
            self.tasks.add_thread(ended);
        }
        if last {
            self.end_process(pid);
        } else {
            self.pass_children(pid, tid);
        }
    }

    /// The last thread is gone: zombie, orphans, SIGCHLD.
    fn end_process(&mut self, pid: ProcessId) {
        let status = self.tasks[pid].exiting.unwrap_or(0);
        if self.strace && status & 0x7f == 0 {
            let line = format!("[pid {:>5}] +++ exited with {} +++", pid.0, status >> 8 & 0xff);
            self.host.log(&line);
        }
        self.tasks[pid].zombie = Some(status);
        self.attached.note_end(pid, status);
        self.tasks[pid].life.reach(Stage::Zombie);
        self.tasks[pid].timers.clear();
        self.tasks[pid].itimers = Default::default();
        if pid == INIT {
            self.end_box(status);
            return;
        }
        self.hang_up(pid);
        self.orphan_children(pid);
        self.release_tracees(pid);
        let parent = self.tasks[pid].parent;
        self.wakes.borrow_mut().push(WaitKey::process(pid));
        self.wakes.borrow_mut().push(WaitKey::children(parent));
        let signal = self.tasks[pid].exit_signal;
        let leader = self.tasks.process(parent).map(|p| p.leader());
        let action = leader
            .and_then(|l| self.tasks.thread(l))
            .map(|t| t.handlers.borrow().get(SIGCHLD))
            .unwrap_or_default();
        let (code, value) = match status & 0x7f {
            0 => (CLD_EXITED, status >> 8 & 0xff),
            signal if status & CORE_DUMPED != 0 => (CLD_DUMPED, signal),
            signal => (CLD_KILLED, signal),
        };
        if (1..=NSIG as u32).contains(&signal) {
            let mut info = self.child_info(pid, code, value);
            info.signo = signal as i32;
            self.send_by_thread(parent, self.maker(pid), info, false);
        }
        let forgotten =
            signal == SIGCHLD && (action.handler == SIG_IGN || action.flags & SA_NOCLDWAIT != 0);
        if forgotten || leader.is_none() {
            self.reap_process(pid);
        }
    }

    /// Everything ends with the first process.
    pub(crate) fn end_box(&mut self, status: i32) {
        self.exit = Some(status);
        // As the end of a namespace does (pid_namespaces(7)).
        self.attached.note_all_ended(SIGKILL as i32);
        let others: Vec<ThreadId> = self.tasks.threads().map(|t| t.tid).collect();
        for tid in others {
            // Files are closed so that host files are complete.
            if let Some(thread) = self.tasks.remove_thread(tid) {
                self.mm.drop_space(thread.space);
            }
        }
    }

    /// The thread of the parent that has made process `pid`, or now stands for that one.
    pub(crate) fn maker(&self, pid: ProcessId) -> ThreadId {
        let Some(process) = self.tasks.process(pid) else { return ThreadId(0) };
        match self.tasks.process(process.parent) {
            Some(parent) if !parent.threads.contains(&process.maker) => parent.leader(),
            _ => process.maker,
        }
    }

    /// The children of an ended thread go to another one of its process.
    fn pass_children(&mut self, pid: ProcessId, from: ThreadId) {
        let Some(process) = self.tasks.process(pid) else { return };
        let heir = process.leader();
        for child in process.children.clone() {
            let Some(process) = self.tasks.process_mut(child).filter(|p| p.maker == from) else {
                continue;
            };
            process.maker = heir;
            self.tell_of_parents_end(child);
        }
    }

    /// The signals that threads of `child` want when their parent ends (prctl(2), PR_SET_PDEATHSIG).
    fn tell_of_parents_end(&mut self, child: ProcessId) {
        let Some(process) = self.tasks.process(child) else { return };
        for tid in process.threads.clone() {
            let signal = self.tasks.thread(tid).map_or(0, |t| t.death_signal);
            if signal != 0 {
                self.send_by_thread(child, tid, siginfo(signal, SI_USER), false);
            }
        }
    }

    /// Children of an ended process go to the nearest subreaper or to the first process.
    fn orphan_children(&mut self, pid: ProcessId) {
        let mut heir = INIT;
        let mut at = self.tasks[pid].parent;
        while let Some(process) = self.tasks.process(at) {
            if process.subreaper && process.zombie.is_none() {
                heir = at;
                break;
            }
            at = process.parent;
        }
        let children = std::mem::take(&mut self.tasks[pid].children);
        for &child in &children {
            let Some(process) = self.tasks.process_mut(child) else { continue };
            process.parent = heir;
            process.exit_signal = SIGCHLD;
            let zombie = process.zombie.is_some();
            if let Some(heir) = self.tasks.process_mut(heir) {
                heir.children.insert(child);
            }
            self.tell_of_parents_end(child);
            if zombie {
                self.wakes.borrow_mut().push(WaitKey::children(heir));
                let info = self.child_info(child, CLD_EXITED, 0);
                self.send_to_process(heir, info, false);
            }
        }
        // setpgid(2): a stopped group that lost its last link to the session is hung up and continued.
        for child in children {
            let Some(pgid) = self.tasks.process(child).map(|p| p.pgid) else { continue };
            let stopped =
                self.tasks.group(pgid).into_iter().any(|p| self.tasks[p].stopped.is_some());
            if stopped && self.is_orphaned_group(child) {
                for member in self.tasks.group(pgid) {
                    self.send_to_process(member, siginfo(SIGHUP, SI_KERNEL), false);
                    self.send_to_process(member, siginfo(SIGCONT, SI_KERNEL), false);
                }
            }
        }
    }

    /// A session leader that ends lets its terminal go, for others to take: SIGHUP to the foreground group (credentials(7)).
    fn hang_up(&mut self, pid: ProcessId) {
        let process = &self.tasks[pid];
        let Some(index) = process.tty.filter(|_| process.sid == pid) else { return };
        for member in self.tasks.processes_mut().filter(|p| p.sid == pid) {
            member.tty = None;
        }
        let Some(tty) = self.shared.registry::<Terminals>().get(index) else { return };
        let foreground = ProcessId(tty.foreground());
        tty.leave_session(pid.0);
        for member in self.tasks.group(foreground) {
            self.send_to_process(member, siginfo(SIGHUP, SI_KERNEL), false);
        }
    }

    /// Whether no member of the process's group has a parent in another group of the same session.
    pub(crate) fn is_orphaned_group(&self, pid: ProcessId) -> bool {
        let Some(process) = self.tasks.process(pid) else { return true };
        !self.tasks.processes().any(|member| {
            member.pgid == process.pgid
                && member.zombie.is_none()
                && self
                    .tasks
                    .process(member.parent)
                    .is_some_and(|p| p.pgid != member.pgid && p.sid == member.sid)
        })
    }

    /// A zombie was waited for: its id is free again. Returns its use, children included.
    pub(crate) fn reap_process(&mut self, pid: ProcessId) -> Usage {
        let Some(process) = self.tasks.remove_process(pid) else { return Usage::default() };
        self.tasks.remove_thread(ThreadId(pid.0));
        process.life.reach(Stage::Gone);
        let mut usage = process.usage;
        usage.add(&process.child_usage);
        if let Some(parent) = self.tasks.process_mut(process.parent) {
            parent.children.remove(&pid);
        }
        usage
    }
}
