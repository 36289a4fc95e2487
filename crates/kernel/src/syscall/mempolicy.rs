//! NUMA policies of a machine with one node: get_mempolicy(2), set_mempolicy(2), mbind(2), move_pages(2),
//! migrate_pages(2).

use abi::Errno;
use mem::{Access, PAGE_MASK, PAGE_SIZE, Translate};

use super::Args;
use crate::task::access::By;
use crate::task::creds::CAP_SYS_NICE;
use crate::{Kernel, SysResult, ThreadId};

const DEFAULT: u32 = 0;
const PREFERRED: u32 = 1;
const INTERLEAVE: u32 = 3;
const LOCAL: u32 = 4;
/// One more than the highest mode (`MPOL_PREFERRED_MANY`).
const MODES: u32 = 6;
/// `MPOL_F_STATIC_NODES`, `MPOL_F_RELATIVE_NODES`.
const MODE_FLAGS: u32 = 3 << 14;
const F_NODE: u64 = 1;
const F_ADDR: u64 = 2;
const F_MEMS_ALLOWED: u64 = 4;
const MF_MOVE_ALL: u64 = 4;
/// `MPOL_MF_STRICT`, `MPOL_MF_MOVE`, `MPOL_MF_MOVE_ALL`.
const MF_VALID: u64 = 7;
/// Nodes that masks may name (`MAX_NUMNODES` of Debian's kernel).
const MAX_NODES: u64 = 1024;

/// A thread's policy: mode with its flags, and nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    mode: u32,
    nodes: u64,
}

/// The nodes of a mask of `max - 1` bits at `va` (`get_nodes`).
fn read_nodes(k: &mut Kernel, va: u64, max: u64) -> Result<u64, Errno> {
    let bits = max.wrapping_sub(1);
    if bits == 0 || va == 0 {
        return Ok(0);
    }
    if bits > PAGE_SIZE as u64 * 8 {
        return Err(Errno::EINVAL);
    }
    let mut nodes = 0;
    for word in 0..bits.div_ceil(64) {
        let mut value: u64 = k.mm.read_pod(va.wrapping_add(word * 8))?;
        let left = bits - word * 64;
        if left < 64 {
            value &= (1 << left) - 1;
        }
        if word == 0 {
            nodes = value;
        } else if value != 0 && word * 64 >= MAX_NODES {
            return Err(Errno::EINVAL);
        } else if value != 0 {
            nodes |= 1 << 63;
        }
    }
    Ok(nodes)
}

/// Stores `nodes` as a mask of `max - 1` bits (`copy_nodes_to_user`).
fn write_nodes(k: &mut Kernel, va: u64, max: u64, nodes: u64) -> Result<(), Errno> {
    let len = max.wrapping_sub(1).div_ceil(64).saturating_mul(8);
    if len > PAGE_SIZE as u64 {
        return Err(Errno::EINVAL);
    }
    if len > 0 {
        k.mm.write_pod(va, &nodes)?;
        k.mm.zero_user(va.wrapping_add(8), len - 8)?;
    }
    Ok(())
}

/// A policy as `mpol_new` and `mpol_set_nodemask` make it.
fn policy(mode: u32, nodes: u64) -> Result<Policy, Errno> {
    let (flags, plain) = (mode & MODE_FLAGS, mode & !MODE_FLAGS);
    if plain >= MODES || flags == MODE_FLAGS {
        return Err(Errno::EINVAL);
    }
    let local = plain == LOCAL || plain == PREFERRED && nodes == 0;
    let empty = plain == DEFAULT || local;
    if empty && (nodes != 0 || flags != 0) {
        return Err(Errno::EINVAL);
    }
    if !empty && nodes & 1 == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Policy { mode: if local { LOCAL } else { mode }, nodes: nodes & 1 })
}

