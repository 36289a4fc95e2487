//! Work for the host that comes up where the host is not at hand: a file is closed or a mapping ends while something is
//! dropped. The next operation that has the host does it first, in the order it came up.

use std::cell::RefCell;
use std::rc::Rc;

use mem::{Frame, PAGE_SIZE, Phys};

use crate::host::HostFd;

/// The list of what is to be done.
pub type Chores = Rc<RefCell<Vec<Chore>>>;

/// One thing to do.
pub enum Chore {
    /// Close it.
    Close(HostFd),
    /// These bytes belong there.
    Write(HostFd, u64, Vec<u8>),
    /// A file of this size is no longer mapped: pages that may have changed, with their digests of before.
    Save(HostFd, u64, Vec<(u64, Frame, u64)>),
}

impl Chore {
    /// Turns what needs memory into plain writes, and gives the memory back.
    pub fn prepare(self, phys: &mut Phys) -> Vec<Chore> {
        let Chore::Save(fd, size, pages) = self else { return vec![self] };
        let mut writes = Vec::new();
        for (index, frame, before) in pages {
            if digest(phys.bytes(frame)) != before {
                let bytes = within(phys, frame, index, size);
                writes.push(Chore::Write(fd, index * PAGE_SIZE as u64, bytes));
            }
            phys.release(frame);
        }
        writes
    }
}

/// FNV-1a over words: only says whether a page is another one.
pub fn digest(page: &[u8; PAGE_SIZE]) -> u64 {
    page.chunks_exact(8).fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        ((hash ^ word).wrapping_mul(0x0000_0100_0000_01b3)).rotate_left(29)
    })
}

/// The bytes of page `index` that lie within a file of `size` bytes.
pub fn within(phys: &Phys, frame: Frame, index: u64, size: u64) -> Vec<u8> {
    let len = size.saturating_sub(index * PAGE_SIZE as u64).min(PAGE_SIZE as u64) as usize;
    phys.bytes(frame).get(..len).unwrap_or_default().to_vec()
}
