//! `cargo xtask replay-cpu`: the CPU's fixtures, and fresh cases from this machine's processor, in Wasm.
//!
//! Vectors take other paths in Wasm than natively, so the tests of `testkit` do not see them. `replay-cpu` of that crate
//! is built as the guest is and runs as a box does.

use crate::paths::{Workspace, make_dir};
use crate::{boxer, guest, process};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What `cargo build` and `cargo run` need to know about the programs.
const PACKAGE: [&str; 5] =
    ["--package", "boxer-testkit", "--no-default-features", "--features", "cpu"];

/// As [`run`] with a fresh `boxer`, or with `--no-build` the one that is there.
pub fn build_and_run(workspace: &Workspace, mut args: Vec<String>) -> Result<()> {
    if let Some(at) = args.iter().position(|arg| arg == "--no-build") {
        args.remove(at);
    } else {
        guest::run(workspace)?;
        boxer::build(workspace)?;
    }
    run(workspace, &args)
}

/// Replays the fixtures, then what `fuzz-cpu` makes with the arguments `fuzz` (a few seconds' worth if there are none).
pub fn run(workspace: &Workspace, fuzz: &[String]) -> Result<()> {
    let what = [&PACKAGE[..], &["--example", "replay-cpu"]].concat();
    let program = guest::build(workspace, &what)?.join("examples/replay-cpu.wasm");
    let dir = workspace.target.join("replay");
    make_dir(&dir)?;

    let lines = dir.join("fixtures");
    let mut out = create(&lines)?;
    for path in fixtures(workspace)? {
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        out.write_all(&text)?;
    }
    drop(out);
    replay(workspace, &program, &lines, &[]).context("fixtures/x86 in Wasm")?;

    let lines = dir.join("fresh");
    let mut cargo = process::cargo();
    cargo
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target)
        .args(["run", "--quiet", "--release"])
        .args(PACKAGE)
        .args(["--example", "fuzz-cpu", "--", "--print"])
        .stdout(create(&lines)?);
    if fuzz.is_empty() {
        cargo.args(["--count", "20000", "--seed", "1"]);
    }
    process::run(cargo.args(fuzz))?;
    replay(workspace, &program, &lines, &["--unlifted"]).context("fresh cases in Wasm")
}

/// Every file of fixtures, in order.
fn fixtures(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let dir = workspace.root.join("fixtures/x86");
    let entries = std::fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ins"));
    paths.sort();
    Ok(paths)
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("create {}", path.display()))
}

fn replay(workspace: &Workspace, program: &Path, lines: &Path, args: &[&str]) -> Result<()> {
    let stdin = File::open(lines).with_context(|| format!("open {}", lines.display()))?;
    let mut boxer = boxer::command(workspace)?;
    boxer.arg("run").arg(program).args(args).stdin(stdin);
    let output = boxer.output().context("start boxer")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    println!("replay: {}", text.trim_end());
    Ok(())
}
