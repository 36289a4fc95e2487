//! What proc(5) shows: the lists of files, for the whole system and for each task.

/// A file of the whole system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Text that never changes.
    Text(&'static str),
    /// Text that the kernel makes, by its path.
    Made,
    /// A symbolic link.
    Link(&'static str),
}

/// Files of the whole system: path below `/proc`, permission bits, content.
pub const SYSTEM: &[(&str, u32, System)] = &[
    ("buddyinfo", 0o444, System::Made),
    ("cgroups", 0o444, System::Text(CGROUPS)),
    ("cmdline", 0o444, System::Text("BOOT_IMAGE=/boot/vmlinuz\n")),
    ("consoles", 0o444, System::Text("")),
    ("cpuinfo", 0o444, System::Made),
    ("crypto", 0o444, System::Text("")),
    ("devices", 0o444, System::Text(DEVICES)),
    ("diskstats", 0o444, System::Text("")),
    ("execdomains", 0o444, System::Text("0-0\tLinux           \t[kernel]\n")),
    ("fb", 0o444, System::Text("")),
    ("filesystems", 0o444, System::Text(FILESYSTEMS)),
    ("interrupts", 0o444, System::Text("           CPU0       \n")),
    ("iomem", 0o400, System::Text("")),
    ("ioports", 0o400, System::Text("")),
    ("kallsyms", 0o444, System::Text("")),
    ("kcore", 0o400, System::Text("")),
    ("key-users", 0o444, System::Text("    0:     1 1/1 0/1000000 0/25000000\n")),
    ("keys", 0o444, System::Text("")),
    ("loadavg", 0o444, System::Made),
    ("locks", 0o444, System::Made),
    ("meminfo", 0o444, System::Made),
    ("misc", 0o444, System::Text("")),
    ("modules", 0o444, System::Text("")),
    ("mounts", 0o777, System::Link("self/mounts")),
    ("net", 0o777, System::Link("self/net")),
    ("partitions", 0o444, System::Text("major minor  #blocks  name\n\n")),
    ("slabinfo", 0o400, System::Made),
    ("softirqs", 0o444, System::Text(SOFTIRQS)),
    ("stat", 0o444, System::Made),
    ("swaps", 0o444, System::Text("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")),
    ("sys/fs/aio-max-nr", 0o644, System::Text("65536\n")),
    ("sys/fs/aio-nr", 0o444, System::Made),
    ("sys/fs/file-max", 0o644, System::Text("9223372036854775807\n")),
    ("sys/fs/file-nr", 0o444, System::Text("1024\t0\t9223372036854775807\n")),
    ("sys/fs/inotify/max_queued_events", 0o644, System::Text("16384\n")),
    ("sys/fs/inotify/max_user_instances", 0o644, System::Text("128\n")),
    ("sys/fs/inotify/max_user_watches", 0o644, System::Text("65536\n")),
    ("sys/fs/mqueue/msg_default", 0o644, System::Text("10\n")),
    ("sys/fs/mqueue/msg_max", 0o644, System::Text("10\n")),
    ("sys/fs/mqueue/msgsize_default", 0o644, System::Text("8192\n")),
    ("sys/fs/mqueue/msgsize_max", 0o644, System::Text("8192\n")),
    ("sys/fs/mqueue/queues_max", 0o644, System::Text("256\n")),
    ("sys/fs/lease-break-time", 0o644, System::Text("45\n")),
    ("sys/fs/leases-enable", 0o644, System::Text("1\n")),
    ("sys/fs/nr_open", 0o644, System::Text("1048576\n")),
    ("sys/fs/overflowgid", 0o644, System::Text("65534\n")),
    ("sys/fs/overflowuid", 0o644, System::Text("65534\n")),
    ("sys/fs/pipe-max-size", 0o644, System::Text("1048576\n")),
    ("sys/fs/pipe-user-pages-hard", 0o644, System::Text("0\n")),
    ("sys/fs/pipe-user-pages-soft", 0o644, System::Text("16384\n")),
    ("sys/fs/protected_fifos", 0o600, System::Text("1\n")),
    ("sys/fs/protected_hardlinks", 0o600, System::Text("1\n")),
    ("sys/fs/protected_regular", 0o600, System::Text("2\n")),
    ("sys/fs/protected_symlinks", 0o600, System::Text("1\n")),
    ("sys/fs/suid_dumpable", 0o644, System::Text("0\n")),
    ("sys/kernel/cap_last_cap", 0o444, System::Text("40\n")),
    ("sys/kernel/core_pattern", 0o644, System::Text("core\n")),
    ("sys/kernel/core_uses_pid", 0o644, System::Text("0\n")),
    ("sys/kernel/dmesg_restrict", 0o644, System::Text("1\n")),
    ("sys/kernel/domainname", 0o644, System::Made),
    ("sys/kernel/hostname", 0o644, System::Made),
    ("sys/kernel/kptr_restrict", 0o644, System::Text("1\n")),
    ("sys/kernel/msgmax", 0o644, System::Text("8192\n")),
    ("sys/kernel/msgmnb", 0o644, System::Text("16384\n")),
    ("sys/kernel/msgmni", 0o644, System::Text("32000\n")),
    ("sys/kernel/ngroups_max", 0o444, System::Text("65536\n")),
    ("sys/kernel/osrelease", 0o444, System::Made),
    ("sys/kernel/ostype", 0o444, System::Text("Linux\n")),
    ("sys/kernel/overflowgid", 0o644, System::Text("65534\n")),
    ("sys/kernel/overflowuid", 0o644, System::Text("65534\n")),
    ("sys/kernel/panic", 0o644, System::Text("0\n")),
    ("sys/kernel/perf_event_paranoid", 0o644, System::Text("2\n")),
    ("sys/kernel/pid_max", 0o644, System::Text("4194304\n")),
    ("sys/kernel/random/boot_id", 0o444, System::Made),
    ("sys/kernel/random/entropy_avail", 0o444, System::Text("256\n")),
    ("sys/kernel/random/poolsize", 0o444, System::Text("256\n")),
    ("sys/kernel/random/uuid", 0o444, System::Made),
    ("sys/kernel/randomize_va_space", 0o644, System::Text("0\n")),
    ("sys/kernel/seccomp/actions_avail", 0o444, System::Text("\n")),
    ("sys/kernel/sem", 0o644, System::Text("32000\t1024000000\t500\t32000\n")),
    ("sys/kernel/shm_rmid_forced", 0o644, System::Text("0\n")),
    ("sys/kernel/shmall", 0o644, System::Text("18446744073692774399\n")),
    ("sys/kernel/shmmax", 0o644, System::Text("18446744073692774399\n")),
    ("sys/kernel/shmmni", 0o644, System::Text("4096\n")),
    ("sys/kernel/tainted", 0o644, System::Text("0\n")),
    ("sys/kernel/threads-max", 0o644, System::Text("8192\n")),
    ("sys/kernel/version", 0o444, System::Made),
    ("sys/net/core/somaxconn", 0o644, System::Text("4096\n")),
    ("sys/net/ipv4/ip_local_port_range", 0o644, System::Text("32768\t60999\n")),
    ("sys/net/ipv6/conf/all/disable_ipv6", 0o644, System::Text("1\n")),
    ("sys/vm/dirty_background_ratio", 0o644, System::Text("10\n")),
    ("sys/vm/dirty_ratio", 0o644, System::Text("20\n")),
    ("sys/vm/drop_caches", 0o200, System::Text("0\n")),
    ("sys/vm/max_map_count", 0o644, System::Text("65530\n")),
    ("sys/vm/mmap_min_addr", 0o644, System::Text("65536\n")),
    ("sys/vm/min_free_kbytes", 0o644, System::Text("0\n")),
    ("sys/vm/nr_hugepages", 0o644, System::Text("0\n")),
    ("sys/vm/overcommit_memory", 0o644, System::Text("1\n")),
    ("sys/vm/overcommit_ratio", 0o644, System::Text("50\n")),
    ("sys/vm/swappiness", 0o644, System::Text("60\n")),
    ("sysvipc/msg", 0o444, System::Made),
    ("sysvipc/sem", 0o444, System::Made),
    ("sysvipc/shm", 0o444, System::Made),
    ("timer_list", 0o400, System::Text("")),
    ("uptime", 0o444, System::Made),
    ("version", 0o444, System::Made),
    ("vmallocinfo", 0o400, System::Text("")),
    ("vmstat", 0o444, System::Made),
    ("zoneinfo", 0o444, System::Made),
];

const CGROUPS: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\ncpu\t0\t1\t1\n\
cpuacct\t0\t1\t1\nmemory\t0\t1\t1\npids\t0\t1\t1\n";
const SOFTIRQS: &str = "                    CPU0       \n          HI:          0\n       TIMER:          0\n\
\x20     NET_TX:          0\n      NET_RX:          0\n       BLOCK:          0\n    IRQ_POLL:          0\n\
\x20    TASKLET:          0\n       SCHED:          0\n     HRTIMER:          0\n         RCU:          0\n";
const DEVICES: &str = "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n\
136 pts\n\nBlock devices:\n";
const FILESYSTEMS: &str = "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevpts\nnodev\tmqueue\nnodev\toverlay\nnodev\tpipefs\n\
nodev\tsockfs\n\terofs\n";

/// A file of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Text that the kernel makes, by its name.
    Made,
    /// Always empty or constant text.
    Text(&'static str),
    /// A magic link: `cwd`, `exe`, `root`.
    Place,
    /// `fd/`.
    FdDir,
    /// `fdinfo/`.
    FdInfoDir,
    /// `task/`, only for the process.
    TaskDir,
    /// `ns/`.
    NsDir,
    /// `net/`.
    NetDir,
    /// The mount table in one of its forms.
    Mounts,
}

/// Files of each task: name, permission bits, content.
pub const TASK: &[(&str, u32, Task)] = &[
    ("attr", 0o555, Task::NetDir),
    ("auxv", 0o400, Task::Made),
    ("cgroup", 0o444, Task::Text("0::/\n")),
    ("cmdline", 0o444, Task::Made),
    ("comm", 0o644, Task::Made),
    ("coredump_filter", 0o644, Task::Text("00000033\n")),
    ("cwd", 0o777, Task::Place),
    ("environ", 0o400, Task::Made),
    ("exe", 0o777, Task::Place),
    ("fd", 0o500, Task::FdDir),
    ("fdinfo", 0o555, Task::FdInfoDir),
    ("gid_map", 0o644, Task::Text("         0          0 4294967295\n")),
    ("io", 0o400, Task::Made),
    ("limits", 0o444, Task::Made),
    ("loginuid", 0o644, Task::Text("4294967295")),
    ("maps", 0o444, Task::Made),
    ("mountinfo", 0o444, Task::Mounts),
    ("mounts", 0o444, Task::Mounts),
    ("mountstats", 0o400, Task::Mounts),
    ("net", 0o555, Task::NetDir),
    ("ns", 0o511, Task::NsDir),
    ("oom_adj", 0o644, Task::Made),
    ("oom_score", 0o444, Task::Made),
    ("oom_score_adj", 0o644, Task::Made),
    ("personality", 0o400, Task::Text("00000000\n")),
    ("root", 0o777, Task::Place),
    ("sched", 0o644, Task::Made),
    ("schedstat", 0o444, Task::Made),
    ("sessionid", 0o444, Task::Text("4294967295")),
    ("setgroups", 0o644, Task::Text("allow\n")),
    ("smaps", 0o444, Task::Made),
    ("smaps_rollup", 0o444, Task::Made),
    ("stack", 0o400, Task::Text("")),
    ("stat", 0o444, Task::Made),
    ("statm", 0o444, Task::Made),
    ("status", 0o444, Task::Made),
    ("syscall", 0o400, Task::Made),
    ("task", 0o555, Task::TaskDir),
    ("timers", 0o444, Task::Text("")),
    ("timerslack_ns", 0o666, Task::Made),
    ("uid_map", 0o644, Task::Text("         0          0 4294967295\n")),
    ("wchan", 0o444, Task::Text("0")),
];

/// Namespaces in `ns/`, with the numbers of the initial ones.
pub const NAMESPACES: &[(&str, u64)] = &[
    ("cgroup", 4026531835),
    ("ipc", 4026531839),
    ("mnt", 4026531841),
    ("net", 4026531840),
    ("pid", 4026531836),
    ("pid_for_children", 4026531836),
    ("time", 4026531834),
    ("user", 4026531837),
    ("uts", 4026531838),
];
