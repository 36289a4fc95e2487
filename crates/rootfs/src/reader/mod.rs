//! The zero-copy reader.

pub mod dir;
pub mod xattr;

use crate::error::Error;
use crate::format::*;
use crate::{Result, reader::dir::ReadDir};

/// An EROFS image in memory. Cheap to copy; everything it hands out borrows the image's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    meta: u64,
    xattr_base: u64,
    root: Nid,
    inode_count: u64,
    build_time: i64,
    build_time_nsec: u32,
}

/// An inode's metadata, as `stat(2)` needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// The number it was read by: unique in the image, shared by hard links.
    pub nid: Nid,
    /// `S_IFMT` and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content (of a directory: of its entries on disk).
    pub size: u64,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub mtime_nsec: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Device number (`make_dev` form, as in `st_rdev`) of a device, otherwise 0.
    pub rdev: u32,
    /// What it is (from `mode`).
    pub kind: FileType,
    /// The inode's 32-bit serial number, from 1; `nid` is the better `st_ino`.
    pub ino: u32,
    /// Whether it has extended attributes.
    pub has_xattrs: bool,
    layout: Layout,
    raw_blkaddr: u32,
    /// Byte offset of the extended attributes, and their length.
    xattrs: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// No data: devices, fifos, sockets.
    None,
    /// Whole blocks from `raw_blkaddr`.
    Plain,
    /// As `Plain`, but the last, partial block follows the inode.
    Inline,
}

impl<'a> Image<'a> {
    /// Reads the superblock. Takes the same time for every image; the checksum is verified when
    /// the image carries one.
    pub fn open(bytes: &'a [u8]) -> Result<Image<'a>> {
        let sb = bytes.get(SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE).ok_or(Error::Truncated {
            need: (SUPER_OFFSET + SUPER_SIZE) as u64,
            have: bytes.len() as u64,
        })?;
        if u32_at(sb, sb::MAGIC) != MAGIC {
            return Err(Error::BadMagic(u32_at(sb, sb::MAGIC)));
        }
        if byte_at(sb, sb::BLKSZBITS) != BLOCK_BITS {
            return Err(Error::Unsupported("a block size other than 4096"));
        }
        let need = u64::from(u32_at(sb, sb::BLOCKS)) * BLOCK_SIZE;
        if need < BLOCK_SIZE || (bytes.len() as u64) < need {
            return Err(Error::Truncated { need: need.max(BLOCK_SIZE), have: bytes.len() as u64 });
        }
        if u32_at(sb, sb::FEATURE_COMPAT) & COMPAT_SB_CHKSUM != 0 {
            verify_checksum(bytes)?;
        }
        if u32_at(sb, sb::FEATURE_INCOMPAT) & !(INCOMPAT_ZERO_PADDING | INCOMPAT_CHUNKED_FILE) != 0
        {
            return Err(Error::Unsupported("an incompatible superblock feature"));
        }
        if byte_at(sb, sb::DIRBLKBITS) != 0 {
            return Err(Error::Unsupported("directory blocks other than 4096 bytes"));
        }
        let image = Image {
            bytes,
            meta: u64::from(u32_at(sb, sb::META_BLKADDR)) * BLOCK_SIZE,
            xattr_base: u64::from(u32_at(sb, sb::XATTR_BLKADDR)) * BLOCK_SIZE,
            root: u64::from(u16_at(sb, sb::ROOT_NID)),
            inode_count: u64_at(sb, sb::INOS),
            build_time: u64_at(sb, sb::BUILD_TIME) as i64,
            build_time_nsec: u32_at(sb, sb::BUILD_TIME_NSEC),
        };
        if image.inode(image.root)?.kind != FileType::Directory {
            return Err(Error::NotDirectory(image.root));
        }
        Ok(image)
    }

    /// The whole image, which [`Image::data_offset`] counts in.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The root directory.
    pub fn root(&self) -> Nid {
        self.root
    }

    /// The number of inodes the superblock claims (for `statfs`).
    pub fn inode_count(&self) -> u64 {
        self.inode_count
    }

    /// Reads one inode.
    pub fn inode(&self, nid: Nid) -> Result<Inode> {
        let corrupt = |what| Error::Corrupt { nid, what };
        let offset = nid
            .checked_mul(SLOT)
            .and_then(|o| o.checked_add(self.meta))
            .ok_or(corrupt("inode number out of range"))?;
        let head = self.slice(nid, offset, COMPACT_INODE as u64)?;
        let format = u16_at(head, 0);
        if format & !0xf != 0 {
            return Err(Error::Unsupported("unknown inode format bits"));
        }
        let extended = format & 1 != 0;
        let core = if extended { EXTENDED_INODE } else { COMPACT_INODE };
        let b = self.slice(nid, offset, core as u64)?;
        let mode = u32::from(u16_at(b, 4));
        let kind = FileType::from_mode(mode).ok_or(corrupt("file type"))?;
        let icount = u16_at(b, 2);
        let union = u32_at(b, 16);
        let (layout, raw_blkaddr, rdev) = match kind {
            FileType::CharDevice | FileType::BlockDevice => (Layout::None, 0, union),
            FileType::Fifo | FileType::Socket => (Layout::None, 0, 0),
            FileType::Regular | FileType::Directory | FileType::Symlink => {
                let layout = match format >> 1 {
                    LAYOUT_FLAT_PLAIN => Layout::Plain,
                    LAYOUT_FLAT_INLINE => Layout::Inline,
                    LAYOUT_CHUNK_BASED => return Err(Error::Unsupported("chunk-based files")),
                    1 | 3 => return Err(Error::Unsupported("compressed files")),
                    _ => return Err(corrupt("data layout")),
                };
                (layout, union, 0)
            }
        };
        let (size, uid, gid, mtime, mtime_nsec, nlink) = if extended {
            (
                u64_at(b, 8),
                u32_at(b, 24),
                u32_at(b, 28),
                u64_at(b, 32) as i64,
                u32_at(b, 40),
                u32_at(b, 44),
            )
        } else {
            (
                u64::from(u32_at(b, 8)),
                u32::from(u16_at(b, 24)),
                u32::from(u16_at(b, 26)),
                self.build_time,
                self.build_time_nsec,
                u32::from(u16_at(b, 6)),
            )
        };
        if mtime_nsec >= 1_000_000_000 {
            return Err(corrupt("nanoseconds out of range"));
        }
        Ok(Inode {
            nid,
            mode,
            uid,
            gid,
            size,
            mtime,
            mtime_nsec,
            nlink,
            rdev,
            kind,
            ino: u32_at(b, 20),
            has_xattrs: icount != 0,
            layout,
            raw_blkaddr,
            xattrs: (offset + core as u64, xattr_area(icount) as u64),
        })
    }

    /// Finds `name` in a directory: a binary search over its blocks and then one block's entries.
    pub fn lookup(&self, dir: Nid, name: &[u8]) -> Result<Option<(Nid, FileType)>> {
        dir::lookup(self, &self.directory(dir)?, name)
    }

    /// The entries of a directory (`.` and `..` among them), in byte order of their names.
    pub fn read_dir(&self, dir: Nid) -> Result<ReadDir<'a>> {
        self.read_dir_from(dir, 0)
    }

