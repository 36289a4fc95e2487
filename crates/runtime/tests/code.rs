//! Compiled code: who shares it, when it is made, and what happens to it and to a box's file.
#![allow(clippy::unwrap_used)] // the helpers of tests are tests, too

use link::{LinkInput, Linker, Output as Form};
use rootfs::config::BoxConfig;
use runtime::{Input, Outcome, Output, RunOptions, Runtime};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Bench {
    dir: tempfile::TempDir,
    guest: Vec<u8>,
}

impl Bench {
    fn new() -> Bench {
        let guest = wat::parse_str(include_str!("toy.wat")).unwrap();
        Bench { dir: tempfile::tempdir().unwrap(), guest }
    }

    /// As another process would have it.
    fn runtime(&self) -> Runtime {
        Runtime::with_cache_dir(&self.dir.path().join("code")).unwrap()
    }

    /// A box whose image is `len` times `byte`, in a file; what it prints ends with the byte after that.
    fn link(&self, name: &str, byte: u8, len: usize, output: Form) -> PathBuf {
        let image = vec![byte; len];
        let path = self.dir.path().join(name);
        let input = LinkInput {
            image: &mut &*image,
            image_len: len as u64,
            boot_len: 100,
            config: &BoxConfig::default(),
            image_config_json: None,
            output,
            frozen: None,
        };
        let mut out = fs::File::create(&path).unwrap();
        Linker::new(&self.guest, self.runtime().cache().clone()).link(input, &mut out).unwrap();
        path
    }

    /// The compiled code that there is, by the files' names and numbers.
    fn entries(&self) -> BTreeMap<PathBuf, u64> {
        let files = fs::read_dir(self.dir.path().join("code")).unwrap().map(Result::unwrap);
        let entries = files.filter(|file| file.path().extension().is_some_and(|e| e == "cwasm"));
        entries.map(|file| (file.path(), file.metadata().unwrap().ino())).collect()
    }

    fn says(&self, path: &Path, byte: char) {
        expect(&self.runtime().run_file(path, captured()).unwrap(), byte);
    }
}

fn captured() -> RunOptions {
    RunOptions {
        stdin: Input::Empty,
        stdout: Output::Capture,
        stderr: Output::Capture,
        ..RunOptions::default()
    }
}

fn expect(outcome: &Outcome, byte: char) {
    let said = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert_eq!((said, outcome.status), (format!("state: {byte}1\n"), 7));
}

#[test]
fn boxes_of_one_guest_share_its_code() {
    let bench = Bench::new();
    let first = bench.link("first.wasm", b'a', 300_000, Form::Module);
    let linking = bench.entries();
    bench.runtime().settle_file(&first).unwrap();
    let ready = bench.entries();
    assert_eq!(ready.len(), linking.len() + 1);
    bench.says(&first, 'b');
    // With more memory, and other bytes in it.
    let second = bench.link("second.wasm", b'c', 3 << 20, Form::Module);
    bench.says(&second, 'd');
    assert_eq!(bench.entries(), ready);
}

#[test]
fn what_is_ready_is_not_compiled_again() {
    let bench = Bench::new();
    for form in [Form::Module, Form::Component] {
        let path = bench.link("box.wasm", b'a', 300_000, form);
        bench.runtime().settle_file(&path).unwrap();
        let ready = bench.entries();
        bench.says(&path, 'b');
        bench.says(&path, 'b');
        assert_eq!(bench.entries(), ready, "{form:?}");
    }
}

#[test]
fn a_file_with_other_bytes_is_another_box() {
    let bench = Bench::new();
    for form in [Form::Module, Form::Component] {
        let path = bench.link("box.wasm", b'a', 300_000, form);
        bench.runtime().settle_file(&path).unwrap();
        bench.says(&path, 'b');
        let other = fs::read(bench.link("other.wasm", b'x', 300_000, form)).unwrap();
        // In place, with the length and the time of before.
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&other, 0).unwrap();
        file.set_modified(time).unwrap();
        bench.says(&path, 'y');
        for len in [other.len() as u64 - 1, 5000, 9, 0] {
            file.set_len(len).unwrap();
            bench.runtime().run_file(&path, captured()).unwrap_err();
        }
    }
}

