//! What the host answers about files beyond WASI preview 1: the box's side of `mux::files`.

use crate::wasi;
use abi::Errno;
use kernel::host::{HostFd, HostKind, HostStat, HostUnix};
use mux::files::{Attributes, Request, What};

/// Longest answer: an error number and the target of a link (PATH_MAX).
const ANSWER: usize = 4 + 4096;

/// The descriptor that answers, if the host has one.
pub struct Files(Option<wasi::Fd>);

impl Files {
    /// The descriptor.
    pub fn new(fd: Option<wasi::Fd>) -> Files {
        Files(fd)
    }

    /// Asks. `ENOSYS` where the host has no answers.
    pub fn ask(&mut self, dir: HostFd, path: &[u8], what: What<'_>) -> Result<Vec<u8>, Errno> {
        let fd = self.0.ok_or(Errno::ENOSYS)?;
        let request = Request { dir: dir.0, path, what }.encode();
        let mut answer = vec![0; ANSWER];
        let done = match wasi::write(fd, &request) {
            Ok(n) if n == request.len() => wasi::read(fd, &mut answer),
            Ok(_) => Err(Errno::EIO),
            Err(error) => Err(error),
        };
        let len = match done {
            Ok(len @ 4..=ANSWER) => len,
            // Not what it said to be.
            _ => {
                self.0 = None;
                return Err(Errno::ENOSYS);
            }
        };
        answer.truncate(len);
        let payload = answer.split_off(4);
        let errno = answer.try_into().map(i32::from_le_bytes).unwrap_or(-1);
        match errno {
            0 => Ok(payload),
            errno => Err(Errno::from_raw(errno).unwrap_or(Errno::EIO)),
        }
    }

    /// The attributes of a file.
    pub fn stat(&mut self, dir: HostFd, path: &[u8]) -> Result<HostStat, Errno> {
        let answer = self.ask(dir, path, What::Stat)?;
        let found = Attributes::decode(&answer).ok_or(Errno::EIO)?;
        Ok(HostStat {
            dev: found.dev,
            ino: found.ino,
            kind: match found.mode & 0o170000 {
                0o100000 => HostKind::File,
                0o040000 => HostKind::Dir,
                0o120000 => HostKind::Symlink,
                0o010000 => HostKind::Fifo,
                _ => HostKind::Other,
            },
            nlink: found.nlink,
            size: found.size,
            atime: found.atime,
            mtime: found.mtime,
            ctime: found.ctime,
            unix: Some(HostUnix {
                perm: found.mode & 0o7777,
                uid: found.uid,
                gid: found.gid,
                blocks: found.blocks,
            }),
        })
    }
}
