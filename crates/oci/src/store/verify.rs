//! Whether a blob is still its digest's. Reading gigabytes each time would cost more than most builds, so what was hashed once is known
//! by the file's size, times and number: a file that somebody has written to since has others.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Store;
use super::difference::MAX_DEPTH;
use crate::{Descriptor, Digest, Error, Result};

/// What came of a blob of which `reference` sent so many bytes, few more than stated at most, where `stored` is whether they are its digest's.
pub(crate) fn as_stated<T>(
    reference: &str,
    blob: &Descriptor,
    received: u64,
    stored: Result<T>,
) -> Result<()> {
    let reference = || reference.to_owned();
    if received > blob.size {
        let (what, limit) = (format!("blob {}", blob.digest), blob.size);
        return Err(Error::TooLarge { reference: reference(), what, limit });
    }
    match stored {
        Err(Error::WrongDigest { .. }) if received < blob.size => Err(Error::Truncated {
            reference: reference(),
            digest: blob.digest.to_string(),
            expected: blob.size,
            actual: received,
        }),
        Err(Error::WrongDigest { expected, actual, .. }) => {
            Err(Error::WrongDigest { reference: reference(), what: "blob", expected, actual })
        }
        Err(error) => Err(error),
        Ok(_) if received < blob.size => Err(Error::wrong_size(&reference(), blob, received)),
        Ok(_) => Ok(()),
    }
}

impl Store {
    /// Reads a blob that is not known to be whole.
    ///
    /// # Errors
    /// [`Error::CorruptStore`] if it is missing or no longer its digest's.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        if self.is_noted(digest) {
            return Ok(());
        }
        self.open_blob(digest)?.finish().map_err(|e| Error::from_read(self.path(), e))?;
        self.note_verified(digest);
        Ok(())
    }

    /// Whether the blob is here, has `size` bytes and is its digest's. One that is not counts as absent, so that whoever has it puts
    /// it here again.
    pub(crate) fn has_whole_blob(&self, digest: &Digest, size: u64) -> bool {
        self.has_blob(digest)
            && self.blob_size(digest).is_ok_and(|there| there == size)
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
        self.note_verified_as(digest, &self.blob_path(digest));
    }

    /// As [`note_verified`](Self::note_verified), of the file that the blob is kept in.
    pub(super) fn note_verified_as(&self, digest: &Digest, kept: &Path) {
        if let Some(stamp) = stamp(kept) {
            let path = self.stamp_path(digest, kept);
            if let Some(folder) = path.parent() {
                let _ = fs::create_dir_all(folder);
            }
            let _ = fs::write(path, stamp);
        }
    }

    pub(super) fn forget_verified(&self, digest: &Digest) {
        for kept in [self.blob_path(digest), self.difference_path(digest)] {
            let _ = fs::remove_file(self.stamp_path(digest, &kept));
        }
    }

    /// Whether nothing has changed since the blob was hashed: its file, or the difference it is kept as and what that is one to.
    fn is_noted(&self, digest: &Digest) -> bool {
        let noted = |digest: &Digest, kept: &Path| {
            let stamp = stamp(kept);
            stamp.is_some() && stamp == fs::read_to_string(self.stamp_path(digest, kept)).ok()
        };
        let mut at = digest.clone();
        for _ in 0..=MAX_DEPTH {
            if self.blob_path(&at).is_file() {
                return noted(&at, &self.blob_path(&at));
            }
            match self.base_of(&at) {
                Some((base, _)) if noted(&at, &self.difference_path(&at)) => at = base,
                _ => return false,
            }
        }
        false
    }

    fn stamp_path(&self, digest: &Digest, kept: &Path) -> PathBuf {
        let is_difference = kept == self.difference_path(digest);
        let suffix = if is_difference { ".difference" } else { "" };
        self.path().join("verified").join(digest.file_name() + suffix)
    }
}

/// By what a file is known that nobody has changed.
fn stamp(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
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
