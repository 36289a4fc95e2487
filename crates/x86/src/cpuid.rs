//! What the CPUID instruction says: pure data.
//!
//! The default is an x86-64-v2 processor without AVX and XSAVE, so that glibc and others choose their SSE2 to SSE4.2
//! paths, which are the quick ones here. x86-64-v3 adds AVX, AVX2, FMA, F16C, BMI and LZCNT for programs that need them.
//! The vendor is Intel's: glibc's cache sizes then come from leaf 4, which is plain data here.

use iced_x86::CpuidFeature::{self, *};

/// The processor that CPUID reports (levels of the x86-64 psABI).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CpuLevel {
    /// SSE4.2, POPCNT, CMPXCHG16B, LAHF; besides AES, PCLMULQDQ, SHA, RDRAND, MOVBE, ADX. No AVX.
    #[default]
    V2,
    /// The above with AVX, AVX2, FMA, F16C, BMI1, BMI2, LZCNT and XSAVE.
    V3,
}

/// A register that CPUID writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuidRegister {
    /// EBX.
    Ebx,
    /// ECX.
    Ecx,
    /// EDX.
    Edx,
}
use CpuidRegister::{Ebx, Ecx, Edx};

/// One bit of CPUID and the instructions that it promises.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// Name in `/proc/cpuinfo` (Linux, `arch/x86/include/asm/cpufeatures.h`); empty if Linux shows none.
    pub name: &'static str,
    /// The least level that has it.
    pub level: CpuLevel,
    /// Leaf (subleaf 0).
    pub leaf: u32,
    /// Register of the leaf.
    pub register: CpuidRegister,
    /// Bit of the register.
    pub bit: u32,
    /// The decoder's names for the instructions behind the bit.
    pub instructions: &'static [CpuidFeature],
}

macro_rules! features {
    ($($name:literal $level:ident $leaf:literal $register:ident $bit:literal [$($iced:ident)*];)*) => {
        &[$(Feature {
            name: $name, level: CpuLevel::$level, leaf: $leaf, register: $register, bit: $bit,
            instructions: &[$($iced),*],
        }),*]
    };
}

/// Every bit that is set at some level, with what it promises. CPUID, `/proc/cpuinfo` and the tests derive from it.
pub const FEATURES: &[Feature] = features! {
    "fpu" V2 1 Edx 0 [FPU FPU287 FPU387];
    "tsc" V2 1 Edx 4 [TSC];
    "msr" V2 1 Edx 5 [];
    "pae" V2 1 Edx 6 [];
    "cx8" V2 1 Edx 8 [CX8];
    "sep" V2 1 Edx 11 [];
    "cmov" V2 1 Edx 15 [CMOV];
    "clflush" V2 1 Edx 19 [CLFSH];
    "mmx" V2 1 Edx 23 [MMX];
    "fxsr" V2 1 Edx 24 [FXSR];
    "sse" V2 1 Edx 25 [SSE];
    "sse2" V2 1 Edx 26 [SSE2 PAUSE];
    "pni" V2 1 Ecx 0 [SSE3];
    "pclmulqdq" V2 1 Ecx 1 [PCLMULQDQ];
    "ssse3" V2 1 Ecx 9 [SSSE3];
    "fma" V3 1 Ecx 12 [FMA];
    "cx16" V2 1 Ecx 13 [CMPXCHG16B];
    "sse4_1" V2 1 Ecx 19 [SSE4_1];
    "sse4_2" V2 1 Ecx 20 [SSE4_2];
    "movbe" V2 1 Ecx 22 [MOVBE];
    "popcnt" V2 1 Ecx 23 [POPCNT];
    "aes" V2 1 Ecx 25 [AES];
    "xsave" V3 1 Ecx 26 [XSAVE];
    "" V3 1 Ecx 27 []; // OSXSAVE
    "avx" V3 1 Ecx 28 [AVX];
    "f16c" V3 1 Ecx 29 [F16C];
    "rdrand" V2 1 Ecx 30 [RDRAND];
    "hypervisor" V2 1 Ecx 31 [];
    "fsgsbase" V2 7 Ebx 0 [FSGSBASE];
    "bmi1" V3 7 Ebx 3 [BMI1];
    "avx2" V3 7 Ebx 5 [AVX2];
    "bmi2" V3 7 Ebx 8 [BMI2];
    "erms" V2 7 Ebx 9 []; // rep movsb and rep stosb are one op here
    "" V2 7 Ebx 13 []; // FCS and FDS are zero
    "rdseed" V2 7 Ebx 18 [RDSEED];
    "adx" V2 7 Ebx 19 [ADX];
    "sha_ni" V2 7 Ebx 29 [SHA];
    "lahf_lm" V2 0x8000_0001 Ecx 0 [];
    "abm" V3 0x8000_0001 Ecx 5 [LZCNT];
    "syscall" V2 0x8000_0001 Edx 11 [SYSCALL];
    "nx" V2 0x8000_0001 Edx 20 [];
    "rdtscp" V2 0x8000_0001 Edx 27 [RDTSCP];
    "lm" V2 0x8000_0001 Edx 29 [X64];
};

