//! Pipes and FIFOs (pipe(7), fifo(7)).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::fcntl::{O_ACCMODE, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY};
use abi::poll::{POLLERR, POLLHUP, READABLE, WRITABLE};
use abi::tty::FIONREAD;

use super::{FileOps, OpenFile, anon};
use crate::fs::cx::{Notifier, cap};
use crate::fs::{Cx, Dentry, Kind, Res, Shared};
use crate::wait::WaitKey;

/// Writes of at most so many bytes are not mixed with others (pipe(7)).
pub const PIPE_BUF: usize = 4096;
/// Capacity of a new pipe in bytes.
const CAPACITY: usize = 65536;
/// Largest capacity without privilege (`fs.pipe-max-size`).
const MAX_CAPACITY: usize = 1 << 20;

/// Open FIFOs by (dev, ino).
#[derive(Default)]
struct Fifos(RefCell<BTreeMap<(u64, u64), Weak<Pipe>>>);

/// The buffer between both ends.
pub struct Pipe {
    buffer: RefCell<VecDeque<u8>>,
    capacity: Cell<usize>,
    readers: Cell<u32>,
    writers: Cell<u32>,
    /// How often an end for reading, and one for writing, was opened: whoever opens a FIFO waits for the other.
    opens: Cell<(u64, u64)>,
    notifier: Notifier,
}

impl Pipe {
    fn new(shared: &Rc<Shared>) -> Rc<Pipe> {
        Rc::new(Pipe {
            buffer: RefCell::default(),
            capacity: Cell::new(CAPACITY),
            readers: Cell::new(0),
            writers: Cell::new(0),
            opens: Cell::new((0, 0)),
            notifier: shared.notifier(),
        })
    }

    fn open_end(self: &Rc<Pipe>, reads: bool, writes: bool) -> Rc<PipeEnd> {
        let (r, w) = self.opens.get();
        self.opens.set((r + u64::from(reads), w + u64::from(writes)));
        self.readers.set(self.readers.get() + u32::from(reads));
        self.writers.set(self.writers.get() + u32::from(writes));
        self.notifier.wake();
        Rc::new(PipeEnd { pipe: self.clone(), reads, writes, seen: self.opens.get() })
    }

    /// Bytes that can be written at once.
    fn room(&self) -> usize {
        self.capacity.get().saturating_sub(self.buffer.borrow().len())
    }

    /// Copies up to `max` bytes from the front without taking them (tee(2)).
    pub fn peek(&self, max: usize) -> Vec<u8> {
        self.buffer.borrow().iter().take(max).copied().collect()
    }
}

/// An open end (or both, for a FIFO opened with `O_RDWR`).
pub struct PipeEnd {
    /// The pipe.
    pub pipe: Rc<Pipe>,
    reads: bool,
    writes: bool,
    seen: (u64, u64),
}

impl PipeEnd {
    /// Whether whoever opened this end of a FIFO must still wait for the other side (fifo(7)).
    pub fn awaits_partner(&self) -> bool {
        let (r, w) = self.pipe.opens.get();
        match (self.reads, self.writes) {
            (true, false) => self.pipe.writers.get() == 0 && w == self.seen.1,
            (false, true) => self.pipe.readers.get() == 0 && r == self.seen.0,
            _ => false,
        }
    }

    /// The pipe's capacity in bytes (F_GETPIPE_SZ).
    pub fn capacity(&self) -> usize {
        self.pipe.capacity.get()
    }

