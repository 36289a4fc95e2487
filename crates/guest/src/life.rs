//! The life of a box before its snapshot: programs run while the box is built. Whoever builds calls one function after the other
//! and decides in between; what they give back is here.

use crate::boot;
use crate::drive::{BOX_FAILURE, BUDGET, HEADROOM, start_args};
use crate::host::{WasiHost, Ways};
use crate::invocation::Invocation;
use crate::stdio::{Stdin, Stdout};
use machine::{Awaits, Progress, Step};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

thread_local! {
    /// Waiting takes no time: the clock jumps to the deadline.
    static FIXED_CLOCK: Cell<bool> = const { Cell::new(false) };
    static STDOUT: RefCell<Option<Rc<Stdout>>> = const { RefCell::new(None) };
}

/// The low byte of [`step`]'s answer: programs can go on;
const RUNS: u64 = 0;
/// the first program has ended, with the status in bits 8 to 23;
const ENDED: u64 = 1;
/// a program asks for the snapshot;
const ASKED: u64 = 2;
/// all wait, and none for the outside;
const WAITS: u64 = 3;
/// all wait, one of them for input;
const INPUT: u64 = 4;
/// all wait, one of them for whoever connects to the port in bits 8 to 23.
const CLIENT: u64 = 5;

/// Bits 24 to 63 of the answer: microseconds until somebody goes on without the outside, or this.
const NEVER: u64 = (1 << 40) - 1;

/// Starts the first program: 0, or the status of a box that cannot.
pub fn begin() -> i32 {
    let invocation = Invocation::from_host();
    if let Some(mistake) = &invocation.mistake {
        eprintln!("boxer: {mistake}");
        return BOX_FAILURE;
    }
    FIXED_CLOCK.set(invocation.clock.is_some());
    let stdout = Rc::new(Stdout::default());
    let streams = (Rc::new(Stdin::default()), stdout.clone());
    STDOUT.set(Some(stdout));
    let host = WasiHost::new(&invocation, None, streams, Ways::default());
    let started = boot::with(|machine| {
        machine.kernel().host = Box::new(host);
        machine.kernel().set_record_limit(boot::OWN_MEMORY - HEADROOM);
        machine.kernel().expect_snapshot();
        machine.start(start_args(invocation, false))
    });
    match started {
        Some(Ok(())) => 0,
        Some(Err(failure)) => {
            eprintln!("boxer: {failure}");
            failure.status()
        }
        None => BOX_FAILURE,
    }
}

/// Runs for a while.
pub fn step() -> u64 {
    boot::with(|machine| {
        let step = machine.step(BUDGET);
        STDOUT.with_borrow(|stdout| {
            if let Some(stdout) = stdout {
                stdout.flush();
            }
        });
        if machine.kernel().snapshot_asked() {
            return ASKED;
        }
        let (state, deadline) = match step {
            Step::Ready => return RUNS,
            // Nobody follows a box that is being made.
            Step::Stopped => return RUNS,
            Step::Exit(status) => return ENDED | u64::from(status as u16) << 8,
            Step::Wait { deadline, .. } => match machine.kernel().awaits() {
                Awaits::Nothing => (WAITS, deadline),
                Awaits::Input => (INPUT, deadline),
                Awaits::Client(port) => (CLIENT | u64::from(port) << 8, deadline),
            },
        };
        let host = &mut machine.kernel().host;
        let mut left = deadline.map(|deadline| deadline.saturating_sub(host.clock_monotonic()));
        if let Some(time) = left.as_mut().filter(|_| FIXED_CLOCK.get()) {
            host.advance(std::mem::take(time));
        }
        state | left.map_or(NEVER, |ns| ns.div_ceil(1000).min(NEVER - 1)) << 24
    })
    .unwrap_or(ENDED | (BOX_FAILURE as u64) << 8)
}

/// Whether there is such a file.
pub fn has_file(path: &[u8]) -> bool {
    boot::with(|machine| machine.kernel().has_file(path)).unwrap_or(false)
}

/// What a server inside answers to a request for `path`, of `port` or, if that is 0, of whoever waits for a client: its status; 0 while it
/// has not answered, -1 when it has not and will not.
pub fn ask(port: u16, path: &[u8]) -> i32 {
    let port = Some(port).filter(|port| *port != 0);
    match boot::with(|machine| machine.kernel().ask_server(port, path)) {
        Some(Progress::Status(status)) => i32::from(status),
        Some(Progress::Waits) => 0,
        Some(Progress::Failed) | None => -1,
    }
}

/// Ends this life, of the programs too unless they shall go on in the next: 0, or 125 after a message.
pub fn end(programs: bool) -> i32 {
    let ended = boot::with(|machine| {
        if !programs {
            machine.kernel().end_programs();
        }
        let ended = machine.end_life();
        drop(boot::leave_host(machine));
        STDOUT.take();
        ended
    });
    match ended {
        Some(Ok(())) => 0,
        Some(Err(unfit)) => {
            eprintln!("boxer: no snapshot can be taken: {unfit}");
            BOX_FAILURE
        }
        None => BOX_FAILURE,
    }
}
