//! Raw and ping sockets: ICMP echo, packets with and without their IP header (raw(7), icmp(7)).

use crate::address::Family;
use crate::checksum::{ICMP_HEADER, seal};
use crate::datagram::Hints;
use crate::net::Net;
use crate::socket::{Datagram, Kind, SHUT_SEND, Socket, SocketId};
use abi::Errno;
use abi::inet::*;
use abi::socket::MSG_OOB;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Bytes of an IPv4 header without options.
const HEADER: usize = 20;

impl Net {
    /// send(2) of a raw socket (`raw_sendmsg`).
    pub fn send_raw(
        &mut self,
        id: SocketId,
        data: &[u8],
        to: Option<&[u8]>,
        flags: u32,
        hints: Hints,
    ) -> Result<usize, Errno> {
        if data.len() > 0xffff {
            return Err(Errno::EMSGSIZE);
        }
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let socket = self.at_mut(id)?;
        if socket.shut & SHUT_SEND != 0 {
            return Err(Errno::EPIPE);
        }
        socket.take_error()?;
        let socket = self.at(id)?;
        let (protocol, own_header) = (socket.protocol, socket.datagrams.own_header);
        let mut to = self.target(socket, to)?;
        to.set_port(0);
        let mut datagram = self.address_datagram(id, &[], to, hints)?;
        datagram.from.set_port(0);
        if own_header {
            let (header, payload) = split(data).ok_or(Errno::EINVAL)?;
            let protocol = header[9];
            let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
            if !source.is_unspecified() {
                datagram.from.set_ip(source.into());
            }
            datagram.ttl = header[8];
            datagram.tos = header[1];
            self.input(id, datagram, protocol, payload.to_vec());
        } else {
            if data.len() + HEADER > 0xffff {
                return Err(Errno::EMSGSIZE);
            }
            let mut payload = data.to_vec();
            if u32::from(protocol) == IPPROTO_ICMPV6 {
                seal(&mut payload, datagram.from.ip(), datagram.to.ip());
            }
            self.input(id, datagram, protocol, payload);
        }
        Ok(data.len())
    }

    /// send(2) of a ping socket (`ping_v4_sendmsg`): an echo request, whose identifier is the socket's.
    pub fn send_ping(
        &mut self,
        id: SocketId,
        data: &[u8],
        to: Option<&[u8]>,
        flags: u32,
        hints: Hints,
    ) -> Result<usize, Errno> {
        if data.len() > 0xffff {
            return Err(Errno::EMSGSIZE);
        }
        if data.len() < ICMP_HEADER {
            return Err(Errno::EINVAL);
        }
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let family = self.at(id)?.family;
        let (request, protocol) = match family {
            Family::V4 => (ICMP_ECHO, IPPROTO_ICMP),
            Family::V6 => (ICMPV6_ECHO_REQUEST, IPPROTO_ICMPV6),
        };
        if data[0] != request || data[1] != 0 {
            return Err(Errno::EINVAL);
        }
        let socket = self.at_mut(id)?;
        socket.take_error()?;
        let mut to = self.target(self.at(id)?, to)?;
        to.set_port(0);
        let mut datagram = self.address_datagram(id, &[], to, hints)?;
        self.autobind(id)?;
        datagram.from.set_port(0);
        let mut message = data.to_vec();
        message[4..6].copy_from_slice(&self.at(id)?.local.port().to_be_bytes());
        seal(&mut message, datagram.from.ip(), datagram.to.ip());
        self.input(id, datagram, protocol as u8, message);
        Ok(data.len())
    }

    /// A packet for this box: `payload` behind the addresses of `datagram`. What is for somebody else is lost, as the
    /// outside carries TCP and UDP only.
    fn input(&mut self, sender: SocketId, datagram: Datagram, protocol: u8, payload: Vec<u8>) {
        let to = datagram.to.ip();
        if !self.is_local(to) {
            return;
        }
        self.interfaces.count_loopback(payload.len() + HEADER);
        let taken = self.show_ip(&datagram, protocol, &payload);
        match (u32::from(protocol), to.is_ipv6()) {
            (IPPROTO_UDP, _) => self.input_udp(sender, datagram, &payload),
            (IPPROTO_TCP, _) => self.input_tcp(&datagram, &payload),
            (IPPROTO_ICMP, false) | (IPPROTO_ICMPV6, true) => {
                self.input_icmp(sender, datagram, protocol, payload);
            }
            (IPPROTO_UDPLITE, _) | (IPPROTO_IGMP, false) | (IPPROTO_NONE, true) => {}
            // Further headers, behind which nobody looks.
            (0 | 43 | 44 | 60, true) => {}
            _ if taken => {}
            (_, false) => {
                let what = (ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0);
                self.show_error(what, &datagram, protocol, &payload);
            }
            (_, true) => {
                // It points at the number of the protocol in the header.
                let what = (ICMPV6_PARAMPROB, ICMPV6_UNK_NEXTHDR, 6);
                self.show_error(what, &datagram, protocol, &payload);
            }
        }
    }

