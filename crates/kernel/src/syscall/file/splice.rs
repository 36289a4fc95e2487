//! Copies between files: sendfile(2), splice(2), tee(2), vmsplice(2), copy_file_range(2).

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{MAX_RW_COUNT, O_APPEND};

use super::rw::{self};
use crate::file::OpenFile;
use crate::file::pipe::{PIPE_BUF, PipeEnd};
use crate::file::socket::Socket;
use crate::fs::Kind;
use crate::syscall::Args;
use crate::{Kernel, Stop, SysResult, ThreadId, Wait};

/// Bytes moved at a time.
const CHUNK: usize = 65536;
/// Most turns of one call: enough for all that a call may move in whole chunks. A file that gives a few bytes at a time, and
/// perhaps gets them back, ends it early.
const TURNS: u32 = 1 << 15;
/// `SPLICE_F_*`: move, nonblock, more, gift.
const SPLICE_NONBLOCK: u32 = 2;
const SPLICE_ALL: u32 = 15;

/// One side of a copy: a file, and the position if it is not the file's own.
struct Side {
    file: Rc<OpenFile>,
    at: Option<u64>,
    /// Where the user keeps the position.
    va: u64,
}

impl Side {
    /// The last bytes that were taken from here had no room where they should go.
    fn give_back(&self, bytes: &[u8]) {
        if let Some(end) = self.file.object::<PipeEnd>() {
            end.pipe.put_back(bytes);
        } else if self.file.ops().is_seekable() && self.at.is_none() {
            let pos = &self.file.pos;
            pos.set(pos.get().saturating_sub(bytes.len() as u64));
        }
    }
}

impl Kernel {
    fn side(&mut self, tid: ThreadId, fd: i32, va: u64) -> Result<Side, Errno> {
        let file = self.file(tid, fd)?;
        let at = match va {
            0 => None,
            va => {
                let at: i64 = self.mm.read_pod(va)?;
                Some(u64::try_from(at).map_err(|_| Errno::EINVAL)?)
            }
        };
        Ok(Side { file, at, va })
    }

    fn pull(&mut self, tid: ThreadId, side: &Side, buf: &mut [u8]) -> Result<usize, Errno> {
        let ops = side.file.ops().clone();
        let mut cx = self.cx(tid);
        match side.at {
            Some(at) => ops.read_at(&mut cx, &side.file, at, buf),
            None => ops.read(&mut cx, &side.file, buf),
        }
    }

    /// `pages`: the bytes are those of a file's pages, the first one so far from the start of its page.
    fn push(
        &mut self,
        tid: ThreadId,
        side: &Side,
        buf: &[u8],
        pages: Option<usize>,
    ) -> Result<usize, Errno> {
        let ops = side.file.ops().clone();
        if let (Some(within), Some(end)) = (pages, side.file.object::<PipeEnd>()) {
            return end.splice_in(buf, within);
        }
        let mut cx = self.cx(tid);
        match side.at {
            Some(at) => ops.write_at(&mut cx, &side.file, at, buf),
            None => ops.write(&mut cx, &side.file, buf),
        }
    }

    /// Room at `side` right now, so that nothing is taken from a stream that could not be delivered.
    fn has_room(&mut self, tid: ThreadId, side: &Side) -> bool {
        side.file.ops().poll(&mut self.cx(tid)) & (abi::poll::POLLOUT | abi::poll::POLLERR) != 0
    }

