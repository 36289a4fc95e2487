//! The box's standard streams when it has no terminal: pipes, as docker gives them without `-t`.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_RDONLY, O_RDWR, O_WRONLY};
use abi::poll::{READABLE, WRITABLE};
use abi::stat::PIPEFS_MAGIC;

use super::tty::{self, Terminals};
use super::{FileOps, OpenFile, anon};
use crate::fs::inode::{Inode, Kind, Meta, SetAttr};
use crate::fs::{Cx, Dentry, Mount, Res};
use crate::wait::WaitKey;

/// Standard input, output and error for the first process: the host's streams, or three times its terminal when the
/// box has one.
pub fn standard_files(cx: &mut Cx, terminal: bool) -> Res<[Rc<OpenFile>; 3]> {
    let shared = cx.shared.clone();
    if terminal {
        let index = shared.registry::<Terminals>().console().ok_or(Errno::ENXIO)?.index;
        let dentry = tty::dentry(cx, index)?;
        let ops = tty::open_index(cx, index, O_RDWR)?;
        let file = OpenFile::new(&shared, &dentry, ops, O_RDWR);
        return Ok([file.clone(), file.clone(), file]);
    }
    let stream = |fd: u32| {
        let ino = shared.unique();
        let meta = Meta {
            dev: anon::ANON_DEV,
            ino,
            mode: Kind::Fifo.bits() | 0o600,
            nlink: 1,
            uid: cx.cred.uid,
            gid: cx.cred.gid,
            ..Meta::default()
        };
        let mount = Mount {
            id: 0,
            parent: 0,
            dev: anon::ANON_DEV,
            fstype: "pipefs",
            source: String::new(),
            root: String::new(),
            flags: Cell::new(0),
            options: String::new(),
            magic: PIPEFS_MAGIC,
        };
        let inode = Rc::new(StreamInode { fd, meta });
        let name = format!("pipe:[{ino}]");
        let dentry = Dentry::root(inode, Rc::new(mount), name.as_bytes());
        let flags = if fd == 0 { O_RDONLY } else { O_WRONLY };
        OpenFile::new(&shared, &dentry, Rc::new(Stream { fd }), flags)
    };
    Ok([stream(0), stream(1), stream(2)])
}

/// The inode of a standard stream: opening `/dev/stdout` gives the stream again.
struct StreamInode {
    fd: u32,
    meta: Meta,
}

impl Inode for StreamInode {
    fn fs_name(&self) -> &'static str {
        "pipefs"
    }
    fn meta(&self, _cx: &mut Cx) -> Res<Meta> {
        Ok(self.meta)
    }
    fn kind(&self) -> Kind {
        Kind::Fifo
    }
    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
    fn set_attr(&self, _cx: &mut Cx, _attr: &SetAttr) -> Res<()> {
        Ok(())
    }
    fn open(
        self: Rc<Self>,
        _cx: &mut Cx,
        _dentry: &Rc<Dentry>,
        _flags: u32,
    ) -> Option<Res<Rc<dyn FileOps>>> {
        Some(Ok(Rc::new(Stream { fd: self.fd })))
    }
}

/// One of the host's standard streams.
struct Stream {
    fd: u32,
}

impl FileOps for Stream {
    fn kind_name(&self) -> &'static str {
        "standard stream"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, _file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        match self.fd {
            0 => cx.host().stdin_read(buf),
            _ => Err(Errno::EBADF),
        }
    }

    fn write(&self, cx: &mut Cx, _file: &OpenFile, buf: &[u8]) -> Res<usize> {
        match self.fd {
            1 => cx.host().stdout_write(buf),
            2 => cx.host().stderr_write(buf),
            _ => Err(Errno::EBADF),
        }
    }

    fn poll(&self, cx: &mut Cx) -> u32 {
        match self.fd {
            0 if cx.host().stdin_ready() => READABLE,
            0 => 0,
            _ => WRITABLE,
        }
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        if self.fd == 0 {
            out.push(WaitKey::STDIN);
        }
    }
}
