//! The 512-byte header.

use super::BLOCK;
use crate::{Error, Result};

/// A header block whose checksum is right.
pub struct Header<'a>(pub &'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Checks the checksum: the sum of all bytes, its own field taken as spaces. Some old writers
    /// summed signed bytes.
    pub fn parse(block: &'a [u8; BLOCK]) -> Result<Header<'a>> {
        let header = Header(block);
        let stored = header.number(148, 8)?;
        let field = 148..156;
        let bytes =
            || block.iter().enumerate().map(|(i, b)| if field.contains(&i) { b' ' } else { *b });
        let unsigned: i64 = bytes().map(i64::from).sum();
        let signed: i64 = bytes().map(|b| i64::from(b as i8)).sum();
        if stored != unsigned && stored != signed {
            return Err(Error::Corrupt("header checksum"));
        }
        Ok(header)
    }

    pub fn typeflag(&self) -> u8 {
        self.0[156]
    }

    pub fn is_gnu(&self) -> bool {
        self.field(257, 8) == b"ustar  \0"
    }

    /// The path, with ustar's prefix; GNU and v7 headers keep other things there.
    pub fn path(&self) -> Vec<u8> {
        let name = until_nul(self.field(0, 100));
        let prefix = match self.field(257, 6) == b"ustar\0" {
            true if self.field(508, 4) == b"tar\0" => until_nul(self.field(345, 131)),
            true => until_nul(self.field(345, 155)),
            false => b"",
        };
        match prefix {
            b"" => name.to_vec(),
            _ => [prefix, name].join(&b'/'),
        }
    }

    pub fn link(&self) -> Vec<u8> {
        until_nul(self.field(157, 100)).to_vec()
    }

    /// A number field: octal digits, or big-endian two's complement behind a set first bit.
    pub fn number(&self, at: usize, len: usize) -> Result<i64> {
        number(self.field(at, len))
    }

    pub fn field(&self, at: usize, len: usize) -> &'a [u8] {
        self.0.get(at..at + len).unwrap_or_default()
    }
}

/// See [`Header::number`].
pub fn number(field: &[u8]) -> Result<i64> {
    let corrupt = || Error::Corrupt("a number field");
    match field.first() {
        Some(first) if first & 0x80 != 0 => {
            let negative = first & 0x40 != 0;
            let mut value: i64 = if negative { -1 } else { 0 };
            for (i, byte) in field.iter().enumerate() {
                // The marker bit repeats the sign.
                let byte = match (i, negative) {
                    (0, true) => *byte,
                    (0, false) => byte & 0x7f,
                    _ => *byte,
                };
                value = value.checked_mul(256).ok_or_else(corrupt)?;
                value |= i64::from(byte);
            }
            Ok(value)
        }
        _ => {
            let digits = until_nul(field).trim_ascii();
            digits.iter().try_fold(0i64, |value, digit| match digit {
                b'0'..=b'7' => {
                    value.checked_mul(8).map(|v| v + i64::from(digit - b'0')).ok_or_else(corrupt)
                }
                _ => Err(corrupt()),
            })
        }
    }
}

pub fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}
