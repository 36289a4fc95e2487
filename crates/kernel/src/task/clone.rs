//! New tasks: fork(2), vfork(2), clone(2), clone3(2).

use std::cell::RefCell;
use std::rc::Rc;

use abi::sched::*;
use abi::signal::{SIG_IGN, SIGCHLD, SigAltStack, Sigaction};
use abi::time::RLIMIT_NPROC;
use abi::{Errno, Pod};
use mem::Purpose;

use super::ptrace::option;
use super::{Process, ProcessId, Run, Thread, ThreadId};
use crate::file::pidfd::{self, Life};
use crate::ipc::shm::Mapping;
use crate::mm::TASK_SIZE;
use crate::signal::Pending;
use crate::{Kernel, Stop, SysResult, Wait, WaitKey};

/// Bytes of the first version of `clone_args`.
const CLONE_ARGS_VER0: u64 = 64;

impl Kernel {
    /// Makes a task as `args` says and returns its id, or (vfork) waits until the child lets go of the memory.
    pub(crate) fn clone_task(&mut self, tid: ThreadId, args: CloneArgs) -> SysResult {
        if self.tasks[tid].restart.again {
            return self.wait_vfork(tid);
        }
        let flags = args.flags;
        check_flags(&args)?;
        if flags & CLONE_SETTLS != 0 && args.tls >= TASK_SIZE {
            return Err(Errno::EPERM.into());
        }
        if args.set_tid_size > 0 {
            // As without CAP_CHECKPOINT_RESTORE.
            return Err(Errno::EPERM.into());
        }
        if flags & CLONE_INTO_CGROUP != 0 {
            self.file(tid, args.cgroup as i32)?;
        }
        if flags & (CLONE_NAMESPACES & !CLONE_NEWNS | CLONE_NEWNS | CLONE_INTO_CGROUP) != 0 {
            // As without CAP_SYS_ADMIN in a container.
            return Err(Errno::EPERM.into());
        }
        let pid = self.tasks[tid].pid;
        let user = self.tasks[tid].creds.uid.real;
        let limit = self.tasks[pid].limits.soft(RLIMIT_NPROC);
        if user != 0
            && self.tasks.threads().filter(|t| t.creds.uid.real == user).count() as u64 >= limit
        {
            return Err(Errno::EAGAIN.into());
        }
        if self.threads_are_over() {
            return Err(Errno::EAGAIN.into());
        }
        if flags & CLONE_FILES == 0
            && self.tasks[tid].files.borrow().bytes()
                > self.mm.phys.account().room(Purpose::Programs)
        {
            return Err(Errno::ENOMEM.into());
        }
        let id = self.tasks.new_id().ok_or(Errno::EAGAIN)?;
        let new_tid = ThreadId(id);
        // A place for the descriptor is found before there is anything to take back.
        let life = Life::new(ProcessId(id));
        let pidfd = if flags & CLONE_PIDFD != 0 {
            let file = pidfd::create(&mut self.cx(tid), &life, false);
            let fd = self.add_file(tid, file, true)?;
            if let Err(errno) = self.mm.write_pod(args.pidfd, &(fd as u32)) {
                let _ = self.tasks[tid].files.borrow_mut().close(fd as i32);
                return Err(errno.into());
            }
            Some(fd as i32)
        } else {
            None
        };

        let space = if flags & CLONE_VM != 0 {
            let space = self.tasks[tid].space;
            self.mm.share_space(space);
            space
        } else {
            match self.mm.fork_space(self.tasks[tid].space) {
                Some(space) => space,
                None => {
                    if let Some(fd) = pidfd {
                        let _ = self.tasks[tid].files.borrow_mut().close(fd);
                    }
                    return Err(Errno::ENOMEM.into());
                }
            }
        };
        if flags & CLONE_VM == 0 {
            self.note_shm(space, (0, u64::MAX), pid, Mapping::Attach);
        }
        if flags & CLONE_SYSVSEM != 0 {
            self.tasks[tid].undo.get_or_insert_default();
        }
        if flags & CLONE_PARENT_SETTID != 0 {
            let _ = self.mm.write_pod(args.parent_tid, &(id as i32));
        }
        // The child starts with what the parent has had, this slice as well: a chain of forks does not keep others from running.
        self.account();
        let thread = self.child_thread(tid, new_tid, space, &args);
        if flags & CLONE_THREAD == 0 {
            let mut process = self.child_process(pid, ProcessId(id), &args);
            if flags & CLONE_PARENT == 0 {
                process.maker = tid;
            }
            process.life = life;
            let parent = process.parent;
            self.tasks.add_process(process);
            if let Some(parent) = self.tasks.process_mut(parent) {
                parent.children.insert(ProcessId(id));
            }
        }
        self.tasks[thread.pid].threads.insert(new_tid);
        self.tasks.add_thread(thread);
        let event = if flags & CLONE_VFORK != 0 {
            option::EVENT_VFORK
        } else if args.exit_signal != u64::from(SIGCHLD) {
            option::EVENT_CLONE
        } else {
            option::EVENT_FORK
        };
        if flags & CLONE_UNTRACED == 0 {
            self.trace_child(tid, new_tid, event, flags & CLONE_PTRACE != 0);
        }
        if flags & CLONE_CHILD_SETTID != 0 {
            let here = self.mm.current();
            self.mm.activate(space);
            let _ = self.mm.write_pod(args.child_tid, &(id as i32));
            self.mm.activate(here);
        }
        if flags & CLONE_VFORK != 0 {
            self.tasks[tid].restart.value = u64::from(id);
            self.tasks[new_tid].vfork_done = false;
            if flags & CLONE_UNTRACED == 0 {
                self.trace_event_now(tid, event, u64::from(id));
            }
            return self.wait_vfork(tid);
        }
        if flags & CLONE_UNTRACED == 0 {
            self.trace_event(tid, event, u64::from(id));
        }
        Ok(u64::from(id))
    }

