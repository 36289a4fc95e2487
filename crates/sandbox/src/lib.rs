//! Sandboxes for code that nobody has read: what agents write runs with nothing but what it was given.
//!
//! A [`Template`] is the state of a box in which an interpreter waits; each [`Sandbox`] starts from there, or as a copy of another.
//! Everything may be called from any thread, and waits. This crate knows nothing of building.

mod alarm;
pub mod api;
mod audit;
mod code;
mod commands;
mod diff;
mod error;
mod export;
mod files;
mod host;
pub mod http;
mod id;
mod limit;
pub mod mcp;
mod policy;
mod ports;
mod running;
mod sandbox;
mod streams;
mod template;

pub use audit::{Audit, Sink};
pub use code::{Cancel, CodeError, CodeResult, Event, Execution, Language};
pub use commands::{CommandHandle, CommandOptions, CommandOutput, CommandResult};
pub use diff::{Change, Difference};
pub use error::Error;
pub use export::{Exported, Format, Scope};
pub use files::{EntryInfo, FileType, Files, FilesystemEvent, Watcher};
pub use host::Host;
pub use id::secret;
pub use limit::Limit;
pub use policy::{Mount, Policy};
pub use sandbox::{RunCode, Sandbox, SandboxInfo, Usage};
pub use template::{Prepare, Template};
