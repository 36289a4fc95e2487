//! Makes cases from templates: random operands, and memory operands that land in the data pages.

use super::encode::{decorate, encode};
use super::operands::{fill_memory, has_memory, is_placed_by_code, place, scatter, target};
use super::random::Rng;
use super::templates::Template;
use super::{Case, ENTRY, State, promised};
use iced_x86::{Code, FlowControl, Instruction, MemorySize, Mnemonic, OpKind, Register};

pub use super::encode::{all, decode};

/// One of so many instances gets prefixes that it does not need.
const DECORATED: usize = 12;

/// A random case of `template`, or `None` if this try made no instruction.
pub fn case(rng: &mut Rng, template: &Template) -> Option<Case> {
    let mut cases = Vec::new();
    same_code(rng, template, 1, &mut cases);
    cases.pop()
}

/// Appends up to `states` cases of one random instruction of `template` in different states.
pub fn same_code(rng: &mut Rng, template: &Template, states: usize, cases: &mut Vec<Case>) {
    let mut code = encode(rng, template);
    let decorated = template.vex.is_none() && rng.one_in(DECORATED);
    if decorated {
        if decode(&code).is_none_or(|ins| excluded(&ins)) {
            return;
        }
        decorate(rng, &mut code);
    }
    let Some(ins) = decode(&code) else {
        if is_undefined(template, &code, decorated) {
            cases.push(Case { code, state: rng.state() });
        }
        return;
    };
    // AMD's processors cut the target of a branch with 66 to 16 bits, Intel's (as which ours introduces itself) do not.
    let cut = ins.flow_control() != FlowControl::Next && code[..ins.len() - 1].contains(&0x66);
    // REP and REPNE are reserved there; AMD's processors take them for the other condition.
    let turned = ins.is_loopcc() && code.iter().any(|b| matches!(b, 0xf2 | 0xf3));
    if excluded(&ins) || wild_branch(&ins) || cut || turned {
        return;
    }
    let first = cases.len();
    for _ in 0..states {
        let mut state = state_for(rng, template, &ins);
        let at = target(rng, &ins);
        match cases.get(first) {
            // The place is in the code already.
            Some(before) if is_placed_by_code(&ins) => {
                state.fs = before.state.fs;
                state.gs = before.state.gs;
                let index = ins.memory_index();
                if index.is_gpr() {
                    let index = index.full_register().number();
                    state.regs[index] = before.state.regs[index];
                }
            }
            _ if place(&mut code, &ins, &mut state, at).is_none() => return,
            _ => {}
        }
        fill_memory(rng, &ins, &mut state, at);
        cases.push(Case { code: code.clone(), state });
    }
}

/// Whether `code`, which does not decode, must be #UD on both sides (or #GP where it is too long). Not so the accidental
/// ones of the table: it is coarse, and processors have instructions of their own.
fn is_undefined(template: &Template, code: &[u8], decorated: bool) -> bool {
    if !decorated {
        return template.vex.is_some() || template.undefined;
    }
    // 66 or REX.W made an immediate shorter or longer: that is an instruction with too few or too many bytes.
    let padded = [code, &[0xcc; 8]].concat();
    let resized = all(&padded).first().is_some_and(|ins| !ins.is_invalid());
    // Where makers differ: the width of a branch with 66; UD0 and UD1 with or without ModRM, which counts when they are
    // too long; LOCK with moves of control registers, which stands for CR8.
    let branch = template.family == "branch" && code.contains(&0x66);
    let control = matches!(template.opcode[..], [0x0f, 0x20 | 0x22]);
    !(resized || branch || template.undefined || control)
}

/// A state that gives the instruction something to do.
fn state_for(rng: &mut Rng, template: &Template, ins: &Instruction) -> State {
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
    scatter(rng, ins, &mut state);
    state
}

/// A branch into its own bytes, or one to itself that does not count down (it would never end).
fn wild_branch(ins: &Instruction) -> bool {
    use FlowControl::*;
    if !matches!(ins.flow_control(), ConditionalBranch | UnconditionalBranch | Call) {
        return false;
    }
    let into = ins.near_branch_target().wrapping_sub(ENTRY);
    match into {
        0 => !ins.is_loop() && !ins.is_loopcc(),
        _ => into < ins.len() as u64,
    }
}

/// Why instances of `mnemonic` cannot be compared with the processor, if so.
pub fn incomparable(mnemonic: Mnemonic) -> Option<&'static str> {
    use Mnemonic::*;
    Some(match mnemonic {
        Rcpss | Rcpps | Rsqrtss | Rsqrtps | Vrcpss | Vrcpps | Vrsqrtss | Vrsqrtps => {
            "an approximation: every maker has its own"
        }
        Syscall | Sysenter | Int => "the kernel would act on whatever the registers hold",
        Int3 => "ends a case",
        Int1 => "hypervisors intercept it, with another instruction pointer",
        Rdtsc | Rdtscp | Rdrand | Rdseed => "another value each time",
        Cpuid | Xgetbv | Rdpmc => "says what processor this is",
        Lsl | Lar | Verr | Verw | Sgdt | Sidt | Sldt | Smsw | Str => "reads the kernel's tables",
        Lss | Lfs | Lgs | Retf | Iret | Iretd | Iretq => {
            "loads segment registers, which are not part of a state"
        }
        _ => return None,
    })
}

/// Whether this form of an instruction cannot be compared with the processor.
pub fn excluded(ins: &Instruction) -> bool {
    use Mnemonic::{Endbr32, Endbr64, Prefetch, Prefetchw, Rdsspd, Rdsspq, Reservednop};
    let mnemonic = ins.mnemonic();
    // No-operations where their feature is missing, on every processor.
    let hint = matches!(mnemonic, Endbr32 | Endbr64 | Rdsspd | Rdsspq | Prefetch | Prefetchw);
    if !hint && !promised::has(ins.code()) || incomparable(mnemonic).is_some() {
        return true;
    }
    // Segment registers are not part of a state. Reading them is harmless.
    let loads_segment = ins.op_count() > 0
        && ins.op0_kind() == OpKind::Register
        && ins.op0_register().is_segment_register()
        && mnemonic != Mnemonic::Push;
    let far = matches!(ins.memory_size(), MemorySize::Fword6 | MemorySize::Fword10)
        || matches!(ins.memory_size(), MemorySize::SegPtr16 | MemorySize::SegPtr32)
        || matches!(ins.memory_size(), MemorySize::SegPtr64);
    // Undefined on AMD's processors, a no-operation on Intel's (as which ours introduces itself).
    let reserved = mnemonic == Reservednop && ins.op_kind(0) == OpKind::Register;
    // A load of 16 bits in Intel's manual, of 32 in AMD's.
    let loads_more = ins.code() == Code::Movsxd_r16_rm16 && has_memory(ins);
    loads_segment || far || reserved || loads_more
}

/// Number of a general register.
pub fn number(r: Register) -> usize {
    r.full_register().number()
}
