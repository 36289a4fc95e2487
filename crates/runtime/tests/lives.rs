//! Snapshots of programs under way, and how they go on: here, from a file and on a plain host. These need the guest program;
//! without it they say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod harness;

use harness::{config, elf, guest, image, input, runtime};
use link::{LinkError, Linker, Output as Form};
use runtime::{
    FirstLife, Input, LifeError, Outcome, Output, Overrides, RunOptions, Runtime, Until,
};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Touches 3 MiB of memory and prints `begun`; then reads a byte, prints it, 16 random bytes and one of that memory (`*`), and
/// ends with status 7.
const READY: &[u8] = b"\x31\xff\xbe\x00\x00\x30\x00\xba\x03\x00\x00\x00\x41\xba\x22\x00\x00\x00\x49\xc7\xc0\xff\xff\xff\xff\x45\x31\xc9\
    \xb8\x09\x00\x00\x00\x0f\x05\x48\x89\xc3\x31\xc9\xc6\x04\x0b\x2a\x81\xc1\x00\x10\x00\x00\x81\xf9\x00\x00\x30\x00\
    \x72\xee\xc7\x44\x24\xc0\x62\x65\x67\x75\x66\xc7\x44\x24\xc4\x6e\x0a\x48\x8d\x74\x24\xc0\xbf\x01\x00\x00\x00\xba\
    \x06\x00\x00\x00\xb8\x01\x00\x00\x00\x0f\x05\x31\xff\x48\x8d\x74\x24\xc0\xba\x01\x00\x00\x00\x31\xc0\x0f\x05\x48\
    \x8d\x7c\x24\xc1\xbe\x10\x00\x00\x00\x31\xd2\xb8\x3e\x01\x00\x00\x0f\x05\x8a\x83\x00\xf0\x2f\x00\x88\x44\x24\xd1\
    \xbf\x01\x00\x00\x00\x48\x8d\x74\x24\xc0\xba\x12\x00\x00\x00\xb8\x01\x00\x00\x00\x0f\x05\xbf\x07\x00\x00\x00\xb8\
    \x3c\x00\x00\x00\x0f\x05";
/// Listens on a port and accepts.
const LISTEN: &[u8] = b"\xbf\x02\x00\x00\x00\xbe\x01\x00\x00\x00\x31\xd2\xb8\x29\x00\x00\x00\x0f\x05\x89\xc3\x89\xc7\xbe\x05\x00\x00\x00\
    \xb8\x32\x00\x00\x00\x0f\x05\x89\xdf\x31\xf6\x31\xd2\xb8\x2b\x00\x00\x00\x0f\x05\xbf\x01\x00\x00\x00\xb8\x3c\x00\
    \x00\x00\x0f\x05";
/// Writes to `/dev/boxer/snapshot`, prints what it reads there and ends.
const MARK: &[u8] = b"\x48\x8d\x3d\x55\x00\x00\x00\xbe\x02\x00\x00\x00\xb8\x02\x00\x00\x00\x0f\x05\x89\xc3\x89\xc7\x48\x8d\x35\x3e\x00\
    \x00\x00\xba\x01\x00\x00\x00\xb8\x01\x00\x00\x00\x0f\x05\x89\xdf\x48\x8d\x74\x24\xc0\xba\x40\x00\x00\x00\x45\x31\
    \xd2\xb8\x11\x00\x00\x00\x0f\x05\x89\xc2\xbf\x01\x00\x00\x00\x48\x8d\x74\x24\xc0\xb8\x01\x00\x00\x00\x0f\x05\x31\
    \xff\xb8\x3c\x00\x00\x00\x0f\x05\x2f\x64\x65\x76\x2f\x62\x6f\x78\x65\x72\x2f\x73\x6e\x61\x70\x73\x68\x6f\x74\x00";
/// exit(3)
const FAIL: &[u8] = b"\x6a\x03\x5f\x6a\x3c\x58\x0f\x05";
/// exit(0)
const END: &[u8] = b"\x31\xff\x6a\x3c\x58\x0f\x05";
/// 1: pause(); jmp 1b
const STUCK: &[u8] = b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7";
/// 1: jmp 1b
const SPIN: &[u8] = b"\xeb\xfe";
/// An instruction that there is not.
const KILLED: &[u8] = b"\x0f\x0b";

fn options() -> RunOptions {
    RunOptions {
        stdin: Input::Silent,
        stdout: Output::Capture,
        stderr: Output::Capture,
        ..RunOptions::default()
    }
}

const LONG: Duration = Duration::from_secs(60);

