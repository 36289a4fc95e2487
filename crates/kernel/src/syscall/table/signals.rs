//! Signals.

use super::{Arg::*, Row};
use crate::syscall::signal;

const HOW: &[(u64, &str)] = &[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")];

pub(super) static ROWS: &[Row] = crate::syscall_rows! {
    13 rt_sigaction(signal: Signal, new: Ptr, old: Ptr, size: Size) = signal::rt_sigaction, Full, "";
    14 rt_sigprocmask(how: Enum(HOW), new: SigSet, old: OutSigSet, size: Size) = signal::rt_sigprocmask, Full, "";
    15 rt_sigreturn() = signal::rt_sigreturn, Full, "";
    34 pause() = signal::pause, Full, "";
    62 kill(pid: Int, signal: Signal) = signal::kill, Full, "";
    127 rt_sigpending(set: OutSigSet, size: Size) = signal::rt_sigpending, Full, "";
    128 rt_sigtimedwait(set: SigSet, info: Ptr, timeout: Timespec, size: Size) = signal::rt_sigtimedwait, Full, "";
    129 rt_sigqueueinfo(pid: Int, signal: Signal, info: Ptr) = signal::rt_sigqueueinfo, Full, "";
    130 rt_sigsuspend(mask: SigSet, size: Size) = signal::rt_sigsuspend, Full, "";
    131 sigaltstack(new: Ptr, old: Ptr) = signal::sigaltstack, Full, "";
    200 tkill(tid: Int, signal: Signal) = signal::tkill, Full, "";
    219 restart_syscall() = signal::restart_syscall, Full, "";
    234 tgkill(pid: Int, tid: Int, signal: Signal) = signal::tgkill, Full, "";
    297 rt_tgsigqueueinfo(pid: Int, tid: Int, signal: Signal, info: Ptr) = signal::rt_tgsigqueueinfo, Full, "";
};
