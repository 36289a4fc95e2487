//! bind(2) and the ports that are given to those who name none (`inet_bind`, `inet_csk_bind_conflict`,
//! `udp_lib_get_port`).

use crate::address::{self, Family};
use crate::net::Net;
use crate::socket::{Kind, Socket, SocketId, State};
use abi::Errno;
use abi::inet::{IP_FREEBIND, IP_TRANSPARENT, IPPROTO_IP, IPPROTO_IPV6, IPV6_FREEBIND};
use abi::socket::AF_UNSPEC;
use std::net::{IpAddr, SocketAddr};

impl Net {
    /// bind(2). `privileged`: CAP_NET_BIND_SERVICE.
    pub fn bind(&mut self, id: SocketId, bytes: &[u8], privileged: bool) -> Result<(), Errno> {
        let socket = self.at(id)?;
        let family = socket.family;
        let mut to = address::parse(bytes, family, true)?;
        if family == Family::V4
            && address::family_of(bytes)? == AF_UNSPEC
            && !to.ip().is_unspecified()
        {
            return Err(Errno::EAFNOSUPPORT);
        }
        if socket.v6_only() && to.ip().is_ipv4() {
            return Err(Errno::EINVAL);
        }
        self.check_address(socket, to)?;
        if socket.kind == Kind::Raw {
            to.set_port(0);
            let socket = self.at_mut(id)?;
            socket.local = to;
            socket.bound.0 = !to.ip().is_unspecified();
            return Ok(());
        }
        if to.port() != 0 && to.port() < self.privileged_below && !privileged {
            return Err(Errno::EACCES);
        }
        if socket.tcp.state != State::Close || socket.local.port() != 0 {
            return Err(Errno::EINVAL);
        }
        let port = match to.port() {
            0 => self.free_port(id, to.ip())?,
            port if self.is_taken(id, to.ip(), port, false)? => return Err(Errno::EADDRINUSE),
            port => port,
        };
        let chosen = (!to.ip().is_unspecified(), to.port() != 0);
        to.set_port(port);
        self.give_address(id, to, chosen)
    }

    fn check_address(&self, socket: &Socket, to: SocketAddr) -> Result<(), Errno> {
        let ip = to.ip();
        let anything = socket.values.is_on(IPPROTO_IP, IP_FREEBIND)
            || socket.values.is_on(IPPROTO_IP, IP_TRANSPARENT)
            || socket.values.is_on(IPPROTO_IPV6, IPV6_FREEBIND);
        let broadcast = matches!(ip, IpAddr::V4(ip) if self.interfaces.is_broadcast(ip));
        if let SocketAddr::V6(v6) = to
            && v6.ip().segments()[0] & 0xffc0 == 0xfe80
            && v6.scope_id() == 0
            && socket.options.borrow().device == 0
        {
            return Err(Errno::EINVAL);
        }
        if ip.is_unspecified() || ip.is_multicast() || broadcast || anything || self.is_local(ip) {
            return Ok(());
        }
        Err(Errno::EADDRNOTAVAIL)
    }

    /// Gives the socket an address that is free.
    pub(crate) fn give_address(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        chosen: (bool, bool),
    ) -> Result<(), Errno> {
        self.release_port(id);
        let socket = self.at_mut(id)?;
        socket.local = local;
        socket.bound = chosen;
        self.hold_port(id);
        Ok(())
    }

    /// A port for a socket that has none, EAGAIN (TCP: EADDRNOTAVAIL) if all are taken.
    pub fn autobind(&mut self, id: SocketId) -> Result<(), Errno> {
        let socket = self.at(id)?;
        if socket.local.port() != 0 || socket.kind == Kind::Raw {
            return Ok(());
        }
        let (mut local, bound) = (socket.local, socket.bound);
        let port = self.free_port(id, local.ip()).map_err(|_| Errno::EAGAIN)?;
        local.set_port(port);
        self.give_address(id, local, (bound.0, false))
    }

    /// An unused port of the range; EADDRINUSE if there is none.
    fn free_port(&mut self, id: SocketId, ip: IpAddr) -> Result<u16, Errno> {
        let (low, high) = self.port_range;
        let count = u64::from(high.saturating_sub(low)) + 1;
        let start = self.random() % count;
        for step in 0..count {
            let port = low.saturating_add(((start + step) % count) as u16);
            if port != 0 && !self.is_taken(id, ip, port, true)? {
                return Ok(port);
            }
        }
        Err(Errno::EADDRINUSE)
    }

    /// Whether the socket cannot have `ip` and `port`. With `any_port` a port that others have counts as taken even where
    /// both could share it.
    fn is_taken(&self, id: SocketId, ip: IpAddr, port: u16, any_port: bool) -> Result<bool, Errno> {
        let own = self.at(id)?;
        let (address, port_shared) = own.reuse();
        let device = own.options.borrow().device;
        let asked = Asked { ip, v6_only: own.v6_only() };
        for (other_id, other) in self.on_port(own.kind, port) {
            if other_id == id || other.protocol != own.protocol {
                continue;
            }
            let other_device = other.options.borrow().device;
            if device != 0 && other_device != 0 && device != other_device {
                continue;
            }
            if !asked.overlaps(other) {
                continue;
            }
            let theirs = other.reuse();
            let listening = other.tcp.state == State::Listen;
            let shares_address = address && theirs.0 && !listening;
            let shares_port = port_shared && theirs.1 && own.uid == other.uid;
            if any_port || !(shares_address || shares_port) {
                return Ok(true);
            }
        }
        if own.kind != Kind::Tcp {
            return Ok(false);
        }
        let lingers = self.time_wait.iter().filter(|t| t.until > self.clock.0);
        Ok(lingers.filter(|t| t.local.port() == port).any(|t| {
            let same = ip.is_unspecified() || t.local.ip() == ip;
            same && (any_port || !(address && t.reuse.0 || port_shared && t.reuse.1))
        }))
    }

    /// Whether a socket that is to listen may: nobody else listens there, but for SO_REUSEPORT.
    pub(crate) fn may_listen(&self, id: SocketId) -> Result<bool, Errno> {
        let own = self.at(id)?;
        let (_, port_shared) = own.reuse();
        let port = own.local.port();
        let ids = self.listeners.get(&port).into_iter().flatten();
        Ok(!ids.filter(|other| **other != id).filter_map(|id| self.get(*id)).any(|other| {
            let shares = port_shared && other.reuse().1 && own.uid == other.uid;
            own.overlaps(other) && !shares
        }))
    }
}

/// An address that somebody asks for.
struct Asked {
    ip: IpAddr,
    v6_only: bool,
}

impl Asked {
    /// Whether some address would reach both (`inet_rcv_saddr_equal`).
    fn overlaps(&self, other: &Socket) -> bool {
        let theirs = other.local.ip();
        if self.ip == theirs {
            return true;
        }
        let covers = |wild: IpAddr, v6_only: bool, ip: IpAddr| {
            wild.is_unspecified() && (wild.is_ipv4() == ip.is_ipv4() || wild.is_ipv6() && !v6_only)
        };
        covers(self.ip, self.v6_only, theirs) || covers(theirs, other.v6_only(), self.ip)
    }
}
