//! execve(2): finding the program ([`script`], [`elf`]), loading it ([`load`], [`stack`]), and replacing the process.

pub mod elf;
mod init;
pub mod load;
pub mod script;
pub mod stack;
pub mod start;

use std::rc::Rc;

use abi::auxv::{AT_EGID, AT_EUID, AT_GID, AT_HWCAP, AT_HWCAP2, AT_SECURE, AT_UID};
use abi::fcntl::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use abi::signal::{SIGKILL, SIGSEGV, SigAltStack};
use abi::stat::{S_ISGID, S_ISUID, S_IXGRP};
use abi::{Context, Errno};
use mem::{PAGE_SHIFT, PAGE_SIZE, Phys};

pub use start::{StartError, StartSpec};

use self::elf::Elf;
use self::load::{Entry, Object, Program};
use self::stack::StackSpec;
use crate::fs::Dentry;
use crate::fs::ops::{check_executable, find_executable};
use crate::mm::{MapSource, Use};
use crate::task::thread::comm_of;
use crate::{Kernel, Stop, SysResult, ThreadId};

/// Longest string of an argument or variable (`MAX_ARG_STRLEN`).
const STRING_MAX: usize = 128 << 10;
/// Most bytes of all strings, whatever the stack limit.
const TOTAL_MAX: u64 = 6 << 20;
/// Files that are looked at: a program behind five interpreters (`exec_binprm`).
const FILES_MAX: u32 = 6;

/// A program found and checked, ready to be loaded.
struct Found {
    dentry: Rc<Dentry>,
    main: Object,
    interpreter: Option<Object>,
    argv: Vec<Vec<u8>>,
    /// `AT_EXECFN` and `comm`.
    path: Vec<u8>,
    set_uid: Option<u32>,
    set_gid: Option<u32>,
}

/// Why no program runs.
pub(crate) enum NotRun {
    /// It cannot be: nothing has changed.
    Refused(Errno),
    /// It turned out to be broken when the old one was given up already: the process is to end.
    Broken(Errno),
}

impl From<Errno> for NotRun {
    fn from(errno: Errno) -> NotRun {
        NotRun::Refused(errno)
    }
}

impl NotRun {
    /// The error, for those who start a process.
    pub(crate) fn errno(self) -> Errno {
        let (NotRun::Refused(errno) | NotRun::Broken(errno)) = self;
        errno
    }
}

/// Copies bytes of a mappable object: bytes copied, fewer at its end.
fn read_source(
    source: &Rc<dyn MapSource>,
    phys: &mut Phys,
    size: u64,
    offset: u64,
    buf: &mut [u8],
) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buf.len() {
        let at = offset.checked_add(done as u64).filter(|&at| at < size);
        let Some(at) = at else { break };
        let frame = match source.page(phys, at >> PAGE_SHIFT, Use::Private) {
            Ok(frame) => frame,
            Err(mem::FaultKind::OutOfMemory) => return Err(Errno::ENOMEM),
            Err(_) => break,
        };
        let from = at as usize % PAGE_SIZE;
        let left = (size - at).min((buf.len() - done) as u64) as usize;
        let n = left.min(PAGE_SIZE - from);
        buf[done..done + n].copy_from_slice(&phys.bytes(frame)[from..from + n]);
        done += n;
    }
    Ok(done)
}

impl Kernel {
    /// execve(2) and execveat(2) with arguments in the caller's memory.
    pub(crate) fn execve(
        &mut self,
        tid: ThreadId,
        dir: i32,
        path: u64,
        argv: u64,
        envp: u64,
        flags: u32,
    ) -> SysResult {
        if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let path = self.mm.read_path(path)?;
        let mut total = 0;
        let argv = self.read_strings(argv, &mut total)?;
        let envp = self.read_strings(envp, &mut total)?;
        let envp = self.with_new_environment(envp);
        match self.exec_with(tid, dir, path, argv, envp, flags) {
            Ok(()) => {}
            Err(NotRun::Refused(errno)) => return Err(errno.into()),
            Err(NotRun::Broken(_)) => {
                let pid = self.tasks[tid].pid;
                self.log_death(tid, SIGSEGV);
                let core = self.core_bit(pid);
                self.exit_group(pid, SIGSEGV as i32 | core);
            }
        }
        Err(Stop::NoReturn)
    }

    /// An array of strings, bounded as Linux bounds it (`E2BIG`).
    fn read_strings(&mut self, va: u64, total: &mut u64) -> Result<Vec<Vec<u8>>, Errno> {
        let mut out = Vec::new();
        if va == 0 {
            return Ok(out);
        }
        let limit = self
            .mm
            .space(self.mm.current())
            .map_or(TOTAL_MAX, |s| (s.limits.stack / 4).clamp(128 << 10, TOTAL_MAX));
        loop {
            let at = va.wrapping_add(out.len() as u64 * 8);
            let pointer: u64 = self.mm.read_pod(at)?;
            if pointer == 0 {
                return Ok(out);
            }
            let text = match self.mm.read_cstr(pointer, STRING_MAX) {
                Err(Errno::ENAMETOOLONG) => return Err(Errno::E2BIG),
                text => text?,
            };
            *total += text.len() as u64 + 9;
            if *total > limit {
                return Err(Errno::E2BIG);
            }
            out.push(text);
        }
    }

