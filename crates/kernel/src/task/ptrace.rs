//! Stops of traced threads (ptrace(2)): when they happen, what the tracer is told, and how a thread goes on.
//!
//! A stop is a state beside [`super::Run`]: a stopped thread is not scheduled, whatever it was doing. Only SIGKILL and the
//! tracer end it. Any thread of the tracing process may give orders.

use std::collections::VecDeque;

use abi::signal::*;
use abi::{EFLAGS_TF, Errno};

use super::thread::Restart;
use super::{ProcessId, Run, ThreadId};
use crate::signal::{siginfo, siginfo_from};
use crate::{Kernel, OnSignal, WaitKey};

/// `PTRACE_O_*`.
#[allow(missing_docs)] // names of ptrace(2)
pub mod option {
    pub const TRACESYSGOOD: u32 = 1;
    pub const TRACEFORK: u32 = 1 << EVENT_FORK;
    pub const TRACEVFORK: u32 = 1 << EVENT_VFORK;
    pub const TRACECLONE: u32 = 1 << EVENT_CLONE;
    pub const TRACEEXEC: u32 = 1 << EVENT_EXEC;
    pub const TRACEVFORKDONE: u32 = 1 << EVENT_VFORK_DONE;
    pub const TRACEEXIT: u32 = 1 << EVENT_EXIT;
    pub const TRACESECCOMP: u32 = 1 << EVENT_SECCOMP;
    pub const EXITKILL: u32 = 1 << 20;
    pub const SUSPEND_SECCOMP: u32 = 1 << 21;
    /// All of them.
    pub const ALL: u32 = 0xff | EXITKILL | SUSPEND_SECCOMP;
    pub const EVENT_FORK: u32 = 1;
    pub const EVENT_VFORK: u32 = 2;
    pub const EVENT_CLONE: u32 = 3;
    pub const EVENT_EXEC: u32 = 4;
    pub const EVENT_VFORK_DONE: u32 = 5;
    pub const EVENT_EXIT: u32 = 6;
    pub const EVENT_SECCOMP: u32 = 7;
    pub const EVENT_STOP: u32 = 128;
}

/// How a thread goes on after a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Until something happens.
    #[default]
    Cont,
    /// To the next entry to or exit from a system call.
    Syscall,
    /// To the next entry to a system call, which is not made.
    Sysemu,
    /// For one instruction.
    Step,
    /// The last two.
    SysemuStep,
}

impl Mode {
    fn steps(self) -> bool {
        matches!(self, Mode::Step | Mode::SysemuStep)
    }
    fn stops_at_entry(self) -> bool {
        matches!(self, Mode::Syscall | Mode::Sysemu | Mode::SysemuStep)
    }
    fn emulates(self) -> bool {
        matches!(self, Mode::Sysemu | Mode::SysemuStep)
    }
}

/// Where a thread stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Before a signal is delivered.
    Signal,
    /// With its whole process, by a stop signal.
    Group,
    /// Before a system call.
    Entry,
    /// After a system call.
    Exit,
    /// After the filter of a system call asked.
    Seccomp,
    /// Another event.
    Event,
}

/// One stop.
#[derive(Clone, Debug)]
pub struct Trap {
    /// Where.
    pub kind: Kind,
    /// The wait status above its low byte: a signal, and an event above that.
    pub code: u32,
    /// PTRACE_GETSIGINFO; none in a group stop.
    pub info: Option<Siginfo>,
    /// wait(2) has reported it.
    pub waited: bool,
}

/// What a traced thread knows of its tracer.
#[derive(Clone, Debug)]
pub struct Traced {
    /// The tracing process.
    pub tracer: ProcessId,
    /// `PTRACE_O_*`.
    pub options: u32,
    /// By PTRACE_SEIZE.
    pub seized: bool,
    /// The stop that it is in.
    pub trap: Option<Trap>,
    /// Events that are to be reported before it goes on, with their messages.
    pub events: VecDeque<(u32, u64)>,
    /// PTRACE_GETEVENTMSG.
    pub message: u64,
    /// How it goes on.
    pub mode: Mode,
    /// Stop as soon as possible (PTRACE_INTERRUPT, or a new child of a seized thread).
    pub interrupt: bool,
    /// SIGCONT came while it was stopped: the tracer is told so when it lets go or listens.
    pub notify: bool,
    /// PTRACE_LISTEN: still stopped, but not to be ordered about.
    pub listening: bool,
    /// The end was reported (`PTRACE_EVENT_EXIT`).
    pub farewell: bool,
    /// The trap flag is ours.
    pub stepping: bool,
}

