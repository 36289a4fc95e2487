//! `boxer sandboxd` and `boxer mcp`.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::Args;
use runtime::Signals;
use sandbox::http::{self, Listener, Stop};
use sandbox::{Host, Mount, Policy, Prepare, Sink, Template, api, mcp};

use crate::args::{Global, Pull};
use crate::failure::Failure;
use crate::run_command;
use crate::serve_command;
use crate::session;

/// The variable that has the token.
const TOKEN: &str = "BOXER_SANDBOX_TOKEN";
/// Bytes of a token that is made up.
const TOKEN_BYTES: usize = 24;
/// Bytes that a token has at least.
const SHORTEST: usize = 16;

/// What sandboxes are made of, and what they may do.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// A Wasm file or the name of a box or image in the store (pulled if it is not there), in which the code runs
    #[arg(value_name = "BOX")]
    pub name: String,
    /// Modules of Python that every sandbox has imported already, as numpy,pandas
    #[arg(long, value_name = "MODULES", value_delimiter = ',')]
    pub preload: Vec<String>,
    /// What a sandbox may reach (repeatable) [default: nothing]: host, or allow=HOST:PORT,... as for boxer run
    #[arg(long, value_name = "NETWORK")]
    pub network: Vec<String>,
    /// A directory of this host in a sandbox, read-only unless rw is said (repeatable)
    #[arg(short, long, value_name = "HOST:GUEST[:rw]", value_parser = mount)]
    pub volume: Vec<Mount>,
    /// A variable of its programs; without a value, this process's (repeatable)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Bytes that one call may put out, as 8m
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "8m")]
    pub output_limit: u64,
    /// A file to which the audit trail is appended, as lines of JSON
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// Memory for its programs; who asks for more gets ENOMEM, or is killed
    #[arg(short, long, value_name = "SIZE", value_parser = size, default_value = "512m")]
    pub memory: u64,
    /// Memory for its files; a full file system is ENOSPC
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "512m")]
    pub storage: u64,
    /// How long it lives, as 90s or 5m
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "5m")]
    pub timeout: f64,
    /// It ends when its programs have used this much CPU time [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub cpus_time: Option<f64>,
    /// Processes and threads at once; fork fails with EAGAIN beyond it
    #[arg(long, value_name = "COUNT", default_value_t = 128)]
    pub pids_limit: u32,
    /// Open files of all its programs; open fails with ENFILE beyond it
    #[arg(long, value_name = "COUNT", value_parser = open_files, default_value = "4096")]
    pub open_files: u64,
    /// It ends when its programs have executed so many instructions, as 500000 or 2g (billions) [default: no limit]
    #[arg(long, value_name = "COUNT", value_parser = instructions)]
    pub instructions: Option<u64>,
    /// Bytes that it exchanges with the network, as 10m, before its connections are reset [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub network_bytes: Option<u64>,
}

