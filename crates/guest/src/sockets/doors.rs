//! Ports of the host that lead into the box.

use super::connection::Tcp;
use super::datagrams::{self, Streams};
use super::values::{self, errno};
use abi::Errno;
use mux::publish::{Port, Protocol};
use net::Conn;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use wasip2::io::poll::Pollable;
use wasip2::sockets::network::Network;
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::UdpSocket;

/// Connections that are taken at once.
const BATCH: usize = 64;
/// Peers of one port that takes datagrams.
const PEERS_MAX: usize = 512;

/// An open port.
pub struct Door {
    /// The port in the box.
    pub port: u16,
    kind: Kind,
}

enum Kind {
    // Children are dropped before what they are of.
    Connections {
        ready: Rc<Pollable>,
        socket: TcpSocket,
    },
    Datagrams {
        ready: Rc<Pollable>,
        streams: Streams,
        _socket: UdpSocket,
        peers: BTreeMap<SocketAddr, Conn>,
    },
}

/// Who comes in.
pub enum Arrival {
    Connection(Tcp, SocketAddr),
    Datagram(SocketAddr, Vec<u8>),
}

impl Door {
    /// Listens, of several ports at the first that nobody has.
    pub fn open(network: &Network, port: &Port) -> Result<Door, Errno> {
        let mut opened = Err(Errno::EADDRINUSE);
        for host in port.candidates() {
            opened = Door::listen(network, host, port);
            if !matches!(opened, Err(Errno::EADDRINUSE)) {
                break;
            }
        }
        opened
    }

    fn listen(network: &Network, host: SocketAddr, port: &Port) -> Result<Door, Errno> {
        let kind = match port.protocol {
            Protocol::Tcp => {
                let socket = create_tcp_socket(values::family(host)).map_err(errno)?;
                socket.start_bind(network, values::wasi(host)).map_err(errno)?;
                socket.finish_bind().map_err(errno)?;
                socket.start_listen().map_err(errno)?;
                socket.finish_listen().map_err(errno)?;
                Kind::Connections { ready: Rc::new(socket.subscribe()), socket }
            }
            Protocol::Udp => {
                let (socket, streams, ready) = datagrams::open(network, host, None)?;
                Kind::Datagrams { ready, streams, _socket: socket, peers: BTreeMap::new() }
            }
        };
        Ok(Door { port: port.guest, kind })
    }

    /// Tells when somebody comes.
    pub fn ready(&self) -> &Rc<Pollable> {
        match &self.kind {
            Kind::Connections { ready, .. } | Kind::Datagrams { ready, .. } => ready,
        }
    }

    /// Takes those who have come, at most `room` connections.
    pub fn look(&mut self, room: usize, arrivals: &mut Vec<Arrival>) {
        match &self.kind {
            Kind::Connections { socket, .. } => {
                for _ in 0..room.min(BATCH) {
                    // One that was gone before it was taken is no reason to stop listening.
                    let Ok((accepted, input, output)) = socket.accept() else { return };
                    if let Ok(peer) = accepted.remote_address() {
                        let tcp = Tcp::new(accepted, input, output);
                        arrivals.push(Arrival::Connection(tcp, values::address(peer)));
                    }
                }
            }
            Kind::Datagrams { streams, .. } => {
                for datagram in streams.receive().unwrap_or_default() {
                    let peer = values::address(datagram.remote_address);
                    arrivals.push(Arrival::Datagram(peer, datagram.data));
                }
            }
        }
    }

    /// The flow of a peer that is known.
    pub fn peer(&self, peer: SocketAddr) -> Option<Conn> {
        match &self.kind {
            Kind::Datagrams { peers, .. } => peers.get(&peer).copied(),
            Kind::Connections { .. } => None,
        }
    }

    /// Gives a peer a flow; false if there are too many.
    pub fn meet(&mut self, peer: SocketAddr, conn: Conn) -> bool {
        match &mut self.kind {
            Kind::Datagrams { peers, .. } if peers.len() < PEERS_MAX => {
                peers.insert(peer, conn);
                true
            }
            _ => false,
        }
    }

    /// The flow of a peer is over.
    pub fn forget(&mut self, peer: SocketAddr) {
        if let Kind::Datagrams { peers, .. } = &mut self.kind {
            peers.remove(&peer);
        }
    }

    /// Sends a datagram to a peer.
    pub fn send(&self, peer: SocketAddr, data: &[u8]) -> Result<usize, Errno> {
        match &self.kind {
            Kind::Datagrams { streams, .. } => streams.send(Some(peer), data),
            Kind::Connections { .. } => Ok(0),
        }
    }
}
