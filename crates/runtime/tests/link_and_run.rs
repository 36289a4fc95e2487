//! Linking and running a toy guest: see toy.wat.
#![allow(clippy::unwrap_used)] // the helpers of tests are tests, too

use link::{CodeCache, Format, LinkError, LinkInput, Linker, Output as Form, inspect};
use rootfs::config::BoxConfig;
use runtime::{Descriptor, Input, Output, Overrides, RunError, RunOptions, Runtime, StepInput};
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

struct Bench {
    dir: tempfile::TempDir,
    runtime: Runtime,
    guest: Vec<u8>,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::with_cache_dir(&dir.path().join("code")).unwrap();
    Bench { dir, runtime, guest: wat::parse_str(include_str!("toy.wat")).unwrap() }
}

fn config() -> BoxConfig {
    BoxConfig { cmd: vec!["sh".into()], ..BoxConfig::default() }
}

/// Mostly zeros with some bytes here and there, beginning with `first`.
fn image(first: u8, len: usize) -> Vec<u8> {
    let mut image = vec![0; len];
    for at in (0..len).step_by(997) {
        image[at] = at as u8;
    }
    image[0] = first;
    image
}

fn link(cache: &CodeCache, guest: &[u8], image: &[u8], output: Form) -> Result<Vec<u8>, LinkError> {
    let mut out = Vec::new();
    let input = LinkInput {
        image: &mut &*image,
        image_len: image.len() as u64,
        boot_len: image.len() as u64,
        config: &config(),
        image_config_json: Some(b"{\"architecture\":\"amd64\"}"),
        output,
        frozen: None,
    };
    Linker::new(guest, cache.clone()).link(input, &mut out)?;
    Ok(out)
}

fn captured() -> RunOptions {
    RunOptions {
        stdin: Input::Empty,
        stdout: Output::Capture,
        stderr: Output::Capture,
        ..RunOptions::default()
    }
}

#[test]
fn a_box_starts_where_boot_ended() {
    let bench = bench();
    for form in [Form::Module, Form::Component] {
        let wasm = link(bench.runtime.cache(), &bench.guest, &image(b'a', 3 << 20), form).unwrap();
        let path = bench.dir.path().join("box.wasm");
        std::fs::write(&path, &wasm).unwrap();
        for outcome in
            [bench.runtime.run_bytes(&wasm, captured()), bench.runtime.run_file(&path, captured())]
        {
            let outcome = outcome.unwrap();
            assert_eq!(String::from_utf8_lossy(&outcome.stdout), "state: b1\n", "{form:?}");
            assert_eq!(outcome.status, 7, "{form:?}");
        }
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let bench = bench();
    let other = self::bench();
    for form in [Form::Module, Form::Component] {
        let image = image(b'a', 300_000);
        let first = link(bench.runtime.cache(), &bench.guest, &image, form).unwrap();
        let second = link(other.runtime.cache(), &bench.guest, &image, form).unwrap();
        assert!(first == second, "{form:?}");
    }
}

#[test]
fn the_image_is_one_segment_and_little_is_added() {
    let bench = bench();
    let image = image(b'a', 1 << 20);
    let wasm = link(bench.runtime.cache(), &bench.guest, &image, Form::Module).unwrap();
    assert!(wasm.len() < image.len() + bench.guest.len() + 4096, "{}", wasm.len());
    assert!(wasm.windows(4096).any(|window| window == &image[..4096]));
    let names = exports(&wasm);
    assert_eq!(names, ["memory", "_start"]);
}

fn exports(wasm: &[u8]) -> Vec<String> {
    let engine = link::engine().unwrap();
    let module = wasmtime::Module::new(&engine, wasm).unwrap();
    module.exports().map(|export| export.name().to_owned()).collect()
}

#[test]
fn inspect_reads_both_forms() {
    let bench = bench();
    for (form, format) in [(Form::Module, Format::Module), (Form::Component, Format::Component)] {
        let wasm = link(bench.runtime.cache(), &bench.guest, &image(b'a', 70_000), form).unwrap();
        let found = inspect(&mut Cursor::new(&wasm)).unwrap();
        assert_eq!(found.format, format);
        assert_eq!(found.file_size, wasm.len() as u64);
        assert_eq!(found.image_config_json.as_deref(), Some(&b"{\"architecture\":\"amd64\"}"[..]));
        let wanted = if form == Form::Module {
            "wasi_snapshot_preview1.fd_write"
        } else {
            "wasi:cli/stdout@"
        };
        assert!(
            found.imports.iter().any(|import| import.starts_with(wanted)),
            "{:?}",
            found.imports
        );
        for cut in [0, 4, 9, 100, wasm.len() - 1] {
            assert!(
                matches!(inspect(&mut Cursor::new(&wasm[..cut])), Err(LinkError::NotWasm(_))),
                "cut at {cut}"
            );
        }
    }
    assert!(inspect(&mut Cursor::new(b"\x7fELF\x02\x01\x01\0\0\0\0\0")).is_err());
}

/// Counts the bytes that are read.
struct Counted<'a>(Cursor<&'a [u8]>, usize);

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer).inspect(|n| self.1 += n)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn inspect_reads_neither_code_nor_data() {
    for (last, simd) in [("nop", false), ("(drop (v128.const i64x2 0 0))", true)] {
        let code = "nop ".repeat(100_000) + last;
        let data = "a".repeat(100_000);
        let text = format!("(module (memory 2) (func {code}) (data (i32.const 0) \"{data}\"))");
        let wasm = wat::parse_str(text).unwrap();
        let mut file = Counted(Cursor::new(&wasm), 0);
        let found = inspect(&mut file).unwrap();
        assert!(file.1 < 100, "{} bytes were read", file.1);
        assert!(found.code_size > 100_000 && found.data_size > 100_000);
        assert_eq!(link::has_simd(&mut file, &found).unwrap(), simd);
    }
}

