//! Arbitrary calls on sockets, packets of raw sockets, and whatever an outside may tell: events in any order for any flow, answers of
//! a resolver that are no answers. The network answers each call; it neither panics nor loses count of what it holds.
//!
//! A short slice runs with the other tests. `cargo xtask fuzz-net --inputs N --seed S` makes N inputs; `BOXER_FUZZ_INPUTS` and
//! `BOXER_FUZZ_SEED` say the same to this test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::net::SocketAddr;

use abi::Errno;
use net::address::encode;
use net::set::Privilege;
use net::tap::Tap;
use net::{
    Conn, Event, Family, Hints, Kind, Net, OptionValue, Outside, Socket, SocketId, Transport,
};

/// Inputs that one network gets before the next one starts: sockets, ports and queues then have every age.
const ROUND: u64 = 20_000;
/// Sockets of a round that are open at once.
const OPEN: usize = 40;
/// Bytes that all queues may hold: what `Net::is_short` and the buffers of so many sockets allow.
const HELD_MAX: usize = 160 << 20;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let len = match self.below(50) {
            0 => self.below(70_000),
            1..=4 => self.below(2_000),
            _ => self.below(most),
        };
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Small ports, so that sockets meet.
    fn port(&mut self) -> u16 {
        match self.below(8) {
            0 => self.next() as u16,
            1 => 53,
            n => 7000 + n as u16,
        }
    }

    fn address(&mut self) -> SocketAddr {
        let ip = self.pick(&[
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "0.0.0.0",
            "172.17.0.2",
            "172.17.0.1",
            "127.0.0.11",
            "198.51.100.7",
            "255.255.255.255",
            "224.0.0.251",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "ff02::1",
            "2001:db8::1",
        ]);
        SocketAddr::new(ip.parse().unwrap(), self.port())
    }

    /// A `sockaddr`, mostly a good one.
    fn sockaddr(&mut self) -> Vec<u8> {
        let address = self.address();
        let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
        let mut bytes = encode(address, if self.below(6) == 0 { Family::V6 } else { family });
        match self.below(20) {
            0 => bytes = self.bytes(40),
            1 => bytes.truncate(self.below(30) as usize),
            2 => bytes[0] = 0,
            _ => {}
        }
        bytes
    }

    /// A query or an answer, or something between.
    fn dns(&mut self) -> Vec<u8> {
        let mut m = vec![0; 12];
        m[0] = self.next() as u8;
        m[2] = self.pick(&[0x01, 0x81, 0x85, 0x00, 0xff]);
        m[5] = self.pick(&[1, 1, 1, 0, 2, 255]);
        m[7] = self.pick(&[0, 1, 255]);
        for _ in 0..self.below(4) {
            let label =
                self.pick(&["box", "example", "org", "in-addr", "arpa", "localhost", "7", "127"]);
            m.push(label.len() as u8);
            m.extend(label.bytes());
        }
        m.extend([0, 0, self.pick(&[1, 28, 12, 33, 255, 41]), 0, 1]);
        if self.below(3) == 0 {
            m.extend([0xc0, self.next() as u8, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]);
        }
        for _ in 0..self.below(3) {
            let at = self.below(m.len() as u64) as usize;
            m[at] = self.next() as u8;
        }
        if self.below(8) == 0 {
            m.truncate(self.below(m.len() as u64) as usize);
        }
        m
    }
}

/// An outside that tells anything.
struct Anything {
    random: Random,
    given: u32,
    events: VecDeque<Event>,
}

impl Anything {
    /// A flow that there is, mostly.
    fn flow(&mut self) -> Conn {
        match self.random.below(10) {
            0 => Conn(self.random.next() as u32),
            _ => Conn(self.given.saturating_sub(self.random.below(20) as u32)),
        }
    }

    fn happen(&mut self) {
        let conn = self.flow();
        let event = match self.random.below(12) {
            0 | 1 => {
                Event::Connected(conn, (self.random.below(2) == 0).then(|| self.random.address()))
            }
            2 => Event::Failed(
                conn,
                self.random.pick(&[
                    Errno::ECONNREFUSED,
                    Errno::ECONNRESET,
                    Errno::EACCES,
                    Errno::EIO,
                ]),
            ),
            3..=5 => Event::Data(conn, self.random.bytes(300)),
            6 => Event::Eof(conn),
            7 => Event::Room(conn),
            8..=10 => {
                self.given += u32::from(self.random.below(8) != 0);
                let transport = self.random.pick(&[Transport::Tcp, Transport::Udp]);
                let (port, peer) = (self.random.port(), self.random.address());
                Event::Incoming { conn: Conn(self.given), transport, port, peer }
            }
            _ => {
                let number = self.random.below(64) as u32;
                let answer = (self.random.below(5) != 0).then(|| self.random.dns());
                Event::Answer(number, answer)
            }
        };
        self.events.push_back(event);
    }
}

