//! What the host does with files of a box that runs. Paths are the box's; relative ones begin at its root, and there is no umask.

use std::collections::VecDeque;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_APPEND, O_NOCTTY, O_NONBLOCK, O_RDWR, O_WRONLY};
use abi::poll::IN_MODIFY;
use abi::stat::X_OK;

use crate::exec::StartError;
use crate::fs::ops::{self, OpenHow, Place, SetTime};
use crate::fs::walk::{Last, LastName, Lookup, resolve, resolve_parent};
use crate::fs::{Cred, Cx, Dentry, DirItem, Kind, Meta, OpenFile, PathCx, Res, Time, acl};
use crate::task::Creds;
use crate::{Kernel, mounts};

/// What the host has open.
pub(super) struct Held {
    file: Rc<OpenFile>,
    cred: Cred,
    /// Entries of a directory that were not told yet.
    items: Option<VecDeque<DirItem>>,
}

impl Kernel {
    /// Does `work` with files as this user: `name`, `uid`, `name:group`, `uid:gid`; empty is root, who may what containers let him.
    ///
    /// # Errors
    /// `EINVAL` if there is no such user; what `work` gives.
    pub fn with_files<T>(
        &mut self,
        user: &str,
        work: impl FnOnce(&mut Cx<'_>, &PathCx) -> Res<T>,
    ) -> Res<T> {
        let creds = if user.is_empty() {
            Creds::new(0, 0, Vec::new())
        } else {
            let found = self.find_user(user, &Default::default());
            found.map(|(creds, _)| creds).map_err(|_: StartError| Errno::EINVAL)?
        };
        let root = self.root.clone();
        let mut cx = Cx::new(self, creds.fs());
        work(&mut cx, &mounts::at_root(&root))
    }

    /// Opens a regular file or directory under a number that is not in use.
    ///
    /// # Errors
    /// As open(2); `EOPNOTSUPP` for files of other kinds, which may keep who reads them waiting.
    pub fn open_held(
        &mut self,
        number: u32,
        user: &str,
        path: &[u8],
        flags: u32,
        mode: u32,
    ) -> Res<()> {
        let how = OpenHow { flags: flags | O_NONBLOCK | O_NOCTTY, mode, resolve: 0 };
        let (file, cred) = self.with_files(user, |cx, at| {
            if let Ok(found) = resolve(cx, at, &at.root, path, Lookup::FOLLOW)
                && !matches!(found.inode().kind(), Kind::File | Kind::Dir)
            {
                return Err(Errno::EOPNOTSUPP);
            }
            let file = ops::open(cx, at, &at.root, path, how)?;
            Ok((file, cx.cred.clone()))
        })?;
        self.attached.files.insert(number, Held { file, cred, items: None });
        Ok(())
    }

    /// How many files the host has open.
    pub fn held_files(&self) -> usize {
        self.attached.files.len()
    }

    /// Closes a file.
    ///
    /// # Errors
    /// `EBADF` if there is none of this number.
    pub fn close_held(&mut self, number: u32) -> Res<()> {
        self.attached.files.remove(&number).map(drop).ok_or(Errno::EBADF)
    }

    fn held(&self, number: u32) -> Res<(Rc<OpenFile>, Cred)> {
        let held = self.attached.files.get(&number).ok_or(Errno::EBADF)?;
        Ok((held.file.clone(), held.cred.clone()))
    }

    /// Reads from an open file, as pread(2).
    ///
    /// # Errors
    /// As pread(2).
    pub fn read_held(&mut self, number: u32, offset: u64, buf: &mut [u8]) -> Res<usize> {
        let (file, cred) = self.held(number)?;
        if !file.is_readable() {
            return Err(Errno::EBADF);
        }
        let ops = file.ops().clone();
        ops.read_at(&mut Cx::new(self, cred), &file, offset, buf)
    }

    /// Writes to an open file, as pwrite(2); with `O_APPEND` to its end.
    ///
    /// # Errors
    /// As pwrite(2).
    pub fn write_held(&mut self, number: u32, offset: u64, bytes: &[u8]) -> Res<usize> {
        let (file, cred) = self.held(number)?;
        if !file.is_writable() {
            return Err(Errno::EBADF);
        }
        let ops = file.ops().clone();
        let mut cx = Cx::new(self, cred);
        let offset = match file.flags() & O_APPEND {
            0 => offset,
            _ => file.dentry().inode().meta(&mut cx)?.size,
        };
        let written = ops.write_at(&mut cx, &file, offset, bytes)?;
        cx.shared.watches.event(file.dentry(), IN_MODIFY);
        Ok(written)
    }

    /// Calls `take` with the next entries of an open directory, until it wants no more; each with its name, and its attributes, as far as the
    /// caller may look it up.
    ///
    /// # Errors
    /// As getdents64(2).
    pub fn list_held(
        &mut self,
        number: u32,
        mut take: impl FnMut(&DirItem, Option<&Meta>) -> bool,
    ) -> Res<()> {
        let (file, cred) = self.held(number)?;
        if !file.is_readable() {
            return Err(Errno::EBADF);
        }
        let dir = file.dentry().clone();
        let items = self.attached.files.get_mut(&number).and_then(|held| held.items.take());
        let mut cx = Cx::new(self, cred);
        let mut items = match items {
            Some(items) => items,
            None => dir.inode().list(&mut cx)?.into(),
        };
        let searched = dir.inode().meta(&mut cx)?;
        let may_look = acl::check(&mut cx, dir.inode(), &searched, X_OK).is_ok();
        while let Some(item) = items.front() {
            let found = if may_look { dir.lookup(&mut cx, &item.name).ok() } else { None };
            let meta = found.and_then(|found| found.down().inode().meta(&mut cx).ok());
            if !take(item, meta.as_ref()) {
                break;
            }
            items.pop_front();
        }
        if let Some(held) = self.attached.files.get_mut(&number) {
            held.items = Some(items);
        }
        Ok(())
    }
}

/// stat(2) or lstat(2).
///
/// # Errors
/// As those.
pub fn stat(cx: &mut Cx, at: &PathCx, path: &[u8], follow: bool) -> Res<Meta> {
    find(cx, at, path, follow)?.inode().meta(cx)
}

/// The file at a path.
///
/// # Errors
/// As stat(2).
pub fn find(cx: &mut Cx, at: &PathCx, path: &[u8], follow: bool) -> Res<Rc<Dentry>> {
    resolve(cx, at, &at.root, path, Lookup { follow, resolve: 0 })
}

/// mkdir(2); with `parents` as `mkdir -p`, which leaves what is there.
///
/// # Errors
/// As mkdir(2).
pub fn mkdir(cx: &mut Cx, at: &PathCx, path: &[u8], mode: u32, parents: bool) -> Res<()> {
    if !parents {
        return ops::mkdir(cx, at, &at.root, path, mode);
    }
    let mut so_far = b"/".to_vec();
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        so_far.extend_from_slice(part);
        let mode = if parts.peek().is_some() { 0o755 } else { mode };
        match ops::mkdir(cx, at, &at.root, &so_far, mode) {
            Ok(()) => {}
            // Whoever may not write there need not, where it is.
            Err(errno) => match find(cx, at, &so_far, true) {
                Ok(found) if found.inode().kind() == Kind::Dir => {}
                Ok(_) => return Err(Errno::ENOTDIR),
                Err(_) => return Err(errno),
            },
        }
        so_far.push(b'/');
    }
    Ok(())
}

