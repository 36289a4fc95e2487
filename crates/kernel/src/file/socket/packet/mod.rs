//! Packet sockets (packet(7)): the packets of the loopback, read one by one or from a ring in shared memory.

mod ring;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use abi::Errno;
use abi::packet::*;
use abi::poll::{READABLE, WRITABLE};
use abi::socket::{
    AF_PACKET, MSG_OOB, MSG_PEEK, SO_ATTACH_FILTER, SO_DETACH_FILTER, SOCK_DGRAM, SOCK_RAW,
    SOL_SOCKET,
};
use net::interface::{Interfaces, LO};
use net::tap::{ETH_P_ALL, Filter, Packet, Tap};
use net::{SocketId, SocketOptions};

use super::inet::Network;
use super::{Control, Incoming, OptionValue, Outgoing, SocketOps};
use crate::bpf::{self, NetworkBytes, Program};
use crate::fs::cx::cap;
use crate::fs::walk::PathCx;
use crate::fs::{Cx, Res};
use crate::source::MapSource;
use crate::wait::{WaitKey, WakeSink};

use ring::Ring;

/// Bytes of `struct sockaddr_ll`.
pub const SOCKADDR_LL: usize = 20;
/// Bytes of the Ethernet header, which the loopback has, too, all zeros but the type.
const ETHERNET: usize = 14;
/// Kind of hardware of the loopback.
const ARPHRD_LOOPBACK: u16 = 772;
/// Packet types.
const PACKET_HOST: u8 = 0;
const PACKET_OUTGOING: u8 = 4;

/// One socket.
pub struct PacketSocket {
    kind: u32,
    /// Ethernet type (SO_PROTOCOL is in network order).
    protocol: Cell<u16>,
    index: Cell<u32>,
    tap: SocketId,
    ring: RefCell<Option<Ring>>,
    /// PACKET_AUXDATA, PACKET_VERSION, PACKET_RESERVE.
    auxiliary: Cell<bool>,
    version: Cell<u32>,
    reserve: Cell<u32>,
    filter: RefCell<Option<Rc<Program>>>,
    options: RefCell<SocketOptions>,
    network: Rc<Network>,
    wakes: WakeSink,
}

/// A socket of socket(2)'s type and protocol.
pub fn create(cx: &mut Cx, kind: u32, protocol: u32) -> Res<Rc<dyn SocketOps>> {
    if !cx.cred.capable(cap::NET_RAW) {
        return Err(Errno::EPERM);
    }
    if kind != SOCK_RAW && kind != SOCK_DGRAM {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    let protocol = (protocol as u16).swap_bytes();
    let network = cx.shared.registry::<Network>();
    let options = SocketOptions::default();
    let tap = Tap::new(protocol, options.receive_buffer as usize);
    let tap = network.with(&cx.shared.wakes, |net| net.add_tap(tap));
    Ok(Rc::new(PacketSocket {
        kind,
        protocol: Cell::new(protocol),
        index: Cell::new(0),
        tap,
        ring: RefCell::default(),
        auxiliary: Cell::new(false),
        version: Cell::new(TPACKET_V1),
        reserve: Cell::new(0),
        filter: RefCell::default(),
        options: RefCell::new(options),
        network,
        wakes: cx.shared.wakes.clone(),
    }))
}

/// `struct sockaddr_ll`.
fn encode(protocol: u16, index: u32, hardware: u16, kind: u8) -> Vec<u8> {
    let mut out = AF_PACKET.to_le_bytes().to_vec();
    out.extend_from_slice(&protocol.to_be_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&hardware.to_le_bytes());
    out.extend_from_slice(&[kind, if hardware == 0 { 0 } else { 6 }]);
    out.resize(SOCKADDR_LL, 0);
    out
}

/// Where a packet came from.
fn sender(packet: &Packet) -> Vec<u8> {
    let kind = if packet.outgoing { PACKET_OUTGOING } else { PACKET_HOST };
    encode(packet.protocol, packet.index, ARPHRD_LOOPBACK, kind)
}

/// The packet with its link header.
fn frame(packet: &Packet) -> Vec<u8> {
    let mut out = vec![0; ETHERNET - 2];
    out.extend_from_slice(&packet.protocol.to_be_bytes());
    out.extend_from_slice(&packet.data);
    out
}

/// A packet as a filter sees it.
struct Filtered<'a> {
    bytes: NetworkBytes<'a>,
    packet: &'a Packet,
    /// Bytes of link header in front.
    link: u32,
}

