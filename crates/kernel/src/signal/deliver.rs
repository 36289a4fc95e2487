//! Delivering signals: default actions, handlers, and what becomes of an interrupted system call (signal(7)).

use abi::Errno;
use abi::signal::*;

use super::{DefaultAction, SigSet, default_action};
use crate::task::Run;
use crate::task::ptrace::Kind;
use crate::{Kernel, OnSignal, ProcessId, ThreadId};

/// Length of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

impl Kernel {
    /// Delivers what is pending for a thread in its current address space. True if the thread is ready to run guest
    /// code; false if it ended, stopped or still waits.
    pub(crate) fn deliver_signals(&mut self, tid: ThreadId) -> bool {
        loop {
            let Some(thread) = self.tasks.thread_mut(tid) else { return false };
            if thread.run == Run::Dead {
                return false;
            }
            let pid = thread.pid;
            let waits = matches!(thread.run, Run::Blocked(_));
            if thread.is_trapped() {
                return false;
            }
            if let Some(status) = self.tasks.process(pid).and_then(|p| p.exiting) {
                if !self.stop_before_end(tid, status) {
                    self.end_thread(tid);
                }
                return false;
            }
            if self.stop_if_due(tid) {
                return false;
            }
            let is_traced = self.traced(tid).is_some();
            if !is_traced && self.tasks.process(pid).is_some_and(|p| p.stopped.is_some()) {
                // Only SIGKILL and SIGCONT, which resume at once, get past a stop.
                if let Some(thread) = self.tasks.thread_mut(tid) {
                    thread.look_at_signals = false;
                }
                return false;
            }
            if matches!(&self.tasks[tid].run, Run::Blocked(wait) if wait.uninterruptible) {
                return false;
            }
            if is_traced && waits && self.has_signal(tid) && self.break_off(tid) {
                continue;
            }
            let injected = self.tasks[tid].injected.take();
            let shown = injected.is_some();
            let Some(info) = injected.or_else(|| self.take_deliverable(tid)) else {
                if !waits {
                    self.resolve_broken_off(tid, None);
                }
                let thread = &mut self.tasks[tid];
                thread.look_at_signals = false;
                if !waits && let Some(mask) = thread.saved_mask.take() {
                    self.set_mask(tid, mask);
                    continue;
                }
                return !waits;
            };
            let signal = info.signo as u32;
            if is_traced && !shown && signal != SIGKILL {
                self.trap_thread(tid, Kind::Signal, signal, Some(info));
                return false;
            }
            let forced = std::mem::take(&mut self.tasks[tid].forced);
            let action = self.tasks[tid].handlers.borrow().get(signal);
            match action.handler {
                SIG_IGN => {}
                SIG_DFL => {
                    let protected = pid == crate::task::INIT && !forced && !is_from_outside(&info);
                    if !self.default_signal(tid, pid, signal, protected) {
                        return false;
                    }
                }
                _ => {
                    self.stop_stepping(tid);
                    self.run_handler(tid, action, info);
                    self.show_handler(tid);
                }
            }
        }
    }

    /// Carries out the default action; false if the thread does not go on.
    fn default_signal(
        &mut self,
        tid: ThreadId,
        pid: ProcessId,
        signal: u32,
        protected: bool,
    ) -> bool {
        match default_action(signal) {
            DefaultAction::Ignore | DefaultAction::Continue => true,
            _ if protected => true,
            DefaultAction::Stop => {
                if signal != SIGSTOP && self.is_orphaned_group(pid) {
                    return true;
                }
                self.interrupt(tid, None);
                self.stop_process(pid, signal);
                false
            }
            DefaultAction::Terminate | DefaultAction::Core => {
                self.log_death(tid, signal);
                let dumps = default_action(signal) == DefaultAction::Core;
                let core = if dumps { self.core_bit(pid) } else { 0 };
                self.exit_group(pid, signal as i32 | core);
                if signal == SIGKILL || !self.stop_before_end(tid, signal as i32 | core) {
                    self.end_thread(tid);
                }
                false
            }
        }
    }

    /// Takes the next pending signal that is not blocked, if the thread is to look for one.
    fn take_deliverable(&mut self, tid: ThreadId) -> Option<Siginfo> {
        let thread = &mut self.tasks[tid];
        if !thread.look_at_signals {
            return None;
        }
        let pid = thread.pid;
        let allowed = SigSet(!thread.blocked.0);
        let own = SigSet(thread.pending.set().0 & allowed.0);
        if let Some(signal) = own.first() {
            return thread.pending.take(signal);
        }
        let process = self.tasks.process_mut(pid)?;
        let shared = SigSet(process.pending.set().0 & allowed.0);
        process.pending.take(shared.first()?)
    }

