//! What can go wrong with a sandbox. What code in it does, and limits that it reaches, are no errors but data.

use runtime::{ExecError, FreezeError, RunError};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has ended.
    #[error("the sandbox has ended: {0}")]
    Ended(String),
    /// It is paused.
    #[error("the sandbox is paused; resume it first")]
    Paused,
    /// It does not stand still.
    #[error("the sandbox is not paused")]
    NotPaused,
    /// There is nothing of that name.
    #[error("there is no {0}")]
    NotFound(String),
    /// The policy does not allow it.
    #[error("the policy does not allow it: {0}")]
    Refused(String),
    /// What is asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// No interpreter of this language is known, or there is none in the box.
    #[error("{0}")]
    Language(String),
    /// A process was not started.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A box was not started.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The state of a box cannot be had.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// A file or a stream. The numbers are Linux's.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// Why it fails.
        source: std::io::Error,
    },
}

impl Error {
    /// An error of doing `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    /// Its stable name, for those who do not read sentences.
    pub fn name(&self) -> &'static str {
        match self {
            Error::Ended(_) => "ended",
            Error::Paused => "paused",
            Error::NotPaused => "not_paused",
            Error::NotFound(_) => "not_found",
            Error::Refused(_) => "refused",
            Error::Invalid(_) => "invalid",
            Error::Language(_) => "language",
            Error::Exec(_) => "not_started",
            Error::Run(_) => "not_run",
            Error::Freeze(_) => "not_frozen",
            Error::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => "not_found",
                std::io::ErrorKind::PermissionDenied => "permission_denied",
                std::io::ErrorKind::StorageFull => "storage_full",
                _ => "io",
            },
        }
    }
}
