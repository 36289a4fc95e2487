//! shmget(2), shmat(2), shmdt(2), shmctl(2).

use std::rc::Rc;

use abi::Errno;
use abi::ipc::*;
use abi::mman::{PROT_EXEC, PROT_READ, PROT_WRITE};
use mem::{PAGE_MASK, PAGE_SHIFT, PAGE_SIZE};

use crate::ipc::shm::{Mapping, Memory, SHMMAX, SHMMNI, Segment};
use crate::ipc::{Ids, Object};
use crate::mm::map::Place;
use crate::mm::{MapRequest, Rights};
use crate::syscall::Args;
use crate::task::creds::CAP_IPC_LOCK;
use crate::{Kernel, SysResult, ThreadId};

/// shmget(2)
pub fn shmget(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (key, size, flags) = (a.i32(0), a.u64(1), a.u32(2));
    k.ipc.shm.sweep();
    let too_large = |s: &Segment| if size > s.size { Err(Errno::EINVAL) } else { Ok(()) };
    if let Some(id) = k.ipc.shm.find(&k.tasks[tid].creds, key, flags, too_large)? {
        return Ok(id as u64);
    }
    if size == 0 || size > SHMMAX {
        return Err(Errno::EINVAL.into());
    }
    if flags & SHM_HUGETLB != 0 {
        // Without CAP_IPC_LOCK and hugetlb_shm_group.
        return Err(Errno::EPERM.into());
    }
    if size.div_ceil(PAGE_SIZE as u64) > k.mm.phys.limit_bytes() >> PAGE_SHIFT {
        return Err(Errno::ENOMEM.into());
    }
    let perm = k.new_ipc_perm(tid, key, flags);
    let pid = k.tasks[tid].pid;
    let segment = Segment::new(perm, size, k.ipc_now(), pid, k.mm.trash.clone());
    Ok(k.ipc.shm.add_segment(segment)? as u64)
}

/// shmat(2)
pub fn shmat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (id, mut addr, flags) = (a.i32(0), a.u64(1), a.u32(2));
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut place = Place::Anywhere;
    if addr != 0 {
        if addr & PAGE_MASK != 0 {
            if flags & SHM_RND == 0 {
                return Err(Errno::EINVAL.into());
            }
            addr &= !PAGE_MASK;
            if addr == 0 && flags & SHM_REMAP != 0 {
                return Err(Errno::EINVAL.into());
            }
        }
        place = if flags & SHM_REMAP != 0 { Place::Fixed } else { Place::FixedNoReplace };
    } else if flags & SHM_REMAP != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (mut prot, mut want) =
        if flags & SHM_RDONLY != 0 { (PROT_READ, 0o444) } else { (PROT_READ | PROT_WRITE, 0o666) };
    if flags & SHM_EXEC != 0 {
        prot |= PROT_EXEC;
        want |= 0o111;
    }
    k.ipc.shm.sweep();
    let segment = k.ipc.shm.get(id)?;
    segment.perm().check(&k.tasks[tid].creds, want)?;
    let memory = segment.memory().ok_or(Errno::EINVAL)?;
    let len = segment.size;
    let rights =
        Rights { shared: true, may_write: flags & SHM_RDONLY == 0, ..Rights::private(prot) };
    let (space, pid) = (k.mm.current(), k.tasks[tid].pid);
    if place == Place::Fixed {
        k.note_shm(space, (addr, addr.saturating_add(len)), pid, Mapping::Detach);
    }
    let request = MapRequest { addr, len, place, rights, source: Some(memory), page: 0 };
    let start = k.mm.map(request).map_err(|errno| match errno {
        Errno::EEXIST => Errno::EINVAL,
        errno => errno,
    })?;
    k.mm.reap();
    k.note_shm(space, (start, start + 1), pid, Mapping::Attach);
    Ok(start)
}

