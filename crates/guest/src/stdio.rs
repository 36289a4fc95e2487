//! The standard streams, on hosts of every kind.
//!
//! - A look at standard input without waiting may tell nothing at all: node's ends before it has looked. What a wait says
//!   counts, and where looks prove blind they take a millisecond, seldom.
//! - A host that says that there is input and then has none (`EAGAIN`) is asked again after a while, not at once.
//! - A host that cannot wait for input (browsers), or says that there is some and then blocks (Bun at a terminal, always), is read from,
//!   which may block the box: only when nothing in it can run, and when something is to happen within a second, after that.
//! - Output is gathered: what comes in quick succession goes out at once, since for some hosts each write is a request to somebody else.
//! - A stream that takes no more output for now (`EAGAIN`), or a part, is waited for: nothing is lost, and the box stands still as long.

use crate::waits::Waits;
use crate::wasi;
use abi::Errno;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Standard input's descriptor.
pub const STDIN: wasi::Fd = 0;
/// Standard output's.
pub const STDOUT: wasi::Fd = 1;
/// Standard error's.
pub const STDERR: wasi::Fd = 2;

/// Bytes of input that are read at once.
const PIECE: usize = 64 << 10;
const MS: u64 = 1_000_000;
/// Looks that take time are as far apart as this, ns.
const LOOK_EVERY: u64 = 20 * MS;
/// Waits that show that looks are blind.
const BLIND_AFTER: u32 = 3;
/// The longest pauses before a host is asked again for input, and whether it takes output, ns.
const INPUT_PAUSE: u64 = 20 * MS;
const OUTPUT_PAUSE: u64 = 10 * MS;
/// A read of what is there takes less, ns.
const PROMPT: u64 = 100 * MS;
/// Reads in a row that took longer, after which a host is not believed.
const SLOW_READS: u32 = 3;
/// How long a read that may block is put off for what is to happen before, ns.
const PUT_OFF: u64 = 1000 * MS;

/// What is known of standard input.
#[derive(Default)]
pub struct Stdin {
    /// Bytes that were read and not asked for yet.
    read: RefCell<VecDeque<u8>>,
    /// A wait or a look has said that there is something.
    ready: Cell<bool>,
    /// The last look said that there is nothing.
    denied: Cell<bool>,
    /// Waits that ended at once after that.
    blind: Cell<u32>,
    looked: Cell<u64>,
    /// How often in a row there was nothing although the host said so.
    empty: Cell<u32>,
    /// The host cannot tell whether there is input.
    unpolled: Cell<bool>,
    /// Nothing is known of a terminal's host before it has said that there is nothing: until somebody types, that is the truth.
    doubted: Cell<bool>,
    slow: Cell<u32>,
}

thread_local! {
    /// What [`Stdin::leave`] has left.
    static LEFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Stdin {
    /// Does not believe the host, which edits lines, before it has said something that only one that looks can say.
    pub fn doubt(&self) {
        self.doubted.set(true);
    }

    /// A stream that begins with what a frozen life has left, if this is the next one.
    pub fn new() -> Stdin {
        let read = LEFT.take().into();
        Stdin { read: RefCell::new(read), ..Stdin::default() }
    }

    /// Leaves what was read and not asked for to the next life.
    pub fn leave(&self) {
        LEFT.set(self.read.borrow().iter().copied().collect());
    }

    /// There is no next life but this one.
    pub fn keep(&self) {
        LEFT.take();
    }

    /// Whether a read would give something, or the end.
    pub fn is_ready(&self) -> bool {
        if self.ready.get() || !self.read.borrow().is_empty() {
            return true;
        }
        if self.unpolled.get() {
            return false;
        }
        let mut timeout = 0;
        if self.blind.get() >= BLIND_AFTER {
            let now = wasi::clock(false);
            if now.saturating_sub(self.looked.get()) < LOOK_EVERY {
                return false;
            }
            self.looked.set(now);
            timeout = MS;
        }
        let Some(fds) = wasi::wait(&[STDIN], &[], Some(timeout)) else {
            self.unpolled.set(true);
            return false;
        };
        let ready = !fds.is_empty();
        if !ready {
            self.doubted.set(false);
        } else if self.doubted.get() {
            self.unpolled.set(true);
            return false;
        }
        self.ready.set(ready);
        self.denied.set(!ready);
        ready
    }

    /// Reads what there is: bytes, 0 at the end, `EAGAIN` if there is nothing.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        if !self.is_ready() {
            return Err(Errno::EAGAIN);
        }
        let mut waiting = self.read.borrow_mut();
        if waiting.is_empty() {
            self.ready.set(false);
            let mut piece = vec![0; PIECE];
            let start = wasi::clock(false);
            let read = wasi::read(STDIN, &mut piece);
            self.judge(wasi::clock(false).saturating_sub(start));
            match read {
                Err(Errno::EAGAIN) => self.empty.set(self.empty.get().saturating_add(1)),
                _ => self.empty.set(0),
            }
            piece.truncate(read?);
            waiting.extend(piece);
        }
        let len = buf.len().min(waiting.len());
        for (to, from) in buf.iter_mut().zip(waiting.drain(..len)) {
            *to = from;
        }
        Ok(len)
    }

    /// What a read of `took` nanoseconds tells of the host.
    fn judge(&self, took: u64) {
        if took < PROMPT {
            self.slow.set(0);
            if self.doubted.get() {
                self.unpolled.set(false);
            }
        } else if self.doubted.replace(false) {
            self.unpolled.set(true);
        } else {
            self.slow.set(self.slow.get() + 1);
            if self.slow.get() >= SLOW_READS {
                self.unpolled.set(true);
            }
        }
    }

    /// Adds standard input to what is waited for, or a pause if it has only pretended to have something or nobody can tell; the
    /// longest time to wait, if there is one. `others`: something else is waited for.
    pub fn watch(&self, waits: &mut Waits, others: bool) -> Option<u64> {
        match self.empty.get() {
            0 if self.unpolled.get() => {
                self.ready.set(true);
                Some(if others { PUT_OFF } else { 0 })
            }
            0 => {
                waits.read(STDIN);
                None
            }
            // It is asked again after the pause, whatever the host says.
            times => {
                self.ready.set(true);
                Some(pause(times).min(INPUT_PAUSE))
            }
        }
    }

    /// A wait of `took` nanoseconds has said that there is something.
    pub fn told(&self, took: u64) {
        self.ready.set(true);
        if self.denied.replace(false) && took < MS / 2 {
            self.blind.set(self.blind.get().saturating_add(1));
        }
    }
}

