//! A box whose files are kept outside of it: all but the contents of files stays in the module, and these are for the caller to keep, in chunks. The box asks its host
//! for each when a program touches it (`BOXER_IMAGE`).

use crate::place::{Extent, Segment};
use crate::refill::rewrite;
use crate::split::{Contents, split};
use crate::{Content, LinkError};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use translate::Place;
use wasm_encoder::SectionId;
use wasmparser::{BinaryReader, ExternalKind, Operator, Parser, Payload};

/// The exported global that holds the address of a [`Place`].
pub const PLACE_EXPORT: &str = "boxer-image";

/// Name of the custom section that says which chunks there are (JSON).
pub const CHUNKS_SECTION: &str = "boxer.chunks";

/// Bytes of a chunk; the last one may have fewer.
const CHUNK: u64 = translate::CHUNK as u64;

/// A box, and where the contents of its files are in it.
pub struct Outside {
    file: Arc<File>,
    contents: Contents,
    /// Address of the record.
    place: u32,
    /// First address of the contents of files, and the one behind the last.
    start: u32,
    end: u32,
}

impl Outside {
    /// Looks at a box in a file.
    ///
    /// # Errors
    /// It is no module of boxer's, none that can keep its files outside, or one that does already; or the file cannot be read.
    pub fn new(file: File) -> Result<Outside, LinkError> {
        let file = Arc::new(file);
        let parts = split(Content::File(&file)).map_err(read)?;
        let parts = parts.ok_or_else(|| unlike("it is no module of boxer's"))?;
        let place = exported(&parts.code)?;
        let mut outside = Outside { file, contents: parts.contents, place, start: 0, end: 0 };
        let record = outside.memory(place, Place::SIZE as u32)?;
        let word = |at: usize| {
            let bytes = record.get(at..).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let (address, len) = (word(0), word(4));
        let (front, is_outside) = (word(Place::FRONT_AT), word(Place::OUTSIDE_AT));
        let sound = address != 0 && front <= len && address.checked_add(len).is_some();
        if !sound || is_outside != 0 {
            return Err(unlike("its files are not in it"));
        }
        (outside.start, outside.end) = (address + front, address + len);
        Ok(outside)
    }

    /// Bytes of all contents of files, with what lies between them.
    pub fn len(&self) -> u64 {
        u64::from(self.end - self.start)
    }

    /// Whether there is nothing to keep outside.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of a chunk; the last one may have fewer.
    pub fn chunk_len(&self) -> u64 {
        CHUNK
    }

    /// Gives each chunk in order.
    ///
    /// # Errors
    /// The file cannot be read, or the caller's.
    pub fn chunks<E: From<LinkError>>(
        &self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = self.start;
        while at < self.end {
            let len = (CHUNK as u32).min(self.end - at);
            take(&self.memory(at, len)?)?;
            at += len;
        }
        Ok(())
    }

    /// Writes the box without them; `chunks` (JSON) is what [`CHUNKS_SECTION`] says.
    ///
    /// # Errors
    /// The file cannot be read, or `out` takes no more.
    pub fn write(&self, chunks: &[u8], out: &mut dyn Write) -> Result<(), LinkError> {
        let mut mark = tempfile::tempfile().map_err(read)?;
        mark.write_all(&1_u32.to_le_bytes()).map_err(read)?;
        let flag = self.place + Place::OUTSIDE_AT as u32;
        let mut extents = vec![Extent { address: flag, len: 4, file: Arc::new(mark), offset: 0 }];
        let cuts = [(flag, flag + 4), (self.start, self.end)];
        for segment in &self.contents.segments {
            for Segment { address, len, offset } in without(*segment, cuts) {
                extents.push(Extent { address, len, file: self.file.clone(), offset });
            }
        }
        let source = Content::File(&self.file);
        rewrite(source, self.contents.pages, &extents, (CHUNKS_SECTION, chunks), out)
    }

    /// Bytes of the box's memory.
    fn memory(&self, address: u32, len: u32) -> Result<Vec<u8>, LinkError> {
        let mut bytes = vec![0; len as usize];
        let end = u64::from(address) + u64::from(len);
        for segment in &self.contents.segments {
            let (from, to) = (segment.address.max(address), end.min(segment_end(segment)));
            if let Some(n @ 1..) = to.checked_sub(u64::from(from)) {
                let at = (from - address) as usize;
                let offset = segment.offset + u64::from(from - segment.address);
                let part = &mut bytes[at..at + n as usize];
                Content::File(&self.file).read_at(part, offset).map_err(read)?;
            }
        }
        Ok(bytes)
    }
}

/// What [`CHUNKS_SECTION`] says of a box; none if its files are in it, or it is no module.
///
/// # Errors
/// The content cannot be read.
pub fn chunks_of(content: Content<'_>) -> std::io::Result<Option<Vec<u8>>> {
    let size = content.size()?;
    let mut at = wasm_encoder::Module::HEADER.len() as u64;
    if size < at || content.bytes_at(0, at)? != wasm_encoder::Module::HEADER {
        return Ok(None);
    }
    while at < size {
        let head = content.bytes_at(at, (size - at).min(HEAD))?;
        let mut reader = BinaryReader::new(&head, 0);
        let (Ok(id), Ok(len)) = (reader.read_u8(), reader.read_var_u32()) else { return Ok(None) };
        let start = at + reader.original_position() as u64;
        at = start + u64::from(len);
        if id == SectionId::Custom as u8
            && reader.read_string().is_ok_and(|name| name == CHUNKS_SECTION)
        {
            // Its name, whose length takes one byte.
            let skip = 1 + CHUNKS_SECTION.len() as u64;
            return content.bytes_at(start + skip, u64::from(len) - skip).map(Some);
        }
    }
    Ok(None)
}

/// Bytes that hold the head of a section, with the name of ours.
const HEAD: u64 = 64;

fn segment_end(segment: &Segment) -> u64 {
    u64::from(segment.address) + u64::from(segment.len)
}

/// What is left of a segment without these ranges of addresses.
fn without(segment: Segment, cuts: [(u32, u32); 2]) -> Vec<Segment> {
    let mut rest = vec![segment];
    for (start, end) in cuts {
        rest = rest
            .iter()
            .flat_map(|segment| {
                let last = segment_end(segment);
                let head = u64::from(start).clamp(u64::from(segment.address), last);
                let tail = u64::from(end).clamp(head, last);
                let part = |from: u64, to: u64| Segment {
                    address: from as u32,
                    len: (to - from) as u32,
                    offset: segment.offset + (from - u64::from(segment.address)),
                };
                [part(u64::from(segment.address), head), part(tail, last)]
            })
            .filter(|segment| segment.len > 0)
            .collect();
    }
    rest
}

/// The constant that the module exports as [`PLACE_EXPORT`].
fn exported(code: &[u8]) -> Result<u32, LinkError> {
    let (mut values, mut imported, mut index) = (Vec::new(), 0, None);
    for payload in Parser::new(0).parse_all(code) {
        match payload.map_err(unlike)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let ty = import.map_err(unlike)?.ty;
                    imported += usize::from(matches!(ty, wasmparser::TypeRef::Global(_)));
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let init = global.map_err(unlike)?.init_expr;
                    values.push(match init.get_operators_reader().read().map_err(unlike)? {
                        Operator::I32Const { value } => Some(value as u32),
                        _ => None,
                    });
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(unlike)?;
                    if export.name == PLACE_EXPORT && export.kind == ExternalKind::Global {
                        index = Some(export.index as usize);
                    }
                }
            }
            _ => {}
        }
    }
    let index = index.and_then(|index| index.checked_sub(imported));
    let value = index.and_then(|index| values.get(index).copied().flatten());
    value.ok_or_else(|| unlike("it was built by a boxer whose boxes could not"))
}

fn read(source: std::io::Error) -> LinkError {
    LinkError::Io { what: "read the box", source }
}

fn unlike(what: impl std::fmt::Display) -> LinkError {
    LinkError::NotWasm(format!("its files cannot be kept outside: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_out_of_a_segment_is_gone_and_no_more() {
        let segment = Segment { address: 100, len: 100, offset: 7 };
        let parts = |cuts| {
            let all = without(segment, cuts).into_iter();
            all.map(|s| (s.address, s.len, s.offset)).collect::<Vec<_>>()
        };
        assert_eq!(parts([(0, 50), (200, 300)]), [(100, 100, 7)]);
        assert_eq!(parts([(110, 114), (150, 900)]), [(100, 10, 7), (114, 36, 21)]);
        assert_eq!(parts([(0, 110), (0, 0)]), [(110, 90, 17)]);
        assert_eq!(parts([(50, 300), (110, 120)]), []);
    }
}
