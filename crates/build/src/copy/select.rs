//! What the sources of COPY and ADD name: wildcards are resolved, links are not yet followed.

use std::io;

use dockerfile::pattern;

use super::{DEEPEST, FetchedFile, Request, Source, source_error};
use crate::error::{Cause, Error, Result};
use crate::files::{Entry, Files, Kind, child, components, join, resolve};
use crate::remote::Checkout;

/// One thing to copy.
#[derive(Clone)]
pub(crate) enum Selected {
    /// A path of the tree copied from.
    Path {
        /// The path: its last component may be a symbolic link, which is followed and gives the copy its name.
        path: Vec<u8>,
        /// With `--parents`, the path from the pivot on, the name included.
        kept: Option<Vec<u8>>,
    },
    /// A file given inline.
    Inline { name: String, content: Vec<u8> },
    /// A file that was fetched.
    File(FetchedFile),
    /// All of a repository.
    Repository(Checkout),
}

/// Resolves all sources, in order. `place` names the source tree in messages.
pub(crate) fn select(request: &Request, from: &dyn Files, place: &str) -> Result<Vec<Selected>> {
    let mut selected = Vec::new();
    for source in &request.sources {
        match source {
            Source::Inline { name, content } => {
                selected.push(Selected::Inline { name: name.clone(), content: content.clone() });
            }
            Source::File(file) => selected.push(Selected::File(file.clone())),
            Source::Repository(checkout) => selected.push(Selected::Repository(checkout.clone())),
            Source::Path(text) => {
                let found = Finder { request, from, text, place }.find()?;
                selected.extend(found);
            }
        }
    }
    Ok(selected)
}

struct Finder<'a> {
    request: &'a Request,
    from: &'a dyn Files,
    text: &'a str,
    place: &'a str,
}

impl Finder<'_> {
    fn find(&self) -> Result<Vec<Selected>> {
        let pivot = self.text.find("/./").filter(|_| self.request.parents);
        let skipped = pivot.map_or(0, |at| components(&self.text.as_bytes()[..at]).len());
        let wild = !self.request.literal && pattern::has_wildcard(self.text);
        let paths = if wild { self.matches()? } else { vec![self.exact()?] };
        let selected = paths.into_iter().map(|path| {
            let kept = self.request.parents.then(|| {
                let parts = components(&path);
                join(parts.get(skipped..).unwrap_or_default())
            });
            Selected::Path { path, kept }
        });
        Ok(selected.collect())
    }

    fn fail(&self, error: &io::Error) -> Error {
        source_error(self.text.as_bytes(), error)
    }

    fn exact(&self) -> Result<Vec<u8>> {
        let path = join(&components(self.text.as_bytes()));
        let real = resolve(self.from, &path, true).map_err(|error| self.fail(&error))?;
        let there = self.from.entry(&real).map_err(|error| self.fail(&error))?;
        match there {
            Some(_) => Ok(path),
            None => Err(Cause::SourceNotFound {
                path: self.text.to_owned(),
                place: self.place.to_owned(),
            }
            .into()),
        }
    }

    /// As in BuildKit, a wildcard that matches nothing copies nothing, and one does not lead through links.
    fn matches(&self) -> Result<Vec<Vec<u8>>> {
        let parts = components(self.text.as_bytes());
        let literal = parts
            .iter()
            .take_while(|part| !pattern::has_wildcard(&String::from_utf8_lossy(part)))
            .count();
        let start = join(parts.get(..literal).unwrap_or_default());
        let mut found: Vec<Vec<u8>> = vec![start];
        for (at, part) in parts.iter().enumerate().skip(literal) {
            let part = String::from_utf8_lossy(part).into_owned();
            let mut next = Vec::new();
            if self.request.parents && part == "**" {
                for directory in &found {
                    let last = at + 1 == parts.len();
                    self.below(directory, last, &mut next)?;
                }
            } else {
                let expression = pattern::go_match(&part)
                    .map_err(|cause| Error::new(Cause::Dockerfile(cause)))?;
                for directory in &found {
                    let names = self.names(directory)?.into_iter();
                    let names =
                        names.filter(|name| expression.is_match(&String::from_utf8_lossy(name)));
                    next.extend(names.map(|name| child(directory, &name)));
                }
            }
            found = next;
        }
        found.dedup();
        Ok(found)
    }

    /// The names in a directory; none in anything else. Only the part before the first wildcard is followed.
    fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>> {
        let first = pattern::has_wildcard(self.text)
            && self.text.as_bytes().starts_with(directory)
            && !directory.is_empty();
        let directory = if first {
            resolve(self.from, directory, true).map_err(|error| self.fail(&error))?
        } else {
            directory.to_vec()
        };
        let is_directory = directory.is_empty()
            || self
                .from
                .entry(&directory)
                .map_err(|error| self.fail(&error))?
                .is_some_and(|entry| entry.kind == Kind::Directory);
        if !is_directory {
            return Ok(Vec::new());
        }
        self.from.names(&directory).map_err(|error| self.fail(&error))
    }

    /// `**`: the directory itself and all directories below; with `last` everything below.
    fn below(&self, directory: &[u8], last: bool, out: &mut Vec<Vec<u8>>) -> Result<()> {
        if last {
            out.extend(self.names(directory)?.into_iter().map(|name| child(directory, &name)));
            return Ok(());
        }
        let mut open = vec![(directory.to_vec(), 0)];
        while let Some((directory, depth)) = open.pop() {
            if depth > DEEPEST {
                let reason = io::Error::other("directories nested too deep");
                return Err(self.fail(&reason));
            }
            for name in self.names(&directory)? {
                let path = child(&directory, &name);
                let entry = self.from.entry(&path).map_err(|error| self.fail(&error))?;
                if let Some(Entry { kind: Kind::Directory, .. }) = entry {
                    open.push((path, depth + 1));
                }
            }
            out.push(directory);
        }
        out.sort();
        Ok(())
    }
}
