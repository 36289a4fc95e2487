//! Credentials (credentials(7), capabilities(7)).

use std::rc::Rc;

use rootfs::rights::DOCKER_CAPABILITIES;

use crate::fs::Cred;

/// Highest capability number (CAP_CHECKPOINT_RESTORE).
pub const LAST_CAP: u32 = 40;
/// CAP_KILL.
pub const CAP_KILL: u32 = 5;
/// CAP_LEASE.
pub const CAP_LEASE: u32 = 28;
/// CAP_SETGID.
pub const CAP_SETGID: u32 = 6;
/// CAP_SETUID.
pub const CAP_SETUID: u32 = 7;
/// CAP_SETPCAP.
pub const CAP_SETPCAP: u32 = 8;
/// CAP_IPC_LOCK.
pub const CAP_IPC_LOCK: u32 = 14;
/// CAP_IPC_OWNER.
pub const CAP_IPC_OWNER: u32 = 15;
/// CAP_SYS_PTRACE.
pub const CAP_SYS_PTRACE: u32 = 19;
/// CAP_SYS_ADMIN.
pub const CAP_SYS_ADMIN: u32 = 21;
/// CAP_SYS_NICE.
pub const CAP_SYS_NICE: u32 = 23;
/// CAP_SYS_RESOURCE.
pub const CAP_SYS_RESOURCE: u32 = 24;
/// CAP_AUDIT_CONTROL.
pub const CAP_AUDIT_CONTROL: u32 = 30;
/// CAP_SYS_TIME.
pub const CAP_SYS_TIME: u32 = 25;

/// securebits: setuid changes do not touch capabilities.
pub const SECBIT_NO_SETUID_FIXUP: u32 = 1 << 2;
/// securebits: keep permitted capabilities when leaving uid 0.
pub const SECBIT_KEEP_CAPS: u32 = 1 << 4;
/// securebits: no capabilities for root at execve.
pub const SECBIT_NOROOT: u32 = 1;

/// A thread's ids and capabilities.
#[derive(Clone, Debug)]
pub struct Creds {
    /// Real, effective, saved and filesystem user.
    pub uid: Ids,
    /// Real, effective, saved and filesystem group.
    pub gid: Ids,
    /// Supplementary groups.
    pub groups: Rc<[u32]>,
    /// Permitted capabilities.
    pub permitted: u64,
    /// Effective capabilities.
    pub effective: u64,
    /// Inheritable capabilities.
    pub inheritable: u64,
    /// Bounding set.
    pub bounding: u64,
    /// Ambient set.
    pub ambient: u64,
    /// `SECBIT_*`.
    pub securebits: u32,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
}

/// One kind of id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
    /// For file access.
    pub fs: u32,
}

impl Ids {
    /// All the same.
    pub fn all(id: u32) -> Ids {
        Ids { real: id, effective: id, saved: id, fs: id }
    }
    /// Whether `id` is the real, effective or saved one.
    pub fn has(&self, id: u32) -> bool {
        id == self.real || id == self.effective || id == self.saved
    }
}

impl Creds {
    /// A container's first process as docker starts it for this user.
    pub fn new(uid: u32, gid: u32, groups: Vec<u32>) -> Creds {
        let caps = if uid == 0 { DOCKER_CAPABILITIES } else { 0 };
        Creds {
            uid: Ids::all(uid),
            gid: Ids::all(gid),
            groups: groups.into(),
            permitted: caps,
            effective: caps,
            inheritable: 0,
            bounding: DOCKER_CAPABILITIES,
            ambient: 0,
            securebits: 0,
            no_new_privs: false,
        }
    }

    /// Takes all capabilities but those of `set` away for good, and gives root those of it.
    pub fn bound(&mut self, set: u64) {
        self.bounding = set;
        if self.uid.real == 0 {
            self.permitted = set;
            self.effective = set;
        }
    }

    /// As the file layer sees them.
    pub fn fs(&self) -> Cred {
        Cred {
            uid: self.uid.fs,
            gid: self.gid.fs,
            groups: self.groups.clone(),
            caps: self.effective,
        }
    }

    /// As access(2) sees them: real ids.
    pub fn real_fs(&self) -> Cred {
        Cred {
            uid: self.uid.real,
            gid: self.gid.real,
            groups: self.groups.clone(),
            caps: if self.uid.real == 0 { self.permitted } else { 0 },
        }
    }

    /// Whether capability number `cap` is effective.
    pub fn capable(&self, cap: u32) -> bool {
        self.effective >> cap & 1 != 0
    }

    /// Sets the user ids and adjusts capabilities (capabilities(7), "Effect of user ID changes").
    pub fn set_uid(&mut self, new: Ids) {
        let old = std::mem::replace(&mut self.uid, new);
        if self.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
            return;
        }
        let had_root = old.real == 0 || old.effective == 0 || old.saved == 0;
        let has_root = new.real == 0 || new.effective == 0 || new.saved == 0;
        if had_root && !has_root {
            if self.securebits & SECBIT_KEEP_CAPS == 0 {
                self.permitted = 0;
                self.effective = 0;
            }
            self.ambient = 0;
        }
        if old.effective == 0 && new.effective != 0 {
            self.effective = 0;
        }
        if old.effective != 0 && new.effective == 0 {
            self.effective = self.permitted;
        }
        /// What moves with the filesystem user id: chown, dac_override, dac_read_search, fowner, fsetid,
        /// linux_immutable, mknod, mac_override.
        const FS_CAPS: u64 = 0x1f | 1 << 9 | 1 << 27 | 1 << 32;
        if old.fs == 0 && new.fs != 0 {
            self.effective &= !FS_CAPS;
        }
        if old.fs != 0 && new.fs == 0 {
            self.effective |= self.permitted & FS_CAPS;
        }
    }

    /// The change at execve(2): set-id bits and root's capabilities. Returns true for `AT_SECURE`.
    pub fn exec(&mut self, set_uid: Option<u32>, set_gid: Option<u32>) -> bool {
        let before = (self.uid.effective, self.gid.effective);
        if !self.no_new_privs {
            if let Some(uid) = set_uid {
                self.uid.effective = uid;
            }
            if let Some(gid) = set_gid {
                self.gid.effective = gid;
            }
        }
        let changed = before != (self.uid.effective, self.gid.effective);
        self.uid.saved = self.uid.effective;
        self.uid.fs = self.uid.effective;
        self.gid.saved = self.gid.effective;
        self.gid.fs = self.gid.effective;
        if changed {
            self.ambient = 0;
        }
        let root =
            self.securebits & SECBIT_NOROOT == 0 && (self.uid.effective == 0 || self.uid.real == 0);
        if root {
            self.permitted = self.inheritable | self.bounding;
            self.effective = if self.uid.effective == 0 { self.permitted } else { 0 };
        } else {
            self.permitted = self.ambient;
            self.effective = self.ambient;
        }
        self.securebits &= !SECBIT_KEEP_CAPS;
        changed || self.uid.real != self.uid.effective || self.gid.real != self.gid.effective
    }
}