/// Longer from time to time.
fn pause(times: u32) -> u64 {
    MS << times.min(8)
}

/// Standard output. What comes after a while without output goes to the host at once; what follows soon after waits for more.
#[derive(Default)]
pub struct Stdout {
    gathered: RefCell<Vec<u8>>,
    /// When something went to the host, ns.
    wrote: Cell<u64>,
    /// Why what was gathered did not go out: the next write hears of it.
    failed: Cell<Option<Errno>>,
    /// Bytes that programs have written since the last turn began, standard error's too.
    written: Cell<usize>,
}

/// Bytes that are not gathered any longer.
const GATHERED: usize = 64 << 10;
/// Bytes after which a turn ends: a host that steps the box holds no more for a reader who is behind.
const MUCH: usize = 256 << 10;
/// How long output waits for more while programs run, ns.
const GATHER_FOR: u64 = 5 * MS;

impl Stdout {
    /// Takes all of it, or says why the host does not.
    pub fn write(&self, buf: &[u8]) -> Result<usize, Errno> {
        self.count(buf.len());
        let mut gathered = self.gathered.borrow_mut();
        if gathered.is_empty() && (buf.len() >= GATHERED || self.is_due()) {
            let written = write(STDOUT, buf);
            self.wrote.set(wasi::clock(false));
            return written;
        }
        gathered.extend_from_slice(buf);
        let goes = gathered.len() >= GATHERED || self.is_due();
        drop(gathered);
        if goes {
            self.flush();
        }
        self.failed.take().map_or(Ok(buf.len()), Err)
    }

    /// Programs have written so many bytes.
    pub fn count(&self, bytes: usize) {
        self.written.set(self.written.get().saturating_add(bytes));
    }

    /// Whether a turn should end for what was written in it.
    pub fn wrote_much(&self) -> bool {
        self.written.get() >= MUCH
    }

    /// A turn begins.
    pub fn turn(&self) {
        self.written.set(0);
    }

    fn is_due(&self) -> bool {
        wasi::clock(false).saturating_sub(self.wrote.get()) >= GATHER_FOR
    }

    /// Sends what has waited long enough.
    pub fn settle(&self) {
        if !self.gathered.borrow().is_empty() && self.is_due() {
            self.flush();
        }
    }

    /// Sends what was gathered.
    pub fn flush(&self) {
        let gathered = self.gathered.take();
        let mut rest = gathered.as_slice();
        while !rest.is_empty() {
            match write(STDOUT, rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(error) => {
                    self.failed.set(Some(error));
                    break;
                }
            }
        }
        if !gathered.is_empty() {
            self.wrote.set(wasi::clock(false));
        }
    }
}

impl Drop for Stdout {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes to standard output or error: all of it, or what went before an error.
pub fn write(fd: wasi::Fd, buf: &[u8]) -> Result<usize, Errno> {
    let (mut done, mut times) = (0, 0);
    while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
        match wasi::write(fd, rest) {
            Ok(n @ 1..) => {
                (done, times) = (done + n, 0);
                continue;
            }
            Ok(0) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) if done > 0 => return Ok(done),
            // Hosts on WASI's preview 2 have no other word for a reader that is gone.
            Err(Errno::EIO) => return Err(Errno::EPIPE),
            Err(error) => return Err(error),
        }
        if times == 0 {
            wasi::wait(&[], &[fd], Some(OUTPUT_PAUSE));
        } else {
            wasi::wait(&[], &[], Some(pause(times).min(OUTPUT_PAUSE)));
        }
        times = (times + 1).min(8);
    }
    Ok(buf.len())
}
