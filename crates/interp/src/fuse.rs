//! What is left out, and what becomes one word.

use crate::code::{Code, private};
use crate::compile::moves_rsp;
use ir::{Block, Cc, Class, FlagKind, IMM, Inst, Op, Term, ZERO, reg};

/// How the next IR instructions are compiled.
pub enum Step {
    /// The next one by itself.
    One,
    /// The next `insts` as `code`.
    Fused {
        /// The word.
        code: Code,
        /// IR instructions covered.
        insts: usize,
    },
    /// All that are left are part of the block's end.
    End {
        /// First word of the end (without the count of guest instructions).
        code: Code,
    },
}

/// What an IR instruction does with the recorded flags.
enum FlagUse {
    None,
    Kills,
    Reads,
}

fn flag_use(i: &Inst) -> FlagUse {
    match i.op.class() {
        Class::Flag | Class::Flag3 => FlagUse::Kills,
        class if class.is_pure() => match class {
            Class::GetCc | Class::SelCc | Class::GetFlags | Class::GetRflags => FlagUse::Reads,
            _ => FlagUse::None,
        },
        // Everything that may fault shows the flags to a signal handler; the rest reads or merges them.
        _ => FlagUse::Reads,
    }
}

/// For each IR instruction whether it is a flag recorder that nobody can see.
pub fn dead_recorders(block: &Block) -> Vec<bool> {
    let mut dead = vec![false; block.insts.len()];
    let mut live = true;
    for (at, inst) in block.insts.iter().enumerate().rev() {
        match flag_use(inst) {
            FlagUse::None => {}
            FlagUse::Kills => {
                dead[at] = !live;
                live = false;
            }
            FlagUse::Reads => live = true,
        }
    }
    dead
}

/// How to compile `block.insts[at..]`, which starts with an instruction that is not dead.
pub fn step(block: &Block, at: usize, dead: &[bool]) -> Step {
    let rest = &block.insts[at..];
    if let Some(code) = end(rest, &block.term) {
        return Step::End { code };
    }
    if let [first, second, ..] = rest
        && !dead[at + 1]
        && let Some(code) = pair(first, second)
    {
        return Step::Fused { code, insts: 2 };
    }
    Step::One
}

fn code(op: u16, i: &Inst) -> Code {
    Code { op, n: 0, d: i.d, a: i.a, b: i.b, c: i.c, imm: i.imm }
}

fn pair(first: &Inst, second: &Inst) -> Option<Code> {
    let same =
        first.a == second.a && first.b == second.b && (first.b != IMM || first.imm == second.imm);
    let records = |op| match op {
        Op::FAdd64 => Some((Op::Add64, private::ADD64)),
        Op::FAdd32 => Some((Op::Add32, private::ADD32)),
        Op::FSub64 => Some((Op::Sub64, private::SUB64)),
        Op::FSub32 => Some((Op::Sub32, private::SUB32)),
        _ => None,
    };
    if let Some((op, fused)) = records(first.op)
        && second.op == op
        && same
    {
        return Some(code(fused + u16::from(second.b == IMM), second));
    }
    let logic = match first.op {
        Op::And64 => Some((Op::FLogic64, private::AND64)),
        Op::And32 => Some((Op::FLogic32, private::AND32)),
        Op::Or64 => Some((Op::FLogic64, private::OR64)),
        Op::Or32 => Some((Op::FLogic32, private::OR32)),
        Op::Xor64 => Some((Op::FLogic64, private::XOR64)),
        Op::Xor32 => Some((Op::FLogic32, private::XOR32)),
        _ => None,
    };
    if let Some((op, fused)) = logic
        && second.op == op
        && second.a == first.d
        && second.b == first.d
    {
        return Some(code(fused + u16::from(first.b == IMM), first));
    }
    if is_push(first) && moves_rsp(second, -8) {
        return Some(code(private::PUSH, first));
    }
    if is_pop(first) && first.d != reg::RSP && moves_rsp(second, 8) {
        return Some(code(private::POP, first));
    }
    None
}

fn is_push(i: &Inst) -> bool {
    i.op == Op::Store64 && i.a == reg::RSP && i.b == ZERO && i.imm == -8
}

fn is_pop(i: &Inst) -> bool {
    i.op == Op::Load64 && i.a == reg::RSP && i.b == ZERO && i.imm == 0
}

/// The fused block end, if `rest` is one of the known shapes.
fn end(rest: &[Inst], term: &Term) -> Option<Code> {
    match (rest, *term) {
        ([i], Term::Branch { cc, .. }) => compare_and_branch(i, cc),
        ([li, push, rsp], Term::Call { ret, .. })
            if li.op == Op::Li
                && li.imm == ret as i64
                && is_push(push)
                && push.d == li.d
                && moves_rsp(rsp, -8) =>
        {
            Some(Code { op: private::CALL, n: 0, d: 0, a: 0, b: 0, c: 0, imm: li.imm })
        }
        ([li, push, rsp], Term::CallIndirect { slot, ret })
            if li.op == Op::Li
                && li.imm == ret as i64
                && is_push(push)
                && push.d == li.d
                && moves_rsp(rsp, -8)
                && slot != reg::RSP
                && slot != li.d =>
        {
            Some(Code { op: private::CALL_INDIRECT, n: 0, d: 0, a: slot, b: 0, c: 0, imm: li.imm })
        }
        ([pop, rsp], Term::Ret { slot }) if is_pop(pop) && pop.d == slot && moves_rsp(rsp, 8) => {
            Some(Code { op: private::RET, n: 0, d: 0, a: 0, b: 0, c: 0, imm: 0 })
        }
        _ => None,
    }
}

fn compare_and_branch(i: &Inst, cc: Cc) -> Option<Code> {
    use FlagKind as K;
    let base = match i.op {
        Op::FSub8 => (private::BR_SUB8, K::Sub8),
        Op::FSub16 => (private::BR_SUB16, K::Sub16),
        Op::FSub32 => (private::BR_SUB32, K::Sub32),
        Op::FSub64 => (private::BR_SUB64, K::Sub64),
        Op::FLogic8 => (private::BR_LOGIC8, K::Logic8),
        Op::FLogic16 => (private::BR_LOGIC16, K::Logic16),
        Op::FLogic32 => (private::BR_LOGIC32, K::Logic32),
        Op::FLogic64 => (private::BR_LOGIC64, K::Logic64),
        _ => return None,
    };
    let logic = base.0 >= private::BR_LOGIC8;
    // Relations: 1 equal/zero, 2 below, 4 less, 8 negative. After a logic operation CF and OF are 0.
    let relations = match (cc as u8 >> 1, logic) {
        (1, false) => 2,
        (2, _) => 1,
        (3, false) => 3,
        (3, true) => 1,
        (4, _) => 8,
        (6, _) => 4,
        (7, _) => 5,
        _ => return None,
    };
    let negate = if cc as u8 & 1 != 0 { 0x80 } else { 0 };
    let mut word = code(base.0 + u16::from(i.b == IMM), i);
    word.c = relations | negate;
    word.d = base.1 as u8;
    Some(word)
}
