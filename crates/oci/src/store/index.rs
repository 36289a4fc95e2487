//! Names: `index.json`, changed under a lock.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

use super::{Store, open_lock};
use crate::manifest::{BOX_OF, REF_NAME, media, to_json};
use crate::{Descriptor, Digest, Document, Error, Index, Reference, Result};

/// What a name in the store leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A container image.
    Image,
    /// A WebAssembly artifact.
    Box,
    /// Some other artifact.
    Other,
}

/// A row of `boxer images`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The canonical name, or `None` for an untagged manifest.
    pub name: Option<String>,
    /// Digest of the manifest.
    pub digest: Digest,
    /// What it is.
    pub kind: Kind,
    /// Config and layers together, in bytes; of what is kept as a difference to another blob, that.
    pub size: u64,
    /// Why the manifest cannot be read, where the store is damaged.
    pub damage: Option<String>,
}

impl Store {
    /// Gives a manifest (already stored) a name; whatever had the name loses it.
    pub fn tag(&self, reference: &Reference, manifest: &Descriptor) -> Result<()> {
        let name = reference.canonical();
        let mut entry = manifest.clone();
        entry.annotations.insert(REF_NAME.into(), name.clone());
        self.update_index(|index| {
            index.manifests.retain(|d| d.ref_name() != Some(&name) && d.box_name() != Some(&name));
            index.manifests.push(entry);
        })
    }

    /// Keeps the image that the box of this name was made of beside it: FROM and whoever else wants an image get that one.
    pub fn tag_image_of(&self, reference: &Reference, image: &Descriptor) -> Result<()> {
        let name = reference.canonical();
        let mut entry = image.clone();
        entry.annotations.insert(BOX_OF.into(), name.clone());
        self.update_index(|index| {
            index.manifests.retain(|d| d.box_name() != Some(&name));
            // The build has kept it without a name.
            index.manifests.retain(|d| d.digest != entry.digest || is_named(d));
            index.manifests.push(entry);
        })
    }

    /// As [`Store::resolve`], for whoever wants an image: of a name that leads to a box, the image it was made of.
    pub fn resolve_image(&self, reference: &Reference) -> Result<Descriptor> {
        let index = self.read_index()?;
        let name = reference.canonical();
        match index.manifests.iter().find(|d| d.box_name() == Some(&name)) {
            Some(image) => Ok(image.clone()),
            None => self.resolve(reference),
        }
    }

    /// Keeps a manifest without a name.
    pub(crate) fn keep(&self, manifest: &Descriptor) -> Result<()> {
        let entry = manifest.clone();
        self.update_index(|index| {
            if !index.manifests.iter().any(|d| d.digest == entry.digest) {
                index.manifests.push(entry);
            }
        })
    }

    /// Forgets a manifest that is kept without a name.
    pub(crate) fn forget_if_unnamed(&self, digest: &Digest) -> Result<()> {
        self.update_index(|index| {
            index.manifests.retain(|d| d.digest != *digest || is_named(d));
        })
    }

    /// Enters an attestation in place of earlier ones about the same manifest.
    pub(crate) fn enter_attestation(&self, entry: Descriptor) -> Result<()> {
        self.update_index(|index| {
            index.manifests.retain(|d| d.attests().is_none() || d.attests() != entry.attests());
            index.manifests.push(entry);
        })
    }

    /// Enters what lives as long as the manifest it stands beside.
    pub(crate) fn enter_beside(&self, entry: Descriptor) -> Result<()> {
        self.update_index(|index| {
            index
                .manifests
                .retain(|d| d.digest != entry.digest || d.stands_beside() != entry.stands_beside());
            index.manifests.push(entry);
        })
    }

    /// Takes a name away. Its blobs stay until garbage is collected. Whether the name was there.
    pub fn untag(&self, reference: &Reference) -> Result<bool> {
        let name = reference.canonical();
        let mut found = false;
        self.update_index(|index| {
            let before = index.manifests.len();
            index.manifests.retain(|d| d.ref_name() != Some(&name) && d.box_name() != Some(&name));
            found = index.manifests.len() != before;
        })?;
        Ok(found)
    }

    /// Forgets what is kept without a name (images of stages, of `--iidfile` builds); garbage collection then removes
    /// it. How many there were.
    pub fn forget_unnamed(&self) -> Result<usize> {
        let mut count = 0;
        self.update_index(|index| {
            let before = index.manifests.len();
            index.manifests.retain(|d| is_named(d) || d.stands_beside().is_some());
            drop_orphans(index);
            count = before.saturating_sub(index.manifests.len());
        })?;
        Ok(count)
    }

    /// The manifest behind a name, or behind a digest that is here.
    pub fn resolve(&self, reference: &Reference) -> Result<Descriptor> {
        let index = self.read_index()?;
        let name = reference.canonical();
        let by_name = index.manifests.iter().find(|d| d.ref_name() == Some(&name));
        let by_digest = || {
            let digest = reference.digest()?;
            index.manifests.iter().find(|d| d.digest == digest)
        };
        by_name
            .or_else(by_digest)
            .cloned()
            .ok_or_else(|| Error::NotInStore { reference: reference.familiar() })
    }

