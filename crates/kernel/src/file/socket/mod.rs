//! Sockets: one file object for all families. A family is a row of [`FAMILIES`] and an implementation of [`SocketOps`].

pub mod inet;
mod message;
pub mod netlink;
mod ops;
pub mod options;
pub mod packet;
mod probe;
pub mod unix;

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::fcntl::{O_NONBLOCK, O_RDWR};
use abi::socket::{
    AF_INET, AF_INET6, AF_MAX, AF_NETLINK, AF_PACKET, AF_UNIX, MSG_DONTWAIT, SOCK_MAX,
    SOCK_TYPE_MASK,
};
use abi::tty::FIONREAD;

use self::netlink::NetlinkSocket;
use super::{FileOps, OpenFile, anon};
use crate::fs::{Cx, Kind, Res};
use crate::source::MapSource;
use crate::wait::WaitKey;

pub use inet::Network;
pub use message::{Control, Incoming, Outgoing};
pub use net::OptionValue;
pub use ops::SocketOps;
pub use probe::{Probe, Progress};
pub use unix::{Forwards, UnixNames};

/// Makes a socket of a family: socket(2)'s type (without flags, below `SOCK_MAX`) and protocol.
type Create = fn(&mut Cx, kind: u32, protocol: u32) -> Res<Rc<dyn SocketOps>>;

/// The address families that there are.
const FAMILIES: &[(u16, Create)] = &[
    (AF_UNIX, unix::create),
    (AF_INET, inet::create_v4),
    (AF_INET6, inet::create_v6),
    (AF_NETLINK, netlink::create),
    (AF_PACKET, packet::create),
];

/// An open socket: the last one closes it.
pub struct Socket {
    /// The socket.
    pub ops: Rc<dyn SocketOps>,
    list: Rc<OpenSockets>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.list.0.borrow_mut().remove(&self.ops.options().borrow().inode);
        self.ops.close();
    }
}

/// All sockets with an open file, by inode number, for `/proc/net` and sock_diag(7).
#[derive(Default)]
pub struct OpenSockets(RefCell<BTreeMap<u64, Weak<dyn SocketOps>>>);

impl OpenSockets {
    /// The sockets, by inode number.
    pub fn all(&self) -> Vec<Rc<dyn SocketOps>> {
        self.0.borrow().values().filter_map(Weak::upgrade).collect()
    }
}

fn make(cx: &mut Cx, family: u32, kind: u32, protocol: u32) -> Res<Rc<dyn SocketOps>> {
    let kind = kind & SOCK_TYPE_MASK;
    if family >= AF_MAX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if kind >= SOCK_MAX {
        return Err(Errno::EINVAL);
    }
    let row = FAMILIES.iter().find(|(number, _)| u32::from(*number) == family);
    let (_, create) = row.ok_or(Errno::EAFNOSUPPORT)?;
    let socket = create(cx, kind, protocol)?;
    socket.options().borrow_mut().cookie = cx.shared.unique();
    Ok(socket)
}

/// socket(2): `kind` with its flags.
pub fn create(cx: &mut Cx, family: u32, kind: u32, protocol: u32) -> Res<Rc<OpenFile>> {
    let socket = make(cx, family, kind, protocol)?;
    Ok(wrap(cx, socket, kind & O_NONBLOCK))
}

/// socketpair(2).
pub fn pair(
    cx: &mut Cx,
    family: u32,
    kind: u32,
    protocol: u32,
) -> Res<(Rc<OpenFile>, Rc<OpenFile>)> {
    let one = make(cx, family, kind, protocol)?;
    let one = wrap(cx, one, kind & O_NONBLOCK);
    let two = make(cx, family, kind, protocol)?;
    let two = wrap(cx, two, kind & O_NONBLOCK);
    if let (Some(a), Some(b)) = (one.object::<Socket>(), two.object::<Socket>()) {
        a.ops.pair(&*b.ops)?;
    }
    Ok((one, two))
}

/// An open file for a socket.
pub fn wrap(cx: &mut Cx, ops: Rc<dyn SocketOps>, flags: u32) -> Rc<OpenFile> {
    let shared = cx.shared.clone();
    let inode = shared.unique();
    let name = format!("socket:[{inode}]");
    let dentry = anon::named(&name, Kind::Socket, inode, cx.cred.uid, cx.cred.gid);
    {
        let mut options = ops.options().borrow_mut();
        options.inode = inode;
        options.uid = cx.cred.uid;
    }
    let list = shared.registry::<OpenSockets>();
    list.0.borrow_mut().insert(inode, Rc::downgrade(&ops));
    OpenFile::new(&shared, &dentry, Rc::new(Socket { ops, list }), O_RDWR | flags)
}

fn wait_flag(file: &OpenFile) -> u32 {
    if file.is_nonblocking() { MSG_DONTWAIT } else { 0 }
}

impl FileOps for Socket {
    fn kind_name(&self) -> &'static str {
        "socket"
    }

    fn kernel_datagram(&self, bytes: Option<&[u8]>) -> Res<()> {
        let socket = self.ops.as_any().downcast_ref::<NetlinkSocket>().ok_or(Errno::EINVAL)?;
        if let Some(bytes) = bytes {
            socket.deliver(bytes.to_vec());
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        if buf.is_empty() {
            // sock_read_iter: "match SYS5 behaviour".
            return Ok(0);
        }
        let got = self.ops.receive(cx, buf, wait_flag(file))?;
        // Passed files that nobody can take are closed, but not inside each other.
        cx.shared.graveyard.borrow_mut().extend(got.files);
        Ok(got.len)
    }

    fn write(&self, cx: &mut Cx, file: &OpenFile, buf: &[u8]) -> Res<usize> {
        let flags = wait_flag(file);
        self.ops.send(cx, &mut Outgoing { data: buf, flags, ..Outgoing::default() })
    }

    fn poll(&self, cx: &mut Cx) -> u32 {
        self.ops.poll(cx)
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        self.ops.keys(out);
    }

    fn generation(&self) -> u64 {
        self.ops.generation()
    }

    fn signals_io(&self) -> bool {
        true
    }

    fn map(&self, _: &mut Cx, _: &OpenFile) -> Res<Rc<dyn MapSource>> {
        self.ops.map()
    }

    fn ioctl(&self, cx: &mut Cx, _: &OpenFile, request: u32, _: u64, data: &mut [u8]) -> Res<u64> {
        match self.ops.ioctl(cx, request, data) {
            Err(Errno::ENOTTY) if request == FIONREAD => {
                let pending = i32::try_from(self.ops.pending()).unwrap_or(i32::MAX);
                data.copy_from_slice(&pending.to_le_bytes());
                Ok(0)
            }
            result => result,
        }
    }
}
