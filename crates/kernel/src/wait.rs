//! How system calls end and what they wait for (the restart model).
//!
//! A call that must wait returns [`Stop::Block`] having changed nothing but its thread's
//! `Restart` scratch (`task::Restart`). The thread is parked and the same call runs again with the same
//! arguments when a key is woken, the deadline passes or a signal is to be delivered. Spurious wake-ups are fine.

use std::cell::RefCell;
use std::rc::Rc;

use abi::Errno;

/// What a system call gives: the value for `rax`, or why there is none.
pub type SysResult = Result<u64, Stop>;

/// Why a system call has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It failed.
    Errno(Errno),
    /// It must wait; nothing was changed.
    Block(Wait),
    /// It does not return (exit, execve, sigreturn): the registers are as they shall be.
    NoReturn,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Errno(errno)
    }
}

impl From<Wait> for Stop {
    fn from(wait: Wait) -> Stop {
        Stop::Block(wait)
    }
}

/// What happens to a waiting call when a signal is delivered (signal(7), "Interruption of system calls").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSignal {
    /// `EINTR`, or again if the handler has `SA_RESTART` (Linux's ERESTARTSYS): read, write, wait4, futex …
    #[default]
    Restart,
    /// `EINTR` if a handler runs, whatever its flags (ERESTARTNOHAND): poll, select, pause, nanosleep …
    Interrupt,
    /// `EINTR` even after a stop and continue without handler: epoll_wait, sigtimedwait …
    Always,
}

/// What a parked thread waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// Any of these wakes the thread.
    pub keys: Vec<WaitKey>,
    /// Each of these wakes only one of the threads that wait for it so (epoll_ctl(2), `EPOLLEXCLUSIVE`).
    pub exclusive: Vec<WaitKey>,
    /// Monotonic nanoseconds at which it wakes anyway.
    pub deadline: Option<u64>,
    /// What a signal does.
    pub on_signal: OnSignal,
    /// Only the end of the process ends the wait (vfork).
    pub uninterruptible: bool,
}

impl Wait {
    /// Waits for one key.
    pub fn on(key: WaitKey) -> Wait {
        Wait { keys: vec![key], ..Wait::default() }
    }
    /// Waits for any of the keys.
    pub fn any(keys: Vec<WaitKey>) -> Wait {
        Wait { keys, ..Wait::default() }
    }
    /// The same with a deadline (monotonic ns).
    pub fn until(mut self, deadline: Option<u64>) -> Wait {
        self.deadline = deadline;
        self
    }
    /// The same with another answer to signals.
    pub fn on_signal(mut self, on_signal: OnSignal) -> Wait {
        self.on_signal = on_signal;
        self
    }
    /// Whether `key` may wake it.
    pub fn waits_for(&self, key: WaitKey) -> bool {
        self.keys.contains(&key) || self.exclusive.contains(&key)
    }
    /// As a result: `return wait.block()`.
    pub fn block<T>(self) -> Result<T, Stop> {
        Err(Stop::Block(self))
    }
}

/// Names one thing that can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitKey(u64);

impl WaitKey {
    /// Bytes (or the end) on the box's standard input; the driver wakes it.
    pub const STDIN: WaitKey = WaitKey(1);
    /// Another life of the box begins (`crate::moments`).
    pub const LIFE: WaitKey = WaitKey(2);

    /// Object `n` of the file layer (numbers never given twice).
    pub fn object(n: u64) -> WaitKey {
        WaitKey(8 << 60 | n & (u64::MAX >> 4))
    }
    /// Socket `n` of the network (numbers never given twice).
    pub fn network(n: u64) -> WaitKey {
        WaitKey(10 << 60 | n & (u64::MAX >> 4))
    }
    /// The thread with this id alone (futex, sleep).
    pub fn thread(tid: crate::ThreadId) -> WaitKey {
        WaitKey(1 << 60 | u64::from(tid.0))
    }
    /// A change in some child of this process.
    pub fn children(pid: crate::ProcessId) -> WaitKey {
        WaitKey(2 << 60 | u64::from(pid.0))
    }
    /// The end of this process, and of its vfork.
    pub fn process(pid: crate::ProcessId) -> WaitKey {
        WaitKey(3 << 60 | u64::from(pid.0))
    }
    /// A signal became pending for this process (signalfd, sigtimedwait).
    pub fn signal(pid: crate::ProcessId) -> WaitKey {
        WaitKey(4 << 60 | u64::from(pid.0))
    }
}

/// The shared list of woken keys, which the kernel drains after each system call.
pub type WakeSink = Rc<RefCell<Vec<WaitKey>>>;
