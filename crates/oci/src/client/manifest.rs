//! Manifests: asked for, with their size bounded while they are read, and sent.

use reqwest::header;

use super::Client;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::retry::asked;
use crate::manifest::{MAX_MANIFEST, media};
use crate::{Digest, Error, Hasher, Result};

impl Client {
    /// A manifest's bytes with the digest they were checked against: the one asked for, or else the one the registry
    /// says it has. `name` is a tag or digest.
    pub(super) async fn pull_manifest(
        &self,
        endpoint: &Endpoint,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<(Vec<u8>, Digest)> {
        let (bytes, announced) =
            asked(endpoint, &self.options, async || get(endpoint, name).await).await?;
        for promised in expected.into_iter().chain(&announced) {
            let mut hasher = Hasher::like(promised);
            hasher.update(&bytes);
            let actual = hasher.finish();
            if actual != *promised {
                return Err(Error::wrong_digest(&endpoint.display, "manifest", promised, &actual));
            }
        }
        let digest = expected.cloned().unwrap_or_else(|| Digest::of(&bytes));
        Ok((bytes, digest))
    }

    /// Sends a manifest or index under a tag or its digest; whether the registry counts it among its subject's referrers.
    pub(super) async fn push_manifest(
        &self,
        endpoint: &Endpoint,
        name: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<bool> {
        let url = endpoint.url(&format!("manifests/{name}"));
        asked(endpoint, &self.options, async || {
            let request = || {
                let request = endpoint.http.put(&url).header(header::CONTENT_TYPE, media_type);
                Ok(request.body(bytes.to_vec()))
            };
            let answer = endpoint.send(request).await?;
            match answer.status().is_success() {
                true => Ok(answer.headers().contains_key("oci-subject")),
                false => Err(Failure::of(answer).await),
            }
        })
        .await
    }
}

/// One attempt: the body, and the digest in the registry's header if there is one that can be checked.
async fn get(
    endpoint: &Endpoint,
    name: &str,
) -> std::result::Result<(Vec<u8>, Option<Digest>), Failure> {
    let url = endpoint.url(&format!("manifests/{name}"));
    let accept = media::MANIFESTS.join(", ");
    let request = || Ok(endpoint.http.get(&url).header(header::ACCEPT, &accept));
    let answer = endpoint.send(request).await?;
    if !answer.status().is_success() {
        return Err(Failure::of(answer).await);
    }
    let announced = answer.headers().get("docker-content-digest");
    let announced = announced.and_then(|h| h.to_str().ok()).and_then(|h| Digest::parse(h).ok());
    let bytes = body(endpoint, answer, "the manifest", MAX_MANIFEST).await?;
    if bytes.trim_ascii_start().starts_with(b"<") {
        let error = Error::not_an_image(&endpoint.display, "the registry answered with a web page");
        return Err(Failure::Final(error));
    }
    Ok((bytes, announced))
}

/// A body of bounded size. One that ends before the length it announced is an error of the request.
pub(super) async fn body(
    endpoint: &Endpoint,
    mut answer: reqwest::Response,
    what: &str,
    limit: u64,
) -> std::result::Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(Failure::Request)? {
        if (bytes.len() as u64).saturating_add(chunk.len() as u64) > limit {
            let (reference, what) = (endpoint.display.clone(), what.to_owned());
            return Err(Failure::Final(Error::TooLarge { reference, what, limit }));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