/// Instructions of every x86-64 processor that no bit announces.
pub const BASELINE: &[CpuidFeature] =
    &[INTEL8086, INTEL186, INTEL286, INTEL386, INTEL486, X64, CPUID, MULTIBYTENOP];

/// The features of `level`.
pub fn features(level: CpuLevel) -> impl Iterator<Item = &'static Feature> {
    FEATURES.iter().filter(move |f| f.level <= level)
}

/// The set bits of one register of a leaf.
fn bits(level: CpuLevel, leaf: u32, register: CpuidRegister) -> u32 {
    let set = features(level).filter(|f| f.leaf == leaf && f.register == register);
    set.fold(0, |word, f| word | 1 << f.bit)
}

const fn word(s: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*s)
}

/// One level of cache for leaf 4: type (1 data, 2 code, 3 unified), level, ways, sets; 64-byte lines.
const fn cache(kind: u32, level: u32, ways: u32, sets: u32) -> [u32; 4] {
    [kind | level << 5 | 1 << 8, (ways - 1) << 22 | 63, sets - 1, 0]
}

/// 48 bytes of brand string.
const BRAND: &[u8; 48] =
    b"Boxer virtual x86-64 CPU\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// State components that XSAVE manages: x87, SSE, AVX (SDM vol. 1, 13.1). Also the value of XCR0.
pub const XCR0: u64 = 7;
/// Bytes of the XSAVE area for [`XCR0`] (SDM vol. 1, 13.4): legacy region, header, AVX component.
pub const XSAVE_SIZE: u32 = AVX_OFFSET + AVX_SIZE;
/// Offset of the AVX component (the high halves of YMM0 to YMM15).
pub const AVX_OFFSET: u32 = 576;
/// Size of the AVX component.
const AVX_SIZE: u32 = 256;

/// `[eax, ebx, ecx, edx]` of CPUID with eax = `leaf`, ecx = `subleaf` (SDM vol. 2, CPUID).
pub fn cpuid(leaf: u32, subleaf: u32, level: CpuLevel) -> [u32; 4] {
    let word_of = |register| bits(level, leaf, register);
    match leaf {
        0 => [0xD, word(b"Genu"), word(b"ntel"), word(b"ineI")],
        // Family 6; model 0x2C (Westmere, the last Intel core without AVX), stepping 2, or model 0x3C (Haswell, the first
        // with AVX2), stepping 3; CLFLUSH line 8 * 8; one CPU.
        1 => {
            let signature = if level >= CpuLevel::V3 { 0x0003_06C3 } else { 0x0002_06C2 };
            [signature, 8 << 8 | 1 << 16, word_of(Ecx), word_of(Edx)]
        }
        // Descriptor FF: "see leaf 4".
        2 => [0x00FF_0001, 0, 0, 0],
        4 => match subleaf {
            0 => cache(1, 1, 8, 64),    // 32 KiB
            1 => cache(2, 1, 8, 64),    // 32 KiB
            2 => cache(3, 2, 8, 512),   // 256 KiB
            3 => cache(3, 3, 16, 8192), // 8 MiB
            _ => [0; 4],
        },
        7 if subleaf == 0 => [0, word_of(Ebx), 0, 0],
        0xD if level >= CpuLevel::V3 => match subleaf {
            0 => [XCR0 as u32, XSAVE_SIZE, XSAVE_SIZE, 0],
            // No XSAVEOPT, XSAVEC, XGETBV with ECX = 1, XSAVES.
            1 => [0; 4],
            2 => [AVX_SIZE, AVX_OFFSET, 0, 0],
            _ => [0; 4],
        },
        0x8000_0000 => [0x8000_0008, 0, 0, 0],
        0x8000_0001 => [0, 0, word_of(Ecx), word_of(Edx)],
        0x8000_0002..=0x8000_0004 => {
            let at = (leaf - 0x8000_0002) as usize * 16;
            let word = |i: usize| {
                let bytes = BRAND.get(at + 4 * i..at + 4 * i + 4);
                bytes.and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
            };
            [word(0), word(1), word(2), word(3)]
        }
        // L2: 256 KiB, 8-way, 64-byte lines.
        0x8000_0006 => [0, 0, 256 << 16 | 6 << 12 | 64, 0],
        // Invariant TSC.
        0x8000_0007 => [0, 0, 0, 1 << 8],
        // 40 physical, 48 linear address bits.
        0x8000_0008 => [48 << 8 | 40, 0, 0, 0],
        _ => [0; 4],
    }
}