    /// As [`Image::read_dir`], from the entry that `cookie` stands for: 0 is the start, other
    /// cookies are those of [`dir::DirEntry::next`]. Any other number is rounded up to an entry.
    pub fn read_dir_from(&self, dir: Nid, cookie: u64) -> Result<ReadDir<'a>> {
        Ok(ReadDir::new(*self, self.directory(dir)?, cookie))
    }

    /// The whole content of a file or symbolic link, in place.
    ///
    /// Fails with [`Error::NotContiguous`] for a file of at least one block whose tail is inline;
    /// [`crate::Writer`] makes none of those.
    pub fn data(&self, nid: Nid) -> Result<&'a [u8]> {
        let inode = self.inode(nid)?;
        self.slice(nid, self.contiguous(&inode)?, inode.size)
    }

    /// The content of a file in place, in two runs: the second is what lies elsewhere, with the inode, and less than a block. For most
    /// files, and all of a [`crate::Writer`], the first is everything.
    pub fn runs(&self, nid: Nid) -> Result<[&'a [u8]; 2]> {
        let inode = self.inode(nid)?;
        match self.contiguous(&inode) {
            Err(Error::NotContiguous(_)) => {
                let tail = inode.size % BLOCK_SIZE;
                let start = u64::from(inode.raw_blkaddr) * BLOCK_SIZE;
                let whole = self.slice(nid, start, inode.size - tail)?;
                Ok([whole, self.slice(nid, self.tail_offset(&inode)?, tail)?])
            }
            start => Ok([self.slice(nid, start?, inode.size)?, &[]]),
        }
    }

    /// Byte offset of the file's content in the image, of the first of its [`Image::runs`]: a multiple of 4096 for a file of a
    /// [`crate::Writer`]'s image (0 for an empty file). The bytes between the end of the file and
    /// the end of its last block belong to the image and are zero.
    pub fn data_offset(&self, nid: Nid) -> Result<u64> {
        let inode = self.inode(nid)?;
        match self.contiguous(&inode) {
            Err(Error::NotContiguous(_)) => Ok(u64::from(inode.raw_blkaddr) * BLOCK_SIZE),
            offset => {
                let offset = offset?;
                self.slice(nid, offset, inode.size)?;
                Ok(offset)
            }
        }
    }

    /// Copies content from byte `offset` into `buf`; returns the bytes copied, fewer only at the
    /// end of the file. Serves every layout.
    pub fn read_at(&self, nid: Nid, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let inode = self.inode(nid)?;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = offset.checked_add(done as u64).filter(|at| *at < inode.size) else {
                break;
            };
            let block = self.block(&inode, at / BLOCK_SIZE)?;
            let from = block.get((at % BLOCK_SIZE) as usize..).unwrap_or_default();
            let n = from.len().min(rest.len());
            if n == 0 {
                break;
            }
            rest[..n].copy_from_slice(&from[..n]);
            done += n;
        }
        Ok(done)
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, nid: Nid) -> Result<&'a [u8]> {
        let inode = self.inode(nid)?;
        if inode.kind != FileType::Symlink {
            return Err(Error::NotSymlink(nid));
        }
        self.slice(nid, self.contiguous(&inode)?, inode.size)
    }

    /// All extended attributes of an inode.
    pub fn xattrs(&self, nid: Nid) -> Result<xattr::Xattrs<'a>> {
        xattr::Xattrs::new(*self, &self.inode(nid)?)
    }

    /// The value of the extended attribute with this full name (`user.x`).
    pub fn xattr(&self, nid: Nid, name: &[u8]) -> Result<Option<&'a [u8]>> {
        for entry in self.xattrs(nid)? {
            let entry = entry?;
            if entry.is_named(name) {
                return Ok(Some(entry.value));
            }
        }
        Ok(None)
    }

    fn directory(&self, nid: Nid) -> Result<Inode> {
        let inode = self.inode(nid)?;
        match inode.kind {
            FileType::Directory => Ok(inode),
            _ => Err(Error::NotDirectory(nid)),
        }
    }

    /// Where the content starts, if it is one run.
    fn contiguous(&self, inode: &Inode) -> Result<u64> {
        match inode.layout {
            Layout::None => Err(Error::NoData(inode.nid)),
            _ if inode.size == 0 => Ok(0),
            Layout::Plain => Ok(u64::from(inode.raw_blkaddr) * BLOCK_SIZE),
            Layout::Inline if inode.size < BLOCK_SIZE => self.tail_offset(inode),
            Layout::Inline if inode.size.is_multiple_of(BLOCK_SIZE) => {
                Ok(u64::from(inode.raw_blkaddr) * BLOCK_SIZE)
            }
            Layout::Inline => Err(Error::NotContiguous(inode.nid)),
        }
    }

    /// Where the inline tail starts; it must lie within one block, as Linux demands too.
    fn tail_offset(&self, inode: &Inode) -> Result<u64> {
        let offset = inode.xattrs.0 + inode.xattrs.1;
        match offset % BLOCK_SIZE + inode.size % BLOCK_SIZE <= BLOCK_SIZE {
            true => Ok(offset),
            false => Err(Error::Corrupt { nid: inode.nid, what: "inline data crosses a block" }),
        }
    }

    /// Block `index` of the content: 4096 bytes, fewer for the last one.
    fn block(&self, inode: &Inode, index: u64) -> Result<&'a [u8]> {
        let start = index.saturating_mul(BLOCK_SIZE);
        let len = inode.size.saturating_sub(start).min(BLOCK_SIZE);
        let offset = match inode.layout {
            Layout::None => return Err(Error::NoData(inode.nid)),
            Layout::Inline if len < BLOCK_SIZE => self.tail_offset(inode)?,
            _ => (u64::from(inode.raw_blkaddr) * BLOCK_SIZE)
                .checked_add(start)
                .ok_or(Error::Corrupt { nid: inode.nid, what: "data out of range" })?,
        };
        self.slice(inode.nid, offset, len)
    }

    fn slice(&self, nid: Nid, offset: u64, len: u64) -> Result<&'a [u8]> {
        let range = || {
            let start = usize::try_from(offset).ok()?;
            let end = usize::try_from(offset.checked_add(len)?).ok()?;
            self.bytes.get(start..end)
        };
        range().ok_or(Error::Corrupt { nid, what: "an offset lies outside the image" })
    }
}

/// The checksum covers the first block from the superblock on, its own field taken as zero.
fn verify_checksum(bytes: &[u8]) -> Result<()> {
    let covered = bytes.get(SUPER_OFFSET..BLOCK).unwrap_or_default();
    let (head, tail) = covered.split_at(sb::CHECKSUM.min(covered.len()));
    let tail = tail.get(4..).unwrap_or_default();
    let (found, computed) = (u32_at(covered, sb::CHECKSUM), crc32c(&[head, &[0; 4], tail]));
    match found == computed {
        true => Ok(()),
        false => Err(Error::Checksum { found, computed }),
    }
}

// Little-endian fields. Callers slice the whole structure first, so that the fields are there; a
// wrong offset reads as zero instead of panicking.

fn byte_at(b: &[u8], at: usize) -> u8 {
    b.get(at).copied().unwrap_or_default()
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(b, at))
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(b, at))
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(b, at))
}

fn field<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    b.get(at..at.saturating_add(N)).and_then(|s| s.try_into().ok()).unwrap_or([0; N])
}
