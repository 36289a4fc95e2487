//! The writer: a tree of metadata in memory, file contents streamed.

mod layout;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use crate::error::Error;
use crate::format::*;
use crate::{FileType, Result};
use layout::Layout;

/// A node of the tree being written. Hard links are several entries that lead to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// Counts up from 0 (the root) in the order in which nodes were added.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an inode carries besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits, `0o7777`; the type comes from the call that adds the node.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub mtime_nsec: u32,
    /// Full names and values; see [`xattr_name_is_supported`].
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Inodes in the image.
    pub inodes: u64,
    /// Bytes of the image: a multiple of 4096.
    pub bytes: u64,
    /// Bytes at its front that are no contents of files: superblock, inodes, directories. A multiple of 4096.
    pub metadata: u64,
}

/// Collects a tree, then writes it. The order of the calls does not show in the image.
#[derive(Debug)]
pub struct Writer {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    meta: Metadata,
    content: Content,
    links: u32,
}

#[derive(Debug)]
enum Content {
    Dir {
        entries: BTreeMap<Box<[u8]>, NodeId>,
        parent: NodeId,
    },
    File {
        size: u64,
        place: (u32, u64),
    },
    Symlink(Box<[u8]>),
    /// Device, fifo or socket.
    Special {
        kind: FileType,
        rdev: u32,
    },
}

impl Content {
    fn kind(&self) -> FileType {
        match self {
            Content::Dir { .. } => FileType::Directory,
            Content::File { .. } => FileType::Regular,
            Content::Symlink(_) => FileType::Symlink,
            Content::Special { kind, .. } => *kind,
        }
    }
}

/// Whether EROFS can hold an extended attribute of this name: `user.`, `trusted.`, `security.` or
/// `lustre.` with a rest of 1 to 255 bytes, or one of the two POSIX ACL names.
pub fn xattr_name_is_supported(name: &[u8]) -> bool {
    layout::split_xattr_name(name).is_some()
}

impl Writer {
    /// An empty tree with this root directory.
    pub fn new(root: Metadata) -> Writer {
        let content = Content::Dir { entries: BTreeMap::new(), parent: NodeId(0) };
        Writer { nodes: vec![Node { meta: root, content, links: 2 }] }
    }

    /// The root directory.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// Adds a directory.
    pub fn dir(&mut self, parent: NodeId, name: &[u8], meta: Metadata) -> Result<NodeId> {
        self.add(parent, name, meta, Content::Dir { entries: BTreeMap::new(), parent })
    }

    /// Adds a regular file; its `size` bytes are asked for in [`Writer::write`].
    pub fn file(
        &mut self,
        parent: NodeId,
        name: &[u8],
        meta: Metadata,
        size: u64,
    ) -> Result<NodeId> {
        self.placed_file(parent, name, meta, size, (0, 0))
    }

    /// As [`Writer::file`]; the data of all files lies in the order of their places, so that it can be asked for in the order in
    /// which the caller finds it. Files of equal places lie in the order of their inodes.
    pub fn placed_file(
        &mut self,
        parent: NodeId,
        name: &[u8],
        meta: Metadata,
        size: u64,
        place: (u32, u64),
    ) -> Result<NodeId> {
        self.add(parent, name, meta, Content::File { size, place })
    }

    /// Adds a symbolic link with a target of 1 to 4095 bytes. Its mode is 0777, as Linux's are.
    pub fn symlink(
        &mut self,
        parent: NodeId,
        name: &[u8],
        meta: Metadata,
        target: &[u8],
    ) -> Result<NodeId> {
        if target.is_empty() || target.len() >= BLOCK || target.contains(&0) {
            return Err(Error::InvalidTree("a symbolic link's target"));
        }
        let meta = Metadata { mode: 0o777, ..meta };
        self.add(parent, name, meta, Content::Symlink(target.into()))
    }

    /// Adds a device, fifo or socket. `rdev` is in [`make_dev`] form and only used for devices.
    pub fn special(
        &mut self,
        parent: NodeId,
        name: &[u8],
        meta: Metadata,
        kind: FileType,
        rdev: u32,
    ) -> Result<NodeId> {
        let rdev = match kind {
            FileType::CharDevice | FileType::BlockDevice => rdev,
            FileType::Fifo | FileType::Socket => 0,
            _ => return Err(Error::InvalidTree("not a device, fifo or socket")),
        };
        self.add(parent, name, meta, Content::Special { kind, rdev })
    }

    /// Adds another name for a node that is not a directory.
    pub fn link(&mut self, parent: NodeId, name: &[u8], target: NodeId) -> Result<()> {
        match self.nodes.get(target.index()) {
            None => return Err(Error::InvalidTree("no such node")),
            Some(Node { content: Content::Dir { .. }, .. }) => {
                return Err(Error::InvalidTree("a hard link to a directory"));
            }
            Some(_) => {}
        }
        self.enter(parent, name, target)
    }

