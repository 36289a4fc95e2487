//! Files of a sandbox, as the host reads and writes them.

use crate::audit::Audit;
use crate::error::Error;
use runtime::{Entry, Stat, Watch};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Read;
use std::time::Duration;

/// Most bytes of a file that is read as a whole.
const MAX_READ: u64 = 256 << 20;
const TYPE: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A device, socket or FIFO.
    Other,
}

impl FileType {
    pub(crate) fn of(mode: u32) -> FileType {
        match mode & TYPE {
            REGULAR => FileType::File,
            DIRECTORY => FileType::Dir,
            LINK => FileType::Symlink,
            _ => FileType::Other,
        }
    }
}

/// A file or directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntryInfo {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When its content changed, in seconds since the epoch.
    pub modified_time: f64,
    /// Where a symbolic link leads.
    pub symlink_target: Option<String>,
}

/// What happened to a file that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilesystemEvent {
    /// Below what is watched.
    pub name: String,
    /// `create`, `write`, `remove`, `rename`, `chmod`, or `overflow` when more happened than was told.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// The files of one sandbox, as one user.
pub struct Files {
    files: runtime::Files,
    user: String,
    audit: Audit,
}

impl Files {
    pub(crate) fn new(files: runtime::Files, user: &str, audit: Audit) -> Files {
        Files { files: files.as_user(user), user: user.to_owned(), audit }
    }

    fn done<T>(&self, what: &str, path: &str, result: std::io::Result<T>) -> Result<T, Error> {
        self.done_with(what, path, result, |_| json!({}))
    }

    /// The same with further fields of what came of it.
    fn done_with<T>(
        &self,
        what: &str,
        path: &str,
        result: std::io::Result<T>,
        more: impl FnOnce(&T) -> Value,
    ) -> Result<T, Error> {
        let mut fields = json!({"path": path, "user": self.user, "error": null});
        match &result {
            Ok(done) => {
                if let (Value::Object(all), Value::Object(more)) = (&mut fields, more(done)) {
                    all.extend(more);
                }
            }
            Err(error) => fields["error"] = json!(error.to_string()),
        }
        self.audit.record(&format!("file.{what}"), fields);
        result.map_err(Error::io(format!("{what} {path}")))
    }

    /// The content of a file; at most 256 MiB.
    ///
    /// # Errors
    /// There is none, it is too large, or may not be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let read = || {
            let flags = runtime::OpenFlags { read: true, ..Default::default() };
            let mut bytes = Vec::new();
            self.files.open(path, flags, 0)?.take(MAX_READ + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > MAX_READ {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
            Ok(bytes)
        };
        self.done_with("read", path, read(), |bytes| json!({"bytes": bytes.len()}))
    }

    /// Writes a whole file; directories above it that are missing are made.
    ///
    /// # Errors
    /// It may not be written, or there is no room.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<EntryInfo, Error> {
        let write = || {
            if let Some((parent, _)) =
                path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty())
            {
                self.files.mkdir(parent, 0o755, true)?;
            }
            self.files.write(path, bytes)
        };
        self.done_with("write", path, write(), |()| json!({"bytes": bytes.len()}))?;
        self.look_at(path)
    }

    /// What is in a directory, so many levels deep (1: itself alone), sorted.
    ///
    /// # Errors
    /// It is no directory, or may not be read.
    pub fn list(&self, path: &str, depth: usize) -> Result<Vec<EntryInfo>, Error> {
        let mut found = Vec::new();
        let listed = self.list_into(path, depth, &mut found);
        self.done("list", path, listed)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn list_into(
        &self,
        path: &str,
        depth: usize,
        found: &mut Vec<EntryInfo>,
    ) -> std::io::Result<()> {
        for entry in self.files.list(path)? {
            let Entry { name, stat } = entry;
            let name = String::from_utf8_lossy(&name).into_owned();
            let below = format!("{}/{name}", path.trim_end_matches('/'));
            let info = self.info(below.clone(), &stat);
            let deeper = info.kind == FileType::Dir && depth > 1;
            found.push(info);
            if deeper {
                self.list_into(&below, depth - 1, found)?;
            }
        }
        Ok(())
    }

    fn info(&self, path: String, stat: &Stat) -> EntryInfo {
        let attributes = &stat.attributes;
        let kind = FileType::of(attributes.mode);
        let target = (kind == FileType::Symlink).then(|| self.files.readlink(&path).ok()).flatten();
        EntryInfo {
            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
            path,
            kind,
            size: attributes.size,
            mode: attributes.mode & 0o7777,
            uid: attributes.uid,
            gid: attributes.gid,
            modified_time: attributes.mtime as f64 / 1e9,
            symlink_target: target.map(|target| String::from_utf8_lossy(&target).into_owned()),
        }
    }

    /// What a file is; of a symbolic link, what it is itself.
    ///
    /// # Errors
    /// There is none.
    pub fn get_info(&self, path: &str) -> Result<EntryInfo, Error> {
        let found = self.look_at(path);
        let error = found.as_ref().err().map(ToString::to_string);
        let fields = json!({"path": path, "user": self.user, "error": error});
        self.audit.record("file.info", fields);
        found
    }

    fn look_at(&self, path: &str) -> Result<EntryInfo, Error> {
        let stat = self.files.lstat(path).map_err(Error::io(format!("look at {path}")))?;
        Ok(self.info(path.to_owned(), &stat))
    }

    /// Whether there is such a file.
    ///
    /// # Errors
    /// It cannot be known.
    pub fn exists(&self, path: &str) -> Result<bool, Error> {
        match self.files.stat(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io(format!("look at {path}"))(error)),
        }
    }

    /// Removes a file, or a directory with all that is in it.
    ///
    /// # Errors
    /// There is none, or it may not be removed.
    pub fn remove(&self, path: &str) -> Result<(), Error> {
        self.done("remove", path, self.files.remove(path, true))
    }

    /// Gives a file another name; what it is then.
    ///
    /// # Errors
    /// As of rename(2).
    pub fn rename(&self, from: &str, to: &str) -> Result<EntryInfo, Error> {
        self.done_with("rename", from, self.files.rename(from, to), |()| json!({"to": to}))?;
        self.look_at(to)
    }

    /// Makes a directory, and those above it that are missing; whether it was not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_dir(&self, path: &str) -> Result<bool, Error> {
        if self.exists(path)? {
            return Ok(false);
        }
        self.done("make_dir", path, self.files.mkdir(path, 0o755, true))?;
        Ok(true)
    }

    /// Says what happens in a directory, and perhaps those below it, from now on.
    ///
    /// # Errors
    /// It is not there.
    pub fn watch_dir(&self, path: &str, recursive: bool) -> Result<Watcher, Error> {
        self.done("watch", path, self.files.watch(path, recursive)).map(Watcher)
    }
}

/// A watch; dropped, it ends.
pub struct Watcher(Watch);

impl Watcher {
    /// What is seen next; none if nothing is for so long, or the sandbox has ended.
    pub fn next(&self, longest: Duration) -> Option<FilesystemEvent> {
        // inotify(7)
        const KINDS: [(u32, &str); 7] = [
            (0x100, "create"),
            (0x2, "write"),
            (0x8, "write"),
            (0x600, "remove"),
            (0x8c0, "rename"),
            (0x4, "chmod"),
            (0x4000, "overflow"),
        ];
        loop {
            let seen = self.0.next(longest)?;
            if let Some((_, kind)) = KINDS.iter().find(|(mask, _)| seen.mask & mask != 0) {
                let name = String::from_utf8_lossy(&seen.path).into_owned();
                return Some(FilesystemEvent { name, kind });
            }
        }
    }
}
