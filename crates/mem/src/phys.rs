//! Frames of guest physical memory: allocation, reference counts and bytes.
#![allow(unsafe_code)] // the one place that turns physical addresses into pointers

use std::rc::Rc;

use crate::absent::{Absent, Supply};
use crate::account::{Account, Purpose};
use crate::{PAGE_SHIFT, PAGE_SIZE};

/// One 4 KiB page of physical memory, by number (physical address / 4096). Frame 0 never exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(u32);

impl Frame {
    /// The frame that holds physical address `addr`.
    pub fn containing(addr: u32) -> Frame {
        Frame(addr >> PAGE_SHIFT)
    }
    /// Physical address of the frame's first byte.
    pub fn addr(self) -> u32 {
        self.0 << PAGE_SHIFT
    }
    /// The frame `n` further on.
    pub fn offset(self, n: u32) -> Frame {
        Frame(self.0 + n)
    }
}

/// What is known of a counted frame.
#[derive(Clone, Copy, Default)]
struct Info {
    /// Mappings and caches that hold the frame; 0 = free or not ours.
    refs: u32,
    /// Decoded code was made from these bytes (see [`Phys::mark_code`]).
    code: bool,
    /// Counted for [`Purpose::Files`].
    file: bool,
}

impl Info {
    fn purpose(&self) -> Purpose {
        if self.file { Purpose::Files } else { Purpose::Programs }
    }
}

/// Where physical address `phys` lies, `base` being the place of physical address 0. In a box the address is the place:
/// the pointer is made from the number alone, because one computed from a null that the compiler sees could be taken
/// to alias nothing.
#[inline(always)]
pub(crate) fn host(base: *mut u8, phys: u32) -> *mut u8 {
    if cfg!(target_arch = "wasm32") {
        core::ptr::with_exposed_provenance_mut(phys as usize)
    } else {
        base.wrapping_add(phys as usize)
    }
}

/// All of guest physical memory.
pub struct Phys {
    base: *mut u8,
    /// First frame that `info` describes; frames below it (the rootfs image) are static.
    first: u32,
    info: Vec<Info>,
    free: Vec<Frame>,
    /// Fresh, never used frames: `fresh.0 .. fresh.1`.
    fresh: (u32, u32),
    account: Rc<Account>,
    /// Frames whose decoded code became stale, until the machine collects them.
    code_writes: Vec<Frame>,
    /// Static frames that are not in memory yet.
    absent: Option<Absent>,
}

