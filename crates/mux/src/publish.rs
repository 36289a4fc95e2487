//! Ports of a host that lead into a box, as `-p` and `BOXER_PUBLISH` name them.

use std::net::{IpAddr, SocketAddr};

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
    /// Where the host listens; port 0 is any that is free.
    pub host: SocketAddr,
    /// The last of the ports that will do, from that of `host` on: the first that is free is taken.
    pub last: u16,
    /// The port inside the box.
    pub guest: u16,
    /// What it carries.
    pub protocol: Protocol,
}

impl std::fmt::Display for Port {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.is_range() {
            true => write!(out, "{}-{}/{}", self.host, self.last, self.protocol),
            false => write!(out, "{}/{}", self.host, self.protocol),
        }
    }
}

impl Port {
    /// Whether the host may choose among several.
    pub fn is_range(&self) -> bool {
        self.last > self.host.port()
    }

    /// The addresses that will do, best first.
    pub fn candidates(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let ip = self.host.ip();
        (self.host.port()..=self.last).map(move |port| SocketAddr::new(ip, port))
    }

    /// Any free port of the host's loopback that leads to `guest`, which EXPOSE (and `--expose`) names: `N`, `FIRST-LAST`, with
    /// `/tcp` or `/udp`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn exposed(text: &str) -> Result<Vec<Port>, String> {
        match text.contains(':') {
            true => Err(format!("{text:?} is not of the form PORT[/tcp|/udp]")),
            false => Port::parse(text),
        }
    }

    /// Reads `[IP:][HOST:]GUEST[/tcp|/udp]`, where HOST and GUEST may be ranges of one length, and HOST may be a range for one GUEST: the
    /// first of it that is free. HOST may be empty or 0 for any port that is free. Without an address it is the host's loopback.
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
        let one_of = host.filter(|_| count == 0).map(|host| host.1);
        if one_of.is_none() && host.is_some_and(|host| host.1 - host.0 != count) {
            return Err("the two ranges differ in length".to_owned());
        }
        let port = |offset: u16| {
            let first = host.map_or(0, |host| host.0 + offset);
            let host = SocketAddr::new(ip, first);
            Port { host, last: one_of.unwrap_or(first), guest: guest.0 + offset, protocol }
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
                let show = |p: Port| {
                    let range = if p.is_range() { format!("-{}", p.last) } else { String::new() };
                    format!("{}{range}->{}/{}", p.host, p.guest, p.protocol)
                };
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
        assert_eq!(of("0.0.0.0:70-72:80/udp"), "0.0.0.0:70-72->80/udp");
        let range = Port::parse("70-72:80").unwrap_or_default();
        let ports = range.iter().flat_map(Port::candidates).map(|host| host.port());
        assert_eq!(ports.collect::<Vec<_>>(), [70, 71, 72]);
        for bad in
            ["", "x", "0", "80:0", "8080:80/sctp", "x:80:80", "70-72:80-81", "81-80", "70000"]
        {
            assert!(Port::parse(bad).is_err(), "{bad}");
        }
    }
}
