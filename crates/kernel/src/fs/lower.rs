//! The read-only lower layer of the root: the EROFS image. The only module that speaks to the `rootfs` crate.

use abi::Errno;
use abi::stat::{S_IFMT, makedev};
use mem::{Frame, PAGE_SIZE};
use rootfs::{FileType, Image, Nid};

use super::inode::{DirItem, Kind, Meta, Xattr};
use super::{Res, Time};

/// The image, and where it lies in physical memory.
pub struct Lower {
    image: Image<'static>,
    base: u32,
}

/// Content of a regular file in place.
#[derive(Clone, Copy)]
pub struct LowerData {
    /// The bytes.
    pub bytes: &'static [u8],
    /// The bytes after them, if these lie elsewhere: less than a page, after whole pages.
    pub tail: &'static [u8],
    /// The frame of the first page, if the content starts on a page boundary of physical memory.
    pub frame: Option<Frame>,
}

impl LowerData {
    /// No content.
    pub const EMPTY: LowerData = LowerData { bytes: &[], tail: &[], frame: None };
}

impl Lower {
    /// Opens the image at physical address `base`. EIO if it is not a valid image.
    pub fn open(image: &'static [u8], base: u32) -> Res<Lower> {
        Ok(Lower { image: Image::open(image).map_err(corrupt)?, base })
    }

    /// The root directory.
    pub fn root(&self) -> Nid {
        self.image.root()
    }

    /// A number above every inode number of the image.
    pub fn first_free_ino(&self) -> u64 {
        self.image.bytes().len() as u64 / 32 + 1024
    }

    /// Size of the image in bytes and its number of inodes, for statfs(2).
    pub fn size(&self) -> (u64, u64) {
        (self.image.bytes().len() as u64, self.image.inode_count())
    }

    /// Metadata of an inode on device `dev`.
    pub fn meta(&self, nid: Nid, dev: u64) -> Res<Meta> {
        let inode = self.image.inode(nid).map_err(corrupt)?;
        let mtime = Time { sec: inode.mtime, nsec: inode.mtime_nsec.min(999_999_999) };
        let kind = Kind::of_mode(inode.mode & S_IFMT);
        let (size, blocks) = match kind {
            Kind::Dir => (4096, 8),
            Kind::File => (inode.size, inode.size.div_ceil(4096) * 8),
            Kind::Symlink => (inode.size, 0),
            _ => (0, 0),
        };
        Ok(Meta {
            dev,
            ino: nid,
            mode: inode.mode,
            nlink: inode.nlink,
            uid: inode.uid,
            gid: inode.gid,
            rdev: makedev(rootfs::dev_major(inode.rdev), rootfs::dev_minor(inode.rdev)),
            size,
            block_size: 0,
            blocks,
            atime: mtime,
            mtime,
            ctime: mtime,
            btime: mtime,
        })
    }

    /// The entry `name` of directory `dir`.
    pub fn lookup(&self, dir: Nid, name: &[u8]) -> Res<Option<Nid>> {
        Ok(self.image.lookup(dir, name).map_err(corrupt)?.map(|(nid, _)| nid))
    }

    /// All entries of directory `dir` in byte order.
    pub fn list(&self, dir: Nid) -> Res<Vec<DirItem>> {
        let mut items = Vec::new();
        for entry in self.image.read_dir(dir).map_err(corrupt)? {
            let entry = entry.map_err(corrupt)?;
            if entry.name != b"." && entry.name != b".." {
                let kind = kind_of(entry.kind);
                items.push(DirItem { name: entry.name.into(), ino: entry.nid, kind });
            }
        }
        Ok(items)
    }

    /// Content of a regular file.
    pub fn data(&self, nid: Nid) -> Res<LowerData> {
        let [bytes, tail] = self.image.runs(nid).map_err(corrupt)?;
        let offset = self.image.data_offset(nid).map_err(corrupt)?;
        let address = u32::try_from(offset).ok().and_then(|o| self.base.checked_add(o));
        let frame =
            address.filter(|a| (*a as usize).is_multiple_of(PAGE_SIZE)).map(Frame::containing);
        Ok(LowerData { bytes, tail, frame })
    }

    /// Target of a symbolic link.
    pub fn read_link(&self, nid: Nid) -> Res<&'static [u8]> {
        self.image.read_link(nid).map_err(corrupt)
    }

    /// Extended attributes of an inode.
    pub fn xattrs(&self, nid: Nid) -> Res<Vec<Xattr>> {
        let mut all = Vec::new();
        for attr in self.image.xattrs(nid).map_err(corrupt)? {
            let attr = attr.map_err(corrupt)?;
            all.push((attr.name().into_boxed_slice(), attr.value.to_vec()));
        }
        Ok(all)
    }
}

fn corrupt(_: rootfs::Error) -> Errno {
    Errno::EIO
}

fn kind_of(kind: FileType) -> Kind {
    match kind {
        FileType::Regular => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::CharDevice => Kind::Char,
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
    }
}
