//! Which instructions the processor model has, by the bits of its CPUID.

use iced_x86::{Code, CpuidFeature};
use std::sync::OnceLock;
use x86::CpuLevel;

/// The level that the differential tests run at: the one with everything.
pub const LEVEL: CpuLevel = CpuLevel::V3;

/// Whether [`LEVEL`] promises `code`: all of its features are there.
pub fn has(code: Code) -> bool {
    static FEATURES: OnceLock<Vec<CpuidFeature>> = OnceLock::new();
    let features = FEATURES.get_or_init(|| {
        let rows = x86::features(LEVEL).flat_map(|f| f.instructions);
        rows.chain(x86::BASELINE).copied().collect()
    });
    code.cpuid_features().iter().all(|f| features.contains(f))
}
