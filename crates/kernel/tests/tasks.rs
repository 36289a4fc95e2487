//! Tasks: fork(2), wait4(2), vfork(2), threads, futex(2), process groups, limits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use abi::Errno;
use harness::Sys;
use kernel::{Sched, ThreadId};

const WAIT4: u64 = 61;
const EXIT: u64 = 60;
const EXIT_GROUP: u64 = 231;
const CLONE: u64 = 56;
const FUTEX: u64 = 202;
const KILL: u64 = 62;
const THREAD: u64 = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000;
const ANY: u64 = u64::MAX;

#[test]
fn wait_for_exit_status() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let status = sys.map(4096);
    assert_eq!(sys.err(WAIT4, &[ANY, 0, 0, 0]), Errno::ECHILD);
    let child = sys.fork();
    assert_eq!(sys.ok(WAIT4, &[ANY, status, 1, 0]), 0, "WNOHANG");
    sys.blocks(WAIT4, &[ANY, status, 0, 0]);
    sys.run(child);
    assert_eq!(sys.ok(110, &[]), u64::from(parent.0), "getppid");
    sys.blocks(EXIT_GROUP, &[0x1_0007]);
    sys.run(parent);
    assert_eq!(sys.rax(), i64::from(child.0));
    assert_eq!(sys.peek32(status), 7 << 8, "only eight bits of the status");
    assert_eq!(sys.err(WAIT4, &[ANY, 0, 0, 0]), Errno::ECHILD);
}

#[test]
fn killed_child_and_rusage() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let status = sys.map(4096);
    let child = sys.fork();
    sys.ok(KILL, &[u64::from(child.0), 9]);
    sys.blocks(WAIT4, &[ANY, status, 0, status + 16]);
    sys.run(parent);
    assert_eq!(sys.rax(), i64::from(child.0));
    assert_eq!(sys.peek32(status), 9);
    assert_eq!(sys.err(KILL, &[u64::from(child.0), 0]), Errno::ESRCH);
}

#[test]
fn wait_selects_children() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let a = sys.fork();
    let b = sys.fork();
    sys.ok(109, &[u64::from(b.0), u64::from(b.0)]);
    sys.run(a);
    sys.blocks(EXIT_GROUP, &[1]);
    sys.run(parent);
    assert_eq!(sys.ok(WAIT4, &[u64::from(b.0), 0, 1, 0]), 0);
    let group = (-i64::from(b.0)) as u64;
    assert_eq!(sys.ok(WAIT4, &[group, 0, 1, 0]), 0);
    assert_eq!(sys.err(WAIT4, &[9999, 0, 1, 0]), Errno::ECHILD);
    // waitid with WNOWAIT leaves it there.
    let info = sys.map(4096);
    sys.ok(247, &[0, 0, info, 4 | 0x0100_0000, 0]);
    assert_eq!(sys.peek32(info), 17);
    assert_eq!(sys.peek32(info + 8), 1, "CLD_EXITED");
    assert_eq!(sys.peek32(info + 16), a.0);
    assert_eq!(sys.peek32(info + 24), 1);
    assert_eq!(sys.ok(WAIT4, &[0, 0, 0, 0]), u64::from(a.0));
}

#[test]
fn stop_and_continue_are_reported() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let status = sys.map(4096);
    let child = sys.fork();
    let id = u64::from(child.0);
    sys.ok(KILL, &[id, 19]);
    sys.blocks(WAIT4, &[ANY, status, 2, 0]);
    sys.run(parent);
    assert_eq!(sys.rax() as u64, id);
    assert_eq!(sys.peek32(status), 19 << 8 | 0x7f);
    sys.ok(KILL, &[id, 18]);
    assert_eq!(sys.ok(WAIT4, &[ANY, status, 8 | 1, 0]), id);
    assert_eq!(sys.peek32(status), 0xffff);
    sys.run(child);
}

#[test]
fn orphans_go_to_the_first_process() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let child = sys.fork();
    sys.run(child);
    let grandchild = sys.fork();
    sys.blocks(EXIT_GROUP, &[0]);
    sys.run(parent);
    assert_eq!(sys.ok(WAIT4, &[ANY, 0, 0, 0]), u64::from(child.0));
    sys.run(grandchild);
    assert_eq!(sys.ok(110, &[]), 1);
    sys.blocks(EXIT_GROUP, &[3]);
    sys.run(parent);
    assert_eq!(sys.ok(WAIT4, &[ANY, 0, 0, 0]), u64::from(grandchild.0));
}

