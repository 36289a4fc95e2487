//! The network of one box: its sockets, who has which port, and what waits to be told to whom.

use crate::interface::Interfaces;
use crate::outside::Conn;
use crate::resolver::Resolver;
use crate::socket::{Datagram, Kind, Socket, SocketId, State, UdpFlow};
use crate::tap::Taps;
use abi::Errno;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Most connections that linger in TIME_WAIT.
const TIME_WAIT_MAX: usize = 4096;
/// How long they do, ns (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT_NS: u64 = 60_000_000_000;
/// Bytes in all queues above which each socket gets little room, and next to none (`net.ipv4.tcp_mem`).
const PRESSURE: usize = 48 << 20;
const EXHAUSTION: usize = 128 << 20;
/// Most sockets, those included that wait for accept(2) (`net.ipv4.tcp_max_orphans` and memory limit them on Linux).
const SOCKETS_MAX: usize = 1 << 16;

/// A connection that is over; its port may not be bound again at once (RFC 9293 §3.6).
#[derive(Clone, Copy, Debug)]
pub struct TimeWait {
    /// The side that closed first.
    pub local: SocketAddr,
    /// The other.
    pub peer: SocketAddr,
    /// It had SO_REUSEADDR, SO_REUSEPORT.
    pub reuse: (bool, bool),
    /// Monotonic ns at which it is forgotten.
    pub until: u64,
}

#[derive(Debug)]
struct Slot {
    serial: u32,
    socket: Option<Socket>,
}

/// The network of one box.
#[derive(Debug)]
pub struct Net {
    slots: Vec<Slot>,
    free: Vec<u32>,
    serial: u32,
    /// Sockets by port. The kind tells the protocol.
    pub(crate) ports: BTreeMap<(Kind, u16), BTreeSet<SocketId>>,
    /// Listening TCP sockets by port.
    pub(crate) listeners: BTreeMap<u16, BTreeSet<SocketId>>,
    /// Raw sockets.
    pub(crate) raw: BTreeSet<SocketId>,
    /// Connections by their addresses, local first.
    pub(crate) connections: BTreeMap<(SocketAddr, SocketAddr), SocketId>,
    /// Connections that are over.
    pub time_wait: VecDeque<TimeWait>,
    /// Sockets whose readiness has changed.
    pub(crate) changed: Vec<SocketId>,
    /// Who looks at the packets of the loopback.
    pub(crate) taps: Taps,
    /// Interfaces, addresses and routes.
    pub interfaces: Interfaces,
    /// Ports that are given to those who name none (`/proc/sys/net/ipv4/ip_local_port_range`).
    pub port_range: (u16, u16),
    /// Ports below this one need CAP_NET_BIND_SERVICE (`ip_unprivileged_port_start`).
    pub privileged_below: u16,
    /// Groups that may make ping sockets, first and last (`ping_group_range`).
    pub ping_groups: (u32, u32),
    /// Largest backlog (`net.core.somaxconn`).
    pub max_backlog: usize,
    /// Monotonic and realtime ns, as of the last call.
    pub clock: (u64, u64),
    /// Bytes in all queues.
    pub(crate) buffered: usize,
    random: u64,
    /// Flows to the outside and their sockets.
    pub(crate) flows: BTreeMap<Conn, SocketId>,
    /// Sockets that have something for the outside.
    pub(crate) dirty: BTreeSet<SocketId>,
    /// Flows to be closed, or (true) reset.
    pub(crate) ended: Vec<(Conn, bool)>,
    /// Bytes of closed sockets that the outside has not taken yet.
    pub(crate) draining: BTreeMap<Conn, VecDeque<u8>>,
    /// Families of addresses that the outside reaches, once there is one.
    pub(crate) families: Option<(bool, bool)>,
    /// Flows of datagrams by socket and peer, and the peers by flow.
    pub(crate) udp_flows: BTreeMap<(SocketId, SocketAddr), UdpFlow>,
    pub(crate) udp_peers: BTreeMap<Conn, SocketAddr>,
    /// Datagrams for the outside.
    pub(crate) udp_out: VecDeque<(SocketId, Datagram)>,
    /// When idle flows are looked for again, monotonic ns.
    pub(crate) udp_expiry: u64,
    /// Datagrams for the service inside: socket, sender, payload.
    pub(crate) asked: VecDeque<(SocketId, SocketAddr, Rc<[u8]>)>,
    /// The name server inside; its clients are a stream, or a socket and the address that a datagram came from.
    pub resolver: Resolver<(SocketId, Option<SocketAddr>)>,
}

impl Default for Net {
    fn default() -> Net {
        Net {
            slots: Vec::new(),
            free: Vec::new(),
            serial: 0,
            ports: BTreeMap::new(),
            listeners: BTreeMap::new(),
            raw: BTreeSet::new(),
            connections: BTreeMap::new(),
            time_wait: VecDeque::new(),
            changed: Vec::new(),
            taps: Taps::default(),
            interfaces: Interfaces::default(),
            port_range: (32768, 60999),
            // As docker sets them in a container.
            privileged_below: 0,
            ping_groups: (0, i32::MAX as u32),
            max_backlog: 4096,
            clock: (0, 0),
            buffered: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            flows: BTreeMap::new(),
            dirty: BTreeSet::new(),
            ended: Vec::new(),
            draining: BTreeMap::new(),
            families: None,
            udp_flows: BTreeMap::new(),
            udp_peers: BTreeMap::new(),
            udp_out: VecDeque::new(),
            udp_expiry: 0,
            asked: VecDeque::new(),
            resolver: Resolver::default(),
        }
    }
}

