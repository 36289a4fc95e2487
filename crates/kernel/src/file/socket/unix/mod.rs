//! Unix sockets: stream, datagram and sequenced packet, with descriptor passing (unix(7)).

mod address;
mod forward;
mod garbage;
mod ops;
mod shown;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::poll::{POLLERR, POLLHUP, POLLRDHUP, POLLWRBAND, READABLE, WRITABLE};
use abi::socket::{SHUT_RD, SHUT_RDWR, SHUT_WR, SO_PASSCRED, SOCK_DGRAM, SOCK_STREAM};

use net::SocketOptions;

use crate::file::OpenFile;
use crate::fs::cx::Notifier;
use crate::fs::{Cx, Res};
use crate::wait::WaitKey;

use address::Place;
pub use address::{Address, UnixNames};
pub use forward::Forwards;
pub use ops::create;
pub use shown::Shown;

/// Datagrams in one socket's queue beyond which those who are not its peer wait (`net.unix.max_dgram_qlen`).
const QUEUE_MESSAGES: usize = 10;
/// The same for its peer. (On Linux what a message takes beside its bytes counts against SO_SNDBUF, with about this effect.)
const PEER_MESSAGES: usize = 512;
/// Largest backlog (`net.core.somaxconn`).
const MAX_BACKLOG: usize = 4096;

/// Process, user and group of a sender (SCM_CREDENTIALS).
pub type Ucred = (u32, u32, u32);

/// One message (or part of a stream) in a queue.
pub struct Message {
    data: Vec<u8>,
    at: usize,
    files: Vec<Rc<OpenFile>>,
    cred: Ucred,
    from: Option<Address>,
}

/// What [`UnixSocket::take`] got.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Bytes stored.
    pub len: usize,
    /// Bytes the whole message has (datagrams may be cut).
    pub full_len: usize,
    /// Sender's credentials.
    pub cred: Ucred,
    /// Sender's address.
    pub from: Option<Address>,
}

struct Backlog {
    waiting: VecDeque<Rc<UnixSocket>>,
    max: usize,
}

/// One socket.
pub struct UnixSocket {
    kind: u32,
    inbox: RefCell<VecDeque<Message>>,
    inbox_bytes: Cell<usize>,
    peer: RefCell<Weak<UnixSocket>>,
    /// Connected now or once.
    connected: Cell<bool>,
    closed: Cell<bool>,
    shut_read: Cell<bool>,
    shut_write: Cell<bool>,
    local: RefCell<Option<Address>>,
    remote: RefCell<Option<Address>>,
    backlog: RefCell<Option<Backlog>>,
    cred: Cell<Ucred>,
    peer_cred: Cell<Ucred>,
    reset: Cell<bool>,
    options: RefCell<SocketOptions>,
    me: Weak<UnixSocket>,
    graveyard: Rc<RefCell<Vec<Rc<OpenFile>>>>,
    /// Data has come, or the connection has changed.
    notifier: Notifier,
    /// There is room in the inbox or the backlog; others wait for it.
    room: Notifier,
}

impl UnixSocket {
    /// A socket of type `kind`, not connected.
    pub fn new(cx: &mut Cx, kind: u32) -> Rc<UnixSocket> {
        let cred = (cx.world.job().pid, cx.cred.uid, cx.cred.gid);
        Rc::new_cyclic(|me| UnixSocket {
            kind,
            inbox: RefCell::default(),
            inbox_bytes: Cell::new(0),
            peer: RefCell::default(),
            connected: Cell::new(false),
            closed: Cell::new(false),
            shut_read: Cell::new(false),
            shut_write: Cell::new(false),
            local: RefCell::default(),
            remote: RefCell::default(),
            backlog: RefCell::default(),
            cred: Cell::new(cred),
            peer_cred: Cell::new((0, u32::MAX, u32::MAX)),
            reset: Cell::new(false),
            options: RefCell::default(),
            me: me.clone(),
            graveyard: cx.shared.graveyard.clone(),
            notifier: cx.shared.notifier(),
            room: cx.shared.notifier(),
        })
    }

