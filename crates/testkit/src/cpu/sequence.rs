//! Sequences of instructions of all families, with branches forward among them: for what the interpreter does across
//! instructions (dead flags, fused pairs, blocks).
//!
//! Memory operands go by registers that no instruction writes but through the stack and the string instructions, so that
//! they stay in the data pages. No instruction reads a flag that may be undefined there on any path.

use super::compare::still_undefined;
use super::encode::{decode, encode};
use super::generate::{excluded, number};
use super::operands::{has_memory, operand_size};
use super::random::Rng;
use super::templates::Template;
use super::{Case, DATA, ENTRY, MAX_CODE, State};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

/// Most instructions of a sequence.
const MOST: usize = 24;
/// Registers that hold addresses in the data pages: rsp, rbp, rsi, rdi, r12, r13, r14.
const BASES: u16 = 0x70f0;

/// A branch whose distance is not known yet.
struct Pending {
    /// Offset of the byte to fill in.
    at: usize,
    /// Number of the instruction it leads to.
    to: usize,
    /// Flags that are undefined there.
    undefined: u32,
}

/// Templates by family.
pub struct Grammar<'a> {
    families: Vec<Vec<&'a Template>>,
}

impl<'a> Grammar<'a> {
    /// Of all templates that are any use in a sequence.
    pub fn new(templates: &'a [Template]) -> Grammar<'a> {
        let mut families: Vec<Vec<&Template>> = Vec::new();
        for t in templates {
            // Results within an error bound cannot be passed on; the others mostly end a sequence.
            if matches!(t.family, "transcendental" | "undefined" | "branch" | "system") {
                continue;
            }
            match families.iter_mut().find(|f| f.iter().any(|o| o.family == t.family)) {
                Some(family) => family.push(t),
                None => families.push(vec![t]),
            }
        }
        Grammar { families }
    }

    fn pick(&self, rng: &mut Rng) -> &'a Template {
        let family = &self.families[rng.below(self.families.len())];
        family[rng.below(family.len())]
    }
}

/// Appends up to `states` cases of one sequence in different states.
pub fn sequence(rng: &mut Rng, grammar: &Grammar, states: usize, cases: &mut Vec<Case>) {
    let mut state = rng.state();
    for r in [12, 13, 14] {
        state.regs[r] = DATA + 0x400 + 0x40 * rng.below(0x50) as u64;
    }
    for r in [5, 6, 7] {
        state.regs[r] &= !63;
    }
    let Some(code) = code(rng, grammar, &state) else { return };
    for _ in 0..states {
        let mut next = rng.state();
        for r in (0..16).filter(|r| BASES >> r & 1 != 0) {
            next.regs[r] = state.regs[r];
        }
        // Around the bases.
        for r in (4..16).filter(|r| BASES >> r & 1 != 0) {
            for i in 0..8 {
                let at = next.regs[r].wrapping_sub(64) + 16 * i;
                next.memory.put(at, &rng.vector().to_le_bytes());
            }
        }
        cases.push(Case { code: code.clone(), state: next });
    }
}

fn code(rng: &mut Rng, grammar: &Grammar, state: &State) -> Option<Vec<u8>> {
    let mut code: Vec<u8> = Vec::new();
    let mut factory = InstructionInfoFactory::new();
    let mut pending: Vec<Pending> = Vec::new();
    let (mut undefined, mut n) = (0, 0);
    let length = 4 + rng.below(MOST - 3);
    let mut tries = 0;
    while n < length && code.len() + 24 < MAX_CODE && tries < 20 * MOST {
        tries += 1;
        for p in pending.extract_if(.., |p| p.to == n) {
            undefined |= p.undefined;
            code[p.at] = u8::try_from(code.len() - p.at - 1).ok().filter(|d| *d < 0x80)?;
        }
        if rng.one_in(8) {
            let cc = rng.below(16) as u8;
            let branch = match rng.below(8) {
                0 => [0xeb, 0],
                1 => [0xe3, 0], // jrcxz
                _ => [0x70 | cc, 0],
            };
            let reads = decode(&branch).map_or(0, |i| i.rflags_read());
            if reads & undefined == 0 {
                code.extend(branch);
                pending.push(Pending { at: code.len() - 1, to: n + 2 + rng.below(3), undefined });
                n += 1;
            }
            continue;
        }
        let template = grammar.pick(rng);
        let mut one = encode(rng, template);
        let Some(ins) = decode(&one) else { continue };
        if !usable(rng, &ins, &mut factory) || ins.rflags_read() & undefined != 0 {
            continue;
        }
        if has_memory(&ins) && place(rng, &mut one, &ins, code.len(), state).is_none() {
            continue;
        }
        undefined = still_undefined(undefined, &ins);
        code.extend(one);
        n += 1;
    }
    for p in pending {
        code[p.at] = u8::try_from(code.len() - p.at - 1).ok().filter(|d| *d < 0x80)?;
    }
    (n > 1).then_some(code)
}

