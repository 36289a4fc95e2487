//! Processes that the host starts in a box that runs, as docker exec does.

use std::cell::RefCell;
use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{AT_FDCWD, O_NONBLOCK, O_RDWR};
use abi::signal::SI_KERNEL;
use abi::time::RLIMIT_NOFILE;
use abi::tty::FIONREAD;
use rootfs::rights::Rights;

use crate::exec::NotRun;
use crate::exec::StartError;
use crate::exec::start::personal;
use crate::file::pipe::{self, PipeEnd};
use crate::file::tty::{self, Master};
use crate::file::{FdTable, OpenFile};
use crate::fs::ops::{self, OpenHow};
use crate::fs::{Cred, Cx};
use crate::signal::siginfo;
use crate::task::INIT;
use crate::task::process::Process;
use crate::{Kernel, ProcessId, ThreadId};

/// Bytes that a terminal is given at once: what it does not keep is lost.
const TYPED: usize = 1024;

/// What is to be started. What is empty is as for the first program.
#[derive(Clone, Debug, Default)]
pub struct ExecSpec {
    /// Program and arguments; the program is looked up in PATH if it has no slash.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value` entries over those of the box.
    pub env: Vec<Vec<u8>>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// `name`, `uid`, `name:group`, `uid:gid`.
    pub user: String,
    /// The host sends input; otherwise there is none.
    pub stdin: bool,
    /// The host takes standard output and error; otherwise they are lost.
    pub outputs: [bool; 2],
    /// The streams are a terminal with so many rows and columns.
    pub terminal: Option<(u16, u16)>,
}

/// The host's ends of a process's streams.
pub(super) struct Attachment {
    pub pid: ProcessId,
    /// Wait status.
    pub status: Option<i32>,
    /// With a terminal these are all its master.
    input: Option<Rc<OpenFile>>,
    outputs: [Option<Rc<OpenFile>>; 2],
    terminal: Option<Rc<OpenFile>>,
}

impl Kernel {
    /// Starts a process under a number that is not in use.
    ///
    /// # Errors
    /// It cannot be started; nothing of it is left.
    pub fn attach(&mut self, number: u32, spec: ExecSpec) -> Result<ProcessId, StartError> {
        let runs = self.tasks.process(INIT).is_some_and(|p| p.zombie.is_none());
        if !runs || self.exit.is_some() {
            return Err(StartError::Over);
        }
        if spec.argv.is_empty() {
            return Err(StartError::NoCommand);
        }
        if self.threads_are_over() {
            return Err(StartError::Limit(Errno::EAGAIN));
        }
        let pid = ProcessId(self.tasks.new_id().ok_or(StartError::Limit(Errno::EAGAIN))?);
        self.account();
        let before = (self.current, self.mm.current());
        let tid = self.bare_process(pid);
        let started = self.start_attached(tid, spec);
        self.current = before.0;
        self.mm.activate(before.1);
        match started {
            Ok(attachment) => {
                self.attached.processes.insert(number, attachment);
                Ok(pid)
            }
            Err(error) => {
                self.forget_bare(tid);
                Err(error)
            }
        }
    }

    fn start_attached(&mut self, tid: ThreadId, spec: ExecSpec) -> Result<Attachment, StartError> {
        let given = self.given.clone();
        let pid = self.tasks[tid].pid;
        self.set_ulimits(pid, &given.rights);
        let (creds, home) = if spec.user.is_empty() {
            self.find_user(&given.user, &given.rights)?
        } else {
            // As docker: further groups are those of the user.
            let rights = Rights { groups: Vec::new(), ..given.rights };
            self.find_user(&spec.user, &rights)?
        };
        let cwd = if spec.cwd.is_empty() { &given.cwd } else { &spec.cwd };
        self.enter_cwd(tid, cwd)?;
        self.tasks[tid].creds = creds;
        let attachment = self.attached_streams(tid, &spec).map_err(StartError::Streams)?;
        let mut env = self.with_new_environment(given.env);
        for entry in spec.env {
            let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
            let name = [name, b"="].concat();
            match env.iter_mut().find(|have| have.starts_with(&name)) {
                Some(have) => *have = entry,
                None => env.push(entry),
            }
        }
        personal(&mut env, spec.terminal.is_some(), &home);
        let program = spec.argv.first().cloned().unwrap_or_default();
        let path = self.find_in_path(tid, &program, &env)?;
        let result = self.exec_with(tid, AT_FDCWD, path.clone(), spec.argv, env, 0);
        match result.map_err(NotRun::errno) {
            Ok(()) => Ok(attachment),
            Err(errno @ Errno::ENOMEM) => Err(StartError::Limit(errno)),
            Err(errno) => Err(self.exec_error(tid, &program, &path, errno)),
        }
    }

