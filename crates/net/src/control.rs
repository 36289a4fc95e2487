//! Control messages of internet sockets (ip(7), ipv6(7), udp(7), socket(7)): what one may say about a datagram, and what is
//! told about one.

use crate::address::{self, Family, as_v6};
use crate::datagram::Hints;
use crate::net::Net;
use crate::socket::{Datagram, ErrorMessage, Kind, SocketId};
use abi::Errno;
use abi::inet::*;
use abi::socket::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One control message: level, type, payload.
pub type Told = (u32, u32, Vec<u8>);

/// SCM_TXTIME and the like are refused; these are passed over, as they mean something to unix sockets.
const PASSED_OVER: [u32; 3] = [SCM_RIGHTS, SCM_CREDENTIALS, SO_TIMESTAMPING];

fn int(data: &[u8]) -> Result<i32, Errno> {
    let bytes = data.try_into().map_err(|_| Errno::EINVAL)?;
    Ok(i32::from_le_bytes(bytes))
}

/// Reads the control messages of a send call. EINVAL for an unknown or malformed one; EPERM for SO_MARK without
/// `raw` (CAP_NET_RAW or CAP_NET_ADMIN).
pub fn hints<'a>(
    family: Family,
    kind: Kind,
    raw: bool,
    messages: impl Iterator<Item = (u32, u32, &'a [u8])>,
) -> Result<Hints, Errno> {
    let mut hints = Hints::default();
    for (level, option, data) in messages {
        match (level, option) {
            (SOL_SOCKET, SO_MARK) if !raw => return Err(Errno::EPERM),
            (SOL_SOCKET, SO_MARK) => {
                int(data)?;
            }
            (SOL_SOCKET, option) if PASSED_OVER.contains(&option) => {}
            (SOL_SOCKET, _) => return Err(Errno::EINVAL),
            (IPPROTO_UDP, UDP_SEGMENT) if kind == Kind::Udp => {
                let bytes = data.try_into().map_err(|_| Errno::EINVAL)?;
                hints.segment = Some(u16::from_le_bytes(bytes));
            }
            (IPPROTO_UDP, _) if kind == Kind::Udp => return Err(Errno::EINVAL),
            _ if kind == Kind::Tcp => {}
            (IPPROTO_IP, option) if family == Family::V4 => v4_hint(&mut hints, option, data)?,
            (IPPROTO_IPV6, option) if family == Family::V6 => v6_hint(&mut hints, option, data)?,
            _ => {}
        }
    }
    Ok(hints)
}

