//! Pre-decoded code words and the arena they live in.
#![allow(unsafe_code)] // unchecked fetch: the one bounds check that every op would pay

use ir::Op;

/// One pre-decoded op, or a word of a block's end (see [`crate::compile`]).
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct Code {
    /// Handler number: an [`Op`], [`ALT`] + an [`Op`], or [`private`].
    pub op: u16,
    /// Guest instructions that the block retires (block ends); the stored value (`STORE…I`).
    pub n: u16,
    /// As in [`ir::Inst`].
    pub d: u8,
    /// As in [`ir::Inst`].
    pub a: u8,
    /// As in [`ir::Inst`].
    pub b: u8,
    /// As in [`ir::Inst`].
    pub c: u8,
    /// As in [`ir::Inst`]; link or target in the words of a block's end.
    pub imm: i64,
}

impl Code {
    /// The word that enters the region `number`. It retires nothing itself.
    pub fn enter(number: u32) -> Code {
        Code { op: private::ENTER, n: 0, d: 0, a: 0, b: 0, c: 0, imm: i64::from(number) }
    }
}

/// Number of IR ops.
const OPS: u16 = Op::ALL.len() as u16;
/// Added to an op's number: the form with an immediate (`R2`, `Flag…`) or without an index (memory).
pub const ALT: u16 = OPS;
/// First number of the interpreter's own handlers; below are ops and their other forms.
pub const PRIVATE: u16 = 2 * OPS;

macro_rules! private_ops {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u16)]
        enum Number { $($name),*, END }
        /// Handlers without an IR op of their own: fused groups and block ends.
        pub mod private {
            use super::{Number, PRIVATE};
            $($(#[$doc])* pub const $name: u16 = PRIVATE + Number::$name as u16;)*
        }
        /// First number of the compare-and-branch handlers.
        const BRANCHES: u16 = PRIVATE + Number::END as u16;
    };
}
private_ops! {
    /// Op number `n` through [`crate::pure::TABLE`].
    PURE;
    /// `flags.add64` and `add64` of the same operands; likewise the following, each with its immediate form after it.
    ADD64;
    /// Immediate form.
    ADD64I;
    /// See `ADD64`.
    ADD32;
    /// Immediate form.
    ADD32I;
    /// See `ADD64`.
    SUB64;
    /// Immediate form.
    SUB64I;
    /// See `ADD64`.
    SUB32;
    /// Immediate form.
    SUB32I;
    /// `and64` and `flags.logic64` of its result twice; likewise the following.
    AND64;
    /// Immediate form.
    AND64I;
    /// See `AND64`.
    AND32;
    /// Immediate form.
    AND32I;
    /// See `AND64`.
    OR64;
    /// Immediate form.
    OR64I;
    /// See `AND64`.
    OR32;
    /// Immediate form.
    OR32I;
    /// See `AND64`.
    XOR64;
    /// Immediate form.
    XOR64I;
    /// See `AND64`.
    XOR32;
    /// Immediate form.
    XOR32I;
    /// Recorder and shift by a constant that is not 0; likewise the following.
    SHL64I;
    /// See `SHL64I`.
    SHL32I;
    /// See `SHL64I`.
    SHR64I;
    /// See `SHL64I`.
    SHR32I;
    /// See `SHL64I`.
    SAR64I;
    /// See `SHL64I`.
    SAR32I;
    /// `flags.inc64` and the addition of 1; likewise the following.
    INC64;
    /// See `INC64`.
    INC32;
    /// See `INC64`.
    DEC64;
    /// See `INC64`.
    DEC32;
    /// `selcc` and `mov32` of its result.
    SEL32;
    /// `load64 t, m; add64 d, a', t` with a' in `n`; likewise the following.
    ADD64M;
    /// See `ADD64M`.
    ADD32M;
    /// See `ADD64M`.
    SUB64M;
    /// See `ADD64M`.
    SUB32M;
    /// See `ADD64M`.
    AND64M;
    /// See `ADD64M`.
    AND32M;
    /// See `ADD64M`.
    OR64M;
    /// See `ADD64M`.
    OR32M;
    /// See `ADD64M`.
    XOR64M;
    /// See `ADD64M`.
    XOR32M;
    /// See `ADD64M`.
    MUL64M;
    /// See `ADD64M`.
    MUL32M;
    /// `store8 [a + imm]` of the constant `n` (sign-extended); likewise the following.
    STORE8I;
    /// See `STORE8I`.
    STORE16I;
    /// See `STORE8I`.
    STORE32I;
    /// See `STORE8I`.
    STORE64I;
    /// `store64 d, [rsp - 8]` and `rsp -= 8`.
    PUSH;
    /// `load64 d, [rsp]` into a register other than rsp, and `rsp += 8`.
    POP;
    /// Block end: jump. Words: this (imm = link), target.
    JUMP;
    /// Block end: branch on condition `c`. Words: this, link taken, link not taken, target taken, target not taken.
    BRANCH;
    /// As `BRANCH`, the last recorder being `flags.sub32`; the relations in `c` are: 1 equal, 2 below, 4 less, 8 negative
    /// difference, 0x80 negates.
    LATE_SUB32;
    /// As `LATE_SUB32`.
    LATE_SUB64;
    /// As `LATE_SUB32`, the last recorder being a logic of 32 bits.
    LATE_LOGIC32;
    /// As `LATE_LOGIC32`.
    LATE_LOGIC64;
    /// As `LATE_SUB32`, the last recorder being an addition; only equal (to zero) and negative.
    LATE_ADD32;
    /// As `LATE_ADD32`.
    LATE_ADD64;
    /// Block end: branch if slot `a` is not zero. Words as `BRANCH`.
    BRANCH_NZ;
    /// Block end: to the address in slot `a`.
    INDIRECT;
    /// Block end: system call; imm = address behind it.
    SYSCALL;
    /// Block end: trap number `a` of [`crate::compile::TRAPS`]; imm = `rip`.
    TRAP;
    /// Block end: push imm (the return address), then jump. Words: this, link, target.
    CALL;
    /// Block end: pop an address and go there.
    RET;
    /// Block end: push imm (the return address), then to the address in slot `a`.
    CALL_INDIRECT;
    /// Enter the region of number imm, or go on in its root block's copy; see [`crate::enter`].
    ENTER;
}

