//! `cargo xtask sandboxes`: sandboxes compared with native programs, and made and destroyed by the thousand, with the Python client.

use crate::paths::Workspace;
use crate::{boxer, fixtures, process};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sandboxes of `churn`, unless it is told another number.
const CHURN: &str = "10000";

/// Does what the words say.
pub fn run(workspace: &Workspace, words: &[String]) -> Result<()> {
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["programs", rest @ ..] => programs(workspace, rest),
        ["churn"] => churn(workspace, CHURN),
        ["churn", count] => churn(workspace, count),
        _ => bail!("say programs [python|javascript] [every N], or churn [COUNT]"),
    }
}

/// Small programs in sandboxes and natively; and the tests of JavaScript, which need a box with node.
fn programs(workspace: &Workspace, words: &[&str]) -> Result<()> {
    let (languages, rest): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| ["python", "javascript"].contains(*word));
    let wanted = |language: &str| languages.is_empty() || languages.contains(&language);
    let mut command = script(workspace, "programs.py");
    if wanted("python") {
        command.arg(format!("python={}", python(workspace)?.display()));
    }
    if wanted("javascript") {
        let wasm = node(workspace)?;
        command.arg(format!("javascript={}", wasm.display()));
        let mut tests = Command::new("python3");
        tests.args(["-m", "unittest", "-v", "tests.test_javascript"]);
        tests.current_dir(workspace.root.join("packages/python"));
        tests.env("BOXER", workspace.boxer()).env("BOXER_SANDBOX_NODE", wasm);
        process::run(environment(workspace, &mut tests))?;
    }
    process::run(command.args(rest))
}

/// One sandbox after the other: neither memory nor threads, descriptors or files grow.
fn churn(workspace: &Workspace, count: &str) -> Result<()> {
    let wasm = python(workspace)?;
    process::run(script(workspace, "measure.py").arg(wasm).arg(format!("churn{count}")))
}

/// A box of Debian with python3.
pub fn python(workspace: &Workspace) -> Result<PathBuf> {
    let wasm = workspace.target.join("sandboxes/python.wasm");
    let layout = fixtures::debian(workspace)?.join("layout");
    boxer::build_from_layout(workspace, &layout, "bookworm", "WORKDIR /root\n", &wasm)?;
    Ok(wasm)
}

/// A box of Debian with its nodejs. Needs the network.
fn node(workspace: &Workspace) -> Result<PathBuf> {
    let wasm = workspace.target.join("sandboxes/node.wasm");
    let layout = fixtures::debian(workspace)?.join("layout");
    let context = fixtures::debian_sources(workspace, "base")?.context;
    let dockerfile = context.join("Dockerfile");
    let install = "RUN apt-get update && apt-get install -y --no-install-recommends nodejs && rm -rf /var/lib/apt/lists/*\nWORKDIR /root\n";
    let lines = std::fs::read_to_string(&dockerfile)?;
    std::fs::write(&dockerfile, lines + install)?;
    let mut build = boxer::command(workspace)?;
    build.args(["build", "--build-context"]);
    build.arg(format!("base=oci-layout:{}:bookworm", layout.display()));
    process::quiet(build.arg("-o").arg(&wasm).arg(&context))?;
    Ok(wasm)
}

fn script(workspace: &Workspace, name: &str) -> Command {
    let script: &Path = &workspace.root.join("fixtures/sandbox").join(name);
    let mut command = Command::new("python3");
    command.arg(script).arg(workspace.boxer());
    environment(workspace, &mut command);
    command
}

fn environment<'a>(workspace: &Workspace, command: &'a mut Command) -> &'a mut Command {
    command.env("XDG_CACHE_HOME", workspace.target.join("boxer-home/cache"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("BOXER_SANDBOX_URL")
}
