//! One stream: what may still be sent, what may still come.

use crate::packet::{MAX_DATAGRAM, Transport};

/// Bytes that each direction of a stream may have under way at first.
pub const INITIAL_CREDIT: u32 = 128 << 10;

/// Most that a stream which is used well gets.
const MAX_WINDOW: u32 = 1 << 20;

/// What a datagram costs besides its bytes, so that empty ones are not free.
pub const DATAGRAM_COST: u32 = 64;

/// What may still be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Allowance {
    /// Bytes (extension `credit`).
    Bytes(u64),
    /// Packets (a plain Wisp server).
    Packets(u32),
    /// Anything (to a plain client, and datagrams without `credit`).
    Open,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Flow {
    pub transport: Transport,
    /// Both ends know that it stands.
    pub stands: bool,
    /// The host knows that somebody in the box listens where it leads.
    pub taken: bool,
    /// What this end may send.
    pub allowance: Allowance,
    /// A send was cut short; the sender waits for room.
    pub starved: bool,
    /// This end sends no more.
    pub finished: bool,
    /// The other end sends no more.
    pub ended: bool,
    /// Bytes that the other end may have under way, in all.
    pub window: u32,
    /// Bytes that the other end may still send.
    open: u32,
    /// Bytes or packets that were used up and are not granted again yet.
    owed: u32,
    /// It is in the list of flows to grant.
    pub granting: bool,
    /// Bytes given to this end's user and not used up (without `credit`).
    pub held: usize,
}

impl Flow {
    pub fn new(transport: Transport, allowance: Allowance, window: u32) -> Self {
        Flow {
            transport,
            stands: false,
            taken: false,
            allowance,
            starved: false,
            finished: false,
            ended: false,
            window,
            open: window,
            owed: 0,
            granting: false,
            held: 0,
        }
    }

    /// How many of `len` bytes may be sent now: all or nothing of a datagram.
    pub fn sendable(&self, len: usize) -> usize {
        match (self.allowance, self.transport) {
            (Allowance::Open, _) => len,
            (Allowance::Packets(0), _) => 0,
            (Allowance::Packets(_), _) => len,
            (Allowance::Bytes(credit), Transport::Tcp) => {
                len.min(usize::try_from(credit).unwrap_or(usize::MAX))
            }
            (Allowance::Bytes(credit), Transport::Udp) => {
                if cost(len) <= credit {
                    len
                } else {
                    0
                }
            }
        }
    }

    /// One packet with `len` bytes is sent.
    pub fn sent(&mut self, len: usize) {
        match (&mut self.allowance, self.transport) {
            (Allowance::Bytes(credit), Transport::Tcp) => {
                *credit = credit.saturating_sub(len as u64);
            }
            (Allowance::Bytes(credit), Transport::Udp) => {
                *credit = credit.saturating_sub(cost(len))
            }
            (Allowance::Packets(packets), _) => *packets = packets.saturating_sub(1),
            (Allowance::Open, _) => {}
        }
    }

    /// `len` bytes arrived with `credit`; false if they were more than allowed.
    pub fn arrived(&mut self, len: usize) -> bool {
        let spent = match self.transport {
            Transport::Tcp => len as u64,
            Transport::Udp => cost(len),
        };
        match u32::try_from(spent).ok().and_then(|spent| self.open.checked_sub(spent)) {
            Some(rest) => {
                self.open = rest;
                true
            }
            None => false,
        }
    }

    /// `len` bytes that arrived are used up; whether it is time to grant as many again.
    pub fn used(&mut self, len: usize) -> bool {
        let spent = match self.transport {
            Transport::Tcp => len as u64,
            Transport::Udp => cost(len),
        };
        // Nobody can use up more than came.
        let most = self.window.saturating_sub(self.open).saturating_sub(self.owed);
        self.owed += u32::try_from(spent).unwrap_or(u32::MAX).min(most);
        self.owed >= self.window / 4 && !self.ended
    }

    /// What to grant now; `budget` is what all windows may still grow by.
    pub fn grant(&mut self, budget: &mut u32) -> u32 {
        let mut grant = std::mem::take(&mut self.owed);
        let growth = self.window.min(MAX_WINDOW.saturating_sub(self.window)).min(*budget);
        if self.transport == Transport::Tcp && grant > 0 {
            self.window += growth;
            *budget -= growth;
            grant += growth;
        }
        self.open = self.open.saturating_add(grant);
        grant
    }
}

/// What a datagram of that length costs.
pub(crate) fn cost(len: usize) -> u64 {
    len.min(MAX_DATAGRAM) as u64 + u64::from(DATAGRAM_COST)
}
