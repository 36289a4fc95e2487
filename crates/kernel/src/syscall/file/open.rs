//! open(2), openat(2), openat2(2), creat(2).

use abi::Errno;
use abi::fcntl::{
    AT_FDCWD, O_CLOEXEC, O_CREAT, O_NONBLOCK, O_PATH, O_TMPFILE, O_TRUNC, O_VALID, O_WRONLY,
    RESOLVE_BENEATH, RESOLVE_CACHED, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
};

use crate::file::pipe::PipeEnd;
use crate::file::tty::Master;
use crate::fs::ops::{self, OpenHow};
use crate::syscall::Args;
use crate::{Kernel, Stop, SysResult, ThreadId, Wait};

/// Bytes of the first version of `struct open_how`, and the most accepted.
const OPEN_HOW: (u64, u64) = (24, 4096);

impl Kernel {
    fn open_at(&mut self, tid: ThreadId, dirfd: i32, path: u64, how: OpenHow) -> SysResult {
        let cloexec = how.flags & O_CLOEXEC != 0;
        // Whoever opened a FIFO and waits for the other end holds its own end meanwhile.
        let again = self.tasks[tid].restart.again;
        let parked = self.shared.opening.borrow_mut().remove(&tid.0);
        let file = match parked {
            Some(file) if again => file,
            _ => {
                let path = self.mm.read_path(path)?;
                // A descriptor is found before the file is looked for, or made.
                let limit = self.fd_limit(tid);
                self.tasks[tid].files.borrow().free(0, limit)?;
                // RESOLVE_IN_ROOT takes the descriptor as the root of absolute paths, too.
                let relative = if how.resolve & RESOLVE_IN_ROOT != 0 { b"." } else { &path[..] };
                let dir = self.start_dir(tid, dirfd, relative)?;
                let at = self.path_cx(tid);
                self.shared.lease_end.set(None);
                match ops::open(&mut self.cx(tid), &at, &dir, &path, how) {
                    Ok(file) => file,
                    Err(Errno::EAGAIN) => {
                        return Err(self.wait_lease(how.flags & O_NONBLOCK != 0));
                    }
                    Err(e) => return Err(e.into()),
                }
            }
        };
        if let Some(end) = file.object::<PipeEnd>()
            // An anonymous pipe opened again through /proc/self/fd waits for nobody (Linux's fifo_open).
            && !file.dentry().is_anonymous()
            && end.awaits_partner()
            && how.flags & (O_NONBLOCK | O_PATH) == 0
        {
            self.shared.opening.borrow_mut().insert(tid.0, file.clone());
            return Err(self.wait_file(tid, &file, false));
        }
        if let Some(master) = file.object::<Master>() {
            let cred = &self.tasks[tid].creds;
            master.tty().owner.set((cred.uid.real, cred.gid.real));
        }
        Ok(self.add_file(tid, file, cloexec)?)
    }
}

impl Kernel {
    /// What EAGAIN of an open means: with a lease in the way, a wait for its end unless `nonblock`.
    pub(crate) fn wait_lease(&mut self, nonblock: bool) -> Stop {
        match self.shared.lease_end.take() {
            Some(end) if !nonblock => Wait::on(self.shared.opens.key()).until(Some(end)).into(),
            _ => Errno::EAGAIN.into(),
        }
    }
}

fn how(flags: u32, mode: u32) -> OpenHow {
    let creates = flags & O_CREAT != 0 || flags & O_TMPFILE == O_TMPFILE;
    // open(2) ignores unknown flags and a mode without O_CREAT.
    OpenHow { flags: flags & O_VALID, mode: if creates { mode } else { 0 }, resolve: 0 }
}

/// open(2)
pub fn open(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.open_at(tid, AT_FDCWD, a.u64(0), how(a.u32(1), a.u32(2)))
}

/// openat(2)
pub fn openat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.open_at(tid, a.i32(0), a.u64(1), how(a.u32(2), a.u32(3)))
}

/// creat(2)
pub fn creat(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.open_at(tid, AT_FDCWD, a.u64(0), how(O_CREAT | O_WRONLY | O_TRUNC, a.u32(1)))
}

/// openat2(2)
pub fn openat2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (va, size) = (a.u64(2), a.u64(3));
    if size < OPEN_HOW.0 {
        return Err(Errno::EINVAL.into());
    }
    if size > OPEN_HOW.1 {
        return Err(Errno::E2BIG.into());
    }
    let extra = k.mm.read_vec(va.wrapping_add(OPEN_HOW.0), (size - OPEN_HOW.0) as usize)?;
    if extra.iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let [flags, mode, resolve]: [u64; 3] = k.mm.read_pod(va)?;
    let known = RESOLVE_NO_XDEV
        | RESOLVE_NO_MAGICLINKS
        | RESOLVE_NO_SYMLINKS
        | RESOLVE_BENEATH
        | RESOLVE_IN_ROOT
        | RESOLVE_CACHED;
    let both = RESOLVE_BENEATH | RESOLVE_IN_ROOT;
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let creates = flags & O_CREAT != 0 || flags & O_TMPFILE == O_TMPFILE;
    if flags & !O_VALID != 0 || resolve & !known != 0 || resolve & both == both {
        return Err(Errno::EINVAL.into());
    }
    if mode & !0o7777 != 0 || (!creates && mode != 0) {
        return Err(Errno::EINVAL.into());
    }
    if resolve & RESOLVE_CACHED != 0 {
        // Nothing is known to be cached: the caller tries again without.
        return Err(Errno::EAGAIN.into());
    }
    k.open_at(tid, a.i32(0), a.u64(1), OpenHow { flags, mode: mode as u32, resolve })
}
