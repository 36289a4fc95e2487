//! Asking a running box to stand still.

use super::Taken;
use mux::control::Control;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a box does after its state was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on, as if nothing had been.
    GoesOn,
    /// It ends, with this exit status.
    Ends(u8),
}

/// Why a box cannot be frozen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreezeError {
    /// It has ended.
    #[error("the box has ended")]
    Over,
    /// Somebody else is freezing it.
    #[error("the box is being frozen already")]
    Busy,
    /// It is a component: their memory cannot be seen from outside.
    #[error("a component cannot be frozen; run the box as a module")]
    Component,
    /// Its run is recorded.
    #[error("a box whose run is recorded cannot be frozen")]
    Recorded,
    /// Its guest program does not know how, or is another version's.
    #[error("the box was made by another version of boxer, and cannot be frozen; build it again")]
    Version,
    /// Something in it cannot be put away.
    #[error("the box cannot be frozen now: {0}")]
    Unfit(String),
    /// Its state could not be copied.
    #[error("the state of the box cannot be copied: {0}")]
    Copy(String),
}

/// What to do when a box stands still: with its state, or why there is none. Called on the thread that runs the box.
pub type Taker = Box<dyn FnOnce(Result<Taken, FreezeError>) -> Next + Send>;

/// When a box freezes of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeOn {
    /// No program has run for so long.
    Idle(Duration),
    /// A program asks for input, and there is no more: it does not hear of the end.
    InputEnd,
    /// [`Freezer::fire`].
    Call,
}

/// Freezes the box whose [`RunOptions`](crate::RunOptions) have it, from any thread. Clones are the same.
#[derive(Clone, Default)]
pub struct Freezer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    phase: Phase,
    /// Where the box is told.
    control: Option<UnixStream>,
    /// What was asked for.
    asked: Option<Taker>,
    /// What is to happen on `when`.
    expected: Option<Taker>,
    when: Vec<FreezeOn>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The box has not started: what is asked for waits.
    #[default]
    Before,
    Runs,
    Cannot(FreezeError),
}

impl Freezer {
    /// For a box that is yet to be started.
    pub fn new() -> Freezer {
        Freezer::default()
    }

    /// Calls `take` when one of these comes to pass for the first time.
    pub(crate) fn expect_state(&self, when: &[FreezeOn], take: Taker) {
        let mut state = self.state();
        state.when = when.to_vec();
        state.expected = Some(take);
    }

    /// Does what `expect` was told, once.
    pub fn fire(&self) {
        let expected = self.state().expected.take();
        if let Some(taker) = expected {
            // The box is ending, or somebody was quicker.
            let _ = self.ask(taker);
        }
    }

    /// Lets the box come to a point between two steps and calls `taker` there; without an error, or when the box ends, it is dropped.
    pub(crate) fn ask(&self, taker: Taker) -> Result<(), FreezeError> {
        let mut state = self.state();
        match &state.phase {
            Phase::Cannot(error) => return Err(error.clone()),
            _ if state.asked.is_some() => return Err(FreezeError::Busy),
            _ => {}
        }
        state.asked = Some(taker);
        state.tell();
        Ok(())
    }

    /// The box is told at the other end of this.
    pub fn told_by(&self, control: UnixStream) {
        self.state().control = Some(control);
    }

    pub(crate) fn has_control(&self) -> bool {
        self.state().control.is_some()
    }

    pub(crate) fn idle(&self) -> Option<Duration> {
        self.state().when.iter().find_map(|when| match when {
            FreezeOn::Idle(time) => Some(*time),
            _ => None,
        })
    }

    /// Whether the end of input is not to be told.
    pub(crate) fn takes_end_of_input(&self) -> bool {
        let state = self.state();
        let pending = state.expected.is_some() || state.asked.is_some();
        pending && state.when.contains(&FreezeOn::InputEnd)
    }

    /// The box runs from now on, or cannot be frozen.
    pub(super) fn begin(&self, cannot: Option<FreezeError>) {
        let mut state = self.state();
        match cannot {
            None => {
                state.phase = Phase::Runs;
                if state.asked.is_some() {
                    state.tell();
                }
            }
            Some(error) => {
                state.phase = Phase::Cannot(error.clone());
                let waiting: Vec<Taker> =
                    state.asked.take().into_iter().chain(state.expected.take()).collect();
                drop(state);
                for taker in waiting {
                    taker(Err(error.clone()));
                }
            }
        }
    }

    /// The box is a component.
    pub(crate) fn refuse_component(&self) {
        self.begin(Some(FreezeError::Component));
    }

    /// Its run is recorded.
    pub(crate) fn refuse_recorded(&self) {
        self.begin(Some(FreezeError::Recorded));
    }

    pub(super) fn take_asked(&self) -> Option<Taker> {
        self.state().asked.take()
    }

    /// The box is over.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Cannot(_)) {
            state.phase = Phase::Cannot(FreezeError::Over);
        }
        state.control = None;
        let asked = (state.asked.take(), state.expected.take());
        drop(state);
        drop(asked);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self) {
        if let Some(control) = self.control.as_mut().filter(|_| self.phase == Phase::Runs) {
            // Far fewer bytes than the stream holds; a box that is gone hears nothing.
            let _ = control.write_all(&Control::Freeze.encode());
        }
    }
}
