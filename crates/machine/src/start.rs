//! The first program: image configuration, arguments and overrides → what is executed.

use crate::Machine;
use kernel::etc::Naming;
use kernel::{StartError, StartSpec, ThreadId};
use rootfs::config::CpuLevel;
use rootfs::limits::Limits;
use rootfs::rights::Rights;

/// What the caller says on top of the image's configuration (`docker run`'s rules).
#[derive(Clone, Debug, Default)]
pub struct StartArgs {
    /// Arguments: replace the image's CMD if there are any.
    pub args: Vec<String>,
    /// `NAME=value`, over the image's environment.
    pub env: Vec<String>,
    /// Replaces ENTRYPOINT (and then CMD is not used); an empty list removes it.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces WORKDIR.
    pub workdir: Option<String>,
    /// Replaces USER.
    pub user: Option<String>,
    /// Replaces the image's host name; without either it is made up.
    pub hostname: Option<String>,
    /// It is a step of a build, whose environment has no HOSTNAME.
    pub build: bool,
    /// Hosts and name servers of `/etc/hosts` and `/etc/resolv.conf`.
    pub naming: Naming,
    /// The processor that the programs see, instead of the box's own.
    pub cpu: Option<CpuLevel>,
    /// Standard streams are a terminal.
    pub tty: bool,
    /// Somebody has asked for that.
    pub tty_wanted: bool,
    /// Use no code that came compiled with the box.
    pub interpret: bool,
    /// A first process of its own runs the program (`docker run --init`).
    pub init: bool,
    /// That process alone runs, and no program of the image.
    pub pause: bool,
    /// What the box may use.
    pub limits: Limits,
    /// What its first process may do.
    pub rights: Rights,
    /// Print system calls as strace(1) does.
    pub strace: bool,
    /// Log undefined instructions and unsupported system calls.
    pub debug: bool,
}

/// Why the first program could not be started. `status` is what `docker run` would exit with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartFailure {
    /// Neither the image nor the caller names a program.
    #[error("no command: the image has neither ENTRYPOINT nor CMD, and no argument was given")]
    NoCommand,
    /// The programs are under way, and this comes too late for them.
    #[error(
        "this box goes on with programs that were started when it was built: {0} cannot be given now"
    )]
    TooLate(&'static str),
    /// The program is one with the box.
    #[error("this box is one with its program {0:?}: no other can be run in it")]
    Beside(String),
    /// The program cannot be executed.
    #[error("cannot run {program:?}: {error}")]
    Exec {
        /// The first word of the command.
        program: String,
        /// The cause.
        error: StartError,
    },
}

impl StartFailure {
    /// 127 = not found, 126 = found and not executable, 125 = nothing to execute.
    pub fn status(&self) -> i32 {
        match self {
            StartFailure::NoCommand | StartFailure::TooLate(_) | StartFailure::Beside(_) => 125,
            StartFailure::Exec { error, .. } => error.status(),
        }
    }
}

/// A program that runs beside the machine.
pub struct Beside {
    /// Its thread, which does what it asks for.
    pub thread: ThreadId,
    /// Its arguments, the first being its name.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`.
    pub env: Vec<Vec<u8>>,
}

impl Machine {
    /// Executes the first program, or goes on with those of a snapshot.
    pub fn start(&mut self, args: StartArgs) -> Result<(), StartFailure> {
        self.debug = args.debug;
        self.kernel.strace = args.strace;
        if self.kernel.is_between_lives() {
            self.go_on(&args)?;
            if self.kernel.has_programs() {
                return Ok(());
            }
        }
        self.kernel.set_limits(args.limits);
        if let Some(cpu) = args.cpu {
            self.set_cpu(cpu);
        }
        self.thaw(args.interpret);
        let (program, spec) = self.spec(args)?;
        match self.kernel.start(spec) {
            Ok(_) => Ok(()),
            Err(error) => Err(StartFailure::Exec { program, error }),
        }
    }

    /// Readies the box for a program that is part of it, and runs beside the machine: its files, its user, its environment.
    pub fn start_beside(&mut self, args: StartArgs) -> Result<Beside, StartFailure> {
        self.kernel.set_limits(args.limits);
        let own = self.config.entrypoint.first().or(self.config.cmd.first());
        let own = own.cloned().unwrap_or_default();
        let (program, spec) = self.spec(args)?;
        if program != own {
            return Err(StartFailure::Beside(own));
        }
        let spec = StartSpec { beside: true, init: false, ..spec };
        let argv = spec.argv.clone();
        match self.kernel.start(spec) {
            Ok(thread) => {
                Ok(Beside { thread, argv, env: self.kernel.first_environment().to_vec() })
            }
            Err(error) => Err(StartFailure::Exec { program, error }),
        }
    }

    /// The first word of the command, and what the kernel is to start.
    fn spec(&self, args: StartArgs) -> Result<(String, StartSpec), StartFailure> {
        let config = &self.config;
        let mut argv = match &args.entrypoint {
            Some(words) => words.clone(),
            None => config.entrypoint.clone(),
        };
        if args.pause {
            argv.clear();
        } else if !args.args.is_empty() {
            argv.extend(args.args);
        } else if args.entrypoint.is_none() {
            argv.extend(config.cmd.iter().cloned());
        }
        let program = match argv.first() {
            Some(program) => program.clone(),
            None if args.pause => String::new(),
            None => return Err(StartFailure::NoCommand),
        };
        let workdir = args.workdir.unwrap_or_else(|| config.workdir.clone());
        let bytes = |words: &[String]| words.iter().map(|w| w.clone().into_bytes()).collect();
        Ok((
            program,
            StartSpec {
                argv: bytes(&argv),
                env: bytes(&merge(&config.env, &args.env)),
                cwd: if workdir.is_empty() { b"/".to_vec() } else { workdir.into_bytes() },
                user: args.user.unwrap_or_else(|| config.user.clone()),
                hostname: args.hostname.unwrap_or_else(|| config.hostname.clone()).into_bytes(),
                quiet_hostname: args.build,
                naming: args.naming,
                tty: args.tty,
                init: args.init,
                pause: args.pause,
                rights: args.rights,
                beside: false,
            },
        ))
    }
}

/// `over` on top of `base`: a name that is there keeps its place and takes the new value.
fn merge(base: &[String], over: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut all = base.to_vec();
    for entry in over {
        match all.iter_mut().find(|have| name(have) == name(entry)) {
            Some(have) => have.clone_from(entry),
            None => all.push(entry.clone()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::merge;

    #[test]
    fn later_environment_wins_in_place() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let merged = merge(&words(&["PATH=/bin", "A=1"]), &words(&["B=2", "PATH=/x=y"]));
        assert_eq!(merged, words(&["PATH=/x=y", "A=1", "B=2"]));
    }
}