fn v4_hint(hints: &mut Hints, option: u32, data: &[u8]) -> Result<(), Errno> {
    match option {
        IP_PKTINFO => {
            let info: [u8; 12] = data.try_into().map_err(|_| Errno::EINVAL)?;
            let [a, b, c, d, s0, s1, s2, s3, ..] = info;
            hints.index = u32::from_le_bytes([a, b, c, d]);
            hints.source = Some(Ipv4Addr::new(s0, s1, s2, s3).into());
        }
        IP_TTL => {
            let ttl = int(data)?;
            hints.ttl = Some(u8::try_from(ttl).ok().filter(|t| *t > 0).ok_or(Errno::EINVAL)?);
        }
        IP_TOS => {
            let tos = match data {
                [tos] => i32::from(*tos),
                data => int(data)?,
            };
            hints.tos = Some(u8::try_from(tos).map_err(|_| Errno::EINVAL)?);
        }
        IP_PROTOCOL => {
            int(data)?;
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

fn v6_hint(hints: &mut Hints, option: u32, data: &[u8]) -> Result<(), Errno> {
    match option {
        IPV6_PKTINFO => {
            let ip: [u8; 16] =
                data.get(..16).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
            hints.index = int(data.get(16..20).ok_or(Errno::EINVAL)?)? as u32;
            let ip = Ipv6Addr::from(ip);
            hints.source = Some(ip.to_ipv4_mapped().map_or(ip.into(), IpAddr::from));
        }
        IPV6_HOPLIMIT => hints.ttl = byte_or_default(int(data)?)?,
        IPV6_TCLASS => hints.tos = byte_or_default(int(data)?)?,
        IPV6_DONTFRAG => {
            int(data)?;
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

/// -1 leaves what the socket says.
fn byte_or_default(value: i32) -> Result<Option<u8>, Errno> {
    match value {
        -1 => Ok(None),
        value => u8::try_from(value).map(Some).map_err(|_| Errno::EINVAL),
    }
}

/// A time as SO_TIMESTAMP (µs) or SO_TIMESTAMPNS shows it.
fn time(ns: u64, micros: bool) -> Vec<u8> {
    let rest = ns % 1_000_000_000;
    let parts = [ns / 1_000_000_000, if micros { rest / 1000 } else { rest }];
    parts.iter().flat_map(|v| v.to_le_bytes()).collect()
}

impl Net {
    /// The control messages that a socket wants with a datagram, in Linux's order.
    pub fn told(&self, id: SocketId, datagram: &Datagram) -> Vec<Told> {
        let Some(socket) = self.get(id) else { return Vec::new() };
        let mut out = Vec::new();
        for (option, micros) in [
            (SO_TIMESTAMP, true),
            (SO_TIMESTAMP_NEW, true),
            (SO_TIMESTAMPNS, false),
            (SO_TIMESTAMPNS_NEW, false),
        ] {
            if socket.is_on(option) {
                out.push((SOL_SOCKET, option, time(datagram.time, micros)));
            }
        }
        if socket.is_on(SO_RXQ_OVFL) && socket.datagrams.drops > 0 {
            out.push((SOL_SOCKET, SO_RXQ_OVFL, socket.datagrams.drops.to_le_bytes().to_vec()));
        }
        if socket.is_on(SO_RCVMARK) {
            out.push((SOL_SOCKET, SO_MARK, datagram.mark.to_le_bytes().to_vec()));
        }
        let ip = datagram.to.ip();
        if socket.family == Family::V6 {
            let on = |option| socket.values.is_on(IPPROTO_IPV6, option);
            if on(IPV6_RECVPKTINFO) {
                let mut info = as_v6(ip).octets().to_vec();
                info.extend_from_slice(&datagram.index.to_le_bytes());
                out.push((IPPROTO_IPV6, IPV6_PKTINFO, info));
            }
            if ip.is_ipv6() {
                if on(IPV6_RECVHOPLIMIT) {
                    let hops = u32::from(datagram.ttl).to_le_bytes().to_vec();
                    out.push((IPPROTO_IPV6, IPV6_HOPLIMIT, hops));
                }
                if on(IPV6_RECVTCLASS) {
                    let class = u32::from(datagram.tos).to_le_bytes().to_vec();
                    out.push((IPPROTO_IPV6, IPV6_TCLASS, class));
                }
                if on(IPV6_ORIGDSTADDR) {
                    let to = address::encode(datagram.to, Family::V6);
                    out.push((IPPROTO_IPV6, IPV6_ORIGDSTADDR, to));
                }
            }
        }
        if let IpAddr::V4(to) = ip {
            let on = |option| socket.values.is_on(IPPROTO_IP, option);
            if on(IP_PKTINFO) {
                let mut info = datagram.index.to_le_bytes().to_vec();
                // For a group or broadcast, the address that an answer would have.
                let own = self.interfaces.by_index(datagram.index).and_then(|i| i.ipv4());
                let spec = match own.map(|a| a.ip) {
                    Some(IpAddr::V4(own)) if !self.is_local(ip) => own,
                    _ => to,
                };
                info.extend_from_slice(&spec.octets());
                info.extend_from_slice(&to.octets());
                out.push((IPPROTO_IP, IP_PKTINFO, info));
            }
            if on(IP_RECVTTL) {
                let ttl = u32::from(datagram.ttl).to_le_bytes().to_vec();
                out.push((IPPROTO_IP, IP_TTL, ttl));
            }
            if on(IP_RECVTOS) {
                out.push((IPPROTO_IP, IP_TOS, vec![datagram.tos]));
            }
            if on(IP_ORIGDSTADDR) {
                out.push((IPPROTO_IP, IP_ORIGDSTADDR, address::encode(datagram.to, Family::V4)));
            }
        }
        out
    }
}

/// The control message of an entry of the error queue: `struct sock_extended_err` and the offender's address.
pub fn told_error(message: &ErrorMessage) -> Told {
    let (origin, kind, code) = message.origin;
    let mut data = (message.errno.raw() as u32).to_le_bytes().to_vec();
    data.extend_from_slice(&[origin, kind, code, 0]);
    data.extend_from_slice(&message.info.to_le_bytes());
    data.extend_from_slice(&0u32.to_le_bytes());
    let (level, option, family) = match message.to.ip() {
        IpAddr::V4(_) => (IPPROTO_IP, IP_RECVERR, Family::V4),
        IpAddr::V6(_) => (IPPROTO_IPV6, IPV6_RECVERR, Family::V6),
    };
    data.extend_from_slice(&address::encode((message.offender, 0).into(), family));
    (level, option, data)
}
