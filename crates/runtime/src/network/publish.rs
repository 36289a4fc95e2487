//! Ports of this system that lead into a box.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

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

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A port to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Where this system listens; port 0 is any that is free.
    pub host: SocketAddr,
    /// The port inside the box.
    pub guest: u16,
    /// What it carries.
    pub protocol: Protocol,
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

impl Port {
    /// Reads `[IP:][HOST:]GUEST[/tcp|/udp]`, where HOST and GUEST may be ranges of one length, and HOST may be empty or 0 for
    /// any port that is free. Without an address it is this system's loopback.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Vec<Port>, String> {
        let (rest, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some((_, other)) => return Err(format!("{other:?} is neither tcp nor udp")),
        };
        let (rest, guest) = rest.rsplit_once(':').unwrap_or(("", rest));
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (Some(address), host),
            None => (None, rest),
        };
        let ip: IpAddr = match address {
            None => [127, 0, 0, 1].into(),
            Some(text) => {
                let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                bare.unwrap_or(text).parse().map_err(|_| format!("{text:?} is not an address"))?
            }
        };
        let guest = range(guest).filter(|guest| guest.0 > 0);
        let guest = guest.ok_or("the port in the box is a number from 1 to 65535, or a range")?;
        let host = match host {
            "" | "0" => None,
            text => Some(range(text).ok_or("the port of the host is a number, or a range")?),
        };
        let count = guest.1 - guest.0;
        if host.is_some_and(|host| host.1 - host.0 != count) {
            return Err("the two ranges differ in length".to_owned());
        }
        let port = |offset: u16| Port {
            host: SocketAddr::new(ip, host.map_or(0, |host| host.0 + offset)),
            guest: guest.0 + offset,
            protocol,
        };
        Ok((0..=count).map(port).collect())
    }
}

/// `N` or `FIRST-LAST`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_dockers_but_on_the_loopback() {
        let of = |text: &str| {
            let ports = Port::parse(text).map(|ports| {
                let show = |p: Port| format!("{}->{}/{}", p.host, p.guest, p.protocol);
                ports.into_iter().map(show).collect::<Vec<_>>().join(" ")
            });
            ports.unwrap_or_else(|error| error)
        };
        assert_eq!(of("8080:80"), "127.0.0.1:8080->80/tcp");
        assert_eq!(of("80"), "127.0.0.1:0->80/tcp");
        assert_eq!(of(":80"), "127.0.0.1:0->80/tcp");
        assert_eq!(of("0:80/udp"), "127.0.0.1:0->80/udp");
        assert_eq!(of("0.0.0.0:8080:80"), "0.0.0.0:8080->80/tcp");
        assert_eq!(of("[::1]:8080:80"), "[::1]:8080->80/tcp");
        assert_eq!(of("10.0.0.1::80"), "10.0.0.1:0->80/tcp");
        assert_eq!(of("70-71:80-81"), "127.0.0.1:70->80/tcp 127.0.0.1:71->81/tcp");
        for bad in
            ["", "x", "0", "80:0", "8080:80/sctp", "x:80:80", "70-72:80-81", "81-80", "70000"]
        {
            assert!(Port::parse(bad).is_err(), "{bad}");
        }
    }
}
