//! Address spaces: creation, activation, fork, end.

use std::rc::Rc;

use abi::time::RLIM_INFINITY;
use mem::{Charge, PAGE_SHIFT, Purpose};

use super::table::{PageTable, Pte};
use super::vma::Vmas;
use super::{LOW_END, Mm};

/// Names an address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId(pub(super) u32);

impl SpaceId {
    /// No space: that of a thread that has ended.
    pub const NONE: SpaceId = SpaceId(0);

    /// The bare number, for keys.
    pub fn raw(self) -> u32 {
        self.0
    }
}

/// Limits of setrlimit(2) on memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_AS`.
    pub address_space: u64,
    /// `RLIMIT_DATA`.
    pub data: u64,
    /// `RLIMIT_STACK`.
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`.
    pub locked: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            address_space: RLIM_INFINITY,
            data: RLIM_INFINITY,
            stack: 8 << 20,
            locked: 8 << 20,
        }
    }
}

/// Where execve(2) put things.
#[derive(Clone, Default)]
pub struct Layout {
    /// First address of the program's code.
    pub start_code: u64,
    /// First address after it.
    pub end_code: u64,
    /// Start of the heap.
    pub brk_start: u64,
    /// End of the heap as brk(2) set it (not aligned).
    pub brk: u64,
    /// Highest address of the stack.
    pub stack_top: u64,
    /// New mappings go below this.
    pub mmap_base: u64,
    /// Argument strings.
    pub args: (u64, u64),
    /// Environment strings.
    pub env: (u64, u64),
    /// The auxiliary vector.
    pub auxv: Vec<(u64, u64)>,
    /// The program.
    pub exe: Option<Rc<crate::fs::lease::Program>>,
}

/// One address space.
#[derive(Default)]
pub struct Space {
    /// Tasks that live in it.
    pub(super) users: u32,
    pub(super) table: PageTable,
    pub(super) vmas: Vmas,
    /// Where things are.
    pub layout: Layout,
    /// Limits of the process.
    pub limits: Limits,
    /// Most pages resident so far.
    pub(super) peak_rss: u64,
    /// Page faults served.
    pub faults: u64,
    /// Bytes of private writable mappings.
    pub(super) data: u64,
    /// See [`Mm::epoch`].
    pub(super) code_epoch: u64,
    /// New mappings are locked (mlockall(2)).
    pub(super) lock_future: bool,
    /// Counts page tables and mappings.
    charge: Option<Charge>,
}

impl Space {
    /// The mappings in order of address.
    pub fn vmas(&self) -> &Vmas {
        &self.vmas
    }
    /// Bytes resident.
    pub fn resident(&self) -> u64 {
        self.table.present() << PAGE_SHIFT
    }
    /// Most bytes resident so far.
    pub fn peak_resident(&self) -> u64 {
        self.peak_rss.max(self.table.present()) << PAGE_SHIFT
    }

    /// The largest resident set is from now on that of now on.
    pub fn forget_peak(&mut self) {
        self.peak_rss = 0;
    }
    /// Bytes mapped.
    pub fn mapped(&self) -> u64 {
        self.vmas.total()
    }
    /// Bytes of private writable mappings.
    pub fn data(&self) -> u64 {
        self.data
    }
    /// Bytes that the kernel keeps for it: page tables and mappings.
    pub fn records(&self) -> u64 {
        super::records(self.table.leaves(), self.vmas.len())
    }
    /// Counts what the kernel keeps for it; after each change of its page tables and mappings.
    pub(super) fn settle(&mut self) {
        let bytes = self.records();
        if let Some(charge) = &mut self.charge {
            charge.set(bytes);
        }
    }
    /// Whether one more mapping may be kept.
    pub(super) fn has_room(&self) -> bool {
        self.charge.as_ref().is_none_or(|charge| charge.room() >= super::records(0, 1))
    }
    /// The resident ones of the pages `first .. last`, and whether a program may write to each now.
    pub fn resident_pages(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, bool)> + '_ {
        self.table.range(first, last).map(|(page, pte)| (page, pte.allows(Pte::W)))
    }
    /// How many pages of `start .. end` are resident.
    pub fn resident_in(&self, start: u64, end: u64) -> u64 {
        self.table.range(start >> PAGE_SHIFT, end >> PAGE_SHIFT).count() as u64
    }
}

impl Mm {
    /// A new, empty space with one user.
    pub fn new_space(&mut self, limits: Limits) -> SpaceId {
        let id = SpaceId(self.next);
        self.next += 1;
        self.epoch += 1;
        let mut space = Space { users: 1, limits, code_epoch: self.epoch, ..Space::default() };
        space.charge = Some(Charge::new(self.phys.account(), Purpose::Programs));
        space.layout.mmap_base = LOW_END - (64 << 20);
        self.spaces.insert(id, space);
        id
    }

    /// One more task lives in `id` (`CLONE_VM`).
    pub fn share_space(&mut self, id: SpaceId) {
        if let Some(space) = self.spaces.get_mut(&id) {
            space.users += 1;
        }
    }

    /// How many tasks live in `id`.
    pub fn space_users(&self, id: SpaceId) -> u32 {
        self.spaces.get(&id).map_or(0, |s| s.users)
    }

    /// A task left `id`; the last one frees it.
    pub fn drop_space(&mut self, id: SpaceId) {
        let Some(space) = self.spaces.get_mut(&id) else { return };
        space.users = space.users.saturating_sub(1);
        if space.users > 0 {
            return;
        }
        if id == self.current {
            self.look.clear();
            self.current = SpaceId(0);
        }
        if let Some(mut space) = self.spaces.remove(&id) {
            let phys = &mut self.phys;
            space.table.update(0, u64::MAX, |_, pte| {
                phys.release(pte.frame());
                Pte::default()
            });
        }
        self.reap();
    }

    /// Makes `id` the space that [`mem::Translate`] and the user copies see.
    pub fn activate(&mut self, id: SpaceId) {
        if self.current != id {
            self.look.clear();
            self.current = id;
        }
    }

    /// A copy of `id` for a fork: all frames shared, private ones copy-on-write on both sides. `None` when
    /// the tables would take too much memory.
    pub fn fork_space(&mut self, id: SpaceId) -> Option<SpaceId> {
        let size = self.spaces.get(&id).map(|s| (s.table.leaves(), s.vmas.len()))?;
        if !self.records_fit(size.0, size.1) {
            return None;
        }
        let child_id = SpaceId(self.next);
        let phys = &mut self.phys;
        let parent = self.spaces.get_mut(&id)?;
        self.next += 1;
        let mut child = Space {
            users: 1,
            layout: parent.layout.clone(),
            limits: parent.limits,
            code_epoch: parent.code_epoch,
            charge: Some(Charge::new(phys.account(), Purpose::Programs)),
            ..Space::default()
        };
        for (start, vma) in parent.vmas.iter() {
            if vma.rights.dont_fork {
                continue;
            }
            let rights = super::Rights { locked: false, ..vma.rights };
            child.vmas.insert(start, super::Vma { rights, ..vma.clone() });
            if vma.rights.is_data() {
                child.data += vma.end - start;
            }
            if vma.rights.wipe_on_fork {
                continue;
            }
            let shared = vma.rights.shared;
            parent.table.update(start >> PAGE_SHIFT, vma.end >> PAGE_SHIFT, |vpn, pte| {
                let pte = if shared { pte } else { pte.with(pte.bits() & !Pte::W) };
                phys.retain(pte.frame());
                child.table.set(vpn, pte);
                pte
            });
        }
        if id == self.current {
            self.look.protect_all();
        }
        child.settle();
        self.spaces.insert(child_id, child);
        Some(child_id)
    }
}
