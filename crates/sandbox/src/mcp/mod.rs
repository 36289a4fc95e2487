//! A server of the Model Context Protocol: one sandbox for each client, as tools, on standard input and output or over HTTP.
//!
//! JSON-RPC by hand: of the official SDK (`rmcp`) this would use the types of a dozen messages and a page of sessions, and it brings schemars,
//! tower, futures and macros that take longer to compile than all of this crate.

mod protocol;
mod stdio;
mod streamable;
mod tools;

pub use stdio::serve;
pub use streamable::{PATH, Service};

use crate::host::Host;
use crate::policy::Policy;
use crate::template::Template;

/// What the sandboxes of the server are made of. A model has no say in it.
#[derive(Clone)]
pub struct Config {
    /// All sandboxes.
    pub host: Host,
    /// Where they start.
    pub template: Template,
    /// What each may do.
    pub policy: Policy,
    /// The version of the program, for clients.
    pub version: &'static str,
}
