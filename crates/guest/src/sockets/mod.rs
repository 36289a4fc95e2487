//! A component's own way out: wasi:sockets, as far as the host grants it.
//!
//! The host alone judges what may be reached, and looks names up. A port of the box is published by listening for it
//! (`BOXER_PUBLISH`).

mod connection;
mod datagrams;
mod doors;
mod names;
mod values;

pub use connection::Connection;

use crate::waits::Waits;
use crate::wasi;
use abi::Errno;
use connection::{Connecting, Tcp};
use datagrams::Datagrams;
use doors::{Arrival, Door};
use mux::publish::Port;
use names::Lookup;
use net::{Conn, Event, Outside, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use wasip2::clocks::monotonic_clock;
use wasip2::io::poll::{self, Pollable};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::Network;

/// Flows at a time.
const FLOWS_MAX: usize = 4096;
/// Look-ups at a time.
const LOOKUPS_MAX: usize = 256;
/// The host is not looked at more often than this while programs run, ns.
const LOOK_EVERY: u64 = 50_000;
/// How long the host may take to send what a box that ends has left, ns.
const PATIENCE: u64 = 5_000_000_000;

/// Waits until one of these events, something on standard input if asked, or `timeout` nanoseconds; whether standard input has
/// something.
pub fn wait(pollables: Vec<Rc<Pollable>>, stdin: bool, timeout: Option<u64>) -> bool {
    // Not the stream that preview 1 reads from, but both tell of the same input.
    let stdin = stdin.then(wasip2::cli::stdin::get_stdin);
    let stdin_ready = stdin.as_ref().map(|stdin| stdin.subscribe());
    let clock = timeout.map(monotonic_clock::subscribe_duration);
    let all: Vec<&Pollable> =
        pollables.iter().map(Rc::as_ref).chain(&stdin_ready).chain(&clock).collect();
    if all.is_empty() {
        return false;
    }
    let ready = poll::poll(&all);
    stdin_ready.is_some() && ready.iter().any(|index| *index as usize == pollables.len())
}

/// One flow.
enum Flow {
    Connecting(Connecting),
    Tcp(Tcp),
    Datagrams(Datagrams),
    /// A peer of a published port that takes datagrams: the door's number, and who it is.
    Peer(usize, SocketAddr),
}

/// What the host lets the box do outside.
pub struct Sockets {
    flows: BTreeMap<Conn, Flow>,
    /// Connections that the box has left, until what it sent is gone.
    leaving: Vec<Tcp>,
    lookups: BTreeMap<u32, Lookup>,
    doors: Vec<Door>,
    events: VecDeque<Event>,
    families: (bool, bool),
    next: u32,
    /// When the host was looked at, ns; none lets it be looked at now.
    looked: Option<u64>,
    network: Network,
}

/// Who has told something.
enum Who {
    Flow(Conn),
    Leaving,
    Lookup(u32),
    Door(usize),
}

impl Sockets {
    /// What the host grants; none if that is nothing.
    ///
    /// # Errors
    /// A port cannot be published, for this reason.
    pub fn new(ports: &[Port]) -> Result<Option<Sockets>, String> {
        let network = instance_network();
        let families = values::families(&network);
        if !families.0 && !families.1 {
            return Ok(None);
        }
        let open = |port: &Port| {
            let failed = |errno: Errno| format!("cannot publish {port}: {errno:?}");
            Door::open(&network, port).map_err(failed)
        };
        let doors = ports.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Sockets {
            flows: BTreeMap::new(),
            leaving: Vec::new(),
            lookups: BTreeMap::new(),
            doors,
            events: VecDeque::new(),
            families,
            next: 0,
            looked: None,
            network,
        }))
    }

    /// Says what to wait for.
    pub fn watch(&mut self, waits: &mut Waits) {
        self.looked = None;
        self.each_pollable(&mut |_, pollable| waits.add(pollable));
    }

    /// Waits until what the box has sent is gone.
    pub fn drain(&mut self) {
        for (_, flow) in std::mem::take(&mut self.flows) {
            if let Flow::Tcp(tcp) = flow {
                self.leaving.push(tcp);
            }
        }
        let start = wasi::clock(false);
        loop {
            self.leaving.retain(|tcp| !tcp.has_sent());
            let passed = wasi::clock(false).saturating_sub(start);
            if self.leaving.is_empty() || passed >= PATIENCE {
                return;
            }
            let pollables = self.leaving.iter().map(|tcp| tcp.writable.clone()).collect();
            wait(pollables, false, Some(PATIENCE - passed));
        }
    }

    fn each_pollable(&self, take: &mut dyn FnMut(Who, &Rc<Pollable>)) {
        for (conn, flow) in &self.flows {
            let who = || Who::Flow(*conn);
            match flow {
                Flow::Connecting(connecting) => take(who(), &connecting.ready),
                Flow::Tcp(tcp) => {
                    if tcp.wants_input() {
                        take(who(), &tcp.readable);
                    }
                    if tcp.full {
                        take(who(), &tcp.writable);
                    }
                }
                Flow::Datagrams(datagrams) => take(who(), &datagrams.readable),
                Flow::Peer(..) => {}
            }
        }
        for tcp in &self.leaving {
            take(Who::Leaving, &tcp.writable);
        }
        for (number, lookup) in &self.lookups {
            take(Who::Lookup(*number), &lookup.ready);
        }
        for (number, door) in self.doors.iter().enumerate() {
            take(Who::Door(number), door.ready());
        }
    }

    /// Takes up what has happened.
    fn look(&mut self) {
        let now = wasi::clock(false);
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        let (mut who, mut pollables) = (Vec::new(), Vec::new());
        self.each_pollable(&mut |from, pollable| {
            who.push(from);
            pollables.push(pollable.clone());
        });
        if pollables.is_empty() {
            return;
        }
        // One that is always ready: the call returns at once.
        let now = monotonic_clock::subscribe_duration(0);
        let all: Vec<&Pollable> =
            pollables.iter().map(Rc::as_ref).chain(std::iter::once(&now)).collect();
        let ready = poll::poll(&all);
        drop(all);
        // A socket whose events are still held cannot be closed.
        drop(pollables);
        for index in ready {
            match who.get(index as usize) {
                Some(Who::Flow(conn)) => self.look_at_flow(*conn),
                Some(Who::Lookup(number)) => self.look_at_lookup(*number),
                Some(Who::Door(number)) => self.look_at_door(*number),
                Some(Who::Leaving) | None => {}
            }
        }
        self.leaving.retain(|tcp| !tcp.has_sent());
    }

    fn look_at_flow(&mut self, conn: Conn) {
        let Some(flow) = self.flows.get_mut(&conn) else { return };
        let failed = match flow {
            Flow::Connecting(connecting) => match connecting.finish() {
                Ok(None) => None,
                Ok(Some(tcp)) => {
                    self.events.push_back(Event::Connected(conn, tcp.local()));
                    *flow = Flow::Tcp(tcp);
                    None
                }
                Err(errno) => Some(errno),
            },
            Flow::Tcp(tcp) => tcp.look(conn, &mut self.events).err(),
            Flow::Datagrams(datagrams) => datagrams.look(conn, &mut self.events).err(),
            Flow::Peer(..) => None,
        };
        if let Some(errno) = failed {
            self.flows.remove(&conn);
            self.events.push_back(Event::Failed(conn, errno));
        }
    }

    fn look_at_lookup(&mut self, number: u32) {
        let Some(lookup) = self.lookups.get_mut(&number) else { return };
        if let Some(answer) = lookup.look() {
            self.lookups.remove(&number);
            self.events.push_back(Event::Answer(number, answer));
        }
    }

    fn look_at_door(&mut self, number: usize) {
        let mut arrivals = Vec::new();
        let room = FLOWS_MAX.saturating_sub(self.flows.len());
        let Some(door) = self.doors.get_mut(number) else { return };
        let port = door.port;
        door.look(room, &mut arrivals);
        for arrival in arrivals {
            match arrival {
                Arrival::Connection(tcp, peer) => {
                    let (conn, transport) = (self.number(), Transport::Tcp);
                    self.flows.insert(conn, Flow::Tcp(tcp));
                    self.events.push_back(Event::Incoming { conn, transport, port, peer });
                }
                Arrival::Datagram(peer, data) => {
                    let known = self.doors.get(number).and_then(|door| door.peer(peer));
                    let conn = match known {
                        Some(conn) => conn,
                        None if self.flows.len() >= FLOWS_MAX => continue,
                        None => {
                            let (conn, transport) = (self.number(), Transport::Udp);
                            let met = self.doors.get_mut(number).map(|door| door.meet(peer, conn));
                            if met != Some(true) {
                                continue;
                            }
                            self.flows.insert(conn, Flow::Peer(number, peer));
                            self.events.push_back(Event::Incoming { conn, transport, port, peer });
                            conn
                        }
                    };
                    self.events.push_back(Event::Data(conn, data));
                }
            }
        }
    }

    fn number(&mut self) -> Conn {
        self.next = self.next.wrapping_add(1);
        Conn(self.next)
    }

    /// Lets go of a flow; what a connection has sent still goes out.
    fn leave(&mut self, conn: Conn, reset: bool) {
        match self.flows.remove(&conn) {
            Some(Flow::Tcp(mut tcp)) => {
                tcp.leave(reset);
                if !tcp.has_sent() {
                    self.leaving.push(tcp);
                }
            }
            Some(Flow::Peer(door, peer)) => {
                if let Some(door) = self.doors.get_mut(door) {
                    door.forget(peer);
                }
            }
            _ => {}
        }
    }
}

