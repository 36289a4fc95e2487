//! The name tree: one [`Dentry`] for each name somebody holds, shared by all its holders, so that a rename or removal
//! shows at once in working directories, open files and `/proc/*/fd`. Children are held weakly: the tree costs only
//! what is in use. Each filesystem instance is mounted in one place, so a dentry knows its mount.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use super::{Cx, InodeRef, Kind, Res};

/// A mounted filesystem (what `/proc/self/mountinfo` shows of it).
#[derive(Debug)]
pub struct Mount {
    /// Mount id.
    pub id: u32,
    /// Id of the mount it lies on.
    pub parent: u32,
    /// Device number of its files.
    pub dev: u64,
    /// Filesystem type.
    pub fstype: &'static str,
    /// What is mounted (`overlay`, `tmpfs`, …).
    pub source: String,
    /// Root of the mount within its filesystem, for mountinfo.
    pub root: String,
    /// `ST_*` flags of statfs(2): read-only, nosuid, nodev, noexec, relatime.
    pub flags: Cell<u64>,
    /// Filesystem options, comma separated.
    pub options: String,
    /// Magic number for statfs(2).
    pub magic: u64,
}

/// One name of one inode.
pub struct Dentry {
    parent: RefCell<Option<Rc<Dentry>>>,
    name: RefCell<Box<[u8]>>,
    inode: InodeRef,
    mount: Rc<Mount>,
    children: RefCell<BTreeMap<Box<[u8]>, Weak<Dentry>>>,
    /// The root of a filesystem mounted here.
    mounted: RefCell<Option<Rc<Dentry>>>,
    /// For the root of a mounted filesystem: where it is mounted.
    covers: RefCell<Option<Rc<Dentry>>>,
    gone: Cell<bool>,
    /// A file without a name that may still get one (`O_TMPFILE` without `O_EXCL`).
    pub linkable: Cell<bool>,
}

impl Dentry {
    /// The root of a filesystem, or (with a name such as `pipe:[7]`) an object without a place in the tree.
    pub fn root(inode: InodeRef, mount: Rc<Mount>, name: &[u8]) -> Rc<Dentry> {
        Rc::new(Dentry {
            parent: RefCell::new(None),
            name: RefCell::new(name.into()),
            inode,
            mount,
            children: RefCell::default(),
            mounted: RefCell::default(),
            covers: RefCell::default(),
            gone: Cell::new(false),
            linkable: Cell::new(false),
        })
    }

    /// The dentry for `inode` as `name` in `self`: the one in use, or a new one.
    pub fn child(self: &Rc<Self>, name: &[u8], inode: InodeRef) -> Rc<Dentry> {
        if let Some(child) = self.children.borrow().get(name).and_then(Weak::upgrade)
            && (Rc::ptr_eq(&child.inode, &inode) || child.is_mountpoint())
        {
            return child;
        }
        let child = Rc::new(Dentry {
            parent: RefCell::new(Some(self.clone())),
            name: RefCell::new(name.into()),
            inode,
            mount: self.mount.clone(),
            children: RefCell::default(),
            mounted: RefCell::default(),
            covers: RefCell::default(),
            gone: Cell::new(false),
            linkable: Cell::new(false),
        });
        self.children.borrow_mut().insert(name.into(), Rc::downgrade(&child));
        child
    }

    /// A dentry for an unnamed inode (O_TMPFILE) of the filesystem of `self`: shown as deleted.
    pub fn unnamed(self: &Rc<Self>, name: &[u8], inode: InodeRef) -> Rc<Dentry> {
        let dentry = Dentry::root(inode, self.mount.clone(), name);
        *dentry.parent.borrow_mut() = Some(self.clone());
        dentry.gone.set(true);
        dentry
    }

    /// Its inode.
    pub fn inode(&self) -> &InodeRef {
        &self.inode
    }

    /// The mount it belongs to.
    pub fn mount(&self) -> &Rc<Mount> {
        &self.mount
    }

    /// Its last name.
    pub fn name(&self) -> Box<[u8]> {
        self.name.borrow().clone()
    }

    /// The directory it is in, within its filesystem.
    pub fn parent(&self) -> Option<Rc<Dentry>> {
        self.parent.borrow().clone()
    }

    /// Whether the name was removed.
    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Mounts the filesystem with root `root` here.
    pub fn mount_on(self: &Rc<Self>, root: &Rc<Dentry>) {
        *root.covers.borrow_mut() = Some(self.clone());
        *self.mounted.borrow_mut() = Some(root.clone());
    }

    /// Takes the filesystem with this root from where it was mounted; what was mounted over it comes in its place. Whether
    /// it was mounted at all.
    pub fn unmount(&self) -> bool {
        let Some(below) = self.covers.take() else { return false };
        let above = self.mounted.take();
        if let Some(above) = &above {
            *above.covers.borrow_mut() = Some(below.clone());
        }
        *below.mounted.borrow_mut() = above;
        true
    }

    /// Whether a filesystem is mounted here.
    pub fn is_mountpoint(&self) -> bool {
        self.mounted.borrow().is_some()
    }

    /// Whether it is the root of a filesystem mounted somewhere.
    pub fn is_mount_root(&self) -> bool {
        self.covers.borrow().is_some()
    }

