//! What a record consists of, and how it is written: numbers in 7 bits a byte, least first, the highest bit set in all but the last.

use super::RecordError;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Exit(i32),
    /// From outside.
    Interrupted,
    /// In a trap.
    Failed,
}

/// In place of a row.
pub const END: u64 = u64::MAX;

pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads what [`put`] has written.
#[derive(Default)]
pub struct Bytes {
    bytes: Vec<u8>,
    at: usize,
}

const SHORT: RecordError = RecordError::Malformed("a block ends within a call");

impl Bytes {
    pub fn new(bytes: Vec<u8>) -> Bytes {
        Bytes { bytes, at: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub fn number(&mut self) -> Result<u64, RecordError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(SHORT)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::Malformed("a number is too long"))
    }

    pub fn take(&mut self, len: u64) -> Result<&[u8], RecordError> {
        let len = usize::try_from(len).map_err(|_| SHORT)?;
        let end = self.at.checked_add(len).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::{Bytes, put};

    #[test]
    fn numbers_come_back() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        let mut out = Vec::new();
        numbers.iter().for_each(|number| put(&mut out, *number));
        let mut bytes = Bytes::new(out);
        for number in numbers {
            assert_eq!(bytes.number().unwrap(), number);
        }
        assert!(bytes.is_empty());
        bytes.number().unwrap_err();
        Bytes::new(vec![0xff; 11]).number().unwrap_err();
    }
}