    /// Waits until the vfork child executes a program or ends.
    fn wait_vfork(&mut self, tid: ThreadId) -> SysResult {
        let child = self.tasks[tid].restart.value as u32;
        match self.tasks.thread(ThreadId(child)) {
            Some(thread) if !thread.vfork_done && thread.run != Run::Dead => {
                // Only a fatal signal may end this wait: the child runs on the caller's stack.
                let mut wait = Wait::on(WaitKey::process(ProcessId(child)));
                wait.uninterruptible = true;
                Err(Stop::Block(wait))
            }
            _ => {
                self.trace_event(tid, option::EVENT_VFORK_DONE, u64::from(child));
                Ok(u64::from(child))
            }
        }
    }

    /// The vfork child has a memory of its own, or is gone.
    pub(crate) fn vfork_release(&mut self, tid: ThreadId) {
        if let Some(thread) = self.tasks.thread_mut(tid)
            && !thread.vfork_done
        {
            thread.vfork_done = true;
            self.wakes.borrow_mut().push(WaitKey::process(ProcessId(tid.0)));
        }
    }

    fn child_thread(
        &self,
        tid: ThreadId,
        new_tid: ThreadId,
        space: crate::mm::SpaceId,
        args: &CloneArgs,
    ) -> Thread {
        let parent = &self.tasks[tid];
        let flags = args.flags;
        let mut ctx = parent.ctx.clone();
        ctx.gpr[abi::RAX] = 0;
        if args.stack != 0 {
            ctx.gpr[abi::RSP] = args.stack.wrapping_add(args.stack_size);
        }
        if flags & CLONE_SETTLS != 0 {
            ctx.fs_base = args.tls;
            ctx.segments[2] = 0;
        }
        let files = if flags & CLONE_FILES != 0 {
            parent.files.clone()
        } else {
            Rc::new(RefCell::new(parent.files.borrow().fork()))
        };
        let fs = if flags & CLONE_FS != 0 {
            parent.fs.clone()
        } else {
            Rc::new(RefCell::new(parent.fs.borrow().clone()))
        };
        let handlers = if flags & CLONE_SIGHAND != 0 {
            parent.handlers.clone()
        } else {
            let mut copy = parent.handlers.borrow().clone();
            if flags & CLONE_CLEAR_SIGHAND != 0 {
                for action in &mut copy.0 {
                    if action.handler != SIG_IGN {
                        *action = Sigaction::default();
                    }
                }
            }
            Rc::new(RefCell::new(copy))
        };
        // sigaltstack(2): gone in a thread, inherited by fork and vfork.
        let keep_stack = flags & CLONE_VM == 0 || flags & CLONE_VFORK != 0;
        let pid = if flags & CLONE_THREAD != 0 { parent.pid } else { ProcessId(new_tid.0) };
        Thread {
            tid: new_tid,
            pid,
            ctx,
            space,
            files,
            fs,
            handlers,
            creds: parent.creds.clone(),
            comm: parent.comm.clone(),
            run: Run::Ready,
            syscall: None,
            restart: Default::default(),
            blocked: parent.blocked,
            saved_mask: None,
            pending: Pending::default(),
            yielded: false,
            forced: false,
            look_at_signals: false,
            altstack: if keep_stack { parent.altstack } else { SigAltStack::default() },
            clear_tid: if flags & CLONE_CHILD_CLEARTID != 0 { args.child_tid } else { 0 },
            robust_list: (0, 0),
            vfork_done: true,
            cpu_ns: 0,
            vruntime: parent.vruntime,
            sys_ns: 0,
            fault: (0, 0, 0),
            death_signal: 0,
            timer_slack: parent.timer_slack,
            personality: parent.personality,
            trace: None,
            traced: 0,
            nice: parent.nice,
            policy: if parent.policy.1 { (0, false) } else { parent.policy },
            ioprio: parent.ioprio,
            mempolicy: parent.mempolicy,
            rseq: parent.rseq.filter(|_| flags & CLONE_VM == 0),
            ptrace: None,
            orig_rax: parent.orig_rax,
            leaving: false,
            asked: false,
            broken_off: false,
            restart_block: None,
            injected: None,
            dispatch: None,
            broken_memory: parent.broken_memory,
            flushes: parent.flushes,
            exit_status: 0,
            seccomp: parent.seccomp.clone(),
            undo: parent.undo.clone().filter(|_| flags & CLONE_SYSVSEM != 0),
        }
    }

