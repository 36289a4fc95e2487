//! The on-disk root filesystem image: an uncompressed EROFS image, written and read in place.
//!
//! * [`Image`] reads an image out of a byte slice without copying and without any work that
//!   grows with the image. It runs inside the guest, so every offset is checked and a hostile
//!   image gives an [`Error`], never a panic or an endless loop.
//! * [`Writer`] takes a tree and streams an image whose regular files are contiguous and start on
//!   a page boundary, so that a file mapping can point into the image. The same tree gives the
//!   same bytes; `fsck.erofs` accepts them.
//!
//! `erofs-rs` 0.3 was weighed first: it has no writer, and its reader is addressed by UTF-8 paths
//! and hides where a file's bytes lie, which is what mapping in place needs.
//!
//! On-disk format: Linux `fs/erofs/erofs_fs.h` and `Documentation/filesystems/erofs.rst`.

pub mod config;
mod error;
mod format;
pub mod limits;
mod reader;
pub mod rights;
pub mod signal;
mod writer;

pub use error::Error;
pub use format::{BLOCK_SIZE, FileType, Nid, dev_major, dev_minor, make_dev};
pub use reader::dir::{DirEntry, ReadDir};
pub use reader::xattr::{Xattr, Xattrs};
pub use reader::{Image, Inode};
pub use writer::{Metadata, NodeId, Summary, Writer, xattr_name_is_supported};

/// The result of everything that reads or writes an image.
pub type Result<T, E = Error> = std::result::Result<T, E>;
