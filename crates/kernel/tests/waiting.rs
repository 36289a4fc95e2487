//! What waits for files: pipes, epoll(7), poll(2), eventfd(2), record locks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use abi::Errno;
use abi::poll::*;
use harness::Sys;

const READ: u64 = 0;
const WRITE: u64 = 1;
const CLOSE: u64 = 3;
const POLL: u64 = 7;
const EPOLL_WAIT: u64 = 232;
const EPOLL_CTL: u64 = 233;
const EVENTFD2: u64 = 290;
const EPOLL_CREATE1: u64 = 291;
const PIPE2: u64 = 293;
const NONBLOCK: u64 = 0o4000;

struct Files {
    sys: Sys,
    buf: u64,
}

impl Files {
    fn new() -> Files {
        let mut sys = Sys::new();
        let buf = sys.map(1 << 20);
        Files { sys, buf }
    }

    fn pipe(&mut self, flags: u64) -> (u64, u64) {
        let buf = self.buf;
        self.sys.ok(PIPE2, &[buf, flags]);
        (u64::from(self.sys.peek32(buf)), u64::from(self.sys.peek32(buf + 4)))
    }

    fn put(&mut self, fd: u64, len: u64) -> i64 {
        let buf = self.buf;
        self.sys.call(WRITE, &[fd, buf, len])
    }

    fn take(&mut self, fd: u64, len: u64) -> i64 {
        let buf = self.buf;
        self.sys.call(READ, &[fd, buf, len])
    }

    fn control(&mut self, epoll: u64, op: u32, fd: u64, events: u32) -> i64 {
        let at = self.buf + 512;
        self.sys.poke32(at, events);
        self.sys.poke64(at + 4, fd);
        self.sys.call(EPOLL_CTL, &[epoll, u64::from(op), fd, at])
    }

    /// Ready items as (descriptor, events), without waiting.
    fn ready(&mut self, epoll: u64) -> Vec<(u64, u32)> {
        let at = self.buf + 1024;
        let n = self.sys.ok(EPOLL_WAIT, &[epoll, at, 8, 0]);
        (0..n).map(|i| (self.sys.peek64(at + i * 12 + 4), self.sys.peek32(at + i * 12))).collect()
    }

    fn poll(&mut self, fd: u64) -> u32 {
        let at = self.buf + 2048;
        self.sys.poke32(at, fd as u32);
        self.sys.poke32(at + 4, u32::from((POLLIN | POLLOUT | POLLRDHUP) as u16));
        self.sys.ok(POLL, &[at, 1, 0]);
        self.sys.peek32(at + 4) >> 16
    }
}

fn fails(value: i64) -> Errno {
    Errno::from_raw(-value as i32).unwrap()
}

#[test]
fn the_end_of_a_peer_is_an_edge() {
    let mut f = Files::new();
    let buf = f.buf;
    f.sys.ok(53, &[1, 1, 0, buf]);
    let (a, b) = (u64::from(f.sys.peek32(buf)), u64::from(f.sys.peek32(buf + 4)));
    let epoll = f.sys.ok(EPOLL_CREATE1, &[0]);
    f.control(epoll, EPOLL_CTL_ADD, a, POLLIN | POLLOUT | POLLRDHUP | EPOLLET);
    assert_eq!(f.ready(epoll), [(a, POLLOUT)]);
    assert_eq!(f.ready(epoll), []);
    f.sys.ok(CLOSE, &[b]);
    assert_eq!(f.ready(epoll), [(a, POLLIN | POLLOUT | POLLRDHUP | POLLHUP)]);
    assert_eq!(f.ready(epoll), []);
}

#[test]
fn pipes_fill_drain_and_end() {
    let mut f = Files::new();
    let (r, w) = f.pipe(NONBLOCK);
    assert_eq!(fails(f.take(r, 1)), Errno::EAGAIN);
    assert_eq!(f.put(w, 100_000), 65536);
    assert_eq!(fails(f.put(w, 1)), Errno::EAGAIN);
    assert_eq!(f.poll(w), 0);
    // 100 bytes of room: a write of at most PIPE_BUF bytes is not split.
    assert_eq!(f.take(r, 100), 100);
    assert_eq!(fails(f.put(w, 101)), Errno::EAGAIN);
    assert_eq!(f.put(w, 100), 100);
    assert_eq!(f.take(r, 1 << 20), 65536);
    f.sys.ok(CLOSE, &[w]);
    assert_eq!(f.poll(r), POLLHUP);
    assert_eq!(f.take(r, 1), 0);
    let (r, w) = f.pipe(0);
    f.sys.ok(CLOSE, &[r]);
    assert_eq!(f.poll(w), POLLOUT | POLLERR);
}

#[test]
fn a_reader_wakes_for_a_writer() {
    let mut f = Files::new();
    let (r, w) = f.pipe(0);
    let (parent, buf) = (f.sys.tid, f.buf);
    let child = f.sys.fork();
    f.sys.blocks(READ, &[r, buf, 10]);
    f.sys.run(child);
    assert_eq!(f.put(w, 3), 3);
    f.sys.run(parent);
    assert_eq!(f.sys.rax(), 3);
}

