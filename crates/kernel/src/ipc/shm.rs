//! Shared memory segments (shmget(2), `ipc/shm.c`). A segment's memory is a [`MapSource`]; its attachments are the
//! mappings that hold it, so that a removed segment goes with the last of them.

use std::any::Any;
use std::cell::Cell;
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::ipc::{SHM_DEST, ShmidDs};
use mem::{FaultKind, Frame, PAGE_SIZE, Phys};

use super::{Ids, Object, Perm};
use crate::mm::{FrameTrash, MapSource, SharedAnon, SourceName, SpaceId, Use};
use crate::{Kernel, ProcessId};

/// Most bytes of a segment, and most pages of all (`SHMMAX`, `SHMALL`).
pub const SHMMAX: u64 = u64::MAX - (1 << 24);
/// Most segments (`SHMMNI`).
pub const SHMMNI: usize = 4096;

/// The memory of a segment and what its mappings tell about it.
pub struct Memory {
    pages: SharedAnon,
    key: i32,
    id: Cell<i32>,
    /// Last attachment, detachment (seconds since the epoch) and the process that did one of them.
    used: Cell<(i64, i64, u32)>,
}

impl MapSource for Memory {
    fn page(&self, phys: &mut Phys, index: u64, how: Use) -> Result<Frame, FaultKind> {
        self.pages.page(phys, index, how)
    }

    fn name(&self) -> SourceName {
        let path = format!("/SYSV{:08x} (deleted)", self.key).into_bytes();
        SourceName { path, dev: 1, ino: self.id.get() as u64 }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// Who keeps the memory.
enum Hold {
    /// The table, until it is removed.
    Table(Rc<Memory>),
    /// The mappings, after `IPC_RMID`.
    Mappings(Weak<Memory>),
}

/// One segment.
pub struct Segment {
    perm: Perm,
    hold: Hold,
    /// Bytes.
    pub size: u64,
    ctime: i64,
    cpid: u32,
}

impl Object for Segment {
    fn perm(&self) -> &Perm {
        &self.perm
    }
    fn perm_mut(&mut self) -> &mut Perm {
        &mut self.perm
    }
}

impl Segment {
    /// A segment of `size` bytes of zeros.
    pub fn new(perm: Perm, size: u64, now: i64, pid: ProcessId, trash: FrameTrash) -> Segment {
        let memory = Memory {
            pages: SharedAnon::new(size.div_ceil(PAGE_SIZE as u64), trash),
            key: perm.key,
            id: Cell::new(0),
            used: Cell::new((0, 0, 0)),
        };
        Segment { perm, hold: Hold::Table(Rc::new(memory)), size, ctime: now, cpid: pid.0 }
    }

    /// Its memory; `None` when it was removed and nobody has it mapped any more.
    pub fn memory(&self) -> Option<Rc<Memory>> {
        match &self.hold {
            Hold::Table(memory) => Some(memory.clone()),
            Hold::Mappings(memory) => memory.upgrade(),
        }
    }

    /// How many mappings show it.
    pub fn attachments(&self) -> u64 {
        match &self.hold {
            Hold::Table(memory) => Rc::strong_count(memory) as u64 - 1,
            Hold::Mappings(memory) => memory.strong_count() as u64,
        }
    }

    /// Pages that are there.
    pub fn resident(&self) -> u64 {
        self.memory().map_or(0, |m| m.pages.resident())
    }

    /// Its permissions and size were changed.
    pub fn changed(&mut self, now: i64) {
        self.ctime = now;
    }

    /// What `IPC_STAT` tells.
    pub fn show(&self) -> ShmidDs {
        let (atime, dtime, last) = self.memory().map_or((0, 0, 0), |m| m.used.get());
        ShmidDs {
            perm: self.perm.show(),
            segsz: self.size,
            atime,
            dtime,
            ctime: self.ctime,
            cpid: self.cpid as i32,
            lpid: last as i32,
            nattch: self.attachments(),
            ..ShmidDs::default()
        }
    }
}

impl Ids<Segment> {
    /// Enters a segment.
    pub fn add_segment(&mut self, segment: Segment) -> Result<i32, Errno> {
        let memory = segment.memory();
        let id = self.add(segment, SHMMNI)?;
        if let Some(memory) = memory {
            memory.id.set(id);
        }
        Ok(id)
    }

    /// `IPC_RMID`: its mappings keep it.
    pub fn remove_segment(&mut self, id: i32) {
        self.forget_key(id);
        if let Ok(segment) = self.get_mut(id) {
            segment.perm.mode |= SHM_DEST;
            if let Hold::Table(memory) = &segment.hold {
                segment.hold = Hold::Mappings(Rc::downgrade(memory));
            }
        }
        self.sweep();
    }

    /// Takes out removed segments that nobody has mapped.
    pub fn sweep(&mut self) {
        let gone = |s: &Segment| matches!(&s.hold, Hold::Mappings(m) if m.strong_count() == 0);
        if self.iter().any(gone) {
            self.slots.retain(|_, s| !gone(s));
        }
    }

    /// Pages of all segments, and how many of them are there.
    pub fn pages(&self) -> (u64, u64) {
        let total = self.iter().map(|s| s.size.div_ceil(PAGE_SIZE as u64)).sum();
        (total, self.iter().map(Segment::resident).sum())
    }
}

/// What mappings of segments are about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// They are made (shmat, fork).
    Attach,
    /// They go (shmdt, munmap, exec, the end).
    Detach,
}

impl Kernel {
    /// Notes that the mappings of segments in `start .. end` of `space` come or go.
    pub(crate) fn note_shm(
        &mut self,
        space: SpaceId,
        range: (u64, u64),
        pid: ProcessId,
        how: Mapping,
    ) {
        if self.ipc.shm.is_empty() {
            return;
        }
        let now = self.ipc_now();
        let Some(space) = self.mm.space(space) else { return };
        for (_, vma) in space.vmas().overlapping(range.0, range.1) {
            let object = vma.source.as_ref().and_then(|s| s.as_any());
            if let Some(memory) = object.and_then(|o| o.downcast_ref::<Memory>()) {
                let (atime, dtime, _) = memory.used.get();
                memory.used.set(match how {
                    Mapping::Attach => (now, dtime, pid.0),
                    Mapping::Detach => (atime, now, pid.0),
                });
            }
        }
    }

    /// The last user of a space leaves it: its segments are detached, its asynchronous I/O ends.
    pub(crate) fn note_space_end(&mut self, space: SpaceId, pid: ProcessId) {
        if self.mm.space_users(space) == 1 {
            self.aio.end(space);
        }
        if !self.ipc.shm.is_empty() && self.mm.space_users(space) == 1 {
            self.note_shm(space, (0, u64::MAX), pid, Mapping::Detach);
        }
    }
}
