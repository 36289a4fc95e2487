//! The local content-addressed store: an OCI image layout on disk, shared by any number of processes.
//!
//! Order is what makes it safe: a blob is written to `tmp/` or `partial/`, synced, and renamed into `blobs/`; only then
//! does `index.json` (written the same way, under a lock) name it. A kill in between leaves garbage and nothing else.

mod blob;
mod difference;
mod garbage;
mod index;
mod verify;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use blob::BlobWriter;
pub use index::{Entry, Kind};
pub(crate) use verify::as_stated;

use crate::{Error, Result};

/// The lock that says that a store is open.
const IN_USE: &str = "locks/in-use";

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The store. Clones share one handle.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    /// Held shared for as long as the store is open: garbage collection takes it exclusively, so that it never removes
    /// a blob between its writing and its naming. None in a store that cannot be written and has no such file.
    in_use: Option<File>,
}

impl Store {
    /// `$BOXER_HOME`, `$XDG_DATA_HOME/boxer` or `~/.local/share/boxer`.
    pub fn default_path() -> Result<PathBuf> {
        let dir = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(home) = dir("BOXER_HOME") {
            return Ok(home);
        }
        if let Some(data) = dir("XDG_DATA_HOME").filter(|p| p.is_absolute()) {
            return Ok(data.join("boxer"));
        }
        dir("HOME").map(|h| h.join(".local/share/boxer")).ok_or_else(|| Error::BadOption {
            option: "HOME".into(),
            reason: "not set; set BOXER_HOME to the directory of the store".into(),
        })
    }

    /// Opens the store at `path`, creating it where there is none. One that this user cannot write can still be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        let root = path.as_ref().to_path_buf();
        let marker = root.join("oci-layout");
        let in_use = match hold(&root) {
            Ok(in_use) => in_use,
            Err(error) if error.is_read_only() && marker.is_file() => {
                let text = fs::read_to_string(&marker).map_err(|e| Error::io(&marker, e))?;
                check_layout_version(&marker, &text)?;
                // Whoever can write it may be removing garbage: a lock needs no permission to write.
                let in_use = File::open(root.join(IN_USE)).ok();
                let in_use = in_use.filter(|file| file.lock_shared().is_ok());
                return Ok(Store { inner: Arc::new(Inner { root, in_use }) });
            }
            Err(error) => return Err(error),
        };
        let store = Store { inner: Arc::new(Inner { root, in_use: Some(in_use) }) };
        match fs::read_to_string(&marker) {
            Ok(text) => check_layout_version(&marker, &text)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                store.replace_file(&marker, LAYOUT.as_bytes())?;
            }
            Err(e) => return Err(Error::io(&marker, e)),
        }
        store.create_index()?;
        store.forget_leftovers();
        Ok(store)
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        &self.inner.root
    }

    /// Writes a small file so that a reader sees the old or the new content, whatever happens.
    fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        use std::io::Write as _;
        let fail = |e| Error::io(path, e);
        let mut temp = self.temp_file()?;
        temp.write_all(bytes).map_err(fail)?;
        temp.as_file().sync_all().map_err(fail)?;
        temp.persist(path).map_err(|e| Error::io(path, e.error))?;
        sync_dir(path)
    }

    /// A file that vanishes unless it is persisted. (After a kill, garbage collection removes it.)
    pub(crate) fn temp_file(&self) -> Result<tempfile::NamedTempFile> {
        let dir = self.path().join("tmp");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&own_prefix()).tempfile_in(&dir).map_err(|e| Error::io(&dir, e))
    }

    /// A directory in the store's `tmp/` that vanishes with the result.
    pub fn temp_dir(&self) -> Result<tempfile::TempDir> {
        let dir = self.path().join("tmp");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&own_prefix()).tempdir_in(&dir).map_err(|e| Error::io(&dir, e))
    }
}

/// Temporary names begin so: what a process has to leave without tidying up can be told from others'.
fn own_prefix() -> String {
    format!("{}-", std::process::id())
}

/// Refuses a layout from the future.
pub(crate) fn check_layout_version(path: &Path, text: &str) -> Result<()> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let corrupt = |reason: String| Error::CorruptStore { path: path.into(), reason };
    let marker: Marker =
        serde_json::from_str(text).map_err(|e| corrupt(format!("no OCI layout marker: {e}")))?;
    if !marker.image_layout_version.starts_with("1.") {
        return Err(corrupt(format!("unknown layout version {}", marker.image_layout_version)));
    }
    Ok(())
}

/// Makes the folders of a store and takes its lock.
fn hold(root: &Path) -> Result<File> {
    for dir in ["blobs/sha256", "partial", "tmp", "locks"] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).map_err(|e| Error::io(&dir, e))?;
    }
    let path = root.join(IN_USE);
    let in_use = open_lock(&path)?;
    in_use.lock_shared().map_err(|e| Error::io(&path, e))?;
    Ok(in_use)
}

/// Opens (creates) a file that exists only to be locked.
fn open_lock(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|e| Error::io(path, e))
}

/// Makes a rename or creation of `path` last: the directory has to be synced too (fsync(2), NOTES).
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    let Some(dir) = path.parent() else { return Ok(()) };
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::io(dir, e))
}

#[cfg(test)]
mod tests;