macro_rules! branches {
    ($($name:ident = $n:literal;)*) => {
        /// Block ends that record a comparison and branch on it, a module for each recorder and operand form, a number
        /// for each condition. Words as [`private::BRANCH`].
        #[allow(missing_docs, dead_code, non_upper_case_globals)]
        pub mod branch {
            $(pub mod $name {
                use ir::Cc;
                pub const BASE: u16 = super::super::BRANCHES + 16 * $n;
                pub const B: u16 = BASE + Cc::B as u16;
                pub const Ae: u16 = BASE + Cc::Ae as u16;
                pub const E: u16 = BASE + Cc::E as u16;
                pub const Ne: u16 = BASE + Cc::Ne as u16;
                pub const Be: u16 = BASE + Cc::Be as u16;
                pub const A: u16 = BASE + Cc::A as u16;
                pub const S: u16 = BASE + Cc::S as u16;
                pub const Ns: u16 = BASE + Cc::Ns as u16;
                pub const L: u16 = BASE + Cc::L as u16;
                pub const Ge: u16 = BASE + Cc::Ge as u16;
                pub const Le: u16 = BASE + Cc::Le as u16;
                pub const G: u16 = BASE + Cc::G as u16;
            })*
        }
    };
}
branches! {
    sub8 = 0; sub8i = 1; sub16 = 2; sub16i = 3; sub32 = 4; sub32i = 5; sub64 = 6; sub64i = 7;
    logic8 = 8; logic8i = 9; logic16 = 10; logic16i = 11; logic32 = 12; logic32i = 13; logic64 = 14; logic64i = 15;
}

/// All compiled code. Only grows until it is dropped as a whole.
#[derive(Default)]
pub struct Arena {
    words: Vec<Code>,
}

impl Arena {
    /// Words in use.
    pub fn len(&self) -> usize {
        self.words.len()
    }
    /// Appends the words of a block.
    pub fn extend(&mut self, words: &[Code]) {
        self.words.extend_from_slice(words);
    }
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.words.clear();
    }
    /// Changes the immediate of a word (sets a link).
    pub fn set_imm(&mut self, at: u32, imm: i64) {
        if let Some(word) = self.words.get_mut(at as usize) {
            word.imm = imm;
        }
    }
    /// Replaces a word.
    pub fn set(&mut self, at: u32, code: Code) {
        if let Some(word) = self.words.get_mut(at as usize) {
            *word = code;
        }
    }
    /// The words at these places.
    pub fn copy(&self, at: std::ops::Range<u32>) -> Option<Vec<Code>> {
        self.words.get(at.start as usize..at.end as usize).map(<[Code]>::to_vec)
    }
    /// Whether the word at `at` enters a region, and which.
    pub fn entered(&self, at: u32) -> Option<u32> {
        let word = self.words.get(at as usize)?;
        (word.op == private::ENTER).then_some(word.imm as u32)
    }
    /// For the run loop; good until the arena changes.
    pub fn fetcher(&self) -> Fetcher {
        Fetcher(self.words.as_ptr())
    }
}

/// Unchecked access to the arena.
#[derive(Clone, Copy)]
pub struct Fetcher(*const Code);

impl Fetcher {
    /// The place of the word at `ip`, which starts a compiled block.
    #[inline(always)]
    pub fn place(self, ip: u32) -> Place {
        Place(self.0.wrapping_add(ip as usize))
    }
    /// The index of the word at `place`.
    #[inline(always)]
    pub fn index(self, place: Place) -> u32 {
        ((place.0 as usize - self.0 as usize) / size_of::<Code>()) as u32
    }
}

/// A place in the arena: an instruction pointer.
#[derive(Clone, Copy)]
pub struct Place(*const Code);

impl Place {
    /// The word here.
    #[inline(always)]
    pub fn word<'a>(self) -> &'a Code {
        // SAFETY: a place is the start of a compiled block or follows a word that is no block end; every block ends with a
        // block end whose further words are part of the same block; the run loop makes new places after each call that may
        // change the arena and holds no reference across it.
        unsafe { &*self.0 }
    }
    /// The place `n` words further on.
    #[inline(always)]
    pub fn plus(self, n: usize) -> Place {
        Place(self.0.wrapping_add(n))
    }
    /// The place before.
    #[inline(always)]
    pub fn back(self) -> Place {
        Place(self.0.wrapping_sub(1))
    }
}
