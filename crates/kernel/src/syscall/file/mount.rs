//! mount(2) and its newer relatives: refused with EPERM, as in docker's default container.

use abi::Errno;
use abi::fcntl::AT_FDCWD;

use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId};

/// pivot_root(2), open_tree(2), move_mount(2), fsopen(2) and relatives: no CAP_SYS_ADMIN.
pub fn not_permitted(_: &mut Kernel, _: ThreadId, _: Args) -> SysResult {
    Err(Errno::EPERM.into())
}

/// fanotify_mark(2) without an instance.
pub fn fanotify_mark(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    const CHANGES: u32 = 0x1 | 0x2 | 0x80;
    let one = (a.u32(1) & CHANGES).count_ones() == 1;
    if !one || (a.u32(1) & 0x80 == 0 && a.u64(2) == 0) {
        return Err(Errno::EINVAL.into());
    }
    k.file(tid, a.i32(0))?;
    Err(Errno::EINVAL.into())
}

/// mount(2): Linux looks the target up before it asks for CAP_SYS_ADMIN.
pub fn mount(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let path = k.mm.read_path(a.u64(1))?;
    k.lookup_at(tid, AT_FDCWD, &path, 0, true)?;
    Err(Errno::EPERM.into())
}

/// umount2(2)
pub fn umount2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    const UMOUNT_NOFOLLOW: u32 = 8;
    if a.u32(1) & !0xf != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = k.mm.read_path(a.u64(0))?;
    k.lookup_at(tid, AT_FDCWD, &path, 0, a.u32(1) & UMOUNT_NOFOLLOW == 0)?;
    Err(Errno::EPERM.into())
}
