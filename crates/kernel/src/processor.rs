//! What programs learn of the processor other than by CPUID: `/proc/cpuinfo`, the auxiliary vector, the size of the
//! signal frame's floating-point state.

/// The processor that runs the threads; `machine` fills it in from CPUID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// CPUID leaf 1 EAX: stepping, model, family.
    pub signature: u32,
    /// CPUID leaf 1 EDX, which Linux gives as `AT_HWCAP`.
    pub hwcap: u32,
    /// User programs may use RDFSBASE and its kin (bit 1 of `AT_HWCAP2`).
    pub fsgsbase: bool,
    /// There is AVX state: signal frames hold an XSAVE area (standard format, x87, SSE, AVX), not just the FXSAVE image.
    pub avx: bool,
    /// Vendor string of CPUID leaf 0.
    pub vendor: String,
    /// Brand string of CPUID leaves 0x80000002 to 4.
    pub name: String,
    /// Names of the features as in `/proc/cpuinfo`, separated by spaces.
    pub flags: String,
}

impl Processor {
    /// `AT_HWCAP2` (`arch/x86/include/uapi/asm/hwcap2.h`).
    pub fn hwcap2(&self) -> u64 {
        if self.fsgsbase { 1 << 1 } else { 0 }
    }

    /// `/proc/cpuinfo` (`arch/x86/kernel/cpu/proc.c`): one processor.
    pub fn cpuinfo(&self) -> String {
        let s = self.signature;
        let family = s >> 8 & 15;
        let model = s >> 4 & 15 | s >> 12 & 0xf0;
        let stepping = s & 15;
        format!(
            "processor\t: 0\nvendor_id\t: {}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {}\n\
             stepping\t: {stepping}\nmicrocode\t: 0x1\ncpu MHz\t\t: 1000.000\ncache size\t: 8192 KB\n\
             physical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\napicid\t\t: 0\n\
             initial apicid\t: 0\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 13\nwp\t\t: yes\n\
             flags\t\t: {}\nbugs\t\t:\nbogomips\t: 2000.00\nclflush size\t: 64\ncache_alignment\t: 64\n\
             address sizes\t: 40 bits physical, 48 bits virtual\npower management:\n\n",
            self.vendor, self.name, self.flags
        )
    }
}
