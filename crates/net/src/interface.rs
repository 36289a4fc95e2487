//! The interfaces of a box: `lo` always, `eth0` if the host grants a way out or publishes ports. Addresses, flags,
//! routes, counters and multicast memberships (netdevice(7), rtnetlink(7)); what docker's default container has.
//! Nothing can change them: that takes CAP_NET_ADMIN, which root of a container has not.

use abi::Errno;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Flags of an interface (netdevice(7), `ifi_flags`).
#[allow(missing_docs)] // the names are those of <linux/if.h>
pub mod flag {
    pub const UP: u32 = 0x1;
    pub const BROADCAST: u32 = 0x2;
    pub const LOOPBACK: u32 = 0x8;
    pub const RUNNING: u32 = 0x40;
    pub const MULTICAST: u32 = 0x1000;
    pub const LOWER_UP: u32 = 0x1_0000;
}

/// Index of `lo`.
pub const LO: u32 = 1;
/// Index of `eth0`.
pub const ETH0: u32 = 2;

/// Address of `eth0`, as docker gives the first container of its default bridge.
pub const ETH0_V4: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
/// The router of `eth0`: `host-gateway` of `--add-host`.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
/// Address of `eth0` where the host grants IPv6: a unique local one, so that RFC 6724 prefers IPv4 as under docker.
pub const ETH0_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0x242, 0xac11, 2);
/// The router of `eth0` for IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// Link-local address of `eth0`, from its hardware address (RFC 4291, appendix A).
const ETH0_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x42, 0xacff, 0xfe11, 2);

/// How far an address reaches (`ifa_scope`, `rtm_scope`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Universe = 0,
    /// The link.
    Link = 253,
    /// This box.
    Host = 254,
    /// Nowhere.
    Nowhere = 255,
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of the network's prefix.
    pub prefix: u8,
    /// How far it reaches.
    pub scope: Scope,
}

impl Address {
    /// The network mask of an IPv4 address.
    pub fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.prefix))
    }

    /// The broadcast address, if `ip` is an IPv4 address with a network around it.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.ip {
            IpAddr::V4(ip) if self.prefix < 31 => {
                Some(Ipv4Addr::from(u32::from(ip) | !mask(self.prefix)))
            }
            _ => None,
        }
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// Whether `ip` lies in `network`/`prefix`.
fn within(ip: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            (u32::from(ip) ^ u32::from(network)) & mask(prefix) == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            let shift = 128 - u32::from(prefix.min(128));
            let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
            (u128::from(ip) ^ u128::from(network)) & mask == 0
        }
        _ => false,
    }
}

/// Packets and bytes in one direction.
#[derive(Debug, Default)]
pub struct Counter {
    /// Packets.
    pub packets: Cell<u64>,
    /// Bytes.
    pub bytes: Cell<u64>,
}

impl Counter {
    /// Counts one packet.
    pub fn add(&self, bytes: usize) {
        self.packets.set(self.packets.get().wrapping_add(1));
        self.bytes.set(self.bytes.get().wrapping_add(bytes as u64));
    }
}

/// One interface.
#[derive(Debug)]
pub struct Interface {
    /// Index, from 1.
    pub index: u32,
    /// Name, below 16 bytes.
    pub name: &'static str,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Length of the queue.
    pub txqlen: u32,
    /// Addresses; the first of a family is its main one.
    pub addresses: Vec<Address>,
    /// What came in.
    pub received: Counter,
    /// What went out.
    pub sent: Counter,
}

