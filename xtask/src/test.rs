//! `cargo xtask test`: everything that is checked, with all set-up.

use crate::paths::Workspace;
use crate::{
    boxer, examples, faults, fixtures, guest, hosts, js, network, packages, process, programs,
    replay, terminal, tidy,
};
use anyhow::Result;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

/// Runs all checks; `rest` is passed to `cargo test`.
pub fn run(workspace: &Workspace, rest: &[String]) -> Result<()> {
    packages::ensure(&[packages::DEMO, packages::TESTS])?;
    step("formatting");
    process::run(cargo(workspace).args(["fmt", "--all", "--check"]))?;
    step("tidy");
    tidy::run(workspace)?;
    step("guest");
    guest::run(workspace)?;
    step("clippy");
    process::run(cargo(workspace).args([
        "clippy",
        "--quiet",
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    step("fixtures");
    fixtures::run(workspace)?;
    step("build");
    boxer::build(workspace)?;
    step("tests");
    let mut test = cargo(workspace);
    test.args(["test", "--release", "--workspace", "--exclude", "boxer-guest"]).args(rest);
    process::run(&mut test)?;
    step("cpu");
    fuzz(workspace)?;
    step("cpu in wasm");
    replay::run(workspace, &[])?;
    step("examples");
    examples::run(workspace, &[])?;
    step("action");
    process::run(
        Command::new("python3")
            .arg(workspace.root.join("action/test.py"))
            .arg(workspace.boxer())
            .stdout(std::process::Stdio::null()),
    )?;
    step("hosts");
    hosts::run(workspace, &[])?;
    step("js");
    js::run(workspace, &[])?;
    step("network");
    network::run(workspace)?;
    step("terminal");
    terminal::run(workspace, &[])?;
    step("faults");
    faults::run(workspace, &[])?;
    step("programs");
    programs::run(workspace, &[])?;
    Ok(())
}

/// Compares a million random instructions with this machine's processor. Always the same ones, so that a failure comes
/// again; `BOXER_CPU_SEED` chooses others.
fn fuzz(workspace: &Workspace) -> Result<()> {
    let seed = std::env::var("BOXER_CPU_SEED").unwrap_or_else(|_| "20261122".into());
    let mut run = cargo(workspace);
    run.args(["run", "--quiet", "--release", "--package", "boxer-testkit"]);
    run.args(["--example", "fuzz-cpu", "--", "--family", "all"]);
    run.args(["--instructions", "1000000", "--seed", &seed]);
    process::run(&mut run)
}

/// Compares translated code with the interpreter: `rest` is the number of rounds and the first one's seed.
pub fn translated(workspace: &Workspace, rest: &[String]) -> Result<()> {
    let mut test = cargo(workspace);
    test.args(["test", "--release", "--workspace", "--exclude", "boxer-guest"]);
    test.args(["--test", "three_ways", "--", "--ignored", "--nocapture"]);
    for (name, value) in ["BOXER_FUZZ_ROUNDS", "BOXER_FUZZ_SEED"].iter().zip(rest) {
        test.env(name, value);
    }
    process::run(&mut test)
}

/// Says what begins, and how many seconds after the first of them.
fn step(name: &str) {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let begin = BEGIN.get_or_init(Instant::now);
    println!("== {name} ({} s)", begin.elapsed().as_secs());
}

fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = process::cargo();
    cargo
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target)
        .env("BOXER_GUEST_WASM", workspace.guest_wasm())
        .env("BOXER_FIXTURES", workspace.fixtures());
    cargo
}
