//! A file of blocks, each with a checksum over itself and all before it, so that what was changed, left out or cut off is found.

use super::RecordError;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};

/// How each record begins; the version follows, 4 bytes.
pub const MAGIC: &[u8; 12] = b"boxer record";
/// Bytes before a block's content: its length, that of what it was made from, and its checksum.
const HEAD: usize = 4 + 4 + 32;
/// Bit of the second length: nothing follows.
const LAST: u32 = 1 << 31;
/// Largest block, in bytes; one call of a box writes less.
const MAX: u32 = 1 << 30;
/// zstd's level: it costs less than what it saves in writing.
const LEVEL: i32 = 3;

type Chain = [u8; 32];

fn begin(version: u32) -> Chain {
    Sha256::new().chain_update(MAGIC).chain_update(version.to_le_bytes()).finalize().into()
}

fn link(before: &Chain, lengths: &[u8], content: &[u8]) -> Chain {
    Sha256::new().chain_update(before).chain_update(lengths).chain_update(content).finalize().into()
}

/// Writes blocks.
pub struct Writer<W> {
    out: W,
    chain: Chain,
}

impl<W: Write> Writer<W> {
    pub fn new(mut out: W, version: u32) -> io::Result<Writer<W>> {
        out.write_all(MAGIC)?;
        out.write_all(&version.to_le_bytes())?;
        Ok(Writer { out, chain: begin(version) })
    }

    pub fn write(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        let content = zstd::bulk::compress(bytes, LEVEL)?;
        let len = |len: usize| u32::try_from(len).ok().filter(|len| *len <= MAX);
        let (Some(packed), Some(whole)) = (len(content.len()), len(bytes.len())) else {
            return Err(io::Error::other(
                "one call of the box has written more than a record takes",
            ));
        };
        let whole = whole | if last { LAST } else { 0 };
        let lengths = [packed.to_le_bytes(), whole.to_le_bytes()].concat();
        self.chain = link(&self.chain, &lengths, &content);
        // In one piece, so that a run that is killed leaves whole blocks.
        self.out.write_all(&[&lengths, &self.chain[..], &content].concat())?;
        self.out.flush()
    }
}

/// Reads blocks.
pub struct Reader<R> {
    from: R,
    chain: Chain,
    at: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    pub fn new(mut from: R, ours: u32) -> Result<Reader<R>, RecordError> {
        let mut head = [0; MAGIC.len() + 4];
        match from.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(RecordError::Foreign);
            }
            read => read.map_err(RecordError::Read)?,
        }
        let (magic, version) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(RecordError::Foreign);
        }
        let version = version.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        if version != ours {
            return Err(RecordError::Version(version));
        }
        Ok(Reader { from, chain: begin(version), at: head.len() as u64, ended: false })
    }

    /// The next block; none behind the last one.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, RecordError> {
        let Some((content, whole)) = self.checked()? else { return Ok(None) };
        let bytes = zstd::bulk::decompress(&content, whole as usize).map_err(RecordError::Read)?;
        Ok(Some(bytes))
    }

    /// Looks whether all that is left is as it was written.
    pub fn check(mut self) -> Result<(), RecordError> {
        while self.checked()?.is_some() {}
        Ok(())
    }

    fn checked(&mut self) -> Result<Option<(Vec<u8>, u32)>, RecordError> {
        let mut head = [0; HEAD];
        let read = fill(&mut self.from, &mut head).map_err(RecordError::Read)?;
        if self.ended {
            return if read == 0 { Ok(None) } else { Err(RecordError::Trailing(self.at)) };
        }
        if read < HEAD {
            return Err(RecordError::Truncated(self.at + read as u64));
        }
        let word =
            |at: usize| head[at..at + 4].iter().rev().fold(0, |sum, b| sum << 8 | u32::from(*b));
        let (packed, whole) = (word(0), word(4));
        if packed > MAX || whole & !LAST > MAX {
            return Err(RecordError::Damaged(self.at));
        }
        let mut content = Vec::new();
        let read = (&mut self.from).take(u64::from(packed)).read_to_end(&mut content);
        let read = read.map_err(RecordError::Read)?;
        if read < packed as usize {
            return Err(RecordError::Truncated(self.at + (HEAD + read) as u64));
        }
        let chain = link(&self.chain, &head[..8], &content);
        if chain != head[8..] {
            return Err(RecordError::Damaged(self.at));
        }
        self.chain = chain;
        self.at += (HEAD + read) as u64;
        self.ended = whole & LAST != 0;
        Ok(Some((content, whole & !LAST)))
    }
}

/// Reads until the buffer is full or nothing is left.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match from.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, 1).unwrap();
        for n in 0..5_u8 {
            writer.write(&[n; 100], n == 4).unwrap();
        }
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, RecordError> {
        let mut reader = Reader::new(bytes, 1)?;
        let mut blocks = Vec::new();
        while let Some(block) = reader.next()? {
            blocks.push(block);
        }
        Ok(blocks)
    }

    #[test]
    fn what_is_written_is_read() {
        let blocks = read(&written()).unwrap();
        assert_eq!(blocks, (0..5_u8).map(|n| vec![n; 100]).collect::<Vec<_>>());
    }

    #[test]
    fn every_other_file_is_refused() {
        let whole = written();
        for len in 0..whole.len() {
            let error = read(&whole[..len]).unwrap_err();
            let fits = if len < 16 {
                matches!(error, RecordError::Foreign)
            } else {
                matches!(error, RecordError::Truncated(at) if at == len as u64)
            };
            assert!(fits, "{len}: {error}");
        }
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            read(&other).unwrap_err();
        }
        let longer = [&whole[..], b"x"].concat();
        assert!(matches!(read(&longer), Err(RecordError::Trailing(_))));
        // A block that is left out.
        let block = (whole.len() - 16) / 5;
        let other = [&whole[..16 + block], &whole[16 + 2 * block..]].concat();
        assert!(matches!(read(&other), Err(RecordError::Damaged(_))), "{:?}", read(&other));
    }
}
