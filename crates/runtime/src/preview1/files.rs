//! The host's side of `mux::files`: what WASI preview 1 lacks of the preopened directories.
//!
//! A path is opened with openat2(2) beneath its directory and without following a link, so that nothing outside can be
//! reached, whatever the path says and whoever changes it meanwhile.

use mux::files::{Attributes, Entry, Request, What};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::{Errno, Result};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Number of the first preopened directory.
const FIRST_PREOPEN: u32 = 3;

/// The preopened directories.
pub struct Files {
    dirs: Vec<(File, bool)>,
    answer: Vec<u8>,
    /// Bytes of it that were read.
    given: usize,
}

impl Files {
    /// Directories in the order of their descriptors, and whether they may be changed. A box started by somebody who is not
    /// root sees that user's files as root's.
    pub fn new(dirs: Vec<(File, bool)>) -> Files {
        Files { dirs, answer: Vec::new(), given: 0 }
    }

    /// Takes a request.
    pub fn ask(&mut self, request: &[u8]) {
        let done =
            Request::decode(request).ok_or(Errno::INVAL).and_then(|request| self.do_it(request));
        let (errno, answer) = match done {
            Ok(answer) => (0, answer),
            Err(errno) => (errno.raw_os_error(), Vec::new()),
        };
        let len = answer.len() as u32;
        self.answer = [&errno.to_le_bytes()[..], &len.to_le_bytes(), &answer].concat();
        self.given = 0;
    }

    /// Gives the next part of its answer.
    pub fn answer(&mut self, buf: &mut [u8]) -> usize {
        let rest = self.answer.get(self.given..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.given += n;
        n
    }

    fn do_it(&self, request: Request<'_>) -> Result<Vec<u8>> {
        let index = request.dir.checked_sub(FIRST_PREOPEN).ok_or(Errno::BADF)? as usize;
        let (dir, writable) = self.dirs.get(index).ok_or(Errno::BADF)?;
        if !writable && !matches!(request.what, What::Stat | What::Readlink | What::List) {
            return Err(Errno::ROFS);
        }
        match request.what {
            What::Stat => {
                let file = open(dir.as_fd(), request.path)?;
                return Ok(attributes(&rustix::fs::fstat(&file)?).encode());
            }
            What::Readlink => {
                let file = open(dir.as_fd(), request.path)?;
                return match rustix::fs::readlinkat(file, "", Vec::new()) {
                    // The file is there: that is how Linux says of a descriptor that it is no link.
                    Err(rustix::io::Errno::NOENT) => Err(Errno::INVAL),
                    target => Ok(target?.into_bytes()),
                };
            }
            What::List => return list(dir.as_fd(), request.path),
            What::SetPerm(perm) => {
                let file = open(dir.as_fd(), request.path)?;
                let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
                if kind == FileType::Symlink {
                    return Err(Errno::OPNOTSUPP);
                }
                // fchmod(2) does not take a descriptor that only names a place.
                let place = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
                rustix::fs::chmodat(
                    CWD,
                    place,
                    Mode::from_raw_mode(perm & 0o7777),
                    AtFlags::empty(),
                )?;
            }
            What::SetOwner(uid, gid) => {
                let file = open(dir.as_fd(), request.path)?;
                let (uid, gid) = (uid.map(to_host_user), gid.map(to_host_group));
                rustix::fs::chownat(file, "", uid, gid, AtFlags::EMPTY_PATH)?;
            }
            What::Mknod(mode) => {
                let kind = FileType::from_raw_mode(mode);
                if !matches!(kind, FileType::Fifo | FileType::Socket) {
                    return Err(Errno::PERM);
                }
                let (parent, name) = parent(dir.as_fd(), request.path)?;
                rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(mode & 0o7777), 0)?;
            }
            What::Symlink(target) => {
                let (parent, name) = parent(dir.as_fd(), request.path)?;
                rustix::fs::symlinkat(target, parent, name)?;
            }
        }
        Ok(Vec::new())
    }
}

/// The entries of a directory but `.` and `..`.
fn list(dir: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<u8>> {
    let dir = open_as(dir, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut answer = Vec::new();
    for entry in Dir::new(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            let kind = entry.file_type().as_raw_mode();
            Entry { ino: entry.ino(), kind, name }.encode(&mut answer);
        }
    }
    Ok(answer)
}

/// Names a file below `dir`.
fn open(dir: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    open_as(dir, path, OFlags::PATH)
}

fn open_as(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)
}

/// The directory that a new name goes into, and the name.
fn parent<'a>(dir: BorrowedFd<'_>, path: &'a [u8]) -> Result<(OwnedFd, &'a [u8])> {
    let cut = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = match cut {
        // Not below the directory: refused when it is opened.
        Some(0) => (&b"/"[..], &path[1..]),
        Some(cut) => (&path[..cut], &path[cut + 1..]),
        None => (&b""[..], path),
    };
    if matches!(name, b"" | b"." | b"..") {
        return Err(Errno::INVAL);
    }
    Ok((open(dir, parent)?, name))
}

/// In the box this process's user is root.
fn to_host_user(uid: u32) -> Uid {
    let own = rustix::process::geteuid();
    if uid == 0 { own } else { Uid::from_raw(uid) }
}

fn to_host_group(gid: u32) -> Gid {
    let own = rustix::process::getegid();
    if gid == 0 && !rustix::process::geteuid().is_root() { own } else { Gid::from_raw(gid) }
}

