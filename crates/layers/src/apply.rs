//! Applies layers to a tree.

use std::io::{BufRead, Read};

use crate::blob::Blob;
use crate::error::lossy;
use crate::limits::Usage;
use crate::spool::{Fault, Lode, Open};
use crate::tar::Kind;
use crate::tar::read::{Archive, Entry};
use crate::tree::{Cursor, NodeId, Outcome};
use crate::{Content, Error, FileType, Limits, Metadata, NewNode, Result, Spool, Tree};

const WHITEOUT: &[u8] = b".wh.";
/// Names of AUFS's own bookkeeping start so; only the opaque marker among them means something.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Applies layers, lowest first. After an error the tree is of no use.
#[derive(Debug)]
pub struct Flatten {
    tree: Tree,
    spool: Spool,
    limits: Limits,
    usage: Usage,
    /// Where the contents of the layer at hand stay, and what of them was spooled all the same.
    lode: Option<Lode>,
    spooled: u64,
}

/// Files of a layer that are not longer are spooled, as long as they are not too many: they are read one by one (`/etc/passwd`).
const SMALL: u64 = 16 << 10;
const SMALL_ONES: u64 = 16 << 20;

/// What applying a layer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// sha256 of the uncompressed archive, `sha256:…`.
    pub diff_id: String,
    /// Entries of the archive.
    pub entries: u64,
}

impl Flatten {
    /// Starts with an empty tree.
    pub fn new(spool: Spool, limits: Limits) -> Flatten {
        Flatten::onto(Tree::new(), spool, limits)
    }

    /// Starts with a tree that is there, as for the changes of a RUN step.
    pub fn onto(tree: Tree, spool: Spool, limits: Limits) -> Flatten {
        Flatten { tree, spool, limits, usage: Usage::default(), lode: None, spooled: 0 }
    }

    /// The tree.
    pub fn finish(self) -> Tree {
        self.tree
    }

    /// Applies one layer, to its last byte. `name` is for messages (the blob's digest); the
    /// compression is recognised by content. With a `diff_id`, the layer must have it.
    pub fn layer(&mut self, blob: impl Read, name: &str, diff_id: Option<&str>) -> Result<Applied> {
        self.apply_named(blob, name, diff_id, true)
    }

    /// As [`Flatten::layer`], of a blob that stays where it is: file contents are read there when they are wanted, best in the
    /// order in which they lie.
    pub fn stored_layer(
        &mut self,
        open: Open,
        name: &str,
        diff_id: Option<&str>,
    ) -> Result<Applied> {
        let blob = open().map_err(Error::Read)?;
        self.lode = Some(Lode::new(open, self.spool.clone()));
        self.spooled = 0;
        let applied = self.apply_named(blob, name, diff_id, true);
        self.lode = None;
        applied
    }

    /// Unpacks an archive that is not a layer (ADD): no name is a whiteout.
    pub fn archive(&mut self, archive: impl Read, name: &str) -> Result<Applied> {
        self.apply_named(archive, name, None, false)
    }

    fn apply_named(
        &mut self,
        blob: impl Read,
        name: &str,
        diff_id: Option<&str>,
        whiteouts: bool,
    ) -> Result<Applied> {
        let mut current = None;
        let result = self.apply(blob, diff_id, whiteouts, &mut current);
        result.map_err(|cause| Error::Layer {
            layer: name.to_owned(),
            entry: current,
            cause: Box::new(cause),
        })
    }

    fn apply(
        &mut self,
        blob: impl Read,
        diff_id: Option<&str>,
        whiteouts: bool,
        current: &mut Option<String>,
    ) -> Result<Applied> {
        self.tree.begin_layer()?;
        let mut archive = Archive::new(Blob::new(blob, self.limits)?, self.limits);
        let mut entries = 0;
        while let Some(entry) = archive.next()? {
            *current = Some(lossy(entry.path.get(..256).unwrap_or(&entry.path)));
            entries += 1;
            self.account(&entry)?;
            self.entry(entry, whiteouts, &mut archive)?;
            *current = None;
        }
        let (found, len) = archive.into_inner().finish()?;
        if let Some(lode) = &self.lode {
            lode.set_len(len);
        }
        match diff_id {
            Some(expected) if expected != found => {
                Err(Error::DiffId { expected: expected.to_owned(), found })
            }
            _ => Ok(Applied { diff_id: found, entries }),
        }
    }

    fn account(&mut self, entry: &Entry) -> Result<()> {
        let limits = &self.limits;
        for path in [&entry.path, &entry.link] {
            if path.len() > limits.path {
                return Err(Error::Limit { what: "bytes of a path", limit: limits.path as u64 });
            }
        }
        let xattrs: usize =
            entry.meta.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let metadata = (entry.path.len() + entry.link.len() + xattrs) as u64;
        let stored: u64 = entry.content.segments.iter().map(|(_, len)| len).sum();
        let holes = entry.content.size.saturating_sub(stored);
        let usage = &mut self.usage;
        for (used, add, limit, what) in [
            (&mut usage.entries, 1, limits.entries, "entries"),
            (&mut usage.bytes, entry.content.size, limits.bytes, "bytes of file contents"),
            (&mut usage.holes, holes, limits.holes, "bytes of holes in files"),
            (&mut usage.metadata, metadata, limits.metadata, "bytes of names and attributes"),
        ] {
            *used = used.saturating_add(add);
            if *used > limit {
                return Err(Error::Limit { what, limit });
            }
        }
        Ok(())
    }

