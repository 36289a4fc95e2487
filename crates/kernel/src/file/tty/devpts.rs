//! devpts: `/dev/pts/N` for each pseudo-terminal in use, and `/dev/pts/ptmx`.

use std::any::Any;
use std::rc::Rc;

use abi::Errno;
use abi::stat::makedev;

use super::{Terminals, Tty};
use crate::fs::inode::{DirItem, Inode, InodeRef, Kind, Meta, Names, SetAttr};
use crate::fs::{Cx, Res};

/// Group `tty` of Debian and Alpine, which owns the slaves (mount option `gid=5`).
const TTY_GID: u32 = 5;

enum Node {
    Root,
    Ptmx,
    Slave(Rc<Tty>),
}

struct PtsInode {
    dev: u64,
    node: Node,
}

/// The root of a devpts on device `dev`.
pub fn root(dev: u64) -> InodeRef {
    Rc::new(PtsInode { dev, node: Node::Root })
}

impl Inode for PtsInode {
    fn fs_name(&self) -> &'static str {
        "devpts"
    }

    fn meta(&self, cx: &mut Cx) -> Res<Meta> {
        let now = cx.now();
        let (ino, mode, rdev, uid, gid, nlink) = match &self.node {
            Node::Root => (1, 0o755, 0, 0, 0, 2),
            Node::Ptmx => (2, 0o666, makedev(5, 2), 0, 0, 1),
            Node::Slave(tty) => {
                let rdev = makedev(136, tty.index);
                (u64::from(tty.index) + 3, 0o620, rdev, tty.owner.get().0, TTY_GID, 1)
            }
        };
        Ok(Meta {
            dev: self.dev,
            ino,
            mode: self.kind().bits() | mode,
            nlink,
            uid,
            gid,
            rdev,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..Meta::default()
        })
    }

    fn kind(&self) -> Kind {
        if matches!(self.node, Node::Root) { Kind::Dir } else { Kind::Char }
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn names(&self) -> Names {
        Names::Volatile
    }

    fn lookup(&self, cx: &mut Cx, name: &[u8]) -> Res<InodeRef> {
        if !matches!(self.node, Node::Root) {
            return Err(Errno::ENOTDIR);
        }
        if name == b"ptmx" {
            return Ok(Rc::new(PtsInode { dev: self.dev, node: Node::Ptmx }));
        }
        let index = std::str::from_utf8(name).ok().and_then(|n| n.parse::<u32>().ok());
        let index = index.filter(|i| i.to_string().as_bytes() == name).ok_or(Errno::ENOENT)?;
        let tty = cx
            .shared
            .registry::<Terminals>()
            .get(index)
            .filter(|t| !t.is_hung_up())
            .ok_or(Errno::ENOENT)?;
        Ok(Rc::new(PtsInode { dev: self.dev, node: Node::Slave(tty) }))
    }

    fn list(&self, cx: &mut Cx) -> Res<Vec<DirItem>> {
        let mut items: Vec<DirItem> = Vec::new();
        for index in cx.shared.registry::<Terminals>().ptys() {
            let name = index.to_string().into_bytes().into();
            items.push(DirItem { name, ino: u64::from(index) + 3, kind: Kind::Char });
        }
        items.push(DirItem { name: b"ptmx"[..].into(), ino: 2, kind: Kind::Char });
        Ok(items)
    }

    fn set_attr(&self, _cx: &mut Cx, attr: &SetAttr) -> Res<()> {
        match &self.node {
            Node::Slave(tty) => {
                let (uid, gid) = tty.owner.get();
                tty.owner.set((attr.uid.unwrap_or(uid), attr.gid.unwrap_or(gid)));
                Ok(())
            }
            _ => Err(Errno::EPERM),
        }
    }
}
