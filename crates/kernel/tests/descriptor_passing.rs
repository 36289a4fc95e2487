//! Descriptors on their way through unix sockets (unix(7), `SCM_RIGHTS`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::Sys;
use kernel::file::socket::OpenSockets;

/// A message of one byte with descriptor `fd`, for sendmsg(2): the address of its header.
fn message(sys: &mut Sys, at: u64, fd: u64) -> u64 {
    // The byte's vector at 64, the control message at 128.
    for (offset, word) in [(16, at + 64), (24, 1), (32, at + 128), (40, 24), (64, at), (72, 1)] {
        sys.poke64(at + offset, word);
    }
    // Length, level SOL_SOCKET and type SCM_RIGHTS.
    for (offset, word) in [(128, 20), (136, 1 | 1 << 32), (144, fd)] {
        sys.poke64(at + offset, word);
    }
    at
}

#[test]
fn sockets_in_each_others_queues_do_not_stay() {
    let mut sys = Sys::new();
    let at = sys.map(4096);
    let pair = at + 2048;
    for _ in 0..2000 {
        sys.ok(53, &[1, 1, 0, pair]);
        let (a, b) = (u64::from(sys.peek32(pair)), u64::from(sys.peek32(pair + 4)));
        // Each lies in the other's queue, then nobody has either.
        for (over, sent) in [(a, a), (b, b)] {
            let header = message(&mut sys, at, sent);
            sys.ok(46, &[over, header, 0]);
        }
        sys.ok(3, &[a]);
        sys.ok(3, &[b]);
        // What was given up is dropped between two turns.
        let tid = sys.tid;
        sys.run(tid);
    }
    let left = sys.k.shared.registry::<OpenSockets>().all().len();
    assert!(left < 300, "{left} sockets are left");
}

#[test]
fn a_socket_on_its_way_to_somebody_arrives() {
    let mut sys = Sys::new();
    let at = sys.map(4096);
    let pair = at + 2048;
    sys.ok(53, &[1, 1, 0, pair]);
    let (a, b) = (u64::from(sys.peek32(pair)), u64::from(sys.peek32(pair + 4)));
    sys.ok(53, &[1, 1, 0, pair]);
    let (c, d) = (u64::from(sys.peek32(pair)), u64::from(sys.peek32(pair + 4)));
    // c, whose queue holds d, lies in the queue of b; nobody has c or d themselves.
    let header = message(&mut sys, at, d);
    sys.ok(46, &[d, header, 0]);
    let header = message(&mut sys, at, c);
    sys.ok(46, &[a, header, 0]);
    sys.ok(3, &[c]);
    sys.ok(3, &[d]);
    // Much else is sent and received meanwhile, so that garbage is looked for.
    sys.ok(53, &[1, 1, 0, pair]);
    let (e, f) = (u64::from(sys.peek32(pair)), u64::from(sys.peek32(pair + 4)));
    for _ in 0..300 {
        let header = message(&mut sys, at, e);
        sys.ok(46, &[e, header, 0]);
        sys.ok(0, &[f, at + 1024, 8]);
    }
    let header = message(&mut sys, at, 0);
    sys.ok(47, &[b, header, 0]);
    let c = u64::from(sys.peek32(at + 144));
    let header = message(&mut sys, at, 0);
    sys.ok(47, &[c, header, 0]);
    let d = u64::from(sys.peek32(at + 144));
    sys.ok(1, &[d, at, 5]);
    assert_eq!(sys.ok(0, &[c, at, 100]), 5);
}
