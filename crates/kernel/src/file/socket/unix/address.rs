//! Names of unix sockets: `struct sockaddr_un` and what is bound (unix(7)).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::socket::AF_UNIX;
use abi::stat::W_OK;

use super::UnixSocket;
use crate::fs::walk::{Lookup, PathCx, resolve};
use crate::fs::{Cx, Kind, Res, acl};

/// Bytes of `sun_path`.
const SUN_PATH: usize = 108;

/// A socket address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// A path, as it was given.
    Path(Vec<u8>),
    /// A name in the abstract namespace, without its leading NUL.
    Abstract(Vec<u8>),
}

impl Address {
    /// Reads a `struct sockaddr_un`; `None` for one without a name.
    pub fn parse(bytes: &[u8]) -> Res<Option<Address>> {
        let (family, name) = match bytes {
            [low, high, name @ ..] => (u16::from_le_bytes([*low, *high]), name),
            _ => return Err(Errno::EINVAL),
        };
        if family != AF_UNIX || name.len() > SUN_PATH {
            return Err(Errno::EINVAL);
        }
        Ok(match name.first() {
            None => None,
            Some(0) => Some(Address::Abstract(name[1..].to_vec())),
            Some(_) => {
                let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
                Some(Address::Path(name[..end].to_vec()))
            }
        })
    }

    /// `struct sockaddr_un` of an address.
    pub fn encode(address: Option<&Address>) -> Vec<u8> {
        let mut bytes = AF_UNIX.to_le_bytes().to_vec();
        match address {
            None => {}
            Some(Address::Abstract(name)) => {
                bytes.push(0);
                bytes.extend_from_slice(name);
            }
            Some(Address::Path(path)) => {
                bytes.extend_from_slice(path);
                bytes.push(0);
            }
        }
        bytes
    }

    /// The socket that the address leads to, for a socket of type `kind`: each type has abstract names of its own.
    pub fn find(&self, cx: &mut Cx, at: &PathCx, kind: u32) -> Res<Rc<UnixSocket>> {
        let place = match self {
            Address::Abstract(name) => Place::Abstract(kind, name.clone()),
            Address::Path(path) => {
                let dentry = resolve(cx, at, &at.cwd, path, Lookup::FOLLOW)?;
                let meta = dentry.inode().meta(cx)?;
                acl::check(cx, dentry.inode(), &meta, W_OK)?;
                if meta.kind() != Kind::Socket {
                    return Err(Errno::ECONNREFUSED);
                }
                Place::Inode(meta.dev, meta.ino)
            }
        };
        cx.shared.registry::<UnixNames>().find(&place)
    }
}

/// What an address leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The socket inode (dev, ino).
    Inode(u64, u64),
    /// An abstract name of sockets of this type.
    Abstract(u32, Vec<u8>),
}

/// Bound sockets.
#[derive(Default)]
pub struct UnixNames(RefCell<BTreeMap<Place, Weak<UnixSocket>>>);

impl UnixNames {
    /// The socket bound to `place`; ECONNREFUSED if there is none any more.
    pub fn find(&self, place: &Place) -> Res<Rc<UnixSocket>> {
        let names = self.0.borrow();
        names.get(place).and_then(Weak::upgrade).ok_or(Errno::ECONNREFUSED)
    }

    pub(super) fn bind(&self, place: Place, socket: &Weak<UnixSocket>) -> Res<()> {
        let mut names = self.0.borrow_mut();
        names.retain(|_, s| s.strong_count() > 0);
        if names.contains_key(&place) {
            return Err(Errno::EADDRINUSE);
        }
        names.insert(place, socket.clone());
        Ok(())
    }
}
