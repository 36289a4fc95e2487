//! The lives of a box: a snapshot, or freezing it while it runs, ends one, and each start of that begins another. [`TABLE`] says of each kind of state what becomes of
//! it; the rows that the kernel carries out are functions of this module, in the order in which they are called. Everything that
//! no row names lies in memory and stays as it is.

use std::collections::BTreeSet;

use abi::time::{
    CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM, CLOCK_REALTIME, CLOCK_REALTIME_ALARM, CLOCK_TAI,
};
use rootfs::limits::Limits;

use crate::etc::Naming;
use crate::file::socket::{Probe, Progress};
use crate::file::timerfd::TimerFd;
use crate::file::tty::Terminals;
use crate::fs::walk::{Lookup, resolve};
use crate::fs::{Cred, Cx};
use crate::task::{ProcessId, Run, Tasks, ThreadId};
use crate::{Kernel, WaitKey, mounts};

mod held;

/// What becomes of state when a life begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As it was.
    Kept,
    /// It is what this life's host says.
    New,
    /// It goes on from where it was.
    GoesOn,
    /// It is dropped when the snapshot is taken.
    Dropped,
    /// Programs see it break (`ECONNRESET`).
    Reset,
    /// Whoever asks for another gets an error.
    Refused,
}

/// Who sees to it.
#[derive(Clone, Copy)]
pub enum By {
    /// Nobody: it lies in memory.
    Memory,
    /// The kernel, when a life begins.
    Kernel(fn(&mut Kernel, &Beginning)),
    /// The kernel, when a life ends.
    End(fn(&mut Kernel)),
    /// The machine: what it has decoded and compiled.
    Machine,
    /// The guest program, which has the host at hand.
    Guest,
    /// Whoever builds.
    Build,
}

/// One kind of state.
#[derive(Clone, Copy)]
pub struct Row {
    /// What it is.
    pub state: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// Who sees to it.
    pub by: By,
    /// What users should know.
    pub note: &'static str,
}

const fn row(state: &'static str, fate: Fate, by: By, note: &'static str) -> Row {
    Row { state, fate, by, note }
}

