//! Copying subtrees, as COPY does.

use std::collections::HashMap;
use std::path::Path;

use super::{NewNode, NodeId, Tree, host, join};
use crate::error::lossy;
use crate::{Error, Metadata, Result, Spool};

/// How a copy differs from its source. The default keeps everything.
#[derive(Default)]
pub struct CopyOptions<'a> {
    /// Owner and group of all that is copied; those of the source otherwise. (COPY from the build
    /// context gives (0, 0).)
    pub owner: Option<(u32, u32)>,
    /// Gives the mode (permission bits) of a copy: the mode of the source, and whether it is a
    /// directory. Symbolic links keep theirs.
    pub mode: Option<&'a dyn Fn(u32, bool) -> u32>,
    /// Latest modification time in seconds; later ones become this (`SOURCE_DATE_EPOCH`).
    pub clamp_mtime: Option<i64>,
    /// What to do with the path (relative to the source, no leading slash) of a directory (true)
    /// or of something else.
    pub select: Option<&'a Select>,
}

/// See [`CopyOptions::select`].
pub type Select = dyn Fn(&[u8], bool) -> Selection;

/// What to do with one path of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Copy it; what is in a directory is asked for one by one.
    Take,
    /// Leave a directory out unless something in it is taken, as `.dockerignore`'s `!` needs.
    LookInside,
    /// Leave it out with all that is in it, unread.
    Leave,
}

/// What is copied from: another tree or the host.
pub(super) trait Source {
    type Item: Clone;
    /// Names and items of a directory in byte order; empty for anything else.
    fn entries(&mut self, dir: &Self::Item) -> Result<Vec<(Vec<u8>, Self::Item)>>;
    fn is_dir(&self, item: &Self::Item) -> bool;
    /// Metadata, what it is, and for one of several hard links its identity. `None` is not copied.
    #[allow(clippy::type_complexity)]
    fn open(&mut self, item: &Self::Item) -> Result<Option<(Metadata, NewNode, Option<u128>)>>;
}

impl Tree {
    /// Copies `node` of the tree `source` to `path`: a directory's content into the directory
    /// there, which is made if missing and whose links are followed, and anything else as the file
    /// `path`. Directories merge; a file takes the place of a file or link, but a file and a
    /// directory do not take each other's.
    pub fn copy_from(
        &mut self,
        path: impl AsRef<[u8]>,
        source: &Tree,
        node: NodeId,
        options: &CopyOptions<'_>,
    ) -> Result<()> {
        self.copy(path.as_ref(), &mut InTree(source), node, options)
    }

    /// As [`Tree::copy_from`], from a file or directory of the host (if it is a link, the link).
    /// Contents go to `spool`, so that later changes do not show. Sockets are left out. Extended
    /// attributes are not taken over.
    pub fn copy_host(
        &mut self,
        path: impl AsRef<[u8]>,
        source: &Path,
        spool: &Spool,
        options: &CopyOptions<'_>,
    ) -> Result<()> {
        let mut host = host::Host { spool };
        let item = host::Host::item(source)?;
        self.copy(path.as_ref(), &mut host, item, options)
    }

