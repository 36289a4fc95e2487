//! sock_diag(7): what `ss` asks about the sockets of the box.

use abi::Errno;
use abi::inet::{IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP};
use abi::netlink::{NLM_F_DUMP, SOCK_DIAG_BY_FAMILY};
use abi::socket::{AF_INET, AF_INET6, AF_MAX, AF_NETLINK, AF_PACKET, AF_UNIX};
use net::{Family, Kind, Net, State};
use std::net::{IpAddr, SocketAddr};

use super::message::{Answer, Message, Request};
use super::{NetlinkSocket, Ports};
use crate::file::socket::OpenSockets;
use crate::file::socket::inet::Network;
use crate::file::socket::unix::{Address, Shown, UnixSocket};
use crate::fs::{Cx, Res};

/// Bytes of `struct inet_diag_req_v2` and `unix_diag_req`.
const INET_REQUEST: usize = 56;
const UNIX_REQUEST: usize = 24;
/// States of a unix socket, those of TCP.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

const INET_DIAG_MEMINFO: u16 = 1;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_CONG: u16 = 4;
const INET_DIAG_SKMEMINFO: u16 = 7;
const INET_DIAG_SHUTDOWN: u16 = 8;
const INET_DIAG_SKV6ONLY: u16 = 11;

const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_ICONS: u16 = 3;
const UNIX_DIAG_RQLEN: u16 = 4;
const UNIX_DIAG_SHUTDOWN: u16 = 6;
const UNIX_DIAG_UID: u16 = 7;
const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UDIAG_SHOW_ICONS: u32 = 8;
const UDIAG_SHOW_RQLEN: u32 = 16;
const UDIAG_SHOW_UID: u32 = 64;

