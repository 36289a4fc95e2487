//! Semaphore sets (semop(2), `ipc/sem.c`). A waiting semop stands in its set's queue; whoever changes a value carries
//! out what has become possible, in order of arrival, so that the waiter finds its call done when it is run again.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use abi::Errno;
use abi::ipc::{IPC_NOWAIT, SEM_UNDO, Sembuf, SemidDs};

use super::{Ids, Object, Perm};
use crate::{Kernel, ProcessId, ThreadId, WaitKey};

/// Most semaphores of a set (`SEMMSL`).
pub const SEMMSL: i32 = 32000;
/// Most sets (`SEMMNI`).
pub const SEMMNI: usize = 32000;
/// Most operations of a call (`SEMOPM`).
pub const SEMOPM: u64 = 500;
/// Most semaphores, as programs are told (`SEMMNS`).
pub const SEMMNS: i32 = 1_024_000_000;
/// Most semaphores in fact: what Linux's memory would bound.
pub const SEMS_MAX: usize = 1 << 20;
/// Largest value (`SEMVMX`).
pub const SEMVMX: i32 = 32767;
/// Undo values of one process that are kept without asking how many others have.
const UNDO_FREE: usize = 4096;
/// Most undo values of all processes.
const UNDO_MAX: usize = 1 << 20;

/// What a process's end undoes: by identifier of the set and number of the semaphore. Shared by `CLONE_SYSVSEM`.
pub type UndoList = Rc<RefCell<BTreeMap<(i32, u16), i32>>>;

/// One semaphore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Semaphore {
    /// Value, 0 to [`SEMVMX`].
    pub value: i32,
    /// Process of the last operation.
    pub pid: u32,
}

/// A semop that waits.
struct Waiting {
    ticket: u64,
    call: Call,
    /// The operation that it waits for.
    blocking: usize,
}

/// The operations of one semop.
#[derive(Clone)]
pub struct Call {
    /// The caller.
    pub tid: ThreadId,
    /// Its process.
    pub pid: ProcessId,
    /// Operations.
    pub ops: Rc<[Sembuf]>,
    /// Where undo values go; `None` without `SEM_UNDO`.
    pub undo: Option<UndoList>,
}

impl Call {
    /// Whether it changes a value.
    pub fn alters(&self) -> bool {
        self.ops.iter().any(|op| op.op != 0)
    }
}

/// Why operations were not carried out.
enum Failed {
    Errno(Errno),
    /// The one with this index has to wait.
    Waits(usize),
}

/// One set.
pub struct Set {
    perm: Perm,
    /// The semaphores.
    pub sems: Vec<Semaphore>,
    otime: i64,
    ctime: i64,
    queue: VecDeque<Waiting>,
}

impl Object for Set {
    fn perm(&self) -> &Perm {
        &self.perm
    }
    fn perm_mut(&mut self) -> &mut Perm {
        &mut self.perm
    }
}

impl Set {
    /// `count` semaphores of value 0.
    pub fn new(perm: Perm, count: usize, now: i64) -> Set {
        let sems = vec![Semaphore::default(); count];
        Set { perm, sems, otime: 0, ctime: now, queue: VecDeque::new() }
    }

    /// Values or permissions were set.
    pub fn changed(&mut self, now: i64) {
        self.ctime = now;
    }

    /// What `IPC_STAT` tells.
    pub fn show(&self) -> SemidDs {
        SemidDs {
            perm: self.perm.show(),
            otime: self.otime,
            ctime: self.ctime,
            nsems: self.sems.len() as u64,
            ..SemidDs::default()
        }
    }

    /// How many wait for semaphore `num` to become zero, or else to grow.
    pub fn waiters(&self, num: usize, zero: bool) -> u64 {
        let waits = |w: &&Waiting| {
            let op = w.call.ops.get(w.blocking).copied().unwrap_or_default();
            usize::from(op.num) == num && (op.op == 0) == zero
        };
        self.queue.iter().filter(waits).count() as u64
    }

