//! ptrace(2): the tracer's orders.

use abi::signal::*;
use abi::{Errno, Pod};

use super::Args;
use crate::task::access::By;
use crate::task::ptrace::{Kind, Mode, Traced, Trap, option};
use crate::task::user_regs::{self, PRSTATUS_SIZE};
use crate::{Kernel, ProcessId, SysResult, ThreadId};

#[allow(missing_docs)] // names of ptrace(2)
mod request {
    pub const TRACEME: u64 = 0;
    pub const PEEKTEXT: u64 = 1;
    pub const PEEKDATA: u64 = 2;
    pub const PEEKUSER: u64 = 3;
    pub const POKETEXT: u64 = 4;
    pub const POKEDATA: u64 = 5;
    pub const POKEUSER: u64 = 6;
    pub const CONT: u64 = 7;
    pub const KILL: u64 = 8;
    pub const SINGLESTEP: u64 = 9;
    pub const GETREGS: u64 = 12;
    pub const SETREGS: u64 = 13;
    pub const GETFPREGS: u64 = 14;
    pub const SETFPREGS: u64 = 15;
    pub const ATTACH: u64 = 16;
    pub const DETACH: u64 = 17;
    pub const SYSCALL: u64 = 24;
    pub const ARCH_PRCTL: u64 = 30;
    pub const SYSEMU: u64 = 31;
    pub const SYSEMU_SINGLESTEP: u64 = 32;
    pub const SETOPTIONS: u64 = 0x4200;
    pub const GETEVENTMSG: u64 = 0x4201;
    pub const GETSIGINFO: u64 = 0x4202;
    pub const SETSIGINFO: u64 = 0x4203;
    pub const GETREGSET: u64 = 0x4204;
    pub const SETREGSET: u64 = 0x4205;
    pub const SEIZE: u64 = 0x4206;
    pub const INTERRUPT: u64 = 0x4207;
    pub const LISTEN: u64 = 0x4208;
    pub const PEEKSIGINFO: u64 = 0x4209;
    pub const GETSIGMASK: u64 = 0x420a;
    pub const SETSIGMASK: u64 = 0x420b;
    pub const SECCOMP_GET_FILTER: u64 = 0x420c;
    pub const GET_SYSCALL_INFO: u64 = 0x420e;
}

/// ptrace(2)
pub fn ptrace(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (what, target, addr, data) = (a.u64(0), ThreadId(a.u32(1)), a.u64(2), a.u64(3));
    match what {
        request::TRACEME => return trace_me(k, tid),
        request::ATTACH => return attach(k, tid, target, false, 0, 0),
        request::SEIZE => return attach(k, tid, target, true, addr, data),
        _ => {}
    }
    let me = k.tasks[tid].pid;
    let traced = k.traced(target).filter(|t| t.tracer == me).ok_or(Errno::ESRCH)?;
    let stopped = traced.trap.is_some() && !traced.listening;
    match what {
        request::KILL => {
            if stopped {
                k.send_to_thread(target, siginfo_kill(me), true);
            }
            return Ok(0);
        }
        request::INTERRUPT if !traced.seized => return Err(Errno::EIO.into()),
        request::INTERRUPT => {
            let thread = &mut k.tasks[target];
            if let Some(traced) = thread.ptrace.as_deref_mut() {
                traced.interrupt = true;
            }
            thread.look_at_signals = true;
            return Ok(0);
        }
        _ if !stopped => return Err(Errno::ESRCH.into()),
        _ => {}
    }
    order(k, target, what, addr, data)
}