    /// Connects two sockets to each other.
    pub fn join(a: &UnixSocket, b: &UnixSocket) {
        for (one, other) in [(a, b), (b, a)] {
            one.peer.borrow_mut().clone_from(&other.me);
            one.connected.set(true);
            one.peer_cred.set(other.cred.get());
            *one.remote.borrow_mut() = other.local.borrow().clone();
            one.notifier.wake();
        }
    }

    /// Whether it has a listening backlog.
    fn has_backlog(&self) -> bool {
        self.backlog.borrow().is_some()
    }

    /// The address it is bound to.
    fn local_address(&self) -> Option<Address> {
        self.local.borrow().clone()
    }

    /// Whether it is or was connected.
    fn is_connected(&self) -> bool {
        self.connected.get()
    }

    /// The peer's address; ENOTCONN without a peer.
    fn remote_address(&self) -> Res<Option<Address>> {
        if !self.connected.get() {
            return Err(Errno::ENOTCONN);
        }
        Ok(self.remote.borrow().clone())
    }

    /// Credentials of the peer at the time of the connection (SO_PEERCRED).
    fn peer_credentials(&self) -> Ucred {
        self.peer_cred.get()
    }

    /// Whether the peer was closed with unread data; told once.
    fn take_reset(&self) -> bool {
        self.reset.replace(false)
    }

    /// bind(2); the inode of a path has been made.
    fn name(&self, names: &UnixNames, address: Address, place: Place) -> Res<()> {
        if self.local.borrow().is_some() {
            return Err(Errno::EINVAL);
        }
        names.bind(place, &self.me)?;
        *self.local.borrow_mut() = Some(address);
        Ok(())
    }

