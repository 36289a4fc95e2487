//! Reading and writing: read(2), write(2), pread(2), readv(2), preadv2(2) and relatives; lseek(2).

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{
    IOV_MAX, MAX_RW_COUNT, O_APPEND, RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOAPPEND, RWF_NOWAIT,
    RWF_SYNC, SEEK_HOLE,
};
use abi::poll::READABLE;
use abi::signal::SIGXFSZ;
use abi::socket::MSG_DONTWAIT;

use crate::file::OpenFile;
use crate::file::anon::ANON_FS;
use crate::file::epoll::Epoll;
use crate::file::pipe::PIPE_BUF;
use crate::file::socket::Socket;
use crate::fs::Kind;
use crate::mm::TASK_SIZE;
use crate::syscall::Args;
use crate::{Kernel, Stop, SysResult, ThreadId};

/// Bytes moved through the kernel at a time.
const CHUNK: usize = 1 << 18;

/// The user's buffers, in order.
pub struct Iov {
    parts: Vec<(u64, u64)>,
    total: u64,
}

impl Iov {
    /// One buffer, clamped as read(2) says.
    pub fn one(va: u64, len: u64) -> Iov {
        let total = len.min(MAX_RW_COUNT);
        Iov { parts: vec![(va, total)], total }
    }

    /// The same; EFAULT if it does not lie in user space at all (`access_ok`).
    fn checked(va: u64, len: u64) -> Result<Iov, Errno> {
        check_user(va, len)?;
        Ok(Iov::one(va, len))
    }

    /// An array of `struct iovec` at `va`.
    pub fn read(k: &mut Kernel, va: u64, count: u64) -> Result<Iov, Errno> {
        if count > IOV_MAX {
            return Err(Errno::EINVAL);
        }
        let mut parts = Vec::with_capacity(count as usize);
        let mut total = 0u64;
        for i in 0..count {
            let [base, len]: [u64; 2] = k.mm.read_pod(va.wrapping_add(i * 16))?;
            if len > i64::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            check_user(base, len)?;
            let len = len.min(MAX_RW_COUNT - total);
            total += len;
            parts.push((base, len));
        }
        Ok(Iov { parts, total })
    }

