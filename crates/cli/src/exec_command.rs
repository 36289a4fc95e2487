//! `boxer exec`.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::JoinHandle;

use clap::Args;
use runtime::{Command, ExecError, Exit, RawTerminal, Signals, StreamReader};

use crate::failure::Failure;
use crate::foreign::{Foreign, Row, Table, one, switch};
use crate::run_command::environment;
use crate::running;

/// Boxer itself failed, as with `docker exec`.
const OWN_FAILURE: u8 = 125;
/// Bytes that are moved at once.
const PIECE: usize = 64 << 10;

/// `boxer exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The name of a box that runs (`boxer run --name`), a command and its arguments
    #[arg(value_names = ["NAME", "COMMAND"], num_args = 2.., required = true, trailing_var_arg = true)]
    words: Vec<String>,
    /// Give it this process's standard input; otherwise it has none
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal of its own; with -i it is this one, in raw mode
    #[arg(short, long)]
    tty: bool,
    /// Do not wait for it; what it writes is lost
    #[arg(short, long)]
    detach: bool,
    /// Set a variable; without =VALUE this process's value is passed on (repeatable)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file, one NAME[=VALUE] a line (repeatable)
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// The user: NAME|UID[:GROUP|GID] [default: that of the box]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// The working directory [default: that of the box]
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    #[command(flatten)]
    docker: Foreign<DockerExec>,
}

/// Options of `docker exec` that are not carried out.
#[derive(Debug)]
struct DockerExec;

impl Table for DockerExec {
    const ROWS: &'static [Row] = &[
        one(
            "detach-keys",
            &[""],
            "a terminal is left by ending this process; the one in the box then hangs up",
        ),
        switch(
            "privileged",
            &["false"],
            "a box has the capabilities that it was started with (boxer run --cap-add)",
        ),
    ];
}

pub fn run(args: &ExecArgs, signals: Option<&Signals>) -> Result<ExitCode, Failure> {
    start(args, signals).map_err(|failure| {
        let code = if matches!(failure.code, 2 | 126 | 127) { failure.code } else { OWN_FAILURE };
        failure.code(code)
    })
}

fn start(args: &ExecArgs, signals: Option<&Signals>) -> Result<ExitCode, Failure> {
    args.docker.check()?;
    let [name, program, arguments @ ..] = args.words.as_slice() else {
        return Err(Failure::usage("a name and a command are needed"));
    };
    if let Some(dir) = args.workdir.as_ref().filter(|dir| !dir.starts_with('/')) {
        return Err(Failure::usage(format!(
            "invalid --workdir {dir:?}: it must be an absolute path"
        )));
    }
    if args.detach && (args.tty || args.interactive) {
        return Err(Failure::usage(
            "nobody is at the streams of what is detached: leave out -i and -t",
        ));
    }
    if args.tty && args.interactive && !runtime::is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    let mut command = Command::new(program).args(arguments).stdin(args.interactive);
    command = command.outputs(!args.detach, !args.detach);
    for (name, value) in environment(&args.env_file, &args.env)? {
        command = command.env(&name, &value);
    }
    if let Some(user) = &args.user {
        command = command.user(user);
    }
    if let Some(dir) = &args.workdir {
        command = command.cwd(dir);
    }
    if args.tty {
        let (rows, columns) = runtime::terminal_size().unwrap_or_default();
        command = command.terminal(rows, columns);
    }
    let attach = running::attach(name)?;
    let failed = |error: std::io::Error| Failure::new(format!("cannot attach to {name}: {error}"));
    let mut process = attach.exec(&command).map_err(|error| {
        let code = error.status();
        Failure::new(error).code(code)
    })?;
    if args.detach {
        return Ok(ExitCode::SUCCESS);
    }
    let terminal = if args.tty && args.interactive {
        Some(RawTerminal::enter().map_err(failed)?)
    } else {
        None
    };
    let forwarding = signals
        .map(|signals| process.take_signals(signals, terminal))
        .transpose()
        .map_err(failed)?;
    if let Some(mut stdin) = process.stdin.take() {
        // It ends with this process at the latest.
        std::thread::spawn(move || copy(&mut std::io::stdin(), &mut stdin));
    }
    let outputs = [
        process.stdout.take().map(|out| carry(out, std::io::stdout())),
        process.stderr.take().map(|out| carry(out, std::io::stderr())),
    ];
    let exit = process.wait();
    for output in outputs.into_iter().flatten() {
        let _ = output.join();
    }
    // The terminal is as it was before anything is said.
    drop(forwarding);
    match exit {
        Ok(Exit::Exited(status)) => Ok(ExitCode::from(status)),
        Ok(Exit::Signaled { signal, .. }) => Ok(ExitCode::from(128_u8.saturating_add(signal))),
        Err(ExecError::Over(why)) => Err(Failure::new(format!("{name}: {why}"))),
        Err(error) => Err(Failure::new(error)),
    }
}

/// Moves what a process writes to this one's stream. When that takes no more, writing to it fails in the box, too.
fn carry(stream: StreamReader, mut to: impl Write + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || copy(&mut stream.own(), &mut to))
}

/// Moves bytes as they come until either end is closed.
fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = vec![0; PIECE];
    loop {
        let bytes = match from.read(&mut buffer) {
            Ok(len @ 1..) => buffer.get(..len).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            _ => return,
        };
        if to.write_all(bytes).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}
