//! What is left out, and what becomes one word.

use crate::code::{Code, branch, private};
use ir::{ARITH, Block, CF, Cc, Class, FS_BASE, IMM, Inst, Op, T0, Term, ZERO, reg};

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

/// What an IR instruction does with the arithmetic flags, as masks of RFLAGS bits.
struct FlagUse {
    /// May be changed.
    writes: u64,
    /// Certainly overwritten, whatever they were.
    kills: u64,
    /// Looked at.
    reads: u64,
}

fn flag_use(i: &Inst) -> FlagUse {
    let (writes, kills, reads) = match i.op.class() {
        Class::Flag | Class::Flag3 => (ARITH, ARITH, 0),
        Class::FlagShift => (ARITH, if i.b == IMM && i.imm != 0 { ARITH } else { 0 }, 0),
        Class::FlagInc => (ARITH & !CF, ARITH & !CF, CF),
        Class::PutFlags if i.b == IMM => (i.imm as u64 & ARITH, i.imm as u64 & ARITH, 0),
        Class::PutFlags => (ARITH, 0, 0),
        Class::PutRflags => (ARITH, i.imm as u64 & ARITH, 0),
        Class::GetCc | Class::SelCc => (0, 0, Cc::from_number(i.c).reads()),
        Class::GetFlags | Class::GetRflags | Class::State | Class::Str => (ARITH, 0, ARITH),
        _ => (0, 0, 0),
    };
    FlagUse { writes, kills, reads }
}

fn temp_bit(slot: u8) -> u32 {
    if (T0..FS_BASE).contains(&slot) { 1 << (slot - T0) } else { 0 }
}

/// The slot that the block's end reads.
fn term_slot(term: &Term) -> Option<u8> {
    match *term {
        Term::BranchNz { slot, .. }
        | Term::JumpIndirect { slot }
        | Term::CallIndirect { slot, .. }
        | Term::Ret { slot } => Some(slot),
        _ => None,
    }
}