/// Answers a request.
pub fn answer(cx: &mut Cx, _: &NetlinkSocket, request: &Request) -> Res<Answer> {
    if request.kind != SOCK_DIAG_BY_FAMILY {
        return Err(Errno::EINVAL);
    }
    let [family, protocol, ..] = *request.payload() else { return Err(Errno::EINVAL) };
    let dump = request.flags & NLM_F_DUMP != 0;
    match u16::from(family) {
        AF_INET | AF_INET6 => {
            let asked = request.payload().get(..INET_REQUEST).ok_or(Errno::EINVAL)?;
            let network = cx.shared.registry::<Network>();
            network.with(&cx.shared.wakes, |net| inet(net, family, protocol, asked, dump))
        }
        AF_UNIX => {
            let asked = request.payload().get(..UNIX_REQUEST).ok_or(Errno::EINVAL)?;
            unix(cx, asked, dump)
        }
        AF_NETLINK if dump => Ok(Answer::Dump(netlink(cx))),
        AF_PACKET if dump => Ok(Answer::Dump(Vec::new())),
        AF_NETLINK | AF_PACKET => Err(Errno::EOPNOTSUPP),
        family if u32::from(family) >= AF_MAX => Err(Errno::EINVAL),
        _ => Err(Errno::ENOENT),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn ip_octets(ip: IpAddr) -> [u8; 16] {
    let mut out = [0; 16];
    match ip {
        IpAddr::V4(ip) => out[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out = ip.octets(),
    }
    out
}

/// One internet socket as lists show it.
struct Entry<'a> {
    family: Family,
    state: u8,
    local: SocketAddr,
    peer: Option<SocketAddr>,
    queue: (u32, u32),
    socket: Option<(net::SocketId, &'a net::Socket)>,
    /// Milliseconds that TIME_WAIT still lasts.
    expires: u32,
}

/// State of a socket that is not TCP's: connected or not.
fn plain_state(socket: &net::Socket) -> u8 {
    if socket.peer.is_some() { ESTABLISHED } else { CLOSE }
}

fn entries(net: &Net, kind: Kind) -> Vec<Entry<'_>> {
    let mut out = Vec::new();
    for (id, socket) in net.sockets().filter(|(_, s)| s.kind == kind) {
        let state = match kind {
            // Without a port nobody finds it.
            Kind::Tcp if socket.tcp.state == State::Close && socket.local.port() == 0 => continue,
            Kind::Tcp => socket.tcp.state as u8,
            Kind::Raw => plain_state(socket),
            _ if socket.local.port() == 0 => continue,
            _ => plain_state(socket),
        };
        let queue = match &socket.tcp.backlog {
            Some(backlog) => (backlog.ready.len() as u32, backlog.max as u32),
            None if kind == Kind::Tcp => {
                let out = net.unsent_bytes(id).unwrap_or(0);
                (socket.tcp.queue.len() as u32, out as u32)
            }
            None => (socket.datagrams.charged as u32, 0),
        };
        out.push(Entry {
            family: socket.family,
            state,
            local: socket.local,
            peer: socket.peer,
            queue,
            socket: Some((id, socket)),
            expires: 0,
        });
    }
    if kind == Kind::Tcp {
        let now = net.clock.0;
        for over in net.time_wait.iter().filter(|t| t.until > now) {
            out.push(Entry {
                family: if over.local.is_ipv4() { Family::V4 } else { Family::V6 },
                state: State::TimeWait as u8,
                local: over.local,
                peer: Some(over.peer),
                queue: (0, 0),
                socket: None,
                expires: ((over.until - now) / 1_000_000) as u32,
            });
        }
    }
    out
}

/// `inet_diag_dump`, `udp_diag_dump`, `raw_diag_dump`; without `dump` the one socket that is asked for.
fn inet(net: &Net, family: u8, protocol: u8, asked: &[u8], dump: bool) -> Res<Answer> {
    let wanted = if u16::from(family) == AF_INET { Family::V4 } else { Family::V6 };
    let kind = match u32::from(protocol) {
        IPPROTO_TCP => Kind::Tcp,
        IPPROTO_UDP => Kind::Udp,
        IPPROTO_RAW => Kind::Raw,
        IPPROTO_ICMP | IPPROTO_ICMPV6 => Kind::Ping,
        _ if dump => return Ok(Answer::Failed(Errno::ENOENT)),
        _ => return Err(Errno::ENOENT),
    };
    let (extensions, states) = (asked[2], word(asked, 4));
    let port = |at: usize| u16::from_be_bytes([asked[at], asked[at + 1]]);
    let (source, destination) = (port(8), port(10));
    let mut all = entries(net, kind);
    all.retain(|e| e.family == wanted);
    if dump {
        all.retain(|e| {
            let peer = e.peer.map_or(0, |p| p.port());
            states >> e.state.min(31) & 1 != 0
                && (source == 0 || e.local.port() == source)
                && (destination == 0 || peer == destination)
        });
        let messages = all.iter().map(|e| inet_message(net, kind, e, extensions)).collect();
        return Ok(Answer::Dump(messages));
    }
    let found = all
        .iter()
        .find(|e| e.local.port() == source && e.peer.map_or(0, |p| p.port()) == destination);
    Ok(Answer::One(inet_message(net, kind, found.ok_or(Errno::ENOENT)?, extensions)))
}

/// `struct inet_diag_msg` and its attributes (`inet_sk_diag_fill`).
fn inet_message(net: &Net, kind: Kind, entry: &Entry, extensions: u8) -> Message {
    let unset = entry.family.any();
    let (local, peer) = (entry.local, entry.peer.unwrap_or(unset));
    // Addresses of a mixed socket are shown as IPv6 ones.
    let shown = |address: SocketAddr| match (entry.family, address.ip()) {
        (Family::V6, ip @ IpAddr::V4(_)) if !ip.is_unspecified() => {
            net::address::as_v6(ip).octets()
        }
        (_, ip) => ip_octets(ip),
    };
    let timer = if entry.expires != 0 { 3 } else { 0 };
    let mut h = vec![entry.family.number() as u8, entry.state, timer, 0];
    h.extend_from_slice(&local.port().to_be_bytes());
    h.extend_from_slice(&peer.port().to_be_bytes());
    h.extend_from_slice(&shown(local));
    h.extend_from_slice(&shown(peer));
    let options = entry.socket.map(|(_, s)| s.options.borrow().clone()).unwrap_or_default();
    h.extend_from_slice(&options.device.to_le_bytes());
    h.extend_from_slice(&options.cookie.to_le_bytes());
    for value in [entry.expires, entry.queue.0, entry.queue.1, options.uid, options.inode as u32] {
        h.extend_from_slice(&value.to_le_bytes());
    }
    let mut m = Message::new(SOCK_DIAG_BY_FAMILY, &h);
    let Some((id, socket)) = entry.socket else { return m };
    let wants = |attribute: u16| extensions >> (attribute - 1) & 1 != 0;
    m.put(INET_DIAG_SHUTDOWN, &[socket.shut]);
    if socket.family == Family::V6 && (entry.state == LISTEN || entry.state == CLOSE) {
        m.put(INET_DIAG_SKV6ONLY, &[u8::from(socket.v6_only())]);
    }
    let memory = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
    let (waiting, sent) = if entry.state == LISTEN { (0, 0) } else { entry.queue };
    if wants(INET_DIAG_MEMINFO) {
        m.put(INET_DIAG_MEMINFO, &memory(&[waiting, sent, 0, sent]));
    }
    if wants(INET_DIAG_SKMEMINFO) {
        let (receive, send) = (options.receive_buffer, options.send_buffer);
        let drops = socket.datagrams.drops;
        let words = [waiting, receive, sent, send, 0, sent, 0, 0, drops];
        m.put(INET_DIAG_SKMEMINFO, &memory(&words));
    }
    if kind == Kind::Tcp {
        if wants(INET_DIAG_INFO) {
            m.put(INET_DIAG_INFO, &net::info::tcp_info(net, id, socket));
        }
        if wants(INET_DIAG_CONG) {
            m.put_text(INET_DIAG_CONG, socket.tcp.congestion);
        }
    }
    m
}

/// `unix_diag_dump`, `unix_diag_get_exact`.
fn unix(cx: &mut Cx, asked: &[u8], dump: bool) -> Res<Answer> {
    let (states, inode, show) = (word(asked, 4), word(asked, 8), word(asked, 12));
    let sockets = cx.shared.registry::<OpenSockets>().all();
    let mut all = sockets
        .iter()
        .filter_map(|s| s.as_any().downcast_ref::<UnixSocket>())
        .map(UnixSocket::shown);
    if dump {
        let fits = all.filter(|s| states >> unix_state(s) & 1 != 0);
        return Ok(Answer::Dump(fits.map(|s| unix_message(&s, show)).collect()));
    }
    if inode == 0 {
        return Err(Errno::EINVAL);
    }
    let found = all.find(|s| s.inode == u64::from(inode)).ok_or(Errno::ENOENT)?;
    Ok(Answer::One(unix_message(&found, show)))
}

fn unix_state(socket: &Shown) -> u8 {
    match (socket.listening, socket.connected) {
        (true, _) => LISTEN,
        (_, true) => ESTABLISHED,
        _ => CLOSE,
    }
}

/// `sk_diag_fill`.
fn unix_message(socket: &Shown, show: u32) -> Message {
    let mut h = vec![AF_UNIX as u8, socket.kind as u8, unix_state(socket), 0];
    h.extend_from_slice(&(socket.inode as u32).to_le_bytes());
    h.extend_from_slice(&socket.cookie.to_le_bytes());
    let mut m = Message::new(SOCK_DIAG_BY_FAMILY, &h);
    match &socket.name {
        Some(Address::Path(path)) if show & UDIAG_SHOW_NAME != 0 => {
            m.put(UNIX_DIAG_NAME, &[path.as_slice(), &[0]].concat());
        }
        Some(Address::Abstract(name)) if show & UDIAG_SHOW_NAME != 0 => {
            m.put(UNIX_DIAG_NAME, &[&[0], name.as_slice()].concat());
        }
        _ => {}
    }
    if show & UDIAG_SHOW_PEER != 0 && socket.peer != 0 {
        m.put_u32(UNIX_DIAG_PEER, socket.peer as u32);
    }
    if show & UDIAG_SHOW_ICONS != 0 && socket.listening {
        let clients: Vec<u8> =
            socket.waiting.iter().flat_map(|i| (*i as u32).to_le_bytes()).collect();
        m.put(UNIX_DIAG_ICONS, &clients);
    }
    if show & UDIAG_SHOW_RQLEN != 0 {
        let (receive, send) = socket.queue;
        m.put(UNIX_DIAG_RQLEN, &[receive.to_le_bytes(), send.to_le_bytes()].concat());
    }
    m.put(UNIX_DIAG_SHUTDOWN, &[socket.shut]);
    if show & UDIAG_SHOW_UID != 0 {
        m.put_u32(UNIX_DIAG_UID, socket.uid);
    }
    m
}

/// `netlink_diag_dump`.
fn netlink(cx: &mut Cx) -> Vec<Message> {
    let all = cx.shared.registry::<Ports>().all();
    let message = |socket: &NetlinkSocket| {
        let options = socket.options.borrow();
        let (port, groups) = socket.peer();
        let state = if port != 0 || groups != 0 { ESTABLISHED } else { CLOSE };
        let mut h = vec![AF_NETLINK as u8, socket.kind as u8, socket.protocol.number as u8, state];
        for value in [socket.port(), port, groups, options.inode as u32] {
            h.extend_from_slice(&value.to_le_bytes());
        }
        h.extend_from_slice(&options.cookie.to_le_bytes());
        Message::new(SOCK_DIAG_BY_FAMILY, &h)
    };
    all.iter().map(|socket| message(socket)).collect()
}
