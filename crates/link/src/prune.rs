//! Keeps the cache of compiled code from growing without end.

use crate::trust::SMALL;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Compiled code to keep, in bytes. Most boxes share theirs, of 9 MB; a component's holds its memory, too.
pub const KEPT: u64 = 2 << 30;

/// As [`KEPT`], for hot code: a few ten KiB each.
pub const KEPT_REGIONS: u64 = 512 << 20;

/// How stale a file's time may get before a use renews it.
const FRESH: Duration = Duration::from_secs(3600);

/// How long what nobody uses is kept, code or what boxes are known by ([`NOTES`]). It is found out again.
const KEPT_UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long large code is kept that nobody has loaded since it was compiled.
const KEPT_UNLOADED: Duration = Duration::from_secs(24 * 3600);

/// Extension of compiled code.
pub const CODE: &str = "cwasm";

/// Extension of files that tell whether compiled code is whole.
pub const SUM: &str = "sum";

/// Extension of files that tell which code a box has.
pub const NOTES: &str = "of";

/// Notes by the time of its sum that an entry was used. Only pruning depends on it.
pub fn used(sum: &Path) {
    let age = |path: &Path| age(&std::fs::metadata(path).ok()?);
    if age(sum).is_some_and(|age| age > FRESH)
        && let Ok(file) = std::fs::File::options().append(true).open(sum)
    {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Since a file was written.
fn age(meta: &Metadata) -> Option<Duration> {
    meta.modified().ok()?.elapsed().ok()
}

/// The cache's own files in `dir`, those that a killed process left among them, but not what is in folders of it.
fn files(dir: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let (path, meta) = (entry.path(), entry.metadata().ok()?);
        let own = [CODE, SUM, NOTES].iter().any(|kind| is(&path, kind)) || unfinished(&path);
        (own && meta.is_file()).then_some((path, meta))
    })
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}

fn unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".tmp"))
}

/// How many entries there are, and the bytes of all files.
pub fn size(dir: &Path) -> (usize, u64) {
    files(dir).fold((0, 0), |(entries, bytes), (path, meta)| {
        (entries + usize::from(is(&path, CODE)), bytes + meta.len())
    })
}

/// Removes everything; gives the bytes freed. A process that has code mapped keeps it.
pub fn clear(dir: &Path) -> u64 {
    files(dir).map(|(path, meta)| remove(&path, meta.len())).sum()
}

/// Removes what was not used for long, and then the entries that were not used for longest until the rest fits in `kept`
/// bytes, but never `newest`; gives the bytes freed.
pub fn prune(dir: &Path, newest: Option<&Path>, kept: u64) -> u64 {
    let mut freed = 0;
    let mut entries = Vec::new();
    for (path, meta) in files(dir) {
        let old = age(&meta).is_some_and(|age| age > KEPT_UNUSED);
        if is(&path, CODE) {
            let sum = std::fs::metadata(path.with_extension(SUM)).ok();
            let used = sum.as_ref().unwrap_or(&meta).modified().unwrap_or(SystemTime::UNIX_EPOCH);
            // Comparing it when it is loaded adds to the sum.
            let loaded = meta.len() <= SMALL || sum.is_some_and(|sum| sum.len() > 32);
            entries.push((used, meta.len(), path, loaded));
        } else if old && !is(&path, SUM) {
            freed += remove(&path, meta.len());
        }
    }
    entries.sort();
    let mut total: u64 = entries.iter().map(|(_, len, ..)| len).sum();
    for (used, len, path, loaded) in entries {
        let most = if loaded { KEPT_UNUSED } else { KEPT_UNLOADED };
        let unused = used.elapsed().is_ok_and(|age| age > most);
        if (total > kept || unused) && newest != Some(&*path) {
            remove(&path.with_extension(SUM), 0);
            freed += remove(&path, len);
            total -= len;
        }
    }
    freed
}

/// Removes a file; the bytes freed. Another process may have been faster.
fn remove(path: &Path, len: u64) -> u64 {
    if std::fs::remove_file(path).is_ok() { len } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (day, month) = (KEPT_UNLOADED.as_secs(), KEPT_UNUSED.as_secs());
        for (name, len, age) in [
            ("a.cwasm", 100, 300),
            ("b.cwasm", 100, 9000),
            ("b.sum", 100, 9000),
            ("c.cwasm", 100, 5000),
            ("old.cwasm", 100, month + 1),
            ("unloaded.cwasm", SMALL as usize + 1, day + 1),
            ("unloaded.sum", 32, day + 1),
            ("d.of", 100, 9999),
            ("e.of", 100, month + 1),
            (".tmpgone", 100, month + 1),
            ("other", 100, month + 1),
        ] {
            std::fs::write(path(name), vec![0; len]).unwrap();
            let file = std::fs::File::options().append(true).open(path(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        used(&path("b.sum"));
        let there = |names: &[&str]| names.iter().filter(|name| path(name).exists()).count();
        let before = size(dir.path());
        assert_eq!(before, (5, 9 * 100 + SMALL + 1 + 32 - 100));
        assert_eq!(prune(dir.path(), None, SMALL), 100 + 100 + 100 + SMALL + 1);
        assert_eq!(there(&["a.cwasm", "b.cwasm", "b.sum", "c.cwasm", "d.of", "other"]), 6);
        assert_eq!(there(&["old.cwasm", "unloaded.cwasm", "unloaded.sum", "e.of", ".tmpgone"]), 0);
        assert_eq!(prune(dir.path(), None, 200), 100);
        assert_eq!(there(&["a.cwasm", "b.cwasm", "c.cwasm"]), 2);
        assert!(!path("c.cwasm").exists(), "it was not used for longest");
        prune(dir.path(), Some(&path("a.cwasm")), 0);
        assert_eq!(there(&["a.cwasm", "b.cwasm", "b.sum"]), 1);
        assert_eq!(clear(dir.path()), 200);
        assert_eq!(size(dir.path()), (0, 0));
        assert!(path("other").exists());
    }
}
