//! The lookaside tables and the fast path of a memory access.
#![allow(unsafe_code)] // raw table and memory pointers, so that the interpreter's loop keeps them in locals

use crate::phys::host;
use crate::{Frame, PAGE_SHIFT, PAGE_SIZE, Phys};

/// Pages below 4 GiB.
const PAGES: usize = 1 << (32 - PAGE_SHIFT);

/// What a table says of a page. One comparison tells whether an access is on the fast path: the address differs from the tag
/// in the low bits alone, and that difference, the offset in the page, leaves room for the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Entry {
    /// The page's own address; in an entry that does not hold, that of another page. (So a page of zeros holds nothing: page 0
    /// has no entry.)
    pub tag: u32,
    /// What makes a virtual address of the page a physical one when it is added (wrapping).
    pub delta: u32,
}

impl Entry {
    fn holds(self, page: u32) -> bool {
        self.tag == page << PAGE_SHIFT
    }
}

/// Of page 0, whose tag would be 0.
const NEVER: Entry = Entry { tag: PAGE_SIZE as u32, delta: 0 };

/// Read and write tables of the current address space: an [`Entry`] for each page below 4 GiB.
pub struct Lookaside {
    read: Box<[Entry]>,
    write: Box<[Entry]>,
    /// Pages with an entry in either table, so that a switch of address space costs its working set and not 2^20.
    filled: Vec<u32>,
}

impl Default for Lookaside {
    fn default() -> Self {
        Lookaside::new()
    }
}

impl Lookaside {
    /// Empty tables (16 MiB of zero pages, of which one in each is touched).
    pub fn new() -> Lookaside {
        Lookaside { read: empty(), write: empty(), filled: Vec::new() }
    }

    /// Enters the page of `va` (below 4 GiB, else ignored) as readable and, if `writable`, writable.
    pub fn fill(&mut self, va: u64, frame: Frame, writable: bool) {
        let Ok(va) = u32::try_from(va) else { return };
        let page = va >> PAGE_SHIFT;
        if page == 0 {
            return;
        }
        let tag = page << PAGE_SHIFT;
        let entry = Entry { tag, delta: frame.addr().wrapping_sub(tag) };
        let at = page as usize;
        if !self.read[at].holds(page) && !self.write[at].holds(page) {
            // `clear_range` leaves its pages in the list: sort them out before it outgrows the table.
            if self.filled.len() >= PAGES {
                self.filled.sort_unstable();
                self.filled.dedup();
            }
            self.filled.push(page);
        }
        self.read[at] = entry;
        self.write[at] = if writable { entry } else { Entry::default() };
    }

    /// Forgets the pages of `va .. va + len`.
    pub fn clear_range(&mut self, va: u64, len: u64) {
        let first = (va >> PAGE_SHIFT).clamp(1, PAGES as u64) as usize;
        let last = va.saturating_add(len).div_ceil(PAGE_SIZE as u64).min(PAGES as u64) as usize;
        if last.saturating_sub(first) > self.filled.len() {
            for &page in &self.filled {
                if (first..last).contains(&(page as usize)) {
                    self.read[page as usize] = Entry::default();
                    self.write[page as usize] = Entry::default();
                }
            }
        } else if first < last {
            self.read[first..last].fill(Entry::default());
            self.write[first..last].fill(Entry::default());
        }
    }

    /// Makes every page read-only that maps `frame` (code was decoded from it).
    pub fn protect_frame(&mut self, frame: Frame) {
        for &page in &self.filled {
            let entry = &mut self.write[page as usize];
            if entry.holds(page) && entry.tag.wrapping_add(entry.delta) == frame.addr() {
                *entry = Entry::default();
            }
        }
    }

    /// Makes every page read-only (before a fork shares them).
    pub fn protect_all(&mut self) {
        for &page in &self.filled {
            self.write[page as usize] = Entry::default();
        }
    }

    /// Forgets everything (another address space becomes current).
    pub fn clear(&mut self) {
        for page in self.filled.drain(..) {
            self.read[page as usize] = Entry::default();
            self.write[page as usize] = Entry::default();
        }
    }

    /// Where the tables for reads and for writes lie, for compiled code. They stay there.
    pub fn addresses(&self) -> (*const Entry, *const Entry) {
        (self.read.as_ptr(), self.write.as_ptr())
    }

    /// Raw view for the interpreter's loop.
    ///
    /// Invariant that makes [`Tables`] sound: every entry that holds names a live frame of `phys`; whoever frees or
    /// remaps a frame clears its entries first. Both objects must outlive the `Tables`.
    pub fn tables(&self, phys: &Phys) -> Tables {
        Tables { read: self.read.as_ptr(), write: self.write.as_ptr(), base: phys.base() }
    }
}

fn empty() -> Box<[Entry]> {
    let mut entries = vec![Entry::default(); PAGES].into_boxed_slice();
    entries[0] = NEVER;
    entries
}

mod sealed {
    pub trait Sealed {}
}

/// Plain values that guest memory can hold.
pub trait Value: Copy + sealed::Sealed {}
macro_rules! values { ($($t:ty)*) => { $(impl sealed::Sealed for $t {} impl Value for $t {})* } }
values!(u8 u16 u32 u64 u128);
#[cfg(target_arch = "wasm32")]
values!(core::arch::wasm32::v128);

/// The tables as raw pointers: `Copy`, to be kept in locals during a run.
#[derive(Clone, Copy)]
pub struct Tables {
    read: *const Entry,
    write: *const Entry,
    base: *mut u8,
}

