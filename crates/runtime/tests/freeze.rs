//! Boxes that are frozen while they run, and how they go on: here, from a file, and on a plain host. These need the guest program;
//! without it they say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod harness;

use harness::{config, elf, guest, image, input, runtime};
use link::{LinkInput, Linker, Output as Form};
use runtime::{
    FreezeError, FreezeOn, Freezer, Frozen, Input, Next, Outcome, Output, RunError, RunOptions,
    Runtime, Translation,
};
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Computes a letter 48 times, each by 40,000 rounds of a generator, with a sleep of 2 ms in between, and sends it through a pipe to a child
/// process (fork), which prints it with a newline; ends with status 5 once the child has.
const COUNT: &[u8] = b"\x31\xdb\x41\xbc\x30\x00\x00\x00\x48\x8d\x7c\x24\xc0\xb8\x16\x00\x00\x00\x0f\x05\x44\x8b\x6c\x24\xc0\x44\x8b\x74\
    \x24\xc4\xb8\x39\x00\x00\x00\x0f\x05\x85\xc0\x0f\x84\x93\x00\x00\x00\xb9\x40\x9c\x00\x00\x48\x69\xdb\xb7\xbf\x80\
    \x01\x48\x83\xc3\x0b\x48\x89\xd8\x48\xc1\xe8\x11\x48\x31\xc3\xff\xc9\x75\xe7\x89\xd8\x83\xe0\x0f\x83\xc0\x61\x88\
    \x44\x24\xc0\xc6\x44\x24\xc1\x0a\x44\x89\xf7\x48\x8d\x74\x24\xc0\xba\x02\x00\x00\x00\xb8\x01\x00\x00\x00\x0f\x05\
    \x48\xc7\x44\x24\xc0\x00\x00\x00\x00\x48\xc7\x44\x24\xc8\x80\x84\x1e\x00\x48\x8d\x7c\x24\xc0\x31\xf6\xb8\x23\x00\
    \x00\x00\x0f\x05\x41\xff\xcc\x75\x98\x44\x89\xf7\xb8\x03\x00\x00\x00\x0f\x05\x48\xc7\xc7\xff\xff\xff\xff\x31\xf6\
    \x31\xd2\x45\x31\xd2\xb8\x3d\x00\x00\x00\x0f\x05\xbf\x05\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\x05\x44\x89\xf7\xb8\
    \x03\x00\x00\x00\x0f\x05\x44\x89\xef\x48\x8d\x74\x24\xc0\xba\x02\x00\x00\x00\x31\xc0\x0f\x05\x83\xf8\x02\x75\x18\
    \xbf\x01\x00\x00\x00\x48\x8d\x74\x24\xc0\xba\x02\x00\x00\x00\xb8\x01\x00\x00\x00\x0f\x05\xeb\xd2\x31\xff\xb8\x3c\
    \x00\x00\x00\x0f\x05";
/// Touches 50 MiB, reads a byte, prints it and 16 random bytes.
const TOUCH: &[u8] = b"\x31\xff\xbe\x00\x00\x20\x03\xba\x03\x00\x00\x00\x41\xba\x22\x00\x00\x00\x49\xc7\xc0\xff\xff\xff\xff\x45\x31\xc9\
    \xb8\x09\x00\x00\x00\x0f\x05\x48\x89\xc3\x31\xc9\xc6\x04\x0b\x2a\x81\xc1\x00\x10\x00\x00\x81\xf9\x00\x00\x20\x03\
    \x72\xee\x31\xff\x48\x8d\x74\x24\xc0\xba\x01\x00\x00\x00\x31\xc0\x0f\x05\x48\x8d\x7c\x24\xc1\xbe\x10\x00\x00\x00\
    \x31\xd2\xb8\x3e\x01\x00\x00\x0f\x05\xbf\x01\x00\x00\x00\x48\x8d\x74\x24\xc0\xba\x11\x00\x00\x00\xb8\x01\x00\x00\
    \x00\x0f\x05\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05";
/// exit(0)
const END: &[u8] = b"\x31\xff\x6a\x3c\x58\x0f\x05";

/// How a box ends that was frozen.
const FROZEN: u8 = 147;

