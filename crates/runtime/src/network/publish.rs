//! Ports of this system that lead into a box.

pub use mux::publish::{Port, Protocol};

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// A port cannot be published.
#[derive(Debug, thiserror::Error)]
#[error("cannot publish {address}/{protocol}: {advice} ({source})")]
pub struct PublishError {
    /// Where it should be.
    pub address: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What to do.
    pub advice: &'static str,
    /// The cause.
    pub source: std::io::Error,
}

/// A port that is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where this system listens.
    pub host: SocketAddr,
    /// The port inside the box.
    pub guest: u16,
    /// What it carries.
    pub protocol: Protocol,
    /// The number was left to this system.
    pub chosen: bool,
}

/// An open port.
#[derive(Debug)]
pub(crate) struct Listener {
    published: Published,
    pub socket: Socket,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Listener {
    /// Opens a port.
    pub fn open(port: &Port) -> Result<Self, PublishError> {
        let opened = match port.protocol {
            Protocol::Tcp => TcpListener::bind(port.host).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok((listener.local_addr()?, Socket::Tcp(listener)))
            }),
            Protocol::Udp => UdpSocket::bind(port.host).and_then(|socket| {
                socket.set_nonblocking(true)?;
                Ok((socket.local_addr()?, Socket::Udp(socket)))
            }),
        };
        let (host, socket) = opened.map_err(|source| {
            let advice = match source.kind() {
                ErrorKind::AddrInUse => {
                    "something listens there already; choose another port, or 0 for any that is free"
                }
                ErrorKind::PermissionDenied => {
                    "ports below 1024 are for root; choose one from 1024 on"
                }
                ErrorKind::AddrNotAvailable => "this system does not have that address",
                _ => "it cannot be opened",
            };
            PublishError { address: port.host, protocol: port.protocol, advice, source }
        })?;
        let published = Published {
            host,
            guest: port.guest,
            protocol: port.protocol,
            chosen: port.host.port() == 0,
        };
        Ok(Listener { published, socket })
    }

    /// Where it leads.
    pub fn published(&self) -> Published {
        self.published
    }
}
