//! Each `fixtures/build/*.Dockerfile` is built on a context made here, and the layers, the config
//! and the errors compared with the `.expected` file beside it. `BOXER_BLESS=1` writes those anew.
//! RUN is not tried here: it needs the guest.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use build::{BuildOptions, Built, Events, MainContext, StepId, Workshop};
use dockerfile::scope::Platform;
use oci::{Client, ClientOptions, Store};

#[derive(Default)]
struct Recorder {
    cached: Mutex<Vec<u32>>,
    started: Mutex<Vec<String>>,
}

impl Events for Recorder {
    fn started(&self, _step: StepId, name: &str) {
        if !name.starts_with("[internal]") {
            self.started.lock().unwrap().push(name.to_owned());
        }
    }
    fn cached(&self, step: StepId) {
        self.cached.lock().unwrap().push(step.0);
    }
}

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        let context = bench.path("context");
        fs::create_dir_all(context.join("dir/sub")).unwrap();
        for (name, mode, text) in [
            ("a.txt", 0o644, "alpha"),
            ("b.txt", 0o600, "beta"),
            ("sp ace", 0o644, "space"),
            ("dir/one", 0o644, "1"),
            ("dir/two.md", 0o644, "2"),
            ("dir/sub/three", 0o755, "3"),
            ("x.secret", 0o644, "hidden"),
            ("keep.secret", 0o644, "not hidden"),
            (".dockerignore", 0o644, "# ours\n*.secret\n!keep.secret\n/archive.tar.gz.bak\n"),
        ] {
            fs::write(context.join(name), text).unwrap();
            fs::set_permissions(context.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("sub/three", context.join("dir/link")).unwrap();
        symlink("dir", context.join("link-to-dir")).unwrap();
        symlink("loop", context.join("loop")).unwrap();
        let archive = archive();
        fs::write(context.join("plain.tar"), &archive).unwrap();
        fs::write(context.join("archive.tar.gz"), gzip(&archive)).unwrap();
        fs::write(context.join("not-a-tar.gz"), gzip(b"just text")).unwrap();
        for entry in ["dir", "dir/sub", "", "plain.tar", "archive.tar.gz", "not-a-tar.gz"] {
            let mode = if entry.ends_with('r') || entry.ends_with('z') { 0o644 } else { 0o755 };
            let mode = if matches!(entry, "dir") { 0o755 } else { mode };
            fs::set_permissions(context.join(entry), fs::Permissions::from_mode(mode)).unwrap();
        }
        set_times(&context);
        fs::create_dir(bench.path("other")).unwrap();
        fs::write(bench.path("other/file.txt"), "other").unwrap();
        fs::set_permissions(bench.path("other/file.txt"), fs::Permissions::from_mode(0o644))
            .unwrap();
        let base = bench.path("base");
        fs::create_dir_all(base.join("real/er")).unwrap();
        for folder in ["", "real", "real/er"] {
            fs::set_permissions(base.join(folder), fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink("real", base.join("to-dir")).unwrap();
        symlink("nowhere/yet", base.join("dangling")).unwrap();
        symlink("/real", base.join("abs")).unwrap();
        set_times(&bench.path("other"));
        set_times(&base);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn workshop(&self, store: &str) -> (Workshop, Arc<Recorder>) {
        let events = Arc::new(Recorder::default());
        let options = ClientOptions { offline: true, ..ClientOptions::default() };
        let workshop = Workshop {
            interrupt: runtime::Interrupt::new(),
            store: Store::open(self.path(store)).unwrap(),
            client: Client::new(options).unwrap(),
            runtime: runtime::Runtime::with_cache_dir(&self.path("cache")).unwrap(),
            guest: None,
            events: Arc::clone(&events) as Arc<dyn Events>,
        };
        (workshop, events)
    }

    fn options(&self, text: &str) -> Result<BuildOptions, dockerfile::Error> {
        let contexts = [("other", "other"), ("base", "base")];
        let contexts = contexts
            .map(|(name, folder)| (name.to_owned(), self.path(folder).display().to_string()));
        let dockerfile = dockerfile::Dockerfile::parse(text)?;
        Ok(BuildOptions {
            context: Some(MainContext::directory(&self.path("context")).unwrap()),
            named_contexts: BTreeMap::from(contexts),
            ..BuildOptions::new(dockerfile)
        })
    }

    fn build(&self, workshop: &Workshop, text: &str) -> Result<Built, build::Error> {
        build::build(workshop, &self.options(text)?)
    }
}

fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o640);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1234);
    header.set_size(6);
    tar.append_data(&mut header, "inner/file", b"inside".as_slice()).unwrap();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "inner/link", "file").unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Every file and directory gets the same time, deepest first.
