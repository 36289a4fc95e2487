//! Netlink sockets (netlink(7)): programs ask the kernel about the network. Nobody here may change it, and nothing changes
//! by itself, so that groups can be joined and stay silent.

mod diag;
mod generic;
mod message;
mod route;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::netlink::*;
use abi::poll::{POLLERR, READABLE, WRITABLE};
use abi::socket::{
    AF_NETLINK, AF_UNSPEC, MSG_OOB, MSG_PEEK, SCM_CREDENTIALS, SO_ATTACH_FILTER, SO_DETACH_FILTER,
    SO_PASSCRED, SOCK_DGRAM, SOCK_RAW, SOL_SOCKET,
};
use net::SocketOptions;

use super::inet::Network;
use super::{Control, Incoming, OptionValue, Outgoing, SocketOps};
use crate::bpf::{NetworkBytes, Program, Use};
use crate::fs::cx::{Notifier, cap};
use crate::fs::walk::PathCx;
use crate::fs::{Cx, Res};
use crate::wait::WaitKey;

use message::{Answer, Request};

/// Bytes of `struct sockaddr_nl`.
const SOCKADDR_NL: usize = 12;
/// What a datagram counts besides its bytes (`SKB_TRUESIZE`).
const OVERHEAD: usize = 576;

/// Answers a request of one protocol.
type Handler = fn(&mut Cx, &NetlinkSocket, &Request) -> Res<Answer>;

/// One netlink protocol.
struct Protocol {
    number: u32,
    /// Number of multicast groups.
    groups: u32,
    handler: Handler,
}

/// The protocols of a kernel without IPsec, netfilter and audit.
const PROTOCOLS: &[Protocol] = &[
    Protocol { number: NETLINK_ROUTE, groups: 39, handler: route::answer },
    Protocol { number: NETLINK_SOCK_DIAG, groups: 4, handler: diag::answer },
    Protocol { number: NETLINK_KOBJECT_UEVENT, groups: 32, handler: silent },
    Protocol { number: NETLINK_GENERIC, groups: 32, handler: generic::answer },
];

/// Looks at the interfaces of the box.
fn interfaces<T>(cx: &mut Cx, look: impl FnOnce(&net::Interfaces) -> T) -> T {
    let network = cx.shared.registry::<Network>();
    network.with(&cx.shared.wakes, |net| look(&net.interfaces))
}

/// The kernel's side of uevents listens to nobody.
fn silent(_: &mut Cx, _: &NetlinkSocket, _: &Request) -> Res<Answer> {
    Err(Errno::EPERM)
}

/// Sockets by protocol and port id.
#[derive(Default)]
pub struct Ports(RefCell<BTreeMap<(u32, u32), Weak<NetlinkSocket>>>);

impl Ports {
    /// The bound sockets.
    pub fn all(&self) -> Vec<Rc<NetlinkSocket>> {
        self.0.borrow().values().filter_map(Weak::upgrade).collect()
    }
}

/// One socket.
pub struct NetlinkSocket {
    kind: u32,
    protocol: &'static Protocol,
    /// Port id, once bound.
    port: Cell<Option<u32>>,
    groups: Cell<u64>,
    /// connect(2): port id and group mask.
    peer: Cell<(u32, u32)>,
    inbox: RefCell<VecDeque<Vec<u8>>>,
    queued: Cell<usize>,
    /// An answer was lost for want of room.
    overrun: Cell<bool>,
    drops: Cell<u32>,
    /// Bit n = option n of SOL_NETLINK is on.
    flags: Cell<u32>,
    /// SO_ATTACH_FILTER, as libudev uses it.
    filter: RefCell<Option<Program>>,
    options: RefCell<SocketOptions>,
    ports: Rc<Ports>,
    me: Weak<NetlinkSocket>,
    notifier: Notifier,
}