    fn copy<S: Source>(
        &mut self,
        path: &[u8],
        source: &mut S,
        start: S::Item,
        options: &CopyOptions<'_>,
    ) -> Result<()> {
        let mut links = HashMap::new();
        let Some((meta, body, _)) = source.open(&start)? else { return Ok(()) };
        let meta = adjust(meta, &body, options);
        if !source.is_dir(&start) {
            let (dir, name) = self.entry_place(path)?.ok_or(Error::IsDirectory(lossy(path)))?;
            self.place_copy(dir, &name, path, meta, body)?;
            return Ok(());
        }
        let root = match self.lookup(path)? {
            Some(dir) if self.node(dir).is_dir() => dir,
            Some(_) => return Err(Error::NotDirectory(lossy(path))),
            None => self.create_dir_all(path, &meta)?,
        };
        // A directory waits to be made until it, or something in it, is selected.
        let mut pending = vec![(Vec::new(), start, root)];
        while let Some((relative, dir, into)) = pending.pop() {
            for (name, item) in source.entries(&dir)? {
                let below = join(&relative, &name);
                let is_dir = source.is_dir(&item);
                let wanted = match options.select.map(|select| select(&below, is_dir)) {
                    None | Some(Selection::Take) => true,
                    Some(Selection::LookInside) if is_dir => {
                        holds_taken(source, &item, &below, options)?
                    }
                    Some(_) => false,
                };
                if !wanted {
                    continue;
                }
                let Some((meta, body, identity)) = source.open(&item)? else { continue };
                if let Some(first) = identity.and_then(|i| links.get(&i)) {
                    self.put_link(into, &name, *first)?;
                    continue;
                }
                let meta = adjust(meta, &body, options);
                let made = self.place_copy(into, &name, &join(path, &below), meta, body)?;
                links.extend(identity.map(|i| (i, made)));
                if is_dir {
                    pending.push((below, item, made));
                }
            }
        }
        Ok(())
    }

    /// Puts a copy, refusing to exchange a directory and something else.
    fn place_copy(
        &mut self,
        dir: NodeId,
        name: &[u8],
        path: &[u8],
        meta: Metadata,
        body: NewNode,
    ) -> Result<NodeId> {
        if let Some(there) = self.child(dir, name) {
            match (self.node(there).is_dir(), matches!(body, NewNode::Dir)) {
                (true, false) => return Err(Error::IsDirectory(lossy(path))),
                (false, true) => return Err(Error::NotDirectory(lossy(path))),
                _ => {}
            }
        }
        self.put(dir, name, meta, body)
    }
}

/// Whether anything below a directory is taken.
fn holds_taken<S: Source>(
    source: &mut S,
    dir: &S::Item,
    path: &[u8],
    options: &CopyOptions<'_>,
) -> Result<bool> {
    let Some(select) = options.select else { return Ok(true) };
    let mut pending = vec![(path.to_vec(), dir.clone())];
    while let Some((path, dir)) = pending.pop() {
        for (name, item) in source.entries(&dir)? {
            let below = join(&path, &name);
            match (select(&below, source.is_dir(&item)), source.is_dir(&item)) {
                (Selection::Take, _) => return Ok(true),
                (Selection::LookInside, true) => pending.push((below, item)),
                _ => {}
            }
        }
    }
    Ok(false)
}

fn adjust(mut meta: Metadata, body: &NewNode, options: &CopyOptions<'_>) -> Metadata {
    if let Some(owner) = options.owner {
        (meta.uid, meta.gid) = owner;
    }
    if let (Some(mode), false) = (options.mode, matches!(body, NewNode::Symlink(_))) {
        meta.mode = mode(meta.mode, matches!(body, NewNode::Dir)) & 0o7777;
    }
    if let Some(latest) = options.clamp_mtime.filter(|latest| meta.mtime >= *latest) {
        (meta.mtime, meta.mtime_nsec) = (latest, 0);
    }
    meta
}

struct InTree<'a>(&'a Tree);

impl Source for InTree<'_> {
    type Item = NodeId;

    fn entries(&mut self, dir: &NodeId) -> Result<Vec<(Vec<u8>, NodeId)>> {
        Ok(self.0.entries(*dir).map(|(name, id)| (name.to_vec(), id)).collect())
    }

    fn is_dir(&self, item: &NodeId) -> bool {
        self.0.node(*item).is_dir()
    }

    fn open(&mut self, item: &NodeId) -> Result<Option<(Metadata, NewNode, Option<u128>)>> {
        let node = self.0.node(*item);
        let identity = (node.links() > 1 && !node.is_dir()).then_some(u128::from(item.0));
        Ok(Some((node.meta.clone(), node.body(), identity)))
    }
}
