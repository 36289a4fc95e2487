//! The loop that serves one box: bytes to and from its descriptor, and what it asks for.

use super::names::{self, Kind};
use super::policy::{GATEWAY, Learned, Refusal};
use super::publish::{Listener, Socket};
use super::{Door, Grant, NetworkEvent, World, calls, door, errno, tcp, udp};
use NetworkEvent::Trouble;
use mux::{Extensions, Families, Limits, Request, Server, Transport};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot};
use tokio::task::{LocalSet, spawn_local};

/// What one box may have at once.
const LIMITS: Limits = Limits { streams: 4096, queries: 256 };
/// Bytes that are read from the box at once.
const PIECE: usize = 256 << 10;
/// How long what a box has sent may take to go out after its end.
const GRACE: Duration = Duration::from_secs(5);
/// Threads for look-ups of the system's resolver.
const LOOKUPS: usize = 16;

/// Serves until the box's end of the stream is closed: a network, or if there are `doors` these alone.
pub fn run(
    grant: Grant,
    doors: Vec<Door>,
    listeners: Vec<Listener>,
    called: Option<UnboundedReceiver<calls::Call>>,
    wire: std::os::unix::net::UnixStream,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOKUPS)
        .build();
    let Ok(runtime) = runtime else { return };
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async move {
        let hub = Rc::new(Hub::new(&grant, doors));
        let wire = wire.set_nonblocking(true).and_then(|()| UnixStream::from_std(wire));
        let Ok(wire) = wire else { return };
        for listener in listeners {
            open(&hub, listener);
        }
        if let Some(called) = called {
            spawn_local(calls::accept(hub.clone(), called));
        }
        hub.pump(&wire).await;
        hub.end().await;
    });
    drop(tasks);
    // A look-up that still runs is nobody's any more.
    runtime.shutdown_background();
}

fn open(hub: &Rc<Hub>, listener: Listener) {
    let port = listener.published().guest;
    match listener.socket {
        Socket::Tcp(socket) => match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => drop(spawn_local(tcp::accept(hub.clone(), socket, port))),
            Err(error) => hub.world.report(|| Trouble(format!("port {port}: {error}"))),
        },
        Socket::Udp(socket) => match tokio::net::UdpSocket::from_std(socket) {
            Ok(socket) => drop(spawn_local(udp::publish(hub.clone(), socket, port))),
            Err(error) => hub.world.report(|| Trouble(format!("port {port}/udp: {error}"))),
        },
    }
}

/// What goes to the peer of a stream.
pub enum Chunk {
    Data(Vec<u8>),
    Finish,
}

/// How the box has left a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Not,
    /// What it sent still goes out.
    Closed,
    /// With a reset.
    Aborted,
}

/// One stream's way to the task that serves it.
pub struct Lane {
    queue: RefCell<VecDeque<Chunk>>,
    pub left: Cell<Left>,
    /// There is a chunk, or the box has left.
    pub changed: Notify,
    /// The box takes data again.
    pub room: Notify,
    /// Who waits for somebody in the box to listen.
    taken: Cell<Option<oneshot::Sender<()>>>,
    /// It leads outside, and what goes over it counts.
    counts: Cell<bool>,
    /// The host has ended it for that.
    pub is_cut: Cell<bool>,
}

impl Lane {
    pub fn new() -> Rc<Self> {
        Rc::new(Lane {
            queue: RefCell::default(),
            left: Cell::new(Left::Not),
            changed: Notify::new(),
            room: Notify::new(),
            taken: Cell::new(None),
            counts: Cell::new(false),
            is_cut: Cell::new(false),
        })
    }

    /// One that tells who called for it whether somebody listens.
    pub fn called(taken: oneshot::Sender<()>) -> Rc<Self> {
        let lane = Lane::new();
        lane.taken.set(Some(taken));
        lane
    }

    /// The next chunk; none after the last one of a box that has left.
    pub async fn next(&self) -> Option<Chunk> {
        loop {
            if self.left.get() == Left::Aborted {
                return None;
            }
            if let Some(chunk) = self.queue.borrow_mut().pop_front() {
                return Some(chunk);
            }
            if self.left.get() == Left::Closed {
                return None;
            }
            self.changed.notified().await;
        }
    }

