//! Names: `path_*`.

use super::errno::Code;
use super::files::status_flags;
use super::{Answer, Program, memory, stat};
use abi::Errno;
use abi::fcntl::{O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};
use kernel::fs::ops::{self, OpenHow, Place};
use kernel::fs::{Dentry, Kind, Lookup, Res, walk};
use std::rc::Rc;
use wasip1 as w;

/// Permission bits of new files and directories, before the umask.
const FILE_MODE: u32 = 0o666;
const DIR_MODE: u32 = 0o777;

/// A path that does not leave the directory it is given with: absolute ones do, and such that go up too far. (Where the links on its way
/// lead is the image's business.)
fn path_below(at: u32, len: u32) -> Res<Vec<u8>> {
    let path = memory::path(at, len)?;
    if path.first() == Some(&b'/') {
        return Err(Errno::EPERM);
    }
    let mut depth = 0_u32;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => depth = depth.checked_sub(1).ok_or(Errno::EPERM)?,
            _ => depth += 1,
        }
    }
    Ok(path)
}

fn follows(flags: u32) -> bool {
    flags & u32::from(w::LOOKUPFLAGS_SYMLINK_FOLLOW) != 0
}

impl Program {
    /// A directory and a path below it.
    fn below(&self, fd: u32, at: u32, len: u32) -> Result<(Rc<Dentry>, Vec<u8>), Code> {
        let dir = self.table.directory(fd)?;
        Ok((dir.dentry().clone(), path_below(at, len)?))
    }

    /// What a path names.
    fn find(&mut self, (dir, path): (Rc<Dentry>, Vec<u8>), follow: bool) -> Res<Rc<Dentry>> {
        let (mut cx, at) = self.cx();
        walk::resolve(&mut cx, &at, &dir, &path, Lookup { follow, resolve: 0 })
    }

    #[expect(clippy::too_many_arguments, reason = "WASI's own")]
    pub fn path_open(
        &mut self,
        fd: u32,
        lookup: u32,
        path: u32,
        len: u32,
        oflags: u32,
        rights: u64,
        _inheriting: u64,
        fdflags: u32,
        out: u32,
    ) -> Answer {
        let (dir, path) = self.below(fd, path, len)?;
        let asks = |flag: w::Oflags| oflags & u32::from(flag) != 0;
        let changes = asks(w::OFLAGS_CREAT) || asks(w::OFLAGS_EXCL) || asks(w::OFLAGS_TRUNC);
        if asks(w::OFLAGS_DIRECTORY) && changes {
            return Err(Errno::EINVAL.into());
        }
        let (read, write) = (rights & w::RIGHTS_FD_READ != 0, rights & w::RIGHTS_FD_WRITE != 0);
        let mut flags = match (read, write) {
            (_, false) => O_RDONLY,
            (false, true) => O_WRONLY,
            (true, true) => O_RDWR,
        };
        for (asked, flag) in [
            (asks(w::OFLAGS_CREAT), O_CREAT),
            (asks(w::OFLAGS_DIRECTORY), O_DIRECTORY),
            (asks(w::OFLAGS_EXCL), O_EXCL),
            (asks(w::OFLAGS_TRUNC), O_TRUNC),
            (!follows(lookup), O_NOFOLLOW),
        ] {
            flags |= if asked { flag } else { 0 };
        }
        flags |= status_flags(fdflags);
        let (mut cx, at) = self.cx();
        let how = OpenHow { flags, mode: FILE_MODE, resolve: 0 };
        let file = ops::open(&mut cx, &at, &dir, &path, how)?;
        let opened = self.table.add(file)?;
        if let Err(error) = memory::put_u32(out, opened) {
            self.table.close(opened)?;
            return Err(error.into());
        }
        Ok(())
    }

    pub fn path_create_directory(&mut self, fd: u32, path: u32, len: u32) -> Answer {
        let (dir, path) = self.below(fd, path, len)?;
        let (mut cx, at) = self.cx();
        Ok(ops::mkdir(&mut cx, &at, &dir, &path, DIR_MODE)?)
    }

