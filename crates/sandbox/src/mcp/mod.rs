//! A server of the Model Context Protocol on standard input and output: one sandbox, as tools.
//!
//! JSON-RPC by hand: of the official SDK (`rmcp`) a server on two pipes would use the types of a dozen messages, and it brings schemars,
//! futures and macros that take longer to compile than all of this crate.

mod server;
mod tools;

pub use server::serve;

use crate::host::Host;
use crate::policy::Policy;
use crate::template::Template;

/// What the sandbox of the server is made of. A model has no say in it.
pub struct Config {
    /// All sandboxes.
    pub host: Host,
    /// Where it starts.
    pub template: Template,
    /// What it may do.
    pub policy: Policy,
    /// The version of the program, for clients.
    pub version: &'static str,
}