    /// What [`Writer::write`] would write.
    pub fn measure(&self) -> Result<Summary> {
        Ok(Layout::new(self)?.summary())
    }

    /// Writes the image front to back. `open` is called once for each regular file that is not
    /// empty, in the order of the image, and must give exactly the declared number of bytes.
    pub fn write<W, R, O>(&self, out: W, mut open: O) -> Result<Summary>
    where
        W: Write,
        R: Read,
        O: FnMut(NodeId) -> io::Result<R>,
    {
        let layout = Layout::new(self)?;
        let summary = layout.summary();
        let mut out = io::BufWriter::with_capacity(COPY_BUFFER, out);
        out.write_all(&layout.encode(self)?)?;
        let mut buffer = vec![0; COPY_BUFFER];
        for &id in &layout.files {
            if let Some(Node { content: Content::File { size: 1.., .. }, .. }) =
                self.nodes.get(id.index())
            {
                let size = self.file_size(id);
                copy_exactly(&mut open(id)?, &mut out, size, &mut buffer)?
                    .ok_or(Error::ContentLength { node: id.0, declared: size })?;
                pad_block(&mut out, size)?;
            }
        }
        out.flush()?;
        Ok(summary)
    }

    fn file_size(&self, id: NodeId) -> u64 {
        match self.nodes.get(id.index()) {
            Some(Node { content: Content::File { size, .. }, .. }) => *size,
            _ => 0,
        }
    }

    fn add(
        &mut self,
        parent: NodeId,
        name: &[u8],
        meta: Metadata,
        content: Content,
    ) -> Result<NodeId> {
        if meta.mtime_nsec >= 1_000_000_000 {
            return Err(Error::InvalidTree("nanoseconds out of range"));
        }
        let id =
            u32::try_from(self.nodes.len()).map_err(|_| Error::InvalidTree("too many nodes"))?;
        self.nodes.push(Node { meta, content, links: 0 });
        if let Err(error) = self.enter(parent, name, NodeId(id)) {
            self.nodes.pop();
            return Err(error);
        }
        Ok(NodeId(id))
    }

    fn enter(&mut self, parent: NodeId, name: &[u8], id: NodeId) -> Result<()> {
        check_name(name)?;
        let is_dir = |n: &Node| n.content.kind() == FileType::Directory;
        let child_is_dir = self.nodes.get(id.index()).is_some_and(is_dir);
        let Some(Node { content: Content::Dir { entries, .. }, links, .. }) =
            self.nodes.get_mut(parent.index())
        else {
            return Err(Error::InvalidTree("the parent is not a directory"));
        };
        if entries.contains_key(name) {
            return Err(Error::DuplicateName(name.to_vec()));
        }
        entries.insert(name.into(), id);
        // A directory is also linked by its own `.`, and its parent by its `..`.
        *links = links.saturating_add(u32::from(child_is_dir));
        if let Some(node) = self.nodes.get_mut(id.index()) {
            node.links = node.links.saturating_add(1 + u32::from(child_is_dir));
        }
        Ok(())
    }
}

const COPY_BUFFER: usize = 256 << 10;

fn check_name(name: &[u8]) -> Result<()> {
    let what = match name {
        b"" => "empty",
        b"." | b".." => "reserved",
        n if n.len() > NAME_MAX => "longer than 255 bytes",
        n if n.contains(&b'/') || n.contains(&0) => "contains a slash or NUL",
        _ => return Ok(()),
    };
    Err(Error::InvalidName { name: name.to_vec(), what })
}

/// `None` when the reader has fewer or more than `size` bytes.
fn copy_exactly(
    from: &mut impl Read,
    to: &mut impl Write,
    size: u64,
    buffer: &mut [u8],
) -> io::Result<Option<()>> {
    let mut left = size;
    loop {
        // One byte more than is left, so that a longer file is noticed.
        let want = buffer.len().min(usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX));
        let chunk = buffer.get_mut(..want).unwrap_or_default();
        match from.read(chunk) {
            Ok(0) => return Ok((left == 0).then_some(())),
            Ok(n) if n as u64 > left => return Ok(None),
            Ok(n) => {
                to.write_all(chunk.get(..n).unwrap_or_default())?;
                left -= n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn pad_block(out: &mut impl Write, written: u64) -> io::Result<()> {
    let pad = (written.next_multiple_of(BLOCK_SIZE) - written) as usize;
    out.write_all([0; BLOCK].get(..pad).unwrap_or_default())
}
