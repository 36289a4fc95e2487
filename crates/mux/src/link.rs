//! What both ends do alike: flows, credit, data.

use crate::Broken;
use crate::extension::Extensions;
use crate::flow::{Allowance, Flow, cost};
use crate::packet::{MAX_DATA, MAX_DATAGRAM, Packet, Transport};
use crate::reason::VOLUNTARY;
use crate::wire::Wire;
use std::collections::{BTreeMap, VecDeque};

/// Bytes by which the windows of all flows may grow together.
const GROWTH: u32 = 32 << 20;

/// Without `credit`: bytes that may wait in this end before no more input is looked at.
const HELD: usize = 8 << 20;

/// Packets that a plain client may have under way.
pub(crate) const PLAIN_PACKETS: u32 = 64;

/// Data that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It counts.
    Data,
    /// It belongs to nothing, or is empty.
    Nothing,
    /// More than was allowed, or after the end.
    TooMuch,
}

/// The part of an end that does not depend on which end it is.
pub(crate) struct Link {
    pub wire: Wire,
    pub flows: BTreeMap<u32, Flow>,
    /// What both ends can do; none before the other end said.
    pub agreed: Option<Extensions>,
    /// What each flow may send at first.
    pub first: Allowance,
    /// Flows whose sender waits, in the order of asking.
    starved: VecDeque<u32>,
    granting: Vec<u32>,
    growth: u32,
    held: usize,
}

impl Link {
    pub fn new() -> Self {
        Link {
            wire: Wire::default(),
            flows: BTreeMap::new(),
            agreed: None,
            first: Allowance::Bytes(0),
            starved: VecDeque::new(),
            granting: Vec::new(),
            growth: GROWTH,
            held: 0,
        }
    }

    pub fn agreed(&self) -> Extensions {
        self.agreed.unwrap_or(Extensions::NONE)
    }

    /// Adds a flow.
    pub fn open(&mut self, stream: u32, transport: Transport, stands: bool) {
        let allowance = match (self.first, transport) {
            (Allowance::Packets(_), Transport::Udp) => Allowance::Open,
            (first, _) => first,
        };
        let mut flow = Flow::new(transport, allowance, crate::INITIAL_CREDIT);
        flow.stands = stands;
        self.flows.insert(stream, flow);
    }

    /// Whether a stream is there and carries bytes.
    pub fn is_tcp(&self, stream: u32) -> bool {
        self.flows.get(&stream).is_some_and(|flow| flow.transport == Transport::Tcp)
    }

    /// Forgets a flow.
    pub fn remove(&mut self, stream: u32) -> Option<Flow> {
        let flow = self.flows.remove(&stream)?;
        self.growth = self.growth.saturating_add(flow.window.saturating_sub(crate::INITIAL_CREDIT));
        self.held = self.held.saturating_sub(flow.held);
        Some(flow)
    }