fn make(
    runtime: &Runtime,
    code: &[u8],
    form: Form,
    life: Option<FirstLife<'_>>,
) -> Result<Vec<u8>, LinkError> {
    let (image, config) = (image(&elf(code)), config());
    let mut image = &*image;
    let input = input(&mut image, &config, form);
    let mut out = Vec::new();
    let linker = Linker::new(guest(form)?, runtime.cache().clone());
    match life {
        Some(mut life) => linker.link_after(input, &mut life, &mut out)?,
        None => linker.link(input, &mut out)?,
    };
    Ok(out)
}

fn ready(runtime: &Runtime, code: &[u8], form: Form) -> Result<Vec<u8>, LinkError> {
    make(runtime, code, form, Some(FirstLife::new(options(), Until::Waits, LONG)))
}

/// Why a life does not come to its snapshot.
fn failure(runtime: &Runtime, code: &[u8], until: Until<'_>, timeout: Duration) -> String {
    let life = FirstLife::new(options(), until, timeout);
    match make(runtime, code, Form::Module, Some(life)) {
        Err(LinkError::Life(error)) => {
            assert!(error.is::<LifeError>());
            error.to_string()
        }
        other => panic!("{:?}", other.map(|wasm| wasm.len())),
    }
}

fn given(byte: u8) -> RunOptions {
    RunOptions { stdin: Input::Bytes(vec![byte]), ..options() }
}

fn checked(outcome: &Outcome, byte: u8) -> [u8; 16] {
    let stderr = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status, 7, "{stderr}");
    let [first, random @ .., last] = outcome.stdout.as_slice() else { panic!("{stderr}") };
    assert_eq!((*first, *last), (byte, b'*'));
    random.try_into().unwrap()
}

#[test]
fn a_program_goes_on_where_it_was_in_every_form_and_shares_no_chance() {
    let Some(runtime) = runtime("lives") else { return };
    let mut seen = BTreeSet::new();
    let dir = tempfile::tempdir().unwrap();
    for form in [Form::Module, Form::Component] {
        let wasm = ready(runtime, READY, form).unwrap();
        let path = dir.path().join("box.wasm");
        std::fs::write(&path, &wasm).unwrap();
        for n in 0..20 {
            let outcome = if n % 2 == 0 {
                runtime.run_file(&path, given(b'a' + n))
            } else {
                runtime.run_bytes(&wasm, given(b'a' + n))
            };
            let random = checked(&outcome.unwrap(), b'a' + n);
            assert!(seen.insert(random), "{form:?}: start {n} has the random numbers of another");
        }
    }
}

#[test]
fn a_plain_host_runs_it() {
    use wasmtime::{Engine, Linker as Host, Module, Store};
    use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
    use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
    let Some(runtime) = runtime("lives") else { return };
    let wasm = ready(runtime, READY, Form::Module).unwrap();
    let mut config = wasmtime::Config::new();
    config.cranelift_opt_level(wasmtime::OptLevel::None);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, &wasm).unwrap();
    let mut host = Host::<WasiP1Ctx>::new(&engine);
    add_to_linker_sync(&mut host, |wasi| wasi).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let stdout = MemoryOutputPipe::new(1 << 16);
        let mut wasi = wasmtime_wasi::WasiCtxBuilder::new();
        wasi.arg("box").stdin(MemoryInputPipe::new("q")).stdout(stdout.clone());
        let mut store = Store::new(&engine, wasi.build_p1());
        let instance = host.instantiate(&mut store, &module).unwrap();
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
        let error = start.call(&mut store, ()).unwrap_err();
        let status = error.downcast_ref::<wasmtime_wasi::I32Exit>().unwrap().0;
        let outcome = Outcome { status, stdout: stdout.contents().into(), stderr: Vec::new() };
        assert!(seen.insert(checked(&outcome, b'q')));
    }
}

#[test]
fn a_snapshot_has_the_touched_pages_and_is_mapped() {
    let Some(runtime) = runtime("lives") else { return };
    let plain = make(runtime, READY, Form::Module, None).unwrap();
    let wasm = ready(runtime, READY, Form::Module).unwrap();
    let more = wasm.len() - plain.len();
    // One byte in each page is not zero; the rest is what the kernel and the interpreter have.
    assert!((3 << 20..5 << 20).contains(&more), "{more} bytes more");
    let contents = link::split(link::Content::Bytes(&wasm)).unwrap().unwrap().contents;
    for segment in contents.segments.iter().filter(|segment| segment.len >= 64 << 10) {
        let (address, place) = (u64::from(segment.address) % 4096, segment.offset % 4096);
        assert_eq!(address, place, "cannot be mapped: {segment:?}");
    }
}

