//! What a mapping shows: the [`MapSource`] trait that mappable files implement, and shared anonymous memory.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mem::{FaultKind, Frame, Phys};

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
}

impl Drop for SharedAnon {
    fn drop(&mut self) {
        self.trash.borrow_mut().extend(self.frames.borrow().values());
    }
}
