//! poll(2), ppoll(2), select(2), pselect6(2), and pipe(2).

use std::rc::Rc;

use abi::fcntl::{O_CLOEXEC, O_DIRECT, O_NONBLOCK};
use abi::poll::{
    POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI, POLLRDBAND, POLLRDNORM, POLLWRBAND,
    POLLWRNORM,
};
use abi::{Errno, Timespec, Timeval};

use crate::file::{OpenFile, pipe};
use crate::signal::SigSet;
use crate::syscall::Args;
use crate::{Kernel, OnSignal, Stop, SysResult, ThreadId, Wait};

/// Most descriptors in one poll or select.
const MAX_FDS: u64 = 1 << 20;
/// What select(2) means by readable, writable and exceptional.
const SELECT: [u32; 3] = [
    POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR,
    POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR,
    POLLPRI,
];

impl Kernel {
    /// The absolute deadline `ns` after the call's first run.
    fn poll_deadline(&mut self, tid: ThreadId, ns: Option<u64>) -> Option<u64> {
        let ns = ns?;
        Some(self.deadline_after(tid, ns))
    }

    /// Parks the thread until one of the files changes or the deadline passes.
    fn poll_wait(&mut self, tid: ThreadId, files: &[Rc<OpenFile>], deadline: Option<u64>) -> Stop {
        let mut keys = Vec::new();
        let mut first = deadline;
        let mut cx = self.cx(tid);
        for file in files {
            file.ops().keys(&mut cx, &mut keys);
            first = [first, file.ops().deadline()].into_iter().flatten().min();
        }
        Wait::any(keys).until(first).on_signal(OnSignal::Interrupt).into()
    }

    fn do_poll(&mut self, tid: ThreadId, fds: u64, count: u64, ns: Option<u64>) -> SysResult {
        if count > MAX_FDS.min(self.fd_limit(tid)) {
            return Err(Errno::EINVAL.into());
        }
        let deadline = self.poll_deadline(tid, ns);
        let mut files = Vec::new();
        let mut ready = 0;
        let mut results = Vec::with_capacity(count as usize);
        for i in 0..count {
            let [fd_low, fd_high, events, _]: [u16; 4] =
                self.mm.read_pod(fds.wrapping_add(i * 8))?;
            let fd = (u32::from(fd_low) | u32::from(fd_high) << 16) as i32;
            let revents = if fd < 0 {
                0
            } else {
                match self.file(tid, fd) {
                    Ok(file) => {
                        let want = u32::from(events) | POLLERR | POLLHUP;
                        let now = file.ops().poll(&mut self.cx(tid)) & want;
                        files.push(file);
                        now
                    }
                    Err(_) => POLLNVAL,
                }
            };
            ready += u64::from(revents != 0);
            results.push(revents as u16);
        }
        if ready == 0 && ns != Some(0) && deadline.is_none_or(|d| d > self.now()) {
            return Err(self.poll_wait(tid, &files, deadline));
        }
        for (i, revents) in results.iter().enumerate() {
            self.mm.write_pod(fds.wrapping_add(i as u64 * 8 + 6), revents)?;
        }
        Ok(ready)
    }

    fn do_select(&mut self, tid: ThreadId, a: Args, ns: Option<u64>) -> SysResult {
        let count = u64::try_from(a.i32(0)).map_err(|_| Errno::EINVAL)?;
        let count = count.min(self.tasks[tid].files.borrow().capacity());
        let deadline = self.poll_deadline(tid, ns);
        let words = count.div_ceil(64) as usize;
        let mut sets: [Vec<u64>; 3] = Default::default();
        for (i, set) in sets.iter_mut().enumerate() {
            set.resize(words, 0);
            let va = a.u64(1 + i);
            if va != 0 {
                for (w, word) in set.iter_mut().enumerate() {
                    *word = self.mm.read_pod(va.wrapping_add(w as u64 * 8))?;
                }
            }
        }
        let mut out: [Vec<u64>; 3] = [vec![0; words], vec![0; words], vec![0; words]];
        let mut files = Vec::new();
        let mut ready = 0;
        for fd in 0..count {
            let (word, bit) = ((fd / 64) as usize, 1u64 << (fd % 64));
            let wanted = sets.each_ref().map(|set| set.get(word).is_some_and(|w| w & bit != 0));
            if wanted == [false; 3] {
                continue;
            }
            let file = self.file(tid, fd as i32)?;
            let now = file.ops().poll(&mut self.cx(tid));
            files.push(file);
            for i in 0..3 {
                if wanted[i] && now & SELECT[i] != 0 {
                    if let Some(w) = out[i].get_mut(word) {
                        *w |= bit;
                    }
                    ready += 1;
                }
            }
        }
        if ready == 0 && ns != Some(0) && deadline.is_none_or(|d| d > self.now()) {
            return Err(self.poll_wait(tid, &files, deadline));
        }
        for (i, set) in out.iter().enumerate() {
            let va = a.u64(1 + i);
            if va != 0 {
                for (w, word) in set.iter().enumerate() {
                    self.mm.write_pod(va.wrapping_add(w as u64 * 8), word)?;
                }
            }
        }
        Ok(ready)
    }

