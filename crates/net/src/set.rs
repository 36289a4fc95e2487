//! setsockopt(2) and getsockopt(2) of internet sockets, but for what all families share (ip(7), ipv6(7), tcp(7), udp(7),
//! raw(7)).

use crate::address::Family;
use crate::info;
use crate::net::Net;
use crate::options::OptionValue;
use crate::socket::{Kind, Socket, SocketId, State};
use crate::values::{self, Need};
use abi::Errno;
use abi::inet::*;
use abi::socket::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Congestion controls, as a kernel without modules lists them.
pub const CONGESTION: [&str; 2] = ["reno", "cubic"];
/// Most groups of one socket (`igmp_max_memberships`).
const GROUPS_MAX: usize = 20;
/// Smallest and largest TCP_MAXSEG.
const SEGMENT: std::ops::RangeInclusive<i32> = 88..=32767;
/// TCP_LINGER2 at first and at most, seconds (`tcp_fin_timeout`, `TCP_FIN_TIMEOUT_MAX`).
const LINGER2: i32 = 60;
const LINGER2_MAX: i32 = 120;
/// Most bytes of IP options.
const IP_OPTIONS_MAX: usize = 40;
/// Bytes of `struct group_req`: index, padding, `sockaddr_storage`.
const GROUP_REQ: usize = 136;

/// Capabilities of who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Privilege {
    /// CAP_NET_ADMIN.
    pub admin: bool,
    /// CAP_NET_RAW.
    pub raw: bool,
}

impl Net {
    /// setsockopt(2). `None`: an option of level SOL_SOCKET that is the same for all families.
    pub fn set_option(
        &mut self,
        id: SocketId,
        level: u32,
        option: u32,
        value: &OptionValue,
        who: Privilege,
    ) -> Option<Result<(), Errno>> {
        if level == SOL_SOCKET {
            return match option {
                SO_BINDTODEVICE | SO_BINDTOIFINDEX => Some(self.set_device(id, option, value, who)),
                _ => None,
            };
        }
        Some(self.set_at_level(id, level, option, value, who))
    }