impl Outside for Anything {
    fn connect(&mut self, _: Transport, _: SocketAddr) -> Result<Conn, Errno> {
        if self.random.below(6) == 0 {
            return Err(Errno::ENETUNREACH);
        }
        self.given += 1;
        Ok(Conn(self.given))
    }
    fn send(&mut self, _: Conn, data: &[u8]) -> usize {
        match self.random.below(3) {
            0 => 0,
            1 => self.random.below(data.len() as u64 + 1) as usize,
            _ => data.len(),
        }
    }
    fn consumed(&mut self, _: Conn, _: usize) {}
    fn finish(&mut self, _: Conn) {}
    fn close(&mut self, _: Conn) {}
    fn abort(&mut self, _: Conn) {}
    fn query(&mut self, number: u32, message: &[u8]) {
        // What was asked comes back changed, now and then.
        let mut answer = message.to_vec();
        if let Some(flags) = answer.get_mut(2) {
            *flags |= 0x80;
        }
        match self.random.below(4) {
            0 => self.events.push_back(Event::Answer(number, Some(answer))),
            1 => {
                let more = self.random.bytes(60);
                answer.extend(more);
                self.events.push_back(Event::Answer(number, Some(answer)));
            }
            _ => {}
        }
    }
    fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
    fn families(&self) -> (bool, bool) {
        (true, self.random.0 & 1 == 0)
    }
}

struct Round {
    random: Random,
    net: Net,
    outside: Anything,
    open: Vec<(SocketId, Kind)>,
    taps: Vec<SocketId>,
    now: u64,
}

impl Round {
    fn new(seed: u64) -> Round {
        let mut random = Random(seed);
        let outside = Anything { random: Random(random.next()), given: 0, events: VecDeque::new() };
        let mut net = Net::default();
        net.seed(random.next());
        Round { random, net, outside, open: Vec::new(), taps: Vec::new(), now: 1_000_000_000 }
    }

    fn make(&mut self) {
        let family = self.random.pick(&[Family::V4, Family::V6]);
        let kind =
            self.random.pick(&[Kind::Tcp, Kind::Tcp, Kind::Udp, Kind::Udp, Kind::Ping, Kind::Raw]);
        let protocol = match kind {
            Kind::Raw => self.random.pick(&[1, 58, 6, 17, 255, 200]),
            Kind::Ping => {
                if family == Family::V4 {
                    1
                } else {
                    58
                }
            }
            Kind::Udp => self.random.pick(&[0, 0, 136]),
            Kind::Tcp => 0,
        };
        if !self.net.is_full() {
            self.open.push((self.net.add(Socket::new(family, kind, protocol, 0)), kind));
        }
    }

    /// One call, event or packet.
    fn input(&mut self) {
        let at = self.random.below(self.open.len() as u64) as usize;
        let Some(&(id, kind)) = self.open.get(at) else { return self.make() };
        let flags = match self.random.below(4) {
            0 => self.random.next() as u32,
            1 => 1 << self.random.below(32),
            _ => 0x40,
        };
        match self.random.below(26) {
            0 | 1 if self.open.len() < OPEN => self.make(),
            0..=2 => self.close(at),
            3 | 4 => {
                let _ = self.net.bind(id, &self.random.sockaddr(), self.random.below(2) == 0);
            }
            5 | 6 => {
                let to = self.random.sockaddr();
                let _ = match kind {
                    Kind::Tcp => self.net.connect_stream(id, &to),
                    _ => self.net.connect_datagram(id, &to),
                };
            }
            7 | 8 if kind == Kind::Tcp => {
                let _ = self.net.listen(id, self.random.below(6) as i32 - 1);
            }
            9 | 10 if kind == Kind::Tcp => {
                if let Ok(child) = self.net.accept(id) {
                    self.open.push((child, Kind::Tcp));
                }
            }
            7..=15 => self.send(id, kind, flags),
            16..=18 => self.receive(id, kind, flags),
            19 => {
                let how = self.random.below(4) as u32;
                let _ = match kind {
                    Kind::Tcp => self.net.shutdown_stream(id, how),
                    _ => self.net.shutdown_datagram(id, how),
                };
            }
            20 => self.option(id),
            21 => self.look(id, kind),
            22 => {
                let ns = self.random.pick(&[1, 1000, 1_000_000, 1_000_000_000, 200_000_000_000]);
                self.now += self.random.below(ns);
            }
            23 => self.tap(),
            _ => {
                for _ in 0..self.random.below(4) {
                    self.outside.happen();
                }
                self.net.clock = (self.now, self.now + 1_700_000_000_000_000_000);
                let outside = self.random.below(10) != 0;
                self.net.pump(outside.then_some(&mut self.outside as &mut dyn Outside));
            }
        }
        self.net.clock = (self.now, self.now + 1_700_000_000_000_000_000);
    }

