//! Files in memory, over an optional read-only lower tree: tmpfs, and the box's root (the image with an in-memory
//! upper layer).
//!
//! With a lower tree a node starts as a view of its lower inode and is made when it is first looked up; names removed
//! from a lower directory leave a whiteout, content is copied up page by page ([`pages`]). Inode numbers of lower
//! nodes are those of the image and never change; hard links and renamed lower directories keep working, which
//! overlayfs cannot do without `redirect_dir` and `index`. [`super::export`] reads the difference back.

mod dir;
mod node;
pub mod pages;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

pub use dir::{Entries, Slot};
pub use node::{Body, Node};

use abi::Errno;
use mem::Purpose;

use pages::Quota;

use super::lower::Lower;
use super::{Res, Shared};

/// One filesystem in memory.
pub struct MemFs {
    /// Type name: `tmpfs`, `overlay`, `devtmpfs`…
    pub name: &'static str,
    /// Device number of its files.
    pub dev: u64,
    /// The lower tree.
    pub lower: Option<Lower>,
    /// Whether device numbers and sizes of directories follow tmpfs (20 bytes an entry) or ext4 (4096).
    pub(super) shared: Rc<Shared>,
    next_ino: Cell<u64>,
    /// Nodes made of lower inodes with several names, so that hard links meet. They are held here until their last
    /// name goes: a name that nobody looked up yet must find what was changed through another.
    linked: RefCell<BTreeMap<u64, Rc<Node>>>,
    /// Its own limit, besides that of all files.
    quota: Option<Rc<Quota>>,
}

impl MemFs {
    /// An empty filesystem; its root has permission bits `perm` and belongs to root.
    pub fn tmpfs(
        shared: &Rc<Shared>,
        name: &'static str,
        dev: u64,
        perm: u32,
        now: super::Time,
    ) -> Rc<Node> {
        MemFs::sized_tmpfs(shared, name, dev, perm, now, None)
    }

    /// The same, whose files may have so many pages in all.
    pub fn sized_tmpfs(
        shared: &Rc<Shared>,
        name: &'static str,
        dev: u64,
        perm: u32,
        now: super::Time,
        pages: Option<u64>,
    ) -> Rc<Node> {
        let fs = Rc::new(MemFs {
            name,
            dev,
            lower: None,
            shared: shared.clone(),
            next_ino: Cell::new(1),
            linked: RefCell::default(),
            quota: pages.map(Quota::new),
        });
        Node::new(&fs, super::Kind::Dir.bits() | perm, 0, 0, 0, &[], now)
    }

    /// A view of the image with changes in memory; returns its root.
    pub fn over(shared: &Rc<Shared>, name: &'static str, dev: u64, lower: Lower) -> Res<Rc<Node>> {
        let (root, ino) = (lower.root(), lower.first_free_ino());
        let fs = Rc::new(MemFs {
            name,
            dev,
            lower: Some(lower),
            shared: shared.clone(),
            next_ino: Cell::new(ino),
            linked: RefCell::default(),
            quota: None,
        });
        fs.lower_node(root)
    }

    /// ENOSPC if `bytes` more of inodes and names may not be had.
    fn has_room(&self, bytes: u64) -> Res<()> {
        if self.shared.account.room(Purpose::Files) < bytes {
            self.shared.account.note_refused_file();
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn new_ino(&self) -> u64 {
        let ino = self.next_ino.get();
        self.next_ino.set(ino + 1);
        ino
    }

    /// The node of a lower inode.
    fn lower_node(self: &Rc<Self>, nid: u64) -> Res<Rc<Node>> {
        if let Some(node) = self.linked.borrow().get(&nid) {
            return Ok(node.clone());
        }
        let node = Node::from_lower(self, nid)?;
        if !node.is_dir() && node.meta_cell().nlink > 1 {
            self.linked.borrow_mut().insert(nid, node.clone());
        }
        Ok(node)
    }
}
