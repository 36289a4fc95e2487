//! WASI preview 1 as a program sees it that is a module itself: the linker makes the calls of the image's program ([`calls`]) lead
//! here. Files and directories are those of the kernel: the image with what was written over it, and the host's directories where
//! they are mounted. Standard streams, clocks, entropy and waiting are the host's own.
//!
//! What a program may expect is what wasmtime does for the same tree in a directory of the host, preopened as `/`, but for symbolic
//! links of the image: absolute ones lead where they lead in the image.

mod calls;
mod directory;
mod errno;
mod files;
mod memory;
mod outside;
mod paths;
mod poll;
mod process;
mod stat;
mod table;

pub use process::{begin, end_of_start};

use errno::Code;
use kernel::ThreadId;
use kernel::fs::{Cx, PathCx};
use machine::Machine;
use std::cell::RefCell;
use table::Table;

/// What a call answers: nothing, or WASI's number of an error.
type Answer = Result<(), Code>;

/// The running program.
struct Program {
    machine: Machine,
    /// Its process in the kernel's eyes.
    thread: ThreadId,
    /// Arguments, each with the zero that ends it.
    args: Vec<Vec<u8>>,
    /// `NAME=value`, each with the zero that ends it.
    env: Vec<Vec<u8>>,
    table: Table,
    /// The largest exit status that the host takes.
    largest_status: u32,
}

thread_local! {
    static PROGRAM: RefCell<Option<Program>> = const { RefCell::new(None) };
}

impl Program {
    /// A context for file operations, and where the program is in the tree.
    fn cx(&mut self) -> (Cx<'_>, PathCx) {
        let kernel = self.machine.kernel();
        let at = kernel.tasks[self.thread].fs.borrow().clone();
        (kernel.cx(self.thread), at)
    }
}

/// Carries a call out; WASI's number of the error, or 0.
fn call(work: impl FnOnce(&mut Program) -> Answer) -> i32 {
    PROGRAM.with_borrow_mut(|program| match program {
        Some(program) => work(program).err().map_or(0, |Code(code)| i32::from(code)),
        // The program's start function has run before ours: the linker orders them otherwise.
        None => i32::from(Code::from(abi::Errno::ENOSYS).0),
    })
}
