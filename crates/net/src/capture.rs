//! What packet(7) and raw(7) sockets see: the traffic of the loopback as packets. Inside a box there are none, so they are made up from
//! what was sent, and only while somebody listens.

use crate::checksum::{checksum_of, fold, seal, sum};
use crate::interface::LO;
use crate::net::Net;
use crate::socket::{Datagram, SHUT_SEND, SocketId};
use crate::tap::{ETH_P_IP, ETH_P_IPV6, Packet, Tap};
use abi::inet::{
    ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, IPPROTO_ICMP,
    IPPROTO_ICMPV6, IPPROTO_TCP,
};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Most bytes of TCP in one packet of the loopback.
const SEGMENT: usize = 65483;
/// Bytes of headers.
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;
const UDP: usize = 8;
/// Names of taps lie beside those of sockets.
const TAPS: u64 = 1 << 59;

/// Flags of TCP (RFC 9293 §3.1).
pub(crate) mod flag {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
}

impl Net {
    /// Adds a listener: its name.
    pub fn add_tap(&mut self, tap: Tap) -> SocketId {
        let id = TAPS | self.taps.next;
        self.taps.next += 1;
        self.taps.all.insert(id, tap);
        SocketId(id)
    }

    /// A listener.
    pub fn tap(&mut self, id: SocketId) -> Option<&mut Tap> {
        self.taps.all.get_mut(&id.0)
    }

    /// Takes a listener away.
    pub fn remove_tap(&mut self, id: SocketId) {
        self.taps.all.remove(&id.0);
    }

    /// Whether anybody listens to packets of a protocol.
    fn is_watched(&self, protocol: u8) -> bool {
        let raw = || self.raw.iter().filter_map(|id| self.get(*id));
        !self.taps.all.is_empty() || raw().any(|socket| socket.protocol == protocol)
    }

    /// A packet of the loopback goes out and comes in. One that a packet socket has made reaches nobody else: its addresses
    /// are those of the box itself, and such packets have no business to come from a link ("martians").
    pub fn show_packet(&mut self, protocol: u16, data: Vec<u8>) {
        let data: Rc<[u8]> = data.into();
        let time = self.clock.1;
        for outgoing in [true, false] {
            let packet =
                Rc::new(Packet { protocol, index: LO, outgoing, time, data: data.clone() });
            for (id, tap) in &mut self.taps.all {
                if tap.see(&packet) {
                    self.changed.push(SocketId(*id));
                }
            }
        }
    }

    /// Shows what `header` (of a raw socket or above UDP) carries as a packet of protocol `protocol`: whether a raw socket took it.
    pub(crate) fn show_ip(&mut self, header: &Datagram, protocol: u8, payload: &[u8]) -> bool {
        if !self.is_watched(protocol) {
            return false;
        }
        self.taps.ident = self.taps.ident.wrapping_add(1);
        let Some((ethernet, packet)) = ip(header, protocol, self.taps.ident, payload) else {
            return false;
        };
        // Raw sockets have headers of IPv4 only.
        let taken = match ethernet {
            ETH_P_IP => self.give_raw(header, protocol, &packet, payload),
            _ => self.give_raw(header, protocol, payload, payload),
        };
        self.show_packet(ethernet, packet);
        taken
    }

    /// Shows a datagram of UDP or UDP-Lite, which without options differs in its number only.
    pub(crate) fn show_udp(&mut self, protocol: u8, datagram: &Datagram) {
        if self.is_watched(protocol) {
            self.show_ip(datagram, protocol, &udp(protocol, datagram));
        }
    }

    /// Shows that nobody has the port of `datagram` (`icmp_send`).
    pub(crate) fn show_unreachable(&mut self, protocol: u8, datagram: &Datagram) {
        if !self.is_watched(icmp_of(datagram)) {
            return;
        }
        let what = match datagram.to.is_ipv4() {
            true => (ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0),
            false => (ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, 0),
        };
        self.show_error(what, datagram, protocol, &udp(protocol, datagram));
    }

