//! Connections to an outside that stalls, floods, refuses and resets: what programs see, and that memory stays bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use abi::Errno;
use abi::poll::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP};
use net::address::encode;
use net::{Conn, Event, Family, Hints, Kind, Net, Outside, Socket, SocketId, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// An outside that does what a test says.
#[derive(Default)]
struct Fake {
    next: u32,
    events: VecDeque<Event>,
    opened: Vec<(Conn, Transport, SocketAddr)>,
    /// Bytes that each flow still takes; none = any number.
    room: BTreeMap<Conn, usize>,
    sent: BTreeMap<Conn, Vec<u8>>,
    consumed: BTreeMap<Conn, usize>,
    finished: Vec<Conn>,
    closed: Vec<Conn>,
    aborted: Vec<Conn>,
    taken: Vec<Conn>,
    queries: Vec<u32>,
}

impl Fake {
    fn incoming(&mut self, port: u16, from: u16) -> Conn {
        self.next += 1;
        let conn = Conn(self.next);
        let peer = SocketAddr::from(([198, 51, 100, 7], from));
        self.events.push_back(Event::Incoming { conn, transport: Transport::Tcp, port, peer });
        conn
    }
}

impl Outside for Fake {
    fn connect(&mut self, transport: Transport, peer: SocketAddr) -> Result<Conn, Errno> {
        if peer.port() == 1 {
            return Err(Errno::ENETUNREACH);
        }
        self.next += 1;
        let conn = Conn(self.next);
        self.opened.push((conn, transport, peer));
        Ok(conn)
    }
    fn send(&mut self, conn: Conn, data: &[u8]) -> usize {
        let room = self.room.entry(conn).or_insert(usize::MAX);
        let n = data.len().min(*room);
        *room -= n;
        self.sent.entry(conn).or_default().extend_from_slice(&data[..n]);
        n
    }
    fn consumed(&mut self, conn: Conn, bytes: usize) {
        *self.consumed.entry(conn).or_default() += bytes;
    }
    fn finish(&mut self, conn: Conn) {
        self.finished.push(conn);
    }
    fn close(&mut self, conn: Conn) {
        self.closed.push(conn);
    }
    fn abort(&mut self, conn: Conn) {
        self.aborted.push(conn);
    }
    fn taken(&mut self, conn: Conn) {
        self.taken.push(conn);
    }
    fn query(&mut self, number: u32, _: &[u8]) {
        self.queries.push(number);
    }
    fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
    fn families(&self) -> (bool, bool) {
        (true, false)
    }
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], port))
}

fn socket(net: &mut Net, kind: Kind) -> SocketId {
    net.add(Socket::new(Family::V4, kind, 0, 0))
}

/// A net with a way out.
fn outside() -> (Net, Fake) {
    let (mut net, mut fake) = (Net::default(), Fake::default());
    net.clock = (1, 1);
    net.pump(Some(&mut fake));
    (net, fake)
}

/// A socket whose connection to a peer outside stands.
fn connected(net: &mut Net, fake: &mut Fake) -> (SocketId, Conn) {
    let id = socket(net, Kind::Tcp);
    let to = encode(peer(80), Family::V4);
    assert_eq!(net.connect_stream(id, &to), Err(Errno::EINPROGRESS));
    net.pump(Some(fake));
    assert_eq!(net.connect_stream(id, &to), Err(Errno::EALREADY));
    assert_eq!(net.poll_stream(id) & POLLOUT, 0);
    let conn = fake.opened.last().unwrap().0;
    fake.events.push_back(Event::Connected(conn, None));
    net.pump(Some(fake));
    assert_eq!(net.connect_stream(id, &to), Ok(()));
    assert_ne!(net.poll_stream(id) & POLLOUT, 0);
    (id, conn)
}

