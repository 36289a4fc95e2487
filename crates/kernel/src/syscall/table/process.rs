//! Processes, ids, scheduling, the system.

use super::{Arg::*, Row};
use crate::syscall::{
    futex, ids, ioprio, pidfd, prctl, proc, process_vm, ptrace, rseq, sched, seccomp, system, wait,
    waitv,
};
use abi::sched::*;

const CLONE: &[(u64, &str)] = &[
    (CLONE_VM, "CLONE_VM"),
    (CLONE_FS, "CLONE_FS"),
    (CLONE_FILES, "CLONE_FILES"),
    (CLONE_SIGHAND, "CLONE_SIGHAND"),
    (CLONE_PIDFD, "CLONE_PIDFD"),
    (CLONE_PTRACE, "CLONE_PTRACE"),
    (CLONE_VFORK, "CLONE_VFORK"),
    (CLONE_PARENT, "CLONE_PARENT"),
    (CLONE_THREAD, "CLONE_THREAD"),
    (CLONE_NEWNS, "CLONE_NEWNS"),
    (CLONE_SYSVSEM, "CLONE_SYSVSEM"),
    (CLONE_SETTLS, "CLONE_SETTLS"),
    (CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"),
    (CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"),
    (CLONE_DETACHED, "CLONE_DETACHED"),
    (CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"),
    (17, "SIGCHLD"),
];
const WAITS: &[(u64, &str)] = &[
    (WNOHANG as u64, "WNOHANG"),
    (WUNTRACED as u64, "WSTOPPED"),
    (WEXITED as u64, "WEXITED"),
    (WCONTINUED as u64, "WCONTINUED"),
    (WNOWAIT as u64, "WNOWAIT"),
    (WALL as u64, "__WALL"),
    (0x8000_0000, "__WCLONE"),
];
const ID_KINDS: &[(u64, &str)] =
    &[(P_ALL, "P_ALL"), (P_PID, "P_PID"), (P_PGID, "P_PGID"), (P_PIDFD, "P_PIDFD")];
const FUTEX: &[(u64, &str)] = &[
    (0, "FUTEX_WAIT"),
    (1, "FUTEX_WAKE"),
    (3, "FUTEX_REQUEUE"),
    (4, "FUTEX_CMP_REQUEUE"),
    (5, "FUTEX_WAKE_OP"),
    (6, "FUTEX_LOCK_PI"),
    (7, "FUTEX_UNLOCK_PI"),
    (8, "FUTEX_TRYLOCK_PI"),
    (9, "FUTEX_WAIT_BITSET"),
    (10, "FUTEX_WAKE_BITSET"),
    (11, "FUTEX_WAIT_REQUEUE_PI"),
    (12, "FUTEX_CMP_REQUEUE_PI"),
    (13, "FUTEX_LOCK_PI2"),
    (128, "FUTEX_WAIT_PRIVATE"),
    (129, "FUTEX_WAKE_PRIVATE"),
    (131, "FUTEX_REQUEUE_PRIVATE"),
    (132, "FUTEX_CMP_REQUEUE_PRIVATE"),
    (133, "FUTEX_WAKE_OP_PRIVATE"),
    (137, "FUTEX_WAIT_BITSET_PRIVATE"),
    (138, "FUTEX_WAKE_BITSET_PRIVATE"),
    (393, "FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME"),
];
const RLIMIT: &[(u64, &str)] = &[
    (0, "RLIMIT_CPU"),
    (1, "RLIMIT_FSIZE"),
    (2, "RLIMIT_DATA"),
    (3, "RLIMIT_STACK"),
    (4, "RLIMIT_CORE"),
    (5, "RLIMIT_RSS"),
    (6, "RLIMIT_NPROC"),
    (7, "RLIMIT_NOFILE"),
    (8, "RLIMIT_MEMLOCK"),
    (9, "RLIMIT_AS"),
];
const ARCH: &[(u64, &str)] = &[
    (0x1001, "ARCH_SET_GS"),
    (0x1002, "ARCH_SET_FS"),
    (0x1003, "ARCH_GET_FS"),
    (0x1004, "ARCH_GET_GS"),
];

const PTRACE: &[(u64, &str)] = &[
    (0, "PTRACE_TRACEME"),
    (1, "PTRACE_PEEKTEXT"),
    (2, "PTRACE_PEEKDATA"),
    (3, "PTRACE_PEEKUSER"),
    (4, "PTRACE_POKETEXT"),
    (5, "PTRACE_POKEDATA"),
    (6, "PTRACE_POKEUSER"),
    (7, "PTRACE_CONT"),
    (8, "PTRACE_KILL"),
    (9, "PTRACE_SINGLESTEP"),
    (12, "PTRACE_GETREGS"),
    (13, "PTRACE_SETREGS"),
    (14, "PTRACE_GETFPREGS"),
    (15, "PTRACE_SETFPREGS"),
    (16, "PTRACE_ATTACH"),
    (17, "PTRACE_DETACH"),
    (24, "PTRACE_SYSCALL"),
    (30, "PTRACE_ARCH_PRCTL"),
    (31, "PTRACE_SYSEMU"),
    (0x4200, "PTRACE_SETOPTIONS"),
    (0x4201, "PTRACE_GETEVENTMSG"),
    (0x4202, "PTRACE_GETSIGINFO"),
    (0x4203, "PTRACE_SETSIGINFO"),
    (0x4204, "PTRACE_GETREGSET"),
    (0x4205, "PTRACE_SETREGSET"),
    (0x4206, "PTRACE_SEIZE"),
    (0x4207, "PTRACE_INTERRUPT"),
    (0x4208, "PTRACE_LISTEN"),
    (0x4209, "PTRACE_PEEKSIGINFO"),
    (0x420a, "PTRACE_GETSIGMASK"),
    (0x420b, "PTRACE_SETSIGMASK"),
    (0x420e, "PTRACE_GET_SYSCALL_INFO"),
];

pub(super) static ROWS: &[Row] = crate::syscall_rows! {
    24 sched_yield() = sched::sched_yield, Full, "";
    39 getpid() = proc::getpid, Full, "";
    56 clone(flags: Flags(CLONE), stack: Ptr, parent_tid: Ptr, child_tid: Ptr, tls: Ptr) = proc::clone, Partial, "namespaces refuse with EPERM";
    57 fork() = proc::fork, Full, "";
    58 vfork() = proc::vfork, Full, "";
    59 execve(path: Path, argv: Strings, envp: StringCount) = proc::execve, Full, "";
    60 exit(status: Int) = proc::exit, Full, "";
    61 wait4(pid: Int, status: OutInt, options: Flags(WAITS), rusage: Ptr) = wait::wait4, Full, "";
    63 uname(buf: Ptr) = system::uname, Full, "";
    101 ptrace(request: Enum(PTRACE), pid: Int, addr: Ptr, data: Ptr) = ptrace::ptrace, Partial, "no hardware breakpoints and watchpoints (EINVAL), no block steps";
    97 getrlimit(resource: Enum(RLIMIT), limit: Ptr) = sched::getrlimit, Full, "";
    99 sysinfo(info: Ptr) = system::sysinfo, Full, "";
    102 getuid() = ids::getuid, Full, "";
    103 syslog(kind: Int, buf: Ptr, len: Int) = system::syslog, Stub, "the log is empty";
    104 getgid() = ids::getgid, Full, "";
    105 setuid(uid: Int) = ids::setuid, Full, "";
    106 setgid(gid: Int) = ids::setgid, Full, "";
    107 geteuid() = ids::geteuid, Full, "";
    108 getegid() = ids::getegid, Full, "";
    109 setpgid(pid: Int, pgid: Int) = proc::setpgid, Full, "";
    110 getppid() = proc::getppid, Full, "";
    111 getpgrp() = proc::getpgrp, Full, "";
    112 setsid() = proc::setsid, Full, "";
    113 setreuid(real: Int, effective: Int) = ids::setreuid, Full, "";
    114 setregid(real: Int, effective: Int) = ids::setregid, Full, "";
    115 getgroups(size: Int, list: Ptr) = ids::getgroups, Full, "";
    116 setgroups(size: Size, list: Ptr) = ids::setgroups, Full, "";
    117 setresuid(real: Int, effective: Int, saved: Int) = ids::setresuid, Full, "";
    118 getresuid(real: OutInt, effective: OutInt, saved: OutInt) = ids::getresuid, Full, "";
    119 setresgid(real: Int, effective: Int, saved: Int) = ids::setresgid, Full, "";
    120 getresgid(real: OutInt, effective: OutInt, saved: OutInt) = ids::getresgid, Full, "";
    121 getpgid(pid: Int) = proc::getpgid, Full, "";
    122 setfsuid(uid: Int) = ids::setfsuid, Full, "";
    123 setfsgid(gid: Int) = ids::setfsgid, Full, "";
    124 getsid(pid: Int) = proc::getsid, Full, "";
    125 capget(header: Ptr, data: Ptr) = ids::capget, Full, "";
    126 capset(header: Ptr, data: Ptr) = ids::capset, Full, "";
    135 personality(persona: Hex) = prctl::personality, Partial, "remembered only";
    140 getpriority(which: Int, who: Int) = sched::getpriority, Full, "";
    141 setpriority(which: Int, who: Int, nice: Int) = sched::setpriority, Full, "";
    142 sched_setparam(pid: Int, param: Ptr) = sched::sched_setparam, Stub, "one policy";
    143 sched_getparam(pid: Int, param: Ptr) = sched::sched_getparam, Full, "";
    144 sched_setscheduler(pid: Int, policy: Int, param: Ptr) = sched::sched_setscheduler, Partial, "real-time policies refuse with EPERM";
    145 sched_getscheduler(pid: Int) = sched::sched_getscheduler, Full, "";
    146 sched_get_priority_max(policy: Int) = sched::sched_get_priority_max, Full, "";
    147 sched_get_priority_min(policy: Int) = sched::sched_get_priority_min, Full, "";
    148 sched_rr_get_interval(pid: Int, interval: OutTimespec) = sched::sched_rr_get_interval, Full, "";
    157 prctl(option: Int, arg2: Hex, arg3: Hex, arg4: Hex, arg5: Hex) = prctl::prctl, Partial, "no PR_SET_MM (EPERM), no faulting TSC; names of mappings are accepted and not shown";
    158 arch_prctl(code: Enum(ARCH), addr: Ptr) = prctl::arch_prctl, Full, "";
    160 setrlimit(resource: Enum(RLIMIT), limit: Ptr) = sched::setrlimit, Full, "";
    170 sethostname(name: Path, len: Size) = system::sethostname, Full, "";
    171 setdomainname(name: Path, len: Size) = system::setdomainname, Full, "";
    186 gettid() = proc::gettid, Full, "";
    202 futex(word: Ptr, op: Enum(FUTEX), value: Int, timeout: Ptr, word2: Ptr, value3: Hex) = futex::futex, Partial, "priorities are not inherited";
    203 sched_setaffinity(pid: Int, size: Size, mask: Ptr) = sched::sched_setaffinity, Full, "one CPU";
    204 sched_getaffinity(pid: Int, size: Size, mask: Ptr) = sched::sched_getaffinity, Full, "one CPU";
    218 set_tid_address(tid: Ptr) = proc::set_tid_address, Full, "";
    231 exit_group(status: Int) = proc::exit_group, Full, "";
    247 waitid(kind: Enum(ID_KINDS), id: Int, info: Ptr, options: Flags(WAITS), rusage: Ptr) = wait::waitid, Full, "";
    251 ioprio_set(which: Int, who: Int, prio: Hex) = ioprio::ioprio_set, Partial, "remembered; there is no I/O scheduler";
    252 ioprio_get(which: Int, who: Int) = ioprio::ioprio_get, Full, "";
    273 set_robust_list(head: Ptr, len: Size) = futex::set_robust_list, Full, "";
    274 get_robust_list(pid: Int, head: Ptr, len: Ptr) = futex::get_robust_list, Full, "";
    302 prlimit64(pid: Int, resource: Enum(RLIMIT), new: Ptr, old: Ptr) = sched::prlimit64, Full, "";
    309 getcpu(cpu: OutInt, node: OutInt, unused: Ptr) = sched::getcpu, Full, "";
    315 sched_getattr(pid: Int, attr: Ptr, size: Int, flags: Hex) = sched::sched_getattr, Full, "";
    310 process_vm_readv(pid: Int, local: Ptr, count: Size, remote: Ptr, rcount: Size, flags: Hex) = process_vm::process_vm_readv, Full, "";
    311 process_vm_writev(pid: Int, local: Ptr, count: Size, remote: Ptr, rcount: Size, flags: Hex) = process_vm::process_vm_writev, Full, "";
    312 kcmp(pid1: Int, pid2: Int, kind: Int, a: Hex, b: Hex) = process_vm::kcmp, Partial, "no KCMP_EPOLL_TFD";
    314 sched_setattr(pid: Int, attr: Ptr, flags: Hex) = sched::sched_setattr, Partial, "policies are remembered; real-time and deadline ones refuse with EPERM";
    317 seccomp(op: Int, flags: Hex, args: Ptr) = seccomp::seccomp, Partial, "no listener (SECCOMP_RET_USER_NOTIF)";
    318 getrandom(buf: Ptr, len: Size, flags: Hex) = system::getrandom, Full, "";
    322 execveat(dir: DirFd, path: Path, argv: Strings, envp: StringCount, flags: Hex) = proc::execveat, Full, "";
    324 membarrier(cmd: Hex, flags: Hex, cpu: Int) = sched::membarrier, Full, "one CPU";
    334 rseq(area: Ptr, len: Int, flags: Hex, signature: Hex) = rseq::rseq, Full, "one CPU";
    424 pidfd_send_signal(fd: Fd, signal: Signal, info: Ptr, flags: Hex) = pidfd::pidfd_send_signal, Full, "";
    434 pidfd_open(pid: Int, flags: Hex) = pidfd::pidfd_open, Full, "";
    435 clone3(args: Ptr, size: Size) = proc::clone3, Partial, "as clone";
    438 pidfd_getfd(fd: Fd, target: Int, flags: Hex) = pidfd::pidfd_getfd, Full, "";
    440 process_madvise(fd: Fd, iov: Ptr, count: Size, advice: Int, flags: Hex) = pidfd::process_madvise, Full, "";
    448 process_mrelease(fd: Fd, flags: Hex) = pidfd::process_mrelease, Full, "";
    449 futex_waitv(waiters: Ptr, count: Int, flags: Hex, timeout: Timespec, clock: Int) = waitv::futex_waitv, Full, "";
};
