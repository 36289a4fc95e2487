//! System V and POSIX interprocess communication (`linux/ipc.h`, `shm.h`, `sem.h`, `msg.h`, `mqueue.h`).

crate::pod! {
    /// `struct ipc64_perm`.
    pub struct IpcPerm {
        /// Key.
        pub key: i32,
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Creator.
        pub cuid: u32,
        /// Creator's group.
        pub cgid: u32,
        /// Permission bits and `SHM_DEST`, `SHM_LOCKED`.
        pub mode: u32,
        /// How often the slot has been used.
        pub seq: u16,
        /// Padding.
        pub pad: [u16; 3],
        /// Unused.
        pub unused: [u64; 2],
    }
    /// `struct shmid64_ds`.
    pub struct ShmidDs {
        /// Permissions.
        pub perm: IpcPerm,
        /// Size in bytes.
        pub segsz: u64,
        /// Last shmat.
        pub atime: i64,
        /// Last shmdt.
        pub dtime: i64,
        /// Last change.
        pub ctime: i64,
        /// Creator.
        pub cpid: i32,
        /// Last operation.
        pub lpid: i32,
        /// Attachments.
        pub nattch: u64,
        /// Unused.
        pub unused: [u64; 2],
    }
    /// `struct shminfo64` (`IPC_INFO`).
    pub struct ShmInfo {
        /// Largest segment.
        pub shmmax: u64,
        /// Smallest segment.
        pub shmmin: u64,
        /// Most segments.
        pub shmmni: u64,
        /// Most segments for a process.
        pub shmseg: u64,
        /// Most pages in all.
        pub shmall: u64,
        /// Unused.
        pub unused: [u64; 4],
    }
    /// `struct shm_info` (`SHM_INFO`).
    pub struct ShmUse {
        /// Segments.
        pub used_ids: i32,
        /// Padding.
        pub pad: i32,
        /// Pages.
        pub total: u64,
        /// Resident pages.
        pub resident: u64,
        /// Swapped pages, and two counts that are always 0.
        pub swap: [u64; 3],
    }
    /// `struct sembuf`.
    pub struct Sembuf {
        /// Index of the semaphore.
        pub num: u16,
        /// What is added; 0 waits for zero.
        pub op: i16,
        /// `IPC_NOWAIT`, `SEM_UNDO`.
        pub flags: i16,
    }
    /// `struct semid64_ds`.
    pub struct SemidDs {
        /// Permissions.
        pub perm: IpcPerm,
        /// Last semop.
        pub otime: i64,
        /// Unused.
        pub unused1: u64,
        /// Last change.
        pub ctime: i64,
        /// Unused.
        pub unused2: u64,
        /// Semaphores.
        pub nsems: u64,
        /// Unused.
        pub unused3: [u64; 2],
    }
    /// `struct seminfo` (`IPC_INFO`, `SEM_INFO`).
    pub struct SemInfo {
        /// Unused.
        pub semmap: i32,
        /// Most sets.
        pub semmni: i32,
        /// Most semaphores.
        pub semmns: i32,
        /// Unused.
        pub semmnu: i32,
        /// Most semaphores in a set.
        pub semmsl: i32,
        /// Most operations in a call.
        pub semopm: i32,
        /// Unused.
        pub semume: i32,
        /// Unused; sets in use (`SEM_INFO`).
        pub semusz: i32,
        /// Largest value.
        pub semvmx: i32,
        /// Largest undo value; semaphores in use (`SEM_INFO`).
        pub semaem: i32,
    }
    /// `struct msqid64_ds`.
    pub struct MsqidDs {
        /// Permissions.
        pub perm: IpcPerm,
        /// Last msgsnd.
        pub stime: i64,
        /// Last msgrcv.
        pub rtime: i64,
        /// Last change.
        pub ctime: i64,
        /// Bytes queued.
        pub cbytes: u64,
        /// Messages queued.
        pub qnum: u64,
        /// Most bytes queued.
        pub qbytes: u64,
        /// Last sender.
        pub lspid: i32,
        /// Last receiver.
        pub lrpid: i32,
        /// Unused.
        pub unused: [u64; 2],
    }
    /// `struct msginfo` (`IPC_INFO`, `MSG_INFO`).
    pub struct MsgInfo {
        /// KiB of a pool; queues in use (`MSG_INFO`).
        pub msgpool: i32,
        /// Unused; messages in use (`MSG_INFO`).
        pub msgmap: i32,
        /// Longest message.
        pub msgmax: i32,
        /// Most bytes in a queue.
        pub msgmnb: i32,
        /// Most queues.
        pub msgmni: i32,
        /// Unused.
        pub msgssz: i32,
        /// Unused; bytes in use (`MSG_INFO`).
        pub msgtql: i32,
        /// Unused.
        pub msgseg: u16,
        /// Padding.
        pub pad: u16,
    }
    /// `struct mq_attr`.
    pub struct MqAttr {
        /// `O_NONBLOCK`.
        pub flags: i64,
        /// Most messages.
        pub maxmsg: i64,
        /// Longest message.
        pub msgsize: i64,
        /// Messages queued.
        pub curmsgs: i64,
        /// Unused.
        pub reserved: [i64; 4],
    }
}

