//! Records of runs: what a box was answered, call by call, from which the same run is made again.
//!
//! All that a module sees of the outside is what the functions that it imports return and write into its memory. A record has
//! that, in order, and what each call was asked, so that a replay that goes another way is found out at once. Addresses are not in it: what is
//! written goes where the call of the replay says. docs/replay.md has the format.

pub mod blocks;
mod error;
pub mod event;
pub mod memory;
mod recording;

pub use error::RecordError;
pub use event::End;
pub use recording::{RecordTo, Recording};

use crate::calls::{CALLS, MODULE};
use mux::watch::{CALLS_AT, RETIRED_AT, STOPPED_AT, VERSION_AT};
use wasmtime::{AsContextMut, Instance, Module, Val};

/// Version of all that is in a record: a replay takes no other.
pub const VERSION: u32 = 1;

/// The import that is not answered.
pub const EXIT: &str = "proc_exit";

/// The box's [`mux::watch::Watch`], where it counts what programs have executed; nowhere in one that does not.
#[derive(Clone, Copy, Default)]
pub struct Counts(Option<u64>);

impl Counts {
    /// Those of this box.
    pub fn of(mut store: impl AsContextMut, instance: Instance) -> Counts {
        let mut found = || {
            let memory = instance.get_memory(&mut store, link::MEMORY)?;
            let global = instance.get_global(&mut store, mux::watch::EXPORT)?;
            let Val::I32(at) = global.get(&mut store) else { return None };
            let at = u64::from(at as u32);
            let version = memory::word(memory.data(&store), at + VERSION_AT as u64).ok()?;
            (version == mux::watch::VERSION).then_some(at)
        };
        Counts(found())
    }

    /// The address of the field at `place`.
    pub fn at(self, place: usize) -> Option<u64> {
        self.0.map(|at| at + place as u64)
    }

    /// What the field at `place` says; 0 where nothing is counted.
    fn long(self, memory: &[u8], place: usize) -> Result<u64, RecordError> {
        self.at(place).map_or(Ok(0), |at| memory::long(memory, at))
    }

    /// Instructions that were executed.
    pub fn retired(self, memory: &[u8]) -> Result<u64, RecordError> {
        self.long(memory, RETIRED_AT)
    }

    /// System calls that were made.
    pub fn calls(self, memory: &[u8]) -> Result<u64, RecordError> {
        self.long(memory, CALLS_AT)
    }

    /// Whether the box has stopped where it was told to.
    pub fn stopped(self, memory: &[u8]) -> Result<bool, RecordError> {
        self.at(STOPPED_AT).map_or(Ok(false), |at| Ok(memory::word(memory, at)? == 1))
    }
}

/// Whether all that a box imports can be recorded.
pub fn check_imports(module: &Module) -> Result<(), RecordError> {
    let is_known = |module: &str, name: &str| {
        module == MODULE && (name == EXIT || CALLS.iter().any(|call| call.name == name))
    };
    match module.imports().find(|import| !is_known(import.module(), import.name())) {
        Some(import) => Err(RecordError::Import(import.name().to_owned())),
        None => Ok(()),
    }
}
