//! Runs the machine, turn by turn: to its end as a WASI command, or as far as a host that steps it says ([`crate::step`]).

use crate::control::Control;
use crate::exec::{self, Exec};
use crate::exports::DESK;
use crate::host::{WasiHost, Ways};
use crate::invocation::{Invocation, Terminal};
use crate::network::Way;
use crate::stdio::{Stdin, Stdout};
use crate::waits::Waits;
use crate::{boot, freeze, layer, outside, wasi, watched};
use kernel::host::Host;
use machine::{Machine, StartArgs, Step};
use std::rc::Rc;

/// Guest instructions between two looks at the outside.
pub const BUDGET: u64 = 10_000_000;

/// Guest instructions between two looks at a host that compiles: soon enough to profit, and 2 ms of interpreting.
pub const PIECE: u64 = 1_000_000;

/// Bytes of its own memory that the kernel leaves free for what one system call may need.
pub const HEADROOM: u64 = boot::OWN_MEMORY / 16 * 3;

/// The longest wait for input before a host is asked again, ns.
const ASK_AGAIN: u64 = 1_000_000_000;

/// Status for what is wrong with the box rather than with its program, as docker's.
pub const BOX_FAILURE: i32 = 125;

/// Status when every process waits for something that cannot come.
const DEADLOCK: i32 = 125;

/// Starts the first program and runs until it ends; the box's exit status.
pub fn run(invocation: Invocation) -> i32 {
    let mut run = match Run::begin(invocation) {
        Ok(run) => run,
        Err(status) => return status,
    };
    loop {
        run = match run.turn(BUDGET) {
            Turn::GoesOn(run) => run,
            Turn::Waits(run, waits, timeout) => {
                run.wait(waits, timeout);
                run
            }
            Turn::Ended(status) => return status,
        }
    }
}

/// A box under way, and what it waits for beside what its machine does.
pub struct Run {
    machine: Machine,
    /// It could not start: the status.
    failed: Option<i32>,
    /// It has ended: the status, and when the host last took something of what there was for it, ns.
    ended: Option<(i32, u64)>,
    /// Waiting takes no time: the clock jumps to the deadline.
    fixed_clock: bool,
    /// When it began to wait for somebody outside, if the clock does not tell, ns.
    waits_since: Option<u64>,
    control: Control,
    exec: Exec,
    stdin: Rc<Stdin>,
    stdout: Rc<Stdout>,
    ways: Ways,
    build: bool,
}

/// What comes after a turn.
pub enum Turn {
    /// The next one.
    GoesOn(Box<Run>),
    /// The next one, when something of this has come to pass or, if there is one, the timeout in nanoseconds is over.
    Waits(Box<Run>, Waits, Option<u64>),
    /// Nothing: the box has ended with this status.
    Ended(i32),
}

impl Run {
    /// Starts the first program, or goes on in what was frozen.
    ///
    /// # Errors
    /// The box cannot run, and ends with this status.
    pub fn begin(invocation: Invocation) -> Result<Box<Run>, i32> {
        freeze::begin();
        watched::begin(invocation.strace || invocation.debug);
        let Some(mut machine) = boot::take() else {
            eprintln!(
                "boxer: this is the bare guest program; link it with a root filesystem first"
            );
            return Err(BOX_FAILURE);
        };
        if let Some(mistake) = &invocation.mistake {
            eprintln!("boxer: {mistake}");
            return Err(BOX_FAILURE);
        }
        if let Err(reason) = outside::open(&mut machine, invocation.image) {
            eprintln!("boxer: {reason}");
            return Err(BOX_FAILURE);
        }
        let hidden = invocation.build.then_some(layer::DIR);
        let nameserver = invocation.naming.servers.first().cloned();
        let network = Way::open(invocation.network.as_ref(), nameserver, &invocation.ports);
        let network = network.map_err(|failure| {
            eprintln!("boxer: {failure}");
            BOX_FAILURE
        })?;
        let sockets = Way::to_sockets(invocation.sockets.as_ref());
        let ways = Ways { network, sockets };
        let stdin = Rc::new(Stdin::new());
        let stdout = Rc::new(Stdout::default());
        let streams = (stdin.clone(), stdout.clone());
        let host = WasiHost::new(&invocation, hidden, streams, ways.clone());
        let tty = host.is_terminal(0) && host.is_terminal(1);
        if tty && host.edits_lines() {
            stdin.doubt();
        }
        machine.kernel().host = Box::new(host);
        machine.kernel().set_record_limit(boot::OWN_MEMORY - HEADROOM);
        let build = invocation.build;
        let fixed_clock = invocation.clock.is_some();
        let control = Control::new(invocation.control.as_ref());
        let exec = Exec::new(invocation.exec.as_ref());
        if let Err(why) = watched::apply(&mut machine) {
            watched::refuse(&why);
            return Err(BOX_FAILURE);
        }
        let failed = machine.start(start_args(invocation, tty)).err().map(|failure| {
            eprintln!("boxer: {failure}");
            failure.status()
        });
        let waits_since = None;
        let mut run = Run {
            machine,
            failed,
            ended: None,
            fixed_clock,
            waits_since,
            control,
            exec,
            stdin,
            stdout,
            ways,
            build,
        };
        run.listen();
        Ok(Box::new(run))
    }

