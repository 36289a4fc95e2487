//! What an end can do beyond Wisp version 1: the list in an INFO packet.

use crate::Broken;
use crate::packet::Reader;

/// Wisp's own: datagrams.
const UDP: u8 = 0x01;
/// Wisp's own, from version 2.1: a CONTINUE on a stream says that it stands.
const CONFIRM: u8 = 0x05;
/// Ours, documented in `docs/network.md`.
const CREDIT: u8 = 0xB0;
const HALF_CLOSE: u8 = 0xB1;
const PUBLISHED: u8 = 0xB2;
const NAMES: u8 = 0xB3;
const OUTCOME: u8 = 0xB4;

/// Most entries of the list that are looked at.
const MAX_ENTRIES: usize = 64;

/// Families of addresses that a host can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// What an end offers, or what both do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// Streams may carry datagrams.
    pub udp: bool,
    /// A CONTINUE on a TCP stream says that it stands.
    pub confirm: bool,
    /// Both directions are limited in bytes; the number is what each stream starts with.
    pub credit: Option<u32>,
    /// One direction of a stream can end before the other.
    pub half_close: bool,
    /// The host may open streams.
    pub published: bool,
    /// The host answers DNS queries.
    pub names: bool,
    /// Streams say that they stand, with the local address, and why they failed as an error number.
    pub outcome: Option<Families>,
}

impl Extensions {
    /// Wisp version 1.
    pub const NONE: Extensions = Extensions {
        udp: false,
        confirm: false,
        credit: None,
        half_close: false,
        published: false,
        names: false,
        outcome: None,
    };

    /// Everything; `families` is the host's word and means nothing from the box.
    pub fn all(families: Families) -> Self {
        Extensions {
            udp: true,
            confirm: true,
            credit: Some(crate::INITIAL_CREDIT),
            half_close: true,
            published: true,
            names: true,
            outcome: Some(families),
        }
    }

    /// The list of an INFO packet.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut entry = |id: u8, offered: bool, metadata: &[u8]| {
            if offered {
                out.push(id);
                out.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
                out.extend_from_slice(metadata);
            }
        };
        entry(UDP, self.udp, &[]);
        entry(CONFIRM, self.confirm, &[]);
        entry(CREDIT, self.credit.is_some(), &self.credit.unwrap_or_default().to_le_bytes());
        entry(HALF_CLOSE, self.half_close, &[]);
        entry(PUBLISHED, self.published, &[]);
        entry(NAMES, self.names, &[]);
        let families = self.outcome.map_or(0, |f| u8::from(f.v4) | u8::from(f.v6) << 1);
        entry(OUTCOME, self.outcome.is_some(), &[families]);
        out
    }

    /// The list of an INFO packet; what is unknown is passed over.
    pub(crate) fn decode(list: &[u8]) -> Result<Self, Broken> {
        let mut found = Extensions::NONE;
        let mut reader = Reader(list);
        for _ in 0..MAX_ENTRIES {
            if reader.0.is_empty() {
                break;
            }
            let id = reader.u8()?;
            let len = reader.u32()?;
            let mut metadata = Reader(reader.take(len as usize)?);
            match id {
                UDP => found.udp = true,
                CONFIRM => found.confirm = true,
                CREDIT => found.credit = Some(metadata.u32()?),
                HALF_CLOSE => found.half_close = true,
                PUBLISHED => found.published = true,
                NAMES => found.names = true,
                OUTCOME => {
                    let bits = metadata.u8()?;
                    found.outcome = Some(Families { v4: bits & 1 != 0, v6: bits & 2 != 0 });
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// What both ends can do. Numbers are those of `theirs`: how much it takes, which families it reaches.
    pub(crate) fn and(&self, theirs: &Extensions) -> Extensions {
        Extensions {
            udp: self.udp && theirs.udp,
            confirm: self.confirm && theirs.confirm,
            credit: self.credit.and(theirs.credit),
            half_close: self.half_close && theirs.half_close,
            published: self.published && theirs.published,
            names: self.names && theirs.names,
            outcome: self.outcome.and(theirs.outcome),
        }
    }
}
