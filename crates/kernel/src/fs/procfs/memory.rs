//! `/proc/pid/mem`: the memory of a process by address; `/proc/pid/pagemap`: what is known of its pages.

use std::any::Any;

use abi::Errno;
use abi::fcntl::{SEEK_CUR, SEEK_SET};

use crate::fs::open_file::{FileOps, OpenFile, read_on};
use crate::fs::{Cx, Res};

/// An open `/proc/TID/mem`.
pub(super) struct MemFile {
    pub(super) tid: u32,
}

/// Most bytes moved at once.
const CHUNK: usize = 1 << 20;

impl FileOps for MemFile {
    fn kind_name(&self) -> &'static str {
        "proc file"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        read_on(self, cx, file, buf)
    }

    fn write(&self, cx: &mut Cx, file: &OpenFile, buf: &[u8]) -> Res<usize> {
        let n = self.write_at(cx, file, file.pos.get(), buf)?;
        file.pos.set(file.pos.get().wrapping_add(n as u64));
        Ok(n)
    }

    fn read_at(&self, cx: &mut Cx, _: &OpenFile, at: u64, buf: &mut [u8]) -> Res<usize> {
        let n = buf.len().min(CHUNK);
        match cx.world.procs().read_memory(self.tid, at, &mut buf[..n])? {
            0 if n > 0 => Err(Errno::EIO),
            done => Ok(done),
        }
    }

    fn write_at(&self, cx: &mut Cx, _: &OpenFile, at: u64, buf: &[u8]) -> Res<usize> {
        let n = buf.len().min(CHUNK);
        match cx.world.procs().write_memory(self.tid, at, &buf[..n])? {
            0 if n > 0 => Err(Errno::EIO),
            done => Ok(done),
        }
    }

    fn seek(&self, _: &mut Cx, file: &OpenFile, offset: i64, whence: u32) -> Res<u64> {
        seek_without_end(file, offset, whence)
    }

    fn is_seekable(&self) -> bool {
        true
    }
}

/// lseek(2) in memory: any address is one, and there is no end to count from (`mem_lseek`).
fn seek_without_end(file: &OpenFile, offset: i64, whence: u32) -> Res<u64> {
    let at = match whence {
        SEEK_SET => offset as u64,
        SEEK_CUR => file.pos.get().wrapping_add_signed(offset),
        _ => return Err(Errno::EINVAL),
    };
    file.pos.set(at);
    Ok(at)
}

/// An open `/proc/TID/pagemap`: eight bytes for each page of the address space.
pub(super) struct PageMap {
    pub(super) tid: u32,
}

/// Bytes of an entry.
const ENTRY: u64 = 8;
/// Pages that an address space can have: four levels of page tables, without the kernel's half and its guard page.
const PAGES: u64 = ((1 << 47) - 4096) / 4096;

impl FileOps for PageMap {
    fn kind_name(&self) -> &'static str {
        "proc file"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        read_on(self, cx, file, buf)
    }

    fn read_at(&self, cx: &mut Cx, _: &OpenFile, at: u64, buf: &mut [u8]) -> Res<usize> {
        if !at.is_multiple_of(ENTRY) || !(buf.len() as u64).is_multiple_of(ENTRY) {
            return Err(Errno::EINVAL);
        }
        let first = at / ENTRY;
        let left = PAGES.saturating_sub(first).min((CHUNK / ENTRY as usize) as u64);
        let mut entries = vec![0; (buf.len() / ENTRY as usize).min(left as usize)];
        cx.world.procs().page_map(self.tid, first, &mut entries);
        for (out, entry) in buf.chunks_exact_mut(ENTRY as usize).zip(&entries) {
            out.copy_from_slice(&entry.to_le_bytes());
        }
        Ok(entries.len() * ENTRY as usize)
    }

    fn seek(&self, _: &mut Cx, file: &OpenFile, offset: i64, whence: u32) -> Res<u64> {
        seek_without_end(file, offset, whence)
    }

    fn is_seekable(&self) -> bool {
        true
    }
}
