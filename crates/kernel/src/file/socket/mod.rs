//! Sockets. Unix sockets (unix(7)) are complete in memory; other families refuse with `EAFNOSUPPORT`.

pub mod unix;

use std::any::Any;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_NONBLOCK, O_RDWR};
use abi::socket::{AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SOCK_TYPE_MASK};
use abi::tty::FIONREAD;

use super::{FileOps, OpenFile, anon};
use crate::fs::{Cx, Kind, Res};
use crate::wait::WaitKey;

pub use unix::{Address, Message, UnixNames, UnixSocket};

/// An open socket: the last one closes it.
pub struct Socket {
    /// The socket.
    pub unix: Rc<UnixSocket>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.unix.close();
    }
}

/// The socket type of socket(2)'s second argument, checked.
fn type_of(family: u32, kind: u32, protocol: u32) -> Res<u32> {
    if family != u32::from(AF_UNIX) {
        return Err(Errno::EAFNOSUPPORT);
    }
    if protocol != 0 && protocol != u32::from(AF_UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match kind & SOCK_TYPE_MASK {
        // SOCK_RAW counts as SOCK_DGRAM (unix(7) since Linux 2.6).
        3 => Ok(SOCK_DGRAM),
        kind @ (SOCK_STREAM | SOCK_DGRAM | SOCK_SEQPACKET) => Ok(kind),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

/// socket(2).
pub fn create(cx: &mut Cx, family: u32, kind: u32, protocol: u32) -> Res<Rc<OpenFile>> {
    let socket = UnixSocket::new(cx, type_of(family, kind, protocol)?);
    Ok(wrap(cx, socket, kind & O_NONBLOCK))
}

/// socketpair(2).
pub fn pair(
    cx: &mut Cx,
    family: u32,
    kind: u32,
    protocol: u32,
) -> Res<(Rc<OpenFile>, Rc<OpenFile>)> {
    let one = type_of(family, kind, protocol).map_err(|e| match e {
        Errno::EAFNOSUPPORT if family == 2 || family == 10 => Errno::EOPNOTSUPP,
        e => e,
    })?;
    let (a, b) = (UnixSocket::new(cx, one), UnixSocket::new(cx, one));
    UnixSocket::join(&a, &b);
    let flags = kind & O_NONBLOCK;
    Ok((wrap(cx, a, flags), wrap(cx, b, flags)))
}

/// An open file for a socket.
pub fn wrap(cx: &mut Cx, unix: Rc<UnixSocket>, flags: u32) -> Rc<OpenFile> {
    let shared = cx.shared.clone();
    let dentry = anon::dentry(&shared, "socket", Kind::Socket, cx.cred.uid, cx.cred.gid);
    OpenFile::new(&shared, &dentry, Rc::new(Socket { unix }), O_RDWR | flags)
}

impl FileOps for Socket {
    fn kind_name(&self) -> &'static str {
        "socket"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _cx: &mut Cx, _file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        self.unix.receive(buf, false, &mut Vec::new()).map(|r| r.len)
    }

    fn write(&self, cx: &mut Cx, _file: &OpenFile, buf: &[u8]) -> Res<usize> {
        self.unix.send(cx, buf, Vec::new(), None)
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        self.unix.poll()
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        self.unix.keys(out);
    }

    fn generation(&self) -> u64 {
        self.unix.generation()
    }

    fn ioctl(&self, _: &mut Cx, _: &OpenFile, request: u32, _: u64, data: &mut [u8]) -> Res<u64> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        data.copy_from_slice(&(self.unix.pending_bytes() as u32).to_le_bytes());
        Ok(0)
    }
}
