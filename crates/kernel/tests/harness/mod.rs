//! A kernel without a CPU: tests make system calls by setting registers, and look at memory and contexts.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::rc::Rc;

use abi::Errno;
use abi::fcntl::{O_CREAT, O_RDWR};
use kernel::fs::{PathCx, ops};
use kernel::{Flow, Kernel, Sched, StartSpec, ThreadId};
use mem::Phys;
use testkit::host::{Outside, TestHost};

/// A static program of one page: `hlt` for ever. `extra` are further program headers.
pub fn tiny_elf() -> Vec<u8> {
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |out: &mut Vec<u8>, v: u16| out.extend(v.to_le_bytes());
    let word = |out: &mut Vec<u8>, v: u32| out.extend(v.to_le_bytes());
    let xword = |out: &mut Vec<u8>, v: u64| out.extend(v.to_le_bytes());
    half(&mut out, 2);
    half(&mut out, 62);
    word(&mut out, 1);
    for v in [0x40_0078, 64, 0] {
        xword(&mut out, v);
    }
    word(&mut out, 0);
    for v in [64, 56, 1, 0, 0, 0] {
        half(&mut out, v);
    }
    word(&mut out, 1);
    word(&mut out, 5);
    for v in [0, 0x40_0000, 0x40_0000, 0x79, 0x79, 0x1000] {
        xword(&mut out, v);
    }
    out.push(0xf4);
    assert_eq!(out.len(), 0x79);
    out
}

/// A kernel with one process.
pub struct Sys {
    pub k: Kernel,
    pub tid: ThreadId,
    pub outside: Rc<Outside>,
}

impl Sys {
    /// A kernel with an empty tmpfs root and `limit` bytes of memory, nothing started.
    pub fn kernel(limit: u64) -> (Kernel, Rc<Outside>) {
        let outside = Rc::new(Outside::default());
        outside.clock.set(1_000_000_000);
        let host = Box::new(TestHost(outside.clone()));
        let mut k = Kernel::with_empty_root(Phys::new(limit), host).unwrap();
        put_file(&mut k, "/init", &tiny_elf(), 0o755);
        (k, outside)
    }

    pub fn new() -> Sys {
        Sys::with_memory(64 << 20)
    }

    pub fn with_memory(limit: u64) -> Sys {
        let (mut k, outside) = Sys::kernel(limit);
        let spec = StartSpec { argv: vec![b"/init".to_vec()], ..StartSpec::default() };
        let tid = k.start(spec).unwrap();
        let mut sys = Sys { k, tid, outside };
        sys.run(tid);
        sys
    }

    /// Schedules until `tid` runs.
    pub fn run(&mut self, tid: ThreadId) {
        for _ in 0..10_000 {
            match self.k.schedule() {
                Sched::Run(t) if t == tid => {
                    self.tid = tid;
                    return;
                }
                // Others have their turns until it is this one's.
                Sched::Run(_) => self.advance(1000),
                other => panic!("thread {tid} does not run: {other:?}"),
            }
        }
        panic!("thread {tid} is never scheduled");
    }

    /// Makes a call as the current thread: its result, or `None` if the thread does not go on.
    pub fn try_call(&mut self, nr: u64, args: &[u64]) -> Option<i64> {
        let ctx = self.k.context(self.tid);
        ctx.gpr[abi::RAX] = nr;
        for (slot, value) in [7, 6, 2, 10, 8, 9].into_iter().zip(args) {
            ctx.gpr[slot] = *value;
        }
        match self.k.syscall(self.tid) {
            Flow::Continue | Flow::Share => Some(self.k.context(self.tid).gpr[abi::RAX] as i64),
            Flow::Reschedule => None,
        }
    }

    /// Makes a call that must return at once.
    pub fn call(&mut self, nr: u64, args: &[u64]) -> i64 {
        self.try_call(nr, args).expect("the call waits")
    }

    /// Makes a call that must succeed.
    pub fn ok(&mut self, nr: u64, args: &[u64]) -> u64 {
        let value = self.call(nr, args);
        assert!(value >= 0, "call {nr}: {:?}", Errno::from_raw(-value as i32));
        value as u64
    }

    /// Makes a call that must fail.
    pub fn err(&mut self, nr: u64, args: &[u64]) -> Errno {
        let value = self.call(nr, args);
        assert!(value < 0, "call {nr} gave {value}");
        Errno::from_raw(-value as i32).unwrap()
    }

    /// Makes a call that must wait.
    pub fn blocks(&mut self, nr: u64, args: &[u64]) {
        assert_eq!(self.try_call(nr, args), None);
    }

    /// rax of the current thread.
    pub fn rax(&mut self) -> i64 {
        self.k.context(self.tid).gpr[abi::RAX] as i64
    }

    /// Anonymous private memory.
    pub fn map(&mut self, len: u64) -> u64 {
        self.ok(9, &[0, len, 3, 0x22, u64::MAX, 0])
    }

    pub fn poke(&mut self, va: u64, bytes: &[u8]) {
        self.k.mm.write_user(va, bytes).unwrap();
    }
    pub fn poke64(&mut self, va: u64, value: u64) {
        self.k.mm.write_pod(va, &value).unwrap();
    }
    pub fn poke32(&mut self, va: u64, value: u32) {
        self.k.mm.write_pod(va, &value).unwrap();
    }
    pub fn peek64(&mut self, va: u64) -> u64 {
        self.k.mm.read_pod(va).unwrap()
    }
    pub fn peek32(&mut self, va: u64) -> u32 {
        self.k.mm.read_pod(va).unwrap()
    }
    /// A string in fresh memory.
    pub fn string(&mut self, text: &str) -> u64 {
        let at = self.map(4096);
        self.poke(at, text.as_bytes());
        at
    }
    /// fork(2): the child's id.
    pub fn fork(&mut self) -> ThreadId {
        ThreadId(self.ok(57, &[]) as u32)
    }
    pub fn advance(&mut self, ns: u64) {
        self.outside.clock.set(self.outside.clock.get() + ns);
    }
}

/// Makes a file.
pub fn put_file(k: &mut Kernel, path: &str, data: &[u8], mode: u32) {
    let at = PathCx { root: k.root.clone(), cwd: k.root.clone(), umask: 0 };
    let mut cx = kernel::fs::Cx::new(k, kernel::fs::Cred::root());
    for (i, _) in path.match_indices('/').skip(1) {
        let _ = ops::mkdir(&mut cx, &at, &at.root, &path.as_bytes()[..i], 0o755);
    }
    let how = ops::OpenHow { flags: O_CREAT | O_RDWR, mode, resolve: 0 };
    let file = ops::open(&mut cx, &at, &at.root, path.as_bytes(), how).unwrap();
    let inode = file.dentry().inode().clone();
    let mut done = 0;
    while done < data.len() {
        done += inode.write_at(&mut cx, done as u64, &data[done..]).unwrap();
    }
}
