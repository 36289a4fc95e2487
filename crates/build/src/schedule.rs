//! Which stages are at work: every needed stage has a thread, and one that needs another waits for it.
//!
//! Stages are begun in an order in which each comes after those that it is known to need. So whatever a thread waits for is at
//! work, and the first of them waits for nobody. What only an ONBUILD trigger asks for may not have begun: whoever asks builds it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dockerfile::plan::Plan;
use runtime::Interrupt;

use crate::stage::Stage;

/// How often one who waits looks whether the build is to end.
const LOOK: Duration = Duration::from_millis(50);

/// The stages of a plan.
pub(crate) struct Stages {
    /// Of each, those that it needs; one that is needed twice stands there twice.
    needs: Vec<Vec<usize>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    slots: Vec<Slot>,
    /// Of each stage, the one that it waits for.
    waits_for: Vec<Option<usize>>,
    /// How many needed stages that are not at their end yet need it.
    users: Vec<usize>,
}

enum Slot {
    Waiting,
    Open,
    Done(Arc<Stage>),
    /// Done, and let go: who needs it all the same builds it again.
    Spent,
    Failed,
}

/// What one who asks for a stage is told.
pub(crate) enum Turn {
    /// It is for the caller to build it, and to call [`Stages::finish`].
    Build,
    Done(Arc<Stage>),
    /// It is done and let go, and nobody asks for it that needs it.
    Spent,
    /// It needs the stage that asks.
    Circular,
    /// It has failed, or the build is to end.
    Stopped,
}

impl Stages {
    /// The stages of a plan, none begun.
    pub fn new(plan: &Plan) -> Self {
        let count = plan.stages.len();
        let slots = (0..count).map(|_| Slot::Waiting).collect();
        let mut needs = vec![Vec::new(); count];
        let mut users = vec![0; count];
        for &index in &plan.order {
            let needed = plan.stages.get(index).and_then(|stage| plan.needs(stage).ok());
            let needed = needed.unwrap_or_default();
            for &other in &needed {
                if let Some(users) = users.get_mut(other) {
                    *users += 1;
                }
            }
            if let Some(place) = needs.get_mut(index) {
                *place = needed;
            }
        }
        if let Some(users) = users.get_mut(plan.target) {
            *users += 1;
        }
        Self {
            needs,
            state: Mutex::new(State { slots, waits_for: vec![None; count], users }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a stage on behalf of another, or of nobody; waits while somebody builds it.
    pub fn ask(&self, index: usize, asking: Option<usize>, stop: &Interrupt) -> Turn {
        let mut state = self.state();
        loop {
            if stop.is_given() {
                state.wait_of(asking, None);
                return Turn::Stopped;
            }
            match state.slots.get_mut(index) {
                None | Some(Slot::Failed) => return Turn::Stopped,
                Some(Slot::Done(stage)) => {
                    let stage = Arc::clone(stage);
                    state.wait_of(asking, None);
                    return Turn::Done(stage);
                }
                Some(Slot::Spent) if asking.is_none() => return Turn::Spent,
                Some(slot @ (Slot::Waiting | Slot::Spent)) => {
                    *slot = Slot::Open;
                    state.wait_of(asking, Some(index));
                    return Turn::Build;
                }
                Some(Slot::Open) => {}
            }
            if asking.is_some_and(|asking| state.leads(index, asking)) {
                return Turn::Circular;
            }
            state.wait_of(asking, Some(index));
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A stage is at its end, or has failed. What nobody needs any more is let go: a stage's history and layers grow with those
    /// below it. A trigger may still ask for one; then it is built again, out of the cache.
    pub fn finish(&self, index: usize, asked: Option<usize>, stage: Option<Arc<Stage>>) {
        let mut state = self.state();
        let ended = stage.is_some();
        if let Some(slot) = state.slots.get_mut(index) {
            *slot = stage.map_or(Slot::Failed, Slot::Done);
        }
        for &other in self.needs.get(index).into_iter().flatten().filter(|_| ended) {
            let State { slots, users, .. } = &mut *state;
            let (Some(slot), Some(users)) = (slots.get_mut(other), users.get_mut(other)) else {
                continue;
            };
            *users = users.saturating_sub(1);
            if *users == 0 && matches!(slot, Slot::Done(_)) {
                *slot = Slot::Spent;
            }
        }
        state.wait_of(asked, None);
        self.changed.notify_all();
    }
}

impl State {
    fn wait_of(&mut self, stage: Option<usize>, other: Option<usize>) {
        if let Some(place) = stage.and_then(|stage| self.waits_for.get_mut(stage)) {
            *place = other;
        }
    }

    /// Whether a stage waits for another, or for one that does.
    fn leads(&self, from: usize, to: usize) -> bool {
        let mut at = Some(from);
        for _ in 0..=self.waits_for.len() {
            match at {
                None => return false,
                Some(index) if index == to => return true,
                Some(index) => at = self.waits_for.get(index).copied().flatten(),
            }
        }
        true
    }
}

/// Lets a certain number in at once.
pub(crate) struct Gate {
    free: Mutex<usize>,
    changed: Condvar,
}

/// A place inside a [`Gate`].
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    pub fn new(places: usize) -> Self {
        Self { free: Mutex::new(places), changed: Condvar::new() }
    }

    /// Waits for a place; none if the build is to end.
    pub fn enter(&self, stop: &Interrupt) -> Option<Pass<'_>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            if stop.is_given() {
                return None;
            }
            free = self.changed.wait_timeout(free, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= 1;
        Some(Pass(self))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_one();
    }
}
