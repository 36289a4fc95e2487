//! Contents of a box's files that are kept outside of it, in chunks (`link::Outside`).

use flate2::read::DeflateDecoder;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Number of the descriptor that a box reads them from: behind all others.
pub(crate) const DESCRIPTOR: u32 = (1 << 24) + (1 << 16);

/// Which chunks there are: what the section `link::CHUNKS_SECTION` says, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Chunks {
    /// [`Chunks::VERSION`].
    pub version: u32,
    /// Bytes of a chunk; the last one may have fewer.
    pub chunk: u64,
    /// Bytes of all.
    pub length: u64,
    /// SHA-256 of each chunk's bytes, in hexadecimal, which is also its name.
    pub digests: Vec<String>,
    /// Chunks that a start touched, in that order.
    pub start: Vec<u32>,
}

impl Chunks {
    /// The version that is written, and read.
    pub const VERSION: u32 = 1;
}

/// Which chunks a box asked for, in that order.
pub type Touched = Arc<Mutex<Vec<u32>>>;

/// Chunks in a folder: raw DEFLATE (RFC 1951), named by the digest of what is in them.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    chunks: Chunks,
    touched: Touched,
    /// The chunk that was read last.
    last: Option<(u32, Vec<u8>)>,
}

impl Folder {
    /// Chunks in a folder, and where what is asked for is noted.
    #[must_use]
    pub fn new(path: &Path, chunks: Chunks) -> (Folder, Touched) {
        let touched = Touched::default();
        let folder = Folder { path: path.to_owned(), chunks, touched: touched.clone(), last: None };
        (folder, touched)
    }

    /// Reads at a place: bytes, 0 at the end.
    pub(crate) fn read(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.chunks.length || self.chunks.chunk == 0 {
            return Ok(0);
        }
        let index = u32::try_from(offset / self.chunks.chunk).map_err(io::Error::other)?;
        if self.last.as_ref().is_none_or(|(last, _)| *last != index) {
            self.last = Some((index, self.load(index)?));
        }
        let bytes = self.last.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let rest = bytes.get((offset % self.chunks.chunk) as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn load(&self, index: u32) -> io::Result<Vec<u8>> {
        let Chunks { digests, chunk, length, .. } = &self.chunks;
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let digest = digests.get(index as usize).ok_or_else(|| wrong("there is no such chunk"))?;
        let is_name = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_name {
            return Err(wrong("a digest is none"));
        }
        let len = (length - u64::from(index) * chunk).min(*chunk);
        let file = std::fs::File::open(self.path.join(digest))?;
        let mut bytes = Vec::new();
        DeflateDecoder::new(file).take(len + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != len || link::hex(&link::digest_of(&bytes)) != *digest {
            return Err(wrong("a chunk has other bytes than its digest says"));
        }
        if let Ok(mut touched) = self.touched.lock() {
            touched.push(index);
        }
        Ok(bytes)
    }
}
