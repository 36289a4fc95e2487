//! The socket calls on unix sockets (unix(7)).

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use abi::Errno;
use abi::socket::{
    AF_UNIX, AF_UNSPEC, MSG_DONTWAIT, MSG_OOB, MSG_PEEK, SCM_CREDENTIALS, SO_PASSCRED, SO_PEERCRED,
    SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET,
};
use abi::stat::S_IFSOCK;
use net::SocketOptions;

use super::address::{Address, Place, UnixNames};
use super::{Ucred, UnixSocket};
use crate::file::socket::{Control, Incoming, OptionValue, Outgoing, SocketOps};
use crate::fs::walk::PathCx;
use crate::fs::{Cx, Res, ops};
use crate::wait::WaitKey;

/// A socket of socket(2)'s type and protocol.
pub fn create(cx: &mut Cx, kind: u32, protocol: u32) -> Res<Rc<dyn SocketOps>> {
    if protocol != 0 && protocol != u32::from(AF_UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let kind = match kind {
        // SOCK_RAW counts as SOCK_DGRAM (unix(7) since Linux 2.6).
        SOCK_RAW => SOCK_DGRAM,
        SOCK_STREAM | SOCK_DGRAM | SOCK_SEQPACKET => kind,
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    Ok(UnixSocket::new(cx, kind))
}

/// Whether the address is of family AF_UNSPEC, which dissolves a connection.
fn is_unspecified(address: &[u8]) -> bool {
    address.starts_with(&AF_UNSPEC.to_le_bytes())
}

fn credentials((pid, uid, gid): Ucred) -> Vec<u8> {
    [pid, uid, gid].iter().flat_map(|v| v.to_le_bytes()).collect()
}

impl SocketOps for UnixSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn family(&self) -> u16 {
        AF_UNIX
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn protocol(&self) -> u32 {
        0
    }

    fn options(&self) -> &RefCell<SocketOptions> {
        &self.options
    }

    fn bind(&self, cx: &mut Cx, at: &PathCx, address: &[u8]) -> Res<()> {
        let address = Address::parse(address)?;
        let shared = cx.shared.clone();
        let names = shared.registry::<UnixNames>();
        if self.local_address().is_some() {
            // Autobinding what has a name already changes nothing.
            return if address.is_none() { Ok(()) } else { Err(Errno::EINVAL) };
        }
        match address {
            None => {
                // Autobind: five hexadecimal digits in the abstract namespace (unix(7)).
                let name = format!("{:05x}", shared.unique() & 0xfffff).into_bytes();
                self.name(&names, Address::Abstract(name.clone()), Place::Abstract(self.kind, name))
            }
            Some(Address::Abstract(name)) => {
                self.name(&names, Address::Abstract(name.clone()), Place::Abstract(self.kind, name))
            }
            Some(Address::Path(path)) => {
                // Here Linux applies the umask even where a default access control list stands in for it.
                let mode = S_IFSOCK | 0o777 & !at.umask;
                let made = ops::mknod(cx, at, &at.cwd, &path, mode, 0);
                let dentry =
                    made.map_err(|e| if e == Errno::EEXIST { Errno::EADDRINUSE } else { e })?;
                let meta = dentry.inode().meta(cx)?;
                self.name(&names, Address::Path(path), Place::Inode(meta.dev, meta.ino))
            }
        }
    }

    fn listen(&self, cx: &mut Cx, backlog: i32) -> Res<()> {
        self.start_listening(cx, usize::try_from(backlog).unwrap_or(usize::MAX))
    }

    fn connect(
        &self,
        cx: &mut Cx,
        at: &PathCx,
        address: &[u8],
        keys: &mut Vec<WaitKey>,
    ) -> Res<()> {
        if is_unspecified(address) && self.kind == SOCK_DGRAM {
            self.disconnect();
            return Ok(());
        }
        let target = Address::parse(address)?.ok_or(Errno::EINVAL)?.find(cx, at, self.kind)?;
        let result = self.join_to(cx, &target);
        if result == Err(Errno::EAGAIN) {
            keys.push(target.key());
        }
        result
    }

    fn accept(&self, _cx: &mut Cx) -> Res<Rc<dyn SocketOps>> {
        if self.kind == SOCK_DGRAM {
            return Err(Errno::EOPNOTSUPP);
        }
        let next: Rc<dyn SocketOps> = self.next_connection()?;
        Ok(next)
    }

    fn pair(&self, other: &dyn SocketOps) -> Res<()> {
        let other = other.as_any().downcast_ref::<UnixSocket>().ok_or(Errno::EOPNOTSUPP)?;
        UnixSocket::join(self, other);
        Ok(())
    }

    fn send(&self, cx: &mut Cx, message: &mut Outgoing) -> Res<usize> {
        if message.flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut claimed = None;
        for control in message.control.iter().filter(|c| c.level == SOL_SOCKET) {
            let data = <&[u8; 12]>::try_from(&control.data[..]).map_err(|_| Errno::EINVAL)?;
            if control.kind != SCM_CREDENTIALS {
                return Err(Errno::EINVAL);
            }
            let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| data[at + i]));
            claimed = Some((word(0), word(4), word(8)));
        }
        let target = match (message.to, message.at) {
            (Some(_), _) if self.kind != SOCK_DGRAM => {
                let connected = self.is_connected();
                // A sequenced packet's address is passed over (unix_seqpacket_sendmsg).
                match (self.kind, connected) {
                    (SOCK_STREAM, true) => return Err(Errno::EISCONN),
                    (SOCK_STREAM, false) => return Err(Errno::EOPNOTSUPP),
                    (_, false) => return Err(Errno::ENOTCONN),
                    (_, true) => None,
                }
            }
            (Some(to), Some(at)) => {
                Some(Address::parse(to)?.ok_or(Errno::EINVAL)?.find(cx, at, self.kind)?)
            }
            _ => None,
        };
        let result = self.queue(cx, message.data, message.files, target.as_ref(), claimed);
        if let (Err(Errno::EAGAIN), Some(target)) = (&result, &target) {
            // A datagram waits for room at its target, which need not be the peer.
            message.keys.push(target.key());
        }
        result
    }

    fn receive(&self, _cx: &mut Cx, buf: &mut [u8], flags: u32) -> Res<Incoming> {
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if flags & MSG_DONTWAIT == 0 && self.is_below_low_water(buf.len()) {
            return Err(Errno::EAGAIN);
        }
        let mut files = Vec::new();
        let got = self.take(buf, flags & MSG_PEEK != 0, &mut files)?;
        let mut control = Vec::new();
        if self.options.borrow().is_on(SO_PASSCRED) {
            let data = credentials(got.cred);
            control.push(Control { level: SOL_SOCKET, kind: SCM_CREDENTIALS, data });
        }
        let from = got.from.as_ref().map(|from| Address::encode(Some(from)));
        Ok(Incoming { len: got.len, full_len: got.full_len, from, control, files, flags: 0 })
    }

    fn pending(&self) -> usize {
        self.pending_bytes()
    }

    fn shutdown(&self, _cx: &mut Cx, how: u32) -> Res<()> {
        self.shut(how)
    }

    fn local(&self, _cx: &mut Cx) -> Res<Vec<u8>> {
        Ok(Address::encode(self.local_address().as_ref()))
    }

    fn remote(&self, _cx: &mut Cx) -> Res<Vec<u8>> {
        Ok(Address::encode(self.remote_address()?.as_ref()))
    }

    fn take_error(&self, _cx: &mut Cx) -> Option<Errno> {
        self.take_reset().then_some(Errno::ECONNRESET)
    }

    fn is_listening(&self) -> bool {
        self.has_backlog()
    }

    fn set_option(
        &self,
        _cx: &mut Cx,
        level: u32,
        _option: u32,
        _value: &OptionValue,
    ) -> Option<Res<()>> {
        (level != SOL_SOCKET).then_some(Err(Errno::EOPNOTSUPP))
    }

    fn get_option(
        &self,
        _cx: &mut Cx,
        level: u32,
        option: u32,
        _room: usize,
    ) -> Option<Res<Vec<u8>>> {
        match (level, option) {
            (SOL_SOCKET, SO_PEERCRED) => Some(Ok(credentials(self.peer_credentials()))),
            (SOL_SOCKET, _) => None,
            _ => Some(Err(Errno::EOPNOTSUPP)),
        }
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        self.events()
    }

    fn keys(&self, out: &mut Vec<WaitKey>) {
        self.wait_keys(out);
    }

    fn generation(&self) -> u64 {
        self.changes()
    }

    fn close(&self) {
        self.end();
    }
}
