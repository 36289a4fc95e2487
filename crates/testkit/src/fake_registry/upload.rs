//! What is pushed: blobs whole, in chunks or by mounting, and manifests.

use super::{State, error};
use crate::http::{Answer, Request};
use crate::image::Blob;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The value of a string field in compact JSON.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()
}

pub(super) fn manifest(state: &mut State, request: &Request, reference: &str) -> Answer {
    let text = String::from_utf8_lossy(&request.body);
    let config = text.split_once("\"config\":").and_then(|(_, rest)| field(rest, "mediaType"));
    if let Some(config) = config
        && state.rules.refused_types.iter().any(|refused| refused == config)
    {
        return error(400, "MANIFEST_INVALID", "unsupported config media type");
    }
    let blob = Blob::new(request.body.clone());
    if reference.starts_with("sha256:") && reference != blob.digest {
        return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    let subject = text.split_once("\"subject\":").and_then(|(_, rest)| field(rest, "digest"));
    let subject = subject.map(str::to_owned);
    state.manifests.insert(reference.into(), blob.bytes.clone());
    state.manifests.insert(blob.digest.clone(), blob.bytes);
    let answer = Answer::new(201, "")
        .with("Location", request.path.clone())
        .with("Docker-Content-Digest", blob.digest);
    match subject {
        Some(subject) if state.rules.referrers => answer.with("OCI-Subject", subject),
        _ => answer,
    }
}

/// The upload of a blob; `place` is its id, or empty where it begins.
pub(super) fn blob(state: &mut State, request: &Request, repository: &str, place: &str) -> Answer {
    let value = |name: &str| {
        let mut fields = request.query.split('&').filter_map(|field| field.split_once('='));
        let value = fields.find(|(n, _)| *n == name).map(|(_, value)| value)?;
        Some(value.replace("%3A", ":").replace("%2F", "/"))
    };
    if request.method == "POST" && place.is_empty() {
        if let (Some(digest), Some(from)) = (value("mount"), value("from")) {
            let from = format!("/v2/{from}");
            if state.pushed.get(&digest).is_some_and(|places| places.contains(&from)) {
                state.pushed.entry(digest.clone()).or_default().insert(repository.into());
                return Answer::new(201, "")
                    .with("Location", format!("{repository}/blobs/{digest}"));
            }
        }
        let id = format!("u{}", state.begun);
        state.begun += 1;
        state.uploads.insert(id.clone(), Vec::new());
        return Answer::new(202, "")
            .with("Location", format!("{repository}/blobs/uploads/{id}?state=x"));
    }
    let Some(mut bytes) = state.uploads.get(place).cloned() else {
        return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    };
    let here = format!("{repository}/blobs/uploads/{place}?state=x");
    let range = |bytes: &[u8]| format!("0-{}", bytes.len().saturating_sub(1));
    if request.method == "GET" {
        return Answer::new(204, "").with("Location", here).with("Range", range(&bytes));
    }
    if state.rules.body_limit.is_some_and(|limit| request.body.len() > limit) {
        return error(413, "SIZE_INVALID", "too large");
    }
    if let Some((start, _)) = request.header("content-range").split_once('-')
        && start.parse() != Ok(bytes.len())
    {
        return Answer::new(416, "").with("Location", here).with("Range", range(&bytes));
    }
    bytes.extend_from_slice(&request.body);
    if request.broken {
        match state.rules.forget_broken {
            true => drop(state.uploads.remove(place)),
            false => drop(state.uploads.insert(place.into(), bytes)),
        }
        return error(499, "BROKEN", "nobody reads this");
    }
    if request.method == "PATCH" {
        let answer = Answer::new(202, "").with("Location", here).with("Range", range(&bytes));
        state.uploads.insert(place.into(), bytes);
        return answer;
    }
    let blob = Blob::new(bytes);
    if value("digest").as_deref() != Some(&blob.digest) {
        return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    state.uploads.remove(place);
    state.pushed.entry(blob.digest.clone()).or_default().insert(repository.into());
    let answer =
        Answer::new(201, "").with("Location", format!("{repository}/blobs/{}", blob.digest));
    state.blobs.insert(blob.digest, blob.bytes);
    answer
}
