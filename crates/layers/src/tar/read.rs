//! Reads the entries of an archive.

use std::io::{self, Read};

use rootfs::{Metadata, make_dev};

use super::header::{Header, until_nul};
use super::pax::Records;
use super::sparse::{self, Map};
use super::{BLOCK, Kind};
use crate::{Error, Limits, Result};

/// The entries of an archive, in order.
pub struct Archive<R> {
    source: R,
    limits: Limits,
    /// Bytes of the current entry's data, and of its padding, that are not read yet.
    left: u64,
    padding: u64,
}

/// One entry; its data is what [`Archive::data`] reads.
#[derive(Debug)]
pub struct Entry {
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    pub meta: Metadata,
    pub rdev: u32,
    /// A file's size and the parts of it that the data holds.
    pub content: Map,
}

/// What extended headers said about the entry that follows them.
#[derive(Default)]
struct Extended {
    pax: Records,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Archive<R> {
    pub fn new(source: R, limits: Limits) -> Self {
        Archive { source, limits, left: 0, padding: 0 }
    }

    /// What it is read from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// What is behind the archive's end.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// The data of the current entry.
    pub fn data(&mut self) -> Data<'_, R> {
        Data(self)
    }

    /// The next entry, `None` at the end of the archive.
    pub fn next(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let Some(block) = self.header_block()? else { return Ok(None) };
            let header = Header::parse(&block)?;
            match header.typeflag() {
                b'x' | b'X' => extended.pax = Records::parse(&self.extended_header(&header)?)?,
                b'L' => {
                    let data = self.extended_header(&header)?;
                    extended.long_path = Some(until_nul(&data).to_vec());
                }
                b'K' => {
                    let data = self.extended_header(&header)?;
                    extended.long_link = Some(until_nul(&data).to_vec());
                }
                // Global records (a comment, from `git archive`) are ignored, as by other unpackers.
                b'g' => self.open_data(size(&header)?)?,
                _ => return self.entry(&header, extended).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header<'_>, extended: Extended) -> Result<Entry> {
        let Extended { pax, long_path, long_link } = extended;
        let path = pax.sparse.name.clone().or(pax.path.clone()).or(long_path);
        let path = path.unwrap_or_else(|| header.path());
        let kind = match header.typeflag() {
            // Before ustar, a directory was a file with a slash.
            0 | b'0' if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(Error::UnsupportedEntry(other)),
        };
        let meta = metadata(header, &pax)?;
        let link = pax.link.clone().or(long_link).unwrap_or_else(|| header.link());
        let rdev = match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                make_dev(device_number(header, 329, 0xfff)?, device_number(header, 337, 0xf_ffff)?)
            }
            _ => 0,
        };
        let mut content = Map { segments: Vec::new(), size: 0 };
        // Only files have data, whatever the size field says.
        if kind == Kind::File {
            let stored = match pax.size {
                Some(size) => size,
                None => size(header)?,
            };
            self.open_data(stored)?;
            content = self.content_map(header, &pax, stored)?;
        }
        Ok(Entry { path, kind, link, meta, rdev, content })
    }

    fn content_map(&mut self, header: &Header<'_>, pax: &Records, stored: u64) -> Result<Map> {
        if header.typeflag() == b'S' && header.is_gnu() {
            let mut numbers = Vec::new();
            let mut more = sparse::gnu_numbers(header.0, false, &mut numbers)?;
            while more {
                let limit = self.limits.extended_header;
                if numbers.len() as u64 * 12 > limit {
                    return Err(Error::Limit { what: "bytes of a sparse file's map", limit });
                }
                // Continuation blocks stand before the data and do not count in its size.
                let mut block = [0; BLOCK];
                self.source.read_exact(&mut block).map_err(Error::from_stream)?;
                more = sparse::gnu_numbers(&block, true, &mut numbers)?;
            }
            return Map::new(&numbers, sparse::gnu_real_size(header)?, stored);
        }
        let real_size = pax.sparse.real_size;
        if pax.sparse.major.is_some_and(|major| major >= 1) {
            let limit = self.limits.extended_header;
            let next_block = || {
                let mut block = [0; BLOCK];
                self.data().read_exact(&mut block).map_err(Error::from_stream)?;
                Ok(block)
            };
            let (numbers, taken) = sparse::read_map(next_block, limit)?;
            let size = real_size.ok_or(Error::Corrupt("a sparse file without its size"))?;
            return Map::new(&numbers, size, stored - taken);
        }
        if let Some(numbers) = &pax.sparse.map {
            let size = real_size.ok_or(Error::Corrupt("a sparse file without its size"))?;
            return Map::new(numbers, size, stored);
        }
        Map::new(&[0, stored], stored, stored)
    }

    /// `None` at the end: two blocks of zeros, or nothing at all.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        if !read_whole_or_nothing(&mut self.source, &mut block)? {
            return Ok(None);
        }
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        if !read_whole_or_nothing(&mut self.source, &mut block)? || block == [0; BLOCK] {
            return Ok(None);
        }
        Err(Error::Corrupt("a single block of zeros"))
    }

    fn extended_header(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let (size, limit) = (size(header)?, self.limits.extended_header);
        if size > limit {
            return Err(Error::Limit { what: "bytes of an extended header", limit });
        }
        self.open_data(size)?;
        let mut data = Vec::new();
        self.data().read_to_end(&mut data).map_err(Error::from_stream)?;
        Ok(data)
    }

    fn open_data(&mut self, size: u64) -> Result<()> {
        self.left = size;
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        self.padding = padded.ok_or(Error::Corrupt("a number field"))? - size;
        Ok(())
    }

    /// Reads over what is left of the current entry.
    fn skip(&mut self) -> Result<()> {
        let count = self.left.checked_add(self.padding).ok_or(Error::Corrupt("a number field"))?;
        (self.left, self.padding) = (0, 0);
        let skipped = io::copy(&mut self.source.by_ref().take(count), &mut io::sink());
        match skipped.map_err(Error::from_stream)? == count {
            true => Ok(()),
            false => Err(Error::Truncated),
        }
    }
}

