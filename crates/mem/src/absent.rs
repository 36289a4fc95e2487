//! Static frames whose bytes are not in memory from the start: they come, a chunk at a time, when they are first touched.
#![allow(unsafe_code)] // chunks are written to physical memory

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Bytes that come at once; the last chunk of an image may be shorter.
pub const CHUNK: u32 = 128 << 10;

/// The record, little-endian words, by which whoever keeps the contents of a box's files outside of it and the box agree; a box exports its
/// address as the global `boxer-image`.
#[repr(C)]
pub struct Place {
    /// Address of the image.
    pub address: AtomicU32,
    /// Its length in bytes.
    pub len: AtomicU32,
    /// Bytes at its front that are always in the box: all but the contents of files.
    pub front: AtomicU32,
    /// 1: the rest is kept outside.
    pub outside: AtomicU32,
}

impl Place {
    /// Bytes of the record.
    pub const SIZE: usize = size_of::<Place>();
    /// Place of [`Place::front`] in it, in bytes.
    pub const FRONT_AT: usize = offset_of!(Place, front);
    /// Place of [`Place::outside`].
    pub const OUTSIDE_AT: usize = offset_of!(Place, outside);

    /// No image.
    pub const fn new() -> Place {
        Place {
            address: AtomicU32::new(0),
            len: AtomicU32::new(0),
            front: AtomicU32::new(0),
            outside: AtomicU32::new(0),
        }
    }

    /// The addresses between which chunks lie, if they are kept outside of the box.
    pub fn outside(&self) -> Option<(u32, u32)> {
        let address = self.address.load(Relaxed);
        let (front, len) = (self.front.load(Relaxed), self.len.load(Relaxed));
        (self.outside.load(Relaxed) == 1).then_some((address + front.min(len), address + len))
    }
}

impl Default for Place {
    fn default() -> Self {
        Place::new()
    }
}

/// Who has the bytes.
pub trait Supply {
    /// Fills `chunk` with the bytes that lie `offset` behind the first one that was absent; false: they cannot be had (now).
    fn bring(&mut self, offset: u32, chunk: &mut [u8]) -> bool;
}

/// What is not there yet.
pub(crate) struct Absent {
    /// First address of the chunks, and the one behind the last.
    start: u32,
    end: u32,
    /// Which chunks are there, a bit for each.
    there: Vec<u64>,
    supply: Option<Box<dyn Supply>>,
}

impl Absent {
    pub(crate) fn new(start: u32, end: u32) -> Absent {
        let chunks = end.saturating_sub(start).div_ceil(CHUNK) as usize;
        Absent { start, end, there: vec![0; chunks.div_ceil(64)], supply: None }
    }

    pub(crate) fn set_supply(&mut self, supply: Option<Box<dyn Supply>>) {
        self.supply = supply;
    }

    /// See [`crate::Phys::bring`]; `host` says where an address lies.
    pub(crate) fn bring(&mut self, host: impl Fn(u32) -> *mut u8, address: u32, len: u32) -> bool {
        let first = address.max(self.start);
        let end = address.saturating_add(len).min(self.end);
        if first >= end {
            return true;
        }
        let chunks = (first - self.start) / CHUNK..=(end - 1 - self.start) / CHUNK;
        chunks.into_iter().all(|chunk| self.bring_chunk(&host, chunk))
    }

    fn bring_chunk(&mut self, host: impl Fn(u32) -> *mut u8, chunk: u32) -> bool {
        let (word, bit) = (chunk as usize / 64, 1 << (chunk % 64));
        if self.there[word] & bit != 0 {
            return true;
        }
        let Some(supply) = &mut self.supply else { return false };
        let offset = chunk * CHUNK;
        let address = self.start + offset;
        let len = CHUNK.min(self.end - address) as usize;
        // SAFETY: The chunk lies in the static frames. Nobody has read it: whoever reads static frames asks for them first. So for all
        // others these are the bytes that have always been there, as with pages of a file that a system maps and reads later.
        let bytes = unsafe { std::slice::from_raw_parts_mut(host(address), len) };
        if !supply.bring(offset, bytes) {
            return false;
        }
        self.there[word] |= bit;
        true
    }
}