#[test]
fn a_guest_that_fails_to_boot_is_quoted() {
    let bench = bench();
    let said =
        link(bench.runtime.cache(), &bench.guest, &image(b'!', 10), Form::Module).unwrap_err();
    assert!(said.to_string().contains("it wrote a message: state: "), "{said}");
    let trapped =
        link(bench.runtime.cache(), &bench.guest, &image(b'?', 10), Form::Module).unwrap_err();
    assert!(trapped.to_string().contains("unreachable"), "{trapped}");
}

#[test]
fn a_short_image_is_an_error() {
    let bench = bench();
    let input = LinkInput {
        image: &mut &b"short"[..],
        image_len: 100,
        boot_len: 100,
        config: &config(),
        image_config_json: None,
        output: Form::Module,
        frozen: None,
    };
    let error = Linker::new(&bench.guest, bench.runtime.cache().clone())
        .link(input, &mut Vec::new())
        .unwrap_err();
    assert!(error.to_string().contains("read the root filesystem image"), "{error}");
}

#[test]
fn a_step_runs_without_linking() {
    let bench = bench();
    let image = image(b'x', 100_000);
    let step = StepInput {
        guest: &bench.guest,
        image: &mut &image[..],
        image_len: image.len() as u64,
        config: &config(),
        layer_dir: Some(bench.dir.path()),
        clock: None,
    };
    let outcome = bench.runtime.run_step(step, captured()).unwrap();
    assert_eq!((outcome.status, outcome.stdout.as_slice()), (7, &b"state: y1\n"[..]));
}

