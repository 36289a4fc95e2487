//! `boxer run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use build::{BoxForm, Built, NoEvents};
use oci::{Artifact, Reference};
use runtime::{
    Descriptor, Forwarding, Input, Interrupt, Output, Overrides, RawTerminal, RecordTo, RunOptions,
    Signals,
};

use crate::args::{Global, Pull, RunArgs};
use crate::failure::Failure;
use crate::mounts::Mounts;
use crate::network;
use crate::progress::Transfers;
use crate::session;

/// Boxer itself failed, as with `docker run`.
const OWN_FAILURE: u8 = 125;

pub fn run(
    global: &Global,
    args: &RunArgs,
    signals: Option<&Signals>,
) -> Result<ExitCode, Failure> {
    start(global, args, signals).map_err(|failure| {
        let code = if failure.code == 2 { 2 } else { OWN_FAILURE };
        failure.code(code)
    })
}

fn start(global: &Global, args: &RunArgs, signals: Option<&Signals>) -> Result<ExitCode, Failure> {
    args.docker.check()?;
    if let Some(dir) = args.workdir.as_ref().filter(|dir| !dir.starts_with('/')) {
        return Err(Failure::usage(format!(
            "invalid --workdir {dir:?}: it must be an absolute path"
        )));
    }
    if args.pause && (args.init || args.entrypoint.is_some() || !args.program_args().is_empty()) {
        return Err(Failure::usage(
            "--pause runs no program: it takes no arguments, --entrypoint or --init",
        ));
    }
    if args.tty && args.interactive && !runtime::is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    let mounts = Mounts::new(global, args)?;
    let mut options = options(args, &mounts)?;
    let mut grant = args.network.grant(args.debug)?;
    args.network.override_names(&mut options.overrides, grant.is_some())?;
    let path = find(global, args.name(), args.pull)?;
    if let Some(grant) = &mut grant {
        args.network.publish_exposed(grant, &path)?;
    }
    options.outside = outside(&path)?;
    let handles = args.freezing.prepare(args.name())?;
    let runtime = session::runtime()?;
    if args.tty {
        // While code is compiled, Ctrl-C still ends the command.
        runtime.prepare_file(&path).map_err(Failure::new)?;
    }
    options.network = grant.map(network::open).transpose()?;
    options.freezer = handles.freezer;
    options.record = args.freezing.record.clone().map(|path| {
        let file = std::path::absolute(args.name()).ok().filter(|_| is_path(args.name()));
        let file = file.map(|file| file.display().to_string());
        RecordTo { path, name: file.unwrap_or_else(|| args.name().to_owned()) }
    });
    options.attach = handles.attach;
    // A WASI module hears of no signal and edits no lines: it and its terminal are as they would be without a box.
    let signals = signals.filter(|_| !is_program(&path));
    let forwarding = attach(args, signals, &mut options)?;
    let outcome = runtime.run_file(&path, options);
    drop(handles.registration);
    // The terminal is as it was before anything is said.
    drop(forwarding);
    let outcome = outcome.map_err(Failure::new)?;
    // As a shell does, the low byte.
    Ok(ExitCode::from(u8::try_from(outcome.status & 0xff).unwrap_or(OWN_FAILURE)))
}

/// Whether a file is a box that is one with its program. What cannot be read is told when it is run.
fn is_program(path: &Path) -> bool {
    let file = std::fs::File::open(path).ok();
    file.and_then(|mut file| link::inspect(&mut file).ok()).is_some_and(|found| found.is_program)
}

/// Lets the box have this process's signals and, with `-it`, its terminal.
fn attach(
    args: &RunArgs,
    signals: Option<&Signals>,
    options: &mut RunOptions,
) -> Result<Option<Forwarding>, Failure> {
    let Some(signals) = signals else { return Ok(None) };
    let failed = |error: std::io::Error| Failure::new(format!("cannot attach to the box: {error}"));
    let (descriptor, control) = Descriptor::new(Descriptor::CONTROL).map_err(failed)?;
    let terminal = if args.tty && args.interactive {
        Some(RawTerminal::enter().map_err(failed)?)
    } else {
        None
    };
    options.descriptors.push(descriptor);
    if let Some(freezer) = &options.freezer {
        freezer.told_by(control.try_clone().map_err(failed)?);
        if let Some(number) = args.freezing.signal() {
            signals.freeze_on(number, freezer.clone());
        }
    }
    signals.forward(control, terminal).map(Some).map_err(failed)
}

