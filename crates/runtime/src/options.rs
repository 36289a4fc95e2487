//! How a box is run.

use crate::descriptor::{self, Descriptor};
use crate::error::RunError;
use crate::exec::Attach;
use crate::freeze::Freezer;
use crate::interrupt::Interrupt;
use crate::network::{Network, Served};
use crate::outside::Folder;
use crate::record::RecordTo;
use crate::stream::{Input, Output};
use crate::translator::Translation;
use rootfs::limits::Limits;
use rootfs::rights::Rights;
use std::path::PathBuf;
use std::time::Duration;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// A host directory given to the box.
#[derive(Clone, Debug)]
pub struct Preopen {
    /// The directory on the host.
    pub host: PathBuf,
    /// Its absolute path in the box.
    pub guest: String,
    /// Whether the box may change it.
    pub writable: bool,
    /// What of it is mounted.
    pub mounted: Mounted,
}

/// What of a host directory a box sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mounted {
    /// All of it.
    #[default]
    Directory,
    /// The file of this name alone, at the guest path.
    File(String),
    /// All of it; while it is empty it takes over what the image has at the guest path.
    Volume,
}

/// A file system in the box's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tmpfs {
    /// Its absolute path in the box.
    pub guest: String,
    /// Permission bits; 0o1777 when not given.
    pub mode: Option<u32>,
    /// Whether the box may change it.
    pub read_only: bool,
    /// Whether programs in it may be executed.
    pub executable: bool,
    /// Most bytes of its files.
    pub size: Option<u64>,
}

/// What replaces parts of the image's configuration. These travel as WASI environment variables,
/// which the guest takes out of the environment of its programs.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `BOXER_ENTRYPOINT`: one word that replaces ENTRYPOINT; CMD is dropped, as in `docker run`.
    pub entrypoint: Option<String>,
    /// `BOXER_WORKDIR`: the working directory.
    pub workdir: Option<String>,
    /// `BOXER_USER`: the user, as in `USER`.
    pub user: Option<String>,
    /// `BOXER_HOSTNAME`: the host name.
    pub hostname: Option<String>,
    /// `BOXER_ADD_HOST`: further lines of `/etc/hosts`, name and address (or `host-gateway`).
    pub hosts: Vec<(String, String)>,
    /// `BOXER_DNS`: name servers for `/etc/resolv.conf`, instead of the box's own resolver.
    pub servers: Vec<String>,
    /// `BOXER_DNS_SEARCH`, `BOXER_DNS_OPTION`: domains to search, and options, for `/etc/resolv.conf`.
    pub search: Vec<String>,
    /// See [`Overrides::search`].
    pub resolver_options: Vec<String>,
    /// `BOXER_CPU`: the processor that the programs see, by its psABI name (`x86-64-v3`).
    pub cpu: Option<String>,
    /// What the box may use.
    pub limits: Limits,
    /// What its first process may do.
    pub rights: Rights,
    /// `BOXER_TTY`: whether the standard streams are a terminal (`1` or `0`); none lets
    /// the box find out.
    pub tty: Option<bool>,
    /// `BOXER_TTY=COLSxROWS`: size of that terminal.
    pub tty_size: Option<(u16, u16)>,
    /// `BOXER_INIT=1`: a first process of its own runs the program, passes signals on and reaps orphans.
    pub init: bool,
    /// `BOXER_INIT=pause`: that process alone runs, and no program of the image.
    pub pause: bool,
    /// `BOXER_STRACE=1`: print system calls on standard error.
    pub strace: bool,
    /// `BOXER_DEBUG=1`: report unknown instructions and missing system calls on standard error.
    pub debug: bool,
}

impl Overrides {
    /// The environment variables that carry these overrides.
    pub fn to_env(&self) -> Vec<(&'static str, String)> {
        let mut env = Vec::new();
        let mut put = |name, value: Option<String>| env.extend(value.map(|value| (name, value)));
        put("BOXER_ENTRYPOINT", self.entrypoint.clone());
        put("BOXER_WORKDIR", self.workdir.clone());
        put("BOXER_USER", self.user.clone());
        put("BOXER_HOSTNAME", self.hostname.clone());
        let list = |words: &[String]| Some(words.join(",")).filter(|list| !list.is_empty());
        let hosts: Vec<String> =
            self.hosts.iter().map(|(name, address)| format!("{name}={address}")).collect();
        put("BOXER_ADD_HOST", list(&hosts));
        put("BOXER_DNS", list(&self.servers));
        put("BOXER_DNS_SEARCH", list(&self.search));
        put("BOXER_DNS_OPTION", list(&self.resolver_options));
        put("BOXER_CPU", self.cpu.clone());
        let size = self.tty_size.map(|(columns, rows)| format!("{columns}x{rows}"));
        let yes = size.unwrap_or_else(|| "1".to_owned());
        put("BOXER_TTY", self.tty.map(|is| if is { yes } else { "0".to_owned() }));
        let init = if self.pause { Some("pause") } else { self.init.then_some("1") };
        put("BOXER_INIT", init.map(str::to_owned));
        put("BOXER_STRACE", self.strace.then(|| "1".to_owned()));
        put("BOXER_DEBUG", self.debug.then(|| "1".to_owned()));
        env.extend(self.limits.to_env());
        env.extend(self.rights.to_env());
        env
    }
}

