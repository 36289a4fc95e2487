//! Owners of files and their signals: F_SETOWN, F_SETSIG, F_SETLEASE, F_NOTIFY, and how SIGIO is sent (fcntl(2)).

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::*;
use abi::poll::{POLLERR, POLLHUP, POLLIN, POLLOUT};
use abi::signal::{SI_KERNEL, SIGIO};
use abi::stat::{S_IFMT, S_IFREG};

use crate::file::OpenFile;
use crate::fs::Kind;
use crate::fs::owner::{IoSignal, Owner, POLL_IN, POLL_OUT};
use crate::signal::siginfo;
use crate::task::creds::CAP_LEASE;
use crate::{Kernel, ProcessId, SysResult, ThreadId, WaitKey};

impl Kernel {
    fn set_owner(&mut self, tid: ThreadId, file: &OpenFile, kind: u32, id: u32) -> SysResult {
        let exists = match kind {
            _ if id == 0 => true,
            F_OWNER_TID => self.tasks.thread(ThreadId(id)).is_some(),
            F_OWNER_PID => self.tasks.process(ProcessId(id)).is_some(),
            _ => !self.tasks.group(ProcessId(id)).is_empty(),
        };
        if !exists {
            return Err(Errno::ESRCH.into());
        }
        let uid = &self.tasks[tid].creds.uid;
        let uids = (uid.real, uid.effective);
        file.owner.set(Owner { kind, id, uids, ..file.owner.get() });
        Ok(0)
    }

    /// F_SETOWN: a process, or a group if negative.
    fn set_owner_number(&mut self, tid: ThreadId, file: &OpenFile, who: i32) -> SysResult {
        if who == i32::MIN {
            return Err(Errno::EINVAL.into());
        }
        let kind = if who < 0 { F_OWNER_PGRP } else { F_OWNER_PID };
        self.set_owner(tid, file, kind, who.unsigned_abs())
    }

    /// Turns `O_ASYNC` on or off; whether this kind of file has it.
    pub(crate) fn set_async(
        &mut self,
        tid: ThreadId,
        file: &Rc<OpenFile>,
        fd: i32,
        on: bool,
    ) -> bool {
        if !file.ops().signals_io() {
            return false;
        }
        file.set_flags(if on { file.flags() | O_ASYNC } else { file.flags() & !O_ASYNC });
        let mut keys: Vec<WaitKey> = Vec::new();
        file.ops().keys(&mut self.cx(tid), &mut keys);
        let mut all = self.shared.async_files.borrow_mut();
        for key in keys {
            let files = all.entry(key).or_default();
            files.retain(|f| f.strong_count() > 0 && !std::ptr::eq(f.as_ptr(), Rc::as_ptr(file)));
            if on {
                files.push(Rc::downgrade(file));
            }
        }
        all.retain(|_, files| !files.is_empty());
        file.owner.set(Owner { fd, ..file.owner.get() });
        true
    }

    /// Queues signals for the files with `O_ASYNC` among those whose keys were woken, and sends all that are queued.
    pub(crate) fn signal_owners(&mut self, woken: &[WaitKey]) {
        let shared = self.shared.clone();
        if !shared.async_files.borrow().is_empty() {
            let mut files = Vec::new();
            for key in woken {
                let all = shared.async_files.borrow();
                files.extend(all.get(key).into_iter().flatten().filter_map(|f| f.upgrade()));
            }
            for file in files {
                let ops = file.ops().clone();
                let now = ops.poll(&mut crate::fs::Cx::new(self, crate::fs::Cred::root()));
                let code = match file.is_readable() && now & (POLLIN | POLLHUP) != 0 {
                    true => POLL_IN,
                    false if now & (POLLOUT | POLLERR) != 0 => POLL_OUT,
                    false => continue,
                };
                shared.io_signals.borrow_mut().push(IoSignal::of(&file, code));
            }
        }
        let mut signals = std::mem::take(&mut *shared.io_signals.borrow_mut());
        signals.extend(shared.watches.take_signals());
        for signal in signals {
            self.signal_owner(signal);
        }
    }

