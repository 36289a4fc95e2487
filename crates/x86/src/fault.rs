//! What the processor reports of an instruction that faulted, where that does not follow from the IR op that did: asked
//! after the fault, so that it costs no block anything.

use iced_x86::{
    CodeSize, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    Register, UsedMemory,
};

use crate::MAX_INSTRUCTION_LEN;

/// How a faulting data access is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// #PF of a load.
    Load,
    /// #PF of a store, or of an instruction that reads what it then writes: its load asks for the right to write too.
    /// Where the operand starts: if that byte cannot be written, it is the one that is reported.
    Store(u64),
    /// #GP: not canonical.
    General,
    /// #SS: not canonical, and in the stack segment.
    Stack,
}

/// Values of the registers: general ones in encoding order, then the bases of FS and GS.
pub type Registers = [u64; 18];

fn is_canonical(va: u64) -> bool {
    (va as i64) << 16 >> 16 == va as i64
}

/// Judges the access to `addr` (the first byte that could not be accessed; `store` says how) by the instruction `bytes`
/// at `pc`. `regs` are as before the instruction.
pub fn judge(bytes: &[u8], pc: u64, addr: u64, store: bool, regs: &Registers) -> Report {
    let ins = Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE).decode();
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(&ins).used_memory();
    let beyond = bit_string_offset(&ins, regs);
    let reads = |m: &UsedMemory| matches!(m.access(), OpAccess::Read | OpAccess::CondRead);
    let writes = |m: &UsedMemory| {
        use OpAccess::*;
        matches!(m.access(), Write | CondWrite | ReadWrite | ReadCondWrite)
    };
    // CALL and others read one place and write another, which may overlap.
    let mut candidates = used.iter().filter(|m| !store || writes(m));
    let hit = candidates.find(|m| {
        let at = reached(m, regs, beyond);
        addr.wrapping_sub(at) < (m.memory_size().size() as u64).max(1)
    });
    // Gathers have no one address; the fault is at the start of an element, but for one that goes on to another page.
    let element = if ins.is_vsib() { ins.memory_size().element_size() as u64 } else { 1 };
    let size = hit.map_or(element, |m| (m.memory_size().size() as u64).max(1));
    // A masked store does not touch the lanes before the one that failed.
    use Mnemonic::{Vmaskmovpd, Vmaskmovps, Vpmaskmovd, Vpmaskmovq};
    let masked = matches!(ins.mnemonic(), Vmaskmovps | Vmaskmovpd | Vpmaskmovd | Vpmaskmovq);
    let whole = hit.filter(|_| !masked);
    let start = whole.map_or(addr, |m| reached(m, regs, beyond));
    if !is_canonical(addr) || !is_canonical(start.wrapping_add(size - 1)) {
        let stack = hit.is_some_and(in_stack_segment);
        return if stack { Report::Stack } else { Report::General };
    }
    // An instruction with one operand to read and another to write says itself which one failed.
    if store || used.iter().any(writes) && !used.iter().any(reads) {
        Report::Store(start)
    } else {
        Report::Load
    }
}

/// How far from its memory operand a bit test reaches: its index register counts bits from there, signed.
fn bit_string_offset(ins: &Instruction, regs: &Registers) -> u64 {
    use Mnemonic::{Bt, Btc, Btr, Bts};
    let register = ins.op1_register();
    if !matches!(ins.mnemonic(), Bt | Btc | Btr | Bts) || !register.is_gpr() {
        return 0;
    }
    let index = regs.get(register.full_register().number()).copied().unwrap_or_default();
    let bytes = register.size() as i64;
    let index = (index as i64) << (64 - 8 * bytes) >> (64 - 8 * bytes);
    (index.div_euclid(8 * bytes) * bytes) as u64
}

/// DS, ES, CS and SS prefixes mean nothing in 64-bit mode: the base register alone chooses the stack segment.
fn in_stack_segment(m: &UsedMemory) -> bool {
    !matches!(m.segment(), Register::FS | Register::GS)
        && matches!(m.base().full_register(), Register::RSP | Register::RBP)
}

/// The address `beyond` the operand `m`, cut to the address size before the segment's base is added.
fn reached(m: &UsedMemory, regs: &Registers, beyond: u64) -> u64 {
    let at = address(m, regs);
    if m.address_size() != CodeSize::Code32 {
        return at.wrapping_add(beyond);
    }
    let base = match m.segment() {
        Register::FS => regs[16],
        Register::GS => regs[17],
        _ => 0,
    };
    base.wrapping_add(at.wrapping_sub(base).wrapping_add(beyond) & 0xffff_ffff)
}

fn address(m: &UsedMemory, regs: &Registers) -> u64 {
    let value = |r: Register, _, _| {
        let n = match r {
            Register::FS => 16,
            Register::GS => 17,
            r if r.is_segment_register() => return Some(0),
            r if r.is_gpr() => r.full_register().number(),
            _ => return None,
        };
        let bits = 8 * r.size().clamp(1, 8) as u32;
        let value = regs.get(n).copied()?;
        Some(if r.is_segment_register() || bits == 64 { value } else { value & ((1 << bits) - 1) })
    };
    m.virtual_address(0, value).unwrap_or(0)
}

/// The error code that #GP of the instruction `bytes` comes with: the vector of INT n (SDM vol. 3, 6.13).
pub fn error_code(bytes: &[u8]) -> u16 {
    let ins = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
    match ins.mnemonic() {
        Mnemonic::Int => u16::from(ins.immediate8()) << 3 | 2,
        _ => 0,
    }
}

/// Whether `bytes`, which do not decode, are an instruction of more than 15 bytes (#GP, not #UD; SDM vol. 2, 2.3.11):
/// with the repeated prefixes left out they decode to one that fills what is left.
pub(crate) fn is_too_long(bytes: &[u8]) -> bool {
    let prefix = |b: &u8| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let prefixes = bytes.iter().take_while(|b| prefix(b) || **b & 0xf0 == 0x40).count();
    if prefixes >= MAX_INSTRUCTION_LEN {
        return true;
    }
    let (head, rest) = bytes.split_at(prefixes);
    let mut kept: Vec<u8> = Vec::new();
    for (i, b) in head.iter().enumerate() {
        let last = i + 1 == head.len();
        let rex = b & 0xf0 == 0x40;
        if (last && rex) || (!rex && !head[i + 1..].contains(b)) {
            kept.push(*b);
        }
    }
    // Whether they are an instruction then, and if so whether its length is too much.
    let too_long = |mut kept: Vec<u8>| {
        let dropped = head.len() - kept.len();
        kept.extend(rest);
        // What lies beyond the bytes at hand does not matter: 15 are over already.
        kept.resize(kept.len() + MAX_INSTRUCTION_LEN, 0);
        let ins = Decoder::new(64, &kept, DecoderOptions::NONE).decode();
        (!ins.is_invalid()).then(|| ins.len() + dropped > MAX_INSTRUCTION_LEN)
    };
    // Whether it is an instruction at all may depend on 66, F0, F2 and F3, its length (but for 66) does not.
    let without = |drop: &[u8]| kept.iter().copied().filter(|b| !drop.contains(b)).collect();
    let drops: [&[u8]; 4] = [&[], &[0xf0], &[0xf0, 0xf2, 0xf3], &[0x66, 0xf0, 0xf2, 0xf3]];
    // The first that is one says it: without 66 an immediate may be longer.
    drops.into_iter().find_map(|drop| too_long(without(drop))).unwrap_or(false)
}
