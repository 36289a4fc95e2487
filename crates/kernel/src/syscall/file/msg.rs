//! sendto(2), recvfrom(2), sendmsg(2), recvmsg(2), sendmmsg(2), recvmmsg(2), with descriptor passing (unix(7)).

use std::rc::Rc;

use abi::Errno;
use abi::socket::*;

use super::rw::Iov;
use crate::file::OpenFile;
use crate::file::pipe::PIPE_BUF;
use crate::file::socket::{Control, Incoming, Outgoing, Socket, SocketOps};
use crate::syscall::Args;
use crate::task::creds::{CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN};
use crate::{Kernel, ProcessId, Stop, SysResult, ThreadId};

/// Most bytes one message moves.
const MESSAGE_MAX: u64 = 1 << 20;
/// Most bytes of control data that can be sent (`net.core.optmem_max`).
const CONTROL_MAX: u64 = 20480;
/// Most bytes of control data that are received at once.
const CONTROL_ROOM: u64 = 1 << 16;
/// Bytes of `struct cmsghdr`.
const CMSG_HEADER: usize = 16;
/// Most bytes of a socket address.
const SOCKADDR_MAX: u32 = 128;
/// Bytes of `struct mmsghdr`.
const MMSG: u64 = 64;
/// Most messages in one sendmmsg or recvmmsg.
const MMSG_MAX: u32 = 1024;

abi::pod! {
    /// `struct user_msghdr`.
    pub struct MsgHdr {
        /// Address.
        pub name: u64,
        /// Its length.
        pub namelen: u32,
        /// Padding.
        pub pad: u32,
        /// Buffers.
        pub iov: u64,
        /// Their number.
        pub iovlen: u64,
        /// Control data.
        pub control: u64,
        /// Its length.
        pub controllen: u64,
        /// Flags on return.
        pub flags: u32,
        /// Padding.
        pub pad2: u32,
    }
}

/// What a send or receive call was given besides its message.
#[derive(Clone, Copy)]
struct Call<'a> {
    tid: ThreadId,
    file: &'a Rc<OpenFile>,
    socket: &'a dyn SocketOps,
    flags: u32,
    /// One of several messages: bytes on the way are not kept when the call waits.
    one_of_many: bool,
}

impl Kernel {
    fn message_header(&mut self, va: u64) -> Result<MsgHdr, Errno> {
        let mut msg: MsgHdr = self.mm.read_pod(va)?;
        if msg.name == 0 {
            msg.namelen = 0;
        }
        if (msg.namelen as i32) < 0 {
            return Err(Errno::EINVAL);
        }
        msg.namelen = msg.namelen.min(SOCKADDR_MAX);
        if msg.iovlen > abi::fcntl::IOV_MAX {
            return Err(Errno::EMSGSIZE);
        }
        Ok(msg)
    }

    fn send_one(&mut self, call: Call, va: u64) -> SysResult {
        let msg = self.message_header(va)?;
        let to = match msg.namelen {
            0 => None,
            len => Some(self.mm.read_vec(msg.name, len as usize)?),
        };
        let iov = Iov::read(self, msg.iov, msg.iovlen)?;
        let (files, control) = self.read_control(call.tid, &msg)?;
        let passed = (files.as_slice(), control.as_slice());
        self.send_iov(call, &iov, to.as_deref(), passed)
    }

    fn send_iov(
        &mut self,
        call: Call,
        iov: &Iov,
        to: Option<&[u8]>,
        passed: (&[Rc<OpenFile>], &[Control]),
    ) -> SysResult {
        let mut buf = std::mem::take(&mut self.scratch);
        let result = self.send_chunks(call, iov, to, passed, &mut buf);
        self.scratch = buf;
        result
    }

