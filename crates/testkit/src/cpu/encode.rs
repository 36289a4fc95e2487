//! Encodes random instances of the templates with legacy prefixes, and decodes what came of it.

use super::random::Rng;
use super::templates::Template;
use super::{ENTRY, LEAVE};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

/// Longest instruction (SDM vol. 2, 2.3.11).
const LONGEST: usize = 15;

/// Decodes the instruction at the start of `code`; `None` if it is not a whole valid one.
pub fn decode(code: &[u8]) -> Option<Instruction> {
    let ins = Decoder::with_ip(64, code, ENTRY, DecoderOptions::NONE).decode();
    (!ins.is_invalid() && ins.len() == code.len()).then_some(ins)
}

/// All instructions of `code`.
pub fn all(code: &[u8]) -> Vec<Instruction> {
    Decoder::with_ip(64, code, ENTRY, DecoderOptions::NONE).iter().collect()
}

/// The bytes to put behind `code`: a jump to [`LEAVE`] if it can only end there, in a fault or in a trap; int3 otherwise.
pub fn behind(code: &[u8]) -> [u8; 8] {
    let mut bytes = [0xcc; 8];
    let end = ENTRY + code.len() as u64;
    if falls_through(code, end) {
        bytes[0] = 0xe9;
        let distance = LEAVE.wrapping_sub(end + 5) as i32;
        bytes[1..5].copy_from_slice(&distance.to_le_bytes());
    }
    bytes
}

fn falls_through(code: &[u8], end: u64) -> bool {
    let instructions = match decode(code) {
        Some(ins) => vec![ins],
        None => all(code),
    };
    instructions.last().is_some_and(|last| last.next_ip() == end)
        && instructions.iter().all(|ins| match ins.flow_control() {
            FlowControl::Next => !ins.is_invalid(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                let target = ins.near_branch_target();
                target == end || instructions.iter().any(|i| i.ip() == target)
            }
            _ => false,
        })
}

/// A random instance of `t`, as a rule a valid one.
pub fn encode(rng: &mut Rng, t: &Template) -> Vec<u8> {
    if let Some(vex) = &t.vex {
        return super::vex::encode(rng, t, vex);
    }
    let mut code = Vec::new();
    let narrow = t.narrow && rng.one_in(4);
    if narrow {
        code.push(0x66);
    }
    if t.repeat && rng.one_in(2) {
        code.push(rng.pick(&[0xf2, 0xf3]));
    }
    code.extend(t.prefix);
    let mut rex = 0;
    if rng.one_in(2) {
        rex = 0x40 | rng.bits() as u8 & 7;
    }
    let wide = t.force_wide || t.wide && rng.one_in(2);
    if wide {
        rex |= 0x48;
    }
    if rex != 0 {
        code.push(rex);
    }
    code.extend(&t.opcode);
    if let Some(last) = code.last_mut() {
        *last += rng.below(usize::from(t.last - *last) + 1) as u8;
    }
    if t.imm == 0xfe {
        let near = rng.below(0x200) as i32 - 0x100;
        let distance = if rng.one_in(16) { rng.bits() as i32 } else { near };
        code.extend(distance.to_le_bytes());
        return code;
    }
    let imm = if t.imm == 0xff { if narrow && !wide { 2 } else { 4 } } else { t.imm };
    tail(rng, t, &mut code, imm, false);
    code
}

/// Appends ModRM (with a SIB byte if `sib`), displacement and `imm` bytes of immediate.
pub fn tail(rng: &mut Rng, t: &Template, code: &mut Vec<u8>, imm: u8, sib: bool) {
    if let Some(fixed) = t.modrm {
        let reg = fixed.unwrap_or(rng.below(8) as u8);
        let register = t.register_only || !t.memory_only && rng.one_in(2);
        let mode = if register { 3 } else { rng.below(3) as u8 };
        let rm = if sib { 4 } else { rng.below(8) as u8 };
        code.push(mode << 6 | reg << 3 | rm);
        let mut base = rm;
        if mode != 3 && rm == 4 {
            let sib = rng.bits() as u8;
            code.push(sib);
            base = sib & 7;
        }
        match mode {
            1 => code.push(rng.bits() as u8),
            2 => code.extend((rng.bits() as i32 >> 8).to_le_bytes()),
            0 if base == 5 => code.extend([0; 4]),
            _ => {}
        }
    }
    let bytes = if rng.one_in(2) { rng.integer() } else { rng.bits() };
    // B8+r with REX.W takes eight bytes; two or four otherwise.
    code.extend(&bytes.to_le_bytes()[..usize::from(imm)]);
}

/// Puts legacy prefixes before the instruction, or among its own: redundant ones, some after REX (which is then
/// ignored), LOCK, and now and then more than fit.
pub fn decorate(rng: &mut Rng, code: &mut Vec<u8>) {
    const PREFIXES: [u8; 12] =
        [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x48];
    let own = code.iter().take_while(|b| PREFIXES.contains(b) || **b >> 4 == 4).count();
    let mut put = |rng: &mut Rng, byte: u8| {
        let at = rng.below(own + 1);
        code.insert(at, byte);
    };
    if rng.one_in(12) {
        // A run of one prefix up to the limit, or one beyond.
        let wanted = LONGEST - 2 + rng.below(5);
        let byte = rng.pick(&[0x66, 0x67, 0x2e, 0x3e, 0xf2, 0xf3]);
        for _ in code.len()..wanted {
            code.insert(0, byte);
        }
        return;
    }
    for _ in 0..1 + rng.below(3) {
        let byte = rng.pick(&PREFIXES);
        put(rng, byte);
    }
}
