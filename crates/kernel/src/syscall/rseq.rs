//! Restartable sequences (rseq(2), `kernel/rseq.c`): a thread tells where its current critical section is described;
//! one that is interrupted in the middle goes on at its abort address. There is one CPU, so its number is stored once.

use abi::Errno;
use abi::signal::{SI_KERNEL, SIGSEGV};

use super::Args;
use crate::mm::TASK_SIZE;
use crate::signal::siginfo;
use crate::{Kernel, SysResult, ThreadId};

/// Bytes of the area, and its alignment.
const AREA: u64 = 32;
const UNREGISTER: u32 = 1;
/// Offset of the pointer to the description of the critical section.
const SECTION: u64 = 8;
/// `RSEQ_CPU_ID_UNINITIALIZED`
const UNINITIALIZED: u32 = u32::MAX;

/// A registered area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    addr: u64,
    signature: u32,
}

/// rseq(2)
pub fn rseq(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (addr, len, flags, signature) = (a.u64(0), a.u32(1), a.u32(2), a.u32(3));
    let known = k.tasks[tid].rseq;
    if flags & UNREGISTER != 0 {
        if flags != UNREGISTER
            || known.is_none_or(|area| area.addr != addr)
            || u64::from(len) != AREA
        {
            return Err(Errno::EINVAL.into());
        }
        if known.is_some_and(|area| area.signature != signature) {
            return Err(Errno::EPERM.into());
        }
        k.mm.write_pod(addr, &[0_u32, UNINITIALIZED])?;
        k.tasks[tid].rseq = None;
        return Ok(0);
    }
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    if let Some(area) = known {
        let errno = if area.addr != addr || u64::from(len) != AREA {
            Errno::EINVAL
        } else if area.signature != signature {
            Errno::EPERM
        } else {
            Errno::EBUSY
        };
        return Err(errno.into());
    }
    if addr & (AREA - 1) != 0 || u64::from(len) != AREA {
        return Err(Errno::EINVAL.into());
    }
    if addr >= TASK_SIZE {
        return Err(Errno::EFAULT.into());
    }
    k.tasks[tid].rseq = Some(Area { addr, signature });
    // CPU 0, at the start of a section and now; also node and concurrency id.
    if k.mm.write_pod(addr, &0_u64).is_err() {
        k.force_signal(tid, siginfo(SIGSEGV, SI_KERNEL));
    }
    Ok(0)
}

impl Kernel {
    /// The thread was interrupted in its current space: out of its critical section, if it is in one.
    pub(crate) fn leave_section(&mut self, tid: ThreadId) {
        let Some(area) = self.tasks.thread(tid).and_then(|t| t.rseq) else { return };
        let pointer = area.addr + SECTION;
        let section = match self.mm.read_pod::<u64>(pointer) {
            Ok(0) => return,
            Ok(section) => section,
            Err(_) => return self.force_signal(tid, siginfo(SIGSEGV, SI_KERNEL)),
        };
        if self.abort_section(tid, section, area.signature).is_err()
            || self.mm.write_pod(pointer, &0_u64).is_err()
        {
            self.force_signal(tid, siginfo(SIGSEGV, SI_KERNEL));
        }
    }

    fn abort_section(&mut self, tid: ThreadId, section: u64, signature: u32) -> Result<(), Errno> {
        if section >= TASK_SIZE {
            return Err(Errno::EINVAL);
        }
        // version and flags, start, length, abort address
        let [head, start, len, abort]: [u64; 4] = self.mm.read_pod(section)?;
        let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
        if head as u32 != 0 || start >= TASK_SIZE || end >= TASK_SIZE || abort >= TASK_SIZE {
            return Err(Errno::EINVAL);
        }
        if abort.wrapping_sub(start) < len {
            return Err(Errno::EINVAL);
        }
        if self.mm.read_pod::<u32>(abort.wrapping_sub(4))? != signature {
            return Err(Errno::EINVAL);
        }
        let ctx = &mut self.tasks[tid].ctx;
        if ctx.rip.wrapping_sub(start) < len {
            ctx.rip = abort;
        }
        Ok(())
    }
}
