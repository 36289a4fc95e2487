//! eventfd(2).

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_NONBLOCK, O_RDWR};
use abi::poll::{EFD_NONBLOCK, EFD_SEMAPHORE, READABLE, WRITABLE};

use super::{FileOps, OpenFile, anon};
use crate::fs::cx::Notifier;
use crate::fs::{Cx, Res};
use crate::wait::WaitKey;

/// A counter that is a file.
pub struct EventFd {
    count: Cell<u64>,
    semaphore: bool,
    notifier: Notifier,
}

/// A new eventfd.
pub fn create(cx: &mut Cx, count: u64, flags: u32) -> Rc<OpenFile> {
    let semaphore = flags & EFD_SEMAPHORE != 0;
    let notifier = cx.shared.notifier();
    let ops = Rc::new(EventFd { count: Cell::new(count), semaphore, notifier });
    let nonblock = if flags & EFD_NONBLOCK != 0 { O_NONBLOCK } else { 0 };
    anon::open(cx, "[eventfd]", ops, O_RDWR | nonblock)
}

impl FileOps for EventFd {
    fn kind_name(&self) -> &'static str {
        "eventfd"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _cx: &mut Cx, _file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        let out = buf.get_mut(..8).ok_or(Errno::EINVAL)?;
        let count = self.count.get();
        if count == 0 {
            return Err(Errno::EAGAIN);
        }
        let taken = if self.semaphore { 1 } else { count };
        out.copy_from_slice(&taken.to_le_bytes());
        self.count.set(count - taken);
        self.notifier.wake();
        Ok(8)
    }

    fn write(&self, _cx: &mut Cx, _file: &OpenFile, buf: &[u8]) -> Res<usize> {
        let bytes: [u8; 8] = buf.get(..8).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
        let add = u64::from_le_bytes(bytes);
        if add == u64::MAX {
            return Err(Errno::EINVAL);
        }
        let sum = self.count.get().checked_add(add).filter(|n| *n != u64::MAX);
        self.count.set(sum.ok_or(Errno::EAGAIN)?);
        self.notifier.wake();
        Ok(8)
    }

    fn seek(&self, _: &mut Cx, file: &OpenFile, _: i64, _: u32) -> Res<u64> {
        // Accepted without effect (`noop_llseek`).
        Ok(file.pos.get())
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        let count = self.count.get();
        let readable = if count > 0 { READABLE } else { 0 };
        readable | if count < u64::MAX - 1 { WRITABLE } else { 0 }
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        out.push(self.notifier.key());
    }

    fn generation(&self) -> u64 {
        self.notifier.generation()
    }

    fn fdinfo(&self) -> String {
        format!("eventfd-count: {:16x}\n", self.count.get())
    }
}
