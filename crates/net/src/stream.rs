//! The bytes of TCP connections: send(2), recv(2), urgent data, readiness (tcp(7), `tcp_sendmsg`, `tcp_recvmsg`,
//! `tcp_poll`).

use crate::capture::flag;
use crate::net::Net;
use crate::socket::{Link, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, Socket, SocketId, State, Urgent};
use abi::Errno;
use abi::poll::{POLLERR, POLLHUP, POLLPRI, POLLRDHUP, READABLE, WRITABLE};
use abi::socket::{MSG_DONTWAIT, MSG_OOB, MSG_PEEK, MSG_WAITALL, SO_OOBINLINE};
use std::collections::VecDeque;

/// Bytes that one direction of a stream holds by the sender's, and by the receiver's side, unless a program sets
/// SO_SNDBUF or SO_RCVBUF. Linux starts lower and grows to several MiB.
const SIDE: usize = 256 << 10;
/// What remains to each when memory is short.
const SHORT: usize = 8 << 10;
/// Least bytes that each side holds, whatever a program sets.
const LEAST: usize = 2304;

/// Bytes of an IPv4 header and a TCP header.
const HEADERS: usize = 40;

impl Net {
    /// Bytes that may be under way from one socket to another.
    fn capacity(&self, from: &Socket, to: &Socket) -> usize {
        let side = |size: u32, set: bool| match set {
            _ if self.is_exhausted() => LEAST / 8,
            _ if self.is_short() => SHORT,
            true => (size as usize / 2).max(LEAST),
            false => SIDE,
        };
        let (f, t) = (from.options.borrow(), to.options.borrow());
        side(f.send_buffer, f.buffer_lock & 1 != 0) + side(t.receive_buffer, t.buffer_lock & 2 != 0)
    }

    /// Bytes under way to the peer, and how many may be.
    fn fill(&self, socket: &Socket) -> (usize, usize) {
        match socket.tcp.link {
            Link::Local(peer) => match self.get(peer) {
                Some(to) => (to.tcp.queue.len(), self.capacity(socket, to)),
                None => (0, SIDE),
            },
            _ => (socket.tcp.out.len(), self.capacity(socket, socket) / 2),
        }
    }

    /// Whether poll(2) calls it writable: a third of the room is free.
    fn is_writable(&self, socket: &Socket) -> bool {
        let (used, most) = self.fill(socket);
        most.saturating_sub(used) * 3 >= most
    }

    /// send(2) on a stream: bytes taken. EAGAIN when there is no room.
    pub fn send_stream(&mut self, id: SocketId, data: &[u8], flags: u32) -> Result<usize, Errno> {
        let socket = self.at_mut(id)?;
        if !matches!(socket.tcp.state, State::Established | State::CloseWait) {
            socket.take_error()?;
            if socket.tcp.state == State::SynSent {
                socket.no_space = true;
                return Err(Errno::EAGAIN);
            }
            return Err(Errno::EPIPE);
        }
        if socket.error.is_some() || socket.shut & SHUT_SEND != 0 {
            return Err(socket.error.take().unwrap_or(Errno::EPIPE));
        }
        if data.is_empty() {
            return Ok(0);
        }
        let link = socket.tcp.link;
        let (used, most) = self.fill(self.at(id)?);
        let room = most.saturating_sub(used);
        if room == 0 {
            self.at_mut(id)?.no_space = true;
            return Err(Errno::EAGAIN);
        }
        let n = data.len().min(room);
        let data = &data[..n];
        let urgent = flags & MSG_OOB != 0;
        match link {
            Link::Local(peer) => {
                let to = self.at(peer).map_err(|_| Errno::EPIPE)?;
                if to.tcp.state == State::FinWait2 && to.shut & SHUT_RECEIVE != 0 {
                    // It wants no more data (`tcp_rcv_state_process`).
                    self.fail(peer, Errno::ECONNRESET);
                    self.fail(id, Errno::ECONNRESET);
                    return Ok(n);
                }
                self.interfaces.count_loopback(data.len() + HEADERS);
                self.show_tcp(id, flag::PSH | flag::ACK, data);
                self.arrive(peer, data, urgent);
                self.show_tcp(peer, flag::ACK, &[]);
            }
            Link::Gone | Link::None => self.fail(id, Errno::ECONNRESET),
            Link::Outside(_) | Link::Service => {
                self.at_mut(id)?.tcp.out.extend(data);
                self.charge(n);
                self.dirty.insert(id);
            }
        }
        if let Some(socket) = self.get_mut(id) {
            socket.tcp.moved.0 += n as u64;
        }
        Ok(n)
    }

