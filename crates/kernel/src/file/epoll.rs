//! epoll(7): level- and edge-triggered, one-shot, nested.
//!
//! Readiness is asked of the files when somebody waits; for edges each item remembers the generation (number of
//! changes) of its file at the last report, and is reported again only after a further change.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::fcntl::O_RDWR;
use abi::poll::{
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT,
    EPOLLWAKEUP, POLLERR, POLLHUP, POLLIN, POLLOUT, READABLE,
};

use super::{FileOps, OpenFile, anon};
use crate::fs::{Cx, Res};
use crate::wait::WaitKey;

/// Deepest nesting of epoll files in each other (`EP_MAX_NESTS`; epoll_ctl(2), ELOOP).
const MAX_NESTING: u32 = 4;
/// Most ways from an instance up to others, by length: a change below is looked for on each (`path_limits`).
const MAX_PATHS: [u32; 5] = [1000, 500, 100, 50, 10];
/// What may be said of an item with `EPOLLEXCLUSIVE`.
const EXCLUSIVE_OK: u32 =
    POLLIN | POLLOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;

struct Item {
    file: Weak<OpenFile>,
    events: u32,
    data: u64,
    /// Generation of the file at the last look (`EPOLLET`, `EPOLLEXCLUSIVE`).
    seen: Option<u64>,
    /// Off until it is modified (`EPOLLONESHOT`).
    spent: bool,
    /// Of an exclusive item: it was ready when it was last looked at, or somebody was woken for it.
    armed: bool,
}

/// An epoll instance.
pub struct Epoll {
    /// By descriptor and open file description, as Linux keys them.
    items: RefCell<BTreeMap<(i32, u64), Item>>,
    /// The item reported last, so that all get their turn.
    last: Cell<(i32, u64)>,
    key: WaitKey,
    me: Weak<Epoll>,
    /// Instances that this one is in.
    parents: RefCell<Vec<Weak<Epoll>>>,
}

/// A new instance.
pub fn create(cx: &mut Cx) -> Rc<OpenFile> {
    let key = WaitKey::object(cx.shared.unique());
    let epoll = Rc::new_cyclic(|me| Epoll {
        items: RefCell::default(),
        last: Cell::default(),
        key,
        me: me.clone(),
        parents: RefCell::default(),
    });
    anon::open(cx, "[eventpoll]", epoll, O_RDWR)
}

