//! One file, directory, link or device in memory.

use std::any::Any;
use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{
    F_SEAL_EXEC, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE,
    FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE,
};
use abi::inode::FS_NOATIME_FL;
use abi::stat::{S_IFMT, S_ISGID, S_ISUID};
use mem::{FaultKind, Frame, PAGE_SIZE, Phys, Purpose};

use super::MemFs;
use super::dir::Entries;
use super::pages::Pages;
use crate::fs::cx::cap;
use crate::fs::inode::{DirItem, Inode, InodeRef, Kind, Meta, NewNode, SetAttr, Xattr};
use crate::fs::lower::LowerData;
use crate::fs::{Cx, Dentry, Res, Time, perm};
use crate::source::{Cut, MapSource, SourceName, Use};

/// Seconds after which relatime renews an access time (mount(8)).
const RELATIME_SECONDS: i64 = 24 * 60 * 60;

/// Bytes that an inode is counted with, besides its content.
const NODE_BYTES: u64 = 512;

/// What a node is.
pub enum Body {
    /// Content of a regular file.
    File(RefCell<Pages>),
    /// Entries of a directory.
    Dir(RefCell<Entries>),
    /// Target of a symbolic link.
    Symlink(Box<[u8]>),
    /// Device, FIFO or socket: the metadata says which.
    Special,
}

type Xattrs = BTreeMap<Box<[u8]>, Vec<u8>>;

/// One inode.
pub struct Node {
    pub(super) fs: Rc<MemFs>,
    pub(super) meta: RefCell<Meta>,
    /// What it is.
    pub body: Body,
    /// The lower inode it started as.
    pub origin: Option<u64>,
    /// Whether metadata, attributes or content differ from the lower inode (access times do not count).
    pub changed: Cell<bool>,
    /// Extended attributes; `None` = still those of the lower inode.
    xattrs: RefCell<Option<Xattrs>>,
    /// How many objects of mappings show it.
    mappings: Cell<u32>,
    /// `FS_*_FL`, which the image has not and layers do not keep.
    flags: Cell<u32>,
    /// `F_SEAL_*`; a file that is no memfd has `F_SEAL_SEAL`.
    pub seals: Cell<u32>,
}

impl Node {
    /// A new node, without a name yet (`nlink` 0; 2 for a directory).
    pub fn new(
        fs: &Rc<MemFs>,
        mode: u32,
        uid: u32,
        gid: u32,
        rdev: u64,
        target: &[u8],
        now: Time,
    ) -> Rc<Node> {
        let (body, nlink, size) = match Kind::of_mode(mode) {
            Kind::File => {
                (Body::File(RefCell::new(Pages::new(LowerData::EMPTY, fs.quota.clone()))), 0, 0)
            }
            Kind::Dir => (Body::Dir(RefCell::new(Entries::new(None))), 2, 0),
            Kind::Symlink => (Body::Symlink(target.into()), 0, target.len() as u64),
            _ => (Body::Special, 0, 0),
        };
        let meta = Meta {
            dev: fs.dev,
            ino: fs.new_ino(),
            mode,
            nlink,
            uid,
            gid,
            rdev,
            size,
            block_size: 0,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
        };
        fs.shared.account.charge(Purpose::Files, NODE_BYTES + target.len() as u64);
        Rc::new(Node {
            fs: fs.clone(),
            meta: RefCell::new(meta),
            body,
            origin: None,
            changed: Cell::new(true),
            xattrs: RefCell::new(Some(Xattrs::new())),
            mappings: Cell::new(0),
            flags: Cell::new(0),
            seals: Cell::new(F_SEAL_SEAL),
        })
    }

    /// Takes up those flags of a directory that what is made in it has, too: all that can be set (`shmem_get_inode`).
    fn inherit_flags(&self, directory: &Node) {
        self.flags.set(directory.flags.get());
    }

    /// A view of lower inode `nid`.
    pub(super) fn from_lower(fs: &Rc<MemFs>, nid: u64) -> Res<Rc<Node>> {
        let lower = fs.lower.as_ref().ok_or(Errno::EIO)?;
        let meta = lower.meta(nid, fs.dev)?;
        let body = match meta.kind() {
            Kind::File => Body::File(RefCell::new(Pages::new(lower.data(nid)?, None))),
            Kind::Dir => Body::Dir(RefCell::new(Entries::new(Some(nid)))),
            Kind::Symlink => Body::Symlink(lower.read_link(nid)?.into()),
            _ => Body::Special,
        };
        Ok(Rc::new(Node {
            fs: fs.clone(),
            meta: RefCell::new(meta),
            body,
            origin: Some(nid),
            changed: Cell::new(false),
            xattrs: RefCell::new(None),
            mappings: Cell::new(0),
            flags: Cell::new(0),
            seals: Cell::new(F_SEAL_SEAL),
        }))
    }

