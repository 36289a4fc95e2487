//! Clocks and sleeping: clock_gettime(2), nanosleep(2), times(2) and relatives.

use abi::time::*;
use abi::{Errno, Timespec, Timeval};

use super::Args;
use crate::task::process::Usage;
use crate::{Kernel, OnSignal, ProcessId, SysResult, ThreadId, Wait, WaitKey};

/// Clock ticks a second (`sysconf(_SC_CLK_TCK)`) as ns.
pub const TICK_NS: u64 = 10_000_000;

impl Kernel {
    /// CPU time of a process in ns, with the running slice.
    pub fn process_cpu(&self, pid: ProcessId) -> u64 {
        let Some(process) = self.tasks.process(pid) else { return 0 };
        let threads = process.threads.iter().map(|&t| self.thread_cpu(t)).sum::<u64>();
        process.usage.cpu_ns + threads
    }

    /// Of a process's CPU time, that in system calls, in ns.
    pub fn process_sys(&self, pid: ProcessId) -> u64 {
        let Some(process) = self.tasks.process(pid) else { return 0 };
        let live = process.threads.iter().filter_map(|&t| self.tasks.thread(t)).map(|t| t.sys_ns);
        process.usage.sys_ns + live.sum::<u64>()
    }

    /// CPU time of a thread in ns, with the running slice.
    pub fn thread_cpu(&self, tid: ThreadId) -> u64 {
        let Some(thread) = self.tasks.thread(tid) else { return 0 };
        let slice = match tid == self.current {
            true => self.host.clock_cpu().saturating_sub(self.slice_start),
            false => 0,
        };
        thread.cpu_ns + slice
    }