/// What becomes of each kind of state.
pub const TABLE: &[Row] = &[
    row(
        "memory, registers, ids, threads, signals, descriptors, pipes, locks and System V objects of programs",
        Fate::Kept,
        By::Memory,
        "process 1 is process 1 of each start",
    ),
    row(
        "files that were written, and pages of files",
        Fate::Kept,
        By::Memory,
        "changes of a start are seen by that start alone",
    ),
    row(
        "frames that nobody holds",
        Fate::Dropped,
        By::End(scrub),
        "cleared, so that the box's file does not hold them",
    ),
    row(
        "decoded code",
        Fate::Kept,
        By::Machine,
        "enters the compiled code that comes with the box",
    ),
    row(
        "code that a host has compiled",
        Fate::Dropped,
        By::Machine,
        "each start compiles what is hot there; while a snapshot is built nothing is compiled",
    ),
    row(
        "CLOCK_MONOTONIC, the time-stamp counter",
        Fate::GoesOn,
        By::Kernel(clocks),
        "the time between does not count",
    ),
    row("CLOCK_REALTIME, times of files", Fate::New, By::Kernel(clocks), "the host's; it jumps"),
    row(
        "CLOCK_BOOTTIME",
        Fate::GoesOn,
        By::Kernel(clocks),
        "with the time between, as over a suspend of a machine",
    ),
    row(
        "timers and timeouts",
        Fate::GoesOn,
        By::Kernel(timers),
        "as over a suspend: durations go on; times of CLOCK_REALTIME and timers of CLOCK_BOOTTIME that passed meanwhile expire at once",
    ),
    row(
        "CPU time of processes",
        Fate::Kept,
        By::Memory,
        "that of the build counts in getrusage(2), not for --cpu-time",
    ),
    row(
        "limits of memory, storage, time and processes",
        Fate::New,
        By::Kernel(limits),
        "what this start is given; without, those of the build do not hold",
    ),
    row(
        "getrandom(2), /dev/random, /dev/urandom, AT_RANDOM of new programs, RDRAND, /proc/sys/kernel/random",
        Fate::New,
        By::Memory,
        "no state is kept: each is asked of the host, and WASI's random_get answers",
    ),
    row(
        "choice of ports and of numbers of the network",
        Fate::New,
        By::Kernel(entropy),
        "seeded again",
    ),
    row(
        "random states inside programs",
        Fate::Kept,
        By::Memory,
        "the kernel cannot know them: see below, and /dev/boxer/snapshot",
    ),
    row(
        "/dev/boxer/snapshot",
        Fate::New,
        By::Kernel(identity),
        "the number of the life, and 128 random bits",
    ),
    row(
        "environment",
        Fate::New,
        By::Kernel(environment),
        "variables given at the start: /dev/boxer/env, and the environment of programs executed from then on, unless who executes them has set another value",
    ),
    row(
        "host name, /etc/hosts, /etc/hostname, /etc/resolv.conf",
        Fate::New,
        By::Kernel(names),
        "written anew",
    ),
    row(
        "host directories and volumes in which no program has a file open, is, or has a file mapped",
        Fate::New,
        By::Kernel(directories),
        "those that the start is given are mounted; a snapshot that is built has none",
    ),
    row(
        "files and directories of the host that are open, mapped, or the working directory of a program; sockets of the host",
        Fate::Refused,
        By::Guest,
        "freezing says which they are, and the box goes on",
    ),
    row("tmpfs that is mounted", Fate::Kept, By::Memory, "what the start gives is mounted over it"),
    row(
        "connections with the outside",
        Fate::Reset,
        By::Kernel(outside),
        "ECONNRESET; flows of datagrams begin anew, questions to the resolver fail",
    ),
    row(
        "listening sockets, connections inside the box",
        Fate::Kept,
        By::Memory,
        "ports that are published at the start lead to them",
    ),
    row(
        "the way out, network interfaces but lo",
        Fate::New,
        By::Guest,
        "while a snapshot is built there is only the loopback",
    ),
    row(
        "standard input, output and error",
        Fate::New,
        By::Guest,
        "the host's streams; to programs they stay what they were, a terminal or none. Input that was read for them and that they have not taken comes first",
    ),
    row(
        "standard streams of processes that the host has started in the box (`boxer exec`), files that it has open, its watches",
        Fate::Reset,
        By::Kernel(attached),
        "the processes go on: their input ends, output fails (EPIPE, SIGPIPE), a terminal hangs up (SIGHUP). In the box that was frozen and goes on they stay",
    ),
    row("size of the terminal", Fate::New, By::Kernel(window), "programs hear of it by SIGWINCH"),
    row(
        "a terminal (-t) for programs that were started without one",
        Fate::Refused,
        By::Guest,
        "they have asked already",
    ),
    row(
        "arguments, --entrypoint, --user, --workdir, --init, --cpu, capabilities, ulimits, --read-only",
        Fate::Refused,
        By::Guest,
        "they are for the start of the first program, which is over; new where no program was started (--snapshot=COMMAND)",
    ),
    row(
        "what tells the host's own nature (exit statuses, descriptors, terminals)",
        Fate::New,
        By::Guest,
        "asked at each start",
    ),
    row(
        "a network, host directories, a terminal, input while a snapshot is built",
        Fate::Refused,
        By::Build,
        "so that nothing of the build's host is in it",
    ),
];

/// What a life begins with.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// `NAME=value` entries of this life alone.
    pub env: Vec<Vec<u8>>,
    /// Host name; empty = twelve hexadecimal digits by entropy.
    pub hostname: Vec<u8>,
    /// Hosts and name servers.
    pub naming: Naming,
    /// What the box may use.
    pub limits: Limits,
}

/// What programs wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// Nothing that comes from outside.
    Nothing,
    /// Standard input.
    Input,
    /// Somebody who connects, or sends a datagram, to this port.
    Client(u16),
}

/// Why no snapshot can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// These files of the host are open, mapped or working directories.
    HostFiles(Vec<String>),
    /// Sockets of the host are in the tree.
    Sockets,
    /// No program is left.
    Over,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unfit::HostFiles(names) => {
                write!(f, "programs hold files of the host: {}", names.join(", "))
            }
            Unfit::Sockets => f.write_str("sockets of the host are mounted"),
            Unfit::Over => f.write_str("its programs have ended"),
        }
    }
}

impl std::error::Error for Unfit {}

impl Kernel {
    /// A snapshot will be taken of this life: programs may ask for it.
    pub fn expect_snapshot(&mut self) {
        self.life.passes.set(true);
    }

    /// Whether a program has asked for the snapshot: nobody runs until it was taken.
    pub fn snapshot_asked(&self) -> bool {
        self.life.asked.get()
    }

    /// What the programs wait for, of what comes from outside; all of them wait.
    pub fn awaits(&self) -> Awaits {
        let waiting = |key: WaitKey| {
            self.tasks.threads().any(|t| matches!(&t.run, Run::Blocked(w) if w.waits_for(key)))
        };
        match self.network.listeners().into_iter().find(|(key, _)| waiting(*key)) {
            Some((_, port)) => Awaits::Client(port),
            None if self.wants_stdin(true) => Awaits::Input,
            None => Awaits::Nothing,
        }
    }

