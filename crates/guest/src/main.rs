//! The box's own program: the machine on top of WASI preview 1, and in a component with a network of wasi:sockets.
//!
//! The linker calls [`exports`] to boot it on an image; `_start` then runs the image's program. What a
//! host can ask for besides arguments and environment is in [`invocation::Invocation`].

// What only the driver of the machine uses is left out by the compiler where nothing runs on it.
#![cfg_attr(feature = "program", allow(dead_code))]

mod boot;
mod channel;
mod control;
mod drive;
mod exec;
mod exports;
mod files;
mod freeze;
mod host;
mod invocation;
mod layer;
mod life;
mod mounts;
mod network;
mod outside;
#[cfg(feature = "program")]
mod preview1;
#[cfg(feature = "sockets")]
mod sockets;
mod stdio;
mod step;
mod waits;
mod wasi;
mod watched;

/// Counted, so that no program can make the kernel's records grow without bound.
#[global_allocator]
static HEAP: mem::CountingHeap = mem::CountingHeap;

fn main() {
    #[cfg(not(feature = "program"))]
    start();
    // The program's start is the box's: nobody calls this one.
    #[cfg(feature = "program")]
    eprintln!("boxer: this is a bare guest program; link it with a program first");
}

/// Runs the image's program, or goes on in what was frozen.
fn start() {
    let invocation = invocation::Invocation::from_host();
    let most = invocation.largest_status.unwrap_or_else(largest_status);
    let status = (drive::run(invocation) & 0xff) as u32;
    if status > most {
        eprintln!(
            "boxer: the program ended with status {status}; this host takes none above {most}"
        );
    }
    // Hosts of JavaScript hear of an exit by an exception, and not all of their users take one for success.
    if status != 0 {
        wasi::exit(status.min(most));
    }
}

/// The largest exit status that the host takes: wasmtime lets no module have the numbers from 126 on, by which shells and
/// docker tell signals and programs that cannot be run, and ends with an error instead.
fn largest_status() -> u32 {
    const WASMTIMES: u32 = 125;
    if !exports::is_component() && wasi::is_wasmtime() { WASMTIMES } else { 255 }
}
