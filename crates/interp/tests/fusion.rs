//! What the engine makes of whole blocks against the same instructions one block each: dead code, fused groups and
//! branches must not change what a program sees.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod flat;

use flat::{Flat, Prot};
use interp::{Engine, Env, Exit};
use ir::Cpu;
use mem::{Access, Fault, Frame, Tables, Translate};

/// As the flat machine, but each instruction is a block of its own, lifted alone.
struct Single(Flat);

impl Translate for Single {
    fn translate(&mut self, va: u64, access: Access) -> Result<u32, Fault> {
        self.0.translate(va, access)
    }
}

impl Env for Single {
    fn tables(&self) -> Tables {
        self.0.tables()
    }
    fn epoch(&self) -> u32 {
        self.0.epoch()
    }
    fn lift(&mut self, pc: u64) -> Result<ir::Block, Fault> {
        let bytes = self.0.read(pc, 15).expect("code");
        for len in 1..=15 {
            if let Ok(block) = x86::lift(&bytes[..len], pc, &x86::LiftOptions::default()) {
                return Ok(block);
            }
        }
        panic!("no instruction at {pc:#x}");
    }
    fn is_writable(&self, _: u64) -> bool {
        false
    }
    fn take_stale(&mut self) -> Vec<Frame> {
        self.0.take_stale()
    }
    fn has_stale(&self) -> bool {
        self.0.has_stale()
    }
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> [u32; 4] {
        self.0.cpuid(leaf, subleaf)
    }
    fn rdtsc(&mut self) -> u64 {
        self.0.rdtsc()
    }
    fn rdrand(&mut self) -> u64 {
        self.0.rdrand()
    }
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 32) % n
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x50_0000;
const DATA_LEN: u64 = 0x4000;

/// Opcodes with ModRM and no immediate.
const PLAIN: &[u8] = &[
    0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x0A, 0x0B, 0x10, 0x11, 0x13, 0x18, 0x19, 0x1B, 0x20, 0x21,
    0x23, 0x28, 0x29, 0x2A, 0x2B, 0x30, 0x31, 0x33, 0x38, 0x39, 0x3A, 0x3B, 0x63, 0x84, 0x85, 0x86,
    0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8D, 0xD0, 0xD1, 0xD2, 0xD3,
];
/// Second opcode bytes after 0F with ModRM and no immediate.
const ESCAPED: &[u8] = &[
    0x40, 0x42, 0x44, 0x45, 0x46, 0x47, 0x48, 0x4C, 0x4D, 0x4E, 0x4F, 0x90, 0x92, 0x93, 0x94, 0x95,
    0x98, 0x9A, 0x9C, 0x9F, 0xA3, 0xA5, 0xAB, 0xAD, 0xAF, 0xB1, 0xB3, 0xB6, 0xB7, 0xBB, 0xBC, 0xBD,
    0xBE, 0xBF, 0xC0, 0xC1,
];

/// ModRM (and SIB, displacement): a register, or memory near a register that points into the data.
fn modrm(rng: &mut Rng, group: Option<u8>, out: &mut Vec<u8>) {
    let reg = group.unwrap_or(rng.below(8) as u8);
    match rng.below(3) {
        0 => {
            // [rsi|rdi|rbp + disp8]
            out.extend([0x40 | reg << 3 | rng.pick(&[5, 6, 7]), rng.next() as u8]);
        }
        1 if rng.below(3) == 0 => {
            // [rdi + rdx * scale + disp8]
            let scale = rng.below(4) as u8;
            out.extend([0x44 | reg << 3, scale << 6 | 2 << 3 | 7, rng.next() as u8]);
        }
        _ => out.push(0xC0 | reg << 3 | rng.below(8) as u8),
    }
}

