//! From an image to a booted machine, without a host; and the machine between boot and start.

use kernel::host::Host;
use machine::Machine;
use mem::Phys;
use mem::desk::Desk;
use rootfs::config::BoxConfig;
use std::cell::{Cell, RefCell};

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
    /// What memory there is, in bytes, if it is not all of it.
    static ARENA: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes do with so many bytes of memory.
#[cfg(feature = "program")]
pub fn have_arena(bytes: u64) {
    ARENA.set(Some(bytes));
}

/// Linear memory that is left to Rust's own allocations, in bytes: decoded code (up to a quarter) and the kernel's records; where nothing
/// is decoded, records alone.
pub const OWN_MEMORY: u64 = if cfg!(feature = "program") { 32 << 20 } else { 256 << 20 };

/// Boots a machine and keeps it for [`take`]; `frozen` is where the table of the regions will be
/// that are part of the box. Failing is a panic: there is nobody to tell but the linker.
pub fn boot(image: &'static [u8], config: BoxConfig, frozen: &'static [u8], desk: &Desk) {
    let image_end = image.as_ptr() as u64 + image.len() as u64;
    let rest = (1 << 32) - image_end.min(1 << 32).min((1 << 32) - 2 * OWN_MEMORY);
    let mut phys = Phys::new(ARENA.get().unwrap_or(rest).saturating_sub(OWN_MEMORY));
    let Some(base) = phys.adopt_static(image) else { panic!("the image is not page-aligned") };
    match Machine::boot(phys, Box::new(NoHost), image, base, config) {
        Ok(mut machine) => {
            if !frozen.is_empty() {
                machine.adopt(frozen, desk);
            }
            MACHINE.with_borrow_mut(|kept| *kept = Some(machine));
        }
        Err(error) => panic!("{error}"),
    }
}

/// Works on the booted machine, if there is one.
pub fn with<T>(work: impl FnOnce(&mut Machine) -> T) -> Option<T> {
    MACHINE.with_borrow_mut(|kept| kept.as_mut().map(work))
}

/// Takes the machine's host away.
pub fn leave_host(machine: &mut Machine) -> Box<dyn Host> {
    std::mem::replace(&mut machine.kernel().host, Box::new(NoHost))
}

/// Keeps a machine for [`take`].
pub fn put(machine: Machine) {
    MACHINE.set(Some(machine));
}

/// The booted machine.
pub fn take() -> Option<Machine> {
    MACHINE.take()
}

/// The host while a box is made: there is none, time stands still, and entropy must not be asked for,
/// because every start of the box would get the same.
struct NoHost;

impl Host for NoHost {
    fn clock_realtime(&self) -> u64 {
        0
    }

    fn clock_monotonic(&self) -> u64 {
        0
    }

    fn random(&mut self, _: &mut [u8]) {
        panic!("asked for entropy while booting");
    }

    fn stdin_read(&mut self, _: &mut [u8]) -> Result<usize, abi::Errno> {
        Err(abi::Errno::EAGAIN)
    }

    fn stdin_ready(&mut self) -> bool {
        false
    }

    fn stdout_write(&mut self, _: &[u8]) -> Result<usize, abi::Errno> {
        Err(abi::Errno::EIO)
    }

    fn stderr_write(&mut self, _: &[u8]) -> Result<usize, abi::Errno> {
        Err(abi::Errno::EIO)
    }
}
