//! What the host answers about files beyond WASI preview 1: the box's side of `mux::files`.

use crate::wasi;
use abi::Errno;
use abi::stat::{S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG};
use kernel::host::{HostDirent, HostFd, HostKind, HostStat, HostUnix};
use mux::files::{Attributes, Entry, Request, What};

/// Bytes before an answer: an error number and the answer's length.
const HEADER: usize = 8;
/// Most bytes of an answer that come with its header.
const FIRST: usize = 4096;
/// Longest answer that is taken: a directory of some million entries.
const MOST: usize = 256 << 20;

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
        let Some((errno, answer)) = exchange(fd, &request) else {
            // Not what it said to be.
            self.0 = None;
            return Err(Errno::ENOSYS);
        };
        match errno {
            0 => Ok(answer),
            errno => Err(Errno::from_raw(errno).unwrap_or(Errno::EIO)),
        }
    }

    /// The entries of a directory.
    pub fn list(&mut self, dir: HostFd, path: &[u8]) -> Result<Vec<HostDirent>, Errno> {
        let answer = self.ask(dir, path, What::List)?;
        let mut rest = answer.as_slice();
        let mut entries = Vec::new();
        while let Some(Entry { ino, kind, name }) = Entry::take(&mut rest) {
            entries.push(HostDirent { name: name.to_vec(), ino, kind: kind_of(kind) });
        }
        Ok(entries)
    }

    /// The attributes of a file.
    pub fn stat(&mut self, dir: HostFd, path: &[u8]) -> Result<HostStat, Errno> {
        let answer = self.ask(dir, path, What::Stat)?;
        let found = Attributes::decode(&answer).ok_or(Errno::EIO)?;
        Ok(HostStat {
            dev: found.dev,
            ino: found.ino,
            kind: kind_of(found.mode),
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

/// One request and its answer: the error number and what was asked for.
fn exchange(fd: wasi::Fd, request: &[u8]) -> Option<(i32, Vec<u8>)> {
    if wasi::write(fd, request) != Ok(request.len()) {
        return None;
    }
    let mut answer = vec![0; HEADER + FIRST];
    let got = wasi::read(fd, &mut answer).ok()?;
    answer.truncate(got);
    let (header, _) = answer.split_first_chunk::<HEADER>()?;
    let [e0, e1, e2, e3, l0, l1, l2, l3] = *header;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > MOST {
        return None;
    }
    let mut at = answer.len();
    answer.resize(HEADER + len, 0);
    while let Some(rest) = answer.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match wasi::read(fd, rest).ok()? {
            0 => return None,
            n => at += n,
        }
    }
    answer.drain(..HEADER);
    Some((i32::from_le_bytes([e0, e1, e2, e3]), answer))
}

fn kind_of(mode: u32) -> HostKind {
    match mode & S_IFMT {
        S_IFREG => HostKind::File,
        S_IFDIR => HostKind::Dir,
        S_IFLNK => HostKind::Symlink,
        S_IFIFO => HostKind::Fifo,
        _ => HostKind::Other,
    }
}
