//! Downloading one blob: resumed, retried, verified, and only then given its place.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};

use super::ClientOptions;
use super::endpoint::Endpoint;
use super::failure::{Failure as Refusal, ended_early};
use super::retry::wait;
use crate::{Descriptor, Error, Hasher, Progress, Result, Store};

/// What one attempt came to.
enum Failure {
    /// No use asking again.
    Final(Error),
    /// The connection broke; what was received is kept.
    Broken(Error, Duration),
    /// What an earlier run had left was damaged; it is gone now.
    BadPartial(Error),
}

/// Brings a blob into the store. Two processes that want the same one wait for each other.
pub(super) async fn fetch(
    endpoint: &Endpoint,
    options: &ClientOptions,
    blob: &Descriptor,
    store: &Store,
    progress: &dyn Progress,
) -> Result<()> {
    if store.has_whole_blob(&blob.digest, blob.size) {
        progress.skip(&blob.digest);
        return Ok(());
    }
    let lock = {
        let (store, digest) = (store.clone(), blob.digest.clone());
        blocking(move || store.lock_download(&digest)).await?
    };
    if store.has_whole_blob(&blob.digest, blob.size) {
        progress.skip(&blob.digest);
        return Ok(());
    }
    store.check_stated_size(&endpoint.display, blob)?;
    let mut attempt = 0;
    let mut restarted = false;
    let mut furthest = 0;
    loop {
        let mut position = 0;
        match receive(endpoint, blob, store, progress, &mut position).await {
            Ok(file) => {
                let (store, digest) = (store.clone(), blob.digest.clone());
                blocking(move || store.adopt_partial(&digest, &file)).await?;
                progress.finish(&blob.digest);
                drop(lock);
                return Ok(());
            }
            Err(Failure::Final(e)) => return Err(e),
            Err(Failure::BadPartial(e)) if restarted => return Err(e),
            Err(Failure::BadPartial(_)) => restarted = true,
            Err(Failure::Broken(e, patience)) => {
                // Progress earns new patience: a slow line may break many times in a large layer.
                if position > furthest {
                    furthest = position;
                    attempt = 0;
                }
                attempt += 1;
                if attempt > options.retries {
                    return Err(e);
                }
                progress.retry(&blob.digest, attempt, &e.to_string());
                tokio::time::sleep(patience.max(wait(options, attempt))).await;
            }
        }
    }
}

/// One attempt: what is there is hashed, the rest is asked for.
async fn receive(
    endpoint: &Endpoint,
    blob: &Descriptor,
    store: &Store,
    progress: &dyn Progress,
    position: &mut u64,
) -> std::result::Result<File, Failure> {
    let path = store.partial_path(&blob.digest);
    let mut part = Part::open(&path, blob).map_err(Failure::Final)?;
    let resumed = part.position > 0;
    progress.start(&blob.digest, blob.size, part.position);
    if part.position < blob.size {
        let stream = match request(endpoint, blob, part.position).await {
            Ok(answer) if !resumed || continues(&answer, part.position) => answer,
            Ok(answer) => {
                // The registry cannot resume: it sends everything.
                part.restart(&path).map_err(Failure::Final)?;
                progress.advance(&blob.digest, 0);
                answer
            }
            Err(e) if resumed && e.status() == Some(416) => {
                // It has no more bytes than we have: its blob is short.
                let short = part.truncated(endpoint, blob);
                part.remove(&path).map_err(Failure::Final)?;
                return Err(Failure::BadPartial(short));
            }
            Err(Refusal::Request(e)) if resumed && ended_early(&e) => {
                // docker-registry's 416 breaks off, so that its status is lost.
                return Err(Failure::Broken(part.truncated(endpoint, blob), Duration::ZERO));
            }
            Err(e) => {
                let (transient, patience) = (e.is_transient(), e.patience(Duration::ZERO));
                let error = e.explain(endpoint);
                return Err(match transient {
                    true => Failure::Broken(error, patience),
                    false => Failure::Final(error),
                });
            }
        };
        let copied = part.copy(endpoint, blob, stream, progress, &path).await;
        *position = part.position;
        copied?;
    }
    *position = part.position;
    if part.position < blob.size {
        return Err(Failure::Broken(part.truncated(endpoint, blob), Duration::ZERO));
    }
    let actual = part.hasher.clone().finish();
    if actual != blob.digest {
        part.remove(&path).map_err(Failure::Final)?;
        let error = Error::wrong_digest(&endpoint.display, "blob", &blob.digest, &actual);
        return Err(if resumed { Failure::BadPartial(error) } else { Failure::Final(error) });
    }
    Ok(part.file)
}