    /// F_SETPIPE_SZ: the new capacity.
    pub fn set_capacity(&self, cx: &Cx, size: u64) -> Res<usize> {
        let size = usize::try_from(size).ok().filter(|s| *s <= 1 << 31).ok_or(Errno::EINVAL)?;
        let size = size.max(PIPE_BUF).next_power_of_two();
        if size > MAX_CAPACITY && !cx.cred.capable(cap::SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        if size < self.pipe.buffer.borrow().len() {
            return Err(Errno::EBUSY);
        }
        self.pipe.capacity.set(size);
        self.pipe.notifier.wake();
        Ok(size)
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let pipe = &self.pipe;
        pipe.readers.set(pipe.readers.get() - u32::from(self.reads));
        pipe.writers.set(pipe.writers.get() - u32::from(self.writes));
        if pipe.readers.get() == 0 && pipe.writers.get() == 0 {
            pipe.buffer.borrow_mut().clear();
        }
        pipe.notifier.wake();
    }
}

/// pipe2(2): the reading and the writing end.
pub fn pipe(cx: &mut Cx, flags: u32) -> (Rc<OpenFile>, Rc<OpenFile>) {
    let shared = cx.shared.clone();
    let dentry = anon::dentry(&shared, "pipe", Kind::Fifo, cx.cred.uid, cx.cred.gid);
    let pipe = Pipe::new(&shared);
    if let Ok(meta) = dentry.inode().meta(cx) {
        // So that /proc/self/fd/N can be opened again.
        shared
            .registry::<Fifos>()
            .0
            .borrow_mut()
            .insert((meta.dev, meta.ino), Rc::downgrade(&pipe));
    }
    let (reader, writer) = (pipe.open_end(true, false), pipe.open_end(false, true));
    let flags = flags & O_NONBLOCK;
    (
        OpenFile::new(&shared, &dentry, reader, flags | O_RDONLY),
        OpenFile::new(&shared, &dentry, writer, flags | O_WRONLY),
    )
}

/// Opens the FIFO `dentry`, or an anonymous pipe again through `/proc/self/fd`. ENXIO for a non-blocking writer
/// without a reader.
pub fn open_fifo(cx: &mut Cx, dentry: &Rc<Dentry>, flags: u32) -> Res<Rc<dyn FileOps>> {
    let meta = dentry.inode().meta(cx)?;
    let key = (meta.dev, meta.ino);
    let registry = cx.shared.registry::<Fifos>();
    let mut fifos = registry.0.borrow_mut();
    fifos.retain(|_, pipe| pipe.strong_count() > 0);
    let pipe = match fifos.get(&key).and_then(|p| p.upgrade()) {
        Some(pipe) => pipe,
        None => Pipe::new(&cx.shared),
    };
    fifos.insert(key, Rc::downgrade(&pipe));
    drop(fifos);
    let mode = flags & O_ACCMODE;
    let named = !dentry.is_anonymous();
    if named && mode == O_WRONLY && flags & O_NONBLOCK != 0 && pipe.readers.get() == 0 {
        return Err(Errno::ENXIO);
    }
    Ok(pipe.open_end(mode != O_WRONLY, mode == O_WRONLY || mode == O_RDWR))
}

impl FileOps for PipeEnd {
    fn kind_name(&self) -> &'static str {
        "pipe"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _cx: &mut Cx, _file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        let mut buffer = self.pipe.buffer.borrow_mut();
        if buf.is_empty() {
            return Ok(0);
        }
        if buffer.is_empty() {
            return if self.pipe.writers.get() == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        let n = buf.len().min(buffer.len());
        let (front, back) = buffer.as_slices();
        let first = n.min(front.len());
        buf[..first].copy_from_slice(&front[..first]);
        buf[first..n].copy_from_slice(&back[..n - first]);
        buffer.drain(..n);
        drop(buffer);
        self.pipe.notifier.wake();
        Ok(n)
    }

    fn write(&self, _cx: &mut Cx, _file: &OpenFile, buf: &[u8]) -> Res<usize> {
        if self.pipe.readers.get() == 0 {
            return Err(Errno::EPIPE);
        }
        let room = self.pipe.room();
        if buf.is_empty() {
            return Ok(0);
        }
        if room == 0 || (buf.len() <= PIPE_BUF && room < buf.len()) {
            return Err(Errno::EAGAIN);
        }
        let n = room.min(buf.len());
        self.pipe.buffer.borrow_mut().extend(&buf[..n]);
        self.pipe.notifier.wake();
        Ok(n)
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        let mut events = 0;
        if self.reads {
            if !self.pipe.buffer.borrow().is_empty() {
                events |= READABLE;
            }
            if self.pipe.writers.get() == 0 && self.pipe.opens.get().1 > 0 {
                events |= POLLHUP;
            }
        }
        if self.writes {
            if self.pipe.room() >= PIPE_BUF {
                events |= WRITABLE;
            }
            if self.pipe.readers.get() == 0 {
                events |= POLLERR;
            }
        }
        events
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        out.push(self.pipe.notifier.key());
    }

    fn generation(&self) -> u64 {
        self.pipe.notifier.generation()
    }

    fn ioctl(&self, _: &mut Cx, _: &OpenFile, request: u32, _: u64, data: &mut [u8]) -> Res<u64> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n = self.pipe.buffer.borrow().len() as u32;
        data.copy_from_slice(&n.to_le_bytes());
        Ok(0)
    }
}
