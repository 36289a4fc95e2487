//! madvise(2), mincore(2), msync(2) and populating.

use abi::Errno;
use abi::mman::{
    MADV_COLLAPSE, MADV_DODUMP_RANGE, MADV_DOFORK, MADV_DONTFORK, MADV_DONTNEED,
    MADV_DONTNEED_LOCKED, MADV_FREE, MADV_KEEPONFORK, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
    MADV_REMOVE, MADV_WIPEONFORK, MS_ASYNC, MS_INVALIDATE, MS_SYNC, PROT_WRITE,
};
use mem::{Access, FaultKind, PAGE_SHIFT, PAGE_SIZE, Translate};

use super::Mm;
use super::map::page_range;
use crate::source::Cut;

/// Bytes of a huge page.
const HUGE: u64 = 2 << 20;

impl Mm {
    /// madvise(2).
    pub fn advise(&mut self, addr: u64, len: u64, advice: u64) -> Result<(), Errno> {
        let (start, end) = page_range(addr, len).map_err(|_| Errno::EINVAL)?;
        let hint =
            advice <= 3 || MADV_DODUMP_RANGE.contains(&advice) || advice == 20 || advice == 21;
        let known = hint
            || matches!(
                advice,
                MADV_DONTNEED
                    | MADV_FREE
                    | MADV_REMOVE
                    | MADV_DONTFORK
                    | MADV_DOFORK
                    | MADV_WIPEONFORK
                    | MADV_KEEPONFORK
                    | MADV_POPULATE_READ
                    | MADV_POPULATE_WRITE
                    | MADV_DONTNEED_LOCKED
                    | MADV_COLLAPSE
            );
        if !known {
            return Err(Errno::EINVAL);
        }
        if start == end {
            return Ok(());
        }
        let space = self.spaces.get_mut(&self.current).ok_or(Errno::ENOMEM)?;
        if space.vmas.len() + 2 > super::MAX_MAPS {
            return Err(Errno::ENOMEM);
        }
        let locked = space.vmas.overlapping(start, end).any(|(_, v)| v.rights.locked);
        if locked && matches!(advice, MADV_DONTNEED | MADV_FREE | MADV_REMOVE) {
            return Err(Errno::EINVAL);
        }
        let covered = space.vmas.is_covered(start, end);
        let private_anon = |space: &super::Space| {
            space.vmas.overlapping(start, end).all(|(_, v)| v.source.is_none() && !v.rights.shared)
        };
        match advice {
            MADV_DONTNEED | MADV_DONTNEED_LOCKED => self.zap_mapped(start, end),
            MADV_FREE => {
                if !private_anon(space) {
                    return Err(Errno::EINVAL);
                }
                self.zap_mapped(start, end);
            }
            MADV_REMOVE => self.remove(start, end)?,
            MADV_COLLAPSE => self.collapse(start, end)?,
            MADV_DONTFORK => space.vmas.change(start, end, |r| r.dont_fork = true),
            MADV_DOFORK => space.vmas.change(start, end, |r| r.dont_fork = false),
            MADV_WIPEONFORK => {
                if !private_anon(space) {
                    return Err(Errno::EINVAL);
                }
                space.vmas.change(start, end, |r| r.wipe_on_fork = true);
            }
            MADV_KEEPONFORK => space.vmas.change(start, end, |r| r.wipe_on_fork = false),
            MADV_POPULATE_READ | MADV_POPULATE_WRITE => {
                let access =
                    if advice == MADV_POPULATE_READ { Access::Read } else { Access::Write };
                return self.populate(start, end, access).map_err(|kind| match kind {
                    FaultKind::Protection => Errno::EINVAL,
                    FaultKind::PastEnd => Errno::EFAULT,
                    FaultKind::Unmapped | FaultKind::OutOfMemory => Errno::ENOMEM,
                });
            }
            _ => {}
        }
        if covered { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// MADV_COLLAPSE: there are no huge pages here, so only their effect shows: where a mapping has room for one, and has some of
    /// its pages if they are its own, all of them are brought in.
    fn collapse(&mut self, start: u64, end: u64) -> Result<(), Errno> {
        let space = self.spaces.get(&self.current).ok_or(Errno::ENOMEM)?;
        let mut huge = Vec::new();
        for (at, vma) in space.vmas.overlapping(start, end) {
            let inside = |from: u64, to: u64| (from.next_multiple_of(HUGE), to & !(HUGE - 1));
            let (first, last) = inside(at, vma.end);
            let own = vma.source.is_none();
            if first >= last || !(own || vma.rights.shared) {
                return Err(Errno::EINVAL);
            }
            let (first, last) = inside(at.max(start), vma.end.min(end));
            if first > last {
                return Err(Errno::EINVAL);
            }
            for page in (first..last).step_by(HUGE as usize) {
                let (from, to) = (page >> PAGE_SHIFT, (page + HUGE) >> PAGE_SHIFT);
                if own && space.table.range(from, to).next().is_none() {
                    return Err(Errno::EINVAL);
                }
                if vma.rights.prot != 0 {
                    huge.push((page, vma.rights.prot & PROT_WRITE != 0));
                }
            }
        }
        for (page, write) in huge {
            let access = if write { Access::Write } else { Access::Read };
            self.populate(page, page + HUGE, access).map_err(|kind| match kind {
                FaultKind::OutOfMemory => Errno::ENOMEM,
                _ => Errno::EINVAL,
            })?;
        }
        Ok(())
    }

    /// Drops the resident pages of `start .. end`; private changes are lost.
    fn zap_mapped(&mut self, start: u64, end: u64) {
        self.zap(start, end);
        self.reap();
    }

    /// MADV_REMOVE: zeros in the objects of shared mappings.
    fn remove(&mut self, start: u64, end: u64) -> Result<(), Errno> {
        let space = self.spaces.get(&self.current).ok_or(Errno::ENOMEM)?;
        let mut ranges = Vec::new();
        for (at, vma) in space.vmas.overlapping(start, end) {
            let source = vma.source.clone().ok_or(Errno::EINVAL)?;
            if !vma.rights.shared || !vma.rights.may_write {
                return Err(Errno::EACCES);
            }
            let (from, to) = (at.max(start), vma.end.min(end));
            ranges.push((
                source,
                vma.page + ((from - at) >> PAGE_SHIFT),
                (to - from) >> PAGE_SHIFT,
            ));
        }
        for (source, page, pages) in ranges {
            let first = page << PAGE_SHIFT;
            source.punch(&mut self.phys, first, first + (pages << PAGE_SHIFT))?;
            let (object, end) = (source.identity(), page + pages);
            self.cut(Cut { object, first: page, partial: false, end, copies: false });
        }
        Ok(())
    }

    /// Brings in every page of `start .. end`.
    pub fn populate(&mut self, start: u64, end: u64, access: Access) -> Result<(), FaultKind> {
        let mut at = start;
        while at < end {
            self.translate(at, access).map_err(|f| f.kind)?;
            at += PAGE_SIZE as u64;
        }
        Ok(())
    }

    /// mincore(2): one byte a page, 1 = resident, up to the first page that is not mapped; ENOMEM if that is the first of all.
    pub fn residency(&self, addr: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let (start, end) = page_range(addr, len)?;
        let space = self.spaces.get(&self.current).ok_or(Errno::ENOMEM)?;
        let mut mapped = start;
        for (at, vma) in space.vmas.overlapping(start, end) {
            if at > mapped {
                break;
            }
            mapped = vma.end;
        }
        let end = mapped.min(end);
        if start >= end {
            return Err(Errno::ENOMEM);
        }
        let first = start >> PAGE_SHIFT;
        let mut out = vec![0; ((end - start) >> PAGE_SHIFT) as usize];
        for (at, vma) in space.vmas.overlapping(start, end) {
            let Some(source) = &vma.source else { continue };
            let (from, to) = (at.max(start) >> PAGE_SHIFT, vma.end.min(end) >> PAGE_SHIFT);
            for vpn in from..to {
                let page = vma.page + (vpn - (at >> PAGE_SHIFT));
                if let Some(byte) = out.get_mut((vpn - first) as usize) {
                    *byte = u8::from(source.is_resident(page));
                }
            }
        }
        for (vpn, _) in space.table.range(first, end >> PAGE_SHIFT) {
            if let Some(byte) = out.get_mut((vpn - first) as usize) {
                *byte = 1;
            }
        }
        Ok(out)
    }

    /// msync(2).
    pub fn sync(&mut self, addr: u64, len: u64, flags: u64) -> Result<(), Errno> {
        if flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0
            || flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC
        {
            return Err(Errno::EINVAL);
        }
        // The length is rounded up without a look at overflow.
        let len = len.wrapping_add(PAGE_SIZE as u64 - 1) & !(PAGE_SIZE as u64 - 1);
        let (start, end) = page_range(addr, len)?;
        let space = self.spaces.get(&self.current).ok_or(Errno::ENOMEM)?;
        let locked = space.vmas.overlapping(start, end).any(|(_, v)| v.rights.locked);
        if flags & MS_INVALIDATE != 0 && locked {
            return Err(Errno::EBUSY);
        }
        let covered = space.vmas.is_covered(start, end);
        if flags & MS_SYNC != 0 {
            let shared = space.vmas.overlapping(start, end).filter(|(_, vma)| vma.rights.shared);
            let sources: Vec<_> = shared.filter_map(|(_, vma)| vma.source.clone()).collect();
            sources.iter().for_each(|source| source.sync(&mut self.phys));
        }
        if covered { Ok(()) } else { Err(Errno::ENOMEM) }
    }
}
