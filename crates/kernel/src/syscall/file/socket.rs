//! Sockets: socket(2), bind(2), connect(2), accept(2), socket options and names.

use std::rc::Rc;

use abi::Errno;
use abi::socket::*;
use abi::stat::{S_IFSOCK, W_OK};

use crate::file::socket::unix::Place;
use crate::file::socket::{self, Address, Socket, UnixNames, UnixSocket};
use crate::fs::ops;
use crate::fs::walk::{Lookup, resolve};
use crate::fs::{Kind, Res, perm};
use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId, Wait};

/// Bytes of `sun_path`.
const SUN_PATH: usize = 108;
/// Most bytes of any socket address.
const SOCKADDR_MAX: u64 = 128;

impl Kernel {
    /// The socket of `fd`; ENOTSOCK if it is something else.
    pub(crate) fn socket_of(&self, tid: ThreadId, fd: i32) -> Res<Rc<UnixSocket>> {
        let file = self.file(tid, fd)?;
        Ok(file.object::<Socket>().ok_or(Errno::ENOTSOCK)?.unix.clone())
    }

    /// A `struct sockaddr_un`; `None` for one without a name (AF_UNSPEC or only the family).
    pub(crate) fn read_address(&mut self, va: u64, len: u64) -> Res<Option<Address>> {
        if !(2..=SOCKADDR_MAX).contains(&len) {
            return Err(Errno::EINVAL);
        }
        let bytes = self.mm.read_vec(va, len as usize)?;
        let family = u16::from_le_bytes([bytes[0], bytes[1]]);
        if family == AF_UNSPEC {
            return Ok(None);
        }
        if family != AF_UNIX || len as usize > SUN_PATH + 2 {
            return Err(Errno::EINVAL);
        }
        let name = &bytes[2..];
        Ok(match name.first() {
            None => None,
            Some(0) => Some(Address::Abstract(name[1..].to_vec())),
            Some(_) => {
                let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
                Some(Address::Path(name[..end].to_vec()))
            }
        })
    }

    /// Stores an address and its length, cutting it to the user's buffer.
    pub(crate) fn write_address(
        &mut self,
        address: Option<&Address>,
        va: u64,
        len: u64,
    ) -> Res<()> {
        if va == 0 {
            return Ok(());
        }
        let bytes = encode(address);
        let room: i32 = self.mm.read_pod(len)?;
        let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
        self.mm.write_user(va, &bytes[..room.min(bytes.len())])?;
        self.mm.write_pod(len, &(bytes.len() as u32))
    }

    /// The socket that `address` leads to.
    pub(crate) fn find_socket(&mut self, tid: ThreadId, address: &Address) -> Res<Rc<UnixSocket>> {
        let place = match address {
            Address::Abstract(name) => Place::Abstract(name.clone()),
            Address::Path(path) => {
                let at = self.path_cx(tid);
                let mut cx = self.cx(tid);
                let dentry = resolve(&mut cx, &at, &at.cwd, path, Lookup::FOLLOW)?;
                let meta = dentry.inode().meta(&mut cx)?;
                perm::check(&cx.cred, &meta, W_OK)?;
                if meta.kind() != Kind::Socket {
                    return Err(Errno::ECONNREFUSED);
                }
                Place::Inode(meta.dev, meta.ino)
            }
        };
        self.shared.registry::<UnixNames>().find(&place)
    }
}

/// `struct sockaddr_un` of an address.
pub fn encode(address: Option<&Address>) -> Vec<u8> {
    let mut bytes = AF_UNIX.to_le_bytes().to_vec();
    match address {
        None => {}
        Some(Address::Abstract(name)) => {
            bytes.push(0);
            bytes.extend_from_slice(name);
        }
        Some(Address::Path(path)) => {
            bytes.extend_from_slice(path);
            bytes.push(0);
        }
    }
    bytes
}

