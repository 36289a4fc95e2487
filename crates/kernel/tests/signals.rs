//! Signals: frames as Linux lays them out, return, masks, default actions, interrupted calls, timers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use abi::Errno;
use harness::Sys;
use kernel::{Flow, Sched, ThreadId, TrapKind};
use mem::{Access, Fault, FaultKind};

const SIGACTION: u64 = 13;
const SIGPROCMASK: u64 = 14;
const SIGRETURN: u64 = 15;
const KILL: u64 = 62;
const SIGSUSPEND: u64 = 130;
const HANDLER: u64 = 0x40_1000;
const RESTORER: u64 = 0x40_2000;
const RESTORE: u64 = 0x0400_0000;
const SIGINFO: u64 = 4;
const ONSTACK: u64 = 0x0800_0000;
const RESTART: u64 = 0x1000_0000;
const NODEFER: u64 = 0x4000_0000;
const RESETHAND: u64 = 0x8000_0000;

fn handle(sys: &mut Sys, signal: u64, flags: u64, mask: u64) {
    let at = sys.map(4096);
    sys.poke64(at, HANDLER);
    sys.poke64(at + 8, flags | RESTORE);
    sys.poke64(at + 16, RESTORER);
    sys.poke64(at + 24, mask);
    sys.ok(SIGACTION, &[signal, at, 0, 8]);
    sys.ok(11, &[at, 4096]);
}

fn blocked(sys: &mut Sys) -> u64 {
    sys.k.tasks.thread(sys.tid).unwrap().blocked.0
}

/// Runs rt_sigreturn as the restorer would.
fn sigreturn(sys: &mut Sys) {
    assert_eq!(try_sigreturn(sys), Flow::Continue);
}

/// As [`sigreturn`], of a frame that may be bad.
fn try_sigreturn(sys: &mut Sys) -> Flow {
    let ctx = sys.k.context(sys.tid);
    // The handler's `ret` popped the restorer's address.
    ctx.gpr[abi::RSP] += 8;
    ctx.gpr[abi::RAX] = SIGRETURN;
    sys.k.syscall(sys.tid)
}

/// With AVX an XSAVE area follows the image: its marks, the high halves, and what a handler changes there.
#[test]
fn avx_state_is_in_the_frame() {
    let mut sys = Sys::new();
    sys.k.processor.avx = true;
    handle(&mut sys, 10, SIGINFO, 0);
    let me = u64::from(sys.tid.0);
    let high: [u8; 256] = std::array::from_fn(|i| i as u8 ^ 0x5a);
    sys.k.context(sys.tid).fp.high = high;
    sys.call(KILL, &[me, 10]);
    let frame = sys.k.context(sys.tid).gpr[abi::RSP];
    assert_eq!(sys.peek64(frame + 8), 7, "UC_FP_XSTATE too");
    assert_eq!(sys.k.context(sys.tid).fp.high, [0; 256], "a handler starts with clear registers");
    let area = sys.peek64(frame + 8 + 40 + 23 * 8);
    assert_eq!(area % 64, 0);
    // struct _fpx_sw_bytes: magic1, extended_size, xfeatures, xstate_size.
    assert_eq!(sys.peek64(area + 464), 836 << 32 | 0x4650_5853);
    assert_eq!([sys.peek64(area + 472), sys.peek64(area + 480)], [7, 832]);
    assert_eq!([sys.peek64(area + 512), sys.peek64(area + 520)], [7, 0], "XSTATE_BV, XCOMP_BV");
    assert_eq!(sys.peek32(area + 832), 0x4650_5845);
    let mut saved = [0; 256];
    sys.k.mm.read_user(area + 576, &mut saved).unwrap();
    assert_eq!(saved, high);
    sys.k.mm.write_user(area + 576, &[7; 16]).unwrap();
    sigreturn(&mut sys);
    let back = sys.k.context(sys.tid).fp.high;
    assert_eq!((&back[..16], &back[16..]), (&[7; 16][..], &high[16..]));
}

/// Without its marks the area does not count; with a header that XRSTOR refuses the frame is bad.
#[test]
fn a_damaged_avx_area_is_refused_or_ignored() {
    for (at, value, survives) in [(464u64, 0u64, true), (512, 1 << 9, false), (520, 1 << 63, false)]
    {
        let mut sys = Sys::new();
        sys.k.processor.avx = true;
        handle(&mut sys, 10, SIGINFO, 0);
        let me = u64::from(sys.tid.0);
        sys.k.context(sys.tid).fp.high = [3; 256];
        sys.call(KILL, &[me, 10]);
        let frame = sys.k.context(sys.tid).gpr[abi::RSP];
        let area = sys.peek64(frame + 8 + 40 + 23 * 8);
        sys.k.mm.write_user(area + at, &value.to_le_bytes()).unwrap();
        let alive = try_sigreturn(&mut sys) != Flow::Reschedule;
        assert_eq!(alive, survives, "{value:#x} at {at}");
        if alive {
            assert_eq!(sys.k.context(sys.tid).fp.high, [0; 256], "the initial state");
        }
    }
}

