//! Makes cases from templates: random operands, and memory operands that land in the data pages.

use super::compare::still_undefined;
use super::promised;
use super::random::Rng;
use super::templates::Template;
use super::{CODE, Case, DATA, DATA_LEN, ENTRY, State, WRITABLE_LEN};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, MemorySize,
    Mnemonic, OpKind, Register,
};

/// Decodes the instruction at the start of `code`; `None` if it is not a whole valid one.
pub fn decode(code: &[u8]) -> Option<Instruction> {
    let ins = Decoder::with_ip(64, code, ENTRY, DecoderOptions::NONE).decode();
    (!ins.is_invalid() && ins.len() == code.len()).then_some(ins)
}

/// All instructions of `code`.
pub fn all(code: &[u8]) -> Vec<Instruction> {
    Decoder::with_ip(64, code, ENTRY, DecoderOptions::NONE).iter().collect()
}

/// Several instructions in a row, the last one perhaps a branch: for what the interpreter does across instructions
/// (dead flags, fused pairs). No instruction reads a flag that the ones before leave undefined.
pub fn sequence(rng: &mut Rng, templates: &[Template]) -> Option<Case> {
    let (mut code, mut state) = (Vec::new(), rng.state());
    let mut undefined = 0;
    // Registers that hold an address, or were written.
    let mut taken: Vec<usize> = Vec::new();
    let mut target = 0;
    let mut factory = InstructionInfoFactory::new();
    for _ in 0..2 + rng.below(6) {
        let template = &templates[rng.below(templates.len())];
        let wanted = ["alu", "shift", "bits", "move", "muldiv", "sse2"];
        if !wanted.contains(&template.family) || template.family != "alu" && rng.one_in(2) {
            continue;
        }
        let mut one = encode(rng, template);
        let Some(ins) = decode(&one) else { continue };
        let branch = ins.flow_control() != FlowControl::Next;
        if excluded(&ins) || branch || ins.is_stack_instruction() {
            continue;
        }
        if ins.rflags_read() & undefined != 0 {
            continue;
        }
        let written: Vec<usize> = factory
            .info(&ins)
            .used_registers()
            .iter()
            .filter(|r| r.register().is_gpr() && r.access() != iced_x86::OpAccess::Read)
            .map(|r| r.register().full_register().number())
            .collect();
        if (0..ins.op_count()).any(|n| ins.op_kind(n) == OpKind::Memory) {
            let number = |r: Register| r.full_register().number();
            let (base, index) = (ins.memory_base(), ins.memory_index());
            let busy = |r: Register| r != Register::None && taken.contains(&number(r));
            let wild = matches!(
                ins.mnemonic(),
                Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
            );
            if !base.is_gpr() || busy(base) || busy(index) || wild {
                continue;
            }
            target = self::target(rng, &ins);
            if place(&mut one, &ins, &mut state.regs, target).is_none() {
                continue;
            }
            taken.push(number(base));
            if index != Register::None {
                taken.push(number(index));
            }
        } else if (0..ins.op_count()).any(|n| ins.op_kind(n) > OpKind::Immediate32to64) {
            continue; // strings, xlat
        }
        taken.extend(written);
        undefined = still_undefined(undefined, &ins);
        code.extend(one);
    }
    // Jcc, setcc al or cmovcc eax, ecx.
    let cc = rng.below(16) as u8;
    let tail: Vec<u8> = match rng.below(4) {
        0 => vec![0x0f, 0x90 | cc, 0xc0],
        1 => vec![0x0f, 0x40 | cc, 0xc1],
        2 => vec![],
        _ => vec![0x70 | cc, 1 + rng.below(100) as u8],
    };
    if decode(&tail).is_none_or(|i| i.rflags_read() & undefined == 0) {
        code.extend(tail);
    }
    if code.is_empty() || code.len() > super::MAX_CODE {
        return None;
    }
    fill_memory(rng, &Instruction::default(), &mut state, target);
    Some(Case { code, state })
}

