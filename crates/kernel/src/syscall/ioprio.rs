//! ioprio_set(2), ioprio_get(2): remembered, there is no I/O scheduler.

use abi::Errno;

use super::Args;
use crate::task::creds::{CAP_SYS_ADMIN, CAP_SYS_NICE};
use crate::{Kernel, ProcessId, SysResult, ThreadId};

const PROCESS: i32 = 1;
const GROUP: i32 = 2;
const USER: i32 = 3;
/// Classes: none, real time, best effort, idle.
const NONE: u32 = 0;
const REAL_TIME: u32 = 1;
const BEST_EFFORT: u32 = 2;
const IDLE: u32 = 3;
/// Bits of a value below its class.
const CLASS_SHIFT: u32 = 13;
/// Levels of a class.
const LEVELS: u32 = 8;

fn targets(k: &Kernel, tid: ThreadId, which: i32, who: u32) -> Result<Vec<ThreadId>, Errno> {
    let me = &k.tasks[tid];
    let found: Vec<ThreadId> = match which {
        PROCESS => {
            let target = if who == 0 { tid } else { ThreadId(who) };
            k.tasks.thread(target).map(|t| t.tid).into_iter().collect()
        }
        GROUP => {
            let group = if who == 0 { k.tasks[me.pid].pgid } else { ProcessId(who) };
            let members = k.tasks.group(group);
            k.tasks.threads().filter(|t| members.contains(&t.pid)).map(|t| t.tid).collect()
        }
        USER => {
            let uid = if who == 0 { me.creds.uid.real } else { who };
            k.tasks.threads().filter(|t| t.creds.uid.real == uid).map(|t| t.tid).collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() { Err(Errno::ESRCH) } else { Ok(found) }
}

/// ioprio_set(2)
pub fn ioprio_set(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let value = a.u32(2) & 0xffff;
    let (class, level) = (value >> CLASS_SHIFT, value & (LEVELS - 1));
    let creds = &k.tasks[tid].creds;
    let (nice, admin) = (creds.capable(CAP_SYS_NICE), creds.capable(CAP_SYS_ADMIN));
    let ids = (creds.uid.real, creds.uid.effective);
    match class {
        REAL_TIME if !nice && !admin => return Err(Errno::EPERM.into()),
        REAL_TIME | BEST_EFFORT | IDLE => {}
        NONE if level == 0 => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    for target in targets(k, tid, a.i32(0), a.u32(1))? {
        let uid = k.tasks[target].creds.uid.real;
        if uid != ids.0 && uid != ids.1 && !nice {
            return Err(Errno::EPERM.into());
        }
        k.tasks[target].ioprio = value;
    }
    Ok(0)
}

/// ioprio_get(2): the most urgent of all that are meant
pub fn ioprio_get(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let urgency = |value: &u32| if *value == 0 { u32::MAX } else { *value };
    let found = targets(k, tid, a.i32(0), a.u32(1))?;
    let best = found.iter().map(|&t| k.tasks[t].ioprio).min_by_key(urgency);
    Ok(u64::from(best.unwrap_or(0)))
}
