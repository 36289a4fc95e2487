//! A place of its own for `boxer` under test. What needs the guest program in it is skipped without, and says so.
#![allow(dead_code, clippy::unwrap_used, reason = "each test takes what it needs")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A folder with a store, a place for names, and a build's context.
pub struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    /// An empty one.
    pub fn empty() -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        for dir in ["context", "run"] {
            fs::create_dir(home.path(dir)).unwrap();
        }
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Builds the context, with options that say where to. Whether there is a guest program to build with.
    pub fn builds(&self, dockerfile: &str, options: &[&str]) -> bool {
        fs::write(self.path("context/Dockerfile"), dockerfile).unwrap();
        let build = ["build", "-q", "--offline", "--translate=none"];
        let (code, _, stderr) = self.run(&[&build, options, &["context"]].concat(), b"");
        if stderr.contains("no guest program") {
            println!("skipped: this build of boxer has no guest program in it");
            return false;
        }
        assert_eq!(code, 0, "{stderr}");
        true
    }

    pub fn boxer(&self) -> Command {
        let mut boxer = Command::new(env!("CARGO_BIN_EXE_boxer"));
        boxer
            .current_dir(self.folder.path())
            .env("BOXER_HOME", self.path("store"))
            .env("XDG_CACHE_HOME", std::env::temp_dir().join("boxer-tests"))
            .env("XDG_RUNTIME_DIR", self.path("run"));
        boxer
    }

    /// Starts it with pipes.
    pub fn start(&self, args: &[&str]) -> Child {
        let mut boxer = self.boxer();
        boxer.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        boxer.spawn().unwrap()
    }

    /// Runs it on this input: status, output, and what it said.
    pub fn run(&self, args: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
        let mut child = self.start(args);
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writing = std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), output.stdout, stderr)
    }
}
