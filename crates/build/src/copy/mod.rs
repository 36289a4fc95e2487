//! COPY and ADD, as BuildKit's file operations carry them out: [`select`](select::select) finds what the sources name,
//! [`content_key`](content::content_key) says what a cached result depends on, and [`Placer`](place::Placer) puts it into a tree.

pub(crate) mod content;
pub(crate) mod place;
pub(crate) mod select;

use std::io;
use std::path::PathBuf;

use dockerfile::ignore::IgnoreFile;

use crate::error::{Cause, Error};
use crate::mode::Mode;
use crate::remote::Checkout;

/// How deep a copied tree may be.
const DEEPEST: usize = 512;

/// One COPY or ADD with every word expanded.
#[derive(Clone)]
pub(crate) struct Request {
    /// What to copy.
    pub sources: Vec<Source>,
    /// Where to; relative to `workdir` unless it starts with `/`.
    pub destination: String,
    pub workdir: String,
    /// Replaces the owner.
    pub owner: Option<(u32, u32)>,
    /// Replaces the permission bits.
    pub mode: Option<Mode>,
    /// `--exclude`.
    pub exclude: IgnoreFile,
    /// `--parents`: the source's path is kept below the destination, from `/./` on if it has one.
    pub parents: bool,
    /// Sources are paths and no wildcards.
    pub literal: bool,
    /// Archives of the sources are taken apart (ADD).
    pub unpack: bool,
    /// The time of directories that come into being on the way.
    pub made_at: i64,
}

impl Request {
    /// A path's content to the root of an empty tree, as it is.
    pub fn whole(path: String, made_at: i64) -> Request {
        Request {
            sources: vec![Source::Path(path)],
            destination: "/".to_owned(),
            workdir: "/".to_owned(),
            owner: None,
            mode: None,
            exclude: IgnoreFile::default(),
            parents: false,
            literal: true,
            unpack: false,
            made_at,
        }
    }
}

/// One source.
#[derive(Clone)]
pub(crate) enum Source {
    /// A path or wildcard in the tree copied from.
    Path(String),
    /// A file given inline.
    Inline { name: String, content: Vec<u8> },
    /// A file that was fetched.
    File(FetchedFile),
    /// A repository that was checked out.
    Repository(Checkout),
}

/// A file fetched from a URL.
#[derive(Clone, Debug)]
pub(crate) struct FetchedFile {
    pub name: String,
    /// Where its content is on the host.
    pub path: PathBuf,
    pub digest: oci::Digest,
    pub size: u64,
    /// Seconds since the epoch.
    pub modified: i64,
    /// It is taken apart if it is an archive.
    pub unpack: bool,
}

impl Source {
    /// For a cache key: everything that matters.
    pub fn describe(&self) -> String {
        match self {
            Self::Path(path) => format!("path {path:?}"),
            Self::Inline { name, content } => {
                format!("inline {name:?} {}", oci::Digest::of(content))
            }
            Self::File(file) => format!("file {:?} {} {}", file.name, file.digest, file.unpack),
            Self::Repository(checkout) => format!("repository {}", checkout.identity),
        }
    }
}

impl Request {
    fn excluded(&self, relative: &[u8]) -> bool {
        !self.exclude.is_empty() && self.exclude.ignores(&String::from_utf8_lossy(relative))
    }

    fn may_hold_kept(&self, relative: &[u8]) -> bool {
        self.exclude.may_hold_exceptions(&String::from_utf8_lossy(relative))
    }
}

/// A path as people write it.
pub(crate) fn shown(path: &[u8]) -> String {
    let slash = if path.starts_with(b"/") { "" } else { "/" };
    // A name may hold anything, also what moves a terminal's cursor.
    let plain = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    let text = String::from_utf8_lossy(path);
    format!("{slash}{}", text.chars().map(plain).collect::<String>())
}

pub(crate) fn source_error(path: &[u8], error: &io::Error) -> Error {
    Error::new(Cause::Copy { path: shown(path), reason: error.to_string() })
}

fn destination_error(path: &[u8], error: impl std::fmt::Display) -> Error {
    Error::new(Cause::Destination { path: shown(path), reason: error.to_string() })
}
