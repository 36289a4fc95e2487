//! Signals: sets, queues, handlers ([`SigHandlers`]); sending ([`send`]), delivery ([`deliver`]) and the frame that a
//! handler runs on ([`frame`]).

pub mod deliver;
pub mod frame;
pub mod send;

use std::collections::VecDeque;

use abi::signal::*;

/// A set of signals: bit n−1 = signal n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigSet(pub u64);

impl SigSet {
    /// SIGKILL and SIGSTOP, which cannot be blocked.
    pub const UNBLOCKABLE: SigSet = SigSet(1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1));
    /// Signals that stop by default.
    pub const STOP: SigSet =
        SigSet(1 << (SIGSTOP - 1) | 1 << (SIGTSTP - 1) | 1 << (SIGTTIN - 1) | 1 << (SIGTTOU - 1));
    /// Signals that an instruction raises; they are delivered first.
    pub const SYNCHRONOUS: SigSet = SigSet(
        1 << (SIGSEGV - 1)
            | 1 << (SIGBUS - 1)
            | 1 << (SIGILL - 1)
            | 1 << (SIGTRAP - 1)
            | 1 << (SIGFPE - 1)
            | 1 << (SIGSYS - 1),
    );

    /// Just `signal`.
    pub fn of(signal: u32) -> SigSet {
        SigSet(if (1..=64).contains(&signal) { 1 << (signal - 1) } else { 0 })
    }
    /// Whether `signal` is in the set.
    pub fn has(self, signal: u32) -> bool {
        self.0 & SigSet::of(signal).0 != 0
    }
    /// The set without SIGKILL and SIGSTOP.
    pub fn blockable(self) -> SigSet {
        SigSet(self.0 & !SigSet::UNBLOCKABLE.0)
    }
    /// The union.
    pub fn with(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }
    /// The difference.
    pub fn without(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }
    /// The lowest signal in the set, synchronous ones first.
    pub fn first(self) -> Option<u32> {
        let urgent = self.0 & SigSet::SYNCHRONOUS.0;
        let set = if urgent != 0 { urgent } else { self.0 };
        (set != 0).then(|| set.trailing_zeros() + 1)
    }
}

/// What a signal does without a handler (signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends the process and would dump core.
    Core,
    /// Nothing.
    Ignore,
    /// Stops the process.
    Stop,
    /// Continues it.
    Continue,
}

/// The default action of `signal`.
pub fn default_action(signal: u32) -> DefaultAction {
    match signal {
        SIGCHLD | SIGURG | SIGWINCH => DefaultAction::Ignore,
        SIGCONT => DefaultAction::Continue,
        SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU => DefaultAction::Stop,
        SIGQUIT | SIGILL | SIGTRAP | SIGABRT | SIGBUS | SIGFPE | SIGSEGV | SIGXCPU | SIGXFSZ
        | SIGSYS => DefaultAction::Core,
        _ => DefaultAction::Terminate,
    }
}

/// Signals waiting for delivery: standard ones once, real-time ones queued.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    queue: VecDeque<Siginfo>,
    set: SigSet,
}

impl Pending {
    /// Which signals wait.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// How many are queued.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The queued signals in order.
    pub fn iter(&self) -> impl Iterator<Item = &Siginfo> {
        self.queue.iter()
    }

    /// Adds a signal; false if a standard one already waits.
    pub fn push(&mut self, info: Siginfo) -> bool {
        let signal = info.signo as u32;
        if signal < SIGRTMIN && self.set.has(signal) {
            return false;
        }
        self.set = self.set.with(SigSet::of(signal));
        self.queue.push_back(info);
        true
    }

    /// Takes the first instance of `signal`.
    pub fn take(&mut self, signal: u32) -> Option<Siginfo> {
        let at = self.queue.iter().position(|i| i.signo as u32 == signal)?;
        let info = self.queue.remove(at);
        self.refresh(signal);
        info
    }

    /// Drops every instance of the signals in `set`.
    pub fn discard(&mut self, set: SigSet) {
        self.queue.retain(|i| !set.has(i.signo as u32));
        self.set = self.set.without(set);
    }

    /// Drops instances of `signal` for which `drop` holds.
    pub fn discard_if(&mut self, signal: u32, drop: impl Fn(&Siginfo) -> bool) {
        self.queue.retain(|i| i.signo as u32 != signal || !drop(i));
        self.refresh(signal);
    }

    fn refresh(&mut self, signal: u32) {
        if !self.queue.iter().any(|i| i.signo as u32 == signal) {
            self.set = self.set.without(SigSet::of(signal));
        }
    }
}

/// The handlers of a process (sigaction(2)); index = signal − 1.
#[derive(Clone, Debug)]
pub struct SigHandlers(pub [Sigaction; NSIG]);

impl Default for SigHandlers {
    fn default() -> Self {
        SigHandlers([Sigaction::default(); NSIG])
    }
}

impl SigHandlers {
    /// The action for `signal`; the default one for numbers out of range.
    pub fn get(&self, signal: u32) -> Sigaction {
        (signal as usize).checked_sub(1).and_then(|i| self.0.get(i)).copied().unwrap_or_default()
    }

    /// Changes the action for `signal`.
    pub fn set(&mut self, signal: u32, action: Sigaction) {
        if let Some(slot) = (signal as usize).checked_sub(1).and_then(|i| self.0.get_mut(i)) {
            *slot = action;
        }
    }

    /// At execve(2): handled signals go back to the default, ignored ones stay ignored.
    pub fn exec(&mut self) {
        for action in &mut self.0 {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = Sigaction { handler, ..Sigaction::default() };
        }
    }

    /// Whether `signal` would do nothing.
    pub fn ignores(&self, signal: u32) -> bool {
        match self.get(signal).handler {
            SIG_IGN => true,
            SIG_DFL => {
                matches!(default_action(signal), DefaultAction::Ignore)
            }
            _ => false,
        }
    }
}

/// A siginfo of the kernel or a process.
pub fn siginfo(signo: u32, code: i32) -> Siginfo {
    Siginfo { signo: signo as i32, code, ..Siginfo::default() }
}

/// A siginfo with sender (`si_pid`, `si_uid`).
pub fn siginfo_from(signo: u32, code: i32, pid: u32, uid: u32) -> Siginfo {
    let mut info = siginfo(signo, code);
    info.fields[0] = u64::from(pid) | u64::from(uid) << 32;
    info
}
