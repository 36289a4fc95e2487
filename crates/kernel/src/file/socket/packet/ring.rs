//! PACKET_RX_RING with TPACKET_V2: frames in memory that the program maps
//! (`Documentation/networking/packet_mmap.rst`).

use std::rc::Rc;

use abi::Errno;
use abi::packet::{TP_STATUS_KERNEL, TP_STATUS_USER};
use mem::{PAGE_SIZE, Phys};
use net::tap::Packet;

use crate::fs::Res;
use crate::source::{FrameTrash, MapSource, SharedAnon, Use};

/// Most memory of one ring.
const RING_MAX: u64 = 64 << 20;
/// Bytes of `struct tpacket2_hdr`, and where the address follows it.
const HEADER: usize = 32;
/// `TPACKET2_HDRLEN`: the header and a `struct sockaddr_ll`.
pub const HEADER_AND_ADDRESS: usize = 52;
/// `TPACKET_ALIGNMENT`.
const ALIGNMENT: usize = 16;

/// The frames.
pub struct Ring {
    memory: Rc<SharedAnon>,
    block: usize,
    frame: usize,
    frames: usize,
    /// The next one to fill.
    head: usize,
}

impl Ring {
    /// The ring of a `struct tpacket_req`; none for one of no blocks, which takes the ring away.
    pub fn new(request: &[u8], reserve: u32, trash: FrameTrash) -> Res<Option<Ring>> {
        let word = |at: usize| match request.get(at..at + 4).and_then(|b| b.try_into().ok()) {
            Some(bytes) => u32::from_le_bytes(bytes) as usize,
            None => 0,
        };
        let (block, blocks, frame, frames) = (word(0), word(4), word(8), word(12));
        if blocks == 0 {
            return if frames == 0 { Ok(None) } else { Err(Errno::EINVAL) };
        }
        let smallest = HEADER_AND_ADDRESS + reserve as usize;
        if block == 0
            || block % PAGE_SIZE != 0
            || frame < smallest
            || frame % ALIGNMENT != 0
            || frame > block
            || (block / frame).checked_mul(blocks) != Some(frames)
        {
            return Err(Errno::EINVAL);
        }
        let bytes = (block as u64).saturating_mul(blocks as u64);
        if bytes > RING_MAX {
            return Err(Errno::ENOMEM);
        }
        let memory = Rc::new(SharedAnon::new(bytes / PAGE_SIZE as u64, trash));
        Ok(Some(Ring { memory, block, frame, frames, head: 0 }))
    }

    /// The memory, to be mapped.
    pub fn memory(&self) -> Rc<dyn MapSource> {
        self.memory.clone()
    }

    /// Where frame `n` starts. Frames do not cross blocks.
    fn at(&self, n: usize) -> usize {
        let in_block = self.block / self.frame;
        n / in_block * self.block + n % in_block * self.frame
    }

    fn write(&self, phys: &mut Phys, mut at: usize, mut bytes: &[u8]) -> Res<()> {
        while !bytes.is_empty() {
            let (page, offset) = (at / PAGE_SIZE, at % PAGE_SIZE);
            let how = Use::Shared { write: true };
            let frame = self.memory.page(phys, page as u64, how).map_err(|_| Errno::ENOMEM)?;
            let n = bytes.len().min(PAGE_SIZE - offset);
            phys.bytes_mut(frame)[offset..offset + n].copy_from_slice(&bytes[..n]);
            at += n;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// `tp_status` of frame `n`.
    fn status(&self, phys: &mut Phys, n: usize) -> Res<u32> {
        let (page, offset) = (self.at(n) / PAGE_SIZE, self.at(n) % PAGE_SIZE);
        let how = Use::Shared { write: false };
        let frame = self.memory.page(phys, page as u64, how).map_err(|_| Errno::ENOMEM)?;
        let bytes = phys.bytes(frame).get(offset..offset + 4).and_then(|b| b.try_into().ok());
        Ok(bytes.map_or(0, u32::from_le_bytes))
    }

    /// Puts a packet into the next frame, cut to what fits; false while the program has not given that frame back.
    pub fn put(
        &mut self,
        phys: &mut Phys,
        packet: &Packet,
        bytes: &[u8],
        full: usize,
        link: usize,
        reserve: usize,
    ) -> bool {
        if self.status(phys, self.head) != Ok(TP_STATUS_KERNEL) {
            return false;
        }
        // As `tpacket_rcv` lays it out.
        let net = if link == 0 {
            HEADER_AND_ADDRESS.next_multiple_of(ALIGNMENT) + 16 + reserve
        } else {
            (HEADER_AND_ADDRESS + link.max(16)).next_multiple_of(ALIGNMENT) + reserve
        };
        let mac = net - link;
        let bytes = &bytes[..bytes.len().min(self.frame.saturating_sub(mac))];
        let mut header = Vec::with_capacity(HEADER_AND_ADDRESS);
        for word in [TP_STATUS_KERNEL, full as u32, bytes.len() as u32] {
            header.extend_from_slice(&word.to_le_bytes());
        }
        header.extend_from_slice(&(mac as u16).to_le_bytes());
        header.extend_from_slice(&(net as u16).to_le_bytes());
        header.extend_from_slice(&((packet.time / 1_000_000_000) as u32).to_le_bytes());
        header.extend_from_slice(&((packet.time % 1_000_000_000) as u32).to_le_bytes());
        header.resize(HEADER, 0);
        header.extend_from_slice(&super::sender(packet));
        let at = self.at(self.head);
        let stored = self
            .write(phys, at, &header)
            .and_then(|()| self.write(phys, at + mac, bytes))
            .and_then(|()| self.write(phys, at, &TP_STATUS_USER.to_le_bytes()));
        if stored.is_ok() {
            self.head = (self.head + 1) % self.frames.max(1);
        }
        stored.is_ok()
    }

    /// Whether the frame that was filled last has not been given back.
    pub fn is_readable(&self, phys: &mut Phys) -> bool {
        let last = (self.head + self.frames - 1) % self.frames.max(1);
        self.status(phys, last).is_ok_and(|status| status != TP_STATUS_KERNEL)
    }
}
