//! What programs of a box use, and bounds for what they execute.

use super::Attach;
use mux::exec::{Call, Counted};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

pub use mux::exec::{Bound, Usage};

/// Instructions of a session that are counted. Dropped, they are not any more.
pub struct Measure {
    attach: Attach,
    number: u32,
    ended: AtomicBool,
}

/// What a [`Measure`] has counted.
pub type Measured = Counted;

impl Measure {
    pub(super) fn new(attach: &Attach, number: u32) -> Measure {
        Measure { attach: attach.clone(), number, ended: AtomicBool::new(false) }
    }

    /// Ends it; what was counted.
    ///
    /// # Errors
    /// The box has ended.
    pub fn end(self) -> io::Result<Measured> {
        self.ended.store(true, Ordering::Relaxed);
        let call = Call::Measured { measure: self.number };
        let (_, bytes) = self.attach.call("", call)?;
        Measured::decode(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        if !self.ended.load(Ordering::Relaxed) {
            let call = Call::Measured { measure: self.number };
            // Nobody waits for the answer.
            let _ = self.attach.tell(|client| client.call(b"", call));
        }
    }
}

impl Attach {
    /// Counts what the session of a process of the box executes from now on; `bound` comes after `most` instructions exactly.
    ///
    /// # Errors
    /// There is no such process (`ESRCH`), or the box has ended.
    pub fn measure(&self, pid: u32, most: u64, bound: Bound) -> io::Result<Measure> {
        let call = Call::Measure { started: false, bound, process: pid, most };
        let (number, _) = self.call("", call)?;
        Ok(Measure::new(self, number))
    }

    /// What the box uses.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> io::Result<Usage> {
        let (_, bytes) = self.call("", Call::Usage)?;
        Usage::decode(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}
