//! The register file of a thread.

/// Index of RAX in [`Context::gpr`] (x86 encoding order).
pub const RAX: usize = 0;
/// Index of RCX.
pub const RCX: usize = 1;
/// Index of RDX.
pub const RDX: usize = 2;
/// Index of RBX.
pub const RBX: usize = 3;
/// Index of RSP.
pub const RSP: usize = 4;
/// Index of RBP.
pub const RBP: usize = 5;
/// Index of RSI.
pub const RSI: usize = 6;
/// Index of RDI.
pub const RDI: usize = 7;
/// Index of R8; R9 to R15 follow.
pub const R8: usize = 8;
/// Index of R9.
pub const R9: usize = 9;
/// Index of R10.
pub const R10: usize = 10;
/// Index of R11.
pub const R11: usize = 11;

/// RFLAGS that a program may change itself: CF PF AF ZF SF TF DF OF RF AC (Linux's `FIX_EFLAGS`).
pub const FIX_EFLAGS: u64 = 0x0005_0dd5;
/// Direction flag.
pub const EFLAGS_DF: u64 = 0x400;
/// Trap flag.
pub const EFLAGS_TF: u64 = 0x100;
/// Resume flag.
pub const EFLAGS_RF: u64 = 0x1_0000;

/// x87, SSE and AVX state (SDM vol. 1, 10.5.1 and 13.4).
#[derive(Clone, PartialEq, Eq)]
pub struct FpState {
    /// The 512-byte FXSAVE image.
    pub fx: [u8; 512],
    /// Bits 255:128 of YMM0 to YMM15, as XSAVE's AVX component. Zero on a processor without AVX.
    pub high: [u8; 256],
}

impl FpState {
    /// Offset of MXCSR in the image.
    pub const MXCSR: usize = 24;
    /// MXCSR bits that the processor implements (SSE2 with DAZ).
    pub const MXCSR_MASK: u32 = 0xffff;

    fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.fx[at], self.fx[at + 1]])
    }
    /// x87 control word.
    pub fn control_word(&self) -> u16 {
        self.half(0)
    }
    /// x87 status word.
    pub fn status_word(&self) -> u16 {
        self.half(2)
    }
    /// SSE control and status.
    pub fn mxcsr(&self) -> u32 {
        u32::from(self.half(FpState::MXCSR)) | u32::from(self.half(FpState::MXCSR + 2)) << 16
    }
}

impl Default for FpState {
    /// The state at the start of a program: FCW 0x37f, MXCSR 0x1f80, all else zero.
    fn default() -> Self {
        let mut fx = [0; 512];
        fx[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        fx[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        fx[28..32].copy_from_slice(&FpState::MXCSR_MASK.to_le_bytes());
        FpState { fx, high: [0; 256] }
    }
}

impl core::fmt::Debug for FpState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FpState(..)")
    }
}

/// Saved registers of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// General registers in encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8..r15.
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Base of FS (thread-local storage).
    pub fs_base: u64,
    /// Base of GS.
    pub gs_base: u64,
    /// Selectors of ES, DS, FS, GS.
    pub segments: [u16; 4],
    /// x87, SSE and AVX state.
    pub fp: Box<FpState>,
}

impl Default for Context {
    fn default() -> Self {
        Context {
            gpr: [0; 16],
            rip: 0,
            rflags: 0x202,
            fs_base: 0,
            gs_base: 0,
            segments: [0; 4],
            fp: Box::default(),
        }
    }
}
