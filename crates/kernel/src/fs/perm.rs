//! Permission checks (path_resolution(7), inode(7), capabilities(7)).

use abi::Errno;
use abi::stat::{R_OK, S_IFMT, S_ISGID, S_ISUID, S_ISVTX, S_IXGRP, ST_RDONLY, W_OK, X_OK};

use super::cx::cap;
use super::{Cred, Kind, Meta, Mount, Res};

/// Whether `cred` may access a file with `meta` for the `R_OK | W_OK | X_OK` bits of `want`; EACCES if not.
pub fn check(cred: &Cred, meta: &Meta, want: u32) -> Res<()> {
    let want = want & (R_OK | W_OK | X_OK);
    let bits = if cred.uid == meta.uid {
        meta.mode >> 6
    } else if cred.in_group(meta.gid) {
        meta.mode >> 3
    } else {
        meta.mode
    } & 7;
    check_capable(cred, meta, want, want & !bits == 0)
}

/// What [`check`] says where the file's own rules have said `allowed`: capabilities go over them.
pub fn check_capable(cred: &Cred, meta: &Meta, want: u32, allowed: bool) -> Res<()> {
    let want = want & (R_OK | W_OK | X_OK);
    if allowed {
        return Ok(());
    }
    if cred.capable(cap::DAC_OVERRIDE)
        && (meta.is_dir() || want & X_OK == 0 || meta.mode & 0o111 != 0)
    {
        return Ok(());
    }
    let only_looks = want == R_OK || (meta.is_dir() && want & W_OK == 0);
    if cred.capable(cap::DAC_READ_SEARCH) && only_looks {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// EROFS if files of `mount` cannot change.
pub fn check_writable(mount: &Mount) -> Res<()> {
    if mount.flags.get() & ST_RDONLY != 0 { Err(Errno::EROFS) } else { Ok(()) }
}

/// Whether `cred` acts as the owner of the file (chmod, utimes with times, O_NOATIME); EPERM if not.
pub fn check_owner(cred: &Cred, meta: &Meta) -> Res<()> {
    if cred.uid == meta.uid || cred.capable(cap::FOWNER) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Whether an entry for `victim` may be removed from `dir`, which the caller may write to: the sticky bit's rule.
pub fn check_sticky(cred: &Cred, dir: &Meta, victim: &Meta) -> Res<()> {
    let sticky = dir.mode & S_ISVTX != 0;
    if sticky && cred.uid != victim.uid && cred.uid != dir.uid && !cred.capable(cap::FOWNER) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Mode and group of a node that `cred` makes in `dir`: a set-group-ID directory gives its group, and directories
/// inherit the bit (inode(7)).
pub fn inherit(cred: &Cred, dir: &Meta, mode: u32) -> (u32, u32) {
    if dir.mode & S_ISGID == 0 {
        return (mode, cred.gid);
    }
    if Kind::of_mode(mode) == Kind::Dir {
        return (mode | S_ISGID, dir.gid);
    }
    let keeps = mode & (S_ISGID | S_IXGRP) != (S_ISGID | S_IXGRP)
        || cred.in_group(dir.gid)
        || cred.capable(cap::FSETID);
    (if keeps { mode } else { mode & !S_ISGID }, dir.gid)
}

/// The mode after a change of content or owner: set-user-ID goes, and set-group-ID if it is one (chown(2), write(2)).
pub fn without_suid(mode: u32) -> u32 {
    let mut mode = mode & !S_ISUID;
    if mode & S_IXGRP != 0 {
        mode &= !S_ISGID;
    }
    mode
}

/// The permission bits that chmod(2) by `cred` gives.
pub fn chmod_bits(cred: &Cred, meta: &Meta, perm: u32) -> u32 {
    let mut perm = perm & 0o7777;
    if Kind::of_mode(meta.mode & S_IFMT) != Kind::Dir || !cred.in_group(meta.gid) {
        let allowed = cred.in_group(meta.gid) || cred.capable(cap::FSETID);
        if !allowed {
            perm &= !S_ISGID;
        }
    }
    perm
}
