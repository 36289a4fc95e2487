//! Contents of files that are kept outside of the box and come when they are touched: a browser loads of a large image what is used.

use crate::exports::IMAGE_PLACE;
use crate::wasi;
use machine::Machine;
use mem::Supply;

/// A descriptor from which they are read, as from a file, by their distance from the first of them.
struct Descriptor(wasi::Fd);

impl Supply for Descriptor {
    fn bring(&mut self, offset: u32, chunk: &mut [u8]) -> bool {
        let mut done = 0;
        while let Some(rest) = chunk.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match wasi::pread(self.0, u64::from(offset) + done as u64, rest) {
                Ok(n @ 1..) => done += n,
                _ => return false,
            }
        }
        true
    }
}

/// Lets the box read what is kept outside, if something is, from the descriptor that the host has named.
///
/// # Errors
/// It has named none.
pub fn open(machine: &mut Machine, fd: Option<wasi::Fd>) -> Result<(), &'static str> {
    let Some((start, end)) = IMAGE_PLACE.outside() else { return Ok(()) };
    let fd = fd.ok_or(
        "the files of this box are kept beside it, and this host does not say where (BOXER_IMAGE): `boxer run` does, and the package packages/js",
    )?;
    let phys = &mut machine.kernel().mm.phys;
    // One that was frozen knows what it has.
    if !phys.has_absent() {
        phys.be_absent(start, end);
    }
    phys.supply(Some(Box::new(Descriptor(fd))));
    Ok(())
}
