//! Files of one task in proc(5).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::rc::Rc;

use abi::Errno;
use abi::time::{RLIM_INFINITY, RLIMIT_SIGPENDING, RLIMIT_STACK};
use mem::{PAGE_SHIFT, PAGE_SIZE};

use super::maps;
use crate::fs::procfs::ProcView;
use crate::fs::{Dentry, OpenFile, Res};
use crate::mm::Space;
use crate::syscall::prctl::TIMER_SLACK;
use crate::syscall::time::TICK_NS;
use crate::task::access::By;
use crate::task::creds::CAP_AUDIT_CONTROL;
use crate::task::process::NO_LOGIN;
use crate::task::{Process, Run, Thread, oom};
use crate::{Kernel, ProcessId, ThreadId};

/// Largest `cmdline` or `environ` shown.
const STRINGS_MAX: u64 = 6 << 20;

/// A number as files of /proc read it (`kstrtol`): octal after a 0, hexadecimal after 0x.
fn number(text: &str) -> Option<i64> {
    let (minus, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (radix, digits) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(digits), _) => (16, digits),
        (None, Some(digits)) if !digits.is_empty() => (8, digits),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(if minus { -value } else { value })
}

impl Kernel {
    fn thread_of(&self, tid: u32) -> Option<&Thread> {
        self.tasks.thread(ThreadId(tid))
    }

    fn process_by(&self, tid: u32) -> Option<&Process> {
        self.tasks.process(self.thread_of(tid)?.pid)
    }

    fn space_of(&self, tid: u32) -> Option<&Space> {
        self.mm.space(self.thread_of(tid)?.space)
    }

    /// State letter and word as `/proc/pid/status` has them.
    fn state(&self, tid: u32) -> (char, &'static str) {
        let stopped = self.process_by(tid).is_some_and(|p| p.stopped.is_some());
        let trapped = self.thread_of(tid).is_some_and(Thread::is_trapped);
        match self.thread_of(tid).map(|t| &t.run) {
            None | Some(Run::Dead) => ('Z', "zombie"),
            _ if trapped => ('t', "tracing stop"),
            _ if stopped => ('T', "stopped"),
            Some(Run::Ready | Run::Retry | Run::Enter) => ('R', "running"),
            Some(Run::Blocked(wait)) if wait.uninterruptible => ('D', "disk sleep"),
            Some(Run::Blocked(_)) => ('S', "sleeping"),
        }
    }

    fn comm(&self, tid: u32) -> String {
        let comm = self.thread_of(tid).map(|t| t.comm.as_slice()).unwrap_or_default();
        String::from_utf8_lossy(comm).into_owned()
    }

    /// The name on a line with others.
    fn escaped_comm(&self, tid: u32) -> String {
        self.comm(tid).replace('\\', "\\\\").replace('\n', "\\n")
    }

    /// Bytes `range` of a task's memory.
    fn peek(&mut self, tid: u32, range: (u64, u64)) -> Vec<u8> {
        let Some(space) = self.thread_of(tid).map(|t| t.space) else { return Vec::new() };
        let len = range.1.saturating_sub(range.0).min(STRINGS_MAX) as usize;
        let mut buf = vec![0; len];
        let here = self.mm.current();
        self.mm.activate(space);
        let n = self.mm.read_user_partial(range.0, &mut buf);
        self.mm.activate(here);
        buf.truncate(n);
        buf
    }

