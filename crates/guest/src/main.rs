//! The box's own program: the machine on top of WASI preview 1, and in a component with a network of wasi:sockets.
//!
//! The linker calls [`exports`] to boot it on an image; `_start` then runs the image's program. What a
//! host can ask for besides arguments and environment is in [`invocation::Invocation`].

mod boot;
mod channel;
mod control;
mod drive;
mod exports;
mod files;
mod host;
mod invocation;
mod layer;
mod mounts;
mod network;
#[cfg(feature = "sockets")]
mod sockets;
mod waits;
mod wasi;

/// Counted, so that no program can make the kernel's records grow without bound.
#[global_allocator]
static HEAP: mem::CountingHeap = mem::CountingHeap;

fn main() {
    let status = drive::run();
    wasi::exit((status & 0xff) as u32);
}
