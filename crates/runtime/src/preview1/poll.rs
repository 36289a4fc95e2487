//! `poll_oneoff` over clocks, standard streams and extra descriptors: one ppoll(2), so a waiting box takes no time and wakes
//! at once.

use super::errno;
use super::streams::{Readiness, Streams};
use rustix::event::{PollFd, PollFlags, Timespec, poll as host_poll};
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// Bytes of `subscription`: userdata u64, tag u8 at 8; of a clock: id u32 at 16, timeout u64 at 24, flags u16 at 40; of a
/// descriptor: its number u32 at 16.
const SUBSCRIPTION: usize = 48;
/// Bytes of `event`: userdata u64, error u16 at 8, type u8 at 10, and of a descriptor nbytes u64 at 16.
const EVENT: usize = 32;
const TAG_CLOCK: u8 = 0;
const TAG_WRITE: u8 = 2;
/// More than any guest of ours asks for.
const MAX_SUBSCRIPTIONS: u32 = 4096;

enum What {
    Clock(u64),
    Stream { fd: i32, write: bool },
}

/// Waits, and writes the events: their number. None if one of the subscriptions is wasmtime-wasi's (a file, a clock's
/// absolute time): the call is its then. Waiting for `idle` is [`errno::TIMEDOUT`].
pub fn poll(
    streams: &Streams,
    bytes: &mut [u8],
    subscriptions: u32,
    events: u32,
    count: u32,
    idle: Option<Duration>,
) -> Option<Result<usize, i32>> {
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Some(Err(errno::INVAL));
    }
    let len = count as usize;
    let (from, to) = (subscriptions as usize, events as usize);
    let Some(list) = bytes.get(from..).and_then(|bytes| bytes.get(..len * SUBSCRIPTION)) else {
        return Some(Err(errno::FAULT));
    };
    let mut wanted = Vec::with_capacity(len);
    for subscription in list.chunks_exact(SUBSCRIPTION) {
        let field = |at: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&subscription[at..at + 8]);
            u64::from_le_bytes(field)
        };
        let tag = subscription[8];
        let what = if tag == TAG_CLOCK {
            if field(40) & 1 != 0 {
                return None;
            }
            What::Clock(field(24))
        } else {
            What::Stream { fd: field(16) as u32 as i32, write: tag == TAG_WRITE }
        };
        wanted.push((field(0), tag, what));
    }
    let ready = match wait(streams, &wanted, idle)? {
        Ok(ready) if idle.is_some() && !ready.contains(&true) => {
            return Some(Err(errno::TIMEDOUT));
        }
        Ok(ready) => ready,
        Err(error) => return Some(Err(errno::from_io(&error.into()))),
    };
    let Some(out) = bytes.get_mut(to..).and_then(|bytes| bytes.get_mut(..len * EVENT)) else {
        return Some(Err(errno::FAULT));
    };
    let happened = wanted.iter().zip(&ready).filter(|(_, ready)| **ready);
    let mut written = 0;
    for (event, ((userdata, tag, _), _)) in out.chunks_exact_mut(EVENT).zip(happened) {
        event.fill(0);
        event[..8].copy_from_slice(&userdata.to_le_bytes());
        event[10] = *tag;
        event[16] = 1;
        written += 1;
    }
    Some(Ok(written))
}

/// Which of the subscriptions came to pass; at least one, or none after `idle`.
fn wait(
    streams: &Streams,
    wanted: &[(u64, u8, What)],
    idle: Option<Duration>,
) -> Option<Result<Vec<bool>, Errno>> {
    let start = Instant::now();
    let mut ready = vec![false; wanted.len()];
    let mut fds = Vec::new();
    let mut places = Vec::new();
    let mut timeout = idle.and_then(|idle| u64::try_from(idle.as_nanos()).ok());
    let mut handles = Vec::new();
    for (index, (_, _, what)) in wanted.iter().enumerate() {
        match *what {
            What::Clock(ns) => timeout = Some(timeout.map_or(ns, |other| other.min(ns))),
            What::Stream { fd, write } => match streams.readiness(fd, write)? {
                Readiness::Now => {
                    ready[index] = true;
                    timeout = Some(0);
                }
                Readiness::Never => {}
                Readiness::Of(handle) => handles.push((index, handle, write)),
            },
        }
    }
    for (index, handle, write) in &handles {
        let flags = if *write { PollFlags::OUT } else { PollFlags::IN };
        fds.push(PollFd::new(handle, flags));
        places.push(*index);
    }
    let interrupt = streams.interrupt();
    if let Some(interrupt) = &interrupt {
        fds.push(PollFd::new(interrupt, PollFlags::IN));
    }
    loop {
        let left = timeout.map(|ns| Duration::from_nanos(ns).saturating_sub(start.elapsed()));
        // A time beyond what the host's type holds is for ever.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match host_poll(&mut fds, left.as_ref()) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Some(Err(error)),
        }
    }
    for (place, fd) in places.iter().zip(&fds) {
        ready[*place] = !fd.revents().is_empty();
    }
    let elapsed = start.elapsed();
    for (ready, (_, _, what)) in ready.iter_mut().zip(wanted) {
        if let What::Clock(ns) = what {
            *ready = elapsed >= Duration::from_nanos(*ns);
        }
    }
    Some(Ok(ready))
}
