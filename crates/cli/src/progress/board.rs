//! What is known of a build's steps: the state that every view shows.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use build::{Events, StepId};
use dockerfile::lint::Warning;
use oci::Digest;

use super::log::Log;

/// A moment, for durations and for records.
#[derive(Clone, Copy)]
pub struct Moment {
    pub clock: SystemTime,
    instant: Instant,
}

impl Moment {
    pub fn now() -> Self {
        Self { clock: SystemTime::now(), instant: Instant::now() }
    }

    pub fn since(self, earlier: Moment) -> Duration {
        self.instant.saturating_duration_since(earlier.instant)
    }
}

/// A step.
pub struct Vertex {
    pub name: String,
    pub started: Moment,
    pub completed: Option<Moment>,
    /// How long it took before it went on last.
    before: Duration,
    pub cached: bool,
    pub error: Option<String>,
    /// Ended because the build was at its end: no error of its own.
    pub cancelled: bool,
    pub log: Log,
    pub parts: Vec<Part>,
}

impl Vertex {
    /// How long it has taken until now.
    pub fn took(&self) -> Duration {
        self.before + self.completed.unwrap_or_else(Moment::now).since(self.started)
    }
}

/// A part of a step that has a line of its own: a transfer, or a remark.
pub struct Part {
    pub name: String,
    pub current: u64,
    /// 0 where it is not counted.
    pub total: u64,
    pub started: Moment,
    pub completed: Option<Moment>,
}

/// What has just happened to a step, by its index.
#[derive(Clone, Copy)]
pub enum Change<'a> {
    Started(usize),
    Completed(usize),
    /// Output, and how many lines became whole by it.
    Log(usize, &'a [u8], usize),
    /// A part began, moved or ended.
    Part(usize, usize),
    /// A remark that belongs to no step.
    Warning(&'a str),
    /// A finding of the checks in the Dockerfile with this name and text.
    Lint(&'a Warning, &'a str, &'a str),
}

/// Shows the steps.
pub trait View: Send {
    /// Something happened.
    fn changed(&mut self, vertices: &[Vertex], change: Change<'_>);
    /// A while has gone by.
    fn tick(&mut self, _vertices: &[Vertex]) {}
    /// Nothing more will happen.
    fn close(&mut self, _vertices: &[Vertex]) {}
}

pub struct Board {
    state: Mutex<State>,
}

struct State {
    vertices: Vec<Vertex>,
    index: BTreeMap<StepId, usize>,
    view: Box<dyn View>,
}

impl Board {
    pub fn new(view: Box<dyn View>) -> Self {
        Self { state: Mutex::new(State { vertices: Vec::new(), index: BTreeMap::new(), view }) }
    }

    pub fn tick(&self) {
        let state = &mut *self.state();
        state.view.tick(&state.vertices);
    }

    pub fn close(&self) {
        let state = &mut *self.state();
        state.view.close(&state.vertices);
    }

    pub fn lint(&self, warning: &Warning, name: &str, text: &str) {
        let state = &mut *self.state();
        state.view.changed(&state.vertices, Change::Lint(warning, name, text));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, step: StepId, finish: impl FnOnce(&mut Vertex)) {
        let Some(&index) = self.index.get(&step) else { return };
        let Some(vertex) = self.vertices.get_mut(index) else { return };
        let now = Moment::now();
        let whole = vertex.log.flush(now.since(vertex.started));
        vertex.completed = Some(now);
        for part in &mut vertex.parts {
            part.completed.get_or_insert(now);
        }
        finish(vertex);
        if whole > 0 {
            self.view.changed(&self.vertices, Change::Log(index, b"", whole));
        }
        self.view.changed(&self.vertices, Change::Completed(index));
    }

    fn part(&mut self, step: StepId, name: &str, update: impl FnOnce(&mut Part)) {
        let Some(&index) = self.index.get(&step) else { return };
        let Some(vertex) = self.vertices.get_mut(index) else { return };
        let known = vertex.parts.iter().position(|part| part.name == name);
        let at = known.unwrap_or_else(|| {
            let started = Moment::now();
            let name = name.to_owned();
            vertex.parts.push(Part { name, current: 0, total: 0, started, completed: None });
            vertex.parts.len() - 1
        });
        if let Some(part) = vertex.parts.get_mut(at) {
            update(part);
        }
        self.view.changed(&self.vertices, Change::Part(index, at));
    }
}

impl Events for Board {
    fn started(&self, step: StepId, name: &str) {
        let state = &mut *self.state();
        let known = state.index.get(&step).copied();
        if let Some((index, vertex)) =
            known.and_then(|index| Some((index, state.vertices.get_mut(index)?)))
        {
            vertex.before = vertex.took();
            (vertex.started, vertex.completed) = (Moment::now(), None);
            state.view.changed(&state.vertices, Change::Started(index));
            return;
        }
        let index = state.vertices.len();
        state.index.insert(step, index);
        state.vertices.push(Vertex {
            name: name.to_owned(),
            started: Moment::now(),
            completed: None,
            before: Duration::ZERO,
            cached: false,
            error: None,
            cancelled: false,
            log: Log::default(),
            parts: Vec::new(),
        });
        state.view.changed(&state.vertices, Change::Started(index));
    }

    fn cached(&self, step: StepId) {
        self.state().end(step, |vertex| vertex.cached = true);
    }

    fn done(&self, step: StepId, _took: Duration) {
        self.state().end(step, |_| {});
    }

    fn failed(&self, step: StepId, message: &str) {
        self.state().end(step, |vertex| vertex.error = Some(message.to_owned()));
    }

    fn cancelled(&self, step: StepId) {
        self.state().end(step, |vertex| vertex.cancelled = true);
    }

    fn output(&self, step: StepId, bytes: &[u8]) {
        let state = &mut *self.state();
        let Some(&index) = state.index.get(&step) else { return };
        let Some(vertex) = state.vertices.get_mut(index) else { return };
        let at = vertex.took();
        let whole = vertex.log.push(bytes, at);
        state.view.changed(&state.vertices, Change::Log(index, bytes, whole));
    }

    fn note(&self, step: StepId, text: &str) {
        self.state().part(step, text, |part| part.completed = Some(Moment::now()));
    }

    fn transfer(&self, step: StepId, blob: &Digest, position: u64, size: u64) {
        self.state().part(step, blob.as_str(), |part| {
            (part.current, part.total) = (position, size);
            part.completed = None;
        });
    }

    fn advance(&self, step: StepId, blob: &Digest, position: u64) {
        self.state().part(step, blob.as_str(), |part| part.current = position);
    }

    fn arrived(&self, step: StepId, blob: &Digest) {
        self.state().part(step, blob.as_str(), |part| {
            part.current = part.total.max(part.current);
            part.completed = Some(Moment::now());
        });
    }

    fn count(&self, step: StepId, name: &str, bytes: u64) {
        self.state().part(step, name, |part| {
            part.current = bytes;
            part.completed = Some(Moment::now());
        });
    }

    fn warning(&self, text: &str) {
        let state = &mut *self.state();
        state.view.changed(&state.vertices, Change::Warning(text));
    }
}
