//! What the host does in a box that runs: it starts further processes ([`process`]), works on files ([`files`]), watches them
//! ([`watch`]) and counts instructions ([`measure`]). Each is known by a number of the host's.
//!
//! A process that was started so has no parent in the box, as docker exec's has none in its namespace of processes; its streams are pipes,
//! or a terminal of its own, whose other ends are here.

pub mod files;
pub mod measure;
pub mod process;
mod watch;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use files::Held;
use measure::Measure;
use process::Attachment;
use watch::Watch;

use crate::ProcessId;

/// Everything that is the host's.
#[derive(Default)]
pub(crate) struct Attached {
    processes: BTreeMap<u32, Attachment>,
    files: BTreeMap<u32, Held>,
    watches: BTreeMap<u32, Watch>,
    measures: BTreeMap<u32, Measure>,
}

impl Attached {
    /// Whether no session's instructions are counted.
    pub fn measures_nothing(&self) -> bool {
        self.measures.is_empty()
    }

    /// A process has ended with this wait status.
    pub fn note_end(&mut self, pid: ProcessId, status: i32) {
        let ours = self.processes.values_mut().filter(|process| process.pid == pid);
        for process in ours.filter(|process| process.status.is_none()) {
            process.status = Some(status);
        }
    }

    /// All processes have ended with this wait status.
    pub fn note_all_ended(&mut self, status: i32) {
        for process in self.processes.values_mut().filter(|process| process.status.is_none()) {
            process.status = Some(status);
        }
    }
}

impl crate::Kernel {
    /// The host leaves what has these numbers: processes are detached ([`crate::Kernel::let_go`]), files closed, watches and measures ended.
    pub fn leave(&mut self, numbers: RangeInclusive<u32>) {
        let processes: Vec<u32> =
            self.attached.processes.range(numbers.clone()).map(|(number, _)| *number).collect();
        for number in processes {
            self.let_go(number);
        }
        self.attached.files.retain(|number, _| !numbers.contains(number));
        self.attached.watches.retain(|number, _| !numbers.contains(number));
        self.attached.measures.retain(|number, _| !numbers.contains(number));
    }
}
