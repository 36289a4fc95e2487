//! COPY and ADD: which entries of the sources become which entries of a layer.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use dockerfile::ignore::IgnoreFile;
use dockerfile::pattern;

use crate::archive;
use crate::error::{Cause, Error, Result};
use crate::files::{Entry, Files, Kind, child, components, join, resolve, split};
use crate::image_tree::ImageTree;
use crate::mode::Mode;

/// How deep a copied tree may be.
const DEEPEST: usize = 512;

/// One COPY or ADD with every word expanded.
#[derive(Clone)]
pub(crate) struct Request {
    /// `COPY` or `ADD`.
    pub instruction: &'static str,
    /// What to copy.
    pub sources: Vec<Source>,
    /// Where to; relative to `workdir` unless it starts with `/`.
    pub destination: String,
    pub workdir: String,
    /// Replaces the owner.
    pub owner: Option<(u32, u32)>,
    /// Replaces the permission bits.
    pub mode: Option<Mode>,
    /// `--exclude`.
    pub exclude: IgnoreFile,
    /// `--parents`: the source's path is kept below the destination, from `/./` on if it has one.
    pub parents: bool,
    /// Archives of the sources are taken apart (ADD).
    pub unpack: bool,
    /// The time of directories that come into being on the way.
    pub made_at: i64,
}

/// One source.
#[derive(Clone)]
pub(crate) enum Source {
    /// A path or wildcard in the tree copied from.
    Path(String),
    /// A file given inline.
    Inline { name: String, content: Vec<u8> },
}

impl Source {
    /// For a cache key: everything that matters.
    pub fn describe(&self) -> String {
        match self {
            Self::Path(path) => format!("path {path:?}"),
            Self::Inline { name, content } => {
                format!("inline {name:?} {}", oci::Digest::of(content))
            }
        }
    }
}

/// One entry of the layer to be.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub entry: Entry,
    pub content: Content,
}

/// Where a regular file's bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// It has none.
    Nothing,
    /// A path in the tree copied from.
    Path(Vec<u8>),
    /// A path in an archive that was taken apart.
    Unpacked(Rc<ImageTree>, Vec<u8>),
    /// These.
    Bytes(Vec<u8>),
}

/// The entries of a layer by path; parents come before what is in them.
pub(crate) type Items = BTreeMap<Vec<u8>, Item>;

/// A directory made by the builder itself.
pub(crate) fn plain_directory(owner: (u32, u32), mtime: i64) -> Item {
    let entry = Entry {
        kind: Kind::Directory,
        mode: 0o755,
        uid: owner.0,
        gid: owner.1,
        mtime: (mtime, 0),
        xattrs: BTreeMap::new(),
    };
    Item { entry, content: Content::Nothing }
}

/// Adds a directory and those above it that are not there yet. The path is resolved.
pub(crate) fn make_directories(
    items: &mut Items,
    target: &dyn Files,
    path: &[u8],
    owner: (u32, u32),
    mtime: i64,
) -> Result<()> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in components(path) {
        parts.push(part);
        let path = join(&parts);
        if items.contains_key(&path) {
            continue;
        }
        match target.entry(&path).map_err(|error| destination_error(&path, &error))? {
            Some(Entry { kind: Kind::Directory, .. }) => {}
            Some(_) => {
                let reason = "a component of it is not a directory".to_owned();
                return Err(Cause::Destination { path: shown(&path), reason }.into());
            }
            None => {
                items.insert(path, plain_directory(owner, mtime));
            }
        }
    }
    Ok(())
}

/// Works out the layer of a COPY or ADD from `from` onto `target`. `place` names the source tree
/// in messages.
pub(crate) fn plan(
    request: &Request,
    from: &dyn Files,
    target: &dyn Files,
    place: &str,
) -> Result<Items> {
    let mut copier = Copier { request, from, archive: None, target, items: Items::new() };
    let several = request.sources.len() > 1;
    let ends_in_slash = request.destination.ends_with('/') || request.destination == ".";
    if several && !ends_in_slash && !request.parents {
        return Err(Cause::DestinationNotDirectory { instruction: request.instruction }.into());
    }
    let absolute = if request.destination.starts_with('/') {
        request.destination.clone()
    } else {
        format!("{}/{}", request.workdir, request.destination)
    };
    let resolved = resolve(target, absolute.as_bytes(), true)
        .map_err(|e| destination_error(absolute.as_bytes(), &e))?;
    let destination_is_directory =
        ends_in_slash || request.parents || copier.is_directory(&resolved)?;
    for source in &request.sources {
        match source {
            Source::Inline { name, content } => {
                let path = if destination_is_directory {
                    child(&resolved, name.as_bytes())
                } else {
                    resolved.clone()
                };
                let entry = Entry {
                    kind: Kind::File(content.len() as u64),
                    mode: 0o644,
                    uid: 0,
                    gid: 0,
                    mtime: (request.made_at, 0),
                    xattrs: BTreeMap::new(),
                };
                copier.put(path, entry, Content::Bytes(content.clone()))?;
            }
            Source::Path(text) => {
                let matches = copier.matches(text, place)?;
                let directory = destination_is_directory || matches.len() > 1;
                for (path, kept) in matches {
                    let below =
                        if request.parents { child(&resolved, &kept) } else { resolved.clone() };
                    copier.copy_source(&path, &below, directory)?;
                }
            }
        }
    }
    Ok(copier.items)
}

