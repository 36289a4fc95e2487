//! Writes a box anew with other contents of its memory: a running box that was frozen.

use crate::data::{ALIGN_SECTION, Data};
use crate::place::Extent;
use crate::section::{Counted, put, section_bytes};
use crate::split::split;
use crate::{Content, LIFE_SECTION, LinkError};
use std::io::Write;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{CustomSection, DataCountSection, MemorySection, RawSection, SectionId};
use wasmparser::{BinaryReader, GlobalSectionReader, MemorySectionReader, Parser, Payload};

/// Writes the box in `source`, a module, with a memory of so many pages of 64 KiB that holds `extents`, which do not overlap, and nothing
/// else. Code, tables and configuration stay; `life` (JSON) is what [`LIFE_SECTION`] says of it.
///
/// # Errors
/// The box is not like ours, a file cannot be read, or `out` takes no more.
pub fn refill(
    source: Content<'_>,
    pages: u64,
    extents: &[Extent],
    life: &[u8],
    out: &mut dyn Write,
) -> Result<(), LinkError> {
    rewrite(source, pages, extents, (LIFE_SECTION, life), out)
}

/// The same with a custom section of any name, which takes the place of one that was there.
pub fn rewrite(
    source: Content<'_>,
    pages: u64,
    extents: &[Extent],
    (name, text): (&str, &[u8]),
    out: &mut dyn Write,
) -> Result<(), LinkError> {
    let read = |source| LinkError::Io { what: "read the box", source };
    let size = source.size().map_err(read)?;
    let out = &mut Counted::new(out);
    put(out, &wasm_encoder::Module::HEADER)?;
    let mut at = wasm_encoder::Module::HEADER.len() as u64;
    let mut wrote_data = false;
    let parts = split(source).map_err(read)?.ok_or_else(|| unlike("it is no module of boxer's"))?;
    let mut data = Data::of_memory(passive(&parts.code)?, extents)?;
    while at < size {
        let head = source.bytes_at(at, (size - at).min(16)).map_err(read)?;
        let mut reader = BinaryReader::new(&head, 0);
        let id = reader.read_u8().map_err(unlike)?;
        let len = u64::from(reader.read_var_u32().map_err(unlike)?);
        let start = at + reader.original_position() as u64;
        at = start + len;
        if id == SectionId::Data as u8 {
            put(out, &data.alignment(out.at))?;
            data.write(out)?;
            wrote_data = true;
            continue;
        }
        let bytes = source.bytes_at(start, len).map_err(read)?;
        let reader = BinaryReader::new(&bytes, 0);
        match id {
            id if id == SectionId::Memory as u8 => {
                put(out, &section_bytes(&memory(&bytes, pages)?))?;
            }
            id if id == SectionId::DataCount as u8 => {
                put(out, &section_bytes(&DataCountSection { count: data.count() }))?;
            }
            id if id == SectionId::Custom as u8 && is_replaced(reader.clone(), name) => {}
            id => {
                if id == SectionId::Global as u8 {
                    check_globals(reader)?;
                }
                put(out, &section_bytes(&RawSection { id, data: &bytes }))?;
            }
        }
    }
    if !wrote_data {
        return Err(unlike("it has no data"));
    }
    put(out, &section_bytes(&CustomSection { name: name.into(), data: text.into() }))?;
    out.flush()
}

/// The segments that code knows by their numbers, which are passive once memory is filled, encoded. It can only where they are
/// counted before it.
fn passive(code: &[u8]) -> Result<Vec<&[u8]>, LinkError> {
    let mut segments = Vec::new();
    let mut counted = false;
    for payload in Parser::new(0).parse_all(code) {
        let section = match payload.map_err(unlike)? {
            Payload::DataSection(section) if counted => section,
            Payload::DataCountSection { .. } => {
                counted = true;
                continue;
            }
            _ => continue,
        };
        for segment in section {
            let range = segment.map_err(unlike)?.range;
            segments.push(code.get(range).ok_or_else(|| unlike("a segment"))?);
        }
    }
    Ok(segments)
}

fn is_replaced(mut reader: BinaryReader<'_>, name: &str) -> bool {
    reader.read_string().is_ok_and(|found| found == ALIGN_SECTION || found == name)
}

/// The one memory, with another size.
fn memory(section: &[u8], pages: u64) -> Result<MemorySection, LinkError> {
    let reader = MemorySectionReader::new(BinaryReader::new(section, 0)).map_err(unlike)?;
    let memory = reader.into_iter().next().ok_or_else(|| unlike("no memory"))?.map_err(unlike)?;
    let ty = RoundtripReencoder.memory_type(memory).map_err(unlike)?;
    let mut memories = MemorySection::new();
    memories.memory(wasm_encoder::MemoryType { minimum: pages, ..ty });
    Ok(memories)
}

/// All state is in memory: the one variable global is the pointer to the stack, which a start begins anew.
fn check_globals(reader: BinaryReader<'_>) -> Result<(), LinkError> {
    let mut variable = 0;
    for global in GlobalSectionReader::new(reader).map_err(unlike)? {
        variable += u32::from(global.map_err(unlike)?.ty.mutable);
    }
    if variable <= 1 { Ok(()) } else { Err(unlike("it keeps state outside of its memory")) }
}

fn unlike(what: impl std::fmt::Display) -> LinkError {
    LinkError::NotWasm(format!("it cannot be written with another memory: {what}"))
}