impl Interface {
    fn lo() -> Interface {
        let address = |ip, prefix| Address { ip, prefix, scope: Scope::Host };
        Interface {
            index: LO,
            name: "lo",
            mac: [0; 6],
            mtu: 65536,
            flags: flag::UP | flag::LOOPBACK | flag::RUNNING | flag::LOWER_UP,
            txqlen: 1000,
            addresses: vec![
                address(IpAddr::V4(Ipv4Addr::LOCALHOST), 8),
                address(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
            ],
            received: Counter::default(),
            sent: Counter::default(),
        }
    }

    fn eth0(v6: bool) -> Interface {
        let mut addresses =
            vec![Address { ip: IpAddr::V4(ETH0_V4), prefix: 16, scope: Scope::Universe }];
        if v6 {
            addresses.push(Address { ip: IpAddr::V6(ETH0_V6), prefix: 64, scope: Scope::Universe });
        }
        let ip = IpAddr::V6(ETH0_LINK_LOCAL);
        addresses.push(Address { ip, prefix: 64, scope: Scope::Link });
        Interface {
            index: ETH0,
            name: "eth0",
            mac: [0x02, 0x42, 0xac, 0x11, 0x00, 0x02],
            mtu: 1500,
            flags: flag::UP | flag::BROADCAST | flag::RUNNING | flag::MULTICAST | flag::LOWER_UP,
            txqlen: 0,
            addresses,
            received: Counter::default(),
            sent: Counter::default(),
        }
    }

    /// Whether it is `lo`.
    pub fn is_loopback(&self) -> bool {
        self.flags & flag::LOOPBACK != 0
    }

    /// Kind of hardware (`ARPHRD_*`): 772 the loopback, 1 Ethernet.
    pub fn hardware(&self) -> u16 {
        if self.is_loopback() { 772 } else { 1 }
    }

    /// Its main IPv4 address.
    pub fn ipv4(&self) -> Option<&Address> {
        self.addresses.iter().find(|a| a.ip.is_ipv4())
    }
}

/// What a route does with packets (`rtm_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Sends them on.
    Unicast = 1,
    /// They are for this box.
    Local = 2,
    /// To everybody on the link.
    Broadcast = 3,
    /// An anycast address of this box.
    Anycast = 4,
    /// To a group.
    Multicast = 5,
}

/// One route, as `ip route show table all` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Network or address.
    pub to: IpAddr,
    /// Bits of its prefix; 0 is the default route.
    pub prefix: u8,
    /// What it does.
    pub kind: RouteKind,
    /// Table: 254 main, 255 local.
    pub table: u8,
    /// Who made it: 2 the kernel, 3 boot.
    pub protocol: u8,
    /// How far its destinations are.
    pub scope: Scope,
    /// Router.
    pub gateway: Option<IpAddr>,
    /// Source address that it suggests.
    pub source: Option<IpAddr>,
    /// Interface.
    pub index: u32,
    /// Metric (IPv6).
    pub metric: u32,
}

/// Where packets to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The interface.
    pub index: u32,
    /// Source address for a socket that is not bound to one.
    pub source: IpAddr,
    /// What becomes of them: `Local` stays in the box, `Unicast` is for [`Outside`](crate::Outside).
    pub kind: RouteKind,
    /// The router between.
    pub gateway: Option<IpAddr>,
}

/// Memberships in one multicast group on one interface (`/proc/net/igmp`, `/proc/net/igmp6`).
type Groups = BTreeMap<(u32, IpAddr), u32>;

/// All interfaces of the box.
#[derive(Debug)]
pub struct Interfaces {
    all: Vec<Interface>,
    routes: Vec<Route>,
    groups: Groups,
}

impl Default for Interfaces {
    fn default() -> Interfaces {
        Interfaces::new(None)
    }
}

