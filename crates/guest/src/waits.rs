//! What the box waits for while no program can run.

use crate::stdio::STDIN;
use crate::wasi;
#[cfg(feature = "sockets")]
use std::rc::Rc;
#[cfg(feature = "sockets")]
use wasip2::io::poll::Pollable;

/// A set of things to wait for.
#[derive(Default)]
pub struct Waits {
    fds: Vec<wasi::Fd>,
    to_write: Vec<wasi::Fd>,
    #[cfg(feature = "sockets")]
    pollables: Vec<Rc<Pollable>>,
}

impl Waits {
    /// A descriptor can be read.
    pub fn read(&mut self, fd: wasi::Fd) {
        self.fds.push(fd);
    }

    /// A descriptor can be written.
    pub fn write(&mut self, fd: wasi::Fd) {
        self.to_write.push(fd);
    }

    /// One of the host's own events.
    #[cfg(feature = "sockets")]
    pub fn add(&mut self, pollable: &Rc<Pollable>) {
        self.pollables.push(pollable.clone());
    }

    /// Whether standard input is waited for.
    pub fn has_stdin(&self) -> bool {
        self.fds.contains(&STDIN)
    }

    /// Whether nothing is waited for.
    pub fn is_empty(&self) -> bool {
        #[cfg(feature = "sockets")]
        if !self.pollables.is_empty() {
            return false;
        }
        self.fds.is_empty() && self.to_write.is_empty()
    }

    /// Waits until something of it happens, or `timeout` nanoseconds are over. With nothing to wait for it returns at once.
    /// Whether standard input has something; where the host cannot tell, a look does.
    pub fn wait(self, timeout: Option<u64>) -> bool {
        #[cfg(feature = "sockets")]
        if !self.pollables.is_empty() {
            // A component's only descriptors that one can wait for are its standard streams.
            return crate::sockets::wait(self.pollables, self.fds.contains(&STDIN), timeout);
        }
        wasi::wait(&self.fds, &self.to_write, timeout).is_some_and(|fds| fds.contains(&STDIN))
    }
}
