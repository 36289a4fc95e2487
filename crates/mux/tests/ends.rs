//! Both ends against each other, over a wire that delivers in pieces.

#![allow(clippy::unwrap_used)]

use mux::{Client, Event, Extensions, Families, Limits, Request, Server, Transport};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::SocketAddr;

const FAMILIES: Families = Families { v4: true, v6: false };
const LIMITS: Limits = Limits { streams: 64, queries: 8 };

/// A client and a server, and the bytes between them.
struct Pair {
    client: Client,
    server: Server,
    /// Most bytes that go over at once.
    piece: usize,
}

impl Pair {
    fn new(box_offers: Extensions, host_offers: Extensions, piece: usize) -> Self {
        Pair {
            client: Client::offering(box_offers, Some("192.0.2.53".to_owned())),
            server: Server::new(host_offers, LIMITS),
            piece,
        }
    }

    fn whole() -> Self {
        Self::new(Extensions::all(FAMILIES), Extensions::all(FAMILIES), 1 << 20)
    }

    fn deliver_down(&mut self) -> bool {
        let bytes = self.server.output();
        let len = bytes.len().min(self.piece);
        if len == 0 || !self.client.wants_input() {
            return false;
        }
        self.client.space(len).copy_from_slice(&bytes[..len]);
        self.server.wrote(len);
        self.client.arrived(len).unwrap();
        true
    }

    fn deliver_up(&mut self) -> bool {
        let bytes = self.client.output();
        let len = bytes.len().min(self.piece);
        if len == 0 || !self.server.wants_input() {
            return false;
        }
        self.server.space(len).copy_from_slice(&bytes[..len]);
        self.client.wrote(len);
        self.server.arrived(len).unwrap();
        true
    }

    /// Delivers everything.
    fn settle(&mut self) {
        while self.deliver_down() | self.deliver_up() {}
    }

    fn events(&mut self) -> Vec<Event> {
        self.settle();
        std::iter::from_fn(|| self.client.event()).collect()
    }

