//! A layer's blob: decompression by content, the hash of the uncompressed stream, bounds.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::{Error, Limits, Result};

/// The uncompressed stream of a layer.
pub(crate) struct Blob<R: BufRead> {
    stream: Stream<R>,
    hash: Sha256,
    limits: Limits,
    /// Uncompressed bytes so far.
    bytes: u64,
}

enum Stream<R: BufRead> {
    Plain(Counted<R>),
    Gzip(Box<MultiGzDecoder<Counted<R>>>),
    Zstd(zstd::Decoder<'static, Counted<R>>),
}

impl<R: Read> Blob<BufReader<R>> {
    /// Looks at the first bytes for gzip (RFC 1952) or zstd (RFC 8878); anything else is plain.
    pub fn new(source: R, limits: Limits) -> Result<Self> {
        let mut source = Counted { source: BufReader::with_capacity(256 << 10, source), count: 0 };
        let head = source.fill_buf().map_err(Error::Read)?;
        for (magic, name) in [(&b"BZh"[..], "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"LZIP", "lzip")] {
            if head.starts_with(magic) && head.get(257..262) != Some(b"ustar") {
                return Err(Error::UnsupportedCompression(name));
            }
        }
        let stream = if head.starts_with(&[0x1f, 0x8b]) {
            Stream::Gzip(Box::new(MultiGzDecoder::new(source)))
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
            || (head.first().is_some_and(|b| b & 0xf0 == 0x50)
                && head.get(1..4) == Some(&[0x2a, 0x4d, 0x18]))
        {
            Stream::Zstd(zstd::Decoder::with_buffer(source).map_err(Error::Read)?)
        } else {
            Stream::Plain(source)
        };
        Ok(Blob { stream, hash: Sha256::new(), limits, bytes: 0 })
    }
}

impl<R: BufRead> Blob<R> {
    /// Reads the rest and gives the diff_id, `sha256:…`.
    pub fn finish(mut self) -> Result<String> {
        let mut rest = vec![0; 64 << 10];
        while self.read(&mut rest).map_err(Error::from_stream)? > 0 {}
        Ok(hex_digest(self.hash))
    }

    fn compressed(&self) -> u64 {
        match &self.stream {
            Stream::Plain(s) => s.count,
            Stream::Gzip(s) => s.get_ref().count,
            Stream::Zstd(s) => s.get_ref().count,
        }
    }

    fn check(&self) -> Result<()> {
        let limits = &self.limits;
        if self.bytes > limits.bytes {
            return Err(Error::Limit { what: "uncompressed bytes", limit: limits.bytes });
        }
        let allowed = self.compressed().saturating_mul(limits.ratio).max(limits.ratio_from);
        if self.bytes > allowed {
            return Err(Error::Limit {
                what: "uncompressed bytes for each compressed one",
                limit: limits.ratio,
            });
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Blob<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.stream {
            Stream::Plain(s) => s.read(buf),
            Stream::Gzip(s) => s.read(buf),
            Stream::Zstd(s) => s.read(buf),
        }?;
        self.hash.update(buf.get(..n).unwrap_or_default());
        self.bytes += n as u64;
        self.check().map_err(io::Error::other)?;
        Ok(n)
    }
}

/// Counts the bytes taken from a source.
struct Counted<R> {
    source: R,
    count: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buf)?;
        self.count += n as u64;
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.source.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.count += n as u64;
        self.source.consume(n);
    }
}

/// `sha256:` and 64 hexadecimal digits.
pub(crate) fn hex_digest(hash: Sha256) -> String {
    use std::fmt::Write;
    let mut text = String::from("sha256:");
    for byte in hash.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
