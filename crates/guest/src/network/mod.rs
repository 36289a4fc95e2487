//! The way out: over one byte stream to the host, or in a component by its own sockets.

mod stream;

use crate::channel::Place;
#[cfg(feature = "sockets")]
use crate::sockets::Sockets;
use crate::waits::Waits;
use abi::Errno;
use mux::publish::Port;
use net::{Conn, Event, Outside, Transport};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use stream::Stream;

/// The way out; clones are the same.
#[derive(Clone)]
pub struct Way(Rc<RefCell<Kind>>);

enum Kind {
    Stream(Box<Stream>),
    #[cfg(feature = "sockets")]
    Sockets(Sockets),
}

impl Way {
    /// The way out that the host grants: `place` names a stream that leads to one; `nameserver` is asked by hosts there that
    /// answer no queries themselves. Otherwise a component tries its sockets, on which it listens at `ports`.
    ///
    /// # Errors
    /// A port cannot be published, for this reason.
    pub fn open(
        place: Option<&Place>,
        nameserver: Option<String>,
        ports: &[Port],
    ) -> Result<Option<Way>, String> {
        let way = |kind| Ok(Some(Way(Rc::new(RefCell::new(kind)))));
        match place {
            Some(place) => {
                if let Some(channel) = place.open() {
                    return way(Kind::Stream(Box::new(Stream::new(channel, nameserver))));
                }
            }
            #[cfg(feature = "sockets")]
            None => {
                if let Some(sockets) = Sockets::new(ports)? {
                    return way(Kind::Sockets(sockets));
                }
            }
            #[cfg(not(feature = "sockets"))]
            None => {}
        }
        match ports.first() {
            Some(port) => Err(format!("cannot publish {port}: the host lets nobody listen")),
            None => Ok(None),
        }
    }

    /// The way to sockets that the host serves, which is a stream wherever there are any.
    pub fn to_sockets(place: Option<&Place>) -> Option<Way> {
        let channel = place?.open()?;
        let stream = Kind::Stream(Box::new(Stream::new(channel, None)));
        Some(Way(Rc::new(RefCell::new(stream))))
    }

    /// Sends what the box has for the outside, as far as the host takes it, and says what to wait for.
    pub fn flush(&self, waits: &mut Waits) {
        match &mut *self.0.borrow_mut() {
            Kind::Stream(stream) => stream.flush(waits),
            #[cfg(feature = "sockets")]
            Kind::Sockets(sockets) => sockets.watch(waits),
        }
    }

    /// The box ends: everything it has sent goes to the host.
    pub fn finish(&self) {
        match &mut *self.0.borrow_mut() {
            Kind::Stream(stream) => stream.finish(),
            #[cfg(feature = "sockets")]
            Kind::Sockets(sockets) => sockets.drain(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut dyn Outside) -> T) -> T {
        match &mut *self.0.borrow_mut() {
            Kind::Stream(stream) => work(stream.as_mut()),
            #[cfg(feature = "sockets")]
            Kind::Sockets(sockets) => work(sockets),
        }
    }
}

impl Outside for Way {
    fn connect(&mut self, transport: Transport, peer: SocketAddr) -> Result<Conn, Errno> {
        self.with(|outside| outside.connect(transport, peer))
    }

    fn send(&mut self, conn: Conn, data: &[u8]) -> usize {
        self.with(|outside| outside.send(conn, data))
    }

    fn consumed(&mut self, conn: Conn, bytes: usize) {
        self.with(|outside| outside.consumed(conn, bytes));
    }

    fn finish(&mut self, conn: Conn) {
        self.with(|outside| outside.finish(conn));
    }

    fn close(&mut self, conn: Conn) {
        self.with(|outside| outside.close(conn));
    }

    fn abort(&mut self, conn: Conn) {
        self.with(|outside| outside.abort(conn));
    }

    fn taken(&mut self, conn: Conn) {
        self.with(|outside| outside.taken(conn));
    }

    fn query(&mut self, number: u32, message: &[u8]) {
        self.with(|outside| outside.query(number, message));
    }

    fn event(&mut self) -> Option<Event> {
        self.with(|outside| outside.event())
    }

    fn families(&self) -> (bool, bool) {
        self.with(|outside| outside.families())
    }
}
