//! What file operations are given: who asks ([`Cred`]), the rest of the kernel ([`World`]), and the registries that
//! outlive single operations ([`Shared`]).

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use mem::{Account, Phys};

use super::chore::{Chore, Chores};
use super::lease::Opens;
use super::lock::LockTable;
use super::notify::Watches;
use super::open_file::OpenKind;
use super::owner::IoSignal;
use super::procfs::ProcView;
use super::{Dentry, OpenFile, Time};
use crate::host::Host;
use crate::source::{Cut, FrameTrash};
use crate::wait::{WaitKey, WakeSink};

/// Credentials as the file layer sees them (credentials(7)): filesystem ids and effective capabilities.
#[derive(Clone, Debug)]
pub struct Cred {
    /// Filesystem user id.
    pub uid: u32,
    /// Filesystem group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Rc<[u32]>,
    /// Effective capabilities, bit n = capability n (capabilities(7)).
    pub caps: u64,
}

/// Capability numbers that the file layer asks for.
#[allow(missing_docs)] // names of capabilities(7)
pub mod cap {
    pub const CHOWN: u32 = 0;
    pub const DAC_OVERRIDE: u32 = 1;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const FOWNER: u32 = 3;
    pub const FSETID: u32 = 4;
    pub const LINUX_IMMUTABLE: u32 = 9;
    pub const SETFCAP: u32 = 31;
    pub const NET_BIND_SERVICE: u32 = 10;
    pub const NET_BROADCAST: u32 = 11;
    pub const NET_ADMIN: u32 = 12;
    pub const NET_RAW: u32 = 13;
    pub const SYS_CHROOT: u32 = 18;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_RESOURCE: u32 = 24;
    pub const MKNOD: u32 = 27;
}

impl Cred {
    /// Root with docker's default capability set.
    pub fn root() -> Cred {
        Cred { uid: 0, gid: 0, groups: Rc::from([]), caps: 0xa804_25fb }
    }

    /// Whether capability number `cap` is effective.
    pub fn capable(&self, cap: u32) -> bool {
        self.caps >> cap & 1 != 0
    }

    /// Whether `gid` is the filesystem group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// The caller's place in job control (credentials(7)), for terminals and file owners.
#[derive(Clone, Copy, Debug, Default)]
pub struct Job {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Process group.
    pub pgrp: u32,
    /// Session.
    pub sid: u32,
}

/// What the file layer needs of the rest of the kernel. `Kernel` implements it; tests have a small one.
pub trait World {
    /// Physical memory, where file pages live.
    fn phys(&mut self) -> &mut Phys;
    /// The outside.
    fn host(&mut self) -> &mut dyn Host;
    /// The registries of the file layer.
    fn shared(&self) -> Rc<Shared>;
    /// Place of the calling thread in job control.
    fn job(&self) -> Job;
    /// Processes, for proc(5).
    fn procs(&mut self) -> &mut dyn ProcView;
    /// Sends `signal` to process group `pgrp` (from a terminal).
    fn signal_group(&mut self, pgrp: u32, signal: u32);
    /// Whether the caller blocks or ignores `signal` (SIGTTIN, SIGTTOU).
    fn signal_blocked(&self, signal: u32) -> bool;
    /// Which of `mask`'s signals (bit n-1 = signal n) pend for the caller.
    fn pending_signals(&self, mask: u64) -> u64;
    /// Takes one pending signal of `mask` as a `struct signalfd_siginfo` (signalfd(2)).
    fn take_signal(&mut self, mask: u64) -> Option<[u8; 128]>;
    /// The key that is woken when a signal becomes pending for the caller.
    fn signal_key(&self) -> WaitKey;
    /// Makes terminal `index` (its number in devpts, or the console) the controlling terminal of session `sid`, or takes it away.
    fn set_controlling_tty(&mut self, sid: u32, tty: Option<u32>);
    /// The caller alone has no controlling terminal any more.
    fn leave_controlling_tty(&mut self);
    /// The caller's controlling terminal.
    fn controlling_tty(&self) -> Option<u32>;
    /// Whether process group `pgrp` exists in session `sid`.
    fn group_in_session(&self, pgrp: u32, sid: u32) -> bool;
    /// The caller's soft limit of a resource (`RLIMIT_*`).
    fn limit(&self, resource: usize) -> u64;
    /// The caller's limit on file size in bytes (`RLIMIT_FSIZE`).
    fn file_size_limit(&self) -> u64;
}

/// The context of one file operation.
pub struct Cx<'a> {
    /// The rest of the kernel.
    pub world: &'a mut dyn World,
    /// Who asks.
    pub cred: Cred,
    /// The registries.
    pub shared: Rc<Shared>,
}

