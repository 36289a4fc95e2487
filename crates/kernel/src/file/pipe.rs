//! Pipes and FIFOs (pipe(7), fifo(7)).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::fcntl::{O_ACCMODE, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY};
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

/// Bytes that lie in a pipe.
#[derive(Clone, Copy)]
struct Run {
    len: usize,
    /// Read alone; what the reader leaves of it is lost (pipe(2), `O_DIRECT`).
    packet: bool,
    /// Bytes of pages that it takes without filling them: of a packet, and of a file's pages that were spliced.
    waste: usize,
}

/// Open FIFOs by (dev, ino).
#[derive(Default)]
struct Fifos(RefCell<BTreeMap<(u64, u64), Weak<Pipe>>>);

/// The buffer between both ends.
pub struct Pipe {
    buffer: RefCell<VecDeque<u8>>,
    /// Lengths of what was written, in order: packets of `O_DIRECT`, and runs of bytes without borders between them.
    runs: RefCell<VecDeque<Run>>,
    capacity: Cell<usize>,
    /// What is written is lost, and there is always room.
    drains: Cell<bool>,
    readers: Cell<u32>,
    writers: Cell<u32>,
    /// How often an end for reading, and one for writing, was opened: whoever opens a FIFO waits for the other.
    opens: Cell<(u64, u64)>,
    /// Woken when there is more to read, or nobody will write any more.
    readable: Notifier,
    /// Woken when there is room, or nobody will read any more.
    writable: Notifier,
}

impl Pipe {
    fn new(shared: &Rc<Shared>) -> Rc<Pipe> {
        Rc::new(Pipe {
            buffer: RefCell::default(),
            runs: RefCell::default(),
            capacity: Cell::new(CAPACITY),
            drains: Cell::new(false),
            readers: Cell::new(0),
            writers: Cell::new(0),
            opens: Cell::new((0, 0)),
            readable: shared.notifier(),
            writable: shared.notifier(),
        })
    }

    fn open_end(self: &Rc<Pipe>, reads: bool, writes: bool) -> Rc<PipeEnd> {
        let (r, w) = self.opens.get();
        self.opens.set((r + u64::from(reads), w + u64::from(writes)));
        self.readers.set(self.readers.get() + u32::from(reads));
        self.writers.set(self.writers.get() + u32::from(writes));
        self.wake_both();
        Rc::new(PipeEnd { pipe: self.clone(), reads, writes, seen: self.opens.get() })
    }

    fn has_no_reader(&self) -> bool {
        self.readers.get() == 0 && !self.drains.get()
    }

    fn wake_both(&self) {
        self.readable.wake();
        self.writable.wake();
    }

    /// Bytes that can be written at once. A packet takes a page of its own.
    fn room(&self) -> usize {
        if self.drains.get() {
            return self.capacity.get();
        }
        let runs = self.runs.borrow();
        let used = self.buffer.borrow().len() + runs.iter().map(|r| r.waste).sum::<usize>();
        self.capacity.get().saturating_sub(used)
    }

    fn push(&self, bytes: &[u8], packet: bool) {
        if self.drains.get() {
            return;
        }
        self.buffer.borrow_mut().extend(bytes);
        let mut runs = self.runs.borrow_mut();
        match runs.back_mut() {
            Some(last) if !packet && !last.packet && last.waste == 0 => last.len += bytes.len(),
            _ => {
                let waste = if packet { PIPE_BUF.saturating_sub(bytes.len()) } else { 0 };
                runs.push_back(Run { len: bytes.len(), packet, waste });
            }
        }
    }

    /// Takes as much of `bytes` as fits in pages, when the first lies at `within` its page: splice(2) moves pages.
    fn push_pages(&self, bytes: &[u8], within: usize) -> usize {
        let len = bytes.len().min(self.room().saturating_sub(within));
        if len > 0 && !self.drains.get() {
            self.buffer.borrow_mut().extend(&bytes[..len]);
            let waste = (within + len).next_multiple_of(PIPE_BUF) - len;
            self.runs.borrow_mut().push_back(Run { len, packet: false, waste });
        }
        len
    }

