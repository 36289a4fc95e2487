//! The build context, wherever it comes from: a directory, an archive, a URL, a Git repository, or nothing.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layers::{Metadata, NewNode};

use crate::builder::Workshop;
use crate::context::Context;
use crate::error::{Cause, Error, Result};
use crate::events::{self, Events, StepId};
use crate::files::{Files, read_small};
use crate::image_tree::ImageTree;
use crate::origin::Origin;
use crate::remote::{Checkout, Remote};
use crate::transfer::Transfers;

/// The largest Dockerfile that is read, in bytes.
const LARGEST: u64 = 16 << 20;
/// What a file that is a context by itself is called, as in BuildKit.
const SINGLE: &str = "context";
/// What a Dockerfile is called unless somebody says otherwise.
const DOCKERFILE: &str = "Dockerfile";

/// A context that is ready to be read. Clones are the same one.
#[derive(Clone)]
pub struct MainContext {
    held: Held,
    /// What it is called in messages.
    shown: String,
    /// The steps that it took.
    pub(crate) steps: u32,
}

#[derive(Clone)]
enum Held {
    /// A directory of the host, whose ignore file is read once the Dockerfile is known.
    Directory(PathBuf),
    /// An archive, or nothing.
    Tree(Arc<ImageTree>),
    /// A file that was fetched and is no archive: the Dockerfile, and the only file.
    Single(Arc<ImageTree>),
    Repository(Checkout),
}

impl std::fmt::Debug for MainContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MainContext({})", self.shown)
    }
}

/// A Dockerfile found in a context.
pub struct FoundDockerfile {
    /// Its path as errors show it.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where it is on the host, if it is there: its own ignore file counts.
    pub path: Option<PathBuf>,
}

/// Whether a text is a URL or repository and no path.
pub fn is_remote(text: &str) -> bool {
    matches!(Remote::of_context(text), Ok(Some(_)) | Err(_))
}

/// Whether what begins so is an archive and no Dockerfile: by its compression's magic number, or a first header that is right.
pub fn is_archive(head: &[u8]) -> bool {
    let magics: [&[u8]; 4] =
        [b"BZh", &[0x1f, 0x8b, 0x08], b"\xfd7zXZ\0", &[0x28, 0xb5, 0x2f, 0xfd]];
    magics.iter().any(|magic| head.starts_with(magic)) || layers::is_archive(head)
}

impl MainContext {
    /// A directory of the host.
    ///
    /// # Errors
    /// It is none.
    pub fn directory(path: &Path) -> Result<Self> {
        let read = |source| Error::new(Cause::Read { path: path.to_owned(), source });
        if !std::fs::metadata(path).map_err(read)?.is_dir() {
            return Err(read(rustix::io::Errno::NOTDIR.into()));
        }
        let (held, shown) = (Held::Directory(path.to_owned()), path.display().to_string());
        Ok(Self { held, shown, steps: 0 })
    }

    /// No files: for a Dockerfile that comes alone.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn empty(workshop: &Workshop) -> Result<Self> {
        let tree = Arc::new(ImageTree::empty(&workshop.store)?);
        Ok(Self { held: Held::Tree(tree), shown: "nothing".to_owned(), steps: 0 })
    }

    /// An archive, compressed or not. Its files keep their owners; its `.dockerignore` does not count, as in BuildKit.
    ///
    /// # Errors
    /// It is damaged, or takes more than an image may.
    pub fn archive(workshop: &Workshop, archive: impl Read, shown: &str) -> Result<Self> {
        let tree = Arc::new(ImageTree::of_archive(&workshop.store, archive, shown)?);
        Ok(Self { held: Held::Tree(tree), shown: shown.to_owned(), steps: 0 })
    }

    /// What is at a URL: an archive, or a Dockerfile alone; or a repository, checked out by the host's `git`. `keep_git` leaves its
    /// `.git` there.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn remote(workshop: &Workshop, url: &str, keep_git: bool) -> Result<Self> {
        let step = StepId(1);
        let remote = Remote::of_context(url)?;
        let name = match &remote {
            Some(Remote::Git(_)) => format!("[internal] load git source {url}"),
            _ => "[internal] load remote build context".to_owned(),
        };
        let held = events::step(workshop.events.as_ref(), step, &name, || {
            let held = match remote {
                Some(Remote::Git(source)) => {
                    let (store, client) = (&workshop.store, &workshop.client);
                    let stop = &workshop.interrupt;
                    let checkout = source.check_out(store, client.is_offline(), keep_git, stop)?;
                    Held::Repository(checkout)
                }
                _ => fetch(workshop, url, step)?,
            };
            Ok((held, false))
        })?;
        Ok(Self { held, shown: url.to_owned(), steps: 1 })
    }

    /// The path or URL, as it was given.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The directory on the host, if it is one.
    pub fn host_directory(&self) -> Option<&Path> {
        match &self.held {
            Held::Directory(path) => Some(path),
            _ => None,
        }
    }

    /// The Dockerfile of this name, or the usual one. An absolute name is the host's.
    ///
    /// # Errors
    /// There is none, or it is too large.
    pub fn dockerfile(&self, name: Option<&str>) -> Result<FoundDockerfile> {
        let files: &dyn Files = match &self.held {
            Held::Directory(root) => return on_host(root, name),
            Held::Tree(tree) | Held::Single(tree) => tree.as_ref(),
            Held::Repository(checkout) => checkout.context.as_ref(),
        };
        if let (Some(name), true) = (name, name.is_some_and(|name| name.starts_with('/'))) {
            return read_host(Path::new(name));
        }
        let name = match (name, &self.held) {
            (_, Held::Single(_)) => SINGLE,
            (Some(name), _) => name,
            (None, _) => {
                let there = |name: &str| matches!(files.entry(name.as_bytes()), Ok(Some(_)));
                let lower = "dockerfile";
                if !there(DOCKERFILE) && there(lower) { lower } else { DOCKERFILE }
            }
        };
        let fail = |source: io::Error| {
            let path = PathBuf::from(name);
            Error::new(Cause::ReadDockerfile { path, source })
        };
        let bytes = read_small(files, name.as_bytes(), LARGEST).map_err(fail)?;
        let bytes = bytes.ok_or_else(|| fail(rustix::io::Errno::NOENT.into()))?;
        Ok(FoundDockerfile { name: name.to_owned(), bytes, path: None })
    }

    /// Its files, for a build with this Dockerfile.
    pub(crate) fn origin(&self, dockerfile: Option<&Path>) -> Result<Origin> {
        Ok(match &self.held {
            Held::Directory(root) => Origin::Context(Arc::new(Context::open(root, dockerfile)?)),
            Held::Tree(tree) | Held::Single(tree) => Origin::Tree(Arc::clone(tree)),
            Held::Repository(checkout) => Origin::Repository(checkout.clone()),
        })
    }
}