impl<'a> Cx<'a> {
    /// A context for `cred`.
    pub fn new(world: &'a mut dyn World, cred: Cred) -> Cx<'a> {
        let shared = world.shared();
        let chores = std::mem::take(&mut *shared.host_chores.borrow_mut());
        for chore in chores {
            for chore in chore.prepare(world.phys()) {
                do_chore(world.host(), chore);
            }
        }
        Cx { world, cred, shared }
    }

    /// Physical memory.
    pub fn phys(&mut self) -> &mut Phys {
        self.world.phys()
    }

    /// The outside.
    pub fn host(&mut self) -> &mut dyn Host {
        self.world.host()
    }

    /// The time of day, for timestamps.
    pub fn now(&mut self) -> Time {
        Time::from_ns(self.world.host().clock_realtime())
    }

    /// Nanoseconds of the monotonic clock.
    pub fn monotonic(&mut self) -> u64 {
        self.world.host().clock_monotonic()
    }
}

fn do_chore(host: &mut dyn Host, chore: Chore) {
    match chore {
        Chore::Close(fd) => host.close(fd),
        Chore::Write(fd, offset, bytes) => {
            let mut done = 0;
            while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
                match host.write(fd, offset + done as u64, rest) {
                    Ok(n @ 1..) => done += n,
                    // There is nobody to tell.
                    _ => break,
                }
            }
        }
        // `prepare` has made writes of it.
        Chore::Save(..) => {}
    }
}

/// Directories that are remembered.
const RECENT: usize = 2048;

/// Registries that file objects share; one for each kernel.
pub struct Shared {
    /// Where objects report that waiters should look again.
    pub wakes: WakeSink,
    /// Frames of dropped files, to be released when somebody has the memory at hand.
    pub trash: FrameTrash,
    /// What memory is used for.
    pub account: Rc<Account>,
    /// Advisory locks of all files.
    pub locks: LockTable,
    /// What is open and running, and leases.
    pub opens: Opens,
    /// How many files are open, and may be.
    pub open_files: OpenFiles,
    /// Pages of mapped files that went away and are still mapped.
    pub cuts: RefCell<Vec<Cut>>,
    /// Signals to owners of files that are to be sent.
    pub io_signals: RefCell<Vec<IoSignal>>,
    /// Files with `O_ASYNC`, by the keys that are woken when they change.
    pub async_files: RefCell<BTreeMap<WaitKey, Vec<Weak<OpenFile>>>>,
    /// Why the last open failed with EAGAIN, if it was a lease: when that ends by itself (monotonic ns).
    pub lease_end: Cell<Option<u64>>,
    /// inotify(7) watches.
    pub watches: Watches,
    /// Roots of the mounted filesystems, in order of mounting.
    pub mounts: RefCell<Vec<Rc<Dentry>>>,
    /// Files that were queued in sockets when these were closed. They are dropped one by one and not inside each
    /// other, because a queue may hold sockets whose queues hold sockets, as deep as a program likes.
    pub graveyard: Rc<RefCell<Vec<Rc<OpenFile>>>>,
    /// Terminals whose master side was closed: the session and the foreground group that get SIGHUP.
    pub hangups: Rc<RefCell<Vec<(u32, u32)>>>,
    /// FIFOs being opened, by thread: whoever waits for the other end holds its own end.
    pub opening: RefCell<BTreeMap<u32, Rc<OpenFile>>>,
    /// What the host is to do when somebody has it at hand.
    pub host_chores: Chores,
    /// Directories walked through of late, oldest first: long paths need not be made anew for each call.
    recent: RefCell<VecDeque<Rc<Dentry>>>,
    /// How inodes without a way of their own are opened.
    pub open_kind: OpenKind,
    registries: RefCell<BTreeMap<TypeId, Rc<dyn Any>>>,
    next: Cell<u64>,
}

