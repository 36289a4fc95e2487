//! Sockets: socket(2), bind(2), connect(2), accept(2), socket options and names.

use std::rc::Rc;

use abi::Errno;
use abi::packet::{PACKET_HDRLEN, SOL_PACKET, TPACKET_V1, TPACKET_V2};
use abi::socket::*;

use crate::file::socket::{self, OptionValue, Socket, SocketOps, options};
use crate::fs::Res;
use crate::syscall::Args;
use crate::{Kernel, Stop, SysResult, ThreadId, Wait};

/// Most bytes of any socket address (`struct sockaddr_storage`).
const SOCKADDR_MAX: usize = 128;
/// Most bytes of an option's value that are looked at.
const OPTION_MAX: usize = 1 << 16;
/// Most instructions of a packet filter (`BPF_MAXINSNS`).
const FILTER_MAX: u16 = 4096;

impl Kernel {
    /// The socket of `fd`; ENOTSOCK if it is something else.
    pub(crate) fn socket_of(&self, tid: ThreadId, fd: i32) -> Res<Rc<dyn SocketOps>> {
        let file = self.file(tid, fd)?;
        Ok(file.object::<Socket>().ok_or(Errno::ENOTSOCK)?.ops.clone())
    }

    /// A `struct sockaddr` of `len` bytes (`move_addr_to_kernel`).
    pub(crate) fn read_address(&mut self, va: u64, len: i32) -> Res<Vec<u8>> {
        let len = usize::try_from(len).ok().filter(|len| *len <= SOCKADDR_MAX);
        self.mm.read_vec(va, len.ok_or(Errno::EINVAL)?)
    }

    /// Stores an address and its length, cutting it to the user's buffer (`move_addr_to_user`).
    pub(crate) fn write_address(&mut self, address: &[u8], va: u64, len: u64) -> Res<()> {
        let room: i32 = self.mm.read_pod(len)?;
        let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
        self.mm.write_user(va, &address[..room.min(address.len())])?;
        self.mm.write_pod(len, &(address.len() as u32))
    }
}