    /// listen(2).
    fn start_listening(&self, cx: &mut Cx, max: usize) -> Res<()> {
        if self.kind == SOCK_DGRAM {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.local.borrow().is_none() || self.connected.get() {
            return Err(Errno::EINVAL);
        }
        let max = max.min(MAX_BACKLOG);
        self.cred.set((cx.world.job().pid, cx.cred.uid, cx.cred.gid));
        match &mut *self.backlog.borrow_mut() {
            Some(backlog) => backlog.max = max,
            none => *none = Some(Backlog { waiting: VecDeque::new(), max }),
        }
        Ok(())
    }

    /// connect(2) to `target`; EAGAIN while its backlog is full.
    fn join_to(&self, cx: &mut Cx, target: &Rc<UnixSocket>) -> Res<()> {
        if target.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        if self.kind == SOCK_DGRAM {
            if !target.takes_from(self) {
                return Err(Errno::EPERM);
            }
            *self.peer.borrow_mut() = Rc::downgrade(target);
            *self.remote.borrow_mut() = target.local_address();
            self.connected.set(true);
            return Ok(());
        }
        let listening = self.has_backlog();
        let mut backlog = target.backlog.borrow_mut();
        let backlog = backlog.as_mut().ok_or(Errno::ECONNREFUSED)?;
        if target.closed.get() {
            return Err(Errno::ECONNREFUSED);
        }
        if backlog.waiting.len() > backlog.max {
            return Err(Errno::EAGAIN);
        }
        if self.connected.get() {
            return Err(Errno::EISCONN);
        }
        if listening {
            return Err(Errno::EINVAL);
        }
        let server = UnixSocket::new(cx, self.kind);
        server.cred.set(target.cred.get());
        *server.local.borrow_mut() = target.local_address();
        *server.options.borrow_mut() = target.options.borrow().clone();
        server.options.borrow_mut().inode = 0;
        let job = cx.world.job();
        self.cred.set((job.pid, cx.cred.uid, cx.cred.gid));
        UnixSocket::join(self, &server);
        backlog.waiting.push_back(server);
        target.notifier.wake();
        Ok(())
    }

    /// connect(2) with AF_UNSPEC on a datagram socket: forgets the peer.
    fn disconnect(&self) {
        *self.peer.borrow_mut() = Weak::new();
        *self.remote.borrow_mut() = None;
        self.connected.set(false);
    }

    /// accept(2): the next connection; EAGAIN if there is none.
    fn next_connection(&self) -> Res<Rc<UnixSocket>> {
        let mut backlog = self.backlog.borrow_mut();
        let backlog = backlog.as_mut().ok_or(Errno::EINVAL)?;
        let next = backlog.waiting.pop_front().ok_or(Errno::EAGAIN)?;
        self.room.wake();
        Ok(next)
    }

    /// Whether datagrams of `sender` may come here: who is connected hears its peer alone (`unix_may_send`).
    fn takes_from(&self, sender: &UnixSocket) -> bool {
        !self.connected.get() || self.is_peer(sender)
    }

    fn is_peer(&self, other: &UnixSocket) -> bool {
        std::ptr::eq(self.peer.borrow().as_ptr(), other)
    }

    fn peer(&self) -> Option<Rc<UnixSocket>> {
        self.peer.borrow().upgrade().filter(|p| !p.closed.get())
    }

    /// Queues `data` (with `files`) at the peer, or at `to`. A stream may take less than all.
    fn queue(
        &self,
        cx: &mut Cx,
        data: &[u8],
        files: &[Rc<OpenFile>],
        to: Option<&Rc<UnixSocket>>,
        claimed: Option<Ucred>,
    ) -> Res<usize> {
        garbage::before_sending(cx, files.len());
        let job = cx.world.job();
        if self.shut_write.get() {
            return Err(Errno::EPIPE);
        }
        let stream = self.kind == SOCK_STREAM;
        let target = match to {
            Some(_) if self.kind != SOCK_DGRAM => {
                return Err(if self.connected.get() { Errno::EISCONN } else { Errno::EOPNOTSUPP });
            }
            Some(target) => target.clone(),
            None => match self.peer() {
                Some(peer) => peer,
                None if !self.connected.get() => return Err(Errno::ENOTCONN),
                None if self.kind == SOCK_DGRAM => {
                    self.disconnect();
                    return Err(Errno::ECONNREFUSED);
                }
                None => return Err(Errno::EPIPE),
            },
        };
        if target.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        if self.kind == SOCK_DGRAM && !target.takes_from(self) {
            return Err(Errno::EPERM);
        }
        if target.shut_read.get() {
            return Err(Errno::EPIPE);
        }
        let limit = self.send_limit();
        if !stream && data.len() > limit.saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        let room = target.room(self, limit);
        if stream && data.is_empty() {
            return Ok(0);
        }
        if room == 0 || (!stream && room < data.len()) {
            return Err(Errno::EAGAIN);
        }
        let n = if stream { data.len().min(room) } else { data.len() };
        let message = Message {
            data: data[..n].to_vec(),
            at: 0,
            files: files.to_vec(),
            cred: claimed.unwrap_or((job.pid, cx.cred.uid, cx.cred.gid)),
            from: self.local_address(),
        };
        target.inbox_bytes.set(target.inbox_bytes.get() + n);
        target.inbox.borrow_mut().push_back(message);
        target.notifier.wake();
        Ok(n)
    }

    /// SO_SNDBUF: what may lie in the peer's queue (`sk_sndbuf`).
    fn send_limit(&self) -> usize {
        self.options.borrow().send_buffer as usize
    }

    /// Bytes that a sender with this limit may add to the queue.
    fn room(&self, sender: &UnixSocket, limit: usize) -> usize {
        let peers = self.kind != SOCK_DGRAM || self.is_peer(sender) || std::ptr::eq(self, sender);
        let most = if peers { PEER_MESSAGES } else { QUEUE_MESSAGES };
        if self.kind != SOCK_STREAM && self.inbox.borrow().len() > most {
            return 0;
        }
        limit.saturating_sub(self.inbox_bytes.get())
    }

    /// Takes (or with `peek` copies) what is queued: bytes into `buf`, passed files into `files`. A stream joins
    /// messages up to one with files, and of one sender only if it tells who that is. EAGAIN when nothing is there.
    fn take(&self, buf: &mut [u8], peek: bool, files: &mut Vec<Rc<OpenFile>>) -> Res<Received> {
        let stream = self.kind == SOCK_STREAM;
        if stream && !self.connected.get() {
            return Err(Errno::EINVAL);
        }
        if self.kind != SOCK_STREAM && self.kind != SOCK_DGRAM && !self.connected.get() {
            return Err(Errno::ENOTCONN);
        }
        let mut inbox = self.inbox.borrow_mut();
        if inbox.is_empty() {
            drop(inbox);
            if self.reset.replace(false) {
                return Err(Errno::ECONNRESET);
            }
            let ended = self.kind != SOCK_DGRAM && self.peer().is_none_or(|p| p.shut_write.get());
            let done = self.shut_read.get() || ended;
            return if done { Ok(Received::default()) } else { Err(Errno::EAGAIN) };
        }
        let tells = self.options.borrow().is_on(SO_PASSCRED);
        let mut got = Received::default();
        if let Some(first) = inbox.front() {
            got.cred = first.cred;
            got.from = first.from.clone();
            got.full_len = first.data.len() - first.at;
        }
        let mut index = 0;
        while let Some(message) = inbox.get_mut(index) {
            if index > 0 || got.len > 0 {
                let joins = stream && files.is_empty() && (!tells || message.cred == got.cred);
                if !joins || got.len == buf.len() {
                    break;
                }
            }
            let rest = message.data.get(message.at..).unwrap_or(&[]);
            let n = rest.len().min(buf.len() - got.len);
            buf[got.len..got.len + n].copy_from_slice(&rest[..n]);
            got.len += n;
            let emptied = n == rest.len() || !stream;
            if peek {
                files.extend(message.files.iter().cloned());
                index += 1;
            } else {
                files.append(&mut message.files);
                message.at += n;
                if emptied {
                    let size = if stream { n } else { message.data.len() };
                    self.inbox_bytes.set(self.inbox_bytes.get().saturating_sub(size));
                    inbox.pop_front();
                } else {
                    self.inbox_bytes.set(self.inbox_bytes.get().saturating_sub(n));
                }
            }
            if !stream || !emptied || !files.is_empty() {
                break;
            }
        }
        if stream {
            got.full_len = got.len;
        }
        drop(inbox);
        if !peek {
            self.room.wake();
        }
        Ok(got)
    }

    /// Whether a stream holds less than SO_RCVLOWAT (and than is asked for) and more may come.
    fn is_below_low_water(&self, asked: usize) -> bool {
        let wanted = (self.options.borrow().low_water as usize).min(asked);
        let open = self.peer().is_some_and(|p| !p.shut_write.get()) && !self.shut_read.get();
        self.kind == SOCK_STREAM && self.inbox_bytes.get() < wanted && open
    }

    /// Bytes that can be read (FIONREAD): of the first datagram, or all of a stream.
    fn pending_bytes(&self) -> usize {
        match self.kind {
            SOCK_STREAM => self.inbox_bytes.get(),
            _ => self.inbox.borrow().front().map_or(0, |m| m.data.len()),
        }
    }

    /// shutdown(2).
    fn shut(&self, how: u32) -> Res<()> {
        if how > SHUT_RDWR {
            return Err(Errno::EINVAL);
        }
        if how == SHUT_RD || how == SHUT_RDWR {
            self.shut_read.set(true);
        }
        if how == SHUT_WR || how == SHUT_RDWR {
            self.shut_write.set(true);
        }
        self.notifier.wake();
        if let Some(peer) = self.peer() {
            peer.notifier.wake();
        }
        Ok(())
    }

    /// Calls `f` with every file in its queue and in those of connections that wait to be accepted.
    fn each_file(&self, f: &mut dyn FnMut(&Rc<OpenFile>)) {
        self.inbox.borrow().iter().flat_map(|m| &m.files).for_each(&mut *f);
        if let Some(backlog) = &*self.backlog.borrow() {
            for waiting in &backlog.waiting {
                waiting.inbox.borrow().iter().flat_map(|m| &m.files).for_each(&mut *f);
            }
        }
    }

    /// Nobody can reach the socket: its files go.
    fn give_up(&self) {
        let inbox = std::mem::take(&mut *self.inbox.borrow_mut());
        self.graveyard.borrow_mut().extend(inbox.into_iter().flat_map(|m| m.files));
        if let Some(backlog) = &*self.backlog.borrow() {
            for waiting in &backlog.waiting {
                let inbox = std::mem::take(&mut *waiting.inbox.borrow_mut());
                self.graveyard.borrow_mut().extend(inbox.into_iter().flat_map(|m| m.files));
            }
        }
    }

    /// The last descriptor was closed.
    fn end(&self) {
        self.closed.set(true);
        let unread = !self.inbox.borrow().is_empty();
        let inbox = std::mem::take(&mut *self.inbox.borrow_mut());
        self.graveyard.borrow_mut().extend(inbox.into_iter().flat_map(|m| m.files));
        if let Some(backlog) = self.backlog.borrow_mut().take() {
            for waiting in backlog.waiting {
                waiting.closed.set(true);
                if let Some(client) = waiting.peer() {
                    client.reset.set(true);
                    client.notifier.wake();
                }
            }
        }
        if self.kind != SOCK_DGRAM
            && let Some(peer) = self.peer()
        {
            peer.reset.set(peer.reset.get() || unread);
            peer.notifier.wake();
        }
        self.notifier.wake();
        self.room.wake();
    }

    /// `POLL*` events.
    fn events(&self) -> u32 {
        if let Some(backlog) = &*self.backlog.borrow() {
            return if backlog.waiting.is_empty() { 0 } else { READABLE };
        }
        let mut events = 0;
        let peer = self.peer();
        if !self.inbox.borrow().is_empty() {
            events |= READABLE;
        }
        if self.kind != SOCK_DGRAM {
            if !self.connected.get() {
                return events | POLLHUP | WRITABLE | POLLWRBAND;
            }
            if peer.as_ref().is_none_or(|p| p.shut_write.get()) || self.shut_read.get() {
                events |= READABLE | POLLRDHUP;
            }
            if peer.is_none() || (self.shut_read.get() && self.shut_write.get()) {
                events |= POLLHUP;
            }
        }
        if self.reset.get() {
            events |= POLLERR;
        }
        // `unix_writable`: at most a quarter is used.
        let room = peer.is_none_or(|p| {
            p.inbox_bytes.get() * 4 <= self.send_limit() && p.room(self, self.send_limit()) > 0
        });
        if room { events | WRITABLE | POLLWRBAND } else { events }
    }

    /// The keys to wait on: its own, and the peer's for room to write.
    fn wait_keys(&self, out: &mut Vec<WaitKey>) {
        out.push(self.notifier.key());
        if let Some(peer) = self.peer() {
            out.push(peer.room.key());
        }
    }

    /// Changes of readiness so far.
    fn changes(&self) -> u64 {
        let peer = self.peer().map_or(0, |p| p.room.generation());
        // Each change of the own side counts, also one in which the peer goes.
        (self.notifier.generation() << 32).wrapping_add(peer)
    }

    /// The key on which a connecting socket waits for room in this one's backlog.
    fn key(&self) -> WaitKey {
        self.room.key()
    }
}