impl Interfaces {
    /// `lo`, and with `outside` (what [`Outside::families`](crate::Outside::families) says, or both false where ports are
    /// published only) `eth0`.
    pub fn new(outside: Option<(bool, bool)>) -> Interfaces {
        let mut all = vec![Interface::lo()];
        if let Some((_, v6)) = outside {
            all.push(Interface::eth0(v6));
        }
        let mut routes = Vec::new();
        if let Some((v4, v6)) = outside {
            if v4 {
                routes.push(default_route(GATEWAY_V4.into()));
            }
            if v6 {
                routes.push(default_route(GATEWAY_V6.into()));
            }
        }
        let mut groups = Groups::new();
        for interface in &all {
            for address in &interface.addresses {
                routes.extend(routes_of(interface, address));
            }
            // 224.0.0.1 on all, ff02::1 and ff01::1, and the solicited-node groups of eth0.
            let mut join =
                |group: IpAddr| *groups.entry((interface.index, group)).or_insert(0) += 1;
            join(Ipv4Addr::new(224, 0, 0, 1).into());
            join(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into());
            join(Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1).into());
            if !interface.is_loopback() {
                for address in &interface.addresses {
                    if let IpAddr::V6(ip) = address.ip {
                        let s = ip.segments();
                        let low = 0xff00 | s[6] & 0xff;
                        join(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, low, s[7]).into());
                    }
                }
                let all_nodes = Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0);
                routes.push(Route {
                    prefix: 8,
                    kind: RouteKind::Multicast,
                    table: 255,
                    ..connected(all_nodes.into(), interface.index)
                });
            }
        }
        Interfaces { all, routes, groups }
    }

    /// Every interface, by index.
    pub fn all(&self) -> &[Interface] {
        &self.all
    }

    /// Every route, as tables list them: the default routes first, then by interface.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The interface with this index.
    pub fn by_index(&self, index: u32) -> Option<&Interface> {
        self.all.iter().find(|i| i.index == index)
    }

    /// The interface with this name (without a terminating NUL).
    pub fn by_name(&self, name: &[u8]) -> Option<&Interface> {
        self.all.iter().find(|i| i.name.as_bytes() == name)
    }

    /// The interface that has this address; any of 127.0.0.0/8 is `lo`'s.
    pub fn of_address(&self, ip: IpAddr) -> Option<&Interface> {
        self.all.iter().find(|interface| {
            interface.addresses.iter().any(|a| {
                a.ip == ip || interface.is_loopback() && ip.is_ipv4() && within(ip, a.ip, a.prefix)
            })
        })
    }

    /// Whether it is an address of this box. bind(2) takes these and the unspecified ones (UDP also broadcast addresses
    /// and groups).
    pub fn is_local(&self, ip: IpAddr) -> bool {
        let broadcast = matches!(ip, IpAddr::V4(ip) if self.is_broadcast(ip));
        !broadcast && self.of_address(ip).is_some()
    }

    /// Whether it is 255.255.255.255 or the broadcast address of a network of this box.
    pub fn is_broadcast(&self, ip: Ipv4Addr) -> bool {
        let mut addresses = self.all.iter().flat_map(|i| &i.addresses);
        ip.is_broadcast() || addresses.any(|a| a.broadcast() == Some(ip))
    }

    /// Where packets to `to` go; `index` 0 = any interface (`SO_BINDTODEVICE`, `IP_MULTICAST_IF`, a scope id). The
    /// unspecified address means this box, as connect(2) takes it. ENETUNREACH without a route.
    pub fn route(&self, to: IpAddr, index: u32) -> Result<Path, Errno> {
        let fits = |i: &Interface| index == 0 || i.index == index;
        if to.is_unspecified() {
            let source =
                if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            return Ok(Path { index: LO, source, kind: RouteKind::Local, gateway: None });
        }
        let broadcast = matches!(to, IpAddr::V4(ip) if self.is_broadcast(ip));
        if broadcast || to.is_multicast() {
            let kind = if broadcast { RouteKind::Broadcast } else { RouteKind::Multicast };
            // Through the network it belongs to, or through the default route's interface; lo only if asked for.
            let own = |i: &&Interface| {
                i.addresses.iter().any(|a| a.broadcast().map(IpAddr::V4) == Some(to))
            };
            let interface = self
                .all
                .iter()
                .filter(|i| fits(i))
                .find(own)
                .or_else(|| {
                    // There is no route to ff00::/8 through lo, whoever asks for it.
                    let lo = index != 0 && to.is_ipv4();
                    self.all.iter().find(|i| fits(i) && (lo || !i.is_loopback()))
                })
                .ok_or(Errno::ENETUNREACH)?;
            let source = self.source(interface, to).ok_or(Errno::ENETUNREACH)?;
            return Ok(Path { index: interface.index, source, kind, gateway: None });
        }
        if let Some(interface) = self.of_address(to) {
            // A box reaches its own addresses through lo, whatever interface they are on.
            let source = if interface.is_loopback() && to.is_ipv4() {
                Ipv4Addr::LOCALHOST.into()
            } else {
                to
            };
            return Ok(Path { index: LO, source, kind: RouteKind::Local, gateway: None });
        }
        let best = self
            .routes
            .iter()
            .filter(|r| r.kind == RouteKind::Unicast && (index == 0 || r.index == index))
            .filter(|r| within(to, r.to, r.prefix))
            .max_by_key(|r| r.prefix)
            .ok_or(Errno::ENETUNREACH)?;
        let interface = self.by_index(best.index).ok_or(Errno::ENETUNREACH)?;
        let source = self.source(interface, to).ok_or(Errno::ENETUNREACH)?;
        Ok(Path { index: best.index, source, kind: best.kind, gateway: best.gateway })
    }

    /// The interface's address that fits a destination: of its family, and link-local for link-local ones.
    fn source(&self, interface: &Interface, to: IpAddr) -> Option<IpAddr> {
        let link = matches!(to, IpAddr::V6(ip) if {
            let first = ip.segments()[0];
            first & 0xffc0 == 0xfe80 || first & 0xff0f == 0xff02
        });
        let fits = |a: &&Address| a.ip.is_ipv4() == to.is_ipv4();
        let scope = |a: &&Address| (a.scope == Scope::Link) == link;
        let own = || interface.addresses.iter().filter(fits);
        own().find(scope).or_else(|| own().next()).map(|a| a.ip)
    }

    /// Counts one packet of `bytes` that `lo` carried: out and in.
    pub fn count_loopback(&self, bytes: usize) {
        if let Some(lo) = self.by_index(LO) {
            lo.sent.add(bytes);
            lo.received.add(bytes);
        }
    }

    /// Joins a group on an interface (IP_ADD_MEMBERSHIP, IPV6_ADD_MEMBERSHIP). Each socket counts once; it keeps its own
    /// list and leaves at its end. ENODEV without such an interface, EINVAL for an address that names no group.
    pub fn join(&mut self, index: u32, group: IpAddr) -> Result<(), Errno> {
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        self.by_index(index).ok_or(Errno::ENODEV)?;
        *self.groups.entry((index, group)).or_insert(0) += 1;
        Ok(())
    }

    /// Takes back one [`Interfaces::join`].
    pub fn leave(&mut self, index: u32, group: IpAddr) {
        if let Some(users) = self.groups.get_mut(&(index, group)) {
            *users -= 1;
            if *users == 0 {
                self.groups.remove(&(index, group));
            }
        }
    }

    /// Groups of one interface and how many joined each.
    pub fn groups(&self, index: u32) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        self.groups.iter().filter(move |((i, _), _)| *i == index).map(|((_, g), n)| (*g, *n))
    }
}

