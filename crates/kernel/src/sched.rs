//! Which thread runs: the scheduler, and the entries from the CPU (system call, fault, trap, preemption).
//!
//! Who has had least CPU time, weighed by nice value, runs next (`Thread::vruntime`), as in Linux's fair scheduler. Who slept does
//! not keep all that it did not use, and who wakes somebody goes on for a moment only ([`Flow::Share`]).

use abi::signal::SI_KERNEL;

use crate::file::socket::Forwards;
use crate::file::tty;
use crate::fs::Cx;
use crate::signal::siginfo;
use crate::task::{INIT, Run};
use crate::{Kernel, ProcessId, ThreadId, WaitKey};

/// How far a thread that slept may be behind the others, ns of CPU time: it runs before them for so long.
const SLEEPERS_BONUS: u64 = 3_000_000;

/// Nanoseconds after which the way out is asked again while programs run: asking costs the host's system calls.
const PUMP_AGAIN: u64 = 100_000;

/// Shares of the CPU by nice value, from -20 on: each is 1.25 times the next (`sched_prio_to_weight` in Linux's
/// `kernel/sched/core.c`).
const WEIGHTS: [u64; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
    3906, 3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87,
    70, 56, 45, 36, 29, 23, 18, 15,
];

/// What [`Kernel::schedule`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sched {
    /// Run this thread; its address space is current, its registers are ready.
    Run(ThreadId),
    /// Everybody waits.
    Idle {
        /// Monotonic ns at which somebody goes on.
        deadline: Option<u64>,
        /// Somebody waits for standard input.
        stdin: bool,
        /// Events of the network (`net::Outside::event`) may wake somebody.
        network: bool,
    },
    /// The box has ended with this exit status (128 + n for signal n).
    Exited(i32),
}

/// Whether the CPU may go on with the same thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The same thread goes on; its registers are in [`Kernel::context`].
    Continue,
    /// As `Continue`, but somebody else has become runnable: it shall ask [`Kernel::schedule`] soon.
    Share,
    /// Ask [`Kernel::schedule`].
    Reschedule,
}

impl Kernel {
    /// Picks the next thread, switches to its address space and prepares it: runs its waiting system call again, delivers
    /// signals.
    pub fn schedule(&mut self) -> Sched {
        self.account();
        self.step_back();
        let mut idle = false;
        loop {
            self.check_time();
            self.expire();
            self.pump_network(idle);
            self.collect_wakes();
            if let Some(status) = self.exit {
                // What mappings have changed in the host's files.
                crate::fs::hostfs::save_all(&mut Cx::new(self, crate::fs::Cred::root()));
                return Sched::Exited(exit_code(status));
            }
            let stopped = |pid: ProcessId| {
                self.tasks.process(pid).is_none_or(|p| p.stopped.is_some() && p.exiting.is_none())
            };
            let next = self.tasks.next_thread(self.current, |t| {
                t.is_runnable() && (t.look_at_signals || t.ptrace.is_some() || !stopped(t.pid))
            });
            let Some(tid) = next else {
                // Before the box goes to sleep the way out is asked, however short ago it was.
                if !std::mem::replace(&mut idle, true) || self.poll_stdin(true) {
                    continue;
                }
                let network = self.host.network().is_some() || self.host.sockets_way().is_some();
                let (deadline, stdin) = (self.next_deadline(), self.wants_stdin(true));
                self.idle = true;
                return Sched::Idle { deadline, stdin, network };
            };
            self.rounds = self.rounds.wrapping_add(1);
            if self.rounds.is_multiple_of(64) {
                self.poll_stdin(false);
            }
            self.current = tid;
            self.woken = false;
            let floor = self.tasks.vruntime.saturating_sub(SLEEPERS_BONUS);
            let thread = &mut self.tasks[tid];
            thread.vruntime = thread.vruntime.max(floor);
            let (space, vruntime) = (thread.space, thread.vruntime);
            self.tasks.vruntime = self.tasks.vruntime.max(vruntime);
            self.mm.activate(space);
            if self.prepare(tid) {
                return Sched::Run(tid);
            }
        }
    }

