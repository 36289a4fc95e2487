//! mmap(2) and relatives.

use abi::Errno;
use abi::mman::*;
use mem::{Access, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE};

use super::Args;
use crate::ipc::shm::Mapping;
use crate::mm::map::Place;
use crate::mm::{MapRequest, Rights, TASK_SIZE};
use crate::{Kernel, SysResult, ThreadId};

const PROT_ALL: u64 = PROT_READ | PROT_WRITE | PROT_EXEC;
/// Flags that MAP_SHARED_VALIDATE accepts (`LEGACY_MAP_MASK`).
const LEGACY_FLAGS: u64 = MAP_SHARED
    | MAP_PRIVATE
    | MAP_FIXED
    | MAP_ANONYMOUS
    | MAP_DENYWRITE
    | 0x1000
    | MAP_GROWSDOWN
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | MAP_STACK
    | MAP_HUGETLB
    | MAP_32BIT
    | MAP_HUGE_SIZES;

/// The sizes of huge pages that have names (MAP_HUGE_2MB, MAP_HUGE_1GB); one bit is also MAP_UNINITIALIZED.
const MAP_HUGE_SIZES: u64 = 0x7c00_0000;

/// mmap(2)
pub fn mmap(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (addr, len, prot, flags, offset) = (a.u64(0), a.u64(1), a.u64(2), a.u64(3), a.u64(5));
    if offset & PAGE_MASK != 0 {
        return Err(Errno::EINVAL.into());
    }
    // The descriptor comes before all that is done with it (`ksys_mmap_pgoff`); unknown bits of the protection mean nothing.
    if flags & MAP_ANONYMOUS == 0 {
        k.file(tid, a.i32(4))?;
    }
    if len == 0 {
        return Err(Errno::EINVAL.into());
    }
    if len.checked_next_multiple_of(PAGE_SIZE as u64).is_none() {
        return Err(Errno::ENOMEM.into());
    }
    let shared = match flags & MAP_TYPE {
        MAP_PRIVATE => false,
        MAP_SHARED => true,
        MAP_SHARED_VALIDATE if flags & !(LEGACY_FLAGS | MAP_FIXED_NOREPLACE) == 0 => true,
        MAP_SHARED_VALIDATE => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    if flags & MAP_HUGETLB != 0 {
        return Err(Errno::ENOMEM.into());
    }
    let prot = prot & PROT_ALL;
    let mut rights = Rights {
        shared,
        grows_down: flags & MAP_GROWSDOWN != 0 && !shared,
        ..Rights::private(prot)
    };
    let mut source = None;
    if flags & MAP_ANONYMOUS == 0 {
        let fits = mem_range(offset, len);
        let (object, may_write, may_exec) = k.mapping(tid, a.i32(4), prot, shared)?;
        if !fits {
            return Err(Errno::EOVERFLOW.into());
        }
        if flags & MAP_GROWSDOWN != 0 {
            return Err(Errno::EINVAL.into());
        }
        rights.may_write = may_write;
        rights.may_exec = may_exec;
        source = Some(object);
    }
    let space = k.mm.space(k.mm.current()).ok_or(Errno::ENOMEM)?;
    if flags & MAP_LOCKED != 0 {
        space.may_lock()?;
    }
    rights.locked = flags & MAP_LOCKED != 0 || space.locks_future();
    if rights.locked {
        space.may_lock_more(len)?;
    }
    let counted = if shared { flags & MAP_ANONYMOUS != 0 } else { prot & PROT_WRITE != 0 };
    if counted && flags & MAP_NORESERVE == 0 {
        k.mm.may_commit(len)?;
    }
    let place = if flags & MAP_FIXED_NOREPLACE != 0 {
        if addr & PAGE_MASK != 0 {
            return Err(Errno::EINVAL.into());
        }
        Place::FixedNoReplace
    } else if flags & MAP_FIXED != 0 {
        Place::Fixed
    } else if flags & MAP_32BIT != 0 {
        Place::Low31
    } else {
        Place::Anywhere
    };
    let page = offset >> PAGE_SHIFT;
    let start = k.mm.map(MapRequest { addr, len, place, rights, source, page })?;
    k.mm.reap();
    if (flags & MAP_POPULATE != 0 || rights.locked) && flags & MAP_NONBLOCK == 0 && prot != 0 {
        let access = if prot & PROT_WRITE != 0 { Access::Write } else { Access::Read };
        // mmap(2): failing to populate is no error.
        let _ = k.mm.populate(start, start + len, access);
    }
    Ok(start)
}

fn mem_range(offset: u64, len: u64) -> bool {
    offset.checked_add(len).is_some_and(|end| end <= i64::MAX as u64)
}

/// mprotect(2)
pub fn mprotect(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    let (mut addr, mut len, prot) = (a.u64(0), a.u64(1), a.u64(2));
    if prot & PROT_GROWSUP != 0 {
        return Err(Errno::EINVAL.into());
    }
    if addr & PAGE_MASK == 0 && len != 0 && prot & PROT_GROWSDOWN != 0 {
        let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
        let space = k.mm.space(k.mm.current()).ok_or(Errno::ENOMEM)?;
        let mut here = space.vmas().iter().filter(|(start, vma)| vma.end > addr && *start < end);
        let (start, vma) = here.next().ok_or(Errno::ENOMEM)?;
        if !vma.rights.grows_down {
            return Err(Errno::EINVAL.into());
        }
        (addr, len) = (start, end - start);
    }
    // PROT_SEM is taken, and means nothing here.
    k.mm.protect(addr, len, prot & !(PROT_GROWSDOWN | PROT_SEM))?;
    Ok(0)
}

/// munmap(2)
pub fn munmap(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (space, pid) = (k.mm.current(), k.tasks[tid].pid);
    k.note_shm(space, (a.u64(0), a.u64(0).saturating_add(a.u64(1))), pid, Mapping::Detach);
    k.mm.unmap(a.u64(0), a.u64(1))?;
    Ok(0)
}

/// brk(2)
pub fn brk(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    Ok(k.mm.brk(a.u64(0)))
}

/// mremap(2)
pub fn mremap(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    let (addr, old_len, len, flags, to) = (a.u64(0), a.u64(1), a.u64(2), a.u64(3), a.u64(4));
    if flags & MREMAP_FIXED != 0 {
        // The new place is looked at before the old one.
        let end = to.checked_add(len).filter(|end| *end <= TASK_SIZE && to & PAGE_MASK == 0);
        let end = end.ok_or(Errno::EINVAL)?;
        if addr < end && to < addr.saturating_add(old_len) {
            return Err(Errno::EINVAL.into());
        }
    }
    Ok(k.mm.remap(addr, old_len, len, flags, to)?)
}

/// msync(2)
pub fn msync(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let result = k.mm.sync(a.u64(0), a.u64(1), a.u64(2));
    // Whoever has the host at hand brings the changes there first.
    drop(k.cx(tid));
    result?;
    Ok(0)
}

/// mincore(2)
pub fn mincore(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    /// Pages looked at in one go.
    const CHUNK: u64 = 1 << 16;
    let (addr, len, mut vec) = (a.u64(0), a.u64(1), a.u64(2));
    if addr & PAGE_MASK != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut at = addr;
    let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
    while at < end {
        let part = (end - at).min(CHUNK * PAGE_SIZE as u64);
        let bytes = k.mm.residency(at, part)?;
        k.mm.write_user(vec, &bytes)?;
        vec = vec.wrapping_add(bytes.len() as u64);
        at += (bytes.len() as u64) << PAGE_SHIFT;
    }
    Ok(0)
}

/// madvise(2)
pub fn madvise(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    k.mm.advise(a.u64(0), a.u64(1), a.u64(2) & 0xffff_ffff)?;
    Ok(0)
}

/// mlock(2)
pub fn mlock(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    k.mm.lock(a.u64(0), a.u64(1), false)?;
    Ok(0)
}

/// munlock(2)
pub fn munlock(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    k.mm.unlock(a.u64(0), a.u64(1))?;
    Ok(0)
}

/// mlock2(2)
pub fn mlock2(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    /// Pages are brought in when they are touched.
    const MLOCK_ONFAULT: u32 = 1;
    if a.u32(2) & !MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    k.mm.lock(a.u64(0), a.u64(1), a.u32(2) & MLOCK_ONFAULT != 0)?;
    Ok(0)
}

/// mlockall(2)
pub fn mlockall(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    const MCL_CURRENT: u32 = 1;
    const MCL_FUTURE: u32 = 2;
    const MCL_ONFAULT: u32 = 4;
    let flags = a.u32(0);
    if flags == 0 || flags & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 || flags == MCL_ONFAULT
    {
        return Err(Errno::EINVAL.into());
    }
    let on_fault = flags & MCL_ONFAULT != 0;
    k.mm.lock_all(flags & MCL_CURRENT != 0, flags & MCL_FUTURE != 0, on_fault)?;
    Ok(0)
}

/// munlockall(2)
pub fn munlockall(k: &mut Kernel, _: ThreadId, _: Args) -> SysResult {
    k.mm.unlock_all();
    Ok(0)
}

/// remap_file_pages(2): other pages of the object at the same place
pub fn remap_file_pages(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    let (addr, size, prot, page, flags) = (a.u64(0), a.u64(1), a.u64(2), a.u64(3), a.u64(4));
    let start = addr & !PAGE_MASK;
    let size = size & !PAGE_MASK;
    let end = start.checked_add(size).filter(|&end| end > start).ok_or(Errno::EINVAL)?;
    // The object's last page must have a number.
    if prot != 0 || page.checked_add(size >> PAGE_SHIFT).is_none() {
        return Err(Errno::EINVAL.into());
    }
    let space = k.mm.space(k.mm.current()).ok_or(Errno::EINVAL)?;
    let (_, vma) = space.vmas().find(start).ok_or(Errno::EINVAL)?;
    let (rights, source) = (vma.rights, vma.source.clone());
    let same = |other: &crate::mm::Vma| match (&other.source, &source) {
        (Some(a), Some(b)) => std::rc::Rc::ptr_eq(a, b) && other.rights == rights,
        _ => false,
    };
    let whole = space.vmas().is_covered(start, end)
        && space.vmas().overlapping(start, end).all(|(_, vma)| same(vma));
    if !rights.shared || !whole {
        return Err(Errno::EINVAL.into());
    }
    let request = MapRequest { addr: start, len: size, place: Place::Fixed, rights, source, page };
    k.mm.map(request)?;
    k.mm.reap();
    if flags & MAP_NONBLOCK == 0 && rights.prot != 0 {
        let _ = k.mm.populate(start, end, Access::Read);
    }
    Ok(0)
}
