//! The kernel as a whole: its state and what `machine` calls.

use std::collections::BTreeMap;
use std::rc::Rc;

use abi::{Context, Errno};
use mem::{Phys, Purpose};

use crate::aio::Contexts;
use crate::attach::Attached;
use crate::exec::StartSpec;
use crate::fs::{Cx, Dentry, Shared};
use crate::ipc::Ipc;
use crate::mm::Mm;
use crate::processor::Processor;
use crate::syscall::futex::Futexes;
use crate::syscall::table::Table;
use crate::task::Tasks;
use crate::task::cgroup::Cgroup;
use crate::{Host, ThreadId, WakeSink};

/// Why a kernel could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// Not one frame of memory to be had.
    NoMemory,
    /// The root filesystem cannot be mounted.
    Rootfs(Errno),
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KernelError::NoMemory => f.write_str("no guest memory"),
            KernelError::Rootfs(errno) => write!(f, "cannot mount the root filesystem: {errno}"),
        }
    }
}

impl std::error::Error for KernelError {}

/// The Linux personality.
pub struct Kernel {
    /// Guest memory.
    pub mm: Mm,
    /// Processes and threads.
    pub tasks: Tasks,
    /// The outside.
    pub host: Box<dyn Host>,
    /// Where objects report that waiters should look again.
    pub wakes: WakeSink,
    /// Registries of the file layer.
    pub shared: Rc<Shared>,
    /// Root of the name tree.
    pub root: Rc<Dentry>,
    /// The thread whose call or fault is being served, or that runs.
    pub current: ThreadId,
    /// Print calls as strace(1) does.
    pub strace: bool,
    /// Why the running thread's trap came, for the user if it kills the process.
    pub death_note: Option<String>,
    /// What programs are told of the processor.
    pub processor: Processor,
    /// Host name (uname(2)).
    pub hostname: Vec<u8>,
    /// NIS domain name.
    pub domainname: Vec<u8>,
    pub(crate) futexes: Futexes,
    pub(crate) ipc: Ipc,
    pub(crate) aio: Contexts,
    pub(crate) table: Table,
    /// Calls that are not supported, by number, and how often they were made.
    pub(crate) unlisted: BTreeMap<u64, u64>,
    /// Wait status of the first process after its end.
    pub(crate) exit: Option<i32>,
    /// When the running thread was put on the CPU, monotonic ns.
    pub(crate) slice_start: u64,
    /// Nobody has run since then.
    pub(crate) idle: bool,
    /// When data were last exchanged with the way out, monotonic ns.
    pub(crate) pumped: u64,
    /// Since a thread was picked others have become runnable.
    pub(crate) woken: bool,
    /// The next expiry of any timer, monotonic ns.
    pub(crate) next_timer: Option<u64>,
    /// Monotonic ns at which the box was started.
    pub boot_ns: u64,
    /// Time between the lives of the box, ns: what CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC.
    pub asleep: u64,
    /// Monotonic and realtime ns at which the last life ended, if the next has not begun.
    pub(crate) stopped: Option<(u64, u64)>,
    /// The first program's environment.
    pub(crate) first_env: Vec<Vec<u8>>,
    /// How the first program was started: what further ones are given, too. Its environment is without what depends on user and terminal.
    pub(crate) given: StartSpec,
    /// What the host has started, opened and watches in the box.
    pub(crate) attached: Attached,
    pub(crate) rounds: u32,
    /// Where system calls keep bytes on their way; what it holds between calls means nothing.
    pub(crate) scratch: Vec<u8>,
    /// A request to a server inside, under way.
    pub(crate) probe: Option<crate::file::socket::Probe>,
    /// This life of the box.
    pub(crate) life: Rc<crate::file::moment::Life>,
    /// The network inside.
    pub(crate) network: Rc<crate::file::socket::Network>,
    /// Limits of the box as a whole.
    pub(crate) cgroup: Cgroup,
    /// State of the generator that chooses system calls to be timed.
    pub(crate) sample: u32,
}

