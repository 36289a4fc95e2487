//! ioctl(2).

use abi::Errno;
use abi::fcntl::{F_GETOWN, F_SETOWN, O_ASYNC, O_CLOEXEC, O_NONBLOCK};
use abi::socket::{
    FIOGETOWN, FIOSETOWN, SIOCATMARK, SIOCGPGRP, SIOCGSTAMP, SIOCGSTAMPNS, SIOCSPGRP,
};
use abi::tty::*;

use super::owner;
use crate::file::OpenFile;
use crate::file::socket::Socket;
use crate::file::tty::termios::{TERMIO_LEN, TERMIOS_LEN, TERMIOS2_LEN};
use crate::file::tty::{self, Master};
use crate::fs::Kind;
use crate::fs::procfs::namespace;
use crate::syscall::Args;
use crate::syscall::file::{fs_ioctl, ifreq};
use crate::{Kernel, SysResult, ThreadId};

/// Which way an argument's record goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The argument is a value.
    None,
    /// The call reads it.
    In,
    /// The call fills it.
    Out,
}

/// Requests that file objects answer: number, direction and size of the record.
const REQUESTS: &[(u32, Way, usize)] = &[
    (TCGETS, Way::Out, TERMIOS_LEN),
    (TCSETS, Way::In, TERMIOS_LEN),
    (TCSETSW, Way::In, TERMIOS_LEN),
    (TCSETSF, Way::In, TERMIOS_LEN),
    (TCGETA, Way::Out, TERMIO_LEN),
    (TCSETA, Way::In, TERMIO_LEN),
    (TCSETAW, Way::In, TERMIO_LEN),
    (TCSETAF, Way::In, TERMIO_LEN),
    (TIOCGLCKTRMIOS, Way::Out, TERMIOS_LEN),
    (TIOCSLCKTRMIOS, Way::None, 0),
    (TCGETS2, Way::Out, TERMIOS2_LEN),
    (TCSETS2, Way::In, TERMIOS2_LEN),
    (TCSETSW2, Way::In, TERMIOS2_LEN),
    (TCSETSF2, Way::In, TERMIOS2_LEN),
    (TCSBRK, Way::None, 0),
    (TCSBRKP, Way::None, 0),
    (TCXONC, Way::None, 0),
    (TCFLSH, Way::None, 0),
    (TIOCEXCL, Way::None, 0),
    (TIOCNXCL, Way::None, 0),
    (TIOCSCTTY, Way::None, 0),
    (TIOCNOTTY, Way::None, 0),
    (TIOCGPGRP, Way::Out, 4),
    (TIOCSPGRP, Way::In, 4),
    (TIOCGSID, Way::Out, 4),
    (TIOCOUTQ, Way::Out, 4),
    (TIOCSTI, Way::In, 1),
    (TIOCGWINSZ, Way::Out, 8),
    (TIOCSWINSZ, Way::In, 8),
    (TIOCPKT, Way::In, 4),
    (TIOCGPKT, Way::Out, 4),
    (TIOCSIG, Way::None, 0),
    (TIOCGETD, Way::Out, 4),
    (TIOCSETD, Way::In, 4),
    (TIOCGDEV, Way::Out, 4),
    (TIOCGEXCL, Way::Out, 4),
    (TIOCGPTN, Way::Out, 4),
    (TIOCSPTLCK, Way::In, 4),
    (TIOCGPTLCK, Way::Out, 4),
    (FIONREAD, Way::Out, 4),
    (SIOCATMARK, Way::Out, 4),
    (SIOCGSTAMP, Way::Out, 16),
    (SIOCGSTAMPNS, Way::Out, 16),
    (namespace::NS_GET_USERNS, Way::None, 0),
    (namespace::NS_GET_PARENT, Way::None, 0),
    (namespace::NS_GET_NSTYPE, Way::None, 0),
    (namespace::NS_GET_OWNER_UID, Way::Out, 4),
    (RNDGETENTCNT, Way::Out, 4),
];

