//! The text form and the verifier.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ir::{Block, IMM, Inst, Op, Operand, Term, TrapKind, VerifyError, ZERO};

/// An instruction of `op` with a different slot in each field.
fn sample(op: Op, immediate: bool) -> Inst {
    let mut inst = Inst { op, d: ZERO, a: ZERO, b: ZERO, c: ZERO, imm: 0 };
    for operand in op.class().operands() {
        match operand {
            Operand::D | Operand::Ds | Operand::Vd | Operand::Vs | Operand::Yd => inst.d = 3,
            Operand::D2 => inst.d = 17,
            Operand::A | Operand::Va | Operand::Ya => inst.a = 5,
            Operand::B | Operand::Vb | Operand::Yb => inst.b = 6,
            Operand::C | Operand::Vc | Operand::Yc => inst.c = 7,
            Operand::Bi if immediate => (inst.b, inst.imm) = (IMM, -5),
            Operand::Bi => inst.b = 6,
            Operand::Ci if immediate => (inst.c, inst.imm) = (IMM, 0x7FFF_FFFF_FFFF),
            Operand::Ci => inst.c = 7,
            Operand::Imm => inst.imm = i64::MIN,
            Operand::Cc => inst.c = 13,
            Operand::N => inst.c = 2,
            Operand::Mem => (inst.a, inst.b, inst.c, inst.imm) = (8, 9, 3, -0x1234),
        }
    }
    inst
}

#[test]
fn every_op_survives_its_text() {
    for &op in Op::ALL {
        for immediate in [false, true] {
            let inst = sample(op, immediate);
            let text = inst.to_string();
            assert_eq!(Inst::parse(&text), Some(inst), "{text}");
        }
    }
}

#[test]
fn names_are_unique() {
    for (i, &op) in Op::ALL.iter().enumerate() {
        assert_eq!(op as usize, i);
        assert_eq!(Op::from_text(op.text()), Some(op), "two ops are called {}", op.text());
    }
}

const BLOCK: &str = "\
block 0x401000 len 12
@0x0
  load32 t0, [rbx + rdx<<2 - 0x8]
  flags.add32 rcx, t0
  add32 rcx, rcx, t0
@0x4
@0x5
  flags.sub64 rcx, 0x10
@0x9
  branch ne, 0x401020, 0x40100c
";

#[test]
fn a_block_survives_its_text() {
    let block = Block::parse(BLOCK).unwrap();
    assert_eq!(block.to_string(), BLOCK);
    assert_eq!(block.verify(), Ok(()));
    assert_eq!(block.marks.len(), 4);
    assert_eq!(block.pc_of(0), 0x40_1000);
    assert_eq!(block.pc_of(2), 0x40_1000);
    assert_eq!(block.pc_of(3), 0x40_1005);
    assert_eq!(block.pc_of(4), 0x40_1009);
}

#[test]
fn every_block_end_survives_its_text() {
    let ends = [
        "jump 0x10",
        "branch le, 0x10, 0x20",
        "branchnz rcx, 0x10, 0x20",
        "jumpind t3",
        "call 0x10, 0x20",
        "callind rax, 0x20",
        "ret t0",
        "syscall 0x30",
        "trap ud, 0x40",
        "trap int80, 0x40",
    ];
    for end in ends {
        assert_eq!(Term::parse(end).map(|t| t.to_string()), Some(end.to_owned()), "{end}");
    }
    assert_eq!(Term::parse("trap gp, 1"), Some(Term::Trap { kind: TrapKind::Gp, pc: 1 }));
}

#[test]
fn bad_text_is_refused_with_its_line() {
    for (text, line) in [
        ("", 0),
        ("block 0x1 len", 1),
        ("block 0x1 len 1\n  add64 rax, rbx\n  jump 0x2", 2),
        ("block 0x1 len 1\n  add64 rax, rbx, rcx, rdx\n  jump 0x2", 2),
        ("block 0x1 len 1\n  add64 rax, rbx, t16\n  jump 0x2", 2),
        ("block 0x1 len 1\n  load8 rax, [rbx + ]\n  jump 0x2", 2),
        ("block 0x1 len 1\n  jump 0x2\n  jump 0x3", 3),
        ("block 0x1 len 1\n@zz\n  jump 0x2", 2),
    ] {
        let error = Block::parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
    }
}

#[test]
fn the_verifier_finds_broken_rules() {
    let verify = |inst: &str| {
        let text = format!("block 0x0 len 1\n@0x0\n  {inst}\n  jump 0x1\n");
        Block::parse(&text).unwrap().verify()
    };
    assert_eq!(verify("add64 rax, rbx, 0x1"), Ok(()));
    assert!(matches!(verify("mov zero, rax"), Err(VerifyError::WritesZero { at: 0, .. })));
    assert!(matches!(verify("mov rax, t1"), Err(VerifyError::UnwrittenTemp { .. })));
    assert!(matches!(verify("load8 rax, [rbx + rcx<<4]"), Err(VerifyError::OutOfRange { .. })));
    let mut block = Block::parse(BLOCK).unwrap();
    block.insts[2].a = 40;
    assert!(matches!(block.verify(), Err(VerifyError::NoSuchSlot { at: 2, .. })));
    // A temporary does not outlive its guest instruction.
    let mut block = Block::parse(BLOCK).unwrap();
    block.insts[3].a = 16;
    assert!(matches!(block.verify(), Err(VerifyError::UnwrittenTemp { at: 3, .. })));
    let mut block = Block::parse(BLOCK).unwrap();
    block.marks.swap(0, 3);
    assert!(matches!(block.verify(), Err(VerifyError::Marks { .. })));
    let mut block = Block::parse(BLOCK).unwrap();
    block.term = Term::Ret { slot: 200 };
    assert_eq!(block.verify(), Err(VerifyError::BadTerm));
}
