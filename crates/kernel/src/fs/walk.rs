//! Path resolution, as path_resolution(7) says.

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{
    MAX_SYMLINKS, NAME_MAX, PATH_MAX, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV,
};
use abi::stat::{S_ISVTX, X_OK};

use super::{Cx, Dentry, Kind, Res, acl};

/// Where a process is in the tree: what `CLONE_FS` shares.
#[derive(Clone)]
pub struct PathCx {
    /// Root directory (chroot(2)).
    pub root: Rc<Dentry>,
    /// Working directory.
    pub cwd: Rc<Dentry>,
    /// File mode creation mask.
    pub umask: u32,
}

/// How a path is to be resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Follow a symbolic link as the last component.
    pub follow: bool,
    /// `RESOLVE_*` flags of openat2(2).
    pub resolve: u64,
}

impl Lookup {
    /// Follows a final symbolic link.
    pub const FOLLOW: Lookup = Lookup { follow: true, resolve: 0 };
    /// Stops at a final symbolic link.
    pub const NOFOLLOW: Lookup = Lookup { follow: false, resolve: 0 };
}

/// The last component of a path and the directory it is in.
pub struct Last {
    /// The directory.
    pub dir: Rc<Dentry>,
    /// The component; see [`LastName`].
    pub name: LastName,
    /// Whether slashes follow, which asks for a directory.
    pub slash: bool,
}

/// What a path's last component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastName {
    /// A name to look up.
    Normal(Vec<u8>),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// The path is `/`.
    Root,
}

/// Resolves `path` from `dir` (for relative paths).
pub fn resolve(
    cx: &mut Cx,
    at: &PathCx,
    dir: &Rc<Dentry>,
    path: &[u8],
    how: Lookup,
) -> Res<Rc<Dentry>> {
    let mut walker = Walker::new(at, dir, path, how.resolve)?;
    loop {
        let last = walker.to_last(cx)?;
        if let Some(found) = walker.finish(cx, last, how.follow)? {
            return Ok(found);
        }
    }
}

/// Resolves everything but the last component.
pub fn resolve_parent(cx: &mut Cx, at: &PathCx, dir: &Rc<Dentry>, path: &[u8]) -> Res<Last> {
    Walker::new(at, dir, path, 0)?.to_last(cx)
}

/// A resolution under way.
pub struct Walker {
    root: Rc<Dentry>,
    /// Where `..` may not leave (RESOLVE_BENEATH).
    start: Rc<Dentry>,
    here: Rc<Dentry>,
    rest: Vec<u8>,
    links: u32,
    resolve: u64,
}

