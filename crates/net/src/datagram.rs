//! Datagrams: UDP, delivery to sockets, groups and broadcast, errors that come back (udp(7), `net/ipv4/udp.c`).

use crate::address::{self, Family};
use crate::interface::{LO, RouteKind};
use crate::net::Net;
use crate::options::Filter;
use crate::resolver::ADDRESS;
use crate::socket::{
    Datagram, ErrorMessage, Kind, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, Socket, SocketId, State,
};
use abi::Errno;
use abi::inet::*;
use abi::poll::{POLLERR, POLLHUP, POLLPRI, POLLRDHUP, POLLWRBAND, READABLE, WRITABLE};
use abi::socket::*;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Largest payload: 65535 less the headers.
const UDP_MAX_V4: usize = 65535 - 28;
const UDP_MAX_V6: usize = 65535 - 8;
/// What a queue may hold when memory is short.
const SHORT: usize = 16 << 10;
/// Bytes of a datagram that come back with an error (RFC 792, RFC 4443).
const QUOTE_V4: usize = 520;
const QUOTE_V6: usize = 1184;
/// Most entries of an error queue.
const ERRORS_MAX: usize = 64;

/// What a control message says about one datagram to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// Interface (IP_PKTINFO).
    pub index: u32,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Time to live.
    pub ttl: Option<u8>,
    /// Type of service.
    pub tos: Option<u8>,
    /// UDP_SEGMENT: split into datagrams of so many bytes.
    pub segment: Option<u16>,
}

impl Net {
    /// connect(2) of a socket that sends datagrams (`__ip4_datagram_connect`).
    pub fn connect_datagram(&mut self, id: SocketId, bytes: &[u8]) -> Result<(), Errno> {
        if address::family_of(bytes)? == AF_UNSPEC {
            self.forget_peer(id);
            return Ok(());
        }
        let socket = self.at(id)?;
        let mut peer = address::parse(bytes, socket.family, false)?;
        if socket.v6_only() && peer.ip().is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        let path = self.interfaces.route(peer.ip(), self.device_of(socket, peer, 0))?;
        if path.kind == RouteKind::Broadcast && !socket.is_on(SO_BROADCAST) {
            return Err(Errno::EACCES);
        }
        if peer.ip().is_unspecified() {
            peer.set_ip(path.source);
        }
        let (mut local, bound) = (socket.local, socket.bound);
        if local.ip().is_unspecified() {
            local.set_ip(path.source);
        } else if local.ip().is_ipv4() != peer.ip().is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        self.autobind(id)?;
        local.set_port(self.at(id)?.local.port());
        self.give_address(id, local, bound)?;
        let socket = self.at_mut(id)?;
        socket.peer = Some(peer);
        socket.tcp.state = State::Established;
        Ok(())
    }

    /// connect(2) with AF_UNSPEC (`__udp_disconnect`).
    fn forget_peer(&mut self, id: SocketId) {
        let Some(socket) = self.get(id) else { return };
        let (bound, family, mut local) = (socket.bound, socket.family, socket.local);
        self.release_port(id);
        if !bound.0 {
            local.set_ip(family.any().ip());
        }
        if !bound.1 {
            local.set_port(0);
        }
        if let Some(socket) = self.get_mut(id) {
            socket.local = local;
            socket.peer = None;
            socket.tcp.state = State::Close;
        }
        self.hold_port(id);
    }

