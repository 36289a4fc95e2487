//! What the path system calls mean: open(2), mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rmdir(2), rename(2),
//! chmod(2), chown(2), utimensat(2), truncate(2), access(2). Permission checks, the inode operation, and keeping the
//! name tree and inotify(7) informed.

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{
    O_ACCMODE, O_APPEND, O_CLOEXEC, O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW,
    O_PATH, O_RDONLY, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY, RENAME_EXCHANGE, RENAME_NOREPLACE,
    RENAME_WHITEOUT,
};
use abi::poll::{
    IN_ATTRIB, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MODIFY, IN_MOVE_SELF, IN_MOVED_FROM,
    IN_MOVED_TO,
};
use abi::stat::{R_OK, S_IFMT, S_ISGID, S_ISUID, ST_NODEV, ST_NOEXEC, W_OK, X_OK};

use super::acl::{self, Acl};
use super::cx::cap;
use super::inode::{InodeRef, Kind, Meta, NewNode, SetAttr};
use super::walk::{Last, LastName, Lookup, PathCx, Walker, resolve, resolve_parent};
use super::{Cx, Dentry, OpenFile, Res, Time, perm};

/// Arguments of openat2(2).
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// `O_*` flags.
    pub flags: u32,
    /// Permission bits for a new file, before the umask.
    pub mode: u32,
    /// `RESOLVE_*` flags.
    pub resolve: u64,
}

/// Opens `path`, creating it if asked. Whoever opens a FIFO has to wait for its partner.
pub fn open(
    cx: &mut Cx,
    at: &PathCx,
    dir: &Rc<Dentry>,
    path: &[u8],
    how: OpenHow,
) -> Res<Rc<OpenFile>> {
    let mut flags = how.flags;
    if flags & O_PATH != 0 {
        flags &= O_PATH | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW;
    }
    let follow = flags & O_NOFOLLOW == 0;
    if flags & O_TMPFILE == O_TMPFILE {
        if flags & O_ACCMODE == O_RDONLY || flags & O_CREAT != 0 {
            return Err(Errno::EINVAL);
        }
        let place = resolve(cx, at, dir, path, Lookup { follow, resolve: how.resolve })?;
        return open_unnamed(cx, at, &place, flags, how.mode);
    }
    if flags & (O_CREAT | O_DIRECTORY) == O_CREAT | O_DIRECTORY {
        return Err(Errno::EINVAL);
    }
    let mut walker = Walker::new(at, dir, path, how.resolve)?;
    loop {
        let last = walker.to_last(cx)?;
        let found = if flags & O_CREAT == 0 {
            walker.finish(cx, last, follow)?
        } else {
            let Last { dir, name: LastName::Normal(name), slash } = last else {
                let exists = flags & O_EXCL != 0;
                return Err(if exists { Errno::EEXIST } else { Errno::EISDIR });
            };
            match dir.lookup(cx, &name) {
                Ok(_) if flags & O_EXCL != 0 => return Err(Errno::EEXIST),
                Ok(found) => walker.finish_at(cx, found.down(), follow, slash)?,
                Err(Errno::ENOENT) if slash => return Err(Errno::EISDIR),
                Err(Errno::ENOENT) => {
                    let mode = (how.mode & 0o7777) | Kind::File.bits();
                    let new = make(cx, &dir, &name, (mode, at.umask), 0, &[])?;
                    return OpenFile::open(cx, &new, flags & !O_TRUNC);
                }
                Err(e) => return Err(e),
            }
        };
        if let Some(found) = found {
            return open_found(cx, &found, flags);
        }
    }
}

