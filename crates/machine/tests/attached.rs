//! Processes that the host starts in a box that runs, and files that it reaches there. The program is compiled here; without a compiler
//! these say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use abi::Errno;
use abi::fcntl::{O_CREAT, O_TRUNC, O_WRONLY};
use kernel::attach::files;
use kernel::attach::process::ExecSpec;
use kernel::{Kernel, StartError};
use machine::{Machine, StartArgs, Step};
use mem::Phys;
use rootfs::config::BoxConfig;
use rootfs::{Metadata, Writer};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use testkit::host::TestHost;

const PROGRAM: &str = r#"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
static void winch(int s) {}
int main(int argc, char **argv) {
    char *what = argc > 1 ? argv[1] : "";
    static char buf[65536];
    ssize_t n;
    if (!strcmp(what, "cat")) {
        while ((n = read(0, buf, sizeof buf)) > 0)
            for (ssize_t at = 0; at < n;) {
                ssize_t m = write(1, buf + at, n - at);
                if (m < 0) return 9;
                at += m;
            }
        return 3;
    }
    if (!strcmp(what, "who")) {
        getcwd(buf, sizeof buf);
        printf("%d %d %d %d %s %s %s\n", getppid(), getpid() == getsid(0), getuid(), getgid(), buf,
               getenv("A") ? getenv("A") : "-", getenv("HOME"));
        fprintf(stderr, "to stderr\n");
        return 0;
    }
    if (!strcmp(what, "wait")) { write(1, "ready\n", 6); for (;;) pause(); }
    if (!strcmp(what, "yes")) { signal(SIGPIPE, SIG_IGN); while (write(1, "y\n", 2) > 0); return errno == EPIPE ? 7 : 8; }
    if (!strcmp(what, "tty")) {
        struct winsize w;
        struct sigaction a = { .sa_handler = winch };
        sigaction(SIGWINCH, &a, 0);
        ioctl(0, TIOCGWINSZ, &w);
        printf("%d %d %d %s %d\n", isatty(0), w.ws_row, w.ws_col, ttyname(0), tcgetpgrp(0) == getpid());
        fflush(stdout);
        pause();
        ioctl(0, TIOCGWINSZ, &w);
        printf("%d %d\n", w.ws_row, w.ws_col);
        fflush(stdout);
        for (;;) pause();
    }
    if (!strcmp(what, "child")) {
        if (!fork()) { sleep(1000); return 0; }
        write(1, "parent\n", 7);
        return 4;
    }
    return 5;
}
"#;

/// The program; none without a compiler.
fn program() -> Option<&'static [u8]> {
    static PROGRAM_FILE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let build = || {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (source, to) = (dir.join("attached.c"), dir.join("attached"));
        std::fs::write(&source, PROGRAM).unwrap();
        let mut gcc = Command::new("gcc");
        let status = gcc.args(["-O1", "-w", "-static"]).arg(&source).arg("-o").arg(&to).status();
        let Ok(status) = status else {
            println!("skipped: there is no gcc");
            return None;
        };
        assert!(status.success());
        Some(std::fs::read(to).unwrap())
    };
    PROGRAM_FILE.get_or_init(build).as_deref()
}

/// A box in which nothing but a first process runs.
fn paused() -> Option<Machine> {
    let program = program()?;
    let meta =
        |mode| Metadata { mode, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0, xattrs: BTreeMap::new() };
    let mut tree = Writer::new(meta(0o755));
    let root = tree.root();
    for name in ["dev", "proc", "sys", "etc", "sbin", "work"] {
        tree.dir(root, name.as_bytes(), meta(0o755)).unwrap();
    }
    tree.dir(root, b"tmp", meta(0o1777)).unwrap();
    tree.file(root, b"program", meta(0o755), program.len() as u64).unwrap();
    tree.file(root, b"text", meta(0o644), 4).unwrap();
    let contents: Vec<&[u8]> = vec![program, b"text"];
    let mut bytes = Vec::new();
    let mut files = contents.into_iter();
    tree.write(&mut bytes, |_| Ok(std::io::Cursor::new(files.next().unwrap()))).unwrap();
    let image: &'static [u8] = bytes.leak();
    let mut phys = Phys::new(256 << 20);
    let base = phys.adopt_static(image).unwrap();
    let config = BoxConfig { workdir: "/work".into(), ..BoxConfig::default() };
    let mut machine =
        Machine::boot(phys, Box::new(TestHost::default()), image, base, config).unwrap();
    machine.start(StartArgs { pause: true, ..StartArgs::default() }).unwrap();
    Some(machine)
}

/// Runs until all wait; none if the box has not ended.
fn settle(machine: &mut Machine) -> Option<i32> {
    for _ in 0..1000 {
        match machine.step(10_000_000) {
            Step::Ready => {}
            Step::Wait { .. } => return None,
            Step::Exit(status) => return Some(status),
            Step::Stopped => unreachable!("nobody has asked for that"),
        }
    }
    panic!("it does not come to rest");
}

fn spec(words: &[&str]) -> ExecSpec {
    let argv = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    ExecSpec { argv, stdin: true, outputs: [true, true], ..ExecSpec::default() }
}