/// `boxer sandboxd`.
#[derive(Debug, Args)]
pub struct SandboxdArgs {
    /// Where to listen: [IP:]PORT (without an address on 127.0.0.1; port 0 is any that is free), or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: String,
    /// A file with the token, without which nothing is answered [default: what BOXER_SANDBOX_TOKEN says, or one that is made up and printed]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Most sandboxes at once
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub max_sandboxes: usize,
    /// End when standard input does
    #[arg(long)]
    pub until_stdin_ends: bool,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

/// `boxer mcp`.
#[derive(Debug, Args)]
pub struct McpArgs {
    /// Serve over HTTP at [IP:]PORT (without an address on 127.0.0.1; port 0 is any that is free), or unix:PATH, for several clients, each with a sandbox of its own [default: one client on standard input and output]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// A file with the token, without which nothing is answered over HTTP [default: what BOXER_SANDBOX_TOKEN says, or one that is made up and printed]
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub token_file: Option<PathBuf>,
    /// Most clients at once
    #[arg(long, value_name = "COUNT", default_value_t = 64, requires = "listen")]
    pub max_sessions: usize,
    /// End when standard input does
    #[arg(long, requires = "listen")]
    pub until_stdin_ends: bool,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

/// `HOST:GUEST[:rw]`.
fn mount(text: &str) -> Result<Mount, String> {
    let (rest, writable) = match text.strip_suffix(":rw") {
        Some(rest) => (rest, true),
        None => (text.strip_suffix(":ro").unwrap_or(text), false),
    };
    let wrong = || "is not of the form HOST:GUEST[:rw]".to_owned();
    let (host, guest) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let host = std::path::absolute(host).map_err(|error| error.to_string())?;
    Ok(Mount { host, guest: guest.to_owned(), writable })
}

fn size(text: &str) -> Result<u64, String> {
    Ok(build::limits::size(text)?.unwrap_or(u64::MAX))
}

fn instructions(text: &str) -> Result<u64, String> {
    build::limits::number_of(text, "instructions")?
        .ok_or_else(|| "must be more than none".to_owned())
}

fn open_files(text: &str) -> Result<u64, String> {
    Ok(build::limits::number_of(text, "open files")?.unwrap_or(u64::MAX))
}

fn seconds(text: &str) -> Result<f64, String> {
    let ns = build::limits::duration(text)?.ok_or("must be more than nothing")?;
    Ok(ns as f64 / 1e9)
}

impl SandboxArgs {
    fn policy(&self) -> Result<Policy, Failure> {
        let policy = Policy {
            network: self.network.clone(),
            mounts: self.volume.clone(),
            env: run_command::environment(&[], &self.env)?.into_iter().collect(),
            timeout: self.timeout,
            memory: self.memory,
            storage: self.storage,
            processes: self.pids_limit,
            cpu_time: self.cpus_time,
            output: self.output_limit,
            instructions: self.instructions,
            network_bytes: self.network_bytes,
            open_files: self.open_files,
        };
        policy.check().map_err(|error| Failure::usage(error.to_string()))?;
        if let Some(mount) = policy.mounts.iter().find(|mount| !mount.host.is_dir()) {
            return Err(Failure::new(format!("{} is no directory", mount.host.display())));
        }
        Ok(policy)
    }

    fn host(&self) -> Result<Host, Failure> {
        let sink = self.audit.as_deref().map(appends).transpose()?;
        Host::new(session::runtime()?, &session::cache_folder(), sink).map_err(Failure::new)
    }

    fn template(&self, global: &Global, host: &Host) -> Result<Template, Failure> {
        let path = run_command::find(global, &self.name, Pull::Missing)?;
        let prepare = Prepare { preload: self.preload.clone() };
        host.template(&path, &prepare)
            .map_err(|error| Failure::new(format!("cannot prepare {}: {error}", self.name)))
    }
}

/// Appends lines to a file.
fn appends(path: &Path) -> Result<Sink, Failure> {
    let failed = |error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    let file = Mutex::new(file);
    Ok(Arc::new(move |line: &str| {
        let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            tell!("boxer: warning: the audit trail cannot be written: {error}");
        }
    }))
}

pub fn sandboxd(
    global: &Global,
    args: &SandboxdArgs,
    signals: Option<&Signals>,
) -> Result<ExitCode, Failure> {
    let most = args.sandbox.policy()?;
    let token = token(args.token_file.as_deref())?;
    let (listener, address) = listen(&args.listen)?;
    let host = args.sandbox.host()?;
    let template = args.sandbox.template(global, &host)?;
    let stop = stop(signals, args.until_stdin_ends)?;
    let snapshots = tempfile::Builder::new().prefix("boxer-snapshots-").tempdir();
    let snapshots = snapshots.map_err(Failure::new)?;
    let service = api::Service {
        host,
        template,
        most,
        token: token.clone(),
        snapshots: snapshots.path().to_owned(),
        max_sandboxes: args.max_sandboxes,
        created: Default::default(),
    };
    ready(&address, &token)?;
    let served = http::serve(listener, service, &stop);
    clean_up(&args.listen);
    served.map_err(Failure::new)?;
    Ok(ExitCode::SUCCESS)
}

/// What ends a service: a signal, or the end of standard input.
fn stop(signals: Option<&Signals>, until_stdin_ends: bool) -> Result<Stop, Failure> {
    let stop = Stop::default();
    if let Some(signals) = signals {
        let stop = stop.clone();
        signals.intercept(move |_| stop.stop()).map_err(Failure::new)?;
    }
    if until_stdin_ends {
        let stop = stop.clone();
        let wait = move || {
            // What comes is of no interest.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            stop.stop();
        };
        let thread = std::thread::Builder::new().name("stdin".to_owned());
        thread.spawn(wait).map_err(Failure::new)?;
    }
    Ok(stop)
}

/// Says where it is and how it is asked, for programs that start this one.
fn ready(address: &str, token: &str) -> Result<(), Failure> {
    println!("{}", serde_json::json!({"url": address, "token": token}));
    std::io::stdout().flush().map_err(Failure::new)
}

/// Removes the socket that was listened at.
fn clean_up(listened: &str) {
    if let Some(path) = listened.strip_prefix("unix:") {
        // It may be gone already.
        let _ = std::fs::remove_file(path);
    }
}

fn listen(text: &str) -> Result<(Listener, String), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot listen at {text}: {error}"));
    if let Some(path) = text.strip_prefix("unix:") {
        let listener = UnixListener::bind(path).map_err(failed)?;
        // The token guards it all the same.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        return Ok((Listener::Unix(listener), text.to_owned()));
    }
    let address = serve_command::address(text)
        .map_err(|_| Failure::usage(format!("{text:?} is neither [IP:]PORT nor unix:PATH")))?;
    if !address.ip().is_loopback() {
        return Err(Failure::usage(format!("{address} is no address of the loopback"))
            .hint("whoever knows the token may run code here; put a server with TLS before it"));
    }
    let listener = TcpListener::bind(address).map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    Ok((Listener::Tcp(listener), format!("http://{at}")))
}