/// What can be asked of a stopped thread.
fn order(k: &mut Kernel, target: ThreadId, what: u64, addr: u64, data: u64) -> SysResult {
    match what {
        request::PEEKTEXT | request::PEEKDATA => {
            let mut word = [0; 8];
            let space = k.tasks[target].space;
            if k.mm.read_remote(space, addr, &mut word) < word.len() {
                return Err(Errno::EIO.into());
            }
            k.mm.write_user(data, &word)?;
        }
        request::POKETEXT | request::POKEDATA => {
            let space = k.tasks[target].space;
            if k.mm.write_remote(space, addr, &data.to_le_bytes()) < 8 {
                return Err(Errno::EIO.into());
            }
        }
        request::PEEKUSER => {
            let value = user_regs::peek(&k.tasks[target], addr)?;
            k.mm.write_pod(data, &value)?;
        }
        request::POKEUSER => user_regs::poke(&mut k.tasks[target], addr, data)?,
        request::CONT => go(k, target, Mode::Cont, data)?,
        request::SYSCALL => go(k, target, Mode::Syscall, data)?,
        request::SYSEMU => go(k, target, Mode::Sysemu, data)?,
        request::SINGLESTEP => go(k, target, Mode::Step, data)?,
        request::SYSEMU_SINGLESTEP => go(k, target, Mode::SysemuStep, data)?,
        request::DETACH if data > NSIG as u64 => return Err(Errno::EIO.into()),
        request::DETACH => k.detach(target, data as u32),
        request::GETREGS => {
            let bytes = user_regs::general(&k.tasks[target]);
            k.mm.write_user(data, &bytes)?;
        }
        request::SETREGS => {
            let mut bytes = [0; PRSTATUS_SIZE];
            k.mm.read_user(data, &mut bytes)?;
            user_regs::set_general(&mut k.tasks[target], &bytes)?;
        }
        request::GETFPREGS => {
            let fx = k.tasks[target].ctx.fp.fx;
            k.mm.write_user(data, &fx)?;
        }
        request::SETFPREGS => {
            let mut fx = [0; 512];
            k.mm.read_user(data, &mut fx)?;
            user_regs::set_fx(&mut k.tasks[target], &fx)?;
        }
        request::GETREGSET | request::SETREGSET => {
            return register_set(k, target, addr, data, what == request::SETREGSET);
        }
        request::SETOPTIONS => set_options(k, target, data)?,
        request::GETEVENTMSG => {
            let message = trap_owner(k, target)?.message;
            k.mm.write_pod(data, &message)?;
        }
        request::GETSIGINFO => {
            let info = trap(k, target)?.info.ok_or(Errno::EINVAL)?;
            k.mm.write_pod(data, &info)?;
        }
        request::SETSIGINFO => {
            let info: Siginfo = k.mm.read_pod(data)?;
            let traced = k.tasks[target].ptrace.as_deref_mut().ok_or(Errno::ESRCH)?;
            let trap = traced.trap.as_mut().ok_or(Errno::ESRCH)?;
            *trap.info.as_mut().ok_or(Errno::EINVAL)? = info;
        }
        request::LISTEN => {
            let traced = k.tasks[target].ptrace.as_deref_mut().ok_or(Errno::ESRCH)?;
            let stop = traced.trap.as_ref().is_some_and(|t| t.code >> 8 == option::EVENT_STOP);
            if !traced.seized || !stop {
                return Err(Errno::EIO.into());
            }
            traced.listening = true;
            k.trap_listener(target);
        }
        request::PEEKSIGINFO => return peek_signals(k, target, addr, data),
        request::GETSIGMASK | request::SETSIGMASK if addr != 8 => return Err(Errno::EINVAL.into()),
        request::GETSIGMASK => {
            let thread = &k.tasks[target];
            let mask = thread.saved_mask.unwrap_or(thread.blocked).0;
            k.mm.write_pod(data, &mask)?;
        }
        request::SETSIGMASK => {
            let mask = crate::signal::SigSet(k.mm.read_pod(data)?);
            k.tasks[target].saved_mask = None;
            k.set_mask(target, mask);
        }
        // Takes CAP_SYS_ADMIN, which nobody here has.
        request::SECCOMP_GET_FILTER => return Err(Errno::EACCES.into()),
        request::GET_SYSCALL_INFO => return syscall_info(k, target, addr, data),
        request::ARCH_PRCTL => return super::prctl::arch_prctl_of(k, target, data as i32, addr),
        _ => return Err(Errno::EIO.into()),
    }
    Ok(0)
}

fn siginfo_kill(from: ProcessId) -> Siginfo {
    crate::signal::siginfo_from(SIGKILL, SI_USER, from.0, 0)
}

fn trap(k: &Kernel, target: ThreadId) -> Result<&Trap, Errno> {
    k.traced(target).and_then(|t| t.trap.as_ref()).ok_or(Errno::ESRCH)
}

fn trap_owner(k: &Kernel, target: ThreadId) -> Result<&Traced, Errno> {
    k.traced(target).ok_or(Errno::ESRCH)
}

fn go(k: &mut Kernel, target: ThreadId, mode: Mode, signal: u64) -> Result<(), Errno> {
    if signal > NSIG as u64 {
        return Err(Errno::EIO);
    }
    k.resume(target, mode, signal as u32);
    Ok(())
}

fn trace_me(k: &mut Kernel, tid: ThreadId) -> SysResult {
    if k.tasks[tid].ptrace.is_some() {
        return Err(Errno::EPERM.into());
    }
    let parent = k.tasks[k.tasks[tid].pid].parent;
    k.tasks.process(parent).ok_or(Errno::EPERM)?;
    k.tasks[tid].ptrace = Some(Box::new(Traced::new(parent, 0, false)));
    Ok(0)
}

fn check_options(options: u64) -> Result<u32, Errno> {
    let options = u32::try_from(options).map_err(|_| Errno::EINVAL)?;
    if options & !option::ALL != 0 {
        return Err(Errno::EINVAL);
    }
    if options & option::SUSPEND_SECCOMP != 0 {
        return Err(Errno::EPERM);
    }
    Ok(options)
}

fn set_options(k: &mut Kernel, target: ThreadId, options: u64) -> Result<(), Errno> {
    let options = check_options(options)?;
    if let Some(traced) = k.tasks[target].ptrace.as_deref_mut() {
        traced.options = options;
    }
    Ok(())
}

