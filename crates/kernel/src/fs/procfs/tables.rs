//! What proc(5) shows: the lists of files, for the whole system and for each task.

/// A file of the whole system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Text that never changes.
    Text(&'static str),
    /// Text that the kernel makes, by its path.
    Made,
    /// Nobody may open it: that takes a capability which a container's root has not (CAP_SYSLOG).
    Refused,
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
    ("kmsg", 0o400, System::Refused),
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
    ("sys/fs/dir-notify-enable", 0o644, System::Text("1\n")),
    ("sys/fs/file-max", 0o644, System::Made),
    ("sys/fs/file-nr", 0o444, System::Made),
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
    ("sys/net/core/bpf_jit_enable", 0o644, System::Text("1\n")),
    ("sys/net/core/default_qdisc", 0o644, System::Text("pfifo_fast\n")),
    ("sys/net/core/dev_weight", 0o644, System::Text("64\n")),
    ("sys/net/core/message_burst", 0o644, System::Text("10\n")),
    ("sys/net/core/message_cost", 0o644, System::Text("5\n")),
    ("sys/net/core/netdev_budget", 0o644, System::Text("300\n")),
    ("sys/net/core/netdev_max_backlog", 0o644, System::Text("1000\n")),
    ("sys/net/core/optmem_max", 0o644, System::Text("131072\n")),
    ("sys/net/core/rmem_default", 0o644, System::Text("212992\n")),
    ("sys/net/core/rmem_max", 0o644, System::Text("212992\n")),
    ("sys/net/core/somaxconn", 0o644, System::Text("4096\n")),
    ("sys/net/core/wmem_default", 0o644, System::Text("212992\n")),
    ("sys/net/core/wmem_max", 0o644, System::Text("212992\n")),
    ("sys/net/ipv4/conf/all/accept_local", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/all/accept_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/conf/all/accept_source_route", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/all/arp_announce", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/all/arp_filter", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/all/arp_ignore", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/all/forwarding", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/all/log_martians", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/all/rp_filter", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/all/secure_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/conf/all/send_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/conf/default/accept_local", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/default/accept_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/conf/default/accept_source_route", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/conf/default/arp_announce", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/default/arp_filter", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/default/arp_ignore", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/default/forwarding", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/default/log_martians", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/default/rp_filter", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/default/secure_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/conf/default/send_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/conf/lo/accept_local", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/lo/accept_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/conf/lo/accept_source_route", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/conf/lo/arp_announce", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/lo/arp_filter", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/lo/arp_ignore", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/lo/forwarding", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/lo/log_martians", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/lo/rp_filter", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/conf/lo/secure_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/conf/lo/send_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/icmp_echo_ignore_all", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/icmp_echo_ignore_broadcasts", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/icmp_ignore_bogus_error_responses", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/icmp_ratelimit", 0o644, System::Text("1000\n")),
    ("sys/net/ipv4/icmp_ratemask", 0o644, System::Text("6168\n")),
    ("sys/net/ipv4/igmp_max_memberships", 0o644, System::Text("20\n")),
    ("sys/net/ipv4/ip_default_ttl", 0o644, System::Text("64\n")),
    ("sys/net/ipv4/ip_dynaddr", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/ip_early_demux", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/ip_forward", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/ip_local_port_range", 0o644, System::Text("32768\t60999\n")),
    ("sys/net/ipv4/ip_local_reserved_ports", 0o644, System::Text("\n")),
    ("sys/net/ipv4/ip_no_pmtu_disc", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/ip_nonlocal_bind", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/ip_unprivileged_port_start", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/ipfrag_high_thresh", 0o644, System::Text("4194304\n")),
    ("sys/net/ipv4/ping_group_range", 0o644, System::Text("0\t2147483647\n")),
    ("sys/net/ipv4/tcp_abort_on_overflow", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/tcp_adv_win_scale", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/tcp_allowed_congestion_control", 0o644, System::Text("reno cubic\n")),
    ("sys/net/ipv4/tcp_available_congestion_control", 0o644, System::Text("reno cubic\n")),
    ("sys/net/ipv4/tcp_base_mss", 0o644, System::Text("1024\n")),
    ("sys/net/ipv4/tcp_congestion_control", 0o644, System::Text("cubic\n")),
    ("sys/net/ipv4/tcp_dsack", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/tcp_ecn", 0o644, System::Text("2\n")),
    ("sys/net/ipv4/tcp_fack", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/tcp_fastopen", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/tcp_fin_timeout", 0o644, System::Text("60\n")),
    ("sys/net/ipv4/tcp_keepalive_intvl", 0o644, System::Text("75\n")),
    ("sys/net/ipv4/tcp_keepalive_probes", 0o644, System::Text("9\n")),
    ("sys/net/ipv4/tcp_keepalive_time", 0o644, System::Text("7200\n")),
    ("sys/net/ipv4/tcp_max_orphans", 0o644, System::Text("65536\n")),
    ("sys/net/ipv4/tcp_max_syn_backlog", 0o644, System::Text("1024\n")),
    ("sys/net/ipv4/tcp_max_tw_buckets", 0o644, System::Text("65536\n")),
    ("sys/net/ipv4/tcp_mem", 0o644, System::Text("94401\t125868\t188802\n")),
    ("sys/net/ipv4/tcp_moderate_rcvbuf", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/tcp_mtu_probing", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/tcp_no_metrics_save", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/tcp_orphan_retries", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/tcp_retries1", 0o644, System::Text("3\n")),
    ("sys/net/ipv4/tcp_retries2", 0o644, System::Text("15\n")),
    ("sys/net/ipv4/tcp_rfc1337", 0o644, System::Text("0\n")),
    ("sys/net/ipv4/tcp_rmem", 0o644, System::Text("4096\t131072\t6291456\n")),
    ("sys/net/ipv4/tcp_sack", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/tcp_slow_start_after_idle", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/tcp_syn_retries", 0o644, System::Text("6\n")),
    ("sys/net/ipv4/tcp_synack_retries", 0o644, System::Text("5\n")),
    ("sys/net/ipv4/tcp_syncookies", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/tcp_timestamps", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/tcp_tw_reuse", 0o644, System::Text("2\n")),
    ("sys/net/ipv4/tcp_window_scaling", 0o644, System::Text("1\n")),
    ("sys/net/ipv4/tcp_wmem", 0o644, System::Text("4096\t16384\t4194304\n")),
    ("sys/net/ipv4/udp_mem", 0o644, System::Text("188802\t251736\t377604\n")),
    ("sys/net/ipv4/udp_rmem_min", 0o644, System::Text("4096\n")),
    ("sys/net/ipv4/udp_wmem_min", 0o644, System::Text("4096\n")),
    ("sys/net/ipv6/bindv6only", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/all/accept_dad", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/all/accept_ra", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/all/accept_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/all/addr_gen_mode", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/all/autoconf", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/all/disable_ipv6", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/all/forwarding", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/all/hop_limit", 0o644, System::Text("64\n")),
    ("sys/net/ipv6/conf/all/mtu", 0o644, System::Text("1280\n")),
    ("sys/net/ipv6/conf/all/use_tempaddr", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/default/accept_dad", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/default/accept_ra", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/default/accept_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/default/addr_gen_mode", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/default/autoconf", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/default/disable_ipv6", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/default/forwarding", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/default/hop_limit", 0o644, System::Text("64\n")),
    ("sys/net/ipv6/conf/default/mtu", 0o644, System::Text("1280\n")),
    ("sys/net/ipv6/conf/default/use_tempaddr", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/lo/accept_dad", 0o644, System::Text("-1\n")),
    ("sys/net/ipv6/conf/lo/accept_ra", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/lo/accept_redirects", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/lo/addr_gen_mode", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/lo/autoconf", 0o644, System::Text("1\n")),
    ("sys/net/ipv6/conf/lo/disable_ipv6", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/lo/forwarding", 0o644, System::Text("0\n")),
    ("sys/net/ipv6/conf/lo/hop_limit", 0o644, System::Text("64\n")),
    ("sys/net/ipv6/conf/lo/mtu", 0o644, System::Text("65536\n")),
    ("sys/net/ipv6/conf/lo/use_tempaddr", 0o644, System::Text("-1\n")),
    ("sys/net/ipv6/ip_nonlocal_bind", 0o644, System::Text("0\n")),
    ("sys/net/unix/max_dgram_qlen", 0o644, System::Text("10\n")),
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
    /// A directory without files.
    Empty,
    /// `map_files/`: links to the files that are mapped, by the ranges of addresses.
    MapDir,
    /// `net/`.
    NetDir,
    /// The mount table in one of its forms.
    Mounts,
}

/// Files of each task: name, permission bits, content.
pub const TASK: &[(&str, u32, Task)] = &[
    ("attr", 0o555, Task::Empty),
    ("auxv", 0o400, Task::Made),
    ("cgroup", 0o444, Task::Text("0::/\n")),
    ("clear_refs", 0o200, Task::Made),
    ("cmdline", 0o444, Task::Made),
    ("comm", 0o644, Task::Made),
    ("coredump_filter", 0o644, Task::Made),
    ("cpuset", 0o444, Task::Text("/\n")),
    ("cwd", 0o777, Task::Place),
    ("environ", 0o400, Task::Made),
    ("exe", 0o777, Task::Place),
    ("fd", 0o500, Task::FdDir),
    ("fdinfo", 0o555, Task::FdInfoDir),
    ("gid_map", 0o644, Task::Text("         0          0 4294967295\n")),
    ("io", 0o400, Task::Made),
    ("limits", 0o444, Task::Made),
    ("loginuid", 0o644, Task::Made),
    ("map_files", 0o500, Task::MapDir),
    ("maps", 0o444, Task::Made),
    ("mem", 0o600, Task::Made),
    ("mountinfo", 0o444, Task::Mounts),
    ("mounts", 0o444, Task::Mounts),
    ("mountstats", 0o400, Task::Mounts),
    ("net", 0o555, Task::NetDir),
    ("ns", 0o511, Task::NsDir),
    ("oom_adj", 0o644, Task::Made),
    ("oom_score", 0o444, Task::Made),
    ("oom_score_adj", 0o644, Task::Made),
    ("pagemap", 0o400, Task::Made),
    ("personality", 0o400, Task::Text("00000000\n")),
    ("projid_map", 0o644, Task::Text("         0          0 4294967295\n")),
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

/// Files of `net/`: name, content (`Made` by the path below `/proc`).
pub const NET: &[(&str, System)] = &[
    ("anycast6", System::Text("")),
    (
        "arp",
        System::Text(
            "IP address       HW type     Flags       HW address            Mask     Device\n",
        ),
    ),
    ("dev", System::Made),
    ("dev_mcast", System::Made),
    ("icmp", System::Made),
    ("icmp6", System::Made),
    ("if_inet6", System::Made),
    ("igmp", System::Made),
    ("igmp6", System::Made),
    (
        "ip6_flowlabel",
        System::Text(
            "Label S Owner  Users  Linger Expires  Dst                              Opt\n",
        ),
    ),
    ("ipv6_route", System::Made),
    ("mcfilter", System::Text("Idx Device        MCA        SRC    INC    EXC\n")),
    (
        "mcfilter6",
        System::Text(
            "Idx Device                Multicast Address                   Source Address    INC    EXC\n",
        ),
    ),
    ("netlink", System::Made),
    ("netstat", System::Made),
    ("packet", System::Made),
    ("protocols", System::Made),
    ("psched", System::Text("000003e8 00000040 000f4240 3b9aca00\n")),
    (
        "ptype",
        System::Text(
            "Type Device      Function\n0800          ip_rcv\n0806          arp_rcv\n86dd          ipv6_rcv\n",
        ),
    ),
    ("raw", System::Made),
    ("raw6", System::Made),
    ("route", System::Made),
    ("rt6_stats", System::Text("0000 0000 0000 0001 0000 0000 0000\n")),
    (
        "rt_cache",
        System::Text(
            "Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst                          \n",
        ),
    ),
    ("snmp", System::Made),
    ("snmp6", System::Made),
    ("sockstat", System::Made),
    ("sockstat6", System::Made),
    ("softnet_stat", System::Text(SOFTNET)),
    ("tcp", System::Made),
    ("tcp6", System::Made),
    ("udp", System::Made),
    ("udp6", System::Made),
    ("udplite", System::Made),
    ("udplite6", System::Made),
    ("unix", System::Made),
    ("wireless", System::Text(WIRELESS)),
];

const SOFTNET: &str = "00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
00000000 00000000 00000000 00000000 00000000\n";
const WIRELESS: &str = "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n face | \
tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n";

/// How lseek(2) works on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// A text that is made line by line (`seq_lseek`): it has no end to count from.
    Sequential,
    /// A file of no size that ends at [`SIZE_MAX`] (`generic_file_llseek`).
    Limited,
    /// A file of no size (`default_llseek`).
    Free,
}

/// Largest offset in a file of proc(5) that has a limit (`MAX_NON_LFS`).
pub const SIZE_MAX: u64 = (1 << 31) - 1;

/// How a task's file `name` is sought in.
pub fn seek(name: &str) -> Seek {
    match name {
        "auxv" | "cmdline" | "coredump_filter" | "environ" | "loginuid" | "sessionid" => {
            Seek::Limited
        }
        "oom_adj" | "oom_score_adj" => Seek::Free,
        _ => Seek::Sequential,
    }
}

/// What a task's file `name` takes of a write, in bytes (`PROC_NUMBUF`).
pub fn longest_write(name: &str) -> usize {
    match name {
        "oom_adj" | "oom_score_adj" => 12,
        _ => usize::MAX,
    }
}

/// Files of a task that cannot be opened when it has ended, since they are of its memory.
pub const OF_MEMORY: &[&str] = &["auxv", "clear_refs", "environ", "mem", "pagemap", "smaps_rollup"];

/// Files of a task that only those may open who may look into it (`PTRACE_MODE_READ`), or for `mem` trace it.
pub const GUARDED: &[&str] = &[
    "auxv",
    "environ",
    "io",
    "maps",
    "mem",
    "pagemap",
    "smaps",
    "smaps_rollup",
    "stack",
    "syscall",
];
