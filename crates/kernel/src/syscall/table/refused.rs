//! Calls that are named only to refuse: `ENOSYS` and counted, or `EPERM` where docker's profile says so.

use super::{Arg::*, Row};
use crate::syscall::not_supported as nosys;
use crate::syscall::system::not_permitted as eperm;

pub(super) static ROWS: &[Row] = crate::syscall_rows! {
    134 uselib(path: Path) = eperm, Refused, "EPERM as docker's profile";
    136 ustat(dev: Int, buf: Ptr) = eperm, Refused, "EPERM as docker's profile";
    139 sysfs(option: Int, arg1: Hex, arg2: Hex) = eperm, Refused, "EPERM as docker's profile";
    153 vhangup() = eperm, Refused, "EPERM: needs CAP_SYS_TTY_CONFIG";
    154 modify_ldt(func: Int, ptr: Ptr, count: Size) = nosys, Refused, "no segments of one's own";
    156 _sysctl(args: Ptr) = eperm, Refused, "EPERM as docker's profile";
    163 acct(path: Path) = eperm, Refused, "EPERM: needs CAP_SYS_PACCT";
    167 swapon(path: Path, flags: Hex) = eperm, Refused, "EPERM: needs CAP_SYS_ADMIN";
    168 swapoff(path: Path) = eperm, Refused, "EPERM: needs CAP_SYS_ADMIN";
    169 reboot(magic: Hex, magic2: Hex, cmd: Hex, arg: Ptr) = eperm, Refused, "EPERM: needs CAP_SYS_BOOT";
    172 iopl(level: Int) = eperm, Refused, "EPERM: needs CAP_SYS_RAWIO";
    173 ioperm(from: Size, num: Size, on: Int) = eperm, Refused, "EPERM: needs CAP_SYS_RAWIO";
    174 create_module(name: Path, size: Size) = eperm, Refused, "EPERM as docker's profile";
    175 init_module(image: Ptr, len: Size, params: Path) = eperm, Refused, "EPERM: needs CAP_SYS_MODULE";
    176 delete_module(name: Path, flags: Hex) = eperm, Refused, "EPERM: needs CAP_SYS_MODULE";
    177 get_kernel_syms(table: Ptr) = eperm, Refused, "EPERM as docker's profile";
    178 query_module(name: Path, which: Int, buf: Ptr, size: Size, ret: Ptr) = eperm, Refused, "EPERM as docker's profile";
    180 nfsservctl() = eperm, Refused, "EPERM as docker's profile";
    212 lookup_dcookie(cookie: Hex, buf: Ptr, len: Size) = eperm, Refused, "EPERM as docker's profile";
    205 set_thread_area(desc: Ptr) = nosys, Refused, "i386 only";
    211 get_thread_area(desc: Ptr) = nosys, Refused, "i386 only";
    246 kexec_load(entry: Hex, count: Size, segments: Ptr, flags: Hex) = eperm, Refused, "EPERM: needs CAP_SYS_BOOT";
    248 add_key(kind: Path, desc: Path, payload: Ptr, len: Size, ring: Int) = eperm, Refused, "EPERM as docker's profile";
    249 request_key(kind: Path, desc: Path, info: Path, ring: Int) = eperm, Refused, "EPERM as docker's profile";
    250 keyctl(op: Int, arg2: Hex, arg3: Hex, arg4: Hex, arg5: Hex) = eperm, Refused, "EPERM as docker's profile";
    272 unshare(flags: Hex) = eperm, Refused, "EPERM: no namespaces";
    298 perf_event_open(attr: Ptr, pid: Int, cpu: Int, group: Int, flags: Hex) = eperm, Refused, "EPERM: needs CAP_PERFMON";
    308 setns(fd: Fd, kind: Hex) = eperm, Refused, "EPERM: no namespaces";
    313 finit_module(fd: Fd, params: Path, flags: Hex) = eperm, Refused, "EPERM: needs CAP_SYS_MODULE";
    320 kexec_file_load(kernel: Fd, initrd: Fd, len: Size, cmdline: Path, flags: Hex) = eperm, Refused, "EPERM: needs CAP_SYS_BOOT";
    321 bpf(cmd: Int, attr: Ptr, size: Int) = eperm, Refused, "EPERM: needs CAP_BPF";
    323 userfaultfd(flags: Hex) = eperm, Refused, "EPERM as docker's profile";
    425 io_uring_setup(entries: Int, params: Ptr) = nosys, Refused, "no io_uring; programs fall back on ENOSYS (docker's profile: EPERM)";
    426 io_uring_enter(fd: Fd, submit: Int, complete: Int, flags: Hex, arg: Ptr, size: Size) = nosys, Refused, "no io_uring; programs fall back on ENOSYS (docker's profile: EPERM)";
    427 io_uring_register(fd: Fd, op: Int, arg: Ptr, count: Int) = nosys, Refused, "no io_uring; programs fall back on ENOSYS (docker's profile: EPERM)";
    444 landlock_create_ruleset(attr: Ptr, size: Size, flags: Hex) = nosys, Refused, "no landlock";
    443 quotactl_fd(fd: Fd, command: Hex, id: Int, addr: Ptr) = eperm, Refused, "EPERM: needs CAP_SYS_ADMIN";
    445 landlock_add_rule(fd: Fd, kind: Int, attr: Ptr, flags: Hex) = nosys, Refused, "no landlock";
    446 landlock_restrict_self(fd: Fd, flags: Hex) = nosys, Refused, "no landlock";
    450 set_mempolicy_home_node(addr: Ptr, len: Size, node: Int, flags: Hex) = eperm, Refused, "EPERM: needs CAP_SYS_NICE";
    447 memfd_secret(flags: Hex) = nosys, Refused, "not enabled, as on Linux without secretmem.enable";
};
