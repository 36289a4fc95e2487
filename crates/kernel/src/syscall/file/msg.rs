//! sendto(2), recvfrom(2), sendmsg(2), recvmsg(2), sendmmsg(2), recvmmsg(2), with descriptor passing (unix(7)).

use std::rc::Rc;

use abi::Errno;
use abi::socket::*;

use super::rw::Iov;
use crate::file::OpenFile;
use crate::file::socket::UnixSocket;
use crate::syscall::Args;
use crate::{Kernel, Stop, SysResult, ThreadId};

/// Most bytes one message moves.
const MESSAGE_MAX: u64 = 1 << 20;
/// Most bytes of control data.
const CONTROL_MAX: u64 = 1 << 16;
/// Bytes of `struct cmsghdr`.
const CMSG_HEADER: usize = 16;
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

impl Kernel {
    fn send_one(&mut self, tid: ThreadId, fd: i32, msg: &MsgHdr, flags: u32) -> SysResult {
        let iov = Iov::read(self, msg.iov, msg.iovlen)?;
        let files = self.read_control(tid, msg)?;
        self.send_iov(tid, fd, &iov, (msg.name, u64::from(msg.namelen)), files, flags)
    }

    fn send_iov(
        &mut self,
        tid: ThreadId,
        fd: i32,
        iov: &Iov,
        (name, namelen): (u64, u64),
        files: Vec<Rc<OpenFile>>,
        flags: u32,
    ) -> SysResult {
        let socket = self.socket_of(tid, fd)?;
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let address = match name {
            0 => None,
            name => self.read_address(name, namelen)?,
        };
        let target = match &address {
            Some(_) if socket.kind() != SOCK_DGRAM => {
                let connected = socket.remote().is_ok();
                return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP }.into());
            }
            Some(address) => Some(self.find_socket(tid, address)?),
            None => None,
        };
        let mut done = self.tasks[tid].restart.done.min(iov.total());
        loop {
            let want = (iov.total() - done).min(MESSAGE_MAX) as usize;
            let mut data = vec![0; want];
            let got = iov.gather(self, done, &mut data);
            if got < want {
                return Err(Errno::EFAULT.into());
            }
            let passed = if done == 0 { files.clone() } else { Vec::new() };
            match socket.send(&mut self.cx(tid), &data, passed, target.as_ref()) {
                Ok(n) => done += n as u64,
                Err(Errno::EAGAIN) => {
                    let nonblock = flags & MSG_DONTWAIT != 0;
                    let file = self.file(tid, fd)?;
                    let stop = self.wait_transfer(tid, &file, nonblock, true);
                    if !matches!(stop, Stop::Block(_)) && done > 0 {
                        return Ok(done);
                    }
                    self.tasks[tid].restart.done = done;
                    return Err(match (stop, &target) {
                        // A datagram waits for room at its target, which need not be the peer.
                        (Stop::Block(mut wait), Some(target)) => {
                            wait.keys.push(target.key());
                            Stop::Block(wait)
                        }
                        (stop, _) => stop,
                    });
                }
                Err(e) => {
                    if e == Errno::EPIPE
                        && flags & MSG_NOSIGNAL == 0
                        && socket.kind() == SOCK_STREAM
                    {
                        self.raise_sigpipe(tid);
                    }
                    return if done > 0 { Ok(done) } else { Err(e.into()) };
                }
            }
            if done >= iov.total() || socket.kind() != SOCK_STREAM {
                return Ok(done);
            }
        }
    }

    /// The files of SCM_RIGHTS in the control data. SCM_CREDENTIALS is checked and the kernel's own used.
    fn read_control(&mut self, tid: ThreadId, msg: &MsgHdr) -> Result<Vec<Rc<OpenFile>>, Errno> {
        if msg.control == 0 || msg.controllen == 0 {
            return Ok(Vec::new());
        }
        if msg.controllen > CONTROL_MAX {
            return Err(Errno::ENOBUFS);
        }
        let data = self.mm.read_vec(msg.control, msg.controllen as usize)?;
        let word = |at: usize| {
            let bytes = data.get(at..at + 4).and_then(|b| b.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        let mut files = Vec::new();
        let mut at = 0;
        while data.len() - at >= CMSG_HEADER {
            let len = word(at) as usize;
            let end = at.checked_add(len).filter(|e| len >= CMSG_HEADER && *e <= data.len());
            let end = end.ok_or(Errno::EINVAL)?;
            if word(at + 8) == SOL_SOCKET {
                match word(at + 12) {
                    SCM_RIGHTS => {
                        for fd in (at + CMSG_HEADER..end).step_by(4).filter(|i| i + 4 <= end) {
                            files.push(self.any_file(tid, word(fd) as i32)?);
                        }
                    }
                    SCM_CREDENTIALS if len == CMSG_HEADER + 12 => {}
                    _ => return Err(Errno::EINVAL),
                }
            }
            at = match end.checked_next_multiple_of(8) {
                Some(next) if next < data.len() => next,
                _ => break,
            };
        }
        if files.len() > SCM_MAX_FD {
            return Err(Errno::EINVAL);
        }
        Ok(files)
    }

    fn recv_one(&mut self, tid: ThreadId, fd: i32, va: u64, flags: u32) -> SysResult {
        let mut msg: MsgHdr = self.mm.read_pod(va)?;
        let iov = Iov::read(self, msg.iov, msg.iovlen)?;
        let socket = self.socket_of(tid, fd)?;
        let mut files = Vec::new();
        let (got, stored) = self.recv_iov(tid, fd, &socket, &iov, &mut files, flags)?;
        let mut out_flags = 0;
        if got.full_len > got.len {
            out_flags |= MSG_TRUNC;
        }
        if msg.name != 0 {
            let bytes = match &got.from {
                Some(from) => super::socket::encode(Some(from)),
                None => Vec::new(),
            };
            let n = bytes.len().min(msg.namelen as usize);
            self.mm.write_user(msg.name, &bytes[..n])?;
            msg.namelen = bytes.len() as u32;
        }
        let (control, cut) = self.control_data(tid, &socket, &msg, got.cred, files, flags)?;
        self.mm.write_user(msg.control, &control)?;
        msg.controllen = control.len() as u64;
        msg.flags = out_flags | if cut { MSG_CTRUNC } else { 0 };
        if flags & MSG_CMSG_CLOEXEC != 0 {
            msg.flags |= MSG_CMSG_CLOEXEC;
        }
        self.mm.write_pod(va, &msg)?;
        Ok(if flags & MSG_TRUNC != 0 { got.full_len as u64 } else { stored })
    }

    /// Control data for a received message: credentials if wanted, and descriptors for the passed files that fit.
    fn control_data(
        &mut self,
        tid: ThreadId,
        socket: &UnixSocket,
        msg: &MsgHdr,
        cred: (u32, u32, u32),
        files: Vec<Rc<OpenFile>>,
        flags: u32,
    ) -> Result<(Vec<u8>, bool), Errno> {
        let room = if msg.control == 0 { 0 } else { msg.controllen.min(CONTROL_MAX) as usize };
        let mut out = Vec::new();
        let mut cut = false;
        let header = |out: &mut Vec<u8>, kind: u32, payload: usize| {
            out.extend_from_slice(&((CMSG_HEADER + payload) as u64).to_le_bytes());
            out.extend_from_slice(&SOL_SOCKET.to_le_bytes());
            out.extend_from_slice(&kind.to_le_bytes());
        };
        if socket.pass_cred.get() {
            cut = room < CMSG_HEADER + 12;
            if room >= CMSG_HEADER {
                // What does not fit is cut off (recvmsg(2), MSG_CTRUNC).
                header(&mut out, SCM_CREDENTIALS, (room - CMSG_HEADER).min(12));
                for value in [cred.0, cred.1, cred.2] {
                    out.extend_from_slice(&value.to_le_bytes());
                }
                out.truncate(room);
                out.resize(out.len().next_multiple_of(8).min(room), 0);
            }
        }
        if !files.is_empty() {
            let fits = room.saturating_sub(out.len() + CMSG_HEADER) / 4;
            let count = files.len().min(fits);
            cut |= count < files.len();
            let cloexec = flags & MSG_CMSG_CLOEXEC != 0;
            let mut fds = Vec::new();
            for file in files.into_iter().take(count) {
                match self.add_file(tid, file, cloexec) {
                    Ok(fd) => fds.push(fd as u32),
                    Err(_) => {
                        cut = true;
                        break;
                    }
                }
            }
            if !fds.is_empty() {
                header(&mut out, SCM_RIGHTS, fds.len() * 4);
                fds.iter().for_each(|fd| out.extend_from_slice(&fd.to_le_bytes()));
                out.resize(out.len().next_multiple_of(8).min(room), 0);
            }
        }
        Ok((out, cut))
    }

    fn recv_iov(
        &mut self,
        tid: ThreadId,
        fd: i32,
        socket: &Rc<UnixSocket>,
        iov: &Iov,
        files: &mut Vec<Rc<OpenFile>>,
        flags: u32,
    ) -> Result<(crate::file::socket::unix::Received, u64), Stop> {
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let mut done = self.tasks[tid].restart.done.min(iov.total());
        let mut buf = vec![0; (iov.total() - done).min(MESSAGE_MAX) as usize];
        let wait_all =
            flags & MSG_WAITALL != 0 && flags & MSG_PEEK == 0 && socket.kind() == SOCK_STREAM;
        loop {
            let want = buf.len().min((iov.total() - done) as usize);
            let mut got = match socket.receive(&mut buf[..want], flags & MSG_PEEK != 0, files) {
                Ok(got) => got,
                Err(Errno::EAGAIN) => {
                    let nonblock = flags & MSG_DONTWAIT != 0;
                    let file = self.file(tid, fd)?;
                    let stop = self.wait_transfer(tid, &file, nonblock, false);
                    if done > 0 && !matches!(stop, Stop::Block(_)) {
                        return Ok((Default::default(), done));
                    }
                    self.tasks[tid].restart.done = done;
                    return Err(stop);
                }
                Err(_) if done > 0 => return Ok((Default::default(), done)),
                Err(e) => return Err(e.into()),
            };
            let stored = iov.scatter(self, done, &buf[..got.len]);
            if stored < got.len {
                return Err(Errno::EFAULT.into());
            }
            done += stored as u64;
            if !wait_all || got.len == 0 || done >= iov.total() || !files.is_empty() {
                got.full_len = got.full_len.max(got.len);
                return Ok((got, done));
            }
        }
    }
}

/// sendto(2)
pub fn sendto(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let iov = Iov::one(a.u64(1), a.u64(2));
    k.send_iov(tid, a.i32(0), &iov, (a.u64(4), u64::from(a.u32(5))), Vec::new(), a.u32(3))
}

/// recvfrom(2)
pub fn recvfrom(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (fd, flags) = (a.i32(0), a.u32(3));
    let iov = Iov::one(a.u64(1), a.u64(2));
    let socket = k.socket_of(tid, fd)?;
    let (got, stored) = k.recv_iov(tid, fd, &socket, &iov, &mut Vec::new(), flags)?;
    if a.u64(4) != 0 {
        match &got.from {
            Some(from) => k.write_address(Some(from), a.u64(4), a.u64(5))?,
            None => k.mm.write_pod(a.u64(5), &0u32)?,
        }
    }
    Ok(if flags & MSG_TRUNC != 0 { got.full_len as u64 } else { stored })
}

/// sendmsg(2)
pub fn sendmsg(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let msg: MsgHdr = k.mm.read_pod(a.u64(1))?;
    k.send_one(tid, a.i32(0), &msg, a.u32(2))
}

/// recvmsg(2)
pub fn recvmsg(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.recv_one(tid, a.i32(0), a.u64(1), a.u32(2))
}

/// sendmmsg(2)
pub fn sendmmsg(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let mut sent = 0;
    for i in 0..u64::from(a.u32(2).min(MMSG_MAX)) {
        let va = a.u64(1).wrapping_add(i * MMSG);
        let msg: MsgHdr = k.mm.read_pod(va)?;
        // Only the first message may wait; what was sent counts.
        let flags = if sent > 0 { a.u32(3) | MSG_DONTWAIT } else { a.u32(3) };
        match k.send_one(tid, a.i32(0), &msg, flags) {
            Ok(n) => k.mm.write_pod(va.wrapping_add(56), &(n as u32))?,
            Err(_) if sent > 0 => break,
            Err(stop) => return Err(stop),
        }
        k.tasks[tid].restart.done = 0;
        sent += 1;
    }
    Ok(sent)
}

/// recvmmsg(2). Waits for the first message only, as with MSG_WAITFORONE.
pub fn recvmmsg(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let mut received = 0;
    let flags = a.u32(3) & !MSG_WAITFORONE;
    for i in 0..u64::from(a.u32(2).min(MMSG_MAX)) {
        let va = a.u64(1).wrapping_add(i * MMSG);
        let flags = if received > 0 { flags | MSG_DONTWAIT } else { flags };
        match k.recv_one(tid, a.i32(0), va, flags) {
            Ok(n) => k.mm.write_pod(va.wrapping_add(56), &(n as u32))?,
            Err(_) if received > 0 => break,
            Err(stop) => return Err(stop),
        }
        received += 1;
    }
    Ok(received)
}