    pub fn path_filestat_get(
        &mut self,
        fd: u32,
        lookup: u32,
        path: u32,
        len: u32,
        out: u32,
    ) -> Answer {
        let found = self.below(fd, path, len)?;
        let found = self.find(found, follows(lookup))?;
        let meta = found.inode().meta(&mut self.cx().0)?;
        Ok(memory::put(out, &stat::filestat(&meta))?)
    }

    #[expect(clippy::too_many_arguments, reason = "WASI's own")]
    pub fn path_filestat_set_times(
        &mut self,
        fd: u32,
        lookup: u32,
        path: u32,
        len: u32,
        atime: u64,
        mtime: u64,
        flags: u32,
    ) -> Answer {
        let found = self.below(fd, path, len)?;
        let found = self.find(found, follows(lookup))?;
        let (atime, mtime) = stat::times(atime, mtime, flags)?;
        Ok(ops::set_times(&mut self.cx().0, &found, atime, mtime)?)
    }

    #[expect(clippy::too_many_arguments, reason = "WASI's own")]
    pub fn path_link(
        &mut self,
        from: u32,
        lookup: u32,
        old: u32,
        old_len: u32,
        to: u32,
        new: u32,
        new_len: u32,
    ) -> Answer {
        let old = self.below(from, old, old_len)?;
        let (dir, new) = self.below(to, new, new_len)?;
        // As wasmtime: the second name of a link is one of the link.
        if follows(lookup) {
            return Err(Errno::EINVAL.into());
        }
        let old = self.find(old, false)?;
        let (mut cx, at) = self.cx();
        Ok(ops::link(&mut cx, &at, &old, &dir, &new)?)
    }

    pub fn path_readlink(
        &mut self,
        fd: u32,
        path: u32,
        len: u32,
        buffer: u32,
        room: u32,
        out: u32,
    ) -> Answer {
        let found = self.below(fd, path, len)?;
        let found = self.find(found, false)?;
        if found.inode().kind() != Kind::Symlink {
            return Err(Errno::EINVAL.into());
        }
        let mut target = found.inode().read_link(&mut self.cx().0)?;
        target.truncate(room as usize);
        memory::put(buffer, &target)?;
        Ok(memory::put_u32(out, target.len() as u32)?)
    }

    pub fn path_remove_directory(&mut self, fd: u32, path: u32, len: u32) -> Answer {
        self.remove(fd, path, len, true)
    }

    pub fn path_unlink_file(&mut self, fd: u32, path: u32, len: u32) -> Answer {
        self.remove(fd, path, len, false)
    }

    fn remove(&mut self, fd: u32, path: u32, len: u32, is_dir: bool) -> Answer {
        let (dir, path) = self.below(fd, path, len)?;
        let (mut cx, at) = self.cx();
        Ok(ops::remove(&mut cx, &at, &dir, &path, is_dir)?)
    }

    pub fn path_rename(
        &mut self,
        from: u32,
        old: u32,
        old_len: u32,
        to: u32,
        new: u32,
        new_len: u32,
    ) -> Answer {
        let (from, old) = self.below(from, old, old_len)?;
        let (to, new) = self.below(to, new, new_len)?;
        let (mut cx, at) = self.cx();
        let (old, new) = (Place { dir: &from, path: &old }, Place { dir: &to, path: &new });
        Ok(ops::rename(&mut cx, &at, old, new, 0)?)
    }

    pub fn path_symlink(
        &mut self,
        target: u32,
        target_len: u32,
        fd: u32,
        path: u32,
        len: u32,
    ) -> Answer {
        let target = memory::path(target, target_len)?;
        let (dir, path) = self.below(fd, path, len)?;
        // As wasmtime: a program of WASI makes no link out of what it was given.
        if target.first() == Some(&b'/') {
            return Err(Errno::EPERM.into());
        }
        let (mut cx, at) = self.cx();
        Ok(ops::symlink(&mut cx, &at, &target, &dir, &path)?)
    }
}
