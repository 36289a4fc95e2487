//! Where an image may come from besides a registry: OCI layouts, OCI archives, `docker save` archives.

mod archive;
mod docker;
mod layout;

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

pub use archive::{archive_names, import_archive};
pub(crate) use layout::LayoutManifest;
pub use layout::import_layout;

use crate::manifest::{MAX_CONFIG, MAX_MANIFEST, MAX_NESTING, media};
use crate::store::as_stated;
use crate::writer::{check_config, check_image_manifest};
use crate::{
    Artifact, Descriptor, Digest, Document, Error, ImageConfig, Index, Manifest, Progress,
    Reference, Result, Store, artifact,
};

/// What FROM, `--build-context` and `boxer build` accept as an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `debian:12`, `docker-image://debian:12`
    Registry(Reference),
    /// `oci-layout:PATH[:tag|@digest]`, `oci-layout://…`
    Layout {
        /// The directory.
        path: PathBuf,
        /// Which of its images.
        selector: Option<Selector>,
    },
    /// `oci-archive:PATH[:tag|@digest]`, `docker-archive:PATH[:ref]`; which of the two is told from the content.
    Archive {
        /// The tar, possibly compressed with gzip or zstd.
        path: PathBuf,
        /// Which of its images.
        selector: Option<Selector>,
    },
}

/// Which image of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By tag or by whole name.
    Name(String),
    /// By digest of manifest or index.
    Digest(Digest),
}

impl Source {
    /// Parses any of the forms above.
    pub fn parse(input: &str) -> Result<Source> {
        let scheme = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| input.strip_prefix(name))
                .map(|rest| rest.strip_prefix("//").unwrap_or(rest))
        };
        if let Some(rest) = scheme(&["docker-image:", "docker:"]).filter(|_| input.contains("://"))
        {
            return Reference::parse(rest).map(Source::Registry);
        }
        if let Some(rest) = scheme(&["oci-layout:", "oci:"]) {
            let (path, selector) = split(input, rest)?;
            return Ok(Source::Layout { path, selector });
        }
        if let Some(rest) = scheme(&["oci-archive:", "docker-archive:"]) {
            let (path, selector) = split(input, rest)?;
            return Ok(Source::Archive { path, selector });
        }
        Reference::parse(input).map(Source::Registry)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path, selector) = match self {
            Source::Registry(reference) => return reference.fmt(f),
            Source::Layout { path, selector } => ("oci-layout", path, selector),
            Source::Archive { path, selector } => ("oci-archive", path, selector),
        };
        write!(f, "{scheme}:{}", path.display())?;
        match selector {
            None => Ok(()),
            Some(Selector::Name(name)) => write!(f, ":{name}"),
            Some(Selector::Digest(digest)) => write!(f, "@{digest}"),
        }
    }
}

/// `PATH[:tag|@digest]`; a path with a colon cannot be named.
fn split(input: &str, rest: &str) -> Result<(PathBuf, Option<Selector>)> {
    let (path, selector) =
        if let Some((path, digest)) = rest.rsplit_once('@').filter(|(_, d)| d.starts_with("sha")) {
            (path, Some(Selector::Digest(Digest::parse(digest)?)))
        } else {
            // As skopeo does: the path ends at the first colon, since the name may hold colons of its own.
            match rest.split_once(':') {
                Some((path, "")) => (path, None),
                Some((path, name)) => (path, Some(Selector::Name(name.into()))),
                None => (rest, None),
            }
        };
    if path.is_empty() {
        return Err(Error::InvalidReference {
            input: input.into(),
            reason: "the path is empty".into(),
        });
    }
    Ok((path.into(), selector))
}

/// Gives blobs by digest.
trait Blobs {
    /// What errors call it.
    fn origin(&self) -> String;
    /// The blob, unverified.
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>>;
}

/// Brings the image or box that `index` and `selector` lead to into the store.
fn import_oci(
    blobs: &dyn Blobs,
    index: &Index,
    selector: Option<&Selector>,
    store: &Store,
    name: Option<&Reference>,
    progress: &dyn Progress,
) -> Result<Artifact> {
    let origin = blobs.origin();
    let (descriptor, bytes, manifest) = find_manifest(blobs, index, selector, MAX_NESTING)?;
    let media_type = manifest.media_type.clone().unwrap_or_else(|| media::OCI_MANIFEST.into());
    check_before_copy(blobs, &origin, &manifest)?;
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        copy_blob(blobs, blob, store, progress)?;
    }
    let digest = descriptor.digest.clone();
    store.put_reader(&mut bytes.as_slice(), Some(&digest))?;
    let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
    let artifact = store.load_artifact(&origin, &descriptor)?;
    match name {
        Some(name) => store.tag(name, artifact.descriptor())?,
        None => store.keep(artifact.descriptor())?,
    }
    Ok(artifact)
}

