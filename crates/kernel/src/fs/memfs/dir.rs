//! Entries of a directory: names made or seen here, over those of the lower directory.

use std::collections::BTreeMap;
use std::rc::Rc;

use abi::Errno;

use mem::Purpose;

use super::node::name_bytes;
use super::{MemFs, Node};
use crate::fs::inode::{DirItem, Inode, InodeRef};
use crate::fs::{Res, Time};

/// What a name stands for.
#[derive(Clone)]
pub enum Slot {
    /// The lower name was removed.
    Whiteout,
    /// The lower entry, looked up before.
    Lower(Rc<Node>),
    /// An entry made here.
    Upper(Rc<Node>),
}

/// Entries of one directory.
pub struct Entries {
    /// Names that were made, removed or looked up here.
    pub slots: BTreeMap<Box<[u8]>, Slot>,
    /// The lower directory whose other names show through.
    pub lower: Option<u64>,
}

impl Entries {
    /// Empty, or a view of lower directory `lower`.
    pub fn new(lower: Option<u64>) -> Entries {
        Entries { slots: BTreeMap::new(), lower }
    }

    /// Entries known in memory (all of them, in a directory without a lower one).
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no entry is known in memory.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Node {
    /// The node called `name` in this directory.
    pub fn find(&self, name: &[u8]) -> Res<Option<Rc<Node>>> {
        let entries = self.entries()?;
        match entries.borrow().slots.get(name) {
            Some(Slot::Whiteout) => return Ok(None),
            Some(Slot::Lower(node) | Slot::Upper(node)) => return Ok(Some(node.clone())),
            None => {}
        }
        let Some(nid) = self.lower_name(name)? else { return Ok(None) };
        let node = self.fs.lower_node(nid)?;
        entries.borrow_mut().slots.insert(name.into(), Slot::Lower(node.clone()));
        Ok(Some(node))
    }

    /// What the lower directory, if there is one, has as `name`.
    pub fn lower_name(&self, name: &[u8]) -> Res<Option<u64>> {
        match (self.entries()?.borrow().lower, &self.fs.lower) {
            (Some(dir), Some(lower)) => lower.lookup(dir, name),
            _ => Ok(None),
        }
    }

    /// All entries: the lower ones that still show, and those made here, in byte order.
    pub fn merged(&self) -> Res<Vec<DirItem>> {
        let entries = self.entries()?.borrow();
        let lower = match (entries.lower, &self.fs.lower) {
            (Some(dir), Some(lower)) => lower.list(dir)?,
            _ => Vec::new(),
        };
        let mut items: Vec<DirItem> =
            lower.into_iter().filter(|i| !entries.slots.contains_key(&i.name)).collect();
        for (name, slot) in &entries.slots {
            if let Slot::Lower(node) | Slot::Upper(node) = slot {
                let ino = node.meta.borrow().ino;
                items.push(DirItem { name: name.clone(), ino, kind: node.kind() });
            }
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(items)
    }

    /// Whether the directory has no entries.
    pub(super) fn is_empty(&self) -> Res<bool> {
        Ok(self.merged()?.is_empty())
    }

    /// Binds `name` to `node` and counts the link.
    pub(super) fn enter(&self, name: &[u8], node: &Rc<Node>, now: Time) -> Res<()> {
        self.entries()?.borrow_mut().slots.insert(name.into(), Slot::Upper(node.clone()));
        self.fs.shared.account.charge(Purpose::Files, name_bytes(name));
        if node.is_dir() {
            self.meta.borrow_mut().nlink += 1;
        } else {
            node.meta.borrow_mut().nlink += 1;
        }
        self.touch(now, true);
        Ok(())
    }

    /// Unbinds `name` from `node` and counts the link off.
    pub(super) fn leave(&self, name: &[u8], node: &Rc<Node>, now: Time) -> Res<()> {
        let covers = self.lower_name(name)?.is_some();
        let mut entries = self.entries()?.borrow_mut();
        let old = if covers {
            entries.slots.insert(name.into(), Slot::Whiteout)
        } else {
            entries.slots.remove(name)
        };
        drop(entries);
        if let Some(Slot::Upper(_)) = old {
            self.fs.shared.account.uncharge(Purpose::Files, name_bytes(name));
        }
        let counted = if node.is_dir() { self.meta.borrow_mut() } else { node.meta.borrow_mut() };
        let mut counted = counted;
        counted.nlink = counted.nlink.saturating_sub(1);
        drop(counted);
        if let (Some(nid), 0) = (node.origin, node.meta.borrow().nlink) {
            self.fs.linked.borrow_mut().remove(&nid);
        }
        self.touch(now, true);
        Ok(())
    }

    /// `inode` as a node of the same filesystem; EXDEV otherwise.
    pub(super) fn same_fs(&self, inode: &InodeRef) -> Res<Rc<Node>> {
        let node = inode.clone().as_any().downcast::<Node>().map_err(|_| Errno::EXDEV)?;
        if Rc::<MemFs>::ptr_eq(&node.fs, &self.fs) { Ok(node) } else { Err(Errno::EXDEV) }
    }
}

impl Node {
    /// Adds an entry that does not count as a change: a place to mount something on.
    pub fn add_mountpoint(&self, name: &[u8], mode: u32, now: Time) -> Res<Rc<Node>> {
        let node = Node::new(&self.fs, mode, 0, 0, 0, &[], now);
        if !node.is_dir() {
            node.meta.borrow_mut().nlink = 1;
        }
        node.changed.set(false);
        self.entries()?.borrow_mut().slots.insert(name.into(), Slot::Lower(node.clone()));
        Ok(node)
    }
}

impl Node {
    /// A regular file without a name in the same filesystem.
    pub fn unnamed_file(&self, perm: u32, uid: u32, gid: u32, now: Time) -> Rc<Node> {
        Node::new(&self.fs, crate::fs::Kind::File.bits() | perm, uid, gid, 0, &[], now)
    }
}