impl Traced {
    /// Nothing happened yet.
    pub fn new(tracer: ProcessId, options: u32, seized: bool) -> Traced {
        Traced {
            tracer,
            options,
            seized,
            trap: None,
            events: VecDeque::new(),
            message: 0,
            mode: Mode::Cont,
            interrupt: false,
            notify: false,
            listening: false,
            farewell: false,
            stepping: false,
        }
    }

    fn wants(&self, event: u32) -> bool {
        self.options & 1 << event != 0
    }
}

/// A thread that ended and whose tracer, which is not its parent, has not waited for it yet.
#[derive(Clone, Copy, Debug)]
pub struct Ghost {
    /// The tracing process.
    pub tracer: ProcessId,
    /// The thread.
    pub tid: ThreadId,
    /// Its wait status.
    pub status: i32,
    /// Its real user.
    pub uid: u32,
}

/// What rax says while a broken-off call may be made again (`include/linux/errno.h`): never seen but by tracers.
const ERESTARTSYS: u64 = -512_i64 as u64;
const ERESTARTNOHAND: u64 = -514_i64 as u64;
const ERESTART_RESTARTBLOCK: u64 = -516_i64 as u64;
/// Number of restart_syscall(2).
const RESTART_SYSCALL: u64 = 219;
/// Length of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

impl Kernel {
    /// The tracer's side of a thread.
    pub(crate) fn traced(&self, tid: ThreadId) -> Option<&Traced> {
        self.tasks.thread(tid)?.ptrace.as_deref()
    }

    fn traced_mut(&mut self, tid: ThreadId) -> Option<&mut Traced> {
        self.tasks.thread_mut(tid)?.ptrace.as_deref_mut()
    }

    /// Whether a filter's SECCOMP_RET_TRACE has somebody to ask.
    pub(crate) fn may_ask_tracer(&self, tid: ThreadId) -> bool {
        self.traced(tid).is_some_and(|t| t.wants(option::EVENT_SECCOMP))
    }

    /// Stops `tid` and tells its tracer.
    pub(crate) fn trap_thread(
        &mut self,
        tid: ThreadId,
        kind: Kind,
        code: u32,
        info: Option<Siginfo>,
    ) {
        let Some(thread) = self.tasks.thread_mut(tid) else { return };
        let Some(traced) = thread.ptrace.as_deref_mut() else { return };
        if std::mem::take(&mut traced.stepping) {
            thread.ctx.rflags &= !EFLAGS_TF;
        }
        traced.trap = Some(Trap { kind, code, info, waited: false });
        traced.listening = false;
        let tracer = traced.tracer;
        let pid = thread.pid;
        self.wakes.borrow_mut().push(WaitKey::children(tracer));
        let why = if kind == Kind::Group { CLD_STOPPED } else { CLD_TRAPPED };
        let Some(leader) = self.tasks.process(tracer).map(|p| p.leader()) else { return };
        let quiet = self
            .tasks
            .thread(leader)
            .is_none_or(|t| t.handlers.borrow().get(SIGCHLD).flags & SA_NOCLDSTOP != 0);
        if !quiet {
            let mut info = self.child_info(pid, why, (code & 0x7f) as i32);
            info.fields[0] = info.fields[0] & !0xffff_ffff | u64::from(tid.0);
            self.send_to_process(tracer, info, false);
        }
    }

    /// siginfo of stops that are no signal's (`ptrace_do_notify`).
    fn trap_info(&self, tid: ThreadId, code: u32) -> Siginfo {
        let thread = &self.tasks[tid];
        siginfo_from(SIGTRAP, code as i32, tid.0, thread.creds.uid.real)
    }

