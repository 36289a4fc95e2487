//! Extended attributes (xattr(7)).

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{AT_FDCWD, XATTR_CREATE, XATTR_REPLACE};
use abi::poll::IN_ATTRIB;

use crate::fs::{Dentry, Res, acl, ops, perm};
use crate::syscall::Args;
use crate::{Kernel, SysResult, ThreadId};

/// Longest name and largest value (xattr(7)).
const NAME_MAX: usize = 255;
const VALUE_MAX: u64 = 65536;

impl Kernel {
    fn xattr_path(&mut self, tid: ThreadId, path: u64, follow: bool) -> Res<Rc<Dentry>> {
        let path = self.mm.read_path(path)?;
        self.lookup_at(tid, AT_FDCWD, &path, 0, follow)
    }

    fn xattr_file(&mut self, tid: ThreadId, fd: i32) -> Res<Rc<Dentry>> {
        Ok(self.file(tid, fd)?.dentry().clone())
    }

    fn xattr_name(&mut self, va: u64) -> Res<Vec<u8>> {
        match self.mm.read_cstr(va, NAME_MAX + 1) {
            Ok(name) if name.is_empty() => Err(Errno::ERANGE),
            Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
            other => other,
        }
    }

    fn set_xattr(&mut self, tid: ThreadId, at: Rc<Dentry>, a: Args) -> SysResult {
        let (flags, size) = (a.u32(4), a.u64(3));
        if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let name = self.xattr_name(a.u64(1))?;
        if size > VALUE_MAX {
            return Err(Errno::E2BIG.into());
        }
        let value = self.mm.read_vec(a.u64(2), size as usize)?;
        let mut cx = self.cx(tid);
        perm::check_writable(at.mount())?;
        ops::check_xattr(&mut cx, at.inode(), &name, true)?;
        if acl::is_acl(&name) {
            ops::set_acl(&mut cx, &at, &name, Some(&value))?;
            return Ok(0);
        }
        let exists = at.inode().get_xattr(&mut cx, &name)?.is_some();
        match (exists, flags) {
            (true, flags) if flags & XATTR_CREATE != 0 => return Err(Errno::EEXIST.into()),
            (false, flags) if flags & XATTR_REPLACE != 0 => return Err(Errno::ENODATA.into()),
            _ => at.inode().set_xattr(&mut cx, &name, Some(&value))?,
        }
        cx.shared.watches.event(&at, IN_ATTRIB);
        Ok(0)
    }

    fn get_xattr(&mut self, tid: ThreadId, at: Rc<Dentry>, a: Args) -> SysResult {
        let name = self.xattr_name(a.u64(1))?;
        let mut cx = self.cx(tid);
        ops::check_xattr(&mut cx, at.inode(), &name, false)?;
        let value = at.inode().get_xattr(&mut cx, &name)?.ok_or(Errno::ENODATA)?;
        self.put(a.u64(2), a.u64(3), &value)
    }

    fn list_xattr(&mut self, tid: ThreadId, at: Rc<Dentry>, a: Args) -> SysResult {
        let names = at.inode().list_xattr(&mut self.cx(tid))?;
        let mut out = Vec::new();
        for name in names {
            out.extend_from_slice(&name);
            out.push(0);
        }
        self.put(a.u64(1), a.u64(2), &out)
    }

    /// A value into a user buffer of `size` bytes; size 0 asks for the length.
    fn put(&mut self, va: u64, size: u64, value: &[u8]) -> SysResult {
        if size != 0 {
            if size < value.len() as u64 {
                return Err(Errno::ERANGE.into());
            }
            self.mm.write_user(va, value)?;
        }
        Ok(value.len() as u64)
    }

    fn remove_xattr(&mut self, tid: ThreadId, at: Rc<Dentry>, a: Args) -> SysResult {
        let name = self.xattr_name(a.u64(1))?;
        let mut cx = self.cx(tid);
        perm::check_writable(at.mount())?;
        ops::check_xattr(&mut cx, at.inode(), &name, true)?;
        if acl::is_acl(&name) {
            ops::set_acl(&mut cx, &at, &name, None)?;
            return Ok(0);
        }
        at.inode().set_xattr(&mut cx, &name, None)?;
        cx.shared.watches.event(&at, IN_ATTRIB);
        Ok(0)
    }
}

/// The three forms of a call: by path, by path without following a final link, by descriptor.
macro_rules! forms {
    ($($path:ident $link:ident $fd:ident = $method:ident;)*) => {$(
        #[doc = concat!(stringify!($path), "(2)")]
        pub fn $path(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
            let at = k.xattr_path(tid, a.u64(0), true)?;
            k.$method(tid, at, a)
        }
        #[doc = concat!(stringify!($link), "(2)")]
        pub fn $link(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
            let at = k.xattr_path(tid, a.u64(0), false)?;
            k.$method(tid, at, a)
        }
        #[doc = concat!(stringify!($fd), "(2)")]
        pub fn $fd(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
            let at = k.xattr_file(tid, a.i32(0))?;
            k.$method(tid, at, a)
        }
    )*};
}

forms! {
    setxattr lsetxattr fsetxattr = set_xattr;
    getxattr lgetxattr fgetxattr = get_xattr;
    listxattr llistxattr flistxattr = list_xattr;
    removexattr lremovexattr fremovexattr = remove_xattr;
}
