//! The files of a sandbox as an archive: what has changed, or all, as a plain tar or as an OCI layer.

use crate::diff::{Change, Difference, Tree as Marks};
use crate::error::Error;
use layers::{
    Compression, Content, FileType, LayerInfo, LayerOptions, Metadata, NewNode, NodeId, Spool, Tree,
};
use runtime::{Files, OpenFlags, Stat};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, Write};

const TYPE: u32 = 0o170_000;
const NS: u64 = 1_000_000_000;
/// Directories that every system has and whose content is nobody's file.
const EMPTY: [(&str, u32); 3] = [("dev", 0o755), ("proc", 0o555), ("sys", 0o555)];

/// Which files are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those that were added or changed.
    #[default]
    Changes,
    /// All.
    All,
}

/// How.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A tar archive, which says nothing of what was removed.
    #[default]
    Tar,
    /// A layer of an OCI image: tar and gzip, with whiteouts for what was removed.
    Layer,
}

/// An archive that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Digest of its bytes, `sha256:…`.
    pub digest: String,
    /// Digest of the uncompressed archive (`diff_id` in an image's configuration).
    pub diff_id: String,
    /// Bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// Entries; with 0 nothing has changed.
    pub entries: u64,
}

/// Writes the files that differ, of at most so many bytes.
pub(crate) fn changes(
    files: &Files,
    differences: &[Difference],
    most: u64,
    format: Format,
    out: impl Write,
) -> Result<Exported, Error> {
    let mut made = Made::new(files, most)?;
    // What was there, as far as that says what is to be removed.
    let mut before = Tree::new();
    *before.meta_mut(before.root()) = made.tree.node(made.tree.root()).meta.clone();
    for difference in differences {
        let path = difference.raw_path();
        match difference.change {
            Change::Added => made.add(path)?,
            Change::Changed => {
                made.add(path)?;
                if let Some(dir) = made.directory(path) {
                    // Any other mode makes it one that has changed.
                    let meta = Metadata { mode: dir.mode ^ 1, ..dir.clone() };
                    made.parents_in(&mut before, path)?;
                    before.insert(path, meta, NewNode::Dir).map_err(failed)?;
                }
            }
            // A plain archive says nothing of it.
            Change::Removed if format == Format::Tar => {}
            Change::Removed => {
                made.parents(path)?;
                made.parents_in(&mut before, path)?;
                let node = match difference.kind {
                    crate::files::FileType::Dir => NewNode::Dir,
                    _ => NewNode::File(Content::EMPTY),
                };
                before.insert(path, Metadata::default(), node).map_err(failed)?;
            }
        }
    }
    match format {
        Format::Tar => made.write(&Tree::new(), format, out),
        Format::Layer => made.write(&before, format, out),
    }
}

/// Writes all files, as far as they are those of the sandbox, of at most so many bytes.
pub(crate) fn all(
    files: &Files,
    marks: &Marks,
    most: u64,
    format: Format,
    out: impl Write,
) -> Result<Exported, Error> {
    let mut made = Made::new(files, most)?;
    for (name, mode) in EMPTY {
        let meta = Metadata { mode, ..Metadata::default() };
        made.tree.insert(name, meta, NewNode::Dir).map_err(failed)?;
    }
    for path in marks.paths() {
        made.add(path)?;
    }
    made.write(&Tree::new(), format, out)
}

/// The tree that is to be written, as it is put together.
struct Made<'a> {
    files: &'a Files,
    spool: Spool,
    tree: Tree,
    /// Files with several names, by device and inode number.
    links: HashMap<(u64, u64), NodeId>,
    /// Bytes of contents that there may be, and that are left.
    most: u64,
    left: u64,
}

impl<'a> Made<'a> {
    fn new(files: &'a Files, most: u64) -> Result<Made<'a>, Error> {
        let spool = Spool::new().map_err(failed)?;
        let mut tree = Tree::new();
        let root = files.lstat("/").map_err(Error::io("look at /"))?;
        *tree.meta_mut(tree.root()) = metadata(&root);
        Ok(Made { files, spool, tree, links: HashMap::new(), most, left: most })
    }

    /// Adds a file as it is now, with the directories above it. One that is gone meanwhile is not added.
    fn add(&mut self, path: &[u8]) -> Result<(), Error> {
        let stat = match self.files.lstat(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            stat => stat.map_err(Error::io(format!("look at {}", shown(path))))?,
        };
        self.parents(path)?;
        let attributes = &stat.attributes;
        let inode = (attributes.dev, attributes.ino);
        if let Some(first) = self.links.get(&inode) {
            return self.tree.link(path, *first).map_err(failed);
        }
        let node = match self.node(path, &stat) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            node => node?,
        };
        let is_dir = matches!(node, NewNode::Dir);
        let id = match self.directory_id(path) {
            // It was made as one above another.
            Some(id) if is_dir => id,
            _ => self.tree.insert(path, metadata(&stat), node).map_err(failed)?,
        };
        if !is_dir && attributes.nlink > 1 {
            self.links.insert(inode, id);
        }
        Ok(())
    }