fn instruction(rng: &mut Rng, out: &mut Vec<u8>) {
    let prefix = rng.below(8);
    if prefix == 0 {
        out.push(0x66);
    }
    let wide = rng.below(2) as u8;
    match rng.below(12) {
        0 | 1 => {
            out.extend([0x48 * wide + 0x40 * (1 - wide), rng.pick(&[0x81, 0x83, 0x83, 0x80])]);
            let opcode = *out.last().unwrap();
            let group = rng.below(8) as u8;
            modrm(rng, Some(group), out);
            let bytes = match opcode {
                0x81 if prefix == 0 && wide == 0 => 2,
                0x81 => 4,
                _ => 1,
            };
            out.extend(&rng.next().to_le_bytes()[..bytes]);
        }
        2 => {
            out.extend([0x40 | wide << 3, rng.pick(&[0xC0, 0xC1])]);
            let group = rng.pick(&[0, 1, 2, 3, 4, 5, 7]);
            modrm(rng, Some(group), out);
            out.push(rng.pick(&[0, 1, 1, 3, 8, 31, 33, 63]));
        }
        3 => {
            out.extend([0x40 | wide << 3, rng.pick(&[0xFE, 0xFF])]);
            let group = rng.below(2) as u8;
            modrm(rng, Some(group), out);
        }
        4 => {
            out.extend([0x40 | wide << 3, rng.pick(&[0xF6, 0xF7])]);
            let group = rng.pick(&[2, 3, 4, 5]);
            modrm(rng, Some(group), out);
        }
        5 => {
            let push = rng.pick(&[0x50, 0x51, 0x52, 0x53, 0x55, 0x58, 0x59, 0x5A, 0x5B]);
            out.push(push);
        }
        6 => {
            out.push(rng.pick(&[0x98, 0x99, 0xF5, 0xF8, 0xF9, 0x9E, 0x9F, 0x90]));
        }
        7 => {
            out.extend([0x40 | wide << 3, 0xB8 | rng.below(4) as u8]);
            let bytes = match (wide, prefix) {
                (1, _) => 8,
                (_, 0) => 2,
                _ => 4,
            };
            out.extend(&rng.next().to_le_bytes()[..bytes]);
        }
        8 => {
            out.push(0xC6);
            modrm(rng, Some(0), out);
            out.push(rng.next() as u8);
        }
        9 | 10 => {
            out.extend([0x40 | wide << 3, rng.pick(PLAIN)]);
            let opcode = *out.last().unwrap();
            let group = (opcode >= 0xD0).then(|| rng.pick(&[0, 1, 2, 3, 4, 5, 7]));
            if opcode == 0x8D {
                out.extend([0x40 | (rng.below(4) as u8) << 3 | 6, rng.next() as u8]);
            } else {
                modrm(rng, group, out);
            }
        }
        _ => {
            out.extend([0x40 | wide << 3, 0x0F, rng.pick(ESCAPED)]);
            modrm(rng, None, out);
        }
    }
}

/// A program: a few instructions, a branch over one more, hlt.
fn program(rng: &mut Rng) -> Vec<u8> {
    let mut code = Vec::new();
    for _ in 0..1 + rng.below(10) {
        instruction(rng, &mut code);
    }
    // cc 0..16, sometimes right after a comparison
    if rng.below(2) == 0 {
        code.extend([0x48, rng.pick(&[0x39, 0x85, 0x29, 0x21, 0x01]), 0xC0 | rng.below(64) as u8]);
    }
    let mut skipped = Vec::new();
    instruction(rng, &mut skipped);
    code.extend([0x70 | rng.below(16) as u8, skipped.len() as u8]);
    code.extend(skipped);
    code.push(0xF4);
    code
}

fn memory() -> Flat {
    let mut env = Flat::new();
    env.map(CODE, 0x1000, Prot { write: false, exec: true });
    env.map(DATA, DATA_LEN, Prot { write: true, exec: false });
    env
}

fn start(rng: &mut Rng) -> Cpu {
    let mut cpu = Cpu::new();
    for slot in &mut cpu.slot[..16] {
        *slot = match rng.below(3) {
            0 => rng.below(16),
            1 => rng.next(),
            _ => [0, 1, 0x7F, 0x80, 0xFFFF_FFFF, u64::MAX, 1 << 63, 0x8000_0000]
                [rng.below(8) as usize],
        };
    }
    for (slot, at) in [(4, 0x2000), (5, 0x1000), (6, 0x1800), (7, 0x2800)] {
        cpu.slot[slot] = DATA + at;
    }
    cpu.slot[2] = rng.below(64);
    cpu.set_rflags(rng.next() & 0x8D5);
    cpu.rip = CODE;
    cpu
}

/// Runs to the end: everything a program could see, or `None` where an access failed (flags may then differ, see the
/// crate's page).
fn outcome<E: Env>(cpu: &mut Cpu, env: &mut E) -> (Exit, Option<(Vec<u64>, u64, u64)>) {
    let mut engine = Engine::new();
    for _ in 0..1000 {
        let exit = engine.run(cpu, env, 3);
        if exit != Exit::OutOfFuel {
            let stopped = matches!(exit, Exit::Fault(_));
            let seen = (cpu.slot[..16].to_vec(), cpu.rip, cpu.rflags());
            if stopped {
                return (exit, Some((seen.0, seen.1, 0)));
            }
            return (exit, Some(seen));
        }
    }
    (Exit::OutOfFuel, None)
}

#[test]
fn blocks_mean_what_their_instructions_mean() {
    let mut rng = Rng(0x1234_5678_9ABC_DEF1);
    let mut whole = memory();
    let mut single = Single(memory());
    let filler: Vec<u8> = (0..DATA_LEN).map(|i| ((i * 37) >> 3) as u8).collect();
    let mut faults = 0;
    for case in 0..2500 {
        let code = program(&mut rng);
        let cpu = start(&mut rng);
        for env in [&mut whole, &mut single.0] {
            env.write(CODE, &code);
            env.write(DATA, &filler);
        }
        let (mut a, mut b) = (cpu.clone(), cpu.clone());
        let one = outcome(&mut a, &mut whole);
        let other = outcome(&mut b, &mut single);
        let hex: String = code.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(one, other, "case {case}: {hex}");
        let same = whole.read(DATA, DATA_LEN as usize) == single.0.read(DATA, DATA_LEN as usize);
        assert!(same, "case {case}: memory differs: {hex}");
        faults += usize::from(matches!(one.0, Exit::Fault(_)));
    }
    assert!(faults < 1250, "most programs shall run to their end, {faults} did not");
}