    /// Moves up to `len` bytes. Bytes already taken from a pipe are never dropped: a chunk is only taken when the
    /// other side has room, and what it does not accept goes back by moving the position.
    fn copy(
        &mut self,
        tid: ThreadId,
        mut from: Side,
        mut to: Side,
        len: u64,
        nonblock: bool,
    ) -> SysResult {
        if !from.file.is_readable() || !to.file.is_writable() {
            return Err(Errno::EBADF.into());
        }
        let mut left = len.min(MAX_RW_COUNT);
        let mut done = 0u64;
        let mut buf = vec![0; CHUNK.min(left as usize)];
        let mut turns = 0;
        let result = loop {
            if left == 0 || turns == TURNS {
                break Ok(done);
            }
            turns += 1;
            if !self.has_room(tid, &to) {
                // What cannot be written at all (timerfd, epoll, …) never will have room.
                if to.file.object::<Socket>().is_none()
                    && let Err(e) = self.push(tid, &to, &[], None)
                    && e != Errno::EAGAIN
                {
                    break Err(e.into());
                }
                break match done {
                    0 => Err(self.wait_file(tid, &to.file, nonblock)),
                    done => Ok(done),
                };
            }
            // A pipe with room takes at least PIPE_BUF bytes.
            let to_seekable = to.file.ops().is_seekable();
            let from_seekable = from.file.ops().is_seekable();
            let limit = if to_seekable || from_seekable { CHUNK } else { PIPE_BUF };
            let want = limit.min(buf.len()).min(left as usize);
            let at = from.at.unwrap_or(from.file.pos.get());
            let pages = from_seekable.then_some(at as usize % PIPE_BUF);
            let n = match self.pull(tid, &from, &mut buf[..want]) {
                Ok(n) => n,
                Err(_) if done > 0 => break Ok(done),
                Err(Errno::EAGAIN) => break Err(self.wait_file(tid, &from.file, nonblock)),
                Err(e) => break Err(e.into()),
            };
            if n == 0 {
                break Ok(done);
            }
            let written = match self.push(tid, &to, &buf[..n], pages) {
                Ok(written) => written,
                Err(e) => {
                    from.give_back(&buf[..n]);
                    if e == Errno::EPIPE {
                        self.raise_sigpipe(tid);
                    }
                    break match (done, e) {
                        (0, Errno::EAGAIN) => Err(self.wait_file(tid, &to.file, nonblock)),
                        (0, e) => Err(Stop::from(e)),
                        (done, _) => Ok(done),
                    };
                }
            };
            from.give_back(&buf[written..n]);
            from.at = from.at.map(|at| at + written as u64);
            to.at = to.at.map(|at| at + written as u64);
            done += written as u64;
            left -= written as u64;
            if written < n {
                break Ok(done);
            }
        };
        if result.is_ok() {
            for side in [&from, &to] {
                if let (Some(at), va @ 1..) = (side.at, side.va) {
                    self.mm.write_pod(va, &at)?;
                }
            }
        }
        result
    }
}

/// sendfile(2)
pub fn sendfile(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let from = k.side(tid, a.i32(1), a.u64(2))?;
    let to = k.side(tid, a.i32(0), 0)?;
    if !from.file.ops().is_seekable() && from.at.is_some() {
        return Err(Errno::ESPIPE.into());
    }
    if to.file.flags() & O_APPEND != 0 {
        return Err(Errno::EINVAL.into());
    }
    let splices = gives_pages(&from.file) && splice_between(&from, &to);
    if from.file.is_readable() && to.file.is_writable() && !splices {
        return Err(Errno::EINVAL.into());
    }
    k.copy(tid, from, to, a.u64(3), false)
}

/// Whether the one gives and the other takes.
fn splice_between(from: &Side, to: &Side) -> bool {
    from.file.ops().splices(false) && to.file.ops().splices(true)
}

/// Whether a file can be spliced from without a pipe of its own: no pipe, socket or directory, nor an eventfd or another
/// object without a name.
fn gives_pages(file: &OpenFile) -> bool {
    if matches!(file.dentry().inode().fs_name(), "anon_inodefs" | "mqueue") {
        return false;
    }
    matches!(file.dentry().inode().kind(), Kind::File | Kind::Char | Kind::Block)
}

/// splice(2)
pub fn splice(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let flags = a.u32(5);
    if a.u64(4) == 0 {
        return Ok(0);
    }
    if flags & !SPLICE_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let from = k.side(tid, a.i32(0), a.u64(1))?;
    let to = k.side(tid, a.i32(2), a.u64(3))?;
    let pipes = [&from, &to].map(|s| s.file.object::<PipeEnd>().is_some());
    if pipes == [false, false] {
        return Err(Errno::EINVAL.into());
    }
    if (pipes[0] && from.at.is_some()) || (pipes[1] && to.at.is_some()) {
        return Err(Errno::ESPIPE.into());
    }
    if to.file.flags() & O_APPEND != 0 && !pipes[1] {
        return Err(Errno::EINVAL.into());
    }
    if from.file.is_readable() && to.file.is_writable() {
        let same = match (from.file.object::<PipeEnd>(), to.file.object::<PipeEnd>()) {
            (Some(a), Some(b)) => Rc::ptr_eq(&a.pipe, &b.pipe),
            _ => false,
        };
        let directory = from.file.dentry().inode().kind() == Kind::Dir;
        if same || directory || !splice_between(&from, &to) {
            return Err(Errno::EINVAL.into());
        }
    }
    k.copy(tid, from, to, a.u64(4), flags & SPLICE_NONBLOCK != 0)
}