    fn node(&mut self, path: &[u8], stat: &Stat) -> Result<NewNode, Error> {
        let special = |kind| NewNode::Special { kind, rdev: device(stat.rdev) };
        Ok(match stat.attributes.mode & TYPE {
            0o040_000 => NewNode::Dir,
            0o120_000 => {
                let target = self.files.readlink(path);
                let target = target.map_err(Error::io(format!("read {}", shown(path))))?;
                NewNode::Symlink(target.into_boxed_slice())
            }
            0o010_000 => special(FileType::Fifo),
            0o020_000 => special(FileType::CharDevice),
            0o060_000 => special(FileType::BlockDevice),
            // Layers leave them out.
            0o140_000 => special(FileType::Socket),
            _ => NewNode::File(self.content(path, stat.attributes.size)?),
        })
    }

    /// What a file has, of the size that it had just now.
    fn content(&mut self, path: &[u8], size: u64) -> Result<Content, Error> {
        // A file may say that it is larger than all memory, and be nothing but holes.
        self.left = self.left.checked_sub(size).ok_or_else(|| {
            let most = self.most;
            Error::Invalid(format!("the files have more than {most} bytes (holes count)"))
        })?;
        let flags = OpenFlags { read: true, no_follow: true, ..OpenFlags::default() };
        let what = || format!("read {}", shown(path));
        let mut file = self.files.open(path, flags, 0).map_err(|e| Error::io(what())(e))?;
        match self.spool.store_from(&mut file, size) {
            Err(layers::Error::Truncated) => {
                let why = "it became shorter while it was read; pause or wait, and try again";
                Err(Error::io(what())(io::Error::other(why)))
            }
            content => content.map_err(failed),
        }
    }

    /// Makes the directories above a path, as they are.
    fn parents(&mut self, path: &[u8]) -> Result<(), Error> {
        for dir in above(path) {
            if self.directory_id(dir).is_none() {
                let meta = match self.files.lstat(dir) {
                    Ok(stat) if stat.attributes.mode & TYPE == 0o040_000 => metadata(&stat),
                    // It is gone, or something else now: what was below it needs no more than its name.
                    _ => return Ok(()),
                };
                self.tree.insert(dir, meta, NewNode::Dir).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The same in another tree, where directories are as in this one unless they are there.
    fn parents_in(&self, other: &mut Tree, path: &[u8]) -> Result<(), Error> {
        for dir in above(path) {
            if find(other, dir).is_none() {
                let meta = self.directory(dir).cloned().unwrap_or_default();
                other.insert(dir, meta, NewNode::Dir).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn directory_id(&self, path: &[u8]) -> Option<NodeId> {
        find(&self.tree, path).filter(|id| self.tree.node(*id).is_dir())
    }

    fn directory(&self, path: &[u8]) -> Option<&Metadata> {
        self.directory_id(path).map(|id| &self.tree.node(id).meta)
    }

    fn write(&self, before: &Tree, format: Format, out: impl Write) -> Result<Exported, Error> {
        let compression = match format {
            Format::Tar => Compression::None,
            Format::Layer => Compression::Gzip,
        };
        let options = LayerOptions { compression, ..LayerOptions::default() };
        let LayerInfo { digest, diff_id, size, media_type, entries } =
            layers::diff(before, &self.tree, out, &options).map_err(failed)?;
        let media_type = match format {
            Format::Tar => "application/x-tar",
            Format::Layer => media_type,
        };
        let media_type = media_type.to_owned();
        Ok(Exported { digest, diff_id, size, media_type, entries })
    }
}

/// The directories above a path, the highest first.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0);
    ends.filter_map(|(at, _)| path.get(..at))
}

/// What stands at a path of plain names.
fn find(tree: &Tree, path: &[u8]) -> Option<NodeId> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    names.into_iter().try_fold(tree.root(), |dir, name| tree.child(dir, name))
}

fn metadata(stat: &Stat) -> Metadata {
    let a = &stat.attributes;
    Metadata {
        mode: a.mode & 0o7777,
        uid: a.uid,
        gid: a.gid,
        mtime: i64::try_from(a.mtime / NS).unwrap_or(i64::MAX),
        mtime_nsec: (a.mtime % NS) as u32,
        ..Metadata::default()
    }
}

/// A device number as trees have it: 12 and 20 bits, of Linux's.
fn device(rdev: u64) -> u32 {
    let major = (rdev >> 8 & 0xfff) as u32;
    let minor = (rdev & 0xff | rdev >> 12 & 0xfff00) as u32;
    rootfs::make_dev(major, minor)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn failed(error: layers::Error) -> Error {
    Error::io("write the archive")(io::Error::other(error))
}
