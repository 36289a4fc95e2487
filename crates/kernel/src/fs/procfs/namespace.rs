//! What `/proc/pid/ns/NAME` leads to: files of nsfs, one for each of the box's namespaces (namespaces(7), ioctl_ns(2)).

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use abi::Errno;
use abi::sched::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME,
    CLONE_NEWUSER, CLONE_NEWUTS,
};
use abi::stat::NSFS_MAGIC;

use crate::fs::inode::{Inode, Kind, Meta};
use crate::fs::open_file::{FileOps, OpenFile};
use crate::fs::{Cx, Dentry, Mount, Res};

/// Device number of nsfs.
const DEV: u64 = 4;
/// ioctl_ns(2): the user namespace that owns this one.
pub const NS_GET_USERNS: u32 = 0xb701;
/// The parent of a user or PID namespace.
pub const NS_GET_PARENT: u32 = 0xb702;
/// The kind, as a flag of clone(2).
pub const NS_GET_NSTYPE: u32 = 0xb703;
/// Who made a user namespace.
pub const NS_GET_OWNER_UID: u32 = 0xb704;

/// Names of links, and the inode numbers of what they lead to.
pub const NAMESPACES: &[(&str, u64)] = &[
    ("cgroup", 4026531835),
    ("ipc", 4026531839),
    ("mnt", 4026531841),
    ("net", 4026531840),
    ("pid", 4026531836),
    ("pid_for_children", 4026531836),
    ("time", 4026531834),
    ("time_for_children", 4026531834),
    ("user", 4026531837),
    ("uts", 4026531838),
];

/// The kind of the namespace that the link `name` leads to, as its name shows it, and its bit for clone(2).
fn class(name: &'static str) -> (&'static str, u64) {
    match name {
        "cgroup" => (name, CLONE_NEWCGROUP),
        "ipc" => (name, CLONE_NEWIPC),
        "mnt" => (name, CLONE_NEWNS),
        "net" => (name, CLONE_NEWNET),
        "time" | "time_for_children" => ("time", CLONE_NEWTIME),
        "user" => (name, CLONE_NEWUSER),
        "uts" => (name, CLONE_NEWUTS),
        _ => ("pid", CLONE_NEWPID),
    }
}

/// Whether a task that has ended still has the namespace: its number and its owner stay, all others are gone (`nsproxy`).
pub fn outlives(row: usize) -> bool {
    NAMESPACES.get(row).is_some_and(|(name, _)| matches!(*name, "pid" | "user"))
}

/// The text of a link: `net:[4026531840]`.
pub fn text(row: usize) -> Option<String> {
    let (name, number) = NAMESPACES.get(row)?;
    Some(format!("{}:[{number}]", class(name).0))
}

/// What a link leads to.
pub fn dentry(row: usize) -> Option<Rc<Dentry>> {
    let mount = Mount {
        id: 0,
        parent: 0,
        dev: DEV,
        fstype: "nsfs",
        source: String::new(),
        root: String::new(),
        flags: Cell::new(0),
        options: String::new(),
        magic: NSFS_MAGIC,
    };
    let (name, number) = *NAMESPACES.get(row)?;
    let inode = Rc::new(Namespace { number, kind: class(name).1 });
    Some(Dentry::root(inode, Rc::new(mount), text(row)?.as_bytes()))
}

/// A namespace.
#[derive(Clone, Copy)]
struct Namespace {
    number: u64,
    kind: u64,
}

impl Inode for Namespace {
    fn fs_name(&self) -> &'static str {
        "nsfs"
    }

    fn meta(&self, _cx: &mut Cx) -> Res<Meta> {
        let mode = Kind::File.bits() | 0o444;
        Ok(Meta { dev: DEV, ino: self.number, mode, nlink: 1, ..Meta::default() })
    }

    fn kind(&self) -> Kind {
        Kind::File
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn open(
        self: Rc<Self>,
        _cx: &mut Cx,
        _dentry: &Rc<Dentry>,
        _flags: u32,
    ) -> Option<Res<Rc<dyn FileOps>>> {
        Some(Ok(Rc::new(NamespaceFile(*self))))
    }
}

/// An open file of a namespace; it can be asked, and nothing else.
struct NamespaceFile(Namespace);

impl FileOps for NamespaceFile {
    fn kind_name(&self) -> &'static str {
        "namespace"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ioctl(
        &self,
        _cx: &mut Cx,
        _file: &OpenFile,
        request: u32,
        _arg: u64,
        data: &mut [u8],
    ) -> Res<u64> {
        let (is_user, is_pid) = (self.0.kind == CLONE_NEWUSER, self.0.kind == CLONE_NEWPID);
        match request {
            NS_GET_NSTYPE => Ok(self.0.kind),
            // The parents, and what owns the namespaces, are outside of the box.
            NS_GET_USERNS => Err(Errno::EPERM),
            NS_GET_PARENT if is_user || is_pid => Err(Errno::EPERM),
            NS_GET_OWNER_UID if is_user => {
                data.fill(0);
                Ok(0)
            }
            NS_GET_PARENT | NS_GET_OWNER_UID => Err(Errno::EINVAL),
            _ => Err(Errno::ENOTTY),
        }
    }
}
