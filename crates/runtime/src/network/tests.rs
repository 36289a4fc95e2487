//! The host's end with real sockets on the loopback, and a client of the protocol in the box's place.
#![allow(clippy::unwrap_used)]

use super::*;
use mux::{Client, Event, Transport};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A box's end of a network.
struct Guest {
    client: Client,
    wire: UnixStream,
    serving: Option<Serving>,
    published: Vec<Published>,
    reports: Arc<Mutex<Vec<String>>>,
}

impl Guest {
    fn with(words: &[&str], ports: &[&str]) -> Self {
        Guest::counted(words, ports, Arc::default())
    }

    fn counted(words: &[&str], ports: &[&str], traffic: Arc<Traffic>) -> Self {
        let mut policy = Policy::none();
        for word in words {
            policy.grant(word).unwrap();
        }
        let reports = Arc::new(Mutex::new(Vec::new()));
        let heard = reports.clone();
        let report: NetworkReport =
            Arc::new(move |event| heard.lock().unwrap().push(event.to_string()));
        let ports = ports.iter().flat_map(|text| Port::parse(text).unwrap()).collect();
        let traffic = Some(traffic);
        let grant = Grant { policy, ports, report: Some(report), traffic, ..Grant::default() };
        Guest { reports, ..Guest::granted(grant) }
    }

    fn granted(grant: Grant) -> Self {
        let reports = Arc::default();
        let network = Network::new(grant).unwrap();
        let published = network.published();
        let (descriptor, serving) = network.start().unwrap();
        let wire = descriptor.into_end();
        wire.set_nonblocking(false).unwrap();
        wire.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        Guest { client: Client::new(None), wire, serving: Some(serving), published, reports }
    }

    fn turn(&mut self) {
        let len = self.client.output().len();
        self.wire.write_all(self.client.output()).unwrap();
        self.client.wrote(len);
        if self.client.wants_input()
            && let Ok(len) = self.wire.read(self.client.space(256 << 10))
        {
            self.client.arrived(len).unwrap();
        }
    }

    /// The next event, within 10 seconds.
    fn event(&mut self) -> Event {
        let start = Instant::now();
        loop {
            if let Some(event) = self.client.event() {
                return event;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "nothing happened");
            self.turn();
        }
    }

    fn connect(&mut self, transport: Transport, to: SocketAddr) -> u32 {
        self.client.connect(transport, &to.ip().to_string(), to.port()).unwrap()
    }

    fn reports(&self) -> String {
        self.reports.lock().unwrap().join("\n")
    }
}

/// A listener on the host's loopback, and how the box calls it.
fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, SocketAddr::new(GATEWAY_V4, port))
}

const GATEWAY_V4: IpAddr = super::policy::GATEWAY[0];

#[test]
fn a_connection_goes_out_and_ends_by_halves() {
    let (listener, to) = listener();
    let mut guest = Guest::with(&["allow=localhost:*"], &[]);
    let stream = guest.connect(Transport::Tcp, to);
    let peer = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut all = String::new();
        socket.read_to_string(&mut all).unwrap();
        socket.write_all(all.to_uppercase().as_bytes()).unwrap();
    });
    assert!(matches!(guest.event(), Event::Connected(of, Some(_)) if of == stream));
    assert_eq!(guest.client.send(stream, b"hello"), 5);
    guest.client.finish(stream);
    assert_eq!(guest.event(), Event::Data(stream, b"HELLO".to_vec()));
    assert_eq!(guest.event(), Event::Eof(stream));
    guest.client.close(stream);
    peer.join().unwrap();
}

#[test]
fn failures_have_their_numbers() {
    let (listener, to) = listener();
    drop(listener);
    let mut guest = Guest::with(&["allow=localhost:*"], &[]);
    let stream = guest.connect(Transport::Tcp, to);
    assert_eq!(guest.event(), Event::Failed(stream, 111), "ECONNREFUSED");
    let udp = guest.connect(Transport::Udp, to);
    guest.client.send(udp, b"anybody there?");
    assert_eq!(guest.event(), Event::Failed(udp, 111), "ECONNREFUSED by ICMP");
    let stream = guest.client.connect(Transport::Tcp, "no.such.name.invalid", 80).unwrap();
    assert_eq!(guest.event(), Event::Failed(stream, 13), "EACCES: the rules do not name it");
}

