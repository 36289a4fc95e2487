//! Sockets that are only held by each other's queues (unix(7), `SCM_RIGHTS`): nobody can receive them any more. As
//! Linux (`net/unix/garbage.c`) does it: a socket whose every holder is a queue is a candidate, and candidates that no
//! queue of another socket leads to are given up.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::UnixSocket;
use crate::file::OpenFile;
use crate::file::socket::{OpenSockets, Socket, SocketOps};
use crate::fs::Cx;

/// Files that may be sent before somebody looks for the first time.
const FIRST: usize = 64;

/// Counts sent files, so that the search is made seldom.
#[derive(Default)]
pub struct Flights {
    sent: Cell<usize>,
    next: Cell<usize>,
}

/// Identity of a socket.
type Id = *const ();

fn id_of(ops: &Rc<dyn SocketOps>) -> Id {
    Rc::as_ptr(ops).cast()
}

/// The socket that a queued file is.
fn socket_of(file: &OpenFile) -> Option<Rc<dyn SocketOps>> {
    let ops = &file.object::<Socket>()?.ops;
    ops.as_any().is::<UnixSocket>().then(|| ops.clone())
}

/// `count` files are about to be sent: looks for garbage when it is time.
pub(super) fn before_sending(cx: &mut Cx, count: usize) {
    if count == 0 {
        return;
    }
    let flights = cx.shared.registry::<Flights>();
    flights.sent.set(flights.sent.get() + count);
    if flights.sent.get() > flights.next.get().max(FIRST) {
        flights.sent.set(0);
        flights.next.set(2 * collect(cx));
    }
}

/// Empties the queues of sockets that nobody can reach: how many files are still on their way.
fn collect(cx: &mut Cx) -> usize {
    let sockets = cx.shared.registry::<OpenSockets>().all();
    let sockets: Vec<_> = sockets.into_iter().filter(|s| s.as_any().is::<UnixSocket>()).collect();
    let mut queued = 0_usize;
    // How many queues hold a socket, and how many hold its file in all.
    let mut held: BTreeMap<Id, (usize, usize)> = BTreeMap::new();
    let mut leads: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    for socket in &sockets {
        let Some(unix) = socket.as_any().downcast_ref::<UnixSocket>() else { continue };
        let to = leads.entry(id_of(socket)).or_default();
        unix.each_file(&mut |file| {
            queued += 1;
            if let Some(target) = socket_of(file) {
                let entry = held.entry(id_of(&target)).or_insert((0, Rc::strong_count(file)));
                entry.0 += 1;
                to.push(id_of(&target));
            }
        });
    }
    let candidate = |id: &Id| held.get(id).is_some_and(|(queues, all)| queues == all);
    let mut reached: BTreeSet<Id> = leads.keys().copied().filter(|id| !candidate(id)).collect();
    let mut todo: Vec<Id> = reached.iter().copied().collect();
    while let Some(id) = todo.pop() {
        for next in leads.get(&id).into_iter().flatten() {
            if reached.insert(*next) {
                todo.push(*next);
            }
        }
    }
    for socket in sockets.iter().filter(|s| !reached.contains(&id_of(s))) {
        if let Some(unix) = socket.as_any().downcast_ref::<UnixSocket>() {
            unix.each_file(&mut |_| queued -= 1);
            unix.give_up();
        }
    }
    queued
}
