//! What a socket of any family can do.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use abi::Errno;
use net::{OptionValue, SocketOptions};

use super::message::{Incoming, Outgoing};
use crate::fs::walk::PathCx;
use crate::fs::{Cx, Res};
use crate::source::MapSource;
use crate::wait::WaitKey;

/// A socket. Nothing waits: what cannot go on yet is `EAGAIN` (for connect(2) also `EINPROGRESS` or `EALREADY`), and
/// the system call waits for [`SocketOps::keys`] and does it again. Addresses are whole `struct sockaddr` records of 1
/// to 128 bytes. The defaults say that this kind of socket cannot.
pub trait SocketOps {
    /// For downcasts to one family.
    fn as_any(&self) -> &dyn Any;
    /// `AF_*`.
    fn family(&self) -> u16;
    /// `SOCK_*`.
    fn kind(&self) -> u32;
    /// Protocol number (SO_PROTOCOL).
    fn protocol(&self) -> u32;
    /// State of the options of level SOL_SOCKET.
    fn options(&self) -> &RefCell<SocketOptions>;

    /// bind(2). Paths start at `at`.
    fn bind(&self, cx: &mut Cx, at: &PathCx, address: &[u8]) -> Res<()>;
    /// listen(2).
    fn listen(&self, _cx: &mut Cx, _backlog: i32) -> Res<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// connect(2). What else to wait for goes to `keys`.
    fn connect(&self, cx: &mut Cx, at: &PathCx, address: &[u8], keys: &mut Vec<WaitKey>)
    -> Res<()>;
    /// accept(2): the next connection.
    fn accept(&self, _cx: &mut Cx) -> Res<Rc<dyn SocketOps>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// socketpair(2): joins two fresh sockets of the same kind.
    fn pair(&self, _other: &dyn SocketOps) -> Res<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Sends bytes; a stream may take less than all.
    fn send(&self, cx: &mut Cx, message: &mut Outgoing) -> Res<usize>;
    /// Receives into `buf`. With `MSG_DONTWAIT` in `flags` the low-water mark does not count.
    fn receive(&self, cx: &mut Cx, buf: &mut [u8], flags: u32) -> Res<Incoming>;
    /// Bytes of the next message, or of all that a stream holds.
    fn pending(&self) -> usize;
    /// Whether writing to a broken connection raises SIGPIPE.
    fn raises_sigpipe(&self) -> bool {
        self.kind() == abi::socket::SOCK_STREAM
    }
    /// shutdown(2).
    fn shutdown(&self, cx: &mut Cx, how: u32) -> Res<()>;

    /// getsockname(2).
    fn local(&self, cx: &mut Cx) -> Res<Vec<u8>>;
    /// getpeername(2).
    fn remote(&self, cx: &mut Cx) -> Res<Vec<u8>>;

    /// SO_ERROR: the pending error, taken.
    fn take_error(&self, _cx: &mut Cx) -> Option<Errno> {
        None
    }
    /// SO_ACCEPTCONN.
    fn is_listening(&self) -> bool {
        false
    }
    /// setsockopt(2) at another level than SOL_SOCKET, or an option of SOL_SOCKET that the family knows better:
    /// `None` leaves it to what all families have in common.
    fn set_option(
        &self,
        cx: &mut Cx,
        level: u32,
        option: u32,
        value: &OptionValue,
    ) -> Option<Res<()>>;
    /// getsockopt(2), likewise: the whole value for a buffer of `room` bytes.
    fn get_option(&self, cx: &mut Cx, level: u32, option: u32, room: usize)
    -> Option<Res<Vec<u8>>>;

    /// `POLL*` events that are true now.
    fn poll(&self, cx: &mut Cx) -> u32;
    /// What is woken when [`SocketOps::poll`] may have changed.
    fn keys(&self, out: &mut Vec<WaitKey>);
    /// Counts changes of readiness, for edge-triggered epoll(7).
    fn generation(&self) -> u64;
    /// ioctl(2): `data` is the record, to be read or filled. ENOTTY for one that it does not know.
    fn ioctl(&self, _cx: &mut Cx, _request: u32, _data: &mut [u8]) -> Res<u64> {
        Err(Errno::ENOTTY)
    }
    /// The memory that mmap(2) shows.
    fn map(&self) -> Res<Rc<dyn MapSource>> {
        Err(Errno::ENODEV)
    }
    /// The last descriptor was closed.
    fn close(&self);
}
