//! System calls that a program wants to make itself (prctl(2), PR_SET_SYSCALL_USER_DISPATCH): SIGSYS in their place.

use abi::signal::{SIGSEGV, SIGSYS};

use super::seccomp::ARCH;
use crate::signal::siginfo;
use crate::{Kernel, ThreadId};

/// `SYS_USER_DISPATCH`: `si_code` of the signal.
const SYS_USER_DISPATCH: i32 = 2;
/// Values of the byte that says whether calls are made: `SYSCALL_DISPATCH_FILTER_ALLOW` and `_BLOCK`.
const ALLOW: u8 = 0;
const BLOCK: u8 = 1;

/// Which calls of a thread are not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Where calls are made always.
    pub start: u64,
    /// Bytes there.
    pub len: u64,
    /// Address of the byte that says whether calls from elsewhere are made; 0: they never are.
    pub selector: u64,
}

impl Kernel {
    /// Whether the call that `tid` has come for is the program's own affair: then its signal is on the way.
    pub(crate) fn dispatched(&mut self, tid: ThreadId) -> bool {
        let thread = &self.tasks[tid];
        let Some(dispatch) = thread.dispatch else { return false };
        let rip = thread.ctx.rip;
        if rip.wrapping_sub(dispatch.start) < dispatch.len {
            return false;
        }
        let state = match dispatch.selector {
            0 => Ok(BLOCK),
            selector => self.mm.read_pod::<u8>(selector),
        };
        let thread = &mut self.tasks[tid];
        let nr = thread.orig_rax;
        match state {
            Ok(ALLOW) => return false,
            Ok(BLOCK) => {
                thread.syscall = None;
                let mut info = siginfo(SIGSYS, SYS_USER_DISPATCH);
                info.fields[0] = rip;
                info.fields[1] = nr & 0xffff_ffff | u64::from(ARCH) << 32;
                self.force_signal(tid, info);
            }
            wrong => {
                let signal = if wrong.is_ok() { SIGSYS } else { SIGSEGV };
                let pid = thread.pid;
                self.log_death(tid, signal);
                let core = self.core_bit(pid);
                self.exit_group(pid, signal as i32 | core);
            }
        }
        true
    }
}