    fn push(&self, chunk: Chunk) {
        self.queue.borrow_mut().push_back(chunk);
        self.changed.notify_one();
    }

    fn leave(&self, how: Left) {
        self.left.set(how);
        drop(self.taken.take());
        self.changed.notify_one();
    }
}

/// The state of one box's network; everything runs on one thread.
pub struct Hub {
    server: RefCell<Server>,
    lanes: RefCell<HashMap<u32, Rc<Lane>>>,
    learned: RefCell<Learned>,
    /// There may be something to write to the box.
    output: Notify,
    /// A lane is gone.
    gone: Notify,
    pub world: World,
    /// Where a datagram is read to.
    pub scratch: RefCell<Vec<u8>>,
}

impl Hub {
    fn new(grant: &Grant, doors: Vec<Door>) -> Self {
        let nothing = grant.policy.is_none() && doors.is_empty() && !grant.tell_all;
        let families = Families { v4: !nothing, v6: grant.policy.has_v6() && has_v6() };
        Hub {
            server: RefCell::new(Server::new(Extensions::all(families), LIMITS)),
            lanes: RefCell::default(),
            learned: RefCell::default(),
            output: Notify::new(),
            gone: Notify::new(),
            world: World::new(grant, doors),
            scratch: RefCell::new(vec![0; mux::MAX_DATAGRAM]),
        }
    }

