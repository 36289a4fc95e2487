//! Names: mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rmdir(2), rename(2), readlink(2), access(2) and their
//! `*at` forms.

use abi::Errno;
use abi::fcntl::{
    AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW,
    PATH_MAX,
};
use abi::stat::{R_OK, W_OK, X_OK};

use crate::fs::Cx;
use crate::fs::ops::{self, Place};
use crate::fs::walk::{Lookup, resolve};
use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId};

impl Kernel {
    fn mkdir_at(&mut self, tid: ThreadId, dirfd: i32, path: u64, mode: u32) -> SysResult {
        let path = self.mm.read_path(path)?;
        let (dir, at) = (self.start_dir(tid, dirfd, &path)?, self.path_cx(tid));
        ops::mkdir(&mut self.cx(tid), &at, &dir, &path, mode)?;
        Ok(0)
    }

    fn mknod_at(&mut self, tid: ThreadId, dirfd: i32, path: u64, mode: u32, dev: u64) -> SysResult {
        let path = self.mm.read_path(path)?;
        let (dir, at) = (self.start_dir(tid, dirfd, &path)?, self.path_cx(tid));
        ops::mknod(&mut self.cx(tid), &at, &dir, &path, mode, dev)?;
        Ok(0)
    }

    fn symlink_at(&mut self, tid: ThreadId, target: u64, dirfd: i32, path: u64) -> SysResult {
        let target = self.mm.read_path(target)?;
        let path = self.mm.read_path(path)?;
        let (dir, at) = (self.start_dir(tid, dirfd, &path)?, self.path_cx(tid));
        ops::symlink(&mut self.cx(tid), &at, &target, &dir, &path)?;
        Ok(0)
    }

    fn link_at(
        &mut self,
        tid: ThreadId,
        old: (i32, u64),
        new: (i32, u64),
        flags: u32,
    ) -> SysResult {
        if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let (old_path, path) = (self.mm.read_path(old.1)?, self.mm.read_path(new.1)?);
        let follow = flags & AT_SYMLINK_FOLLOW != 0;
        let source = self.lookup_at(tid, old.0, &old_path, flags, follow)?;
        let (dir, at) = (self.start_dir(tid, new.0, &path)?, self.path_cx(tid));
        ops::link(&mut self.cx(tid), &at, &source, &dir, &path)?;
        Ok(0)
    }

    fn remove_at(&mut self, tid: ThreadId, dirfd: i32, path: u64, rmdir: bool) -> SysResult {
        let path = self.mm.read_path(path)?;
        let (dir, at) = (self.start_dir(tid, dirfd, &path)?, self.path_cx(tid));
        ops::remove(&mut self.cx(tid), &at, &dir, &path, rmdir)?;
        self.mm.reap();
        Ok(0)
    }

    fn rename_at(
        &mut self,
        tid: ThreadId,
        old: (i32, u64),
        new: (i32, u64),
        flags: u32,
    ) -> SysResult {
        let (old_path, new_path) = (self.mm.read_path(old.1)?, self.mm.read_path(new.1)?);
        let old_dir = self.start_dir(tid, old.0, &old_path)?;
        let new_dir = self.start_dir(tid, new.0, &new_path)?;
        let at = self.path_cx(tid);
        let from = Place { dir: &old_dir, path: &old_path };
        let to = Place { dir: &new_dir, path: &new_path };
        ops::rename(&mut self.cx(tid), &at, from, to, flags)?;
        self.mm.reap();
        Ok(0)
    }

    fn readlink_at(
        &mut self,
        tid: ThreadId,
        dirfd: i32,
        path: u64,
        buf: u64,
        size: u64,
    ) -> SysResult {
        if size as i64 <= 0 {
            return Err(Errno::EINVAL.into());
        }
        let path = self.mm.read_path(path)?;
        let empty = path.is_empty();
        let link = self.lookup_at(tid, dirfd, &path, AT_EMPTY_PATH, false)?;
        let mut cx = self.cx(tid);
        let target = link.inode().read_link(&mut cx).map_err(|e| match e {
            Errno::EINVAL if empty => Errno::ENOENT,
            e => e,
        })?;
        link.inode().touch_atime(&mut cx);
        let n = target.len().min(size.min(PATH_MAX as u64) as usize);
        self.mm.write_user(buf, target.get(..n).unwrap_or(&[]))?;
        Ok(n as u64)
    }

