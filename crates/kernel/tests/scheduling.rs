//! Scheduling: shares by nice value, and how long who was woken waits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::Sys;
use kernel::{Flow, Sched, ThreadId};

const READ: u64 = 0;
const WRITE: u64 = 1;
const PIPE: u64 = 22;
const NANOSLEEP: u64 = 35;
const SETPRIORITY: u64 = 141;
const MS: u64 = 1_000_000;

/// Who runs in each of so many slices of a millisecond in which nobody gives up the CPU.
fn slices(sys: &mut Sys, count: usize) -> Vec<ThreadId> {
    let one = |_| match sys.k.schedule() {
        Sched::Run(tid) => {
            sys.outside.clock.set(sys.outside.clock.get() + MS);
            sys.k.preempt(tid);
            tid
        }
        other => panic!("{other:?}"),
    };
    (0..count).map(one).collect()
}

/// Lets time pass until it is the turn of `tid`.
fn until(sys: &mut Sys, tid: ThreadId) {
    while sys.k.schedule() != Sched::Run(tid) {
        sys.advance(MS);
    }
    sys.tid = tid;
}

fn share(ran: &[ThreadId], tid: ThreadId) -> usize {
    ran.iter().filter(|t| **t == tid).count()
}

#[test]
fn equals_take_turns_and_nice_ones_get_less() {
    let mut sys = Sys::new();
    let (first, a, b) = (sys.tid, sys.fork(), sys.fork());
    let ran = slices(&mut sys, 300);
    for tid in [first, a, b] {
        assert!((99..=101).contains(&share(&ran, tid)), "{}", share(&ran, tid));
    }
    // Five steps are 1.25^5 = 3.06 (sched(7)): 1024 to 335.
    until(&mut sys, a);
    sys.ok(SETPRIORITY, &[0, 0, 5]);
    let ran = slices(&mut sys, 1000);
    let (equal, less) = (share(&ran, first), share(&ran, a));
    assert!(equal.abs_diff(share(&ran, b)) <= 2);
    assert!((295..=315).contains(&(equal * 100 / less)), "{equal} to {less}");
}

#[test]
fn who_is_woken_goes_before_who_woke_it() {
    let mut sys = Sys::new();
    let (parent, buffer) = (sys.tid, sys.map(4096));
    sys.ok(PIPE, &[buffer]);
    let (read, write) = (u64::from(sys.peek32(buffer)), u64::from(sys.peek32(buffer + 4)));
    let (child, other) = (sys.fork(), sys.fork());
    until(&mut sys, child);
    sys.blocks(READ, &[read, buffer, 1]);
    slices(&mut sys, 20);
    until(&mut sys, parent);
    sys.advance(MS);
    let ctx = sys.k.context(parent);
    ctx.gpr[abi::RAX] = WRITE;
    for (slot, value) in [7, 6, 2].into_iter().zip([write, buffer, 1]) {
        ctx.gpr[slot] = value;
    }
    assert_eq!(sys.k.syscall(parent), Flow::Share);
    assert_eq!(sys.k.schedule(), Sched::Run(child), "before {other}, which has waited, too");
    sys.tid = child;
    assert_eq!(sys.rax(), 1);
    // A write that wakes nobody.
    until(&mut sys, parent);
    sys.k.context(parent).gpr[abi::RAX] = WRITE;
    assert_eq!(sys.k.syscall(parent), Flow::Continue);
}

#[test]
fn who_slept_long_does_not_keep_others_from_running() {
    let mut sys = Sys::new();
    let (parent, buffer) = (sys.tid, sys.map(4096));
    let child = sys.fork();
    until(&mut sys, child);
    sys.poke64(buffer, 10);
    sys.blocks(NANOSLEEP, &[buffer, 0]);
    let ran = slices(&mut sys, 10_020);
    let woke = ran.iter().position(|t| *t == child).unwrap();
    assert!((9_995..=10_002).contains(&woke), "{woke}");
    assert!(ran[..woke].iter().all(|t| *t == parent));
    assert!(ran[woke..woke + 5].contains(&parent), "{:?}", &ran[woke..woke + 8]);
}

#[test]
fn who_yields_goes_behind_all_others() {
    let mut sys = Sys::new();
    let (parent, a, b) = (sys.tid, sys.fork(), sys.fork());
    slices(&mut sys, 6);
    until(&mut sys, parent);
    for _ in 0..3 {
        assert_eq!(sys.try_call(24, &[]), None, "sched_yield");
        let mut order = slices(&mut sys, 2);
        order.sort();
        assert_eq!(order, [a, b]);
        until(&mut sys, parent);
    }
}
