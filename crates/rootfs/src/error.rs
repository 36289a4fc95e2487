//! Why an image could not be read or written.

use std::io;

use crate::format::Nid;

/// Why an image could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The superblock does not start with the EROFS magic number.
    #[error("not an EROFS image: magic is {0:#010x}")]
    BadMagic(u32),
    /// The bytes end before the image does.
    #[error("image is truncated: {have} bytes, needs {need}")]
    Truncated {
        /// Bytes that the superblock (or the place being read) asks for.
        need: u64,
        /// Bytes that are there.
        have: u64,
    },
    /// The superblock's CRC32-C does not match.
    #[error("superblock checksum is {found:#010x}, computed {computed:#010x}")]
    Checksum {
        /// The stored checksum.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A valid EROFS feature that this reader leaves out (compression, chunks, devices...).
    #[error("EROFS feature not supported: {0}")]
    Unsupported(&'static str),
    /// An on-disk structure contradicts itself or the image.
    #[error("corrupt image at inode {nid}: {what}")]
    Corrupt {
        /// The inode that was being read.
        nid: Nid,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A directory operation on something else.
    #[error("inode {0} is not a directory")]
    NotDirectory(Nid),
    /// `read_link` on something else.
    #[error("inode {0} is not a symbolic link")]
    NotSymlink(Nid),
    /// The inode's data is not one contiguous run; `Image::read_at` reads it.
    #[error("the data of inode {0} is not contiguous")]
    NotContiguous(Nid),
    /// The inode has no data (device, fifo, socket).
    #[error("inode {0} has no data")]
    NoData(Nid),
    /// A name that cannot be a directory entry.
    #[error("invalid file name {:?}: {what}", String::from_utf8_lossy(name))]
    InvalidName {
        /// The name.
        name: Vec<u8>,
        /// Which rule it breaks.
        what: &'static str,
    },
    /// Two entries of one directory have the same name.
    #[error("duplicate directory entry {:?}", String::from_utf8_lossy(.0))]
    DuplicateName(Vec<u8>),
    /// An extended attribute that EROFS cannot hold.
    #[error("extended attribute {:?}: {what}", String::from_utf8_lossy(name))]
    InvalidXattr {
        /// The attribute's full name.
        name: Vec<u8>,
        /// Which rule it breaks.
        what: &'static str,
    },
    /// A tree that the format (or the caller's use of the writer) does not allow.
    #[error("invalid tree: {0}")]
    InvalidTree(&'static str),
    /// A file gave fewer or more bytes than it was declared with.
    #[error("file content of node {node} is not {declared} bytes long")]
    ContentLength {
        /// Index of the writer's node.
        node: u32,
        /// The size declared to the writer.
        declared: u64,
    },
    /// Reading a file's content or writing the image failed.
    // Not transparent: whoever looks for the cause finds it.
    #[error("{0}")]
    Io(#[from] io::Error),
}