    /// Puts the running thread, if it yielded, behind all that could run.
    fn step_back(&mut self) {
        let Some(thread) = self.tasks.thread_mut(self.current) else { return };
        if !std::mem::take(&mut thread.yielded) {
            return;
        }
        let runnable = self.tasks.threads().filter(|t| t.is_runnable());
        let last = runnable.map(|t| t.vruntime).max().unwrap_or(0);
        let thread = &mut self.tasks[self.current];
        thread.vruntime = thread.vruntime.max(last);
    }

    /// Brings a runnable thread to the point where it runs guest code; false if it does not get there.
    fn prepare(&mut self, tid: ThreadId) -> bool {
        match &self.tasks[tid].run {
            Run::Dead => return false,
            Run::Retry => {
                self.tasks[tid].restart.again = true;
                self.run_syscall(tid);
                self.relieve(tid);
            }
            Run::Enter => {
                self.enter_syscall(tid);
                self.relieve(tid);
            }
            Run::Blocked(_) | Run::Ready => {}
        }
        self.deliver_signals(tid)
    }

    /// The thread executed `syscall`: arguments in rdi rsi rdx r10 r8 r9, number in rax, rip after the instruction.
    pub fn syscall(&mut self, tid: ThreadId) -> Flow {
        let Some(thread) = self.tasks.thread_mut(tid) else { return Flow::Reschedule };
        let ctx = &mut thread.ctx;
        // What the instruction itself does (SDM vol. 2, SYSCALL).
        ctx.gpr[abi::RCX] = ctx.rip;
        ctx.gpr[abi::R11] = ctx.rflags;
        // The number is eax, sign-extended (`do_syscall_64`).
        thread.orig_rax = ctx.gpr[abi::RAX] as i32 as u64;
        thread.syscall = Some(thread.orig_rax);
        thread.restart = Default::default();
        thread.broken_off = false;
        self.current = tid;
        if self.dispatched(tid) {
            return self.after_entry(tid);
        }
        if self.tasks[tid].ptrace.is_some() && self.stop_at_entry(tid) {
            return Flow::Reschedule;
        }
        let start = self.sample_start();
        self.enter_syscall(tid);
        self.sample_end(tid, start);
        self.relieve(tid);
        self.after_entry(tid)
    }