    /// The root of what is mounted here (the last mount wins), or itself.
    pub fn down(self: &Rc<Self>) -> Rc<Dentry> {
        let mut here = self.clone();
        loop {
            let next = here.mounted.borrow().clone();
            match next {
                Some(root) => here = root,
                None => return here,
            }
        }
    }

    /// From the root of a mounted filesystem to the place it covers, in the filesystem below.
    pub fn up(self: &Rc<Self>) -> Rc<Dentry> {
        let mut here = self.clone();
        loop {
            let next = here.covers.borrow().clone();
            match next {
                Some(below) => here = below,
                None => return here,
            }
        }
    }

    /// The directory above, crossing mounts; the root of the tree is its own parent.
    pub fn dotdot(self: &Rc<Self>) -> Rc<Dentry> {
        let here = self.up();
        match here.parent() {
            Some(parent) => parent.down(),
            None => self.clone(),
        }
    }

    /// Records that `name` here was removed (unlink, rmdir, or replaced by a rename).
    pub fn forget_child(&self, name: &[u8]) {
        if let Some(child) = self.children.borrow_mut().remove(name).and_then(|w| w.upgrade()) {
            child.gone.set(true);
        }
    }

    /// The dentry in use for `name`, if any.
    pub fn live_child(&self, name: &[u8]) -> Option<Rc<Dentry>> {
        self.children.borrow().get(name).and_then(Weak::upgrade)
    }

    /// Records that `child` (in use, of this filesystem) is now called `name` in `self`.
    pub fn adopt(self: &Rc<Self>, child: &Rc<Dentry>, name: &[u8]) {
        let old_name = child.name.replace(name.into());
        let old_parent = child.parent.replace(Some(self.clone()));
        if let Some(old) = old_parent {
            let mut children = old.children.borrow_mut();
            let is_child = children
                .get(&old_name)
                .and_then(Weak::upgrade)
                .is_some_and(|c| Rc::ptr_eq(&c, child));
            if is_child {
                children.remove(&old_name);
            }
        }
        child.gone.set(false);
        self.children.borrow_mut().insert(name.into(), Rc::downgrade(child));
    }

    /// Whether `self` is `other` or lies below it, within one filesystem.
    pub fn is_within(self: &Rc<Self>, other: &Rc<Dentry>) -> bool {
        let mut here = self.clone();
        loop {
            if Rc::ptr_eq(&here, other) {
                return true;
            }
            match here.parent() {
                Some(parent) => here = parent,
                None => return false,
            }
        }
    }

    /// The absolute path as seen from `root`, and whether `self` lies below `root` at all (getcwd(2) puts
    /// `(unreachable)` before the path otherwise).
    pub fn path_from(self: &Rc<Self>, root: &Rc<Dentry>) -> (Vec<u8>, bool) {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut here = self.clone();
        let reached = loop {
            let below = here.up();
            if Rc::ptr_eq(&here, root) || Rc::ptr_eq(&below, root) {
                break true;
            }
            match below.parent() {
                Some(parent) => {
                    names.push(below.name());
                    here = parent;
                }
                None => break false,
            }
        };
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        (path, reached)
    }

    /// Whether it is an object outside the tree (`pipe:[7]`).
    pub fn is_anonymous(&self) -> bool {
        self.parent.borrow().is_none() && !self.name.borrow().is_empty()
    }

    /// The path as seen from `root`, with ` (deleted)` where the name is gone, as the links of proc(5) show it.
    pub fn shown_path(self: &Rc<Self>, root: &Rc<Dentry>) -> Vec<u8> {
        if self.is_anonymous() {
            return self.name().into_vec();
        }
        let (mut path, _) = self.path_from(root);
        if self.gone.get() {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }

    /// The path from the root of the tree.
    pub fn path(self: &Rc<Self>) -> Vec<u8> {
        let mut top = self.up();
        while let Some(parent) = top.parent() {
            top = parent.up();
        }
        self.shown_path(&top)
    }

    /// The entry `name` of this directory, in its own filesystem (mounts not crossed).
    pub fn lookup(self: &Rc<Self>, cx: &mut Cx, name: &[u8]) -> Res<Rc<Dentry>> {
        if self.inode.names() == super::inode::Names::Stable
            && let Some(child) = self.live_child(name)
        {
            return Ok(child);
        }
        let inode = self.inode.lookup(cx, name)?;
        let child = self.child(name, inode);
        if self.inode.names() == super::inode::Names::Stable && child.inode.kind() == Kind::Dir {
            cx.shared.remember(&child);
        }
        Ok(child)
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        let name = self.name.borrow().clone();
        let mut next = self.parent.borrow_mut().take().map(|p| (p, name));
        // A loop and not recursion: a chain of parents may be as deep as a program likes.
        while let Some((parent, name)) = next {
            {
                let mut children = parent.children.borrow_mut();
                if children.get(&name).is_some_and(|w| w.strong_count() == 0) {
                    children.remove(&name);
                }
            }
            next = Rc::into_inner(parent).and_then(|dying| {
                let name = dying.name.borrow().clone();
                let above = dying.parent.borrow_mut().take();
                above.map(|p| (p, name))
            });
        }
    }
}
