//! epoll_create1(2), epoll_ctl(2), epoll_wait(2), epoll_pwait2(2).

use abi::poll::{EPOLL_CLOEXEC, EPOLL_CTL_DEL};
use abi::{Errno, Timespec};

use crate::file::epoll::{self, Epoll};
use crate::mm::TASK_SIZE;
use crate::syscall::Args;
use crate::{Kernel, OnSignal, SysResult, ThreadId, Wait};

/// Bytes of `struct epoll_event`, which is packed.
const EVENT: u64 = 12;
/// Most events one call reports.
const MAX_EVENTS: i32 = i32::MAX / EVENT as i32;

impl Kernel {
    fn epoll_events(&mut self, tid: ThreadId, a: Args, ns: Option<u64>) -> SysResult {
        let (out, max) = (a.u64(1), a.i32(2));
        let file = self.file(tid, a.i32(0))?;
        if !(1..=MAX_EVENTS).contains(&max) {
            return Err(Errno::EINVAL.into());
        }
        if out.saturating_add(max as u64 * EVENT) > TASK_SIZE {
            return Err(Errno::EFAULT.into());
        }
        let deadline = ns.map(|ns| self.deadline_after(tid, ns));
        let Some(epoll) = file.object::<Epoll>() else { return Err(Errno::EINVAL.into()) };
        let chosen = {
            let restart = &mut self.tasks[tid].restart;
            std::mem::take(&mut restart.chosen) || !restart.again
        };
        // Nothing may be taken that cannot be stored; a bad address only matters when there is something.
        let storable = self.mm.user_chunk_mut(out, 1).is_ok();
        let ready = epoll.ready(&mut self.cx(tid), max as usize, storable, chosen);
        if !ready.is_empty() && !storable {
            return Err(Errno::EFAULT.into());
        }
        if ready.is_empty() && ns != Some(0) && deadline.is_none_or(|d| d > self.now()) {
            let (keys, exclusive) = epoll.wait_keys(&mut self.cx(tid));
            let first = [deadline, file.ops().deadline()].into_iter().flatten().min();
            let wait = Wait { exclusive, ..Wait::any(keys) };
            return wait.until(first).on_signal(OnSignal::Always).block();
        }
        for (i, (events, data)) in ready.iter().enumerate() {
            let mut record = [0; EVENT as usize];
            record[..4].copy_from_slice(&events.to_le_bytes());
            record[4..].copy_from_slice(&data.to_le_bytes());
            self.mm.write_user(out.wrapping_add(i as u64 * EVENT), &record)?;
        }
        Ok(ready.len() as u64)
    }
}

fn timeout_ms(ms: i32) -> Option<u64> {
    u64::try_from(ms).ok().map(|ms| ms * 1_000_000)
}

/// epoll_create(2)
pub fn epoll_create(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.i32(0) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = epoll::create(&mut k.cx(tid));
    Ok(k.add_file(tid, file, false)?)
}

/// epoll_create1(2)
pub fn epoll_create1(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.u32(0) & !EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = epoll::create(&mut k.cx(tid));
    Ok(k.add_file(tid, file, a.u32(0) & EPOLL_CLOEXEC != 0)?)
}

/// epoll_ctl(2)
pub fn epoll_ctl(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (op, fd) = (a.u32(1), a.i32(2));
    let (events, data) = if op == EPOLL_CTL_DEL {
        (0, 0)
    } else {
        let [events, low, high]: [u32; 3] = k.mm.read_pod(a.u64(3))?;
        (events, u64::from(low) | u64::from(high) << 32)
    };
    let file = k.file(tid, a.i32(0))?;
    let target = k.file(tid, fd)?;
    if !target.ops().is_pollable() {
        return Err(Errno::EPERM.into());
    }
    let Some(epoll) = file.object::<Epoll>() else { return Err(Errno::EINVAL.into()) };
    epoll.control(&mut k.cx(tid), op, fd, &target, events, data)?;
    Ok(0)
}

/// epoll_wait(2)
pub fn epoll_wait(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.epoll_events(tid, a, timeout_ms(a.i32(3)))
}

/// epoll_pwait(2)
pub fn epoll_pwait(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.use_mask(tid, a.u64(4), a.u64(5))?;
    k.epoll_events(tid, a, timeout_ms(a.i32(3)))
}

/// epoll_pwait2(2)
pub fn epoll_pwait2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let ns = match a.u64(3) {
        0 => None,
        va => {
            let time: Timespec = k.mm.read_pod(va)?;
            Some(time.to_ns().ok_or(Errno::EINVAL)?)
        }
    };
    k.use_mask(tid, a.u64(4), a.u64(5))?;
    k.epoll_events(tid, a, ns)
}
