//! A read-only tree of constant files: sysfs, as little of it as programs look for.

use std::any::Any;
use std::rc::Rc;

use abi::Errno;
use abi::poll::{POLLERR, POLLPRI, READABLE, WRITABLE};

use super::inode::{DirItem, Inode, InodeRef, Kind, Meta};
use super::open_file::{FileOps, OpenFile, read_on, seek_to};
use super::{Cx, Dentry, Res};

/// Files by path; directories follow from them. A path with a slash at its end is a directory without files.
pub type Rows = &'static [(&'static str, &'static str)];

/// Content that the kernel makes when it is read.
const MADE: &str = "\0";

/// The control group of the box (cgroup2) as `/sys/fs/cgroup` shows it in a container.
pub const CGROUP: Rows = &[
    ("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n"),
    ("cgroup.events", "populated 1\nfrozen 0\n"),
    ("cgroup.freeze", "0\n"),
    ("cgroup.max.depth", "max\n"),
    ("cgroup.max.descendants", "max\n"),
    ("cgroup.procs", MADE),
    ("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n"),
    ("cgroup.subtree_control", ""),
    ("cgroup.threads", MADE),
    ("cgroup.type", "domain\n"),
    ("cpu.max", "max 100000\n"),
    ("cpu.max.burst", "0\n"),
    ("cpu.stat", MADE),
    ("cpu.weight", "100\n"),
    ("cpu.weight.nice", "0\n"),
    ("cpuset.cpus", "\n"),
    ("cpuset.cpus.effective", "0\n"),
    ("cpuset.mems", "\n"),
    ("cpuset.mems.effective", "0\n"),
    ("io.stat", ""),
    ("memory.current", MADE),
    ("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"),
    ("memory.high", "max\n"),
    ("memory.low", "0\n"),
    ("memory.max", MADE),
    ("memory.min", "0\n"),
    ("memory.oom.group", "0\n"),
    ("memory.stat", MADE),
    ("memory.swap.current", "0\n"),
    ("memory.swap.max", "0\n"),
    ("pids.current", MADE),
    ("pids.max", MADE),
];