#[test]
fn vfork_waits_for_exit() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let word = sys.map(4096);
    sys.blocks(58, &[]);
    let child = ThreadId(parent.0 + 1);
    sys.run(child);
    assert_eq!(sys.rax(), 0);
    sys.poke64(word, 77);
    for _ in 0..5 {
        assert_eq!(sys.k.schedule(), Sched::Run(child), "the parent waits");
    }
    sys.blocks(EXIT_GROUP, &[0]);
    sys.run(parent);
    assert_eq!(sys.rax(), i64::from(child.0));
    assert_eq!(sys.peek64(word), 77, "shared memory");
}

/// A thread that shares everything; `clear` is cleared and woken at its end.
fn thread(sys: &mut Sys, stack: u64, tls: u64, clear: u64) -> ThreadId {
    let flags = THREAD | 0x8_0000 | 0x20_0000;
    ThreadId(sys.ok(CLONE, &[flags, stack, 0, clear, tls]) as u32)
}

#[test]
fn thread_start_and_end() {
    let mut sys = Sys::new();
    let main = sys.tid;
    let memory = sys.map(8192);
    let clear = memory + 4096;
    sys.poke32(clear, 5);
    let t = thread(&mut sys, memory + 4096, 0x1234_0000, clear);
    // pthread_join: wait until the kernel clears the word.
    sys.blocks(FUTEX, &[clear, 0, 5, 0, 0, 0]);
    sys.run(t);
    let ctx = sys.k.context(t).clone();
    assert_eq!(
        (ctx.gpr[abi::RAX], ctx.gpr[abi::RSP], ctx.fs_base),
        (0, memory + 4096, 0x1234_0000)
    );
    assert_eq!(sys.ok(39, &[]), u64::from(main.0), "getpid");
    assert_eq!(sys.ok(186, &[]), u64::from(t.0), "gettid");
    sys.blocks(EXIT, &[0]);
    sys.run(main);
    assert_eq!(sys.rax(), 0);
    assert_eq!(sys.peek32(clear), 0);
}

#[test]
fn clone_refusals() {
    let mut sys = Sys::new();
    for (flags, want) in [
        (0x1_0000, Errno::EINVAL),
        (0x800, Errno::EINVAL),
        (0x1000_0000, Errno::EPERM),
        (0x2_0000 | 0x200, Errno::EINVAL),
        // CLONE_PIDFD without a place for the descriptor.
        (0x1000, Errno::EFAULT),
    ] {
        assert_eq!(sys.err(CLONE, &[flags, 0, 0, 0, 0]), want, "{flags:#x}");
    }
    let args = sys.map(4096);
    assert_eq!(sys.err(435, &[args, 8]), Errno::EINVAL);
    sys.poke64(args + 88, 1);
    assert_eq!(sys.err(435, &[args, 96]), Errno::E2BIG);
}