fn attributes(stat: &Stat) -> Attributes {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let time = |seconds: i64, ns: u64| {
        u64::try_from(seconds).unwrap_or_default().saturating_mul(1_000_000_000).saturating_add(ns)
    };
    Attributes {
        dev: stat.st_dev,
        ino: stat.st_ino,
        nlink: stat.st_nlink,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        blocks: u64::try_from(stat.st_blocks).unwrap_or_default(),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        mode: stat.st_mode,
        uid: if stat.st_uid == uid { 0 } else { stat.st_uid },
        gid: if stat.st_gid == gid && uid != 0 { 0 } else { stat.st_gid },
    }
}

/// Opens the directories for [`Files::new`].
pub fn open_dir(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // the helpers of tests are tests, too
mod tests {
    use super::{Files, open_dir};
    use mux::files::{Attributes, Request, What};
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    const ENOENT: i32 = 2;
    const EXDEV: i32 = 18;
    const EINVAL: i32 = 22;
    const EROFS: i32 = 30;
    const ELOOP: i32 = 40;
    const EBADF: i32 = 9;

    fn ask(files: &mut Files, dir: u32, path: &str, what: What<'_>) -> Result<Vec<u8>, i32> {
        files.ask(&Request { dir, path: path.as_bytes(), what }.encode());
        let mut answer = vec![0; 3];
        let mut all = Vec::new();
        loop {
            match files.answer(&mut answer) {
                0 => break,
                n => all.extend_from_slice(&answer[..n]),
            }
        }
        let errno = i32::from_le_bytes(all[..4].try_into().unwrap());
        assert_eq!(u32::from_le_bytes(all[4..8].try_into().unwrap()) as usize, all.len() - 8);
        if errno == 0 { Ok(all.split_off(8)) } else { Err(errno) }
    }

    #[test]
    fn what_is_no_link_is_there_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        symlink("file", dir.path().join("link")).unwrap();
        let mut files = Files::new(vec![(open_dir(dir.path()).unwrap(), false)]);
        let mut read = |path| ask(&mut files, 3, path, What::Readlink);
        assert_eq!(read("link"), Ok(b"file".to_vec()));
        assert_eq!((read("file"), read("d"), read("")), (Err(EINVAL), Err(EINVAL), Err(EINVAL)));
        assert_eq!((read("none"), read("d/none")), (Err(ENOENT), Err(ENOENT)));
    }

    #[test]
    fn nothing_outside_is_reached() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        std::fs::create_dir_all(inner.join("d")).unwrap();
        std::fs::write(outer.path().join("secret"), "x").unwrap();
        symlink("..", inner.join("up")).unwrap();
        symlink(outer.path(), inner.join("abs")).unwrap();
        let mut files = Files::new(vec![(open_dir(&inner).unwrap(), true)]);
        for (path, errno) in [
            ("..", EXDEV),
            ("../secret", EXDEV),
            ("d/../../secret", EXDEV),
            ("/etc/passwd", EXDEV),
            ("up/secret", ELOOP),
            ("abs/secret", ELOOP),
            ("none", ENOENT),
        ] {
            for what in
                [What::Stat, What::SetPerm(0), What::SetOwner(Some(1), None), What::Readlink]
            {
                assert_eq!(ask(&mut files, 3, path, what), Err(errno), "{path}");
            }
        }
        for path in ["up/new", "../new", "/new"] {
            assert!(ask(&mut files, 3, path, What::Mknod(0o010600)).is_err(), "{path}");
            assert!(ask(&mut files, 3, path, What::Symlink(b"x")).is_err(), "{path}");
        }
        for path in ["", ".", "..", "d/.."] {
            assert_eq!(ask(&mut files, 3, path, What::Symlink(b"x")), Err(EINVAL), "{path}");
        }
        assert_eq!(ask(&mut files, 4, "", What::Stat), Err(EBADF));
        assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 2);
        // The links themselves are seen.
        assert_eq!(ask(&mut files, 3, "up", What::Readlink), Ok(b"..".to_vec()));
    }

    #[test]
    fn what_wasi_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new(vec![(open_dir(dir.path()).unwrap(), true)]);
        ask(&mut files, 3, "fifo", What::Mknod(0o010640)).unwrap();
        ask(&mut files, 3, "link", What::Symlink(b"/absolute")).unwrap();
        ask(&mut files, 3, "fifo", What::SetPerm(0o4711)).unwrap();
        let meta = dir.path().join("fifo").symlink_metadata().unwrap();
        assert!(meta.file_type().is_fifo());
        assert_eq!(meta.permissions().mode() & 0o7777, 0o4711);
        let stat = Attributes::decode(&ask(&mut files, 3, "fifo", What::Stat).unwrap()).unwrap();
        assert_eq!((stat.mode, stat.uid, stat.nlink), (0o014711, 0, 1));
        let device = What::Mknod(0o020600);
        assert!(ask(&mut files, 3, "null", device).is_err());
        assert!(ask(&mut files, 3, "", What::List).unwrap().windows(4).any(|name| name == b"link"));
    }

    #[test]
    fn read_only_is_read_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "x").unwrap();
        let mut files = Files::new(vec![(open_dir(dir.path()).unwrap(), false)]);
        for what in [
            What::SetPerm(0),
            What::SetOwner(None, None),
            What::Mknod(0o010600),
            What::Symlink(b"x"),
        ] {
            assert_eq!(ask(&mut files, 3, "f", what), Err(EROFS));
        }
        assert!(ask(&mut files, 3, "f", What::Stat).is_ok());
    }
}
