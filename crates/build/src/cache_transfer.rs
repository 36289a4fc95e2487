//! `--cache-from` and `--cache-to`: results of steps that travel between machines, in a registry, in a directory, in the cache service of
//! GitHub Actions, or inside an image.
//!
//! A cache is an OCI manifest: its layers are the results, its config ([`Records`]) says which key each has. What an image carries is
//! the same record in its own config, about its own layers. Keys are those of the local cache: they say nothing of a machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use oci::{
    ActionsCache, Descriptor, Digest, ImageConfig, LayerBlob, Parts, Reference, Selector, Source,
};
use serde::{Deserialize, Serialize};

use crate::builder::Builder;
use crate::cache::Cached;
use crate::error::{Cause, Error, Result};
use crate::stage::Stage;
use crate::transfer::Transfers;

/// Media type of a cache's config.
const CONFIG_TYPE: &str = "application/vnd.boxer.buildcache.v1+json";
/// Where an image's config carries its cache.
const INLINE: &str = "boxer.buildcache.v1";
/// The field of BuildKit's own, about layers that an image made here does not have.
const INLINE_BUILDKIT: &str = "moby.buildkit.cache.v0";
/// The most layers of one cache: more than a manifest may have cannot be read back.
const MOST_LAYERS: usize = 4096;

/// Where known results come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheImport {
    /// A registry: a cache, or an image that carries one.
    Registry(Reference),
    /// A directory that a build has written, and which of its caches.
    Local {
        /// The directory.
        path: PathBuf,
        /// By tag or digest.
        selector: Selector,
    },
    /// The cache service of GitHub Actions.
    Actions(ActionsCache),
}

/// Which results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Those that the result is made of.
    #[default]
    Min,
    /// Those of all steps.
    Max,
}

/// Where results are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheExport {
    /// Into the image's config; mode is min.
    Inline,
    /// A registry.
    Registry {
        /// The name there.
        reference: Reference,
        /// Which results.
        mode: CacheMode,
        /// A failure is only a warning.
        ignore_error: bool,
    },
    /// A directory.
    Local {
        /// The directory, an OCI layout, made if it is not there.
        path: PathBuf,
        /// The name in it.
        tag: String,
        /// Which results.
        mode: CacheMode,
        /// A failure is only a warning.
        ignore_error: bool,
    },
    /// The cache service of GitHub Actions.
    Actions {
        /// Which of its caches.
        cache: ActionsCache,
        /// Which results.
        mode: CacheMode,
        /// A failure is only a warning.
        ignore_error: bool,
    },
}

/// A cache's config.
#[derive(Default, Serialize, Deserialize)]
struct Records {
    #[serde(default)]
    records: Vec<Record>,
    /// Inputs by description, with the key of their content: the stage that they come from need not be there.
    #[serde(default)]
    inputs: BTreeMap<Digest, Digest>,
    /// Digests of the layers' uncompressed archives, in the manifest's order; an image's config has them elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    diff_ids: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    key: Digest,
    /// The number of the layer; none if the step changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<usize>,
}

/// A cache that is read from.
pub(crate) struct Imported {
    parts: Parts,
    records: BTreeMap<Digest, Cached>,
    inputs: BTreeMap<Digest, Digest>,
}

impl Imported {
    /// Whether it has a result of this key.
    pub fn has(&self, key: &Digest) -> bool {
        self.records.contains_key(key)
    }
}

/// What a build has come to know, to be written.
#[derive(Default)]
pub(crate) struct Known(Mutex<KnownState>);

#[derive(Default)]
struct KnownState {
    results: BTreeMap<Digest, Cached>,
    inputs: BTreeMap<Digest, Digest>,
}

impl Known {
    fn state(&self) -> MutexGuard<'_, KnownState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step has this result.
    pub fn result(&self, key: &Digest, result: &Cached) {
        self.state().results.insert(key.clone(), result.clone());
    }

    /// Inputs described so have this content.
    pub fn input(&self, described: &Digest, content: &Digest) {
        self.state().inputs.insert(described.clone(), content.clone());
    }