impl Walker {
    /// Starts at `dir` or the root.
    pub fn new(at: &PathCx, dir: &Rc<Dentry>, path: &[u8], resolve: u64) -> Res<Walker> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let in_root = resolve & RESOLVE_IN_ROOT != 0;
        let root = if in_root { dir.clone() } else { at.root.clone() };
        let absolute = path.first() == Some(&b'/');
        if absolute && resolve & RESOLVE_BENEATH != 0 {
            return Err(Errno::EXDEV);
        }
        let here = if absolute { root.clone() } else { dir.clone() };
        Ok(Walker { root, start: dir.clone(), here, rest: path.to_vec(), links: 0, resolve })
    }

    /// Walks up to the last component.
    pub fn to_last(&mut self, cx: &mut Cx) -> Res<Last> {
        let absolute = self.rest.first() == Some(&b'/');
        if absolute && self.links > 0 {
            // The target of a symbolic link.
            if self.resolve & RESOLVE_BENEATH != 0 {
                return Err(Errno::EXDEV);
            }
            self.go(self.root.clone())?;
        }
        let mut rest = std::mem::take(&mut self.rest);
        let mut at = 0;
        loop {
            while rest.get(at) == Some(&b'/') {
                at += 1;
            }
            if at >= rest.len() {
                return Ok(Last { dir: self.here.clone(), name: LastName::Root, slash: true });
            }
            let end = rest[at..].iter().position(|&b| b == b'/').map_or(rest.len(), |n| at + n);
            let name = &rest[at..end];
            let is_last = rest[end..].iter().all(|&b| b == b'/');
            let slash = end < rest.len();
            if self.here.inode().kind() != Kind::Dir {
                return Err(Errno::ENOTDIR);
            }
            self.check_search(cx)?;
            if name.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            if is_last {
                let name = match name {
                    b"." => LastName::Dot,
                    b".." => LastName::DotDot,
                    name => LastName::Normal(name.to_vec()),
                };
                return Ok(Last { dir: self.here.clone(), name, slash });
            }
            match name {
                b"." => {}
                b".." => self.go_up()?,
                name => {
                    let next = self.here.lookup(cx, name)?.down();
                    if next.inode().kind() == Kind::Symlink {
                        let tail = rest[end..].to_vec();
                        match self.follow(cx, &next)? {
                            Some(mut target) => {
                                if target.first() == Some(&b'/') {
                                    if self.resolve & RESOLVE_BENEATH != 0 {
                                        return Err(Errno::EXDEV);
                                    }
                                    self.go(self.root.clone())?;
                                }
                                target.extend_from_slice(&tail);
                                rest = target;
                                at = 0;
                                continue;
                            }
                            None => {
                                at = end;
                                continue;
                            }
                        }
                    }
                    self.go(next)?;
                }
            }
            at = end;
        }
    }

    /// What the last component is; `None` when it was a link to follow, and [`Walker::to_last`] is to go on.
    pub fn finish(&mut self, cx: &mut Cx, last: Last, follow: bool) -> Res<Option<Rc<Dentry>>> {
        match last.name {
            LastName::Root | LastName::Dot => {}
            LastName::DotDot => self.go_up()?,
            LastName::Normal(name) => {
                let next = self.here.lookup(cx, &name)?.down();
                return self.finish_at(cx, next, follow, last.slash);
            }
        }
        Ok(Some(self.here.clone()))
    }

    /// As [`Walker::finish`], for a last component that was looked up already.
    pub fn finish_at(
        &mut self,
        cx: &mut Cx,
        next: Rc<Dentry>,
        follow: bool,
        slash: bool,
    ) -> Res<Option<Rc<Dentry>>> {
        let kind = next.inode().kind();
        if kind == Kind::Symlink && (follow || slash) {
            return match self.follow(cx, &next)? {
                Some(mut target) => {
                    if slash {
                        target.push(b'/');
                    }
                    self.rest = target;
                    Ok(None)
                }
                None if slash && self.here.inode().kind() != Kind::Dir => Err(Errno::ENOTDIR),
                None => Ok(Some(self.here.clone())),
            };
        }
        if slash && kind != Kind::Dir {
            return Err(Errno::ENOTDIR);
        }
        if kind == Kind::Symlink && self.resolve & RESOLVE_NO_SYMLINKS != 0 {
            // openat2(2) allows a final link only with O_PATH | O_NOFOLLOW, which stops here.
            return Ok(Some(next));
        }
        self.go(next.clone())?;
        Ok(Some(next))
    }

    /// The directory reached so far.
    pub fn here(&self) -> &Rc<Dentry> {
        &self.here
    }

    /// Follows the link: its text, or `None` if it was a magic link and `here` is now its place.
    fn follow(&mut self, cx: &mut Cx, link: &Rc<Dentry>) -> Res<Option<Vec<u8>>> {
        self.links += 1;
        if self.links > MAX_SYMLINKS || self.resolve & RESOLVE_NO_SYMLINKS != 0 {
            return Err(Errno::ELOOP);
        }
        if let Some(place) = link.inode().magic(cx) {
            if self.resolve & RESOLVE_NO_MAGICLINKS != 0 {
                return Err(Errno::ELOOP);
            }
            if self.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT) != 0 {
                return Err(Errno::EXDEV);
            }
            self.go(place?)?;
            return Ok(None);
        }
        self.check_protected_link(cx, link)?;
        let target = link.inode().read_link(cx)?;
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        link.inode().touch_atime(cx);
        Ok(Some(target))
    }

    /// proc(5), `fs.protected_symlinks`: in a sticky world-writable directory only the owner's links are followed.
    fn check_protected_link(&self, cx: &mut Cx, link: &Rc<Dentry>) -> Res<()> {
        let dir = self.here.inode().meta(cx)?;
        if dir.mode & (S_ISVTX | 0o002) != S_ISVTX | 0o002 {
            return Ok(());
        }
        let owner = link.inode().meta(cx)?.uid;
        if owner == cx.cred.uid || owner == dir.uid { Ok(()) } else { Err(Errno::EACCES) }
    }

    fn check_search(&self, cx: &mut Cx) -> Res<()> {
        let inode = self.here.inode();
        let meta = inode.meta(cx)?;
        acl::check(cx, inode, &meta, X_OK)
    }

    fn go(&mut self, next: Rc<Dentry>) -> Res<()> {
        if self.resolve & RESOLVE_NO_XDEV != 0 && !Rc::ptr_eq(next.mount(), self.here.mount()) {
            return Err(Errno::EXDEV);
        }
        self.here = next;
        Ok(())
    }

    fn go_up(&mut self) -> Res<()> {
        if Rc::ptr_eq(&self.here, &self.root) {
            return Ok(());
        }
        if self.resolve & RESOLVE_BENEATH != 0 && Rc::ptr_eq(&self.here, &self.start) {
            return Err(Errno::EXDEV);
        }
        self.go(self.here.dotdot())
    }
}
