//! Regions that wait until they are hot enough to be worth compiling.
//!
//! Nobody knows how long a program will run. So a region is compiled when about as much time was spent in interpreting it as its
//! compiling takes: whatever the program does then, the two together never take much more than twice as long as the better of them
//! alone (the ski rental problem). Where code is compiled already it takes no time, and does not wait. A core that has nothing else to do
//! compiles what has come nearest to that.

use super::worker::Waiting;
use std::collections::BTreeMap;
use translate::desk::MAX_PENDING;

/// What compiling a region takes beside its bytes, in nanoseconds (a module's own costs).
const COST: u64 = 1_000_000;
/// What compiling a byte of Wasm takes, in nanoseconds.
const COST_OF_BYTE: u64 = 1_300;
/// What is saved, if an instruction is not interpreted, in nanoseconds.
const GAIN: u64 = 4;
/// Bytes of Wasm that wait at most.
const MAX_BYTES: usize = 64 << 20;

struct Pending {
    waiting: Waiting,
    /// Samples.
    heat: u64,
    /// Number of the last visit at which it was hot.
    seen: u64,
}

impl Pending {
    /// What compiling it takes, in nanoseconds.
    fn cost(&self) -> u64 {
        COST + COST_OF_BYTE * self.waiting.size() as u64
    }
}

/// The regions of one box that wait.
#[derive(Default)]
pub struct Pendings {
    by_id: BTreeMap<u32, Pending>,
    bytes: usize,
    visits: u64,
    /// Guest instructions that a sample stands for.
    sample: u64,
}

impl Pendings {
    /// None; a sample stands for so many instructions.
    pub fn new(sample: u32) -> Pendings {
        Pendings { sample: sample.into(), ..Pendings::default() }
    }

    /// The box came by. Regions that were found hot, as often as that; those that are to be compiled now.
    pub fn heat(&mut self, ids: &[u32]) -> Vec<(u32, Waiting)> {
        self.visits += 1;
        let mut hot = Vec::new();
        for &id in ids {
            let Some(pending) = self.by_id.get_mut(&id) else { continue };
            pending.heat += 1;
            pending.seen = self.visits;
            if pending.heat.saturating_mul(self.sample * GAIN) >= pending.cost() {
                hot.extend(self.take(id).map(|waiting| (id, waiting)));
            }
        }
        hot
    }

    /// The one on which most time was spent for what compiling it takes; none if all are cold.
    pub fn hottest(&mut self) -> Option<(u32, Waiting)> {
        let hot = self.by_id.iter().filter(|(_, pending)| pending.heat > 0);
        // In millionths, so that small differences count.
        let (&id, _) =
            hot.max_by_key(|(_, pending)| pending.heat * 1_000_000_000 / pending.cost())?;
        self.take(id).map(|waiting| (id, waiting))
    }

    /// This one waits from now on; those that do not any more, because others were hot since they were.
    pub fn wait(&mut self, id: u32, waiting: Waiting) -> Vec<u32> {
        self.take(id);
        self.bytes += waiting.size();
        self.by_id.insert(id, Pending { waiting, heat: 0, seen: self.visits });
        let mut forgotten = Vec::new();
        while self.by_id.len() > MAX_PENDING || self.bytes > MAX_BYTES {
            let oldest = self.by_id.iter().min_by_key(|(_, pending)| pending.seen);
            let Some(id) = oldest.map(|(id, _)| *id) else { break };
            self.take(id);
            forgotten.push(id);
        }
        forgotten
    }

    fn take(&mut self, id: u32) -> Option<Waiting> {
        let waiting = self.by_id.remove(&id)?.waiting;
        self.bytes -= waiting.size();
        Some(waiting)
    }
}
