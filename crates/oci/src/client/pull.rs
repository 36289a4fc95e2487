//! Pulling: manifest, platform, config, then the layers side by side.

use std::collections::HashSet;

use super::Client;
use super::blob::fetch;
use super::endpoint::{Endpoint, Operation};
use crate::artifact::check_box_manifest;
use crate::manifest::{MAX_CONFIG, MAX_NESTING, media};
use crate::wasi_image::is_wasi;
use crate::writer::{check_image_manifest, match_layers};
use crate::{
    Descriptor, Digest, Document, Error, ImageConfig, Manifest, Progress, Reference, Result, Store,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

/// What the caller can use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Image,
    Box,
    Any,
}

impl Client {
    /// Brings manifest and blobs into the store, from the first mirror that can or the registry; nothing is named yet.
    pub(super) async fn pull_artifact(
        &self,
        reference: &Reference,
        store: &Store,
        progress: &dyn Progress,
        want: Want,
    ) -> Result<Descriptor> {
        for mirror in self.options.mirrors.iter().filter(|m| m.registry == reference.registry()) {
            let attempt = async {
                let endpoint =
                    Endpoint::open(self, reference, Some(mirror), Operation::Pull).await?;
                self.pull_from(&endpoint, reference, store, progress, want).await
            };
            match attempt.await {
                Ok(descriptor) => return Ok(descriptor),
                Err(e) if is_local(&e) => return Err(e),
                Err(e) => tracing::warn!(mirror = %mirror.host, error = %e, "mirror failed"),
            }
        }
        let endpoint = Endpoint::open(self, reference, None, Operation::Pull).await?;
        self.pull_from(&endpoint, reference, store, progress, want).await
    }

    async fn pull_from(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        store: &Store,
        progress: &dyn Progress,
        want: Want,
    ) -> Result<Descriptor> {
        let name = reference.familiar();
        let (bytes, digest, manifest) =
            self.find_manifest(endpoint, reference, MAX_NESTING).await?;
        self.pull_blobs(endpoint, &name, &manifest, store, progress, want).await?;
        let media_type = manifest.media_type.unwrap_or_else(|| media::OCI_MANIFEST.into());
        store.put_reader(&mut bytes.as_slice(), Some(&digest))?;
        Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
    }

    /// The manifest for this machine: its bytes, their digest, and what they say. At most `nesting` indexes lead to it.
    pub(super) async fn find_manifest(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        nesting: u32,
    ) -> Result<(Vec<u8>, Digest, Manifest)> {
        let name = reference.familiar();
        let mut target = endpoint.manifest.clone();
        let mut expected = reference.digest();
        let mut depth = 0;
        loop {
            let (bytes, digest) = self.pull_manifest(endpoint, &target, expected.as_ref()).await?;
            match Document::parse(&name, &bytes)? {
                Document::Manifest(manifest) => return Ok((bytes, digest, *manifest)),
                Document::Index(_) if depth == nesting => {
                    return Err(Error::not_an_image(&name, "indexes nested too deeply"));
                }
                Document::Index(index) => {
                    depth += 1;
                    let entry = index.linux_amd64(&name)?;
                    target = entry.digest.to_string();
                    expected = Some(entry.digest.clone());
                }
            }
        }
    }

    async fn pull_blobs(
        &self,
        endpoint: &Endpoint,
        name: &str,
        manifest: &Manifest,
        store: &Store,
        progress: &dyn Progress,
        want: Want,
    ) -> Result<()> {
        let is_box = match want {
            Want::Box => !media::is_image_config(&manifest.config.media_type),
            Want::Image => false,
            Want::Any => manifest.config.media_type == media::WASM_CONFIG,
        };
        if is_box {
            check_box_manifest(name, manifest)?;
        } else {
            check_image_manifest(name, manifest)?;
        }
        check_config_size(name, manifest)?;
        fetch(endpoint, &self.options, &manifest.config, store, progress).await?;
        if !is_box {
            // The config knows the platform; a mismatch should not cost the layers.
            let config =
                ImageConfig::parse(name, &store.read_blob(&manifest.config.digest, MAX_CONFIG)?)?;
            match (is_wasi(&config), want) {
                (true, _) => {}
                (false, Want::Box) => {
                    let reason = "it is a container image".into();
                    return Err(Error::NotABox { reference: name.into(), reason });
                }
                (false, _) => drop(match_layers(name, manifest, &config)?),
            }
        }
        let mut seen = HashSet::new();
        let layers = manifest.layers.iter().filter(|l| seen.insert(&l.digest)).collect::<Vec<_>>();
        stream::iter(layers)
            .map(|layer| self.fetch_layer(endpoint, layer, store, progress))
            .buffer_unordered(self.options.parallel.max(1))
            .try_collect::<Vec<()>>()
            .await
            .map(|_| ())
    }

    /// A layer from the registry, or, if it does not have it, from where the manifest says that it is.
    async fn fetch_layer(
        &self,
        endpoint: &Endpoint,
        layer: &Descriptor,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut result = fetch(endpoint, &self.options, layer, store, progress).await;
        for url in
            layer.urls.iter().filter(|_| media::FOREIGN_LAYERS.contains(&layer.media_type.as_str()))
        {
            match &result {
                Err(e) if !is_local(e) => {}
                _ => break,
            }
            let Ok(url) = reqwest::Url::parse(url) else { continue };
            if !matches!(url.scheme(), "http" | "https") {
                continue;
            }
            let host = url.host_str().unwrap_or_default().to_string();
            let expected = Some(&layer.digest);
            let fetched = self.fetch_url(&host, url, expected, store, progress).await;
            if fetched.is_ok() {
                result = Ok(());
            }
        }
        result
    }
}

/// Refuses a manifest whose config is too large to be read.
pub(super) fn check_config_size(name: &str, manifest: &Manifest) -> Result<()> {
    if manifest.config.size > MAX_CONFIG {
        let what = "the config".into();
        return Err(Error::TooLarge { reference: name.into(), what, limit: MAX_CONFIG });
    }
    Ok(())
}

/// Failures of this machine, which another mirror would not mend.
fn is_local(error: &Error) -> bool {
    matches!(
        error,
        Error::DiskFull { .. }
            | Error::CorruptStore { .. }
            | Error::Io { .. }
            | Error::Credentials { .. }
    )
}
