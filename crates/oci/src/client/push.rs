//! Pushing: blobs the registry lacks, then the manifest, byte for byte as it is in the store.

use std::collections::HashSet;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci_client::RegistryOperation;
use oci_client::errors::OciDistributionError;

use super::Client;
use super::blob::wait;
use super::endpoint::Endpoint;
use super::failure::{explain, is_transient};
use crate::manifest::{MAX_MANIFEST, media};
use crate::{Descriptor, Digest, Document, Error, Index, Progress, Reference, Result, Store};

/// Bytes read from the store at a time.
const CHUNK: usize = 256 << 10;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

impl Client {
    pub(super) async fn push_artifact(
        &self,
        reference: &Reference,
        store: &Store,
        digest: &Digest,
        progress: &dyn Progress,
    ) -> Result<()> {
        let bytes = store.read_blob(digest, MAX_MANIFEST)?;
        let Document::Manifest(manifest) = Document::parse(digest.as_str(), &bytes)? else {
            return Err(Error::not_an_image(digest, "it is an index of images"));
        };
        let endpoint = Endpoint::open(self, reference, None, RegistryOperation::Push).await?;
        let mut seen = HashSet::new();
        let blobs = std::iter::once(&manifest.config)
            .chain(&manifest.layers)
            .filter(|b| seen.insert(&b.digest))
            .collect::<Vec<_>>();
        stream::iter(blobs)
            .map(|blob| self.push_blob(&endpoint, blob, store, progress))
            .buffer_unordered(self.options.parallel.max(1))
            .try_collect::<Vec<()>>()
            .await?;
        // The manifest last: a registry refuses one whose blobs it lacks.
        let media_type = manifest.media_type.as_deref().unwrap_or(media::OCI_MANIFEST);
        let media_type = reqwest::header::HeaderValue::from_str(media_type)
            .map_err(|_| Error::not_an_image(digest, "its media type is malformed"))?;
        self.retried(&endpoint, async || {
            let body = bytes.clone();
            endpoint.client.push_manifest_raw(&endpoint.target, body, media_type.clone()).await
        })
        .await
        .map_err(|error| refusal(error, &manifest.config.media_type))?;
        for attestation in store.attestations(digest)? {
            self.push_attestation(&endpoint, store, digest, &attestation, progress).await?;
        }
        Ok(())
    }

    /// Pushes statements about what was pushed before. A registry without the referrers API finds them by the tag schema (OCI
    /// distribution spec 1.1, "Referrers tag schema").
    async fn push_attestation(
        &self,
        endpoint: &Endpoint,
        store: &Store,
        subject: &Digest,
        attestation: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<()> {
        let manifest = store.read_manifest(attestation)?;
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.push_blob(endpoint, blob, store, progress).await?;
        }
        let bytes = store.read_blob(&attestation.digest, MAX_MANIFEST)?;
        let place = |digest: &Digest| {
            oci_client::Reference::with_digest(
                endpoint.target.registry().into(),
                endpoint.target.repository().into(),
                digest.to_string(),
            )
        };
        let manifest_type = reqwest::header::HeaderValue::from_static(media::OCI_MANIFEST);
        self.retried(endpoint, async || {
            let (body, kind) = (bytes.clone(), manifest_type.clone());
            endpoint.client.push_manifest_raw(&place(&attestation.digest), body, kind).await
        })
        .await?;
        let known = endpoint.client.pull_referrers(&place(subject), None).await.ok();
        let listed = known.iter().flat_map(|index| &index.manifests);
        if listed.clone().any(|entry| entry.digest == attestation.digest.as_str()) {
            return Ok(());
        }
        let tag = format!("{}-{}", subject.algorithm(), subject.hex());
        let tag = oci_client::Reference::with_tag(
            endpoint.target.registry().into(),
            endpoint.target.repository().into(),
            tag,
        );
        let mut index = self.tagged_referrers(endpoint, &tag).await?;
        index.manifests.retain(|entry| entry.digest != attestation.digest);
        index.manifests.push(attestation.clone());
        let bytes = crate::manifest::to_json(&index)?;
        let index_type = reqwest::header::HeaderValue::from_static(media::OCI_INDEX);
        self.retried(endpoint, async || {
            endpoint.client.push_manifest_raw(&tag, bytes.clone(), index_type.clone()).await
        })
        .await
        .map(|_| ())
    }

