//! The lookaside tables and the fast path of a memory access.
#![allow(unsafe_code)] // raw table and memory pointers, so that the interpreter's loop keeps them in locals

use crate::phys::host;
use crate::{Frame, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, Phys};

/// Entries of a table: as many as there are pages below 4 GiB.
const PAGES: usize = 1 << (32 - PAGE_SHIFT);

/// What a table says of a page. One comparison tells whether an access is on the fast path: the address differs from the tag
/// in the low bits alone, and that difference, the offset in the page, leaves room for the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Entry {
    /// The page's own address; in an entry that does not hold, that of a page that has another one. (So zeros hold nothing:
    /// page 0 is never entered.)
    pub tag: u64,
    /// Physical address of its first byte: what the comparison leaves, the offset in the page, is added to it.
    pub frame: u32,
    /// Makes the size a power of two.
    pub unused: u32,
}

impl Entry {
    /// The entry at `at` of a table when it holds nothing.
    fn none(at: usize) -> Entry {
        // The place of page 0, whose tag would be 0.
        let tag = if at == 0 { PAGE_SIZE as u64 } else { 0 };
        Entry { tag, frame: 0, unused: 0 }
    }

    /// Whether the entry, which is at `at`, holds.
    fn holds(self, at: usize) -> bool {
        self.tag != 0 && place(self.tag) == at
    }
}

/// Where the entry is of the page that `va` is in.
fn place(va: u64) -> usize {
    (va >> PAGE_SHIFT) as usize % PAGES
}

/// Read and write tables of the current address space. A page's [`Entry`] is found by the low half of its address, so pages that
/// are multiples of 4 GiB apart share one, which is for the one that was entered last: address spaces that large are sparse.
pub struct Lookaside {
    read: Box<[Entry]>,
    write: Box<[Entry]>,
    /// Places with an entry in either table, so that a switch of address space costs its working set and not 2^20.
    filled: Vec<u32>,
    /// By frame: where in `write` there may be an entry for it, or [`NOWHERE`], or [`ANYWHERE`]. Programs that make code write and run the
    /// same pages in turn, and each time their entries have to be found.
    writers: Box<[u32]>,
}

/// Of a frame that no entry lets anybody write to.
const NOWHERE: u32 = 0;
/// Of a frame that several may.
const ANYWHERE: u32 = u32::MAX;

impl Default for Lookaside {
    fn default() -> Self {
        Lookaside::new()
    }
}

impl Lookaside {
    /// Empty tables (36 MiB of zero pages, of which two are touched).
    pub fn new() -> Lookaside {
        let writers = vec![NOWHERE; PAGES].into_boxed_slice();
        Lookaside { read: empty(), write: empty(), filled: Vec::new(), writers }
    }

    /// Enters the page of `va` as readable and, if `writable`, writable.
    pub fn fill(&mut self, va: u64, frame: Frame, writable: bool) {
        let tag = va & !PAGE_MASK;
        if tag == 0 {
            return;
        }
        let entry = Entry { tag, frame: frame.addr(), unused: 0 };
        let at = place(va);
        if !self.read[at].holds(at) && !self.write[at].holds(at) {
            // `clear_range` leaves its places in the list: sort them out before it outgrows the table.
            if self.filled.len() >= PAGES {
                self.filled.sort_unstable();
                self.filled.dedup();
            }
            self.filled.push(at as u32);
        }
        self.read[at] = entry;
        self.write[at] = if writable { entry } else { Entry::none(at) };
        if writable {
            let known = self.writers[number(frame)];
            // What is there may be long gone.
            let another = known != NOWHERE && known != at as u32 + 1 && self.writes(known, frame);
            self.writers[number(frame)] = if another { ANYWHERE } else { at as u32 + 1 };
        }
    }

    /// Whether there is an entry to write to `frame` at this of `writers`.
    fn writes(&self, writer: u32, frame: Frame) -> bool {
        if writer == NOWHERE || writer == ANYWHERE {
            return writer == ANYWHERE;
        }
        let at = writer as usize - 1;
        let entry = self.write[at];
        entry.holds(at) && entry.frame == frame.addr()
    }

