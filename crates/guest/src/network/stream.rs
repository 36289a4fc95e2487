//! The way out over one byte stream on which the host serves many connections (`mux`).

use crate::channel::Channel;
use crate::waits::Waits;
use crate::wasi;
use abi::Errno;
use mux::{Client, Transport as Carried};
use net::{Conn, Event, Outside, Transport};
use std::net::SocketAddr;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Above this much unwritten output it is written before the box goes on.
const WRITE_AT: usize = 64 << 10;
/// How long the host may take to read what a box that ends has sent, ns, each time it reads something.
const PATIENCE: u64 = 2_000_000_000;

/// The stream and what goes over it.
pub struct Stream {
    channel: Channel,
    client: Client,
    /// The host reads and writes.
    open: bool,
}

impl Stream {
    /// The way out by a stream. `nameserver` is asked by hosts that answer no queries themselves.
    pub fn new(channel: Channel, nameserver: Option<String>) -> Stream {
        let mut stream = Stream { channel, client: Client::new(nameserver), open: true };
        stream.greet();
        stream
    }

    /// Writes what the box has sent, as far as the host takes it, and says what to wait for: the stream for reading, and the
    /// same for writing if something is left.
    pub fn flush(&mut self, waits: &mut Waits) {
        let left = self.write();
        if self.open {
            self.channel.watch(waits, self.client.wants_input(), left);
        }
    }

    /// The box ends: everything it has sent goes to the host.
    pub fn finish(&mut self) {
        while self.open && (self.write() || !self.channel.has_sent()) {
            let start = wasi::clock(false);
            let mut waits = Waits::default();
            self.channel.watch(&mut waits, false, true);
            waits.wait(Some(PATIENCE));
            if wasi::clock(false).saturating_sub(start) >= PATIENCE {
                return;
            }
        }
    }

    /// Waits for what the host offers, because what the box says of its network depends on it. A host that is late is
    /// taken to reach everything.
    fn greet(&mut self) {
        let start = wasi::clock(false);
        while !self.client.is_ready() {
            let waited = wasi::clock(false).saturating_sub(start);
            if waited >= PATIENCE || !self.open {
                return;
            }
            let mut waits = Waits::default();
            self.channel.watch(&mut waits, true, false);
            waits.wait(Some(PATIENCE - waited));
            self.read();
        }
    }

    /// Reads what there is.
    fn read(&mut self) {
        if !self.open || !self.client.wants_input() {
            return;
        }
        match self.channel.read(self.client.space(PIECE)) {
            Ok(0) => self.lost(),
            // A host that breaks the protocol is as good as gone; the client has failed everything.
            Ok(len) => self.open = self.client.arrived(len).is_ok(),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.lost(),
        }
    }

    /// Writes what is taken; whether something is left.
    fn write(&mut self) -> bool {
        while self.open {
            let output = self.client.output();
            if output.is_empty() {
                return false;
            }
            match self.channel.write(output) {
                Ok(0) | Err(Errno::EAGAIN) => return true,
                Ok(len) => self.client.wrote(len),
                Err(Errno::EINTR) => {}
                Err(_) => self.lost(),
            }
        }
        false
    }

    fn lost(&mut self) {
        self.open = false;
        self.client.lost();
    }

    fn write_if_much(&mut self) {
        if self.client.output().len() >= WRITE_AT {
            self.write();
        }
    }
}

impl Outside for Stream {
    fn connect(&mut self, transport: Transport, peer: SocketAddr) -> Result<Conn, Errno> {
        let host = peer.ip().to_canonical().to_string();
        let transport = match transport {
            Transport::Tcp => Carried::Tcp,
            Transport::Udp => Carried::Udp,
        };
        self.client.connect(transport, &host, peer.port()).map(Conn).map_err(errno)
    }

    fn send(&mut self, conn: Conn, data: &[u8]) -> usize {
        let taken = self.client.send(conn.0, data);
        self.write_if_much();
        taken
    }

    fn consumed(&mut self, conn: Conn, bytes: usize) {
        self.client.consumed(conn.0, bytes);
    }

    fn finish(&mut self, conn: Conn) {
        self.client.finish(conn.0);
    }

    fn close(&mut self, conn: Conn) {
        self.client.close(conn.0);
    }

    fn abort(&mut self, conn: Conn) {
        self.client.abort(conn.0);
    }

    fn taken(&mut self, conn: Conn) {
        self.client.accept(conn.0);
    }

    fn query(&mut self, number: u32, message: &[u8]) {
        self.client.query(number, message);
    }

    fn event(&mut self) -> Option<Event> {
        let event = match self.client.event() {
            Some(event) => Some(event),
            None => {
                self.write();
                self.read();
                self.client.event()
            }
        };
        event.map(convert)
    }

    fn families(&self) -> (bool, bool) {
        let families = self.client.families();
        (families.v4, families.v6)
    }
}

fn errno(number: u16) -> Errno {
    Errno::from_raw(i32::from(number)).unwrap_or(Errno::ECONNRESET)
}

fn convert(event: mux::Event) -> Event {
    match event {
        mux::Event::Connected(stream, local) => Event::Connected(Conn(stream), local),
        mux::Event::Failed(stream, number) => Event::Failed(Conn(stream), errno(number)),
        mux::Event::Data(stream, bytes) => Event::Data(Conn(stream), bytes),
        mux::Event::Eof(stream) => Event::Eof(Conn(stream)),
        mux::Event::Room(stream) => Event::Room(Conn(stream)),
        mux::Event::Incoming { stream, transport, port, peer } => Event::Incoming {
            conn: Conn(stream),
            transport: match transport {
                Carried::Tcp => Transport::Tcp,
                Carried::Udp => Transport::Udp,
            },
            port,
            peer,
        },
        mux::Event::Answer(number, message) => Event::Answer(number, message),
    }
}
