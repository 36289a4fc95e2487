//! The engine: faults, code that changes, links, fuel, string instructions that stop in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod flat;

use flat::{Flat, Prot};
use interp::{Engine, Exit};
use ir::{Cpu, TrapKind};
use mem::{Access, Fault, FaultKind};

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x50_0000;
const RX: Prot = Prot { write: false, exec: true };
const RW: Prot = Prot { write: true, exec: false };
const RWX: Prot = Prot { write: true, exec: true };

fn machine(code: &[u8], prot: Prot) -> (Engine, Cpu, Flat) {
    let mut env = Flat::new();
    env.map(CODE, 0x2000, prot);
    env.map(DATA, 0x3000, RW);
    env.write(CODE, code);
    let mut cpu = Cpu::new();
    cpu.rip = CODE;
    cpu.slot[4] = DATA + 0x2000;
    (Engine::new(), cpu, env)
}

fn unmapped(addr: u64, access: Access) -> Exit {
    Exit::Fault(Fault { addr, access, kind: FaultKind::Unmapped })
}

#[test]
fn a_fault_shows_the_state_before_its_instruction() {
    // add rbx, rax; push rbx; mov [rcx], eax; add rax, 1
    let (mut engine, mut cpu, mut env) = machine(b"\x48\x01\xc3\x53\x89\x01\x48\x83\xc0\x01", RX);
    (cpu.slot[0], cpu.slot[3], cpu.slot[1]) = (5, 7, 0x1234);
    assert_eq!(engine.run(&mut cpu, &mut env, 100), unmapped(0x1234, Access::Write));
    assert_eq!((cpu.rip, cpu.slot[0], cpu.slot[3]), (CODE + 4, 5, 12));
    assert_eq!(cpu.slot[4], DATA + 0x2000 - 8);
    // Mapped now, the instruction simply starts again.
    env.map(0x1000, 0x1000, RW);
    env.write(CODE + 10, b"\x0f\x0b");
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Trap(TrapKind::Ud));
    assert_eq!((cpu.rip, cpu.slot[0]), (CODE + 10, 6));
}

#[test]
fn a_fault_shows_flags_that_are_overwritten_later() {
    // sub eax, 6; mov rbx, [rdi]; cmp rbx, 1; the processor shows CF PF AF SF of 5 - 6 at the load
    let code = b"\x83\xe8\x06\x48\x8b\x1f\x48\x83\xfb\x01\xf4";
    let (mut engine, mut cpu, mut env) = machine(code, RX);
    (cpu.slot[0], cpu.slot[7]) = (5, 0x1234);
    assert_eq!(engine.run(&mut cpu, &mut env, 100), unmapped(0x1234, Access::Read));
    assert_eq!((cpu.rip, cpu.flags.bits()), (CODE + 3, 0x95));
}

#[test]
fn a_store_over_a_page_end_is_all_or_nothing() {
    // mov [rcx], rax
    let (mut engine, mut cpu, mut env) = machine(b"\x48\x89\x01\xf4", RX);
    (cpu.slot[0], cpu.slot[1]) = (u64::MAX, DATA + 0x3000 - 3);
    assert_eq!(engine.run(&mut cpu, &mut env, 100), unmapped(DATA + 0x3000, Access::Write));
    assert_eq!(env.read(DATA + 0x2FF0, 16).unwrap(), [0; 16]);
    cpu.slot[1] = DATA + 0x1000 - 3;
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Trap(TrapKind::Gp));
    let around = env.read(DATA + 0x1000 - 4, 10).unwrap();
    assert_eq!(around, [0, 255, 255, 255, 255, 255, 255, 255, 255, 0]);
}

#[test]
fn division_errors_stop_in_place() {
    // xor edx, edx; div rcx
    let (mut engine, mut cpu, mut env) = machine(b"\x31\xd2\x48\xf7\xf1", RX);
    cpu.slot[0] = 9;
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Trap(TrapKind::De));
    assert_eq!((cpu.rip, cpu.slot[0]), (CODE + 2, 9));
}

#[test]
fn code_that_changes_itself_is_seen_at_once() {
    // mov byte [rip + 1], 42 (the immediate of the next instruction); mov al, 1; hlt
    let code = b"\xc6\x05\x01\x00\x00\x00\x2a\xb0\x01\xf4";
    let (mut engine, mut cpu, mut env) = machine(code, RWX);
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Trap(TrapKind::Gp));
    assert_eq!(cpu.slot[0], 42);
}

#[test]
fn a_loop_that_patches_its_own_target_sees_every_version() {
    // L: inc byte [rip + 0xa] (imm of add); jmp next page's stub and back ... add ebx, imm8; loop L; hlt
    let mut code = Vec::new();
    code.extend(b"\xfe\x05\x02\x00\x00\x00"); // inc byte [rip + 2] -> the imm8 below
    code.extend(b"\x83\xc3\x00"); // add ebx, 0
    code.extend(b"\xe2\xf5"); // loop -11
    code.push(0xF4);
    let (mut engine, mut cpu, mut env) = machine(&code, RWX);
    cpu.slot[1] = 100;
    assert_eq!(engine.run(&mut cpu, &mut env, 100_000), Exit::Trap(TrapKind::Gp));
    assert_eq!(cpu.slot[3], (1..=100).sum::<u64>());
}

