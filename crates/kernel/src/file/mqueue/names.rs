//! The names of POSIX message queues: the filesystem that is mounted at `/dev/mqueue`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use abi::Errno;
use abi::time::RLIMIT_MSGQUEUE;

use super::{Accounts, MqFile, Queue, cost};
use crate::file::FileOps;
use crate::fs::inode::{DirItem, Inode, InodeRef, Kind, Meta, NewNode, SetAttr};
use crate::fs::{Cx, Dentry, Res};

/// Most queues (`/proc/sys/fs/mqueue/queues_max`).
pub const QUEUES_MAX: usize = 256;
/// Most messages and longest message of a queue, as made without attributes and at most (`msg_max`, `msgsize_max`).
pub const DEFAULT: (u64, u64) = (10, 8192);
/// What an entry adds to the directory's size.
const ENTRY_BYTES: u64 = 20;

/// The directory.
pub struct Directory {
    dev: u64,
    meta: RefCell<Meta>,
    entries: RefCell<BTreeMap<Box<[u8]>, Rc<QueueInode>>>,
    accounts: Rc<Accounts>,
    next_ino: Cell<u64>,
}

/// The name of a queue.
struct QueueInode {
    meta: RefCell<Meta>,
    queue: Rc<Queue>,
}

/// The root of a message queue filesystem on device `dev`.
pub fn root(cx: &mut Cx, dev: u64) -> InodeRef {
    let now = cx.now();
    let meta = Meta {
        dev,
        ino: 1,
        mode: Kind::Dir.bits() | 0o1777,
        nlink: 2,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        ..Meta::default()
    };
    Rc::new(Directory {
        dev,
        meta: RefCell::new(meta),
        entries: RefCell::default(),
        accounts: Rc::default(),
        next_ino: Cell::new(2),
    })
}

/// Bytes that the caller's queues may take (`RLIMIT_MSGQUEUE`).
fn limit(cx: &mut Cx) -> u64 {
    cx.world.limit(RLIMIT_MSGQUEUE)
}

impl Directory {
    /// Makes queue `name` of `maxmsg` messages of `msgsize` bytes: `ENOSPC` at too many, `EMFILE` beyond the limit.
    pub fn make(
        &self,
        cx: &mut Cx,
        name: &[u8],
        new: &NewNode,
        (maxmsg, msgsize): (u64, u64),
    ) -> Res<InodeRef> {
        if self.entries.borrow().len() >= QUEUES_MAX {
            return Err(Errno::ENOSPC);
        }
        if self.accounts.used(new.uid).saturating_add(cost(maxmsg, msgsize)) > limit(cx) {
            return Err(Errno::EMFILE);
        }
        let now = cx.now();
        let ino = self.next_ino.get();
        self.next_ino.set(ino + 1);
        let meta = Meta {
            dev: self.dev,
            ino,
            mode: new.mode,
            nlink: 1,
            uid: new.uid,
            gid: new.gid,
            size: 80,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..Meta::default()
        };
        let queue = Rc::new(Queue::new(cx, &self.accounts, new.uid, maxmsg, msgsize));
        let inode = Rc::new(QueueInode { meta: RefCell::new(meta), queue });
        self.entries.borrow_mut().insert(name.into(), inode.clone());
        self.touched(cx);
        Ok(inode)
    }

    fn touched(&self, cx: &mut Cx) {
        let now = cx.now();
        let mut meta = self.meta.borrow_mut();
        (meta.mtime, meta.ctime) = (now, now);
    }
}

fn set_attr(meta: &RefCell<Meta>, cx: &mut Cx, attr: &SetAttr) {
    let now = cx.now();
    let mut meta = meta.borrow_mut();
    if let Some(perm) = attr.perm {
        meta.mode = meta.mode & !0o7777 | perm & 0o7777;
    }
    meta.uid = attr.uid.unwrap_or(meta.uid);
    meta.gid = attr.gid.unwrap_or(meta.gid);
    meta.atime = attr.atime.unwrap_or(meta.atime);
    meta.mtime = attr.mtime.unwrap_or(meta.mtime);
    meta.ctime = now;
}

impl Inode for Directory {
    fn fs_name(&self) -> &'static str {
        "mqueue"
    }

    fn meta(&self, _cx: &mut Cx) -> Res<Meta> {
        let mut meta = *self.meta.borrow();
        meta.size = ENTRY_BYTES * (2 + self.entries.borrow().len() as u64);
        Ok(meta)
    }

    fn kind(&self) -> Kind {
        Kind::Dir
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn lookup(&self, _cx: &mut Cx, name: &[u8]) -> Res<InodeRef> {
        let inode = self.entries.borrow().get(name).cloned().ok_or(Errno::ENOENT)?;
        Ok(inode)
    }

    fn list(&self, _cx: &mut Cx) -> Res<Vec<DirItem>> {
        let entries = self.entries.borrow();
        let mut items = Vec::new();
        for (name, inode) in entries.iter() {
            let ino = inode.meta.borrow().ino;
            items.push(DirItem { name: name.clone(), ino, kind: Kind::File });
        }
        Ok(items)
    }

    fn create(&self, cx: &mut Cx, name: &[u8], new: &NewNode) -> Res<InodeRef> {
        if Kind::of_mode(new.mode) != Kind::File {
            return Err(Errno::EPERM);
        }
        self.make(cx, name, new, DEFAULT)
    }

    fn unlink(&self, cx: &mut Cx, name: &[u8]) -> Res<()> {
        let inode = self.entries.borrow_mut().remove(name).ok_or(Errno::ENOENT)?;
        inode.meta.borrow_mut().nlink = 0;
        self.touched(cx);
        Ok(())
    }

    fn set_attr(&self, cx: &mut Cx, attr: &SetAttr) -> Res<()> {
        set_attr(&self.meta, cx, attr);
        Ok(())
    }
}

impl Inode for QueueInode {
    fn fs_name(&self) -> &'static str {
        "mqueue"
    }

    fn meta(&self, _cx: &mut Cx) -> Res<Meta> {
        Ok(*self.meta.borrow())
    }

    fn kind(&self) -> Kind {
        Kind::File
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn set_attr(&self, cx: &mut Cx, attr: &SetAttr) -> Res<()> {
        if attr.size.is_some_and(|size| size != 0) {
            return Err(Errno::EINVAL);
        }
        set_attr(&self.meta, cx, attr);
        Ok(())
    }

    fn open(
        self: Rc<Self>,
        _cx: &mut Cx,
        _dentry: &Rc<Dentry>,
        _flags: u32,
    ) -> Option<Res<Rc<dyn FileOps>>> {
        Some(Ok(Rc::new(MqFile { queue: self.queue.clone() })))
    }
}
