//! Freezing a box that runs; what comes of it is [`crate::frozen`].
//!
//! A [`Freezer`] asks the box on its control stream; the box comes to a point between two steps, makes its state whole and calls
//! `sched_yield` ([`mux::freeze`]). There its memory is looked at: what still lies in the file that it was mapped from stays there, the
//! rest is copied into a memory file.

mod attach;
mod capture;
mod freezer;
mod lay;

pub use attach::{Freezing, mapped};
pub use capture::written;
pub use freezer::{FreezeError, FreezeOn, Freezer, Next};
pub use lay::lay;

use link::{CodeCache, Extent};
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
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
    /// What the first life that has ended had written to, by address: others will, too.
    pub written: Arc<OnceLock<Vec<Range<u32>>>>,
}

impl Ground {
    /// Of a box in whose memory nobody knows yet what is written to.
    pub fn new(cache: CodeCache, code: Module, source: Arc<File>) -> Ground {
        Ground { cache, code, source, written: Arc::default() }
    }
}

/// The state of a box.
pub struct Taken {
    pub ground: Ground,
    /// Of 64 KiB.
    pub pages: u64,
    /// Its memory that is not zero, in order.
    pub extents: Vec<Extent>,
}
