//! semget(2), semop(2), semtimedop(2), semctl(2).

use abi::ipc::*;
use abi::{Errno, Pod, Timespec};

use crate::ipc::Object;
use crate::ipc::sem::{
    Call, Outcome, Place, SEMMNI, SEMMNS, SEMMSL, SEMOPM, SEMS_MAX, SEMVMX, Set,
};
use crate::syscall::Args;
use crate::task::Creds;
use crate::{Kernel, OnSignal, SysResult, ThreadId, Wait, WaitKey};

/// semget(2)
pub fn semget(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (key, count, flags) = (a.i32(0), a.i32(1), a.u32(2));
    let count =
        usize::try_from(count).ok().filter(|&n| n <= SEMMSL as usize).ok_or(Errno::EINVAL)?;
    let too_many = |s: &Set| if count > s.sems.len() { Err(Errno::EINVAL) } else { Ok(()) };
    if let Some(id) = k.ipc.sem.ids.find(&k.tasks[tid].creds, key, flags, too_many)? {
        return Ok(id as u64);
    }
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    if k.ipc.sem.total() + count > SEMS_MAX {
        return Err(Errno::ENOMEM.into());
    }
    let perm = k.new_ipc_perm(tid, key, flags);
    let set = Set::new(perm, count, k.ipc_now());
    Ok(k.ipc.sem.ids.add(set, SEMMNI)? as u64)
}

/// semop(2)
pub fn semop(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    semtimedop(k, tid, Args([a.u64(0), a.u64(1), a.u64(2), 0, 0, 0]))
}

/// semtimedop(2)
pub fn semtimedop(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if let Some(place) = k.tasks[tid].restart.sem {
        if let Some(result) = k.sem_result(place) {
            k.tasks[tid].restart.sem = None;
            result?;
            return Ok(0);
        }
        if k.deadline_passed(tid) {
            k.leave_sem(tid);
            return Err(Errno::EAGAIN.into());
        }
        return wait(k, tid, place);
    }
    let (id, count) = (a.i32(0), a.u64(2) & 0xffff_ffff);
    let timeout: Option<Timespec> = match a.u64(3) {
        0 => None,
        va => Some(k.mm.read_pod(va)?),
    };
    if count > SEMOPM {
        return Err(Errno::E2BIG.into());
    }
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    let bytes = k.mm.read_vec(a.u64(1), count as usize * Sembuf::SIZE)?;
    let ops: Vec<Sembuf> = bytes.chunks_exact(Sembuf::SIZE).map(Sembuf::from_bytes).collect();
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let timeout = match timeout {
        Some(time) => Some(time.to_ns().ok_or(Errno::EINVAL)?),
        None => None,
    };
    let set = k.ipc.sem.ids.get(id)?;
    if ops.iter().any(|op| usize::from(op.num) >= set.sems.len()) {
        return Err(Errno::EFBIG.into());
    }
    let alters = ops.iter().any(|op| op.op != 0);
    set.perm().check(&k.tasks[tid].creds, if alters { 0o222 } else { 0o444 })?;
    let undo = ops.iter().any(|op| op.flags & SEM_UNDO != 0);
    let thread = &mut k.tasks[tid];
    let undo = undo.then(|| thread.undo.get_or_insert_default().clone());
    let call = Call { tid, pid: thread.pid, ops: ops.into(), undo };
    match k.sem_operate(id, call) {
        Outcome::Done(result) => {
            result?;
            Ok(0)
        }
        Outcome::Waits(place) => {
            if let Some(timeout) = timeout {
                k.deadline_after(tid, timeout);
            }
            k.tasks[tid].restart.sem = Some(place);
            wait(k, tid, place)
        }
    }
}

/// Waits until somebody carries the call out. It is never restarted after a signal (signal(7)).
fn wait(k: &mut Kernel, tid: ThreadId, _: Place) -> SysResult {
    let deadline = k.tasks[tid].restart.deadline;
    Wait::on(WaitKey::thread(tid)).until(deadline).on_signal(OnSignal::Always).block()
}

