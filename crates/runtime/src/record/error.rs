//! What can go wrong with records.

use std::io;

/// Why a run cannot be recorded, or a record not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be written.
    #[error("the record cannot be written: {0}")]
    Write(io::Error),
    /// It cannot be read.
    #[error("the record cannot be read: {0}")]
    Read(io::Error),
    /// The file is none.
    #[error("it is not a record of a run")]
    Foreign,
    /// Another version of boxer has written it.
    #[error("the record has version {0}, and this boxer replays version {ours}", ours = super::VERSION)]
    Version(u32),
    /// A checksum does not fit.
    #[error("the record is damaged: what begins at byte {0} is not what was written")]
    Damaged(u64),
    /// Its end is missing.
    #[error("the record is cut off after {0} bytes: the run was killed, or the file is not whole")]
    Truncated(u64),
    /// There is something behind its end.
    #[error("the record is damaged: something follows its end at byte {0}")]
    Trailing(u64),
    /// What it says makes no sense, although its checksums fit.
    #[error("the record is damaged: {0}")]
    Malformed(&'static str),
    /// It is of another box.
    #[error("the record is of another box: sha256:{recorded}, and this one is sha256:{given}")]
    OtherBox {
        /// SHA-256 of the box's file, hexadecimal.
        recorded: String,
        /// That of the one that was given.
        given: String,
    },
    /// Components see more than a record holds.
    #[error("runs of components are not recorded; run the box as a module")]
    Component,
    /// The box does not count what it executes.
    #[error(
        "the box does not count instructions and knows no way to stop: it was made by another version of boxer, or its program is a WASI module"
    )]
    Guest,
    /// It imports something unknown.
    #[error("the box imports {0}, which is not recorded")]
    Import(String),
    /// The replay goes another way.
    #[error("the replay has gone another way at call {call} (instruction {instruction}): {what}")]
    Diverged {
        /// How many calls of imports went before.
        call: u64,
        /// How many instructions programs had executed.
        instruction: u64,
        /// What is another.
        what: String,
    },
    /// What the box has printed cannot be passed on.
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
}
