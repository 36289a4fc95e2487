//! The extended state: XSAVE, XRSTOR, XGETBV, VZEROUPPER, VZEROALL, VLDMXCSR, VSTMXCSR.

use iced_x86::Mnemonic::*;
use ir::{Op, ZERO};

use crate::Lifter;
use crate::cpuid::XCR0;
use crate::lifter::Lifted;
use crate::sse_move::{ldmxcsr, stmxcsr};
use crate::table::Row;

pub(crate) const ROWS: &[Row] = &[
    (Xgetbv, xgetbv),
    (Xsave, |l| area(l, Op::Xsave)),
    (Xsave64, |l| area(l, Op::Xsave)),
    (Xrstor, |l| area(l, Op::Xrstor)),
    (Xrstor64, |l| area(l, Op::Xrstor)),
    (Vzeroupper, |l| zero(l, Op::Vzeroupper)),
    (Vzeroall, |l| zero(l, Op::Vzeroall)),
    (Vldmxcsr, ldmxcsr),
    (Vstmxcsr, stmxcsr),
];

/// edx:eax = XCR0; other registers do not exist (#GP).
fn xgetbv(l: &mut Lifter) -> Lifted {
    l.b.emit(Op::Xgetbv, ZERO, ZERO, ZERO, ZERO, XCR0 as i64);
    Ok(())
}

fn area(l: &mut Lifter, op: Op) -> Lifted {
    let mem = l.mem()?;
    l.access(op, ZERO, mem);
    Ok(())
}

fn zero(l: &mut Lifter, op: Op) -> Lifted {
    l.b.emit(op, ZERO, ZERO, ZERO, ZERO, 0);
    Ok(())
}
