//! The state of one virtual CPU (one guest thread).

use crate::flags::{ARITH, DF, FlagKind};
use crate::sem::lanes::Whole;
use crate::sem::system::{USER_CS, USER_SS};

/// Arithmetic flags as last recorded; see [`crate::FlagKind`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Flags {
    /// What `a`, `b` and `c` mean.
    pub kind: FlagKind,
    /// First operand (or the bits themselves).
    pub a: u64,
    /// Second operand or count.
    pub b: u64,
    /// Carry in (adc, sbb) or the kept CF (inc, dec).
    pub c: u64,
}

/// An x87 extended-precision value as in memory: 64-bit significand with explicit integer bit; sign and exponent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct F80 {
    /// Significand.
    pub mant: u64,
    /// Sign (bit 15) and biased exponent.
    pub se: u16,
}

/// x87 state (SDM vol. 1, chapter 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct X87 {
    /// *Physical* registers R0..R7; ST(i) is `st[(top + i) & 7]`. MM*i* is `st[i].mant`.
    pub st: [F80; 8],
    /// Top of stack, 0..=7.
    pub top: u8,
    /// Bit *i* set: physical register *i* is not empty (the abridged tag word of FXSAVE).
    pub valid: u8,
    /// Control word.
    pub cw: u16,
    /// Status word without its TOP field.
    pub sw: u16,
    /// Last opcode (11 bits).
    pub fop: u16,
    /// Last instruction pointer.
    pub fip: u64,
    /// Last data pointer.
    pub fdp: u64,
}

impl Default for X87 {
    /// The state after FNINIT.
    fn default() -> Self {
        X87 { st: [F80::default(); 8], top: 0, valid: 0, cw: 0x37F, sw: 0, fop: 0, fip: 0, fdp: 0 }
    }
}

/// The state of one virtual CPU. Plain data: a clone is a `fork`.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct Cpu {
    /// Integer slots; only the first [`crate::SLOTS`] are used. 256 long so that a `u8` needs no bounds check.
    pub slot: [u64; 256],
    /// Vector slots; only the first [`crate::VSLOTS`] are used.
    pub v: [u128; 256],
    /// Address of the next guest instruction.
    pub rip: u64,
    /// Arithmetic flags.
    pub flags: Flags,
    /// Direction flag.
    pub df: bool,
    /// User-changeable bits of RFLAGS that ops do not look at: TF (8; single steps, the interpreter's business), NT (14),
    /// AC (18; kept, but alignment is not checked), ID (21).
    pub other_flags: u64,
    /// Selectors of ES, CS, SS, DS, FS, GS (encoding order). CS and SS never change.
    pub selectors: [u16; 6],
    /// Error code of the last #GP that has one; whoever reports it sets it to 0.
    pub error: u16,
    /// SSE control and status.
    pub mxcsr: u32,
    /// x87 and MMX.
    pub x87: X87,
}

/// Trap flag.
const TF: u64 = 1 << 8;
/// Bits of RFLAGS that `popf` may change and that no op looks at: TF, NT, AC, ID.
const KEPT: u64 = TF | 1 << 14 | 1 << 18 | 1 << 21;
/// Always-set bit 1, and IF.
const FIXED: u64 = 1 << 1 | 1 << 9;
/// MXCSR bits that exist.
pub const MXCSR_MASK: u32 = 0xFFFF;

impl Default for Cpu {
    fn default() -> Self {
        Cpu::new()
    }
}

impl Cpu {
    /// Registers zero, MXCSR and x87 as after reset (what Linux gives a fresh process).
    pub fn new() -> Cpu {
        Cpu {
            slot: [0; 256],
            v: [0; 256],
            rip: 0,
            flags: Flags::default(),
            df: false,
            other_flags: 0,
            selectors: [0, USER_CS, USER_SS, 0, 0, 0],
            error: 0,
            mxcsr: 0x1F80,
            x87: X87::default(),
        }
    }

    /// The vector slot `slot` in one piece.
    #[inline(always)]
    pub fn vector(&self, slot: u8) -> Whole {
        *bytemuck::cast_ref(&self.v[slot as usize])
    }

    /// Sets the vector slot `slot` in one piece.
    #[inline(always)]
    pub fn set_vector(&mut self, slot: u8, vector: Whole) {
        *bytemuck::cast_mut(&mut self.v[slot as usize]) = vector;
    }