impl bpf::Packet for Filtered<'_> {
    fn load(&self, at: u32, size: u32) -> Option<u32> {
        let at = match at {
            bpf::FROM_NETWORK_HEADER..bpf::ANCILLARY => {
                self.link.checked_add(at - bpf::FROM_NETWORK_HEADER)?
            }
            at => at,
        };
        bpf::Packet::load(&self.bytes, at, size)
    }

    fn length(&self) -> u32 {
        bpf::Packet::length(&self.bytes)
    }

    fn ancillary(&self, what: u32, _a: u32, _x: u32) -> Option<u32> {
        match what {
            // SKF_AD_PROTOCOL, PKTTYPE, IFINDEX, HATYPE; no VLAN.
            0 => Some(u32::from(self.packet.protocol)),
            4 => Some(u32::from(if self.packet.outgoing { PACKET_OUTGOING } else { PACKET_HOST })),
            8 => Some(self.packet.index),
            28 => Some(u32::from(ARPHRD_LOOPBACK)),
            12..=60 => Some(0),
            _ => None,
        }
    }
}

impl PacketSocket {
    fn with<T>(&self, work: impl FnOnce(&mut Tap) -> Res<T>) -> Res<T> {
        self.network.with(&self.wakes, |net| work(net.tap(self.tap).ok_or(Errno::EBADF)?))
    }

    /// Bytes of link header that the socket's packets have.
    fn link(&self) -> usize {
        if self.kind == SOCK_RAW { ETHERNET } else { 0 }
    }

    /// SO_ATTACH_FILTER, SO_DETACH_FILTER.
    fn set_filter(&self, program: Option<Program>) -> Res<()> {
        let program = program.map(Rc::new);
        let had = self.filter.replace(program.clone()).is_some();
        let raw = self.kind == SOCK_RAW;
        let run = program.clone().map(|program| -> Filter {
            Rc::new(move |packet: &Packet| {
                let whole = if raw { frame(packet) } else { Vec::new() };
                let bytes = NetworkBytes(if raw { &whole[..] } else { &packet.data[..] });
                let link = if raw { ETHERNET as u32 } else { 0 };
                program.run(&Filtered { bytes, packet, link }) as usize
            })
        });
        self.with(|tap| {
            tap.filter = run;
            Ok(())
        })?;
        if program.is_none() && !had { Err(Errno::ENOENT) } else { Ok(()) }
    }

    /// Moves what waits into the ring; whether there is something to read.
    fn fill_ring(&self, cx: &mut Cx) -> Option<bool> {
        let mut ring = self.ring.borrow_mut();
        let ring = ring.as_mut()?;
        let (link, reserve) = (self.link(), self.reserve.get() as usize);
        while let Ok(Some((packet, wanted))) = self.with(|tap| Ok(tap.front())) {
            let bytes = if link > 0 { frame(&packet) } else { packet.data.to_vec() };
            let stored = ring.put(
                cx.phys(),
                &packet,
                &bytes[..bytes.len().min(wanted)],
                bytes.len(),
                link,
                reserve,
            );
            if !stored {
                break;
            }
            let _ = self.with(|tap| {
                tap.pop();
                Ok(())
            });
        }
        Some(ring.is_readable(cx.phys()))
    }

    fn find_interface<T>(&self, index: u32, look: impl FnOnce(&Interfaces) -> T) -> Res<T> {
        self.network.with(&self.wakes, |net| match net.interfaces.by_index(index) {
            Some(_) => Ok(look(&net.interfaces)),
            None => Err(Errno::ENODEV),
        })
    }

