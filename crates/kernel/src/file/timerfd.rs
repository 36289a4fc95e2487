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
    clock: i32,
    /// It was set to a time of its clock, not to a duration.
    absolute: Cell<bool>,
    /// Next expiry; 0 = disarmed.
    next: Cell<u64>,
    period: Cell<u64>,
    notifier: Notifier,
}

/// A new, disarmed timerfd on a clock.
pub fn create(cx: &mut Cx, clock: i32, flags: u32) -> Rc<OpenFile> {
    let (notifier, absolute) = (cx.shared.notifier(), Cell::new(false));
    let ops = TimerFd { clock, absolute, next: Cell::new(0), period: Cell::new(0), notifier };
    let nonblock = if flags & TFD_NONBLOCK != 0 { O_NONBLOCK } else { 0 };
    anon::open(cx, "[timerfd]", Rc::new(ops), O_RDWR | nonblock)
}

impl TimerFd {
    /// Arms the timer to expire at monotonic time `next` (0 disarms) and then each `period` ns; `absolute` if it was a time of its
    /// clock. Returns time left and period from before.
    pub fn set(&self, cx: &mut Cx, next: u64, period: u64, absolute: bool) -> (u64, u64) {
        let before = self.get(cx);
        self.next.set(next);
        self.absolute.set(absolute);
        self.period.set(period);
        self.notifier.wake();
        before
    }

    /// The clock that it is on.
    pub fn clock(&self) -> i32 {
        self.clock
    }

    /// Moves the next expiry to what `place` gives for it and for whether it is a time of its clock.
    pub fn moved(&self, place: impl FnOnce(u64, bool) -> u64) {
        if self.next.get() != 0 {
            self.next.set(place(self.next.get(), self.absolute.get()));
            self.notifier.wake();
        }
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
        format!("clockid: {}\n", self.clock)
    }
}