/// Opens an existing file after checking what the caller may do.
pub fn open_found(cx: &mut Cx, dentry: &Rc<Dentry>, flags: u32) -> Res<Rc<OpenFile>> {
    let inode = dentry.inode();
    let kind = inode.kind();
    if flags & O_DIRECTORY != 0 && kind != Kind::Dir {
        return Err(Errno::ENOTDIR);
    }
    if flags & O_PATH != 0 {
        return OpenFile::open(cx, dentry, flags);
    }
    if kind == Kind::Symlink {
        return Err(Errno::ELOOP);
    }
    let mut want = match flags & O_ACCMODE {
        O_RDONLY => R_OK,
        O_WRONLY => W_OK,
        _ => R_OK | W_OK,
    };
    if flags & O_TRUNC != 0 {
        want |= W_OK;
    }
    if kind == Kind::Dir && (want & W_OK != 0 || flags & O_CREAT != 0) {
        return Err(Errno::EISDIR);
    }
    let meta = inode.meta(cx)?;
    if matches!(kind, Kind::Char | Kind::Block) && dentry.mount().flags.get() & ST_NODEV != 0 {
        return Err(Errno::EACCES);
    }
    acl::check(cx, inode, &meta, want)?;
    if want & W_OK != 0 && matches!(kind, Kind::File | Kind::Dir) {
        perm::check_writable(dentry.mount())?;
    }
    if flags & O_NOATIME != 0 {
        perm::check_owner(&cx.cred, &meta)?;
    }
    if flags & O_DIRECT != 0 && kind == Kind::File && inode.fs_name() != "overlay" {
        return Err(Errno::EINVAL);
    }
    if kind == Kind::File {
        may_use(cx, dentry, want & W_OK != 0)?;
    }
    let file = OpenFile::open(cx, dentry, flags)?;
    if flags & O_TRUNC != 0 && kind == Kind::File {
        inode.set_attr(cx, &SetAttr { size: Some(0), ..SetAttr::default() })?;
        cx.shared.watches.event(dentry, IN_MODIFY);
    }
    Ok(file)
}

/// ETXTBSY for a write to a running program; EAGAIN, with [`super::Shared::lease_end`] set, when a lease stands against it.
fn may_use(cx: &mut Cx, dentry: &Rc<Dentry>, write: bool) -> Res<()> {
    let (shared, now) = (cx.shared.clone(), cx.monotonic());
    if write {
        shared.opens.check_not_running(dentry.inode())?;
    }
    let end = shared.opens.break_leases(&shared, dentry.inode(), write, now);
    shared.lease_end.set(end);
    if end.is_some() { Err(Errno::EAGAIN) } else { Ok(()) }
}

fn open_unnamed(
    cx: &mut Cx,
    at: &PathCx,
    place: &Rc<Dentry>,
    flags: u32,
    mode: u32,
) -> Res<Rc<OpenFile>> {
    if place.inode().kind() != Kind::Dir {
        return Err(Errno::ENOTDIR);
    }
    let dir = place.inode().meta(cx)?;
    acl::check(cx, place.inode(), &dir, W_OK | X_OK)?;
    perm::check_writable(place.mount())?;
    let mode = (mode & 0o7777) | Kind::File.bits();
    let (mode, gid) = perm::inherit(&cx.cred, &dir, mode);
    let (mode, lists) = acl::inherit(cx, place.inode(), mode, at.umask);
    let new = NewNode { mode, uid: cx.cred.uid, gid, rdev: 0, target: &[] };
    let inode = place.inode().create_unnamed(cx, &new)?;
    lists.give(cx, &inode)?;
    let ino = inode.meta(cx)?.ino;
    let dentry = place.unnamed(format!("#{ino}").as_bytes(), inode);
    dentry.linkable.set(flags & O_EXCL == 0);
    OpenFile::open(cx, &dentry, flags & !(O_TRUNC | O_DIRECTORY))
}

/// Finds a file to execute: regular, executable by the caller, not on a noexec mount (execve(2)).
pub fn find_executable(
    cx: &mut Cx,
    at: &PathCx,
    dir: &Rc<Dentry>,
    path: &[u8],
    follow: bool,
) -> Res<Rc<Dentry>> {
    let dentry = resolve(cx, at, dir, path, Lookup { follow, resolve: 0 })?;
    check_executable(cx, &dentry)?;
    Ok(dentry)
}

/// Whether the caller may execute this file; EACCES or ELOOP if not.
pub fn check_executable(cx: &mut Cx, dentry: &Rc<Dentry>) -> Res<()> {
    match dentry.inode().kind() {
        Kind::File => {}
        Kind::Symlink => return Err(Errno::ELOOP),
        _ => return Err(Errno::EACCES),
    }
    if dentry.mount().flags.get() & ST_NOEXEC != 0 {
        return Err(Errno::EACCES);
    }
    let meta = dentry.inode().meta(cx)?;
    acl::check(cx, dentry.inode(), &meta, X_OK)
}

