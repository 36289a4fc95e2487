//! Files, directories, descriptors and what waits for them.

use abi::fcntl::*;
use abi::poll::*;
use abi::stat::*;
use abi::tty::*;

use super::{Arg, Arg::*, Row};
use crate::syscall::aio;
use crate::syscall::file::{
    attr, descriptor, dir, epoll, event, handle, ioctl, lock, mount, open, path, poll, rw, splice,
    stat, xattr,
};

const O: &[(u64, &str)] = &[
    (O_TMPFILE as u64, "O_TMPFILE"),
    (O_SYNC as u64, "O_SYNC"),
    (O_WRONLY as u64, "O_WRONLY"),
    (O_RDWR as u64, "O_RDWR"),
    (O_CREAT as u64, "O_CREAT"),
    (O_EXCL as u64, "O_EXCL"),
    (O_NOCTTY as u64, "O_NOCTTY"),
    (O_TRUNC as u64, "O_TRUNC"),
    (O_APPEND as u64, "O_APPEND"),
    (O_NONBLOCK as u64, "O_NONBLOCK"),
    (O_DSYNC as u64, "O_DSYNC"),
    (O_ASYNC as u64, "O_ASYNC"),
    (O_DIRECT as u64, "O_DIRECT"),
    (O_LARGEFILE as u64, "O_LARGEFILE"),
    (O_DIRECTORY as u64, "O_DIRECTORY"),
    (O_NOFOLLOW as u64, "O_NOFOLLOW"),
    (O_NOATIME as u64, "O_NOATIME"),
    (O_CLOEXEC as u64, "O_CLOEXEC"),
    (O_PATH as u64, "O_PATH"),
    (O_RDONLY as u64, "O_RDONLY"),
];
const AT: &[(u64, &str)] = &[
    (AT_SYMLINK_NOFOLLOW as u64, "AT_SYMLINK_NOFOLLOW"),
    (AT_SYMLINK_FOLLOW as u64, "AT_SYMLINK_FOLLOW"),
    (AT_NO_AUTOMOUNT as u64, "AT_NO_AUTOMOUNT"),
    (AT_EMPTY_PATH as u64, "AT_EMPTY_PATH"),
];
const ACCESS_AT: &[(u64, &str)] =
    &[(AT_EACCESS as u64, "AT_EACCESS"), (AT_SYMLINK_NOFOLLOW as u64, "AT_SYMLINK_NOFOLLOW")];
const REMOVE_AT: &[(u64, &str)] = &[(AT_REMOVEDIR as u64, "AT_REMOVEDIR")];
const ACCESS: &[(u64, &str)] =
    &[(R_OK as u64, "R_OK"), (W_OK as u64, "W_OK"), (X_OK as u64, "X_OK"), (0, "F_OK")];
const SEEK: &[(u64, &str)] =
    &[(0, "SEEK_SET"), (1, "SEEK_CUR"), (2, "SEEK_END"), (3, "SEEK_DATA"), (4, "SEEK_HOLE")];
