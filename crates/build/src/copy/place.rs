//! Puts what COPY and ADD select into a tree, as BuildKit's file operations do: a directory's contents go into the destination, a
//! file takes the place of a file or link, directories merge.

use std::collections::HashMap;

use layers::{Metadata, NewNode, NodeId, Spool, Tree};

use super::select::Selected;
use super::{DEEPEST, FetchedFile, Request, destination_error, shown, source_error};
use crate::error::{Cause, Error, Result};
use crate::files::{Entry, Files, Kind, child, join, resolve, split};

/// A tree being changed by one instruction.
pub(crate) struct Placer<'a> {
    request: &'a Request,
    from: &'a dyn Files,
    tree: &'a mut Tree,
    spool: &'a Spool,
    /// Files with several names, by their identity in `from`, that are in the tree already.
    links: HashMap<u128, NodeId>,
}

/// Puts everything there.
pub(crate) fn place(
    request: &Request,
    selected: &[Selected],
    from: &dyn Files,
    tree: &mut Tree,
    spool: &Spool,
) -> Result<()> {
    let mut placer = Placer { request, from, tree, spool, links: HashMap::new() };
    for source in selected {
        match source {
            Selected::Inline { name, content } => placer.inline(name, content)?,
            Selected::File(file) => placer.fetched(file)?,
            Selected::Repository(checkout) => {
                let from = checkout.context.as_ref();
                let (tree, spool) = (&mut *placer.tree, placer.spool);
                Placer { request, from, tree, spool, links: HashMap::new() }.path(b"")?;
            }
            Selected::Path { path, kept: Some(kept) } => placer.with_parents(path, kept)?,
            Selected::Path { path, kept: None } => placer.path(path)?,
        }
    }
    Ok(())
}

/// A directory made by the builder itself.
pub(crate) fn plain_directory(owner: Option<(u32, u32)>, mtime: i64) -> Metadata {
    let (uid, gid) = owner.unwrap_or((0, 0));
    Metadata { mode: 0o755, uid, gid, mtime, ..Metadata::default() }
}

