//! Timers that send signals: alarm(2), setitimer(2), timer_create(2) and relatives.

use abi::signal::*;
use abi::time::*;
use abi::{Errno, Timespec, Timeval};

use super::Args;
use super::time::is_of_descriptor;
use crate::signal::siginfo;
use crate::task::process::Interval;
use crate::{Kernel, ProcessId, SysResult, ThreadId};

/// Most POSIX timers of a process.
const TIMERS_MAX: usize = 256;
/// ITIMER_REAL
const REAL: usize = 0;

/// A POSIX timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PosixTimer {
    /// Its clock.
    pub clock: i32,
    /// `SIGEV_*`.
    pub notify: i32,
    /// Signal.
    pub signal: u32,
    /// Value passed with the signal.
    pub value: u64,
    /// Thread to signal.
    pub tid: Option<ThreadId>,
    /// Expiry (monotonic ns, or CPU ns for CPU clocks) and period.
    pub interval: Interval,
    /// It was set to a time of its clock, not to a duration.
    pub absolute: bool,
    /// Expiries that found the signal still pending.
    pub overrun: i32,
}

impl PosixTimer {
    fn is_cpu(&self) -> bool {
        is_cpu_clock(self.clock)
    }
}

fn is_cpu_clock(clock: i32) -> bool {
    clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID
}

/// Lets an interval pass `now`: how often it expired.
fn advance(interval: &mut Interval, now: u64) -> u64 {
    if interval.next == 0 || interval.next > now {
        return 0;
    }
    if interval.period == 0 {
        interval.next = 0;
        return 1;
    }
    let missed = (now - interval.next) / interval.period;
    interval.next = interval.next.saturating_add((missed + 1).saturating_mul(interval.period));
    missed + 1
}

impl Kernel {
    /// Finds the next expiry of all real-time timers.
    pub(crate) fn refresh_timers(&mut self) {
        let times = self.tasks.processes().flat_map(|p| {
            let posix = p.timers.values().filter(|t| !t.is_cpu()).map(|t| t.interval.next);
            posix.chain([p.itimers[REAL].next])
        });
        self.next_timer = times.filter(|&t| t != 0).min();
    }

    /// Sends the signals of timers whose time has come.
    pub(crate) fn expire_timers(&mut self, now: u64) {
        let mut due = Vec::new();
        for process in self.tasks.processes_mut() {
            if process.zombie.is_some() {
                continue;
            }
            if advance(&mut process.itimers[REAL], now) > 0 {
                due.push((process.pid, None, siginfo(SIGALRM, SI_KERNEL)));
            }
            for (&id, timer) in process.timers.iter_mut().filter(|(_, t)| !t.is_cpu()) {
                let times = advance(&mut timer.interval, now);
                if times > 0 {
                    due.extend(timer_signal(process.pid, id, timer, times));
                }
            }
        }
        for (pid, tid, info) in due {
            self.send_timer(pid, tid, info);
        }
        self.refresh_timers();
    }

    fn send_timer(&mut self, pid: ProcessId, tid: Option<ThreadId>, info: Siginfo) {
        match tid {
            Some(tid) => self.send_to_thread(tid, info, false),
            None => self.send_to_process(pid, info, false),
        };
    }

    /// ITIMER_VIRTUAL, ITIMER_PROF and timers on CPU clocks.
    pub(crate) fn check_cpu_timers(&mut self, pid: ProcessId) {
        let Some(process) = self.tasks.process(pid) else { return };
        let armed = process.itimers[1].next != 0
            || process.itimers[2].next != 0
            || process.timers.values().any(|t| t.is_cpu() && t.interval.next != 0)
            || process.limits.soft(RLIMIT_CPU) != RLIM_INFINITY;
        if !armed {
            return;
        }
        let used = self.process_cpu(pid);
        let mut due = Vec::new();
        let Some(process) = self.tasks.process_mut(pid) else { return };
        for (which, signal) in [(1, SIGVTALRM), (2, SIGPROF)] {
            if advance(&mut process.itimers[which], used) > 0 {
                due.push((pid, None, siginfo(signal, SI_KERNEL)));
            }
        }
        for (&id, timer) in process.timers.iter_mut().filter(|(_, t)| t.is_cpu()) {
            let times = advance(&mut timer.interval, used);
            if times > 0 {
                due.extend(timer_signal(pid, id, timer, times));
            }
        }
        let seconds = used / 1_000_000_000;
        let limit = &mut process.limits.0[RLIMIT_CPU];
        if seconds >= limit.max {
            due.push((pid, None, siginfo(SIGKILL, SI_KERNEL)));
        } else if seconds >= limit.cur {
            // As Linux does it: once now, then every second.
            limit.cur = seconds + 1;
            due.push((pid, None, siginfo(SIGXCPU, SI_KERNEL)));
        }
        for (pid, tid, info) in due {
            self.send_timer(pid, tid, info);
        }
    }
}

