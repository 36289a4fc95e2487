//! x86-64 decoding, cpuid and lifting to IR. No system calls.
//!
//! [`lift`] turns the bytes at a guest address into one [`ir::Block`]. The meaning of an instruction is written here and
//! nowhere else: one row `(Mnemonic, function)` in the `ROWS` of a family's file and one function
//! `fn(&mut Lifter) -> Lifted`, which emits IR. [`lifter::Lifter`] holds the operand access that all families share.
//!
//! Order within a function (precise faults): loads and checks first, then stores, then registers, vectors and flags.
//! A flag recorder that names a register comes before that register is overwritten.
//!
//! An instruction without a row, or an operand form that its function refuses, ends the block with
//! `Term::Trap { kind: Ud }`; [`describe`] names the culprit for a log.

#![allow(clippy::precedence)] // masks and shifts in the notation of the manuals

mod alu;
mod avx;
mod avx_float;
mod avx_move;
mod avx_packed;
mod avx_state;
mod bits;
mod control;
mod cpuid;
pub mod fault;
mod fma;
mod lifter;
mod mmx;
mod multiply;
mod segment;
mod shift;
mod sse_float;
mod sse_move;
mod sse_packed;
mod string;
mod system;
mod table;
mod transfer;
mod vector;
mod x87;
mod x87_state;

use iced_x86::{Decoder, DecoderError, DecoderOptions};
use ir::{Block, Builder, Term, TrapKind};

pub use cpuid::{
    AVX_OFFSET, BASELINE, CpuLevel, CpuidRegister, FEATURES, Feature, XCR0, XSAVE_SIZE, cpuid,
    features,
};
use lifter::Lifter;

/// Most guest instructions in one block.
const MAX_INSTRUCTIONS: usize = 64;
/// Longest x86 instruction in bytes (SDM vol. 2, 2.3.11).
pub const MAX_INSTRUCTION_LEN: usize = 15;
/// Bytes in a page; a block does not leave the page it starts in.
const PAGE: u64 = 4096;

/// What the lifter may assume.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiftOptions {
    /// The processor that [`cpuid`] reports.
    pub level: CpuLevel,
}

/// Why there is no block.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LiftError {
    /// The bytes end within the first instruction: give those of the next page too, or report its fault.
    #[error("the instruction at {pc:#x} goes on beyond the bytes given")]
    Incomplete {
        /// Address of the instruction.
        pc: u64,
    },
}

/// Lifts the block at `pc`. `bytes` are the guest's from `pc` on: up to the page's end or (to complete an instruction that
/// straddles it) a few more. Such an instruction becomes a block of its own. Undefined instructions end the block with a
/// #UD trap.
pub fn lift(bytes: &[u8], pc: u64, options: &LiftOptions) -> Result<Block, LiftError> {
    // F3 90 as NOP, which PAUSE is here: with REX.B it is XCHG, but the decoder says PAUSE to that too.
    let mut decoder = Decoder::with_ip(64, bytes, pc, DecoderOptions::NO_PAUSE);
    let to_page_end = PAGE - pc % PAGE;
    let mut l = Lifter::new(Builder::new(pc), *options);
    loop {
        let at = decoder.position();
        let here = pc.wrapping_add(at as u64);
        let done = |l: Lifter, term| Ok(l.b.finish(at as u32, term));
        if l.b.guest_len() >= MAX_INSTRUCTIONS || at as u64 >= to_page_end {
            return done(l, Term::Jump { target: here });
        }
        let ins = decoder.decode();
        let end = decoder.position();
        if ins.is_invalid() {
            if decoder.last_error() == DecoderError::NoMoreBytes
                && bytes.len() - at < MAX_INSTRUCTION_LEN
            {
                return if at == 0 {
                    Err(LiftError::Incomplete { pc })
                } else {
                    done(l, Term::Jump { target: here })
                };
            }
            l.b.begin(here);
            let kind = if fault::is_too_long(&bytes[at..]) { TrapKind::Gp } else { TrapKind::Ud };
            return done(l, Term::Trap { kind, pc: here });
        }
        let straddles = end as u64 > to_page_end;
        if straddles && at != 0 {
            return done(l, Term::Jump { target: here });
        }
        l.begin(ins, here);
        let lifted = match table::lookup(&l.ins, options.level) {
            Some(f) => f(&mut l),
            None => Err(lifter::Unsupported),
        };
        if lifted.is_ok() {
            x87_state::note_last(&mut l, &bytes[at..end]);
        }
        if lifted.is_err() {
            l.b.cancel();
            l.b.begin(here);
            return Ok(l.b.finish(end as u32, Term::Trap { kind: TrapKind::Ud, pc: here }));
        }
        if let Some(term) = l.term.take() {
            return Ok(l.b.finish(end as u32, term));
        }
        if straddles {
            let target = pc.wrapping_add(end as u64);
            return Ok(l.b.finish(end as u32, Term::Jump { target }));
        }
    }
}

/// The first instruction of `bytes` for a log: its bytes in hex and its mnemonic.
pub fn describe(bytes: &[u8], pc: u64) -> String {
    let mut decoder = Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE);
    let ins = decoder.decode();
    let len = if ins.is_invalid() { bytes.len().min(MAX_INSTRUCTION_LEN) } else { ins.len() };
    let hex: Vec<String> = bytes.iter().take(len).map(|b| format!("{b:02x}")).collect();
    let name = format!("{:?}", ins.mnemonic()).to_lowercase();
    format!("{name} ({}) at {pc:#x}", hex.join(" "))
}

/// The least level that has the first instruction of `bytes`; `None` if it is undefined at all levels.
pub fn level_of(bytes: &[u8], pc: u64) -> Option<CpuLevel> {
    let ins = Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE).decode();
    let levels = [CpuLevel::V2, CpuLevel::V3];
    levels.into_iter().find(|level| table::lookup(&ins, *level).is_some())
}

/// Mnemonics that have a lifting function, in lower case, sorted.
pub fn supported_mnemonics() -> Vec<String> {
    table::names()
}