fn token(file: Option<&Path>) -> Result<String, Failure> {
    let token = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?,
        None => std::env::var(TOKEN).unwrap_or_default(),
    };
    let token = token.trim();
    if file.is_none() && token.is_empty() {
        return sandbox::secret::<TOKEN_BYTES>().map_err(Failure::new);
    }
    if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::usage(format!(
            "the token must have at least {SHORTEST} letters, digits or signs"
        )));
    }
    Ok(token.to_owned())
}

pub fn mcp(
    global: &Global,
    args: &McpArgs,
    signals: Option<&Signals>,
) -> Result<ExitCode, Failure> {
    let policy = args.sandbox.policy()?;
    let listening = match &args.listen {
        Some(place) => Some((place, token(args.token_file.as_deref())?, listen(place)?)),
        None => None,
    };
    let host = args.sandbox.host()?;
    let template = args.sandbox.template(global, &host)?;
    let config = mcp::Config { host, template, policy, version: env!("CARGO_PKG_VERSION") };
    if let Some((place, token, (listener, address))) = listening {
        let stop = stop(signals, args.until_stdin_ends)?;
        let service = mcp::Service::new(config, token.clone(), args.max_sessions);
        let address = match place.starts_with("unix:") {
            true => address,
            false => address + mcp::PATH,
        };
        ready(&address, &token)?;
        let served = http::serve(listener, service, &stop);
        clean_up(place);
        return served.map_err(Failure::new).map(|()| ExitCode::SUCCESS);
    }
    let input: Box<dyn BufRead> = Box::new(std::io::stdin().lock());
    mcp::serve(config, input, std::io::stdout()).map_err(Failure::new)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::{listen, mount};

    #[test]
    fn directories_are_read_only_unless_said() {
        let of = |text: &str| mount(text).map(|m| (m.host, m.guest, m.writable));
        assert_eq!(of("/a:/b"), Ok(("/a".into(), "/b".to_owned(), false)));
        assert_eq!(of("/a:/b:ro"), Ok(("/a".into(), "/b".to_owned(), false)));
        assert_eq!(of("/a:b:/c:rw"), Ok(("/a:b".into(), "/c".to_owned(), true)));
        assert!(mount("/a").is_err());
    }

    #[test]
    fn nothing_but_the_loopback_is_listened_at() {
        assert!(listen("0.0.0.0:0").is_err() && listen("[::]:0").is_err() && listen("x").is_err());
        assert!(listen("0").is_ok());
    }
}
