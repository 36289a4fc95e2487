//! Resource limits (getrlimit(2)).

use abi::Rlimit;
use abi::time::{
    RLIM_INFINITY, RLIMIT_AS, RLIMIT_CORE, RLIMIT_DATA, RLIMIT_MEMLOCK, RLIMIT_NOFILE,
    RLIMIT_NPROC, RLIMIT_SIGPENDING, RLIMIT_STACK,
};

use crate::mm;

/// The limits of a process, by resource number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rlimits(pub [Rlimit; 16]);

impl Default for Rlimits {
    /// What docker's default gives.
    fn default() -> Self {
        let none = Rlimit { cur: RLIM_INFINITY, max: RLIM_INFINITY };
        let mut limits = [none; 16];
        limits[RLIMIT_STACK] = Rlimit { cur: 8 << 20, max: RLIM_INFINITY };
        limits[RLIMIT_CORE] = Rlimit { cur: 0, max: RLIM_INFINITY };
        limits[RLIMIT_NPROC] = Rlimit { cur: RLIM_INFINITY, max: RLIM_INFINITY };
        // As containerd 2 has it (systemd's default): programs that walk all descriptors stay quick.
        limits[RLIMIT_NOFILE] = Rlimit { cur: 1024, max: 524_288 };
        limits[RLIMIT_MEMLOCK] = Rlimit { cur: 8 << 20, max: 8 << 20 };
        limits[RLIMIT_SIGPENDING] = Rlimit { cur: 31000, max: 31000 };
        limits[12] = Rlimit { cur: 819_200, max: 819_200 };
        limits[13] = Rlimit { cur: 0, max: 0 };
        limits[14] = Rlimit { cur: 0, max: 0 };
        Rlimits(limits)
    }
}

impl Rlimits {
    /// The soft limit of resource `n`.
    pub fn soft(&self, n: usize) -> u64 {
        self.0.get(n).map_or(RLIM_INFINITY, |l| l.cur)
    }

    /// The limits that the address space checks.
    pub fn memory(&self) -> mm::Limits {
        mm::Limits {
            address_space: self.soft(RLIMIT_AS),
            data: self.soft(RLIMIT_DATA),
            stack: self.soft(RLIMIT_STACK),
            locked: self.soft(RLIMIT_MEMLOCK),
        }
    }
}
