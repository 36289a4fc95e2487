//! Freezing a box that runs; what comes of it is [`crate::frozen`].
//!
//! A [`Freezer`] asks the box on its control stream; the box comes to a point between two steps, makes its state whole and calls
//! `sched_yield` ([`mux::freeze`]). There its memory is looked at: what still lies in the file that it was mapped from stays there, the
//! rest is copied into a memory file.

mod attach;
mod capture;
mod freezer;

pub use attach::{Freezing, mapped};
pub use freezer::{FreezeError, FreezeOn, Freezer, Next};

use link::{CodeCache, Extent};
use std::fs::File;
use std::sync::Arc;
use wasmtime::Module;

/// Runs a box that this freezes: whoever still waits for it afterwards hears that it is over, even if it never started.
pub fn while_it_runs<T>(freezer: Option<Freezer>, run: impl FnOnce() -> T) -> T {
    let result = run();
    freezer.iter().for_each(Freezer::end);
    result
}

/// What a box has in common with those that start from it.
#[derive(Clone)]
pub struct Ground {
    pub cache: CodeCache,
    pub code: Module,
    /// The box's file.
    pub source: Arc<File>,
}

/// The state of a box.
pub struct Taken {
    pub ground: Ground,
    /// Of 64 KiB.
    pub pages: u64,
    /// Its memory that is not zero, in order.
    pub extents: Vec<Extent>,
}
