//! futex(2): queues of waiting threads by word, and robust lists.

use std::collections::{BTreeMap, VecDeque};

use abi::mman::PROT_WRITE;
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
    /// The same, asked for without `FUTEX_PRIVATE_FLAG`: those who pass it wait elsewhere (`FUT_OFF_MMSHARED`).
    Own(u32, u64),
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
    kind: Waits,
}

/// What a waiter waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// To be woken.
    Plain,
    /// To become the owner of a priority-inheriting lock.
    Lock,
    /// To be moved to such a lock (FUTEX_WAIT_REQUEUE_PI).
    Move(Word),
}

/// All futex queues.
#[derive(Default)]
pub struct Futexes {
    queues: BTreeMap<Word, VecDeque<Waiter>>,
    ticket: u64,
}

impl Futexes {
    fn enqueue(&mut self, word: Word, tid: ThreadId, bitset: u32, kind: Waits) -> Place {
        self.ticket += 1;
        let ticket = self.ticket;
        self.queues.entry(word).or_default().push_back(Waiter { tid, ticket, bitset, kind });
        Place { word, ticket }
    }

    /// Puts a thread in one of several queues.
    pub(super) fn enqueue_any(&mut self, word: Word, tid: ThreadId) -> Place {
        self.enqueue(word, tid, u32::MAX, Waits::Plain)
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

    /// Whether somebody waits.
    fn has_waiters(&self, word: Word) -> bool {
        self.queues.get(&word).is_some_and(|queue| !queue.is_empty())
    }

    /// What the first of them waits for.
    fn first(&self, word: Word, bitset: u32) -> Option<Waits> {
        let mut queue = self.queues.get(&word)?.iter();
        queue.find(|w| w.bitset & bitset != 0).map(|w| w.kind)
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
        debug_assert_eq!(u64::from(pa) & PAGE_MASK, va & PAGE_MASK);
        let id = self.mm.current();
        let space = self.mm.space(id).ok_or(Errno::EFAULT)?;
        let (_, vma) = space.vmas().find(va).ok_or(Errno::EFAULT)?;
        if private {
            return Ok(Word::Private(id.raw(), va));
        }
        // Memory of a process alone that it cannot write will never change (`get_futex_key`).
        if vma.source.is_none() && vma.rights.prot & PROT_WRITE == 0 {
            return Err(Errno::EFAULT);
        }
        Ok(if vma.rights.shared { Word::Shared(pa) } else { Word::Own(id.raw(), va) })
    }

    /// Wakes up to `count` waiters: how many. EINVAL if one of them waits for a lock.
    fn futex_wake(&mut self, word: Word, count: u32, bitset: u32) -> Result<u32, Errno> {
        let mut woken = 0;
        while woken < count {
            match self.futexes.first(word, bitset) {
                None => break,
                Some(Waits::Plain) => {}
                Some(Waits::Lock | Waits::Move(_)) => return Err(Errno::EINVAL),
            }
            let Some(waiter) = self.futexes.pop(word, bitset) else { break };
            self.wakes.borrow_mut().push(WaitKey::thread(waiter.tid));
            woken += 1;
        }
        Ok(woken)
    }

    /// Wakes a waiter on an address of the current space, as a thread that ends does: who passed `FUTEX_PRIVATE_FLAG` is not meant.
    pub(crate) fn futex_wake_address(&mut self, va: u64) {
        if let Ok(word) = self.futex_word(va, false) {
            let _ = self.futex_wake(word, 1, u32::MAX);
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
        kind: Waits,
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
        if kind == Waits::Move(word) {
            return Err(Errno::EINVAL.into());
        }
        let now: u32 = self.mm.read_pod(va)?;
        if now != value {
            return Err(Errno::EAGAIN.into());
        }
        if self.deadline_passed(tid) {
            return Err(Errno::ETIMEDOUT.into());
        }
        let place = self.futexes.enqueue(word, tid, bitset, kind);
        self.tasks[tid].restart.futex = Some(place);
        self.futex_block(tid)
    }

    /// Wakes `wake` waiters of the first word and moves `requeue` others to the second: how many.
    fn futex_requeue(
        &mut self,
        from: Word,
        to: Word,
        wake: u32,
        requeue: u32,
    ) -> Result<u32, Errno> {
        let woken = self.futex_wake(from, wake, u32::MAX)?;
        let mut moved = 0;
        while moved < requeue && from != to {
            match self.futexes.first(from, u32::MAX) {
                None => break,
                Some(Waits::Plain) => self.futex_move(from, to, Waits::Plain),
                Some(Waits::Lock | Waits::Move(_)) => return Err(Errno::EINVAL),
            }
            moved += 1;
        }
        Ok(woken + moved)
    }

    /// Moves the first waiter of one word to the end of another's queue.
    fn futex_move(&mut self, from: Word, to: Word, kind: Waits) {
        let Some(waiter) = self.futexes.pop(from, u32::MAX) else { return };
        let (tid, ticket) = (waiter.tid, waiter.ticket);
        self.futexes.queues.entry(to).or_default().push_back(Waiter { kind, ..waiter });
        if let Some(thread) = self.tasks.thread_mut(tid) {
            let place = Place { word: to, ticket };
            match thread.restart.waitv.iter_mut().find(|p| p.ticket == ticket) {
                Some(one) => *one = place,
                None => thread.restart.futex = Some(place),
            }
        }
    }

    /// FUTEX_WAIT_REQUEUE_PI: waits at the first word until it owns the second, a lock.
    fn futex_wait_requeue_pi(&mut self, tid: ThreadId, a: Args, private: bool) -> SysResult {
        if a.u64(0) == a.u64(4) {
            return Err(Errno::EINVAL.into());
        }
        let lock = self.futex_word(a.u64(4), private)?;
        self.futex_wait(tid, a.u64(0), private, a.u32(2), u32::MAX, Waits::Move(lock))
    }

    /// FUTEX_CMP_REQUEUE_PI: moves the first waiter and `requeue` others to the lock. If that is free, the first has it at once.
    fn futex_requeue_pi(&mut self, a: Args, private: bool) -> SysResult {
        let (va, lock_va, requeue) = (a.u64(0), a.u64(4), a.u32(3));
        if va == lock_va || a.u32(2) != 1 {
            return Err(Errno::EINVAL.into());
        }
        let from = self.futex_word(va, private)?;
        let lock = self.futex_word(lock_va, private)?;
        if from == lock {
            return Err(Errno::EINVAL.into());
        }
        if self.mm.read_pod::<u32>(va)? != a.u32(5) {
            return Err(Errno::EAGAIN.into());
        }
        let mut done = 0;
        while done <= requeue {
            match self.futexes.first(from, u32::MAX) {
                None => break,
                Some(Waits::Move(to)) if to == lock => {}
                Some(_) => return Err(Errno::EINVAL.into()),
            }
            let value: u32 = self.mm.read_pod(lock_va)?;
            if value & op::TID_MASK != 0 {
                self.mm.write_pod(lock_va, &(value | op::WAITERS))?;
                self.futex_move(from, lock, Waits::Lock);
            } else if let Some(waiter) = self.futexes.pop(from, u32::MAX) {
                let waiters = if self.futexes.has_waiters(lock) { op::WAITERS } else { 0 };
                let new = waiter.tid.0 | waiters | value & op::OWNER_DIED;
                self.mm.write_pod(lock_va, &new)?;
                self.wakes.borrow_mut().push(WaitKey::thread(waiter.tid));
            }
            done += 1;
        }
        Ok(u64::from(done))
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
        self.mm.write_pod(va2, &new)?;
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
        let mut woken = self.futex_wake(word, a.u32(2).max(1), u32::MAX)?;
        if hit {
            woken += self.futex_wake(word2, a.u32(3).max(1), u32::MAX)?;
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
            let waiters = if self.futexes.has_waiters(word) { op::WAITERS } else { 0 };
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
        let place = self.futexes.enqueue(word, tid, u32::MAX, Waits::Lock);
        self.tasks[tid].restart.futex = Some(place);
        self.futex_block(tid)
    }

    fn futex_unlock_pi(&mut self, tid: ThreadId, va: u64, private: bool) -> SysResult {
        let value: u32 = self.mm.read_pod(va)?;
        if value & op::TID_MASK != tid.0 {
            return Err(Errno::EPERM.into());
        }
        let word = self.futex_word(va, private)?;
        if self.futexes.first(word, u32::MAX).is_some_and(|kind| kind != Waits::Lock) {
            return Err(Errno::EINVAL.into());
        }
        let next = self.futexes.pop(word, u32::MAX);
        let new = match &next {
            Some(waiter) => {
                waiter.tid.0 | if self.futexes.has_waiters(word) { op::WAITERS } else { 0 }
            }
            None => 0,
        };
        self.mm.write_pod(va, &new)?;
        if let Some(waiter) = next {
            self.wakes.borrow_mut().push(WaitKey::thread(waiter.tid));
        }
        Ok(0)
    }

    /// Whoever waits first for a lock whose owner has died has it; false if nobody waits.
    fn inherit_lock(&mut self, va: u64) -> bool {
        for private in [false, true] {
            let Ok(word) = self.futex_word(va, private) else { continue };
            if self.futexes.first(word, u32::MAX) == Some(Waits::Lock)
                && let Some(waiter) = self.futexes.pop(word, u32::MAX)
            {
                let waiters = if self.futexes.has_waiters(word) { op::WAITERS } else { 0 };
                let _ = self.mm.write_pod(va, &(waiter.tid.0 | waiters | op::OWNER_DIED));
                self.wakes.borrow_mut().push(WaitKey::thread(waiter.tid));
                return true;
            }
        }
        false
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
            self.futex_wake_address(va);
            return;
        }
        if value & op::TID_MASK != tid.0 {
            return;
        }
        if pi && self.inherit_lock(va) {
            return;
        }
        let died = value & op::WAITERS | op::OWNER_DIED;
        if self.mm.write_pod(va, &died).is_ok() && value & op::WAITERS != 0 {
            self.futex_wake_address(va);
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
    let waits = matches!(
        cmd,
        op::WAIT | op::WAIT_BITSET | op::LOCK_PI | op::LOCK_PI2 | op::WAIT_REQUEUE_PI
    );
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
    let has_clock = matches!(cmd, op::WAIT_BITSET | op::WAIT_REQUEUE_PI | op::LOCK_PI2);
    if code & op::CLOCK_REALTIME != 0 && !has_clock {
        return Err(Errno::ENOSYS.into());
    }
    match cmd {
        op::WAIT => k.futex_wait(tid, va, private, value, u32::MAX, Waits::Plain),
        op::WAIT_BITSET => k.futex_wait(tid, va, private, value, a.u32(5), Waits::Plain),
        op::WAIT_REQUEUE_PI => k.futex_wait_requeue_pi(tid, a, private),
        op::WAKE => {
            let word = k.futex_word(va, private)?;
            Ok(u64::from(k.futex_wake(word, value.max(1), u32::MAX)?))
        }
        op::WAKE_BITSET => {
            if a.u32(5) == 0 {
                return Err(Errno::EINVAL.into());
            }
            let word = k.futex_word(va, private)?;
            Ok(u64::from(k.futex_wake(word, value.max(1), a.u32(5))?))
        }
        op::REQUEUE | op::CMP_REQUEUE | op::CMP_REQUEUE_PI => {
            if a.i32(2) < 0 || a.i32(3) < 0 {
                return Err(Errno::EINVAL.into());
            }
            if cmd == op::CMP_REQUEUE_PI {
                return k.futex_requeue_pi(a, private);
            }
            let from = k.futex_word(va, private)?;
            let to = k.futex_word(a.u64(4), private)?;
            if cmd == op::CMP_REQUEUE && k.mm.read_pod::<u32>(va)? != a.u32(5) {
                return Err(Errno::EAGAIN.into());
            }
            Ok(u64::from(k.futex_requeue(from, to, value, a.u32(3))?))
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
