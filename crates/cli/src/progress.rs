//! Plain progress on standard error, as `docker buildx build --progress=plain` shows it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use build::{Events, StepId};
use oci::{Digest, Progress};

/// A line for each event: `#2 [2/3] RUN true`, `#2 0.123 output`, `#2 DONE 0.2s`.
pub struct Plain {
    state: Mutex<State>,
}

struct State {
    steps: BTreeMap<StepId, Step>,
    last: Option<StepId>,
}

struct Step {
    name: String,
    start: Instant,
    /// Output that has no newline yet.
    partial: Vec<u8>,
}

/// The longest line kept while waiting for its end.
const LONGEST_LINE: usize = 16 << 10;

impl Plain {
    /// No steps yet.
    pub fn new() -> Self {
        Self { state: Mutex::new(State { steps: BTreeMap::new(), last: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, step: StepId, text: &str) {
        self.state().line(step, text);
    }
}

impl State {
    fn line(&mut self, step: StepId, text: &str) {
        let mut out = String::new();
        if self.last != Some(step) {
            if self.last.is_some() {
                out.push('\n');
            }
            if let Some(known) = self.steps.get(&step) {
                out.push_str(&format!("#{} {}\n", step.0, known.name));
            }
            self.last = Some(step);
        }
        if !text.is_empty() {
            out.push_str(&format!("#{} {text}\n", step.0));
        }
        // Nobody to tell if standard error is closed.
        let _ = std::io::stderr().lock().write_all(out.as_bytes());
    }

    fn flush(&mut self, step: StepId) {
        if let Some(known) = self.steps.get_mut(&step)
            && !known.partial.is_empty()
        {
            let bytes = std::mem::take(&mut known.partial);
            let at = known.start.elapsed().as_secs_f64();
            let text = format!("{at:.3} {}", String::from_utf8_lossy(&bytes));
            self.line(step, &text);
        }
    }
}

impl Events for Plain {
    fn started(&self, step: StepId, name: &str) {
        let mut state = self.state();
        state.steps.insert(
            step,
            Step { name: name.to_owned(), start: Instant::now(), partial: Vec::new() },
        );
        state.line(step, "");
    }

    fn cached(&self, step: StepId) {
        self.line(step, "CACHED");
    }

    fn done(&self, step: StepId, took: Duration) {
        let mut state = self.state();
        state.flush(step);
        state.line(step, &format!("DONE {:.1}s", took.as_secs_f64()));
    }

    fn failed(&self, step: StepId, message: &str) {
        let mut state = self.state();
        state.flush(step);
        state.line(step, &format!("ERROR: {message}"));
    }

    fn cancelled(&self, step: StepId) {
        let mut state = self.state();
        state.flush(step);
        state.line(step, "CANCELED");
    }

    fn output(&self, step: StepId, bytes: &[u8]) {
        let mut state = self.state();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ended = part.ends_with(b"\n");
            let part = part.strip_suffix(b"\n").unwrap_or(part);
            let mut full = false;
            if let Some(known) = state.steps.get_mut(&step) {
                known.partial.extend_from_slice(part);
                full = known.partial.len() > LONGEST_LINE;
                if ended && known.partial.is_empty() {
                    known.partial.push(b' ');
                }
            }
            if ended || full {
                state.flush(step);
            }
        }
    }

    fn note(&self, step: StepId, text: &str) {
        self.line(step, text);
    }

    fn transfer(&self, step: StepId, blob: &Digest, position: u64, size: u64) {
        let from =
            if position > 0 { format!(" (from {})", megabytes(position)) } else { String::new() };
        self.line(step, &format!("{blob} {}{from}", megabytes(size)));
    }

    fn warning(&self, text: &str) {
        tell!("WARNING: {text}");
    }
}

/// Transfers outside a build: a line for each blob.
pub struct Transfers;

impl Progress for Transfers {
    fn start(&self, blob: &Digest, size: u64, position: u64) {
        let from = if position > 0 {
            format!(", resumed at {}", megabytes(position))
        } else {
            String::new()
        };
        tell!("{blob}: {}{from}", megabytes(size));
    }

    fn finish(&self, blob: &Digest) {
        tell!("{blob}: done");
    }

    fn skip(&self, blob: &Digest) {
        tell!("{blob}: already there");
    }

    fn retry(&self, blob: &Digest, attempt: u32, reason: &str) {
        tell!("{blob}: attempt {attempt} failed: {reason}");
    }
}

/// A size for people, in decimal units as docker shows them.
pub fn megabytes(bytes: u64) -> String {
    // A shown size needs no more than the precision of a double.
    #[allow(clippy::cast_precision_loss)]
    let size = bytes as f64;
    match bytes {
        0..1000 => format!("{bytes}B"),
        1000..1_000_000 => format!("{:.1}kB", size / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}MB", size / 1e6),
        _ => format!("{:.2}GB", size / 1e9),
    }
}
