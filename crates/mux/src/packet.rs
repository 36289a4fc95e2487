//! Packets: type (1 byte), stream (4 bytes), payload; all numbers little-endian.

use crate::Broken;
use std::net::{IpAddr, SocketAddr};

/// Longest packet that either end takes, in bytes, without the length before it.
pub const MAX_PACKET: usize = 128 << 10;

/// Most bytes of a stream that one packet of ours carries.
pub const MAX_DATA: usize = 32 << 10;

/// Longest datagram, and longest DNS message.
pub const MAX_DATAGRAM: usize = 65_535;

/// Bytes of type and stream.
const HEAD: usize = 5;

/// Longest name of a host (RFC 1035 §2.3.4 allows 253 characters; addresses are shorter).
const MAX_HOST: usize = 255;

const CONNECT: u8 = 0x01;
const DATA: u8 = 0x02;
const CONTINUE: u8 = 0x03;
const CLOSE: u8 = 0x04;
const INFO: u8 = 0x05;
const CREDIT: u8 = 0xB0;
const FINISH: u8 = 0xB1;
const INCOMING: u8 = 0xB2;
const DNS: u8 = 0xB3;
const OPENED: u8 = 0xB4;

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Bytes in order.
    Tcp,
    /// Datagrams, each in one packet.
    Udp,
}

impl Transport {
    fn number(self) -> u8 {
        match self {
            Transport::Tcp => 1,
            Transport::Udp => 2,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Transport::Tcp),
            2 => Some(Transport::Udp),
            _ => None,
        }
    }
}

/// One packet without its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Open a stream to a host.
    Connect {
        /// What it carries.
        transport: Transport,
        /// Port of the destination.
        port: u16,
        /// Name or address of the destination.
        host: &'a str,
    },
    /// A CONNECT that makes no sense: answered by closing its stream.
    BadConnect,
    /// Bytes of a stream, or one datagram.
    Data(&'a [u8]),
    /// So many packets more are taken.
    Continue(u32),
    /// The stream is over.
    Close {
        /// Wisp's reason.
        reason: u8,
        /// Linux's error number, with the extension `outcome`.
        errno: Option<u16>,
    },
    /// Version and extensions.
    Info {
        /// Major version.
        major: u8,
        /// The list of extensions, undecoded.
        extensions: &'a [u8],
    },
    /// So many bytes more are taken (extension `credit`).
    Credit(u32),
    /// No more bytes come in this direction (extension `half close`).
    Finish,
    /// Somebody asks for a published port (extension `published ports`).
    Incoming {
        /// What it carries.
        transport: Transport,
        /// The port inside the box.
        port: u16,
        /// Who asks.
        peer: SocketAddr,
    },
    /// A DNS query or its answer; an empty answer is none (extension `names`).
    Dns(&'a [u8]),
    /// The stream stands; with the address used on the host's side, when known (extension `outcome`).
    Opened(Option<SocketAddr>),
    /// A type that this end does not know.
    Unknown,
}

/// Takes a packet apart: its stream, and what it is. Any bytes may be given.
///
/// # Errors
/// The packet is too short for its type, or a field has a value that it cannot have.
pub fn decode(bytes: &[u8]) -> Result<(u32, Packet<'_>), Broken> {
    let mut reader = Reader(bytes);
    let kind = reader.u8()?;
    let stream = reader.u32()?;
    let packet = match kind {
        CONNECT => connect(&mut reader),
        DATA => Packet::Data(reader.0),
        CONTINUE => Packet::Continue(reader.u32()?),
        CLOSE => Packet::Close { reason: reader.u8()?, errno: reader.u16().ok() },
        INFO => {
            let major = reader.u8()?;
            let _minor = reader.u8()?;
            Packet::Info { major, extensions: reader.0 }
        }
        CREDIT => Packet::Credit(reader.u32()?),
        FINISH => Packet::Finish,
        INCOMING => Packet::Incoming {
            transport: Transport::from_number(reader.u8()?).ok_or(Broken("unknown transport"))?,
            port: reader.u16()?,
            peer: reader.address()?.ok_or(Broken("an incoming stream from nobody"))?,
        },
        DNS => Packet::Dns(reader.0),
        OPENED => Packet::Opened(reader.address()?),
        _ => Packet::Unknown,
    };
    Ok((stream, packet))
}

fn connect<'a>(reader: &mut Reader<'a>) -> Packet<'a> {
    let transport = reader.u8().ok().and_then(Transport::from_number);
    let port = reader.u16().ok();
    let host = std::str::from_utf8(reader.0).ok();
    match (transport, port, host) {
        (Some(transport), Some(port), Some(host)) if (1..=MAX_HOST).contains(&host.len()) => {
            Packet::Connect { transport, port, host }
        }
        _ => Packet::BadConnect,
    }
}