impl Outside for Sockets {
    fn connect(&mut self, transport: Transport, peer: SocketAddr) -> Result<Conn, Errno> {
        let peer = values::seen_from_host(peer);
        let (v4, v6) = self.families;
        if !(if peer.is_ipv4() { v4 } else { v6 }) {
            return Err(Errno::ENETUNREACH);
        }
        if self.flows.len() + self.leaving.len() >= FLOWS_MAX {
            return Err(Errno::ENOBUFS);
        }
        let flow = match transport {
            Transport::Tcp => Flow::Connecting(Connecting::start(&self.network, peer)?),
            Transport::Udp => Flow::Datagrams(Datagrams::open(&self.network, peer)?),
        };
        let conn = self.number();
        self.flows.insert(conn, flow);
        Ok(conn)
    }

    fn send(&mut self, conn: Conn, data: &[u8]) -> usize {
        let sent = match self.flows.get_mut(&conn) {
            Some(Flow::Tcp(tcp)) => tcp.send(data),
            Some(Flow::Datagrams(datagrams)) => datagrams.send(data),
            Some(Flow::Peer(door, peer)) => {
                self.doors.get(*door).map_or(Ok(0), |door| door.send(*peer, data))
            }
            _ => Ok(0),
        };
        sent.unwrap_or_else(|errno| {
            self.flows.remove(&conn);
            self.events.push_back(Event::Failed(conn, errno));
            0
        })
    }

    fn consumed(&mut self, conn: Conn, bytes: usize) {
        if let Some(Flow::Tcp(tcp)) = self.flows.get_mut(&conn) {
            tcp.unread = tcp.unread.saturating_sub(bytes);
        }
    }

    fn finish(&mut self, conn: Conn) {
        if let Some(Flow::Tcp(tcp)) = self.flows.get_mut(&conn) {
            tcp.finish();
        }
    }

    fn close(&mut self, conn: Conn) {
        self.leave(conn, false);
    }

    fn abort(&mut self, conn: Conn) {
        self.leave(conn, true);
    }

    fn query(&mut self, number: u32, message: &[u8]) {
        let started = match self.lookups.len() < LOOKUPS_MAX {
            true => Lookup::start(&self.network, message),
            false => Err(None),
        };
        match started {
            Ok(lookup) => drop(self.lookups.insert(number, lookup)),
            Err(answer) => self.events.push_back(Event::Answer(number, answer)),
        }
    }

    fn event(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            self.look();
        }
        self.events.pop_front()
    }

    fn families(&self) -> (bool, bool) {
        self.families
    }
}
