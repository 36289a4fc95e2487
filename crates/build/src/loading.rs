//! The steps in which the main context is read: BuildKit's `[internal] load .dockerignore` and `[internal] load build context`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci::Digest;

use crate::builder::{Builder, Workshop};
use crate::error::Result;
use crate::events::{self, StepId};
use crate::main_context::MainContext;
use crate::options::BuildOptions;
use crate::origin::Origin;

/// What the part of such a step is called that counts bytes.
const CONTEXT: &str = "transferring context:";

/// The main context, whose ignore file is read in a step of its own; `steps` counts it.
pub(crate) fn origin(
    workshop: &Workshop,
    options: &BuildOptions,
    context: &MainContext,
    steps: &mut u32,
) -> Result<Origin> {
    let open = || context.origin(options.dockerfile_path.as_deref());
    if context.host_directory().is_none() {
        return open();
    }
    *steps += 1;
    let (step, events) = (StepId(*steps), workshop.events.as_ref());
    events::step(events, step, "[internal] load .dockerignore", || {
        let origin = open()?;
        if let Origin::Context(context) = &origin {
            events.count(step, CONTEXT, context.ignore_bytes());
        }
        Ok((origin, false))
    })
}

/// The step that reads the context: one, however many instructions read.
#[derive(Default)]
pub(crate) struct Loading(Mutex<State>);

#[derive(Default)]
struct State {
    step: Option<StepId>,
    /// How many read right now, and since when.
    readers: usize,
    since: Option<Instant>,
    bytes: u64,
}

impl Loading {
    /// Reads something within the step: the key of its content, and its size.
    pub fn during(
        &self,
        builder: &Builder<'_>,
        read: impl FnOnce() -> Option<(Digest, u64)>,
    ) -> Option<Digest> {
        let events = builder.workshop.events.as_ref();
        let state = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let step = {
            let state = &mut *state();
            let step = *state.step.get_or_insert_with(|| builder.next_step());
            state.readers += 1;
            if state.readers == 1 {
                state.since = Some(Instant::now());
                events.started(step, "[internal] load build context");
            }
            step
        };
        let found = read();
        let state = &mut *state();
        state.readers -= 1;
        if let Some((_, bytes)) = found {
            state.bytes += bytes;
            events.count(step, CONTEXT, state.bytes);
        }
        if state.readers == 0 {
            events.done(step, state.since.map_or(Duration::ZERO, |since| since.elapsed()));
        }
        found.map(|(key, _)| key)
    }
}
