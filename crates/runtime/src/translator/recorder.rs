//! What a translator writes down for whoever wants to know.

use std::collections::BTreeMap;
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
    pub counts: (u64, u64),
    /// How often each region stood in the tally, by id.
    pub tally: BTreeMap<u32, u64>,
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

    /// So many instructions were executed, and so many of them in regions: in these.
    pub fn count(&self, retired: u64, in_regions: u64, tally: &[u32]) {
        self.with(|recorded| {
            recorded.counts = (retired, in_regions);
            tally.iter().for_each(|id| *recorded.tally.entry(*id).or_default() += 1);
        });
    }
}
