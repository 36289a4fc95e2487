//! Constants and field offsets of `fs/erofs/erofs_fs.h`, shared by the reader and the writer.

/// Bytes of a block: EROFS's unit of data and the x86-64 page size.
pub const BLOCK_SIZE: u64 = 4096;
pub(crate) const BLOCK: usize = BLOCK_SIZE as usize;
pub(crate) const BLOCK_BITS: u8 = 12;

/// An inode's number: its byte offset in the metadata area divided by 32.
pub type Nid = u64;

pub(crate) const SUPER_OFFSET: usize = 1024;
pub(crate) const SUPER_SIZE: usize = 128;
pub(crate) const MAGIC: u32 = 0xe0f5_e1e2;

/// Field offsets inside `struct erofs_super_block`.
pub(crate) mod sb {
    pub const MAGIC: usize = 0;
    pub const CHECKSUM: usize = 4;
    pub const FEATURE_COMPAT: usize = 8;
    pub const BLKSZBITS: usize = 12;
    pub const ROOT_NID: usize = 14;
    pub const INOS: usize = 16;
    pub const BUILD_TIME: usize = 24;
    pub const BUILD_TIME_NSEC: usize = 32;
    pub const BLOCKS: usize = 36;
    pub const META_BLKADDR: usize = 40;
    pub const XATTR_BLKADDR: usize = 44;
    pub const FEATURE_INCOMPAT: usize = 80;
    pub const DIRBLKBITS: usize = 90;
}

pub(crate) const COMPAT_SB_CHKSUM: u32 = 1;
pub(crate) const COMPAT_MTIME: u32 = 2;
/// Only says how LZ4 clusters are padded; mkfs sets it on uncompressed images too.
pub(crate) const INCOMPAT_ZERO_PADDING: u32 = 1;
/// Some inode is chunk-based: refused where such an inode is met.
pub(crate) const INCOMPAT_CHUNKED_FILE: u32 = 4;

pub(crate) const SLOT: u64 = 32;
pub(crate) const COMPACT_INODE: usize = 32;
pub(crate) const EXTENDED_INODE: usize = 64;
pub(crate) const LAYOUT_FLAT_PLAIN: u16 = 0;
pub(crate) const LAYOUT_FLAT_INLINE: u16 = 2;
pub(crate) const LAYOUT_CHUNK_BASED: u16 = 4;

pub(crate) const DIRENT: usize = 12;
pub(crate) const NAME_MAX: usize = 255;

pub(crate) const XATTR_IBODY_HEADER: usize = 12;
pub(crate) const XATTR_ENTRY_HEADER: usize = 4;

/// `e_name_index` and the name prefix it stands for.
pub(crate) const XATTR_PREFIXES: [(u8, &str); 6] = [
    (1, "user."),
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (4, "trusted."),
    (5, "lustre."),
    (6, "security."),
];

/// What an inode is; the discriminants are those of a directory entry on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FileType {
    /// A regular file.
    Regular = 1,
    /// A directory.
    Directory = 2,
    /// A character device.
    CharDevice = 3,
    /// A block device.
    BlockDevice = 4,
    /// A named pipe.
    Fifo = 5,
    /// A unix socket.
    Socket = 6,
    /// A symbolic link.
    Symlink = 7,
}

impl FileType {
    /// The type in the `S_IFMT` bits of a `st_mode` (inode(7)), if it is one of Linux's.
    pub fn from_mode(mode: u32) -> Option<FileType> {
        Some(match mode & 0o170000 {
            0o100000 => FileType::Regular,
            0o040000 => FileType::Directory,
            0o020000 => FileType::CharDevice,
            0o060000 => FileType::BlockDevice,
            0o010000 => FileType::Fifo,
            0o140000 => FileType::Socket,
            0o120000 => FileType::Symlink,
            _ => return None,
        })
    }

    /// The `S_IFMT` bits of this type.
    pub fn mode_bits(self) -> u32 {
        match self {
            FileType::Regular => 0o100000,
            FileType::Directory => 0o040000,
            FileType::CharDevice => 0o020000,
            FileType::BlockDevice => 0o060000,
            FileType::Fifo => 0o010000,
            FileType::Socket => 0o140000,
            FileType::Symlink => 0o120000,
        }
    }

    pub(crate) fn from_dirent(byte: u8) -> Option<FileType> {
        Some(match byte {
            1 => FileType::Regular,
            2 => FileType::Directory,
            3 => FileType::CharDevice,
            4 => FileType::BlockDevice,
            5 => FileType::Fifo,
            6 => FileType::Socket,
            7 => FileType::Symlink,
            _ => return None,
        })
    }
}

/// A device number in the kernel's `new_encode_dev` form, which is also the low half of `st_rdev`
/// and what the image holds. Major numbers have 12 bits and minor numbers 20; more are cut off.
pub fn make_dev(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)
}

/// The major number of a device number made by [`make_dev`].
pub fn dev_major(rdev: u32) -> u32 {
    (rdev >> 8) & 0xfff
}

/// The minor number of a device number made by [`make_dev`].
pub fn dev_minor(rdev: u32) -> u32 {
    (rdev & 0xff) | ((rdev >> 12) & 0xfff00)
}

/// CRC32-C (Castagnoli, reflected) as EROFS uses it: seeded with all ones, not inverted at the end.
pub(crate) fn crc32c(chunks: &[&[u8]]) -> u32 {
    let mut crc = !0u32;
    for chunk in chunks {
        for &byte in *chunk {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            }
        }
    }
    crc
}

/// The bytes of a whole `xattr` area of an inode, given `i_xattr_icount`.
pub(crate) fn xattr_area(icount: u16) -> usize {
    match icount {
        0 => 0,
        n => XATTR_IBODY_HEADER + 4 * (usize::from(n) - 1),
    }
}
