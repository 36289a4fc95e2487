//! Where the bytes of a box or an image are.

use crate::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that can be read at any place.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A file's.
    File(&'a File),
    /// Bytes in memory.
    Bytes(&'a [u8]),
}

impl Content<'_> {
    /// How many bytes there are.
    ///
    /// # Errors
    /// The file cannot be asked.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Content::File(file) => Ok(file.metadata()?.len()),
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Fills `buffer` with what lies at `offset`.
    ///
    /// # Errors
    /// There is less, or the file cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Content::File(file) => file.read_exact_at(buffer, offset),
            Content::Bytes(bytes) => {
                let start = usize::try_from(offset).ok();
                let part = start.and_then(|start| bytes.get(start..)?.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// The `len` bytes at `offset`.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn bytes_at(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        // So that a wild length is no wild allocation.
        if offset.checked_add(len).is_none_or(|end| self.size().is_ok_and(|size| end > size)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len as usize];
        self.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// The SHA-256 digest of all of it.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn digest(&self) -> io::Result<Digest> {
        let size = self.size()?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; size.min(64 << 10) as usize];
        let mut at = 0;
        while at < size {
            let len = (size - at).min(buffer.len() as u64);
            let part = &mut buffer[..len as usize];
            self.read_at(part, at)?;
            hasher.update(part);
            at += len;
        }
        Ok(hasher.finalize().into())
    }
}
