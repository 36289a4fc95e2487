//! Manifests whose blobs are fetched one by one, when somebody needs one: build caches, and images that carry one.

use std::path::PathBuf;

use super::Client;
use super::actions::{ActionsCache, Record};
use super::blob::fetch;
use super::endpoint::{Endpoint, Operation};
use super::pull::check_config_size;
use crate::manifest::MAX_CONFIG;
use crate::source::LayoutManifest;
use crate::{Descriptor, Error, Manifest, Progress, Reference, Result, Source, Store};

/// Most indexes on the way to a cache.
const NESTING: u32 = 1;

/// A manifest and its config; where the rest is.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The manifest.
    pub manifest: Manifest,
    /// The config's bytes.
    pub config: Vec<u8>,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    Registry(Reference),
    Layout(PathBuf),
    Actions(ActionsCache),
}

impl Client {
    /// Reads manifest and config of whatever is at `source`, a registry or a layout.
    pub fn open_parts(
        &self,
        source: &Source,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<Parts> {
        match source {
            Source::Registry(reference) => {
                let name = reference.familiar();
                if self.options.offline {
                    return Err(Error::Offline { reference: name });
                }
                let manifest = self.run(reference, async || {
                    let endpoint = Endpoint::open(self, reference, None, Operation::Pull).await?;
                    let (_, _, manifest) =
                        self.find_manifest(&endpoint, reference, NESTING).await?;
                    check_config_size(&name, &manifest)?;
                    fetch(&endpoint, &self.options, &manifest.config, store, progress).await?;
                    Ok(manifest)
                })?;
                let config = store.read_blob(&manifest.config.digest, MAX_CONFIG)?;
                Ok(Parts { manifest, config, origin: Origin::Registry(reference.clone()) })
            }
            Source::Layout { path, selector } => {
                let LayoutManifest { manifest, config } =
                    LayoutManifest::read(path, selector.as_ref(), NESTING)?;
                Ok(Parts { manifest, config, origin: Origin::Layout(path.clone()) })
            }
            Source::Archive { .. } => Err(Error::not_an_image(source, "it is an archive")),
        }
    }

    /// Reads the newest manifest of a cache of GitHub Actions, and its config.
    pub fn open_actions(&self, cache: &ActionsCache) -> Result<Parts> {
        let Record { manifest, config } =
            self.with_actions(cache, async |service| service.record().await)?;
        Ok(Parts { manifest, config: config.into_bytes(), origin: Origin::Actions(cache.clone()) })
    }

    /// Brings one of its blobs into the store.
    pub fn fetch_part(
        &self,
        parts: &Parts,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<()> {
        match &parts.origin {
            Origin::Registry(reference) => self.run(reference, async || {
                let endpoint = Endpoint::open(self, reference, None, Operation::Pull).await?;
                fetch(&endpoint, &self.options, blob, store, progress).await
            }),
            Origin::Layout(path) => LayoutManifest::copy_blob(path, blob, store, progress),
            Origin::Actions(cache) => {
                self.with_actions(cache, async |service| service.fetch(blob, store, progress).await)
            }
        }
    }
}