/// socket(2)
pub fn socket(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let kind = a.u32(1);
    if kind & !(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = socket::create(&mut k.cx(tid), a.u32(0), kind, a.u32(2))?;
    Ok(k.add_file(tid, file, kind & SOCK_CLOEXEC != 0)?)
}

/// socketpair(2)
pub fn socketpair(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let kind = a.u32(1);
    if kind & !(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (one, two) = socket::pair(&mut k.cx(tid), a.u32(0), kind, a.u32(2))?;
    k.add_pair(tid, one, two, kind & SOCK_CLOEXEC != 0, a.u64(3))
}

/// bind(2)
pub fn bind(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let socket = k.socket_of(tid, a.i32(0))?;
    let address = k.read_address(a.u64(1), u64::from(a.u32(2)))?;
    if socket.local().is_some() {
        return Err(Errno::EINVAL.into());
    }
    let shared = k.shared.clone();
    match address {
        None => {
            // Autobind: five hexadecimal digits in the abstract namespace (unix(7)).
            let name = format!("{:05x}", shared.unique() & 0xfffff).into_bytes();
            socket.bind(
                &shared.registry::<UnixNames>(),
                Address::Abstract(name.clone()),
                Place::Abstract(name),
            )?;
        }
        Some(Address::Abstract(name)) => {
            socket.bind(
                &shared.registry::<UnixNames>(),
                Address::Abstract(name.clone()),
                Place::Abstract(name),
            )?;
        }
        Some(Address::Path(path)) => {
            let at = k.path_cx(tid);
            let mut cx = k.cx(tid);
            let mode = S_IFSOCK | 0o777;
            let made = ops::mknod(&mut cx, &at, &at.cwd, &path, mode, 0);
            let dentry =
                made.map_err(|e| if e == Errno::EEXIST { Errno::EADDRINUSE } else { e })?;
            let meta = dentry.inode().meta(&mut cx)?;
            let place = Place::Inode(meta.dev, meta.ino);
            socket.bind(&shared.registry::<UnixNames>(), Address::Path(path), place)?;
        }
    }
    Ok(0)
}

/// listen(2)
pub fn listen(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let backlog = usize::try_from(a.i32(1)).unwrap_or(usize::MAX);
    k.socket_of(tid, a.i32(0))?.listen(backlog)?;
    Ok(0)
}

/// connect(2)
pub fn connect(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.file(tid, a.i32(0))?;
    let socket = k.socket_of(tid, a.i32(0))?;
    let Some(address) = k.read_address(a.u64(1), u64::from(a.u32(2)))? else {
        socket.disconnect();
        return Ok(0);
    };
    let target = k.find_socket(tid, &address)?;
    match socket.connect(&mut k.cx(tid), &target) {
        Ok(()) => Ok(0),
        Err(Errno::EAGAIN) if !file.is_nonblocking() => Wait::on(target.key()).block(),
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
    if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = k.file(tid, a.i32(0))?;
    let socket = k.socket_of(tid, a.i32(0))?;
    if socket.kind() == SOCK_DGRAM {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let peer = match socket.accept() {
        Ok(peer) => peer,
        Err(Errno::EAGAIN) => return Err(k.wait_file(tid, &file, false)),
        Err(e) => return Err(e.into()),
    };
    let remote = peer.remote().unwrap_or(None);
    let opened = socket::wrap(&mut k.cx(tid), peer, flags & SOCK_NONBLOCK);
    let fd = k.add_file(tid, opened, flags & SOCK_CLOEXEC != 0)?;
    k.write_address(remote.as_ref(), a.u64(1), a.u64(2))?;
    Ok(fd)
}

/// shutdown(2)
pub fn shutdown(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.socket_of(tid, a.i32(0))?.shutdown(a.u32(1))?;
    Ok(0)
}

/// getsockname(2)
pub fn getsockname(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let address = k.socket_of(tid, a.i32(0))?.local();
    k.write_address(address.as_ref(), a.u64(1), a.u64(2))?;
    Ok(0)
}

/// getpeername(2)
pub fn getpeername(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let address = k.socket_of(tid, a.i32(0))?.remote()?;
    k.write_address(address.as_ref(), a.u64(1), a.u64(2))?;
    Ok(0)
}

/// setsockopt(2)
pub fn setsockopt(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let socket = k.socket_of(tid, a.i32(0))?;
    let (level, option, va, len) = (a.u32(1), a.u32(2), a.u64(3), a.i32(4));
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if len < 4 {
        return Err(Errno::EINVAL.into());
    }
    match option {
        SO_RCVTIMEO | SO_SNDTIMEO => {
            let time: abi::Timeval = k.mm.read_pod(va)?;
            let ns = time.to_ns().ok_or(Errno::EDOM)?;
            let (receive, send) = socket.timeouts.get();
            let new = if option == SO_RCVTIMEO { (ns, send) } else { (receive, ns) };
            socket.timeouts.set(new);
        }
        SO_PASSCRED => {
            let on: i32 = k.mm.read_pod(va)?;
            socket.pass_cred.set(on != 0);
        }
        SO_REUSEADDR | SO_REUSEPORT | SO_BROADCAST | SO_KEEPALIVE | SO_LINGER | SO_SNDBUF
        | SO_RCVBUF | SO_SNDBUFFORCE | SO_RCVBUFFORCE | SO_RCVLOWAT => {
            let _: i32 = k.mm.read_pod(va)?;
        }
        _ => return Err(Errno::ENOPROTOOPT.into()),
    }
    Ok(0)
}

/// getsockopt(2)
pub fn getsockopt(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let socket = k.socket_of(tid, a.i32(0))?;
    let (level, option, va, len_va) = (a.u32(1), a.u32(2), a.u64(3), a.u64(4));
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let len: i32 = k.mm.read_pod(len_va)?;
    let room = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let int = |value: u32| value.to_le_bytes().to_vec();
    let value = match option {
        SO_TYPE => int(socket.kind()),
        SO_DOMAIN => int(u32::from(AF_UNIX)),
        SO_ERROR => int(socket.take_error()),
        SO_ACCEPTCONN => int(u32::from(socket.is_listening())),
        SO_SNDBUF | SO_RCVBUF => int(212_992),
        SO_PASSCRED => int(u32::from(socket.pass_cred.get())),
        SO_RCVLOWAT => int(1),
        SO_PROTOCOL | SO_REUSEADDR | SO_REUSEPORT | SO_BROADCAST | SO_KEEPALIVE => int(0),
        SO_LINGER => vec![0; 8],
        SO_PEERCRED => {
            let (pid, uid, gid) = socket.peer_cred();
            [pid, uid, gid].iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        SO_RCVTIMEO | SO_SNDTIMEO => {
            let (receive, send) = socket.timeouts.get();
            let time = abi::Timeval::from_ns(if option == SO_RCVTIMEO { receive } else { send });
            [time.tv_sec, time.tv_usec].iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        _ => return Err(Errno::ENOPROTOOPT.into()),
    };
    let n = value.len().min(room);
    k.mm.write_user(va, &value[..n])?;
    k.mm.write_pod(len_va, &(n as u32))?;
    Ok(0)
}
