//! The way out of a box, as far as its host grants one.

use abi::Errno;
use std::net::SocketAddr;

/// Names one flow between the box and the outside. Numbers are never given twice by the same [`Outside`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u32);

/// What a flow carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A byte stream.
    Tcp,
    /// Datagrams, each in one piece, to and from one peer.
    Udp,
}

/// Something that happened outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A TCP connection stands. `local` is the address that the host uses, when it tells.
    Connected(Conn, Option<SocketAddr>),
    /// The flow ended with an error (`ECONNREFUSED`, `ECONNRESET`, `ETIMEDOUT`, `EHOSTUNREACH`, `EACCES` where the host's
    /// policy forbids it …). It is gone.
    Failed(Conn, Errno),
    /// Bytes of a stream, or one datagram.
    Data(Conn, Vec<u8>),
    /// The peer sends no more (TCP); the other direction stays open. Or the host has given up a flow of datagrams that was silent for
    /// long (UDP): it is gone, and the next datagram opens another.
    Eof(Conn),
    /// [`Outside::send`] takes bytes again.
    Room(Conn),
    /// Somebody outside asks for a port that the host publishes: a TCP connection that stands, or a UDP peer whose first
    /// datagram follows. Nobody there: [`Outside::abort`].
    Incoming {
        /// The new flow.
        conn: Conn,
        /// What it carries.
        transport: Transport,
        /// The port inside the box.
        port: u16,
        /// Who asks.
        peer: SocketAddr,
    },
    /// The answer to [`Outside::query`] with this number: a whole DNS message, or none if the host gives none (time-out,
    /// refused).
    Answer(u32, Option<Vec<u8>>),
}

/// The way out. No call waits; what happens later comes from [`Outside::event`]. The host judges every flow by its
/// policy and looks up every name.
pub trait Outside {
    /// Starts a TCP connection, or opens a flow of datagrams, to `peer`. For UDP the flow can be used at once, and
    /// [`Event::Connected`] does not come. `ENETUNREACH` where there is no way to that family of addresses.
    fn connect(&mut self, transport: Transport, peer: SocketAddr) -> Result<Conn, Errno>;
    /// Gives bytes of a stream (the number taken may be less; 0 = wait for [`Event::Room`]) or one datagram (all or
    /// nothing).
    fn send(&mut self, conn: Conn, data: &[u8]) -> usize;
    /// So many bytes of [`Event::Data`] have left the box's buffers: the peer may send as many more.
    fn consumed(&mut self, conn: Conn, bytes: usize);
    /// No more bytes will be sent (shutdown(2), SHUT_WR). What was taken arrives first.
    fn finish(&mut self, conn: Conn);
    /// Ends a flow in both directions. What was taken by [`Outside::send`] still arrives.
    fn close(&mut self, conn: Conn);
    /// Ends a flow at once with a reset.
    fn abort(&mut self, conn: Conn);
    /// Somebody listens where [`Event::Incoming`] asked for a TCP connection: it waits to be accepted, or is.
    fn taken(&mut self, _: Conn) {}
    /// Asks the host's resolver: `message` is a DNS query (RFC 1035 §4). The answer comes as [`Event::Answer`].
    fn query(&mut self, number: u32, message: &[u8]);
    /// The next thing that happened.
    fn event(&mut self) -> Option<Event>;
    /// Whether connections to addresses of this family may succeed at all (IPv4, IPv6).
    fn families(&self) -> (bool, bool);
}
