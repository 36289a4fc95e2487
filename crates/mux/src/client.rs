//! The box's end.

use crate::Broken;
use crate::extension::{Extensions, Families};
use crate::flow::Allowance;
use crate::link::{Came, Link};
use crate::packet::{Packet, Transport, decode};
use crate::reason::{
    ECONNRESET, ENETUNREACH, ENOBUFS, EPIPE, INCOMPATIBLE, NETWORK, VOLUNTARY, errno_of_reason,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Streams at once, in both directions of opening.
const MAX_STREAMS: usize = 8192;
/// Queries at once.
const MAX_QUERIES: usize = 512;
/// Events that may wait to be taken before no more input is looked at.
const MAX_EVENTS: usize = 16_384;
/// First stream number that is the host's to give.
const HOST_STREAMS: u32 = 1 << 31;
/// Port of name servers.
const DOMAIN: u16 = 53;

/// What happened, for the box. Errors are Linux's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A TCP stream stands; with the address that the host uses, if it told.
    Connected(u32, Option<SocketAddr>),
    /// A stream ended with an error; it is gone.
    Failed(u32, u16),
    /// Bytes, or one datagram.
    Data(u32, Vec<u8>),
    /// The peer sends no more; or the host has given up a flow of datagrams that was silent for long, which then is gone.
    Eof(u32),
    /// [`Client::send`] takes something again.
    Room(u32),
    /// Somebody asks for a published port. TCP: the connection stands.
    Incoming {
        /// The new stream.
        stream: u32,
        /// What it carries.
        transport: Transport,
        /// The port inside the box.
        port: u16,
        /// Who asks.
        peer: SocketAddr,
    },
    /// The answer to a query, or none.
    Answer(u32, Option<Vec<u8>>),
}

/// What waits for the handshake.
enum Early {
    Connect(u32, Transport, String, u16),
    Query(u32, Vec<u8>),
}

/// The box's end of the byte stream.
pub struct Client {
    link: Link,
    own: Extensions,
    events: VecDeque<Event>,
    early: Vec<Early>,
    next_stream: u32,
    queries: BTreeSet<u32>,
    /// Streams of datagrams that carry a query to a name server of a host without the extension `names`.
    asking: BTreeMap<u32, u32>,
    nameserver: Option<String>,
    ready: bool,
    broken: bool,
}

impl Client {
    /// A client that offers everything. `nameserver` is asked by hosts that answer no queries themselves.
    pub fn new(nameserver: Option<String>) -> Self {
        Self::offering(Extensions::all(Families { v4: true, v6: true }), nameserver)
    }

    /// A client that offers only some extensions.
    pub fn offering(own: Extensions, nameserver: Option<String>) -> Self {
        Client {
            link: Link::new(),
            own,
            events: VecDeque::new(),
            early: Vec::new(),
            next_stream: 1,
            queries: BTreeSet::new(),
            asking: BTreeMap::new(),
            nameserver,
            ready: false,
            broken: false,
        }
    }

    /// Whether the host has said what it offers, or is gone.
    pub fn is_ready(&self) -> bool {
        self.ready || self.broken
    }

