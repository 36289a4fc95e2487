//! Ending boxes from outside, whatever they do.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Once it is given, every box that was started with it ends with [`RunError::Interrupted`](crate::RunError::Interrupted) at its next
/// look at the outside, and one that waits wakes for that. Clones are the same interrupt.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    given: Arc<AtomicBool>,
    /// Boxes end when they next wait.
    at_rest: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// This process's end of the pairs whose other ends boxes wait for: closing it wakes them.
    wakers: Vec<UnixStream>,
    /// Those that are given with this one.
    below: Vec<Weak<Inner>>,
}

impl Interrupt {
    /// One that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// An interrupt that is given with this one, and can be given alone.
    pub fn child(&self) -> Self {
        let child = Self::new();
        let mut state = self.state();
        state.below.retain(|below| below.strong_count() > 0);
        state.below.push(Arc::downgrade(&child.0));
        drop(state);
        if self.is_given() {
            child.give();
        }
        child
    }

    /// Ends what was started with it, now and from now on.
    pub fn give(&self) {
        self.0.give();
    }

    /// Ends each box that was started with it, with status 0, when all of its programs wait and there is nothing that one of them waits for.
    pub fn give_at_rest(&self) {
        let wakers = {
            let mut state = self.state();
            self.0.at_rest.store(true, Ordering::SeqCst);
            std::mem::take(&mut state.wakers)
        };
        drop(wakers);
    }

    /// Whether it was given.
    pub fn is_given(&self) -> bool {
        self.0.given.load(Ordering::SeqCst)
    }

    /// The same as a flag, for work that knows no boxes.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.given)
    }

    /// Something that can be read once the interrupt is given.
    pub(crate) fn wakes(&self) -> std::io::Result<Waker> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut state = self.state();
        if !self.is_given() && !self.0.at_rest.load(Ordering::SeqCst) {
            state.wakers.push(ours);
        }
        drop(state);
        Ok(Waker { interrupt: self.clone(), end: theirs })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self) {
        let (wakers, below) = {
            let mut state = self.state();
            self.given.store(true, Ordering::SeqCst);
            (std::mem::take(&mut state.wakers), std::mem::take(&mut state.below))
        };
        drop(wakers);
        below.iter().filter_map(Weak::upgrade).for_each(|below| below.give());
    }
}

/// What a box holds of its interrupt.
#[derive(Debug)]
pub struct Waker {
    interrupt: Interrupt,
    end: UnixStream,
}

impl Waker {
    pub fn is_given(&self) -> bool {
        self.interrupt.is_given()
    }

    pub fn ends_at_rest(&self) -> bool {
        self.interrupt.0.at_rest.load(Ordering::SeqCst)
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.end.as_fd()
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        // The box is over: the other end, of whichever pair whose end is closed, is of no use any more.
        let closed = |ours: &UnixStream| {
            let mut fds = [rustix::event::PollFd::new(ours, rustix::event::PollFlags::empty())];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            rustix::event::poll(&mut fds, Some(&now)).is_ok()
                && fds[0].revents().contains(rustix::event::PollFlags::HUP)
        };
        self.interrupt.state().wakers.retain(|ours| !closed(ours));
    }
}

#[cfg(test)]
mod tests {
    use super::Interrupt;
    use std::io::Read;

    #[test]
    fn a_child_is_given_with_its_parent_and_not_the_other_way() -> std::io::Result<()> {
        let parent = Interrupt::new();
        let (first, second) = (parent.child(), parent.child());
        let waker = second.wakes()?;
        first.give();
        assert!(first.is_given() && !parent.is_given() && !second.is_given());
        parent.give();
        assert!(second.is_given() && waker.is_given() && parent.child().is_given());
        let mut end = &waker.end;
        assert_eq!(end.read(&mut [0])?, 0);
        let mut end = &parent.wakes()?.end;
        assert_eq!(end.read(&mut [0])?, 0);
        Ok(())
    }
}