fn make(runtime: &Runtime, code: &[u8], form: Form) -> Vec<u8> {
    let (image, config) = (image(&elf(code)), config());
    let mut image = &*image;
    let input = LinkInput { image_config_json: Some(b"{}"), ..input(&mut image, &config, form) };
    let mut out = Vec::new();
    Linker::new(guest(form).unwrap(), runtime.cache().clone()).link(input, &mut out).unwrap();
    out
}

/// With compiled code as soon as anything is executed twice.
fn options(freezer: Option<&Freezer>) -> RunOptions {
    RunOptions {
        stdin: Input::Silent,
        stdout: Output::Capture,
        stderr: Output::Capture,
        freezer: freezer.cloned(),
        translation: Translation {
            on: true,
            threshold: 1,
            sample: 2000,
            wait: true,
            ..Translation::default()
        },
        ..RunOptions::default()
    }
}

fn text(outcome: &Outcome) -> String {
    assert_eq!(String::from_utf8_lossy(&outcome.stderr), "");
    String::from_utf8(outcome.stdout.clone()).unwrap()
}

/// Runs what `start` starts, freezes it after a while and gives what it has printed until then, and its state; or all it has printed, if
/// it was quicker.
fn freeze_after(
    time: Duration,
    start: impl FnOnce(&Freezer) -> Result<Outcome, RunError> + Send,
) -> (String, Option<Frozen>) {
    let freezer = Freezer::new();
    std::thread::scope(|scope| {
        let other = freezer.clone();
        let freezing = scope.spawn(move || {
            std::thread::sleep(time);
            other.freeze(|state| (Next::Ends(FROZEN), state))
        });
        let outcome = start(&freezer).unwrap();
        let state = match freezing.join().unwrap() {
            Ok(state) => Some(state),
            Err(FreezeError::Over) => None,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(outcome.status, if state.is_some() { i32::from(FROZEN) } else { 5 });
        (text(&outcome), state)
    })
}

/// As [`freeze_after`], sooner if it has ended by then: runs differ in how long they take.
fn frozen_after(
    mut time: Duration,
    start: impl Fn(&Freezer) -> Result<Outcome, RunError> + Send + Sync,
) -> (String, Frozen) {
    loop {
        if let (printed, Some(state)) = freeze_after(time, &start) {
            return (printed, state);
        }
        assert!(time > Duration::from_millis(1), "it was never frozen");
        time /= 2;
    }
}

fn plain_host(wasm: &[u8]) -> String {
    use wasmtime::{Engine, Linker as Host, Module, Store};
    use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
    use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
    let mut config = wasmtime::Config::new();
    config.cranelift_opt_level(wasmtime::OptLevel::None);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, wasm).unwrap();
    let mut host = Host::<WasiP1Ctx>::new(&engine);
    add_to_linker_sync(&mut host, |wasi| wasi).unwrap();
    let stdout = MemoryOutputPipe::new(1 << 16);
    let mut wasi = wasmtime_wasi::WasiCtxBuilder::new();
    wasi.arg("box").stdout(stdout.clone());
    let mut store = Store::new(&engine, wasi.build_p1());
    let instance = host.instantiate(&mut store, &module).unwrap();
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
    let error = start.call(&mut store, ()).unwrap_err();
    assert_eq!(error.downcast_ref::<wasmtime_wasi::I32Exit>().unwrap().0, 5);
    String::from_utf8(stdout.contents().into()).unwrap()
}

