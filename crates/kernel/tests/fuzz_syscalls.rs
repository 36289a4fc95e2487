//! Sequences of system calls with plausible and hostile arguments, made by several processes and threads that share
//! descriptors, memory, queues and semaphores: the kernel answers each; it neither panics nor hangs nor grows.
//!
//! A short slice runs with the other tests. `cargo xtask fuzz-syscalls --inputs N --seed S` makes N calls;
//! `BOXER_FUZZ_INPUTS` and `BOXER_FUZZ_SEED` say the same to this test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::Sys;
use kernel::syscall::table::{self, Arg, Level, Row};
use kernel::{Flow, Sched, ThreadId};

/// Guest memory of a round.
const MEMORY: u64 = 32 << 20;
/// Bytes of the arena that arguments point into.
const ARENA: u64 = 16 * 4096;
/// Calls before everything starts anew.
const ROUND: u64 = 3000;
/// Most memory of the test itself, in bytes: what the guest makes the kernel keep counts here.
const RESIDENT_MAX: u64 = 2 << 30;
/// How long one call may take before it counts as a hang, in seconds.
const PATIENCE: u64 = 60;

/// Calls that end or replace the thread, or wait for ever: made seldom.
const FINAL: &[&str] = &[
    "exit",
    "exit_group",
    "execve",
    "execveat",
    "pause",
    "rt_sigsuspend",
    "rt_sigreturn",
    "kill",
    "tkill",
    "tgkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "setrlimit",
    "prlimit64",
    "munmap",
    "vfork",
];
/// Calls that are worth more attention than their share: they make what others use.
const MAKERS: &[&str] = &[
    "openat",
    "open",
    "pipe2",
    "socketpair",
    "socket",
    "eventfd2",
    "timerfd_create",
    "signalfd4",
    "epoll_create1",
    "epoll_ctl",
    "memfd_create",
    "mmap",
    "clone",
    "fork",
    "shmget",
    "shmat",
    "semget",
    "semop",
    "semtimedop",
    "msgget",
    "msgsnd",
    "msgrcv",
    "mq_open",
    "mq_timedsend",
    "mq_timedreceive",
    "pidfd_open",
    "io_setup",
    "io_submit",
    "io_getevents",
    "futex",
    "inotify_add_watch",
    "dup3",
    "sendmsg",
    "recvmsg",
    "write",
    "read",
];