#[test]
fn a_flipped_bit_in_the_cache_costs_time_only() {
    let bench = Bench::new();
    let path = bench.link("box.wasm", b'a', 300_000, Form::Module);
    bench.runtime().settle_file(&path).unwrap();
    let files: Vec<PathBuf> = fs::read_dir(bench.dir.path().join("code"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    assert!(files.iter().any(|file| file.extension().is_some_and(|e| e == "of")), "{files:?}");
    for file in files {
        let len = fs::read(&file).unwrap().len();
        for k in 0..24 {
            let (at, bit) = (k * (len - 1) / 23, k % 8);
            let mut bytes = fs::read(&file).unwrap();
            bytes[at] ^= 1 << bit;
            // In place: a mapping of it would show it.
            fs::File::options().write(true).open(&file).unwrap().write_all_at(&bytes, 0).unwrap();
            bench.says(&path, 'b');
        }
    }
}

#[test]
fn without_a_cache_boxes_run_all_the_same() {
    let bench = Bench::new();
    let blocked = bench.dir.path().join("blocked");
    fs::write(&blocked, "no folder").unwrap();
    for form in [Form::Module, Form::Component] {
        let path = bench.link("box.wasm", b'a', 300_000, form);
        for dir in [blocked.clone(), blocked.join("below"), "/proc/self/nothing".into()] {
            let runtime = Runtime::with_cache_dir(&dir).unwrap();
            runtime.settle_file(&path).unwrap();
            expect(&runtime.run_file(&path, captured()).unwrap(), 'b');
        }
    }
}

#[test]
fn a_box_comes_through_a_pipe() {
    let bench = Bench::new();
    for form in [Form::Module, Form::Component] {
        let bytes = fs::read(bench.link("box.wasm", b'a', 300_000, form)).unwrap();
        let pipe = bench.dir.path().join("pipe");
        let _ = fs::remove_file(&pipe);
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::thread::scope(|scope| {
            scope.spawn(|| fs::File::options().write(true).open(&pipe).unwrap().write_all(&bytes));
            bench.says(&pipe, 'b');
        });
    }
}

/// Waits for a byte from standard input, then reads its memory's middle and exits with what is there.
const READER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 4)
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 32))
        (i32.store (i32.const 4) (i32.const 1))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
        (call $exit (i32.load8_u (i32.const 150000)))))"#;

/// The file that [`a_reader`] runs.
const BOX: &str = "BOXER_TEST_BOX";

/// The other process of `a_file_that_becomes_shorter_ends_the_run_with_a_message`.
#[test]
fn a_reader() {
    let Some(path) = std::env::var_os(BOX).map(PathBuf::from) else { return };
    let cache = path.with_extension("code");
    let outcome = Runtime::with_cache_dir(&cache).unwrap().run_file(&path, RunOptions::default());
    std::process::exit(outcome.unwrap().status);
}

#[test]
fn a_file_that_becomes_shorter_ends_the_run_with_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box.wasm");
    let code = wat::parse_str(READER).unwrap();
    // A data section with one segment of 192 KiB, its bytes where a page of the file begins.
    let mut wasm = code.clone();
    let head = |pad: usize| {
        let mut head = vec![0, 0x80 | (pad & 0x7f) as u8, (pad >> 7) as u8, 1, b'p'];
        head.resize(head.len() + pad - 2, 0);
        head.extend_from_slice(&[11, 0x88, 0x80, 0x0c, 1, 0, 0x41, 0, 0x0b, 0x80, 0x80, 0x0c]);
        head
    };
    let pad = (200..).find(|pad| (code.len() + head(*pad).len()).is_multiple_of(4096)).unwrap();
    wasm.extend_from_slice(&head(pad));
    wasm.resize(wasm.len() + (192 << 10), 42);
    fs::write(&path, &wasm).unwrap();
    for (shorter, status) in [(false, 42), (true, 125)] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_reader", "--nocapture", "--test-threads=1"])
            .env(BOX, &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mapped = || {
            let maps = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
            maps.contains("/box.wasm")
        };
        while !mapped() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if shorter {
            fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
        }
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert_eq!(said.contains("made shorter while it ran"), shorter, "{said}");
    }
}