/// Open file descriptions of the whole box (`fs.file-nr`), and the most that there may be (`fs.file-max`).
#[derive(Default)]
pub struct OpenFiles {
    count: Cell<u64>,
    most: Cell<Option<u64>>,
    refused: Cell<u64>,
}

impl OpenFiles {
    /// `fs.file-max` where nobody has said otherwise, as Linux has it.
    const UNLIMITED: u64 = i64::MAX as u64;

    /// Sets the most; none is Linux's own.
    pub fn limit(&self, most: Option<u64>) {
        self.most.set(most);
    }

    /// The most.
    pub fn most(&self) -> u64 {
        self.most.get().unwrap_or(Self::UNLIMITED)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// How many were given up.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Whether there are more than there may be with one that was opened just now; then that one is given up.
    pub fn refuses_newest(&self) -> bool {
        let over = self.count() > self.most();
        self.refused.set(self.refused() + u64::from(over));
        over
    }

    pub(super) fn opened(&self) {
        self.count.set(self.count.get() + 1);
    }

    pub(super) fn closed(&self) {
        self.count.set(self.count.get().saturating_sub(1));
    }
}

impl Shared {
    /// Fresh registries that report to `wakes`, give frames back through `trash` and count memory in `account`; `open_kind`
    /// knows the kinds of files.
    pub fn new(
        wakes: WakeSink,
        trash: FrameTrash,
        account: Rc<Account>,
        open_kind: OpenKind,
    ) -> Rc<Shared> {
        Rc::new(Shared {
            wakes,
            trash,
            account,
            locks: LockTable::new(WaitKey::object(0)),
            opens: Opens::new(WaitKey::object(u64::MAX)),
            open_files: OpenFiles::default(),
            cuts: RefCell::default(),
            io_signals: RefCell::default(),
            async_files: RefCell::default(),
            lease_end: Cell::default(),
            watches: Watches::default(),
            mounts: RefCell::default(),
            graveyard: Rc::default(),
            hangups: Rc::default(),
            opening: RefCell::default(),
            host_chores: Chores::default(),
            recent: RefCell::default(),
            open_kind,
            registries: RefCell::default(),
            next: Cell::new(1),
        })
    }

    /// The registry `T` of one kind of file (terminals, FIFOs, names of sockets), empty at first.
    pub fn registry<T: Default + 'static>(&self) -> Rc<T> {
        let mut all = self.registries.borrow_mut();
        let known = all.get(&TypeId::of::<T>()).cloned();
        known.and_then(|registry| registry.downcast().ok()).unwrap_or_else(|| {
            let registry = Rc::new(T::default());
            all.insert(TypeId::of::<T>(), registry.clone());
            registry
        })
    }

    /// Keeps the name of a directory for a while.
    pub fn remember(&self, dentry: &Rc<Dentry>) {
        let mut recent = self.recent.borrow_mut();
        recent.push_back(dentry.clone());
        let oldest = if recent.len() > RECENT { recent.pop_front() } else { None };
        // It may be the last holder of a long chain, which looks at nothing here but in its own time.
        drop(recent);
        drop(oldest);
    }

    /// Whether owners of files are to be told something.
    pub fn has_io_signals(&self) -> bool {
        !self.io_signals.borrow().is_empty() || self.watches.has_signals()
    }

    /// A number never given before: wait keys, inode numbers of anonymous objects, device numbers, owner ids.
    pub fn unique(&self) -> u64 {
        let n = self.next.get();
        self.next.set(n + 1);
        n
    }

    /// A fresh notifier.
    pub fn notifier(self: &Rc<Self>) -> Notifier {
        Notifier {
            key: WaitKey::object(self.unique()),
            generation: Cell::new(0),
            wakes: self.wakes.clone(),
        }
    }
}

/// Tells waiters of one object that its readiness changed. The generation counts changes, for edge-triggered epoll(7).
pub struct Notifier {
    key: WaitKey,
    generation: Cell<u64>,
    wakes: WakeSink,
}

impl Notifier {
    /// Wakes whoever waits for the object.
    pub fn wake(&self) {
        self.generation.set(self.generation.get() + 1);
        self.wakes.borrow_mut().push(self.key);
    }

    /// The key to wait on.
    pub fn key(&self) -> WaitKey {
        self.key
    }

    /// How often the object has changed.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }
}
