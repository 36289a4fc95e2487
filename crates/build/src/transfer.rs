//! The store's transfers as a build's events.

use oci::{Digest, Progress};

use crate::events::{Events, StepId};

/// Passes the progress of blobs on.
pub(crate) struct Transfers<'a> {
    pub step: StepId,
    pub events: &'a dyn Events,
}

impl Progress for Transfers<'_> {
    fn start(&self, blob: &Digest, size: u64, position: u64) {
        self.events.transfer(self.step, blob, position, size);
    }

    fn finish(&self, blob: &Digest) {
        self.events.arrived(self.step, blob);
    }

    fn advance(&self, blob: &Digest, position: u64) {
        self.events.advance(self.step, blob, position);
    }

    fn retry(&self, blob: &Digest, attempt: u32, reason: &str) {
        self.events.note(self.step, &format!("{blob} attempt {attempt} failed: {reason}"));
    }
}
