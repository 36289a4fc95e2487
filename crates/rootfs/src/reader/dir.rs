//! Directory blocks: each holds a sorted array of 12-byte entries followed by their names.

use std::cmp::Ordering;

use super::{Image, Inode, u16_at, u64_at};
use crate::error::Error;
use crate::format::*;
use crate::{FileType, Nid, Result};

/// One entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// The name: 1 to 255 bytes, no `/`, no NUL.
    pub name: &'a [u8],
    /// The inode it leads to.
    pub nid: Nid,
    /// That inode's type.
    pub kind: FileType,
    /// The cookie of the entry after this one: `d_off` of `getdents64(2)`. Never 0.
    pub next: u64,
}

/// The entries of one directory. Ends after the first error.
#[derive(Clone, Debug)]
pub struct ReadDir<'a> {
    image: Image<'a>,
    dir: Inode,
    /// Byte offset, within the directory, of the next entry's 12-byte record.
    cookie: u64,
    block: Option<(u64, Block<'a>)>,
    failed: bool,
}

impl<'a> ReadDir<'a> {
    pub(super) fn new(image: Image<'a>, dir: Inode, cookie: u64) -> Self {
        ReadDir { image, dir, cookie, block: None, failed: false }
    }

    fn step(&mut self) -> Result<Option<DirEntry<'a>>> {
        loop {
            if self.cookie >= self.dir.size {
                return Ok(None);
            }
            let index = self.cookie / BLOCK_SIZE;
            let block = match self.block {
                Some((at, block)) if at == index => block,
                _ => Block::load(&self.image, &self.dir, index)?,
            };
            self.block = Some((index, block));
            let entry = ((self.cookie % BLOCK_SIZE) as usize).div_ceil(DIRENT);
            let next_block = (index + 1).saturating_mul(BLOCK_SIZE);
            if entry >= block.count {
                self.cookie = next_block;
                continue;
            }
            let (name, nid, kind) = block.entry(entry)?;
            self.cookie = match entry + 1 < block.count {
                true => index * BLOCK_SIZE + ((entry + 1) * DIRENT) as u64,
                false => next_block,
            };
            return Ok(Some(DirEntry { name, nid, kind, next: self.cookie }));
        }
    }
}

impl<'a> Iterator for ReadDir<'a> {
    type Item = Result<DirEntry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.step().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

/// Binary search for the last block whose first name is not above `name`, then inside it.
pub(super) fn lookup(
    image: &Image<'_>,
    dir: &Inode,
    name: &[u8],
) -> Result<Option<(Nid, FileType)>> {
    let (mut low, mut high) = (0, dir.size.div_ceil(BLOCK_SIZE));
    let mut candidate = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let block = Block::load(image, dir, middle)?;
        let (first, nid, kind) = block.entry(0)?;
        match first.cmp(name) {
            Ordering::Equal => return Ok(Some((nid, kind))),
            Ordering::Less => {
                candidate = Some(block);
                low = middle + 1;
            }
            Ordering::Greater => high = middle,
        }
    }
    let Some(block) = candidate else { return Ok(None) };
    let (mut low, mut high) = (1, block.count);
    while low < high {
        let middle = low + (high - low) / 2;
        let (found, nid, kind) = block.entry(middle)?;
        match found.cmp(name) {
            Ordering::Equal => return Ok(Some((nid, kind))),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    Ok(None)
}

/// One directory block: at least one entry, all records inside it.
#[derive(Clone, Copy, Debug)]
struct Block<'a> {
    dir: Nid,
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Block<'a> {
    fn load(image: &Image<'a>, dir: &Inode, index: u64) -> Result<Block<'a>> {
        let bytes = image.block(dir, index)?;
        // The names start where the records end, so the first name's offset counts the records.
        let names = usize::from(u16_at(bytes, 8));
        if bytes.len() < DIRENT || names < DIRENT || names % DIRENT != 0 || names > bytes.len() {
            return Err(Error::Corrupt { nid: dir.nid, what: "directory block" });
        }
        Ok(Block { dir: dir.nid, bytes, count: names / DIRENT })
    }

    fn entry(&self, index: usize) -> Result<(&'a [u8], Nid, FileType)> {
        let corrupt = |what| Error::Corrupt { nid: self.dir, what };
        let record = self
            .bytes
            .get(index * DIRENT..(index + 1) * DIRENT)
            .ok_or(corrupt("directory entry"))?;
        let start = usize::from(u16_at(record, 8));
        let name = if index + 1 < self.count {
            let end = usize::from(u16_at(self.bytes, (index + 1) * DIRENT + 8));
            self.bytes.get(start..end)
        } else {
            // The last name ends with the block, or at a NUL before it.
            self.bytes.get(start..).and_then(|rest| rest.split(|b| *b == 0).next())
        };
        let name = name
            .filter(|n| start >= self.count * DIRENT && (1..=NAME_MAX).contains(&n.len()))
            .filter(|n| !n.contains(&b'/') && !n.contains(&0))
            .ok_or(corrupt("directory entry name"))?;
        let kind = FileType::from_dirent(super::byte_at(record, 10))
            .ok_or(corrupt("directory entry type"))?;
        Ok((name, u64_at(record, 0), kind))
    }
}
