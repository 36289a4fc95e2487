//! Memory operands: where they shall be, the registers that lead there, and what lies there.

use super::random::Rng;
use super::{CODE, DATA, DATA_LEN, ENTRY, State, WRITABLE_LEN};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, MemorySize, Mnemonic, OpKind, Register,
};

/// Bytes that the memory operand covers.
pub fn operand_size(ins: &Instruction) -> usize {
    match ins.memory_size().size() {
        0 => 16,
        n if ins.is_vsib() => 8 * n,
        n => n,
    }
}

/// Where the memory operand shall be.
pub fn target(rng: &mut Rng, ins: &Instruction) -> u64 {
    let size = operand_size(ins);
    let middle = DATA + 0x800 + rng.below(0x1000) as u64;
    // Partly before, partly behind.
    let over = |rng: &mut Rng, end: u64| end - rng.below(size + 1) as u64;
    match rng.below(32) {
        0..=2 => middle,
        3 => over(rng, DATA + 4096),
        4 => over(rng, DATA + WRITABLE_LEN as u64),
        5 => DATA + WRITABLE_LEN as u64 + 64,
        6 => over(rng, DATA + DATA_LEN as u64),
        7 => CODE - 4096,
        8 => middle & !15,
        // Not canonical, or the kernel's.
        // Not so with a base from FS or GS: AMD's processors want the address without it canonical too.
        9 if !based(ins) && ins.memory_base().is_gpr64() && !ins.memory_index().is_gpr() => {
            rng.pick(&[1 << 47, 1 << 63, u64::MAX << 47, !(1 << 62) & !63])
        }
        _ => middle & !63,
    }
}

fn based(ins: &Instruction) -> bool {
    matches!(ins.memory_segment(), Register::FS | Register::GS)
}

/// Whether the address depends on bytes of the code alone (and perhaps a register that [`place`] set with them).
pub fn is_placed_by_code(ins: &Instruction) -> bool {
    has_memory(ins) && matches!(ins.memory_base(), Register::RIP | Register::EIP | Register::None)
}

/// Whether there is a memory operand with ModRM.
pub fn has_memory(ins: &Instruction) -> bool {
    (0..ins.op_count()).any(|n| ins.op_kind(n) == OpKind::Memory)
}

/// Makes the elements of a vector index small, so that most land in the data pages.
pub fn scatter(rng: &mut Rng, ins: &Instruction, state: &mut State) {
    if !ins.is_vsib() {
        return;
    }
    let mut element = |wide: bool| {
        let near = (rng.below(0x400) as i64 - 0x200) / i64::from(ins.memory_index_scale());
        let x = if rng.one_in(24) { rng.integer() } else { near as u64 };
        if wide { u128::from(x) } else { u128::from(x as u32) }
    };
    let mut half = || {
        let wide = ins.is_vsib64();
        let bits = if wide { 64 } else { 32 };
        (0..128 / bits).fold(0, |v, i| v | element(wide) << (i * bits))
    };
    let index = ins.memory_index().number();
    let (low, high) = (half(), half());
    state.set_xmm(index, low);
    state.high[index] = high;
}

/// Makes the memory operand's address `target` by setting its base register or displacement.
pub fn place(code: &mut [u8], ins: &Instruction, state: &mut State, target: u64) -> Option<()> {
    let target = match ins.memory_segment() {
        Register::FS => target.wrapping_sub(state.fs),
        Register::GS => target.wrapping_sub(state.gs),
        _ => target,
    };
    let regs = &mut state.regs;
    if !has_memory(ins) {
        use Mnemonic::{Maskmovdqu, Maskmovq, Vmaskmovdqu};
        if matches!(ins.mnemonic(), Maskmovdqu | Maskmovq | Vmaskmovdqu) {
            regs[7] = target;
        }
        return Some(());
    }
    let number = |r: Register| r.full_register().number();
    let offsets = Decoder::with_ip(64, code, ENTRY, DecoderOptions::NONE);
    let base = ins.memory_base();
    // Elements of a vector index are made small by `scatter`.
    let index = if ins.is_vsib() { Register::None } else { ins.memory_index() };
    let relative = matches!(base, Register::RIP | Register::EIP);
    if relative || base == Register::None {
        let mut decoder = offsets;
        let again = decoder.decode();
        let constants = decoder.get_constant_offsets(&again);
        let at = constants.displacement_offset();
        if constants.displacement_size() < 4 {
            return None;
        }
        let mut disp = target as i64;
        if relative {
            disp -= ins.next_ip() as i64;
        } else if index != Register::None {
            regs[number(index)] = (regs[number(index)] & 0xff).wrapping_sub(0x80);
            disp -= regs[number(index)].wrapping_mul(ins.memory_index_scale().into()) as i64;
        }
        code.get_mut(at..at + 4)?.copy_from_slice(&(disp as i32).to_le_bytes());
        return Some(());
    }
    let mut offset = ins.memory_displacement64();
    if index != Register::None {
        if index == base {
            regs[number(base)] =
                target.wrapping_sub(offset) / (1 + u64::from(ins.memory_index_scale()));
            return Some(());
        }
        let value = match index {
            Register::AL => regs[0] & 0xff, // xlat
            _ => regs[number(index)],
        };
        offset = offset.wrapping_add(value.wrapping_mul(ins.memory_index_scale().into()));
    }
    // A bit string is addressed far off its base by the register operand: keep that near.
    if matches!(ins.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc)
        && ins.op_kind(1) == OpKind::Register
    {
        let bit = number(ins.op_register(1));
        if bit == number(base) || Some(bit) == (index != Register::None).then(|| number(index)) {
            return None;
        }
        regs[bit] = (regs[bit] & 0x1fff).wrapping_sub(0x1000);
    }
    regs[number(base)] = target.wrapping_sub(offset);
    Some(())
}

