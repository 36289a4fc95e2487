//! The layer of a build step: what its command changed, as a tar stream in a directory of the host.

use crate::host::mount_point;
use crate::wasi;
use machine::Machine;
use std::io::{BufWriter, Error, ErrorKind, Write};

/// The preopen that receives it, and the name of the file there.
pub const DIR: &str = "/.boxer";
const FILE: &[u8] = b"layer.tar";

/// Writes the changes of the root filesystem since boot.
pub fn export(machine: &mut Machine) -> std::io::Result<()> {
    let mut preopens = wasi::preopens().into_iter();
    let dir = preopens.find(|(_, name)| mount_point(&String::from_utf8_lossy(name)) == DIR);
    let (dir, _) =
        dir.ok_or_else(|| Error::new(ErrorKind::NotFound, "the host gave no directory for it"))?;
    let how = wasi::Open { write: true, create: true, truncate: true, ..wasi::Open::default() };
    let fd = wasi::open(dir, FILE, how).map_err(io_error)?;
    let mut out = BufWriter::with_capacity(256 << 10, Out(fd));
    let kernel = machine.kernel();
    let root = kernel.root.clone();
    let mut cx = kernel::fs::Cx::new(kernel, kernel::fs::Cred::root());
    kernel::fs::export::export_upper(&mut cx, &root, &mut out)?;
    out.flush()?;
    wasi::close(fd);
    Ok(())
}

struct Out(wasi::Fd);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        wasi::write(self.0, bytes).map_err(io_error)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn io_error(errno: abi::Errno) -> Error {
    Error::other(errno.name())
}
