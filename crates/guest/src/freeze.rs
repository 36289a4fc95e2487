//! A running box that the host freezes: the machine is put where booting leaves it, and the host gets a look at all of memory.

use crate::exports::{DESK, LIFE};
use crate::stdio::Stdin;
use crate::{boot, wasi};
use machine::Machine;
use mux::freeze::{END, GO_ON, NOTHING, UNFIT, WHOLE};
use std::sync::atomic::Ordering::Relaxed;

/// A life begins, perhaps that of a copy.
pub fn begin() {
    LIFE.state.store(NOTHING, Relaxed);
}

/// Ends the life of the machine and lets the host take the state. The machine, and the status with which the box is to end, if it is:
/// otherwise its life goes on.
pub fn offer(mut machine: Machine, stdin: &Stdin) -> (Machine, Option<i32>) {
    LIFE.next.store(GO_ON, Relaxed);
    if let Err(unfit) = machine.end_life() {
        let text = unfit.to_string();
        LIFE.text.store(text.as_ptr() as usize as u32, Relaxed);
        LIFE.text_len.store(text.len() as u32, Relaxed);
        call(UNFIT);
        return (machine, None);
    }
    // In the copy nothing of this host is left: neither what it compiles, nor its descriptors.
    let listening = DESK.listening.swap(0, Relaxed);
    DESK.installs_len.store(0, Relaxed);
    let host = boot::leave_host(&mut machine);
    stdin.leave();
    boot::put(machine);
    call(WHOLE);
    let Some(mut machine) = boot::take() else { unreachable!("the machine was put there") };
    stdin.keep();
    DESK.listening.store(listening, Relaxed);
    machine.kernel().host = host;
    machine.live_on();
    let ends = LIFE.next.load(Relaxed) == END;
    (machine, ends.then(|| LIFE.status.load(Relaxed) as i32))
}

/// Lets the host come by.
fn call(state: u32) {
    LIFE.state.store(state, Relaxed);
    wasi::yield_to_host();
    LIFE.state.store(NOTHING, Relaxed);
}