/// Asks for the bytes from `offset` on.
async fn request(
    endpoint: &Endpoint,
    blob: &Descriptor,
    offset: u64,
) -> std::result::Result<Response, Refusal> {
    let url = endpoint.url(&format!("blobs/{}", blob.digest));
    let request = || {
        let request = endpoint.http.get(&url);
        Ok(match offset {
            0 => request,
            _ => request.header(RANGE, format!("bytes={offset}-")),
        })
    };
    let answer = endpoint.send(request).await?;
    match answer.status().is_success() {
        true => Ok(answer),
        false => Err(Refusal::of(answer).await),
    }
}

/// Whether the answer is the part that was asked for. One that does not say which part it is is taken at its status's word.
fn continues(answer: &Response, offset: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.map(|range| {
        let start = range.trim_start_matches("bytes").trim_start().split('-').next();
        start.and_then(|start| start.parse::<u64>().ok())
    });
    answer.status() == StatusCode::PARTIAL_CONTENT
        && start.is_none_or(|start| start == Some(offset))
}

/// A download on disk with the hash of what is there.
struct Part {
    file: File,
    hasher: Hasher,
    position: u64,
}

impl Part {
    fn open(path: &Path, blob: &Descriptor) -> Result<Part> {
        let fail = |e| Error::io(path, e);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(fail)?;
        let mut part = Part {
            hasher: Hasher::like(&blob.digest),
            position: 0,
            file: file.try_clone().map_err(fail)?,
        };
        if file.metadata().map_err(fail)?.len() > blob.size {
            part.restart(path)?;
            return Ok(part);
        }
        let mut buffer = vec![0u8; 256 << 10];
        loop {
            let n = file.read(&mut buffer).map_err(fail)?;
            if n == 0 {
                return Ok(part);
            }
            part.hasher.update(buffer.get(..n).unwrap_or_default());
            part.position = part.position.saturating_add(n as u64);
        }
    }

    fn restart(&mut self, path: &Path) -> Result<()> {
        self.file.set_len(0).map_err(|e| Error::io(path, e))?;
        self.file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(path, e))?;
        self.hasher = self.hasher.fresh();
        self.position = 0;
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        std::fs::remove_file(path).map_err(|e| Error::io(path, e))
    }

    fn truncated(&self, endpoint: &Endpoint, blob: &Descriptor) -> Error {
        Error::Truncated {
            reference: endpoint.display.clone(),
            digest: blob.digest.to_string(),
            expected: blob.size,
            actual: self.position,
        }
    }

    /// Appends the stream. The end of the stream is not judged here.
    async fn copy(
        &mut self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        mut answer: Response,
        progress: &dyn Progress,
        path: &Path,
    ) -> std::result::Result<(), Failure> {
        loop {
            let bytes = match answer.chunk().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(()),
                Err(e) if ended_early(&e) => {
                    let error = self.truncated(endpoint, blob);
                    return Err(Failure::Broken(error, Duration::ZERO));
                }
                Err(e) => {
                    let error = super::failure::network(endpoint.host(), &e);
                    return Err(Failure::Broken(error, Duration::ZERO));
                }
            };
            let end = self.position.saturating_add(bytes.len() as u64);
            if end > blob.size {
                self.remove(path).map_err(Failure::Final)?;
                return Err(Failure::Final(Error::TooLarge {
                    reference: endpoint.display.clone(),
                    what: format!("blob {}", blob.digest),
                    limit: blob.size,
                }));
            }
            self.file.write_all(&bytes).map_err(|e| Failure::Final(Error::io(path, e)))?;
            self.hasher.update(&bytes);
            self.position = end;
            progress.advance(&blob.digest, end);
        }
    }
}

/// File work that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Error::io("store", std::io::Error::other(e))))
}
