//! futex(2): queues of waiting threads by word, and robust lists.

use std::collections::{BTreeMap, VecDeque};

use abi::sched::futex as op;
use abi::time::{CLOCK_MONOTONIC, CLOCK_REALTIME};
use abi::{Errno, Timespec};
use mem::{Access, PAGE_MASK, Translate};

use super::Args;
use crate::task::access::By;
use crate::{Kernel, OnSignal, Stop, SysResult, ThreadId, Wait, WaitKey};

/// What identifies a futex word: private ones by space and address, shared ones by physical address (a frame stays
/// where it is as long as somebody maps it shared).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// (address space, address)
    Private(u32, u64),
    /// Physical address.
    Shared(u32),
}

/// Where a waiting thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The word.
    pub word: Word,
    /// Ticket within the queue.
    pub ticket: u64,
}

struct Waiter {
    tid: ThreadId,
    ticket: u64,
    bitset: u32,
    /// For PI futexes: becomes the owner when woken.
    pi: bool,
}

/// All futex queues.
#[derive(Default)]
pub struct Futexes {
    queues: BTreeMap<Word, VecDeque<Waiter>>,
    ticket: u64,
}

impl Futexes {
    fn enqueue(&mut self, word: Word, tid: ThreadId, bitset: u32, pi: bool) -> Place {
        self.ticket += 1;
        let ticket = self.ticket;
        self.queues.entry(word).or_default().push_back(Waiter { tid, ticket, bitset, pi });
        Place { word, ticket }
    }

    /// Puts a thread in one of several queues.
    pub(super) fn enqueue_any(&mut self, word: Word, tid: ThreadId) -> Place {
        self.enqueue(word, tid, u32::MAX, false)
    }

    /// Whether the waiter still waits.
    pub(super) fn is_queued(&self, place: Place) -> bool {
        self.queues.get(&place.word).is_some_and(|q| q.iter().any(|w| w.ticket == place.ticket))
    }

    fn leave(&mut self, place: Place) {
        if let Some(queue) = self.queues.get_mut(&place.word) {
            queue.retain(|w| w.ticket != place.ticket);
            if queue.is_empty() {
                self.queues.remove(&place.word);
            }
        }
    }

    fn pop(&mut self, word: Word, bitset: u32) -> Option<Waiter> {
        let queue = self.queues.get_mut(&word)?;
        let at = queue.iter().position(|w| w.bitset & bitset != 0)?;
        let waiter = queue.remove(at);
        if queue.is_empty() {
            self.queues.remove(&word);
        }
        waiter
    }
}

impl Kernel {
    /// Identity of the word at `va`; brings its page in.
    pub(super) fn futex_word(&mut self, va: u64, private: bool) -> Result<Word, Errno> {
        if va & 3 != 0 {
            return Err(Errno::EINVAL);
        }
        let pa = self.mm.translate(va, Access::Read).map_err(|_| Errno::EFAULT)?;
        let space = self.mm.current();
        let shared = !private
            && self
                .mm
                .space(space)
                .and_then(|s| s.vmas().find(va))
                .is_some_and(|(_, vma)| vma.rights.shared);
        debug_assert_eq!(u64::from(pa) & PAGE_MASK, va & PAGE_MASK);
        Ok(if shared { Word::Shared(pa) } else { Word::Private(space.raw(), va) })
    }

    /// Wakes up to `count` waiters: how many.
    fn futex_wake(&mut self, word: Word, count: u32, bitset: u32) -> u32 {
        let mut woken = 0;
        while woken < count {
            let Some(waiter) = self.futexes.pop(word, bitset) else { break };
            self.wakes.borrow_mut().push(WaitKey::thread(waiter.tid));
            woken += 1;
        }
        woken
    }

    /// Wakes waiters on an address of the current space, shared or private.
    pub(crate) fn futex_wake_address(&mut self, va: u64, count: u32) {
        for private in [true, false] {
            if let Ok(word) = self.futex_word(va, private) {
                self.futex_wake(word, count, u32::MAX);
            }
        }
    }