    /// Carries all operations out, or none (`perform_atomic_semop`).
    fn perform(&mut self, call: &Call) -> Result<(), Failed> {
        let mut done = 0;
        let mut failed = None;
        for (i, op) in call.ops.iter().enumerate() {
            let Some(sem) = self.sems.get_mut(usize::from(op.num)) else {
                failed = Some(Failed::Errno(Errno::EFBIG));
                break;
            };
            let new = sem.value + i32::from(op.op);
            if op.op == 0 && sem.value != 0 || new < 0 {
                let nowait = op.flags & IPC_NOWAIT as i16 != 0;
                failed = Some(if nowait { Failed::Errno(Errno::EAGAIN) } else { Failed::Waits(i) });
                break;
            }
            if new > SEMVMX {
                failed = Some(Failed::Errno(Errno::ERANGE));
                break;
            }
            sem.value = new;
            done = i + 1;
            if op.flags & SEM_UNDO != 0
                && let Some(undo) = &call.undo
            {
                let mut undo = undo.borrow_mut();
                let adjust = undo.entry((self.perm.id, op.num)).or_insert(0);
                *adjust -= i32::from(op.op);
                if !(-SEMVMX - 1..=SEMVMX).contains(adjust) {
                    failed = Some(Failed::Errno(Errno::ERANGE));
                    break;
                }
            }
        }
        let Some(failed) = failed else {
            for op in call.ops.iter() {
                self.sems[usize::from(op.num)].pid = call.pid.0;
            }
            return Ok(());
        };
        for op in call.ops[..done].iter().rev() {
            self.sems[usize::from(op.num)].value -= i32::from(op.op);
            if op.flags & SEM_UNDO != 0
                && let Some(undo) = &call.undo
                && let Some(adjust) = undo.borrow_mut().get_mut(&(self.perm.id, op.num))
            {
                *adjust += i32::from(op.op);
            }
        }
        Err(failed)
    }

    /// Carries out what waits and has become possible: first what waits for zero, as Linux does.
    fn settle(&mut self, now: i64, done: &mut Vec<(u64, ThreadId, Result<(), Errno>)>) {
        loop {
            let mut altered = false;
            for zero in [true, false] {
                let mut i = 0;
                while let Some(waiting) = self.queue.get(i) {
                    let call = waiting.call.clone();
                    if call.alters() == zero {
                        i += 1;
                        continue;
                    }
                    let result = match self.perform(&call) {
                        Ok(()) => Ok(()),
                        Err(Failed::Errno(errno)) => Err(errno),
                        Err(Failed::Waits(at)) => {
                            self.queue[i].blocking = at;
                            i += 1;
                            continue;
                        }
                    };
                    if let Some(waiting) = self.queue.remove(i) {
                        done.push((waiting.ticket, call.tid, result));
                    }
                    if result.is_ok() {
                        self.otime = now;
                        altered |= !zero;
                    }
                    if altered {
                        break;
                    }
                }
                if altered {
                    break;
                }
            }
            if !altered {
                return;
            }
        }
    }
}

/// All sets, and the waiting calls that have come to their end.
#[derive(Default)]
pub struct Sets {
    /// The sets.
    pub ids: Ids<Set>,
    done: BTreeMap<u64, Result<(), Errno>>,
    ticket: u64,
}

impl Sets {
    /// Semaphores of all sets.
    pub fn total(&self) -> usize {
        self.ids.iter().map(|set| set.sems.len()).sum()
    }
}

/// Where a waiting semop stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    id: i32,
    ticket: u64,
}

/// What became of a semop.
pub enum Outcome {
    /// It is over.
    Done(Result<(), Errno>),
    /// It stands in the queue.
    Waits(Place),
}

impl Kernel {
    /// Carries a semop out, or puts it in the queue of its set. The caller has checked the set.
    pub(crate) fn sem_operate(&mut self, id: i32, call: Call) -> Outcome {
        if let Err(errno) = self.sem_undo_fits(&call) {
            return Outcome::Done(Err(errno));
        }
        let now = self.ipc_now();
        let set = match self.ipc.sem.ids.get_mut(id) {
            Ok(set) => set,
            Err(errno) => return Outcome::Done(Err(errno)),
        };
        match set.perform(&call) {
            Ok(()) => {
                set.otime = now;
                if call.alters() {
                    self.sem_settle(id);
                }
                Outcome::Done(Ok(()))
            }
            Err(Failed::Errno(errno)) => Outcome::Done(Err(errno)),
            Err(Failed::Waits(blocking)) => {
                self.ipc.sem.ticket += 1;
                let ticket = self.ipc.sem.ticket;
                set.queue.push_back(Waiting { ticket, call, blocking });
                Outcome::Waits(Place { id, ticket })
            }
        }
    }