/// A socket of socket(2)'s type and protocol.
pub fn create(cx: &mut Cx, kind: u32, protocol: u32) -> Res<Rc<dyn SocketOps>> {
    if kind != SOCK_RAW && kind != SOCK_DGRAM {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    let row = PROTOCOLS.iter().find(|row| row.number == protocol && protocol < MAX_LINKS);
    let protocol = row.ok_or(Errno::EPROTONOSUPPORT)?;
    Ok(Rc::new_cyclic(|me| NetlinkSocket {
        kind,
        protocol,
        port: Cell::default(),
        groups: Cell::default(),
        peer: Cell::default(),
        inbox: RefCell::default(),
        queued: Cell::default(),
        overrun: Cell::default(),
        drops: Cell::default(),
        flags: Cell::default(),
        filter: RefCell::default(),
        options: RefCell::default(),
        ports: cx.shared.registry::<Ports>(),
        me: me.clone(),
        notifier: cx.shared.notifier(),
    }))
}

/// Port id and groups of a `struct sockaddr_nl`.
fn parse(address: &[u8]) -> Res<(u32, u32)> {
    let record = address.get(..SOCKADDR_NL).ok_or(Errno::EINVAL)?;
    if !record.starts_with(&AF_NETLINK.to_le_bytes()) {
        return Err(Errno::EINVAL);
    }
    let word = |at: usize| {
        u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
    };
    Ok((word(4), word(8)))
}

fn encode(port: u32, groups: u32) -> Vec<u8> {
    let mut bytes = AF_NETLINK.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&port.to_le_bytes());
    bytes.extend_from_slice(&groups.to_le_bytes());
    bytes
}

impl NetlinkSocket {
    /// Port id, 0 before it is bound.
    pub fn port(&self) -> u32 {
        self.port.get().unwrap_or(0)
    }

    /// The first 32 groups it has joined.
    pub fn groups(&self) -> u32 {
        self.groups.get() as u32
    }

    /// Bytes that wait, and answers lost.
    pub fn queue(&self) -> (usize, u32) {
        (self.queued.get(), self.drops.get())
    }

    /// Peer's port id and groups.
    pub fn peer(&self) -> (u32, u32) {
        self.peer.get()
    }

    fn insert(&self, port: u32) -> Res<()> {
        let mut ports = self.ports.0.borrow_mut();
        let key = (self.protocol.number, port);
        if ports.get(&key).is_some_and(|other| other.strong_count() > 0) {
            return Err(Errno::EADDRINUSE);
        }
        ports.insert(key, self.me.clone());
        self.port.set(Some(port));
        Ok(())
    }

    /// Takes the process id as the port id, or if another socket has that, some number from 2³² - 4097 down
    /// (`netlink_autobind`).
    fn autobind(&self, cx: &mut Cx) -> Res<()> {
        if self.port.get().is_some() {
            return Ok(());
        }
        let mut port = cx.world.job().pid;
        let mut below = 4097;
        while self.insert(port).is_err() {
            port = 0u32.wrapping_sub(below);
            below += 1;
        }
        Ok(())
    }

    /// Whether option `n` of SOL_NETLINK is on.
    fn is_on(&self, option: u32) -> bool {
        self.flags.get() >> option & 1 != 0
    }

    /// Puts a datagram of the kernel into the inbox; without room it is lost, and the next receive says so.
    pub fn deliver(&self, mut datagram: Vec<u8>) {
        if let Some(filter) = &*self.filter.borrow() {
            match filter.run(&NetworkBytes(&datagram)) as usize {
                0 => return,
                wanted => datagram.truncate(wanted),
            }
        }
        let size = datagram.len() + OVERHEAD;
        if self.queued.get() + size > self.options.borrow().receive_buffer as usize {
            self.drops.set(self.drops.get().wrapping_add(1));
            if !self.is_on(NETLINK_NO_ENOBUFS) {
                self.overrun.set(true);
                self.notifier.wake();
            }
            return;
        }
        self.queued.set(self.queued.get() + size);
        self.inbox.borrow_mut().push_back(datagram);
        self.notifier.wake();
    }

    /// Serves the requests of one datagram.
    fn serve(&self, cx: &mut Cx, mut data: &[u8]) {
        while let Some((request, rest)) = Request::split(data) {
            data = rest;
            let is_request = request.flags & NLM_F_REQUEST != 0 && request.kind >= NLMSG_MIN_TYPE;
            let result = match is_request {
                true => (self.protocol.handler)(cx, self, &request),
                false => Ok(Answer::Nothing),
            };
            let (answer, error) = match result {
                Ok(answer) => (answer, None),
                Err(error) => (Answer::Nothing, Some(error)),
            };
            // A dump ends with NLMSG_DONE and is not acknowledged as well (`netlink_dump_start`).
            let dump = matches!(answer, Answer::Dump(_) | Answer::Failed(_));
            for datagram in answer.datagrams(&request, self.port()) {
                self.deliver(datagram);
            }
            if error.is_some() || request.flags & NLM_F_ACK != 0 && !dump {
                let capped = self.is_on(NETLINK_CAP_ACK);
                self.deliver(message::acknowledge(&request, error, capped, self.port()));
            }
        }
    }

