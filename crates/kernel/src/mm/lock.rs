//! mlock(2) and relatives: pages are never swapped here, so that locking brings them in and counts against RLIMIT_MEMLOCK.

use abi::Errno;
use abi::mman::PROT_WRITE;
use mem::{Access, PAGE_MASK, PAGE_SHIFT};

use super::map::page_up;
use super::{Mm, Space};

impl Space {
    /// Bytes locked (`VmLck`).
    pub fn locked(&self) -> u64 {
        let locked = self.vmas.iter().filter(|(_, vma)| vma.rights.locked);
        locked.map(|(start, vma)| vma.end - start).sum()
    }

    /// EAGAIN if `len` more bytes may not be locked (`mlock_future_ok`).
    pub(crate) fn may_lock_more(&self, len: u64) -> Result<(), Errno> {
        let limit = self.limits.locked & !PAGE_MASK;
        if self.locked().saturating_add(len) > limit { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// EPERM if nothing may be locked at all.
    pub(crate) fn may_lock(&self) -> Result<(), Errno> {
        if self.limits.locked == 0 { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Whether new mappings are locked (`MCL_FUTURE`).
    pub(crate) fn locks_future(&self) -> bool {
        self.lock_future
    }
}

impl Mm {
    /// mlock(2): locks the pages of `addr .. addr + len` and, unless `on_fault`, brings them in.
    pub fn lock(&mut self, addr: u64, len: u64, on_fault: bool) -> Result<(), Errno> {
        let space = self.spaces.get(&self.current).ok_or(Errno::ENOMEM)?;
        space.may_lock()?;
        let (start, len) = whole_pages(addr, len)?;
        let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
        let already: u64 = space
            .vmas
            .overlapping(start, end)
            .filter(|(_, vma)| vma.rights.locked)
            .map(|(s, vma)| vma.end.min(end) - s.max(start))
            .sum();
        if space.may_lock_more(len.saturating_sub(already)).is_err() {
            return Err(Errno::ENOMEM);
        }
        self.set_locked(start, end, true)?;
        if on_fault { Ok(()) } else { self.bring_in(start, end) }
    }

    /// munlock(2)
    pub fn unlock(&mut self, addr: u64, len: u64) -> Result<(), Errno> {
        let (start, len) = whole_pages(addr, len)?;
        let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
        self.set_locked(start, end, false)
    }

    /// mlockall(2): all that is mapped (`now`), and all that will be (`later`).
    pub fn lock_all(&mut self, now: bool, later: bool, on_fault: bool) -> Result<(), Errno> {
        let space = self.spaces.get_mut(&self.current).ok_or(Errno::ENOMEM)?;
        space.may_lock()?;
        if now && space.vmas.total() > space.limits.locked {
            return Err(Errno::ENOMEM);
        }
        space.lock_future = later;
        if now {
            let mapped: Vec<(u64, u64)> = space.vmas.iter().map(|(s, v)| (s, v.end)).collect();
            for (start, end) in mapped {
                self.set_locked(start, end, true)?;
                if !on_fault {
                    // What cannot be brought in is no error here.
                    let _ = self.bring_in(start, end);
                }
            }
        }
        Ok(())
    }

    /// munlockall(2)
    pub fn unlock_all(&mut self) {
        if let Some(space) = self.spaces.get_mut(&self.current) {
            space.lock_future = false;
            space.vmas.change(0, u64::MAX, |rights| rights.locked = false);
            space.settle();
        }
    }

    /// Marks the mappings up to the first hole, which is ENOMEM.
    fn set_locked(&mut self, start: u64, end: u64, locked: bool) -> Result<(), Errno> {
        let space = self.spaces.get_mut(&self.current).ok_or(Errno::ENOMEM)?;
        if start == end {
            return Ok(());
        }
        if space.vmas.len() + 2 > super::MAX_MAPS {
            return Err(Errno::ENOMEM);
        }
        let mut covered = start;
        for (s, vma) in space.vmas.overlapping(start, end) {
            if s > covered {
                break;
            }
            covered = vma.end.min(end);
        }
        space.vmas.change(start, covered, |rights| rights.locked = locked);
        space.settle();
        if covered < end { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Brings in what is mapped in `start .. end`; private writable pages become the program's own.
    fn bring_in(&mut self, start: u64, end: u64) -> Result<(), Errno> {
        let space = self.spaces.get(&self.current).ok_or(Errno::ENOMEM)?;
        let pieces: Vec<(u64, u64, bool)> = space
            .vmas
            .overlapping(start, end)
            .map(|(s, v)| {
                let own = v.rights.prot & PROT_WRITE != 0 && !v.rights.shared;
                (s.max(start), v.end.min(end), own)
            })
            .collect();
        for (from, to, write) in pieces {
            let access = if write { Access::Write } else { Access::Read };
            self.populate(from, to, access).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(())
    }

    /// Refuses what is more than there is at all (Linux's heuristic overcommit, `vm.overcommit_memory` = 0).
    pub fn may_commit(&self, len: u64) -> Result<(), Errno> {
        let total = self.phys.account().limit(mem::Purpose::Programs);
        if len >> PAGE_SHIFT > total >> PAGE_SHIFT { Err(Errno::ENOMEM) } else { Ok(()) }
    }
}

/// The pages that `addr .. addr + len` touches, as start and length. As Linux does it, a length that overflows is none.
fn whole_pages(addr: u64, len: u64) -> Result<(u64, u64), Errno> {
    let len = page_up(len.wrapping_add(addr & PAGE_MASK)).ok_or(Errno::EINVAL)?;
    Ok((addr & !PAGE_MASK, len))
}
