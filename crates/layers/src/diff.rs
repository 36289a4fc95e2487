//! The difference of two trees as a layer.
//!
//! An entry is in the layer if it is new or its type, mode, owner, attributes, content or (except
//! for a directory) time changed; so are the directories above it. What is gone has a whiteout.
//! This is what Docker and buildah do, with one addition: all names of a hard link are stored where
//! the set of names changed, so that a link is a link again after unpacking. Sockets are left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufWriter, Write};

use flate2::{GzBuilder, write::GzEncoder};
use sha2::{Digest, Sha256};

use crate::blob::hex_digest;
use crate::error::lossy;
use crate::tar::{Kind, write};
use crate::tree::join;
use crate::{Content, Error, FileType, NodeId, Result, Tree};

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar archive.
    None,
    /// gzip, what every tool reads.
    #[default]
    Gzip,
    /// zstd.
    Zstd,
}

/// How a layer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerOptions {
    /// Compression.
    pub compression: Compression,
    /// Latest modification time in seconds; later ones become this (`SOURCE_DATE_EPOCH`).
    pub clamp_mtime: Option<i64>,
    /// Most bytes of file contents, holes filled; a layer with more is refused before any of it is written.
    pub most: Option<u64>,
}

/// A layer that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// Digest of the blob, `sha256:…`.
    pub digest: String,
    /// Digest of the uncompressed archive, `sha256:…`.
    pub diff_id: String,
    /// Bytes of the blob.
    pub size: u64,
    /// The blob's OCI media type.
    pub media_type: &'static str,
    /// Entries in the archive; with 0, nothing changed.
    pub entries: u64,
}

/// Writes what makes `upper` out of `lower` as a layer. Equal trees and options give equal bytes.
pub fn diff(
    lower: &Tree,
    upper: &Tree,
    out: impl Write,
    options: &LayerOptions,
) -> Result<LayerInfo> {
    let changes = Comparison::new(lower, upper).run()?;
    if let Some(limit) = options.most.filter(|most| contents(upper, &changes) > *most) {
        return Err(Error::Limit { what: "bytes of files in one layer", limit });
    }
    let mut archive = BufWriter::with_capacity(128 << 10, Hashed::new(Encoder::new(out, options)?));
    let mut written: HashMap<NodeId, &[u8]> = HashMap::new();
    let mut entries = 0;
    for (path, change) in &changes {
        let first = change.and_then(|id| written.get(&id).copied());
        if write_entry(upper, path, *change, first, options, &mut archive)? {
            entries += 1;
            if let Some(id) = change.filter(|id| upper.node(*id).links() > 1) {
                written.entry(id).or_insert(path);
            }
        }
    }
    let finish = || -> io::Result<_> {
        write::end(&mut archive)?;
        let hashed = archive.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((hex_digest(hashed.hash), hashed.out.finish()?))
    };
    let (diff_id, blob) = finish().map_err(Error::Write)?;
    let media_type = match options.compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    };
    Ok(LayerInfo { digest: hex_digest(blob.hash), diff_id, size: blob.count, media_type, entries })
}

/// Bytes of the files that a layer stores; one with several names counts once.
fn contents(upper: &Tree, changes: &Changes) -> u64 {
    let stored: BTreeSet<NodeId> = changes.values().flatten().copied().collect();
    let length = |id: NodeId| upper.node(id).content().map_or(0, crate::Content::len);
    stored.into_iter().fold(0, |sum: u64, id| sum.saturating_add(length(id)))
}

/// Writes a whole tree as one layer.
pub fn layer_from_tree(tree: &Tree, out: impl Write, options: &LayerOptions) -> Result<LayerInfo> {
    diff(&Tree::new(), tree, out, options)
}

/// Path in the layer to the node it stores, `None` for a whiteout. In byte order a directory comes
/// before what is in it.
type Changes = BTreeMap<Vec<u8>, Option<NodeId>>;

struct Comparison<'a> {
    lower: &'a Tree,
    upper: &'a Tree,
    lower_names: HashMap<NodeId, BTreeSet<Vec<u8>>>,
    upper_names: HashMap<NodeId, BTreeSet<Vec<u8>>>,
    /// Of a lower file with several names: how many of these the upper tree has too.
    still_there: HashMap<NodeId, usize>,
    /// Answers of `names_changed`, which a file with very many names asks very often.
    compared: HashMap<(NodeId, NodeId), bool>,
    changes: Changes,
    dirs: Vec<Dir>,
}

/// A directory of the upper tree that is being compared.
struct Dir {
    path: Vec<u8>,
    lower: Option<NodeId>,
    upper: NodeId,
    parent: usize,
    /// Whether it is among the changes; the root is not stored for what is in it.
    stored: bool,
}

