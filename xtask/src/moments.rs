//! `cargo xtask moments`: a counter that is frozen at random moments and goes on elsewhere, by `xtask/hosts/moments.py` on the Debian example.

use crate::paths::{Workspace, cache_dir};
use crate::{boxer, demo, process};
use anyhow::Result;
use std::process::Command;

/// Runs the script; `args` are the number of moments and a seed.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let boxes = demo::debian_as(workspace, &["wasm"])?;
    let mut run = Command::new("python3");
    run.arg(workspace.root.join("xtask/hosts/moments.py"));
    boxer::at_home(workspace, &mut run)?;
    run.arg(workspace.boxer()).args(boxes).arg(cache_dir()?.join("hosts"));
    process::run(run.args(args))
}
