//! What the CPUID instruction says: pure data.
//!
//! The default is an x86-64-v2 processor without AVX and XSAVE, so that glibc and others choose their SSE2 to SSE4.2
//! paths. The vendor is Intel's: glibc's cache sizes then come from leaf 4, which is plain data here.

/// The processor that CPUID reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuLevel {
    /// SSE4.2, POPCNT, CMPXCHG16B, LAHF, AES, PCLMULQDQ, RDRAND, MOVBE; no AVX.
    #[default]
    V2,
}

/// Bits of leaf 1 EDX.
const L1_EDX: u32 = {
    let bits = [
        0,  // FPU
        4,  // TSC
        5,  // MSR (reported by every x86-64 processor; user code cannot use it)
        6,  // PAE
        8,  // CMPXCHG8B
        11, // SYSENTER
        15, // CMOV
        19, // CLFLUSH
        23, // MMX
        24, // FXSR
        25, // SSE
        26, // SSE2
    ];
    mask(&bits)
};

/// Bits of leaf 1 ECX.
const L1_ECX: u32 = {
    let bits = [
        0,  // SSE3
        1,  // PCLMULQDQ
        9,  // SSSE3
        13, // CMPXCHG16B
        19, // SSE4.1
        20, // SSE4.2
        22, // MOVBE
        23, // POPCNT
        25, // AES
        30, // RDRAND
        31, // hypervisor present
    ];
    mask(&bits)
};

/// Bits of leaf 7 EBX.
const L7_EBX: u32 = {
    let bits = [
        0,  // FSGSBASE
        9,  // ERMS: rep movsb is one op here
        18, // RDSEED
        19, // ADX
        29, // SHA
    ];
    mask(&bits)
};

const fn mask(bits: &[u32]) -> u32 {
    let (mut m, mut i) = (0, 0);
    while i < bits.len() {
        m |= 1 << bits[i];
        i += 1;
    }
    m
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

/// `[eax, ebx, ecx, edx]` of CPUID with eax = `leaf`, ecx = `subleaf` (SDM vol. 2, CPUID).
pub fn cpuid(leaf: u32, subleaf: u32, level: CpuLevel) -> [u32; 4] {
    let CpuLevel::V2 = level;
    match leaf {
        0 => [0xD, word(b"Genu"), word(b"ntel"), word(b"ineI")],
        // Family 6, model 0x2C (Westmere: the last Intel core without AVX), stepping 2; CLFLUSH line 8 * 8; one CPU.
        1 => [0x0002_06C2, 8 << 8 | 1 << 16, L1_ECX, L1_EDX],
        // Descriptor FF: "see leaf 4".
        2 => [0x00FF_0001, 0, 0, 0],
        4 => match subleaf {
            0 => cache(1, 1, 8, 64),    // 32 KiB
            1 => cache(2, 1, 8, 64),    // 32 KiB
            2 => cache(3, 2, 8, 512),   // 256 KiB
            3 => cache(3, 3, 16, 8192), // 8 MiB
            _ => [0; 4],
        },
        7 if subleaf == 0 => [0, L7_EBX, 0, 0],
        0x8000_0000 => [0x8000_0008, 0, 0, 0],
        // LAHF in ECX; SYSCALL, NX, RDTSCP, long mode in EDX.
        0x8000_0001 => [0, 0, 1, 1 << 11 | 1 << 20 | 1 << 27 | 1 << 29],
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