#[test]
fn a_box_goes_on_where_it_was_frozen_again_and_again_and_anywhere() {
    let Some(runtime) = runtime("freeze") else { return };
    let wasm = make(runtime, COUNT, Form::Module);
    // The code is compiled by now.
    runtime.run_bytes(&wasm, options(None)).unwrap();
    let start = Instant::now();
    let whole = text(&runtime.run_bytes(&wasm, options(None)).unwrap());
    let took = start.elapsed();
    assert_eq!(whole.lines().count(), 48);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box.wasm");
    std::fs::write(&path, &wasm).unwrap();
    for parts in [3, 6] {
        // Each part is run from memory, from a file, or from the object itself.
        let (mut printed, state) =
            frozen_after(took / parts, |freezer| runtime.run_file(&path, options(Some(freezer))));
        let mut state = Some(state);
        let mut lives = 1;
        while let Some(frozen) = state.take() {
            let (more, next) = match lives % 3 {
                0 => freeze_after(took / parts, |freezer| {
                    frozen.start(options(Some(freezer)))?.run()
                }),
                1 => {
                    let next = dir.path().join(format!("{parts}-{lives}.wasm"));
                    frozen.write(&mut std::fs::File::create(&next).unwrap()).unwrap();
                    freeze_after(took / parts, |freezer| {
                        runtime.run_file(&next, options(Some(freezer)))
                    })
                }
                _ => {
                    let mut wasm = Vec::new();
                    frozen.write(&mut wasm).unwrap();
                    freeze_after(took / parts, |freezer| {
                        runtime.run_bytes(&wasm, options(Some(freezer)))
                    })
                }
            };
            lives += 1;
            printed += &more;
            state = next;
        }
        assert_eq!(printed, whole);
    }
}

#[test]
fn a_plain_host_goes_on() {
    let Some(runtime) = runtime("freeze") else { return };
    let wasm = make(runtime, COUNT, Form::Module);
    let whole = text(&runtime.run_bytes(&wasm, options(None)).unwrap());
    let freezing = |freezer: &Freezer| runtime.run_bytes(&wasm, options(Some(freezer)));
    let (printed, state) = frozen_after(Duration::from_millis(50), freezing);
    let mut frozen = Vec::new();
    state.write(&mut frozen).unwrap();
    assert_eq!(printed + &plain_host(&frozen), whole);
    // It says what it is, and everything else is as it was.
    let found = link::inspect(&mut std::io::Cursor::new(&frozen)).unwrap();
    let life = String::from_utf8(found.life_json.unwrap()).unwrap();
    let parent = link::hex(&link::digest_of(&wasm));
    assert!(life.starts_with(&format!("{{\"number\":1,\"parent\":\"sha256:{parent}\",")), "{life}");
    assert_eq!(found.image_config_json.as_deref(), Some(&b"{}"[..]));
    let contents = link::split(link::Content::Bytes(&frozen)).unwrap().unwrap().contents;
    for segment in contents.segments.iter().filter(|segment| segment.len >= 64 << 10) {
        let (address, place) = (u64::from(segment.address) % 4096, segment.offset % 4096);
        assert_eq!(address, place, "cannot be mapped: {segment:?}");
    }
    // Cut short it is no box.
    for len in [frozen.len() - 1, frozen.len() / 2, 100, 8] {
        runtime.run_bytes(&frozen[..len], options(None)).unwrap_err();
    }
}

/// Waits until a box that touches memory has done so: it reads.
fn frozen_reader(runtime: &Runtime, next: Next) -> (Frozen, Outcome) {
    let wasm = make(runtime, TOUCH, Form::Module);
    let freezer = Freezer::new();
    let found = Arc::new(Mutex::new(None));
    let place = found.clone();
    freezer.expect(&[FreezeOn::Idle(Duration::from_millis(50))], move |state| {
        *place.lock().unwrap() = Some(state.unwrap());
        next
    });
    let mut options = options(Some(&freezer));
    if next == Next::GoesOn {
        options.idle = Some(Duration::from_millis(200));
    }
    let outcome = runtime.run_bytes(&wasm, options).unwrap();
    let state = found.lock().unwrap().take().unwrap();
    (state, outcome)
}

