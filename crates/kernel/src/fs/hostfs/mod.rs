//! Directories of the host, as a bind mount shows them as far as the host goes.
//!
//! WASI preview 1 knows neither owners nor permission bits nor special files. A host that does (`Host::set_perm` …) keeps
//! them; with others the kernel keeps what programs set for the life of the box: files that the host had belong to root
//! with mode 0777.
//!
//! An inode is one object as long as somebody holds it, whatever it is called: locks, mappings and working directories
//! stay with it when it is renamed. It knows the path by which it was last seen.

mod cache;
mod file;

pub use cache::save_all;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::fcntl::O_TRUNC;

use super::inode::{DirItem, Inode, InodeRef, Kind, Meta, Names, NewNode, SetAttr};
use super::{Cx, Dentry, FileOps, Res, Time, ops};
use crate::host::{HostFd, HostKind, HostOpen, HostStat};
use crate::source::MapSource;
use cache::{OpenHost, PageCache};
use file::HostFile;

/// What a host file is known by: device and inode. A host that has no inode numbers (0) gives its files no identity.
type Key = (u64, u64);

/// One host directory.
struct HostFs {
    dev: u64,
    root: HostFd,
    live: RefCell<BTreeMap<Key, Weak<HostInode>>>,
    /// Attributes that the host does not keep.
    kept: RefCell<BTreeMap<Key, Kept>>,
    /// FIFOs and sockets that the host does not keep, by path.
    special: RefCell<BTreeMap<Vec<u8>, Rc<HostInode>>>,
}

/// Attributes that programs have set and the host refused.
#[derive(Clone, Copy, Default)]
struct Kept {
    perm: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// A file of a host directory.
struct HostInode {
    fs: Rc<HostFs>,
    key: Key,
    kind: Kind,
    /// Path below the directory, empty for itself.
    path: RefCell<Vec<u8>>,
    /// The path is another file's by now, or nobody's.
    gone: Cell<bool>,
    /// The attributes as last seen.
    last: Cell<HostStat>,
    /// Descriptors that are open on it.
    open: RefCell<Vec<Weak<OpenHost>>>,
    /// Its pages, while it is mapped.
    cache: RefCell<Weak<PageCache>>,
}

/// The root of a host directory.
pub fn root(dev: u64, dir: HostFd) -> InodeRef {
    let fs = HostFs {
        dev,
        root: dir,
        live: RefCell::default(),
        kept: RefCell::default(),
        special: RefCell::default(),
    };
    let stat = HostStat { kind: HostKind::Dir, ..HostStat::default() };
    Rc::new(HostInode::new(&Rc::new(fs), Vec::new(), stat))
}

/// The number that programs see of a file: the host's, or one made of the path where the host has none. Programs take 0 for
/// no entry at all, and files with one number for the same.
fn shown(ino: u64, path: &[u8]) -> u64 {
    if ino != 0 {
        return ino;
    }
    // FNV-1a, away from the numbers that hosts give.
    let hash = path.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash | 1 << 62
}

fn kind_of(kind: HostKind) -> Kind {
    match kind {
        HostKind::File => Kind::File,
        HostKind::Dir => Kind::Dir,
        HostKind::Symlink => Kind::Symlink,
        HostKind::Fifo => Kind::Fifo,
        HostKind::Other => Kind::Socket,
    }
}

impl HostFs {
    /// The inode at `path`, which has these attributes.
    fn inode(self: &Rc<Self>, path: Vec<u8>, stat: HostStat) -> Rc<HostInode> {
        let key = (stat.dev, stat.ino);
        let known = self.live.borrow().get(&key).and_then(Weak::upgrade);
        if let Some(inode) = known
            && stat.ino != 0
            && inode.kind == kind_of(stat.kind)
            && (!inode.gone.get() || stat.nlink > 1)
        {
            *inode.path.borrow_mut() = path;
            inode.gone.set(false);
            inode.last.set(stat);
            return inode;
        }
        let inode = Rc::new(HostInode::new(self, path, stat));
        let mut live = self.live.borrow_mut();
        if live.len() > 64 && live.len().is_power_of_two() {
            live.retain(|_, inode| inode.strong_count() > 0);
        }
        if stat.ino != 0 {
            live.insert(key, Rc::downgrade(&inode));
        }
        inode
    }

