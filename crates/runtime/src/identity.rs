//! Which compiled code belongs to a box.
//!
//! Compiled code is kept by the digest of the box. Digesting a box of 500 MB takes longer than
//! starting it, so the digest of a file is remembered under its device, inode, size and times (as
//! git's index does). A file that changed within the last two seconds is not remembered, because its
//! next change could leave the times as they are.

use crate::error::RunError;
use link::{CodeCache, Digest, digest_of};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a file must have been left alone for its digest to be remembered.
const SETTLED: Duration = Duration::from_secs(2);

/// The form of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// A box to run.
pub struct Source<'a> {
    /// Module or component.
    pub form: Form,
    /// Digest of the box.
    pub digest: Digest,
    content: Content<'a>,
}

enum Content<'a> {
    File(PathBuf),
    Bytes(&'a [u8]),
}

impl<'a> Source<'a> {
    /// A box in a file.
    pub fn file(path: &Path, cache: &CodeCache) -> Result<Self, RunError> {
        let read_error = |source| RunError::Read { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(read_error)?;
        let mut header = Vec::new();
        (&mut file).take(8).read_to_end(&mut header).map_err(read_error)?;
        let form = form(&header).ok_or_else(|| RunError::NotWasm(path.display().to_string()))?;
        let digest = match remembered(&file, cache) {
            (Some(digest), _) => digest,
            (None, note) => {
                let bytes = std::fs::read(path).map_err(read_error)?;
                let digest = digest_of(&bytes);
                if let Some(note) = note {
                    // Only speed depends on it.
                    let _ = remember(&note, &digest);
                }
                digest
            }
        };
        Ok(Source { form, digest, content: Content::File(path.to_path_buf()) })
    }

    /// A box in memory.
    pub fn bytes(bytes: &'a [u8]) -> Result<Self, RunError> {
        let form = form(bytes).ok_or_else(|| RunError::NotWasm("the data".to_owned()))?;
        Ok(Source { form, digest: digest_of(bytes), content: Content::Bytes(bytes) })
    }

    /// The box's bytes.
    pub fn read(&self) -> Result<Vec<u8>, RunError> {
        match &self.content {
            Content::Bytes(bytes) => Ok(bytes.to_vec()),
            Content::File(path) => {
                std::fs::read(path).map_err(|source| RunError::Read { path: path.clone(), source })
            }
        }
    }
}

fn form(bytes: &[u8]) -> Option<Form> {
    match bytes.get(..8)? {
        [0, b'a', b's', b'm', 1, 0, 0, 0] => Some(Form::Module),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0] => Some(Form::Component),
        _ => None,
    }
}

/// The remembered digest, or where to remember it.
fn remembered(file: &File, cache: &CodeCache) -> (Option<Digest>, Option<PathBuf>) {
    let Ok(meta) = file.metadata() else { return (None, None) };
    let settled = meta.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
    if settled.is_none_or(|age| age < SETTLED) {
        return (None, None);
    }
    let identity = [
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime() as u64,
        meta.mtime_nsec() as u64,
        meta.ctime() as u64,
        meta.ctime_nsec() as u64,
    ];
    let identity: Vec<u8> = identity.iter().flat_map(|number| number.to_le_bytes()).collect();
    let name: String = digest_of(&identity).iter().map(|byte| format!("{byte:02x}")).collect();
    let note = cache.dir().join(format!("{name}.of"));
    let digest = std::fs::read(&note).ok().and_then(|bytes| bytes.try_into().ok());
    (digest, Some(note))
}

fn remember(note: &Path, digest: &Digest) -> std::io::Result<()> {
    let dir = note.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(digest)?;
    file.persist(note).map_err(|error| error.error)?;
    Ok(())
}
