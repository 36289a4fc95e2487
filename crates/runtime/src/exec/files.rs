//! Files of a box that runs.

use super::Attach;
use mux::exec::{Call, Entry, MAX_DATA, OpenFlags, Stat, take_entry};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// Files of a box, as one user. Paths are the box's; relative ones begin at its root. Errors are Linux's, as those of the like-named
/// functions of `std::fs`.
#[derive(Clone)]
pub struct Files {
    attach: Attach,
    user: String,
}

impl Files {
    pub(super) fn new(attach: Attach) -> Files {
        Files { attach, user: String::new() }
    }

    /// The same as another user, `USER[:GROUP]`.
    #[must_use]
    pub fn as_user(&self, user: &str) -> Files {
        Files { attach: self.attach.clone(), user: user.to_owned() }
    }

    fn call(&self, call: Call<'_>) -> io::Result<Vec<u8>> {
        self.attach.call(&self.user, call).map(|(_, bytes)| bytes)
    }

    /// Opens a regular file or directory; `mode` are the permission bits of a new one.
    pub fn open(&self, path: impl AsRef<[u8]>, flags: OpenFlags, mode: u32) -> io::Result<File> {
        let call = Call::Open { flags, mode, path: path.as_ref() };
        let (number, _) = self.attach.call(&self.user, call)?;
        Ok(File { attach: self.attach.clone(), number, at: 0 })
    }