    /// Address and length of each buffer.
    pub fn parts(&self) -> &[(u64, u64)] {
        &self.parts
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The address of byte `at`, and how many follow in the same buffer.
    fn locate(&self, mut at: u64) -> Option<(u64, u64)> {
        for (va, len) in &self.parts {
            if at < *len {
                return Some((va.wrapping_add(at), len - at));
            }
            at -= len;
        }
        None
    }

    /// Whether the byte at `at` can be written (a stream must not lose what it hands out).
    pub(super) fn check_writable(&self, k: &mut Kernel, at: u64) -> Result<(), Errno> {
        match self.locate(at) {
            Some((va, _)) => k.mm.user_chunk_mut(va, 1).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Copies `bytes` to the buffers from byte `at` on: bytes copied.
    pub fn scatter(&self, k: &mut Kernel, at: u64, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let Some((va, len)) = self.locate(at + done as u64) else { break };
            let n = (bytes.len() - done).min(usize::try_from(len).unwrap_or(usize::MAX));
            let copied = k.mm.write_user_partial(va, &bytes[done..done + n]);
            done += copied;
            if copied < n {
                break;
            }
        }
        done
    }

    /// Fills `buf` from the buffers from byte `at` on: bytes copied.
    pub fn gather(&self, k: &mut Kernel, at: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Some((va, len)) = self.locate(at + done as u64) else { break };
            let n = (buf.len() - done).min(usize::try_from(len).unwrap_or(usize::MAX));
            let copied = k.mm.read_user_partial(va, &mut buf[done..done + n]);
            done += copied;
            if copied < n {
                break;
            }
        }
        done
    }
}

fn check_user(va: u64, len: u64) -> Result<(), Errno> {
    let end = va.checked_add(len).filter(|end| *end <= TASK_SIZE);
    end.map(drop).ok_or(Errno::EFAULT)
}

/// How a transfer is to be done.
#[derive(Clone, Copy, Default)]
pub(crate) struct How {
    /// Position; `None` = the file's own.
    pub at: Option<u64>,
    /// Do not wait.
    nowait: bool,
    /// Write at the end.
    append: bool,
}

impl How {
    /// `MSG_*` that say the same of a socket.
    fn message_flags(self) -> u32 {
        if self.nowait { MSG_DONTWAIT } else { 0 }
    }
}

impl Kernel {
    pub(crate) fn read_file(
        &mut self,
        tid: ThreadId,
        file: &Rc<OpenFile>,
        iov: &Iov,
        how: How,
    ) -> SysResult {
        if !file.is_readable() {
            return Err(Errno::EBADF.into());
        }
        if let (Some(socket), None) = (file.object::<Socket>(), how.at) {
            let (socket, flags) = (socket.ops.clone(), how.message_flags());
            return self.read_socket(tid, file, &*socket, iov, flags);
        }
        let ops = file.ops().clone();
        check_position(file, how, iov)?;
        let mut buf = vec![0; CHUNK.min(iov.total as usize)];
        let mut done = 0;
        loop {
            let want = CHUNK.min((iov.total - done) as usize);
            if !ops.is_seekable() && iov.check_writable(self, done).is_err() {
                return Err(self.unreachable_buffer(tid, file, how, iov.total));
            }
            let mut cx = self.cx(tid);
            let result = match how.at {
                Some(at) => ops.read_at(&mut cx, file, at.saturating_add(done), &mut buf[..want]),
                None => ops.read(&mut cx, file, &mut buf[..want]),
            };
            let n = match result {
                Ok(n) => n,
                Err(_) if done > 0 => return Ok(done),
                Err(Errno::EAGAIN) => {
                    return Err(self.wait_transfer(tid, file, how.nowait, false));
                }
                Err(e) => return Err(e.into()),
            };
            let copied = iov.scatter(self, done, &buf[..n]);
            done += copied as u64;
            if copied < n {
                if ops.is_seekable() && how.at.is_none() {
                    file.pos.set(file.pos.get().saturating_sub((n - copied) as u64));
                }
                return if done > 0 { Ok(done) } else { Err(Errno::EFAULT.into()) };
            }
            if n < want || done >= iov.total || !ops.is_seekable() {
                return Ok(done);
            }
        }
    }

    /// What a read says whose buffer is not there: what the file itself has to say comes first.
    fn unreachable_buffer(
        &mut self,
        tid: ThreadId,
        file: &Rc<OpenFile>,
        how: How,
        len: u64,
    ) -> Stop {
        let ops = file.ops().clone();
        if len < 8
            && let Err(e) = ops.read(&mut self.cx(tid), file, &mut [])
            && e != Errno::EAGAIN
        {
            return e.into();
        }
        if ops.poll(&mut self.cx(tid)) & READABLE == 0 {
            return self.wait_transfer(tid, file, how.nowait, false);
        }
        Errno::EFAULT.into()
    }