/// See [`Archive::data`]. An archive that ends early is an `UnexpectedEof`.
pub struct Data<'a, R>(&'a mut Archive<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.0.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        match self.0.source.read(buf.get_mut(..want).unwrap_or_default())? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.0.left -= n as u64;
                Ok(n)
            }
        }
    }
}

fn read_whole_or_nothing(source: &mut impl Read, block: &mut [u8; BLOCK]) -> Result<bool> {
    let mut read = 0;
    while let Some(rest) = block.get_mut(read..).filter(|r| !r.is_empty()) {
        match source.read(rest) {
            Ok(0) if read == 0 => return Ok(false),
            Ok(0) => return Err(Error::Truncated),
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::from_stream(e)),
        }
    }
    Ok(true)
}

fn size(header: &Header<'_>) -> Result<u64> {
    u64::try_from(header.number(124, 12)?).map_err(|_| Error::Corrupt("a negative size"))
}

fn device_number(header: &Header<'_>, at: usize, max: u32) -> Result<u32> {
    let value = u32::try_from(header.number(at, 8)?).ok().filter(|v| *v <= max);
    value.ok_or(Error::Corrupt("a device number"))
}

fn metadata(header: &Header<'_>, pax: &Records) -> Result<Metadata> {
    let id = |pax: Option<u32>, at| match pax {
        Some(id) => Ok(id),
        None => u32::try_from(header.number(at, 8)?)
            .map_err(|_| Error::Corrupt("a user or group id above 32 bits")),
    };
    let (mtime, mtime_nsec) = match pax.mtime {
        Some(time) => time,
        None => (header.number(136, 12)?, 0),
    };
    Ok(Metadata {
        mode: (header.number(100, 8)? & 0o7777) as u32,
        uid: id(pax.uid, 108)?,
        gid: id(pax.gid, 116)?,
        mtime,
        mtime_nsec,
        xattrs: pax.xattrs.clone(),
    })
}
