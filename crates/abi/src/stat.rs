//! File types, modes and the records of stat(2), statx(2), statfs(2) and getdents64(2).
#![allow(missing_docs)] // the names are those of the man pages

pub const S_IFMT: u32 = 0o170000;
pub const S_IFSOCK: u32 = 0o140000;
pub const S_IFLNK: u32 = 0o120000;
pub const S_IFREG: u32 = 0o100000;
pub const S_IFBLK: u32 = 0o060000;
pub const S_IFDIR: u32 = 0o040000;
pub const S_IFCHR: u32 = 0o020000;
pub const S_IFIFO: u32 = 0o010000;
pub const S_ISUID: u32 = 0o4000;
pub const S_ISGID: u32 = 0o2000;
pub const S_ISVTX: u32 = 0o1000;
pub const S_IXGRP: u32 = 0o010;

pub const R_OK: u32 = 4;
pub const W_OK: u32 = 2;
pub const X_OK: u32 = 1;

pub const DT_UNKNOWN: u8 = 0;

/// `d_type` of getdents64(2) for a mode.
pub const fn dirent_type(mode: u32) -> u8 {
    ((mode & S_IFMT) >> 12) as u8
}

pub const STATX_TYPE: u32 = 0x1;
pub const STATX_BASIC_STATS: u32 = 0x7ff;
pub const STATX_BTIME: u32 = 0x800;
pub const STATX_MNT_ID: u32 = 0x1000;
pub const STATX_RESERVED: u32 = 0x8000_0000;
pub const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;

pub const TMPFS_MAGIC: u64 = 0x0102_1994;
pub const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
pub const PROC_SUPER_MAGIC: u64 = 0x9fa0;
pub const NSFS_MAGIC: u64 = 0x6e73_6673;
pub const SYSFS_MAGIC: u64 = 0x6265_6572;
pub const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
pub const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
pub const PIPEFS_MAGIC: u64 = 0x5049_5045;
pub const SOCKFS_MAGIC: u64 = 0x534f_434b;
pub const ANON_INODE_FS_MAGIC: u64 = 0x0904_1934;
pub const V9FS_MAGIC: u64 = 0x0102_1997;
/// Magic number of mqueue.
pub const MQUEUE_MAGIC: u64 = 0x1980_0202;

pub const ST_RDONLY: u64 = 0x1;
pub const ST_NOSUID: u64 = 0x2;
pub const ST_NODEV: u64 = 0x4;
pub const ST_NOEXEC: u64 = 0x8;
pub const ST_VALID: u64 = 0x20;
pub const ST_RELATIME: u64 = 0x1000;

pub const UTIME_NOW: u64 = 0x3fff_ffff;
pub const UTIME_OMIT: u64 = 0x3fff_fffe;

/// Device number as stat(2) gives it (makedev(3)).
pub const fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
}

/// Major part of a device number.
pub const fn major(dev: u64) -> u32 {
    (((dev >> 8) & 0xfff) | ((dev >> 32) & !0xfff)) as u32
}

/// Minor part of a device number.
pub const fn minor(dev: u64) -> u32 {
    ((dev & 0xff) | ((dev >> 12) & !0xff)) as u32
}
