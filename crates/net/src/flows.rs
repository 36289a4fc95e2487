//! What goes through the way out: TCP connections, flows of datagrams, and those that come in.

use crate::interface::{ETH0_V4, GATEWAY_V4, Interfaces};
use crate::net::Net;
use crate::outside::{Conn, Event, Outside, Transport};
use crate::serve::reborrow;
use crate::socket::{Datagram, ErrorMessage, Link, SocketId, State, UdpFlow};
use abi::Errno;
use abi::inet::{IPPROTO_UDP, SO_EE_ORIGIN_LOCAL};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Most flows of datagrams at a time.
const UDP_FLOWS_MAX: usize = 512;
/// A flow of datagrams without one for so long is closed, ns (`nf_conntrack_udp_timeout_stream`).
const UDP_IDLE_NS: u64 = 120_000_000_000;
/// Most bytes of a stream that the outside may send beyond what was read: more is not flow control but an attack.
const STREAM_MAX: usize = 8 << 20;
/// Most datagrams that wait for [`Net::pump`].
const UDP_WAITING_MAX: usize = 256;
/// Bytes of a datagram that could not be sent that come back with the error.
const QUOTE: usize = 520;
/// Connections from outside that may wait for accept(2) however small the backlog: they stand already, so nobody there would ask
/// again, as a TCP does whose SYN finds a full backlog.
const INCOMING_MIN: usize = 1024;
/// Events that are handled before programs run again.
const EVENTS_MAX: usize = 1024;

impl Net {
    /// Whether a way out is known.
    pub fn has_outside(&self) -> bool {
        self.families.is_some()
    }

    /// Gives the outside what is for it, and takes what has happened there. Without a way out only the services inside
    /// are served.
    pub fn pump(&mut self, mut outside: Option<&mut dyn Outside>) {
        if let Some(outside) = reborrow(&mut outside) {
            if self.families.is_none() {
                let families = outside.families();
                self.families = Some(families);
                self.interfaces = Interfaces::new(self.families);
            }
            for _ in 0..EVENTS_MAX {
                let Some(event) = outside.event() else { break };
                self.happen(event, outside);
            }
            self.flush(outside);
        }
        self.serve(reborrow(&mut outside));
        if let Some(outside) = outside {
            self.flush(outside);
        }
    }

    /// Whether [`Net::pump`] has something to do without an event from outside.
    pub fn needs_pump(&self) -> bool {
        !(self.dirty.is_empty()
            && self.ended.is_empty()
            && self.udp_out.is_empty()
            && self.asked.is_empty())
            || self.resolver.deadline().is_some()
    }

    /// The way out is gone for good, and another may come: connections that went through it are reset (`ECONNRESET`), questions to
    /// its resolver fail. Whoever listens still does.
    pub fn forget_outside(&mut self) {
        if self.families.take().is_none() {
            return;
        }
        for conn in self.flows.keys().copied().collect::<Vec<_>>() {
            match self.udp_peers.get(&conn) {
                // As a host does that gives up a silent flow: the next datagram opens another.
                Some(_) => self.drop_flow(conn),
                None => self.flow_failed(conn, Errno::ECONNRESET),
            }
        }
        self.flows.clear();
        self.udp_flows.clear();
        self.udp_out.clear();
        self.ended.clear();
        let rests: usize = std::mem::take(&mut self.draining).values().map(VecDeque::len).sum();
        self.uncharge(rests);
        for number in self.resolver.outstanding() {
            let answer = self.resolver.answer(number, None);
            self.hand_over(answer);
        }
        self.interfaces = Interfaces::default();
    }

    fn flush(&mut self, outside: &mut dyn Outside) {
        for (conn, abort) in std::mem::take(&mut self.ended) {
            if abort { outside.abort(conn) } else { outside.close(conn) }
        }
        let rests: Vec<_> = self.draining.keys().copied().collect();
        for conn in rests {
            self.drain(conn, outside);
        }
        let dirty: Vec<_> = self.dirty.iter().copied().collect();
        for id in dirty {
            let link = self.get(id).map(|s| (s.tcp.link, s.tcp.state, s.peer));
            match link {
                Some((Link::None, State::SynSent, Some(peer))) => self.dial(id, peer, outside),
                Some((Link::Outside(conn), ..)) => self.flush_stream(id, conn, outside),
                Some((Link::Service, ..)) => continue,
                _ => {}
            }
            self.dirty.remove(&id);
        }
        while let Some((id, datagram)) = self.udp_out.pop_front() {
            self.flush_datagram(id, &datagram, outside);
        }
        self.expire_flows(outside);
    }

    fn dial(&mut self, id: SocketId, peer: SocketAddr, outside: &mut dyn Outside) {
        match outside.connect(Transport::Tcp, peer) {
            Ok(conn) => {
                self.flows.insert(conn, id);
                if let Some(socket) = self.get_mut(id) {
                    socket.tcp.link = Link::Outside(conn);
                }
            }
            Err(error) => self.fail(id, error),
        }
    }

