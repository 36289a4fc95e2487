//! How a build tells what it is doing.

use std::time::{Duration, Instant};

use oci::Digest;

use crate::error::Result;

/// A step of a build, numbered from 1 in the order in which they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// Hears what a build does. Every method may be called from several threads.
pub trait Events: Send + Sync {
    /// A step begins, or one that was done goes on.
    fn started(&self, _step: StepId, _name: &str) {}
    /// It was taken from the cache.
    fn cached(&self, _step: StepId) {}
    /// It is done.
    fn done(&self, _step: StepId, _took: Duration) {}
    /// It failed.
    fn failed(&self, _step: StepId, _message: &str) {}
    /// It was ended because the build is at its end.
    fn cancelled(&self, _step: StepId) {}
    /// A program of the step wrote this to standard output or standard error.
    fn output(&self, _step: StepId, _bytes: &[u8]) {}
    /// A remark on the step for people.
    fn note(&self, _step: StepId, _text: &str) {}
    /// The transfer of a blob of the step begins: so many of so many bytes are here.
    fn transfer(&self, _step: StepId, _blob: &Digest, _position: u64, _size: u64) {}
    /// The transfer is at this position.
    fn advance(&self, _step: StepId, _blob: &Digest, _position: u64) {}
    /// The blob is whole and verified.
    fn arrived(&self, _step: StepId, _blob: &Digest) {}
    /// So many bytes of a part with this name are here; how many there will be is not known.
    fn count(&self, _step: StepId, _name: &str, _bytes: u64) {}
    /// A warning that belongs to no step.
    fn warning(&self, _text: &str) {}
}

/// Hears nothing.
pub struct NoEvents;

impl Events for NoEvents {}

/// Carries a step out between its start and end events. `work` also says whether its result was known.
pub(crate) fn step<T>(
    events: &dyn Events,
    step: StepId,
    name: &str,
    work: impl FnOnce() -> Result<(T, bool)>,
) -> Result<T> {
    events.started(step, name);
    let start = Instant::now();
    match work() {
        Ok((value, true)) => {
            events.cached(step);
            Ok(value)
        }
        Ok((value, false)) => {
            events.done(step, start.elapsed());
            Ok(value)
        }
        Err(error) => {
            match error.is_cancelled() {
                true => events.cancelled(step),
                false => events.failed(step, &error.to_string()),
            }
            Err(error)
        }
    }
}
