//! The cache service of GitHub Actions, version 2: small documents by Twirp, content by URLs that are signed, as the block blobs of
//! Azure take it ("Put Blob", "Put Block", "Put Block List").
//!
//! An entry is written once and has a key; whoever asks for a prefix gets the newest entry whose key begins so. So layers lie under
//! their digests, and a cache's record under its scope and a number that rises.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Client;
use super::failure::{Failure, network};
use super::retry::retried;
use super::upload::{self, CHUNK, Part};
use crate::store::as_stated;
use crate::{Descriptor, Digest, Error, Progress, Result, Store};

/// As errors name it.
const NAME: &str = "the cache service of GitHub Actions";
/// Entries of another version are other entries: it names what is in them.
const VERSION: &str = "boxer build cache 1";
/// The largest answer of the service, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// The largest record of a cache, in bytes.
const MAX_RECORD: usize = 64 << 20;
/// How often a record's number may turn out to be taken.
const MOST_RIVALS: usize = 8;

/// A cache of GitHub Actions.
#[derive(Clone, PartialEq, Eq)]
pub struct ActionsCache {
    /// `ACTIONS_RESULTS_URL`.
    pub url: String,
    /// `ACTIONS_RUNTIME_TOKEN`.
    pub token: String,
    /// Which of the caches of a repository.
    pub scope: String,
}

/// The token is not for logs.
impl fmt::Debug for ActionsCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActionsCache {{ url: {:?}, scope: {:?}, .. }}", self.url, self.scope)
    }
}

impl ActionsCache {
    /// For people.
    pub fn name(&self) -> String {
        format!("gha:{}", self.scope)
    }

    /// What the keys of this cache's records begin with.
    fn records(&self) -> String {
        format!("boxer-cache-{}#", self.scope)
    }
}

/// The key of a layer.
fn layer_key(digest: &Digest) -> String {
    format!("boxer-layer-{digest}")
}

/// What is written down of a cache: its manifest, and the bytes of the manifest's config.
#[derive(Deserialize)]
pub(super) struct Record {
    pub manifest: crate::Manifest,
    pub config: String,
}

/// An entry that was found.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Found {
    ok: bool,
    signed_download_url: String,
    matched_key: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reserved {
    ok: bool,
    signed_upload_url: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Finished {
    ok: bool,
}

/// One cache, talked to.
pub(super) struct Service<'a> {
    client: &'a Client,
    cache: &'a ActionsCache,
    host: String,
    base: Url,
    /// Gives up where nothing comes.
    http: reqwest::Client,
    /// For requests that are long.
    upload: reqwest::Client,
}

impl Client {
    /// Writes the cache with this manifest: the layers that are not there, and then the record.
    ///
    /// # Errors
    /// The client is offline, the service cannot be reached or refuses, or a blob of the store is damaged.
    pub fn push_actions(
        &self,
        cache: &ActionsCache,
        store: &Store,
        manifest: &Digest,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.with_actions(cache, async |service| service.push(store, manifest, progress).await)
    }

    /// Does something with a cache.
    pub(super) fn with_actions<T: Send>(
        &self,
        cache: &ActionsCache,
        work: impl AsyncFnOnce(&Service<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        if self.options.offline {
            return Err(Error::Offline { reference: NAME.into() });
        }
        let base = Url::parse(&format!("{}/", cache.url.trim_end_matches('/')));
        let base = base.map_err(|e| Error::BadOption {
            option: format!("URL {:?} of {NAME}", cache.url),
            reason: e.to_string(),
        })?;
        let host = match (base.host_str().unwrap_or_default(), base.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        self.run_for(&host.clone(), async || {
            let http = self.http_client(&host)?;
            let upload = self.http_builder(&host)?.build().map_err(|e| network(&host, &e))?;
            work(&Service { client: self, cache, host, base, http, upload }).await
        })
    }
}

impl Service<'_> {
    /// The newest record.
    pub(super) async fn record(&self) -> Result<Record> {
        let prefix = self.cache.records();
        let Some(found) = self.find(&prefix).await? else {
            let reason = format!("{NAME} has none of the scope {:?}", self.cache.scope);
            return Err(Error::NotFound { reference: self.cache.name(), reason });
        };
        let bytes = self
            .asked(async || {
                let answer = self.get(&found.signed_download_url).await?;
                read(answer, MAX_RECORD).await
            })
            .await?;
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| self.broken(format!("the record is malformed: {error}")))?;
        let actual = Digest::of(record.config.as_bytes());
        if actual != record.manifest.config.digest {
            let expected = &record.manifest.config.digest;
            return Err(Error::wrong_digest(self.cache.name(), "config", expected, &actual));
        }
        Ok(record)
    }