/// get_mempolicy(2)
pub fn get_mempolicy(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (mode, mask, max, addr, flags) = (a.u64(0), a.u64(1), a.u64(2), a.u64(3), a.u64(4));
    if mask != 0 && max < 1 || flags & !(F_NODE | F_ADDR | F_MEMS_ALLOWED) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut found = k.tasks[tid].mempolicy;
    let mut value = found.mode;
    if flags & F_MEMS_ALLOWED != 0 {
        if flags & (F_NODE | F_ADDR) != 0 {
            return Err(Errno::EINVAL.into());
        }
        (value, found.nodes) = (0, 1);
    } else {
        if flags & F_ADDR != 0 {
            let space = k.mm.space(k.mm.current()).ok_or(Errno::EFAULT)?;
            space.vmas().find(addr).ok_or(Errno::EFAULT)?;
            (value, found) = (DEFAULT, Policy::default());
        } else if addr != 0 {
            return Err(Errno::EINVAL.into());
        }
        if flags & F_NODE != 0 {
            if flags & F_ADDR != 0 {
                // The node of the page, which is brought in.
                k.mm.translate(addr, Access::Read).map_err(|_| Errno::EFAULT)?;
            } else if found.mode & !MODE_FLAGS != INTERLEAVE {
                return Err(Errno::EINVAL.into());
            }
            value = 0;
        }
    }
    if mode != 0 {
        k.mm.write_pod(mode, &value)?;
    }
    if mask != 0 {
        write_nodes(k, mask, max, found.nodes)?;
    }
    Ok(0)
}

/// set_mempolicy(2)
pub fn set_mempolicy(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let mode = a.u32(0);
    if mode & !MODE_FLAGS >= MODES || mode & MODE_FLAGS == MODE_FLAGS {
        return Err(Errno::EINVAL.into());
    }
    let nodes = read_nodes(k, a.u64(1), a.u64(2))?;
    k.tasks[tid].mempolicy = policy(mode, nodes)?;
    Ok(0)
}

/// mbind(2): checked; with one node there is nothing to choose
pub fn mbind(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (start, len, mode, flags) = (a.u64(0), a.u64(1), a.u32(2), a.u64(5) & 0xffff_ffff);
    if mode & !MODE_FLAGS >= MODES || mode & MODE_FLAGS == MODE_FLAGS {
        return Err(Errno::EINVAL.into());
    }
    let nodes = read_nodes(k, a.u64(3), a.u64(4))?;
    if flags & !MF_VALID != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MF_MOVE_ALL != 0 && !k.tasks[tid].creds.capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    if start & PAGE_MASK != 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = crate::mm::map::page_up(len).ok_or(Errno::EINVAL)?;
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    if start == end {
        return Ok(0);
    }
    policy(mode, nodes)?;
    let space = k.mm.space(k.mm.current()).ok_or(Errno::EFAULT)?;
    if space.vmas().is_covered(start, end) { Ok(0) } else { Err(Errno::EFAULT.into()) }
}

/// The process that `pid` names, if the caller may move its pages.
fn target(k: &Kernel, tid: ThreadId, pid: i32) -> Result<ThreadId, Errno> {
    if pid == 0 {
        return Ok(tid);
    }
    let target = ThreadId(pid as u32);
    k.may_access(tid, target, By::RealIds)?;
    Ok(target)
}

/// migrate_pages(2): all pages are where they may be
pub fn migrate_pages(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let _from = read_nodes(k, a.u64(2), a.u64(1))?;
    let to = read_nodes(k, a.u64(3), a.u64(1))?;
    target(k, tid, a.i32(0))?;
    if to & !1 != 0 && !k.tasks[tid].creds.capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    if to & 1 == 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

/// move_pages(2)
pub fn move_pages(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (count, pages, nodes, status, flags) = (a.u64(1), a.u64(2), a.u64(3), a.u64(4), a.u64(5));
    if flags & 0xffff_ffff & !6 != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MF_MOVE_ALL != 0 && !k.tasks[tid].creds.capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    let target = target(k, tid, a.i32(0))?;
    let space = k.tasks[target].space;
    for i in 0..count {
        let page: u64 = k.mm.read_pod(pages.wrapping_add(i * 8))?;
        if nodes != 0 {
            let node: i32 = k.mm.read_pod(nodes.wrapping_add(i * 4))?;
            if node != 0 {
                return Err(Errno::ENODEV.into());
            }
        }
        let found = k.mm.space(space).ok_or(Errno::ESRCH)?;
        let state = if found.vmas().find(page).is_none() {
            -(Errno::EFAULT as i32)
        } else if found.resident_in(page & !PAGE_MASK, (page & !PAGE_MASK) + PAGE_SIZE as u64) == 0
        {
            -(Errno::ENOENT as i32)
        } else {
            0
        };
        k.mm.write_pod(status.wrapping_add(i * 4), &state)?;
    }
    Ok(0)
}