const FCNTL: &[(u64, &str)] = &[
    (F_DUPFD as u64, "F_DUPFD"),
    (F_GETFD as u64, "F_GETFD"),
    (F_SETFD as u64, "F_SETFD"),
    (F_GETFL as u64, "F_GETFL"),
    (F_SETFL as u64, "F_SETFL"),
    (F_GETLK as u64, "F_GETLK"),
    (F_SETLK as u64, "F_SETLK"),
    (F_SETLKW as u64, "F_SETLKW"),
    (F_SETOWN as u64, "F_SETOWN"),
    (F_GETOWN as u64, "F_GETOWN"),
    (F_OFD_GETLK as u64, "F_OFD_GETLK"),
    (F_OFD_SETLK as u64, "F_OFD_SETLK"),
    (F_OFD_SETLKW as u64, "F_OFD_SETLKW"),
    (F_DUPFD_CLOEXEC as u64, "F_DUPFD_CLOEXEC"),
    (F_SETPIPE_SZ as u64, "F_SETPIPE_SZ"),
    (F_GETPIPE_SZ as u64, "F_GETPIPE_SZ"),
    (F_ADD_SEALS as u64, "F_ADD_SEALS"),
    (F_GET_SEALS as u64, "F_GET_SEALS"),
];
const FLOCK: &[(u64, &str)] = &[(1, "LOCK_SH"), (2, "LOCK_EX"), (4, "LOCK_NB"), (8, "LOCK_UN")];
const RENAME: &[(u64, &str)] = &[
    (RENAME_NOREPLACE as u64, "RENAME_NOREPLACE"),
    (RENAME_EXCHANGE as u64, "RENAME_EXCHANGE"),
    (RENAME_WHITEOUT as u64, "RENAME_WHITEOUT"),
];
const FALLOC: &[(u64, &str)] = &[
    (FALLOC_FL_KEEP_SIZE as u64, "FALLOC_FL_KEEP_SIZE"),
    (FALLOC_FL_PUNCH_HOLE as u64, "FALLOC_FL_PUNCH_HOLE"),
    (FALLOC_FL_ZERO_RANGE as u64, "FALLOC_FL_ZERO_RANGE"),
];
const IOCTL: &[(u64, &str)] = &[
    (TCGETS as u64, "TCGETS"),
    (TCSETS as u64, "TCSETS"),
    (TCSETSW as u64, "TCSETSW"),
    (TCSETSF as u64, "TCSETSF"),
    (TCGETA as u64, "TCGETA"),
    (TCSETA as u64, "TCSETA"),
    (TCSETAW as u64, "TCSETAW"),
    (TCSETAF as u64, "TCSETAF"),
    (TIOCGPGRP as u64, "TIOCGPGRP"),
    (TIOCSPGRP as u64, "TIOCSPGRP"),
    (TIOCGWINSZ as u64, "TIOCGWINSZ"),
    (TIOCSWINSZ as u64, "TIOCSWINSZ"),
    (TIOCSCTTY as u64, "TIOCSCTTY"),
    (TIOCGPTN as u64, "TIOCGPTN"),
    (TIOCPKT as u64, "TIOCPKT"),
    (TIOCGPKT as u64, "TIOCGPKT"),
    (TIOCSIG as u64, "TIOCSIG"),
    (TIOCGETD as u64, "TIOCGETD"),
    (TIOCSETD as u64, "TIOCSETD"),
    (TIOCGDEV as u64, "TIOCGDEV"),
    (TIOCGEXCL as u64, "TIOCGEXCL"),
    (TIOCSPTLCK as u64, "TIOCSPTLCK"),
    (FIONREAD as u64, "FIONREAD"),
    (FIONBIO as u64, "FIONBIO"),
    (FIOCLEX as u64, "FIOCLEX"),
    (FIONCLEX as u64, "FIONCLEX"),
];
const EPOLL_OPS: &[(u64, &str)] = &[
    (EPOLL_CTL_ADD as u64, "EPOLL_CTL_ADD"),
    (EPOLL_CTL_DEL as u64, "EPOLL_CTL_DEL"),
    (EPOLL_CTL_MOD as u64, "EPOLL_CTL_MOD"),
];
const CLOEXEC: &[(u64, &str)] = &[(O_CLOEXEC as u64, "EPOLL_CLOEXEC")];
const EFD: &[(u64, &str)] = &[
    (EFD_SEMAPHORE as u64, "EFD_SEMAPHORE"),
    (EFD_NONBLOCK as u64, "EFD_NONBLOCK"),
    (EFD_CLOEXEC as u64, "EFD_CLOEXEC"),
];
const TFD: &[(u64, &str)] =
    &[(TFD_NONBLOCK as u64, "TFD_NONBLOCK"), (TFD_CLOEXEC as u64, "TFD_CLOEXEC")];
const MFD: &[(u64, &str)] =
    &[(MFD_CLOEXEC as u64, "MFD_CLOEXEC"), (MFD_ALLOW_SEALING as u64, "MFD_ALLOW_SEALING")];
const MODE: Arg = Mode;

