//! proc(5). The lists of files are in [`tables`]; what they say about processes comes through [`ProcView`].

mod memory;
pub mod mounts;
pub mod namespace;
pub mod tables;

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_ACCMODE, O_RDONLY, SEEK_DATA, SEEK_END, SEEK_HOLE};
use abi::poll::{READABLE, WRITABLE};

use self::namespace::NAMESPACES;
use self::tables::{GUARDED, NET, OF_MEMORY, SIZE_MAX, SYSTEM, Seek, System, TASK, Task};
use super::inode::{DirItem, Inode, InodeRef, Kind, Meta, Names, NewNode, SetAttr};
use super::open_file::{FileOps, OpenFile, read_on, seek_to};
use super::{Cx, Dentry, Res};
use crate::source::MapSource;

/// What proc(5) shows of processes and of the system. `Kernel` implements it.
pub trait ProcView {
    /// Ids of all processes, ascending.
    fn pids(&self) -> Vec<u32>;
    /// Ids of the threads of process `pid`, ascending.
    fn tids(&self, pid: u32) -> Vec<u32>;
    /// The process of thread `tid`, if there is such a thread (or zombie process).
    fn process_of(&self, tid: u32) -> Option<u32>;
    /// Effective user and group of the task.
    fn owner(&self, tid: u32) -> Option<(u32, u32)>;
    /// Its open descriptors, ascending.
    fn fds(&self, tid: u32) -> Option<Vec<i32>>;
    /// The file of its descriptor `fd`, and whether it is closed by execve(2).
    fn file(&self, tid: u32, fd: i32) -> Option<(Rc<OpenFile>, bool)>;
    /// Whether it has ended and nobody has waited for it: it has no memory, files or place any more.
    fn task_ended(&self, tid: u32) -> bool;
    /// What is mapped into its memory that has a name: first byte, end, name.
    fn mapped(&self, tid: u32) -> Vec<(u64, u64, Vec<u8>)>;
    /// Its `cwd`, `root` or `exe`.
    fn place(&self, tid: u32, name: &str) -> Option<Rc<Dentry>>;
    /// Whether the caller may look into the task (`PTRACE_MODE_READ`), or with `change` also change it.
    fn may_access(&self, tid: u32, change: bool) -> bool;
    /// Bytes of its memory from `at` on: how many.
    fn read_memory(&mut self, tid: u32, at: u64, buf: &mut [u8]) -> Res<usize>;
    /// What `/proc/TID/pagemap` says of its pages from number `first` on.
    fn page_map(&self, tid: u32, first: u64, out: &mut [u64]);
    /// Changes its memory from `at` on: how many bytes.
    fn write_memory(&mut self, tid: u32, at: u64, bytes: &[u8]) -> Res<usize>;
    /// Content of `/proc/TID/name`; `whole` asks for the process and not one thread.
    fn task_text(&mut self, tid: u32, name: &str, whole: bool) -> Res<Vec<u8>>;
    /// A write to `/proc/TID/name`.
    fn task_write(&mut self, tid: u32, name: &str, data: &[u8]) -> Res<()>;
    /// Content of `/proc/path`.
    fn system_text(&mut self, path: &str) -> Vec<u8>;
    /// A write to `/proc/path`.
    fn system_write(&mut self, path: &str, data: &[u8]) -> Res<()>;
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// `/proc` (empty) or a directory of system files: its path with a trailing slash.
    SystemDir(String),
    SystemFile(usize),
    /// `self` and `thread-self`.
    SelfLink(bool),
    /// `/proc/PID` (whole) or `/proc/PID/task/TID`.
    TaskRoot {
        tid: u32,
        whole: bool,
    },
    TaskFile {
        tid: u32,
        whole: bool,
        row: usize,
    },
    Fd {
        tid: u32,
        fd: i32,
    },
    FdInfo {
        tid: u32,
        fd: i32,
    },
    Ns {
        tid: u32,
        row: usize,
    },
    /// `/proc/PID/net/name`.
    Net {
        tid: u32,
        row: usize,
    },
    /// `/proc/PID/map_files/START-END`.
    Mapped {
        tid: u32,
        start: u64,
        end: u64,
    },
}

/// An inode of proc(5).
pub struct ProcInode {
    dev: u64,
    node: Node,
}

