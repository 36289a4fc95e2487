//! What a translator writes down for whoever wants to know.

use std::sync::{Arc, Mutex, PoisonError};
use translate::desk::Request;
use translate::{Pages, Source};

/// What a translator writes down.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Recorded>>);

/// What was written down.
#[derive(Default)]
pub struct Recorded {
    /// The regions that were asked for, in that order.
    pub requests: Vec<Request>,
    /// The pages that they lie in, by physical address.
    pub pages: Pages,
    /// Instructions executed, and how many of them in regions.
    pub counts: Option<(u64, u64)>,
}

impl Recorder {
    /// Looks at it.
    pub fn with<R>(&self, what: impl FnOnce(&mut Recorded) -> R) -> R {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A region was asked for.
    pub fn asked(&self, source: &Source) {
        self.with(|recorded| {
            recorded.requests.push(source.request.clone());
            for (page, content) in &source.pages {
                recorded.pages.entry(*page).or_insert_with(|| content.clone());
            }
        });
    }

    /// So many instructions were executed so far, and so many of them in regions.
    pub fn count(&self, retired: u64, in_regions: u64) {
        self.with(|recorded| recorded.counts = Some((retired, in_regions)));
    }
}