fn timer_signal(
    pid: ProcessId,
    id: i32,
    timer: &mut PosixTimer,
    times: u64,
) -> Option<(ProcessId, Option<ThreadId>, Siginfo)> {
    timer.overrun = i32::try_from(times - 1).unwrap_or(i32::MAX);
    if timer.notify == SIGEV_NONE {
        return None;
    }
    let mut info = siginfo(timer.signal, SI_TIMER);
    info.fields[0] = u64::from(id as u32) | u64::from(timer.overrun as u32) << 32;
    info.fields[1] = timer.value;
    Some((pid, timer.tid, info))
}

fn remaining(interval: &Interval, now: u64) -> u64 {
    if interval.next == 0 { 0 } else { interval.next.saturating_sub(now).max(1) }
}

impl Kernel {
    fn itimer_now(&self, pid: ProcessId, which: usize) -> u64 {
        if which == REAL { self.now() } else { self.process_cpu(pid) }
    }

    fn itimer_value(&self, pid: ProcessId, which: usize) -> Itimerval {
        let interval = self.tasks[pid].itimers[which];
        let left = remaining(&interval, self.itimer_now(pid, which));
        Itimerval {
            it_interval: Timeval::from_ns(interval.period),
            // A running timer never shows zero.
            it_value: Timeval::from_ns(if left == 0 { 0 } else { left.max(1000) }),
        }
    }

    fn set_itimer(&mut self, pid: ProcessId, which: usize, value: u64, period: u64) {
        let now = self.itimer_now(pid, which);
        let next = if value == 0 { 0 } else { now.saturating_add(value) };
        self.tasks[pid].itimers[which] = Interval { next, period };
        self.refresh_timers();
    }
}

/// alarm(2)
pub fn alarm(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    let left = remaining(&k.tasks[pid].itimers[REAL], k.now());
    k.set_itimer(pid, REAL, u64::from(a.u32(0)) * 1_000_000_000, 0);
    // Rounded, but never to zero.
    let seconds = left.saturating_add(500_000_000) / 1_000_000_000;
    Ok(if left > 0 { seconds.max(1) } else { 0 })
}

/// getitimer(2)
pub fn getitimer(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    let which = usize::try_from(a.i32(0)).ok().filter(|&w| w < 3).ok_or(Errno::EINVAL)?;
    let value = k.itimer_value(pid, which);
    k.mm.write_pod(a.u64(1), &value)?;
    Ok(0)
}

/// setitimer(2)
pub fn setitimer(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    let new: Itimerval =
        if a.u64(1) == 0 { Itimerval::default() } else { k.mm.read_pod(a.u64(1))? };
    let which = usize::try_from(a.i32(0)).ok().filter(|&w| w < 3).ok_or(Errno::EINVAL)?;
    let value = new.it_value.to_ns().ok_or(Errno::EINVAL)?;
    let period = new.it_interval.to_ns().ok_or(Errno::EINVAL)?;
    let old = k.itimer_value(pid, which);
    k.set_itimer(pid, which, value, period);
    if a.u64(2) != 0 {
        k.mm.write_pod(a.u64(2), &old)?;
    }
    Ok(0)
}

