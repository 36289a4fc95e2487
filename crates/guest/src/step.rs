//! Boxes for hosts that cannot wait inside of a call, such as a browser's worker, which hears of nothing meanwhile. Instead of `_start`,
//! which comes back when the box has ended, such a host calls [`begin`], with arguments and environment as for `_start`, and then [`step`]
//! again and again, until that says that the box has ended. In between it has nothing of the box on its stack. Its descriptors
//! do not block: what is not there is EAGAIN, and output is taken whole.

use crate::drive::{BOX_FAILURE, PIECE, Run, Turn};
use crate::invocation::Invocation;
use crate::wasi;
use std::cell::RefCell;

thread_local! {
    /// The box between two steps. During a step it is on the stack alone, so a copy of memory that is made there has none.
    static RUN: RefCell<Option<Box<Run>>> = const { RefCell::new(None) };
    /// What [`ports`] has told.
    static PORTS: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
}

/// The low byte of [`step`]'s answer: programs can go on;
const GOES_ON: u64 = 0;
/// all wait, until the time in bits 24 to 63 is over (microseconds, or [`NEVER`]), a descriptor can be read, or the host has told
/// something;
const WAITS: u64 = 1;
/// the box has ended, with the status in bits 8 to 23.
const ENDED: u64 = 2;

/// For a wait without a time.
const NEVER: u64 = (1 << 40) - 1;

/// Starts the first program: 0, or the status of a box that cannot.
pub fn begin() -> i32 {
    match Run::begin(Invocation::from_host()) {
        Ok(run) => {
            RUN.set(Some(run));
            0
        }
        Err(status) => status,
    }
}

/// Runs for `ms` milliseconds, or a little longer, or until every process waits or much was written.
pub fn step(ms: u32) -> u64 {
    let Some(mut run) = RUN.take() else { return ended(BOX_FAILURE) };
    let end = wasi::clock(false).saturating_add(u64::from(ms) * 1_000_000);
    loop {
        match run.turn(PIECE) {
            Turn::GoesOn(next) if wasi::clock(false) < end && !next.wrote_much() => run = next,
            Turn::GoesOn(next) => {
                RUN.set(Some(next));
                return GOES_ON;
            }
            // What it waits for are all the descriptors that the host has given it.
            Turn::Waits(next, _, timeout) => {
                RUN.set(Some(next));
                return WAITS | timeout.map_or(NEVER, |ns| ns.div_ceil(1000).min(NEVER - 1)) << 24;
            }
            Turn::Ended(status) => return ended(status),
        }
    }
}

fn ended(status: i32) -> u64 {
    ENDED | u64::from(status as u8) << 8
}

/// The TCP ports at which programs listen: the address of the numbers (16 bits each), and in the upper half how many there are. They
/// stay there until the next call.
pub fn ports() -> u64 {
    let ports = RUN.with_borrow_mut(|run| run.as_mut().map(|run| run.listening_ports()));
    PORTS.with_borrow_mut(|told| {
        *told = ports.unwrap_or_default();
        (told.as_ptr() as usize as u64) | (told.len() as u64) << 32
    })
}
