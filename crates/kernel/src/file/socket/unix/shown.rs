//! What `/proc/net/unix` and sock_diag(7) show of a unix socket.

use abi::socket::SOCK_STREAM;

use super::{Address, UnixSocket};

/// A socket as lists show it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// `SOCK_*`.
    pub kind: u32,
    /// It has a backlog.
    pub listening: bool,
    /// It has a peer, or had one.
    pub connected: bool,
    /// Its name.
    pub name: Option<Address>,
    /// Inode number of the peer, 0 if there is none (or it has not been accepted).
    pub peer: u64,
    /// Inode numbers of the clients that wait to be accepted.
    pub waiting: Vec<u64>,
    /// Bytes (a listening socket: connections) that wait, and room for so many.
    pub queue: (u32, u32),
    /// Bit 0: receives no more; bit 1: sends no more.
    pub shut: u8,
    /// Inode number.
    pub inode: u64,
    /// Owner.
    pub uid: u32,
    /// SO_COOKIE.
    pub cookie: u64,
}

impl UnixSocket {
    /// The socket as lists show it.
    pub fn shown(&self) -> Shown {
        let options = self.options.borrow();
        let peer = self.peer();
        let waiting = self.backlog.borrow().as_ref().map(|b| {
            let clients = b.waiting.iter().filter_map(|server| server.peer());
            (clients.map(|c| c.options.borrow().inode).collect::<Vec<_>>(), b.max)
        });
        let queue = match &waiting {
            Some((clients, max)) => (clients.len() as u32, *max as u32),
            // A stream's room counts what the peer has not read.
            None if self.kind == SOCK_STREAM => {
                let out = peer.as_ref().map_or(0, |p| p.inbox_bytes.get());
                (self.inbox_bytes.get() as u32, out as u32)
            }
            None => (self.pending_bytes() as u32, 0),
        };
        Shown {
            kind: self.kind,
            listening: waiting.is_some(),
            connected: self.connected.get(),
            name: self.local_address(),
            peer: peer.map_or(0, |p| p.options.try_borrow().map_or(0, |o| o.inode)),
            waiting: waiting.map(|(clients, _)| clients).unwrap_or_default(),
            queue,
            shut: u8::from(self.shut_read.get()) | u8::from(self.shut_write.get()) << 1,
            inode: options.inode,
            uid: options.uid,
            cookie: options.cookie,
        }
    }
}
