//! mmap(2), munmap(2), mprotect(2), brk(2).

use std::rc::Rc;

use abi::Errno;
use abi::mman::{PROT_EXEC, PROT_READ, PROT_WRITE};
use mem::{PAGE_MASK, PAGE_SHIFT};

use super::table::Pte;
use super::vma::{Rights, Vma};
use super::{LOW_END, MAX_MAPS, MIN_ADDR, Mm, Space, TASK_SIZE};
use crate::source::{MapSource, SharedAnon};

/// Where a mapping shall lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Anywhere; the address is a hint (0 = none).
    #[default]
    Anywhere,
    /// Exactly there, replacing what is there (`MAP_FIXED`).
    Fixed,
    /// Exactly there, or `EEXIST` (`MAP_FIXED_NOREPLACE`).
    FixedNoReplace,
    /// Below 2 GiB (`MAP_32BIT`).
    Low31,
}

/// A mapping to be made.
#[derive(Clone)]
pub struct MapRequest {
    /// Address or hint.
    pub addr: u64,
    /// Bytes; rounded up to pages.
    pub len: u64,
    /// How `addr` is meant.
    pub place: Place,
    /// Rights.
    pub rights: Rights,
    /// Object; `None` = anonymous (a shared one gets an object of its own).
    pub source: Option<Rc<dyn MapSource>>,
    /// First page of the object.
    pub page: u64,
}

/// `len` rounded up to whole pages; `None` on overflow.
pub fn page_up(len: u64) -> Option<u64> {
    Some(len.checked_add(PAGE_MASK)? & !PAGE_MASK)
}

/// Checked page range `addr .. addr + len` (EINVAL if misaligned, ENOMEM outside user space, as most calls do).
pub fn page_range(addr: u64, len: u64) -> Result<(u64, u64), Errno> {
    if addr & PAGE_MASK != 0 {
        return Err(Errno::EINVAL);
    }
    let len = page_up(len).ok_or(Errno::ENOMEM)?;
    let end = addr.checked_add(len).filter(|&e| e <= TASK_SIZE).ok_or(Errno::ENOMEM)?;
    Ok((addr, end))
}