    /// The filesystem it belongs to.
    pub fn filesystem(&self) -> &Rc<MemFs> {
        &self.fs
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir(_))
    }

    /// The metadata as kept (size and blocks of directories and files are computed by [`Inode::meta`]).
    pub fn meta_cell(&self) -> Ref<'_, Meta> {
        self.meta.borrow()
    }

    /// All extended attributes.
    pub fn xattrs(&self) -> Res<Vec<Xattr>> {
        match (&*self.xattrs.borrow(), self.origin, &self.fs.lower) {
            (Some(own), ..) => Ok(own.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
            (None, Some(nid), Some(lower)) => lower.xattrs(nid),
            _ => Ok(Vec::new()),
        }
    }

    /// Records a change: of the content or entries (`content`) or of the metadata only. The loss of a name only moves
    /// `ctime`, which no layer carries.
    pub(super) fn touch(&self, now: Time, content: bool) {
        let mut meta = self.meta.borrow_mut();
        meta.ctime = now;
        if content {
            meta.mtime = now;
        }
        self.changed.set(true);
    }

    /// Bytes that its own attributes are counted with.
    fn xattr_bytes(&self) -> u64 {
        self.xattrs.borrow().as_ref().map_or(0, xattr_bytes)
    }

    fn pages(&self) -> Res<&RefCell<Pages>> {
        match &self.body {
            Body::File(pages) => Ok(pages),
            Body::Dir(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn entries(&self) -> Res<&RefCell<Entries>> {
        match &self.body {
            Body::Dir(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn resize(&self, cx: &mut Cx, size: u64) -> Res<()> {
        let pages = self.pages()?;
        let old = self.meta.borrow().size;
        if size > i64::MAX as u64 {
            return Err(Errno::EFBIG);
        }
        let seals = self.seals.get();
        if (size < old && seals & F_SEAL_SHRINK != 0) || (size > old && seals & F_SEAL_GROW != 0) {
            return Err(Errno::EPERM);
        }
        if size < old {
            pages.borrow_mut().truncate(cx.phys(), size);
            self.cut(cx, size, u64::MAX, true);
        }
        self.meta.borrow_mut().size = size;
        let now = cx.now();
        self.touch(now, true);
        Ok(())
    }

    /// Tells that the bytes `start .. end` are gone, if the file is mapped.
    fn cut(&self, cx: &mut Cx, start: u64, end: u64, copies: bool) {
        if self.mappings.get() == 0 {
            return;
        }
        let meta = self.meta.borrow();
        let page = PAGE_SIZE as u64;
        let (partial, end) = (!start.is_multiple_of(page), end / page);
        let object = (meta.dev, meta.ino);
        let cut = Cut { object, first: start / page, partial, end, copies };
        cx.shared.cuts.borrow_mut().push(cut);
    }

    fn drop_suid(&self, cx: &Cx) {
        let mut meta = self.meta.borrow_mut();
        if meta.mode & (S_ISUID | S_ISGID) != 0 && !cx.cred.capable(cap::FSETID) {
            meta.mode = perm::without_suid(meta.mode);
        }
    }
}

impl Inode for Node {
    fn fs_name(&self) -> &'static str {
        self.fs.name
    }

    fn room(&self) -> Option<(u64, u64)> {
        let (free, all) = self.fs.quota.as_ref()?.room();
        Some((free * PAGE_SIZE as u64, all.saturating_mul(PAGE_SIZE as u64)))
    }

    fn meta(&self, _cx: &mut Cx) -> Res<Meta> {
        let mut meta = *self.meta.borrow();
        match &self.body {
            Body::File(pages) => meta.blocks = pages.borrow().blocks(),
            Body::Dir(_) if self.fs.lower.is_some() => (meta.size, meta.blocks) = (4096, 8),
            Body::Dir(entries) => meta.size = 40 + 20 * entries.borrow().len() as u64,
            _ => {}
        }
        Ok(meta)
    }

    fn kind(&self) -> Kind {
        match &self.body {
            Body::File(_) => Kind::File,
            Body::Dir(_) => Kind::Dir,
            Body::Symlink(_) => Kind::Symlink,
            Body::Special => Kind::of_mode(self.meta.borrow().mode),
        }
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn lookup(&self, _cx: &mut Cx, name: &[u8]) -> Res<InodeRef> {
        Ok(self.find(name)?.ok_or(Errno::ENOENT)?)
    }

    fn list(&self, _cx: &mut Cx) -> Res<Vec<DirItem>> {
        self.merged()
    }

    fn create(&self, cx: &mut Cx, name: &[u8], new: &NewNode) -> Res<InodeRef> {
        self.entries()?;
        if self.meta.borrow().nlink == 0 {
            return Err(Errno::ENOENT);
        }
        self.fs.has_room(NODE_BYTES + (name.len() + new.target.len()) as u64)?;
        let now = cx.now();
        let node = Node::new(&self.fs, new.mode, new.uid, new.gid, new.rdev, new.target, now);
        node.inherit_flags(self);
        self.enter(name, &node, now)?;
        Ok(node)
    }

    fn create_unnamed(&self, cx: &mut Cx, new: &NewNode) -> Res<InodeRef> {
        self.entries()?;
        self.fs.has_room(NODE_BYTES)?;
        let now = cx.now();
        let node = Node::new(&self.fs, new.mode, new.uid, new.gid, new.rdev, new.target, now);
        node.inherit_flags(self);
        Ok(node)
    }

    fn link(&self, cx: &mut Cx, name: &[u8], target: &InodeRef) -> Res<()> {
        let node = self.same_fs(target)?;
        if node.is_dir() {
            return Err(Errno::EPERM);
        }
        if self.meta.borrow().nlink == 0 {
            return Err(Errno::ENOENT);
        }
        self.fs.has_room(name_bytes(name))?;
        let now = cx.now();
        self.enter(name, &node, now)?;
        node.touch(now, false);
        Ok(())
    }

    fn unlink(&self, cx: &mut Cx, name: &[u8]) -> Res<()> {
        let node = self.find(name)?.ok_or(Errno::ENOENT)?;
        if node.is_dir() {
            return Err(Errno::EISDIR);
        }
        let now = cx.now();
        self.leave(name, &node, now)?;
        node.meta.borrow_mut().ctime = now;
        Ok(())
    }

    fn rmdir(&self, cx: &mut Cx, name: &[u8]) -> Res<()> {
        let node = self.find(name)?.ok_or(Errno::ENOENT)?;
        if !node.is_empty()? {
            return Err(Errno::ENOTEMPTY);
        }
        let now = cx.now();
        self.leave(name, &node, now)?;
        node.meta.borrow_mut().nlink = 0;
        node.meta.borrow_mut().ctime = now;
        Ok(())
    }

    fn rename(
        &self,
        cx: &mut Cx,
        name: &[u8],
        new_dir: &InodeRef,
        new_name: &[u8],
        exchange: bool,
    ) -> Res<()> {
        let new_dir = self.same_fs(new_dir)?;
        let node = self.find(name)?.ok_or(Errno::ENOENT)?;
        let target = new_dir.find(new_name)?;
        let now = cx.now();
        match target {
            Some(other) if exchange => {
                self.leave(name, &node, now)?;
                new_dir.leave(new_name, &other, now)?;
                self.enter(name, &other, now)?;
                new_dir.enter(new_name, &node, now)?;
                other.meta.borrow_mut().ctime = now;
            }
            Some(other) => {
                if other.is_dir() && !other.is_empty()? {
                    return Err(Errno::ENOTEMPTY);
                }
                if new_dir.meta.borrow().nlink == 0 {
                    return Err(Errno::ENOENT);
                }
                new_dir.leave(new_name, &other, now)?;
                if other.is_dir() {
                    other.meta.borrow_mut().nlink = 0;
                }
                other.meta.borrow_mut().ctime = now;
                self.leave(name, &node, now)?;
                new_dir.enter(new_name, &node, now)?;
            }
            None if exchange => return Err(Errno::ENOENT),
            None => {
                if new_dir.meta.borrow().nlink == 0 {
                    return Err(Errno::ENOENT);
                }
                self.leave(name, &node, now)?;
                new_dir.enter(new_name, &node, now)?;
            }
        }
        node.meta.borrow_mut().ctime = now;
        Ok(())
    }

    fn read_link(&self, _cx: &mut Cx) -> Res<Vec<u8>> {
        match &self.body {
            Body::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn set_attr(&self, cx: &mut Cx, attr: &SetAttr) -> Res<()> {
        if let Some(size) = attr.size {
            self.resize(cx, size)?;
        }
        let now = cx.now();
        let mut meta = self.meta.borrow_mut();
        if let Some(perm) = attr.perm {
            if self.seals.get() & F_SEAL_EXEC != 0 && (meta.mode ^ perm) & 0o111 != 0 {
                return Err(Errno::EPERM);
            }
            meta.mode = (meta.mode & S_IFMT) | (perm & 0o7777);
        }
        meta.uid = attr.uid.unwrap_or(meta.uid);
        meta.gid = attr.gid.unwrap_or(meta.gid);
        meta.atime = attr.atime.unwrap_or(meta.atime);
        meta.mtime = attr.mtime.unwrap_or(meta.mtime);
        meta.ctime = now;
        self.changed.set(true);
        Ok(())
    }

    fn flags(&self) -> Option<u32> {
        Some(self.flags.get())
    }

    fn set_flags(&self, cx: &mut Cx, flags: u32) -> Res<()> {
        self.flags.set(flags);
        self.meta.borrow_mut().ctime = cx.now();
        Ok(())
    }

    fn touch_atime(&self, cx: &mut Cx) {
        if self.flags.get() & FS_NOATIME_FL != 0 {
            return;
        }
        let now = cx.now();
        let mut meta = self.meta.borrow_mut();
        let old = meta.atime.sec.saturating_add(RELATIME_SECONDS) <= now.sec;
        if meta.atime <= meta.mtime || meta.atime <= meta.ctime || old {
            meta.atime = now;
        }
    }

    fn read_at(&self, cx: &mut Cx, offset: u64, buf: &mut [u8]) -> Res<usize> {
        let pages = self.pages()?;
        let size = self.meta.borrow().size;
        let n = size.saturating_sub(offset).min(buf.len() as u64) as usize;
        pages.borrow().read(cx.phys(), offset, &mut buf[..n])?;
        Ok(n)
    }

    fn write_at(&self, cx: &mut Cx, offset: u64, buf: &[u8]) -> Res<usize> {
        let pages = self.pages()?;
        let end = offset.checked_add(buf.len() as u64).filter(|e| *e <= i64::MAX as u64);
        let end = end.ok_or(Errno::EFBIG)?;
        let seals = self.seals.get();
        let size = self.meta.borrow().size;
        if seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        // A file that may not grow takes what fits.
        let fits = match seals & F_SEAL_GROW != 0 && end > size {
            true => size.checked_sub(offset).filter(|n| *n > 0).ok_or(Errno::EPERM)?,
            false => buf.len() as u64,
        };
        let n = pages.borrow_mut().write(cx.phys(), offset, &buf[..fits as usize])?;
        self.drop_suid(cx);
        let now = cx.now();
        let mut meta = self.meta.borrow_mut();
        meta.size = meta.size.max(offset + n as u64);
        drop(meta);
        self.touch(now, true);
        Ok(n)
    }

    fn allocate(&self, cx: &mut Cx, mode: u32, offset: u64, len: u64) -> Res<()> {
        let pages = self.pages()?;
        let end = offset.checked_add(len).filter(|e| *e <= i64::MAX as u64).ok_or(Errno::EFBIG)?;
        let size = self.meta.borrow().size;
        let seals = self.seals.get();
        let keep = mode & FALLOC_FL_KEEP_SIZE != 0;
        match mode & !FALLOC_FL_KEEP_SIZE {
            0 => {}
            FALLOC_FL_PUNCH_HOLE if keep => {
                if seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
                    return Err(Errno::EPERM);
                }
                pages.borrow_mut().punch(
                    cx.phys(),
                    offset,
                    end.min(size.next_multiple_of(4096)),
                )?;
            }
            FALLOC_FL_ZERO_RANGE if self.fs.lower.is_some() => {
                pages.borrow_mut().punch(
                    cx.phys(),
                    offset,
                    end.min(size.next_multiple_of(4096)),
                )?;
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        if mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) != 0 {
            self.cut(cx, offset.next_multiple_of(PAGE_SIZE as u64), end, false);
        }
        if !keep && end > size {
            if seals & F_SEAL_GROW != 0 {
                return Err(Errno::EPERM);
            }
            self.meta.borrow_mut().size = end;
        }
        let now = cx.now();
        self.touch(now, true);
        Ok(())
    }

    fn seek_data(&self, _cx: &mut Cx, offset: u64, hole: bool) -> Res<u64> {
        let size = self.meta.borrow().size;
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        self.pages()?.borrow().seek(offset, size, hole)
    }

    fn map(self: Rc<Self>, _cx: &mut Cx, at: &Rc<Dentry>) -> Res<Rc<dyn MapSource>> {
        let Body::File(_) = &self.body else { return Err(Errno::ENODEV) };
        self.mappings.set(self.mappings.get() + 1);
        Ok(Rc::new(FileMapping { node: self, at: at.clone() }))
    }

    fn seals(&self) -> Option<&Cell<u32>> {
        // tmpfs has seals, overlayfs has none.
        let tmpfs = self.fs.lower.is_none() && matches!(self.body, Body::File(_));
        tmpfs.then_some(&self.seals)
    }

    fn get_xattr(&self, _cx: &mut Cx, name: &[u8]) -> Res<Option<Vec<u8>>> {
        if self.origin.is_some() || self.xattrs.borrow().as_ref().is_some_and(|x| !x.is_empty()) {
            return Ok(self.xattrs()?.into_iter().find(|(n, _)| **n == *name).map(|(_, v)| v));
        }
        Ok(None)
    }

    fn set_xattr(&self, cx: &mut Cx, name: &[u8], value: Option<&[u8]>) -> Res<()> {
        let mut all: Xattrs = self.xattrs()?.into_iter().collect();
        match value {
            Some(value) => all.insert(name.into(), value.to_vec()),
            None => Some(all.remove(name).ok_or(Errno::ENODATA)?),
        };
        let (old, new) = (self.xattr_bytes(), xattr_bytes(&all));
        self.fs.has_room(new.saturating_sub(old))?;
        self.fs.shared.account.charge(Purpose::Files, new);
        self.fs.shared.account.uncharge(Purpose::Files, old);
        *self.xattrs.borrow_mut() = Some(all);
        let now = cx.now();
        self.touch(now, false);
        Ok(())
    }

    fn list_xattr(&self, _cx: &mut Cx) -> Res<Vec<Box<[u8]>>> {
        let mut names: Vec<_> = self.xattrs()?.into_iter().map(|(name, _)| name).collect();
        names.sort();
        Ok(names)
    }
}

/// A mapping of a file in memory.
struct FileMapping {
    node: Rc<Node>,
    at: Rc<Dentry>,
}

impl MapSource for FileMapping {
    fn page(&self, phys: &mut Phys, index: u64, how: Use) -> Result<Frame, FaultKind> {
        let Body::File(pages) = &self.node.body else { return Err(FaultKind::PastEnd) };
        let start = index.checked_mul(PAGE_SIZE as u64).ok_or(FaultKind::PastEnd)?;
        if start >= self.node.meta.borrow().size {
            return Err(FaultKind::PastEnd);
        }
        let mut pages = pages.borrow_mut();
        let frame = match how {
            Use::Private => pages.private_frame(phys, index),
            Use::Shared { write } => {
                self.node.changed.set(self.node.changed.get() || write);
                pages.own_frame(phys, index)
            }
        };
        // No room on the file system, or the bytes cannot be had: SIGBUS, as on a full tmpfs or a broken disk.
        frame.map_err(|_| FaultKind::PastEnd)
    }

    fn identity(&self) -> (u64, u64) {
        let meta = self.node.meta.borrow();
        (meta.dev, meta.ino)
    }

    fn is_resident(&self, index: u64) -> bool {
        index < self.node.meta.borrow().size.div_ceil(PAGE_SIZE as u64)
    }

    fn punch(&self, phys: &mut Phys, start: u64, end: u64) -> Result<(), Errno> {
        let Body::File(pages) = &self.node.body else { return Err(Errno::EINVAL) };
        if self.node.seals.get() & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        let size = self.node.meta.borrow().size.next_multiple_of(PAGE_SIZE as u64);
        self.node.changed.set(true);
        pages.borrow_mut().punch(phys, start, end.min(size))
    }

    fn name(&self) -> SourceName {
        let meta = self.node.meta.borrow();
        SourceName { path: self.at.path(), dev: meta.dev, ino: meta.ino }
    }
}

/// Bytes that a name is counted with.
pub(super) fn name_bytes(name: &[u8]) -> u64 {
    64 + name.len() as u64
}

/// Bytes that attributes are counted with.
fn xattr_bytes(all: &Xattrs) -> u64 {
    all.iter().map(|(name, value)| name_bytes(name) + value.len() as u64).sum()
}

impl Drop for FileMapping {
    fn drop(&mut self) {
        self.node.mappings.set(self.node.mappings.get().saturating_sub(1));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.origin.is_none() {
            let target = if let Body::Symlink(target) = &self.body { target.len() } else { 0 };
            self.fs.shared.account.uncharge(Purpose::Files, NODE_BYTES + target as u64);
        }
        let attributes = self.xattr_bytes();
        self.fs.shared.account.uncharge(Purpose::Files, attributes);
        if let Body::File(pages) = &mut self.body {
            let mut trash = self.fs.shared.trash.borrow_mut();
            trash.extend(pages.get_mut().take_frames());
        }
    }
}
