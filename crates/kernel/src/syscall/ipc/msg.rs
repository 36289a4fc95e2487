//! msgget(2), msgsnd(2), msgrcv(2), msgctl(2).

use abi::Errno;
use abi::ipc::*;

use crate::ipc::Object;
use crate::ipc::msg::{MSGMAX, MSGMNB, MSGMNI, Message, Queue, Want};
use crate::syscall::Args;
use crate::task::creds::CAP_SYS_RESOURCE;
use crate::{Kernel, OnSignal, Stop, SysResult, ThreadId, Wait, WaitKey};

/// Most bytes that all messages may take, whatever the memory.
const TOTAL_MAX: u64 = 64 << 20;

/// msgget(2)
pub fn msgget(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (key, flags) = (a.i32(0), a.u32(1));
    if let Some(id) = k.ipc.msg.find(&k.tasks[tid].creds, key, flags, |_| Ok(()))? {
        return Ok(id as u64);
    }
    let perm = k.new_ipc_perm(tid, key, flags);
    let wait = WaitKey::object(k.shared.unique());
    let queue = Queue::new(perm, k.ipc_now(), wait);
    Ok(k.ipc.msg.add(queue, MSGMNI)? as u64)
}

/// The queue of a call; one that went while the caller waited is `EIDRM`.
fn queue(k: &Kernel, tid: ThreadId, id: i32) -> Result<&Queue, Errno> {
    let again = k.tasks[tid].restart.again;
    k.ipc.msg.get(id).map_err(|e| if again { Errno::EIDRM } else { e })
}

/// Waits for a change of the queue. The calls are not restarted after a handler (signal(7)).
fn wait<T>(key: WaitKey) -> Result<T, Stop> {
    Wait::on(key).on_signal(OnSignal::Interrupt).block()
}

/// msgsnd(2)
pub fn msgsnd(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (id, msg, len, flags) = (a.i32(0), a.u64(1), a.u64(2), a.u32(3));
    let kind: i64 = k.mm.read_pod(msg)?;
    if len > MSGMAX || id < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let text = k.mm.read_vec(msg.wrapping_add(8), len as usize)?;
    let target = queue(k, tid, id)?;
    target.perm().check(&k.tasks[tid].creds, 0o222)?;
    if !target.fits(len) {
        if flags & IPC_NOWAIT != 0 {
            return Err(Errno::EAGAIN.into());
        }
        return wait(target.key);
    }
    k.ipc.msg.may_grow(len, TOTAL_MAX.min(k.mm.phys.limit_bytes() / 8))?;
    let (now, pid) = (k.ipc_now(), k.tasks[tid].pid);
    let target = k.ipc.msg.get_mut(id)?;
    target.push(Message { kind, text: text.into() });
    target.state.stime = now;
    target.state.lspid = pid.0 as i32;
    let key = target.key;
    k.wake(key);
    Ok(0)
}

/// msgrcv(2)
pub fn msgrcv(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (id, buf, size, kind, flags) = (a.i32(0), a.u64(1), a.u64(2), a.i64(3), a.u32(4));
    if id < 0 || size > i64::MAX as u64 {
        return Err(Errno::EINVAL.into());
    }
    let copy = flags & MSG_COPY != 0;
    if copy && (flags & MSG_EXCEPT != 0 || flags & IPC_NOWAIT == 0) {
        return Err(Errno::EINVAL.into());
    }
    let want = match kind {
        at if copy => Want::At(at),
        0 => Want::Any,
        n if n < 0 => Want::UpTo(n.checked_neg().unwrap_or(i64::MAX)),
        n if flags & MSG_EXCEPT != 0 => Want::Except(n),
        n => Want::Kind(n),
    };
    let source = queue(k, tid, id)?;
    source.perm().check(&k.tasks[tid].creds, 0o444)?;
    let Some(at) = source.find(want) else {
        if flags & IPC_NOWAIT != 0 {
            return Err(Errno::ENOMSG.into());
        }
        return wait(source.key);
    };
    let len = source.peek(at).map_or(0, |m| m.text.len() as u64);
    if size < len && flags & MSG_NOERROR == 0 {
        return Err(Errno::E2BIG.into());
    }
    let taken = size.min(len);
    let (kind, text) = if copy {
        let message = source.peek(at).ok_or(Errno::ENOMSG)?;
        (message.kind, message.text.clone())
    } else {
        let (now, pid) = (k.ipc_now(), k.tasks[tid].pid);
        let source = k.ipc.msg.get_mut(id)?;
        let message = source.take(at).ok_or(Errno::ENOMSG)?;
        source.state.rtime = now;
        source.state.lrpid = pid.0 as i32;
        let key = source.key;
        k.wake(key);
        (message.kind, message.text)
    };
    k.mm.write_pod(buf, &kind)?;
    k.mm.write_user(buf.wrapping_add(8), &text[..taken as usize])?;
    Ok(taken)
}

/// msgctl(2)
pub fn msgctl(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (id, cmd, buf) = (a.i32(0), a.i32(1), a.u64(2));
    if cmd < 0 || id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let creds = k.tasks[tid].creds.clone();
    match cmd {
        IPC_INFO | MSG_INFO => {
            let (count, bytes) = k.ipc.msg.totals();
            let used = cmd == MSG_INFO;
            let clamp = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
            let pool = MSGMNI as u64 * MSGMNB / 1024;
            let info = MsgInfo {
                msgpool: if used { k.ipc.msg.len() as i32 } else { clamp(pool) },
                msgmap: clamp(if used { count } else { MSGMNB }),
                msgmax: MSGMAX as i32,
                msgmnb: MSGMNB as i32,
                msgmni: MSGMNI as i32,
                msgssz: 16,
                msgtql: clamp(if used { bytes } else { MSGMNB }),
                msgseg: 0xffff,
                pad: 0,
            };
            k.mm.write_pod(buf, &info)?;
            Ok(k.ipc.msg.max_slot())
        }
        IPC_STAT | MSG_STAT | MSG_STAT_ANY => {
            let ids = &k.ipc.msg;
            let queue = if cmd == IPC_STAT { ids.get(id)? } else { ids.by_slot(id)? };
            if cmd != MSG_STAT_ANY {
                queue.perm().check(&creds, 0o444)?;
            }
            let (state, id) = (queue.show(), queue.perm().id);
            k.mm.write_pod(buf, &state)?;
            Ok(if cmd == IPC_STAT { 0 } else { id as u64 })
        }
        IPC_SET => {
            let new: MsqidDs = k.mm.read_pod(buf)?;
            let now = k.ipc_now();
            let queue = k.ipc.msg.get_mut(id)?;
            queue.perm().check_owner(&creds)?;
            if new.qbytes > MSGMNB && !creds.capable(CAP_SYS_RESOURCE) {
                return Err(Errno::EPERM.into());
            }
            queue.perm_mut().set(&new.perm)?;
            queue.state.qbytes = new.qbytes;
            queue.state.ctime = now;
            let key = queue.key;
            k.wake(key);
            Ok(0)
        }
        IPC_RMID => {
            k.ipc.msg.get(id)?.perm().check_owner(&creds)?;
            if let Some(queue) = k.ipc.msg.remove(id) {
                k.wake(queue.key);
            }
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