    fn status(&self, tid: u32, whole: bool) -> Option<String> {
        let process = self.process_by(tid)?;
        let (state, word) = self.state(tid);
        let mut out = String::new();
        let thread = self.thread_of(tid);
        let id = if whole { process.pid.0 } else { tid };
        let umask = match thread {
            Some(thread) if !thread.has_ended() => {
                format!("Umask:\t{:04o}\n", thread.fs.borrow().umask)
            }
            _ => String::new(),
        };
        let descriptors = if umask.is_empty() { 0 } else { 64 };
        let _ = write!(
            out,
            "Name:\t{}\n{umask}State:\t{state} ({word})\nTgid:\t{}\nNgid:\t0\nPid:\t{id}\n\
             PPid:\t{}\nTracerPid:\t{}\n",
            self.escaped_comm(tid),
            process.pid,
            process.parent,
            thread.and_then(|t| t.ptrace.as_ref()).map_or(0, |traced| traced.tracer.0),
        );
        if let Some(t) = thread {
            let (u, g) = (t.creds.uid, t.creds.gid);
            let groups: String = t.creds.groups.iter().map(|g| format!("{g} ")).collect();
            let _ = write!(
                out,
                "Uid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\nFDSize:\t{descriptors}\nGroups:\t{groups}\n",
                u.real, u.effective, u.saved, u.fs, g.real, g.effective, g.saved, g.fs
            );
        }
        let _ = write!(
            out,
            "NStgid:\t{}\nNSpid:\t{id}\nNSpgid:\t{}\nNSsid:\t{}\n",
            process.pid, process.pgid, process.sid
        );
        if let Some(space) = self.space_of(tid) {
            let kib = |bytes: u64| bytes >> 10;
            let layout = &space.layout;
            let stack: u64 = space
                .vmas()
                .iter()
                .filter(|(_, v)| v.rights.grows_down)
                .map(|(s, v)| v.end - s)
                .sum();
            let rss = kib(space.resident());
            let _ = write!(
                out,
                "VmPeak:\t{:>8} kB\nVmSize:\t{:>8} kB\nVmLck:\t{:>8} kB\nVmPin:\t       0 kB\n\
                 VmHWM:\t{:>8} kB\nVmRSS:\t{rss:>8} kB\nRssAnon:\t{rss:>8} kB\nRssFile:\t       0 kB\n\
                 RssShmem:\t       0 kB\nVmData:\t{:>8} kB\nVmStk:\t{:>8} kB\nVmExe:\t{:>8} kB\n\
                 VmLib:\t       0 kB\nVmPTE:\t       0 kB\nVmSwap:\t       0 kB\n\
                 HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t{}\n",
                kib(space.mapped()),
                kib(space.mapped()),
                kib(space.locked()),
                kib(space.peak_resident()),
                kib(space.data()),
                kib(stack),
                kib(layout.end_code.saturating_sub(layout.start_code)),
                u32::from(!process.no_huge_pages),
            );
        }
        let pending = thread.map_or(0, |t| t.pending.set().0);
        let (ignored, caught) = self.signal_dispositions(thread.map(|t| t.tid).unwrap_or_default());
        let _ = write!(
            out,
            "Threads:\t{}\nSigQ:\t{}/{}\nSigPnd:\t{pending:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\n\
             SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n",
            process.thread_count(),
            process.pending.len(),
            process.limits.soft(RLIMIT_SIGPENDING),
            process.pending.set().0,
            thread.map_or(0, |t| t.blocked.0),
        );
        if let Some(t) = thread {
            let c = &t.creds;
            let _ = write!(
                out,
                "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\n\
                 CapAmb:\t{:016x}\nNoNewPrivs:\t{}\n",
                c.inheritable,
                c.permitted,
                c.effective,
                c.bounding,
                c.ambient,
                u8::from(c.no_new_privs)
            );
        }
        let _ = write!(
            out,
            "Seccomp:\t{}\nSeccomp_filters:\t{}\nSpeculation_Store_Bypass:\tnot vulnerable\n\
             SpeculationIndirectBranch:\tnot affected\nCpus_allowed:\t1\nCpus_allowed_list:\t0\nMems_allowed:\t1\n\
             Mems_allowed_list:\t0\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
            thread.map_or(0, |t| t.seccomp.mode()),
            thread.map_or(0, |t| t.seccomp.filters()),
            process.usage.switches,
            process.usage.preemptions
        );
        Some(out)
    }

