//! Byte streams between the box and its host: a descriptor, or in a component a connection to the host.

#[cfg(feature = "sockets")]
use crate::sockets::Connection;
use crate::waits::Waits;
use crate::wasi;
use abi::Errno;

/// Where a stream is, as a `BOXER_` variable says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `none`: the host has none, and nothing in its place is tried.
    Nowhere,
    /// The number of a descriptor.
    Descriptor(wasi::Fd),
    /// `ADDRESS:PORT/TOKEN`: a component connects there and sends the token first.
    #[cfg(feature = "sockets")]
    Connection {
        /// Who listens.
        to: std::net::SocketAddr,
        /// What tells this box from others.
        token: String,
    },
}

impl Place {
    /// Reads the value of a variable.
    pub fn parse(value: &[u8]) -> Option<Place> {
        let text = std::str::from_utf8(value).ok()?;
        if text == "none" {
            return Some(Place::Nowhere);
        }
        if let Ok(fd) = text.parse() {
            return Some(Place::Descriptor(fd));
        }
        #[cfg(feature = "sockets")]
        if let Some((to, token)) = text.split_once('/') {
            return Some(Place::Connection { to: to.parse().ok()?, token: token.to_owned() });
        }
        None
    }

    /// The stream; none if nobody is there.
    pub fn open(&self) -> Option<Channel> {
        match self {
            Place::Nowhere => None,
            Place::Descriptor(fd) => {
                let nonblocking = wasi::is_nonblocking(*fd);
                Some(Channel::Descriptor { fd: *fd, nonblocking })
            }
            #[cfg(feature = "sockets")]
            Place::Connection { to, token } => {
                Connection::open(*to, token.as_bytes()).map(Channel::Connection)
            }
        }
    }
}

/// An open stream.
pub enum Channel {
    /// A descriptor. Where reads of it block, the host is asked first whether there is something.
    Descriptor { fd: wasi::Fd, nonblocking: bool },
    /// A connection to the host.
    #[cfg(feature = "sockets")]
    Connection(Connection),
}

impl Channel {
    /// Whether reads return at once.
    pub fn is_nonblocking(&self) -> bool {
        match self {
            Channel::Descriptor { nonblocking, .. } => *nonblocking,
            #[cfg(feature = "sockets")]
            Channel::Connection(_) => true,
        }
    }

    /// Reads what there is: bytes, 0 at the end, `EAGAIN` if there is nothing.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Channel::Descriptor { fd, nonblocking } => {
                if !*nonblocking
                    && wasi::wait(&[*fd], &[], Some(0)).is_some_and(|fds| fds.is_empty())
                {
                    return Err(Errno::EAGAIN);
                }
                wasi::read(*fd, buf)
            }
            #[cfg(feature = "sockets")]
            Channel::Connection(connection) => connection.read(buf),
        }
    }

    /// Writes what is taken: bytes, or `EAGAIN`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Channel::Descriptor { fd, .. } => wasi::write(*fd, bytes),
            #[cfg(feature = "sockets")]
            Channel::Connection(connection) => connection.write(bytes),
        }
    }

    /// Whether what was written has left the box.
    pub fn has_sent(&mut self) -> bool {
        match self {
            Channel::Descriptor { .. } => true,
            #[cfg(feature = "sockets")]
            Channel::Connection(connection) => connection.has_sent(),
        }
    }

    /// Waits for the stream to be readable, writable or both.
    pub fn watch(&self, waits: &mut Waits, read: bool, write: bool) {
        match self {
            Channel::Descriptor { fd, .. } => {
                if read {
                    waits.read(*fd);
                }
                if write {
                    waits.write(*fd);
                }
            }
            #[cfg(feature = "sockets")]
            Channel::Connection(connection) => connection.watch(waits, read, write),
        }
    }
}