    fn entry<R: BufRead>(
        &mut self,
        entry: Entry,
        whiteouts: bool,
        archive: &mut Archive<Blob<R>>,
    ) -> Result<()> {
        let inside;
        let parts = match whiteouts {
            true => components(&entry.path)?,
            false => {
                inside = without_parents(&entry.path);
                components(&inside)?
            }
        };
        let Some((name, parents)) = parts.split_last() else {
            let body = if entry.kind == Kind::Directory { Some(NewNode::Dir) } else { None };
            return match body {
                Some(dir) => self.tree.set_root(metadata(entry.meta), &dir).map(drop),
                None => Err(Error::RootNotDirectory),
            };
        };
        if whiteouts && parts.iter().any(|p| p.starts_with(WHITEOUT_META) && *p != OPAQUE) {
            return Ok(());
        }
        if whiteouts && parents.iter().any(|p| p.starts_with(WHITEOUT)) {
            return Err(Error::InvalidWhiteout);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT).filter(|_| whiteouts) {
            return self.whiteout(parents, name, hidden);
        }
        let dir = self.parent(parents)?;
        let special = |kind| NewNode::Special { kind, rdev: entry.rdev };
        let body = match entry.kind {
            Kind::HardLink => return self.hard_link(dir, name, &entry.link),
            Kind::File => {
                let place = (self.tree.layer(), archive.source().position());
                NewNode::File(self.content(&entry, archive)?.placed(place))
            }
            Kind::Directory => NewNode::Dir,
            Kind::Symlink => NewNode::Symlink(entry.link.into()),
            Kind::CharDevice => special(FileType::CharDevice),
            Kind::BlockDevice => special(FileType::BlockDevice),
            Kind::Fifo => special(FileType::Fifo),
        };
        self.tree.put(dir, name, metadata(entry.meta), body).map(drop)
    }

    /// The content of a file: where it lies, if it may stay there and has no holes.
    fn content<R: BufRead>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<Blob<R>>,
    ) -> Result<Content> {
        let map = &entry.content;
        let small = map.size <= SMALL && self.spooled < SMALL_ONES;
        if let Some(lode) = self.lode.as_ref().filter(|_| !small)
            && map.segments == [(0, map.size)]
        {
            return Ok(Content::in_layer(lode, archive.source().position(), map.size));
        }
        self.spooled += map.size;
        let content = self.spool.append(&mut archive.data(), &map.segments, map.size);
        content.map_err(|fault| match fault {
            Fault::Source(e) => Error::from_stream(e),
            Fault::Short => Error::Truncated,
            Fault::Spool(e) => Error::Spool(e),
        })
    }

    /// The directory that an entry goes into. Links on the way are followed inside the tree, as
    /// merged `/usr` needs; what is missing is made.
    fn parent(&mut self, parts: &[&[u8]]) -> Result<NodeId> {
        let path = parts.join(&b'/');
        let meta = Metadata { mode: 0o755, ..Metadata::default() };
        let mut cursor = Cursor::new(&path, self.tree.root());
        let found = loop {
            match self.tree.advance(&mut cursor, true)? {
                Outcome::Found { node, .. } if self.tree.node(node).is_dir() => break node,
                Outcome::Found { .. } => return Err(Error::NotDirectory(lossy(&path))),
                Outcome::Missing { dir, name } => {
                    let made = self.tree.put(dir, &name, meta.clone(), NewNode::Dir)?;
                    cursor.enter(made);
                }
            }
        };
        for dir in cursor.dirs() {
            self.tree.touch(*dir);
        }
        self.tree.touch(found);
        Ok(found)
    }

    fn whiteout(&mut self, parents: &[&[u8]], name: &[u8], hidden: &[u8]) -> Result<()> {
        let opaque = name == OPAQUE;
        if !opaque && matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::InvalidWhiteout);
        }
        // Nothing is hidden where nothing is.
        let parent = self.tree.lookup(parents.join(&b'/'))?;
        if let Some(dir) = parent.filter(|dir| self.tree.node(*dir).is_dir()) {
            self.tree.remove_lower(dir, (!opaque).then_some(hidden));
        }
        Ok(())
    }

    fn hard_link(&mut self, dir: NodeId, name: &[u8], link: &[u8]) -> Result<()> {
        let missing = || Error::MissingLinkTarget(lossy(link));
        let path = components(link)?.join(&b'/');
        let target = match self.tree.lookup_nofollow(&path)? {
            Some(target) => target,
            None => return Err(missing()),
        };
        match self.tree.node(target).is_dir() {
            true => Err(Error::LinkToDirectory(lossy(link))),
            false => self.tree.put_link(dir, name, target),
        }
    }
}

/// A path of an ADDed archive with its `..` carried out, which other builders do by the letters, not by the files; none leads out.
fn without_parents(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// The parts of a path in an archive; a leading slash and `.` mean nothing, `..` is refused.
fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let parts: Vec<&[u8]> =
        path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(Error::ParentReference(lossy(path)));
    }
    match parts.iter().find(|p| p.len() > 255 || p.contains(&0)) {
        Some(part) => Err(Error::InvalidName(lossy(part))),
        None => Ok(parts),
    }
}

/// Linux has no attributes of other namespaces; unpackers drop them (ENOTSUP).
fn metadata(mut meta: Metadata) -> Metadata {
    meta.xattrs.retain(|name, _| rootfs::xattr_name_is_supported(name));
    meta
}