    /// Shows an ICMP error (type, code, second word) about the packet of `payload`.
    pub(crate) fn show_error(
        &mut self,
        (kind, code, word): (u8, u8, u32),
        about: &Datagram,
        protocol: u8,
        payload: &[u8],
    ) {
        let icmp = icmp_of(about);
        if !self.is_watched(icmp) {
            return;
        }
        let Some((ethernet, packet)) = ip(about, protocol, self.taps.ident, payload) else {
            return;
        };
        // What a packet may hold that everybody takes (RFC 1812 4.3.2.3, RFC 4443 2.4).
        let (most, tos) = match ethernet {
            // Its precedence says "control of the network".
            ETH_P_IP => (576 - IPV4, about.tos & 0x1e | 0xc0),
            _ => (1280 - IPV6, 0),
        };
        let mut message = vec![kind, code, 0, 0];
        message.extend_from_slice(&word.to_be_bytes());
        message.extend(packet.into_iter().take(most - message.len()));
        let (from, to) = (about.to.ip(), about.from.ip());
        seal(&mut message, from, to);
        let (from, to) = (SocketAddr::new(from, 0), SocketAddr::new(to, 0));
        self.show_ip(&Datagram { from, to, ttl: 64, tos, ..about.clone() }, icmp, &message);
    }

    /// Shows a segment of the connection of `id`, sent before its counters move.
    pub(crate) fn show_tcp(&mut self, id: SocketId, flags: u8, data: &[u8]) {
        if !self.is_watched(IPPROTO_TCP as u8) {
            return;
        }
        let Some(socket) = self.get(id) else { return };
        let Some(peer) = socket.peer else { return };
        let local = socket.local;
        let (sent, received) = socket.tcp.moved;
        let finished = socket.shut & SHUT_SEND != 0 && flags & flag::FIN == 0;
        let after_syn = u32::from(flags & flag::SYN == 0);
        let mut sequence = start(local, peer)
            .wrapping_add(sent as u32)
            .wrapping_add(after_syn)
            .wrapping_add(u32::from(finished));
        let acknowledged = start(peer, local)
            .wrapping_add(received as u32)
            .wrapping_add(1)
            .wrapping_add(u32::from(socket.tcp.fin));
        let pieces = data.chunks(SEGMENT).chain(data.is_empty().then_some(&[][..]));
        for piece in pieces.collect::<Vec<_>>() {
            self.show_segment((local, peer), (sequence, acknowledged), flags, piece);
            sequence = sequence.wrapping_add(piece.len() as u32);
        }
    }

    /// Shows the refusal of a connection that nobody listens for.
    pub(crate) fn show_refusal(&mut self, from: SocketAddr, to: SocketAddr) {
        let acknowledged = start(to, from).wrapping_add(1);
        self.show_segment((from, to), (0, acknowledged), flag::RST | flag::ACK, &[]);
    }

    /// A segment arrives that a raw socket has made: listening sockets and closed ports answer as they do; whoever was not asked for an answer
    /// resets (RFC 9293 §3.10.7). It does not come into streams.
    pub(crate) fn answer_segment(&mut self, from: SocketAddr, to: SocketAddr, segment: &[u8]) {
        let Some(header) = segment.first_chunk::<TCP>() else { return };
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        let (sequence, acknowledged, flags) = (word(4), word(8), header[13]);
        let length = segment.len().saturating_sub(usize::from(header[12] >> 4) * 4);
        let next = sequence
            .wrapping_add(length as u32)
            .wrapping_add((flags & (flag::SYN | flag::FIN)).count_ones());
        if flags & flag::RST != 0 || self.connections.contains_key(&(to, from)) {
            return;
        }
        let back = (to, from);
        if flags & flag::ACK != 0 {
            self.show_segment(back, (acknowledged, 0), flag::RST, &[]);
        } else if self.find_listener(to, from).is_none() {
            self.show_segment(back, (0, next), flag::RST | flag::ACK, &[]);
        } else if flags & (flag::SYN | flag::FIN) == flag::SYN {
            self.show_segment(back, (start(to, from), next), flag::SYN | flag::ACK, &[]);
            // Nobody at the sender's port has asked for that.
            self.show_segment((from, to), (next, 0), flag::RST, &[]);
        }
    }

