//! What a filesystem implements: the [`Inode`] trait and the records it speaks in.

use std::any::Any;
use std::rc::Rc;

use abi::Errno;
use abi::stat::{
    S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, dirent_type,
};

use super::{Cx, Dentry, FileOps, Res, Time};
use crate::source::MapSource;

/// A shared inode. Identity is the pointer.
pub type InodeRef = Rc<dyn Inode>;

/// File type (inode(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

impl Kind {
    /// The `S_IFMT` bits.
    pub fn bits(self) -> u32 {
        match self {
            Kind::File => S_IFREG,
            Kind::Dir => S_IFDIR,
            Kind::Symlink => S_IFLNK,
            Kind::Char => S_IFCHR,
            Kind::Block => S_IFBLK,
            Kind::Fifo => S_IFIFO,
            Kind::Socket => S_IFSOCK,
        }
    }

    /// From the `S_IFMT` bits; anything unknown counts as a regular file, as mknod(2) treats 0.
    pub fn of_mode(mode: u32) -> Kind {
        match mode & S_IFMT {
            S_IFDIR => Kind::Dir,
            S_IFLNK => Kind::Symlink,
            S_IFCHR => Kind::Char,
            S_IFBLK => Kind::Block,
            S_IFIFO => Kind::Fifo,
            S_IFSOCK => Kind::Socket,
            _ => Kind::File,
        }
    }

    /// `d_type` of getdents64(2).
    pub fn dirent_type(self) -> u8 {
        dirent_type(self.bits())
    }
}

/// Metadata of an inode (inode(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Device number of the filesystem.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Number of names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Size in which to read and write it, in bytes; 0: a page.
    pub block_size: u32,
    /// Allocated size in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of content or metadata.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
}

impl Meta {
    /// The file type.
    pub fn kind(&self) -> Kind {
        Kind::of_mode(self.mode)
    }

    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == Kind::Dir
    }
}

/// Attributes to change; `None` leaves one as it is. `ctime` becomes now.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits (the type is kept).
    pub perm: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size of a regular file; the content changes with it.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last content change.
    pub mtime: Option<Time>,
}

/// A node to be made in a directory.
#[derive(Clone, Debug)]
pub struct NewNode<'a> {
    /// Type and permission bits, umask already applied.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number for device nodes.
    pub rdev: u64,
    /// Target of a symbolic link.
    pub target: &'a [u8],
}

/// One entry of a directory listing, without `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirItem {
    /// Name, without NUL or slash.
    pub name: Box<[u8]>,
    /// Inode number.
    pub ino: u64,
    /// File type.
    pub kind: Kind,
}

/// An extended attribute: full name and value.
pub type Xattr = (Box<[u8]>, Vec<u8>);

/// How an inode's entries of the name tree may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Names change only through this VFS.
    Stable,
    /// Names come and go by themselves (proc, host directories).
    Volatile,
}

/// A file, directory, link or device as its filesystem keeps it. The defaults say "not supported here".
pub trait Inode {
    /// The filesystem's type name, for messages and `/proc/mounts`.
    fn fs_name(&self) -> &'static str;

    /// Metadata.
    fn meta(&self, cx: &mut Cx) -> Res<Meta>;

    /// Bytes that are free in its filesystem, and bytes in all, where that has a size of its own.
    fn room(&self) -> Option<(u64, u64)> {
        None
    }

    /// File type; does not change during the inode's life.
    fn kind(&self) -> Kind;

    /// Inode flags (`FS_*_FL`, ioctl_iflags(2)), in filesystems that have them.
    fn flags(&self) -> Option<u32> {
        None
    }

    /// Sets them; who may was checked.
    fn set_flags(&self, _cx: &mut Cx, _flags: u32) -> Res<()> {
        Err(Errno::ENOTTY)
    }

    /// For downcasts inside one filesystem.
    fn as_any(self: Rc<Self>) -> Rc<dyn Any>;

    /// Whether names below this directory change behind the VFS's back.
    fn names(&self) -> Names {
        Names::Stable
    }

    /// The entry `name` of this directory.
    fn lookup(&self, _cx: &mut Cx, _name: &[u8]) -> Res<InodeRef> {
        Err(Errno::ENOTDIR)
    }

    /// All entries of this directory.
    fn list(&self, _cx: &mut Cx) -> Res<Vec<DirItem>> {
        Err(Errno::ENOTDIR)
    }