#[test]
fn code_written_from_outside_is_seen() {
    // mov eax, 1; syscall, run twice with a patch between
    let (mut engine, mut cpu, mut env) = machine(b"\xb8\x01\x00\x00\x00\x0f\x05", RX);
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Syscall);
    assert_eq!((cpu.slot[0], cpu.rip, cpu.slot[1]), (1, CODE + 7, CODE + 7));
    env.write(CODE + 1, &[9]);
    cpu.rip = CODE;
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Syscall);
    assert_eq!(cpu.slot[0], 9);
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let (mut engine, mut cpu, mut env) = machine(b"\xeb\xfe", RX);
    for _ in 0..3 {
        assert_eq!(engine.run(&mut cpu, &mut env, 1000), Exit::OutOfFuel);
        assert_eq!(cpu.rip, CODE);
    }
    // jmp rax to itself
    let (mut engine, mut cpu, mut env) = machine(b"\xff\xe0", RX);
    cpu.slot[0] = CODE;
    assert_eq!(engine.run(&mut cpu, &mut env, 1000), Exit::OutOfFuel);
    assert!(engine.retired() >= 1000);
}

#[test]
fn an_instruction_may_straddle_pages() {
    let (mut engine, mut cpu, mut env) = machine(b"", RX);
    env.write(CODE + 0xFFD, b"\xb8\x78\x56\x34\x12\xf4"); // mov eax, 0x12345678; hlt
    cpu.rip = CODE + 0xFFD;
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Trap(TrapKind::Gp));
    assert_eq!(cpu.slot[0], 0x1234_5678);
    // Into nothing: the fetch of the second page faults.
    env.write(CODE + 0x1FFD, b"\xb8\x78\x56");
    cpu.rip = CODE + 0x1FFD;
    let exit = engine.run(&mut cpu, &mut env, 100);
    assert_eq!(exit, unmapped(CODE + 0x2000, Access::Fetch));
    assert_eq!(cpu.rip, CODE + 0x1FFD);
}

#[test]
fn a_repeated_store_stops_at_the_hole_with_exact_counters() {
    // rep stosb
    let (mut engine, mut cpu, mut env) = machine(b"\xf3\xaa\xf4", RX);
    (cpu.slot[0], cpu.slot[1], cpu.slot[7]) = (0x55, 0x4000, DATA + 0x800);
    assert_eq!(engine.run(&mut cpu, &mut env, 100), unmapped(DATA + 0x3000, Access::Write));
    assert_eq!((cpu.rip, cpu.slot[7]), (CODE, DATA + 0x3000));
    assert_eq!(cpu.slot[1], 0x4000 - 0x2800);
    env.map(DATA + 0x3000, 0x2000, RW);
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Trap(TrapKind::Gp));
    assert_eq!((cpu.slot[1], cpu.slot[7]), (0, DATA + 0x4800));
    assert_eq!(env.read(DATA + 0x800, 0x4000).unwrap(), vec![0x55; 0x4000]);
}

#[test]
fn an_overlapping_forward_copy_repeats_its_pattern() {
    // rep movsb with rdi = rsi + 3
    let (mut engine, mut cpu, mut env) = machine(b"\xf3\xa4\xf4", RX);
    env.write(DATA, b"abc");
    (cpu.slot[1], cpu.slot[6], cpu.slot[7]) = (30, DATA, DATA + 3);
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Trap(TrapKind::Gp));
    assert_eq!(env.read(DATA, 33).unwrap(), b"abc".repeat(11));
}

#[test]
fn a_huge_repeat_lets_others_run() {
    let mut env = Flat::new();
    env.map(CODE, 0x1000, RX);
    env.map(0x1000_0000, 64 << 20, RW);
    env.write(CODE, b"\xf3\x48\xab\xf4"); // rep stosq
    let mut cpu = Cpu::new();
    (cpu.rip, cpu.slot[1], cpu.slot[7]) = (CODE, 8 << 20, 0x1000_0000);
    let mut engine = Engine::new();
    let mut slices = 0;
    while engine.run(&mut cpu, &mut env, 100) == Exit::OutOfFuel {
        assert_eq!(cpu.rip, CODE);
        slices += 1;
    }
    assert!(slices > 4, "64 MiB in {slices} slices");
    assert_eq!(cpu.slot[1], 0);
}

#[test]
fn a_changed_mapping_undoes_links() {
    // Page 1 jumps to page 2; page 2 then is another one.
    let (mut engine, mut cpu, mut env) = machine(b"\xe9\xfb\x0f\x00\x00", RX);
    env.write(CODE + 0x1000, b"\xb0\x01\x0f\x05");
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Syscall);
    cpu.rip = CODE;
    assert_eq!(engine.run(&mut cpu, &mut env, 100), Exit::Syscall);
    env.protect(CODE + 0x1000, RW);
    cpu.rip = CODE;
    let exit = engine.run(&mut cpu, &mut env, 100);
    let kind = FaultKind::Protection;
    assert_eq!(exit, Exit::Fault(Fault { addr: CODE + 0x1000, access: Access::Fetch, kind }));
    assert_eq!(cpu.rip, CODE + 0x1000);
}

#[test]
fn a_program_larger_than_the_arena_runs() {
    // Each of 400,000 blocks (add ebx, 1; jz +0) takes six words; all of them together are dropped once on the way.
    const BLOCKS: usize = 400_000;
    let mut code = b"\x83\xc3\x01\x74\x00".repeat(BLOCKS);
    code.push(0xF4);
    let mut env = Flat::new();
    env.map(CODE, code.len() as u64, RX);
    env.write(CODE, &code);
    let mut cpu = Cpu::new();
    cpu.rip = CODE;
    let mut engine = Engine::new();
    for _ in 0..2 {
        cpu.rip = CODE;
        assert_eq!(engine.run(&mut cpu, &mut env, u64::MAX), Exit::Trap(TrapKind::Gp));
    }
    assert_eq!(cpu.slot[3], 2 * BLOCKS as u64);
}
