//! Downloading one blob: resumed, retried, verified, and only then given its place.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use oci_client::client::{BlobResponse, SizedStream};
use oci_client::errors::DigestError;

use super::ClientOptions;
use super::endpoint::Endpoint;
use super::failure::{ended_early, explain, find, is_transient, status};
use crate::{Descriptor, Error, Hasher, Progress, Result, Store};

/// The longest wait between attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// What one attempt came to.
enum Failure {
    /// No use asking again.
    Final(Error),
    /// The connection broke; what was received is kept.
    Broken(Error),
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
            Err(Failure::Broken(e)) => {
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
                tokio::time::sleep(wait(options, attempt)).await;
            }
        }
    }
}

/// `backoff`, twice that, four times …
pub(super) fn wait(options: &ClientOptions, attempt: u32) -> Duration {
    let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    options.backoff.saturating_mul(factor).min(MAX_BACKOFF)
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
            Ok(BlobResponse::Partial(stream)) => stream,
            Ok(BlobResponse::Full(stream)) => {
                // The registry cannot resume: it sends everything.
                part.restart(&path).map_err(Failure::Final)?;
                progress.advance(&blob.digest, 0);
                stream
            }
            Err(e) if resumed && status(&e) == Some(416) => {
                // It has no more bytes than we have: its blob is short.
                let short = part.truncated(endpoint, blob);
                part.remove(&path).map_err(Failure::Final)?;
                return Err(Failure::BadPartial(short));
            }
            Err(e) if resumed && ended_early(&e) => {
                // docker-registry's 416 breaks off, so that its status is lost.
                return Err(Failure::Broken(part.truncated(endpoint, blob)));
            }
            Err(e) => {
                let transient = is_transient(&e);
                let error = explain(endpoint, e);
                return Err(if transient { Failure::Broken(error) } else { Failure::Final(error) });
            }
        };
        let copied = part.copy(endpoint, blob, stream, progress, &path).await;
        *position = part.position;
        copied?;
    }
    *position = part.position;
    if part.position < blob.size {
        return Err(Failure::Broken(part.truncated(endpoint, blob)));
    }
    let actual = part.hasher.clone().finish();
    if actual != blob.digest {
        part.remove(&path).map_err(Failure::Final)?;
        let error = Error::wrong_digest(&endpoint.display, "blob", &blob.digest, &actual);
        return Err(if resumed { Failure::BadPartial(error) } else { Failure::Final(error) });
    }
    Ok(part.file)
}

async fn request(
    endpoint: &Endpoint,
    blob: &Descriptor,
    offset: u64,
) -> std::result::Result<BlobResponse, oci_client::errors::OciDistributionError> {
    let digest = blob.digest.as_str();
    if offset == 0 {
        return endpoint
            .client
            .pull_blob_stream(&endpoint.target, digest)
            .await
            .map(BlobResponse::Full);
    }
    endpoint.client.pull_blob_stream_partial(&endpoint.target, digest, offset, None).await
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
        mut stream: SizedStream,
        progress: &dyn Progress,
        path: &Path,
    ) -> std::result::Result<(), Failure> {
        while let Some(item) = stream.stream.next().await {
            let bytes = match item {
                Ok(bytes) => bytes,
                // oci-client's own check comes at the end of the stream, where ours tells truncated from wrong.
                Err(e) if find::<DigestError>(&e).is_some() => break,
                Err(e) if ended_early(&e) => {
                    return Err(Failure::Broken(self.truncated(endpoint, blob)));
                }
                Err(e) => {
                    let reason = format!("the connection broke: {e}");
                    return Err(Failure::Broken(Error::Network {
                        registry: endpoint.host().into(),
                        reason,
                    }));
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
        Ok(())
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