fn set_times(folder: &Path) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            set_times(&entry.path());
        } else if entry.file_type().unwrap().is_file() {
            fs::File::options().write(true).open(entry.path()).unwrap().set_modified(time).unwrap();
        }
    }
    fs::File::open(folder).unwrap().set_modified(time).unwrap();
}

fn show(workshop: &Workshop, built: &Built) -> String {
    let mut out = String::new();
    for layer in &built.image.layers {
        writeln!(out, "layer").unwrap();
        let blob = workshop.store.open_blob(&layer.digest).unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(blob));
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            let kind = format!("{:?}", header.entry_type());
            // The times of symbolic links are those of the test's run.
            let time = if kind == "Symlink" { 0 } else { header.mtime().unwrap() };
            let path = entry.path().unwrap().display().to_string();
            let link = entry.link_name().unwrap().map(|link| format!(" -> {}", link.display()));
            let (mode, uid, gid) =
                (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let shown = match std::str::from_utf8(&content) {
                Ok("") => String::new(),
                Ok(text) if text.contains('\0') => " (bytes)".to_owned(),
                Ok(text) => format!(" {text:?}"),
                Err(_) => " (bytes)".to_owned(),
            };
            writeln!(
                out,
                "  {kind} {mode:04o} {uid}:{gid} {time} {path}{}{shown}",
                link.unwrap_or_default()
            )
            .unwrap();
        }
    }
    let config = serde_json::json!({
        "author": built.image.config.author,
        "config": built.image.config.config,
        "history": built.image.config.history.iter().map(|h| (&h.created_by, h.empty_layer)).collect::<Vec<_>>(),
    });
    writeln!(out, "{}", serde_json::to_string_pretty(&config).unwrap()).unwrap();
    out
}

fn show_error(bench: &Bench, error: &build::Error) -> String {
    let span = error.span.map(|span| format!(" on {span}")).unwrap_or_default();
    let hint = error.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    let text = format!("error{span}: {error}{hint}\n");
    text.replace(&bench.folder.path().display().to_string(), "FOLDER")
}

