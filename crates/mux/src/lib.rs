//! The protocol that carries many connections over one byte stream: both ends, without I/O.
//!
//! It is Wisp, version 2, each packet with its length before it, and five extensions for what Wisp lacks; `docs/network.md`
//! describes it for people who write a host. [`Client`] is the box's end, [`Server`] the host's. Each is a state machine:
//! bytes that arrived go in by [`Client::space`] and [`Client::arrived`], what happened comes out of [`Client::event`],
//! bytes to write out of [`Client::output`]. Nothing waits, and whatever the other end sends, memory is bounded: see
//! [`Client::wants_input`].
//!
//! Errors are Linux's numbers, as everything in this workspace; the crate knows no sockets of any system.

mod client;
pub mod control;
pub mod exec;
mod extension;
pub mod files;
mod flow;
pub mod freeze;
mod link;
mod packet;
pub mod publish;
mod reason;
mod server;
pub mod watch;
mod wire;

pub use client::{Client, Event};
pub use extension::{Extensions, Families};
pub use flow::{DATAGRAM_COST, INITIAL_CREDIT};
pub use packet::{MAX_DATA, MAX_DATAGRAM, MAX_PACKET, Packet, Transport, decode};
pub use reason::{errno_of_reason, reason_of_errno};
pub use server::{Limits, Request, Server};

/// The other end broke the protocol; the connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

impl std::fmt::Display for Broken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the other end broke the protocol: {}", self.0)
    }
}

impl std::error::Error for Broken {}
