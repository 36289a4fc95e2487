//! Whether a blob is still its digest's. Reading gigabytes each time would cost more than most builds, so what was hashed once is known
//! by the file's size, times and number: a file that somebody has written to since has others.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::Store;
use crate::{Descriptor, Digest, Error, Result};

impl Store {
    /// Reads a blob that is not known to be whole.
    ///
    /// # Errors
    /// [`Error::CorruptStore`] if it is missing or no longer its digest's.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        let stamp = self.stamp(digest);
        if stamp.is_some() && stamp == fs::read_to_string(self.stamp_path(digest)).ok() {
            return Ok(());
        }
        self.open_blob(digest)?.finish().map_err(|e| Error::from_read(self.path(), e))?;
        self.note_verified(digest);
        Ok(())
    }

    /// Whether the blob is here, has `size` bytes and is its digest's. One that is not counts as absent, so that whoever has it puts
    /// it here again.
    pub(crate) fn has_whole_blob(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob_path(digest)).is_ok_and(|m| m.is_file() && m.len() == size)
            && self.verify(digest).is_ok()
    }

    /// Fails if the blob is here and whole, but has another size than its descriptor gives: fetching it again would not help.
    pub(crate) fn check_stated_size(&self, reference: &str, blob: &Descriptor) -> Result<()> {
        match self.blob_size(&blob.digest) {
            Ok(actual) if actual != blob.size && self.verify(&blob.digest).is_ok() => {
                Err(Error::wrong_size(reference, blob, actual))
            }
            _ => Ok(()),
        }
    }

    /// Remembers that a blob has just been hashed. A store that cannot be written to hashes again.
    pub(super) fn note_verified(&self, digest: &Digest) {
        if let Some(stamp) = self.stamp(digest) {
            let path = self.stamp_path(digest);
            if let Some(folder) = path.parent() {
                let _ = fs::create_dir_all(folder);
            }
            let _ = fs::write(path, stamp);
        }
    }

    pub(super) fn forget_verified(&self, digest: &Digest) {
        let _ = fs::remove_file(self.stamp_path(digest));
    }

    fn stamp_path(&self, digest: &Digest) -> PathBuf {
        self.path().join("verified").join(digest.file_name())
    }

    fn stamp(&self, digest: &Digest) -> Option<String> {
        let meta = fs::metadata(self.blob_path(digest)).ok()?;
        Some(format!(
            "{} {} {}.{:09} {}.{:09}\n",
            meta.len(),
            meta.ino(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec()
        ))
    }
}
