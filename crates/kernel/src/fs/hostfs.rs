//! Directories of the host (WASI preopens). WASI preview 1 knows neither owners nor permission bits: everything
//! belongs to root with mode 0777, and chmod(2) and chown(2) are accepted without effect.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_APPEND, O_TRUNC};
use mem::{FaultKind, Frame, PAGE_SIZE, Phys};

use super::inode::{DirItem, Inode, InodeRef, Kind, Meta, Names, NewNode, SetAttr};
use super::open_file::{FileOps, OpenFile, seek_to};
use super::{Cx, Dentry, Res, Time, ops};
use crate::host::{HostFd, HostKind, HostOpen, HostStat};
use crate::source::{FrameTrash, MapSource, SourceName, Use};

/// Largest host file that can be mapped, in pages: a mapping is a copy.
const MAX_MAPPED_PAGES: u64 = 1 << 16;

/// A file of a host directory, by its path below the preopened directory.
struct HostInode {
    dev: u64,
    root: HostFd,
    path: RefCell<Vec<u8>>,
    kind: Kind,
}

/// The root of a host directory.
pub fn root(dev: u64, dir: HostFd) -> InodeRef {
    Rc::new(HostInode { dev, root: dir, path: RefCell::default(), kind: Kind::Dir })
}

fn kind_of(kind: HostKind) -> Kind {
    match kind {
        HostKind::File => Kind::File,
        HostKind::Dir => Kind::Dir,
        HostKind::Symlink => Kind::Symlink,
        HostKind::Other => Kind::Socket,
    }
}

impl HostInode {
    fn join(&self, name: &[u8]) -> Vec<u8> {
        let path = self.path.borrow();
        if path.is_empty() { name.to_vec() } else { [&path, &b"/"[..], name].concat() }
    }

    fn stat(&self, cx: &mut Cx) -> Res<HostStat> {
        let path = self.path.borrow().clone();
        cx.host().stat(self.root, &path, false)
    }

    fn child(&self, path: Vec<u8>, kind: Kind) -> InodeRef {
        Rc::new(HostInode { dev: self.dev, root: self.root, path: RefCell::new(path), kind })
    }

    fn open_host(&self, cx: &mut Cx, how: HostOpen) -> Res<HostFd> {
        let path = self.path.borrow().clone();
        let path = if path.is_empty() { b".".to_vec() } else { path };
        cx.host().open(self.root, &path, how)
    }

    /// Runs `f` on the file, opened for the occasion.
    fn with<T>(
        &self,
        cx: &mut Cx,
        write: bool,
        f: impl FnOnce(&mut Cx, HostFd) -> Res<T>,
    ) -> Res<T> {
        let fd = self.open_host(cx, HostOpen { read: !write, write, ..HostOpen::default() })?;
        let result = f(cx, fd);
        cx.host().close(fd);
        result
    }
}