impl<'a> Comparison<'a> {
    fn new(lower: &'a Tree, upper: &'a Tree) -> Self {
        let lower_names = names_of_links(lower);
        let is_there = |path: &&Vec<u8>| {
            let step = |dir, name: &[u8]| upper.child(dir, name);
            path.split(|b| *b == b'/').try_fold(upper.root(), step).is_some()
        };
        let count = |names: &BTreeSet<Vec<u8>>| names.iter().filter(is_there).count();
        Comparison {
            lower,
            upper,
            still_there: lower_names.iter().map(|(id, names)| (*id, count(names))).collect(),
            compared: HashMap::new(),
            lower_names,
            upper_names: names_of_links(upper),
            changes: Changes::new(),
            dirs: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Changes> {
        let (lower, upper) = (self.lower.root(), self.upper.root());
        self.dirs.push(Dir {
            path: Vec::new(),
            lower: Some(lower),
            upper,
            parent: 0,
            stored: true,
        });
        // A layer on nothing says everything about the root, also its time.
        let on_nothing = self.lower.entries(lower).next().is_none()
            && self.lower.node(lower).meta != self.upper.node(upper).meta;
        if on_nothing || self.dir_changed(lower, upper) {
            self.changes.insert(Vec::new(), Some(upper));
        }
        let mut at = 0;
        while at < self.dirs.len() {
            self.compare_dir(at)?;
            at += 1;
        }
        Ok(self.changes)
    }

    fn compare_dir(&mut self, at: usize) -> Result<()> {
        let Some(Dir { path, lower, upper, .. }) = self.dirs.get(at) else { return Ok(()) };
        let (path, lower, upper) = (path.clone(), *lower, *upper);
        for (name, _) in lower.into_iter().flat_map(|dir| self.lower.entries(dir)) {
            if self.upper.child(upper, name).is_none() {
                self.store(at, join(&path, &[b".wh.", name].concat()), None);
            }
        }
        for (name, node) in self.upper.entries(upper) {
            let below = join(&path, name);
            if name.starts_with(b".wh.") {
                return Err(Error::ReservedName(lossy(&below)));
            }
            let old = lower.and_then(|dir| self.lower.child(dir, name));
            let is_dir = self.upper.node(node).is_dir();
            let old_dir = old.filter(|old| is_dir && self.lower.node(*old).is_dir());
            let changed = match (old, old_dir) {
                (_, Some(old)) => self.dir_changed(old, node),
                (Some(old), None) => self.leaf_changed(old, node)?,
                (None, None) => true,
            };
            if changed {
                self.store(at, below.clone(), Some(node));
            }
            if is_dir {
                let dir =
                    Dir { path: below, lower: old_dir, upper: node, parent: at, stored: changed };
                self.dirs.push(dir);
            }
        }
        Ok(())
    }

    /// Notes a change in directory `dir`, and so all directories above it.
    fn store(&mut self, mut dir: usize, path: Vec<u8>, node: Option<NodeId>) {
        self.changes.insert(path, node);
        while let Some(above) = self.dirs.get_mut(dir).filter(|d| !d.stored) {
            above.stored = true;
            self.changes.insert(above.path.clone(), Some(above.upper));
            dir = above.parent;
        }
    }

    /// A directory's time says little: it changes with every entry.
    fn dir_changed(&self, lower: NodeId, upper: NodeId) -> bool {
        let (a, b) = (&self.lower.node(lower).meta, &self.upper.node(upper).meta);
        (a.mode, a.uid, a.gid, &a.xattrs) != (b.mode, b.uid, b.gid, &b.xattrs)
    }

    fn leaf_changed(&mut self, lower: NodeId, upper: NodeId) -> Result<bool> {
        let (a, b) = (self.lower.node(lower), self.upper.node(upper));
        if a.kind() != b.kind()
            || a.meta != b.meta
            || a.rdev() != b.rdev()
            || a.target() != b.target()
            || self.names_changed(lower, upper)
        {
            return Ok(true);
        }
        let empty = Content::EMPTY;
        Ok(!a.content().unwrap_or(&empty).equals(b.content().unwrap_or(&empty))?)
    }

    /// Whether other names share the file than before, those that are gone aside.
    fn names_changed(&mut self, lower: NodeId, upper: NodeId) -> bool {
        // The maps have no entry for a file with one name: the one that is being compared.
        let (old, new) = (self.lower_names.get(&lower), self.upper_names.get(&upper));
        let count = new.map_or(1, BTreeSet::len);
        if count != self.still_there.get(&lower).copied().unwrap_or(1) {
            return true;
        }
        match (old, new) {
            (Some(old), Some(new)) => {
                *self.compared.entry((lower, upper)).or_insert_with(|| !new.is_subset(old))
            }
            _ => false,
        }
    }
}

/// All names of all files that have more than one.
fn names_of_links(tree: &Tree) -> HashMap<NodeId, BTreeSet<Vec<u8>>> {
    let mut names: HashMap<NodeId, BTreeSet<Vec<u8>>> = HashMap::new();
    let linked = |id: &NodeId| tree.node(*id).links() > 1 && !tree.node(*id).is_dir();
    for (path, id) in tree.walk(tree.root()).filter(|(_, id)| linked(id)) {
        names.entry(id).or_default().insert(path);
    }
    names
}

/// Writes one entry; says whether there is one (there is none for a socket).
fn write_entry(
    tree: &Tree,
    path: &[u8],
    change: Option<NodeId>,
    first: Option<&[u8]>,
    options: &LayerOptions,
    out: &mut impl Write,
) -> Result<bool> {
    let Some(id) = change else {
        let meta = crate::Metadata::default();
        let whiteout =
            write::Header { path, kind: Kind::File, meta: &meta, size: 0, link: b"", rdev: 0 };
        whiteout.write(out).map_err(Error::Write)?;
        return Ok(true);
    };
    let node = tree.node(id);
    let mut meta = node.meta.clone();
    if let Some(latest) = options.clamp_mtime.filter(|latest| meta.mtime >= *latest) {
        (meta.mtime, meta.mtime_nsec) = (latest, 0);
    }
    let kind = match node.kind() {
        FileType::Socket => return Ok(false),
        _ if first.is_some() => Kind::HardLink,
        FileType::Regular => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
    };
    let mut name = path.to_vec();
    if kind == Kind::Directory {
        name.extend_from_slice(if path.is_empty() { b"./" } else { b"/" });
    }
    let content = node.content().filter(|_| kind == Kind::File);
    let size = content.map_or(0, Content::len);
    let link = first.or(node.target()).unwrap_or_default();
    let header = write::Header { path: &name, kind, meta: &meta, size, link, rdev: node.rdev() };
    header.write(out).map_err(Error::Write)?;
    if let Some(content) = content {
        copy(content, out)?;
        write::pad(out, size).map_err(Error::Write)?;
    }
    Ok(true)
}

/// As `io::copy`, but says whose fault an error is.
fn copy(content: &Content, out: &mut impl Write) -> Result<()> {
    use std::io::Read;
    let mut reader = content.reader();
    let mut buffer = vec![0; (256 << 10).min(content.len() as usize)];
    loop {
        match reader.read(&mut buffer).map_err(Error::Spool)? {
            0 => return Ok(()),
            n => out.write_all(buffer.get(..n).unwrap_or_default()).map_err(Error::Write)?,
        }
    }
}

enum Encoder<W: Write> {
    Plain(Hashed<W>),
    Gzip(Box<GzEncoder<Hashed<W>>>),
    Zstd(Box<zstd::Encoder<'static, Hashed<W>>>),
}

impl<W: Write> Encoder<W> {
    fn new(out: W, options: &LayerOptions) -> Result<Self> {
        let out = Hashed::new(out);
        Ok(match options.compression {
            Compression::None => Encoder::Plain(out),
            // No time, no name, "unknown" system: the header says nothing about this machine. The fastest level: a layer is
            // read back at once by the next step, and higher ones take more time than all else in a COPY together.
            Compression::Gzip => {
                let builder = GzBuilder::new().mtime(0).operating_system(255);
                Encoder::Gzip(Box::new(builder.write(out, flate2::Compression::fast())))
            }
            Compression::Zstd => {
                Encoder::Zstd(Box::new(zstd::Encoder::new(out, 3).map_err(Error::Write)?))
            }
        })
    }

    fn finish(self) -> io::Result<Hashed<W>> {
        let mut out = match self {
            Encoder::Plain(out) => out,
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Zstd(encoder) => encoder.finish()?,
        };
        out.flush()?;
        Ok(out)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Plain(out) => out.write(buf),
            Encoder::Gzip(out) => out.write(buf),
            Encoder::Zstd(out) => out.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Flushing a compressor would change its output; `finish` writes everything.
        Ok(())
    }
}

/// Hashes and counts what goes through.
struct Hashed<W> {
    out: W,
    hash: Sha256,
    count: u64,
}

impl<W: Write> Hashed<W> {
    fn new(out: W) -> Self {
        Hashed { out, hash: Sha256::new(), count: 0 }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.out.write(buf)?;
        self.hash.update(buf.get(..n).unwrap_or_default());
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
