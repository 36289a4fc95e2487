//! The projects of `fixtures/init`, whose Dockerfiles `boxer init` writes.

use super::Hub;
use crate::fixtures::Base;
use crate::paths::{Workspace, make_dir};
use crate::process;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The projects' folders.
pub fn projects(workspace: &Workspace) -> PathBuf {
    workspace.root.join("fixtures/init")
}

/// Copies the project `name`, lets its Dockerfile be written, and sees to it that the images after FROM are there; the copy.
pub fn prepare(workspace: &Workspace, hub: &Hub, name: &str) -> Result<PathBuf> {
    let copies = workspace.target.join("examples/init");
    make_dir(&copies)?;
    let folder = copies.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    process::quiet(Command::new("cp").arg("-r").arg(projects(workspace).join(name)).arg(&folder))?;
    process::quiet(hub.boxer(workspace, "init")?.arg(&folder))?;
    let dockerfile = std::fs::read_to_string(folder.join("Dockerfile"))?;
    for image in dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        let image = image.split(' ').next().context("FROM without a name")?;
        provide(workspace, hub, image)?;
    }
    Ok(folder)
}

/// Builds and pushes what stands in for a public image, if there is such a thing.
fn provide(workspace: &Workspace, hub: &Hub, image: &str) -> Result<()> {
    let context: &Path = &projects(workspace).join("bases").join(image.replace(':', "_"));
    if context.exists() {
        hub.push_base(workspace, &Base { name: image.into(), context: context.into() })?;
    }
    Ok(())
}
