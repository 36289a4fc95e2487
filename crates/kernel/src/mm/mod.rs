//! Guest memory: address spaces made of mappings (VMAs) and page tables over physical frames.
//!
//! * [`vma`] says what is mapped where; [`table`] which frames are there now; [`fault`] brings them in (demand zero,
//!   file pages in place, copy-on-write) and implements [`mem::Translate`] for the current space;
//! * [`map`] and [`remap`] are mmap(2) and its relatives; [`space`] creation, fork and end of address spaces;
//! * [`user`] copies between the kernel and the current space; a bad address is `EFAULT`.
//!
//! Everything placed by the kernel lies below 4 GiB, where the lookaside tables reach.

pub mod advise;
pub mod fault;
mod gaps;
pub mod lock;
pub mod map;
pub mod remap;
pub mod remote;
pub mod space;
pub mod table;
pub mod user;
pub mod vma;

use std::collections::BTreeMap;

use mem::{Frame, Lookaside, PAGE_SIZE, Phys, Purpose};

pub use crate::source::{FrameTrash, MapSource, SharedAnon, SourceName, Use};
pub use map::MapRequest;
pub use space::{Layout, Limits, Space, SpaceId};
pub use vma::{Rights, Vma};

/// First address that programs may map (`vm.mmap_min_addr`).
pub const MIN_ADDR: u64 = 0x1_0000;
/// End of user addresses on x86-64 with four-level tables.
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// End of the addresses that the lookaside tables cover; the kernel places everything below.
pub const LOW_END: u64 = 1 << 32;
/// Most mappings in one space (`vm.max_map_count`).
pub const MAX_MAPS: usize = 65530;

/// All guest memory.
pub struct Mm {
    /// Physical frames.
    pub phys: Phys,
    /// The lookaside tables of the current space.
    pub look: Lookaside,
    /// Where sources put frames on their end.
    pub trash: FrameTrash,
    spaces: BTreeMap<SpaceId, Space>,
    current: SpaceId,
    next: u32,
    /// A frame of zeros for reads of untouched anonymous memory.
    zero: Frame,
    /// The last number given to [`Space::code_epoch`].
    epoch: u64,
    /// An access failed for want of memory.
    starved: bool,
}

/// Bytes that page tables and mappings take of the kernel's memory.
fn records(leaves: usize, maps: usize) -> u64 {
    /// Of one mapping and its place in the tree.
    const MAP: usize = 160;
    (leaves * PAGE_SIZE + maps * MAP) as u64
}

impl Mm {
    /// Guest memory over `phys`, with no address space. `None` if not even one frame can be had.
    pub fn new(mut phys: Phys) -> Option<Mm> {
        let zero = phys.alloc()?;
        Some(Mm {
            phys,
            look: Lookaside::new(),
            trash: FrameTrash::default(),
            spaces: BTreeMap::new(),
            current: SpaceId(0),
            next: 1,
            zero,
            epoch: 0,
            starved: false,
        })
    }

    /// Names the executable pages of the current space: equal numbers mean that every address holds the same code, so
    /// that code found by virtual address is still right. A fork shares its parent's number until one of them changes.
    pub fn epoch(&self) -> u64 {
        self.spaces.get(&self.current).map_or(0, |space| space.code_epoch)
    }

    /// Executable pages of the current space changed.
    fn bump_epoch(&mut self) {
        self.epoch += 1;
        if let Some(space) = self.spaces.get_mut(&self.current) {
            space.code_epoch = self.epoch;
        }
    }

    /// Remembers that code was decoded from `frame`: it is no longer entered writable.
    pub fn mark_code(&mut self, frame: Frame) {
        if !self.phys.is_code(frame) {
            self.phys.mark_code(frame);
            self.look.protect_frame(frame);
        }
    }

    /// Releases the frames of sources that are gone.
    pub fn reap(&mut self) {
        let frames = std::mem::take(&mut *self.trash.borrow_mut());
        for frame in frames {
            self.phys.release(frame);
        }
    }

    /// The current space.
    pub fn current(&self) -> SpaceId {
        self.current
    }

    /// A space by id.
    pub fn space(&self, id: SpaceId) -> Option<&Space> {
        self.spaces.get(&id)
    }

    /// A space by id, to change.
    pub fn space_mut(&mut self, id: SpaceId) -> Option<&mut Space> {
        self.spaces.get_mut(&id)
    }

    /// Whether so many more page tables and mappings may be had.
    fn records_fit(&self, leaves: usize, maps: usize) -> bool {
        self.phys.account().room(Purpose::Programs) >= records(leaves, maps)
    }

    /// Whether memory ran out since the last call of this function.
    pub(crate) fn take_starved(&mut self) -> bool {
        std::mem::take(&mut self.starved)
    }

    fn alloc(&mut self) -> Option<Frame> {
        if !self.trash.borrow().is_empty() {
            self.reap();
        }
        self.phys.alloc()
    }
}

impl Mm {
    /// All address spaces.
    pub fn spaces(&self) -> impl Iterator<Item = &Space> {
        self.spaces.values()
    }
}
