//! Open directories. The entries are listed once when reading starts (or is rewound), so that a program may remove
//! what it reads; POSIX leaves open whether later changes show.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{SEEK_CUR, SEEK_SET};
use abi::poll::IN_ACCESS;

use super::{FileOps, OpenFile};
use crate::fs::inode::{DirItem, Kind};
use crate::fs::open_file::seek_to;
use crate::fs::{Cx, Res};

/// An open directory. The file offset counts entries.
#[derive(Default)]
pub struct Directory {
    listing: RefCell<Option<Rc<Vec<DirItem>>>>,
}

impl Directory {
    /// The entries from the file offset on, `.` and `..` first; the caller advances the offset.
    pub fn entries(&self, cx: &mut Cx, file: &OpenFile) -> Res<Rc<Vec<DirItem>>> {
        let known = self.listing.borrow().clone();
        if let (Some(listing), true) = (known, file.pos.get() > 0) {
            return Ok(listing);
        }
        let dentry = file.dentry();
        let inode = dentry.inode();
        let own = inode.meta(cx)?;
        let above = dentry.dotdot().inode().meta(cx)?;
        let dot = |name: &[u8], ino| DirItem { name: name.into(), ino, kind: Kind::Dir };
        let mut items = vec![dot(b".", own.ino), dot(b"..", above.ino)];
        if !dentry.is_gone() {
            items.extend(inode.list(cx)?);
        } else {
            items.clear();
        }
        inode.touch_atime(cx);
        cx.shared.watches.event(dentry, IN_ACCESS);
        let items = Rc::new(items);
        *self.listing.borrow_mut() = Some(items.clone());
        Ok(items)
    }
}

impl FileOps for Directory {
    fn kind_name(&self) -> &'static str {
        "directory"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &mut Cx, _: &OpenFile, _: &mut [u8]) -> Res<usize> {
        Err(Errno::EISDIR)
    }

    fn read_at(&self, _: &mut Cx, _: &OpenFile, _: u64, _: &mut [u8]) -> Res<usize> {
        Err(Errno::EISDIR)
    }

    fn seek(&self, _cx: &mut Cx, file: &OpenFile, offset: i64, whence: u32) -> Res<u64> {
        if !matches!(whence, SEEK_SET | SEEK_CUR) {
            return Err(Errno::EINVAL);
        }
        let at = seek_to(file, offset, whence, 0)?;
        if at == 0 {
            *self.listing.borrow_mut() = None;
        }
        Ok(at)
    }

    fn is_pollable(&self) -> bool {
        false
    }

    fn sync(&self, _cx: &mut Cx, _file: &OpenFile) -> Res<()> {
        Ok(())
    }
}
