//! Open files: what an open file of any kind can do ([`FileOps`]), and the open file description.
//!
//! Nothing here waits: an operation that cannot go on returns `EAGAIN`, and the system call turns that into a wait on
//! [`FileOps::keys`] unless the file is non-blocking.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{
    O_ACCMODE, O_CLOEXEC, O_CREAT, O_EXCL, O_LARGEFILE, O_NOCTTY, O_PATH, O_RDONLY, O_TRUNC,
    O_WRONLY, SEEK_CUR, SEEK_END, SEEK_SET,
};
use abi::poll::{IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_DELETE_SELF, IN_OPEN, READABLE, WRITABLE};

use mem::Purpose;

use super::owner::Owner;
use super::{Cx, Dentry, Kind, Res, Shared};
use crate::source::MapSource;
use crate::wait::WaitKey;

/// Opens an inode whose filesystem has no way of its own ([`super::Inode::open`]): regular files, directories, devices, FIFOs.
pub type OpenKind = fn(&mut Cx, &Rc<Dentry>, u32) -> Res<Rc<dyn FileOps>>;

/// What an open file can do. The defaults say that this kind of object cannot.
pub trait FileOps {
    /// What kind of object it is, for messages.
    fn kind_name(&self) -> &'static str;

    /// For downcasts to one kind of object.
    fn as_any(&self) -> &dyn Any;

    /// read(2) at the file's own position. `EAGAIN` = nothing there yet.
    fn read(&self, _cx: &mut Cx, _file: &OpenFile, _buf: &mut [u8]) -> Res<usize> {
        Err(Errno::EINVAL)
    }

    /// write(2) at the file's own position. `EAGAIN` = no room yet. May take less than all.
    fn write(&self, _cx: &mut Cx, _file: &OpenFile, _buf: &[u8]) -> Res<usize> {
        Err(Errno::EINVAL)
    }

    /// pread(2).
    fn read_at(&self, _cx: &mut Cx, _file: &OpenFile, _at: u64, _buf: &mut [u8]) -> Res<usize> {
        Err(Errno::ESPIPE)
    }

    /// pwrite(2).
    fn write_at(&self, _cx: &mut Cx, _file: &OpenFile, _at: u64, _buf: &[u8]) -> Res<usize> {
        Err(Errno::ESPIPE)
    }

    /// lseek(2).
    fn seek(&self, _cx: &mut Cx, _file: &OpenFile, _offset: i64, _whence: u32) -> Res<u64> {
        Err(Errno::ESPIPE)
    }

    /// Whether reads and writes go to positions in a content that does not run dry.
    fn is_seekable(&self) -> bool {
        false
    }

    /// Whether each write is a message of its own: one of no bytes, too, and what it leaves of one is not offered to it again.
    fn takes_messages(&self) -> bool {
        false
    }

    /// Whether bytes may go between it and a pipe without a copy of the caller's: from it, or with `write` to it (splice(2),
    /// sendfile(2)).
    fn splices(&self, _write: bool) -> bool {
        true
    }

    /// `POLL*` events that are true now.
    fn poll(&self, _cx: &mut Cx) -> u32 {
        READABLE | WRITABLE
    }

    /// Whether poll(2) and epoll(7) make sense (epoll refuses regular files and directories).
    fn is_pollable(&self) -> bool {
        true
    }

    /// The keys that are woken when [`FileOps::poll`] may have changed.
    fn keys(&self, _cx: &mut Cx, _out: &mut Vec<WaitKey>) {}

    /// Counts changes of readiness, for edge-triggered epoll(7).
    fn generation(&self) -> u64 {
        0
    }

    /// As [`FileOps::generation`] for some `POLL*` events, where the object tells them apart.
    fn generation_of(&self, _events: u32) -> u64 {
        self.generation()
    }

    /// Whether `O_ASYNC` has an effect: signals when input or output becomes possible (fcntl(2)).
    fn signals_io(&self) -> bool {
        false
    }