    /// Whether the trap flag is set: #DB after each instruction.
    #[inline(always)]
    pub fn single_steps(&self) -> bool {
        self.other_flags & TF != 0
    }

    /// RFLAGS as `pushf` stores it: the arithmetic bits, TF, DF, NT, AC, ID, IF and the fixed bit 1.
    pub fn rflags(&self) -> u64 {
        self.flags.bits() | if self.df { DF } else { 0 } | self.other_flags | FIXED
    }

    /// Loads the bits of RFLAGS that user code may change.
    pub fn set_rflags(&mut self, value: u64) {
        self.set_rflags_masked(value, u64::MAX);
    }

    /// Loads those user-changeable bits of RFLAGS that `mask` selects.
    pub fn set_rflags_masked(&mut self, value: u64, mask: u64) {
        self.flags.put(value, mask & ARITH);
        if mask & DF != 0 {
            self.df = value & DF != 0;
        }
        self.other_flags = self.other_flags & !(mask & KEPT) | value & mask & KEPT;
    }

    /// The 512-byte FXSAVE64 image (SDM vol. 1, table 10-2); also the legacy part of XSAVE and of Linux's signal frame.
    pub fn fxsave(&self) -> [u8; 512] {
        let mut out = [0; 512];
        for i in 0..32 {
            let at = i * 16;
            out[at..at + 16].copy_from_slice(&self.fxsave_chunk(i).to_le_bytes());
        }
        out
    }

    /// The `i`-th 16 bytes (0..32) of [`Cpu::fxsave`]. The last instruction's pointers are in it only while an unmasked
    /// exception is pending (AMD's rule; others keep them always, and Linux clears them between processes).
    pub fn fxsave_chunk(&self, i: usize) -> u128 {
        let x = &self.x87;
        let pending = x.check().is_err();
        match i {
            0 => {
                let fsw = x.sw & !(7 << 11) | u16::from(x.top & 7) << 11;
                u128::from(x.cw)
                    | u128::from(fsw) << 16
                    | u128::from(x.valid) << 32
                    | u128::from(if pending { x.fop } else { 0 }) << 48
                    | u128::from(if pending { x.fip } else { 0 }) << 64
            }
            1 => {
                u128::from(if pending { x.fdp } else { 0 })
                    | u128::from(self.mxcsr) << 64
                    | u128::from(MXCSR_MASK) << 96
            }
            2..10 => {
                let st = x.st[(usize::from(x.top) + i - 2) & 7];
                u128::from(st.mant) | u128::from(st.se) << 64
            }
            10..26 => self.v[i - 10],
            _ => 0,
        }
    }

    /// Loads an FXSAVE64 image. Errors (#GP) if it sets reserved bits of MXCSR; then nothing is changed.
    pub fn fxrstor(&mut self, image: &[u8; 512]) -> Result<(), crate::TrapKind> {
        let mut chunk = [0u128; 32];
        for (to, from) in chunk.iter_mut().zip(image.as_chunks::<16>().0) {
            *to = u128::from_le_bytes(*from);
        }
        let mxcsr = (chunk[1] >> 64) as u32;
        if mxcsr & !MXCSR_MASK != 0 {
            return Err(crate::TrapKind::Gp);
        }
        self.mxcsr = mxcsr;
        self.put_x87(&std::array::from_fn(|i| chunk[i]));
        self.v[..16].copy_from_slice(&chunk[10..26]);
        Ok(())
    }

    /// Loads the x87 part of an FXSAVE64 image, given as its first ten 16-byte pieces.
    pub fn put_x87(&mut self, chunk: &[u128; 10]) {
        let x = &mut self.x87;
        x.set_control(chunk[0] as u16);
        x.set_status((chunk[0] >> 16) as u16); // ES follows from flags and masks
        x.valid = (chunk[0] >> 32) as u8;
        x.fop = (chunk[0] >> 48) as u16 & 0x7FF;
        x.fip = (chunk[0] >> 64) as u64;
        x.fdp = chunk[1] as u64;
        for i in 0..8 {
            let v = chunk[2 + i];
            x.st[(usize::from(x.top) + i) & 7] = F80 { mant: v as u64, se: (v >> 64) as u16 };
        }
    }
}
