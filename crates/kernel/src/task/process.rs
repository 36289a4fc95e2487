//! One process (thread group).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::limits::Rlimits;
use super::{ProcessId, ThreadId};
use crate::file::pidfd::Life;
use crate::signal::Pending;
use crate::syscall::timer::PosixTimer;

/// Resource use, as getrusage(2) shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in ns.
    pub cpu_ns: u64,
    /// Of it, time in system calls.
    pub sys_ns: u64,
    /// Page faults.
    pub faults: u64,
    /// Voluntary context switches.
    pub switches: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// Largest resident set in bytes.
    pub peak_rss: u64,
}

impl Usage {
    /// CPU time in the program.
    pub fn user_ns(&self) -> u64 {
        self.cpu_ns - self.system_ns()
    }

    /// CPU time in system calls: an estimate, never more than there was.
    pub fn system_ns(&self) -> u64 {
        self.sys_ns.min(self.cpu_ns)
    }

    /// Adds a child's use.
    pub fn add(&mut self, other: &Usage) {
        self.cpu_ns += other.cpu_ns;
        self.sys_ns += other.sys_ns;
        self.faults += other.faults;
        self.switches += other.switches;
        self.preemptions += other.preemptions;
        self.peak_rss = self.peak_rss.max(other.peak_rss);
    }
}

/// An interval timer (setitimer(2)) in ns of its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Time of the next expiry; 0 = disarmed.
    pub next: u64,
    /// Period; 0 = one shot.
    pub period: u64,
}

/// What happened to a child that its parent may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Stopped by a signal.
    Stopped(u32),
    /// Continued.
    Continued,
}

/// [`Process::login_uid`] where nobody has logged in.
pub const NO_LOGIN: u32 = u32::MAX;

/// A process.
pub struct Process {
    /// Its id.
    pub pid: ProcessId,
    /// Its life, for those who hold descriptors of it.
    pub life: Rc<Life>,
    /// Registered kinds of membarrier(2).
    pub membarrier: u32,
    /// Its parent; 0 for the first.
    pub parent: ProcessId,
    /// The parent's thread that made it, which is told of its end first.
    pub maker: ThreadId,
    /// Process group.
    pub pgid: ProcessId,
    /// Session.
    pub sid: ProcessId,
    /// Children that live or are zombies.
    pub children: BTreeSet<ProcessId>,
    /// Live threads: the first one is not among them when it has ended before others.
    pub threads: BTreeSet<ThreadId>,
    /// Signals sent to the process.
    pub pending: Pending,
    /// The last thread that took one in the place of the one that was meant.
    pub signal_target: ThreadId,
    /// Signal that stopped it.
    pub stopped: Option<u32>,
    /// News for wait4.
    pub report: Option<Report>,
    /// Set when the whole process ends: wait status.
    pub exiting: Option<i32>,
    /// Wait status of a zombie.
    pub zombie: Option<i32>,
    /// Signal for the parent at the end; 0 = none.
    pub exit_signal: u32,
    /// Limits.
    pub limits: Rlimits,
    /// Use of ended threads.
    pub usage: Usage,
    /// Use of waited-for children.
    pub child_usage: Usage,
    /// ITIMER_REAL (monotonic ns), ITIMER_VIRTUAL and ITIMER_PROF (CPU ns).
    pub itimers: [Interval; 3],
    /// POSIX timers.
    pub timers: BTreeMap<i32, PosixTimer>,
    /// Controlling terminal.
    pub tty: Option<u32>,
    /// Has executed a program since its fork (setpgid(2)).
    pub execed: bool,
    /// Start, monotonic ns.
    pub start_ns: u64,
    /// PR_SET_DUMPABLE.
    pub dumpable: u32,
    /// PR_SET_THP_DISABLE.
    pub no_huge_pages: bool,
    /// What a core dump would hold (`/proc/pid/coredump_filter`).
    pub dump_filter: u32,
    /// Who logged in (`/proc/pid/loginuid`), or [`NO_LOGIN`].
    pub login_uid: u32,
    /// PR_SET_CHILD_SUBREAPER.
    pub subreaper: bool,
    /// Absolute path of the program.
    pub exe: Vec<u8>,
    /// OOM score adjustment.
    pub oom_score_adj: i32,
    /// What it may be lowered to without CAP_SYS_RESOURCE.
    pub oom_score_adj_min: i32,
}

impl Process {
    /// A process without threads.
    pub fn new(pid: ProcessId, parent: ProcessId, start_ns: u64) -> Process {
        Process {
            pid,
            life: Life::new(pid),
            membarrier: 0,
            parent,
            maker: ThreadId(parent.0),
            pgid: pid,
            sid: pid,
            children: BTreeSet::new(),
            threads: BTreeSet::new(),
            pending: Pending::default(),
            signal_target: ThreadId(pid.0),
            stopped: None,
            report: None,
            exiting: None,
            zombie: None,
            exit_signal: abi::signal::SIGCHLD,
            limits: Rlimits::default(),
            usage: Usage::default(),
            child_usage: Usage::default(),
            itimers: [Interval::default(); 3],
            timers: BTreeMap::new(),
            tty: None,
            execed: false,
            start_ns,
            dumpable: 1,
            no_huge_pages: false,
            dump_filter: 0x33,
            login_uid: NO_LOGIN,
            subreaper: false,
            exe: Vec::new(),
            oom_score_adj: 0,
            oom_score_adj_min: 0,
        }
    }

    /// How many threads proc(5) counts: the first one stays when it has ended.
    pub fn thread_count(&self) -> usize {
        self.threads.len() + usize::from(!self.threads.contains(&ThreadId(self.pid.0)))
    }

    /// The first thread that lives; of a zombie the first.
    pub fn leader(&self) -> ThreadId {
        let leader = ThreadId(self.pid.0);
        if self.threads.contains(&leader) {
            leader
        } else {
            self.threads.first().copied().unwrap_or(leader)
        }
    }
}
