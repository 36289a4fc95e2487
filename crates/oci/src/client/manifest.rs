//! Asking for a manifest. oci-client reads one whole, however large; here the size is bounded while reading.

use oci_client::errors::{OciDistributionError, OciEnvelope};
use oci_client::secrets::RegistryAuth;
use reqwest::header;

use super::Client;
use super::blob::wait;
use super::endpoint::Endpoint;
use super::failure::{explain, is_transient};
use crate::manifest::{MAX_MANIFEST, media};
use crate::{Digest, Error, Hasher, Result};

/// How much of an error page is read, in bytes.
const MAX_ERROR_PAGE: u64 = 64 << 10;

/// An answer's body, or why there is none.
enum Failure {
    Request(OciDistributionError),
    TooLarge,
}

impl Client {
    /// A manifest's bytes with the digest they were checked against: the one asked for, or else the one the registry
    /// says it has.
    pub(super) async fn pull_manifest(
        &self,
        endpoint: &Endpoint,
        target: &oci_client::Reference,
        expected: Option<&Digest>,
    ) -> Result<(Vec<u8>, Digest)> {
        let mut attempt = 0;
        let (bytes, announced) = loop {
            match request(endpoint, target).await {
                Ok(answer) => break answer,
                Err(Failure::TooLarge) => {
                    return Err(Error::TooLarge {
                        reference: endpoint.display.clone(),
                        what: "the manifest".into(),
                        limit: MAX_MANIFEST,
                    });
                }
                Err(Failure::Request(e)) if is_transient(&e) && attempt < self.options.retries => {
                    attempt += 1;
                    tokio::time::sleep(wait(&self.options, attempt)).await;
                }
                Err(Failure::Request(e)) => return Err(explain(endpoint, e)),
            }
        };
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
}

/// One attempt: the body, and the digest in the registry's header if there is one that can be checked.
async fn request(
    endpoint: &Endpoint,
    target: &oci_client::Reference,
) -> std::result::Result<(Vec<u8>, Option<Digest>), Failure> {
    let name = target.digest().or(target.tag()).unwrap_or("latest");
    let url = format!("{}/v2/{}/manifests/{name}", endpoint.base, target.repository());
    let mut request = endpoint.http.get(&url).header(header::ACCEPT, media::MANIFESTS.join(", "));
    request = match (&endpoint.token, &endpoint.auth) {
        (Some(token), _) | (None, RegistryAuth::Bearer(token)) => request.bearer_auth(token),
        (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
        (None, RegistryAuth::Anonymous) => request,
    };
    let answer = request.send().await.map_err(|e| Failure::Request(e.into()))?;
    let status = answer.status();
    if status.is_success() {
        let announced = answer.headers().get("docker-content-digest");
        let announced = announced.and_then(|h| h.to_str().ok()).and_then(|h| Digest::parse(h).ok());
        let body = body(answer, MAX_MANIFEST).await?;
        return Ok((body, announced));
    }
    let page = match body(answer, MAX_ERROR_PAGE).await {
        Ok(page) => page,
        Err(Failure::TooLarge) => Vec::new(),
        Err(e) => return Err(e),
    };
    let code = status.as_u16();
    Err(Failure::Request(match serde_json::from_slice::<OciEnvelope>(&page) {
        // Trouble that may pass is told by the status; the envelope says the rest better.
        Ok(envelope) if !envelope.errors.is_empty() && !matches!(code, 408 | 429 | 500..) => {
            OciDistributionError::RegistryError { envelope, url }
        }
        _ => {
            let message = String::from_utf8_lossy(&page).into_owned();
            OciDistributionError::ServerError { code, url, message }
        }
    }))
}

async fn body(mut answer: reqwest::Response, limit: u64) -> std::result::Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| Failure::Request(e.into()))? {
        if (bytes.len() as u64).saturating_add(chunk.len() as u64) > limit {
            return Err(Failure::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