    fn set_at_level(
        &mut self,
        id: SocketId,
        level: u32,
        option: u32,
        value: &OptionValue,
        who: Privilege,
    ) -> Result<(), Errno> {
        let socket = self.at(id)?;
        let (family, kind) = (socket.family, socket.kind);
        match (level, kind) {
            (IPPROTO_TCP, Kind::Tcp) => self.set_tcp(id, option, value, who),
            (IPPROTO_UDPLITE, Kind::Udp) if self.at(id)?.protocol == IPPROTO_UDPLITE as u8 => {
                // Eight bytes is the header; 0 stands for all.
                let bytes = match value.int()? {
                    0 => 0,
                    bytes => bytes.clamp(8, 65535),
                };
                set_number(self.at_mut(id)?, level, option, bytes, who)
            }
            (IPPROTO_UDP, Kind::Udp) if option == UDP_ENCAP => match value.int()? {
                0 => Ok(()),
                _ => Err(Errno::ENOPROTOOPT),
            },
            (IPPROTO_UDP, Kind::Udp) => {
                set_number(self.at_mut(id)?, level, option, value.int()?, who)
            }
            (SOL_RAW, Kind::Raw) => self.set_raw(id, option, value),
            (IPPROTO_ICMPV6, Kind::Raw) if family == Family::V6 => {
                let words = value.record(value.len.min(32))?.to_vec();
                let filter = &mut self.at_mut(id)?.datagrams.filter;
                for (word, bytes) in filter.iter_mut().zip(words.chunks_exact(4)) {
                    *word = bytes.try_into().map_or(0, u32::from_le_bytes);
                }
                Ok(())
            }
            (IPPROTO_IP, _) if family == Family::V4 || kind != Kind::Raw => {
                self.set_ip(id, option, value, who)
            }
            (IPPROTO_IPV6, _) if family == Family::V6 => self.set_ipv6(id, option, value, who),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_device(
        &mut self,
        id: SocketId,
        option: u32,
        value: &OptionValue,
        who: Privilege,
    ) -> Result<(), Errno> {
        let index = if option == SO_BINDTOIFINDEX {
            let index = value.int()?;
            u32::try_from(index).map_err(|_| Errno::EINVAL)?
        } else {
            let bytes = value.whole()?;
            let name = bytes.get(..bytes.len().min(15)).unwrap_or(&[]);
            let name = name.split(|b| *b == 0).next().unwrap_or(&[]);
            match name {
                [] => 0,
                name => self.interfaces.by_name(name).ok_or(Errno::ENODEV)?.index,
            }
        };
        let socket = self.at(id)?;
        if socket.options.borrow().device != 0 && !who.raw {
            return Err(Errno::EPERM);
        }
        socket.options.borrow_mut().device = index;
        Ok(())
    }

    fn set_tcp(
        &mut self,
        id: SocketId,
        option: u32,
        value: &OptionValue,
        who: Privilege,
    ) -> Result<(), Errno> {
        if option == TCP_CONGESTION {
            if value.len < 1 {
                return Err(Errno::EINVAL);
            }
            let bytes = value.whole()?;
            let name = bytes.split(|b| *b == 0).next().unwrap_or(&[]);
            let known = CONGESTION.iter().find(|known| known.as_bytes() == name);
            self.at_mut(id)?.tcp.congestion = known.ok_or(Errno::ENOENT)?;
            return Ok(());
        }
        if option == TCP_ULP {
            value.record(1)?;
            return Err(Errno::ENOENT);
        }
        let int = value.int()?;
        let socket = self.at_mut(id)?;
        let state = socket.tcp.state;
        match option {
            TCP_MAXSEG if int != 0 && !SEGMENT.contains(&int) => Err(Errno::EINVAL),
            TCP_MAXSEG => {
                socket.tcp.max_segment = int as u32;
                Ok(())
            }
            TCP_QUICKACK => {
                socket.tcp.quick_ack = int != 0;
                Ok(())
            }
            TCP_LINGER2 => {
                socket.tcp.linger2 = match int {
                    ..0 => -1,
                    0 => LINGER2,
                    _ => int.min(LINGER2_MAX),
                };
                Ok(())
            }
            TCP_DEFER_ACCEPT => {
                socket.tcp.defer = u32::try_from(int).map_or(0, info::deferred_seconds);
                Ok(())
            }
            TCP_WINDOW_CLAMP if int == 0 && state != State::Close => Err(Errno::EINVAL),
            TCP_WINDOW_CLAMP => {
                socket.tcp.clamp = if int == 0 { 0 } else { int.max(1152) as u32 };
                Ok(())
            }
            TCP_FASTOPEN if int < 0 || !matches!(state, State::Close | State::Listen) => {
                Err(Errno::EINVAL)
            }
            TCP_FASTOPEN => {
                let int = int.min(i32::try_from(self.max_backlog).unwrap_or(i32::MAX));
                set_number(self.at_mut(id)?, IPPROTO_TCP, option, int, who)
            }
            TCP_FASTOPEN_CONNECT if !(0..=1).contains(&int) => Err(Errno::EINVAL),
            TCP_FASTOPEN_CONNECT if state != State::Close => Err(Errno::EINVAL),
            TCP_FASTOPEN_NO_COOKIE if !matches!(state, State::Close | State::Listen) => {
                Err(Errno::EINVAL)
            }
            TCP_REPAIR if !who.admin => Err(Errno::EPERM),
            TCP_THIN_DUPACK if !(0..=1).contains(&int) => Err(Errno::EINVAL),
            TCP_THIN_DUPACK => Ok(()),
            TCP_TIMESTAMP if !who.admin => Err(Errno::EPERM),
            TCP_USER_TIMEOUT | TCP_KEEPIDLE | TCP_KEEPINTVL | TCP_KEEPCNT | TCP_SYNCNT
                if int < 0 =>
            {
                Err(Errno::EINVAL)
            }
            _ => set_number(socket, IPPROTO_TCP, option, int, who),
        }
    }

    fn set_raw(&mut self, id: SocketId, option: u32, value: &OptionValue) -> Result<(), Errno> {
        let socket = self.at_mut(id)?;
        if option != ICMP_FILTER {
            return Err(Errno::ENOPROTOOPT);
        }
        if u32::from(socket.protocol) != IPPROTO_ICMP {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut word = [0; 4];
        let bytes = value.record(value.len.min(4))?;
        word[..bytes.len()].copy_from_slice(bytes);
        socket.datagrams.filter[0] = u32::from_le_bytes(word);
        Ok(())
    }

    fn set_ip(
        &mut self,
        id: SocketId,
        option: u32,
        value: &OptionValue,
        who: Privilege,
    ) -> Result<(), Errno> {
        match option {
            IP_MULTICAST_IF => return self.set_multicast_if(id, value),
            IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP => {
                let bytes = value.record(8)?;
                let group = Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
                let address = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
                let index = match value.record(12) {
                    Ok(record) => {
                        u32::from_le_bytes([record[8], record[9], record[10], record[11]])
                    }
                    Err(_) => 0,
                };
                let index = self.group_interface(group, address, index)?;
                return self.change_group(id, index, group.into(), option == IP_ADD_MEMBERSHIP);
            }
            MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP => {
                return self.change_group_request(id, value, option == MCAST_JOIN_GROUP);
            }
            IP_ADD_SOURCE_MEMBERSHIP | IP_DROP_SOURCE_MEMBERSHIP => {
                return Err(Errno::EADDRNOTAVAIL);
            }
            IP_OPTIONS => {
                let options = ip_options(value.record(value.len.min(IP_OPTIONS_MAX + 1))?)?;
                self.at_mut(id)?.ip_options = options;
                return Ok(());
            }
            SO_ORIGINAL_DST => return Err(Errno::ENOPROTOOPT),
            _ => {}
        }
        // An int or, if it is shorter, a byte (`ip_setsockopt`).
        let int = match value.len {
            0 => 0,
            1..=3 => i32::from(value.record(1)?[0]),
            _ => value.int()?,
        };
        let socket = self.at_mut(id)?;
        match option {
            IP_HDRINCL if socket.kind != Kind::Raw => Err(Errno::ENOPROTOOPT),
            IP_HDRINCL => {
                socket.datagrams.own_header = int != 0;
                Ok(())
            }
            IP_NODEFRAG if socket.kind != Kind::Raw => Err(Errno::ENOPROTOOPT),
            IP_NODEFRAG => Ok(()),
            IP_TTL if int != -1 && !(1..=255).contains(&int) || value.len == 0 => {
                Err(Errno::EINVAL)
            }
            IP_MULTICAST_TTL | IP_MULTICAST_LOOP if value.len == 0 => Err(Errno::EINVAL),
            IP_MULTICAST_TTL if socket.kind == Kind::Tcp => Err(Errno::EINVAL),
            IP_TOS => {
                // TCP keeps the bits of ECN to itself (`__ip_sock_set_tos`).
                let ecn = if socket.kind == Kind::Tcp { 3 } else { 0 };
                let old = socket.values.get(IPPROTO_IP, IP_TOS);
                let tos = int & 0xff & !ecn | old & ecn;
                socket.options.borrow_mut().priority = priority_of(tos);
                set_number(socket, IPPROTO_IP, IP_TOS, tos, who)
            }
            IP_UNICAST_IF => {
                let index = u32::from_be(int as u32);
                if value.len != 4 {
                    return Err(Errno::EINVAL);
                }
                if index != 0 && self.interfaces.by_index(index).is_none() {
                    return Err(Errno::EADDRNOTAVAIL);
                }
                self.at_mut(id)?.unicast_if = index;
                Ok(())
            }
            _ => set_number(socket, IPPROTO_IP, option, int, who),
        }
    }

    fn set_ipv6(
        &mut self,
        id: SocketId,
        option: u32,
        value: &OptionValue,
        who: Privilege,
    ) -> Result<(), Errno> {
        match option {
            IPV6_ADD_MEMBERSHIP | IPV6_DROP_MEMBERSHIP => {
                let bytes = value.record(20)?;
                let group: [u8; 16] = bytes[..16].try_into().map_err(|_| Errno::EINVAL)?;
                let index = u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
                if self.at(id)?.kind == Kind::Tcp {
                    return Err(Errno::ENOPROTOOPT);
                }
                let group = Ipv6Addr::from(group);
                let index = match index {
                    0 => self.interfaces.route(group.into(), 0).map_err(|_| Errno::ENODEV)?.index,
                    index => index,
                };
                return self.change_group(id, index, group.into(), option == IPV6_ADD_MEMBERSHIP);
            }
            MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP => {
                return self.change_group_request(id, value, option == MCAST_JOIN_GROUP);
            }
            IPV6_JOIN_ANYCAST => return Err(Errno::EPERM),
            _ => {}
        }
        let int = value.int()?;
        let socket = self.at_mut(id)?;
        match option {
            IPV6_V6ONLY if socket.local.port() != 0 => Err(Errno::EINVAL),
            IPV6_MULTICAST_HOPS | IPV6_MULTICAST_LOOP | IPV6_MULTICAST_IF
                if socket.kind == Kind::Tcp && option != IPV6_MULTICAST_LOOP =>
            {
                Err(Errno::ENOPROTOOPT)
            }
            IPV6_MULTICAST_IF => {
                let index = u32::try_from(int).map_err(|_| Errno::ENODEV)?;
                if index != 0 && self.interfaces.by_index(index).is_none() {
                    return Err(Errno::ENODEV);
                }
                self.at_mut(id)?.multicast_if = (index, None);
                Ok(())
            }
            IPV6_UNICAST_IF => {
                let index = u32::from_be(int as u32);
                if index != 0 && self.interfaces.by_index(index).is_none() {
                    return Err(Errno::EADDRNOTAVAIL);
                }
                self.at_mut(id)?.unicast_if = index;
                Ok(())
            }
            IPV6_ADDR_PREFERENCES => {
                let preferences = preferences(int)?;
                set_number(socket, IPPROTO_IPV6, option, preferences, who)
            }
            IPV6_MTU if int != 0 && int < 1280 => Err(Errno::EINVAL),
            IPV6_MTU => Ok(()),
            IPV6_ADDRFORM => self.change_family(id, int),
            IPV6_CHECKSUM if socket.kind != Kind::Raw => Err(Errno::ENOPROTOOPT),
            IPV6_CHECKSUM => Err(Errno::EINVAL),
            _ => set_number(socket, IPPROTO_IPV6, option, int, who),
        }
    }

    /// IPV6_ADDRFORM: an IPv6 socket connected to an IPv4 peer becomes an IPv4 socket.
    fn change_family(&mut self, id: SocketId, family: i32) -> Result<(), Errno> {
        let socket = self.at_mut(id)?;
        if family != i32::from(AF_INET) {
            return Err(Errno::EINVAL);
        }
        if socket.kind == Kind::Raw {
            return Err(Errno::ENOPROTOOPT);
        }
        match socket.peer {
            None => Err(Errno::ENOTCONN),
            Some(_) if socket.kind == Kind::Tcp && socket.tcp.state != State::Established => {
                Err(Errno::ENOTCONN)
            }
            Some(peer) if peer.is_ipv6() => Err(Errno::EADDRNOTAVAIL),
            Some(_) => {
                socket.family = Family::V4;
                Ok(())
            }
        }
    }

    fn set_multicast_if(&mut self, id: SocketId, value: &OptionValue) -> Result<(), Errno> {
        if self.at(id)?.kind == Kind::Tcp || value.len < 4 {
            return Err(Errno::EINVAL);
        }
        let (address, index) = match value.len {
            0..8 => (value.record(4)?, 0),
            8..12 => (&value.record(8)?[4..8], 0),
            _ => {
                let r = value.record(12)?;
                (&r[4..8], u32::from_le_bytes([r[8], r[9], r[10], r[11]]))
            }
        };
        let address = Ipv4Addr::new(address[0], address[1], address[2], address[3]);
        let choice = match (index, address.is_unspecified()) {
            (0, true) => (0, None),
            (0, false) => {
                let own = self.interfaces.of_address(address.into());
                (own.ok_or(Errno::EADDRNOTAVAIL)?.index, Some(address.into()))
            }
            (index, _) => {
                self.interfaces.by_index(index).ok_or(Errno::EADDRNOTAVAIL)?;
                (index, (!address.is_unspecified()).then_some(address.into()))
            }
        };
        self.at_mut(id)?.multicast_if = choice;
        Ok(())
    }

    /// The interface for a membership (`ip_mc_find_dev`): by index, by its address, or by the route to the group.
    fn group_interface(
        &self,
        group: Ipv4Addr,
        address: Ipv4Addr,
        index: u32,
    ) -> Result<u32, Errno> {
        if index != 0 {
            return Ok(self.interfaces.by_index(index).ok_or(Errno::ENODEV)?.index);
        }
        if !address.is_unspecified() {
            return Ok(self.interfaces.of_address(address.into()).ok_or(Errno::ENODEV)?.index);
        }
        Ok(self.interfaces.route(group.into(), 0).map_err(|_| Errno::ENODEV)?.index)
    }

    fn change_group_request(
        &mut self,
        id: SocketId,
        value: &OptionValue,
        join: bool,
    ) -> Result<(), Errno> {
        let record = value.record(GROUP_REQ)?;
        let index = u32::from_le_bytes([record[0], record[1], record[2], record[3]]);
        let address = &record[8..36];
        let family = self.at(id)?.family;
        let group = crate::address::parse(address, family, false).or_else(|_| {
            crate::address::parse(address, Family::V4, false).map_err(|_| Errno::EINVAL)
        })?;
        let index = match (index, group.ip()) {
            (0, IpAddr::V4(group)) => self.group_interface(group, Ipv4Addr::UNSPECIFIED, 0)?,
            (0, ip) => self.interfaces.route(ip, 0).map_err(|_| Errno::ENODEV)?.index,
            (index, _) => index,
        };
        self.change_group(id, index, group.ip(), join)
    }

    fn change_group(
        &mut self,
        id: SocketId,
        index: u32,
        group: IpAddr,
        join: bool,
    ) -> Result<(), Errno> {
        let groups = &self.at(id)?.groups;
        let member = groups.contains(&(index, group));
        if !join {
            if !member {
                return Err(Errno::EADDRNOTAVAIL);
            }
            self.at_mut(id)?.groups.remove(&(index, group));
            self.interfaces.leave(index, group);
            return Ok(());
        }
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        if member {
            return Err(Errno::EADDRINUSE);
        }
        if groups.len() >= GROUPS_MAX {
            return Err(Errno::ENOBUFS);
        }
        self.interfaces.join(index, group)?;
        self.at_mut(id)?.groups.insert((index, group));
        Ok(())
    }

    /// getsockopt(2): the whole value for a buffer of `room` bytes. `None`: an option of level SOL_SOCKET that is the same
    /// for all families.
    pub fn get_option(
        &self,
        id: SocketId,
        level: u32,
        option: u32,
        room: usize,
    ) -> Option<Result<Vec<u8>, Errno>> {
        let socket = match self.at(id) {
            Ok(socket) => socket,
            Err(e) => return Some(Err(e)),
        };
        let (family, kind) = (socket.family, socket.kind);
        Some(match (level, kind) {
            (SOL_SOCKET, _) if option == SO_BINDTODEVICE => self.device_name(socket, room),
            (SOL_SOCKET, _) => return None,
            (IPPROTO_TCP, Kind::Tcp) => self.get_tcp(id, socket, option),
            (IPPROTO_UDPLITE, Kind::Udp) if socket.protocol == IPPROTO_UDPLITE as u8 => {
                get_number(socket, level, option)
            }
            (IPPROTO_UDP, Kind::Udp) if option == UDP_ENCAP => Ok(vec![0; 4]),
            (IPPROTO_UDP, Kind::Udp) => get_number(socket, level, option),
            (SOL_RAW, Kind::Raw) if option == ICMP_FILTER => {
                match u32::from(socket.protocol) == IPPROTO_ICMP {
                    true => Ok(socket.datagrams.filter[0].to_le_bytes().to_vec()),
                    false => Err(Errno::EOPNOTSUPP),
                }
            }
            (IPPROTO_ICMPV6, Kind::Raw) if option == ICMPV6_FILTER => {
                Ok(socket.datagrams.filter.iter().flat_map(|w| w.to_le_bytes()).collect())
            }
            (IPPROTO_IP, _) if family == Family::V4 || kind != Kind::Raw => {
                self.get_ip(socket, option, room)
            }
            (IPPROTO_IPV6, _) if family == Family::V6 => self.get_ipv6(socket, option),
            // `do_ip_getsockopt` and `do_ipv6_getsockopt` disagree.
            _ if family == Family::V4 => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOPROTOOPT),
        })
    }

    fn device_name(&self, socket: &Socket, room: usize) -> Result<Vec<u8>, Errno> {
        let device = socket.options.borrow().device;
        let Some(interface) = self.interfaces.by_index(device) else { return Ok(Vec::new()) };
        if room < 16 {
            return Err(Errno::EINVAL);
        }
        let mut name = interface.name.as_bytes().to_vec();
        name.push(0);
        Ok(name)
    }

    fn get_tcp(&self, id: SocketId, socket: &Socket, option: u32) -> Result<Vec<u8>, Errno> {
        let tcp = &socket.tcp;
        let int = |value: u32| Ok(value.to_le_bytes().to_vec());
        match option {
            TCP_MAXSEG => int(info::segment(socket)),
            TCP_QUICKACK => int(u32::from(tcp.quick_ack)),
            TCP_LINGER2 => int(tcp.linger2 as u32),
            TCP_DEFER_ACCEPT => int(tcp.defer),
            TCP_WINDOW_CLAMP => int(tcp.clamp),
            TCP_CONGESTION => {
                let mut name = tcp.congestion.as_bytes().to_vec();
                name.resize(16, 0);
                Ok(name)
            }
            TCP_INFO => Ok(info::tcp_info(self, id, socket)),
            TCP_ULP => Ok(Vec::new()),
            TCP_THIN_DUPACK | TCP_TIMESTAMP | TCP_TX_DELAY => int(0),
            TCP_REPAIR => int(0),
            _ => get_number(socket, IPPROTO_TCP, option),
        }
    }

    fn get_ip(&self, socket: &Socket, option: u32, room: usize) -> Result<Vec<u8>, Errno> {
        let value = match option {
            IP_MULTICAST_IF => {
                let address = match socket.multicast_if.1 {
                    Some(IpAddr::V4(address)) => address,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                return Ok(address.octets().to_vec());
            }
            IP_OPTIONS => return Ok(socket.ip_options.clone()),
            // As netfilter answers for a connection that it has not changed.
            SO_ORIGINAL_DST if room < SOCKADDR_IN => return Err(Errno::EINVAL),
            SO_ORIGINAL_DST => return Err(Errno::ENOENT),
            IP_HDRINCL => i32::from(socket.datagrams.own_header),
            IP_NODEFRAG => 0,
            IP_TTL => match socket.values.get(IPPROTO_IP, IP_TTL) {
                -1 => 64,
                ttl => ttl,
            },
            IP_UNICAST_IF => socket.unicast_if.to_be() as i32,
            IP_MTU => {
                let peer = socket.peer.ok_or(Errno::ENOTCONN)?;
                self.mtu_to(peer.ip())?
            }
            IP_PROTOCOL => i32::from(socket.protocol),
            _ => {
                let bytes = get_number(socket, IPPROTO_IP, option)?;
                bytes.as_slice().try_into().map_or(0, i32::from_le_bytes)
            }
        };
        // As one byte where no int fits (`do_ip_getsockopt`).
        if (1..4).contains(&room) && (0..=255).contains(&value) {
            return Ok(vec![value as u8]);
        }
        Ok(value.to_le_bytes().to_vec())
    }

    fn get_ipv6(&self, socket: &Socket, option: u32) -> Result<Vec<u8>, Errno> {
        let value = match option {
            IPV6_MULTICAST_IF => socket.multicast_if.0 as i32,
            IPV6_UNICAST_IF => socket.unicast_if.to_be() as i32,
            IPV6_UNICAST_HOPS => match socket.values.get(IPPROTO_IPV6, option) {
                -1 => 64,
                hops => hops,
            },
            IPV6_MULTICAST_HOPS => match socket.values.get(IPPROTO_IPV6, option) {
                -1 => 1,
                hops => hops,
            },
            IPV6_MTU => self.mtu_to(socket.peer.ok_or(Errno::ENOTCONN)?.ip())?,
            IPV6_ADDRFORM => match (socket.kind, socket.peer) {
                (Kind::Raw, _) => return Err(Errno::ENOPROTOOPT),
                (_, None) => return Err(Errno::ENOTCONN),
                _ => i32::from(socket.family.number()),
            },
            IPV6_CHECKSUM if socket.kind == Kind::Raw => -1,
            _ => return get_number(socket, IPPROTO_IPV6, option),
        };
        Ok(value.to_le_bytes().to_vec())
    }

    fn mtu_to(&self, ip: IpAddr) -> Result<i32, Errno> {
        let path = self.interfaces.route(ip, 0).map_err(|_| Errno::ENOTCONN)?;
        let mtu = self.interfaces.by_index(path.index).map_or(1500, |i| i.mtu as i32);
        // No IPv4 packet is longer.
        Ok(if ip.is_ipv4() { mtu.min(65535) } else { mtu })
    }
}

fn set_number(
    socket: &mut Socket,
    level: u32,
    option: u32,
    value: i32,
    who: Privilege,
) -> Result<(), Errno> {
    let row = values::row(level, option).ok_or(Errno::ENOPROTOOPT)?;
    let allowed = match row.need {
        Need::Nobody => true,
        Need::Raw => value == 0 || who.raw || who.admin,
        Need::Admin => value == 0 || who.admin,
    };
    if !allowed {
        return Err(Errno::EPERM);
    }
    socket.values.set(row, value)
}

fn get_number(socket: &Socket, level: u32, option: u32) -> Result<Vec<u8>, Errno> {
    values::row(level, option).ok_or(Errno::ENOPROTOOPT)?;
    Ok(socket.values.get(level, option).to_le_bytes().to_vec())
}

/// `rt_tos2priority`: the priority of a packet by its type of service.
fn priority_of(tos: i32) -> u32 {
    const TABLE: [u32; 16] = [0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4];
    TABLE[(tos >> 1 & 15) as usize]
}

/// IPV6_ADDR_PREFERENCES (RFC 5014) as it is shown: temporary or public, care-of or home address.
fn preferences(asked: i32) -> Result<i32, Errno> {
    let one_of = |mask: i32, default: i32| match asked & mask {
        0 => Ok(default),
        bit if bit.count_ones() == 1 => Ok(bit),
        _ => Err(Errno::EINVAL),
    };
    one_of(0x808, 0)?;
    Ok(one_of(0x103, 0x100)? | one_of(0x404, 0x400)?)
}

/// Options of an IPv4 header: only "end" and "no operation" mean nothing to a router, and are taken.
fn ip_options(bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    if bytes.len() > IP_OPTIONS_MAX {
        return Err(Errno::EINVAL);
    }
    let mut out = vec![0; bytes.len().next_multiple_of(4)];
    for (place, byte) in out.iter_mut().zip(bytes) {
        match byte {
            0 => break,
            1 => *place = 1,
            _ => return Err(Errno::EINVAL),
        }
    }
    Ok(out)
}
