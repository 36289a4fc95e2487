//! Writes the final module: wizer's snapshot with the image as one more data segment, the exports
//! that only the linker needs taken out, and the image configuration added.

use crate::append::Addition;
use crate::snapshot::State;
use crate::{CONFIG_SECTION, FROZEN_SECTION, LinkError, component};
use std::io::{Read, Write};
use translate::{PAGE_SIZE, Pages};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CustomSection, DataCountSection, Encode, ExportSection, ImportSection, RawSection, Section,
    SectionId,
};
use wasmparser::{
    DataKind, DataSectionReader, ExportSectionReader, ImportSectionReader, Parser, Payload,
};

/// What a WASI command exports, and what a host needs that compiles hot code (nothing for a component's host: it sees
/// only what goes through interfaces).
const KEPT_EXPORTS: [&str; 4] = ["memory", "_start", "__indirect_function_table", "boxer-desk"];

/// What a component's core module exports: `cabi_realloc` is memory for what its imports return.
const COMPONENT_EXPORTS: [&str; 3] = ["memory", "_start", "cabi_realloc"];

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
pub fn module(
    state: &State,
    imports: Imports,
    image_config_json: Option<&[u8]>,
    rest: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<(), LinkError> {
    let (address, len, front) = state.image();
    let none = Pages::new();
    let pages = state.code.as_ref().map_or(&none, |code| &code.pages);
    let mut image = Image { address, len, front, rest, pages };
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
                put(out, &section_bytes(&added.code(&state.module[range.clone()])?))?;
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
            (Payload::DataCountSection { count, .. }, _) => {
                let count = count + u32::from(len > 0);
                put(out, &section_bytes(&DataCountSection { count }))?;
            }
            (Payload::DataSection(data), _) => data_section(&state.module, data, &mut image, out)?,
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
    out.flush().map_err(|source| LinkError::Io { what: "write the module", source })
}

/// The imports with `proc_exit`, which has the same type, replaced by [`component::EXIT`].
fn redirect_exit(imports: &ImportSectionReader<'_>) -> Result<ImportSection, LinkError> {
    let mut redirected = ImportSection::new();
    for import in imports.clone().into_imports() {
        let import = import.map_err(damaged)?;
        let (module, name) = match (import.module, import.name) {
            ("wasi_snapshot_preview1", "proc_exit") => component::EXIT,
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
    for export in exports.clone() {
        let export = export.map_err(damaged)?;
        if names.contains(&export.name) {
            RoundtripReencoder.parse_export(&mut kept, export).map_err(damaged)?;
        }
    }
    Ok(kept)
}

/// The data section with the image among the segments, in order of address: wasmtime builds its
/// copy-on-write memory image in one pass only when they are in order.
fn data_section(
    module: &[u8],
    data: &DataSectionReader<'_>,
    image: &mut Image<'_>,
    out: &mut dyn Write,
) -> Result<(), LinkError> {
    let address = image.address;
    let mut before = Vec::new();
    let mut after = Vec::new();
    for segment in data.clone() {
        let segment = segment.map_err(damaged)?;
        let above = match &segment.kind {
            DataKind::Passive => false,
            DataKind::Active { offset_expr, .. } => offset(offset_expr)? > address,
        };
        // A segment's encoding is copied as it is.
        let bytes = module.get(segment.range.clone()).ok_or_else(|| damaged("a data segment"))?;
        if above { after.extend_from_slice(bytes) } else { before.extend_from_slice(bytes) }
    }
    let mut head = Vec::new();
    if image.len > 0 {
        head.push(0x00); // active, memory 0
        wasm_encoder::ConstExpr::i32_const(address as i32).encode(&mut head);
        image.len.encode(&mut head);
    }
    let mut count = Vec::new();
    (data.count() + u32::from(image.len > 0)).encode(&mut count);
    let len = count.len() + before.len() + head.len() + image.len + after.len();
    let mut section = vec![u8::from(SectionId::Data)];
    u32::try_from(len)
        .map_err(|_| LinkError::ImageTooLarge(image.len as u64))?
        .encode(&mut section);
    for part in [&section, &count, &before, &head] {
        put(out, part)?;
    }
    image.write(out)?;
    put(out, &after)
}

/// The root filesystem image: its front as the guest left it, and the rest as it comes.
struct Image<'a> {
    address: u32,
    len: usize,
    front: &'a [u8],
    rest: &'a mut dyn Read,
    /// What the code was made from that is added: it must be in the image.
    pages: &'a Pages,
}

impl Image<'_> {
    fn write(&mut self, out: &mut dyn Write) -> Result<(), LinkError> {
        put(out, self.front)?;
        self.compare(0, self.front)?;
        let mut place = self.front.len();
        let mut left = self.len.saturating_sub(self.front.len());
        let mut buffer = vec![0; COPY_BUFFER];
        while left > 0 {
            let most = buffer.len().min(left);
            let chunk = buffer.get_mut(..most).unwrap_or_default();
            self.rest.read_exact(chunk).map_err(|source| LinkError::Io {
                what: "read the root filesystem image",
                source,
            })?;
            put(out, chunk)?;
            self.compare(place, chunk)?;
            (left, place) = (left - most, place + most);
        }
        Ok(())
    }

    /// Compares bytes of the image with [`Self::pages`]; a piece of it ends where a page does.
    fn compare(&self, place: usize, bytes: &[u8]) -> Result<(), LinkError> {
        let start = place as u32;
        for (page, expected) in self.pages.range(start..start.saturating_add(bytes.len() as u32)) {
            let at = (page - start) as usize;
            let real = bytes.get(at..bytes.len().min(at + PAGE_SIZE)).unwrap_or_default();
            let (same, beyond) = expected.split_at(real.len());
            if real != same || beyond.iter().any(|byte| *byte != 0) {
                return Err(LinkError::OtherImage);
            }
        }
        Ok(())
    }
}

const COPY_BUFFER: usize = 256 << 10;

/// The address in `i32.const N; end`, which is how wizer writes it.
fn offset(expr: &wasmparser::ConstExpr<'_>) -> Result<u32, LinkError> {
    match expr.get_operators_reader().read().map_err(damaged)? {
        wasmparser::Operator::I32Const { value } => Ok(value as u32),
        _ => Err(damaged("a data segment's address is not constant")),
    }
}

fn damaged(error: impl std::fmt::Display) -> LinkError {
    LinkError::Guest(format!("the snapshot is damaged: {error}"))
}

fn section_bytes(section: &impl Section) -> Vec<u8> {
    let mut bytes = Vec::new();
    section.append_to(&mut bytes);
    bytes
}

fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<(), LinkError> {
    out.write_all(bytes).map_err(|source| LinkError::Io { what: "write the module", source })
}
