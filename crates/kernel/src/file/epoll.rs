//! epoll(7): level- and edge-triggered, one-shot, nested.
//!
//! Readiness is asked of the files when somebody waits; for edges each item remembers the generation (number of
//! changes) of its file at the last report, and is reported again only after a further change.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::fcntl::O_RDWR;
use abi::poll::{
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, POLLERR,
    POLLHUP, READABLE,
};

use super::{FileOps, OpenFile, anon};
use crate::fs::{Cx, Res};
use crate::wait::WaitKey;

/// Deepest nesting of epoll files in each other (epoll_ctl(2), ELOOP).
const MAX_NESTING: u32 = 5;

struct Item {
    file: Weak<OpenFile>,
    events: u32,
    data: u64,
    /// Generation of the file at the last report (`EPOLLET`).
    seen: Option<u64>,
    /// Off until it is modified (`EPOLLONESHOT`).
    spent: bool,
}

/// An epoll instance.
#[derive(Default)]
pub struct Epoll {
    /// By descriptor and open file description, as Linux keys them.
    items: RefCell<BTreeMap<(i32, u64), Item>>,
    /// The item reported last, so that all get their turn.
    last: std::cell::Cell<(i32, u64)>,
    key: std::cell::Cell<Option<WaitKey>>,
}

/// A new instance.
pub fn create(cx: &mut Cx) -> Rc<OpenFile> {
    let epoll = Epoll::default();
    epoll.key.set(Some(WaitKey::object(cx.shared.unique())));
    anon::open(cx, "[eventpoll]", Rc::new(epoll), O_RDWR)
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
        if !file.ops().is_pollable() {
            return Err(Errno::EPERM);
        }
        if let Some(inner) = file.object::<Epoll>() {
            if std::ptr::eq(inner, self) {
                return Err(Errno::EINVAL);
            }
            if op == EPOLL_CTL_ADD && (inner.contains(self, 0)? || events & EPOLLEXCLUSIVE != 0) {
                return Err(if events & EPOLLEXCLUSIVE != 0 {
                    Errno::EINVAL
                } else {
                    Errno::ELOOP
                });
            }
        }
        let key = (fd, file.id);
        let mut items = self.items.borrow_mut();
        let item = || Item {
            file: Rc::downgrade(file),
            events: events | POLLERR | POLLHUP,
            data,
            seen: None,
            spent: false,
        };
        match op {
            EPOLL_CTL_ADD if items.contains_key(&key) => return Err(Errno::EEXIST),
            EPOLL_CTL_ADD => {
                items.insert(key, item());
            }
            EPOLL_CTL_MOD => *items.get_mut(&key).ok_or(Errno::ENOENT)? = item(),
            EPOLL_CTL_DEL => {
                items.remove(&key).ok_or(Errno::ENOENT)?;
            }
            _ => return Err(Errno::EINVAL),
        }
        // Whoever waits must also wait for the new item.
        if let Some(key) = self.key.get() {
            cx.shared.wakes.borrow_mut().push(key);
        }
        Ok(())
    }

    /// Whether `other` can be reached from here; ELOOP when nested too deep.
    fn contains(&self, other: &Epoll, depth: u32) -> Res<bool> {
        if std::ptr::eq(self, other) {
            return Ok(true);
        }
        if depth >= MAX_NESTING {
            return Err(Errno::ELOOP);
        }
        let files: Vec<_> = self.items.borrow().values().filter_map(|i| i.file.upgrade()).collect();
        for file in files {
            if let Some(inner) = file.object::<Epoll>()
                && inner.contains(other, depth + 1)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The items still open.
    fn live(&self) -> Vec<((i32, u64), Rc<OpenFile>)> {
        let mut items = self.items.borrow_mut();
        items.retain(|_, item| item.file.strong_count() > 0);
        items.iter().filter_map(|(key, item)| Some((*key, item.file.upgrade()?))).collect()
    }

    /// Up to `max` ready items as (events, data); with `take` edges are spent and one-shots switched off.
    pub fn ready(&self, cx: &mut Cx, max: usize, take: bool) -> Vec<(u32, u64)> {
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
            let generation = file.ops().generation();
            let stale = item.events & EPOLLET != 0 && item.seen == Some(generation);
            if events == 0 || item.spent || stale {
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

    fn poll(&self, cx: &mut Cx) -> u32 {
        if self.ready(cx, 1, false).is_empty() { 0 } else { READABLE }
    }

    fn keys(&self, cx: &mut Cx, out: &mut Vec<WaitKey>) {
        out.extend(self.key.get());
        for (_, file) in self.live() {
            file.ops().keys(cx, out);
        }
    }

    fn generation(&self) -> u64 {
        self.live().iter().fold(0u64, |sum, (_, f)| sum.wrapping_add(f.ops().generation()))
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
