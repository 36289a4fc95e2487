//! The Internet checksum (RFC 1071), with the pseudo-headers of TCP, UDP and ICMPv6.

use abi::inet::IPPROTO_ICMPV6;
use std::net::IpAddr;

/// Bytes of an ICMP header.
pub(crate) const ICMP_HEADER: usize = 8;

/// Sum of the big-endian 16-bit words of `bytes` (RFC 1071).
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    let mut total = 0u32;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        total += u32::from(u16::from_be_bytes([pair[0], low]));
        total = (total & 0xffff) + (total >> 16);
    }
    total
}

pub(crate) fn fold(mut total: u32) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

/// Checksum of TCP or UDP with the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1).
pub(crate) fn checksum_of((from, to): (IpAddr, IpAddr), protocol: u8, payload: &[u8]) -> u16 {
    let addresses = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&from.octets()) + sum(&to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum(&from.octets()) + sum(&to.octets()),
        _ => 0,
    };
    fold(addresses + u32::from(protocol) + payload.len() as u32 + sum(payload))
}

/// Stores the checksum of an ICMP message.
pub(crate) fn seal(message: &mut [u8], from: IpAddr, to: IpAddr) {
    if message.len() < ICMP_HEADER {
        return;
    }
    message[2..4].fill(0);
    let sum = match from.is_ipv6() {
        true => checksum_of((from, to), IPPROTO_ICMPV6 as u8, message),
        false => fold(sum(message)),
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}
