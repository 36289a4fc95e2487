//! Watches of the host: inotify(7), in all directories below one if so asked.

use std::collections::BTreeMap;
use std::rc::Rc;

use abi::Errno;
use abi::poll::{
    IN_ATTRIB, IN_CLOSE_WRITE, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_IGNORED, IN_ISDIR,
    IN_MODIFY, IN_MOVE_SELF, IN_MOVED_FROM, IN_MOVED_TO, IN_Q_OVERFLOW,
};

use super::files;
use crate::Kernel;
use crate::fs::notify::{Event, Queue};
use crate::fs::{Cred, Cx, Dentry, Kind, PathCx, Res};

/// What is told: changes, not reads.
const CHANGES: u32 = IN_ATTRIB
    | IN_CLOSE_WRITE
    | IN_CREATE
    | IN_DELETE
    | IN_DELETE_SELF
    | IN_MODIFY
    | IN_MOVE_SELF
    | IN_MOVED_FROM
    | IN_MOVED_TO;

/// Most directories of one watch.
const MAX_DIRECTORIES: usize = 8192;

/// One watch of the host.
pub(super) struct Watch {
    queue: Rc<Queue>,
    recursive: bool,
    cred: Cred,
    /// Watched directories, with their paths below the one that was asked for.
    places: BTreeMap<i32, (Vec<u8>, Rc<Dentry>)>,
}

/// What happened: `IN_*` bits, cookie, path below what is watched.
pub type Seen = (u32, u32, Vec<u8>);

impl Kernel {
    /// Begins a watch under a number that is not in use.
    ///
    /// # Errors
    /// As for stat(2); `ENOSPC` for a tree of too many directories.
    pub fn watch(&mut self, number: u32, user: &str, path: &[u8], recursive: bool) -> Res<()> {
        let watch = self.with_files(user, |cx, at: &PathCx| {
            let found = files::find(cx, at, path, true)?;
            let meta = found.inode().meta(cx)?;
            crate::fs::acl::check(cx, found.inode(), &meta, abi::stat::R_OK)?;
            let queue = Rc::new(Queue::new(cx.shared.notifier()));
            cx.shared.watches.add(&queue);
            let (cred, places) = (cx.cred.clone(), BTreeMap::new());
            let mut watch = Watch { queue, recursive, cred, places };
            watch.add(cx, found, Vec::new(), &mut Vec::new())?;
            Ok(watch)
        })?;
        self.attached.watches.insert(number, watch);
        Ok(())
    }

    /// How many watches the host has.
    pub fn watches(&self) -> usize {
        self.attached.watches.len()
    }

    /// Ends a watch.
    ///
    /// # Errors
    /// `EINVAL` if there is none of this number.
    pub fn unwatch(&mut self, number: u32) -> Res<()> {
        self.attached.watches.remove(&number).map(drop).ok_or(Errno::EINVAL)
    }

    /// What watches have seen since the last call, as long as `wants` says that more can be told.
    pub fn seen(&mut self, mut tell: impl FnMut(u32, Seen), mut wants: impl FnMut() -> bool) {
        // Nothing has been seen most of the time.
        if self.attached.watches.values().all(|watch| watch.queue.events.borrow().is_empty()) {
            return;
        }
        let mut watches = std::mem::take(&mut self.attached.watches);
        for (number, watch) in &mut watches {
            let mut cx = Cx::new(self, watch.cred.clone());
            while wants() {
                let Some(event) = watch.queue.events.borrow_mut().pop_front() else { break };
                for seen in watch.judge(&mut cx, event) {
                    tell(*number, seen);
                }
            }
        }
        self.attached.watches = watches;
    }
}

impl Watch {
    /// Watches a file, or a directory and perhaps those below it, of which what is in them is added to `found`.
    fn add(
        &mut self,
        cx: &mut Cx,
        dentry: Rc<Dentry>,
        path: Vec<u8>,
        found: &mut Vec<Seen>,
    ) -> Res<()> {
        let mut left = vec![(dentry, path)];
        while let Some((dentry, path)) = left.pop() {
            if self.places.len() >= MAX_DIRECTORIES {
                return Err(Errno::ENOSPC);
            }
            let wd = self.queue.watch(dentry.inode(), CHANGES, false, false);
            if let Some(wd) = wd {
                self.places.insert(wd, (path.clone(), dentry.clone()));
            }
            if !self.recursive || dentry.inode().kind() != Kind::Dir {
                continue;
            }
            for item in dentry.inode().list(cx)? {
                let below = joined(&path, &item.name);
                let is_dir = item.kind == Kind::Dir;
                let mask = IN_CREATE | if is_dir { IN_ISDIR } else { 0 };
                found.push((mask, 0, below.clone()));
                if is_dir && let Ok(child) = dentry.lookup(cx, &item.name) {
                    left.push((child.down(), below));
                }
            }
        }
        Ok(())
    }

    /// What an event of inotify(7) is to the host.
    fn judge(&mut self, cx: &mut Cx, event: Event) -> Vec<Seen> {
        if event.mask & IN_Q_OVERFLOW != 0 {
            return vec![(IN_Q_OVERFLOW, 0, Vec::new())];
        }
        let Some((place, dir)) = self.places.get(&event.wd).cloned() else { return Vec::new() };
        if event.mask & IN_IGNORED != 0 {
            self.places.remove(&event.wd);
            return Vec::new();
        }
        // Directories below hear of themselves by the one above them.
        if event.name.is_empty() && !place.is_empty() {
            return Vec::new();
        }
        let path = joined(&place, &event.name);
        let mut seen = vec![(event.mask, event.cookie, path.clone())];
        if self.recursive && event.mask & IN_ISDIR != 0 && !event.name.is_empty() {
            if event.mask & IN_MOVED_FROM != 0 {
                self.forget(&path);
            }
            if event.mask & (IN_CREATE | IN_MOVED_TO) != 0
                && let Ok(child) = dir.lookup(cx, &event.name)
                && self.add(cx, child.down(), path, &mut seen).is_err()
            {
                // Something in it is not watched.
                seen.push((IN_Q_OVERFLOW, 0, Vec::new()));
            }
        }
        seen
    }

    /// Ends what is watched at and below a path.
    fn forget(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        let gone = |place: &[u8]| place == path || place.starts_with(&below);
        let wds: Vec<i32> =
            (self.places.iter()).filter(|(_, (place, _))| gone(place)).map(|(wd, _)| *wd).collect();
        for wd in wds {
            self.places.remove(&wd);
            self.queue.unwatch(wd);
        }
    }
}

fn joined(place: &[u8], name: &[u8]) -> Vec<u8> {
    match (place.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => place.to_vec(),
        _ => [place, b"/", name].concat(),
    }
}
