//! `/proc/net/{tcp,udp,raw,icmp,unix,netlink,packet}` and the same for IPv6: the lists of sockets (proc(5)).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use abi::socket::{SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
use net::address::as_v6;
use net::{Family, Kind, Net, State};

use crate::file::socket::OpenSockets;
use crate::file::socket::netlink::NetlinkSocket;
use crate::file::socket::packet::PacketSocket;
use crate::file::socket::unix::{Address, Shown, UnixSocket};

/// Widths to which the lines of the IPv4 tables are filled (`TMPSZ - 1`, `seq_setwidth`).
const TCP_WIDTH: usize = 149;
const UDP_WIDTH: usize = 127;
const HEAD: &str =
    "local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const HEAD_V6: &str = "local_address                         remote_address                        \
st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

/// An address as the tables show it: words of the machine's order in hexadecimal.
fn address(at: SocketAddr, family: Family) -> String {
    let word = |b: &[u8]| b.try_into().map_or(0, u32::from_le_bytes);
    let mut out = String::new();
    match (family, at.ip()) {
        (Family::V4, IpAddr::V4(ip)) => {
            let _ = write!(out, "{:08X}", u32::from_le_bytes(ip.octets()));
        }
        (_, ip) => {
            let bytes = match ip {
                IpAddr::V4(ip) if ip.is_unspecified() => [0; 16],
                ip => as_v6(ip).octets(),
            };
            for part in bytes.chunks(4) {
                let _ = write!(out, "{:08X}", word(part));
            }
        }
    }
    let _ = write!(out, ":{:04X}", at.port());
    out
}

/// A number in the place of the kernel's pointer, which users do not see.
fn pointer(number: u64) -> String {
    format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xffff_ffff)
}

/// A table of internet sockets.
pub fn inet(net: &Net, kind: Kind, family: Family) -> String {
    let v4 = family == Family::V4;
    let tcp = kind == Kind::Tcp;
    let mut out = match (v4, kind) {
        (true, Kind::Tcp) => format!("{:TCP_WIDTH$}\n", format!("  sl  {HEAD}")),
        (true, Kind::Udp | Kind::Ping) => {
            format!("{:UDP_WIDTH$}\n", format!("   sl  {HEAD} ref pointer drops"))
        }
        (true, _) => format!("  sl  {HEAD} ref pointer drops\n"),
        (false, Kind::Tcp) => format!("  sl  {HEAD_V6}\n"),
        (false, _) => format!("  sl  {HEAD_V6} ref pointer drops\n"),
    };
    let width = match (v4, kind) {
        (true, Kind::Tcp) => TCP_WIDTH,
        (true, Kind::Udp | Kind::Ping) => UDP_WIDTH,
        _ => 0,
    };
    let mut number = 0;
    for (id, socket) in net.sockets().filter(|(_, s)| s.kind == kind && s.family == family) {
        let listed = match kind {
            Kind::Tcp => socket.tcp.state != State::Close || socket.local.port() != 0,
            Kind::Raw => true,
            _ => socket.local.port() != 0,
        };
        if !listed {
            continue;
        }
        let options = socket.options.borrow();
        let (mut local, peer) = (socket.local, socket.peer.unwrap_or(family.any()));
        let state = match (kind, socket.peer.is_some()) {
            (Kind::Tcp, _) => socket.tcp.state as u8,
            (_, true) => State::Established as u8,
            (_, false) => State::Close as u8,
        };
        let (sent, waiting) = match &socket.tcp.backlog {
            Some(backlog) => (0, backlog.ready.len()),
            None if tcp => (net.unsent_bytes(id).unwrap_or(0), socket.tcp.queue.len()),
            None => (0, socket.datagrams.charged),
        };
        if kind == Kind::Raw {
            local.set_port(u16::from(socket.protocol));
        }
        let place = if matches!(kind, Kind::Udp | Kind::Ping) {
            format!("{:5}", usize::from(local.port()) + 1)
        } else {
            format!("{number:4}")
        };
        let mut line = format!(
            "{place}: {} {} {state:02X} {sent:08X}:{waiting:08X} 00:00000000 00000000 {:5} {:8} {}",
            address(local, family),
            address(peer, family),
            options.uid,
            0,
            options.inode,
        );
        let shown = pointer(options.cookie);
        let _ = match (tcp, state == State::Listen as u8) {
            (true, true) => write!(line, " 1 {shown} 100 0 0 10 0"),
            (true, false) => write!(line, " 2 {shown} 20 4 30 10 -1"),
            (false, _) => write!(line, " 2 {shown} {}", socket.datagrams.drops),
        };
        let _ = writeln!(out, "{line:width$}");
        number += 1;
    }
    if tcp {
        let now = net.clock.0;
        let of_family = |t: &&net::net::TimeWait| t.until > now && t.local.is_ipv4() == v4;
        for over in net.time_wait.iter().filter(of_family) {
            let ticks = (over.until - now) / 10_000_000;
            let line = format!(
                "{number:4}: {} {} 06 00000000:00000000 03:{ticks:08X} 00000000     0        0 0 3 {}",
                address(over.local, family),
                address(over.peer, family),
                pointer(number),
            );
            let _ = writeln!(out, "{line:width$}");
            number += 1;
        }
    }
    out
}