    fn flush_stream(&mut self, id: SocketId, conn: Conn, outside: &mut dyn Outside) {
        let Some(socket) = self.get_mut(id) else { return };
        let tcp = &mut socket.tcp;
        if tcp.unconfirmed > 0 {
            outside.consumed(conn, std::mem::take(&mut tcp.unconfirmed));
        }
        if tcp.state == State::SynSent {
            return;
        }
        let mut taken = 0;
        while !tcp.out.is_empty() {
            let (front, _) = tcp.out.as_slices();
            let n = outside.send(conn, front).min(front.len());
            if n == 0 {
                break;
            }
            tcp.out.drain(..n);
            taken += n;
        }
        if tcp.out.is_empty() && tcp.finishing {
            tcp.finishing = false;
            outside.finish(conn);
        }
        self.uncharge(taken);
        self.offer_room(id);
    }

    /// A datagram for somebody outside, from a socket of this box.
    pub(crate) fn send_outside(&mut self, id: SocketId, datagram: Datagram) -> Result<(), Errno> {
        let (v4, v6) = self.families.unwrap_or((false, false));
        if !(if datagram.to.is_ipv4() { v4 } else { v6 }) {
            return Err(Errno::ENETUNREACH);
        }
        if self.udp_out.len() < UDP_WAITING_MAX {
            self.udp_out.push_back((id, datagram));
        }
        Ok(())
    }

    fn flush_datagram(&mut self, id: SocketId, datagram: &Datagram, outside: &mut dyn Outside) {
        if self.get(id).is_none() {
            return;
        }
        let (peer, now) = (datagram.to, self.clock.0);
        let known = self.udp_flows.get(&(id, peer)).map(|flow| flow.conn);
        let conn = match known {
            Some(conn) => conn,
            None => match outside.connect(Transport::Udp, peer) {
                Ok(conn) => {
                    self.make_room_for_flow(outside);
                    self.flows.insert(conn, id);
                    self.udp_peers.insert(conn, peer);
                    conn
                }
                Err(errno) => {
                    let origin = (SO_EE_ORIGIN_LOCAL, 0, 0);
                    let quote = datagram.data.len().min(QUOTE);
                    let data = Rc::from(&datagram.data[..quote]);
                    let offender = datagram.from.ip();
                    let message = ErrorMessage { errno, origin, info: 0, data, to: peer, offender };
                    self.report(id, message);
                    return;
                }
            },
        };
        self.udp_flows.insert((id, peer), UdpFlow { conn, used: now });
        // What finds no room is lost, as on a full link.
        outside.send(conn, &datagram.data);
    }

    fn make_room_for_flow(&mut self, outside: &mut dyn Outside) {
        while self.udp_flows.len() >= UDP_FLOWS_MAX {
            let oldest = self.udp_flows.iter().min_by_key(|(_, f)| f.used).map(|(k, f)| (*k, *f));
            let Some((key, flow)) = oldest else { return };
            self.udp_flows.remove(&key);
            self.drop_flow(flow.conn);
            outside.close(flow.conn);
        }
    }

    fn drop_flow(&mut self, conn: Conn) {
        self.flows.remove(&conn);
        self.udp_peers.remove(&conn);
    }

    fn expire_flows(&mut self, outside: &mut dyn Outside) {
        let now = self.clock.0;
        if self.udp_flows.is_empty() || now < self.udp_expiry {
            return;
        }
        self.udp_expiry = now + UDP_IDLE_NS / 4;
        let idle: Vec<_> = self
            .udp_flows
            .iter()
            .filter(|(_, f)| f.used + UDP_IDLE_NS <= now)
            .map(|(k, f)| (*k, f.conn))
            .collect();
        for (key, conn) in idle {
            self.udp_flows.remove(&key);
            self.drop_flow(conn);
            outside.close(conn);
        }
    }

