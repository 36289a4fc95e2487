//! Where everything goes: superblock, inodes with their inline tails, directory blocks, file data.
//!
//! The metadata area starts at block 0, so that a node's number is its byte offset divided by 32.

use super::{Content, Node, NodeId, Summary, Writer};
use crate::error::Error;
use crate::format::*;
use crate::{FileType, Result};

/// One node's place in the image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Byte offset of the inode, a multiple of 64, so that it lies within one block.
    offset: u64,
    /// Serial number, from 1, in the order of the image.
    ino: u32,
    /// First data block.
    block: u32,
    /// Bytes of content.
    size: u64,
    /// Bytes of the content that follow the inode.
    tail: usize,
    inline: bool,
}

/// The plan of a whole image.
#[derive(Debug)]
pub(super) struct Layout {
    /// Reachable nodes in the order of their inodes, and of the data of those that are no files.
    order: Vec<NodeId>,
    /// Regular files in the order of their data.
    pub files: Vec<NodeId>,
    /// Indexed by `NodeId`.
    places: Vec<Place>,
    /// Blocks of superblock, inodes and directories: what `encode` gives.
    meta_blocks: u64,
    /// Blocks of the whole image.
    pub blocks: u64,
}

impl Layout {
    pub fn new(tree: &Writer) -> Result<Layout> {
        let order = inode_order(tree);
        let mut places = vec![Place::default(); tree.nodes.len()];
        let mut offset = (SUPER_OFFSET + SUPER_SIZE) as u64;
        for (ino, (id, node)) in (1..).zip(with_nodes(tree, &order)) {
            let size = content_size(node)?;
            let core = (EXTENDED_INODE + xattr_bytes(node)?) as u64;
            let tail = match node.content {
                Content::Dir { .. } | Content::Symlink(_) => size % BLOCK_SIZE,
                _ => 0,
            };
            let inline = tail > 0 && core + tail <= BLOCK_SIZE;
            let extent = core + if inline { tail } else { 0 };
            if extent <= BLOCK_SIZE && offset % BLOCK_SIZE + extent > BLOCK_SIZE {
                offset = offset.next_multiple_of(BLOCK_SIZE);
            }
            let tail = if inline { tail as usize } else { 0 };
            places[id.index()] = Place { offset, ino, block: 0, size, tail, inline };
            offset = (offset + extent).next_multiple_of(EXTENDED_INODE as u64);
        }
        let place = |id: &NodeId| match tree.nodes[id.index()].content {
            Content::File { place, .. } => Some(place),
            _ => None,
        };
        let mut files: Vec<NodeId> =
            order.iter().copied().filter(|id| place(id).is_some()).collect();
        files.sort_by_key(place);
        let mut layout =
            Layout { order, files, places, meta_blocks: 0, blocks: offset.div_ceil(BLOCK_SIZE) };
        // Directories and long links first: they are metadata and stay close to the inodes.
        let is_file = |id: &NodeId| tree.nodes[id.index()].content.kind() == FileType::Regular;
        for index in 0..layout.order.len() {
            let id = layout.order[index];
            if !is_file(&id) {
                layout.place_data(id)?;
            }
        }
        layout.meta_blocks = layout.blocks;
        for index in 0..layout.files.len() {
            layout.place_data(layout.files[index])?;
        }
        Ok(layout)
    }

    pub fn summary(&self) -> Summary {
        Summary {
            inodes: self.order.len() as u64,
            bytes: self.blocks * BLOCK_SIZE,
            metadata: self.meta_blocks * BLOCK_SIZE,
        }
    }

    fn place_data(&mut self, id: NodeId) -> Result<()> {
        let place = &mut self.places[id.index()];
        let count = (place.size - place.tail as u64).div_ceil(BLOCK_SIZE);
        let end = self.blocks + count;
        if end > u64::from(u32::MAX) {
            return Err(Error::InvalidTree("the image is larger than 16 TiB"));
        }
        // mkfs's "no block" marks content that has none.
        place.block = if count == 0 { u32::MAX } else { self.blocks as u32 };
        self.blocks = end;
        Ok(())
    }

    /// The bytes of the superblock, all inodes and all directories.
    pub fn encode(&self, tree: &Writer) -> Result<Vec<u8>> {
        let len = usize::try_from(self.meta_blocks * BLOCK_SIZE)
            .map_err(|_| Error::InvalidTree("the metadata does not fit in memory"))?;
        let mut image = vec![0; len];
        for (id, node) in with_nodes(tree, &self.order) {
            let place = self.places[id.index()];
            let mut at = place.offset as usize;
            put(&mut image, &mut at, &inode(node, &place)?);
            put(&mut image, &mut at, &encode_xattrs(node)?);
            let content = match &node.content {
                Content::Dir { .. } => self.encode_dir(tree, id, node),
                Content::Symlink(target) => target.to_vec(),
                _ => continue,
            };
            let (blocks, tail) = content.split_at(content.len() - place.tail);
            put(&mut image, &mut at, tail);
            if !blocks.is_empty() {
                put(&mut image, &mut (place.block as usize * BLOCK), blocks);
            }
        }
        self.superblock(&mut image);
        Ok(image)
    }

