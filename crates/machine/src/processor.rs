//! The processor as the kernel describes it to programs, taken from CPUID.

use kernel::processor::Processor;
use x86::{CpuLevel, cpuid, features};

/// The description of the processor of `level`.
pub fn describe(level: CpuLevel) -> Processor {
    let [_, ebx, ecx, edx] = cpuid(0, 0, level);
    let [signature, _, _, hwcap] = cpuid(1, 0, level);
    let flags: Vec<&str> = features(level).map(|f| f.name).filter(|n| !n.is_empty()).collect();
    Processor {
        signature,
        hwcap,
        fsgsbase: flags.contains(&"fsgsbase"),
        avx: flags.contains(&"avx"),
        vendor: text(&[ebx, edx, ecx]),
        name: text(
            &[0x8000_0002, 0x8000_0003, 0x8000_0004].map(|leaf| cpuid(leaf, 0, level)).concat(),
        ),
        flags: flags.join(" "),
    }
}

/// ASCII in little-endian words, up to the first zero.
fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.take_while(|byte| *byte != 0).map(char::from).collect()
}