/// Puts interesting bytes around the operand and where the string registers point.
pub fn fill_memory(rng: &mut Rng, ins: &Instruction, state: &mut State, target: u64) {
    for r in [4, 5, 6, 7] {
        let v = [rng.vector().to_le_bytes(), rng.vector().to_le_bytes()].concat();
        state.memory.put(state.regs[r].wrapping_sub(8), &v);
    }
    let one = match ins.memory_size() {
        MemorySize::Float80 => {
            let (mant, se) = rng.extended();
            [&mant.to_le_bytes()[..], &se.to_le_bytes()].concat()
        }
        MemorySize::Bcd => {
            let mut digits: Vec<u8> =
                (0..10).map(|_| (rng.below(10) << 4 | rng.below(10)) as u8).collect();
            digits[9] = rng.pick(&[0, 0x80]);
            digits
        }
        MemorySize::Float32 => rng.single().to_le_bytes().to_vec(),
        MemorySize::Float64 => rng.double().to_le_bytes().to_vec(),
        _ if matches!(ins.mnemonic(), Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr) => {
            let reserved = if rng.one_in(8) { 0x10000 } else { 0 };
            (0x1f80 | rng.bits() as u32 & 0xffff | reserved).to_le_bytes().to_vec()
        }
        _ if matches!(ins.mnemonic(), Mnemonic::Fldenv | Mnemonic::Frstor) => {
            let mut image = vec![0; 108];
            image[0..2].copy_from_slice(&(0x7f | (rng.bits() as u16 & 0xf00)).to_le_bytes());
            image[4..6].copy_from_slice(&(rng.bits() as u16 & 0x7f7f).to_le_bytes());
            image[8..10].copy_from_slice(&(rng.bits() as u16).to_le_bytes());
            for i in 0..8 {
                let (mant, se) = rng.extended();
                image[28 + 10 * i..36 + 10 * i].copy_from_slice(&mant.to_le_bytes());
                image[36 + 10 * i..38 + 10 * i].copy_from_slice(&se.to_le_bytes());
            }
            image
        }
        _ if matches!(ins.mnemonic(), Mnemonic::Fxrstor | Mnemonic::Fxrstor64) => {
            let mut image = rng.state().fx.to_vec();
            image.resize(512, 0);
            image
        }
        _ if matches!(ins.mnemonic(), Mnemonic::Xrstor | Mnemonic::Xrstor64) => xsave_image(rng),
        _ => [rng.vector().to_le_bytes(), rng.vector().to_le_bytes()].concat(),
    };
    state.memory.put(target, &one);
    if ins.is_vsib() {
        for i in 0..64 {
            state.memory.put(target.wrapping_sub(512) + 16 * i, &rng.vector().to_le_bytes());
        }
    }
    match ins.mnemonic() {
        // The comparison shall succeed now and then.
        Mnemonic::Cmpxchg if rng.one_in(2) => {
            let rax = state.regs[0].to_le_bytes();
            state.memory.put(target, &rax);
        }
        Mnemonic::Cmpxchg8b if rng.one_in(2) => {
            let both = state.regs[0] & 0xffff_ffff | state.regs[2] << 32;
            state.memory.put(target, &both.to_le_bytes());
        }
        Mnemonic::Cmpxchg16b if rng.one_in(2) => {
            let both = [state.regs[0].to_le_bytes(), state.regs[2].to_le_bytes()].concat();
            state.memory.put(target, &both);
        }
        // Returns should stay in the page.
        Mnemonic::Ret => {
            let to = branch_target(rng);
            state.memory.put(state.regs[4], &to.to_le_bytes());
        }
        // TF would single-step what follows.
        Mnemonic::Popf | Mnemonic::Popfq => {
            let flags = rng.bits() & 0x3f_fe_ff;
            state.memory.put(state.regs[4], &flags.to_le_bytes());
        }
        Mnemonic::Xsave | Mnemonic::Xsave64 | Mnemonic::Xrstor | Mnemonic::Xrstor64 => {
            // Components that this processor and ours both have.
            state.regs[0] &= !0xffff_fff8;
            state.regs[2] &= !0xffff_ffff;
        }
        _ => {}
    }
    if ins.flow_control() == FlowControl::IndirectBranch
        || ins.flow_control() == FlowControl::IndirectCall
    {
        let to = branch_target(rng);
        if ins.op0_kind() == OpKind::Register {
            state.regs[ins.op0_register().full_register().number()] = to;
        } else {
            state.memory.put(target, &to.to_le_bytes());
        }
    }
}

/// Mostly in the code page, behind the instruction; else unmapped or not canonical.
fn branch_target(rng: &mut Rng) -> u64 {
    match rng.below(16) {
        0 => rng.bits(),
        1 => CODE - 4096,
        2 => 1 << 47,
        _ => ENTRY + 16 + rng.below(64) as u64,
    }
}

/// An XSAVE area in standard format, now and then with something reserved in its header.
fn xsave_image(rng: &mut Rng) -> Vec<u8> {
    let state = rng.state();
    let mut image = state.fx.to_vec();
    image.resize(576, 0);
    image[512] = rng.below(8) as u8;
    if rng.one_in(16) {
        // Not XCOMP_BV (520): the compacted format is another feature, which this processor has.
        image[528 + rng.below(48)] = 1;
    }
    for half in state.high {
        image.extend(half.to_le_bytes());
    }
    image
}