/// The manifest that `index` and `selector` lead to, for this machine: where it is, its bytes, and what they say. At most
/// `nesting` further indexes lead to it.
fn find_manifest(
    blobs: &dyn Blobs,
    index: &Index,
    selector: Option<&Selector>,
    nesting: u32,
) -> Result<(Descriptor, Vec<u8>, Manifest)> {
    let origin = blobs.origin();
    let mut descriptor = choose(&origin, index, selector)?;
    let mut depth = 0;
    loop {
        let bytes = read_small(blobs, &descriptor, "manifest", MAX_MANIFEST)?;
        match Document::parse(&origin, &bytes)? {
            Document::Manifest(manifest) => return Ok((descriptor, bytes, *manifest)),
            Document::Index(_) if depth == nesting => {
                return Err(Error::not_an_image(&origin, "indexes nested too deeply"));
            }
            Document::Index(index) => {
                depth += 1;
                descriptor = index.linux_amd64(&origin)?.clone();
            }
        }
    }
}

/// Refuses what is no image (or is for another machine) before its layers are copied.
fn check_before_copy(blobs: &dyn Blobs, origin: &str, manifest: &Manifest) -> Result<()> {
    if manifest.config.media_type == media::WASM_CONFIG {
        return artifact::check_box_manifest(origin, manifest).map(|_| ());
    }
    check_image_manifest(origin, manifest)?;
    let bytes = read_small(blobs, &manifest.config, "config", MAX_CONFIG)?;
    check_config(origin, manifest, &ImageConfig::parse(origin, &bytes)?)
}

fn choose(origin: &str, index: &Index, selector: Option<&Selector>) -> Result<Descriptor> {
    let names = |d: &Descriptor| -> Vec<String> {
        ["io.containerd.image.name", crate::manifest::REF_NAME]
            .iter()
            .filter_map(|key| d.annotations.get(*key).cloned())
            .collect()
    };
    let matches = |d: &Descriptor, wanted: &str| {
        let canonical = Reference::parse(wanted).map(|r| r.canonical()).unwrap_or_default();
        names(d).iter().any(|name| {
            name == wanted
                || *name == canonical
                || (!wanted.contains(':') && name.ends_with(&format!(":{wanted}")))
        })
    };
    let not_found = |reason: String| Error::NotFound { reference: origin.into(), reason };
    match selector {
        Some(Selector::Digest(digest)) => Ok(index
            .manifests
            .iter()
            .find(|d| d.digest == *digest)
            .cloned()
            // A manifest below an index is not listed at the top.
            .unwrap_or_else(|| Descriptor::new("", digest.clone(), MAX_MANIFEST))),
        Some(Selector::Name(wanted)) => {
            index.manifests.iter().find(|d| matches(d, wanted)).cloned().ok_or_else(|| {
                let there: Vec<String> = index.manifests.iter().flat_map(names).collect();
                not_found(format!("no image named \"{wanted}\"; there are: {}", there.join(", ")))
            })
        }
        None => match index.manifests.as_slice() {
            [] => Err(not_found("it holds no image".into())),
            [only] => Ok(only.clone()),
            several if several.iter().all(|d| d.platform.is_some()) => {
                index.linux_amd64(origin).cloned()
            }
            several => {
                let there: Vec<String> = several.iter().flat_map(names).collect();
                Err(not_found(format!(
                    "it holds several images; name one of: {}",
                    there.join(", ")
                )))
            }
        },
    }
}

fn read_small(
    blobs: &dyn Blobs,
    descriptor: &Descriptor,
    what: &'static str,
    limit: u64,
) -> Result<Vec<u8>> {
    let origin = blobs.origin();
    let mut bytes = Vec::new();
    blobs
        .open(&descriptor.digest)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io(&origin, e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge { reference: origin, what: what.into(), limit });
    }
    let mut hasher = crate::Hasher::like(&descriptor.digest);
    hasher.update(&bytes);
    let actual = hasher.finish();
    if actual != descriptor.digest {
        return Err(Error::wrong_digest(origin, what, &descriptor.digest, &actual));
    }
    Ok(bytes)
}

/// Copies one blob into the store, checking digest and size on the way.
fn copy_blob(
    blobs: &dyn Blobs,
    blob: &Descriptor,
    store: &Store,
    progress: &dyn Progress,
) -> Result<()> {
    if store.has_whole_blob(&blob.digest, blob.size) {
        progress.skip(&blob.digest);
        return Ok(());
    }
    let origin = blobs.origin();
    store.check_stated_size(&origin, blob)?;
    progress.start(&blob.digest, blob.size, 0);
    let counted = Counted { inner: blobs.open(&blob.digest)?, blob, progress, position: 0 };
    // One byte more than promised is enough to know that the promise is broken.
    let mut limited = counted.take(blob.size.saturating_add(1));
    let result = store.put_reader(&mut limited, Some(&blob.digest));
    let position = limited.into_inner().position;
    as_stated(&origin, blob, position, result)?;
    progress.finish(&blob.digest);
    Ok(())
}

struct Counted<'a> {
    inner: Box<dyn Read + 'a>,
    blob: &'a Descriptor,
    progress: &'a dyn Progress,
    position: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.position = self.position.saturating_add(n as u64);
        self.progress.advance(&self.blob.digest, self.position);
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