    fn show_segment(
        &mut self,
        (from, to): (SocketAddr, SocketAddr),
        (sequence, acknowledged): (u32, u32),
        flags: u8,
        data: &[u8],
    ) {
        if !self.is_watched(IPPROTO_TCP as u8) {
            return;
        }
        let mut payload = Vec::with_capacity(TCP + data.len());
        payload.extend_from_slice(&from.port().to_be_bytes());
        payload.extend_from_slice(&to.port().to_be_bytes());
        payload.extend_from_slice(&sequence.to_be_bytes());
        let acknowledged = if flags & flag::ACK != 0 { acknowledged } else { 0 };
        payload.extend_from_slice(&acknowledged.to_be_bytes());
        let options = options(flags, (self.clock.0 / 1_000_000) as u32);
        payload.extend_from_slice(&[((TCP + options.len()) as u8 / 4) << 4, flags]);
        let window: u16 = if flags & flag::RST != 0 { 0 } else { 65535 };
        payload.extend_from_slice(&window.to_be_bytes());
        payload.extend_from_slice(&[0; 4]);
        payload.extend_from_slice(&options);
        payload.extend_from_slice(data);
        let sum = checksum_of((from.ip(), to.ip()), IPPROTO_TCP as u8, &payload);
        payload[16..18].copy_from_slice(&sum.to_be_bytes());
        let header = Datagram {
            data: Rc::default(),
            from,
            to,
            index: LO,
            ttl: 64,
            tos: 0,
            time: self.clock.1,
            mark: 0,
        };
        self.show_ip(&header, IPPROTO_TCP as u8, &payload);
    }
}

/// ICMP of the family of a datagram.
fn icmp_of(datagram: &Datagram) -> u8 {
    match datagram.to.is_ipv4() {
        true => IPPROTO_ICMP as u8,
        false => IPPROTO_ICMPV6 as u8,
    }
}

/// A datagram with its header.
fn udp(protocol: u8, datagram: &Datagram) -> Vec<u8> {
    let len = UDP + datagram.data.len();
    let mut payload = Vec::with_capacity(len);
    payload.extend_from_slice(&datagram.from.port().to_be_bytes());
    payload.extend_from_slice(&datagram.to.port().to_be_bytes());
    payload.extend_from_slice(&(len as u16).to_be_bytes());
    payload.extend_from_slice(&[0; 2]);
    payload.extend_from_slice(&datagram.data);
    let ends = (datagram.from.ip(), datagram.to.ip());
    let sum = match checksum_of(ends, protocol, &payload) {
        0 => 0xffff,
        sum => sum,
    };
    payload[6..8].copy_from_slice(&sum.to_be_bytes());
    payload
}

/// The options of a segment: what Linux offers in a SYN, and timestamps (RFC 7323).
fn options(flags: u8, now: u32) -> Vec<u8> {
    if flags & flag::RST != 0 {
        return Vec::new();
    }
    let echo = if flags & flag::ACK != 0 { now } else { 0 };
    let mut out = match flags & flag::SYN {
        0 => vec![1, 1, 8, 10],
        // A segment size of 65,495 bytes, selective acknowledgements.
        _ => vec![2, 4, 0xff, 0xd7, 4, 2, 8, 10],
    };
    out.extend_from_slice(&now.to_be_bytes());
    out.extend_from_slice(&echo.to_be_bytes());
    if flags & flag::SYN != 0 {
        // Windows count in units of 128 bytes.
        out.extend_from_slice(&[1, 3, 3, 7]);
    }
    out
}