    fn access_at(
        &mut self,
        tid: ThreadId,
        dirfd: i32,
        path: u64,
        mode: u32,
        flags: u32,
    ) -> SysResult {
        let known = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
        if mode & !(R_OK | W_OK | X_OK) != 0 || flags & !known != 0 {
            return Err(Errno::EINVAL.into());
        }
        let path = self.mm.read_path(path)?;
        let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
        let creds = &self.tasks[tid].creds;
        let cred = if flags & AT_EACCESS != 0 { creds.fs() } else { creds.real_fs() };
        let dentry = if path.is_empty() {
            self.lookup_at(tid, dirfd, &path, flags, follow)?
        } else {
            let (dir, at) = (self.start_dir(tid, dirfd, &path)?, self.path_cx(tid));
            let mut cx = Cx::new(self, cred.clone());
            resolve(&mut cx, &at, &dir, &path, Lookup { follow, resolve: 0 })?
        };
        ops::access(&mut Cx::new(self, cred), &dentry, mode)?;
        Ok(0)
    }
}

/// mkdir(2)
pub fn mkdir(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.mkdir_at(tid, AT_FDCWD, a.u64(0), a.u32(1))
}

/// mkdirat(2)
pub fn mkdirat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.mkdir_at(tid, a.i32(0), a.u64(1), a.u32(2))
}

/// mknod(2)
pub fn mknod(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.mknod_at(tid, AT_FDCWD, a.u64(0), a.u32(1), a.u64(2))
}

/// mknodat(2)
pub fn mknodat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.mknod_at(tid, a.i32(0), a.u64(1), a.u32(2), a.u64(3))
}

/// symlink(2)
pub fn symlink(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.symlink_at(tid, a.u64(0), AT_FDCWD, a.u64(1))
}

/// symlinkat(2)
pub fn symlinkat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.symlink_at(tid, a.u64(0), a.i32(1), a.u64(2))
}

/// link(2)
pub fn link(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.link_at(tid, (AT_FDCWD, a.u64(0)), (AT_FDCWD, a.u64(1)), 0)
}

/// linkat(2)
pub fn linkat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.link_at(tid, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), a.u32(4))
}

/// unlink(2)
pub fn unlink(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.remove_at(tid, AT_FDCWD, a.u64(0), false)
}

/// unlinkat(2)
pub fn unlinkat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.u32(2) & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL.into());
    }
    k.remove_at(tid, a.i32(0), a.u64(1), a.u32(2) & AT_REMOVEDIR != 0)
}

/// rmdir(2)
pub fn rmdir(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.remove_at(tid, AT_FDCWD, a.u64(0), true)
}

/// rename(2)
pub fn rename(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.rename_at(tid, (AT_FDCWD, a.u64(0)), (AT_FDCWD, a.u64(1)), 0)
}

/// renameat(2)
pub fn renameat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.rename_at(tid, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), 0)
}

/// renameat2(2)
pub fn renameat2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.rename_at(tid, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), a.u32(4))
}

/// readlink(2)
pub fn readlink(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.readlink_at(tid, AT_FDCWD, a.u64(0), a.u64(1), i64::from(a.i32(2)) as u64)
}

/// readlinkat(2)
pub fn readlinkat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.readlink_at(tid, a.i32(0), a.u64(1), a.u64(2), i64::from(a.i32(3)) as u64)
}

/// access(2)
pub fn access(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.access_at(tid, AT_FDCWD, a.u64(0), a.u32(1), 0)
}

/// faccessat(2): the system call has no flags.
pub fn faccessat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.access_at(tid, a.i32(0), a.u64(1), a.u32(2), 0)
}

/// faccessat2(2)
pub fn faccessat2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.access_at(tid, a.i32(0), a.u64(1), a.u32(2), a.u32(3))
}
