//! A root filesystem as a tree in memory, its file contents in a spool.

pub mod copy;
mod export;
mod host;
mod path;

use std::collections::BTreeMap;

use crate::error::lossy;
use crate::{Content, Error, FileType, Metadata, Result};
pub use export::HostOptions;
pub(crate) use path::{Cursor, Outcome};

/// A node of one tree (and of its clones). Never reused within a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl From<NodeId> for u128 {
    fn from(id: NodeId) -> u128 {
        u128::from(id.0)
    }
}

/// A root filesystem: the name space of the paths below `/`. Paths are bytes; a leading slash makes
/// no difference, and symbolic links are followed inside the tree only.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    /// The last layer that was applied; see [`Entry::layer`].
    layer: u32,
}

/// An inode: hard links are several entries that lead to one node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Mode (permission bits), owner, time, extended attributes.
    pub meta: Metadata,
    body: Body,
    links: u32,
    /// Of a directory: the last layer that made or changed something in it.
    layer: u32,
    /// Of a directory: the last layer at which nothing of lower layers was left below it.
    cleared: u32,
}

#[derive(Clone, Debug)]
enum Body {
    Dir(BTreeMap<Box<[u8]>, Entry>),
    Leaf(NewNode),
    /// No entry leads here any more.
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    node: NodeId,
    /// The layer that made the entry: a whiteout hides only what is from layers below it.
    layer: u32,
}

/// What a node is, apart from its metadata.
#[derive(Clone, Debug)]
pub enum NewNode {
    /// A directory; empty when made.
    Dir,
    /// A regular file.
    File(Content),
    /// A symbolic link: its target, 1 to 4095 bytes.
    Symlink(Box<[u8]>),
    /// A device (`rdev` as [`rootfs::make_dev`] makes it), fifo or socket.
    Special {
        /// Which of them.
        kind: FileType,
        /// Device number of a device, otherwise 0.
        rdev: u32,
    },
}

impl NewNode {
    fn kind(&self) -> FileType {
        match self {
            NewNode::Dir => FileType::Directory,
            NewNode::File(_) => FileType::Regular,
            NewNode::Symlink(_) => FileType::Symlink,
            NewNode::Special { kind, .. } => *kind,
        }
    }
}

impl Node {
    /// What it is.
    pub fn kind(&self) -> FileType {
        match &self.body {
            Body::Leaf(leaf) => leaf.kind(),
            Body::Dir(_) | Body::Gone => FileType::Directory,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir(_))
    }

    /// The content of a regular file.
    pub fn content(&self) -> Option<&Content> {
        match &self.body {
            Body::Leaf(NewNode::File(content)) => Some(content),
            _ => None,
        }
    }

    /// The target of a symbolic link.
    pub fn target(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Leaf(NewNode::Symlink(target)) => Some(target),
            _ => None,
        }
    }

    /// The device number of a device, otherwise 0.
    pub fn rdev(&self) -> u32 {
        match &self.body {
            Body::Leaf(NewNode::Special { rdev, .. }) => *rdev,
            _ => 0,
        }
    }

    /// The number of entries that lead to it (1 for a directory).
    pub fn links(&self) -> u32 {
        self.links
    }

    /// What it is made of; `Dir` for a directory, whatever it holds.
    pub fn body(&self) -> NewNode {
        match &self.body {
            Body::Leaf(leaf) => leaf.clone(),
            Body::Dir(_) | Body::Gone => NewNode::Dir,
        }
    }

    fn children(&self) -> Option<&BTreeMap<Box<[u8]>, Entry>> {
        match &self.body {
            Body::Dir(children) => Some(children),
            _ => None,
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Tree::new()
    }
}

impl Tree {
    /// Only a root directory: root's, mode 0755, time 0.
    pub fn new() -> Tree {
        let meta = Metadata { mode: 0o755, ..Metadata::default() };
        let root = Node { meta, body: Body::Dir(BTreeMap::new()), links: 1, layer: 0, cleared: 0 };
        Tree { nodes: vec![root], layer: 0 }
    }

    /// The root directory.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// A node's metadata, to be changed. All hard links show it.
    pub fn meta_mut(&mut self, id: NodeId) -> &mut Metadata {
        &mut self.node_mut(id).meta
    }

    /// The entries of a directory in byte order; none for anything else.
    pub fn entries(&self, dir: NodeId) -> impl DoubleEndedIterator<Item = (&[u8], NodeId)> {
        self.node(dir).children().into_iter().flatten().map(|(name, e)| (&**name, e.node))
    }

