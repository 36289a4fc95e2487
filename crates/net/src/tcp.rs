//! TCP connections: connect(2), listen(2), accept(2), shutdown(2), close(2). Both ends of a connection inside the box are
//! sockets that name each other; what one sends lies in the other's queue at once. RFC 9293, `net/ipv4/tcp.c`.

use crate::address::{self, Family};
use crate::capture::flag;
use crate::interface::Path;
use crate::net::Net;
use crate::resolver::ADDRESS;
use crate::socket::{
    Attempt, Backlog, Kind, Link, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, Socket, SocketId, State,
};
use abi::Errno;
use abi::inet::{SOCKADDR_IN, SOCKADDR_IN6_MIN};
use abi::socket::{AF_UNSPEC, SHUT_RD, SHUT_RDWR, SHUT_WR};
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Most closed sockets whose bytes are still on their way out (`tcp_max_orphans`).
const ORPHANS_MAX: usize = 256;

impl Net {
    /// connect(2) of a stream (`inet_stream_connect`). EINPROGRESS or EALREADY while it is under way.
    pub fn connect_stream(&mut self, id: SocketId, bytes: &[u8]) -> Result<(), Errno> {
        if address::family_of(bytes)? == AF_UNSPEC {
            self.disconnect(id);
            return Ok(());
        }
        let socket = self.at(id)?;
        match socket.tcp.attempt {
            Attempt::Done => Err(Errno::EISCONN),
            Attempt::None => {
                if socket.tcp.state != State::Close {
                    return Err(Errno::EISCONN);
                }
                self.start_connecting(id, bytes)?;
                let socket = self.at_mut(id)?;
                socket.tcp.attempt = Attempt::Connecting;
                // The answer is there, but as on Linux the first call does not see it.
                Err(Errno::EINPROGRESS)
            }
            Attempt::Connecting => match socket.tcp.state {
                State::SynSent => Err(Errno::EALREADY),
                State::Close => {
                    let error = self.at_mut(id)?.error.take().unwrap_or(Errno::ECONNABORTED);
                    self.disconnect(id);
                    Err(error)
                }
                _ => {
                    self.at_mut(id)?.tcp.attempt = Attempt::Done;
                    Ok(())
                }
            },
        }
    }

    fn start_connecting(&mut self, id: SocketId, bytes: &[u8]) -> Result<(), Errno> {
        let socket = self.at(id)?;
        let family = socket.family;
        let least = if family == Family::V4 { SOCKADDR_IN } else { SOCKADDR_IN6_MIN };
        if bytes.len() < least {
            return Err(Errno::EINVAL);
        }
        let mut peer = address::parse(bytes, family, false)?;
        if socket.v6_only() && peer.ip().is_ipv4() || peer.ip().is_multicast() {
            return Err(Errno::ENETUNREACH);
        }
        if matches!(peer.ip(), IpAddr::V4(ip) if self.interfaces.is_broadcast(ip)) {
            return Err(Errno::ENETUNREACH);
        }
        let local = socket.local;
        if !local.ip().is_unspecified() && local.ip().is_ipv4() != peer.ip().is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        let device = socket.options.borrow().device;
        let path = self.interfaces.route(peer.ip(), device)?;
        if peer.ip().is_unspecified() {
            peer.set_ip(path.source);
        }
        self.choose_local(id, &path, peer)?;
        let local = self.at(id)?.local;
        let socket = self.at_mut(id)?;
        socket.peer = Some(peer);
        socket.error = None;
        socket.tcp.state = State::SynSent;
        self.connections.insert((local, peer), id);
        if peer == ADDRESS {
            self.establish(id, Link::Service);
        } else if self.is_local(peer.ip()) {
            self.knock(id);
        } else {
            self.dirty.insert(id);
        }
        Ok(())
    }

    /// The local address of a connection to `peer`: what bind(2) chose, else what the route says and a port with which the
    /// connection is the only one of its kind. EADDRNOTAVAIL if there is none.
    fn choose_local(&mut self, id: SocketId, path: &Path, peer: SocketAddr) -> Result<(), Errno> {
        let socket = self.at(id)?;
        let (bound, mut local) = (socket.bound, socket.local);
        if local.ip().is_unspecified() {
            local.set_ip(path.source);
        }
        if local.port() == 0 {
            self.autobind(id).map_err(|_| Errno::EADDRNOTAVAIL)?;
            local.set_port(self.at(id)?.local.port());
        } else if self.connections.contains_key(&(local, peer)) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        self.give_address(id, local, bound)
    }

