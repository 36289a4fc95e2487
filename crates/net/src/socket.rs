//! What one internet socket is.

use crate::address::Family;
use crate::options::SocketOptions;
use crate::outside::Conn;
use crate::values::Values;
use abi::Errno;
use abi::socket::{SO_REUSEADDR, SO_REUSEPORT};
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Names a socket. Numbers are not given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// One direction was shut (shutdown(2)), as bits of [`Socket::shut`].
pub const SHUT_RECEIVE: u8 = 1;
/// The other.
pub const SHUT_SEND: u8 = 2;
/// Both.
pub const SHUT_BOTH: u8 = 3;

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SOCK_STREAM: TCP.
    Tcp,
    /// SOCK_DGRAM: UDP (and UDP-Lite).
    Udp,
    /// SOCK_DGRAM of ICMP: echo requests without privilege.
    Ping,
    /// SOCK_RAW.
    Raw,
}

/// One datagram in a queue.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Payload; of raw IPv4 sockets with the IP header.
    pub data: Rc<[u8]>,
    /// Who sent it.
    pub from: SocketAddr,
    /// The address it was sent to.
    pub to: SocketAddr,
    /// Interface.
    pub index: u32,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Realtime ns of its arrival.
    pub time: u64,
    /// SO_MARK of the sender.
    pub mark: u32,
}

impl Datagram {
    /// What it counts against SO_RCVBUF (`SKB_TRUESIZE`).
    pub fn charge(&self) -> usize {
        768 + self.data.len().next_multiple_of(256)
    }
}

/// An error that came back for something sent (`struct sock_extended_err`, ip(7)).
#[derive(Clone, Debug)]
pub struct ErrorMessage {
    /// `ee_errno`.
    pub errno: Errno,
    /// `ee_origin`, `ee_type`, `ee_code`.
    pub origin: (u8, u8, u8),
    /// `ee_info`.
    pub info: u32,
    /// What was sent.
    pub data: Rc<[u8]>,
    /// Where to.
    pub to: SocketAddr,
    /// Who says so.
    pub offender: IpAddr,
}

/// Datagrams that wait to be received.
#[derive(Debug, Default)]
pub struct Datagrams {
    /// The queue.
    pub queue: VecDeque<Datagram>,
    /// Sum of [`Datagram::charge`].
    pub charged: usize,
    /// Lost for want of room.
    pub drops: u32,
    /// Bytes held back by UDP_CORK or MSG_MORE, and where they go.
    pub corked: Option<(Vec<u8>, SocketAddr)>,
    /// Raw sockets: bit n = ICMP type n is not wanted (ICMP_FILTER, ICMPV6_FILTER).
    pub filter: [u32; 8],
    /// IP_HDRINCL.
    pub own_header: bool,
}

/// States of TCP, with the numbers of `/proc/net/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of RFC 9293
pub enum State {
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

/// How far connect(2) has come (`sock->state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Not called, or failed.
    None,
    /// Under way.
    Connecting,
    /// It has succeeded, or the socket was accepted.
    Done,
}

/// What a connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Nothing: not connected.
    None,
    /// A socket of this box.
    Local(SocketId),
    /// Somebody outside.
    Outside(Conn),
    /// A service inside (the resolver).
    Service,
    /// The peer is closed: whatever is sent is answered by a reset.
    Gone,
}

/// An urgent byte in a stream (tcp(7)).
#[derive(Clone, Copy, Debug)]
pub struct Urgent {
    /// Its position in the stream.
    pub at: u64,
    /// The byte.
    pub byte: u8,
    /// It was received with MSG_OOB.
    pub taken: bool,
}

/// A listening socket's queues.
#[derive(Debug, Default)]
pub struct Backlog {
    /// listen(2)'s number.
    pub max: usize,
    /// Connections that accept(2) gives.
    pub ready: VecDeque<SocketId>,
    /// Connections that wait for their first bytes (TCP_DEFER_ACCEPT).
    pub deferred: BTreeSet<SocketId>,
    /// Clients of this box whose request waits for room.
    pub waiting: VecDeque<SocketId>,
}

/// A TCP endpoint.
#[derive(Debug)]
pub struct Tcp {
    /// State.
    pub state: State,
    /// connect(2).
    pub attempt: Attempt,
    /// The other end.
    pub link: Link,
    /// Received bytes that nobody has read.
    pub queue: VecDeque<u8>,
    /// Position in the stream of the first of them.
    pub position: u64,
    /// The last urgent byte.
    pub urgent: Option<Urgent>,
    /// The peer's end of the stream has arrived.
    pub fin: bool,
    /// Bytes for the outside or a service that are not taken yet.
    pub out: VecDeque<u8>,
    /// The end of the stream is to be told to the outside.
    pub finishing: bool,
    /// Queues of a listening socket.
    pub backlog: Option<Backlog>,
    /// The listening socket that has not given this connection to accept(2) yet.
    pub listener: Option<SocketId>,
    /// Bytes sent and received.
    pub moved: (u64, u64),
    /// When it was established, monotonic ns.
    pub since: u64,
    /// TCP_CONGESTION.
    pub congestion: &'static str,
    /// TCP_MAXSEG as set.
    pub max_segment: u32,
    /// TCP_QUICKACK.
    pub quick_ack: bool,
    /// TCP_LINGER2, seconds.
    pub linger2: i32,
    /// TCP_DEFER_ACCEPT, seconds.
    pub defer: u32,
    /// TCP_WINDOW_CLAMP.
    pub clamp: u32,
    /// Bytes of [`Tcp::queue`] that the outside was not told of yet.
    pub unconfirmed: usize,
}