#[test]
fn what_is_refused_never_leaves() {
    let (listener, to) = listener();
    listener.set_nonblocking(true).unwrap();
    let port = to.port();
    for words in
        [&["host"][..], &["allow=example.org:*"], &["allow=localhost:1"], &["allow=0.0.0.0/0:*"]]
    {
        let mut guest = Guest::with(words, &[]);
        for host in ["127.0.0.1", "172.17.0.1", "0.0.0.0", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            let Ok(stream) = guest.client.connect(Transport::Tcp, host, port) else { continue };
            let event = guest.event();
            let refused = [Event::Failed(stream, 13), Event::Failed(stream, 101)];
            assert!(refused.contains(&event), "{words:?} {host}: {event:?}");
        }
        assert!(guest.reports().contains("refused tcp 172.17.0.1"), "{}", guest.reports());
    }
    let none = listener.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(none, Err(std::io::ErrorKind::WouldBlock), "somebody got through");
    // Ports alone open no way out.
    let mut guest = Guest::with(&[], &["0:80"]);
    guest.client.query(1, b"x");
    guest.event();
    assert_eq!(guest.client.connect(Transport::Tcp, "172.17.0.1", port), Err(101));
}

#[test]
fn what_is_tried_is_told_even_where_there_is_nothing() {
    let (_listener, to) = listener();
    let (heard, told) = std::sync::mpsc::channel();
    let report: NetworkReport = Arc::new(move |event| heard.send(event.clone()).unwrap());
    let grant = Grant { report: Some(report), tell_all: true, ..Grant::default() };
    let mut guest = Guest::granted(grant);
    let stream = guest.connect(Transport::Tcp, to);
    assert_eq!(guest.event(), Event::Failed(stream, 101), "ENETUNREACH");
    let refused = told.recv_timeout(Duration::from_secs(5)).unwrap();
    let of = to.to_string();
    assert!(matches!(&refused, NetworkEvent::Refused { to, .. } if *to == of), "{refused:?}");
}

#[test]
fn bytes_are_counted_and_not_one_is_too_many() {
    let (listener, to) = listener();
    let echo = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut got = [0; 10];
        peer.read_exact(&mut got).unwrap();
        peer.write_all(&got).unwrap();
        // What comes after that is the reset.
        let mut rest = Vec::new();
        let end = peer.read_to_end(&mut rest);
        (rest, end.is_err())
    });
    let traffic = Arc::new(Traffic::new(Some(25)));
    let mut guest = Guest::counted(&["allow=localhost:*"], &[], traffic.clone());
    let stream = guest.connect(Transport::Tcp, to);
    assert!(matches!(guest.event(), Event::Connected(at, _) if at == stream));
    guest.client.send(stream, b"ten bytes.");
    loop {
        match guest.event() {
            Event::Data(_, bytes) => break assert_eq!(bytes, b"ten bytes."),
            _ => continue,
        }
    }
    assert_eq!(traffic.used(), 20);
    guest.client.send(stream, b"six mo");
    loop {
        match guest.event() {
            Event::Failed(at, errno) => break assert_eq!((at, errno), (stream, 104), "ECONNRESET"),
            _ => continue,
        }
    }
    assert_eq!(echo.join().unwrap(), (Vec::new(), true), "the peer sees a reset, and no byte");
    assert!(traffic.is_over() && traffic.used() == 20);
    let again = guest.connect(Transport::Tcp, to);
    assert_eq!(guest.event(), Event::Failed(again, 13), "EACCES: nothing is left");
    assert!(guest.reports().contains("all 25 bytes are used up"), "{}", guest.reports());
}

#[test]
fn names_are_looked_up_as_far_as_they_are_allowed() {
    let query = |name: &str, kind: u8| {
        let labels = name.split('.').flat_map(|label| {
            std::iter::once(label.len() as u8).chain(label.bytes()).collect::<Vec<_>>()
        });
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(labels);
        message.extend([0, 0, kind, 0, 1]);
        message
    };
    let mut guest = Guest::with(&["host"], &[]);
    guest.client.query(1, &query("localhost", 1));
    let Event::Answer(1, Some(answer)) = guest.event() else { panic!() };
    assert_eq!(names::addresses(&answer), [IpAddr::from([127, 0, 0, 1])]);
    guest.client.query(2, &query("1.0.0.127.in-addr.arpa", 12));
    let Event::Answer(2, Some(answer)) = guest.event() else { panic!() };
    assert!(answer.windows(9).any(|bytes| bytes == b"localhost"), "{answer:?}");
    guest.client.query(3, b"nonsense");
    assert_eq!(guest.event(), Event::Answer(3, None));

    let mut guest = Guest::with(&["allow=example.org:443"], &[]);
    guest.client.query(1, &query("localhost", 1));
    let Event::Answer(1, Some(answer)) = guest.event() else { panic!() };
    assert_eq!(answer[3] & 15, 5, "REFUSED");
    assert!(guest.reports().contains("refused to look up localhost"));
}

