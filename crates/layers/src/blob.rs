//! A layer's blob: decompression by content, the hash of the uncompressed stream, bounds.

use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use sha2::{Digest, Sha256};

use crate::{Error, Limits, Result};

/// The most memory that unpacking xz may take, in KiB: its highest preset takes 64 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// The uncompressed stream of a layer, watched.
pub(crate) struct Blob<R: BufRead> {
    stream: Stream<R>,
    hash: Sha256,
    limits: Limits,
    /// Uncompressed bytes so far.
    bytes: u64,
}

/// The uncompressed stream of a layer.
pub(crate) enum Stream<R: BufRead> {
    Plain(Counted<R>),
    Gzip(Box<MultiGzDecoder<Counted<R>>>),
    Zstd(zstd::Decoder<'static, Counted<R>>),
    Bzip2(Box<MultiBzDecoder<Counted<R>>>),
    Xz(Box<XzReader<Counted<R>>>),
}

impl<R: Read> Stream<BufReader<R>> {
    /// Looks at the first bytes for gzip (RFC 1952), zstd (RFC 8878), bzip2 or xz; anything else is plain. Layers are gzip,
    /// zstd or plain; the others are what ADD takes apart as well.
    pub fn new(source: R) -> Result<Self> {
        let mut source = Counted { source: BufReader::with_capacity(256 << 10, source), count: 0 };
        let head = source.fill_buf().map_err(Error::Read)?;
        if head.starts_with(b"LZIP") && head.get(257..262) != Some(b"ustar") {
            return Err(Error::UnsupportedCompression("lzip"));
        }
        Ok(if head.starts_with(&[0x1f, 0x8b]) {
            Stream::Gzip(Box::new(MultiGzDecoder::new(source)))
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
            || (head.first().is_some_and(|b| b & 0xf0 == 0x50)
                && head.get(1..4) == Some(&[0x2a, 0x4d, 0x18]))
        {
            Stream::Zstd(zstd::Decoder::with_buffer(source).map_err(Error::Read)?)
        } else if head.starts_with(b"BZh") && head.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") {
            Stream::Bzip2(Box::new(MultiBzDecoder::new(source)))
        } else if head.starts_with(b"\xfd7zXZ\0") {
            Stream::Xz(Box::new(XzReader::new_mem_limit(source, true, XZ_MEMORY)))
        } else {
            Stream::Plain(source)
        })
    }
}

impl<R: BufRead> Stream<R> {
    /// Bytes taken from the source.
    fn compressed(&self) -> u64 {
        match self {
            Stream::Plain(s) => s.count,
            Stream::Gzip(s) => s.get_ref().count,
            Stream::Zstd(s) => s.get_ref().count,
            Stream::Bzip2(s) => s.get_ref().count,
            Stream::Xz(s) => s.inner().count,
        }
    }
}

impl<R: BufRead> Read for Stream<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(s) => s.read(buf),
            Stream::Gzip(s) => s.read(buf),
            Stream::Zstd(s) => s.read(buf),
            Stream::Bzip2(s) => s.read(buf),
            Stream::Xz(s) => s.read(buf),
        }
    }
}

impl<R: Read> Blob<BufReader<R>> {
    /// See [`Stream::new`].
    pub fn new(source: R, limits: Limits) -> Result<Self> {
        Ok(Blob { stream: Stream::new(source)?, hash: Sha256::new(), limits, bytes: 0 })
    }
}

impl<R: BufRead> Blob<R> {
    /// Uncompressed bytes read so far.
    pub fn position(&self) -> u64 {
        self.bytes
    }

    /// Reads the rest, and gives the diff_id, `sha256:…`, and the number of bytes.
    pub fn finish(mut self) -> Result<(String, u64)> {
        let mut rest = vec![0; 64 << 10];
        while self.read(&mut rest).map_err(Error::from_stream)? > 0 {}
        Ok((hex_digest(self.hash), self.bytes))
    }

    fn check(&self) -> Result<()> {
        let limits = &self.limits;
        if self.bytes > limits.bytes {
            return Err(Error::Limit { what: "uncompressed bytes", limit: limits.bytes });
        }
        let allowed = self.stream.compressed().saturating_mul(limits.ratio).max(limits.ratio_from);
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
        let n = self.stream.read(buf)?;
        self.hash.update(buf.get(..n).unwrap_or_default());
        self.bytes += n as u64;
        self.check().map_err(io::Error::other)?;
        Ok(n)
    }
}

/// Whether a file is a tar archive, compressed or not: what ADD takes apart. Its name says nothing; the first header decides.
pub fn is_archive(file: impl Read) -> bool {
    const HEADER: u64 = 512;
    let Ok(blob) = Blob::new(file, Limits::default()) else { return false };
    let mut head = Vec::new();
    if blob.take(HEADER).read_to_end(&mut head).is_err() || head.len() as u64 != HEADER {
        return false;
    }
    let sum: u64 = (0..)
        .zip(&head)
        .map(|(i, b)| if (148..156).contains(&i) { u64::from(b' ') } else { u64::from(*b) })
        .sum();
    let digits: String =
        head.get(148..156).unwrap_or_default().iter().map(|b| char::from(*b)).collect();
    let written = u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8);
    head.first() != Some(&0) && written == Ok(sum)
}

/// Counts the bytes taken from a source.
pub(crate) struct Counted<R> {
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
