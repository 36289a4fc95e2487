//! Assembles a box: guest program + root filesystem image + configuration → one Wasm file.
//!
//! [`Linker::link`] instantiates the guest with no host behind it, copies the image into its linear
//! memory, lets it boot and mount (`wizer-initialize`), and writes the initialised state back as a
//! module. The guest is compiled once for each version of it and kept in the [`CodeCache`].
//!
//! The contract with the guest program (its exports):
//!
//! | export | meaning |
//! |---|---|
//! | `boxer-reserve(len: i32) -> i32` | page-aligned linear memory for the image; 0 when there is none |
//! | `boxer-config-reserve(len: i32) -> i32` | memory for the encoded [`rootfs::config::BoxConfig`]; 0 when there is none |
//! | `boxer-frozen-reserve(len: i32) -> i32` | memory for the table of frozen regions (`mem::frozen`), which is written after `wizer-initialize`; 0 when there is none |
//! | `boxer-life-begin() -> i32`, `boxer-life-step() -> i64`, `boxer-life-text(len: i32) -> i32`, `boxer-life-file() -> i32`, `boxer-life-ask(port: i32) -> i32`, `boxer-life-end(keep: i32) -> i32` | a life before the state is taken, for whoever has a host ([`Life`]; `guest::life` has their meaning) |
//! | `boxer-arena(len: i32)`, `boxer-program-begin(base: i32)`, `boxer-program-end()`, `preview1:NAME` | of the guest program for images whose program is a WASI module: what the linker makes the program's imports of (`merge`) |
//! | `boxer-component()` | if it is there, called first where the result is a component |
//! | `wizer-initialize()` | boots and mounts; calls no import |
//! | `boxer-start()` | runs the box as a WASI command, and the box's `_start`; can be called in a copy of memory made during such a call |
//! | `boxer-begin() -> i32`, `boxer-step(ms: i32) -> i64`, `boxer-ports() -> i64` | the same for a host that cannot wait inside of a call (`guest::step` has their meaning); kept in modules |
//! | `boxer-life` | where a host that freezes the box meets it (`mux::freeze`); kept in modules |
//! | `boxer-watch` | what programs have executed, for a host that follows them (`mux::watch`); kept in modules |
//! | `boxer-image` | where the image lies (`mem::Place`): its contents of files may be kept outside ([`Outside`]); kept in modules |
//! | `boxer-desk`, `__indirect_function_table` | where a host that compiles hot code finds requests (`mem::desk`) and puts functions; kept in modules |
//!
//! This crate knows neither Linux nor Dockerfiles, and gives a box no host: that is `runtime`'s part.

mod append;
mod boot;
mod cache;
mod component;
mod content;
mod data;
mod digest;
mod emit;
mod engine;
mod frozen;
mod guest;
mod image;
mod inspect;
mod life;
mod merge;
mod outside;
mod place;
mod program;
mod prune;
mod refill;
mod section;
mod snapshot;
mod split;
pub mod trust;

pub use boot::{BootError, ImageRange, Reserved, boot};
pub use cache::{CacheError, CodeCache};
pub use content::Content;
pub use digest::{Digest, digest_of, hex};
pub use engine::engine;
pub use frozen::{Frozen, FrozenReport};
pub use guest::{
    component_guest_wasm, guest_digest, guest_wasm, guest_wasm_without_simd, program_guest_wasm,
};
pub use inspect::{Format, Inspection, has_simd, inspect};
pub use life::Life;
pub use outside::{CHUNKS_SECTION, Outside, chunks_of};
pub use place::{Extent, PAGE, Segment, WORTH_MAPPING, place, populate};
pub use program::{Program, ProgramError};
pub use prune::NOTES;
pub use refill::refill;
pub use split::{Contents, MEMORY, Split, split};

use rootfs::config::BoxConfig;
use std::io::{Read, Write};

/// Name of the custom section that holds the OCI image configuration (JSON).
pub const CONFIG_SECTION: &str = "boxer.config";

/// Name of the custom section that says which life a box goes on with, and which box it came from (JSON, `runtime::Frozen`). A box
/// that starts with its programs has none.
pub const LIFE_SECTION: &str = "boxer.life";

/// Name of the custom section of a box that is one with a program: a WASI module beside the box's files. It is empty.
pub const PROGRAM_SECTION: &str = "boxer.program";

/// Name of the exported global by which a running box can be frozen.
pub const LIFE_EXPORT: &str = "boxer-life";

/// The largest image that fits a box: the 4 GiB of linear memory less room for the guest itself.
pub const MAX_IMAGE: u64 = (4 << 30) - (512 << 20);

