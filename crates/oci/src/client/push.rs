//! Pushing: blobs the registry lacks, then the manifest, byte for byte as it is in the store.

use std::collections::{BTreeSet, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::Client;
use super::endpoint::{Endpoint, Operation};
use crate::manifest::{MAX_MANIFEST, media};
use crate::{Digest, Document, Error, Progress, Reference, Result, Store};

/// Most other repositories that a token is asked for.
const MAX_WISHES: usize = 8;

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
        let endpoint = Endpoint::open(self, reference, None, Operation::Push).await?;
        // What came from elsewhere in this registry need not be sent there again.
        let elsewhere = store.repositories_in(reference)?;
        let mut seen = HashSet::new();
        let blobs = std::iter::once(&manifest.config)
            .chain(&manifest.layers)
            .filter(|b| seen.insert(&b.digest))
            .collect::<Vec<_>>();
        let repositories: BTreeSet<&String> =
            blobs.iter().filter_map(|blob| elsewhere.get(&blob.digest)).collect();
        let scope = |repository: &String| format!("repository:{repository}:pull");
        endpoint.session.wish(repositories.into_iter().take(MAX_WISHES).map(scope).collect());
        stream::iter(blobs)
            .map(|blob| {
                let from = elsewhere.get(&blob.digest).map(String::as_str);
                self.push_blob(&endpoint, blob, store, from, progress)
            })
            .buffer_unordered(self.options.parallel.max(1))
            .try_collect::<Vec<()>>()
            .await?;
        // The manifest last: a registry refuses one whose blobs it lacks.
        let media_type = manifest.media_type.as_deref().unwrap_or(media::OCI_MANIFEST);
        self.push_manifest(&endpoint, &endpoint.manifest, media_type, &bytes)
            .await
            .map_err(|error| refusal(error, &manifest.config.media_type))?;
        for attestation in store.attestations(digest)? {
            self.push_attestation(&endpoint, store, digest, &attestation, progress).await?;
        }
        Ok(())
    }
}

/// Registries have no common way to say that they do not know a config's type: what is said of an artifact's manifest, once all of
/// its blobs are there, is taken for that.
fn refusal(error: Error, config_type: &str) -> Error {
    match error {
        Error::Registry { reference, registry, status, reason }
            if config_type == media::WASM_CONFIG
                && matches!(status, 400 | 405 | 406 | 415 | 422) =>
        {
            Error::ArtifactRefused { reference, registry, status, reason }
        }
        other => other,
    }
}
