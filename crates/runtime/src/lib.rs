//! Runs boxes under wasmtime: `boxer run`, and the RUN steps of a build.
//!
//! [`Runtime::run_file`] runs a finished box, a core module or a component; [`Runtime::run_step`] boots
//! the guest program on a root filesystem image without making a box of it first. This crate knows
//! nothing of Linux or Dockerfiles: a box is a WASI command, steered by the environment variables of
//! [`Overrides`].

mod bridge;
mod calls;
mod descriptor;
mod error;
mod exec;
mod freeze;
mod frozen;
mod identity;
mod interrupt;
mod life;
mod load;
mod network;
mod options;
mod outside;
mod preview1;
mod record;
mod replay;
mod run;
mod signals;
mod step;
mod stream;
mod terminal;
mod training;
mod translator;
mod truncated;
mod whole;

pub use descriptor::Descriptor;
pub use error::RunError;
pub use exec::{
    Attach, Bound, Command, ExecError, Exit, File, Files, Measure, Measured, Process, Seen, Stdin,
    StreamReader, Usage, Watch,
};
pub use freeze::{FreezeError, FreezeOn, Freezer, Next};
pub use frozen::{Fork, Frozen};
pub use interrupt::Interrupt;
pub use life::{FirstLife, LifeError, Until};
pub use mux::exec::{Entry, OpenFlags, Stat};
pub use network::{
    Caller, Door, Grant, Network, NetworkEvent, NetworkReport, Policy, Port, Protocol,
    PublishError, Published, Served, Traffic, Transport,
};
pub use options::{Mounted, Overrides, Preopen, RunOptions, Tmpfs};
pub use outside::{Chunks, Folder, Touched};
pub use record::{RecordError, RecordTo};
pub use replay::{About, Record, ReplayOptions, Replayed, StopAt};
pub use run::Outcome;
pub use signals::{FORWARDED, Forwarding, Signals};
pub use step::{LAYER_FILE, StepInput};
pub use stream::{Input, Output};
pub use terminal::{RawTerminal, is_terminal, size as terminal_size};
pub use training::{Besides, Hot, Patience, Trained};
pub use translator::Translation;

use link::CodeCache;
use std::path::Path;

/// Runs boxes; holds the engine and the cache of compiled code.
pub struct Runtime {
    cache: CodeCache,
}

impl Runtime {
    /// A runtime that keeps compiled code in `cache`.
    pub fn new(cache: CodeCache) -> Self {
        Runtime { cache }
    }

    /// A runtime with an engine of its own and compiled code in the directory `cache_dir`.
    pub fn with_cache_dir(cache_dir: &Path) -> Result<Self, RunError> {
        let engine = link::engine().map_err(|error| RunError::Engine(format!("{error:#}")))?;
        Ok(Runtime { cache: CodeCache::new(engine, cache_dir) })
    }

    /// The cache of compiled code, to share with a [`link::Linker`].
    pub fn cache(&self) -> &CodeCache {
        &self.cache
    }

    /// Runs the box in a file. What lies in the box's memory is mapped from there, so the file must stay as it is: in one that
    /// is modified the program may see either, and one that becomes shorter ends this process (SIGBUS) with a message. A file may be
    /// removed, or another renamed to its name.
    pub fn run_file(&self, path: &Path, options: RunOptions) -> Result<Outcome, RunError> {
        while_it_runs(options, |options| {
            let source = identity::Source::file(path)?;
            run::run(&self.cache, &source, options)
        })
    }

    /// The state in which the box in a file starts, for boxes that start from it one after the other, or beside each other.
    ///
    /// # Errors
    /// It cannot be read, or it is a component.
    pub fn state_of_file(&self, path: &Path) -> Result<Frozen, RunError> {
        Frozen::of(&self.cache, &identity::Source::file(path)?)
    }

    /// Runs a box held in memory.
    pub fn run_bytes(&self, wasm: &[u8], options: RunOptions) -> Result<Outcome, RunError> {
        while_it_runs(options, |options| {
            let source = identity::Source::bytes(wasm)?;
            run::run(&self.cache, &source, options)
        })
    }

    /// Runs the box in a file by a record of a run of it, which gives the same instructions, output and status.
    ///
    /// # Errors
    /// See [`RunError`]; the record is of another box, or what the box does is not what it says.
    pub fn replay(
        &self,
        record: Record,
        path: &Path,
        options: ReplayOptions,
    ) -> Result<Replayed, RunError> {
        replay::replay(&self.cache, record, &identity::Source::file(path)?, options)
    }

    /// Compiles the box in a file, so that running it later starts at once.
    pub fn prepare_file(&self, path: &Path) -> Result<(), RunError> {
        let source = identity::Source::file(path)?;
        run::prepare(&self.cache, &source).map(drop)
    }

    /// As [`prepare_file`](Self::prepare_file) for a file that was just written: waits some milliseconds, if need be, so that
    /// what was found out about it is remembered.
    pub fn settle_file(&self, path: &Path) -> Result<(), RunError> {
        let source = identity::Source::file(path)?;
        let key = run::prepare(&self.cache, &source)?;
        source.settle();
        source.parts(&self.cache)?;
        self.cache.settle(&key);
        Ok(())
    }

    /// Boots the guest on an image and runs one command in it; see [`StepInput`].
    pub fn run_step(&self, input: StepInput<'_>, options: RunOptions) -> Result<Outcome, RunError> {
        step::run(&self.cache, input, options)
    }

    /// As [`Runtime::run_step`], to find out which code of the image is to become part of its box; what the command changes is dropped.
    pub fn train(
        &self,
        input: StepInput<'_>,
        options: RunOptions,
        patience: Patience,
        besides: Besides,
    ) -> Result<(Outcome, Trained), RunError> {
        training::train(&self.cache, input, options, patience, besides)
    }
}

/// Runs a box: whoever still waits for it afterwards hears that it is over, even if it never started.
fn while_it_runs<T>(options: RunOptions, run: impl FnOnce(RunOptions) -> T) -> T {
    let attach = options.attach.clone();
    let result = freeze::while_it_runs(options.freezer.clone(), || run(options));
    attach.iter().for_each(Attach::end);
    result
}
