//! Differential test of the CPU: one instruction, one state, run on this machine's processor ([`native`]) and by
//! `x86::lift` and the interpreter ([`emulated`]), then compared ([`compare`]).
//!
//! Both sides see the same little address space (below 4 GiB, so that the interpreter's tables cover it):
//! one code page at [`CODE`], two writable pages at [`DATA`], a read-only page after them, nothing else.

pub mod compare;
pub mod emulated;
pub mod generate;
pub mod line;
pub mod native;
pub mod promised;
pub mod random;
pub mod shrink;
pub mod templates;
pub mod vex;

/// Address of the code page; the page after it is not mapped.
pub const CODE: u64 = 0x2000_0000;
/// Address of the data pages: two writable, one read-only, then nothing.
pub const DATA: u64 = 0x2001_0000;
/// Bytes of the data pages.
pub const DATA_LEN: usize = 3 * 4096;
/// Of these, writable.
pub const WRITABLE_LEN: usize = 2 * 4096;
/// Bytes of an FXSAVE image that hold state.
pub const FX_LEN: usize = 416;
/// Most bytes of code in a case.
pub const MAX_CODE: usize = 96;
/// Where the instruction starts within the code page.
pub const ENTRY: u64 = CODE + 0x800;

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
    /// Contents of the data pages that are not zero: (offset, bytes), ascending, not adjoining.
    pub memory: Vec<(u32, Vec<u8>)>,
}

impl Default for State {
    /// All zero, MXCSR and x87 as at process start.
    fn default() -> State {
        let mut state =
            State { regs: [0; 16], rflags: 0, fx: [0; FX_LEN], high: [0; 16], memory: Vec::new() };
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
    /// The data pages in full.
    pub fn data(&self) -> Vec<u8> {
        let mut data = vec![0; DATA_LEN];
        for (at, bytes) in &self.memory {
            let at = *at as usize;
            data[at..at + bytes.len()].copy_from_slice(bytes);
        }
        data
    }
    /// Sets the data pages; runs of up to three zero bytes do not split a piece.
    pub fn set_data(&mut self, data: &[u8]) {
        self.memory.clear();
        let mut i = 0;
        while i < data.len() {
            if data[i] == 0 {
                i += 1;
                continue;
            }
            let start = i;
            let mut end = i;
            while i < data.len() && i < end + 4 {
                if data[i] != 0 {
                    end = i + 1;
                }
                i += 1;
            }
            self.memory.push((start as u32, data[start..end].to_vec()));
            i = end;
        }
    }
}

/// One instruction (or a few) and the state it starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The bytes, placed at [`ENTRY`]; what follows are int3 instructions.
    pub code: Vec<u8>,
    /// State before.
    pub state: State,
}

/// How it ended; all with the final `rip` relative to [`ENTRY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Ran into the int3 at `rip`.
    Done,
    /// A trap.
    Trap(ir::TrapKind),
    /// A page fault at an address; for a write or not.
    Fault(u64, bool),
    /// The process died or hung (only natively): not comparable.
    Lost,
}

/// What an execution led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// `rip` (of the int3, or of the instruction that stopped).
    pub rip: u64,
    /// State after.
    pub state: State,
}
