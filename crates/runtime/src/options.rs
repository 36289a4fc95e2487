//! How a box is run.

use crate::descriptor::{self, Descriptor};
use crate::error::RunError;
use crate::stream::{Input, Output};
use rootfs::limits::Limits;
use std::path::PathBuf;
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
    /// `BOXER_CPU`: the processor that the programs see, by its psABI name (`x86-64-v3`).
    pub cpu: Option<String>,
    /// What the box may use.
    pub limits: Limits,
    /// `BOXER_TTY`: whether the standard streams are a terminal (`1` or `0`); none lets
    /// the box find out.
    pub tty: Option<bool>,
    /// `BOXER_TTY=COLSxROWS`: size of that terminal.
    pub tty_size: Option<(u16, u16)>,
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
        put("BOXER_CPU", self.cpu.clone());
        let size = self.tty_size.map(|(columns, rows)| format!("{columns}x{rows}"));
        let yes = size.unwrap_or_else(|| "1".to_owned());
        put("BOXER_TTY", self.tty.map(|is| if is { yes } else { "0".to_owned() }));
        put("BOXER_STRACE", self.strace.then(|| "1".to_owned()));
        put("BOXER_DEBUG", self.debug.then(|| "1".to_owned()));
        env.extend(self.limits.to_env());
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
    /// Replacements for the image's configuration.
    pub overrides: Overrides,
    /// Standard input.
    pub stdin: Input,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// Further descriptors of a module.
    pub descriptors: Vec<Descriptor>,
}

/// `argv[0]` of a box.
const PROGRAM: &str = "box";

impl RunOptions {
    /// Sets everything but the standard streams.
    pub(crate) fn configure(&self, wasi: &mut WasiCtxBuilder) -> Result<(), RunError> {
        wasi.arg(PROGRAM).args(&self.args);
        for (name, value) in &self.env {
            wasi.env(name, value);
        }
        for (name, value) in self.overrides.to_env() {
            wasi.env(name, value);
        }
        for preopen in &self.preopens {
            let perms = if preopen.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            wasi.preopened_dir(&preopen.host, &preopen.guest, perms).map_err(|error| {
                RunError::Preopen { path: preopen.host.clone(), cause: format!("{error:#}") }
            })?;
        }
        // The box is this thread's only work; handing file operations to a pool costs more than they take.
        wasi.allow_blocking_current_thread(true);
        Ok(())
    }

    /// Tells a module the numbers of its further descriptors.
    pub(crate) fn name_descriptors(&self, wasi: &mut WasiCtxBuilder) {
        for (number, descriptor) in (descriptor::FIRST..).zip(&self.descriptors) {
            wasi.env(descriptor.variable, number.to_string());
        }
    }
}
