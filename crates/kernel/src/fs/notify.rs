//! inotify(7): who watches which inode, and the events that the VFS reports.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use abi::fcntl::{DN_ACCESS, DN_ATTRIB, DN_CREATE, DN_DELETE, DN_MODIFY, DN_MULTISHOT, DN_RENAME};
use abi::poll::{
    IN_ACCESS, IN_ALL_EVENTS, IN_ATTRIB, IN_CREATE, IN_DELETE, IN_EXCL_UNLINK, IN_IGNORED,
    IN_ISDIR, IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_ONESHOT, IN_Q_OVERFLOW,
};

use super::cx::Notifier;
use super::owner::{IoSignal, POLL_MSG};
use super::{Dentry, InodeRef, Kind, OpenFile};

/// Events one instance holds before it overflows (`fs.inotify.max_queued_events`).
const MAX_QUEUED: usize = 16384;

/// One queued event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Watch descriptor; -1 for an overflow.
    pub wd: i32,
    /// `IN_*`.
    pub mask: u32,
    /// Joins the two halves of a rename.
    pub cookie: u32,
    /// Name within a watched directory.
    pub name: Box<[u8]>,
}

/// One watch of an instance.
struct Watch {
    inode: InodeRef,
    mask: u32,
}

impl Note {
    fn is_of(&self, table: u64, inode: &InodeRef) -> bool {
        let file = self.file.upgrade();
        self.table == table && file.is_some_and(|f| Rc::ptr_eq(f.dentry().inode(), inode))
    }
}

/// An inotify instance.
pub struct Queue {
    watches: RefCell<BTreeMap<i32, Watch>>,
    next_wd: Cell<i32>,
    /// Events not read yet.
    pub events: RefCell<VecDeque<Event>>,
    /// Woken by each event.
    pub notifier: Notifier,
}

impl Queue {
    /// An instance without watches.
    pub fn new(notifier: Notifier) -> Queue {
        Queue {
            watches: RefCell::default(),
            next_wd: Cell::new(1),
            events: RefCell::default(),
            notifier,
        }
    }

    /// Watches `inode` for `mask`, replacing (or with `add` extending) the watch there is: its descriptor. `None`
    /// with `create` when it is watched already.
    pub fn watch(&self, inode: &InodeRef, mask: u32, add: bool, create: bool) -> Option<i32> {
        let mut watches = self.watches.borrow_mut();
        if let Some((wd, watch)) = watches.iter_mut().find(|(_, w)| Rc::ptr_eq(&w.inode, inode)) {
            if create {
                return None;
            }
            watch.mask = if add { watch.mask | mask } else { mask };
            return Some(*wd);
        }
        let wd = self.next_wd.get();
        self.next_wd.set(wd.wrapping_add(1).max(1));
        watches.insert(wd, Watch { inode: inode.clone(), mask });
        Some(wd)
    }

    /// Removes a watch; false if there is no such one.
    pub fn unwatch(&self, wd: i32) -> bool {
        let found = self.watches.borrow_mut().remove(&wd).is_some();
        if found {
            self.push(Event { wd, mask: IN_IGNORED, cookie: 0, name: Box::default() });
        }
        found
    }

    fn push(&self, event: Event) {
        let mut events = self.events.borrow_mut();
        if events.back() == Some(&event) {
            return;
        }
        if events.len() >= MAX_QUEUED {
            if events.back().is_some_and(|e| e.mask != IN_Q_OVERFLOW) {
                let name = Box::default();
                events.push_back(Event { wd: -1, mask: IN_Q_OVERFLOW, cookie: 0, name });
            }
            return;
        }
        events.push_back(event);
        drop(events);
        self.notifier.wake();
    }

    fn report(&self, inode: &InodeRef, mask: u32, cookie: u32, name: &[u8], unlinked: bool) {
        let mut ended = Vec::new();
        for (wd, watch) in self.watches.borrow().iter() {
            let wanted = watch.mask & mask & IN_ALL_EVENTS != 0;
            let hidden = unlinked && watch.mask & IN_EXCL_UNLINK != 0;
            if Rc::ptr_eq(&watch.inode, inode) && wanted && !hidden {
                self.push(Event { wd: *wd, mask, cookie, name: name.into() });
                if watch.mask & IN_ONESHOT != 0 {
                    ended.push(*wd);
                }
            }
        }
        for wd in ended {
            self.unwatch(wd);
        }
    }

    fn end(&self, inode: &InodeRef) {
        let watches = self.watches.borrow();
        let wds: Vec<i32> = watches
            .iter()
            .filter(|(_, w)| Rc::ptr_eq(&w.inode, inode))
            .map(|(wd, _)| *wd)
            .collect();
        drop(watches);
        for wd in wds {
            self.unwatch(wd);
        }
    }
}

