//! Regions, with functions of this test in place of compiled code: asked for, entered, left, and dropped again.
#![allow(unsafe_code)] // what a compiled region does, it does through pointers
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod flat;

use flat::{Flat, Prot};
use interp::{Engine, Exit, Listening, Region};
use ir::{Cpu, TrapKind};
use mem::desk::{INTERPRET, Request, Shared};
use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x50_0000;
const RX: Prot = Prot { write: false, exec: true };
const RW: Prot = Prot { write: true, exec: false };
const RWX: Prot = Prot { write: true, exec: true };

/// L: add rax, rcx; dec rcx; jnz L; hlt
const SUM: &[u8] = b"\x48\x01\xc8\x48\xff\xc9\x75\xf8\xf4";
const HLT: u64 = CODE + 8;

thread_local! {
    static SHARED: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

struct Setup {
    engine: Engine,
    cpu: Cpu,
    env: Flat,
}

/// Leaves a region: `used` instructions were retired.
fn leave(used: i64, how: u32, pc: u64) -> u64 {
    CALLS.set(CALLS.get() + 1);
    // SAFETY: set by `setup` to what the engine of this test holds.
    let shared = unsafe { &*SHARED.get() };
    shared.fuel.fetch_sub(used, Relaxed);
    shared.leave.store(how, Relaxed);
    pc
}

/// What `SUM` does, up to the end of the fuel.
extern "C" fn sum(cpu: *mut Cpu, _: i32) -> u64 {
    // SAFETY: the engine's own pointer.
    let (cpu, shared) = unsafe { (&mut *cpu, &*SHARED.get()) };
    let mut used = 0;
    while used <= shared.fuel.load(Relaxed) {
        cpu.slot[0] += cpu.slot[1];
        cpu.slot[1] -= 1;
        used += 3;
        if cpu.slot[1] == 0 {
            return leave(used, 0, HLT);
        }
    }
    leave(used, 0, CODE)
}

fn setup(code: &[u8], prot: Prot, listening: Listening) -> Setup {
    let mut env = Flat::new();
    env.map(CODE, 0x2000, prot);
    env.map(DATA, 0x3000, RW);
    env.write(CODE, code);
    let mut cpu = Cpu::new();
    cpu.rip = CODE;
    cpu.slot[4] = DATA + 0x2000;
    let mut engine = Engine::new();
    engine.listen(listening);
    SHARED.set(engine.shared().unwrap());
    CALLS.set(0);
    Setup { engine, cpu, env }
}

const EAGER: Listening = Listening { threshold: 1, sample: 10 };

impl Setup {
    fn run(&mut self, fuel: u64) -> Exit {
        self.engine.run(&mut self.cpu, &mut self.env, fuel)
    }

    /// `SUM` from the start with this counter; what comes out.
    fn sum(&mut self, n: u64) -> u64 {
        (self.cpu.rip, self.cpu.slot[0], self.cpu.slot[1]) = (CODE, 0, n);
        assert_eq!(self.run(1_000_000), Exit::Trap(TrapKind::Gp));
        assert_eq!(self.cpu.rip, HLT);
        self.cpu.slot[0]
    }

    fn requests(&mut self) -> Vec<Request> {
        let mut words = self.engine.requests().to_vec().into_iter();
        self.engine.clear_requests();
        let all: Vec<Request> = std::iter::from_fn(|| Request::decode(&mut words)).collect();
        assert_eq!(words.next(), None);
        all
    }

    fn install(&mut self, id: u32, region: Region) {
        let slot = self.engine.add_region(region);
        self.engine.install(id, slot);
    }
}

/// Calls of regions since this was asked last.
fn calls() -> u32 {
    CALLS.replace(0)
}

#[test]
fn a_hot_loop_is_asked_for_once_and_then_entered() {
    let mut s = setup(SUM, RX, EAGER);
    assert!(!s.engine.awaits_regions());
    assert_eq!(s.sum(100), 5050);
    assert!(s.engine.awaits_regions());
    let requests = s.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    // What comes after the loop was not executed yet.
    assert_eq!((request.root, request.blocks.len()), (CODE, 1));
    assert_eq!(s.sum(100), 5050);
    assert!(s.requests().iter().all(|other| other.root != CODE));
    assert_eq!(calls(), 0);
    s.install(request.id, sum);
    let before = s.engine.retired();
    assert_eq!(s.sum(1000), 500_500);
    assert_eq!((calls(), s.engine.retired() - before), (1, 3000));
    assert_eq!(s.engine.retired_in_regions(), (3000, 1));
}

#[test]
fn a_region_uses_up_the_fuel_and_goes_on() {
    let mut s = setup(SUM, RX, EAGER);
    s.sum(100);
    let id = s.requests()[0].id;
    s.install(id, sum);
    (s.cpu.rip, s.cpu.slot[0], s.cpu.slot[1]) = (CODE, 0, 1000);
    let mut slices = 0;
    while s.run(97) == Exit::OutOfFuel {
        slices += 1;
    }
    assert_eq!((s.cpu.rip, s.cpu.slot[0]), (HLT, 500_500));
    assert!((20..40).contains(&slices), "{slices} slices");
}

#[test]
fn changed_code_drops_the_region_and_is_asked_for_anew() {
    let mut s = setup(SUM, RX, EAGER);
    s.sum(100);
    let id = s.requests()[0].id;
    s.install(id, sum);
    s.sum(100);
    assert_eq!(calls(), 1);
    // add rax, rcx becomes sub
    s.env.write(CODE + 1, &[0x29]);
    assert_eq!(s.sum(100), 0_u64.wrapping_sub(5050));
    assert_eq!(calls(), 0);
    let again = s.requests();
    assert_eq!((again.len(), again[0].root), (1, CODE));
    assert_ne!(again[0].id, id);
    // An answer to the first question is none to the second.
    s.install(id, sum);
    assert_eq!(s.sum(100), 0_u64.wrapping_sub(5050));
    assert_eq!(calls(), 0);
}

#[test]
fn code_that_changed_while_it_was_compiled_is_not_entered() {
    let mut s = setup(SUM, RX, EAGER);
    s.sum(100);
    let id = s.requests()[0].id;
    s.env.write(CODE + 1, &[0x29]);
    s.run(0);
    s.install(id, sum);
    assert_eq!(s.sum(2), 0_u64.wrapping_sub(3));
    assert_eq!(calls(), 0);
}

#[test]
fn a_page_far_from_the_root_drops_the_region_too() {
    // A: jmp B (next page); B: dec ecx; jnz A; hlt
    let mut s = setup(b"\xe9\xfb\x0f\x00\x00", RX, EAGER);
    s.env.write(CODE + 0x1000, b"\xff\xc9\x0f\x85\xf8\xef\xff\xff\xf4");
    s.cpu.slot[1] = 100;
    assert_eq!(s.run(1000), Exit::Trap(TrapKind::Gp));
    for request in s.requests() {
        assert!(request.blocks.len() >= 2, "{request:?}");
        s.install(request.id, wrong);
    }
    s.env.write(CODE + 0x1000, b"\xff\xc9\x0f\x85\xf8\xef\xff\xff\xf4");
    (s.cpu.rip, s.cpu.slot[1]) = (CODE, 100);
    assert_eq!(s.run(1000), Exit::Trap(TrapKind::Gp));
    assert_eq!((s.cpu.slot[1], calls()), (0, 0));
}

extern "C" fn wrong(_: *mut Cpu, _: i32) -> u64 {
    leave(1, 0, 0x666)
}

#[test]
fn another_page_at_the_same_address_is_not_the_region() {
    let mut s = setup(SUM, RX, EAGER);
    s.sum(100);
    let id = s.requests()[0].id;
    s.install(id, sum);
    // No longer executable: the fetch faults instead of the region being entered.
    s.env.protect(CODE, RW);
    (s.cpu.rip, s.cpu.slot[1]) = (CODE, 5);
    assert!(matches!(s.run(100), Exit::Fault(_)));
    assert_eq!((s.cpu.rip, calls()), (CODE, 0));
    s.env.protect(CODE, RX);
    assert_eq!(s.sum(100), 5050);
    assert_eq!(calls(), 1);
}

/// Leaves each instruction to the interpreter.
extern "C" fn leave_at_once(_: *mut Cpu, _: i32) -> u64 {
    leave(0, INTERPRET, CODE)
}

/// As out of fuel before anything was done.
extern "C" fn do_nothing(_: *mut Cpu, _: i32) -> u64 {
    leave(0, 0, CODE)
}

#[test]
fn a_region_that_does_nothing_stops_nobody() {
    for region in [leave_at_once as Region, do_nothing] {
        let mut s = setup(SUM, RX, EAGER);
        s.sum(100);
        let id = s.requests()[0].id;
        s.install(id, region);
        assert_eq!(s.sum(1000), 500_500);
        assert_eq!(calls(), 1000);
    }
}

/// The first instruction, and the second left to the interpreter.
extern "C" fn leave_in_the_middle(cpu: *mut Cpu, _: i32) -> u64 {
    // SAFETY: the engine's own pointer.
    let cpu = unsafe { &mut *cpu };
    cpu.slot[0] += cpu.slot[1];
    leave(1, INTERPRET, CODE + 3)
}

#[test]
fn the_interpreter_finishes_what_a_region_leaves_in_the_middle() {
    let mut s = setup(SUM, RX, EAGER);
    s.sum(100);
    let id = s.requests()[0].id;
    s.install(id, leave_in_the_middle);
    assert_eq!(s.sum(1000), 500_500);
    assert_eq!(calls(), 1000);
}

#[test]
fn single_steps_do_not_enter() {
    let mut s = setup(SUM, RX, EAGER);
    s.sum(100);
    let id = s.requests()[0].id;
    s.install(id, sum);
    (s.cpu.rip, s.cpu.slot[0], s.cpu.slot[1]) = (CODE, 0, 5);
    s.cpu.other_flags |= 1 << 8;
    for n in 1..=15 {
        assert_eq!(s.run(1000), Exit::Trap(TrapKind::Step), "step {n}");
    }
    assert_eq!((s.cpu.rip, s.cpu.slot[0], calls()), (HLT, 15, 0));
    // popf sets the trap flag, and the loop after it is stepped through.
    let mut code = b"\x9d".to_vec();
    code.extend(SUM);
    let mut s = setup(&code, RX, EAGER);
    s.env.write(DATA + 0x2000, &0x202_u64.to_le_bytes());
    s.cpu.slot[1] = 100;
    assert_eq!(s.run(1_000_000), Exit::Trap(TrapKind::Gp));
    let inner = s.requests().into_iter().find(|r| r.root == CODE + 1).unwrap();
    s.install(inner.id, wrong);
    s.env.write(DATA + 0x2000, &0x302_u64.to_le_bytes());
    (s.cpu.rip, s.cpu.slot[1], s.cpu.slot[4]) = (CODE, 100, DATA + 0x2000);
    let exit = loop {
        match s.run(1000) {
            Exit::OutOfFuel => {}
            exit => break exit,
        }
    };
    assert_eq!((exit, s.cpu.rip, calls()), (Exit::Trap(TrapKind::Step), CODE + 4, 0));
}

#[test]
fn regions_survive_a_full_arena() {
    let mut s = setup(SUM, RX, EAGER);
    s.sum(100);
    let id = s.requests()[0].id;
    s.install(id, sum);
    s.engine.clear();
    assert_eq!(s.sum(100), 5050);
    assert_eq!(calls(), 1);
    // And a change after that still drops them.
    s.engine.clear();
    s.env.write(CODE + 1, &[0x29]);
    assert_eq!(s.sum(100), 0_u64.wrapping_sub(5050));
    assert_eq!(calls(), 0);
}

#[test]
fn a_host_that_does_not_answer_is_not_asked_for_ever() {
    const MOST: usize = 2 * mem::desk::MAX_PENDING;
    const FUNCTIONS: u64 = 2 * MOST as u64 + 500;
    // Functions, each of which returns to the next: mov cl, 10; L: dec cl; jnz L; ret
    const FUNCTION: &[u8] = b"\xb1\x0a\xfe\xc9\x75\xfc\xc3\xf4";
    let mut s = setup(FUNCTION, RX, Listening { threshold: 1, sample: 1 });
    s.env.map(CODE + 0x2000, 0x20_000, RX);
    s.env.map(DATA + 0x3000, 0x20_000, RW);
    s.env.write(CODE, &FUNCTION.repeat(FUNCTIONS as usize));
    for n in 1..FUNCTIONS {
        s.env.write(DATA + 8 * n, &(CODE + 8 * n).to_le_bytes());
    }
    s.env.write(DATA + 8 * FUNCTIONS, &(CODE + 7).to_le_bytes());
    s.cpu.slot[4] = DATA + 8;
    assert_eq!(s.run(1_000_000), Exit::Trap(TrapKind::Gp));
    let requests = s.requests();
    assert_eq!(requests.len(), MOST);
    // Answers make room; an answer given twice, or to nothing, does no harm.
    for request in &requests {
        s.engine.install(request.id, 0);
    }
    s.engine.install(requests[0].id, 1);
    s.engine.install(u32::MAX, 1);
    (s.cpu.rip, s.cpu.slot[4]) = (CODE, DATA + 8);
    assert_eq!(s.run(1_000_000), Exit::Trap(TrapKind::Gp));
    let more = s.requests();
    assert_eq!((more.len(), calls()), (MOST, 0));
    let roots: std::collections::HashSet<u64> = requests.iter().map(|r| r.root).collect();
    assert!(
        more.iter().all(|r| !roots.contains(&r.root)),
        "what was refused is not asked for again"
    );
}

#[test]
fn what_waits_for_an_answer_is_told_of_as_long_as_it_is_hot_and_may_be_forgotten() {
    let mut s = setup(SUM, RX, EAGER);
    s.sum(100);
    let id = s.requests()[0].id;
    s.sum(100);
    let heat = s.engine.heat().to_vec();
    assert!(heat.len() > 10 && heat.iter().all(|hot| *hot == id), "{heat:?}");
    let others = s.requests();
    assert_eq!(s.engine.heat(), []);
    for id in others.iter().map(|other| other.id).chain([id]) {
        assert!(s.engine.awaits_regions());
        s.engine.install(id, mem::desk::FORGET);
    }
    assert!(!s.engine.awaits_regions());
    assert_eq!(s.sum(100), 5050);
    let again = s.requests();
    assert_eq!((again[0].root, calls()), (CODE, 0));
    s.install(again[0].id, sum);
    s.sum(100);
    assert_eq!(calls(), 1);
}

#[test]
fn targets_of_indirect_jumps_nearby_join() {
    // L: jmp rbx; ... at +16: dec ecx; jnz L; hlt
    let mut code = vec![0xF4; 32];
    code[..2].copy_from_slice(b"\xff\xe3");
    code[16..21].copy_from_slice(b"\xff\xc9\x75\xec\xf4");
    let mut s = setup(&code, RX, EAGER);
    (s.cpu.slot[1], s.cpu.slot[3]) = (100, CODE + 16);
    assert_eq!(s.run(1000), Exit::Trap(TrapKind::Gp));
    let request = s.requests().into_iter().find(|r| r.root == CODE).unwrap();
    assert_eq!(request.indirect, [CODE + 16]);
    assert!(request.blocks.iter().any(|b| b.pc == CODE + 16));
}

#[test]
fn code_in_writable_pages_changes_under_its_region() {
    // L: test cl, 3; jnz S; inc byte [rip + 2] (the immediate below); S: add ebx, 0; loop L; hlt
    let code = b"\xf6\xc1\x03\x75\x06\xfe\x05\x02\x00\x00\x00\x83\xc3\x00\xe2\xf0\xf4";
    let mut s = setup(code, RWX, Listening { threshold: 1, sample: 1 });
    s.cpu.slot[1] = 100;
    // Whatever is asked for is answered at once, by regions that leave all to the interpreter.
    let exit = loop {
        match s.run(0) {
            Exit::OutOfFuel => {}
            exit => break exit,
        }
        for request in s.requests() {
            let region = match request.root - CODE {
                0 => pass::<CODE> as Region,
                5 => pass::<{ CODE + 5 }>,
                11 => pass::<{ CODE + 11 }>,
                16 => pass::<{ CODE + 16 }>,
                other => panic!("a block at {other}"),
            };
            s.install(request.id, region);
        }
    };
    assert!(calls() > 0);
    let immediate = |rcx: u64| (rcx..=100).filter(|n| n % 4 == 0).count() as u64;
    let sum = (1..=100).map(immediate).sum::<u64>();
    assert_eq!((exit, s.cpu.slot[3]), (Exit::Trap(TrapKind::Gp), sum));
}

/// The region of the block at `ROOT`: leaves all to the interpreter.
extern "C" fn pass<const ROOT: u64>(_: *mut Cpu, _: i32) -> u64 {
    leave(0, INTERPRET, ROOT)
}
