//! From mnemonic to lifting function.

use iced_x86::{Code, EncodingKind, Instruction, Mnemonic};

use crate::cpuid::CpuLevel;
use crate::lifter::Lifted;
use crate::{
    Lifter, alu, avx_float, avx_move, avx_packed, avx_state, bits, control, fma, mmx, multiply,
    segment, shift, sse_float, sse_move, sse_packed, string, system, transfer, x87, x87_state,
};

/// Lifts the instruction at hand.
pub(crate) type LiftFn = fn(&mut Lifter) -> Lifted;
/// One row of a family's table.
pub(crate) type Row = (Mnemonic, LiftFn);

/// Rows of instructions whose mnemonic is also the name of the op that does their work: `rows!(shape: Names)`.
macro_rules! rows {
    ($shape:ident: $($name:ident)*) => {
        &[$((iced_x86::Mnemonic::$name, |l| $shape(l, ir::Op::$name))),*]
    };
}
pub(crate) use rows;

/// Rows of instructions whose op has another name: `vex!(shape: Mnemonic Op, …)`.
macro_rules! vex {
    ($shape:ident: $($name:ident $op:ident),* $(,)?) => {
        &[$((iced_x86::Mnemonic::$name, |l| $shape(l, ir::Op::$op))),*]
    };
}
pub(crate) use vex;

/// As [`vex!`] with an op for 128 bits and one for 256: `vex_pairs!(shape: Mnemonic Op Op256, …)`.
macro_rules! vex_pairs {
    ($shape:ident: $($name:ident $narrow:ident $wide:ident),* $(,)?) => {
        &[$((iced_x86::Mnemonic::$name, |l| $shape(l, $crate::avx::Ops(ir::Op::$narrow, ir::Op::$wide)))),*]
    };
}
pub(crate) use vex_pairs;

/// The families. A new one is one line here.
const FAMILIES: &[&[Row]] = &[
    alu::ROWS,
    bits::ROWS,
    control::ROWS,
    multiply::ROWS,
    segment::ROWS,
    shift::ROWS,
    string::ROWS,
    system::ROWS,
    transfer::ROWS,
    sse_packed::ROWS,
    sse_packed::BINARY,
    sse_packed::UNARY,
    sse_packed::UNARY_IMM,
    sse_packed::BINARY_IMM,
    sse_packed::MASKED,
    sse_packed::SHA,
    sse_move::ROWS,
    sse_float::ROWS,
    sse_float::BINARY,
    sse_float::UNARY,
    sse_float::BINARY_IMM,
    sse_float::UNARY_IMM,
    sse_float::MASKED,
    sse_float::FLAGS,
    mmx::ROWS,
    x87::ROWS,
    x87_state::ROWS,
];

/// Families whose state (the high halves of YMM, XCR0) the default processor does not have: #UD below x86-64-v3.
const V3_FAMILIES: &[&[Row]] = &[
    avx_state::ROWS,
    avx_move::ROWS,
    avx_packed::ROWS,
    avx_packed::BINARY,
    avx_packed::UNARY,
    avx_packed::WIDENING,
    avx_float::BINARY,
    avx_float::SCALAR,
    avx_float::SCALAR_IMM,
    avx_float::UNARY,
    avx_float::UNARY_IMM,
    avx_float::BINARY_IMM,
    avx_float::BINARY_HALVES,
    avx_float::UNARY_HALVES,
    avx_float::FLAGS,
    avx_float::ROWS,
    bits::BMI,
    multiply::BMI,
    shift::BMI,
    fma::PACKED132,
    fma::PACKED213,
    fma::PACKED231,
    fma::SCALAR,
    fma::ROWS,
];

/// More than iced has mnemonics; a larger one would fail the constant evaluation below.
const SIZE: usize = 2304;

type Table = [Option<(CpuLevel, LiftFn)>; SIZE];

static TABLE: Table =
    filled(filled([None; SIZE], CpuLevel::V2, FAMILIES), CpuLevel::V3, V3_FAMILIES);

const fn filled(mut table: Table, level: CpuLevel, families: &[&[Row]]) -> Table {
    let mut f = 0;
    while f < families.len() {
        let mut i = 0;
        while i < families[f].len() {
            let (mnemonic, lift) = families[f][i];
            assert!(table[mnemonic as usize].is_none(), "a mnemonic has two rows");
            table[mnemonic as usize] = Some((level, lift));
            i += 1;
        }
        f += 1;
    }
    table
}

/// The lifting function of `ins` on a processor of `level`.
#[inline]
pub(crate) fn lookup(ins: &Instruction, level: CpuLevel) -> Option<LiftFn> {
    match ins.code() {
        Code::Movsd_m32_m32 => return Some(string::MOVS32),
        Code::Cmpsd_m32_m32 => return Some(string::CMPS32),
        _ => {}
    }
    // AVX-512 shares mnemonics with AVX.
    if !matches!(ins.encoding(), EncodingKind::Legacy | EncodingKind::VEX) {
        return None;
    }
    let (least, lift) = TABLE.get(ins.mnemonic() as usize).copied().flatten()?;
    (level >= least).then_some(lift)
}

pub(crate) fn names() -> Vec<String> {
    let rows = FAMILIES.iter().chain(V3_FAMILIES).flat_map(|f| f.iter());
    let mut names: Vec<String> = rows.map(|r| format!("{:?}", r.0).to_lowercase()).collect();
    names.sort();
    names
}