impl Net {
    /// Makes the choice of ports depend on `seed`.
    pub fn seed(&mut self, seed: u64) {
        self.random ^= seed.rotate_left(17) | 1;
    }

    /// A number that is hard to guess if the seed is (xorshift64*).
    pub(crate) fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Enters a socket.
    pub fn add(&mut self, socket: Socket) -> SocketId {
        self.serial = self.serial.wrapping_add(1);
        let kind = socket.kind;
        let slot = Slot { serial: self.serial, socket: Some(socket) };
        let index = match self.free.pop() {
            Some(index) => {
                if let Some(place) = self.slots.get_mut(index as usize) {
                    *place = slot;
                }
                index
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        let id = SocketId(u64::from(self.serial) << 32 | u64::from(index));
        if kind == Kind::Raw {
            self.raw.insert(id);
        }
        id
    }

    /// Forgets a socket.
    pub(crate) fn remove(&mut self, id: SocketId) -> Option<Socket> {
        self.get(id)?;
        let index = id.0 as u32;
        let socket = self.slots.get_mut(index as usize)?.socket.take()?;
        self.free.push(index);
        self.raw.remove(&id);
        self.dirty.remove(&id);
        Some(socket)
    }

    /// The socket, unless it is gone.
    pub fn get(&self, id: SocketId) -> Option<&Socket> {
        let slot = self.slots.get(id.0 as u32 as usize)?;
        slot.socket.as_ref().filter(|_| u64::from(slot.serial) == id.0 >> 32)
    }

    /// The socket, unless it is gone.
    pub fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(id.0 as u32 as usize)?;
        let fits = u64::from(slot.serial) == id.0 >> 32;
        slot.socket.as_mut().filter(|_| fits)
    }

    /// The socket; EBADF if it is gone, which no open file sees.
    pub fn at(&self, id: SocketId) -> Result<&Socket, Errno> {
        self.get(id).ok_or(Errno::EBADF)
    }

    /// The socket; EBADF if it is gone.
    pub fn at_mut(&mut self, id: SocketId) -> Result<&mut Socket, Errno> {
        self.get_mut(id).ok_or(Errno::EBADF)
    }

    /// All sockets, for `/proc/net` and sock_diag(7).
    pub fn sockets(&self) -> impl Iterator<Item = (SocketId, &Socket)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = SocketId(u64::from(slot.serial) << 32 | index as u64);
            slot.socket.as_ref().map(|socket| (id, socket))
        })
    }

    /// The readiness of a socket has changed.
    pub(crate) fn notify(&mut self, id: SocketId) {
        if let Some(socket) = self.get_mut(id) {
            socket.changes = socket.changes.wrapping_add(1);
            if self.changed.last() != Some(&id) {
                self.changed.push(id);
            }
        }
    }

    /// Sockets whose readiness has changed since the last call.
    pub fn take_changed(&mut self) -> Vec<SocketId> {
        std::mem::take(&mut self.changed)
    }

    /// Enters a socket under its port.
    pub(crate) fn hold_port(&mut self, id: SocketId) {
        if let Some(socket) = self.get(id)
            && socket.local.port() != 0
        {
            let key = (socket.kind, socket.local.port());
            self.ports.entry(key).or_default().insert(id);
        }
    }

    /// Takes a socket's port away.
    pub(crate) fn release_port(&mut self, id: SocketId) {
        let Some(socket) = self.get(id) else { return };
        let key = (socket.kind, socket.local.port());
        if let Some(set) = self.ports.get_mut(&key) {
            set.remove(&id);
            if set.is_empty() {
                self.ports.remove(&key);
            }
        }
    }

    /// Sockets of a kind that have this port.
    pub(crate) fn on_port(
        &self,
        kind: Kind,
        port: u16,
    ) -> impl Iterator<Item = (SocketId, &Socket)> {
        let ids = self.ports.get(&(kind, port)).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.get(*id)?)))
    }

    /// Remembers a connection that is over.
    pub(crate) fn linger(&mut self, local: SocketAddr, peer: SocketAddr, reuse: (bool, bool)) {
        let now = self.clock.0;
        while self.time_wait.front().is_some_and(|t| t.until <= now)
            || self.time_wait.len() >= TIME_WAIT_MAX
        {
            self.time_wait.pop_front();
        }
        self.time_wait.push_back(TimeWait { local, peer, reuse, until: now + TIME_WAIT_NS });
    }

    /// Bytes in all queues, for tests and accounts.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether queues hold so much that streams must be content with little.
    pub(crate) fn is_short(&self) -> bool {
        self.buffered > PRESSURE
    }

    /// Whether there is hardly room for one more byte.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.buffered > EXHAUSTION
    }

    /// Whether no further socket can be made.
    pub fn is_full(&self) -> bool {
        self.slots.len() - self.free.len() >= SOCKETS_MAX
    }

    /// Counts bytes that came into a queue.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.buffered = self.buffered.saturating_add(bytes);
    }

    /// Counts bytes that left a queue.
    pub(crate) fn uncharge(&mut self, bytes: usize) {
        self.buffered = self.buffered.saturating_sub(bytes);
    }

    /// Whether an address belongs to this box.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.interfaces.is_local(ip)
    }

    /// State of a TCP socket; `Close` for one that is gone.
    pub(crate) fn state(&self, id: SocketId) -> State {
        self.get(id).map_or(State::Close, |s| s.tcp.state)
    }
}