    fn stat(&self, tid: u32, whole: bool) -> Option<String> {
        let process = self.process_by(tid)?;
        let thread = self.thread_of(tid);
        let (state, _) = self.state(tid);
        let id = if whole { process.pid.0 } else { tid };
        let (cpu, sys) = match (whole, thread) {
            (false, Some(t)) => (self.thread_cpu(t.tid), t.sys_ns),
            _ => (self.process_cpu(process.pid), self.process_sys(process.pid)),
        };
        let sys = sys.min(cpu);
        let children = &process.child_usage;
        let space = self.space_of(tid);
        let layout = space.map(|s| s.layout.clone()).unwrap_or_default();
        let (ignored, caught) = self.signal_dispositions(thread.map(|t| t.tid).unwrap_or_default());
        let nice = thread.map_or(0, |t| t.nice);
        // tty_nr: pseudo-terminals are major 136, the console 5:1.
        let tty = process.tty.map_or(0, |n| 136 << 8 | n & 0xff);
        let tpgid = if process.tty.is_some() { process.pgid.0 as i64 } else { -1 };
        let mask31 = 0x7fff_ffff;
        let mut f: Vec<String> = vec![
            id.to_string(),
            format!("({})", self.escaped_comm(tid)),
            state.to_string(),
            process.parent.to_string(),
            process.pgid.to_string(),
            process.sid.to_string(),
            tty.to_string(),
            tpgid.to_string(),
            "4194304".into(),
            space.map_or(process.usage.faults, |s| s.faults).to_string(),
            process.child_usage.faults.to_string(),
            "0".into(),
            "0".into(),
            ((cpu - sys) / TICK_NS).to_string(),
            (sys / TICK_NS).to_string(),
            (children.user_ns() / TICK_NS).to_string(),
            (children.system_ns() / TICK_NS).to_string(),
            (20 + nice).to_string(),
            nice.to_string(),
            process.thread_count().to_string(),
            "0".into(),
            (process.start_ns.saturating_sub(self.boot_ns) / TICK_NS).to_string(),
            space.map_or(0, Space::mapped).to_string(),
            (space.map_or(0, Space::resident) >> PAGE_SHIFT).to_string(),
            RLIM_INFINITY.to_string(),
        ];
        let numbers = [
            layout.start_code,
            layout.end_code,
            layout.stack_top,
            0,
            0,
            thread.map_or(0, |t| t.pending.set().0 & mask31),
            thread.map_or(0, |t| t.blocked.0 & mask31),
            ignored & mask31,
            caught & mask31,
            0,
            0,
            0,
            u64::from(process.exit_signal),
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            layout.brk_start,
            layout.args.0,
            layout.args.1,
            layout.env.0,
            layout.env.1,
            process.zombie.unwrap_or(0) as u64,
        ];
        f.extend(numbers.iter().map(u64::to_string));
        Some(f.join(" ") + "\n")
    }

    fn sched_text(&self, tid: u32) -> Option<String> {
        let process = self.process_by(tid)?;
        let (switches, forced) = (process.usage.switches, process.usage.preemptions);
        let cpu = self.process_cpu(process.pid);
        let mut out = format!(
            "{} ({tid}, #threads: {})\n{}\n",
            self.comm(tid),
            process.thread_count(),
            "-".repeat(67)
        );
        let ms = format!("{}.{:06}", cpu / 1_000_000, cpu % 1_000_000);
        for (name, value) in [
            ("se.sum_exec_runtime", ms),
            ("nr_switches", (switches + forced).to_string()),
            ("nr_voluntary_switches", switches.to_string()),
            ("nr_involuntary_switches", forced.to_string()),
            ("policy", "0".to_owned()),
            ("prio", (120 + self.thread_of(tid).map_or(0, |t| t.nice)).to_string()),
        ] {
            let _ = writeln!(out, "{name:<45}:{value:>21}");
        }
        Some(out)
    }