/// Everything about one run of a box.
#[derive(Default)]
pub struct RunOptions {
    /// Arguments; when there are any they replace CMD.
    pub args: Vec<String>,
    /// Environment, merged over the image's `Env`.
    pub env: Vec<(String, String)>,
    /// Host directories to mount.
    pub preopens: Vec<Preopen>,
    /// File systems in memory to mount.
    pub tmpfs: Vec<Tmpfs>,
    /// Replacements for the image's configuration.
    pub overrides: Overrides,
    /// Standard input.
    pub stdin: Input,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// A way out, and ports that lead in; a box starts with nothing.
    pub network: Option<Network>,
    /// Sockets of this system that a module finds in its file tree.
    pub sockets: Vec<Served>,
    /// Further descriptors of a module.
    pub descriptors: Vec<Descriptor>,
    /// Compiling hot code while a module runs. If it is off, code that came compiled with the box is interpreted, too.
    pub translation: Translation,
    /// Ends a module from outside.
    pub interrupt: Option<Interrupt>,
    /// Ends a module that has waited for so long.
    pub idle: Option<Duration>,
    /// Freezes it while it runs.
    pub freezer: Option<Freezer>,
    /// Records the run of a module that starts from its file: what is hot is then not compiled, and it cannot be frozen.
    pub record: Option<RecordTo>,
    /// Starts processes and reaches files in it while it runs.
    pub attach: Option<Attach>,
    /// Where the contents of a module's files are, if they are kept outside of it.
    pub outside: Option<Folder>,
}

impl Preopen {
    /// Its name for the box, if it is the one with this number.
    fn name(&self, number: usize) -> String {
        match self.mounted {
            // The directory itself stays out of sight.
            Mounted::File(_) => format!("/.boxer-file/{number}"),
            _ => self.guest.clone(),
        }
    }
}

/// `argv[0]` of a box.
const PROGRAM: &str = "box";

impl RunOptions {
    /// The same for another box, but for what only one can have: streams, network, descriptors, and what ends or freezes it.
    pub fn another(&self) -> RunOptions {
        RunOptions {
            args: self.args.clone(),
            env: self.env.clone(),
            preopens: self.preopens.clone(),
            tmpfs: self.tmpfs.clone(),
            overrides: self.overrides.clone(),
            sockets: self.sockets.clone(),
            translation: self.translation.clone(),
            idle: self.idle,
            ..RunOptions::default()
        }
    }

    /// The same for a box whose programs are under way: without what only the first program could be given.
    pub fn going_on(&self) -> RunOptions {
        let Overrides { hostname, hosts, servers, search, resolver_options, .. } = &self.overrides;
        let overrides = Overrides {
            hostname: hostname.clone(),
            hosts: hosts.clone(),
            servers: servers.clone(),
            search: search.clone(),
            resolver_options: resolver_options.clone(),
            limits: self.overrides.limits,
            strace: self.overrides.strace,
            debug: self.overrides.debug,
            ..Overrides::default()
        };
        RunOptions { args: Vec::new(), overrides, ..self.another() }
    }

    /// Sets everything but the standard streams.
    pub(crate) fn configure(&self, wasi: &mut WasiCtxBuilder) -> Result<(), RunError> {
        wasi.arg(PROGRAM).args(&self.args);
        for (name, value) in &self.env {
            wasi.env(name, value);
        }
        for (name, value) in self.overrides.to_env() {
            wasi.env(name, value);
        }
        if !self.translation.on {
            wasi.env("BOXER_TRANSLATE", "none");
        }
        let mounts = self.mounts();
        if !mounts.is_empty() {
            wasi.env("BOXER_MOUNTS", mounts);
        }
        for (number, preopen) in self.preopens.iter().enumerate() {
            let perms = if preopen.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            let name = preopen.name(number);
            wasi.preopened_dir(&preopen.host, name, perms).map_err(|error| RunError::Preopen {
                path: preopen.host.clone(),
                cause: format!("{error:#}"),
            })?;
        }
        // The box is this thread's only work; handing file operations to a pool costs more than they take.
        wasi.allow_blocking_current_thread(true);
        Ok(())
    }

    /// `BOXER_MOUNTS`: a line for each mount that is not just a directory, words between tabs.
    fn mounts(&self) -> String {
        let mut lines = Vec::new();
        for (number, preopen) in self.preopens.iter().enumerate() {
            let (name, guest) = (preopen.name(number), &preopen.guest);
            if !preopen.writable {
                lines.push(format!("ro\t{name}"));
            }
            match &preopen.mounted {
                Mounted::Directory => {}
                Mounted::File(file) => lines.push(format!("file\t{name}\t{file}\t{guest}")),
                Mounted::Volume => lines.push(format!("volume\t{guest}")),
            }
        }
        for tmpfs in &self.tmpfs {
            let mode = tmpfs.mode.unwrap_or(0o1777);
            let how = if tmpfs.read_only { "ro" } else { "rw" };
            let exec = if tmpfs.executable { "\texec" } else { "" };
            let size = tmpfs.size.map(|size| format!("\t{size}")).unwrap_or_default();
            lines.push(format!("tmpfs\t{}\t{mode:o}\t{how}{exec}{size}", tmpfs.guest));
        }
        lines.extend(self.sockets.iter().enumerate().map(|(port, socket)| socket.line(port)));
        lines.join("\n")
    }

    /// Tells a module the numbers of its further descriptors.
    pub(crate) fn name_descriptors(&self, wasi: &mut WasiCtxBuilder) {
        for (number, descriptor) in (descriptor::FIRST..).zip(&self.descriptors) {
            wasi.env(descriptor.variable, number.to_string());
        }
    }

    /// The number after those of the further descriptors.
    pub(crate) fn next_descriptor(&self) -> u32 {
        descriptor::FIRST + self.descriptors.len() as u32
    }
}