    /// Gives a process its descriptors 0, 1 and 2.
    fn attached_streams(&mut self, tid: ThreadId, spec: &ExecSpec) -> Result<Attachment, Errno> {
        let pid = self.tasks[tid].pid;
        let mut found =
            Attachment { pid, status: None, input: None, outputs: [None, None], terminal: None };
        let files = match spec.terminal {
            Some(size) => {
                let (master, slave) = self.terminal_pair(tid, size)?;
                found.input = spec.stdin.then(|| master.clone());
                found.outputs[0] = spec.outputs[0].then(|| master.clone());
                found.terminal = Some(master);
                [slave.clone(), slave.clone(), slave]
            }
            None => {
                let at = self.tasks[tid].fs.borrow().clone();
                let mut cx = self.cx(tid);
                let how = OpenHow { flags: O_RDWR, ..OpenHow::default() };
                let null = ops::open(&mut cx, &at, &at.root, b"/dev/null", how)?;
                let mut files = [null.clone(), null.clone(), null];
                if spec.stdin {
                    let (reader, writer) = pipe::pipe(&mut cx, 0);
                    writer.set_flags(writer.flags() | O_NONBLOCK);
                    files[0] = reader;
                    found.input = Some(writer);
                }
                for (index, _) in spec.outputs.iter().enumerate().filter(|(_, taken)| **taken) {
                    let (reader, writer) = pipe::pipe(&mut cx, 0);
                    files[index + 1] = writer;
                    found.outputs[index] = Some(reader);
                }
                files
            }
        };
        let mut table = FdTable::new(&self.shared);
        let limit = self.tasks[pid].limits.soft(RLIMIT_NOFILE).max(3);
        for file in files {
            table.add(file, false, 0, limit)?;
        }
        self.tasks[tid].files = Rc::new(RefCell::new(table));
        Ok(found)
    }

    /// A new terminal, which becomes the one that controls the process's session.
    fn terminal_pair(
        &mut self,
        tid: ThreadId,
        (rows, columns): (u16, u16),
    ) -> Result<(Rc<OpenFile>, Rc<OpenFile>), Errno> {
        let mut cx = self.cx(tid);
        let shared = cx.shared.clone();
        let ops = tty::open_master(&mut cx)?;
        let master = ops.as_any().downcast_ref::<Master>().ok_or(Errno::ENXIO)?;
        let terminal = master.tty().clone();
        terminal.unlock();
        terminal.set_window(&mut cx, [rows, columns, 0, 0]);
        let dentry = tty::dentry(&mut cx, terminal.index)?;
        let peer = tty::open_index(&mut cx, terminal.index, O_RDWR)?;
        let slave = OpenFile::new(&shared, &dentry, peer, O_RDWR);
        Ok((OpenFile::new(&shared, &dentry, ops, O_RDWR), slave))
    }