/// unlink(2), or rmdir(2) of a directory; with `recursive` as `rm -r`.
///
/// # Errors
/// As those; what was removed before an error stays removed.
pub fn remove(cx: &mut Cx, at: &PathCx, path: &[u8], recursive: bool) -> Res<()> {
    let Last { dir, name, slash } = resolve_parent(cx, at, &at.root, path)?;
    let LastName::Normal(name) = name else {
        return Err(if name == LastName::Root { Errno::EBUSY } else { Errno::EINVAL });
    };
    // Directories deep inside each other need no stack: what is to be removed, and whether it is a directory that has been emptied.
    let mut left = vec![(dir, name, false)];
    while let Some((dir, name, emptied)) = left.pop() {
        let found = dir.lookup(cx, &name)?;
        let is_dir = found.inode().kind() == Kind::Dir;
        if !is_dir && slash && left.is_empty() {
            return Err(Errno::ENOTDIR);
        }
        if is_dir && recursive && !emptied {
            if found.is_mountpoint() {
                return Err(Errno::EBUSY);
            }
            let meta = found.inode().meta(cx)?;
            acl::check(cx, found.inode(), &meta, abi::stat::R_OK | X_OK)?;
            let items = found.inode().list(cx)?;
            left.push((dir, name, true));
            left.extend(items.into_iter().map(|item| (found.clone(), item.name.into(), false)));
            continue;
        }
        ops::remove(cx, at, &dir, &name, is_dir)?;
    }
    Ok(())
}

/// rename(2).
///
/// # Errors
/// As rename(2).
pub fn rename(cx: &mut Cx, at: &PathCx, from: &[u8], to: &[u8]) -> Res<()> {
    let (old, new) = (Place { dir: &at.root, path: from }, Place { dir: &at.root, path: to });
    ops::rename(cx, at, old, new, 0)
}

/// Times in ns since the epoch; none leaves one as it is.
///
/// # Errors
/// As utimensat(2).
pub fn set_times(cx: &mut Cx, file: &Rc<Dentry>, times: [Option<u64>; 2]) -> Res<()> {
    let [atime, mtime] =
        times.map(|time| time.map_or(SetTime::Omit, |ns| SetTime::At(Time::from_ns(ns))));
    ops::set_times(cx, file, atime, mtime)
}

/// Flags of open(2) for reading and writing.
pub fn access_flags(read: bool, write: bool) -> u32 {
    match (read, write) {
        (true, true) => O_RDWR,
        (false, true) => O_WRONLY,
        _ => 0,
    }
}
