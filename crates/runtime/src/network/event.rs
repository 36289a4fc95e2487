//! What happens on a box's way out, for who wants to know.

use super::policy::Refusal;
use mux::Transport;
use std::fmt;
use std::net::SocketAddr;

/// Something that programs have tried on the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A connection stands, or datagrams can go.
    Opened {
        /// What carries it.
        transport: Transport,
        /// Its peer.
        to: SocketAddr,
        /// By which names the peer's address is known to the box.
        names: Vec<String>,
    },
    /// It was allowed, and the peer or a network on the way does not let it.
    Failed {
        /// What carries it.
        transport: Transport,
        /// Its peer.
        to: SocketAddr,
        /// This system's words.
        why: String,
    },
    /// It is not allowed.
    Refused {
        /// What would carry it.
        transport: Transport,
        /// The peer: an address, or a name with a port.
        to: String,
        /// By what.
        why: String,
    },
    /// A name was looked up, or an address as `….in-addr.arpa`.
    LookedUp {
        /// It.
        name: String,
    },
    /// A name may not be looked up.
    NotLookedUp {
        /// It.
        name: String,
    },
    /// All bytes that the box may exchange with the outside are used up: its connections are reset, and there are no new ones. It is told
    /// once.
    UsedUp {
        /// How many these were.
        bytes: u64,
    },
    /// Something is wrong with the host's own end.
    Trouble(String),
}

impl NetworkEvent {
    /// Whether something was not done that a program has asked for, or may ask for.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self,
            NetworkEvent::Opened { .. }
                | NetworkEvent::Failed { .. }
                | NetworkEvent::LookedUp { .. }
        )
    }

    /// `tcp` or `udp`.
    pub fn protocol(transport: Transport) -> &'static str {
        match transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

impl fmt::Display for NetworkEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use NetworkEvent::{Failed, LookedUp, NotLookedUp, Opened, Refused, Trouble, UsedUp};
        let protocol = NetworkEvent::protocol;
        match self {
            Opened { transport, to, .. } => {
                write!(out, "network: opened {} {to}", protocol(*transport))
            }
            Failed { transport, to, why } => {
                write!(out, "network: {} {to}: {why}", protocol(*transport))
            }
            Refused { transport, to, why } => {
                write!(out, "network: refused {} {to}: {why}", protocol(*transport))
            }
            LookedUp { name } => write!(out, "network: looked up {name}"),
            NotLookedUp { name } => {
                write!(out, "network: refused to look up {name}: {}", Refusal::NotAllowed)
            }
            UsedUp { bytes } => write!(out, "network: all {bytes} bytes are used up"),
            Trouble(what) => write!(out, "network: {what}"),
        }
    }
}
