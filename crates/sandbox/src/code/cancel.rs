//! Stopping one call of code, and no other of its context.

use super::Slot;
use crate::running::{Running, lock};
use std::fmt;
use std::sync::{Arc, Mutex};

/// Stops a call of code, from another thread, as Ctrl-C does.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Mutex<Turn>>);

#[derive(Default)]
enum Turn {
    /// It has not begun, or is over.
    #[default]
    Waits,
    Runs(Arc<Slot>, Arc<Running>),
    Cancelled,
}

impl Cancel {
    /// Stops the call, before it begins or while it runs.
    pub fn cancel(&self) {
        let mut turn = lock(&self.0);
        if let Turn::Runs(slot, running) = &*turn {
            slot.interrupt(running);
        }
        *turn = Turn::Cancelled;
    }

    /// The call begins; whether it may.
    pub(crate) fn begins(&self, slot: &Arc<Slot>, running: &Arc<Running>) -> bool {
        let mut turn = lock(&self.0);
        if matches!(*turn, Turn::Cancelled) {
            return false;
        }
        *turn = Turn::Runs(slot.clone(), running.clone());
        true
    }

    /// The call is over: what runs in its context now is another.
    pub(crate) fn is_over(&self) {
        *lock(&self.0) = Turn::Waits;
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancel")
    }
}