    fn trap_event(&mut self, tid: ThreadId, kind: Kind, event: u32, message: u64) {
        let code = event << 8 | SIGTRAP;
        let info = self.trap_info(tid, code);
        if let Some(traced) = self.traced_mut(tid) {
            traced.message = message;
        }
        self.trap_thread(tid, kind, code, Some(info));
    }

    fn trap_syscall(&mut self, tid: ThreadId, kind: Kind) {
        let good = self.traced(tid).is_some_and(|t| t.options & option::TRACESYSGOOD != 0);
        let code = SIGTRAP | if good { 0x80 } else { 0 };
        let info = self.trap_info(tid, code);
        if let Some(traced) = self.traced_mut(tid) {
            traced.message = if kind == Kind::Entry { 1 } else { 2 };
        }
        self.trap_thread(tid, kind, code, Some(info));
    }

    /// At the entry to a system call: true if the thread stops there.
    pub(crate) fn stop_at_entry(&mut self, tid: ThreadId) -> bool {
        if !self.traced(tid).is_some_and(|t| t.mode.stops_at_entry()) {
            return false;
        }
        let thread = &mut self.tasks[tid];
        thread.ctx.gpr[abi::RAX] = Errno::ENOSYS.to_rax();
        thread.run = Run::Enter;
        self.trap_syscall(tid, Kind::Entry);
        true
    }

    /// Whether the call that the thread was stopped before is not to be made, whatever its number is now.
    pub(crate) fn is_emulated(&self, tid: ThreadId) -> bool {
        self.traced(tid).is_some_and(|t| t.mode.emulates())
    }

    /// A filter asked (`SECCOMP_RET_TRACE`).
    pub(crate) fn stop_for_seccomp(&mut self, tid: ThreadId, message: u64) {
        let thread = &mut self.tasks[tid];
        thread.ctx.gpr[abi::RAX] = Errno::ENOSYS.to_rax();
        thread.run = Run::Enter;
        thread.asked = true;
        self.trap_event(tid, Kind::Seccomp, option::EVENT_SECCOMP, message);
    }

    /// Reports `event` if the tracer asked for it: at once for a thread that waits (vfork), else before it goes on.
    pub(crate) fn trace_event(&mut self, tid: ThreadId, event: u32, message: u64) {
        if let Some(traced) = self.traced_mut(tid)
            && traced.wants(event)
        {
            traced.events.push_back((event, message));
        }
    }

    /// The same at once.
    pub(crate) fn trace_event_now(&mut self, tid: ThreadId, event: u32, message: u64) {
        if self.traced(tid).is_some_and(|t| t.wants(event)) {
            self.trap_event(tid, Kind::Event, event, message);
        }
    }

    /// A new task of a traced one: the child is traced as well if `event` is wanted (or CLONE_PTRACE). Returns whether
    /// its birth is reported.
    pub(crate) fn trace_child(&mut self, tid: ThreadId, child: ThreadId, event: u32, also: bool) {
        let Some(traced) = self.traced(tid) else { return };
        if !traced.wants(event) && !also {
            return;
        }
        let mut own = Traced::new(traced.tracer, traced.options, traced.seized);
        own.interrupt = own.seized;
        let seized = own.seized;
        let Some(thread) = self.tasks.thread_mut(child) else { return };
        thread.ptrace = Some(Box::new(own));
        thread.look_at_signals = true;
        if !seized {
            thread.pending.push(siginfo(SIGSTOP, SI_USER));
        }
    }

    /// The thread executes another program.
    pub(crate) fn trace_exec(&mut self, tid: ThreadId, old: ThreadId) {
        let Some(traced) = self.traced_mut(tid) else { return };
        if traced.wants(option::EVENT_EXEC) {
            traced.events.push_back((option::EVENT_EXEC, u64::from(old.0)));
        } else if !traced.seized {
            self.send_to_thread(tid, siginfo(SIGTRAP, SI_USER), false);
        }
    }