/// One directory note (fcntl(2), F_NOTIFY).
struct Note {
    /// The descriptor table it was made through.
    table: u64,
    file: Weak<OpenFile>,
    events: u32,
}

/// `DN_*` events by the `IN_*` events that they stand for.
const NOTES: [(u32, u32); 6] = [
    (DN_ACCESS, IN_ACCESS),
    (DN_MODIFY, IN_MODIFY),
    (DN_CREATE, IN_CREATE | IN_MOVED_TO),
    (DN_DELETE, IN_DELETE | IN_MOVED_FROM),
    (DN_RENAME, IN_MOVED_FROM),
    (DN_ATTRIB, IN_ATTRIB),
];

/// All inotify instances and directory notes.
#[derive(Default)]
pub struct Watches {
    queues: RefCell<Vec<Weak<Queue>>>,
    notes: RefCell<Vec<Note>>,
    signals: RefCell<Vec<IoSignal>>,
}

impl Watches {
    /// Registers an instance.
    pub fn add(&self, queue: &Rc<Queue>) {
        let mut all = self.queues.borrow_mut();
        all.retain(|q| q.strong_count() > 0);
        all.push(Rc::downgrade(queue));
    }

    fn each(&self, f: impl Fn(&Queue)) {
        let queues: Vec<_> = self.queues.borrow().iter().filter_map(Weak::upgrade).collect();
        for queue in queues {
            f(&queue);
        }
    }

    /// Something happened to `dentry`: reported to watches on it and on its directory.
    pub fn event(&self, dentry: &Rc<Dentry>, mask: u32) {
        if self.is_idle() {
            return;
        }
        let is_dir = dentry.inode().kind() == Kind::Dir;
        let mask = if is_dir { mask | IN_ISDIR } else { mask };
        if let Some(dir) = dentry.parent() {
            let (name, gone) = (dentry.name(), dentry.is_gone());
            self.each(|q| q.report(dir.inode(), mask, 0, &name, gone));
            self.tell_notes(dir.inode(), mask);
        }
        self.each(|q| q.report(dentry.inode(), mask, 0, &[], false));
    }

    /// Something happened to the entry `name` of `dir`.
    pub fn entry_event(&self, dir: &Rc<Dentry>, name: &[u8], mask: u32, cookie: u32, is_dir: bool) {
        if self.is_idle() {
            return;
        }
        let mask = if is_dir { mask | IN_ISDIR } else { mask };
        self.each(|q| q.report(dir.inode(), mask, cookie, name, false));
        self.tell_notes(dir.inode(), mask);
    }

    fn is_idle(&self) -> bool {
        self.queues.borrow().is_empty() && self.notes.borrow().is_empty()
    }

    /// F_NOTIFY: `DN_*` events of the directory `file`, in addition to those asked for through `table` already.
    pub fn note(&self, table: u64, file: &Rc<OpenFile>, events: u32) {
        let mut notes = self.notes.borrow_mut();
        let inode = file.dentry().inode();
        let old = notes.iter_mut().find(|n| n.is_of(table, inode));
        match old {
            Some(note) => {
                note.events |= events;
                note.file = Rc::downgrade(file);
            }
            None => notes.push(Note { table, file: Rc::downgrade(file), events }),
        }
    }

    /// No more notes of `inode` for `table`.
    pub fn unnote(&self, table: u64, inode: &InodeRef) {
        self.notes.borrow_mut().retain(|n| !n.is_of(table, inode));
    }

    /// Whether there are signals to take.
    pub fn has_signals(&self) -> bool {
        !self.signals.borrow().is_empty()
    }

    /// The signals that directory notes have asked for since the last time.
    pub fn take_signals(&self) -> Vec<IoSignal> {
        std::mem::take(&mut *self.signals.borrow_mut())
    }

    fn tell_notes(&self, dir: &InodeRef, mask: u32) {
        self.notes.borrow_mut().retain(|note| {
            let Some(file) = note.file.upgrade() else { return false };
            if !Rc::ptr_eq(file.dentry().inode(), dir) {
                return true;
            }
            let matching =
                NOTES.iter().filter(|(dn, events)| note.events & dn != 0 && mask & events != 0);
            let n = matching.count();
            let signal = IoSignal::of(&file, POLL_MSG);
            self.signals.borrow_mut().extend(std::iter::repeat_n(signal, n));
            n == 0 || note.events & DN_MULTISHOT != 0
        });
    }

    /// Something happened to `inode` itself; with `last` its watches end.
    pub fn self_event(&self, inode: &InodeRef, mask: u32, last: bool) {
        if self.is_idle() {
            return;
        }
        self.each(|q| {
            q.report(inode, mask, 0, &[], false);
            if last {
                q.end(inode);
            }
        });
    }
}
