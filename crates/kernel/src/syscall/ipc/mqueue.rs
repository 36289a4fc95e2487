//! mq_open(2), mq_unlink(2), mq_timedsend(2), mq_timedreceive(2), mq_notify(2), mq_getsetattr(2).

use std::rc::Rc;

use abi::fcntl::{O_ACCMODE, O_CLOEXEC, O_CREAT, O_EXCL, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY};
use abi::ipc::{MQ_PRIO_MAX, MqAttr};
use abi::signal::{NSIG, SI_MESGQ, SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, Sigevent};
use abi::stat::{R_OK, W_OK, X_OK};
use abi::time::CLOCK_REALTIME;
use abi::{Errno, Timespec};

use crate::file::OpenFile;
use crate::file::mqueue::names::{DEFAULT, Directory};
use crate::file::mqueue::{MqFile, Notify, Queue, Registration};
use crate::fs::inode::{Kind, NewNode};
use crate::fs::{Dentry, perm};
use crate::signal::siginfo_from;
use crate::syscall::Args;
use crate::task::Run;
use crate::task::creds::CAP_SYS_RESOURCE;
use crate::{Kernel, Stop, SysResult, ThreadId, Wait};

/// Limits of a caller with CAP_SYS_RESOURCE (`HARD_MSGMAX`, `HARD_MSGSIZEMAX`).
const HARD: (u64, u64) = (65536, 16 << 20);
/// Number of mq_timedreceive.
const RECEIVE: u64 = 243;
/// Bytes of the cookie of `SIGEV_THREAD`.
const COOKIE: usize = 32;
/// Last byte of the cookie: a message came, or the registration ended.
const WOKEN: u8 = 1;
const REMOVED: u8 = 2;

impl Kernel {
    /// Where queues have their names.
    fn queues(&self) -> Result<Rc<Dentry>, Errno> {
        let mounts = self.shared.mounts.borrow();
        let root = mounts.iter().find(|root| root.mount().fstype == "mqueue");
        root.cloned().ok_or(Errno::ENOSYS)
    }