    /// Gives a process input: bytes taken; `EAGAIN` for now, `EPIPE` if nobody will read any.
    ///
    /// # Errors
    /// As said; there is no such process.
    pub fn feed(&mut self, number: u32, bytes: &[u8]) -> Result<usize, Errno> {
        let attachment = self.attached.processes.get(&number).ok_or(Errno::ESRCH)?;
        let file = attachment.input.clone().ok_or(Errno::EPIPE)?;
        let mut bytes = bytes;
        if let Some(master) = file.object::<Master>() {
            if master.tty().is_left() {
                return Err(Errno::EPIPE);
            }
            if !master.tty().has_room() {
                return Err(Errno::EAGAIN);
            }
            bytes = bytes.get(..TYPED).unwrap_or(bytes);
        }
        let ops = file.ops().clone();
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            // What is no longer than PIPE_BUF goes into a pipe as a whole or not at all.
            let room = file.object::<PipeEnd>().map_or(usize::MAX, PipeEnd::room);
            let piece = rest.get(..room.max(1)).unwrap_or(rest);
            match ops.write(&mut Cx::new(self, Cred::root()), &file, piece) {
                Ok(n @ 1..) => done += n,
                Err(errno) if done == 0 => return Err(errno),
                _ => break,
            }
        }
        Ok(done)
    }

    /// No more input comes. To a terminal this is nothing.
    pub fn end_input(&mut self, number: u32) {
        if let Some(attachment) = self.attached.processes.get_mut(&number) {
            attachment.input = None;
        }
    }

    /// Takes output of a process: bytes, 0 at its end; `EAGAIN` if there is nothing now.
    ///
    /// # Errors
    /// As said; there is no such stream.
    pub fn drain(&mut self, number: u32, stream: usize, buf: &mut [u8]) -> Result<usize, Errno> {
        let attachment = self.attached.processes.get(&number).ok_or(Errno::ESRCH)?;
        let file = attachment.outputs.get(stream).cloned().flatten().ok_or(Errno::ESRCH)?;
        let ops = file.ops().clone();
        match ops.read(&mut Cx::new(self, Cred::root()), &file, buf) {
            // Nobody has the terminal open any more.
            Err(Errno::EIO) => Ok(0),
            read => read,
        }
    }

    /// The host takes no more of a stream: who writes to it hears of that. A terminal hangs up.
    pub fn close_output(&mut self, number: u32, stream: usize) {
        let Some(attachment) = self.attached.processes.get_mut(&number) else { return };
        if let Some(place) = attachment.outputs.get_mut(stream) {
            *place = None;
        }
        if attachment.terminal.is_some() {
            attachment.terminal = None;
            attachment.input = None;
        }
    }

    /// The terminal of a process has another size.
    pub fn resize(&mut self, number: u32, rows: u16, columns: u16) {
        let terminal = self.attached.processes.get(&number).and_then(|a| a.terminal.clone());
        if let Some(master) = terminal.as_ref().and_then(|file| file.object::<Master>()) {
            master.tty().set_window(&mut Cx::new(self, Cred::root()), [rows, columns, 0, 0]);
        }
    }

    /// Sends a signal to a process, if it has not ended.
    pub fn signal_attached(&mut self, number: u32, signal: u32) {
        let found = self.attached.processes.get(&number).filter(|a| a.status.is_none());
        if let Some(pid) = found.map(|attachment| attachment.pid) {
            self.send_to_process(pid, siginfo(signal, SI_KERNEL), false);
        }
    }

    /// Sends a signal to any process, or to all of a session; 0 only finds out whether there is somebody.
    ///
    /// # Errors
    /// `ESRCH`: nobody is there; `EINVAL`: there is no such signal.
    pub fn signal_by_host(&mut self, pid: u32, session: bool, signal: u32) -> Result<(), Errno> {
        if signal as usize > abi::signal::NSIG {
            return Err(Errno::EINVAL);
        }
        let pid = ProcessId(pid);
        let meant = |p: &&Process| if session { p.sid == pid } else { p.pid == pid };
        let alive = self.tasks.processes().filter(|p| p.zombie.is_none());
        let meant: Vec<ProcessId> = alive.filter(meant).map(|p| p.pid).collect();
        for pid in &meant {
            self.send_to_process(*pid, siginfo(signal, SI_KERNEL), false);
        }
        if meant.is_empty() { Err(Errno::ESRCH) } else { Ok(()) }
    }

    /// Wait status of a process that has ended, and how many bytes of its output wait to be taken.
    pub fn attached_end(&mut self, number: u32) -> Option<(i32, [u32; 2])> {
        let attachment = self.attached.processes.get(&number)?;
        let status = attachment.status?;
        let outputs = attachment.outputs.clone();
        let mut cx = Cx::new(self, Cred::root());
        let left = outputs.map(|output| {
            let mut bytes = [0; 4];
            let Some(file) = output else { return 0 };
            let asked = file.ops().ioctl(&mut cx, &file, FIONREAD, 0, &mut bytes);
            asked.map_or(0, |_| u32::from_le_bytes(bytes))
        });
        Some((status, left))
    }

    /// The host cares for a process no longer: its input ends, its output is lost, its terminal hangs up.
    pub fn let_go(&mut self, number: u32) {
        let Some(attachment) = self.attached.processes.remove(&number) else { return };
        for file in attachment.outputs.iter().flatten() {
            if let Some(end) = file.object::<PipeEnd>() {
                end.drain();
            }
        }
    }
}