#[test]
fn without_a_way_out_there_is_no_route() {
    let mut net = Net::default();
    let id = socket(&mut net, Kind::Tcp);
    let to = encode(peer(80), Family::V4);
    assert_eq!(net.connect_stream(id, &to), Err(Errno::ENETUNREACH));
    let id = socket(&mut net, Kind::Udp);
    let sent = net.send_datagram(id, b"x", Some(&to), 0, Hints::default());
    assert_eq!(sent, Err(Errno::ENETUNREACH));
}

#[test]
fn data_goes_both_ways_with_flow_control() {
    let (mut net, mut fake) = outside();
    let (id, conn) = connected(&mut net, &mut fake);
    assert_eq!(net.send_stream(id, b"GET /", 0), Ok(5));
    net.pump(Some(&mut fake));
    assert_eq!(fake.sent[&conn], b"GET /");
    fake.events.push_back(Event::Data(conn, b"hello".to_vec()));
    net.pump(Some(&mut fake));
    let mut buf = [0; 16];
    assert_eq!(net.receive_stream(id, &mut buf, 0), Ok((5, 0)));
    net.pump(Some(&mut fake));
    assert_eq!(fake.consumed[&conn], 5);
    assert_eq!(net.receive_stream(id, &mut buf, 0), Err(Errno::EAGAIN));
    fake.events.push_back(Event::Eof(conn));
    net.pump(Some(&mut fake));
    assert_eq!(net.receive_stream(id, &mut buf, 0), Ok((0, 0)));
    assert_ne!(net.poll_stream(id) & POLLRDHUP, 0);
    assert_eq!(net.send_stream(id, b"late", 0), Ok(4));
    net.shutdown_stream(id, abi::socket::SHUT_WR).unwrap();
    net.pump(Some(&mut fake));
    assert_eq!(fake.sent[&conn], b"GET /late");
    assert_eq!(fake.finished, [conn]);
    net.close_stream(id);
    net.pump(Some(&mut fake));
    assert_eq!(fake.closed, [conn]);
    assert_eq!(net.buffered(), 0);
}

#[test]
fn failures_become_the_sockets_error() {
    let (mut net, mut fake) = outside();
    for (event, expected) in [
        (Errno::ECONNREFUSED, Errno::ECONNREFUSED),
        (Errno::ETIMEDOUT, Errno::ETIMEDOUT),
        (Errno::EACCES, Errno::EACCES),
    ] {
        let id = socket(&mut net, Kind::Tcp);
        let to = encode(peer(80), Family::V4);
        assert_eq!(net.connect_stream(id, &to), Err(Errno::EINPROGRESS));
        net.pump(Some(&mut fake));
        let conn = fake.opened.last().unwrap().0;
        fake.events.push_back(Event::Failed(conn, event));
        net.pump(Some(&mut fake));
        let events = net.poll_stream(id);
        assert_eq!(events & (POLLERR | POLLHUP), POLLERR | POLLHUP);
        assert_eq!(net.connect_stream(id, &to), Err(expected));
    }
    // The host knows at once.
    let id = socket(&mut net, Kind::Tcp);
    let to = encode(peer(1), Family::V4);
    assert_eq!(net.connect_stream(id, &to), Err(Errno::EINPROGRESS));
    net.pump(Some(&mut fake));
    assert_eq!(net.connect_stream(id, &to), Err(Errno::ENETUNREACH));
    // A reset in the middle: what had come can still be read.
    let (id, conn) = connected(&mut net, &mut fake);
    fake.events.push_back(Event::Data(conn, b"part".to_vec()));
    fake.events.push_back(Event::Failed(conn, Errno::ECONNRESET));
    net.pump(Some(&mut fake));
    let mut buf = [0; 16];
    assert_eq!(net.receive_stream(id, &mut buf, 0), Ok((4, 0)));
    assert_eq!(net.receive_stream(id, &mut buf, 0), Err(Errno::ECONNRESET));
    assert_eq!(net.receive_stream(id, &mut buf, 0), Ok((0, 0)));
    assert_eq!(net.send_stream(id, b"x", 0), Err(Errno::EPIPE));
}