/// PTRACE_ATTACH, PTRACE_SEIZE
fn attach(
    k: &mut Kernel,
    tid: ThreadId,
    target: ThreadId,
    seize: bool,
    addr: u64,
    options: u64,
) -> SysResult {
    let mut flags = 0;
    if seize {
        if addr != 0 {
            return Err(Errno::EIO.into());
        }
        flags =
            check_options(options).map_err(|e| if e == Errno::EINVAL { Errno::EIO } else { e })?;
    }
    let me = k.tasks[tid].pid;
    let pid = k.tasks.thread(target).map(|t| t.pid).ok_or(Errno::ESRCH)?;
    if pid == me
        || k.tasks[target].has_ended()
        || k.may_access(tid, target, By::RealIds).is_err()
        || k.tasks[target].ptrace.is_some()
        || k.tasks[pid].exiting.is_some()
    {
        return Err(Errno::EPERM.into());
    }
    k.tasks[target].ptrace = Some(Box::new(Traced::new(me, flags, seize)));
    k.tasks[target].leaving = false;
    let stopped = k.tasks[pid].stopped;
    if !seize {
        k.send_to_thread(target, crate::signal::siginfo(SIGSTOP, SI_KERNEL), true);
    }
    if let Some(signal) = stopped {
        k.trap_group(target, signal);
    }
    Ok(0)
}

/// PTRACE_GETREGSET, PTRACE_SETREGSET: `iov` is the address of a struct iovec.
fn register_set(k: &mut Kernel, target: ThreadId, kind: u64, iov: u64, set: bool) -> SysResult {
    let [base, len]: [u64; 2] = k.mm.read_pod(iov)?;
    let avx = k.processor.avx;
    let mut bytes = user_regs::set_of(&k.tasks[target], kind, avx)?;
    let align = if kind == user_regs::NT_X86_XSTATE { 1 } else { 8 };
    if len % align != 0 {
        return Err(Errno::EINVAL.into());
    }
    let n = bytes.len().min(usize::try_from(len).unwrap_or(usize::MAX));
    if set {
        k.mm.read_user(base, &mut bytes[..n])?;
        user_regs::change_set(&mut k.tasks[target], kind, &bytes[..n], avx)?;
    } else {
        k.mm.write_user(base, &bytes[..n])?;
    }
    k.mm.write_pod(iov.wrapping_add(8), &(n as u64))?;
    Ok(0)
}

/// PTRACE_PEEKSIGINFO: struct { u64 off; u32 flags; i32 nr; }
fn peek_signals(k: &mut Kernel, target: ThreadId, args: u64, out: u64) -> SysResult {
    let off: u64 = k.mm.read_pod(args)?;
    let [flags, count]: [u32; 2] = k.mm.read_pod(args.wrapping_add(8))?;
    if flags & !1 != 0 || (count as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let thread = &k.tasks[target];
    let queue = if flags & 1 != 0 { &k.tasks[thread.pid].pending } else { &thread.pending };
    let skip = usize::try_from(off).unwrap_or(usize::MAX);
    let infos: Vec<Siginfo> = queue.iter().skip(skip).take(count as usize).copied().collect();
    for (i, info) in infos.iter().enumerate() {
        if k.mm.write_pod(out.wrapping_add(i as u64 * 128), info).is_err() {
            return if i > 0 { Ok(i as u64) } else { Err(Errno::EFAULT.into()) };
        }
    }
    Ok(infos.len() as u64)
}

/// PTRACE_GET_SYSCALL_INFO: as much of the record as fits in `size` bytes; its whole size.
fn syscall_info(k: &mut Kernel, target: ThreadId, size: u64, out: u64) -> SysResult {
    /// Bytes of struct ptrace_syscall_info before its union, and of it for each kind of stop.
    const HEAD: usize = 24;
    const ENTRY: usize = HEAD + 56;
    const EXIT: usize = HEAD + 9;
    const SECCOMP: usize = HEAD + 60;
    let trap = trap(k, target)?.kind;
    let message = trap_owner(k, target)?.message;
    let thread = &k.tasks[target];
    let g = &thread.ctx.gpr;
    let mut bytes = [0; SECCOMP];
    let (op, len) = match trap {
        Kind::Entry => (1, ENTRY),
        Kind::Exit => (2, EXIT),
        Kind::Seccomp => (3, SECCOMP),
        _ => (0, HEAD),
    };
    bytes[0] = op;
    crate::task::seccomp::ARCH.to_bytes(&mut bytes[4..]);
    thread.ctx.rip.to_bytes(&mut bytes[8..]);
    g[abi::RSP].to_bytes(&mut bytes[16..]);
    if op == 1 || op == 3 {
        let words = [thread.orig_rax, g[abi::RDI], g[abi::RSI], g[abi::RDX], g[10], g[8], g[9]];
        for (word, at) in words.iter().zip((HEAD..).step_by(8)) {
            word.to_bytes(&mut bytes[at..]);
        }
        (message as u32).to_bytes(&mut bytes[ENTRY..]);
    } else if op == 2 {
        let value = g[abi::RAX];
        value.to_bytes(&mut bytes[HEAD..]);
        bytes[HEAD + 8] = u8::from(value > -4096_i64 as u64);
    }
    let n = len.min(usize::try_from(size).unwrap_or(usize::MAX));
    k.mm.write_user(out, &bytes[..n])?;
    Ok(len as u64)
}
