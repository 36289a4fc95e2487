//! The machine state that a case starts from and ends with.

use super::FX_LEN;
use super::memory::Memory;

/// Machine state before or after an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// General registers in encoding order.
    pub regs: [u64; 16],
    /// RFLAGS: arithmetic bits and DF.
    pub rflags: u64,
    /// The first part of the FXSAVE image: x87, MXCSR, XMM.
    pub fx: [u8; FX_LEN],
    /// Bits 255:128 of the YMM registers.
    pub high: [u128; 16],
    /// Base of FS.
    pub fs: u64,
    /// Base of GS.
    pub gs: u64,
    /// Contents of the data pages.
    pub memory: Memory,
}

impl Default for State {
    /// All zero, MXCSR and x87 as at process start.
    fn default() -> State {
        let mut state = State {
            regs: [0; 16],
            rflags: 0,
            fx: [0; FX_LEN],
            high: [0; 16],
            fs: 0,
            gs: 0,
            memory: Memory::default(),
        };
        state.set_cw(0x37f);
        state.set_mxcsr(0x1f80);
        state
    }
}

impl State {
    fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.fx[at], self.fx[at + 1]])
    }
    fn set_word(&mut self, at: usize, x: u16) {
        self.fx[at..at + 2].copy_from_slice(&x.to_le_bytes());
    }
    /// x87 control word.
    pub fn cw(&self) -> u16 {
        self.word(0)
    }
    /// Sets the x87 control word.
    pub fn set_cw(&mut self, x: u16) {
        self.set_word(0, x);
    }
    /// x87 status word with TOP.
    pub fn sw(&self) -> u16 {
        self.word(2)
    }
    /// Sets the x87 status word.
    pub fn set_sw(&mut self, x: u16) {
        self.set_word(2, x);
    }
    /// Abridged tag word: one bit for each physical register that is not empty.
    pub fn tags(&self) -> u8 {
        self.fx[4]
    }
    /// Sets the abridged tag word.
    pub fn set_tags(&mut self, x: u8) {
        self.fx[4] = x;
    }
    /// MXCSR.
    pub fn mxcsr(&self) -> u32 {
        u32::from(self.word(24)) | u32::from(self.word(26)) << 16
    }
    /// Sets MXCSR.
    pub fn set_mxcsr(&mut self, x: u32) {
        self.fx[24..28].copy_from_slice(&x.to_le_bytes());
    }
    /// ST(i): significand, sign and exponent.
    pub fn st(&self, i: usize) -> (u64, u16) {
        let at = 32 + 16 * i;
        let mut mant = [0; 8];
        mant.copy_from_slice(&self.fx[at..at + 8]);
        (u64::from_le_bytes(mant), self.word(at + 8))
    }
    /// Sets the contents of ST(i).
    pub fn set_st(&mut self, i: usize, mant: u64, se: u16) {
        let at = 32 + 16 * i;
        self.fx[at..at + 8].copy_from_slice(&mant.to_le_bytes());
        self.set_word(at + 8, se);
    }
    /// XMM register `i`.
    pub fn xmm(&self, i: usize) -> u128 {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.fx[160 + 16 * i..176 + 16 * i]);
        u128::from_le_bytes(bytes)
    }
    /// Sets XMM register `i`.
    pub fn set_xmm(&mut self, i: usize, x: u128) {
        self.fx[160 + 16 * i..176 + 16 * i].copy_from_slice(&x.to_le_bytes());
    }
}