    /// Takes the thread out of the queue it waits in.
    pub(crate) fn leave_futex(&mut self, tid: ThreadId) {
        let Some(thread) = self.tasks.thread_mut(tid) else { return };
        let several = std::mem::take(&mut thread.restart.waitv);
        for place in several.into_iter().chain(thread.restart.futex.take()) {
            self.futexes.leave(place);
        }
    }

    fn futex_block(&mut self, tid: ThreadId) -> SysResult {
        let deadline = self.tasks[tid].restart.deadline;
        // signal(7): with a timeout the call is not restarted after a handler.
        let on_signal = if deadline.is_some() { OnSignal::Interrupt } else { OnSignal::Restart };
        let wait = Wait::on(WaitKey::thread(tid)).until(deadline).on_signal(on_signal);
        Err(Stop::Block(wait))
    }

    /// Waits while the word holds `value`.
    fn futex_wait(
        &mut self,
        tid: ThreadId,
        va: u64,
        private: bool,
        value: u32,
        bitset: u32,
    ) -> SysResult {
        if bitset == 0 {
            return Err(Errno::EINVAL.into());
        }
        if let Some(place) = self.tasks[tid].restart.futex {
            if !self.futexes.is_queued(place) {
                return Ok(0);
            }
            if self.deadline_passed(tid) {
                self.leave_futex(tid);
                return Err(Errno::ETIMEDOUT.into());
            }
            return self.futex_block(tid);
        }
        let word = self.futex_word(va, private)?;
        let now: u32 = self.mm.read_pod(va)?;
        if now != value {
            return Err(Errno::EAGAIN.into());
        }
        if self.deadline_passed(tid) {
            return Err(Errno::ETIMEDOUT.into());
        }
        let place = self.futexes.enqueue(word, tid, bitset, false);
        self.tasks[tid].restart.futex = Some(place);
        self.futex_block(tid)
    }

    /// Wakes `wake` waiters of the first word and moves `requeue` others to the second.
    fn futex_requeue(&mut self, from: Word, to: Word, wake: u32, requeue: u32) -> u32 {
        let woken = self.futex_wake(from, wake, u32::MAX);
        let mut moved = 0;
        while moved < requeue && from != to {
            let Some(waiter) = self.futexes.pop(from, u32::MAX) else { break };
            let (tid, ticket) = (waiter.tid, waiter.ticket);
            self.futexes.queues.entry(to).or_default().push_back(waiter);
            if let Some(thread) = self.tasks.thread_mut(tid) {
                let place = Place { word: to, ticket };
                match thread.restart.waitv.iter_mut().find(|p| p.ticket == ticket) {
                    Some(one) => *one = place,
                    None => thread.restart.futex = Some(place),
                }
            }
            moved += 1;
        }
        woken + moved
    }

    /// FUTEX_WAKE_OP: changes the second word, wakes on both.
    fn futex_wake_op(&mut self, a: Args, private: bool) -> SysResult {
        let (va, va2, code) = (a.u64(0), a.u64(4), a.u32(5));
        let word = self.futex_word(va, private)?;
        let word2 = self.futex_word(va2, private)?;
        let arg = sign12(code >> 12);
        let arg = if code >> 28 & 8 != 0 { 1_i32.wrapping_shl(arg as u32 & 31) } else { arg };
        let old: i32 = self.mm.read_pod(va2)?;
        let new = match code >> 28 & 7 {
            0 => arg,
            1 => old.wrapping_add(arg),
            2 => old | arg,
            3 => old & !arg,
            4 => old ^ arg,
            _ => return Err(Errno::ENOSYS.into()),
        };
        let cmp = sign12(code);
        let hit = match code >> 24 & 15 {
            0 => old == cmp,
            1 => old != cmp,
            2 => old < cmp,
            3 => old >= cmp,
            4 => old <= cmp,
            5 => old > cmp,
            _ => return Err(Errno::ENOSYS.into()),
        };
        self.mm.write_pod(va2, &new)?;
        let mut woken = self.futex_wake(word, a.u32(2), u32::MAX);
        if hit {
            woken += self.futex_wake(word2, a.u32(3), u32::MAX);
        }
        Ok(u64::from(woken))
    }