/// semctl(2)
pub fn semctl(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (id, num, cmd, arg) = (a.i32(0), a.i32(1), a.i32(2), a.u64(3));
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let creds = k.tasks[tid].creds.clone();
    match cmd {
        IPC_INFO | SEM_INFO => info(k, cmd, arg),
        IPC_STAT | SEM_STAT | SEM_STAT_ANY => {
            let ids = &k.ipc.sem.ids;
            let set = if cmd == IPC_STAT { ids.get(id)? } else { ids.by_slot(id)? };
            if cmd != SEM_STAT_ANY {
                set.perm().check(&creds, 0o444)?;
            }
            let (state, id) = (set.show(), set.perm().id);
            k.mm.write_pod(arg, &state)?;
            Ok(if cmd == IPC_STAT { 0 } else { id as u64 })
        }
        GETALL => {
            let set = k.ipc.sem.ids.get(id)?;
            set.perm().check(&creds, 0o444)?;
            let values: Vec<u8> =
                set.sems.iter().flat_map(|s| (s.value as u16).to_le_bytes()).collect();
            k.mm.write_user(arg, &values)?;
            Ok(0)
        }
        GETVAL | GETPID | GETNCNT | GETZCNT => {
            let set = k.ipc.sem.ids.get(id)?;
            set.perm().check(&creds, 0o444)?;
            let index = usize::try_from(num).map_err(|_| Errno::EINVAL)?;
            let sem = set.sems.get(index).ok_or(Errno::EINVAL)?;
            Ok(match cmd {
                GETVAL => sem.value as u64,
                GETPID => u64::from(sem.pid),
                _ => set.waiters(index, cmd == GETZCNT),
            })
        }
        SETALL => set_all(k, tid, id, &creds, arg),
        SETVAL => set_value(k, tid, id, &creds, num, arg as i32),
        IPC_SET => {
            let new: SemidDs = k.mm.read_pod(arg)?;
            let now = k.ipc_now();
            let set = k.ipc.sem.ids.get_mut(id)?;
            set.perm().check_owner(&creds)?;
            set.perm_mut().set(&new.perm)?;
            set.changed(now);
            Ok(0)
        }
        IPC_RMID => {
            k.ipc.sem.ids.get(id)?.perm().check_owner(&creds)?;
            k.sem_remove(id);
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn info(k: &mut Kernel, cmd: i32, arg: u64) -> SysResult {
    let (sets, sems) = (k.ipc.sem.ids.len() as i32, k.ipc.sem.total() as i32);
    let used = cmd == SEM_INFO;
    let info = SemInfo {
        semmap: SEMMNS,
        semmni: SEMMNI as i32,
        semmns: SEMMNS,
        semmnu: SEMMNS,
        semmsl: SEMMSL,
        semopm: SEMOPM as i32,
        semume: SEMOPM as i32,
        semusz: if used { sets } else { 20 },
        semvmx: SEMVMX,
        semaem: if used { sems } else { SEMVMX },
    };
    k.mm.write_pod(arg, &info)?;
    Ok(k.ipc.sem.ids.max_slot())
}

fn set_all(k: &mut Kernel, tid: ThreadId, id: i32, creds: &Creds, arg: u64) -> SysResult {
    let set = k.ipc.sem.ids.get(id)?;
    set.perm().check(creds, 0o222)?;
    let count = set.sems.len();
    let bytes = k.mm.read_vec(arg, count * 2)?;
    let values: Vec<i32> = bytes.chunks_exact(2).map(|b| i32::from(u16::from_bytes(b))).collect();
    if values.iter().any(|&v| v > SEMVMX) {
        return Err(Errno::ERANGE.into());
    }
    let (now, pid) = (k.ipc_now(), k.tasks[tid].pid.0);
    let set = k.ipc.sem.ids.get_mut(id)?;
    for (sem, value) in set.sems.iter_mut().zip(values) {
        (sem.value, sem.pid) = (value, pid);
    }
    set.changed(now);
    k.sem_forget_undo(id, None);
    k.sem_settle(id);
    Ok(0)
}

fn set_value(
    k: &mut Kernel,
    tid: ThreadId,
    id: i32,
    creds: &Creds,
    num: i32,
    value: i32,
) -> SysResult {
    if !(0..=SEMVMX).contains(&value) {
        return Err(Errno::ERANGE.into());
    }
    let (now, pid) = (k.ipc_now(), k.tasks[tid].pid.0);
    let set = k.ipc.sem.ids.get_mut(id)?;
    let index = u16::try_from(num).map_err(|_| Errno::EINVAL)?;
    if usize::from(index) >= set.sems.len() {
        return Err(Errno::EINVAL.into());
    }
    set.perm().check(creds, 0o222)?;
    if let Some(sem) = set.sems.get_mut(usize::from(index)) {
        (sem.value, sem.pid) = (value, pid);
    }
    set.changed(now);
    k.sem_forget_undo(id, Some(index));
    k.sem_settle(id);
    Ok(0)
}