#[test]
fn epoll_level_edge_and_one_shot() {
    let mut f = Files::new();
    let (r, w) = f.pipe(NONBLOCK);
    let e = f.sys.ok(EPOLL_CREATE1, &[0]);
    assert_eq!(f.control(e, EPOLL_CTL_ADD, r, POLLIN), 0);
    assert_eq!(fails(f.control(e, EPOLL_CTL_ADD, r, POLLIN)), Errno::EEXIST);
    assert_eq!(fails(f.control(e, EPOLL_CTL_MOD, w, POLLIN)), Errno::ENOENT);
    assert_eq!(fails(f.control(e, EPOLL_CTL_ADD, e, POLLIN)), Errno::EINVAL);
    assert_eq!(f.ready(e), []);
    f.put(w, 1);
    assert_eq!(f.ready(e), [(r, POLLIN)]);
    assert_eq!(f.ready(e), [(r, POLLIN)], "level: again while it is readable");
    f.control(e, EPOLL_CTL_MOD, r, POLLIN | EPOLLET);
    assert_eq!(f.ready(e), [(r, POLLIN)]);
    assert_eq!(f.ready(e), [], "edge: only after a change");
    f.put(w, 1);
    assert_eq!(f.ready(e), [(r, POLLIN)]);
    f.control(e, EPOLL_CTL_MOD, r, POLLIN | EPOLLONESHOT);
    assert_eq!(f.ready(e), [(r, POLLIN)]);
    f.put(w, 1);
    assert_eq!(f.ready(e), [], "one-shot: off until it is set again");
    f.control(e, EPOLL_CTL_MOD, r, POLLIN | EPOLLONESHOT);
    assert_eq!(f.ready(e), [(r, POLLIN)]);
    f.sys.ok(CLOSE, &[w]);
    f.control(e, EPOLL_CTL_MOD, r, 0);
    assert_eq!(f.ready(e), [(r, POLLHUP)], "a hang-up is always reported");
    f.sys.ok(CLOSE, &[r]);
    assert_eq!(f.ready(e), [], "a closed file leaves by itself");
}

#[test]
fn epoll_nests_but_not_in_circles() {
    let mut f = Files::new();
    let (r, w) = f.pipe(NONBLOCK);
    let inner = f.sys.ok(EPOLL_CREATE1, &[0]);
    let outer = f.sys.ok(EPOLL_CREATE1, &[0]);
    assert_eq!(f.control(inner, EPOLL_CTL_ADD, r, POLLIN), 0);
    assert_eq!(f.control(outer, EPOLL_CTL_ADD, inner, POLLIN), 0);
    assert_eq!(fails(f.control(inner, EPOLL_CTL_ADD, outer, POLLIN)), Errno::ELOOP);
    assert_eq!(f.ready(outer), []);
    f.put(w, 1);
    assert_eq!(f.ready(outer), [(inner, POLLIN)]);
    f.take(r, 1);
    assert_eq!(f.ready(outer), []);
}

#[test]
fn epoll_waits_for_what_comes_later() {
    let mut f = Files::new();
    let (r, w) = f.pipe(0);
    let e = f.sys.ok(EPOLL_CREATE1, &[0]);
    f.control(e, EPOLL_CTL_ADD, r, POLLIN);
    let (parent, at) = (f.sys.tid, f.buf + 1024);
    let child = f.sys.fork();
    f.sys.blocks(EPOLL_WAIT, &[e, at, 8, u64::MAX]);
    f.sys.run(child);
    f.put(w, 1);
    f.sys.run(parent);
    assert_eq!(f.sys.rax(), 1);
}

#[test]
fn eventfd_counts() {
    let mut f = Files::new();
    let e = f.sys.ok(EVENTFD2, &[2, u64::from(EFD_SEMAPHORE | EFD_NONBLOCK)]);
    let buf = f.buf;
    assert_eq!(f.take(e, 8), 8);
    assert_eq!(f.sys.peek64(buf), 1);
    assert_eq!(f.take(e, 8), 8);
    assert_eq!(fails(f.take(e, 8)), Errno::EAGAIN);
    assert_eq!(fails(f.take(e, 4)), Errno::EINVAL);
    f.sys.poke64(buf, u64::MAX);
    assert_eq!(fails(f.put(e, 8)), Errno::EINVAL);
    f.sys.poke64(buf, u64::MAX - 1);
    assert_eq!(f.put(e, 8), 8);
    assert_eq!(fails(f.put(e, 8)), Errno::EAGAIN);
    assert_eq!(f.poll(e), POLLIN);
}

#[test]
fn sockets_in_sockets_are_closed_without_recursion() {
    let mut f = Files::new();
    let buf = f.buf;
    let (msg, iov, control) = (buf + 4096, buf + 4200, buf + 4300);
    f.sys.poke64(iov, buf);
    f.sys.poke64(iov + 8, 1);
    f.sys.poke64(msg + 16, iov);
    f.sys.poke64(msg + 24, 1);
    f.sys.poke64(msg + 32, control);
    f.sys.poke64(msg + 40, 20);
    f.sys.poke64(control, 20);
    f.sys.poke32(control + 8, 1);
    f.sys.poke32(control + 12, 1);
    let pair = |f: &mut Files| {
        f.sys.ok(53, &[1, 1, 0, buf]);
        (f.sys.peek32(buf), f.sys.peek32(buf + 4))
    };
    let (outer, mut last) = pair(&mut f);
    let keep = last;
    for _ in 0..20_000 {
        let (a, b) = pair(&mut f);
        // `b` goes into the queue that `last` reads from: `a` sends there.
        f.sys.poke32(control + 16, b);
        let sender = if last == keep { outer } else { last };
        f.sys.ok(46, &[u64::from(sender), msg, 0]);
        f.sys.ok(CLOSE, &[u64::from(b)]);
        if sender != outer {
            f.sys.ok(CLOSE, &[u64::from(sender)]);
        }
        last = a;
    }
    f.sys.ok(CLOSE, &[u64::from(keep)]);
    f.sys.ok(CLOSE, &[u64::from(outer)]);
    f.sys.ok(39, &[]);
}