    /// Asks the listening socket at the peer's address, if there is one.
    fn knock(&mut self, id: SocketId) {
        let Some(socket) = self.get(id) else { return };
        let (local, Some(peer)) = (socket.local, socket.peer) else { return };
        if local == peer {
            self.establish(id, Link::Local(id));
            return;
        }
        self.show_tcp(id, flag::SYN, &[]);
        match self.find_listener(peer, local) {
            None => {
                self.show_refusal(peer, local);
                self.fail(id, Errno::ECONNREFUSED);
            }
            Some(listener) if self.has_room(listener) => {
                if let Ok(child) = self.spawn(listener, peer, local, Link::Local(id)) {
                    self.show_tcp(child, flag::SYN | flag::ACK, &[]);
                    self.establish(id, Link::Local(child));
                    self.show_tcp(id, flag::ACK, &[]);
                }
            }
            // As if the request were lost: it is sent again, and there may be room then.
            Some(listener) => {
                if let Some(backlog) = self.backlog_mut(listener) {
                    backlog.waiting.push_back(id);
                }
            }
        }
    }

    fn backlog_mut(&mut self, listener: SocketId) -> Option<&mut Backlog> {
        self.get_mut(listener)?.tcp.backlog.as_mut()
    }

    /// Whether a listening socket takes one more connection (`sk_acceptq_is_full`).
    pub(crate) fn has_room(&self, listener: SocketId) -> bool {
        self.has_room_for(listener, 0)
    }

    /// The same with a backlog of at least `min`.
    pub(crate) fn has_room_for(&self, listener: SocketId, min: usize) -> bool {
        let backlog = self.get(listener).and_then(|s| s.tcp.backlog.as_ref());
        let waiting = |b: &Backlog| b.ready.len() + b.deferred.len() <= b.max.max(min);
        !self.is_full() && backlog.is_some_and(waiting)
    }

