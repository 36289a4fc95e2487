//! Files of the whole system in proc(5).

use crate::Kernel;
use crate::syscall::system::{RELEASE, VERSION};
use crate::syscall::time::TICK_NS;
use crate::task::Run;

impl Kernel {
    /// Content of `/proc/path` for the files that `fs::procfs` does not know itself.
    pub(super) fn system_file(&mut self, path: &str) -> String {
        match path {
            "cpuinfo" => self.processor.cpuinfo(),
            "loadavg" => {
                let running = self.tasks.threads().filter(|t| matches!(t.run, Run::Ready)).count();
                let total = self.tasks.threads().count();
                format!("0.00 0.00 0.00 {running}/{total} {}\n", self.tasks.last_id())
            }
            "meminfo" => self.meminfo(),
            "stat" => self.kernel_stat(),
            "uptime" => {
                let ns = self.now().saturating_sub(self.boot_ns);
                let (s, c) = (ns / 1_000_000_000, ns / TICK_NS % 100);
                format!("{s}.{c:02} 0.00\n")
            }
            "version" => format!("Linux version {RELEASE} (boxer) {VERSION}\n"),
            "vmstat" => {
                let (free, _) = self.memory();
                format!("nr_free_pages {}\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\n", free >> 12)
            }
            "sys/kernel/domainname" => {
                String::from_utf8_lossy(&self.domainname).into_owned() + "\n"
            }
            "sys/kernel/hostname" => String::from_utf8_lossy(&self.hostname).into_owned() + "\n",
            "sys/kernel/osrelease" => format!("{RELEASE}\n"),
            "sys/kernel/version" => format!("{VERSION}\n"),
            "sys/kernel/random/boot_id" | "sys/kernel/random/uuid" => self.uuid() + "\n",
            "sys/fs/aio-nr" => format!("{}\n", self.aio.requests()),
            "sysvipc/msg" => self.proc_msg(),
            "sysvipc/sem" => self.proc_sem(),
            "sysvipc/shm" => self.proc_shm(),
            _ => String::new(),
        }
    }

    /// A random UUID (version 4).
    fn uuid(&mut self) -> String {
        let mut b = [0; 16];
        self.host.random(&mut b);
        b[6] = b[6] & 0x0f | 0x40;
        b[8] = b[8] & 0x3f | 0x80;
        let hex: String = b.iter().map(|x| format!("{x:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    fn meminfo(&self) -> String {
        let (free, total) = self.memory();
        let (free, total) = (free >> 10, total >> 10);
        let mut out = String::new();
        for (name, value) in [
            ("MemTotal", total),
            ("MemFree", free),
            ("MemAvailable", free),
            ("Buffers", 0),
            ("Cached", 0),
            ("SwapCached", 0),
            ("Active", 0),
            ("Inactive", 0),
            ("SwapTotal", 0),
            ("SwapFree", 0),
            ("Dirty", 0),
            ("Writeback", 0),
            ("AnonPages", total - free),
            ("Mapped", 0),
            ("Shmem", 0),
            ("Slab", 0),
            ("CommitLimit", total),
            ("Committed_AS", total - free),
            ("VmallocTotal", 0),
            ("HugePages_Total", 0),
        ] {
            let unit = if name.starts_with("HugePages") { "" } else { " kB" };
            out += &format!("{:<16}{value:>8}{unit}\n", format!("{name}:"));
        }
        out
    }

    fn kernel_stat(&self) -> String {
        let ticks = self.now().saturating_sub(self.boot_ns) / TICK_NS;
        let used = self.tasks.processes().map(|p| self.process_cpu(p.pid)).sum::<u64>() / TICK_NS;
        let idle = ticks.saturating_sub(used);
        let up = self.now().saturating_sub(self.boot_ns);
        let boot = self.host.clock_realtime().saturating_sub(up) / 1_000_000_000;
        let running = self.tasks.threads().filter(|t| matches!(t.run, Run::Ready)).count();
        let line = format!("{used} 0 0 {idle} 0 0 0 0 0 0");
        format!(
            "cpu  {line}\ncpu0 {line}\nintr 0\nctxt 0\nbtime {boot}\nprocesses {}\nprocs_running {running}\n\
             procs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
            self.tasks.last_id()
        )
    }
}
