//! Loops and calls made of sequences of instructions.

use testkit::cpu::encode::all;
use testkit::cpu::random::Rng;
use testkit::cpu::{Case, DATA, ENTRY, MAX_CODE};

/// The case with numbers of everyday in vectors and around addresses, and MXCSR as it is after the first of them was inexact.
pub fn ordinary(rng: &mut Rng, case: &Case) -> Case {
    let mut case = case.clone();
    let double = rng.one_in(2);
    case.state.set_mxcsr(if rng.one_in(3) { 0x1f80 } else { 0x1fa0 });
    let vector = |rng: &mut Rng| {
        let number = |rng: &mut Rng| match rng.below(12) {
            0 => 0.0,
            1 | 2 => rng.below(100) as f64 - 50.0,
            3 if rng.one_in(4) => f64::INFINITY,
            4 if rng.one_in(4) => 1e-30,
            _ => (rng.bits() as i64 as f64) / f64::from(1u32 << rng.below(31)) / 1e15,
        };
        if rng.one_in(32) {
            return rng.vector();
        }
        let bits = |rng: &mut Rng| match double {
            true => number(rng).to_bits(),
            false => {
                let pair = [number(rng) as f32, number(rng) as f32].map(f32::to_bits);
                u64::from(pair[0]) | u64::from(pair[1]) << 32
            }
        };
        u128::from(bits(rng)) | u128::from(bits(rng)) << 64
    };
    for i in 0..16 {
        case.state.set_xmm(i, vector(rng));
        case.state.high[i] = vector(rng);
    }
    for r in (0..16).filter(|r| matches!(r, 4..8 | 12..15)) {
        let base = case.state.regs[r] & !15;
        for i in 0..8 {
            case.state.memory.put(base.wrapping_sub(64) + 16 * i, &vector(rng).to_le_bytes());
        }
    }
    case
}

/// A pattern that is rotated: a bit of it decides whether to go round once more. Two of them.
const BITS: [u64; 2] = [DATA + 0x80, DATA + 0x84];
/// Where rsp is kept.
const SAVED: u64 = DATA + 0x88;
/// Where an address to go to lies.
const GOAL: [u64; 2] = [DATA + 0x90, DATA + 0x98];

/// `ror byte [at], 1`, then `jc` to offset `to`.
fn again(code: &mut Vec<u8>, at: u64, to: usize) {
    code.extend([0xd0, 0x0c, 0x25]);
    code.extend((at as u32).to_le_bytes());
    code.extend([0x0f, 0x82]);
    distance(code, to);
}

/// An instruction with an absolute address.
fn absolute(code: &mut Vec<u8>, bytes: &[u8], at: u64) {
    code.extend(bytes);
    code.extend((at as u32).to_le_bytes());
}

/// The distance from behind it to offset `to`.
fn distance(code: &mut Vec<u8>, to: usize) {
    let from = code.len() as i32 + 4;
    code.extend((to as i32 - from).to_le_bytes());
}

fn finish(case: &Case, rng: &mut Rng, code: Vec<u8>) -> Option<Case> {
    let mut state = case.state.clone();
    for at in BITS {
        // Never all ones.
        let pattern = rng.bits() as u8 & rng.bits() as u8 & 0x7f;
        state.memory.put(at, &[pattern]);
    }
    (code.len() <= MAX_CODE).then_some(Case { code, state })
}

/// The sequence in a loop within a loop; branches of the sequence may lead into the inner one.
pub fn looped(rng: &mut Rng, case: &Case) -> Option<Case> {
    let instructions = all(&case.code);
    let middle = (instructions[rng.below(instructions.len())].ip() - ENTRY) as usize;
    let mut code = case.code.clone();
    again(&mut code, BITS[0], middle);
    again(&mut code, BITS[1], 0);
    finish(case, rng, code)
}

/// The sequence as a function, called again and again, directly or not, from itself too; and the addresses that it goes to by
/// way of memory.
pub fn called(rng: &mut Rng, case: &Case) -> Option<(Case, Vec<u64>)> {
    let mut code = Vec::new();
    let (call_indirect, jump_indirect) = (rng.one_in(2), rng.one_in(2));
    // What comes before the function.
    let length = if call_indirect { 7 } else { 5 } + 13 + if jump_indirect { 7 } else { 5 };
    let function = |code: &mut Vec<u8>| {
        absolute(code, &[0x48, 0x89, 0x24, 0x25], SAVED);
        code.extend(&case.code);
        absolute(code, &[0x48, 0x8b, 0x24, 0x25], SAVED);
        // ror byte [BITS[1]], 1; jnc +5; call
        absolute(code, &[0xd0, 0x0c, 0x25], BITS[1]);
        code.extend([0x73, 5, 0xe8]);
        distance(code, length);
        code.push(0xc3);
    };
    if call_indirect {
        absolute(&mut code, &[0xff, 0x14, 0x25], GOAL[0]);
    } else {
        code.push(0xe8);
        distance(&mut code, length);
    }
    again(&mut code, BITS[0], 0);
    let mut body = vec![0; length];
    function(&mut body);
    let end = body.len();
    if jump_indirect {
        absolute(&mut code, &[0xff, 0x24, 0x25], GOAL[1]);
    } else {
        code.push(0xe9);
        distance(&mut code, end);
    }
    function(&mut code);
    let mut made = finish(case, rng, code)?;
    let goals = [ENTRY + length as u64, ENTRY + end as u64];
    for (at, goal) in GOAL.into_iter().zip(goals) {
        made.state.memory.put(at, &goal.to_le_bytes());
    }
    Some((made, goals.to_vec()))
}
