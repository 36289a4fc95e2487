//! The page-fault path: from a virtual address to a frame, with demand paging and copy-on-write.

use abi::mman::{PROT_EXEC, PROT_WRITE};
use mem::{Access, Fault, FaultKind, Frame, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, Translate};

use super::table::Pte;
use super::vma::Vma;
use super::{MIN_ADDR, Mm, TASK_SIZE};
use crate::source::{Cut, MapSource, Use};

/// Pages kept free between a growing stack and the mapping below it (`stack_guard_gap`).
const STACK_GUARD: u64 = 256 << PAGE_SHIFT;

impl Translate for Mm {
    fn translate(&mut self, va: u64, access: Access) -> Result<u32, Fault> {
        match self.touch(va, access) {
            Ok(frame) => Ok(frame.addr() + (va & PAGE_MASK) as u32),
            Err(kind) => {
                self.starved |= kind == FaultKind::OutOfMemory;
                Err(Fault { addr: va, access, kind })
            }
        }
    }
}

impl Mm {
    /// [`Translate::translate`] for an access by the program: it may not take the kernel's reserve.
    pub fn translate_for_program(&mut self, va: u64, access: Access) -> Result<u32, Fault> {
        self.phys.account().set_in_kernel(false);
        let result = self.translate(va, access);
        self.phys.account().set_in_kernel(true);
        result
    }

    /// Brings in the page of `va` for `access` and enters it in the lookaside tables.
    fn touch(&mut self, va: u64, access: Access) -> Result<Frame, FaultKind> {
        let need = match access {
            Access::Read => Pte::R,
            Access::Write => Pte::W,
            Access::Fetch => Pte::X,
        };
        let vpn = va >> PAGE_SHIFT;
        let id = self.current;
        let mut pte = self.spaces.get(&id).ok_or(FaultKind::Unmapped)?.table.get(vpn);
        if !pte.allows(need) {
            pte = self.fault_in(va, access)?;
        }
        let frame = pte.frame();
        if access == Access::Write {
            self.phys.code_written(frame);
        }
        if pte.allows(Pte::R) {
            self.look.fill(va, frame, pte.allows(Pte::W) && !self.phys.is_code(frame));
        }
        Ok(frame)
    }

    /// Serves a fault: checks the mapping's rights and finds or makes the frame.
    fn fault_in(&mut self, va: u64, access: Access) -> Result<Pte, FaultKind> {
        if va >= TASK_SIZE {
            return Err(FaultKind::Unmapped);
        }
        let vma = self.vma_for_fault(va)?;
        let (start, vma) = vma;
        let allowed = match access {
            Access::Read => vma.rights.base_bits() & Pte::R != 0,
            Access::Write => vma.rights.prot & PROT_WRITE != 0,
            Access::Fetch => vma.rights.prot & PROT_EXEC != 0,
        };
        if !allowed {
            return Err(FaultKind::Protection);
        }
        let write = access == Access::Write;
        let vpn = va >> PAGE_SHIFT;
        let new_leaf = self.spaces.get(&self.current).is_some_and(|s| s.table.needs_leaf(vpn));
        if new_leaf && !self.records_fit(1, 0) {
            return Err(FaultKind::OutOfMemory);
        }
        let old = self.spaces.get(&self.current).map(|s| s.table.get(vpn)).unwrap_or_default();
        let pte = if vma.rights.shared {
            self.shared_page(&vma, start, vpn)?
        } else {
            self.private_page(&vma, start, vpn, old, write)?
        };
        let exec = vma.rights.prot & PROT_EXEC != 0;
        let Some(space) = self.spaces.get_mut(&self.current) else {
            return Err(FaultKind::Unmapped);
        };
        space.faults += 1;
        space.table.set(vpn, pte);
        if new_leaf {
            space.settle();
        }
        space.peak_rss = space.peak_rss.max(space.table.present());
        if old.present() {
            // The new entry holds its own reference, also where the frame stayed the same.
            self.phys.release(old.frame());
            if old.frame() != pte.frame() {
                self.look.clear_range(vpn << PAGE_SHIFT, PAGE_SIZE as u64);
            }
        }
        // Pages of the image are the same for all who share an epoch; others may differ between a parent and its child.
        if exec
            && old.frame() != pte.frame()
            && (old.present() || !self.phys.is_static(pte.frame()))
        {
            if old.present() {
                // A copied page may be executed at once: reported as changed code, so that the CPU looks again.
                self.phys.mark_code(pte.frame());
                self.phys.code_written(pte.frame());
            }
            self.bump_epoch();
        }
        Ok(pte)
    }

    /// A page of a shared mapping: the object's own frame.
    fn shared_page(&mut self, vma: &Vma, start: u64, vpn: u64) -> Result<Pte, FaultKind> {
        let Some(source) = &vma.source else { return Err(FaultKind::Unmapped) };
        let index = vma.page.wrapping_add(vpn - (start >> PAGE_SHIFT));
        let writable = vma.rights.prot & PROT_WRITE != 0;
        self.reap();
        let frame = source.page(&mut self.phys, index, Use::Shared { write: writable })?;
        self.phys.retain(frame);
        let write = if writable && !self.phys.is_static(frame) { Pte::W } else { 0 };
        Ok(Pte::new(frame, vma.rights.base_bits() | write))
    }