    /// TCP ports at which programs listen, in order.
    pub fn listening_ports(&self) -> Vec<u16> {
        self.network.listening_ports()
    }

    /// Whether programs live.
    pub fn has_programs(&self) -> bool {
        self.tasks.threads().next().is_some()
    }

    /// Ends what programs there are, as if the box had not started; files stay as they left them.
    pub fn end_programs(&mut self) {
        let threads: Vec<ThreadId> = self.tasks.threads().map(|t| t.tid).collect();
        for tid in threads {
            self.end_thread(tid);
        }
        let processes: Vec<ProcessId> = self.tasks.processes().map(|p| p.pid).collect();
        for pid in processes {
            self.tasks.remove_process(pid);
        }
        self.tasks = Tasks::default();
        self.current = ThreadId::default();
        self.exit = None;
        self.next_timer = None;
        self.unlisted.clear();
        self.collect_wakes();
        self.mm.reap();
    }

    /// Ends this life: the state may be put away, and [`Kernel::begin_life`] comes next, or [`Kernel::live_on`]. The state is as it
    /// was but for what nobody can see.
    ///
    /// # Errors
    /// Something of the host is part of the state.
    pub fn end_life(&mut self) -> Result<(), Unfit> {
        if self.exit.is_some() {
            return Err(Unfit::Over);
        }
        if self.host.sockets_way().is_some() {
            return Err(Unfit::Sockets);
        }
        // Descriptors of the host that nobody holds any more are closed while there is this host.
        drop(Cx::new(self, Cred::root()));
        let held = self.held_host_files();
        if !held.is_empty() {
            return Err(Unfit::HostFiles(held));
        }
        self.account();
        self.mm.reap();
        for row in TABLE {
            if let By::End(work) = row.by {
                work(self);
            }
        }
        self.life.asked.set(false);
        self.life.passes.set(false);
        self.stopped = Some((self.now(), self.host.clock_realtime()));
        Ok(())
    }

    /// Takes [`Kernel::end_life`] back: this life goes on with its host, as if nothing had been.
    pub fn live_on(&mut self) {
        self.stopped = None;
    }

    /// Whether the first program was given a terminal.
    pub fn has_console(&self) -> bool {
        self.shared.registry::<Terminals>().console().is_some()
    }

    /// Whether [`Kernel::end_life`] came and no life began since.
    pub fn is_between_lives(&self) -> bool {
        self.stopped.is_some()
    }

    /// Whether the tree has such a file or directory.
    pub fn has_file(&mut self, path: &[u8]) -> bool {
        let root = self.root.clone();
        let mut cx = Cx::new(self, Cred::root());
        resolve(&mut cx, &mounts::at_root(&root), &root, path, Lookup::FOLLOW).is_ok()
    }

    /// How far a request of HTTP from inside is, to `port`, or else to whichever waits for somebody who connects; the first
    /// call sends it.
    pub fn ask_server(&mut self, port: Option<u16>, path: &[u8]) -> Progress {
        let mut probe = match (self.probe.take(), port, self.awaits()) {
            (Some(probe), ..) => probe,
            (None, Some(port), _) | (None, None, Awaits::Client(port)) => {
                Probe::new(&mut Cx::new(self, Cred::root()), port, path)
            }
            (None, None, _) => return Progress::Waits,
        };
        let mut cx = Cx::new(self, Cred::root());
        let progress = probe.go_on(&mut cx);
        match progress {
            Progress::Waits => self.probe = Some(probe),
            _ => probe.close(&mut cx),
        }
        progress
    }

    /// Begins another life, with a host that was just given.
    pub fn begin_life(&mut self, beginning: &Beginning) {
        let mut done: Vec<fn(&mut Kernel, &Beginning)> = Vec::new();
        for row in TABLE {
            if let By::Kernel(work) = row.by
                && !done.iter().any(|before| std::ptr::fn_addr_eq(*before, work))
            {
                done.push(work);
                work(self, beginning);
            }
        }
        self.stopped = None;
        self.wake(WaitKey::LIFE);
    }

    /// The environment of a program that is executed: what this life was given replaces what was inherited, and nothing
    /// that somebody has chosen.
    pub(crate) fn with_new_environment(&self, mut env: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        for new in self.life.env.borrow().iter() {
            let inherited = self.first_env.iter().find(|entry| name(entry) == name(new));
            match env.iter_mut().find(|entry| name(entry) == name(new)) {
                None => env.push(new.clone()),
                Some(entry) if Some(&*entry) == inherited => entry.clone_from(new),
                Some(_) => {}
            }
        }
        env
    }
}