    /// Before the end of a thread: true if it stops for it (`PTRACE_EVENT_EXIT`), once.
    pub(crate) fn stop_before_end(&mut self, tid: ThreadId, status: i32) -> bool {
        let Some(traced) = self.traced_mut(tid) else { return false };
        if !traced.wants(option::EVENT_EXIT) || traced.farewell || status & 0x7f == SIGKILL as i32 {
            return false;
        }
        traced.farewell = true;
        self.trap_event(tid, Kind::Event, option::EVENT_EXIT, status as u64);
        true
    }

    /// The stops that are due before the thread runs its program: events, the exit from a system call, an interruption.
    /// True if it stops.
    pub(crate) fn stop_if_due(&mut self, tid: ThreadId) -> bool {
        let Some(traced) = self.traced_mut(tid) else { return false };
        if traced.trap.is_some() {
            return true;
        }
        if let Some((event, message)) = traced.events.pop_front() {
            self.trap_event(tid, Kind::Event, event, message);
            return true;
        }
        let (mode, interrupt) = (traced.mode, traced.interrupt || traced.notify);
        let thread = &mut self.tasks[tid];
        if thread.run == Run::Ready && std::mem::take(&mut thread.leaving) {
            if mode == Mode::Syscall {
                self.trap_syscall(tid, Kind::Exit);
                return true;
            }
            if mode.steps() {
                let info = siginfo(SIGTRAP, TRAP_BRKPT);
                self.force_signal(tid, info);
            }
        }
        if interrupt {
            if matches!(self.tasks[tid].run, Run::Blocked(_)) && !self.break_off(tid) {
                return false;
            }
            if self.tasks[tid].leaving {
                return self.stop_if_due(tid);
            }
            let stopped = self.tasks.process(self.tasks[tid].pid).and_then(|p| p.stopped);
            let code = option::EVENT_STOP << 8 | stopped.unwrap_or(SIGTRAP);
            let info = self.trap_info(tid, code);
            if let Some(traced) = self.traced_mut(tid) {
                traced.interrupt = false;
                traced.notify = false;
            }
            self.trap_thread(tid, Kind::Event, code, Some(info));
            return true;
        }
        false
    }

    /// A traced thread stops with its process.
    pub(crate) fn trap_group(&mut self, tid: ThreadId, signal: u32) {
        match self.traced(tid) {
            Some(traced) if traced.seized => {
                let code = option::EVENT_STOP << 8 | signal;
                let info = self.trap_info(tid, code);
                self.trap_thread(tid, Kind::Group, code, Some(info));
            }
            Some(_) => self.trap_thread(tid, Kind::Group, signal, None),
            None => {}
        }
    }

    /// SIGCONT is sent to a process: its seized threads report that, the listening ones at once (`ptrace_trap_notify`).
    pub(crate) fn tell_listeners(&mut self, pid: ProcessId) {
        let threads: Vec<ThreadId> = self
            .tasks
            .process(pid)
            .map(|p| p.threads.iter().copied().collect())
            .unwrap_or_default();
        for tid in threads {
            let Some(thread) = self.tasks.thread_mut(tid) else { continue };
            let Some(traced) = thread.ptrace.as_deref_mut().filter(|t| t.seized) else { continue };
            traced.notify = true;
            thread.look_at_signals = true;
            self.trap_listener(tid);
        }
    }

    /// A listening thread that has something to tell stops anew.
    pub(crate) fn trap_listener(&mut self, tid: ThreadId) {
        let Some(traced) = self.traced_mut(tid) else { return };
        if !traced.listening || !std::mem::take(&mut traced.notify) {
            return;
        }
        let code = option::EVENT_STOP << 8 | SIGTRAP;
        let info = self.trap_info(tid, code);
        self.trap_thread(tid, Kind::Event, code, Some(info));
    }

