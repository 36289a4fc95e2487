//! The control stream: what the host tells a running box.

use crate::channel::{Channel, Place};
use crate::waits::Waits;
use abi::Errno;
use kernel::Kernel;
use mux::control::{Control as Message, MESSAGE};

/// The stream, as long as the host keeps it open.
pub struct Control {
    channel: Option<Channel>,
    /// The beginning of a message.
    part: Vec<u8>,
    /// The host wants to freeze the box.
    freeze: bool,
}

impl Control {
    /// The stream there. A host that lets reads of it block does not get it read: the box would stand still.
    pub fn new(place: Option<&Place>) -> Control {
        let channel = place.and_then(Place::open).filter(Channel::is_nonblocking);
        Control { channel, part: Vec::new(), freeze: false }
    }

    /// Adds the stream to what is waited for, if there is one.
    pub fn watch(&self, waits: &mut Waits) {
        if let Some(channel) = &self.channel {
            channel.watch(waits, true, false);
        }
    }

    /// Whether the host has asked to freeze the box, since the last call.
    pub fn take_freeze(&mut self) -> bool {
        std::mem::take(&mut self.freeze)
    }

    /// Carries out what the host has sent.
    pub fn obey(&mut self, kernel: &mut Kernel) {
        let Some(channel) = &mut self.channel else { return };
        let mut buf = [0; 256];
        match channel.read(&mut buf) {
            Ok(0) => self.channel = None,
            Ok(n) => self.part.extend_from_slice(buf.get(..n).unwrap_or_default()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.channel = None,
        }
        let whole = self.part.len() / MESSAGE * MESSAGE;
        for message in self.part.drain(..whole).collect::<Vec<_>>().chunks_exact(MESSAGE) {
            match <[u8; MESSAGE]>::try_from(message).ok().and_then(Message::decode) {
                Some(Message::Signal(signal)) => kernel.signal_init(u32::from(signal)),
                Some(Message::Window { rows, columns }) => kernel.resize_console(rows, columns),
                Some(Message::Freeze) => self.freeze = true,
                None => {}
            }
        }
    }
}