#[test]
fn a_stalled_peer_stops_the_sender() {
    let (mut net, mut fake) = outside();
    let (id, conn) = connected(&mut net, &mut fake);
    fake.room.insert(conn, 1000);
    let data = vec![7; 1 << 20];
    let mut taken = 0;
    for _ in 0..100 {
        match net.send_stream(id, &data, 0) {
            Ok(n) => taken += n,
            Err(e) => assert_eq!(e, Errno::EAGAIN),
        }
        net.pump(Some(&mut fake));
    }
    assert!(taken < 1 << 20, "{taken} bytes were taken for a peer that takes 1000");
    assert_eq!(net.poll_stream(id) & POLLOUT, 0);
    net.take_changed();
    fake.room.insert(conn, usize::MAX);
    fake.events.push_back(Event::Room(conn));
    net.pump(Some(&mut fake));
    assert!(net.take_changed().contains(&id));
    assert_ne!(net.poll_stream(id) & POLLOUT, 0);
    assert_eq!(fake.sent[&conn].len(), taken);
}

#[test]
fn what_was_written_before_close_still_goes_out() {
    let (mut net, mut fake) = outside();
    let (id, conn) = connected(&mut net, &mut fake);
    fake.room.insert(conn, 3);
    net.send_stream(id, b"goodbye", 0).unwrap();
    net.close_stream(id);
    net.pump(Some(&mut fake));
    assert_eq!((fake.sent[&conn].as_slice(), fake.closed.len()), (&b"goo"[..], 0));
    fake.room.insert(conn, 100);
    fake.events.push_back(Event::Room(conn));
    net.pump(Some(&mut fake));
    assert_eq!(
        (fake.sent[&conn].as_slice(), fake.closed.as_slice()),
        (&b"goodbye"[..], &[conn][..])
    );
    assert_eq!(net.buffered(), 0);
    // Sockets that are closed one after the other while nobody takes their bytes.
    for _ in 0..2000 {
        let (id, conn) = connected(&mut net, &mut fake);
        fake.room.insert(conn, 0);
        net.send_stream(id, &[1; 1 << 18], 0).unwrap();
        net.pump(Some(&mut fake));
        net.close_stream(id);
        net.pump(Some(&mut fake));
    }
    assert!(net.buffered() < 80 << 20, "{} bytes wait", net.buffered());
    assert!(fake.aborted.len() > 1000);
}

#[test]
fn a_flood_is_cut_off() {
    let (mut net, mut fake) = outside();
    let (id, conn) = connected(&mut net, &mut fake);
    for _ in 0..1000 {
        fake.events.push_back(Event::Data(conn, vec![0; 1 << 16]));
        net.pump(Some(&mut fake));
    }
    assert_eq!(fake.aborted, [conn]);
    assert!(net.buffered() <= 9 << 20);
    let mut buf = vec![0; 16 << 20];
    assert!(net.receive_stream(id, &mut buf, 0).unwrap().0 > 0);
    assert_eq!(net.receive_stream(id, &mut buf, 0), Err(Errno::ECONNRESET));
    // Datagrams that nobody reads are lost.
    let id = socket(&mut net, Kind::Udp);
    let to = encode(peer(53), Family::V4);
    net.send_datagram(id, b"?", Some(&to), 0, Hints::default()).unwrap();
    net.pump(Some(&mut fake));
    let conn = fake.opened.last().unwrap().0;
    for _ in 0..100_000 {
        fake.events.push_back(Event::Data(conn, vec![0; 1400]));
        net.pump(Some(&mut fake));
    }
    assert!(net.buffered() < 1 << 20);
    assert_eq!(net.receive_datagram(id, 0).unwrap().from, peer(53));
}

