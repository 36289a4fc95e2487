//! A tree of files to copy from or to, whatever holds it: a directory of the host or an image.

use std::collections::BTreeMap;
use std::io::{self, Read};

use layers::{Content, Spool};

/// The most symbolic links one path may lead through, as in Linux.
const MOST_LINKS: usize = 40;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    /// A regular file of so many bytes.
    File(u64),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// Character device, major and minor.
    Character(u32, u32),
    /// Block device, major and minor.
    Block(u32, u32),
    Fifo,
    Socket,
}

/// What a tree knows of one entry; `lstat`, in other words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub kind: Kind,
    /// Permission bits, `0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since the epoch, and nanoseconds.
    pub mtime: (i64, u32),
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The same for all names of a file that has several.
    pub identity: Option<u128>,
}

/// A tree. Paths are relative to its root, with `/` between components and none at the ends; the
/// root is the empty path. No component that a caller passes is a symbolic link but the last.
pub(crate) trait Files {
    /// The entry at a path, without following it.
    fn entry(&self, path: &[u8]) -> io::Result<Option<Entry>>;
    /// The names in a directory, in byte order.
    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>>;
    /// The content of a regular file.
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>>;
    /// The content of a regular file of `size` bytes, kept in `spool` unless it is kept already.
    fn content(&self, path: &[u8], size: u64, spool: &Spool) -> io::Result<Content> {
        let mut file = self.open(path)?;
        spool.store_from(&mut file, size).map_err(|error| match error {
            layers::Error::Truncated => {
                io::Error::other("the file shrank while it was being copied")
            }
            other => io::Error::other(other),
        })
    }
}

/// The components of a path: `.` and empty ones go, `..` takes one away and stops at the root.
pub(crate) fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part.to_vec()),
        }
    }
    parts
}

/// Joins components to a path.
pub(crate) fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.join(&b'/')
}

/// `directory/name`, where the directory may be the root.
pub(crate) fn child(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

/// The directory a path is in, and its name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// Follows symbolic links within the tree, never out of it: an absolute target starts at the
/// tree's root and `..` stops there. Components that do not exist are kept as they are. With
/// `last` false a link at the very end is not followed.
///
/// # Errors
/// More than 40 links, or the tree's own errors.
pub(crate) fn resolve(files: &dyn Files, path: &[u8], last: bool) -> io::Result<Vec<u8>> {
    let mut left: Vec<Vec<u8>> =
        path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).rev().collect();
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(part) = left.pop() {
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => done.push(part),
        }
        let more = left.iter().any(|part| !part.is_empty() && part != b".");
        if !more && !last {
            continue;
        }
        if let Some(Entry { kind: Kind::Symlink(target), .. }) = files.entry(&join(&done))? {
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::other("too many levels of symbolic links"));
            }
            done.pop();
            if target.starts_with(b"/") {
                done.clear();
            }
            left.extend(target.split(|byte| *byte == b'/').map(<[u8]>::to_vec).rev());
        }
    }
    Ok(join(&done))
}

/// The whole content of a small file, following links; `None` if there is none.
pub(crate) fn read_small(
    files: &dyn Files,
    path: &[u8],
    limit: u64,
) -> io::Result<Option<Vec<u8>>> {
    let path = resolve(files, path, true)?;
    match files.entry(&path)? {
        Some(Entry { kind: Kind::File(size), .. }) if size <= limit => {
            let mut bytes = Vec::new();
            files.open(&path)?.take(limit).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }
        Some(Entry { kind: Kind::File(_), .. }) => Err(io::Error::other("larger than expected")),
        _ => Ok(None),
    }
}
