//! What a cached COPY or ADD depends on: names, kinds, modes, owners and contents of what it reads. Times do not count, as in BuildKit.

use std::collections::HashMap;
use std::io::{self, Read};

use oci::{Digest, Hasher};

use super::select::Selected;
use super::{DEEPEST, Request};
use crate::files::{Entry, Files, Kind, child, resolve};

/// What is read, and its size.
pub(crate) struct Hashed {
    pub key: Digest,
    /// Bytes of files.
    pub bytes: u64,
}

/// Something that cannot be read.
pub(crate) struct Unreadable {
    pub path: Vec<u8>,
    pub error: io::Error,
}

/// Hashes everything that the selected sources name, if it is not more than `most` bytes of files.
pub(crate) fn content_key(
    request: &Request,
    selected: &[Selected],
    from: &dyn Files,
    most: u64,
) -> Result<Hashed, Unreadable> {
    let mut walk = Walk {
        request,
        from,
        hasher: Hasher::sha256(),
        buffer: vec![0; 256 << 10],
        links: HashMap::new(),
        left: most,
        most,
    };
    for source in selected {
        match source {
            Selected::Inline { name, content } => {
                walk.text(format!("inline {} {}", name.len(), content.len()).as_bytes());
                walk.text(name.as_bytes());
                walk.text(content);
            }
            Selected::File(file) => {
                walk.text(format!("file {} {}", file.digest, file.unpack).as_bytes());
                walk.text(file.name.as_bytes());
            }
            Selected::Repository(checkout) => {
                let mut inside = Walk { from: checkout.context.as_ref(), ..walk };
                inside.text(b"repository");
                inside.tree(b"")?;
                walk = Walk { from, ..inside };
            }
            Selected::Path { path, kept } => {
                let real = resolve(from, path, true).map_err(at(path))?;
                walk.text(crate::files::split(path).1);
                if let Some(kept) = kept {
                    walk.text(kept);
                    walk.parents(path, kept)?;
                }
                walk.tree(&real)?;
            }
        }
    }
    Ok(Hashed { key: walk.hasher.finish(), bytes: most - walk.left })
}

/// Says where an error came from.
fn at(path: &[u8]) -> impl FnOnce(io::Error) -> Unreadable {
    |error| Unreadable { path: path.to_vec(), error }
}

fn too_large(most: u64) -> io::Error {
    io::Error::other(format!("more than {most} bytes of files in one layer"))
}

struct Walk<'a> {
    request: &'a Request,
    from: &'a dyn Files,
    hasher: Hasher,
    buffer: Vec<u8>,
    /// The number of each file that has several names, in order of appearance.
    links: HashMap<u128, usize>,
    /// Bytes of files that a box can still hold: more is refused before it is read.
    left: u64,
    most: u64,
}

impl Walk<'_> {
    fn text(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    fn head(&mut self, entry: &Entry) -> Option<usize> {
        let known = entry.identity.and_then(|identity| self.links.get(&identity).copied());
        if let (None, Some(identity)) = (known, entry.identity) {
            let number = self.links.len();
            self.links.insert(identity, number);
        }
        let text = format!(
            "{:?} {:o} {} {} {:?} {known:?}",
            entry.kind, entry.mode, entry.uid, entry.gid, entry.xattrs
        );
        self.text(text.as_bytes());
        known
    }

    /// The directories that `--parents` takes along.
    fn parents(&mut self, path: &[u8], kept: &[u8]) -> Result<(), Unreadable> {
        let base = path.len().saturating_sub(kept.len());
        let slashes = path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at >= base);
        for (end, _) in slashes {
            let parent = path.get(..end).unwrap_or_default();
            let real = resolve(self.from, parent, true).map_err(at(parent))?;
            if let Some(entry) = self.from.entry(&real).map_err(at(&real))? {
                self.head(&entry);
            }
        }
        Ok(())
    }

    fn tree(&mut self, start: &[u8]) -> Result<(), Unreadable> {
        let mut open = vec![(start.to_vec(), Vec::new(), 0usize)];
        while let Some((path, relative, depth)) = open.pop() {
            let Some(entry) = self.from.entry(&path).map_err(at(&path))? else { continue };
            if depth > DEEPEST {
                let error = io::Error::other(format!("more than {DEEPEST} directories deep"));
                return Err(at(start)(error));
            }
            let excluded = !relative.is_empty() && self.request.excluded(&relative);
            if excluded && (entry.kind != Kind::Directory || !self.request.may_hold_kept(&relative))
            {
                continue;
            }
            self.text(&relative);
            let known = self.head(&entry);
            match entry.kind {
                Kind::Directory => {
                    let names = self.from.names(&path).map_err(at(&path))?;
                    for name in names.into_iter().rev() {
                        open.push((child(&path, &name), child(&relative, &name), depth + 1));
                    }
                }
                Kind::File(size) if known.is_none() => {
                    let left = self.left.checked_sub(size);
                    self.left = left.ok_or_else(|| at(&path)(too_large(self.most)))?;
                    self.content(&path, size).map_err(at(&path))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Hashes `size` bytes of a file: one that grows meanwhile has no end.
    fn content(&mut self, path: &[u8], size: u64) -> io::Result<()> {
        let mut file = self.from.open(path)?.take(size);
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = loop {
            match file.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(read) => self.hasher.update(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.buffer = buffer;
        result
    }
}
