//! Keeps the cache of compiled code from growing without end.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Compiled code to keep, in bytes. A box's compiled code is about as large as the box.
pub const KEPT: u64 = 4 << 30;

/// As [`KEPT`], for hot code: a few ten KiB each.
pub const KEPT_REGIONS: u64 = 512 << 20;

/// How stale a file's time may get before a use renews it.
const FRESH: Duration = Duration::from_secs(3600);

/// Notes that an entry was used. Only pruning depends on it.
pub fn used(path: &Path) {
    let age = |path: &Path| std::fs::metadata(path).ok()?.modified().ok()?.elapsed().ok();
    if age(path).is_some_and(|age| age > FRESH)
        && let Ok(file) = std::fs::File::options().append(true).open(path)
    {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Removes the entries that were not used for longest until the rest fits in `kept` bytes, but never `newest`. A process
/// that has one mapped keeps it.
pub fn prune(dir: &Path, newest: &Path, kept: u64) {
    let mut entries: Vec<(SystemTime, u64, PathBuf)> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm"))
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some((meta.modified().ok()?, meta.len(), entry.path()))
        })
        .collect();
    entries.sort();
    let mut total: u64 = entries.iter().map(|(_, len, _)| len).sum();
    for (_, len, path) in entries {
        if total <= kept {
            break;
        }
        if path != newest {
            // Another process may have been faster.
            let _ = std::fs::remove_file(path.with_extension("sum"));
            let _ = std::fs::remove_file(&path);
            total -= len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (name, age) in [("a.cwasm", 300), ("b.cwasm", 9000), ("c.cwasm", 5000), ("d.sum", 9999)]
        {
            std::fs::write(path(name), [0; 100]).unwrap();
            let file = std::fs::File::options().append(true).open(path(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        used(&path("b.cwasm"));
        prune(dir.path(), &path("a.cwasm"), 200);
        assert!(path("a.cwasm").exists() && path("b.cwasm").exists() && path("d.sum").exists());
        assert!(!path("c.cwasm").exists());
        prune(dir.path(), &path("a.cwasm"), 0);
        assert!(path("a.cwasm").exists() && !path("b.cwasm").exists());
    }
}