#[test]
fn incoming_connections_go_to_whoever_listens() {
    let (mut net, mut fake) = outside();
    let nobody = fake.incoming(8080, 1000);
    net.pump(Some(&mut fake));
    assert_eq!(fake.aborted, [nobody]);
    assert_eq!(fake.taken, []);
    let id = socket(&mut net, Kind::Tcp);
    let any = SocketAddr::from(([0, 0, 0, 0], 8080));
    net.bind(id, &encode(any, Family::V4), true).unwrap();
    net.listen(id, 4).unwrap();
    let flows: Vec<_> = (0..2000).map(|i| fake.incoming(8080, 2000 + i)).collect();
    while !fake.events.is_empty() {
        net.pump(Some(&mut fake));
    }
    // However short the backlog, so many wait: nobody outside would ask again.
    assert_eq!(fake.aborted.len(), 1 + 2000 - 1025);
    assert_eq!(fake.taken, flows[..1025]);
    let child = net.accept(id).unwrap();
    assert_eq!(net.get(child).unwrap().peer, Some(peer(2000)));
    assert_eq!(net.get(child).unwrap().local, SocketAddr::from(([172, 17, 0, 2], 8080)));
    fake.events.push_back(Event::Data(flows[0], b"hi".to_vec()));
    net.pump(Some(&mut fake));
    assert_ne!(net.poll_stream(child) & POLLIN, 0);
    // A server on loopback alone is not reached from outside.
    let own = socket(&mut net, Kind::Tcp);
    let lo = SocketAddr::from(([127, 0, 0, 1], 9090));
    net.bind(own, &encode(lo, Family::V4), true).unwrap();
    net.listen(own, 4).unwrap();
    let flow = fake.incoming(9090, 3000);
    net.pump(Some(&mut fake));
    assert_eq!(fake.aborted.last(), Some(&flow));
    // Whoever waits in the backlog of a socket that is closed is reset.
    fake.aborted.clear();
    net.close_stream(id);
    net.pump(Some(&mut fake));
    assert_eq!(fake.aborted.len(), 1024);
}

#[test]
fn another_way_out_knows_nothing_of_the_last_ones_connections() {
    let (mut net, mut fake) = outside();
    let (client, flow) = connected(&mut net, &mut fake);
    let server = socket(&mut net, Kind::Tcp);
    let any = SocketAddr::from(([0, 0, 0, 0], 8080));
    net.bind(server, &encode(any, Family::V4), true).unwrap();
    net.listen(server, 4).unwrap();
    fake.incoming(8080, 2000);
    net.pump(Some(&mut fake));
    let child = net.accept(server).unwrap();
    net.forget_outside();
    for id in [client, child] {
        assert_ne!(net.poll_stream(id) & (POLLERR | POLLHUP), 0);
        assert_eq!(net.get_mut(id).unwrap().take_error(), Err(Errno::ECONNRESET));
    }
    // The next one gives the same numbers again, and reaches who listens.
    let mut next = Fake { next: flow.0 - 1, ..Fake::default() };
    next.events.push_back(Event::Data(flow, b"late".to_vec()));
    let incoming = next.incoming(8080, 3000);
    assert_eq!(incoming, flow);
    net.pump(Some(&mut next));
    assert_eq!(net.poll_stream(client) & POLLIN, POLLIN, "the end, and no data");
    let child = net.accept(server).unwrap();
    assert_eq!(net.get(child).unwrap().peer, Some(peer(3000)));
    assert_eq!(net.buffered(), 0);
    let (again, _) = connected(&mut net, &mut next);
    assert_ne!(net.poll_stream(again) & POLLOUT, 0);
}

#[test]
fn the_hosts_loopback_is_not_the_boxes() {
    let (mut net, mut fake) = outside();
    let id = socket(&mut net, Kind::Tcp);
    net.bind(id, &encode(SocketAddr::from(([0, 0, 0, 0], 8080)), Family::V4), true).unwrap();
    net.listen(id, 4).unwrap();
    for (i, peer) in ["127.0.0.1:4000", "[::1]:4001", "[::ffff:127.0.0.1]:4002"].iter().enumerate()
    {
        let (conn, peer) = (Conn(1000 + i as u32), peer.parse().unwrap());
        fake.events.push_back(Event::Incoming {
            conn,
            transport: Transport::Tcp,
            port: 8080,
            peer,
        });
    }
    net.pump(Some(&mut fake));
    for port in 4000..4003 {
        let child = net.accept(id).unwrap();
        let gateway = SocketAddr::from(([172, 17, 0, 1], port));
        assert_eq!(net.get(child).unwrap().peer, Some(gateway));
    }
}

