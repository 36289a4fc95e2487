//! Inodes of objects outside the tree: pipes, sockets, anonymous inodes. They are shown as `pipe:[7]` or
//! `anon_inode:[eventfd]`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use abi::stat::{ANON_INODE_FS_MAGIC, PIPEFS_MAGIC, SOCKFS_MAGIC};

use super::{FileOps, OpenFile};
use crate::fs::inode::{Inode, Kind, Meta, SetAttr};
use crate::fs::{Cx, Dentry, Mount, Res, Shared};

/// Device number of anonymous objects.
pub const ANON_DEV: u64 = 0xe;

/// The filesystem of objects that are neither pipes nor sockets.
pub const ANON_FS: &str = "anon_inodefs";

struct AnonInode {
    kind: Kind,
    meta: RefCell<Meta>,
}

impl Inode for AnonInode {
    fn fs_name(&self) -> &'static str {
        match self.kind {
            Kind::Fifo => "pipefs",
            Kind::Socket => "sockfs",
            _ => ANON_FS,
        }
    }

    fn meta(&self, _cx: &mut Cx) -> Res<Meta> {
        Ok(*self.meta.borrow())
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn set_attr(&self, cx: &mut Cx, attr: &SetAttr) -> Res<()> {
        let now = cx.now();
        let mut meta = self.meta.borrow_mut();
        if let Some(perm) = attr.perm {
            meta.mode = (meta.mode & !0o7777) | (perm & 0o7777);
        }
        meta.uid = attr.uid.unwrap_or(meta.uid);
        meta.gid = attr.gid.unwrap_or(meta.gid);
        meta.ctime = now;
        Ok(())
    }
}

/// A dentry for a new object, named `class:[N]`.
pub fn dentry(shared: &Rc<Shared>, class: &str, kind: Kind, uid: u32, gid: u32) -> Rc<Dentry> {
    let ino = shared.unique();
    named(&format!("{class}:[{ino}]"), kind, ino, uid, gid)
}

/// A dentry for a new object with this name and inode number.
pub fn named(name: &str, kind: Kind, ino: u64, uid: u32, gid: u32) -> Rc<Dentry> {
    let (mode, magic) = match kind {
        Kind::Fifo => (kind.bits() | 0o600, PIPEFS_MAGIC),
        Kind::Socket => (kind.bits() | 0o777, SOCKFS_MAGIC),
        _ => (0o600, ANON_INODE_FS_MAGIC),
    };
    let meta = Meta { dev: ANON_DEV, ino, mode, nlink: 1, uid, gid, ..Meta::default() };
    let inode = Rc::new(AnonInode { kind, meta: RefCell::new(meta) });
    let mount = Mount {
        id: 0,
        parent: 0,
        dev: ANON_DEV,
        fstype: inode.fs_name(),
        source: String::new(),
        root: String::new(),
        flags: Cell::new(0),
        options: String::new(),
        magic,
    };
    Dentry::root(inode, Rc::new(mount), name.as_bytes())
}

/// An open file of an anonymous inode such as an eventfd, `class` as in `anon_inode:[eventfd]`.
pub fn open(cx: &mut Cx, class: &str, ops: Rc<dyn FileOps>, flags: u32) -> Rc<OpenFile> {
    let shared = cx.shared.clone();
    let name = format!("anon_inode:{class}");
    let dentry = named(&name, Kind::File, ANON_DEV, 0, 0);
    OpenFile::new(&shared, &dentry, ops, flags)
}
