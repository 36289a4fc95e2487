//! A read-only tree of constant files: sysfs, as little of it as programs look for.

use std::any::Any;
use std::rc::Rc;

use abi::Errno;

use super::inode::{DirItem, Inode, InodeRef, Kind, Meta};
use super::{Cx, Res};

/// Files by path; directories follow from them.
pub type Rows = &'static [(&'static str, &'static str)];

/// What `/sys` shows: one CPU, no devices.
pub const SYSFS: Rows = &[
    ("devices/system/cpu/cpu0/topology/core_id", "0\n"),
    ("devices/system/cpu/cpu0/topology/physical_package_id", "0\n"),
    ("devices/system/cpu/cpu0/topology/thread_siblings_list", "0\n"),
    ("devices/system/cpu/kernel_max", "0\n"),
    ("devices/system/cpu/offline", "\n"),
    ("devices/system/cpu/online", "0\n"),
    ("devices/system/cpu/possible", "0\n"),
    ("devices/system/cpu/present", "0\n"),
    ("devices/system/node/node0/cpulist", "0\n"),
    ("devices/system/node/online", "0\n"),
    ("devices/system/node/possible", "0\n"),
    ("fs/cgroup/cgroup.controllers", "\n"),
    ("fs/cgroup/cgroup.procs", "1\n"),
    ("kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n"),
    ("kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152\n"),
];

/// A node: a file's row, or a directory's path with a trailing slash.
struct SynthInode {
    fs: &'static str,
    dev: u64,
    rows: Rows,
    path: String,
    row: Option<usize>,
}

/// The root of a constant tree.
pub fn root(fs: &'static str, dev: u64, rows: Rows) -> InodeRef {
    Rc::new(SynthInode { fs, dev, rows, path: String::new(), row: None })
}

impl SynthInode {
    fn text(&self) -> &'static str {
        self.row.and_then(|row| self.rows.get(row)).map_or("", |(_, text)| text)
    }

    fn child(&self, name: &str) -> Option<SynthInode> {
        let full = format!("{}{name}", self.path);
        let make =
            |path, row| SynthInode { fs: self.fs, dev: self.dev, rows: self.rows, path, row };
        if let Some(row) = self.rows.iter().position(|(path, _)| *path == full) {
            return Some(make(full, Some(row)));
        }
        let dir = format!("{full}/");
        let exists = self.rows.iter().any(|(path, _)| path.starts_with(&dir));
        (exists && !name.is_empty()).then(|| make(dir, None))
    }

    fn ino(&self) -> u64 {
        let first = self.rows.iter().position(|(path, _)| path.starts_with(&self.path));
        let depth = self.path.matches('/').count() as u64;
        match self.row {
            Some(row) => 1 << 16 | row as u64,
            None => 1 + first.unwrap_or(0) as u64 * 16 + depth,
        }
    }
}

impl Inode for SynthInode {
    fn fs_name(&self) -> &'static str {
        self.fs
    }

    fn meta(&self, cx: &mut Cx) -> Res<Meta> {
        let now = cx.now();
        let (perm, nlink, size) = match self.row {
            Some(_) => (0o444, 1, 4096),
            None => (0o555, 2, 0),
        };
        Ok(Meta {
            dev: self.dev,
            ino: self.ino(),
            mode: self.kind().bits() | perm,
            nlink,
            size,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..Meta::default()
        })
    }

    fn kind(&self) -> Kind {
        if self.row.is_some() { Kind::File } else { Kind::Dir }
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn lookup(&self, _cx: &mut Cx, name: &[u8]) -> Res<InodeRef> {
        if self.row.is_some() {
            return Err(Errno::ENOTDIR);
        }
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        Ok(Rc::new(self.child(name).ok_or(Errno::ENOENT)?))
    }

    fn list(&self, _cx: &mut Cx) -> Res<Vec<DirItem>> {
        let mut items: Vec<DirItem> = Vec::new();
        for (path, _) in self.rows {
            let Some(rest) = path.strip_prefix(self.path.as_str()) else { continue };
            let name = rest.split('/').next().unwrap_or(rest);
            if items.last().is_some_and(|i| *i.name == *name.as_bytes()) {
                continue;
            }
            if let Some(child) = self.child(name) {
                let name = name.as_bytes().into();
                items.push(DirItem { name, ino: child.ino(), kind: child.kind() });
            }
        }
        Ok(items)
    }

    fn read_at(&self, _cx: &mut Cx, offset: u64, buf: &mut [u8]) -> Res<usize> {
        if self.row.is_none() {
            return Err(Errno::EISDIR);
        }
        let text = self.text().as_bytes();
        let rest = text.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}
