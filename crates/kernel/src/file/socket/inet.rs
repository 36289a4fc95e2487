//! Internet sockets: TCP, UDP, ping and raw, IPv4 and IPv6, as thin rows over [`net::Net`] (ip(7), ipv6(7), tcp(7), udp(7),
//! raw(7), icmp(7)).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use abi::Errno;
use abi::inet::*;
use abi::socket::*;
use abi::tty::{FIONREAD, TIOCOUTQ};
use net::set::Privilege;
use net::{Family, Kind, Net, OptionValue, SocketId, SocketOptions, State, address, control};

use super::message::{Control, Incoming, Outgoing};
use super::ops::SocketOps;
use crate::fs::cx::cap;
use crate::fs::walk::PathCx;
use crate::fs::{Cx, Res};
use crate::wait::{WaitKey, WakeSink};

/// SO_SNDBUF and SO_RCVBUF of a new TCP socket (`net.ipv4.tcp_wmem`, `tcp_rmem`).
const TCP_SEND_BUFFER: u32 = 16384;
const TCP_RECEIVE_BUFFER: u32 = 131_072;

/// The network of the box, as a registry.
#[derive(Default)]
pub struct Network {
    net: RefCell<Net>,
    seeded: Cell<bool>,
}

impl Network {
    /// Works on the network and wakes whoever waits for what has changed.
    pub fn with<T>(&self, wakes: &WakeSink, work: impl FnOnce(&mut Net) -> T) -> T {
        let mut net = self.net.borrow_mut();
        let result = work(&mut net);
        let changed = net.take_changed();
        drop(net);
        if !changed.is_empty() {
            wakes.borrow_mut().extend(changed.into_iter().map(|id| WaitKey::network(id.0)));
        }
        result
    }

    /// Whether [`Network::pump`] has something to do without an event from outside.
    pub fn needs_pump(&self) -> bool {
        self.net.borrow().needs_pump()
    }

    /// Monotonic ns at which [`Network::pump`] has something to do.
    pub fn deadline(&self) -> Option<u64> {
        self.net.borrow().resolver.deadline()
    }

    /// The way out is gone, and another may come: [`Net::forget_outside`].
    pub fn forget_outside(&self, wakes: &WakeSink) {
        self.with(wakes, Net::forget_outside);
    }

    /// Forgets that random numbers were seeded: the next life of the box shall have its own.
    pub fn unseed(&self) {
        self.seeded.set(false);
    }

    /// What waits for somebody from elsewhere: the key that is woken, and the port.
    pub fn listeners(&self) -> Vec<(WaitKey, u16)> {
        let net = self.net.borrow();
        let waits = |socket: &net::Socket| match socket.kind {
            Kind::Tcp => listens(socket),
            Kind::Udp => socket.local.port() != 0 && socket.peer.is_none(),
            _ => false,
        };
        let listening = net.sockets().filter(|(_, socket)| waits(socket));
        listening.map(|(id, socket)| (WaitKey::network(id.0), socket.local.port())).collect()
    }

    /// TCP ports at which somebody listens, in order.
    pub fn listening_ports(&self) -> Vec<u16> {
        let net = self.net.borrow();
        let listening = net.sockets().filter(|(_, socket)| listens(socket));
        let mut ports: Vec<u16> = listening.map(|(_, socket)| socket.local.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Exchanges data with the outside, at `clock` (monotonic, realtime ns).
    pub fn pump(
        &self,
        wakes: &WakeSink,
        clock: (u64, u64),
        hostname: &[u8],
        outside: Option<&mut dyn net::Outside>,
    ) {
        self.with(wakes, |net| {
            net.clock = clock;
            let alone = !net.has_outside();
            net.pump(outside);
            if alone && net.has_outside() {
                let outer = net.interfaces.all().iter().filter(|i| !i.is_loopback());
                let own = outer.flat_map(|i| &i.addresses).map(|a| a.ip);
                let own =
                    own.filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.segments()[0] == 0xfe80));
                let own = own.collect();
                net.resolver.set_own(hostname, own);
            }
        });
    }

    /// As [`Network::with`], with the clocks set and random numbers seeded.
    pub(super) fn timed<T>(&self, cx: &mut Cx, work: impl FnOnce(&mut Net) -> T) -> T {
        let clock = (cx.monotonic(), cx.host().clock_realtime());
        let mut seed = [0; 8];
        if !self.seeded.replace(true) {
            cx.host().random(&mut seed);
        }
        self.with(&cx.shared.wakes.clone(), |net| {
            net.clock = clock;
            if seed != [0; 8] {
                net.seed(u64::from_le_bytes(seed));
            }
            work(net)
        })
    }
}