    /// Monotonic time in ns at which readiness changes by itself.
    fn deadline(&self) -> Option<u64> {
        None
    }

    /// ioctl(2): `data` holds the argument's record (its size is known from the request), to be read or filled.
    fn ioctl(
        &self,
        _cx: &mut Cx,
        _file: &OpenFile,
        _request: u32,
        _arg: u64,
        _data: &mut [u8],
    ) -> Res<u64> {
        Err(Errno::ENOTTY)
    }

    /// The content as a source of mappings (mmap(2)).
    fn map(&self, _cx: &mut Cx, _file: &OpenFile) -> Res<Rc<dyn MapSource>> {
        Err(Errno::ENODEV)
    }

    /// fsync(2).
    fn sync(&self, _cx: &mut Cx, _file: &OpenFile) -> Res<()> {
        Err(Errno::EINVAL)
    }

    /// A datagram from the kernel for a netlink socket (`SIGEV_THREAD` of mq_notify(2)); without bytes it only says
    /// whether one could come: `ENOTSOCK` if the file is no socket, `EINVAL` if it is another.
    fn kernel_datagram(&self, _bytes: Option<&[u8]>) -> Res<()> {
        Err(Errno::ENOTSOCK)
    }

    /// Further lines of `/proc/pid/fdinfo/N`.
    fn fdinfo(&self) -> String {
        String::new()
    }
}

/// Bytes that an open file is counted with.
const OPEN_FILE_BYTES: u64 = 512;

/// An open file description (open(2)).
pub struct OpenFile {
    dentry: Rc<Dentry>,
    ops: Rc<dyn FileOps>,
    flags: Cell<u32>,
    /// File offset.
    pub pos: Cell<u64>,
    /// Unique number, which names it as the owner of flock(2) and OFD locks.
    pub id: u64,
    /// F_SET_RW_HINT, which changes nothing here.
    pub hint: Cell<u8>,
    /// Who gets its signals (F_SETOWN, F_SETSIG).
    pub owner: Cell<Owner>,
    /// Counts as one who may write to the file (open(2), ETXTBSY).
    writes: Cell<bool>,
    shared: Rc<Shared>,
}

impl OpenFile {
    /// A description of `ops`, shown as `dentry`.
    pub fn new(
        shared: &Rc<Shared>,
        dentry: &Rc<Dentry>,
        ops: Rc<dyn FileOps>,
        flags: u32,
    ) -> Rc<OpenFile> {
        shared.account.charge(Purpose::Programs, OPEN_FILE_BYTES);
        shared.open_files.opened();
        let file = Rc::new(OpenFile {
            dentry: dentry.clone(),
            ops,
            flags: Cell::new(flags & !(O_CLOEXEC | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC)),
            pos: Cell::new(0),
            id: shared.unique(),
            hint: Cell::default(),
            owner: Cell::default(),
            writes: Cell::new(false),
            shared: shared.clone(),
        });
        if file.is_counted() {
            file.writes.set(file.is_writable());
            shared.opens.opened(dentry.inode(), file.is_writable());
        }
        file
    }

    /// The description that a file in memory is made with does not keep the file from being executed.
    pub fn forget_writing(&self) {
        if self.writes.replace(false) {
            self.shared.opens.forget_writer(self.dentry.inode());
        }
    }

    /// Whether leases and running programs care for it.
    fn is_counted(&self) -> bool {
        !self.is_path() && self.dentry.inode().kind() == Kind::File
    }