/// shmdt(2)
pub fn shmdt(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let addr = a.u64(0);
    if addr & PAGE_MASK != 0 {
        return Err(Errno::EINVAL.into());
    }
    // The first mapping of a segment that lies as if the segment had been attached at `addr`; then all of that segment.
    let here = k.mm.current();
    let space = k.mm.space(here).ok_or(Errno::EINVAL)?;
    let mut object: Option<*const ()> = None;
    let mut parts = Vec::new();
    for (start, vma) in space.vmas().overlapping(addr, u64::MAX) {
        let Some(source) = &vma.source else { continue };
        let is_segment = source.as_any().is_some_and(|s| s.is::<Memory>());
        let aligned = start >= addr && (start - addr) >> PAGE_SHIFT == vma.page;
        let identity = Rc::as_ptr(source).cast::<()>();
        if is_segment && aligned && *object.get_or_insert(identity) == identity {
            parts.push((start, vma.end));
        }
    }
    if parts.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    let pid = k.tasks[tid].pid;
    for (start, end) in parts {
        k.note_shm(here, (start, end), pid, Mapping::Detach);
        k.mm.unmap(start, end - start)?;
    }
    k.ipc.shm.sweep();
    Ok(0)
}

/// shmctl(2)
pub fn shmctl(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (id, cmd, buf) = (a.i32(0), a.i32(1), a.u64(2));
    if cmd < 0 || id < 0 {
        return Err(Errno::EINVAL.into());
    }
    k.ipc.shm.sweep();
    let creds = k.tasks[tid].creds.clone();
    match cmd {
        IPC_INFO => {
            let info = ShmInfo {
                shmmax: SHMMAX,
                shmmin: 1,
                shmmni: SHMMNI as u64,
                shmseg: SHMMNI as u64,
                shmall: SHMMAX,
                ..ShmInfo::default()
            };
            k.mm.write_pod(buf, &info)?;
            Ok(k.ipc.shm.max_slot())
        }
        SHM_INFO => {
            let (total, resident) = k.ipc.shm.pages();
            let used_ids = k.ipc.shm.len() as i32;
            k.mm.write_pod(buf, &ShmUse { used_ids, total, resident, ..ShmUse::default() })?;
            Ok(k.ipc.shm.max_slot())
        }
        IPC_STAT | SHM_STAT | SHM_STAT_ANY => {
            let ids = &k.ipc.shm;
            let segment = if cmd == IPC_STAT { ids.get(id)? } else { ids.by_slot(id)? };
            if cmd != SHM_STAT_ANY {
                segment.perm().check(&creds, 0o444)?;
            }
            let (state, id) = (segment.show(), segment.perm().id);
            k.mm.write_pod(buf, &state)?;
            Ok(if cmd == IPC_STAT { 0 } else { id as u64 })
        }
        IPC_SET => {
            let new: ShmidDs = k.mm.read_pod(buf)?;
            let now = k.ipc_now();
            let segment = k.ipc.shm.get_mut(id)?;
            segment.perm().check_owner(&creds)?;
            segment.perm_mut().set(&new.perm)?;
            segment.changed(now);
            Ok(0)
        }
        IPC_RMID => {
            k.ipc.shm.get(id)?.perm().check_owner(&creds)?;
            Ids::remove_segment(&mut k.ipc.shm, id);
            k.mm.reap();
            Ok(0)
        }
        SHM_LOCK | SHM_UNLOCK => {
            let limit = k.tasks[k.tasks[tid].pid].limits.soft(abi::time::RLIMIT_MEMLOCK);
            let segment = k.ipc.shm.get_mut(id)?;
            if !creds.capable(CAP_IPC_LOCK) {
                let (perm, euid) = (segment.perm(), creds.uid.effective);
                if euid != perm.uid && euid != perm.cuid || cmd == SHM_LOCK && limit == 0 {
                    return Err(Errno::EPERM.into());
                }
            }
            let mode = &mut segment.perm_mut().mode;
            *mode = *mode & !SHM_LOCKED | if cmd == SHM_LOCK { SHM_LOCKED } else { 0 };
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
