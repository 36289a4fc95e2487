//! Directories: getdents64(2), chdir(2), chroot(2), getcwd(2), umask(2).

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{AT_FDCWD, PATH_MAX};
use abi::stat::X_OK;

use crate::file::directory::Directory;
use crate::fs::cx::cap;
use crate::fs::{Dentry, Kind, acl};
use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId};

/// Bytes of `struct linux_dirent64` before the name, and of `struct linux_dirent`.
const HEADER64: usize = 19;
const HEADER: usize = 18;

impl Kernel {
    /// Both forms of getdents: `old` puts the type after the name.
    fn list_dir(&mut self, tid: ThreadId, a: Args, old: bool) -> SysResult {
        let file = self.file(tid, a.i32(0))?;
        let Some(dir) = file.object::<Directory>() else { return Err(Errno::ENOTDIR.into()) };
        let mut cx = self.cx(tid);
        let items = dir.entries(&mut cx, &file)?;
        if items.is_empty() {
            // The directory was removed.
            return Err(Errno::ENOENT.into());
        }
        let room = (u64::from(a.u32(2)) as usize).min(1 << 20);
        let mut out: Vec<u8> = Vec::new();
        let start = file.pos.get();
        let mut next = start;
        let index = usize::try_from(start).unwrap_or(usize::MAX);
        for item in items.get(index..).unwrap_or(&[]) {
            let base =
                if old { HEADER + item.name.len() + 2 } else { HEADER64 + item.name.len() + 1 };
            let len = base.next_multiple_of(8);
            if out.len() + len > room {
                break;
            }
            let at = out.len();
            next += 1;
            out.extend_from_slice(&item.ino.to_le_bytes());
            out.extend_from_slice(&next.to_le_bytes());
            out.extend_from_slice(&(len as u16).to_le_bytes());
            if !old {
                out.push(item.kind.dirent_type());
            }
            out.extend_from_slice(&item.name);
            out.resize(at + len, 0);
            if old && let Some(last) = out.last_mut() {
                *last = item.kind.dirent_type();
            }
        }
        if out.is_empty() && index < items.len() {
            return Err(Errno::EINVAL.into());
        }
        self.mm.write_user(a.u64(1), &out)?;
        file.pos.set(next);
        Ok(out.len() as u64)
    }

    fn enter_dir(&mut self, tid: ThreadId, dir: Rc<Dentry>) -> SysResult {
        self.check_dir(tid, &dir)?;
        self.tasks[tid].fs.borrow_mut().cwd = dir;
        Ok(0)
    }

    fn check_dir(&mut self, tid: ThreadId, dir: &Rc<Dentry>) -> Result<(), Errno> {
        if dir.inode().kind() != Kind::Dir {
            return Err(Errno::ENOTDIR);
        }
        let mut cx = self.cx(tid);
        let meta = dir.inode().meta(&mut cx)?;
        acl::check(&mut cx, dir.inode(), &meta, X_OK)
    }
}

/// getdents64(2)
pub fn getdents64(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.list_dir(tid, a, false)
}

/// getdents(2)
pub fn getdents(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.list_dir(tid, a, true)
}

/// chdir(2)
pub fn chdir(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let path = k.mm.read_path(a.u64(0))?;
    let dir = k.lookup_at(tid, AT_FDCWD, &path, 0, true)?;
    k.enter_dir(tid, dir)
}

/// fchdir(2)
pub fn fchdir(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let dir = k.any_file(tid, a.i32(0))?.dentry().clone();
    k.enter_dir(tid, dir)
}

/// chroot(2)
pub fn chroot(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let path = k.mm.read_path(a.u64(0))?;
    let dir = k.lookup_at(tid, AT_FDCWD, &path, 0, true)?;
    k.check_dir(tid, &dir)?;
    if !k.cx(tid).cred.capable(cap::SYS_CHROOT) {
        return Err(Errno::EPERM.into());
    }
    k.tasks[tid].fs.borrow_mut().root = dir;
    Ok(0)
}

/// getcwd(2)
pub fn getcwd(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let at = k.path_cx(tid);
    if at.cwd.is_gone() {
        return Err(Errno::ENOENT.into());
    }
    let (mut path, reached) = at.cwd.path_from(&at.root);
    if !reached {
        path = [b"(unreachable)", path.as_slice()].concat();
    }
    path.push(0);
    if path.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if path.len() as u64 > a.u64(1) {
        return Err(Errno::ERANGE.into());
    }
    k.mm.write_user(a.u64(0), &path)?;
    Ok(path.len() as u64)
}

/// umask(2)
pub fn umask(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let fs = k.tasks[tid].fs.clone();
    let old = std::mem::replace(&mut fs.borrow_mut().umask, a.u32(0) & 0o777);
    Ok(u64::from(old))
}