/// Whether socket(2)'s type has unknown flags.
fn check_flags(kind: u32) -> Res<()> {
    if kind & !(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// socket(2)
pub fn socket(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let kind = a.u32(1);
    check_flags(kind)?;
    let file = socket::create(&mut k.cx(tid), a.u32(0), kind, a.u32(2))?;
    Ok(k.add_file(tid, file, kind & SOCK_CLOEXEC != 0)?)
}

/// socketpair(2)
pub fn socketpair(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let kind = a.u32(1);
    check_flags(kind)?;
    // Both numbers are stored before it turns out whether there are such sockets.
    let limit = k.fd_limit(tid);
    let (first, second) = {
        let files = k.tasks[tid].files.borrow();
        let first = files.free(0, limit)?;
        (first, files.free(first as u64 + 1, limit)?)
    };
    k.mm.write_pod(a.u64(3), &(first as i32))?;
    k.mm.write_pod(a.u64(3).wrapping_add(4), &(second as i32))?;
    let (one, two) = socket::pair(&mut k.cx(tid), a.u32(0), kind, a.u32(2))?;
    k.add_pair(tid, one, two, kind & SOCK_CLOEXEC != 0, a.u64(3))
}

/// bind(2)
pub fn bind(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let socket = k.socket_of(tid, a.i32(0))?;
    let address = k.read_address(a.u64(1), a.i32(2))?;
    let at = k.path_cx(tid);
    socket.bind(&mut k.cx(tid), &at, &address)?;
    Ok(0)
}

/// listen(2)
pub fn listen(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.socket_of(tid, a.i32(0))?.listen(&mut k.cx(tid), a.i32(1))?;
    Ok(0)
}

/// connect(2)
pub fn connect(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    let socket = k.socket_of(tid, a.i32(0))?;
    let address = k.read_address(a.u64(1), a.i32(2))?;
    let at = k.path_cx(tid);
    let mut keys = Vec::new();
    let mut result = socket.connect(&mut k.cx(tid), &at, &address, &mut keys);
    if result == Err(Errno::EINPROGRESS) && !file.is_nonblocking() {
        // A connection inside the box is there already.
        result = socket.connect(&mut k.cx(tid), &at, &address, &mut keys);
    }
    match result {
        Ok(()) => Ok(0),
        Err(e @ (Errno::EAGAIN | Errno::EINPROGRESS | Errno::EALREADY))
            if !file.is_nonblocking() =>
        {
            // The time-out of sending holds (socket(7)); a connection under way then goes on by itself.
            let late = if e == Errno::EALREADY { Errno::EINPROGRESS } else { e };
            match k.wait_transfer(tid, &file, false, true) {
                Stop::Block(wait) => {
                    keys.extend(wait.keys);
                    Wait::any(keys).until(wait.deadline).on_signal(wait.on_signal).block()
                }
                _ => Err(late.into()),
            }
        }
        Err(e) => Err(e.into()),
    }
}

/// accept(2)
pub fn accept(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    accept4(k, tid, Args([a.u64(0), a.u64(1), a.u64(2), 0, 0, 0]))
}

/// accept4(2)
pub fn accept4(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let flags = a.u32(3);
    let file = k.file(tid, a.i32(0))?;
    if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let socket = k.socket_of(tid, a.i32(0))?;
    // A connection must not be lost for want of a descriptor.
    let limit = k.fd_limit(tid);
    k.tasks[tid].files.borrow().free(0, limit)?;
    let peer = match socket.accept(&mut k.cx(tid)) {
        Ok(peer) => peer,
        Err(Errno::EAGAIN) => return Err(k.wait_transfer(tid, &file, false, false)),
        Err(e) => return Err(e.into()),
    };
    let opened = socket::wrap(&mut k.cx(tid), peer.clone(), flags & SOCK_NONBLOCK);
    if a.u64(1) != 0 {
        // The peer may be gone already: ECONNABORTED (inet_accept).
        let remote = peer.remote(&mut k.cx(tid)).map_err(|_| Errno::ECONNABORTED)?;
        k.write_address(&remote, a.u64(1), a.u64(2))?;
    }
    Ok(k.add_file(tid, opened, flags & SOCK_CLOEXEC != 0)?)
}

/// shutdown(2)
pub fn shutdown(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.socket_of(tid, a.i32(0))?.shutdown(&mut k.cx(tid), a.u32(1))?;
    Ok(0)
}

/// getsockname(2)
pub fn getsockname(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let address = k.socket_of(tid, a.i32(0))?.local(&mut k.cx(tid))?;
    k.write_address(&address, a.u64(1), a.u64(2))?;
    Ok(0)
}

/// getpeername(2)
pub fn getpeername(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let address = k.socket_of(tid, a.i32(0))?.remote(&mut k.cx(tid))?;
    k.write_address(&address, a.u64(1), a.u64(2))?;
    Ok(0)
}

/// setsockopt(2)
pub fn setsockopt(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let socket = k.socket_of(tid, a.i32(0))?;
    let (level, option, va) = (a.u32(1), a.u32(2), a.u64(3));
    let len = usize::try_from(a.i32(4)).map_err(|_| Errno::EINVAL)?;
    let bytes = match (level, option) {
        (SOL_SOCKET, SO_ATTACH_FILTER) if len == 16 => read_filter(k, va),
        _ => k.mm.read_vec(va, len.min(OPTION_MAX)),
    };
    let value = OptionValue { bytes, len };
    let mut cx = k.cx(tid);
    match socket.set_option(&mut cx, level, option, &value) {
        Some(result) => result?,
        None if level == SOL_SOCKET => options::set(&*socket, &mut cx, option, &value)?,
        None => return Err(Errno::ENOPROTOOPT.into()),
    }
    Ok(0)
}

/// The instructions that a `struct sock_fprog` names, 8 bytes each.
fn read_filter(k: &mut Kernel, va: u64) -> Res<Vec<u8>> {
    let [len, _, _, _]: [u16; 4] = k.mm.read_pod(va)?;
    let program: u64 = k.mm.read_pod(va.wrapping_add(8))?;
    if len == 0 || len > FILTER_MAX {
        return Err(Errno::EINVAL);
    }
    k.mm.read_vec(program, usize::from(len) * 8)
}

/// PACKET_HDRLEN (packet(7)): the value says of which version of the ring the length of the header is asked.
fn header_length(k: &mut Kernel, va: u64, len_va: u64, room: usize) -> SysResult {
    if room < 4 {
        return Err(Errno::EINVAL.into());
    }
    let version: u32 = k.mm.read_pod(va)?;
    if version != TPACKET_V1 && version != TPACKET_V2 {
        return Err(Errno::EINVAL.into());
    }
    // `struct tpacket_hdr` and `tpacket2_hdr`.
    k.mm.write_pod(va, &32_u32)?;
    k.mm.write_pod(len_va, &4_u32)?;
    Ok(0)
}

/// getsockopt(2)
pub fn getsockopt(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let socket = k.socket_of(tid, a.i32(0))?;
    let (level, option, va, len_va) = (a.u32(1), a.u32(2), a.u64(3), a.u64(4));
    let len: i32 = k.mm.read_pod(len_va)?;
    let room = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if (socket.family(), level, option) == (AF_PACKET, SOL_PACKET, PACKET_HDRLEN) {
        return header_length(k, va, len_va, room);
    }
    let mut cx = k.cx(tid);
    let value = match socket.get_option(&mut cx, level, option, room) {
        Some(value) => value?,
        None if level == SOL_SOCKET => options::get(&*socket, &mut cx, option)?,
        None => return Err(Errno::ENOPROTOOPT.into()),
    };
    let n = value.len().min(room);
    k.mm.write_user(va, &value[..n])?;
    k.mm.write_pod(len_va, &(n as u32))?;
    Ok(0)
}