    /// FUTEX_LOCK_PI and FUTEX_TRYLOCK_PI, without inheriting priorities (all threads have the same).
    fn futex_lock_pi(
        &mut self,
        tid: ThreadId,
        va: u64,
        private: bool,
        try_only: bool,
    ) -> SysResult {
        let word = self.futex_word(va, private)?;
        if let Some(place) = self.tasks[tid].restart.futex
            && self.futexes.is_queued(place)
        {
            if self.deadline_passed(tid) {
                self.leave_futex(tid);
                return Err(Errno::ETIMEDOUT.into());
            }
            return self.futex_block(tid);
        }
        let value: u32 = self.mm.read_pod(va)?;
        let owner = value & op::TID_MASK;
        if self.tasks[tid].restart.futex.is_some() && owner == tid.0 {
            return Ok(0);
        }
        if owner == tid.0 {
            return Err(Errno::EDEADLK.into());
        }
        if owner == 0 {
            let queued = self.futexes.queues.get(&word).is_some_and(|q| !q.is_empty());
            let waiters = if queued { op::WAITERS } else { 0 };
            let new = tid.0 | waiters | value & op::OWNER_DIED;
            self.mm.write_pod(va, &new)?;
            return Ok(0);
        }
        if self.tasks.thread(ThreadId(owner)).is_none() {
            return Err(Errno::ESRCH.into());
        }
        if try_only {
            return Err(Errno::EAGAIN.into());
        }
        self.mm.write_pod(va, &(value | op::WAITERS))?;
        let place = self.futexes.enqueue(word, tid, u32::MAX, true);
        self.tasks[tid].restart.futex = Some(place);
        self.futex_block(tid)
    }

    fn futex_unlock_pi(&mut self, tid: ThreadId, va: u64, private: bool) -> SysResult {
        let word = self.futex_word(va, private)?;
        let value: u32 = self.mm.read_pod(va)?;
        if value & op::TID_MASK != tid.0 {
            return Err(Errno::EPERM.into());
        }
        let next = self.futexes.pop(word, u32::MAX).filter(|w| w.pi);
        let more = self.futexes.queues.get(&word).is_some_and(|q| !q.is_empty());
        let new = match &next {
            Some(waiter) => waiter.tid.0 | if more { op::WAITERS } else { 0 },
            None => 0,
        };
        self.mm.write_pod(va, &new)?;
        if let Some(waiter) = next {
            self.wakes.borrow_mut().push(WaitKey::thread(waiter.tid));
        }
        Ok(0)
    }

    /// At a thread's end: marks the robust futexes it holds (`OWNER_DIED`) and wakes a waiter of each.
    pub(crate) fn release_robust_list(&mut self, tid: ThreadId) {
        /// The kernel's bound on the list's length.
        const LIMIT: usize = 2048;
        let (head, _) = self.tasks[tid].robust_list;
        if head == 0 {
            return;
        }
        let Ok(mut entry) = self.mm.read_pod::<u64>(head) else { return };
        let Ok(offset) = self.mm.read_pod::<u64>(head.wrapping_add(8)) else { return };
        let Ok(pending) = self.mm.read_pod::<u64>(head.wrapping_add(16)) else { return };
        for _ in 0..LIMIT {
            if entry & !1 == head {
                break;
            }
            let next = self.mm.read_pod::<u64>(entry & !1);
            if entry & !1 != pending & !1 {
                self.robust_died(tid, entry, offset, false);
            }
            match next {
                Ok(next) => entry = next,
                Err(_) => break,
            }
        }
        if pending != 0 {
            self.robust_died(tid, pending, offset, true);
        }
    }

