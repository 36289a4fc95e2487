//! User and group ids, capabilities (credentials(7), capabilities(7)).

use abi::Errno;

use super::Args;
use crate::task::creds::{CAP_SETGID, CAP_SETPCAP, CAP_SETUID, Ids, LAST_CAP};
use crate::{Kernel, SysResult, ThreadId};

/// "Leave it as it is" in setreuid and setresuid.
const KEEP: u32 = u32::MAX;
/// `NGROUPS_MAX`.
const NGROUPS_MAX: usize = 65536;

/// getuid(2)
pub fn getuid(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    Ok(u64::from(k.tasks[tid].creds.uid.real))
}
/// geteuid(2)
pub fn geteuid(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    Ok(u64::from(k.tasks[tid].creds.uid.effective))
}
/// getgid(2)
pub fn getgid(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    Ok(u64::from(k.tasks[tid].creds.gid.real))
}
/// getegid(2)
pub fn getegid(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    Ok(u64::from(k.tasks[tid].creds.gid.effective))
}

/// setuid(2) for one kind of id.
fn set_one(ids: Ids, id: u32, privileged: bool) -> Result<Ids, Errno> {
    if id == KEEP {
        Err(Errno::EINVAL)
    } else if privileged {
        Ok(Ids::all(id))
    } else if id == ids.real || id == ids.saved {
        Ok(Ids { effective: id, fs: id, ..ids })
    } else {
        Err(Errno::EPERM)
    }
}

/// setreuid(2) for one kind of id.
fn set_two(ids: Ids, real: u32, effective: u32, privileged: bool) -> Result<Ids, Errno> {
    let may_real = real == KEEP || privileged || real == ids.real || real == ids.effective;
    let may_effective = effective == KEEP || privileged || ids.has(effective);
    if !may_real || !may_effective {
        return Err(Errno::EPERM);
    }
    let mut new = ids;
    if real != KEEP {
        new.real = real;
    }
    if effective != KEEP {
        new.effective = effective;
    }
    if real != KEEP || effective != KEEP && effective != ids.real {
        new.saved = new.effective;
    }
    new.fs = new.effective;
    Ok(new)
}

/// setresuid(2) for one kind of id.
fn set_three(ids: Ids, want: [u32; 3], privileged: bool) -> Result<Ids, Errno> {
    if !privileged && want.iter().any(|&id| id != KEEP && !ids.has(id)) {
        return Err(Errno::EPERM);
    }
    let pick = |new: u32, old: u32| if new == KEEP { old } else { new };
    let effective = pick(want[1], ids.effective);
    Ok(Ids {
        real: pick(want[0], ids.real),
        effective,
        saved: pick(want[2], ids.saved),
        fs: effective,
    })
}

/// setuid(2)
pub fn setuid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let creds = &mut k.tasks[tid].creds;
    let new = set_one(creds.uid, a.u32(0), creds.capable(CAP_SETUID))?;
    creds.set_uid(new);
    Ok(0)
}
/// setgid(2)
pub fn setgid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let creds = &mut k.tasks[tid].creds;
    creds.gid = set_one(creds.gid, a.u32(0), creds.capable(CAP_SETGID))?;
    Ok(0)
}
/// setreuid(2)
pub fn setreuid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let creds = &mut k.tasks[tid].creds;
    let new = set_two(creds.uid, a.u32(0), a.u32(1), creds.capable(CAP_SETUID))?;
    creds.set_uid(new);
    Ok(0)
}
/// setregid(2)
pub fn setregid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let creds = &mut k.tasks[tid].creds;
    creds.gid = set_two(creds.gid, a.u32(0), a.u32(1), creds.capable(CAP_SETGID))?;
    Ok(0)
}
/// setresuid(2)
pub fn setresuid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let creds = &mut k.tasks[tid].creds;
    let want = [a.u32(0), a.u32(1), a.u32(2)];
    let new = set_three(creds.uid, want, creds.capable(CAP_SETUID))?;
    creds.set_uid(new);
    Ok(0)
}
/// setresgid(2)
pub fn setresgid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let creds = &mut k.tasks[tid].creds;
    let want = [a.u32(0), a.u32(1), a.u32(2)];
    creds.gid = set_three(creds.gid, want, creds.capable(CAP_SETGID))?;
    Ok(0)
}

fn store_three(k: &mut Kernel, a: Args, ids: Ids) -> SysResult {
    k.mm.write_pod(a.u64(0), &ids.real)?;
    k.mm.write_pod(a.u64(1), &ids.effective)?;
    k.mm.write_pod(a.u64(2), &ids.saved)?;
    Ok(0)
}
/// getresuid(2)
pub fn getresuid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let ids = k.tasks[tid].creds.uid;
    store_three(k, a, ids)
}
/// getresgid(2)
pub fn getresgid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let ids = k.tasks[tid].creds.gid;
    store_three(k, a, ids)
}