    fn superblock(&self, image: &mut [u8]) {
        let root_nid = self.places[0].offset / SLOT;
        let mut field = |at: usize, bytes: &[u8]| put(image, &mut (SUPER_OFFSET + at), bytes);
        field(sb::MAGIC, &MAGIC.to_le_bytes());
        field(sb::FEATURE_COMPAT, &(COMPAT_SB_CHKSUM | COMPAT_MTIME).to_le_bytes());
        field(sb::BLKSZBITS, &[BLOCK_BITS]);
        field(sb::ROOT_NID, &(root_nid as u16).to_le_bytes());
        field(sb::INOS, &(self.order.len() as u64).to_le_bytes());
        field(sb::BLOCKS, &(self.blocks as u32).to_le_bytes());
        // Build time, UUID and volume name stay zero: nothing but the tree shows in the image.
        let sum = crc32c(&[&image[SUPER_OFFSET..BLOCK]]);
        put(image, &mut (SUPER_OFFSET + sb::CHECKSUM), &sum.to_le_bytes());
    }

    fn encode_dir(&self, tree: &Writer, id: NodeId, node: &Node) -> Vec<u8> {
        let mut content = Vec::new();
        for block in dir_blocks(&dir_entries(id, node)) {
            content.resize(content.len().next_multiple_of(BLOCK), 0);
            let mut name_offset = block.len() * DIRENT;
            for (name, target) in block {
                let kind = tree.nodes[target.index()].content.kind();
                let nid = self.places[target.index()].offset / SLOT;
                content.extend_from_slice(&nid.to_le_bytes());
                content.extend_from_slice(&(name_offset as u16).to_le_bytes());
                content.extend_from_slice(&[kind as u8, 0]);
                name_offset += name.len();
            }
            content.extend(block.iter().flat_map(|(name, _)| *name));
        }
        content
    }
}

/// The root, then directory by directory: the inodes of one directory lie side by side.
fn inode_order(tree: &Writer) -> Vec<NodeId> {
    let mut seen = vec![false; tree.nodes.len()];
    let mut order = vec![tree.root()];
    let mut pending = vec![tree.root()];
    while let Some(dir) = pending.pop() {
        let Content::Dir { entries, .. } = &tree.nodes[dir.index()].content else { continue };
        order.extend(entries.values().filter(|id| !std::mem::replace(&mut seen[id.index()], true)));
        let is_dir = |id: &&NodeId| tree.nodes[id.index()].content.kind() == FileType::Directory;
        pending.extend(entries.values().filter(is_dir).rev());
    }
    order
}

fn with_nodes<'t>(
    tree: &'t Writer,
    order: &'t [NodeId],
) -> impl Iterator<Item = (NodeId, &'t Node)> {
    order.iter().map(|id| (*id, &tree.nodes[id.index()]))
}

fn content_size(node: &Node) -> Result<u64> {
    Ok(match &node.content {
        Content::Dir { .. } => {
            // `.` and `..` take part in the packing; which nodes they lead to does not.
            let entries = dir_entries(NodeId(0), node);
            let blocks = dir_blocks(&entries);
            let last = blocks.last().map_or(0, |b| b.iter().map(dirent_bytes).sum::<usize>());
            (blocks.len() as u64 - 1) * BLOCK_SIZE + last as u64
        }
        Content::File { size, .. } if *size >= u64::from(u32::MAX) * BLOCK_SIZE => {
            return Err(Error::InvalidTree("a file is larger than 16 TiB"));
        }
        Content::File { size, .. } => *size,
        Content::Symlink(target) => target.len() as u64,
        Content::Special { .. } => 0,
    })
}

/// All entries with `.` and `..`, in the byte order that lookups rely on.
fn dir_entries(id: NodeId, node: &Node) -> Vec<(&[u8], NodeId)> {
    let Content::Dir { entries, parent } = &node.content else { return Vec::new() };
    let mut all: Vec<(&[u8], NodeId)> = entries.iter().map(|(n, id)| (&**n, *id)).collect();
    all.extend([(&b"."[..], id), (&b".."[..], *parent)]);
    all.sort_unstable_by_key(|(name, _)| *name);
    all
}

