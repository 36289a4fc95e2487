//! stat(2), statx(2), statfs(2).

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{
    AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW,
};
use abi::inode::STATX_FLAGS;
use abi::stat::{
    OVERLAYFS_SUPER_MAGIC, ST_VALID, STATX_ATTR_MOUNT_ROOT, STATX_BASIC_STATS, STATX_BTIME,
    STATX_MNT_ID, STATX_RESERVED, TMPFS_MAGIC, major, minor,
};

use crate::fs::{Dentry, Meta, Time};
use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId};

/// Preferred size of input and output.
const BLOCK_SIZE: u64 = 4096;

abi::pod! {
    /// `struct stat` of x86-64.
    pub struct Stat {
        /// Device.
        pub st_dev: u64,
        /// Inode.
        pub st_ino: u64,
        /// Hard links.
        pub st_nlink: u64,
        /// Type and permissions.
        pub st_mode: u32,
        /// Owner.
        pub st_uid: u32,
        /// Group.
        pub st_gid: u32,
        /// Padding.
        pub pad: u32,
        /// Device number of a device node.
        pub st_rdev: u64,
        /// Bytes.
        pub st_size: u64,
        /// Preferred block size.
        pub st_blksize: u64,
        /// Units of 512 bytes.
        pub st_blocks: u64,
        /// Access, modification and change: seconds and nanoseconds each.
        pub times: [u64; 6],
        /// Padding.
        pub unused: [u64; 3],
    }
    /// `struct statx_timestamp`.
    pub struct StatxTime {
        /// Seconds.
        pub sec: i64,
        /// Nanoseconds.
        pub nsec: u32,
        /// Padding.
        pub pad: u32,
    }
    /// `struct statx`.
    pub struct Statx {
        /// Which fields are filled.
        pub stx_mask: u32,
        /// Preferred block size.
        pub stx_blksize: u32,
        /// Attributes.
        pub stx_attributes: u64,
        /// Hard links.
        pub stx_nlink: u32,
        /// Owner.
        pub stx_uid: u32,
        /// Group.
        pub stx_gid: u32,
        /// Type and permissions.
        pub stx_mode: u16,
        /// Padding.
        pub pad: u16,
        /// Inode.
        pub stx_ino: u64,
        /// Bytes.
        pub stx_size: u64,
        /// Units of 512 bytes.
        pub stx_blocks: u64,
        /// Which attributes are supported.
        pub stx_attributes_mask: u64,
        /// Access.
        pub stx_atime: StatxTime,
        /// Creation.
        pub stx_btime: StatxTime,
        /// Change.
        pub stx_ctime: StatxTime,
        /// Modification.
        pub stx_mtime: StatxTime,
        /// Device number of a device node: major, minor.
        pub stx_rdev: [u32; 2],
        /// Device: major, minor.
        pub stx_dev: [u32; 2],
        /// Mount id.
        pub stx_mnt_id: u64,
        /// Direct I/O alignments and the rest.
        pub spare: [u64; 13],
    }
    /// `struct statfs`.
    pub struct Statfs {
        /// Magic number.
        pub f_type: u64,
        /// Block size.
        pub f_bsize: u64,
        /// Blocks in all.
        pub f_blocks: u64,
        /// Free blocks.
        pub f_bfree: u64,
        /// Free blocks for ordinary users.
        pub f_bavail: u64,
        /// Inodes.
        pub f_files: u64,
        /// Free inodes.
        pub f_ffree: u64,
        /// File system id.
        pub f_fsid: [i32; 2],
        /// Longest name.
        pub f_namelen: u64,
        /// Fragment size.
        pub f_frsize: u64,
        /// Mount flags.
        pub f_flags: u64,
        /// Padding.
        pub f_spare: [u64; 4],
    }
}

/// `st_blksize`.
fn block_size(meta: &Meta) -> u64 {
    if meta.block_size == 0 { BLOCK_SIZE } else { u64::from(meta.block_size) }
}

fn record(meta: &Meta) -> Stat {
    let time = |t: Time| [t.sec as u64, u64::from(t.nsec)];
    let [a, m, c] = [time(meta.atime), time(meta.mtime), time(meta.ctime)];
    Stat {
        st_dev: meta.dev,
        st_ino: meta.ino,
        st_nlink: u64::from(meta.nlink),
        st_mode: meta.mode,
        st_uid: meta.uid,
        st_gid: meta.gid,
        st_rdev: meta.rdev,
        st_size: meta.size,
        st_blksize: block_size(meta),
        st_blocks: meta.blocks,
        times: [a[0], a[1], m[0], m[1], c[0], c[1]],
        ..Stat::default()
    }
}

fn time_record(time: Time) -> StatxTime {
    StatxTime { sec: time.sec, nsec: time.nsec, pad: 0 }
}

/// `STATX_MTIME | STATX_CTIME`.
const STATX_CHANGES: u32 = 0xc0;
/// `STATX_ATTR_*` that files here may have: immutable, append, nodump, automount, mount root, dax.
const STATX_ATTRIBUTES: u64 = 0x20_3070;

