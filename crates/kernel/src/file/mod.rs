//! The kinds of open files, and descriptor tables. What an open file is stands in [`crate::fs::open_file`].

pub mod anon;
pub mod console;
pub mod device;
pub mod directory;
pub mod epoll;
pub mod eventfd;
pub mod inotify;
pub mod moment;
pub mod mqueue;
pub mod pidfd;
pub mod pipe;
pub mod regular;
pub mod signalfd;
pub mod socket;
pub mod table;
pub mod timerfd;
pub mod tty;

use std::rc::Rc;

use abi::Errno;

use crate::fs::{Cx, Dentry, Kind, Res};

pub use crate::fs::{FileOps, OpenFile};
pub use table::FdTable;

/// Opens an inode by its kind; the kernel gives this to [`crate::fs::Shared`].
pub fn open_kind(cx: &mut Cx, dentry: &Rc<Dentry>, flags: u32) -> Res<Rc<dyn FileOps>> {
    match dentry.inode().kind() {
        Kind::File => Ok(Rc::new(regular::Regular)),
        Kind::Dir => Ok(Rc::new(directory::Directory::default())),
        Kind::Char => device::open(cx, dentry, flags),
        Kind::Fifo => pipe::open_fifo(cx, dentry, flags),
        Kind::Block | Kind::Socket => Err(Errno::ENXIO),
        Kind::Symlink => Err(Errno::ELOOP),
    }
}