    fn child_process(&self, pid: ProcessId, new: ProcessId, args: &CloneArgs) -> Process {
        let caller = &self.tasks[pid];
        let parent = if args.flags & CLONE_PARENT != 0 { caller.parent } else { pid };
        let mut process = Process::new(new, parent, self.now());
        process.maker = caller.maker;
        process.pgid = caller.pgid;
        process.sid = caller.sid;
        process.tty = caller.tty;
        process.exit_signal = if args.flags & CLONE_PARENT != 0 {
            caller.exit_signal
        } else {
            args.exit_signal as u32
        };
        process.limits = caller.limits.clone();
        process.dumpable = caller.dumpable;
        process.no_huge_pages = caller.no_huge_pages;
        process.dump_filter = caller.dump_filter;
        process.login_uid = caller.login_uid;
        process.membarrier = caller.membarrier;
        process.exe = caller.exe.clone();
        process.oom_score_adj = caller.oom_score_adj;
        process.oom_score_adj_min = caller.oom_score_adj_min;
        process
    }

    /// Reads clone3's argument record (`E2BIG` for unknown non-zero fields).
    pub(crate) fn read_clone_args(&mut self, va: u64, size: u64) -> Result<CloneArgs, Errno> {
        if size < CLONE_ARGS_VER0 {
            return Err(Errno::EINVAL);
        }
        if size > 4096 {
            return Err(Errno::E2BIG);
        }
        let bytes = self.mm.read_vec(va, size as usize)?;
        if bytes.get(CloneArgs::SIZE..).is_some_and(|rest| rest.iter().any(|&b| b != 0)) {
            return Err(Errno::E2BIG);
        }
        Ok(CloneArgs::from_bytes(&bytes))
    }
}

/// The combinations that clone(2) refuses with EINVAL.
fn check_flags(args: &CloneArgs) -> Result<(), Errno> {
    let flags = args.flags;
    let without = |a: u64, b: u64| flags & a != 0 && flags & b == 0;
    let known = 0xffff_ffff & !CSIGNAL | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
    let bad = flags & !known != 0
        || without(CLONE_SIGHAND, CLONE_VM)
        || without(CLONE_THREAD, CLONE_SIGHAND)
        || flags & CLONE_FS != 0 && flags & CLONE_NEWNS != 0
        || flags & CLONE_SIGHAND != 0 && flags & CLONE_CLEAR_SIGHAND != 0
        || flags & CLONE_PIDFD != 0 && flags & CLONE_THREAD != 0;
    if bad { Err(Errno::EINVAL) } else { Ok(()) }
}