    /// Ends a waiting call: `handler` is the action that will run, `None` when the process merely stops.
    fn interrupt(&mut self, tid: ThreadId, handler: Option<&Sigaction>) {
        let thread = &mut self.tasks[tid];
        let Run::Blocked(wait) = &thread.run else { return };
        let again = match (wait.on_signal, handler) {
            (OnSignal::Always, _) => false,
            (OnSignal::Interrupt, Some(_)) => false,
            (OnSignal::Restart, Some(action)) => action.flags & SA_RESTART != 0,
            // Without a handler the call goes on where it was.
            (_, None) => return,
        };
        let call = thread.syscall.unwrap_or(0);
        let done = thread.restart.done;
        let (remain, deadline) = (thread.restart.remain, thread.restart.deadline);
        thread.run = Run::Ready;
        self.leave_futex(tid);
        self.leave_sem(tid);
        let thread = &mut self.tasks[tid];
        if done > 0 {
            thread.ctx.gpr[abi::RAX] = done;
        } else if again {
            thread.ctx.gpr[abi::RAX] = call;
            thread.ctx.rip = thread.ctx.rip.wrapping_sub(SYSCALL_LEN);
        } else {
            thread.ctx.gpr[abi::RAX] = Errno::EINTR.to_rax();
        }
        let rax = thread.ctx.gpr[abi::RAX];
        thread.syscall = None;
        if let (Some(va), Some(deadline)) = (remain, deadline) {
            let left = abi::Timespec::from_ns(deadline.saturating_sub(self.now()));
            if self.mm.write_pod(va, &left).is_err() {
                self.tasks[tid].ctx.gpr[abi::RAX] = Errno::EFAULT.to_rax();
            }
        }
        self.trace_end(tid, rax, again && done == 0);
    }

    /// Lets the handler run: ends the waiting call, builds the frame.
    fn run_handler(&mut self, tid: ThreadId, action: Sigaction, info: Siginfo) {
        let signal = info.signo as u32;
        self.interrupt(tid, Some(&action));
        self.resolve_broken_off(tid, Some(&action));
        self.trace_signal(tid, &info);
        if action.flags & SA_RESETHAND != 0 {
            self.tasks[tid].handlers.borrow_mut().set(signal, Sigaction::default());
        }
        let old = {
            let thread = &mut self.tasks[tid];
            let blocked = thread.blocked;
            thread.saved_mask.take().unwrap_or(blocked)
        };
        self.leave_section(tid);
        if self.push_frame(tid, &action, &info, old).is_err() {
            // No room for the frame: as force_sigsegv does; a second time there is no handler.
            if signal == SIGSEGV {
                self.tasks[tid].handlers.borrow_mut().set(SIGSEGV, Sigaction::default());
            }
            self.tasks[tid].blocked = old;
            self.force_signal(tid, super::siginfo(SIGSEGV, SI_KERNEL));
            return;
        }
        let mut mask = self.tasks[tid].blocked.with(SigSet(action.mask));
        if action.flags & SA_NODEFER == 0 {
            mask = mask.with(SigSet::of(signal));
        }
        self.set_mask(tid, mask);
    }

    /// Sets the blocked signals of a thread.
    pub(crate) fn set_mask(&mut self, tid: ThreadId, mask: SigSet) {
        let thread = &mut self.tasks[tid];
        let mask = mask.blockable();
        let closed = mask.without(thread.blocked);
        thread.blocked = mask;
        if std::mem::replace(&mut thread.look_at_signals, true) {
            self.retarget(tid, closed);
        }
    }

    /// For calls with a signal mask of their own (ppoll, pselect6, epoll_pwait, sigsuspend): sets it for the time of
    /// the call. May be repeated when the call runs again.
    pub fn set_temporary_mask(&mut self, tid: ThreadId, mask: SigSet) {
        let thread = &mut self.tasks[tid];
        if thread.saved_mask.is_none() {
            thread.saved_mask = Some(thread.blocked);
            self.set_mask(tid, mask);
        }
    }

    /// Whether some signal is pending that the thread is to take.
    pub fn has_signal(&self, tid: ThreadId) -> bool {
        let thread = &self.tasks[tid];
        if !thread.look_at_signals {
            return false;
        }
        let shared = self.tasks.process(thread.pid).map_or(0, |p| p.pending.set().0);
        (thread.pending.set().0 | shared) & !thread.blocked.0 != 0
    }
}

/// Signals of the driver reach the first process as those of a parent namespace would.
fn is_from_outside(info: &Siginfo) -> bool {
    info.code == SI_KERNEL
}