impl Epoll {
    /// epoll_ctl(2) for `file`, known as `fd`.
    pub fn control(
        &self,
        cx: &mut Cx,
        op: u32,
        fd: i32,
        file: &Rc<OpenFile>,
        events: u32,
        data: u64,
    ) -> Res<()> {
        let inner = file.object::<Epoll>();
        if inner.is_some_and(|inner| std::ptr::eq(inner, self)) {
            return Err(Errno::EINVAL);
        }
        let exclusive = events & EPOLLEXCLUSIVE != 0;
        if exclusive && op == EPOLL_CTL_MOD {
            return Err(Errno::EINVAL);
        }
        if exclusive && op == EPOLL_CTL_ADD && (inner.is_some() || events & !EXCLUSIVE_OK != 0) {
            return Err(Errno::EINVAL);
        }
        if op == EPOLL_CTL_ADD {
            self.check_nesting(inner)?;
        }
        let key = (fd, file.id);
        let mut items = self.items.borrow_mut();
        let item = || Item {
            file: Rc::downgrade(file),
            events: events | POLLERR | POLLHUP,
            data,
            seen: None,
            spent: false,
            armed: true,
        };
        match op {
            EPOLL_CTL_ADD if items.contains_key(&key) => return Err(Errno::EEXIST),
            EPOLL_CTL_ADD => {
                items.insert(key, item());
                if let Some(inner) = inner {
                    inner.parents.borrow_mut().push(self.me.clone());
                }
            }
            EPOLL_CTL_MOD => {
                let old = items.get_mut(&key).ok_or(Errno::ENOENT)?;
                if old.events & EPOLLEXCLUSIVE != 0 {
                    return Err(Errno::EINVAL);
                }
                *old = item();
            }
            EPOLL_CTL_DEL => {
                items.remove(&key).ok_or(Errno::ENOENT)?;
                if let Some(inner) = inner {
                    let mut parents = inner.parents.borrow_mut();
                    let of_this = parents.iter().position(|p| Weak::ptr_eq(p, &self.me));
                    of_this.map(|at| parents.swap_remove(at));
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        // Whoever waits must also wait for the new item.
        cx.shared.wakes.borrow_mut().push(self.key);
        Ok(())
    }

    /// Whether an item (`inner`, if it is an instance itself) may be added here: ELOOP for a circle or a chain that
    /// is too long, EINVAL when there are too many ways for a change to go.
    fn check_nesting(&self, inner: Option<&Epoll>) -> Res<()> {
        let below = match inner {
            None => 0,
            Some(inner) => 1 + inner.depth(self, &mut BTreeMap::new(), 0)?,
        };
        let mut ways = vec![self.me.upgrade().ok_or(Errno::EINVAL)?];
        let mut above = 0;
        loop {
            let up: Vec<Rc<Epoll>> = ways.iter().flat_map(|e| e.live_parents()).collect();
            if up.is_empty() {
                break;
            }
            above += 1;
            let most = MAX_PATHS.get(above as usize).copied().ok_or(Errno::ELOOP)?;
            if up.len() > most as usize {
                return Err(Errno::EINVAL);
            }
            ways = up;
        }
        let too_long = inner.is_some() && below + above > MAX_NESTING;
        if too_long { Err(Errno::ELOOP) } else { Ok(()) }
    }

    fn live_parents(&self) -> Vec<Rc<Epoll>> {
        let mut parents = self.parents.borrow_mut();
        parents.retain(|p| p.strong_count() > 0);
        parents.iter().filter_map(Weak::upgrade).collect()
    }

    /// The longest chain of instances below this one; ELOOP if `outer` is among them. `known` keeps the answers.
    fn depth(&self, outer: &Epoll, known: &mut BTreeMap<WaitKey, u32>, so_far: u32) -> Res<u32> {
        if std::ptr::eq(self, outer) || so_far > MAX_NESTING {
            return Err(Errno::ELOOP);
        }
        if let Some(depth) = known.get(&self.key) {
            return Ok(*depth);
        }
        let mut deepest = 0;
        for (_, file) in self.live() {
            if let Some(inner) = file.object::<Epoll>() {
                deepest = deepest.max(1 + inner.depth(outer, known, so_far + 1)?);
            }
        }
        known.insert(self.key, deepest);
        Ok(deepest)
    }

    /// The items still open.
    fn live(&self) -> Vec<((i32, u64), Rc<OpenFile>)> {
        let mut items = self.items.borrow_mut();
        items.retain(|_, item| item.file.strong_count() > 0);
        items.iter().filter_map(|(key, item)| Some((*key, item.file.upgrade()?))).collect()
    }

    /// Up to `max` ready items as (events, data); with `take` edges are spent and one-shots switched off. Exclusive
    /// items that changed count only if `chosen`: somebody else was woken for the change otherwise.
    pub fn ready(&self, cx: &mut Cx, max: usize, take: bool, chosen: bool) -> Vec<(u32, u64)> {
        let mut live = self.live();
        let next = live.partition_point(|(key, _)| *key <= self.last.get());
        live.rotate_left(next);
        let mut ready = Vec::new();
        for (key, file) in live {
            if ready.len() >= max {
                break;
            }
            let now = file.ops().poll(cx);
            let mut items = self.items.borrow_mut();
            let Some(item) = items.get_mut(&key) else { continue };
            let events = now & item.events;
            let generation = file.ops().generation_of(item.events);
            let unchanged = item.seen == Some(generation);
            if item.events & EPOLLEXCLUSIVE != 0 {
                item.armed |= chosen && !unchanged;
                if !item.armed {
                    continue;
                }
                item.armed = events != 0;
            }
            if events == 0 || item.spent || (item.events & EPOLLET != 0 && unchanged) {
                continue;
            }
            ready.push((events, item.data));
            if take {
                item.seen = Some(generation);
                item.spent = item.events & EPOLLONESHOT != 0;
                self.last.set(key);
            }
        }
        ready
    }

    /// The keys to wait for, and those of exclusive items.
    pub fn wait_keys(&self, cx: &mut Cx) -> (Vec<WaitKey>, Vec<WaitKey>) {
        let (mut keys, mut exclusive) = (vec![self.key], Vec::new());
        for (key, file) in self.live() {
            let items = self.items.borrow();
            let alone = items.get(&key).is_some_and(|i| i.events & EPOLLEXCLUSIVE != 0);
            drop(items);
            file.ops().keys(cx, if alone { &mut exclusive } else { &mut keys });
        }
        (keys, exclusive)
    }

    /// The earliest deadline among the items.
    pub fn next_deadline(&self) -> Option<u64> {
        let items = self.items.borrow();
        let files: Vec<_> =
            items.values().filter(|i| !i.spent).filter_map(|i| i.file.upgrade()).collect();
        drop(items);
        files.iter().filter_map(|f| f.ops().deadline()).min()
    }
}

impl FileOps for Epoll {
    fn kind_name(&self) -> &'static str {
        "eventpoll"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seek(&self, _: &mut Cx, file: &OpenFile, _: i64, _: u32) -> Res<u64> {
        // Accepted without effect (`noop_llseek`).
        Ok(file.pos.get())
    }

    fn poll(&self, cx: &mut Cx) -> u32 {
        if self.ready(cx, 1, false, true).is_empty() { 0 } else { READABLE }
    }

    fn keys(&self, cx: &mut Cx, out: &mut Vec<WaitKey>) {
        let (keys, exclusive) = self.wait_keys(cx);
        out.extend(keys);
        out.extend(exclusive);
    }

    fn generation(&self) -> u64 {
        let changes = |(key, file): &((i32, u64), Rc<OpenFile>)| {
            let events = self.items.borrow().get(key).map_or(0, |item| item.events);
            file.ops().generation_of(events)
        };
        self.live().iter().fold(0u64, |sum, item| sum.wrapping_add(changes(item)))
    }

    fn deadline(&self) -> Option<u64> {
        self.next_deadline()
    }

    fn fdinfo(&self) -> String {
        let items = self.items.borrow();
        let line = |((fd, _), item): (&(i32, u64), &Item)| {
            format!("tfd: {fd:8} events: {:8x} data: {:16x}\n", item.events, item.data)
        };
        items.iter().map(line).collect()
    }
}