    /// The name of a queue as mq_open and mq_unlink take it: one component (`lookup_one_len`).
    fn queue_name(&mut self, va: u64) -> Result<Vec<u8>, Errno> {
        let name = self.mm.read_path(va)?;
        if name.is_empty() {
            return Err(Errno::ENOENT);
        }
        if name == b"." || name == b".." || name.contains(&b'/') {
            return Err(Errno::EACCES);
        }
        if name.len() > 255 {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(name)
    }

    /// The open queue of `fd`.
    fn queue_file(&self, tid: ThreadId, fd: i32) -> Result<(Rc<OpenFile>, Rc<Queue>), Errno> {
        let file = self.file(tid, fd)?;
        let queue = file.object::<MqFile>().ok_or(Errno::EBADF)?.queue.clone();
        Ok((file, queue))
    }

    /// The absolute time at `va`, as the call's deadline.
    fn queue_deadline(&mut self, tid: ThreadId, va: u64) -> Result<(), Errno> {
        if va != 0 {
            let time: Timespec = self.mm.read_pod(va)?;
            let ns = time.to_ns().ok_or(Errno::EINVAL)?;
            let deadline = self.absolute_deadline(CLOCK_REALTIME, ns);
            self.tasks[tid].restart.deadline = Some(deadline);
            self.tasks[tid].restart.clock = Some(CLOCK_REALTIME);
        }
        Ok(())
    }

    /// Waits until the queue changes.
    fn wait_queue(&self, tid: ThreadId, file: &OpenFile, queue: &Queue) -> Stop {
        if file.is_nonblocking() {
            return Errno::EAGAIN.into();
        }
        if self.deadline_passed(tid) {
            return Errno::ETIMEDOUT.into();
        }
        Wait::on(queue.notifier.key()).until(self.tasks[tid].restart.deadline).into()
    }

    /// A message came into the empty queue: tells who is registered, unless somebody waits for it.
    fn tell_arrival(&mut self, tid: ThreadId, queue: &Queue) {
        let key = queue.notifier.key();
        let receives = |t: &crate::task::Thread| {
            t.syscall == Some(RECEIVE)
                && matches!(&t.run, Run::Blocked(wait) if wait.keys.contains(&key))
        };
        if queue.notify.borrow().is_none() || self.tasks.threads().any(receives) {
            return;
        }
        let registration = queue.registered();
        *queue.notify.borrow_mut() = None;
        let Some(Registration { owner, how }) = registration else { return };
        match how {
            Notify::Silent => {}
            Notify::Signal(signal, value) => {
                let (pid, uid) = (self.tasks[tid].pid.0, self.tasks[tid].creds.uid.real);
                let mut info = siginfo_from(signal, SI_MESGQ, pid, uid);
                info.fields[1] = value;
                self.send_to_process(owner.pid, info, false);
            }
            Notify::Cookie(socket, cookie) => self.send_cookie(&socket, cookie, WOKEN),
        }
    }

    /// Process `tid` closes a queue or takes its registration back.
    pub(crate) fn drop_registration(&mut self, tid: ThreadId, queue: &Queue) {
        let life = self.tasks.process(self.tasks[tid].pid).map(|p| p.life.clone());
        let own = queue
            .notify
            .borrow()
            .as_ref()
            .is_some_and(|r| life.as_ref().is_some_and(|life| Rc::ptr_eq(life, &r.owner)));
        if own
            && let Some(Registration { how: Notify::Cookie(socket, cookie), .. }) =
                queue.notify.borrow_mut().take()
        {
            self.send_cookie(&socket, cookie, REMOVED);
        }
    }

    fn send_cookie(&self, socket: &Rc<OpenFile>, mut cookie: [u8; COOKIE], event: u8) {
        cookie[COOKIE - 1] = event;
        // A socket that has no room left misses it, as on Linux.
        let _ = socket.ops().kernel_datagram(Some(&cookie));
    }
}

/// mq_open(2)
pub fn mq_open(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (flags, mode) = (a.u32(1), a.u32(2));
    let attr: Option<MqAttr> = match a.u64(3) {
        0 => None,
        va => Some(k.mm.read_pod(va)?),
    };
    let name = k.queue_name(a.u64(0))?;
    let root = k.queues()?;
    let umask = k.tasks[tid].fs.borrow().umask;
    let capable = k.tasks[tid].creds.capable(CAP_SYS_RESOURCE);
    let access = match flags & O_ACCMODE {
        O_RDONLY => R_OK,
        O_WRONLY => W_OK,
        O_RDWR => R_OK | W_OK,
        _ => 0,
    };
    let mut cx = k.cx(tid);
    let dentry = match root.lookup(&mut cx, &name) {
        Ok(dentry) => {
            if flags & O_CREAT != 0 && flags & O_EXCL != 0 {
                return Err(Errno::EEXIST.into());
            }
            if access == 0 {
                return Err(Errno::EINVAL.into());
            }
            let meta = dentry.inode().meta(&mut cx)?;
            perm::check(&cx.cred, &meta, access)?;
            dentry
        }
        Err(Errno::ENOENT) if flags & O_CREAT != 0 => {
            let size = match attr {
                Some(attr) => attributes(&attr, capable)?,
                None => DEFAULT,
            };
            let meta = root.inode().meta(&mut cx)?;
            perm::check(&cx.cred, &meta, W_OK | X_OK)?;
            let mode = Kind::File.bits() | mode & !umask & 0o7777;
            let new = NewNode { mode, uid: cx.cred.uid, gid: cx.cred.gid, rdev: 0, target: &[] };
            let names = root.inode().clone().as_any().downcast::<Directory>();
            let names = names.map_err(|_| Errno::ENOSYS)?;
            let inode = names.make(&mut cx, &name, &new, size)?;
            if access == 0 {
                return Err(Errno::EINVAL.into());
            }
            root.child(&name, inode)
        }
        Err(errno) => return Err(errno.into()),
    };
    let file = OpenFile::open(&mut cx, &dentry, flags & (O_ACCMODE | O_NONBLOCK | O_CLOEXEC))?;
    Ok(k.add_file(tid, file, true)?)
}

/// Checks the attributes of a new queue (`mq_attr_ok`).
fn attributes(attr: &MqAttr, capable: bool) -> Result<(u64, u64), Errno> {
    let most = if capable { HARD } else { DEFAULT };
    let valid = |n: i64, most: u64| u64::try_from(n).ok().filter(|&n| n > 0 && n <= most);
    let maxmsg = valid(attr.maxmsg, most.0).ok_or(Errno::EINVAL)?;
    Ok((maxmsg, valid(attr.msgsize, most.1).ok_or(Errno::EINVAL)?))
}

/// mq_unlink(2)
pub fn mq_unlink(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let name = k.queue_name(a.u64(0))?;
    let root = k.queues()?;
    let at = k.path_cx(tid);
    crate::fs::ops::remove(&mut k.cx(tid), &at, &root, &name, false)?;
    Ok(0)
}

/// mq_timedsend(2)
pub fn mq_timedsend(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (fd, text, len, priority) = (a.i32(0), a.u64(1), a.u64(2), a.u32(3));
    if !k.tasks[tid].restart.again {
        k.queue_deadline(tid, a.u64(4))?;
    }
    if priority >= MQ_PRIO_MAX {
        return Err(Errno::EINVAL.into());
    }
    let (file, queue) = k.queue_file(tid, fd)?;
    if !file.is_writable() {
        return Err(Errno::EBADF.into());
    }
    if len > queue.msgsize {
        return Err(Errno::EMSGSIZE.into());
    }
    let mut bytes = vec![0; len as usize];
    k.mm.read_user(text, &mut bytes)?;
    if queue.is_full() {
        return Err(k.wait_queue(tid, &file, &queue));
    }
    if queue.is_empty() {
        k.tell_arrival(tid, &queue);
    }
    queue.push(priority, bytes.into());
    Ok(0)
}

/// mq_timedreceive(2)
pub fn mq_timedreceive(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (fd, buf, len, priority) = (a.i32(0), a.u64(1), a.u64(2), a.u64(3));
    if !k.tasks[tid].restart.again {
        k.queue_deadline(tid, a.u64(4))?;
    }
    let (file, queue) = k.queue_file(tid, fd)?;
    if !file.is_readable() {
        return Err(Errno::EBADF.into());
    }
    if len < queue.msgsize {
        return Err(Errno::EMSGSIZE.into());
    }
    let Some((value, text)) = queue.pop() else {
        return Err(k.wait_queue(tid, &file, &queue));
    };
    if priority != 0 {
        k.mm.write_pod(priority, &value)?;
    }
    k.mm.write_user(buf, &text)?;
    Ok(text.len() as u64)
}

/// mq_notify(2)
pub fn mq_notify(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let how = match a.u64(1) {
        0 => None,
        va => {
            let event: Sigevent = k.mm.read_pod(va)?;
            Some(match event.notify {
                SIGEV_NONE => Notify::Silent,
                SIGEV_SIGNAL if (0..=NSIG as i32).contains(&event.signo) => {
                    Notify::Signal(event.signo as u32, event.value)
                }
                SIGEV_THREAD => {
                    let cookie: [u8; COOKIE] = k.mm.read_pod(event.value)?;
                    let socket = k.file(tid, event.signo)?;
                    socket.ops().kernel_datagram(None)?;
                    Notify::Cookie(socket, cookie)
                }
                _ => return Err(Errno::EINVAL.into()),
            })
        }
    };
    let (_, queue) = k.queue_file(tid, a.i32(0))?;
    let Some(how) = how else {
        k.drop_registration(tid, &queue);
        return Ok(0);
    };
    if queue.registered().is_some() {
        return Err(Errno::EBUSY.into());
    }
    let owner = k.tasks[k.tasks[tid].pid].life.clone();
    *queue.notify.borrow_mut() = Some(Registration { owner, how });
    Ok(0)
}

/// mq_getsetattr(2)
pub fn mq_getsetattr(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let new: Option<MqAttr> = match a.u64(1) {
        0 => None,
        va => Some(k.mm.read_pod(va)?),
    };
    if new.is_some_and(|new| new.flags & !i64::from(O_NONBLOCK) != 0) {
        return Err(Errno::EINVAL.into());
    }
    let (file, queue) = k.queue_file(tid, a.i32(0))?;
    let old = MqAttr {
        flags: i64::from(file.flags() & O_NONBLOCK),
        maxmsg: queue.maxmsg as i64,
        msgsize: queue.msgsize as i64,
        curmsgs: queue.len() as i64,
        ..MqAttr::default()
    };
    if let Some(new) = new {
        let nonblock = new.flags as u32 & O_NONBLOCK;
        file.set_flags(file.flags() & !O_NONBLOCK | nonblock);
    }
    if a.u64(2) != 0 {
        k.mm.write_pod(a.u64(2), &old)?;
    }
    Ok(0)
}