    /// Ends the flows of a socket that is closed.
    pub(crate) fn close_udp_flows(&mut self, id: SocketId) {
        let from = (id, SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0));
        let own: Vec<_> = self
            .udp_flows
            .range(from..)
            .take_while(|((socket, _), _)| *socket == id)
            .map(|(key, flow)| (*key, flow.conn))
            .collect();
        for (key, conn) in own {
            self.udp_flows.remove(&key);
            self.drop_flow(conn);
            self.ended.push((conn, false));
        }
    }

    fn happen(&mut self, event: Event, outside: &mut dyn Outside) {
        match event {
            Event::Connected(conn, _) => {
                if let Some(id) = self.flows.get(&conn).copied()
                    && self.state(id) == State::SynSent
                {
                    self.establish(id, Link::Outside(conn));
                    self.dirty.insert(id);
                }
            }
            Event::Failed(conn, errno) => self.flow_failed(conn, errno),
            Event::Data(conn, data) => self.flow_data(conn, data, outside),
            Event::Eof(conn) if self.udp_peers.contains_key(&conn) => {
                if let (Some(id), Some(peer)) = (self.flows.get(&conn), self.udp_peers.get(&conn)) {
                    self.udp_flows.remove(&(*id, *peer));
                }
                self.drop_flow(conn);
            }
            Event::Eof(conn) => {
                if let Some(id) = self.flows.get(&conn).copied() {
                    self.receive_fin(id);
                }
            }
            Event::Room(conn) => {
                if let Some(id) = self.flows.get(&conn).copied() {
                    self.dirty.insert(id);
                }
                self.drain(conn, outside);
            }
            Event::Incoming { conn, transport, port, peer } => {
                let to = SocketAddr::new(ETH0_V4.into(), port);
                let peer = seen_from_inside(peer);
                let taken = match transport {
                    Transport::Tcp => self.incoming_stream(conn, to, peer),
                    Transport::Udp => self.incoming_datagrams(conn, to, peer, outside),
                };
                match (taken, transport) {
                    (false, _) => outside.abort(conn),
                    (true, Transport::Tcp) => outside.taken(conn),
                    (true, Transport::Udp) => {}
                }
            }
            Event::Answer(number, message) => {
                let answer = self.resolver.answer(number, message);
                self.hand_over(answer);
            }
        }
    }

    /// Bytes of a socket that is closed already.
    fn drain(&mut self, conn: Conn, outside: &mut dyn Outside) {
        let Some(rest) = self.draining.get_mut(&conn) else { return };
        let mut sent = 0;
        while !rest.is_empty() {
            let (front, _) = rest.as_slices();
            let n = outside.send(conn, front).min(front.len());
            if n == 0 {
                break;
            }
            rest.drain(..n);
            sent += n;
        }
        if rest.is_empty() {
            self.draining.remove(&conn);
            outside.close(conn);
        }
        self.uncharge(sent);
    }

    fn flow_failed(&mut self, conn: Conn, errno: Errno) {
        if let Some(rest) = self.draining.remove(&conn) {
            self.uncharge(rest.len());
        }
        let peer = self.udp_peers.get(&conn).copied();
        let Some(id) = self.flows.get(&conn).copied() else { return };
        self.drop_flow(conn);
        let Some(peer) = peer else {
            self.fail(id, errno);
            return;
        };
        self.udp_flows.remove(&(id, peer));
        let origin = (SO_EE_ORIGIN_LOCAL, 0, 0);
        let message = ErrorMessage {
            errno,
            origin,
            info: 0,
            data: Rc::from([]),
            to: peer,
            offender: peer.ip(),
        };
        self.report(id, message);
    }

    fn flow_data(&mut self, conn: Conn, data: Vec<u8>, outside: &mut dyn Outside) {
        let Some(id) = self.flows.get(&conn).copied() else { return };
        if let Some(peer) = self.udp_peers.get(&conn).copied() {
            outside.consumed(conn, data.len());
            let now = self.clock.0;
            if let Some(flow) = self.udp_flows.get_mut(&(id, peer)) {
                flow.used = now;
            }
            let Some(socket) = self.get(id) else { return };
            let mut to = socket.local;
            if to.ip().is_unspecified() {
                to.set_ip(ETH0_V4.into());
            }
            // A connected socket hears its peer only.
            if socket.peer.is_some_and(|p| p != peer) {
                return;
            }
            let time = self.clock.1;
            let data = Rc::from(data);
            let index = crate::interface::ETH0;
            self.enqueue(
                id,
                Datagram { data, from: peer, to, index, ttl: 63, tos: 0, time, mark: 0 },
            );
            return;
        }
        let Some(socket) = self.get(id) else { return };
        if socket.tcp.queue.len() + data.len() > STREAM_MAX {
            self.flows.remove(&conn);
            self.fail(id, Errno::ECONNRESET);
            outside.abort(conn);
            return;
        }
        if matches!(socket.tcp.state, State::Established | State::FinWait2) {
            self.arrive(id, &data, false);
        }
    }

    fn incoming_stream(&mut self, conn: Conn, to: SocketAddr, peer: SocketAddr) -> bool {
        let Some(listener) = self.find_listener(to, peer) else { return false };
        if !self.has_room_for(listener, INCOMING_MIN) {
            return false;
        }
        match self.spawn(listener, to, peer, Link::Outside(conn)) {
            Ok(child) => {
                self.flows.insert(conn, child);
                true
            }
            Err(_) => false,
        }
    }

    fn incoming_datagrams(
        &mut self,
        conn: Conn,
        to: SocketAddr,
        peer: SocketAddr,
        outside: &mut dyn Outside,
    ) -> bool {
        let Some(id) = self.find_udp(IPPROTO_UDP as u8, to, peer) else { return false };
        self.make_room_for_flow(outside);
        let used = self.clock.0;
        self.flows.insert(conn, id);
        self.udp_peers.insert(conn, peer);
        self.udp_flows.insert((id, peer), UdpFlow { conn, used });
        true
    }
}

/// The address under which the box sees somebody outside. Who calls from the host itself comes from the gateway, as with
/// docker: a program that trusts its own loopback must not trust him.
fn seen_from_inside(peer: SocketAddr) -> SocketAddr {
    let ip = peer.ip().to_canonical();
    SocketAddr::new(if ip.is_loopback() { GATEWAY_V4.into() } else { ip }, peer.port())
}