    fn limits_text(&self, tid: u32) -> Option<String> {
        const ROWS: [(&str, &str); 16] = [
            ("Max cpu time", "seconds"),
            ("Max file size", "bytes"),
            ("Max data size", "bytes"),
            ("Max stack size", "bytes"),
            ("Max core file size", "bytes"),
            ("Max resident set", "bytes"),
            ("Max processes", "processes"),
            ("Max open files", "files"),
            ("Max locked memory", "bytes"),
            ("Max address space", "bytes"),
            ("Max file locks", "locks"),
            ("Max pending signals", "signals"),
            ("Max msgqueue size", "bytes"),
            ("Max nice priority", ""),
            ("Max realtime priority", ""),
            ("Max realtime timeout", "us"),
        ];
        debug_assert_eq!(ROWS[RLIMIT_STACK].0, "Max stack size");
        let limits = &self.process_by(tid)?.limits;
        let mut out =
            format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
        let show = |n: u64| if n == RLIM_INFINITY { "unlimited".into() } else { n.to_string() };
        for ((name, unit), limit) in ROWS.iter().zip(&limits.0) {
            let _ = writeln!(
                out,
                "{name:<25} {:<20} {:<20} {unit:<10}",
                show(limit.cur),
                show(limit.max)
            );
        }
        Some(out)
    }
}

impl ProcView for Kernel {
    fn pids(&self) -> Vec<u32> {
        self.tasks.processes().map(|p| p.pid.0).collect()
    }

    fn tids(&self, pid: u32) -> Vec<u32> {
        match self.tasks.process(ProcessId(pid)) {
            Some(p) => {
                let mut tids: BTreeSet<u32> = p.threads.iter().map(|t| t.0).collect();
                tids.insert(pid);
                tids.into_iter().collect()
            }
            None => Vec::new(),
        }
    }

    fn process_of(&self, tid: u32) -> Option<u32> {
        self.process_by(tid).map(|p| p.pid.0)
    }

    fn owner(&self, tid: u32) -> Option<(u32, u32)> {
        let thread = self.thread_of(tid)?;
        // A process that may not be looked into belongs to root.
        if self.process_by(tid).is_some_and(|p| p.dumpable != 1) {
            return Some((0, 0));
        }
        Some((thread.creds.uid.effective, thread.creds.gid.effective))
    }

    fn fds(&self, tid: u32) -> Option<Vec<i32>> {
        self.thread_of(tid).map(|t| t.files.borrow().fds())
    }

    fn file(&self, tid: u32, fd: i32) -> Option<(Rc<OpenFile>, bool)> {
        let files = self.thread_of(tid)?.files.borrow();
        Some((files.get(fd).ok()?, files.cloexec(fd) == Ok(true)))
    }

    fn task_ended(&self, tid: u32) -> bool {
        self.thread_of(tid).is_none_or(Thread::has_ended)
    }

    fn mapped(&self, tid: u32) -> Vec<(u64, u64, Vec<u8>)> {
        let vmas = self.space_of(tid).into_iter().flat_map(|space| space.vmas().iter());
        vmas.filter_map(|(start, vma)| Some((start, vma.end, vma.source.as_ref()?.name().path)))
            .collect()
    }

    fn place(&self, tid: u32, name: &str) -> Option<Rc<Dentry>> {
        let thread = self.thread_of(tid).filter(|t| !t.has_ended())?;
        match name {
            "cwd" => Some(thread.fs.borrow().cwd.clone()),
            "root" => Some(thread.fs.borrow().root.clone()),
            "exe" => Some(self.mm.space(thread.space)?.layout.exe.as_ref()?.dentry().clone()),
            _ => None,
        }
    }

    fn may_access(&self, tid: u32, change: bool) -> bool {
        let Some(target) = self.thread_of(tid).map(|t| t.tid) else { return true };
        if self.tasks.thread(self.current).is_none() {
            return true;
        }
        let by = if change { By::RealIds } else { By::FsIds };
        Kernel::may_access(self, self.current, target, by).is_ok()
    }

