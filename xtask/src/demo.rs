//! `cargo xtask demo`: the first example, built and asked.

use crate::examples::{self, Hub};
use crate::paths::Workspace;
use crate::{boxer, fixtures, guest, packages, process};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Sets everything up, builds the first example and lets its programs answer.
pub fn run(workspace: &Workspace) -> Result<()> {
    packages::ensure(&[packages::DEMO])?;
    guest::run(workspace)?;
    boxer::build(workspace)?;
    fixtures::run(workspace)?;
    let wasm = debian_as(workspace, &["wasm"])?.remove(0);
    let size = std::fs::metadata(&wasm)?.len();
    println!("\n{} ({:.1} MB)", wasm.display(), size as f64 / 1e6);
    show(workspace, &wasm, &[])?;
    for command in COMMANDS {
        show(workspace, &wasm, command)?;
    }
    Ok(())
}

/// What the demo asks the programs of the Debian example, as `--entrypoint` and arguments.
const COMMANDS: &[&[&str]] = &[
    &["/bin/cat", "/etc/os-release"],
    &[
        "/bin/sh",
        "-c",
        "ls -l /bin | wc -l; uname -srm; id; seq 1 100000 | sort -R | sort -n | tail -1",
    ],
    &["/usr/bin/perl", "-e", "print join(' ', map { $_ ** 2 } 1 .. 10), qq{\\n}"],
    &[
        "/usr/bin/python3",
        "-c",
        "import sys, hashlib; print(sys.version, hashlib.sha256(b'boxer').hexdigest())",
    ],
];

/// Builds the Debian example in several forms, which are types of `--output`; the files.
pub fn debian_as(workspace: &Workspace, forms: &[&str]) -> Result<Vec<PathBuf>> {
    let folder = workspace.root.join("Dockerfile.examples/debian");
    examples::build(workspace, &Hub::start(workspace)?, &folder, forms)
}

fn show(workspace: &Workspace, wasm: &Path, words: &[&str]) -> Result<()> {
    let mut boxer = boxer::command(workspace)?;
    boxer.arg("run");
    if let Some((entrypoint, args)) = words.split_first() {
        boxer.args(["--entrypoint", entrypoint]).arg(wasm).args(args);
    } else {
        boxer.arg(wasm);
    }
    println!("\n$ boxer run {}", words.join(" "));
    process::run(boxer.stdin(Stdio::null()))
}