#[test]
fn dockerfiles_build_as_expected() {
    let folder = std::env::current_dir().unwrap().join("../../fixtures/build");
    let mut names: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "Dockerfile"));
    names.sort();
    assert!(names.len() > 20, "the fixtures are missing");
    let bench = Bench::new();
    let (workshop, _) = bench.workshop("store");
    let mut wrong = Vec::new();
    for name in names {
        let text = fs::read_to_string(&name).unwrap();
        let result = bench.build(&workshop, &text);
        let bad = name.file_name().unwrap().to_string_lossy().starts_with("bad-");
        let got = match &result {
            Ok(built) => show(&workshop, built),
            Err(error) => show_error(&bench, error),
        };
        assert_eq!(result.is_err(), bad, "{}: {got}", name.display());
        let expected = name.with_extension("expected");
        if std::env::var_os("BOXER_BLESS").is_some() {
            fs::write(&expected, &got).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", name.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const STEPS: &str =
    "FROM scratch AS a\nCOPY dir /dir\nWORKDIR /w\nFROM a\nARG X\nCOPY a.txt $X/\nLABEL z=1\n";

#[test]
fn the_cache_knows_what_matters() {
    let bench = Bench::new();
    let (workshop, events) = bench.workshop("store");
    let cached_after = |change: &dyn Fn(), text: &str| {
        change();
        events.cached.lock().unwrap().clear();
        events.started.lock().unwrap().clear();
        let built = bench.build(&workshop, text).unwrap();
        let steps = events.started.lock().unwrap().len();
        (built.image.digest, steps, events.cached.lock().unwrap().len())
    };
    let (first, ..) = cached_after(&|| {}, STEPS);
    assert_eq!(cached_after(&|| {}, STEPS), (first.clone(), 3, 3));
    // Times do not matter; contents and modes do, and only for the step that reads them.
    let file = bench.path("context/a.txt");
    let touch = || {
        fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(SystemTime::now())
            .unwrap()
    };
    assert_eq!(cached_after(&touch, STEPS), (first.clone(), 3, 3));
    let (second, steps, cached) = cached_after(&|| fs::write(&file, "changed").unwrap(), STEPS);
    assert_eq!((steps, cached), (3, 2));
    assert_ne!(first, second);
    let mode = || fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(cached_after(&mode, STEPS).2, 2);
    // A label is no step.
    assert_eq!(cached_after(&|| {}, &STEPS.replace("z=1", "z=2")).2, 3);
    assert_eq!(cached_after(&|| {}, &STEPS.replace("$X/", "/else/")).2, 2);
    // A lost blob is made again.
    let built = bench.build(&workshop, STEPS).unwrap();
    fs::remove_file(workshop.store.blob_path(&built.image.layers[1].digest)).unwrap();
    assert_eq!(cached_after(&|| {}, STEPS).2, 2);
}

#[test]
fn the_same_inputs_give_the_same_image() {
    let bench = Bench::new();
    let digest = |store: &str, epoch: Option<i64>| {
        let (workshop, _) = bench.workshop(store);
        let mut options = bench.options(STEPS).unwrap();
        options.source_date_epoch = epoch;
        options.no_cache = true;
        build::build(&workshop, &options).unwrap()
    };
    assert_eq!(digest("one", None).image.digest, digest("two", None).image.digest);
    let dated = digest("one", Some(1000));
    assert_eq!(dated.image.digest, digest("two", Some(1000)).image.digest);
    assert_eq!(dated.image.config.created.as_deref(), Some("1970-01-01T00:16:40Z"));
    let (workshop, _) = bench.workshop("one");
    let listing = show(&workshop, &dated);
    assert!(listing.contains(" 1000 dir/one"), "{listing}");
    assert!(!listing.contains("1600000000"), "{listing}");
}

#[test]
fn triggers_of_a_base_run_in_the_next_build() {
    let bench = Bench::new();
    let (workshop, _) = bench.workshop("store");
    let base = bench
        .build(&workshop, "FROM scratch\nONBUILD COPY a.txt /triggered/\nONBUILD ENV T=1\n")
        .unwrap();
    assert_eq!(base.image.config.config.on_build, ["COPY a.txt /triggered/", "ENV T=1"]);
    let layout = bench.path("layout");
    oci::export_layout(
        &workshop.store,
        &base.image.digest,
        &layout,
        Some(&oci::Reference::parse("base:1").unwrap()),
    )
    .unwrap();
    let mut options = bench.options("FROM onbuild-base\nCOPY b.txt /\n").unwrap();
    let value = format!("oci-layout://{}:1", layout.display());
    options.named_contexts.insert("onbuild-base".to_owned(), value);
    let built = build::build(&workshop, &options).unwrap();
    let listing = show(&workshop, &built);
    assert!(listing.contains("triggered/a.txt"), "{listing}");
    assert!(listing.contains("\"T=1\""), "{listing}");
    assert!(built.image.config.config.on_build.is_empty());
    // A trigger may want a stage that nothing in the Dockerfile said was needed, and one that needs it in turn.
    let base = bench.build(&workshop, "FROM scratch\nONBUILD COPY --from=later / /\n").unwrap();
    let layout = bench.path("layout2");
    let name = oci::Reference::parse("base:1").unwrap();
    oci::export_layout(&workshop.store, &base.image.digest, &layout, Some(&name)).unwrap();
    let of = |text: &str| {
        let mut options = bench.options(text).unwrap();
        let value = format!("oci-layout://{}:1", layout.display());
        options.named_contexts.insert("onbuild-base".to_owned(), value);
        build::build(&workshop, &options).map(|built| show(&workshop, &built))
    };
    let text = "FROM onbuild-base AS first\nFROM scratch AS later\nCOPY a.txt /t\nFROM first\n";
    assert!(of(text).unwrap().contains("alpha"));
    let text = "FROM onbuild-base AS first\nFROM first AS later\n";
    let error = of(text).unwrap_err().to_string();
    assert!(error.contains("circular"), "{error}");
}

#[test]
fn a_build_for_wasi_has_bases_for_it() {
    let bench = Bench::new();
    let (workshop, _) = bench.workshop("store");
    let build = |text: &str| {
        let options = bench.options(text).unwrap();
        build::build(&workshop, &BuildOptions { platform: Platform::wasi(), ..options })
    };
    let built = build(concat!(
        "FROM --platform=$BUILDPLATFORM scratch AS compiler\n",
        "ARG TARGETPLATFORM\nARG BUILDPLATFORM\nENV WHAT=$BUILDPLATFORM-$TARGETPLATFORM\n",
        "FROM compiler AS same\nFROM scratch\nCOPY --from=same / /\nLABEL a=b\n",
    ));
    let config = built.unwrap().image.config;
    assert_eq!((&*config.os, &*config.architecture), ("wasi", "wasm"));
    let built = build(
        "FROM --platform=$BUILDPLATFORM scratch AS a\nFROM a\nARG TARGETARCH\nENV A=$TARGETARCH\n",
    );
    let config = built.unwrap().image.config;
    assert_eq!((&*config.os, &*config.architecture), ("linux", "amd64"));
    assert_eq!(config.config.env.last().map(String::as_str), Some("A=wasm"));
    // A folder of files is no image of a module.
    let error = build("FROM base\n").err().unwrap();
    assert!(show_error(&bench, &error).contains("FROM --platform=$BUILDPLATFORM"), "{error}");
}
