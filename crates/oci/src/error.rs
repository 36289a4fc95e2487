//! Everything that can go wrong between a reference and a blob on disk.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Descriptor, Digest};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an image could not be named, fetched, stored, written or pushed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no image reference.
    #[error("invalid reference \"{input}\": {reason}")]
    InvalidReference {
        /// What was given.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text is no digest that can be checked (sha256 or sha512).
    #[error("invalid digest \"{input}\": {reason}")]
    InvalidDigest {
        /// What was given.
        input: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The registry, layout or archive holds no such image.
    #[error("{reference}: not found ({reason})")]
    NotFound {
        /// The image asked for.
        reference: String,
        /// Who said so, and how.
        reason: String,
    },
    /// The local store has no such name.
    #[error("{reference}: no such image or box in the local store")]
    NotInStore {
        /// The name asked for.
        reference: String,
    },
    /// It was ended from outside ([`crate::ClientOptions::interrupt`]).
    #[error("interrupted")]
    Interrupted,
    /// The registry wants other credentials, or none were found.
    #[error("{reference}: access denied by {registry}: {reason}")]
    Unauthorized {
        /// The image asked for.
        reference: String,
        /// The registry that refused.
        registry: String,
        /// What it said.
        reason: String,
    },
    /// The content does not have the digest it was asked for by.
    #[error("{reference}: wrong digest for {what}: expected {expected}, got {actual}")]
    WrongDigest {
        /// The image, file or stream.
        reference: String,
        /// Manifest, config or layer.
        what: &'static str,
        /// The digest promised.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// The content ends before the size its descriptor gives.
    #[error("{reference}: blob {digest} is truncated: {actual} of {expected} bytes")]
    Truncated {
        /// The image or file.
        reference: String,
        /// The blob.
        digest: String,
        /// Bytes promised.
        expected: u64,
        /// Bytes received.
        actual: u64,
    },
    /// The content is the digest's, and has another size than its descriptor gives.
    #[error("{reference}: the manifest says that {digest} has {stated} bytes, but it has {actual}")]
    WrongSize {
        /// The image or file.
        reference: String,
        /// The blob.
        digest: String,
        /// Bytes promised.
        stated: u64,
        /// Bytes that it has.
        actual: u64,
    },
    /// The content goes on after the size its descriptor gives.
    #[error("{reference}: {what} is larger than the {limit} bytes allowed for it")]
    TooLarge {
        /// The image or file.
        reference: String,
        /// Which part.
        what: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// No linux/amd64 image behind this reference.
    #[error("{reference}: no image for linux/amd64 (available: {})", list(.available))]
    WrongPlatform {
        /// The image asked for.
        reference: String,
        /// The platforms there are, as `os/architecture[/variant]`.
        available: Vec<String>,
    },
    /// The reference leads to something that is no container image.
    #[error("{reference}: not a container image: {reason}")]
    NotAnImage {
        /// The artifact asked for.
        reference: String,
        /// What it is instead, or what is malformed.
        reason: String,
    },
    /// The reference leads to something that is no WebAssembly artifact.
    #[error("{reference}: not a box: {reason}")]
    NotABox {
        /// The artifact asked for.
        reference: String,
        /// What it is instead, or what is malformed.
        reason: String,
    },
    /// TLS could not be agreed on, or the certificate is not trusted.
    #[error("{registry}: TLS: {reason}")]
    Tls {
        /// The registry's host and port.
        registry: String,
        /// What the TLS library said.
        reason: String,
    },
    /// The connection failed or broke and retries were used up.
    #[error("{registry}: {reason}")]
    Network {
        /// The registry's host and port.
        registry: String,
        /// The chain of causes.
        reason: String,
    },
    /// The registry answered with an error that has no better variant here.
    #[error("{reference}: {registry} answered {status}: {reason}")]
    Registry {
        /// The image asked for.
        reference: String,
        /// The registry's host and port.
        registry: String,
        /// HTTP status, 0 where the answer broke the protocol.
        status: u16,
        /// The registry's message.
        reason: String,
    },
    /// The registry takes container images, and no WebAssembly artifacts.
    #[error(
        "{reference}: {registry} takes no WebAssembly artifact (it answered {status}: {reason})"
    )]
    ArtifactRefused {
        /// The box that was pushed.
        reference: String,
        /// The registry's host and port.
        registry: String,
        /// HTTP status.
        status: u16,
        /// The registry's message.
        reason: String,
    },
    /// `--offline`, and the store does not have it.
    #[error("{reference}: not in the local store, and the network is off (--offline)")]
    Offline {
        /// The image asked for.
        reference: String,
    },
    /// No space is left.
    #[error("no space left on the device for {}", .path.display())]
    DiskFull {
        /// The file being written.
        path: PathBuf,
    },
    /// The store's own files are not what they were when written.
    #[error("the store is damaged at {}: {reason}", .path.display())]
    CorruptStore {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Garbage collection needs the store for itself.
    #[error("the store at {} is in use", .path.display())]
    StoreBusy {
        /// The store's directory.
        path: PathBuf,
    },
    /// An archive or layout directory is malformed.
    #[error("{}: {reason}", .path.display())]
    BadArchive {
        /// The archive or layout.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A credentials file or helper cannot be used.
    #[error("credentials from {origin}: {reason}")]
    Credentials {
        /// The file or the helper.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// An option given to the client makes no sense.
    #[error("{option}: {reason}")]
    BadOption {
        /// Which option.
        option: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Any other failure of the file system.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// Wraps a file-system error, giving a full disk its own name.
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull { path },
            _ => Error::Io { path, source },
        }
    }

    /// Whether the file cannot be written: by this user, or by anybody.
    pub(crate) fn is_read_only(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem))
    }

    /// The error behind a failed read: one of this crate's readers (a blob that is not its digest's) hides it in the
    /// [`io::Error`]; others are about `path`.
    pub fn from_read(path: impl AsRef<Path>, source: io::Error) -> Error {
        match source.downcast::<Error>() {
            Ok(error) => error,
            Err(source) => Error::io(path, source),
        }
    }

    pub(crate) fn wrong_digest(
        reference: impl ToString,
        what: &'static str,
        expected: &Digest,
        actual: &Digest,
    ) -> Error {
        Error::WrongDigest {
            reference: reference.to_string(),
            what,
            expected: expected.to_string(),
            actual: actual.to_string(),
        }
    }

    pub(crate) fn wrong_size(reference: &str, blob: &Descriptor, actual: u64) -> Error {
        Error::WrongSize {
            reference: reference.to_owned(),
            digest: blob.digest.to_string(),
            stated: blob.size,
            actual,
        }
    }

    pub(crate) fn not_an_image(reference: impl ToString, reason: impl ToString) -> Error {
        Error::NotAnImage { reference: reference.to_string(), reason: reason.to_string() }
    }

    pub(crate) fn bad_archive(path: impl AsRef<Path>, reason: impl ToString) -> Error {
        Error::BadArchive { path: path.as_ref().to_path_buf(), reason: reason.to_string() }
    }
}

fn list(platforms: &[String]) -> String {
    if platforms.is_empty() { "none".into() } else { platforms.join(", ") }
}