    /// The index that lists referrers by tag; an empty one if there is none yet. Whatever else cannot be read is not overwritten.
    async fn tagged_referrers(
        &self,
        endpoint: &Endpoint,
        tag: &oci_client::Reference,
    ) -> Result<Index> {
        match self.pull_manifest(endpoint, tag, None).await {
            Ok((bytes, _)) => match Document::parse("referrers", &bytes)? {
                Document::Index(index) => Ok(index),
                Document::Manifest(_) => {
                    Err(Error::not_an_image(tag, "it is no index of referrers"))
                }
            },
            Err(Error::NotFound { .. }) => Ok(Index::default()),
            Err(error) => Err(error),
        }
    }

    async fn push_blob(
        &self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<()> {
        let digest = blob.digest.as_str();
        let there = self
            .retried(endpoint, async || endpoint.client.blob_exists(&endpoint.target, digest).await)
            .await?;
        if there {
            progress.skip(&blob.digest);
            return Ok(());
        }
        let mut attempt = 0;
        loop {
            progress.start(&blob.digest, blob.size, 0);
            // The request owns its body, so that what happens inside comes out through these.
            let sent = Arc::new(AtomicU64::new(0));
            let broken: Arc<Mutex<Option<Error>>> = Arc::default();
            let body = body(store, blob, sent.clone(), broken.clone())?;
            let upload =
                endpoint.client.push_blob_stream(&endpoint.target, body, digest, Some(blob.size));
            let mut upload = std::pin::pin!(upload);
            let mut tick = tokio::time::interval(TICK);
            let result = loop {
                tokio::select! {
                    result = &mut upload => break result,
                    _ = tick.tick() => progress.advance(&blob.digest, sent.load(Ordering::Relaxed)),
                }
            };
            let Err(e) = result else {
                progress.advance(&blob.digest, blob.size);
                progress.finish(&blob.digest);
                return Ok(());
            };
            if let Some(cause) = broken.lock().ok().and_then(|mut b| b.take()) {
                return Err(cause);
            }
            attempt += 1;
            if !is_transient(&e) || attempt > self.options.retries {
                return Err(explain(endpoint, e));
            }
            progress.retry(&blob.digest, attempt, &e.to_string());
            tokio::time::sleep(wait(&self.options, attempt)).await;
        }
    }

    async fn retried<T>(
        &self,
        endpoint: &Endpoint,
        request: impl AsyncFn() -> std::result::Result<T, OciDistributionError>,
    ) -> Result<T> {
        let mut attempt = 0;
        loop {
            match request().await {
                Ok(answer) => return Ok(answer),
                Err(e) if is_transient(&e) && attempt < self.options.retries => {
                    attempt += 1;
                    tokio::time::sleep(wait(&self.options, attempt)).await;
                }
                Err(e) => return Err(explain(endpoint, e)),
            }
        }
    }
}

/// Registries have no common way to say that they do not know a config's type: what is said of an artifact's manifest, once all of
/// its blobs are there, is taken for that.
fn refusal(error: Error, config_type: &str) -> Error {
    match error {
        Error::Registry { reference, registry, status, reason }
            if config_type == media::WASM_CONFIG
                && matches!(status, 400 | 403 | 404 | 405 | 406 | 415 | 422) =>
        {
            Error::ArtifactRefused { reference, registry, status, reason }
        }
        other => other,
    }
}

/// The blob as a request body. Damage on our disk ends the request instead of being sent.
fn body(
    store: &Store,
    blob: &Descriptor,
    sent: Arc<AtomicU64>,
    broken: Arc<Mutex<Option<Error>>>,
) -> Result<
    impl futures_util::Stream<Item = std::result::Result<bytes::Bytes, OciDistributionError>>
    + Send
    + 'static,
> {
    let path = store.blob_path(&blob.digest);
    if !store.has_whole_blob(&blob.digest, blob.size) {
        return Err(Error::CorruptStore {
            path,
            reason: "the blob is missing or has the wrong size".into(),
        });
    }
    let reader = store.open_blob(&blob.digest)?;
    Ok(stream::unfold(Some(reader), move |reader| {
        let next = reader.and_then(|mut reader| {
            let mut chunk = vec![0u8; CHUNK];
            match reader.read(&mut chunk) {
                Ok(0) => None,
                Ok(n) => {
                    chunk.truncate(n);
                    sent.fetch_add(n as u64, Ordering::Relaxed);
                    Some((Ok(bytes::Bytes::from(chunk)), Some(reader)))
                }
                Err(e) => {
                    let text = e.to_string();
                    if let Ok(mut slot) = broken.lock() {
                        *slot = Some(Error::from_read(&path, e));
                    }
                    Some((Err(OciDistributionError::IoError(std::io::Error::other(text))), None))
                }
            }
        });
        std::future::ready(next)
    }))
}
