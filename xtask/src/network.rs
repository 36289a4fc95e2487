//! `cargo xtask network`: what boxes reach and who reaches them, by `fixtures/network/network.py` on the Debian example, as
//! module and as component.

use crate::paths::Workspace;
use crate::{boxer, demo, process};
use anyhow::Result;
use std::process::Command;

/// Runs the script.
pub fn run(workspace: &Workspace) -> Result<()> {
    let boxes = demo::debian_as(workspace, &["wasm", "component"])?;
    boxer::build_example(workspace, "plain-host")?;
    let mut run = Command::new("python3");
    run.arg(workspace.root.join("fixtures/network/network.py"));
    boxer::at_home(workspace, &mut run)?;
    run.arg(workspace.boxer()).arg(workspace.target.join("release/examples/plain-host"));
    process::run(run.args(boxes))
}
