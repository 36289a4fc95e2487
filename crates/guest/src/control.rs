//! The control stream: what the host tells a running box.

use crate::wasi;
use abi::Errno;
use kernel::Kernel;
use mux::control::{Control as Message, MESSAGE};

/// The stream, as long as the host keeps it open.
pub struct Control {
    fd: Option<wasi::Fd>,
    /// The beginning of a message.
    part: Vec<u8>,
}

impl Control {
    /// The stream on `fd`. A host that lets reads of it block does not get it read: the box would stand still.
    pub fn new(fd: Option<wasi::Fd>) -> Control {
        Control { fd: fd.filter(|fd| wasi::is_nonblocking(*fd)), part: Vec::new() }
    }

    /// The descriptor to wait for.
    pub fn fd(&self) -> Option<wasi::Fd> {
        self.fd
    }

    /// Carries out what the host has sent; whether that was anything.
    pub fn obey(&mut self, kernel: &mut Kernel) -> bool {
        let Some(fd) = self.fd else { return false };
        let mut buf = [0; 256];
        match wasi::read(fd, &mut buf) {
            Ok(0) => self.fd = None,
            Ok(n) => self.part.extend_from_slice(buf.get(..n).unwrap_or_default()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.fd = None,
        }
        let whole = self.part.len() / MESSAGE * MESSAGE;
        for message in self.part.drain(..whole).collect::<Vec<_>>().chunks_exact(MESSAGE) {
            match <[u8; MESSAGE]>::try_from(message).ok().and_then(Message::decode) {
                Some(Message::Signal(signal)) => kernel.signal_init(u32::from(signal)),
                Some(Message::Window { rows, columns }) => kernel.resize_console(rows, columns),
                None => {}
            }
        }
        whole > 0
    }
}
