//! Takes a module apart into its code and the contents of its memory.
//!
//! Boxes of one guest program have the same code: they differ in the size of memory and in what lies there. So the code is
//! a module of its own, without either, that is compiled once for all of them, and what lies in memory is put there when a
//! box is started ([`crate::place()`]).

use crate::Content;
use crate::place::Segment;
use std::io;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{DataCountSection, DataSection, MemorySection, RawSection, Section, SectionId};
use wasmparser::{
    BinaryReader, ExportSectionReader, ExternalKind, ImportSectionReader, MemorySectionReader,
    TypeRef,
};

/// The name by which the memory is exported, as WASI has it.
pub const MEMORY: &str = "memory";

/// Bytes of a page of linear memory.
pub(crate) const WASM_PAGE: u64 = 64 << 10;

/// The most data segments that engines accept in a module.
const MAX_SEGMENTS: u32 = 100_000;

/// A module taken apart.
#[derive(Debug)]
pub struct Split {
    /// The module with an empty memory. Of the custom sections the names of functions are left, for messages.
    pub code: Vec<u8>,
    /// What the memory holds, to be put there in this order.
    pub contents: Contents,
}

/// What a memory holds when the module is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Size in pages of 64 KiB.
    pub pages: u64,
    /// Its bytes that are not zero.
    pub segments: Vec<Segment>,
}

/// Takes a core module apart, reading its code only. None if that is no module, or one that means something else with its
/// memory filled afterwards: which has a start function, or a memory that is imported, shared, addressed by 64 bits, not the
/// only one or not exported; or whose segments have computed addresses or do not fit.
///
/// # Errors
/// The content cannot be read.
pub fn split(content: Content<'_>) -> io::Result<Option<Split>> {
    match Splitter::read(content) {
        Ok(splitter) => splitter.split().map(Some).or_else(unsuitable),
        Err(error) => unsuitable(error),
    }
}

/// Why there is no [`Split`].
enum Stop {
    Io(io::Error),
    Unsuitable,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        // A truncated module is for the compiler to complain about.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Stop::Unsuitable
        } else {
            Stop::Io(error)
        }
    }
}

impl From<wasmparser::BinaryReaderError> for Stop {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Stop::Unsuitable
    }
}

fn unsuitable(stop: Stop) -> io::Result<Option<Split>> {
    match stop {
        Stop::Io(error) => Err(error),
        Stop::Unsuitable => Ok(None),
    }
}

/// A section's id, place and length.
type SectionAt = (u8, u64, u64);

/// A module whose sections are known.
struct Splitter<'a> {
    content: Content<'a>,
    sections: Vec<SectionAt>,
    /// How many data segments there are.
    count: u32,
    /// Those that do not belong to the memory.
    data: Option<DataSection>,
    segments: Vec<Segment>,
}

