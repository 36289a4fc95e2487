//! What a mapping shows: the [`MapSource`] trait that mappable files implement, and shared anonymous memory.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use abi::Errno;
use mem::{FaultKind, Frame, PAGE_SIZE, Phys};

/// Frames whose owner went away without having physical memory at hand. Released by `mm::Mm::reap`.
pub type FrameTrash = Rc<RefCell<Vec<Frame>>>;

/// How a mapping uses its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// `MAP_PRIVATE`: the frame is only read; static frames of the image are welcome.
    Private,
    /// `MAP_SHARED`: changes of the object must show in the frame.
    Shared {
        /// The mapping may change the object.
        write: bool,
    },
}

/// What `/proc/pid/maps` says of a mapping's object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceName {
    /// Path, or a name such as `/dev/zero (deleted)`.
    pub path: Vec<u8>,
    /// Device number, `major << 8 | minor`.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// Pages of an object that went away while it was mapped: whoever maps them must ask again.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The object ([`MapSource::identity`]).
    pub object: (u64, u64),
    /// First page that may have changed; when `partial`, only where it is a page of the image, which cannot be cut itself.
    pub first: u64,
    /// See `first`.
    pub partial: bool,
    /// First page that has not changed.
    pub end: u64,
    /// Copies that private mappings made go, too (truncation, but not a hole).
    pub copies: bool,
}

/// An object that can be mapped. Implementations keep their pages in frames of [`Phys`] (or in static frames of the
/// image), so that mappings and read(2)/write(2) see the same bytes. A page fault happens in the middle of a guest
/// instruction or of a copy by the kernel, where only `Phys` is at hand: a source that needs the host loads its
/// pages when it is made (at mmap time).
pub trait MapSource {
    /// The frame that holds page `index` of the object. The source keeps its own reference; the mapping takes one
    /// more. [`FaultKind::PastEnd`] beyond the last page, [`FaultKind::OutOfMemory`] when no frame is left. Bytes of
    /// the last page after the object's end read as zero.
    fn page(&self, phys: &mut Phys, index: u64, how: Use) -> Result<Frame, FaultKind>;

    /// For `/proc/pid/maps`.
    fn name(&self) -> SourceName;

    /// Device and inode number of the object, without the path.
    fn identity(&self) -> (u64, u64) {
        let name = self.name();
        (name.dev, name.ino)
    }

    /// Whether page `index` needs no work to be there (mincore(2)).
    fn is_resident(&self, _index: u64) -> bool {
        false
    }

    /// Makes the bytes `start .. end` of the object zeros (madvise(2), `MADV_REMOVE`).
    fn punch(&self, _phys: &mut Phys, _start: u64, _end: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// msync(2) with `MS_SYNC`.
    fn sync(&self, _phys: &mut Phys) {}

    /// For downcasts, by those whose objects need to be found again among the mappings.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

/// Memory of `MAP_SHARED | MAP_ANONYMOUS`: zero pages on demand, shared by everyone who inherits the mapping.
pub struct SharedAnon {
    frames: RefCell<BTreeMap<u64, Frame>>,
    trash: FrameTrash,
    pages: u64,
}

impl SharedAnon {
    /// `pages` pages of zeros.
    pub fn new(pages: u64, trash: FrameTrash) -> SharedAnon {
        SharedAnon { frames: RefCell::default(), trash, pages }
    }

    /// Pages that are there.
    pub fn resident(&self) -> u64 {
        self.frames.borrow().len() as u64
    }
}

impl MapSource for SharedAnon {
    fn page(&self, phys: &mut Phys, index: u64, _how: Use) -> Result<Frame, FaultKind> {
        if index >= self.pages {
            return Err(FaultKind::PastEnd);
        }
        let mut frames = self.frames.borrow_mut();
        if let Some(&frame) = frames.get(&index) {
            return Ok(frame);
        }
        let frame = phys.alloc().ok_or(FaultKind::OutOfMemory)?;
        frames.insert(index, frame);
        Ok(frame)
    }

    fn name(&self) -> SourceName {
        SourceName { path: b"/dev/zero (deleted)".to_vec(), dev: 1, ino: 1 }
    }

    fn identity(&self) -> (u64, u64) {
        // Each object is one of its own.
        (1, std::ptr::from_ref(self) as usize as u64)
    }

    fn punch(&self, phys: &mut Phys, start: u64, end: u64) -> Result<(), Errno> {
        let mut frames = self.frames.borrow_mut();
        let pages: Vec<u64> = frames
            .range(start / PAGE_SIZE as u64..end / PAGE_SIZE as u64)
            .map(|(i, _)| *i)
            .collect();
        for index in pages {
            frames.remove(&index).into_iter().for_each(|frame| phys.release(frame));
        }
        Ok(())
    }
}

impl Drop for SharedAnon {
    fn drop(&mut self) {
        self.trash.borrow_mut().extend(self.frames.borrow().values());
    }
}