    fn send(&mut self, id: SocketId, kind: Kind, flags: u32) {
        let data =
            if self.random.below(4) == 0 { self.random.dns() } else { self.random.bytes(200) };
        let to = (self.random.below(3) != 0).then(|| self.random.sockaddr());
        let ip = self.random.address().ip();
        let mut some = |n: u64| self.random.below(5) == 0 && n > 0;
        let hints = Hints {
            index: u32::from(some(1)) * 3,
            source: some(1).then_some(ip),
            ttl: some(1).then_some(0),
            tos: some(1).then_some(255),
            segment: some(1).then_some(7),
        };
        let _ = match kind {
            Kind::Tcp => self.net.send_stream(id, &data, flags),
            Kind::Udp => self.net.send_datagram(id, &data, to.as_deref(), flags, hints),
            Kind::Ping => self.net.send_ping(id, &data, to.as_deref(), flags, hints),
            Kind::Raw => self.net.send_raw(id, &data, to.as_deref(), flags, hints),
        };
    }

    fn receive(&mut self, id: SocketId, kind: Kind, flags: u32) {
        let mut buf = vec![0; self.random.below(9000) as usize];
        match kind {
            Kind::Tcp => {
                let _ = self.net.receive_stream(id, &mut buf, flags);
            }
            _ if self.random.below(4) == 0 => {
                if let Ok(message) = self.net.receive_error(id) {
                    net::control::told_error(&message);
                }
            }
            _ => {
                if let Ok(datagram) = self.net.receive_datagram(id, flags) {
                    self.net.told(id, &datagram);
                }
            }
        }
    }

    fn option(&mut self, id: SocketId) {
        let level = self.random.pick(&[0, 1, 6, 17, 41, 58, 136, 255]);
        let option = self.random.below(90) as u32;
        let bytes = match self.random.below(3) {
            0 => self.random.bytes(140),
            _ => (self.random.below(5) as i32 - 1).to_le_bytes().to_vec(),
        };
        let len = bytes.len();
        let value = OptionValue { bytes: Ok(bytes), len };
        let who = Privilege { admin: self.random.below(2) == 0, raw: self.random.below(2) == 0 };
        let _ = self.net.set_option(id, level, option, &value, who);
        let _ = self.net.get_option(id, level, option, self.random.below(300) as usize);
    }

    fn look(&mut self, id: SocketId, kind: Kind) {
        match kind {
            Kind::Tcp => {
                self.net.poll_stream(id);
                let _ = (
                    self.net.readable_bytes(id),
                    self.net.unsent_bytes(id),
                    self.net.is_at_mark(id),
                );
                let socket = self.net.get(id).expect("it is open");
                net::info::tcp_info(&self.net, id, socket);
            }
            _ => {
                self.net.poll_datagram(id);
            }
        }
        self.net.take_changed();
    }

    fn tap(&mut self) {
        match self.random.below(3) {
            0 if self.taps.len() < 3 => {
                let protocol = self.random.pick(&[3, 0x800, 0x86dd]);
                self.taps.push(self.net.add_tap(Tap::new(protocol, 100_000)));
            }
            1 => {
                if let Some(id) = self.taps.pop() {
                    self.net.remove_tap(id);
                }
            }
            _ => {
                let data = self.random.bytes(100);
                self.net.show_packet(0x800, data);
                for id in &self.taps {
                    if let Some(tap) = self.net.tap(*id) {
                        tap.front();
                        tap.pop();
                    }
                }
            }
        }
    }

    fn close(&mut self, at: usize) {
        let (id, kind) = self.open.swap_remove(at);
        match kind {
            Kind::Tcp => self.net.close_stream(id),
            _ => self.net.close_datagram(id),
        }
    }

    /// After the end of all sockets nothing is left but what the outside has not taken.
    fn end(mut self) {
        while !self.open.is_empty() {
            self.close(0);
        }
        self.now += 1_000_000_000_000;
        self.net.clock = (self.now, self.now);
        for _ in 0..2000 {
            self.net.pump(Some(&mut self.outside));
        }
        let left = self.net.sockets().count();
        assert_eq!(left, 0, "{left} sockets are left, whose files are closed");
        assert_eq!(self.net.buffered(), 0, "bytes are counted that are in no queue");
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn any_call_and_any_event_is_answered() {
    let (inputs, seed) = (number("BOXER_FUZZ_INPUTS", 200_000), number("BOXER_FUZZ_SEED", 1));
    let mut most = 0;
    for round in 0..inputs.div_ceil(ROUND) {
        // A panic names the round, which `--seed` repeats.
        let seed = seed.wrapping_add(round);
        let mut r = Round::new(seed);
        for n in 0..ROUND.min(inputs) {
            r.input();
            let held = r.net.buffered();
            most = most.max(held);
            assert!(held < HELD_MAX, "seed {seed}, input {n}: {held} bytes are held");
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| r.end()));
        assert!(result.is_ok(), "seed {seed}");
    }
    println!("{inputs} inputs; at most {most} bytes were held");
}
