//! The typed instructions. Words are kept as written; [`crate::expand`] puts variables in.

use crate::copy::{Add, Copy};
use crate::error::{Cause, Error, Span};
use crate::heredoc::Heredoc;
use crate::mount::MountSpec;
use crate::words::Word;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The lines it takes, heredocs included.
    pub span: Span,
    /// The keyword as written.
    pub keyword: String,
    /// The whole instruction with continuations joined, heredoc bodies left out.
    pub text: String,
    /// The heredocs, in order.
    pub heredocs: Vec<Heredoc>,
    /// The first blank line within a continuation, if there is one (a deprecated form).
    pub empty_continuation: Option<u32>,
    /// What it says.
    pub kind: InstructionKind,
}

impl Instruction {
    /// An error on this instruction's lines.
    pub fn error(&self, cause: Cause) -> Error {
        Error::new(self.span, cause)
    }
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstructionKind {
    /// `FROM`
    From(From),
    /// `ARG`
    Arg(Vec<ArgDefinition>),
    /// `ENV`
    Env(Vec<KeyValue>),
    /// `LABEL`
    Label(Vec<KeyValue>),
    /// `RUN`
    Run(Run),
    /// `COPY`
    Copy(Copy),
    /// `ADD`
    Add(Add),
    /// `WORKDIR`
    Workdir(Word),
    /// `USER`
    User(Word),
    /// `EXPOSE`
    Expose(Vec<Word>),
    /// `VOLUME`
    Volume(Vec<Word>),
    /// `CMD`
    Cmd(Command),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(Word),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `ONBUILD`
    Onbuild(Box<Instruction>),
    /// `MAINTAINER`, deprecated.
    Maintainer(String),
}

impl InstructionKind {
    /// The keyword in capitals.
    pub fn name(&self) -> &'static str {
        match self {
            Self::From(_) => "FROM",
            Self::Arg(_) => "ARG",
            Self::Env(_) => "ENV",
            Self::Label(_) => "LABEL",
            Self::Run(_) => "RUN",
            Self::Copy(_) => "COPY",
            Self::Add(_) => "ADD",
            Self::Workdir(_) => "WORKDIR",
            Self::User(_) => "USER",
            Self::Expose(_) => "EXPOSE",
            Self::Volume(_) => "VOLUME",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Onbuild(_) => "ONBUILD",
            Self::Maintainer(_) => "MAINTAINER",
        }
    }
}

/// `FROM [--platform=P] BASE [AS NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// The image, stage or context.
    pub base: Word,
    /// `--platform`.
    pub platform: Option<Word>,
    /// The stage's name as written.
    pub name: Option<Word>,
    /// The `AS` as written, for the casing check.
    pub as_keyword: Option<String>,
}

/// One `NAME[=DEFAULT]` of an ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDefinition {
    /// The name.
    pub name: String,
    /// The default, not expanded.
    pub default: Option<Word>,
    /// The line it is on.
    pub line: u32,
}

/// One `KEY=VALUE` of ENV or LABEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, not expanded.
    pub key: Word,
    /// The value, not expanded.
    pub value: Word,
    /// Written in the old form `KEY VALUE`.
    pub legacy: bool,
}

/// A command in one of the two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `["a", "b"]`: run as it is.
    Exec(Vec<String>),
    /// `a b`: run by the SHELL.
    Shell(String),
}

/// `RUN`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command; where heredocs exist, [`Run::script`] tells what to hand to the shell.
    pub command: Command,
    /// `--mount`, in order.
    pub mounts: Vec<MountSpec>,
    /// `--network`.
    pub network: Option<Word>,
    /// `--security`.
    pub security: Option<Word>,
    /// `--device`.
    pub devices: Vec<Word>,
}

/// `HEALTHCHECK`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    /// The command or NONE.
    pub test: HealthTest,
    /// `--interval`, in nanoseconds; 0 if not given.
    pub interval: i64,
    /// `--timeout`, in nanoseconds; 0 if not given.
    pub timeout: i64,
    /// `--start-period`, in nanoseconds; 0 if not given.
    pub start_period: i64,
    /// `--start-interval`, in nanoseconds; 0 if not given.
    pub start_interval: i64,
    /// `--retries`; 0 if not given.
    pub retries: u32,
}

/// What a HEALTHCHECK runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthTest {
    /// `NONE`: switches an inherited check off.
    None,
    /// `CMD`
    Command(Command),
}

impl Run {
    /// The shell form with its heredocs put in: a lone heredoc is the script itself; otherwise
    /// the bodies follow the line and the shell reads them. The second value is true where the
    /// script starts with `#!` and is to be run as a file.
    pub fn script(&self, heredocs: &[Heredoc], escape: char) -> Option<(String, bool)> {
        let Command::Shell(line) = &self.command else { return None };
        let Some(first) = heredocs.first() else { return Some((line.clone(), false)) };
        if crate::heredoc::parse_introducer(line.trim(), escape).is_some() {
            let content = first.content();
            let shebang = content.starts_with("#!");
            return Some((content, shebang));
        }
        let mut script = line.clone();
        for heredoc in heredocs {
            script.push('\n');
            script.push_str(&heredoc.body);
            script.push_str(&heredoc.name);
        }
        Some((script, false))
    }
}