    /// Sends what is allowed; how much that was. 0 of something: the flow is starved.
    pub fn send(&mut self, stream: u32, data: &[u8]) -> usize {
        let Some(flow) = self.flows.get_mut(&stream) else { return data.len() };
        if flow.finished {
            return data.len();
        }
        let mut done = 0;
        if flow.transport == Transport::Udp {
            // What can never be sent is lost, as datagrams are.
            let hopeless = matches!(self.first, Allowance::Bytes(most) if cost(data.len()) > most);
            if data.len() > MAX_DATAGRAM || hopeless {
                return data.len();
            }
            if self.wire.room() > data.len()
                && flow.sendable(data.len()) == data.len()
                && flow.may()
            {
                flow.sent(data.len());
                self.wire.put(stream, &Packet::Data(data));
                return data.len();
            }
        } else {
            while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
                let len = flow.sendable(rest.len().min(MAX_DATA)).min(self.wire.room());
                let Some(piece) = rest.get(..len).filter(|piece| !piece.is_empty()) else { break };
                flow.sent(len);
                self.wire.put(stream, &Packet::Data(piece));
                done += len;
            }
            if done == data.len() {
                return done;
            }
        }
        if !flow.starved {
            flow.starved = true;
            self.starved.push_back(stream);
        }
        done
    }

    /// The next flow whose sender waits and may go on.
    pub fn room(&mut self) -> Option<u32> {
        if self.wire.room() < MAX_DATAGRAM + MAX_DATA {
            return None;
        }
        for _ in 0..self.starved.len() {
            let stream = self.starved.pop_front()?;
            match self.flows.get_mut(&stream) {
                None => {}
                Some(flow) if flow.roomy(self.first) => {
                    flow.starved = false;
                    return Some(stream);
                }
                Some(_) => self.starved.push_back(stream),
            }
        }
        None
    }

    /// Judges data that came for a stream.
    pub fn came(&mut self, stream: u32, len: usize) -> Came {
        let credit = self.agreed().credit.is_some();
        let Some(flow) = self.flows.get_mut(&stream) else { return Came::Nothing };
        if len == 0 && flow.transport == Transport::Tcp {
            return Came::Nothing;
        }
        if flow.ended || len > MAX_DATAGRAM && flow.transport == Transport::Udp {
            return Came::TooMuch;
        }
        if credit {
            return if flow.arrived(len) { Came::Data } else { Came::TooMuch };
        }
        flow.held += len;
        self.held += len;
        Came::Data
    }

    /// Data that came was used up. Says whether a plain client is to be told.
    pub fn used(&mut self, stream: u32, len: usize) {
        let credit = self.agreed().credit.is_some();
        let Some(flow) = self.flows.get_mut(&stream) else { return };
        if credit {
            if flow.used(len) && !flow.granting {
                flow.granting = true;
                self.granting.push(stream);
            }
        } else {
            let len = len.min(flow.held);
            flow.held -= len;
            self.held = self.held.saturating_sub(len);
        }
    }

    /// Writes the grants that are due.
    pub fn flush(&mut self) {
        for stream in std::mem::take(&mut self.granting) {
            let Some(flow) = self.flows.get_mut(&stream) else { continue };
            flow.granting = false;
            let grant = flow.grant(&mut self.growth);
            if grant > 0 && !flow.ended {
                self.wire.put(stream, &Packet::Credit(grant));
            }
        }
    }

    /// The other end takes `bytes` more.
    pub fn credited(&mut self, stream: u32, bytes: u32) {
        if let Some(flow) = self.flows.get_mut(&stream)
            && let Allowance::Bytes(credit) = &mut flow.allowance
        {
            *credit = credit.saturating_add(u64::from(bytes));
        }
    }

    /// No more bytes will be sent on a stream, where that can be said.
    pub fn finish(&mut self, stream: u32) {
        let half_close = self.agreed().half_close;
        if let Some(flow) = self.flows.get_mut(&stream)
            && !flow.finished
        {
            flow.finished = true;
            if half_close && flow.transport == Transport::Tcp {
                self.wire.put(stream, &Packet::Finish);
            }
        }
    }

    /// Ends a stream, and says why.
    pub fn close(&mut self, stream: u32, reason: u8, errno: u16) -> Option<Flow> {
        let flow = self.remove(stream)?;
        self.put_close(stream, reason, errno);
        Some(flow)
    }

    /// Says that a stream is over.
    pub fn put_close(&mut self, stream: u32, reason: u8, errno: u16) {
        let told = self.agreed().outcome.is_some() && reason != VOLUNTARY;
        self.wire.put(stream, &Packet::Close { reason, errno: told.then_some(errno) });
    }

    /// Whether more input can be taken: what the other end must read, and what our user must use up, is bounded.
    pub fn wants_input(&self) -> bool {
        !self.wire.is_full() && self.held < HELD
    }

    /// Takes in the other end's INFO.
    pub fn agree(&mut self, own: &Extensions, list: &[u8]) -> Result<Extensions, Broken> {
        let agreed = own.and(&Extensions::decode(list)?);
        if let Some(credit) = agreed.credit {
            self.first = Allowance::Bytes(u64::from(credit));
        }
        self.agreed = Some(agreed);
        Ok(agreed)
    }
}

impl Flow {
    /// Whether a packet may be sent at all.
    fn may(&self) -> bool {
        match self.allowance {
            Allowance::Packets(packets) => packets > 0,
            Allowance::Bytes(credit) => credit > 0,
            Allowance::Open => true,
        }
    }

    /// Whether it is worth telling a waiting sender.
    fn roomy(&self, first: Allowance) -> bool {
        match (self.allowance, first) {
            (Allowance::Bytes(credit), Allowance::Bytes(first))
                if self.transport == Transport::Udp =>
            {
                credit >= first / 2
            }
            _ => self.may(),
        }
    }
}
