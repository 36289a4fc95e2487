//! inotify(7): who watches which inode, and the events that the VFS reports.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use abi::poll::{IN_ALL_EVENTS, IN_EXCL_UNLINK, IN_IGNORED, IN_ISDIR, IN_ONESHOT, IN_Q_OVERFLOW};

use super::cx::Notifier;
use super::{Dentry, InodeRef, Kind};

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

/// All inotify instances.
#[derive(Default)]
pub struct Watches(RefCell<Vec<Weak<Queue>>>);

impl Watches {
    /// Registers an instance.
    pub fn add(&self, queue: &Rc<Queue>) {
        let mut all = self.0.borrow_mut();
        all.retain(|q| q.strong_count() > 0);
        all.push(Rc::downgrade(queue));
    }

    fn each(&self, f: impl Fn(&Queue)) {
        let queues: Vec<_> = self.0.borrow().iter().filter_map(Weak::upgrade).collect();
        for queue in queues {
            f(&queue);
        }
    }

    /// Something happened to `dentry`: reported to watches on it and on its directory.
    pub fn event(&self, dentry: &Rc<Dentry>, mask: u32) {
        if self.0.borrow().is_empty() {
            return;
        }
        let is_dir = dentry.inode().kind() == Kind::Dir;
        let mask = if is_dir { mask | IN_ISDIR } else { mask };
        if let Some(dir) = dentry.parent() {
            let (name, gone) = (dentry.name(), dentry.is_gone());
            self.each(|q| q.report(dir.inode(), mask, 0, &name, gone));
        }
        self.each(|q| q.report(dentry.inode(), mask, 0, &[], false));
    }

    /// Something happened to the entry `name` of `dir`.
    pub fn entry_event(&self, dir: &Rc<Dentry>, name: &[u8], mask: u32, cookie: u32, is_dir: bool) {
        if self.0.borrow().is_empty() {
            return;
        }
        let mask = if is_dir { mask | IN_ISDIR } else { mask };
        self.each(|q| q.report(dir.inode(), mask, cookie, name, false));
    }

    /// Something happened to `inode` itself; with `last` its watches end.
    pub fn self_event(&self, inode: &InodeRef, mask: u32, last: bool) {
        if self.0.borrow().is_empty() {
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
