//! The Linux personality: processes, memory, files, signals. No x86, no IR, no Wasm.
//!
//! [`Kernel`] is one single-threaded state machine. Its user (`machine`) owns the CPU and does, in a loop:
//!
//! 1. [`Kernel::schedule`] says which thread runs; its registers are in [`Kernel::context`];
//! 2. run it on the CPU with [`Kernel::mm`] as `mem::Translate`, until it leaves;
//! 3. store the registers back and report why it left: [`Kernel::syscall`], [`Kernel::fault`], [`Kernel::trap`] or
//!    [`Kernel::preempt`].
//!
//! Code found by virtual address is stale when [`mm::Mm::epoch`] has changed; decoded code of changed frames is named
//! by `mm.phys.take_code_writes()`.

pub mod aio;
pub mod attach;
pub mod bpf;
pub mod etc;
mod exception;
pub mod exec;
pub mod file;
pub mod fs;
pub mod host;
pub mod id;
pub mod ipc;
pub mod kernel;
pub mod mm;
pub mod moments;
pub mod mounts;
pub mod processor;
pub mod sched;
pub mod signal;
pub mod source;
pub mod strace;
pub mod syscall;
pub mod task;
pub mod wait;
pub mod world;

pub use exception::TrapKind;
pub use exec::{StartError, StartSpec};
pub use host::{Host, HostFd};
pub use id::{ProcessId, ThreadId};
pub use kernel::{Kernel, KernelError};
pub use sched::{Flow, Sched};
pub use task::cgroup::Usage;
pub use wait::{OnSignal, Stop, SysResult, Wait, WaitKey, WakeSink};