/// The initial sequence number of one direction of a connection: always the same, so that nothing need be kept.
fn start(from: SocketAddr, to: SocketAddr) -> u32 {
    let mix = |seed: u64, at: SocketAddr| {
        let ip = match at.ip() {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip) as u64,
        };
        (seed ^ ip ^ u64::from(at.port()) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    };
    (mix(mix(1, from), to) >> 20) as u32
}

/// A packet and its Ethernet type; none if it were longer than a packet can be.
fn ip(header: &Datagram, protocol: u8, ident: u16, payload: &[u8]) -> Option<(u16, Vec<u8>)> {
    let &Datagram { ttl, tos, .. } = header;
    match (header.from.ip(), header.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = u16::try_from(IPV4 + payload.len()).ok()?;
            let mut h = vec![0x45, tos];
            h.extend_from_slice(&len.to_be_bytes());
            h.extend_from_slice(&ident.to_be_bytes());
            // Don't fragment.
            h.extend_from_slice(&[0x40, 0, ttl, protocol, 0, 0]);
            h.extend_from_slice(&from.octets());
            h.extend_from_slice(&to.octets());
            let check = fold(sum(&h));
            h[10..12].copy_from_slice(&check.to_be_bytes());
            h.extend_from_slice(payload);
            Some((ETH_P_IP, h))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let len = u16::try_from(payload.len()).ok()?;
            let mut h = Vec::with_capacity(IPV6 + payload.len());
            h.extend_from_slice(&[0x60 | tos >> 4, tos << 4, 0, 0]);
            h.extend_from_slice(&len.to_be_bytes());
            h.extend_from_slice(&[protocol, ttl]);
            h.extend_from_slice(&from.octets());
            h.extend_from_slice(&to.octets());
            h.extend_from_slice(payload);
            Some((ETH_P_IPV6, h))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::{ETH_P_ALL, OVERHEAD};

    fn datagram(data: &[u8]) -> Datagram {
        Datagram {
            data: Rc::from(data),
            from: "127.0.0.1:4000".parse().unwrap(),
            to: "127.0.0.1:53".parse().unwrap(),
            index: LO,
            ttl: 64,
            tos: 0,
            time: 0,
            mark: 0,
        }
    }

    #[test]
    fn a_datagram_is_seen_twice_with_right_checksums() {
        let mut net = Net::default();
        net.show_udp(17, &datagram(b"nobody looks"));
        let id = net.add_tap(Tap::new(ETH_P_ALL, 1 << 16));
        let incoming = net.add_tap(Tap::new(ETH_P_IP, 1 << 16));
        net.show_udp(17, &datagram(b"hello"));
        let tap = net.tap(id).unwrap();
        let (first, wanted) = tap.front().unwrap();
        assert!(first.outgoing && wanted > 1000 && first.protocol == ETH_P_IP);
        assert_eq!(first.data.len(), 33);
        assert_eq!(fold(sum(&first.data[..20])), 0, "header");
        let ends = ("127.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap());
        assert_eq!(checksum_of(ends, 17, &first.data[20..]), 0, "datagram");
        tap.pop();
        assert!(!tap.front().unwrap().0.outgoing);
        tap.pop();
        assert!(tap.front().is_none());
        assert_eq!(tap.counts, (2, 0));
        assert_eq!(net.tap(incoming).unwrap().counts, (1, 0));
    }

    #[test]
    fn filters_and_limits_hold() {
        let mut net = Net::default();
        let mut tap = Tap::new(ETH_P_ALL, 3 * OVERHEAD);
        tap.incoming_only = true;
        tap.filter = Some(Rc::new(|p| if p.data.ends_with(b"no") { 0 } else { 22 }));
        let id = net.add_tap(tap);
        for _ in 0..5 {
            net.show_udp(17, &datagram(b"no"));
            net.show_udp(17, &datagram(b"yes"));
        }
        let tap = net.tap(id).unwrap();
        assert_eq!(tap.counts, (5, 3));
        assert_eq!(tap.front().unwrap().1, 22);
        net.remove_tap(id);
        assert!(!net.is_watched(17));
    }
}