    pub(crate) fn write_file(
        &mut self,
        tid: ThreadId,
        file: &Rc<OpenFile>,
        iov: &Iov,
        how: How,
    ) -> SysResult {
        if !file.is_writable() {
            return Err(Errno::EBADF.into());
        }
        if let (Some(socket), None) = (file.object::<Socket>(), how.at) {
            let (socket, flags) = (socket.ops.clone(), how.message_flags());
            return self.write_socket(tid, file, &*socket, iov, flags);
        }
        let ops = file.ops().clone();
        check_position(file, how, iov)?;
        if iov.total == 0 && ops.is_seekable() {
            if ops.takes_messages() {
                ops.write(&mut self.cx(tid), file, &[])?;
            }
            return Ok(0);
        }
        let mut done = self.tasks[tid].restart.done.min(iov.total);
        let mut buf = vec![0; (1 << 20).min((iov.total - done) as usize)];
        loop {
            let want = buf.len().min((iov.total - done) as usize);
            let got = iov.gather(self, done, &mut buf[..want]);
            // What goes into one page of a pipe goes whole.
            let whole = file.dentry().inode().kind() == Kind::Fifo && got < PIPE_BUF;
            if got < want && (got == 0 || whole) {
                if done > 0 {
                    return Ok(done);
                }
                if !ops.is_seekable() {
                    // A file that takes nothing, or not so little, says so first.
                    ops.write(&mut self.cx(tid), file, &[])?;
                }
                return Err(Errno::EFAULT.into());
            }
            let mut cx = self.cx(tid);
            let result = match how.at {
                Some(_) if how.append && ops.is_seekable() => file
                    .dentry()
                    .inode()
                    .meta(&mut cx)
                    .and_then(|meta| ops.write_at(&mut cx, file, meta.size, &buf[..got])),
                None if how.append && ops.is_seekable() => {
                    let end = file.dentry().inode().meta(&mut cx).map(|meta| meta.size);
                    end.and_then(|end| {
                        let n = ops.write_at(&mut cx, file, end, &buf[..got])?;
                        file.pos.set(end + n as u64);
                        Ok(n)
                    })
                }
                Some(at) => ops.write_at(&mut cx, file, at.saturating_add(done), &buf[..got]),
                None => ops.write(&mut cx, file, &buf[..got]),
            };
            let n = match result {
                Ok(n) => n,
                Err(Errno::EPIPE) => {
                    self.raise_sigpipe(tid);
                    return if done > 0 { Ok(done) } else { Err(Errno::EPIPE.into()) };
                }
                Err(Errno::EAGAIN) => {
                    let stop = self.wait_transfer(tid, file, how.nowait, true);
                    if !matches!(stop, Stop::Block(_)) && done > 0 {
                        return Ok(done);
                    }
                    self.tasks[tid].restart.done = done;
                    return Err(stop);
                }
                Err(Errno::EFBIG) if done == 0 => {
                    self.raise_own(tid, SIGXFSZ);
                    return Err(Errno::EFBIG.into());
                }
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e.into()),
            };
            done += n as u64;
            if done >= iov.total || got < want || n == 0 || n < got && ops.takes_messages() {
                return Ok(done);
            }
        }
    }

    /// The `RWF_*` flags of a transfer.
    pub(crate) fn rw_how(&self, file: &OpenFile, flags: u32) -> Result<How, Errno> {
        if flags & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let append = flags & RWF_APPEND != 0 || file.flags() & O_APPEND != 0;
        Ok(How { at: None, nowait: flags & RWF_NOWAIT != 0, append })
    }

    fn vector_how(&self, a: Args, flags: u32) -> Result<How, Errno> {
        const KNOWN: u32 =
            RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND;
        if flags & !KNOWN != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if flags & RWF_APPEND != 0 && flags & RWF_NOAPPEND != 0 {
            return Err(Errno::EINVAL);
        }
        let at = match a.i64(3) {
            -1 => None,
            at => Some(u64::try_from(at).map_err(|_| Errno::EINVAL)?),
        };
        Ok(How { at, nowait: flags & RWF_NOWAIT != 0, append: flags & RWF_APPEND != 0 })
    }
}

/// What no transfer may pass: the largest position (`rw_verify_area`); and files without RWF_NOWAIT.
fn check_position(file: &OpenFile, how: How, iov: &Iov) -> Result<(), Errno> {
    if !file.ops().is_seekable() && how.at.is_none() {
        return Ok(());
    }
    if how.nowait && file.dentry().inode().fs_name() == "tmpfs" {
        return Err(Errno::EOPNOTSUPP);
    }
    let at = how.at.unwrap_or(file.pos.get());
    let end = at.checked_add(iov.total()).filter(|end| *end <= i64::MAX as u64);
    end.map(drop).ok_or(Errno::EINVAL)
}

/// The file of a transfer at a position: ESPIPE if it has none, EBADF if it is not open for that (`ksys_pread64`).
fn placed(k: &Kernel, tid: ThreadId, a: Args, write: bool) -> Result<(Rc<OpenFile>, How), Errno> {
    let at = u64::try_from(a.i64(3)).map_err(|_| Errno::EINVAL)?;
    let file = k.file(tid, a.i32(0))?;
    let inode = file.dentry().inode();
    let flows = matches!(inode.kind(), Kind::Fifo | Kind::Socket);
    if flows || inode.fs_name() == ANON_FS {
        return Err(Errno::ESPIPE);
    }
    check_open(&file, write)?;
    // With `O_APPEND` data goes to the end whatever the position says (the BUGS section of pwrite(2)).
    let append = write && file.flags() & O_APPEND != 0;
    Ok((file, How { at: Some(at), append, ..How::default() }))
}