impl Placer<'_> {
    /// The destination: absolute, and whether it must be a directory.
    fn destination(&self) -> (Vec<u8>, bool) {
        let request = self.request;
        let text = request.destination.as_str();
        let directory = text.is_empty()
            || text.ends_with('/')
            || matches!(text.rsplit('/').next(), Some("." | ".."));
        let absolute = if text.starts_with('/') {
            text.to_owned()
        } else {
            format!("{}/{text}", request.workdir)
        };
        (absolute.into_bytes(), directory)
    }

    fn directory(&self) -> Metadata {
        plain_directory(self.request.owner, self.request.made_at)
    }

    fn make_directories(&mut self, path: &[u8]) -> Result<NodeId> {
        let meta = self.directory();
        self.tree.create_dir_all(path, &meta).map_err(|error| destination_error(path, error))
    }

    /// What is at a path, links followed.
    fn at(&self, path: &[u8]) -> Result<Option<NodeId>> {
        self.tree.lookup(path).map_err(|error| destination_error(path, error))
    }

    fn is_directory(&self, path: &[u8]) -> Result<bool> {
        Ok(self.at(path)?.is_some_and(|node| self.tree.node(node).is_dir()))
    }

    /// The path that something called `name` is to have.
    fn target(&mut self, name: &[u8], is_directory: bool) -> Result<Vec<u8>> {
        let (path, must_be_directory) = self.destination();
        let mut made = crate::files::components(&path);
        if !must_be_directory {
            made.pop();
        }
        self.make_directories(&join(&made))?;
        let tree = TreeFiles(self.tree);
        let mut path =
            resolve(&tree, &path, true).map_err(|error| destination_error(&path, error))?;
        if !is_directory && self.is_directory(&path)? {
            path = child(&path, name);
        } else if is_directory && self.at(&path)?.is_none() {
            self.make_directories(&path)?;
        } else {
            self.make_directories(split(&path).0)?;
        }
        Ok(path)
    }

    fn inline(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.target(name.as_bytes(), false)?;
        let content = self.spool.store(content).map_err(|e| destination_error(&path, e))?;
        let meta = self.adjusted(&Entry {
            kind: Kind::File(content.len()),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (self.request.made_at, 0),
            xattrs: Default::default(),
            identity: None,
        });
        self.put(&path, meta, NewNode::File(content)).map(drop)
    }

    /// A file from a URL: only its owner may read it unless `--chmod` says more, as in BuildKit.
    fn fetched(&mut self, file: &FetchedFile) -> Result<()> {
        let fail = |error: std::io::Error| source_error(file.name.as_bytes(), &error);
        let open = || std::fs::File::open(&file.path);
        if file.unpack && layers::is_archive(open().map_err(fail)?) {
            let content = open().map_err(fail)?;
            return self.unpack_stream(content, &file.name);
        }
        let path = self.target(file.name.as_bytes(), false)?;
        let content = self.spool.store_from(&mut open().map_err(fail)?, file.size);
        let content = content.map_err(|error| destination_error(&path, error))?;
        let meta = self.adjusted(&Entry {
            kind: Kind::File(file.size),
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: (file.modified, 0),
            xattrs: Default::default(),
            identity: None,
        });
        self.put(&path, meta, NewNode::File(content)).map(drop)
    }

    fn source(&self, path: &[u8]) -> Result<(Vec<u8>, Entry)> {
        let fail = |error: std::io::Error| source_error(path, &error);
        let real = resolve(self.from, path, true).map_err(fail)?;
        match self.from.entry(&real).map_err(fail)? {
            Some(entry) => Ok((real, entry)),
            None => {
                let reason = "it is a symbolic link that leads nowhere".to_owned();
                Err(Cause::Copy { path: shown(path), reason }.into())
            }
        }
    }

    fn path(&mut self, path: &[u8]) -> Result<()> {
        let (real, entry) = self.source(path)?;
        let name = split(path).1.to_vec();
        // Links within one source stay links; two sources are two copies.
        self.links.clear();
        if entry.kind == Kind::Directory {
            let target = self.target(&name, true)?;
            return self.directory_contents(&real, &target);
        }
        if self.request.excluded(&name) {
            return Ok(());
        }
        if self.request.unpack && matches!(entry.kind, Kind::File(_)) {
            let file = self.from.open(&real).map_err(|error| source_error(&real, &error))?;
            if layers::is_archive(file) {
                return self.unpack(&real);
            }
        }
        let target = self.target(&name, false)?;
        self.entry(&real, &target, entry)
    }

    /// `--parents`: the directories on the way keep their modes and owners.
    fn with_parents(&mut self, path: &[u8], kept: &[u8]) -> Result<()> {
        let (destination, _) = self.destination();
        self.make_directories(&destination)?;
        let tree = TreeFiles(self.tree);
        let top = resolve(&tree, &destination, true)
            .map_err(|error| destination_error(&destination, error))?;
        let (real, entry) = self.source(path)?;
        let base = path.len().saturating_sub(kept.len());
        for (at, _) in path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at >= base) {
            let (_, parent) = self.source(path.get(..at).unwrap_or_default())?;
            let below = path.get(base..at).unwrap_or_default();
            let target = child(&top, below);
            if !self.is_directory(&target)? {
                let meta = self.adjusted(&parent);
                self.put(&target, meta, NewNode::Dir)?;
            }
        }
        let target = if kept.is_empty() { top } else { child(&top, kept) };
        if self.request.excluded(kept) {
            return Ok(());
        }
        if entry.kind != Kind::Directory {
            return self.entry(&real, &target, entry);
        }
        if !self.is_directory(&target)? {
            let meta = self.adjusted(&entry);
            self.put(&target, meta, NewNode::Dir)?;
        }
        self.directory_contents(&real, &target)
    }

    /// Copies what is in a directory.
    fn directory_contents(&mut self, source: &[u8], target: &[u8]) -> Result<()> {
        if !self.is_directory(target)? {
            return Err(destination_error(target, "it is not a directory"));
        }
        let mut open = vec![(source.to_vec(), target.to_vec(), Vec::new(), 0usize)];
        while let Some((source, target, relative, depth)) = open.pop() {
            if depth > DEEPEST {
                let reason = format!("directories nested more than {DEEPEST} deep");
                return Err(Cause::Copy { path: shown(&source), reason }.into());
            }
            let names = self.from.names(&source).map_err(|error| source_error(&source, &error))?;
            for name in names {
                let (from, to) = (child(&source, &name), child(&target, &name));
                let relative = child(&relative, &name);
                let found = self.from.entry(&from).map_err(|error| source_error(&from, &error))?;
                let Some(entry) = found else { continue };
                let excluded = self.request.excluded(&relative);
                if entry.kind != Kind::Directory {
                    if !excluded {
                        self.entry(&from, &to, entry)?;
                    }
                    continue;
                }
                if excluded && !self.holds_kept(&from, &relative)? {
                    continue;
                }
                let meta = self.adjusted(&entry);
                self.put(&to, meta, NewNode::Dir)?;
                open.push((from, to, relative, depth + 1));
            }
        }
        Ok(())
    }

    /// Whether something in an excluded directory is not excluded.
    fn holds_kept(&self, source: &[u8], relative: &[u8]) -> Result<bool> {
        let mut open = vec![(source.to_vec(), relative.to_vec(), 0usize)];
        while let Some((source, relative, depth)) = open.pop() {
            if depth > DEEPEST || !self.request.may_hold_kept(&relative) {
                continue;
            }
            for name in self.from.names(&source).map_err(|error| source_error(&source, &error))? {
                let (from, relative) = (child(&source, &name), child(&relative, &name));
                if !self.request.excluded(&relative) {
                    return Ok(true);
                }
                let entry = self.from.entry(&from).map_err(|error| source_error(&from, &error))?;
                if entry.is_some_and(|entry| entry.kind == Kind::Directory) {
                    open.push((from, relative, depth + 1));
                }
            }
        }
        Ok(false)
    }

    fn entry(&mut self, source: &[u8], target: &[u8], entry: Entry) -> Result<()> {
        if let Some(first) = entry.identity.and_then(|identity| self.links.get(&identity)) {
            let first = *first;
            self.check_place(target, false)?;
            return self.tree.link(target, first).map_err(|error| destination_error(target, error));
        }
        let node = match &entry.kind {
            Kind::File(size) => {
                let content = self.from.content(source, *size, self.spool);
                NewNode::File(content.map_err(|error| source_error(source, &error))?)
            }
            Kind::Symlink(link) => NewNode::Symlink(link.clone().into()),
            Kind::Character(major, minor) => NewNode::Special {
                kind: layers::FileType::CharDevice,
                rdev: rootfs::make_dev(*major, *minor),
            },
            Kind::Block(major, minor) => NewNode::Special {
                kind: layers::FileType::BlockDevice,
                rdev: rootfs::make_dev(*major, *minor),
            },
            Kind::Fifo => NewNode::Special { kind: layers::FileType::Fifo, rdev: 0 },
            // A socket means nothing without the process that listens.
            Kind::Socket => return Ok(()),
            Kind::Directory => NewNode::Dir,
        };
        let meta = self.adjusted(&entry);
        let made = self.put(target, meta, node)?;
        self.links.extend(entry.identity.map(|identity| (identity, made)));
        Ok(())
    }

    fn adjusted(&self, entry: &Entry) -> Metadata {
        let (uid, gid) = self.request.owner.unwrap_or((entry.uid, entry.gid));
        let mode = match &self.request.mode {
            Some(mode) if !matches!(entry.kind, Kind::Symlink(_)) => {
                mode.apply(entry.mode, entry.kind == Kind::Directory)
            }
            _ => entry.mode,
        };
        let (mtime, mtime_nsec) = entry.mtime;
        Metadata { mode, uid, gid, mtime, mtime_nsec, xattrs: entry.xattrs.clone() }
    }

    fn check_place(&self, path: &[u8], directory: bool) -> Result<()> {
        let there =
            self.tree.lookup_nofollow(path).map_err(|error| destination_error(path, error))?;
        let reason = match there.map(|node| self.tree.node(node).is_dir()) {
            _ if path.is_empty() && !directory => "it is the root directory",
            Some(true) if !directory => "a directory is there already",
            Some(false) if directory => "something is there that is not a directory",
            _ => return Ok(()),
        };
        Err(destination_error(path, reason))
    }

    fn put(&mut self, path: &[u8], meta: Metadata, node: NewNode) -> Result<NodeId> {
        self.check_place(path, matches!(node, NewNode::Dir))?;
        self.tree.insert(path, meta, node).map_err(|error| destination_error(path, error))
    }

    /// Takes an archive apart below the destination, which is the root to it: no member and no link leads out. Members keep
    /// their own owners and modes, and replace what is in their way.
    fn unpack(&mut self, source: &[u8]) -> Result<()> {
        let from = self.from;
        let file = from.open(source).map_err(|error| source_error(source, &error))?;
        self.unpack_stream(file, &shown(source))
    }

    fn unpack_stream(&mut self, file: impl std::io::Read, name: &str) -> Result<()> {
        let (path, _) = self.destination();
        let directory = self.make_directories(&path)?;
        let fail = |error: layers::Error| Error::new(Cause::Layers(error.to_string()));
        let inside = directory == self.tree.root();
        let mut below = if inside { std::mem::take(self.tree) } else { Tree::new() };
        if !inside {
            *below.meta_mut(below.root()) = self.tree.node(directory).meta.clone();
            below.copy_from("", self.tree, directory, &Default::default()).map_err(fail)?;
        }
        let mut flatten =
            layers::Flatten::onto(below, self.spool.clone(), layers::Limits::default());
        flatten.archive(file, name).map_err(fail)?;
        let below = flatten.finish();
        if inside {
            *self.tree = below;
            return Ok(());
        }
        let tree = TreeFiles(self.tree);
        let real = resolve(&tree, &path, true).map_err(|error| destination_error(&path, error))?;
        self.tree.remove(&real).map_err(fail)?;
        let meta = below.node(below.root()).meta.clone();
        self.tree.insert(&real, meta, NewNode::Dir).map_err(fail)?;
        self.tree.copy_from(&real, &below, below.root(), &Default::default()).map_err(fail)
    }
}

/// A tree's names and links, to resolve paths in.
struct TreeFiles<'a>(&'a Tree);

impl Files for TreeFiles<'_> {
    fn entry(&self, path: &[u8]) -> std::io::Result<Option<Entry>> {
        crate::image_tree::entry_of(self.0, path)
    }

    fn names(&self, _path: &[u8]) -> std::io::Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    fn open(&self, _path: &[u8]) -> std::io::Result<Box<dyn std::io::Read + '_>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}
