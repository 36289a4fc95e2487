//! Open files: `fd_*`. What a standard stream is asked goes to the host as it is.

use super::table::{Descriptor, is_directory};
use super::{Answer, Program, memory, outside, stat};
use crate::wasi;
use abi::Errno;
use abi::fcntl::{O_APPEND, O_DSYNC, O_NONBLOCK, O_SYNC};
use kernel::fs::{OpenFile, Res, ops};
use std::rc::Rc;

/// `fdflags`.
pub const APPEND: u32 = 1;
const DSYNC: u32 = 1 << 1;
const NONBLOCK: u32 = 1 << 2;
const RSYNC: u32 = 1 << 3;
const SYNC: u32 = 1 << 4;

/// Status flags of open(2) for `fdflags`.
pub fn status_flags(flags: u32) -> u32 {
    let pairs =
        [(APPEND, O_APPEND), (DSYNC, O_DSYNC), (NONBLOCK, O_NONBLOCK), (RSYNC | SYNC, O_SYNC)];
    pairs.iter().filter(|(flag, _)| flags & flag != 0).fold(0, |all, (_, flag)| all | flag)
}

/// `fdflags` for status flags of open(2).
fn fdflags(flags: u32) -> u32 {
    let pairs = [(APPEND, O_APPEND), (DSYNC, O_DSYNC), (NONBLOCK, O_NONBLOCK), (SYNC, O_SYNC)];
    pairs.iter().filter(|(_, flag)| flags & flag == *flag).fold(0, |all, (flag, _)| all | flag)
}

/// Where a transfer begins.
#[derive(Clone, Copy)]
enum At {
    /// At the file's own position, which moves on.
    Position,
    /// There.
    Offset(u64),
}

/// An open file that is no directory: those are read by `fd_readdir` alone, and for everything else wasmtime knows no such descriptor.
fn plain(file: Rc<OpenFile>) -> Res<Rc<OpenFile>> {
    if is_directory(&file) { Err(Errno::EBADF) } else { Ok(file) }
}