    /// The entry of a directory with this name.
    pub fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.node(dir).children()?.get(name).map(|e| e.node)
    }

    /// All entries below `start`, each directory before what is in it, in byte order. Paths are
    /// relative to `start` and have no leading slash.
    pub fn walk(&self, start: NodeId) -> Walk<'_> {
        Walk { tree: self, pending: self.pending(&[], start) }
    }

    /// The latest modification time of all entries, in seconds since the epoch, rounded up.
    pub fn newest_mtime(&self) -> i64 {
        let up = |meta: &Metadata| meta.mtime.saturating_add(i64::from(meta.mtime_nsec > 0));
        let below = self.walk(self.root()).map(|(_, id)| up(&self.node(id).meta));
        below.fold(up(&self.node(self.root()).meta), i64::max)
    }

    /// The whole content of the file at `path` (links followed), up to `limit` bytes.
    pub fn read(&self, path: impl AsRef<[u8]>, limit: u64) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let id = self.lookup(path)?.ok_or_else(|| Error::NotFound(lossy(path)))?;
        let node = self.node(id);
        match node.content() {
            Some(content) => content.read(limit),
            None if node.is_dir() => Err(Error::IsDirectory(lossy(path))),
            None => Err(Error::NotRegular(lossy(path))),
        }
    }

    /// Puts a node at `path`. Links in the parent's path are followed, the parent must exist. What
    /// is there goes (a directory with all that is in it), except that a directory put on a
    /// directory only changes its metadata.
    pub fn insert(
        &mut self,
        path: impl AsRef<[u8]>,
        meta: Metadata,
        node: NewNode,
    ) -> Result<NodeId> {
        match self.entry_place(path.as_ref())? {
            None => self.set_root(meta, &node),
            Some((dir, name)) => self.put(dir, &name, meta, node),
        }
    }

    /// Adds a name for the node `target`, which is not a directory; what is at `path` goes.
    pub fn link(&mut self, path: impl AsRef<[u8]>, target: NodeId) -> Result<()> {
        let place = self.entry_place(path.as_ref())?;
        let (dir, name) = place.ok_or(Error::RootNotDirectory)?;
        self.put_link(dir, &name, target)
    }

    /// Removes what is at `path` (the link itself if it is one) with all that is below it; says
    /// whether there was something. The root stays, but is emptied.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> Result<bool> {
        match self.entry_place(path.as_ref()) {
            Ok(None) => {
                let names: Vec<Vec<u8>> =
                    self.entries(self.root()).map(|(n, _)| n.into()).collect();
                names.iter().for_each(|name| self.remove_child(self.root(), name));
                Ok(!names.is_empty())
            }
            Ok(Some((dir, name))) => {
                let there = self.child(dir, &name).is_some();
                self.remove_child(dir, &name);
                Ok(there)
            }
            Err(Error::NotFound(_) | Error::NotDirectory(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the directory `path` and those above it where they are missing, with this metadata;
    /// links are followed, also to where nothing is yet.
    pub fn create_dir_all(&mut self, path: impl AsRef<[u8]>, meta: &Metadata) -> Result<NodeId> {
        let mut cursor = Cursor::new(path.as_ref(), self.root());
        loop {
            match self.advance(&mut cursor, true)? {
                Outcome::Found { node, .. } if self.node(node).is_dir() => return Ok(node),
                Outcome::Found { .. } => return Err(Error::NotDirectory(lossy(path.as_ref()))),
                Outcome::Missing { dir, name } => {
                    let made = self.put(dir, &name, meta.clone(), NewNode::Dir)?;
                    cursor.enter(made);
                }
            }
        }
    }

    /// The directory and the name that `path` leads to, its last part not followed; `None` for
    /// the root itself.
    fn entry_place(&self, path: &[u8]) -> Result<Option<(NodeId, Box<[u8]>)>> {
        let mut cursor = Cursor::new(path, self.root());
        match self.advance(&mut cursor, false)? {
            Outcome::Found { place: None, node } if node != self.root() => {
                Err(Error::InvalidName(lossy(path)))
            }
            Outcome::Found { place, .. } => Ok(place),
            Outcome::Missing { dir, name } if cursor.is_at_end() => Ok(Some((dir, name))),
            Outcome::Missing { .. } => Err(Error::NotFound(lossy(path))),
        }
    }

    // What follows works on entries; the layer number it leaves behind is `self.layer`.

    /// See [`Tree::insert`].
    pub(crate) fn put(
        &mut self,
        dir: NodeId,
        name: &[u8],
        meta: Metadata,
        node: NewNode,
    ) -> Result<NodeId> {
        check_name(name)?;
        check_leaf(&node)?;
        let layer = self.layer;
        // Linux has no other mode for a link, whatever an archive says.
        let meta = match node {
            NewNode::Symlink(_) => Metadata { mode: 0o777, ..meta },
            _ => meta,
        };
        if let (Some(old), NewNode::Dir) = (self.child(dir, name), &node)
            && self.node(old).is_dir()
        {
            let there = self.node_mut(old);
            (there.meta, there.layer) = (meta, layer);
            self.enter(dir, name, old);
            return Ok(old);
        }
        self.remove_child(dir, name);
        let limit = u64::from(u32::MAX);
        let id = u32::try_from(self.nodes.len())
            .map_err(|_| Error::Limit { what: "nodes in a tree", limit })?;
        let body = match node {
            NewNode::Dir => Body::Dir(BTreeMap::new()),
            leaf => Body::Leaf(leaf),
        };
        self.nodes.push(Node { meta, body, links: 1, layer, cleared: layer });
        self.enter(dir, name, NodeId(id));
        Ok(NodeId(id))
    }

    /// See [`Tree::link`].
    pub(crate) fn put_link(&mut self, dir: NodeId, name: &[u8], target: NodeId) -> Result<()> {
        check_name(name)?;
        if self.node(target).is_dir() {
            return Err(Error::LinkToDirectory(lossy(name)));
        }
        // Counted first, so that replacing the last name of the target by itself keeps it.
        let links = &mut self.node_mut(target).links;
        *links = links.saturating_add(1);
        self.remove_child(dir, name);
        self.enter(dir, name, target);
        Ok(())
    }

    /// Sets the root's metadata.
    pub(crate) fn set_root(&mut self, meta: Metadata, node: &NewNode) -> Result<NodeId> {
        match node {
            NewNode::Dir => {
                *self.meta_mut(self.root()) = meta;
                Ok(self.root())
            }
            _ => Err(Error::RootNotDirectory),
        }
    }

    /// Removes an entry and all below it.
    pub(crate) fn remove_child(&mut self, dir: NodeId, name: &[u8]) {
        let Body::Dir(children) = &mut self.node_mut(dir).body else { return };
        let mut pending: Vec<NodeId> = children.remove(name).map(|e| e.node).into_iter().collect();
        while let Some(id) = pending.pop() {
            let node = self.node_mut(id);
            node.links = node.links.saturating_sub(1);
            if node.links == 0
                && let Body::Dir(children) = std::mem::replace(&mut node.body, Body::Gone)
            {
                pending.extend(children.values().map(|e| e.node));
            }
        }
    }

    /// Starts a layer: what is there now is below it.
    pub(crate) fn begin_layer(&mut self) -> Result<()> {
        let limit = u64::from(u32::MAX);
        let next = self.layer.checked_add(1);
        self.layer = next.ok_or(Error::Limit { what: "layers", limit })?;
        Ok(())
    }

    /// The number of the current layer.
    pub(crate) fn layer(&self) -> u32 {
        self.layer
    }

    /// Notes that the current layer changes something in or below this directory.
    pub(crate) fn touch(&mut self, dir: NodeId) {
        self.node_mut(dir).layer = self.layer;
    }

    /// Removes what lower layers have put below `dir`, or only its entry `name` and below that.
    /// However often it is called in a layer, it looks into each directory once.
    pub(crate) fn remove_lower(&mut self, dir: NodeId, name: Option<&[u8]>) {
        let mut pending = Vec::new();
        match name {
            Some(name) => self.remove_if_lower(dir, name, &mut pending),
            None => pending.push(dir),
        }
        while let Some(dir) = pending.pop() {
            let layer = self.layer;
            if std::mem::replace(&mut self.node_mut(dir).cleared, layer) == layer {
                continue;
            }
            let names: Vec<Box<[u8]>> = self.entries(dir).map(|(name, _)| name.into()).collect();
            names.iter().for_each(|name| self.remove_if_lower(dir, name, &mut pending));
        }
    }

    /// Removes an entry of a lower layer. A directory in which this layer has changed something
    /// stays, and is added to `pending`.
    fn remove_if_lower(&mut self, dir: NodeId, name: &[u8], pending: &mut Vec<NodeId>) {
        let Some(entry) = self.node(dir).children().and_then(|c| c.get(name)) else { return };
        let (node, layer) = (self.node(entry.node), self.layer);
        if node.is_dir() && node.layer == layer {
            pending.push(entry.node);
        } else if entry.layer != layer {
            self.remove_child(dir, name);
        }
    }

    fn enter(&mut self, dir: NodeId, name: &[u8], node: NodeId) {
        let layer = self.layer;
        if let Body::Dir(children) = &mut self.node_mut(dir).body {
            children.insert(name.into(), Entry { node, layer });
        }
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    fn pending(&self, path: &[u8], dir: NodeId) -> Vec<(Vec<u8>, NodeId)> {
        self.entries(dir).rev().map(|(name, id)| (join(path, name), id)).collect()
    }
}

/// See [`Tree::walk`].
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    pending: Vec<(Vec<u8>, NodeId)>,
}

impl Iterator for Walk<'_> {
    type Item = (Vec<u8>, NodeId);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, id) = self.pending.pop()?;
        self.pending.extend(self.tree.pending(&path, id));
        Some((path, id))
    }
}

/// `path/name`, or `name` when `path` is empty.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path {
        b"" => name.to_vec(),
        _ => [path, name].join(&b'/'),
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    let wrong = name.is_empty()
        || name.len() > 255
        || name == b"."
        || name == b".."
        || name.contains(&0)
        || name.contains(&b'/');
    if wrong { Err(Error::InvalidName(lossy(name))) } else { Ok(()) }
}

fn check_leaf(node: &NewNode) -> Result<()> {
    match node {
        NewNode::Symlink(target)
            if target.is_empty() || target.len() > 4095 || target.contains(&0) =>
        {
            Err(Error::InvalidSymlink(target.len()))
        }
        _ => Ok(()),
    }
}
