//! Requests of ioctl(2) on files of any filesystem, and inode flags (`linux/fs.h`, `linux/fiemap.h`).
#![allow(missing_docs)] // the names are those of the man pages

pub const FIBMAP: u32 = 1;
pub const FIGETBSZ: u32 = 2;
pub const FIFREEZE: u32 = 0xc004_5877;
pub const FITHAW: u32 = 0xc004_5878;
pub const FICLONE: u32 = 0x4004_9409;
pub const FICLONERANGE: u32 = 0x4020_940d;
pub const FIDEDUPERANGE: u32 = 0xc018_9436;
pub const FIOQSIZE: u32 = 0x5460;
pub const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
pub const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
pub const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
pub const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
pub const FS_IOC_FIEMAP: u32 = 0xc020_660b;

/// Flags of FS_IOC_GETFLAGS.
pub const FS_SYNC_FL: u32 = 0x8;
pub const FS_IMMUTABLE_FL: u32 = 0x10;
pub const FS_APPEND_FL: u32 = 0x20;
pub const FS_NODUMP_FL: u32 = 0x40;
pub const FS_NOATIME_FL: u32 = 0x80;
pub const FS_DAX_FL: u32 = 0x0200_0000;
pub const FS_PROJINHERIT_FL: u32 = 0x2000_0000;

/// Flags of FS_IOC_FSGETXATTR.
pub const FS_XFLAG_PREALLOC: u32 = 0x2;
pub const FS_XFLAG_IMMUTABLE: u32 = 0x8;
pub const FS_XFLAG_APPEND: u32 = 0x10;
pub const FS_XFLAG_SYNC: u32 = 0x20;
pub const FS_XFLAG_NOATIME: u32 = 0x40;
pub const FS_XFLAG_NODUMP: u32 = 0x80;
pub const FS_XFLAG_PROJINHERIT: u32 = 0x200;
pub const FS_XFLAG_EXTSIZE: u32 = 0x800;
pub const FS_XFLAG_EXTSZINHERIT: u32 = 0x1000;
pub const FS_XFLAG_DAX: u32 = 0x8000;
pub const FS_XFLAG_COWEXTSIZE: u32 = 0x1_0000;
pub const FS_XFLAG_HASATTR: u32 = 0x8000_0000;

/// Bits of `stx_attributes` have the inode flags' numbers.
pub const STATX_FLAGS: u32 = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL;