/// setfsuid(2): returns the old one
pub fn setfsuid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let creds = &mut k.tasks[tid].creds;
    let (old, id) = (creds.uid, a.u32(0));
    if id != KEEP && (old.has(id) || id == old.fs || creds.capable(CAP_SETUID)) {
        creds.set_uid(Ids { fs: id, ..old });
    }
    Ok(u64::from(old.fs))
}
/// setfsgid(2): returns the old one
pub fn setfsgid(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let creds = &mut k.tasks[tid].creds;
    let (old, id) = (creds.gid, a.u32(0));
    if id != KEEP && (old.has(id) || id == old.fs || creds.capable(CAP_SETGID)) {
        creds.gid.fs = id;
    }
    Ok(u64::from(old.fs))
}

/// getgroups(2)
pub fn getgroups(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let groups = k.tasks[tid].creds.groups.clone();
    let size = usize::try_from(a.i32(0)).map_err(|_| Errno::EINVAL)?;
    if size != 0 {
        if size < groups.len() {
            return Err(Errno::EINVAL.into());
        }
        let bytes: Vec<u8> = groups.iter().flat_map(|g| g.to_le_bytes()).collect();
        k.mm.write_user(a.u64(1), &bytes)?;
    }
    Ok(groups.len() as u64)
}

/// setgroups(2)
pub fn setgroups(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if !k.tasks[tid].creds.capable(CAP_SETGID) {
        return Err(Errno::EPERM.into());
    }
    let size = a.usize(0);
    if size > NGROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let bytes = k.mm.read_vec(a.u64(1), size * 4)?;
    let mut groups: Vec<u32> = bytes.chunks_exact(4).map(<u32 as abi::Pod>::from_bytes).collect();
    if groups.contains(&u32::MAX) {
        return Err(Errno::EINVAL.into());
    }
    groups.sort_unstable();
    k.tasks[tid].creds.groups = groups.into();
    Ok(0)
}

/// `_LINUX_CAPABILITY_VERSION_1`, `_2`, `_3`: how many 32-bit words a set has.
fn cap_words(version: u32) -> Option<usize> {
    match version {
        0x1998_0330 => Some(1),
        0x2007_1026 | 0x2008_0522 => Some(2),
        _ => None,
    }
}

/// Reads the header; on an unknown version stores the preferred one.
fn cap_header(k: &mut Kernel, va: u64) -> Result<(Option<usize>, i32), Errno> {
    let version: u32 = k.mm.read_pod(va)?;
    let pid: i32 = k.mm.read_pod(va.wrapping_add(4))?;
    let words = cap_words(version);
    if words.is_none() {
        k.mm.write_pod(va, &0x2008_0522_u32)?;
    }
    Ok((words, pid))
}

/// capget(2)
pub fn capget(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (words, pid) = cap_header(k, a.u64(0))?;
    let Some(words) = words else {
        return if a.u64(1) == 0 { Ok(0) } else { Err(Errno::EINVAL.into()) };
    };
    if pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = if pid == 0 { tid } else { ThreadId(pid as u32) };
    let creds = k.tasks.thread(target).map(|t| t.creds.clone()).ok_or(Errno::ESRCH)?;
    if a.u64(1) != 0 {
        for word in 0..words {
            let at = a.u64(1).wrapping_add(word as u64 * 12);
            let part = |set: u64| (set >> (32 * word)) as u32;
            let sets = [part(creds.effective), part(creds.permitted), part(creds.inheritable)];
            k.mm.write_pod(at, &sets)?;
        }
    }
    Ok(0)
}

/// capset(2)
pub fn capset(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (words, pid) = cap_header(k, a.u64(0))?;
    let words = words.ok_or(Errno::EINVAL)?;
    if pid != 0 && pid as u32 != tid.0 {
        return Err(Errno::EPERM.into());
    }
    let mut sets = [0_u64; 3];
    for word in 0..words {
        let part: [u32; 3] = k.mm.read_pod(a.u64(1).wrapping_add(word as u64 * 12))?;
        for (set, bits) in sets.iter_mut().zip(part) {
            *set |= u64::from(bits) << (32 * word);
        }
    }
    let all = (1_u64 << (LAST_CAP + 1)) - 1;
    let [effective, permitted, inheritable] = sets.map(|s| s & all);
    let creds = &mut k.tasks[tid].creds;
    let may_inherit = creds.inheritable
        | if creds.capable(CAP_SETPCAP) { creds.bounding } else { creds.permitted };
    if permitted & !creds.permitted != 0
        || effective & !permitted != 0
        || inheritable & !may_inherit != 0
    {
        return Err(Errno::EPERM.into());
    }
    creds.effective = effective;
    creds.permitted = permitted;
    creds.inheritable = inheritable;
    creds.ambient &= permitted & inheritable;
    Ok(0)
}