#[test]
fn frame_layout() {
    let mut sys = Sys::new();
    handle(&mut sys, 10, SIGINFO, 1 << 11);
    let me = u64::from(sys.tid.0);
    let mut fp = [0; 512];
    for (i, b) in fp.iter_mut().enumerate().take(416).skip(32) {
        *b = i as u8;
    }
    fp[0] = 0x7f;
    fp[1] = 3;
    fp[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    let ctx = sys.k.context(sys.tid);
    ctx.fp.fx = fp;
    for i in 8..16 {
        ctx.gpr[i] = 0x800 + i as u64;
    }
    ctx.gpr[abi::RBX] = 0xb;
    ctx.gpr[abi::RBP] = 0xb9;
    ctx.rip = 0x40_0555;
    ctx.rflags = 0x246 | abi::EFLAGS_DF;
    let rsp = ctx.gpr[abi::RSP];
    // kill(getpid(), SIGUSR1): delivered before the call returns.
    sys.call(KILL, &[me, 10]);
    let ctx = sys.k.context(sys.tid).clone();
    let frame = ctx.gpr[abi::RSP];
    assert_eq!(ctx.rip, HANDLER);
    assert_eq!(frame % 16, 8);
    assert_eq!(ctx.rflags & abi::EFLAGS_DF, 0);
    assert_eq!(ctx.gpr[abi::RDI], 10);
    assert_eq!(ctx.gpr[abi::RSI], frame + 312, "siginfo");
    assert_eq!(ctx.gpr[abi::RDX], frame + 8, "ucontext");
    assert_eq!(sys.peek64(frame), RESTORER);
    // struct ucontext: flags, link, stack, then struct sigcontext at 40.
    let uc = frame + 8;
    assert_eq!(sys.peek64(uc), 6);
    assert_eq!(sys.peek32(uc + 24), 2, "SS_DISABLE");
    let reg = |sys: &mut Sys, i: u64| sys.peek64(uc + 40 + 8 * i);
    assert_eq!(reg(&mut sys, 1), 0x809, "r9");
    assert_eq!(reg(&mut sys, 10), 0xb9, "rbp");
    assert_eq!(reg(&mut sys, 11), 0xb, "rbx");
    assert_eq!(reg(&mut sys, 13), 0, "rax: result of kill");
    assert_eq!(reg(&mut sys, 15), rsp);
    assert_eq!(reg(&mut sys, 16), 0x40_0555);
    assert_eq!(reg(&mut sys, 17), 0x246 | abi::EFLAGS_DF);
    assert_eq!(sys.peek64(uc + 40 + 18 * 8), 0x002b_0000_0000_0033, "cs and ss");
    let fpstate = sys.peek64(uc + 40 + 23 * 8);
    assert_eq!(fpstate % 64, 0);
    assert!(fpstate >= frame + 440 && fpstate + 512 <= rsp - 128, "below the red zone");
    let mut saved = [0; 416];
    sys.k.mm.read_user(fpstate, &mut saved).unwrap();
    assert_eq!(saved[..], fp[..416]);
    assert_eq!(sys.peek64(uc + 296), 0, "old mask");
    let info = frame + 312;
    assert_eq!(sys.peek32(info), 10);
    assert_eq!(sys.peek32(info + 8), 0, "SI_USER");
    assert_eq!(u64::from(sys.peek32(info + 16)), me);
    assert_eq!(blocked(&mut sys), 1 << 9 | 1 << 11, "the signal and sa_mask");
    // A handler starts with a fresh floating-point state, and may change anything.
    assert_eq!(sys.k.context(sys.tid).fp.fx[24..28], 0x1f80_u32.to_le_bytes());
    sys.k.context(sys.tid).gpr[abi::RBX] = 99;
    sigreturn(&mut sys);
    let back = sys.k.context(sys.tid).clone();
    assert_eq!(back.rip, 0x40_0555);
    assert_eq!(back.gpr[abi::RSP], rsp);
    assert_eq!(back.gpr[abi::RBX], 0xb);
    assert_eq!(back.gpr[9], 0x809);
    assert_eq!(back.gpr[abi::RAX], 0);
    assert_eq!(back.rflags, 0x246 | abi::EFLAGS_DF);
    assert_eq!(back.fp.fx[..416], fp[..416]);
    assert_eq!(blocked(&mut sys), 0);
}

#[test]
fn flags_of_actions() {
    let mut sys = Sys::new();
    let me = u64::from(sys.tid.0);
    handle(&mut sys, 10, NODEFER | RESETHAND, 0);
    sys.call(KILL, &[me, 10]);
    assert_eq!(sys.k.context(sys.tid).rip, HANDLER);
    assert_eq!(blocked(&mut sys), 0);
    sigreturn(&mut sys);
    let old = sys.map(4096);
    sys.ok(SIGACTION, &[10, 0, old, 8]);
    assert_eq!(sys.peek64(old), 0, "reset");
    // The alternate stack.
    let stack = sys.map(16384);
    let ss = sys.map(4096);
    sys.poke64(ss, stack);
    sys.poke64(ss + 16, 1000);
    assert_eq!(sys.err(131, &[ss, 0]), Errno::ENOMEM);
    sys.poke64(ss + 16, 16384);
    sys.ok(131, &[ss, 0]);
    handle(&mut sys, 12, ONSTACK, 0);
    sys.call(KILL, &[me, 12]);
    let sp = sys.k.context(sys.tid).gpr[abi::RSP];
    assert!(sp > stack && sp < stack + 16384);
    sys.ok(131, &[0, ss]);
    assert_eq!(sys.peek32(ss + 8), 1, "SS_ONSTACK");
    assert_eq!(sys.err(131, &[ss, 0]), Errno::EPERM);
    sys.k.context(sys.tid).gpr[abi::RSP] = sp;
    sigreturn(&mut sys);
    // Numbers and sizes out of range.
    assert_eq!(sys.err(SIGACTION, &[0, 0, 0, 8]), Errno::EINVAL);
    assert_eq!(sys.err(SIGACTION, &[65, 0, 0, 8]), Errno::EINVAL);
    assert_eq!(sys.err(SIGACTION, &[9, ss, 0, 8]), Errno::EINVAL);
    assert_eq!(sys.err(SIGACTION, &[10, 0, 0, 4]), Errno::EINVAL);
}

#[test]
fn blocking_pending_and_timedwait() {
    let mut sys = Sys::new();
    let me = u64::from(sys.tid.0);
    let m = sys.map(4096);
    handle(&mut sys, 10, 0, 0);
    sys.poke64(m, u64::MAX);
    sys.ok(SIGPROCMASK, &[0, m, 0, 8]);
    assert_eq!(blocked(&mut sys), !(1 << 8 | 1 << 18), "never SIGKILL and SIGSTOP");
    sys.ok(KILL, &[me, 10]);
    sys.ok(KILL, &[me, 10]);
    sys.ok(KILL, &[me, 34]);
    sys.ok(KILL, &[me, 34]);
    sys.ok(127, &[m, 8]);
    assert_eq!(sys.peek64(m), 1 << 9 | 1 << 33);
    sys.poke64(m, 1 << 9 | 1 << 33);
    let got: Vec<u64> = (0..3).map(|_| sys.ok(128, &[m, m + 64, 0, 8])).collect();
    assert_eq!(got, [10, 34, 34], "standard signals are not queued, real-time ones are");
    sys.poke64(m + 32, 0);
    sys.poke64(m + 40, 1000);
    sys.blocks(128, &[m, 0, m + 32, 8]);
    sys.advance(2000);
    let tid = sys.tid;
    sys.run(tid);
    assert_eq!(sys.rax(), -i64::from(Errno::EAGAIN.raw()));
    // Unblocking delivers.
    sys.ok(KILL, &[me, 10]);
    sys.poke64(m, 1 << 9);
    sys.call(SIGPROCMASK, &[1, m, 0, 8]);
    assert_eq!(sys.k.context(sys.tid).rip, HANDLER);
}

#[test]
fn sigsuspend_restores_the_mask() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let m = sys.map(4096);
    handle(&mut sys, 10, RESTART, 0);
    sys.poke64(m, 1 << 9);
    sys.ok(SIGPROCMASK, &[0, m, 0, 8]);
    let child = sys.fork();
    sys.poke64(m, 0);
    sys.blocks(SIGSUSPEND, &[m, 8]);
    sys.run(child);
    sys.ok(KILL, &[u64::from(parent.0), 10]);
    sys.run(parent);
    assert_eq!(sys.k.context(parent).rip, HANDLER);
    let uc = sys.k.context(parent).gpr[abi::RSP] + 8;
    assert_eq!(sys.peek64(uc + 40 + 13 * 8) as i64, -4, "EINTR, whatever SA_RESTART says");
    assert_eq!(sys.peek64(uc + 296), 1 << 9, "the mask from before");
    sigreturn(&mut sys);
    assert_eq!(blocked(&mut sys), 1 << 9);
}

