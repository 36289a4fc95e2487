//! What rtnetlink(7) tells of interfaces, addresses, routes and rules. Changing them takes CAP_NET_ADMIN.

use std::net::IpAddr;

use abi::Errno;
use abi::netlink::*;
use abi::socket::{AF_INET, AF_INET6, AF_UNSPEC};
use net::interface::{Address, Counter, Interface, Interfaces, Route, RouteKind};

use super::NetlinkSocket;
use super::message::{Answer, Message, Request};
use crate::fs::cx::cap;
use crate::fs::{Cx, Res};

const AF_BRIDGE: u8 = 7;
const INET: u8 = AF_INET as u8;
const INET6: u8 = AF_INET6 as u8;
const UNSPEC: u8 = AF_UNSPEC as u8;

/// Bytes of `struct ifinfomsg` and `rtmsg`.
const IFINFOMSG: usize = 16;
const RTMSG: usize = 12;

const IFLA_ADDRESS: u16 = 1;
const IFLA_BROADCAST: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_QDISC: u16 = 6;
const IFLA_STATS: u16 = 7;
const IFLA_PROTINFO: u16 = 12;
const IFLA_TXQLEN: u16 = 13;
const IFLA_MAP: u16 = 14;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKMODE: u16 = 17;
const IFLA_STATS64: u16 = 23;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_CARRIER: u16 = 33;
const IFLA_CARRIER_CHANGES: u16 = 35;
const IFLA_PROTO_DOWN: u16 = 39;
const IFLA_GSO_MAX_SEGS: u16 = 40;
const IFLA_GSO_MAX_SIZE: u16 = 41;
const IFLA_CARRIER_UP_COUNT: u16 = 47;
const IFLA_CARRIER_DOWN_COUNT: u16 = 48;
const IFLA_MIN_MTU: u16 = 50;
const IFLA_MAX_MTU: u16 = 51;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_GRO_MAX_SIZE: u16 = 58;
const IFLA_TSO_MAX_SIZE: u16 = 59;
const IFLA_TSO_MAX_SEGS: u16 = 60;
const IFLA_ALLMULTI: u16 = 61;
const IFLA_INET6_FLAGS: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `IF_READY`.
const IF_READY: u32 = 0x8000_0000;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
/// The address was not learnt and does not expire.
const IFA_F_PERMANENT: u32 = 0x80;

const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_PREF: u16 = 20;
const RTA_UID: u16 = 25;
const RTM_F_CLONED: u32 = 0x200;
const RTCF_LOCAL: u32 = 0x8000_0000;
const RTCF_BROADCAST: u32 = 0x1000_0000;
const RTCF_MULTICAST: u32 = 0x2000_0000;
const TABLE_MAIN: u8 = 254;
const TABLE_LOCAL: u8 = 255;
const TABLE_DEFAULT: u8 = 253;

const FRA_PRIORITY: u16 = 6;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;
const FR_ACT_TO_TBL: u8 = 1;
const RTPROT_KERNEL: u8 = 2;

/// Answers a request (`rtnetlink_rcv_msg`).
pub fn answer(cx: &mut Cx, socket: &NetlinkSocket, request: &Request) -> Res<Answer> {
    if request.kind > RTM_MAX {
        return Err(Errno::EOPNOTSUPP);
    }
    let Some(family) = request.payload().first().copied() else { return Ok(Answer::Nothing) };
    let get = (request.kind - RTM_BASE) & 3 == 2;
    if !get && !cx.cred.capable(cap::NET_ADMIN) {
        return Err(Errno::EPERM);
    }
    let dump = request.flags & NLM_F_DUMP != 0;
    let strict = socket.is_on(NETLINK_GET_STRICT_CHK);
    super::interfaces(cx, |net| match (request.kind, dump) {
        (RTM_GETLINK, true) => Ok(dump_links(net, family)),
        (RTM_GETLINK, false) => one_link(net, request),
        (RTM_GETADDR, true) => Ok(dump_addresses(net, request, family, strict)),
        (RTM_GETROUTE, true) => Ok(dump_routes(net, request, family, strict)),
        (RTM_GETROUTE, false) => one_route(net, request, family),
        (RTM_GETRULE, true) => rules(family),
        (
            RTM_GETNEIGH | RTM_GETNEIGHTBL | RTM_GETQDISC | RTM_GETTCLASS | RTM_GETTFILTER
            | RTM_GETMULTICAST | RTM_GETANYCAST | RTM_GETADDRLABEL | RTM_GETNETCONF | RTM_GETMDB
            | RTM_GETNEXTHOP,
            true,
        ) => Ok(Answer::Dump(Vec::new())),
        _ => Err(Errno::EOPNOTSUPP),
    })
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn family_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { INET } else { INET6 }
}