    fn set_packet_option(&self, cx: &mut Cx, option: u32, value: &OptionValue) -> Res<()> {
        match option {
            PACKET_ADD_MEMBERSHIP | PACKET_DROP_MEMBERSHIP => {
                let record = value.record(16)?;
                let index = u32::from_le_bytes([record[0], record[1], record[2], record[3]]);
                self.find_interface(index, |_| ())
            }
            PACKET_AUXDATA => {
                self.auxiliary.set(value.int()? != 0);
                Ok(())
            }
            PACKET_VERSION if self.ring.borrow().is_some() => Err(Errno::EBUSY),
            PACKET_VERSION => match value.int()? as u32 {
                version @ (TPACKET_V1 | TPACKET_V2) => {
                    self.version.set(version);
                    Ok(())
                }
                _ => Err(Errno::EINVAL),
            },
            PACKET_RESERVE if self.ring.borrow().is_some() => Err(Errno::EBUSY),
            PACKET_RESERVE => match value.int()? {
                bytes @ 0..=65536 => {
                    self.reserve.set(bytes as u32);
                    Ok(())
                }
                _ => Err(Errno::EINVAL),
            },
            PACKET_RX_RING => {
                let request = value.record(16)?;
                if self.version.get() != TPACKET_V2 {
                    return Err(Errno::EINVAL);
                }
                let ring = Ring::new(request, self.reserve.get(), cx.shared.trash.clone())?;
                *self.ring.borrow_mut() = ring;
                Ok(())
            }
            PACKET_IGNORE_OUTGOING => {
                let on = value.int()?;
                if !(0..=1).contains(&on) {
                    return Err(Errno::EINVAL);
                }
                self.with(|tap| {
                    tap.incoming_only = on != 0;
                    Ok(())
                })
            }
            PACKET_COPY_THRESH | PACKET_ORIGDEV | PACKET_LOSS | PACKET_TIMESTAMP
            | PACKET_QDISC_BYPASS => value.int().map(drop),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn get_packet_option(&self, option: u32) -> Res<Vec<u8>> {
        let int = |n: u32| Ok(n.to_le_bytes().to_vec());
        match option {
            PACKET_STATISTICS => {
                let (seen, lost) = self.with(|tap| Ok(std::mem::take(&mut tap.counts)))?;
                Ok([seen.to_le_bytes(), lost.to_le_bytes()].concat())
            }
            PACKET_AUXDATA => int(u32::from(self.auxiliary.get())),
            PACKET_VERSION => int(self.version.get()),
            PACKET_RESERVE => int(self.reserve.get()),
            PACKET_IGNORE_OUTGOING => self.with(|tap| int(u32::from(tap.incoming_only))),
            PACKET_ORIGDEV | PACKET_LOSS | PACKET_TIMESTAMP | PACKET_QDISC_BYPASS => int(0),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
}

/// `struct tpacket_auxdata` of a packet.
fn auxiliary(full: usize, stored: usize, link: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [TP_STATUS_USER, full as u32, stored as u32] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for half in [0, link as u16, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out
}

impl SocketOps for PacketSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn family(&self) -> u16 {
        AF_PACKET
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn protocol(&self) -> u32 {
        u32::from(self.protocol.get().swap_bytes())
    }

    fn options(&self) -> &RefCell<SocketOptions> {
        &self.options
    }

    fn bind(&self, _cx: &mut Cx, _at: &PathCx, address: &[u8]) -> Res<()> {
        let record = address.get(..SOCKADDR_LL).ok_or(Errno::EINVAL)?;
        if !record.starts_with(&AF_PACKET.to_le_bytes()) {
            return Err(Errno::EINVAL);
        }
        let protocol = u16::from_be_bytes([record[2], record[3]]);
        let index = u32::from_le_bytes([record[4], record[5], record[6], record[7]]);
        if index != 0 {
            self.find_interface(index, |_| ())?;
        }
        let protocol = if protocol == 0 { self.protocol.get() } else { protocol };
        self.protocol.set(protocol);
        self.index.set(index);
        self.with(|tap| {
            tap.protocol = protocol;
            tap.index = index;
            Ok(())
        })
    }

    fn connect(&self, _: &mut Cx, _: &PathCx, _: &[u8], _: &mut Vec<WaitKey>) -> Res<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn send(&self, _cx: &mut Cx, message: &mut Outgoing) -> Res<usize> {
        let (mut protocol, mut index) = (self.protocol.get(), self.index.get());
        if let Some(to) = message.to {
            let record = to.get(..SOCKADDR_LL).ok_or(Errno::EINVAL)?;
            protocol = u16::from_be_bytes([record[2], record[3]]);
            index = u32::from_le_bytes([record[4], record[5], record[6], record[7]]);
        }
        self.find_interface(index, |_| ()).map_err(|_| Errno::ENXIO)?;
        let link = self.link();
        let packet = message.data.get(link..).ok_or(Errno::EINVAL)?;
        if packet.len() > 65536 {
            return Err(Errno::EMSGSIZE);
        }
        if let (true, [.., high, low]) = (link > 0, &message.data[..link])
            && (protocol == 0 || protocol == ETH_P_ALL)
        {
            protocol = u16::from_be_bytes([*high, *low]);
        }
        // What leaves through eth0 is lost: the outside carries no packets.
        if index == LO {
            self.network.with(&self.wakes, |net| net.show_packet(protocol, packet.to_vec()));
        }
        Ok(message.data.len())
    }

    fn receive(&self, _cx: &mut Cx, buf: &mut [u8], flags: u32) -> Res<Incoming> {
        if flags & MSG_OOB != 0 {
            return Err(Errno::EINVAL);
        }
        let (packet, wanted) = self.with(|tap| tap.front().ok_or(Errno::EAGAIN))?;
        let link = self.link();
        let bytes = if link > 0 { frame(&packet) } else { packet.data.to_vec() };
        let full_len = bytes.len().min(wanted);
        let len = full_len.min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        if flags & MSG_PEEK == 0 {
            self.with(|tap| {
                tap.pop();
                Ok(())
            })?;
        }
        let mut control = Vec::new();
        if self.auxiliary.get() {
            let data = auxiliary(bytes.len(), full_len, link);
            control.push(Control { level: SOL_PACKET, kind: PACKET_AUXDATA, data });
        }
        let from = Some(sender(&packet));
        Ok(Incoming { len, full_len, from, control, ..Incoming::default() })
    }

    fn pending(&self) -> usize {
        let link = self.link();
        self.with(|tap| Ok(tap.front().map_or(0, |(p, wanted)| (p.data.len() + link).min(wanted))))
            .unwrap_or(0)
    }

    fn shutdown(&self, _cx: &mut Cx, _how: u32) -> Res<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local(&self, _cx: &mut Cx) -> Res<Vec<u8>> {
        let index = self.index.get();
        let hardware = self
            .network
            .with(&self.wakes, |net| net.interfaces.by_index(index).map_or(0, |i| i.hardware()));
        let mut name = encode(self.protocol.get(), index, hardware, 0);
        // As long as the interface's address.
        name.truncate(if hardware == 0 { 12 } else { 18 });
        Ok(name)
    }

    fn remote(&self, _cx: &mut Cx) -> Res<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }

    fn set_option(
        &self,
        cx: &mut Cx,
        level: u32,
        option: u32,
        value: &OptionValue,
    ) -> Option<Res<()>> {
        match (level, option) {
            (SOL_SOCKET, SO_ATTACH_FILTER) => Some(match &value.bytes {
                Ok(bytes) if value.len == 16 => Program::from_bytes(bytes, bpf::Use::Socket)
                    .and_then(|program| self.set_filter(Some(program))),
                Ok(_) => Err(Errno::EINVAL),
                Err(e) => Err(*e),
            }),
            (SOL_SOCKET, SO_DETACH_FILTER) => Some(self.set_filter(None)),
            (SOL_SOCKET, _) => None,
            (SOL_PACKET, _) => Some(self.set_packet_option(cx, option, value)),
            _ => Some(Err(Errno::ENOPROTOOPT)),
        }
    }

    fn get_option(
        &self,
        _cx: &mut Cx,
        level: u32,
        option: u32,
        _room: usize,
    ) -> Option<Res<Vec<u8>>> {
        match level {
            SOL_SOCKET => None,
            SOL_PACKET => Some(self.get_packet_option(option)),
            _ => Some(Err(Errno::ENOPROTOOPT)),
        }
    }

    fn poll(&self, cx: &mut Cx) -> u32 {
        let readable = match self.fill_ring(cx) {
            Some(readable) => readable,
            None => self.with(|tap| Ok(tap.front().is_some())).unwrap_or(false),
        };
        if readable { READABLE | WRITABLE } else { WRITABLE }
    }

    fn keys(&self, out: &mut Vec<WaitKey>) {
        out.push(WaitKey::network(self.tap.0));
    }

    fn generation(&self) -> u64 {
        self.with(|tap| Ok(tap.changes)).unwrap_or(0)
    }

    fn map(&self) -> Res<Rc<dyn MapSource>> {
        let ring = self.ring.borrow();
        Ok(ring.as_ref().ok_or(Errno::EINVAL)?.memory())
    }

    fn close(&self) {
        self.network.with(&self.wakes, |net| net.remove_tap(self.tap));
    }
}

impl PacketSocket {
    /// Ethernet type and interface, for `/proc/net/packet`.
    pub fn bound(&self) -> (u16, u32) {
        (self.protocol.get(), self.index.get())
    }
}
