//! A host for tests of the kernel and of the machine: its clock shows what tests set, plus the time that instructions take,
//! what it is to read is put there, and what is written to it is kept.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use abi::Errno;
use kernel::Host;

/// The time that clocks of the epoch show when [`Outside::clock`] is 0, in nanoseconds.
const EPOCH: u64 = 1_700_000_000_000_000_000;

/// What tests see and set of the host.
#[derive(Default)]
pub struct Outside {
    /// Monotonic nanoseconds.
    pub clock: Cell<u64>,
    /// What comes on standard input.
    pub stdin: RefCell<VecDeque<u8>>,
    /// Whether standard input ends there; else more may come.
    pub stdin_ends: Cell<bool>,
    /// What was written to standard output.
    pub stdout: RefCell<Vec<u8>>,
    /// What was written to standard error.
    pub stderr: RefCell<Vec<u8>>,
    /// Lines for people ([`Host::log`]).
    pub log: RefCell<Vec<String>>,
    /// [`Host::edits_lines`].
    pub edits_lines: Cell<bool>,
}

/// The host: tests keep the other reference.
#[derive(Default)]
pub struct TestHost(pub Rc<Outside>);

impl Host for TestHost {
    fn clock_realtime(&self) -> u64 {
        EPOCH + self.0.clock.get()
    }
    fn clock_monotonic(&self) -> u64 {
        self.0.clock.get()
    }
    fn advance(&mut self, ns: u64) {
        self.0.clock.set(self.0.clock.get().saturating_add(ns));
    }
    fn random(&mut self, buf: &mut [u8]) {
        for (i, byte) in buf.iter_mut().enumerate() {
            *byte = i as u8 ^ 0x5a;
        }
    }
    fn stdin_read(&mut self, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut queue = self.0.stdin.borrow_mut();
        if queue.is_empty() {
            return if self.0.stdin_ends.get() { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        let n = buf.len().min(queue.len());
        for (slot, byte) in buf.iter_mut().zip(queue.drain(..n)) {
            *slot = byte;
        }
        Ok(n)
    }
    fn stdin_ready(&mut self) -> bool {
        self.0.stdin_ends.get() || !self.0.stdin.borrow().is_empty()
    }
    fn stdout_write(&mut self, buf: &[u8]) -> Result<usize, Errno> {
        self.0.stdout.borrow_mut().extend_from_slice(buf);
        Ok(buf.len())
    }
    fn stderr_write(&mut self, buf: &[u8]) -> Result<usize, Errno> {
        self.0.stderr.borrow_mut().extend_from_slice(buf);
        Ok(buf.len())
    }
    fn edits_lines(&self) -> bool {
        self.0.edits_lines.get()
    }
    fn log(&mut self, line: &str) {
        self.0.log.borrow_mut().push(line.to_owned());
    }
}