    /// Lets the host compile what is hot.
    fn listen(&mut self) {
        // When code gets compiled depends on the host: where time counts instructions, nothing may.
        if !self.fixed_clock {
            self.machine.listen(&DESK);
        }
    }

    /// Runs for about `budget` guest instructions, and does what the host asks for.
    pub fn turn(mut self: Box<Self>, budget: u64) -> Turn {
        if let Some(status) = self.failed {
            return self.end(status);
        }
        if let Some((status, since)) = self.ended {
            return self.tell_ends(status, since);
        }
        if let Some(since) = self.waits_since.take() {
            let waited = wasi::clock(false).saturating_sub(since);
            self.machine.kernel().host.advance(waited);
        }
        // First, so that what the host has told before it gave input holds when a program reads that.
        self.control.obey(self.machine.kernel());
        if self.control.take_freeze() {
            return self.freeze();
        }
        self.exec.exchange(&mut self.machine);
        self.stdout.turn();
        match self.step(budget) {
            Step::Ready => self.machine.kernel().look_at_console(),
            Step::Exit(status) => {
                self.rest();
                return self.tell_ends(status, wasi::clock(false));
            }
            Step::Stopped => {
                watched::stopped(&mut self.machine);
                return Turn::Ended(0);
            }
            Step::Wait { deadline, stdin, network } => {
                // What programs have written may be taken, and what they have not taken goes to them.
                if !self.exec.exchange(&mut self.machine) {
                    return self.waits(deadline, stdin, network);
                }
            }
        }
        Turn::GoesOn(self)
    }

    /// Runs for a while, and between the pieces lets the host put compiled code in place and reach into the box.
    fn step(&mut self, budget: u64) -> Step {
        if !self.machine.listens() && !self.exec.is_open() {
            let step = self.machine.step(budget);
            self.stdout.settle();
            return step;
        }
        for _ in 0..budget.div_ceil(PIECE) {
            let step = self.machine.step(PIECE.min(budget));
            self.machine.account(&DESK);
            self.stdout.settle();
            if self.machine.has_business() {
                self.machine.exchange(&DESK, wasi::yield_to_host);
            }
            if step != Step::Ready || self.stdout.wrote_much() {
                return step;
            }
            self.exec.exchange(&mut self.machine);
        }
        Step::Ready
    }

    /// The box has ended: the host hears of what its processes have written there and how they ended, unless it does not listen.
    fn tell_ends(mut self: Box<Self>, status: i32, since: u64) -> Turn {
        let now = wasi::clock(false);
        let moved = self.exec.exchange(&mut self.machine);
        if self.exec.is_done() || (!moved && now.saturating_sub(since) >= exec::PATIENCE) {
            return self.end(status);
        }
        self.ended = Some((status, if moved { now } else { since }));
        let mut waits = Waits::default();
        self.exec.watch(&mut waits);
        Turn::Waits(self, waits, Some(exec::PATIENCE / 20))
    }

