//! `struct sockaddr_in` and `sockaddr_in6` (ip(7), ipv6(7)). Inside, an IPv4 address is always [`IpAddr::V4`], also on an
//! IPv6 socket, which shows it as `::ffff:a.b.c.d`.

use abi::Errno;
use abi::inet::{SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_IN6_MIN};
use abi::socket::{AF_INET, AF_INET6, AF_UNSPEC};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
}

impl Family {
    /// `AF_INET` or `AF_INET6`.
    pub fn number(self) -> u16 {
        match self {
            Family::V4 => AF_INET,
            Family::V6 => AF_INET6,
        }
    }

    /// The address that stands for any.
    pub fn any(self) -> SocketAddr {
        match self {
            Family::V4 => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            Family::V6 => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
        }
    }
}

/// The family of a `struct sockaddr`; EINVAL if it is too short to have one.
pub fn family_of(bytes: &[u8]) -> Result<u16, Errno> {
    match bytes {
        [low, high, ..] => Ok(u16::from_le_bytes([*low, *high])),
        _ => Err(Errno::EINVAL),
    }
}

/// Reads an address for a socket of `family`. EINVAL if it is too short, EAFNOSUPPORT for another family; an IPv4 socket
/// takes AF_UNSPEC for AF_INET where `lenient`, as bind(2) and sendto(2) do.
pub fn parse(bytes: &[u8], family: Family, lenient: bool) -> Result<SocketAddr, Errno> {
    let least = if family == Family::V4 { SOCKADDR_IN } else { SOCKADDR_IN6_MIN };
    if bytes.len() < least {
        return Err(Errno::EINVAL);
    }
    let given = family_of(bytes)?;
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    if given == AF_INET6 && family == Family::V6 {
        let ip: [u8; 16] = bytes[8..24].try_into().map_err(|_| Errno::EINVAL)?;
        let ip = Ipv6Addr::from(ip);
        let scope = bytes.get(24..28).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
        return Ok(match ip.to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), port),
            None => SocketAddrV6::new(ip, port, 0, scope).into(),
        });
    }
    if family == Family::V4 && (given == AF_INET || lenient && given == AF_UNSPEC) {
        return Ok(SocketAddr::new(
            Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]).into(),
            port,
        ));
    }
    Err(Errno::EAFNOSUPPORT)
}

/// The address as a socket of `family` shows it.
pub fn encode(address: SocketAddr, family: Family) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    let mut out = family.number().to_le_bytes().to_vec();
    out.extend_from_slice(&port);
    match family {
        Family::V4 => {
            let ip = match address.ip() {
                IpAddr::V4(ip) => ip,
                IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
            };
            out.extend_from_slice(&ip.octets());
            out.resize(SOCKADDR_IN, 0);
        }
        Family::V6 => {
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&as_v6(address.ip()).octets());
            let scope = match address {
                SocketAddr::V6(v6) => v6.scope_id(),
                SocketAddr::V4(_) => 0,
            };
            out.extend_from_slice(&scope.to_le_bytes());
            out.resize(SOCKADDR_IN6, 0);
        }
    }
    out
}

/// The address as IPv6, v4-mapped if need be.
pub fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
