//! File contents on disk: one nameless temporary file that only grows.

mod lode;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

pub(crate) use lode::Lode;
pub use lode::Open;

/// A temporary file that holds file contents. It has no name, so it is gone with the last
/// [`Content`] that points into it, also when the process is killed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    tail: Mutex<Tail>,
    keeps_layers: AtomicBool,
}

/// What is not in the file yet.
#[derive(Debug, Default)]
struct Tail {
    /// Bytes in the file; the buffer belongs behind them.
    flushed: u64,
    buffer: Vec<u8>,
}

const BUFFER: usize = 1 << 20;

/// The content of a regular file: a range of a spool or of a layer. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Where it is.
    source: Source,
    /// Its first byte there.
    start: u64,
    len: u64,
    /// Where it was in the layers of the tree.
    place: Place,
}

/// A place in some layers: which of them, and where in its archive. Contents read in this order are read without going back.
pub(crate) type Place = (u32, u64);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Empty,
    Spool(Spool),
    Lode(Lode),
}

/// Whose fault a failed [`Spool::append`] is.
pub(crate) enum Fault {
    Source(io::Error),
    /// The source ended early.
    Short,
    Spool(io::Error),
}

impl Spool {
    /// A new, empty spool in this directory.
    pub fn new_in(dir: &Path) -> Result<Spool> {
        let file = tempfile::tempfile_in(dir).map_err(Error::Spool)?;
        Ok(Spool(Arc::new(Inner {
            file,
            tail: Mutex::default(),
            keeps_layers: AtomicBool::default(),
        })))
    }

    /// A new, empty spool in the system's directory for temporary files.
    pub fn new() -> Result<Spool> {
        Spool::new_in(&std::env::temp_dir())
    }

    /// Layers whose contents are read from now on are kept here decoded: they will be read again, as by each RUN step. Writing
    /// 230 MB takes half of what decoding them does.
    pub fn keep_layers(&self) {
        self.0.keeps_layers.store(true, Relaxed);
    }

    fn keeps_layers(&self) -> bool {
        self.0.keeps_layers.load(Relaxed)
    }

    /// Keeps these bytes.
    pub fn store(&self, bytes: &[u8]) -> Result<Content> {
        let len = bytes.len() as u64;
        self.append(&mut &*bytes, &[(0, len)], len).map_err(|fault| match fault {
            Fault::Spool(e) | Fault::Source(e) => Error::Spool(e),
            Fault::Short => Error::Truncated,
        })
    }

    /// Keeps the next `len` bytes of `source`; it is an error if there are fewer.
    pub fn store_from(&self, source: &mut impl Read, len: u64) -> Result<Content> {
        self.append(source, &[(0, len)], len).map_err(|fault| match fault {
            Fault::Source(e) => Error::Read(e),
            Fault::Short => Error::Truncated,
            Fault::Spool(e) => Error::Spool(e),
        })
    }

    /// Reads `segments` (offset and length within the file, ascending, not overlapping, not above
    /// `size`) from `source` one after the other; what lies between them is zero.
    pub(crate) fn append(
        &self,
        source: &mut impl Read,
        segments: &[(u64, u64)],
        size: u64,
    ) -> Result<Content, Fault> {
        if size == 0 {
            return Ok(Content::default());
        }
        let mut tail = self.tail();
        let start = tail.end();
        let mut at = 0;
        for &(offset, len) in segments {
            self.zeros(&mut tail, offset.saturating_sub(at)).map_err(Fault::Spool)?;
            let mut left = len;
            while left > 0 {
                if tail.buffer.len() >= BUFFER {
                    self.flush(&mut tail).map_err(Fault::Spool)?;
                }
                let room = (BUFFER - tail.buffer.len().min(BUFFER)) as u64;
                let read = source.by_ref().take(left.min(room)).read_to_end(&mut tail.buffer);
                match read.map_err(Fault::Source)? {
                    0 => return Err(Fault::Short),
                    n => left = left.saturating_sub(n as u64),
                }
            }
            at = offset.saturating_add(len);
        }
        self.zeros(&mut tail, size.saturating_sub(at)).map_err(Fault::Spool)?;
        let source = Source::Spool(self.clone());
        Ok(Content { source, start, len: size, place: Place::default() })
    }