    /// Breaks off the call that a traced thread waits in, so that it can stop: rax says how the call may go on. False if
    /// the wait cannot be broken off.
    pub(crate) fn break_off(&mut self, tid: ThreadId) -> bool {
        let Some(thread) = self.tasks.thread(tid) else { return false };
        let Run::Blocked(wait) = &thread.run else { return true };
        if wait.uninterruptible {
            return false;
        }
        let on_signal = wait.on_signal;
        let restart: Restart = thread.restart.clone();
        let (nr, args) = (thread.syscall.unwrap_or(u64::MAX), thread.ctx.gpr);
        self.leave_futex(tid);
        self.leave_sem(tid);
        let left = restart.deadline.map(|d| abi::Timespec::from_ns(d.saturating_sub(self.now())));
        if let (Some(va), Some(left)) = (restart.remain, left) {
            let _ = self.mm.write_pod(va, &left);
        }
        let thread = &mut self.tasks[tid];
        thread.run = Run::Ready;
        thread.syscall = None;
        thread.leaving = true;
        thread.broken_off = true;
        thread.restart_block = None;
        thread.ctx.gpr[abi::RAX] = match on_signal {
            _ if restart.done > 0 => restart.done,
            OnSignal::Always => Errno::EINTR.to_rax(),
            _ if restart.deadline.is_some() => {
                thread.restart_block = Some(Box::new((nr, args, restart)));
                ERESTART_RESTARTBLOCK
            }
            OnSignal::Restart => ERESTARTSYS,
            OnSignal::Interrupt => ERESTARTNOHAND,
        };
        let rax = thread.ctx.gpr[abi::RAX];
        self.trace_end(tid, rax, false);
        true
    }

    /// What becomes of a broken-off call (`handle_signal`, `arch_do_signal_or_restart`): EINTR, or again. `handler` is the
    /// action that runs now, none if none does.
    pub(crate) fn resolve_broken_off(&mut self, tid: ThreadId, handler: Option<&Sigaction>) {
        let thread = &mut self.tasks[tid];
        if !std::mem::take(&mut thread.broken_off) || (thread.orig_rax as i64) < 0 {
            return;
        }
        let rax = thread.ctx.gpr[abi::RAX];
        let nr = match (rax, handler) {
            (ERESTART_RESTARTBLOCK | ERESTARTNOHAND, Some(_)) => None,
            (ERESTARTSYS, Some(action)) if action.flags & SA_RESTART == 0 => None,
            (ERESTARTSYS | ERESTARTNOHAND, _) => Some(thread.orig_rax),
            (ERESTART_RESTARTBLOCK, None) => Some(RESTART_SYSCALL),
            _ => return,
        };
        match nr {
            None => thread.ctx.gpr[abi::RAX] = Errno::EINTR.to_rax(),
            Some(nr) => {
                thread.ctx.gpr[abi::RAX] = nr;
                thread.ctx.rip = thread.ctx.rip.wrapping_sub(SYSCALL_LEN);
            }
        }
    }

    /// A handler is about to run: its frame must not keep our trap flag.
    pub(crate) fn stop_stepping(&mut self, tid: ThreadId) {
        if let Some(thread) = self.tasks.thread_mut(tid)
            && let Some(traced) = thread.ptrace.as_deref_mut()
            && std::mem::take(&mut traced.stepping)
        {
            thread.ctx.rflags &= !EFLAGS_TF;
        }
    }

    /// A thread that goes step by step stops at the first instruction of a handler.
    pub(crate) fn show_handler(&mut self, tid: ThreadId) {
        if self.traced(tid).is_some_and(|t| t.mode.steps()) {
            let info = self.trap_info(tid, SIGTRAP);
            self.trap_thread(tid, Kind::Event, SIGTRAP, Some(info));
        }
    }

    /// Lets a stopped thread go on as `mode` says, with `signal` in the place of the one it stopped for.
    pub(crate) fn resume(&mut self, tid: ThreadId, mode: Mode, signal: u32) {
        let Some(thread) = self.tasks.thread_mut(tid) else { return };
        let Some(traced) = thread.ptrace.as_deref_mut() else { return };
        let trap = traced.trap.take();
        let tracer = traced.tracer;
        traced.mode = mode;
        traced.listening = false;
        if mode.steps() && thread.run != Run::Enter {
            traced.stepping = thread.ctx.rflags & EFLAGS_TF == 0;
            thread.ctx.rflags |= EFLAGS_TF;
        }
        thread.look_at_signals = true;
        self.inject(tid, trap, tracer, signal);
    }