fn dirent_bytes(entry: &(&[u8], NodeId)) -> usize {
    DIRENT + entry.0.len()
}

/// Cuts the entries into runs that fill one block each.
fn dir_blocks<'e, 'n>(mut entries: &'e [(&'n [u8], NodeId)]) -> Vec<&'e [(&'n [u8], NodeId)]> {
    let mut blocks = Vec::new();
    while !entries.is_empty() {
        let (mut used, mut count) = (0, 0);
        while let Some(entry) = entries.get(count) {
            used += dirent_bytes(entry);
            if used > BLOCK {
                break;
            }
            count += 1;
        }
        // A name has at most 255 bytes: each block takes at least one entry.
        let (block, rest) = entries.split_at(count);
        blocks.push(block);
        entries = rest;
    }
    blocks
}

fn inode(node: &Node, place: &Place) -> Result<[u8; EXTENDED_INODE]> {
    let kind = node.content.kind();
    let icount = match xattr_bytes(node)? {
        0 => 0,
        n => (n - XATTR_IBODY_HEADER) / 4 + 1,
    } as u16;
    let layout = if place.inline { LAYOUT_FLAT_INLINE } else { LAYOUT_FLAT_PLAIN };
    let union = match node.content {
        Content::Special { rdev, .. } => rdev,
        _ => place.block,
    };
    let mode = (kind.mode_bits() | (node.meta.mode & 0o7777)) as u16;
    let mut b = [0; EXTENDED_INODE];
    let mut at = 0;
    put(&mut b, &mut at, &(1 | layout << 1).to_le_bytes());
    put(&mut b, &mut at, &icount.to_le_bytes());
    put(&mut b, &mut at, &mode.to_le_bytes());
    put(&mut b, &mut at, &[0; 2]);
    put(&mut b, &mut at, &place.size.to_le_bytes());
    put(&mut b, &mut at, &union.to_le_bytes());
    put(&mut b, &mut at, &place.ino.to_le_bytes());
    put(&mut b, &mut at, &node.meta.uid.to_le_bytes());
    put(&mut b, &mut at, &node.meta.gid.to_le_bytes());
    put(&mut b, &mut at, &node.meta.mtime.to_le_bytes());
    put(&mut b, &mut at, &node.meta.mtime_nsec.to_le_bytes());
    put(&mut b, &mut at, &node.links.to_le_bytes());
    Ok(b)
}

/// The namespace index and the rest of a full attribute name.
pub(super) fn split_xattr_name(name: &[u8]) -> Option<(u8, &[u8])> {
    XATTR_PREFIXES.iter().find_map(|(index, prefix)| {
        let rest = name.strip_prefix(prefix.as_bytes())?;
        // A prefix with a dot is a namespace and needs a rest; the ACL names are whole.
        let valid = prefix.ends_with('.') != rest.is_empty() && rest.len() <= NAME_MAX;
        valid.then_some((*index, rest))
    })
}

fn xattr_bytes(node: &Node) -> Result<usize> {
    let mut total = 0;
    for (name, value) in &node.meta.xattrs {
        let invalid = |what| Error::InvalidXattr { name: name.clone(), what };
        let (_, rest) = split_xattr_name(name).ok_or(invalid("unknown namespace or bad name"))?;
        if value.len() > usize::from(u16::MAX) {
            return Err(invalid("the value is longer than 65535 bytes"));
        }
        total += (XATTR_ENTRY_HEADER + rest.len() + value.len()).next_multiple_of(4);
        if total / 4 + 1 > usize::from(u16::MAX) {
            return Err(invalid("the attributes of one file are longer than 256 KiB"));
        }
    }
    Ok(if total == 0 { 0 } else { XATTR_IBODY_HEADER + total })
}

fn encode_xattrs(node: &Node) -> Result<Vec<u8>> {
    let mut area = vec![0; xattr_bytes(node)?];
    let mut at = XATTR_IBODY_HEADER;
    for (name, value) in &node.meta.xattrs {
        let Some((index, rest)) = split_xattr_name(name) else { continue };
        put(&mut area, &mut at, &[rest.len() as u8, index]);
        put(&mut area, &mut at, &(value.len() as u16).to_le_bytes());
        put(&mut area, &mut at, rest);
        put(&mut area, &mut at, value);
        at = at.next_multiple_of(4);
    }
    Ok(area)
}

/// Copies `bytes` to `to[*at..]` and moves `at` behind them; the layout made room for them.
fn put(to: &mut [u8], at: &mut usize, bytes: &[u8]) {
    to[*at..*at + bytes.len()].copy_from_slice(bytes);
    *at += bytes.len();
}