impl Packet<'_> {
    /// Appends the packet with its length before it. Minor version and address families are our own.
    pub(crate) fn encode(&self, stream: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let mut head = |kind: u8| {
            out.push(kind);
            out.extend_from_slice(&stream.to_le_bytes());
        };
        match *self {
            Packet::Connect { transport, port, host } => {
                head(CONNECT);
                out.push(transport.number());
                out.extend_from_slice(&port.to_le_bytes());
                out.extend_from_slice(host.as_bytes());
            }
            Packet::Data(bytes) => {
                head(DATA);
                out.extend_from_slice(bytes);
            }
            Packet::Continue(packets) => {
                head(CONTINUE);
                out.extend_from_slice(&packets.to_le_bytes());
            }
            Packet::Close { reason, errno } => {
                head(CLOSE);
                out.push(reason);
                if let Some(errno) = errno {
                    out.extend_from_slice(&errno.to_le_bytes());
                }
            }
            Packet::Info { major, extensions } => {
                head(INFO);
                out.extend_from_slice(&[major, 1]);
                out.extend_from_slice(extensions);
            }
            Packet::Credit(bytes) => {
                head(CREDIT);
                out.extend_from_slice(&bytes.to_le_bytes());
            }
            Packet::Finish => head(FINISH),
            Packet::Incoming { transport, port, peer } => {
                head(INCOMING);
                out.push(transport.number());
                out.extend_from_slice(&port.to_le_bytes());
                put_address(Some(peer), out);
            }
            Packet::Dns(message) => {
                head(DNS);
                out.extend_from_slice(message);
            }
            Packet::Opened(local) => {
                head(OPENED);
                put_address(local, out);
            }
            Packet::BadConnect | Packet::Unknown => head(0),
        }
        let len = (out.len() - start - 4) as u32;
        debug_assert!(len as usize >= HEAD);
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&len.to_le_bytes());
        }
    }
}

/// Family (4, 6, or 0 for none), address in network order, port.
fn put_address(address: Option<SocketAddr>, out: &mut Vec<u8>) {
    match address.map(|address| (address.ip(), address.port())) {
        Some((IpAddr::V4(ip), port)) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
            out.extend_from_slice(&port.to_le_bytes());
        }
        Some((IpAddr::V6(ip), port)) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
            out.extend_from_slice(&port.to_le_bytes());
        }
        None => out.push(0),
    }
}

/// What is left of a packet.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Broken("a packet is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        self.take(N)?.try_into().map_err(|_| Broken("a packet is too short"))
    }

    pub fn u8(&mut self) -> Result<u8, Broken> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, Broken> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Broken> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Broken> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn address(&mut self) -> Result<Option<SocketAddr>, Broken> {
        let ip: IpAddr = match self.u8()? {
            0 => return Ok(None),
            4 => self.array::<4>()?.into(),
            6 => self.array::<16>()?.into(),
            _ => return Err(Broken("unknown family of addresses")),
        };
        Ok(Some(SocketAddr::new(ip, self.u16()?)))
    }
}