    /// The interface that a socket insists on for what it sends to `to`.
    pub(crate) fn device_of(&self, socket: &Socket, to: SocketAddr, hint: u32) -> u32 {
        let device = socket.options.borrow().device;
        let scope = match to {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        let multicast = if to.ip().is_multicast() { socket.multicast_if.0 } else { 0 };
        [device, hint, scope, multicast].into_iter().find(|index| *index != 0).unwrap_or(0)
    }

    /// Where a datagram goes: the address given, else the peer. EDESTADDRREQ without either.
    pub(crate) fn target(&self, socket: &Socket, to: Option<&[u8]>) -> Result<SocketAddr, Errno> {
        let Some(bytes) = to else { return socket.peer.ok_or(Errno::EDESTADDRREQ) };
        if socket.family == Family::V6 && bytes.len() >= SOCKADDR_IN {
            // An IPv6 socket takes an IPv4 address here, and AF_UNSPEC for its peer.
            match address::family_of(bytes)? {
                AF_INET if !socket.v6_only() => return address::parse(bytes, Family::V4, false),
                AF_INET => return Err(Errno::ENETUNREACH),
                AF_UNSPEC => return socket.peer.ok_or(Errno::EDESTADDRREQ),
                _ => {}
            }
        }
        let to = address::parse(bytes, socket.family, true)?;
        if socket.v6_only() && to.ip().is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        Ok(to)
    }

    /// send(2) of UDP (`udp_sendmsg`): bytes taken, which are all.
    pub fn send_datagram(
        &mut self,
        id: SocketId,
        data: &[u8],
        to: Option<&[u8]>,
        flags: u32,
        hints: Hints,
    ) -> Result<usize, Errno> {
        let most = match self.at(id)?.family {
            Family::V4 => UDP_MAX_V4,
            Family::V6 => UDP_MAX_V6,
        };
        if data.len() > 0xffff {
            return Err(Errno::EMSGSIZE);
        }
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let socket = self.at(id)?;
        let corked = flags & MSG_MORE != 0 || socket.values.is_on(IPPROTO_UDP, UDP_CORK);
        if corked && self.is_short() {
            return Err(Errno::ENOBUFS);
        }
        let held = self.at_mut(id)?.datagrams.corked.take();
        self.uncharge(held.as_ref().map_or(0, |(bytes, _)| bytes.len()));
        let (mut whole, held_to) = match held {
            Some((bytes, to)) => (bytes, Some(to)),
            None => (Vec::new(), None),
        };
        let to = match held_to {
            Some(to) => to,
            None => self.target(self.at(id)?, to)?,
        };
        if to.port() == 0 {
            return Err(Errno::EINVAL);
        }
        if whole.len() + data.len() > most {
            return Err(Errno::EMSGSIZE);
        }
        let socket = self.at_mut(id)?;
        if socket.shut & SHUT_SEND != 0 {
            return Err(Errno::EPIPE);
        }
        socket.take_error()?;
        if corked {
            whole.extend_from_slice(data);
            let len = whole.len();
            socket.datagrams.corked = Some((whole, to));
            self.charge(len);
            return Ok(data.len());
        }
        let data_len = data.len();
        let bytes = if whole.is_empty() {
            data
        } else {
            whole.extend_from_slice(data);
            &whole
        };
        let segment = hints.segment.map_or(socket.values.get(IPPROTO_UDP, UDP_SEGMENT), i32::from);
        if segment > 0 && bytes.len() > segment as usize {
            if bytes.len().div_ceil(segment as usize) > 128 {
                return Err(Errno::EINVAL);
            }
            for part in bytes.chunks(segment as usize) {
                self.send_one(id, part, to, hints)?;
            }
        } else {
            self.send_one(id, bytes, to, hints)?;
        }
        Ok(data_len)
    }

    fn send_one(
        &mut self,
        id: SocketId,
        data: &[u8],
        to: SocketAddr,
        hints: Hints,
    ) -> Result<(), Errno> {
        let mut datagram = self.address_datagram(id, data, to, hints)?;
        self.autobind(id)?;
        datagram.from.set_port(self.at(id)?.local.port());
        self.deliver_udp(id, datagram)
    }

    /// A datagram with its source address and interface, checked as `ip_route_output` does.
    pub(crate) fn address_datagram(
        &mut self,
        id: SocketId,
        data: &[u8],
        mut to: SocketAddr,
        hints: Hints,
    ) -> Result<Datagram, Errno> {
        let time = self.clock.1;
        let socket = self.at(id)?;
        let path = self.interfaces.route(to.ip(), self.device_of(socket, to, hints.index))?;
        if path.kind == RouteKind::Broadcast && !socket.is_on(SO_BROADCAST) {
            return Err(Errno::EACCES);
        }
        if to.ip().is_unspecified() {
            to.set_ip(path.source);
        }
        let local = socket.local;
        let chosen = hints.source.filter(|ip| !ip.is_unspecified());
        if chosen.is_some_and(|ip| !self.is_local(ip)) {
            return Err(Errno::ENETUNREACH);
        }
        let own = (!local.ip().is_unspecified() && local.ip().is_ipv4() == to.ip().is_ipv4())
            .then(|| local.ip());
        let multicast = socket.multicast_if.1.filter(|_| to.ip().is_multicast());
        let source = chosen.or(own).or(multicast).unwrap_or(path.source);
        let (ttl, tos) = defaults(socket, to.ip());
        Ok(Datagram {
            data: Rc::from(data),
            from: SocketAddr::new(source, local.port()),
            to,
            index: path.index,
            ttl: hints.ttl.unwrap_or(ttl),
            tos: hints.tos.unwrap_or(tos),
            time,
            mark: socket.options.borrow().mark,
        })
    }

    /// Brings a datagram to the sockets of this box that want it, or leaves it for the outside.
    fn deliver_udp(&mut self, sender: SocketId, datagram: Datagram) -> Result<(), Errno> {
        let to = datagram.to;
        let many = to.ip().is_multicast()
            || matches!(to.ip(), IpAddr::V4(ip) if self.interfaces.is_broadcast(ip));
        if many {
            self.deliver_to_all(sender, &datagram);
            return Ok(());
        }
        if to == ADDRESS {
            let from = datagram.from;
            self.asked.push_back((sender, from, datagram.data));
            return Ok(());
        }
        if !self.is_local(to.ip()) {
            return self.send_outside(sender, datagram);
        }
        self.interfaces.count_loopback(datagram.data.len() + 28);
        let protocol = self.at(sender)?.protocol;
        self.show_udp(protocol, &datagram);
        match self.find_udp(protocol, to, datagram.from) {
            Some(target) => self.enqueue(target, datagram),
            None => self.refuse(sender, protocol, &datagram),
        }
        Ok(())
    }

    fn deliver_to_all(&mut self, sender: SocketId, datagram: &Datagram) {
        let to = datagram.to;
        let group = to.ip().is_multicast();
        let protocol = self.get(sender).map(|s| s.protocol);
        // What goes through lo comes back whatever the sender says.
        let comes_back = datagram.index == LO;
        if group && !comes_back && !self.get(sender).is_some_and(|s| loops_back(s, to.ip())) {
            return;
        }
        let wants = |socket: &Socket| {
            let peer = socket.peer.is_none_or(|p| p == datagram.from);
            let device = socket.options.borrow().device;
            let member = !group
                || socket.groups.contains(&(datagram.index, to.ip()))
                || hears_all(socket)
                    && self.interfaces.groups(datagram.index).any(|(g, _)| g == to.ip());
            let protocol = protocol == Some(socket.protocol);
            protocol
                && socket.accepts(to.ip())
                && peer
                && member
                && (device == 0 || device == datagram.index)
        };
        let targets: Vec<_> = self
            .on_port(Kind::Udp, to.port())
            .filter(|(_, s)| wants(s))
            .map(|(id, _)| id)
            .collect();
        if let Some(protocol) = protocol {
            self.show_udp(protocol, datagram);
        }
        for target in targets {
            self.enqueue(target, datagram.clone());
        }
    }

    /// The UDP socket that gets what `from` sends to `to`: the most particular one, the youngest among equals, with
    /// SO_REUSEPORT the one that the sender's address decides (`compute_score`).
    pub(crate) fn find_udp(
        &self,
        protocol: u8,
        to: SocketAddr,
        from: SocketAddr,
    ) -> Option<SocketId> {
        let score = |s: &Socket| -> Option<u32> {
            let fits =
                s.protocol == protocol && s.accepts(to.ip()) && s.peer.is_none_or(|p| p == from);
            fits.then(|| {
                u32::from(s.peer.is_some()) * 8
                    + u32::from(s.local.ip() == to.ip()) * 4
                    + u32::from(s.family == Family::V4) * 2
            })
        };
        let scored =
            || self.on_port(Kind::Udp, to.port()).filter_map(|(id, s)| Some((score(s)?, id, s)));
        let best = scored().map(|(n, ..)| n).max()?;
        let equals: Vec<_> = scored().filter(|(n, ..)| *n == best).collect();
        if equals.len() > 1 && equals.iter().all(|(_, _, s)| s.reuse().1) {
            let hash = u64::from(from.port()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            return equals.get(hash as usize % equals.len()).map(|(_, id, _)| *id);
        }
        equals.last().map(|(_, id, _)| *id)
    }

    /// Queues a datagram; it is lost when the queue is full.
    pub(crate) fn enqueue(&mut self, id: SocketId, mut datagram: Datagram) {
        let (short, exhausted) = (self.is_short(), self.is_exhausted());
        let Some(socket) = self.get_mut(id) else { return };
        let filter = socket.options.borrow().filter.clone();
        if let Some(filter) = filter
            && !filtered(&*filter, socket.kind, &mut datagram)
        {
            socket.datagrams.drops = socket.datagrams.drops.wrapping_add(1);
            return;
        }
        let limit = socket.options.borrow().receive_buffer as usize;
        let limit = if short { limit.min(SHORT) } else { limit };
        if exhausted || socket.datagrams.charged > limit || socket.shut & SHUT_RECEIVE != 0 {
            socket.datagrams.drops = socket.datagrams.drops.wrapping_add(1);
            return;
        }
        let charge = datagram.charge();
        socket.datagrams.charged += charge;
        socket.datagrams.queue.push_back(datagram);
        self.charge(charge);
        self.notify(id);
    }

    /// Nobody has the port: the sender hears of it (`icmp_send`, `__udp4_lib_err`).
    pub(crate) fn refuse(&mut self, sender: SocketId, protocol: u8, datagram: &Datagram) {
        self.show_unreachable(protocol, datagram);
        let (v6, to) = (datagram.to.ip().is_ipv6(), datagram.to);
        let origin = match v6 {
            false => (SO_EE_ORIGIN_ICMP, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH),
            true => (SO_EE_ORIGIN_ICMP6, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH),
        };
        let quote = datagram.data.len().min(if v6 { QUOTE_V6 } else { QUOTE_V4 });
        let message = ErrorMessage {
            errno: Errno::ECONNREFUSED,
            origin,
            info: 0,
            data: Rc::from(&datagram.data[..quote]),
            to,
            offender: to.ip(),
        };
        self.report(sender, message);
    }

    /// An error for a socket that sends datagrams: to its queue with IP_RECVERR, and pending if it is connected or has that
    /// option.
    pub(crate) fn report(&mut self, id: SocketId, message: ErrorMessage) {
        let Some(socket) = self.get_mut(id) else { return };
        let wants = match message.to.ip() {
            IpAddr::V4(_) => socket.values.is_on(IPPROTO_IP, IP_RECVERR),
            IpAddr::V6(_) => socket.values.is_on(IPPROTO_IPV6, IPV6_RECVERR),
        };
        if !wants && socket.peer.is_none() {
            return;
        }
        socket.error = Some(message.errno);
        if wants && socket.errors.len() < ERRORS_MAX {
            socket.errors.push_back(message);
        }
        self.notify(id);
    }

    /// The next datagram (with `MSG_PEEK` it stays), or from the error queue with `MSG_ERRQUEUE`.
    pub fn receive_datagram(&mut self, id: SocketId, flags: u32) -> Result<Datagram, Errno> {
        let socket = self.at_mut(id)?;
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        socket.take_error()?;
        if flags & MSG_PEEK != 0
            && let Some(first) = socket.datagrams.queue.front()
        {
            return Ok(first.clone());
        }
        match socket.datagrams.queue.pop_front() {
            Some(first) => {
                let charge = first.charge();
                socket.datagrams.charged = socket.datagrams.charged.saturating_sub(charge);
                socket.stamp = first.time;
                self.uncharge(charge);
                Ok(first)
            }
            None if socket.shut & SHUT_RECEIVE != 0 => Err(Errno::ESHUTDOWN),
            None => Err(Errno::EAGAIN),
        }
    }

    /// The next entry of the error queue; EAGAIN if it is empty.
    pub fn receive_error(&mut self, id: SocketId) -> Result<ErrorMessage, Errno> {
        let socket = self.at_mut(id)?;
        let message = socket.errors.pop_front().ok_or(Errno::EAGAIN)?;
        // The pending error is that of the next entry (`sock_dequeue_err_skb`).
        socket.error = socket.errors.front().map(|m| m.errno);
        Ok(message)
    }

    /// shutdown(2): ENOTCONN without a peer, though the socket is shut all the same.
    pub fn shutdown_datagram(&mut self, id: SocketId, how: u32) -> Result<(), Errno> {
        if how > SHUT_RDWR {
            return Err(Errno::EINVAL);
        }
        let socket = self.at_mut(id)?;
        socket.shut |= [SHUT_RECEIVE, SHUT_SEND, SHUT_BOTH][how as usize];
        let connected = socket.peer.is_some();
        self.notify(id);
        if connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    /// close(2).
    pub fn close_datagram(&mut self, id: SocketId) {
        self.close_udp_flows(id);
        self.discard(id);
    }

    /// `POLL*` events (`datagram_poll`).
    pub fn poll_datagram(&self, id: SocketId) -> u32 {
        let Some(socket) = self.get(id) else { return POLLERR | POLLHUP };
        let mut events = WRITABLE | POLLWRBAND;
        if socket.error.is_some() || !socket.errors.is_empty() {
            events |= POLLERR;
            if socket.is_on(SO_SELECT_ERR_QUEUE) {
                events |= POLLPRI;
            }
        }
        if socket.shut & SHUT_RECEIVE != 0 {
            events |= POLLRDHUP | READABLE;
        }
        if socket.shut == SHUT_BOTH {
            events |= POLLHUP;
        }
        if !socket.datagrams.queue.is_empty() {
            events |= READABLE;
        }
        events
    }
}

/// Time to live and type of service of what a socket sends to `ip`.
pub(crate) fn defaults(socket: &Socket, ip: IpAddr) -> (u8, u8) {
    let value = |level, option| socket.values.get(level, option);
    let (ttl, tos, start) = match (ip, ip.is_multicast()) {
        (IpAddr::V4(_), false) => (value(IPPROTO_IP, IP_TTL), value(IPPROTO_IP, IP_TOS), 64),
        (IpAddr::V4(_), true) => {
            (value(IPPROTO_IP, IP_MULTICAST_TTL), value(IPPROTO_IP, IP_TOS), 1)
        }
        (IpAddr::V6(_), false) => {
            (value(IPPROTO_IPV6, IPV6_UNICAST_HOPS), value(IPPROTO_IPV6, IPV6_TCLASS), 64)
        }
        (IpAddr::V6(_), true) => {
            (value(IPPROTO_IPV6, IPV6_MULTICAST_HOPS), value(IPPROTO_IPV6, IPV6_TCLASS), 1)
        }
    };
    (u8::try_from(ttl).unwrap_or(start), tos as u8)
}

/// IP_MULTICAST_LOOP of a sender.
fn loops_back(socket: &Socket, group: IpAddr) -> bool {
    match group {
        IpAddr::V4(_) => socket.values.is_on(IPPROTO_IP, IP_MULTICAST_LOOP),
        IpAddr::V6(_) => socket.values.is_on(IPPROTO_IPV6, IPV6_MULTICAST_LOOP),
    }
}

/// IP_MULTICAST_ALL of a receiver that has joined nothing.
fn hears_all(socket: &Socket) -> bool {
    match socket.family {
        Family::V4 => socket.values.is_on(IPPROTO_IP, IP_MULTICAST_ALL),
        Family::V6 => socket.values.is_on(IPPROTO_IPV6, IPV6_MULTICAST_ALL),
    }
}

/// Lets a filter look at a datagram, of UDP with its header, and cut it: whether it stays.
fn filtered(filter: &dyn Filter, kind: Kind, datagram: &mut Datagram) -> bool {
    let header = if kind == Kind::Udp { 8 } else { 0 };
    let mut packet = Vec::with_capacity(header + datagram.data.len());
    if kind == Kind::Udp {
        packet.extend_from_slice(&datagram.from.port().to_be_bytes());
        packet.extend_from_slice(&datagram.to.port().to_be_bytes());
        packet.extend_from_slice(&((datagram.data.len() + header) as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
    }
    packet.extend_from_slice(&datagram.data);
    let keep = filter.keep(&packet);
    if keep == 0 {
        return false;
    }
    let keep = keep.max(header);
    if keep < packet.len() {
        datagram.data = Rc::from(&packet[header..keep]);
    }
    true
}
