//! Whether a thread may look into another (ptrace(2), "Ptrace access mode checking").

use abi::Errno;

use super::creds::CAP_SYS_PTRACE;
use crate::{Kernel, ThreadId};

/// Which of the caller's ids count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `PTRACE_MODE_FSCREDS`: proc(5).
    FsIds,
    /// `PTRACE_MODE_REALCREDS`: system calls.
    RealIds,
}

impl Kernel {
    /// Whether `tid` may look into `target`; `ESRCH` if there is no such thread, else `EPERM`.
    pub(crate) fn may_access(&self, tid: ThreadId, target: ThreadId, by: By) -> Result<(), Errno> {
        let me = &self.tasks[tid];
        let other = self.tasks.thread(target).ok_or(Errno::ESRCH)?;
        if me.pid == other.pid || me.creds.capable(CAP_SYS_PTRACE) {
            return Ok(());
        }
        let (uid, gid, caps) = match by {
            By::FsIds => (me.creds.uid.fs, me.creds.gid.fs, me.creds.effective),
            By::RealIds => (me.creds.uid.real, me.creds.gid.real, me.creds.permitted),
        };
        let (u, g) = (&other.creds.uid, &other.creds.gid);
        let same = [u.real, u.effective, u.saved] == [uid; 3]
            && [g.real, g.effective, g.saved] == [gid; 3];
        let dumpable = self.tasks.process(other.pid).is_some_and(|p| p.dumpable == 1);
        if !same || !dumpable || other.creds.permitted & !caps != 0 {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
}
