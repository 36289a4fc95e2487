//! Programs that are WASI modules, with an image's files: what they see is what they see in a directory of the host.
#![allow(clippy::unwrap_used)] // the helpers of tests are tests, too

use link::{LinkInput, Linker, Output as Form, Program};
use rootfs::config::BoxConfig;
use rootfs::{Metadata, Writer};
use runtime::{Input, Mounted, Outcome, Output, Overrides, Preopen, RunOptions, Runtime};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The image's files.
const FILES: [(&str, &str); 2] = [("lower.txt", "from below\n"), ("dir/inner", "inside\n")];

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let cache = std::env::temp_dir().join("boxer-tests").join("program");
    RUNTIME.get_or_init(|| Runtime::with_cache_dir(&cache).unwrap())
}

/// An image of [`FILES`] in `/shelf`, with links as images have them.
fn image() -> Vec<u8> {
    let meta = |mode| Metadata { mode, ..Metadata::default() };
    let mut tree = Writer::new(meta(0o755));
    let work = tree.dir(tree.root(), b"shelf", meta(0o755)).unwrap();
    let dir = tree.dir(work, b"dir", meta(0o755)).unwrap();
    let etc = tree.dir(tree.root(), b"etc", meta(0o755)).unwrap();
    tree.symlink(etc, b"absolute", meta(0o777), b"/shelf/lower.txt").unwrap();
    tree.dir(tree.root(), b"mnt", meta(0o755)).unwrap();
    for (parent, (path, text)) in [work, dir].into_iter().zip(FILES) {
        let name = path.rsplit('/').next().unwrap();
        tree.file(parent, name.as_bytes(), meta(0o644), text.len() as u64).unwrap();
    }
    let mut bytes = Vec::new();
    let mut contents = FILES.iter();
    tree.write(&mut bytes, |_| Ok(Cursor::new(contents.next().unwrap().1))).unwrap();
    bytes
}

fn link(program: &[u8], form: Form) -> Vec<u8> {
    let image = image();
    let config = BoxConfig {
        entrypoint: vec!["/bin/probe.wasm".into()],
        cmd: vec!["args".into(), "of the image".into()],
        env: vec!["COLOR=green".into(), "SHAPE=round".into()],
        workdir: "/shelf/dir".into(),
        ..BoxConfig::default()
    };
    let input = LinkInput {
        image: &mut image.as_slice(),
        image_len: image.len() as u64,
        boot_len: image.len() as u64,
        config: &config,
        image_config_json: None,
        output: form,
        frozen: None,
    };
    let program = Program::read(program).unwrap();
    let guest = link::program_guest_wasm().unwrap();
    let mut out = Vec::new();
    let linker = Linker::new(guest, runtime().cache().clone()).with_program(&program);
    linker.link(input, &mut out).unwrap();
    out
}

/// The test program, if it was made.
fn probe() -> Option<Vec<u8>> {
    let fixtures = std::env::var_os("BOXER_FIXTURES").map(PathBuf::from);
    let found = fixtures.and_then(|dir| std::fs::read(dir.join("programs/wasi-probe.wasm")).ok());
    if found.is_none() || link::program_guest_wasm().is_err() {
        println!(
            "skipped: no test program, or no guest program: cargo xtask fixtures, cargo xtask guest"
        );
        return None;
    }
    found
}

fn options(args: &[&str]) -> RunOptions {
    RunOptions {
        args: args.iter().map(|word| (*word).to_owned()).collect(),
        stdin: Input::Empty,
        stdout: Output::Capture,
        stderr: Output::Capture,
        ..RunOptions::default()
    }
}

fn text(outcome: &Outcome) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&outcome.stdout), text(&outcome.stderr), outcome.status)
}

fn said(wasm: &[u8], args: &[&str]) -> String {
    let (out, err, status) = text(&runtime().run_bytes(wasm, options(args)).unwrap());
    assert_eq!((err.as_str(), status), ("", 0), "{args:?}: {out}");
    out
}

fn preopen(host: &Path, guest: &str) -> Preopen {
    Preopen {
        host: host.to_owned(),
        guest: guest.to_owned(),
        writable: true,
        mounted: Mounted::Directory,
    }
}