/// What `/sys` shows: one CPU, the interfaces, no devices.
pub const SYSFS: Rows = &[
    ("block/", ""),
    ("class/block/", ""),
    ("class/net/eth0/addr_assign_type", "0\n"),
    ("class/net/eth0/addr_len", "6\n"),
    ("class/net/eth0/address", "02:42:ac:11:00:02\n"),
    ("class/net/eth0/broadcast", "ff:ff:ff:ff:ff:ff\n"),
    ("class/net/eth0/carrier", "1\n"),
    ("class/net/eth0/carrier_changes", "2\n"),
    ("class/net/eth0/dev_id", "0x0\n"),
    ("class/net/eth0/dev_port", "0\n"),
    ("class/net/eth0/dormant", "0\n"),
    ("class/net/eth0/duplex", "full\n"),
    ("class/net/eth0/flags", "0x1003\n"),
    ("class/net/eth0/gro_flush_timeout", "0\n"),
    ("class/net/eth0/group", "0\n"),
    ("class/net/eth0/ifalias", "\n"),
    ("class/net/eth0/ifindex", "2\n"),
    ("class/net/eth0/iflink", "2\n"),
    ("class/net/eth0/link_mode", "0\n"),
    ("class/net/eth0/mtu", "1500\n"),
    ("class/net/eth0/netdev_group", "0\n"),
    ("class/net/eth0/operstate", "up\n"),
    ("class/net/eth0/proto_down", "0\n"),
    ("class/net/eth0/speed", "10000\n"),
    ("class/net/eth0/statistics/collisions", "0\n"),
    ("class/net/eth0/statistics/multicast", "0\n"),
    ("class/net/eth0/statistics/rx_bytes", "0\n"),
    ("class/net/eth0/statistics/rx_compressed", "0\n"),
    ("class/net/eth0/statistics/rx_crc_errors", "0\n"),
    ("class/net/eth0/statistics/rx_dropped", "0\n"),
    ("class/net/eth0/statistics/rx_errors", "0\n"),
    ("class/net/eth0/statistics/rx_fifo_errors", "0\n"),
    ("class/net/eth0/statistics/rx_frame_errors", "0\n"),
    ("class/net/eth0/statistics/rx_length_errors", "0\n"),
    ("class/net/eth0/statistics/rx_missed_errors", "0\n"),
    ("class/net/eth0/statistics/rx_nohandler", "0\n"),
    ("class/net/eth0/statistics/rx_over_errors", "0\n"),
    ("class/net/eth0/statistics/rx_packets", "0\n"),
    ("class/net/eth0/statistics/tx_aborted_errors", "0\n"),
    ("class/net/eth0/statistics/tx_bytes", "0\n"),
    ("class/net/eth0/statistics/tx_carrier_errors", "0\n"),
    ("class/net/eth0/statistics/tx_compressed", "0\n"),
    ("class/net/eth0/statistics/tx_dropped", "0\n"),
    ("class/net/eth0/statistics/tx_errors", "0\n"),
    ("class/net/eth0/statistics/tx_fifo_errors", "0\n"),
    ("class/net/eth0/statistics/tx_heartbeat_errors", "0\n"),
    ("class/net/eth0/statistics/tx_packets", "0\n"),
    ("class/net/eth0/statistics/tx_window_errors", "0\n"),
    ("class/net/eth0/tx_queue_len", "0\n"),
    ("class/net/eth0/type", "1\n"),
    ("class/net/eth0/uevent", "INTERFACE=eth0\nIFINDEX=2\n"),
    ("class/net/lo/addr_assign_type", "0\n"),
    ("class/net/lo/addr_len", "6\n"),
    ("class/net/lo/address", "00:00:00:00:00:00\n"),
    ("class/net/lo/broadcast", "00:00:00:00:00:00\n"),
    ("class/net/lo/carrier", "1\n"),
    ("class/net/lo/carrier_changes", "0\n"),
    ("class/net/lo/dev_id", "0x0\n"),
    ("class/net/lo/dev_port", "0\n"),
    ("class/net/lo/dormant", "0\n"),
    ("class/net/lo/flags", "0x9\n"),
    ("class/net/lo/gro_flush_timeout", "0\n"),
    ("class/net/lo/group", "0\n"),
    ("class/net/lo/ifalias", "\n"),
    ("class/net/lo/ifindex", "1\n"),
    ("class/net/lo/iflink", "1\n"),
    ("class/net/lo/link_mode", "0\n"),
    ("class/net/lo/mtu", "65536\n"),
    ("class/net/lo/netdev_group", "0\n"),
    ("class/net/lo/operstate", "unknown\n"),
    ("class/net/lo/proto_down", "0\n"),
    ("class/net/lo/statistics/collisions", "0\n"),
    ("class/net/lo/statistics/multicast", "0\n"),
    ("class/net/lo/statistics/rx_bytes", "0\n"),
    ("class/net/lo/statistics/rx_compressed", "0\n"),
    ("class/net/lo/statistics/rx_crc_errors", "0\n"),
    ("class/net/lo/statistics/rx_dropped", "0\n"),
    ("class/net/lo/statistics/rx_errors", "0\n"),
    ("class/net/lo/statistics/rx_fifo_errors", "0\n"),
    ("class/net/lo/statistics/rx_frame_errors", "0\n"),
    ("class/net/lo/statistics/rx_length_errors", "0\n"),
    ("class/net/lo/statistics/rx_missed_errors", "0\n"),
    ("class/net/lo/statistics/rx_nohandler", "0\n"),
    ("class/net/lo/statistics/rx_over_errors", "0\n"),
    ("class/net/lo/statistics/rx_packets", "0\n"),
    ("class/net/lo/statistics/tx_aborted_errors", "0\n"),
    ("class/net/lo/statistics/tx_bytes", "0\n"),
    ("class/net/lo/statistics/tx_carrier_errors", "0\n"),
    ("class/net/lo/statistics/tx_compressed", "0\n"),
    ("class/net/lo/statistics/tx_dropped", "0\n"),
    ("class/net/lo/statistics/tx_errors", "0\n"),
    ("class/net/lo/statistics/tx_fifo_errors", "0\n"),
    ("class/net/lo/statistics/tx_heartbeat_errors", "0\n"),
    ("class/net/lo/statistics/tx_packets", "0\n"),
    ("class/net/lo/statistics/tx_window_errors", "0\n"),
    ("class/net/lo/tx_queue_len", "1000\n"),
    ("class/net/lo/type", "772\n"),
    ("class/net/lo/uevent", "INTERFACE=lo\nIFINDEX=1\n"),
    ("class/tty/", ""),
    ("devices/system/cpu/cpu0/cache/index0/coherency_line_size", "64\n"),
    ("devices/system/cpu/cpu0/cache/index0/id", "0\n"),
    ("devices/system/cpu/cpu0/cache/index0/level", "1\n"),
    ("devices/system/cpu/cpu0/cache/index0/number_of_sets", "64\n"),
    ("devices/system/cpu/cpu0/cache/index0/physical_line_partition", "1\n"),
    ("devices/system/cpu/cpu0/cache/index0/shared_cpu_list", "0\n"),
    ("devices/system/cpu/cpu0/cache/index0/shared_cpu_map", "1\n"),
    ("devices/system/cpu/cpu0/cache/index0/size", "32K\n"),
    ("devices/system/cpu/cpu0/cache/index0/type", "Data\n"),
    ("devices/system/cpu/cpu0/cache/index0/ways_of_associativity", "8\n"),
    ("devices/system/cpu/cpu0/cache/index1/coherency_line_size", "64\n"),
    ("devices/system/cpu/cpu0/cache/index1/id", "0\n"),
    ("devices/system/cpu/cpu0/cache/index1/level", "1\n"),
    ("devices/system/cpu/cpu0/cache/index1/number_of_sets", "64\n"),
    ("devices/system/cpu/cpu0/cache/index1/physical_line_partition", "1\n"),
    ("devices/system/cpu/cpu0/cache/index1/shared_cpu_list", "0\n"),
    ("devices/system/cpu/cpu0/cache/index1/shared_cpu_map", "1\n"),
    ("devices/system/cpu/cpu0/cache/index1/size", "32K\n"),
    ("devices/system/cpu/cpu0/cache/index1/type", "Instruction\n"),
    ("devices/system/cpu/cpu0/cache/index1/ways_of_associativity", "8\n"),
    ("devices/system/cpu/cpu0/topology/cluster_cpus", "1\n"),
    ("devices/system/cpu/cpu0/topology/cluster_cpus_list", "0\n"),
    ("devices/system/cpu/cpu0/topology/cluster_id", "65535\n"),
    ("devices/system/cpu/cpu0/topology/core_cpus", "1\n"),
    ("devices/system/cpu/cpu0/topology/core_cpus_list", "0\n"),
    ("devices/system/cpu/cpu0/topology/core_id", "0\n"),
    ("devices/system/cpu/cpu0/topology/core_siblings", "1\n"),
    ("devices/system/cpu/cpu0/topology/core_siblings_list", "0\n"),
    ("devices/system/cpu/cpu0/topology/die_cpus", "1\n"),
    ("devices/system/cpu/cpu0/topology/die_cpus_list", "0\n"),
    ("devices/system/cpu/cpu0/topology/die_id", "0\n"),
    ("devices/system/cpu/cpu0/topology/package_cpus", "1\n"),
    ("devices/system/cpu/cpu0/topology/package_cpus_list", "0\n"),
    ("devices/system/cpu/cpu0/topology/physical_package_id", "0\n"),
    ("devices/system/cpu/cpu0/topology/thread_siblings", "1\n"),
    ("devices/system/cpu/cpu0/topology/thread_siblings_list", "0\n"),
    ("devices/system/cpu/isolated", "\n"),
    ("devices/system/cpu/kernel_max", "0\n"),
    ("devices/system/cpu/offline", "\n"),
    ("devices/system/cpu/online", "0\n"),
    ("devices/system/cpu/possible", "0\n"),
    ("devices/system/cpu/present", "0\n"),
    ("devices/system/node/has_cpu", "0\n"),
    ("devices/system/node/has_memory", "0\n"),
    ("devices/system/node/has_normal_memory", "0\n"),
    ("devices/system/node/node0/cpulist", "0\n"),
    ("devices/system/node/node0/cpumap", "1\n"),
    ("devices/system/node/node0/distance", "10\n"),
    ("devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "0\n"),
    ("devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "0\n"),
    ("devices/system/node/node0/hugepages/hugepages-2048kB/surplus_hugepages", "0\n"),
    ("devices/system/node/node0/meminfo", MADE),
    (
        "devices/system/node/node0/numastat",
        "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0\n",
    ),
    ("devices/system/node/online", "0\n"),
    ("devices/system/node/possible", "0\n"),
    ("firmware/", ""),
    ("fs/cgroup/", ""),
    ("kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0\n"),
    ("kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0\n"),
    ("kernel/mm/hugepages/hugepages-2048kB/nr_hugepages_mempolicy", "0\n"),
    ("kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages", "0\n"),
    ("kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "0\n"),
    ("kernel/mm/hugepages/hugepages-2048kB/surplus_hugepages", "0\n"),
    ("kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never\n"),
    ("kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n"),
    ("kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152\n"),
    ("kernel/mm/transparent_hugepage/khugepaged/defrag", "0\n"),
    (
        "kernel/mm/transparent_hugepage/shmem_enabled",
        "always within_size advise [never] deny force\n",
    ),
    ("kernel/mm/transparent_hugepage/use_zero_page", "1\n"),
];

/// What is there only where the host grants a network.
const OUTER: &str = "class/net/eth0";

/// A node: a file's row, or a directory's path with a trailing slash.
struct SynthInode {
    fs: &'static str,
    dev: u64,
    rows: Rows,
    path: String,
    row: Option<usize>,
}

/// The root of a constant tree.
pub fn root(fs: &'static str, dev: u64, rows: Rows) -> InodeRef {
    Rc::new(SynthInode { fs, dev, rows, path: String::new(), row: None })
}

impl SynthInode {
    fn text(&self, cx: &mut Cx) -> Vec<u8> {
        match self.row.and_then(|row| self.rows.get(row)) {
            Some((path, MADE)) => cx.world.procs().system_text(&format!("/sys/{path}")),
            Some((_, text)) => text.as_bytes().to_vec(),
            None => Vec::new(),
        }
    }

    fn child(&self, name: &str) -> Option<SynthInode> {
        let full = format!("{}{name}", self.path);
        let make =
            |path, row| SynthInode { fs: self.fs, dev: self.dev, rows: self.rows, path, row };
        if let Some(row) = self.rows.iter().position(|(path, _)| *path == full) {
            return Some(make(full, Some(row)));
        }
        let dir = format!("{full}/");
        let exists = self.rows.iter().any(|(path, _)| path.starts_with(&dir));
        (exists && !name.is_empty()).then(|| make(dir, None))
    }

    fn is_hidden(&self, cx: &mut Cx) -> bool {
        self.path.starts_with(OUTER) && cx.host().network().is_none()
    }

    fn ino(&self) -> u64 {
        let first = self.rows.iter().position(|(path, _)| path.starts_with(&self.path));
        let depth = self.path.matches('/').count() as u64;
        match self.row {
            Some(row) => 1 << 16 | row as u64,
            None => 1 + first.unwrap_or(0) as u64 * 16 + depth,
        }
    }
}

impl Inode for SynthInode {
    fn fs_name(&self) -> &'static str {
        self.fs
    }

    fn meta(&self, cx: &mut Cx) -> Res<Meta> {
        let now = cx.now();
        let (perm, nlink, size) = match self.row {
            Some(_) => (0o444, 1, 4096),
            None => (0o555, 2, 0),
        };
        Ok(Meta {
            dev: self.dev,
            ino: self.ino(),
            mode: self.kind().bits() | perm,
            nlink,
            size,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..Meta::default()
        })
    }

    fn kind(&self) -> Kind {
        if self.row.is_some() { Kind::File } else { Kind::Dir }
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn lookup(&self, cx: &mut Cx, name: &[u8]) -> Res<InodeRef> {
        if self.row.is_some() {
            return Err(Errno::ENOTDIR);
        }
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let child = self.child(name).ok_or(Errno::ENOENT)?;
        match child.is_hidden(cx) {
            true => Err(Errno::ENOENT),
            false => Ok(Rc::new(child)),
        }
    }

    fn list(&self, cx: &mut Cx) -> Res<Vec<DirItem>> {
        let mut items: Vec<DirItem> = Vec::new();
        for (path, _) in self.rows {
            let Some(rest) = path.strip_prefix(self.path.as_str()) else { continue };
            let name = rest.split('/').next().unwrap_or(rest);
            if items.last().is_some_and(|i| *i.name == *name.as_bytes()) {
                continue;
            }
            if let Some(child) = self.child(name)
                && !child.is_hidden(cx)
            {
                let name = name.as_bytes().into();
                items.push(DirItem { name, ino: child.ino(), kind: child.kind() });
            }
        }
        Ok(items)
    }

    fn open(
        self: Rc<Self>,
        _cx: &mut Cx,
        _dentry: &Rc<Dentry>,
        _flags: u32,
    ) -> Option<Res<Rc<dyn FileOps>>> {
        self.row.map(|_| Ok(Rc::new(SynthFile(self)) as Rc<dyn FileOps>))
    }

    fn read_at(&self, cx: &mut Cx, offset: u64, buf: &mut [u8]) -> Res<usize> {
        if self.row.is_none() {
            return Err(Errno::EISDIR);
        }
        let text = self.text(cx);
        let rest = text.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

/// An open file of such a tree. All can be polled, and are always ready in every way (`kernfs_generic_poll`).
struct SynthFile(Rc<SynthInode>);

impl FileOps for SynthFile {
    fn kind_name(&self) -> &'static str {
        "sysfs file"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        read_on(self, cx, file, buf)
    }

    fn read_at(&self, cx: &mut Cx, _file: &OpenFile, at: u64, buf: &mut [u8]) -> Res<usize> {
        self.0.read_at(cx, at, buf)
    }

    fn seek(&self, _cx: &mut Cx, file: &OpenFile, offset: i64, whence: u32) -> Res<u64> {
        seek_to(file, offset, whence, 4096)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        READABLE | WRITABLE | POLLERR | POLLPRI
    }
}