/// timer_create(2)
pub fn timer_create(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    let clock = a.i32(0);
    let given: Option<Sigevent> = if a.u64(1) != 0 { Some(k.mm.read_pod(a.u64(1))?) } else { None };
    match clock {
        CLOCK_MONOTONIC_RAW | CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        clock if is_of_descriptor(clock) => return Err(Errno::EOPNOTSUPP.into()),
        // Whether there is such a task is seen last.
        ..0 => {}
        clock => drop(k.clock(tid, clock)?),
    }
    if k.tasks[pid].timers.len() >= TIMERS_MAX {
        return Err(Errno::EAGAIN.into());
    }
    let id = (0..=TIMERS_MAX as i32)
        .find(|id| !k.tasks[pid].timers.contains_key(id))
        .ok_or(Errno::EAGAIN)?;
    let event = given.unwrap_or(Sigevent {
        value: id as u64,
        signo: SIGALRM as i32,
        ..Sigevent::default()
    });
    let target = match event.notify {
        SIGEV_NONE | SIGEV_SIGNAL | SIGEV_THREAD => None,
        SIGEV_THREAD_ID => {
            let target = ThreadId(event.tid as u32);
            if k.tasks.thread(target).is_none_or(|t| t.pid != pid) {
                return Err(Errno::EINVAL.into());
            }
            Some(target)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if event.notify != SIGEV_NONE && !(1..=NSIG as i32).contains(&event.signo) {
        return Err(Errno::EINVAL.into());
    }
    k.mm.write_pod(a.u64(2), &id)?;
    k.clock(tid, clock)?;
    let timer = PosixTimer {
        clock,
        notify: event.notify,
        signal: event.signo as u32,
        value: event.value,
        tid: target,
        interval: Interval::default(),
        absolute: false,
        overrun: 0,
    };
    k.tasks[pid].timers.insert(id, timer);
    Ok(0)
}

impl Kernel {
    fn timer_now(&self, pid: ProcessId, timer: &PosixTimer) -> u64 {
        if timer.is_cpu() { self.process_cpu(pid) } else { self.now() }
    }

    fn timer_value(&self, pid: ProcessId, timer: &PosixTimer) -> Itimerspec {
        let left = remaining(&timer.interval, self.timer_now(pid, timer));
        Itimerspec {
            it_interval: Timespec::from_ns(timer.interval.period),
            it_value: Timespec::from_ns(left),
        }
    }
}

/// timer_settime(2)
pub fn timer_settime(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    let id = a.i32(0);
    if a.u64(2) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let new: Itimerspec = k.mm.read_pod(a.u64(2))?;
    let timer = k.tasks[pid].timers.get(&id).cloned().ok_or(Errno::EINVAL)?;
    let value = new.it_value.to_ns().ok_or(Errno::EINVAL)?;
    let period = new.it_interval.to_ns().ok_or(Errno::EINVAL)?;
    let old = k.timer_value(pid, &timer);
    let next = if value == 0 {
        0
    } else if a.i32(1) & TIMER_ABSTIME != 0 {
        if timer.is_cpu() { value } else { k.absolute_deadline(timer.clock, value).max(1) }
    } else {
        k.timer_now(pid, &timer).saturating_add(value)
    };
    if a.u64(3) != 0 {
        k.mm.write_pod(a.u64(3), &old)?;
    }
    if let Some(timer) = k.tasks[pid].timers.get_mut(&id) {
        timer.interval = Interval { next, period };
        timer.absolute = a.i32(1) & TIMER_ABSTIME != 0;
        timer.overrun = 0;
    }
    k.refresh_timers();
    Ok(0)
}

/// timer_gettime(2)
pub fn timer_gettime(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    let timer = k.tasks[pid].timers.get(&a.i32(0)).cloned().ok_or(Errno::EINVAL)?;
    let value = k.timer_value(pid, &timer);
    k.mm.write_pod(a.u64(1), &value)?;
    Ok(0)
}

/// timer_getoverrun(2)
pub fn timer_getoverrun(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    let timer = k.tasks[pid].timers.get(&a.i32(0)).ok_or(Errno::EINVAL)?;
    Ok(timer.overrun as u64)
}

/// timer_delete(2)
pub fn timer_delete(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let pid = k.tasks[tid].pid;
    k.tasks[pid].timers.remove(&a.i32(0)).ok_or(Errno::EINVAL)?;
    k.refresh_timers();
    Ok(0)
}
