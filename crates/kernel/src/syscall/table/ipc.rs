//! System V interprocess communication and POSIX message queues.

use super::{Arg::*, Row};
use crate::syscall::ipc::{mqueue, msg, sem, shm};
use abi::fcntl::*;
use abi::ipc::*;

const OPEN: &[(u64, &str)] = &[
    (O_WRONLY as u64, "O_WRONLY"),
    (O_RDWR as u64, "O_RDWR"),
    (O_CREAT as u64, "O_CREAT"),
    (O_EXCL as u64, "O_EXCL"),
    (O_NONBLOCK as u64, "O_NONBLOCK"),
    (O_CLOEXEC as u64, "O_CLOEXEC"),
    (O_RDONLY as u64, "O_RDONLY"),
];
const GET: &[(u64, &str)] = &[(IPC_CREAT as u64, "IPC_CREAT"), (IPC_EXCL as u64, "IPC_EXCL")];
const SHMAT: &[(u64, &str)] = &[
    (SHM_RDONLY as u64, "SHM_RDONLY"),
    (SHM_RND as u64, "SHM_RND"),
    (SHM_REMAP as u64, "SHM_REMAP"),
    (SHM_EXEC as u64, "SHM_EXEC"),
];
const MSG: &[(u64, &str)] = &[
    (IPC_NOWAIT as u64, "IPC_NOWAIT"),
    (MSG_NOERROR as u64, "MSG_NOERROR"),
    (MSG_EXCEPT as u64, "MSG_EXCEPT"),
    (MSG_COPY as u64, "MSG_COPY"),
];
const SHMCTL: &[(u64, &str)] = &[
    (IPC_RMID as u64, "IPC_RMID"),
    (IPC_SET as u64, "IPC_SET"),
    (IPC_STAT as u64, "IPC_STAT"),
    (IPC_INFO as u64, "IPC_INFO"),
    (SHM_LOCK as u64, "SHM_LOCK"),
    (SHM_UNLOCK as u64, "SHM_UNLOCK"),
    (SHM_STAT as u64, "SHM_STAT"),
    (SHM_INFO as u64, "SHM_INFO"),
    (SHM_STAT_ANY as u64, "SHM_STAT_ANY"),
];
const SEMCTL: &[(u64, &str)] = &[
    (IPC_RMID as u64, "IPC_RMID"),
    (IPC_SET as u64, "IPC_SET"),
    (IPC_STAT as u64, "IPC_STAT"),
    (IPC_INFO as u64, "IPC_INFO"),
    (GETPID as u64, "GETPID"),
    (GETVAL as u64, "GETVAL"),
    (GETALL as u64, "GETALL"),
    (GETNCNT as u64, "GETNCNT"),
    (GETZCNT as u64, "GETZCNT"),
    (SETVAL as u64, "SETVAL"),
    (SETALL as u64, "SETALL"),
    (SEM_STAT as u64, "SEM_STAT"),
    (SEM_INFO as u64, "SEM_INFO"),
    (SEM_STAT_ANY as u64, "SEM_STAT_ANY"),
];
const MSGCTL: &[(u64, &str)] = &[
    (IPC_RMID as u64, "IPC_RMID"),
    (IPC_SET as u64, "IPC_SET"),
    (IPC_STAT as u64, "IPC_STAT"),
    (IPC_INFO as u64, "IPC_INFO"),
    (MSG_STAT as u64, "MSG_STAT"),
    (MSG_INFO as u64, "MSG_INFO"),
    (MSG_STAT_ANY as u64, "MSG_STAT_ANY"),
];

pub(super) static ROWS: &[Row] = crate::syscall_rows! {
    29 shmget(key: Int, size: Size, flags: Flags(GET)) = shm::shmget, Full, "no huge pages: SHM_HUGETLB is EPERM";
    30 shmat(id: Int, addr: Ptr, flags: Flags(SHMAT)) = shm::shmat, Full, "", hex;
    31 shmctl(id: Int, cmd: Enum(SHMCTL), buf: Ptr) = shm::shmctl, Full, "";
    64 semget(key: Int, count: Int, flags: Flags(GET)) = sem::semget, Full, "";
    65 semop(id: Int, ops: Ptr, count: Size) = sem::semop, Full, "";
    66 semctl(id: Int, index: Int, cmd: Enum(SEMCTL), arg: Hex) = sem::semctl, Full, "";
    67 shmdt(addr: Ptr) = shm::shmdt, Full, "";
    68 msgget(key: Int, flags: Flags(GET)) = msg::msgget, Full, "";
    69 msgsnd(id: Int, msg: Ptr, size: Size, flags: Flags(MSG)) = msg::msgsnd, Full, "";
    70 msgrcv(id: Int, msg: Ptr, size: Size, kind: Long, flags: Flags(MSG)) = msg::msgrcv, Full, "";
    71 msgctl(id: Int, cmd: Enum(MSGCTL), buf: Ptr) = msg::msgctl, Full, "";
    220 semtimedop(id: Int, ops: Ptr, count: Size, timeout: Timespec) = sem::semtimedop, Full, "";
    240 mq_open(name: Path, flags: Flags(OPEN), mode: Mode, attr: Ptr) = mqueue::mq_open, Full, "";
    241 mq_unlink(name: Path) = mqueue::mq_unlink, Full, "";
    242 mq_timedsend(fd: Fd, text: Ptr, len: Size, priority: Int, timeout: Timespec) = mqueue::mq_timedsend, Full, "";
    243 mq_timedreceive(fd: Fd, text: Ptr, len: Size, priority: Ptr, timeout: Timespec) = mqueue::mq_timedreceive, Full, "";
    244 mq_notify(fd: Fd, event: Ptr) = mqueue::mq_notify, Full, "";
    245 mq_getsetattr(fd: Fd, new: Ptr, old: Ptr) = mqueue::mq_getsetattr, Full, "";
};