/// A child that waits in wait4 gets SIGUSR1 with a handler of these flags: rax and rip afterwards.
fn interrupted_wait(flags: u64) -> (i64, i64) {
    let mut sys = Sys::new();
    let parent = sys.tid;
    handle(&mut sys, 10, flags, 0);
    let child = sys.fork();
    let before = sys.k.context(parent).rip;
    sys.blocks(61, &[u64::MAX, 0, 0, 0]);
    sys.run(child);
    sys.ok(KILL, &[u64::from(parent.0), 10]);
    sys.run(parent);
    let uc = sys.k.context(parent).gpr[abi::RSP] + 8;
    let rax = sys.peek64(uc + 40 + 13 * 8) as i64;
    let rip = sys.peek64(uc + 40 + 16 * 8);
    (rax, rip.wrapping_sub(before) as i64)
}

#[test]
fn interrupted_calls() {
    assert_eq!(interrupted_wait(0), (-4, 0), "EINTR");
    assert_eq!(interrupted_wait(RESTART), (61, -2), "the call is made again");
}

#[test]
fn ignored_and_stop_signals_leave_calls_waiting() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let m = sys.map(4096);
    let child = sys.fork();
    sys.run(child);
    sys.poke64(m, 1);
    let start = sys.outside.clock.get();
    sys.blocks(35, &[m, m + 32]);
    sys.run(parent);
    for signal in [17, 28, 19] {
        sys.ok(KILL, &[u64::from(child.0), signal]);
    }
    sys.advance(300_000_000);
    for _ in 0..3 {
        assert_eq!(sys.k.schedule(), Sched::Run(parent));
    }
    sys.ok(KILL, &[u64::from(child.0), 18]);
    assert_eq!(sys.k.schedule(), Sched::Run(parent), "still asleep");
    sys.advance(800_000_000);
    sys.run(child);
    assert_eq!(sys.rax(), 0);
    assert!(sys.outside.clock.get() - start >= 1_000_000_000);
}