/// Makes a node in `dir` after the permission checks, and its dentry.
fn make(
    cx: &mut Cx,
    dir: &Rc<Dentry>,
    name: &[u8],
    (mode, umask): (u32, u32),
    rdev: u64,
    target: &[u8],
) -> Res<Rc<Dentry>> {
    let meta = may_create(cx, dir)?;
    let (mode, gid) = perm::inherit(&cx.cred, &meta, mode);
    let (mode, lists) = acl::inherit(cx, dir.inode(), mode, umask);
    let new = NewNode { mode, uid: cx.cred.uid, gid, rdev, target };
    let inode = dir.inode().create(cx, name, &new)?;
    lists.give(cx, &inode)?;
    let dentry = dir.child(name, inode);
    cx.shared.watches.entry_event(dir, name, IN_CREATE, 0, Kind::of_mode(mode) == Kind::Dir);
    Ok(dentry)
}

fn may_create(cx: &mut Cx, dir: &Rc<Dentry>) -> Res<Meta> {
    let meta = dir.inode().meta(cx)?;
    if dir.is_gone() {
        return Err(Errno::ENOENT);
    }
    perm::check_writable(dir.mount())?;
    acl::check(cx, dir.inode(), &meta, W_OK | X_OK)?;
    Ok(meta)
}

/// The directory and name for a new entry: EEXIST if it exists; a trailing slash only for directories.
fn new_entry(
    cx: &mut Cx,
    at: &PathCx,
    dir: &Rc<Dentry>,
    path: &[u8],
    is_dir: bool,
) -> Res<(Rc<Dentry>, Vec<u8>)> {
    let last = resolve_parent(cx, at, dir, path)?;
    let LastName::Normal(name) = last.name else { return Err(Errno::EEXIST) };
    match last.dir.lookup(cx, &name) {
        Ok(_) => Err(Errno::EEXIST),
        Err(Errno::ENOENT) if last.slash && !is_dir => Err(Errno::ENOENT),
        // proc(5) takes no new names at all.
        Err(Errno::ENOENT) if last.dir.inode().fs_name() == "proc" => Err(Errno::ENOENT),
        Err(Errno::ENOENT) => Ok((last.dir, name)),
        Err(e) => Err(e),
    }
}

/// mkdir(2).
pub fn mkdir(cx: &mut Cx, at: &PathCx, dir: &Rc<Dentry>, path: &[u8], mode: u32) -> Res<()> {
    let (dir, name) = new_entry(cx, at, dir, path, true)?;
    let mode = (mode & 0o1777) | Kind::Dir.bits();
    make(cx, &dir, &name, (mode, at.umask), 0, &[]).map(drop)
}

/// mknod(2), also for bind(2) of unix sockets.
pub fn mknod(
    cx: &mut Cx,
    at: &PathCx,
    dir: &Rc<Dentry>,
    path: &[u8],
    mode: u32,
    rdev: u64,
) -> Res<Rc<Dentry>> {
    let kind = match mode & S_IFMT {
        m if m == Kind::Dir.bits() => return Err(Errno::EPERM),
        m if m == Kind::Symlink.bits() => return Err(Errno::EINVAL),
        0 => Kind::File,
        m if m == Kind::of_mode(m).bits() => Kind::of_mode(m),
        _ => return Err(Errno::EINVAL),
    };
    let (dir, name) = new_entry(cx, at, dir, path, false)?;
    may_create(cx, &dir)?;
    // Anybody may make a whiteout, which is no device (mknod(2) since Linux 5.8).
    let whiteout = kind == Kind::Char && rdev == 0;
    if matches!(kind, Kind::Char | Kind::Block) && !whiteout && !cx.cred.capable(cap::MKNOD) {
        return Err(Errno::EPERM);
    }
    let mode = (mode & 0o7777) | kind.bits();
    make(cx, &dir, &name, (mode, at.umask), rdev, &[])
}

/// symlink(2).
pub fn symlink(cx: &mut Cx, at: &PathCx, target: &[u8], dir: &Rc<Dentry>, path: &[u8]) -> Res<()> {
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let (dir, name) = new_entry(cx, at, dir, path, false)?;
    make(cx, &dir, &name, (Kind::Symlink.bits() | 0o777, 0), 0, target).map(drop)
}