/// The name in `map_files` of a mapping.
fn range_of((start, end, _): &(u64, u64, Vec<u8>)) -> String {
    format!("{start:x}-{end:x}")
}

/// The root of a proc filesystem on device `dev`.
pub fn root(dev: u64) -> InodeRef {
    Rc::new(ProcInode { dev, node: Node::SystemDir(String::new()) })
}

/// The directory `path` (without a slash at its end) of system files, to be mounted over itself.
pub fn directory(dev: u64, path: &str) -> InodeRef {
    Rc::new(ProcInode { dev, node: Node::SystemDir(format!("{path}/")) })
}

/// The process whose directory of proc(5) `inode` is.
pub fn process_of(inode: &InodeRef) -> Option<u32> {
    let inode = inode.clone().as_any().downcast::<ProcInode>().ok()?;
    match inode.node {
        Node::TaskRoot { tid, whole: true } => Some(tid),
        _ => None,
    }
}

impl ProcInode {
    fn make(&self, node: Node) -> InodeRef {
        Rc::new(ProcInode { dev: self.dev, node })
    }

    /// Inode numbers: the kind of node, the task, and the row or descriptor.
    fn ino(&self) -> u64 {
        let mix = |class: u64, tid: u32, n: u64| class << 60 | u64::from(tid) << 28 | n;
        match &self.node {
            Node::SystemDir(path) if path.is_empty() => 1,
            Node::SystemDir(path) => {
                let first = SYSTEM.iter().position(|(p, ..)| p.starts_with(path.as_str()));
                0xf000_0000 + first.unwrap_or(0) as u64 * 16 + path.matches('/').count() as u64
            }
            Node::SystemFile(row) => 0xf001_0000 + *row as u64,
            Node::SelfLink(thread) => 0xf002_0000 + u64::from(*thread),
            Node::TaskRoot { tid, whole } => mix(1, *tid, u64::from(*whole)),
            Node::TaskFile { tid, whole, row } => mix(2, *tid, *row as u64 * 2 + u64::from(*whole)),
            Node::Fd { tid, fd } => mix(3, *tid, *fd as u64),
            Node::FdInfo { tid, fd } => mix(4, *tid, *fd as u64),
            Node::Ns { tid, row } => mix(5, *tid, *row as u64),
            Node::Net { tid, row } => mix(6, *tid, *row as u64),
            // Addresses are of pages, and no two mappings begin at one.
            Node::Mapped { tid, start, .. } => mix(7, *tid, 0) ^ start >> 12,
        }
    }

    fn tid(&self) -> Option<u32> {
        match &self.node {
            Node::TaskRoot { tid, .. }
            | Node::TaskFile { tid, .. }
            | Node::Fd { tid, .. }
            | Node::FdInfo { tid, .. }
            | Node::Ns { tid, .. }
            | Node::Mapped { tid, .. } => Some(*tid),
            // They belong to root, whoever the process is.
            Node::Net { .. } => None,
            _ => None,
        }
    }

    fn task_row(&self) -> Option<(&'static str, u32, Task)> {
        match &self.node {
            Node::TaskFile { row, .. } => TASK.get(*row).copied(),
            _ => None,
        }
    }

    fn is_mount_table(&self) -> bool {
        self.task_row().is_some_and(|(_, _, what)| what == Task::Mounts)
    }