/// Key of an object that no other key finds.
pub const IPC_PRIVATE: i32 = 0;
/// Make the object if it is not there.
pub const IPC_CREAT: u32 = 0o1000;
/// Fail if it is there.
pub const IPC_EXCL: u32 = 0o2000;
/// Do not wait.
pub const IPC_NOWAIT: u32 = 0o4000;
/// Remove.
pub const IPC_RMID: i32 = 0;
/// Change owner and permissions.
pub const IPC_SET: i32 = 1;
/// State of an object.
pub const IPC_STAT: i32 = 2;
/// Limits.
pub const IPC_INFO: i32 = 3;

/// shmget: huge pages.
pub const SHM_HUGETLB: u32 = 0o4000;
/// shmat: read only.
pub const SHM_RDONLY: u32 = 0o10000;
/// shmat: round the address down.
pub const SHM_RND: u32 = 0o20000;
/// shmat: replace what is mapped there.
pub const SHM_REMAP: u32 = 0o40000;
/// shmat: may be executed.
pub const SHM_EXEC: u32 = 0o100_000;
/// Mode: goes with the last attachment.
pub const SHM_DEST: u32 = 0o1000;
/// Mode: locked in memory.
pub const SHM_LOCKED: u32 = 0o2000;
/// shmctl: lock.
pub const SHM_LOCK: i32 = 11;
/// shmctl: unlock.
pub const SHM_UNLOCK: i32 = 12;
/// shmctl: state by index.
pub const SHM_STAT: i32 = 13;
/// shmctl: use of resources.
pub const SHM_INFO: i32 = 14;
/// shmctl: state by index without a check of permissions.
pub const SHM_STAT_ANY: i32 = 15;

/// semop: undo at the process's end.
pub const SEM_UNDO: i16 = 0x1000;
/// semctl: process of the last operation.
pub const GETPID: i32 = 11;
/// semctl: value.
pub const GETVAL: i32 = 12;
/// semctl: all values.
pub const GETALL: i32 = 13;
/// semctl: waiters for an increase.
pub const GETNCNT: i32 = 14;
/// semctl: waiters for zero.
pub const GETZCNT: i32 = 15;
/// semctl: set a value.
pub const SETVAL: i32 = 16;
/// semctl: set all values.
pub const SETALL: i32 = 17;
/// semctl: state by index.
pub const SEM_STAT: i32 = 18;
/// semctl: use of resources.
pub const SEM_INFO: i32 = 19;
/// semctl: state by index without a check of permissions.
pub const SEM_STAT_ANY: i32 = 20;

/// msgrcv: cut messages that are too long.
pub const MSG_NOERROR: u32 = 0o10000;
/// msgrcv: any type but this.
pub const MSG_EXCEPT: u32 = 0o20000;
/// msgrcv: copy by position.
pub const MSG_COPY: u32 = 0o40000;
/// msgctl: state by index.
pub const MSG_STAT: i32 = 11;
/// msgctl: use of resources.
pub const MSG_INFO: i32 = 12;
/// msgctl: state by index without a check of permissions.
pub const MSG_STAT_ANY: i32 = 13;

/// One more than the highest priority of a message.
pub const MQ_PRIO_MAX: u32 = 32768;
