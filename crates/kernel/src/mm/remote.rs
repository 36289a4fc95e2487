//! Access to another space's memory, as ptrace(2) and `/proc/pid/mem` have it (`access_process_vm` with `FOLL_FORCE`):
//! private mappings can be read and changed whatever they allow, by a copy of their own if need be.

use abi::Errno;
use abi::mman::PROT_WRITE;
use mem::{Access, Frame, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, Translate};

use super::table::Pte;
use super::{Mm, SpaceId};

impl Mm {
    /// Reads from `space`: bytes read, fewer where nothing is mapped.
    pub fn read_remote(&mut self, space: SpaceId, va: u64, buf: &mut [u8]) -> usize {
        self.in_space(space, |mm| {
            let mut done = 0;
            while done < buf.len() {
                let at = va.wrapping_add(done as u64);
                let Some(frame) = mm.frame_to_read(at) else { break };
                let from = (at & PAGE_MASK) as usize;
                let n = (PAGE_SIZE - from).min(buf.len() - done);
                buf[done..done + n].copy_from_slice(&mm.phys.bytes(frame)[from..from + n]);
                done += n;
            }
            done
        })
    }

    /// Writes to `space`: bytes written, fewer where nothing is mapped or a shared mapping does not allow it.
    pub fn write_remote(&mut self, space: SpaceId, va: u64, bytes: &[u8]) -> usize {
        self.in_space(space, |mm| {
            let mut done = 0;
            while done < bytes.len() {
                let at = va.wrapping_add(done as u64);
                let Some(frame) = mm.frame_to_write(at) else { break };
                let from = (at & PAGE_MASK) as usize;
                let n = (PAGE_SIZE - from).min(bytes.len() - done);
                mm.phys.code_written(frame);
                mm.phys.bytes_mut(frame)[from..from + n].copy_from_slice(&bytes[done..done + n]);
                done += n;
            }
            done
        })
    }

    fn in_space<T>(&mut self, space: SpaceId, f: impl FnOnce(&mut Mm) -> T) -> T {
        let here = self.current;
        self.activate(space);
        let result = f(self);
        self.activate(here);
        result
    }

    fn frame_to_read(&mut self, va: u64) -> Option<Frame> {
        if let Ok(at) = self.translate(va, Access::Read) {
            return Some(Frame::containing(at));
        }
        // A page without rights still has its content.
        let pte = self.spaces.get(&self.current)?.table.get(va >> PAGE_SHIFT);
        if pte.present() {
            return Some(pte.frame());
        }
        self.forced_page(va, false).ok()
    }

    fn frame_to_write(&mut self, va: u64) -> Option<Frame> {
        if let Ok(at) = self.translate(va, Access::Write) {
            return Some(Frame::containing(at));
        }
        self.forced_page(va, true).ok()
    }

    /// The page of a private mapping at `va`, for `write` a copy that only this space has. The program may do with it
    /// what it could before.
    fn forced_page(&mut self, va: u64, write: bool) -> Result<Frame, Errno> {
        let space = self.spaces.get(&self.current).ok_or(Errno::EIO)?;
        let (start, vma) = space.vmas.find(va).ok_or(Errno::EIO)?;
        let (start, vma) = (start, vma.clone());
        if vma.rights.shared || !vma.rights.may_write {
            return Err(Errno::EIO);
        }
        let vpn = va >> PAGE_SHIFT;
        let old = space.table.get(vpn);
        let pte = self.private_page(&vma, start, vpn, old, write).map_err(|_| Errno::EIO)?;
        let bits = vma.rights.base_bits();
        let keep = if vma.rights.prot & PROT_WRITE != 0 { pte.bits() & Pte::W } else { 0 };
        let space = self.spaces.get_mut(&self.current).ok_or(Errno::EIO)?;
        space.table.set(vpn, pte.with(bits | keep));
        space.settle();
        if old.present() {
            self.phys.release(old.frame());
        }
        self.look.clear_range(vpn << PAGE_SHIFT, PAGE_SIZE as u64);
        if bits & Pte::X != 0 && old.frame() != pte.frame() {
            // Decoded code of this address is that of the old page.
            self.phys.mark_code(pte.frame());
            self.phys.code_written(pte.frame());
            self.bump_epoch();
        }
        Ok(pte.frame())
    }
}
