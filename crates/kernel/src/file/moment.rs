//! `/dev/boxer`: what programs are told of the lives of their box, and how they ask for a snapshot (`crate::moments`).
//!
//! - `snapshot`: reading it gives two lines, the number of this life (0: nothing was a snapshot yet) and a random number of 128 bits
//!   that no two lives share. poll(2) says that it can be read until that was done in this life. While a snapshot is to be taken,
//!   writing to it has it taken now, and the write ends in the next life; otherwise a write has no effect.
//! - `env`: the environment variables that were given to this life alone, as `/proc/pid/environ` has them.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use abi::Errno;
use abi::poll::{READABLE, WRITABLE};

use super::{FileOps, OpenFile};
use crate::fs::{Cx, Res};
use crate::host::Host;
use crate::wait::WaitKey;

/// Major number of the devices: of those that Linux leaves to everybody (devices.txt).
pub const MAJOR: u32 = 240;
const SNAPSHOT: u32 = 0;
const ENV: u32 = 1;
/// Name, minor number and permission bits.
pub const DEVICES: [(&[u8], u32, u32); 2] = [(b"snapshot", SNAPSHOT, 0o666), (b"env", ENV, 0o444)];

/// This life of the box, as a registry.
#[derive(Default)]
pub struct Life {
    /// How many snapshots lie before it.
    pub number: Cell<u32>,
    /// No other has it.
    pub id: Cell<u128>,
    /// A snapshot will be taken of it.
    pub passes: Cell<bool>,
    /// A program has asked for it.
    pub asked: Cell<bool>,
    /// `NAME=value` entries of this life alone.
    pub env: RefCell<Vec<Vec<u8>>>,
}

impl Life {
    /// Random bits that no other life has, drawn from the host when somebody asks for them first.
    pub fn identify(&self, host: &mut dyn Host) -> u128 {
        if self.id.get() == 0 {
            let mut bytes = [0; 16];
            host.random(&mut bytes);
            self.id.set(u128::from_le_bytes(bytes));
        }
        self.id.get()
    }

    fn text(&self, minor: u32) -> Vec<u8> {
        if minor == ENV {
            return self
                .env
                .borrow()
                .iter()
                .flat_map(|entry| [entry, &b"\0"[..]].concat())
                .collect();
        }
        format!("{}\n{:032x}\n", self.number.get(), self.id.get()).into_bytes()
    }
}

/// Opens a device of these; ENXIO when there is no such one.
pub fn open(minor: u32) -> Res<Rc<dyn FileOps>> {
    match minor {
        SNAPSHOT | ENV => Ok(Rc::new(Device { minor, read: Cell::new(None) })),
        _ => Err(Errno::ENXIO),
    }
}

struct Device {
    minor: u32,
    /// The life in which it was read last.
    read: Cell<Option<u32>>,
}

impl FileOps for Device {
    fn kind_name(&self) -> &'static str {
        "snapshot device"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        let n = self.read_at(cx, file, file.pos.get(), buf)?;
        file.pos.set(file.pos.get() + n as u64);
        Ok(n)
    }

    fn read_at(&self, cx: &mut Cx, _: &OpenFile, at: u64, buf: &mut [u8]) -> Res<usize> {
        let life = cx.shared.registry::<Life>();
        life.identify(cx.host());
        self.read.set(Some(life.number.get()));
        let text = life.text(self.minor);
        let rest = usize::try_from(at).ok().and_then(|at| text.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write(&self, cx: &mut Cx, _: &OpenFile, buf: &[u8]) -> Res<usize> {
        let life = cx.shared.registry::<Life>();
        if life.passes.get() && self.minor == SNAPSHOT && !buf.is_empty() {
            life.asked.set(true);
            return Err(Errno::EAGAIN);
        }
        Ok(buf.len())
    }

    fn seek(&self, _: &mut Cx, file: &OpenFile, offset: i64, whence: u32) -> Res<u64> {
        let base = match whence {
            abi::fcntl::SEEK_SET => 0,
            abi::fcntl::SEEK_CUR => file.pos.get(),
            _ => return Err(Errno::EINVAL),
        };
        let place = base.checked_add_signed(offset).ok_or(Errno::EINVAL)?;
        file.pos.set(place);
        Ok(place)
    }

    fn poll(&self, cx: &mut Cx) -> u32 {
        let life = cx.shared.registry::<Life>();
        let unread = self.read.get() != Some(life.number.get());
        let waits = life.passes.get() && life.asked.get();
        (if unread { READABLE } else { 0 }) | if waits { 0 } else { WRITABLE }
    }

    fn keys(&self, _: &mut Cx, out: &mut Vec<WaitKey>) {
        out.push(WaitKey::LIFE);
    }
}