    /// The socket that listens at `to`: the one with the most particular address; among equals (SO_REUSEPORT) the peer's
    /// address decides.
    pub(crate) fn find_listener(&self, to: SocketAddr, from: SocketAddr) -> Option<SocketId> {
        let ids = self.listeners.get(&to.port())?;
        let score = |s: &Socket| {
            u32::from(s.local.ip() == to.ip()) * 4
                + u32::from(s.local.ip().is_ipv4() == to.ip().is_ipv4()) * 2
        };
        let fits = || {
            ids.iter()
                .filter_map(|id| Some((*id, self.get(*id)?)))
                .filter(|(_, s)| s.accepts(to.ip()))
        };
        let best = fits().map(|(_, s)| score(s)).max()?;
        let equals: Vec<_> = fits().filter(|(_, s)| score(s) == best).map(|(id, _)| id).collect();
        let hash = u64::from(from.port()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        equals.get(hash as usize % equals.len().max(1)).copied()
    }

    /// The server's end of a new connection, waiting in the backlog.
    pub(crate) fn spawn(
        &mut self,
        listener: SocketId,
        local: SocketAddr,
        peer: SocketAddr,
        link: Link,
    ) -> Result<SocketId, Errno> {
        let now = self.clock.0;
        let from = self.at(listener)?;
        let mut child = Socket::new(from.family, Kind::Tcp, from.protocol, from.uid);
        child.options = Rc::new(RefCell::new(from.options.borrow().clone()));
        child.values = from.values.clone();
        child.local = local;
        child.bound = (true, true);
        child.peer = Some(peer);
        child.tcp.congestion = from.tcp.congestion;
        child.tcp.max_segment = from.tcp.max_segment;
        child.tcp.linger2 = from.tcp.linger2;
        child.tcp.state = State::Established;
        child.tcp.attempt = Attempt::Done;
        child.tcp.link = link;
        child.tcp.since = now;
        child.tcp.listener = Some(listener);
        let defers = from.tcp.defer > 0;
        let id = self.add(child);
        self.hold_port(id);
        self.connections.insert((local, peer), id);
        if let Some(backlog) = self.backlog_mut(listener) {
            if defers {
                backlog.deferred.insert(id);
            } else {
                backlog.ready.push_back(id);
                self.notify(listener);
            }
        }
        Ok(id)
    }

    /// A connection that waited for its first bytes has them.
    pub(crate) fn stop_deferring(&mut self, id: SocketId) {
        let Some(listener) = self.get(id).and_then(|s| s.tcp.listener) else { return };
        if let Some(backlog) = self.backlog_mut(listener)
            && backlog.deferred.remove(&id)
        {
            backlog.ready.push_back(id);
            self.notify(listener);
        }
    }

    /// A connection of connect(2) stands.
    pub(crate) fn establish(&mut self, id: SocketId, link: Link) {
        let now = self.clock.0;
        if let Some(socket) = self.get_mut(id) {
            socket.tcp.state = State::Established;
            socket.tcp.link = link;
            socket.tcp.since = now;
        }
        self.notify(id);
    }

    /// The connection ends with an error (`tcp_reset`).
    pub(crate) fn fail(&mut self, id: SocketId, error: Errno) {
        let Some(socket) = self.get_mut(id) else { return };
        let (local, peer) = (socket.local, socket.peer);
        socket.error = Some(match socket.tcp.state {
            State::CloseWait if error == Errno::ECONNRESET => Errno::EPIPE,
            _ => error,
        });
        socket.tcp.state = State::Close;
        socket.tcp.link = Link::None;
        socket.shut = SHUT_BOTH;
        let out = std::mem::take(&mut socket.tcp.out).len();
        self.uncharge(out);
        if let Some(peer) = peer {
            self.forget_connection(id, local, peer);
        }
        self.stop_deferring(id);
        self.notify(id);
    }

    fn forget_connection(&mut self, id: SocketId, local: SocketAddr, peer: SocketAddr) {
        if self.connections.get(&(local, peer)) == Some(&id) {
            self.connections.remove(&(local, peer));
        }
    }

    /// listen(2).
    pub fn listen(&mut self, id: SocketId, backlog: i32) -> Result<(), Errno> {
        let max = usize::try_from(backlog).unwrap_or(usize::MAX).min(self.max_backlog);
        let socket = self.at_mut(id)?;
        if socket.kind != Kind::Tcp {
            return Err(Errno::EOPNOTSUPP);
        }
        if let Some(backlog) = &mut socket.tcp.backlog {
            backlog.max = max;
            return Ok(());
        }
        if socket.tcp.state != State::Close || socket.tcp.attempt != Attempt::None {
            return Err(Errno::EINVAL);
        }
        self.autobind(id).map_err(|_| Errno::EADDRINUSE)?;
        if !self.may_listen(id)? {
            return Err(Errno::EADDRINUSE);
        }
        let socket = self.at_mut(id)?;
        socket.tcp.state = State::Listen;
        socket.shut = 0;
        socket.tcp.backlog = Some(Backlog { max, ..Backlog::default() });
        let port = socket.local.port();
        self.listeners.entry(port).or_default().insert(id);
        self.notify(id);
        Ok(())
    }

    /// accept(2): the next connection.
    pub fn accept(&mut self, id: SocketId) -> Result<SocketId, Errno> {
        let socket = self.at_mut(id)?;
        if socket.kind != Kind::Tcp {
            return Err(Errno::EOPNOTSUPP);
        }
        let backlog = socket.tcp.backlog.as_mut().ok_or(Errno::EINVAL)?;
        let next = backlog.ready.pop_front().ok_or(Errno::EAGAIN)?;
        let waiting = backlog.waiting.pop_front();
        if let Some(child) = self.get_mut(next) {
            child.tcp.listener = None;
        }
        if let Some(waiting) = waiting
            && self.state(waiting) == State::SynSent
        {
            self.knock(waiting);
        }
        Ok(next)
    }

    /// connect(2) with AF_UNSPEC, and what shutdown(2) does to a listening socket (`tcp_disconnect`).
    pub fn disconnect(&mut self, id: SocketId) {
        let Some(socket) = self.get(id) else { return };
        let (state, local, peer, bound) =
            (socket.tcp.state, socket.local, socket.peer, socket.bound);
        match state {
            State::Close => {}
            State::Listen => self.stop_listening(id),
            State::SynSent => self.cut(id),
            _ => self.reset_peer(id),
        }
        if let Some(peer) = peer {
            self.forget_connection(id, local, peer);
        }
        self.release_port(id);
        let family = self.get(id).map(|s| s.family);
        let mut queued = 0;
        if let (Some(socket), Some(family)) = (self.get_mut(id), family) {
            queued = socket.tcp.queue.len() + socket.tcp.out.len();
            let old = std::mem::take(&mut socket.tcp);
            socket.tcp.congestion = old.congestion;
            socket.tcp.max_segment = old.max_segment;
            socket.tcp.linger2 = old.linger2;
            socket.tcp.defer = old.defer;
            socket.peer = None;
            socket.shut = 0;
            if !matches!(state, State::Close | State::Listen) {
                socket.error = Some(Errno::ECONNRESET);
            }
            let mut local = if bound.0 { socket.local } else { family.any() };
            local.set_port(if bound.1 { socket.local.port() } else { 0 });
            socket.local = local;
        }
        self.uncharge(queued);
        self.hold_port(id);
        self.notify(id);
    }

    /// Ends what waits in a backlog, and with it the listening.
    fn stop_listening(&mut self, id: SocketId) {
        let Some(socket) = self.get_mut(id) else { return };
        let port = socket.local.port();
        socket.tcp.state = State::Close;
        let backlog = socket.tcp.backlog.take().unwrap_or_default();
        if let Some(set) = self.listeners.get_mut(&port) {
            set.remove(&id);
            if set.is_empty() {
                self.listeners.remove(&port);
            }
        }
        for child in backlog.ready.into_iter().chain(backlog.deferred) {
            self.reset_peer(child);
            self.discard(child);
        }
        for client in backlog.waiting {
            if self.state(client) == State::SynSent {
                self.knock(client);
            }
        }
        self.notify(id);
    }

    /// Tells the other end that the connection is broken.
    fn reset_peer(&mut self, id: SocketId) {
        let Some(socket) = self.get_mut(id) else { return };
        socket.tcp.state = State::Close;
        match socket.tcp.link {
            Link::Local(peer) if peer != id => {
                self.show_tcp(id, flag::RST | flag::ACK, &[]);
                if let Some(socket) = self.get_mut(id) {
                    socket.tcp.link = Link::None;
                }
                self.fail(peer, Errno::ECONNRESET);
            }
            _ => self.cut(id),
        }
    }

    /// Leaves the end of a flow to [`Net::pump`](crate::Net::pump): its socket is no longer the one that it leads to.
    fn cut(&mut self, id: SocketId) {
        let link = self.get_mut(id).map(|s| std::mem::replace(&mut s.tcp.link, Link::None));
        if let Some(Link::Outside(conn)) = link {
            self.flows.remove(&conn);
            self.ended.push((conn, true));
        }
    }

    /// shutdown(2) (`inet_shutdown`).
    pub fn shutdown_stream(&mut self, id: SocketId, how: u32) -> Result<(), Errno> {
        let bits = match how {
            SHUT_RD => SHUT_RECEIVE,
            SHUT_WR => SHUT_SEND,
            SHUT_RDWR => SHUT_BOTH,
            _ => return Err(Errno::EINVAL),
        };
        let socket = self.at_mut(id)?;
        match socket.tcp.state {
            State::Listen if bits & SHUT_RECEIVE == 0 => {}
            State::Listen | State::SynSent => self.disconnect(id),
            State::Close => {
                socket.shut |= bits;
                self.notify(id);
                return Err(Errno::ENOTCONN);
            }
            _ => {
                let had = socket.shut;
                socket.shut |= bits;
                if bits & SHUT_SEND != 0 && had & SHUT_SEND == 0 {
                    self.send_fin(id);
                }
            }
        }
        self.notify(id);
        Ok(())
    }

    /// Sends the end of the stream.
    fn send_fin(&mut self, id: SocketId) {
        let Some(socket) = self.get_mut(id) else { return };
        let first = socket.tcp.state == State::Established;
        socket.tcp.state = if first { State::FinWait2 } else { State::Close };
        match socket.tcp.link {
            Link::Local(peer) => {
                self.show_tcp(id, flag::FIN | flag::ACK, &[]);
                let socket = self.get_mut(id);
                if let (false, Some(socket)) = (first, socket) {
                    socket.tcp.link = Link::Gone;
                    self.end_connection(id);
                }
                self.receive_fin(peer);
                self.show_tcp(peer, flag::ACK, &[]);
            }
            Link::Outside(_) => {
                socket.tcp.finishing = true;
                self.dirty.insert(id);
            }
            _ => {
                if !first {
                    self.end_connection(id);
                }
            }
        }
    }

    /// The peer sends no more.
    pub(crate) fn receive_fin(&mut self, id: SocketId) {
        let Some(socket) = self.get_mut(id) else { return };
        if socket.tcp.fin {
            return;
        }
        socket.tcp.fin = true;
        socket.shut |= SHUT_RECEIVE;
        match socket.tcp.state {
            State::FinWait2 | State::FinWait1 => {
                socket.tcp.state = State::Close;
                socket.shut = SHUT_BOTH;
                let reuse = socket.reuse();
                if let Some(peer) = socket.peer {
                    let local = socket.local;
                    self.linger(local, peer, reuse);
                }
                self.end_connection(id);
            }
            State::Established => socket.tcp.state = State::CloseWait,
            _ => {}
        }
        self.stop_deferring(id);
        self.notify(id);
    }

    fn end_connection(&mut self, id: SocketId) {
        if let Some(socket) = self.get(id)
            && let Some(peer) = socket.peer
        {
            let local = socket.local;
            self.forget_connection(id, local, peer);
        }
    }

    /// close(2): the last descriptor of a stream is gone (`__tcp_close`).
    pub fn close_stream(&mut self, id: SocketId) {
        let Some(socket) = self.get(id) else { return };
        let unread = !socket.tcp.queue.is_empty();
        let abort = unread || socket.options.borrow().linger == Some(0);
        let (state, link, sent_fin) =
            (socket.tcp.state, socket.tcp.link, socket.shut & SHUT_SEND != 0);
        match state {
            State::Listen => self.stop_listening(id),
            State::SynSent => self.cut(id),
            State::Close => {
                if let Link::Outside(conn) = link {
                    self.close_flow(id, conn);
                    return;
                }
            }
            _ if abort => self.reset_peer(id),
            State::Established | State::CloseWait | State::FinWait2 => {
                if let Link::Outside(conn) = link {
                    if !sent_fin {
                        self.send_fin(id);
                    }
                    self.close_flow(id, conn);
                    return;
                }
                if !sent_fin {
                    self.send_fin(id);
                }
                // The peer may still send: it is told then.
                if let Link::Local(peer) = link
                    && peer != id
                    && let Some(peer) = self.get_mut(peer)
                {
                    peer.tcp.link = Link::Gone;
                }
                if let Some(socket) = self.get(id)
                    && socket.tcp.state == State::FinWait2
                    && let Some(peer) = socket.peer
                {
                    let (local, reuse) = (socket.local, socket.reuse());
                    self.linger(local, peer, reuse);
                }
            }
            _ => {}
        }
        self.discard(id);
    }

    /// Leaves a socket whose bytes are still on their way out to [`Net::pump`](crate::Net::pump).
    fn close_flow(&mut self, id: SocketId, conn: crate::outside::Conn) {
        let Some(socket) = self.get_mut(id) else { return };
        let rest = std::mem::take(&mut socket.tcp.out);
        self.flows.remove(&conn);
        if rest.is_empty() {
            self.ended.push((conn, false));
        } else if self.draining.len() < ORPHANS_MAX && !self.is_short() {
            self.draining.insert(conn, rest);
        } else {
            self.uncharge(rest.len());
            self.ended.push((conn, true));
        }
        self.discard(id);
    }

    /// Forgets a socket altogether.
    pub(crate) fn discard(&mut self, id: SocketId) {
        self.end_connection(id);
        self.release_port(id);
        if let Some(socket) = self.remove(id) {
            let corked = socket.datagrams.corked.map_or(0, |(bytes, _)| bytes.len());
            let queued = socket.tcp.queue.len() + socket.tcp.out.len() + socket.datagrams.charged;
            self.uncharge(queued + corked);
            for (index, group) in socket.groups {
                self.interfaces.leave(index, group);
            }
        }
    }
}
