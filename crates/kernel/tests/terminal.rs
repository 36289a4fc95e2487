//! The line discipline (termios(3)): what a reader gets and what the terminal shows for what is typed. And the terminal of a box.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::field_reassign_with_default
)]

mod harness;

use abi::Errno;
use abi::signal::{SIGINT, SIGQUIT, SIGTSTP};
use abi::tty::*;
use harness::Sys;
use kernel::file::tty::discipline::Discipline;
use kernel::{Sched, StartSpec};

/// What is typed, what each read gives, what is shown.
type Case = (&'static [u8], &'static [&'static [u8]], &'static [u8]);

/// Types `input`; what each read gives until one would wait, and what was shown.
fn typed(line: &mut Discipline, input: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>, Option<u32>) {
    let signals: Vec<u32> = input.iter().filter_map(|b| line.receive(*b)).collect();
    let mut reads = Vec::new();
    while line.readable().is_some_and(|n| n > 0 || !line.lines.is_empty()) {
        let mut buf = [0; 100];
        let n = line.take(&mut buf);
        reads.push(buf[..n].to_vec());
    }
    (reads, line.output.drain(..).collect(), signals.first().copied())
}

#[test]
fn canonical_editing_and_echo() {
    // Typed, read, shown: as a pseudo-terminal of Linux gave them.
    let cases: [Case; 9] = [
        (b"abc\x7fd\n", &[b"abd\n"], b"abc\x08 \x08d\r\n"),
        (b"one two\x17three\n", &[b"one three\n"], b"one two\x08 \x08\x08 \x08\x08 \x08three\r\n"),
        (b"no\x15ok\n", &[b"ok\n"], b"no\x08 \x08\x08 \x08ok\r\n"),
        (b"part\x04", &[b"part"], b"part"),
        (b"\x04", &[b""], b""),
        (b"l1\nl2\n", &[b"l1\n", b"l2\n"], b"l1\r\nl2\r\n"),
        (b"cr\r", &[b"cr\n"], b"cr\r\n"),
        (b"\x16\x03\n", &[b"\x03\n"], b"^\x08^C\r\n"),
        (b"unfinished", &[], b"unfinished"),
    ];
    for (input, reads, shown) in cases {
        let (got, screen, signal) = typed(&mut Discipline::default(), input);
        assert_eq!(got, reads, "{}", input.escape_ascii());
        assert_eq!(screen, shown, "{}", input.escape_ascii());
        assert_eq!(signal, None);
    }
}

#[test]
fn signals_drop_the_line() {
    for (byte, signal, shown) in
        [(3, SIGINT, b"xy^C"), (28, SIGQUIT, b"xy^\\"), (26, SIGTSTP, b"xy^Z")]
    {
        let mut line = Discipline::default();
        let (reads, screen, got) = typed(&mut line, &[b'x', b'y', byte]);
        assert_eq!((reads.len(), got), (0, Some(signal)));
        assert_eq!(screen, shown);
        assert_eq!(typed(&mut line, b"z\n").0, [b"z\n"]);
    }
}

#[test]
fn raw_mode_passes_everything() {
    let mut line = Discipline::default();
    let mut raw = line.termios.clone();
    raw.lflag &= !(ICANON | ECHO | ISIG | IEXTEN);
    raw.iflag = 0;
    raw.oflag = 0;
    line.set_termios(raw);
    let (reads, screen, signal) = typed(&mut line, b"a\x03\r\x7f");
    assert_eq!((reads, screen, signal), (vec![b"a\x03\r\x7f".to_vec()], Vec::new(), None));
    line.emit(b"a\nb");
    assert_eq!(line.output, b"a\nb".to_vec());
    // A short read leaves the rest.
    line.receive(b'1');
    line.receive(b'2');
    let mut one = [0];
    assert_eq!((line.take(&mut one), one), (1, *b"1"));
    assert_eq!(line.readable(), Some(1));
}

#[test]
fn a_terminal_that_edits_lines_itself_shows_nothing_twice() {
    let mut line = Discipline::default();
    line.is_edited = true;
    let (reads, screen, _) = typed(&mut line, b"typed\n");
    assert_eq!((reads, screen), (vec![b"typed\n".to_vec()], Vec::new()));
    line.emit(b"told\n");
    assert_eq!(line.output, b"told\n".to_vec());
}

#[test]
fn input_is_bounded() {
    let mut line = Discipline::default();
    for _ in 0..100_000 {
        line.receive(b'x');
    }
    line.receive(b'\n');
    assert!(line.input.len() <= 4097);
}

/// Where the descriptor `fd` leads, and the device number there.
fn terminal_of(sys: &mut Sys, fd: u64) -> (String, u64) {
    let (path, out) = (sys.string(&format!("/proc/self/fd/{fd}")), sys.map(4096));
    let len = sys.ok(89, &[path, out, 4096]);
    let mut name = vec![0; len as usize];
    sys.k.mm.read_user(out, &mut name).unwrap();
    sys.ok(5, &[fd, out]);
    (String::from_utf8(name).unwrap(), sys.peek64(out + 40))
}

#[test]
fn the_terminal_of_a_box_is_the_first_pseudo_terminal() {
    let (mut k, outside) = Sys::kernel(64 << 20);
    let spec = StartSpec { argv: vec![b"/init".to_vec()], tty: true, ..StartSpec::default() };
    let tid = k.start(spec).unwrap();
    let mut sys = Sys { k, tid, outside };
    sys.run(tid);
    // pts(4): major 136.
    for fd in 0..3 {
        assert_eq!(terminal_of(&mut sys, fd), ("/dev/pts/0".to_owned(), 136 << 8));
    }
    // The same one lies over /dev/console; what programs open gets the next number.
    let console = sys.string("/dev/console");
    let fd = sys.ok(2, &[console, 2, 0]);
    assert_eq!(terminal_of(&mut sys, fd), ("/dev/console".to_owned(), 136 << 8));
    let ptmx = sys.string("/dev/ptmx");
    let (master, number) = (sys.ok(2, &[ptmx, 2, 0]), sys.map(4096));
    sys.ok(16, &[master, u64::from(TIOCGPTN), number]);
    assert_eq!(sys.peek32(number), 1);

    let mut plain = Sys::new();
    let console = plain.string("/dev/console");
    assert_eq!(plain.err(2, &[console, 2, 0]), Errno::ENOENT);
}

#[test]
fn a_terminal_that_edits_lines_itself_is_read_for_readers_and_by_who_waits_for_nothing_else() {
    for (edits, call, wanted) in [
        // nanosleep, pause, read
        (false, 35, true),
        (true, 35, false),
        (true, 34, true),
        (true, 0, true),
    ] {
        let (mut k, outside) = Sys::kernel(64 << 20);
        outside.edits_lines.set(edits);
        let spec = StartSpec { argv: vec![b"/init".to_vec()], tty: true, ..StartSpec::default() };
        let tid = k.start(spec).unwrap();
        let mut sys = Sys { k, tid, outside };
        sys.run(tid);
        let at = sys.map(4096);
        sys.poke64(at, 2);
        match call {
            0 => sys.blocks(0, &[0, at, 10]),
            _ => sys.blocks(call, &[at, 0]),
        }
        let idle = sys.k.schedule();
        assert!(
            matches!(idle, Sched::Idle { stdin, .. } if stdin == wanted),
            "{edits} {call}: {idle:?}"
        );
    }
}