#[test]
fn what_waits_for_somebody_who_connects_is_ready() {
    let Some(runtime) = runtime("lives") else { return };
    ready(runtime, LISTEN, Form::Module).unwrap();
}

#[test]
fn a_program_can_ask_for_it_and_learns_which_life_it_is() {
    let Some(runtime) = runtime("lives") else { return };
    let plain = make(runtime, MARK, Form::Module, None).unwrap();
    let text = String::from_utf8(runtime.run_bytes(&plain, options()).unwrap().stdout).unwrap();
    assert!(text.starts_with("0\n") && text.len() == 35, "{text}");
    for until in [Until::Waits, Until::Ends] {
        let life = FirstLife::new(options(), until, LONG);
        let wasm = make(runtime, MARK, Form::Module, Some(life)).unwrap();
        let run = || {
            let outcome = runtime.run_bytes(&wasm, options()).unwrap();
            assert_eq!(outcome.status, 0);
            String::from_utf8(outcome.stdout).unwrap()
        };
        let (first, second) = (run(), run());
        assert!(first.starts_with("1\n") && first.len() == 35, "{first}");
        assert_ne!(first, second);
    }
}

#[test]
fn what_has_ended_is_started_by_each_start() {
    let Some(runtime) = runtime("lives") else { return };
    let life = FirstLife::new(options(), Until::Ends, LONG);
    let wasm = make(runtime, END, Form::Module, Some(life)).unwrap();
    let missing = RunOptions { args: vec!["more".into()], ..options() };
    assert_eq!(runtime.run_bytes(&wasm, missing).unwrap().status, 0);
    let overrides = Overrides { entrypoint: Some("/nowhere".into()), ..Overrides::default() };
    let outcome = runtime.run_bytes(&wasm, RunOptions { overrides, ..options() }).unwrap();
    assert_eq!(outcome.status, 127);
}

#[test]
fn what_comes_too_late_is_said() {
    let Some(runtime) = runtime("lives") else { return };
    let wasm = ready(runtime, READY, Form::Module).unwrap();
    let user = Overrides { user: Some("1".into()), ..Overrides::default() };
    let tty = Overrides { tty: Some(true), ..Overrides::default() };
    for (options, what) in [
        (RunOptions { args: vec!["more".into()], ..options() }, "arguments"),
        (RunOptions { overrides: user, ..options() }, "a user"),
        (RunOptions { overrides: tty, ..options() }, "a terminal"),
    ] {
        let outcome = runtime.run_bytes(&wasm, options).unwrap();
        let message = String::from_utf8(outcome.stderr).unwrap();
        assert_eq!(outcome.status, 125);
        assert!(message.contains(&format!(": {what} cannot be given now")), "{message}");
    }
}

#[test]
fn lives_that_come_to_no_snapshot_say_why() {
    let Some(runtime) = runtime("lives") else { return };
    let short = Duration::from_millis(300);
    let never = || false;
    for (code, until, timeout, expected) in [
        (END, Until::Waits, LONG, "ended with exit code 0 before"),
        (FAIL, Until::Waits, LONG, "ended with exit code 3 before"),
        (KILLED, Until::Waits, LONG, "ended with exit code 132 before"),
        (FAIL, Until::Ends, LONG, "did not complete successfully: exit code: 3"),
        (STUCK, Until::Waits, LONG, "none for input or for somebody who connects"),
        (STUCK, Until::True(&never), LONG, "has not come"),
        (READY, Until::File("/nowhere"), LONG, "has not come"),
        (SPIN, Until::Waits, short, "it took longer than 0.3 s"),
        (b"", Until::Waits, LONG, "ended with exit code 139 before"),
    ] {
        let message = failure(runtime, code, until, timeout);
        assert!(message.contains(expected), "{message:?}, not {expected:?}");
    }
}

#[test]
fn what_a_program_writes_can_be_what_it_is_taken_at() {
    struct Seen(Arc<AtomicBool>);
    impl Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.fetch_or(bytes.starts_with(b"begun"), Ordering::SeqCst);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let Some(runtime) = runtime("lives") else { return };
    let seen = Arc::new(AtomicBool::new(false));
    let stdout = Output::Writer(Box::new(Seen(seen.clone())));
    let holds = || seen.load(Ordering::SeqCst);
    let life = FirstLife::new(RunOptions { stdout, ..options() }, Until::True(&holds), LONG);
    let wasm = make(runtime, READY, Form::Module, Some(life)).unwrap();
    checked(&runtime.run_bytes(&wasm, given(b'x')).unwrap(), b'x');
    let life = FirstLife::new(options(), Until::File("/program"), LONG);
    make(runtime, READY, Form::Module, Some(life)).unwrap();
}
