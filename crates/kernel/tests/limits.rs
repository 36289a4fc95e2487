//! Limits of the box and of processes: memory, files, tasks, time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use abi::Errno;
use harness::Sys;
use kernel::Sched;
use mem::Access;
use rootfs::limits::Limits;

const MMAP: u64 = 9;
const WAIT4: u64 = 61;
const ANY: u64 = u64::MAX;
const NONE: u64 = u64::MAX;
/// `MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE`
const LAZY: u64 = 0x4022;

/// Touches pages from `at` on as a program does, until the thread no longer runs; the number of pages.
fn touch_all(sys: &mut Sys, at: u64, pages: u64) -> u64 {
    for page in 0..pages {
        let va = at + page * 4096;
        if let Err(fault) = sys.k.mm.translate_for_program(va, Access::Write) {
            sys.k.fault(sys.tid, fault);
            return page;
        }
    }
    pages
}

#[test]
fn the_largest_process_is_killed_and_the_others_live() {
    let mut sys = Sys::with_memory(8 << 20);
    let parent = sys.tid;
    let status = sys.map(4096);
    sys.poke64(status, 0);
    let hog = sys.fork();
    sys.run(hog);
    let a = sys.ok(MMAP, &[0, 64 << 20, 3, LAZY, NONE, 0]);
    let pages = touch_all(&mut sys, a, 64 << 8);
    assert!((1000..2048).contains(&pages), "{pages}");
    sys.run(parent);
    assert_eq!(sys.ok(WAIT4, &[ANY, status, 0, 0]), u64::from(hog.0));
    assert_eq!(sys.peek32(status) & 0x7f, 9);
    let log = sys.outside.log.borrow().join("\n");
    assert!(log.contains(&format!("out of memory: killed process {hog} (init)")), "{log}");
    // All of it is there again.
    let b = sys.ok(MMAP, &[0, 6 << 20, 3, LAZY, NONE, 0]);
    assert_eq!(touch_all(&mut sys, b, 1000), 1000);
}

#[test]
fn a_system_call_without_memory_kills_the_largest_too_and_the_adjustment_counts() {
    let mut sys = Sys::with_memory(8 << 20);
    let parent = sys.tid;
    let small = sys.fork();
    sys.run(small);
    let path = sys.string("/proc/self/oom_score_adj");
    let fd = sys.ok(2, &[path, 1, 0]);
    let text = sys.string("1000");
    assert_eq!(sys.ok(1, &[fd, text, 4]), 4);
    let lower = sys.string("-1");
    assert_eq!(sys.err(1, &[fd, lower, 2]), Errno::EACCES, "needs CAP_SYS_RESOURCE");
    sys.run(parent);
    let a = sys.ok(MMAP, &[0, 64 << 20, 3, LAZY, NONE, 0]);
    touch_all(&mut sys, a, 64 << 8);
    // The parent has most, but the child asked to go first.
    assert_eq!(sys.ok(WAIT4, &[ANY, 0, 1, 0]), u64::from(small.0));
    let more = sys.ok(MMAP, &[0, 64 << 20, 3, LAZY, NONE, 0]);
    sys.try_call(318, &[more, 1 << 20, 0]);
    // Until memory is used up, or the caller was the largest and is gone.
    let lives =
        |sys: &Sys| sys.k.tasks.thread(parent).is_some_and(|t| t.run != kernel::task::Run::Dead);
    while lives(&sys) && sys.k.mm.phys.account().room(mem::Purpose::Programs) > 1 << 20 {
        sys.try_call(318, &[more, 64 << 20, 0]);
    }
}

#[test]
fn a_full_file_system_is_enospc_and_leaves_programs_alone() {
    let mut sys = Sys::with_memory(16 << 20);
    sys.k.set_limits(Limits { storage: Some(2 << 20), ..Limits::default() });
    let path = sys.string("/file");
    let fd = sys.ok(2, &[path, 0o102, 0o644]);
    let buf = sys.map(1 << 20);
    let mut written = 0;
    let error = loop {
        match sys.call(1, &[fd, buf, 1 << 20]) {
            n if n > 0 => written += n,
            n => break Errno::from_raw(-n as i32),
        }
    };
    assert_eq!(error, Some(Errno::ENOSPC));
    assert!(sys.k.usage().met.storage > 0);
    assert!((1 << 20..2 << 20).contains(&written), "{written}");
    let a = sys.map(8 << 20);
    assert_eq!(touch_all(&mut sys, a, 2000), 2000);
    // A shared mapping of what has no room is SIGBUS, not the end of somebody else.
    sys.ok(77, &[fd, 4 << 20]);
    let shared = sys.ok(MMAP, &[0, 4 << 20, 3, 1, fd, 0]);
    let fault = sys.k.mm.translate_for_program(shared + (3 << 20), Access::Write).unwrap_err();
    assert_eq!(fault.kind, mem::FaultKind::PastEnd);
    sys.ok(77, &[fd, 0]);
    assert_eq!(sys.ok(1, &[fd, buf, 4096]), 4096, "room again");
}

