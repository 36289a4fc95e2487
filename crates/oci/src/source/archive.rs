//! Archives: a tar read in place, so that nothing is ever unpacked under a name the archive chose.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{Blobs, Selector, docker, import_oci};
use crate::manifest::MAX_MANIFEST;
use crate::{Artifact, Digest, Error, Index, Progress, Reference, Result, Store};

/// More files than any image archive has.
const MAX_ENTRIES: usize = 200_000;
/// A compressed archive may not unpack to more than this, in bytes.
const MAX_UNPACKED: u64 = 64 << 30;

/// Copies an image or box out of an OCI archive or a `docker save` archive into the store and gives it `name`.
pub fn import_archive(
    path: &Path,
    selector: Option<&Selector>,
    store: &Store,
    name: Option<&Reference>,
    progress: &dyn Progress,
) -> Result<Artifact> {
    let archive = Archive::open(path, store)?;
    if archive.has("index.json") && archive.has("oci-layout") {
        let bytes = archive.read_small("index.json", MAX_MANIFEST)?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|e| Error::bad_archive(path, format!("malformed index.json: {e}")))?;
        return import_oci(&archive, &index, selector, store, name, progress);
    }
    if archive.has("manifest.json") {
        return docker::import(&archive, selector, store, name, progress).map(Artifact::Image);
    }
    Err(Error::bad_archive(
        path,
        "neither an OCI archive (index.json) nor docker's (manifest.json)",
    ))
}

/// The whole names of the images and boxes in an archive, as `docker save` and `boxer save` write them.
///
/// # Errors
/// It is no archive of images.
pub fn archive_names(path: &Path, store: &Store) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Item {
        #[serde(default, deserialize_with = "crate::manifest::or_default")]
        repo_tags: Vec<String>,
    }
    let archive = Archive::open(path, store)?;
    let malformed = |e: serde_json::Error| Error::bad_archive(path, format!("malformed: {e}"));
    if archive.has("manifest.json") {
        let bytes = archive.read_small("manifest.json", MAX_MANIFEST)?;
        let items: Vec<Item> = serde_json::from_slice(&bytes).map_err(malformed)?;
        return Ok(items.into_iter().flat_map(|item| item.repo_tags).collect());
    }
    let bytes = archive.read_small("index.json", MAX_MANIFEST)?;
    let index: Index = serde_json::from_slice(&bytes).map_err(malformed)?;
    let name = |d: crate::Descriptor| d.annotations.get("io.containerd.image.name").cloned();
    Ok(index.manifests.into_iter().filter_map(name).collect())
}

/// Where each file of a tar lies.
pub(super) struct Archive<'a> {
    pub(super) path: &'a Path,
    file: File,
    entries: HashMap<String, Place>,
}

enum Place {
    File { offset: u64, size: u64 },
    Link(String),
}

impl<'a> Archive<'a> {
    pub(super) fn open(path: &'a Path, store: &Store) -> Result<Archive<'a>> {
        let file = open_plain(path, store)?;
        let bad = |e: io::Error| Error::bad_archive(path, format!("malformed tar: {e}"));
        let mut entries = HashMap::new();
        let reader = file.try_clone().map_err(|e| Error::io(path, e))?;
        let mut tar = tar::Archive::new(reader);
        for entry in tar.entries_with_seek().map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let name = normal(&entry.path_bytes());
            let place = match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    Place::File { offset: entry.raw_file_position(), size: entry.size() }
                }
                // Old `docker save` writes a repeated layer as a link to the first.
                tar::EntryType::Symlink => {
                    let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                    let target = entry.link_name_bytes().unwrap_or_default();
                    Place::Link(resolve_link(dir, &String::from_utf8_lossy(&target)))
                }
                tar::EntryType::Link => {
                    Place::Link(normal(&entry.link_name_bytes().unwrap_or_default()))
                }
                _ => continue,
            };
            entries.insert(name, place);
            if entries.len() > MAX_ENTRIES {
                return Err(Error::bad_archive(path, format!("more than {MAX_ENTRIES} files")));
            }
        }
        Ok(Archive { path, file, entries })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The file, through at most a few links; links that go round in a circle lead nowhere.
    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = name;
        for _ in 0..8 {
            match self.entries.get(name)? {
                Place::File { offset, size } => return Some((*offset, *size)),
                Place::Link(target) => name = target,
            }
        }
        None
    }

    /// A reader of one file and the file's size in bytes.
    pub(super) fn file(&self, name: &str) -> Result<(FilePart, u64)> {
        let (offset, size) = self.find(name).ok_or_else(|| Error::NotFound {
            reference: self.path.display().to_string(),
            reason: format!("the archive has no file {name}"),
        })?;
        let file = self.file.try_clone().map_err(|e| Error::io(self.path, e))?;
        Ok((FilePart { file, position: offset, left: size }, size))
    }

    pub(super) fn read_small(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let (reader, size) = self.file(name)?;
        if size > limit {
            return Err(Error::TooLarge {
                reference: self.path.display().to_string(),
                what: name.into(),
                limit,
            });
        }
        let mut bytes = Vec::new();
        reader.take(limit).read_to_end(&mut bytes).map_err(|e| Error::io(self.path, e))?;
        Ok(bytes)
    }
}

impl Blobs for Archive<'_> {
    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>> {
        let name = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        self.file(&name).map(|(reader, _)| Box::new(reader) as Box<dyn Read>)
    }
}

/// A stretch of the archive. It seeks before each read, because clones of a file share one position.
pub(super) struct FilePart {
    file: File,
    position: u64,
    left: u64,
}

impl Read for FilePart {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(buf) = buf.get_mut(..want).filter(|b| !b.is_empty()) else { return Ok(0) };
        self.file.seek(SeekFrom::Start(self.position))?;
        let n = self.file.read(buf)?;
        self.position = self.position.saturating_add(n as u64);
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

/// The archive as a plain tar: itself, or unpacked into a temporary file that nobody else can name.
fn open_plain(path: &Path, store: &Store) -> Result<File> {
    let fail = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(Error::bad_archive(path, "not a regular file"));
    }
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(4).read_to_end(&mut head).map_err(fail)?;
    file.rewind().map_err(fail)?;
    let mut reader: Box<dyn Read> = match head.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::new(file).map_err(fail)?),
        _ => return Ok(file),
    };
    let mut temp = store.temp_file()?;
    let mut buffer = vec![0u8; 1 << 16];
    let mut written = 0u64;
    loop {
        let n = reader
            .read(&mut buffer)
            .map_err(|e| Error::bad_archive(path, format!("it cannot be decompressed: {e}")))?;
        if n == 0 {
            break;
        }
        written = written.saturating_add(n as u64);
        if written > MAX_UNPACKED {
            return Err(Error::TooLarge {
                reference: path.display().to_string(),
                what: "the unpacked archive".into(),
                limit: MAX_UNPACKED,
            });
        }
        temp.write_all(buffer.get(..n).unwrap_or_default())
            .map_err(|e| Error::io(temp.path(), e))?;
    }
    let mut file = temp.into_file();
    file.rewind().map_err(fail)?;
    Ok(file)
}

fn normal(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    text.trim_start_matches("./").trim_end_matches('/').to_string()
}

/// A link's target as a name inside the archive; one that leaves it matches nothing.
fn resolve_link(dir: &str, target: &str) -> String {
    let mut parts: Vec<&str> =
        if target.starts_with('/') { Vec::new() } else { dir.split('/').collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/").trim_start_matches('/').to_string()
}