/// Name of the custom section that says which code of the image is part of the box ([`FrozenReport`], JSON).
pub const FROZEN_SECTION: &str = "boxer.frozen";

/// What went wrong while linking.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// This build of Boxer has no guest program in it.
    #[error(
        "this build of boxer has no guest program in it; build it with `cargo xtask guest`, then build boxer again"
    )]
    NoGuest,
    /// The guest program is not a module that can be instrumented.
    #[error("the guest program cannot be linked: {0}")]
    Guest(String),
    /// The image is larger than linear memory allows.
    #[error("the root filesystem image has {0} bytes; a box can hold {MAX_IMAGE}")]
    ImageTooLarge(u64),
    /// Starting the guest failed.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The guest could not be compiled, or the cache of compiled code failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The code that was to become part of the box does not lie in the image.
    #[error("the training was made with another image")]
    OtherImage,
    /// The result could not be written, or the image could not be read.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// What the guest was to do before its state was taken did not come to that.
    #[error(transparent)]
    Life(Box<dyn std::error::Error + Send + Sync>),
    /// The image's program cannot be linked with its files.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A component could not be made from the module.
    #[error("cannot make a component: {0}")]
    Component(String),
    /// The file is not a Wasm module or component, or is damaged.
    #[error("not a box: {0}")]
    NotWasm(String),
}

/// The form of the output file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// A core module for WASI preview 1.
    #[default]
    Module,
    /// A component for WASI preview 2 (world `wasi:cli/command`).
    Component,
}

/// What goes into a box.
pub struct LinkInput<'a> {
    /// The root filesystem image; exactly `image_len` bytes are read.
    pub image: &'a mut dyn Read,
    /// Length of the image in bytes.
    pub image_len: u64,
    /// Bytes at its front that the guest needs to boot: all but the contents of files. The rest is never in memory, it goes
    /// straight to the output (but for a component).
    pub boot_len: u64,
    /// The box's run-time configuration.
    pub config: &'a BoxConfig,
    /// The OCI image configuration, kept in the section [`CONFIG_SECTION`].
    pub image_config_json: Option<&'a [u8]>,
    /// The form of the output.
    pub output: Output,
    /// Code of the image that becomes part of the box.
    pub frozen: Option<Frozen<'a>>,
}

/// Links boxes from one guest program.
pub struct Linker<'g> {
    guest: &'g [u8],
    cache: CodeCache,
    program: Option<&'g Program<'g>>,
}

impl<'g> Linker<'g> {
    /// A linker for the guest program `guest` (see [`guest_wasm`]) that keeps compiled code in `cache`.
    pub fn new(guest: &'g [u8], cache: CodeCache) -> Self {
        Linker { guest, cache, program: None }
    }

    /// The same for boxes whose program is a WASI module, with the guest program for these ([`program_guest_wasm`]).
    #[must_use]
    pub fn with_program(self, program: &'g Program<'g>) -> Self {
        Linker { program: Some(program), ..self }
    }

    /// Writes a box to `out`. The same input gives the same bytes.
    pub fn link(
        &self,
        input: LinkInput<'_>,
        out: &mut dyn Write,
    ) -> Result<Option<FrozenReport>, LinkError> {
        self.link_after(input, &mut snapshot::Unlived, out)
    }

    /// As [`Linker::link`], with a life between booting and taking the state: the box goes on where that ended.
    pub fn link_after<L: Life>(
        &self,
        mut input: LinkInput<'_>,
        life: &mut L,
        out: &mut dyn Write,
    ) -> Result<Option<FrozenReport>, LinkError> {
        if input.image_len > MAX_IMAGE {
            return Err(LinkError::ImageTooLarge(input.image_len));
        }
        let arena = self.program.map(|_| merge::ARENA);
        let mut state = snapshot::take(self.guest, &self.cache, &mut input, life, arena)?;
        if let Some(program) = self.program {
            state.module = merge::merge(&state.module, program)?;
        }
        let report = state.code.as_ref().map(|code| code.report);
        match input.output {
            Output::Module => {
                let (imports, json) = (emit::Imports::Preview1, input.image_config_json);
                emit::module(&state, imports, json, input.image, out)?;
            }
            Output::Component => {
                let mut core = Vec::new();
                emit::module(&state, emit::Imports::Component, None, input.image, &mut core)?;
                drop(state);
                let component = component::encode(core)?;
                component::write(&component, input.image_config_json, report, out)?;
                if self.program.is_some() {
                    merge::mark(out)?;
                }
            }
        }
        Ok(report)
    }
}
