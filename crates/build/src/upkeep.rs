//! What builds leave beside the store's images, and what differs between two images.

use std::fs;
use std::path::Path;

use oci::{ImageHandle, Store};

use crate::error::{Cause, Error, Result};
use crate::files::{Files, child};
use crate::image_tree::ImageTree;
use crate::mounts::CACHE_FOLDER;

const RECORDS: &str = "build-cache";

/// What builds keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSize {
    /// Caches of `RUN --mount=type=cache`.
    pub mounts: usize,
    /// Their bytes.
    pub mount_bytes: u64,
    /// Known results of steps.
    pub records: usize,
    /// The bytes of these records; their layers are blobs of the store.
    pub record_bytes: u64,
}

/// Counts the caches beside a store.
pub fn cache_size(store: &Store) -> CacheSize {
    let count = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().count();
    let mounts = store.path().join(CACHE_FOLDER);
    let records = store.path().join(RECORDS);
    let directories = fs::read_dir(&mounts).into_iter().flatten().flatten();
    let directories = directories.filter(|entry| entry.path().is_dir()).count();
    CacheSize {
        mounts: directories,
        mount_bytes: size_below(&mounts),
        records: count(&records),
        record_bytes: size_below(&records),
    }
}

/// Removes the caches beside a store; gives the bytes freed.
///
/// # Errors
/// They cannot be removed.
pub fn forget_cache(store: &Store) -> Result<u64> {
    let mut freed = 0;
    for name in [CACHE_FOLDER, RECORDS] {
        let folder = store.path().join(name);
        freed += size_below(&folder);
        match fs::remove_dir_all(&folder) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::new(Cause::Write { path: folder, source }));
            }
            _ => {}
        }
    }
    Ok(freed)
}

fn size_below(folder: &Path) -> u64 {
    let mut open = vec![folder.to_owned()];
    let mut size = 0u64;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) => size = size.saturating_add(meta.len()),
                Err(_) => {}
            }
        }
    }
    size
}

/// The paths that were added (`A`), changed (`C`) or deleted (`D`) between two images, in order.
///
/// # Errors
/// The layers cannot be read.
pub fn changes(store: &Store, from: &ImageHandle, to: &ImageHandle) -> Result<Vec<(char, String)>> {
    let before = ImageTree::of_layers(store, &from.layers)?;
    let after = ImageTree::of_layers(store, &to.layers)?;
    let fail = |error: std::io::Error| {
        Error::new(Cause::Copy { path: "the image".to_owned(), reason: error.to_string() })
    };
    let mut found = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(directory) = open.pop() {
        let names = |tree: &ImageTree| match tree.entry(&directory) {
            Ok(Some(entry)) if entry.kind == crate::files::Kind::Directory => {
                tree.names(&directory).map_err(fail)
            }
            _ => Ok(Vec::new()),
        };
        let (old, new) = (names(&before)?, names(&after)?);
        for name in old.iter().filter(|name| !new.contains(name)) {
            found.push(('D', child(&directory, name)));
        }
        for name in &new {
            let path = child(&directory, name);
            let (was, is) = (before.entry(&path).map_err(fail)?, after.entry(&path).map_err(fail)?);
            let is_directory =
                is.as_ref().is_some_and(|entry| entry.kind == crate::files::Kind::Directory);
            match (was, is) {
                (None, _) => found.push(('A', path.clone())),
                (Some(was), Some(is)) => {
                    let about = |e: &crate::files::Entry| (e.kind.clone(), e.mode, e.uid, e.gid);
                    let dated = !is_directory && was.mtime != is.mtime;
                    if about(&was) != about(&is) || dated || was.xattrs != is.xattrs {
                        found.push(('C', path.clone()));
                    }
                }
                _ => {}
            }
            if is_directory {
                open.push(path);
            }
        }
    }
    found.sort_by(|a, b| a.1.cmp(&b.1));
    let shown = |path: Vec<u8>| format!("/{}", String::from_utf8_lossy(&path));
    Ok(found.into_iter().map(|(mark, path)| (mark, shown(path))).collect())
}
