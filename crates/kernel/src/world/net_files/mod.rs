//! The files of `/proc/net` (proc(5)).

mod counters;
mod sockets;

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::interface::{Interface, Interfaces, Route, RouteKind, Scope};
use net::{Family, Kind, Net, State};

use crate::Kernel;
use crate::file::socket::OpenSockets;
use crate::file::socket::inet::Network;

/// Width to which the lines of `/proc/net/route` are filled.
const ROUTE_WIDTH: usize = 127;

impl Kernel {
    /// Content of `/proc/net/name`.
    pub(super) fn net_file(&mut self, name: &str) -> String {
        let network = self.shared.registry::<Network>();
        let open = self.shared.registry::<OpenSockets>();
        match name {
            "unix" => return sockets::unix(&open),
            "netlink" => return sockets::netlink(&open),
            "packet" => return sockets::packet(&open),
            _ => {}
        }
        let used = open.all().len();
        network.with(&self.wakes, |net| match name {
            "tcp" => sockets::inet(net, Kind::Tcp, Family::V4),
            "tcp6" => sockets::inet(net, Kind::Tcp, Family::V6),
            "udp" => sockets::inet(net, Kind::Udp, Family::V4),
            "udp6" => sockets::inet(net, Kind::Udp, Family::V6),
            "raw" => sockets::inet(net, Kind::Raw, Family::V4),
            "raw6" => sockets::inet(net, Kind::Raw, Family::V6),
            "icmp" => sockets::inet(net, Kind::Ping, Family::V4),
            "icmp6" => sockets::inet(net, Kind::Ping, Family::V6),
            "dev" => devices(&net.interfaces),
            "dev_mcast" => hardware_groups(&net.interfaces),
            "if_inet6" => addresses_v6(&net.interfaces),
            "route" => routes(&net.interfaces),
            "ipv6_route" => routes_v6(&net.interfaces),
            "igmp" => groups(&net.interfaces),
            "igmp6" => groups_v6(&net.interfaces),
            "sockstat" => socket_counts(net, used),
            "sockstat6" => socket_counts_v6(net),
            "snmp" => snmp(net),
            "snmp6" => snmp6(),
            "netstat" => netstat(net),
            "protocols" => counters::PROTOCOLS.to_owned(),
            _ => String::new(),
        })
    }
}

