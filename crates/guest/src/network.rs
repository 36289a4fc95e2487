//! The way out over one descriptor: a byte stream on which the host serves many connections (`mux`).

use crate::wasi;
use abi::Errno;
use mux::{Client, Transport as Carried};
use net::{Conn, Event, Outside, Transport};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Above this much unwritten output it is written before the box goes on.
const WRITE_AT: usize = 64 << 10;
/// How long the host may take to read what a box that ends has sent, ns, each time it reads something.
const PATIENCE: u64 = 2_000_000_000;

/// The stream and what goes over it; clones are the same.
#[derive(Clone)]
pub struct Way(Rc<RefCell<State>>);

struct State {
    fd: wasi::Fd,
    client: Client,
    /// Reads return at once. Elsewhere the host is asked first whether there is something.
    nonblocking: bool,
    /// The host reads and writes.
    open: bool,
}

impl Way {
    /// The way out by a descriptor. `nameserver` is asked by hosts that answer no queries themselves.
    pub fn new(fd: wasi::Fd, nameserver: Option<String>) -> Way {
        let nonblocking = wasi::is_nonblocking(fd);
        let client = Client::new(nameserver);
        let mut state = State { fd, client, nonblocking, open: true };
        state.greet();
        Way(Rc::new(RefCell::new(state)))
    }

    /// Writes what the box has sent, as far as the host takes it. What to wait for: the descriptor for reading, and the same
    /// for writing if something is left.
    pub fn flush(&self) -> (Option<wasi::Fd>, Option<wasi::Fd>) {
        let mut state = self.0.borrow_mut();
        let left = state.write();
        let fd = Some(state.fd).filter(|_| state.open);
        (fd.filter(|_| state.client.wants_input()), fd.filter(|_| left))
    }

    /// The box ends: everything it has sent goes to the host.
    pub fn finish(&self) {
        loop {
            let (_, left) = self.flush();
            if left.is_none() || !wasi::wait_to_write(left, PATIENCE) {
                return;
            }
        }
    }
}

impl State {
    /// Waits for what the host offers, because what the box says of its network depends on it. A host that is late is
    /// taken to reach everything.
    fn greet(&mut self) {
        let start = wasi::clock(false);
        while !self.client.is_ready() {
            let waited = wasi::clock(false).saturating_sub(start);
            if waited >= PATIENCE || !self.open {
                return;
            }
            wasi::wait(&[self.fd], None, Some(PATIENCE - waited));
            self.read();
        }
    }

    /// Reads what there is.
    fn read(&mut self) {
        if !self.open || !self.client.wants_input() {
            return;
        }
        if !self.nonblocking && wasi::wait(&[self.fd], None, Some(0)).is_empty() {
            return;
        }
        match wasi::read(self.fd, self.client.space(PIECE)) {
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
            match wasi::write(self.fd, output) {
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

impl Outside for Way {
    fn connect(&mut self, transport: Transport, peer: SocketAddr) -> Result<Conn, Errno> {
        let host = peer.ip().to_canonical().to_string();
        let transport = match transport {
            Transport::Tcp => Carried::Tcp,
            Transport::Udp => Carried::Udp,
        };
        let mut state = self.0.borrow_mut();
        state.client.connect(transport, &host, peer.port()).map(Conn).map_err(errno)
    }

    fn send(&mut self, conn: Conn, data: &[u8]) -> usize {
        let mut state = self.0.borrow_mut();
        let taken = state.client.send(conn.0, data);
        state.write_if_much();
        taken
    }

    fn consumed(&mut self, conn: Conn, bytes: usize) {
        self.0.borrow_mut().client.consumed(conn.0, bytes);
    }

    fn finish(&mut self, conn: Conn) {
        self.0.borrow_mut().client.finish(conn.0);
    }

    fn close(&mut self, conn: Conn) {
        self.0.borrow_mut().client.close(conn.0);
    }

    fn abort(&mut self, conn: Conn) {
        self.0.borrow_mut().client.abort(conn.0);
    }

    fn query(&mut self, number: u32, message: &[u8]) {
        self.0.borrow_mut().client.query(number, message);
    }

    fn event(&mut self) -> Option<Event> {
        let mut state = self.0.borrow_mut();
        let event = match state.client.event() {
            Some(event) => Some(event),
            None => {
                state.write();
                state.read();
                state.client.event()
            }
        };
        event.map(convert)
    }

    fn families(&self) -> (bool, bool) {
        let families = self.0.borrow().client.families();
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
