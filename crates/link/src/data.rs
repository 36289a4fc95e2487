//! A box's data section: wizer's many segments and the image as few, laid so that a host can map the largest one.

use crate::image::Image;
use crate::place::{Extent, PAGE, WORTH_MAPPING};
use crate::section::{Counted, damaged, put, section_bytes};
use crate::{Content, LinkError};
use std::fs::File;
use wasm_encoder::{CustomSection, Encode, SectionId};
use wasmparser::{DataKind, Operator, Parser, Payload};

/// Name of the custom section that moves the data to where it can be mapped.
pub const ALIGN_SECTION: &str = "boxer.align";

/// Segments with no more zeros than this between them become one, in bytes. What a guest leaves below the image is
/// one segment with it then, and where little lies far apart is not.
const MAX_GAP: usize = 32 << 10;

/// The data section.
pub struct Data<'a> {
    /// Passive segments, encoded.
    passive: Vec<&'a [u8]>,
    /// In order of address.
    runs: Vec<Run<'a>>,
    /// The first run that is worth mapping.
    first: usize,
    image: Option<Image<'a>>,
}

/// A segment made from several, with zeros before and between them.
struct Run<'a> {
    address: usize,
    /// In order of address.
    pieces: Vec<Piece<'a>>,
}

/// Bytes that lie side by side.
struct Piece<'a> {
    address: usize,
    len: usize,
    bytes: Bytes<'a>,
}

/// Where bytes are.
#[derive(Clone, Copy)]
enum Bytes<'a> {
    /// In memory.
    Here(&'a [u8]),
    /// They are the root filesystem's image.
    Image,
    /// In a file, from this place on.
    In(&'a File, u64),
}

impl Piece<'_> {
    fn end(&self) -> usize {
        self.address + self.len
    }
}

impl<'a> Data<'a> {
    /// The data of a snapshot, and the image, which is read when the section is written.
    pub fn new(module: &'a [u8], image: Image<'a>) -> Result<Data<'a>, LinkError> {
        let mut passive = Vec::new();
        let mut pieces =
            vec![Piece { address: image.address, len: image.len, bytes: Bytes::Image }];
        let mut counted = false;
        for payload in Parser::new(0).parse_all(module) {
            let section = match payload.map_err(damaged)? {
                Payload::DataSection(section) => section,
                Payload::DataCountSection { .. } => {
                    counted = true;
                    continue;
                }
                _ => continue,
            };
            for segment in section {
                let segment = segment.map_err(damaged)?;
                match &segment.kind {
                    // Code may name a segment only where they are counted before it: else these are empty ones that the snapshot has left, and some hosts
                    // (wasm3) know no such kind.
                    DataKind::Passive if !counted => {}
                    // A segment's encoding is copied as it is.
                    DataKind::Passive => passive.push(
                        module
                            .get(segment.range.clone())
                            .ok_or_else(|| damaged("a data segment"))?,
                    ),
                    DataKind::Active { offset_expr, .. } => {
                        let address = constant(offset_expr)? as usize;
                        let (len, bytes) = (segment.data.len(), Bytes::Here(segment.data));
                        pieces.push(Piece { address, len, bytes });
                    }
                }
            }
        }
        Data::laid(passive, pieces, Some(image))
    }

    /// The data of a memory that consists of these extents, and passive segments as they are encoded.
    pub fn of_memory(passive: Vec<&'a [u8]>, extents: &'a [Extent]) -> Result<Data<'a>, LinkError> {
        let piece = |extent: &'a Extent| Piece {
            address: extent.address as usize,
            len: extent.len as usize,
            bytes: Bytes::In(&extent.file, extent.offset),
        };
        Data::laid(passive, extents.iter().map(piece).collect(), None)
    }

    fn laid(
        passive: Vec<&'a [u8]>,
        mut pieces: Vec<Piece<'a>>,
        image: Option<Image<'a>>,
    ) -> Result<Data<'a>, LinkError> {
        pieces.retain(|piece| piece.len > 0);
        // In order of address wasmtime can make its own image of memory in one pass, too.
        pieces.sort_by_key(|piece| piece.address);
        let mut runs: Vec<Run<'a>> = Vec::new();
        for piece in pieces {
            match runs.last_mut() {
                Some(run) if piece.address < run.end() => return Err(damaged("data overlaps")),
                Some(run) if piece.address - run.end() <= MAX_GAP => run.pieces.push(piece),
                _ => runs.push(Run { address: piece.address, pieces: vec![piece] }),
            }
        }
        let first = first_large(&runs);
        align(runs.get_mut(first..).unwrap_or_default());
        // Sections and segments have lengths of 32 bits.
        let encoded: usize = runs.iter().map(Run::encoded_len).sum();
        if encoded > u32::MAX as usize - (1 << 20) {
            return Err(LinkError::ImageTooLarge(encoded as u64));
        }
        Ok(Data { passive, runs, first, image })
    }

    /// How many segments there are.
    pub fn count(&self) -> u32 {
        (self.passive.len() + self.runs.len()) as u32
    }

    /// A section to be put before this one when it would begin at `at` in the file. With it large segments have the same
    /// place in a page of the file as in a page of memory.
    pub fn alignment(&self, at: u64) -> Vec<u8> {
        // Long enough for the section's length to take two bytes, whatever is added.
        const LEAST: usize = 128;
        let Some(first) = self.runs.get(self.first) else { return Vec::new() };
        let section = |len: usize| {
            section_bytes(&CustomSection { name: ALIGN_SECTION.into(), data: vec![0; len].into() })
        };
        let before: usize = self.runs[..self.first].iter().map(Run::encoded_len).sum();
        let offset =
            at as usize + section(LEAST).len() + self.head().len() + before + first.head().len();
        let padding = first.address.wrapping_sub(offset) % PAGE;
        section(LEAST + padding)
    }

    /// Writes the section.
    pub fn write(&mut self, out: &mut Counted<'_>) -> Result<(), LinkError> {
        put(out, &self.head())?;
        for run in &self.runs {
            put(out, &run.head())?;
            let mut at = run.address;
            for piece in &run.pieces {
                put(out, &vec![0; piece.address - at])?;
                match piece.bytes {
                    Bytes::Here(bytes) => put(out, bytes)?,
                    Bytes::Image => {
                        if let Some(image) = &mut self.image {
                            image.write(out)?;
                        }
                    }
                    Bytes::In(file, offset) => copy(file, offset, piece.len, out)?,
                }
                at = piece.end();
            }
        }
        Ok(())
    }

    /// The section up to the first segment of memory.
    fn head(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.count().encode(&mut body);
        self.passive.iter().for_each(|segment| body.extend_from_slice(segment));
        let len = body.len() + self.runs.iter().map(Run::encoded_len).sum::<usize>();
        let mut head = vec![u8::from(SectionId::Data)];
        len.encode(&mut head);
        head.extend_from_slice(&body);
        head
    }
}