    /// The whole content of a file.
    pub fn read(&self, path: impl AsRef<[u8]>) -> io::Result<Vec<u8>> {
        let flags = OpenFlags { read: true, ..OpenFlags::default() };
        let mut bytes = Vec::new();
        self.open(path, flags, 0)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes a whole file, which is made with mode 0644 if it is missing.
    pub fn write(&self, path: impl AsRef<[u8]>, bytes: &[u8]) -> io::Result<()> {
        let flags = OpenFlags { write: true, create: true, truncate: true, ..OpenFlags::default() };
        self.open(path, flags, 0o644)?.write_all(bytes)
    }

    /// The entries of a directory, in its order, with their attributes.
    pub fn list(&self, path: impl AsRef<[u8]>) -> io::Result<Vec<Entry>> {
        let flags = OpenFlags { read: true, directory: true, ..OpenFlags::default() };
        let dir = self.open(path, flags, 0)?;
        let mut entries = Vec::new();
        loop {
            let bytes = self.call(Call::List { file: dir.number })?;
            let mut rest = bytes.as_slice();
            if rest.is_empty() {
                return Ok(entries);
            }
            while let Some(entry) = take_entry(&mut rest) {
                entries.push(entry);
            }
            if !rest.is_empty() {
                return Err(malformed());
            }
        }
    }

    /// Attributes of what a path leads to.
    pub fn stat(&self, path: impl AsRef<[u8]>) -> io::Result<Stat> {
        self.stat_by(path.as_ref(), true)
    }

    /// Attributes of a file, a symbolic link's own.
    pub fn lstat(&self, path: impl AsRef<[u8]>) -> io::Result<Stat> {
        self.stat_by(path.as_ref(), false)
    }

    fn stat_by(&self, path: &[u8], follow: bool) -> io::Result<Stat> {
        let bytes = self.call(Call::Stat { follow, path })?;
        Stat::decode(&bytes).ok_or_else(malformed)
    }

    /// Makes a directory; with `parents` those above it as well, and it may be there.
    pub fn mkdir(&self, path: impl AsRef<[u8]>, mode: u32, parents: bool) -> io::Result<()> {
        self.call(Call::Mkdir { parents, mode, path: path.as_ref() }).map(drop)
    }

    /// Removes a file or directory, with `recursive` all that is in it.
    pub fn remove(&self, path: impl AsRef<[u8]>, recursive: bool) -> io::Result<()> {
        self.call(Call::Remove { recursive, path: path.as_ref() }).map(drop)
    }

    /// Gives a file another name.
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> io::Result<()> {
        self.call(Call::Rename { from: from.as_ref(), to: to.as_ref() }).map(drop)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> io::Result<()> {
        self.call(Call::Symlink { target: target.as_ref(), path: path.as_ref() }).map(drop)
    }

    /// Gives a file a further name.
    pub fn link(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> io::Result<()> {
        self.call(Call::Link { from: from.as_ref(), to: to.as_ref() }).map(drop)
    }

    /// What a symbolic link holds.
    pub fn readlink(&self, path: impl AsRef<[u8]>) -> io::Result<Vec<u8>> {
        self.call(Call::Readlink { path: path.as_ref() })
    }

    /// Makes a FIFO, socket or device; `mode` has type and permission bits.
    pub fn mknod(&self, path: impl AsRef<[u8]>, mode: u32, rdev: u64) -> io::Result<()> {
        self.call(Call::Mknod { mode, rdev, path: path.as_ref() }).map(drop)
    }

    /// Sets permission bits.
    pub fn chmod(&self, path: impl AsRef<[u8]>, mode: u32) -> io::Result<()> {
        self.call(Call::Chmod { mode, path: path.as_ref() }).map(drop)
    }

    /// Sets owner and group, without following a link.
    pub fn lchown(&self, path: impl AsRef<[u8]>, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Some(uid), Some(gid));
        self.call(Call::Chown { follow: false, uid, gid, path: path.as_ref() }).map(drop)
    }

    /// Sets the modification time, in ns since the epoch, without following a link.
    pub fn set_mtime(&self, path: impl AsRef<[u8]>, mtime: u64) -> io::Result<()> {
        let (atime, mtime) = (Some(mtime), Some(mtime));
        self.call(Call::SetTimes { follow: false, atime, mtime, path: path.as_ref() }).map(drop)
    }

    /// Says what happens to a file, or in a directory and perhaps those below it, from now on.
    pub fn watch(&self, path: impl AsRef<[u8]>, recursive: bool) -> io::Result<Watch> {
        let call = Call::Watch { recursive, path: path.as_ref() };
        let (number, _) = self.attach.call(&self.user, call)?;
        Ok(Watch { attach: self.attach.clone(), number })
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the box gives a malformed answer")
}

/// An open file, read and written from its beginning on; closed when it is dropped.
pub struct File {
    attach: Attach,
    number: u32,
    at: u64,
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(MAX_DATA) as u32;
        let call = Call::Read { file: self.number, offset: self.at, len };
        let (_, bytes) = self.attach.call("", call)?;
        let place = buf.get_mut(..bytes.len()).ok_or_else(malformed)?;
        place.copy_from_slice(&bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.get(..MAX_DATA).unwrap_or(bytes);
        let call = Call::Write { file: self.number, offset: self.at, bytes };
        let (_, answer) = self.attach.call("", call)?;
        let written = answer.try_into().map(u32::from_le_bytes).map_err(|_| malformed())? as usize;
        if written > bytes.len() {
            return Err(malformed());
        }
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A box that is gone needs nothing.
        let _ = self.attach.tell(|client| client.call(b"", Call::Close { file: self.number }));
    }
}

/// What a watch has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `IN_*` bits of inotify(7).
    pub mask: u32,
    /// The same for both halves of a rename.
    pub cookie: u32,
    /// Where, below what is watched; empty for itself.
    pub path: Vec<u8>,
}

impl Seen {
    /// More happened than was told (`IN_Q_OVERFLOW`).
    pub const OVERFLOW: u32 = 0x4000;
}

/// A watch; dropped, it ends.
pub struct Watch {
    attach: Attach,
    number: u32,
}

impl Watch {
    /// What is seen next; none if nothing is for so long, or the box has ended.
    pub fn next(&self, longest: Duration) -> Option<Seen> {
        let (shared, until) = (&self.attach.0, Instant::now().checked_add(longest));
        let mut state = shared.state();
        loop {
            if let Some(seen) = state.watches.get_mut(&self.number)?.pop_front() {
                return Some(seen);
            }
            if state.over.is_some() {
                return None;
            }
            state = shared.wait_until(state, until)?;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.attach.0.state().watches.remove(&self.number);
        // A box that is gone needs nothing.
        let _ = self.attach.tell(|client| client.call(b"", Call::Unwatch { watch: self.number }));
    }
}