impl Kernel {
    /// The path of stat calls: none at all is an empty one with `AT_EMPTY_PATH` (Linux 6.11).
    fn path_or_empty(&mut self, va: u64, flags: u32) -> Result<Vec<u8>, Errno> {
        match va {
            0 if flags & AT_EMPTY_PATH != 0 => Ok(Vec::new()),
            va => self.mm.read_path(va),
        }
    }

    fn put_stat(&mut self, tid: ThreadId, dentry: &Rc<Dentry>, out: u64) -> SysResult {
        let meta = dentry.inode().meta(&mut self.cx(tid))?;
        self.mm.write_pod(out, &record(&meta))?;
        Ok(0)
    }

    fn put_statfs(&mut self, tid: ThreadId, dentry: &Rc<Dentry>, out: u64) -> SysResult {
        let mount = dentry.mount().clone();
        let own = dentry.inode().room();
        let (free, total) = own.unwrap_or_else(|| self.storage());
        let in_memory = matches!(mount.magic, TMPFS_MAGIC | OVERLAYFS_SUPER_MAGIC);
        let (blocks, bfree) =
            if in_memory { (total / BLOCK_SIZE, free / BLOCK_SIZE) } else { (0, 0) };
        let files = if in_memory { 1 << 20 } else { 0 };
        dentry.inode().meta(&mut self.cx(tid))?;
        let record = Statfs {
            f_type: mount.magic,
            f_bsize: BLOCK_SIZE,
            f_blocks: blocks,
            f_bfree: bfree,
            f_bavail: bfree,
            f_files: files,
            f_ffree: files,
            f_fsid: [mount.dev as i32, 0],
            f_namelen: 255,
            f_frsize: BLOCK_SIZE,
            f_flags: mount.flags.get() | ST_VALID,
            f_spare: [0; 4],
        };
        self.mm.write_pod(out, &record)?;
        Ok(0)
    }
}

/// stat(2)
pub fn stat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let path = k.mm.read_path(a.u64(0))?;
    let dentry = k.lookup_at(tid, AT_FDCWD, &path, 0, true)?;
    k.put_stat(tid, &dentry, a.u64(1))
}

/// lstat(2)
pub fn lstat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let path = k.mm.read_path(a.u64(0))?;
    let dentry = k.lookup_at(tid, AT_FDCWD, &path, 0, false)?;
    k.put_stat(tid, &dentry, a.u64(1))
}

/// fstat(2)
pub fn fstat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.any_file(tid, a.i32(0))?;
    k.put_stat(tid, file.dentry(), a.u64(1))
}

/// newfstatat(2)
pub fn newfstatat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let flags = a.u32(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = k.path_or_empty(a.u64(1), flags)?;
    let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
    let dentry = k.lookup_at(tid, a.i32(0), &path, flags, follow)?;
    k.put_stat(tid, &dentry, a.u64(2))
}

/// statx(2)
pub fn statx(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (flags, mask) = (a.u32(2), a.u32(3));
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
    let sync_both = flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE;
    if flags & !known != 0 || mask & STATX_RESERVED != 0 || sync_both {
        return Err(Errno::EINVAL.into());
    }
    let path = k.path_or_empty(a.u64(1), flags)?;
    let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
    let dentry = k.lookup_at(tid, a.i32(0), &path, flags, follow)?;
    let meta = dentry.inode().meta(&mut k.cx(tid))?;
    let flags = u64::from(dentry.inode().flags().unwrap_or(0) & STATX_FLAGS);
    let attributes = flags | if dentry.is_mount_root() { STATX_ATTR_MOUNT_ROOT } else { 0 };
    let record = Statx {
        // What costs nothing is always there; change times and the time of birth only on request.
        stx_mask: STATX_BASIC_STATS & !STATX_CHANGES
            | STATX_MNT_ID
            | mask & (STATX_CHANGES | STATX_BTIME),
        stx_blksize: block_size(&meta) as u32,
        stx_attributes: attributes,
        stx_nlink: meta.nlink,
        stx_uid: meta.uid,
        stx_gid: meta.gid,
        stx_mode: meta.mode as u16,
        stx_ino: meta.ino,
        stx_size: meta.size,
        stx_blocks: meta.blocks,
        stx_attributes_mask: STATX_ATTRIBUTES,
        stx_atime: time_record(meta.atime),
        stx_btime: time_record(meta.btime),
        stx_ctime: time_record(meta.ctime),
        stx_mtime: time_record(meta.mtime),
        stx_rdev: [major(meta.rdev), minor(meta.rdev)],
        stx_dev: [major(meta.dev), minor(meta.dev)],
        stx_mnt_id: u64::from(dentry.mount().id),
        ..Statx::default()
    };
    k.mm.write_pod(a.u64(4), &record)?;
    Ok(0)
}

/// statfs(2)
pub fn statfs(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let path = k.mm.read_path(a.u64(0))?;
    let dentry = k.lookup_at(tid, AT_FDCWD, &path, 0, true)?;
    k.put_statfs(tid, &dentry, a.u64(1))
}

/// fstatfs(2)
pub fn fstatfs(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let file = k.any_file(tid, a.i32(0))?;
    k.put_statfs(tid, file.dentry(), a.u64(1))
}