    /// Room for bytes from the host.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        self.link.wire.space(len)
    }

    /// The first `len` bytes of [`Client::space`] were filled; they are looked at.
    ///
    /// # Errors
    /// The host broke the protocol. Every stream has failed, and no other will stand.
    pub fn arrived(&mut self, len: usize) -> Result<(), Broken> {
        if self.broken {
            return Ok(());
        }
        self.link.wire.arrived(len);
        let result = self.look();
        if result.is_err() {
            self.lost();
        }
        result
    }

    fn look(&mut self) -> Result<(), Broken> {
        while self.events.len() < MAX_EVENTS && self.link.wants_input() {
            let Some(place) = self.link.wire.next()? else { break };
            // The bytes leave the buffer while they are looked at, because that changes the rest of the state.
            let (stream, taken) = {
                let (stream, packet) = decode(self.link.wire.packet(place))?;
                (stream, self.judge(stream, packet)?)
            };
            self.act(stream, taken)?;
        }
        Ok(())
    }

    /// The stream of bytes has ended, or broke: every stream fails.
    pub fn lost(&mut self) {
        self.broken = true;
        let streams: Vec<u32> = self.link.flows.keys().copied().collect();
        for stream in streams {
            self.link.remove(stream);
            self.events.push_back(Event::Failed(stream, ECONNRESET));
        }
        self.early.clear();
        for number in std::mem::take(&mut self.queries) {
            self.events.push_back(Event::Answer(number, None));
        }
        self.asking.clear();
    }

    /// Whether bytes from the host can be looked at: events are taken and output is written.
    pub fn wants_input(&self) -> bool {
        !self.broken && self.events.len() < MAX_EVENTS && self.link.wants_input()
    }

    /// What waits to be written to the host.
    pub fn output(&mut self) -> &[u8] {
        self.link.flush();
        self.link.wire.output()
    }

    /// So much of [`Client::output`] was written.
    pub fn wrote(&mut self, len: usize) {
        self.link.wire.wrote(len);
    }

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        loop {
            let Some(event) = self.events.pop_front() else {
                // Input that was left because too much waited.
                if !self.broken && self.link.wire.waits() && self.arrived(0).is_ok() {
                    if self.events.is_empty() {
                        return self.link.room().map(Event::Room);
                    }
                    continue;
                }
                if !self.events.is_empty() {
                    continue;
                }
                return self.link.room().map(Event::Room);
            };
            let known = |stream: &u32| self.link.flows.contains_key(stream);
            match &event {
                Event::Data(stream, bytes) if known(stream) => {
                    // Datagrams have no place to wait in the box but their socket's buffer, which loses what is too much.
                    if self.link.flows.get(stream).is_some_and(|f| f.transport == Transport::Udp) {
                        self.link.used(*stream, bytes.len());
                    }
                    return Some(event);
                }
                Event::Failed(..) | Event::Answer(..) => return Some(event),
                Event::Connected(stream, _) | Event::Eof(stream) | Event::Room(stream)
                    if known(stream) =>
                {
                    if let Event::Eof(stream) = event
                        && self
                            .link
                            .flows
                            .get(&stream)
                            .is_some_and(|f| f.transport == Transport::Udp)
                    {
                        self.link.remove(stream);
                    }
                    return Some(event);
                }
                Event::Incoming { stream, .. } if known(stream) => return Some(event),
                // The box closed it in the meantime.
                _ => {}
            }
        }
    }

    /// Opens a stream to a host, by name or address.
    ///
    /// # Errors
    /// `ENETUNREACH` after the end of the byte stream, or for a family the host does not reach; `ENOBUFS` for too many.
    pub fn connect(&mut self, transport: Transport, host: &str, port: u16) -> Result<u32, u16> {
        if self.broken || !self.reaches(transport, host) {
            return Err(ENETUNREACH);
        }
        if self.link.flows.len() >= MAX_STREAMS || self.next_stream >= HOST_STREAMS {
            return Err(ENOBUFS);
        }
        let stream = self.next_stream;
        self.next_stream += 1;
        if self.ready {
            self.put_connect(stream, transport, host, port);
        } else {
            self.link.open(stream, transport, false);
            self.early.push(Early::Connect(stream, transport, host.to_owned(), port));
        }
        Ok(stream)
    }

    /// Sends bytes of a stream, or a datagram; how many were taken (a datagram: all, or 0). After less than all,
    /// [`Event::Room`] comes.
    pub fn send(&mut self, stream: u32, data: &[u8]) -> usize {
        match self.link.flows.get(&stream) {
            // A plain host's CLOSE ended both directions; the box has seen one end only.
            Some(flow) if flow.ended && !self.half_close() && !data.is_empty() => {
                self.link.remove(stream);
                self.events.push_back(Event::Failed(stream, EPIPE));
                data.len()
            }
            _ => self.link.send(stream, data),
        }
    }

    /// So many bytes of [`Event::Data`] were used up (TCP; datagrams count when they are taken).
    pub fn consumed(&mut self, stream: u32, bytes: usize) {
        if self.link.is_tcp(stream) {
            self.link.used(stream, bytes);
        }
    }

    /// Says that somebody listens where the host has opened this stream, by a grant of nothing, which every host understands.
    pub fn accept(&mut self, stream: u32) {
        if self.link.agreed().credit.is_some() && self.link.is_tcp(stream) {
            self.link.wire.put(stream, &Packet::Credit(0));
        }
    }

    /// Sends no more on a stream.
    pub fn finish(&mut self, stream: u32) {
        self.link.finish(stream);
    }

    /// Ends a stream; what was sent still arrives.
    pub fn close(&mut self, stream: u32) {
        self.end(stream, VOLUNTARY);
    }

    /// Ends a stream with a reset.
    pub fn abort(&mut self, stream: u32) {
        self.end(stream, NETWORK);
    }

    fn end(&mut self, stream: u32, reason: u8) {
        let early = self.early.len();
        self.early.retain(|early| !matches!(early, Early::Connect(of, ..) if *of == stream));
        if self.early.len() < early {
            self.link.remove(stream);
        } else {
            self.link.close(stream, reason, ECONNRESET);
        }
    }

    /// Asks the host's resolver; `message` is a DNS query. The number must not be in use.
    pub fn query(&mut self, number: u32, message: &[u8]) {
        let crowded = self.queries.len() >= MAX_QUERIES || self.queries.contains(&number);
        if self.broken || crowded || message.len() > crate::MAX_DATAGRAM {
            self.events.push_back(Event::Answer(number, None));
            return;
        }
        self.queries.insert(number);
        if self.ready {
            self.put_query(number, message);
        } else {
            self.early.push(Early::Query(number, message.to_vec()));
        }
    }

    /// Which families the host reaches, as far as it told.
    pub fn families(&self) -> Families {
        if self.broken {
            return Families { v4: false, v6: false };
        }
        self.link.agreed().outcome.unwrap_or(Families { v4: true, v6: true })
    }

    fn half_close(&self) -> bool {
        self.link.agreed().half_close
    }

    fn reaches(&self, transport: Transport, host: &str) -> bool {
        let families = self.families();
        let udp = !self.ready || self.link.agreed().udp;
        (transport == Transport::Tcp || udp)
            && match host.parse() {
                Ok(IpAddr::V4(_)) => families.v4,
                Ok(IpAddr::V6(_)) => families.v6,
                Err(_) => true,
            }
    }

    fn put_connect(&mut self, stream: u32, transport: Transport, host: &str, port: u16) {
        let agreed = self.link.agreed();
        let told = transport == Transport::Tcp && (agreed.outcome.is_some() || agreed.confirm);
        self.link.open(stream, transport, !told);
        self.link.wire.put(stream, &Packet::Connect { transport, port, host });
        if !told && transport == Transport::Tcp {
            // Such a host says nothing when a stream stands.
            self.events.push_back(Event::Connected(stream, None));
        }
    }

    fn put_query(&mut self, number: u32, message: &[u8]) {
        if self.link.agreed().names {
            self.link.wire.put(number, &Packet::Dns(message));
            return;
        }
        let server = self.nameserver.clone();
        let stream = server.and_then(|server| self.connect(Transport::Udp, &server, DOMAIN).ok());
        match stream {
            Some(stream) => {
                self.asking.insert(stream, number);
                self.link.send(stream, message);
            }
            None => self.answer(number, None),
        }
    }

    fn answer(&mut self, number: u32, message: Option<Vec<u8>>) {
        if self.queries.remove(&number) {
            self.events.push_back(Event::Answer(number, message));
        }
    }

    /// What a packet means for the box; only what must outlive the packet's bytes is kept.
    fn judge(&self, stream: u32, packet: Packet<'_>) -> Result<Taken, Broken> {
        Ok(match packet {
            Packet::Data(bytes) => Taken::Data(bytes.to_vec()),
            Packet::Dns(message) => Taken::Answer(message.to_vec()),
            Packet::Info { major, extensions } if stream == 0 => {
                Taken::Info(major, extensions.to_vec())
            }
            Packet::Continue(packets) => Taken::Continue(packets),
            Packet::Credit(bytes) => Taken::Credit(bytes),
            Packet::Finish => Taken::Finish,
            Packet::Opened(local) => Taken::Opened(local),
            Packet::Close { reason, errno } => Taken::Close(reason, errno),
            Packet::Incoming { transport, port, peer } => Taken::Incoming(transport, port, peer),
            Packet::Connect { .. } | Packet::BadConnect | Packet::Info { .. } => {
                return Err(Broken("a packet that only the box may send"));
            }
            Packet::Unknown => Taken::Nothing,
        })
    }

    fn act(&mut self, stream: u32, taken: Taken) -> Result<(), Broken> {
        match taken {
            Taken::Data(bytes) => self.data(stream, bytes),
            Taken::Answer(message) => self.answer(stream, Some(message).filter(|m| !m.is_empty())),
            Taken::Info(major, list) => return self.info(major, &list),
            Taken::Continue(packets) => self.continued(stream, packets),
            Taken::Credit(bytes) => self.link.credited(stream, bytes),
            Taken::Finish => {
                if let Some(flow) = self.link.flows.get_mut(&stream)
                    && flow.transport == Transport::Tcp
                    && !std::mem::replace(&mut flow.ended, true)
                {
                    self.events.push_back(Event::Eof(stream));
                }
            }
            Taken::Opened(local) => self.opened(stream, local),
            Taken::Close(reason, errno) if stream == 0 => {
                let incompatible = reason == INCOMPATIBLE || errno.is_some();
                let why = if incompatible { "it will not talk to us" } else { "it ended" };
                return Err(Broken(why));
            }
            Taken::Close(reason, errno) => self.closed(stream, reason, errno),
            Taken::Incoming(transport, port, peer) => self.incoming(stream, transport, port, peer),
            Taken::Nothing => {}
        }
        Ok(())
    }

    fn info(&mut self, major: u8, list: &[u8]) -> Result<(), Broken> {
        if self.link.agreed.is_some() {
            return Err(Broken("two handshakes"));
        }
        // A version 1 client never answers; from 2 on the lists decide.
        let own = self.own;
        let extensions = own.encode();
        self.link.wire.put(0, &Packet::Info { major: major.clamp(1, 2), extensions: &extensions });
        let agreed = self.link.agree(&own, list)?;
        // With byte credit the number of packets does not matter, and nothing else needs to be waited for.
        if agreed.credit.is_some() {
            self.begin();
        }
        Ok(())
    }

    fn continued(&mut self, stream: u32, packets: u32) {
        if stream == 0 {
            if self.link.agreed().credit.is_none() {
                self.link.first = Allowance::Packets(packets);
            }
            self.begin();
            return;
        }
        self.opened(stream, None);
        if let Some(flow) = self.link.flows.get_mut(&stream)
            && let Allowance::Packets(left) = &mut flow.allowance
        {
            *left = packets;
        }
    }

    /// The handshake is over: what waited for it goes out.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        for early in std::mem::take(&mut self.early) {
            match early {
                Early::Connect(stream, transport, host, port) => {
                    if !self.link.flows.contains_key(&stream) {
                    } else if self.reaches(transport, &host) {
                        let finished = self.link.flows.get(&stream).is_some_and(|f| f.finished);
                        self.put_connect(stream, transport, &host, port);
                        if finished {
                            self.link.finish(stream);
                        }
                    } else {
                        self.link.remove(stream);
                        self.events.push_back(Event::Failed(stream, ENETUNREACH));
                    }
                }
                Early::Query(number, message) => self.put_query(number, &message),
            }
        }
    }

    fn opened(&mut self, stream: u32, local: Option<SocketAddr>) {
        if let Some(flow) = self.link.flows.get_mut(&stream)
            && !std::mem::replace(&mut flow.stands, true)
        {
            self.events.push_back(Event::Connected(stream, local));
        }
    }

    fn data(&mut self, stream: u32, bytes: Vec<u8>) {
        if let Some(number) = self.asking.remove(&stream) {
            self.end(stream, VOLUNTARY);
            self.answer(number, Some(bytes));
            return;
        }
        let tcp = self.link.is_tcp(stream);
        match self.link.came(stream, bytes.len()) {
            Came::Data => match self.events.back_mut() {
                Some(Event::Data(of, before))
                    if *of == stream && tcp && before.len() < crate::MAX_DATAGRAM =>
                {
                    before.extend_from_slice(&bytes);
                }
                _ => self.events.push_back(Event::Data(stream, bytes)),
            },
            Came::TooMuch if tcp => {
                self.link.close(stream, NETWORK, ECONNRESET);
                self.events.push_back(Event::Failed(stream, ECONNRESET));
            }
            Came::TooMuch | Came::Nothing => {}
        }
    }

    fn closed(&mut self, stream: u32, reason: u8, errno: Option<u16>) {
        if let Some(number) = self.asking.remove(&stream) {
            self.link.remove(stream);
            self.answer(number, None);
            return;
        }
        let Some(flow) = self.link.flows.get_mut(&stream) else { return };
        let voluntary = reason == VOLUNTARY && errno.is_none();
        let gentle = voluntary && flow.transport == Transport::Tcp;
        // The host gives up a flow that was silent for long; nothing has gone wrong with any datagram. It goes when that is told.
        if voluntary && flow.transport == Transport::Udp {
            if !std::mem::replace(&mut flow.ended, true) {
                self.events.push_back(Event::Eof(stream));
            }
            return;
        }
        // A plain host closes a stream whose peer sends no more: that is an end, not an error.
        if gentle && flow.stands && !self.link.agreed().half_close {
            if let Some(flow) = self.link.flows.get_mut(&stream)
                && !std::mem::replace(&mut flow.ended, true)
            {
                self.events.push_back(Event::Eof(stream));
            }
            return;
        }
        self.link.remove(stream);
        let errno = errno.filter(|errno| *errno != 0).unwrap_or_else(|| errno_of_reason(reason));
        self.events.push_back(Event::Failed(stream, errno));
    }

    fn incoming(&mut self, stream: u32, transport: Transport, port: u16, peer: SocketAddr) {
        let theirs = stream >= HOST_STREAMS && !self.link.flows.contains_key(&stream);
        if !theirs || !self.link.agreed().published {
            return;
        }
        if self.link.flows.len() >= MAX_STREAMS {
            self.link.put_close(stream, NETWORK, ECONNRESET);
            return;
        }
        self.link.open(stream, transport, true);
        self.events.push_back(Event::Incoming { stream, transport, port, peer });
    }
}

/// What is kept of a packet.
enum Taken {
    Data(Vec<u8>),
    Answer(Vec<u8>),
    Info(u8, Vec<u8>),
    Continue(u32),
    Credit(u32),
    Finish,
    Opened(Option<SocketAddr>),
    Close(u8, Option<u16>),
    Incoming(Transport, u16, SocketAddr),
    Nothing,
}