/// Whether a sequence may hold `ins`.
fn usable(rng: &mut Rng, ins: &Instruction, factory: &mut InstructionInfoFactory) -> bool {
    use Mnemonic::*;
    if excluded(ins) || ins.flow_control() != FlowControl::Next {
        return false;
    }
    let rare = match ins.mnemonic() {
        // Bits far off their operand; TF.
        Bt | Bts | Btr | Btc if has_memory(ins) => return false,
        Popf | Popfq | Leave | Enter => return false,
        // Undefined results: see `compare`.
        Shld | Shrd if ins.op_register(1).size() == 2 => return false,
        // The pointers in the image are those of the x87 instructions before, which processors save differently.
        Fnsave | Fnstenv | Fxsave | Fxsave64 | Xsave | Xsave64 => return false,
        // Mostly faults.
        Div | Idiv => 4,
        Ldmxcsr | Vldmxcsr | Fldenv | Frstor | Fxrstor | Fxrstor64 | Xrstor | Xrstor64 => 32,
        Xlatb => 16,
        _ if ins.is_vsib() => 4,
        _ if ins.has_rep_prefix() || ins.has_repne_prefix() => 16,
        _ => 1,
    };
    if rare > 1 && !rng.one_in(rare) {
        return false;
    }
    let strings = ins.is_string_instruction();
    let stack = ins.is_stack_instruction();
    factory.info(ins).used_registers().iter().all(|used| {
        let r = used.register();
        let writes = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead);
        let moved = stack && r.full_register() == Register::RSP && ins.mnemonic() != Pop
            || strings
            || stack && ins.mnemonic() == Pop && r == Register::RSP && ins.op0_register() != r;
        !(r.is_gpr() && writes && BASES >> number(r) & 1 != 0 && !moved)
    })
}

/// Lets the memory operand lie in the data pages by its displacement; `None` if its registers do not allow that.
fn place(
    rng: &mut Rng,
    one: &mut [u8],
    ins: &Instruction,
    offset: usize,
    state: &State,
) -> Option<()> {
    let (base, index) = (ins.memory_base(), ins.memory_index());
    let ip = ENTRY + offset as u64;
    let mut decoder = Decoder::with_ip(64, one, ip, DecoderOptions::NONE);
    let ins = decoder.decode();
    let constants = decoder.get_constant_offsets(&ins);
    let (at, size) = (constants.displacement_offset(), constants.displacement_size());
    if ins.segment_prefix() == Register::FS || ins.segment_prefix() == Register::GS {
        return None;
    }
    if index != Register::None && !ins.is_vsib() {
        return None;
    }
    let align = |rng: &mut Rng, x: u64| {
        let mask = operand_size(&ins).next_power_of_two().min(64) as u64 - 1;
        if rng.one_in(16) { x } else { x & !mask }
    };
    if matches!(base, Register::RIP | Register::None) {
        let anywhere = DATA + 0x400 + rng.below(0x1800) as u64;
        let address = align(rng, anywhere);
        let from = if base == Register::RIP { ins.next_ip() } else { 0 };
        let disp = address.wrapping_sub(from) as i32;
        one.get_mut(at..at + 4)?.copy_from_slice(&disp.to_le_bytes());
        return Some(());
    }
    if !base.is_gpr64() || BASES >> number(base) & 1 == 0 {
        return None;
    }
    match size {
        1 => one[at] = align(rng, u64::from(one[at])) as u8,
        4 => {
            let anywhere = DATA + 0x200 + rng.below(0x1c00) as u64;
            let address = align(rng, anywhere);
            let disp = address.wrapping_sub(state.regs[number(base)]) as i32;
            one.get_mut(at..at + 4)?.copy_from_slice(&disp.to_le_bytes());
        }
        _ => {}
    }
    let kind = (0..ins.op_count()).find(|n| ins.op_kind(*n) == OpKind::Memory);
    kind.map(|_| ())
}