fn on_host(root: &Path, name: Option<&str>) -> Result<FoundDockerfile> {
    match name {
        Some(name) => read_host(Path::new(name)),
        None => {
            let (usual, lower) = (root.join(DOCKERFILE), root.join("dockerfile"));
            read_host(if !usual.exists() && lower.exists() { &lower } else { &usual })
        }
    }
}

/// Reads a Dockerfile of the host.
fn read_host(path: &Path) -> Result<FoundDockerfile> {
    let fail =
        |source: io::Error| Error::new(Cause::ReadDockerfile { path: path.to_owned(), source });
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        return Err(fail(io::Error::other(format!("larger than {LARGEST} bytes"))));
    }
    // As the user would type it.
    let name = path.strip_prefix("./").unwrap_or(path).display().to_string();
    Ok(FoundDockerfile { name, bytes, path: Some(path.to_owned()) })
}

/// Fetches a file: an archive is taken apart, anything else is a Dockerfile.
fn fetch(workshop: &Workshop, url: &str, step: StepId) -> Result<Held> {
    let store = &workshop.store;
    let file = download(workshop, url, step, workshop.events.as_ref())?;
    const HEAD: u64 = 1024;
    let mut head = Vec::new();
    let read = |source| Error::new(Cause::Read { path: store.blob_path(&file.digest), source });
    store.open_blob(&file.digest)?.take(HEAD).read_to_end(&mut head).map_err(read)?;
    if is_archive(&head) {
        let archive = store.open_blob(&file.digest)?;
        return Ok(Held::Tree(Arc::new(ImageTree::of_archive(store, archive, url)?)));
    }
    Ok(Held::Single(Arc::new(single_file(workshop, &file)?)))
}

/// What is at a URL, until the build is to end.
fn download(
    workshop: &Workshop,
    url: &str,
    step: StepId,
    events: &dyn Events,
) -> Result<oci::Download> {
    let client = workshop.client.interruptible(workshop.interrupt.flag());
    Ok(client.download(url, None, &workshop.store, &Transfers { step, events })?)
}

/// A tree with a fetched file in it and nothing else.
pub(crate) fn single_file(workshop: &Workshop, file: &oci::Download) -> Result<ImageTree> {
    let store = &workshop.store;
    let mut tree = ImageTree::empty(store)?;
    let (files, spool) = tree.parts();
    let fail = |error: layers::Error| Error::new(Cause::Layers(error.to_string()));
    let mut content = store.open_blob(&file.digest)?;
    let content = spool.store_from(&mut content, file.size).map_err(fail)?;
    let mtime = file.modified.unwrap_or(0);
    let meta = Metadata { mode: 0o600, mtime, ..Metadata::default() };
    files.insert(SINGLE, meta, NewNode::File(content)).map_err(fail)?;
    Ok(tree)
}

/// A Dockerfile at a URL (`--file`).
///
/// # Errors
/// It cannot be fetched or is too large.
pub fn fetch_dockerfile(workshop: &Workshop, url: &str) -> Result<Vec<u8>> {
    let file = download(workshop, url, StepId(0), &crate::NoEvents)?;
    Ok(workshop.store.read_blob(&file.digest, LARGEST)?)
}