    /// Forgets the pages of `va .. va + len`.
    pub fn clear_range(&mut self, va: u64, len: u64) {
        let pages = va >> PAGE_SHIFT..va.saturating_add(len).div_ceil(PAGE_SIZE as u64);
        let many = pages.end.saturating_sub(pages.start) > self.filled.len() as u64;
        let (filled, near) = if many { (&self.filled[..], 0..0) } else { (&[][..], pages.clone()) };
        let filled = filled.iter().map(|at| *at as usize);
        for at in filled.chain(near.map(|page| page as usize % PAGES)) {
            for table in [&mut self.read, &mut self.write] {
                if pages.contains(&(table[at].tag >> PAGE_SHIFT)) {
                    table[at] = Entry::none(at);
                }
            }
        }
    }

    /// Makes every page read-only that maps `frame` (code was decoded from it).
    pub fn protect_frame(&mut self, frame: Frame) {
        let writer = std::mem::replace(&mut self.writers[number(frame)], NOWHERE);
        let one = [writer.wrapping_sub(1)];
        let places = if writer == ANYWHERE { &self.filled[..] } else { &one[..] };
        let holding = places.iter().filter(|at| self.writes(at.wrapping_add(1), frame));
        for at in holding.map(|at| *at as usize).collect::<Vec<_>>() {
            self.write[at] = Entry::none(at);
        }
    }

    /// Makes every page read-only (before a fork shares them).
    pub fn protect_all(&mut self) {
        for &at in &self.filled {
            self.write[at as usize] = Entry::none(at as usize);
        }
    }

    /// Forgets everything (another address space becomes current).
    pub fn clear(&mut self) {
        for at in self.filled.drain(..) {
            self.read[at as usize] = Entry::none(at as usize);
            self.write[at as usize] = Entry::none(at as usize);
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

/// A frame's place in [`Lookaside::writers`].
fn number(frame: Frame) -> usize {
    (frame.addr() >> PAGE_SHIFT) as usize % PAGES
}

fn empty() -> Box<[Entry]> {
    let mut entries = vec![Entry::default(); PAGES].into_boxed_slice();
    entries[0] = Entry::none(0);
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
        // SAFETY: the table has an entry for each of the 2^20 values of these bits.
        let entry = unsafe { *table.add((va as u32 >> PAGE_SHIFT) as usize) };
        let offset = va ^ entry.tag;
        if offset > (PAGE_SIZE - size_of::<T>()) as u64 {
            return None;
        }
        Some(host(self.base, entry.frame.wrapping_add(offset as u32)))
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
    fn pages_with_one_place_do_not_pass_for_each_other() {
        let (mut phys, mut look, low) = setup();
        let high = phys.alloc().unwrap();
        for (base, other) in [(0x40_0000, 0x7F00_0040_0000), (0x1_0000_0000, 0)] {
            phys.bytes_mut(low)[5] = 1;
            phys.bytes_mut(high)[5] = 2;
            look.fill(other, low, true);
            look.fill(base, high, true);
            assert_eq!(look.tables(&phys).load::<u8>(base + 5), Some(2));
            assert_eq!(look.tables(&phys).load::<u8>(other + 5), None);
            assert!(!look.tables(&phys).store::<u8>(other + 5, 3));
            // Of pages that are not there nothing is to be forgotten.
            look.clear_range(other, 0x1000);
            look.clear_range(0x2_0000_0000, 1 << 46);
            assert_eq!(look.tables(&phys).load::<u8>(base + 5), Some(2));
            look.clear_range(base, 1 << 46);
            assert_eq!(look.tables(&phys).load::<u8>(base + 5), None);
            assert_eq!(look.tables(&phys).load::<u8>(0), None);
        }
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
    fn a_frame_is_protected_wherever_it_was_mapped_since() {
        let (phys, mut look, frame) = setup();
        let writable = |look: &Lookaside, va| look.tables(&phys).store::<u8>(va, 1);
        look.fill(0x8000, frame, true);
        look.clear();
        look.fill(0xA000, frame, true);
        look.protect_frame(frame);
        assert!(!writable(&look, 0x8000) && !writable(&look, 0xA000));
        // Again at two, of which one goes.
        for va in [0x8000, 0xA000, 0x1_0000_8000] {
            look.fill(va, frame, true);
        }
        look.clear_range(0xA000, 1);
        assert!(writable(&look, 0x1_0000_8000));
        look.protect_frame(frame);
        assert!([0x8000, 0xA000, 0x1_0000_8000].iter().all(|va| !writable(&look, *va)));
        look.protect_frame(frame);
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
