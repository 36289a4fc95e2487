//! `boxer check`: `boxer build --check` by a name of its own.

use std::process::ExitCode;

use clap::{Args, Command, FromArgMatches as _, ValueEnum};
use runtime::Signals;

use crate::args::{BuildArgs, Global};
use crate::build_command;
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  boxer check
  boxer check --format json -f docker/Dockerfile . | jq '.warnings[].ruleName'

It is `boxer build --check`: what the rules find stands on standard error, as JSON on standard output, and is status 1.")]
pub struct CheckArgs {
    /// The build context, as `boxer build` takes it
    #[arg(default_value = ".")]
    context: String,
    /// The Dockerfile: a path (in a context that is no directory, one in it), a URL, or "-" for standard input
    /// [default: Dockerfile in the context]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Set an ARG of the Dockerfile; without =VALUE the environment's value is taken
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// An additional context, which stands for a stage or image of that name
    #[arg(long, value_name = "NAME=VALUE")]
    build_context: Vec<String>,
    /// The stage that would be built [default: the last one]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// How findings are shown
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With the lines of the Dockerfile
    Text,
    /// As BuildKit's --call=check,format=json
    Json,
}

/// Checks.
pub fn run(
    global: &Global,
    args: &CheckArgs,
    signals: Option<&Signals>,
) -> Result<ExitCode, Failure> {
    let words = args.as_build();
    let command = BuildArgs::augment_args(Command::new("check").no_binary_name(true));
    let matches = command.try_get_matches_from(words).map_err(Failure::usage)?;
    let args = BuildArgs::from_arg_matches(&matches).map_err(Failure::usage)?;
    build_command::run(global, &args, signals)
}

impl CheckArgs {
    /// The same as words of `boxer build`.
    fn as_build(&self) -> Vec<String> {
        let format = if self.format == Format::Json { "json" } else { "text" };
        let mut words = vec![format!("--call=check,format={format}")];
        words.extend(self.file.iter().map(|file| format!("--file={file}")));
        words.extend(self.build_arg.iter().map(|pair| format!("--build-arg={pair}")));
        words.extend(self.build_context.iter().map(|pair| format!("--build-context={pair}")));
        words.extend(self.target.iter().map(|stage| format!("--target={stage}")));
        words.extend(["--".to_owned(), self.context.clone()]);
        words
    }
}
