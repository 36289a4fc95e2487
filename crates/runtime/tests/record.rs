//! Runs that are recorded, and run again by their records. These need the guest program; without it they say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod harness;

use harness::{config, elf, guest, image, input, runtime};
use link::{LinkInput, Linker, Output as Form};
use runtime::{
    FreezeError, Freezer, Input, Next, Outcome, Output, Record, RecordError, RecordTo,
    ReplayOptions, Replayed, RunError, RunOptions, Runtime, StopAt, Translation,
};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

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

/// A box, and records of it.
struct Desk {
    runtime: &'static Runtime,
    dir: TempDir,
}

impl Desk {
    fn new(code: &[u8], form: Form) -> Option<Desk> {
        let runtime = runtime("record")?;
        let (image, config) = (image(&elf(code)), config());
        let mut image = &*image;
        let input =
            LinkInput { image_config_json: Some(b"{}"), ..input(&mut image, &config, form) };
        let mut wasm = Vec::new();
        Linker::new(guest(form).unwrap(), runtime.cache().clone()).link(input, &mut wasm).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("box.wasm"), wasm).unwrap();
        Some(Desk { runtime, dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn record(&self, options: RunOptions) -> Result<Outcome, RunError> {
        let to = RecordTo { path: self.path("run.rec"), name: "a\nbox".to_owned() };
        self.runtime.run_file(&self.path("box.wasm"), RunOptions { record: Some(to), ..options })
    }

    fn replay(&self, until: Option<StopAt>, strace: bool) -> Result<Replayed, RunError> {
        let record = Record::open(&self.path("run.rec"))?;
        let (stdout, stderr) = (Output::Capture, Output::Capture);
        let options = ReplayOptions { stdout, stderr, until, strace };
        self.runtime.replay(record, &self.path("box.wasm"), options)
    }
}

/// What would compile as soon as anything is executed twice.
fn options() -> RunOptions {
    RunOptions {
        stdin: Input::Silent,
        stdout: Output::Capture,
        stderr: Output::Capture,
        translation: Translation { on: true, threshold: 1, sample: 2000, ..Translation::default() },
        ..RunOptions::default()
    }
}

fn why(result: Result<Replayed, RunError>) -> RecordError {
    match result {
        Err(RunError::Record(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn call(name: &str, nth: u64) -> Option<StopAt> {
    Some(StopAt::Call { name: Some(name.to_owned()), nth })
}

#[test]
fn a_run_is_the_same_again() {
    let Some(desk) = Desk::new(COUNT, Form::Module) else { return };
    let args = vec!["one".to_owned(), String::new(), "three".to_owned()];
    let env = vec![("KEY".to_owned(), "välue".to_owned())];
    let run = desk.record(RunOptions { args, env, ..options() }).unwrap();
    assert_eq!((run.status, run.stdout.len()), (5, 96));
    let again = desk.replay(None, false).unwrap();
    assert_eq!(again.outcome, run);
    assert!(
        again.instructions > 48 * 40_000 && again.calls > 48 * 3 && !again.stopped,
        "{again:?}"
    );
    let started = std::time::Instant::now();
    assert_eq!(desk.replay(None, false).unwrap(), again);
    println!("{:?} for {} instructions", started.elapsed(), again.instructions);
    let about = Record::open(&desk.path("run.rec")).unwrap().about().clone();
    assert_eq!(about.name, "abox");
    let digest = link::digest_of(&std::fs::read(desk.path("box.wasm")).unwrap());
    assert_eq!(about.digest, link::hex(&digest));

    // With its system calls, which are no part of it.
    let traced = desk.replay(None, true).unwrap();
    let lines = String::from_utf8(traced.outcome.stderr.clone()).unwrap();
    assert_eq!(lines.matches("clock_nanosleep").count() + lines.matches("nanosleep(").count(), 48);
    assert!(lines.contains("exit(5)") || lines.contains("exit_group(5)"), "{lines}");
    let outcome = Outcome { stderr: Vec::new(), ..traced.outcome.clone() };
    assert_eq!(Replayed { outcome, ..traced }, again);
}

#[test]
fn it_stops_where_it_is_told_to() {
    let Some(desk) = Desk::new(COUNT, Form::Module) else { return };
    let run = desk.record(options()).unwrap();
    let whole = desk.replay(None, false).unwrap();
    for n in [1, 2, 3, 1000, 40_000, 1_000_003, whole.instructions / 2, whole.instructions - 1] {
        let stopped = desk.replay(Some(StopAt::Instruction(n)), false).unwrap();
        assert!(stopped.stopped && stopped.instructions == n, "{n}: {stopped:?}");
        assert!(run.stdout.starts_with(&stopped.outcome.stdout), "{n}");
        assert_eq!(desk.replay(Some(StopAt::Instruction(n)), false).unwrap(), stopped);
        let said = String::from_utf8(stopped.outcome.stderr).unwrap();
        assert!(said.contains(&format!("stopped at instruction {n}, ")), "{said}");
        assert!(said.contains("process ") && said.contains(" at 0x4"), "{said}");
    }
    // The parent's first write, and the child's first, which has two bytes, too.
    let stopped = desk.replay(call("write", 2), false).unwrap();
    assert!(stopped.stopped && stopped.outcome.stdout.is_empty(), "{stopped:?}");
    let later = desk.replay(call("write", 41), false).unwrap();
    assert!(later.instructions > stopped.instructions && later.calls > stopped.calls);
    let all = StopAt::Call { name: None, nth: later.calls + 1 };
    let same = desk.replay(Some(all), false).unwrap();
    assert_eq!((same.instructions, same.calls), (later.instructions, later.calls));
    // What never comes.
    for never in [call("write", 1000), Some(StopAt::Instruction(whole.instructions + 1))] {
        assert_eq!(desk.replay(never, false).unwrap(), whole);
    }
    let Outcome { status, stderr, .. } = desk.replay(call("nonsense", 1), false).unwrap().outcome;
    let said = String::from_utf8(stderr).unwrap();
    assert!(status == 125 && said.contains("there is no system call \"nonsense\""), "{said}");
}

#[test]
fn chance_and_input_are_the_same_again() {
    let Some(desk) = Desk::new(TOUCH, Form::Module) else { return };
    let mut seen = std::collections::BTreeSet::new();
    for byte in *b"xyz" {
        let stdin = Input::Bytes(vec![byte]);
        let run = desk.record(RunOptions { stdin, ..options() }).unwrap();
        assert_eq!((run.status, run.stdout.len(), run.stdout[0]), (0, 17, byte));
        assert_eq!(desk.replay(None, false).unwrap().outcome, run);
        assert!(seen.insert(run.stdout));
    }
    // It has touched 50 MiB, and that is in no record.
    let size = std::fs::metadata(desk.path("run.rec")).unwrap().len();
    assert!(size < 10_000, "{size} bytes");
}

#[test]
fn what_is_no_whole_record_of_this_box_is_refused() {
    let Some(desk) = Desk::new(TOUCH, Form::Module) else { return };
    let stdin = Input::Bytes(b"x".to_vec());
    desk.record(RunOptions { stdin, ..options() }).unwrap();
    let (path, whole) = (desk.path("run.rec"), std::fs::read(desk.path("run.rec")).unwrap());
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        why(desk.replay(None, false))
    };
    assert!(matches!(refused(b""), RecordError::Foreign));
    assert!(matches!(refused(b"something else, and longer than its head"), RecordError::Foreign));
    for len in [20, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..len]);
        assert!(matches!(error, RecordError::Truncated(at) if at == len as u64), "{error}");
    }
    for at in (12..whole.len()).step_by(7) {
        let mut other = whole.clone();
        other[at] ^= 0x10;
        refused(&other);
    }
    std::fs::write(&path, &whole).unwrap();
    desk.replay(None, false).unwrap();
    // One byte behind its end makes it another box.
    let mut wasm = std::fs::read(desk.path("box.wasm")).unwrap();
    wasm.extend(b"\0\x02\x01x");
    std::fs::write(desk.path("box.wasm"), wasm).unwrap();
    let error = why(desk.replay(None, false));
    assert!(matches!(error, RecordError::OtherBox { .. }), "{error}");
}

#[test]
fn what_cannot_be_recorded_says_why() {
    let Some(desk) = Desk::new(TOUCH, Form::Component) else { return };
    let error = desk.record(options()).unwrap_err();
    assert!(matches!(error, RunError::Record(RecordError::Component)), "{error}");
    assert!(!desk.path("run.rec").exists());

    let Some(desk) = Desk::new(COUNT, Form::Module) else { return };
    let freezer = Freezer::new();
    let asked = std::thread::spawn({
        let freezer = freezer.clone();
        move || freezer.freeze(|_| (Next::Ends(1), ()))
    });
    let run = desk.record(RunOptions { freezer: Some(freezer), ..options() }).unwrap();
    assert_eq!(run.status, 5);
    let refused = asked.join().unwrap().unwrap_err();
    assert!(matches!(refused, FreezeError::Recorded | FreezeError::Over), "{refused}");
    assert_eq!(desk.replay(None, false).unwrap().outcome, run);

    let nowhere = RecordTo { path: Path::new("/nowhere/run.rec").to_owned(), name: String::new() };
    let options = RunOptions { record: Some(nowhere), ..options() };
    let error = desk.runtime.run_file(&desk.path("box.wasm"), options).unwrap_err();
    assert!(matches!(error, RunError::Record(RecordError::Write(_))), "{error}");
}