    /// A page of a private mapping: zeros, the object's frame for reading, or a copy of our own for writing.
    pub(super) fn private_page(
        &mut self,
        vma: &Vma,
        start: u64,
        vpn: u64,
        old: Pte,
        write: bool,
    ) -> Result<Pte, FaultKind> {
        let bits = vma.rights.base_bits();
        let original = if old.present() {
            if write && self.phys.refs(old.frame()) == Some(1) {
                // The last holder of a copied page keeps it.
                self.phys.retain(old.frame());
                return Ok(old.with(bits | Pte::W));
            }
            Some(old.frame())
        } else if let Some(source) = &vma.source {
            let index = vma.page.wrapping_add(vpn - (start >> PAGE_SHIFT));
            Some(source.page(&mut self.phys, index, Use::Private)?)
        } else {
            None
        };
        match (original, write) {
            (Some(frame), false) => {
                self.phys.retain(frame);
                Ok(Pte::new(frame, bits))
            }
            (None, false) => {
                self.phys.retain(self.zero);
                Ok(Pte::new(self.zero, bits))
            }
            (original, true) => {
                let copy = self.alloc().ok_or(FaultKind::OutOfMemory)?;
                if let Some(frame) = original
                    && frame != self.zero
                {
                    let bytes = *self.phys.bytes(frame);
                    *self.phys.bytes_mut(copy) = bytes;
                }
                Ok(Pte::new(copy, bits | Pte::W))
            }
        }
    }

    /// The mapping at `va`, after growing a stack that ends just above it.
    fn vma_for_fault(&mut self, va: u64) -> Result<(u64, Vma), FaultKind> {
        let space = self.spaces.get_mut(&self.current).ok_or(FaultKind::Unmapped)?;
        if let Some((start, vma)) = space.vmas.find(va) {
            return Ok((start, vma.clone()));
        }
        let Some((start, vma)) = space.vmas.above(va) else { return Err(FaultKind::Unmapped) };
        let page = va & !PAGE_MASK;
        if !vma.rights.grows_down || page < MIN_ADDR || vma.end - page > space.limits.stack {
            return Err(FaultKind::Unmapped);
        }
        let clear = space.vmas.below(start).is_none_or(|(_, below)| {
            page.checked_sub(below.end).is_some_and(|gap| {
                gap >= STACK_GUARD || below.rights.prot == 0 || below.rights.grows_down
            })
        });
        let grown = space.vmas.total().saturating_add(start - page);
        if !clear || grown > space.limits.address_space {
            return Err(FaultKind::Unmapped);
        }
        space.vmas.grow_down(start, page);
        space.vmas.find(va).map(|(s, v)| (s, v.clone())).ok_or(FaultKind::Unmapped)
    }

    /// Whether the mapping at `va` may be written (code there may change without a system call).
    pub fn is_writable(&self, va: u64) -> bool {
        self.spaces
            .get(&self.current)
            .and_then(|s| s.vmas.find(va))
            .is_some_and(|(_, vma)| vma.rights.prot & PROT_WRITE != 0)
    }

    /// Whether the processor would find a page at `va`, whatever it allows (pages without any right are not there).
    pub fn is_present(&self, va: u64) -> bool {
        let pte = self.spaces.get(&self.current).map(|s| s.table.get(va >> PAGE_SHIFT));
        pte.is_some_and(|pte| pte.allows(Pte::R) || pte.allows(Pte::W) || pte.allows(Pte::X))
    }

    /// Takes pages that an object has lost out of every space that maps them.
    pub fn cut(&mut self, cut: Cut) {
        let phys = &mut self.phys;
        for (id, space) in &mut self.spaces {
            let mut ranges = Vec::new();
            for (start, vma) in space.vmas.iter() {
                let of_object = |s: &std::rc::Rc<dyn MapSource>| s.identity() == cut.object;
                if !vma.source.as_ref().is_some_and(of_object) {
                    continue;
                }
                let (vpn, last) = (start >> PAGE_SHIFT, vma.end >> PAGE_SHIFT);
                let at = |page: u64| vpn.saturating_add(page.saturating_sub(vma.page)).min(last);
                ranges.push((at(cut.first), at(cut.end), vma.rights.shared, vma.page, vpn));
            }
            let mut exec = false;
            for (from, to, shared, first_page, vpn) in ranges {
                space.table.update(from, to, |at, pte| {
                    let page = first_page + (at - vpn);
                    let keeps = cut.partial && page == cut.first && !phys.is_static(pte.frame());
                    // A private copy may be written, or was before a fork; an original never.
                    let copy = !shared && pte.allows(Pte::W);
                    if !pte.present() || keeps || (copy && !cut.copies) {
                        return pte;
                    }
                    exec |= pte.allows(Pte::X);
                    phys.release(pte.frame());
                    Pte::default()
                });
                if *id == self.current {
                    self.look.clear_range(from << PAGE_SHIFT, (to - from) << PAGE_SHIFT);
                }
            }
            if exec {
                self.epoch += 1;
                space.code_epoch = self.epoch;
            }
        }
    }

    /// Drops the pages of `start .. end` from the current space.
    pub(super) fn zap(&mut self, start: u64, end: u64) {
        let phys = &mut self.phys;
        if let Some(space) = self.spaces.get_mut(&self.current) {
            let mut exec = false;
            space.table.update(start >> PAGE_SHIFT, end >> PAGE_SHIFT, |_, pte| {
                exec |= pte.allows(Pte::X);
                phys.release(pte.frame());
                Pte::default()
            });
            if exec {
                self.bump_epoch();
            }
        }
        self.look.clear_range(start, end - start);
    }
}
