//! Uploading one blob: mounted from another repository of the registry, in one request, or in chunks; resumed where it broke.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE};
use reqwest::{Body, RequestBuilder, Response, StatusCode};

use super::Client;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::retry::{asked, wait};
use crate::{Descriptor, Error, Progress, Result, Store};

/// Bytes read from the store at a time.
const PIECE: usize = 256 << 10;
/// Bytes of a chunk, where an upload goes in chunks.
pub(super) const CHUNK: u64 = 8 << 20;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);
/// A registry may take so many times the longest silence to answer when it has everything: it hashes and copies.
const DIGESTING: u32 = 10;

/// An upload that was begun.
struct Upload {
    /// Where the next request goes.
    location: String,
    /// Bytes that are there.
    offset: u64,
    /// Bytes of a chunk.
    chunk: u64,
}

enum Begun {
    /// The blob was mounted from another repository.
    Mounted,
    Upload(Upload),
}

impl Client {
    /// Brings a blob into the endpoint's repository; `from` is another repository of the registry that may have it.
    pub(super) async fn push_blob(
        &self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        store: &Store,
        from: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let there = asked(endpoint, &self.options, async || exists(endpoint, blob).await).await?;
        if there {
            progress.skip(&blob.digest);
            return Ok(());
        }
        progress.start(&blob.digest, blob.size, 0);
        let mut begun = None;
        let mut in_chunks = false;
        let mut attempt = 0;
        let mut furthest = 0;
        loop {
            let result = async {
                let upload = match begun.take() {
                    Some(upload) => upload,
                    None => match begin(endpoint, blob, from).await? {
                        Begun::Mounted => return Ok(()),
                        Begun::Upload(upload) => upload,
                    },
                };
                let upload = begun.insert(upload);
                if in_chunks || upload.offset > 0 {
                    self.send_chunks(endpoint, blob, store, upload, progress).await
                } else {
                    self.send_rest(endpoint, blob, store, upload, progress).await
                }
            };
            let failure = match result.await {
                Ok(()) => {
                    progress.advance(&blob.digest, blob.size);
                    progress.finish(&blob.digest);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            match failure.status() {
                // Too much for one request.
                Some(413) if !in_chunks => {
                    (in_chunks, begun) = (true, None);
                    continue;
                }
                // It knows no chunks, or no longer this upload: from the beginning, in one request.
                Some(400 | 404 | 405 | 416 | 501)
                    if begun.as_ref().is_some_and(|upload| upload.offset > 0 && !in_chunks) =>
                {
                    begun = None;
                }
                _ if !failure.is_transient() => return Err(failure.explain(endpoint)),
                _ => {}
            }
            attempt += 1;
            if attempt > self.options.retries {
                return Err(failure.explain(endpoint));
            }
            progress.retry(&blob.digest, attempt, &failure.text());
            tokio::time::sleep(failure.patience(wait(&self.options, attempt))).await;
            if let Some(upload) = begun.take() {
                begun = ask_state(endpoint, blob, upload).await;
            }
            let reached = begun.as_ref().map_or(0, |upload| upload.offset);
            if reached > furthest {
                // Progress earns new patience.
                (furthest, attempt) = (reached, 0);
            }
        }
    }

    /// Everything in one request, which also ends the upload.
    async fn send_rest(
        &self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        store: &Store,
        upload: &mut Upload,
        progress: &dyn Progress,
    ) -> std::result::Result<(), Failure> {
        let url = with_digest(&upload.location, blob);
        let part = Part { blob, store, start: 0, size: blob.size };
        let request = |body| octets(endpoint.upload.put(&url), blob.size).body(body);
        finished(self.send_part(endpoint, &part, progress, &request).await?).await
    }

    /// What is missing, chunk by chunk, and the request that ends the upload.
    async fn send_chunks(
        &self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        store: &Store,
        upload: &mut Upload,
        progress: &dyn Progress,
    ) -> std::result::Result<(), Failure> {
        while upload.offset < blob.size {
            let size = upload.chunk.min(blob.size.saturating_sub(upload.offset));
            let end = upload.offset.saturating_add(size);
            let part = Part { blob, store, start: upload.offset, size };
            let range = format!("{}-{}", upload.offset, end.saturating_sub(1));
            let location = upload.location.clone();
            let request = |body| {
                let request = endpoint.upload.patch(&location).header(CONTENT_RANGE, &range);
                octets(request, size).body(body)
            };
            let answer = self.send_part(endpoint, &part, progress, &request).await?;
            if !matches!(
                answer.status(),
                StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT
            ) {
                return Err(Failure::of(answer).await);
            }
            upload.location = next(endpoint, &upload.location, answer.headers());
            // What it has counts, not what was sent.
            upload.offset = match reached(answer.headers()) {
                Some(reached) if reached <= end && reached > upload.offset => reached,
                _ => end,
            };
        }
        let url = with_digest(&upload.location, blob);
        finished(endpoint.send(|| Ok(endpoint.http.put(&url).header(CONTENT_LENGTH, 0))).await?)
            .await
    }

    /// Sends a request with a part of the blob, telling how far it is; a peer that takes nothing any more is given up.
    async fn send_part(
        &self,
        endpoint: &Endpoint,
        part: &Part<'_>,
        progress: &dyn Progress,
        request: &dyn Fn(Body) -> RequestBuilder,
    ) -> std::result::Result<Response, Failure> {
        let Part { blob, start, size, .. } = *part;
        let sent = Arc::new(AtomicU64::new(0));
        // The request owns its body, so that what happens inside comes out through this.
        let broken: Arc<Mutex<Option<Error>>> = Arc::default();
        let make = || {
            sent.store(0, Ordering::Relaxed);
            body(part, sent.clone(), broken.clone()).map(request).map_err(Failure::Final)
        };
        let mut answer = std::pin::pin!(endpoint.send(make));
        let mut tick = tokio::time::interval(TICK);
        let (mut last, mut since) = (0, Instant::now());
        let result = loop {
            tokio::select! {
                result = &mut answer => break result,
                _ = tick.tick() => {
                    let now = sent.load(Ordering::Relaxed);
                    progress.advance(&blob.digest, start.saturating_add(now));
                    if now != last {
                        (last, since) = (now, Instant::now());
                    }
                    let patience = match now >= size {
                        true => self.options.timeout.saturating_mul(DIGESTING),
                        false => self.options.timeout,
                    };
                    if since.elapsed() > patience {
                        let registry = endpoint.host().into();
                        let reason = "the upload stalled".into();
                        break Err(Failure::Passing(Error::Network { registry, reason }));
                    }
                }
            }
        };
        if let Some(error) = broken.lock().ok().and_then(|mut slot| slot.take()) {
            return Err(Failure::Final(error));
        }
        result
    }
}

/// A request with so many bytes of a blob.
fn octets(request: RequestBuilder, size: u64) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/octet-stream").header(CONTENT_LENGTH, size)
}

/// Whether the repository has the blob.
async fn exists(endpoint: &Endpoint, blob: &Descriptor) -> std::result::Result<bool, Failure> {
    let url = endpoint.url(&format!("blobs/{}", blob.digest));
    let answer = endpoint.send(|| Ok(endpoint.http.head(&url))).await?;
    match answer.status() {
        StatusCode::NOT_FOUND => Ok(false),
        status if status.is_success() => Ok(true),
        _ => Err(Failure::of(answer).await),
    }
}

/// Begins an upload, or has the blob mounted.
async fn begin(
    endpoint: &Endpoint,
    blob: &Descriptor,
    from: Option<&str>,
) -> std::result::Result<Begun, Failure> {
    let url = endpoint.url("blobs/uploads/");
    let post = async |query: &[(&str, &str)]| {
        endpoint.send(|| Ok(endpoint.http.post(&url).query(query).header(CONTENT_LENGTH, 0))).await
    };
    let mut answer = None;
    if let Some(from) = from {
        let mounted = post(&[("mount", blob.digest.as_str()), ("from", from)]).await?;
        match mounted.status() {
            StatusCode::CREATED => return Ok(Begun::Mounted),
            StatusCode::ACCEPTED => answer = Some(mounted),
            // Not allowed to read there, or mounting is not known: as without.
            _ => {}
        }
    }
    let answer = match answer {
        Some(answer) => answer,
        None => post(&[]).await?,
    };
    if answer.status() != StatusCode::ACCEPTED {
        return Err(match answer.status().is_success() {
            true => Failure::Final(endpoint.broken_protocol("it began no upload")),
            false => Failure::of(answer).await,
        });
    }
    if !answer.headers().contains_key(LOCATION) {
        return Err(Failure::Final(endpoint.broken_protocol("it names no place for the upload")));
    }
    let least = answer.headers().get("oci-chunk-min-length");
    let least = least.and_then(|value| value.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    let location = next(endpoint, &url, answer.headers());
    Ok(Begun::Upload(Upload { location, offset: 0, chunk: CHUNK.max(least) }))
}

/// What the registry has of an upload that broke; `None` where it is to begin anew.
async fn ask_state(endpoint: &Endpoint, blob: &Descriptor, upload: Upload) -> Option<Upload> {
    let answer = endpoint.send(|| Ok(endpoint.http.get(&upload.location))).await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let offset = reached(answer.headers()).filter(|offset| *offset > 0 && *offset <= blob.size)?;
    let location = next(endpoint, &upload.location, answer.headers());
    Some(Upload { location, offset, ..upload })
}

/// Bytes that an upload has, by `Range: 0-LAST`. One byte looks like none; it counts as none.
fn reached(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let last = text.strip_prefix("bytes=").unwrap_or(text).strip_prefix("0-")?;
    last.parse::<u64>().ok().filter(|last| *last > 0).map(|last| last.saturating_add(1))
}

/// Where the next request of an upload goes.
fn next(endpoint: &Endpoint, url: &str, headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    location.and_then(|location| endpoint.resolve(url, location)).unwrap_or_else(|| url.to_owned())
}

fn with_digest(location: &str, blob: &Descriptor) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={}", blob.digest)
}

async fn finished(answer: Response) -> std::result::Result<(), Failure> {
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(Failure::of(answer).await),
    }
}

