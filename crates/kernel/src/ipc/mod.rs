//! System V interprocess communication (sysvipc(7)): shared memory in [`shm`], semaphores in [`sem`], message queues
//! in [`msg`]; here the table of identifiers and the permissions that they have in common (`ipc/util.c`).

pub mod msg;
pub mod proc;
pub mod sem;
pub mod shm;

use std::collections::BTreeMap;

use abi::Errno;
use abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IpcPerm};

use crate::task::Creds;
use crate::task::creds::{CAP_IPC_OWNER, CAP_SYS_ADMIN};

/// Bits of an identifier that are the slot (`IPCMNI_SHIFT`); the others count its uses.
const SLOT_BITS: u32 = 15;
/// Identifiers go round among at least so many slots (`ipc_min_cycle`), so that old ones are not soon met again.
const CYCLE: u32 = 64;
/// Uses are counted up to here.
const SEQ_MAX: u32 = 1 << (31 - SLOT_BITS);

/// Everything of System V.
#[derive(Default)]
pub struct Ipc {
    /// Shared memory.
    pub shm: Ids<shm::Segment>,
    /// Semaphores.
    pub sem: sem::Sets,
    /// Message queues.
    pub msg: Ids<msg::Queue>,
}

/// Owner, creator and permission bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Perm {
    /// Key; 0 = private.
    pub key: i32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Creator.
    pub cuid: u32,
    /// Creator's group.
    pub cgid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Identifier.
    pub id: i32,
}

impl Perm {
    /// Whether the permission bits grant what `want` asks for in any of its three places (`ipcperms`).
    pub fn check(&self, creds: &Creds, want: u32) -> Result<(), Errno> {
        let wanted = want >> 6 | want >> 3 | want;
        let euid = creds.uid.effective;
        let in_group = |gid| creds.gid.fs == gid || creds.groups.contains(&gid);
        let granted = if euid == self.cuid || euid == self.uid {
            self.mode >> 6
        } else if in_group(self.cgid) || in_group(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 7 != 0 && !creds.capable(CAP_IPC_OWNER) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// Whether the caller may change or remove the object.
    pub fn check_owner(&self, creds: &Creds) -> Result<(), Errno> {
        let euid = creds.uid.effective;
        if euid == self.cuid || euid == self.uid || creds.capable(CAP_SYS_ADMIN) {
            return Ok(());
        }
        Err(Errno::EPERM)
    }

    /// `IPC_SET` (`ipc_update_perm`).
    pub fn set(&mut self, new: &IpcPerm) -> Result<(), Errno> {
        if new.uid == u32::MAX || new.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        self.uid = new.uid;
        self.gid = new.gid;
        self.mode = self.mode & !0o777 | new.mode & 0o777;
        Ok(())
    }

    /// As programs see it.
    pub fn show(&self) -> IpcPerm {
        IpcPerm {
            key: self.key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq: (self.id >> SLOT_BITS) as u16,
            ..IpcPerm::default()
        }
    }
}

/// What has an identifier.
pub trait Object {
    /// Its permissions.
    fn perm(&self) -> &Perm;
    /// Its permissions, to change.
    fn perm_mut(&mut self) -> &mut Perm;
}

/// The objects of one kind by slot.
pub struct Ids<T> {
    slots: BTreeMap<u32, T>,
    keys: BTreeMap<i32, u32>,
    seq: u32,
    last: Option<u32>,
    next: u32,
}

impl<T> Default for Ids<T> {
    fn default() -> Self {
        Ids { slots: BTreeMap::new(), keys: BTreeMap::new(), seq: 0, last: None, next: 0 }
    }
}

impl<T: Object> Ids<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True without objects.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The highest slot in use; 0 without objects (what the `*_INFO` commands return).
    pub fn max_slot(&self) -> u64 {
        self.slots.last_key_value().map_or(0, |(&slot, _)| u64::from(slot))
    }

    /// All objects in order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.values()
    }