/// The file of a transfer at its own position, open for that.
fn plain(k: &Kernel, tid: ThreadId, a: Args, write: bool) -> Result<Rc<OpenFile>, Errno> {
    let file = k.file(tid, a.i32(0))?;
    check_open(&file, write)?;
    Ok(file)
}

/// EBADF if the file is not open for the transfer, EINVAL if it is of a kind that knows none: both come before anything is said about
/// buffers.
fn check_open(file: &OpenFile, write: bool) -> Result<(), Errno> {
    if !(if write { file.is_writable() } else { file.is_readable() }) {
        return Err(Errno::EBADF);
    }
    if file.object::<Epoll>().is_some() {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// read(2)
pub fn read(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = plain(k, tid, a, false)?;
    k.read_file(tid, &file, &Iov::checked(a.u64(1), a.u64(2))?, How::default())
}

/// write(2)
pub fn write(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = plain(k, tid, a, true)?;
    k.write_file(tid, &file, &Iov::checked(a.u64(1), a.u64(2))?, How::default())
}

/// pread64(2)
pub fn pread64(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (file, how) = placed(k, tid, a, false)?;
    k.read_file(tid, &file, &Iov::checked(a.u64(1), a.u64(2))?, how)
}

/// pwrite64(2)
pub fn pwrite64(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (file, how) = placed(k, tid, a, true)?;
    k.write_file(tid, &file, &Iov::checked(a.u64(1), a.u64(2))?, how)
}

/// readv(2): of no bytes at all it asks no file.
pub fn readv(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = plain(k, tid, a, false)?;
    match Iov::read(k, a.u64(1), a.u64(2))? {
        iov if iov.total == 0 => Ok(0),
        iov => k.read_file(tid, &file, &iov, How::default()),
    }
}

/// writev(2): of no bytes at all it asks no file.
pub fn writev(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = plain(k, tid, a, true)?;
    match Iov::read(k, a.u64(1), a.u64(2))? {
        iov if iov.total == 0 => Ok(0),
        iov => k.write_file(tid, &file, &iov, How::default()),
    }
}

/// preadv(2)
pub fn preadv(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (file, how) = placed(k, tid, a, false)?;
    let iov = Iov::read(k, a.u64(1), a.u64(2))?;
    k.read_file(tid, &file, &iov, how)
}

/// pwritev(2)
pub fn pwritev(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (file, how) = placed(k, tid, a, true)?;
    let iov = Iov::read(k, a.u64(1), a.u64(2))?;
    k.write_file(tid, &file, &iov, how)
}

/// preadv2(2)
pub fn preadv2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = vectored(k, tid, a, false)?;
    let iov = Iov::read(k, a.u64(1), a.u64(2))?;
    let how = k.vector_how(a, a.u32(5))?;
    k.read_file(tid, &file, &iov, how)
}

/// The file of a transfer at a position or, at -1, its own.
fn vectored(k: &Kernel, tid: ThreadId, a: Args, write: bool) -> Result<Rc<OpenFile>, Errno> {
    match a.i64(3) {
        -1 => plain(k, tid, a, write),
        _ => placed(k, tid, a, write).map(|(file, _)| file),
    }
}

/// pwritev2(2)
pub fn pwritev2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = vectored(k, tid, a, true)?;
    let iov = Iov::read(k, a.u64(1), a.u64(2))?;
    let mut how = k.vector_how(a, a.u32(5))?;
    if file.flags() & O_APPEND != 0 && a.u32(5) & RWF_NOAPPEND == 0 {
        how.append = true;
    }
    if a.u32(5) & RWF_NOAPPEND != 0 && how.at.is_none() && file.ops().is_seekable() {
        let how = How { at: Some(file.pos.get()), ..how };
        let n = k.write_file(tid, &file, &iov, how)?;
        file.pos.set(file.pos.get() + n);
        return Ok(n);
    }
    k.write_file(tid, &file, &iov, how)
}

/// lseek(2)
pub fn lseek(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    if a.u32(2) > SEEK_HOLE {
        return Err(Errno::EINVAL.into());
    }
    let ops = file.ops().clone();
    Ok(ops.seek(&mut k.cx(tid), &file, a.i64(1), a.u32(2))?)
}
