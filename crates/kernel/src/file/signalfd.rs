//! signalfd(2).

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_NONBLOCK, O_RDWR};
use abi::poll::READABLE;

use super::{FileOps, OpenFile, anon};
use crate::fs::{Cx, Res};
use crate::wait::WaitKey;

/// Pending signals of whoever reads, as a file.
pub struct SignalFd {
    /// Signals to take (bit n-1 = signal n).
    pub mask: Cell<u64>,
}

/// A new signalfd for `mask`.
pub fn create(cx: &mut Cx, mask: u64, flags: u32) -> Rc<OpenFile> {
    let ops = Rc::new(SignalFd { mask: Cell::new(mask) });
    anon::open(cx, "[signalfd]", ops, O_RDWR | flags & O_NONBLOCK)
}

impl FileOps for SignalFd {
    fn kind_name(&self) -> &'static str {
        "signalfd"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, _file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        if buf.len() < 128 {
            return Err(Errno::EINVAL);
        }
        let mut done = 0;
        for record in buf.chunks_exact_mut(128) {
            let Some(info) = cx.world.take_signal(self.mask.get()) else { break };
            record.copy_from_slice(&info);
            done += 128;
        }
        if done == 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    fn seek(&self, _: &mut Cx, file: &OpenFile, _: i64, _: u32) -> Res<u64> {
        // Accepted without effect (`noop_llseek`).
        Ok(file.pos.get())
    }

    fn poll(&self, cx: &mut Cx) -> u32 {
        if cx.world.pending_signals(self.mask.get()) != 0 { READABLE } else { 0 }
    }

    fn keys(&self, cx: &mut Cx, out: &mut Vec<WaitKey>) {
        out.push(cx.world.signal_key());
    }

    fn fdinfo(&self) -> String {
        format!("sigmask:\t{:016x}\n", self.mask.get())
    }
}
