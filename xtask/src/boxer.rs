//! The `boxer` program, as chores call it.

use crate::paths::{Workspace, make_dir};
use crate::{js, process};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Builds `boxer` with the guest in it.
pub fn build(workspace: &Workspace) -> Result<()> {
    if Command::new("npm").arg("--version").output().is_ok() {
        js::compile(workspace)?;
    } else {
        println!("boxer: without `--output type=web`: there is no npm to compile packages/js");
    }
    let mut cargo = process::cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--release"])
        .env("BOXER_GUEST_WASM", workspace.guest_wasm());
    // The same packages as `cargo test --workspace`: another set would give wasmtime other features.
    process::run(cargo.args(["--workspace", "--exclude", "boxer-guest"]))
}

/// Builds an example program of one of the packages.
pub fn build_example(workspace: &Workspace, name: &str) -> Result<()> {
    let mut cargo = process::cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--release", "--example", name])
        .env("BOXER_GUEST_WASM", workspace.guest_wasm());
    process::run(cargo.args(["--workspace", "--exclude", "boxer-guest"]))
}

/// A `boxer` command with a store and caches of its own under the target directory.
pub fn command(workspace: &Workspace) -> Result<Command> {
    let mut boxer = Command::new(workspace.boxer());
    at_home(workspace, &mut boxer)?;
    Ok(boxer)
}

/// Lets what runs `boxer` use the store and caches of [`command`].
pub fn at_home<'a>(workspace: &Workspace, command: &'a mut Command) -> Result<&'a mut Command> {
    let home = workspace.target.join("boxer-home");
    make_dir(&home)?;
    Ok(command.env("XDG_CACHE_HOME", home.join("cache")).env("XDG_DATA_HOME", home.join("data")))
}

/// Builds a box from an image layout; `more` are further lines of its Dockerfile.
pub fn build_from_layout(
    workspace: &Workspace,
    layout: &Path,
    tag: &str,
    more: &str,
    output: &Path,
) -> Result<()> {
    // What `-o` takes may be `type=…,dest=FILE`; the context lies beside the file.
    let file = output
        .to_str()
        .and_then(|text| text.rsplit_once("dest="))
        .map_or(output, |(_, file)| Path::new(file));
    let context = file.with_extension("context");
    make_dir(&context)?;
    std::fs::write(context.join("Dockerfile"), format!("FROM base\n{more}"))?;
    let mut boxer = command(workspace)?;
    boxer
        .arg("build")
        .arg("--build-context")
        .arg(format!("base=oci-layout:{}:{tag}", layout.display()));
    process::quiet(boxer.arg("-o").arg(output).arg(&context))
}
