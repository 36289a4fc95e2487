//! POSIX access control lists (acl(5)): their form in extended attributes, what they allow, and how new files get theirs.

use abi::Errno;
use abi::stat::{R_OK, W_OK, X_OK};

use super::{Cred, Cx, InodeRef, Kind, Meta, Res};

/// The attribute with the list that counts.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of a directory with the list that new files in it get.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

/// `ACL_*` tags in the order that a list must have.
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
/// Bytes of an entry in the attribute.
const ENTRY: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    perm: u32,
    id: u32,
}

/// A valid list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Vec<Entry>);

/// Whether the attribute is such a list.
pub fn is_acl(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

impl Acl {
    /// Reads an attribute's value; `None` if it has no entries. EOPNOTSUPP for another version, EINVAL for another length
    /// or an unknown tag (`posix_acl_from_xattr` of Linux). Whether it is valid is another question.
    pub fn read(value: &[u8]) -> Res<Option<Acl>> {
        if value.is_empty() {
            return Ok(None);
        }
        let (head, rest) = value.split_first_chunk::<4>().ok_or(Errno::EINVAL)?;
        if u32::from_le_bytes(*head) != VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        if rest.len() % ENTRY != 0 {
            return Err(Errno::EINVAL);
        }
        let entry = |bytes: &[u8]| Entry {
            tag: u16::from_le_bytes([bytes[0], bytes[1]]),
            perm: u32::from(u16::from_le_bytes([bytes[2], bytes[3]])),
            id: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        };
        let acl = Acl(rest.chunks_exact(ENTRY).map(entry).collect());
        let known = [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER];
        if !acl.0.iter().all(|entry| known.contains(&entry.tag)) {
            return Err(Errno::EINVAL);
        }
        Ok((!acl.0.is_empty()).then_some(acl))
    }

    /// `posix_acl_valid` of Linux.
    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|entry| entry.tag == tag).count();
        let named = count(USER) + count(GROUP) > 0;
        [USER_OBJ, GROUP_OBJ, OTHER].iter().all(|tag| count(*tag) == 1)
            && count(MASK) <= 1
            && (!named || count(MASK) == 1)
            && self.0.is_sorted_by_key(|entry| entry.tag)
            && self.0.iter().all(|entry| {
                let id_fits = !matches!(entry.tag, USER | GROUP) || entry.id != u32::MAX;
                entry.perm <= 7 && id_fits
            })
    }

    /// The attribute's value.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            let id = if matches!(entry.tag, USER | GROUP) { entry.id } else { u32::MAX };
            bytes.extend(entry.tag.to_le_bytes());
            bytes.extend((entry.perm as u16).to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    /// Whether it says what permission bits say.
    pub fn is_plain(&self) -> bool {
        self.0.iter().all(|entry| matches!(entry.tag, USER_OBJ | GROUP_OBJ | OTHER))
    }

    /// What the entry with this tag allows.
    fn of(&self, tag: u16) -> Option<u32> {
        self.0.iter().find(|entry| entry.tag == tag).map(|entry| entry.perm)
    }

    /// The permission bits that show it: those of the group are the mask's, if there is one.
    pub fn mode(&self) -> u32 {
        let of = |tag| self.of(tag).unwrap_or_default();
        let group = self.of(MASK).unwrap_or_else(|| of(GROUP_OBJ));
        of(USER_OBJ) << 6 | group << 3 | of(OTHER)
    }

    fn change(&mut self, f: impl Fn(u32, u32) -> u32, mode: u32) {
        let group = if self.of(MASK).is_some() { MASK } else { GROUP_OBJ };
        for entry in &mut self.0 {
            let shift = match entry.tag {
                USER_OBJ => 6,
                OTHER => 0,
                tag if tag == group => 3,
                _ => continue,
            };
            entry.perm = f(entry.perm, mode >> shift & 7);
        }
    }

    /// As chmod(2) changes it.
    pub fn set_mode(&mut self, mode: u32) {
        self.change(|_, new| new, mode);
    }

    /// For a new file that was asked to have `mode`: no more than that.
    fn limit(&mut self, mode: u32) {
        self.change(|old, most| old & most, mode);
    }

    /// What it allows somebody who is not the owner: acl(5), "ACCESS CHECK ALGORITHM".
    pub fn allows(&self, cred: &Cred, gid: u32, want: u32) -> bool {
        let mask = self.of(MASK).unwrap_or(7);
        let covers = |perm: u32| want & !perm == 0;
        if let Some(own) = self.0.iter().find(|e| e.tag == USER && e.id == cred.uid) {
            return covers(own.perm & mask);
        }
        let mut groups = self.0.iter().filter(|entry| match entry.tag {
            GROUP_OBJ => cred.in_group(gid),
            GROUP => cred.in_group(entry.id),
            _ => false,
        });
        match groups.next() {
            None => covers(self.of(OTHER).unwrap_or_default()),
            Some(first) => std::iter::once(first).chain(groups).any(|e| covers(e.perm & mask)),
        }
    }
}