impl Space {
    /// Refuses what would pass `RLIMIT_AS`, `RLIMIT_DATA` or the number of mappings.
    pub(super) fn may_add(&self, len: u64, rights: &Rights) -> Result<(), Errno> {
        let total = self.vmas.total().saturating_add(len);
        if total > self.limits.address_space || self.vmas.len() >= MAX_MAPS || !self.has_room() {
            return Err(Errno::ENOMEM);
        }
        if rights.is_data() && self.data.saturating_add(len) > self.limits.data {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// A free range of `len` bytes.
    pub(crate) fn find_free(&self, hint: u64, len: u64, low31: bool) -> Result<u64, Errno> {
        let hint = hint & !PAGE_MASK;
        let top = if low31 { 1 << 31 } else { LOW_END };
        if hint >= MIN_ADDR
            && let Some(end) = hint.checked_add(len)
            && end <= top
            && self.vmas.is_free(hint, end)
        {
            return Ok(hint);
        }
        let base = self.layout.mmap_base.min(top);
        // Reservations of gigabytes (heaps of language runtimes) would fill the low space at once.
        let huge = len >= 1 << 30 && !low31;
        let low = if huge { None } else { self.vmas.gap_below(len, MIN_ADDR, base) };
        let high = || {
            if low31 { None } else { self.vmas.gap_above(len, LOW_END, TASK_SIZE) }
        };
        low.or_else(high).ok_or(Errno::ENOMEM)
    }
}

impl Mm {
    /// Makes a mapping in the current space and returns its address.
    pub fn map(&mut self, req: MapRequest) -> Result<u64, Errno> {
        let len = page_up(req.len).ok_or(Errno::ENOMEM)?;
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        if len > TASK_SIZE {
            return Err(Errno::ENOMEM);
        }
        let fixed = matches!(req.place, Place::Fixed | Place::FixedNoReplace);
        let space = self.spaces.get(&self.current).ok_or(Errno::ENOMEM)?;
        let start = if fixed {
            let (start, end) = page_range(req.addr, len)?;
            if start < MIN_ADDR {
                return Err(Errno::EPERM);
            }
            if req.place == Place::FixedNoReplace && !space.vmas.is_free(start, end) {
                return Err(Errno::EEXIST);
            }
            start
        } else {
            space.find_free(req.addr, len, req.place == Place::Low31)?
        };
        space.may_add(len, &req.rights)?;
        let end = start + len;
        if fixed {
            self.unmap_range(start, end)?;
        }
        let source = match req.source {
            None if req.rights.shared => {
                let object = SharedAnon::new(len >> PAGE_SHIFT, self.trash.clone());
                Some(Rc::new(object) as Rc<dyn MapSource>)
            }
            source => source,
        };
        let page = if source.is_some() { req.page } else { 0 };
        self.insert(start, Vma { end, rights: req.rights, source, page });
        Ok(start)
    }

    /// Enters a mapping into free space of the current space.
    pub(super) fn insert(&mut self, start: u64, vma: Vma) {
        if let Some(space) = self.spaces.get_mut(&self.current) {
            if vma.rights.is_data() {
                space.data += vma.end - start;
            }
            space.vmas.insert(start, vma);
            space.settle();
        }
    }

    /// Takes mappings and their pages out of the current space.
    pub(super) fn unmap_range(&mut self, start: u64, end: u64) -> Result<Vec<(u64, Vma)>, Errno> {
        let space = self.spaces.get_mut(&self.current).ok_or(Errno::ENOMEM)?;
        // A hole in the middle makes one mapping more.
        if space.vmas.len() >= MAX_MAPS && space.vmas.find(start).is_some_and(|(s, _)| s < start) {
            return Err(Errno::ENOMEM);
        }
        let removed = space.vmas.remove(start, end);
        for (s, vma) in &removed {
            if vma.rights.is_data() {
                space.data = space.data.saturating_sub(vma.end - s);
            }
        }
        for (s, vma) in &removed {
            self.zap(*s, vma.end);
        }
        if let Some(space) = self.spaces.get_mut(&self.current) {
            space.settle();
        }
        Ok(removed)
    }

    /// munmap(2).
    pub fn unmap(&mut self, addr: u64, len: u64) -> Result<(), Errno> {
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        let (start, end) = page_range(addr, len).map_err(|_| Errno::EINVAL)?;
        drop(self.unmap_range(start, end)?);
        self.reap();
        Ok(())
    }

    /// mprotect(2) with plain protection bits.
    pub fn protect(&mut self, addr: u64, len: u64, prot: u64) -> Result<(), Errno> {
        let (start, end) = page_range(addr, len)?;
        if prot & !(PROT_READ | PROT_WRITE | PROT_EXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        if start == end {
            return Ok(());
        }
        let most = self.phys.account().limit(mem::Purpose::Programs);
        let space = self.spaces.get_mut(&self.current).ok_or(Errno::ENOMEM)?;
        // As Linux does it: mapping by mapping up to the first that cannot be changed.
        let mut at = start;
        let mut result = Ok(());
        let pieces: Vec<(u64, u64, Rights)> =
            space.vmas.overlapping(start, end).map(|(s, v)| (s, v.end, v.rights)).collect();
        let split = pieces.first().is_some_and(|&(s, ..)| s < start)
            || pieces.last().is_some_and(|&(_, e, _)| e > end);
        if split && space.vmas.len() + 2 > MAX_MAPS {
            return Err(Errno::ENOMEM);
        }
        for (s, e, rights) in pieces {
            if s > at {
                break;
            }
            if (prot & PROT_WRITE != 0 && !rights.may_write)
                || (prot & PROT_EXEC != 0 && !rights.may_exec)
            {
                result = Err(Errno::EACCES);
                break;
            }
            let (from, to) = (s.max(start), e.min(end));
            let after = Rights { prot, ..rights };
            let was_data = rights.is_data();
            if !was_data && after.is_data() {
                if space.data.saturating_add(to - from) > space.limits.data || to - from > most {
                    result = Err(Errno::ENOMEM);
                    break;
                }
                space.data += to - from;
            } else if was_data && !after.is_data() {
                space.data = space.data.saturating_sub(to - from);
            }
            space.vmas.change(from, to, |r| r.prot = prot);
            // Write is granted again by the fault path, which knows what is shared.
            let bits = after.base_bits();
            let keep = if prot & PROT_WRITE != 0 { Pte::W } else { 0 };
            // Code that becomes writable, or no longer is, is run differently: see [`Mm::is_writable`].
            let write = (rights.prot ^ prot) & PROT_WRITE != 0;
            let mut exec = false;
            space.table.update(from >> PAGE_SHIFT, to >> PAGE_SHIFT, |_, pte| {
                exec |= (pte.bits() ^ bits) & Pte::X != 0 || write && bits & Pte::X != 0;
                pte.with(bits | pte.bits() & keep)
            });
            if exec {
                self.epoch += 1;
                space.code_epoch = self.epoch;
            }
            at = to;
        }
        space.settle();
        self.look.clear_range(start, at - start);
        if result.is_ok() && at < end {
            return Err(Errno::ENOMEM);
        }
        result
    }

    /// Whether some shared mapping of the object with these numbers may be written, now or after mprotect(2).
    pub fn is_mapped_writable(&self, dev: u64, ino: u64) -> bool {
        self.spaces.values().flat_map(|space| space.vmas.iter()).any(|(_, vma)| {
            let same = |source: &Rc<dyn MapSource>| {
                let name = source.name();
                (name.dev, name.ino) == (dev, ino)
            };
            vma.rights.shared && vma.rights.may_write && vma.source.as_ref().is_some_and(same)
        })
    }

    /// brk(2): sets the end of the heap if it can, and returns it.
    pub fn brk(&mut self, want: u64) -> u64 {
        let Some(space) = self.spaces.get(&self.current) else { return 0 };
        let (low, old) = (space.layout.brk_start, space.layout.brk);
        if want < low {
            return old;
        }
        let (Some(new_end), Some(old_end)) = (page_up(want), page_up(old)) else { return old };
        if new_end > old_end {
            let rights =
                Rights { locked: space.locks_future(), ..Rights::private(PROT_READ | PROT_WRITE) };
            let heap = want - low;
            if new_end > LOW_END
                || heap > space.limits.data
                || !space.vmas.is_free(old_end, new_end + (1 << PAGE_SHIFT))
                || space.may_add(new_end - old_end, &rights).is_err()
                || space.locks_future() && space.may_lock_more(new_end - old_end).is_err()
                || self.may_commit(new_end - old_end).is_err()
            {
                return old;
            }
            self.insert(old_end, Vma { end: new_end, rights, source: None, page: 0 });
        } else if new_end < old_end && self.unmap_range(new_end, old_end).is_err() {
            return old;
        }
        if let Some(space) = self.spaces.get_mut(&self.current) {
            space.layout.brk = want;
        }
        want
    }
}