/// What there is of a stream now, and whether it has ended.
fn drain(kernel: &mut Kernel, number: u32, stream: usize) -> (String, bool) {
    let (mut all, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        match kernel.drain(number, stream, &mut buf) {
            Ok(0) => return (String::from_utf8(all).unwrap(), true),
            Ok(n) => all.extend_from_slice(&buf[..n]),
            Err(Errno::EAGAIN) => return (String::from_utf8(all).unwrap(), false),
            Err(error) => panic!("{error}"),
        }
    }
}

fn status(machine: &mut Machine, number: u32) -> Option<i32> {
    machine.kernel().attached_end(number).map(|(status, _)| status)
}

#[test]
fn a_process_has_what_the_box_has() {
    let Some(mut machine) = paused() else { return };
    settle(&mut machine);
    machine.kernel().attach(1, spec(&["/program", "who"])).unwrap();
    let other = ExecSpec {
        env: vec![b"A=1".to_vec()],
        cwd: b"/tmp".to_vec(),
        user: "7:8".into(),
        ..spec(&["/program", "who"])
    };
    machine.kernel().attach(2, other).unwrap();
    assert_eq!(settle(&mut machine), None);
    assert_eq!(drain(machine.kernel(), 1, 0), ("0 1 0 0 /work - /\n".into(), true));
    assert_eq!(drain(machine.kernel(), 1, 1), ("to stderr\n".into(), true));
    assert_eq!(drain(machine.kernel(), 2, 0), ("0 1 7 8 /tmp 1 /\n".into(), true));
    assert_eq!(status(&mut machine, 1), Some(0));
    assert_eq!(status(&mut machine, 2), Some(0));
}

#[test]
fn input_comes_out_until_it_ends() {
    let Some(mut machine) = paused() else { return };
    let text = "0123456789".repeat(100_000);
    for number in 1..4 {
        machine.kernel().attach(number, spec(&["/program", "cat"])).unwrap();
    }
    for number in 1..4 {
        let (mut sent, mut came) = (0, String::new());
        while came.len() < text.len() {
            match machine.kernel().feed(number, &text.as_bytes()[sent..]) {
                Ok(n) => sent += n,
                Err(Errno::EAGAIN) => {}
                Err(error) => panic!("{error}"),
            }
            if sent == text.len() {
                machine.kernel().end_input(number);
            }
            settle(&mut machine);
            came += &drain(machine.kernel(), number, 0).0;
        }
        assert!(came == text);
        settle(&mut machine);
        assert_eq!(status(&mut machine, number), Some(3 << 8));
        assert_eq!(machine.kernel().feed(number, b"x"), Err(Errno::EPIPE));
    }
}

#[test]
fn output_that_nobody_takes() {
    let Some(mut machine) = paused() else { return };
    for number in 1..4 {
        machine.kernel().attach(number, spec(&["/program", "yes"])).unwrap();
    }
    settle(&mut machine);
    // EPIPE for the first; the second waits; what the third writes is lost.
    machine.kernel().close_output(1, 0);
    machine.kernel().let_go(3);
    for _ in 0..20 {
        machine.step(1_000_000);
    }
    assert_eq!(status(&mut machine, 1), Some(7 << 8));
    assert_eq!(status(&mut machine, 2), None);
    assert_eq!(machine.step(1_000_000), Step::Ready, "the third goes on writing");
    machine.kernel().signal_attached(2, 15);
    for _ in 0..20 {
        machine.step(1_000_000);
    }
    assert_eq!(status(&mut machine, 2), Some(15));
}

#[test]
fn a_terminal_of_its_own() {
    let Some(mut machine) = paused() else { return };
    let tty = ExecSpec { terminal: Some((33, 101)), ..spec(&["/program", "tty"]) };
    machine.kernel().attach(1, tty).unwrap();
    settle(&mut machine);
    assert_eq!(drain(machine.kernel(), 1, 0).0, "1 33 101 /dev/pts/0 1\r\n");
    machine.kernel().resize(1, 50, 60);
    settle(&mut machine);
    assert_eq!(drain(machine.kernel(), 1, 0).0, "50 60\r\n");
    assert_eq!(machine.kernel().feed(1, b"\x03"), Ok(1));
    settle(&mut machine);
    // SIGINT.
    assert_eq!(status(&mut machine, 1), Some(2));
    assert_eq!(drain(machine.kernel(), 1, 0), ("^C".into(), true));
    // A terminal that its host leaves hangs up.
    let tty = ExecSpec { terminal: Some((0, 0)), ..spec(&["/program", "wait"]) };
    let pid = machine.kernel().attach(2, tty).unwrap();
    settle(&mut machine);
    machine.kernel().let_go(2);
    settle(&mut machine);
    assert!(machine.kernel().tasks.process(pid).is_none());
}

