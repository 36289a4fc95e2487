//! Writes the final module: wizer's snapshot with the image as one more data segment, the exports
//! that only the linker needs taken out, and the image configuration added.

use crate::append::Addition;
use crate::data::Data;
use crate::image::Image;
use crate::program::{PREVIEW1, START};
use crate::section::{Counted, damaged, put, section_bytes};
use crate::snapshot::State;
use crate::{CONFIG_SECTION, FROZEN_SECTION, LIFE_EXPORT, LinkError, component, outside};
use std::io::{Read, Write};
use translate::Pages;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{CustomSection, DataCountSection, ExportSection, ImportSection, RawSection};
use wasmparser::{ExportSectionReader, ImportSectionReader, Parser, Payload};

/// What a WASI command exports, and what a host needs that compiles hot code, freezes or follows the box, or steps it (nothing for a component's
/// host: it sees only what goes through interfaces).
const KEPT_EXPORTS: [&str; 10] = [
    "memory",
    START,
    "__indirect_function_table",
    "boxer-desk",
    outside::PLACE_EXPORT,
    LIFE_EXPORT,
    "boxer-watch",
    "boxer-begin",
    "boxer-step",
    "boxer-ports",
];

/// What the guest program has for that, if it has it: [`START`] of its C library works once, and a frozen box is started again.
const START_AGAIN: &str = "boxer-start";

/// What a component's core module exports: `cabi_realloc` is memory for what its imports return.
const COMPONENT_EXPORTS: [&str; 3] = ["memory", START, "cabi_realloc"];

/// Which host the module's imports are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imports {
    /// WASI preview 1, as the guest has them.
    Preview1,
    /// The same to be wrapped as a component, but with the exit status going to
    /// [`component::EXIT`] directly: the preview 1 adapter knows only success and failure.
    Component,
}

/// Writes the box as a core module.
pub fn module<T>(
    state: &State<T>,
    imports: Imports,
    image_config_json: Option<&[u8]>,
    rest: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<(), LinkError> {
    let (address, len, front) = state.image();
    let none = Pages::new();
    let pages = state.code.as_ref().map_or(&none, |code| &code.pages);
    let mut data =
        Data::new(&state.module, Image { address: address as usize, len, front, rest, pages })?;
    let out = &mut Counted::new(out);
    put(out, &wasm_encoder::Module::HEADER)?;
    let addition = match &state.code {
        Some(code) if !code.modules.is_empty() => Some(Addition::new(&state.module, code)?),
        _ => None,
    };
    let added = addition.as_ref();
    for payload in Parser::new(0).parse_all(&state.module) {
        let payload = payload.map_err(damaged)?;
        match (&payload, added) {
            (Payload::TypeSection(section), Some(added)) => {
                put(out, &section_bytes(&added.types(section)?))?;
            }
            (Payload::FunctionSection(section), Some(added)) => {
                put(out, &section_bytes(&added.functions(section)?))?;
            }
            (Payload::TableSection(section), Some(added)) => {
                put(out, &section_bytes(&added.tables(section)?))?;
            }
            (Payload::ElementSection(section), Some(added)) => {
                put(out, &section_bytes(&added.elements(section)?))?;
            }
            (Payload::CodeSectionStart { range, .. }, Some(added)) => {
                let (hints, code) = added.code(&state.module[range.clone()])?;
                put(out, &section_bytes(&hints))?;
                put(out, &section_bytes(&code))?;
            }
            (Payload::ImportSection(section), _) if imports == Imports::Component => {
                put(out, &section_bytes(&redirect_exit(section)?))?;
            }
            (Payload::ExportSection(exports), _) => {
                let kept = match imports {
                    Imports::Preview1 => &KEPT_EXPORTS[..],
                    Imports::Component => &COMPONENT_EXPORTS,
                };
                put(out, &section_bytes(&keep_exports(exports, kept)?))?;
            }
            (Payload::DataCountSection { .. }, _) => {
                put(out, &section_bytes(&DataCountSection { count: data.count() }))?;
            }
            (Payload::DataSection(_), _) => {
                put(out, &data.alignment(out.at))?;
                data.write(out)?;
            }
            (other, _) => {
                if let Some((id, range)) = other.as_section() {
                    put(out, &section_bytes(&RawSection { id, data: &state.module[range] }))?;
                }
            }
        }
    }
    if let Some(json) = image_config_json {
        put(
            out,
            &section_bytes(&CustomSection { name: CONFIG_SECTION.into(), data: json.into() }),
        )?;
    }
    if let (Some(code), Imports::Preview1) = (&state.code, imports) {
        let text = code.report.to_json();
        let data = text.as_bytes().into();
        put(out, &section_bytes(&CustomSection { name: FROZEN_SECTION.into(), data }))?;
    }
    out.flush()
}

/// The imports with `proc_exit`, which has the same type, replaced by [`component::EXIT`].
fn redirect_exit(imports: &ImportSectionReader<'_>) -> Result<ImportSection, LinkError> {
    let mut redirected = ImportSection::new();
    for import in imports.clone().into_imports() {
        let import = import.map_err(damaged)?;
        let (module, name) = match (import.module, import.name) {
            (PREVIEW1, "proc_exit") => component::EXIT,
            other => other,
        };
        let ty = RoundtripReencoder.entity_type(import.ty).map_err(damaged)?;
        redirected.import(module, name, ty);
    }
    Ok(redirected)
}

fn keep_exports(
    exports: &ExportSectionReader<'_>,
    names: &[&str],
) -> Result<ExportSection, LinkError> {
    let mut kept = ExportSection::new();
    let all: Vec<_> = exports.clone().into_iter().collect::<Result<_, _>>().map_err(damaged)?;
    let again = all.iter().any(|export| export.name == START_AGAIN);
    for mut export in all {
        if export.name == if again { START_AGAIN } else { START } {
            export.name = START;
        } else if export.name == START {
            continue;
        }
        if names.contains(&export.name) {
            RoundtripReencoder.parse_export(&mut kept, export).map_err(damaged)?;
        }
    }
    Ok(kept)
}
