//! Clocks and timers.

use super::{Arg::*, Row};
use crate::syscall::{time, timer};

const CLOCKS: &[(u64, &str)] = &[
    (0, "CLOCK_REALTIME"),
    (1, "CLOCK_MONOTONIC"),
    (2, "CLOCK_PROCESS_CPUTIME_ID"),
    (3, "CLOCK_THREAD_CPUTIME_ID"),
    (4, "CLOCK_MONOTONIC_RAW"),
    (5, "CLOCK_REALTIME_COARSE"),
    (6, "CLOCK_MONOTONIC_COARSE"),
    (7, "CLOCK_BOOTTIME"),
    (11, "CLOCK_TAI"),
];
const ITIMERS: &[(u64, &str)] = &[(0, "ITIMER_REAL"), (1, "ITIMER_VIRTUAL"), (2, "ITIMER_PROF")];
const ABSTIME: &[(u64, &str)] = &[(1, "TIMER_ABSTIME")];

pub(super) static ROWS: &[Row] = crate::syscall_rows! {
    35 nanosleep(time: Timespec, left: Ptr) = time::nanosleep, Full, "";
    36 getitimer(which: Enum(ITIMERS), value: Ptr) = timer::getitimer, Full, "";
    37 alarm(seconds: Int) = timer::alarm, Full, "";
    38 setitimer(which: Enum(ITIMERS), new: Ptr, old: Ptr) = timer::setitimer, Full, "";
    96 gettimeofday(time: Ptr, zone: Ptr) = time::gettimeofday, Full, "";
    98 getrusage(who: Int, usage: Ptr) = time::getrusage, Full, "the share of system calls is estimated from samples";
    100 times(buf: Ptr) = time::times, Full, "the share of system calls is estimated from samples";
    159 adjtimex(buf: Ptr) = time::adjtimex, Partial, "tells; to set anything is EPERM: the clock is the host's";
    164 settimeofday(time: Ptr, zone: Ptr) = time::clock_settime, Refused, "EPERM: the clock is the host's";
    201 time(result: Ptr) = time::time, Full, "";
    222 timer_create(clock: Enum(CLOCKS), event: Ptr, id: OutInt) = timer::timer_create, Full, "";
    223 timer_settime(id: Int, flags: Flags(ABSTIME), new: Ptr, old: Ptr) = timer::timer_settime, Full, "";
    224 timer_gettime(id: Int, value: Ptr) = timer::timer_gettime, Full, "";
    225 timer_getoverrun(id: Int) = timer::timer_getoverrun, Full, "";
    226 timer_delete(id: Int) = timer::timer_delete, Full, "";
    227 clock_settime(clock: Enum(CLOCKS), time: Timespec) = time::clock_settime, Refused, "EPERM: the clock is the host's";
    228 clock_gettime(clock: Enum(CLOCKS), time: OutTimespec) = time::clock_gettime, Full, "";
    229 clock_getres(clock: Enum(CLOCKS), time: OutTimespec) = time::clock_getres, Full, "";
    230 clock_nanosleep(clock: Enum(CLOCKS), flags: Flags(ABSTIME), time: Timespec, left: Ptr) = time::clock_nanosleep, Full, "";
    305 clock_adjtime(clock: Enum(CLOCKS), buf: Ptr) = time::clock_adjtime, Partial, "tells; to set anything is EPERM: the clock is the host's";
};