    /// Appends zeros; many of them as a hole of the file.
    fn zeros(&self, tail: &mut Tail, count: u64) -> io::Result<()> {
        if count < BUFFER as u64 {
            tail.buffer.resize(tail.buffer.len() + count as usize, 0);
            return Ok(());
        }
        self.flush(tail)?;
        let end = tail.flushed.checked_add(count).ok_or(io::ErrorKind::FileTooLarge)?;
        self.0.file.set_len(end)?;
        tail.flushed = end;
        Ok(())
    }

    fn flush(&self, tail: &mut Tail) -> io::Result<()> {
        self.0.file.write_all_at(&tail.buffer, tail.flushed)?;
        tail.flushed += tail.buffer.len() as u64;
        tail.buffer.clear();
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        {
            let mut tail = self.tail();
            if offset + buf.len() as u64 > tail.flushed {
                self.flush(&mut tail)?;
            }
        }
        self.0.file.read_at(buf, offset)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.0.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    fn end(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }
}

impl Content {
    /// The content of an empty file.
    pub const EMPTY: Content = Content { source: Source::Empty, start: 0, len: 0, place: (0, 0) };

    /// A file of a layer, `start` bytes into the decoded archive.
    pub(crate) fn in_layer(lode: &Lode, start: u64, len: u64) -> Content {
        match len {
            0 => Content::default(),
            _ => {
                Content { source: Source::Lode(lode.clone()), start, len, place: Place::default() }
            }
        }
    }

    /// Notes its place.
    pub(crate) fn placed(self, place: Place) -> Content {
        Content { place, ..self }
    }

    /// See [`Place`].
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads the file from its start.
    pub fn reader(&self) -> ContentReader {
        ContentReader { content: self.clone(), position: 0 }
    }

    /// Reads the whole file, unless it is longer than `limit` bytes.
    pub fn read(&self, limit: u64) -> Result<Vec<u8>> {
        if self.len > limit {
            return Err(Error::Limit { what: "bytes of file content to be held in memory", limit });
        }
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes).map_err(Error::Spool)?;
        Ok(bytes)
    }

    /// Reads some bytes at `offset` of the file; none at its end.
    pub(crate) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = left.min(buf.len());
        let buf = buf.get_mut(..want).unwrap_or_default();
        if buf.is_empty() {
            return Ok(0);
        }
        let read = match &self.source {
            Source::Empty => 0,
            Source::Spool(spool) => spool.read_at(buf, self.start + offset)?,
            Source::Lode(lode) => lode.read_at(buf, self.start + offset)?,
        };
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
    }

    /// Whether two contents are known to be equal without reading them.
    fn is_same_range(&self, other: &Content) -> bool {
        self.len == other.len
            && match (&self.source, &other.source) {
                (Source::Spool(a), Source::Spool(b)) => {
                    Arc::ptr_eq(&a.0, &b.0) && self.start == other.start
                }
                (Source::Lode(a), Source::Lode(b)) => a.is(b) && self.start == other.start,
                (Source::Empty, Source::Empty) => true,
                _ => false,
            }
    }

    /// Whether two files hold the same bytes.
    pub fn equals(&self, other: &Content) -> Result<bool> {
        if self.is_same_range(other) {
            return Ok(true);
        }
        if self.len != other.len {
            return Ok(false);
        }
        let (mut a, mut b) = (self.reader(), other.reader());
        let (mut x, mut y) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            let n = a.read(&mut x).map_err(Error::Spool)?;
            if n == 0 {
                return Ok(true);
            }
            let (x, y) = (x.get(..n).unwrap_or_default(), y.get_mut(..n).unwrap_or_default());
            b.read_exact(y).map_err(Error::Spool)?;
            if x != y {
                return Ok(false);
            }
        }
    }
}

/// Reads a [`Content`] from its start. Any number of readers may be at work at once.
#[derive(Debug)]
pub struct ContentReader {
    content: Content,
    position: u64,
}

impl Read for ContentReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.content.read_at(buf, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}