impl Phys {
    /// Physical memory that may hand out up to `limit_bytes` of frames. Natively this reserves (not commits) 4 GiB.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(limit_bytes: u64) -> Phys {
        use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
        const SPACE: usize = 1 << 32;
        // No alignment beyond the allocator's own: a stronger one would make it clear (and commit) all 4 GiB.
        let Ok(layout) = Layout::from_size_align(SPACE + PAGE_SIZE, 16) else {
            unreachable!("4 GiB is a valid layout")
        };
        // SAFETY: the layout has a non-zero size. The reservation is never given back: `Tables` may point into it.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        let base = start.wrapping_add(start.align_offset(PAGE_SIZE));
        Phys::with(base, 1, (1, (SPACE >> PAGE_SHIFT) as u32), limit_bytes)
    }

    /// Physical memory that may hand out up to `limit_bytes` of frames, taken from the Wasm linear memory as needed.
    #[cfg(target_arch = "wasm32")]
    pub fn new(limit_bytes: u64) -> Phys {
        Phys::with(core::ptr::null_mut(), 0, (0, 0), limit_bytes)
    }

    fn with(base: *mut u8, first: u32, fresh: (u32, u32), limit_bytes: u64) -> Phys {
        let limit = limit_bytes.min(u64::from(u32::MAX)) & !(PAGE_SIZE as u64 - 1);
        Phys {
            base,
            first,
            info: Vec::new(),
            free: Vec::new(),
            fresh,
            account: Account::new(limit),
            code_writes: Vec::new(),
            absent: None,
        }
    }

    /// Makes `image` (page-aligned in a box; copied natively) available as static frames and returns its physical
    /// address. The bytes must stay unchanged for ever.
    #[cfg(target_arch = "wasm32")]
    pub fn adopt_static(&mut self, image: &'static [u8]) -> Option<u32> {
        let addr = image.as_ptr() as usize;
        (addr % PAGE_SIZE == 0).then_some(addr as u32)
    }

    /// Makes `image` (page-aligned in a box; copied natively) available as static frames and returns its physical
    /// address. Must come before the first allocation. `None` if it does not fit.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn adopt_static(&mut self, image: &[u8]) -> Option<u32> {
        let frames = u32::try_from(image.len().div_ceil(PAGE_SIZE)).ok()?;
        if !self.info.is_empty() || frames >= self.fresh.1 - self.fresh.0 {
            return None;
        }
        let start = Frame(self.fresh.0);
        self.fresh.0 += frames;
        self.first = self.fresh.0;
        // SAFETY: the range was just taken from the fresh part of the reservation, so it is in bounds and unshared.
        unsafe {
            core::ptr::copy_nonoverlapping(
                image.as_ptr(),
                self.base.add(start.addr() as usize),
                image.len(),
            );
        }
        Some(start.addr())
    }

    /// Of the static frames those from address `start` to `end` are not in memory: who reads them calls [`Phys::bring`] first.
    pub fn be_absent(&mut self, start: u32, end: u32) {
        self.absent = Some(Absent::new(start, end));
    }

    /// Whether there are such frames.
    pub fn has_absent(&self) -> bool {
        self.absent.is_some()
    }

    /// Who has the bytes of [`Phys::be_absent`] from now on; none: nobody.
    pub fn supply(&mut self, supply: Option<Box<dyn Supply>>) {
        if let Some(absent) = &mut self.absent {
            absent.set_supply(supply);
        }
    }

    /// Makes static frames be in memory, whose bytes may be read then; false if they cannot be had.
    pub fn bring(&mut self, address: u32, len: u32) -> bool {
        let base = self.base;
        match &mut self.absent {
            Some(absent) => absent.bring(|at| host(base, at), address, len),
            None => true,
        }
    }

    /// Takes more fresh frames from the host; false if it has none.
    #[cfg(target_arch = "wasm32")]
    fn refill(&mut self, frames: u32) -> bool {
        /// Wasm pages asked for at a time: 1 MiB.
        const STEP: usize = 16;
        const PER_WASM_PAGE: u32 = 16;
        let pages = (frames.div_ceil(PER_WASM_PAGE) as usize).next_multiple_of(STEP);
        let old = core::arch::wasm32::memory_grow(0, pages);
        if old == usize::MAX {
            return false;
        }
        let start = old as u32 * PER_WASM_PAGE;
        let end = start + pages as u32 * PER_WASM_PAGE;
        if self.fresh.1 == start && self.fresh.0 != self.fresh.1 {
            self.fresh.1 = end;
        } else {
            for f in self.fresh.0..self.fresh.1 {
                self.free.push(Frame(f));
            }
            self.fresh = (start, end);
        }
        if self.info.is_empty() {
            self.first = start;
        }
        true
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn refill(&mut self, _frames: u32) -> bool {
        false
    }

    /// One zeroed frame of a program's memory with one reference; `None` when memory is exhausted.
    pub fn alloc(&mut self) -> Option<Frame> {
        self.alloc_for(Purpose::Programs)
    }

    /// One zeroed frame with one reference; `None` when there is no memory left for that purpose.
    pub fn alloc_for(&mut self, purpose: Purpose) -> Option<Frame> {
        if self.account.room(purpose) < PAGE_SIZE as u64 {
            return None;
        }
        if let Some(frame) = self.free.pop() {
            self.bytes_mut(frame).fill(0);
            self.claim(frame, purpose);
            return Some(frame);
        }
        self.take_run(1, purpose)
    }

    /// `n` physically contiguous zeroed frames, each with one reference; `None` when no such run can be had.
    pub fn alloc_run(&mut self, n: u32) -> Option<Frame> {
        if n == 0 || u64::from(n) << PAGE_SHIFT > self.account.room(Purpose::Programs) {
            return None;
        }
        self.take_run(n, Purpose::Programs)
    }

    fn take_run(&mut self, n: u32, purpose: Purpose) -> Option<Frame> {
        if self.fresh.1 - self.fresh.0 < n && !self.refill(n) {
            return None;
        }
        if self.fresh.1 - self.fresh.0 < n {
            return None;
        }
        let start = Frame(self.fresh.0);
        self.fresh.0 += n;
        for i in 0..n {
            self.claim(start.offset(i), purpose);
        }
        Some(start)
    }

    fn claim(&mut self, frame: Frame, purpose: Purpose) {
        let i = (frame.0 - self.first) as usize;
        if i >= self.info.len() {
            self.info.resize(i + 1, Info::default());
        }
        self.info[i] = Info { refs: 1, code: false, file: purpose == Purpose::Files };
        self.account.take(purpose, PAGE_SIZE as u64);
    }

    fn info(&self, frame: Frame) -> Option<&Info> {
        self.info.get(frame.0.checked_sub(self.first)? as usize)
    }

    fn info_mut(&mut self, frame: Frame) -> Option<&mut Info> {
        self.info.get_mut(frame.0.checked_sub(self.first)? as usize)
    }

    /// True for frames of the rootfs image: not counted, read-only.
    pub fn is_static(&self, frame: Frame) -> bool {
        self.info(frame).is_none_or(|i| i.refs == 0)
    }

    /// One more holder of `frame` (no effect on static frames).
    pub fn retain(&mut self, frame: Frame) {
        if let Some(info) = self.info_mut(frame) {
            info.refs += 1;
        }
    }

    /// One holder less; the last one frees the frame. No effect on static frames.
    pub fn release(&mut self, frame: Frame) {
        let Some(info) = self.info_mut(frame) else { return };
        debug_assert!(info.refs > 0, "release of a free frame");
        info.refs = info.refs.saturating_sub(1);
        if info.refs == 0 {
            let code = std::mem::take(&mut info.code);
            let purpose = info.purpose();
            self.account.give_back(purpose, PAGE_SIZE as u64);
            self.free.push(frame);
            if code {
                self.code_writes.push(frame);
            }
        }
    }

    /// How many hold `frame`; `None` for static frames.
    pub fn refs(&self, frame: Frame) -> Option<u32> {
        self.info(frame).map(|i| i.refs).filter(|&n| n > 0)
    }

    /// Remembers that code was decoded from `frame`. From now on the kernel must not enter the frame in a write table;
    /// a write goes through the slow path, which calls [`Phys::code_written`] first.
    pub fn mark_code(&mut self, frame: Frame) {
        if let Some(info) = self.info_mut(frame) {
            info.code = true;
        }
    }

    /// Whether code was decoded from `frame` since its last change.
    pub fn is_code(&self, frame: Frame) -> bool {
        self.info(frame).is_some_and(|i| i.code)
    }

    /// `frame` is about to change or was freed: decoded code made from it must go. Collected by
    /// [`Phys::take_code_writes`].
    pub fn code_written(&mut self, frame: Frame) {
        if let Some(info) = self.info_mut(frame)
            && std::mem::take(&mut info.code)
        {
            self.code_writes.push(frame);
        }
    }

    /// True if [`Phys::take_code_writes`] would return something.
    pub fn has_code_writes(&self) -> bool {
        !self.code_writes.is_empty()
    }

    /// The frames whose decoded code became stale since the last call.
    pub fn take_code_writes(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.code_writes)
    }

    /// The frame's bytes.
    pub fn bytes(&self, frame: Frame) -> &[u8; PAGE_SIZE] {
        // SAFETY: a `Frame` in use lies inside the reservation / linear memory, see `alloc_run` and `adopt_static`.
        unsafe { &*host(self.base, frame.addr()).cast() }
    }

    /// The frame's bytes, to change. Not for static frames.
    pub fn bytes_mut(&mut self, frame: Frame) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: as for `bytes`; `&mut self` makes the access exclusive among users of this API.
        unsafe { &mut *host(self.base, frame.addr()).cast() }
    }

    /// Clears the frames that nobody holds: what a program left there is in no snapshot.
    pub fn scrub(&mut self) {
        for n in 0..self.free.len() {
            let frame = self.free[n];
            self.bytes_mut(frame).fill(0);
        }
    }

    /// Bytes in use by counted frames.
    pub fn used_bytes(&self) -> u64 {
        self.account.all_used() - self.account.records()
    }

    /// The most bytes that may be in use.
    pub fn limit_bytes(&self) -> u64 {
        self.account.total()
    }

    /// What is used and allowed.
    pub fn account(&self) -> &Rc<Account> {
        &self.account
    }

    /// Where physical address 0 lies in the host's address space (null in a box).
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::absent::CHUNK;
    use std::cell::RefCell;

    #[test]
    fn frames_come_back_zeroed_when_the_last_holder_lets_go() {
        let mut phys = Phys::new(2 * PAGE_SIZE as u64);
        let frame = phys.alloc().unwrap();
        phys.bytes_mut(frame)[7] = 9;
        phys.retain(frame);
        phys.release(frame);
        assert_eq!(phys.refs(frame), Some(1));
        phys.release(frame);
        assert_eq!(phys.refs(frame), None);
        assert_eq!(phys.alloc(), Some(frame));
        assert_eq!(phys.bytes(frame)[7], 0);
        assert!(phys.alloc().is_some());
        assert_eq!(phys.alloc(), None, "the limit holds");
    }

    #[test]
    fn static_frames_are_never_counted() {
        let mut phys = Phys::new(1 << 20);
        let base = phys.adopt_static(&[5; 5000]).unwrap();
        let frame = Frame::containing(base);
        phys.retain(frame);
        phys.release(frame);
        assert!(phys.is_static(frame));
        assert_eq!(phys.bytes(frame.offset(1))[903], 5);
        let counted = phys.alloc_run(3).unwrap();
        assert!(!phys.is_static(counted));
    }

    #[test]
    fn stale_code_is_reported_once() {
        let mut phys = Phys::new(1 << 20);
        let frame = phys.alloc().unwrap();
        phys.mark_code(frame);
        phys.code_written(frame);
        phys.code_written(frame);
        assert_eq!(phys.take_code_writes(), [frame]);
        phys.mark_code(frame);
        phys.release(frame);
        assert_eq!(phys.take_code_writes(), [frame]);
    }

    struct Numbers(Rc<RefCell<Vec<(u32, usize)>>>, bool);

    impl Supply for Numbers {
        fn bring(&mut self, offset: u32, chunk: &mut [u8]) -> bool {
            self.0.borrow_mut().push((offset, chunk.len()));
            chunk.fill(offset.div_ceil(CHUNK) as u8 + 1);
            self.1
        }
    }

    #[test]
    fn a_chunk_is_brought_once_and_before_it_is_read() {
        let mut phys = Phys::new(1 << 20);
        let image = vec![0; 2 * CHUNK as usize + 3 * PAGE_SIZE];
        let base = phys.adopt_static(&image).unwrap();
        let front = base + PAGE_SIZE as u32;
        phys.be_absent(front, base + image.len() as u32);
        assert!(phys.bring(base, PAGE_SIZE as u32), "the front is there");
        assert!(!phys.bring(front, 1), "nobody has it");
        let asked = Rc::new(RefCell::new(Vec::new()));
        phys.supply(Some(Box::new(Numbers(asked.clone(), false))));
        assert!(!phys.bring(front, 1), "it cannot be had");
        phys.supply(Some(Box::new(Numbers(asked.clone(), true))));
        asked.borrow_mut().clear();
        assert!(phys.bring(front + CHUNK - 1, 2));
        assert!(phys.bring(front, 2 * CHUNK));
        assert!(phys.bring(front + 2 * CHUNK, u32::MAX));
        assert!(phys.bring(front + 3 * CHUNK, 9), "beyond it there is nothing to bring");
        let last = 2 * PAGE_SIZE;
        assert_eq!(
            *asked.borrow(),
            [(0, CHUNK as usize), (CHUNK, CHUNK as usize), (2 * CHUNK, last)]
        );
        assert_eq!(phys.bytes(Frame::containing(front))[0], 1);
        assert_eq!(phys.bytes(Frame::containing(front + CHUNK))[7], 2);
        assert_eq!(phys.bytes(Frame::containing(base))[7], 0);
    }
}
