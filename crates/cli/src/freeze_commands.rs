//! `boxer freeze`, `fork` and `ps`, and what `boxer run` needs for them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use clap::Args;
use oci::{BoxOptions, Digest, Reference};
use runtime::{Attach, FreezeOn, Freezer, Frozen, Next};

use crate::args::Global;
use crate::failure::Failure;
use crate::running::{self, Answer, Question, Registration};
use crate::session;

/// Status of a run whose box was frozen: that of a program that SIGSTOP has stopped, as shells give it.
pub const FROZEN: u8 = 128 + 19;

/// The annotation of a frozen box that names the box file it came from.
pub const PARENT: &str = "boxer.parent";

/// How long a box that starts may take to say that it can be reached into.
const GREETING: Duration = Duration::from_secs(10);

/// What is said of a box that does not.
const SILENT: &str =
    "it does not answer: it is just starting or ending, or what made it knew no way into a box";

/// How long nothing has run in a box that is idle.
const IDLE: Duration = Duration::from_secs(1);

/// Options of `boxer run` about freezing.
#[derive(Debug, Args)]
#[command(next_help_heading = "Freezing and recording")]
pub struct FreezingArgs {
    /// A name by which `boxer exec`, `cp`, `stop`, `kill`, `freeze`, `fork` and `ps` know the box while it runs
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Freeze the box of its own accord: idle[=SECONDS] (no program has run for so long [default: 1]), stdin-eof (a program asks for
    /// input and there is no more; it does not hear of that) or a signal (USR1 …), which then does not reach the programs
    #[arg(long, value_name = "WHEN", value_parser = When::parse, requires = "freeze_to")]
    pub freeze_on: Option<When>,
    /// The file that the frozen box is written to
    #[arg(long, value_name = "FILE", requires = "freeze_on")]
    pub freeze_to: Option<PathBuf>,
    /// Record the run in this file, for `boxer replay`: all that the box is told by this system, secrets too. What is hot is not compiled meanwhile
    #[arg(long, value_name = "FILE", conflicts_with = "freeze_on")]
    pub record: Option<PathBuf>,
    /// With --freeze-on: go on, and do not end with status 147
    #[arg(long, requires = "freeze_on")]
    pub keep_running: bool,
}

/// When a box freezes of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    On(FreezeOn),
    Signal(u16),
}

impl When {
    fn parse(text: &str) -> Result<When, String> {
        match text.split_once('=') {
            None if text == "idle" => return Ok(When::On(FreezeOn::Idle(IDLE))),
            None if text == "stdin-eof" => return Ok(When::On(FreezeOn::InputEnd)),
            Some(("idle", seconds)) => {
                let seconds = seconds.parse().map_err(|_| format!("no number: {seconds:?}"))?;
                let time = Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())?;
                return Ok(When::On(FreezeOn::Idle(time)));
            }
            _ => {}
        }
        let signals = runtime::FORWARDED.iter();
        let found = signals.clone().find(|(name, _)| *name == text.trim_start_matches("SIG"));
        found.map(|(_, number)| When::Signal(*number)).ok_or_else(|| {
            let names: Vec<&str> = signals.map(|(name, _)| *name).collect();
            format!("it is none of idle[=SECONDS], stdin-eof, {}", names.join(", "))
        })
    }
}

impl FreezingArgs {
    /// What can freeze the box and reach into it, if anything may; the name is taken as long as the result lives.
    pub fn prepare(&self, source: &str) -> Result<Handles, Failure> {
        if self.name.is_none() && self.freeze_on.is_none() {
            return Ok(Handles::default());
        }
        let freezer = Freezer::new();
        if let (Some(when), Some(to)) = (self.freeze_on, self.freeze_to.clone()) {
            let on = match when {
                When::On(on) => on,
                When::Signal(_) => FreezeOn::Call,
            };
            let keep = self.keep_running;
            let take = move |state: Result<Frozen, runtime::FreezeError>| {
                let written = state.map_err(|e| e.to_string()).and_then(|s| write(&s, &to));
                match written {
                    Ok(()) => tell!("boxer: frozen to {}", to.display()),
                    Err(why) => {
                        tell!("ERROR: not frozen: {why}");
                        return Next::GoesOn;
                    }
                }
                next(keep)
            };
            freezer.expect(&[on], take);
        }
        let mut handles = Handles { freezer: Some(freezer.clone()), ..Handles::default() };
        if let Some(name) = &self.name {
            let attach = Attach::new().map_err(Failure::new)?;
            handles.attach = Some(attach.clone());
            let reached = attach.clone();
            let answer = move |question| match question {
                Question::Freeze { to, keep_running } => answer(&freezer, to, keep_running),
                Question::Attach if reached.wait_for_greeting(GREETING) => Answer::Attached,
                Question::Attach => Answer::Failed(SILENT.to_owned()),
            };
            handles.registration = Some(running::register(name, source, attach, answer)?);
        }
        Ok(handles)
    }

    /// The signal that freezes the box.
    pub fn signal(&self) -> Option<u16> {
        match self.freeze_on {
            Some(When::Signal(number)) => Some(number),
            _ => None,
        }
    }
}

/// What others have of a box while it runs.
#[derive(Default)]
pub struct Handles {
    /// What freezes it.
    pub freezer: Option<Freezer>,
    /// What reaches into it.
    pub attach: Option<Attach>,
    /// Its name.
    pub registration: Option<Registration>,
}

fn next(keep_running: bool) -> Next {
    if keep_running { Next::GoesOn } else { Next::Ends(FROZEN) }
}

