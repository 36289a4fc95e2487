//! How often each regular file is open, for writing and as a running program; leases on files (fcntl(2), "Leases").

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::fcntl::{F_RDLCK, F_UNLCK, F_WRLCK};

use super::owner::{IoSignal, POLL_MSG};
use super::{Dentry, InodeRef, OpenFile, Res, Shared};
use crate::wait::WaitKey;

/// Nanoseconds that the holder of a lease has to give it up (`fs.lease-break-time`).
const BREAK_TIME: u64 = 45_000_000_000;

/// What is known of one inode while it is open, named by its address.
#[derive(Default)]
struct State {
    opens: u32,
    writers: u32,
    /// Address spaces that run it.
    programs: u32,
    leases: Vec<Lease>,
    /// It has no name any more: its end comes with the last close.
    unlinked: bool,
}

struct Lease {
    holder: Weak<OpenFile>,
    /// `F_RDLCK` or `F_WRLCK`.
    kind: i16,
    /// What it is to become, and when it does so by itself (monotonic ns).
    breaking: Option<(i16, u64)>,
}

/// Who has what open.
pub struct Opens {
    files: RefCell<BTreeMap<usize, State>>,
    key: WaitKey,
}

fn key_of(inode: &InodeRef) -> usize {
    Rc::as_ptr(inode).cast::<()>() as usize
}

impl Opens {
    /// Nothing is open; `key` is woken when a lease is given up.
    pub fn new(key: WaitKey) -> Opens {
        Opens { files: RefCell::default(), key }
    }

    /// The key that is woken when a lease is given up.
    pub fn key(&self) -> WaitKey {
        self.key
    }

    fn change(&self, inode: &InodeRef, f: impl FnOnce(&mut State)) {
        let mut files = self.files.borrow_mut();
        let state = files.entry(key_of(inode)).or_default();
        f(state);
        if state.opens == 0 && state.programs == 0 {
            files.remove(&key_of(inode));
        }
    }

    /// A description of `inode` was made.
    pub fn opened(&self, inode: &InodeRef, writes: bool) {
        self.change(inode, |s| {
            s.opens += 1;
            s.writers += u32::from(writes);
        });
    }

    /// One of those who may write to `inode` does not count any more.
    pub fn forget_writer(&self, inode: &InodeRef) {
        self.change(inode, |s| s.writers = s.writers.saturating_sub(1));
    }

    /// The last name of `inode` is gone: whether it lives on because it is open.
    pub fn unlinked(&self, inode: &InodeRef) -> bool {
        let mut files = self.files.borrow_mut();
        let open = files.get_mut(&key_of(inode)).filter(|s| s.opens > 0);
        open.map(|s| s.unlinked = true).is_some()
    }

    /// The last use of a description of `inode` is gone, and its lease with it. True when that was the end of a file
    /// without a name.
    pub fn closed(&self, shared: &Shared, inode: &InodeRef, writes: bool) -> bool {
        let (mut given_up, mut ended) = (false, false);
        self.change(inode, |s| {
            s.opens = s.opens.saturating_sub(1);
            ended = s.unlinked && s.opens == 0;
            s.writers = s.writers.saturating_sub(u32::from(writes));
            let before = s.leases.len();
            s.leases.retain(|l| l.holder.strong_count() > 0);
            given_up = s.leases.len() != before;
        });
        if given_up {
            shared.wakes.borrow_mut().push(self.key);
        }
        ended
    }

    /// ETXTBSY if a program runs from the file.
    pub fn check_not_running(&self, inode: &InodeRef) -> Res<()> {
        let runs = self.files.borrow().get(&key_of(inode)).is_some_and(|s| s.programs > 0);
        if runs { Err(Errno::ETXTBSY) } else { Ok(()) }
    }

    /// ETXTBSY if the file is open for writing.
    pub fn check_not_written(&self, inode: &InodeRef) -> Res<()> {
        let written = self.files.borrow().get(&key_of(inode)).is_some_and(|s| s.writers > 0);
        if written { Err(Errno::ETXTBSY) } else { Ok(()) }
    }

    /// The kind of lease that `file` has or is to have (F_GETLEASE).
    pub fn lease_of(&self, file: &Rc<OpenFile>) -> i16 {
        let files = self.files.borrow();
        let state = files.get(&key_of(file.dentry().inode()));
        let own = state.and_then(|s| s.leases.iter().find(|l| l.is_of(file)));
        own.map_or(F_UNLCK, |l| l.breaking.map_or(l.kind, |(to, _)| to))
    }

