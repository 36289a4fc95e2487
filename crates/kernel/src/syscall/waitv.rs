//! futex_waitv(2): waiting for any of several futex words.

use abi::time::{CLOCK_MONOTONIC, CLOCK_REALTIME};
use abi::{Errno, Timespec};

use super::Args;
use super::futex::Place;
use crate::{Kernel, SysResult, ThreadId, Wait, WaitKey};

/// Most words of one call (`FUTEX_WAITV_MAX`).
const WORDS_MAX: u32 = 128;
/// Size of a word: 32 bits (`FUTEX_32`).
const SIZE_32: u32 = 2;
/// `FUTEX_PRIVATE_FLAG`
const PRIVATE: u32 = 128;

/// futex_waitv(2)
pub fn futex_waitv(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (words, count, timeout) = (a.u64(0), a.u32(1), a.u64(3));
    if k.tasks[tid].restart.again && !k.tasks[tid].restart.waitv.is_empty() {
        return again(k, tid);
    }
    if a.u32(2) != 0 || count == 0 || count > WORDS_MAX || words == 0 {
        return Err(Errno::EINVAL.into());
    }
    if timeout != 0 {
        let clock = a.i32(4);
        if clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME {
            return Err(Errno::EINVAL.into());
        }
        let time: Timespec = k.mm.read_pod(timeout)?;
        let ns = time.to_ns().ok_or(Errno::EINVAL)?;
        k.tasks[tid].restart.deadline = Some(k.absolute_deadline(clock, ns));
        k.tasks[tid].restart.clock = Some(clock);
    }
    let mut wanted = Vec::new();
    for i in 0..u64::from(count) {
        // value, address, flags and a reserved word
        let [value, addr, flags]: [u64; 3] = k.mm.read_pod(words.wrapping_add(i * 24))?;
        let kind = flags as u32;
        if flags >> 32 != 0 || kind & !(SIZE_32 | PRIVATE) != 0 || kind & SIZE_32 == 0 {
            return Err(Errno::EINVAL.into());
        }
        wanted.push((value as u32, addr, kind & PRIVATE != 0));
    }
    let mut found = Vec::new();
    for &(_, addr, private) in &wanted {
        found.push(k.futex_word(addr, private)?);
    }
    for &(value, addr, _) in &wanted {
        if k.mm.read_pod::<u32>(addr)? != value {
            return Err(Errno::EAGAIN.into());
        }
    }
    if k.deadline_passed(tid) {
        return Err(Errno::ETIMEDOUT.into());
    }
    let places: Vec<Place> =
        found.into_iter().map(|word| k.futexes.enqueue_any(word, tid)).collect();
    k.tasks[tid].restart.waitv = places;
    wait(k, tid)
}

/// Somebody woke the thread, or its time is over.
fn again(k: &mut Kernel, tid: ThreadId) -> SysResult {
    let places = &k.tasks[tid].restart.waitv;
    let woken = places.iter().position(|&place| !k.futexes.is_queued(place));
    if let Some(index) = woken {
        k.leave_futex(tid);
        return Ok(index as u64);
    }
    if k.deadline_passed(tid) {
        k.leave_futex(tid);
        return Err(Errno::ETIMEDOUT.into());
    }
    wait(k, tid)
}

fn wait(k: &mut Kernel, tid: ThreadId) -> SysResult {
    Wait::on(WaitKey::thread(tid)).until(k.tasks[tid].restart.deadline).block()
}