    /// The time left before the call's deadline, in ns.
    fn time_left(&self, tid: ThreadId) -> u64 {
        let deadline = self.tasks[tid].restart.deadline.unwrap_or(0);
        deadline.saturating_sub(self.now())
    }

    /// A `struct timespec` timeout; null = none.
    fn timeout_at(&mut self, va: u64) -> Result<Option<u64>, Errno> {
        if va == 0 {
            return Ok(None);
        }
        let time: Timespec = self.mm.read_pod(va)?;
        time.to_ns().ok_or(Errno::EINVAL).map(Some)
    }

    /// The signal mask of ppoll, pselect6 and epoll_pwait, for the time of the call.
    pub(crate) fn use_mask(&mut self, tid: ThreadId, va: u64, size: u64) -> Result<(), Errno> {
        if va == 0 || self.tasks[tid].restart.again {
            return Ok(());
        }
        if size != 8 {
            return Err(Errno::EINVAL);
        }
        let mask: u64 = self.mm.read_pod(va)?;
        self.set_temporary_mask(tid, SigSet(mask));
        Ok(())
    }
}

/// The timeout of the first run: later runs find the deadline, whatever the program does to its timeout meanwhile.
fn again(k: &Kernel, tid: ThreadId) -> Option<u64> {
    let thread = &k.tasks[tid];
    thread.restart.deadline.filter(|_| thread.restart.again)
}

/// poll(2)
pub fn poll(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let ns = u64::try_from(a.i32(2)).ok().map(|ms| ms * 1_000_000);
    k.do_poll(tid, a.u64(0), u64::from(a.u32(1)), ns)
}

/// ppoll(2)
pub fn ppoll(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let ns = match again(k, tid) {
        Some(_) => Some(u64::MAX),
        None => k.timeout_at(a.u64(2))?,
    };
    k.use_mask(tid, a.u64(3), a.u64(4))?;
    let result = k.do_poll(tid, a.u64(0), u64::from(a.u32(1)), ns);
    if result.is_ok() && a.u64(2) != 0 && ns.is_some() {
        let left = Timespec::from_ns(k.time_left(tid));
        // ppoll(2) stores the time left; a read-only timeout is no error.
        let _ = k.mm.write_pod(a.u64(2), &left);
    }
    result
}

/// select(2)
pub fn select(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let ns = match (again(k, tid), a.u64(4)) {
        (Some(_), _) => Some(u64::MAX),
        (None, 0) => None,
        (None, va) => {
            let time: Timeval = k.mm.read_pod(va)?;
            if time.tv_sec < 0 || time.tv_usec < 0 {
                return Err(Errno::EINVAL.into());
            }
            let usec = time.tv_usec as u64;
            Some(
                (time.tv_sec as u64)
                    .saturating_mul(1_000_000_000)
                    .saturating_add(usec.saturating_mul(1000)),
            )
        }
    };
    let result = k.do_select(tid, a, ns);
    if result.is_ok() && a.u64(4) != 0 {
        let left = Timeval::from_ns(k.time_left(tid));
        let _ = k.mm.write_pod(a.u64(4), &left);
    }
    result
}

/// pselect6(2)
pub fn pselect6(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let ns = match again(k, tid) {
        Some(_) => Some(u64::MAX),
        None => k.timeout_at(a.u64(4))?,
    };
    if a.u64(5) != 0 {
        let [mask, size]: [u64; 2] = k.mm.read_pod(a.u64(5))?;
        k.use_mask(tid, mask, size)?;
    }
    let result = k.do_select(tid, a, ns);
    if result.is_ok() && a.u64(4) != 0 {
        let left = Timespec::from_ns(k.time_left(tid));
        let _ = k.mm.write_pod(a.u64(4), &left);
    }
    result
}

/// pipe(2)
pub fn pipe(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    make_pipe(k, tid, a.u64(0), 0)
}

/// pipe2(2)
pub fn pipe2(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    make_pipe(k, tid, a.u64(0), a.u32(1))
}

fn make_pipe(k: &mut Kernel, tid: ThreadId, out: u64, flags: u32) -> SysResult {
    if flags & !(O_CLOEXEC | O_NONBLOCK | O_DIRECT) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (reader, writer) = pipe::pipe(&mut k.cx(tid), flags);
    k.add_pair(tid, reader, writer, flags & O_CLOEXEC != 0, out)
}

impl Kernel {
    /// Enters two files and stores their descriptors at `out`; neither stays if that fails.
    pub(crate) fn add_pair(
        &mut self,
        tid: ThreadId,
        one: Rc<OpenFile>,
        two: Rc<OpenFile>,
        cloexec: bool,
        out: u64,
    ) -> SysResult {
        let first = self.add_file(tid, one, cloexec)? as i32;
        let second = self.add_file(tid, two, cloexec).map(|fd| fd as i32);
        let stored = second.and_then(|fd| self.mm.write_pod(out, &[first, fd]));
        if let Err(errno) = stored {
            let mut files = self.tasks[tid].files.borrow_mut();
            let _ = files.close(first);
            if let Ok(fd) = second {
                let _ = files.close(fd);
            }
            return Err(errno.into());
        }
        Ok(0)
    }
}
