//! A directory of the host as a tree of files: the build context.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dockerfile::ignore::IgnoreFile;

use crate::error::{Cause, Error, Result};
use crate::files::{Entry, Files, Kind};

/// A directory seen through its `.dockerignore`. Every file belongs to root, as in an image.
#[derive(Debug)]
pub(crate) struct Context {
    root: PathBuf,
    ignore: IgnoreFile,
    ignore_file: Option<PathBuf>,
    /// The size of that file.
    ignore_bytes: u64,
    /// Of ignored directories: whether something in them is not ignored.
    held: Mutex<HashMap<Vec<u8>, bool>>,
    /// Files that were read, and one that was not the same each time.
    read: Mutex<Seen>,
    /// Modes say whether a file can be executed and no more: what else they are is this process's umask.
    plain_modes: bool,
}

impl Context {
    /// Opens a context. `dockerfile` is the Dockerfile's path, whose own `NAME.dockerignore` comes
    /// before the context's `.dockerignore`.
    pub fn open(root: &Path, dockerfile: Option<&Path>) -> Result<Self> {
        let mut context = Self::bare(root)?;
        let beside = dockerfile.map(|path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".dockerignore");
            PathBuf::from(name)
        });
        for path in beside.into_iter().chain([root.join(".dockerignore")]) {
            let text = match read_ignore(&path) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::new(Cause::Read { path, source })),
            };
            context.ignore = IgnoreFile::parse(&text).map_err(|error| {
                let reason = io::Error::other(format!("line {}: {error}", error.span));
                Error::new(Cause::Read { path: path.clone(), source: reason })
            })?;
            context.ignore_file = Some(path);
            context.ignore_bytes = text.len() as u64;
            break;
        }
        Ok(context)
    }

    /// What was checked out of a repository.
    pub fn repository(root: &Path) -> Result<Self> {
        Ok(Self { plain_modes: true, ..Self::bare(root)? })
    }

    /// A directory whose ignore file does not count.
    fn bare(root: &Path) -> Result<Self> {
        let read = |source| Error::new(Cause::Read { path: root.to_owned(), source });
        if !fs::metadata(root).map_err(read)?.is_dir() {
            return Err(read(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        let (root, held, read) = (root.to_owned(), Mutex::default(), Mutex::default());
        let (ignore, ignore_file, ignore_bytes) = (IgnoreFile::default(), None, 0);
        Ok(Self { root, ignore, ignore_file, ignore_bytes, held, read, plain_modes: false })
    }

    /// The patterns, for the checks.
    pub fn ignore(&self) -> &IgnoreFile {
        &self.ignore
    }

    /// The size of the ignore file, in bytes; 0 without one.
    pub fn ignore_bytes(&self) -> u64 {
        self.ignore_bytes
    }

    /// The ignore file that hides a path which is there; `None` if it is not hidden or not there.
    pub fn hidden_by(&self, path: &[u8]) -> Option<&Path> {
        let there = fs::symlink_metadata(self.host(path)).is_ok();
        let hidden = !path.is_empty() && self.ignore.ignores(&String::from_utf8_lossy(path));
        if there && hidden { self.ignore_file.as_deref() } else { None }
    }

    /// A file that was not the same each time it was read.
    pub fn changed(&self) -> Option<Vec<u8>> {
        self.seen().changed.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares a file with what it was the first time.
    fn look(&self, path: &[u8], file: &fs::File) {
        // What cannot be asked for is an error of reading, or none.
        let Ok(meta) = file.metadata() else { return };
        let (written, state) =
            ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        let stamp = (meta.dev(), meta.ino(), meta.size(), written, state);
        let seen = &mut *self.seen();
        match seen.stamps.get(path) {
            Some(known) if *known != stamp => seen.changed = Some(path.to_vec()),
            Some(_) => {}
            None => {
                seen.stamps.insert(path.to_vec(), stamp);
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Vec<u8>, bool>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(OsStr::from_bytes(path)) }
    }

    fn sees(&self, path: &[u8], directory: bool) -> bool {
        if path.is_empty() || self.ignore.is_empty() {
            return true;
        }
        let text = String::from_utf8_lossy(path);
        !self.ignore.ignores(&text) || (directory && self.holds_visible(path))
    }

    /// Whether something in an ignored directory is not ignored: only then is the directory there.
    fn holds_visible(&self, directory: &[u8]) -> bool {
        if !self.ignore.may_hold_exceptions(&String::from_utf8_lossy(directory)) {
            return false;
        }
        if let Some(known) = self.held().get(directory) {
            return *known;
        }
        let mut found = false;
        for entry in fs::read_dir(self.host(directory)).into_iter().flatten().flatten() {
            let path = crate::files::child(directory, &entry.file_name().into_vec());
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !self.ignore.ignores(&String::from_utf8_lossy(&path))
                || (is_directory && self.holds_visible(&path))
            {
                found = true;
                break;
            }
        }
        self.held().insert(directory.to_vec(), found);
        found
    }
}

impl Files for Context {
    fn entry(&self, path: &[u8]) -> io::Result<Option<Entry>> {
        let host = self.host(path);
        let meta = match fs::symlink_metadata(&host) {
            Ok(meta) => meta,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let kind = meta.file_type();
        if !self.sees(path, kind.is_dir()) {
            return Ok(None);
        }
        let kind = if kind.is_dir() {
            Kind::Directory
        } else if kind.is_symlink() {
            Kind::Symlink(fs::read_link(&host)?.into_os_string().into_vec())
        } else if kind.is_file() {
            Kind::File(meta.len())
        } else if kind.is_fifo() {
            Kind::Fifo
        } else if kind.is_socket() {
            Kind::Socket
        } else {
            let (major, minor) = device_numbers(meta.rdev());
            if kind.is_block_device() {
                Kind::Block(major, minor)
            } else {
                Kind::Character(major, minor)
            }
        };
        let mode = match meta.mode() & 0o7777 {
            mode if !self.plain_modes => mode,
            mode if kind == Kind::Directory || mode & 0o100 != 0 => 0o755,
            _ => 0o644,
        };
        Ok(Some(Entry {
            kind,
            mode,
            uid: 0,
            gid: 0,
            // Whole seconds: what a tar header holds.
            mtime: (meta.mtime(), 0),
            xattrs: BTreeMap::new(),
            identity: (meta.nlink() > 1 && !meta.is_dir())
                .then(|| u128::from(meta.dev()) << 64 | u128::from(meta.ino())),
        }))
    }

    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.host(path))? {
            let entry = entry?;
            let name = entry.file_name().into_vec();
            if self.sees(&crate::files::child(path, &name), entry.file_type()?.is_dir()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        // A name that has become a symbolic link meanwhile must not lead out of the context.
        const O_NOFOLLOW: i32 = 0o400_000;
        let file =
            fs::OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(self.host(path))?;
        self.look(path, &file);
        Ok(Box::new(Watched { file, path: path.to_vec(), context: self }))
    }
}

/// What is known of the files that were read.
#[derive(Debug, Default)]
struct Seen {
    stamps: HashMap<Vec<u8>, Stamp>,
    changed: Option<Vec<u8>>,
}

/// What changes when a file does: device, inode, size, and the times of its content and its state.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// A file that is read; at the end it is to be what it was at the start.
struct Watched<'a> {
    file: fs::File,
    path: Vec<u8>,
    context: &'a Context,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.context.look(&self.path, &self.file);
    }
}

/// The largest ignore file that is read, in bytes.
const LARGEST_IGNORE: u64 = 16 << 20;

/// Reads an ignore file, which nobody has to be waited for and which has an end.
fn read_ignore(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST_IGNORE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_IGNORE {
        return Err(io::Error::other(format!("larger than {LARGEST_IGNORE} bytes")));
    }
    Ok(bytes)
}

/// Major and minor of a `dev_t`, as makedev(3) puts them together.
fn device_numbers(rdev: u64) -> (u32, u32) {
    let major = ((rdev >> 8) & 0xfff) | ((rdev >> 32) & 0xffff_f000);
    let minor = (rdev & 0xff) | ((rdev >> 12) & 0xffff_ff00);
    // Both fit by the masks.
    (u32::try_from(major).unwrap_or(u32::MAX), u32::try_from(minor).unwrap_or(u32::MAX))
}
