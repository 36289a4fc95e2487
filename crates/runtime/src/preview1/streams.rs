//! The descriptors that are not wasmtime-wasi's: standard streams and byte streams to this process.

use super::errno;
use super::files::Files;
use crate::descriptor;
use crate::freeze::Freezer;
use crate::interrupt::Waker;
use crate::stream::{Sink, Source};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

const STDIN: i32 = 0;
const STDOUT: i32 = 1;
const STDERR: i32 = 2;

/// The streams of one run.
pub struct Streams {
    stdin: Source,
    /// Standard output and error; none is this process's own.
    out: [Option<Sink>; 2],
    /// This process's own streams; none is one that is closed.
    host: [Option<OwnedFd>; 3],
    extra: BTreeMap<i32, UnixStream>,
    /// Answers about files, under the number after those.
    files: Option<(i32, Files)>,
    /// Ends the run from outside.
    interrupt: Option<Waker>,
    /// Freezes the box, perhaps at the end of its input or when it waits.
    pub freezer: Option<Freezer>,
    /// The end of standard input has come, and the box is frozen before it hears of that.
    withheld: bool,
}

/// When a stream can be used.
pub enum Readiness<'a> {
    /// At any time.
    Now,
    /// Not while the box runs.
    Never,
    /// When this can be read or written.
    Of(BorrowedFd<'a>),
}

impl Streams {
    /// Takes up the streams. `extra` are byte streams in the order of their numbers; `files` has the number after them.
    pub fn new(
        stdin: Source,
        out: [Option<Sink>; 2],
        extra: Vec<UnixStream>,
        files: Option<Files>,
        interrupt: Option<Waker>,
    ) -> Streams {
        let files = files.map(|files| (descriptor::FIRST as i32 + extra.len() as i32, files));
        let numbers = (descriptor::FIRST..).map(|number| number as i32);
        let host = [
            std::io::stdin().as_fd().try_clone_to_owned().ok(),
            std::io::stdout().as_fd().try_clone_to_owned().ok(),
            std::io::stderr().as_fd().try_clone_to_owned().ok(),
        ];
        let extra = numbers.zip(extra).collect();
        Streams { stdin, out, host, extra, files, interrupt, freezer: None, withheld: false }
    }