    /// The end of a waiting semop, if it has come.
    pub(crate) fn sem_result(&mut self, place: Place) -> Option<Result<(), Errno>> {
        self.ipc.sem.done.remove(&place.ticket)
    }

    /// Takes a semop that was interrupted out of its queue.
    pub(crate) fn leave_sem(&mut self, tid: ThreadId) {
        let Some(place) = self.tasks.thread_mut(tid).and_then(|t| t.restart.sem.take()) else {
            return;
        };
        self.ipc.sem.done.remove(&place.ticket);
        if let Ok(set) = self.ipc.sem.ids.get_mut(place.id) {
            set.queue.retain(|w| w.ticket != place.ticket);
        }
    }

    /// Values of set `id` have changed: wakes those whose call is carried out now.
    pub(crate) fn sem_settle(&mut self, id: i32) {
        let now = self.ipc_now();
        let mut done = Vec::new();
        if let Ok(set) = self.ipc.sem.ids.get_mut(id) {
            set.settle(now, &mut done);
        }
        self.sem_finish(done);
    }

    fn sem_finish(&mut self, done: Vec<(u64, ThreadId, Result<(), Errno>)>) {
        for (ticket, tid, result) in done {
            self.ipc.sem.done.insert(ticket, result);
            self.wakes.borrow_mut().push(WaitKey::thread(tid));
        }
    }

    /// `IPC_RMID`: who waits gets `EIDRM`.
    pub(crate) fn sem_remove(&mut self, id: i32) {
        self.sem_forget_undo(id, None);
        let Some(set) = self.ipc.sem.ids.remove(id) else { return };
        let gone = |w: Waiting| (w.ticket, w.call.tid, Err(Errno::EIDRM));
        self.sem_finish(set.queue.into_iter().map(gone).collect());
    }

    /// Takes the undo values of a set (or of one of its semaphores) out of all lists.
    pub(crate) fn sem_forget_undo(&mut self, id: i32, num: Option<u16>) {
        for thread in self.tasks.threads() {
            if let Some(undo) = &thread.undo {
                undo.borrow_mut().retain(|&(i, n), _| i != id || num.is_some_and(|num| n != num));
            }
        }
    }

    /// Whether the undo values of `call` may be kept: `ENOMEM` when all processes have too many.
    fn sem_undo_fits(&self, call: &Call) -> Result<(), Errno> {
        let Some(undo) = &call.undo else { return Ok(()) };
        if undo.borrow().len() + call.ops.len() <= UNDO_FREE {
            return Ok(());
        }
        let all = self.tasks.threads().filter_map(|t| t.undo.as_ref());
        let total: usize = all.map(|u| u.borrow().len()).sum();
        if total + call.ops.len() > UNDO_MAX { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// A thread ends: the last holder of its undo list carries it out (`exit_sem`).
    pub(crate) fn sem_exit(&mut self, tid: ThreadId) {
        let Some(thread) = self.tasks.thread_mut(tid) else { return };
        let pid = thread.pid;
        let Some(undo) = thread.undo.take().and_then(Rc::into_inner) else { return };
        let now = self.ipc_now();
        let mut sets = Vec::new();
        for ((id, num), adjust) in undo.into_inner() {
            let Ok(set) = self.ipc.sem.ids.get_mut(id) else { continue };
            let Some(sem) = set.sems.get_mut(usize::from(num)).filter(|_| adjust != 0) else {
                continue;
            };
            sem.value = (sem.value + adjust).clamp(0, SEMVMX);
            sem.pid = pid.0;
            set.otime = now;
            if sets.last() != Some(&id) {
                sets.push(id);
            }
        }
        for id in sets {
            self.sem_settle(id);
        }
    }
}
