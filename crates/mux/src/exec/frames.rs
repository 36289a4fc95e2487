//! Packets as they come, for who passes them on.

use crate::Broken;
use crate::wire::Wire;

/// The packets of one direction of a stream.
#[derive(Default)]
pub struct Frames(Wire);

impl Frames {
    /// Room for bytes.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        self.0.space(len)
    }

    /// The first `len` bytes of [`Frames::space`] were filled.
    pub fn arrived(&mut self, len: usize) {
        self.0.arrived(len);
    }

    /// The next whole packet, without the length before it.
    ///
    /// # Errors
    /// It is too long.
    pub fn next_packet(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        Ok(self.0.next()?.map(|place| self.0.packet(place).to_vec()))
    }
}
