//! A snapshot ends a life of the box, and each start of it begins another (`kernel::moments`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::cell::Cell;
use std::rc::Rc;

use abi::Errno;
use harness::Sys;
use kernel::Host;
use kernel::moments::{Beginning, By, Fate, TABLE, Unfit};

const SECOND: u64 = 1_000_000_000;

/// The host of another life: its own clocks and its own chance.
struct Other {
    monotonic: Rc<Cell<u64>>,
    ahead: u64,
    realtime: u64,
    chance: u64,
}

impl Host for Other {
    fn clock_realtime(&self) -> u64 {
        self.realtime + self.monotonic.get()
    }
    fn clock_monotonic(&self) -> u64 {
        self.ahead.wrapping_add(self.monotonic.get())
    }
    fn continue_at(&mut self, monotonic: u64) {
        self.ahead = monotonic.wrapping_sub(self.monotonic.get());
    }
    fn random(&mut self, buf: &mut [u8]) {
        for byte in buf {
            self.chance = self.chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(7);
            *byte = (self.chance >> 56) as u8;
        }
    }
    fn stdin_read(&mut self, _: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::EAGAIN)
    }
    fn stdin_ready(&mut self) -> bool {
        false
    }
    fn stdout_write(&mut self, buf: &[u8]) -> Result<usize, Errno> {
        Ok(buf.len())
    }
    fn stderr_write(&mut self, buf: &[u8]) -> Result<usize, Errno> {
        Ok(buf.len())
    }
}

/// Ends the life and begins another so much later, on a host whose monotonic clock begins anew.
fn next_life(sys: &mut Sys, later: u64, chance: u8, beginning: &Beginning) -> Rc<Cell<u64>> {
    sys.k.end_life().unwrap();
    let realtime = sys.k.host.clock_realtime() + later;
    let monotonic = Rc::new(Cell::new(0));
    sys.k.host =
        Box::new(Other { monotonic: monotonic.clone(), ahead: 0, realtime, chance: chance.into() });
    sys.k.begin_life(beginning);
    monotonic
}

fn clock(sys: &mut Sys, at: u64, id: u64) -> u64 {
    sys.ok(228, &[id, at]);
    sys.peek64(at) * SECOND + sys.peek64(at + 8)
}

fn read(sys: &mut Sys, at: u64, path: &str) -> Vec<u8> {
    let name = sys.string(path);
    let fd = sys.ok(2, &[name, 0]);
    let n = sys.ok(0, &[fd, at, 2048]);
    sys.ok(3, &[fd]);
    let mut bytes = vec![0; n as usize];
    sys.k.mm.read_user(at, &mut bytes).unwrap();
    bytes
}

#[test]
fn monotonic_time_goes_on_and_realtime_jumps() {
    let mut sys = Sys::new();
    let at = sys.map(4096);
    let before = [0, 1, 7].map(|id| clock(&mut sys, at, id));
    assert_eq!(before[1], before[2]);
    let monotonic = next_life(&mut sys, 100 * SECOND, 1, &Beginning::default());
    monotonic.set(SECOND);
    let after = [0, 1, 7].map(|id| clock(&mut sys, at, id));
    let passed = [0, 1, 2].map(|n| (after[n] - before[n]) / SECOND);
    assert_eq!(passed, [101, 1, 101]);
}

#[test]
fn timers_go_on_as_over_a_suspend() {
    const NONBLOCK: u64 = 0o4000;
    let mut sys = Sys::new();
    let at = sys.map(4096);
    // Ten seconds on CLOCK_REALTIME, CLOCK_MONOTONIC and CLOCK_BOOTTIME; and a time of CLOCK_REALTIME.
    let realtime = clock(&mut sys, at, 0) / SECOND + 10;
    let timers =
        [(0, 0, 10), (1, 0, 10), (7, 0, 10), (0, 1, realtime)].map(|(id, absolute, value)| {
            let fd = sys.ok(283, &[id, NONBLOCK]);
            for (place, word) in [(0, 0), (8, 0), (16, value), (24, 0)] {
                sys.poke64(at + place, word);
            }
            sys.ok(286, &[fd, absolute, at, 0]);
            fd
        });
    let monotonic = next_life(&mut sys, 60 * SECOND, 1, &Beginning::default());
    let expired = |sys: &mut Sys| timers.map(|fd| sys.call(0, &[fd, at, 8]) == 8);
    assert_eq!(expired(&mut sys), [false, false, true, true]);
    monotonic.set(11 * SECOND);
    assert_eq!(expired(&mut sys), [true, true, false, false]);
}