fn devices(net: &Interfaces) -> String {
    let mut out = String::from(
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
    );
    for interface in net.all() {
        let (r, s) = (&interface.received, &interface.sent);
        let _ = writeln!(
            out,
            "{:>6}: {:7} {:7} {:4} {:4} {:4} {:5} {:10} {:9} {:8} {:7} {:4} {:4} {:4} {:5} {:7} {:10}",
            interface.name,
            r.bytes.get(),
            r.packets.get(),
            0,
            0,
            0,
            0,
            0,
            0,
            s.bytes.get(),
            s.packets.get(),
            0,
            0,
            0,
            0,
            0,
            0
        );
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Hardware addresses of the groups that Ethernet interfaces listen to (RFC 1112 §6.4, RFC 2464 §7).
fn hardware_groups(net: &Interfaces) -> String {
    let mut out = String::new();
    for interface in net.all().iter().filter(|i| !i.is_loopback()) {
        for (group, users) in net.groups(interface.index) {
            let mac = match group {
                IpAddr::V4(ip) => {
                    let [_, b, c, d] = ip.octets();
                    [0x01, 0x00, 0x5e, b & 0x7f, c, d]
                }
                IpAddr::V6(ip) => {
                    let o = ip.octets();
                    [0x33, 0x33, o[12], o[13], o[14], o[15]]
                }
            };
            let _ = writeln!(
                out,
                "{:<4} {:<15} {:<5} {:<5} {}",
                interface.index,
                interface.name,
                users,
                0,
                hex(&mac)
            );
        }
    }
    out
}

fn addresses_v6(net: &Interfaces) -> String {
    let mut out = String::new();
    for interface in net.all() {
        for address in &interface.addresses {
            let IpAddr::V6(ip) = address.ip else { continue };
            let scope = match address.scope {
                Scope::Host => 0x10,
                Scope::Link => 0x20,
                _ => 0,
            };
            let _ = writeln!(
                out,
                "{} {:02x} {:02x} {scope:02x} 80 {:>8}",
                hex(&ip.octets()),
                interface.index,
                address.prefix,
                interface.name
            );
        }
    }
    out
}

fn name_of(net: &Interfaces, index: u32) -> &'static str {
    net.by_index(index).map_or("lo", |i: &Interface| i.name)
}

fn routes(net: &Interfaces) -> String {
    let head =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    let mut out = format!("{head:ROUTE_WIDTH$}\n");
    let word = |ip: Ipv4Addr| u32::from_le_bytes(ip.octets());
    for route in net.routes() {
        let (IpAddr::V4(to), RouteKind::Unicast) = (route.to, route.kind) else { continue };
        let gateway = match route.gateway {
            Some(IpAddr::V4(gateway)) => word(gateway),
            _ => 0,
        };
        let mask = u32::MAX.checked_shl(32 - u32::from(route.prefix)).unwrap_or(0);
        // RTF_UP, RTF_GATEWAY, RTF_HOST.
        let flags = 1 | u32::from(gateway != 0) << 1 | u32::from(route.prefix == 32) << 2;
        let line = format!(
            "{}\t{:08X}\t{gateway:08X}\t{flags:04X}\t0\t0\t0\t{:08X}\t0\t0\t0",
            name_of(net, route.index),
            word(to),
            mask.swap_bytes(),
        );
        let _ = writeln!(out, "{line:ROUTE_WIDTH$}");
    }
    out
}

fn routes_v6(net: &Interfaces) -> String {
    let none = hex(&Ipv6Addr::UNSPECIFIED.octets());
    // Where no route leads: the root of each table.
    let root = format!("{none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n");
    let line = |route: &Route| {
        let IpAddr::V6(to) = route.to else { return String::new() };
        let gateway = match route.gateway {
            Some(IpAddr::V6(ip)) => hex(&ip.octets()),
            _ => none.clone(),
        };
        // RTF_UP; RTF_NONEXTHOP and RTF_LOCAL of addresses of this box; RTF_GATEWAY; RTF_ANYCAST.
        let flags =
            1 | match route.kind {
                RouteKind::Local => 0x8020_0000,
                RouteKind::Anycast => 0x8010_0000 | 0x20_0000,
                _ => 0,
            } | u32::from(route.gateway.is_some()) << 1;
        format!(
            "{} {:02x} {none} 00 {gateway} {:08x} 00000001 00000000 {flags:08x} {:>8}\n",
            hex(&to.octets()),
            route.prefix,
            route.metric,
            name_of(net, route.index),
        )
    };
    let table = |local: bool| -> String {
        net.routes().iter().filter(|r| (r.table == 255) == local).map(line).collect()
    };
    [table(false), root.clone(), table(true), root].concat()
}

fn groups(net: &Interfaces) -> String {
    let mut out = String::from("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
    for interface in net.all() {
        let all: Vec<(Ipv4Addr, u32)> = net
            .groups(interface.index)
            .filter_map(|(ip, users)| match ip {
                IpAddr::V4(ip) => Some((ip, users)),
                IpAddr::V6(_) => None,
            })
            .collect();
        let (index, name, count) = (interface.index, interface.name, all.len());
        let _ = writeln!(out, "{index}\t{name:<10}: {count:5} {:>7}", "V3");
        for (group, users) in all {
            let word = u32::from_le_bytes(group.octets());
            let _ = writeln!(out, "\t\t\t\t{word:08X} {users:5} 0:00000000\t\t0");
        }
    }
    out
}

fn groups_v6(net: &Interfaces) -> String {
    let mut out = String::new();
    for interface in net.all() {
        let all: Vec<_> = net.groups(interface.index).collect();
        for (group, users) in all.into_iter().rev() {
            let IpAddr::V6(ip) = group else { continue };
            // MAF_LAST_REPORTER and MAF_LOADED; interface-local groups are not reported.
            let flags = if ip.segments()[0] & 0xf == 1 { 8 } else { 0xc };
            let _ = writeln!(
                out,
                "{:<4} {:<15} {} {users:5} {flags:08X} 0",
                interface.index,
                interface.name,
                hex(&ip.octets())
            );
        }
    }
    out
}

/// Sockets in use of one kind and family.
fn in_use(net: &Net, kind: Kind, family: Family) -> usize {
    let bound = |s: &net::Socket| match kind {
        Kind::Tcp => s.tcp.state != State::Close,
        Kind::Raw => true,
        _ => s.local.port() != 0,
    };
    net.sockets().filter(|(_, s)| s.kind == kind && s.family == family && bound(s)).count()
}

fn socket_counts(net: &Net, used: usize) -> String {
    let tcp = in_use(net, Kind::Tcp, Family::V4);
    let all = net.sockets().filter(|(_, s)| s.kind == Kind::Tcp).count();
    let now = net.clock.0;
    let waiting = net.time_wait.iter().filter(|t| t.until > now).count();
    format!(
        "sockets: used {used}\nTCP: inuse {tcp} orphan 0 tw {waiting} alloc {all} mem 0\nUDP: inuse {} mem 0\n\
         UDPLITE: inuse 0\nRAW: inuse {}\nFRAG: inuse 0 memory 0\n",
        in_use(net, Kind::Udp, Family::V4),
        in_use(net, Kind::Raw, Family::V4),
    )
}

fn socket_counts_v6(net: &Net) -> String {
    format!(
        "TCP6: inuse {}\nUDP6: inuse {}\nUDPLITE6: inuse 0\nRAW6: inuse {}\nFRAG6: inuse 0 memory 0\n",
        in_use(net, Kind::Tcp, Family::V6),
        in_use(net, Kind::Udp, Family::V6),
        in_use(net, Kind::Raw, Family::V6),
    )
}

/// Tables of counters: two lines for each group, names and numbers.
fn table(groups: &[(&str, &str)], value: impl Fn(&str, &str) -> i64) -> String {
    let mut out = String::new();
    for (group, names) in groups {
        let _ = writeln!(out, "{group}: {names}");
        let _ = write!(out, "{group}:");
        for name in names.split(' ') {
            let _ = write!(out, " {}", value(group, name));
        }
        out.push('\n');
    }
    out
}

/// Packets and bytes that all interfaces have received and sent.
fn totals(net: &Net) -> [i64; 4] {
    let mut sums = [0u64; 4];
    for i in net.interfaces.all() {
        let own = [&i.received.packets, &i.sent.packets, &i.received.bytes, &i.sent.bytes];
        for (sum, counter) in sums.iter_mut().zip(own) {
            *sum = sum.wrapping_add(counter.get());
        }
    }
    sums.map(|n| n as i64)
}

fn snmp(net: &Net) -> String {
    let [received, sent, ..] = totals(net);
    let standing = |s: &net::Socket| {
        s.kind == Kind::Tcp && matches!(s.tcp.state, State::Established | State::CloseWait)
    };
    let established = net.sockets().filter(|(_, s)| standing(s)).count() as i64;
    table(counters::SNMP, |group, name| match (group, name) {
        ("Ip", "Forwarding") => 2,
        ("Ip", "DefaultTTL") => 64,
        ("Ip", "InReceives" | "InDelivers") => received,
        ("Ip", "OutRequests" | "OutTransmits") => sent,
        ("Tcp", "RtoAlgorithm") => 1,
        ("Tcp", "RtoMin") => 200,
        ("Tcp", "RtoMax") => 120_000,
        ("Tcp", "MaxConn") => -1,
        ("Tcp", "CurrEstab") => established,
        _ => 0,
    })
}

fn netstat(net: &Net) -> String {
    let [_, _, received, sent] = totals(net);
    table(counters::NETSTAT, |group, name| match (group, name) {
        ("IpExt", "InOctets") => received,
        ("IpExt", "OutOctets") => sent,
        _ => 0,
    })
}

fn snmp6() -> String {
    counters::SNMP6.split(' ').map(|name| format!("{name:<32}\t0\n")).collect()
}
