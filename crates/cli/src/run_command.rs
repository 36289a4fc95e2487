//! `boxer run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use build::{BoxForm, Built, NoEvents};
use oci::{Artifact, Reference};
use runtime::{Input, Output, Overrides, Preopen, RunOptions};

use crate::args::{Global, RunArgs};
use crate::failure::Failure;
use crate::progress::Transfers;
use crate::session;

/// Boxer itself failed, as with `docker run`.
const OWN_FAILURE: u8 = 125;

pub fn run(global: &Global, args: &RunArgs) -> Result<ExitCode, Failure> {
    start(global, args).map_err(|failure| {
        let code = if failure.code == 2 { 2 } else { OWN_FAILURE };
        failure.code(code)
    })
}

fn start(global: &Global, args: &RunArgs) -> Result<ExitCode, Failure> {
    let options = options(args)?;
    let path = find(global, args.name())?;
    let outcome = session::runtime()?.run_file(&path, options).map_err(Failure::new)?;
    // As a shell does, the low byte.
    Ok(ExitCode::from(u8::try_from(outcome.status & 0xff).unwrap_or(OWN_FAILURE)))
}

/// The Wasm file that a name stands for. An image is made a box first.
pub fn find(global: &Global, name: &str) -> Result<PathBuf, Failure> {
    if is_path(name) {
        return Ok(PathBuf::from(name));
    }
    let reference = Reference::parse(name)?;
    let store = session::store(global)?;
    let artifact = match store.artifact(&reference) {
        Err(oci::Error::NotInStore { .. }) => {
            tell!("{name} is not in the store; pulling it");
            session::client(global)?.pull_any(&reference, &store, &Transfers)?
        }
        other => other?,
    };
    match artifact {
        Artifact::Box(handle) => Ok(store.blob_path(&handle.wasm.digest)),
        Artifact::Image(image) => {
            let workshop = session::workshop(global, Arc::new(NoEvents))?;
            Ok(build::link_box(
                &workshop,
                &Built::from_image(image),
                build::CpuLevel::default(),
                BoxForm::Module,
            )?
            .path)
        }
    }
}

/// Whether a name is a file's: one that exists, or one that no image could have.
pub fn is_path(name: &str) -> bool {
    Path::new(name).is_file() || name.starts_with(['.', '/']) || name.ends_with(".wasm")
}

fn options(args: &RunArgs) -> Result<RunOptions, Failure> {
    let mut env = Vec::new();
    for file in &args.env_file {
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
    for word in &args.env {
        if word.is_empty() || word.starts_with('=') {
            return Err(Failure::usage(format!(
                "invalid --env {word:?}: must be of the form NAME[=VALUE]"
            )));
        }
        env.extend(variable(word));
    }
    let size = if args.tty { terminal_size::terminal_size() } else { None };
    Ok(RunOptions {
        args: args.program_args().to_vec(),
        env,
        preopens: args.volume.iter().map(|text| volume(text)).collect::<Result<_, _>>()?,
        overrides: Overrides {
            entrypoint: args.entrypoint.clone(),
            workdir: args.workdir.clone(),
            user: args.user.clone(),
            cpu: args.cpu.map(|level| level.name().to_owned()),
            limits: args.limits.limits(),
            tty: args.tty.then_some(true),
            tty_size: size.map(|(width, height)| (width.0, height.0)),
            strace: args.strace,
            debug: args.debug,
        },
        stdin: Input::Inherit,
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        descriptors: Vec::new(),
    })
}

/// `NAME=VALUE`, or `NAME` for this process's value, if it has one.
fn variable(word: &str) -> Option<(String, String)> {
    match word.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => std::env::var(word).ok().map(|value| (word.to_owned(), value)),
    }
}

/// `HOST:GUEST[:ro|:rw]`.
fn volume(text: &str) -> Result<Preopen, Failure> {
    let wrong = |reason: &str| Failure::usage(format!("invalid --volume {text:?}: {reason}"));
    let (rest, writable) = match text.rsplit_once(':') {
        Some((rest, "ro")) => (rest, false),
        Some((rest, "rw")) => (rest, true),
        _ => (text, true),
    };
    let (host, guest) =
        rest.rsplit_once(':').ok_or_else(|| wrong("must be of the form HOST:GUEST[:ro]"))?;
    if !guest.starts_with('/') {
        return Err(wrong("the path in the box must be absolute"));
    }
    let host = PathBuf::from(host);
    match std::fs::metadata(&host) {
        Ok(meta) if meta.is_dir() => Ok(Preopen { host, guest: guest.to_owned(), writable }),
        Ok(_) => Err(wrong("it is not a directory; a box can be given directories only")),
        Err(error) => Err(Failure::new(format!("--volume {text:?}: {}: {error}", host.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::volume;

    #[test]
    fn volumes_have_a_host_and_a_guest_path() {
        let of =
            |text: &str| volume(text).map(|p| (p.host.display().to_string(), p.guest, p.writable));
        assert_eq!(of("/:/mnt").ok(), Some(("/".into(), "/mnt".into(), true)));
        assert_eq!(of("/:/mnt:ro").ok(), Some(("/".into(), "/mnt".into(), false)));
        for bad in ["/mnt", "/:mnt", "/no/such/directory:/x"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
