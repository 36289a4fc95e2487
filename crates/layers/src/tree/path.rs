//! Walking a path inside a tree, as path_resolution(7) says, the tree's root being `/`.

use super::{NodeId, Tree};
use crate::error::lossy;
use crate::{Error, Result};

/// Links followed in one path before it counts as a loop (Linux's `MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;
/// Components of one path, those of its links included. Linux has no such bound, but 40 links of
/// 2000 components each, again for every entry of an archive, would take hours.
const MAX_STEPS: u32 = 4096;

/// A path that is being walked.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// From the root to the directory reached, for `..`.
    dirs: Vec<NodeId>,
    /// Components still to come, the next one last.
    pending: Vec<Box<[u8]>>,
    links: u32,
    steps: u32,
    /// For messages.
    path: Box<[u8]>,
}

/// Where a walk came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The end of the path. `place` is its directory and name, `None` where the path ended in the
    /// root, `.` or `..`.
    Found { node: NodeId, place: Option<(NodeId, Box<[u8]>)> },
    /// `dir` has no entry `name`; the cursor goes on from there after [`Cursor::enter`].
    Missing { dir: NodeId, name: Box<[u8]> },
}

impl Cursor {
    pub fn new(path: &[u8], root: NodeId) -> Cursor {
        let mut cursor =
            Cursor { dirs: vec![root], pending: Vec::new(), links: 0, steps: 0, path: path.into() };
        cursor.push(path);
        cursor
    }

    /// Goes into a directory that was made where one was missing.
    pub fn enter(&mut self, dir: NodeId) {
        self.dirs.push(dir);
    }

    /// Whether no component is left.
    pub fn is_at_end(&self) -> bool {
        self.pending.is_empty()
    }

    /// The directories from the root to the one reached.
    pub fn dirs(&self) -> &[NodeId] {
        &self.dirs
    }

    fn push(&mut self, path: &[u8]) {
        let parts = path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".");
        self.pending.extend(parts.rev().map(Box::from));
    }
}

impl Tree {
    /// The node at `path`, all links followed; `None` if it does not exist.
    pub fn lookup(&self, path: impl AsRef<[u8]>) -> Result<Option<NodeId>> {
        self.find(path.as_ref(), true)
    }

    /// As [`Tree::lookup`], but if `path` itself is a symbolic link, the link.
    pub fn lookup_nofollow(&self, path: impl AsRef<[u8]>) -> Result<Option<NodeId>> {
        self.find(path.as_ref(), false)
    }

    fn find(&self, path: &[u8], follow_last: bool) -> Result<Option<NodeId>> {
        match self.advance(&mut Cursor::new(path, self.root()), follow_last) {
            Ok(Outcome::Found { node, .. }) => Ok(Some(node)),
            Ok(Outcome::Missing { .. }) | Err(Error::NotDirectory(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Walks until the path ends or something is missing.
    pub(crate) fn advance(&self, cursor: &mut Cursor, follow_last: bool) -> Result<Outcome> {
        let mut place = None;
        loop {
            let dir = cursor.dirs.last().copied().unwrap_or(self.root());
            let Some(name) = cursor.pending.pop() else {
                return Ok(Outcome::Found { node: dir, place });
            };
            cursor.steps += 1;
            if cursor.steps > MAX_STEPS {
                return Err(Error::SymlinkLoop(lossy(&cursor.path)));
            }
            if !self.node(dir).is_dir() {
                return Err(Error::NotDirectory(lossy(&cursor.path)));
            }
            if &*name == b".." {
                if cursor.dirs.len() > 1 {
                    cursor.dirs.pop();
                }
                place = None;
                continue;
            }
            let Some(node) = self.child(dir, &name) else {
                return Ok(Outcome::Missing { dir, name });
            };
            let last = cursor.pending.is_empty();
            match self.node(node).target() {
                Some(target) if follow_last || !last => {
                    cursor.links += 1;
                    if cursor.links > MAX_LINKS {
                        return Err(Error::SymlinkLoop(lossy(&cursor.path)));
                    }
                    if target.starts_with(b"/") {
                        cursor.dirs.truncate(1);
                    }
                    cursor.push(target);
                    place = None;
                }
                _ if last => return Ok(Outcome::Found { node, place: Some((dir, name)) }),
                _ if self.node(node).is_dir() => {
                    cursor.dirs.push(node);
                    place = Some((dir, name));
                }
                _ => return Err(Error::NotDirectory(lossy(&cursor.path))),
            }
        }
    }
}