impl Tcp {
    /// A fresh endpoint.
    pub fn new() -> Tcp {
        Tcp {
            state: State::Close,
            attempt: Attempt::None,
            link: Link::None,
            queue: VecDeque::new(),
            position: 0,
            urgent: None,
            fin: false,
            out: VecDeque::new(),
            finishing: false,
            backlog: None,
            listener: None,
            moved: (0, 0),
            since: 0,
            congestion: "cubic",
            max_segment: 0,
            quick_ack: true,
            linger2: 60,
            defer: 0,
            clamp: 0,
            unconfirmed: 0,
        }
    }
}

impl Default for Tcp {
    fn default() -> Tcp {
        Tcp::new()
    }
}

/// One socket.
#[derive(Debug)]
pub struct Socket {
    /// Address family.
    pub family: Family,
    /// What it speaks.
    pub kind: Kind,
    /// Protocol number.
    pub protocol: u8,
    /// Options of level SOL_SOCKET.
    pub options: Rc<RefCell<SocketOptions>>,
    /// Options with a number at other levels.
    pub values: Values,
    /// Who made it.
    pub uid: u32,
    /// Its address; port 0 until it has one. IPv4 addresses are never mapped here.
    pub local: SocketAddr,
    /// bind(2) has chosen the address, the port.
    pub bound: (bool, bool),
    /// Peer, once connected.
    pub peer: Option<SocketAddr>,
    /// Pending error (SO_ERROR).
    pub error: Option<Errno>,
    /// `SHUT_*` bits.
    pub shut: u8,
    /// Changes of readiness so far.
    pub changes: u64,
    /// Somebody found no room to write.
    pub no_space: bool,
    /// The error queue (IP_RECVERR).
    pub errors: VecDeque<ErrorMessage>,
    /// Joined groups: interface and group.
    pub groups: BTreeSet<(u32, IpAddr)>,
    /// Interface and source address of IP_MULTICAST_IF or IPV6_MULTICAST_IF.
    pub multicast_if: (u32, Option<IpAddr>),
    /// IP_OPTIONS, padded to whole words.
    pub ip_options: Vec<u8>,
    /// IP_UNICAST_IF or IPV6_UNICAST_IF.
    pub unicast_if: u32,
    /// TCP state.
    pub tcp: Tcp,
    /// Queue of the other kinds.
    pub datagrams: Datagrams,
    /// When the last datagram was received (SIOCGSTAMP), realtime ns.
    pub stamp: u64,
}

impl Socket {
    /// A fresh socket; protocol 0 stands for TCP and UDP.
    pub fn new(family: Family, kind: Kind, protocol: u8, uid: u32) -> Socket {
        let protocol = match (kind, protocol) {
            (Kind::Tcp, 0) => abi::inet::IPPROTO_TCP as u8,
            (Kind::Udp, 0) => abi::inet::IPPROTO_UDP as u8,
            (_, protocol) => protocol,
        };
        Socket {
            family,
            kind,
            protocol,
            options: Rc::default(),
            values: Values::default(),
            uid,
            local: family.any(),
            bound: (false, false),
            peer: None,
            error: None,
            shut: 0,
            changes: 0,
            no_space: false,
            errors: VecDeque::new(),
            groups: BTreeSet::new(),
            multicast_if: (0, None),
            ip_options: Vec::new(),
            unicast_if: 0,
            tcp: Tcp::new(),
            datagrams: Datagrams::default(),
            stamp: 0,
        }
    }

    /// Whether a flag of level SOL_SOCKET is on.
    pub fn is_on(&self, option: u32) -> bool {
        self.options.borrow().is_on(option)
    }

    /// IPV6_V6ONLY.
    pub fn v6_only(&self) -> bool {
        self.family == Family::V6
            && self.values.is_on(abi::inet::IPPROTO_IPV6, abi::inet::IPV6_V6ONLY)
    }

    /// Whether what is sent to `ip` is for this socket's address.
    pub fn accepts(&self, ip: IpAddr) -> bool {
        match (self.local.ip(), ip) {
            (own, ip) if own == ip => true,
            (IpAddr::V4(own), IpAddr::V4(_)) => own.is_unspecified(),
            (IpAddr::V6(own), IpAddr::V6(_)) => own.is_unspecified(),
            (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && !self.v6_only(),
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }

    /// Whether some address would reach both sockets.
    pub fn overlaps(&self, other: &Socket) -> bool {
        let (a, b) = (self.local.ip(), other.local.ip());
        self.accepts(b)
            || other.accepts(a)
            || a.is_unspecified() && b.is_unspecified() && a.is_ipv4() == b.is_ipv4()
    }

    /// SO_REUSEADDR and SO_REUSEPORT.
    pub fn reuse(&self) -> (bool, bool) {
        let options = self.options.borrow();
        (options.is_on(SO_REUSEADDR), options.is_on(SO_REUSEPORT))
    }

    /// The pending error, taken.
    pub fn take_error(&mut self) -> Result<(), Errno> {
        self.error.take().map_or(Ok(()), Err)
    }
}

/// A flow of datagrams between a socket and one peer outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UdpFlow {
    pub(crate) conn: Conn,
    /// Monotonic ns of the last datagram.
    pub(crate) used: u64,
}
