//! `cargo xtask terminal`: boxes and builds at a real pseudo-terminal, and boxes on host directories, by the scripts of `fixtures/terminal`.

use crate::paths::Workspace;
use crate::{boxer, fixtures, process};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The screen emulator and what it needs.
const PACKAGES: &[&str] = &["pyte==0.8.2", "wcwidth==0.2.13"];

/// What a component is tried with: the rest differs from a module in nothing that matters there.
const COMPONENT_CASES: &[&str] = &["size", "interrupt", "streams", "signals", "init"];

/// Runs the scripts; `names` chooses cases of the first.
pub fn run(workspace: &Workspace, names: &[String]) -> Result<()> {
    let python = python(workspace)?;
    let tree = fixtures::interactive(workspace)?;
    let wasm = workspace.target.join("examples/interactive.wasm");
    boxer::build_from_layout(workspace, &tree.join("layout"), "bookworm", "", &wasm)?;
    for script in ["terminal.py", "volumes.py"] {
        if script != "terminal.py" && !names.is_empty() {
            continue;
        }
        let mut run = Command::new(&python);
        run.arg(workspace.root.join("fixtures/terminal").join(script));
        boxer::at_home(workspace, &mut run)?;
        process::run(run.arg(workspace.boxer()).arg(&wasm).args(names))?;
    }
    if names.is_empty() {
        let base = format!("oci-layout://{}:bookworm", tree.join("layout").display());
        let mut run = Command::new(&python);
        run.arg(workspace.root.join("fixtures/terminal/building.py"));
        boxer::at_home(workspace, &mut run)?;
        process::run(run.arg(workspace.boxer()).arg(base))?;
        let component = wasm.with_extension("component.wasm");
        let output = format!("type=component,dest={}", component.display());
        boxer::build_from_layout(
            workspace,
            &tree.join("layout"),
            "bookworm",
            "",
            Path::new(&output),
        )?;
        let mut run = Command::new(&python);
        run.arg(workspace.root.join("fixtures/terminal/terminal.py"));
        boxer::at_home(workspace, &mut run)?;
        process::run(run.arg(workspace.boxer()).arg(&component).args(COMPONENT_CASES))?;
    }
    Ok(())
}

/// A Python with the packages, in the target directory.
fn python(workspace: &Workspace) -> Result<PathBuf> {
    let venv = workspace.target.join("terminal-venv");
    let python = venv.join("bin/python");
    let wanted = PACKAGES.join("\n");
    let mark = venv.join("packages");
    if !std::fs::read_to_string(&mark).is_ok_and(|have| have == wanted) {
        process::quiet(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES);
        process::quiet(&mut install)?;
        std::fs::write(mark, wanted)?;
    }
    Ok(python)
}