/// ioctl(2)
pub fn ioctl(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (fd, request, arg) = (a.i32(0), a.u32(1), a.u64(2));
    let file = k.file(tid, fd)?;
    match request {
        FIOCLEX | FIONCLEX => {
            k.tasks[tid].files.borrow_mut().set_cloexec(fd, request == FIOCLEX)?;
            return Ok(0);
        }
        FIONBIO => {
            let on: i32 = k.mm.read_pod(arg)?;
            file.set_flags(match on {
                0 => file.flags() & !O_NONBLOCK,
                _ => file.flags() | O_NONBLOCK,
            });
            return Ok(0);
        }
        FIOASYNC => {
            let on = k.mm.read_pod::<i32>(arg)? != 0;
            if on != (file.flags() & O_ASYNC != 0) && !k.set_async(tid, &file, fd, on) {
                return Err(Errno::ENOTTY.into());
            }
            return Ok(0);
        }
        // As F_SETOWN and F_GETOWN, of sockets alone (socket(7)).
        FIOSETOWN | SIOCSPGRP if file.object::<Socket>().is_some() => {
            let who: i32 = k.mm.read_pod(arg)?;
            let set = owner::fcntl(k, tid, (&file, fd), F_SETOWN, who as u64);
            return set.unwrap_or(Err(Errno::ENOTTY.into()));
        }
        FIOGETOWN | SIOCGPGRP if file.object::<Socket>().is_some() => {
            let who = owner::fcntl(k, tid, (&file, fd), F_GETOWN, 0);
            let who = who.unwrap_or(Err(Errno::ENOTTY.into()))? as i32;
            k.mm.write_pod(arg, &who)?;
            return Ok(0);
        }
        FIONREAD
            if matches!(file.dentry().inode().kind(), Kind::File) && file.ops().is_seekable() =>
        {
            let size = file.dentry().inode().meta(&mut k.cx(tid))?.size;
            let left = size.saturating_sub(file.pos.get()).min(i32::MAX as u64) as i32;
            k.mm.write_pod(arg, &left)?;
            return Ok(0);
        }
        TIOCGPTPEER => return open_peer(k, tid, &file, arg as u32),
        _ => {}
    }
    if let Some(result) = fs_ioctl::ioctl(k, tid, &file, request, arg) {
        return result;
    }
    if let Some(socket) = file.object::<Socket>()
        && let Some(result) = ifreq::ioctl(k, tid, &*socket.ops, request, arg)
    {
        return result;
    }
    let Some((_, way, size)) = REQUESTS.iter().find(|(number, ..)| *number == request) else {
        return Err(Errno::ENOTTY.into());
    };
    let mut data = vec![0; *size];
    if *way == Way::In {
        k.mm.read_user(arg, &mut data)?;
    }
    let ops = file.ops().clone();
    let result = match ops.ioctl(&mut k.cx(tid), &file, request, arg, &mut data) {
        Ok(value) => value,
        Err(Errno::EAGAIN) => return Err(k.wait_file(tid, &file, false)),
        Err(e) => return Err(e.into()),
    };
    if *way == Way::Out {
        k.mm.write_user(arg, &data)?;
    }
    Ok(result)
}

/// TIOCGPTPEER (ioctl_tty(2)): the slave without a path.
fn open_peer(k: &mut Kernel, tid: ThreadId, file: &OpenFile, flags: u32) -> SysResult {
    let Some(master) = file.object::<Master>() else { return Err(Errno::ENOTTY.into()) };
    let mut cx = k.cx(tid);
    let ops = master.open_peer(&mut cx, flags)?;
    let dentry = tty::dentry(&mut cx, master.tty().index)?;
    let peer = OpenFile::new(&cx.shared, &dentry, ops, flags);
    Ok(k.add_file(tid, peer, flags & O_CLOEXEC != 0)?)
}