struct Copier<'a> {
    request: &'a Request,
    from: &'a dyn Files,
    /// `from` where it is an archive that was taken apart.
    archive: Option<Rc<ImageTree>>,
    target: &'a dyn Files,
    items: Items,
}

impl Copier<'_> {
    /// The entry at a path of the destination, as it will be.
    fn at(&self, path: &[u8]) -> Result<Option<Entry>> {
        match self.items.get(path) {
            Some(item) => Ok(Some(item.entry.clone())),
            None => self.target.entry(path).map_err(|error| destination_error(path, &error)),
        }
    }

    fn is_directory(&self, path: &[u8]) -> Result<bool> {
        Ok(path.is_empty() || self.at(path)?.is_some_and(|entry| entry.kind == Kind::Directory))
    }

    /// The paths that a source names and, for `--parents`, the part of each below the pivot
    /// (without its last component).
    fn matches(&self, text: &str, place: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let not_found =
            || Error::new(Cause::SourceNotFound { path: text.to_owned(), place: place.to_owned() });
        let fail = |error: io::Error| source_error(text.as_bytes(), &error);
        let pivot = text.find("/./").filter(|_| self.request.parents);
        let skipped = pivot.map_or(0, |at| components(&text.as_bytes()[..at]).len());
        let kept = |path: &[u8]| {
            let mut parts = components(path);
            parts.pop();
            join(parts.get(skipped..).unwrap_or_default())
        };
        if !pattern::has_wildcard(text) {
            let path = resolve(self.from, text.as_bytes(), true).map_err(fail)?;
            self.from.entry(&path).map_err(fail)?.ok_or_else(not_found)?;
            let kept = kept(text.as_bytes());
            return Ok(vec![(path, kept)]);
        }
        let mut found: Vec<Vec<u8>> = vec![Vec::new()];
        for part in components(text.as_bytes()) {
            let part = String::from_utf8_lossy(&part).into_owned();
            if self.request.parents && part == "**" {
                return Err(Cause::Unsupported {
                    what: "** in a source of COPY --parents".to_owned(),
                }
                .into());
            }
            let mut next = Vec::new();
            for directory in &found {
                let directory = resolve(self.from, directory, true).map_err(fail)?;
                if !pattern::has_wildcard(&part) {
                    let path = child(&directory, part.as_bytes());
                    if self.from.entry(&path).map_err(fail)?.is_some() {
                        next.push(path);
                    }
                    continue;
                }
                let is_directory = directory.is_empty()
                    || self
                        .from
                        .entry(&directory)
                        .map_err(fail)?
                        .is_some_and(|e| e.kind == Kind::Directory);
                if !is_directory {
                    continue;
                }
                let expression = pattern::go_match(&part)
                    .map_err(|cause| Error::new(Cause::Dockerfile(cause)))?;
                let names = self.from.names(&directory).map_err(fail)?;
                let names = names
                    .into_iter()
                    .filter(|name| expression.is_match(&String::from_utf8_lossy(name)));
                next.extend(names.map(|name| child(&directory, &name)));
            }
            found = next;
        }
        // As in BuildKit, a wildcard that matches nothing copies nothing.
        found.into_iter().map(|path| Ok((path.clone(), kept(&path)))).collect()
    }

    fn copy_source(&mut self, path: &[u8], destination: &[u8], into_directory: bool) -> Result<()> {
        let fail = |error: io::Error| source_error(path, &error);
        let real = resolve(self.from, path, true).map_err(fail)?;
        let Some(entry) = self.from.entry(&real).map_err(fail)? else {
            let reason = "it is a symbolic link that leads nowhere".to_owned();
            return Err(Cause::Copy { path: shown(path), reason }.into());
        };
        let name = split(path).1.to_vec();
        if entry.kind == Kind::Directory {
            let top =
                if self.request.parents { child(destination, &name) } else { destination.to_vec() };
            return self.copy_directory(&real, &top, entry);
        }
        if self.excluded(&name) {
            return Ok(());
        }
        if self.request.unpack
            && matches!(entry.kind, Kind::File(_))
            && let Some(tree) = archive::open(self.from, &real)?
        {
            return self.copy_archive(Rc::new(tree), destination);
        }
        let path = if into_directory { child(destination, &name) } else { destination.to_vec() };
        let content = self.content(real);
        self.put(path, entry, content)
    }

    /// Copies what is in a directory. The top directory takes the source's attributes only if it
    /// is new; those below always do.
    fn copy_directory(&mut self, source: &[u8], destination: &[u8], entry: Entry) -> Result<()> {
        let (parent, _) = split(destination);
        self.parents(parent)?;
        if !destination.is_empty() && !self.is_directory(destination)? {
            self.put(destination.to_vec(), entry, Content::Nothing)?;
        }
        let mut open = vec![(source.to_vec(), destination.to_vec(), Vec::new(), 0usize)];
        while let Some((source, destination, relative, depth)) = open.pop() {
            if depth > DEEPEST {
                let reason = format!("directories nested more than {DEEPEST} deep");
                return Err(Cause::Copy { path: shown(&source), reason }.into());
            }
            for name in self.from.names(&source).map_err(|error| source_error(&source, &error))? {
                let (from, to) = (child(&source, &name), child(&destination, &name));
                let relative = child(&relative, &name);
                let Some(entry) =
                    self.from.entry(&from).map_err(|error| source_error(&from, &error))?
                else {
                    continue;
                };
                let directory = entry.kind == Kind::Directory;
                let excluded = self.excluded(&relative);
                if excluded && !directory {
                    continue;
                }
                if directory {
                    open.push((from, to.clone(), relative.clone(), depth + 1));
                    if excluded {
                        // Its own entry appears only if something in it is kept.
                        let kept = self
                            .request
                            .exclude
                            .may_hold_exceptions(&String::from_utf8_lossy(&relative));
                        if !kept {
                            open.pop();
                        }
                        continue;
                    }
                    self.put(to, entry, Content::Nothing)?;
                } else {
                    let content = self.content(from);
                    self.put(to, entry, content)?;
                }
            }
        }
        Ok(())
    }

    /// Puts what is in an archive below the destination, with the archive's own owners.
    fn copy_archive(&mut self, tree: Rc<ImageTree>, destination: &[u8]) -> Result<()> {
        let request =
            Request { unpack: false, exclude: IgnoreFile::default(), ..self.request.clone() };
        let mut inner = Copier {
            request: &request,
            from: tree.as_ref(),
            archive: Some(Rc::clone(&tree)),
            target: self.target,
            items: std::mem::take(&mut self.items),
        };
        let top = plain_directory((0, 0), self.request.made_at).entry;
        let result = inner.copy_directory(b"", destination, top);
        self.items = inner.items;
        result
    }

    /// Where the bytes of a file of `from` are.
    fn content(&self, path: Vec<u8>) -> Content {
        match &self.archive {
            Some(tree) => Content::Unpacked(Rc::clone(tree), path),
            None => Content::Path(path),
        }
    }

    fn excluded(&self, relative: &[u8]) -> bool {
        !self.request.exclude.is_empty()
            && self.request.exclude.ignores(&String::from_utf8_lossy(relative))
    }

    fn parents(&mut self, path: &[u8]) -> Result<()> {
        let owner = self.request.owner.unwrap_or((0, 0));
        make_directories(&mut self.items, self.target, path, owner, self.request.made_at)
    }

    fn put(&mut self, path: Vec<u8>, mut entry: Entry, content: Content) -> Result<()> {
        self.parents(split(&path).0)?;
        let reason = match (self.at(&path)?.map(|old| old.kind), &entry.kind) {
            (Some(Kind::Directory), kind) if *kind != Kind::Directory => {
                "a directory is there already"
            }
            (Some(old), Kind::Directory) if old != Kind::Directory => {
                "something is there that is not a directory"
            }
            (_, Kind::Socket) => return Ok(()),
            _ => "",
        };
        if path.is_empty() || !reason.is_empty() {
            let reason = if path.is_empty() { "it is the root directory" } else { reason };
            return Err(Cause::Destination { path: shown(&path), reason: reason.to_owned() }.into());
        }
        if let Some((uid, gid)) = self.request.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(mode) = &self.request.mode
            && !matches!(entry.kind, Kind::Symlink(_))
        {
            entry.mode = mode.apply(entry.mode, entry.kind == Kind::Directory);
        }
        let content = if matches!(entry.kind, Kind::File(_)) { content } else { Content::Nothing };
        self.items.insert(path, Item { entry, content });
        Ok(())
    }
}

/// A path as people write it.
pub(crate) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    if text.starts_with('/') { text.into_owned() } else { format!("/{text}") }
}

fn source_error(path: &[u8], error: &io::Error) -> Error {
    Error::new(Cause::Copy { path: shown(path), reason: error.to_string() })
}

fn destination_error(path: &[u8], error: &io::Error) -> Error {
    Error::new(Cause::Destination { path: shown(path), reason: error.to_string() })
}
