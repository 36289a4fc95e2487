//! `boxer run --name`, `freeze`, `fork` and `ps`. These need the guest program in the `boxer` under test; without it they say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod harness;

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use harness::Home;

/// A program of one segment at 0x400000 that touches memory, reads a byte, prints it and 16 random bytes.
fn program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEAD: u64 = 64 + 56;
    const CODE: &[u8] = b"\x31\xff\xbe\x00\x00\x20\x03\xba\x03\x00\x00\x00\x41\xba\x22\x00\x00\x00\x49\xc7\xc0\xff\xff\xff\xff\x45\x31\xc9\
    \xb8\x09\x00\x00\x00\x0f\x05\x48\x89\xc3\x31\xc9\xc6\x04\x0b\x2a\x81\xc1\x00\x10\x00\x00\x81\xf9\x00\x00\x20\x03\
    \x72\xee\x31\xff\x48\x8d\x74\x24\xc0\xba\x01\x00\x00\x00\x31\xc0\x0f\x05\x48\x8d\x7c\x24\xc1\xbe\x10\x00\x00\x00\
    \x31\xd2\xb8\x3e\x01\x00\x00\x0f\x05\xbf\x01\x00\x00\x00\x48\x8d\x74\x24\xc0\xba\x11\x00\x00\x00\xb8\x01\x00\x00\
    \x00\x0f\x05\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05";
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    [BASE + HEAD, 64, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    [0_u16, 0, 64, 56, 1, 64, 0, 0].iter().for_each(|half| file.extend(half.to_le_bytes()));
    [1_u32, 5].iter().for_each(|word| file.extend(word.to_le_bytes()));
    let len = HEAD + CODE.len() as u64;
    [0, BASE, BASE, len, len, 4096].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(CODE);
    file
}

impl Home {
    /// With a box `touch`; none where there is no guest program.
    fn new() -> Option<Home> {
        let home = Home::empty();
        fs::write(home.path("context/program"), program()).unwrap();
        let text = "FROM scratch\nCOPY --chmod=755 program /\nCMD [\"/program\"]\n";
        home.builds(text, &["-t", "touch"]).then_some(home)
    }

    fn ok(&self, args: &[&str], input: &str) -> Vec<u8> {
        let (code, stdout, stderr) = self.run(args, input.as_bytes());
        assert_eq!(code, 0, "{args:?}: {stderr}");
        stdout
    }

    fn refused(&self, args: &[&str], why: &str) {
        let (code, _, stderr) = self.run(args, b"");
        assert!(code == 125 && stderr.contains(why), "{args:?}: {code} {stderr}");
    }

    /// Waits until a box has this name.
    fn wait_for(&self, name: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !String::from_utf8(self.ok(&["ps"], "")).unwrap().contains(&format!("{name} ")) {
            assert!(Instant::now() < end, "{name} does not run");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_box_that_runs_is_frozen_and_forked_by_its_name() {
    let Some(home) = Home::new() else { return };
    home.refused(&["freeze", "work", "-o", "x.wasm"], "no box of the name \"work\" runs");
    let mut run = home.start(&["run", "--name", "work", "touch"]);
    let input = run.stdin.take().unwrap();
    home.wait_for("work");
    home.refused(&["run", "--name", "work", "touch"], "the name \"work\" is in use");
    home.refused(&["freeze", "other", "-o", "x.wasm"], "no box of the name \"other\" runs");
    home.refused(&["freeze", "work", "-o", "nowhere/x.wasm"], "work: ");

    // It goes on, and so does what was stored.
    home.ok(&["freeze", "work", "-t", "kept", "--keep-running"], "");
    assert_eq!(home.ok(&["run", "kept"], "k").first(), Some(&b'k'));
    let listing = String::from_utf8(home.ok(&["images"], "")).unwrap();
    let kept = listing.lines().find(|line| line.starts_with("kept:latest")).unwrap();
    assert!(kept.ends_with(" touch:latest") && listing.contains("PARENT"), "{listing}");
    let inspected = String::from_utf8(home.ok(&["inspect", "kept"], "")).unwrap();
    assert!(inspected.contains("\"parent\": \"sha256:"), "{inspected}");

    // Frozen again, it is as large as what has changed since, however much is in it.
    let mut again = home.start(&["run", "--name", "again", "kept"]);
    home.wait_for("again");
    home.ok(&["freeze", "again", "-t", "second"], "");
    drop(again.stdin.take());
    assert_eq!(again.wait().unwrap().code(), Some(147));
    let difference = fs::read_dir(home.path("store/differences")).unwrap().next().unwrap().unwrap();
    let size = difference.metadata().unwrap().len();
    assert!(size < 8 << 20, "{size} of more than 50 MB");
    for _ in 0..2 {
        assert_eq!(home.ok(&["run", "second"], "2").first(), Some(&b'2'));
        home.ok(&["rmi", "kept"], "");
        home.ok(&["prune"], "");
        home.ok(&["tag", "second", "kept"], "");
    }

    // Two lives with chance of their own: a byte that nobody gives, and 16 random ones.
    let forks = home.ok(&["fork", "work", "--count", "2"], "");
    assert_eq!(forks.len(), 34);
    assert_ne!(forks[1..17], forks[18..]);

    home.ok(&["freeze", "work", "-o", "state.wasm"], "");
    drop(input);
    let status = run.wait().unwrap();
    let mut stdout = Vec::new();
    run.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(147), 0));
    assert_eq!(home.ok(&["run", "state.wasm"], "s").first(), Some(&b's'));
    assert_eq!(fs::read_dir(home.path("run/boxer/run")).unwrap().count(), 0, "something is left");

    // Half a file is none.
    let half = fs::read(home.path("state.wasm")).unwrap();
    fs::write(home.path("half.wasm"), &half[..half.len() / 2]).unwrap();
    let (code, _, stderr) = home.run(&["run", "half.wasm"], b"");
    assert_eq!(code, 125, "{stderr}");
}

#[test]
fn a_name_is_free_when_its_process_is_gone() {
    let Some(home) = Home::new() else { return };
    let mut run = home.start(&["run", "--name", "gone", "touch"]);
    home.wait_for("gone");
    run.kill().unwrap();
    run.wait().unwrap();
    home.refused(&["freeze", "gone", "-o", "x.wasm"], "no box of the name \"gone\" runs");
    assert_eq!(home.ok(&["run", "--name", "gone", "touch"], "g").first(), Some(&b'g'));
}

#[test]
fn input_that_ends_freezes_a_box_that_waits_for_it() {
    let Some(home) = Home::new() else { return };
    let args = ["run", "--freeze-on=stdin-eof", "--freeze-to", "state.wasm", "touch"];
    let (code, stdout, stderr) = home.run(&args, b"");
    assert_eq!((code, stdout.len()), (147, 0), "{stderr}");
    assert!(stderr.contains("boxer: frozen to state.wasm"), "{stderr}");
    assert_eq!(home.ok(&["run", "state.wasm"], "i").first(), Some(&b'i'));
    let (code, _, stderr) = home.run(&["run", "--freeze-on=idle", "touch"], b"");
    assert!(code == 2 && stderr.contains("--freeze-to"), "{stderr}");
}