/// What was called with which arguments.
type Calls = Vec<(&'static str, [u64; 6])>;

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
    fn one<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

const PATHS: &[&str] = &[
    "/tmp/a",
    "/tmp/b",
    "/tmp",
    "/tmp/d/e",
    "/tmp/d",
    "/dev/null",
    "/dev/ptmx",
    "/dev/shm/s",
    "/dev/mqueue/q",
    "q",
    "boxer",
    "/proc/self/status",
    "/proc/self/fd/3",
    "/proc/sysvipc/shm",
    "/proc/self/maps",
    "/dev/tty",
    "/init",
    "/tmp/fifo",
    "/tmp/sock",
    "..",
    ".",
    "",
    "/dev/pts/0",
    "/proc/self/fdinfo/4",
    "/proc/1/mem",
    "/etc/hosts",
    "user.x",
    "user.y",
];
/// Where in the arena the paths lie, 64 bytes each.
const PATHS_AT: u64 = 8 * 4096;

/// A value without regard to its type.
fn any(r: &mut Random, arena: u64) -> u64 {
    match r.below(16) {
        0 => 0,
        1 => r.below(8),
        2 => u64::MAX,
        3 => -100_i32 as u64,
        4 => 1 << r.below(64),
        5 => (1_u64 << r.below(64)).wrapping_sub(1),
        6 => arena + ARENA - r.below(24),
        7 => r.below(4096) * 4096,
        8 => 0x7fff_ffff_f000 - r.below(2) * 4096,
        9 => i32::MIN as u64,
        10 => r.next(),
        11 => 4096,
        12 => r.below(300),
        _ => arena + r.below(ARENA) / 8 * 8,
    }
}

fn small(r: &mut Random) -> u64 {
    match r.below(8) {
        0 => 0,
        1 => r.below(5000),
        2 => u64::MAX,
        3 => 8,
        _ => r.below(40),
    }
}

/// What earlier calls gave.
#[derive(Default)]
struct Known {
    /// Identifiers of processes, segments, sets, queues.
    ids: Vec<u64>,
    /// Descriptors of each kind of object.
    fds: Vec<u64>,
    /// Addresses of mappings, segments and rings.
    places: Vec<u64>,
}

impl Known {
    fn learn(&mut self, r: &mut Random, sys: &mut Sys, row: &Row, args: &[u64; 6], value: u64) {
        let (list, value) = match row.name {
            "fork" | "clone" | "shmget" | "semget" | "msgget" | "timer_create" => {
                (&mut self.ids, value)
            }
            "mmap" | "shmat" | "mremap" => (&mut self.places, value),
            "io_setup" => (&mut self.places, sys.k.mm.read_pod(args[1]).unwrap_or(0)),
            "inotify_add_watch" => (&mut self.ids, value),
            name if MAKERS.contains(&name) && (3..64).contains(&value) => (&mut self.fds, value),
            _ => return,
        };
        match list.get_mut(r.below(24) as usize) {
            Some(slot) => *slot = value,
            None => list.push(value),
        }
    }
}

/// A value as the type asks for it.
fn plausible(r: &mut Random, kind: Arg, arena: u64, known: &Known) -> u64 {
    let ids = &known.ids;
    match kind {
        Arg::Fd if r.below(2) == 0 && !known.fds.is_empty() => *r.one(&known.fds),
        Arg::Fd => r.below(24),
        Arg::Ptr | Arg::Hex if r.below(6) == 0 && !known.places.is_empty() => *r.one(&known.places),
        Arg::DirFd if r.below(3) == 0 => r.below(24),
        Arg::DirFd => -100_i32 as u64,
        Arg::Path => arena + PATHS_AT + r.below(PATHS.len() as u64) * 64,
        Arg::Signal => r.below(66),
        Arg::Mode => *r.one(&[0o644, 0o755, 0o600, 0o7777, 0]),
        Arg::Flags(names) => {
            let mut value = 0;
            for _ in 0..r.below(4) {
                value |= r.one(names).0;
            }
            value
        }
        Arg::Enum(names) => r.one(names).0,
        Arg::Int if r.below(3) == 0 => *r.one(ids),
        // Levels and options of sockets, families, commands.
        Arg::Int if r.below(3) == 0 => {
            *r.one(&[1, 2, 3, 6, 7, 9, 10, 16, 17, 41, 58, 0x801, 0x80002])
        }
        Arg::Int | Arg::Long => small(r),
        Arg::Size => *r.one(&[
            0,
            1,
            4,
            8,
            16,
            24,
            24,
            32,
            64,
            110,
            128,
            4096,
            8192,
            65536,
            1 << 20,
            u64::MAX,
        ]),
        Arg::Hex => match r.below(4) {
            0 => 1 << r.below(32),
            1 => 0o1600,
            _ => small(r),
        },
        _ => match r.below(8) {
            0 => 0,
            _ => arena + r.below(ARENA - 256) / 8 * 8,
        },
    }
}

/// Fills the arena: paths in their place, elsewhere small numbers, pointers, times and records.
fn fill(sys: &mut Sys, r: &mut Random, arena: u64, whole: bool) {
    if whole {
        for (i, path) in PATHS.iter().enumerate() {
            let mut bytes = [0; 64];
            bytes[..path.len()].copy_from_slice(path.as_bytes());
            let _ = sys.k.mm.write_user(arena + PATHS_AT + i as u64 * 64, &bytes);
        }
    }
    for _ in 0..if whole { 400 } else { 24 } {
        let at = arena + r.below(PATHS_AT - 256) / 8 * 8;
        let words: Vec<u64> = match r.below(8) {
            // timespec, itimerspec
            0 => vec![r.below(3), r.below(1_000_000_000), 0, r.below(1000)],
            // iovec
            1 => vec![arena + r.below(ARENA), r.below(9000), arena + r.below(ARENA), r.below(64)],
            // pollfd, epoll_event
            2 => vec![r.below(20) | 5 << 32, r.below(20) | 1 << 32],
            // sembuf
            3 => vec![r.below(3) | (r.next() & 0xf) << 16 | (r.next() & 0x1800) << 32, r.next()],
            // iocb
            4 => vec![
                r.next(),
                0,
                r.below(9) | r.below(20) << 32,
                arena + r.below(ARENA),
                r.below(5000),
                r.below(9000),
            ],
            // sockaddr of each family
            5 => vec![
                *r.one(&[1, 2, 10, 16, 17]) | r.below(65536) << 16 | 0x0100_007f << 32,
                r.next(),
            ],
            // pointers
            6 => (0..4).map(|_| arena + r.below(ARENA) / 8 * 8).collect(),
            _ => (0..3).map(|_| any(r, arena)).collect(),
        };
        for (i, word) in words.iter().enumerate() {
            let _ = sys.k.mm.write_pod(at + i as u64 * 8, word);
        }
    }
}

/// Lets time pass until some thread runs; `None` when the box ended or waits for ever.
fn settle(sys: &mut Sys) -> Option<ThreadId> {
    for _ in 0..10_000 {
        match sys.k.schedule() {
            Sched::Run(tid) => return Some(tid),
            Sched::Idle { deadline: Some(at), .. } if at > 1 << 62 => return None,
            Sched::Idle { deadline: Some(at), .. } => {
                let now = sys.outside.clock.get();
                sys.outside.clock.set(at.max(now + 1));
            }
            Sched::Idle { .. } | Sched::Exited(_) => return None,
        }
    }
    panic!("the scheduler finds nobody and does not say so");
}

/// What is being tried, for the watchdog and for a panic.
struct Trail {
    calls: Arc<Mutex<Calls>>,
    seed: u64,
}

impl Trail {
    fn print(calls: &[(&'static str, [u64; 6])], seed: u64) {
        eprintln!("round with seed {seed}; the last calls:");
        for (name, args) in calls.iter().rev().take(12).rev() {
            eprintln!("  {name} {args:x?}");
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(calls) = self.calls.lock()
        {
            Trail::print(&calls, self.seed);
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Bytes resident of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[test]
fn sequences() {
    let inputs = number("BOXER_FUZZ_INPUTS", 150_000);
    let mut seed = number("BOXER_FUZZ_SEED", 1);
    let rows: Vec<&'static Row> = table::all().collect();
    let makers: Vec<&'static Row> =
        rows.iter().copied().filter(|r| MAKERS.contains(&r.name)).collect();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let beat = Arc::new(AtomicU64::new(0));
    watch(calls.clone(), beat.clone());
    let mut made = 0;
    // How often each call was made, and how often it succeeded.
    let mut met = vec![(0_u64, 0_u64); table::NUMBERS];
    while made < inputs {
        let trail = Trail { calls: calls.clone(), seed };
        calls.lock().unwrap().clear();
        made += round(&rows, &makers, seed, &calls, &beat, &mut met);
        drop(trail);
        seed = seed.wrapping_add(1);
        let bytes = resident();
        assert!(bytes < RESIDENT_MAX, "{} MiB resident after seed {seed}", bytes >> 20);
    }
    let missed: Vec<_> =
        rows.iter().filter(|r| met[r.nr as usize].0 == 0).map(|r| r.name).collect();
    let vain = rows.iter().filter(|r| r.level != Level::Refused && met[r.nr as usize].1 == 0);
    println!("never with success: {:?}", vain.map(|r| r.name).collect::<Vec<_>>());
    println!("{made} calls; next seed {seed}; {} MiB resident", resident() >> 20);
    assert!(missed.is_empty(), "never made: {missed:?}");
}

/// Ends the test when one call takes too long.
fn watch(calls: Arc<Mutex<Calls>>, beat: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let mut last = u64::MAX;
        loop {
            std::thread::sleep(Duration::from_secs(PATIENCE));
            let now = beat.load(Ordering::Relaxed);
            if now == last {
                if let Ok(calls) = calls.lock() {
                    Trail::print(&calls, 0);
                }
                eprintln!("no call ended in {PATIENCE} s");
                std::process::abort();
            }
            last = now;
        }
    });
}

/// One kernel's life: how many calls were made.
fn round(
    rows: &[&'static Row],
    makers: &[&'static Row],
    seed: u64,
    calls: &Mutex<Calls>,
    beat: &AtomicU64,
    met: &mut [(u64, u64)],
) -> u64 {
    let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut sys = Sys::with_memory(MEMORY);
    for dir in ["/tmp", "/etc"] {
        harness::put_file(&mut sys.k, &format!("{dir}/a"), b"some text\n", 0o644);
    }
    let arena = sys.map(ARENA);
    // Shared, so that children see what others do to words and buffers.
    sys.ok(9, &[arena, ARENA, 3, 0x31, u64::MAX, 0]);
    fill(&mut sys, &mut r, arena, true);
    let mut known = Known { ids: vec![0, 1, 2, 3, 4, 64, 65], ..Known::default() };
    let mut made = 0;
    while made < ROUND {
        let row = if r.below(3) == 0 { r.one(makers) } else { r.one(rows) };
        if FINAL.contains(&row.name) && r.below(24) != 0 {
            continue;
        }
        let args: [u64; 6] = std::array::from_fn(|i| match row.args.get(i) {
            Some((_, kind)) if r.below(8) != 0 => plausible(&mut r, *kind, arena, &known),
            Some(_) => any(&mut r, arena),
            None => r.below(3),
        });
        calls.lock().unwrap().push((row.name, args));
        made += 1;
        met[row.nr as usize].0 += 1;
        beat.fetch_add(1, Ordering::Relaxed);
        let tid = sys.tid;
        let ctx = sys.k.context(tid);
        ctx.gpr[abi::RAX] = row.nr;
        for (slot, value) in [7, 6, 2, 10, 8, 9].into_iter().zip(args) {
            ctx.gpr[slot] = value;
        }
        let flow = sys.k.syscall(tid);
        if flow != Flow::Reschedule {
            let value = sys.k.context(tid).gpr[abi::RAX];
            met[row.nr as usize].1 += u64::from((value as i64) >= 0 || (value as i64) < -4095);
            if !(-4095..0).contains(&(value as i64)) {
                known.learn(&mut r, &mut sys, row, &args, value);
            }
            if r.below(4) != 0 {
                continue;
            }
        }
        if r.below(8) == 0 {
            sys.k.preempt(tid);
        }
        match settle(&mut sys) {
            Some(tid) => sys.tid = tid,
            None => break,
        }
        fill(&mut sys, &mut r, arena, false);
    }
    assert!(sys.k.mm.phys.used_bytes() <= MEMORY, "seed {seed}");
    made
}