/// Writes `len` bytes of a file from `offset` on.
fn copy(
    file: &File,
    mut offset: u64,
    mut len: usize,
    out: &mut Counted<'_>,
) -> Result<(), LinkError> {
    let mut buffer = vec![0; len.min(COPY_BUFFER)];
    while len > 0 {
        let most = buffer.len().min(len);
        let part = buffer.get_mut(..most).unwrap_or_default();
        Content::File(file)
            .read_at(part, offset)
            .map_err(|source| LinkError::Io { what: "read the box's memory", source })?;
        put(out, part)?;
        (offset, len) = (offset + most as u64, len - most);
    }
    Ok(())
}

const COPY_BUFFER: usize = 256 << 10;

/// The first run that a host would map, or the largest one.
fn first_large(runs: &[Run<'_>]) -> usize {
    let len = |run: &Run<'_>| run.end() - run.address;
    let large = runs.iter().position(|run| len(run) >= WORTH_MAPPING);
    let largest = || runs.iter().enumerate().max_by_key(|(_, run)| len(run)).map(|(n, _)| n);
    large.or_else(largest).unwrap_or(0)
}

/// Puts zeros before the first run, so that it begins where a page does, and before each large one that follows, so that it has
/// the same place in a page of the file as in a page of memory if the first one has. Between runs there is more room than that.
fn align(runs: &mut [Run<'_>]) {
    let Some((first, rest)) = runs.split_first_mut() else { return };
    first.address -= first.address % PAGE;
    let mut place = first.end() - first.address;
    for run in rest {
        if run.end() - run.address >= WORTH_MAPPING {
            // More zeros may make the numbers of its head longer, once or twice.
            for _ in 0..4 {
                let more = run.address.wrapping_sub(place + run.head().len()) % PAGE;
                run.address -= more;
            }
        }
        place += run.encoded_len();
    }
}

impl Run<'_> {
    fn end(&self) -> usize {
        self.pieces.last().map_or(self.address, Piece::end)
    }

    /// Its encoding up to its bytes.
    fn head(&self) -> Vec<u8> {
        let mut head = vec![0x00]; // active, memory 0
        wasm_encoder::ConstExpr::i32_const(self.address as i32).encode(&mut head);
        (self.end() - self.address).encode(&mut head);
        head
    }

    fn encoded_len(&self) -> usize {
        self.head().len() + self.end() - self.address
    }
}

/// The address in `i32.const N; end`, which is how wizer writes it.
fn constant(expr: &wasmparser::ConstExpr<'_>) -> Result<u32, LinkError> {
    match expr.get_operators_reader().read().map_err(damaged)? {
        Operator::I32Const { value } => Ok(value as u32),
        _ => Err(damaged("a data segment's address is not constant")),
    }
}
