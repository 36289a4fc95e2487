//! Advisory locks: flock(2), POSIX record locks and open-file-description locks (fcntl(2)).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::InodeRef;
use crate::wait::{WaitKey, WakeSink};

/// Who holds a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A descriptor table (a process), by its owner number.
    Table(u64),
    /// An open file description, by its id.
    File(u64),
}

/// One record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Who holds it.
    pub owner: Owner,
    /// Process id for F_GETLK; -1 for open-file-description locks.
    pub pid: i32,
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// Write lock.
    pub exclusive: bool,
}

impl Range {
    fn conflicts(&self, other: &Range) -> bool {
        self.owner != other.owner
            && self.start <= other.end
            && other.start <= self.end
            && (self.exclusive || other.exclusive)
    }
}

/// One lock, as `/proc/locks` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Of flock(2).
    pub whole: bool,
    /// Holder, -1 if it is a description.
    pub pid: i32,
    /// Write lock.
    pub exclusive: bool,
    /// First byte.
    pub start: u64,
    /// Last byte; the largest number of its kind stands for the end of the file.
    pub end: u64,
    /// Device of the file.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
}

#[derive(Default)]
struct FileLocks {
    /// Device and inode number.
    file: (u64, u64),
    /// flock(2): holder and whether exclusive.
    whole: Vec<(u64, bool)>,
    ranges: Vec<Range>,
}

/// Names a file by its inode's address.
pub type FileKey = usize;

/// All advisory locks. Files are named by their inode's address: an open file keeps its inode.
pub struct LockTable {
    files: RefCell<BTreeMap<FileKey, FileLocks>>,
    key: WaitKey,
}

/// The name of a file here, as long as somebody has it open.
pub fn key_of(inode: &InodeRef) -> FileKey {
    Rc::as_ptr(inode).cast::<()>() as usize
}

impl LockTable {
    /// No locks; `key` is woken when any lock is released.
    pub fn new(key: WaitKey) -> LockTable {
        LockTable { files: RefCell::default(), key }
    }

    /// The key that is woken when any lock is released.
    pub fn key(&self) -> WaitKey {
        self.key
    }

    fn changed(&self, wakes: &WakeSink) {
        wakes.borrow_mut().push(self.key);
    }

    /// flock(2) by open file `file`: `None` unlocks. False when somebody else's lock is in the way; a lock held
    /// before is then lost, as on Linux.
    pub fn flock(&self, wakes: &WakeSink, inode: &InodeRef, file: u64, mode: Option<bool>) -> bool {
        let mut files = self.files.borrow_mut();
        let locks = files.entry(key_of(inode)).or_default();
        let before = locks.whole.len();
        if locks.whole.iter().any(|(holder, ex)| (*holder, Some(*ex)) == (file, mode)) {
            return true;
        }
        locks.whole.retain(|(holder, _)| *holder != file);
        let released = locks.whole.len() != before;
        let free = match mode {
            Some(exclusive) => locks.whole.iter().all(|(_, ex)| !exclusive && !*ex),
            None => true,
        };
        if let (Some(exclusive), true) = (mode, free) {
            locks.whole.push((file, exclusive));
        }
        if released {
            self.changed(wakes);
        }
        free
    }

    /// Says which file `inode` is, for [`LockTable::all`].
    pub fn name(&self, inode: &InodeRef, dev: u64, ino: u64) {
        if let Some(locks) = self.files.borrow_mut().get_mut(&key_of(inode)) {
            locks.file = (dev, ino);
        }
    }

    /// All locks.
    pub fn all(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        for locks in self.files.borrow().values() {
            let (dev, ino) = locks.file;
            for &(_, exclusive) in &locks.whole {
                let end = u64::MAX;
                shown.push(Shown { whole: true, pid: -1, exclusive, start: 0, end, dev, ino });
            }
            for &Range { pid, exclusive, start, end, .. } in &locks.ranges {
                shown.push(Shown { whole: false, pid, exclusive, start, end, dev, ino });
            }
        }
        shown
    }

    /// The first lock that stands against `want` (F_GETLK).
    pub fn conflict(&self, inode: &InodeRef, want: &Range) -> Option<Range> {
        self.conflict_at(key_of(inode), want)
    }

    /// The same for a file by its name here.
    pub fn conflict_at(&self, file: FileKey, want: &Range) -> Option<Range> {
        let files = self.files.borrow();
        let locks = files.get(&file)?;
        locks.ranges.iter().filter(|r| r.conflicts(want)).min_by_key(|r| r.start).copied()
    }

    /// The first lock of `want`'s owner that overlaps it.
    pub fn own(&self, inode: &InodeRef, want: &Range) -> Option<Range> {
        let files = self.files.borrow();
        let ranges = files.get(&key_of(inode))?.ranges.iter();
        let overlaps =
            |r: &&Range| r.owner == want.owner && r.start <= want.end && want.start <= r.end;
        ranges.filter(overlaps).min_by_key(|r| r.start).copied()
    }

    /// Sets (`lock`) or removes a record lock, splitting and joining the owner's others. False on a conflict.
    pub fn set_range(&self, wakes: &WakeSink, inode: &InodeRef, want: Range, lock: bool) -> bool {
        if lock && self.conflict(inode, &want).is_some() {
            return false;
        }
        let mut files = self.files.borrow_mut();
        let locks = files.entry(key_of(inode)).or_default();
        let mut rest = Vec::with_capacity(locks.ranges.len() + 2);
        let mut new = want;
        for range in locks.ranges.drain(..) {
            let overlaps = range.start <= want.end && want.start <= range.end;
            let touches = range.start <= want.end.saturating_add(1)
                && want.start <= range.end.saturating_add(1);
            if range.owner != want.owner {
                rest.push(range);
            } else if lock && touches && range.exclusive == want.exclusive {
                new.start = new.start.min(range.start);
                new.end = new.end.max(range.end);
            } else if overlaps {
                if range.start < want.start {
                    rest.push(Range { end: want.start - 1, ..range });
                }
                if range.end > want.end {
                    rest.push(Range { start: want.end + 1, ..range });
                }
            } else {
                rest.push(range);
            }
        }
        if lock {
            rest.push(new);
        }
        locks.ranges = rest;
        self.changed(wakes);
        true
    }

    /// Descriptor table `owner` closed a descriptor of `inode`: its record locks on it go (fcntl(2)).
    pub fn release_owner(&self, wakes: &WakeSink, owner: u64, inode: &InodeRef) {
        let mut files = self.files.borrow_mut();
        let Some(locks) = files.get_mut(&key_of(inode)) else { return };
        let before = locks.ranges.len();
        locks.ranges.retain(|r| r.owner != Owner::Table(owner));
        if locks.ranges.len() != before {
            self.changed(wakes);
        }
        if locks.ranges.is_empty() && locks.whole.is_empty() {
            files.remove(&key_of(inode));
        }
    }

    /// Open file `file` is gone: its locks go.
    pub fn release_file(&self, wakes: &WakeSink, file: u64) {
        let mut files = self.files.borrow_mut();
        if files.is_empty() {
            return;
        }
        files.retain(|_, locks| {
            let before = locks.ranges.len() + locks.whole.len();
            locks.ranges.retain(|r| r.owner != Owner::File(file));
            locks.whole.retain(|(holder, _)| *holder != file);
            if locks.ranges.len() + locks.whole.len() != before {
                self.changed(wakes);
            }
            !(locks.ranges.is_empty() && locks.whole.is_empty())
        });
    }
}