impl Tables {
    /// Loads from `va` on the fast path; `None` = take the slow path (no entry, or the value crosses a page).
    #[inline(always)]
    pub fn load<T: Value>(&self, va: u64) -> Option<T> {
        let p = self.pointer::<T>(self.read, va)?;
        // SAFETY: `pointer` checked that the whole value lies in one entered page; invariant of `Lookaside::tables`.
        Some(unsafe { p.cast::<T>().read_unaligned() })
    }

    /// Stores to `va` on the fast path; false = take the slow path.
    #[inline(always)]
    pub fn store<T: Value>(&self, va: u64, value: T) -> bool {
        let Some(p) = self.pointer::<T>(self.write, va) else { return false };
        // SAFETY: as for `load`; the write table only holds pages that may be written.
        unsafe { p.cast::<T>().write_unaligned(value) };
        true
    }

    #[inline(always)]
    fn pointer<T>(&self, table: *const Entry, va: u64) -> Option<*mut u8> {
        // SAFETY: the table has an entry for each of the 2^20 pages below 4 GiB.
        let entry = unsafe { *table.add((va as u32 >> PAGE_SHIFT) as usize) };
        let offset = va ^ u64::from(entry.tag);
        if offset > (PAGE_SIZE - size_of::<T>()) as u64 {
            return None;
        }
        Some(host(self.base, (va as u32).wrapping_add(entry.delta)))
    }

    /// Reads physical memory at `phys` (from [`crate::Translate`]); the value must not cross the page.
    #[inline(always)]
    pub fn load_phys<T: Value>(&self, phys: u32) -> T {
        debug_assert!(phys as usize % PAGE_SIZE <= PAGE_SIZE - size_of::<T>());
        // SAFETY: `phys` came from a successful translation.
        unsafe { host(self.base, phys).cast::<T>().read_unaligned() }
    }

    /// Writes physical memory at `phys` (from [`crate::Translate`] for a write).
    #[inline(always)]
    pub fn store_phys<T: Value>(&self, phys: u32, value: T) {
        debug_assert!(phys as usize % PAGE_SIZE <= PAGE_SIZE - size_of::<T>());
        // SAFETY: `phys` came from a successful translation for writing.
        unsafe { host(self.base, phys).cast::<T>().write_unaligned(value) }
    }

    /// Copies `len` bytes between physical ranges that each lie within one page, as `memmove`.
    #[inline(always)]
    pub fn copy_phys(&self, to: u32, from: u32, len: usize) {
        debug_assert!(to as usize % PAGE_SIZE + len <= PAGE_SIZE);
        debug_assert!(from as usize % PAGE_SIZE + len <= PAGE_SIZE);
        // SAFETY: both came from successful translations (`to` for a write) and the ranges stay in their pages.
        unsafe {
            let from = host(self.base, from);
            core::ptr::copy(from, host(self.base, to), len);
        }
    }

    /// Fills `len` bytes from physical address `to` on, within one page.
    #[inline(always)]
    pub fn fill_phys(&self, to: u32, byte: u8, len: usize) {
        debug_assert!(to as usize % PAGE_SIZE + len <= PAGE_SIZE);
        // SAFETY: `to` came from a successful translation for a write and the range stays in its page.
        unsafe { core::ptr::write_bytes(host(self.base, to), byte, len) }
    }

    /// Physical address of `va` for reading if entered (one table look-up).
    #[inline(always)]
    pub fn lookup_read(&self, va: u64) -> Option<u32> {
        self.pointer::<u8>(self.read, va)
            .map(|p| (p as usize).wrapping_sub(self.base as usize) as u32)
    }

    /// Physical address of `va` for writing if entered (one table look-up).
    #[inline(always)]
    pub fn lookup_write(&self, va: u64) -> Option<u32> {
        self.pointer::<u8>(self.write, va)
            .map(|p| (p as usize).wrapping_sub(self.base as usize) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> (Phys, Lookaside, Frame) {
        let mut phys = Phys::new(1 << 20);
        let frame = phys.alloc().unwrap();
        (phys, Lookaside::new(), frame)
    }

    #[test]
    fn fast_path_reaches_the_frame_and_stops_at_its_end() {
        let (mut phys, mut look, frame) = setup();
        look.fill(0x40_0000, frame, true);
        let tables = look.tables(&phys);
        assert!(tables.store::<u64>(0x40_0ff8, 0x1122_3344_5566_7788));
        assert!(!tables.store::<u64>(0x40_0ff9, 0));
        assert_eq!(tables.load::<u32>(0x40_0ffc), Some(0x1122_3344));
        assert_eq!(tables.load::<u8>(0x1_0040_0ffc), None);
        assert_eq!(phys.bytes_mut(frame)[0xff8], 0x88);
    }

    #[test]
    fn protecting_a_frame_stops_writes_only() {
        let (phys, mut look, frame) = setup();
        look.fill(0x8000, frame, true);
        look.fill(0x9000, frame, true);
        look.protect_frame(frame);
        let tables = look.tables(&phys);
        assert!(!tables.store::<u8>(0x8000, 1) && !tables.store::<u8>(0x9000, 1));
        assert_eq!(tables.load::<u8>(0x9000), Some(0));
    }

    #[test]
    fn clearing_a_range_leaves_its_neighbours() {
        let (phys, mut look, frame) = setup();
        for page in 0..4 {
            look.fill(0x10_0000 + 0x1000 * page, frame, false);
        }
        look.clear_range(0x10_1000, 0x1001);
        let tables = look.tables(&phys);
        let hit = [0, 1, 2, 3].map(|p| tables.load::<u8>(0x10_0000 + p * 0x1000).is_some());
        assert_eq!(hit, [true, false, false, true]);
        look.clear();
        assert_eq!(look.tables(&phys).load::<u8>(0x10_0000), None);
    }
}
