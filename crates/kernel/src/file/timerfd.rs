//! timerfd_create(2).

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_NONBLOCK, O_RDWR};
use abi::poll::{READABLE, TFD_NONBLOCK};

use super::{FileOps, OpenFile, anon};
use crate::fs::cx::Notifier;
use crate::fs::{Cx, Res};
use crate::wait::WaitKey;

/// A timer that is a file. Times are monotonic ns.
pub struct TimerFd {
    realtime: bool,
    /// Next expiry; 0 = disarmed.
    next: Cell<u64>,
    period: Cell<u64>,
    notifier: Notifier,
}

/// A new, disarmed timerfd on the realtime or the monotonic clock.
pub fn create(cx: &mut Cx, realtime: bool, flags: u32) -> Rc<OpenFile> {
    let notifier = cx.shared.notifier();
    let ops = TimerFd { realtime, next: Cell::new(0), period: Cell::new(0), notifier };
    let nonblock = if flags & TFD_NONBLOCK != 0 { O_NONBLOCK } else { 0 };
    anon::open(cx, "[timerfd]", Rc::new(ops), O_RDWR | nonblock)
}

impl TimerFd {
    /// Arms the timer to expire at `value` (relative, or absolute on its clock; 0 disarms) and then each `period` ns.
    /// Returns time left and period from before.
    pub fn set(&self, cx: &mut Cx, value: u64, period: u64, absolute: bool) -> (u64, u64) {
        let before = self.get(cx);
        let now = cx.monotonic();
        let next = match (value, absolute, self.realtime) {
            (0, ..) => 0,
            (value, false, _) => now.saturating_add(value),
            (value, true, false) => value,
            (value, true, true) => {
                let clock = cx.host().clock_realtime();
                now.saturating_add(value.saturating_sub(clock)).max(1)
            }
        };
        self.next.set(next);
        self.period.set(period);
        self.notifier.wake();
        before
    }

    /// Time left and period in ns.
    pub fn get(&self, cx: &mut Cx) -> (u64, u64) {
        let now = cx.monotonic();
        let (next, period) = (self.next.get(), self.period.get());
        let left = match next {
            0 => 0,
            next if next > now => next - now,
            _ if period == 0 => 0,
            next => period - (now - next) % period,
        };
        (left, period)
    }

    fn expirations(&self, now: u64) -> u64 {
        match (self.next.get(), self.period.get()) {
            (0, _) => 0,
            (next, _) if next > now => 0,
            (_, 0) => 1,
            (next, period) => 1 + (now - next) / period,
        }
    }
}

impl FileOps for TimerFd {
    fn kind_name(&self) -> &'static str {
        "timerfd"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, _file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        let out = buf.get_mut(..8).ok_or(Errno::EINVAL)?;
        let now = cx.monotonic();
        let count = self.expirations(now);
        if count == 0 {
            return Err(Errno::EAGAIN);
        }
        out.copy_from_slice(&count.to_le_bytes());
        let passed = self.period.get().saturating_mul(count);
        self.next.set(if self.period.get() == 0 {
            0
        } else {
            self.next.get().saturating_add(passed)
        });
        Ok(8)
    }

    fn seek(&self, _: &mut Cx, file: &OpenFile, _: i64, _: u32) -> Res<u64> {
        // Accepted without effect (`noop_llseek`).
        Ok(file.pos.get())
    }

    fn poll(&self, cx: &mut Cx) -> u32 {
        let now = cx.monotonic();
        if self.expirations(now) > 0 { READABLE } else { 0 }
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        out.push(self.notifier.key());
    }

    fn generation(&self) -> u64 {
        // An expiry is a change of readiness of its own.
        self.notifier.generation().wrapping_add(self.next.get())
    }

    fn deadline(&self) -> Option<u64> {
        Some(self.next.get()).filter(|n| *n != 0)
    }

    fn fdinfo(&self) -> String {
        format!("clockid: {}\n", if self.realtime { 0 } else { 1 })
    }
}