    fn inject(&mut self, tid: ThreadId, trap: Option<Trap>, tracer: ProcessId, signal: u32) {
        let Some(trap) = trap.filter(|_| signal != 0) else { return };
        let uid = self.tasks.process(tracer).and_then(|p| self.tasks.thread(p.leader()));
        let uid = uid.map_or(0, |t| t.creds.uid.real);
        match trap.kind {
            Kind::Signal => {
                let info = match trap.info {
                    Some(info) if info.signo as u32 == signal => info,
                    _ => siginfo_from(signal, SI_USER, tracer.0, uid),
                };
                let thread = &mut self.tasks[tid];
                if thread.blocked.has(signal) {
                    thread.pending.push(info);
                } else {
                    thread.injected = Some(info);
                }
            }
            // After a system call the signal is sent (`ptrace_report_syscall`).
            Kind::Entry | Kind::Exit => {
                self.send_to_thread(tid, siginfo_from(signal, SI_USER, tracer.0, uid), false);
            }
            Kind::Group | Kind::Seccomp | Kind::Event => {}
        }
    }

    /// Lets a thread go for good (PTRACE_DETACH, the tracer's end).
    pub(crate) fn detach(&mut self, tid: ThreadId, signal: u32) {
        let Some(thread) = self.tasks.thread_mut(tid) else { return };
        let Some(mut traced) = thread.ptrace.take() else { return };
        if traced.stepping {
            thread.ctx.rflags &= !EFLAGS_TF;
        }
        thread.leaving = false;
        thread.look_at_signals = true;
        let trap = traced.trap.take();
        self.inject(tid, trap, traced.tracer, signal);
    }

    /// SIGKILL, or the end of the process: nothing keeps a thread stopped.
    pub(crate) fn release_from_trap(&mut self, tid: ThreadId) {
        if let Some(thread) = self.tasks.thread_mut(tid)
            && let Some(traced) = thread.ptrace.as_deref_mut()
            && traced.trap.take().is_some()
        {
            traced.farewell = true;
            thread.look_at_signals = true;
        }
    }

    /// A process ends: whom it traced goes on untraced, or dies with it (`PTRACE_O_EXITKILL`).
    pub(crate) fn release_tracees(&mut self, tracer: ProcessId) {
        let tracees: Vec<(ThreadId, bool)> = self
            .tasks
            .threads()
            .filter_map(|t| Some((t.tid, t.ptrace.as_deref()?)))
            .filter(|(_, traced)| traced.tracer == tracer)
            .map(|(tid, traced)| (tid, traced.options & option::EXITKILL != 0))
            .collect();
        for (tid, kill) in tracees {
            self.detach(tid, 0);
            if kill {
                self.send_to_thread(tid, siginfo(SIGKILL, SI_KERNEL), true);
            }
        }
        self.tasks.ghosts.retain(|ghost| ghost.tracer != tracer);
    }

    /// A traced thread is gone: a tracer that is not the parent of its process learns it by wait(2).
    pub(crate) fn leave_ghost(&mut self, thread: &super::Thread, group: Option<i32>) {
        let status = group.unwrap_or(thread.exit_status);
        let Some(traced) = thread.ptrace.as_deref() else { return };
        let parent = self.tasks.process(thread.pid).map(|p| p.parent);
        let leader = thread.tid.0 == thread.pid.0;
        if leader && parent == Some(traced.tracer) {
            return;
        }
        let (tracer, tid, uid) = (traced.tracer, thread.tid, thread.creds.uid.real);
        if self.tasks.ghosts.len() >= super::TASKS_MAX {
            // A tracer that never waits.
            self.tasks.ghosts.remove(0);
        }
        self.tasks.ghosts.push(Ghost { tracer, tid, status, uid });
        self.wakes.borrow_mut().push(WaitKey::children(tracer));
        let mut info = siginfo_from(SIGCHLD, CLD_EXITED, tid.0, uid);
        info.fields[1] = (status >> 8 & 0xff) as u64;
        if leader {
            self.send_to_process(tracer, info, false);
        }
    }
}