impl Program {
    pub fn fd_advise(&mut self, fd: u32, offset: u64, len: u64, advice: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_advise(stream, offset, len, advice),
            // Nothing that a hint could make better: all is in memory, or the host's.
            Descriptor::Open(file) => Ok(plain(file).map(drop)?),
        }
    }

    pub fn fd_allocate(&mut self, fd: u32, offset: u64, len: u64) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_allocate(stream, offset, len),
            // As wasmtime: not all hosts can.
            Descriptor::Open(file) => plain(file).and(Err(Errno::EOPNOTSUPP)).map_err(Into::into),
        }
    }

    pub fn fd_close(&mut self, fd: u32) -> Answer {
        self.table.close(fd)
    }

    pub fn fd_renumber(&mut self, from: u32, to: u32) -> Answer {
        self.table.renumber(from, to)
    }

    pub fn fd_sync(&mut self, fd: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_sync(stream),
            Descriptor::Open(file) => Ok(file.ops().sync(&mut self.cx().0, &file)?),
        }
    }

    pub fn fd_datasync(&mut self, fd: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_datasync(stream),
            Descriptor::Open(_) => self.fd_sync(fd),
        }
    }

    pub fn fd_fdstat_get(&mut self, fd: u32, out: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_fdstat_get(stream, out),
            Descriptor::Open(file) => {
                let record = stat::fdstat(&file, fdflags(file.flags()));
                Ok(memory::put(out, &record)?)
            }
        }
    }

    pub fn fd_fdstat_set_flags(&mut self, fd: u32, flags: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_fdstat_set_flags(stream, flags),
            Descriptor::Open(file) => {
                let file = plain(file)?;
                // fcntl(2) changes no others after a file was opened.
                if flags & (DSYNC | RSYNC | SYNC) != 0 {
                    return Err(Errno::EINVAL.into());
                }
                let kept = file.flags() & !(O_APPEND | O_NONBLOCK);
                file.set_flags(kept | status_flags(flags));
                Ok(())
            }
        }
    }

    pub fn fd_fdstat_set_rights(&mut self, fd: u32, _base: u64, _inheriting: u64) -> Answer {
        self.table.get(fd)?;
        // As wasmtime: what a descriptor may do follows from how it was opened.
        Err(Errno::EOPNOTSUPP.into())
    }

    pub fn fd_filestat_get(&mut self, fd: u32, out: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_filestat_get(stream, out),
            Descriptor::Open(file) => {
                let meta = file.dentry().inode().meta(&mut self.cx().0)?;
                Ok(memory::put(out, &stat::filestat(&meta))?)
            }
        }
    }

    pub fn fd_filestat_set_size(&mut self, fd: u32, size: u64) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_filestat_set_size(stream, size),
            Descriptor::Open(file) => {
                let file = plain(file)?;
                if !file.is_writable() {
                    return Err(Errno::EINVAL.into());
                }
                Ok(ops::truncate(&mut self.cx().0, file.dentry(), size, false)?)
            }
        }
    }

    pub fn fd_filestat_set_times(&mut self, fd: u32, atime: u64, mtime: u64, flags: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => {
                outside::fd_filestat_set_times(stream, atime, mtime, flags)
            }
            Descriptor::Open(file) => {
                let (atime, mtime) = stat::times(atime, mtime, flags)?;
                Ok(ops::set_times(&mut self.cx().0, file.dentry(), atime, mtime)?)
            }
        }
    }

    pub fn fd_read(&mut self, fd: u32, iovs: u32, count: u32, out: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_read(stream, iovs, count, out),
            Descriptor::Open(file) => self.read(file, At::Position, (iovs, count), out),
        }
    }

    pub fn fd_pread(&mut self, fd: u32, iovs: u32, count: u32, offset: u64, out: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_pread(stream, iovs, count, offset, out),
            Descriptor::Open(file) => self.read(file, At::Offset(offset), (iovs, count), out),
        }
    }

    fn read(&mut self, file: Rc<OpenFile>, at: At, vectors: (u32, u32), out: u32) -> Answer {
        let file = plain(file)?;
        if !file.is_readable() {
            return Err(Errno::EBADF.into());
        }
        let mut done = 0_u64;
        for (start, len) in memory::vectors(vectors.0, vectors.1)? {
            let buffer = memory::bytes(start, len)?;
            let read = loop {
                let (mut cx, _) = self.cx();
                let read = match at {
                    At::Position => file.ops().read(&mut cx, &file, buffer),
                    At::Offset(offset) => {
                        file.ops().read_at(&mut cx, &file, offset.saturating_add(done), buffer)
                    }
                };
                // `/dev/stdin` has nothing yet. Of what else is empty nobody could fill it: there is no other process.
                if read != Err(Errno::EAGAIN) || file.is_nonblocking() || done > 0 {
                    break read;
                }
                if file.ops().kind_name() != CONSOLE {
                    break read;
                }
                wasi::wait(&[crate::stdio::STDIN], &[], None);
            };
            match read {
                Ok(n) => {
                    done += n as u64;
                    if n < buffer.len() {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(memory::put_u32(out, done as u32)?)
    }

    pub fn fd_write(&mut self, fd: u32, iovs: u32, count: u32, out: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_write(stream, iovs, count, out),
            Descriptor::Open(file) => self.write(file, At::Position, (iovs, count), out),
        }
    }

    pub fn fd_pwrite(&mut self, fd: u32, iovs: u32, count: u32, offset: u64, out: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_pwrite(stream, iovs, count, offset, out),
            Descriptor::Open(file) => self.write(file, At::Offset(offset), (iovs, count), out),
        }
    }

    fn write(&mut self, file: Rc<OpenFile>, at: At, vectors: (u32, u32), out: u32) -> Answer {
        let file = plain(file)?;
        if !file.is_writable() {
            return Err(Errno::EBADF.into());
        }
        let mut done = 0_u64;
        for (start, len) in memory::vectors(vectors.0, vectors.1)? {
            let bytes = &*memory::bytes(start, len)?;
            let (mut cx, _) = self.cx();
            let written = match at {
                At::Position => file.ops().write(&mut cx, &file, bytes),
                At::Offset(offset) => {
                    file.ops().write_at(&mut cx, &file, offset.saturating_add(done), bytes)
                }
            };
            match written {
                Ok(n) => {
                    done += n as u64;
                    if n < bytes.len() {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(memory::put_u32(out, done as u32)?)
    }

    pub fn fd_seek(&mut self, fd: u32, offset: i64, whence: u32, out: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_seek(stream, offset, whence, out),
            Descriptor::Open(file) => {
                let file = plain(file)?;
                if whence > abi::fcntl::SEEK_END {
                    return Err(Errno::EINVAL.into());
                }
                let at = file.ops().seek(&mut self.cx().0, &file, offset, whence)?;
                Ok(memory::put_u64(out, at)?)
            }
        }
    }

    pub fn fd_tell(&mut self, fd: u32, out: u32) -> Answer {
        match self.table.get(fd)? {
            Descriptor::Stream(stream) => outside::fd_tell(stream, out),
            Descriptor::Open(_) => self.fd_seek(fd, 0, abi::fcntl::SEEK_CUR, out),
        }
    }

    pub fn fd_prestat_get(&mut self, fd: u32, out: u32) -> Answer {
        if !self.table.is_preopened(fd)? {
            return Err(Errno::EBADF.into());
        }
        // `preopentype::dir`, and the length of its name.
        memory::put_u32(out, 0)?;
        Ok(memory::put_u32(out.saturating_add(4), ROOT_NAME.len() as u32)?)
    }

    pub fn fd_prestat_dir_name(&mut self, fd: u32, at: u32, len: u32) -> Answer {
        if !self.table.is_preopened(fd)? {
            return Err(Errno::ENOTDIR.into());
        }
        if (len as usize) < ROOT_NAME.len() {
            return Err(Errno::ENAMETOOLONG.into());
        }
        Ok(memory::put(at, ROOT_NAME)?)
    }
}

/// What the program's one directory is called.
const ROOT_NAME: &[u8] = b"/";

/// The kernel's name for the standard streams as files.
const CONSOLE: &str = "standard stream";