    /// Opens the inode of `dentry`; permissions have been checked.
    pub fn open(cx: &mut Cx, dentry: &Rc<Dentry>, flags: u32) -> Res<Rc<OpenFile>> {
        let inode = dentry.inode();
        let ops: Rc<dyn FileOps> = if flags & O_PATH != 0 {
            Rc::new(PathOnly)
        } else if let Some(ops) = inode.clone().open(cx, dentry, flags) {
            ops?
        } else {
            let open_kind = cx.shared.open_kind;
            open_kind(cx, dentry, flags)?
        };
        let large = if flags & O_PATH == 0 { O_LARGEFILE } else { 0 };
        let file = OpenFile::new(&cx.shared, dentry, ops, flags | large);
        if flags & O_PATH == 0 {
            cx.shared.watches.event(dentry, IN_OPEN);
        }
        Ok(file)
    }

    /// The name it was opened by.
    pub fn dentry(&self) -> &Rc<Dentry> {
        &self.dentry
    }

    /// Its operations.
    pub fn ops(&self) -> &Rc<dyn FileOps> {
        &self.ops
    }

    /// Its object, if it is a `T`.
    pub fn object<T: 'static>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }

    /// Access mode and status flags (F_GETFL).
    pub fn flags(&self) -> u32 {
        self.flags.get()
    }

    /// Sets the status flags (F_SETFL has masked them).
    pub fn set_flags(&self, flags: u32) {
        self.flags.set(flags);
    }

    /// Whether it was opened for reading.
    pub fn is_readable(&self) -> bool {
        self.flags() & O_PATH == 0 && self.flags() & O_ACCMODE != O_WRONLY
    }

    /// Whether it was opened for writing.
    pub fn is_writable(&self) -> bool {
        self.flags() & O_PATH == 0 && self.flags() & O_ACCMODE != O_RDONLY
    }

    /// Whether it only names a place (`O_PATH`).
    pub fn is_path(&self) -> bool {
        self.flags() & O_PATH != 0
    }

    /// Whether operations must not wait.
    pub fn is_nonblocking(&self) -> bool {
        self.flags() & abi::fcntl::O_NONBLOCK != 0
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.shared.account.uncharge(Purpose::Programs, OPEN_FILE_BYTES);
        self.shared.open_files.closed();
        self.shared.locks.release_file(&self.shared.wakes, self.id);
        if !self.is_path() && self.dentry.parent().is_some() {
            let mask = if self.is_writable() { IN_CLOSE_WRITE } else { IN_CLOSE_NOWRITE };
            self.shared.watches.event(&self.dentry, mask);
        }
        if self.is_counted() {
            let inode = self.dentry.inode();
            if self.shared.opens.closed(&self.shared, inode, self.writes.get()) {
                self.shared.watches.self_event(inode, IN_DELETE_SELF, true);
            }
        }
    }
}

/// A file opened with `O_PATH`: every operation is refused with `EBADF`.
struct PathOnly;

impl FileOps for PathOnly {
    fn kind_name(&self) -> &'static str {
        "path"
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _: &mut Cx, _: &OpenFile, _: &mut [u8]) -> Res<usize> {
        Err(Errno::EBADF)
    }
    fn write(&self, _: &mut Cx, _: &OpenFile, _: &[u8]) -> Res<usize> {
        Err(Errno::EBADF)
    }
}

/// read(2) of a kind of file that has pread(2): at the file's own position, which moves on.
pub fn read_on(ops: &dyn FileOps, cx: &mut Cx, file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
    let n = ops.read_at(cx, file, file.pos.get(), buf)?;
    file.pos.set(file.pos.get().wrapping_add(n as u64));
    Ok(n)
}

/// The new position for lseek(2), given the size for SEEK_END.
pub fn seek_to(file: &OpenFile, offset: i64, whence: u32, size: u64) -> Res<u64> {
    let base = match whence {
        SEEK_SET => 0,
        SEEK_CUR => file.pos.get(),
        SEEK_END => size,
        _ => return Err(Errno::EINVAL),
    };
    let at = base.checked_add_signed(offset).filter(|at| *at <= i64::MAX as u64);
    let at = at.ok_or(Errno::EINVAL)?;
    file.pos.set(at);
    Ok(at)
}
