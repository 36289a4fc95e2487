//! Descriptor tables: what `CLONE_FILES` shares.

use std::rc::Rc;

use abi::Errno;
use mem::{Charge, Purpose};

use super::OpenFile;
use crate::fs::{Res, Shared};

/// Descriptors above this are refused whatever the limit (`fs.nr_open`).
const NR_OPEN: u64 = 1 << 20;

#[derive(Clone)]
struct Slot {
    file: Rc<OpenFile>,
    cloexec: bool,
}

/// One descriptor table.
pub struct FdTable {
    slots: Vec<Option<Slot>>,
    /// All descriptors below it are in use, so that the lowest free one is found without a walk.
    low: usize,
    /// The owner of POSIX record locks (fcntl(2)) taken through this table.
    owner: u64,
    shared: Rc<Shared>,
    charge: Charge,
}

impl FdTable {
    /// A table without open files.
    pub fn new(shared: &Rc<Shared>) -> FdTable {
        FdTable {
            slots: Vec::new(),
            low: 0,
            owner: shared.unique(),
            shared: shared.clone(),
            charge: Charge::new(&shared.account, Purpose::Programs),
        }
    }

    /// A table of the same box without open files.
    pub fn emptied(&self) -> FdTable {
        FdTable::new(&self.shared)
    }

    /// A copy for a forked process, without the record locks.
    pub fn fork(&self) -> FdTable {
        let mut charge = Charge::new(&self.shared.account, Purpose::Programs);
        charge.set(self.bytes());
        FdTable {
            slots: self.slots.clone(),
            low: self.low,
            owner: self.shared.unique(),
            shared: self.shared.clone(),
            charge,
        }
    }

    /// Bytes that the table is counted with.
    pub fn bytes(&self) -> u64 {
        (self.slots.len() * std::mem::size_of::<Option<Slot>>()) as u64
    }

    /// How many descriptors the table has room for, as Linux sizes it (`alloc_fdtable`): select(2) looks no further.
    pub fn capacity(&self) -> u64 {
        match self.slots.len() {
            ..=64 => 64,
            n => (n as u64).div_ceil(128).next_power_of_two() * 128,
        }
    }

    /// The owner of record locks.
    pub fn owner(&self) -> u64 {
        self.owner
    }

    fn slot(&self, fd: i32) -> Res<&Slot> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.slots.get(index).and_then(Option::as_ref).ok_or(Errno::EBADF)
    }

    /// The file of `fd`, EBADF if there is none.
    pub fn get(&self, fd: i32) -> Res<Rc<OpenFile>> {
        Ok(self.slot(fd)?.file.clone())
    }

    /// The file of `fd` for anything but naming a place: EBADF also for `O_PATH`.
    pub fn get_io(&self, fd: i32) -> Res<Rc<OpenFile>> {
        let file = self.get(fd)?;
        if file.is_path() { Err(Errno::EBADF) } else { Ok(file) }
    }

    /// The close-on-exec flag.
    pub fn cloexec(&self, fd: i32) -> Res<bool> {
        Ok(self.slot(fd)?.cloexec)
    }

    /// Sets the close-on-exec flag.
    pub fn set_cloexec(&mut self, fd: i32, cloexec: bool) -> Res<()> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let slot = self.slots.get_mut(index).and_then(Option::as_mut).ok_or(Errno::EBADF)?;
        slot.cloexec = cloexec;
        Ok(())
    }

    /// Gives `file` the lowest free descriptor at or above `min`; EMFILE at `limit` (RLIMIT_NOFILE), ENFILE where it was opened just now
    /// and the box has too many open files with it.
    pub fn add(&mut self, file: Rc<OpenFile>, cloexec: bool, min: u64, limit: u64) -> Res<i32> {
        let fd = self.free(min, limit)?;
        if Rc::strong_count(&file) == 1 && self.shared.open_files.refuses_newest() {
            return Err(Errno::ENFILE);
        }
        self.grow(fd)?;
        self.put(fd, Slot { file, cloexec });
        Ok(fd as i32)
    }

    /// The lowest free descriptor at or above `min`; EMFILE at `limit`.
    pub fn free(&self, min: u64, limit: u64) -> Res<usize> {
        let mut fd = usize::try_from(min).map_err(|_| Errno::EINVAL)?.max(self.low);
        while self.slots.get(fd).is_some_and(Option::is_some) {
            fd += 1;
        }
        if fd as u64 >= limit.min(NR_OPEN) { Err(Errno::EMFILE) } else { Ok(fd) }
    }

    /// Makes `fd` stand for `file`, closing what it stood for (dup2(2)).
    pub fn set(&mut self, fd: i32, file: Rc<OpenFile>, cloexec: bool, limit: u64) -> Res<()> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if index as u64 >= limit.min(NR_OPEN) {
            return Err(Errno::EBADF);
        }
        self.grow(index)?;
        if self.slot(fd).is_ok() {
            self.close(fd)?;
        }
        self.put(index, Slot { file, cloexec });
        Ok(())
    }

    /// Makes room for descriptor `fd`; ENFILE when the box has no memory for more.
    fn grow(&mut self, fd: usize) -> Res<()> {
        if self.slots.len() <= fd {
            let more = (fd + 1 - self.slots.len()) * std::mem::size_of::<Option<Slot>>();
            if self.charge.room() < more as u64 {
                return Err(Errno::ENFILE);
            }
            self.slots.resize(fd + 1, None);
            self.charge.set(self.bytes());
        }
        Ok(())
    }

    fn put(&mut self, fd: usize, slot: Slot) {
        if let Some(place) = self.slots.get_mut(fd) {
            *place = Some(slot);
        }
        while self.slots.get(self.low).is_some_and(Option::is_some) {
            self.low += 1;
        }
    }

    /// Closes `fd`; record locks of this table on the file go.
    pub fn close(&mut self, fd: i32) -> Res<()> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let slot = self.slots.get_mut(index).and_then(Option::take).ok_or(Errno::EBADF)?;
        self.low = self.low.min(index);
        self.shared.locks.release_owner(&self.shared.wakes, self.owner, slot.file.dentry().inode());
        Ok(())
    }

    /// Closes what is marked close-on-exec.
    pub fn close_on_exec(&mut self) {
        for fd in self.fds() {
            if self.cloexec(fd) == Ok(true) {
                let _ = self.close(fd);
            }
        }
    }

    /// The open descriptors in order.
    pub fn fds(&self) -> Vec<i32> {
        let open = self.slots.iter().enumerate().filter(|(_, s)| s.is_some());
        open.map(|(fd, _)| fd as i32).collect()
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        for fd in self.fds() {
            let _ = self.close(fd);
        }
    }
}