    /// Moves bytes until the stream ends.
    async fn pump(self: &Rc<Self>, wire: &UnixStream) {
        loop {
            let (reads, writes) = {
                let mut server = self.server.borrow_mut();
                (server.wants_input(), !server.output().is_empty())
            };
            let result = tokio::select! {
                () = self.output.notified() => Ok(true),
                ready = wire.readable(), if reads => ready.and_then(|()| self.read(wire)),
                ready = wire.writable(), if writes => ready.and_then(|()| self.write(wire)),
            };
            self.serve_requests();
            match result {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Reads what is there; false at the end.
    fn read(&self, wire: &UnixStream) -> std::io::Result<bool> {
        let mut server = self.server.borrow_mut();
        match wire.try_read(server.space(PIECE)) {
            Ok(0) => Ok(false),
            Ok(len) => match server.arrived(len) {
                Ok(()) => Ok(true),
                Err(broken) => {
                    self.world.report(|| Trouble(broken.to_string()));
                    Ok(false)
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn write(&self, wire: &UnixStream) -> std::io::Result<bool> {
        let mut server = self.server.borrow_mut();
        match wire.try_write(server.output()) {
            Ok(len) => server.wrote(len),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// The box is gone: what it has sent goes out.
    async fn end(&self) {
        for lane in self.lanes.borrow().values() {
            lane.leave(Left::Closed);
        }
        let all = async {
            while !self.lanes.borrow().is_empty() {
                self.gone.notified().await;
            }
        };
        // What a peer does not take in that time is lost.
        let _ = tokio::time::timeout(GRACE, all).await;
    }

    fn serve_requests(self: &Rc<Self>) {
        loop {
            let Some(request) = self.server.borrow_mut().request() else { return };
            let lane = |stream: u32| self.lanes.borrow().get(&stream).cloned();
            match request {
                Request::Connect { stream, transport, host, port } => {
                    self.connect(stream, transport, host, port);
                }
                Request::Data(stream, bytes) => {
                    if let Some(lane) = lane(stream) {
                        lane.push(Chunk::Data(bytes));
                    }
                }
                Request::Finish(stream) => {
                    if let Some(lane) = lane(stream) {
                        lane.push(Chunk::Finish);
                    }
                }
                Request::Close(stream) | Request::Abort(stream) => {
                    if let Some(lane) = lane(stream) {
                        lane.leave(match request {
                            Request::Close(_) => Left::Closed,
                            _ => Left::Aborted,
                        });
                    }
                }
                Request::Taken(stream) => {
                    if let Some(told) = lane(stream).and_then(|lane| lane.taken.take()) {
                        // Who called may have gone.
                        let _ = told.send(());
                    }
                }
                Request::Room(stream) => {
                    if let Some(lane) = lane(stream) {
                        lane.room.notify_one();
                    }
                }
                Request::Query(number, message) => self.query(number, message),
            }
        }
    }

    fn connect(self: &Rc<Self>, stream: u32, transport: Transport, host: String, port: u16) {
        let lane = self.lane(stream);
        let hub = self.clone();
        if !hub.world.doors.is_empty() {
            spawn_local(async move {
                match hub.world.doors.get(usize::from(port)) {
                    Some(door) => door::connect(&hub, stream, &lane, door).await,
                    None => hub.fail(stream, errno::ECONNREFUSED),
                }
                hub.forget(stream);
            });
            return;
        }
        lane.counts.set(true);
        spawn_local(async move {
            match hub.destination(transport, &host, port).await {
                Ok(to) if transport == Transport::Tcp => {
                    tcp::connect(&hub, stream, &lane, to).await
                }
                Ok(to) if hub.world.resolver.is_server(to) => udp::ask(&hub, stream, &lane).await,
                Ok(to) => udp::connect(&hub, stream, &lane, to).await,
                Err(errno) => hub.fail(stream, errno),
            }
            hub.forget(stream);
        });
    }

    /// Where a connection goes, if the policy lets it.
    async fn destination(
        &self,
        transport: Transport,
        host: &str,
        port: u16,
    ) -> Result<SocketAddr, u16> {
        let policy = &self.world.policy;
        if self.world.traffic.as_ref().is_some_and(|traffic| traffic.is_over()) {
            let why = "all bytes that the box may exchange are used up";
            self.refused(transport, &format!("{host}:{port}"), why);
            return Err(errno::EACCES);
        }
        if policy.is_none() {
            self.refused(transport, &format!("{host}:{port}"), "there is no network");
            return Err(errno::ENETUNREACH);
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            let to = SocketAddr::new(ip, port);
            if transport == Transport::Udp && self.world.resolver.is_server(to) {
                return Ok(to);
            }
            let names = self.names_of(ip);
            return policy.judge(to, &names).map_err(|refusal| {
                self.refused(transport, &to.to_string(), &refusal.to_string());
                errno::EACCES
            });
        }
        if !policy.allows_name(host, port) {
            self.refused(transport, &format!("{host}:{port}"), &Refusal::NotAllowed.to_string());
            return Err(errno::EACCES);
        }
        let found = tokio::net::lookup_host((host, port)).await;
        let names = [host.to_owned()];
        let mut failure = errno::EHOSTUNREACH;
        for to in found.into_iter().flatten() {
            match policy.judge(to, &names) {
                Ok(to) => return Ok(to),
                Err(refusal) => {
                    self.refused(transport, &format!("{host} at {to}"), &refusal.to_string());
                    failure = errno::EACCES;
                }
            }
        }
        Err(failure)
    }

    fn names_of(&self, ip: IpAddr) -> Vec<String> {
        let mut names = self.learned.borrow().names(ip, Instant::now());
        let own = self.world.hosts.iter().filter(|(_, own)| *own == ip);
        names.extend(own.map(|(name, _)| name.clone()));
        names
    }

    fn refused(&self, transport: Transport, to: &str, why: &str) {
        let (to, why) = (to.to_owned(), why.to_owned());
        self.world.report(|| NetworkEvent::Refused { transport, to, why });
    }

    /// A way to `to` stands.
    pub fn tell_opened(&self, transport: Transport, to: SocketAddr) {
        let names = self.names_of(to.ip());
        self.world.report(|| NetworkEvent::Opened { transport, to, names });
    }

    /// There is no way to `to`.
    pub fn tell_failed(&self, transport: Transport, to: SocketAddr, error: &std::io::Error) {
        self.world.report(|| NetworkEvent::Failed { transport, to, why: error.to_string() });
    }

    /// Whether so many bytes may go over a lane.
    pub fn spend(&self, lane: &Lane, bytes: usize) -> bool {
        !lane.counts.get() || self.world.spend(bytes)
    }

    fn query(self: &Rc<Self>, number: u32, message: Vec<u8>) {
        let hub = self.clone();
        spawn_local(async move {
            let answer = hub.look_up(&message).await;
            hub.server.borrow_mut().answer(number, answer.as_deref());
            hub.output.notify_one();
        });
    }

    /// Answers a DNS query as far as the policy lets it.
    pub async fn look_up(&self, message: &[u8]) -> Option<Vec<u8>> {
        let question = names::question(message)?;
        let policy = &self.world.policy;
        let allowed = match question.kind {
            Kind::NameOf(ip) => policy.may_ask_address(ip) || !self.names_of(ip).is_empty(),
            _ => policy.may_ask(&question.name),
        };
        if !allowed {
            self.world.report(|| NetworkEvent::NotLookedUp { name: question.name.clone() });
            return names::refusal(message);
        }
        if !self.world.spend(message.len()) {
            return names::refusal(message);
        }
        self.world.report(|| NetworkEvent::LookedUp { name: question.name.clone() });
        let answer = self.world.resolver.answer(message, &question).await?;
        if !self.world.spend(answer.len()) {
            return names::refusal(message);
        }
        let now = Instant::now();
        for ip in names::addresses(&answer) {
            self.learned.borrow_mut().add(ip, &question.name, now);
        }
        Some(answer)
    }

    /// A lane for a new stream.
    pub fn lane(&self, stream: u32) -> Rc<Lane> {
        let lane = Lane::new();
        self.add(stream, lane.clone());
        lane
    }

    /// A stream has this lane.
    pub fn add(&self, stream: u32, lane: Rc<Lane>) {
        self.lanes.borrow_mut().insert(stream, lane);
    }

    /// Nobody serves the stream any more.
    pub fn forget(&self, stream: u32) {
        self.lanes.borrow_mut().remove(&stream);
        self.gone.notify_one();
    }

    /// Whether a stream is served.
    pub fn has(&self, stream: u32) -> bool {
        self.lanes.borrow().contains_key(&stream)
    }

    /// Ends a stream that the host does not want any more.
    pub fn close(&self, stream: u32) {
        self.server.borrow_mut().close(stream);
        if let Some(lane) = self.lanes.borrow().get(&stream) {
            lane.leave(Left::Closed);
        }
        self.output.notify_one();
    }

    /// Somebody asks for a published port. Waits while the box cannot take it.
    pub async fn incoming(&self, transport: Transport, port: u16, peer: SocketAddr) -> u32 {
        let peer = match peer.ip().to_canonical() {
            // In the box that address is the box itself, which its programs trust and answer.
            ip if ip.is_loopback() => SocketAddr::new(GATEWAY[0], peer.port()),
            ip => SocketAddr::new(ip, peer.port()),
        };
        loop {
            let stream = self.server.borrow_mut().incoming(transport, port, peer);
            if let Some(stream) = stream {
                self.output.notify_one();
                return stream;
            }
            // The box has not said that it takes connections yet, or has as many as it may.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The stream stands.
    pub fn opened(&self, stream: u32, local: Option<SocketAddr>) {
        self.server.borrow_mut().opened(stream, local);
        self.output.notify_one();
    }

    /// The stream has failed.
    pub fn fail(&self, stream: u32, errno: u16) {
        self.server.borrow_mut().fail(stream, errno);
        self.output.notify_one();
    }

    /// The peer sends no more.
    pub fn finish(&self, stream: u32) {
        self.server.borrow_mut().finish(stream);
        self.output.notify_one();
    }

    /// Gives the box what it takes now: so many bytes.
    pub fn send(&self, stream: u32, data: &[u8]) -> usize {
        let sent = self.server.borrow_mut().send(stream, data);
        self.output.notify_one();
        sent
    }

    /// So much of what the box sent is gone.
    pub fn consumed(&self, stream: u32, bytes: usize) {
        self.server.borrow_mut().consumed(stream, bytes);
        self.output.notify_one();
    }
}

/// Whether this system has a way to IPv6 addresses; nothing is sent.
fn has_v6() -> bool {
    let far = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9));
    std::net::UdpSocket::bind("[::]:0").and_then(|socket| socket.connect(far)).is_ok()
}
