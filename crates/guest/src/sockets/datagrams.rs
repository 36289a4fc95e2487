//! Flows of datagrams to one peer, each over a socket of its own.

use super::values::{self, errno};
use abi::Errno;
use net::{Conn, Event};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use wasip2::io::poll::Pollable;
use wasip2::sockets::network::{ErrorCode, Network};
use wasip2::sockets::udp::{
    IncomingDatagram, IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket,
};
use wasip2::sockets::udp_create_socket::create_udp_socket;

/// Datagrams that are taken at once.
const BATCH: u64 = 16;

/// A flow.
pub struct Datagrams {
    // Children are dropped before what they are of.
    pub readable: Rc<Pollable>,
    streams: Streams,
    _socket: UdpSocket,
}

/// Both directions of a socket.
pub struct Streams {
    incoming: IncomingDatagramStream,
    outgoing: OutgoingDatagramStream,
}

/// A socket bound to `local`, and its streams, to and from `peer` or anybody.
pub fn open(
    network: &Network,
    local: SocketAddr,
    peer: Option<SocketAddr>,
) -> Result<(UdpSocket, Streams, Rc<Pollable>), Errno> {
    let socket = create_udp_socket(values::family(local)).map_err(errno)?;
    socket.start_bind(network, values::wasi(local)).map_err(errno)?;
    socket.finish_bind().map_err(errno)?;
    let (incoming, outgoing) = socket.stream(peer.map(values::wasi)).map_err(errno)?;
    let readable = Rc::new(incoming.subscribe());
    Ok((socket, Streams { incoming, outgoing }, readable))
}

impl Streams {
    /// What has come.
    pub fn receive(&self) -> Result<Vec<IncomingDatagram>, Errno> {
        match self.incoming.receive(BATCH) {
            Ok(datagrams) => Ok(datagrams),
            Err(ErrorCode::WouldBlock) => Ok(Vec::new()),
            Err(code) => Err(errno(code)),
        }
    }

    /// Sends a datagram: its length, or 0 when the host takes none now.
    pub fn send(&self, peer: Option<SocketAddr>, data: &[u8]) -> Result<usize, Errno> {
        if self.outgoing.check_send().map_err(errno)? == 0 {
            return Ok(0);
        }
        let remote_address = peer.map(values::wasi);
        match self.outgoing.send(&[OutgoingDatagram { data: data.to_vec(), remote_address }]) {
            Ok(0) | Err(ErrorCode::WouldBlock) => Ok(0),
            Ok(_) => Ok(data.len()),
            Err(code) => Err(errno(code)),
        }
    }
}

impl Datagrams {
    /// A flow to `peer`.
    pub fn open(network: &Network, peer: SocketAddr) -> Result<Datagrams, Errno> {
        let local = values::address(values::any(peer.is_ipv6()));
        let (socket, streams, readable) = open(network, local, Some(peer))?;
        Ok(Datagrams { readable, streams, _socket: socket })
    }

    /// Takes up what has come.
    pub fn look(&self, conn: Conn, events: &mut VecDeque<Event>) -> Result<(), Errno> {
        let datagrams = self.streams.receive()?;
        events.extend(datagrams.into_iter().map(|datagram| Event::Data(conn, datagram.data)));
        Ok(())
    }

    /// Sends a datagram.
    pub fn send(&self, data: &[u8]) -> Result<usize, Errno> {
        self.streams.send(None, data)
    }
}
