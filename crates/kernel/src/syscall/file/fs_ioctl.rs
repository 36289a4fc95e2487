//! Requests of ioctl(2) that the VFS answers for files of any filesystem (`fs/ioctl.c`): inode flags (ioctl_iflags(2)), sizes of blocks,
//! shared extents.

use abi::Errno;
use abi::inode::*;

use crate::file::OpenFile;
use crate::fs::cx::cap;
use crate::fs::{Kind, perm};
use crate::syscall::SysResult;
use crate::{Kernel, ThreadId};

/// `sizeof(struct fsxattr)`.
const FSXATTR_LEN: usize = 28;

/// Inode flags and the bits of `struct fsxattr` that mean the same.
const SAME: [(u32, u32); 7] = [
    (FS_SYNC_FL, FS_XFLAG_SYNC),
    (FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE),
    (FS_APPEND_FL, FS_XFLAG_APPEND),
    (FS_NODUMP_FL, FS_XFLAG_NODUMP),
    (FS_NOATIME_FL, FS_XFLAG_NOATIME),
    (FS_DAX_FL, FS_XFLAG_DAX),
    (FS_PROJINHERIT_FL, FS_XFLAG_PROJINHERIT),
];

/// Answers a request, if it is one of these.
pub fn ioctl(
    k: &mut Kernel,
    tid: ThreadId,
    file: &OpenFile,
    request: u32,
    arg: u64,
) -> Option<SysResult> {
    let kind = file.dentry().inode().kind();
    let sized = matches!(kind, Kind::File | Kind::Dir | Kind::Symlink);
    Some(match request {
        FS_IOC_GETFLAGS => flags(file).and_then(|flags| {
            k.mm.write_pod(arg, &flags)?;
            Ok(0)
        }),
        FS_IOC_SETFLAGS => match k.mm.read_pod::<u32>(arg) {
            Ok(flags) => set_flags(k, tid, file, flags),
            Err(e) => Err(e.into()),
        },
        FS_IOC_FSGETXATTR => flags(file).and_then(|flags| {
            let bits = SAME.iter().filter(|(flag, _)| flags & flag != 0);
            let mut record = [0; FSXATTR_LEN];
            record[..4].copy_from_slice(&bits.fold(0, |all, (_, bit)| all | bit).to_le_bytes());
            k.mm.write_user(arg, &record)?;
            Ok(0)
        }),
        FS_IOC_FSSETXATTR => {
            let mut record = [0; FSXATTR_LEN];
            match k.mm.read_user(arg, &mut record) {
                Ok(()) => set_fsxattr(k, tid, file, &record),
                Err(e) => Err(e.into()),
            }
        }
        FIGETBSZ => {
            let size = if file.dentry().inode().fs_name() == "proc" { 1024 } else { 4096_i32 };
            k.mm.write_pod(arg, &size).map(|()| 0).map_err(Into::into)
        }
        FIOQSIZE if sized => {
            let meta = file.dentry().inode().meta(&mut k.cx(tid));
            meta.and_then(|meta| k.mm.write_pod(arg, &(meta.blocks * 512)))
                .map(|()| 0)
                .map_err(Into::into)
        }
        // Needs CAP_SYS_RAWIO.
        FIBMAP if kind == Kind::File => Err(Errno::EPERM.into()),
        // Needs CAP_SYS_ADMIN over the machine's devices.
        FIFREEZE | FITHAW => Err(Errno::EPERM.into()),
        FS_IOC_FIEMAP => Err(Errno::EOPNOTSUPP.into()),
        // Neither overlayfs nor tmpfs shares extents.
        FICLONE | FICLONERANGE => clone(k, tid, kind, request, arg),
        FIDEDUPERANGE => dedupe(k, kind, arg),
        _ => return None,
    })
}

fn clone(k: &mut Kernel, tid: ThreadId, kind: Kind, request: u32, arg: u64) -> SysResult {
    let source = match request {
        FICLONE => arg as i32,
        _ => k.mm.read_pod::<i64>(arg)? as i32,
    };
    k.file(tid, source)?;
    Err(no_extents(kind).into())
}

fn no_extents(kind: Kind) -> Errno {
    match kind {
        Kind::Dir => Errno::EISDIR,
        Kind::File => Errno::EOPNOTSUPP,
        _ => Errno::EINVAL,
    }
}

/// The number of ranges stands at byte 16 of `struct file_dedupe_range`.
fn dedupe(k: &mut Kernel, kind: Kind, arg: u64) -> SysResult {
    let count: u16 = k.mm.read_pod(arg.wrapping_add(16))?;
    let too_many = usize::from(count) * 32 + 24 > 4096;
    Err(if too_many { Errno::ENOMEM } else { no_extents(kind) }.into())
}

/// Inode flags of a file; ENOTTY if its filesystem has none.
fn flags(file: &OpenFile) -> Result<u32, crate::Stop> {
    let inode = file.dentry().inode();
    let has = matches!(inode.kind(), Kind::File | Kind::Dir);
    Ok(inode.flags().filter(|_| has).ok_or(Errno::ENOTTY)?)
}

/// `vfs_fileattr_set`.
fn set_flags(k: &mut Kernel, tid: ThreadId, file: &OpenFile, new: u32) -> SysResult {
    const GUARDED: u32 = FS_IMMUTABLE_FL | FS_APPEND_FL;
    let dentry = file.dentry();
    perm::check_writable(dentry.mount())?;
    let old = flags(file)?;
    let mut cx = k.cx(tid);
    let meta = dentry.inode().meta(&mut cx)?;
    perm::check_owner(&cx.cred, &meta)?;
    if (old ^ new) & GUARDED != 0 && !cx.cred.capable(cap::LINUX_IMMUTABLE) {
        return Err(Errno::EPERM.into());
    }
    // Files that even root cannot change there are not: docker gives nobody that capability.
    if new & !(FS_NODUMP_FL | FS_NOATIME_FL) != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    dentry.inode().set_flags(&mut cx, new)?;
    Ok(0)
}

/// FS_IOC_FSSETXATTR (`copy_fsxattr_from_user`, `fileattr_set_prepare`): flags, sizes of extents, which there are none of, a project.
fn set_fsxattr(k: &mut Kernel, tid: ThreadId, file: &OpenFile, record: &[u8; 28]) -> SysResult {
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| record[at + i]));
    let (mut bits, extent, project, cow_extent) = (word(0), word(4), word(12), word(16));
    flags(file)?;
    let known = SAME.iter().fold(0, |all, (_, bit)| all | bit);
    // What only tells how it is, and sizes that are not given, say nothing.
    bits &= !(FS_XFLAG_PREALLOC | FS_XFLAG_HASATTR);
    let inherits = bits & FS_XFLAG_EXTSZINHERIT != 0;
    if inherits && file.dentry().inode().kind() != Kind::Dir {
        return Err(Errno::EINVAL.into());
    }
    if extent == 0 {
        bits &= !(FS_XFLAG_EXTSIZE | FS_XFLAG_EXTSZINHERIT);
    }
    if cow_extent == 0 {
        bits &= !FS_XFLAG_COWEXTSIZE;
    }
    let new = SAME.iter().filter(|(_, bit)| bits & bit != 0).fold(0, |all, (flag, _)| all | flag);
    let beyond = bits & !known != 0 || extent != 0 || project != 0 || cow_extent != 0;
    // A flag that nobody has stands for what is refused anyway.
    set_flags(k, tid, file, if beyond { new | FS_DAX_FL } else { new })
}
