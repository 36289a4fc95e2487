//! Blobs: content under its digest.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{Store, open_lock, sync_dir};
use crate::digest::{Hasher, VerifyingReader};
use crate::{Digest, Error, Result};

impl Store {
    /// Where the blob is, or would be. A file there is whole: it arrived by rename after its digest was checked. A blob that is kept as
    /// a difference has none there until [`blob_file`](Self::blob_file) is asked for it.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path().join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    /// Whether the blob is here, whole or as a difference.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file() || self.is_difference(digest)
    }

    /// Size of the blob, in bytes.
    pub fn blob_size(&self, digest: &Digest) -> Result<u64> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(meta) => Ok(meta.len()),
            Err(e) => {
                let size = self.base_of(digest).map(|(_, size)| size);
                size.ok_or_else(|| self.blob_error(&path, e))
            }
        }
    }

    /// The blob this path is, if it is one of the store's.
    pub(crate) fn blob_at(&self, path: &Path) -> Option<(Digest, u64)> {
        let hex = path.file_name()?.to_str()?;
        let digest = Digest::parse(&format!("sha256:{hex}")).ok()?;
        let size = (self.blob_path(&digest) == path).then(|| self.blob_size(&digest).ok())??;
        Some((digest, size))
    }

    /// Stores bytes; gives their digest.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.has_whole_blob(&digest, bytes.len() as u64) {
            return Ok(digest);
        }
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(|e| Error::io(self.blob_path(&digest), e))?;
        writer.finish().map(|(digest, _)| digest)
    }

    /// Stores all a reader gives; gives digest and size. With `expected`, other content is refused and not stored.
    pub fn put_reader(
        &self,
        reader: &mut dyn Read,
        expected: Option<&Digest>,
    ) -> Result<(Digest, u64)> {
        let mut writer = match expected {
            Some(digest) => self.writer_like(digest)?,
            None => self.writer()?,
        };
        io::copy(reader, &mut writer).map_err(|e| Error::from_read(self.path().join("tmp"), e))?;
        match expected {
            Some(digest) => writer.finish_as(digest).map(|size| (digest.clone(), size)),
            None => writer.finish(),
        }
    }

    /// A new blob to be written piece by piece.
    pub fn writer(&self) -> Result<BlobWriter> {
        self.writer_with(Hasher::sha256())
    }

    pub(crate) fn writer_like(&self, digest: &Digest) -> Result<BlobWriter> {
        self.writer_with(Hasher::like(digest))
    }

    fn writer_with(&self, hasher: Hasher) -> Result<BlobWriter> {
        Ok(BlobWriter { store: self.clone(), temp: self.temp_file()?, hasher, size: 0 })
    }

    /// The blob as a stream that fails at its end if the bytes on disk are no longer the digest's.
    pub fn open_blob(&self, digest: &Digest) -> Result<VerifyingReader<File>> {
        let path = self.blob_file(digest)?;
        let file = File::open(&path).map_err(|e| self.blob_error(&path, e))?;
        Ok(VerifyingReader::of_store(file, digest.clone(), path))
    }

    /// A small blob (manifest, config) in memory, verified; at most `limit` bytes.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        if self.blob_size(digest)? > limit {
            return Err(Error::TooLarge {
                reference: path.display().to_string(),
                what: format!("blob {digest}"),
                limit,
            });
        }
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(|e| self.blob_error(&path, e))?;
        file.take(limit).read_to_end(&mut bytes).map_err(|e| Error::io(&path, e))?;
        let mut hasher = Hasher::like(digest);
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != *digest {
            return Err(Error::CorruptStore { path, reason: format!("its digest is {actual}") });
        }
        Ok(bytes)
    }

    pub(super) fn blob_error(&self, path: &Path, e: io::Error) -> Error {
        match e.kind() {
            io::ErrorKind::NotFound => {
                Error::CorruptStore { path: path.into(), reason: "the blob is missing".into() }
            }
            _ => Error::io(path, e),
        }
    }

    /// Removes a blob found to be damaged.
    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<()> {
        self.forget_verified(digest);
        for path in [self.blob_path(digest), self.difference_path(digest)] {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(&path, e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads every blob, removes those that are no longer their digest's, and gives them; the next pull of an image
    /// that lacks one brings it back.
    pub fn repair(&self) -> Result<Vec<Digest>> {
        let mut damaged = Vec::new();
        // What was put together will be so again: the difference is what counts.
        for (digest, _) in self.all_differences()? {
            self.remove_copy(&digest)?;
        }
        let mut all = self.all_blobs()?;
        all.extend(self.all_differences()?);
        for (digest, _) in all {
            let read = self
                .open_blob(&digest)
                .and_then(|blob| blob.finish().map_err(|e| Error::from_read(self.path(), e)));
            match read {
                Ok(()) => self.note_verified(&digest),
                Err(Error::CorruptStore { .. }) => {
                    self.remove_blob(&digest)?;
                    damaged.push(digest);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(damaged)
    }

    /// Waits until no other process or thread downloads this blob; the lock goes with the file.
    pub(crate) fn lock_download(&self, digest: &Digest) -> Result<File> {
        let path = self.path().join("locks").join(digest.file_name());
        let file = open_lock(&path)?;
        file.lock().map_err(|e| Error::io(&path, e))?;
        Ok(file)
    }

    /// Where a download that may be resumed is kept. Only the holder of its lock may touch it.
    pub(crate) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.path().join("partial").join(digest.file_name())
    }

    /// Gives a finished, verified download its place.
    pub(crate) fn adopt_partial(&self, digest: &Digest, file: &File) -> Result<()> {
        let partial = self.partial_path(digest);
        file.sync_all().map_err(|e| Error::io(&partial, e))?;
        let path = self.blob_path(digest);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        }
        fs::rename(&partial, &path).map_err(|e| Error::io(&path, e))?;
        self.note_verified(digest);
        sync_dir(&path)
    }
}

/// Writes a blob whose digest is not known before its end. Dropped unfinished, it leaves nothing.
pub struct BlobWriter {
    store: Store,
    temp: tempfile::NamedTempFile,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    /// Gives the blob its place; its digest and size in bytes.
    pub fn finish(self) -> Result<(Digest, u64)> {
        let digest = self.hasher.clone().finish();
        let size = self.size;
        self.place(&digest)?;
        Ok((digest, size))
    }

    /// As [`finish`](Self::finish), refusing content other than `expected`'s.
    pub fn finish_as(self, expected: &Digest) -> Result<u64> {
        let actual = self.hasher.clone().finish();
        if actual != *expected {
            return Err(Error::wrong_digest(self.temp.path().display(), "blob", expected, &actual));
        }
        let size = self.size;
        self.place(expected)?;
        Ok(size)
    }

    fn place(self, digest: &Digest) -> Result<()> {
        let path = self.store.blob_path(digest);
        // What is known to be whole stays; anything else is replaced, however it looks.
        if path.is_file() && self.store.has_whole_blob(digest, self.size) {
            return Ok(());
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        }
        self.temp.as_file().sync_all().map_err(|e| Error::io(&path, e))?;
        self.temp.persist(&path).map_err(|e| Error::io(&path, e.error))?;
        self.store.note_verified(digest);
        sync_dir(&path)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.temp.write(bytes)?;
        self.hasher.update(bytes.get(..n).unwrap_or_default());
        self.size = self.size.saturating_add(n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temp.flush()
    }
}