#[test]
fn many_start_from_one_and_share_no_chance_but_their_memory() {
    let Some(runtime) = runtime("freeze") else { return };
    let (state, outcome) = frozen_reader(runtime, Next::GoesOn);
    // The box itself went on, waiting, until that was enough.
    assert_eq!((outcome.status, outcome.stdout.len()), (0, 0));
    assert!(state.own_bytes() >= 50 << 20, "{} bytes", state.own_bytes());
    let given = |byte: u8| RunOptions { stdin: Input::Bytes(vec![byte]), ..options(None) };
    // What the first finds out, such as that there is no network, is not counted.
    state.start(given(0)).unwrap().run().unwrap();
    let before = resident();
    let start = Instant::now();
    let forks: Vec<_> = (0..20).map(|n| state.start(given(b'a' + n)).unwrap()).collect();
    let each = start.elapsed() / 20;
    let mut seen = BTreeSet::new();
    for (n, fork) in (0..20).zip(forks) {
        let outcome = fork.run().unwrap();
        let [byte, random @ ..] = outcome.stdout.as_slice() else { panic!("it printed nothing") };
        assert_eq!((outcome.status, *byte, random.len()), (0, b'a' + n, 16));
        assert!(seen.insert(random.to_vec()), "fork {n} has the random numbers of another");
    }
    let more = resident().saturating_sub(before);
    println!("{each:?} for each fork, {more} kB more in memory");
    // Generous, since other tests run at the same time.
    assert!(each < Duration::from_millis(100), "a fork takes {each:?}");
}

/// Memory of this process that is its own, in kB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn the_end_of_input_is_not_heard_of_before_it_is_frozen() {
    let Some(runtime) = runtime("freeze") else { return };
    let wasm = make(runtime, TOUCH, Form::Module);
    let freezer = Freezer::new();
    let found = Arc::new(Mutex::new(None));
    let place = found.clone();
    let take = move |state: Result<Frozen, FreezeError>| {
        *place.lock().unwrap() = Some(state.unwrap());
        Next::Ends(FROZEN)
    };
    freezer.expect(&[FreezeOn::InputEnd], take);
    let empty = RunOptions { stdin: Input::Empty, ..options(Some(&freezer)) };
    let outcome = runtime.run_bytes(&wasm, empty).unwrap();
    assert_eq!((outcome.status, outcome.stdout.len()), (i32::from(FROZEN), 0));
    let state = found.lock().unwrap().take().unwrap();
    let more = RunOptions { stdin: Input::Bytes(b"x".to_vec()), ..options(None) };
    let outcome = state.start(more).unwrap().run().unwrap();
    assert_eq!(outcome.stdout.first(), Some(&b'x'));
    // The next life does hear of it.
    let end = RunOptions { stdin: Input::Empty, ..options(None) };
    assert_eq!(state.start(end).unwrap().run().unwrap().stdout.len(), 17);
}

#[test]
fn what_cannot_be_frozen_says_why() {
    let Some(runtime) = runtime("freeze") else { return };
    let asked = |wasm: &[u8]| {
        let freezer = Freezer::new();
        let outcome = runtime.run_bytes(wasm, options(Some(&freezer))).unwrap();
        assert_eq!(outcome.status, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
        freezer.freeze(|_| (Next::GoesOn, ()))
    };
    assert_eq!(asked(&make(runtime, END, Form::Module)), Err(FreezeError::Over));
    assert_eq!(asked(&make(runtime, END, Form::Component)), Err(FreezeError::Component));
    // One that never starts is over, too.
    let freezer = Freezer::new();
    let other = freezer.clone();
    let waiting = std::thread::spawn(move || other.freeze(|_| (Next::GoesOn, ())));
    runtime.run_file("/nowhere/box.wasm".as_ref(), options(Some(&freezer))).unwrap_err();
    assert_eq!(waiting.join().unwrap(), Err(FreezeError::Over));
    let toy = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    assert_eq!(asked(&toy.unwrap()), Err(FreezeError::Version));
}

#[test]
fn a_file_that_cannot_be_written_ends_nothing() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let Some(runtime) = runtime("freeze") else { return };
    let wasm = make(runtime, COUNT, Form::Module);
    let whole = text(&runtime.run_bytes(&wasm, options(None)).unwrap());
    let freezer = Freezer::new();
    let other = freezer.clone();
    let freezing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        let full = |state: Frozen| (Next::GoesOn, state.write(&mut Full).unwrap_err().to_string());
        (other.freeze(full), other.freeze(full))
    });
    let outcome = runtime.run_bytes(&wasm, options(Some(&freezer))).unwrap();
    let (first, second) = freezing.join().unwrap();
    assert!(first.unwrap().starts_with("write the module: "));
    assert!(second.unwrap().starts_with("write the module: "));
    assert_eq!((outcome.status, text(&outcome)), (5, whole));
}
