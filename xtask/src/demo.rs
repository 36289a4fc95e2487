//! `cargo xtask demo`, and the examples that it and the tests build and run.
//!
//! An example is a folder of Dockerfile.examples/ with a `Dockerfile` and an `expected` file: the output
//! of `boxer run` without arguments. Its `FROM` lines name images of a registry on loopback, whose
//! address is the build argument `REGISTRY`.

use crate::paths::Workspace;
use crate::registry::Registry;
use crate::{boxer, fixtures, guest, packages, process};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Sets everything up, builds the first example and lets its programs answer.
pub fn run(workspace: &Workspace) -> Result<()> {
    packages::ensure(&[packages::DEMO])?;
    guest::run(workspace)?;
    boxer::build(workspace)?;
    fixtures::run(workspace)?;
    let registry = registry(workspace)?;
    let example = workspace.root.join("Dockerfile.examples/debian");
    let wasm = build(workspace, &registry, &example, &["wasm"])?.remove(0);
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
    build(workspace, &registry(workspace)?, &folder, forms)
}

/// Builds and runs every example, and compares the output.
pub fn examples(workspace: &Workspace) -> Result<()> {
    let registry = registry(workspace)?;
    let mut folders: Vec<PathBuf> = std::fs::read_dir(workspace.root.join("Dockerfile.examples"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("Dockerfile").is_file())
        .collect();
    folders.sort();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "alpine" && !workspace.fixtures().join("alpine").exists() {
            println!("example: {name}: skipped, no Alpine image is at hand");
            continue;
        }
        let wasm = build(workspace, &registry, &folder, &["wasm"])?.remove(0);
        let output =
            boxer::command(workspace)?.arg("run").arg(&wasm).stdin(Stdio::null()).output()?;
        let expected = std::fs::read_to_string(folder.join("expected"))
            .with_context(|| format!("example {name} has no `expected`"))?;
        let found = String::from_utf8_lossy(&output.stdout);
        if found != expected || !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!(
                "example {name}: {}\n--- expected\n{expected}\n--- found\n{found}\n{errors}",
                output.status
            );
        }
        println!("example: {name}: ok");
    }
    Ok(())
}

/// A registry with the fixtures' images.
fn registry(workspace: &Workspace) -> Result<Registry> {
    let dir = workspace.target.join("registry");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let registry = Registry::start(&dir)?;
    registry.push(&fixtures::debian(workspace)?.join("layout"), "debian", "bookworm-slim")?;
    if let Some(alpine) = fixtures::alpine(workspace)? {
        registry.push(&alpine.join("layout"), "alpine", "latest")?;
    }
    Ok(registry)
}

fn build(
    workspace: &Workspace,
    registry: &Registry,
    folder: &Path,
    forms: &[&str],
) -> Result<Vec<PathBuf>> {
    let name = folder.file_name().context("example without a name")?;
    let out = workspace.target.join("examples");
    crate::paths::make_dir(&out)?;
    let file = |form: &&str| match *form {
        "wasm" => out.join(name).with_extension("wasm"),
        form => out.join(name).with_extension(format!("{form}.wasm")),
    };
    let files: Vec<PathBuf> = forms.iter().map(file).collect();
    let mut build = boxer::command(workspace)?;
    build.arg("build").arg("--build-arg").arg(format!("REGISTRY={}", registry.address()));
    for (form, file) in forms.iter().zip(&files) {
        build.arg("-o").arg(format!("type={form},dest={}", file.display()));
    }
    // Static programs for FROM scratch come from the fixtures.
    build
        .arg("--build-context")
        .arg(format!("programs={}", workspace.fixtures().join("programs").display()));
    process::run(build.arg(folder))?;
    Ok(files)
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
