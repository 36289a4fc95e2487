//! What can go wrong with a layer, a tree or the spool.

use std::io;

/// What can go wrong with a layer, a tree or the spool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something is wrong with a layer; says which, and with which of its entries.
    #[error("layer {layer}: {}{cause}", entry_prefix(entry.as_deref()))]
    Layer {
        /// The name the caller gave the layer: its digest.
        layer: String,
        /// The entry's path as the archive has it (lossy), if it is about one.
        entry: Option<String>,
        /// What is wrong.
        #[source]
        cause: Box<Error>,
    },
    /// The uncompressed layer is not the one that the image's config names.
    #[error("diff_id is {found}, the image config says {expected}")]
    DiffId {
        /// What the config says.
        expected: String,
        /// What was read.
        found: String,
    },
    /// The layer ends in the middle of an entry or of its compressed stream.
    #[error("the archive is truncated")]
    Truncated,
    /// The compressed stream is damaged, or reading the blob failed.
    #[error("cannot read the archive: {0}")]
    Read(#[source] io::Error),
    /// A compression that layers do not have (but archives elsewhere do).
    #[error("{0} compression is not supported; gzip, zstd, bzip2, xz and plain tar are")]
    UnsupportedCompression(&'static str),
    /// A tar header or extended header that no tar writes.
    #[error("the archive is corrupt: {0}")]
    Corrupt(&'static str),
    /// An entry of a kind that has no meaning in a layer.
    #[error("unsupported tar entry type {:?}", char::from(*.0))]
    UnsupportedEntry(u8),
    /// A bound on what a layer may make of this machine's memory and disk.
    #[error("more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A path with `..` in an archive: it may point out of the tree.
    #[error("the path {0:?} contains \"..\"")]
    ParentReference(String),
    /// A name longer than 255 bytes, or one with a NUL.
    #[error("invalid file name {0:?}")]
    InvalidName(String),
    /// A whiteout that names nothing that could be removed.
    #[error("invalid whiteout")]
    InvalidWhiteout,
    /// A file name that would be read as a whiteout in a layer.
    #[error("{0:?} cannot be stored in a layer: names starting with .wh. are whiteouts")]
    ReservedName(String),
    /// An archive's root entry is not a directory.
    #[error("the root of the tree must be a directory")]
    RootNotDirectory,
    /// A hard link to something that is not there.
    #[error("hard link to {0:?}, which does not exist")]
    MissingLinkTarget(String),
    /// A hard link to a directory.
    #[error("hard link to the directory {0:?}")]
    LinkToDirectory(String),
    /// A symbolic link without target, or with one that is too long.
    #[error("invalid symbolic link target of {0} bytes")]
    InvalidSymlink(usize),
    /// A path that does not exist in the tree.
    #[error("{0:?} does not exist")]
    NotFound(String),
    /// A path that leads through something that is not a directory.
    #[error("{0:?} is not a directory")]
    NotDirectory(String),
    /// A directory where a file is wanted.
    #[error("{0:?} is a directory")]
    IsDirectory(String),
    /// Not a regular file.
    #[error("{0:?} is not a regular file")]
    NotRegular(String),
    /// More than 40 symbolic links, or 4096 components with theirs, on the way.
    #[error("too many levels of symbolic links in {0:?}")]
    SymlinkLoop(String),
    /// A file of the host that could not be read.
    #[error("cannot read {path:?}: {source}")]
    Host {
        /// Its path.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The temporary file that holds file contents could not be written or read (disk full?).
    #[error("temporary file: {0}")]
    Spool(#[source] io::Error),
    /// Writing the layer failed.
    #[error("cannot write the layer: {0}")]
    Write(#[source] io::Error),
    /// The image could not be written.
    #[error("cannot write the root filesystem image: {0}")]
    Image(#[from] rootfs::Error),
}

impl Error {
    /// An error of reading a layer's uncompressed stream; limits travel through `io::Error`.
    pub(crate) fn from_stream(error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Error::Truncated,
            Err(e) => Error::Read(e),
        }
    }

    /// The error below the layer and entry it happened in.
    pub fn cause(&self) -> &Error {
        match self {
            Error::Layer { cause, .. } => cause.cause(),
            other => other,
        }
    }
}

fn entry_prefix(entry: Option<&str>) -> String {
    entry.map(|e| format!("entry {e:?}: ")).unwrap_or_default()
}

pub(crate) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