    fn requests(&mut self) -> Vec<Request> {
        self.settle();
        std::iter::from_fn(|| self.server.request()).collect()
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_connection_stands_carries_ends_and_fails() {
    let mut pair = Pair::whole();
    let stream = pair.client.connect(Transport::Tcp, "192.0.2.1", 80).unwrap();
    assert_eq!(
        pair.requests(),
        [Request::Connect {
            stream,
            transport: Transport::Tcp,
            host: "192.0.2.1".to_owned(),
            port: 80
        }]
    );
    let local = Some(address("10.0.0.1:999"));
    pair.server.opened(stream, local);
    assert_eq!(pair.events(), [Event::Connected(stream, local)]);
    assert_eq!(pair.client.send(stream, b"GET"), 3);
    pair.client.finish(stream);
    assert_eq!(pair.client.send(stream, b"lost"), 4, "after the end");
    assert_eq!(pair.requests(), [Request::Data(stream, b"GET".to_vec()), Request::Finish(stream)]);
    assert_eq!(pair.server.send(stream, b"200"), 3);
    assert!(pair.server.finish(stream));
    assert_eq!(pair.events(), [Event::Data(stream, b"200".to_vec()), Event::Eof(stream)]);
    pair.client.close(stream);
    assert_eq!(pair.requests(), [Request::Close(stream)]);

    let refused = pair.client.connect(Transport::Tcp, "192.0.2.1", 81).unwrap();
    pair.requests();
    pair.server.fail(refused, 111);
    assert_eq!(pair.events(), [Event::Failed(refused, 111)]);
    let strange = pair.client.connect(Transport::Tcp, "192.0.2.1", 81).unwrap();
    pair.requests();
    pair.server.fail(strange, 71);
    assert_eq!(pair.events(), [Event::Failed(strange, 71)], "an errno that no reason has");
    assert_eq!(pair.client.connect(Transport::Tcp, "2001:db8::1", 80), Err(101));
}

#[test]
fn published_ports_queries_and_datagrams() {
    let mut pair = Pair::whole();
    pair.events();
    let peer = address("[2001:db8::7]:40000");
    pair.settle();
    let stream = pair.server.incoming(Transport::Tcp, 8080, peer).unwrap();
    assert_eq!(pair.server.send(stream, b"hi"), 2);
    let incoming = Event::Incoming { stream, transport: Transport::Tcp, port: 8080, peer };
    assert_eq!(pair.events(), [incoming, Event::Data(stream, b"hi".to_vec())]);
    pair.client.accept(stream);
    assert_eq!(pair.requests(), [Request::Taken(stream)]);
    pair.client.accept(stream);
    assert_eq!(pair.requests(), [], "it is told once");
    pair.client.abort(stream);
    assert_eq!(pair.requests(), [Request::Abort(stream)]);

    pair.client.query(7, b"question");
    assert_eq!(pair.requests(), [Request::Query(7, b"question".to_vec())]);
    pair.server.answer(7, Some(b"answer"));
    pair.server.answer(7, Some(b"twice"));
    pair.server.answer(8, Some(b"never asked"));
    assert_eq!(pair.events(), [Event::Answer(7, Some(b"answer".to_vec()))]);
    for number in 0..9 {
        pair.client.query(number, b"q");
    }
    assert_eq!(pair.requests().len(), 8);
    assert_eq!(pair.events(), [Event::Answer(8, None)], "more than the host takes at once");

    let udp = pair.client.connect(Transport::Udp, "192.0.2.1", 53).unwrap();
    assert_eq!(pair.client.send(udp, b""), 0);
    assert_eq!(pair.client.send(udp, &[1; 65_535]), 65_535);
    let requests = pair.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[1], Request::Data(udp, Vec::new()), "an empty datagram is one");
    assert_eq!(pair.server.send(udp, b"pong"), 4);
    assert_eq!(pair.events(), [Event::Data(udp, b"pong".to_vec())]);
    pair.server.close(udp);
    assert_eq!(pair.events(), [Event::Eof(udp)], "a flow that the host gives up, no error");
}

#[test]
fn what_was_asked_before_the_handshake_goes_out_after_it() {
    let mut client = Client::new(None);
    let stream = client.connect(Transport::Tcp, "example.org", 80).unwrap();
    let dropped = client.connect(Transport::Tcp, "example.org", 81).unwrap();
    let v6 = client.connect(Transport::Tcp, "::1", 80).unwrap();
    client.query(1, b"q");
    assert_eq!(client.send(stream, b"early"), 0);
    client.close(dropped);
    assert!(client.output().is_empty());
    let mut pair = Pair { client, ..Pair::whole() };
    assert_eq!(
        pair.requests(),
        [
            Request::Connect {
                stream,
                transport: Transport::Tcp,
                host: "example.org".to_owned(),
                port: 80
            },
            Request::Query(1, b"q".to_vec())
        ]
    );
    assert_eq!(pair.events(), [Event::Failed(v6, 101), Event::Room(stream)]);
}

#[test]
fn a_plain_server_is_enough() {
    for host in [Extensions::NONE, Extensions { udp: true, ..Extensions::NONE }] {
        let mut pair = Pair::new(Extensions::all(FAMILIES), host, 7);
        let stream = pair.client.connect(Transport::Tcp, "example.org", 80).unwrap();
        assert_eq!(pair.requests().len(), 1);
        assert_eq!(pair.events(), [Event::Connected(stream, None)]);
        // As many packets as it takes, then no more until it says so.
        let mut sent = 0;
        while pair.client.send(stream, b"x") == 1 {
            sent += 1;
        }
        assert_eq!(sent, 64);
        assert_eq!(pair.requests(), [Request::Data(stream, vec![b'x'; 64])]);
        pair.server.consumed(stream, 64);
        assert_eq!(pair.events(), [Event::Room(stream)]);
        pair.server.send(stream, b"bye");
        assert!(!pair.server.finish(stream), "gone");
        assert_eq!(pair.events(), [Event::Data(stream, b"bye".to_vec()), Event::Eof(stream)]);
        pair.client.send(stream, b"too late");
        assert_eq!(pair.events(), [Event::Failed(stream, 32)]);

        pair.client.query(3, b"who");
        if host.udp {
            let requests = pair.requests();
            let [Request::Connect { stream: udp, port: 53, .. }, Request::Data(..)] = requests[..]
            else {
                panic!("{requests:?}")
            };
            pair.server.send(udp, b"me");
            assert_eq!(pair.events(), [Event::Answer(3, Some(b"me".to_vec()))]);
        } else {
            assert_eq!(pair.events(), [Event::Answer(3, None)]);
        }
    }
}

#[test]
fn a_lost_host_fails_everything() {
    let mut pair = Pair::whole();
    let stream = pair.client.connect(Transport::Tcp, "192.0.2.1", 80).unwrap();
    pair.client.query(5, b"q");
    pair.settle();
    pair.client.space(8).copy_from_slice(&[0xff; 8]);
    assert!(pair.client.arrived(8).is_err());
    let events: Vec<Event> = std::iter::from_fn(|| pair.client.event()).collect();
    assert_eq!(events, [Event::Failed(stream, 104), Event::Answer(5, None)]);
    assert_eq!(pair.client.connect(Transport::Tcp, "192.0.2.1", 80), Err(101));
    assert_eq!(pair.client.families(), Families { v4: false, v6: false });
}

#[test]
fn more_than_was_granted_ends_the_stream() {
    let mut pair = Pair::whole();
    let stream = pair.client.connect(Transport::Tcp, "192.0.2.1", 80).unwrap();
    pair.requests();
    // A packet of our own making: 128 KiB and one byte are more than the first credit.
    for len in [100_000_u32, 31_073] {
        let space = pair.server.space(len as usize + 9);
        space[..4].copy_from_slice(&(len + 5).to_le_bytes());
        space[4] = 2;
        space[5..9].copy_from_slice(&stream.to_le_bytes());
        pair.server.arrived(len as usize + 9).unwrap();
    }
    let requests: Vec<Request> = std::iter::from_fn(|| pair.server.request()).collect();
    assert_eq!(requests.last(), Some(&Request::Abort(stream)));
    assert_eq!(pair.events(), [Event::Failed(stream, 104)]);
}

/// What one end of a test does next.
#[derive(Clone, Debug)]
enum Move {
    Up(usize),
    Down(usize),
    Consume,
    ToServer,
    ToClient,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (1..200_000_usize).prop_map(Move::Up),
        (1..200_000_usize).prop_map(Move::Down),
        Just(Move::Consume),
        Just(Move::ToServer),
        Just(Move::ToClient),
    ];
    proptest::collection::vec(one, 1..200)
}

