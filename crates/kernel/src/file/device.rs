//! Character devices by number (devices.txt): the memory devices, and the doors to terminals.

use std::any::Any;
use std::rc::Rc;

use abi::Errno;
use abi::stat::{major, minor};
use abi::tty::RNDGETENTCNT;

use super::{FileOps, OpenFile, moment, tty};
use crate::fs::{Cx, Dentry, Res};
use crate::source::{MapSource, SharedAnon};

/// Bytes that a mapping of `/dev/zero` may reach to.
const ZERO_PAGES: u64 = 1 << 36;

/// The memory devices (major 1).
enum Device {
    Null,
    Zero,
    Full,
    Random,
}

/// Opens the device node `dentry`; ENXIO when there is no such device.
pub fn open(cx: &mut Cx, dentry: &Rc<Dentry>, flags: u32) -> Res<Rc<dyn FileOps>> {
    let rdev = dentry.inode().meta(cx)?.rdev;
    let device = match (major(rdev), minor(rdev)) {
        (1, 3) => Device::Null,
        (1, 5) => Device::Zero,
        (1, 7) => Device::Full,
        (1, 8 | 9) => Device::Random,
        (5, 0) => {
            let index = cx.world.controlling_tty().ok_or(Errno::ENXIO)?;
            return tty::open_index(cx, index, flags | abi::fcntl::O_NOCTTY);
        }
        (5, 2) => return tty::open_master(cx),
        (136, n) => return tty::open_index(cx, n, flags),
        (moment::MAJOR, n) => return moment::open(n),
        _ => return Err(Errno::ENXIO),
    };
    Ok(Rc::new(device))
}

impl FileOps for Device {
    fn kind_name(&self) -> &'static str {
        "memory device"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, _file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        match self {
            Device::Null => return Ok(0),
            Device::Zero | Device::Full => buf.fill(0),
            Device::Random => cx.host().random(buf),
        }
        Ok(buf.len())
    }

    fn write(&self, _cx: &mut Cx, _file: &OpenFile, buf: &[u8]) -> Res<usize> {
        match self {
            Device::Full => Err(Errno::ENOSPC),
            _ => Ok(buf.len()),
        }
    }

    fn read_at(&self, cx: &mut Cx, file: &OpenFile, _at: u64, buf: &mut [u8]) -> Res<usize> {
        self.read(cx, file, buf)
    }

    fn write_at(&self, cx: &mut Cx, file: &OpenFile, _at: u64, buf: &[u8]) -> Res<usize> {
        self.write(cx, file, buf)
    }

    fn seek(&self, _cx: &mut Cx, _file: &OpenFile, _offset: i64, _whence: u32) -> Res<u64> {
        Ok(0)
    }

    /// They never run dry: a read gets all it asks for.
    fn is_seekable(&self) -> bool {
        true
    }

    /// As drivers/char/mem.c has them.
    fn splices(&self, write: bool) -> bool {
        match self {
            Device::Null => write,
            Device::Full => !write,
            Device::Zero | Device::Random => true,
        }
    }

    fn ioctl(&self, _: &mut Cx, _: &OpenFile, request: u32, _: u64, data: &mut [u8]) -> Res<u64> {
        match (self, request) {
            (Device::Random, RNDGETENTCNT) => {
                data.copy_from_slice(&256u32.to_le_bytes());
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn is_pollable(&self) -> bool {
        false
    }

    fn map(&self, cx: &mut Cx, _file: &OpenFile) -> Res<Rc<dyn MapSource>> {
        match self {
            Device::Zero => Ok(Rc::new(SharedAnon::new(ZERO_PAGES, cx.shared.trash.clone()))),
            _ => Err(Errno::ENODEV),
        }
    }
}