/// Where a box's files are, if they are kept outside of it (`boxer build -o type=web`): in the folder `chunks` beside its file.
fn outside(path: &Path) -> Result<Option<runtime::Folder>, Failure> {
    let Ok(file) = std::fs::File::open(path) else { return Ok(None) };
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Ok(None);
    }
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
    let json = link::chunks_of(link::Content::File(&file)).map_err(|error| failed(&error))?;
    let Some(json) = json else { return Ok(None) };
    let chunks: runtime::Chunks = serde_json::from_slice(&json).map_err(|error| failed(&error))?;
    if chunks.version != runtime::Chunks::VERSION {
        return Err(failed(
            &"its files are kept outside by another version of boxer; build it again",
        ));
    }
    Ok(Some(runtime::Folder::new(&path.with_file_name("chunks"), chunks).0))
}

/// The Wasm file that a name stands for. An image is made a box first.
pub fn find(global: &Global, name: &str, pull: Pull) -> Result<PathBuf, Failure> {
    if is_path(name) {
        return Ok(PathBuf::from(name));
    }
    let reference = Reference::parse(name)?;
    let store = session::store(global)?;
    let kept = store.artifact(&reference);
    let artifact = match (kept, pull) {
        (Err(oci::Error::NotInStore { .. }), Pull::Missing) => {
            tell!("{name} is not in the store; pulling it");
            session::client(global)?.pull_any(&reference, &store, &Transfers)?.artifact
        }
        (_, Pull::Always) => {
            session::client(global)?.pull_any(&reference, &store, &Transfers)?.artifact
        }
        (kept, _) => kept?,
    };
    match artifact {
        // Loading it has verified the file.
        Artifact::Box(handle) => Ok(store.blob_file(&handle.wasm.digest)?),
        Artifact::Image(image) => {
            let workshop = session::workshop(global, Arc::new(NoEvents), Interrupt::new())?;
            Ok(build::link_box(
                &workshop,
                &Built::from_image(image),
                build::CpuLevel::default(),
                BoxForm::Module,
                // What is hot is compiled while it runs.
                &build::Freezing::default(),
                &build::Snapshot::default(),
            )?
            .path)
        }
    }
}

/// Whether a name is a file's: one that exists, or one that no image could have.
pub fn is_path(name: &str) -> bool {
    Path::new(name).is_file() || name.starts_with(['.', '/']) || name.ends_with(".wasm")
}

/// What the options say, but for streams, network and freezing.
pub fn options(args: &RunArgs, mounts: &Mounts) -> Result<RunOptions, Failure> {
    let env = environment(&args.env_file, &args.env)?;
    let size = if args.tty { runtime::terminal_size() } else { None };
    Ok(RunOptions {
        interrupt: None,
        args: args.program_args().to_vec(),
        env,
        preopens: mounts.preopens.clone(),
        tmpfs: mounts.tmpfs.clone(),
        overrides: Overrides {
            entrypoint: args.entrypoint.clone(),
            workdir: args.workdir.clone(),
            user: args.user.clone(),
            cpu: args.cpu().map(|level| level.name().to_owned()),
            limits: args.limits.limits(),
            rights: args.rights.rights()?,
            tty: Some(args.tty),
            tty_size: size.map(|(rows, columns)| (columns, rows)),
            init: args.init,
            pause: args.pause,
            strace: args.strace,
            debug: args.debug,
            ..Overrides::default()
        },
        network: None,
        sockets: Vec::new(),
        // As with docker: a terminal that nobody types at.
        stdin: if args.tty && !args.interactive { Input::Silent } else { Input::Inherit },
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        descriptors: Vec::new(),
        translation: args.translate.translation(args.debug),
        idle: None,
        freezer: None,
        record: None,
        attach: None,
        outside: None,
    })
}

/// The variables of `--env-file` and `--env`.
pub fn environment(files: &[PathBuf], words: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut env = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::new(format!("cannot read --env-file {}: {error}", file.display()))
        })?;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line
                .split('=')
                .next()
                .is_some_and(|name| name.contains(char::is_whitespace) || name.is_empty())
            {
                return Err(Failure::new(format!(
                    "{}:{number}: {line:?} is not NAME[=VALUE]",
                    file.display()
                )));
            }
            env.extend(variable(line));
        }
    }
    for word in words {
        if word.is_empty() || word.starts_with('=') {
            return Err(Failure::usage(format!(
                "invalid --env {word:?}: must be of the form NAME[=VALUE]"
            )));
        }
        env.extend(variable(word));
    }
    Ok(env)
}

/// `NAME=VALUE`, or `NAME` for this process's value, if it has one.
fn variable(word: &str) -> Option<(String, String)> {
    match word.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => std::env::var(word).ok().map(|value| (word.to_owned(), value)),
    }
}