    fn read_memory(&mut self, tid: u32, at: u64, buf: &mut [u8]) -> Res<usize> {
        let Some(space) = self.thread_of(tid).map(|t| t.space) else { return Ok(0) };
        Ok(self.mm.read_remote(space, at, buf))
    }

    fn page_map(&self, tid: u32, first: u64, out: &mut [u64]) {
        if let Some(space) = self.space_of(tid) {
            maps::page_map(space, first, out);
        }
    }

    fn write_memory(&mut self, tid: u32, at: u64, bytes: &[u8]) -> Res<usize> {
        let Some(space) = self.thread_of(tid).map(|t| t.space) else { return Ok(0) };
        Ok(self.mm.write_remote(space, at, bytes))
    }

    fn task_text(&mut self, tid: u32, name: &str, whole: bool) -> Res<Vec<u8>> {
        let text = match name {
            "status" => self.status(tid, whole),
            "stat" => self.stat(tid, whole),
            "limits" => self.limits_text(tid),
            "comm" => Some(self.comm(tid) + "\n"),
            "maps" => Some(self.space_of(tid).map(maps::maps).unwrap_or_default()),
            "smaps" => Some(self.space_of(tid).map(maps::smaps).unwrap_or_default()),
            "smaps_rollup" => Some(self.space_of(tid).map(maps::smaps_rollup).unwrap_or_default()),
            "sched" => self.sched_text(tid),
            "statm" => Some(match self.space_of(tid) {
                Some(s) => format!(
                    "{} {} 0 {} 0 {} 0\n",
                    s.mapped() >> PAGE_SHIFT,
                    s.resident() >> PAGE_SHIFT,
                    s.layout
                        .end_code
                        .saturating_sub(s.layout.start_code)
                        .div_ceil(PAGE_SIZE as u64),
                    s.data() >> PAGE_SHIFT
                ),
                None => "0 0 0 0 0 0 0\n".into(),
            }),
            "cmdline" | "environ" => {
                let Some(layout) = self.space_of(tid).map(|s| &s.layout) else {
                    return Ok(Vec::new());
                };
                let range = if name == "cmdline" { layout.args } else { layout.env };
                return Ok(self.peek(tid, range));
            }
            "auxv" => {
                let auxv = self.space_of(tid).map(|s| s.layout.auxv.clone()).unwrap_or_default();
                return Ok(auxv
                    .iter()
                    .flat_map(|&(k, v)| [k, v])
                    .flat_map(u64::to_le_bytes)
                    .collect());
            }
            "io" => Some(
                "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\n\
                 cancelled_write_bytes: 0\n"
                    .into(),
            ),
            "oom_adj" => {
                self.process_by(tid).map(|p| format!("{}\n", oom::old_adj(p.oom_score_adj)))
            }
            "oom_score" => self.process_by(tid).map(|p| format!("{}\n", self.oom_score(p))),
            "oom_score_adj" => self.process_by(tid).map(|p| format!("{}\n", p.oom_score_adj)),
            "schedstat" => {
                let cpu = self.process_by(tid).map_or(0, |p| self.process_cpu(p.pid));
                Some(format!("{cpu} 0 0\n"))
            }
            "syscall" => Some("running\n".into()),
            "coredump_filter" if self.task_ended(tid) => Some(String::new()),
            "loginuid" => self.process_by(tid).map(|p| p.login_uid.to_string()),
            "coredump_filter" => self.process_by(tid).map(|p| format!("{:08x}\n", p.dump_filter)),
            "timerslack_ns" => self.thread_of(tid).map(|t| format!("{}\n", t.timer_slack)),
            _ => None,
        };
        text.map(String::into_bytes).ok_or(Errno::ESRCH)
    }

