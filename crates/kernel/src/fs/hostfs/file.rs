//! Open files of the host.

use std::any::Any;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_APPEND, SEEK_DATA, SEEK_HOLE};
use abi::poll::{IN_ACCESS, IN_MODIFY};

use super::cache::OpenHost;
use super::{HostInode, read_full};
use crate::fs::inode::Inode;
use crate::fs::open_file::{read_on, seek_to};
use crate::fs::{Cx, FileOps, OpenFile, Res};
use crate::source::MapSource;

/// An open host file.
pub struct HostFile {
    open: Rc<OpenHost>,
    inode: Rc<HostInode>,
}

impl HostFile {
    /// The file, opened.
    pub fn new(inode: Rc<HostInode>, open: Rc<OpenHost>) -> HostFile {
        HostFile { open, inode }
    }

    /// Brings what mappings have changed to the host, before it is read.
    fn settle(&self, cx: &mut Cx) -> Res<()> {
        match self.inode.mapped() {
            Some(cache) => cache.write_back(cx),
            None => Ok(()),
        }
    }
}

impl FileOps for HostFile {
    fn kind_name(&self) -> &'static str {
        "host file"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        read_on(self, cx, file, buf)
    }

    fn write(&self, cx: &mut Cx, file: &OpenFile, buf: &[u8]) -> Res<usize> {
        let at = match file.flags() & O_APPEND {
            0 => file.pos.get(),
            _ => cx.host().fstat(self.open.fd)?.size,
        };
        let n = self.write_at(cx, file, at, buf)?;
        file.pos.set(at + n as u64);
        Ok(n)
    }

    fn read_at(&self, cx: &mut Cx, file: &OpenFile, at: u64, buf: &mut [u8]) -> Res<usize> {
        self.settle(cx)?;
        let n = read_full(cx, self.open.fd, at, buf)?;
        if n > 0 {
            cx.shared.watches.event(file.dentry(), IN_ACCESS);
        }
        Ok(n)
    }

    fn write_at(&self, cx: &mut Cx, file: &OpenFile, at: u64, buf: &[u8]) -> Res<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let limit = cx.world.file_size_limit().min(i64::MAX as u64);
        let room = limit.checked_sub(at).filter(|room| *room > 0).ok_or(Errno::EFBIG)?;
        let len = buf.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let n = self.inode.write_to(cx, self.open.fd, at, &buf[..len])?;
        cx.shared.watches.event(file.dentry(), IN_MODIFY);
        Ok(n)
    }

    fn seek(&self, cx: &mut Cx, file: &OpenFile, offset: i64, whence: u32) -> Res<u64> {
        if matches!(whence, SEEK_DATA | SEEK_HOLE) {
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let at = self.inode.seek_data(cx, offset, whence == SEEK_HOLE)?;
            file.pos.set(at);
            return Ok(at);
        }
        let size = match whence {
            abi::fcntl::SEEK_END => cx.host().fstat(self.open.fd)?.size,
            _ => 0,
        };
        seek_to(file, offset, whence, size)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn is_pollable(&self) -> bool {
        false
    }

    fn map(&self, cx: &mut Cx, file: &OpenFile) -> Res<Rc<dyn MapSource>> {
        self.inode.clone().map(cx, file.dentry())
    }

    fn sync(&self, cx: &mut Cx, _file: &OpenFile) -> Res<()> {
        self.settle(cx)?;
        cx.host().sync(self.open.fd)
    }
}