    /// Every process waits, for what the machine says.
    fn waits(mut self: Box<Self>, deadline: Option<u64>, stdin: bool, network: bool) -> Turn {
        let mut waits = Waits::default();
        for way in self.ways.all().filter(|_| network) {
            way.flush(&mut waits);
        }
        self.control.watch(&mut waits);
        self.exec.watch(&mut waits);
        let others = deadline.is_some() || !waits.is_empty();
        let pause = if stdin { self.stdin.watch(&mut waits, others) } else { None };
        let host = &mut self.machine.kernel().host;
        let now = host.clock_monotonic();
        let left = deadline.map(|deadline| deadline.saturating_sub(now));
        let timeout = left.into_iter().chain(pause).min();
        if waits.is_empty() && timeout.is_none() {
            eprintln!("boxer: every process waits for something that cannot come");
            return self.end(DEADLOCK);
        }
        self.stdout.flush();
        if self.fixed_clock && self.ways.all().next().is_some() {
            // Somebody outside is waited for: that takes the time it takes.
            self.waits_since = Some(wasi::clock(false));
        } else if let Some(timeout) = timeout
            && self.fixed_clock
        {
            host.advance(timeout);
            return Turn::GoesOn(self);
        }
        Turn::Waits(self, waits, timeout)
    }

    /// Waits for what a turn has said.
    fn wait(&self, waits: Waits, timeout: Option<u64>) {
        let start = wasi::clock(false);
        // Some hosts miss input that comes just when a wait for it begins (Wasmer): they are asked again.
        let timeout = if waits.has_stdin() {
            Some(timeout.map_or(ASK_AGAIN, |ns| ns.min(ASK_AGAIN)))
        } else {
            timeout
        };
        if waits.wait(timeout) && !self.fixed_clock {
            self.stdin.told(wasi::clock(false).saturating_sub(start));
        }
    }

    /// Offers the state to the host, which wants to freeze it.
    fn freeze(mut self: Box<Self>) -> Turn {
        self.rest();
        let (machine, ends) = freeze::offer(self.machine, &self.stdin);
        let mut run = Box::new(Run { machine, ..*self });
        match ends {
            Some(status) => run.end(status),
            None => {
                run.listen();
                Turn::GoesOn(run)
            }
        }
    }

    /// Leaves nothing half done.
    fn rest(&mut self) {
        self.stdout.flush();
        self.machine.account(&DESK);
    }

    fn end(mut self: Box<Self>, status: i32) -> Turn {
        self.rest();
        for way in self.ways.all() {
            way.finish();
        }
        if self.build
            && let Err(error) = layer::export(&mut self.machine)
        {
            eprintln!("boxer: cannot write the layer: {error}");
            return Turn::Ended(BOX_FAILURE);
        }
        Turn::Ended(status)
    }

    /// Whether the last turn ended for what was written in it.
    pub fn wrote_much(&self) -> bool {
        self.stdout.wrote_much()
    }

    /// TCP ports at which programs listen, in order.
    pub fn listening_ports(&mut self) -> Vec<u16> {
        self.machine.kernel().listening_ports()
    }
}

pub fn start_args(invocation: Invocation, tty: bool) -> StartArgs {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    StartArgs {
        args: invocation.args.into_iter().map(text).collect(),
        env: invocation.env.into_iter().map(text).collect(),
        entrypoint: invocation
            .entrypoint
            .map(|word| if word.is_empty() { Vec::new() } else { vec![text(word)] }),
        workdir: invocation.workdir,
        user: invocation.user,
        hostname: invocation.hostname,
        build: invocation.build,
        naming: invocation.naming,
        cpu: invocation.cpu,
        limits: invocation.limits,
        rights: invocation.rights,
        tty: tty || matches!(invocation.terminal, Terminal::Lines | Terminal::Yes(_)),
        tty_wanted: matches!(invocation.terminal, Terminal::Lines | Terminal::Yes(_)),
        interpret: invocation.interpret,
        init: invocation.init,
        pause: invocation.pause,
        strace: invocation.strace || watched::logs(),
        debug: invocation.debug,
    }
}