/// A route to a network that is there by itself.
fn connected(to: IpAddr, index: u32) -> Route {
    Route {
        to,
        prefix: 0,
        kind: RouteKind::Unicast,
        table: 254,
        protocol: 2,
        scope: Scope::Universe,
        gateway: None,
        source: None,
        index,
        metric: if to.is_ipv4() { 0 } else { 256 },
    }
}

fn default_route(gateway: IpAddr) -> Route {
    let to = match gateway {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let metric = if gateway.is_ipv4() { 0 } else { 1024 };
    Route { gateway: Some(gateway), protocol: 3, metric, ..connected(to, ETH0) }
}

/// The routes that Linux makes when an interface gets this address (`fib_add_ifaddr`, `addrconf_prefix_route`).
fn routes_of(interface: &Interface, address: &Address) -> Vec<Route> {
    let index = interface.index;
    let mut routes = Vec::new();
    match address.ip {
        IpAddr::V4(ip) => {
            let network = Ipv4Addr::from(u32::from(ip) & mask(address.prefix));
            let source = Some(address.ip);
            let local = |to: Ipv4Addr, prefix| Route {
                prefix,
                kind: RouteKind::Local,
                table: 255,
                scope: Scope::Host,
                source,
                ..connected(to.into(), index)
            };
            if interface.is_loopback() {
                routes.push(local(network, address.prefix));
            } else {
                routes.push(Route {
                    prefix: address.prefix,
                    scope: Scope::Link,
                    source,
                    ..connected(network.into(), index)
                });
            }
            routes.push(local(ip, 32));
            if let Some(broadcast) = address.broadcast() {
                routes.push(Route {
                    kind: RouteKind::Broadcast,
                    scope: Scope::Link,
                    ..local(broadcast, 32)
                });
            }
        }
        IpAddr::V6(ip) => {
            let local = Route {
                prefix: 128,
                kind: RouteKind::Local,
                table: 255,
                metric: 0,
                ..connected(address.ip, index)
            };
            if !interface.is_loopback() {
                let s = ip.segments();
                let network = Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0);
                let prefix = address.prefix;
                routes.push(Route { prefix, ..connected(network.into(), index) });
                routes.push(Route { kind: RouteKind::Anycast, to: network.into(), ..local });
            }
            routes.push(local);
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
        Ipv4Addr::new(a, b, c, d).into()
    }

    #[test]
    fn a_box_alone_has_loopback_and_nothing_else() {
        let net = Interfaces::default();
        assert_eq!(net.all().len(), 1);
        assert!(net.is_local(v4(127, 3, 2, 1)));
        assert!(!net.is_local(ETH0_V4.into()));
        let path = net.route(v4(127, 3, 2, 1), 0).unwrap();
        assert_eq!((path.index, path.source, path.kind), (LO, v4(127, 0, 0, 1), RouteKind::Local));
        assert_eq!(net.route(v4(8, 8, 8, 8), 0), Err(Errno::ENETUNREACH));
        assert_eq!(net.route(v4(224, 0, 0, 5), 0), Err(Errno::ENETUNREACH));
        assert_eq!(net.route(v4(224, 0, 0, 5), LO).unwrap().kind, RouteKind::Multicast);
        assert_eq!(net.route(v4(255, 255, 255, 255), 0), Err(Errno::ENETUNREACH));
        let all = net.route(v4(127, 255, 255, 255), 0).unwrap();
        assert_eq!((all.index, all.kind), (LO, RouteKind::Broadcast));
        let v6 = net.route("2001:db8::1".parse().unwrap(), 0);
        assert_eq!(v6, Err(Errno::ENETUNREACH));
        assert_eq!(net.route("::1".parse().unwrap(), 0).unwrap().kind, RouteKind::Local);
    }

    #[test]
    fn a_box_with_a_way_out_routes_through_the_gateway() {
        let net = Interfaces::new(Some((true, false)));
        let path = net.route(v4(8, 8, 8, 8), 0).unwrap();
        assert_eq!((path.index, path.source), (ETH0, ETH0_V4.into()));
        assert_eq!(path.gateway, Some(GATEWAY_V4.into()));
        let own = net.route(ETH0_V4.into(), 0).unwrap();
        assert_eq!((own.index, own.source, own.kind), (LO, ETH0_V4.into(), RouteKind::Local));
        assert_eq!(net.route(v4(172, 17, 0, 9), 0).unwrap().gateway, None);
        assert_eq!(net.route(v4(172, 17, 255, 255), 0).unwrap().kind, RouteKind::Broadcast);
        assert_eq!(net.route("2001:db8::1".parse().unwrap(), 0), Err(Errno::ENETUNREACH));
        assert_eq!(net.route("fe80::1".parse().unwrap(), 0).unwrap().index, ETH0);
        let both = Interfaces::new(Some((true, true)));
        assert_eq!(
            both.route("2001:db8::1".parse().unwrap(), 0).unwrap().source,
            IpAddr::V6(ETH0_V6)
        );
        let published = Interfaces::new(Some((false, false)));
        assert_eq!(published.route(v4(8, 8, 8, 8), 0), Err(Errno::ENETUNREACH));
        assert!(published.is_local(ETH0_V4.into()));
    }

    #[test]
    fn groups_count_their_members() {
        let mut net = Interfaces::default();
        let group = v4(239, 1, 2, 3);
        assert_eq!(net.join(LO, v4(10, 0, 0, 1)), Err(Errno::EINVAL));
        assert_eq!(net.join(7, group), Err(Errno::ENODEV));
        net.join(LO, group).unwrap();
        net.join(LO, group).unwrap();
        net.leave(LO, group);
        assert_eq!(net.groups(LO).find(|(g, _)| *g == group), Some((group, 1)));
        net.leave(LO, group);
        net.leave(LO, group);
        assert_eq!(net.groups(LO).find(|(g, _)| *g == group), None);
    }

    #[test]
    fn loopback_has_the_routes_of_linux() {
        // `ip route show table all` in a fresh network namespace with lo up.
        let net = Interfaces::default();
        let shown: Vec<_> =
            net.routes().iter().map(|r| (r.to, r.prefix, r.kind, r.scope)).collect();
        assert_eq!(
            shown,
            [
                (v4(127, 0, 0, 0), 8, RouteKind::Local, Scope::Host),
                (v4(127, 0, 0, 1), 32, RouteKind::Local, Scope::Host),
                (v4(127, 255, 255, 255), 32, RouteKind::Broadcast, Scope::Link),
                (Ipv6Addr::LOCALHOST.into(), 128, RouteKind::Local, Scope::Universe),
            ]
        );
    }
}