    /// Lets `f` look at every inode in use.
    fn each(&self, f: impl Fn(&HostInode)) {
        let live: Vec<Rc<HostInode>> =
            self.live.borrow().values().filter_map(Weak::upgrade).collect();
        live.iter().for_each(|inode| f(inode));
    }

    /// The name `path` was removed.
    fn removed(&self, path: &[u8]) {
        self.each(|inode| {
            if *inode.path.borrow() == path {
                inode.gone.set(true);
                let mut last = inode.last.get();
                last.nlink = last.nlink.saturating_sub(1);
                if inode.kind == Kind::Dir {
                    last.nlink = 0;
                }
                inode.last.set(last);
                if last.nlink == 0 {
                    self.kept.borrow_mut().remove(&inode.key);
                }
            }
        });
    }

    /// `old` is called `new` now, with everything below it.
    fn moved(&self, old: &[u8], new: &[u8]) {
        self.each(|inode| {
            let mut path = inode.path.borrow_mut();
            if let Some(rest) = path.strip_prefix(old)
                && (rest.is_empty() || rest.starts_with(b"/"))
            {
                *path = [new, rest].concat();
            }
        });
        let mut special = self.special.borrow_mut();
        let inside = |path: &Vec<u8>| {
            path.strip_prefix(old).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let paths: Vec<Vec<u8>> = special.keys().filter(|path| inside(path)).cloned().collect();
        for path in paths {
            if let Some(inode) = special.remove(&path) {
                let to = [new, path.get(old.len()..).unwrap_or_default()].concat();
                inode.path.borrow_mut().clone_from(&to);
                special.insert(to, inode);
            }
        }
    }

    /// Remembers what the host does not.
    fn keep(&self, key: Key, change: impl FnOnce(&mut Kept)) {
        change(self.kept.borrow_mut().entry(key).or_default());
    }
}

impl HostInode {
    fn new(fs: &Rc<HostFs>, path: Vec<u8>, stat: HostStat) -> HostInode {
        HostInode {
            fs: fs.clone(),
            key: (stat.dev, stat.ino),
            kind: kind_of(stat.kind),
            path: RefCell::new(path),
            gone: Cell::new(false),
            last: Cell::new(stat),
            open: RefCell::default(),
            cache: RefCell::default(),
        }
    }

    fn join(&self, name: &[u8]) -> Vec<u8> {
        let path = self.path.borrow();
        if path.is_empty() { name.to_vec() } else { [&path, &b"/"[..], name].concat() }
    }

    /// Its path, as long as it has one.
    fn place(&self) -> Res<Vec<u8>> {
        if self.gone.get() { Err(Errno::ENOENT) } else { Ok(self.path.borrow().clone()) }
    }

    /// Whether it exists in the kernel alone.
    fn is_special(&self) -> bool {
        self.fs.special.borrow().get(&*self.path.borrow()).is_some_and(|i| std::ptr::eq(&**i, self))
    }

    fn stat(&self, cx: &mut Cx) -> Res<HostStat> {
        let stat = match (self.gone.get(), self.find_open(|_| true)) {
            (false, _) => {
                let path = self.path.borrow().clone();
                cx.host().stat(self.fs.root, &path, false)?
            }
            (true, Some(open)) => {
                let stat = cx.host().fstat(open.fd)?;
                let last = self.last.get();
                HostStat { dev: last.dev, ino: last.ino, unix: last.unix, ..stat }
            }
            (true, None) => self.last.get(),
        };
        self.last.set(stat);
        Ok(stat)
    }

    fn open_host(&self, cx: &mut Cx, how: HostOpen) -> Res<HostFd> {
        let path = self.place()?;
        let path = if path.is_empty() { b".".to_vec() } else { path };
        cx.host().open(self.fs.root, &path, how)
    }

    /// A descriptor that is open on it.
    fn find_open(&self, fits: impl Fn(&OpenHost) -> bool) -> Option<Rc<OpenHost>> {
        self.open.borrow().iter().filter_map(Weak::upgrade).find(|open| fits(open))
    }

    /// Opens it; the descriptor is found by [`HostInode::find_open`] from now on.
    fn open_shared(&self, cx: &mut Cx, how: HostOpen) -> Res<Rc<OpenHost>> {
        let fd = self.open_host(cx, how)?;
        let open = OpenHost::new(cx, fd, how.read, how.write);
        let mut all = self.open.borrow_mut();
        all.retain(|open| open.strong_count() > 0);
        all.push(Rc::downgrade(&open));
        Ok(open)
    }

