//! `cargo xtask examples`: the folders of Dockerfile.examples/, each built and tried.
//!
//! | file of an example | holds |
//! |---|---|
//! | `Dockerfile` | what a user would write, with public names after FROM |
//! | `try` | one line, as typed in that folder: `boxer run … NAME.wasm …`, and behind a `; ` the client of a server |
//! | `expected` | what the client prints, or without one the box |
//!
//! The projects of `fixtures/init` count as well, as `init/NAME`: `boxer init` writes their Dockerfiles.
//!
//! The public images are taken from a registry on loopback, the mirror of docker.io. It has Debian 12 with this machine's package
//! sources and certificates, and Alpine where that is at hand.

mod init;

use crate::fixtures::Base;
use crate::paths::{Workspace, make_dir};
use crate::registry::Registry;
use crate::{boxer, fixtures, packages, process};
use anyhow::{Context, Result, bail};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Those that need no packages, so that they take seconds: what CI tries.
const QUICK: &[&str] = &["alpine", "debian", "scratch"];

/// What the names of the projects of `fixtures/init` begin with.
const INIT: &str = "init/";

/// The port that `try` names; a free one takes its place.
const PORT: &str = "8080";

/// How long a server may take until its client succeeds.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a server may take to end.
const PARTING: Duration = Duration::from_secs(20);

/// Builds and tries the quick examples, with `--all` all of them, or those that are named.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let all = args.iter().any(|arg| arg == "--all");
    let named: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--all").collect();
    let folder = workspace.root.join("Dockerfile.examples");
    let mut names = tried_in(&folder)?;
    names.extend(tried_in(&init::projects(workspace))?.iter().map(|name| format!("{INIT}{name}")));
    if let Some(unknown) = named.iter().find(|name| !names.iter().any(|known| known == *name)) {
        bail!("no example is named {unknown:?}; there are {}", names.join(" "));
    }
    let chosen = |name: &String| match named.is_empty() {
        true => all || QUICK.contains(&name.as_str()),
        false => named.contains(&name.as_str()),
    };
    names.retain(chosen);
    if names.iter().any(|name| !QUICK.contains(&name.as_str())) {
        packages::ensure(&[packages::EXAMPLES])?;
    }
    let hub = Hub::start(workspace)?;
    let mut failed = Vec::new();
    for name in &names {
        if name == "alpine" && fixtures::alpine(workspace)?.is_none() {
            println!("example: {name}: skipped, no Alpine image is at hand");
            continue;
        }
        let prepared = match name.strip_prefix(INIT) {
            Some(project) => init::prepare(workspace, &hub, project),
            None => Ok(folder.join(name)),
        };
        let tried = prepared.and_then(|folder| build_and_try(workspace, &hub, &folder));
        match tried {
            Ok(said) => println!("example: {name}: ok ({said})"),
            Err(error) => {
                println!("example: {name}: {error:#}");
                failed.push(name.as_str());
            }
        }
    }
    if !failed.is_empty() {
        bail!("examples that failed: {}", failed.join(" "));
    }
    Ok(())
}

/// A registry on loopback in docker.io's place.
pub struct Hub {
    registry: Registry,
}

impl Hub {
    /// Starts it with the images that are at hand.
    pub fn start(workspace: &Workspace) -> Result<Hub> {
        let dir = workspace.target.join("registry");
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        let registry = Registry::start(&dir)?;
        let debian = fixtures::debian(workspace)?.join("layout");
        registry.push(&debian, "fixtures/debian", "bookworm")?;
        // The tree has Python, so it can stand in for that image, too.
        registry.push(&debian, "library/python", "3.11-slim-bookworm")?;
        if let Some(alpine) = fixtures::alpine(workspace)? {
            registry.push(&alpine.join("layout"), "library/alpine", "latest")?;
        }
        let hub = Hub { registry };
        let base = format!("{}/fixtures/debian:bookworm", hub.registry.address());
        hub.push_base(workspace, &fixtures::debian_sources(workspace, &base)?)?;
        Ok(hub)
    }

    /// Builds an image and pushes it under its public name.
    pub fn push_base(&self, workspace: &Workspace, base: &Base) -> Result<()> {
        let output =
            format!("type=registry,name={}/library/{}", self.registry.address(), base.name);
        let mut build = self.boxer(workspace, "build")?;
        process::quiet(build.arg("-o").arg(output).arg(&base.context))
    }

    /// `boxer COMMAND` that asks this registry for what docker.io has.
    pub fn boxer(&self, workspace: &Workspace, command: &str) -> Result<Command> {
        let mut boxer = boxer::command(workspace)?;
        boxer.arg("--mirror").arg(format!("docker.io=http://{}", self.registry.address()));
        boxer.arg(command);
        Ok(boxer)
    }
}

