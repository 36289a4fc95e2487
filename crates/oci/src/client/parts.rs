//! Manifests whose blobs are fetched one by one, when somebody needs one: build caches, and images that carry one.

use std::path::PathBuf;

use oci_client::RegistryOperation;

use super::Client;
use super::blob::fetch;
use super::endpoint::Endpoint;
use crate::manifest::MAX_CONFIG;
use crate::source::LayoutManifest;
use crate::{Descriptor, Document, Error, Manifest, Progress, Reference, Result, Source, Store};

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
                    let endpoint =
                        Endpoint::open(self, reference, None, RegistryOperation::Pull).await?;
                    let manifest = self.pull_any_manifest(&endpoint, reference).await?;
                    check_config(&name, &manifest)?;
                    fetch(&endpoint, &self.options, &manifest.config, store, progress).await?;
                    Ok(manifest)
                })?;
                let config = store.read_blob(&manifest.config.digest, MAX_CONFIG)?;
                Ok(Parts { manifest, config, origin: Origin::Registry(reference.clone()) })
            }
            Source::Layout { path, selector } => {
                let LayoutManifest { manifest, config } =
                    LayoutManifest::read(path, selector.as_ref())?;
                Ok(Parts { manifest, config, origin: Origin::Layout(path.clone()) })
            }
            Source::Archive { .. } => Err(Error::not_an_image(source, "it is an archive")),
        }
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
                let endpoint =
                    Endpoint::open(self, reference, None, RegistryOperation::Pull).await?;
                fetch(&endpoint, &self.options, blob, store, progress).await
            }),
            Origin::Layout(path) => LayoutManifest::copy_blob(path, blob, store, progress),
        }
    }

    async fn pull_any_manifest(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<Manifest> {
        let name = reference.familiar();
        let mut target = endpoint.target.clone();
        let mut expected = reference.digest();
        loop {
            let whole = expected.is_none() || expected == reference.digest();
            let (bytes, _) = self.pull_manifest(endpoint, &target, expected.as_ref()).await?;
            match Document::parse(&name, &bytes)? {
                Document::Manifest(manifest) => return Ok(*manifest),
                Document::Index(index) if whole => {
                    let entry = index.linux_amd64(&name)?;
                    target = endpoint.target.clone_with_digest(entry.digest.to_string());
                    expected = Some(entry.digest.clone());
                }
                Document::Index(_) => {
                    return Err(Error::not_an_image(&name, "indexes nested too deeply"));
                }
            }
        }
    }
}

fn check_config(name: &str, manifest: &Manifest) -> Result<()> {
    if manifest.config.size > MAX_CONFIG {
        let what = "the config".into();
        return Err(Error::TooLarge { reference: name.into(), what, limit: MAX_CONFIG });
    }
    Ok(())
}
