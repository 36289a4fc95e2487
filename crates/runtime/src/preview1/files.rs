//! The host's side of `mux::files`: what WASI preview 1 lacks of the preopened directories.
//!
//! A path is opened with openat2(2) beneath its directory and without following a link, so that nothing outside can be
//! reached, whatever the path says and whoever changes it meanwhile.

use mux::files::{Attributes, Request, What};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
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
}

impl Files {
    /// Directories in the order of their descriptors, and whether they may be changed. A box started by somebody who is not
    /// root sees that user's files as root's.
    pub fn new(dirs: Vec<(File, bool)>) -> Files {
        Files { dirs, answer: Vec::new() }
    }

    /// Takes a request.
    pub fn ask(&mut self, request: &[u8]) {
        let done =
            Request::decode(request).ok_or(Errno::INVAL).and_then(|request| self.do_it(request));
        let (errno, answer) = match done {
            Ok(answer) => (0, answer),
            Err(errno) => (errno.raw_os_error(), Vec::new()),
        };
        self.answer = [&errno.to_le_bytes()[..], &answer].concat();
    }

    /// Gives its answer.
    pub fn answer(&mut self, buf: &mut [u8]) -> usize {
        let answer = std::mem::take(&mut self.answer);
        let n = answer.len().min(buf.len());
        buf[..n].copy_from_slice(&answer[..n]);
        n
    }

    fn do_it(&self, request: Request<'_>) -> Result<Vec<u8>> {
        let index = request.dir.checked_sub(FIRST_PREOPEN).ok_or(Errno::BADF)? as usize;
        let (dir, writable) = self.dirs.get(index).ok_or(Errno::BADF)?;
        if !writable && !matches!(request.what, What::Stat | What::Readlink) {
            return Err(Errno::ROFS);
        }
        match request.what {
            What::Stat => {
                let file = open(dir.as_fd(), request.path)?;
                return Ok(attributes(&rustix::fs::fstat(&file)?).encode());
            }
            What::Readlink => {
                let file = open(dir.as_fd(), request.path)?;
                return Ok(rustix::fs::readlinkat(file, "", Vec::new())?.into_bytes());
            }
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

/// Names a file below `dir`.
fn open(dir: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)
}

/// The directory that a new name goes into, and the name.
fn parent<'a>(dir: BorrowedFd<'_>, path: &'a [u8]) -> Result<(OwnedFd, &'a [u8])> {
    let cut = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = match cut {
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