    /// A descriptor that can be read and, if possible, written.
    fn for_mapping(&self, cx: &mut Cx) -> Res<Rc<OpenHost>> {
        let how = HostOpen { read: true, write: true, ..HostOpen::default() };
        self.find_open(|open| open.read && open.write)
            .or_else(|| self.open_shared(cx, how).ok())
            .or_else(|| self.find_open(|open| open.read))
            .map_or_else(|| self.open_shared(cx, HostOpen { write: false, ..how }), Ok)
    }

    /// Runs `f` on the file: on a descriptor that is open anyway, or on one opened for the occasion.
    fn with<T>(
        &self,
        cx: &mut Cx,
        write: bool,
        f: impl FnOnce(&mut Cx, HostFd) -> Res<T>,
    ) -> Res<T> {
        if let Some(open) = self.find_open(|open| if write { open.write } else { open.read }) {
            return f(cx, open.fd);
        }
        let fd = self.open_host(cx, HostOpen { read: !write, write, ..HostOpen::default() })?;
        let result = f(cx, fd);
        cx.host().close(fd);
        result
    }

    /// The pages of a file that is mapped.
    fn mapped(&self) -> Option<Rc<PageCache>> {
        self.cache.borrow().upgrade()
    }

    /// Sets what the host keeps, and keeps the rest.
    fn set_owner(&self, cx: &mut Cx, uid: Option<u32>, gid: Option<u32>) -> Res<()> {
        let path = self.path.borrow().clone();
        let refused = self.gone.get() || self.is_special();
        let result = match refused {
            true => Err(Errno::ENOSYS),
            false => cx.host().set_owner(self.fs.root, &path, uid, gid),
        };
        match result {
            // The host's user may not give files away; root in the box may.
            Err(Errno::ENOSYS | Errno::EPERM) => self.fs.keep(self.key, |kept| {
                kept.uid = uid.or(kept.uid);
                kept.gid = gid.or(kept.gid);
            }),
            Ok(()) => self.fs.keep(self.key, |kept| {
                kept.uid = kept.uid.filter(|_| uid.is_none());
                kept.gid = kept.gid.filter(|_| gid.is_none());
            }),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn set_perm(&self, cx: &mut Cx, perm: u32) -> Res<()> {
        let path = self.path.borrow().clone();
        let refused = self.gone.get() || self.is_special();
        let result = match refused {
            true => Err(Errno::ENOSYS),
            false => cx.host().set_perm(self.fs.root, &path, perm),
        };
        match result {
            Err(Errno::ENOSYS) => self.fs.keep(self.key, |kept| kept.perm = Some(perm)),
            Ok(()) => self.fs.keep(self.key, |kept| kept.perm = None),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes a FIFO or socket that only this kernel knows.
    fn create_special(&self, cx: &mut Cx, path: Vec<u8>, kind: Kind) -> Rc<HostInode> {
        let now = cx.now().as_ns();
        let stat = HostStat {
            dev: u64::MAX,
            ino: 1 << 63 | cx.shared.unique(),
            kind: if kind == Kind::Fifo { HostKind::Fifo } else { HostKind::Other },
            nlink: 1,
            atime: now,
            mtime: now,
            ctime: now,
            ..HostStat::default()
        };
        let inode = Rc::new(HostInode::new(&self.fs, path.clone(), stat));
        self.fs.special.borrow_mut().insert(path, inode.clone());
        inode
    }
}

impl Inode for HostInode {
    fn fs_name(&self) -> &'static str {
        "9p"
    }

    fn meta(&self, cx: &mut Cx) -> Res<Meta> {
        let stat = if self.is_special() { self.last.get() } else { self.stat(cx)? };
        let kept = self.fs.kept.borrow().get(&self.key).copied().unwrap_or_default();
        let unix = stat.unix.unwrap_or_default();
        let size = match self.mapped() {
            Some(cache) => cache.size(),
            None => stat.size,
        };
        Ok(Meta {
            dev: self.fs.dev,
            ino: shown(stat.ino, &self.path.borrow()),
            mode: self.kind.bits() | kept.perm.unwrap_or(unix.perm),
            nlink: u32::try_from(stat.nlink).unwrap_or(u32::MAX),
            uid: kept.uid.unwrap_or(unix.uid),
            gid: kept.gid.unwrap_or(unix.gid),
            rdev: 0,
            size,
            block_size: 0,
            blocks: stat.unix.map_or(stat.size.div_ceil(512), |unix| unix.blocks),
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
        self.place()?;
        let path = self.join(name);
        if let Some(inode) = self.fs.special.borrow().get(&path) {
            return Ok(inode.clone());
        }
        let stat = cx.host().stat(self.fs.root, &path, false)?;
        Ok(self.fs.inode(path, stat))
    }

    fn list(&self, cx: &mut Cx) -> Res<Vec<DirItem>> {
        if self.gone.get() {
            return Ok(Vec::new());
        }
        let path = self.path.borrow().clone();
        let entries = cx.host().list(self.fs.root, &path)?;
        let mut items: Vec<DirItem> = entries
            .into_iter()
            .filter(|e| !e.name.contains(&b'/') && !e.name.contains(&0) && !e.name.is_empty())
            .map(|e| {
                let ino = if e.ino == 0 { shown(0, &self.join(&e.name)) } else { e.ino };
                DirItem { name: e.name.into(), ino, kind: kind_of(e.kind) }
            })
            .collect();
        let prefix = self.join(b"");
        for (path, inode) in &*self.fs.special.borrow() {
            if let Some(name) = path.strip_prefix(prefix.as_slice())
                && !name.contains(&b'/')
            {
                items.push(DirItem { name: name.into(), ino: inode.key.1, kind: inode.kind });
            }
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(items)
    }

    fn create(&self, cx: &mut Cx, name: &[u8], new: &NewNode) -> Res<InodeRef> {
        self.place()?;
        let path = self.join(name);
        let (kind, perm, root) = (Kind::of_mode(new.mode), new.mode & 0o7777, self.fs.root);
        match kind {
            Kind::File => {
                let how =
                    HostOpen { write: true, create: true, exclusive: true, ..HostOpen::default() };
                let fd = cx.host().open(root, &path, how)?;
                cx.host().close(fd);
            }
            Kind::Dir => cx.host().mkdir(root, &path)?,
            Kind::Symlink => cx.host().symlink(new.target, root, &path)?,
            Kind::Fifo | Kind::Socket => match cx.host().mknod(root, &path, new.mode) {
                Err(Errno::ENOSYS) => {
                    let inode = self.create_special(cx, path, kind);
                    inode.set_perm(cx, perm)?;
                    inode.set_owner(cx, Some(new.uid), Some(new.gid))?;
                    return Ok(inode);
                }
                result => result?,
            },
            Kind::Char | Kind::Block => return Err(Errno::EPERM),
        }
        let stat = cx.host().stat(root, &path, false)?;
        let inode = self.fs.inode(path, stat);
        self.fs.kept.borrow_mut().remove(&inode.key);
        let is = stat.unix;
        if is.is_none_or(|is| (is.uid, is.gid) != (new.uid, new.gid)) {
            inode.set_owner(cx, Some(new.uid), Some(new.gid))?;
        }
        // After the owner, whose change takes set-id bits away.
        if kind != Kind::Symlink && is.is_none_or(|is| is.perm != perm) {
            inode.set_perm(cx, perm)?;
        }
        Ok(inode)
    }

    fn link(&self, cx: &mut Cx, name: &[u8], target: &InodeRef) -> Res<()> {
        let target = target.clone().as_any().downcast::<HostInode>().map_err(|_| Errno::EXDEV)?;
        if target.is_special() {
            return Err(Errno::EPERM);
        }
        self.place()?;
        let (old, new) = (target.place()?, self.join(name));
        cx.host().link(target.fs.root, &old, self.fs.root, &new)
    }

    fn unlink(&self, cx: &mut Cx, name: &[u8]) -> Res<()> {
        let path = self.join(name);
        if self.fs.special.borrow_mut().remove(&path).is_some() {
            return Ok(());
        }
        cx.host().unlink(self.fs.root, &path)?;
        self.fs.removed(&path);
        Ok(())
    }

    fn rmdir(&self, cx: &mut Cx, name: &[u8]) -> Res<()> {
        let path = self.join(name);
        let below = [&path, &b"/"[..]].concat();
        if self.fs.special.borrow().keys().any(|path| path.starts_with(&below)) {
            return Err(Errno::ENOTEMPTY);
        }
        cx.host().rmdir(self.fs.root, &path)?;
        self.fs.removed(&path);
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
        if exchange {
            return Err(Errno::EINVAL);
        }
        let to = new_dir.clone().as_any().downcast::<HostInode>().map_err(|_| Errno::EXDEV)?;
        let (old, new) = (self.join(name), to.join(new_name));
        let special = self.fs.special.borrow().contains_key(&old);
        if special {
            match cx.host().unlink(to.fs.root, &new) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        } else {
            cx.host().rename(self.fs.root, &old, to.fs.root, &new)?;
        }
        self.fs.special.borrow_mut().remove(&new);
        self.fs.removed(&new);
        self.fs.moved(&old, &new);
        Ok(())
    }

    fn read_link(&self, cx: &mut Cx) -> Res<Vec<u8>> {
        let path = self.place()?;
        cx.host().readlink(self.fs.root, &path)
    }

    fn set_attr(&self, cx: &mut Cx, attr: &SetAttr) -> Res<()> {
        if let Some(size) = attr.size {
            if let Some(cache) = self.mapped() {
                cache.write_back(cx)?;
                cache.resize(cx.phys(), size);
            }
            self.with(cx, true, |cx, fd| cx.host().truncate(fd, size))?;
        }
        if attr.uid.is_some() || attr.gid.is_some() {
            self.set_owner(cx, attr.uid, attr.gid)?;
        }
        if let Some(perm) = attr.perm {
            self.set_perm(cx, perm & 0o7777)?;
        }
        if (attr.atime.is_some() || attr.mtime.is_some()) && !self.is_special() {
            let path = self.place()?;
            let (atime, mtime) = (attr.atime.map(Time::as_ns), attr.mtime.map(Time::as_ns));
            cx.host().utimes(self.fs.root, &path, atime, mtime, false)?;
        }
        Ok(())
    }

    fn read_at(&self, cx: &mut Cx, offset: u64, buf: &mut [u8]) -> Res<usize> {
        if self.kind == Kind::Dir {
            return Err(Errno::EISDIR);
        }
        if let Some(cache) = self.mapped() {
            cache.write_back(cx)?;
        }
        self.with(cx, false, |cx, fd| read_full(cx, fd, offset, buf))
    }

    fn write_at(&self, cx: &mut Cx, offset: u64, buf: &[u8]) -> Res<usize> {
        self.with(cx, true, |cx, fd| self.write_to(cx, fd, offset, buf))
    }

    /// Space is not reserved on the host: the file only grows as asked.
    fn allocate(&self, cx: &mut Cx, mode: u32, offset: u64, len: u64) -> Res<()> {
        const KEEP_SIZE: u32 = 1;
        if mode & !KEEP_SIZE != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        if mode & KEEP_SIZE == 0 && end > self.meta(cx)?.size {
            self.set_attr(cx, &SetAttr { size: Some(end), ..SetAttr::default() })?;
        }
        Ok(())
    }

    fn map(self: Rc<Self>, cx: &mut Cx, at: &Rc<Dentry>) -> Res<Rc<dyn MapSource>> {
        if self.kind != Kind::File {
            return Err(Errno::ENODEV);
        }
        let cache = match self.mapped() {
            Some(cache) => cache,
            None => {
                let cache = PageCache::open(cx, &self, at)?;
                *self.cache.borrow_mut() = Rc::downgrade(&cache);
                cache
            }
        };
        cache.load(cx)?;
        Ok(cache)
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
        let how = HostOpen { read, write, truncate, ..HostOpen::default() };
        Some(
            self.open_shared(cx, how)
                .map(|open| Rc::new(HostFile::new(self, open)) as Rc<dyn FileOps>),
        )
    }
}

impl HostInode {
    /// Writes to `fd`, which is open on this file, and to its mapped pages.
    fn write_to(&self, cx: &mut Cx, fd: HostFd, offset: u64, buf: &[u8]) -> Res<usize> {
        let n = cx.host().write(fd, offset, buf)?;
        if let Some(cache) = self.mapped() {
            cache.written(cx.phys(), offset, buf.get(..n).unwrap_or_default());
        }
        Ok(n)
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
