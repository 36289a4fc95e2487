//! What a host sees of this run, and what it asks of it, beside the calls that the run consists of ([`mux::watch`]).

use crate::exports::WATCH;
use crate::wasi;
use machine::{Machine, StopAt};
use mux::watch::{CALL, INSTRUCTION, LOG, STRACE};
use std::sync::atomic::Ordering::Relaxed;

/// A run begins. One that prints its system calls, or what is unknown, on standard error goes on doing that.
pub fn begin(prints: bool) {
    WATCH.retired.store(0, Relaxed);
    WATCH.calls.store(0, Relaxed);
    WATCH.stopped.store(0, Relaxed);
    if prints {
        WATCH.wants.fetch_and(!STRACE, Relaxed);
    }
}

pub fn executed(instructions: u64) {
    WATCH.retired.store(WATCH.retired.load(Relaxed).wrapping_add(instructions), Relaxed);
}

pub fn called() {
    WATCH.calls.store(WATCH.calls.load(Relaxed).wrapping_add(1), Relaxed);
}

/// Lets the machine stop where the host says.
///
/// # Errors
/// There is no such place.
pub fn apply(machine: &mut Machine) -> Result<(), String> {
    let (wants, until) = (WATCH.wants.load(Relaxed), WATCH.until.load(Relaxed));
    if wants & INSTRUCTION != 0 {
        machine.stop_at(StopAt::Instruction(until));
    }
    if wants & CALL != 0 {
        let name = WATCH.call.each_ref().map(|byte| byte.load(Relaxed));
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let number = match str::from_utf8(name) {
            Ok("") => None,
            name => {
                let name = name.map_err(|error| error.to_string())?;
                let number = machine.call_number(name);
                Some(number.ok_or_else(|| format!("there is no system call {name:?}"))?)
            }
        };
        machine.stop_at(StopAt::Call { number, nth: until });
    }
    Ok(())
}

/// Whether lines of `--strace` go to the host that asked for them.
pub fn logs() -> bool {
    WATCH.wants.load(Relaxed) & STRACE != 0
}

/// Writes a line there.
pub fn log(line: &str) {
    let line = [line, "\n"].concat();
    let mut rest = line.as_bytes();
    while let Ok(n @ 1..) = wasi::write(LOG, rest) {
        rest = rest.get(n..).unwrap_or_default();
    }
}

/// What the host asks for cannot be.
pub fn refuse(why: &str) {
    log(&format!("boxer: {why}"));
    WATCH.stopped.store(1, Relaxed);
}

/// The machine has come to where it was to stop.
pub fn stopped(machine: &mut Machine) {
    let (retired, calls) = (WATCH.retired.load(Relaxed), WATCH.calls.load(Relaxed));
    log(&format!("boxer: stopped at instruction {retired}, after {calls} system calls"));
    for line in machine.whereabouts() {
        log(&format!("boxer: {line}"));
    }
    WATCH.stopped.store(1, Relaxed);
}