    /// Brings a layer into the store.
    pub(super) async fn fetch(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<()> {
        if store.has_whole_blob(&blob.digest, blob.size) {
            progress.skip(&blob.digest);
            return Ok(());
        }
        let name = self.cache.name();
        store.check_stated_size(&name, blob)?;
        let key = layer_key(&blob.digest);
        let found = self.find(&key).await?.filter(|found| found.matched_key == key);
        let Some(found) = found else {
            let reason = format!("{NAME} no longer has {}", blob.digest);
            return Err(Error::NotFound { reference: name, reason });
        };
        let final_ = |error: Error| Failure::Final(error);
        self.asked(async || {
            let mut answer = self.get(&found.signed_download_url).await?;
            let mut writer = store.writer_like(&blob.digest).map_err(final_)?;
            let mut size = 0u64;
            progress.start(&blob.digest, blob.size, 0);
            while let Some(bytes) = answer.chunk().await.map_err(plain)? {
                size = size.saturating_add(bytes.len() as u64);
                if size > blob.size {
                    break;
                }
                let failed = |error| final_(Error::io(store.path(), error));
                io::Write::write_all(&mut writer, &bytes).map_err(failed)?;
                progress.advance(&blob.digest, size);
            }
            as_stated(&name, blob, size, writer.finish_as(&blob.digest)).map_err(final_)
        })
        .await?;
        progress.finish(&blob.digest);
        Ok(())
    }

    async fn push(&self, store: &Store, digest: &Digest, progress: &dyn Progress) -> Result<()> {
        let manifest = store.read_manifest(&Descriptor::new("", digest.clone(), 0))?;
        for layer in &manifest.layers {
            self.push_layer(layer, store, progress).await?;
        }
        let config = store.read_blob(&manifest.config.digest, MAX_RECORD as u64)?;
        let record = json!({ "manifest": manifest, "config": String::from_utf8_lossy(&config) });
        let bytes = bytes::Bytes::from(record.to_string());
        let prefix = self.cache.records();
        let newest = self.find(&prefix).await?.and_then(|found| {
            let number = found.matched_key.strip_prefix(&prefix)?;
            number.parse::<u64>().ok()
        });
        let next = newest.map_or(1, |number| number.saturating_add(1));
        for number in (next..).take(MOST_RIVALS) {
            let key = format!("{prefix}{number}");
            // Another build may have taken the number.
            let Some(url) = self.reserve(&key).await? else { continue };
            let (size, bytes) = (bytes.len() as u64, bytes.clone());
            self.put(&url, size, &|| Ok(Body::from(bytes.clone()))).await?;
            return self.finish(&key, size).await;
        }
        Err(self.broken("other builds write this scope all the time".into()))
    }

    async fn push_layer(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<()> {
        let key = layer_key(&blob.digest);
        let there = self.find(&key).await?.is_some_and(|found| found.matched_key == key);
        let reserved = if there { None } else { self.reserve(&key).await? };
        // There, or another build is at it.
        let Some(url) = reserved else {
            progress.skip(&blob.digest);
            return Ok(());
        };
        progress.start(&blob.digest, blob.size, 0);
        let body = |start: u64, size: u64| {
            upload::body(&Part { blob, store, start, size }, Arc::default(), Arc::default())
        };
        if blob.size <= CHUNK {
            self.put(&url, blob.size, &|| body(0, blob.size)).await?;
        } else {
            let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
            for start in (0..blob.size).step_by(CHUNK as usize) {
                let size = CHUNK.min(blob.size.saturating_sub(start));
                // All names of a blob's blocks have one length.
                let id = base64::engine::general_purpose::STANDARD.encode(format!("{start:020}"));
                let mut place = self.signed(&url)?;
                place.query_pairs_mut().append_pair("comp", "block").append_pair("blockid", &id);
                self.put(place.as_str(), size, &|| body(start, size)).await?;
                progress.advance(&blob.digest, start.saturating_add(size));
                // Writing to a string cannot fail.
                let _ = write!(list, "<Latest>{id}</Latest>");
            }
            list.push_str("</BlockList>");
            let mut place = self.signed(&url)?;
            place.query_pairs_mut().append_pair("comp", "blocklist");
            let size = list.len() as u64;
            self.put(place.as_str(), size, &|| Ok(Body::from(list.clone()))).await?;
        }
        self.finish(&key, blob.size).await?;
        progress.finish(&blob.digest);
        Ok(())
    }

    /// The entry of this key, or else the newest whose key begins so.
    async fn find(&self, key: &str) -> Result<Option<Found>> {
        let found: Option<Found> = self
            .call("GetCacheEntryDownloadURL", json!({ "key": key, "restore_keys": [key] }))
            .await?;
        Ok(found.filter(|found| found.ok && found.matched_key.starts_with(key)))
    }

    /// Where the content of a new entry goes; none if there is such an entry, or somebody is writing it.
    async fn reserve(&self, key: &str) -> Result<Option<String>> {
        let reserved: Option<Reserved> =
            self.call("CreateCacheEntry", json!({ "key": key })).await?;
        Ok(reserved.filter(|it| it.ok).map(|it| it.signed_upload_url))
    }

    /// Says that an entry is whole.
    async fn finish(&self, key: &str, size: u64) -> Result<()> {
        // 64-bit numbers are text in the JSON of protocol buffers.
        let words = json!({ "key": key, "size_bytes": size.to_string() });
        let finished: Option<Finished> = self.call("FinalizeCacheEntryUpload", words).await?;
        match finished.is_some_and(|it| it.ok) {
            true => Ok(()),
            false => Err(self.broken(format!("it did not take {key}"))),
        }
    }

    /// One of the service's methods; none where it says that something is, or is not, there.
    async fn call<T: DeserializeOwned>(&self, method: &str, mut words: Value) -> Result<Option<T>> {
        let place = format!("twirp/github.actions.results.api.v1.CacheService/{method}");
        let url = self.base.join(&place).map_err(|e| self.broken(e.to_string()))?;
        words["version"] = Digest::of(VERSION.as_bytes()).hex().into();
        let body = words.to_string();
        let answer = self
            .asked(async || {
                let request = self.http.post(url.clone()).bearer_auth(&self.cache.token);
                let request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
                let answer = request.send().await.map_err(plain)?;
                match answer.status().as_u16() {
                    404 | 409 => Ok(None),
                    _ => read(answer, MAX_ANSWER).await.map(Some),
                }
            })
            .await?;
        let Some(bytes) = answer else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| self.broken(format!("{method}: {error}")))
    }

    /// Reads from a signed URL, which needs no token.
    async fn get(&self, url: &str) -> std::result::Result<Response, Failure> {
        let url = self.signed(url).map_err(Failure::Final)?;
        succeeded(self.http.get(url).send().await.map_err(plain)?).await
    }

    /// Writes to one.
    async fn put(&self, url: &str, size: u64, body: &dyn Fn() -> Result<Body>) -> Result<()> {
        let url = self.signed(url)?;
        // A line that takes nothing any more is given up; one that is slow is not.
        let patience = self.client.options.timeout.saturating_mul(10).max(Duration::from_secs(1));
        self.asked(async || {
            let request = self.upload.put(url.clone()).timeout(patience);
            let request = request.header("x-ms-blob-type", "BlockBlob");
            let request = request.header(CONTENT_TYPE, "application/octet-stream");
            let body = body().map_err(Failure::Final)?;
            let answer = request.header(CONTENT_LENGTH, size).body(body).send().await;
            succeeded(answer.map_err(plain)?).await.map(drop)
        })
        .await
    }

    fn signed(&self, url: &str) -> Result<Url> {
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        parsed.ok_or_else(|| self.broken("it names no place for an entry".into()))
    }

    /// Asks again while that may help, and names what does not pass.
    async fn asked<T>(
        &self,
        request: impl AsyncFn() -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let failure = match retried(&self.client.options, request).await {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let (reference, registry) = (self.cache.name(), self.host.clone());
        Err(match failure {
            Failure::Answer { status: 401 | 403, reason, .. } => {
                Error::Unauthorized { reference, registry, reason }
            }
            Failure::Answer { status, reason, .. } => {
                Error::Registry { reference, registry, status, reason }
            }
            Failure::Request(e) => network(&registry, &e),
            Failure::Final(e) | Failure::Passing(e) => e,
        })
    }

    fn broken(&self, reason: String) -> Error {
        let (reference, registry) = (self.cache.name(), self.host.clone());
        Error::Registry { reference, registry, status: 0, reason }
    }
}

/// Without the URL, whose signature is a secret.
fn plain(error: reqwest::Error) -> Failure {
    Failure::Request(error.without_url())
}

async fn succeeded(answer: Response) -> std::result::Result<Response, Failure> {
    match answer.status().is_success() {
        true => Ok(answer),
        false => Err(Failure::of(answer).await),
    }
}

/// The body of an answer.
async fn read(answer: Response, most: usize) -> std::result::Result<Vec<u8>, Failure> {
    let mut answer = succeeded(answer).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(plain)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > most {
            let (reference, what, limit) = (NAME.into(), "its answer".into(), most as u64);
            return Err(Failure::Final(Error::TooLarge { reference, what, limit }));
        }
    }
    Ok(bytes)
}