    /// Everything the store has a name for (or keeps without), in order of name.
    pub fn images(&self) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = self
            .read_index()?
            .manifests
            .iter()
            .filter(|descriptor| descriptor.stands_beside().is_none())
            .map(|descriptor| {
                let name = descriptor.ref_name().or(descriptor.box_name()).map(str::to_string);
                let digest = descriptor.digest.clone();
                match self.read_manifest(descriptor) {
                    Ok(manifest) => {
                        let kind = match manifest.config.media_type.as_str() {
                            media::WASM_CONFIG => Kind::Box,
                            t if media::is_image_config(t) => Kind::Image,
                            _ => Kind::Other,
                        };
                        let size = manifest
                            .layers
                            .iter()
                            .map(|l| self.size_of_difference(&l.digest).unwrap_or(l.size))
                            .fold(manifest.config.size, u64::saturating_add);
                        Entry { name, digest, kind, size, damage: None }
                    }
                    Err(e) => Entry {
                        name,
                        digest,
                        kind: Kind::Other,
                        size: 0,
                        damage: Some(e.to_string()),
                    },
                }
            })
            .collect();
        entries.sort_by(|a, b| (&a.name, a.kind, &a.digest).cmp(&(&b.name, b.kind, &b.digest)));
        Ok(entries)
    }

    /// Where in the reference's registry, but not in its repository, blobs of the store are, by the names in the store.
    pub(crate) fn repositories_in(&self, reference: &Reference) -> Result<HashMap<Digest, String>> {
        let mut found = HashMap::new();
        for descriptor in self.read_index()?.manifests {
            let name = descriptor.ref_name().or(descriptor.box_name());
            let Some(name) = name.and_then(|name| Reference::parse(name).ok()) else { continue };
            if name.registry() != reference.registry()
                || name.repository() == reference.repository()
            {
                continue;
            }
            // A damaged manifest is told of by whoever needs it.
            let Ok(manifest) = self.read_manifest(&descriptor) else { continue };
            for layer in manifest.layers {
                found.insert(layer.digest, name.repository().to_owned());
            }
            found.insert(manifest.config.digest, name.repository().to_owned());
        }
        Ok(found)
    }

    pub(crate) fn read_manifest(&self, descriptor: &Descriptor) -> Result<crate::Manifest> {
        let bytes = self.read_blob(&descriptor.digest, crate::manifest::MAX_MANIFEST)?;
        let name = descriptor.ref_name().unwrap_or(descriptor.digest.as_str());
        match Document::parse(name, &bytes)? {
            Document::Manifest(manifest) => Ok(*manifest),
            Document::Index(_) => Err(Error::not_an_image(name, "it is an index of images")),
        }
    }

    /// All digests reachable from the index.
    pub(super) fn reachable(&self) -> Result<HashSet<Digest>> {
        let mut seen = HashSet::new();
        let mut index = self.read_index()?;
        drop_orphans(&mut index);
        for descriptor in index.manifests {
            if seen.contains(&descriptor.digest) {
                continue;
            }
            let manifest = self.read_manifest(&descriptor)?;
            seen.insert(descriptor.digest);
            seen.insert(manifest.config.digest);
            for layer in manifest.layers {
                let mut needed = Some(layer.digest);
                // A difference needs what it is one to.
                while let Some(digest) = needed.filter(|digest| !seen.contains(digest)) {
                    needed = self.base_of(&digest).map(|(base, _)| base);
                    seen.insert(digest);
                }
            }
        }
        Ok(seen)
    }

    pub(super) fn create_index(&self) -> Result<()> {
        if self.path().join("index.json").exists() {
            return Ok(());
        }
        self.update_index(|_| {})
    }

    pub(crate) fn read_index(&self) -> Result<Index> {
        let path = self.path().join("index.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
            Err(e) => return Err(Error::io(&path, e)),
        };
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::CorruptStore { path, reason: format!("malformed index: {e}") })
    }

    fn update_index(&self, change: impl FnOnce(&mut Index)) -> Result<()> {
        let lock_path = self.path().join("locks/index");
        let lock = open_lock(&lock_path)?;
        lock.lock().map_err(|e| Error::io(&lock_path, e))?;
        let mut index = self.read_index()?;
        change(&mut index);
        self.replace_file(&self.path().join("index.json"), &to_json(&index)?)
        // The lock ends with its file.
    }
}

fn is_named(descriptor: &Descriptor) -> bool {
    descriptor.ref_name().is_some() || descriptor.box_name().is_some()
}

/// An attestation is kept as long as what it is about, and likewise the image form of a box.
fn drop_orphans(index: &mut Index) {
    let kept: HashSet<String> = index
        .manifests
        .iter()
        .filter(|d| d.stands_beside().is_none())
        .map(|d| d.digest.to_string())
        .collect();
    index.manifests.retain(|d| d.stands_beside().is_none_or(|subject| kept.contains(subject)));
}