/// link(2): the further name `path` for `old`.
pub fn link(cx: &mut Cx, at: &PathCx, old: &Rc<Dentry>, dir: &Rc<Dentry>, path: &[u8]) -> Res<()> {
    let (dir, name) = new_entry(cx, at, dir, path, false)?;
    if !Rc::ptr_eq(old.mount(), dir.mount()) {
        return Err(Errno::EXDEV);
    }
    if old.inode().kind() == Kind::Dir {
        return Err(Errno::EPERM);
    }
    may_create(cx, &dir)?;
    check_protected_hardlink(cx, old)?;
    if old.inode().meta(cx)?.nlink == 0 && !old.linkable.get() {
        return Err(Errno::ENOENT);
    }
    dir.inode().link(cx, &name, old.inode())?;
    if old.is_gone() {
        // An O_TMPFILE file gets its name (open(2)).
        if old.inode().meta(cx)?.nlink == 1 {
            dir.adopt(old, &name);
        }
    }
    cx.shared.watches.entry_event(&dir, &name, IN_CREATE, 0, false);
    cx.shared.watches.self_event(old.inode(), IN_ATTRIB, false);
    Ok(())
}

/// proc(5), `fs.protected_hardlinks`.
fn check_protected_hardlink(cx: &mut Cx, old: &Rc<Dentry>) -> Res<()> {
    let meta = old.inode().meta(cx)?;
    if perm::check_owner(&cx.cred, &meta).is_ok() {
        return Ok(());
    }
    let plain = meta.kind() == Kind::File
        && meta.mode & S_ISUID == 0
        && meta.mode & (S_ISGID | 0o010) != S_ISGID | 0o010;
    if plain && acl::check(cx, old.inode(), &meta, R_OK | W_OK).is_ok() {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// unlink(2), or with `rmdir` rmdir(2).
pub fn remove(cx: &mut Cx, at: &PathCx, dir: &Rc<Dentry>, path: &[u8], rmdir: bool) -> Res<()> {
    let last = resolve_parent(cx, at, dir, path)?;
    let name = match (last.name, rmdir) {
        (LastName::Normal(name), _) => name,
        (LastName::Dot, true) => return Err(Errno::EINVAL),
        (LastName::DotDot, true) => return Err(Errno::ENOTEMPTY),
        (LastName::Root, true) => return Err(Errno::EBUSY),
        (_, false) => return Err(Errno::EISDIR),
    };
    let dir = last.dir;
    let victim = dir.lookup(cx, &name)?;
    perm::check_writable(dir.mount())?;
    let (dir_meta, meta) = (dir.inode().meta(cx)?, victim.inode().meta(cx)?);
    acl::check(cx, dir.inode(), &dir_meta, W_OK | X_OK)?;
    perm::check_sticky(&cx.cred, &dir_meta, &meta)?;
    match (meta.is_dir(), rmdir) {
        (true, false) => return Err(Errno::EISDIR),
        (false, true) => return Err(Errno::ENOTDIR),
        (false, false) if last.slash => return Err(Errno::ENOTDIR),
        _ => {}
    }
    if victim.is_mountpoint() {
        return Err(Errno::EBUSY);
    }
    if rmdir {
        dir.inode().rmdir(cx, &name)?;
    } else {
        dir.inode().unlink(cx, &name)?;
    }
    dir.forget_child(&name);
    let watches = &cx.shared.watches;
    watches.entry_event(&dir, &name, IN_DELETE, 0, rmdir);
    if !rmdir {
        // The number of names has changed.
        watches.self_event(victim.inode(), IN_ATTRIB, false);
    }
    if rmdir || (meta.nlink <= 1 && !cx.shared.opens.unlinked(victim.inode())) {
        watches.self_event(victim.inode(), IN_DELETE_SELF, true);
    }
    Ok(())
}

/// One of the two names of a rename.
pub struct Place<'a> {
    /// Directory that relative paths start from.
    pub dir: &'a Rc<Dentry>,
    /// The path.
    pub path: &'a [u8],
}

/// rename(2) and renameat2(2).
pub fn rename(cx: &mut Cx, at: &PathCx, old: Place, new: Place, flags: u32) -> Res<()> {
    let known = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
    let exchange = flags & RENAME_EXCHANGE != 0;
    if flags & !known != 0 || (exchange && flags != RENAME_EXCHANGE) {
        return Err(Errno::EINVAL);
    }
    let from = resolve_parent(cx, at, old.dir, old.path)?;
    let to = resolve_parent(cx, at, new.dir, new.path)?;
    if !Rc::ptr_eq(from.dir.mount(), to.dir.mount()) {
        return Err(Errno::EXDEV);
    }
    let (LastName::Normal(old_name), LastName::Normal(new_name)) = (from.name, to.name) else {
        return Err(if flags & RENAME_NOREPLACE != 0 { Errno::EEXIST } else { Errno::EBUSY });
    };
    let (from_dir, to_dir) = (from.dir, to.dir);
    let source = from_dir.lookup(cx, &old_name)?;
    let target = match to_dir.lookup(cx, &new_name) {
        Ok(_) if flags & RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
        Ok(target) => Some(target),
        Err(Errno::ENOENT) if exchange => return Err(Errno::ENOENT),
        Err(Errno::ENOENT) => None,
        Err(e) => return Err(e),
    };
    let is_dir = source.inode().kind() == Kind::Dir;
    if !is_dir && (from.slash || (to.slash && !exchange)) {
        return Err(Errno::ENOTDIR);
    }
    if is_dir && to_dir.is_within(&source) {
        return Err(Errno::EINVAL);
    }
    if let Some(target) = &target
        && target.inode().kind() == Kind::Dir
        && from_dir.is_within(target)
    {
        return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    check_rename(cx, &from_dir, &source, &to_dir, target.as_ref(), exchange)?;
    if let Some(target) = &target
        && Rc::ptr_eq(source.inode(), target.inode())
    {
        return Ok(());
    }
    from_dir.inode().rename(cx, &old_name, to_dir.inode(), &new_name, exchange)?;
    match &target {
        Some(target) if exchange => {
            to_dir.forget_child(&new_name);
            from_dir.forget_child(&old_name);
            to_dir.adopt(&source, &new_name);
            from_dir.adopt(target, &old_name);
        }
        Some(_) => {
            to_dir.forget_child(&new_name);
            to_dir.adopt(&source, &new_name);
        }
        None => to_dir.adopt(&source, &new_name),
    }
    if flags & RENAME_WHITEOUT != 0 {
        let mode = Kind::Char.bits();
        let (uid, gid) = (cx.cred.uid, cx.cred.gid);
        let whiteout = NewNode { mode, uid, gid, rdev: 0, target: &[] };
        from_dir.inode().create(cx, &old_name, &whiteout)?;
    }
    let cookie = cx.shared.unique() as u32;
    let watches = &cx.shared.watches;
    watches.entry_event(&from_dir, &old_name, IN_MOVED_FROM, cookie, is_dir);
    watches.entry_event(&to_dir, &new_name, IN_MOVED_TO, cookie, is_dir);
    watches.self_event(source.inode(), IN_MOVE_SELF, false);
    if let (Some(target), false) = (&target, exchange) {
        watches.self_event(target.inode(), IN_ATTRIB, false);
        let meta = target.inode().meta(cx)?;
        let last = meta.is_dir() || meta.nlink == 0;
        if last && !cx.shared.opens.unlinked(target.inode()) {
            cx.shared.watches.self_event(target.inode(), IN_DELETE_SELF, true);
        }
    }
    Ok(())
}

fn check_rename(
    cx: &mut Cx,
    from_dir: &Rc<Dentry>,
    source: &Rc<Dentry>,
    to_dir: &Rc<Dentry>,
    target: Option<&Rc<Dentry>>,
    exchange: bool,
) -> Res<()> {
    perm::check_writable(from_dir.mount())?;
    let from_meta = from_dir.inode().meta(cx)?;
    let to_meta = to_dir.inode().meta(cx)?;
    let source_meta = source.inode().meta(cx)?;
    acl::check(cx, from_dir.inode(), &from_meta, W_OK | X_OK)?;
    perm::check_sticky(&cx.cred, &from_meta, &source_meta)?;
    let moves = !Rc::ptr_eq(from_dir, to_dir);
    match target {
        None => {
            if to_dir.is_gone() {
                return Err(Errno::ENOENT);
            }
            acl::check(cx, to_dir.inode(), &to_meta, W_OK | X_OK)?;
        }
        Some(target) => {
            let target_meta = target.inode().meta(cx)?;
            acl::check(cx, to_dir.inode(), &to_meta, W_OK | X_OK)?;
            perm::check_sticky(&cx.cred, &to_meta, &target_meta)?;
            match (source_meta.is_dir(), target_meta.is_dir(), exchange) {
                (true, false, false) => return Err(Errno::ENOTDIR),
                (false, true, false) => return Err(Errno::EISDIR),
                _ => {}
            }
            if exchange && moves && target_meta.is_dir() {
                acl::check(cx, target.inode(), &target_meta, W_OK)?;
            }
            if target.is_mountpoint() {
                return Err(Errno::EBUSY);
            }
        }
    }
    if moves && source_meta.is_dir() {
        acl::check(cx, source.inode(), &source_meta, W_OK)?;
    }
    if source.is_mountpoint() { Err(Errno::EBUSY) } else { Ok(()) }
}

/// chmod(2).
pub fn chmod(cx: &mut Cx, dentry: &Rc<Dentry>, mode: u32) -> Res<()> {
    perm::check_writable(dentry.mount())?;
    let meta = dentry.inode().meta(cx)?;
    perm::check_owner(&cx.cred, &meta)?;
    if meta.kind() == Kind::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    let bits = perm::chmod_bits(&cx.cred, &meta, mode);
    set_attr(cx, dentry, &SetAttr { perm: Some(bits), ..SetAttr::default() }, IN_ATTRIB)?;
    acl::follow_mode(cx, dentry.inode(), bits)
}

/// chown(2); `None` leaves an id as it is.
pub fn chown(cx: &mut Cx, dentry: &Rc<Dentry>, uid: Option<u32>, gid: Option<u32>) -> Res<()> {
    perm::check_writable(dentry.mount())?;
    let meta = dentry.inode().meta(cx)?;
    if !cx.cred.capable(cap::CHOWN) {
        let owner = cx.cred.uid == meta.uid;
        let uid_ok = uid.is_none_or(|uid| owner && uid == meta.uid);
        let gid_ok = gid.is_none_or(|gid| owner && (gid == meta.gid || cx.cred.in_group(gid)));
        if !uid_ok || !gid_ok {
            return Err(Errno::EPERM);
        }
    }
    let clears = meta.kind() == Kind::File && meta.mode & (S_ISUID | S_ISGID) != 0;
    let perm = clears.then(|| perm::without_suid(meta.mode));
    set_attr(cx, dentry, &SetAttr { perm, uid, gid, ..SetAttr::default() }, IN_ATTRIB)
}

/// A time for utimensat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// `UTIME_OMIT`.
    Omit,
    /// `UTIME_NOW`.
    Now,
    /// A given time.
    At(Time),
}

/// utimensat(2).
pub fn set_times(cx: &mut Cx, dentry: &Rc<Dentry>, atime: SetTime, mtime: SetTime) -> Res<()> {
    if (atime, mtime) == (SetTime::Omit, SetTime::Omit) {
        return Ok(());
    }
    perm::check_writable(dentry.mount())?;
    let meta = dentry.inode().meta(cx)?;
    if perm::check_owner(&cx.cred, &meta).is_err() {
        if (atime, mtime) != (SetTime::Now, SetTime::Now) {
            return Err(Errno::EPERM);
        }
        acl::check(cx, dentry.inode(), &meta, W_OK)?;
    }
    let now = cx.now();
    let value = |time| match time {
        SetTime::Omit => None,
        SetTime::Now => Some(now),
        SetTime::At(time) => Some(time),
    };
    let attr = SetAttr { atime: value(atime), mtime: value(mtime), ..SetAttr::default() };
    set_attr(cx, dentry, &attr, IN_ATTRIB)
}

/// truncate(2); ftruncate(2) checks the descriptor instead of the permissions.
pub fn truncate(cx: &mut Cx, dentry: &Rc<Dentry>, size: u64, check: bool) -> Res<()> {
    match dentry.inode().kind() {
        Kind::File => {}
        Kind::Dir => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    if check {
        let meta = dentry.inode().meta(cx)?;
        acl::check(cx, dentry.inode(), &meta, W_OK)?;
        perm::check_writable(dentry.mount())?;
    }
    if size > cx.world.file_size_limit() {
        return Err(Errno::EFBIG);
    }
    if check {
        may_use(cx, dentry, true)?;
    }
    let mut attr = SetAttr { size: Some(size), ..SetAttr::default() };
    let meta = dentry.inode().meta(cx)?;
    if meta.mode & (S_ISUID | S_ISGID) != 0 && !cx.cred.capable(cap::FSETID) {
        attr.perm = Some(perm::without_suid(meta.mode));
    }
    set_attr(cx, dentry, &attr, IN_MODIFY)
}

fn set_attr(cx: &mut Cx, dentry: &Rc<Dentry>, attr: &SetAttr, event: u32) -> Res<()> {
    dentry.inode().set_attr(cx, attr)?;
    cx.shared.watches.event(dentry, event);
    Ok(())
}

/// access(2) with the credentials of `cx` (the caller has put the real ids there).
pub fn access(cx: &mut Cx, dentry: &Rc<Dentry>, want: u32) -> Res<()> {
    let meta = dentry.inode().meta(cx)?;
    if want & X_OK != 0 && !meta.is_dir() && dentry.mount().flags.get() & ST_NOEXEC != 0 {
        return Err(Errno::EACCES);
    }
    acl::check(cx, dentry.inode(), &meta, want)?;
    if want & W_OK != 0 && matches!(meta.kind(), Kind::File | Kind::Dir | Kind::Symlink) {
        perm::check_writable(dentry.mount())?;
    }
    Ok(())
}

/// Whether flags of open(2) ask for writing.
pub fn wants_write(flags: u32) -> bool {
    matches!(flags & O_ACCMODE, O_WRONLY | O_RDWR)
}

/// Whether writes go to the end.
pub fn appends(flags: u32) -> bool {
    flags & O_APPEND != 0
}

/// The extended attribute namespaces: what a caller must be allowed for `name` (xattr(7)).
pub fn check_xattr(cx: &mut Cx, inode: &InodeRef, name: &[u8], write: bool) -> Res<()> {
    let meta = inode.meta(cx)?;
    let access = if write { W_OK } else { R_OK };
    if matches!(name, b"user." | b"trusted." | b"security.") {
        return Err(Errno::EINVAL);
    }
    if name.starts_with(b"user.") {
        if !matches!(meta.kind(), Kind::File | Kind::Dir) {
            return Err(if write { Errno::EPERM } else { Errno::ENODATA });
        }
        return acl::check(cx, inode, &meta, access);
    }
    if name.starts_with(b"trusted.") {
        let denied = if write { Errno::EPERM } else { Errno::ENODATA };
        return if cx.cred.capable(cap::SYS_ADMIN) { Ok(()) } else { Err(denied) };
    }
    if name == b"security.capability" && write {
        return if cx.cred.capable(cap::SETFCAP) { Ok(()) } else { Err(Errno::EPERM) };
    }
    if name.starts_with(b"security.") {
        return if write && !cx.cred.capable(cap::SYS_ADMIN) { Err(Errno::EPERM) } else { Ok(()) };
    }
    // Who may change a list is asked after what it is: `acl::set`.
    let has_lists = acl::is_acl(name) && meta.kind() != Kind::Symlink;
    if has_lists { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

/// Sets, or without a `value` removes, a POSIX ACL (acl(5)); the permission bits follow an access list.
pub fn set_acl(cx: &mut Cx, dentry: &Rc<Dentry>, name: &[u8], value: Option<&[u8]>) -> Res<()> {
    let list = Acl::read(value.unwrap_or_default())?;
    let meta = dentry.inode().meta(cx)?;
    let perm = acl::set(cx, dentry.inode(), &meta, name, list)?
        .map(|mode| perm::chmod_bits(&cx.cred, &meta, meta.mode & 0o7000 | mode));
    let attr = SetAttr { perm, ..SetAttr::default() };
    set_attr(cx, dentry, &attr, IN_ATTRIB)
}