    /// One entry of the list (`handle_futex_death`): bit 0 marks a futex that inherits priorities; `pending` is the one
    /// that was being taken or given up.
    fn robust_died(&mut self, tid: ThreadId, entry: u64, offset: u64, pending: bool) {
        let va = (entry & !1).wrapping_add(offset);
        if va & 3 != 0 {
            return;
        }
        let Ok(value) = self.mm.read_pod::<u32>(va) else { return };
        let pi = entry & 1 != 0;
        if pending && !pi && value == 0 {
            // It was given up, but nobody woken yet.
            self.futex_wake_address(va, 1);
            return;
        }
        if value & op::TID_MASK != tid.0 {
            return;
        }
        let died = value & op::WAITERS | op::OWNER_DIED;
        if self.mm.write_pod(va, &died).is_ok() && value & op::WAITERS != 0 {
            self.futex_wake_address(va, 1);
        }
    }
}

/// Sign-extends the low 12 bits.
fn sign12(value: u32) -> i32 {
    ((value << 20) as i32) >> 20
}

/// futex(2)
pub fn futex(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let (va, code, value) = (a.u64(0), a.u32(1), a.u32(2));
    let private = code & op::PRIVATE_FLAG != 0;
    let cmd = code & !(op::PRIVATE_FLAG | op::CLOCK_REALTIME);
    let waits = matches!(cmd, op::WAIT | op::WAIT_BITSET | op::LOCK_PI | op::LOCK_PI2);
    if waits && a.u64(3) != 0 && !k.tasks[tid].restart.again {
        let time: Timespec = k.mm.read_pod(a.u64(3))?;
        let ns = time.to_ns().ok_or(Errno::EINVAL)?;
        let absolute = cmd != op::WAIT;
        let realtime = code & op::CLOCK_REALTIME != 0 || cmd == op::LOCK_PI;
        let clock = if realtime && absolute { CLOCK_REALTIME } else { CLOCK_MONOTONIC };
        let deadline =
            if absolute { k.absolute_deadline(clock, ns) } else { k.now().saturating_add(ns) };
        k.tasks[tid].restart.deadline = Some(deadline);
        k.tasks[tid].restart.clock = absolute.then_some(clock);
    }
    match cmd {
        op::WAIT => k.futex_wait(tid, va, private, value, u32::MAX),
        op::WAIT_BITSET => k.futex_wait(tid, va, private, value, a.u32(5)),
        op::WAKE => {
            let word = k.futex_word(va, private)?;
            Ok(u64::from(k.futex_wake(word, value.max(1), u32::MAX)))
        }
        op::WAKE_BITSET => {
            if a.u32(5) == 0 {
                return Err(Errno::EINVAL.into());
            }
            let word = k.futex_word(va, private)?;
            Ok(u64::from(k.futex_wake(word, value.max(1), a.u32(5))))
        }
        op::REQUEUE | op::CMP_REQUEUE => {
            if a.i32(2) < 0 || a.i32(3) < 0 {
                return Err(Errno::EINVAL.into());
            }
            let from = k.futex_word(va, private)?;
            let to = k.futex_word(a.u64(4), private)?;
            if cmd == op::CMP_REQUEUE && k.mm.read_pod::<u32>(va)? != a.u32(5) {
                return Err(Errno::EAGAIN.into());
            }
            Ok(u64::from(k.futex_requeue(from, to, value, a.u32(3))))
        }
        op::WAKE_OP => k.futex_wake_op(a, private),
        op::LOCK_PI | op::LOCK_PI2 => k.futex_lock_pi(tid, va, private, false),
        op::TRYLOCK_PI => k.futex_lock_pi(tid, va, private, true),
        op::UNLOCK_PI => k.futex_unlock_pi(tid, va, private),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// set_robust_list(2)
pub fn set_robust_list(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    if a.u64(1) != 24 {
        return Err(Errno::EINVAL.into());
    }
    k.tasks[tid].robust_list = (a.u64(0), a.u64(1));
    Ok(0)
}

/// get_robust_list(2)
pub fn get_robust_list(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    let target = if a.i32(0) == 0 { tid } else { ThreadId(a.u32(0)) };
    k.may_access(tid, target, By::RealIds)?;
    let (head, _) = k.tasks[target].robust_list;
    k.mm.write_pod(a.u64(2), &24_u64)?;
    k.mm.write_pod(a.u64(1), &head)?;
    Ok(0)
}
