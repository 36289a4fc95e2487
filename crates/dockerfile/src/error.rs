//! What is wrong with a Dockerfile, and where.

use std::fmt;

/// A range of physical lines, 1-based and inclusive at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first line.
    pub start: u32,
    /// The last line; never before `start`.
    pub end: u32,
}

impl Span {
    /// The span of one line.
    pub fn line(line: u32) -> Self {
        Self { start: line, end: line }
    }

    /// The lines from `start` to `end`, both included.
    pub fn new(start: u32, end: u32) -> Self {
        Self { start, end: end.max(start) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.start == self.end {
            write!(f, "{}", self.start)
        } else {
            write!(f, "{}-{}", self.start, self.end)
        }
    }
}

/// An error in a Dockerfile: the cause, the lines it is on, and what may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Error {
    /// The lines to show.
    pub span: Span,
    /// What is wrong.
    pub cause: Cause,
    /// What the writer may do about it, if we can tell.
    pub hint: Option<String>,
}

impl Error {
    pub(crate) fn new(span: Span, cause: Cause) -> Self {
        Self { span, cause, hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// The kinds of errors a Dockerfile can have. The wording follows BuildKit's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message is its documentation")]
pub enum Cause {
    #[error("the Dockerfile is not UTF-8 text")]
    NotUtf8,
    #[error("the Dockerfile has a NUL character, which no variable, argument or path can have")]
    Nul,
    #[error("the Dockerfile has a line longer than {limit} bytes")]
    LineTooLong { limit: usize },
    #[error("file with no instructions")]
    Empty,
    #[error("only one {name} parser directive can be used")]
    DuplicateDirective { name: String },
    #[error("invalid escape token '{token}': it must be ` or \\")]
    BadEscape { token: String },
    #[error("invalid check directive: {reason}")]
    BadCheckDirective { reason: String },
    #[error("unknown instruction: {name}")]
    UnknownInstruction { name: String },
    #[error("no build stage in current context: {name} comes before the first FROM")]
    BeforeFrom { name: String },
    #[error("no FROM instruction: there is nothing to build")]
    NoStage,
    #[error("unterminated heredoc {name}")]
    UnterminatedHeredoc { name: String },
    #[error("{instruction} cannot accept a heredoc as {place}")]
    HeredocMisplaced { instruction: String, place: String },
    #[error("unknown flag: --{flag}")]
    UnknownFlag { instruction: String, flag: String },
    #[error("duplicate flag specified: --{flag}")]
    DuplicateFlag { flag: String },
    #[error("missing a value on flag: --{flag}")]
    FlagValueMissing { flag: String },
    #[error("invalid value {value:?} for --{flag}: {reason}")]
    FlagValue { flag: String, value: String, reason: String },
    #[error("{instruction} requires {what}")]
    Arguments { instruction: String, what: String },
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    JsonNotStrings,
    #[error("syntax error: can't find = in {word:?}; must be of the form name=value")]
    NoEquals { word: String },
    #[error("{instruction} names can not be blank")]
    BlankName { instruction: String },
    #[error(
        "invalid name for build stage: {name:?}: names start with a letter and hold only letters, digits, '-', '_' and '.'"
    )]
    BadStageName { name: String },
    #[error("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildChain,
    #[error("{name} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger { name: String },
    #[error("unknown type {word:?} in HEALTHCHECK (try CMD)")]
    HealthcheckType { word: String },
    #[error("unexpected key {key:?} in --mount")]
    MountKey { key: String },
    #[error("invalid --mount: {reason}")]
    Mount { reason: String },
    #[error("failed to process {word:?}: {reason}")]
    Expansion { word: String, reason: String },
    #[error("base name ({word}) should not be blank")]
    BlankBase { word: String },
    #[error("circular dependency detected on stage: {stage}")]
    Circular { stage: String },
    #[error("target stage {name:?} could not be found")]
    UnknownTarget { name: String },
    #[error("invalid from flag value {value}: there is no stage with that number")]
    StageNumber { value: String },
    #[error("variable expansion is not supported in --from={value}")]
    FromExpansion { value: String },
    #[error("invalid pattern {pattern:?}: {reason}")]
    Pattern { pattern: String, reason: String },
}