    fn join(&self, group: u32, on: bool) -> Res<()> {
        if group == 0 || group > self.protocol.groups {
            return Err(Errno::EINVAL);
        }
        let bit = 1 << (group - 1);
        let groups = self.groups.get();
        self.groups.set(if on { groups | bit } else { groups & !bit });
        Ok(())
    }
}

impl SocketOps for NetlinkSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn family(&self) -> u16 {
        AF_NETLINK
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn protocol(&self) -> u32 {
        self.protocol.number
    }

    fn options(&self) -> &RefCell<SocketOptions> {
        &self.options
    }

    fn bind(&self, cx: &mut Cx, _at: &PathCx, address: &[u8]) -> Res<()> {
        let (port, groups) = parse(address)?;
        if self.port.get().is_some_and(|own| own != port) {
            return Err(Errno::EINVAL);
        }
        if self.port.get().is_none() {
            match port {
                0 => self.autobind(cx)?,
                port => self.insert(port)?,
            }
        }
        let known = u32::MAX.checked_shr(32 - self.protocol.groups.min(32)).unwrap_or(0);
        self.groups.set(self.groups.get() & !0xffff_ffff | u64::from(groups & known));
        Ok(())
    }

    fn connect(
        &self,
        cx: &mut Cx,
        _at: &PathCx,
        address: &[u8],
        _keys: &mut Vec<WaitKey>,
    ) -> Res<()> {
        if address.starts_with(&AF_UNSPEC.to_le_bytes()) {
            self.peer.set((0, 0));
            return Ok(());
        }
        let (port, groups) = parse(address)?;
        if (port != 0 || groups != 0) && !cx.cred.capable(cap::NET_ADMIN) {
            return Err(Errno::EPERM);
        }
        self.autobind(cx)?;
        self.peer.set((port, groups));
        Ok(())
    }

    fn send(&self, cx: &mut Cx, message: &mut Outgoing) -> Res<usize> {
        if message.flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if message.data.is_empty() {
            return Err(Errno::ENODATA);
        }
        let (port, groups) = match message.to {
            Some(to) => parse(to)?,
            None => self.peer.get(),
        };
        if (port != 0 || groups != 0) && !cx.cred.capable(cap::NET_ADMIN) {
            return Err(Errno::EPERM);
        }
        self.autobind(cx)?;
        let room = (self.options.borrow().send_buffer as usize).saturating_sub(32);
        if message.data.len() > room {
            return Err(Errno::EMSGSIZE);
        }
        if port == 0 && groups == 0 {
            self.serve(cx, message.data);
            return Ok(message.data.len());
        }
        // Programs among themselves: Linux allows it on NETLINK_USERSOCK, which is not here.
        Err(Errno::ECONNREFUSED)
    }

    fn receive(&self, _cx: &mut Cx, buf: &mut [u8], flags: u32) -> Res<Incoming> {
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.overrun.take() {
            return Err(Errno::ENOBUFS);
        }
        let mut inbox = self.inbox.borrow_mut();
        let datagram = inbox.front().ok_or(Errno::EAGAIN)?;
        let full_len = datagram.len();
        let len = full_len.min(buf.len());
        buf[..len].copy_from_slice(&datagram[..len]);
        if flags & MSG_PEEK == 0 {
            inbox.pop_front();
            self.queued.set(self.queued.get().saturating_sub(full_len + OVERHEAD));
        }
        let mut control = Vec::new();
        if self.options.borrow().is_on(SO_PASSCRED) {
            // The kernel itself.
            control.push(Control { level: SOL_SOCKET, kind: SCM_CREDENTIALS, data: vec![0; 12] });
        }
        if self.is_on(NETLINK_PKTINFO) {
            control.push(Control { level: SOL_NETLINK, kind: NETLINK_PKTINFO, data: vec![0; 4] });
        }
        let from = Some(encode(0, 0));
        Ok(Incoming { len, full_len, from, control, ..Incoming::default() })
    }

