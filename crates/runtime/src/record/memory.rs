//! What the rows of the calls name in a box's memory.

use super::RecordError;
use crate::calls::{Call, Len, Part};
use std::ops::Range;

/// More buffers than any call of a box has.
const MAX_VECTORS: u64 = 4096;
/// Bytes of a subscription of `poll_oneoff`.
const SUBSCRIPTION: u64 = 48;

const OUTSIDE: RecordError = RecordError::Malformed("a call names memory that there is not");

/// A 32-bit word in memory.
pub fn word(memory: &[u8], at: u64) -> Result<u32, RecordError> {
    let bytes = &memory[range(memory, at, 4)?];
    Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

/// A 64-bit word in memory.
pub fn long(memory: &[u8], at: u64) -> Result<u64, RecordError> {
    Ok(u64::from(word(memory, at)?) | u64::from(word(memory, at + 4)?) << 32)
}

pub fn range(memory: &[u8], at: u64, len: u64) -> Result<Range<usize>, RecordError> {
    let end = at.checked_add(len).filter(|end| *end <= memory.len() as u64).ok_or(OUTSIDE)?;
    Ok(at as usize..end as usize)
}

/// What the call before has told of strings: how many there are, and their length.
#[derive(Clone, Copy, Default)]
pub struct Sizes {
    count: u32,
    len: u32,
}

impl Sizes {
    /// A call has been answered.
    pub fn told(
        &mut self,
        call: &Call,
        arguments: &[u64],
        memory: &[u8],
    ) -> Result<(), RecordError> {
        if matches!(call.name, "args_sizes_get" | "environ_sizes_get") {
            let at = |index: usize| argument(arguments, index);
            *self = Sizes { count: word(memory, at(0)?)?, len: word(memory, at(1)?)? };
        }
        Ok(())
    }
}

fn argument(arguments: &[u64], index: usize) -> Result<u64, RecordError> {
    arguments.get(index).copied().ok_or(RecordError::Malformed("a call has too few arguments"))
}

/// Where a part lies. Lengths that memory tells must be there by now.
pub fn ranges(
    part: Part,
    arguments: &[u64],
    memory: &[u8],
    sizes: Sizes,
) -> Result<Vec<Range<usize>>, RecordError> {
    let value = |index: usize| argument(arguments, index);
    let length = |len: Len| {
        Ok(match len {
            Len::Fixed(len) => u64::from(len),
            Len::Argument(of) => value(of)?,
            Len::Word { of, times } => u64::from(word(memory, value(of)?)?) * u64::from(times),
        })
    };
    match part {
        Part::Bytes { at, len } => Ok(vec![range(memory, value(at)?, length(len)?)?]),
        Part::Strings { bytes, .. } => Ok(vec![range(memory, value(bytes)?, sizes.len.into())?]),
        Part::Subscriptions { at, count } => {
            let (at, count) = (value(at)?, value(count)?.min(MAX_VECTORS));
            let mut found = Vec::new();
            for at in (0..count).map(|index| at + index * SUBSCRIPTION) {
                // Without what lies between the fields: nobody has written there.
                const CLOCK: u8 = 0;
                found.push(range(memory, at, 9)?);
                if memory[range(memory, at + 8, 1)?] == [CLOCK] {
                    found.extend([range(memory, at + 16, 4)?, range(memory, at + 24, 8)?]);
                    found.push(range(memory, at + 40, 2)?);
                } else {
                    found.push(range(memory, at + 16, 4)?);
                }
            }
            Ok(found)
        }
        Part::Vectors { at, count, most } => {
            let mut left = most.map_or(Ok(u64::MAX), length)?;
            let (at, count) = (value(at)?, value(count)?.min(MAX_VECTORS));
            let mut found = Vec::new();
            for at in (0..count).map(|index| at + index * 8) {
                let len = u64::from(word(memory, at + 4)?).min(left);
                left -= len;
                found.push(range(memory, word(memory, at)?.into(), len)?);
            }
            Ok(found)
        }
    }
}

/// Strings were written: writes their addresses.
pub fn list_strings(
    list: u64,
    bytes: u64,
    memory: &mut [u8],
    sizes: Sizes,
) -> Result<(), RecordError> {
    let mut at = bytes;
    for index in 0..u64::from(sizes.count) {
        let place = range(memory, list + index * 4, 4)?;
        memory[place].copy_from_slice(&(at as u32).to_le_bytes());
        let rest = &memory[range(memory, at, (bytes + u64::from(sizes.len)).saturating_sub(at))?];
        at += rest.iter().position(|byte| *byte == 0).map_or(rest.len(), |end| end + 1) as u64;
    }
    Ok(())
}

/// FNV-1a over what a call asks, with the length of each part.
pub fn asked(
    call: &Call,
    arguments: &[u64],
    memory: &[u8],
    sizes: Sizes,
) -> Result<u64, RecordError> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for part in call.asks {
        for range in ranges(*part, arguments, memory, sizes)? {
            take(&(range.len() as u64).to_le_bytes());
            take(&memory[range]);
        }
    }
    Ok(hash)
}