#[test]
fn futex_wait_wake_requeue_timeout() {
    let mut sys = Sys::new();
    let main = sys.tid;
    let m = sys.map(8 * 4096);
    assert_eq!(sys.err(FUTEX, &[m, 0, 1, 0, 0, 0]), Errno::EAGAIN);
    assert_eq!(sys.err(FUTEX, &[m + 1, 0, 0, 0, 0, 0]), Errno::EINVAL);
    assert_eq!(sys.err(FUTEX, &[16, 0, 0, 0, 0, 0]), Errno::EFAULT);
    let a = thread(&mut sys, m + 2 * 4096, 0, m + 64);
    let b = thread(&mut sys, m + 3 * 4096, 0, m + 68);
    let c = thread(&mut sys, m + 4 * 4096, 0, m + 72);
    for t in [a, b, c] {
        sys.run(t);
        sys.blocks(FUTEX, &[m, 128, 0, 0, 0, 0]);
    }
    sys.run(main);
    // One is woken, one moves, in order of arrival.
    assert_eq!(sys.ok(FUTEX, &[m, 128 | 4, 1, 1, m + 4, 0]), 2);
    sys.run(a);
    assert_eq!(sys.rax(), 0);
    sys.blocks(FUTEX, &[m, 128, 0, 0, 0, 0]);
    sys.run(main);
    assert_eq!(sys.err(FUTEX, &[m, 128 | 4, 1, 1, m + 4, 9]), Errno::EAGAIN);
    assert_eq!(sys.ok(FUTEX, &[m + 4, 128 | 1, 9, 0, 0, 0]), 1, "b was moved");
    sys.run(b);
    assert_eq!(sys.rax(), 0);
    sys.blocks(EXIT, &[0]);
    sys.run(main);
    // Bitsets choose.
    assert_eq!(sys.ok(FUTEX, &[m, 128 | 1, 9, 0, 0, 0]), 2);
    sys.run(a);
    sys.blocks(FUTEX, &[m, 128 | 9, 0, 0, 0, 2]);
    sys.run(main);
    assert_eq!(sys.ok(FUTEX, &[m, 128 | 10, 9, 0, 0, 1]), 0);
    assert_eq!(sys.ok(FUTEX, &[m, 128 | 10, 9, 0, 0, 2]), 1);
    // Timeouts: relative for WAIT.
    let time = m + 256;
    sys.poke64(time, 0);
    sys.poke64(time + 8, 5_000_000);
    sys.run(a);
    sys.run(c);
    sys.blocks(FUTEX, &[m + 8, 128, 0, time, 0, 0]);
    sys.advance(4_000_000);
    sys.run(a);
    sys.advance(2_000_000);
    sys.run(c);
    assert_eq!(sys.rax(), -i64::from(Errno::ETIMEDOUT.raw()));
    sys.run(main);
    assert_eq!(sys.ok(FUTEX, &[m + 8, 128 | 1, 9, 0, 0, 0]), 0, "left the queue");
    // FUTEX_WAKE_OP: *m2 += 3, and wake there too if it was 0.
    sys.run(c);
    sys.blocks(FUTEX, &[m + 16, 128, 0, 0, 0, 0]);
    sys.run(main);
    let code = 1 << 28 | 3 << 12;
    assert_eq!(sys.ok(FUTEX, &[m, 128 | 5, 1, 1, m + 16, code]), 1);
    assert_eq!(sys.peek32(m + 16), 3);
}

#[test]
fn futex_between_processes() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let shared = sys.ok(9, &[0, 4096, 3, 0x21, u64::MAX, 0]);
    let private = sys.map(4096);
    let child = sys.fork();
    sys.run(child);
    sys.blocks(FUTEX, &[shared, 0, 0, 0, 0, 0]);
    sys.run(parent);
    assert_eq!(sys.ok(FUTEX, &[private, 1, 1, 0, 0, 0]), 0);
    assert_eq!(sys.ok(FUTEX, &[shared, 1, 1, 0, 0, 0]), 1);
    sys.run(child);
    assert_eq!(sys.rax(), 0);
}

#[test]
fn robust_futexes_are_released() {
    let mut sys = Sys::new();
    let main = sys.tid;
    let m = sys.map(4 * 4096);
    let t = thread(&mut sys, m + 2 * 4096, 0, m + 64);
    sys.run(t);
    // head → entry → head; the word lies 8 bytes after the entry.
    let (head, entry) = (m + 512, m + 1024);
    sys.poke64(head, entry);
    sys.poke64(head + 8, 8);
    sys.poke64(entry, head);
    // Waiters are woken where the word says that there are some (FUTEX_WAITERS).
    sys.poke32(entry + 8, 0x8000_0000 | t.0);
    sys.ok(273, &[head, 24]);
    sys.run(main);
    sys.blocks(FUTEX, &[entry + 8, 0, u64::from(0x8000_0000 | t.0), 0, 0, 0]);
    sys.run(t);
    sys.blocks(EXIT, &[0]);
    sys.run(main);
    assert_eq!(sys.rax(), 0);
    assert_eq!(sys.peek32(entry + 8), 0xc000_0000, "FUTEX_OWNER_DIED");
    // A list that bites its tail ends the walk, not the kernel.
    let t = thread(&mut sys, m + 2 * 4096, 0, m + 64);
    sys.run(t);
    sys.poke64(head, entry);
    sys.poke64(entry, entry);
    sys.ok(273, &[head, 24]);
    sys.blocks(EXIT, &[0]);
    sys.run(main);
}

#[test]
fn exit_group_ends_all_threads_and_the_box() {
    let mut sys = Sys::new();
    let main = sys.tid;
    let m = sys.map(4 * 4096);
    let t = thread(&mut sys, m + 4096, 0, m);
    sys.blocks(FUTEX, &[m + 8, 0, 0, 0, 0, 0]);
    sys.run(t);
    sys.blocks(EXIT_GROUP, &[42]);
    assert_eq!(sys.k.schedule(), Sched::Exited(42));
    let _ = main;
}

