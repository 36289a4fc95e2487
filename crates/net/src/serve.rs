//! The resolver's socket: questions that programs send to 127.0.0.11, port 53, and its answers.

use crate::net::Net;
use crate::outside::Outside;
use crate::resolver::{ADDRESS, take_message};
use crate::socket::{Datagram, Link, SocketId, State};
use abi::Errno;
use abi::inet::IPPROTO_UDP;
use std::net::SocketAddr;
use std::rc::Rc;

/// Bytes of an IPv4 header and a UDP header.
const HEADERS: usize = 28;

/// Who asked: a stream, or the sender of a datagram.
pub type Client = (SocketId, Option<SocketAddr>);

impl Net {
    /// Passes questions and answers on.
    pub(crate) fn serve(&mut self, mut outside: Option<&mut dyn Outside>) {
        let now = self.clock.0;
        while let Some((socket, from, message)) = self.asked.pop_front() {
            let way = reborrow(&mut outside);
            let answer = self.resolver.ask((socket, Some(from)), false, &message, now, way);
            self.hand_over(answer);
        }
        let streams: Vec<_> = self
            .dirty
            .iter()
            .copied()
            .filter(|id| self.get(*id).is_some_and(|s| s.tcp.link == Link::Service))
            .collect();
        for id in streams {
            self.dirty.remove(&id);
            while let Some(message) = self.next_message(id) {
                let way = reborrow(&mut outside);
                let answer = self.resolver.ask((id, None), true, &message, now, way);
                self.hand_over(answer);
            }
        }
        for late in self.resolver.expire(now) {
            self.hand_over(Some(late));
        }
    }

    /// The next whole message that a client's stream holds.
    fn next_message(&mut self, id: SocketId) -> Option<Vec<u8>> {
        let socket = self.get_mut(id)?;
        let mut bytes: Vec<u8> = socket.tcp.out.iter().copied().collect();
        let before = bytes.len();
        let message = match take_message(&mut bytes) {
            Ok(message) => message,
            Err(_) => {
                self.fail(id, Errno::ECONNRESET);
                return None;
            }
        };
        socket.tcp.out = bytes.into();
        let taken = before - socket.tcp.out.len();
        self.uncharge(taken);
        self.offer_room(id);
        message
    }

    /// Brings an answer to who asked.
    pub(crate) fn hand_over(&mut self, answer: Option<(Client, Vec<u8>)>) {
        let Some(((socket, from), message)) = answer else { return };
        let Some(to) = from else {
            let open = matches!(self.state(socket), State::Established | State::FinWait2);
            if open && let Ok(len) = u16::try_from(message.len()) {
                let mut framed = len.to_be_bytes().to_vec();
                framed.extend_from_slice(&message);
                self.arrive(socket, &framed, false);
            }
            return;
        };
        let datagram = Datagram {
            data: Rc::from(message),
            from: ADDRESS,
            to,
            index: crate::interface::LO,
            ttl: 64,
            tos: 0,
            time: self.clock.1,
            mark: 0,
        };
        self.interfaces.count_loopback(datagram.data.len() + HEADERS);
        self.show_udp(IPPROTO_UDP as u8, &datagram);
        if let Some(target) = self.find_udp(IPPROTO_UDP as u8, to, ADDRESS) {
            self.enqueue(target, datagram);
        }
    }
}

/// The same borrow for a shorter time.
pub(crate) fn reborrow<'a>(
    outside: &'a mut Option<&mut dyn Outside>,
) -> Option<&'a mut dyn Outside> {
    match outside {
        Some(outside) => Some(&mut **outside),
        None => None,
    }
}
