//! System calls with arbitrary arguments: whatever a guest passes, the kernel answers; it neither panics nor hangs.
//! `BOXER_FUZZ_ROUNDS` makes it longer, `BOXER_FUZZ_SEED` starts elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::Sys;
use kernel::{Flow, Sched};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ self.0 >> 29;
        x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 13
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Values that system calls are sensitive to.
fn argument(r: &mut Random, memory: u64) -> u64 {
    match r.below(16) {
        0 => 0,
        1 => r.below(8),
        2 => u64::MAX,
        3 => -100_i32 as u64,
        4 => 1 << r.below(64),
        5 => (1_u64 << r.below(64)).wrapping_sub(1),
        6 => memory + 4 * 4096 - r.below(24),
        7 => r.below(4096) * 4096,
        8 => 0x7fff_ffff_f000 - r.below(2) * 4096,
        9 => i32::MIN as u64,
        10 => r.next(),
        11 => 4096,
        12 => r.below(300),
        _ => memory + r.below(4 * 4096) / 8 * 8,
    }
}

/// Memory with plausible contents: pointers into itself, small numbers, paths.
fn fill(sys: &mut Sys, r: &mut Random, memory: u64) {
    const PATHS: [&[u8]; 8] = [
        b"/init\0",
        b"/dev/null\0",
        b"/tmp\0",
        b"/proc/self/fd/1\0",
        b"../../x\0",
        b"\0",
        b"/dev/ptmx\0",
        b"/proc/self/status\0",
    ];
    for _ in 0..64 {
        let at = memory + r.below(4 * 4096 - 64) / 8 * 8;
        let value = argument(r, memory);
        match r.below(3) {
            0 => sys.poke(at, PATHS[r.below(8) as usize]),
            _ => sys.poke64(at, value),
        }
    }
}

#[test]
fn arbitrary_calls() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let mut r = Random(number("BOXER_FUZZ_SEED", 1));
    let rounds = number("BOXER_FUZZ_ROUNDS", 200);
    let mut calls = 0;
    for round in 0..rounds {
        let mut sys = Sys::with_memory(24 << 20);
        let memory = sys.map(4 * 4096);
        fill(&mut sys, &mut r, memory);
        let mut trail = Trail(Vec::new());
        for _ in 0..400 {
            let mut nr = r.below(470);
            // Calls that end or park the only process are tried less often.
            if matches!(nr, 60 | 231 | 34 | 130 | 15 | 7 | 23 | 270 | 271) && r.below(8) != 0 {
                nr = 9;
            }
            let args: [u64; 6] = std::array::from_fn(|_| argument(&mut r, memory));
            trail.0.push((nr, args));
            calls += 1;
            let tid = sys.tid;
            let ctx = sys.k.context(tid);
            ctx.gpr[abi::RAX] = nr;
            for (slot, value) in [7, 6, 2, 10, 8, 9].into_iter().zip(args) {
                ctx.gpr[slot] = value;
            }
            if sys.k.syscall(tid) != Flow::Reschedule && r.below(8) != 0 {
                continue;
            }
            match settle(&mut sys) {
                Some(tid) => sys.tid = tid,
                None => break,
            }
            if r.below(16) == 0 && sys.k.mm.read_pod::<u64>(memory).is_ok() {
                sys.k.mm.write_pod(memory + r.below(2048) * 8, &r.next()).ok();
            }
        }
        trail.0.clear();
        assert!(sys.k.mm.phys.used_bytes() <= 24 << 20, "round {round}");
    }
    println!("{calls} calls in {rounds} rounds");
    assert!(calls / rounds >= 30, "most rounds end at once: {calls} calls");
}

/// Prints what led to a panic.
struct Trail(Vec<(u64, [u64; 6])>);

impl Drop for Trail {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (nr, args) in self.0.iter().rev().take(8).rev() {
                eprintln!("call {nr} {args:x?}");
            }
        }
    }
}

/// Lets time pass until some thread runs; `None` when the box ended or waits for ever.
fn settle(sys: &mut Sys) -> Option<kernel::ThreadId> {
    for _ in 0..10_000 {
        match sys.k.schedule() {
            Sched::Run(tid) => return Some(tid),
            // Centuries are as good as never.
            Sched::Idle { deadline: Some(at), .. } if at > 1 << 62 => return None,
            Sched::Idle { deadline: Some(at), .. } => {
                let now = sys.outside.clock.get();
                if at < now {
                    sys.advance(1);
                } else {
                    sys.outside.clock.set(at);
                }
            }
            Sched::Idle { .. } | Sched::Exited(_) => return None,
        }
    }
    panic!("the scheduler finds nobody and does not say so");
}