#[test]
fn what_is_not_a_box_is_refused() {
    let bench = bench();
    let run = |bytes: &[u8]| bench.runtime.run_bytes(bytes, captured()).unwrap_err();
    assert!(matches!(run(b"#!/bin/sh"), RunError::NotWasm(_)));
    assert!(matches!(run(b"\0asm\x01\0\0\0garbage"), RunError::Cache(_)));
    assert!(matches!(run(&wat::parse_str("(module)").unwrap()), RunError::Start(_)));
    let imports = r#"(module (import "env" "f" (func)) (func (export "_start")))"#;
    assert!(matches!(run(&wat::parse_str(imports).unwrap()), RunError::Start(_)));
    let trap = r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#;
    assert!(matches!(run(&wat::parse_str(trap).unwrap()), RunError::Trap(_)));
    let missing =
        bench.runtime.run_file(&bench.dir.path().join("missing.wasm"), captured()).unwrap_err();
    assert!(missing.to_string().contains("missing.wasm"), "{missing}");
}

#[test]
fn every_status_is_passed_on() {
    let bench = bench();
    for status in [0, 1, 125, 126, 127, 137, 255] {
        let text = format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                 (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {status}))))"#
        );
        let outcome = bench.runtime.run_bytes(&wat::parse_str(text).unwrap(), captured()).unwrap();
        assert_eq!(outcome.status, status);
    }
}

#[test]
fn a_missing_directory_is_named() {
    let bench = bench();
    let mut options = captured();
    let host = bench.dir.path().join("nowhere");
    options.preopens.push(runtime::Preopen {
        host: host.clone(),
        guest: "/data".into(),
        writable: true,
        mounted: Default::default(),
    });
    let error = bench.runtime.run_bytes(&wat::parse_str("(module)").unwrap(), options).unwrap_err();
    assert!(error.to_string().contains(&host.display().to_string()), "{error}");
}

#[test]
fn overrides_become_environment_variables() {
    let overrides = Overrides {
        entrypoint: Some("/bin/sh".into()),
        user: Some("1000".into()),
        tty: Some(true),
        tty_size: Some((80, 24)),
        ..Overrides::default()
    };
    let expected =
        [("BOXER_ENTRYPOINT", "/bin/sh"), ("BOXER_USER", "1000"), ("BOXER_TTY", "80x24")];
    assert_eq!(overrides.to_env(), expected.map(|(name, value)| (name, value.to_owned())));
}

/// Waits for bytes from the first further descriptor or for five seconds, sends what came back and writes it to standard
/// output. Exits with: 10 × the error of a read before there was anything + the number of events of the wait.
const ECHO: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $early i32)
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 100))
    (local.set $early (call $read (i32.const 16777216) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i64.store (i32.const 100) (i64.const 7)) (i32.store8 (i32.const 108) (i32.const 1))
    (i32.store (i32.const 116) (i32.const 16777216))
    (i64.store (i32.const 148) (i64.const 8)) (i64.store (i32.const 172) (i64.const 5000000000))
    (i64.store (i32.const 196) (i64.const 9)) (i32.store8 (i32.const 204) (i32.const 1))
    (drop (call $poll (i32.const 100) (i32.const 300) (i32.const 2) (i32.const 16)))
    (drop (call $read (i32.const 16777216) (i32.const 0) (i32.const 1) (i32.const 4)))
    (drop (call $write (i32.const 16777216) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.add (i32.mul (i32.const 10) (local.get $early)) (i32.load (i32.const 16))))))"#;

#[test]
fn a_module_waits_for_a_further_descriptor() {
    let bench = bench();
    let (descriptor, mut ours) = Descriptor::new("BOXER_TEST").unwrap();
    let peer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        ours.write_all(b"ping").unwrap();
        let mut back = Vec::new();
        ours.read_to_end(&mut back).unwrap();
        back
    });
    let options = RunOptions { descriptors: vec![descriptor], ..captured() };
    let start = Instant::now();
    let outcome = bench.runtime.run_bytes(&wat::parse_str(ECHO).unwrap(), options).unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "the clock woke it: {:?}", start.elapsed());
    // EAGAIN is 6 in WASI.
    assert_eq!((outcome.status, outcome.stdout.as_slice()), (61, &b"ping"[..]));
    assert_eq!(peer.join().unwrap(), b"ping");
}
