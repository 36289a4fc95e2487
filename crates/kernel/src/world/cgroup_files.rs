//! `/sys/fs/cgroup`: the control group of the box as a container sees it (cgroup2), and the few files of sysfs that change.

use mem::Purpose;

use crate::Kernel;

impl Kernel {
    /// Content of `/sys/path` for the rows that say so.
    pub(super) fn sys_file(&self, path: &str) -> String {
        let account = self.mm.phys.account();
        let (programs, files) = (account.used(Purpose::Programs), account.used(Purpose::Files));
        match path {
            "cgroup.procs" => self.tasks.processes().map(|p| format!("{}\n", p.pid)).collect(),
            "cgroup.threads" => self.tasks.threads().map(|t| format!("{}\n", t.tid)).collect(),
            "cpu.stat" => {
                let usec = self.cpu_ns() / 1000;
                format!(
                    "usage_usec {usec}\nuser_usec {usec}\nsystem_usec 0\nnice_usec 0\ncore_sched.force_idle_usec 0\n\
                     nr_periods 0\nnr_throttled 0\nthrottled_usec 0\nnr_bursts 0\nburst_usec 0\n"
                )
            }
            "memory.current" => format!("{}\n", programs + files),
            "memory.max" => match self.memory_max() {
                Some(limit) => format!("{limit}\n"),
                None => "max\n".to_owned(),
            },
            "memory.stat" => {
                let mut out = format!("anon {programs}\nfile {files}\nkernel 0\nkernel_stack 0\n");
                for name in ["pagetables", "sock", "vmalloc"] {
                    out += &format!("{name} 0\n");
                }
                out += &format!("shmem {files}\n");
                for name in [
                    "file_mapped",
                    "file_dirty",
                    "file_writeback",
                    "swapcached",
                    "inactive_anon",
                    "active_anon",
                    "inactive_file",
                    "active_file",
                    "unevictable",
                    "slab_reclaimable",
                    "slab_unreclaimable",
                    "slab",
                    "pgfault",
                    "pgmajfault",
                ] {
                    let value = if name == "active_anon" { programs } else { 0 };
                    out += &format!("{name} {value}\n");
                }
                out
            }
            "pids.current" => format!("{}\n", self.tasks.threads().count()),
            "pids.max" => format!("{}\n", self.pids_max()),
            "devices/system/node/node0/meminfo" => {
                let (free, total) = self.memory();
                let (free, total) = (free >> 10, total >> 10);
                let rows = [("MemTotal", total), ("MemFree", free), ("MemUsed", total - free)];
                let line = |(name, value): &(&str, u64)| {
                    format!("Node 0 {:<15}{value:>8} kB\n", format!("{name}:"))
                };
                rows.iter().map(line).collect()
            }
            _ => String::new(),
        }
    }
}