    /// Bytes come to a stream; the last may be an urgent one.
    pub(crate) fn arrive(&mut self, id: SocketId, data: &[u8], urgent: bool) {
        let Some(socket) = self.get_mut(id) else { return };
        let tcp = &mut socket.tcp;
        tcp.queue.extend(data);
        tcp.moved.1 += data.len() as u64;
        if let (true, Some(byte)) = (urgent, data.last()) {
            let at = tcp.position + tcp.queue.len() as u64 - 1;
            tcp.urgent = Some(Urgent { at, byte: *byte, taken: false });
        }
        self.charge(data.len());
        self.stop_deferring(id);
        self.notify(id);
    }

    /// recv(2) on a stream: bytes stored, and `MSG_*` to report.
    pub fn receive_stream(
        &mut self,
        id: SocketId,
        buf: &mut [u8],
        flags: u32,
    ) -> Result<(usize, u32), Errno> {
        let inline = self.at(id)?.is_on(SO_OOBINLINE);
        let socket = self.at_mut(id)?;
        if socket.tcp.state == State::Listen {
            return Err(Errno::ENOTCONN);
        }
        if flags & MSG_OOB != 0 {
            return receive_urgent(socket, buf, flags, inline);
        }
        let wanted = match flags & MSG_WAITALL != 0 && flags & MSG_PEEK != 0 {
            true => buf.len(),
            false => (socket.options.borrow().low_water as usize).min(buf.len()),
        };
        let peek = flags & MSG_PEEK != 0;
        let tcp = &mut socket.tcp;
        // At the mark the urgent byte is passed over, unless it is to lie in the stream.
        if let Some(urgent) = tcp.urgent
            && urgent.at == tcp.position
            && !inline
            && !tcp.queue.is_empty()
            && !buf.is_empty()
            && (tcp.queue.len() > 1 || !peek)
        {
            tcp.queue.pop_front();
            tcp.position += 1;
            if urgent.taken {
                tcp.urgent = None;
            }
            self.uncharge(1);
        }
        let socket = self.at_mut(id)?;
        let tcp = &socket.tcp;
        // A read ends before the mark.
        let end = match tcp.urgent {
            Some(urgent) if urgent.at > tcp.position => (urgent.at - tcp.position) as usize,
            _ => usize::MAX,
        };
        let there = tcp.queue.len().min(end);
        let over = socket.error.is_some() || socket.shut & SHUT_RECEIVE != 0;
        let over = over || socket.tcp.state == State::Close || there < socket.tcp.queue.len();
        if there == 0 {
            if socket.tcp.fin {
                return Ok((0, 0));
            }
            socket.take_error()?;
            if socket.shut & SHUT_RECEIVE != 0 {
                return Ok((0, 0));
            }
            if socket.tcp.state == State::Close {
                return Err(Errno::ENOTCONN);
            }
            return Err(Errno::EAGAIN);
        }
        if there < wanted && flags & MSG_DONTWAIT == 0 && !over {
            return Err(Errno::EAGAIN);
        }
        let n = there.min(buf.len());
        copy_front(&socket.tcp.queue, &mut buf[..n]);
        if !peek {
            self.consume(id, n);
        }
        Ok((n, 0))
    }

    /// Takes `n` bytes that were copied out of the queue, and makes room for the sender.
    fn consume(&mut self, id: SocketId, n: usize) {
        let Some(socket) = self.get_mut(id) else { return };
        let tcp = &mut socket.tcp;
        tcp.queue.drain(..n);
        if tcp.queue.is_empty() && tcp.queue.capacity() > SIDE {
            tcp.queue = VecDeque::new();
        }
        tcp.position += n as u64;
        if tcp.urgent.is_some_and(|u| u.at < tcp.position) {
            tcp.urgent = None;
        }
        let link = tcp.link;
        match link {
            Link::Outside(_) => {
                tcp.unconfirmed += n;
                self.dirty.insert(id);
            }
            Link::Local(peer) => self.offer_room(peer),
            Link::Service => {
                self.dirty.insert(id);
            }
            _ => {}
        }
        self.uncharge(n);
    }

