//! File handles: name_to_handle_at(2).

use abi::Errno;
use abi::fcntl::{AT_EMPTY_PATH, AT_SYMLINK_FOLLOW};

use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId};

/// Largest handle (`MAX_HANDLE_SZ`).
const HANDLE_MAX: u32 = 128;
/// tmpfs' handles: generation and inode number in three words, of type 1.
const TMPFS: (u32, u32) = (12, 1);

/// name_to_handle_at(2)
pub fn name_to_handle_at(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (dir, handle, mount, flags) = (a.i32(0), a.u64(2), a.u64(3), a.u32(4));
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = k.mm.read_path(a.u64(1))?;
    let dentry = k.lookup_at(tid, dir, &path, flags, flags & AT_SYMLINK_FOLLOW != 0)?;
    let meta = dentry.inode().meta(&mut k.cx(tid))?;
    // Other filesystems, overlayfs among them, cannot name files by number.
    if dentry.inode().fs_name() != "tmpfs" {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let [room, _]: [u32; 2] = k.mm.read_pod(handle)?;
    if room > HANDLE_MAX {
        return Err(Errno::EINVAL.into());
    }
    let (len, kind) = TMPFS;
    let fits = room >= len;
    let id = dentry.mount().id as i32;
    k.mm.write_pod(mount, &id)?;
    if !fits {
        k.mm.write_pod(handle, &[len, 0])?;
        return Err(Errno::EOVERFLOW.into());
    }
    k.mm.write_pod(handle, &[len, kind, 0, meta.ino as u32, (meta.ino >> 32) as u32])?;
    Ok(0)
}