    /// Time of a clock in ns.
    pub fn clock(&self, tid: ThreadId, clock: i32) -> Result<u64, Errno> {
        match clock {
            CLOCK_REALTIME | CLOCK_REALTIME_COARSE | CLOCK_REALTIME_ALARM | CLOCK_TAI => {
                Ok(self.host.clock_realtime())
            }
            CLOCK_MONOTONIC | CLOCK_MONOTONIC_RAW | CLOCK_MONOTONIC_COARSE => Ok(self.now()),
            CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => Ok(self.now().saturating_add(self.asleep)),
            CLOCK_PROCESS_CPUTIME_ID => Ok(self.process_cpu(self.tasks[tid].pid)),
            CLOCK_THREAD_CPUTIME_ID => Ok(self.thread_cpu(tid)),
            // Dynamic CPU clocks: ~pid << 3 | kind, bit 2 = of one thread (clock_getcpuclockid(3)).
            clock if clock < 0 && clock & 3 <= 2 => {
                let id = !(clock >> 3) as u32;
                if clock & 4 != 0 {
                    let target = if id == 0 { tid } else { ThreadId(id) };
                    self.tasks.thread(target).ok_or(Errno::EINVAL)?;
                    Ok(self.thread_cpu(target))
                } else {
                    let target = if id == 0 { self.tasks[tid].pid } else { ProcessId(id) };
                    self.tasks.process(target).ok_or(Errno::EINVAL)?;
                    Ok(self.process_cpu(target))
                }
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// The monotonic time at which `clock` (wall or monotonic) shows `ns`.
    pub fn absolute_deadline(&self, clock: i32, ns: u64) -> u64 {
        match clock {
            CLOCK_REALTIME | CLOCK_TAI | CLOCK_REALTIME_ALARM => {
                self.now().saturating_add(ns.saturating_sub(self.host.clock_realtime()))
            }
            CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => ns.saturating_sub(self.asleep),
            _ => ns,
        }
    }

    /// Whether the deadline of the call under way has passed.
    pub fn deadline_passed(&self, tid: ThreadId) -> bool {
        self.tasks[tid].restart.deadline.is_some_and(|d| d <= self.now())
    }

    /// The call's deadline `timeout` ns after its first run; the same at every later run.
    pub fn deadline_after(&mut self, tid: ThreadId, timeout: u64) -> u64 {
        let now = self.now();
        let thread = &mut self.tasks[tid];
        *thread.restart.deadline.get_or_insert(now.saturating_add(timeout))
    }

    fn sleep(&mut self, tid: ThreadId) -> SysResult {
        if self.deadline_passed(tid) {
            return Ok(0);
        }
        Wait::on(WaitKey::thread(tid))
            .until(self.tasks[tid].restart.deadline)
            .on_signal(OnSignal::Interrupt)
            .block()
    }
}

/// clock_gettime(2)
pub fn clock_gettime(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let ns = k.clock(tid, a.i32(0))?;
    k.mm.write_pod(a.u64(1), &Timespec::from_ns(ns))?;
    Ok(0)
}

/// clock_getres(2)
pub fn clock_getres(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.clock(tid, a.i32(0))?;
    let ns = match a.i32(0) {
        CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE => 4_000_000,
        _ => 1,
    };
    if a.u64(1) != 0 {
        k.mm.write_pod(a.u64(1), &Timespec::from_ns(ns))?;
    }
    Ok(0)
}

/// clock_settime(2), settimeofday(2): a container may not.
pub fn clock_settime(_: &mut Kernel, _: ThreadId, _: Args) -> SysResult {
    Err(Errno::EPERM.into())
}

/// adjtimex(2)
pub fn adjtimex(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    tell_clock(k, a.u64(0), CLOCK_REALTIME)
}

/// clock_adjtime(2)
pub fn clock_adjtime(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    tell_clock(k, a.u64(1), a.i32(0))
}

/// Fills in the `struct timex` at `va`: nobody disciplines the clock, as far as the box knows.
fn tell_clock(k: &mut Kernel, va: u64, clock: i32) -> SysResult {
    const ADJTIME: u32 = 0x8000;
    const OFFSET_SINGLESHOT: u32 = 1;
    const OFFSET_READONLY: u32 = 0x2000;
    const STA_UNSYNC: u64 = 64;
    const TIME_ERROR: u64 = 5;
    // All are longs, or ints with four bytes after them.
    let mut timex: [u64; 26] = k.mm.read_pod(va)?;
    match clock {
        CLOCK_REALTIME => {}
        ..0 | 1..=7 | CLOCK_TAI => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    let modes = timex[0] as u32;
    let changes = match modes & ADJTIME != 0 {
        true if modes & OFFSET_SINGLESHOT == 0 => return Err(Errno::EINVAL.into()),
        true => modes & OFFSET_READONLY == 0,
        false => modes != 0,
    };
    if changes {
        return Err(Errno::EPERM.into());
    }
    let now = k.host.clock_realtime();
    let micros = now % 1_000_000_000 / 1000;
    let (second, most) = (now / 1_000_000_000, 16_000_000);
    // offset, freq, maxerror, esterror, status, constant, precision, tolerance, time, tick.
    let values = [0, 0, most, most, STA_UNSYNC, 2, 1, 32_768_000, second, micros, 10_000];
    timex[1..12].copy_from_slice(&values);
    timex[12..].fill(0);
    k.mm.write_pod(va, &timex)?;
    Ok(TIME_ERROR)
}

/// Whether a clock number means that of an open file (`CLOCKFD`), which no file here has.
pub(super) fn is_of_descriptor(clock: i32) -> bool {
    clock < 0 && clock & 7 == 3
}

/// gettimeofday(2)
pub fn gettimeofday(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    if a.u64(0) != 0 {
        let now = Timeval::from_ns(k.host.clock_realtime());
        k.mm.write_pod(a.u64(0), &now)?;
    }
    if a.u64(1) != 0 {
        k.mm.write_pod(a.u64(1), &0_u64)?;
    }
    Ok(0)
}

/// time(2)
pub fn time(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    let now = k.host.clock_realtime() / 1_000_000_000;
    if a.u64(0) != 0 {
        k.mm.write_pod(a.u64(0), &now)?;
    }
    Ok(now)
}

/// nanosleep(2)
pub fn nanosleep(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if !k.tasks[tid].restart.again {
        let time: Timespec = k.mm.read_pod(a.u64(0))?;
        let ns = time.to_ns().ok_or(Errno::EINVAL)?;
        k.deadline_after(tid, ns);
        k.tasks[tid].restart.remain = Some(a.u64(1)).filter(|&va| va != 0);
    }
    k.sleep(tid)
}

/// clock_nanosleep(2)
pub fn clock_nanosleep(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if !k.tasks[tid].restart.again {
        let clock = a.i32(0);
        match clock {
            CLOCK_REALTIME
            | CLOCK_TAI
            | CLOCK_MONOTONIC
            | CLOCK_BOOTTIME
            | CLOCK_REALTIME_ALARM
            | CLOCK_BOOTTIME_ALARM
            | CLOCK_PROCESS_CPUTIME_ID => {}
            CLOCK_THREAD_CPUTIME_ID
            | CLOCK_MONOTONIC_RAW
            | CLOCK_REALTIME_COARSE
            | CLOCK_MONOTONIC_COARSE => return Err(Errno::EOPNOTSUPP.into()),
            clock if is_of_descriptor(clock) => return Err(Errno::EOPNOTSUPP.into()),
            ..0 => {}
            _ => return Err(Errno::EINVAL.into()),
        }
        let time: Timespec = k.mm.read_pod(a.u64(2))?;
        let ns = time.to_ns().ok_or(Errno::EINVAL)?;
        if clock < 0 {
            k.clock(tid, clock)?;
            let id = !(clock >> 3) as u32;
            if clock & 4 != 0 && (id == 0 || id == tid.0) {
                // Whoever sleeps uses no time.
                return Err(Errno::EINVAL.into());
            }
        }
        if a.i32(1) & TIMER_ABSTIME != 0 {
            let deadline = if clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID {
                k.now().saturating_add(ns.saturating_sub(k.clock(tid, clock)?))
            } else {
                k.absolute_deadline(clock, ns)
            };
            k.tasks[tid].restart.deadline = Some(deadline);
            k.tasks[tid].restart.clock = Some(clock);
        } else {
            k.deadline_after(tid, ns);
            k.tasks[tid].restart.remain = Some(a.u64(3)).filter(|&va| va != 0);
        }
    }
    k.sleep(tid)
}

/// times(2)
pub fn times(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    if a.u64(0) != 0 {
        let own =
            Usage { cpu_ns: k.process_cpu(pid), sys_ns: k.process_sys(pid), ..Usage::default() };
        let children = k.tasks[pid].child_usage;
        let ticks = |ns: u64| (ns / TICK_NS) as i64;
        let tms = Tms {
            tms_utime: ticks(own.user_ns()),
            tms_stime: ticks(own.system_ns()),
            tms_cutime: ticks(children.user_ns()),
            tms_cstime: ticks(children.system_ns()),
        };
        k.mm.write_pod(a.u64(0), &tms)?;
    }
    Ok(k.now() / TICK_NS)
}

/// getrusage(2)
pub fn getrusage(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    let mut usage = match a.i32(0) {
        0 | 1 => {
            let mut usage = k.tasks[pid].usage;
            (usage.cpu_ns, usage.sys_ns) = match a.i32(0) {
                0 => (k.process_cpu(pid), k.process_sys(pid)),
                _ => (k.thread_cpu(tid), k.tasks[tid].sys_ns),
            };
            if let Some(space) = k.mm.space(k.tasks[tid].space) {
                usage.peak_rss = usage.peak_rss.max(space.peak_resident());
                usage.faults += space.faults;
            }
            usage
        }
        -1 => k.tasks[pid].child_usage,
        _ => return Err(Errno::EINVAL.into()),
    };
    usage.peak_rss = usage.peak_rss.max(1 << 20);
    k.mm.write_pod(a.u64(1), &rusage(&usage))?;
    Ok(0)
}

/// struct rusage of what was counted.
pub fn rusage(usage: &Usage) -> Rusage {
    Rusage {
        ru_utime: Timeval::from_ns(usage.user_ns()),
        ru_stime: Timeval::from_ns(usage.system_ns()),
        ru_maxrss: (usage.peak_rss >> 10) as i64,
        ru_minflt: usage.faults as i64,
        ru_nvcsw: usage.switches as i64,
        ru_nivcsw: usage.preemptions as i64,
        ..Rusage::default()
    }
}
