//! What no name leads to any more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Store;
use crate::{Digest, Error, Result};

impl Store {
    /// Blobs that no name leads to, with their sizes in bytes.
    pub fn garbage(&self) -> Result<Vec<(Digest, u64)>> {
        let reachable = self.reachable()?;
        let mut garbage = self.all_blobs()?;
        garbage.retain(|(digest, _)| !reachable.contains(digest));
        Ok(garbage)
    }

    /// All blobs with their sizes in bytes, in order of digest.
    pub(super) fn all_blobs(&self) -> Result<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            for path in files(&self.path().join("blobs").join(algorithm))? {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                // A file that is no blob is not ours to touch.
                let Ok(digest) = Digest::parse(&format!("{algorithm}:{name}")) else { continue };
                let size = fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
                blobs.push((digest, size));
            }
        }
        blobs.sort();
        Ok(blobs)
    }

    /// Removes garbage, unfinished downloads and what killed processes left in `tmp/`; gives the bytes freed. Refuses
    /// with [`Error::StoreBusy`] while another handle is open, in this process or another: its blobs may be unnamed yet.
    pub fn collect_garbage(&mut self) -> Result<u64> {
        let busy = || Error::StoreBusy { path: self.path().into() };
        if Arc::strong_count(&self.inner) != 1 {
            return Err(busy());
        }
        // flock(2): converting a lock gives up the shared one first; if the exclusive one is not to be had, take the
        // shared one again.
        let lock = &self.inner.in_use;
        let lock_error = |e: io::Error| Error::io(self.path().join("locks/in-use"), e);
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                lock.lock_shared().map_err(lock_error)?;
                return Err(busy());
            }
            Err(fs::TryLockError::Error(e)) => return Err(lock_error(e)),
        }
        let freed = self.sweep();
        lock.lock_shared().map_err(lock_error)?;
        freed
    }

    fn sweep(&self) -> Result<u64> {
        let mut freed = 0u64;
        for (digest, size) in self.garbage()? {
            self.remove_blob(&digest)?;
            freed = freed.saturating_add(size);
        }
        for dir in ["partial", "tmp"] {
            for path in files(&self.path().join(dir))? {
                freed = freed.saturating_add(fs::metadata(&path).map_or(0, |m| m.len()));
                fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        for path in files(&self.path().join("locks"))? {
            if path.file_name().is_some_and(|n| n != "in-use" && n != "index") {
                fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        Ok(freed)
    }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(dir, e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(dir, e))?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    Ok(paths)
}
