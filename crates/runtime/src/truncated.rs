//! What happens when somebody makes a box's file shorter while its pages are a box's memory: there is nothing behind an address
//! then, and whoever uses it, program or host, gets SIGBUS (mmap(2)). Nothing can go on; but it is said why.
#![allow(unsafe_code)] // sigaction(2), below

use crate::terminal;
use std::sync::Once;

/// Status of a run that failed by no fault of the program, as `docker run` has it.
const OWN_FAILURE: i32 = 125;

const MESSAGE: &[u8] =
    b"boxer: the file of the box was made shorter while it ran, or cannot be read any more; \
its memory is mapped from there (replace such a file by renaming another to its name)\n";

/// From now on SIGBUS ends this process with a message.
pub fn explain() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: The structure is plain numbers, for which zeros are right but where they are set. What handled the signal before, Rust's
        // look at overflows of the stack, is for SIGSEGV on Linux; wasmtime does not handle it there. The handler makes system
        // calls only.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
        }
    });
}

extern "C" fn end(_: libc::c_int) {
    terminal::leave_raw();
    // SAFETY: Both are safe in handlers (signal-safety(7)); the bytes are there.
    unsafe {
        libc::write(2, MESSAGE.as_ptr().cast(), MESSAGE.len());
        libc::_exit(OWN_FAILURE)
    }
}