impl<'a> Splitter<'a> {
    fn read(content: Content<'a>) -> Result<Splitter<'a>, Stop> {
        let size = content.size()?;
        let mut header = [0; 8];
        content.read_at(&mut header, 0)?;
        if header != wasm_encoder::Module::HEADER {
            return Err(Stop::Unsuitable);
        }
        let mut window = Window { content, size, start: 0, bytes: Vec::new() };
        let mut sections = Vec::new();
        let mut at = header.len() as u64;
        while at < size {
            let mut reader = BinaryReader::new(window.at(at)?, 0);
            let (id, len) = (reader.read_u8()?, u64::from(reader.read_var_u32()?));
            at += reader.original_position() as u64;
            if len > size - at {
                return Err(Stop::Unsuitable);
            }
            sections.push((id, at, len));
            at += len;
        }
        let mut splitter =
            Splitter { content, sections, count: 0, data: None, segments: Vec::new() };
        let mut known =
            splitter.sections.iter().filter(|section| section.0 != SectionId::Custom as u8);
        // The data section is the last one, if there is one.
        if let Some(&section) = known.find(|section| section.0 == SectionId::Data as u8) {
            if known.next().is_some() {
                return Err(Stop::Unsuitable);
            }
            splitter.read_data(section, &mut window)?;
        }
        Ok(splitter)
    }

    fn read_data(
        &mut self,
        (_, start, len): SectionAt,
        window: &mut Window<'_>,
    ) -> Result<(), Stop> {
        let end = start + len;
        let mut reader = BinaryReader::new(window.at(start)?, 0);
        let count = reader.read_var_u32()?;
        let mut at = start + reader.original_position() as u64;
        if count > MAX_SEGMENTS {
            return Err(Stop::Unsuitable);
        }
        self.count = count;
        // The code knows segments by number. One that has been put into memory is empty for it, as is one that never has
        // anything to give; behind the last other one they need not be there.
        let mut empty = 0;
        for _ in 0..count {
            let mut reader = BinaryReader::new(window.at(at)?, 0);
            let kind = reader.read_var_u32()?;
            let address = match kind {
                0 => Some(constant(&mut reader)?),
                1 => None,
                2 if reader.read_var_u32()? == 0 => Some(constant(&mut reader)?),
                _ => return Err(Stop::Unsuitable),
            };
            let len = reader.read_var_u32()?;
            let offset = at + reader.original_position() as u64;
            at = offset + u64::from(len);
            if at > end {
                return Err(Stop::Unsuitable);
            }
            match address {
                Some(address) => {
                    self.segments.push(Segment { address, len, offset });
                    empty += 1;
                }
                None => {
                    let data = self.data.get_or_insert_default();
                    for _ in 0..std::mem::take(&mut empty) {
                        data.passive([]);
                    }
                    data.passive(self.content.bytes_at(offset, u64::from(len))?);
                }
            }
        }
        if at == end { Ok(()) } else { Err(Stop::Unsuitable) }
    }

    fn split(self) -> Result<Split, Stop> {
        let mut code = wasm_encoder::Module::HEADER.to_vec();
        let (mut pages, mut exported) = (None, false);
        for &(id, at, len) in &self.sections {
            // The image's is not looked at.
            if id == SectionId::Data as u8 {
                if let Some(data) = &self.data {
                    data.append_to(&mut code);
                }
                continue;
            }
            if id == SectionId::Custom as u8 && !self.is_of_code(at, len)? {
                continue;
            }
            let bytes = self.content.bytes_at(at, len)?;
            let mut reader = BinaryReader::new(&bytes, 0);
            match id {
                id if id == SectionId::Start as u8 => return Err(Stop::Unsuitable),
                id if id == SectionId::Import as u8 => {
                    for import in ImportSectionReader::new(reader)?.into_imports() {
                        if matches!(import?.ty, TypeRef::Memory(_)) {
                            return Err(Stop::Unsuitable);
                        }
                    }
                }
                id if id == SectionId::Memory as u8 => {
                    let (min, section) = emptied(MemorySectionReader::new(reader)?)?;
                    pages = Some(min);
                    section.append_to(&mut code);
                    continue;
                }
                id if id == SectionId::Export as u8 => {
                    for export in ExportSectionReader::new(reader)? {
                        let export = export?;
                        exported |= export.name == MEMORY && export.kind == ExternalKind::Memory;
                    }
                }
                id if id == SectionId::DataCount as u8 => {
                    if reader.read_var_u32()? != self.count || !reader.eof() {
                        return Err(Stop::Unsuitable);
                    }
                    let count = self.data.as_ref().map_or(0, DataSection::len);
                    DataCountSection { count }.append_to(&mut code);
                    continue;
                }
                _ => {}
            }
            RawSection { id, data: &bytes }.append_to(&mut code);
        }
        let pages = pages.filter(|_| exported).ok_or(Stop::Unsuitable)?;
        let fits = |segment: &Segment| {
            u64::from(segment.address) + u64::from(segment.len) <= pages * WASM_PAGE
        };
        if !self.segments.iter().all(fits) {
            return Err(Stop::Unsuitable);
        }
        Ok(Split { code, contents: Contents { pages, segments: self.segments } })
    }

    /// Whether the custom section there says something of the code: its names, or which parts are hardly ever run.
    fn is_of_code(&self, at: u64, len: u64) -> Result<bool, Stop> {
        const NAMES: [&[u8]; 2] = [b"\x04name", b"\x19metadata.code.branch_hint"];
        for name in NAMES {
            let fits = len >= name.len() as u64;
            if fits && self.content.bytes_at(at, name.len() as u64)? == name {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The one memory's minimum, and the section with none.
fn emptied(memories: MemorySectionReader<'_>) -> Result<(u64, MemorySection), Stop> {
    if memories.count() != 1 {
        return Err(Stop::Unsuitable);
    }
    let memory = memories.into_iter().next().ok_or(Stop::Unsuitable)??;
    let too_large = memory.initial > memory.maximum.unwrap_or(u64::MAX).min(1 << 16);
    if memory.memory64 || memory.shared || memory.page_size_log2.is_some() || too_large {
        return Err(Stop::Unsuitable);
    }
    let mut section = MemorySection::new();
    let ty = RoundtripReencoder.memory_type(memory).map_err(|_| Stop::Unsuitable)?;
    section.memory(wasm_encoder::MemoryType { minimum: 0, ..ty });
    Ok((memory.initial, section))
}

/// The address in `i32.const N; end`.
fn constant(reader: &mut BinaryReader<'_>) -> Result<u32, Stop> {
    const I32_CONST: u8 = 0x41;
    const END: u8 = 0x0b;
    if reader.read_u8()? != I32_CONST {
        return Err(Stop::Unsuitable);
    }
    let address = reader.read_var_i32()? as u32;
    if reader.read_u8()? == END { Ok(address) } else { Err(Stop::Unsuitable) }
}

/// Reads heads of sections and segments, which may lie side by side or far apart.
struct Window<'a> {
    content: Content<'a>,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// More than any head has.
    const HEAD: u64 = 32;
    const READ: u64 = 4096;

    /// What is at `at`, at least [`HEAD`](Self::HEAD) bytes if there are so many.
    fn at(&mut self, at: u64) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if at < self.start || (at + Self::HEAD).min(self.size) > end {
            self.bytes = self.content.bytes_at(at, Self::READ.min(self.size.saturating_sub(at)))?;
            self.start = at;
        }
        Ok(self.bytes.get((at - self.start) as usize..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_text(text: &str) -> Option<Split> {
        split(Content::Bytes(&wat::parse_str(text).unwrap())).unwrap()
    }

    const BOX: &str = r#"(module (@custom "boxer.config" "{}")
        (memory (export "memory") 3 9)
        (func (export "_start") (memory.init 1 (i32.const 0) (i32.const 0) (i32.const 3)))
        (data (i32.const 65530) "0123456789")
        (data "abc")
        (data (i32.const 7) "at seven"))"#;

    #[test]
    fn code_and_contents_come_apart() {
        let wasm = wat::parse_str(BOX).unwrap();
        let Split { code, contents } = split(Content::Bytes(&wasm)).unwrap().unwrap();
        assert_eq!(contents.pages, 3);
        let bytes = |segment: &Segment| {
            let start = segment.offset as usize;
            (segment.address, &wasm[start..start + segment.len as usize])
        };
        let found: Vec<_> = contents.segments.iter().map(bytes).collect();
        assert_eq!(found, [(65530, &b"0123456789"[..]), (7, b"at seven")]);
        // What the code can still see: the second segment by its number, and an empty memory of the same greatest size.
        let expected = r#"(module (memory (export "memory") 0 9)
            (func (export "_start") (memory.init 1 (i32.const 0) (i32.const 0) (i32.const 3)))
            (data "") (data "abc"))"#;
        assert_eq!(code, wat::parse_str(expected).unwrap());
    }

    #[test]
    fn code_is_the_same_whatever_memory_holds() {
        let other = BOX.replace("3 9", "5 9").replace("0123456789", "").replace("{}", "other");
        assert_eq!(split_text(BOX).unwrap().code, split_text(&other).unwrap().code);
        let other = BOX.replace("(i32.const 3)", "(i32.const 2)");
        assert_ne!(split_text(BOX).unwrap().code, split_text(&other).unwrap().code);
    }

    #[test]
    fn a_file_and_its_bytes_come_apart_alike() {
        use std::io::Write;
        let wasm = wat::parse_str(BOX).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&wasm).unwrap();
        let (a, b) = (split(Content::File(&file)), split(Content::Bytes(&wasm)));
        let (a, b) = (a.unwrap().unwrap(), b.unwrap().unwrap());
        assert_eq!((a.code, a.contents), (b.code, b.contents));
    }

    #[test]
    fn what_would_mean_something_else_stays_whole() {
        for text in [
            "(module)",
            r#"(component)"#,
            r#"(module (memory 1))"#,
            r#"(module (memory (export "other") 1))"#,
            r#"(module (import "env" "memory" (memory 1)) (export "memory" (memory 0)))"#,
            r#"(module (memory (export "memory") 1 1 shared))"#,
            r#"(module (memory (export "memory") i64 1))"#,
            r#"(module (memory (export "memory") 1) (memory 1))"#,
            r#"(module (memory (export "memory") 1 (pagesize 1)))"#,
            r#"(module (memory (export "memory") 1) (func $f) (start $f))"#,
            r#"(module (memory (export "memory") 1) (data (i32.const 65536) "x"))"#,
            r#"(module (memory (export "memory") 1) (data (i32.const -1) "x"))"#,
            r#"(module (import "env" "g" (global i32)) (memory (export "memory") 1) (data (global.get 0) "x"))"#,
            r#"(module (memory (export "memory") 1) (data (i32.add (i32.const 1) (i32.const 1)) "x"))"#,
        ] {
            assert!(split_text(text).is_none(), "{text}");
        }
    }

    #[test]
    fn truncated_and_damaged_modules_stay_whole() {
        let wasm = wat::parse_str(BOX).unwrap();
        let segments = split_text(BOX).unwrap().contents.segments;
        for cut in 0..wasm.len() {
            // Between two sections it is another module, with all of the data or none.
            if let Some(left) = split(Content::Bytes(&wasm[..cut])).unwrap() {
                let left = left.contents.segments;
                assert!(left.is_empty() || left == segments, "{cut}: {left:?}");
            }
        }
        for at in 0..wasm.len() {
            for bit in 0..8 {
                let mut damaged = wasm.clone();
                damaged[at] ^= 1 << bit;
                if let Some(Split { contents, .. }) = split(Content::Bytes(&damaged)).unwrap() {
                    for Segment { address, len, offset } in contents.segments {
                        assert!(u64::from(address) + u64::from(len) <= contents.pages << 16);
                        assert!(offset + u64::from(len) <= damaged.len() as u64);
                    }
                }
            }
        }
    }
}
