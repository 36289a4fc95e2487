//! mount(2) and its newer relatives: refused with EPERM, as in docker's default container.

use abi::Errno;

use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId};

/// mount(2), umount2(2), pivot_root(2), open_tree(2), move_mount(2), fsopen(2) and relatives: no CAP_SYS_ADMIN.
pub fn not_permitted(_: &mut Kernel, _: ThreadId, _: Args) -> SysResult {
    Err(Errno::EPERM.into())
}