    /// EACCES unless the caller may look at the descriptors of `tid`.
    fn check_owner(cx: &mut Cx, tid: u32) -> Res<()> {
        let (uid, _) = cx.world.procs().owner(tid).ok_or(Errno::ENOENT)?;
        let allowed = cx.cred.uid == uid || cx.cred.capable(super::cx::cap::DAC_OVERRIDE);
        if allowed { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// What `map_files` lists; EACCES unless the caller may look into the task.
    fn mapped(cx: &mut Cx, tid: u32) -> Res<Vec<(u64, u64, Vec<u8>)>> {
        let procs = cx.world.procs();
        if procs.may_access(tid, false) { Ok(procs.mapped(tid)) } else { Err(Errno::EACCES) }
    }

    fn fds(cx: &mut Cx, tid: u32) -> Res<Vec<i32>> {
        Self::check_owner(cx, tid)?;
        cx.world.procs().fds(tid).ok_or(Errno::ENOENT)
    }

    fn file(cx: &mut Cx, tid: u32, fd: i32) -> Res<(Rc<OpenFile>, bool)> {
        Self::check_owner(cx, tid)?;
        cx.world.procs().file(tid, fd).ok_or(Errno::ENOENT)
    }

    /// The text of a file.
    fn text(&self, cx: &mut Cx) -> Res<Vec<u8>> {
        match &self.node {
            Node::SystemFile(row) => match SYSTEM.get(*row) {
                Some((_, _, System::Text(text))) => Ok(text.as_bytes().to_vec()),
                Some((path, ..)) => Ok(cx.world.procs().system_text(path)),
                None => Err(Errno::ENOENT),
            },
            Node::Net { row, .. } => match NET.get(*row) {
                Some((_, System::Text(text))) => Ok(text.as_bytes().to_vec()),
                Some((name, _)) => Ok(cx.world.procs().system_text(&format!("net/{name}"))),
                None => Err(Errno::ENOENT),
            },
            Node::TaskFile { tid, whole, .. } => match self.task_row() {
                Some((_, _, Task::Text(text))) => Ok(text.as_bytes().to_vec()),
                Some((name, _, Task::Mounts)) => {
                    let root = cx.world.procs().place(*tid, "root").ok_or(Errno::ENOENT)?;
                    Ok(mounts::text(&cx.shared, &root, name))
                }
                Some((name, ..)) => cx.world.procs().task_text(*tid, name, *whole),
                None => Err(Errno::ENOENT),
            },
            Node::FdInfo { tid, fd } => {
                let (file, cloexec) = Self::file(cx, *tid, *fd)?;
                let meta = file.dentry().inode().meta(cx)?;
                let flags = file.flags() | if cloexec { abi::fcntl::O_CLOEXEC } else { 0 };
                let mut text = format!(
                    "pos:\t{}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{}\n",
                    file.pos.get(),
                    flags,
                    file.dentry().mount().id,
                    meta.ino
                );
                text.push_str(&file.ops().fdinfo());
                Ok(text.into_bytes())
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Takes a write: how many of its bytes.
    fn write(&self, cx: &mut Cx, data: &[u8]) -> Res<usize> {
        match &self.node {
            Node::SystemFile(row) => {
                let (path, ..) = SYSTEM.get(*row).ok_or(Errno::ENOENT)?;
                cx.world.procs().system_write(path, data)?;
                Ok(data.len())
            }
            Node::TaskFile { tid, .. } => {
                let (name, ..) = self.task_row().ok_or(Errno::ENOENT)?;
                let taken = &data[..data.len().min(tables::longest_write(name))];
                cx.world.procs().task_write(*tid, name, taken)?;
                Ok(taken.len())
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn seek(&self) -> Seek {
        match (&self.node, self.task_row()) {
            (Node::SystemFile(_), _) if self.is_parameter() => Seek::Free,
            (_, Some((name, ..))) => tables::seek(name),
            _ => Seek::Sequential,
        }
    }

    /// Whether it lies below `/proc/sys`.
    fn is_parameter(&self) -> bool {
        match &self.node {
            Node::SystemFile(row) => {
                SYSTEM.get(*row).is_some_and(|(path, ..)| path.starts_with("sys/"))
            }
            _ => false,
        }
    }

    fn mode(&self) -> u32 {
        let perm = match &self.node {
            Node::SystemDir(_) | Node::TaskRoot { .. } => 0o555,
            Node::SystemFile(row) => SYSTEM.get(*row).map_or(0, |(_, perm, _)| *perm),
            Node::SelfLink(_) | Node::Ns { .. } => 0o777,
            Node::Mapped { .. } => 0o400,
            Node::TaskFile { .. } => self.task_row().map_or(0, |(_, perm, _)| perm),
            Node::Fd { .. } => 0o700,
            Node::FdInfo { .. } | Node::Net { .. } => 0o444,
        };
        self.kind().bits() | perm
    }
}

impl Inode for ProcInode {
    fn fs_name(&self) -> &'static str {
        "proc"
    }

    fn meta(&self, cx: &mut Cx) -> Res<Meta> {
        let now = cx.now();
        let owner = match self.tid() {
            Some(tid) => cx.world.procs().owner(tid).ok_or(Errno::ENOENT)?,
            None => (0, 0),
        };
        let mut mode = self.mode();
        if let Node::Fd { tid, fd } = &self.node
            && let Ok((file, _)) = Self::file(cx, *tid, *fd)
        {
            let read = if file.is_readable() { 0o500 } else { 0o100 };
            mode = Kind::Symlink.bits() | read | if file.is_writable() { 0o300 } else { 0o100 };
        }
        let is_dir = self.kind() == Kind::Dir;
        let size = match (&self.node, self.task_row()) {
            (Node::Fd { .. } | Node::Mapped { .. }, _) => 64,
            (Node::TaskFile { tid, .. }, Some((_, _, Task::FdDir))) => {
                cx.world.procs().fds(*tid).map_or(0, |fds| fds.len() as u64)
            }
            _ => 0,
        };
        Ok(Meta {
            dev: self.dev,
            ino: self.ino(),
            mode,
            nlink: if is_dir { 2 } else { 1 },
            uid: owner.0,
            gid: owner.1,
            size,
            block_size: 1024,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..Meta::default()
        })
    }

    fn kind(&self) -> Kind {
        match &self.node {
            Node::SystemDir(_) | Node::TaskRoot { .. } => Kind::Dir,
            Node::SystemFile(row) => match SYSTEM.get(*row) {
                Some((_, _, System::Link(_))) => Kind::Symlink,
                _ => Kind::File,
            },
            Node::SelfLink(_) | Node::Fd { .. } | Node::Ns { .. } | Node::Mapped { .. } => {
                Kind::Symlink
            }
            Node::TaskFile { .. } => match self.task_row() {
                Some((_, _, Task::Place)) => Kind::Symlink,
                Some((_, _, Task::Made | Task::Text(_) | Task::Mounts)) | None => Kind::File,
                Some(_) => Kind::Dir,
            },
            Node::FdInfo { .. } | Node::Net { .. } => Kind::File,
        }
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn names(&self) -> Names {
        Names::Volatile
    }

    fn lookup(&self, cx: &mut Cx, name: &[u8]) -> Res<InodeRef> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let number = || {
            let plain = name.bytes().all(|b| b.is_ascii_digit()) && !name.starts_with('0');
            name.parse::<u32>().ok().filter(|_| plain || name == "0")
        };
        match &self.node {
            Node::SystemDir(path) => {
                if path.is_empty() {
                    match name {
                        "self" => return Ok(self.make(Node::SelfLink(false))),
                        "thread-self" => return Ok(self.make(Node::SelfLink(true))),
                        _ => {}
                    }
                    if let Some(tid) = number() {
                        cx.world.procs().process_of(tid).ok_or(Errno::ENOENT)?;
                        return Ok(self.make(Node::TaskRoot { tid, whole: true }));
                    }
                }
                let full = format!("{path}{name}");
                if let Some(row) = SYSTEM.iter().position(|(p, ..)| *p == full) {
                    return Ok(self.make(Node::SystemFile(row)));
                }
                let dir = format!("{full}/");
                let exists = !name.is_empty() && SYSTEM.iter().any(|(p, ..)| p.starts_with(&dir));
                if exists { Ok(self.make(Node::SystemDir(dir))) } else { Err(Errno::ENOENT) }
            }
            Node::TaskRoot { tid, whole } => {
                cx.world.procs().process_of(*tid).ok_or(Errno::ENOENT)?;
                let row = TASK.iter().position(|(n, ..)| *n == name).ok_or(Errno::ENOENT)?;
                if !whole && TASK.get(row).is_some_and(|r| r.2 == Task::TaskDir) {
                    return Err(Errno::ENOENT);
                }
                Ok(self.make(Node::TaskFile { tid: *tid, whole: *whole, row }))
            }
            Node::TaskFile { tid, .. } => {
                let tid = *tid;
                match self.task_row().map(|r| r.2) {
                    Some(Task::FdDir | Task::FdInfoDir) => {
                        let fd = number().and_then(|n| i32::try_from(n).ok());
                        let fd = fd.ok_or(Errno::ENOENT)?;
                        Self::file(cx, tid, fd)?;
                        let link = self.task_row().map(|r| r.2) == Some(Task::FdDir);
                        let node =
                            if link { Node::Fd { tid, fd } } else { Node::FdInfo { tid, fd } };
                        Ok(self.make(node))
                    }
                    Some(Task::TaskDir) => {
                        let thread = number().ok_or(Errno::ENOENT)?;
                        if cx.world.procs().process_of(thread) != Some(tid) {
                            return Err(Errno::ENOENT);
                        }
                        Ok(self.make(Node::TaskRoot { tid: thread, whole: false }))
                    }
                    Some(Task::NsDir) => {
                        let row = NAMESPACES.iter().position(|(n, _)| *n == name);
                        Ok(self.make(Node::Ns { tid, row: row.ok_or(Errno::ENOENT)? }))
                    }
                    Some(Task::MapDir) => {
                        let range =
                            Self::mapped(cx, tid)?.into_iter().find(|m| range_of(m) == name);
                        let (start, end, _) = range.ok_or(Errno::ENOENT)?;
                        Ok(self.make(Node::Mapped { tid, start, end }))
                    }
                    Some(Task::NetDir) if cx.world.procs().task_ended(tid) => Err(Errno::ENOENT),
                    Some(Task::NetDir) => {
                        let row = NET.iter().position(|(n, _)| *n == name);
                        Ok(self.make(Node::Net { tid, row: row.ok_or(Errno::ENOENT)? }))
                    }
                    Some(Task::Empty) => Err(Errno::ENOENT),
                    _ => Err(Errno::ENOTDIR),
                }
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn list(&self, cx: &mut Cx) -> Res<Vec<DirItem>> {
        let mut items: Vec<(String, Node)> = Vec::new();
        match &self.node {
            Node::SystemDir(path) => {
                for (row, (full, ..)) in SYSTEM.iter().enumerate() {
                    let Some(rest) = full.strip_prefix(path.as_str()) else { continue };
                    match rest.split_once('/') {
                        None => items.push((rest.to_string(), Node::SystemFile(row))),
                        Some((dir, _)) if items.last().is_none_or(|(n, _)| n != dir) => {
                            items.push((dir.to_string(), Node::SystemDir(format!("{path}{dir}/"))));
                        }
                        Some(_) => {}
                    }
                }
                if path.is_empty() {
                    items.push(("self".into(), Node::SelfLink(false)));
                    items.push(("thread-self".into(), Node::SelfLink(true)));
                    for tid in cx.world.procs().pids() {
                        items.push((tid.to_string(), Node::TaskRoot { tid, whole: true }));
                    }
                }
            }
            Node::TaskRoot { tid, whole } => {
                for (row, (name, _, what)) in TASK.iter().enumerate() {
                    if *whole || *what != Task::TaskDir {
                        let node = Node::TaskFile { tid: *tid, whole: *whole, row };
                        items.push((name.to_string(), node));
                    }
                }
            }
            Node::TaskFile { tid, .. } => {
                let tid = *tid;
                match self.task_row().map(|r| r.2) {
                    Some(Task::FdDir) => {
                        for fd in Self::fds(cx, tid)? {
                            items.push((fd.to_string(), Node::Fd { tid, fd }));
                        }
                    }
                    Some(Task::FdInfoDir) => {
                        for fd in Self::fds(cx, tid)? {
                            items.push((fd.to_string(), Node::FdInfo { tid, fd }));
                        }
                    }
                    Some(Task::TaskDir) => {
                        for tid in cx.world.procs().tids(tid) {
                            items.push((tid.to_string(), Node::TaskRoot { tid, whole: false }));
                        }
                    }
                    Some(Task::NsDir) => {
                        for (row, (name, _)) in NAMESPACES.iter().enumerate() {
                            items.push((name.to_string(), Node::Ns { tid, row }));
                        }
                    }
                    Some(Task::MapDir) => {
                        for range in Self::mapped(cx, tid)? {
                            let (start, end, _) = range;
                            items.push((range_of(&range), Node::Mapped { tid, start, end }));
                        }
                    }
                    Some(Task::NetDir) if cx.world.procs().task_ended(tid) => {}
                    Some(Task::NetDir) => {
                        for (row, (name, _)) in NET.iter().enumerate() {
                            items.push((name.to_string(), Node::Net { tid, row }));
                        }
                    }
                    Some(Task::Empty) => {}
                    _ => return Err(Errno::ENOTDIR),
                }
            }
            _ => return Err(Errno::ENOTDIR),
        }
        let item = |(name, node): (String, Node)| {
            let inode = ProcInode { dev: self.dev, node };
            DirItem { name: name.into_bytes().into(), ino: inode.ino(), kind: inode.kind() }
        };
        Ok(items.into_iter().map(item).collect())
    }

    fn create(&self, _cx: &mut Cx, _name: &[u8], _new: &NewNode) -> Res<InodeRef> {
        Err(Errno::ENOENT)
    }

    fn rename(
        &self,
        cx: &mut Cx,
        _name: &[u8],
        new_dir: &InodeRef,
        new_name: &[u8],
        _exchange: bool,
    ) -> Res<()> {
        new_dir.lookup(cx, new_name)?;
        Err(Errno::EPERM)
    }

    fn read_link(&self, cx: &mut Cx) -> Res<Vec<u8>> {
        match &self.node {
            Node::SelfLink(thread) => {
                let job = cx.world.job();
                let text = match thread {
                    false => job.pid.to_string(),
                    true => format!("{}/task/{}", job.pid, job.tid),
                };
                Ok(text.into_bytes())
            }
            Node::SystemFile(row) => match SYSTEM.get(*row) {
                Some((_, _, System::Link(target))) => Ok(target.as_bytes().to_vec()),
                _ => Err(Errno::EINVAL),
            },
            Node::Ns { tid, row } => {
                if cx.world.procs().task_ended(*tid) && !namespace::outlives(*row) {
                    return Err(Errno::ENOENT);
                }
                Ok(namespace::text(*row).ok_or(Errno::ENOENT)?.into_bytes())
            }
            Node::Mapped { tid, start, end } => {
                let all = Self::mapped(cx, *tid)?;
                let found = all.into_iter().find(|(s, e, _)| s == start && e == end);
                Ok(found.ok_or(Errno::ENOENT)?.2)
            }
            _ => {
                let place = self.magic(cx).ok_or(Errno::EINVAL)??;
                let me = cx.world.job().tid;
                let root = cx.world.procs().place(me, "root");
                Ok(match root {
                    Some(root) => place.shown_path(&root),
                    None => place.path(),
                })
            }
        }
    }

    fn magic(&self, cx: &mut Cx) -> Option<Res<Rc<Dentry>>> {
        let tid = match &self.node {
            Node::Fd { tid, .. } => Some(*tid),
            Node::TaskFile { tid, .. } if matches!(self.task_row(), Some((_, _, Task::Place))) => {
                Some(*tid)
            }
            Node::Ns { tid, .. } | Node::Mapped { tid, .. } => Some(*tid),
            _ => None,
        };
        if tid.is_some_and(|tid| !cx.world.procs().may_access(tid, false)) {
            return Some(Err(Errno::EACCES));
        }
        match &self.node {
            Node::Fd { tid, fd } => {
                Some(Self::file(cx, *tid, *fd).map(|(file, _)| file.dentry().clone()))
            }
            Node::TaskFile { tid, .. } => match self.task_row() {
                Some((name, _, Task::Place)) => {
                    Some(cx.world.procs().place(*tid, name).ok_or(Errno::ENOENT))
                }
                _ => None,
            },
            Node::Ns { tid, row } if cx.world.procs().task_ended(*tid) => {
                let stays = namespace::outlives(*row);
                let dentry = namespace::dentry(*row).filter(|_| stays);
                Some(dentry.ok_or(Errno::ENOENT))
            }
            Node::Ns { row, .. } => Some(namespace::dentry(*row).ok_or(Errno::ENOENT)),
            // Going there takes CAP_CHECKPOINT_RESTORE, which no container has.
            Node::Mapped { .. } => Some(Err(Errno::EPERM)),
            _ => None,
        }
    }

    fn set_attr(&self, _cx: &mut Cx, attr: &SetAttr) -> Res<()> {
        // O_TRUNC of a control file is not an error. Times are now, and owners those of the task, whatever is set.
        let of_task = self.tid().is_some();
        let kept = match attr.perm {
            Some(perm) => !of_task && perm == self.mode() & 0o7777,
            None => of_task || attr.uid.unwrap_or(0) == 0 && attr.gid.unwrap_or(0) == 0,
        };
        if kept { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn open(
        self: Rc<Self>,
        cx: &mut Cx,
        _dentry: &Rc<Dentry>,
        flags: u32,
    ) -> Option<Res<Rc<dyn FileOps>>> {
        if let (Node::TaskFile { tid, .. }, Some((name, ..))) = (&self.node, self.task_row()) {
            let change = name == "mem";
            if cx.world.procs().task_ended(*tid) {
                match name {
                    _ if OF_MEMORY.contains(&name) => return Some(Err(Errno::ESRCH)),
                    _ if self.is_mount_table() => return Some(Err(Errno::EINVAL)),
                    _ => {}
                }
            }
            // The user namespace's own CAP_SYS_ADMIN, which a container's root does not have.
            let admin = cx.cred.capable(super::cx::cap::SYS_ADMIN);
            if name == "setgroups" && flags & O_ACCMODE != O_RDONLY && !admin {
                return Some(Err(Errno::EACCES));
            }
            if GUARDED.contains(&name) && !cx.world.procs().may_access(*tid, change) {
                return Some(Err(Errno::EACCES));
            }
            if change {
                return Some(Ok(Rc::new(memory::MemFile { tid: *tid })));
            }
            if name == "pagemap" {
                return Some(Ok(Rc::new(memory::PageMap { tid: *tid })));
            }
        }
        if matches!(self.node, Node::Net { .. }) && flags & O_ACCMODE != O_RDONLY {
            return Some(Err(Errno::EACCES));
        }
        if let Node::SystemFile(row) = &self.node
            && matches!(SYSTEM.get(*row), Some((_, _, System::Refused)))
        {
            return Some(Err(Errno::EPERM));
        }
        match self.kind() {
            Kind::File => Some(Ok(Rc::new(ProcFile { inode: self, text: RefCell::default() }))),
            _ => None,
        }
    }
}

/// An open file of proc(5): its text is made when reading starts.
struct ProcFile {
    inode: Rc<ProcInode>,
    text: RefCell<Option<Vec<u8>>>,
}

impl FileOps for ProcFile {
    fn kind_name(&self) -> &'static str {
        "proc file"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        read_on(self, cx, file, buf)
    }

    fn read_at(&self, cx: &mut Cx, _file: &OpenFile, at: u64, buf: &mut [u8]) -> Res<usize> {
        if at == 0 || self.text.borrow().is_none() {
            let text = self.inode.text(cx)?;
            *self.text.borrow_mut() = Some(text);
        }
        let text = self.text.borrow();
        let rest = text.as_deref().and_then(|t| t.get(usize::try_from(at).ok()?..)).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write(&self, cx: &mut Cx, _file: &OpenFile, buf: &[u8]) -> Res<usize> {
        self.inode.write(cx, buf)
    }

    fn write_at(&self, cx: &mut Cx, file: &OpenFile, _at: u64, buf: &[u8]) -> Res<usize> {
        self.write(cx, file, buf)
    }

    fn seek(&self, _cx: &mut Cx, file: &OpenFile, offset: i64, whence: u32) -> Res<u64> {
        let limit = match self.inode.seek() {
            Seek::Sequential if whence == SEEK_END => return Err(Errno::EINVAL),
            // There is nothing, neither data nor a hole.
            Seek::Limited | Seek::Free if matches!(whence, SEEK_DATA | SEEK_HOLE) => {
                return Err(Errno::ENXIO);
            }
            Seek::Limited => SIZE_MAX,
            Seek::Sequential | Seek::Free => i64::MAX as u64,
        };
        let before = file.pos.get();
        let at = seek_to(file, offset, whence, 0)?;
        if at > limit {
            file.pos.set(before);
            return Err(Errno::EINVAL);
        }
        Ok(at)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn takes_messages(&self) -> bool {
        true
    }

    /// Only files that are read by iterators (`read_iter`).
    fn splices(&self, _write: bool) -> bool {
        match &self.inode.node {
            Node::SystemFile(row) => {
                !SYSTEM.get(*row).is_some_and(|(path, ..)| path.starts_with("sysvipc/"))
            }
            _ => self.inode.is_mount_table(),
        }
    }

    fn map(&self, _cx: &mut Cx, _file: &OpenFile) -> Res<Rc<dyn MapSource>> {
        let of_system = matches!(self.inode.node, Node::SystemFile(_) | Node::Net { .. });
        // Files of /proc itself have their calls passed on, or fail.
        let passed_on = of_system && !self.inode.is_parameter();
        Err(if passed_on { Errno::EIO } else { Errno::ENODEV })
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        if self.inode.is_mount_table() { READABLE } else { READABLE | WRITABLE }
    }

    fn is_pollable(&self) -> bool {
        !matches!(self.inode.node, Node::TaskFile { .. } | Node::FdInfo { .. })
            || self.inode.is_mount_table()
    }
}