/// Freezes the box.
fn answer(freezer: &Freezer, to: PathBuf, keep_running: bool) -> Answer {
    let frozen = if keep_running {
        // It goes on while that is written.
        let taken = freezer.freeze(|state| (Next::GoesOn, state));
        taken.map_err(|error| error.to_string()).and_then(|state| write(&state, &to))
    } else {
        let write = move |state| match write(&state, &to) {
            Ok(()) => (next(false), Ok(())),
            Err(why) => (Next::GoesOn, Err(why)),
        };
        freezer.freeze(write).map_err(|error| error.to_string()).flatten()
    };
    match frozen {
        Ok(()) => Answer::Frozen,
        Err(why) => Answer::Failed(why),
    }
}

fn write(state: &Frozen, to: &Path) -> Result<(), String> {
    build::write_file(to, |out| {
        let mut out = std::io::BufWriter::with_capacity(1 << 20, out);
        Ok(state.write(&mut out)?)
    })
    .map_err(|error| error.to_string())
}

/// `boxer freeze`.
#[derive(Debug, Args)]
pub struct FreezeArgs {
    /// The name of a box that runs (`boxer run --name`)
    pub name: String,
    /// Write the frozen box to this file
    #[arg(short, long, value_name = "FILE", required_unless_present = "tag")]
    pub output: Option<PathBuf>,
    /// Store it under this name
    #[arg(short, long, value_name = "NAME")]
    pub tag: Option<String>,
    /// Let the box go on; otherwise its run ends with status 147
    #[arg(long)]
    pub keep_running: bool,
}

pub fn freeze(global: &Global, args: &FreezeArgs) -> Result<ExitCode, Failure> {
    freeze_to(global, args).map_err(own)
}

/// Whatever is wrong but the usage: 125, as for `boxer run`.
fn own(failure: Failure) -> Failure {
    let code = if failure.code == 2 { 2 } else { 125 };
    failure.code(code)
}

fn freeze_to(global: &Global, args: &FreezeArgs) -> Result<ExitCode, Failure> {
    let target = args.tag.as_deref().map(Reference::parse).transpose().map_err(Failure::usage)?;
    let store = target.as_ref().map(|_| session::store(global)).transpose()?;
    let dir = store.as_ref().map(oci::Store::temp_dir).transpose()?;
    let to = match (&args.output, &dir) {
        (Some(path), _) => std::path::absolute(path).map_err(Failure::new)?,
        (None, Some(dir)) => {
            std::path::absolute(dir.path().join("box.wasm")).map_err(Failure::new)?
        }
        (None, None) => return Err(Failure::usage("neither --output nor --tag is given")),
    };
    running::freeze(&args.name, to.clone(), args.keep_running)?;
    if let (Some(target), Some(store)) = (target, store) {
        let mut options = BoxOptions::default();
        let parent = crate::inspect_command::life(&to)?;
        if let Some(parent) = parent.as_ref().and_then(|life| life.get("parent")?.as_str()) {
            options.annotations.insert(PARENT.to_owned(), parent.to_owned());
            options.like = Digest::parse(parent).ok();
        }
        let handle = store.write_box(&to, options, Some(&target))?;
        say!("{}", handle.digest);
    }
    if let Some(path) = &args.output {
        say!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// `boxer fork`.
#[derive(Debug, Args)]
pub struct ForkArgs {
    /// The name of a box that runs (`boxer run --name`)
    pub name: String,
    /// How many boxes go on from where it is
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// Their names are this with -1, -2 … behind it [default: the name of the box]
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Options of `boxer run` for each of them
    #[arg(last = true, value_name = "RUN-OPTION")]
    pub run_options: Vec<String>,
}

pub fn fork(args: &ForkArgs) -> Result<ExitCode, Failure> {
    fork_off(args).map_err(own)
}

fn fork_off(args: &ForkArgs) -> Result<ExitCode, Failure> {
    let state = running::state_file()?;
    running::freeze(&args.name, state.to_path_buf(), true)?;
    let program = std::env::current_exe().map_err(Failure::new)?;
    let prefix = args.prefix.as_ref().unwrap_or(&args.name);
    let mut forks: Vec<(String, Child)> = Vec::new();
    for n in 1..=args.count {
        let name = format!("{prefix}-{n}");
        let mut command = Command::new(&program);
        command.args(["run", "--name", &name]).args(&args.run_options).arg(&state);
        command.stdin(std::process::Stdio::null());
        let child = command.spawn().map_err(|error| Failure::new(format!("{name}: {error}")))?;
        forks.push((name, child));
    }
    let mut worst = 0;
    for (name, mut child) in forks {
        let status = child.wait().map_err(Failure::new)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(125);
        if code != 0 {
            tell!("boxer: {name} ended with status {code}");
        }
        worst = if worst == 0 { code } else { worst };
    }
    Ok(ExitCode::from(worst))
}

/// `boxer ps`.
pub fn ps() -> Result<ExitCode, Failure> {
    say!("{:<24}   {:<8}   BOX", "NAME", "PID");
    for (name, about) in running::list()? {
        say!("{name:<24}   {:<8}   {}", about.pid, about.source);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let idle = |time| Ok(When::On(FreezeOn::Idle(time)));
        assert_eq!(When::parse("idle"), idle(IDLE));
        assert_eq!(When::parse("idle=0.25"), idle(Duration::from_millis(250)));
        assert_eq!(When::parse("stdin-eof"), Ok(When::On(FreezeOn::InputEnd)));
        assert_eq!(When::parse("SIGUSR1"), Ok(When::Signal(10)));
        assert_eq!(When::parse("USR2"), Ok(When::Signal(12)));
        for bad in ["", "idle=", "idle=-1", "KILL", "stdin"] {
            assert!(When::parse(bad).is_err(), "{bad}");
        }
    }
}