#[test]
fn who_sleeps_until_a_time_of_day_wakes_when_it_is_over() {
    let mut sys = Sys::new();
    let at = sys.map(4096);
    let until = clock(&mut sys, at, 0) + 30 * SECOND;
    sys.poke64(at, until / SECOND);
    sys.poke64(at + 8, until % SECOND);
    sys.blocks(230, &[0, 1, at, 0]);
    next_life(&mut sys, 40 * SECOND, 1, &Beginning::default());
    let tid = sys.tid;
    sys.run(tid);
    assert_eq!(sys.rax(), 0);
}

#[test]
fn lives_share_no_randomness_and_know_their_number() {
    let mut sys = Sys::new();
    let at = sys.map(4096);
    let mut seen = std::collections::BTreeSet::new();
    assert_eq!(read(&mut sys, at, "/dev/boxer/snapshot").first(), Some(&b'0'));
    for life in 1..20_u8 {
        next_life(&mut sys, SECOND, life.wrapping_mul(11).wrapping_add(3), &Beginning::default());
        let text = String::from_utf8(read(&mut sys, at, "/dev/boxer/snapshot")).unwrap();
        let (number, id) = text.trim_end().split_once('\n').unwrap();
        assert_eq!(number, life.to_string());
        assert_eq!(id.len(), 32);
        assert!(seen.insert(id.to_owned()), "life {life} has the number of another");
        // random(4): boot_id is the same at each reading, and uuid never.
        let mut random = |name| read(&mut sys, at, &format!("/proc/sys/kernel/random/{name}"));
        let boot = random("boot_id");
        assert_eq!(random("boot_id"), boot);
        for uuid in [boot, random("uuid"), random("uuid")] {
            assert!(seen.insert(String::from_utf8(uuid).unwrap()), "life {life} shares a UUID");
        }
        sys.ok(318, &[at, 16, 0]);
        let word = format!("{:x}", sys.peek64(at));
        assert!(seen.insert(word), "life {life} shares a random number");
    }
}

#[test]
fn a_program_asks_for_the_snapshot_and_goes_on_in_the_next_life() {
    let mut sys = Sys::new();
    let at = sys.map(4096);
    let name = sys.string("/dev/boxer/snapshot");
    let fd = sys.ok(2, &[name, 2]);
    // Without a snapshot to come it does nothing.
    assert_eq!(sys.call(1, &[fd, at, 5]), 5);
    sys.k.expect_snapshot();
    assert!(!sys.k.snapshot_asked());
    sys.blocks(1, &[fd, at, 5]);
    assert!(sys.k.snapshot_asked());
    next_life(&mut sys, SECOND, 1, &Beginning::default());
    assert!(!sys.k.snapshot_asked());
    let tid = sys.tid;
    sys.run(tid);
    assert_eq!(sys.rax(), 5);
    // Nothing comes after it.
    assert_eq!(sys.call(1, &[fd, at, 5]), 5);
}

#[test]
fn the_new_environment_is_seen_by_programs_executed_from_now_on() {
    let mut sys = Sys::new();
    let at = sys.map(4096);
    let env = [&b"HOME=/other"[..], b"PATH=/new", b"MORE=1"].map(<[u8]>::to_vec).to_vec();
    next_life(&mut sys, SECOND, 1, &Beginning { env, ..Beginning::default() });
    assert_eq!(read(&mut sys, at, "/dev/boxer/env"), b"HOME=/other\0PATH=/new\0MORE=1\0");
    // PATH is as the first program had it, HOME is a choice.
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let (name, path, home) = (sys.string("/init"), sys.string(path), sys.string("HOME=/mine"));
    for (place, word) in [(0, name), (8, 0), (16, path), (24, home), (32, 0)] {
        sys.poke64(at + place, word);
    }
    sys.try_call(59, &[name, at, at + 16]);
    let tid = sys.tid;
    sys.run(tid);
    let stack = sys.k.context(tid).gpr[4];
    // argc, one argument and its end.
    let strings = (0..).map(|n| sys.peek64(stack + 24 + 8 * n)).take_while(|va| *va != 0);
    let strings: Vec<u64> = strings.collect();
    let text = |va| String::from_utf8(sys.k.mm.read_cstr(va, 4096).unwrap()).unwrap();
    let found: Vec<String> = strings.into_iter().map(text).collect();
    assert_eq!(found, ["PATH=/new", "HOME=/mine", "MORE=1"]);
}

