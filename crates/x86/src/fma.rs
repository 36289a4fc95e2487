//! FMA3 and F16C.

use ir::{Op, ZERO};

use crate::Lifter;
use crate::avx::*;
use crate::lifter::Lifted;
use crate::table::{Row, vex, vex_pairs};
use crate::vector::{imm8, store};

pub(crate) const PACKED132: &[Row] = vex_pairs!(packed132:
    Vfmadd132ps Fmaddps Fmaddps256, Vfmadd132pd Fmaddpd Fmaddpd256,
    Vfmsub132ps Fmsubps Fmsubps256, Vfmsub132pd Fmsubpd Fmsubpd256,
    Vfnmadd132ps Fnmaddps Fnmaddps256, Vfnmadd132pd Fnmaddpd Fnmaddpd256,
    Vfnmsub132ps Fnmsubps Fnmsubps256, Vfnmsub132pd Fnmsubpd Fnmsubpd256,
    Vfmaddsub132ps Fmaddsubps Fmaddsubps256, Vfmaddsub132pd Fmaddsubpd Fmaddsubpd256,
    Vfmsubadd132ps Fmsubaddps Fmsubaddps256, Vfmsubadd132pd Fmsubaddpd Fmsubaddpd256,
);

pub(crate) const PACKED213: &[Row] = vex_pairs!(packed213:
    Vfmadd213ps Fmaddps Fmaddps256, Vfmadd213pd Fmaddpd Fmaddpd256,
    Vfmsub213ps Fmsubps Fmsubps256, Vfmsub213pd Fmsubpd Fmsubpd256,
    Vfnmadd213ps Fnmaddps Fnmaddps256, Vfnmadd213pd Fnmaddpd Fnmaddpd256,
    Vfnmsub213ps Fnmsubps Fnmsubps256, Vfnmsub213pd Fnmsubpd Fnmsubpd256,
    Vfmaddsub213ps Fmaddsubps Fmaddsubps256, Vfmaddsub213pd Fmaddsubpd Fmaddsubpd256,
    Vfmsubadd213ps Fmsubaddps Fmsubaddps256, Vfmsubadd213pd Fmsubaddpd Fmsubaddpd256,
);

pub(crate) const PACKED231: &[Row] = vex_pairs!(packed231:
    Vfmadd231ps Fmaddps Fmaddps256, Vfmadd231pd Fmaddpd Fmaddpd256,
    Vfmsub231ps Fmsubps Fmsubps256, Vfmsub231pd Fmsubpd Fmsubpd256,
    Vfnmadd231ps Fnmaddps Fnmaddps256, Vfnmadd231pd Fnmaddpd Fnmaddpd256,
    Vfnmsub231ps Fnmsubps Fnmsubps256, Vfnmsub231pd Fnmsubpd Fnmsubpd256,
    Vfmaddsub231ps Fmaddsubps Fmaddsubps256, Vfmaddsub231pd Fmaddsubpd Fmaddsubpd256,
    Vfmsubadd231ps Fmsubaddps Fmsubaddps256, Vfmsubadd231pd Fmsubaddpd Fmsubaddpd256,
);

pub(crate) const SCALAR: &[Row] = vex!(scalar:
    Vfmadd132ss Fmadd132ss, Vfmadd213ss Fmadd213ss, Vfmadd231ss Fmadd231ss,
    Vfmadd132sd Fmadd132sd, Vfmadd213sd Fmadd213sd, Vfmadd231sd Fmadd231sd,
    Vfmsub132ss Fmsub132ss, Vfmsub213ss Fmsub213ss, Vfmsub231ss Fmsub231ss,
    Vfmsub132sd Fmsub132sd, Vfmsub213sd Fmsub213sd, Vfmsub231sd Fmsub231sd,
    Vfnmadd132ss Fnmadd132ss, Vfnmadd213ss Fnmadd213ss, Vfnmadd231ss Fnmadd231ss,
    Vfnmadd132sd Fnmadd132sd, Vfnmadd213sd Fnmadd213sd, Vfnmadd231sd Fnmadd231sd,
    Vfnmsub132ss Fnmsub132ss, Vfnmsub213ss Fnmsub213ss, Vfnmsub231ss Fnmsub231ss,
    Vfnmsub132sd Fnmsub132sd, Vfnmsub213sd Fnmsub213sd, Vfnmsub231sd Fnmsub231sd,
);

pub(crate) const ROWS: &[Row] = &[
    (iced_x86::Mnemonic::Vcvtph2ps, |l| guarded_unary(l, Ops(Op::Vcvtph2ps, Op::Vcvtph2ps256))),
    (iced_x86::Mnemonic::Vcvtps2ph, cvtps2ph),
];

/// The digits name the operands in the order multiplicand, multiplier, addend.
fn packed132(l: &mut Lifter, ops: Ops) -> Lifted {
    packed(l, ops, [0, 2, 1])
}

fn packed213(l: &mut Lifter, ops: Ops) -> Lifted {
    packed(l, ops, [1, 0, 2])
}

fn packed231(l: &mut Lifter, ops: Ops) -> Lifted {
    packed(l, ops, [1, 2, 0])
}

fn packed(l: &mut Lifter, ops: Ops, [x, y, z]: [usize; 3]) -> Lifted {
    let operands = [reg(l, 0)?, reg(l, 1)?, source(l, 2)?];
    guarded(l, ops, [operands[0], operands[x], operands[y], operands[z]], 0);
    Ok(())
}

fn scalar(l: &mut Lifter, op: Op) -> Lifted {
    let (a, b, c) = (reg(l, 0)?, reg(l, 1)?, source(l, 2)?);
    l.b.emit(op, a, a, b, c, 0);
    clear_high(l, a);
    Ok(())
}

/// To a register or to memory, which must be writable before an exception is raised or MXCSR changes.
fn cvtps2ph(l: &mut Lifter) -> Lifted {
    let s = reg(l, 1)?;
    let wide = is_wide(l);
    let op = if wide { Op::Vcvtps2ph256 } else { Op::Vcvtps2ph };
    let imm = imm8(l, 2);
    if !l.is_mem(0) {
        return low_only(l, op, s, ZERO, imm);
    }
    let mem = l.mem()?;
    l.access(if wide { Op::Probe128 } else { Op::Probe64 }, ZERO, mem);
    let t = l.b.vtemp();
    l.b.emit(op, t, s, ZERO, ZERO, imm);
    store(l, if wide { Op::VStore128 } else { Op::VStore64 }, t)
}
