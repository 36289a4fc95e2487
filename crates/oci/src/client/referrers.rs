//! What refers to a manifest (OCI distribution spec 1.1): the referrers API, and, where a registry does not have it, the tag schema.

use super::Client;
use super::endpoint::{Endpoint, Operation};
use super::failure::Failure;
use super::manifest::body;
use super::retry::retried;
use crate::manifest::{MAX_MANIFEST, media, to_json};
use crate::{Descriptor, Digest, Document, Error, Index, Progress, Reference, Result, Store};

/// Most pages of one answer, and most referrers of one manifest.
const MAX_PAGES: usize = 100;
const MAX_REFERRERS: usize = 10_000;

impl Client {
    /// The manifests that refer to this one in the reference's repository: signatures, SBOMs, provenance.
    ///
    /// # Errors
    /// The registry cannot be asked, or its answer is malformed.
    pub fn referrers(&self, reference: &Reference, subject: &Digest) -> Result<Vec<Descriptor>> {
        if self.is_offline() {
            return Err(Error::Offline { reference: reference.familiar() });
        }
        self.run(reference, async || {
            let endpoint = Endpoint::open(self, reference, None, Operation::Pull).await?;
            self.find_referrers(&endpoint, subject).await
        })
    }

    /// Fetches the attestations of what was pulled, so that they go where it goes; how many there are.
    ///
    /// # Errors
    /// As [`Client::referrers`], and those of a pull.
    pub fn pull_attestations(
        &self,
        reference: &Reference,
        subject: &Digest,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<usize> {
        let mut found = self.referrers(reference, subject)?;
        found.retain(Descriptor::is_attestation);
        for descriptor in &found {
            self.run(reference, async || {
                let endpoint = Endpoint::open(self, reference, None, Operation::Pull).await?;
                let digest = &descriptor.digest;
                let (bytes, _) =
                    self.pull_manifest(&endpoint, digest.as_str(), Some(digest)).await?;
                let Document::Manifest(manifest) = Document::parse(digest.as_str(), &bytes)? else {
                    return Err(Error::not_an_image(digest, "an attestation that is an index"));
                };
                for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    super::blob::fetch(&endpoint, &self.options, blob, store, progress).await?;
                }
                store.put_reader(&mut bytes.as_slice(), Some(digest))?;
                Ok(())
            })?;
            store.keep_attestation(descriptor, subject)?;
        }
        Ok(found.len())
    }

    /// By the API, or else by the tag.
    async fn find_referrers(
        &self,
        endpoint: &Endpoint,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        match self.listed_referrers(endpoint, subject).await? {
            Some(listed) => Ok(listed),
            None => Ok(self.tagged_referrers(endpoint, subject).await?.manifests),
        }
    }

    /// What the API lists; `None` where there is none (404, or an answer that is no index).
    async fn listed_referrers(
        &self,
        endpoint: &Endpoint,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>> {
        let mut url = endpoint.url(&format!("referrers/{subject}"));
        let mut listed = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = retried(&self.options, async || {
                let request = || Ok(endpoint.http.get(&url).header("accept", media::OCI_INDEX));
                let answer = endpoint.send(request).await?;
                if !answer.status().is_success() {
                    return Err(Failure::of(answer).await);
                }
                let next = next_page(answer.headers());
                let is_index = answer
                    .headers()
                    .get("content-type")
                    .and_then(|value| value.to_str().ok())
                    .is_some_and(|value| value.split(';').next() == Some(media::OCI_INDEX));
                let bytes = body(endpoint, answer, "the list of referrers", MAX_MANIFEST).await?;
                Ok((is_index, next, bytes))
            });
            let (is_index, next, bytes) = match page.await {
                Ok(page) => page,
                Err(failure) if matches!(failure.status(), Some(400 | 404 | 405 | 501)) => {
                    return Ok(None);
                }
                Err(failure) => return Err(failure.explain(endpoint)),
            };
            if !is_index {
                return Ok(None);
            }
            match Document::parse("referrers", &bytes)? {
                Document::Index(index) => listed.extend(index.manifests),
                Document::Manifest(_) => return Ok(None),
            }
            if listed.len() > MAX_REFERRERS {
                return Err(Error::TooLarge {
                    reference: endpoint.display.clone(),
                    what: "the list of referrers".into(),
                    limit: MAX_REFERRERS as u64,
                });
            }
            match next.and_then(|next| endpoint.resolve(&url, &next)) {
                Some(next) => url = next,
                None => break,
            }
        }
        Ok(Some(listed))
    }

    /// The index that lists referrers by tag; an empty one if there is none yet. Whatever else cannot be read is not overwritten.
    async fn tagged_referrers(&self, endpoint: &Endpoint, subject: &Digest) -> Result<Index> {
        let tag = tag_of(subject);
        match self.pull_manifest(endpoint, &tag, None).await {
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

    /// Pushes statements about what was pushed before.
    pub(super) async fn push_attestation(
        &self,
        endpoint: &Endpoint,
        store: &Store,
        subject: &Digest,
        attestation: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<()> {
        let manifest = store.read_manifest(attestation)?;
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.push_blob(endpoint, blob, store, None, progress).await?;
        }
        let bytes = store.read_blob(&attestation.digest, MAX_MANIFEST)?;
        let name = attestation.digest.to_string();
        // A registry with the API says so in its answer ("Pushing Manifests with Subject").
        if self.push_manifest(endpoint, &name, media::OCI_MANIFEST, &bytes).await? {
            return Ok(());
        }
        let mut index = self.tagged_referrers(endpoint, subject).await?;
        if index.manifests.iter().any(|entry| entry.digest == attestation.digest) {
            return Ok(());
        }
        index.manifests.push(attestation.clone());
        let bytes = to_json(&index)?;
        self.push_manifest(endpoint, &tag_of(subject), media::OCI_INDEX, &bytes).await.map(drop)
    }
}

/// "Referrers Tag Schema".
fn tag_of(subject: &Digest) -> String {
    format!("{}-{}", subject.algorithm(), subject.hex())
}

/// The target of `Link: <…>; rel="next"` (RFC 8288).
fn next_page(headers: &reqwest::header::HeaderMap) -> Option<String> {
    let mut links = headers.get_all("link").iter().filter_map(|value| value.to_str().ok());
    links.find_map(|link| {
        let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains("next").then(|| target.to_owned())
    })
}