pub(super) static ROWS: &[Row] = crate::syscall_rows! {
    0 read(fd: Fd, buf: OutBuf, count: Size) = rw::read, Full, "";
    1 write(fd: Fd, buf: InBuf, count: Size) = rw::write, Full, "";
    2 open(path: Path, flags: Flags(O), mode: MODE) = open::open, Full, "";
    3 close(fd: Fd) = descriptor::close, Full, "";
    4 stat(path: Path, out: OutStat) = stat::stat, Full, "";
    5 fstat(fd: Fd, out: OutStat) = stat::fstat, Full, "";
    6 lstat(path: Path, out: OutStat) = stat::lstat, Full, "";
    7 poll(fds: Ptr, count: Int, timeout: Int) = poll::poll, Full, "";
    8 lseek(fd: Fd, offset: Long, whence: Enum(SEEK)) = rw::lseek, Full, "";
    16 ioctl(fd: Fd, request: Enum(IOCTL), arg: Ptr) = ioctl::ioctl, Partial, "terminals, FIONREAD, FIONBIO, FIOCLEX; ENOTTY otherwise";
    17 pread64(fd: Fd, buf: OutBuf, count: Size, offset: Long) = rw::pread64, Full, "";
    18 pwrite64(fd: Fd, buf: InBuf, count: Size, offset: Long) = rw::pwrite64, Full, "";
    19 readv(fd: Fd, iov: Ptr, count: Size) = rw::readv, Full, "";
    20 writev(fd: Fd, iov: Iovec, count: Size) = rw::writev, Full, "";
    21 access(path: Path, mode: Flags(ACCESS)) = path::access, Full, "";
    22 pipe(fds: OutFdPair) = poll::pipe, Full, "";
    23 select(count: Int, read: Ptr, write: Ptr, except: Ptr, timeout: Ptr) = poll::select, Full, "";
    32 dup(fd: Fd) = descriptor::dup, Full, "";
    33 dup2(old: Fd, new: Fd) = descriptor::dup2, Full, "";
    40 sendfile(to: Fd, from: Fd, offset: Ptr, count: Size) = splice::sendfile, Full, "";
    72 fcntl(fd: Fd, command: Enum(FCNTL), arg: Hex) = descriptor::fcntl, Full, "";
    73 flock(fd: Fd, operation: Flags(FLOCK)) = lock::flock, Full, "";
    74 fsync(fd: Fd) = descriptor::fsync, Full, "";
    75 fdatasync(fd: Fd) = descriptor::fsync, Full, "";
    76 truncate(path: Path, len: Long) = attr::truncate, Full, "";
    77 ftruncate(fd: Fd, len: Long) = attr::ftruncate, Full, "";
    78 getdents(fd: Fd, buf: Ptr, count: Size) = dir::getdents, Full, "";
    79 getcwd(buf: OutBuf, size: Size) = dir::getcwd, Full, "";
    80 chdir(path: Path) = dir::chdir, Full, "";
    81 fchdir(fd: Fd) = dir::fchdir, Full, "";
    82 rename(old: Path, new: Path) = path::rename, Full, "";
    83 mkdir(path: Path, mode: MODE) = path::mkdir, Full, "";
    84 rmdir(path: Path) = path::rmdir, Full, "";
    85 creat(path: Path, mode: MODE) = open::creat, Full, "";
    86 link(old: Path, new: Path) = path::link, Full, "";
    87 unlink(path: Path) = path::unlink, Full, "";
    88 symlink(target: Path, path: Path) = path::symlink, Full, "";
    89 readlink(path: Path, buf: OutBuf, size: Size) = path::readlink, Full, "";
    90 chmod(path: Path, mode: MODE) = attr::chmod, Full, "";
    91 fchmod(fd: Fd, mode: MODE) = attr::fchmod, Full, "";
    92 chown(path: Path, uid: Int, gid: Int) = attr::chown, Full, "";
    93 fchown(fd: Fd, uid: Int, gid: Int) = attr::fchown, Full, "";
    94 lchown(path: Path, uid: Int, gid: Int) = attr::lchown, Full, "";
    95 umask(mask: MODE) = dir::umask, Full, "";
    132 utime(path: Path, times: Ptr) = attr::utime, Full, "";
    133 mknod(path: Path, mode: MODE, dev: Hex) = path::mknod, Full, "";
    137 statfs(path: Path, out: Ptr) = stat::statfs, Full, "";
    138 fstatfs(fd: Fd, out: Ptr) = stat::fstatfs, Full, "";
    155 pivot_root(new: Path, old: Path) = mount::not_permitted, Refused, "EPERM: needs CAP_SYS_ADMIN";
    161 chroot(path: Path) = dir::chroot, Full, "";
    162 sync() = descriptor::sync, Full, "";
    165 mount(source: Path, target: Path, fstype: Path, flags: Hex, data: Ptr) = mount::mount, Refused, "EPERM: needs CAP_SYS_ADMIN";
    166 umount2(target: Path, flags: Hex) = mount::umount2, Refused, "EPERM: needs CAP_SYS_ADMIN";
    179 quotactl(command: Hex, special: Path, id: Int, addr: Ptr) = mount::not_permitted, Refused, "EPERM: needs CAP_SYS_ADMIN";
    187 readahead(fd: Fd, offset: Long, count: Size) = descriptor::readahead, Full, "";
    188 setxattr(path: Path, name: Path, value: Ptr, size: Size, flags: Hex) = xattr::setxattr, Full, "";
    189 lsetxattr(path: Path, name: Path, value: Ptr, size: Size, flags: Hex) = xattr::lsetxattr, Full, "";
    190 fsetxattr(fd: Fd, name: Path, value: Ptr, size: Size, flags: Hex) = xattr::fsetxattr, Full, "";
    191 getxattr(path: Path, name: Path, value: Ptr, size: Size) = xattr::getxattr, Full, "";
    192 lgetxattr(path: Path, name: Path, value: Ptr, size: Size) = xattr::lgetxattr, Full, "";
    193 fgetxattr(fd: Fd, name: Path, value: Ptr, size: Size) = xattr::fgetxattr, Full, "";
    194 listxattr(path: Path, list: Ptr, size: Size) = xattr::listxattr, Full, "";
    195 llistxattr(path: Path, list: Ptr, size: Size) = xattr::llistxattr, Full, "";
    196 flistxattr(fd: Fd, list: Ptr, size: Size) = xattr::flistxattr, Full, "";
    197 removexattr(path: Path, name: Path) = xattr::removexattr, Full, "";
    198 lremovexattr(path: Path, name: Path) = xattr::lremovexattr, Full, "";
    199 fremovexattr(fd: Fd, name: Path) = xattr::fremovexattr, Full, "";
    206 io_setup(events: Int, ctx: Ptr) = aio::io_setup, Full, "";
    207 io_destroy(ctx: Ptr) = aio::io_destroy, Full, "";
    208 io_getevents(ctx: Ptr, min: Long, max: Long, events: Ptr, timeout: Timespec) = aio::io_getevents, Full, "";
    209 io_submit(ctx: Ptr, count: Long, list: Ptr) = aio::io_submit, Full, "all but polls are over when submitted";
    210 io_cancel(ctx: Ptr, io: Ptr, result: Ptr) = aio::io_cancel, Full, "";
    213 epoll_create(size: Int) = epoll::epoll_create, Full, "";
    217 getdents64(fd: Fd, buf: Ptr, count: Size) = dir::getdents64, Full, "";
    221 fadvise64(fd: Fd, offset: Long, len: Long, advice: Int) = descriptor::fadvise, Full, "";
    232 epoll_wait(fd: Fd, events: Ptr, max: Int, timeout: Int) = epoll::epoll_wait, Full, "";
    233 epoll_ctl(fd: Fd, op: Enum(EPOLL_OPS), target: Fd, event: Ptr) = epoll::epoll_ctl, Full, "";
    235 utimes(path: Path, times: Ptr) = attr::utimes, Full, "";
    253 inotify_init() = event::inotify_init, Full, "";
    254 inotify_add_watch(fd: Fd, path: Path, mask: Hex) = event::inotify_add_watch, Full, "";
    255 inotify_rm_watch(fd: Fd, wd: Int) = event::inotify_rm_watch, Full, "";
    257 openat(dir: DirFd, path: Path, flags: Flags(O), mode: MODE) = open::openat, Full, "";
    258 mkdirat(dir: DirFd, path: Path, mode: MODE) = path::mkdirat, Full, "";
    259 mknodat(dir: DirFd, path: Path, mode: MODE, dev: Hex) = path::mknodat, Full, "";
    260 fchownat(dir: DirFd, path: Path, uid: Int, gid: Int, flags: Flags(AT)) = attr::fchownat, Full, "";
    261 futimesat(dir: DirFd, path: Path, times: Ptr) = attr::futimesat, Full, "";
    262 newfstatat(dir: DirFd, path: Path, out: OutStat, flags: Flags(AT)) = stat::newfstatat, Full, "";
    263 unlinkat(dir: DirFd, path: Path, flags: Flags(REMOVE_AT)) = path::unlinkat, Full, "";
    264 renameat(olddir: DirFd, old: Path, newdir: DirFd, new: Path) = path::renameat, Full, "";
    265 linkat(olddir: DirFd, old: Path, newdir: DirFd, new: Path, flags: Flags(AT)) = path::linkat, Full, "";
    266 symlinkat(target: Path, dir: DirFd, path: Path) = path::symlinkat, Full, "";
    267 readlinkat(dir: DirFd, path: Path, buf: OutBuf, size: Size) = path::readlinkat, Full, "";
    268 fchmodat(dir: DirFd, path: Path, mode: MODE) = attr::fchmodat, Full, "";
    269 faccessat(dir: DirFd, path: Path, mode: Flags(ACCESS)) = path::faccessat, Full, "";
    270 pselect6(count: Int, read: Ptr, write: Ptr, except: Ptr, timeout: Timespec, mask: Ptr) = poll::pselect6, Full, "";
    271 ppoll(fds: Ptr, count: Int, timeout: Timespec, mask: SigSet, size: Size) = poll::ppoll, Full, "";
    275 splice(from: Fd, from_offset: Ptr, to: Fd, to_offset: Ptr, len: Size, flags: Hex) = splice::splice, Full, "";
    276 tee(from: Fd, to: Fd, len: Size, flags: Hex) = splice::tee, Full, "";
    277 sync_file_range(fd: Fd, offset: Long, count: Long, flags: Hex) = descriptor::sync_file_range, Full, "";
    278 vmsplice(fd: Fd, iov: Iovec, count: Size, flags: Hex) = splice::vmsplice, Full, "";
    280 utimensat(dir: DirFd, path: Path, times: Ptr, flags: Flags(AT)) = attr::utimensat, Full, "";
    281 epoll_pwait(fd: Fd, events: Ptr, max: Int, timeout: Int, mask: SigSet, size: Size) = epoll::epoll_pwait, Full, "";
    282 signalfd(fd: Fd, mask: SigSet, size: Size) = event::signalfd, Full, "";
    283 timerfd_create(clock: Int, flags: Flags(TFD)) = event::timerfd_create, Full, "";
    284 eventfd(count: Int) = event::eventfd, Full, "";
    285 fallocate(fd: Fd, mode: Flags(FALLOC), offset: Long, len: Long) = attr::fallocate, Partial, "no collapse, insert or unshare";
    286 timerfd_settime(fd: Fd, flags: Hex, new: Ptr, old: Ptr) = event::timerfd_settime, Partial, "a change of the clock is not seen";
    287 timerfd_gettime(fd: Fd, value: Ptr) = event::timerfd_gettime, Full, "";
    289 signalfd4(fd: Fd, mask: SigSet, size: Size, flags: Flags(O)) = event::signalfd4, Full, "";
    290 eventfd2(count: Int, flags: Flags(EFD)) = event::eventfd2, Full, "";
    291 epoll_create1(flags: Flags(CLOEXEC)) = epoll::epoll_create1, Full, "";
    292 dup3(old: Fd, new: Fd, flags: Flags(O)) = descriptor::dup3, Full, "";
    293 pipe2(fds: OutFdPair, flags: Flags(O)) = poll::pipe2, Full, "";
    294 inotify_init1(flags: Flags(O)) = event::inotify_init1, Full, "";
    295 preadv(fd: Fd, iov: Ptr, count: Size, offset: Long) = rw::preadv, Full, "";
    296 pwritev(fd: Fd, iov: Iovec, count: Size, offset: Long) = rw::pwritev, Full, "";
    300 fanotify_init(flags: Hex, event_flags: Hex) = mount::not_permitted, Refused, "EPERM: needs CAP_SYS_ADMIN";
    301 fanotify_mark(fd: Fd, flags: Hex, mask: Hex, dir: DirFd, path: Path) = mount::fanotify_mark, Refused, "no instance can be made: fanotify_init(2) needs CAP_SYS_ADMIN";
    303 name_to_handle_at(dir: DirFd, path: Path, handle: Ptr, mount: Ptr, flags: Flags(AT)) = handle::name_to_handle_at, Full, "";
    304 open_by_handle_at(fd: Fd, handle: Ptr, flags: Hex) = mount::not_permitted, Refused, "EPERM: needs CAP_DAC_READ_SEARCH";
    306 syncfs(fd: Fd) = descriptor::syncfs, Full, "";
    316 renameat2(olddir: DirFd, old: Path, newdir: DirFd, new: Path, flags: Flags(RENAME)) = path::renameat2, Full, "";
    319 memfd_create(name: Path, flags: Flags(MFD)) = event::memfd_create, Partial, "no huge pages";
    326 copy_file_range(from: Fd, from_offset: Ptr, to: Fd, to_offset: Ptr, len: Size, flags: Hex) = splice::copy_file_range, Full, "";
    327 preadv2(fd: Fd, iov: Ptr, count: Size, offset: Long, high: Long, flags: Hex) = rw::preadv2, Full, "";
    328 pwritev2(fd: Fd, iov: Iovec, count: Size, offset: Long, high: Long, flags: Hex) = rw::pwritev2, Full, "";
    333 io_pgetevents(ctx: Ptr, min: Long, max: Long, events: Ptr, timeout: Timespec, mask: Ptr) = aio::io_pgetevents, Full, "";
    332 statx(dir: DirFd, path: Path, flags: Flags(AT), mask: Hex, out: Ptr) = stat::statx, Full, "";
    428 open_tree(dir: DirFd, path: Path, flags: Hex) = mount::not_permitted, Refused, "EPERM: needs CAP_SYS_ADMIN";
    429 move_mount(from: DirFd, from_path: Path, to: DirFd, to_path: Path, flags: Hex) = mount::not_permitted, Refused, "EPERM: needs CAP_SYS_ADMIN";
    430 fsopen(name: Path, flags: Hex) = mount::not_permitted, Refused, "EPERM: needs CAP_SYS_ADMIN";
    431 fsconfig(fd: Fd, command: Int, key: Path, value: Ptr, aux: Int) = mount::not_permitted, Refused, "EPERM: needs CAP_SYS_ADMIN";
    432 fsmount(fd: Fd, flags: Hex, attributes: Hex) = mount::not_permitted, Refused, "EPERM: needs CAP_SYS_ADMIN";
    433 fspick(dir: DirFd, path: Path, flags: Hex) = mount::not_permitted, Refused, "EPERM: needs CAP_SYS_ADMIN";
    436 close_range(first: Int, last: Int, flags: Hex) = descriptor::close_range, Full, "";
    437 openat2(dir: DirFd, path: Path, how: Ptr, size: Size) = open::openat2, Full, "";
    439 faccessat2(dir: DirFd, path: Path, mode: Flags(ACCESS), flags: Flags(ACCESS_AT)) = path::faccessat2, Full, "";
    441 epoll_pwait2(fd: Fd, events: Ptr, max: Int, timeout: Timespec, mask: SigSet, size: Size) = epoll::epoll_pwait2, Full, "";
    442 mount_setattr(dir: DirFd, path: Path, flags: Hex, attr: Ptr, size: Size) = mount::not_permitted, Refused, "EPERM: needs CAP_SYS_ADMIN";
    452 fchmodat2(dir: DirFd, path: Path, mode: MODE, flags: Flags(AT)) = attr::fchmodat2, Full, "";
};
