//! seccomp(2): what a thread's filters say of a system call.

use std::rc::Rc;

use abi::signal::{SIGKILL, SIGSYS, Siginfo};
use abi::{Errno, Pod};

use crate::bpf::{Packet, Program, SECCOMP_DATA};
use crate::signal::siginfo;
use crate::{Kernel, ThreadId};

/// `AUDIT_ARCH_X86_64`.
pub const ARCH: u32 = 0xc000_003e;
/// `SYS_SECCOMP`: `si_code` of the signal that a filter raises.
const SYS_SECCOMP: i32 = 1;
/// Most instructions of all filters of a thread together (`MAX_INSNS_PER_PATH`); each filter counts four more.
pub const INSNS_MAX: usize = 32768;

/// `SECCOMP_RET_*`: what a filter can answer, by the upper half of its value.
#[allow(missing_docs)] // names of seccomp(2)
pub mod action {
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const KILL_THREAD: u32 = 0;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
    /// The part that is the action; the rest is data.
    pub const MASK: u32 = 0xffff_0000;
}

/// One filter and those that were there before it.
#[derive(Debug)]
pub struct Filter {
    /// The program.
    pub program: Program,
    /// The filter that was installed before.
    pub previous: Option<Rc<Filter>>,
    /// Number of filters.
    pub depth: u32,
    /// Instructions of all of them, and four more for each.
    pub insns: usize,
}

impl Drop for Filter {
    fn drop(&mut self) {
        // One after the other: a chain of thousands would be as many frames deep.
        let mut next = self.previous.take();
        while let Some(mut filter) = next.and_then(Rc::into_inner) {
            next = filter.previous.take();
        }
    }
}

/// How a thread is confined.
#[derive(Clone, Debug, Default)]
pub enum Seccomp {
    /// Not at all.
    #[default]
    Off,
    /// read, write, _exit and sigreturn only.
    Strict,
    /// By filters.
    Filter(Rc<Filter>),
}

impl Seccomp {
    /// `SECCOMP_MODE_*`.
    pub fn mode(&self) -> u32 {
        match self {
            Seccomp::Off => 0,
            Seccomp::Strict => 1,
            Seccomp::Filter(_) => 2,
        }
    }

    /// Number of filters.
    pub fn filters(&self) -> u32 {
        if let Seccomp::Filter(filter) = self { filter.depth } else { 0 }
    }

    /// Whether `ancestor` is this or one of the filters before it.
    pub fn descends_from(&self, ancestor: &Seccomp) -> bool {
        let (Seccomp::Filter(own), Seccomp::Filter(ancestor)) = (self, ancestor) else {
            return matches!(ancestor, Seccomp::Off);
        };
        let mut at = Some(own);
        while let Some(filter) = at {
            if Rc::ptr_eq(filter, ancestor) {
                return true;
            }
            at = filter.previous.as_ref();
        }
        false
    }
}

/// `struct seccomp_data`.
struct Call {
    nr: u32,
    rip: u64,
    args: [u64; 6],
}

impl Packet for Call {
    fn load(&self, at: u32, _size: u32) -> Option<u32> {
        let half = |value: u64, at: u32| Some(if at & 4 == 0 { value } else { value >> 32 } as u32);
        match at {
            0 => Some(self.nr),
            4 => Some(ARCH),
            8 | 12 => half(self.rip, at),
            _ => half(*self.args.get((at as usize - 16) / 8)?, at),
        }
    }

    fn length(&self) -> u32 {
        SECCOMP_DATA
    }
}

/// What becomes of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is made.
    Run,
    /// It is not; rax is as it shall be.
    Skip,
    /// The tracer decides (`PTRACE_EVENT_SECCOMP`), with this message.
    Ask(u64),
    /// The thread is gone.
    Gone,
}

impl Kernel {
    /// Judges the call that `tid` is about to make. `asked`: the tracer has seen it and let it pass.
    pub(crate) fn seccomp(&mut self, tid: ThreadId, nr: u64, asked: bool) -> Verdict {
        let thread = &self.tasks[tid];
        let filter = match &thread.seccomp {
            Seccomp::Off => return Verdict::Run,
            Seccomp::Strict => {
                /// read, write, rt_sigreturn, exit
                const ALLOWED: [u64; 4] = [0, 1, 15, 60];
                if ALLOWED.contains(&nr) {
                    return Verdict::Run;
                }
                self.exit_thread(tid, SIGKILL as i32);
                return Verdict::Gone;
            }
            Seccomp::Filter(filter) => filter.clone(),
        };
        let g = &thread.ctx.gpr;
        let args = [g[abi::RDI], g[abi::RSI], g[abi::RDX], g[abi::R10], g[abi::R8], g[abi::R9]];
        let call = Call { nr: nr as u32, rip: thread.ctx.rip, args };
        let answer = strictest(&filter, &call);
        let data = answer & !action::MASK;
        match answer & action::MASK {
            action::ALLOW => Verdict::Run,
            action::LOG => {
                // Linux writes it to the audit log.
                if self.strace {
                    let name = self.table.name(nr);
                    self.host.log(&format!("[pid {tid:>5}] seccomp logs {name}"));
                }
                Verdict::Run
            }
            action::ERRNO => {
                let errno = i64::from(data.min(4095));
                self.tasks[tid].ctx.gpr[abi::RAX] = -errno as u64;
                Verdict::Skip
            }
            action::TRAP => {
                self.tasks[tid].ctx.gpr[abi::RAX] = nr;
                self.force_signal(tid, sigsys(&call, data));
                Verdict::Skip
            }
            action::TRACE if asked => Verdict::Run,
            action::TRACE if self.may_ask_tracer(tid) => Verdict::Ask(u64::from(data)),
            action::TRACE => {
                self.tasks[tid].ctx.gpr[abi::RAX] = Errno::ENOSYS.to_rax();
                Verdict::Skip
            }
            action::KILL_THREAD if self.tasks[self.tasks[tid].pid].threads.len() > 1 => {
                self.exit_thread(tid, SIGSYS as i32);
                Verdict::Gone
            }
            // KILL_PROCESS, and what is unknown.
            _ => {
                let pid = self.tasks[tid].pid;
                self.tasks[tid].ctx.gpr[abi::RAX] = nr;
                self.log_death(tid, SIGSYS);
                let core = self.core_bit(pid);
                self.exit_group(pid, SIGSYS as i32 | core);
                self.end_thread(tid);
                Verdict::Gone
            }
        }
    }
}

/// The answer of all filters that counts: the smallest action, as a signed number; of equals the newest filter's.
fn strictest(newest: &Rc<Filter>, call: &Call) -> u32 {
    let mut result = action::ALLOW;
    let mut at = Some(newest);
    while let Some(filter) = at {
        let answer = filter.program.run(call);
        if ((answer & action::MASK) as i32) < (result & action::MASK) as i32 {
            result = answer;
        }
        at = filter.previous.as_ref();
    }
    result
}

/// siginfo of SIGSYS: the address after the instruction, the number and the architecture.
fn sigsys(call: &Call, data: u32) -> Siginfo {
    let mut info = siginfo(SIGSYS, SYS_SECCOMP);
    info.errno = data as i32;
    info.fields[0] = call.rip;
    info.fields[1] = u64::from(call.nr) | u64::from(ARCH) << 32;
    info
}

/// `struct sock_fprog` in user memory: a program's length and address.
pub fn read_program(k: &mut Kernel, at: u64) -> Result<(usize, u64), Errno> {
    let record: [u64; 2] = k.mm.read_pod(at)?;
    Ok((usize::from(u16::from_bytes(&record[0].to_le_bytes())), record[1]))
}