#[test]
fn what_cannot_be_started() {
    let Some(mut machine) = paused() else { return };
    let kernel = machine.kernel();
    let before = kernel.tasks.processes().count();
    let of = |words: &[&str]| spec(words);
    assert_eq!(kernel.attach(1, of(&["nope"])), Err(StartError::NotFound("nope".into())));
    assert_eq!(
        kernel.attach(1, of(&["/text"])),
        Err(StartError::NotExecutable("/text".into(), Errno::EACCES))
    );
    let cwd = ExecSpec { cwd: b"/no".to_vec(), ..of(&["/program"]) };
    assert_eq!(kernel.attach(1, cwd), Err(StartError::Cwd("/no".into(), Errno::ENOENT)));
    let user = ExecSpec { user: "nobody".into(), ..of(&["/program"]) };
    assert_eq!(kernel.attach(1, user), Err(StartError::User("nobody".into())));
    assert_eq!(kernel.attach(1, of(&[])), Err(StartError::NoCommand));
    assert_eq!(kernel.tasks.processes().count(), before);
}

#[test]
fn children_that_hold_the_stream() {
    let Some(mut machine) = paused() else { return };
    machine.kernel().attach(1, spec(&["/program", "child"])).unwrap();
    settle(&mut machine);
    let (status, left) = machine.kernel().attached_end(1).unwrap();
    assert_eq!((status, left), (4 << 8, [7, 0]));
    assert_eq!(drain(machine.kernel(), 1, 0), ("parent\n".into(), false));
}

#[test]
fn all_end_with_the_first_process() {
    let Some(mut machine) = paused() else { return };
    machine.kernel().attach(1, spec(&["/program", "wait"])).unwrap();
    settle(&mut machine);
    machine.kernel().signal_init(15);
    assert_eq!(settle(&mut machine), Some(128 + 15));
    assert_eq!(drain(machine.kernel(), 1, 0), ("ready\n".into(), true));
    assert_eq!(status(&mut machine, 1), Some(9));
    assert_eq!(machine.kernel().attach(2, spec(&["/program"])), Err(StartError::Over));
}

#[test]
fn files_are_reached() {
    let Some(mut machine) = paused() else { return };
    let kernel = machine.kernel();
    let read = |kernel: &mut Kernel, path: &[u8], user: &str| {
        kernel.open_held(1, user, path, 0, 0)?;
        let mut buf = vec![0; 100];
        let len = kernel.read_held(1, 0, &mut buf);
        kernel.close_held(1).unwrap();
        len.map(|len| buf[..len].to_vec())
    };
    assert_eq!(read(kernel, b"/text", ""), Ok(b"text".to_vec()));
    assert_eq!(read(kernel, b"text", "7"), Ok(b"text".to_vec()));
    assert_eq!(read(kernel, b"/dev/zero", ""), Err(Errno::EOPNOTSUPP));
    assert_eq!(read(kernel, b"/text", "nobody"), Err(Errno::EINVAL));
    let write = O_WRONLY | O_CREAT | O_TRUNC;
    assert_eq!(kernel.open_held(1, "7", b"/etc/new", write, 0o644), Err(Errno::EACCES));
    kernel.watch(9, "", b"/tmp", true).unwrap();
    let made = kernel.with_files("7", |cx, at| files::mkdir(cx, at, b"/tmp/a/b", 0o700, true));
    assert_eq!(made, Ok(()));
    kernel.open_held(1, "7", b"/tmp/a/b/c", write, 0o644).unwrap();
    assert_eq!(kernel.write_held(1, 2, b"xyz"), Ok(3));
    kernel.close_held(1).unwrap();
    assert_eq!(read(kernel, b"/tmp/a/b/c", ""), Ok(b"\0\0xyz".to_vec()));
    assert_eq!(read(kernel, b"/tmp/a/b/c", "8"), Err(Errno::EACCES));
    let stat = kernel.with_files("", |cx, at| files::stat(cx, at, b"/tmp/a/b/c", true)).unwrap();
    assert_eq!((stat.uid, stat.size, stat.mode & 0o7777), (7, 5, 0o644));
    let mut seen = Vec::new();
    kernel.seen(
        |number, (mask, _, path)| seen.push((number, mask, String::from_utf8(path).unwrap())),
        || true,
    );
    for path in ["a", "a/b", "a/b/c"] {
        assert!(seen.iter().any(|s| s.0 == 9 && s.1 & 0x100 != 0 && s.2 == path), "{seen:?}");
    }
    kernel.open_held(1, "", b"/tmp/a", 0, 0).unwrap();
    let mut names = Vec::new();
    kernel
        .list_held(1, |item, meta| {
            names.push((item.name.to_vec(), meta.is_some()));
            true
        })
        .unwrap();
    kernel.close_held(1).unwrap();
    assert_eq!(names, [(b"b".to_vec(), true)]);
    let remove = |kernel: &mut Kernel, recursive| {
        kernel.with_files("", |cx, at| files::remove(cx, at, b"/tmp/a", recursive))
    };
    assert_eq!(remove(kernel, false), Err(Errno::ENOTEMPTY));
    assert_eq!(remove(kernel, true), Ok(()));
    assert_eq!(read(kernel, b"/tmp/a/b/c", ""), Err(Errno::ENOENT));
    assert_eq!(kernel.close_held(1), Err(Errno::EBADF));
    assert_eq!(kernel.unwatch(9), Ok(()));
}