#[test]
fn flows_of_datagrams_are_few_and_expire() {
    let (mut net, mut fake) = outside();
    let id = socket(&mut net, Kind::Udp);
    for port in 100..5000 {
        let to = encode(peer(port), Family::V4);
        net.send_datagram(id, b"x", Some(&to), 0, Hints::default()).unwrap();
        net.clock.0 += 1000;
        net.pump(Some(&mut fake));
    }
    let open = fake.opened.len() - fake.closed.len();
    assert!(open <= 512, "{open} flows are open");
    net.clock.0 += 300_000_000_000;
    net.pump(Some(&mut fake));
    assert_eq!(fake.opened.len(), fake.closed.len());
    // An answer from a peer that a connected socket is not connected to is not heard.
    let to = encode(peer(53), Family::V4);
    net.connect_datagram(id, &to).unwrap();
    net.send_datagram(id, b"x", None, 0, Hints::default()).unwrap();
    net.pump(Some(&mut fake));
    let conn = fake.opened.last().unwrap().0;
    fake.events.push_back(Event::Failed(conn, Errno::ECONNREFUSED));
    net.pump(Some(&mut fake));
    assert!(matches!(net.receive_datagram(id, 0), Err(Errno::ECONNREFUSED)));
    net.close_datagram(id);
    net.pump(Some(&mut fake));
    assert_eq!(net.buffered(), 0);
}

#[test]
fn a_flow_that_the_host_gives_up_is_no_end_of_the_socket() {
    let (mut net, mut fake) = outside();
    let id = socket(&mut net, Kind::Udp);
    net.connect_datagram(id, &encode(peer(53), Family::V4)).unwrap();
    for flow in 1..4 {
        net.send_datagram(id, b"x", None, 0, Hints::default()).unwrap();
        net.pump(Some(&mut fake));
        assert_eq!(fake.opened.len(), flow, "the next datagram opens another flow");
        let conn = fake.opened.last().unwrap().0;
        fake.events.push_back(Event::Data(conn, b"answer".to_vec()));
        fake.events.push_back(Event::Eof(conn));
        fake.events.push_back(Event::Data(conn, b"after the end".to_vec()));
        net.pump(Some(&mut fake));
        assert_eq!(&*net.receive_datagram(id, 0).unwrap().data, b"answer");
        assert!(matches!(net.receive_datagram(id, 0), Err(Errno::EAGAIN)));
    }
    net.close_datagram(id);
    net.pump(Some(&mut fake));
    assert!(fake.closed.is_empty(), "they are gone already");
}

#[test]
fn questions_to_the_resolver_are_bounded() {
    let (mut net, mut fake) = outside();
    let id = socket(&mut net, Kind::Udp);
    let to = encode(net::resolver::ADDRESS, Family::V4);
    for n in 0..5000u16 {
        let mut query = n.to_be_bytes().to_vec();
        query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1]);
        net.send_datagram(id, &query, Some(&to), 0, Hints::default()).unwrap();
        net.pump(Some(&mut fake));
    }
    assert!(fake.queries.len() <= 256);
    assert!(net.buffered() < 1 << 20);
    // The host never answers: SERVFAIL comes after a while.
    while net.receive_datagram(id, 0).is_ok() {}
    net.clock.0 += 60_000_000_000;
    net.pump(Some(&mut fake));
    assert_eq!(net.receive_datagram(id, 0).unwrap().data[3] & 15, 2);
}

