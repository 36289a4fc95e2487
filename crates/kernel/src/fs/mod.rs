//! The virtual filesystem: inodes, the name tree, path resolution, permissions, and the filesystems themselves.
//!
//! Layers, top down: [`ops`] does what a path system call means (permission checks, the inode operation, keeping the
//! name tree true, inotify events); [`walk`] resolves paths as path_resolution(7) says; [`dentry`] is the name tree
//! with its mounts; [`Inode`] is what each filesystem implements. Nothing here knows processes or user memory: who
//! asks is a [`Cred`], and everything else comes through [`World`].

pub mod acl;
pub mod chore;
pub mod cx;
pub mod dentry;
pub mod export;
pub mod hostfs;
pub mod inode;
pub mod lease;
pub mod lock;
pub mod lower;
pub mod memfs;
pub mod notify;
pub mod open_file;
pub mod ops;
pub mod owner;
pub mod perm;
pub mod procfs;
pub mod synth;
pub mod time;
pub mod walk;

pub use cx::{Cred, Cx, Job, Notifier, Shared, World};
pub use dentry::{Dentry, Mount};
pub use inode::{DirItem, Inode, InodeRef, Kind, Meta, NewNode, SetAttr};
pub use open_file::{FileOps, OpenFile};
pub use time::Time;
pub use walk::{Lookup, PathCx};

/// Result of everything in the file layer.
pub type Res<T> = Result<T, abi::Errno>;
