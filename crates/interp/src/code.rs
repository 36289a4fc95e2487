//! Pre-decoded code words and the arena they live in.
#![allow(unsafe_code)] // unchecked fetch: the one bounds check that every op would pay

use ir::Op;

/// One pre-decoded op, or a word of a block's end (see [`crate::compile`]).
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct Code {
    /// Handler number: an [`Op`], [`ALT`] + an [`Op`], or [`private`].
    pub op: u16,
    /// Guest instructions that the block retires (block ends only).
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

/// Number of IR ops.
const OPS: u16 = Op::ALL.len() as u16;
/// Added to an op's number: the form with an immediate (`R2`, `Flag…`) or without an index (memory).
pub const ALT: u16 = OPS;
/// First number of the interpreter's own handlers.
const PRIVATE: u16 = 2 * OPS;

macro_rules! private_ops {
    ($($(#[$doc:meta])* $name:ident = $n:expr;)*) => {
        /// Handlers without an IR op of their own: fused pairs and block ends.
        pub mod private {
            $($(#[$doc])* pub const $name: u16 = super::PRIVATE + $n;)*
        }
    };
}
private_ops! {
    /// `flags.add64` and `add64` of the same operands; likewise the following, each with its immediate form at + 1.
    ADD64 = 0;
    /// Immediate form.
    ADD64I = 1;
    /// See `ADD64`.
    ADD32 = 2;
    /// Immediate form.
    ADD32I = 3;
    /// See `ADD64`.
    SUB64 = 4;
    /// Immediate form.
    SUB64I = 5;
    /// See `ADD64`.
    SUB32 = 6;
    /// Immediate form.
    SUB32I = 7;
    /// `and64` and `flags.logic64` of its result twice; likewise the following.
    AND64 = 8;
    /// Immediate form.
    AND64I = 9;
    /// See `AND64`.
    AND32 = 10;
    /// Immediate form.
    AND32I = 11;
    /// See `AND64`.
    OR64 = 12;
    /// Immediate form.
    OR64I = 13;
    /// See `AND64`.
    OR32 = 14;
    /// Immediate form.
    OR32I = 15;
    /// See `AND64`.
    XOR64 = 16;
    /// Immediate form.
    XOR64I = 17;
    /// See `AND64`.
    XOR32 = 18;
    /// Immediate form.
    XOR32I = 19;
    /// `store64 d, [rsp - 8]` and `rsp -= 8`.
    PUSH = 20;
    /// `load64 d, [rsp]` into a register other than rsp, and `rsp += 8`.
    POP = 21;
    /// Branch on a recorded subtraction: bits of `c` select the relations (1 equal, 2 below, 4 less, 8 negative
    /// difference), bit 7 negates. The eight forms are width (8, 16, 32, 64) times 2, + 1 for an immediate.
    BR_SUB8 = 24;
    /// Immediate form.
    BR_SUB8I = 25;
    /// See `BR_SUB8`.
    BR_SUB16 = 26;
    /// Immediate form.
    BR_SUB16I = 27;
    /// See `BR_SUB8`.
    BR_SUB32 = 28;
    /// Immediate form.
    BR_SUB32I = 29;
    /// See `BR_SUB8`.
    BR_SUB64 = 30;
    /// Immediate form.
    BR_SUB64I = 31;
    /// Branch on a recorded `a & b`: bits of `c`: 1 zero, 4 and 8 negative, bit 7 negates. Forms as for `BR_SUB8`.
    BR_LOGIC8 = 32;
    /// Immediate form.
    BR_LOGIC8I = 33;
    /// See `BR_LOGIC8`.
    BR_LOGIC16 = 34;
    /// Immediate form.
    BR_LOGIC16I = 35;
    /// See `BR_LOGIC8`.
    BR_LOGIC32 = 36;
    /// Immediate form.
    BR_LOGIC32I = 37;
    /// See `BR_LOGIC8`.
    BR_LOGIC64 = 38;
    /// Immediate form.
    BR_LOGIC64I = 39;
    /// Block end: jump. Words: this (imm = link), target.
    JUMP = 40;
    /// Block end: branch on condition `c`. Words: this, link taken, link not taken, target taken, target not taken.
    BRANCH = 41;
    /// Block end: branch if slot `a` is not zero. Words as `BRANCH`.
    BRANCH_NZ = 42;
    /// Block end: to the address in slot `a`.
    INDIRECT = 43;
    /// Block end: system call; imm = address behind it.
    SYSCALL = 44;
    /// Block end: trap number `a` of [`crate::compile::TRAPS`]; imm = `rip`.
    TRAP = 45;
    /// Block end: push imm (the return address), then jump. Words: this, link, target.
    CALL = 46;
    /// Block end: pop an address and go there.
    RET = 47;
    /// Block end: push imm (the return address), then to the address in slot `a`.
    CALL_INDIRECT = 48;
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
    /// For the run loop; good until the arena changes.
    pub fn fetcher(&self) -> Fetcher {
        Fetcher(self.words.as_ptr())
    }
}

/// Unchecked access to the arena.
#[derive(Clone, Copy)]
pub struct Fetcher(*const Code);

impl Fetcher {
    /// The word at `ip`.
    #[inline(always)]
    pub fn at<'a>(self, ip: u32) -> &'a Code {
        // SAFETY: `ip` is the start of a compiled block or follows a word that is no block end; every block ends with a
        // block end whose further words are part of the same block; the run loop takes a new fetcher after each call that
        // may change the arena and holds no reference across it.
        unsafe { &*self.0.add(ip as usize) }
    }
}
