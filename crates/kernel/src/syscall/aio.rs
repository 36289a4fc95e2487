//! io_setup(2), io_submit(2), io_getevents(2), io_cancel(2), io_destroy(2), io_pgetevents(2).

use std::rc::Rc;

use abi::fcntl::MAX_RW_COUNT;
use abi::mman::{PROT_READ, PROT_WRITE};
use abi::poll::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM};
use abi::{Errno, Timespec};

use super::Args;
use super::file::rw::Iov;
use crate::aio::{Context, EVENT, Poll, Ring};
use crate::file::OpenFile;
use crate::file::eventfd::EventFd;
use crate::fs::Kind;
use crate::mm::{MapRequest, Rights};
use crate::signal::SigSet;
use crate::{Kernel, OnSignal, Stop, SysResult, ThreadId, Wait, WaitKey};

/// Requests of all contexts (`/proc/sys/fs/aio-max-nr`).
pub const AIO_MAX_NR: u64 = 65536;
const PREAD: u16 = 0;
const PWRITE: u16 = 1;
const FSYNC: u16 = 2;
const FDSYNC: u16 = 3;
const POLL: u16 = 5;
const NOOP: u16 = 6;
const PREADV: u16 = 7;
const PWRITEV: u16 = 8;
/// `IOCB_FLAG_RESFD`
const RESFD: u32 = 1;

abi::pod! {
    /// `struct iocb` (io_submit(2)).
    pub struct Iocb {
        /// Comes back with the event.
        pub data: u64,
        /// Set by the kernel.
        pub key: u32,
        /// `RWF_*`
        pub rw_flags: u32,
        /// `IOCB_CMD_*`
        pub opcode: u16,
        /// Priority.
        pub prio: i16,
        /// File.
        pub fd: i32,
        /// Buffer, vector or poll events.
        pub buf: u64,
        /// Bytes or parts.
        pub len: u64,
        /// Position.
        pub offset: i64,
        /// Must be zero.
        pub reserved: u64,
        /// `IOCB_FLAG_*`
        pub flags: u32,
        /// eventfd to tell.
        pub resfd: i32,
    }
}

impl Kernel {
    fn aio(&mut self, id: u64) -> Result<&mut Context, Errno> {
        let space = self.mm.current();
        self.aio.map.get_mut(&(space, id)).ok_or(Errno::EINVAL)
    }

    /// Enters the end of a request.
    fn aio_done(&mut self, ring: &Ring, key: WaitKey, event: [u64; 4], tell: Option<Rc<OpenFile>>) {
        ring.push(&mut self.mm.phys, &event);
        self.wake(key);
        if let Some(file) = tell {
            let mut cx = crate::fs::Cx::new(self, crate::fs::Cred::root());
            // A full counter stays as it is.
            let _ = file.ops().write(&mut cx, &file, &1_u64.to_le_bytes());
        }
    }

    /// Files may have become ready: ends the polls that waited for it.
    pub(crate) fn aio_poll(&mut self) {
        if self.aio.map.is_empty() || !self.aio.polls() {
            return;
        }
        let ids: Vec<_> = self.aio.map.keys().copied().collect();
        for id in ids {
            let Some(context) = self.aio.map.get_mut(&id) else { continue };
            let (ring, key) = (context.ring.clone(), context.key);
            for poll in std::mem::take(&mut context.polls) {
                let mut cx = crate::fs::Cx::new(self, crate::fs::Cred::root());
                let found = poll.file.ops().poll(&mut cx);
                if found & (poll.events | POLLERR | POLLHUP) != 0 {
                    // Who is woken is told what woke him, with the bits that go together.
                    let with = |bit, more| if poll.events & bit != 0 { bit | more } else { 0 };
                    let told = with(POLLIN, POLLRDNORM) | with(POLLOUT, POLLWRNORM);
                    let ready = found & (poll.events | told | POLLERR | POLLHUP);
                    let event = [poll.data, poll.iocb, u64::from(ready), 0];
                    self.aio_done(&ring, key, event, poll.tell);
                } else if let Some(context) = self.aio.map.get_mut(&id) {
                    context.polls.push(poll);
                }
            }
        }
    }
}

