//! Dockerfile text to typed instructions with spans, and those to a stage plan. No I/O.
//!
//! The grammar is the one of BuildKit's Dockerfile frontend, version 1.x: parser directives,
//! continuations, heredocs, exec and shell forms, typed flags, variable expansion. It is written
//! here and not taken from a library because the published parsers (`parse-dockerfile`,
//! `dockerfile-parser`) leave out what the builder needs most: heredocs bodies with their
//! expansion rules, flags with types and suggestions, `--mount` options, words that keep their
//! line after continuations, and the modifiers of `${x...}`.
//!
//! The way through the crate: [`Dockerfile::parse`] gives [`Instruction`]s, [`plan::Plan`] orders
//! them into stages, [`scope::Scope`] holds the variables one instruction sees, [`expand`] puts
//! them in, [`ignore::IgnoreFile`] is the `.dockerignore` and [`lint::check`] the build checks.

mod copy;
mod error;
pub mod expand;
mod flags;
mod heredoc;
pub mod ignore;
mod instruction;
pub mod lint;
mod mount;
mod parse;
pub mod pattern;
pub mod plan;
mod reader;
pub mod scope;
mod suggest;
mod timing;
mod words;

pub use copy::{Add, Copy, CopySource, InlineFile};
pub use error::{Cause, Error, Span};
pub use heredoc::Heredoc;
pub use instruction::{
    ArgDefinition, Command, From, HealthTest, Healthcheck, Instruction, InstructionKind, KeyValue,
    Run,
};
pub use mount::{Mount, MountKind, MountSpec, Sharing};
pub use parse::Dockerfile;
pub use reader::{CheckDirective, Directives};
pub use suggest::did_you_mean;
pub use words::Word;
