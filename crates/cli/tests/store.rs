//! The local store from outside: names that lead to a box and its image, the commands about them, and damage. These need the guest
//! program in the `boxer` under test; without it they say so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Home {
    folder: tempfile::TempDir,
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Home {
    /// With a context of one file.
    fn new() -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(home.path("context")).unwrap();
        fs::write(home.path("context/a.txt"), "alpha").unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn boxer(&self, args: &[&str]) -> Outcome {
        let output = Command::new(env!("CARGO_BIN_EXE_boxer"))
            .args(args)
            .current_dir(self.folder.path())
            .env("BOXER_HOME", self.path("store"))
            .env("XDG_CACHE_HOME", std::env::temp_dir().join("boxer-tests"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    fn ok(&self, args: &[&str]) -> String {
        let outcome = self.boxer(args);
        assert_eq!(outcome.code, 0, "{args:?}: {}", outcome.stderr);
        outcome.stdout
    }

    /// Builds a Dockerfile; false where there is no guest program.
    fn build(&self, dockerfile: &str, args: &[&str]) -> bool {
        fs::write(self.path("context/Dockerfile"), dockerfile).unwrap();
        let all = [&["build", "-q", "--offline"], args, &["context"]].concat();
        let outcome = self.boxer(&all);
        if outcome.stderr.contains("no guest program") {
            println!("skipped: this build of boxer has no guest program in it");
            return false;
        }
        assert_eq!(outcome.code, 0, "{args:?}: {}", outcome.stderr);
        true
    }

    /// The store's blobs that are boxes, with their digests.
    fn boxes(&self) -> Vec<PathBuf> {
        let blobs = fs::read_dir(self.path("store/blobs/sha256")).unwrap();
        let blobs = blobs.map(|entry| entry.unwrap().path());
        blobs.filter(|path| fs::read(path).unwrap().starts_with(b"\0asm")).collect()
    }
}

/// Turns one bit in the middle of a file over.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_name_leads_to_the_box_and_to_its_image() {
    let home = Home::new();
    if !home.build("FROM scratch\nCOPY a.txt /\nENV A=1\n", &["-t", "base"]) {
        return;
    }
    assert!(home.build("FROM base\nCOPY a.txt /b.txt\n", &["-t", "app:1"]));
    let listing = home.ok(&["images"]);
    for (name, kind) in
        [("base:latest", "image"), ("base:latest", "box"), ("app:1", "image"), ("app:1", "box")]
    {
        let found = listing
            .lines()
            .any(|line| line.split_whitespace().take(2).collect::<Vec<_>>() == [name, kind]);
        assert!(found, "{name} {kind} in\n{listing}");
    }
    assert!(home.ok(&["inspect", "app:1"]).contains("\"kind\": \"box\""));
    let image = home.ok(&["inspect", "--image", "app:1"]);
    assert!(image.contains("\"kind\": \"image\"") && image.contains("\"A=1\""), "{image}");
    assert_eq!(home.ok(&["diff", "base", "app:1"]), "A /b.txt\n");
    let history = home.ok(&["history", "app:1"]);
    assert!(history.contains("COPY a.txt /b.txt # buildkit"), "{history}");

    home.ok(&["tag", "app:1", "again"]);
    home.ok(&["save", "-o", "box.tar", "app:1"]);
    home.ok(&["save", "--image", "-o", "image.tar", "app:1"]);
    assert_eq!(home.ok(&["rmi", "app:1"]), "Untagged: app:1\n");
    assert_eq!(home.boxer(&["rmi", "app:1"]).code, 1);
    assert_eq!(home.boxer(&["history", "app:1"]).code, 1);
    assert!(home.ok(&["history", "again"]).contains("b.txt"));
    assert_eq!(home.ok(&["load", "-i", "image.tar"]), "Loaded: app:1\n");
    assert!(home.ok(&["inspect", "app:1"]).contains("\"kind\": \"image\""));
    assert_eq!(home.ok(&["load", "-i", "box.tar"]), "Loaded: app:1\n");
    assert!(home.ok(&["inspect", "app:1"]).contains("\"kind\": \"box\""));

    let before = home.ok(&["df"]);
    assert!(before.contains("Build cache"), "{before}");
    home.ok(&["rmi", "app:1", "again", "base"]);
    let freed = home.ok(&["prune", "--all"]);
    assert!(freed.contains("MB"), "{freed}");
    assert!(home.boxes().is_empty());
}

#[test]
fn a_damaged_box_is_neither_run_nor_written() {
    let home = Home::new();
    let dockerfile = "FROM scratch\nCOPY a.txt /\n";
    if !home.build(dockerfile, &["-t", "app"]) {
        return;
    }
    let boxes = home.boxes();
    let [path] = boxes.as_slice() else { panic!("{boxes:?}") };
    let whole = fs::read(path).unwrap();
    damage(path);
    for args in [&["run", "app"][..], &["inspect", "app"], &["save", "-o", "x.tar", "app"]] {
        let outcome = home.boxer(args);
        assert_ne!(outcome.code, 0, "{args:?}");
        assert!(outcome.stderr.contains("damaged"), "{args:?}: {}", outcome.stderr);
    }
    assert!(!home.path("x.tar").exists());
    // Building mends it.
    assert!(home.build(dockerfile, &["-t", "app", "-o", "out.wasm"]));
    assert_eq!(fs::read(home.path("out.wasm")).unwrap(), whole);
    assert_eq!(fs::read(path).unwrap(), whole);
    damage(path);
    let repaired = home.ok(&["prune", "--repair"]);
    assert!(repaired.starts_with("Damaged, removed: sha256:"), "{repaired}");
    assert!(home.build(dockerfile, &["--no-cache", "-t", "app"]));
    assert_eq!(fs::read(path).unwrap(), whole);
}

#[test]
fn a_damaged_layer_is_made_again() {
    let home = Home::new();
    let dockerfile = "FROM scratch\nCOPY a.txt /\n";
    let build = |home: &Home| home.build(dockerfile, &["-o", "type=tar,dest=x.tar"]);
    assert!(build(&home));
    let whole = fs::read(home.path("x.tar")).unwrap();
    let blobs = fs::read_dir(home.path("store/blobs/sha256")).unwrap();
    for blob in blobs.map(|entry| entry.unwrap().path()) {
        if fs::read(&blob).unwrap().starts_with(&[0x1f, 0x8b]) {
            damage(&blob);
        }
    }
    assert!(build(&home));
    assert_eq!(fs::read(home.path("x.tar")).unwrap(), whole);
}

#[test]
fn several_outputs_are_written_at_once() {
    let home = Home::new();
    let args = [
        "-o",
        "type=local,dest=out",
        "-o",
        "type=tar,dest=x.tar",
        "-o",
        "type=oci,dest=oci.tar",
        "-o",
        "type=docker,dest=docker.tar",
        "--metadata-file",
        "meta.json",
        "--iidfile",
        "iid",
    ];
    assert!(home.build("FROM scratch\nCOPY a.txt /d/\n", &args));
    assert_eq!(fs::read_to_string(home.path("out/d/a.txt")).unwrap(), "alpha");
    for name in ["x.tar", "oci.tar", "docker.tar"] {
        assert!(fs::metadata(home.path(name)).unwrap().len() > 1000, "{name}");
    }
    let metadata = fs::read_to_string(home.path("meta.json")).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let digest = fs::read_to_string(home.path("iid")).unwrap();
    assert_eq!(metadata["containerimage.digest"], digest.as_str());
    assert_eq!(metadata["containerimage.descriptor"]["digest"], digest.as_str());
}

#[test]
fn code_becomes_part_of_a_box_unless_told_not_to() {
    let home = Home::new();
    // No program: the training fails, and the box is built all the same.
    let dockerfile = "FROM scratch\nCOPY a.txt /\nENTRYPOINT [\"/a.txt\"]\n";
    if !home.build(dockerfile, &["-t", "auto"]) {
        return;
    }
    assert!(home.build(dockerfile, &["-t", "none", "--translate=none"]));
    let inspected = |name: &str| home.ok(&["inspect", name]);
    assert!(inspected("auto").contains("\"regions\": 0"), "{}", inspected("auto"));
    let none = inspected("none");
    assert!(none.contains("\"frozen\": null") && !none.contains("tail calls"), "{none}");
}