    fn send_chunks(
        &mut self,
        call: Call,
        iov: &Iov,
        to: Option<&[u8]>,
        (files, control): (&[Rc<OpenFile>], &[Control]),
        buf: &mut Vec<u8>,
    ) -> SysResult {
        let Call { tid, file, socket, .. } = call;
        let nonblock = call.flags & MSG_DONTWAIT != 0;
        let flags = call.flags | if file.is_nonblocking() { MSG_DONTWAIT } else { 0 };
        let stream = socket.kind() == SOCK_STREAM;
        let before = if call.one_of_many { 0 } else { self.tasks[tid].restart.done };
        let mut done = before.min(iov.total());
        let at = self.path_cx(tid);
        loop {
            let want = (iov.total() - done).min(MESSAGE_MAX) as usize;
            let data = room(buf, want);
            let got = iov.gather(self, done, data);
            // A stream takes whole pages.
            if got < want && (!stream || got < PIPE_BUF) {
                return if done > 0 { Ok(done) } else { Err(Errno::EFAULT.into()) };
            }
            let mut message = Outgoing {
                data: &data[..got],
                to,
                control,
                files: if done == 0 { files } else { &[] },
                flags,
                at: Some(&at),
                keys: Vec::new(),
            };
            match socket.send(&mut self.cx(tid), &mut message) {
                Ok(n) => done += n as u64,
                Err(e @ (Errno::EAGAIN | Errno::EINPROGRESS | Errno::EALREADY)) => {
                    let keys = message.keys;
                    let stop = self.wait_transfer(tid, file, nonblock, true);
                    return match stop {
                        Stop::Block(mut wait) => {
                            if !call.one_of_many {
                                self.tasks[tid].restart.done = done;
                            }
                            wait.keys.extend(keys);
                            Err(Stop::Block(wait))
                        }
                        _ if done > 0 => Ok(done),
                        _ => Err(e.into()),
                    };
                }
                Err(_) if done > 0 => return Ok(done),
                Err(e) => {
                    let quiet = call.flags & MSG_NOSIGNAL != 0 || !socket.raises_sigpipe();
                    if e == Errno::EPIPE && !quiet {
                        self.raise_sigpipe(tid);
                    }
                    return Err(e.into());
                }
            }
            if done >= iov.total() || !stream || got < want {
                return Ok(done);
            }
        }
    }

