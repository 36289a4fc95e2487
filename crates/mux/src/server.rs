//! The host's end.

use crate::Broken;
use crate::extension::Extensions;
use crate::flow::Allowance;
use crate::link::{Came, Link, PLAIN_PACKETS};
use crate::packet::{Packet, Transport, decode};
use crate::reason::{ECONNRESET, EINVAL, ENOBUFS, NETWORK, VOLUNTARY, reason_of_errno};
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

/// Requests that may wait to be taken before no more input is looked at.
const MAX_REQUESTS: usize = 16_384;
/// First stream number that the host gives.
const HOST_STREAMS: u32 = 1 << 31;

/// What a host grants in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams at once.
    pub streams: usize,
    /// DNS queries at once.
    pub queries: usize,
}

/// What the box asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Open a stream; answered by [`Server::opened`] or [`Server::fail`].
    Connect {
        /// The new stream.
        stream: u32,
        /// What it carries.
        transport: Transport,
        /// Name or address of the destination.
        host: String,
        /// Port of the destination.
        port: u16,
    },
    /// Bytes, or one datagram; [`Server::consumed`] when they are gone.
    Data(u32, Vec<u8>),
    /// The box sends no more.
    Finish(u32),
    /// The stream is over; what came before it still goes to the peer.
    Close(u32),
    /// The stream is over, the peer gets a reset.
    Abort(u32),
    /// [`Server::send`] takes something again.
    Room(u32),
    /// Somebody listens where this TCP stream of [`Server::incoming`] leads.
    Taken(u32),
    /// A DNS query; answered by [`Server::answer`] with this number.
    Query(u32, Vec<u8>),
}

/// The host's end of the byte stream.
pub struct Server {
    link: Link,
    own: Extensions,
    limits: Limits,
    requests: VecDeque<Request>,
    next_stream: u32,
    queries: BTreeSet<u32>,
    broken: bool,
}

impl Server {
    /// A server that offers these extensions. Its handshake waits in [`Server::output`].
    pub fn new(own: Extensions, limits: Limits) -> Self {
        let mut link = Link::new();
        // Until a client says more it is a plain one.
        link.first = Allowance::Open;
        let list = own.encode();
        if own != Extensions::NONE {
            link.wire.put(0, &Packet::Info { major: 2, extensions: &list });
        }
        link.wire.put(0, &Packet::Continue(PLAIN_PACKETS));
        Server {
            link,
            own,
            limits,
            requests: VecDeque::new(),
            next_stream: HOST_STREAMS,
            queries: BTreeSet::new(),
            broken: false,
        }
    }

