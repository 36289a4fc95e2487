//! Addresses and errors of wasi:sockets as the kernel has them.

use abi::Errno;
use net::interface::GATEWAY_V4;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
    Network,
};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp_create_socket::create_udp_socket;

/// Somewhere that only a default route for IPv6 leads to. Nothing is sent there.
const FAR: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9);

/// Which families the host grants (IPv4, IPv6). A host that grants nothing lets nobody bind.
pub fn families(network: &Network) -> (bool, bool) {
    let v4 = may_bind(network, any(false));
    let v6 = create_udp_socket(IpAddressFamily::Ipv6).is_ok_and(|socket| {
        socket.start_bind(network, any(true)).and_then(|()| socket.finish_bind()).is_ok()
            && socket.stream(Some(wasi(FAR))).is_ok()
    });
    (v4, v6)
}

fn may_bind(network: &Network, local: IpSocketAddress) -> bool {
    let udp = create_udp_socket(IpAddressFamily::Ipv4)
        .is_ok_and(|socket| socket.start_bind(network, local).is_ok());
    let tcp = || {
        create_tcp_socket(IpAddressFamily::Ipv4)
            .is_ok_and(|socket| socket.start_bind(network, local).is_ok())
    };
    udp || tcp()
}

/// Any address and port.
pub fn any(v6: bool) -> IpSocketAddress {
    let ip: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    wasi(SocketAddr::new(ip, 0))
}

/// The family of an address.
pub fn family(address: SocketAddr) -> IpAddressFamily {
    if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 }
}

/// Where a box's connection really goes: its gateway is the host.
pub fn seen_from_host(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(GATEWAY_V4) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), peer.port()),
        ip => SocketAddr::new(ip, peer.port()),
    }
}

/// An address for the host.
pub fn wasi(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(address) => {
            let [a, b, c, d] = address.ip().octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) })
        }
        SocketAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.ip().segments();
            IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port: address.port(),
                flow_info: 0,
                address: (a, b, c, d, e, f, g, h),
                scope_id: address.scope_id(),
            })
        }
    }
}

/// An address that the host gave.
pub fn address(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(found) => {
            SocketAddr::new(ip(IpAddress::Ipv4(found.address)), found.port)
        }
        IpSocketAddress::Ipv6(found) => {
            let (a, b, c, d, e, f, g, h) = found.address;
            let ip = Ipv6Addr::new(a, b, c, d, e, f, g, h);
            SocketAddrV6::new(ip, found.port, found.flow_info, found.scope_id).into()
        }
    }
}

/// An address without port that the host gave.
pub fn ip(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
    }
}

/// Linux's error.
pub fn errno(code: ErrorCode) -> Errno {
    match code {
        ErrorCode::AccessDenied => Errno::EACCES,
        ErrorCode::NotSupported => Errno::EOPNOTSUPP,
        ErrorCode::OutOfMemory => Errno::ENOMEM,
        ErrorCode::Timeout => Errno::ETIMEDOUT,
        ErrorCode::ConcurrencyConflict => Errno::EALREADY,
        ErrorCode::WouldBlock => Errno::EAGAIN,
        ErrorCode::InvalidArgument | ErrorCode::InvalidState | ErrorCode::NotInProgress => {
            Errno::EINVAL
        }
        ErrorCode::NewSocketLimit => Errno::ENOBUFS,
        ErrorCode::AddressNotBindable => Errno::EADDRNOTAVAIL,
        ErrorCode::AddressInUse => Errno::EADDRINUSE,
        ErrorCode::RemoteUnreachable => Errno::EHOSTUNREACH,
        ErrorCode::ConnectionRefused => Errno::ECONNREFUSED,
        ErrorCode::ConnectionReset => Errno::ECONNRESET,
        ErrorCode::ConnectionAborted => Errno::ECONNABORTED,
        ErrorCode::DatagramTooLarge => Errno::EMSGSIZE,
        _ => Errno::EIO,
    }
}
