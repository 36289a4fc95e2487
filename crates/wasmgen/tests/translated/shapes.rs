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

/// A loop of one block, or of two, within another loop, whose accesses go through the data pages in steps, up to their ends and beyond.
pub fn striding(rng: &mut Rng) -> Case {
    const BODY: [&[u8]; 25] = [
        &[0x0f, 0xb6, 0x06],                                     // movzx eax, byte [rsi]
        &[0x00, 0x07],                                           // add [rdi], al
        &[0x48, 0x8b, 0x46, 0x08],                               // mov rax, [rsi + 8]
        &[0x89, 0x44, 0x4f, 0xfc],                               // mov [rdi + 2 * rcx - 4], eax
        &[0x48, 0x8b, 0x14, 0x0e],                               // mov rdx, [rsi + rcx]
        &[0x48, 0x31, 0xd0],                                     // xor rax, rdx
        &[0xf3, 0x0f, 0x6f, 0x04, 0x0e],                         // movdqu xmm0, [rsi + rcx]
        &[0x66, 0x0f, 0x6f, 0x0f],                               // movdqa xmm1, [rdi]
        &[0x66, 0x0f, 0xfe, 0x46, 0x10],                         // paddd xmm0, [rsi + 16]
        &[0x0f, 0x11, 0x47, 0xf0],                               // movups [rdi - 16], xmm0
        &[0x0f, 0x29, 0x44, 0x0e, 0x10],                         // movaps [rsi + rcx + 16], xmm0
        &[0xf2, 0x0f, 0x10, 0x16],                               // movsd xmm2, [rsi]
        &[0xf2, 0x0f, 0x59, 0x17],                               // mulsd xmm2, [rdi]
        &[0xf2, 0x0f, 0x11, 0x57, 0x08],                         // movsd [rdi + 8], xmm2
        &[0x66, 0x0f, 0xf4, 0xc1],                               // pmuludq xmm0, xmm1
        &[0x48, 0x11, 0xd0],                                     // adc rax, rdx
        &[0x0f, 0x92, 0x07],                                     // setb byte [rdi]
        &[0x48, 0xff, 0xc2],                                     // inc rdx
        &[0x50, 0x5a],                                           // push rax; pop rdx
        &[0x48, 0x83, 0xc7, 0x10, 0x48, 0x8b, 0x07],             // add rdi, 16; mov rax, [rdi]
        &[0x49, 0x89, 0xf0, 0x41, 0x8b, 0x48, 0x04],             // mov r8, rsi; mov ecx, [r8 + 4]
        &[0x41, 0x00, 0x02],                                     // add [r10], al
        &[0x0f, 0xb6, 0xc8, 0x41, 0x8b, 0x04, 0x8a], // movzx ecx, al; mov eax, [r10 + 4 * rcx]
        &[0x0f, 0xb6, 0xc8, 0x66, 0x41, 0x01, 0x44, 0x4a, 0x08], // movzx ecx, al; add [r10 + 2 * rcx + 8], ax
        &[0x83, 0xe2, 0x3f, 0x42, 0x8a, 0x14, 0x12],             // and edx, 63; mov dl, [rdx + r10]
    ];
    const STEPS: [i8; 16] = [-64, -32, -16, -16, -8, -3, -1, 0, 1, 2, 4, 8, 16, 16, 32, 64];
    let count = 1 + rng.below(6);
    let mut parts: Vec<Vec<u8>> = (0..count).map(|_| rng.pick(&BODY).to_vec()).collect();
    // add rsi, add rdi, add rcx
    for register in [0xc6, 0xc7, 0xc1] {
        if !rng.one_in(3) {
            let at = rng.below(parts.len() + 1);
            parts.insert(at, vec![0x48, 0x83, register, rng.pick(&STEPS) as u8]);
        }
    }
    if rng.one_in(3) {
        // add rsi, r9 or add rdi, r9
        let at = rng.below(parts.len() + 1);
        parts.insert(at, vec![0x4c, 0x01, rng.pick(&[0xce, 0xcf])]);
    }
    if rng.one_in(2) {
        // Sometimes not, or over the end: test al, 1; jne, or jb of the last turn's flags.
        let (at, test) = (rng.below(parts.len() + 1), rng.one_in(2));
        let skipped = rng.pick(&BODY);
        let jump: &[u8] = if test { &[0xa8, 1, 0x75] } else { &[0x72] };
        parts.insert(at, [jump, &[skipped.len() as u8], skipped].concat());
    }
    let again: &[u8] = match rng.below(3) {
        0 => &[0x48, 0x83, 0xeb, 1, 0x75], // sub rbx, 1; jne
        1 => &[0x4c, 0x39, 0xe6, 0x72],    // cmp rsi, r12; jb
        _ => &[0xff, 0xcb, 0x74, 2, 0xeb], // dec ebx; je behind; jmp
    };
    // mov rbx, r14
    let mut code = vec![0x4c, 0x89, 0xf3];
    let jump = |code: &mut Vec<u8>, to: usize| {
        code.push((to as i32 - code.len() as i32 - 1) as u8);
    };
    if rng.one_in(2) {
        let start = code.len();
        code.extend(parts.concat());
        code.extend(again);
        jump(&mut code, start);
    } else {
        // In two parts, of which the second one lies before the first.
        let second = parts.split_off(rng.below(parts.len() + 1));
        let (first, second) = (parts.concat(), second.concat());
        let at = code.len() + 2;
        let start = at + second.len() + again.len() + 1 + 2;
        code.push(0xeb);
        jump(&mut code, start);
        code.extend(second);
        code.extend(again);
        jump(&mut code, start);
        code.push(0xeb);
        jump(&mut code, start + first.len() + 2);
        code.extend(first);
        code.push(0xeb);
        jump(&mut code, at);
    }
    // dec r13; jne
    code.extend([0x49, 0xff, 0xcd, 0x0f, 0x85]);
    distance(&mut code, 0);
    let mut state = testkit::cpu::State::default();
    let place = |rng: &mut Rng| {
        let at = DATA + rng.below(0x2f00) as u64;
        if rng.one_in(4) { at } else { at & !15 }
    };
    for i in 0..3 {
        state.set_xmm(i, rng.vector());
    }
    state.set_mxcsr(if rng.one_in(2) { 0x1f80 } else { 0x1fa0 });
    for at in (0..0x3000).step_by(8) {
        if !rng.one_in(8) {
            continue;
        }
        let number = (rng.below(1000) as f64 / 8.0).to_bits();
        let number = if rng.one_in(3) { rng.bits() } else { number };
        state.memory.put(DATA + at, &number.to_le_bytes());
    }
    state.regs[0] = rng.bits();
    state.regs[1] = rng.below(64) as u64;
    state.regs[2] = rng.bits();
    state.regs[4] = place(rng);
    state.regs[6] = place(rng);
    state.regs[7] = place(rng);
    state.regs[9] = rng.pick(&[1, 2, 8, 16, 16, 48, 255, 256, 257, 4096, u64::MAX, 0]);
    state.regs[10] = place(rng);
    state.regs[12] = place(rng);
    state.regs[13] = 1 + rng.below(3) as u64;
    let most = if rng.one_in(3) { 400 } else { 60 };
    state.regs[14] = 1 + rng.below(most) as u64;
    Case { code, state }
}