    /// Wakes a sender that found no room, if there is enough now.
    pub(crate) fn offer_room(&mut self, id: SocketId) {
        if let Some(socket) = self.get(id)
            && socket.no_space
            && self.is_writable(socket)
        {
            if let Some(socket) = self.get_mut(id) {
                socket.no_space = false;
            }
            self.notify(id);
        }
    }

    /// `POLL*` events of a stream (`tcp_poll`).
    pub fn poll_stream(&mut self, id: SocketId) -> u32 {
        let Some(socket) = self.get(id) else { return POLLERR | POLLHUP };
        let tcp = &socket.tcp;
        if let Some(backlog) = &tcp.backlog {
            return if backlog.ready.is_empty() { 0 } else { READABLE };
        }
        let mut events = 0;
        if socket.shut == SHUT_BOTH || tcp.state == State::Close {
            events |= POLLHUP;
        }
        if socket.shut & SHUT_RECEIVE != 0 {
            events |= READABLE | POLLRDHUP;
        }
        let mut full = false;
        if tcp.state != State::SynSent {
            let options = socket.options.borrow();
            let mut there = tcp.queue.len();
            if !options.is_on(SO_OOBINLINE) && tcp.urgent.is_some_and(|u| u.at == tcp.position) {
                there = there.saturating_sub(1);
            }
            if there >= (options.low_water as usize).max(1) {
                events |= READABLE;
            }
            if socket.shut & SHUT_SEND != 0 || self.is_writable(socket) {
                events |= WRITABLE;
            } else {
                full = true;
            }
            if tcp.urgent.is_some_and(|u| !u.taken) {
                events |= POLLPRI;
            }
        }
        if socket.error.is_some() || !socket.errors.is_empty() {
            events |= POLLERR;
        }
        if let Some(socket) = self.get_mut(id) {
            socket.no_space |= full;
        }
        events
    }

    /// Bytes that can be read before the urgent mark (SIOCINQ).
    pub fn readable_bytes(&self, id: SocketId) -> Result<usize, Errno> {
        let socket = self.at(id)?;
        if socket.tcp.state == State::Listen {
            return Err(Errno::EINVAL);
        }
        let tcp = &socket.tcp;
        Ok(match tcp.urgent {
            Some(urgent) if urgent.at > tcp.position && !socket.is_on(SO_OOBINLINE) => {
                (urgent.at - tcp.position) as usize
            }
            _ => tcp.queue.len(),
        })
    }

    /// Bytes that the peer's system has not taken (SIOCOUTQ).
    pub fn unsent_bytes(&self, id: SocketId) -> Result<usize, Errno> {
        let socket = self.at(id)?;
        if socket.tcp.state == State::Listen {
            return Err(Errno::EINVAL);
        }
        Ok(match socket.tcp.link {
            Link::Local(peer) => {
                let window = self.get(peer).map_or(0, |p| self.capacity(p, p) / 2);
                self.get(peer).map_or(0, |p| p.tcp.queue.len().saturating_sub(window))
            }
            _ => socket.tcp.out.len(),
        })
    }

    /// Whether the next byte is the urgent one (SIOCATMARK, sockatmark(3)).
    pub fn is_at_mark(&self, id: SocketId) -> Result<bool, Errno> {
        let tcp = &self.at(id)?.tcp;
        Ok(tcp.urgent.is_some_and(|u| u.at == tcp.position))
    }
}

/// recv(2) with MSG_OOB (`tcp_recv_urg`).
fn receive_urgent(
    socket: &mut Socket,
    buf: &mut [u8],
    flags: u32,
    inline: bool,
) -> Result<(usize, u32), Errno> {
    let Some(urgent) = socket.tcp.urgent.as_mut().filter(|u| !u.taken && !inline) else {
        return Err(Errno::EINVAL);
    };
    if flags & MSG_PEEK == 0 {
        urgent.taken = true;
    }
    if let Some(first) = buf.first_mut() {
        *first = urgent.byte;
    }
    Ok((buf.len().min(1), MSG_OOB))
}

fn copy_front(queue: &VecDeque<u8>, buf: &mut [u8]) {
    let (front, back) = queue.as_slices();
    let first = buf.len().min(front.len());
    let (one, two) = buf.split_at_mut(first);
    one.copy_from_slice(&front[..first]);
    let rest = two.len();
    two.copy_from_slice(&back[..rest]);
}
