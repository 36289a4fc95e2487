//! Times, clocks, timers and resource use (`linux/time.h`, `linux/resource.h`).

crate::pod! {
    /// `struct timespec`.
    pub struct Timespec {
        /// Seconds.
        pub tv_sec: i64,
        /// Nanoseconds, 0 to 999,999,999.
        pub tv_nsec: i64,
    }
    /// `struct timeval`.
    pub struct Timeval {
        /// Seconds.
        pub tv_sec: i64,
        /// Microseconds, 0 to 999,999.
        pub tv_usec: i64,
    }
    /// `struct itimerval`.
    pub struct Itimerval {
        /// Period; zero for one shot.
        pub it_interval: Timeval,
        /// Time to the next expiry; zero for disarmed.
        pub it_value: Timeval,
    }
    /// `struct itimerspec`.
    pub struct Itimerspec {
        /// Period; zero for one shot.
        pub it_interval: Timespec,
        /// Time to the next expiry; zero for disarmed.
        pub it_value: Timespec,
    }
    /// `struct tms` (times(2)), in clock ticks.
    pub struct Tms {
        /// User time.
        pub tms_utime: i64,
        /// System time.
        pub tms_stime: i64,
        /// User time of waited-for children.
        pub tms_cutime: i64,
        /// System time of waited-for children.
        pub tms_cstime: i64,
    }
    /// `struct rusage` (getrusage(2)).
    pub struct Rusage {
        /// User time.
        pub ru_utime: Timeval,
        /// System time.
        pub ru_stime: Timeval,
        /// Largest resident set, in KiB.
        pub ru_maxrss: i64,
        /// `ru_ixrss`, `ru_idrss`, `ru_isrss`: unused by Linux.
        pub ru_unused: [i64; 3],
        /// Page faults without I/O.
        pub ru_minflt: i64,
        /// Page faults with I/O.
        pub ru_majflt: i64,
        /// `ru_nswap` to `ru_nsignals`.
        pub ru_rest: [i64; 6],
        /// Voluntary context switches.
        pub ru_nvcsw: i64,
        /// Involuntary context switches.
        pub ru_nivcsw: i64,
    }
    /// `struct rlimit64`.
    pub struct Rlimit {
        /// Soft limit.
        pub cur: u64,
        /// Hard limit.
        pub max: u64,
    }
}

impl Timespec {
    /// From nanoseconds.
    pub fn from_ns(ns: u64) -> Timespec {
        Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
    }
    /// As nanoseconds, saturating; `None` when not a valid non-negative time (→ `EINVAL`).
    pub fn to_ns(self) -> Option<u64> {
        if self.tv_sec < 0 || !(0..1_000_000_000).contains(&self.tv_nsec) {
            return None;
        }
        Some((self.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(self.tv_nsec as u64))
    }
}

impl Timeval {
    /// From nanoseconds.
    pub fn from_ns(ns: u64) -> Timeval {
        Timeval { tv_sec: (ns / 1_000_000_000) as i64, tv_usec: (ns % 1_000_000_000 / 1000) as i64 }
    }
    /// As nanoseconds, saturating; `None` when not a valid non-negative time (→ `EINVAL`).
    pub fn to_ns(self) -> Option<u64> {
        if self.tv_sec < 0 || !(0..1_000_000).contains(&self.tv_usec) {
            return None;
        }
        Some(
            (self.tv_sec as u64)
                .saturating_mul(1_000_000_000)
                .saturating_add(self.tv_usec as u64 * 1000),
        )
    }
}

/// Wall-clock time.
pub const CLOCK_REALTIME: i32 = 0;
/// Time since some fixed point.
pub const CLOCK_MONOTONIC: i32 = 1;
/// CPU time of the process.
pub const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
/// CPU time of the thread.
pub const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
/// Monotonic, not slewed.
pub const CLOCK_MONOTONIC_RAW: i32 = 4;
/// Wall clock, coarse.
pub const CLOCK_REALTIME_COARSE: i32 = 5;
/// Monotonic, coarse.
pub const CLOCK_MONOTONIC_COARSE: i32 = 6;
/// Monotonic, counting suspension.
pub const CLOCK_BOOTTIME: i32 = 7;
/// Wall clock that may wake the system.
pub const CLOCK_REALTIME_ALARM: i32 = 8;
/// Boot time that may wake the system.
pub const CLOCK_BOOTTIME_ALARM: i32 = 9;
/// International atomic time.
pub const CLOCK_TAI: i32 = 11;
/// Flag of clock_nanosleep, timer_settime and timerfd_settime: the time is absolute.
pub const TIMER_ABSTIME: i32 = 1;

/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;
/// Names of the resources in order of their numbers.
pub const RLIMIT_NAMES: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];
/// CPU seconds.
pub const RLIMIT_CPU: usize = 0;
/// Largest file.
pub const RLIMIT_FSIZE: usize = 1;
/// Largest data segment.
pub const RLIMIT_DATA: usize = 2;
/// Largest stack.
pub const RLIMIT_STACK: usize = 3;
/// Largest core file.
pub const RLIMIT_CORE: usize = 4;
/// Processes of the user.
pub const RLIMIT_NPROC: usize = 6;
/// One more than the highest descriptor.
pub const RLIMIT_NOFILE: usize = 7;
/// Locked memory.
pub const RLIMIT_MEMLOCK: usize = 8;
/// Address space.
pub const RLIMIT_AS: usize = 9;
/// What nice(2) may raise the priority to: 20 − nice.
pub const RLIMIT_NICE: usize = 13;
/// Highest real-time priority.
pub const RLIMIT_RTPRIO: usize = 14;
/// Queued signals.
pub const RLIMIT_SIGPENDING: usize = 11;
/// Bytes of POSIX message queues.
pub const RLIMIT_MSGQUEUE: usize = 12;