#[test]
fn published_ports_lead_in() {
    let mut guest = Guest::with(&[], &["0:80", "0:53/udp"]);
    let (tcp, udp) = (guest.published[0].host, guest.published[1].host);
    let peer = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(tcp).unwrap();
        socket.write_all(b"ping").unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut all = Vec::new();
        socket.read_to_end(&mut all).unwrap();
        all
    });
    let Event::Incoming { stream, transport: Transport::Tcp, port: 80, peer: seen } = guest.event()
    else {
        panic!()
    };
    assert_eq!(seen.ip(), GATEWAY_V4, "in the box 127.0.0.1 is the box");
    assert_eq!(guest.event(), Event::Data(stream, b"ping".to_vec()));
    assert_eq!(guest.event(), Event::Eof(stream));
    guest.client.send(stream, b"pong");
    guest.client.close(stream);
    while !peer.is_finished() {
        guest.turn();
    }
    assert_eq!(peer.join().unwrap(), b"pong");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(b"who", udp).unwrap();
    let Event::Incoming { stream, transport: Transport::Udp, port: 53, .. } = guest.event() else {
        panic!()
    };
    assert_eq!(guest.event(), Event::Data(stream, b"who".to_vec()));
    guest.client.send(stream, b"me");
    guest.turn();
    let mut buffer = [0; 16];
    assert_eq!(socket.recv(&mut buffer).unwrap(), 2);
    let error = Network::new(Grant {
        ports: Port::parse(&format!("{}:80", tcp.port())).unwrap(),
        ..Grant::default()
    });
    assert!(error.unwrap_err().to_string().contains("choose another port"));
}

#[test]
fn of_several_ports_the_first_that_is_free_is_published() {
    let grant =
        |text: &str| Network::new(Grant { ports: Port::parse(text).unwrap(), ..Grant::default() });
    // Somebody has the first; the next ones may be anybody's, but not all of twenty.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = taken.min(u16::MAX - 20);
    let range = format!("{first}-{}:80", first + 20);
    let (one, other) = (grant(&range).unwrap(), grant(&range).unwrap());
    let (one, other) = (one.published()[0], other.published()[0]);
    assert!(one.chosen && other.chosen && first <= one.host.port(), "{one:?}");
    assert_ne!(one.host.port(), other.host.port());
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let error = grant(&format!("{port}-{port}:80")).unwrap_err();
    assert!(error.to_string().contains("choose another port"), "{error}");
}

/// A peer that does not read, and one that sends without end: both are held up, and the box's end is not in the way.
#[test]
fn stalled_peers_hold_nobody_up() {
    let (listener, to) = listener();
    let mut guest = Guest::with(&["allow=localhost:*"], &[]);
    let stream = guest.connect(Transport::Tcp, to);
    assert!(matches!(guest.event(), Event::Connected(..)));
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_nonblocking(true).unwrap();
    let (mut sent, mut got) = (0, 0);
    for _ in 0..2000 {
        sent += guest.client.send(stream, &[1; 64 << 10]);
        while let Ok(len) = peer.write(&[2; 64 << 10]) {
            got += len;
        }
        guest.turn();
        if sent > 16 << 20 && got > 16 << 20 {
            break;
        }
    }
    assert!(sent < 16 << 20, "{sent} bytes without anybody reading");
    assert!(got < 16 << 20, "{got} bytes without anybody reading");
    // The box ends with the peer still stalled: that takes its grace, not for ever.
    let start = Instant::now();
    drop(guest.wire);
    guest.serving = None;
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn many_bytes_go_through_quickly() {
    const TOTAL: usize = 256 << 20;
    let (listener, to) = listener();
    let mut guest = Guest::with(&["allow=localhost:*"], &[]);
    let stream = guest.connect(Transport::Tcp, to);
    let peer = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let piece = vec![7; 1 << 20];
        for _ in 0..TOTAL / piece.len() {
            socket.write_all(&piece).unwrap();
        }
    });
    let start = Instant::now();
    let mut got = 0;
    loop {
        match guest.event() {
            Event::Data(_, bytes) => {
                got += bytes.len();
                guest.client.consumed(stream, bytes.len());
            }
            Event::Eof(_) => break,
            _ => {}
        }
    }
    assert_eq!(got, TOTAL);
    peer.join().unwrap();
    let rate = TOTAL as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("{rate:.0} MB/s");
    assert!(rate > 20.0, "{rate:.0} MB/s");
}
