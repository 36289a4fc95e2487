//! What can go wrong while running a box.

use std::path::PathBuf;

/// Why a box did not run to its end. A box that ends, with whatever status, is not an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// wasmtime could not be set up.
    #[error("set up wasmtime: {0}")]
    Engine(String),
    /// A file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not a Wasm module or component.
    #[error("{0} is not a box: it is neither a Wasm module nor a component")]
    NotWasm(String),
    /// A host directory could not be opened.
    #[error("cannot open {path} for the box: {cause}")]
    Preopen {
        /// The host directory.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// A port cannot be published.
    #[error(transparent)]
    Publish(#[from] crate::network::PublishError),
    /// The network could not be set up.
    #[error("set up the network: {0}")]
    Network(std::io::Error),
    /// Compiling, or the cache of compiled code, failed.
    #[error(transparent)]
    Cache(#[from] link::CacheError),
    /// The guest did not boot.
    #[error(transparent)]
    Boot(#[from] link::BootError),
    /// The box asks for something that this host does not have, or is not a command.
    #[error("the box cannot be started: {0}")]
    Start(String),
    /// The box's memory cannot be filled from its file.
    #[error("it cannot be started over and over: it is {0}")]
    Whole(&'static str),
    /// The run cannot be recorded, or its record not be replayed.
    #[error(transparent)]
    Record(#[from] crate::record::RecordError),
    /// The box was ended from outside.
    #[error("it was interrupted")]
    Interrupted,
    /// The box ended in a Wasm trap: a defect in Boxer, not in the program it runs.
    #[error(
        "the box failed (this is a defect of boxer, not of the program in the box, unless that is a WASI module): {0}"
    )]
    Trap(String),
}

/// An error before the box's own code runs.
pub(crate) fn start_error(error: wasmtime::Error) -> RunError {
    RunError::Start(format!("{error:#}"))
}