#[test]
fn nanosleep_tells_what_is_left() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let m = sys.map(4096);
    handle(&mut sys, 10, RESTART, 0);
    let child = sys.fork();
    sys.poke64(m, 3);
    sys.blocks(35, &[m, m + 32]);
    sys.run(child);
    sys.advance(1_000_000_000);
    sys.ok(KILL, &[u64::from(parent.0), 10]);
    sys.run(parent);
    assert_eq!((sys.peek64(m + 32), sys.peek64(m + 40)), (2, 0));
}

#[test]
fn faults_become_signals() {
    let mut sys = Sys::new();
    handle(&mut sys, 11, SIGINFO, 0);
    let fault = Fault { addr: 0xdead_0000, access: Access::Write, kind: FaultKind::Unmapped };
    sys.k.context(sys.tid).rip = 0x40_0777;
    assert_eq!(sys.k.fault(sys.tid, fault), Flow::Continue);
    let frame = sys.k.context(sys.tid).gpr[abi::RSP];
    assert_eq!(sys.k.context(sys.tid).rip, HANDLER);
    let info = frame + 312;
    assert_eq!((sys.peek32(info), sys.peek32(info + 8)), (11, 1));
    assert_eq!(sys.peek64(info + 16), 0xdead_0000);
    let sc = frame + 8 + 40;
    assert_eq!(sys.peek64(sc + 19 * 8), 6, "error code: user write");
    assert_eq!(sys.peek64(sc + 20 * 8), 14, "trap number");
    assert_eq!(sys.peek64(sc + 22 * 8), 0xdead_0000, "cr2");
    assert_eq!(sys.peek64(sc + 16 * 8), 0x40_0777);
    // A second fault in the handler, where SIGSEGV is blocked, kills.
    assert_eq!(sys.k.fault(sys.tid, fault), Flow::Reschedule);
    assert_eq!(sys.k.schedule(), Sched::Exited(128 + 11));
}

#[test]
fn traps_without_handler_kill() {
    for (kind, signal) in [
        (TrapKind::InvalidOpcode, 4),
        (TrapKind::DivideError, 8),
        (TrapKind::Breakpoint, 5),
        (TrapKind::GeneralProtection { error: 0 }, 11),
        (TrapKind::StackFault, 7),
        (TrapKind::Alignment, 7),
    ] {
        let mut sys = Sys::new();
        let parent = sys.tid;
        let status = sys.map(4096);
        let child = sys.fork();
        sys.run(child);
        assert_eq!(sys.k.trap(child, kind), Flow::Reschedule);
        sys.run(parent);
        sys.ok(61, &[u64::MAX, status, 0, 0]);
        assert_eq!(sys.peek32(status) & 0x7f, signal, "{kind:?}");
    }
}

