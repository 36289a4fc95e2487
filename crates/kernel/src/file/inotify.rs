//! inotify(7) instances as files; the watches are in [`crate::fs::notify`].

use std::any::Any;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_NONBLOCK, O_RDONLY};
use abi::poll::READABLE;
use abi::tty::FIONREAD;

use super::{FileOps, OpenFile, anon};
use crate::fs::notify::{Event, Queue};
use crate::fs::{Cx, Res};
use crate::wait::WaitKey;

/// Bytes of `struct inotify_event` before the name.
const HEADER: usize = 16;

/// An open inotify instance.
pub struct Inotify {
    /// Its watches and events.
    pub queue: Rc<Queue>,
}

/// A new instance.
pub fn create(cx: &mut Cx, flags: u32) -> Rc<OpenFile> {
    let queue = Rc::new(Queue::new(cx.shared.notifier()));
    cx.shared.watches.add(&queue);
    anon::open(cx, "inotify", Rc::new(Inotify { queue }), O_RDONLY | flags & O_NONBLOCK)
}

/// Bytes of the record: the name with its NUL is padded to the header's size.
fn record_len(event: &Event) -> usize {
    let name = if event.name.is_empty() { 0 } else { event.name.len() + 1 };
    HEADER + name.next_multiple_of(HEADER)
}

impl FileOps for Inotify {
    fn kind_name(&self) -> &'static str {
        "inotify"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _cx: &mut Cx, _file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        let mut events = self.queue.events.borrow_mut();
        let mut done = 0;
        while let Some(event) = events.front() {
            let len = record_len(event);
            let Some(out) = buf.get_mut(done..done + len) else { break };
            out.fill(0);
            out[0..4].copy_from_slice(&event.wd.to_le_bytes());
            out[4..8].copy_from_slice(&event.mask.to_le_bytes());
            out[8..12].copy_from_slice(&event.cookie.to_le_bytes());
            out[12..16].copy_from_slice(&((len - HEADER) as u32).to_le_bytes());
            out[16..16 + event.name.len()].copy_from_slice(&event.name);
            done += len;
            events.pop_front();
        }
        match (done, events.is_empty()) {
            (0, true) => Err(Errno::EAGAIN),
            (0, false) => Err(Errno::EINVAL),
            (done, _) => Ok(done),
        }
    }

    fn seek(&self, _: &mut Cx, file: &OpenFile, _: i64, _: u32) -> Res<u64> {
        // Accepted without effect (`noop_llseek`).
        Ok(file.pos.get())
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        if self.queue.events.borrow().is_empty() { 0 } else { READABLE }
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        out.push(self.queue.notifier.key());
    }

    fn signals_io(&self) -> bool {
        true
    }

    fn generation(&self) -> u64 {
        self.queue.notifier.generation()
    }

    fn ioctl(&self, _: &mut Cx, _: &OpenFile, request: u32, _: u64, data: &mut [u8]) -> Res<u64> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes: usize = self.queue.events.borrow().iter().map(record_len).sum();
        data.copy_from_slice(&(bytes as u32).to_le_bytes());
        Ok(0)
    }
}
