//! What no name leads to any more.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Store;
use crate::{Digest, Error, Result};

impl Store {
    /// Blobs that no name leads to, with the bytes they take, and what of others can be put together again.
    pub fn garbage(&self) -> Result<Vec<(Digest, u64)>> {
        self.garbage_beside(&self.reachable()?)
    }

    fn garbage_beside(&self, reachable: &HashSet<Digest>) -> Result<Vec<(Digest, u64)>> {
        let mut garbage = self.all_blobs()?;
        garbage.retain(|(digest, _)| !reachable.contains(digest) || self.is_difference(digest));
        let mut differences = self.all_differences()?;
        differences.retain(|(digest, _)| !reachable.contains(digest));
        garbage.extend(differences);
        garbage.sort();
        Ok(garbage)
    }

    /// All blobs that have files of their own, with their sizes in bytes, in order of digest.
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
        let lock_error = |e: io::Error| Error::io(self.path().join(super::IN_USE), e);
        let read_only = || lock_error(io::ErrorKind::ReadOnlyFilesystem.into());
        let lock = self.inner.in_use.as_ref().ok_or_else(read_only)?;
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
        let reachable = self.reachable()?;
        for (digest, size) in self.garbage_beside(&reachable)? {
            match reachable.contains(&digest) {
                true => self.remove_copy(&digest)?,
                false => self.remove_blob(&digest)?,
            }
            freed = freed.saturating_add(size);
        }
        for dir in ["partial", "tmp"] {
            for path in folders(&self.path().join(dir)) {
                freed = freed.saturating_add(size_below(&path));
                fs::remove_dir_all(&path).map_err(|e| Error::io(&path, e))?;
            }
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

/// A build that was killed leaves its temporary files; after this long nobody is at them any more.
const LEFT_OVER: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// Removes what killed processes have left in `tmp/` a day ago or earlier.
    pub(super) fn forget_leftovers(&self) {
        let tmp = self.path().join("tmp");
        let old = |path: &Path| {
            let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok();
            modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > LEFT_OVER)
        };
        for path in files(&tmp).unwrap_or_default().into_iter().filter(|path| old(path)) {
            let _ = fs::remove_file(path);
        }
        for path in folders(&tmp).into_iter().filter(|path| old(path)) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

impl Store {
    /// Removes every temporary file of this process, for an end that nobody may wait for: they are still in use.
    pub fn remove_own_temporaries(&self) {
        let tmp = self.path().join("tmp");
        let prefix = super::own_prefix();
        let own = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        };
        for path in files(&tmp).unwrap_or_default().into_iter().filter(own) {
            let _ = fs::remove_file(path);
        }
        for path in folders(&tmp).into_iter().filter(own) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// The directories in a directory.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Bytes of the files below a directory.
pub(super) fn size_below(dir: &Path) -> u64 {
    let here = files(dir).unwrap_or_default();
    let here: u64 = here.iter().map(|path| fs::metadata(path).map_or(0, |meta| meta.len())).sum();
    folders(dir).iter().map(|path| size_below(path)).sum::<u64>().saturating_add(here)
}

pub(super) fn files(dir: &Path) -> Result<Vec<PathBuf>> {
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