/// One socket.
pub struct InetSocket {
    /// Its number in [`Net`].
    pub id: SocketId,
    family: Cell<Family>,
    kind: Kind,
    protocol: u32,
    options: Rc<RefCell<SocketOptions>>,
    network: Rc<Network>,
    wakes: WakeSink,
}

/// Whether somebody can connect to it.
fn listens(socket: &net::Socket) -> bool {
    socket.kind == Kind::Tcp && socket.tcp.state == State::Listen
}

/// A socket of AF_INET.
pub fn create_v4(cx: &mut Cx, kind: u32, protocol: u32) -> Res<Rc<dyn SocketOps>> {
    create(cx, Family::V4, kind, protocol)
}

/// A socket of AF_INET6.
pub fn create_v6(cx: &mut Cx, kind: u32, protocol: u32) -> Res<Rc<dyn SocketOps>> {
    create(cx, Family::V6, kind, protocol)
}

/// `inet_create`, `inet6_create`.
fn create(cx: &mut Cx, family: Family, kind: u32, protocol: u32) -> Res<Rc<dyn SocketOps>> {
    if protocol >= IPPROTO_MAX {
        return Err(Errno::EINVAL);
    }
    let echo = if family == Family::V4 { IPPROTO_ICMP } else { IPPROTO_ICMPV6 };
    let network = cx.shared.registry::<Network>();
    let (kind, protocol) = match (kind, protocol) {
        (SOCK_STREAM, 0 | IPPROTO_TCP) => (Kind::Tcp, IPPROTO_TCP),
        (SOCK_DGRAM, 0 | IPPROTO_UDP) => (Kind::Udp, IPPROTO_UDP),
        (SOCK_DGRAM, IPPROTO_UDPLITE) => (Kind::Udp, IPPROTO_UDPLITE),
        (SOCK_DGRAM, number) if number == echo => {
            let (low, high) = network.net.borrow().ping_groups;
            let allowed = |gid: &u32| (low..=high).contains(gid);
            if !allowed(&cx.cred.gid) && !cx.cred.groups.iter().any(allowed) {
                return Err(Errno::EACCES);
            }
            (Kind::Ping, number)
        }
        (SOCK_STREAM | SOCK_DGRAM, _) | (SOCK_RAW, 0) => return Err(Errno::EPROTONOSUPPORT),
        (SOCK_RAW, _) if !cx.cred.capable(cap::NET_RAW) => return Err(Errno::EPERM),
        (SOCK_RAW, number) => (Kind::Raw, number),
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    let mut socket = net::Socket::new(family, kind, protocol as u8, cx.cred.uid);
    socket.datagrams.own_header = kind == Kind::Raw && protocol == IPPROTO_RAW;
    if kind == Kind::Tcp {
        let mut options = socket.options.borrow_mut();
        options.send_buffer = TCP_SEND_BUFFER;
        options.receive_buffer = TCP_RECEIVE_BUFFER;
        options.rehash = 1;
    }
    let id = network
        .timed(cx, |net| if net.is_full() { None } else { Some(net.add(socket)) })
        .ok_or(Errno::ENFILE)?;
    Ok(Rc::new(InetSocket::of(&network, &cx.shared.wakes, id)?))
}

impl InetSocket {
    /// The file side of socket `id`.
    fn of(network: &Rc<Network>, wakes: &WakeSink, id: SocketId) -> Res<InetSocket> {
        let net = network.net.borrow();
        let socket = net.at(id)?;
        Ok(InetSocket {
            id,
            family: Cell::new(socket.family),
            kind: socket.kind,
            protocol: u32::from(socket.protocol),
            options: socket.options.clone(),
            network: network.clone(),
            wakes: wakes.clone(),
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Net) -> T) -> T {
        self.network.with(&self.wakes, work)
    }

    fn hints(&self, cx: &Cx, message: &Outgoing) -> Res<net::Hints> {
        let raw = cx.cred.capable(cap::NET_RAW) || cx.cred.capable(cap::NET_ADMIN);
        let messages = message.control.iter().map(|c| (c.level, c.kind, c.data.as_slice()));
        control::hints(self.family.get(), self.kind, raw, messages)
    }

    fn receive_error(&self, buf: &mut [u8]) -> Res<Incoming> {
        let message = self.with(|net| net.receive_error(self.id))?;
        let len = message.data.len().min(buf.len());
        buf[..len].copy_from_slice(&message.data[..len]);
        let (level, kind, data) = control::told_error(&message);
        Ok(Incoming {
            len,
            full_len: message.data.len(),
            from: Some(address::encode(message.to, self.family.get())),
            control: vec![Control { level, kind, data }],
            flags: MSG_ERRQUEUE,
            ..Incoming::default()
        })
    }

    fn receive_datagram(&self, buf: &mut [u8], flags: u32) -> Res<Incoming> {
        let datagram = match self.with(|net| net.receive_datagram(self.id, flags)) {
            Err(Errno::ESHUTDOWN) => return Ok(Incoming::default()),
            result => result?,
        };
        let len = datagram.data.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram.data[..len]);
        let told = self.network.net.borrow().told(self.id, &datagram);
        let mut from = datagram.from;
        if self.kind != Kind::Udp {
            from.set_port(0);
        }
        Ok(Incoming {
            len,
            full_len: datagram.data.len(),
            from: Some(address::encode(from, self.family.get())),
            control: told
                .into_iter()
                .map(|(level, kind, data)| Control { level, kind, data })
                .collect(),
            ..Incoming::default()
        })
    }
}

impl SocketOps for InetSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn family(&self) -> u16 {
        self.family.get().number()
    }

    fn kind(&self) -> u32 {
        match self.kind {
            Kind::Tcp => SOCK_STREAM,
            Kind::Udp | Kind::Ping => SOCK_DGRAM,
            Kind::Raw => SOCK_RAW,
        }
    }

    fn protocol(&self) -> u32 {
        self.protocol
    }

    fn options(&self) -> &RefCell<SocketOptions> {
        &self.options
    }

    fn bind(&self, cx: &mut Cx, _at: &PathCx, address: &[u8]) -> Res<()> {
        let privileged = cx.cred.capable(cap::NET_BIND_SERVICE);
        self.network.timed(cx, |net| net.bind(self.id, address, privileged))
    }

    fn listen(&self, cx: &mut Cx, backlog: i32) -> Res<()> {
        self.network.timed(cx, |net| net.listen(self.id, backlog))
    }

    fn connect(
        &self,
        cx: &mut Cx,
        _at: &PathCx,
        address: &[u8],
        _keys: &mut Vec<WaitKey>,
    ) -> Res<()> {
        self.network.timed(cx, |net| match self.kind {
            Kind::Tcp => net.connect_stream(self.id, address),
            _ => net.connect_datagram(self.id, address),
        })
    }

    fn accept(&self, cx: &mut Cx) -> Res<Rc<dyn SocketOps>> {
        let id = self.network.timed(cx, |net| net.accept(self.id))?;
        let socket = InetSocket::of(&self.network, &self.wakes, id)?;
        socket.options.borrow_mut().cookie = cx.shared.unique();
        Ok(Rc::new(socket))
    }

    fn send(&self, cx: &mut Cx, message: &mut Outgoing) -> Res<usize> {
        let (data, to, flags) = (message.data, message.to, message.flags);
        let hints = match message.control {
            [] => net::Hints::default(),
            _ => self.hints(cx, message)?,
        };
        match self.kind {
            Kind::Tcp if flags & MSG_FASTOPEN != 0 => {
                let to = to.ok_or(Errno::EINVAL)?;
                match self.network.timed(cx, |net| net.connect_stream(self.id, to)) {
                    // The handshake inside a box is over by now: the second look says so.
                    Err(Errno::EINPROGRESS) => {
                        self.with(|net| net.connect_stream(self.id, to))?;
                    }
                    Err(Errno::EALREADY) => return Err(Errno::EALREADY),
                    Ok(()) | Err(Errno::EISCONN) => {}
                    Err(e) => return Err(e),
                }
                self.with(|net| net.send_stream(self.id, data, flags))
            }
            Kind::Tcp => self.with(|net| net.send_stream(self.id, data, flags)),
            Kind::Udp => {
                self.network.timed(cx, |net| net.send_datagram(self.id, data, to, flags, hints))
            }
            Kind::Ping => {
                self.network.timed(cx, |net| net.send_ping(self.id, data, to, flags, hints))
            }
            Kind::Raw => {
                self.network.timed(cx, |net| net.send_raw(self.id, data, to, flags, hints))
            }
        }
    }

    fn receive(&self, _cx: &mut Cx, buf: &mut [u8], flags: u32) -> Res<Incoming> {
        if flags & MSG_ERRQUEUE != 0 {
            return self.receive_error(buf);
        }
        if self.kind != Kind::Tcp {
            return self.receive_datagram(buf, flags);
        }
        let (len, flags) = self.with(|net| net.receive_stream(self.id, buf, flags))?;
        Ok(Incoming { len, full_len: len, flags, ..Incoming::default() })
    }

    fn pending(&self) -> usize {
        let net = self.network.net.borrow();
        let Some(socket) = net.get(self.id) else { return 0 };
        match self.kind {
            Kind::Tcp => net.readable_bytes(self.id).unwrap_or(0),
            _ => socket.datagrams.queue.front().map_or(0, |d| d.data.len()),
        }
    }

    fn shutdown(&self, cx: &mut Cx, how: u32) -> Res<()> {
        self.network.timed(cx, |net| match self.kind {
            Kind::Tcp => net.shutdown_stream(self.id, how),
            _ => net.shutdown_datagram(self.id, how),
        })
    }

    fn local(&self, _cx: &mut Cx) -> Res<Vec<u8>> {
        let net = self.network.net.borrow();
        let mut local = net.at(self.id)?.local;
        if self.kind == Kind::Raw {
            local.set_port(self.protocol as u16);
        }
        Ok(address::encode(local, self.family.get()))
    }

    fn remote(&self, _cx: &mut Cx) -> Res<Vec<u8>> {
        let net = self.network.net.borrow();
        let socket = net.at(self.id)?;
        let closed = matches!(socket.tcp.state, State::Close | State::SynSent);
        let closed = closed && self.kind == Kind::Tcp;
        let peer = socket.peer.filter(|p| !closed && p.port() != 0).ok_or(Errno::ENOTCONN)?;
        Ok(address::encode(peer, self.family.get()))
    }

    fn take_error(&self, _cx: &mut Cx) -> Option<Errno> {
        self.with(|net| net.get_mut(self.id).and_then(|s| s.error.take()))
    }

    fn is_listening(&self) -> bool {
        let net = self.network.net.borrow();
        net.get(self.id).is_some_and(|s| s.tcp.state == State::Listen)
    }

    fn set_option(
        &self,
        cx: &mut Cx,
        level: u32,
        option: u32,
        value: &OptionValue,
    ) -> Option<Res<()>> {
        let who = Privilege {
            admin: cx.cred.capable(cap::NET_ADMIN),
            raw: cx.cred.capable(cap::NET_RAW),
        };
        let result = self.with(|net| net.set_option(self.id, level, option, value, who));
        if let Some(socket) = self.network.net.borrow().get(self.id) {
            self.family.set(socket.family);
        }
        result
    }

    fn get_option(
        &self,
        _cx: &mut Cx,
        level: u32,
        option: u32,
        room: usize,
    ) -> Option<Res<Vec<u8>>> {
        self.network.net.borrow().get_option(self.id, level, option, room)
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        let mut net = self.network.net.borrow_mut();
        match self.kind {
            Kind::Tcp => net.poll_stream(self.id),
            _ => net.poll_datagram(self.id),
        }
    }

    fn keys(&self, out: &mut Vec<WaitKey>) {
        out.push(WaitKey::network(self.id.0));
    }

    fn generation(&self) -> u64 {
        self.network.net.borrow().get(self.id).map_or(0, |s| s.changes)
    }

    fn ioctl(&self, _cx: &mut Cx, request: u32, data: &mut [u8]) -> Res<u64> {
        let net = self.network.net.borrow();
        let value = match (request, self.kind) {
            (FIONREAD, Kind::Tcp) => net.readable_bytes(self.id)?,
            (FIONREAD, _) => {
                let first = net.at(self.id)?.datagrams.queue.front();
                first.map_or(0, |d| d.data.len())
            }
            (TIOCOUTQ, Kind::Tcp) => net.unsent_bytes(self.id)?,
            (TIOCOUTQ, _) => 0,
            (SIOCATMARK, Kind::Tcp) => usize::from(net.is_at_mark(self.id)?),
            (SIOCGSTAMP | SIOCGSTAMPNS, _) => {
                let ns = net.at(self.id)?.stamp;
                if ns == 0 {
                    return Err(Errno::ENOENT);
                }
                let rest = ns % 1_000_000_000;
                let rest = if request == SIOCGSTAMP { rest / 1000 } else { rest };
                let times = [ns / 1_000_000_000, rest];
                for (place, time) in data.chunks_exact_mut(8).zip(times) {
                    place.copy_from_slice(&time.to_le_bytes());
                }
                return Ok(0);
            }
            _ => return Err(Errno::ENOTTY),
        };
        data.copy_from_slice(&i32::try_from(value).unwrap_or(i32::MAX).to_le_bytes());
        Ok(0)
    }

    fn close(&self) {
        self.with(|net| match self.kind {
            Kind::Tcp => net.close_stream(self.id),
            _ => net.close_datagram(self.id),
        });
    }
}