/// For each IR instruction whether nobody can see what it does: a flag recorder whose flags are overwritten, or a
/// computation into a temporary that is not read.
pub fn dead(block: &Block) -> Vec<bool> {
    let mut dead = vec![false; block.insts.len()];
    let mut flags = ARITH;
    let mut temps = term_slot(&block.term).map_or(0, temp_bit);
    let mut starts = block.marks.iter().rev().map(|m| m.inst as usize).peekable();
    for (at, inst) in block.insts.iter().enumerate().rev() {
        // Temporaries do not outlive their guest instruction (the block's end belongs to the last one).
        while let Some(start) = starts.next_if(|start| *start > at) {
            if start < block.insts.len() {
                temps = 0;
            }
        }
        let class = inst.op.class();
        let used = flag_use(inst);
        let recorder = matches!(
            class,
            Class::Flag | Class::Flag3 | Class::FlagShift | Class::FlagInc | Class::PutFlags
        );
        dead[at] = if recorder {
            used.writes & flags == 0
        } else {
            class.is_pure() && temp_bit(inst.d) != 0 && temps & temp_bit(inst.d) == 0
        };
        if !dead[at] {
            // FlagInc looks at CF only to keep it.
            let reads = if class == Class::FlagInc { used.reads & flags } else { used.reads };
            flags = flags & !used.kills | reads;
            if class.may_fault() {
                // A signal handler sees the flags as they are before the instruction.
                flags = ARITH;
            }
            for slot in inst.writes() {
                temps &= !temp_bit(slot);
            }
            for slot in inst.reads() {
                temps |= temp_bit(slot);
            }
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
    // The next instruction that is not dead, and how many are covered with it.
    let next = (at + 1..block.insts.len()).find(|&i| !dead[i]);
    if let Some(next) = next
        && let Some(code) = pair(&block.insts[at], &block.insts[next])
    {
        // A store may make code stale: nothing of the next guest instruction may hang on it.
        let end = block.marks.iter().map(|m| m.inst as usize).find(|start| *start > at);
        let end = end.unwrap_or(block.insts.len());
        // A temporary that the word swallows must not be read by what follows.
        let temp = block.insts[at].d;
        let swallows = matches!(block.insts[at].op.class(), Class::Load | Class::Li);
        let after = block.insts.get(next + 1..end).unwrap_or(&[]);
        let missed = swallows
            && temp_bit(temp) != 0
            && (after.iter().any(|i| i.reads().any(|s| s == temp))
                || term_slot(&block.term) == Some(temp));
        if next < end && !missed {
            return Step::Fused { code, insts: next + 1 - at };
        }
    }
    Step::One
}

fn code(op: u16, i: &Inst) -> Code {
    Code { op, n: 0, d: i.d, a: i.a, b: i.b, c: i.c, imm: i.imm }
}

/// One word for two instructions of the same guest instruction.
fn pair(first: &Inst, second: &Inst) -> Option<Code> {
    if is_push(first) && moves_rsp(second, -8) {
        return Some(code(private::PUSH, first));
    }
    if is_pop(first) && first.d != reg::RSP && moves_rsp(second, 8) {
        return Some(code(private::POP, first));
    }
    recorded(first, second)
        .or_else(|| logic(first, second))
        .or_else(|| with_memory(first, second))
        .or_else(|| store_constant(first, second))
        .or_else(|| {
            let narrows = second.op == Op::Mov32 && second.d == first.d && second.a == first.d;
            (first.op == Op::SelCc && narrows).then(|| code(private::SEL32, first))
        })
}

/// A recorder before its operation.
fn recorded(first: &Inst, second: &Inst) -> Option<Code> {
    let same =
        first.a == second.a && first.b == second.b && (first.b != IMM || first.imm == second.imm);
    let (op, fused) = match first.op {
        Op::FAdd64 => (Op::Add64, private::ADD64),
        Op::FAdd32 => (Op::Add32, private::ADD32),
        Op::FSub64 => (Op::Sub64, private::SUB64),
        Op::FSub32 => (Op::Sub32, private::SUB32),
        _ => {
            let (op, fused) = match first.op {
                Op::FShl64 => (Op::Shl64, private::SHL64I),
                Op::FShl32 => (Op::Shl32, private::SHL32I),
                Op::FShr64 => (Op::Shr64, private::SHR64I),
                Op::FShr32 => (Op::Shr32, private::SHR32I),
                Op::FSar64 => (Op::Sar64, private::SAR64I),
                Op::FSar32 => (Op::Sar32, private::SAR32I),
                Op::FInc64 => (Op::Add64, private::INC64),
                Op::FInc32 => (Op::Add32, private::INC32),
                Op::FDec64 => (Op::Sub64, private::DEC64),
                Op::FDec32 => (Op::Sub32, private::DEC32),
                _ => return None,
            };
            let steps = matches!(first.op.class(), Class::FlagInc);
            let fits = if steps {
                first.a == second.a && second.b == IMM && second.imm == 1
            } else {
                same && second.b == IMM && (1..64).contains(&second.imm)
            };
            return (second.op == op && fits).then(|| code(fused, second));
        }
    };
    (second.op == op && same).then(|| code(fused + u16::from(second.b == IMM), second))
}

/// A logic operation before the recorder of its result.
fn logic(first: &Inst, second: &Inst) -> Option<Code> {
    let (op, fused) = match first.op {
        Op::And64 => (Op::FLogic64, private::AND64),
        Op::And32 => (Op::FLogic32, private::AND32),
        Op::Or64 => (Op::FLogic64, private::OR64),
        Op::Or32 => (Op::FLogic32, private::OR32),
        Op::Xor64 => (Op::FLogic64, private::XOR64),
        Op::Xor32 => (Op::FLogic32, private::XOR32),
        _ => return None,
    };
    (second.op == op && second.a == first.d && second.b == first.d)
        .then(|| code(fused + u16::from(first.b == IMM), first))
}

/// A load into a temporary before the only operation that reads it.
fn with_memory(load: &Inst, op: &Inst) -> Option<Code> {
    if temp_bit(load.d) == 0 || temp_bit(op.d) != 0 {
        return None;
    }
    let (width, fused) = match op.op {
        Op::Add64 => (Op::Load64, private::ADD64M),
        Op::Add32 => (Op::Load32, private::ADD32M),
        Op::Sub64 => (Op::Load64, private::SUB64M),
        Op::Sub32 => (Op::Load32, private::SUB32M),
        Op::And64 => (Op::Load64, private::AND64M),
        Op::And32 => (Op::Load32, private::AND32M),
        Op::Or64 => (Op::Load64, private::OR64M),
        Op::Or32 => (Op::Load32, private::OR32M),
        Op::Xor64 => (Op::Load64, private::XOR64M),
        Op::Xor32 => (Op::Load32, private::XOR32M),
        Op::Mul64 => (Op::Load64, private::MUL64M),
        Op::Mul32 => (Op::Load32, private::MUL32M),
        _ => return None,
    };
    if load.op != width || op.b != load.d || op.a == load.d {
        return None;
    }
    // The temporary must be dead afterwards: true where the operation writes a register, which ends a guest instruction
    // of this shape (its recorder, if alive, stands before the operation and so is not skipped here).
    Some(Code { n: u16::from(op.a), d: op.d, ..code(fused, load) })
}

/// A small constant before its store to an address without an index.
fn store_constant(li: &Inst, store: &Inst) -> Option<Code> {
    let fused = match store.op {
        Op::Store8 => private::STORE8I,
        Op::Store16 => private::STORE16I,
        Op::Store32 => private::STORE32I,
        Op::Store64 => private::STORE64I,
        _ => return None,
    };
    let fits = li.op == Op::Li && temp_bit(li.d) != 0 && store.d == li.d && store.b == ZERO;
    let value = i16::try_from(li.imm).ok()?;
    (fits && store.a != li.d).then(|| Code { n: value as u16, ..code(fused, store) })
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
    let (base, logic) = match i.op {
        Op::FSub8 => (branch::sub8::BASE, false),
        Op::FSub16 => (branch::sub16::BASE, false),
        Op::FSub32 => (branch::sub32::BASE, false),
        Op::FSub64 => (branch::sub64::BASE, false),
        Op::FLogic8 => (branch::logic8::BASE, true),
        Op::FLogic16 => (branch::logic16::BASE, true),
        Op::FLogic32 => (branch::logic32::BASE, true),
        Op::FLogic64 => (branch::logic64::BASE, true),
        _ => return None,
    };
    // After a logic operation CF and OF are 0: be is e, l is s.
    let cc = match (cc, logic) {
        (Cc::O | Cc::No | Cc::P | Cc::Np, _) | (Cc::B | Cc::Ae, true) => return None,
        (Cc::Be, true) => Cc::E,
        (Cc::A, true) => Cc::Ne,
        (Cc::L, true) => Cc::S,
        (Cc::Ge, true) => Cc::Ns,
        (cc, _) => cc,
    };
    let form = if i.b == IMM { 16 } else { 0 };
    Some(code(base + form + cc as u16, i))
}

/// The block end for a branch whose comparison lies further back: the last recorder that is not dead decides. The
/// second part is what goes into field `c`.
pub fn late_branch(block: &Block, dead: &[bool], cc: Cc) -> Option<(u16, u8)> {
    let last = block
        .insts
        .iter()
        .zip(dead)
        .rev()
        .find(|(i, dead)| !**dead && flag_use(i).writes != 0)
        .map(|(i, _)| i.op)?;
    let op = match last {
        Op::FSub32 => private::LATE_SUB32,
        Op::FSub64 => private::LATE_SUB64,
        Op::FLogic32 => private::LATE_LOGIC32,
        Op::FLogic64 => private::LATE_LOGIC64,
        Op::FAdd32 => private::LATE_ADD32,
        Op::FAdd64 => private::LATE_ADD64,
        _ => return None,
    };
    let sub = matches!(last, Op::FSub32 | Op::FSub64);
    let add = matches!(last, Op::FAdd32 | Op::FAdd64);
    let relations = match cc as u8 >> 1 {
        1 if sub => 2,
        2 => 1,
        3 if sub => 3,
        3 if !add => 1,
        4 => 8,
        6 if sub => 4,
        6 if !add => 8,
        7 if sub => 5,
        7 if !add => 9,
        _ => return None,
    };
    Some((op, relations | if cc as u8 & 1 != 0 { 0x80 } else { 0 }))
}

/// True for `d = rsp + delta` in any of its forms.
fn moves_rsp(i: &Inst, delta: i64) -> bool {
    if i.d != reg::RSP || i.a != reg::RSP {
        return false;
    }
    match i.op {
        Op::Add64 => i.b == IMM && i.imm == delta,
        Op::Sub64 => i.b == IMM && i.imm == -delta,
        Op::Lea => i.b == ZERO && i.imm == delta,
        _ => false,
    }
}