    /// Makes `name` in this directory; it must not exist.
    fn create(&self, _cx: &mut Cx, _name: &[u8], _new: &NewNode) -> Res<InodeRef> {
        Err(Errno::EPERM)
    }

    /// A new regular file without a name (open(2), `O_TMPFILE`).
    fn create_unnamed(&self, _cx: &mut Cx, _new: &NewNode) -> Res<InodeRef> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives `target` (of this filesystem) the further name `name` here.
    fn link(&self, _cx: &mut Cx, _name: &[u8], _target: &InodeRef) -> Res<()> {
        Err(Errno::EPERM)
    }

    /// Removes the non-directory `name`.
    fn unlink(&self, _cx: &mut Cx, _name: &[u8]) -> Res<()> {
        Err(Errno::EPERM)
    }

    /// Removes the empty directory `name`.
    fn rmdir(&self, _cx: &mut Cx, _name: &[u8]) -> Res<()> {
        Err(Errno::EPERM)
    }

    /// Moves `name` to `new_name` in `new_dir` (of this filesystem), replacing what is there, or exchanging both.
    /// Type compatibility and loops have been checked; emptiness of a replaced directory has not.
    fn rename(
        &self,
        _cx: &mut Cx,
        _name: &[u8],
        _new_dir: &InodeRef,
        _new_name: &[u8],
        _exchange: bool,
    ) -> Res<()> {
        Err(Errno::EPERM)
    }

    /// Target of a symbolic link.
    fn read_link(&self, _cx: &mut Cx) -> Res<Vec<u8>> {
        Err(Errno::EINVAL)
    }

    /// For the magic links of proc(5): the place itself, whatever the link's text says. `None` = an ordinary link.
    fn magic(&self, _cx: &mut Cx) -> Option<Res<Rc<Dentry>>> {
        None
    }

    /// Changes attributes.
    fn set_attr(&self, _cx: &mut Cx, _attr: &SetAttr) -> Res<()> {
        Err(Errno::EPERM)
    }

    /// Records an access, if the filesystem keeps access times.
    fn touch_atime(&self, _cx: &mut Cx) {}

    /// Reads content at `offset`; 0 at the end.
    fn read_at(&self, _cx: &mut Cx, _offset: u64, _buf: &mut [u8]) -> Res<usize> {
        Err(if self.kind() == Kind::Dir { Errno::EISDIR } else { Errno::EINVAL })
    }

    /// Writes content at `offset`, growing the file.
    fn write_at(&self, _cx: &mut Cx, _offset: u64, _buf: &[u8]) -> Res<usize> {
        Err(Errno::EINVAL)
    }

    /// fallocate(2) for this file.
    fn allocate(&self, _cx: &mut Cx, _mode: u32, _offset: u64, _len: u64) -> Res<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The next data (`hole` false) or hole at or after `offset`; ENXIO past the end (lseek(2)).
    fn seek_data(&self, cx: &mut Cx, offset: u64, hole: bool) -> Res<u64> {
        let size = self.meta(cx)?.size;
        match (offset < size, hole) {
            (false, _) => Err(Errno::ENXIO),
            (true, false) => Ok(offset),
            (true, true) => Ok(size),
        }
    }

    /// The content as a source of mappings (mmap(2)); `at` is the name it was opened by.
    fn map(self: Rc<Self>, _cx: &mut Cx, _at: &Rc<Dentry>) -> Res<Rc<dyn MapSource>> {
        Err(Errno::ENODEV)
    }

    /// Seals of a memfd (fcntl(2)); `None` = the file cannot be sealed.
    fn seals(&self) -> Option<&std::cell::Cell<u32>> {
        None
    }

    /// Opens a file of a kind of its own. `None`: regular files, directories, devices, FIFOs open as everywhere.
    fn open(
        self: Rc<Self>,
        _cx: &mut Cx,
        _dentry: &Rc<Dentry>,
        _flags: u32,
    ) -> Option<Res<Rc<dyn FileOps>>> {
        None
    }

    /// Value of an extended attribute; `None` = the attribute is not there.
    fn get_xattr(&self, _cx: &mut Cx, _name: &[u8]) -> Res<Option<Vec<u8>>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets (`Some`) or removes an extended attribute.
    fn set_xattr(&self, _cx: &mut Cx, _name: &[u8], _value: Option<&[u8]>) -> Res<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Names of the extended attributes, sorted.
    fn list_xattr(&self, _cx: &mut Cx) -> Res<Vec<Box<[u8]>>> {
        Ok(Vec::new())
    }
}