    /// The control data: files of SCM_RIGHTS, and the other messages (`__scm_send`).
    fn read_control(
        &mut self,
        tid: ThreadId,
        msg: &MsgHdr,
    ) -> Result<(Vec<Rc<OpenFile>>, Vec<Control>), Errno> {
        let (mut files, mut control) = (Vec::new(), Vec::new());
        if msg.control == 0 || msg.controllen == 0 {
            return Ok((files, control));
        }
        if msg.controllen > CONTROL_MAX {
            return Err(Errno::ENOBUFS);
        }
        let data = self.mm.read_vec(msg.control, msg.controllen as usize)?;
        let word = |at: usize| {
            let bytes = data.get(at..at + 4).and_then(|b| b.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        let mut at = 0;
        while data.len() - at >= CMSG_HEADER {
            let len = match word(at + 4) {
                0 => word(at) as usize,
                _ => usize::MAX,
            };
            let end = at.checked_add(len).filter(|e| len >= CMSG_HEADER && *e <= data.len());
            let end = end.ok_or(Errno::EINVAL)?;
            let (level, kind) = (word(at + 8), word(at + 12));
            if (level, kind) == (SOL_SOCKET, SCM_RIGHTS) {
                for fd in (at + CMSG_HEADER..end).step_by(4).filter(|i| i + 4 <= end) {
                    files.push(self.any_file(tid, word(fd) as i32)?);
                }
            } else {
                let data = data[at + CMSG_HEADER..end].to_vec();
                if let ((SOL_SOCKET, SCM_CREDENTIALS), 12) = ((level, kind), data.len()) {
                    self.check_claim(tid, [0, 4, 8].map(|i| word(at + CMSG_HEADER + i)))?;
                }
                control.push(Control { level, kind, data });
            }
            at = match end.checked_next_multiple_of(8) {
                Some(next) if next < data.len() => next,
                _ => break,
            };
        }
        if files.len() > SCM_MAX_FD {
            return Err(Errno::EINVAL);
        }
        Ok((files, control))
    }

    /// Whether the caller may say that it is this process, user and group (`scm_check_creds`).
    fn check_claim(&self, tid: ThreadId, [pid, uid, gid]: [u32; 3]) -> Result<(), Errno> {
        let thread = &self.tasks[tid];
        let creds = &thread.creds;
        let may = (pid == thread.pid.0 || creds.capable(CAP_SYS_ADMIN))
            && (creds.uid.has(uid) || creds.capable(CAP_SETUID))
            && (creds.gid.has(gid) || creds.capable(CAP_SETGID));
        match self.tasks.process(ProcessId(pid)) {
            _ if !may => Err(Errno::EPERM),
            None => Err(Errno::ESRCH),
            Some(_) => Ok(()),
        }
    }

    fn recv_one(&mut self, call: Call, va: u64) -> SysResult {
        let mut msg = self.message_header(va)?;
        let iov = Iov::read(self, msg.iov, msg.iovlen)?;
        let (mut got, stored) = self.recv_iov(call, &iov)?;
        let mut out_flags = got.flags;
        if got.full_len > got.len {
            out_flags |= MSG_TRUNC;
        }
        if msg.name != 0 {
            let from = got.from.take().unwrap_or_default();
            let n = from.len().min(msg.namelen as usize);
            self.mm.write_user(msg.name, &from[..n])?;
            msg.namelen = from.len() as u32;
        }
        let full_len = got.full_len;
        let (control, cut) = self.control_data(call, &msg, got)?;
        self.mm.write_user(msg.control, &control)?;
        msg.controllen = control.len() as u64;
        msg.flags = out_flags | if cut { MSG_CTRUNC } else { 0 };
        msg.flags |= call.flags & MSG_CMSG_CLOEXEC;
        self.mm.write_pod(va, &msg)?;
        Ok(if call.flags & MSG_TRUNC != 0 { (full_len as u64).max(stored) } else { stored })
    }

    /// Control data for a received message, and descriptors for the passed files, as far as they fit (`put_cmsg`).
    fn control_data(
        &mut self,
        call: Call,
        msg: &MsgHdr,
        got: Incoming,
    ) -> Result<(Vec<u8>, bool), Errno> {
        let room = if msg.control == 0 { 0 } else { msg.controllen.min(CONTROL_ROOM) as usize };
        let mut out = Vec::new();
        let mut cut = false;
        for control in &got.control {
            let left = room - out.len();
            if left < CMSG_HEADER {
                cut = true;
                break;
            }
            // What does not fit is cut off (recvmsg(2), MSG_CTRUNC).
            let payload = control.data.len().min(left - CMSG_HEADER);
            cut |= payload < control.data.len();
            put_header(&mut out, control.level, control.kind, payload);
            out.extend_from_slice(&control.data[..payload]);
            out.resize(out.len().next_multiple_of(8).min(room), 0);
        }
        if !got.files.is_empty() {
            let fits = room.saturating_sub(out.len() + CMSG_HEADER) / 4;
            let count = got.files.len().min(fits);
            cut |= count < got.files.len();
            let cloexec = call.flags & MSG_CMSG_CLOEXEC != 0;
            let mut fds = Vec::new();
            for file in got.files.into_iter().take(count) {
                match self.add_file(call.tid, file, cloexec) {
                    Ok(fd) => fds.push(fd as u32),
                    Err(_) => {
                        cut = true;
                        break;
                    }
                }
            }
            if !fds.is_empty() {
                put_header(&mut out, SOL_SOCKET, SCM_RIGHTS, fds.len() * 4);
                fds.iter().for_each(|fd| out.extend_from_slice(&fd.to_le_bytes()));
                out.resize(out.len().next_multiple_of(8).min(room), 0);
            }
        }
        Ok((out, cut))
    }

    fn recv_iov(&mut self, call: Call, iov: &Iov) -> Result<(Incoming, u64), Stop> {
        let mut buf = std::mem::take(&mut self.scratch);
        let result = self.recv_chunks(call, iov, &mut buf);
        self.scratch = buf;
        result
    }

    fn recv_chunks(
        &mut self,
        call: Call,
        iov: &Iov,
        buf: &mut Vec<u8>,
    ) -> Result<(Incoming, u64), Stop> {
        let Call { tid, file, socket, flags, .. } = call;
        let nonblock = if file.is_nonblocking() { MSG_DONTWAIT } else { 0 };
        let stream = socket.kind() == SOCK_STREAM;
        let before = if call.one_of_many { 0 } else { self.tasks[tid].restart.done };
        let mut done = before.min(iov.total());
        let wait_all =
            flags & MSG_WAITALL != 0 && flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) == 0 && stream;
        let mut how = flags | nonblock;
        loop {
            let want = (iov.total() - done).min(MESSAGE_MAX) as usize;
            // What a stream hands out must not be lost; but whether there is something comes first.
            if stream && let Err(fault) = iov.check_writable(self, done) {
                let there = socket.receive(&mut self.cx(tid), &mut [], how | MSG_PEEK);
                return Err(match there {
                    Err(Errno::EAGAIN) => {
                        self.wait_transfer(tid, file, flags & MSG_DONTWAIT != 0, false)
                    }
                    Err(e) => e.into(),
                    Ok(_) => fault.into(),
                });
            }
            let data = room(buf, want);
            let mut got = match socket.receive(&mut self.cx(tid), data, how) {
                Ok(got) => got,
                Err(Errno::EAGAIN) if flags & MSG_ERRQUEUE != 0 => return Err(Errno::EAGAIN.into()),
                Err(Errno::EAGAIN) => {
                    let stop = self.wait_transfer(tid, file, flags & MSG_DONTWAIT != 0, false);
                    match stop {
                        Stop::Block(_) if !call.one_of_many => self.tasks[tid].restart.done = done,
                        Stop::Block(_) => {}
                        _ if done > 0 => return Ok((Incoming::default(), done)),
                        // The time is over: what is there counts, low-water mark or not.
                        _ if how & MSG_DONTWAIT == 0 => {
                            how |= MSG_DONTWAIT;
                            continue;
                        }
                        _ => {}
                    }
                    return Err(stop);
                }
                Err(_) if done > 0 => return Ok((Incoming::default(), done)),
                Err(e) => return Err(e.into()),
            };
            got.full_len = got.full_len.max(got.len);
            let discards = flags & MSG_TRUNC != 0 && stream && socket.family() != AF_UNIX;
            let stored = match discards {
                true => got.len,
                false => iov.scatter(self, done, &data[..got.len]),
            };
            if stored < got.len && (stored == 0 || !stream) {
                return Err(Errno::EFAULT.into());
            }
            done += stored as u64;
            let ended = got.len == 0 || done >= iov.total();
            if !wait_all || ended || !got.files.is_empty() || !got.control.is_empty() {
                return Ok((got, done));
            }
        }
    }

    /// Calls `one` for each of `count` `struct mmsghdr` at `va` until `deadline`. What was done counts, even if a later
    /// message fails or a signal comes.
    fn each_message(
        &mut self,
        tid: ThreadId,
        va: u64,
        count: u32,
        deadline: Option<u64>,
        mut one: impl FnMut(&mut Kernel, u64, u64) -> SysResult,
    ) -> SysResult {
        let mut done = self.tasks[tid].restart.done;
        while done < u64::from(count.min(MMSG_MAX)) {
            let at = va.wrapping_add(done * MMSG);
            match one(self, at, done) {
                Ok(n) => self.mm.write_pod(at.wrapping_add(56), &(n as u32))?,
                Err(Stop::Block(wait)) => {
                    self.tasks[tid].restart.done = done;
                    return Err(Stop::Block(wait));
                }
                Err(_) if done > 0 => break,
                Err(stop) => return Err(stop),
            }
            done += 1;
            if deadline.is_some_and(|d| d <= self.now()) {
                break;
            }
        }
        Ok(done)
    }
}

/// The first `len` bytes of the buffer, which grows as needed.
fn room(buf: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buf.len() < len {
        buf.resize(len, 0);
    }
    &mut buf[..len]
}

fn put_header(out: &mut Vec<u8>, level: u32, kind: u32, payload: usize) {
    out.extend_from_slice(&((CMSG_HEADER + payload) as u64).to_le_bytes());
    out.extend_from_slice(&level.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
}

/// The socket of descriptor `fd`, with its file.
fn socket_file(
    k: &Kernel,
    tid: ThreadId,
    fd: i32,
) -> Result<(Rc<OpenFile>, Rc<dyn SocketOps>), Errno> {
    let file = k.file(tid, fd)?;
    let socket = file.object::<Socket>().ok_or(Errno::ENOTSOCK)?.ops.clone();
    Ok((file, socket))
}

impl Kernel {
    /// read(2) and relatives of a socket: as recv(2) with `flags`.
    pub(super) fn read_socket(
        &mut self,
        tid: ThreadId,
        file: &Rc<OpenFile>,
        socket: &dyn SocketOps,
        iov: &Iov,
        flags: u32,
    ) -> SysResult {
        if iov.total() == 0 {
            // sock_read_iter: "match SYS5 behaviour".
            return Ok(0);
        }
        let call = Call { tid, file, socket, flags, one_of_many: false };
        let (got, stored) = self.recv_iov(call, iov)?;
        self.shared.graveyard.borrow_mut().extend(got.files);
        Ok(stored)
    }

    /// write(2) and relatives of a socket: as send(2) with `flags`.
    pub(super) fn write_socket(
        &mut self,
        tid: ThreadId,
        file: &Rc<OpenFile>,
        socket: &dyn SocketOps,
        iov: &Iov,
        flags: u32,
    ) -> SysResult {
        let call = Call { tid, file, socket, flags, one_of_many: false };
        self.send_iov(call, iov, None, (&[], &[]))
    }
}

/// sendto(2)
pub fn sendto(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (file, socket) = socket_file(k, tid, a.i32(0))?;
    let call = Call { tid, file: &file, socket: &*socket, flags: a.u32(3), one_of_many: false };
    let to = match a.u64(4) {
        0 => None,
        va => Some(k.read_address(va, a.i32(5))?),
    };
    let iov = Iov::one(a.u64(1), a.u64(2));
    k.send_iov(call, &iov, to.as_deref(), (&[], &[]))
}

/// recvfrom(2)
pub fn recvfrom(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let iov = Iov::one(a.u64(1), a.u64(2));
    let (file, socket) = socket_file(k, tid, a.i32(0))?;
    let call = Call { tid, file: &file, socket: &*socket, flags: a.u32(3), one_of_many: false };
    let (got, stored) = k.recv_iov(call, &iov)?;
    k.shared.graveyard.borrow_mut().extend(got.files);
    if a.u64(4) != 0 {
        k.write_address(&got.from.unwrap_or_default(), a.u64(4), a.u64(5))?;
    }
    Ok(if call.flags & MSG_TRUNC != 0 { (got.full_len as u64).max(stored) } else { stored })
}

/// sendmsg(2)
pub fn sendmsg(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (file, socket) = socket_file(k, tid, a.i32(0))?;
    let call = Call { tid, file: &file, socket: &*socket, flags: a.u32(2), one_of_many: false };
    k.send_one(call, a.u64(1))
}

/// recvmsg(2)
pub fn recvmsg(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (file, socket) = socket_file(k, tid, a.i32(0))?;
    let call = Call { tid, file: &file, socket: &*socket, flags: a.u32(2), one_of_many: false };
    k.recv_one(call, a.u64(1))
}

/// sendmmsg(2)
pub fn sendmmsg(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (file, socket) = socket_file(k, tid, a.i32(0))?;
    let call = Call { tid, file: &file, socket: &*socket, flags: a.u32(3), one_of_many: true };
    k.each_message(tid, a.u64(1), a.u32(2), None, |k, at, _| k.send_one(call, at))
}

/// recvmmsg(2). The time is looked at after each message, as its BUGS section says.
pub fn recvmmsg(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let flags = a.u32(3) & !MSG_WAITFORONE;
    let time_va = a.u64(4);
    // The deadline lies in `value`: the one of the call itself is for SO_RCVTIMEO.
    let mut deadline = k.tasks[tid].restart.value;
    if time_va != 0 && deadline == 0 {
        let time: abi::Timespec = k.mm.read_pod(time_va)?;
        deadline = k.now().saturating_add(time.to_ns().ok_or(Errno::EINVAL)?);
        k.tasks[tid].restart.value = deadline;
    }
    let until = (time_va != 0).then_some(deadline);
    let (file, socket) = socket_file(k, tid, a.i32(0))?;
    let call = Call { tid, file: &file, socket: &*socket, flags, one_of_many: true };
    let first_only = a.u32(3) & MSG_WAITFORONE != 0;
    let done = k.each_message(tid, a.u64(1), a.u32(2), until, |k, at, done| {
        let wait = if first_only && done > 0 { MSG_DONTWAIT } else { 0 };
        k.recv_one(Call { flags: call.flags | wait, ..call }, at)
    })?;
    if time_va != 0 {
        let left = abi::Timespec::from_ns(deadline.saturating_sub(k.now()));
        k.mm.write_pod(time_va, &left)?;
    }
    Ok(done)
}