    fn records(&self, stage: &Stage, mode: CacheMode) -> (Records, Vec<LayerBlob>) {
        let state = self.state();
        let mut layers: Vec<LayerBlob> = Vec::new();
        let mut records = Records { inputs: state.inputs.clone(), ..Records::default() };
        let mut add = |key: &Digest, result: &Cached| {
            let layer = match result {
                Cached::Nothing => None,
                Cached::Layer(layer) => {
                    let known = layers.iter().position(|known| known.digest == layer.digest);
                    if known.is_none() && layers.len() == MOST_LAYERS {
                        return;
                    }
                    Some(known.unwrap_or_else(|| {
                        layers.push(layer.clone());
                        layers.len() - 1
                    }))
                }
            };
            records.records.push(Record { key: key.clone(), layer });
        };
        match mode {
            CacheMode::Min => stage.trail.iter().for_each(|(key, result)| add(key, result)),
            CacheMode::Max => state.results.iter().for_each(|(key, result)| add(key, result)),
        }
        records.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        (records, layers)
    }
}

/// Takes away what a base image carries: it is about other layers.
pub(crate) fn forget_inline(config: &mut ImageConfig) {
    config.extra.remove(INLINE);
    config.extra.remove(INLINE_BUILDKIT);
}

impl Builder<'_> {
    /// Reads every `--cache-from`. One that cannot be read costs time only, as with BuildKit.
    pub fn import_caches(&self) -> Result<Vec<Imported>> {
        let mut imported = Vec::new();
        for import in &self.options.cache_from {
            let name = match import {
                CacheImport::Registry(reference) => reference.familiar(),
                CacheImport::Local { path, .. } => path.display().to_string(),
                CacheImport::Actions(cache) => cache.name(),
            };
            let read = self.step(&format!("importing cache manifest from {name}"), |step| {
                let progress = Transfers { step, events: self.workshop.events.as_ref() };
                let open =
                    |source| self.client.open_parts(&source, &self.workshop.store, &progress);
                let parts = match import {
                    CacheImport::Registry(reference) => open(Source::Registry(reference.clone())),
                    CacheImport::Local { path, selector } => {
                        let (path, selector) = (path.clone(), Some(selector.clone()));
                        open(Source::Layout { path, selector })
                    }
                    CacheImport::Actions(cache) => self.client.open_actions(cache),
                }?;
                Ok((Imported::read(parts, &name)?, false))
            });
            match read {
                Ok(cache) => imported.push(cache),
                Err(error) if error.is_cancelled() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(imported)
    }

    /// What the caches of other machines say; a layer is fetched.
    pub fn imported(&self, key: &Digest) -> Option<Cached> {
        for cache in &self.imports {
            match cache.records.get(key) {
                Some(Cached::Nothing) => return Some(Cached::Nothing),
                Some(Cached::Layer(layer)) => {
                    let (media_type, digest) = (layer.media_type.clone(), layer.digest.clone());
                    let blob = Descriptor::new(media_type, digest, layer.size);
                    let store = &self.workshop.store;
                    match self.client.fetch_part(&cache.parts, &blob, store, &oci::NoProgress) {
                        Ok(()) => return Some(Cached::Layer(layer.clone())),
                        Err(oci::Error::Interrupted) => return None,
                        Err(error) => {
                            let text = format!("a layer of the imported cache is lost: {error}");
                            self.workshop.events.warning(&text);
                        }
                    }
                }
                None => {}
            }
        }
        None
    }

    /// The content key that other machines found for inputs described so.
    pub fn imported_input(&self, described: &Digest) -> Option<Digest> {
        self.imports.iter().find_map(|cache| cache.inputs.get(described).cloned())
    }

    /// Puts the cache into the image's config, if that was asked for.
    pub fn inline_cache(&self, stage: &mut Stage) -> Result<()> {
        if !self.options.cache_to.contains(&CacheExport::Inline) {
            return Ok(());
        }
        let (mut records, layers) = self.known.records(stage, CacheMode::Min);
        records.diff_ids.clear();
        // The image's layers have other numbers: those of its base come first.
        for record in &mut records.records {
            let digest = record.layer.and_then(|number| layers.get(number)).map(|l| &l.digest);
            record.layer =
                digest.and_then(|digest| stage.layers.iter().position(|l| l.digest == *digest));
        }
        let value = serde_json::to_value(&records).map_err(|error| failed(INLINE, &error))?;
        stage.config.extra.insert(INLINE.to_owned(), value);
        Ok(())
    }

    /// Writes every `--cache-to` that is not in the image.
    pub fn export_caches(&self, stage: &Stage) -> Result<()> {
        for export in &self.options.cache_to {
            let (mode, ignore_error, title) = match export {
                CacheExport::Inline => continue,
                CacheExport::Registry { mode, ignore_error, .. } => {
                    (*mode, *ignore_error, "exporting cache to registry")
                }
                CacheExport::Local { mode, ignore_error, .. } => {
                    (*mode, *ignore_error, "exporting cache to client directory")
                }
                CacheExport::Actions { mode, ignore_error, .. } => {
                    (*mode, *ignore_error, "exporting to GitHub Actions Cache")
                }
            };
            let result = self.step(title, |step| {
                let store = &self.workshop.store;
                let (records, layers) = self.known.records(stage, mode);
                let config = serde_json::to_vec(&records).map_err(|error| failed(title, &error))?;
                let layers: Vec<Descriptor> = layers
                    .into_iter()
                    .map(|layer| Descriptor::new(layer.media_type, layer.digest, layer.size))
                    .collect();
                let manifest = store.write_manifest(CONFIG_TYPE, &config, &layers)?;
                match export {
                    CacheExport::Local { path, tag, .. } => {
                        let name = Reference::parse(&format!("cache:{tag}"))?;
                        oci::export_layout(store, &manifest, path, Some(&name))?;
                    }
                    CacheExport::Registry { reference, .. } => {
                        let progress = Transfers { step, events: self.workshop.events.as_ref() };
                        self.client.push(reference, store, &manifest, &progress)?;
                    }
                    CacheExport::Actions { cache, .. } => {
                        let progress = Transfers { step, events: self.workshop.events.as_ref() };
                        self.client.push_actions(cache, store, &manifest, &progress)?;
                    }
                    CacheExport::Inline => {}
                }
                Ok(((), false))
            });
            match result {
                Err(error) if ignore_error && !error.is_cancelled() => {
                    self.workshop.events.warning(&format!("{title}: {error}"));
                }
                other => other?,
            }
        }
        Ok(())
    }
}

impl Imported {
    fn read(parts: Parts, name: &str) -> Result<Self> {
        let malformed = |error: serde_json::Error| failed(name, &error);
        let records: Records = if parts.manifest.config.media_type == CONFIG_TYPE {
            serde_json::from_slice(&parts.config).map_err(malformed)?
        } else {
            let config = ImageConfig::parse(name, &parts.config)?;
            let Some(value) = config.extra.get(INLINE) else {
                return Err(Cause::Cache {
                    name: name.to_owned(),
                    reason: "it is no cache, and no image that carries one".to_owned(),
                }
                .into());
            };
            let records: Records = serde_json::from_value(value.clone()).map_err(malformed)?;
            Records { diff_ids: config.rootfs.diff_ids, ..records }
        };
        let layer = |number: usize| {
            let blob = parts.manifest.layers.get(number)?;
            Some(Cached::Layer(LayerBlob {
                digest: blob.digest.clone(),
                media_type: blob.media_type.clone(),
                size: blob.size,
                diff_id: records.diff_ids.get(number)?.clone(),
            }))
        };
        let entry = |record: &Record| {
            let result = match record.layer {
                None => Cached::Nothing,
                // A number that leads nowhere: somebody else's record, or damage.
                Some(number) => layer(number)?,
            };
            Some((record.key.clone(), result))
        };
        let found = records.records.iter().filter_map(entry).collect();
        Ok(Self { parts, records: found, inputs: records.inputs })
    }
}

fn failed(name: &str, error: &serde_json::Error) -> Error {
    Cause::Cache { name: name.to_owned(), reason: format!("malformed: {error}") }.into()
}