    fn task_write(&mut self, tid: u32, name: &str, data: &[u8]) -> Res<()> {
        // As a string of C.
        let given = data.split(|&b| b == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(given).trim().to_string();
        match name {
            "comm" => {
                let end = given.len().min(15);
                let thread = self.tasks.thread_mut(ThreadId(tid)).ok_or(Errno::ESRCH)?;
                thread.comm = given[..end].to_vec();
                Ok(())
            }
            "oom_adj" | "oom_score_adj" => {
                let value =
                    number(&text).and_then(|n| i32::try_from(n).ok()).ok_or(Errno::EINVAL)?;
                let value = if name == "oom_adj" { oom::from_old_adj(value) } else { Some(value) };
                let pid = self.process_by(tid).map(|p| p.pid).ok_or(Errno::ESRCH)?;
                self.set_oom_score_adj(pid, value.ok_or(Errno::EINVAL)?)
            }
            "timerslack_ns" => {
                let value =
                    number(&text).and_then(|n| u64::try_from(n).ok()).ok_or(Errno::EINVAL)?;
                let thread = self.tasks.thread_mut(ThreadId(tid)).ok_or(Errno::ESRCH)?;
                thread.timer_slack = if value == 0 { TIMER_SLACK } else { value };
                Ok(())
            }
            "coredump_filter" => {
                /// The kinds of mappings that have a bit.
                const KINDS: u32 = 0x1ff;
                let value =
                    number(&text).and_then(|n| u32::try_from(n).ok()).ok_or(Errno::EINVAL)?;
                let pid = self.process_by(tid).map(|p| p.pid).ok_or(Errno::ESRCH)?;
                self.tasks[pid].dump_filter = value & KINDS;
                Ok(())
            }
            // Limits and maps that change nothing here are accepted.
            "loginuid" => {
                let value = text.parse::<u32>().map_err(|_| Errno::EINVAL)?;
                let pid = self.process_by(tid).map(|p| p.pid).ok_or(Errno::ESRCH)?;
                // audit_set_loginuid: once, and only one's own.
                if self.tasks.thread(self.current).is_none_or(|t| t.pid != pid) {
                    return Err(Errno::EPERM);
                }
                let set = self.tasks[pid].login_uid;
                let auditor = self.tasks[self.current].creds.capable(CAP_AUDIT_CONTROL);
                if set != NO_LOGIN && !auditor {
                    return Err(Errno::EPERM);
                }
                self.tasks[pid].login_uid = value;
                Ok(())
            }
            "clear_refs" => {
                /// Kinds of pages whose marks are to go: all, anonymous, of files, written to; or the largest size so far.
                const KINDS: std::ops::RangeInclusive<i64> = 1..=5;
                // There are no marks to clear: no page is told from another by when it was used.
                let kind =
                    number(&text).filter(|kind| KINDS.contains(kind)).ok_or(Errno::EINVAL)?;
                if kind == 5
                    && let Some(space) = self.thread_of(tid).map(|t| t.space)
                    && let Some(space) = self.mm.space_mut(space)
                {
                    space.forget_peak();
                }
                Ok(())
            }
            // They were written when the box began.
            "uid_map" | "gid_map" | "projid_map" => Err(Errno::EPERM),
            _ => Err(Errno::EINVAL),
        }
    }

    fn system_text(&mut self, path: &str) -> Vec<u8> {
        self.system_file(path).into_bytes()
    }

    fn system_write(&mut self, path: &str, data: &[u8]) -> Res<()> {
        let admin = self
            .tasks
            .thread(self.current)
            .is_some_and(|t| t.creds.capable(crate::task::creds::CAP_SYS_ADMIN));
        if !admin {
            return Err(Errno::EACCES);
        }
        let line = data.split(|&b| b == b'\n').next().unwrap_or_default();
        let name = line[..line.len().min(64)].to_vec();
        match path {
            "sys/kernel/hostname" => self.hostname = name,
            "sys/kernel/domainname" => self.domainname = name,
            _ => return Err(Errno::EACCES),
        }
        Ok(())
    }
}
