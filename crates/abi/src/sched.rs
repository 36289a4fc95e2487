//! Tasks: clone flags, wait options, futex operations, prctl, scheduling and system information.

crate::pod! {
    /// `struct clone_args` (clone3(2)), version 2.
    pub struct CloneArgs {
        /// `CLONE_*` flags without the signal.
        pub flags: u64,
        /// Where to store the pidfd.
        pub pidfd: u64,
        /// Where to store the thread id in the child.
        pub child_tid: u64,
        /// Where to store the thread id in the parent.
        pub parent_tid: u64,
        /// Signal on exit.
        pub exit_signal: u64,
        /// Lowest byte of the stack.
        pub stack: u64,
        /// Size of the stack.
        pub stack_size: u64,
        /// Thread-local storage base.
        pub tls: u64,
        /// Array of thread ids to use.
        pub set_tid: u64,
        /// Its length.
        pub set_tid_size: u64,
        /// Cgroup descriptor.
        pub cgroup: u64,
    }
    /// `struct new_utsname`.
    pub struct Utsname {
        /// Operating system.
        pub sysname: [u8; 65],
        /// Host name.
        pub nodename: [u8; 65],
        /// Kernel release.
        pub release: [u8; 65],
        /// Kernel version.
        pub version: [u8; 65],
        /// Hardware.
        pub machine: [u8; 65],
        /// NIS domain.
        pub domainname: [u8; 65],
    }
    /// `struct sysinfo`.
    pub struct Sysinfo {
        /// Seconds since boot.
        pub uptime: i64,
        /// Load averages, 16.16.
        pub loads: [u64; 3],
        /// Memory in units.
        pub totalram: u64,
        /// Free memory in units.
        pub freeram: u64,
        /// Shared memory.
        pub sharedram: u64,
        /// Buffers.
        pub bufferram: u64,
        /// Swap.
        pub totalswap: u64,
        /// Free swap.
        pub freeswap: u64,
        /// Processes.
        pub procs: u16,
        /// Padding.
        pub pad: [u16; 3],
        /// High memory.
        pub totalhigh: u64,
        /// Free high memory.
        pub freehigh: u64,
        /// Bytes in a unit.
        pub mem_unit: u32,
        /// Padding.
        pub pad2: u32,
    }
}

/// The low byte of clone's flags: the signal on exit.
pub const CSIGNAL: u64 = 0xff;
/// Share the address space.
pub const CLONE_VM: u64 = 0x100;
/// Share root, working directory and umask.
pub const CLONE_FS: u64 = 0x200;
/// Share the descriptor table.
pub const CLONE_FILES: u64 = 0x400;
/// Share the signal handlers.
pub const CLONE_SIGHAND: u64 = 0x800;
/// Return a pidfd.
pub const CLONE_PIDFD: u64 = 0x1000;
/// Trace the child too.
pub const CLONE_PTRACE: u64 = 0x2000;
/// The parent waits until the child execs or exits.
pub const CLONE_VFORK: u64 = 0x4000;
/// Same parent as the caller.
pub const CLONE_PARENT: u64 = 0x8000;
/// Same thread group.
pub const CLONE_THREAD: u64 = 0x1_0000;
/// New mount namespace.
pub const CLONE_NEWNS: u64 = 0x2_0000;
/// New time namespace.
pub const CLONE_NEWTIME: u64 = 0x80;
/// New cgroup namespace.
pub const CLONE_NEWCGROUP: u64 = 0x200_0000;
/// New UTS namespace.
pub const CLONE_NEWUTS: u64 = 0x400_0000;
/// New IPC namespace.
pub const CLONE_NEWIPC: u64 = 0x800_0000;
/// New user namespace.
pub const CLONE_NEWUSER: u64 = 0x1000_0000;
/// New PID namespace.
pub const CLONE_NEWPID: u64 = 0x2000_0000;
/// New network namespace.
pub const CLONE_NEWNET: u64 = 0x4000_0000;
/// Share System V semaphore undo lists.
pub const CLONE_SYSVSEM: u64 = 0x4_0000;
/// Set thread-local storage.
pub const CLONE_SETTLS: u64 = 0x8_0000;
/// Store the thread id in the parent.
pub const CLONE_PARENT_SETTID: u64 = 0x10_0000;
/// Clear the thread id in the child's memory at its exit.
pub const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
/// Ignored.
pub const CLONE_DETACHED: u64 = 0x40_0000;
/// Not traceable.
pub const CLONE_UNTRACED: u64 = 0x80_0000;
/// Store the thread id in the child.
pub const CLONE_CHILD_SETTID: u64 = 0x100_0000;
/// Every namespace flag (cgroup, uts, ipc, user, pid, net, mount).
pub const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// clone3: reset handlers to default.
pub const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// clone3: place in a cgroup.
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// wait: do not block.
pub const WNOHANG: i32 = 1;
/// wait: also stopped children.
pub const WUNTRACED: i32 = 2;
/// waitid: exited children.
pub const WEXITED: i32 = 4;
/// wait: also continued children.
pub const WCONTINUED: i32 = 8;
/// waitid: leave the child waitable.
pub const WNOWAIT: i32 = 0x0100_0000;
/// wait: children of this thread only.
pub const WNOTHREAD: i32 = 0x2000_0000;
/// wait: all kinds of children.
pub const WALL: i32 = 0x4000_0000;
/// wait: clone children.
pub const WCLONE: i32 = 0x8000_0000_u32 as i32;
/// waitid: any child.
pub const P_ALL: u64 = 0;
/// waitid: a process.
pub const P_PID: u64 = 1;
/// waitid: a process group.
pub const P_PGID: u64 = 2;
/// waitid: a pidfd.
pub const P_PIDFD: u64 = 3;

/// Futex operations (futex(2)).
pub mod futex {
    /// Wait while the word has a value.
    pub const WAIT: u32 = 0;
    /// Wake waiters.
    pub const WAKE: u32 = 1;
    /// Wake some, move the others.
    pub const REQUEUE: u32 = 3;
    /// As REQUEUE, if the word has a value.
    pub const CMP_REQUEUE: u32 = 4;
    /// Change a second word and wake on both.
    pub const WAKE_OP: u32 = 5;
    /// Take a priority-inheriting lock.
    pub const LOCK_PI: u32 = 6;
    /// Release it.
    pub const UNLOCK_PI: u32 = 7;
    /// Try to take it.
    pub const TRYLOCK_PI: u32 = 8;
    /// Wait with a mask and an absolute time.
    pub const WAIT_BITSET: u32 = 9;
    /// Wake with a mask.
    pub const WAKE_BITSET: u32 = 10;
    /// Wait to be moved to a priority-inheriting lock, and take it.
    pub const WAIT_REQUEUE_PI: u32 = 11;
    /// Move those to it, if the word has a value; the first may have it at once.
    pub const CMP_REQUEUE_PI: u32 = 12;
    /// Take a priority-inheriting lock with an absolute time on a chosen clock.
    pub const LOCK_PI2: u32 = 13;
    /// The word is private to the process.
    pub const PRIVATE_FLAG: u32 = 128;
    /// The absolute time is of CLOCK_REALTIME.
    pub const CLOCK_REALTIME: u32 = 256;
    /// Waiters exist.
    pub const WAITERS: u32 = 0x8000_0000;
    /// The owner died.
    pub const OWNER_DIED: u32 = 0x4000_0000;
    /// The owner's thread id.
    pub const TID_MASK: u32 = 0x3fff_ffff;
}