/// A random case of `template`, or `None` if this try made no instruction.
pub fn case(rng: &mut Rng, template: &Template) -> Option<Case> {
    let mut code = encode(rng, template);
    let Some(ins) = decode(&code) else {
        // An encoding that is none must be #UD on both sides. The table of the old ones is too coarse for that.
        return template.vex.is_some().then(|| Case { code, state: rng.state() });
    };
    if excluded(&ins) {
        return None;
    }
    if ins.flow_control() == FlowControl::ConditionalBranch && ins.near_branch_target() == ENTRY {
        // A branch to itself never ends; only a counted loop may.
        if !ins.is_loop() && !ins.is_loopcc() {
            return None;
        }
    }
    let mut state = rng.state();
    if ins.is_loop() || ins.is_loopcc() {
        state.regs[1] = state.regs[1] & 0xff | 1;
    }
    if template.family == "transcendental" || template.family == "rem" {
        // One stack in use and room for a push, so that the results count.
        state.set_sw(state.sw() & !0x80ff);
        state.set_cw(state.cw() | 0x3f);
        let top = usize::from(state.sw() >> 11 & 7);
        state.set_tags((0..6).fold(0, |t, i| t | 1 << ((top + i) & 7)));
    }
    let target = target(rng, &ins);
    scatter(rng, &ins, &mut state);
    place(&mut code, &ins, &mut state.regs, target)?;
    fill_memory(rng, &ins, &mut state, target);
    Some(Case { code, state })
}

fn encode(rng: &mut Rng, t: &Template) -> Vec<u8> {
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

fn excluded(ins: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        ins.mnemonic(),
        Rcpss | Rcpps | Rsqrtss | Rsqrtps // approximations: every maker has its own
        | Vrcpss | Vrcpps | Vrsqrtss | Vrsqrtps
        | Xsave | Xsave64 | Xrstor | Xrstor64 | Pushfq | Pushf | Popfq | Popf
        | INVALID
    ) || ins.has_lock_prefix()
        || (0..ins.op_count()).any(|n| {
            ins.op_kind(n) == OpKind::Register && {
                let r = ins.op_register(n);
                r.is_segment_register() || r.is_cr() || r.is_dr()
            }
        })
        || !promised::has(ins.code())
        || matches!(ins.memory_size(), MemorySize::Fword6 | MemorySize::Fword10)
        || matches!(ins.flow_control(), FlowControl::IndirectCall | FlowControl::Interrupt)
}

/// Bytes that the memory operand covers.
fn operand_size(ins: &Instruction) -> usize {
    match ins.memory_size().size() {
        0 => 16,
        n if ins.is_vsib() => 8 * n,
        n => n,
    }
}

/// Where the memory operand shall be.
fn target(rng: &mut Rng, ins: &Instruction) -> u64 {
    let size = operand_size(ins) as u64;
    let middle = DATA + 0x800 + rng.below(0x1000) as u64;
    match rng.below(24) {
        0 | 1 => middle,                                        // anything
        2 => DATA + 4096 - rng.below(size as usize + 1) as u64, // over a page's end
        3 => DATA + WRITABLE_LEN as u64 - rng.below(size as usize + 1) as u64,
        4 => DATA + WRITABLE_LEN as u64 + 64, // read-only
        5 => DATA + DATA_LEN as u64 - rng.below(size as usize + 1) as u64,
        6 => CODE - 4096,
        7 => middle & !15,
        _ => middle & !63,
    }
}

/// Makes the elements of a vector index small, so that most land in the data pages.
fn scatter(rng: &mut Rng, ins: &Instruction, state: &mut State) {
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
fn place(code: &mut [u8], ins: &Instruction, regs: &mut [u64; 16], target: u64) -> Option<()> {
    let has_memory = (0..ins.op_count()).any(|n| ins.op_kind(n) == OpKind::Memory);
    if !has_memory {
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
        offset =
            offset.wrapping_add(regs[number(index)].wrapping_mul(ins.memory_index_scale().into()));
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
fn fill_memory(rng: &mut Rng, ins: &Instruction, state: &mut State, target: u64) {
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
        _ => [rng.vector().to_le_bytes(), rng.vector().to_le_bytes()].concat(),
    };
    state.memory.put(target, &one);
    if ins.is_vsib() {
        for i in 0..64 {
            state.memory.put(target.wrapping_sub(512) + 16 * i, &rng.vector().to_le_bytes());
        }
    }
    if ins.mnemonic() == Mnemonic::Cmpxchg && rng.one_in(2) {
        let rax = state.regs[0].to_le_bytes();
        state.memory.put(target, &rax);
    }
    // Returns should stay in the page.
    if ins.mnemonic() == Mnemonic::Ret {
        let to = ENTRY + 16 + rng.below(64) as u64;
        state.memory.put(state.regs[4], &to.to_le_bytes());
    }
}