/// io_setup(2)
pub fn io_setup(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    let (events, out) = (a.u32(0), a.u64(1));
    let old: u64 = k.mm.read_pod(out)?;
    if old != 0 || events == 0 {
        return Err(Errno::EINVAL.into());
    }
    // Room for what each CPU holds back, twice.
    let count = events.max(4).saturating_mul(2);
    if u64::from(count) > 0x1000_0000 / EVENT {
        return Err(Errno::EINVAL.into());
    }
    if u64::from(events) > AIO_MAX_NR || k.aio.requests() + u64::from(events) > AIO_MAX_NR {
        return Err(Errno::EAGAIN.into());
    }
    let trash = k.mm.trash.clone();
    let (ring, len) = Ring::new(&mut k.mm.phys, count + 2, trash).ok_or(Errno::ENOMEM)?;
    let ring = Rc::new(ring);
    let rights = Rights { shared: true, ..Rights::private(PROT_READ | PROT_WRITE) };
    let request = MapRequest {
        addr: 0,
        len,
        place: Default::default(),
        rights,
        source: Some(ring.clone()),
        page: 0,
    };
    let id = k.mm.map(request)?;
    if let Err(errno) = k.mm.write_pod(id, &(id as u32)).and_then(|()| k.mm.write_pod(out, &id)) {
        k.mm.unmap(id, len)?;
        return Err(errno.into());
    }
    let key = WaitKey::object(k.shared.unique());
    let context = Context { ring, requests: u64::from(events), polls: Vec::new(), key };
    k.aio.map.insert((k.mm.current(), id), context);
    Ok(0)
}

/// io_destroy(2)
pub fn io_destroy(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    let id = a.u64(0);
    let key = k.aio(id)?.key;
    let space = k.mm.current();
    k.aio.map.remove(&(space, id));
    // The ring goes from where it was, if the program has not put something else there.
    let ring = k.mm.space(space).and_then(|s| s.vmas().find(id)).map(|(s, v)| (s, v.end, v));
    if let Some((start, end, vma)) = ring
        && start == id
        && vma.source.as_ref().is_some_and(|s| s.name().path == b"/[aio] (deleted)")
    {
        k.mm.unmap(start, end - start)?;
    }
    k.wake(key);
    Ok(0)
}

/// io_submit(2)
pub fn io_submit(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (id, count, list) = (a.u64(0), a.i64(1), a.u64(2));
    if count < 0 {
        return Err(Errno::EINVAL.into());
    }
    let slots = u64::from(k.aio(id)?.ring.slots);
    let count = (count as u64).min(slots);
    // What was submitted before the call had to wait is not submitted again.
    let mut done = k.tasks[tid].restart.value;
    while done < count {
        match submit(k, tid, id, list.wrapping_add(done * 8)) {
            Ok(()) => done += 1,
            Err(Stop::Errno(_)) if done > 0 => break,
            Err(Stop::Block(wait)) => {
                k.tasks[tid].restart.value = done;
                return Err(Stop::Block(wait));
            }
            Err(stop) => return Err(stop),
        }
    }
    Ok(done)
}