/// tee(2)
pub fn tee(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (from, to) = (k.file(tid, a.i32(0))?, k.file(tid, a.i32(1))?);
    let nonblock = a.u32(3) & SPLICE_NONBLOCK != 0;
    let (Some(source), Some(sink)) = (from.object::<PipeEnd>(), to.object::<PipeEnd>()) else {
        return Err(Errno::EINVAL.into());
    };
    if a.u32(3) & !SPLICE_ALL != 0 || Rc::ptr_eq(&source.pipe, &sink.pipe) {
        return Err(Errno::EINVAL.into());
    }
    if !from.is_readable() || !to.is_writable() {
        return Err(Errno::EBADF.into());
    }
    let max = usize::try_from(a.u64(2)).unwrap_or(usize::MAX).min(CHUNK);
    let bytes = source.pipe.peek(max);
    let ops = from.ops().clone();
    if bytes.is_empty() && max > 0 {
        let ended = ops.poll(&mut k.cx(tid)) & abi::poll::POLLHUP != 0;
        return if ended { Ok(0) } else { Err(k.wait_file(tid, &from, nonblock)) };
    }
    let side = Side { file: to.clone(), at: None, va: 0 };
    match k.push(tid, &side, &bytes, None) {
        Ok(n) => Ok(n as u64),
        Err(Errno::EAGAIN) => Err(k.wait_file(tid, &to, nonblock)),
        Err(e) => {
            if e == Errno::EPIPE {
                k.raise_sigpipe(tid);
            }
            Err(e.into())
        }
    }
}

/// vmsplice(2): as writev(2) or readv(2) of the pipe.
pub fn vmsplice(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    if file.object::<PipeEnd>().is_none() {
        return Err(Errno::EBADF.into());
    }
    let nonblock = a.u32(3) & SPLICE_NONBLOCK != 0;
    if a.u32(3) & !SPLICE_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if !file.is_writable() {
        return rw::readv(k, tid, a);
    }
    let Some(end) = file.object::<PipeEnd>() else { return Err(Errno::EBADF.into()) };
    let iov = rw::Iov::read(k, a.u64(1), a.u64(2))?;
    if iov.total() == 0 {
        return Ok(0);
    }
    let mut bytes = vec![0; end.room().max(1).min(iov.total() as usize)];
    let n = iov.gather(k, 0, &mut bytes);
    if n == 0 {
        return Err(Errno::EFAULT.into());
    }
    match end.splice_in(&bytes[..n], 0) {
        Ok(n) => Ok(n as u64),
        // O_NONBLOCK of the pipe does not count here.
        Err(Errno::EAGAIN) if !nonblock => {
            let mut keys = Vec::new();
            file.ops().keys(&mut k.cx(tid), &mut keys);
            Wait::any(keys).block()
        }
        Err(Errno::EAGAIN) => Err(Errno::EAGAIN.into()),
        Err(e) => {
            k.raise_sigpipe(tid);
            Err(e.into())
        }
    }
}

/// copy_file_range(2)
pub fn copy_file_range(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.u32(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    for (fd, va) in [(a.i32(0), a.u64(1)), (a.i32(2), a.u64(3))] {
        k.file(tid, fd)?;
        // Linux adds as unsigned numbers here.
        if va != 0 && k.mm.read_pod::<u64>(va)?.checked_add(a.u64(4)).is_none() {
            return Err(Errno::EOVERFLOW.into());
        }
    }
    let from = k.side(tid, a.i32(0), a.u64(1))?;
    let to = k.side(tid, a.i32(2), a.u64(3))?;
    for side in [&from, &to] {
        match side.file.dentry().inode().kind() {
            Kind::File if side.file.ops().is_seekable() => {}
            Kind::Dir => return Err(Errno::EISDIR.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    if to.file.flags() & O_APPEND != 0 {
        return Err(Errno::EBADF.into());
    }
    if from.file.dentry().mount().dev != to.file.dentry().mount().dev {
        return Err(Errno::EXDEV.into());
    }
    if Rc::ptr_eq(from.file.dentry().inode(), to.file.dentry().inode()) {
        let start = |s: &Side| s.at.unwrap_or(s.file.pos.get());
        let (one, two, len) = (start(&from), start(&to), a.u64(4));
        if one < two.saturating_add(len) && two < one.saturating_add(len) && len > 0 {
            return Err(Errno::EINVAL.into());
        }
    }
    // What would go past the largest position is left out.
    let room = (i64::MAX as u64).saturating_sub(to.at.unwrap_or(to.file.pos.get()));
    k.copy(tid, from, to, a.u64(4).min(room), false)
}