    /// All objects, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.values_mut()
    }

    /// Enters an object under its key and gives it an identifier; `ENOSPC` at `most` objects. The permission's `id` is
    /// set here.
    pub fn add(&mut self, mut object: T, most: usize) -> Result<i32, Errno> {
        if self.slots.len() >= most {
            return Err(Errno::ENOSPC);
        }
        let end = (self.slots.len() as u32 * 3 / 2).clamp(CYCLE, 1 << SLOT_BITS);
        let free = |from: u32, to: u32| (from..to).find(|slot| !self.slots.contains_key(slot));
        let slot = free(self.next, end).or_else(|| free(0, end)).ok_or(Errno::ENOSPC)?;
        if self.last.is_some_and(|last| slot <= last) {
            self.seq = (self.seq + 1) % SEQ_MAX;
        }
        self.last = Some(slot);
        self.next = slot + 1;
        let id = (self.seq << SLOT_BITS | slot) as i32;
        object.perm_mut().id = id;
        if object.perm().key != IPC_PRIVATE {
            self.keys.insert(object.perm().key, slot);
        }
        self.slots.insert(slot, object);
        Ok(id)
    }

    /// The object with identifier `id`; `EINVAL` if there is none.
    pub fn get(&self, id: i32) -> Result<&T, Errno> {
        let slot = id as u32 & ((1 << SLOT_BITS) - 1);
        self.slots.get(&slot).filter(|o| o.perm().id == id).ok_or(Errno::EINVAL)
    }

    /// The object with identifier `id`, to change; `EINVAL` if there is none.
    pub fn get_mut(&mut self, id: i32) -> Result<&mut T, Errno> {
        let slot = id as u32 & ((1 << SLOT_BITS) - 1);
        self.slots.get_mut(&slot).filter(|o| o.perm().id == id).ok_or(Errno::EINVAL)
    }

    /// The object in the slot of `index` (the `*_STAT` commands); `EINVAL` if there is none.
    pub fn by_slot(&self, index: i32) -> Result<&T, Errno> {
        self.slots.get(&(index as u32 & ((1 << SLOT_BITS) - 1))).ok_or(Errno::EINVAL)
    }

    /// Takes the object's key away, so that the next get with it makes another.
    pub fn forget_key(&mut self, id: i32) {
        if let Ok(object) = self.get_mut(id) {
            let key = std::mem::replace(&mut object.perm_mut().key, IPC_PRIVATE);
            self.keys.remove(&key);
        }
    }

    /// Takes an object out.
    pub fn remove(&mut self, id: i32) -> Option<T> {
        self.get(id).ok()?;
        self.forget_key(id);
        self.slots.remove(&(id as u32 & ((1 << SLOT_BITS) - 1)))
    }

    /// The get calls' search (`ipcget`): the identifier of the object of `key` after `check` and the permissions, or
    /// `None` if one is to be made.
    pub fn find(
        &self,
        creds: &Creds,
        key: i32,
        flags: u32,
        check: impl Fn(&T) -> Result<(), Errno>,
    ) -> Result<Option<i32>, Errno> {
        let found = self.keys.get(&key).filter(|_| key != IPC_PRIVATE);
        let Some(object) = found.and_then(|slot| self.slots.get(slot)) else {
            let make = key == IPC_PRIVATE || flags & IPC_CREAT != 0;
            return if make { Ok(None) } else { Err(Errno::ENOENT) };
        };
        if flags & IPC_CREAT != 0 && flags & IPC_EXCL != 0 {
            return Err(Errno::EEXIST);
        }
        check(object)?;
        object.perm().check(creds, flags)?;
        Ok(Some(object.perm().id))
    }
}

impl crate::Kernel {
    /// Permissions of a new object made by `tid`.
    pub(crate) fn new_ipc_perm(&self, tid: crate::ThreadId, key: i32, flags: u32) -> Perm {
        let creds = &self.tasks[tid].creds;
        let (uid, gid) = (creds.uid.effective, creds.gid.effective);
        Perm { key, uid, gid, cuid: uid, cgid: gid, mode: flags & 0o777, id: 0 }
    }

    /// Seconds since the epoch, for the times of objects.
    pub(crate) fn ipc_now(&self) -> i64 {
        (self.host.clock_realtime() / 1_000_000_000) as i64
    }
}
