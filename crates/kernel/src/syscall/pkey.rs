//! Protection keys on a processor without them: pkey_alloc(2), pkey_free(2), pkey_mprotect(2).

use abi::Errno;

use super::Args;
use crate::{Kernel, SysResult, ThreadId};

/// `PKEY_DISABLE_ACCESS`, `PKEY_DISABLE_WRITE`
const RIGHTS: u64 = 3;

/// pkey_alloc(2): there is no key to be had
pub fn pkey_alloc(_: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    if a.u64(0) != 0 || a.u64(1) & !RIGHTS != 0 {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::ENOSPC.into())
}

/// pkey_free(2)
pub fn pkey_free(_: &mut Kernel, _: ThreadId, _: Args) -> SysResult {
    Err(Errno::EINVAL.into())
}

/// pkey_mprotect(2): mprotect for key −1
pub fn pkey_mprotect(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.i32(3) != -1 {
        return Err(Errno::EINVAL.into());
    }
    super::memory::mprotect(k, tid, a)
}
