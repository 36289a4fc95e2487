//! Tells who waits for the end of times that one of them is another.

use crate::running::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Clones are the same.
#[derive(Clone, Default)]
pub struct Alarm(Arc<(Mutex<bool>, Condvar)>);

impl Alarm {
    /// Wakes who waits, or will.
    pub fn ring(&self) {
        let (rung, changed) = &*self.0;
        *lock(rung) = true;
        changed.notify_all();
    }

    /// Waits until it rings, or for so long.
    pub fn wait(&self, longest: Duration) {
        let (rung, changed) = &*self.0;
        let mut rung = lock(rung);
        if !*rung {
            rung = changed.wait_timeout(rung, longest).unwrap_or_else(PoisonError::into_inner).0;
        }
        *rung = false;
    }
}
