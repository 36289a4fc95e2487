//! One op by itself, for translated code that has nothing better.

use crate::code::Code;
use crate::pure::{SIZE, TABLE, needs_environment};
use ir::{Cpu, Op};

/// Runs the op with the number `fields & 0xFFFF` and the operands `d`, `a`, `b`, `c` in bits 16, 24, 32 and 40 of `fields` on
/// `cpu`: 0 = done, 1 = trapped or of a class that needs the environment; then nothing was changed.
pub fn run_op(cpu: &mut Cpu, fields: u64, imm: i64) -> u32 {
    let number = fields as u16;
    let Some(op) = Op::ALL.get(usize::from(number)) else { return 1 };
    if needs_environment(op.class()) {
        return 1;
    }
    let field = |shift: u32| (fields >> shift) as u8;
    let code =
        Code { op: number, n: number, d: field(16), a: field(24), b: field(32), c: field(40), imm };
    u32::from((TABLE[usize::from(number) % SIZE])(cpu, &code).is_err())
}
