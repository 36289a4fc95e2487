//! Descriptors that a module has beside the standard streams and the preopened directories. A component has the same
//! streams as connections ([`crate::bridge`]).

use std::io;
use std::os::unix::net::UnixStream;

/// Number of the first one. wasmtime gives opened files the lowest free numbers, and no host lets a process open so many
/// files that the two could meet.
pub(crate) const FIRST: u32 = 1 << 24;

/// A byte stream between the box and this process. In the box it never blocks (`EAGAIN`) and can be waited for together
/// with standard input and clocks.
#[derive(Debug)]
pub struct Descriptor {
    /// The environment variable that tells the box its number (`BOXER_CONTROL`).
    pub variable: &'static str,
    end: UnixStream,
}

impl Descriptor {
    /// The variable of the stream on which a box hears [`mux::control`].
    pub const CONTROL: &'static str = "BOXER_CONTROL";

    /// A descriptor, and this process's end of it (in blocking mode).
    pub fn new(variable: &'static str) -> io::Result<(Descriptor, UnixStream)> {
        let (end, ours) = UnixStream::pair()?;
        end.set_nonblocking(true)?;
        Ok((Descriptor { variable, end }, ours))
    }

    /// The box's end.
    pub(crate) fn into_end(self) -> UnixStream {
        self.end
    }
}
