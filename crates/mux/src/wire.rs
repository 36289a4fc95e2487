//! Bytes on their way in and out: each packet has its length before it, 4 bytes little-endian.

use crate::Broken;
use crate::packet::{MAX_PACKET, Packet};

/// Above this much unwritten output no more data is taken; packets that steer still are.
pub(crate) const OUTPUT_SOFT: usize = 512 << 10;

/// Above this much unwritten output no more input is looked at.
const OUTPUT_HARD: usize = 1 << 20;

/// Bytes of a length.
const PREFIX: usize = 4;

/// Both directions of the byte stream.
#[derive(Default)]
pub(crate) struct Wire {
    input: Vec<u8>,
    /// Bytes of `input` that have arrived; the rest is room.
    filled: usize,
    /// Bytes of `input` that are done with.
    taken: usize,
    output: Vec<u8>,
    /// Bytes of `output` that were written.
    written: usize,
}

impl Wire {
    /// Room for `len` bytes from the other end.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        if self.taken > 0 {
            self.input.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        let end = self.filled + len;
        if self.input.len() < end {
            self.input.resize(end, 0);
        }
        self.input.get_mut(self.filled..end).unwrap_or_default()
    }

    /// The first `len` bytes of [`Wire::space`] were filled.
    pub fn arrived(&mut self, len: usize) {
        self.filled = (self.filled + len).min(self.input.len());
    }

    /// The next whole packet: where it lies, for [`Wire::packet`].
    pub fn next(&mut self) -> Result<Option<std::ops::Range<usize>>, Broken> {
        let bytes = self.input.get(self.taken..self.filled).unwrap_or_default();
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let len = u32::from_le_bytes(*prefix) as usize;
        if len > MAX_PACKET {
            return Err(Broken("a packet is too long"));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let start = self.taken + PREFIX;
        self.taken = start + len;
        Ok(Some(start..start + len))
    }

    /// Whether there is input that was not looked at.
    pub fn waits(&self) -> bool {
        self.taken < self.filled
    }

    /// The bytes of a packet.
    pub fn packet(&self, place: std::ops::Range<usize>) -> &[u8] {
        self.input.get(place).unwrap_or_default()
    }

    /// Appends a packet.
    pub fn put(&mut self, stream: u32, packet: &Packet<'_>) {
        self.put_by(|out| packet.encode(stream, out));
    }

    /// Appends what `encode` appends: a packet with its length before it.
    pub fn put_by(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.written > 0 && self.written >= self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
        encode(&mut self.output);
    }

    /// What waits to be written.
    pub fn output(&self) -> &[u8] {
        self.output.get(self.written..).unwrap_or_default()
    }

    /// So much of it was written.
    pub fn wrote(&mut self, len: usize) {
        self.written = (self.written + len).min(self.output.len());
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
            if self.output.capacity() > OUTPUT_HARD {
                self.output.shrink_to(OUTPUT_SOFT);
            }
        }
    }

    /// How much data may be put now.
    pub fn room(&self) -> usize {
        OUTPUT_SOFT.saturating_sub(self.output().len())
    }

    /// Whether the other end must write its answers first.
    pub fn is_full(&self) -> bool {
        self.output().len() >= OUTPUT_HARD
    }
}
