//! Regular files: reads and writes go to the inode.

use std::any::Any;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_APPEND, O_NOATIME, SEEK_DATA, SEEK_END, SEEK_HOLE};
use abi::poll::{IN_ACCESS, IN_MODIFY};
use abi::stat::ST_RDONLY;

use super::{FileOps, OpenFile};
use crate::fs::open_file::{read_on, seek_to};
use crate::fs::{Cx, Res};
use crate::source::MapSource;

/// An open regular file.
pub struct Regular;

impl FileOps for Regular {
    fn kind_name(&self) -> &'static str {
        "file"
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
            _ => file.dentry().inode().meta(cx)?.size,
        };
        let n = self.write_at(cx, file, at, buf)?;
        file.pos.set(at + n as u64);
        Ok(n)
    }

    fn read_at(&self, cx: &mut Cx, file: &OpenFile, at: u64, buf: &mut [u8]) -> Res<usize> {
        let inode = file.dentry().inode();
        let n = inode.read_at(cx, at, buf)?;
        if !buf.is_empty()
            && file.flags() & O_NOATIME == 0
            && file.dentry().mount().flags.get() & ST_RDONLY == 0
        {
            inode.touch_atime(cx);
        }
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
        let n = file.dentry().inode().write_at(cx, at, &buf[..len])?;
        cx.shared.watches.event(file.dentry(), IN_MODIFY);
        Ok(n)
    }

    fn seek(&self, cx: &mut Cx, file: &OpenFile, offset: i64, whence: u32) -> Res<u64> {
        let inode = file.dentry().inode();
        if matches!(whence, SEEK_DATA | SEEK_HOLE) {
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let at = inode.seek_data(cx, offset, whence == SEEK_HOLE)?;
            file.pos.set(at);
            return Ok(at);
        }
        let size = if whence == SEEK_END { inode.meta(cx)?.size } else { 0 };
        seek_to(file, offset, whence, size)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn is_pollable(&self) -> bool {
        false
    }

    fn map(&self, cx: &mut Cx, file: &OpenFile) -> Res<Rc<dyn MapSource>> {
        file.dentry().inode().clone().map(cx, file.dentry())
    }

    fn sync(&self, _cx: &mut Cx, _file: &OpenFile) -> Res<()> {
        Ok(())
    }
}