fn read(cx: &mut Cx, inode: &InodeRef, name: &[u8]) -> Option<Acl> {
    let value = inode.get_xattr(cx, name).ok().flatten()?;
    Acl::read(&value).ok().flatten().filter(Acl::is_valid)
}

/// Whether the caller may access an inode with `meta` for the `R_OK | W_OK | X_OK` bits of `want`; EACCES if not.
pub fn check(cx: &mut Cx, inode: &InodeRef, meta: &Meta, want: u32) -> Res<()> {
    // Linux looks at the list only here: never for the owner, nor where the mask leaves nothing.
    let looks = cx.cred.uid != meta.uid && meta.mode & 0o070 != 0 && meta.kind() != Kind::Symlink;
    let list = if looks { read(cx, inode, ACCESS) } else { None };
    match list {
        None => super::perm::check(&cx.cred, meta, want),
        Some(list) => {
            let allowed = list.allows(&cx.cred, meta.gid, want & (R_OK | W_OK | X_OK));
            super::perm::check_capable(&cx.cred, meta, want, allowed)
        }
    }
}

/// What a new file gets from its directory's default list.
#[derive(Debug, Default)]
pub struct Inherited {
    access: Option<Acl>,
    default: Option<Acl>,
}

/// The mode of a file that is made in `dir`, and the lists it gets: the umask counts only where there is no default list.
pub fn inherit(cx: &mut Cx, dir: &InodeRef, mode: u32, umask: u32) -> (u32, Inherited) {
    let kind = Kind::of_mode(mode);
    if kind == Kind::Symlink {
        return (mode, Inherited::default());
    }
    let Some(default) = read(cx, dir, DEFAULT) else {
        return (mode & !umask, Inherited::default());
    };
    let mut access = default.clone();
    access.limit(mode);
    let mode = mode & !0o777 | access.mode();
    let access = (!access.is_plain()).then_some(access);
    (mode, Inherited { access, default: (kind == Kind::Dir).then_some(default) })
}

impl Inherited {
    /// Gives the lists to the new file.
    pub fn give(self, cx: &mut Cx, inode: &InodeRef) -> Res<()> {
        for (name, list) in [(ACCESS, self.access), (DEFAULT, self.default)] {
            if let Some(list) = list {
                inode.set_xattr(cx, name, Some(&list.bytes()))?;
            }
        }
        Ok(())
    }
}

/// chmod(2) has given an inode these bits: its list follows.
pub fn follow_mode(cx: &mut Cx, inode: &InodeRef, mode: u32) -> Res<()> {
    match read(cx, inode, ACCESS) {
        None => Ok(()),
        Some(mut list) => {
            list.set_mode(mode);
            inode.set_xattr(cx, ACCESS, Some(&list.bytes()))
        }
    }
}

/// Sets (`None` removes) a list of an inode with `meta`: the permission bits that it stands for, if they are to change.
/// EACCES for a default list of what is no directory, EPERM for who is not the owner, EINVAL for a list that is not
/// valid, EOPNOTSUPP on a filesystem without lists.
pub fn set(
    cx: &mut Cx,
    inode: &InodeRef,
    meta: &Meta,
    name: &[u8],
    list: Option<Acl>,
) -> Res<Option<u32>> {
    // Also tells where there can be none.
    let old = inode.get_xattr(cx, name)?;
    if name == DEFAULT && !meta.is_dir() {
        return if list.is_some() { Err(Errno::EACCES) } else { Ok(None) };
    }
    super::perm::check_owner(&cx.cred, meta)?;
    if list.as_ref().is_some_and(|list| !list.is_valid()) {
        return Err(Errno::EINVAL);
    }
    let mode = list.as_ref().filter(|_| name == ACCESS).map(Acl::mode);
    let kept = list.filter(|list| name == DEFAULT || !list.is_plain());
    if old.is_some() || kept.is_some() {
        inode.set_xattr(cx, name, kept.as_ref().map(Acl::bytes).as_deref())?;
    }
    Ok(mode)
}