#[test]
fn idle_tells_what_is_waited_for() {
    let mut sys = Sys::new();
    let time = sys.map(4096);
    sys.poke64(time, 2);
    let now = sys.outside.clock.get();
    sys.blocks(35, &[time, 0]);
    assert_eq!(
        sys.k.schedule(),
        Sched::Idle { deadline: Some(now + 2_000_000_000), stdin: false, network: false }
    );
    sys.advance(2_000_000_000);
    let tid = sys.tid;
    sys.run(tid);
    assert_eq!(sys.rax(), 0);
}

#[test]
fn a_chain_of_forks_lets_others_run() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    sys.fork();
    let mut links = 0;
    for _ in 0..20 {
        let Sched::Run(tid) = sys.k.schedule() else { panic!("nobody runs") };
        sys.tid = tid;
        if tid == parent {
            sys.advance(1000);
            continue;
        }
        links += 1;
        sys.advance(1000);
        sys.fork();
        sys.blocks(EXIT_GROUP, &[0]);
    }
    assert_eq!(links, 10, "the parent runs every other time");
}

#[test]
fn time_in_which_nobody_runs_is_nobodys() {
    let mut sys = Sys::new();
    let time = sys.map(4096);
    let cpu = |sys: &mut Sys| {
        sys.ok(228, &[2, time + 64]);
        sys.peek64(time + 64) * 1_000_000_000 + sys.peek64(time + 72)
    };
    let before = cpu(&mut sys);
    sys.poke64(time, 2);
    sys.blocks(35, &[time, 0]);
    assert!(matches!(sys.k.schedule(), Sched::Idle { .. }));
    sys.advance(2_000_000_000);
    let tid = sys.tid;
    sys.run(tid);
    assert_eq!(cpu(&mut sys), before);
    sys.advance(5_000);
    assert_eq!(cpu(&mut sys), before + 5_000);
}

#[test]
fn unlisted_calls_are_counted() {
    let mut sys = Sys::new();
    for _ in 0..3 {
        assert_eq!(sys.err(447, &[0]), Errno::ENOSYS);
    }
    assert_eq!(sys.err(u64::MAX, &[]), Errno::ENOSYS);
    assert_eq!(sys.err(469, &[]), Errno::ENOSYS);
    let calls = sys.k.unsupported_calls();
    assert_eq!(calls[0], ("memfd_secret".to_string(), 3));
    assert_eq!(calls.len(), 3);
}

#[test]
fn groups_and_sessions() {
    let mut sys = Sys::new();
    let child = sys.fork();
    let id = u64::from(child.0);
    assert_eq!(sys.ok(121, &[id]), 1);
    sys.ok(109, &[id, 0]);
    assert_eq!(sys.ok(121, &[id]), id);
    assert_eq!(sys.err(109, &[id, 555]), Errno::EPERM);
    assert_eq!(sys.err(109, &[0, 0]), Errno::EPERM, "session leader");
    sys.run(child);
    assert_eq!(sys.err(112, &[]), Errno::EPERM, "group leader");
    let grandchild = sys.fork();
    sys.run(grandchild);
    assert_eq!(sys.ok(112, &[]), u64::from(grandchild.0));
    assert_eq!(sys.ok(124, &[0]), u64::from(grandchild.0));
}

#[test]
fn ids_and_capabilities() {
    let mut sys = Sys::new();
    let child = sys.fork();
    sys.run(child);
    sys.ok(117, &[1000, 1000, 0]);
    assert_eq!(sys.ok(107, &[]), 1000);
    assert_eq!(sys.err(105, &[5]), Errno::EPERM);
    sys.ok(117, &[u64::from(u32::MAX), 0, u64::from(u32::MAX)]);
    assert_eq!(sys.ok(107, &[]), 0, "back through the saved id");
    sys.ok(105, &[1000]);
    assert_eq!(sys.err(105, &[0]), Errno::EPERM);
    assert_eq!(sys.err(KILL, &[1, 15]), Errno::EPERM);
    let m = sys.map(4096);
    sys.poke64(m, 0x2008_0522);
    sys.ok(125, &[m, m + 16]);
    assert_eq!(sys.peek32(m + 16), 0);
}