impl Inode for HostInode {
    fn fs_name(&self) -> &'static str {
        "9p"
    }

    fn meta(&self, cx: &mut Cx) -> Res<Meta> {
        let stat = self.stat(cx)?;
        Ok(Meta {
            dev: self.dev,
            ino: stat.ino,
            mode: self.kind.bits() | 0o777,
            nlink: u32::try_from(stat.nlink).unwrap_or(u32::MAX),
            uid: 0,
            gid: 0,
            rdev: 0,
            size: stat.size,
            blocks: stat.size.div_ceil(512),
            atime: Time::from_ns(stat.atime),
            mtime: Time::from_ns(stat.mtime),
            ctime: Time::from_ns(stat.ctime),
            btime: Time::from_ns(stat.ctime),
        })
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn names(&self) -> Names {
        Names::Volatile
    }

    fn lookup(&self, cx: &mut Cx, name: &[u8]) -> Res<InodeRef> {
        if self.kind != Kind::Dir {
            return Err(Errno::ENOTDIR);
        }
        let path = self.join(name);
        let stat = cx.host().stat(self.root, &path, false)?;
        Ok(self.child(path, kind_of(stat.kind)))
    }

    fn list(&self, cx: &mut Cx) -> Res<Vec<DirItem>> {
        let how = HostOpen { read: true, directory: true, ..HostOpen::default() };
        let fd = self.open_host(cx, how)?;
        let entries = cx.host().readdir(fd);
        cx.host().close(fd);
        let mut items: Vec<DirItem> = entries?
            .into_iter()
            .filter(|e| !e.name.contains(&b'/') && !e.name.contains(&0) && !e.name.is_empty())
            .map(|e| DirItem { name: e.name.into(), ino: e.ino, kind: kind_of(e.kind) })
            .collect();
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(items)
    }

    fn create(&self, cx: &mut Cx, name: &[u8], new: &NewNode) -> Res<InodeRef> {
        let path = self.join(name);
        let kind = Kind::of_mode(new.mode);
        match kind {
            Kind::File => {
                let how =
                    HostOpen { write: true, create: true, exclusive: true, ..HostOpen::default() };
                let fd = cx.host().open(self.root, &path, how)?;
                cx.host().close(fd);
            }
            Kind::Dir => cx.host().mkdir(self.root, &path)?,
            Kind::Symlink => cx.host().symlink(new.target, self.root, &path)?,
            _ => return Err(Errno::EPERM),
        }
        Ok(self.child(path, kind))
    }

    fn link(&self, cx: &mut Cx, name: &[u8], target: &InodeRef) -> Res<()> {
        let target = target.clone().as_any().downcast::<HostInode>().map_err(|_| Errno::EXDEV)?;
        let (old, new) = (target.path.borrow().clone(), self.join(name));
        cx.host().link(target.root, &old, self.root, &new)
    }

    fn unlink(&self, cx: &mut Cx, name: &[u8]) -> Res<()> {
        let path = self.join(name);
        cx.host().unlink(self.root, &path)
    }

    fn rmdir(&self, cx: &mut Cx, name: &[u8]) -> Res<()> {
        let path = self.join(name);
        cx.host().rmdir(self.root, &path)
    }

    fn rename(
        &self,
        cx: &mut Cx,
        name: &[u8],
        new_dir: &InodeRef,
        new_name: &[u8],
        exchange: bool,
    ) -> Res<()> {
        if exchange {
            return Err(Errno::EINVAL);
        }
        let to = new_dir.clone().as_any().downcast::<HostInode>().map_err(|_| Errno::EXDEV)?;
        let (old, new) = (self.join(name), to.join(new_name));
        cx.host().rename(self.root, &old, to.root, &new)
    }

    fn read_link(&self, cx: &mut Cx) -> Res<Vec<u8>> {
        let path = self.path.borrow().clone();
        cx.host().readlink(self.root, &path)
    }

    fn set_attr(&self, cx: &mut Cx, attr: &SetAttr) -> Res<()> {
        if let Some(size) = attr.size {
            self.with(cx, true, |cx, fd| cx.host().truncate(fd, size))?;
        }
        if attr.atime.is_some() || attr.mtime.is_some() {
            let path = self.path.borrow().clone();
            let (atime, mtime) = (attr.atime.map(Time::as_ns), attr.mtime.map(Time::as_ns));
            cx.host().utimes(self.root, &path, atime, mtime, false)?;
        }
        Ok(())
    }

    fn read_at(&self, cx: &mut Cx, offset: u64, buf: &mut [u8]) -> Res<usize> {
        if self.kind == Kind::Dir {
            return Err(Errno::EISDIR);
        }
        self.with(cx, false, |cx, fd| read_full(cx, fd, offset, buf))
    }

    fn write_at(&self, cx: &mut Cx, offset: u64, buf: &[u8]) -> Res<usize> {
        self.with(cx, true, |cx, fd| cx.host().write(fd, offset, buf))
    }

    fn map(self: Rc<Self>, cx: &mut Cx, at: &Rc<Dentry>) -> Res<Rc<dyn MapSource>> {
        if self.kind != Kind::File {
            return Err(Errno::ENODEV);
        }
        let meta = self.meta(cx)?;
        let pages = meta.size.div_ceil(PAGE_SIZE as u64);
        if pages > MAX_MAPPED_PAGES {
            return Err(Errno::ENOMEM);
        }
        let name = SourceName { path: at.path(), dev: meta.dev, ino: meta.ino };
        let mut copy = HostCopy { frames: Vec::new(), name, trash: cx.shared.trash.clone() };
        self.with(cx, false, |cx, fd| {
            let mut page = [0; PAGE_SIZE];
            for index in 0..pages {
                page.fill(0);
                read_full(cx, fd, index * PAGE_SIZE as u64, &mut page)?;
                let frame = cx.phys().alloc_for(mem::Purpose::Files).ok_or(Errno::ENOMEM)?;
                copy.frames.push(frame);
                cx.phys().bytes_mut(frame).copy_from_slice(&page);
            }
            Ok(())
        })?;
        Ok(Rc::new(copy))
    }

    fn open(
        self: Rc<Self>,
        cx: &mut Cx,
        _dentry: &Rc<Dentry>,
        flags: u32,
    ) -> Option<Res<Rc<dyn FileOps>>> {
        if self.kind != Kind::File {
            return None;
        }
        let write = ops::wants_write(flags);
        let read = flags & abi::fcntl::O_ACCMODE != abi::fcntl::O_WRONLY;
        let truncate = write && flags & O_TRUNC != 0;
        let fd = self.open_host(cx, HostOpen { read, write, truncate, ..HostOpen::default() });
        let closer = cx.shared.host_closes.clone();
        Some(fd.map(|fd| Rc::new(HostFile { fd, inode: self, closer }) as Rc<dyn FileOps>))
    }
}

