//! System calls on files, by subject, and what they share: descriptors, paths, waiting.

pub mod attr;
pub mod descriptor;
pub mod dir;
pub mod epoll;
pub mod event;
mod fs_ioctl;
pub mod handle;
pub mod ifreq;
pub mod ioctl;
pub mod lock;
pub mod mount;
pub mod msg;
pub mod open;
pub mod owner;
pub mod path;
pub mod poll;
pub mod rw;
pub mod socket;
pub mod splice;
pub mod stat;
pub mod xattr;

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{AT_EMPTY_PATH, AT_FDCWD};

use crate::file::OpenFile;
use crate::file::socket::Socket;
use crate::fs::walk::{Lookup, PathCx, resolve};
use crate::fs::{Dentry, Kind, Res};
use crate::{Kernel, OnSignal, ProcessId, Stop, ThreadId, Wait};

impl Kernel {
    /// The open file of `fd` for input and output: EBADF also for `O_PATH`.
    pub(crate) fn file(&self, tid: ThreadId, fd: i32) -> Res<Rc<OpenFile>> {
        self.tasks[tid].files.borrow().get_io(fd)
    }

    /// The open file of `fd`, `O_PATH` or not.
    pub(crate) fn any_file(&self, tid: ThreadId, fd: i32) -> Res<Rc<OpenFile>> {
        self.tasks[tid].files.borrow().get(fd)
    }

    /// Enters `file` in the thread's table: the lowest free descriptor.
    pub(crate) fn add_file(
        &mut self,
        tid: ThreadId,
        file: Rc<OpenFile>,
        cloexec: bool,
    ) -> Res<u64> {
        let limit = self.fd_limit(tid);
        let fd = self.tasks[tid].files.borrow_mut().add(file, cloexec, 0, limit)?;
        Ok(fd as u64)
    }

    /// RLIMIT_NOFILE of the thread's process.
    pub(crate) fn fd_limit(&self, tid: ThreadId) -> u64 {
        let process = self.tasks.process(self.tasks[tid].pid);
        process.map_or(0, |p| p.limits.soft(abi::time::RLIMIT_NOFILE))
    }

    /// Where the thread is in the tree.
    pub(crate) fn path_cx(&self, tid: ThreadId) -> PathCx {
        self.tasks[tid].fs.borrow().clone()
    }

    /// The directory that `path` starts from. An absolute path does not look at `dirfd`.
    pub(crate) fn start_dir(&self, tid: ThreadId, dirfd: i32, path: &[u8]) -> Res<Rc<Dentry>> {
        if dirfd == AT_FDCWD || path.first() == Some(&b'/') {
            return Ok(self.tasks[tid].fs.borrow().cwd.clone());
        }
        let file = self.any_file(tid, dirfd)?;
        if !path.is_empty() && file.dentry().inode().kind() != Kind::Dir {
            return Err(Errno::ENOTDIR);
        }
        Ok(file.dentry().clone())
    }

    /// Resolves `path` from `dirfd`; with `AT_EMPTY_PATH` in `flags` an empty path names the descriptor itself.
    pub(crate) fn lookup_at(
        &mut self,
        tid: ThreadId,
        dirfd: i32,
        path: &[u8],
        flags: u32,
        follow: bool,
    ) -> Res<Rc<Dentry>> {
        if path.is_empty() {
            if flags & AT_EMPTY_PATH == 0 {
                return Err(Errno::ENOENT);
            }
            return self.start_dir(tid, dirfd, path);
        }
        let dir = self.start_dir(tid, dirfd, path)?;
        let at = self.path_cx(tid);
        resolve(&mut self.cx(tid), &at, &dir, path, Lookup { follow, resolve: 0 })
    }

    /// The result of an operation that cannot go on: `EAGAIN` for a non-blocking file, else a wait for the file.
    pub(crate) fn wait_file(&mut self, tid: ThreadId, file: &OpenFile, nonblock: bool) -> Stop {
        if nonblock || file.is_nonblocking() {
            return Errno::EAGAIN.into();
        }
        let mut keys = Vec::new();
        file.ops().keys(&mut self.cx(tid), &mut keys);
        Wait::any(keys).until(file.ops().deadline()).into()
    }

    /// As [`Kernel::wait_file`] for input or output, with the timeout of a socket (socket(7), SO_RCVTIMEO).
    pub(crate) fn wait_transfer(
        &mut self,
        tid: ThreadId,
        file: &OpenFile,
        nonblock: bool,
        write: bool,
    ) -> Stop {
        let timeout = file.object::<Socket>().map_or(0, |socket| {
            let options = socket.ops.options().borrow();
            if write { options.send_timeout } else { options.receive_timeout }
        });
        if timeout == 0 || nonblock || file.is_nonblocking() {
            return self.wait_file(tid, file, nonblock);
        }
        let deadline = self.deadline_after(tid, timeout);
        match self.wait_file(tid, file, false) {
            Stop::Block(_) if deadline <= self.now() => Errno::EAGAIN.into(),
            // With a time-out it is not made again after a handler (signal(7)).
            Stop::Block(wait) => {
                Stop::Block(wait.until(Some(deadline)).on_signal(OnSignal::Always))
            }
            stop => stop,
        }
    }

    /// Drops files that were queued in closed sockets.
    pub(crate) fn bury(&mut self) {
        loop {
            let next = self.shared.graveyard.borrow_mut().pop();
            if next.is_none() {
                return;
            }
        }
    }

    /// Tells the sessions of hung-up terminals: SIGHUP and SIGCONT to the leader and the foreground group, and no
    /// controlling terminal any more (tty_ioctl(4), `TIOCNOTTY`).
    pub(crate) fn deliver_hangups(&mut self) {
        self.bury();
        if self.shared.hangups.borrow().is_empty() {
            return;
        }
        let ended = std::mem::take(&mut *self.shared.hangups.borrow_mut());
        for (sid, foreground) in ended {
            let mut targets = self.tasks.group(ProcessId(foreground));
            targets.push(ProcessId(sid));
            for process in self.tasks.processes_mut().filter(|p| p.sid.0 == sid) {
                process.tty = None;
            }
            for pid in targets {
                for signal in [abi::signal::SIGHUP, abi::signal::SIGCONT] {
                    let info = crate::signal::siginfo(signal, abi::signal::SI_KERNEL);
                    self.send_to_process(pid, info, false);
                }
            }
        }
    }

    /// SIGPIPE for a write to a pipe or socket that nobody reads.
    pub(crate) fn raise_sigpipe(&mut self, tid: ThreadId) {
        self.raise_own(tid, abi::signal::SIGPIPE);
    }

    /// A signal that a call sends its caller, as if that had sent it (`send_sig`).
    pub(crate) fn raise_own(&mut self, tid: ThreadId, signal: u32) {
        let (pid, uid) = (self.tasks[tid].pid, self.tasks[tid].creds.uid.real);
        let info = crate::signal::siginfo_from(signal, abi::signal::SI_USER, pid.0, uid);
        self.send_to_thread(tid, info, false);
    }
}
