//! Calls that the host answers itself, with the program's addresses moved to where its memory is.
#![allow(unsafe_code)] // the host writes to addresses; each was checked against the program's memory

use super::errno::Code;
use super::{Answer, memory};
use wasip1::wasi_snapshot_preview1 as raw;

/// Sizes of WASI's records in bytes (`wasi_snapshot_preview1.witx`).
const FDSTAT: u32 = 24;
const FILESTAT: u32 = 64;
const SIZE: u32 = 4;
const OFFSET: u32 = 8;
const TIMESTAMP: u32 = 8;

fn answer(code: i32) -> Answer {
    if code == 0 { Ok(()) } else { Err(Code(code as u16)) }
}

/// An address in the program's memory with room for `len` bytes, as the host takes it.
fn room(at: u32, len: u32) -> Result<i32, Code> {
    Ok(memory::place(at, len)? as i32)
}

/// The program's buffers, as the host takes them.
fn buffers(at: u32, count: u32) -> Result<Vec<[i32; 2]>, Code> {
    let vectors = memory::vectors(at, count)?.into_iter();
    vectors.map(|(at, len)| Ok([room(at, len)?, len as i32])).collect()
}

pub fn clock_res_get(id: u32, out: u32) -> Answer {
    let out = room(out, TIMESTAMP)?;
    // SAFETY: there is room for the answer.
    answer(unsafe { raw::clock_res_get(id as i32, out) })
}

pub fn clock_time_get(id: u32, precision: u64, out: u32) -> Answer {
    let out = room(out, TIMESTAMP)?;
    // SAFETY: there is room for the answer.
    answer(unsafe { raw::clock_time_get(id as i32, precision as i64, out) })
}

pub fn random_get(at: u32, len: u32) -> Answer {
    let at = room(at, len)?;
    // SAFETY: the buffer is the program's.
    answer(unsafe { raw::random_get(at, len as i32) })
}

pub fn sched_yield() -> Answer {
    // SAFETY: takes no pointers.
    answer(unsafe { raw::sched_yield() })
}

pub fn fd_advise(fd: u32, offset: u64, len: u64, advice: u32) -> Answer {
    // SAFETY: takes no pointers.
    answer(unsafe { raw::fd_advise(fd as i32, offset as i64, len as i64, advice as i32) })
}

pub fn fd_allocate(fd: u32, offset: u64, len: u64) -> Answer {
    // SAFETY: takes no pointers.
    answer(unsafe { raw::fd_allocate(fd as i32, offset as i64, len as i64) })
}

pub fn fd_sync(fd: u32) -> Answer {
    // SAFETY: takes no pointers.
    answer(unsafe { raw::fd_sync(fd as i32) })
}

pub fn fd_datasync(fd: u32) -> Answer {
    // SAFETY: takes no pointers.
    answer(unsafe { raw::fd_datasync(fd as i32) })
}

pub fn fd_fdstat_get(fd: u32, out: u32) -> Answer {
    let out = room(out, FDSTAT)?;
    // SAFETY: there is room for the answer.
    answer(unsafe { raw::fd_fdstat_get(fd as i32, out) })
}

pub fn fd_fdstat_set_flags(fd: u32, flags: u32) -> Answer {
    // SAFETY: takes no pointers.
    answer(unsafe { raw::fd_fdstat_set_flags(fd as i32, flags as i32) })
}

pub fn fd_filestat_get(fd: u32, out: u32) -> Answer {
    let out = room(out, FILESTAT)?;
    // SAFETY: there is room for the answer.
    answer(unsafe { raw::fd_filestat_get(fd as i32, out) })
}

pub fn fd_filestat_set_size(fd: u32, size: u64) -> Answer {
    // SAFETY: takes no pointers.
    answer(unsafe { raw::fd_filestat_set_size(fd as i32, size as i64) })
}

pub fn fd_filestat_set_times(fd: u32, atime: u64, mtime: u64, flags: u32) -> Answer {
    // SAFETY: takes no pointers.
    answer(unsafe {
        raw::fd_filestat_set_times(fd as i32, atime as i64, mtime as i64, flags as i32)
    })
}

pub fn fd_read(fd: u32, iovs: u32, count: u32, out: u32) -> Answer {
    let (buffers, out) = (buffers(iovs, count)?, room(out, SIZE)?);
    // SAFETY: the buffers are the program's, and there is room for the answer.
    answer(unsafe { raw::fd_read(fd as i32, buffers.as_ptr() as i32, count as i32, out) })
}

pub fn fd_write(fd: u32, iovs: u32, count: u32, out: u32) -> Answer {
    let (buffers, out) = (buffers(iovs, count)?, room(out, SIZE)?);
    // SAFETY: the buffers are the program's, and there is room for the answer.
    answer(unsafe { raw::fd_write(fd as i32, buffers.as_ptr() as i32, count as i32, out) })
}

pub fn fd_pread(fd: u32, iovs: u32, count: u32, offset: u64, out: u32) -> Answer {
    let (buffers, out, offset) = (buffers(iovs, count)?, room(out, SIZE)?, offset as i64);
    // SAFETY: the buffers are the program's, and there is room for the answer.
    answer(unsafe { raw::fd_pread(fd as i32, buffers.as_ptr() as i32, count as i32, offset, out) })
}

pub fn fd_pwrite(fd: u32, iovs: u32, count: u32, offset: u64, out: u32) -> Answer {
    let (buffers, out, offset) = (buffers(iovs, count)?, room(out, SIZE)?, offset as i64);
    // SAFETY: the buffers are the program's, and there is room for the answer.
    answer(unsafe { raw::fd_pwrite(fd as i32, buffers.as_ptr() as i32, count as i32, offset, out) })
}

pub fn fd_seek(fd: u32, offset: i64, whence: u32, out: u32) -> Answer {
    let out = room(out, OFFSET)?;
    // SAFETY: there is room for the answer.
    answer(unsafe { raw::fd_seek(fd as i32, offset, whence as i32, out) })
}

pub fn fd_tell(fd: u32, out: u32) -> Answer {
    let out = room(out, OFFSET)?;
    // SAFETY: there is room for the answer.
    answer(unsafe { raw::fd_tell(fd as i32, out) })
}

/// Waits for subscriptions, which name descriptors of the host; the events are in the box's own memory.
pub fn poll(subscriptions: &[u8], count: u32, record: usize) -> Result<Vec<u8>, Code> {
    let mut events = vec![0_u8; count as usize * record];
    let mut happened = 0_u32;
    let (from, to) = (subscriptions.as_ptr() as i32, events.as_mut_ptr() as i32);
    let out = (&raw mut happened) as i32;
    // SAFETY: WASI reads `count` subscriptions and writes at most as many events.
    answer(unsafe { raw::poll_oneoff(from, to, count as i32, out) })?;
    events.truncate(happened.min(count) as usize * record);
    Ok(events)
}
