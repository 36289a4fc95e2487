//! Runs the machine to its end as a WASI command.

use crate::host::WasiHost;
use crate::invocation::{Invocation, Terminal};
use crate::{boot, layer, wasi};
use kernel::host::Host;
use machine::{Machine, StartArgs, Step};

/// Guest instructions between two looks at the outside.
const BUDGET: u64 = 10_000_000;

/// Status for what is wrong with the box rather than with its program, as docker's.
const BOX_FAILURE: i32 = 125;

/// Status when every process waits for something that cannot come.
const DEADLOCK: i32 = 125;

/// Starts the first program and runs until it ends; the box's exit status.
pub fn run() -> i32 {
    let invocation = Invocation::from_host();
    let Some(mut machine) = boot::take() else {
        eprintln!("boxer: this is the bare guest program; link it with a root filesystem first");
        return BOX_FAILURE;
    };
    let hidden = invocation.build.then_some(layer::DIR);
    let host = WasiHost::new(&invocation, hidden);
    let tty = host.is_terminal(0) && host.is_terminal(1);
    machine.kernel().host = Box::new(host);
    let (build, fixed_clock) = (invocation.build, invocation.clock.is_some());
    let status = match machine.start(start_args(invocation, tty)) {
        Ok(()) => drive(&mut machine, fixed_clock),
        Err(failure) => {
            eprintln!("boxer: {failure}");
            failure.status()
        }
    };
    if build && let Err(error) = layer::export(&mut machine) {
        eprintln!("boxer: cannot write the layer: {error}");
        return BOX_FAILURE;
    }
    status
}

fn start_args(invocation: Invocation, tty: bool) -> StartArgs {
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
        naming: invocation.naming,
        cpu: invocation.cpu,
        tty: tty || matches!(invocation.terminal, Terminal::Yes(_)),
        strace: invocation.strace,
        debug: invocation.debug,
    }
}

/// With `fixed_clock`, waiting takes no time: the clock jumps to the deadline.
fn drive(machine: &mut Machine, fixed_clock: bool) -> i32 {
    loop {
        match machine.step(BUDGET) {
            Step::Ready => {}
            Step::Wait { deadline: None, stdin: false, network: false } => {
                eprintln!("boxer: every process waits for something that cannot come");
                return DEADLOCK;
            }
            Step::Wait { deadline, stdin, .. } => {
                let host = &mut machine.kernel().host;
                let now = host.clock_monotonic();
                let timeout = deadline.map(|deadline| deadline.saturating_sub(now));
                if let Some(timeout) = timeout
                    && fixed_clock
                {
                    host.advance(timeout);
                    continue;
                }
                wasi::wait(stdin.then_some(0), timeout);
            }
            Step::Exit(status) => return status,
        }
    }
}