    /// Replaces the program of the caller's process.
    pub(crate) fn exec_with(
        &mut self,
        tid: ThreadId,
        dir: i32,
        path: Vec<u8>,
        mut argv: Vec<Vec<u8>>,
        envp: Vec<Vec<u8>>,
        flags: u32,
    ) -> Result<(), NotRun> {
        // Linux 5.18: no program runs without argv[0].
        if argv.is_empty() {
            argv.push(Vec::new());
        }
        let found = self.find_program(tid, dir, path, argv, flags)?;
        let mut creds = self.tasks[tid].creds.clone();
        let secure = creds.exec(found.set_uid, found.set_gid);
        let mut random = [0; 16];
        self.host.random(&mut random);
        let program = Program {
            main: found.main.clone(),
            interpreter: found.interpreter.clone(),
            stack: StackSpec {
                argv: &found.argv,
                envp: &envp,
                path: &found.path,
                random,
                auxv: vec![
                    (AT_HWCAP, u64::from(self.processor.hwcap)),
                    (AT_HWCAP2, self.processor.hwcap2()),
                    (AT_UID, u64::from(creds.uid.real)),
                    (AT_EUID, u64::from(creds.uid.effective)),
                    (AT_GID, u64::from(creds.gid.real)),
                    (AT_EGID, u64::from(creds.gid.effective)),
                    (AT_SECURE, u64::from(secure)),
                ],
            },
        };
        let pid = self.tasks[tid].pid;
        let old = self.tasks[tid].space;
        let space = self.mm.new_space(self.tasks[pid].limits.memory());
        self.mm.activate(space);
        let entry = match load::load(&mut self.mm, &program) {
            Ok(entry) => entry,
            Err(errno) => {
                self.mm.activate(old);
                self.mm.drop_space(space);
                return Err(NotRun::Broken(errno));
            }
        };
        let running = crate::fs::lease::Program::new(&self.shared, &found.dentry);
        if let Some(space) = self.mm.space_mut(space) {
            space.layout.exe = Some(running);
        }
        self.become_program(tid, space, entry, &found);
        let leader = ThreadId(pid.0);
        self.tasks[leader].creds = creds;
        if secure {
            self.tasks[pid].dumpable = 0;
            self.tasks[leader].death_signal = 0;
        }
        Ok(())
    }

    /// The point of no return: the process has one thread, in the new space, with fresh registers.
    fn become_program(
        &mut self,
        tid: ThreadId,
        space: crate::mm::SpaceId,
        entry: Entry,
        found: &Found,
    ) {
        let pid = self.tasks[tid].pid;
        for other in self.tasks[pid].threads.clone() {
            if other != tid {
                self.end_thread(other);
            }
        }
        self.mm.activate(self.tasks[tid].space);
        self.release_robust_list(tid);
        self.vfork_release(tid);
        let old = std::mem::replace(&mut self.tasks[tid].space, space);
        self.mm.activate(space);
        self.note_space_end(old, pid);
        self.mm.drop_space(old);
        self.mm.activate(space);
        // A thread that executes a program becomes the process's first thread.
        let leader = ThreadId(pid.0);
        if tid != leader
            && let Some(mut thread) = self.tasks.remove_thread(tid)
        {
            thread.tid = leader;
            self.tasks[pid].threads.remove(&tid);
            self.tasks[pid].threads.insert(leader);
            self.tasks.add_thread(thread);
            if self.current == tid {
                self.current = leader;
            }
        }
        self.close_on_exec(leader);
        let thread = &mut self.tasks[leader];
        thread.ctx = Context::default();
        thread.ctx.rip = entry.rip;
        thread.ctx.gpr[abi::RSP] = entry.rsp;
        let mut handlers = thread.handlers.borrow().clone();
        handlers.exec();
        thread.handlers = Rc::new(handlers.into());
        let fs = thread.fs.borrow().clone();
        thread.fs = Rc::new(fs.into());
        thread.comm = comm_of(&found.path);
        thread.altstack = SigAltStack::default();
        thread.clear_tid = 0;
        thread.robust_list = (0, 0);
        thread.rseq = None;
        thread.dispatch = None;
        thread.saved_mask = None;
        thread.syscall = None;
        thread.restart_block = None;
        let exe = found.dentry.path();
        let process = &mut self.tasks[pid];
        process.execed = true;
        process.membarrier = 0;
        process.exe = exe;
        process.dumpable = 1;
        process.timers.clear();
        process.exit_signal = abi::signal::SIGCHLD;
        debug_assert!(process.exiting.is_none_or(|s| s == SIGKILL as i32));
        self.refresh_timers();
        self.trace_exec(leader, tid);
    }