/// Reads until `buf` is full or the file ends.
fn read_full(cx: &mut Cx, fd: HostFd, offset: u64, buf: &mut [u8]) -> Res<usize> {
    let mut done = 0;
    while done < buf.len() {
        match cx.host().read(fd, offset + done as u64, &mut buf[done..])? {
            0 => break,
            n => done += n.min(buf.len() - done),
        }
    }
    Ok(done)
}

/// A host file copied for a private or read-only mapping: later changes on either side do not show on the other.
struct HostCopy {
    frames: Vec<Frame>,
    name: SourceName,
    trash: FrameTrash,
}

impl MapSource for HostCopy {
    fn page(&self, _phys: &mut Phys, index: u64, how: Use) -> Result<Frame, FaultKind> {
        if how == (Use::Shared { write: true }) {
            // A write could not reach the host's file.
            return Err(FaultKind::PastEnd);
        }
        let index = usize::try_from(index).map_err(|_| FaultKind::PastEnd)?;
        self.frames.get(index).copied().ok_or(FaultKind::PastEnd)
    }

    fn name(&self) -> SourceName {
        self.name.clone()
    }
}

impl Drop for HostCopy {
    fn drop(&mut self) {
        self.trash.borrow_mut().append(&mut self.frames);
    }
}

/// An open host file.
struct HostFile {
    fd: HostFd,
    inode: Rc<HostInode>,
    closer: Rc<RefCell<Vec<HostFd>>>,
}

impl Drop for HostFile {
    fn drop(&mut self) {
        self.closer.borrow_mut().push(self.fd);
    }
}

impl FileOps for HostFile {
    fn kind_name(&self) -> &'static str {
        "host file"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        let n = self.read_at(cx, file, file.pos.get(), buf)?;
        file.pos.set(file.pos.get() + n as u64);
        Ok(n)
    }

    fn write(&self, cx: &mut Cx, file: &OpenFile, buf: &[u8]) -> Res<usize> {
        let at = match file.flags() & O_APPEND {
            0 => file.pos.get(),
            _ => cx.host().fstat(self.fd)?.size,
        };
        let n = self.write_at(cx, file, at, buf)?;
        file.pos.set(at + n as u64);
        Ok(n)
    }

    fn read_at(&self, cx: &mut Cx, _file: &OpenFile, at: u64, buf: &mut [u8]) -> Res<usize> {
        read_full(cx, self.fd, at, buf)
    }

    fn write_at(&self, cx: &mut Cx, _file: &OpenFile, at: u64, buf: &[u8]) -> Res<usize> {
        cx.host().write(self.fd, at, buf)
    }

    fn seek(&self, cx: &mut Cx, file: &OpenFile, offset: i64, whence: u32) -> Res<u64> {
        let size = cx.host().fstat(self.fd)?.size;
        seek_to(file, offset, whence, size)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn is_pollable(&self) -> bool {
        false
    }

    fn map(&self, cx: &mut Cx, file: &OpenFile) -> Res<Rc<dyn MapSource>> {
        self.inode.clone().map(cx, file.dentry())
    }

    fn sync(&self, cx: &mut Cx, _file: &OpenFile) -> Res<()> {
        cx.host().sync(self.fd)
    }
}