#[test]
fn what_programs_leave_stays_when_they_are_ended() {
    let (mut k, outside) = Sys::kernel(64 << 20);
    let spec = || kernel::StartSpec { argv: vec![b"/init".to_vec()], ..Default::default() };
    let tid = k.start(spec()).unwrap();
    let used = k.mm.phys.used_bytes();
    let mut sys = Sys { k, tid, outside };
    sys.run(tid);
    let name = sys.string("/left");
    sys.ok(85, &[name, 0o644]);
    for _ in 0..3 {
        sys.fork();
    }
    sys.k.end_programs();
    assert!(!sys.k.has_programs());
    next_life(&mut sys, SECOND, 1, &Beginning::default());
    assert!(sys.k.has_file(b"/left"));
    sys.tid = sys.k.start(spec()).unwrap();
    assert_eq!(sys.tid.0, 1);
    assert!(sys.k.mm.phys.used_bytes() <= used + (64 << 10), "memory of ended programs stays");
    let tid = sys.tid;
    sys.run(tid);
    assert_eq!(sys.ok(39, &[]), 1);
}

#[test]
fn host_directories_go_unless_somebody_holds_a_file_there() {
    let mut sys = Sys::new();
    let root = sys.k.root.clone();
    let mut cx = kernel::fs::Cx::new(&mut sys.k, kernel::fs::Cred::root());
    let inode = kernel::fs::hostfs::root(99, kernel::HostFd(3));
    let spec = kernel::mounts::Spec {
        fstype: kernel::mounts::HOST_FILES,
        source: "host",
        root: "/".to_owned(),
        flags: 0,
        options: "",
        magic: 0,
        dev: 99,
    };
    let kind = kernel::fs::Kind::Dir;
    kernel::mounts::mount_at(&mut cx, &root, b"/host", kind, inode, spec).unwrap();
    drop(cx);
    let mounted = |sys: &Sys| {
        let mounts = sys.k.shared.mounts.borrow();
        mounts.iter().filter(|root| root.mount().fstype == kernel::mounts::HOST_FILES).count()
    };
    let name = sys.string("/host");
    let fd = sys.ok(2, &[name, 0o10_000_000]); // O_PATH: this host lists nothing
    assert_eq!(sys.k.end_life(), Err(Unfit::HostFiles(vec!["/host".to_owned()])));
    assert!(!sys.k.is_between_lives());
    sys.ok(3, &[fd]);
    // A life that goes on keeps it.
    assert_eq!(sys.k.end_life(), Ok(()));
    assert!(sys.k.is_between_lives());
    sys.k.live_on();
    assert!(!sys.k.is_between_lives() && mounted(&sys) == 1);
    next_life(&mut sys, SECOND, 1, &Beginning::default());
    assert_eq!(mounted(&sys), 0);
    assert!(sys.k.has_file(b"/host"), "the place where it was mounted stays");
}

/// What stands around the table in `docs/snapshots.md`.
const MARKS: (&str, &str) = ("<!-- table -->\n", "<!-- end of the table -->\n");

#[test]
fn the_page_has_the_table_of_the_kernel() {
    let path = "../../docs/snapshots.md";
    let page = std::fs::read_to_string(path).unwrap();
    let (head, rest) = page.split_once(MARKS.0).expect("the mark before the table");
    let (found, tail) = rest.split_once(MARKS.1).expect("the mark behind the table");
    let mut table = String::from("| state | when the box starts | by | |\n|---|---|---|---|\n");
    for row in TABLE {
        let fate = match row.fate {
            Fate::Kept => "kept",
            Fate::New => "new",
            Fate::GoesOn => "goes on",
            Fate::Dropped => "dropped at the snapshot",
            Fate::Reset => "reset",
            Fate::Refused => "refused",
        };
        let by = match row.by {
            By::Memory => "–",
            By::Kernel(_) | By::End(_) => "kernel",
            By::Machine => "machine",
            By::Guest => "guest program",
            By::Build => "build",
        };
        table += &format!("| {} | {fate} | {by} | {} |\n", row.state, row.note);
    }
    if std::env::var_os("BOXER_BLESS").is_some() {
        let (before, after) = MARKS;
        std::fs::write(path, format!("{head}{before}{table}{after}{tail}")).unwrap();
    } else {
        assert!(found == table, "docs/snapshots.md is stale: BOXER_BLESS=1 writes it");
    }
}