    /// F_SETLEASE: EAGAIN when the file is open in a way that a lease of this kind forbids.
    pub fn set_lease(&self, shared: &Shared, file: &Rc<OpenFile>, kind: i16) -> Res<()> {
        let mut files = self.files.borrow_mut();
        let state = files.get_mut(&key_of(file.dentry().inode())).ok_or(Errno::EINVAL)?;
        let own = state.leases.iter().position(|l| l.is_of(file));
        if kind == F_UNLCK {
            state.leases.remove(own.ok_or(Errno::EAGAIN)?);
            file.owner.set(Default::default());
            shared.wakes.borrow_mut().push(self.key);
            return Ok(());
        }
        let others = state.leases.len() > usize::from(own.is_some());
        let breaking = own.and_then(|at| state.leases.get(at)).and_then(|l| l.breaking);
        let allowed = match kind {
            F_RDLCK => {
                // A lease that is broken may be lowered to what is asked, even while a writer waits.
                let held = state.leases.iter().any(|l| l.kind == F_WRLCK && !l.is_of(file));
                state.writers == 0 && !held && breaking.is_none_or(|(to, _)| to == F_RDLCK)
            }
            _ => state.opens == 1 && !others && breaking.is_none(),
        };
        if !allowed {
            return Err(Errno::EAGAIN);
        }
        match own.and_then(|at| state.leases.get_mut(at)) {
            Some(lease) => (lease.kind, lease.breaking) = (kind, None),
            None => {
                state.leases.push(Lease { holder: Rc::downgrade(file), kind, breaking: None });
            }
        }
        shared.wakes.borrow_mut().push(self.key);
        Ok(())
    }

    /// Somebody wants to open the file at `now` (monotonic ns): tells the holders of leases against it, and gives the
    /// time at which the leases end by themselves. `None` when nothing is in the way.
    pub fn break_leases(
        &self,
        shared: &Shared,
        inode: &InodeRef,
        write: bool,
        now: u64,
    ) -> Option<u64> {
        let mut files = self.files.borrow_mut();
        let state = files.get_mut(&key_of(inode))?;
        state.leases.retain_mut(|lease| match lease.breaking {
            Some((F_UNLCK, end)) => end > now,
            Some((to, end)) if end <= now => {
                (lease.kind, lease.breaking) = (to, None);
                true
            }
            _ => true,
        });
        let mut until = None;
        for lease in &mut state.leases {
            if lease.kind == F_RDLCK && !write {
                continue;
            }
            let to = if write { F_UNLCK } else { F_RDLCK };
            let end = lease.breaking.map_or(now.saturating_add(BREAK_TIME), |(_, end)| end);
            let known = lease.breaking.is_some_and(|(old, _)| old == to || old == F_UNLCK);
            if !known {
                lease.breaking = Some((to, end));
                if let Some(holder) = lease.holder.upgrade() {
                    let signal = IoSignal::of(&holder, POLL_MSG);
                    shared.io_signals.borrow_mut().push(signal);
                }
            }
            until = Some(until.map_or(end, |u: u64| u.min(end)));
        }
        until
    }
}

impl Lease {
    fn is_of(&self, file: &Rc<OpenFile>) -> bool {
        std::ptr::eq(self.holder.as_ptr(), Rc::as_ptr(file))
    }
}

/// A file that an address space runs: nobody may write to it meanwhile (open(2), ETXTBSY).
pub struct Program {
    dentry: Rc<Dentry>,
    shared: Rc<Shared>,
}

impl Program {
    /// Takes hold of the file.
    pub fn new(shared: &Rc<Shared>, dentry: &Rc<Dentry>) -> Rc<Program> {
        shared.opens.change(dentry.inode(), |s| s.programs += 1);
        Rc::new(Program { dentry: dentry.clone(), shared: shared.clone() })
    }

    /// The name it was found by.
    pub fn dentry(&self) -> &Rc<Dentry> {
        &self.dentry
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let fewer = |s: &mut State| s.programs = s.programs.saturating_sub(1);
        self.shared.opens.change(self.dentry.inode(), fewer);
    }
}
