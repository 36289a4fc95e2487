//! Layers to a file tree to a rootfs image, and tree differences back to a layer.
//!
//! * [`Flatten`] applies OCI layers (tar; plain, gzip or zstd; archives of ADD also bzip2 and xz) in order to a [`Tree`]: metadata in
//!   memory, file contents in a [`Spool`] on disk, or left where they lie ([`Flatten::stored_layer`]). Nothing of a layer ever touches the host's file
//!   system under its own name: links, devices and owners are only data.
//! * [`Tree`] is what the builder edits (COPY, WORKDIR...) and what [`Tree::write_rootfs`] turns
//!   into an EROFS image.
//! * [`diff`] turns the difference of two trees into a layer, with whiteouts.
//!
//! Layers: OCI image specification, "Image Layer Filesystem Changeset". Where it is silent, what
//! containerd does is done here, unless that could change meaning unseen: `..` in an entry's name
//! or a link to a missing file is an error.
//!
//! The `tar` crate was weighed and not taken: it reads extended headers of any size into memory,
//! and leaves out PAX sparse files and the exactness of fractional times.

mod apply;
mod blob;
mod diff;
mod error;
mod image;
mod limits;
mod spool;
mod tar;
mod tree;

pub use apply::{Applied, Flatten};
pub use blob::is_archive;
pub use diff::{Compression, LayerInfo, LayerOptions, diff, layer_from_tree};
pub use error::Error;
pub use limits::Limits;
pub use rootfs::{FileType, Metadata};
pub use spool::{Content, ContentReader, Open, Spool};
pub use tree::copy::{CopyOptions, Select, Selection};
pub use tree::{HostOptions, NewNode, Node, NodeId, Tree, Walk};

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
