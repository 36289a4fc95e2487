//! Linux's own asynchronous I/O (io_setup(2), `fs/aio.c`): contexts, and the ring of finished requests in the program's
//! memory, which libaio reads without a system call.
//!
//! Reads, writes and syncs are over when they are submitted, as Linux's are on files without O_DIRECT; only
//! `IOCB_CMD_POLL` waits.

use std::collections::BTreeMap;
use std::rc::Rc;

use abi::Pod;
use mem::{FaultKind, Frame, PAGE_SIZE, Phys};

use crate::file::OpenFile;
use crate::mm::{FrameTrash, MapSource, SharedAnon, SourceName, SpaceId, Use};

/// Bytes of a ring's header, and of one event.
pub const HEADER: u64 = 32;
/// See [`HEADER`].
pub const EVENT: u64 = 32;
/// `AIO_RING_MAGIC`, compatible features, incompatible ones, length of the header.
const HEAD_REST: [u32; 4] = [0xa10a_10a1, 1, 0, HEADER as u32];
/// Offsets of the places where the reader and the writer are.
const HEAD: u64 = 8;
const TAIL: u64 = 12;

/// The memory of a ring.
pub struct Ring {
    pages: SharedAnon,
    /// Events that it holds; one less can wait.
    pub slots: u32,
}

impl MapSource for Ring {
    fn page(&self, phys: &mut Phys, index: u64, how: Use) -> Result<Frame, FaultKind> {
        self.pages.page(phys, index, how)
    }

    fn name(&self) -> SourceName {
        SourceName { path: b"/[aio] (deleted)".to_vec(), dev: 0xb, ino: 1 }
    }
}

impl Ring {
    /// A ring for `events` events and its length in bytes.
    pub fn new(phys: &mut Phys, events: u32, trash: FrameTrash) -> Option<(Ring, u64)> {
        let len = HEADER + u64::from(events) * EVENT;
        let pages = len.div_ceil(PAGE_SIZE as u64);
        let slots = ((pages * PAGE_SIZE as u64 - HEADER) / EVENT) as u32;
        let ring = Ring { pages: SharedAnon::new(pages, trash), slots };
        // id, size, head, tail
        let head = [0, slots, 0, 0].into_iter().chain(HEAD_REST);
        for (i, word) in head.enumerate() {
            ring.put(phys, i as u64 * 4, &word)?;
        }
        Some((ring, pages * PAGE_SIZE as u64))
    }

    fn put<T: Pod>(&self, phys: &mut Phys, at: u64, value: &T) -> Option<()> {
        let frame =
            self.pages.page(phys, at / PAGE_SIZE as u64, Use::Shared { write: true }).ok()?;
        let within = at as usize % PAGE_SIZE;
        value.to_bytes(phys.bytes_mut(frame).get_mut(within..within + T::SIZE)?);
        Some(())
    }

    fn get<T: Pod>(&self, phys: &mut Phys, at: u64) -> Option<T> {
        let frame =
            self.pages.page(phys, at / PAGE_SIZE as u64, Use::Shared { write: false }).ok()?;
        let within = at as usize % PAGE_SIZE;
        Some(T::from_bytes(phys.bytes(frame).get(within..within + T::SIZE)?))
    }

    /// Where the reader is; the program may have written anything there.
    fn head(&self, phys: &mut Phys) -> u32 {
        self.get::<u32>(phys, HEAD).unwrap_or(0) % self.slots
    }

    fn tail(&self, phys: &mut Phys) -> u32 {
        self.get::<u32>(phys, TAIL).unwrap_or(0) % self.slots
    }

    /// Events that wait.
    pub fn len(&self, phys: &mut Phys) -> u32 {
        (self.tail(phys) + self.slots - self.head(phys)) % self.slots
    }

    /// Adds an event; one too many is lost.
    pub fn push(&self, phys: &mut Phys, event: &[u64; 4]) {
        let tail = self.tail(phys);
        let next = (tail + 1) % self.slots;
        if next != self.head(phys)
            && self.put(phys, HEADER + u64::from(tail) * EVENT, event).is_some()
        {
            self.put(phys, TAIL, &next);
        }
    }

    /// The oldest event.
    pub fn peek(&self, phys: &mut Phys) -> Option<[u64; 4]> {
        let head = self.head(phys);
        if head == self.tail(phys) {
            return None;
        }
        self.get(phys, HEADER + u64::from(head) * EVENT)
    }

    /// The oldest event has been read.
    pub fn advance(&self, phys: &mut Phys) {
        let next = (self.head(phys) + 1) % self.slots;
        self.put(phys, HEAD, &next);
    }
}

/// A poll that waits.
pub struct Poll {
    /// Address of the program's request.
    pub iocb: u64,
    /// Its own word.
    pub data: u64,
    /// The file.
    pub file: Rc<OpenFile>,
    /// `POLL*` bits that end it.
    pub events: u32,
    /// The eventfd that is told.
    pub tell: Option<Rc<OpenFile>>,
}

/// A context.
pub struct Context {
    /// Its ring.
    pub ring: Rc<Ring>,
    /// What it counts for in `aio-nr`.
    pub requests: u64,
    /// Polls that wait.
    pub polls: Vec<Poll>,
    /// Woken at each event.
    pub key: crate::WaitKey,
}

/// All contexts, by address space and address of the ring.
#[derive(Default)]
pub struct Contexts {
    /// The contexts.
    pub map: BTreeMap<(SpaceId, u64), Context>,
}

impl Contexts {
    /// Requests that all contexts may have (`/proc/sys/fs/aio-nr`).
    pub fn requests(&self) -> u64 {
        self.map.values().map(|c| c.requests).sum()
    }

    /// Whether some poll waits.
    pub fn polls(&self) -> bool {
        self.map.values().any(|c| !c.polls.is_empty())
    }

    /// The address space goes.
    pub fn end(&mut self, space: SpaceId) {
        if !self.map.is_empty() {
            self.map.retain(|(of, _), _| *of != space);
        }
    }
}