#[test]
fn names_and_inodes_are_counted() {
    let mut sys = Sys::with_memory(16 << 20);
    sys.k.set_limits(Limits { storage: Some(1 << 20), ..Limits::default() });
    let path = sys.map(4096);
    let mut made = 0;
    loop {
        sys.poke(path, format!("/f{made:0200}\0").as_bytes());
        match sys.call(2, &[path, 0o101, 0o644]) {
            fd if fd >= 0 => sys.ok(3, &[fd as u64]),
            n => break assert_eq!(Errno::from_raw(-n as i32), Some(Errno::ENOSPC)),
        };
        made += 1;
    }
    assert!((500..3000).contains(&made), "{made}");
    sys.poke(path, format!("/f{:0200}\0", 0).as_bytes());
    sys.ok(87, &[path]);
    sys.poke(path, b"/again\0");
    sys.ok(2, &[path, 0o101, 0o644]);
}

#[test]
fn a_fork_bomb_ends_in_eagain() {
    let mut sys = Sys::new();
    sys.k.set_limits(Limits { pids: Some(10), ..Limits::default() });
    for _ in 0..9 {
        sys.fork();
    }
    assert_eq!(sys.err(57, &[]), Errno::EAGAIN);
    assert_eq!(sys.err(56, &[0x1_0f00, 0, 0, 0, 0]), Errno::EAGAIN, "threads too");
    assert_eq!(sys.k.usage().met.threads, 2);
}

#[test]
fn descriptors_end_in_enfile_when_memory_does() {
    let mut sys = Sys::with_memory(4 << 20);
    let limit = sys.map(4096);
    sys.poke64(limit, 524_288);
    sys.poke64(limit + 8, 524_288);
    sys.ok(160, &[7, limit]);
    assert_eq!(sys.err(33, &[0, 500_000]), Errno::ENFILE);
    assert_eq!(sys.ok(33, &[0, 5000]), 5000);
}

#[test]
fn time_limits_end_the_box() {
    let spec = kernel::StartSpec { argv: vec![b"/init".to_vec()], ..Default::default() };
    let (mut k, outside) = Sys::kernel(64 << 20);
    k.set_limits(Limits { timeout: Some(5_000_000_000), ..Limits::default() });
    let tid = k.start(spec.clone()).unwrap();
    assert_eq!(k.schedule(), Sched::Run(tid));
    k.context(tid).gpr[0] = 34;
    k.syscall(tid);
    let idle = k.schedule();
    assert!(matches!(idle, Sched::Idle { deadline: Some(6_000_000_000), .. }), "{idle:?}");
    outside.clock.set(6_000_000_000);
    assert_eq!(k.schedule(), Sched::Exited(124));
    assert!(outside.log.borrow()[0].contains("the time limit of 5 s is over"));

    let (mut k, outside) = Sys::kernel(64 << 20);
    k.set_limits(Limits { cpu_time: Some(2_000_000_000), ..Limits::default() });
    let tid = k.start(spec).unwrap();
    assert_eq!(k.schedule(), Sched::Run(tid));
    outside.clock.set(4_000_000_000);
    assert_eq!(k.schedule(), Sched::Exited(152));
}

#[test]
fn locked_memory_is_counted() {
    let mut sys = Sys::new();
    let limit = sys.map(4096);
    let lock = |sys: &mut Sys, at: u64, len: u64| sys.call(149, &[at, len]);
    let a = sys.map(64 << 10);
    sys.poke64(limit, 32 << 10);
    sys.poke64(limit + 8, 64 << 10);
    sys.ok(160, &[8, limit]);
    assert_eq!(lock(&mut sys, a, 32 << 10), 0);
    assert_eq!(lock(&mut sys, a + 100, 100), 0, "locked already");
    assert_eq!(lock(&mut sys, a, 64 << 10), -12);
    assert_eq!(sys.err(28, &[a, 4096, 4]), Errno::EINVAL, "MADV_DONTNEED of locked pages");
    assert_eq!(sys.err(26, &[a, 4096, 2]), Errno::EBUSY, "MS_INVALIDATE of locked pages");
    assert_eq!(sys.err(MMAP, &[0, 4096, 3, 0x2022, NONE, 0]), Errno::EAGAIN, "MAP_LOCKED");
    sys.ok(150, &[a, 64 << 10]);
    assert_eq!(lock(&mut sys, a + (32 << 10), 32 << 10), 0);
    assert_eq!(sys.err(151, &[0]), Errno::EINVAL);
    assert_eq!(sys.err(151, &[1]), Errno::ENOMEM, "more is mapped than may be locked");
    sys.ok(151, &[2]);
    assert_eq!(sys.err(MMAP, &[0, 4096, 3, 0x22, NONE, 0]), Errno::EAGAIN, "MCL_FUTURE");
    sys.ok(152, &[]);
    sys.map(4096);
    sys.poke64(limit, 0);
    sys.ok(160, &[8, limit]);
    assert_eq!(lock(&mut sys, a, 4096), -1);
    assert_eq!(sys.err(149, &[u64::MAX - 4096, 8192]), Errno::EPERM);
}