    /// Finds the file, follows `#!` lines, reads the headers.
    fn find_program(
        &mut self,
        tid: ThreadId,
        dir: i32,
        path: Vec<u8>,
        mut argv: Vec<Vec<u8>>,
        flags: u32,
    ) -> Result<Found, Errno> {
        let mut dentry = self.exec_file(tid, dir, &path, flags)?;
        // Nobody could open a script by the name of a descriptor that is closed by then.
        let closes = dir != AT_FDCWD
            && path.first() != Some(&b'/')
            && self.tasks[tid].files.borrow().cloexec(dir)?;
        // Linux names a program given by descriptor /dev/fd/N.
        let mut name = match (dir, path.as_slice()) {
            (AT_FDCWD, _) => path,
            (_, [b'/', ..]) => path,
            (fd, []) => format!("/dev/fd/{fd}").into_bytes(),
            (fd, rest) => [format!("/dev/fd/{fd}/").as_bytes(), rest].concat(),
        };
        let execfn = name.clone();
        for _ in 0..FILES_MAX {
            self.shared.opens.check_not_written(dentry.inode())?;
            let (source, size) = self.exec_source(tid, &dentry)?;
            let mut start = [0; script::LINE_MAX];
            let n = read_source(&source, &mut self.mm.phys, size, 0, &mut start)?;
            if let Some(line) = script::parse(&start[..n]) {
                let line = line.ok_or(Errno::ENOEXEC)?;
                if closes {
                    return Err(Errno::ENOENT);
                }
                let mut new = vec![line.interpreter.clone()];
                new.extend(line.argument);
                new.push(name);
                new.extend(argv.drain(1..));
                argv = new;
                dentry = self.exec_file(tid, AT_FDCWD, &line.interpreter, AT_EMPTY_PATH)?;
                name = line.interpreter;
                continue;
            }
            let phys = &mut self.mm.phys;
            let mut read = |at: u64, buf: &mut [u8]| read_source(&source, phys, size, at, buf);
            let elf = Elf::read(&mut read)?;
            let interpreter = elf.interpreter(&mut read)?;
            let interpreter = match interpreter {
                Some(path) => Some(self.load_interpreter(tid, &path)?),
                None => None,
            };
            let (set_uid, set_gid) = self.set_ids(tid, &dentry)?;
            let main = Object { elf, source };
            return Ok(Found { dentry, main, interpreter, argv, path: execfn, set_uid, set_gid });
        }
        Err(Errno::ELOOP)
    }

    fn load_interpreter(&mut self, tid: ThreadId, path: &[u8]) -> Result<Object, Errno> {
        let dentry = self.exec_file(tid, AT_FDCWD, path, 0)?;
        self.shared.opens.check_not_written(dentry.inode())?;
        let (source, size) = self.exec_source(tid, &dentry)?;
        let phys = &mut self.mm.phys;
        let mut read = |at: u64, buf: &mut [u8]| read_source(&source, phys, size, at, buf);
        let elf = Elf::read(&mut read).map_err(|e| match e {
            Errno::ENOEXEC => Errno::ELIBBAD,
            e => e,
        })?;
        Ok(Object { elf, source })
    }

    /// The file to execute, with execve's checks.
    fn exec_file(
        &mut self,
        tid: ThreadId,
        dir: i32,
        path: &[u8],
        flags: u32,
    ) -> Result<Rc<Dentry>, Errno> {
        let at = self.tasks[tid].fs.borrow().clone();
        let start = if dir == AT_FDCWD || path.first() == Some(&b'/') {
            at.cwd.clone()
        } else {
            let file = self.tasks[tid].files.borrow().get(dir)?;
            file.dentry().clone()
        };
        let mut cx = self.cx(tid);
        if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
            check_executable(&mut cx, &start)?;
            return Ok(start);
        }
        find_executable(&mut cx, &at, &start, path, flags & AT_SYMLINK_NOFOLLOW == 0)
    }

    /// Content and size of a file to execute.
    fn exec_source(
        &mut self,
        tid: ThreadId,
        dentry: &Rc<Dentry>,
    ) -> Result<(Rc<dyn MapSource>, u64), Errno> {
        let mut cx = self.cx(tid);
        let size = dentry.inode().meta(&mut cx)?.size;
        let source = dentry.inode().clone().map(&mut cx, dentry)?;
        Ok((source, size))
    }

    /// Set-user-id and set-group-id bits, unless the mount is nosuid.
    fn set_ids(
        &mut self,
        tid: ThreadId,
        dentry: &Rc<Dentry>,
    ) -> Result<(Option<u32>, Option<u32>), Errno> {
        if dentry.mount().flags.get() & abi::stat::ST_NOSUID != 0 {
            return Ok((None, None));
        }
        let meta = dentry.inode().meta(&mut self.cx(tid))?;
        let uid = (meta.mode & S_ISUID != 0).then_some(meta.uid);
        let gid = (meta.mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP).then_some(meta.gid);
        Ok((uid, gid))
    }
}
