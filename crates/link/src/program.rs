//! A program that is a WASI module itself: what can be linked with a box's files, and why another cannot.

use wasmparser::{
    Encoding, ExternalKind, MemoryType, Parser, Payload, TypeRef, ValidPayload, Validator,
    WasmFeatures,
};

/// The one module of imports that a box can give.
pub const PREVIEW1: &str = "wasi_snapshot_preview1";

/// What a host calls to run a command, or a box.
pub const START: &str = "_start";

/// What a host calls to ready a library (a "reactor"), whose functions it calls afterwards.
const INITIALIZE: &str = "_initialize";

/// A module that was looked at: a command of WASI preview 1, with one memory of its own.
#[derive(Debug)]
pub struct Program<'a> {
    /// Its bytes, which are valid.
    pub(crate) bytes: &'a [u8],
}

/// Why a module cannot be the program of a box.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// It is not valid WebAssembly.
    #[error("it is not a valid WebAssembly module: {0}")]
    Invalid(String),
    /// It is a component.
    #[error(
        "it is a component (WASI preview 2): only core modules of WASI preview 1 are linked with a box's files"
    )]
    Component,
    /// It is a library.
    #[error(
        "it is a reactor: it has `{INITIALIZE}` and no `{START}`, so there is no program to run"
    )]
    Reactor,
    /// There is nothing to run.
    #[error(
        "it exports no function `{START}` without parameters and results, so there is no program to run"
    )]
    NoStart,
    /// It asks for something that is not WASI's.
    #[error("it imports `{module}.{name}`: a box gives functions of `{PREVIEW1}` alone")]
    Import {
        /// The module.
        module: String,
        /// The name in it.
        name: String,
    },
    /// It takes a function of WASI for another.
    #[error("it imports `{PREVIEW1}.{0}` with parameters or results that are not WASI's")]
    Signature(String),
    /// It has another kind of memory.
    #[error("its memory {0}")]
    Memory(&'static str),
    /// Together with the box's own it would not fit.
    #[error(
        "its memory begins with {pages} pages of 64 KiB; beside the box's files there is room for {room}"
    )]
    TooLarge {
        /// What it asks for.
        pages: u64,
        /// What there is.
        room: u64,
    },
}

/// What engines take by default, as the specification's version 3 and the finished proposals; what a box cannot keep apart is found below.
fn features() -> WasmFeatures {
    WasmFeatures::default() | WasmFeatures::THREADS
}

impl<'a> Program<'a> {
    /// Looks at a module.
    ///
    /// # Errors
    /// It is damaged, or cannot be the program of a box.
    pub fn read(bytes: &'a [u8]) -> Result<Program<'a>, ProgramError> {
        let invalid = |error: wasmparser::Error| ProgramError::Invalid(error.to_string());
        let mut validator = Validator::new_with_features(features());
        let mut memories = Vec::new();
        let (mut start, mut initialize, mut memory) = (None, false, false);
        let mut types = None;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(invalid)?;
            match &payload {
                Payload::Version { encoding: Encoding::Component, .. } => {
                    return Err(ProgramError::Component);
                }
                Payload::ImportSection(section) => {
                    for import in section.clone().into_imports() {
                        let import = import.map_err(invalid)?;
                        let known = import.module == PREVIEW1;
                        if !known || !matches!(import.ty, TypeRef::Func(_)) {
                            let (module, name) = (import.module.into(), import.name.into());
                            return Err(ProgramError::Import { module, name });
                        }
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section.clone() {
                        memories.push(memory.map_err(invalid)?);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section.clone() {
                        let export = export.map_err(invalid)?;
                        match (export.name, export.kind) {
                            (START, ExternalKind::Func) => start = Some(export.index),
                            (INITIALIZE, ExternalKind::Func) => initialize = true,
                            ("memory", ExternalKind::Memory) => memory = true,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
            match validator.payload(&payload).map_err(invalid)? {
                ValidPayload::Func(function, body) => {
                    function.into_validator(Default::default()).validate(&body).map_err(invalid)?;
                }
                ValidPayload::End(all) => types = Some(all),
                _ => {}
            }
        }
        let is_command = |function: u32| {
            types.as_ref().is_some_and(|types| {
                let types = types.as_ref();
                let ty = types[types.core_function_at(function)].unwrap_func();
                ty.params().is_empty() && ty.results().is_empty()
            })
        };
        match start {
            Some(start) if is_command(start) => {}
            None if initialize => return Err(ProgramError::Reactor),
            _ => return Err(ProgramError::NoStart),
        }
        usable(&memories)?;
        if !memory {
            return Err(ProgramError::Memory("is not exported as `memory`, as WASI wants it"));
        }
        Ok(Program { bytes })
    }
}

fn usable(memories: &[MemoryType]) -> Result<(), ProgramError> {
    let unusable = match memories {
        [] => "is missing: it has none of its own",
        [memory] if memory.memory64 => "is addressed by 64 bits (memory64)",
        [memory] if memory.shared => "is shared (threads)",
        [memory] if memory.page_size_log2.is_some() => {
            "has pages of another size (custom page sizes)"
        }
        [_] => return Ok(()),
        _ => "is not the only one (multiple memories)",
    };
    Err(ProgramError::Memory(unusable))
}