    /// What can be read once the run is to end.
    pub fn interrupt(&self) -> Option<BorrowedFd<'_>> {
        self.interrupt.as_ref().map(AsFd::as_fd)
    }

    /// Whether the run is to end.
    pub fn interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(Waker::is_given)
    }

    /// Whether the run is to end when the box waits.
    pub fn ends_at_rest(&self) -> bool {
        self.interrupt.as_ref().is_some_and(Waker::ends_at_rest)
    }

    /// Whether a descriptor is one of these.
    pub fn has(&self, fd: i32) -> bool {
        (STDIN..=STDERR).contains(&fd) || self.extra.contains_key(&fd) || self.is_files(fd)
    }

    fn is_files(&self, fd: i32) -> bool {
        self.files.as_ref().is_some_and(|(number, _)| *number == fd)
    }

    /// Reads: bytes, 0 at the end.
    pub fn read(&mut self, fd: i32, buf: &mut [u8]) -> Result<usize, i32> {
        let wanted = buf.len();
        if let Some((_, files)) = self.files.as_mut().filter(|(number, _)| *number == fd) {
            return Ok(files.answer(buf));
        }
        let read = match (fd, self.extra.get_mut(&fd)) {
            (STDIN, _) => match &mut self.stdin {
                Source::Host => match &self.host[0] {
                    Some(stdin) => rustix::io::read(stdin, buf).map_err(Into::into),
                    None => return Err(errno::BADF),
                },
                Source::Bytes(bytes) => bytes.read(buf),
                Source::Silent => return Err(errno::AGAIN),
            },
            (_, Some(stream)) => stream.read(buf),
            (_, None) => return Err(errno::BADF),
        };
        if fd == STDIN
            && wanted > 0
            && let (Ok(0), Some(freezer)) = (&read, &self.freezer)
            && freezer.takes_end_of_input()
        {
            self.withheld = true;
            freezer.fire();
            return Err(errno::AGAIN);
        }
        read.map_err(|error| errno::from_io(&error))
    }

    /// Writes: bytes taken.
    pub fn write(&mut self, fd: i32, bytes: &[u8]) -> Result<usize, i32> {
        if let Some((_, files)) = self.files.as_mut().filter(|(number, _)| *number == fd) {
            files.ask(bytes);
            return Ok(bytes.len());
        }
        let written = match (fd, self.extra.get_mut(&fd)) {
            (STDOUT | STDERR, _) => match &self.out[usize::from(fd == STDERR)] {
                Some(sink) => sink.write(bytes),
                None => match self.host(fd) {
                    Some(stream) => write_patiently(stream, bytes).map_err(Into::into),
                    None => return Err(errno::BADF),
                },
            },
            (_, Some(stream)) => stream.write(bytes),
            (_, None) => return Err(errno::BADF),
        };
        written.map_err(|error| errno::from_io(&error))
    }

    /// Closes; a standard stream stays with this process.
    pub fn close(&mut self, fd: i32) {
        self.extra.remove(&fd);
    }

    /// When a stream can be read (or written); none for what is not one of these.
    pub fn readiness(&self, fd: i32, write: bool) -> Option<Readiness<'_>> {
        if self.is_files(fd) {
            return Some(Readiness::Now);
        }
        Some(match (fd, write, self.extra.get(&fd)) {
            (_, _, Some(stream)) => Readiness::Of(stream.as_fd()),
            (STDIN, false, _)
                if self.withheld
                    && self.freezer.as_ref().is_some_and(Freezer::takes_end_of_input) =>
            {
                Readiness::Never
            }
            (STDIN, false, _) => match &self.stdin {
                Source::Host => self.host(fd).map_or(Readiness::Now, Readiness::Of),
                Source::Bytes(_) => Readiness::Now,
                Source::Silent => Readiness::Never,
            },
            (STDOUT | STDERR, true, _) => match &self.out[usize::from(fd == STDERR)] {
                Some(_) => Readiness::Now,
                None => self.host(fd).map_or(Readiness::Now, Readiness::Of),
            },
            _ => return None,
        })
    }

    /// `fdstat` (24 bytes: type, flags at 2, rights at 8, inheriting rights at 16).
    pub fn fdstat(&self, fd: i32) -> [u8; 24] {
        const CHARACTER_DEVICE: u8 = 2;
        const SOCKET_STREAM: u8 = 6;
        const NONBLOCK: u8 = 1 << 2;
        const FD_READ: u64 = 1 << 1;
        const FD_WRITE: u64 = 1 << 6;
        const POLL_FD_READWRITE: u64 = 1 << 27;
        let own = match fd {
            STDIN => matches!(self.stdin, Source::Host),
            STDOUT | STDERR => self.out[usize::from(fd == STDERR)].is_none(),
            _ => false,
        };
        let terminal = own && self.host(fd).is_some_and(rustix::termios::isatty);
        let (kind, flags, rights) = match fd {
            STDIN => (if terminal { CHARACTER_DEVICE } else { 0 }, 0, FD_READ),
            STDOUT | STDERR => (if terminal { CHARACTER_DEVICE } else { 0 }, 0, FD_WRITE),
            _ => (SOCKET_STREAM, NONBLOCK, FD_READ | FD_WRITE),
        };
        let mut stat = [0; 24];
        (stat[0], stat[2]) = (kind, flags);
        stat[8..16].copy_from_slice(&(rights | POLL_FD_READWRITE).to_le_bytes());
        stat
    }

    /// This process's own standard stream.
    fn host(&self, fd: i32) -> Option<BorrowedFd<'_>> {
        self.host.get(usize::try_from(fd).ok()?)?.as_ref().map(AsFd::as_fd)
    }
}

/// Writes to this process's own stream, which somebody else may have set not to block.
fn write_patiently(stream: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    loop {
        match rustix::io::write(stream, bytes) {
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&stream, PollFlags::OUT)], None)?;
            }
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