#[test]
fn open_files_end_in_enfile_and_copies_are_free() {
    let mut sys = Sys::new();
    let start = sys.k.usage().open_files;
    sys.k.set_limits(Limits { open_files: Some(start + 3), ..Limits::default() });
    let path = sys.string("/");
    let fds: Vec<u64> = (0..3).map(|_| sys.ok(2, &[path, 0, 0])).collect();
    assert_eq!(sys.err(2, &[path, 0, 0]), Errno::ENFILE);
    assert_eq!(sys.err(22, &[path]), Errno::ENFILE, "pipe(2)");
    // A copy is the same open file, in a child as well.
    let copy = sys.ok(32, &[fds[0]]);
    sys.fork();
    assert_eq!(sys.k.usage().open_files, start + 3);
    sys.ok(3, &[fds[0]]);
    assert_eq!(sys.err(2, &[path, 0, 0]), Errno::ENFILE, "the copy and the child still have it");
    assert_eq!(sys.k.usage().met.open_files, 3);
    sys.k.set_limits(Limits::default());
    sys.ok(2, &[path, 0, 0]);
    sys.ok(3, &[copy]);
}

#[test]
fn instructions_of_the_box_end_it_at_the_last_one() {
    let (mut k, outside) = Sys::kernel(64 << 20);
    k.set_limits(Limits { instructions: Some(1_000), ..Limits::default() });
    let spec = kernel::StartSpec { argv: vec![b"/init".to_vec()], ..Default::default() };
    let tid = k.start(spec).unwrap();
    assert_eq!(k.instructions_left(tid), Some(1_000));
    assert!(!k.count_instructions(tid, 999));
    assert_eq!((k.instructions_left(tid), k.has_ended()), (Some(1), false));
    assert!(k.count_instructions(tid, 1) && k.has_ended());
    assert_eq!(k.schedule(), Sched::Exited(152));
    assert!(outside.log.borrow()[0].contains("the limit of 1000 instructions is used up"));
}

#[test]
fn a_session_is_told_to_stop_and_then_killed() {
    use kernel::attach::measure::{GRACE, Measured, Next};
    let mut sys = Sys::new();
    let parent = sys.tid;
    let child = sys.fork();
    sys.run(child);
    sys.ok(112, &[]);
    // SIGINT is caught by nobody but ignored, as by a program that does not want to stop.
    let action = sys.map(64);
    sys.poke64(action, 1);
    sys.ok(13, &[2, action, 0, 8]);
    let other = sys.fork();
    sys.run(parent);
    assert_eq!(sys.k.begin_measure(1, Measured::Process(999), 5, Next::Tell), Err(Errno::ESRCH));
    assert_eq!(sys.k.begin_measure(2, Measured::Process(child.0), 500, Next::Tell), Ok(()));
    assert_eq!(sys.k.instructions_left(parent), None, "another session");
    assert!(!sys.k.count_instructions(parent, 1_000_000));
    assert_eq!(sys.k.instructions_left(other), Some(500), "it is of the session");
    assert!(!sys.k.count_instructions(other, 200));
    assert!(sys.k.count_instructions(child, 300), "told to stop");
    assert_eq!(sys.k.instructions_left(child), Some(GRACE));
    assert!(sys.k.count_instructions(other, GRACE), "killed");
    assert_eq!(sys.k.instructions_left(child), None);
    assert_eq!(sys.k.end_measure(2), Ok((500 + GRACE, true)));
    assert_eq!(sys.k.end_measure(2), Err(Errno::EBADF));
    let is_dead = |sys: &Sys| sys.k.tasks.thread(child).is_none_or(|t| t.has_ended());
    for _ in 0..10 {
        if !is_dead(&sys) {
            sys.k.schedule();
        }
    }
    assert!(is_dead(&sys));
}
