//! The build cache: which layer an instruction gave last time.
//!
//! An entry is a file named by its key: a digest over the parent's key, the instruction and the
//! contents of what it reads. It holds the layer's record; the layer itself is a blob of the store,
//! and an entry whose blob is gone does not count. Entries appear by renaming.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use oci::{Digest, Hasher, LayerBlob, Store};
use serde::{Deserialize, Serialize};

/// What one instruction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    /// A layer.
    Layer(LayerBlob),
    /// It changed nothing.
    Nothing,
}

#[derive(Serialize, Deserialize)]
struct Record {
    layer: Option<LayerRecord>,
}

#[derive(Serialize, Deserialize)]
struct LayerRecord {
    digest: Digest,
    media_type: String,
    size: u64,
    diff_id: Digest,
}

/// The cache beside a store.
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub fn beside(store: &Store) -> Self {
        Self { folder: store.path().join("build-cache") }
    }

    /// What the key stands for, if it is here and whole.
    pub fn get(&self, key: &Digest, store: &Store) -> Option<Cached> {
        let bytes = fs::read(self.folder.join(key.hex())).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let Some(layer) = record.layer else { return Some(Cached::Nothing) };
        let whole = store.blob_size(&layer.digest).is_ok_and(|size| size == layer.size)
            && store.verify(&layer.digest).is_ok();
        whole.then_some(Cached::Layer(LayerBlob {
            digest: layer.digest,
            media_type: layer.media_type,
            size: layer.size,
            diff_id: layer.diff_id,
        }))
    }

    /// Whether the key stands for something, which is not looked at.
    pub fn has(&self, key: &Digest, store: &Store) -> bool {
        let record = fs::read(self.folder.join(key.hex())).ok();
        match record.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok()) {
            Some(Record { layer: None }) => true,
            Some(Record { layer: Some(layer) }) => {
                store.blob_size(&layer.digest).is_ok_and(|size| size == layer.size)
            }
            None => false,
        }
    }

    /// The key by content that a key by description led to last time.
    pub fn content_key(&self, described: &Digest) -> Option<Digest> {
        let text = fs::read_to_string(self.folder.join(described.hex())).ok()?;
        Digest::parse(text.strip_prefix("content ")?).ok()
    }

    /// Remembers that a description leads to this content.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put_content_key(&self, described: &Digest, content: &Digest) -> std::io::Result<()> {
        self.write(described, format!("content {content}").as_bytes())
    }

    /// Remembers a result.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put(&self, key: &Digest, result: &Cached) -> std::io::Result<()> {
        let layer = match result {
            Cached::Nothing => None,
            Cached::Layer(layer) => Some(LayerRecord {
                digest: layer.digest.clone(),
                media_type: layer.media_type.clone(),
                size: layer.size,
                diff_id: layer.diff_id.clone(),
            }),
        };
        self.write(key, &serde_json::to_vec(&Record { layer })?)
    }

    /// What was kept under a key by [`Cache::put_bytes`].
    pub fn bytes(&self, key: &Digest) -> Option<Vec<u8>> {
        fs::read(self.folder.join(key.hex())).ok()
    }

    /// Keeps bytes that say themselves whether they are whole.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put_bytes(&self, key: &Digest, bytes: &[u8]) -> std::io::Result<()> {
        self.write(key, bytes)
    }

    fn write(&self, key: &Digest, bytes: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        file.persist(self.folder.join(key.hex())).map_err(|error| error.error)?;
        Ok(())
    }
}

/// A key from its parts; each part's length goes in, so that no two lists run together.
pub(crate) fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut hasher = Hasher::sha256();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finish()
}
