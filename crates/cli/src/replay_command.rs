//! `boxer replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use oci::Digest;
use runtime::{Output, Record, ReplayOptions, RunError, StopAt};

use crate::args::{Global, Pull};
use crate::failure::Failure;
use crate::{run_command, session};

/// What is wrong with the record or the box, as for `boxer run`.
const OWN_FAILURE: u8 = 125;

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The record (`boxer run --record`)
    pub record: PathBuf,
    /// The box, if it is not where it was: a file or a name in the store. It must be the same, byte by byte
    #[arg(value_name = "BOX")]
    pub source: Option<String>,
    /// Stop there, and say where that is: after so many instructions, or before a system call: NAME[:NTH], or call:NTH of all
    #[arg(long, value_name = "INSTRUCTION|SYSCALL", value_parser = parse)]
    pub until: Option<StopAt>,
    /// Print the system calls on standard error, as strace does
    #[arg(long)]
    pub strace: bool,
    /// Say at the end how many instructions and system calls there were
    #[arg(long)]
    pub count: bool,
}

fn parse(text: &str) -> Result<StopAt, String> {
    let number = |text: &str| {
        let number = text.replace('_', "").parse::<u64>().ok().filter(|number| *number > 0);
        number.ok_or_else(|| format!("no number from 1 on: {text:?}"))
    };
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return number(text).map(StopAt::Instruction);
    }
    let (name, nth) = match text.split_once(':') {
        Some((name, nth)) => (name, number(nth)?),
        None => (text, 1),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(is_name) {
        return Err(format!("neither a number nor the name of a system call: {name:?}"));
    }
    Ok(StopAt::Call { name: (name != "call").then(|| name.to_owned()), nth })
}

/// Bytes of the name of a system call; none has as many.
const LONGEST: usize = 32;

pub fn run(global: &Global, args: &ReplayArgs) -> Result<ExitCode, Failure> {
    replay(global, args).map_err(|failure| {
        let code = if failure.code == 2 { 2 } else { OWN_FAILURE };
        failure.code(code)
    })
}

fn replay(global: &Global, args: &ReplayArgs) -> Result<ExitCode, Failure> {
    let named =
        |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", args.record.display()));
    let record = Record::open(&args.record).map_err(|error| named(&error))?;
    let path = find(global, args, &record)?;
    let options = ReplayOptions {
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        until: args.until.clone(),
        strace: args.strace,
    };
    let replayed = match session::runtime()?.replay(record, &path, options) {
        Err(RunError::Record(error)) => return Err(named(&error)),
        replayed => replayed.map_err(Failure::new)?,
    };
    if let (Some(until), false) = (&args.until, replayed.stopped) {
        return Err(Failure::new(match until {
            StopAt::Instruction(_) => {
                format!("the run ended after {} instructions", replayed.instructions)
            }
            StopAt::Call { .. } => format!(
                "the run ended after {} system calls, and this was none of them",
                replayed.calls
            ),
        }));
    }
    if args.count {
        let (instructions, calls) = (replayed.instructions, replayed.calls);
        tell!("boxer: {instructions} instructions, {calls} system calls");
    }
    Ok(ExitCode::from(u8::try_from(replayed.outcome.status & 0xff).unwrap_or(OWN_FAILURE)))
}

/// The box's file: the one that was given, or else where it was, or in the store by its digest.
fn find(global: &Global, args: &ReplayArgs, record: &Record) -> Result<PathBuf, Failure> {
    if let Some(source) = &args.source {
        return run_command::find(global, source, Pull::Never);
    }
    let about = record.about();
    if run_command::is_path(&about.name) && PathBuf::from(&about.name).is_file() {
        return Ok(PathBuf::from(&about.name));
    }
    let digest = Digest::parse(&format!("sha256:{}", about.digest));
    let store = session::store(global)?;
    let stored = digest.and_then(|digest| store.blob_file(&digest));
    stored.map_err(|_| {
        let (name, digest) = (&about.name, &about.digest);
        Failure::new(format!("the box of the record, {name} (sha256:{digest}), is neither where it was nor in the store"))
            .hint("give its file or name behind the record")
    })
}

#[cfg(test)]
mod tests {
    use super::{StopAt, parse};

    #[test]
    fn where_to_stop() {
        assert_eq!(parse("12_000"), Ok(StopAt::Instruction(12_000)));
        let call =
            |name: Option<&str>, nth| Ok(StopAt::Call { name: name.map(str::to_owned), nth });
        assert_eq!(parse("openat"), call(Some("openat"), 1));
        assert_eq!(parse("openat:3"), call(Some("openat"), 3));
        assert_eq!(parse("call:40"), call(None, 40));
        for bad in ["", "0", "12x", "openat:", "openat:0", "a b", &"x".repeat(33)] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
