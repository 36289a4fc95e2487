//! Runs the machine to its end as a WASI command.

use crate::control::Control;
use crate::exports::DESK;
use crate::host::{WasiHost, Ways};
use crate::invocation::{Invocation, Terminal};
use crate::network::Way;
use crate::stdio::{Stdin, Stdout};
use crate::waits::Waits;
use crate::{boot, freeze, layer, wasi};
use kernel::host::Host;
use machine::{Machine, StartArgs, Step};
use std::rc::Rc;

/// Guest instructions between two looks at the outside.
pub const BUDGET: u64 = 10_000_000;

/// Guest instructions between two looks at a host that compiles: soon enough to profit, and 2 ms of interpreting.
const PIECE: u64 = 1_000_000;

/// Bytes of its own memory that the kernel leaves free for what one system call may need.
pub const HEADROOM: u64 = 48 << 20;

/// Status for what is wrong with the box rather than with its program, as docker's.
pub const BOX_FAILURE: i32 = 125;

/// Status when every process waits for something that cannot come.
const DEADLOCK: i32 = 125;

/// Starts the first program and runs until it ends; the box's exit status.
pub fn run(invocation: Invocation) -> i32 {
    freeze::begin();
    let Some(mut machine) = boot::take() else {
        eprintln!("boxer: this is the bare guest program; link it with a root filesystem first");
        return BOX_FAILURE;
    };
    if let Some(mistake) = &invocation.mistake {
        eprintln!("boxer: {mistake}");
        return BOX_FAILURE;
    }
    let hidden = invocation.build.then_some(layer::DIR);
    let nameserver = invocation.naming.servers.first().cloned();
    let network = match Way::open(invocation.network.as_ref(), nameserver, &invocation.ports) {
        Ok(network) => network,
        Err(failure) => {
            eprintln!("boxer: {failure}");
            return BOX_FAILURE;
        }
    };
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
    let mut driver = Driver {
        fixed_clock: invocation.clock.is_some(),
        control: Control::new(invocation.control.as_ref()),
        stdin,
        stdout,
        ways,
    };
    // When code gets compiled depends on the host: where time counts instructions, nothing may.
    let listens = !driver.fixed_clock;
    let status = match machine.start(start_args(invocation, tty)) {
        Ok(()) => loop {
            if listens {
                machine.listen(&DESK);
            }
            let end = driver.run(&mut machine);
            driver.stdout.flush();
            machine.account(&DESK);
            match end {
                End::Status(status) => break status,
                End::Freeze => match freeze::offer(machine, &driver.stdin) {
                    (left, None) => machine = left,
                    (left, Some(status)) => {
                        machine = left;
                        break status;
                    }
                },
            }
        },
        Err(failure) => {
            eprintln!("boxer: {failure}");
            failure.status()
        }
    };
    for way in driver.ways.all() {
        way.finish();
    }
    if build && let Err(error) = layer::export(&mut machine) {
        eprintln!("boxer: cannot write the layer: {error}");
        return BOX_FAILURE;
    }
    status
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
        strace: invocation.strace,
        debug: invocation.debug,
    }
}

/// Runs for a while, and lets the host put compiled code in place between the pieces.
fn step(machine: &mut Machine, stdout: &Stdout) -> Step {
    if !machine.listens() {
        let step = machine.step(BUDGET);
        stdout.settle();
        return step;
    }
    for _ in 0..BUDGET / PIECE {
        let step = machine.step(PIECE);
        machine.account(&DESK);
        stdout.settle();
        if machine.has_business() {
            machine.exchange(&DESK, wasi::yield_to_host);
        }
        if step != Step::Ready {
            return step;
        }
    }
    Step::Ready
}

/// What drives the machine, and what it waits for beside the machine's own.
struct Driver {
    /// Waiting takes no time: the clock jumps to the deadline.
    fixed_clock: bool,
    control: Control,
    stdin: Rc<Stdin>,
    stdout: Rc<Stdout>,
    ways: Ways,
}

/// Why the machine stands still.
enum End {
    /// The box has ended.
    Status(i32),
    /// The host wants to freeze it.
    Freeze,
}

impl Driver {
    /// Runs to the end.
    fn run(&mut self, machine: &mut Machine) -> End {
        loop {
            let step = step(machine, &self.stdout);
            // What the host has told may have woken somebody.
            let told = self.control.obey(machine.kernel());
            if self.control.take_freeze() && !matches!(step, Step::Exit(_)) {
                return End::Freeze;
            }
            match step {
                Step::Ready => machine.kernel().look_at_console(),
                Step::Wait { .. } if told => {}
                Step::Exit(status) => return End::Status(status),
                Step::Wait { deadline, stdin, network } => {
                    let mut waits = Waits::default();
                    for way in self.ways.all().filter(|_| network) {
                        way.flush(&mut waits);
                    }
                    self.control.watch(&mut waits);
                    let others = deadline.is_some() || !waits.is_empty();
                    let pause = if stdin { self.stdin.watch(&mut waits, others) } else { None };
                    let paused = pause.map(|ns| machine.kernel().host.clock_monotonic() + ns);
                    let deadline = deadline.into_iter().chain(paused).min();
                    if waits.is_empty() && deadline.is_none() {
                        eprintln!("boxer: every process waits for something that cannot come");
                        return End::Status(DEADLOCK);
                    }
                    self.wait(machine, waits, deadline);
                }
            }
        }
    }

    fn wait(&mut self, machine: &mut Machine, waits: Waits, deadline: Option<u64>) {
        self.stdout.flush();
        let host = &mut machine.kernel().host;
        let now = host.clock_monotonic();
        let timeout = deadline.map(|deadline| deadline.saturating_sub(now));
        if self.fixed_clock && self.ways.all().next().is_some() {
            // Somebody outside is waited for: that takes the time it takes.
            let start = wasi::clock(false);
            waits.wait(timeout);
            host.advance(wasi::clock(false).saturating_sub(start));
        } else if let Some(timeout) = timeout
            && self.fixed_clock
        {
            host.advance(timeout);
        } else {
            let start = wasi::clock(false);
            if waits.wait(timeout) {
                self.stdin.told(wasi::clock(false).saturating_sub(start));
            }
        }
    }
}
