//! The bytes that a box exchanges with the outside, counted, and perhaps bounded.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A count for one box, in both directions together: what connections carry, datagrams, and look-ups of names. What the host itself
/// exchanges with the box, over published ports and calls, is not in it.
#[derive(Debug, Default)]
pub struct Traffic {
    limit: Option<u64>,
    used: AtomicU64,
    over: AtomicBool,
}

impl Traffic {
    /// A count of so many bytes at most.
    pub fn new(limit: Option<u64>) -> Traffic {
        Traffic { limit, ..Traffic::default() }
    }

    /// Bytes that were exchanged.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most that may be.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Whether something was not exchanged because it would have been too much. Nothing is from then on.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Counts bytes that are to be exchanged.
    pub(super) fn spend(&self, bytes: usize) -> Spent {
        if self.is_over() {
            return Spent::Not { first: false };
        }
        let add = |used: u64| {
            let sum = used.saturating_add(bytes as u64);
            self.limit.is_none_or(|limit| sum <= limit).then_some(sum)
        };
        match self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Spent::Yes,
            Err(_) => Spent::Not { first: !self.over.swap(true, Ordering::Relaxed) },
        }
    }
}

/// Whether bytes may be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    Yes,
    /// They may not, for the first time or again.
    Not {
        first: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::{Spent, Traffic};

    #[test]
    fn not_one_byte_more_is_exchanged() {
        let traffic = Traffic::new(Some(10));
        assert_eq!(traffic.spend(6), Spent::Yes);
        assert_eq!(traffic.spend(4), Spent::Yes);
        assert_eq!(traffic.spend(1), Spent::Not { first: true });
        assert_eq!(traffic.spend(0), Spent::Not { first: false });
        assert_eq!((traffic.used(), traffic.is_over()), (10, true));
        let free = Traffic::new(None);
        assert_eq!((free.spend(usize::MAX), free.spend(9)), (Spent::Yes, Spent::Yes));
    }
}