/// Submits the request that `slot` points to.
fn submit(k: &mut Kernel, tid: ThreadId, id: u64, slot: u64) -> Result<(), Stop> {
    let at: u64 = k.mm.read_pod(slot)?;
    let request: Iocb = k.mm.read_pod(at)?;
    if request.reserved != 0 || request.len > i64::MAX as u64 {
        return Err(Errno::EINVAL.into());
    }
    let context = k.aio(id)?;
    let (ring, key, waiting) = (context.ring.clone(), context.key, context.polls.len() as u32);
    if ring.len(&mut k.mm.phys) + waiting + 1 >= ring.slots {
        return Err(Errno::EAGAIN.into());
    }
    let file = k.file(tid, request.fd)?;
    let tell = if request.flags & RESFD != 0 {
        let tell = k.file(tid, request.resfd)?;
        tell.object::<EventFd>().ok_or(Errno::EINVAL)?;
        Some(tell)
    } else {
        None
    };
    k.mm.write_pod(at.wrapping_add(8), &0_u32)?;
    let result = match request.opcode {
        PREAD | PREADV | PWRITE | PWRITEV => transfer(k, tid, &file, &request)?,
        FSYNC | FDSYNC => {
            if request.buf != 0 || request.offset != 0 || request.len != 0 || request.rw_flags != 0
            {
                return Err(Errno::EINVAL.into());
            }
            let ops = file.ops().clone();
            match ops.sync(&mut k.cx(tid), &file) {
                Err(Errno::EINVAL) => return Err(Errno::EINVAL.into()),
                result => result.map(|()| 0),
            }
        }
        POLL => {
            if request.buf > 0xffff
                || request.offset != 0
                || request.len != 0
                || request.rw_flags != 0
            {
                return Err(Errno::EINVAL.into());
            }
            let (events, data) = (request.buf as u32, request.data);
            let ready = file.ops().poll(&mut k.cx(tid)) & (events | POLLERR | POLLHUP);
            if ready == 0 {
                k.aio(id)?.polls.push(Poll { iocb: at, data, file, events, tell });
                return Ok(());
            }
            Ok(u64::from(ready))
        }
        NOOP => return Err(Errno::EINVAL.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let value = match result {
        Ok(value) => value,
        Err(errno) => errno.to_rax(),
    };
    k.aio_done(&ring, key, [request.data, at, value, 0], tell);
    Ok(())
}

/// A read or write: the outer error is the submission's, the inner one the request's.
fn transfer(
    k: &mut Kernel,
    tid: ThreadId,
    file: &Rc<OpenFile>,
    request: &Iocb,
) -> Result<Result<u64, Errno>, Stop> {
    let write = matches!(request.opcode, PWRITE | PWRITEV);
    if if write { !file.is_writable() } else { !file.is_readable() } {
        return Err(Errno::EBADF.into());
    }
    let ops = file.ops().clone();
    if file.dentry().inode().kind() == Kind::Dir {
        return Err(if write { Errno::EBADF } else { Errno::EINVAL }.into());
    }
    let iov = match request.opcode {
        PREADV | PWRITEV => Iov::read(k, request.buf, request.len)?,
        _ => Iov::one(request.buf, request.len.min(MAX_RW_COUNT)),
    };
    if request.offset < 0 && ops.is_seekable() {
        return Err(Errno::EINVAL.into());
    }
    let mut how = k.rw_how(file, request.rw_flags)?;
    if ops.is_seekable() {
        how.at = Some(request.offset as u64);
    }
    let result =
        if write { k.write_file(tid, file, &iov, how) } else { k.read_file(tid, file, &iov, how) };
    match result {
        Ok(n) => {
            k.tasks[tid].restart.done = 0;
            Ok(Ok(n))
        }
        Err(Stop::Errno(errno)) => Ok(Err(errno)),
        Err(stop) => Err(stop),
    }
}

/// io_cancel(2)
pub fn io_cancel(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    let (id, iocb) = (a.u64(0), a.u64(1));
    let key: u32 = k.mm.read_pod(iocb.wrapping_add(8))?;
    if key != 0 {
        return Err(Errno::EINVAL.into());
    }
    let context = k.aio(id)?;
    let at = context.polls.iter().position(|p| p.iocb == iocb).ok_or(Errno::EINVAL)?;
    let poll = context.polls.remove(at);
    let (ring, key) = (context.ring.clone(), context.key);
    k.aio_done(&ring, key, [poll.data, poll.iocb, 0, 0], poll.tell);
    Err(Errno::EINPROGRESS.into())
}

/// io_getevents(2)
pub fn io_getevents(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if !k.tasks[tid].restart.again && a.u64(4) != 0 {
        let time: Timespec = k.mm.read_pod(a.u64(4))?;
        // Times are not checked; one before now does not wait.
        let ns = time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
        k.deadline_after(tid, u64::try_from(ns).unwrap_or(0));
    }
    let (id, min, most, out) = (a.u64(0), a.i64(1), a.i64(2), a.u64(3));
    let (again, taken) = (k.tasks[tid].restart.again, k.tasks[tid].restart.done);
    let (ring, key) = match k.aio(id) {
        Ok(context) => (context.ring.clone(), context.key),
        // It was destroyed while the call waited.
        Err(_) if again => return Ok(taken),
        Err(errno) => return Err(errno.into()),
    };
    if min < 0 || min > most {
        return Err(Errno::EINVAL.into());
    }
    let mut done = taken;
    while done < most as u64 {
        let Some(event) = ring.peek(&mut k.mm.phys) else { break };
        if k.mm.write_pod(out.wrapping_add(done * EVENT), &event).is_err() {
            return if done > 0 { Ok(done) } else { Err(Errno::EFAULT.into()) };
        }
        ring.advance(&mut k.mm.phys);
        done += 1;
    }
    if done >= min as u64 || k.deadline_passed(tid) {
        return Ok(done);
    }
    k.tasks[tid].restart.done = done;
    Wait::on(key).until(k.tasks[tid].restart.deadline).on_signal(OnSignal::Interrupt).block()
}

/// io_pgetevents(2)
pub fn io_pgetevents(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if !k.tasks[tid].restart.again && a.u64(5) != 0 {
        let [mask, size]: [u64; 2] = k.mm.read_pod(a.u64(5))?;
        if mask != 0 {
            if size != 8 {
                return Err(Errno::EINVAL.into());
            }
            let mask = SigSet(k.mm.read_pod(mask)?);
            k.set_temporary_mask(tid, mask);
        }
    }
    io_getevents(k, tid, a)
}
