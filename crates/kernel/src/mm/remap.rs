//! mremap(2).

use abi::Errno;
use abi::mman::{MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE};
use mem::{PAGE_MASK, PAGE_SHIFT};

use super::map::{page_range, page_up};
use super::table::Pte;
use super::vma::Vma;
use super::{MIN_ADDR, Mm};

impl Mm {
    /// mremap(2): resizes, moves or duplicates a mapping; returns its new address.
    pub fn remap(
        &mut self,
        old: u64,
        old_len: u64,
        new_len: u64,
        flags: u64,
        new_addr: u64,
    ) -> Result<u64, Errno> {
        if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) != 0
            || flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) != 0 && flags & MREMAP_MAYMOVE == 0
            || old & PAGE_MASK != 0
        {
            return Err(Errno::EINVAL);
        }
        let old_len = page_up(old_len).ok_or(Errno::EINVAL)?;
        let new_len = page_up(new_len).ok_or(Errno::EINVAL)?;
        let keep = flags & MREMAP_DONTUNMAP != 0;
        if new_len == 0 || keep && new_len != old_len {
            return Err(Errno::EINVAL);
        }
        let (_, old_end) = page_range(old, old_len).map_err(|_| Errno::EFAULT)?;
        let space = self.spaces.get(&self.current).ok_or(Errno::EFAULT)?;
        let (start, vma) = space.vmas.find(old).ok_or(Errno::EFAULT)?;
        let vma = Vma { page: vma.page.wrapping_add((old - start) >> PAGE_SHIFT), ..vma.clone() };
        if old_len == 0 && !vma.rights.shared {
            return Err(Errno::EINVAL);
        }
        if flags & MREMAP_FIXED != 0 {
            let (to, to_end) = page_range(new_addr, new_len).map_err(|_| Errno::EINVAL)?;
            if to < MIN_ADDR || to < old_end && old < to_end {
                return Err(Errno::EINVAL);
            }
        }
        let in_place = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) == 0;
        if in_place && new_len <= old_len {
            if new_len < old_len {
                drop(self.unmap_range(old + new_len, old_end)?);
                self.reap();
            }
            return Ok(old);
        }
        // Growing or moving needs the whole old range in one mapping.
        if old_end > vma.end {
            return Err(Errno::EFAULT);
        }
        let extra = if keep { new_len } else { new_len.saturating_sub(old_len) };
        if vma.rights.locked {
            space.may_lock_more(extra)?;
        }
        space.may_add(extra, &vma.rights)?;
        if in_place && old_len > 0 && old_end == vma.end {
            let end = old + new_len;
            if page_range(old, new_len).is_ok() && space.vmas.is_free(old_end, end) {
                let page = vma.page.wrapping_add(old_len >> PAGE_SHIFT);
                self.insert(old_end, Vma { end, page, ..vma });
                return Ok(old);
            }
        }
        if flags & MREMAP_MAYMOVE == 0 {
            return Err(Errno::ENOMEM);
        }
        let to = if flags & MREMAP_FIXED != 0 {
            drop(self.unmap_range(new_addr, new_addr + new_len)?);
            new_addr
        } else {
            space.find_free(new_addr, new_len, false)?
        };
        self.move_pages(old, old_end.min(old + new_len), to);
        self.insert(to, Vma { end: to + new_len, ..vma });
        if !keep && old_len > 0 {
            drop(self.unmap_range(old, old_end)?);
        }
        self.reap();
        Ok(to)
    }

    /// Moves the page-table entries of `from .. end` to `to`.
    fn move_pages(&mut self, from: u64, end: u64, to: u64) {
        let Some(space) = self.spaces.get_mut(&self.current) else { return };
        let mut moved = Vec::new();
        space.table.update(from >> PAGE_SHIFT, end >> PAGE_SHIFT, |vpn, pte| {
            moved.push((vpn, pte));
            Pte::default()
        });
        let exec = moved.iter().any(|(_, pte)| pte.allows(Pte::X));
        for (vpn, pte) in moved {
            space.table.set(vpn - (from >> PAGE_SHIFT) + (to >> PAGE_SHIFT), pte);
        }
        if exec {
            self.bump_epoch();
        }
        self.look.clear_range(from, end - from);
    }
}
