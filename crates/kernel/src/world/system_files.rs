//! Files of the whole system in proc(5).

use abi::stat::{major, minor};

use super::memory_files::SLABINFO;
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
                let used = self.cpu_ticks();
                let idle = (ns / TICK_NS).saturating_sub(used);
                format!("{s}.{c:02} {}.{:02}\n", idle / 100, idle % 100)
            }
            "version" => format!("Linux version {RELEASE} (boxer) {VERSION}\n"),
            "buddyinfo" => self.buddyinfo(),
            "locks" => self.locks_text(),
            "slabinfo" => SLABINFO.to_owned(),
            "vmstat" => self.vmstat(),
            "zoneinfo" => self.zoneinfo(),
            "sys/kernel/domainname" => {
                String::from_utf8_lossy(&self.domainname).into_owned() + "\n"
            }
            "sys/kernel/hostname" => String::from_utf8_lossy(&self.hostname).into_owned() + "\n",
            "sys/kernel/osrelease" => format!("{RELEASE}\n"),
            "sys/kernel/version" => format!("{VERSION}\n"),
            // As /dev/boxer/snapshot: another for each life, the same as long as it lasts (random(4)).
            "sys/kernel/random/boot_id" => {
                uuid(self.life.identify(&mut *self.host).to_ne_bytes()) + "\n"
            }
            "sys/kernel/random/uuid" => {
                let mut bytes = [0; 16];
                self.host.random(&mut bytes);
                uuid(bytes) + "\n"
            }
            "sys/fs/file-max" => format!("{}\n", self.shared.open_files.most()),
            "sys/fs/file-nr" => {
                let open = &self.shared.open_files;
                format!("{}\t0\t{}\n", open.count(), open.most())
            }
            "sys/fs/aio-nr" => format!("{}\n", self.aio.requests()),
            "sysvipc/msg" => self.proc_msg(),
            "sysvipc/sem" => self.proc_sem(),
            "sysvipc/shm" => self.proc_shm(),
            _ => match (path.strip_prefix("net/"), path.strip_prefix("/sys/")) {
                (Some(name), _) => self.net_file(name),
                (_, Some(path)) => self.sys_file(path),
                _ => String::new(),
            },
        }
    }

    /// CPU time of all processes in hundredths of a second.
    fn cpu_ticks(&self) -> u64 {
        self.cpu_ns() / TICK_NS
    }

    /// CPU time of all processes in nanoseconds.
    pub(super) fn cpu_ns(&self) -> u64 {
        self.tasks.processes().map(|p| self.process_cpu(p.pid)).sum()
    }

    /// `/proc/locks`.
    fn locks_text(&self) -> String {
        let mut out = String::new();
        for (n, lock) in self.shared.locks.all().iter().enumerate() {
            let kind = match (lock.whole, lock.pid) {
                (true, _) => "FLOCK ",
                (false, -1) => "OFDLCK",
                _ => "POSIX ",
            };
            let access = if lock.exclusive { "WRITE" } else { "READ " };
            let end = match lock.end {
                u64::MAX => "EOF".to_owned(),
                end if end == i64::MAX as u64 => "EOF".to_owned(),
                end => end.to_string(),
            };
            let (pid, start) = (lock.pid, lock.start);
            out += &format!(
                "{}: {kind} ADVISORY  {access} {pid} {:02x}:{:02x}:{} {start} {end}\n",
                n + 1,
                major(lock.dev),
                minor(lock.dev),
                lock.ino
            );
        }
        out
    }

    fn kernel_stat(&self) -> String {
        let ticks = self.now().saturating_sub(self.boot_ns) / TICK_NS;
        let used = self.cpu_ticks();
        let switches: u64 =
            self.tasks.processes().map(|p| p.usage.switches + p.usage.preemptions).sum();
        let idle = ticks.saturating_sub(used);
        let up = self.now().saturating_sub(self.boot_ns);
        let boot = self.host.clock_realtime().saturating_sub(up) / 1_000_000_000;
        let running = self.tasks.threads().filter(|t| matches!(t.run, Run::Ready)).count();
        let line = format!("{used} 0 0 {idle} 0 0 0 0 0 0");
        format!(
            "cpu  {line}\ncpu0 {line}\nintr 0\nctxt {switches}\nbtime {boot}\nprocesses {}\nprocs_running {running}\n\
             procs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
            self.tasks.last_id()
        )
    }
}

/// A UUID (version 4) of random bytes.
fn uuid(mut b: [u8; 16]) -> String {
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex: String = b.iter().map(|x| format!("{x:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
