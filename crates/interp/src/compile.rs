//! A block of IR → code words.
//!
//! A block's end takes one to five words: the handler with its own fields, then link words (imm = `ip | epoch << 32`,
//! 0 = not linked), then target words (imm = guest address). The order is given at each end in [`private`].

use crate::code::{ALT, Code, private};
use crate::frequent::has_handler;
use crate::fuse::{self, Step};
use crate::pure::needs_environment;
use ir::{Block, Class, IMM, Inst, Mark, Op, Term, TrapKind, ZERO};

/// Traps by number.
pub const TRAPS: [TrapKind; 16] = {
    let mut all = [TrapKind::Ud; 16];
    let mut n = 0;
    while n < KINDS.len() {
        all[n] = KINDS[n];
        n += 1;
    }
    all
};
const KINDS: &[TrapKind] = &[
    TrapKind::Ud,
    TrapKind::De,
    TrapKind::Bp,
    TrapKind::Db,
    TrapKind::Step,
    TrapKind::Of,
    TrapKind::Gp,
    TrapKind::Xm,
    TrapKind::Mf,
    TrapKind::Int80,
];

/// A compiled block.
pub struct Compiled {
    /// The words, ending with a block end.
    pub words: Vec<Code>,
    /// Start of each guest instruction: word index and offset from the block's address.
    pub marks: Vec<Mark>,
}

/// Compiles `block`.
pub fn compile(block: &Block) -> Compiled {
    let dead = fuse::dead(block);
    let n = u16::try_from(block.marks.len()).unwrap_or(u16::MAX);
    let mut words: Vec<Code> = Vec::with_capacity(block.insts.len() + 5);
    let mut marks = Vec::with_capacity(block.marks.len());
    let mut pending = block.marks.iter().peekable();
    let mut at = 0;
    let mut end = None;
    while at <= block.insts.len() {
        while let Some(mark) = pending.next_if(|m| m.inst as usize <= at) {
            marks.push(Mark { inst: words.len() as u32, offset: mark.offset });
        }
        if at == block.insts.len() {
            break;
        }
        if dead[at] {
            at += 1;
            continue;
        }
        match fuse::step(block, at, &dead) {
            Step::One => {
                words.push(single(&block.insts[at]));
                at += 1;
            }
            Step::Fused { code, insts } => {
                words.push(code);
                at += insts;
            }
            Step::End { code } => {
                end = Some(code);
                break;
            }
        }
    }
    // Guest instructions without IR, and those fused into the end, start where the end is.
    for mark in pending {
        marks.push(Mark { inst: words.len() as u32, offset: mark.offset });
    }
    let late = match block.term {
        Term::Branch { cc, .. } => fuse::late_branch(block, &dead, cc),
        _ => None,
    };
    push_end(&mut words, end, late, &block.term, n);
    Compiled { words, marks }
}

/// The word for one IR instruction.
fn single(i: &Inst) -> Code {
    let op = i.op as u16;
    if !needs_environment(i.op.class()) && !has_handler(i.op) {
        return Code { op: private::PURE, n: op, d: i.d, a: i.a, b: i.b, c: i.c, imm: i.imm };
    }
    let alt = match i.op.class() {
        Class::R2 | Class::Flag | Class::FlagShift | Class::Flag3 | Class::PutFlags => i.b == IMM,
        Class::R3 => i.c == IMM,
        Class::Lea | Class::Load | Class::Store => i.b == ZERO,
        _ => false,
    };
    if i.op == Op::Lea && alt {
        let op = Op::Add64 as u16 + ALT;
        return Code { op, n: 0, d: i.d, a: i.a, b: IMM, c: 0, imm: i.imm };
    }
    Code { op: if alt { op + ALT } else { op }, n: 0, d: i.d, a: i.a, b: i.b, c: i.c, imm: i.imm }
}

fn push_end(
    words: &mut Vec<Code>,
    fused: Option<Code>,
    late: Option<(u16, u8)>,
    term: &Term,
    n: u16,
) {
    let plain = |op, a, c, imm| Code { op, n, d: 0, a, b: 0, c, imm };
    let word = |imm: u64| Code { op: 0, n: 0, d: 0, a: 0, b: 0, c: 0, imm: imm as i64 };
    match *term {
        Term::Jump { target } => words.extend([plain(private::JUMP, 0, 0, 0), word(target)]),
        Term::Branch { cc, taken, fallthrough } => {
            let (op, c) = late.unwrap_or((private::BRANCH, cc as u8));
            let head = fused.unwrap_or(plain(op, 0, c, 0));
            words.extend([Code { n, ..head }, word(0), word(0), word(taken), word(fallthrough)]);
        }
        Term::BranchNz { slot, taken, fallthrough } => {
            let head = plain(private::BRANCH_NZ, slot, 0, 0);
            words.extend([head, word(0), word(0), word(taken), word(fallthrough)]);
        }
        Term::Call { target, .. } => match fused {
            Some(head) => words.extend([Code { n, ..head }, word(0), word(target)]),
            None => words.extend([plain(private::JUMP, 0, 0, 0), word(target)]),
        },
        Term::JumpIndirect { slot } | Term::CallIndirect { slot, .. } | Term::Ret { slot } => {
            let head = fused.unwrap_or(plain(private::INDIRECT, slot, 0, 0));
            words.push(Code { n, ..head });
        }
        Term::Syscall { next } => words.push(plain(private::SYSCALL, 0, 0, next as i64)),
        Term::Trap { kind, pc } => {
            let number = TRAPS.iter().position(|&k| k == kind).unwrap_or(0);
            words.push(plain(private::TRAP, number as u8, 0, pc as i64));
        }
    }
}

/// Ends the block after its first guest instruction that stores (see the crate's page on code that changes itself).
pub fn cut_after_store(block: &mut Block) {
    let stores = |i: &Inst| i.op.class().stores() || matches!(i.op, Op::Movs | Op::Stos);
    let Some(at) = block.insts.iter().position(stores) else { return };
    let Some(next) = block.marks.iter().position(|m| m.inst as usize > at) else { return };
    cut(block, next);
}

/// Leaves the first `n` guest instructions.
pub fn cut(block: &mut Block, n: usize) {
    let Some(&mark) = block.marks.get(n) else { return };
    block.insts.truncate(mark.inst as usize);
    block.marks.truncate(n);
    block.len = mark.offset;
    block.term = Term::Jump { target: block.pc.wrapping_add(u64::from(mark.offset)) };
}