    /// One system call in sixteen is timed, by chance, and stands for all of them: two readings of the clock at each would
    /// cost more than many calls do.
    fn sample_start(&mut self) -> Option<u64> {
        self.sample = self.sample.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.sample >> 28 == 0).then(|| self.host.clock_cpu())
    }

    fn sample_end(&mut self, tid: ThreadId, start: Option<u64>) {
        let Some(start) = start else { return };
        let spent = self.host.clock_cpu().saturating_sub(start).saturating_mul(16);
        if let Some(thread) = self.tasks.thread_mut(tid) {
            thread.sys_ns = thread.sys_ns.saturating_add(spent);
        }
    }

    /// After a system call: if it found no memory, somebody is killed, so that the next one does.
    fn relieve(&mut self, tid: ThreadId) {
        self.take_cuts();
        if self.mm.take_starved() || self.is_overgrown() {
            self.out_of_memory(tid);
        }
    }

    /// The thread's time slice is over.
    pub fn preempt(&mut self, tid: ThreadId) {
        if let Some(thread) = self.tasks.thread_mut(tid) {
            thread.orig_rax = u64::MAX;
            let pid = thread.pid;
            if let Some(process) = self.tasks.process_mut(pid) {
                process.usage.preemptions += 1;
            }
            self.leave_section(tid);
        }
    }

    /// Wakes the waiters of `key` (the driver: [`WaitKey::STDIN`]).
    pub fn wake(&mut self, key: WaitKey) {
        self.wakes.borrow_mut().push(key);
    }

    /// Signals the box from outside (Ctrl-C, `docker stop`): goes to the first process.
    pub fn signal_init(&mut self, signal: u32) {
        self.send_to_process(INIT, siginfo(signal, SI_KERNEL), true);
    }

    /// The host's terminal has another size: as if TIOCSWINSZ were done on the console.
    pub fn resize_console(&mut self, rows: u16, columns: u16) {
        let Some(console) = self.shared.registry::<tty::Terminals>().console() else {
            return;
        };
        let mut cx = Cx::new(self, crate::fs::Cred::root());
        console.set_window(&mut cx, [rows, columns, 0, 0]);
    }

    /// After a call or fault: can the thread just go on?
    pub(crate) fn after_entry(&mut self, tid: ThreadId) -> Flow {
        if !self.mm.trash.borrow().is_empty() {
            self.mm.reap();
        }
        // A signal that the call itself caused comes before the next instruction.
        if !self.wakes.borrow().is_empty() || self.shared.has_io_signals() {
            self.collect_wakes();
        }
        let pid = match self.tasks.thread(tid) {
            Some(thread) if thread.run == Run::Ready => thread.pid,
            _ => return Flow::Reschedule,
        };
        let thread = &self.tasks[tid];
        if (thread.look_at_signals || thread.ptrace.is_some()) && !self.deliver_signals(tid) {
            return Flow::Reschedule;
        }
        let stopped = self.tasks.process(pid).is_none_or(|p| p.stopped.is_some())
            && self.tasks[tid].ptrace.is_none();
        let moved = self.tasks.thread(tid).is_none_or(|t| t.space != self.mm.current());
        if stopped || moved || self.tasks[tid].yielded || self.exit.is_some() {
            return Flow::Reschedule;
        }
        if std::mem::take(&mut self.woken) { Flow::Share } else { Flow::Continue }
    }

    /// Takes pages of files that were cut out of the mappings that show them.
    pub(crate) fn take_cuts(&mut self) {
        if self.shared.cuts.borrow().is_empty() {
            return;
        }
        let cuts = std::mem::take(&mut *self.shared.cuts.borrow_mut());
        for cut in cuts {
            self.mm.cut(cut);
        }
    }

    /// Marks the waiters of woken keys.
    pub(crate) fn collect_wakes(&mut self) {
        self.deliver_hangups();
        if !self.wakes.borrow().is_empty() {
            self.aio_poll();
        }
        let mut keys = std::mem::take(&mut *self.wakes.borrow_mut());
        if !keys.is_empty() || self.shared.has_io_signals() {
            self.signal_owners(&keys);
            keys.append(&mut self.wakes.borrow_mut());
        }
        if keys.is_empty() {
            return;
        }
        let mut exclusive = false;
        for thread in self.tasks.threads_mut() {
            let Run::Blocked(wait) = &thread.run else { continue };
            if wait.keys.iter().any(|key| keys.contains(key)) {
                thread.run = Run::Retry;
                self.woken = true;
            } else {
                exclusive |= !wait.exclusive.is_empty();
            }
        }
        for key in keys.iter().filter(|_| exclusive) {
            let waits = |wait: &crate::Wait| wait.exclusive.contains(key);
            let first = self
                .tasks
                .threads_mut()
                .find(|t| matches!(&t.run, Run::Blocked(wait) if waits(wait)));
            if let Some(thread) = first {
                thread.run = Run::Retry;
                thread.restart.chosen = true;
                self.woken = true;
            }
        }
        // The list keeps its room: this happens after every other system call.
        keys.clear();
        let mut sink = self.wakes.borrow_mut();
        keys.append(&mut sink);
        *sink = keys;
    }

    /// Lets deadlines and timers pass.
    fn expire(&mut self) {
        let waits =
            self.tasks.threads().any(|t| matches!(&t.run, Run::Blocked(w) if w.deadline.is_some()));
        if !waits && self.next_timer.is_none() {
            return;
        }
        let now = self.now();
        for thread in self.tasks.threads_mut() {
            if let Run::Blocked(wait) = &thread.run
                && wait.deadline.is_some_and(|d| d <= now)
            {
                thread.run = Run::Retry;
            }
        }
        if self.next_timer.is_some_and(|t| t <= now) {
            self.expire_timers(now);
        }
    }

    /// The earliest deadline of all waits and timers.
    fn next_deadline(&self) -> Option<u64> {
        let waits = self.tasks.threads().filter_map(|t| match &t.run {
            Run::Blocked(wait) => wait.deadline,
            _ => None,
        });
        waits.chain(self.next_timer).chain(self.network.deadline()).chain(self.time_limit()).min()
    }

    /// Exchanges data with the way out, if there is one and not again so soon after the last time (unless `idle`: nobody can
    /// run), and with services inside.
    fn pump_network(&mut self, idle: bool) {
        let clock = (self.host.clock_monotonic(), self.host.clock_realtime());
        let due = idle || clock.0.saturating_sub(self.pumped) >= PUMP_AGAIN;
        if (due && self.host.network().is_some()) || self.network.needs_pump() {
            self.pumped = clock.0;
            let outside = self.host.network();
            self.network.pump(&self.wakes, clock, &self.hostname, outside);
        }
        if due && let Some(outside) = self.host.sockets_way() {
            self.pumped = clock.0;
            self.shared.registry::<Forwards>().exchange(outside);
        }
    }

    /// Whether what comes from outside is asked for: by who waits for it, and by a terminal, whose Ctrl-C is for those who do not. But a
    /// host that edits lines ends us by that itself, and its reads may block until a whole line is there: in an `idle` box not before
    /// nobody has anything else to wait for.
    pub(crate) fn wants_stdin(&self, idle: bool) -> bool {
        let mut threads = self.tasks.threads();
        let console = self.shared.registry::<tty::Terminals>().console();
        let waits = idle && self.host.edits_lines() && self.next_deadline().is_some();
        !waits && console.is_some_and(|console| console.takes_host_input())
            || threads.any(|t| matches!(&t.run, Run::Blocked(w) if w.waits_for(WaitKey::STDIN)))
    }

    /// Wakes the readers of standard input if there is something to read; a terminal takes it up, reader or not.
    fn poll_stdin(&mut self, idle: bool) -> bool {
        let mut ready = self.wants_stdin(idle) && self.host.stdin_ready();
        if ready && let Some(console) = self.shared.registry::<tty::Terminals>().console() {
            ready = console.pull_console(&mut Cx::new(self, crate::fs::Cred::root()));
        }
        if ready {
            self.wake(WaitKey::STDIN);
            self.collect_wakes();
        }
        ready && idle
    }

    /// Takes up what was typed while programs run: Ctrl-C must reach one that reads nothing.
    pub fn look_at_console(&mut self) {
        if self.shared.registry::<tty::Terminals>().console().is_some() {
            self.poll_stdin(false);
        }
    }

    /// Charges the CPU time since the last switch to the thread that had it; what choosing the next one takes is that one's. Nobody had it
    /// while the box was idle.
    pub(crate) fn account(&mut self) {
        let now = self.host.clock_cpu();
        let spent = now.saturating_sub(self.slice_start);
        self.slice_start = now;
        if std::mem::take(&mut self.idle) {
            return;
        }
        let tid = self.current;
        let Some(thread) = self.tasks.thread_mut(tid) else { return };
        thread.cpu_ns += spent;
        let weight = WEIGHTS[(thread.nice + 20).clamp(0, 39) as usize];
        thread.vruntime = thread.vruntime.saturating_add(spent.saturating_mul(1024) / weight);
        self.cgroup.cpu_ns += spent;
        let pid = thread.pid;
        self.check_cpu_timers(pid);
    }
}

/// Exit status of the box for a wait status.
fn exit_code(status: i32) -> i32 {
    match status & 0x7f {
        0 => status >> 8 & 0xff,
        signal => 128 + signal,
    }
}