/// Byte number `at` of what a stream carries.
fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

proptest! {
    /// Whatever the order of deliveries, each stream's bytes come whole and in order, and no end holds more than was
    /// granted.
    #[test]
    fn bytes_arrive_in_order(moves in moves(), piece in 512..100_000_usize, plain: bool) {
        let host = if plain { Extensions::NONE } else { Extensions::all(FAMILIES) };
        let mut pair = Pair::new(Extensions::all(FAMILIES), host, piece);
        let streams = [1, 2].map(|_| pair.client.connect(Transport::Tcp, "a", 1).unwrap());
        pair.requests();
        pair.events();
        for stream in streams { pair.server.opened(stream, None); }
        let mut sent: BTreeMap<(bool, u32), usize> = BTreeMap::new();
        let mut got: BTreeMap<(bool, u32), usize> = BTreeMap::new();
        let mut held: BTreeMap<(bool, u32), usize> = BTreeMap::new();
        let finish = [Move::Consume, Move::ToServer, Move::ToClient].into_iter().cycle().take(30_000);
        for (number, step) in moves.into_iter().chain(finish).enumerate() {
            let stream = streams[number % 2];
            match step {
                Move::Up(len) | Move::Down(len) => {
                    let up = matches!(step, Move::Up(_));
                    let at = sent.entry((up, stream)).or_default();
                    let data: Vec<u8> = (*at..*at + len).map(byte).collect();
                    *at += if up { pair.client.send(stream, &data) } else { pair.server.send(stream, &data) };
                }
                Move::Consume => {
                    for ((up, stream), bytes) in &mut held {
                        let bytes = std::mem::take(bytes);
                        if *up { pair.server.consumed(*stream, bytes) } else { pair.client.consumed(*stream, bytes) }
                    }
                }
                Move::ToServer => { pair.deliver_up(); }
                Move::ToClient => { pair.deliver_down(); }
            }
            let mut take = |up: bool, stream: u32, bytes: &[u8]| {
                let at = got.entry((up, stream)).or_default();
                for byte_got in bytes {
                    assert_eq!(*byte_got, byte(*at));
                    *at += 1;
                }
                let held = held.entry((up, stream)).or_default();
                *held += bytes.len();
                assert!(plain || *held <= 2 << 20, "more than a window");
            };
            while let Some(event) = pair.client.event() {
                if let Event::Data(stream, bytes) = event { take(false, stream, &bytes) }
            }
            while let Some(request) = pair.server.request() {
                if let Request::Data(stream, bytes) = request { take(true, stream, &bytes) }
            }
            if number > 1000 && sent == got { break; }
        }
        let all = |map: &BTreeMap<(bool, u32), usize>| map.values().sum::<usize>();
        prop_assert_eq!(all(&sent), all(&got));
    }
}