    /// Takes up to `buf.len()` bytes, of one packet only if there is one at the front.
    fn pull(&self, buf: &mut [u8]) -> usize {
        let (mut buffer, mut runs) = (self.buffer.borrow_mut(), self.runs.borrow_mut());
        let mut done = 0;
        while let Some(run) = runs.front_mut() {
            let n = run.len.min(buf.len() - done);
            if n == 0 || (run.packet && done > 0) {
                break;
            }
            for (to, from) in buf[done..done + n].iter_mut().zip(buffer.iter()) {
                *to = *from;
            }
            done += n;
            let (gone, packet) = (if run.packet { run.len } else { n }, run.packet);
            buffer.drain(..gone);
            run.len -= gone;
            run.waste =
                if run.waste == 0 { 0 } else { run.len.next_multiple_of(PIPE_BUF) - run.len };
            if run.len == 0 {
                runs.pop_front();
            }
            if packet {
                break;
            }
        }
        done
    }

    /// Gives back the last of the bytes that were just taken (splice(2): what the target does not take stays).
    pub fn put_back(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (mut buffer, mut runs) = (self.buffer.borrow_mut(), self.runs.borrow_mut());
        for byte in bytes.iter().rev() {
            buffer.push_front(*byte);
        }
        match runs.front_mut() {
            Some(run) if !run.packet => {
                run.len += bytes.len();
                if run.waste > 0 {
                    run.waste = run.len.next_multiple_of(PIPE_BUF) - run.len;
                }
            }
            _ => runs.push_front(Run { len: bytes.len(), packet: false, waste: 0 }),
        }
        self.readable.wake();
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

    /// From now on what is written to the pipe is lost, whether anybody reads or not.
    pub fn drain(&self) {
        self.pipe.drains.set(true);
        self.pipe.buffer.borrow_mut().clear();
        self.pipe.runs.borrow_mut().clear();
        self.pipe.writable.wake();
    }

    /// splice(2) of a file's bytes, the first of which lies at `within` its page: bytes taken.
    pub fn splice_in(&self, bytes: &[u8], within: usize) -> Res<usize> {
        if self.pipe.has_no_reader() {
            return Err(Errno::EPIPE);
        }
        let n = self.pipe.push_pages(bytes, within);
        self.pipe.readable.wake();
        if n == 0 { Err(Errno::EAGAIN) } else { Ok(n) }
    }

    /// Bytes that there is room for.
    pub fn room(&self) -> usize {
        self.pipe.room()
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
        self.pipe.writable.wake();
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
            pipe.runs.borrow_mut().clear();
        }
        pipe.wake_both();
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
    let flags = flags & (O_NONBLOCK | O_DIRECT);
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
        let buffer = self.pipe.buffer.borrow();
        if buf.is_empty() {
            return Ok(0);
        }
        if buffer.is_empty() {
            return if self.pipe.writers.get() == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        drop(buffer);
        let n = self.pipe.pull(buf);
        self.pipe.writable.wake();
        Ok(n)
    }

    fn write(&self, _cx: &mut Cx, file: &OpenFile, buf: &[u8]) -> Res<usize> {
        if self.pipe.has_no_reader() {
            return Err(Errno::EPIPE);
        }
        let room = self.pipe.room();
        if buf.is_empty() {
            return Ok(0);
        }
        if room == 0 || (buf.len() <= PIPE_BUF && room < buf.len()) {
            return Err(Errno::EAGAIN);
        }
        if file.flags() & O_DIRECT != 0 {
            let packets = buf.chunks(PIPE_BUF).take(room / PIPE_BUF);
            let n = packets.inspect(|packet| self.pipe.push(packet, true)).map(<[u8]>::len).sum();
            self.pipe.readable.wake();
            return if n > 0 { Ok(n) } else { Err(Errno::EAGAIN) };
        }
        let n = room.min(buf.len());
        self.pipe.push(&buf[..n], false);
        self.pipe.readable.wake();
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
            if self.pipe.has_no_reader() {
                events |= POLLERR;
            }
        }
        events
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        if self.reads {
            out.push(self.pipe.readable.key());
        }
        if self.writes {
            out.push(self.pipe.writable.key());
        }
    }

    fn generation(&self) -> u64 {
        let read = if self.reads { self.pipe.readable.generation() } else { 0 };
        let write = if self.writes { self.pipe.writable.generation() } else { 0 };
        read.wrapping_add(write)
    }

    fn signals_io(&self) -> bool {
        true
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