    fn pending(&self) -> usize {
        self.inbox.borrow().front().map_or(0, Vec::len)
    }

    fn shutdown(&self, _cx: &mut Cx, _how: u32) -> Res<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local(&self, _cx: &mut Cx) -> Res<Vec<u8>> {
        Ok(encode(self.port(), self.groups()))
    }

    fn remote(&self, _cx: &mut Cx) -> Res<Vec<u8>> {
        let (port, groups) = self.peer.get();
        Ok(encode(port, groups))
    }

    fn take_error(&self, _cx: &mut Cx) -> Option<Errno> {
        self.overrun.take().then_some(Errno::ENOBUFS)
    }

    fn set_option(
        &self,
        cx: &mut Cx,
        level: u32,
        option: u32,
        value: &OptionValue,
    ) -> Option<Res<()>> {
        match level {
            SOL_SOCKET if option == SO_ATTACH_FILTER => Some(match &value.bytes {
                Ok(bytes) if value.len == 16 => Program::from_bytes(bytes, Use::Socket)
                    .map(|program| *self.filter.borrow_mut() = Some(program)),
                Ok(_) => Err(Errno::EINVAL),
                Err(e) => Err(*e),
            }),
            SOL_SOCKET if option == SO_DETACH_FILTER => {
                let had = self.filter.borrow_mut().take();
                Some(had.map(drop).ok_or(Errno::ENOENT))
            }
            SOL_SOCKET => None,
            SOL_NETLINK => Some(self.set_netlink_option(cx, option, value)),
            _ => Some(Err(Errno::ENOPROTOOPT)),
        }
    }

    fn get_option(
        &self,
        _cx: &mut Cx,
        level: u32,
        option: u32,
        room: usize,
    ) -> Option<Res<Vec<u8>>> {
        match (level, option) {
            (SOL_SOCKET, _) => None,
            (SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS) => {
                let bytes = self.protocol.groups.div_ceil(32) as usize * 4;
                let mut value = self.groups.get().to_le_bytes().to_vec();
                value.resize(bytes, 0);
                Some(Ok(value))
            }
            (
                SOL_NETLINK,
                NETLINK_PKTINFO
                | NETLINK_BROADCAST_ERROR
                | NETLINK_NO_ENOBUFS
                | NETLINK_CAP_ACK
                | NETLINK_EXT_ACK
                | NETLINK_GET_STRICT_CHK,
            ) => Some(match room {
                0..4 => Err(Errno::EINVAL),
                _ => Ok(u32::from(self.is_on(option)).to_le_bytes().to_vec()),
            }),
            _ => Some(Err(Errno::ENOPROTOOPT)),
        }
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        let readable = if self.inbox.borrow().is_empty() { 0 } else { READABLE };
        let error = if self.overrun.get() { POLLERR | READABLE } else { 0 };
        readable | error | WRITABLE
    }

    fn keys(&self, out: &mut Vec<WaitKey>) {
        out.push(self.notifier.key());
    }

    fn generation(&self) -> u64 {
        self.notifier.generation()
    }

    fn close(&self) {
        if let Some(port) = self.port.get() {
            self.ports.0.borrow_mut().remove(&(self.protocol.number, port));
        }
    }
}

impl NetlinkSocket {
    fn set_netlink_option(&self, cx: &mut Cx, option: u32, value: &OptionValue) -> Res<()> {
        let value = if value.len >= 4 { value.int()? as u32 } else { 0 };
        match option {
            NETLINK_ADD_MEMBERSHIP => self.join(value, true),
            NETLINK_DROP_MEMBERSHIP => self.join(value, false),
            // CAP_NET_BROADCAST, which no container has.
            NETLINK_LISTEN_ALL_NSID if !cx.cred.capable(cap::NET_ADMIN) => Err(Errno::EPERM),
            NETLINK_PKTINFO
            | NETLINK_BROADCAST_ERROR
            | NETLINK_NO_ENOBUFS
            | NETLINK_LISTEN_ALL_NSID
            | NETLINK_CAP_ACK
            | NETLINK_EXT_ACK
            | NETLINK_GET_STRICT_CHK => {
                let flags = self.flags.get() & !(1 << option);
                self.flags.set(flags | u32::from(value != 0) << option);
                Ok(())
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
}
