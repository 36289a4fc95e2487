//! `cargo xtask records`: runs that are recorded and replayed, by `fixtures/records/records.py` on the Debian example.

use crate::paths::Workspace;
use crate::{boxer, demo, process};
use anyhow::Result;
use std::process::Command;

/// Runs the script; `args` are the number of sessions and a seed.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let boxes = demo::debian_as(workspace, &["wasm"])?;
    let mut run = Command::new("python3");
    run.arg(workspace.root.join("fixtures/records/records.py"));
    boxer::at_home(workspace, &mut run)?;
    process::run(run.arg(workspace.boxer()).args(boxes).args(args))
}
