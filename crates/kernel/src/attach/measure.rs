//! Instructions that a session executes, counted from a moment that the host says, and what happens when they are too many. The count
//! ends the session's turn at that very instruction, so that the same programs always come as far.

use abi::Errno;
use abi::signal::{SIGINT, SIGKILL};

use crate::{Kernel, ProcessId, ThreadId};

/// Instructions within which programs that were told to stop may do so: a third of a second, interpreted.
pub const GRACE: u64 = 100_000_000;

/// A session that is measured.
pub(super) struct Measure {
    /// Its process that is told to stop: the session has its number.
    pid: ProcessId,
    used: u64,
    left: u64,
    /// What comes when nothing is left; none if it has.
    next: Option<Next>,
    /// They were too many.
    reached: bool,
}

/// What comes when a session has executed all that it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// SIGINT to the process, and [`GRACE`] for what it does then, before all are killed.
    Tell,
    /// The same with SIGINT to all of the session.
    TellAll,
    /// SIGKILL to all of the session.
    Kill,
}

/// Whose session is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// That of the process of this number in the box.
    Process(u32),
    /// That of the process which the host has started under this number.
    Started(u32),
}

impl Kernel {
    /// Measures what the session of a process executes from now on, under a number that is not in use. `next` comes once that is `most`
    /// instructions. A process that leaves the session is not measured.
    ///
    /// # Errors
    /// `ESRCH`: there is no such process.
    pub fn begin_measure(
        &mut self,
        number: u32,
        of: Measured,
        most: u64,
        next: Next,
    ) -> Result<(), Errno> {
        let pid = match of {
            Measured::Process(pid) => ProcessId(pid),
            Measured::Started(process) => {
                self.attached.processes.get(&process).ok_or(Errno::ESRCH)?.pid
            }
        };
        if self.tasks.process(pid).is_none_or(|process| process.zombie.is_some()) {
            return Err(Errno::ESRCH);
        }
        let (left, next) = (most.max(1), Some(next));
        let measure = Measure { pid, used: 0, left, next, reached: false };
        self.attached.measures.insert(number, measure);
        Ok(())
    }

    /// Ends a measure: the instructions, and whether they were too many.
    ///
    /// # Errors
    /// `EBADF`: there is none of this number.
    pub fn end_measure(&mut self, number: u32) -> Result<(u64, bool), Errno> {
        let measure = self.attached.measures.remove(&number).ok_or(Errno::EBADF)?;
        Ok((measure.used, measure.reached))
    }

    /// How many measures there are.
    pub fn measures(&self) -> usize {
        self.attached.measures.len()
    }

    /// What is left for a thread by what measures its session.
    pub(crate) fn measured_left(&self, tid: ThreadId) -> Option<u64> {
        let session = self.session_of(tid)?;
        let own = self.attached.measures.values().filter(|measure| measure.pid == session);
        own.filter(|measure| measure.next.is_some()).map(|measure| measure.left).min()
    }

    /// Counts what a thread has executed; whether that was all that was left for its session.
    pub(crate) fn measure(&mut self, tid: ThreadId, count: u64) -> bool {
        let Some(session) = self.session_of(tid) else { return false };
        let mut due = Vec::new();
        for measure in self.attached.measures.values_mut().filter(|m| m.pid == session) {
            measure.used = measure.used.saturating_add(count);
            measure.left = measure.left.saturating_sub(count);
            if measure.left == 0
                && let Some(next) = measure.next
            {
                measure.reached = true;
                due.push((measure.pid, next));
                (measure.left, measure.next) = match next {
                    Next::Tell | Next::TellAll => (GRACE, Some(Next::Kill)),
                    Next::Kill => (u64::MAX, None),
                };
            }
        }
        for (pid, next) in &due {
            let (all, signal) = match next {
                Next::Tell => (false, SIGINT),
                Next::TellAll => (true, SIGINT),
                Next::Kill => (true, SIGKILL),
            };
            // Who has ended meanwhile needs no signal.
            let _ = self.signal_by_host(pid.0, all, signal);
        }
        !due.is_empty()
    }

    fn session_of(&self, tid: ThreadId) -> Option<ProcessId> {
        let pid = self.tasks.thread(tid)?.pid;
        Some(self.tasks.process(pid)?.sid)
    }
}