/// Arbitrary calls and events in any order: nothing panics, and at the end nothing is left.
#[test]
fn any_sequence_of_calls_leaves_nothing_behind() {
    let mut seed = 0x1234_5678_9abc_def1u64;
    let mut random = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) % n
    };
    for _ in 0..300 {
        let (mut net, mut fake) = outside();
        let mut all: Vec<SocketId> = Vec::new();
        let mut buf = vec![0; 5000];
        for _ in 0..400 {
            let kinds = [Kind::Tcp, Kind::Tcp, Kind::Tcp, Kind::Udp, Kind::Raw, Kind::Ping];
            let families = [Family::V4, Family::V6];
            if all.len() < 12 && random(4) == 0 {
                let family = families[random(2) as usize];
                let kind = kinds[random(6) as usize];
                let protocol = if kind == Kind::Raw { 1 } else { 0 };
                all.push(net.add(Socket::new(family, kind, protocol, 0)));
            }
            if all.is_empty() {
                continue;
            }
            let id = all[random(all.len() as u64) as usize];
            let kind = net.get(id).unwrap().kind;
            let family = net.get(id).unwrap().family;
            let ips = [
                "127.0.0.1",
                "127.0.0.2",
                "0.0.0.0",
                "198.51.100.7",
                "127.255.255.255",
                "::1",
                "::",
            ];
            let ip = ips[random(7) as usize].parse().unwrap();
            let at = encode(SocketAddr::new(ip, 40000 + random(4) as u16), family);
            let data = &vec![1; random(5000) as usize];
            let stream = kind == Kind::Tcp;
            match random(14) {
                0 => {
                    let _ = net.bind(id, &at, true);
                }
                1 => {
                    let _ = net.listen(id, random(3) as i32);
                }
                2 | 3 if stream => {
                    let _ = net.connect_stream(id, &at);
                }
                2 | 3 => {
                    let _ = net.connect_datagram(id, &at);
                }
                4 => {
                    if let Ok(child) = net.accept(id) {
                        all.push(child);
                    }
                }
                5 | 6 if stream => {
                    let _ = net.send_stream(id, data, random(2) as u32);
                }
                5 | 6 if kind == Kind::Udp => {
                    {
                        let _ = net.send_datagram(id, data, Some(&at), 0, Hints::default());
                    };
                }
                5 if kind == Kind::Raw => {
                    let _ = net.send_raw(id, data, Some(&at), 0, Hints::default());
                }
                6 => {
                    let _ = net.send_ping(id, data, Some(&at), 0, Hints::default());
                }
                7 | 8 if stream => {
                    let _ = net.receive_stream(id, &mut buf, random(4) as u32);
                }
                7 | 8 => {
                    let _ = net.receive_datagram(id, random(4) as u32);
                }
                9 if stream => {
                    let _ = net.shutdown_stream(id, random(3) as u32);
                }
                9 => {
                    let _ = net.shutdown_datagram(id, random(3) as u32);
                }
                10 => {
                    all.retain(|other| *other != id);
                    if stream { net.close_stream(id) } else { net.close_datagram(id) }
                }
                11 => {
                    let _ = net.poll_stream(id);
                }
                12 => {
                    let conn = Conn(random(u64::from(fake.next) + 2) as u32);
                    fake.events.push_back(match random(6) {
                        0 => Event::Connected(conn, None),
                        1 => Event::Failed(conn, Errno::ECONNRESET),
                        2 => Event::Data(conn, vec![2; random(3000) as usize]),
                        3 => Event::Eof(conn),
                        4 => Event::Room(conn),
                        _ => Event::Answer(random(9) as u32, Some(vec![0; 20])),
                    });
                    fake.incoming(40000 + random(4) as u16, random(60000) as u16);
                }
                _ => net.pump(Some(&mut fake)),
            }
        }
        for id in all {
            if net.get(id).unwrap().kind == Kind::Tcp {
                net.close_stream(id);
            } else {
                net.close_datagram(id);
            }
        }
        net.pump(Some(&mut fake));
        let left: Vec<_> = net.sockets().map(|(_, s)| (s.kind, s.tcp.state)).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(net.buffered(), 0);
    }
}