/// Builds the example `folder` in several forms, which are types of `--output`; the files.
pub fn build(
    workspace: &Workspace,
    hub: &Hub,
    folder: &Path,
    forms: &[&str],
) -> Result<Vec<PathBuf>> {
    let name = folder.file_name().context("example without a name")?;
    let out = workspace.target.join("examples");
    // Beside the copy of a project, so that it has another name than the example.
    let out = if folder.starts_with(out.join("init")) { out.join("init") } else { out };
    make_dir(&out)?;
    let file = |form: &&str| match *form {
        "wasm" => out.join(name).with_extension("wasm"),
        form => out.join(name).with_extension(format!("{form}.wasm")),
    };
    let files: Vec<PathBuf> = forms.iter().map(file).collect();
    let mut build = hub.boxer(workspace, "build")?;
    for (form, file) in forms.iter().zip(&files) {
        build.arg("-o").arg(format!("type={form},dest={}", file.display()));
    }
    // Static programs for FROM scratch come from the fixtures.
    build
        .arg("--build-context")
        .arg(format!("programs={}", workspace.fixtures().join("programs").display()));
    process::run(build.arg(folder))?;
    Ok(files)
}

/// The folders of `folder` that say how they are tried.
fn tried_in(folder: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.path().join("try").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

fn build_and_try(workspace: &Workspace, hub: &Hub, folder: &Path) -> Result<String> {
    let name = &*folder.file_name().unwrap_or_default().to_string_lossy();
    let started = Instant::now();
    let wasm = build(workspace, hub, folder, &["wasm"])?.remove(0);
    let built = started.elapsed();
    let line = std::fs::read_to_string(folder.join("try")).context("no file `try`")?;
    let expected =
        std::fs::read_to_string(folder.join("expected")).context("no file `expected`")?;
    let trial = Trial { workspace, folder, name, wasm: &wasm, port: free_port()? };
    let started = Instant::now();
    let found = match line.trim().split_once("; ") {
        None => process::stdout(&mut trial.command(&line)?),
        Some((server, client)) => trial.ask(server, client),
    }?;
    let answered = started.elapsed();
    if found != expected {
        bail!("--- expected\n{expected}\n--- found\n{found}");
    }
    let size = std::fs::metadata(&wasm)?.len() as f64 / 1e6;
    Ok(format!(
        "built in {:.1} s, answered in {:.1} s, {size:.0} MB",
        built.as_secs_f64(),
        answered.as_secs_f64()
    ))
}

/// An example that is being tried.
struct Trial<'a> {
    workspace: &'a Workspace,
    folder: &'a Path,
    name: &'a str,
    wasm: &'a Path,
    port: u16,
}

impl Trial<'_> {
    /// A line of `try` as a command of the shell, with the program, the box and a port that are to be tried.
    fn command(&self, line: &str) -> Result<Command> {
        let line = line
            .trim()
            .replace(&format!("{}.wasm", self.name), &self.wasm.display().to_string())
            .replace(PORT, &self.port.to_string());
        let bin = self.workspace.boxer();
        let bin = bin.parent().context("boxer lies nowhere")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(
            std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&path)),
        )?;
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(line).current_dir(self.folder).stdin(Stdio::null());
        boxer::at_home(self.workspace, &mut shell)?;
        shell.env("PATH", path);
        Ok(shell)
    }

    /// What `docker stop` would send.
    fn stop_signal(&self) -> Result<String> {
        let dockerfile = std::fs::read_to_string(self.folder.join("Dockerfile"))?;
        let signal = dockerfile.lines().find_map(|line| line.strip_prefix("STOPSIGNAL SIG"));
        Ok(signal.unwrap_or("TERM").to_owned())
    }

    /// Starts `server`, asks until `client` succeeds, and ends it; what the client printed.
    fn ask(&self, server: &str, client: &str) -> Result<String> {
        let log = self.wasm.with_extension("log");
        let output = std::fs::File::create(&log)?;
        let mut server = Server(
            self.command(&format!("exec {server}"))?
                .stdout(output.try_clone()?)
                .stderr(output)
                .spawn()?,
        );
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let started = Instant::now();
        let found = loop {
            let answer = self.command(client)?.output()?;
            if answer.status.success() {
                break String::from_utf8_lossy(&answer.stdout).into_owned();
            }
            if let Some(status) = server.0.try_wait()? {
                bail!("the server ended: {status}\n{}", said());
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "no answer in {} s: {}\n{}",
                    PATIENCE.as_secs(),
                    String::from_utf8_lossy(&answer.stderr),
                    said()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        server.end(&self.stop_signal()?).with_context(said)?;
        Ok(found)
    }
}

/// A box that serves; it is killed when dropped.
struct Server(Child);

impl Server {
    /// Sends a signal and waits for the end.
    fn end(&mut self, signal: &str) -> Result<()> {
        process::quiet(Command::new("kill").args(["-s", signal]).arg(self.0.id().to_string()))?;
        let started = Instant::now();
        while started.elapsed() < PARTING {
            if self.0.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the server goes on {} s after SIG{signal}", PARTING.as_secs())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