    fn signal_owner(&mut self, io: IoSignal) {
        let Owner { kind, id, signal, uids, fd } = io.owner;
        if id == 0 {
            return;
        }
        let info = if signal == 0 {
            siginfo(SIGIO, SI_KERNEL)
        } else {
            let mut info = siginfo(signal, io.code);
            info.fields[0] = io.band();
            info.fields[1] = u64::from(fd as u32);
            info
        };
        let targets = match kind {
            F_OWNER_PGRP => self.tasks.group(ProcessId(id)),
            F_OWNER_TID => {
                let thread = self.tasks.thread(ThreadId(id)).map(|t| t.pid);
                thread.into_iter().collect()
            }
            _ => vec![ProcessId(id)],
        };
        for pid in targets {
            let target = ThreadId(if kind == F_OWNER_TID { id } else { pid.0 });
            // `sigio_perm`: whoever became the owner must have been allowed to send this.
            let allowed = self.tasks.thread(target).is_none_or(|t| {
                let to = [t.creds.uid.real, t.creds.uid.saved];
                uids.1 == 0 || to.contains(&uids.0) || to.contains(&uids.1)
            });
            if !allowed {
                continue;
            }
            let queued = match kind {
                F_OWNER_TID => self.send_to_thread(target, info, true),
                _ => self.send_to_process(pid, info, true),
            };
            if !queued {
                // A full queue gives a plain SIGIO instead (fcntl(2)).
                self.send_to_process(pid, siginfo(SIGIO, SI_KERNEL), true);
            }
        }
    }
}

/// The commands of this subject; `None` for others.
pub fn fcntl(
    k: &mut Kernel,
    tid: ThreadId,
    (file, fd): (&Rc<OpenFile>, i32),
    cmd: u32,
    arg: u64,
) -> Option<SysResult> {
    let owner = file.owner.get();
    Some(match cmd {
        F_SETOWN => k.set_owner_number(tid, file, arg as i32),
        F_GETOWN => {
            let id = i64::from(owner.id);
            Ok(if owner.kind == F_OWNER_PGRP { -id } else { id } as u64)
        }
        F_SETOWN_EX => match k.mm.read_pod::<[i32; 2]>(arg) {
            Ok([kind, id]) => match (u32::try_from(kind), u32::try_from(id)) {
                (Ok(kind), Ok(id)) if kind <= F_OWNER_PGRP => k.set_owner(tid, file, kind, id),
                (Ok(kind), Err(_)) if kind <= F_OWNER_PGRP => Err(Errno::ESRCH.into()),
                _ => Err(Errno::EINVAL.into()),
            },
            Err(e) => Err(e.into()),
        },
        F_GETOWN_EX => match k.mm.write_pod(arg, &[owner.kind, owner.id]) {
            Ok(()) => Ok(0),
            Err(e) => Err(e.into()),
        },
        F_SETSIG if arg > 64 => Err(Errno::EINVAL.into()),
        F_SETSIG => {
            file.owner.set(Owner { signal: arg as u32, ..owner });
            Ok(0)
        }
        F_GETSIG => Ok(u64::from(owner.signal)),
        F_GETLEASE => Ok(k.shared.opens.lease_of(file) as u64),
        F_SETLEASE => set_lease(k, tid, file, fd, arg),
        F_NOTIFY => set_note(k, tid, file, fd, arg as u32),
        _ => return None,
    })
}

/// The caller's process becomes the owner if there is none (`__f_setown` without force).
fn own(k: &Kernel, tid: ThreadId, file: &OpenFile, fd: i32) {
    let owner = file.owner.get();
    let uid = &k.tasks[tid].creds.uid;
    let own = Owner {
        id: k.tasks[tid].pid.0,
        kind: F_OWNER_PID,
        uids: (uid.real, uid.effective),
        ..owner
    };
    file.owner.set(Owner { fd, ..if owner.id == 0 { own } else { owner } });
}

fn set_lease(k: &mut Kernel, tid: ThreadId, file: &Rc<OpenFile>, fd: i32, arg: u64) -> SysResult {
    let kind = arg as i32;
    let unlock = kind == i32::from(F_UNLCK);
    if !unlock {
        let meta = file.dentry().inode().meta(&mut k.cx(tid))?;
        let cred = k.cx(tid).cred;
        if cred.uid != meta.uid && !cred.capable(CAP_LEASE) {
            return Err(Errno::EACCES.into());
        }
        if meta.mode & S_IFMT != S_IFREG {
            return Err(Errno::EINVAL.into());
        }
    }
    if !unlock && kind != i32::from(F_RDLCK) && kind != i32::from(F_WRLCK) {
        return Err(Errno::EINVAL.into());
    }
    let shared = k.shared.clone();
    shared.opens.set_lease(&shared, file, kind as i16)?;
    if !unlock {
        own(k, tid, file, fd);
    }
    Ok(0)
}

/// F_NOTIFY (dnotify): signals for what happens in a directory.
fn set_note(k: &mut Kernel, tid: ThreadId, file: &Rc<OpenFile>, fd: i32, events: u32) -> SysResult {
    let wanted = events & !DN_MULTISHOT;
    if wanted != 0 && file.dentry().inode().kind() != Kind::Dir {
        return Err(Errno::ENOTDIR.into());
    }
    let table = k.tasks[tid].files.borrow().owner();
    let shared = k.shared.clone();
    if wanted == 0 {
        shared.watches.unnote(table, file.dentry().inode());
        return Ok(0);
    }
    own(k, tid, file, fd);
    shared.watches.note(table, file, events);
    Ok(0)
}