    /// Room for bytes from the box.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        self.link.wire.space(len)
    }

    /// The first `len` bytes of [`Server::space`] were filled; they are looked at.
    ///
    /// # Errors
    /// The box broke the protocol: nothing it sends is looked at any more.
    pub fn arrived(&mut self, len: usize) -> Result<(), Broken> {
        if self.broken {
            return Ok(());
        }
        self.link.wire.arrived(len);
        let result = self.look();
        self.broken = result.is_err();
        result
    }

    fn look(&mut self) -> Result<(), Broken> {
        while self.requests.len() < MAX_REQUESTS && self.link.wants_input() {
            let Some(place) = self.link.wire.next()? else { break };
            let (stream, packet) = decode(self.link.wire.packet(place))?;
            match packet {
                Packet::Connect { transport, port, host } => {
                    let host = host.to_owned();
                    self.connect(stream, transport, host, port);
                }
                Packet::BadConnect => self.link.put_close(stream, reason_of_errno(EINVAL), EINVAL),
                Packet::Data(bytes) => {
                    let bytes = bytes.to_vec();
                    self.data(stream, bytes);
                }
                Packet::Credit(bytes) => {
                    self.link.credited(stream, bytes);
                    self.taken(stream);
                }
                Packet::Finish => self.finished(stream),
                Packet::Close { reason, .. } => self.closed(stream, reason)?,
                Packet::Dns(message) => {
                    let message = message.to_vec();
                    self.query(stream, message);
                }
                Packet::Info { extensions, .. } if stream == 0 && self.link.agreed.is_none() => {
                    let (own, list) = (self.own, extensions.to_vec());
                    self.link.agree(&own, &list)?;
                }
                Packet::Info { .. } => return Err(Broken("two handshakes")),
                Packet::Incoming { .. } | Packet::Opened(_) => {
                    return Err(Broken("a packet that only the host may send"));
                }
                Packet::Continue(_) | Packet::Unknown => {}
            }
        }
        Ok(())
    }

    /// Whether bytes from the box can be looked at: requests are taken and output is written.
    pub fn wants_input(&self) -> bool {
        !self.broken && self.requests.len() < MAX_REQUESTS && self.link.wants_input()
    }

    /// What waits to be written to the box.
    pub fn output(&mut self) -> &[u8] {
        self.link.flush();
        self.link.wire.output()
    }

    /// So much of [`Server::output`] was written.
    pub fn wrote(&mut self, len: usize) {
        self.link.wire.wrote(len);
    }

    /// The next request. Streams that the host has closed meanwhile may still occur.
    pub fn request(&mut self) -> Option<Request> {
        loop {
            let Some(request) = self.requests.pop_front() else {
                if !self.broken && self.link.wire.waits() {
                    // Broken input shows by `wants_input`.
                    let _ = self.arrived(0);
                    if !self.requests.is_empty() {
                        continue;
                    }
                }
                return self.link.room().map(Request::Room);
            };
            return Some(request);
        }
    }

    /// The stream stands; `local` is the address that the host uses.
    pub fn opened(&mut self, stream: u32, local: Option<SocketAddr>) {
        let agreed = self.link.agreed();
        let Some(flow) = self.link.flows.get_mut(&stream) else { return };
        let told = std::mem::replace(&mut flow.stands, true) || flow.transport == Transport::Udp;
        if !told && agreed.outcome.is_some() {
            self.link.wire.put(stream, &Packet::Opened(local));
        } else if !told && agreed.confirm {
            self.link.wire.put(stream, &Packet::Continue(PLAIN_PACKETS));
        }
    }

    /// The stream failed; it is gone.
    pub fn fail(&mut self, stream: u32, errno: u16) {
        self.link.close(stream, reason_of_errno(errno), errno);
    }

    /// The peer sends no more. A plain client learns it by the end of the stream; gives false then: it is gone.
    pub fn finish(&mut self, stream: u32) -> bool {
        let half_close = self.link.agreed().half_close;
        if half_close {
            self.link.finish(stream);
        } else {
            self.link.close(stream, VOLUNTARY, 0);
        }
        half_close
    }

    /// The stream is over; what was sent arrives.
    pub fn close(&mut self, stream: u32) {
        self.link.close(stream, VOLUNTARY, 0);
    }

    /// Sends bytes of a stream, or a datagram; how many were taken (a datagram: all, or 0). After less than all,
    /// [`Request::Room`] comes.
    pub fn send(&mut self, stream: u32, data: &[u8]) -> usize {
        self.link.send(stream, data)
    }

    /// So many bytes of [`Request::Data`] went to the peer.
    pub fn consumed(&mut self, stream: u32, bytes: usize) {
        self.link.used(stream, bytes);
        let credit = self.link.agreed().credit.is_some();
        if let Some(flow) = self.link.flows.get_mut(&stream)
            && !credit
            && flow.transport == Transport::Tcp
            && flow.held == 0
        {
            // Everything went on: the plain client may send as much again.
            self.link.wire.put(stream, &Packet::Continue(PLAIN_PACKETS));
        }
    }

    /// Somebody asks for a published port: the new stream, or none if the box does not take it.
    pub fn incoming(&mut self, transport: Transport, port: u16, peer: SocketAddr) -> Option<u32> {
        let full = self.link.flows.len() >= self.limits.streams || self.next_stream == u32::MAX;
        if full || self.broken || !self.link.agreed().published {
            return None;
        }
        let stream = self.next_stream;
        self.next_stream += 1;
        self.link.open(stream, transport, true);
        self.link.wire.put(stream, &Packet::Incoming { transport, port, peer });
        Some(stream)
    }

    /// Answers a query; `None` if there is no answer.
    pub fn answer(&mut self, number: u32, message: Option<&[u8]>) {
        if self.queries.remove(&number) {
            let message = message.filter(|message| message.len() <= crate::MAX_DATAGRAM);
            self.link.wire.put(number, &Packet::Dns(message.unwrap_or_default()));
        }
    }

    fn taken(&mut self, stream: u32) {
        if stream >= HOST_STREAMS
            && let Some(flow) = self.link.flows.get_mut(&stream)
            && flow.transport == Transport::Tcp
            && !std::mem::replace(&mut flow.taken, true)
        {
            self.requests.push_back(Request::Taken(stream));
        }
    }

    fn connect(&mut self, stream: u32, transport: Transport, host: String, port: u16) {
        let used = stream == 0 || stream >= HOST_STREAMS || self.link.flows.contains_key(&stream);
        if used {
            // The stream that has the number already is not to blame.
            return;
        }
        if self.link.flows.len() >= self.limits.streams {
            self.link.put_close(stream, reason_of_errno(ENOBUFS), ENOBUFS);
            return;
        }
        self.link.open(stream, transport, false);
        self.requests.push_back(Request::Connect { stream, transport, host, port });
    }

    fn data(&mut self, stream: u32, bytes: Vec<u8>) {
        let tcp = self.link.is_tcp(stream);
        match self.link.came(stream, bytes.len()) {
            Came::Data => match self.requests.back_mut() {
                Some(Request::Data(of, before))
                    if *of == stream && tcp && before.len() < crate::MAX_DATAGRAM =>
                {
                    before.extend_from_slice(&bytes);
                }
                _ => self.requests.push_back(Request::Data(stream, bytes)),
            },
            Came::TooMuch if tcp => {
                self.link.close(stream, NETWORK, ECONNRESET);
                self.requests.push_back(Request::Abort(stream));
            }
            Came::TooMuch | Came::Nothing => {}
        }
    }

    fn finished(&mut self, stream: u32) {
        if let Some(flow) = self.link.flows.get_mut(&stream)
            && flow.transport == Transport::Tcp
            && !std::mem::replace(&mut flow.ended, true)
        {
            self.requests.push_back(Request::Finish(stream));
        }
    }

    fn closed(&mut self, stream: u32, reason: u8) -> Result<(), Broken> {
        if stream == 0 {
            return Err(Broken("it ended"));
        }
        if self.link.remove(stream).is_some() {
            self.requests.push_back(match reason {
                VOLUNTARY => Request::Close(stream),
                _ => Request::Abort(stream),
            });
        }
        Ok(())
    }

    fn query(&mut self, number: u32, message: Vec<u8>) {
        if self.queries.contains(&number) {
            return;
        }
        self.queries.insert(number);
        if self.queries.len() > self.limits.queries || message.len() > crate::MAX_DATAGRAM {
            self.answer(number, None);
            return;
        }
        self.requests.push_back(Request::Query(number, message));
    }
}