#[test]
fn files_are_as_in_a_directory_of_the_host() {
    let Some(probe) = probe() else { return };
    let tree = tempfile::tempdir().unwrap();
    for (path, content) in FILES {
        let path = tree.path().join("shelf").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let plain = RunOptions { preopens: vec![preopen(tree.path(), "/")], ..options(&["files"]) };
    let (expected, err, status) = text(&runtime().run_bytes(&probe, plain).unwrap());
    assert_eq!((err.as_str(), status), ("", 0));
    assert!(expected.lines().count() > 70, "{expected}");
    for form in [Form::Module, Form::Component] {
        let found = said(&link(&probe, form), &["files"]);
        for (expected, found) in expected.lines().zip(found.lines()) {
            assert_eq!(found, expected, "{form:?}");
        }
        assert_eq!(found.lines().count(), expected.lines().count());
    }
}

#[test]
fn a_program_gets_what_the_image_says() {
    let Some(probe) = probe() else { return };
    let wasm = link(&probe, Form::Module);
    let list = |words: &[&str]| format!("{:?}\n", [&["/bin/probe.wasm"], words].concat());
    assert_eq!(said(&wasm, &[]), list(&["args", "of the image"]));
    assert_eq!(said(&wasm, &["args", "", "b c"]), list(&["args", "", "b c"]));
    let names = ["env", "COLOR", "SHAPE", "PWD", "HOME", "BOXER_NET"];
    let env = vec![("COLOR".to_owned(), "blue".to_owned())];
    let outcome = runtime().run_bytes(&wasm, RunOptions { env, ..options(&names) }).unwrap();
    assert_eq!(
        text(&outcome).0,
        "COLOR=Some(\"blue\")\nSHAPE=Some(\"round\")\nPWD=Some(\"/shelf/dir\")\nHOME=Some(\"/\")\nBOXER_NET=None\n"
    );
    assert_eq!(said(&wasm, &["cat", "/shelf/dir/inner", "/etc/absolute"]), "inside\nfrom below\n");
    assert_eq!(said(&wasm, &["clocks"]), "after 2020: true\nslept: true\nrandom: true\n");
    assert_eq!(said(&wasm, &["memory", "300"]).split(',').next(), Some("471859200 bytes"));
    let upper = RunOptions { stdin: Input::Bytes(b"loud\n".to_vec()), ..options(&["upper"]) };
    assert_eq!(text(&runtime().run_bytes(&wasm, upper).unwrap()).0, "read: 5\nLOUD\n");
    for status in [0, 3, 126, 255] {
        let outcome = runtime().run_bytes(&wasm, options(&["exit", &status.to_string()])).unwrap();
        assert_eq!(outcome.status, status);
    }
    assert!(
        runtime()
            .run_bytes(&wasm, options(&["panic"]))
            .is_err_and(|error| error.to_string().contains("unreachable"))
    );
}

#[test]
fn host_directories_are_mounted_over_the_image() {
    let Some(probe) = probe() else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("given"), "by the host\n").unwrap();
    let given = RunOptions {
        preopens: vec![preopen(dir.path(), "/mnt")],
        ..options(&["cat", "/mnt/given", "/shelf/lower.txt", "/mnt/none"])
    };
    let outcome = runtime().run_bytes(&link(&probe, Form::Module), given).unwrap();
    assert_eq!(text(&outcome).0, "by the host\nfrom below\n/mnt/none: error Some(44) NotFound\n");
}

#[test]
fn what_a_program_cannot_have_is_refused() {
    let Some(probe) = probe() else { return };
    let wasm = link(&probe, Form::Module);
    let refused = |overrides: Overrides| {
        let options = RunOptions { overrides, ..options(&["args"]) };
        text(&runtime().run_bytes(&wasm, options).unwrap())
    };
    let (out, err, status) =
        refused(Overrides { entrypoint: Some("/bin/other".to_owned()), ..Overrides::default() });
    assert_eq!((out.as_str(), status), ("", 125));
    assert!(err.contains("/bin/probe.wasm") && err.contains("no other"), "{err}");
    let mut limited = Overrides::default();
    limited.limits.timeout = Some(1_000_000_000);
    let (_, err, status) = refused(limited);
    assert_eq!(status, 125);
    assert!(err.contains("a limit of time"), "{err}");
    let user = Overrides { user: Some("nobody".to_owned()), ..Overrides::default() };
    assert!(refused(user).1.contains("unable to find user nobody"));
}