fn dump_links(net: &Interfaces, family: u8) -> Answer {
    // Bridges have a list of their own, and there is none.
    let all = if family == AF_BRIDGE { &[] } else { net.all() };
    Answer::Dump(all.iter().map(if family == INET6 { link_v6 } else { link }).collect())
}

fn one_link(net: &Interfaces, request: &Request) -> Res<Answer> {
    let payload = request.payload();
    let index = payload.get(4..8).and_then(|b| b.try_into().ok()).map(i32::from_le_bytes);
    let index = index.ok_or(Errno::EINVAL)?;
    let name = request
        .attribute(IFINFOMSG, IFLA_IFNAME)
        .or_else(|| request.attribute(IFINFOMSG, IFLA_ALT_IFNAME));
    let found = match (index, name) {
        (..=-1, _) | (0, None) => return Err(Errno::EINVAL),
        (0, Some(name)) => {
            let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
            net.by_name(&name[..end])
        }
        (index, _) => net.by_index(index as u32),
    };
    Ok(Answer::One(link(found.ok_or(Errno::ENODEV)?)))
}

/// A message about an interface with its `struct ifinfomsg`.
fn link_message(interface: &Interface, family: u8) -> Message {
    let mut header = vec![family, 0];
    header.extend_from_slice(&interface.hardware().to_le_bytes());
    header.extend_from_slice(&interface.index.to_le_bytes());
    header.extend_from_slice(&interface.flags.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    Message::new(RTM_NEWLINK, &header)
}

/// IF_OPER_UNKNOWN and IF_OPER_UP.
fn operational(interface: &Interface) -> u8 {
    if interface.is_loopback() { 0 } else { 6 }
}

/// `inet6_fill_ifinfo`.
fn link_v6(interface: &Interface) -> Message {
    let mut m = link_message(interface, INET6);
    m.put_text(IFLA_IFNAME, interface.name)
        .put(IFLA_ADDRESS, &interface.mac)
        .put_u32(IFLA_MTU, interface.mtu)
        .put(IFLA_OPERSTATE, &[operational(interface)])
        .put_nested(IFLA_PROTINFO, |m| {
            m.put_u32(IFLA_INET6_FLAGS, IF_READY);
        });
    m
}

/// `rtnl_fill_ifinfo`.
fn link(interface: &Interface) -> Message {
    let mut m = link_message(interface, UNSPEC);
    let largest = if interface.is_loopback() { 0 } else { 65535 };
    let smallest = if interface.is_loopback() { 0 } else { 68 };
    let hardware_broadcast = if interface.is_loopback() { [0; 6] } else { [0xff; 6] };
    m.put_text(IFLA_IFNAME, interface.name)
        .put_u32(IFLA_TXQLEN, interface.txqlen)
        .put(IFLA_OPERSTATE, &[operational(interface)])
        .put(IFLA_LINKMODE, &[0])
        .put_u32(IFLA_MTU, interface.mtu)
        .put_u32(IFLA_MIN_MTU, smallest)
        .put_u32(IFLA_MAX_MTU, largest)
        .put_u32(IFLA_GROUP, 0)
        .put_u32(IFLA_PROMISCUITY, 0)
        .put_u32(IFLA_ALLMULTI, 0)
        .put_u32(IFLA_NUM_TX_QUEUES, 1)
        .put_u32(IFLA_GSO_MAX_SEGS, 65535)
        .put_u32(IFLA_GSO_MAX_SIZE, 65536)
        .put_u32(IFLA_GRO_MAX_SIZE, 65536)
        .put_u32(IFLA_TSO_MAX_SIZE, 524_280)
        .put_u32(IFLA_TSO_MAX_SEGS, 65535)
        .put_u32(IFLA_NUM_RX_QUEUES, 1)
        .put(IFLA_CARRIER, &[1])
        .put_u32(IFLA_CARRIER_CHANGES, 0)
        .put_u32(IFLA_CARRIER_UP_COUNT, 0)
        .put_u32(IFLA_CARRIER_DOWN_COUNT, 0)
        .put(IFLA_PROTO_DOWN, &[0])
        .put(IFLA_MAP, &[0; 32])
        .put(IFLA_ADDRESS, &interface.mac)
        .put(IFLA_BROADCAST, &hardware_broadcast)
        .put(IFLA_STATS64, &statistics(interface, true))
        .put(IFLA_STATS, &statistics(interface, false))
        .put_text(IFLA_QDISC, "noqueue")
        .put_nested(IFLA_AF_SPEC, |m| {
            m.put_nested(AF_INET6, |m| {
                m.put(IFLA_INET6_ADDR_GEN_MODE, &[0]);
            });
        });
    m
}

/// `struct rtnl_link_stats64` or `rtnl_link_stats`.
fn statistics(interface: &Interface, wide: bool) -> Vec<u8> {
    let mut words = [0; 25];
    let of = |counter: &Counter| (counter.packets.get(), counter.bytes.get());
    (words[0], words[2]) = of(&interface.received);
    (words[1], words[3]) = of(&interface.sent);
    match wide {
        true => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        false => words.iter().take(24).flat_map(|w| (*w as u32).to_le_bytes()).collect(),
    }
}

fn dump_addresses(net: &Interfaces, request: &Request, family: u8, strict: bool) -> Answer {
    let index = request.payload().get(4..8).and_then(|b| b.try_into().ok());
    let index = index.map_or(0, u32::from_le_bytes);
    let mut out = Vec::new();
    for wanted in [INET, INET6] {
        if family != UNSPEC && family != wanted {
            continue;
        }
        for interface in net.all() {
            if strict && index != 0 && index != interface.index {
                continue;
            }
            let own = interface.addresses.iter().filter(|a| family_of(a.ip) == wanted);
            out.extend(own.map(|a| address(interface, a)));
        }
    }
    Answer::Dump(out)
}

/// `inet_fill_ifaddr`, `inet6_fill_ifaddr`.
fn address(interface: &Interface, address: &Address) -> Message {
    let flags = IFA_F_PERMANENT;
    let mut header = vec![family_of(address.ip), address.prefix, flags as u8, address.scope as u8];
    header.extend_from_slice(&interface.index.to_le_bytes());
    let mut m = Message::new(RTM_NEWADDR, &header);
    let ip = octets(address.ip);
    // Preferred and valid for ever; made and changed at the start.
    let cache: Vec<u8> = [u32::MAX, u32::MAX, 0, 0].iter().flat_map(|v| v.to_le_bytes()).collect();
    m.put(IFA_ADDRESS, &ip);
    if address.ip.is_ipv4() {
        m.put(IFA_LOCAL, &ip);
        // Loopback has none.
        if let Some(broadcast) = address.broadcast().filter(|_| !interface.is_loopback()) {
            m.put(IFA_BROADCAST, &broadcast.octets());
        }
        m.put_text(IFA_LABEL, interface.name);
        m.put_u32(IFA_FLAGS, flags);
        m.put(IFA_CACHEINFO, &cache);
    } else {
        m.put(IFA_CACHEINFO, &cache);
        m.put_u32(IFA_FLAGS, flags);
    }
    m
}

fn dump_routes(net: &Interfaces, request: &Request, family: u8, strict: bool) -> Answer {
    let payload = request.payload();
    let flags = payload.get(8..12).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    if flags & RTM_F_CLONED != 0 {
        // The routes that packets have used lately: none are kept.
        return Answer::Dump(Vec::new());
    }
    let table = request.attribute_u32(RTMSG, RTA_TABLE);
    let table = table.or(payload.get(4).map(|t| u32::from(*t))).filter(|t| strict && *t != 0);
    let mut out = Vec::new();
    for wanted in [INET, INET6] {
        let of_family = |r: &&Route| family_of(r.to) == wanted;
        if family == UNSPEC || family == wanted {
            let fits = |r: &&Route| table.is_none_or(|t| t == u32::from(r.table));
            // The main table comes after the local one.
            for local in [true, false] {
                let routes = net.routes().iter().filter(of_family).filter(fits);
                out.extend(routes.filter(|r| (r.table == TABLE_LOCAL) == local).map(route));
            }
        }
    }
    Answer::Dump(out)
}

/// `fib_dump_info`, `rt6_fill_node`.
fn route(route: &Route) -> Message {
    let header = [
        family_of(route.to),
        route.prefix,
        0,
        0,
        route.table,
        route.protocol,
        route.scope as u8,
        route.kind as u8,
        0,
        0,
        0,
        0,
    ];
    let mut m = Message::new(RTM_NEWROUTE, &header);
    m.put_u32(RTA_TABLE, u32::from(route.table));
    if route.prefix != 0 {
        m.put(RTA_DST, &octets(route.to));
    }
    if let Some(source) = route.source {
        m.put(RTA_PREFSRC, &octets(source));
    }
    if let Some(gateway) = route.gateway {
        m.put(RTA_GATEWAY, &octets(gateway));
    }
    if route.to.is_ipv6() {
        m.put_u32(RTA_PRIORITY, route.metric);
    }
    m.put_u32(RTA_OIF, route.index);
    if route.to.is_ipv6() {
        m.put(RTA_CACHEINFO, &[0; 32]);
        m.put(RTA_PREF, &[0]);
    }
    m
}

/// `ip route get` (`inet_rtm_getroute`, `inet6_rtm_getroute`).
fn one_route(net: &Interfaces, request: &Request, family: u8) -> Res<Answer> {
    if request.payload().len() < RTMSG {
        return Err(Errno::EINVAL);
    }
    let asked = request.attribute(RTMSG, RTA_DST);
    let to: IpAddr = match (family, asked) {
        (INET, Some(bytes)) => <[u8; 4]>::try_from(bytes).map_err(|_| Errno::EINVAL)?.into(),
        (INET6, Some(bytes)) => <[u8; 16]>::try_from(bytes).map_err(|_| Errno::EINVAL)?.into(),
        (INET | INET6, None) => return Err(Errno::EINVAL),
        _ => return Err(Errno::EOPNOTSUPP),
    };
    let index = request.attribute_u32(RTMSG, RTA_OIF).unwrap_or(0);
    if index != 0 && net.by_index(index).is_none() {
        return Err(Errno::ENODEV);
    }
    let path = net.route(to, index)?;
    // Without rules of its own a namespace has one IPv4 table for both (`fib_unmerge`).
    let table = match path.kind {
        RouteKind::Local if family == INET6 => TABLE_LOCAL,
        _ => TABLE_MAIN,
    };
    let mut flags = RTM_F_CLONED;
    match path.kind {
        RouteKind::Local => flags |= RTCF_LOCAL,
        RouteKind::Broadcast => flags |= RTCF_BROADCAST | RTCF_LOCAL,
        RouteKind::Multicast => flags |= RTCF_MULTICAST,
        _ => {}
    }
    if family == INET6 {
        flags = 0;
    }
    let bits = if family == INET { 32 } else { 128 };
    let mut header = vec![family, bits, 0, 0, table, 0, 0, path.kind as u8];
    if family == INET6 {
        header[2] = bits;
        header[5] = RTPROT_KERNEL;
    }
    header.extend_from_slice(&flags.to_le_bytes());
    let mut m = Message::new(RTM_NEWROUTE, &header);
    m.put_u32(RTA_TABLE, u32::from(table));
    m.put(RTA_DST, &octets(to));
    if family == INET6 {
        m.put(RTA_SRC, &[0; 16]);
    }
    let source = octets(path.source);
    if family == INET6 {
        m.put(RTA_PREFSRC, &source);
    }
    m.put_u32(RTA_OIF, path.index);
    if family == INET {
        m.put(RTA_PREFSRC, &source);
    }
    if let Some(gateway) = path.gateway {
        m.put(RTA_GATEWAY, &octets(gateway));
    }
    if family == INET {
        m.put_u32(RTA_UID, 0);
    } else {
        let metric = net.routes().iter().find(|r| r.to == to).map_or(1024, |r| r.metric);
        m.put_u32(RTA_PRIORITY, metric);
    }
    m.put(RTA_CACHEINFO, &[0; 32]);
    if family == INET6 {
        m.put(RTA_PREF, &[0]);
    }
    Ok(Answer::One(m))
}

/// The rules of every network namespace: the tables `local`, `main` and, for IPv4, `default`.
fn rules(family: u8) -> Res<Answer> {
    let v4: &[(u8, u32)] = &[(TABLE_LOCAL, 0), (TABLE_MAIN, 32766), (TABLE_DEFAULT, 32767)];
    let mut out = Vec::new();
    for (wanted, rules) in [(INET, v4), (INET6, &v4[..2])] {
        if family != UNSPEC && family != wanted {
            continue;
        }
        for (table, priority) in rules {
            let header = [wanted, 0, 0, 0, *table, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
            let mut m = Message::new(RTM_NEWRULE, &header);
            m.put_u32(FRA_TABLE, u32::from(*table));
            m.put_u32(FRA_SUPPRESS_PREFIXLEN, u32::MAX);
            m.put(FRA_PROTOCOL, &[RTPROT_KERNEL]);
            if *priority != 0 {
                m.put_u32(FRA_PRIORITY, *priority);
            }
            out.push(m);
        }
    }
    match family {
        UNSPEC | INET | INET6 => Ok(Answer::Dump(out)),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}