/// Bytes of a blob in the store.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub blob: &'a Descriptor,
    pub store: &'a Store,
    pub start: u64,
    pub size: u64,
}

/// A part as a request body. Damage on our disk ends the request instead of being sent.
pub(super) fn body(
    part: &Part<'_>,
    sent: Arc<AtomicU64>,
    broken: Arc<Mutex<Option<Error>>>,
) -> Result<Body> {
    let Part { blob, store, start, size } = *part;
    if !store.has_whole_blob(&blob.digest, blob.size) {
        return Err(Error::CorruptStore {
            path: store.blob_path(&blob.digest),
            reason: "the blob is missing or has the wrong size".into(),
        });
    }
    let path = store.blob_file(&blob.digest)?;
    // The whole is hashed on the way; of a part it was found whole above.
    let reader: Box<dyn Read + Send> = if (start, size) == (0, blob.size) {
        Box::new(store.open_blob(&blob.digest)?)
    } else {
        let fail = |e| Error::io(&path, e);
        let mut file = File::open(&path).map_err(fail)?;
        file.seek(SeekFrom::Start(start)).map_err(fail)?;
        Box::new(file.take(size))
    };
    Ok(Body::wrap_stream(stream::unfold(Some(reader), move |reader| {
        let next = reader.and_then(|mut reader| {
            let mut piece = vec![0u8; PIECE];
            match reader.read(&mut piece) {
                Ok(0) => None,
                Ok(n) => {
                    piece.truncate(n);
                    sent.fetch_add(n as u64, Ordering::Relaxed);
                    Some((Ok(bytes::Bytes::from(piece)), Some(reader)))
                }
                Err(e) => {
                    let text = e.to_string();
                    if let Ok(mut slot) = broken.lock() {
                        *slot = Some(Error::from_read(&path, e));
                    }
                    Some((Err(std::io::Error::other(text)), None))
                }
            }
        });
        std::future::ready(next)
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upload_has() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().unwrap());
            reached(&headers)
        };
        assert_eq!(of("0-0"), None);
        assert_eq!(of("0-99"), Some(100));
        assert_eq!(of("bytes=0-1"), Some(2));
        assert_eq!(of("5-9"), None);
        assert_eq!(of("0-18446744073709551615"), Some(u64::MAX));
    }
}