/// `/proc/net/unix`.
pub fn unix(sockets: &OpenSockets) -> String {
    let mut out = String::from("Num       RefCount Protocol Flags    Type St Inode Path\n");
    for socket in sockets.all() {
        let Some(socket) = socket.as_any().downcast_ref::<UnixSocket>() else { continue };
        let Shown { kind, listening, connected, name, inode, cookie, .. } = socket.shown();
        let flags = if listening { 0x10000 } else { 0 };
        // SS_UNCONNECTED and SS_CONNECTED.
        let state = if connected { 3 } else { 1 };
        let known = [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET].contains(&kind);
        let kind = if known { kind } else { 0 };
        let references = if connected { 3 } else { 2 };
        let _ = write!(
            out,
            "{}: {references:08X} 00000000 {flags:08X} {kind:04X} {state:02X} {inode:5}",
            pointer(cookie)
        );
        match name {
            None => {}
            Some(Address::Path(path)) => {
                let _ = write!(out, " {}", String::from_utf8_lossy(&path));
            }
            Some(Address::Abstract(name)) => {
                let text = String::from_utf8_lossy(&name).replace('\0', "@");
                let _ = write!(out, " @{text}");
            }
        }
        out.push('\n');
    }
    out
}

/// `/proc/net/netlink`.
pub fn netlink(sockets: &OpenSockets) -> String {
    let mut out = String::from(
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
    );
    for socket in sockets.all() {
        let Some(own) = socket.as_any().downcast_ref::<NetlinkSocket>() else { continue };
        let (waiting, drops) = own.queue();
        let options = socket.options().borrow();
        let _ = writeln!(
            out,
            "{} {:<3} {:<10} {:08x} {waiting:<8} {:<8} {:<5} {:<8} {drops:<8} {:<8}",
            pointer(options.cookie),
            socket.protocol(),
            own.port(),
            own.groups(),
            0,
            0,
            2,
            options.inode,
        );
    }
    out
}

/// `/proc/net/packet`.
pub fn packet(sockets: &OpenSockets) -> String {
    let mut out = String::from("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n");
    for socket in sockets.all() {
        let Some(own) = socket.as_any().downcast_ref::<PacketSocket>() else { continue };
        let (protocol, index) = own.bound();
        let options = socket.options().borrow();
        let _ = writeln!(
            out,
            "{} {:<6} {:<4} {protocol:04x}   {index:<5} {} {:<6} {:<6} {:<6}",
            pointer(options.cookie),
            3,
            socket.kind(),
            u8::from(protocol != 0),
            0,
            options.uid,
            options.inode,
        );
    }
    out
}
