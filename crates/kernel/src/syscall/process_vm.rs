//! Other processes' memory and kinship: process_vm_readv(2), process_vm_writev(2), kcmp(2).

use std::rc::Rc;

use abi::Errno;

use super::Args;
use super::file::rw::Iov;
use crate::task::access::By;
use crate::{Kernel, SysResult, ThreadId};

/// Bytes moved at a time.
const CHUNK: usize = 1 << 18;

/// process_vm_readv(2)
pub fn process_vm_readv(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    transfer(k, tid, a, false)
}

/// process_vm_writev(2)
pub fn process_vm_writev(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    transfer(k, tid, a, true)
}

fn transfer(k: &mut Kernel, tid: ThreadId, a: Args, write: bool) -> SysResult {
    if a.u64(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let local = Iov::read(k, a.u64(1), a.u64(2))?;
    if local.total() == 0 {
        return Ok(0);
    }
    let remote = Iov::read(k, a.u64(3), a.u64(4))?;
    if remote.total() == 0 {
        return Ok(0);
    }
    let target = ThreadId(a.u32(0));
    k.may_access(tid, target, By::RealIds)?;
    if k.tasks[target].has_ended() {
        return Err(Errno::ESRCH.into());
    }
    let (here, there) = (k.mm.current(), k.tasks[target].space);
    let total = local.total().min(remote.total());
    let mut buf = vec![0; CHUNK.min(total as usize)];
    let mut done = 0;
    while done < total {
        let want = buf.len().min((total - done) as usize);
        let (source, sink) = if write { (&local, &remote) } else { (&remote, &local) };
        let (from, to) = if write { (here, there) } else { (there, here) };
        k.mm.activate(from);
        let got = source.gather(k, done, &mut buf[..want]);
        k.mm.activate(to);
        let put = sink.scatter(k, done, &buf[..got]);
        k.mm.activate(here);
        done += put as u64;
        if put < want {
            break;
        }
    }
    if done == 0 { Err(Errno::EFAULT.into()) } else { Ok(done) }
}

/// kcmp(2)
pub fn kcmp(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (one, two) = (ThreadId(a.u32(0)), ThreadId(a.u32(1)));
    if k.tasks.thread(one).is_none() || k.tasks.thread(two).is_none() {
        return Err(Errno::ESRCH.into());
    }
    k.may_access(tid, one, By::RealIds)?;
    k.may_access(tid, two, By::RealIds)?;
    let (t1, t2) = (&k.tasks[one], &k.tasks[two]);
    fn address<T: ?Sized>(rc: &Rc<T>) -> usize {
        Rc::as_ptr(rc).cast::<()>() as usize
    }
    let pair = match a.i32(2) {
        0 => {
            let (fd1, fd2) = (a.u64(3), a.u64(4));
            let file =
                |t: ThreadId, fd: u64| k.any_file(t, i32::try_from(fd).map_err(|_| Errno::EBADF)?);
            (address(&file(one, fd1)?), address(&file(two, fd2)?))
        }
        1 => (t1.space.raw() as usize, t2.space.raw() as usize),
        2 => (address(&t1.files), address(&t2.files)),
        3 => (address(&t1.fs), address(&t2.fs)),
        4 => (address(&t1.handlers), address(&t2.handlers)),
        // Nobody has an I/O context.
        5 => (0, 0),
        6 => {
            let list = |t: &crate::task::Thread| t.undo.as_ref().map_or(0, address);
            (list(t1), list(t2))
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(match pair.0.cmp(&pair.1) {
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Greater => 2,
    })
}