    /// Echo: requests are answered, replies go to the ping socket that asked.
    fn input_icmp(&mut self, sender: SocketId, datagram: Datagram, protocol: u8, payload: Vec<u8>) {
        if payload.len() < ICMP_HEADER {
            return;
        }
        let to = datagram.to.ip();
        let (family, request, reply) = match to.is_ipv6() {
            false => (Family::V4, ICMP_ECHO, ICMP_ECHOREPLY),
            true => (Family::V6, ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY),
        };
        if payload[0] == request {
            let mut answer = payload;
            answer[0] = reply;
            seal(&mut answer, to, datagram.from.ip());
            let (from, to) = (datagram.to, datagram.from);
            let back = Datagram { from, to, ttl: 64, ..datagram };
            self.input(sender, back, protocol, answer);
        } else if payload[0] == reply {
            let ident = u16::from_be_bytes([payload[4], payload[5]]);
            let target = self
                .on_port(Kind::Ping, ident)
                .find(|(_, s)| s.family == family && s.accepts(to))
                .map(|(id, _)| id);
            if let Some(target) = target {
                self.enqueue(target, Datagram { data: Rc::from(payload), ..datagram });
            }
        }
    }

    /// TCP in a packet of a raw socket.
    fn input_tcp(&mut self, datagram: &Datagram, segment: &[u8]) {
        let [s0, s1, d0, d1, ..] = *segment else { return };
        let from = SocketAddr::new(datagram.from.ip(), u16::from_be_bytes([s0, s1]));
        let to = SocketAddr::new(datagram.to.ip(), u16::from_be_bytes([d0, d1]));
        self.answer_segment(from, to, segment);
    }

    /// UDP in a packet of a raw socket.
    fn input_udp(&mut self, sender: SocketId, mut datagram: Datagram, payload: &[u8]) {
        let [s0, s1, d0, d1, l0, l1, _, _, data @ ..] = payload else { return };
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        let Some(data) = len.checked_sub(8).and_then(|len| data.get(..len)) else { return };
        datagram.from.set_port(u16::from_be_bytes([*s0, *s1]));
        datagram.to.set_port(u16::from_be_bytes([*d0, *d1]));
        datagram.data = Rc::from(data);
        match self.find_udp(IPPROTO_UDP as u8, datagram.to, datagram.from) {
            Some(target) => self.enqueue(target, datagram),
            None => self.refuse(sender, IPPROTO_UDP as u8, &datagram),
        }
    }

    /// Gives a packet to the raw sockets that want it: whether there is one. `data` is what they see.
    pub(crate) fn give_raw(
        &mut self,
        datagram: &Datagram,
        protocol: u8,
        data: &[u8],
        payload: &[u8],
    ) -> bool {
        let wanted = |id: &SocketId| {
            self.get(*id).is_some_and(|socket| wants(socket, datagram, protocol, payload))
        };
        let targets: Vec<_> = self.raw.iter().copied().filter(wanted).collect();
        if targets.is_empty() {
            return false;
        }
        let mut copy = Datagram { data: Rc::from(data), ..datagram.clone() };
        copy.from.set_port(0);
        for id in targets {
            self.enqueue(id, copy.clone());
        }
        true
    }
}

/// Whether a raw socket gets a packet.
fn wants(socket: &Socket, datagram: &Datagram, protocol: u8, payload: &[u8]) -> bool {
    let to = datagram.to.ip();
    let same_family = (socket.family == Family::V4) == to.is_ipv4();
    if !same_family || socket.protocol != protocol || !socket.accepts(to) {
        return false;
    }
    if socket.peer.is_some_and(|p| p.ip() != datagram.from.ip()) {
        return false;
    }
    let kind = payload.first().copied().unwrap_or(0);
    let bit = |words: &[u32; 8]| words[usize::from(kind / 32)] >> (kind % 32) & 1 != 0;
    match u32::from(protocol) {
        // ICMP_FILTER has one word: types above 31 always pass.
        IPPROTO_ICMP => kind > 31 || !bit(&socket.datagrams.filter),
        IPPROTO_ICMPV6 => !bit(&socket.datagrams.filter),
        _ => true,
    }
}

/// The header and the rest of an IPv4 packet that a program made.
fn split(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::from(packet.first()? & 0xf) * 4;
    if len < HEADER {
        return None;
    }
    packet.split_at_checked(len)
}
