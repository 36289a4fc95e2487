//! `boxer exec`, `cp`, `stop` and `kill`. These need the guest program in the `boxer` under test, and a C compiler; without either they say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use harness::Home;

const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    static char buf[65536];
    char *what = argc > 1 ? argv[1] : "";
    ssize_t n;
    if (!strcmp(what, "cat")) {
        while ((n = read(0, buf, sizeof buf)) > 0)
            for (ssize_t at = 0; at < n;) at += write(1, buf + at, n - at);
        return 3;
    }
    if (!strcmp(what, "who")) {
        printf("%d %d %s %s\n", getppid(), getuid(), getcwd(buf, sizeof buf), getenv("A") ? getenv("A") : "-");
        return 0;
    }
    if (!strcmp(what, "wait")) { write(1, "ready\n", 6); for (;;) pause(); }
    if (!strcmp(what, "yes")) while (write(1, "y\n", 2) > 0);
    return 5;
}
"#;

/// A process that is killed when the test is over.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Home {
    /// With a box `work` of the program; none where there is no guest program or compiler.
    fn new() -> Option<Home> {
        let home = Home::empty();
        fs::write(home.path("program.c"), PROGRAM).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-O1", "-w", "-static"]).arg(home.path("program.c"));
        let Ok(status) = gcc.arg("-o").arg(home.path("context/program")).status() else {
            println!("skipped: there is no gcc");
            return None;
        };
        assert!(status.success());
        let text =
            "FROM scratch\nCOPY program /\nCOPY --chown=5:6 program /dir/theirs\nWORKDIR /dir\n";
        home.builds(text, &["-t", "work"]).then_some(home)
    }

    /// Starts a box in which nothing but a first process runs.
    fn pause(&self, name: &str) -> Killed {
        let child = Killed(self.start(&["run", "--name", name, "--pause", "work"]));
        let until = Instant::now() + Duration::from_secs(60);
        while self.run(&["exec", name, "/program"], b"").0 != 5 {
            assert!(Instant::now() < until, "it does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        child
    }
}

#[test]
fn commands_in_a_box_that_runs() {
    let Some(home) = Home::new() else { return };
    let mut run = home.pause("a");
    let exec = |args: &[&str], input: &[u8]| {
        let (code, stdout, _) = home.run(&[&["exec"], args].concat(), input);
        (code, stdout)
    };
    assert_eq!(exec(&["a", "/program", "who"], b""), (0, b"0 0 /dir -\n".to_vec()));
    let given = ["-u", "7", "-w", "/", "-e", "A=1", "a", "/program", "who"];
    assert_eq!(exec(&given, b""), (0, b"0 7 / 1\n".to_vec()));
    assert_eq!(exec(&["a", "nope"], b"").0, 127);
    assert_eq!(exec(&["a", "/dir"], b"").0, 126);
    assert_eq!(exec(&["-w", "/nope", "a", "/program"], b"").0, 126);
    assert_eq!(exec(&["-u", "nobody", "a", "/program"], b"").0, 125);
    assert_eq!(exec(&["nobody", "/program"], b"").0, 125);
    assert_eq!(exec(&["--privileged", "a", "/program"], b"").0, 2);
    let much: Vec<u8> = (0..10_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (code, came) = exec(&["-i", "a", "/program", "cat"], &much);
    assert!(code == 3 && came == much);
    // Without -i there is no input.
    assert_eq!(exec(&["a", "/program", "cat"], b"text"), (3, Vec::new()));
    // Who reads no more ends the writer.
    let mut yes = home.start(&["exec", "a", "/program", "yes"]);
    yes.stdout.take().unwrap().read_exact(&mut [0; 4]).unwrap();
    assert_eq!(yes.wait().unwrap().code(), Some(128 + 13));
    // A client that is killed leaves its process.
    let mut client = home.start(&["exec", "a", "/program", "wait"]);
    client.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(exec(&["a", "/program", "who"], b"").0, 0);
    // One that runs hears of the end of the box.
    let mut client = home.start(&["exec", "a", "/program", "wait"]);
    client.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    assert_eq!(home.run(&["stop", "a"], b"").0, 0);
    assert_eq!(client.wait().unwrap().code(), Some(128 + 9));
    assert_eq!(run.0.wait().unwrap().code(), Some(128 + 15));
}

#[test]
fn a_box_is_frozen_while_a_command_runs() {
    let Some(home) = Home::new() else { return };
    let run = home.pause("b");
    let mut client = home.start(&["exec", "-i", "b", "/program", "cat"]);
    let (mut stdin, mut stdout) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let mut say = |text: &[u8]| {
        stdin.write_all(text).unwrap();
        let mut came = vec![0; text.len()];
        stdout.read_exact(&mut came).unwrap();
        assert_eq!(came, text);
    };
    say(b"before");
    let freeze = ["freeze", "--keep-running", "-o", "state.wasm", "b"];
    let (code, _, stderr) = home.run(&freeze, b"");
    assert_eq!(code, 0, "{stderr}");
    // It goes on, and so does the command; in the copy its input has ended.
    say(b"after");
    let copy = Killed(home.start(&["run", "--name", "c", "state.wasm"]));
    let until = Instant::now() + Duration::from_secs(60);
    while home.run(&["exec", "c", "/program", "who"], b"").1 != b"0 0 /dir -\n" {
        assert!(Instant::now() < until, "it does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    say(b"still");
    drop(stdin);
    assert_eq!(client.wait().unwrap().code(), Some(3));
    assert_eq!(home.run(&["kill", "-s", "TERM", "c"], b"").0, 0);
    drop((copy, run));
}

#[test]
fn files_go_both_ways() {
    let Some(home) = Home::new() else { return };
    let _run = home.pause("d");
    let ok = |args: &[&str]| {
        let (code, _, stderr) = home.run(args, b"");
        assert_eq!(code, 0, "{args:?}: {stderr}");
    };
    fs::create_dir_all(home.path("tree/in")).unwrap();
    fs::write(home.path("tree/file"), vec![7; 100_000]).unwrap();
    std::os::unix::fs::symlink("file", home.path("tree/link")).unwrap();
    ok(&["cp", "tree", "d:/dir"]);
    ok(&["cp", "tree/.", "d:/dir/new"]);
    ok(&["cp", "d:/dir/tree", "back"]);
    ok(&["cp", "d:dir/new/file", "one"]);
    assert_eq!(fs::read(home.path("back/file")).unwrap(), vec![7; 100_000]);
    assert_eq!(fs::read(home.path("one")).unwrap(), vec![7; 100_000]);
    assert_eq!(fs::read_link(home.path("back/link")).unwrap(), PathBuf::from("file"));
    assert!(home.path("back/in").is_dir());
    let (code, archive, _) = home.run(&["cp", "d:/dir/theirs", "-"], b"");
    // Owner and group of a tar header are octal digits.
    assert_eq!((code, &archive[108..124]), (0, b"0000005\x000000006\x00".as_slice()));
    assert_eq!(home.run(&["cp", "-a", "-", "d:/dir/tree"], &archive).0, 0);
    let run = ["exec", "d", "/dir/tree/theirs", "who"];
    assert_eq!(home.run(&run, b"").1, b"0 0 /dir -\n");
    assert_ne!(home.run(&["cp", "tree", "d:/program"], b"").0, 0);
    assert_ne!(home.run(&["cp", "d:/nope", "."], b"").0, 0);
}
