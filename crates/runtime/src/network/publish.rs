//! Ports of this system that lead into a box.

pub use mux::publish::{Port, Protocol};

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// A port cannot be published.
#[derive(Debug, thiserror::Error)]
#[error("cannot publish {port}: {advice} ({source})")]
pub struct PublishError {
    /// What should be published.
    pub port: Port,
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
    /// The number was left to this system, or one of several.
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
    /// Opens a port, of several the first that nobody has.
    pub fn open(port: &Port) -> Result<Self, PublishError> {
        let bind = |host: SocketAddr| match port.protocol {
            Protocol::Tcp => TcpListener::bind(host).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok((listener.local_addr()?, Socket::Tcp(listener)))
            }),
            Protocol::Udp => UdpSocket::bind(host).and_then(|socket| {
                socket.set_nonblocking(true)?;
                Ok((socket.local_addr()?, Socket::Udp(socket)))
            }),
        };
        let in_use = |error: &std::io::Error| error.kind() == ErrorKind::AddrInUse;
        let mut opened = Err(ErrorKind::AddrInUse.into());
        for host in port.candidates() {
            opened = bind(host);
            if !opened.as_ref().is_err_and(in_use) {
                break;
            }
        }
        let (host, socket) = opened.map_err(|source| {
            let advice = match source.kind() {
                ErrorKind::AddrInUse if port.is_range() => "all of them are taken",
                ErrorKind::AddrInUse => {
                    "something listens there already; choose another port, or 0 for any that is free"
                }
                ErrorKind::PermissionDenied => {
                    "ports below 1024 are for root; choose one from 1024 on"
                }
                ErrorKind::AddrNotAvailable => "this system does not have that address",
                _ => "it cannot be opened",
            };
            PublishError { port: *port, advice, source }
        })?;
        let published = Published {
            host,
            guest: port.guest,
            protocol: port.protocol,
            chosen: port.host.port() == 0 || port.is_range(),
        };
        Ok(Listener { published, socket })
    }

    /// Where it leads.
    pub fn published(&self) -> Published {
        self.published
    }
}
