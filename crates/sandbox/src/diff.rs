//! What has changed in the files of a sandbox since it started.

use crate::error::Error;
use crate::files::FileType;
use runtime::{Files, Stat};
use serde::Serialize;
use std::collections::BTreeMap;

/// What holds no files of the image, or is written anew at each start.
const APART: [&str; 6] =
    ["/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// Directories that may lie in each other.
const DEPTH: usize = 128;
/// Most files that are looked at.
const MOST: usize = 2_000_000;

/// How a file differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there.
    Added,
    /// Its content or attributes are others.
    Changed,
    /// It is gone.
    Removed,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its path.
    pub path: String,
    /// How.
    pub change: Change,
    /// What it is, or was.
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Its bytes now.
    pub size: u64,
    /// Its path, whatever bytes are in it.
    #[serde(skip)]
    raw: Vec<u8>,
}

impl Difference {
    /// Its path, whatever bytes are in it.
    pub fn raw_path(&self) -> &[u8] {
        &self.raw
    }
}

/// What is known of a file: as much as shows that it was touched.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    times: (u64, u64),
}

impl Mark {
    fn of(stat: &Stat) -> Mark {
        let a = &stat.attributes;
        let kind = FileType::of(a.mode);
        // A directory changes with what is in it, which is told by itself.
        let (size, times) = match kind {
            FileType::Dir => (0, (0, 0)),
            _ => (a.size, (a.mtime, a.ctime)),
        };
        Mark { mode: a.mode, owner: (a.uid, a.gid), size, times }
    }
}

/// The files of a sandbox, by path.
pub(crate) struct Tree(BTreeMap<Vec<u8>, Mark>);

impl Tree {
    /// Looks at all, but for what lies in these directories.
    pub fn read(files: &Files, without: &[String]) -> Result<Tree, Error> {
        let mut found = BTreeMap::new();
        let mut todo = vec![(Vec::new(), 0)];
        while let Some((dir, depth)) = todo.pop() {
            let path = if dir.is_empty() { b"/".to_vec() } else { dir.clone() };
            let listed = match files.list(&path) {
                // It was removed meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                listed => listed,
            };
            let what = || format!("list {}", String::from_utf8_lossy(&path));
            for entry in listed.map_err(|error| Error::io(what())(error))? {
                let below = [&dir, &b"/"[..], &entry.name].concat();
                let is_apart = |apart: &str| below == apart.as_bytes();
                if APART.iter().any(|apart| is_apart(apart)) || without.iter().any(|w| is_apart(w))
                {
                    continue;
                }
                let mark = Mark::of(&entry.stat);
                if FileType::of(mark.mode) == FileType::Dir && depth < DEPTH {
                    todo.push((below.clone(), depth + 1));
                }
                found.insert(below, mark);
                if found.len() > MOST {
                    return Err(Error::Invalid(format!("there are more than {MOST} files")));
                }
            }
        }
        Ok(Tree(found))
    }

    /// All paths, each directory before what is in it.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(Vec::as_slice)
    }

    /// What is different in `now`.
    pub fn diff(&self, now: &Tree) -> Vec<Difference> {
        let difference = |path: &[u8], change, mark: &Mark| Difference {
            path: String::from_utf8_lossy(path).into_owned(),
            raw: path.to_vec(),
            change,
            kind: FileType::of(mark.mode),
            size: if change == Change::Removed { 0 } else { mark.size },
        };
        let mut found = Vec::new();
        for (path, mark) in &now.0 {
            match self.0.get(path) {
                None => found.push(difference(path, Change::Added, mark)),
                Some(before) if before != mark => {
                    found.push(difference(path, Change::Changed, mark))
                }
                Some(_) => {}
            }
        }
        let gone = self.0.iter().filter(|(path, _)| !now.0.contains_key(*path));
        found.extend(gone.map(|(path, mark)| difference(path, Change::Removed, mark)));
        found.sort_by(|a, b| a.raw.cmp(&b.raw));
        found
    }
}
