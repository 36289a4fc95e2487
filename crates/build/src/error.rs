//! What can go wrong in a build, and on which lines.

use std::path::PathBuf;

use dockerfile::Span;

/// A failed build: the cause, the lines of the Dockerfile it is on, and what may help.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Error {
    /// The lines to show; none where the Dockerfile is not the matter.
    pub span: Option<Span>,
    /// What went wrong.
    pub cause: Box<Cause>,
    /// What the user may do about it, if we can tell.
    pub hint: Option<String>,
}

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message is its documentation")]
pub enum Cause {
    #[error(transparent)]
    Dockerfile(dockerfile::Cause),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to read dockerfile: open {}: {source}", path.display())]
    ReadDockerfile { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{what} is not supported yet")]
    Unsupported { what: String },
    #[error("{path}: not found in {place}")]
    SourceNotFound { path: String, place: String },
    #[error("{path}: excluded by {ignore_file}")]
    SourceIgnored { path: String, ignore_file: String },
    #[error("cannot copy {path}: {reason}")]
    Copy { path: String, reason: String },
    #[error("cannot copy to {path}: {reason}")]
    Destination { path: String, reason: String },
    #[error(
        "invalid --chmod value {value:?}: it is an octal mode such as 0755, or a symbolic one such as u=rwX,go=rX"
    )]
    Chmod { value: String },
    #[error("{url}: {reason}")]
    Remote { url: String, reason: String },
    #[error("invalid --checksum: {reason}")]
    Checksum { reason: String },
    #[error("{reason}")]
    Mount { reason: String },
    #[error("invalid user {name:?}: there is no such {what} in the image's {file}")]
    UnknownUser { name: String, what: &'static str, file: &'static str },
    #[error("invalid port {port:?} in EXPOSE: {reason}")]
    Port { port: String, reason: String },
    #[error("invalid signal {signal:?} in STOPSIGNAL")]
    Signal { signal: String },
    #[error("{platform}: boxes run linux/amd64 only, and WASI modules (wasi/wasm)")]
    Platform { platform: String },
    #[error(
        "{path} is a WebAssembly module that cannot be linked with the image's files: {reason}"
    )]
    Program { path: String, reason: String },
    #[error(
        "the image is one of a WASI module, and its ENTRYPOINT or CMD names no module that is in it"
    )]
    NoProgram,
    #[error(
        "this build of boxer has no page in it: run `npm ci && npm run build` in packages/js, then build boxer again"
    )]
    NoPage,
    #[error("RUN needs a Linux system, and the base is an image of a WASI module (wasi/wasm)")]
    NoLinux,
    #[error("ONBUILD triggers need more than {most} stages that stand on each other")]
    TooDeep { most: usize },
    #[error("RUN --network=host is not allowed")]
    HostNetwork,
    #[error("process {command:?} did not complete successfully: exit code: {status}")]
    RunFailed { command: String, status: i32 },
    #[error("the machine failed while running `{command}`: {reason}")]
    Machine { command: String, reason: String },
    #[error("build context {name:?}: {reason}")]
    NamedContext { name: String, reason: String },
    #[error("cache {name}: {reason}")]
    Cache { name: String, reason: String },
    #[error(transparent)]
    Oci(#[from] oci::Error),
    #[error("failed to resolve {name}: {source}")]
    Base { name: String, source: oci::Error },
    #[error("flatten the layers: {0}")]
    Layers(String),
    #[error(transparent)]
    Link(#[from] link::LinkError),
    #[error("snapshot: {reason}")]
    Snapshot { reason: String },
    #[error("the build was cancelled")]
    Cancelled,
    #[error("lint violation found for rules: {rules}")]
    Lint { rules: String },
}

impl Error {
    /// An error that is not on a line.
    pub fn new(cause: impl Into<Cause>) -> Self {
        Self { span: None, cause: Box::new(cause.into()), hint: None }
    }

    /// Puts the lines in, unless better ones are known already.
    #[must_use]
    pub fn on(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<dockerfile::Error> for Error {
    fn from(error: dockerfile::Error) -> Self {
        Self {
            span: Some(error.span),
            cause: Box::new(Cause::Dockerfile(error.cause)),
            hint: error.hint,
        }
    }
}

impl Error {
    /// An image that cannot be had.
    pub(crate) fn base(name: &str, source: oci::Error) -> Self {
        match source {
            oci::Error::Interrupted => Cause::Cancelled.into(),
            source => Cause::Base { name: name.to_owned(), source }.into(),
        }
    }

    /// Whether it only says that the build was ended.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.cause, Cause::Cancelled)
    }
}

impl From<oci::Error> for Error {
    fn from(error: oci::Error) -> Self {
        match error {
            oci::Error::Interrupted => Cause::Cancelled.into(),
            error => Self::new(error),
        }
    }
}

impl From<link::LinkError> for Error {
    fn from(error: link::LinkError) -> Self {
        Self::new(error)
    }
}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        Self::new(cause)
    }
}