impl Kernel {
    /// A kernel with the image's root filesystem mounted and no process. `image_base` is the physical address of
    /// `image` (see `mem::Phys::adopt_static`).
    pub fn new(
        phys: Phys,
        host: Box<dyn Host>,
        image: &'static [u8],
        image_base: u32,
    ) -> Result<Kernel, KernelError> {
        let mut kernel = Kernel::unmounted(phys, host)?;
        let mut cx = Cx::new(&mut kernel, crate::fs::Cred::root());
        let root = crate::mounts::boot(&mut cx, image, image_base).map_err(KernelError::Rootfs)?;
        kernel.root = root;
        Ok(kernel)
    }

    /// A kernel whose root is an empty tmpfs (tests, and boxes without an image).
    pub fn with_empty_root(phys: Phys, host: Box<dyn Host>) -> Result<Kernel, KernelError> {
        let mut kernel = Kernel::unmounted(phys, host)?;
        let mut cx = Cx::new(&mut kernel, crate::fs::Cred::root());
        let root = crate::mounts::boot_empty(&mut cx).map_err(KernelError::Rootfs)?;
        kernel.root = root;
        Ok(kernel)
    }

    fn unmounted(phys: Phys, host: Box<dyn Host>) -> Result<Kernel, KernelError> {
        let mm = Mm::new(phys).ok_or(KernelError::NoMemory)?;
        let wakes = WakeSink::default();
        let account = mm.phys.account().clone();
        let shared = Shared::new(wakes.clone(), mm.trash.clone(), account, crate::file::open_kind);
        let root = crate::mounts::nowhere(&shared);
        let (network, life) = (shared.registry(), shared.registry());
        Ok(Kernel {
            mm,
            tasks: Tasks::default(),
            host,
            wakes,
            shared,
            root,
            current: ThreadId::default(),
            strace: false,
            death_note: None,
            processor: Processor::default(),
            hostname: b"localhost".to_vec(),
            domainname: b"(none)".to_vec(),
            futexes: Futexes::default(),
            ipc: Ipc::default(),
            aio: Contexts::default(),
            table: Table::new(),
            unlisted: BTreeMap::new(),
            exit: None,
            slice_start: 0,
            idle: false,
            pumped: 0,
            woken: false,
            next_timer: None,
            boot_ns: 0,
            asleep: 0,
            stopped: None,
            first_env: Vec::new(),
            given: StartSpec::default(),
            attached: Attached::default(),
            rounds: 0,
            scratch: Vec::new(),
            probe: None,
            life,
            network,
            cgroup: Cgroup::default(),
            sample: 0,
        })
    }

    /// The saved registers of a thread that [`Kernel::schedule`] named.
    pub fn context(&mut self, tid: ThreadId) -> &mut Context {
        &mut self.tasks[tid].ctx
    }

    /// The number of the system call of this name.
    pub fn call_number(&self, name: &str) -> Option<u64> {
        self.table.number(name)
    }

    /// Which thread this is, for people.
    pub fn describe_thread(&self, tid: ThreadId) -> String {
        let Some(thread) = self.tasks.thread(tid) else { return format!("thread {}", tid.0) };
        let comm = String::from_utf8_lossy(&thread.comm);
        format!("process {}, thread {} ({comm})", thread.pid.0, tid.0)
    }

    /// Monotonic nanoseconds.
    pub fn now(&self) -> u64 {
        self.host.clock_monotonic()
    }

    /// A context for file operations by `tid`.
    pub fn cx(&mut self, tid: ThreadId) -> Cx<'_> {
        let cred = self.tasks[tid].creds.fs();
        Cx::new(self, cred)
    }

    /// Calls that are not supported: (name, number of times), most frequent first.
    pub fn unsupported_calls(&self) -> Vec<(String, u64)> {
        let mut calls: Vec<_> =
            self.unlisted.iter().map(|(&nr, &n)| (self.table.name(nr), n)).collect();
        calls.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        calls
    }

    /// Bytes of memory for programs: free and in total.
    pub fn memory(&self) -> (u64, u64) {
        let account = self.mm.phys.account();
        (account.room(Purpose::Programs), account.limit(Purpose::Programs))
    }

    /// Bytes of memory for files: free and in total.
    pub fn storage(&self) -> (u64, u64) {
        let account = self.mm.phys.account();
        (account.room(Purpose::Files), account.limit(Purpose::Files))
    }
}
