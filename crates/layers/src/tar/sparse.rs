//! Sparse files: which parts of the file the archive holds.

use super::BLOCK;
use super::header::{Header, number};
use super::pax;
use crate::{Error, Result};

/// Offset and length of each stored part, and the file's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    pub segments: Vec<(u64, u64)>,
    pub size: u64,
}

impl Map {
    /// Checks order, bounds and that the parts are as long as what is stored.
    pub fn new(numbers: &[u64], size: u64, stored: u64) -> Result<Map> {
        let corrupt = Error::Corrupt("a sparse file's map");
        if !numbers.len().is_multiple_of(2) {
            return Err(corrupt);
        }
        let (mut end, mut total) = (0u64, 0u64);
        let mut segments = Vec::with_capacity(numbers.len() / 2);
        for pair in numbers.chunks_exact(2) {
            let [offset, len] = [pair[0], pair[1]];
            match offset.checked_add(len) {
                Some(next) if offset >= end && next <= size => end = next,
                _ => return Err(corrupt),
            }
            total += len;
            if len > 0 {
                segments.push((offset, len));
            }
        }
        match total == stored {
            true => Ok(Map { segments, size }),
            false => Err(corrupt),
        }
    }
}

/// The numbers in an old GNU header (`S`) or in one of its continuation blocks, and whether another
/// continuation block follows. Entries end at the first that is empty.
pub fn gnu_numbers(block: &[u8], extended: bool, numbers: &mut Vec<u64>) -> Result<bool> {
    let (start, count, flag) = if extended { (0, 21, 504) } else { (386, 4, 482) };
    for entry in 0..count {
        let at = start + entry * 24;
        let field = |at: usize| block.get(at..at + 12).unwrap_or_default();
        if field(at + 12).first().is_none_or(|b| *b == 0) {
            break;
        }
        for value in [number(field(at))?, number(field(at + 12))?] {
            numbers.push(u64::try_from(value).map_err(|_| Error::Corrupt("a negative size"))?);
        }
    }
    Ok(block.get(flag).is_some_and(|b| *b != 0))
}

/// The real size in an old GNU header.
pub fn gnu_real_size(header: &Header<'_>) -> Result<u64> {
    u64::try_from(header.number(483, 12)?).map_err(|_| Error::Corrupt("a negative size"))
}

/// Reads the map of format 1.0 from the start of the data: decimal lines, first their count,
/// padded to a block. Returns the numbers and the bytes taken.
pub fn read_map(
    mut next_block: impl FnMut() -> Result<[u8; BLOCK]>,
    limit: u64,
) -> Result<(Vec<u64>, u64)> {
    let (mut numbers, mut line, mut taken) = (Vec::new(), Vec::new(), 0u64);
    let mut wanted: Option<u64> = None;
    loop {
        let block = next_block()?;
        taken += BLOCK as u64;
        if taken > limit {
            return Err(Error::Limit { what: "bytes of a sparse file's map", limit });
        }
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > 20 {
                    return Err(Error::Corrupt("a sparse file's map"));
                }
                continue;
            }
            let value = pax::decimal(&line)?;
            line.clear();
            match wanted {
                None => wanted = Some(value.saturating_mul(2)),
                Some(_) => numbers.push(value),
            }
            if wanted.is_some_and(|w| numbers.len() as u64 >= w) {
                return Ok((numbers, taken));
            }
        }
    }
}