/// `NAME` of `NAME=value`.
fn name(entry: &[u8]) -> &[u8] {
    entry.split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn scrub(kernel: &mut Kernel) {
    kernel.mm.phys.scrub();
    kernel.scratch = Vec::new();
}

fn clocks(kernel: &mut Kernel, _: &Beginning) {
    let Some((monotonic, realtime)) = kernel.stopped else { return };
    kernel.host.continue_at(monotonic);
    let between = kernel.host.clock_realtime().saturating_sub(realtime);
    kernel.asleep = kernel.asleep.saturating_add(between);
    kernel.slice_start = kernel.host.clock_cpu();
    kernel.pumped = 0;
    kernel.idle = true;
}

fn timers(kernel: &mut Kernel, _: &Beginning) {
    let Some((_, realtime)) = kernel.stopped else { return };
    let now = kernel.host.clock_realtime();
    // Monotonic time of an expiry, given its clock and whether it is a time of that clock.
    let place = |next: u64, clock: i32, absolute: bool| match clock {
        CLOCK_REALTIME | CLOCK_REALTIME_ALARM | CLOCK_TAI if absolute => {
            next.saturating_add(realtime).saturating_sub(now).max(1)
        }
        CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => {
            next.saturating_sub(now.saturating_sub(realtime)).max(1)
        }
        _ => next,
    };
    let mut seen = BTreeSet::new();
    for thread in kernel.tasks.threads_mut() {
        let restart = &mut thread.restart;
        if let (Some(deadline), Some(clock)) = (restart.deadline, restart.clock) {
            restart.deadline = Some(place(deadline, clock, true));
        }
        // Whoever waits with a deadline asks again when that is.
        if matches!(&thread.run, Run::Blocked(wait) if wait.deadline.is_some()) {
            thread.run = Run::Retry;
        }
        let files = thread.files.borrow();
        for file in files.fds().into_iter().filter_map(|fd| files.get(fd).ok()) {
            if let Some(timer) = file.object::<TimerFd>()
                && seen.insert(file.id)
            {
                let clock = timer.clock();
                timer.moved(|next, absolute| place(next, clock, absolute));
            }
        }
    }
    for process in kernel.tasks.processes_mut() {
        for timer in process.timers.values_mut().filter(|timer| timer.interval.next != 0) {
            timer.interval.next = place(timer.interval.next, timer.clock, timer.absolute);
        }
    }
    kernel.refresh_timers();
}

fn limits(kernel: &mut Kernel, beginning: &Beginning) {
    kernel.set_limits(beginning.limits);
    kernel.start_clock();
}

fn entropy(kernel: &mut Kernel, _: &Beginning) {
    kernel.network.unseed();
    let mut bytes = [0; 4];
    kernel.host.random(&mut bytes);
    kernel.sample = u32::from_le_bytes(bytes);
}

fn identity(kernel: &mut Kernel, _: &Beginning) {
    kernel.life.number.set(kernel.life.number.get().saturating_add(1));
    // Drawn when somebody asks.
    kernel.life.id.set(0);
}

fn environment(kernel: &mut Kernel, beginning: &Beginning) {
    kernel.life.env.replace(beginning.env.clone());
}

fn names(kernel: &mut Kernel, beginning: &Beginning) {
    if !kernel.has_programs() {
        // Starting does it.
        return;
    }
    kernel.name_host(&beginning.hostname);
    if let Err(errno) = kernel.lay_etc(&beginning.naming, false) {
        kernel.host.log(&format!("boxer: cannot write files of /etc anew: {errno}"));
    }
}

fn outside(kernel: &mut Kernel, _: &Beginning) {
    kernel.network.forget_outside(&kernel.wakes);
}

fn attached(kernel: &mut Kernel, _: &Beginning) {
    kernel.attached = Default::default();
}

fn window(kernel: &mut Kernel, _: &Beginning) {
    if let Some((rows, columns)) = kernel.host.window_size() {
        kernel.resize_console(rows, columns);
    }
}

fn directories(kernel: &mut Kernel, _: &Beginning) {
    mounts::unmount_host(&kernel.shared);
    if !kernel.has_programs() {
        return;
    }
    let root = kernel.root.clone();
    let mut cx = Cx::new(kernel, Cred::root());
    if let Err((path, errno)) = mounts::mount_given(&mut cx, &root) {
        let path = String::from_utf8_lossy(&path);
        cx.host().log(&format!("boxer: cannot mount the host's files at {path}: {errno}"));
    }
}
