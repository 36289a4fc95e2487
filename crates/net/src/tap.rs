//! Listeners to packets: what a packet(7) socket wants, and what waits for it. [`crate::capture`] makes the packets.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Ethernet types, and "all of them".
pub const ETH_P_IP: u16 = 0x0800;
/// IPv6.
pub const ETH_P_IPV6: u16 = 0x86dd;
/// Every type, and also what goes out.
pub const ETH_P_ALL: u16 = 3;

/// What a packet counts besides its bytes.
pub(crate) const OVERHEAD: usize = 512;

/// One packet.
#[derive(Debug)]
pub struct Packet {
    /// Ethernet type.
    pub protocol: u16,
    /// Interface.
    pub index: u32,
    /// It is being sent; on the loopback it comes in right after.
    pub outgoing: bool,
    /// Realtime ns.
    pub time: u64,
    /// From the network header on.
    pub data: Rc<[u8]>,
}

/// Says how many bytes of a packet are wanted; none drops it.
pub type Filter = Rc<dyn Fn(&Packet) -> usize>;

/// One listener.
pub struct Tap {
    /// Ethernet type that it wants, [`ETH_P_ALL`], or 0 for nothing.
    pub protocol: u16,
    /// Interface, 0 = any.
    pub index: u32,
    /// Bytes that may wait.
    pub limit: usize,
    /// Packets it does not want.
    pub filter: Option<Filter>,
    /// Packets that are going out are not wanted (PACKET_IGNORE_OUTGOING).
    pub incoming_only: bool,
    /// Packets seen and lost since they were last asked for (PACKET_STATISTICS).
    pub counts: (u32, u32),
    /// Changes of readiness so far.
    pub changes: u64,
    queue: VecDeque<(Rc<Packet>, usize)>,
    charged: usize,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl Tap {
    /// A listener on all interfaces.
    pub fn new(protocol: u16, limit: usize) -> Tap {
        Tap {
            protocol,
            index: 0,
            limit,
            filter: None,
            incoming_only: false,
            counts: (0, 0),
            changes: 0,
            queue: VecDeque::new(),
            charged: 0,
        }
    }

    /// The next packet and how many bytes of it are wanted.
    pub fn front(&self) -> Option<(Rc<Packet>, usize)> {
        self.queue.front().cloned()
    }

    /// Takes the next packet away.
    pub fn pop(&mut self) {
        if let Some((packet, _)) = self.queue.pop_front() {
            self.charged = self.charged.saturating_sub(packet.data.len() + OVERHEAD);
        }
    }

    /// Forgets what waits, as bind(2) to something else does.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.charged = 0;
    }

    /// Takes a packet; whether it was wanted.
    pub(crate) fn see(&mut self, packet: &Rc<Packet>) -> bool {
        let type_fits = match self.protocol {
            0 => false,
            ETH_P_ALL => true,
            // Handlers of one type see what comes in only.
            own => own == packet.protocol && !packet.outgoing,
        };
        let outgoing = packet.outgoing && self.incoming_only;
        if !type_fits || outgoing || self.index != 0 && self.index != packet.index {
            return false;
        }
        let wanted = self.filter.as_ref().map_or(usize::MAX, |filter| filter(packet));
        if wanted == 0 {
            return false;
        }
        self.counts.0 = self.counts.0.wrapping_add(1);
        let size = packet.data.len() + OVERHEAD;
        if self.charged + size > self.limit {
            self.counts.1 = self.counts.1.wrapping_add(1);
            return false;
        }
        self.charged += size;
        self.queue.push_back((packet.clone(), wanted));
        self.changes = self.changes.wrapping_add(1);
        true
    }
}

/// All listeners.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    pub(crate) all: BTreeMap<u64, Tap>,
    pub(crate) next: u64,
    /// The identification of the next IPv4 packet.
    pub(crate) ident: u16,
}