#[test]
fn no_room_for_the_frame() {
    let mut sys = Sys::new();
    let me = u64::from(sys.tid.0);
    handle(&mut sys, 10, 0, 0);
    sys.k.context(sys.tid).gpr[abi::RSP] = 0x1000;
    assert_eq!(sys.try_call(KILL, &[me, 10]), None);
    assert_eq!(sys.k.schedule(), Sched::Exited(128 + 11));
    // A frame that is not there.
    let mut sys = Sys::new();
    let ctx = sys.k.context(sys.tid);
    ctx.gpr[abi::RSP] = 0x10;
    ctx.gpr[abi::RAX] = SIGRETURN;
    assert_eq!(sys.k.syscall(sys.tid), Flow::Reschedule);
    assert_eq!(sys.k.schedule(), Sched::Exited(128 + 11));
}

#[test]
fn the_first_process_is_protected() {
    let mut sys = Sys::new();
    for signal in [1, 2, 9, 13, 15, 19] {
        sys.ok(KILL, &[1, signal]);
    }
    sys.k.signal_init(15);
    assert_eq!(sys.k.schedule(), Sched::Exited(128 + 15), "from outside");
}

#[test]
fn timers() {
    let mut sys = Sys::new();
    let tid = sys.tid;
    handle(&mut sys, 14, 0, 0);
    let m = sys.map(4096);
    assert_eq!(sys.ok(37, &[10]), 0);
    sys.advance(3_000_000_000);
    assert_eq!(sys.ok(37, &[5]), 7);
    sys.advance(5_000_000_000);
    sys.run(tid);
    assert_eq!(sys.k.context(tid).rip, HANDLER);
    sigreturn(&mut sys);
    // An interval timer: every 100 ms.
    sys.poke64(m + 8, 100_000);
    sys.poke64(m + 24, 100_000);
    sys.ok(38, &[0, m, 0]);
    for _ in 0..3 {
        sys.k.context(tid).rip = 0x40_0000;
        sys.advance(100_000_000);
        sys.run(tid);
        assert_eq!(sys.k.context(tid).rip, HANDLER);
        sigreturn(&mut sys);
    }
    sys.ok(36, &[0, m + 64]);
    assert_eq!(sys.peek64(m + 72), 100_000);
    // POSIX timer with a value, and its overrun.
    let (event, id, spec) = (m + 512, m + 640, m + 704);
    sys.poke64(event, 0x1122);
    sys.poke32(event + 8, 34);
    sys.ok(222, &[1, event, id]);
    handle(&mut sys, 34, SIGINFO, 0);
    sys.poke64(m, 0);
    sys.poke64(m + 8, 0);
    sys.poke64(m + 16, 0);
    sys.poke64(m + 24, 0);
    sys.ok(38, &[0, m, 0]);
    sys.poke64(spec + 8, 1000);
    sys.poke64(spec + 24, 1000);
    let timer = u64::from(sys.peek32(id));
    sys.ok(223, &[timer, 0, spec, 0]);
    sys.advance(3500);
    sys.run(tid);
    let info = sys.k.context(tid).gpr[abi::RSP] + 312;
    assert_eq!(sys.peek32(info), 34);
    assert_eq!(sys.peek32(info + 8) as i32, -2, "SI_TIMER");
    assert_eq!(sys.peek32(info + 20), 2, "overrun");
    assert_eq!(sys.peek64(info + 24), 0x1122);
    sigreturn(&mut sys);
    assert_eq!(sys.ok(225, &[timer]), 2);
    sys.ok(226, &[timer]);
    assert_eq!(sys.err(225, &[timer]), Errno::EINVAL);
}

#[test]
fn a_thread_of_its_own() {
    let mut sys = Sys::new();
    let main = sys.tid;
    let m = sys.map(8192);
    handle(&mut sys, 10, 0, 0);
    let t = ThreadId(sys.ok(56, &[0x1_0f00, m + 8192, 0, 0, 0]) as u32);
    sys.ok(234, &[u64::from(main.0), u64::from(t.0), 10]);
    assert_eq!(sys.err(234, &[99, u64::from(t.0), 10]), Errno::ESRCH);
    assert_ne!(sys.k.context(main).rip, HANDLER);
    sys.run(t);
    assert_eq!(sys.k.context(t).rip, HANDLER);
}
